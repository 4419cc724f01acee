"""Facts about means with weights from a second look at the cell."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxpool
from jaxpool._detail import DetailPreserving
from tests import oracle
from tests.cases import detail_weighted, dice_weighted

X = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
WHERE = np.random.default_rng(1).random((2, 7, 6, 1)) < 0.6
GEOMETRY = {"window_shape": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))}


def by_distance(values, pads, epsilon=0.1):
    weights = 1 / (np.abs(values - values.mean()) + epsilon)
    return (weights * values).sum() / weights.sum()


def by_softmax(values, pads):
    weights = np.exp(values - values.max())
    return (weights * values).sum() / weights.sum()


def one_sided(values, pads):
    squares = np.maximum(values - values.mean(), 0) ** 2 + 1e-3
    weights = 0.5 + (squares / squares.mean()) ** 0.75
    return (weights * values).sum() / weights.sum()


def close(y, expected):
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("where", [None, WHERE], ids=["plain", "masked"])
def test_equals_loops(where):
    options = {**GEOMETRY, "where": where}
    by = lambda kind: oracle.window(kind, X, **options)  # noqa: E731
    y = jaxpool.adaptive_weighted_pool(X, **options, weights="inverse_distance", epsilon=0.1)
    close(y, by(by_distance))
    beta = np.float32([0, 0.3, 1])
    expected = beta * by(dice_weighted) + (1 - beta) * by(by_softmax)
    close(jaxpool.ada_pool(X, **options, beta=beta), expected)
    y = jaxpool.detail_preserving_pool(X, **options, alpha=0.5, lam=1.5, symmetric=False)
    close(y, by(one_sided))
    arrays = {"alpha": np.float32([0.5]), "lam": np.full((3, 6, 3), 1.5, np.float32)}
    close(jaxpool.detail_preserving_pool(X, **options, **arrays), by(detail_weighted))
    for lam in (1, 2):
        y = jaxpool.detail_preserving_pool(X, **options, alpha=0.5, lam=lam)
        close(y, by(lambda v, pads: detail_weighted(v, pads, lam=lam)))  # noqa: B023
        close(y, jaxpool.detail_preserving_pool(X, **options, alpha=0.5, lam=np.float32(lam)))


def test_a_filter_makes_the_reference():
    """Of the paper's full form; a filter of equal parts is the mean where nothing is missing."""
    mean = np.full((2, 2), 0.25, np.float32)
    y = jaxpool.detail_preserving_pool(X, (2, 2), kernel=mean)
    close(y, jaxpool.detail_preserving_pool(X, (2, 2)))
    first = np.zeros((2, 2, 3), np.float32)
    first[0, 0] = 1
    expected = np.empty((2, 3, 3, 3))
    for n, i, j, c in np.ndindex(*expected.shape):
        values = X[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].ravel().astype(np.float64)
        squares = (values - values[0]) ** 2 + 1e-3
        weights = 1 + (squares / squares.mean()) ** 0.5
        expected[n, i, j, c] = (weights * values).sum() / weights.sum()
    close(jaxpool.detail_preserving_pool(X, (2, 2), kernel=first), expected)


AVERAGES = {
    "dice": jaxpool.AdaptiveWeighted(),
    "distance": jaxpool.AdaptiveWeighted("inverse_distance"),
}


@pytest.mark.parametrize("name", [*AVERAGES, "ada", "detail", "one_sided", "mixed"])
def test_constants_are_preserved(name):
    """Of zero too, where Dice weights are exp(0/0) in the authors' code."""
    functions = {
        "ada": jaxpool.ada_pool,
        "detail": jaxpool.detail_preserving_pool,
        "one_sided": lambda x, *w, **k: jaxpool.detail_preserving_pool(x, *w, **k, symmetric=False),
        "mixed": lambda x, *w, **k: jaxpool.mixed_pool(x, *w, **k, count_include_pad=False),
    }
    for value in (0.0, 3.0, -1e-3, 1e4):
        for size in (4, 7, 16):
            x = jnp.full((size, 5), value)
            if name in AVERAGES:
                y = jaxpool.pool(x, jaxpool.Window(3, 2, 1, axes=0), AVERAGES[name])
            else:
                y = functions[name](x, 3, 2, 1, axes=0)
            np.testing.assert_allclose(y, value, rtol=1e-6)


