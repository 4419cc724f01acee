"""Pyramids, regional descriptors, strips and pools by matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import derivatives, oracle

TESTS_OF = ("pools/adaptive.py", "pools/pyramids.py", "pools/matrix.py")

X = np.random.default_rng(0).normal(size=(2, 9, 13, 3)).astype(np.float32)
FIRST = np.moveaxis(X, -1, 1)  # channels first


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_spatial_pyramid_equals_pytorch(kind):
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    function = getattr(torch.nn.functional, f"adaptive_{kind}_pool2d")
    check_pyramids(kind, [function(torch.tensor(FIRST), level).numpy() for level in LEVELS])


LEVELS = (1, 2, (3, 4), 6)


def check_pyramids(kind, parts):
    """Parts with channels first."""
    reduction = jaxpool.Max() if kind == "max" else jaxpool.Mean()

    @jax.jit
    def pyramids(x, first):
        return (
            jaxpool.spatial_pyramid_pool(first, LEVELS, reduction, axes=(-2, -1)),
            jaxpool.spatial_pyramid_pool(x, LEVELS, reduction),
            jaxpool.pyramid_pool(x, LEVELS, reduction),
        )

    close = functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6)
    of_first, of_last, found = pyramids(X, FIRST)
    close(of_first, np.concatenate([part.reshape(2, -1) for part in parts], 1))
    parts = [np.moveaxis(part, 1, -1).reshape(2, -1) for part in parts]
    close(of_last, np.concatenate(parts, 1))
    for part, level in zip(parts, found, strict=True):
        close(level.reshape(2, -1), part)


@pytest.mark.parametrize("kind", ["max", "avg"])
def test_spatial_pyramid_equals_loops(kind):
    sizes = [level if isinstance(level, tuple) else (level, level) for level in LEVELS]
    name = {"max": "max", "avg": "mean"}[kind]
    check_pyramids(kind, [oracle.adaptive(name, FIRST, size, (2, 3)) for size in sizes])


def test_spatial_pyramid_is_as_long_for_every_size():
    lengths = {
        jax.eval_shape(lambda x: jaxpool.spatial_pyramid_pool(x, (1, 2, 4)),
                       jax.ShapeDtypeStruct((5, h, w, 7), np.float32)).shape
        for h, w in [(1, 1), (2, 9), (8, 8), (31, 17)]
    }  # fmt: skip
    assert lengths == {(5, 7 * (1 + 4 + 16))}
    assert jaxpool.spatial_pyramid_pool(X[0], (1, 2)).shape == (15,)


def test_spatial_pyramid_under_a_mask_and_vmap():
    where = np.random.default_rng(1).random((2, 9, 13, 1)) < 0.6
    pool = functools.partial(jaxpool.spatial_pyramid_pool, levels=(1, 3))
    dirty = np.where(where, X, np.float32(np.nan))
    y = jax.jit(pool)(dirty, where=where)
    assert np.isfinite(y).all()
    mapped = jax.jit(jax.vmap(lambda x, w: pool(x, where=w)))(dirty, where)
    np.testing.assert_array_equal(mapped, y)


COUNTS = np.random.default_rng(0).integers(-9, 9, (2, 16, 15, 3)).astype(np.float32)


def check_sppf(maxima):
    """Maxima of windows of 5, 9 and 13, channels first."""
    first = np.moveaxis(COUNTS, -1, 1)
    expected = np.concatenate([first, *maxima], 1)
    y, of_first = jax.jit(
        lambda x, first: (jaxpool.sppf(x), jaxpool.sppf(first, 5, axes=(-2, -1)))
    )(COUNTS, first)
    np.testing.assert_array_equal(np.moveaxis(y, -1, 1), expected)
    np.testing.assert_array_equal(of_first, expected)


def test_sppf_is_spp_with_windows_of_5_9_and_13():
    pool = functools.partial(oracle.window, "max", np.moveaxis(COUNTS, -1, 1), strides=1)
    check_sppf([pool((k, k), padding=k // 2, axes=(2, 3)) for k in (5, 9, 13)])
    assert jaxpool.sppf(COUNTS[0, 0], (3,), repeats=2).shape == (15, 9)


def test_sppf_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    x = torch.tensor(np.moveaxis(COUNTS, -1, 1))
    check_sppf([torch.nn.functional.max_pool2d(x, k, 1, k // 2).numpy() for k in (5, 9, 13)])


def test_sppf_under_a_mask_is_of_valid_elements_only():
    x = np.arange(10.0, dtype=np.float32)[:, None]
    where = np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 1], bool)[:, None]
    y = jaxpool.sppf(np.where(where, x, np.float32(np.nan)), (3,), repeats=2, where=where)
    np.testing.assert_array_equal(y[:, 1], [1, 1, 1, 0, 0, 0, 0, 0, 9, 9])
    np.testing.assert_array_equal(y[:, 2], [1, 1, 1, 1, 0, 0, 0, 9, 9, 9])


def by_hand(x, levels):
    """R-MAC of channels-last `x`, region after region, after its authors' description."""
    height, width = x.shape[:2]
    w = min(height, width)

    def unit(region):
        v = region.max((0, 1))
        return v / (np.sqrt((v**2).sum()) + 1e-6)

    total = unit(x)
    more = 0
    if height != width:
        between = {m: (max(height, width) - w) / m for m in range(1, 7)}  # m + 1 regions
        more = min(between, key=lambda m: abs((w**2 - w * between[m]) / w**2 - 0.4))
    for level in range(1, levels + 1):
        size = int(np.floor(2 * w / (level + 1)))
        counts = [level + (more if n > w else 0) for n in (height, width)]
        starts = [
            [int(np.floor(i * (n - size) / (count - 1))) if count > 1 else 0 for i in range(count)]
            for n, count in zip((height, width), counts, strict=True)
        ]
        for i in starts[0]:
            for j in starts[1]:
                total = total + unit(x[i : i + size, j : j + size])
    return total


