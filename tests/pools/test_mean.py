"""Facts about sums and means."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests.compiling import as_users

TESTS_OF = ("pools/mean.py", "reductions/mean.py")


def test_seed_facts():
    ramp = jnp.arange(1.0, 17.0).reshape(4, 4, 1)
    np.testing.assert_array_equal(
        jaxpool.avg_pool(ramp, (2, 2))[..., 0], [[3.5, 5.5], [11.5, 13.5]]
    )
    np.testing.assert_array_equal(jaxpool.sum_pool(ramp, (2, 2))[..., 0], [[14, 22], [46, 54]])
    assert jaxpool.global_avg_pool(ramp, (0, 1)) == 8.5


@pytest.mark.parametrize(
    ("k", "s", "p", "include", "exclude"),
    [
        (3, 3, 0, [2, 5, 7], [2, 5, 7]),
        (3, 2, 1, [1, 3, 5, 13 / 3], [1.5, 3, 5, 6.5]),
        (4, 3, 2, [0.75, 3.5, 4.5], [1.5, 3.5, 6]),
    ],
)
def test_divisors_of_ceil_mode(k, s, p, include, exclude):
    """The table of semantics.md, 4: declared padding counts, the ceil overhang never does."""
    x = np.arange(1, 8, dtype=np.float32)
    for flag, expected in ((True, include), (False, exclude)):
        y = jaxpool.avg_pool(x, k, s, p, ceil_mode=True, axes=0, count_include_pad=flag)
        np.testing.assert_array_equal(y, np.float32(expected))


def test_divisors_of_same():
    x = jnp.array([[1.0, 2], [3, 4]])
    y = jaxpool.avg_pool(x, (2, 2), 1, "SAME", axes=(0, 1))
    np.testing.assert_array_equal(y, [[2.5, 1.5], [1.75, 1]])  # as Flax
    y = jaxpool.avg_pool(x, (2, 2), 1, "SAME", axes=(0, 1), count_include_pad=False)
    np.testing.assert_array_equal(y, [[2.5, 3], [3.5, 4]])  # as TensorFlow


def test_divisors_of_dilated_windows_count_taps_not_holes():
    x = jnp.ones(5)
    y = jaxpool.avg_pool(x, 3, 1, 2, dilation=2, axes=0)
    np.testing.assert_array_equal(y, np.float32([2 / 3, 2 / 3, 1, 2 / 3, 2 / 3]))
    assert (jaxpool.avg_pool(x, 3, 1, 2, dilation=2, axes=0, count_include_pad=False) == 1).all()


@pytest.mark.parametrize("divisor", [1, -2, 7, 0.5, np.float32(4), np.int64(3)])
def test_divisor_override_wins(divisor):
    x = jnp.arange(1.0, 8.0)
    for include in (True, False):
        y = jaxpool.avg_pool(x, 3, 2, 1, ceil_mode=True, axes=0, count_include_pad=include,
                             divisor_override=divisor)  # fmt: skip
        np.testing.assert_array_equal(y, np.float32([3, 9, 15, 13]) / np.float32(divisor))


def test_masked_means_by_hand():
    x = jnp.array([1.0, 2, 3, 4, 5, 6])
    where = jnp.array([True, False, False, False, True, True])
    f = lambda **kw: jaxpool.avg_pool(x, 2, 2, axes=0, where=where, **kw).tolist()  # noqa: E731
    assert f() == [1, 0, 5.5]
    assert f(empty_value=-1) == [1, -1, 5.5]
    assert f(divisor_override=2) == [0.5, 0, 5.5]
    # Valid elements plus declared padding, whatever is masked out.
    y = jaxpool.avg_pool(x, 3, 3, ((2, 1),), axes=0, where=where, empty_value=-1)
    np.testing.assert_array_equal(y, np.float32([1 / 3, -1, 11 / 3]))
    y = jaxpool.avg_pool(x, 3, 3, ((2, 1),), axes=0, where=where, count_include_pad=False)
    np.testing.assert_array_equal(y, [1, 0, 5.5])


def test_weights():
    x, w = jnp.array([1.0, 2, 3, np.nan]), jnp.array([0.5, 1.5, 2.0, 0.0])
    np.testing.assert_allclose(jaxpool.avg_pool(x, 2, axes=0, where=w), [3.5 / 2, 3])
    np.testing.assert_allclose(jaxpool.global_avg_pool(x, 0, where=w), 9.5 / 4)
    # Padding weighs 1.
    y = jaxpool.avg_pool(x[:2], 3, 3, ((1, 0),), axes=0, where=w[:2])
    np.testing.assert_allclose(y, [3.5 / 3])
    # Weights of one are no mask, weights of 0 and 1 are a bool mask.
    x = jnp.arange(9.0).reshape(1, 9, 1)
    a = jaxpool.avg_pool(x, (3,), 2, 1, where=jnp.ones((9, 1)))
    np.testing.assert_array_equal(a, jaxpool.avg_pool(x, (3,), 2, 1))
    mask = jnp.arange(9)[:, None] % 4 == 0
    a = jaxpool.avg_pool(x, (3,), 2, 1, where=mask.astype(jnp.float32), empty_value=7)
    np.testing.assert_array_equal(a, jaxpool.avg_pool(x, (3,), 2, 1, where=mask, empty_value=7))


def test_weights_have_derivatives():
    x, w = jnp.array([1.0, 2, 4, 7]), jnp.array([0.5, 1.5, 2.0, 0.25])
    for f, mean in (
        (lambda w: jaxpool.global_avg_pool(x, 0, where=w), lambda w: jnp.sum(w * x) / jnp.sum(w)),
        (
            lambda w: jaxpool.avg_pool(x, 4, 4, ((1, 1),), axes=0, where=w)[0],
            lambda w: jnp.sum(w[:3] * x[:3]) / (jnp.sum(w[:3]) + 1),
        ),
    ):
        slopes = lambda w: [(jax.grad(g)(w), jax.hessian(g)(w)) for g in (f, mean)]  # noqa: B023, E731
        (gradient, hessian), expected = jax.jit(slopes)(w)
        np.testing.assert_allclose(gradient, expected[0], rtol=1e-6)
        np.testing.assert_allclose(hessian, expected[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("weight", [0.0, -0.0])
def test_an_element_of_weight_zero_is_masked_out(weight):
    """Its weight has no derivative either, since its value is not looked at."""
    x, w = jnp.array([1.0, 3, np.nan]), jnp.array([1.0, 1, weight])
    f = lambda w: jaxpool.global_avg_pool(x, 0, where=w)  # noqa: E731
    assert f(w) == 2
    np.testing.assert_array_equal(jax.grad(f)(w), [-0.5, 0.5, 0])


@pytest.mark.parametrize(
    "shape",
    [(64, 64), *(pytest.param((n, n), marks=pytest.mark.exhaustive) for n in (16, 32))],
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_ones_have_mean_one_exactly(shape, dtype):
    @jax.jit
    def means(x, where):
        pool = jaxpool.avg_pool
        return pool(x, shape), jaxpool.global_avg_pool(x, (1, 2)), pool(x, shape, where=where)

    x = np.ones((1, *shape, 1)).astype(jnp.dtype(dtype))
    for y in means(x, np.ones(x.shape, bool)):
        assert y.dtype == np.dtype(dtype)
        assert np.asarray(y).astype(np.float32).item() == 1


def test_means_are_divisions_under_vmap_too():
    """And not multiplications by a rounded reciprocal: 41 * (1 / 41) is not 1 in float32."""
    sizes = (41, 47, 55, 61)

    @jax.jit
    def means(*arrays):
        pools = (functools.partial(jaxpool.global_avg_pool, axes=0),
                 lambda x: jaxpool.avg_pool(x, x.shape[0], axes=0),
                 lambda x: jaxpool.avg_pool(x, 9, axes=0, padding=4, divisor_override=41))  # fmt: skip
        return [[jax.vmap(pool)(x) for pool in pools] for x in arrays]

    for *whole, given in means(*(np.ones((3, n, 5), np.float32) for n in sizes)):
        for y in whole:
            np.testing.assert_array_equal(y, 1)
        np.testing.assert_array_equal(given[:, 4:-4], np.float32(9) / np.float32(41))


def test_no_overflow_in_narrow_floats():
    x = jnp.full((32, 32), 100, jnp.float16)  # a sum of 102400
    assert jaxpool.avg_pool(x, (32, 32), axes=(0, 1)).item() == 100
    assert jaxpool.global_avg_pool(x, (0, 1)) == 100
    x = jnp.full((64, 64), 20, jnp.float16)
    assert jaxpool.global_avg_pool(x, (0, 1)) == 20


@pytest.mark.parametrize("k", [3, 7, 14, 56, 64])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_floats_are_rounded_once(k, dtype):
    x = jnp.asarray(np.random.default_rng(k).uniform(0, 1, (1, k, k, 8))).astype(dtype)
    exact = np.asarray(x).astype(np.float64).mean((1, 2))
    ulp = float(jnp.finfo(dtype).eps)
    pools = jax.jit(
        lambda x: (jaxpool.avg_pool(x, (k, k))[:, 0, 0], jaxpool.global_avg_pool(x, (1, 2)))
    )
    for y in pools(x):
        np.testing.assert_allclose(np.asarray(y).astype(np.float64), exact, rtol=0.51 * ulp)


def means(x, numbers):
    """Of windows of each number of elements, and of squares of them, by all kinds of divisors."""
    along = [jaxpool.avg_pool(x, n, 1, axes=1) for n in numbers]
    square = [jaxpool.avg_pool(x, (n, n), axes=(0, 1)) for n in numbers]
    valid = [jaxpool.avg_pool(x, n, 1, n // 2, axes=1, count_include_pad=False)
             for n in numbers]  # fmt: skip
    masked = [jaxpool.avg_pool(x, n, 2, axes=1, where=jnp.arange(48) % 3 > 0)
              for n in numbers if n > 1]  # fmt: skip
    override = [jaxpool.avg_pool(x, n, axes=1, divisor_override=n) for n in numbers]
    whole = [jaxpool.global_avg_pool(x[:, :n], (0, 1)) for n in numbers]
    return along, square, valid, masked, override, whole


# All kinds of divisors have some for which the product with a rounded reciprocal is another number.
NUMBERS = (1, 2, 3, 7, 11, 13)
CONSTANTS = [1.0, 3.0, 21.0, -7.0, 1000.0, 0.375]


def test_the_mean_of_a_constant_is_that_constant(exhaustive):
    """Also under jit, where XLA:CPU would multiply by a rounded 1/n."""
    numbers = range(1, 17) if exhaustive else NUMBERS
    run = as_users(lambda x: means(x, numbers))
    for constant in CONSTANTS:
        for y in jax.tree.leaves(run(np.full((16, 48), constant, np.float32))):
            assert (y == constant).all(), y.shape


def test_ints_do_not_wrap():
    y = jaxpool.avg_pool(jnp.array([200, 200], jnp.uint8), 2, axes=0)
    assert y.tolist() == [200]
    assert y.dtype == np.float32
    assert jaxpool.avg_pool(jnp.full((2, 2), 100, jnp.int8), (2, 2), axes=(0, 1)).item() == 100
    assert jaxpool.avg_pool(jnp.array([-1, -2], jnp.int32), 2, axes=0).item() == -1.5
    assert jaxpool.sum_pool(jnp.full(4, 127, jnp.int8), 4, axes=0).item() == 508
    assert jaxpool.sum_pool(jnp.full(4, 255, jnp.uint8), 4, axes=0).item() == 1020
    assert jaxpool.global_sum_pool(jnp.full(1000, 255, jnp.uint8), 0) == 255000
    assert jaxpool.sum_pool(jnp.ones(4, bool), 4, axes=0).item() == 4
    assert jaxpool.avg_pool(jnp.array([True, False]), 2, axes=0).item() == 0.5
    with jax.enable_x64(True):
        big = jnp.full(4, 2**31 - 1, jnp.int32)
        assert jaxpool.sum_pool(big, 4, axes=0).item() == 4 * (2**31 - 1)
    for dtype in ("int8", "uint8", "int32", "uint32", "bool"):
        assert (
            jaxpool.sum_pool(jnp.ones(2, dtype), 2, axes=0).dtype
            == jnp.sum(jnp.ones(2, dtype)).dtype
        )


def test_float64_stays_float64():
    with jax.enable_x64(True):
        x = jnp.array([1.0, 1e-12, 2.0, 3.0])
        assert jaxpool.avg_pool(x, 4, axes=0).dtype == np.float64
        assert jaxpool.sum_pool(x, 2, axes=0)[0] == 1.0 + 1e-12


def test_one_infinity_makes_its_own_cells_infinite_only():
    """A convolution would make 0 * inf = NaN of the others."""
    x = np.ones((1, 9, 9, 1), np.float32)
    x[0, 4, 4, 0] = np.inf
    for f in (jaxpool.avg_pool, jaxpool.sum_pool):
        y = np.asarray(f(x, (3, 3), 1))[0, ..., 0]
        assert not np.isnan(y).any()
        assert np.isinf(y).sum() == 9


def test_gradient_of_avg_shares_out():
    x = jnp.zeros((1, 5, 1))
    g = jax.grad(lambda x: jaxpool.avg_pool(x, (3,), 1, 1).sum())(x)[0, :, 0]
    np.testing.assert_allclose(g, [2 / 3, 1, 1, 1, 2 / 3], rtol=1e-6)
    g = jax.grad(lambda x: jaxpool.avg_pool(x, (3,), 1, 1, count_include_pad=False).sum())(x)
    np.testing.assert_allclose(g[0, :, 0], [5 / 6, 7 / 6, 1, 7 / 6, 5 / 6], rtol=1e-6)
