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

torch = pytest.importorskip("torch", reason="torch is the oracle of this file")
F = torch.nn.functional

LENGTHS = range(1, 13)
INF, NAN = np.float32(np.inf), np.float32(np.nan)


def geometries(length):
    """(window, stride, padding, dilation, ceil_mode) that PyTorch's max_pool1d accepts."""
    x = torch.zeros(1, 1, length)
    for k, s, d, ceil in itertools.product(range(1, 6), range(1, 6), (1, 2, 3), (False, True)):
        for p in range(k // 2 + 1):
            try:
                F.max_pool1d(x, k, s, p, d, ceil)
            except RuntimeError:
                continue
            yield k, s, p, d, ceil


def span(k, d):
    return (k - 1) * d + 1


def has_empty_window(length, k, s, p, d, ceil):
    outputs = F.max_pool1d(torch.zeros(1, 1, length), k, s, p, d, ceil).shape[-1]
    return any(not any(0 <= i * s - p + j * d < length for j in range(k)) for i in range(outputs))


def kind(length, g):
    """What is expected of jaxpool: "legal", or one of two documented refusals."""
    k, _, p, d, _ = g
    # In ceil mode only, PyTorch takes windows larger than the padded input (design.md, 6: refused).
    if span(k, d) > length + 2 * p:
        return "too large"
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

    The value comes twice, since without a derivative to follow it may be computed differently.
    """

    def run(x, cts):
        results = []
        for f, ct in zip(functions, cts, strict=True):
            y, vjp = jax.vjp(f, x)
            results.append((f(x), y, vjp(ct)[0]))
        return results

    def call(x, ct):
        shapes = [jax.eval_shape(f, x).shape for f in functions]
        found = jit(run)(x, [ct(shape) for shape in shapes])
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
    assert {k: kinds.count(k) for k in set(kinds)} == {"legal": 2780, "empty": 20, "too large": 215}


@pytest.mark.parametrize("length", LENGTHS)
def test_refused_geometries(length):
    for k, s, p, d, ceil in geometries(length):
        expected = kind(length, (k, s, p, d, ceil))
        call = functools.partial(jaxpool.max_pool, jnp.zeros((2, length)), k, s, p, dilation=d,
                                 ceil_mode=ceil, axes=-1)  # fmt: skip
        if expected == "empty":
            with pytest.raises(ValueError, match="lies wholly in padding"):
                call()
        elif expected == "too large":
            with pytest.raises(ValueError, match="must fit the padded input"):
                call()


def legal(length):
    return [g for g in geometries(length) if kind(length, g) == "legal"]


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
def test_max_1d_everywhere(length):
    # Of the long ones, which add no new kind of border, one in three.
    chosen = legal(length) if length < 8 else legal(length)[length % 3 :: 3]
    for start in range(0, len(chosen), 80):
        check_max_1d(rows((length,), length), chosen[start : start + 80])


@pytest.mark.parametrize("length", LENGTHS)
def test_min_1d(length):
    check_max_1d(-rows((length,), length), legal(length)[length % 5 :: 5], minimum=True)


@pytest.mark.parametrize("length", [6, 12])
def test_max_1d_of_large_arrays(length):
    """More than 8k elements, where XLA:CPU has other kernels; windows side by side among them."""
    x = np.concatenate([rows((length,), seed) for seed in range(9000 // (16 * length) + 1)])
    assert x.size > 8192
    disjoint = [g for g in legal(length) if g[0] == g[1] > 1 and g[3] == 1]
    check_max_1d(x, disjoint + legal(length)[::29], jax.jit)


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("length", LENGTHS)
def test_avg_1d_everywhere(length, include):
    chosen = [g for g in legal(length) if g[3] == 1]
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
        if all(g in list(geometries(n)) and kind(n, g) == "legal" for n, g in axes):
            found.append((shape, k, s, p, d, ceil))
    return found


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("part", range(4))
def test_max_in_two_and_three_dimensions(dimensions, part):
    torch_pool = {2: F.max_pool2d, 3: F.max_pool3d}[dimensions]
    axes = tuple(range(-dimensions, 0))
    for shape, k, s, p, d, ceil in sample(dimensions, 6, 10 * dimensions + part):
        for repeats in (1, 9000 // (16 * int(np.prod(shape))) + 1):
            x = np.concatenate([rows(shape, seed) for seed in range(repeats)])
            assert repeats == 1 or x.size > 8192
            f = lambda x: jaxpool.max_pool(  # noqa: E731
                x, k, s, p, dilation=d, ceil_mode=ceil, axes=axes)  # noqa: B023  # fmt: skip
            [(y, gradient)] = by_jaxpool([f])(x, cotangents)
            expected = by_torch(
                lambda x: torch_pool(x[:, None], k, s, p, d, ceil)[:, 0],  # noqa: B023
                x,
                cotangents,
            )
            same_bits(y, expected[0], (shape, k, s, p, d, ceil))
            np.testing.assert_array_equal(gradient, expected[1], str((shape, k, s, p, d, ceil)))


def sixteenths(shape, seed=3):
    """Numbers whose sums are exact, so that only the divisions round."""
    return (np.random.default_rng(seed).integers(1, 1000, shape) / 16).astype(np.float32)


def divisible(shape, seed=4):
    """Numbers that every divisor of the samples divides, so that gradients are exact."""
    return (np.random.default_rng(seed).integers(1, 16, shape) * 7 * 3**3 * 4**3).astype(np.float32)


def uniform(shape, seed=5):
    return np.random.default_rng(seed).uniform(0.1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("part", range(3))
def test_avg_in_two_and_three_dimensions(dimensions, part):
    torch_pool = {2: F.avg_pool2d, 3: F.avg_pool3d}[dimensions]
    axes = tuple(range(-dimensions, 0))
    for i, (shape, k, s, p, _, ceil) in enumerate(sample(dimensions, 6, 20 * dimensions + part)):
        # Of windows beyond the input without its padding, PyTorch refuses some.
        if any(a > n for a, n in zip(k, shape, strict=True)):
            continue
        include, divisor = i % 2 == 0, (None, None, -3, 7)[i % 4]
        f = lambda x: jaxpool.avg_pool(  # noqa: E731
            x, k, s, p, ceil_mode=ceil, axes=axes, count_include_pad=include,  # noqa: B023
            divisor_override=divisor)  # noqa: B023  # fmt: skip
        by_us = by_jaxpool([f], exact=False)
        for batch in (2, 9000 // int(np.prod(shape)) + 1):
            what = (shape, k, s, p, ceil, include, divisor, batch)
            for data, ct in ((sixteenths, divisible), (uniform, uniform)):
                x = data((batch, *shape))
                [(y, gradient)] = by_us(x, ct)
                expected = by_torch(
                    lambda x: torch_pool(x[:, None], k, s, p, ceil, include, divisor)[:, 0],  # noqa: B023
                    x,
                    ct,
                )
                if data is sixteenths:
                    within_ulps(y, expected[0], what, 2)
                    within_ulps(gradient, expected[1], what, 2)
                else:
                    # Up to 64 elements are added, each side in its own order.
                    np.testing.assert_allclose(y, expected[0], rtol=1e-6, err_msg=str(what))
                    np.testing.assert_allclose(gradient, expected[1], rtol=1e-6, err_msg=str(what))


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
    [(y, gradient)] = by_jaxpool([f], jax.jit)(x, cotangents)
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


@pytest.mark.parametrize(("k", "s"), [(2, 2), (3, 1), (3, 3), (4, 3)])
@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_of_positive_numbers(k, s, p):
    x = np.random.default_rng(k).uniform(0.1, 2, (3, 9, 8)).astype(np.float32)
    f = lambda x: jaxpool.lp_pool(x, (k, k), s, axes=(-2, -1), p=p)  # noqa: E731
    [(y, gradient)] = by_jaxpool([f], exact=False)(x, cotangents)
    expected = by_torch(lambda x: F.lp_pool2d(x[:, None], p, k, s)[:, 0], x, cotangents)
    np.testing.assert_allclose(y, expected[0], rtol=2e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=5e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_max_in_other_dtypes(dtype):
    x = rows((9, 8))
    if dtype == "float64":
        x = x + np.random.default_rng(0).normal(size=x.shape) * 1e-12
    with jax.enable_x64(dtype == "float64"):
        f = lambda x: jaxpool.max_pool(x, (3, 2), 2, (1, 0), axes=(-2, -1))  # noqa: E731
        x_jax = jnp.asarray(x).astype(dtype)
        y, vjp = jax.vjp(f, x_jax)
        gradient = vjp(jnp.ones_like(y))[0]
        t = torch.tensor(x).to(getattr(torch, dtype)).requires_grad_()
        expected = F.max_pool2d(t[:, None], (3, 2), 2, (1, 0))[:, 0]
        expected.backward(torch.ones_like(expected))
        wide = np.float64
        assert y.dtype == np.dtype(dtype)
        same_bits(np.asarray(y).astype(wide), expected.detach().to(torch.float64).numpy(), dtype)
        np.testing.assert_array_equal(
            np.asarray(gradient).astype(wide), t.grad.to(torch.float64).numpy()
        )