@pytest.mark.parametrize("name", AVERAGES)
def test_over_all_domains(name):
    x = X[0, :, :, 0]
    kind = dice_weighted if name == "dice" else lambda v, p: by_distance(v, p, 1e-6)
    y = jaxpool.pool(x, jaxpool.Adaptive((3, 4), axes=(0, 1)), AVERAGES[name])
    expected = oracle.adaptive(kind, x, (3, 4), (0, 1))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    y = jaxpool.pool(x, jaxpool.Global(1), AVERAGES[name])
    np.testing.assert_allclose(y, oracle.globally(kind, x, 1), rtol=1e-4, atol=1e-4)


def test_extreme_values():
    x = jnp.array([1e30, -1e30, 1e-30, 2e-30, 1e4, -1e4, 0.0, 1e-38])
    for weights in ("dice", "inverse_distance"):
        f = lambda x, w=weights: jaxpool.adaptive_weighted_pool(x, 2, axes=0, weights=w)  # noqa: E731
        assert np.isfinite(f(x)).all()
        small = x if weights == "dice" else x.clip(-1e15, 1e15)  # whose squares fit float32
        assert np.isfinite(jax.grad(lambda x: f(x).sum())(small)).all()  # noqa: B023
    y = jaxpool.adaptive_weighted_pool(x, 2, axes=0)
    exact = [dice_weighted(np.float64(pair), 0) for pair in np.asarray(x).reshape(4, 2)[1:3]]
    np.testing.assert_allclose(y[1:3], exact, rtol=1e-5, atol=1e-3)
    f = lambda x: jaxpool.detail_preserving_pool(x, 2, axes=0).sum()  # noqa: E731
    assert np.isfinite(jax.grad(f)(jnp.array([1e15, -1e15, 0, 0]))).all()
    x = jnp.array([np.inf, 1, -np.inf, 1, np.nan, 1, np.inf, -np.inf])
    for pool in (jaxpool.adaptive_weighted_pool, jaxpool.ada_pool, jaxpool.detail_preserving_pool):
        np.testing.assert_array_equal(pool(x, 2, axes=0), [np.inf, -np.inf, np.nan, np.nan])


NEIGHBOURS = {
    "dice": jaxpool.adaptive_weighted_pool,
    "distance": partial(jaxpool.adaptive_weighted_pool, weights="inverse_distance"),
    "ada": jaxpool.ada_pool,
    "detail": jaxpool.detail_preserving_pool,
    "sharp": partial(jaxpool.detail_preserving_pool, lam=3.0),
    "filter": partial(jaxpool.detail_preserving_pool, kernel=np.float32([0.3, 0.9])),
}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_gradients_are_those_of_finite_cells(name):
    """Whatever is not finite next to them."""
    f = partial(NEIGHBOURS[name], window_shape=2, strides=1, axes=0)
    x, finite = jnp.array([5.0, 2, 1, 3, -300, -400]), jnp.array([1, 2])
    expected = jax.grad(lambda x: f(x)[finite].sum())(x)
    for value in (-np.inf, np.inf, np.nan):
        bad = x.at[jnp.array([0, 4, 5])].set(value)
        np.testing.assert_allclose(jax.grad(lambda x: f(x)[finite].sum())(bad), expected, rtol=1e-6)
    beside = x.at[0].set(-jnp.inf)  # the rest of its cell is far below 0, or above
    for value in (-500.0, 500.0):
        slope = jax.grad(lambda x: f(x)[2])(beside.at[1].set(value))
        assert np.isfinite(slope).all()


def test_a_filter_has_derivatives_next_to_infinities():
    x = jnp.array([5.0, 2, 1, 3])

    def f(kernel, x):
        return jaxpool.detail_preserving_pool(x, 2, 1, axes=0, kernel=kernel)[1:].sum()

    kernel = jnp.array([0.3, 0.9])
    for value in (-np.inf, np.nan):
        slope = jax.grad(f)(kernel, x.at[0].set(value))
        np.testing.assert_allclose(slope, jax.grad(f)(kernel, x), rtol=1e-6)


