"""Facts about pools that draw: frequencies against exact probabilities, with fixed seeds.

A test of frequencies fails by chance for one seed in 10 000, and seeds are fixed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxpool

TESTS_OF = (
    "pools/random.py",
    "reductions/random.py",
    "pools/s3.py",
    "lowering/taps.py",
    "lowering/strips.py",
)

DRAWS = 4000
KEY = jax.random.key(0)
POOLS = {
    "stochastic": jaxpool.stochastic_pool,
    "rank": jaxpool.rank_stochastic_pool,
    "dropout": jaxpool.max_pool_dropout,
    "mixed": functools.partial(jaxpool.random_mixed_pool, per="cell"),
    "s3": jaxpool.s3_pool,
}
pools = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)


def agrees(drawn, values, probabilities):
    """Whether numbers of draws are as likely as they should be, and nothing else was drawn."""
    counts = np.array([(np.asarray(drawn) == v).sum() for v in values])
    assert counts.sum() == np.size(drawn)
    possible = np.array(probabilities) > 0
    assert counts[~possible].sum() == 0
    if possible.sum() == 1:
        return
    expected = np.array(probabilities)[possible] * np.size(drawn)
    assert stats.chisquare(counts[possible], expected, sum_check=False).pvalue > 1e-4


def copies(values):
    """As many cells of these values as there are draws, in one array."""
    return np.broadcast_to(np.float32(values), (DRAWS, len(values)))


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [0, 5, 0, 1], [2, -3, 0, 6, 1], [0, 0, 0, 7]])
def test_elements_are_drawn_by_their_size(values):
    weights = np.maximum(values, 0)

    @jax.jit
    def pools(x, key):
        return (
            jaxpool.stochastic_pool(x, len(values), axes=1, key=key)[:, 0],
            jaxpool.global_stochastic_pool(x, 1, key=key),
            jaxpool.pool(x, jaxpool.Adaptive(1, axes=1), jaxpool.Stochastic(key))[:, 0],
        )

    for y in pools(copies(values), KEY):
        distinct = sorted(set(values))
        total = [sum(w for v, w in zip(values, weights, strict=True) if v == u) for u in distinct]
        agrees(y, distinct, np.array(total) / weights.sum())


def test_windows_are_drawn_independently_where_they_overlap():
    y = jaxpool.stochastic_pool(copies([1, 3, 2]), 2, 1, axes=1, key=KEY)
    pairs = y[:, 0] * 10 + y[:, 1]
    agrees(pairs, [13, 12, 33, 32], np.array([3, 2, 9, 6]) / 20)


def test_channels_and_examples_are_drawn_independently():
    x = jnp.broadcast_to(jnp.array([[1.0], [3.0]]), (DRAWS, 2, 2))
    y = jaxpool.stochastic_pool(x, (2,), key=KEY)[:, 0]
    agrees(y[:, 0] * 10 + y[:, 1], [11, 13, 31, 33], np.array([1, 3, 3, 9]) / 16)
    y = np.asarray(y)
    follow = y[1:, 0] * 10 + y[:-1, 0]
    agrees(follow[::2], [11, 13, 31, 33], np.array([1, 3, 3, 9]) / 16)


@pytest.mark.parametrize("alpha", [0.5, 0.2, 1.0])
def test_ranks_are_drawn_in_geometric_proportion(alpha):
    values = [3, -1, 8, 0]
    y = jaxpool.rank_stochastic_pool(copies(values), 4, axes=1, alpha=alpha, key=KEY)
    probabilities = alpha * (1 - alpha) ** np.arange(4)
    agrees(y, sorted(values, reverse=True), probabilities / probabilities.sum())


def test_ranks_are_those_of_what_takes_part():
    x, where = copies([3, 9, 8, 0]), jnp.array([True, False, True, False])
    y = jaxpool.rank_stochastic_pool(x, 4, axes=1, key=KEY, where=where)
    agrees(y, [8, 3], [2 / 3, 1 / 3])


@pytest.mark.parametrize("rate", [0.5, 0.2, 0.0, 1.0])
def test_dropout_leaves_maxima_with_the_papers_probabilities(rate):
    """P(x_(j)) = (1 - p) p^(n - j) in ascending order; 0 if all are dropped."""
    y = jaxpool.max_pool_dropout(copies([3, 5, 8, 1]), 4, axes=1, rate=rate, key=KEY)
    agrees(y, [8, 5, 3, 1, 0], [*(1 - rate) * rate ** np.arange(4.0), rate**4])


@pytest.mark.parametrize(("per", "distinct"), [("call", 1), ("map", 2), ("cell", 8)])
def test_maximum_or_mean_is_drawn_for(per, distinct):
    x = jnp.tile(jnp.array([1.0, 3]), (2, 4))[..., None]  # 2 maps of 4 cells

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, None))
    def f(key, alpha):
        y = jaxpool.random_mixed_pool(x, (2,), alpha=alpha, per=per, key=key)
        return y.ravel()

    keys = jax.random.split(KEY, DRAWS)
    agrees(f(keys, np.float32(0.25))[:, 3], [3, 2], [0.25, 0.75])
    code = (np.asarray(f(keys, np.float32(0.5))) == 3) @ (2 ** np.arange(8))
    assert len(set(code.tolist())) == 2**distinct


def test_s3_keeps_one_of_each_strip_in_order():
    """In strips of 4, each with 2 kept: all 6 pairs alike; of the rest of 2, one."""
    x = jnp.arange(11.0)  # windows of 2 have the maxima 1 .. 10
    f = jax.vmap(lambda key: jaxpool.s3_pool(x, 2, 2, axes=0, grid=4, key=key))
    y = np.asarray(f(jax.random.split(KEY, DRAWS)))
    assert y.shape == (DRAWS, 5)
    for first in (0, 4):
        pairs = [(a, b) for a in range(1, 5) for b in range(a + 1, 5)]
        cells = y[:, first // 2 : first // 2 + 2] - first
        agrees(cells @ [10, 1], [10 * a + b for a, b in pairs], [1 / 6] * 6)
    agrees(y[:, 4], [9, 10], [1 / 2] * 2)


def test_s3_draws_from_long_strips():
    """Of which the program does not grow with the length."""
    x = jnp.arange(41.0)  # windows of 2 have the maxima 1 .. 40

    def pool(x, key):
        return jaxpool.s3_pool(x, 2, 2, axes=0, grid=40, key=key, where=x != 7, empty_value=-1)

    def kept(key):
        y, vjp = jax.vjp(lambda x: pool(x, key), x)
        return y, vjp(jnp.arange(1.0, 21))[0]

    y, gradient = map(np.asarray, jax.jit(jax.vmap(kept))(jax.random.split(KEY, DRAWS)))
    assert (np.diff(y) >= 0).all()  # twice 6, as 7 takes no part
    for draw in range(0, DRAWS, 97):
        expected = np.zeros(41)
        np.add.at(expected, y[draw].astype(int), np.arange(1.0, 21))
        np.testing.assert_array_equal(gradient[draw], expected)
    share = (y[:, :, None] == np.arange(1.0, 41)).sum(1).mean(0)
    expected = np.full(40, 0.5)
    expected[5], expected[6] = 1, 0
    assert np.abs(share - expected).max() < 5 * 0.5 / DRAWS**0.5


def test_s3_expects_the_mean_of_maxima_and_shares_what_it_draws():
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
    f = lambda key: jaxpool.s3_pool(x, (2, 3), (2, 1), ((0, 1), (1, 1)), key=key)  # noqa: E731
    y = np.asarray(jax.jit(jax.vmap(f))(jax.random.split(KEY, DRAWS)))
    test, mean = jax.jit(lambda x: (
        jaxpool.s3_pool(x, (2, 3), (2, 1), ((0, 1), (1, 1)), deterministic=True),
        jaxpool.avg_pool(jaxpool.max_pool(x, (2, 3), 1, ((0, 1), (1, 1))), (2, 1)),
    ))(x)  # fmt: skip
    np.testing.assert_allclose(test, mean, rtol=1e-6)
    error, spread = y.mean(0, np.float64) - test, y.std(0, np.float64) / DRAWS**0.5
    # Of 108 numbers; that one is beyond has the probability 6e-5.
    assert (np.abs(error) < 5 * spread + 1e-6).all()
    # The same rows for all maps, which rising values tell apart.
    rows = jaxpool.s3_pool(
        np.broadcast_to(np.arange(7, dtype=np.float32)[:, None, None], x.shape),
        (2, 3), (2, 1), ((0, 1), (1, 1)), key=KEY,
    )  # fmt: skip
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:1, :, :1, :1], rows.shape))


def numpy_ranked(values, ratio, norm):
    weights = (1 - ratio) * ratio ** np.arange(len(values)) / norm(len(values))
    return (weights * np.sort(values)[::-1]).sum()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("axis", [(0,), (0, 1)])
def test_expectations_by_loops(axis, masked):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(6, 5)).astype(np.float32)
    x[2:4] = 1  # ties
    where = rng.random(x.shape) < 0.6 if masked else np.ones_like(x, bool)
    sizes, steps = (4, 2)[: len(axis)], (2, 1)[: len(axis)]
    common = {"axes": axis, "where": where if masked else None, "deterministic": True}
    rank, drop = map(np.asarray, jax.jit(lambda x: (
        jaxpool.rank_stochastic_pool(x, sizes, steps, **common, alpha=0.3),
        jaxpool.max_pool_dropout(x, sizes, steps, **common, rate=0.4),
    ))(x))  # fmt: skip
    for index in np.ndindex(*rank.shape):
        part = tuple(
            slice(steps[a] * index[a], steps[a] * index[a] + sizes[a]) if a in axis else index[a]
            for a in (0, 1)
        )
        values = x[part][where[part]].astype(np.float64)
        if not values.size:
            assert rank[index] == drop[index] == 0
            continue
        expected = numpy_ranked(values, 0.7, lambda n: 1 - 0.7**n)
        np.testing.assert_allclose(rank[index], expected, rtol=1e-5, atol=1e-6)
        expected = numpy_ranked(values, 0.4, lambda n: 1)
        np.testing.assert_allclose(drop[index], expected, rtol=1e-5, atol=1e-6)


@pools
def test_samples_have_the_expectation(pool):
    x = np.random.default_rng(2).random((3, 4)).astype(np.float32)
    one = functools.partial(pool, x, 2, 2, axes=(0, 1), padding=((1, 0), 0))

    @jax.jit
    def both(keys):
        return jax.vmap(lambda key: one(key=key))(keys), one(deterministic=True)

    y, test = both(jax.random.split(KEY, DRAWS))
    y = np.asarray(y, np.float64)
    spread = np.maximum(y.std(0), 1e-9) / DRAWS**0.5
    assert (np.abs(y.mean(0) - test) < 5 * spread + 1e-6).all()


@pools
def test_a_key_is_needed_and_decides(pool):
    x = jnp.asarray(np.random.default_rng(3).random((8, 8)), jnp.float32)
    f = jax.jit(lambda key: pool(x, 2, axes=(0, 1), key=key))
    np.testing.assert_array_equal(f(KEY), f(KEY))
    assert any((f(KEY) != f(jax.random.key(seed))).any() for seed in range(1, 4))
    keys = jax.random.split(KEY, 2)
    np.testing.assert_array_equal(jax.vmap(f)(keys), [f(keys[0]), f(keys[1])])
    with pytest.raises(
        ValueError, match=r"`key` must be given unless `deterministic`; got key=None"
    ):
        pool(x, 2, axes=(0, 1))
    with pytest.raises(TypeError, match=r"`key` must be a key of jax.random; got key=0"):
        pool(x, 2, axes=(0, 1), key=0)
    with pytest.raises(TypeError, match=r"`deterministic` must be True or False; got determin"):
        pool(x, 2, axes=(0, 1), deterministic=1)
    with pytest.raises(ValueError, match=r"`strides` must be an int >= 1"):
        pool(x, 2, 0, axes=(0, 1), key=KEY)


@pytest.mark.parametrize("name", ["stochastic", "rank"])
def test_the_gradient_is_1_for_what_is_drawn(name):
    x = (np.random.default_rng(4).permutation(70).reshape(7, 10) + 1).astype(np.float32)
    where = x % 5 != 0

    def f(x):
        return POOLS[name](x, 3, 2, 1, axes=(0, 1), key=KEY, where=where)

    @jax.jit
    def everything(x):
        y, vjp = jax.vjp(f, x)
        gradient = jax.grad(lambda x: (f(x) ** 2).sum())
        second = jax.jvp(gradient, (x,), (jnp.ones_like(x),))[1]
        return y, vjp(jnp.ones_like(y))[0], jax.jvp(f, (x,), (x * 2,))[1], second

    y, gradient, *_ = everything(np.where(where, x, np.float32(np.nan)))
    times = np.array([[(y == v).sum() for v in row] for row in x])
    np.testing.assert_array_equal(gradient, times)
    _, _, tangent, second = everything(x)
    np.testing.assert_array_equal(tangent, 2 * y)
    np.testing.assert_array_equal(second, 2 * times)


@pytest.mark.parametrize("deterministic", [False, True])
def test_windows_of_zeros_give_0_with_gradient_0(deterministic):
    f = lambda x: jaxpool.stochastic_pool(x, 2, axes=0, key=KEY, deterministic=deterministic)  # noqa: E731
    gradient = jax.grad(lambda x: f(x).sum())
    everything = jax.jit(lambda x: (f(x), *jax.jvp(gradient, (x,), (jnp.ones_like(x),))))
    y, first, second = everything(np.float32([0, 0, -1, -2, 0, 4]))
    assert y.tolist() == [0, 0, 4]
    assert first.tolist()[:4] == [0, 0, 0, 0]
    assert np.isfinite(second).all()


@pytest.mark.parametrize("deterministic", [False, True])
def test_nan_and_infinity_stay_in_their_windows(deterministic):
    x, options = (
        np.float32([1, np.nan, 2, np.inf, 3, 3]),
        {"axes": 0, "deterministic": deterministic},
    )
    pools = [POOLS[name] for name in ("stochastic", "rank")]
    found = jax.jit(lambda x, key: [pool(x, 2, key=key, **options) for pool in pools])(x, KEY)
    for y in found:
        assert np.isnan(y[0])
        assert not np.isnan(y[1:]).any()
        assert y[2] == 3
    assert found[0][1] == np.inf


def test_what_is_infinite_or_nan_is_drawn_and_has_the_gradient():
    """NaN if there is one, else one of the infinite elements, each as likely."""
    inf, nan = np.inf, np.nan
    x = np.float32([[1, inf, 2, inf, -inf], [nan, inf, nan, 3, 1], [-inf, nan, -1, 0, 2]])
    x = np.broadcast_to(x[:, None], (3, DRAWS, 5)).reshape(-1, 5)

    @jax.jit
    def pools(x):
        windows = lambda x: jaxpool.stochastic_pool(x, 5, axes=1, key=KEY)[:, 0]  # noqa: E731
        whole = lambda x: jaxpool.global_stochastic_pool(x, 1, key=KEY)  # noqa: E731
        results = []
        for f in (windows, whole):
            y, vjp = jax.vjp(f, x)
            results.append((y, vjp(jnp.ones_like(y))[0]))
        return results

    for y, gradient in pools(x):
        y, gradient = np.asarray(y).reshape(3, DRAWS), np.asarray(gradient).reshape(3, DRAWS, 5)
        assert (y[0] == inf).all()
        assert np.isnan(y[1:]).all()
        place = gradient.argmax(-1)
        np.testing.assert_array_equal(gradient, np.arange(5) == place[..., None])
        agrees(place[0], [1, 3], [0.5, 0.5])
        assert (place[1] == 2).all()  # the last NaN, as of a maximum
        assert (place[2] == 1).all()


def test_large_elements_are_drawn_by_their_size():
    """Their sum is beyond all numbers of float32."""
    values = np.float32([3e38, 1e38, 1e-30, 2e38])

    @jax.jit
    def run(x):
        f = lambda x: jaxpool.stochastic_pool(x, 4, axes=1, key=KEY)[:, 0]  # noqa: E731
        y, vjp = jax.vjp(f, x)
        return y, vjp(jnp.ones_like(y))[0]

    y, gradient = run(copies(values))
    agrees(y, values, [1 / 2, 1 / 6, 0, 1 / 3])
    np.testing.assert_array_equal(gradient, np.asarray(y)[:, None] == values)


def test_large_windows_run_in_a_loop():
    x = np.random.default_rng(5).random(100).astype(np.float32)
    f = lambda x: jaxpool.stochastic_pool(x, 70, 10, axes=0, key=KEY)  # noqa: E731
    y, gradient = jax.jit(lambda x: (f(x), jax.grad(lambda x: f(x).sum())(x)))(x)
    assert np.isin(y, x).all()
    np.testing.assert_array_equal(gradient, [(y == v).sum() for v in x])
    text = str(jax.make_jaxpr(f)(x))
    assert "scan" in text


def test_no_array_for_each_tap_is_kept():
    """Less than a bool for each of the 9 taps is kept for the backward pass."""
    x = jnp.ones((4, 32, 32, 8))
    f = lambda x: jaxpool.stochastic_pool(x, (3, 3), 1, 1, key=KEY)  # noqa: E731
    kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(f, x)[1], x))
    kept = [r for r in kept if r.size >= x.size // 2]
    assert kept
    assert sum(r.size * r.dtype.itemsize for r in kept) < 9 * x.size


@pytest.mark.parametrize("grid", [3, (2, 3)])
def test_strips_hold_whole_blocks(grid):
    with pytest.raises(ValueError, match=r"^s3_pool: `grid` must be multiples of the strides"):
        jaxpool.s3_pool(jnp.ones((8, 8)), 2, axes=(0, 1), grid=grid, key=KEY)


def test_rates_are_probabilities():
    x = jnp.ones(4)
    with pytest.raises(ValueError, match=r"^max_pool_dropout: `rate` must be a number from 0 to 1"):
        jaxpool.max_pool_dropout(x, 2, axes=0, rate=-0.1, key=KEY)
    with pytest.raises(
        ValueError, match=r"^rank_stochastic_pool: `alpha` must be a number above 0"
    ):
        jaxpool.rank_stochastic_pool(x, 2, axes=0, alpha=0, key=KEY)
    for name, value in (("alpha", 0.0), ("alpha", 1.5), ("alpha", np.nan), ("rate", -0.5)):
        pool = POOLS["rank" if name == "alpha" else "dropout"]
        for array in (jnp.float32(value), np.full((), value, np.float32)):
            with pytest.raises(ValueError, match=f"_pool.*: `{name}` must be a number"):
                pool(x, 2, axes=0, key=KEY, **{name: array})
    with pytest.raises(
        ValueError, match=r"^random_mixed_pool: `per` must be one of \('call', 'map'"
    ):
        jaxpool.random_mixed_pool(x, 2, axes=0, per="batch", key=KEY)


def test_export_with_a_symbolic_batch():
    shape = jax.export.symbolic_shape("b, 6, 6, 2")
    f = jax.jit(lambda x, key: jaxpool.stochastic_pool(x, (3, 3), 2, 1, key=key))
    arguments = (jax.ShapeDtypeStruct(shape, np.float32), jax.random.key_data(KEY))
    exported = jax.export.export(f)(*arguments)
    x = jnp.asarray(np.random.default_rng(6).random((3, 6, 6, 2)), jnp.float32)
    np.testing.assert_array_equal(exported.call(x, arguments[1]), f(x, arguments[1]))


@functools.cache
def slope_of_expectation():
    pool = functools.partial(jaxpool.stochastic_pool, window_shape=2, axes=0, deterministic=True)
    return jax.jit(jax.grad(lambda x: pool(x).sum()))


@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
def test_expectations_of_any_scale_have_a_gradient(scale):
    gradient = slope_of_expectation()(np.float32([1, 2]) * np.float32(scale))
    np.testing.assert_allclose(gradient, [1 / 9, 7 / 9], rtol=1e-5)


def test_a_small_alpha_draws_ranks_alike():
    pool = functools.partial(jaxpool.rank_stochastic_pool, window_shape=4, axes=0, alpha=1e-8)
    ones, x = np.ones(4, np.float32), np.arange(4, dtype=np.float32)
    mean, draws = jax.jit(lambda keys: (
        pool(ones, deterministic=True), jax.vmap(lambda k: pool(x, key=k))(keys)
    ))(jax.random.split(jax.random.key(0), 400))  # fmt: skip
    np.testing.assert_allclose(mean, [1], 1e-6)
    counts = np.bincount(np.asarray(draws).ravel().astype(int), minlength=4)
    assert counts.min() > 60  # of 100 expected, 4.6 standard deviations


def test_a_traced_alpha_of_0_draws_ranks_alike():
    x = copies([3, -1, 8, 0])
    pool = functools.partial(jaxpool.rank_stochastic_pool, window_shape=4, axes=1)
    y, mean = jax.jit(lambda alpha: (
        pool(x, alpha=alpha, key=KEY), pool(x[:1], alpha=alpha, deterministic=True)
    ))(np.float32(0))  # fmt: skip
    agrees(y, [3, -1, 8, 0], [1 / 4] * 4)
    np.testing.assert_allclose(mean, [[2.5]], rtol=1e-6)


@pytest.mark.parametrize("name", ["rank", "dropout"])
def test_infinity_elsewhere_leaves_the_slope_in_the_rate(name):
    """That of the cells that are finite, by differences in float64."""
    x = np.float32([1, 5, 3, np.inf, 2, 4, -1, -np.inf, np.inf, 2, np.nan, 7])
    keyword = {"rank": "alpha", "dropout": "rate"}[name]

    @jax.jit
    @jax.value_and_grad
    def total(rate):
        y = POOLS[name](x, 3, axes=0, deterministic=True, **{keyword: rate})
        return jnp.where(jnp.isfinite(y), y, 0).sum() + y[1] * 0.5

    def by_loop(rate):
        if name == "rank":
            return numpy_ranked([1, 5, 3], 1 - rate, lambda n: 1 - (1 - rate) ** n)
        return numpy_ranked([1, 5, 3], rate, lambda n: 1)

    pool = functools.partial(POOLS[name], x, 3, axes=0, deterministic=True)
    forward = jax.jacfwd(lambda rate: pool(**{keyword: rate}))(np.float32(0.3))
    np.testing.assert_array_equal(forward[1:], 0)
    value, slope = total(np.float32(0.3))
    assert value == np.inf
    np.testing.assert_allclose(forward[0], slope, rtol=1e-5)
    expected = (by_loop(0.3 + 1e-6) - by_loop(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_rank_stochastic_of_alpha_1_is_the_maximum_with_a_slope():
    def f(alpha):
        x = jnp.arange(4.0)
        return jaxpool.rank_stochastic_pool(x, 4, axes=0, alpha=alpha, deterministic=True)[0]

    value, slope = jax.jit(jax.value_and_grad(f))(1.0)
    assert value == 3
    np.testing.assert_allclose(slope, 1)  # of alpha*3 + alpha*(1-alpha)*2 + ...


def test_errors_of_keys_and_strides():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match=r"^stochastic_pool: `key` must be a single key; got"):
        jaxpool.stochastic_pool(jnp.ones(4), 2, axes=0, key=jax.random.split(key))
    with pytest.raises(TypeError, match=r"^stochastic_pool: `key` must be a key of jax.random"):
        jaxpool.stochastic_pool(jnp.ones(4), 2, axes=0, key=jnp.ones(2))
    with pytest.raises(TypeError, match=r"^s3_pool: `key` must be a key of jax.random; got key=0"):
        jaxpool.s3_pool(jnp.ones(4), 2, axes=0, key=0, deterministic=True)
    with pytest.raises(ValueError, match=r"^stochastic_pool: `key` must be a single key; got"):
        jaxpool.stochastic_pool(jnp.ones(4), 2, axes=0, key=np.zeros(3, np.uint32))
    with pytest.raises(ValueError, match=r"^s3_pool: `strides` must be at most 3 along axis 0"):
        jaxpool.s3_pool(jnp.arange(5.0), 3, 4, axes=0, key=key)


def test_one_positive_element_is_always_drawn():
    """From windows and whole axes of any size, of which large ones are passed in a loop."""
    x = np.zeros(200, np.float32)
    x[50] = 3
    assert jaxpool.global_stochastic_pool(x, 0, key=KEY) == 3
    for k in (5, 40, 65, 100):
        y = jaxpool.stochastic_pool(x, k, axes=0, key=KEY)
        assert y[50 // k] == 3
        assert np.count_nonzero(y) == 1


def test_large_windows_are_ranked_in_order():
    """With an alpha near 1 the largest element is drawn, which is the first here."""
    x = -np.arange(200, dtype=np.float32)
    for k in (5, 20, 100):
        y = jaxpool.rank_stochastic_pool(x, k, axes=0, key=KEY, alpha=0.99999)
        np.testing.assert_array_equal(y, x[::k])


def test_padding_has_no_rank_along_any_axis():
    x = -1 - np.random.default_rng(0).permutation(20).reshape(4, 5).astype(np.float32)
    y = jaxpool.rank_stochastic_pool(x, (3, 3), 1, 1, axes=(0, 1), alpha=0.3, deterministic=True)
    for i, j in np.ndindex(4, 5):
        window = x[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].ravel()
        weights = 0.3 * 0.7 ** np.arange(window.size)
        expected = np.sort(window)[::-1] @ (weights / weights.sum())
        np.testing.assert_allclose(y[i, j], expected, rtol=1e-6)
