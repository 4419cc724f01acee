"""Measures descriptors beside what is written by hand: ``python -m benchmarks.descriptors``.

Prints milliseconds, how many times longer each peer takes, and seconds of CPU to compile. Peers do
the same job: products by `jnp.einsum` at the same precision, the same iterations, loops over
clusters, and a Fourier transform of each element.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, timing
from benchmarks.programs import OWN

# Batch, height, width and channels.
IMAGES, WIDE = (16, 14, 14, 256), (8, 14, 14, 512)
CLUSTERS, SKETCH, ITERATIONS = 64, 8192, 5
HIGHEST = jax.lax.Precision.HIGHEST

Group = tuple[str, tuple[int, ...], dict[str, Callable]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.descriptors", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples of each program")
    parser.add_argument("--shrink", type=int, default=1, help="makes all axes so much shorter")
    parser.add_argument("--only", default="", help="functions whose names have this in them")
    options = parser.parse_args(arguments)
    print("| function | x | mode | ms | s to compile | times as long |")
    print("|---|---|---|---|---|---|")
    for name, shape, functions in groups(options.shrink):
        if options.only not in name:
            continue
        x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
        for mode in ("forward", "forward + backward"):
            seconds, calls = {}, {}
            for peer, function in functions.items():
                start = time.process_time()
                compiled = compiled_for(function, x, mode)
                seconds[peer] = time.process_time() - start
                calls[peer] = lambda c=compiled, x=x: jax.block_until_ready(c(x))
            check_same(calls)
            found = timing.measure(calls, options.repeats)
            own = found[OWN]
            peers = ", ".join(
                f"{peer} {own.ratio(samples):.2f}" for peer, samples in found.items() if peer != OWN
            )
            size = " x ".join(map(str, shape))
            print(f"| {name} | {size} | {mode} | {1e3 * own.median:.2f} | {seconds[OWN]:.2f} "
                  f"| {peers} |", flush=True)  # fmt: skip


def groups(shrink: int) -> Iterator[Group]:
    """Name, shape of x, and functions of x that do one job."""
    images, wide = (tuple(max(n // shrink, 2) for n in s) for s in (IMAGES, WIDE))
    clusters, size = max(CLUSTERS // shrink, 2), max(SKETCH // shrink, 4)
    yield "covariance_pool", images, {
        OWN: lambda x: jaxpool.covariance_pool(x, (1, 2)), "jnp by hand": covariance}  # fmt: skip
    yield (
        "isqrt_covariance_pool",
        images,
        {
            OWN: lambda x: jaxpool.isqrt_covariance_pool(x, (1, 2), vectorize=False),
            "jnp by hand": root,
        },
    )
    yield (
        "isqrt_covariance_pool, vector",
        images,
        {
            OWN: lambda x: jaxpool.isqrt_covariance_pool(x, (1, 2)),
            "jnp by hand": lambda x: upper(root(x)),
        },
    )
    yield "bilinear_pool", images, {
        OWN: lambda x: jaxpool.bilinear_pool(x, (1, 2)), "jnp by hand": bilinear}  # fmt: skip
    sketch = jaxpool.draw_sketch(jax.random.key(0), wide[-1], size)
    yield (
        "compact_bilinear_pool",
        wide,
        {
            OWN: lambda x: jaxpool.compact_bilinear_pool(x, (1, 2), sketch=sketch),
            "FFT of each": lambda x: sketched(x, sketch),
        },
    )
    random = np.random.default_rng(1)
    centroids = random.standard_normal((clusters, wide[-1]), np.float32)
    kernel = random.standard_normal((wide[-1], clusters), np.float32) / 10
    yield (
        "netvlad_pool",
        wide,
        {
            OWN: lambda x: jaxpool.netvlad_pool(x, centroids, x @ kernel, axes=(1, 2)),
            "loop": lambda x: vlad(x, centroids, x @ kernel),
        },
    )
    yield "spatial_softmax", images, {
        OWN: lambda x: jaxpool.spatial_softmax(x), "jnp by hand": places}  # fmt: skip


def covariance(x: jax.Array) -> jax.Array:
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    flat = flat - flat.mean(1, keepdims=True)
    return jnp.einsum("bnc,bnd->bcd", flat, flat, precision=HIGHEST) / flat.shape[1]


def root(x: jax.Array) -> jax.Array:
    a, eye = covariance(x), jnp.eye(x.shape[-1])
    a = a + 1e-6 * eye
    trace = jnp.trace(a, axis1=1, axis2=2)[:, None, None]
    times = lambda a, b: jnp.matmul(a, b, precision=HIGHEST)  # noqa: E731
    y, z = a / trace, eye
    for _ in range(ITERATIONS):
        t = (3 * eye - times(z, y)) / 2
        y, z = times(y, t), times(t, z)
    return y * jnp.sqrt(trace)


def upper(y: jax.Array) -> jax.Array:
    return y[:, *np.triu_indices(y.shape[-1])]


def bilinear(x: jax.Array) -> jax.Array:
    y = jnp.einsum("bhwc,bhwd->bcd", x, x, precision=HIGHEST) / (x.shape[1] * x.shape[2])
    y = jnp.sign(y) * jnp.sqrt(jnp.abs(y) + 1e-12)
    y = y.reshape(y.shape[0], -1)
    return y / jnp.linalg.norm(y, axis=1, keepdims=True)


def sketched(x: jax.Array, sketch: jaxpool.Sketch) -> jax.Array:
    size, spectra = sketch.output_size, []
    for hashes, signs in zip(sketch.hashes, sketch.signs, strict=True):
        placed = jnp.zeros((*x.shape[:-1], size)).at[..., hashes].add(x * signs.astype(x.dtype))
        spectra.append(jnp.fft.rfft(placed))
    return jnp.fft.irfft(spectra[0] * spectra[1], size).mean((1, 2))


def vlad(x: jax.Array, centroids: np.ndarray, logits: jax.Array) -> jax.Array:
    shares, found = jax.nn.softmax(logits), []
    for k, c in enumerate(centroids):
        y = jnp.sum(shares[..., k, None] * (x - c), (1, 2))
        found.append(y / jnp.linalg.norm(y, axis=-1, keepdims=True))
    y = jnp.concatenate(found, -1)
    return y / jnp.linalg.norm(y, axis=-1, keepdims=True)


def places(x: jax.Array) -> jax.Array:
    flat = jax.nn.softmax(x.reshape(x.shape[0], -1, x.shape[-1]), 1).reshape(x.shape)
    rows, columns = (jnp.linspace(-1, 1, n) for n in x.shape[1:3])
    y = jnp.einsum("bhwc,h->bc", flat, rows), jnp.einsum("bhwc,w->bc", flat, columns)
    return jnp.stack(y, -1)


def compiled_for(function: Callable, x: jax.Array, mode: str) -> Callable:
    both = jax.value_and_grad(lambda x: jnp.sum(jnp.sin(function(x))))
    return jax.jit(function if mode == "forward" else both).lower(x).compile()


def check_same(calls: dict[str, timing.Call]) -> None:
    own, *others = (jax.tree.leaves(call()) for call in calls.values())
    for other in others:
        for a, b in zip(own, other, strict=True):
            np.testing.assert_allclose(a, b, 1e-2, 1e-3 * float(np.abs(b).max()))


if __name__ == "__main__":
    machine.keep_memory()
    main()
