"""Featurewise sort pooling, against a loop over sorted lists in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from tests import derivatives

TESTS_OF = ("pools/featurewise.py", "reductions/order.py", "lowering/order.py")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(4, 7, 3)).astype(np.float32)
KNOTS = RANDOM.normal(size=(5, 3)).astype(np.float32)
LENGTHS = np.arange(7)[:, None] < np.array([7, 1, 4, 0])[:, None, None]
MASKS = {"lengths": LENGTHS, "of channels": RANDOM.random(X.shape) < 0.6}


def by_loops(x, knots, where):
    knots = np.broadcast_to(knots if knots.ndim == 2 else knots[:, None], (len(knots), 3))
    where = np.broadcast_to(where, x.shape)
    y = np.zeros((len(x), 3))
    for b, c in np.ndindex(*y.shape):
        row = np.sort(np.float64(x[b, where[b, :, c], c]))[::-1]
        ratios = np.arange(len(row)) / max(len(row) - 1, 1)
        at = np.linspace(0, 1, len(knots)) if len(knots) > 1 else np.zeros(1)
        y[b, c] = np.interp(ratios, at, np.float64(knots[:, c])) @ row
    return y


@functools.cache
def program():
    """Values, gradients and tangents under a mask, and values of other knots."""

    @jax.jit
    def run(x, knots, where):
        pool = functools.partial(jaxpool.featurewise_sort_pool, where=where)
        y, tangent = jax.linearize(pool, x, knots)
        back = jax.linear_transpose(tangent, x, knots)(jnp.cos(5 * y))
        ahead = tangent(jnp.cos(3 * jnp.where(where, x, 0)), jnp.cos(2 * knots))
        return y, back, ahead, pool(x, knots[:, 0]), pool(x, knots[:1])

    return run


@pytest.mark.parametrize("name", MASKS)
def test_values_and_derivatives(name):
    where = np.broadcast_to(MASKS[name], X.shape)
    dirty = np.where(where, X, np.nan)
    y, (in_x, in_knots), ahead, shared, constant = program()(dirty, KNOTS, where)
    for found, knots in ((y, KNOTS), (shared, KNOTS[:, 0]), (constant, KNOTS[:1])):
        np.testing.assert_allclose(found, by_loops(X, knots, where), 2e-5, 2e-5)
    # Linear in the weights, and in x as long as the order stays.
    np.testing.assert_allclose(derivatives.dot(KNOTS, in_knots), np.vdot(np.cos(5 * y), y), 1e-4)
    np.testing.assert_allclose(
        np.sum(in_x * np.where(where, X, 0)), np.vdot(np.cos(5 * y), y), 1e-4
    )
    assert (np.asarray(in_x)[~where] == 0).all()
    step = np.float64(1e-6)
    ends = [by_loops(X + s * np.cos(3 * X), KNOTS + s * np.cos(2 * KNOTS), where)
            for s in (step, -step)]  # fmt: skip
    np.testing.assert_allclose(ahead, (ends[0] - ends[1]) / (2 * step), 1e-4, 1e-4)


def test_sizes_dtypes_and_layouts():
    """Any axis; 16 bits are summed in float32; a set's order does not matter, a NaN shows."""
    y = jaxpool.featurewise_sort_pool(X, KNOTS)
    mixed = X[:, RANDOM.permutation(7)]
    np.testing.assert_array_equal(jaxpool.featurewise_sort_pool(mixed, KNOTS), y)
    turned = jaxpool.featurewise_sort_pool(X.swapaxes(0, 1), KNOTS, axis=0)
    np.testing.assert_array_equal(turned, y)
    last = jaxpool.featurewise_sort_pool(X.swapaxes(1, 2), KNOTS[:, 0], axis=-1)
    np.testing.assert_allclose(last, by_loops(X, KNOTS[:, 0], True), 2e-5, 2e-5)
    ones = jnp.ones((4096, 1), jnp.bfloat16)
    total = jaxpool.featurewise_sort_pool(ones, jnp.ones(2, jnp.bfloat16))
    assert total.dtype == jnp.bfloat16
    assert total == 4096
    numbers = jaxpool.featurewise_sort_pool(X, (1, 0.5))
    np.testing.assert_array_equal(numbers, jaxpool.featurewise_sort_pool(X, np.float32([1, 0.5])))
    assert jaxpool.featurewise_sort_pool(X.astype(np.int8), KNOTS).dtype == np.float32
    spoilt = X.copy()
    spoilt[1, 2, 0] = np.nan
    bad = np.isnan(jaxpool.featurewise_sort_pool(spoilt, KNOTS))
    np.testing.assert_array_equal(np.argwhere(bad), [[1, 0]])
    empty = jaxpool.featurewise_sort_pool(X, KNOTS, where=LENGTHS, empty_value=7)
    assert (empty[3] == 7).all()


def test_the_layer_learns_its_weights():
    layer = jaxpool.linen.LearnedFeaturewiseSortPool(knots=5)
    variables = layer.init(jax.random.key(0), X)
    assert variables["params"]["weights"].shape == (5, 3)
    y = layer.apply({"params": {"weights": KNOTS}}, X, where=LENGTHS)
    np.testing.assert_array_equal(y, jaxpool.featurewise_sort_pool(X, KNOTS, where=LENGTHS))
    module = jaxpool.nnx.LearnedFeaturewiseSortPool(knots=5, features=3, rngs=nnx.Rngs(0))
    module.weights[...] = jnp.asarray(KNOTS)
    np.testing.assert_array_equal(module(X, where=LENGTHS), y)


@pytest.mark.parametrize(
    ("error", "message", "call"),
    [
        (ValueError, r"featurewise_sort_pool: `weights` must have shape \(knots,\), or",
         lambda: jaxpool.featurewise_sort_pool(X, KNOTS[:, :2])),
        (ValueError, r"featurewise_sort_pool: `weights` must have shape \(knots,\), or",
         lambda: jaxpool.featurewise_sort_pool(X, KNOTS, axis=2)),
        (TypeError, "featurewise_sort_pool: `weights` must be a JAX or NumPy array",
         lambda: jaxpool.featurewise_sort_pool(X, [[1.0], [2.0]])),
        (ValueError, "LearnedFeaturewiseSortPool: `knots` must be an int >= 1",
         lambda: jaxpool.linen.LearnedFeaturewiseSortPool(knots=0).init(jax.random.key(0), X)),
    ],
)  # fmt: skip
def test_errors(error, message, call):
    with pytest.raises(error, match=f"^{message}"):
        call()
