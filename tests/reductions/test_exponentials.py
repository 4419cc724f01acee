"""Soft pools near their limits: a sharpness or exponent about 0 or infinite, elements of any size."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import jaxpool
from jaxpool._src.reductions import exponentials
from tests import derivatives

TESTS_OF = (
    "reductions/exponentials.py",
    "reductions/softmean.py",
    "reductions/soft.py",
    "reductions/power.py",
)

RANDOM = np.random.default_rng(0)
# r times the spread of x, which is 0.01, in either direction.
SHARPNESS = np.float32([s * 10.0**e * 100 for s in (1, -1) for e in np.arange(-7, 3.5, 0.5)] + [0])


def exact(x, r, weights):
    """In float64: log(mean(exp(r x))) / r, its slope in r, and the softmax mean with its own."""
    x, r = np.float64(x), np.float64(r)[:, None]
    n = weights.sum()
    center = (x * weights).sum() / n
    u = r * (x - center)
    small = np.abs(u).max(1) < 0.5
    plain = np.log1p((np.expm1(np.where(small[:, None], u, 0)) * weights).sum(1) / n)
    large = scipy.special.logsumexp(u, axis=1, b=weights / n)
    safe = np.where(r[:, 0] == 0, 1, r[:, 0])
    apart = np.where(r[:, 0] == 0, 0, np.where(small, plain, large) / safe)
    v = r * (x - center - apart[:, None])
    # (v e^v - e^v + 1) / v^2, the integral of t e^(t v), which has no cancellation.
    t, w = np.polynomial.legendre.leggauss(200)
    t, w = (t + 1) / 2, w / 2
    kernel = np.stack([(w * t * np.exp(np.outer(row, t))).sum(1) for row in v])
    slope = ((x - center - apart[:, None]) ** 2 * kernel * weights).sum(1) / n
    soft = scipy.special.softmax(np.where(weights > 0, u, -np.inf), axis=1)
    mean = (soft * (x - center)).sum(1)
    variance = (soft * (x - center - mean[:, None]) ** 2).sum(1)
    return center + apart, slope, center + mean, variance


DOMAINS = {
    "global": ((32, 32), jaxpool.Global((0, 1), keepdims=True)),
    "window": ((3, 3), jaxpool.Window((3, 3), axes=(0, 1))),
    "in stages": ((2, 6), jaxpool.Window((2, 6), axes=(0, 1))),
    "padded": ((2, 4), jaxpool.Window((3, 6), 1, ((0, 1), (1, 1)), axes=(0, 1))),
    "long": ((17,), jaxpool.Window(17, axes=0)),
    "adaptive": ((8, 9), jaxpool.Adaptive((1, 1), axes=(0, 1))),
    "groups": ((1, 8), jaxpool.Groups(8)),
}


QUICK = {("global", False), ("window", True), ("padded", True), ("adaptive", True)}


@pytest.mark.parametrize(
    ("name", "masked"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.exhaustive)
     for case in itertools.product(DOMAINS, (False, True))],
)  # fmt: skip
def test_values_and_slopes_of_every_sharpness(name, masked):
    """As an array with one entry for each channel, from nothing to nearly the maximum."""
    shape, domain = DOMAINS[name]
    x = (RANDOM.random(shape) * 0.01).astype(np.float32)
    where = RANDOM.random(shape) < 0.6 if masked else np.ones(shape, bool)
    batched = jnp.broadcast_to(x[None], (SHARPNESS.size, *shape))
    pools = jaxpool.LogSumExp, jaxpool.SoftmaxMean

    @jax.jit
    def run(x, r):
        def one(reduction, x, r):
            mask = jnp.asarray(where) if masked else None
            return jaxpool.pool(x, domain, reduction(r), where=mask).ravel()[0]

        return [jax.vmap(jax.value_and_grad(functools.partial(one, f), 1))(x, r) for f in pools]

    wanted = exact(x.ravel(), SHARPNESS, where.ravel().astype(np.float64))
    (value, slope), (mean, variance) = run(batched, SHARPNESS)
    np.testing.assert_allclose(value, wanted[0], rtol=2e-6)
    np.testing.assert_allclose(mean, wanted[2], rtol=2e-6)
    np.testing.assert_allclose(slope, wanted[1], rtol=1e-3)
    np.testing.assert_allclose(variance, wanted[3], rtol=1e-3, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exponentials_less_one_have_all_digits(dtype):
    """Of every size, and over the sharpness; infinite and NaN as they should be."""
    sizes = -(10.0 ** np.arange(-9, 3, 0.001))
    ends = np.array([0, -np.inf, np.nan])
    exponents = np.concatenate([sizes, -sizes[sizes > -1], ends]).astype(dtype)
    for k in np.array([1, -0.7, 1e3, 1e-30], dtype):
        with jax.enable_x64(dtype == np.float64):
            d = exponents / k
            found = jax.jit(exponentials.moment, static_argnums=0)(1, d, k)
        wanted = np.expm1(k.astype(np.longdouble) * d) / k
        # An exponent that is rounded changes the exponential by as much as it is large.
        np.testing.assert_allclose(found, wanted, rtol=4 * np.finfo(dtype).eps)


def test_numbers_and_arrays_agree():
    """Numbers of every size, one of 0 and infinities included, and the same of each channel."""
    x = (1 + RANDOM.random((9, 4, 7)) * 0.01).astype(np.float32)
    numbers = (0, 1e-30, 1e-3, -0.5, 10, float("inf"), -float("inf"))

    @jax.jit
    def run(x, together):
        found = []
        for name in ("logsumexp", "softmax", "power_mean"):
            f, key = getattr(jaxpool, f"{name}_pool"), "p" if name == "power_mean" else "sharpness"
            apart = [f(x, (3,), axes=0, **{key: r})[..., i] for i, r in enumerate(numbers)]
            found.append((jnp.stack(apart, -1), f(x, (3,), axes=0, **{key: together})))
        return found

    found = run(x, np.float32(numbers))
    for apart, together in found:
        np.testing.assert_allclose(together, apart, rtol=5e-7)
    cells = np.float64(x).reshape(3, 3, 4, 7)
    for y, mean in zip(found, (cells, cells, np.log(cells)), strict=True):
        wanted = mean[..., 0].mean(1)
        wanted = wanted if mean is cells else np.exp(wanted)
        np.testing.assert_allclose(y[1][..., 0], wanted, rtol=2e-7)


def test_power_means_of_small_exponents():
    x = (1 + RANDOM.random((32, 32))).astype(np.float32)
    p = np.float32([0, 1e-6, -1e-4, 1e-3, 0.01, -0.1])
    logarithm, slope, *_ = exact(np.log(np.float64(x)).ravel(), p, np.ones(x.size))
    run = jax.jit(jax.vmap(jax.value_and_grad(
        lambda p: jaxpool.global_power_mean_pool(x, (0, 1), p=p))))  # fmt: skip
    value, found = run(p)
    np.testing.assert_allclose(value, np.exp(logarithm), rtol=1e-6)
    np.testing.assert_allclose(found, np.exp(logarithm) * slope, rtol=1e-3)


@pytest.mark.parametrize("k", [3, pytest.param(20, marks=pytest.mark.exhaustive)])
def test_derivatives_through_a_sharpness_of_0(k):
    """Of both orders in x and r, where r is 0, small, and neither."""
    x, r = RANDOM.normal(size=(k, 3)), np.array([0, 1e-5, -0.7])

    def f(x, r):
        reductions = jaxpool.LogSumExp(r), jaxpool.SoftmaxMean(r)
        return [jaxpool.pool(x, jaxpool.Window(k, axes=0), f) for f in reductions]

    with jax.enable_x64(True):
        derivatives.check(f, (x, r), step=1e-5, rtol=1e-6, atol=1e-7)


def test_third_derivatives_at_0():
    """Of the cumulants' series: k1 + k2 r / 2 + k3 r^2 / 6 + k4 r^3 / 24."""
    x = np.random.default_rng(1).exponential(size=(5,))
    d = x - x.mean()
    second, third, fourth = ((d**n).mean() for n in (2, 3, 4))
    wanted = [second / 2, third / 3, (fourth - 3 * second**2) / 4]
    with jax.enable_x64(True):

        def slopes(domain):
            f, found = lambda r: jaxpool.pool(x, domain, jaxpool.LogSumExp(r)).sum(), []
            for _ in wanted:
                f = jax.grad(f)
                found.append(f)
            return lambda r: [f(r) for f in found]

        found = jax.jit(slopes(jaxpool.Global(0)))(0.0)
        np.testing.assert_allclose(found, wanted, rtol=1e-12)


