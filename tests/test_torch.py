"""Against live PyTorch: maxima to the last bit, averages to two units in the last place.

Many geometries share one compiled program, or the file would take an hour.
"""

import functools
import itertools

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
    "core/geometry.py",
)

torch = pytest.importorskip("torch", reason="torch is the oracle of this file")
F = torch.nn.functional

LENGTHS = range(1, 13)
INF, NAN = np.float32(np.inf), np.float32(np.nan)


@functools.cache
def geometries(length):
    """(window, stride, padding, dilation, ceil_mode) that PyTorch's max_pool1d accepts."""
    x, found = torch.zeros(1, 1, length), []
    for k, s, d, ceil in itertools.product(range(1, 6), range(1, 6), (1, 2, 3), (False, True)):
        for p in range(k // 2 + 1):
            try:
                F.max_pool1d(x, k, s, p, d, ceil)
            except RuntimeError:
                continue
            found.append((k, s, p, d, ceil))
    return found


def span(k, d):
    return (k - 1) * d + 1


def has_empty_window(length, k, s, p, d, ceil):
    outputs = number_of_outputs(length, (k, s, p, d, ceil))
    return any(not any(0 <= i * s - p + j * d < length for j in range(k)) for i in range(outputs))


def number_of_outputs(length, g):
    return F.max_pool1d(torch.zeros(1, 1, length), *g).shape[-1]


def kind(length, g):
    """What is expected of jaxpool: "legal", or the one documented refusal."""
    return "empty" if has_empty_window(length, *g) else "legal"


def rows(shape, seed=0):
    """Arrays of `shape` stacked: random, ties, NaN, infinities, only -inf, signed zeros."""
    rng = np.random.default_rng(seed)
    found = [
        rng.normal(size=(2, *shape)),
        rng.integers(-1, 2, size=(3, *shape)),
        rng.choice([0.0, -0.0], size=(3, *shape)),
        rng.choice([1.0, 2.0, NAN], size=(2, *shape)),
        rng.choice([1.0, NAN, -INF, INF], size=(2, *shape)),
        rng.choice([-INF, -INF, 0.0], size=(1, *shape)),
        rng.choice([np.finfo(np.float32).min, -INF], size=(1, *shape)),
        np.full((1, *shape), -INF),
        np.full((1, *shape), NAN),
    ]
    return np.concatenate([f.astype(np.float32) for f in found])


def cotangents(shape, seed=1):
    """Small whole numbers, whose sums are exact in any order."""
    return np.random.default_rng(seed).integers(1, 100, shape).astype(np.float32)


def by_torch(function, x, ct):
    """Value and gradient of `function` of a channels-first array."""
    x = torch.tensor(x, requires_grad=True)
    y = function(x)
    y.backward(torch.tensor(ct(tuple(y.shape))))
    return y.detach().numpy(), x.grad.numpy()


def by_jaxpool(functions, jit=jax.jit, exact=True):
    """One program for value and gradient of all `functions`, whose cotangents are arguments.

    The value comes twice, since without a derivative to follow it may be computed differently. x is
    for all of them, or a list with one for each.
    """

    def each(x):
        return x if isinstance(x, list) else [x] * len(functions)

    def run(x, cts):
        results = []
        for f, own, ct in zip(functions, each(x), cts, strict=True):
            y, vjp = jax.vjp(f, own)
            results.append((f(own), y, vjp(ct)[0]))
        return results

    compiled = jit(run)

    def call(x, ct):
        shapes = [jax.eval_shape(f, x).shape for f, x in zip(functions, each(x), strict=True)]
        found = compiled(x, [ct(shape) for shape in shapes])
        for f, (alone, y, _) in zip(functions, found, strict=True):
            same = same_bits if exact else within_ulps
            same(np.asarray(alone), np.asarray(y), f"value without derivative, {f.__name__}")
        return [(np.asarray(y), np.asarray(g)) for _, y, g in found]

    return call


def same_bits(actual, expected, what):
    assert actual.shape == expected.shape, what
    np.testing.assert_array_equal(actual, expected, err_msg=str(what))
    number = ~np.isnan(expected)
    signs = np.signbit(actual) == np.signbit(expected)
    assert signs[number].all(), f"{what}: sign of zero"


def within_ulps(actual, expected, what, ulps=2, scale=None):
    """At most `ulps` units in the last place of `expected` (or of `scale`) apart; NaN matches."""
    assert actual.shape == expected.shape, what
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected), err_msg=str(what))
    number = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~number], expected[~number], err_msg=str(what))
    unit = np.spacing(np.abs(expected if scale is None else scale)[number])
    off = np.abs(actual.astype(np.float64) - expected)[number] / unit
    assert off.size == 0 or off.max() <= ulps, f"{what}: {off.max()} ulp"


