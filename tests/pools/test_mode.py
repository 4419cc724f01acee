"""Facts about majority votes: the most common label of each cell, of several the smallest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxpool
import jaxpool.linen
from jaxpool._src.lowering import window_order
from tests import oracle

TESTS_OF = (
    "pools/order.py",
    "reductions/order.py",
    "lowering/window_order.py",
    "lowering/order.py",
    "lowering/segment_order.py",
    "lowering/looped_order.py",
    "core/pool.py",
)

DTYPES = [np.int8, np.uint8, bool]


def mode(values, _=0):
    found, counts = np.unique(values, return_counts=True)
    return found[counts.argmax()]


def labels(shape, dtype, seed=0):
    """Few labels, among them the least and the largest of their dtype."""
    if dtype is bool:
        return np.random.default_rng(seed).random(shape) < 0.5
    info = np.iinfo(dtype)
    of = np.array([info.min, info.max, info.max - 1, 1 if info.min == 0 else -1], dtype)
    return np.random.default_rng(seed).choice(of, shape)


@pytest.mark.parametrize(
    "geometry",
    [
        {"window_shape": (2, 3), "strides": 1, "padding": "SAME"},
        {"window_shape": (3, 3), "strides": 2, "padding": 1, "dilation": 2,
         "footprint": np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]], bool)},
        {"window_shape": (5, 6), "strides": 3, "padding": 2},
        {"window_shape": (9, 8), "strides": 4, "padding": 4, "ceil_mode": True},
    ],
    ids=["network", "footprint", "laid out", "looped"],
)  # fmt: skip
def test_equals_loops(geometry):
    """Of all dtypes, with and without a mask: what is padded and masked has no vote."""
    xs = [labels((9, 11), dtype, seed) for seed, dtype in enumerate(DTYPES)]
    mask, geometry = np.random.default_rng(9).random((9, 11)) < 0.4, {**geometry, "axes": (0, 1)}

    @jax.jit
    def found(xs, mask):
        pool = lambda x, **more: jaxpool.mode_pool(x, **geometry, **more, empty_value=1)  # noqa: E731
        return [(pool(x), pool(x, where=mask)) for x in xs]

    for x, results in zip(xs, found(xs, mask), strict=True):
        for y, where in zip(results, (None, mask), strict=True):
            expected = oracle.window(mode, x, **geometry, where=where, empty_value=1)
            np.testing.assert_array_equal(y, expected.astype(x.dtype))
            assert y.dtype == x.dtype


def test_equals_loops_for_every_domain():
    """`Mode` pools whole axes, intervals, groups and segments too."""
    x, reduction = labels((6, 24), np.int8), jaxpool.Mode()
    mask = np.random.default_rng(1).random(x.shape) < 0.6
    ids = np.random.default_rng(2).integers(0, 3, 24)

    @jax.jit
    def found(x, mask):
        pool = lambda domain: jaxpool.pool(x, domain, reduction, where=mask, empty_value=-9)  # noqa: E731
        return (
            pool(jaxpool.Global((0, 1))),
            pool(jaxpool.Global(0, keepdims=True)),
            pool(jaxpool.Adaptive(5, axes=1)),
            pool(jaxpool.Groups(4, axis=1)),
            pool(jaxpool.Segments(ids, 3, axis=1)),
            jaxpool.pool(x[:, :5], jaxpool.Segments(ids[:5], 3, axis=1), reduction),
        )

    options = {"where": mask, "empty_value": -9}
    expected = (
        oracle.globally(mode, x, (0, 1), **options),
        oracle.globally(mode, x, 0, keepdims=True, **options),
        oracle.adaptive(mode, x, (5,), (1,), **options),
        oracle.window(mode, x, 4, axes=1, **options),
        oracle.segments(mode, x, ids, 3, 1, **options),
        oracle.segments(mode, x[:, :5], ids[:5], 3, 1),
    )
    for y, e in zip(found(x, mask), expected, strict=True):
        np.testing.assert_array_equal(y, e)


def test_votes_of_the_segment_before_do_not_count():
    """Which ends with the label that the next one begins with."""
    x, ids = jnp.array([1, 2, 2, 2, 3, 3, 3, 1]), np.array([0, 0, 0, 1, 1, 1, 2, 2])
    found = jaxpool.pool(x, jaxpool.Segments(ids, 3), jaxpool.Mode())
    np.testing.assert_array_equal(found, [2, 3, 1])


def test_equals_scipy():
    x = labels((4, 60), np.int32)
    wanted = scipy.stats.mode(x.reshape(4, 12, 5), axis=-1).mode
    np.testing.assert_array_equal(jaxpool.mode_pool(x, 5, axes=1), wanted)
    one = jaxpool.mode_pool(x, 60, axes=1)
    np.testing.assert_array_equal(one, scipy.stats.mode(x, axis=1, keepdims=True).mode)


def test_labels_of_64_bits():
    with jax.enable_x64(True):
        x = np.array([2**62 + 1, 2**62, 2**62 + 1, -(2**62), 2**62])
        np.testing.assert_array_equal(jaxpool.mode_pool(x, 5, axes=0), [2**62])
        np.testing.assert_array_equal(jaxpool.mode_pool(np.repeat(x, 20), 100, axes=0), [2**62])


def test_mistakes():
    with pytest.raises(TypeError, match=r"mode_pool: `x` must hold ints or bools, since .* Round"):
        jaxpool.mode_pool(jnp.ones(4), 2, axes=0)
    with pytest.raises(TypeError, match=r"^pool: `x` must hold ints or bools"):
        jaxpool.pool(jnp.ones(4), jaxpool.Global(0), jaxpool.Mode())
    with pytest.raises(ValueError, match="`domain` must not be Prefix"):
        jaxpool.pool(jnp.arange(4), jaxpool.Prefix(0), jaxpool.Mode())


def test_a_layer():
    x = labels((5, 5, 2), np.uint8)
    footprint = [[True, False], [True, True]]
    layer = jaxpool.linen.ModePool((2, 2), 1, footprint=footprint)
    expected = jaxpool.mode_pool(x, (2, 2), 1, footprint=footprint)
    np.testing.assert_array_equal(layer.apply({}, jnp.asarray(x)), expected)


def test_programs_do_not_grow_with_large_windows():
    def size(k):
        text = jax.jit(lambda x: jaxpool.mode_pool(x, (k, k), 4)).lower(
            jnp.ones((1, 60, 60, 1), int)
        )
        return len(text.as_text().splitlines())

    assert size(25) <= 1.1 * size(17)
    assert window_order._MOST_IN_PAIRS <= 25  # more is not written out
