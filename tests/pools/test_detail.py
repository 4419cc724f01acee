"""Facts about means with weights from a second look at the cell."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.reductions.detail import DetailPreserving
from tests import derivatives, oracle
from tests.cases import detail_weighted, dice_weighted

TESTS_OF = (
    "pools/detail.py",
    "reductions/detail.py",
    "lowering/sum.py",
    "pools/mixed.py",
    "reductions/mixed.py",
)
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
    beta = np.float32([0, 0.3, 1])
    arrays = {"alpha": np.float32([0.5]), "lam": np.full((3, 6, 3), 1.5, np.float32)}

    @jax.jit
    def pools(x, beta, arrays, lams):
        detail = partial(jaxpool.detail_preserving_pool, x, **options)
        return (
            jaxpool.adaptive_weighted_pool(x, **options, weights="inverse_distance", epsilon=0.1),
            jaxpool.ada_pool(x, **options, beta=beta),
            detail(alpha=0.5, lam=1.5, symmetric=False),
            detail(**arrays),
            [(detail(alpha=0.5, lam=n), detail(alpha=0.5, lam=lams[n])) for n in (1, 2)],
        )

    lams = {1: np.float32(1), 2: np.float32(2)}
    distance, ada, sided, by_arrays, by_lam = pools(X, beta, arrays, lams)
    close(distance, by(by_distance))
    close(ada, beta * by(dice_weighted) + (1 - beta) * by(by_softmax))
    if where is None:  # operation by operation
        close(jaxpool.ada_pool(X, **options, beta=beta), ada)
    close(sided, by(one_sided))
    close(by_arrays, by(detail_weighted))
    for lam, (by_number, by_array) in zip((1, 2), by_lam, strict=True):
        close(by_number, by(lambda v, pads: detail_weighted(v, pads, lam=lam)))  # noqa: B023
        close(by_number, by_array)


def test_a_filter_makes_the_reference():
    """Of the paper's full form; a filter of equal parts is the mean where nothing is missing."""
    pool = partial(jaxpool.detail_preserving_pool, window_shape=(2, 2))
    pools = jax.jit(lambda x, *kernels: (pool(x), *(pool(x, kernel=k) for k in kernels)))
    first = np.zeros((2, 2, 3), np.float32)
    first[0, 0] = 1
    plain, by_mean, by_first = pools(X, np.full((2, 2), 0.25, np.float32), first)
    close(by_mean, plain)
    expected = np.empty((2, 3, 3, 3))
    for n, i, j, c in np.ndindex(*expected.shape):
        values = X[n, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c].ravel().astype(np.float64)
        squares = (values - values[0]) ** 2 + 1e-3
        weights = 1 + (squares / squares.mean()) ** 0.5
        expected[n, i, j, c] = (weights * values).sum() / weights.sum()
    close(by_first, expected)


AVERAGES = {
    "dice": jaxpool.AdaptiveWeighted(),
    "distance": jaxpool.AdaptiveWeighted("inverse_distance"),
}


CONSTANT = {
    **{
        name: lambda x, *window, average=average, axes: jaxpool.pool(
            x, jaxpool.Window(*window, axes=axes), average
        )
        for name, average in AVERAGES.items()
    },
    "ada": jaxpool.ada_pool,
    "detail": jaxpool.detail_preserving_pool,
    "one_sided": partial(jaxpool.detail_preserving_pool, symmetric=False),
    "mixed": partial(jaxpool.mixed_pool, count_include_pad=False),
}


@pytest.mark.parametrize("name", CONSTANT)
@pytest.mark.parametrize(
    "size", [7, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (4, 16))]
)
def test_constants_are_preserved(name, size):
    """Of zero too, where Dice weights are exp(0/0) in the authors' code."""
    f = jax.jit(lambda x: CONSTANT[name](x, 3, 2, 1, axes=0))
    for value in (0.0, 3.0, -1e-3, 1e4):
        y = f(np.full((size, 5), value, np.float32))
        np.testing.assert_allclose(y, np.float32(value), rtol=1e-6)


