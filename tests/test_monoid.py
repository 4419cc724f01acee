"""Reductions of the user's own, also such as do not commute."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool import Global, Monoid, Window


def mean_combine(a, b):
    """Chan's: (mean, count) of two parts together."""
    (m, n), (k, l) = a, b  # noqa: E741
    total = n + l
    safe = jnp.where(total > 0, total, 1)
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
    return jnp.where(b[1], b[0], a[0]), a[1] | b[1]


MONOIDS = {
    "product": Monoid(lambda a, b: a * b, 1),
    "log_sum_exp": Monoid(lambda a, b: a + b, 0, lift=jnp.exp, finish=jnp.log),
    "mean": Monoid(
        mean_combine, (0, 0), lift=lambda x: (x, jnp.ones_like(x)), finish=lambda c: c[0]
    ),
    "affine": Monoid(
        affine_combine, (1, 0), lift=lambda x: (jnp.sin(x), x), finish=lambda c: c[0] + c[1]
    ),
    "matrices": Monoid(
        matrix_combine, (1, 0, 0, 1),
        lift=lambda x: (jnp.ones_like(x), x, jnp.cos(x), jnp.zeros_like(x)),
        finish=lambda c: c[0] + 2 * c[1] - c[2] * c[3],
    ),
    "last": Monoid(
        last_combine, (0, False), lift=lambda x: (jnp.where(x > 0, x, 0), x > 0),
        finish=lambda c: c[0],
    ),
    "first_and_max": Monoid(  # a dictionary as carrier
        lambda a, b: {"top": jnp.where(b["top"] > a["top"], b["top"], a["top"])},
        {"top": -np.inf}, lift=lambda x: {"top": x}, finish=lambda c: c["top"],
    ),
}  # fmt: skip
monoids = pytest.mark.parametrize("monoid", MONOIDS.values(), ids=MONOIDS)


def folded(monoid, elements):
    """From left to right, one by one."""
    if not len(elements):
        return -7.0
    carriers = [monoid.lift(jnp.asarray(e)) for e in elements]
    return monoid.finish(functools.reduce(monoid.combine, carriers))


def reference(monoid, row, k, s, d, low, where):
    cells = []
    for start in range(-low, len(row) - (k - 1) * d, s):
        taps = [t for t in range(start, start + k * d, d) if 0 <= t and where[t]]
        cells.append([row[t] for t in taps])
    return [float(folded(monoid, cell)) for cell in cells]


GEOMETRIES = [
    *((k, 1 + k % 3, 1 + k % 2, k // 3) for k in range(2, 18)),
    (5, 1, 1, 2), (17, 1, 1, 3), (8, 1, 2, 0), (16, 1, 1, 0), (13, 2, 2, 1),
]  # fmt: skip


@monoids
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_windows_equal_a_fold(monoid, masked):
    """Any window, few taps or many; values, then the derivative against differences."""
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.uniform(-1, 1, 36) + 1e-3)
        where = rng.random(36) < 0.6 if masked else np.ones(36, bool)

        def everything(x):
            return [
                jaxpool.pool(
                    x, Window(k, s, ((low, 0),), dilation=d, axes=0), monoid,
                    where=jnp.asarray(where) if masked else None, empty_value=-7,
                )
                for k, s, d, low in GEOMETRIES
            ]  # fmt: skip

        values = jax.jit(everything)(x)
        v = jnp.asarray(rng.normal(size=36))

        def loss(x):
            return sum(jnp.sum(jnp.sin(y)) for y in everything(x))

        gradient, tangent = jax.jit(lambda x: (jax.grad(loss)(x), jax.jvp(loss, (x,), (v,))[1]))(x)
        step = 1e-6
        value = jax.jit(loss)
        numeric = (value(x + step * v) - value(x - step * v)) / (2 * step)
    with jax.enable_x64(True):
        for g, y in zip(GEOMETRIES, values, strict=True):
            k, s, d, low = g
            expected = reference(monoid, np.asarray(x), k, s, d, low, where)
            np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12, err_msg=str(g))
        np.testing.assert_allclose(gradient @ v, numeric, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(tangent, numeric, rtol=1e-5, atol=1e-6)
        assert (np.asarray(gradient)[~where] == 0).all()


@monoids
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_global_equals_a_fold(monoid, masked):
    rng = np.random.default_rng(1)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.uniform(-1, 1, (17, 3)))
        where = rng.random((17, 3)) < (0.6 if masked else 2)
        for n in range(1, 18):
            for axes in (0, (0, 1)):
                y = jaxpool.pool(x[:n], Global(axes), monoid, empty_value=-7,
                                 where=jnp.asarray(where[:n]) if masked else None)  # fmt: skip
                cells = [x[:n][where[:n]]] if axes else [x[:n, j][where[:n, j]] for j in range(3)]
                expected = [folded(monoid, np.asarray(c)) for c in cells]
                np.testing.assert_allclose(np.ravel(y), np.ravel(expected), rtol=1e-10, atol=1e-12)


