"""Morphology against SciPy and loops, and its laws."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

import jaxpool
from tests import derivatives
from tests.cases import distinct, tolerance
from tests.compiling import as_users

TESTS_OF = ("filters/morphology.py", "lowering/max.py", "lowering/picks.py", "lowering/tangent.py")


def structure(*shape):
    """In steps of 1/8, so that sums are exact."""
    return (np.random.default_rng(0).integers(-8, 8, shape) / 8).astype(np.float32)


def close(actual, expected):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, **tolerance(np.float32))


@pytest.mark.parametrize(("shape", "window"), [((9,), (3,)), ((8, 9), (3, 2)), ((8, 9), (4, 5)),
                                               ((5, 6, 7), (2, 3, 3))])  # fmt: skip
def test_equals_scipy(shape, window):
    """SciPy turns the structure round, and has the odd element of even windows before."""
    x, h, axes = distinct(shape), structure(*window), tuple(range(len(shape)))
    turned = np.flip(h)
    places = [-1 if k % 2 == 0 else 0 for k in window]
    at = {"mode": "constant"}
    dilated = ndimage.grey_dilation(x.astype(np.float64), structure=turned, cval=-np.inf, **at)
    eroded = ndimage.grey_erosion(
        x.astype(np.float64), structure=h, cval=np.inf, origin=places, **at
    )
    for pool, expected in ((jaxpool.dilation_pool, dilated), (jaxpool.erosion_pool, eroded)):
        one = functools.partial(pool, window_shape=window, strides=1, padding="SAME", axes=axes)
        same = jax.jit(lambda x, h, one=one: (one(x, structure=h), one(x)))
        close(same(x, h)[0], expected)
        np.testing.assert_array_equal(*same(x, np.zeros(window, np.float32)))


def test_flat_is_max_pool():
    x = distinct((2, 9, 8, 2))
    for ours, theirs in ((jaxpool.dilation_pool, jaxpool.max_pool),
                         (jaxpool.erosion_pool, jaxpool.min_pool)):  # fmt: skip
        options = {"strides": 2, "padding": 1, "dilation": (1, 2), "ceil_mode": True}
        f, g = (
            jax.jit(functools.partial(p, window_shape=(3, 2), **options)) for p in (ours, theirs)
        )
        name = theirs.__name__
        assert f.lower(x).as_text().replace(ours.__name__, name) == g.lower(x).as_text()
        ints = np.arange(12).reshape(3, 4)
        assert ours(ints, 2, axes=(0, 1)).dtype == ints.astype(np.int32).dtype


def by_loops(x, h, window, strides, pads, dilation, where, sign):
    """Dilation of channels-last images, cell by cell; the gradient of the sum times a ramp."""
    x = sign * x.astype(np.float64)
    where = np.broadcast_to(where, x.shape)
    n, m = x.shape[1:3]
    sizes = [(length + lo + hi - d * (k - 1) - 1) // s + 1
             for length, (lo, hi), d, k, s in zip((n, m), pads, dilation, window, strides, strict=True)]  # fmt: skip
    y = np.full((x.shape[0], *sizes, x.shape[3]), np.nan)
    dx, dh = np.zeros(x.shape), np.zeros(h.shape)
    for number, (b, i, j, c) in enumerate(np.ndindex(*y.shape)):
        best = None
        for p, q in np.ndindex(*window):
            u = i * strides[0] - pads[0][0] + p * dilation[0]
            v = j * strides[1] - pads[1][0] + q * dilation[1]
            if 0 <= u < n and 0 <= v < m and where[b, u, v, c]:
                value = x[b, u, v, c] + h[p, q, c]
                if best is None or value > best[0] or np.isnan(value):
                    best = (value, (b, u, v, c), (p, q, c))
        if best is not None:
            y[b, i, j, c] = sign * best[0]
            dx[best[1]] += number
            dh[best[2]] += sign * number
    return y, dx, dh


PLACES = (
    [((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)), ((2, 3), (1, 3), ((0, 1), (2, 0)), (2, 1)),
     ((4, 1), (3, 2), ((3, 0), (0, 0)), (1, 2)),
     ((6, 5), (2, 1), ((3, 2), (2, 2)), (1, 1))]  # 30 places run in a loop
)  # fmt: skip


def every_loop():
    """Each geometry by both operations and under a mask, of which each has all."""
    for number, geometry in enumerate(PLACES):
        for sign, masked in itertools.product((1, -1), (False, True)):
            quick = (sign < 0) == masked if number % 2 else (sign > 0) == masked
            name = f"{'dilation' if sign > 0 else 'erosion'}-{'masked' if masked else 'plain'}"
            marks = () if quick else pytest.mark.exhaustive
            yield pytest.param(*geometry, sign, masked, marks=marks, id=f"{number}-{name}")


@pytest.mark.parametrize(
    ("window", "strides", "pads", "dilation", "sign", "masked"), list(every_loop())
)
def test_equals_loops_with_its_gradients(window, strides, pads, dilation, sign, masked):
    """With ties, -inf and NaN among the elements: the first of equal sums, the last NaN."""
    x = np.random.default_rng(1).integers(-3, 3, (2, 8, 7, 3)).astype(np.float32) / 8
    x[0, :4, :4, 0], x[1, 2, 3, 1], x[1, 3, 4, 1] = -np.inf * sign, np.nan, np.nan
    where = np.random.default_rng(0).random((2, 8, 7, 1)) < 0.3 if masked else None
    if masked:
        where[0, :, 3:] = False
    h = structure(*window, 3)
    pool = jaxpool.dilation_pool if sign > 0 else jaxpool.erosion_pool

    @jax.jit
    def f(x, h):
        y, vjp = jax.vjp(
            lambda x, h: pool(x, window, strides, pads, dilation=dilation, where=where,
                              structure=h, empty_value=-77), x, h)  # fmt: skip
        return y, *vjp(jnp.arange(y.size, dtype=y.dtype).reshape(y.shape))

    y, dx, dh = f(x, h)
    expected, *gradients = by_loops(
        x, h, window, strides, pads, dilation, True if where is None else where, sign
    )
    if masked:
        domain = jaxpool.Window(window, strides, pads, dilation=dilation)
        filled = jax.jit(lambda w: jaxpool.pool_mask(w, domain))(np.broadcast_to(where, x.shape))
        expected = np.where(filled, expected, -77)
        assert (expected == -77).any()
    np.testing.assert_array_equal(y, expected.astype(np.float32))
    np.testing.assert_array_equal(dx, gradients[0])
    # An erosion is -max(-x + h): h is subtracted.
    np.testing.assert_array_equal(dh, gradients[1])


def test_a_place_of_minus_infinity_is_left_out():
    x = np.array([1.0, np.nan, 3.0, np.inf, 2.0, -np.inf], np.float32)
    h = jnp.array([0.0, -jnp.inf, 1.0])
    y, vjp = jax.vjp(lambda x: jaxpool.dilation_pool(x, 3, 1, "SAME", axes=0, structure=h), x)
    np.testing.assert_array_equal(y, [np.nan, 4, np.nan, 3, np.inf, 2])
    np.testing.assert_array_equal(vjp(jnp.arange(1.0, 7.0))[0], [0, 1 + 3, 2 + 4, 5, 6, 0])


def cases():
    yield {"window_shape": (3, 3)}, None
    yield {"window_shape": (2, 4), "dilation": (2, 1)}, None
    yield {"window_shape": (3, 2)}, structure(3, 2)
    yield {"window_shape": (4, 3)}, structure(4, 3, 2)
    yield {"window_shape": (2, 3)}, (structure(2), structure(3))


@pytest.mark.parametrize(("options", "h"), list(cases()))
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_laws_of_openings_and_closings(options, h, masked):
    """Exact, since all sums are: bounds, idempotence, duality, adjunction."""
    rng = np.random.default_rng(0)
    x, other = ((rng.integers(-40, 40, (2, 7, 8, 2)) / 8).astype(np.float32) for _ in range(2))
    where = rng.random((2, 7, 8, 1)) < 0.8 if masked else None
    # Windows of even size with holes do not have their own place: cells could be empty.
    options = {**options, "structure": h, "where": where, "empty_value": np.nan}
    flat = {name: value for name, value in options.items() if name != "window_shape"}

    def beside(pool, x):
        return pool(x, options["window_shape"], 1, "SAME", **flat)

    @jax.jit
    def everything(x, other):
        opening = functools.partial(jaxpool.opening_pool, **options)
        closing = functools.partial(jaxpool.closing_pool, **options)
        opened, closed = opening(x), closing(x)
        twice = opening(opened), closing(closed)
        more = opening(-x), opening(jnp.maximum(x, other))
        return opened, closed, twice, more, (
            beside(jaxpool.dilation_pool, x), beside(jaxpool.erosion_pool, -x))  # fmt: skip

    opened, closed, twice, (of_minus, of_more), (dilated, eroded) = jax.tree.map(
        np.asarray, everything(x, other)
    )
    valid = np.broadcast_to(True if where is None else where, x.shape)
    assert (opened <= x)[valid].all()
    assert (closed >= x)[valid].all()
    assert (opened != x)[valid].any()
    assert (closed != x)[valid].any()
    np.testing.assert_array_equal(twice[0][valid], opened[valid])
    np.testing.assert_array_equal(twice[1][valid], closed[valid])
    np.testing.assert_array_equal(closed[valid], -of_minus[valid])
    assert (of_more >= opened)[valid].all()
    np.testing.assert_array_equal(dilated, -eroded)


def test_opening_and_closing_equal_scipy():
    """Its reflected borders repeat what the window has already, for odd flat windows."""
    x = distinct((9, 11))
    for ours, theirs in ((jaxpool.opening_pool, ndimage.grey_opening),
                         (jaxpool.closing_pool, ndimage.grey_closing)):  # fmt: skip
        np.testing.assert_array_equal(ours(x, (3, 5), axes=(0, 1)), theirs(x, (3, 5)))


@pytest.mark.parametrize("axes", [(1, 2), (2, 1)])
def test_separable_structures_are_their_sum(axes):
    x, hs = distinct((2, 8, 9, 3)), (structure(3, 3), structure(4))
    whole = hs[0].reshape(3, 1, 3) + hs[1].reshape(1, 4, 1)
    padding = ((1, 1), (2, 1)) if axes == (1, 2) else ((1, 1), (2, 2))

    def f(x, h):
        return jaxpool.dilation_pool(
            x, (3, 4), (2, 2) if axes == (1, 2) else (4, 2), padding, axes=axes, structure=h
        )

    def both(x, h, g):
        y, vjp = jax.vjp(f, x, h)
        return y, *vjp(g)

    shape = jax.eval_shape(f, x, whole).shape
    g = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    y, dx, dh = jax.jit(both)(x, whole, g)
    separable, dx_too, dhs = jax.jit(both)(x, hs, g)
    close(separable, y)
    np.testing.assert_allclose(dx_too, dx, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dhs[0], dh.sum(1), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(dhs[1], dh.sum((0, 2)), rtol=1e-5, atol=1e-4)


def test_parabola():
    x, t = distinct((1, 9, 10, 2)), np.float32([0.3, 2])
    places = np.add.outer((np.arange(5) - 2.0) ** 2, (np.arange(4) - 1.0) ** 2)
    whole = -places[..., None] / (4 * np.asarray(t, np.float64))
    pool = functools.partial(jaxpool.dilation_pool, window_shape=(5, 4), strides=1, padding="SAME")
    y, expected = jax.jit(lambda x, t, whole: (
        pool(x, structure=jaxpool.parabolic_structure((5, 4), t)), pool(x, structure=whole)
    ))(x, t, whole.astype(np.float32))  # fmt: skip
    close(y, expected)
    # With a parabola as wide as the image, the middle of a peak is it.
    far = jaxpool.dilation_pool(np.eye(1, 31, 15)[0], 31, 1, "SAME", axes=0,
                                structure=jaxpool.parabolic_structure(31, 1e3))  # fmt: skip
    np.testing.assert_allclose(far, 1 - (np.arange(31) - 15.0) ** 2 / 4e3, atol=1e-6)


def test_derivatives(exhaustive):
    x = np.random.default_rng(1).normal(size=(2, 6, 7, 2))  # no grid: no ties
    h = np.random.default_rng(0).normal(size=(2, 3, 2))
    where = np.random.default_rng(0).random((2, 6, 7, 1)) < 0.7

    def f(x, h, t):
        parabola = jaxpool.parabolic_structure((3, 3), t)
        return (
            jaxpool.dilation_pool(x, (2, 3), 2, structure=h, where=where) ** 2,
            jaxpool.opening_pool(x, (3, 3), structure=parabola) ** 2,
        )

    with jax.enable_x64(True):
        at = (x, h, np.array([0.7, 1.3]))
        derivatives.check(f, at)
        if exhaustive:
            derivatives.check_every_mode(f, jax.tree.map(jnp.asarray, at), eps=1e-5)


def test_large_arrays_have_the_gradients_of_small_ones():
    """Above some size, gradients of structures are added up in another order."""
    x, h = distinct((4, 66, 66, 8)), structure(3, 3, 8)

    def f(x, h):
        return jnp.sum(jnp.sin(jaxpool.dilation_pool(x, (3, 3), 2, structure=h)))

    gradient = as_users(jax.grad(f, 1))
    whole, parts = gradient(x, h), [gradient(x[i, None], h) for i in range(4)]
    np.testing.assert_allclose(whole, sum(parts), rtol=1e-4, atol=1e-4)
    assert np.abs(whole).min() > 1


@pytest.mark.parametrize("window", [(3, 3), (5, 6)], ids=["written_out", "loop"])
def test_vmap_and_export(window):
    x, h = distinct((3, 2, 7, 8, 2)), structure(3, *window, 2)
    f = lambda x, h: jaxpool.dilation_pool(x, window, 2, 1, structure=h)  # noqa: E731
    one = jax.jit(f)
    for a, b, c in zip(jax.jit(jax.vmap(f))(x, h), x, h, strict=True):
        np.testing.assert_array_equal(a, one(b, c))

    @jax.jit
    def both(x, h):
        y, vjp = jax.vjp(f, x, h)
        return y, *vjp(y)

    for text, limits in (("b, 7, 8, 2", []), ("b, h, w, 2", ["h >= 5", "w >= 5"])):
        shape = jax.export.symbolic_shape(text, scope=jax.export.SymbolicScope(limits))
        shapes = (
            jax.ShapeDtypeStruct(shape, np.float32),
            jax.ShapeDtypeStruct((*window, 2), np.float32),
        )
        exported = jax.export.export(both)(*shapes)
        for a, b in zip(exported.call(x[0], h[0]), both(x[0], h[0]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert f(np.zeros((0, 7, 8, 2), np.float32), h[0]).shape == (0, *one(x[0], h[0]).shape[1:])


def test_large_structures_in_narrow_floats_are_added_in_float32():
    """The largest sum is found before it is rounded: of 256.5 and 257, both 256 in bfloat16."""
    x = jnp.full((6, 6), 256, jnp.bfloat16)
    h = jnp.full((6, 5), 0.5, jnp.bfloat16).at[3, 2].set(1)
    pool = lambda x: jaxpool.dilation_pool(x, (6, 5), axes=(0, 1), structure=h)  # noqa: E731
    assert pool(x).dtype == jnp.bfloat16
    assert jax.grad(lambda x: pool(x).sum())(x)[3, 2] == 1


def test_dtypes():
    x, h = distinct((8, 8)), structure(2, 2)
    exact = jaxpool.dilation_pool(x, 2, axes=(0, 1), structure=h)
    for dtype, result in ((jnp.bfloat16, jnp.bfloat16), (np.int8, np.float32)):
        given = jnp.asarray(x * (16 if dtype == np.int8 else 1)).astype(dtype)
        y = jaxpool.dilation_pool(given, 2, axes=(0, 1), structure=h)
        wanted = jaxpool.dilation_pool(given.astype(np.float32), 2, axes=(0, 1), structure=h)
        np.testing.assert_array_equal(y, wanted.astype(result))
        assert y.dtype == result
    assert exact.dtype == np.float32


X = np.zeros((2, 6, 6, 4), np.float32)
ERRORS = [
    (lambda: jaxpool.dilation_pool(X, (3, 3), structure=X), ValueError,
     "dilation_pool: `structure` must have shape (3, 3), that of the window, and more axes only if "
     "these broadcast against x with size 1 along pooled axes; got structure.shape=(2, 6, 6, 4) "
     "for x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.erosion_pool(X, (3, 3), structure=np.zeros((3, 3, 6, 1))), ValueError,
     "erosion_pool: `structure` must have shape (3, 3), that of the window, and more axes only if "
     "these broadcast against x with size 1 along pooled axes; got structure.shape=(3, 3, 6, 1) "
     "for x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.opening_pool(X, (3, 3), structure=[np.zeros(3)]), ValueError,
     "opening_pool: `structure` must be one array, or 2 of them (one per window axis), whose sum "
     "it is; got 1."),
    (lambda: jaxpool.closing_pool(X, (3, 3), structure=np.ones((3, 3), bool)), TypeError,
     "closing_pool: `structure` must be an array of numbers, or a sequence of one per window "
     "axis; got bool. For a set of places write jnp.where(places, 0.0, -jnp.inf)."),
    (lambda: jaxpool.closing_pool(X, 3), ValueError,
     "closing_pool: `window_shape` must be a sequence when `axes` is not given, since its length "
     "says how many axes are pooled; got window_shape=3. Write window_shape=(3, 3) for 2D "
     "pooling, or axes=(-2, -1) if channels come first."),
    (lambda: jaxpool.parabolic_structure((3, 3), -1), ValueError,
     "parabolic_structure: `t` must be a finite number > 0, or an array of them; got t=-1."),
    (lambda: jaxpool.parabolic_structure(3, "1"), TypeError,
     "parabolic_structure: `t` must be a finite number > 0, or an array of them; got t='1'."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors_teach(call, error, message):
    with pytest.raises(error) as info:
        call()
    assert str(info.value) == message


def test_a_pattern_is_removed():
    """What an opening is for: a line thinner than the window goes, a square stays."""
    square = np.zeros((12, 12), np.float32)
    square[2:6, 2:6] = 1
    x = square.copy()
    x[8, :] = 1
    opened = jaxpool.opening_pool(x, (2, 2), axes=(0, 1))
    np.testing.assert_array_equal(opened, square)
    gaps = [jaxpool.closing_pool(1 - x, (k, k), axes=(0, 1)).min() for k in (4, 5)]
    assert list(itertools.chain(gaps)) == [0, 1]
