"""Facts about Lp norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ("pools/power.py", "reductions/power.py", "lowering/sum.py")

INF = float("inf")


def test_by_hand():
    x = jnp.array([3.0, -4, 6, 8])
    assert jaxpool.lp_pool(x, 2, axes=0).tolist() == [5, 10]
    assert jaxpool.lp_pool(x, 2, axes=0, p=1).tolist() == [7, 14]
    assert jaxpool.lp_pool(x, 2, axes=0, p=INF).tolist() == [4, 8]
    np.testing.assert_allclose(jaxpool.lp_pool(x, 2, axes=0, p=3), np.cbrt([91, 728]), rtol=1e-6)
    np.testing.assert_allclose(
        jaxpool.lp_pool(x, 2, axes=0, p=0.5), (np.sqrt([3, 6]) + np.sqrt([4, 8])) ** 2, rtol=1e-6
    )
    assert jaxpool.lp_pool(x.astype(jnp.int8), 2, axes=0).tolist() == [5, 10]


def test_partial_windows_are_true_sums():
    """PyTorch gives 12.124 for the last, the ONNX reference 10.39; the norm is 7."""
    x = jnp.arange(1.0, 8.0)
    y = jaxpool.lp_pool(x, 3, 3, ceil_mode=True, axes=0)
    np.testing.assert_allclose(y, [14**0.5, 77**0.5, 7], rtol=1e-6)
    y = jaxpool.lp_pool(x, 3, 3, ((2, 0),), axes=0)
    np.testing.assert_allclose(y, [1, 29**0.5, 110**0.5], rtol=1e-6)


@pytest.mark.parametrize(
    ("dtype", "value", "p"),
    [("float16", 55.0, 30), ("float16", 300.0, 2), ("float16", 2e4, 4), ("bfloat16", 1e30, 2),
     ("float32", 1e30, 2), ("float32", 1e30, 3), ("float32", 1e-30, 2), ("float32", 1e30, 2.5),
     ("float32", 1e-30, 7.5), ("float32", 3e38, 1e3), ("float16", 1e-4, 3), ("float16", 55.0, 40)],
)  # fmt: skip
def test_powers_neither_overflow_nor_underflow(dtype, value, p):
    x = np.array([value, -value / 2, 0, value / 4], np.float32).astype(dtype)
    exact = x.astype(np.longdouble)
    largest = np.abs(exact).max()
    exact = largest * ((np.abs(exact) / largest) ** p).sum() ** (1 / np.longdouble(p))
    rtol = max(float(jnp.finfo(dtype).eps), 2e-6)
    pools = (
        lambda x: jaxpool.lp_pool(x, 4, axes=0, p=p)[0],
        lambda x: jaxpool.global_lp_pool(x, 0, p=p),
    )

    def run(x):
        return [(f(x), jax.grad(lambda x: f(x).astype(jnp.float32))(x)) for f in pools]  # noqa: B023

    # XLA divides by a single cell by way of its reciprocal, which is denormal for the largest.
    for y, gradient in (run if value > 2.0**126 else jax.jit(run))(x):
        np.testing.assert_allclose(np.float64(y), np.float64(exact), rtol=rtol)
        gradient = np.asarray(gradient).astype(np.float64)
        assert np.isfinite(gradient).all()
        # Euler: x . grad = f for what is homogeneous of degree 1.
        euler = (gradient * np.asarray(x).astype(np.float64)).sum()
        np.testing.assert_allclose(euler, np.float64(exact), rtol=4 * rtol)


QUICK = [0.5, 3, INF, "traced"]  # roots, products, the maximum, and powers


@pytest.mark.parametrize(
    "p",
    [
        *QUICK,
        *(pytest.param(p, marks=pytest.mark.exhaustive) for p in (1, 1.5, 2, 2.5, 4, 17, 20.0)),
    ],
)
def test_gradient_is_zero_at_zero(p, exhaustive):
    p = jnp.asarray(2.5) if p == "traced" else p
    pools = (
        lambda x: jaxpool.lp_pool(x, 2, axes=0, p=p).sum(),
        lambda x: jaxpool.global_lp_pool(x, 0, p=p),
        lambda x: jaxpool.lp_pool(x, 3, 1, 1, axes=0, p=p).sum(),
    )
    pools = [jax.jit(f) for f in pools]  # traced once for all derivatives
    twice = pools if exhaustive else pools[2:]  # where cells share elements
    slopes = jax.jit(lambda x: [jax.grad(f)(x) for f in pools])
    both = jax.jit(lambda x: (slopes(x), [jax.hessian(f)(x) for f in twice]))
    for gradient in slopes(-np.zeros(6, np.float16)) + both(np.zeros(6, np.float32))[0]:
        assert (gradient == 0).all()
    gradients, hessians = both(np.float32([0, 0, 0, 0, 3, 0]))
    for gradient in gradients:
        assert np.isfinite(gradient).all()
        assert (gradient[np.array([0, 1, 2, 3, 5])] == 0).all()
    assert all(np.isfinite(hessian).all() for hessian in hessians)


def test_infinite_p_is_the_largest_magnitude():
    x = jnp.array([[1.0, -3, 2], [0, 0, 0], [-2, 2, 1]])
    expected = jnp.max(jnp.abs(x), 1)
    for p in (INF, np.inf, np.float32(INF), np.float64(INF), jnp.inf):
        np.testing.assert_array_equal(jaxpool.global_lp_pool(x, 1, p=p), expected)
        gradient = jax.grad(lambda x: jaxpool.global_lp_pool(x, 1, p=p).sum())(x)  # noqa: B023
        np.testing.assert_array_equal(gradient, [[0, -1, 0], [0, 0, 0], [-1, 0, 0]])
    where = jnp.array([[True, False, True]] * 2 + [[False] * 3])
    y = jaxpool.global_lp_pool(x, 1, p=INF, where=where, empty_value=9)
    np.testing.assert_array_equal(y, [2, 0, 9])


@pytest.mark.parametrize("p", [1, 2, 2.5, 3, INF])
def test_infinities_and_nan(p):
    x = jnp.array([[1.0, -np.inf, 2], [np.nan, 1, 2], [np.inf, np.nan, 0], [1e30, np.inf, -np.inf]])
    y = jaxpool.lp_pool(x, 3, axes=1, p=p)[:, 0]
    np.testing.assert_array_equal(y, [np.inf, np.nan, np.nan, np.inf])
    np.testing.assert_array_equal(jaxpool.global_lp_pool(x, 1, p=p), y)


@pytest.mark.parametrize("p", [1, 1.5, 2, 3])
def test_homogeneous(p):
    x = np.random.default_rng(0).normal(size=(2, 9, 2)).astype(np.float32)
    f = jax.jit(lambda x: jaxpool.lp_pool(x, (3,), 2, p=p))
    a = np.asarray(f(x))
    for factor in np.float32([2, -4, 2.0**100]):
        np.testing.assert_allclose(f(factor * x), abs(factor) * a, rtol=1e-6)


def test_one_element_is_its_magnitude():
    x = jnp.array([-3.0, 0, 5, 1e-20])
    for p in (1, 2, 3, 2.5, INF):
        np.testing.assert_allclose(jaxpool.lp_pool(x, 1, axes=0, p=p), jnp.abs(x), rtol=1e-6)


def test_p_may_be_traced_and_learned():
    x = jnp.array([[1.0, -2, 0, 3], [0, 0, 0, 0], [np.nan, 1, 2, np.nan]])
    where = jnp.isfinite(x)
    traces = []

    @jax.jit
    def f(p, x):
        traces.append(p)
        return jnp.sum(jaxpool.global_lp_pool(x, 1, p=p, where=where))

    for p in (1.0, 2.0, 3.5):
        np.testing.assert_allclose(
            f(p, x), jaxpool.global_lp_pool(x, 1, p=p, where=where).sum(), rtol=1e-5
        )
    assert len(traces) == 1
    numeric = (f(3.51, x) - f(3.49, x)) / 0.02
    np.testing.assert_allclose(jax.grad(f)(3.5, x), numeric, rtol=1e-2)
    assert np.isfinite(jax.grad(jax.grad(f))(3.5, x))
    per_row = jax.vmap(lambda p, x: jaxpool.lp_pool(x, 4, axes=0, p=p)[0])
    y = per_row(jnp.array([1.0, 3.0]), x[:2])
    np.testing.assert_allclose(y, [6, 0], rtol=1e-6)


def test_lp_is_a_tree_whose_leaf_is_p():
    reduction = jaxpool.Lp(3.0)
    assert jax.tree.leaves(reduction) == [3.0]
    x = jnp.array([1.0, 2.0])
    f = jax.jit(lambda r: jaxpool.pool(x, jaxpool.Global(0), r))
    np.testing.assert_allclose(f(reduction), 9 ** (1 / 3), rtol=1e-6)
    gradient = jax.grad(lambda r: jaxpool.pool(x, jaxpool.Global(0), r))(reduction)
    assert isinstance(gradient, jaxpool.Lp)
    assert gradient.p < 0  # norms shrink as p grows


@pytest.mark.parametrize("k", [(9, 9), pytest.param((3, 5, 6), marks=pytest.mark.exhaustive)])
def test_many_taps_run_in_a_loop(k):
    """More than 64 elements; the result and its derivatives are those of the sum written out."""
    shape = tuple(n + 1 for n in k)
    x = np.random.default_rng(1).normal(size=(2, *shape, 1)).astype(np.float32)

    @jax.jit
    def run(x):
        def everything(f):
            gradient = jax.grad(lambda x: jnp.sum(jnp.sin(f(x))))
            return f(x), *jax.jvp(gradient, (x,), (jnp.ones_like(x),))

        return everything(lambda x: jaxpool.lp_pool(x, k, 1, p=3)), everything(
            lambda x: jaxpool.sum_pool(jnp.abs(x) ** 3, k, 1) ** (1 / 3)
        )

    (y, gradient, second), expected = run(x)
    np.testing.assert_allclose(y, expected[0], rtol=1e-5)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second, expected[2], rtol=1e-3, atol=1e-4)
