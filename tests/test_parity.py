"""Against flax.linen: the same where it is right, and each intended difference as a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

import jaxpool

RNG = np.random.default_rng(0)
X = RNG.permutation(2 * 9 * 8 * 3).reshape(2, 9, 8, 3).astype(np.float32)

SAME_RESULT = [
    ((2, 2), (2, 2), "VALID"),
    ((3, 3), (2, 2), "SAME"),
    ((3, 2), (1, 2), ((1, 1), (0, 1))),
    ((1, 1), (3, 3), "VALID"),
]


@pytest.fixture(autouse=True)
def _standard_promotion():
    """Flax mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def flax_min_pool(x, *args):
    return -nn.max_pool(-x, *args)


@pytest.mark.parametrize(("window", "strides", "padding"), SAME_RESULT)
def test_same_as_flax(window, strides, padding):
    for ours, theirs in ((jaxpool.max_pool, nn.max_pool), (jaxpool.min_pool, flax_min_pool)):
        y, pull = jax.vjp(lambda x, f=ours: f(x, window, strides, padding), X)
        expected, expected_pull = jax.vjp(lambda x, f=theirs: f(x, window, strides, padding), X)
        np.testing.assert_array_equal(y, expected)
        ct = RNG.integers(1, 9, y.shape).astype(np.float32)
        np.testing.assert_array_equal(pull(ct)[0], expected_pull(ct)[0])
    for include in (True, False):
        y = jaxpool.avg_pool(X, window, strides, padding, count_include_pad=include)
        expected = nn.avg_pool(X, window, strides, padding, count_include_pad=include)
        np.testing.assert_allclose(y, expected, rtol=3e-7)


def gradient_sum(pool):
    return float(jax.grad(lambda x: pool(x).sum())(jnp.full((1, 4, 4, 1), -jnp.inf)).sum())


BF16_ONES = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
UINT8 = jnp.array([200, 200], jnp.uint8).reshape(1, 1, 2, 1)
PADS = ((1, 1), (1, 1))

# (what, flax, ours)
DIFFERENT = [
    (
        "strides=None means 1 in flax, the window here",
        lambda: (nn.max_pool(X, (2, 2)).shape, jaxpool.max_pool(X, (2, 2)).shape),
        ((2, 8, 7, 3), (2, 4, 4, 3)),
    ),
    (
        "bfloat16 sums saturate in flax",
        lambda: (
            float(nn.avg_pool(BF16_ONES, (64, 64))[0, 0, 0, 0]),
            float(jaxpool.avg_pool(BF16_ONES, (64, 64))[0, 0, 0, 0]),
        ),
        (0.25, 1.0),
    ),
    (
        "leaving padding out changes the dtype in flax",
        lambda: (
            str(nn.avg_pool(BF16_ONES, (2, 2), count_include_pad=False).dtype),
            str(jaxpool.avg_pool(BF16_ONES, (2, 2), count_include_pad=False).dtype),
        ),
        ("float32", "bfloat16"),
    ),
    (
        "integer sums wrap in flax",
        lambda: (
            float(nn.avg_pool(UINT8, (1, 2))[0, 0, 0, 0]),
            float(jaxpool.avg_pool(UINT8, (1, 2))[0, 0, 0, 0]),
        ),
        (72.0, 200.0),
    ),
    (
        "padding takes the gradient of windows of -inf in flax",
        lambda: (
            gradient_sum(lambda x: nn.max_pool(x, (3, 3), (2, 2), PADS)),
            gradient_sum(lambda x: jaxpool.max_pool(x, (3, 3), (2, 2), PADS)),
        ),
        (1.0, 4.0),
    ),
    (
        "a window larger than the input gives an empty array in flax",
        lambda: (nn.max_pool(X, (99, 2), (1, 1)).shape, error(jaxpool.max_pool, X, (99, 2))),
        ((2, 0, 7, 3), ValueError),
    ),
]


def error(function, *args):
    with pytest.raises(Exception) as found:  # noqa: PT011, the type is what is asked for
        function(*args)
    return found.type


@pytest.mark.parametrize(("what", "both", "expected"), DIFFERENT, ids=[row[0] for row in DIFFERENT])
def test_intended_difference(what, both, expected):
    del what
    assert both() == expected
