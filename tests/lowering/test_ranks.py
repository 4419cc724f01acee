"""Ranks that a program finds, against NumPy in float64; and order statistics of large windows."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.lowering.ranks import Number, Place
from tests import oracle

TESTS_OF = (
    "lowering/ranks.py",
    "lowering/looped_order.py",
    "lowering/window_order.py",
    "lowering/folds.py",
)

RNG = np.random.default_rng(0)
COUNTS = np.concatenate([
    np.arange(1, 200), RNG.integers(1, 2**31 - 1, 500), [2**24, 2**24 + 1, 2**31 - 1],
]).astype(np.int32)  # fmt: skip
FACTORS = [0.0, 1.0, 0.5, 0.1, 0.7, 1 / 3, 1e-9, 1e-30, 1 - 2**-53, 1 - 2**-30, 2**-31,
           0.5 + 2**-40, *RNG.random(8)]  # fmt: skip
MODES = ["linear", "lower", "higher", "midpoint", "nearest"]


@pytest.mark.parametrize("mode", MODES)
def test_places_are_those_of_float64(mode):
    rounded = {"linear": np.floor, "midpoint": np.floor, "lower": np.floor, "higher": np.ceil,
               "nearest": np.round}  # fmt: skip

    @jax.jit
    def found(n):
        return [Place(float(q), mode).traced(n, np.float32) for q in FACTORS]

    for q, traced in zip(FACTORS, found(COUNTS), strict=True):
        place = (COUNTS.astype(np.int64) - 1) * q
        wanted = place - np.floor(place) if mode == "linear" else (place > np.floor(place)) / 2
        for rank, left in (traced, Place(q, mode).known(COUNTS.astype(np.int64))):
            np.testing.assert_array_equal(rank, rounded[mode](place))
            if mode in ("linear", "midpoint"):
                np.testing.assert_allclose(left, wanted, atol=2e-7)


def test_numbers_of_elements_are_those_of_float64():
    found = jax.jit(lambda n: [Number(float(q)).traced(n) for q in FACTORS[1:]])(COUNTS)
    for q, traced in zip(FACTORS[1:], found, strict=True):
        wanted = np.maximum(np.round(COUNTS * q), 1)
        np.testing.assert_array_equal(traced, wanted)
        np.testing.assert_array_equal(Number(q).known(COUNTS), wanted)


# Taps in some rounds of a loop, along one and two axes, with padding, holes and a mask.
LARGE = {
    "plain": ((300,), (70,), (7,), (1,), (0,), False),
    "padded": ((90,), (65,), (9,), (1,), (30,), False),
    "planes": ((20, 18), (9, 8), (3, 2), (1, 1), (4, 3), False),
    "dilated": ((40, 33), (9, 8), (5, 5), (2, 3), (3, 3), True),
}


def cells(shape, sizes, strides, dilation, padding, ceil_mode):
    """For each cell its elements' places in a flat x, in order."""
    axes = zip(shape, sizes, strides, dilation, [(p, p) for p in padding], strict=True)
    starts = [oracle.starts(*axis, ceil_mode)[0] for axis in axes]
    for start in itertools.product(*starts):
        taps = itertools.product(*(
            [first + j * d for j in range(k)] for first, k, d in zip(start, sizes, dilation, strict=True)
        ))  # fmt: skip
        inside = [t for t in taps if all(0 <= i < n for i, n in zip(t, shape, strict=True))]
        yield np.ravel_multi_index(np.array(inside).T, shape)


