"""Sums of windows against loops, wherever the windows lie."""

import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

import jaxpool
from tests import oracle

TESTS_OF = ("lowering/windows.py",)

GEOMETRIES = [
    (k, s, pads, d)
    for k, s, d in itertools.product((1, 2, 3, 5), (1, 2, 3), (1, 2, 3))
    for pads in ((0, 0), (k // 2, k // 3))
]


def sum_by_loop(x, k, s, pads, d, ceil=False):
    first = oracle.starts(len(x), k, s, d, pads, ceil)[0]
    inside = [[t for t in range(i, i + k * d, d) if 0 <= t < len(x)] for i in first]
    return [sum(x[t] for t in taps) for taps in inside], inside


def test_sums_and_their_gradients_of_every_geometry():
    x = np.random.default_rng(0).integers(-9, 10, 23).astype(np.float32)

    @jax.jit
    def everything(x):
        found = []
        for k, s, pads, d in GEOMETRIES:
            pool = lambda x: jaxpool.sum_pool(x, k, s, (pads,), dilation=d, axes=0)  # noqa: B023
            y, vjp = jax.vjp(pool, x)
            found.append((y, vjp(jnp.arange(1.0, len(y) + 1))[0]))
        return found

    for geometry, (y, gradient) in zip(GEOMETRIES, everything(x), strict=True):
        expected, inside = sum_by_loop(x, *geometry)
        np.testing.assert_array_equal(y, expected, err_msg=str(geometry))
        back = np.zeros(len(x))
        for cell, taps in enumerate(inside):
            back[taps] += cell + 1
        np.testing.assert_array_equal(gradient, back, err_msg=str(geometry))


def test_sums_of_symbolic_lengths():
    """In ceil mode without the cell that would begin after the input and its padding."""
    geometries = [(2, 2, (1, 1), 1), (2, 3, (0, 0), 1), (3, 2, (1, 1), 1), (2, 4, (1, 1), 3)]

    def pools(x):
        return [
            jaxpool.sum_pool(x, k, s, (pads,), dilation=d, axes=0, ceil_mode=ceil)
            for k, s, pads, d in geometries
            for ceil in (False, True)
        ]

    (length,) = jax.export.symbolic_shape("n", constraints=["n >= 7"])
    exported = jax.export.export(jax.jit(pools))(jax.ShapeDtypeStruct((length,), np.float32))
    for n in range(7, 13):
        x = np.arange(1, n + 1, dtype=np.float32)
        wanted = [sum_by_loop(x, *g, ceil)[0] for g in geometries for ceil in (False, True)]
        for y, expected in zip(exported.call(x), wanted, strict=True):
            np.testing.assert_array_equal(y, expected)


def test_padding_of_sizes_that_are_symbolic_takes_no_part():
    """On both sides, in what looks at elements one by one."""
    (n,) = jax.export.symbolic_shape("n")

    @jax.jit
    def pools(x):
        return (jaxpool.logsumexp_pool(x, 3, 2, 1, axes=0, sharpness=1, mean=False),
                jaxpool.median_pool(x, 3, 2, 1, axes=0))  # fmt: skip

    exported = jax.export.export(pools)(jax.ShapeDtypeStruct((n,), np.float32))
    for size in (4, 5):
        x = np.linspace(-1.5, -0.5, size, dtype=np.float32)
        cells = [x[max(2 * i - 1, 0) : 2 * i + 2] for i in range((size + 1) // 2)]
        soft, median = exported.call(x)
        np.testing.assert_allclose(soft, [np.log(np.exp(c).sum()) for c in cells], rtol=1e-5)
        np.testing.assert_allclose(median, [np.median(c) for c in cells], rtol=1e-6)