EXTREMES = np.array([[1, 1], [0.3, 0.15], [1, -1], [-1, -1], [-0.3, -0.15], [0.5, 1]])


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        *(
            pytest.param(d, marks=pytest.mark.exhaustive)
            for d in ("float16", "bfloat16", "float64")
        ),
    ],
)
def test_elements_of_any_size(dtype):
    """Near the largest number and near the smallest that is not denormal, of either sign."""
    with jax.enable_x64(dtype == "float64"):
        info = jnp.finfo(dtype)
        largest = np.array(float(info.max) * 0.9, dtype)
        tiny = np.array(float(info.tiny) * 8, dtype)
        x = np.concatenate([EXTREMES * float(largest), EXTREMES * 10 * float(tiny)])
        x = x.astype(dtype)

        @jax.jit
        def run(x):
            found = []
            for r in (10, -10, np.zeros(1, np.float32)):
                for name in ("logsumexp", "softmax"):
                    f = getattr(jaxpool, f"global_{name}_pool")
                    window = getattr(jaxpool, f"{name}_pool")
                    for y, vjp in (
                        jax.vjp(lambda x: f(x, 1, sharpness=r), x),  # noqa: B023
                        jax.vjp(lambda x: window(x, 2, axes=1, sharpness=r)[:, 0], x),  # noqa: B023
                    ):
                        found.append((y, vjp(jnp.ones_like(y))[0]))
            return found

        exact, eps = x.astype(np.longdouble), 4 * float(info.eps)
        for i, (y, gradient) in enumerate(run(x)):
            r = (10, -10, 0)[i // 4]
            u = r * (exact - (exact.max(1) if r >= 0 else exact.min(1))[:, None])
            w = np.exp(u)
            wanted = exact.max(1) if r > 0 else exact.min(1)
            if i % 4 < 2:
                wanted = wanted + np.log(w.mean(1)) / r if r else exact.mean(1)
            else:
                wanted = (w * (exact / 4)).sum(1) / w.sum(1) * 4
            small = np.arange(len(x)) >= len(EXTREMES)
            wanted = np.where(small & (dtype != "float16"), exact.mean(1), wanted)
            np.testing.assert_allclose(
                np.asarray(y).astype(np.longdouble), wanted, rtol=eps, atol=eps * tiny
            )
            assert np.isfinite(np.float64(gradient)).all()


def test_infinite_elements_under_a_sharpness_of_0():
    x, zero = np.float32([[-np.inf, 1], [np.inf, 1], [1, 2]]), np.zeros(1, np.float32)

    @jax.jit
    def run(x):
        pools = jaxpool.LogSumExp(zero), jaxpool.SoftmaxMean(zero)
        domains = jaxpool.Window(2, axes=1), jaxpool.Global(1, keepdims=True)
        return [jaxpool.pool(x, domain, f)[:, 0] for f in pools for domain in domains]

    for y in run(x):
        np.testing.assert_array_equal(y, [-np.inf, np.inf, 1.5])


def test_infinite_exponents_in_arrays_are_the_maximum():
    x = jnp.array([[1.0, -3, 2, 3], [0, 0, 0, 0], [-2, 2, 1, 0]])
    where = jnp.array([[True, False, True, True]] * 3)

    @jax.jit
    def run(x, p):
        found = []
        for f in (lambda x, p: jaxpool.global_lp_pool(x, 1, p=p),
                  lambda x, p: jaxpool.lp_pool(x, 4, axes=1, p=p)[:, 0],
                  lambda x, p: jaxpool.lp_pool(x, 4, axes=1, p=p, where=where)[:, 0]):  # fmt: skip
            total = lambda x, p: f(x, p).sum()  # noqa: B023, E731
            found.append((f(x, p), *jax.grad(total, (0, 1))(x, p), jax.hessian(total)(x, p)))
        return found

    for p in np.float32([np.inf, 1e30]):
        for (y, in_x, in_p, second), masked in zip(run(x, p), (0, 0, 1), strict=True):
            np.testing.assert_array_equal(y, [3, 0, 2])
            first = [[0, 0, 0, 1], [0] * 4, [-1, 0, 0, 0]]
            wanted = first if masked else [[0, -1, 0, 0], *first[1:]]
            np.testing.assert_array_equal(in_x, wanted)
            assert in_p == 0
            np.testing.assert_array_equal(second, 0)
