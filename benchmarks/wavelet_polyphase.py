"""Measures wavelets and phases: ``python -m benchmarks.wavelet_polyphase``.

Prints milliseconds, how many times longer each peer takes, and seconds of CPU to compile. Peers of
a low band are a blur by a filter of as many elements, of all bands what is written by hand for two
elements, and of phases norms by `jnp.sum` with a selection, which may tell two phases apart by how
they are summed, or with a strided slice, which chooses nothing.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, timing
from benchmarks.programs import OWN

IMAGES = (16, 56, 56, 64)  # batch, height, width and channels


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.wavelet_polyphase", description=__doc__
    )
    parser.add_argument("--repeats", type=int, default=15, help="samples of each program")
    parser.add_argument("--shrink", type=int, default=1, help="makes all axes so much shorter")
    parser.add_argument("--only", default="", help="functions whose names have this in them")
    options = parser.parse_args(arguments)
    shape = tuple(2 * max(n // 2 // options.shrink, 1) for n in IMAGES)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    print("| function | mode | ms | s to compile | times as long |")
    print("|---|---|---|---|---|")
    for name, functions in groups():
        if options.only not in name:
            continue
        for mode in ("forward", "forward + backward"):
            seconds, calls = {}, {}
            for peer, function in functions.items():
                start = time.process_time()
                compiled = compiled_for(function, x, mode)
                seconds[peer] = time.process_time() - start
                calls[peer] = lambda c=compiled: jax.block_until_ready(c(x))
            found = timing.measure(calls, options.repeats)
            own = found[OWN]
            peers = ", ".join(f"{p} {own.ratio(f):.2f}" for p, f in found.items() if p != OWN)
            print(f"| {name} | {mode} | {1e3 * own.median:.2f} | {seconds[OWN]:.2f} | {peers} |",
                  flush=True)  # fmt: skip


def groups() -> Iterator[tuple[str, dict[str, Callable]]]:
    """Name, and functions of x that do one job, or one like it."""
    for wavelet, size in (("haar", 2), ("db2", 4), ("db4", 8)):
        low = functools.partial(jaxpool.wavelet_pool, wavelet=wavelet)
        blur = functools.partial(
            jaxpool.blur_pool, strides=(2, 2), filter_size=size, padding_mode="wrap"
        )
        yield f"wavelet_pool, {wavelet}", {OWN: low, "blur": blur}
        bands = functools.partial(low, bands="all")
        yield (
            f"wavelet_pool, {wavelet}, all bands",
            {OWN: bands, "low band": low} | ({"jnp by hand": haar} if size == 2 else {}),
        )
    yield "polyphase_pool", {
        OWN: lambda x: jaxpool.polyphase_pool(x, (2, 2)),
        "norms and selection": lambda x: selected(x, jnp.argmax(norms(x), -1)),
        "norms and slice": lambda x: x[:, ::2, ::2] + jnp.min(norms(x)) * 0,
    }  # fmt: skip


def compiled_for(function: Callable, x: jax.Array, mode: str) -> Callable:
    # Squares, since a sine takes longer of larger values, and longer than all else.
    both = jax.value_and_grad(lambda x: jnp.sum(jnp.square(function(x))))
    return jax.jit(function if mode == "forward" else both).lower(x).compile()


def haar(x: jax.Array) -> jax.Array:
    a, b, c, d = (x[:, i::2, j::2] for i in (0, 1) for j in (0, 1))
    return jnp.concatenate([a + b + c + d, a + c - b - d, a + b - c - d, a + d - b - c], -1) / 2


def norms(x: jax.Array) -> jax.Array:
    b, h, w, c = x.shape
    blocks = jax.lax.stop_gradient(x).reshape(b, h // 2, 2, w // 2, 2, c)
    return jnp.sum(jnp.square(blocks), (1, 3, 5)).reshape(b, 4)


def selected(x: jax.Array, phase: jax.Array) -> jax.Array:
    found = x[:, ::2, ::2]
    for number, (i, j) in enumerate(((0, 1), (1, 0), (1, 1)), 1):
        found = jnp.where((phase == number).reshape(-1, 1, 1, 1), x[:, i::2, j::2], found)
    return found


if __name__ == "__main__":
    machine.keep_memory()
    main()