@pytest.mark.parametrize("shape", [(9, 13, 3), (12, 12, 2), (20, 7, 2)], ids=str)
def test_regional_maxima(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)

    @jax.jit
    def run(x):
        found = [jaxpool.regional_max_pool(x, levels) for levels in (0, 1, 3)]
        turned = jnp.moveaxis(x, -1, 0)
        return found, jaxpool.regional_max_pool(turned, axes=(1, 2), channel_axis=0)

    found, first = run(x)
    for levels, y in zip((0, 1, 3), found, strict=True):
        expected = by_hand(x.astype(np.float64), levels)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first, found[-1], rtol=1e-5)


def test_regional_maxima_of_nothing_have_a_gradient():
    loss = lambda x: jaxpool.regional_max_pool(x, 2).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(loss))(jnp.zeros((6, 6, 2)))
    assert np.isfinite(gradient).all()
    y = jax.eval_shape(jaxpool.regional_max_pool, jnp.ones((4, 6, 6, 2), jnp.bfloat16))
    assert (y.shape, y.dtype) == ((4, 2), jnp.bfloat16)


def test_strips():
    np.testing.assert_allclose(
        jaxpool.strip_pool(X, 1), X.mean(1, keepdims=True), rtol=1e-5, atol=1e-6
    )
    largest = jaxpool.strip_pool(X, -2, jaxpool.Max())
    np.testing.assert_array_equal(largest, X.max(2, keepdims=True))


def test_matrices():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(4, 9)).astype(np.float32), rng.normal(size=(5, 13)).astype(np.float32)
    a[a < 0] = 0
    y = jax.jit(lambda *m: jaxpool.matrix_pool(X, m, (1, 2)))(a, b)
    expected = np.einsum("ph,qw,nhwc->npqc", a.astype(float), b, X)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jaxpool.matrix_pool(X, [b, a], (-2, 1)), y, rtol=1e-6, atol=1e-6)
    y = jax.jit(lambda *m: jaxpool.matrix_pool(X, m, (1, 2), "max"))(a, b)
    terms = a[:, None, :, None] + b[None, :, None, :]
    expected = (X[:, None, None] + terms[None, ..., None]).max((3, 4))
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)


