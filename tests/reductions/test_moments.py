"""Facts about variances, standard deviations and moments."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxpool
from tests import derivatives, oracle

TESTS_OF = (
    "reductions/moments.py",
    "reductions/units.py",
    "pools/moments.py",
    "domains/global_.py",
    "core/parameters.py",
)

X = np.random.default_rng(0).normal(size=(2, 7, 6, 4)).astype(np.float32)
WHERE = np.random.default_rng(1).random((2, 7, 6, 1)) < 0.6
WEIGHTS = np.where(WHERE, np.random.default_rng(2).random(X.shape), 0).astype(np.float32)


def moment(values, order, weights=None, *, standardize=False):
    """By definition, in float64."""
    values = np.asarray(values, np.float64)
    weights = np.ones(values.shape) if weights is None else np.asarray(weights, np.float64)
    mean = (weights * values).sum() / weights.sum()
    y = (weights * (values - mean) ** order).sum() / weights.sum()
    if standardize:
        y /= (weights * (values - mean) ** 2).sum() / weights.sum() if order == 2 else 1
        y /= 1 if order == 2 else moment(values, 2, weights) ** (order / 2)
    return y


KINDS = {
    "variance": (jaxpool.Variance(), lambda v, pads: np.var(v)),
    "std": (jaxpool.Std(), lambda v, pads: np.std(v)),
    "third": (jaxpool.Moment(3), lambda v, pads: moment(v, 3)),
    "fifth": (jaxpool.Moment(5), lambda v, pads: moment(v, 5)),
    "kurtosis": (
        jaxpool.Moment(4, standardize=True),
        lambda v, pads: moment(v, 4, standardize=True) if len(v) > 1 else 0,
    ),
}
WINDOWS = [
    {"window_shape": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))},
    {"window_shape": (2, 3), "strides": 2, "padding": "SAME", "dilation": (2, 1)},
    {"window_shape": (3, 3), "strides": 3, "ceil_mode": True},
]
STARTS, STOPS = (0, 2, 1), (3, 7, 6)


def close(y, expected, rtol=2e-5):
    np.testing.assert_allclose(y, expected, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name == "third" else pytest.mark.exhaustive)
    for name in KINDS])  # fmt: skip
def test_over_all_domains(name):
    """As loops have it: windows of every kind, whole axes, bins, intervals, groups, under a mask."""
    reduction, kind = KINDS[name]
    bounds = jnp.array(STARTS), jnp.array(STOPS)

    @jax.jit
    def pools(x, where, bounds):
        pool = partial(jaxpool.pool, reduction=reduction)
        return (
            [pool(x, jaxpool.Window(**w), where=where, empty_value=7) for w in WINDOWS],
            pool(x, jaxpool.Global((1, 2))),
            pool(x, jaxpool.Adaptive((3, 4)), where=where, empty_value=7),
            pool(x, jaxpool.Intervals(STARTS, STOPS, axes=1)),
            pool(x, jaxpool.Intervals(*bounds, axes=1)),
            pool(x, jaxpool.Groups(2)),
        )

    x = X[:, :, :, :2]
    windows, whole, bins, known, traced, groups = pools(x, WHERE, bounds)
    masked = {"where": WHERE, "empty_value": 7}
    for y, window in zip(windows, WINDOWS, strict=True):
        close(y, oracle.window(kind, x, **window, **masked))
    close(whole, oracle.globally(kind, x, (1, 2)))
    close(bins, oracle.adaptive(kind, x, (3, 4), (1, 2), **masked))
    expected = oracle.intervals(kind, x, [list(zip(STARTS, STOPS, strict=True))], (1,))
    close(known, expected)
    close(traced, expected)
    close(groups, oracle.window(kind, x, 2, axes=3))


def test_equals_numpy_and_scipy():
    x = X.reshape(2, -1, 4)
    y = jax.jit(
        lambda x: (
            [jaxpool.global_variance_pool(x, 1, ddof=n) for n in (0, 1, 3)],
            [jaxpool.global_std_pool(x, 1, ddof=n) for n in (0, 1)],
            [jaxpool.pool(x, jaxpool.Global(1), jaxpool.Moment(n)) for n in (1, 2, 3, 4)],
            jaxpool.pool(x, jaxpool.Global(1), jaxpool.Moment(3, standardize=True)),
        )
    )(x)
    x = x.astype(np.float64)
    expected = (
        [x.var(1, ddof=n) for n in (0, 1, 3)],
        [x.std(1, ddof=n) for n in (0, 1)],
        [scipy.stats.moment(x, n, axis=1) for n in (1, 2, 3, 4)],
        scipy.stats.skew(x, axis=1),
    )
    for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6)


def test_equals_pytorch():
    """In gradients too."""
    torch = pytest.importorskip("torch", reason="torch is the oracle")
    theirs = torch.tensor(X, requires_grad=True)
    y = theirs.std((1, 2)), theirs.var((1, 2), correction=0)
    sum(v.sum() for v in y).backward()

    @jax.jit
    def run(x):
        pools = lambda x: (  # noqa: E731
            jaxpool.global_std_pool(x, (1, 2), ddof=1), jaxpool.global_variance_pool(x, (1, 2))
        )  # fmt: skip
        ours, vjp = jax.vjp(pools, x)
        return ours, vjp(jax.tree.map(jnp.ones_like, ours))[0]

    ours, gradient = run(X)
    for a, b in zip(ours, y, strict=True):
        np.testing.assert_allclose(a, b.detach(), 2e-6)
    np.testing.assert_allclose(gradient, theirs.grad, 1e-5, 1e-7)


def test_floats_are_weights_and_ddof_is_taken_from_their_sum():
    w = np.float32([0.5, 2, 0, 1.25])
    x = np.float32([1, -2, np.nan, 3])
    unit = np.ones(4, np.float32)

    @jax.jit
    def pools(x, w, unit):
        pool = lambda r, w, x=x: jaxpool.pool(x, jaxpool.Global(0), r, where=w, empty_value=7)  # noqa: E731
        return (
            [pool(jaxpool.Variance(n), w) for n in (0, 1, 3, 4)],
            [pool(r, w) for r in (jaxpool.Std(), jaxpool.Std(2), jaxpool.Moment(3))],
            pool(jaxpool.Moment(4, standardize=True), w),
            [pool(jaxpool.Variance(1), u, jnp.nan_to_num(x)) for u in (unit, None)],
            pool(jaxpool.Variance(), 0 * w),
        )

    variances, others, kurtosis, units, empty = pools(x, w, unit)
    kept, v = np.delete(x, 2).astype(np.float64), np.delete(w, 2).astype(np.float64)
    squares = moment(kept, 2, v) * v.sum()
    np.testing.assert_allclose(
        variances,
        [squares / v.sum(), squares / (v.sum() - 1), squares / (v.sum() - 3), np.nan],
        1e-6,
    )
    np.testing.assert_allclose(
        others,
        [moment(kept, 2, v) ** 0.5, (squares / (v.sum() - 2)) ** 0.5, moment(kept, 3, v)],
        1e-6,
    )
    np.testing.assert_allclose(kurtosis, moment(kept, 4, v, standardize=True), 1e-6)
    np.testing.assert_array_equal(*units)
    assert empty == 7


def test_too_few_elements_are_nan_and_none_are_empty():
    """And neither has a gradient."""
    x = np.float32([1, 5, 2, 4, 9, 9])
    where = np.array([1, 0, 1, 1, 0, 0], bool)

    @jax.jit
    def both(x, where):
        pools = lambda x: [  # noqa: E731
            f(x, 2, axes=0, where=where, empty_value=7, ddof=n)
            for f in (jaxpool.variance_pool, jaxpool.std_pool) for n in (0, 1, 2)
        ]  # fmt: skip
        y, vjp = jax.vjp(pools, x)
        return y, vjp([jnp.ones(3)] * 6)[0]

    y, gradient = both(x, where)
    nan = np.nan
    expected = [[0, 1, 7], [nan, 2, 7], [nan, nan, 7], [0, 1, 7], [nan, 2**0.5, 7], [nan, nan, 7]]
    np.testing.assert_allclose(y, expected, 1e-6)
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[[0, 1, 4, 5]] == 0).all()
    padded = jaxpool.std_pool(x[:3], 2, 2, ((1, 0),), axes=0, ddof=1)  # no element of padding
    np.testing.assert_allclose(padded, [nan, np.std([5, 2], ddof=1)], 1e-6)


SIZES = [(1, 0), (1, 1e4), (1, -3e6), (1e18, 0), (1e-18, 0), (1e25, 1e30), (1e37, 0), (1e-30, 0)]


def test_elements_of_any_size():
    """Far from 0, large and tiny: what is representable is right, and so is its gradient."""
    x = np.random.default_rng(3).normal(size=(len(SIZES), 50))
    size, shift = np.array(SIZES).T[..., None]
    x = (x * size + shift).astype(np.float32)

    @jax.jit
    def run(x):
        pools = {"std": jaxpool.global_std_pool, "variance": jaxpool.global_variance_pool}
        for n in (3, 4):
            kind = jaxpool.Moment(n, standardize=True)
            pools[str(n)] = partial(jaxpool.pool, domain=jaxpool.Global(1), reduction=kind)
        found = {}
        for name, f in pools.items():
            f = f if name in "34" else partial(f, axes=1)
            y, vjp = jax.vjp(f, x)
            found[name] = y, vjp(jnp.ones_like(y))[0]
        windows = jaxpool.std_pool(x, 50, axes=1)[:, 0], jaxpool.std_pool(x[:, :9], 9, axes=1)[:, 0]
        return found, windows

    found, windows = run(x)
    x = x.astype(np.float64)
    n, d = x.shape[1], x - x.mean(1, keepdims=True)
    std, variance = x.std(1), x.var(1)
    np.testing.assert_allclose(found["std"][0], std, 1e-6)
    np.testing.assert_allclose(found["std"][1], d / (n * std[:, None]), 1e-5, 1e-8)
    np.testing.assert_allclose(windows[0], std, 1e-6)
    np.testing.assert_allclose(windows[1], x[:, :9].std(1), 1e-6)
    fits = (variance < 1e38) & (variance > 1e-37)
    np.testing.assert_allclose(found["variance"][0][fits], variance[fits], 2e-6)
    slope, scale = (2 * d / n)[fits], std[fits, None]
    np.testing.assert_allclose(found["variance"][1][fits] / scale, slope / scale, 1e-5, 1e-8)
    assert np.isinf(found["variance"][0][variance > 1e39]).all()
    assert not np.isnan(found["variance"][1]).any()
    for order in (3, 4):
        y, gradient = found[str(order)]
        np.testing.assert_allclose(y, (d**order).mean(1) / std**order, 1e-4, 1e-5)
        assert np.isfinite(gradient).all()


def test_high_orders_neither_overflow_nor_vanish():
    x = np.random.default_rng(3).normal(size=(40,)).astype(np.float32) * np.float32(50) + 1000
    orders = (8, 17, 20)
    y, z = jax.jit(
        lambda x: tuple(
            [jaxpool.pool(x, jaxpool.Global(0), jaxpool.Moment(n, s)) for n in orders]
            for s in (False, True)
        )
    )(x)
    np.testing.assert_allclose(y[:2], [moment(x, n) for n in orders[:2]], 1e-4)
    np.testing.assert_allclose(z, [moment(x, n, standardize=True) for n in orders], 1e-4)


ALIKE = {
    "variance": jaxpool.Variance(),
    "std": jaxpool.Std(),
    "least": jaxpool.Std(epsilon=0.25),
    "first": jaxpool.Moment(1),
    "skewness": jaxpool.Moment(3, standardize=True),
}


def test_equal_elements_have_no_spread_and_no_gradient():
    """Of numbers that means round too, with weights as well; second derivatives are finite."""
    x = np.repeat(np.float32([[0], [0.1], [-1 / 3], [1e30], [1e-30], [3.3e38]]), 7, 1)
    w = np.random.default_rng(0).random(7).astype(np.float32)
    wave = np.float32(derivatives.wave(x))

    @jax.jit
    def run(x, w):
        pool = partial(jaxpool.pool, domain=jaxpool.Global(1))
        fs = {name: partial(pool, reduction=r, where=w) for name, r in ALIKE.items()}
        fs["window"] = lambda x: jaxpool.std_pool(x, 7, axes=1)
        fs["plain"] = partial(pool, reduction=jaxpool.Variance())
        found = {}
        for name, f in fs.items():

            def gradient(x, f=f):
                y, vjp = jax.vjp(f, x)
                return vjp(jnp.ones_like(y))[0], y

            found[name] = jax.jvp(gradient, (x,), (wave,), has_aux=True)
        return found

    found = run(x, w)
    for name, (gradient, second, y) in found.items():
        np.testing.assert_array_equal(y, 0.5 if name == "least" else 0)
        np.testing.assert_array_equal(gradient, 0)
        assert np.isfinite(second).all()
    expected = 2 / 7 * (wave - wave.mean(1, keepdims=True))  # of squares
    np.testing.assert_allclose(found["plain"][1], expected, 1e-4, 1e-6)


@pytest.mark.parametrize("domain", [
    jaxpool.Global(0, keepdims=True),
    pytest.param(jaxpool.Window(3, 1, ((1, 1),), axes=0), marks=pytest.mark.exhaustive),
], ids=["whole", "windows"])  # fmt: skip
def test_derivatives_against_differences(domain):
    """Of x, of weights and of the least variance."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(5)
        x, w = rng.normal(size=(6, 2)), 0.8 + rng.random((6, 2))
        epsilon = np.float64([0.05, 0.6])

        def f(x, w, epsilon):
            pool = partial(jaxpool.pool, domain=domain, where=w)
            skewness = pool(x, reduction=jaxpool.Moment(3, standardize=True))
            return pool(x, reduction=jaxpool.Std(1, epsilon)), skewness

        derivatives.check(f, (x, w, epsilon), step=1e-5, rtol=1e-4)


