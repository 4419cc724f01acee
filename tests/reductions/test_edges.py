"""Where a reduction has a case of its own: limits, ties, masks under a second look."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.reductions.soft import importance_logits
from tests import derivatives

TESTS_OF = (
    "reductions/max.py", "pools/max.py", "reductions/power.py", "reductions/power_mean.py",
    "reductions/soft.py", "reductions/softmean.py", "reductions/order.py", "reductions/mixed.py", "reductions/detail.py", "reductions/random.py",
)  # fmt: skip

X = np.float32([3, -2, np.nan, 5, 1])
WHERE = np.array([True, True, False, True, True])


def test_ints_of_less_than_a_byte_are_compared_with_their_sign():
    x = jnp.array([-3, 2, -1, 5, -8, 7], jnp.int4)
    assert jaxpool.global_max_pool(x[:4], 0) == 5
    assert jaxpool.global_min_pool(x, 0) == -8
    np.testing.assert_array_equal(jaxpool.max_pool(x, 2, axes=0).astype(int), [2, 5, 7])


@pytest.mark.parametrize("pool", [jaxpool.max_pool, jaxpool.min_pool])
def test_an_unknown_implementation_is_refused(pool):
    with pytest.raises(ValueError, match="`implementation` must be one of"):
        pool(X, 2, axes=0, implementation="fastest")


def test_the_norm_of_infinity_has_no_slope_where_x_is_masked():
    norm = lambda x: jaxpool.global_lp_pool(x, 0, p=float("inf"), where=WHERE)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(norm)(X), [0, 0, 0, 1, 0])


def test_elements_up_to_eps_have_gradient_zero():
    for p in (2.5, 3):
        mean = lambda x: jaxpool.global_power_mean_pool(x, 0, p=p, eps=0.5)  # noqa: B023, E731
        gradient = jax.grad(mean)(np.float32([0.5, 0.25, 2]))
        assert (gradient[:2] == 0).all()
        assert gradient[2] > 0


@pytest.mark.parametrize("p", [3, 4, 2.5, -1])
def test_second_derivatives_of_power_means(p):
    with jax.enable_x64(True):
        x = np.array([0.7, 2.0, 1.3, 0.9])
        derivatives.check(lambda x: jaxpool.global_power_mean_pool(x, 0, p=p), (x,))


def test_a_sharpness_learns_by_full_gradients_only():
    x = np.float32([1, 2, 4])
    for gradient, learns in (("full", True), ("semi", False)):
        mean = lambda s: jaxpool.global_softmax_pool(x, 0, sharpness=s, gradient=gradient)  # noqa: B023, E731
        assert (jax.grad(mean)(jnp.float32(0.5)) != 0) == learns


def test_what_is_masked_is_in_no_limit_of_a_sharpness():
    for sharpness in (-np.inf, -2.0, jnp.array(-2.0)):
        for pool in (jaxpool.global_softmax_pool, jaxpool.global_logsumexp_pool):
            y = pool(X, 0, sharpness=sharpness, where=WHERE)
            assert np.isfinite(y)
    assert jaxpool.global_softmax_pool(X, 0, sharpness=-np.inf, where=WHERE) == -2
    low = np.float32([4, 1, -9, 3])
    inside = np.array([True, True, False, True])
    assert jaxpool.global_softmax_pool(low, 0, sharpness=-np.inf, where=inside) == 1


def test_importance_is_normalized_over_what_is_not_masked():
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(9, 2)), rng.normal(size=(3, 2, 2))
    where = np.broadcast_to(rng.random((9, 1)) < 0.6, (9, 2))
    padded = np.pad(np.where(where, x, 0), ((1, 1), (0, 0)))
    y = sum(padded[k : k + 9] @ kernel[k] for k in range(3))
    mean, variance = (np.stack([f(y[where[:, c], c]) for c in range(2)]) for f in (np.mean, np.var))
    expected = 12 / (1 + np.exp(-(y - mean) / np.sqrt(variance + 1e-5)))
    one, zero = np.ones(2, np.float32), np.zeros(2, np.float32)
    arrays = (jnp.asarray(a[None] if a is x else a, jnp.float32) for a in (x, kernel))
    found = importance_logits(*arrays, one, zero, jnp.asarray(where[None]))
    np.testing.assert_allclose(found[0][where], expected[where], rtol=1e-4)


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_the_nearest_of_two_elements_as_close_is_at_the_even_place(n):
    x = np.arange(n, dtype=np.float32)
    for q in (0.1, 0.25, 0.5, 0.75, 0.9):
        y = jaxpool.global_quantile_pool(x, 0, q=q, interpolation="nearest")
        assert y == np.quantile(x, q, method="nearest")


def test_the_midpoint_of_ints_is_a_float():
    y = jaxpool.global_quantile_pool(np.array([1, 2], np.int32), 0, q=0.5, interpolation="midpoint")
    assert (y, y.dtype) == (1.5, np.float32)
    lower = jaxpool.global_quantile_pool(np.array([1, 2]), 0, q=0.5, interpolation="lower")
    assert (lower, lower.dtype) == (1, np.int32)


def test_infinities_of_what_is_not_mixed_stay_out():
    for alpha, x, expected in ((0.0, [np.inf, 1], np.inf), (1.0, [-np.inf, 3], 3.0)):
        for given in (alpha, jnp.float32(alpha), jnp.full(1, alpha)):
            y = jaxpool.mixed_pool(np.float32(x), 2, axes=0, alpha=given)
            np.testing.assert_array_equal(y, [expected])
    # A mean of -inf and a maximum of inf, each by an entry of its own.
    x = np.float32([[np.inf, 1], [-np.inf, 3]])
    y = jaxpool.mixed_pool(x, 2, axes=1, alpha=jnp.array([[1.0], [1.0]]))
    np.testing.assert_array_equal(y, [[np.inf], [3]])


def test_a_gate_counts_padding_as_it_is_told():
    x, gate = np.float32([4, 8]), np.zeros(3, np.float32)
    for include, means in ((True, [4, 4]), (False, [6, 6])):
        y = jaxpool.gated_pool(x, 3, 1, 1, axes=0, gate=gate, count_include_pad=include)
        np.testing.assert_allclose(y, [(8 + mean) / 2 for mean in means])


def test_a_large_element_that_is_masked_moves_no_weight():
    x, where = np.float32([1, 2, 1000]), np.array([True, True, False])
    found = jaxpool.ada_pool(x, 3, axes=0, where=where)
    np.testing.assert_allclose(found, jaxpool.ada_pool(x[:2], 2, axes=0), rtol=1e-6)


def test_of_equal_elements_the_first_has_the_lower_rank():
    for key, deterministic in ((None, True), (jax.random.key(0), False)):
        options = {"alpha": 0.5 if deterministic else 0.99999, "deterministic": deterministic}
        loss = lambda x: jaxpool.rank_stochastic_pool(x, 3, axes=0, key=key, **options)[0]  # noqa: B023, E731
        gradient = jax.grad(loss)(np.float32([2, 2, 1]))
        expected = np.array([4, 2, 1]) / 7 if deterministic else [1, 0, 0]
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)
