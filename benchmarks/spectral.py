"""Measures spectral pools beside what is written by hand: ``python -m benchmarks.spectral``.

Prints milliseconds, how many times longer each peer takes, and seconds of CPU to compile. By hand
it is the Fourier transforms of JAX, of all axes at once. SciPy's `resample` has no gradient.
"""

import argparse
import time
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, timing
from benchmarks.descriptors import check_same, compiled_for
from benchmarks.programs import OWN

# Shape of x, and its pooled axes, each of which becomes half as long.
CASES = [((16, 56, 56, 64), (1, 2)), ((8, 224, 224, 16), (1, 2)), ((4, 2**16, 4), (1,))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.spectral", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples of each program")
    parser.add_argument("--shrink", type=int, default=1, help="makes all axes so much shorter")
    parser.add_argument("--only", default="", help="shapes that have this in them")
    options = parser.parse_args(arguments)
    print("| x | mode | ms | s to compile | times as long |")
    print("|---|---|---|---|---|")
    for shape, axes in CASES:
        if options.only not in " x ".join(map(str, shape)):
            continue
        shape = tuple(max(n // options.shrink, 2) for n in shape)
        x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
        sizes = tuple(shape[axis] // 2 for axis in axes)
        functions = {
            OWN: lambda x, s=sizes, a=axes: jaxpool.spectral_pool(x, s, axes=a),
            "jnp.fft by hand": lambda x, s=sizes, a=axes: by_hand(x, s, a),
        }
        for mode in ("forward", "forward + backward"):
            measure(functions, x, sizes, axes, mode, options.repeats)


def measure(
    functions: dict[str, Callable], x: jax.Array, sizes: Sequence[int], axes: Sequence[int],
    mode: str, repeats: int,
) -> None:  # fmt: skip
    seconds, calls = {}, {}
    for peer, function in functions.items():
        start = time.process_time()
        compiled = compiled_for(function, x, mode)
        seconds[peer] = time.process_time() - start
        calls[peer] = lambda c=compiled: jax.block_until_ready(c(x))
    if mode == "forward":
        array = np.asarray(x)
        calls["SciPy"] = lambda: resample(array, sizes, axes)
    check_same(calls)
    found = timing.measure(calls, repeats)
    own = found[OWN]
    peers = ", ".join(f"{peer} {own.ratio(s):.2f}" for peer, s in found.items() if peer != OWN)
    size = " x ".join(map(str, x.shape))
    print(
        f"| {size} | {mode} | {1e3 * own.median:.2f} | {seconds[OWN]:.2f} | {peers} |", flush=True
    )


def resample(x: np.ndarray, sizes: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    from scipy import signal

    for size, axis in zip(sizes, axes, strict=True):
        x = signal.resample(x, size, axis=axis)
    return x


def by_hand(x: jax.Array, sizes: Sequence[int], axes: Sequence[int]) -> jax.Array:
    """A crop about frequency 0 to smaller sizes, with the highest frequency of even ones folded."""
    before = [x.shape[axis] for axis in axes]
    y = jnp.fft.rfftn(x, axes=axes)
    for axis, n, size in zip(axes[:-1], before[:-1], sizes[:-1], strict=True):
        cut = lambda start, stop, y=y, axis=axis: jax.lax.slice_in_dim(y, start, stop, axis=axis)  # noqa: E731
        half = size // 2
        fold = [cut(half, half + 1) + cut(n - half, n - half + 1)] if size % 2 == 0 else []
        rest = n - (size - 1) // 2
        y = jnp.concatenate([cut(0, (size + 1) // 2), *fold, cut(rest, n)], axis)
    half = sizes[-1] // 2 + 1
    y = jax.lax.slice_in_dim(y, 0, half, axis=axes[-1])
    twice = np.where((np.arange(half) == half - 1) & (sizes[-1] % 2 == 0), 2, 1).astype(np.float32)
    scale = twice * np.float32(np.prod(sizes) / np.prod(before))
    y = y * scale.reshape([-1 if axis == axes[-1] else 1 for axis in range(x.ndim)])
    return jnp.fft.irfftn(y, sizes, axes=axes)


if __name__ == "__main__":
    machine.keep_memory()
    main()