@pytest.mark.parametrize("name", AVERAGES)
def test_over_all_domains(name):
    x = X[0, :, :, 0]
    kind = dice_weighted if name == "dice" else lambda v, p: by_distance(v, p, 1e-6)
    domains = (jaxpool.Adaptive((3, 4), axes=(0, 1)), jaxpool.Global(1))
    y, whole = jax.jit(lambda x: [jaxpool.pool(x, d, AVERAGES[name]) for d in domains])(x)
    expected = oracle.adaptive(kind, x, (3, 4), (0, 1))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whole, oracle.globally(kind, x, 1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", ["dice", "inverse_distance"])
def test_extreme_values(weights):
    x = np.float32([1e30, -1e30, 1e-30, 2e-30, 1e4, -1e4, 0.0, 1e-38])

    @jax.jit
    def both(x):
        y, vjp = jax.vjp(
            partial(jaxpool.adaptive_weighted_pool, window_shape=2, axes=0, weights=weights), x
        )
        return y, vjp(jnp.ones_like(y))[0]

    y, slope = both(x)
    assert np.isfinite(y).all()
    if weights == "inverse_distance":  # whose squares fit float32
        slope = both(x.clip(-1e15, 1e15))[1]
    assert np.isfinite(slope).all()
    if weights == "dice":
        exact = [dice_weighted(np.float64(pair), 0) for pair in x.reshape(4, 2)[1:3]]
        np.testing.assert_allclose(y[1:3], exact, rtol=1e-5, atol=1e-3)


def test_extreme_details_and_infinities():
    f = lambda x: jaxpool.detail_preserving_pool(x, 2, axes=0).sum()  # noqa: E731
    assert np.isfinite(jax.jit(jax.grad(f))(np.float32([1e15, -1e15, 0, 0]))).all()
    x = np.float32([np.inf, 1, -np.inf, 1, np.nan, 1, np.inf, -np.inf])
    pools = (jaxpool.adaptive_weighted_pool, jaxpool.ada_pool, jaxpool.detail_preserving_pool)
    for y in jax.jit(lambda x: [pool(x, 2, axes=0) for pool in pools])(x):
        np.testing.assert_array_equal(y, [np.inf, -np.inf, np.nan, np.nan])


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
    gradient = jax.jit(lambda x, g: jax.vjp(f, x)[1](g)[0])
    finite, third = np.float32([0, 1, 1, 0, 0]), np.float32([0, 0, 1, 0, 0])
    x = np.float32([5, 2, 1, 3, -300, -400])
    expected = gradient(x, finite)
    assert np.abs(expected).max() > 0.1
    for value in (-np.inf, np.inf, np.nan):
        bad = x.copy()
        bad[[0, 4, 5]] = value
        np.testing.assert_allclose(gradient(bad, finite), expected, rtol=1e-6)
    for value in (-500.0, 500.0):  # the rest of its cell is far below 0, or above
        beside = x.copy()
        beside[:2] = -np.inf, value
        assert np.isfinite(gradient(beside, third)).all()


def test_a_filter_has_derivatives_next_to_infinities():
    def f(kernel, x):
        return jaxpool.detail_preserving_pool(x, 2, 1, axes=0, kernel=kernel)[1:].sum()

    gradient, kernel = jax.jit(jax.grad(f)), np.float32([0.3, 0.9])
    expected = gradient(kernel, np.float32([5, 2, 1, 3]))
    for value in (-np.inf, np.nan):
        slope = gradient(kernel, np.float32([value, 2, 1, 3]))
        np.testing.assert_allclose(slope, expected, rtol=1e-6)


LAMS = [3, 200.0, 1e4, np.float32(200), np.float32(0.5)]


def far_details(values, lam, symmetric):
    """By logarithms of weights in float64."""
    distances = values - values.mean()
    squares = (distances if symmetric else np.maximum(distances, 0)) ** 2 + 1e-3
    logs = np.logaddexp(np.log(0.5), lam / 2 * np.log(squares / squares.mean()))
    weights = np.exp(logs - logs.max())
    return (weights * values).sum() / weights.sum()


def check_large_powers(pool, lam, symmetric, where):
    """Of ``pool(x, lam)``, which gives results, and maybe slopes."""
    exact = lambda values, pads: far_details(values, float(lam), symmetric)  # noqa: E731
    x = np.round(8 * X)  # so that elements as far from the mean as each other are so in float32
    expected = oracle.window(exact, x, **GEOMETRY, where=where)
    tolerance = {"rtol": 1e-5, "atol": 1e-5 + 3e-6 * float(lam)}
    np.testing.assert_allclose(pool(x, lam)[0], expected, **tolerance)
    for slope in pool(x + 64, lam)[1:]:
        assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("symmetric", "where"),
    [(True, None), (False, WHERE)]
    + [pytest.param(*p, marks=pytest.mark.exhaustive) for p in ((True, WHERE), (False, None))],
)
def test_large_powers(symmetric, where):
    """Padding may be farther from the mean than all that is in the cell."""
    options = {"alpha": 0.5, "symmetric": symmetric}
    detail = partial(jaxpool.detail_preserving_pool, **options)

    @jax.jit
    def pool(x, lam):
        y, vjp = jax.vjp(lambda x: detail(x, **GEOMETRY, where=where, lam=lam), x)
        return y, vjp(jnp.ones_like(y))[0]

    @jax.jit
    def edges(lam):
        return (
            detail(np.float32([0, 0, 0, 4]), 4, axes=0, lam=lam)[0],
            detail(np.float32([100, 100.1, 100.3]), 2, 1, 1, axes=0, lam=lam),
            detail(np.full(5, 3.0, np.float32), 2, axes=0, lam=lam),
        )

    for lam in LAMS:
        check_large_powers(pool, np.float32(lam), symmetric, where)
        peak, far, constant = edges(np.float32(lam))
        exact = far_details(np.array([0.0, 0, 0, 4]), float(lam), symmetric)
        np.testing.assert_allclose(peak, exact, rtol=1e-5)
        assert np.isfinite(far).all()
        np.testing.assert_allclose(constant, 3, rtol=1e-6)


