"""Under load: many shapes, threads, donation, NaN, both widths, a cache on disk, and large arrays."""

import re

import jax
import numpy as np
import pytest

pytest.importorskip("rich")
from benchmarks import gpu, operators, page, robustness

TESTS_OF = ()  # of benchmarks/

exhaustive = pytest.mark.exhaustive


@pytest.fixture(autouse=True)
def _promotion():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@exhaustive
def test_many_shapes_leave_nothing():
    robustness.shapes(2000, every=100)


def test_a_leak_is_seen(monkeypatch):
    kept = []
    monkeypatch.setattr(jax, "clear_caches", lambda: kept.extend([0] * 10 for _ in range(20_000)))
    monkeypatch.setattr(robustness.jaxpool, "max_pool", lambda x, *_: np.ones(
        (x.shape[0], *((n + 1) // 2 for n in x.shape[1:3]), 2)))  # fmt: skip
    with pytest.raises(AssertionError, match="8 shapes"):
        robustness.shapes(8, every=1)


@pytest.mark.parametrize(("number", "names", "rounds"), [
    (4, ("avg_pool", "global_max_pool"), 1),
    pytest.param(16, robustness.FEW, 3, marks=exhaustive),
])  # fmt: skip
def test_threads_do_not_disturb_each_other(number, names, rounds):
    assert f"{number} threads" in robustness.threads(number, names, rounds)


def test_gradients_take_the_memory_of_x():
    robustness.donation()


@pytest.mark.parametrize("names", [
    ("global_sum_pool",), pytest.param(operators.NAMES, marks=exhaustive, id="all")])  # fmt: skip
@pytest.mark.parametrize("check", [robustness.nans, robustness.widths], ids=["nans", "widths"])
def test_no_nan_is_made_and_widths_agree(check, names):
    check(names)


@exhaustive
def test_a_second_process_finds_programs_on_disk(monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    robustness.disk_cache(operators.NAMES)


def test_programs_name_no_addresses():
    robustness.programs(("avg_pool",))


@pytest.mark.parametrize("names", [
    ("max_pool_with_argmax", "global_avg_pool", "global_max_pool_with_argmax"),
    pytest.param(operators.NAMES, marks=exhaustive, id="all"),
])  # fmt: skip
def test_arrays_of_more_elements_than_an_int32_counts(names):
    robustness.large(names)


def test_counts_and_indices_of_large_arrays():
    """Divisors are those of more than 2**31 elements; indices are refused that would not fit."""
    rows = jax.ShapeDtypeStruct((4, 2**29 + 2), np.float32)
    text = jax.jit(lambda x: robustness.jaxpool.global_avg_pool(x, (0, 1))).lower(rows).as_text()
    constants = [float(n) for n in re.findall(r"dense<(\d[\d.E+]*)>", text)]
    assert np.float32(2**31 + 8) in np.float32(constants)
    plane = jax.ShapeDtypeStruct((50_000, 50_000), np.float32)
    with pytest.raises(ValueError, match=r"^max_pool_with_argmax: "):
        jax.eval_shape(
            lambda x: robustness.jaxpool.max_pool_with_argmax(x, (2, 2), axes=(0, 1)), plane
        )


def test_the_page_has_each_check():
    text = page.SCALE.read_text()
    for name in robustness.CHECKS:
        assert f"| {name} " in text


def test_a_gpu_is_measured_and_a_cpu_said_to_be_one(monkeypatch, capsys):
    runs = []
    monkeypatch.setattr(gpu.bench, "main", runs.append)
    gpu.main(["--ops=max_pool,avg_pool"])
    assert [run[0] for run in runs] == ["--ops=max_pool", "--ops=avg_pool"]
    assert all(set(gpu.SMALL) <= set(run) for run in runs)
    printed = capsys.readouterr().out
    assert f"jax {jax.__version__}" in printed
    assert "This is no GPU" in printed
    monkeypatch.setattr(gpu, "LIMIT", -1)
    gpu.main(["--ops=max_pool,avg_pool"])
    assert len(runs) == 2
    assert "Left out for want of time: max_pool, avg_pool." in capsys.readouterr().out
