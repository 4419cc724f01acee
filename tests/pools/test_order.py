"""Facts about order statistics: medians, quantiles, and means of elements by their rank."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import jaxpool
from jaxpool._src.lowering import bisection, networks, window_order
from tests.cases import distinct
from tests.test_contract import identical

TESTS_OF = (
    "pools/global_order.py",
    "reductions/order.py",
    "pools/order.py",
    "lowering/order.py",
    "lowering/networks.py",
    "lowering/window_order.py",
    "lowering/bisection.py",
    "lowering/tangent.py",
)

METHODS = ["linear", "lower", "higher", "midpoint", "nearest"]
NASTY = np.array([0, -0.0, 1, 1, -1, np.inf, -np.inf, 3e38, 1e-30, 7], np.float32)


def windows(x, k):
    """All windows of k x k, stride 1, with their elements along the last axis."""
    view = np.lib.stride_tricks.sliding_window_view(x, (k, k))
    return view.reshape(*view.shape[:2], k * k)


def test_networks_sort():
    """By the 0-1 principle: what sorts all zeros and ones sorts everything."""
    for size in range(1, 14):
        inputs = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
        for ranks in (range(size), [size // 2], [size - 1], [0, size // 2]):
            places = list(inputs.T)
            for a, b, first, second in networks.network(size, tuple(ranks)):
                low, high = np.minimum(places[a], places[b]), np.maximum(places[a], places[b])
                places[a] = low if first else None  # what is not needed is not there
                places[b] = high if second else None
            for rank in ranks:
                np.testing.assert_array_equal(places[rank], np.sort(inputs, 1)[:, rank])


def test_the_median_of_nine_has_a_small_network():
    assert len(networks.network(9, tuple(range(9)))) == 25
    assert len(networks.network(9, (4,))) <= 20


@pytest.mark.parametrize("method", METHODS)
def test_equals_numpy(method):
    """Quantiles of every kind, of windows by a network and of whole axes by bisection."""
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    qs = (0, 0.25, 1 / 3, 0.5, 0.9)

    @jax.jit
    def every(x):
        return [
            (
                jaxpool.quantile_pool(x, 3, 1, axes=(0, 1), q=q, interpolation=method),
                jaxpool.quantile_pool(x, 2, 1, axes=(0, 1), q=q, interpolation=method),
                jaxpool.global_quantile_pool(x, 1, q=q, interpolation=method),
            )
            for q in qs
        ]

    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7)
    for q, (of_nine, of_four, of_rows) in zip(qs, every(x), strict=True):
        exact = functools.partial(np.quantile, q=q, axis=-1, method=method)
        close(of_nine, exact(windows(x.astype(np.float64), 3)))
        close(of_four, exact(windows(x.astype(np.float64), 2)))
        close(of_rows, exact(x.astype(np.float64)))


def test_equals_scipy():
    x = np.random.default_rng(1).normal(size=(12, 11)).astype(np.float32)
    pool = functools.partial(jaxpool.quantile_pool, x, strides=1, axes=(0, 1))
    for k in (3, 5):
        inner = (slice(k // 2, -(k // 2)),) * 2
        wanted = scipy.ndimage.median_filter(x, k)[inner]
        identical(jaxpool.median_pool(x, k, 1, axes=(0, 1)), wanted)
        for rank in (0, 2, k * k - 2):
            wanted = scipy.ndimage.rank_filter(x, rank, k)[inner]
            identical(pool(k, q=rank / (k * k - 1), interpolation="nearest"), wanted)
    wanted = scipy.ndimage.percentile_filter(x, 75, 3)[1:-1, 1:-1]
    identical(pool(3, q=0.75, interpolation="nearest"), wanted)


def test_equals_torch():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    x = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    t = torch.from_numpy(x)
    wanted = torch.median(t, 1).values.numpy()

    @jax.jit
    def run(x):
        top = [(jaxpool.k_max_pool(x, k, 1), jaxpool.global_top_k_mean_pool(x, 1, k=k))
               for k in (1, 3, 8)]  # fmt: skip
        return jaxpool.global_median_pool(x, 1, interpolation="lower"), top

    lower, of_k = run(x)
    identical(lower, wanted)
    for k, (largest, found) in zip((1, 3, 8), of_k, strict=True):
        top = torch.topk(t, k, 1)
        in_order = torch.gather(t, 1, torch.sort(top.indices, 1).values)
        identical(largest, in_order.numpy())
        np.testing.assert_allclose(found, top.values.mean(1), rtol=1e-6)


@pytest.mark.parametrize("dtype", [
    "float32", "uint8",
    *(pytest.param(dtype, marks=pytest.mark.exhaustive) for dtype in ("bfloat16", "int32")),
])  # fmt: skip
def test_networks_and_bisection_agree_bit_for_bit(dtype, monkeypatch, exhaustive):
    """Windows with few values, so that nearly all have ties, and with all that is special."""
    rng = np.random.default_rng(3)
    floating = "float" in dtype
    x = rng.choice(NASTY, (14, 15)) if floating else rng.integers(0, 4, (14, 15))
    x = np.array(jnp.asarray(x).astype(dtype))
    if floating:
        x[3, 4] = np.nan
    where = rng.random(x.shape) < 0.8
    lower = {"q": 0.4, "interpolation": "lower"}

    def pool(x, where):
        return jaxpool.quantile_pool(x, (4, 3), 2, 1, axes=(0, 1), where=where, **lower)

    @jax.jit
    def f(x, where):
        if not floating:
            return pool(x, where), pool(x, None)
        both = [jax.vjp(functools.partial(pool, where=w), x) for w in (where, None)]
        return [(y, back(jnp.ones_like(y))) for y, back in both]

    by_network = f(x, where)
    for module in (bisection, window_order):
        monkeypatch.setattr(module, "MOST_IN_NETWORK", 0)
    jax.clear_caches()  # or the network that is traced already would be taken again
    by_bisection = f(x, where)
    part = (...,) if exhaustive else (slice(7), slice(8))  # 56 elements are too many for a network
    monkeypatch.undo()
    jax.clear_caches()

    @jax.jit
    def twice(x, where):
        options = {"axes": (0, 1), "where": where, **lower}
        as_window = jaxpool.quantile_pool(x, x.shape, **options)[0, 0]
        return as_window, jaxpool.global_quantile_pool(x, **options)

    few = where if exhaustive else where & (rng.random(x.shape) < 0.4)
    few[3, 4] &= exhaustive  # or all would be NaN
    assert (~few[part]).sum() > 31  # who is missing is counted in words of 32 bits
    as_window, whole = twice(x[part], few[part])
    by_network = [*jax.tree.leaves(by_network), as_window]
    for a, b in zip(by_network, [*jax.tree.leaves(by_bisection), whole], strict=True):
        identical(np.asarray(a).astype(np.float64), np.asarray(b).astype(np.float64))


def test_sums_by_rank_agree():
    """Of a small window by a network, of whole axes by sorting; also what is learned."""
    x = distinct((4, 6))
    weights = np.random.default_rng(4).normal(size=6).astype(np.float32)
    where = np.random.default_rng(5).random(x.shape) < 0.7

    @functools.partial(jax.jit, static_argnums=2)
    def f(x, weights, as_window, where):
        def pool(x, weights):
            if as_window:
                y = jaxpool.rank_pool(x, 6, axes=1, weights=weights, where=where)[:, 0]
            else:
                y = jaxpool.global_rank_pool(x, 1, weights=weights, where=where)
            return jnp.sum(jnp.sin(y)), y

        (_, y), gradient = jax.value_and_grad(pool, (0, 1), has_aux=True)(x, weights)
        by_weights = lambda x: jax.grad(pool, 1, has_aux=True)(x, weights)[0]  # noqa: E731
        return y, gradient, jax.jvp(by_weights, (x,), (jnp.ones_like(x),))[1]

    for w in (None, where):
        by_network, sorted_ = (jax.tree.leaves(f(x, weights, n, w)) for n in (True, False))
        for a, b in zip(by_network, sorted_, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-5)
    order = np.argsort(-x, 1)
    of_x, of_weights = f(x, weights, False, None)[1]
    slope = np.cos((np.take_along_axis(x, order, 1) * weights).sum(1, keepdims=True))
    by_rank = np.take_along_axis(np.asarray(of_x), order, 1)
    np.testing.assert_allclose(by_rank, slope * weights, rtol=1e-4, atol=1e-6)
    wanted = (slope * np.take_along_axis(x, order, 1)).sum(0)
    np.testing.assert_allclose(of_weights, wanted, rtol=1e-4, atol=1e-5)


def test_weights_of_channels_and_layouts():
    x = distinct((2, 4, 5, 3))
    weights = np.random.default_rng(6).normal(size=(4, 3)).astype(np.float32)
    y = np.asarray(jaxpool.rank_pool(x, (2, 2), 1, weights=weights))
    part = x[:, 1:3, 2:4]
    ranked = -np.sort(-part.reshape(2, 4, 3), 1)
    wanted = (ranked * weights).sum(1)
    np.testing.assert_allclose(y[:, 1, 2], wanted, rtol=1e-5, atol=1e-6)
    for keepdims in (False, True):
        whole = jaxpool.global_rank_pool(part, (1, 2), weights=weights, keepdims=keepdims)
        np.testing.assert_allclose(whole.reshape(2, 3), wanted, rtol=1e-5, atol=1e-6)
    first = np.moveaxis(part, -1, 1)
    turned = jaxpool.rank_pool(first, 2, 1, axes=(2, 3), weights=weights[:, :, None, None])
    np.testing.assert_allclose(turned[..., 0, 0], wanted, rtol=1e-5, atol=1e-6)


def test_weights_are_scaled_or_given_by_number():
    x = np.array([4.0, 2, 8, 1, 16], np.float32)
    # Windows (4 2), (2 8 1) and (1 16), with the largest first.
    expected = [
        ([0.5, 0.25, 0.25], [10 / 3, 4.75, 11]),
        ([1], [4, 8, 16]),
        ([0, 0, 3.0], [0, 3, 0]),
        (lambda r, n: r < 2, [3, 5, 8.5]),
        (lambda r, n: r == n - 1, [2, 1, 1]),
    ]
    pool = functools.partial(jaxpool.rank_pool, window_shape=3, strides=2, padding=1, axes=0)
    run = jax.jit(lambda x: [pool(x, weights=weights) for weights, _ in expected])
    for found, (_, wanted) in zip(run(x), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    infinite = np.array([np.inf, 1, 2, -np.inf], np.float32)
    trimmed = lambda r, n: (r > 0) & (r < n - 1)  # noqa: E731
    assert jaxpool.global_rank_pool(infinite, 0, weights=trimmed) == 1.5
    assert jax.jit(lambda x: jaxpool.rank_pool(x, 4, axes=0, weights=trimmed))(infinite)[0] == 1.5


def test_top_k_by_hand():
    x = np.array([3.0, 1, 3, 2, 3, 0], np.float32)
    np.testing.assert_allclose(jaxpool.top_k_mean_pool(x, 3, axes=0, k=2), [3, 2.5])
    np.testing.assert_allclose(jaxpool.top_k_mean_pool(x, 3, axes=0, k=9), [7 / 3, 5 / 3])
    np.testing.assert_allclose(jaxpool.global_top_k_mean_pool(x, 0, k=0.5), 3)
    np.testing.assert_allclose(jaxpool.global_top_k_mean_pool(x, 0, k=0.01), 3)
    for f in (
        lambda x: jaxpool.global_top_k_mean_pool(x, 0, k=2),
        lambda x: jaxpool.top_k_mean_pool(x, 6, axes=0, k=2)[0],
    ):  # of equal elements, the first
        np.testing.assert_allclose(jax.grad(f)(x), [0.5, 0, 0.5, 0, 0, 0])


def test_wildcat_by_hand():
    x = np.array([[3.0, 1, -4, 2], [np.nan, 0, 1, 2]], np.float32)
    np.testing.assert_allclose(jaxpool.wildcat_pool(x, 1), [-1, np.nan])
    np.testing.assert_allclose(jaxpool.wildcat_pool(x, 1, kmax=2, kmin=1, alpha=0.5)[0], 0.5)
    np.testing.assert_allclose(jaxpool.wildcat_pool(x, 1, kmax=2, kmin=0)[0], 2.5)
    np.testing.assert_allclose(jaxpool.wildcat_pool(x, 1, kmax=0.75)[0], 2 - 1 / 3, rtol=1e-6)
    slope = jax.grad(lambda a: jaxpool.wildcat_pool(x[0], 0, kmin=2, alpha=a))(0.7)
    np.testing.assert_allclose(slope, -1.5)


def test_falling_weights_are_between_maximum_and_mean():
    x = distinct((3, 7))
    where = np.arange(7) < 5
    pool = jax.jit(lambda d: jaxpool.global_weighted_rank_pool(x, 1, where=where, decay=d))
    np.testing.assert_allclose(pool(0.0), x[:, :5].max(1), rtol=1e-6)
    np.testing.assert_allclose(pool(1.0), x[:, :5].mean(1), rtol=1e-5, atol=1e-6)
    weights = 0.7 ** np.arange(5)
    wanted = (-np.sort(-x[:, :5].astype(np.float64), 1) * weights).sum(1) / weights.sum()
    np.testing.assert_allclose(pool(0.7), wanted, rtol=1e-5, atol=1e-6)
    slope = jax.jit(jax.grad(lambda d: pool(d).sum()))
    for d in (0.0, 0.5, 1.0):
        low, high = max(d - 1e-2, 0), min(d + 1e-2, 1)
        numeric = (pool(high).sum() - pool(low).sum()) / (high - low)
        np.testing.assert_allclose(slope(d), numeric, rtol=5e-2)


def test_k_max_keeps_the_order():
    x = np.array([[1.0, 5, 2, 5, 0], [np.nan, 1, 2, 3, 4]], np.float32)
    identical(jaxpool.k_max_pool(x, 3, 1), np.array([[5, 2, 5], [np.nan, 3, 4]], np.float32))
    identical(jaxpool.k_max_pool(x[:1], 1, -1), np.array([[5]], np.float32))
    where = np.array([[True, False, True, False, True], [False, False, False, True, False]])
    y = jaxpool.k_max_pool(x, 2, 1, where=where, empty_value=-9)
    identical(y, np.array([[1, 2], [3, -9]], np.float32))
    assert jaxpool.k_max_pool(x[:1].astype(np.int8), 2, 1).dtype == np.int8
    gradient = jax.grad(lambda x: (jaxpool.k_max_pool(x, 3, 1) @ jnp.arange(1.0, 4)).sum())(x[:1])
    np.testing.assert_array_equal(gradient, [[0, 1, 2, 3, 0]])
    np.testing.assert_array_equal(jaxpool.k_max_pool(x.T, 3, 0).T, jaxpool.k_max_pool(x, 3, 1))


def test_gradient_goes_to_the_first_of_equal_elements():
    x = np.array([2.0, 1, 2, 0, 2, 1], np.float32)
    for f in (
        lambda x: jaxpool.median_pool(x, 5, axes=0)[0],
        lambda x: jaxpool.global_median_pool(x[:5], 0),
        lambda x: jaxpool.pool(x, jaxpool.Intervals([0], [5], axes=0), jaxpool.Median())[0],
    ):
        np.testing.assert_array_equal(jax.grad(f)(x), [1, 0, 0, 0, 0, 0])
    for f in (
        lambda x: jaxpool.median_pool(x, 6, axes=0)[0],
        lambda x: jaxpool.global_median_pool(x, 0),
    ):
        np.testing.assert_array_equal(jax.grad(f)(x), [0.5, 0.5, 0, 0, 0, 0])


def test_a_nan_takes_the_gradient_of_its_cells():
    x = np.array([1.0, np.nan, 2, np.nan, 4, 5], np.float32)
    for f in (
        lambda x: jaxpool.median_pool(x, 4, 2, axes=0),
        lambda x: jnp.stack(
            [jaxpool.global_median_pool(x[:4], 0), jaxpool.global_median_pool(x[2:], 0)]
        ),
    ):
        assert np.isnan(f(x)).all()
        np.testing.assert_array_equal(jax.grad(lambda x: f(x).sum())(x), [0, 1, 0, 1, 0, 0])  # noqa: B023


def test_intervals_with_bounds_of_the_program():
    x = distinct((3, 9), seed=2)
    starts, stops = np.array([0, 2, 5]), np.array([4, 9, 6])

    @jax.jit
    def f(x, starts, stops):
        domain = jaxpool.Intervals(starts, stops, axes=1)
        return (
            jaxpool.pool(x, domain, jaxpool.Median()),
            jaxpool.pool(x, domain, jaxpool.TopKMean(2)),
            jaxpool.pool(x, domain, jaxpool.RankMean([0.75, 0.25])),
        )

    median, top, ranked = f(x, starts, stops)
    for i, (start, stop) in enumerate(zip(starts, stops, strict=True)):
        best = -np.sort(-x[:, start:stop], 1)[:, :2].astype(np.float64)
        np.testing.assert_allclose(median[:, i], np.median(x[:, start:stop], 1), rtol=1e-6)
        np.testing.assert_allclose(top[:, i], best.mean(1), rtol=1e-6)
        weights = np.array([0.75, 0.25])[: best.shape[1]]
        np.testing.assert_allclose(ranked[:, i], (best * weights).sum(1) / weights.sum(), rtol=1e-5)


@pytest.mark.parametrize("method", ["lower", "linear"])
def test_ints(method):
    x = np.array([2**30 + 1, 2**30 + 3, -5, 7], np.int32)
    y = jaxpool.global_median_pool(x, 0, interpolation=method)
    z = jaxpool.median_pool(x, 4, axes=0, interpolation=method)[0]
    assert y.dtype == z.dtype == (np.int32 if method == "lower" else np.float32)
    assert y == z == (7 if method == "lower" else 2**29 + 4)
    largest = jaxpool.global_quantile_pool(x, 0, q=1, interpolation="nearest")
    assert largest == 2**30 + 3
    flags = jaxpool.median_pool(np.array([True, False, True]), 3, axes=0, interpolation="lower")
    assert flags.dtype == bool
    assert flags.tolist() == [True]


def test_constants_stay():
    """Also where a quantile is between two elements."""
    x = np.full((7, 7), 0.1, np.float32)
    for size, q in ((2, 0.1), (3, 0.3), (4, 0.77)):
        y = jaxpool.quantile_pool(x, size, 1, "SAME", axes=(0, 1), q=q)
        np.testing.assert_array_equal(y, x)
    assert jaxpool.global_median_pool(np.full(4, np.inf, np.float32), 0) == np.inf


Q = "`q` must be a number in [0, 1], no array; got q={}."
K = "`{}` must be an int >= {}, or a fraction in (0, 1); got {}={!r}."
WEIGHTS = (
    "`weights` must be numbers, one for each rank from the largest element on, an array, or a "
    "function; got weights={}."
)
MISTAKES = [
    ("quantile_pool", ValueError, Q.format(1.5), {"q": 1.5}),
    ("quantile_pool", ValueError, Q.format("nan"), {"q": float("nan")}),
    ("quantile_pool", TypeError, Q.format(True), {"q": True}),
    ("quantile_pool", TypeError, Q.format("array(0.5)"), {"q": np.array(0.5)}),
    (
        "median_pool",
        ValueError,
        "`interpolation` must be one of ('linear', 'lower', 'higher', 'midpoint', 'nearest'); got "
        "interpolation='middle'.",
        {"interpolation": "middle"},
    ),
    ("top_k_mean_pool", ValueError, K.format("k", 1, "k", 0), {"k": 0}),
    ("top_k_mean_pool", ValueError, K.format("k", 1, "k", 1.0), {"k": 1.0}),
    ("top_k_mean_pool", TypeError, K.format("k", 1, "k", "2"), {"k": "2"}),
    ("rank_pool", TypeError, WEIGHTS.format(0.5), {"weights": 0.5}),
    ("rank_pool", TypeError, WEIGHTS.format([]), {"weights": []}),
    ("rank_pool", TypeError, WEIGHTS.format(["1"]), {"weights": ["1"]}),
    ("wildcat_pool", ValueError, K.format("kmax", 1, "kmax", 0), {"kmax": 0}),
    ("wildcat_pool", ValueError, K.format("kmin", 0, "kmin", -1), {"kmin": -1}),
    (
        "wildcat_pool",
        TypeError,
        "`alpha` must be a number or a scalar array; got alpha='1'.",
        {"alpha": "1"},
    ),
    (
        "global_weighted_rank_pool",
        ValueError,
        "`decay` must be a number in [0, 1] or a scalar array; got decay=1.1.",
        {"decay": 1.1},
    ),
]


@pytest.mark.parametrize(("name", "error", "text", "options"), MISTAKES)
def test_wrong_options(name, error, text, options):
    window = {} if name.startswith(("global", "wildcat")) else {"window_shape": 2}
    with pytest.raises(error) as caught:
        getattr(jaxpool, name)(np.ones(4), axes=0, **window, **options)
    assert str(caught.value) == f"{name}: {text}"


def test_wrong_k():
    with pytest.raises(
        ValueError, match=r"k_max_pool: `k` must be an int in \[1, 4\], the size of"
    ):
        jaxpool.k_max_pool(np.ones((2, 4)), 5, 1)
    with pytest.raises(TypeError, match=r"k_max_pool: `k` must be an int >= 1; got k=0\.5"):
        jaxpool.k_max_pool(np.ones((2, 4)), 0.5, 1)
    with pytest.raises(TypeError, match=r"k_max_pool: `axis` must be an int; got axis=\(0, 1\)"):
        jaxpool.k_max_pool(np.ones((2, 4)), 2, (0, 1))


def test_weights_that_do_not_broadcast():
    for weights, shape in ((jnp.ones((2, 7)), (4, 3)), (jnp.ones((2, 3)), (4, 1))):
        with pytest.raises(ValueError, match=r"^rank_pool: `weights` must broadcast"):
            jaxpool.rank_pool(jnp.ones(shape), (2,), weights=weights)


def test_a_mean_without_a_fifth_on_both_sides():
    trimmed = lambda r, n: (r + 1 > 0.2 * n) & (r < 0.8 * n)  # noqa: E731
    x = jnp.arange(9.0) ** 2
    expected = np.sort(x)[1:-1].mean()
    np.testing.assert_allclose(jaxpool.rank_pool(x, 9, axes=0, weights=trimmed), [expected])


def test_gradients_of_sets_that_fill_a_word():
    """Windows of 8, 16 and 32 elements whose last one is chosen, with strides that do not divide."""
    sizes = [(8, 3), (16, 3), (32, 5)]
    x = np.arange(70, dtype=np.float32)

    @jax.jit
    def gradients(x):
        pools = [
            lambda x, k=k, s=s: jaxpool.top_k_mean_pool(x, k, s, axes=0, k=2) for k, s in sizes
        ]
        return [jax.vjp(pool, x)[1](jnp.ones((70 - k) // s + 1))[0]
                for pool, (k, s) in zip(pools, sizes, strict=True)]  # fmt: skip

    for (k, s), found in zip(sizes, gradients(x), strict=True):
        expected = np.zeros(70)
        for start in range(0, 70 - k + 1, s):
            expected[start + k - 2 : start + k] += 0.5
        np.testing.assert_array_equal(found, expected)


def test_a_nan_of_either_sign_is_above_all():
    """0/0 has its sign bit set on x86."""
    x = np.arange(120, dtype=np.float32)
    domains = [jaxpool.Window(3, axes=0), jaxpool.Window(60, axes=0), jaxpool.Global(0, keepdims=True),
               jaxpool.Adaptive(2, axes=0)]  # fmt: skip

    @jax.jit
    def medians(x):
        return [jaxpool.pool(x, domain, jaxpool.Median()) for domain in domains]

    for sign in (1, -1):
        x[100] = np.copysign(np.nan, sign)
        for y in medians(x):
            assert np.isnan(y[(100 * len(y)) // 120])


def test_quantiles_where_most_of_a_large_window_is_masked():
    """More elements are missing than a word has bits."""
    x, where = distinct((160,)), np.random.default_rng(0).random(160) < 0.12
    pools = [
        lambda x, w, q=q: jaxpool.quantile_pool(x, 40, axes=0, q=q, where=w) for q in (0.2, 0.5)
    ]
    found = jax.jit(lambda x, w: [pool(x, w) for pool in pools])(x, where)
    for q, y in zip((0.2, 0.5), found, strict=True):
        for cell in range(4):
            inside = x[40 * cell : 40 * cell + 40][where[40 * cell : 40 * cell + 40]]
            assert 0 < inside.size < 9
            np.testing.assert_allclose(y[cell], np.quantile(inside, q), rtol=1e-6)


def test_the_first_of_equal_elements_has_the_first_rank():
    weights = (0.5, 0.3, 0.2)
    loss = lambda x: jaxpool.rank_pool(x, 3, axes=0, weights=weights)[0]  # noqa: E731
    for x, expected in [([1, 1, 0], weights), ([0, 1, 1], (0.2, 0.5, 0.3)), ([2, 2, 2], weights)]:
        np.testing.assert_allclose(jax.grad(loss)(np.float32(x)), expected)