def test_gradients_are_those_of_finite_cells():
    """Whatever is not finite next to them; such a cell is NaN and has no gradient."""
    kinds = (jaxpool.Variance(), jaxpool.Std(), jaxpool.Moment(3, True))
    window = jaxpool.Window(2, 1, axes=0)

    @jax.jit
    def run(x, g):
        y, vjp = jax.vjp(lambda x: [jaxpool.pool(x, window, kind) for kind in kinds], x)
        return y, vjp([g] * 3)[0]

    x, g = np.float32([5, 2, 1, 3, -300, -400]), np.float32([1, 2, 1, 3, 1])
    finite = np.float32([0, 2, 1, 0, 0])
    expected = run(x, finite)[1]
    for value in (-np.inf, np.inf, np.nan):
        bad = x.copy()
        bad[[0, 4, 5]] = value
        y, gradient = run(bad, g)
        np.testing.assert_array_equal(np.isnan(y), [[True, False, False, True, True]] * 3)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_statistics_lie_side_by_side_along_channels():
    @jax.jit
    def pools(x, where):
        return (
            jaxpool.stats_pool(x, (1, 2), where=where, ddof=1),
            jaxpool.stats_pool(x, 1, keepdims=True),
            jaxpool.stats_pool(x[0, :, 0], 0),
        )

    y, kept, flat = pools(X, WHERE)
    values = [X[i][WHERE[i, ..., 0]].astype(np.float64) for i in (0, 1)]
    expected = [np.concatenate([v.mean(0), v.std(0, ddof=1)]) for v in values]
    np.testing.assert_allclose(y, expected, 1e-5, 1e-6)
    x = X.astype(np.float64)
    expected = np.concatenate([x.mean(1, keepdims=True), x.std(1, keepdims=True)], -1)
    np.testing.assert_allclose(kept, expected, 1e-5, 1e-6)
    assert flat.shape == (8,)