def expected(places, x, mask):
    """The median's lower element and its mean, a quantile, the means of some largest, a rank mean;
    and where the gradient of each is, with ties the first."""
    places = places[mask.ravel()[places]]
    order = places[
        np.argsort(x.ravel()[places], kind="stable")
    ]  # ascending, of ties the first first
    n, v = len(order), x.ravel()[order].astype(np.float64)
    falling = places[np.argsort(-x.ravel()[places], kind="stable")]

    def spread(weights, order):
        slope = np.zeros(x.size)
        np.add.at(slope, order[: len(weights)], weights)
        return slope

    def at(place):
        low = int(np.floor(place))
        weights = np.zeros(n)
        weights[low] += 1 - (place - low)
        weights[min(low + 1, n - 1)] += place - low
        firsts = [order[np.flatnonzero(v == value)[0]] for value in v]  # a rank's first element
        return (weights * v).sum(), spread(weights, np.array(firsts))

    def top(k):
        return np.sort(v)[::-1][:k].mean(), spread(np.full(k, 1 / k), falling)

    ranks = np.array([0.5, 0.3, 0.2])
    ranked = (ranks * np.sort(v)[::-1][:3]).sum(), spread(ranks, falling)
    share = max(int(np.round(0.2 * n)), 1)
    return [at((n - 1) // 2), at((n - 1) / 2), at((n - 1) * 0.3), top(5), top(share), ranked]


@pytest.mark.parametrize(
    "name",
    [
        "padded",
        "dilated",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("plain", "planes")),
    ],
)
def test_large_windows(name, exhaustive):
    shape, sizes, strides, dilation, padding, ceil_mode = LARGE[name]
    x = RNG.integers(0, 40, shape).astype(np.float32)  # with ties
    mask = RNG.random(shape) < 0.6
    domain = jaxpool.Window(
        sizes, strides, padding, dilation=dilation, ceil_mode=ceil_mode, axes=range(len(shape))
    )
    reductions = [jaxpool.Median("lower"), jaxpool.Median(), jaxpool.Quantile(0.3),
                  jaxpool.TopKMean(5), jaxpool.TopKMean(0.2),
                  jaxpool.RankMean(np.array([0.5, 0.3, 0.2], np.float32))]  # fmt: skip
    asked = [(1, None), (3, None), (2, mask), (4, mask), (5, mask)]
    if exhaustive:
        asked = list(itertools.product(range(len(reductions)), (None, mask)))

    @jax.jit
    def found(x, ct):
        pools = [lambda x, r=reductions[i], w=w: jaxpool.pool(x, domain, r, where=w)
                 for i, w in asked]  # fmt: skip
        return [(y, back(ct)[0]) for y, back in (jax.vjp(pool, x) for pool in pools)]

    ct = RNG.normal(size=domain.output_shape(shape)).astype(np.float32)
    for (i, where), (y, gradient) in zip(asked, found(x, ct), strict=True):
        kept = np.ones(shape, bool) if where is None else where
        wanted = [expected(c, x, kept)[i] for c in cells(*LARGE[name])]
        values, slopes = zip(*wanted, strict=True)
        message = f"{reductions[i]} {where is not None}"
        np.testing.assert_allclose(y.ravel(), values, rtol=1e-5, err_msg=message)
        slope = (np.array(slopes) * ct.ravel()[:, None]).sum(0)
        np.testing.assert_allclose(gradient.ravel(), slope, atol=1e-4, err_msg=message)


def test_a_nan_in_a_large_window_is_its_result():
    x = np.arange(200, dtype=np.float32)
    x[90] = np.nan
    pools = [lambda x: jaxpool.median_pool(x, 100, axes=0),
             lambda x: jaxpool.top_k_mean_pool(x, 100, axes=0, k=3)]  # fmt: skip
    for pool in pools:
        assert np.isnan(pool(x)).tolist() == [True, False]
        assert np.isfinite(pool(np.nan_to_num(x))).all()


def test_long_axes_are_folded_in_order():
    """By an operation that is not commutative, at lengths that a loop ends with, or does not."""
    last = jaxpool.Monoid(lambda a, b: jnp.where(jnp.isnan(b), a, b), np.nan)
    matrix = jaxpool.Monoid(lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (1, 0),
                            lambda x: (jnp.full_like(x, 0.5), x), lambda c: c[1])  # fmt: skip
    for size in (63, 64, 65, 129, 1000):
        x = RNG.normal(size=size).astype(np.float32)
        assert jaxpool.pool(x, jaxpool.Global(0), last) == x[-1]
        total, slope = 0.0, 0.5 ** np.arange(size)[::-1]
        for value in x.astype(np.float64):
            total = total * 0.5 + value
        y, back = jax.vjp(lambda x: jaxpool.pool(x, jaxpool.Global(0), matrix), x)  # noqa: B023
        np.testing.assert_allclose(y, total, rtol=1e-5)
        np.testing.assert_allclose(back(y / y)[0], slope, rtol=1e-5, atol=1e-37)
