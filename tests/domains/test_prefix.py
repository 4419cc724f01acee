"""Prefixes: each reduction against loops, and the order in which elements come."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.lowering.scans import prefix_fold
from tests.domains.test_segments import DECAY, REDUCTIONS

TESTS_OF = (
    "domains/prefix.py",
    "pools/prefix.py",
    "lowering/prefixes.py",
    "lowering/scans.py",
    "reductions/running.py",
    "reductions/running_sums.py",
    "reductions/moments.py",
)

RNG = np.random.default_rng(0)
ORDERED = ("median", "quantile", "rank_mean", "best_two", "top_k_mean")


def looped(function, x, axis, reverse, where, empty):
    x, kept = (np.moveaxis(v, axis, -1) for v in (x.astype(np.float64), where))
    y = np.empty(x.shape)
    for *b, i in np.ndindex(*x.shape):
        part = (*b, slice(i, None) if reverse else slice(i + 1))
        v = x[part][kept[part]]
        y[(*b, i)] = function(v) if len(v) else empty
    return np.moveaxis(y, -1, axis)


@pytest.mark.parametrize("reverse", [False, True])
def test_every_reduction(reverse):
    x, where = RNG.random((9, 3)).astype(np.float32), RNG.random((9, 3)) < 0.7
    masked, domain = np.where(where, x, np.nan), jaxpool.Prefix(-2, reverse=reverse)
    names = [n for n in REDUCTIONS if n not in ORDERED]

    @jax.jit
    def found(x, masked):
        return {n: (jaxpool.pool(x, domain, REDUCTIONS[n][0]),
                    jaxpool.pool(masked, domain, REDUCTIONS[n][0], where=where, empty_value=-7))
                for n in names}  # fmt: skip

    for name, (plain, partial) in found(x, masked).items():
        function = REDUCTIONS[name][1]
        if name == "monoid" and reverse:  # in the order of the axis, from here on
            function = lambda v: (v * 0.5 ** np.arange(len(v))[::-1]).sum()  # noqa: E731
        wanted = looped(function, x, 0, reverse, np.ones_like(where), None)
        np.testing.assert_allclose(plain, wanted, 1e-5, 1e-6, err_msg=name)
        wanted = looped(function, x, 0, reverse, where, -7)
        np.testing.assert_allclose(partial, wanted, 1e-5, 1e-6, err_msg=name)


@pytest.mark.exhaustive  # of what loops over lists tell too
def test_the_last_prefix_is_the_whole_axis():
    """In value and in gradient."""
    x, where = RNG.normal(size=(11, 2)).astype(np.float32), RNG.random((11, 2)) < 0.7
    names = ("max", "min", "mean", "softmax", "std", "monoid")

    @jax.jit
    def found(x):
        def value(domain, place, name):
            pool = lambda x: jaxpool.pool(x, domain, REDUCTIONS[name][0], where=where)  # noqa: E731
            y, back = jax.vjp(lambda x: jnp.sin(pool(x) if place is None else pool(x)[place]), x)
            return y, back(y)[0]

        return {
            n: (
                value(jaxpool.Global(0), None, n),
                value(jaxpool.Prefix(0), -1, n),
                value(jaxpool.Prefix(0, reverse=True), 0, n),
            )
            for n in names
        }

    for name, (whole, *others) in found(x).items():
        for other in others:
            for a, b in zip(whole, other, strict=True):
                np.testing.assert_allclose(a, b, 1e-5, 1e-6, err_msg=name)


@pytest.mark.parametrize("reverse", [False, True])
def test_the_first_of_equals_takes_the_gradient_and_the_last_nan(reverse):
    """In the direction of the prefix; before the first valid element nothing does."""
    x = np.array([1.0, 3, 3, -np.inf, 2, np.nan, 7, np.nan, 9])
    where = np.array([0, 0, 1, 1, 1, 1, 1, 1, 0], bool)
    for values, kept in ((x, np.ones(9, bool)), (x, where), (np.full(9, -np.inf), where)):
        order = range(9)[::-1] if reverse else range(9)
        wanted, best = np.zeros(9), None
        for i in order:
            if kept[i] and (best is None or np.isnan(values[i]) or values[i] > values[best]):
                best = i
            if best is not None:
                wanted[best] += 1
        pool = lambda x: jnp.sum(jaxpool.prefix_max_pool(x, 0, reverse=reverse, where=kept))  # noqa: B023, E731
        gradient = jax.grad(pool)(jnp.asarray(values, jnp.float32))
        np.testing.assert_array_equal(gradient, wanted)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 200])
def test_folds_keep_the_order_at_any_length(size):
    x = RNG.normal(size=size).astype(np.float32)
    total, wanted = 0.0, []
    for value in x.astype(np.float64):
        total = total * 0.5 + value
        wanted.append(total)
    for reverse in (False, True):
        y, back = jax.vjp(lambda x: jaxpool.pool(x, jaxpool.Prefix(0, reverse=reverse), DECAY), x)  # noqa: B023
        if reverse:
            powers = 0.5 ** np.arange(size)[::-1]
            wanted = [(x[i:].astype(np.float64) * powers[i:]).sum() for i in range(size)]
        np.testing.assert_allclose(y, wanted, 1e-5, 1e-6)
        slope = back(jnp.ones(size))[0]
        powers = 0.5 ** np.arange(size)
        full = [powers[: size - i].sum() if not reverse else powers[size - 1 - i] * (i + 1)
                for i in range(size)]  # fmt: skip
        np.testing.assert_allclose(slope, full, 1e-5, 1e-30)


@jax.jit
def soft_pools(x, where, r):
    """Prefixes' soft pools with their slopes in x and in the sharpness."""

    def pools(x, r):
        kinds = (jaxpool.LogSumExp(r), jaxpool.SoftmaxMean(r))
        return jnp.stack([jaxpool.pool(x, jaxpool.Prefix(0), kind, where=where) for kind in kinds])

    return pools(x, r), jax.jacrev(pools)(x, r), jax.jacfwd(pools, 1)(x, r)


