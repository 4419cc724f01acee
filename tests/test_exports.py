"""One artefact for all platforms and sizes, run by a process that knows JAX alone."""

import jax
import pytest

pytest.importorskip("rich")
from benchmarks import exports, operators

TESTS_OF = ()  # of benchmarks/


@pytest.fixture(autouse=True)
def _promotion():
    """As users of Flax have it."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_table_has_each_public_function():
    from tests.test_public_api import FUNCTIONS

    assert set(operators.NAMES) == set(FUNCTIONS) - {"parabolic_structure"}
    assert {*operators.OTHERS, *operators.OPTIONS, *operators.DISCRETE} <= set(operators.NAMES)
    assert not operators.OTHERS.keys() & operators.OPTIONS.keys()


@pytest.mark.parametrize("names", [
    ("convert_indices", "max_pool", "adaptive_avg_pool"),
    pytest.param((*operators.NAMES, *exports.MODELS), marks=pytest.mark.exhaustive, id="all"),
])  # fmt: skip
def test_artefacts_run_elsewhere(names, tmp_path):
    made = {name: exports.export(name, exports.program(name), tmp_path) for name in names}
    for name, difference in exports.served(tmp_path).items():
        assert difference < 1e-5, name
        # A reason is the library's own, and names what cannot be.
        reason, how = made[name].reason, made[name].symbolic
        assert (how == "batch and pooled axes") == (not reason)
        assert not reason or reason.startswith((f"ValueError: {name}: ", f"TypeError: {name}: "))
        assert how != "none" or "symbolic" in reason
    assert len(made) == len(names)
