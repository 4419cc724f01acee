"""Equal to Flax where it should be; where it should not, each difference is a row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests.compiling import as_users

TESTS_OF = (
    "pools/max.py",
    "reductions/max.py",
    "pools/mean.py",
    "reductions/mean.py",
    "lowering/max.py",
    "lowering/picks.py",
)

nn = pytest.importorskip("flax.linen", reason="flax is what this file compares with")

X = np.random.default_rng(0).normal(size=(2, 9, 8, 3)).astype(np.float32)


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


GEOMETRIES = [((2, 2), (2, 2), "VALID"), ((3, 3), (2, 2), "SAME"), ((3, 2), (1, 1), "VALID"),
              ((3, 3), (2, 1), ((1, 1), (0, 1))), ((4, 3), (3, 2), "SAME"),
              ((5, 5), (1, 1), ((2, 2), (2, 2)))]  # fmt: skip


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_max_and_min_equal_flax_to_the_last_bit(geometry):
    def run(maximum, minimum):
        def both(f, x):
            y, vjp = jax.vjp(lambda x: f(x, *geometry), x)
            return y, vjp(jnp.ones_like(y))[0]  # whole numbers: sums are exact in any order

        return jax.tree.leaves(as_users(lambda x: (both(maximum, x), both(minimum, x)))(X))

    ours = run(jaxpool.max_pool, jaxpool.min_pool)
    theirs = run(nn.max_pool, lambda x, *g: -nn.max_pool(-x, *g))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(bits(a + 0.0), bits(b + 0.0))


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_avg_equals_flax(geometry, include):
    ours = lambda x: jaxpool.avg_pool(x, *geometry, count_include_pad=include)  # noqa: E731
    flax = lambda x: nn.avg_pool(x, *geometry, count_include_pad=include)  # noqa: E731
    both = lambda f: jax.jit(lambda x: (f(x), jax.grad(lambda x: jnp.sum(f(x) ** 2))(x)))  # noqa: E731
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        y, gradient = both(flax)(X)
    found = both(ours)(X)
    np.testing.assert_allclose(found[0], y, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(found[1], gradient, rtol=1e-5, atol=1e-6)


def test_argument_order_is_flax():
    np.testing.assert_array_equal(
        jaxpool.max_pool(X, (2, 2), (1, 1), "SAME"), nn.max_pool(X, (2, 2), (1, 1), "SAME")
    )


BF16 = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
U8 = jnp.full((1, 2, 2, 1), 200, jnp.uint8)
I8 = jnp.full((1, 2, 2, 1), 100, jnp.int8)
LOW = jnp.full((1, 4, 4, 1), -jnp.inf)
NANS = jnp.array([1.0, jnp.nan, 5.0]).reshape(1, 3, 1)
P1 = ((1, 1), (1, 1))

# What, what Flax gives, what we give: each a function of its pools.
DIFFERENCES = {
    "strides default to the window, not to 1": (
        lambda p: p.max_pool(X, (2, 2)).shape, (2, 8, 7, 3), (2, 4, 4, 3)),
    "16-bit means are accumulated in float32": (
        lambda p: float(p.avg_pool(BF16, (64, 64))[0, 0, 0, 0]), 0.25, 1.0),
    "the dtype does not change with count_include_pad": (
        lambda p: p.avg_pool(BF16, (2, 2), count_include_pad=False).dtype.name, "float32",
        "bfloat16"),
    "means of uint8 do not wrap": (
        lambda p: float(p.avg_pool(U8, (2, 2))[0, 0, 0, 0]), 8.0, 200.0),
    "means of int8 do not wrap": (
        lambda p: float(p.avg_pool(I8, (2, 2))[0, 0, 0, 0]), -28.0, 100.0),
    "windows of -inf keep their gradient": (
        lambda p: float(jax.grad(lambda x: p.max_pool(x, (3, 3), (2, 2), P1).sum())(LOW).sum()),
        1.0, 4.0),
    "the gradient of NaN goes to a NaN": (
        lambda p: jax.grad(lambda x: p.max_pool(x, (3,)).sum())(NANS)[0, :, 0].tolist(),
        [0, 0, 1], [0, 1, 0]),
    "a window larger than x is refused, not empty": (
        lambda p: outcome(lambda: p.max_pool(X, (10, 2)).shape), (2, 0, 7, 3), "ValueError"),
    "a window of padding alone is refused, not -inf": (
        lambda p: outcome(lambda: float(p.max_pool(X, (2, 2), (1, 1), ((5, 0), (0, 0))).min())),
        -np.inf, "ValueError"),
    "an int padding is taken": (
        lambda p: outcome(lambda: p.max_pool(X, (3, 3), (2, 2), 1).shape), "TypeError",
        (2, 5, 4, 3)),
}  # fmt: skip


def outcome(call):
    try:
        return call()
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("row", DIFFERENCES.values(), ids=DIFFERENCES)
def test_intended_differences(row):
    what, flax, ours = row
    # Flax divides integers by floats, and more that strict promotion does not allow.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        assert what(nn) == flax
    assert what(jaxpool) == ours


def test_dilated_maxima_have_a_reverse_mode():
    """Of JAX's own reduce_window they have none."""

    def plain(x):
        window = (1, 2, 2, 1)
        return jax.lax.reduce_window(x, -np.inf, jax.lax.max, window, (1, 1, 1, 1), "VALID",
                                     window_dilation=(1, 2, 2, 1))  # fmt: skip

    with pytest.raises(NotImplementedError):
        jax.grad(lambda x: plain(x).sum())(X)
    ours = lambda x: jaxpool.max_pool(x, (2, 2), 1, dilation=2)  # noqa: E731
    np.testing.assert_array_equal(ours(X), plain(X))
    assert jax.grad(lambda x: ours(x).sum())(X).sum() == ours(X).size