@pytest.mark.parametrize("sharpness", [0.0, 1e-5, 0.3, -300.0, 300.0])
def test_soft_pools_have_all_digits(sharpness):
    """And slopes, with a sharpness that is traced, against float64."""
    x, where = RNG.random(12).astype(np.float32), RNG.random(12) < 0.8
    where[:2] = False, True

    def exact(x, r):
        cells = [x[: i + 1][where[: i + 1]] for i in range(12)]
        high = [max(r * c) if len(c) else 0 for c in cells]
        soft = [np.log1p(np.expm1(r * (c - c.mean())).mean()) / r + c.mean()
                if r and abs(r) < 1 else c.mean() if r == 0
                else (np.log(np.exp(r * c - h).mean()) + h) / r
                for c, h in zip(cells[1:], high[1:], strict=True)]  # fmt: skip
        mean = [(np.exp(r * c - h) * c).sum() / np.exp(r * c - h).sum()
                for c, h in zip(cells[1:], high[1:], strict=True)]  # fmt: skip
        return np.array([[0, *soft], [0, *mean]])

    y, in_x, in_r = soft_pools(x, where, np.float32(sharpness))
    x, r = x.astype(np.float64), float(np.float32(sharpness))
    np.testing.assert_allclose(y, exact(x, r), 1e-6, 2e-7)
    steps = [(exact(x + 1e-6 * e, r) - exact(x - 1e-6 * e, r)) / 2e-6 for e in np.eye(12)]
    np.testing.assert_allclose(in_x, np.moveaxis(steps, 0, -1), 1e-4, 2e-5)
    step = 1e-4 * max(abs(r), 0.1)
    numeric = (exact(x, r + step) - exact(x, r - step)) / (2 * step)
    np.testing.assert_allclose(in_r, numeric, 1e-3, 1e-5)


def test_soft_pools_of_what_is_not_finite():
    """A value of its cells and of no other; it has no slope."""
    x = jnp.array([1, -jnp.inf, 3e38, jnp.inf, jnp.nan, 3], jnp.float32)

    @jax.jit
    def found(x):
        kinds = (jaxpool.LogSumExp(2), jaxpool.SoftmaxMean(2), jaxpool.LogSumExp(-2))
        pool = lambda x: jnp.stack([jaxpool.pool(x, jaxpool.Prefix(0), k) for k in kinds])  # noqa: E731
        weighted = jaxpool.WeightedMean(jnp.where(jnp.arange(6) == 4, jnp.nan, 0.0))
        return (
            pool(x),
            jax.jacrev(pool)(x),
            jaxpool.pool(jnp.arange(6.0), jaxpool.Prefix(0), weighted),
        )

    y, slope, weighted = found(x)
    less = 1 - np.log(2) / 2  # of one element of two
    nan = [np.nan, np.nan]
    np.testing.assert_allclose(y, [[1, less, 3e38, np.inf, *nan], [1, 1, 3e38, np.inf, *nan],
                                   [1, *[-np.inf] * 3, *nan]], 1e-6)  # fmt: skip
    assert (np.isfinite(slope)).all()
    np.testing.assert_allclose(slope[:, 0, 0], 1)
    np.testing.assert_allclose(weighted, [0, 0.5, 1, 1.5, *nan], 1e-6)