@monoids
def test_two_axes_are_folded_in_row_major_order(monoid):
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.uniform(-1, 1, (5, 6)))
        for k in ((2, 3), (3, 2), (5, 6)):
            y = jaxpool.pool(x, Window(k, 1, axes=(0, 1)), monoid)
            for i, j in np.ndindex(*y.shape):
                part = np.asarray(x)[i : i + k[0], j : j + k[1]].ravel()
                np.testing.assert_allclose(y[i, j], folded(monoid, part), rtol=1e-10)


def test_second_derivatives():
    product = MONOIDS["product"]
    x = jnp.array([2.0, 3.0, 5.0])
    for domain in (Window(3, axes=0), Global(0, keepdims=True)):
        f = lambda x: jaxpool.pool(x, domain, product)[0]  # noqa: B023, E731
        np.testing.assert_allclose(jax.grad(f)(x), [15, 10, 6])
        np.testing.assert_allclose(jax.hessian(f)(x), [[0, 5, 3], [5, 0, 2], [3, 2, 0]])
        np.testing.assert_allclose(jax.jacrev(jax.jacrev(f))(x), jax.hessian(f)(x))
        # Also where the product is zero, which x * d(log) would miss.
        np.testing.assert_allclose(jax.grad(f)(x.at[1].set(0)), [0, 10, 0])


def test_log_add_exp_as_it_is_written():
    soft = Monoid(jnp.logaddexp, -jnp.inf)
    x = jnp.array([[1.0, 2, 3, 4, 50, -60]])
    for k, s, p in ((2, 2, 0), (3, 1, 1), (5, 1, 2)):
        y = jaxpool.pool(x, Window((k,), s, p, axes=1), soft)
        padded = np.pad(np.asarray(x[0], np.float64), p, constant_values=-np.inf)
        expected = [
            np.logaddexp.reduce(padded[i : i + k]) for i in range(0, len(padded) - k + 1, s)
        ]
        np.testing.assert_allclose(y[0], expected, rtol=1e-6)
    y, gradient = jax.value_and_grad(lambda x: jaxpool.pool(x, Global((0, 1)), soft))(x)
    np.testing.assert_allclose(gradient, jax.nn.softmax(x), rtol=1e-5, atol=1e-30)
    assert y == 50


def test_dtypes():
    product = Monoid(lambda a, b: a * b, 1)
    x = jnp.full(6, 1.5, jnp.bfloat16)
    y = jaxpool.pool(x, Window(3, axes=0), product)
    assert y.dtype == jnp.bfloat16
    assert y[0] == jnp.bfloat16(3.375)
    seen = []
    spy = Monoid(lambda a, b: a + b, 0, lift=lambda x: seen.append(x.dtype) or x)
    jaxpool.pool(x, Window(3, axes=0), spy)
    assert seen == [np.float32]  # accumulated there
    y = jaxpool.pool(jnp.array([3, 5, 6, 1], jnp.int16), Window(2, axes=0),
                     Monoid(lambda a, b: a ^ b, 0))  # fmt: skip
    assert y.tolist() == [6, 7]
    assert y.dtype == np.int16
    y = jaxpool.pool(jnp.array([1.0, -2, 3]), Global(0),
                     Monoid(lambda a, b: a + b, 0, lift=lambda x: (x > 0).astype(jnp.int32)))  # fmt: skip
    assert y == 2


def test_masked_elements_do_not_reach_lift():
    """A lift with a pole: where nothing is masked in, it sees 1."""
    inverse = Monoid(lambda a, b: a + b, 0, lift=lambda x: jnp.sqrt(x) / x)
    x = jnp.array([4.0, 0, -1, np.nan, 16, np.inf])
    where = jnp.array([True, False, False, False, True, False])
    for domain in (Window(3, axes=0), Global(0)):
        f = lambda x: jnp.sum(jaxpool.pool(x, domain, inverse, where=where))  # noqa: B023, E731
        assert f(x) == 0.75
        gradient = jax.grad(f)(x)
        np.testing.assert_allclose(gradient, [-1 / 16, 0, 0, 0, -1 / 128, 0])
        assert np.isfinite(jax.hessian(f)(x)).all()


def test_mistakes():
    with pytest.raises(TypeError, match="Monoid: `combine` must be a function"):
        Monoid(1, 0)
    with pytest.raises(TypeError, match="`lift` must be a function"):
        Monoid(max, 0, lift=3)
    with pytest.raises(ValueError, match="`identity` must have the tree structure"):
        jaxpool.pool(jnp.ones(4), Window(2, axes=0), Monoid(lambda a, b: a, (0, 0)))