def test_matrices_of_zeros_and_ones_are_other_pools():
    starts, stops = [0, 2, 5], [3, 4, 9]
    rows = np.array([[s <= j < e for j in range(9)] for s, e in zip(starts, stops, strict=True)])
    domain = jaxpool.Intervals(starts, stops, axes=1)
    dirty = X.copy()
    dirty[:, 1], dirty[:, 6] = np.nan, np.inf  # what is not in a row does not reach it
    tropical = np.where(rows, np.float32(0), np.float32(-np.inf))

    def by(pool, x):
        y, vjp = jax.vjp(pool, x)
        return y, vjp(jnp.ones_like(y))[0]

    @jax.jit
    def pools(x):
        sums = jaxpool.matrix_pool(x, rows.astype(np.float32), axes=1)
        maxima = by(lambda x: jaxpool.matrix_pool(x, tropical, 1, "max"), x)
        other = by(lambda x: jaxpool.pool(x, domain, jaxpool.Max()), x)
        return (sums, jaxpool.pool(x, domain, jaxpool.Sum())), (maxima, other)

    for x in (X, dirty):
        sums, maxima = pools(x)
        np.testing.assert_allclose(*sums, rtol=1e-5, atol=1e-6)
        for a, b in zip(*maxima, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("semiring", ["sum", "max"])
def test_matrices_have_derivatives(semiring, exhaustive):
    rng = np.random.default_rng(0)
    at = rng.normal(size=(3, 5)), rng.normal(size=(2, 5))
    f = lambda x, m: jaxpool.matrix_pool(x, m, 1, semiring)  # noqa: E731
    with jax.enable_x64(True):
        derivatives.check(f, at)
        if exhaustive:
            derivatives.check_every_mode(f, at, eps=1e-4)


@pytest.mark.parametrize("axis", [0, 1])
def test_matrices_beside_what_is_not_finite(axis):
    """Values and gradients are those of loops that leave out what has no weight; so under vmap."""
    rng = np.random.default_rng(0)
    x, m = rng.normal(size=(3, 6, 6)), rng.normal(size=(4, 6)) * rng.integers(0, 2, (4, 6))
    g = rng.normal(size=(3, 4, 6) if axis == 0 else (3, 6, 4))
    x[0, 1, 2], x[0, 4, 2], x[2, 5, 5], x[2, 3, 1] = np.inf, -np.inf, np.nan, np.inf
    x, m, g = x.astype(np.float32), m.astype(np.float32), g.astype(np.float32)

    def batched(x, m):
        return jaxpool.matrix_pool(x, m, 1 + axis)

    def mapped(x, m):
        return jax.vmap(lambda x: jaxpool.matrix_pool(x, m, axis))(x)

    @jax.jit
    def both(x, m, g):
        found = []
        for f in (batched, mapped):
            y, vjp = jax.vjp(f, x, m)
            found.append((y, *vjp(g)))
        return found

    last, back = np.moveaxis(x, 1 + axis, -1), np.moveaxis(g, 1 + axis, -1)
    y, in_x = np.zeros(back.shape), np.einsum("bki,ij->bkj", back, m)
    in_m, finite = np.zeros(m.shape), np.where(np.isfinite(last), last, 0)
    with np.errstate(invalid="ignore"):
        for b, k, i, j in np.ndindex(*back.shape, 6):
            y[b, k, i] += last[b, k, j] * m[i, j] if m[i, j] else 0
            in_m[i, j] += back[b, k, i] * finite[b, k, j]
    for found in both(x, m, g):
        for a, b in zip(found[:2], (y, in_x), strict=True):
            np.testing.assert_allclose(np.moveaxis(a, 1 + axis, -1), b, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found[2], in_m, rtol=1e-5, atol=1e-5)
    assert 0 < (~np.isfinite(y)).sum() < 20


def test_a_matrix_multiplies_under_vmap_too():
    """And does not add up terms of outputs times inputs for each, as long as x is finite."""
    m = jnp.ones((4, 6))

    @jax.vmap
    def both(x, g):
        y, vjp = jax.vjp(lambda x, m: jaxpool.matrix_pool(x, m, 0), x, m)
        return vjp(g), y

    text = jax.jit(both).lower(jnp.ones((3, 6, 5)), jnp.ones((3, 4, 5))).as_text()
    always, in_a_loop = text.split("stablehlo.while")
    assert "dot_general" in always
    assert "tensor<3x4x6x5xf32>" not in always
    assert "tensor<3x4x6x5xf32>" in in_a_loop


def test_sppf_pads_even_windows_after_the_input():
    x = np.float32([[5, 1, 4, 2]]).T  # one axis, one channel
    y = jaxpool.sppf(x, 2, repeats=2, axes=0)
    np.testing.assert_array_equal(y.T, [[5, 1, 4, 2], [5, 4, 4, 2], [5, 4, 4, 2]])


def test_of_equal_maxima_a_matrix_takes_the_first_in_row_major_order():
    x, zeros = jnp.array([[0.0, 1.0], [1.0, 0.0]]), jnp.zeros((1, 2))
    loss = lambda x: jaxpool.matrix_pool(x, [zeros, zeros], (0, 1), "max").sum()  # noqa: E731
    np.testing.assert_array_equal(jax.grad(loss)(x), [[0, 1], [0, 0]])


def test_an_infinity_stays_out_of_rows_that_leave_it_out():
    y = jaxpool.matrix_pool(np.float32([np.inf, 1]), jnp.array([[0.0, 1], [1, 0], [1, 1]]), 0)
    np.testing.assert_array_equal(y, [1, np.inf, np.inf])


def test_empty_cells_of_adaptive_pools_have_the_given_value():
    x, where = np.arange(4, dtype=np.float32), np.array([False, False, True, True])
    for pool, full in ((jaxpool.adaptive_min_pool, 2), (jaxpool.adaptive_max_pool, 3)):
        np.testing.assert_array_equal(pool(x, 2, axes=0, where=where, empty_value=7), [7, full])