@pytest.mark.parametrize("lam", [3, 200.0, 1e4, np.float32(200), np.float32(0.5)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_large_powers(lam, symmetric):
    """As by logarithms of weights in float64; padding may be farther from the mean than all."""

    def exact(values, pads):
        distances = values - values.mean()
        squares = (distances if symmetric else np.maximum(distances, 0)) ** 2 + 1e-3
        logs = np.logaddexp(np.log(0.5), lam / 2 * np.log(squares / squares.mean()))
        weights = np.exp(logs - logs.max())
        return (weights * values).sum() / weights.sum()

    f = partial(jaxpool.detail_preserving_pool, alpha=0.5, lam=lam, symmetric=symmetric)
    x = np.round(8 * X)  # so that elements as far from the mean as each other are so in float32
    for where in (None, WHERE):
        options = {**GEOMETRY, "where": where}
        expected = oracle.window(exact, x, **options)
        np.testing.assert_allclose(f(x, **options), expected, rtol=1e-5, atol=1e-5 + 3e-6 * lam)
        slope = jax.grad(lambda x: f(x, **options).sum())(x + 64)  # noqa: B023
        assert np.isfinite(slope).all()
    values = np.array([0.0, 0, 0, 4])
    np.testing.assert_allclose(f(values, 4, axes=0)[0], exact(values, 0), rtol=1e-5)
    far = f(jnp.array([100.0, 100.1, 100.3]), 2, 1, 1, axes=0)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(f(jnp.full(5, 3.0), 2, axes=0), 3, rtol=1e-6)


@pytest.mark.parametrize("domain", ["window", "adaptive", "global"])
def test_large_powers_have_derivatives(domain):
    x = np.random.default_rng(2).normal(size=(6, 7))
    domains = {
        "window": jaxpool.Window((3, 2), (2, 1), 1, axes=(0, 1)),
        "adaptive": jaxpool.Adaptive((4, 3), axes=(0, 1)),
        "global": jaxpool.Global((0, 1)),
    }
    with jax.enable_x64(True):

        @jax.jit
        def f(x, alpha, lam):
            reduction = DetailPreserving(alpha, lam, None, True)
            return jaxpool.pool(x, domains[domain], reduction)

        check_grads(f, (jnp.asarray(x), jnp.array(0.4), jnp.array(3.3)), order=2, eps=1e-5)
        slopes = jax.grad(lambda *a: f(*a).sum(), (0, 1, 2))(jnp.asarray(x), 0.4, 2000.0)
        assert all(np.isfinite(slope).all() for slope in slopes)


def test_parameters_have_derivatives():
    x, where = jnp.asarray(X[:1, :4, :4], jnp.float32), WHERE[:1, :4, :4]
    with jax.enable_x64(True):
        x = jnp.asarray(x, jnp.float64)
        kernel = jnp.full((2, 2, 3), 0.2)

        @jax.jit
        def f(x, alpha, lam, kernel, beta):
            options = {"window_shape": (2, 2), "strides": 1, "where": where}
            y = jaxpool.detail_preserving_pool(x, **options, alpha=alpha, lam=lam, kernel=kernel)
            return y + jaxpool.ada_pool(x, **options, beta=beta)

        parameters = (jnp.full(3, 0.4), jnp.array(1.3), kernel, jnp.array([0.1, 0.5, 0.9]))
        check_grads(f, (x, *parameters), order=2, eps=1e-5)


MISTAKES = [
    (
        "adaptive_weighted_pool",
        {"weights": "euclid"},
        ValueError,
        "`weights` must be one of ('dice'",
    ),
    ("adaptive_weighted_pool", {"epsilon": 0}, ValueError, "`epsilon` must be a finite number > 0"),
    (
        "adaptive_weighted_pool",
        {"epsilon": "1"},
        TypeError,
        "`epsilon` must be a finite number > 0",
    ),
    ("ada_pool", {"beta": 2}, ValueError, "`beta` must be a number from 0 to 1, or a float array"),
    ("detail_preserving_pool", {"lam": -1}, ValueError, "`lam` must be a finite number >= 0"),
    (
        "detail_preserving_pool",
        {"alpha": None},
        TypeError,
        "`alpha` must be a finite number >= 0",
    ),
    ("detail_preserving_pool", {"symmetric": 1}, TypeError, "`symmetric` must be True or False"),
    ("detail_preserving_pool", {"kernel": 1.0}, TypeError, "`kernel` must be a float array; got"),
]


@pytest.mark.parametrize(("name", "options", "error", "text"), MISTAKES)
def test_mistakes(name, options, error, text):
    with pytest.raises(error) as caught:
        getattr(jaxpool, name)(X, (2, 2), **options)
    assert str(caught.value).startswith(f"{name}: {text}")
