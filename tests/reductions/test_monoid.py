"""Reductions of the user's own, also such as do not commute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool import Global, Monoid, Window

TESTS_OF = (
    "reductions/monoid.py",
    "lowering/windows.py",
    "domains/global_.py",
    "domains/window.py",
)


def xp(x):
    """What to compute with: the oracle folds in NumPy."""
    return jnp if isinstance(x, jax.Array) else np


def mean_combine(a, b):
    """Chan's: (mean, count) of two parts together."""
    (m, n), (k, l) = a, b  # noqa: E741
    total = n + l
    safe = xp(total).where(total > 0, total, 1)
    return m + (k - m) * l / safe, total


def affine_combine(a, b):
    """First a, then b, of maps t -> scale * t + shift."""
    return b[0] * a[0], b[0] * a[1] + b[1]


def matrix_combine(a, b):
    """Products of 2x2 matrices, as four arrays."""
    return (
        a[0] * b[0] + a[1] * b[2], a[0] * b[1] + a[1] * b[3],
        a[2] * b[0] + a[3] * b[2], a[2] * b[1] + a[3] * b[3],
    )  # fmt: skip


def last_combine(a, b):
    """The last element that is positive, else 0."""
    return xp(b[0]).where(b[1], b[0], a[0]), a[1] | b[1]


MONOIDS = {
    "product": Monoid(lambda a, b: a * b, 1),
    "log_sum_exp": Monoid(lambda a, b: a + b, 0, lift=lambda x: xp(x).exp(x),
                          finish=lambda c: xp(c).log(c)),
    "mean": Monoid(
        mean_combine, (0, 0), lift=lambda x: (x, xp(x).ones_like(x)), finish=lambda c: c[0]
    ),
    "affine": Monoid(
        affine_combine, (1, 0), lift=lambda x: (xp(x).sin(x), x), finish=lambda c: c[0] + c[1]
    ),
    "matrices": Monoid(
        matrix_combine, (1, 0, 0, 1),
        lift=lambda x: (xp(x).ones_like(x), x, xp(x).cos(x), xp(x).zeros_like(x)),
        finish=lambda c: c[0] + 2 * c[1] - c[2] * c[3],
    ),
    "last": Monoid(
        last_combine, (0, False), lift=lambda x: (xp(x).where(x > 0, x, 0), x > 0),
        finish=lambda c: c[0],
    ),
    "first_and_max": Monoid(  # a dictionary as carrier
        lambda a, b: {"top": xp(a["top"]).where(b["top"] > a["top"], b["top"], a["top"])},
        {"top": -np.inf}, lift=lambda x: {"top": x}, finish=lambda c: c["top"],
    ),
}  # fmt: skip
monoids = pytest.mark.parametrize("monoid", MONOIDS.values(), ids=MONOIDS)


def folded(monoid, elements):
    """From left to right, one by one."""
    if not len(elements):
        return -7.0
    carriers = [monoid.lift(np.asarray(e)) for e in elements]
    return monoid.finish(functools.reduce(monoid.combine, carriers))


def reference(monoid, row, k, s, d, low, where):
    cells = []
    for start in range(-low, len(row) - (k - 1) * d, s):
        taps = [t for t in range(start, start + k * d, d) if 0 <= t and where[t]]
        cells.append([row[t] for t in taps])
    return [float(folded(monoid, cell)) for cell in cells]