def test_symbolic_lengths():
    """Folds go one by one then; maxima, sums and means as JAX's own scans do."""
    (n,) = jax.export.symbolic_shape("n")

    def pools(x):
        domain = jaxpool.Prefix(0)
        names = ("max", "mean", "softmax", "monoid")
        return [jaxpool.pool(x, domain, REDUCTIONS[name][0]) for name in names]

    shape = jax.ShapeDtypeStruct((n, 2), np.float32)
    exported = jax.export.export(jax.jit(lambda x: (pools(x), jax.jacrev(pools)(x[:3]))))(shape)
    x = RNG.random((7, 2)).astype(np.float32)
    for a, b in zip(exported.call(x)[0], jax.jit(pools)(x), strict=True):
        np.testing.assert_allclose(a, b, 1e-5)


def test_a_fold_takes_few_operations_for_each_element():
    size, count = 2**12, 0

    def add(a, b):
        nonlocal count
        count += a.size
        return a + b

    with jax.disable_jit():  # so that rounds of the loop are counted too
        y = prefix_fold(np.ones(size, np.float32), 0, add, 0)
    np.testing.assert_array_equal(y, np.arange(1, size + 1))
    assert count < 3 * size


@pytest.mark.parametrize("corner", ["top_left", "top_right", "bottom_left", "bottom_right"])
def test_corners(corner):
    x, where = RNG.normal(size=(2, 5, 4, 3)).astype(np.float32), RNG.random((2, 5, 4, 1)) < 0.7
    vertical, horizontal = corner.split("_")

    def running(v, axis, reverse):
        v = np.flip(v, axis) if reverse else v
        v = np.maximum.accumulate(v, axis)
        return np.flip(v, axis) if reverse else v

    def wanted(v, empty):
        down = running(v, 1, vertical == "top")
        right = running(v, 2, horizontal == "left")
        return sum(np.where(np.isinf(part), empty, part) for part in (down, right))

    np.testing.assert_allclose(jaxpool.corner_pool(x, corner), wanted(x, 0), 1e-6)
    masked = np.where(where, x, -np.inf)
    found = jaxpool.corner_pool(np.where(where, x, np.nan), corner, where=where, empty_value=5)
    np.testing.assert_allclose(found, wanted(masked, 5), 1e-6)
    turned = jaxpool.corner_pool(np.moveaxis(x, -1, 1), corner, axes=(2, -1))
    np.testing.assert_allclose(np.moveaxis(turned, 1, -1), wanted(x, 0), 1e-6)


@pytest.mark.parametrize("value", [np.int8(100), np.uint8(200), np.bool_(True), np.float16(1.5)])
def test_corners_do_not_wrap(value):
    y = jaxpool.corner_pool(jnp.full((1, 1, 1), value))
    assert y.tolist() == [[[2 * float(value)]]]
    assert y.dtype == (jnp.sum(value).dtype if value.dtype.kind != "f" else value.dtype)


@pytest.mark.parametrize("name", [*ORDERED, "stochastic"])
def test_what_prefixes_do_not_offer(name):
    reduction = jaxpool.Stochastic(key=jax.random.key(0))
    reduction = reduction if name == "stochastic" else REDUCTIONS[name][0]
    with pytest.raises(ValueError, match="pool: `domain` must not be Prefix for order statistics"):
        jaxpool.pool(jnp.ones((4, 3)), jaxpool.Prefix(0), reduction)


@pytest.mark.parametrize(
    ("error", "call", "text"),
    [
        (TypeError, lambda x: jaxpool.prefix_max_pool(x, 1.0), "prefix_max_pool: `axis` must be"),
        (
            ValueError,
            lambda x: jaxpool.prefix_max_pool(x, 3),
            "prefix_max_pool: `axis` must lie in",
        ),
        (TypeError, lambda x: jaxpool.prefix_sum_pool(x, 0, reverse=1), "`reverse` must be"),
        (ValueError, lambda x: jaxpool.corner_pool(x, "left"), "corner_pool: `corner` must be"),
        (ValueError, lambda x: jaxpool.corner_pool(x, axes=(0,)), "`axes` must be two axes"),
        (ValueError, lambda x: jaxpool.corner_pool(x, axes=(0, 5)), "corner_pool: `axes` must"),
    ],
)
def test_arguments(error, call, text):
    with pytest.raises(error, match=text):
        call(jnp.ones((4, 4, 2)))