def test_dtypes():
    """Accumulated in float32 at least; a mean of squares in bfloat16 would be 256 here."""
    x = np.tile(np.float32([-1, 1]), 2048).astype(jnp.bfloat16)
    y = jaxpool.global_variance_pool(x, 0), jaxpool.stats_pool(x[:, None], 0)
    assert [v.dtype for v in y] == [jnp.bfloat16] * 2
    np.testing.assert_array_equal(np.float32(y[0]), 1)
    np.testing.assert_array_equal(np.float32(y[1]), [0, 1])
    ints = jaxpool.stats_pool(np.array([[-128], [127]], np.int8), 0)
    assert ints.dtype == np.float32
    np.testing.assert_array_equal(ints, [-0.5, 127.5])


@pytest.mark.parametrize(("error", "message", "call"), [
    (ValueError, "variance_pool: `ddof` must be an int >= 0; got ddof=-1.",
     lambda: jaxpool.variance_pool(X, (2, 2), ddof=-1)),
    (TypeError, "std_pool: `ddof` must be an int >= 0; got ddof=0.5.",
     lambda: jaxpool.std_pool(X, (2, 2), ddof=0.5)),
    (ValueError, "global_std_pool: `epsilon` must be a finite number >= 0, or a float array; got "
     "epsilon=-1.", lambda: jaxpool.global_std_pool(X, 1, epsilon=-1)),
    (ValueError, "stats_pool: `channel_axis` must be an axis of x that is not pooled; got "
     "channel_axis=1 for x.shape=(2, 7, 6, 4).",
     lambda: jaxpool.stats_pool(X, (1, 2), channel_axis=1)),
    (TypeError, "stats_pool: `ddof` must be an int >= 0; got ddof=True.",
     lambda: jaxpool.stats_pool(X, 1, ddof=True)),
    (ValueError, "pool: `order` must be an int >= 1; got order=0.",
     lambda: jaxpool.pool(X, jaxpool.Global(1), jaxpool.Moment(0))),
    (TypeError, "pool: `standardize` must be True or False; got standardize=1.",
     lambda: jaxpool.pool(X, jaxpool.Global(1), jaxpool.Moment(3, 1))),
])  # fmt: skip
def test_mistakes_are_answered(error, message, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