def test_the_grid_is_complete():
    kinds = [kind(length, g) for length in LENGTHS for g in geometries(length)]
    assert len(kinds) == 3015  # as counted in semantics.md
    assert {k: kinds.count(k) for k in set(kinds)} == {"legal": 2984, "empty": 31}


@pytest.mark.parametrize("length", LENGTHS)
def test_refused_geometries(length):
    for k, s, p, d, ceil in geometries(length):
        expected = kind(length, (k, s, p, d, ceil))
        call = functools.partial(jaxpool.max_pool, jnp.zeros((2, length)), k, s, p, dilation=d,
                                 ceil_mode=ceil, axes=-1)  # fmt: skip
        if expected == "empty":
            with pytest.raises(ValueError, match="lies wholly in padding"):
                call()


@functools.cache
def legal(length):
    return [g for g in geometries(length) if kind(length, g) == "legal"]


def features(length, g):
    """What a geometry has, and where its windows end."""
    k, s, p, d, _ = g
    outputs = number_of_outputs(length, g)
    beyond = np.sign((outputs - 1) * s + span(k, d) - 2 * p - length)
    return length, *g, min(outputs, 3), int(beyond), k == s


@functools.cache
def covering(dilated=True):
    """(length, geometry) such that each pair of features that some legal one has is among them."""
    every = [(n, g) for n in LENGTHS for g in legal(n) if dilated or g[3] == 1]
    seen, found = set(), []
    for i in np.random.default_rng(0).permutation(len(every)):
        pairs = set(itertools.combinations(enumerate(features(*every[i])), 2))
        if pairs - seen:
            found.append(every[i])
            seen |= pairs
    return found


def of_length(length, chosen):
    return [g for n, g in chosen if n == length]


def pool_1d(function, g, axes=-1, **more):
    k, s, p, d, ceil = g

    def f(x):
        return function(x, k, s, p, dilation=d, ceil_mode=ceil, axes=axes, **more)

    f.__name__ = f"{function.__name__}{g}"
    return f


def check_max_1d(x, chosen, jit=jax.jit, minimum=False):
    """`x` is (rows, length)."""
    function = jaxpool.min_pool if minimum else jaxpool.max_pool
    found = by_jaxpool([pool_1d(function, g) for g in chosen], jit)(x, cotangents)
    sign = -1 if minimum else 1
    for g, (y, gradient) in zip(chosen, found, strict=True):
        k, s, p, d, ceil = g
        expected = by_torch(
            lambda x: sign * F.max_pool1d(sign * x[:, None], k, s, p, d, ceil)[:, 0],  # noqa: B023
            x,
            cotangents,
        )
        same_bits(y, expected[0], (x.shape, *g))
        np.testing.assert_array_equal(gradient, expected[1], err_msg=str((x.shape, *g)))


@pytest.mark.parametrize("length", LENGTHS)
def test_max_1d_everywhere(length, exhaustive):
    if not exhaustive:
        check_max_1d(rows((length,), length), of_length(length, covering()))
        return
    # Of the long ones, which add no new kind of border, one in three.
    chosen = legal(length) if length < 8 else legal(length)[length % 3 :: 3]
    for start in range(0, len(chosen), 80):
        check_max_1d(rows((length,), length), chosen[start : start + 80])


