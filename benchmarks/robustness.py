"""Puts the library under load: ``python -m benchmarks.robustness``.

Many shapes in one process, many threads, donated buffers, a search for NaN, both widths of numbers,
a compilation cache on disk, and arrays that are too large to be made here. Each check raises if it
fails, and says what it saw; the table goes into docs/scale.md.
"""

import argparse
import functools
import gc
import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, operators, page, report

# Of each kind of lowering, one that compiles soon.
FEW = ("avg_pool", "global_max_pool", "max_pool", "max_pool_with_argmax", "softmax_pool")


def image(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.9, shape).astype(np.float32)


def resident() -> float:
    """MiB of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def shapes(number: int = 10_000, every: int = 500, allowed: float = 0.1) -> str:
    """Pools arrays of that many shapes; JAX's own caches are emptied now and then."""
    held, objects = [], []
    for i in range(number):
        x = np.ones((1 + i % 7, 4 + i // 7 % 50, 4 + i // 350, 2), np.float32)
        y = jaxpool.max_pool(x, (3, 3), 2, 1)
        assert y.shape == (x.shape[0], *((n + 1) // 2 for n in x.shape[1:3]), 2)
        if (i + 1) % every == 0:
            jax.clear_caches()
            gc.collect()
            held.append(resident())
            objects.append(len(gc.get_objects()))
    warm = len(held) // 4
    grown, more = held[-1] / held[warm] - 1, objects[-1] - objects[warm]
    seen = (
        f"{held[warm]:.0f} MiB after {every * (warm + 1)}, {held[-1]:.0f} MiB after {number}; "
        f"{more:+} of {objects[warm]} Python objects"
    )
    if grown > allowed or more > 0.01 * objects[warm]:
        raise AssertionError(f"{number} shapes: {seen}")
    return seen


def threads(number: int = 16, names: Iterable[str] = FEW, rounds: int = 3) -> str:
    """Values and gradients in many threads at once are those of one after the other."""
    jobs = [
        (operators.with_gradient(operators.operator(name, 2)), image(2, 8, 8 + i, 4, seed=i))
        for i in range(rounds)
        for name in names
    ]

    def run(_: int) -> list:
        return [jax.tree.leaves(jax.jit(function)(x)) for function, x in jobs]

    jax.clear_caches()
    with ThreadPoolExecutor(number) as pool:
        found = list(pool.map(run, range(number)))
    for other in (run(0), *found[1:]):
        for a, b in zip(jax.tree.leaves(other), jax.tree.leaves(found[0]), strict=True):
            np.testing.assert_array_equal(a, b)
    return f"{number} threads, {len(jobs)} programs each: the same bits"


def donation() -> str:
    """A result may take the memory of x, whose gradient needs it no longer."""
    x = image(2, 9, 8, 4)
    for name in ("max_pool", "avg_pool"):
        pool = getattr(jaxpool, name)

        def step(x: jax.Array, pool: Callable = pool) -> jax.Array:
            return jax.grad(lambda x: jnp.sum(jnp.sin(pool(x, (3, 3), 1, "SAME"))))(x)

        given = jnp.asarray(x)
        found = jax.jit(step, donate_argnums=0)(given)
        assert given.is_deleted(), name
        np.testing.assert_array_equal(found, jax.jit(step)(x))
    return "gradients of max_pool and avg_pool take the memory of x"


def nans(names: Iterable[str] = operators.NAMES) -> str:
    """`jax_debug_nans` finds none in values and gradients of finite arrays."""
    x, names = image(2, 8, 10, 4), list(names)
    with jax.debug_nans(True):
        for name in names:
            function = operators.operator(name, 2)
            jax.jit(function if name in operators.DISCRETE else operators.with_gradient(function))(
                x
            )
    return f"{len(names)} functions and gradients: none found"


def widths(names: Iterable[str] = operators.NAMES) -> str:
    """With 64 bits enabled, float32 gives what it gives without, and float64 gives float64."""
    x, names = image(2, 8, 10, 4), list(names)
    drawn = {name for name in names if "key" in jaxpool_parameters(name)}
    for name in names:
        function = operators.operator(name, 2)
        with jax.enable_x64(False):
            narrow = jax.tree.leaves(jax.jit(function)(x))
        with jax.enable_x64(True):
            same = jax.tree.leaves(jax.jit(function)(x))
            wide = jax.tree.leaves(jax.jit(function)(x.astype(np.float64)))
        for a, b, c in zip(narrow, same, wide, strict=True):
            if not jnp.issubdtype(a.dtype, jnp.floating):
                continue
            assert a.dtype == b.dtype == np.float32, name
            assert c.dtype == np.float64 or name == "draw_sketch", name
            if name not in drawn:  # keys draw other numbers of other widths
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=name)
                np.testing.assert_allclose(a, c, rtol=1e-4, atol=1e-5, err_msg=name)
    return f"{len(names)} functions: float32 is the same, float64 stays"


def jaxpool_parameters(name: str) -> Iterable[str]:
    return inspect.signature(getattr(jaxpool, name)).parameters


# Run twice, with one cache; prints hits and misses.
_CACHED = """
import sys
import jax
from benchmarks import robustness
events = []
jax.monitoring.register_event_listener(lambda name, **_: events.append(name))
robustness.programs(sys.argv[1:])
found = [sum(e.endswith(f"/cache_{kind}") for e in events) for kind in ("hits", "misses")]
print(*found)
"""


def programs(names: Iterable[str]) -> None:
    """Compiles each of them, and looks for addresses in what it is compiled from."""
    x = jax.ShapeDtypeStruct((2, 8, 10, 4), np.float32)
    for name in names:
        function = operators.operator(name, 2)
        function = function if name in operators.DISCRETE else operators.with_gradient(function)
        lowered = jax.jit(function).lower(x)
        text = lowered.as_text(debug_info=True)
        assert not (found := re.search(r".{40}\bat 0x[0-9a-f]{6,}", text)), found[0]
        lowered.compile()


def disk_cache(names: Sequence[str] = operators.NAMES) -> str:
    """A second process finds all programs of the first."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": folder,
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        seen = []
        for seed in ("1", "2"):  # of hashes, which must not decide on keys
            done = subprocess.run(
                [sys.executable, "-c", _CACHED, *names],
                env={**environment, "PYTHONHASHSEED": seed},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            seen.append([int(n) for n in done.stdout.split()])
    (_, cold), (hits, misses) = seen
    if misses or hits < len(names):
        raise AssertionError(f"{hits} hits and {misses} misses, after {cold} misses")
    return f"{cold} programs written by one process, {hits} read and {misses} missed by a second"


# Arrays of more than 2**31 elements: many images, long rows, and one large plane.
LARGE = {
    "images": (2**20, 32, 32, 4),
    "rows": (2, 4, 2**29 + 2, 1),
    "plane": (1, 50_000, 50_000, 1),
}


def large(names: Iterable[str] = operators.NAMES) -> str:
    """What is lowered has the right shapes, or is refused in the library's own words."""
    refused = set()
    names = [n for n in names if n not in ("matrix_pool", "draw_sketch", "segment_ids")]
    for name in names:
        for shape in LARGE.values():
            try:
                jax.eval_shape(operators.operator(name, 2), jax.ShapeDtypeStruct(shape, np.float32))
            except (ValueError, TypeError) as error:
                if not str(error).startswith(f"{name}: "):
                    raise
                refused.add(name)
    for name in ("max_pool", "avg_pool", "max_pool_with_argmax", "global_avg_pool"):
        if name in names:
            x = jax.ShapeDtypeStruct(LARGE["images"], np.float32)
            jax.jit(operators.with_gradient(operators.operator(name, 2))).lower(x)
    return f"{len(names)} functions, of which {len(refused)} refuse planes of 2^31 elements by name"


CHECKS: dict[str, Callable[[], str]] = {
    "many shapes": shapes,
    "many threads": threads,
    "donation": donation,
    "`jax_debug_nans`": nans,
    "64 bits on and off": widths,
    "compilation cache on disk": disk_cache,
    "arrays beyond 2^31 elements, lowered": large,
}


# The same of a few functions, and of fewer shapes: a minute on a machine of its own.
FEWER: dict[str, Callable[[], str]] = CHECKS | {
    "many shapes": functools.partial(shapes, 200, 20),
    "`jax_debug_nans`": functools.partial(nans, FEW),
    "64 bits on and off": functools.partial(widths, FEW),
    "compilation cache on disk": functools.partial(disk_cache, FEW),
    "arrays beyond 2^31 elements, lowered": functools.partial(large, FEW),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.robustness", description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CHECKS, help="default: all, for the page")
    parser.add_argument("--few", action="store_true", help="fewer shapes, and five functions")
    options = parser.parse_args(arguments)
    lines, checks = [], FEWER if options.few else CHECKS
    for name in options.only or checks:
        lines.append([name, checks[name]()])
        print(*lines[-1], sep=": ", file=sys.stderr, flush=True)
    facts = machine.facts_of_machine()
    found = report.table(f"{facts['device']}, jax {facts['jax']}", ["load", "seen"], lines)
    print(found)
    if not options.only:
        page.write(page.SCALE, {"robustness": found})


if __name__ == "__main__":
    main()