@pytest.mark.parametrize(
    "lam", [200.0, *(pytest.param(n, marks=pytest.mark.exhaustive) for n in (3, 1e4))]
)
@pytest.mark.parametrize("where", [None, WHERE], ids=["plain", "masked"])
@pytest.mark.parametrize("symmetric", [True, False])
def test_large_powers_that_are_known(lam, symmetric, where, exhaustive):
    """As numbers of Python, of which it depends whether powers are moderate."""
    detail = partial(jaxpool.detail_preserving_pool, alpha=0.5, lam=lam, symmetric=symmetric)

    @jax.jit
    def pool(x, _):
        if not exhaustive:
            return (detail(x, **GEOMETRY, where=where),)
        y, vjp = jax.vjp(lambda x: detail(x, **GEOMETRY, where=where), x)
        return y, vjp(jnp.ones_like(y))[0]

    check_large_powers(pool, lam, symmetric, where)
    if not exhaustive:
        return
    values = np.array([0.0, 0, 0, 4])
    exact = far_details(values, lam, symmetric)
    np.testing.assert_allclose(detail(values, 4, axes=0)[0], exact, rtol=1e-5)
    far = detail(jnp.array([100.0, 100.1, 100.3]), 2, 1, 1, axes=0)
    assert np.isfinite(far).all()
    np.testing.assert_allclose(detail(jnp.full(5, 3.0), 2, axes=0), 3, rtol=1e-6)


DOMAINS = {
    "window": jaxpool.Window(2, 2, 1, axes=0),
    "adaptive": jaxpool.Adaptive(4, axes=0),
    "global": jaxpool.Global(0),
    "window of two axes": jaxpool.Window((3, 2), (2, 1), 1, axes=(0, 1)),
    "adaptive of two axes": jaxpool.Adaptive((4, 3), axes=(0, 1)),
    "global of two axes": jaxpool.Global((0, 1)),
}


@pytest.mark.parametrize(
    "domain",
    [pytest.param(n, marks=pytest.mark.exhaustive if "two" in n else ()) for n in DOMAINS],
)
def test_large_powers_have_derivatives(domain, exhaustive):
    x = np.random.default_rng(2).normal(size=(6, 7))

    def f(x, alpha, lam):
        return jaxpool.pool(x, DOMAINS[domain], DetailPreserving(alpha, lam, None, True))

    with jax.enable_x64(True):
        at = (x, np.array(0.4), np.array(3.3))
        gradient = derivatives.check(f, at)
        slopes = gradient(x, np.array(0.4), np.array(2000.0))
        assert all(np.isfinite(slope).all() for slope in slopes)
        if exhaustive:
            derivatives.check_every_mode(f, jax.tree.map(jnp.asarray, at), eps=1e-5)


@pytest.mark.parametrize(
    "pooled", [1, pytest.param(2, marks=pytest.mark.exhaustive)], ids=["1D", "2D"]
)
def test_parameters_have_derivatives(pooled, exhaustive):
    x, where = X[:1, :4, :4].astype(np.float64), WHERE[:1, :4, :4]
    if pooled == 1:
        x, where = x[:, 0], where[:, 0]
    options = {"window_shape": (2,) * pooled, "strides": 1, "where": where}

    def f(x, alpha, lam, kernel, beta):
        y = jaxpool.detail_preserving_pool(x, **options, alpha=alpha, lam=lam, kernel=kernel)
        return y + jaxpool.ada_pool(x, **options, beta=beta)

    kernel = np.full((*options["window_shape"], 3), 0.2)
    at = (x, np.full(3, 0.4), np.array(1.3), kernel, np.array([0.1, 0.5, 0.9]))
    with jax.enable_x64(True):
        derivatives.check(f, at)
        if exhaustive:
            derivatives.check_every_mode(f, jax.tree.map(jnp.asarray, at), eps=1e-5)


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