# Windows, strides, dilations and low padding.
GEOMETRIES = [
    *((k, 1 + k % 3, 1 + k % 2, k // 3) for k in range(2, 18)),
    (5, 1, 1, 2), (17, 1, 1, 3), (8, 1, 2, 0), (16, 1, 1, 0), (13, 2, 2, 1),
]  # fmt: skip
# Taps one by one, of windows small and large; doubled, of sizes with holes and a power of 2.
EACH_WAY = [
    (2, 3, 1, 0), (3, 1, 2, 1), (11, 3, 2, 3), (5, 1, 1, 2), (13, 1, 1, 4), (8, 1, 2, 0),
]  # fmt: skip


@monoids
@pytest.mark.parametrize(
    "masked",
    [
        pytest.param(False, id="plain", marks=pytest.mark.exhaustive),
        pytest.param(True, id="masked"),
    ],
)
def test_windows_equal_a_fold(monoid, masked, exhaustive):
    """Any window, few taps or many; values, then the derivative against differences."""
    rng = np.random.default_rng(0)
    geometries = EACH_WAY + GEOMETRIES if exhaustive else EACH_WAY
    x, v = rng.uniform(-1, 1, 36) + 1e-3, rng.normal(size=36)
    where = rng.random(36) < 0.6 if masked else np.ones(36, bool)

    def loss(x):
        values = [
            jaxpool.pool(
                x, Window(k, s, ((low, 0),), dilation=d, axes=0), monoid,
                where=where if masked else None, empty_value=-7,
            )
            for k, s, d, low in geometries
        ]  # fmt: skip
        return sum(jnp.sum(jnp.sin(y)) for y in values), values

    @jax.jit
    def everything(x):
        (value, values), gradient = jax.value_and_grad(loss, has_aux=True)(x)
        tangent = jax.jvp(lambda x: loss(x)[0], (x,), (jnp.asarray(v),))[1]
        return values, value, gradient, tangent

    step = 1e-6
    with jax.enable_x64(True):
        values, _, gradient, tangent = everything(x)
        numeric = (everything(x + step * v)[1] - everything(x - step * v)[1]) / (2 * step)
    for g, y in zip(geometries, values, strict=True):
        expected = reference(monoid, x, *g, where)
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12, err_msg=str(g))
    np.testing.assert_allclose(np.asarray(gradient) @ v, numeric, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(tangent, numeric, rtol=1e-5, atol=1e-6)
    assert (np.asarray(gradient)[~where] == 0).all()


@monoids
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_global_equals_a_fold(monoid, masked, exhaustive):
    rng = np.random.default_rng(1)
    x, where = rng.uniform(-1, 1, (17, 3)), rng.random((17, 3)) < (0.6 if masked else 2)
    lengths = range(1, 18) if exhaustive else (1, 2, 3, 6, 17)
    cases = [(n, axes) for n in lengths for axes in (0, (0, 1))]

    @jax.jit
    def pools(x):
        return [
            jaxpool.pool(x[:n], Global(axes), monoid, empty_value=-7,
                         where=where[:n] if masked else None)
            for n, axes in cases
        ]  # fmt: skip

    with jax.enable_x64(True):
        results = pools(x)
    for (n, axes), y in zip(cases, results, strict=True):
        cells = [x[:n][where[:n]]] if axes else [x[:n, j][where[:n, j]] for j in range(3)]
        expected = [folded(monoid, c) for c in cells]
        np.testing.assert_allclose(np.ravel(y), np.ravel(expected), rtol=1e-10, atol=1e-12)


@monoids
def test_two_axes_are_folded_in_row_major_order(monoid):
    x = np.random.default_rng(2).uniform(-1, 1, (5, 6))
    windows = (2, 3), (3, 2), (5, 6)

    @jax.jit
    def pools(x):
        return [jaxpool.pool(x, Window(k, 1, axes=(0, 1)), monoid) for k in windows]

    with jax.enable_x64(True):
        results = pools(x)
    for k, y in zip(windows, results, strict=True):
        for i, j in np.ndindex(*y.shape):
            part = x[i : i + k[0], j : j + k[1]].ravel()
            np.testing.assert_allclose(y[i, j], folded(monoid, part), rtol=1e-10)


def test_second_derivatives():
    product = MONOIDS["product"]
    x = np.float32([2, 3, 5])
    for domain in (Window(3, axes=0), Global(0, keepdims=True)):
        f = lambda x: jaxpool.pool(x, domain, product)[0]  # noqa: B023, E731
        derivatives = [jax.grad(f), jax.hessian(f), jax.jacrev(jax.jacrev(f))]
        at_once = jax.jit(lambda x: [d(x) for d in derivatives])  # noqa: B023
        gradient, hessian, by_reverse = at_once(x)
        np.testing.assert_allclose(gradient, [15, 10, 6])
        np.testing.assert_allclose(hessian, [[0, 5, 3], [5, 0, 2], [3, 2, 0]])
        np.testing.assert_allclose(by_reverse, hessian)
        # Also where the product is zero, which x * d(log) would miss.
        np.testing.assert_allclose(at_once(np.float32([2, 0, 5]))[0], [0, 10, 0])


def test_log_add_exp_as_it_is_written():
    soft = Monoid(jnp.logaddexp, -jnp.inf)
    x = np.float32([[1, 2, 3, 4, 50, -60]])
    for k, s, p in ((2, 2, 0), (3, 1, 1), (5, 1, 2)):
        y = jax.jit(lambda x: jaxpool.pool(x, Window((k,), s, p, axes=1), soft))(x)  # noqa: B023
        padded = np.pad(np.asarray(x[0], np.float64), p, constant_values=-np.inf)
        expected = [
            np.logaddexp.reduce(padded[i : i + k]) for i in range(0, len(padded) - k + 1, s)
        ]
        np.testing.assert_allclose(y[0], expected, rtol=1e-6)
    whole = jax.jit(jax.value_and_grad(lambda x: jaxpool.pool(x, Global((0, 1)), soft)))
    y, gradient = whole(x)
    softmax = np.exp(x - x.max()) / np.exp(x - x.max()).sum()
    np.testing.assert_allclose(gradient, softmax, rtol=1e-5, atol=1e-30)
    assert y == 50


def test_dtypes():
    """Called as users do at first, each operation a program of its own."""
    product = Monoid(lambda a, b: a * b, 1)
    x = np.full(6, 1.5, jnp.bfloat16)
    y = jaxpool.pool(x, Window(3, axes=0), product)
    assert y.dtype == jnp.bfloat16
    assert np.asarray(y)[0] == 3.375
    seen = []
    spy = Monoid(lambda a, b: a + b, 0, lift=lambda x: seen.append(x.dtype) or x)
    jax.eval_shape(lambda x: jaxpool.pool(x, Window(3, axes=0), spy), x)
    assert seen == [np.float32]  # accumulated there
    y = jaxpool.pool(np.array([3, 5, 6, 1], np.int16), Window(2, axes=0),
                     Monoid(lambda a, b: a ^ b, 0))  # fmt: skip
    assert y.tolist() == [6, 7]
    assert y.dtype == np.int16
    halves = Monoid(lambda a, b: a + b, 0, finish=lambda total: total.astype(np.float32) / 2)
    y = jaxpool.pool(np.array([3, 5, 6, 1]), Window(2, axes=0), halves)
    np.testing.assert_array_equal(y, np.float32([4, 3.5]), strict=True)  # floats stay floats
    y = jaxpool.pool(np.float32([1, -2, 3]), Global(0),
                     Monoid(lambda a, b: a + b, 0, lift=lambda x: (x > 0).astype(jnp.int32)))  # fmt: skip
    assert y == 2


def test_masked_elements_do_not_reach_lift():
    """A lift with a pole: where nothing is masked in, it sees 1."""
    inverse = Monoid(lambda a, b: a + b, 0, lift=lambda x: jnp.sqrt(x) / x)
    x = np.float32([4, 0, -1, np.nan, 16, np.inf])
    where = np.array([True, False, False, False, True, False])
    for domain in (Window(3, axes=0), Global(0)):
        f = lambda x: jnp.sum(jaxpool.pool(x, domain, inverse, where=where))  # noqa: B023, E731
        value, gradient, hessian = jax.jit(lambda x: (f(x), jax.grad(f)(x), jax.hessian(f)(x)))(x)  # noqa: B023
        assert value == 0.75
        np.testing.assert_allclose(gradient, [-1 / 16, 0, 0, 0, -1 / 128, 0])
        assert np.isfinite(hessian).all()


def test_mistakes():
    with pytest.raises(TypeError, match="Monoid: `combine` must be a function"):
        Monoid(1, 0)
    with pytest.raises(TypeError, match="`lift` must be a function"):
        Monoid(max, 0, lift=3)
    with pytest.raises(ValueError, match="`identity` must have the tree structure"):
        jaxpool.pool(np.ones(4, np.float32), Window(2, axes=0), Monoid(lambda a, b: a, (0, 0)))