def test_norms_and_moments_take_one_fold():
    """Of many elements, far from 0, and with all digits; of zeros, second derivatives too."""
    n = 50_000
    x = (RNG.normal(size=n) + np.where(np.arange(n) < n // 2, 1e4, 0)).astype(np.float32)
    x[7] = 0
    domain = jaxpool.Prefix(0)
    reductions = {"std": jaxpool.Std(), "third": jaxpool.Moment(3), "norm": jaxpool.Lp(2)}

    @jax.jit
    def found(x, wave):
        pools = {name: lambda x, r=r: jaxpool.pool(x, domain, r) for name, r in reductions.items()}
        norm = lambda x: jaxpool.pool(x, domain, reductions["norm"])[-3:].sum()
        slope = lambda x: jaxpool.pool(x, domain, jaxpool.Std())[-3:].sum()
        second = jax.jvp(jax.grad(norm), (x,), (wave,))[1]
        return {name: pool(x) for name, pool in pools.items()}, second, jax.grad(slope)(x)

    wave = np.cos(np.arange(n, dtype=np.float32))
    values, second, slope = found(x, wave)
    v = np.float64(x)
    for i in (*range(1, 7), 100, n // 2, n // 2 + 1, n - 1):
        part = v[: i + 1]
        centred = part - part.mean()
        np.testing.assert_allclose(values["std"][i], part.std(), 2e-6)
        third = (centred**3).mean()
        np.testing.assert_allclose(values["third"][i], third, atol=1e-5 * part.std() ** 3)
        np.testing.assert_allclose(values["norm"][i], np.linalg.norm(part), 2e-6)
    wanted, bent = np.zeros(n), np.zeros(n)
    for i in (n - 3, n - 2, n - 1):
        part, size = v[: i + 1], np.linalg.norm(v[: i + 1])
        wanted[: i + 1] += (part - part.mean()) / (part.std() * (i + 1))
        along = wave[: i + 1] - part * (part @ wave[: i + 1]) / size**2
        bent[: i + 1] += along / size
    np.testing.assert_allclose(slope, wanted, 1e-4, 1e-9)
    np.testing.assert_allclose(second, bent, 1e-3, 1e-10)


def test_norms_and_moments_of_any_size():
    """What is small before what is large, zeros, and what is not finite from there on."""
    x = np.float32([0, 1e-30, 3e-30, 0, 1e30, -2e38, 2e38, np.inf, 1])
    v = np.float64(x)[:7]
    std, norm, mean = jax.jit(lambda x: [
        jaxpool.pool(x, jaxpool.Prefix(0), r)
        for r in (jaxpool.Std(), jaxpool.Lp(4), jaxpool.LinearSoftmax())
    ])(x)  # fmt: skip
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(std[:7], [v[: i + 1].std() for i in range(7)], 1e-5)
        scale = np.maximum.accumulate(np.maximum(abs(v), 1e-300))
        powers = [((v[: i + 1] / scale[i]) ** 4).sum() ** 0.25 * scale[i] for i in range(7)]
        squares = [(v[: i + 1] ** 2).sum() / max(v[: i + 1].sum(), 1e-300) for i in range(5)]
    np.testing.assert_allclose(norm[:7], powers, 1e-5)
    np.testing.assert_allclose(mean[:5], squares, 1e-5)
    assert np.isnan(std[7:]).all()
    assert np.isinf(norm[7:]).all()
    # What comes later, and is not finite, has no part in the gradients of cells before it.
    start = np.float32([1, 2, 0, 3])
    later = np.concatenate([start, np.float32([np.inf, 1, np.nan, 2])])

    @jax.jit
    def slopes(x):
        return [jax.grad(lambda x, r=r: jaxpool.pool(x, jaxpool.Prefix(0), r)[:4].sum())(x)
                for r in (jaxpool.Std(), jaxpool.Lp(3), jaxpool.LinearSoftmax())]  # fmt: skip

    for some, alone in zip(slopes(later), slopes(start), strict=True):
        np.testing.assert_allclose(some[:4], alone, 1e-6)
        np.testing.assert_array_equal(some[4:], 0)


def test_floats_are_weights_of_moments():
    x, weights = RNG.random((2, 9)).astype(np.float32) + np.float32([[50], [0]])
    weights[3] = 0
    found = jax.jit(lambda x, w: [jaxpool.pool(x, jaxpool.Prefix(0), r, where=w)
                                  for r in (jaxpool.Variance(), jaxpool.Moment(3))])(x, weights)  # fmt: skip
    for order, y in zip((2, 3), found, strict=True):
        for i in range(9):
            v, w = np.float64(x[: i + 1]), np.float64(weights[: i + 1])
            centred = v - (w @ v) / w.sum()
            np.testing.assert_allclose(y[i], w @ centred**order / w.sum(), 1e-4, 1e-8)