@pytest.mark.parametrize("length", LENGTHS)
def test_min_1d(length, exhaustive):
    """Which are maxima of the negative: of their geometries a few."""
    quick = of_length(length, covering()[::5])
    chosen = legal(length)[length % 5 :: 5] if exhaustive else quick
    check_max_1d(-rows((length,), length), chosen, minimum=True)


@pytest.mark.parametrize("length", [6, 12])
def test_max_1d_of_large_arrays(length, exhaustive):
    """More than 8k elements, where XLA:CPU has other kernels; windows side by side among them."""
    x = np.concatenate([rows((length,), seed) for seed in range(9000 // (16 * length) + 1)])
    assert x.size > 8192
    disjoint = [g for g in legal(length) if g[0] == g[1] > 1 and g[3] == 1]
    if not exhaustive:  # of each window one
        disjoint = [g for g in disjoint if g[2] == g[0] // 2 and g[4] == (length == 6)]
    check_max_1d(x, disjoint + legal(length)[:: 29 if exhaustive else 97], as_users)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_avg_1d_everywhere(length, include, exhaustive):
    every = [g for g in legal(length) if g[3] == 1]
    quick = of_length(length, covering(dilated=False))[include::2]
    chosen = every if exhaustive else quick
    rng = np.random.default_rng(length)
    x = rng.uniform(0.1, 1, (6, length)).astype(np.float32)  # sums of these do not cancel
    x[4:] = rows((length,), length)[[7, 9]]  # with NaN and infinities
    ct = lambda shape: np.random.default_rng(1).uniform(0.1, 1, shape).astype(np.float32)  # noqa: E731
    functions = [pool_1d(jaxpool.avg_pool, g, count_include_pad=include) for g in chosen]
    for (k, s, p, _, ceil), (y, gradient) in zip(
        chosen, by_jaxpool(functions, exact=False)(x, ct), strict=True
    ):
        expected = by_torch(
            lambda x: F.avg_pool1d(x[:, None], k, s, p, ceil, include)[:, 0],  # noqa: B023
            x,
            ct,
        )
        what = (length, k, s, p, ceil)
        within_ulps(y, expected[0], what)
        within_ulps(gradient, expected[1], what)


def sample(dimensions, count, seed):
    """Random legal geometries (shape, window, stride, padding, dilation, ceil_mode)."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        shape = tuple(int(n) for n in rng.integers(3, 10 if dimensions == 2 else 7, dimensions))
        k = tuple(int(n) for n in rng.integers(1, 5, dimensions))
        s = k if rng.random() < 0.3 else tuple(int(n) for n in rng.integers(1, 4, dimensions))
        p = tuple(int(rng.integers(0, n // 2 + 1)) for n in k)
        d = tuple(int(n) for n in rng.integers(1, 4, dimensions))
        d = (1,) * dimensions if rng.random() < 0.4 else d
        ceil = bool(rng.random() < 0.5)
        axes = list(zip(shape, zip(k, s, p, d, [ceil] * dimensions, strict=True), strict=True))
        if all(g in geometries(n) and kind(n, g) == "legal" for n, g in axes):
            found.append((shape, k, s, p, d, ceil))
    return found


only_first = [0, *(pytest.param(part, marks=pytest.mark.exhaustive) for part in (1, 2, 3))]


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("part", only_first)
def test_max_in_two_and_three_dimensions(dimensions, part, large, exhaustive):
    torch_pool = {2: F.max_pool2d, 3: F.max_pool3d}[dimensions]
    axes = tuple(range(-dimensions, 0))
    chosen = sample(dimensions, 6, 10 * dimensions + part)
    functions, inputs = [], []
    for shape, k, s, p, d, ceil in chosen[: 6 if exhaustive or not large else 2]:
        functions.append(lambda x, k=k, s=s, p=p, d=d, ceil=ceil: jaxpool.max_pool(
            x, k, s, p, dilation=d, ceil_mode=ceil, axes=axes))  # fmt: skip
        repeats = 9000 // (16 * int(np.prod(shape))) + 1 if large else 1
        inputs.append(np.concatenate([rows(shape, seed) for seed in range(repeats)]))
        assert not large or inputs[-1].size > 8192
    found = by_jaxpool(functions, as_users if large else jax.jit)(inputs, cotangents)
    for geometry, x, (y, gradient) in zip(chosen, inputs, found, strict=False):
        _, k, s, p, d, ceil = geometry
        expected = by_torch(
            lambda x: torch_pool(x[:, None], k, s, p, d, ceil)[:, 0],  # noqa: B023
            x,
            cotangents,
        )
        same_bits(y, expected[0], geometry)
        np.testing.assert_array_equal(gradient, expected[1], str(geometry))


def sixteenths(shape, seed=3):
    """Numbers whose sums are exact, so that only the divisions round."""
    return (np.random.default_rng(seed).integers(1, 1000, shape) / 16).astype(np.float32)


def divisible(shape, seed=4):
    """Numbers that every divisor of the samples divides, so that gradients are exact."""
    return (np.random.default_rng(seed).integers(1, 16, shape) * 7 * 3**3 * 4**3).astype(np.float32)


def uniform(shape, seed=5):
    return np.random.default_rng(seed).uniform(0.1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("part", only_first[:3])
def test_avg_in_two_and_three_dimensions(dimensions, part, large, exhaustive):
    torch_pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[dimensions]
    axes = tuple(range(-dimensions, 0))
    functions, jobs = [], []
    for i, (shape, k, s, p, _, ceil) in enumerate(sample(dimensions, 6, 20 * dimensions + part)):
        # Of windows beyond the input without its padding, PyTorch refuses some.
        if any(a > n for a, n in zip(k, shape, strict=True)):
            continue
        include, divisor = i % 2 == 0, (None, None, -3, 7)[i % 4]
        batch = 9000 // int(np.prod(shape)) + 1 if large else 2
        jobs.append(((batch, *shape), k, s, p, ceil, include, divisor))
        functions.append(lambda x, k=k, s=s, p=p, ceil=ceil, i=include, d=divisor: jaxpool.avg_pool(
            x, k, s, p, ceil_mode=ceil, axes=axes, count_include_pad=i,
            divisor_override=d))  # fmt: skip
    assert any(job[5] for job in jobs)
    assert not all(job[5] for job in jobs)
    if large and not exhaustive:
        functions, jobs = functions[:2], jobs[:2]
    by_us = by_jaxpool(functions, as_users if large else jax.jit, exact=False)
    for data, ct in ((sixteenths, divisible), (uniform, uniform)):
        inputs = [data(job[0]) for job in jobs]
        for job, x, (y, gradient) in zip(jobs, inputs, by_us(inputs, ct), strict=True):
            expected = by_torch(lambda x: torch_pool(x[:, None], *job[1:])[:, 0], x, ct)  # noqa: B023
            if data is sixteenths:
                within_ulps(y, expected[0], job, 2)
                within_ulps(gradient, expected[1], job, 2)
            else:
                # Up to 64 elements are added, each side in its own order.
                np.testing.assert_allclose(y, expected[0], rtol=1e-6, err_msg=str(job))
                np.testing.assert_allclose(gradient, expected[1], rtol=1e-6, err_msg=str(job))


@pytest.mark.parametrize(
    ("k", "s", "p", "d"), [(2, 2, 0, 1), (4, 4, 0, 1), (3, 2, 1, 1), (3, 1, 1, 2), (5, 1, 2, 1)]
)
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_nan_and_ties_in_a_feature_map(k, s, p, d, jit):
    """The array in which XLA:CPU's reduce_window loses NaN where windows lie side by side."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (4, 128, 128, 16)).astype(np.float32)
    x.reshape(-1)[rng.integers(0, x.size, 50)] = NAN
    f = lambda x: jaxpool.max_pool(x, (k, k), s, p, dilation=d)  # noqa: E731
    if not jit:
        y = np.asarray(f(x))
        expected = F.max_pool2d(torch.tensor(x).permute(0, 3, 1, 2), k, s, p, d)
        same_bits(y, expected.permute(0, 2, 3, 1).numpy(), "eager")
        assert np.isnan(y).any()
        return
    [(y, gradient)] = by_jaxpool([f], as_users)(x, cotangents)
    expected = by_torch(
        lambda x: F.max_pool2d(x.permute(0, 3, 1, 2).contiguous(), k, s, p, d).permute(0, 2, 3, 1),
        x,
        cotangents,
    )
    same_bits(y, expected[0], (k, s, p, d))
    np.testing.assert_array_equal(gradient, expected[1])
    assert np.isnan(y).any()


def test_global_pools_are_adaptive_pools_to_one():
    x = rows((6, 7))
    [(y, gradient)] = by_jaxpool([lambda x: jaxpool.global_max_pool(x, (1, 2))])(x, cotangents)
    expected = by_torch(lambda x: F.adaptive_max_pool2d(x, 1)[:, 0, 0], x, cotangents)
    same_bits(y, expected[0], "global_max_pool")
    np.testing.assert_array_equal(gradient, expected[1])

    x = np.random.default_rng(0).uniform(0.1, 1, (64, 12, 12)).astype(np.float32)
    [(y, gradient)] = by_jaxpool([lambda x: jaxpool.global_avg_pool(x, (1, 2))], exact=False)(
        x, cotangents
    )
    expected = by_torch(lambda x: F.adaptive_avg_pool2d(x, 1)[:, 0, 0], x, cotangents)
    np.testing.assert_allclose(y, expected[0], rtol=1e-6)
    within_ulps(gradient, expected[1], "global_avg_pool")


def test_lp_of_positive_numbers(exhaustive):
    every = list(itertools.product([(2, 2), (3, 1), (3, 3), (4, 3)], (1, 2, 3)))
    jobs = every if exhaustive else [*every[:3], every[4], every[8], every[9]]
    functions = [lambda x, k=k, s=s, p=p: jaxpool.lp_pool(x, (k, k), s, axes=(-2, -1), p=p)
                 for (k, s), p in jobs]  # fmt: skip
    inputs = [np.random.default_rng(k).uniform(0.1, 2, (3, 9, 8)).astype(np.float32)
              for (k, _), _ in jobs]  # fmt: skip
    found = by_jaxpool(functions, exact=False)(inputs, cotangents)
    for ((k, s), p), x, (y, gradient) in zip(jobs, inputs, found, strict=True):
        expected = by_torch(lambda x: F.lp_pool2d(x[:, None], p, k, s)[:, 0], x, cotangents)  # noqa: B023
        np.testing.assert_allclose(y, expected[0], rtol=2e-6)
        np.testing.assert_allclose(gradient, expected[1], rtol=5e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_max_in_other_dtypes(dtype):
    x = rows((9, 8))
    if dtype == "float64":
        x = x + np.random.default_rng(0).normal(size=x.shape) * 1e-12
    with jax.enable_x64(dtype == "float64"):

        def both(x):
            pool = lambda x: jaxpool.max_pool(x, (3, 2), 2, (1, 0), axes=(-2, -1))  # noqa: E731
            y, vjp = jax.vjp(pool, x)
            return y, vjp(jnp.ones_like(y))[0]

        with np.errstate(over="ignore"):
            narrow = x.astype(np.dtype(dtype))
        y, gradient = jax.jit(both)(narrow)
        t = torch.tensor(x).to(getattr(torch, dtype)).requires_grad_()
        expected = F.max_pool2d(t[:, None], (3, 2), 2, (1, 0))[:, 0]
        expected.backward(torch.ones_like(expected))
        wide = np.float64
        assert y.dtype == np.dtype(dtype)
        same_bits(np.asarray(y).astype(wide), expected.detach().to(torch.float64).numpy(), dtype)
        np.testing.assert_array_equal(
            np.asarray(gradient).astype(wide), t.grad.to(torch.float64).numpy()
        )
