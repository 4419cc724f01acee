"""Blurs against SciPy, PyTorch and loops, and what they are for."""

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

TESTS_OF = (
    "filters/blur.py",
    "filters/content_aware.py",
    "lowering/weighted.py",
    "lowering/weighted_blocks.py",
    "lowering/taps.py",
)
NUMPY_MODES = {"reflect": "reflect", "edge": "edge", "wrap": "wrap", "constant": "constant"}


def binomial(size):
    return functools.reduce(np.convolve, [[0.5, 0.5]] * (size - 1), np.ones(1))


def by_loops(x, strides, kernels, mode, axes, where=None):
    """One axis after the other: NumPy's padding, then a weighted sum for each output.

    Under a mask, sums of what is valid over sums of its weights; NaN where nothing is.
    """
    valid = np.ones(x.shape) if where is None else np.broadcast_to(where, x.shape).astype(float)
    inside, x = valid, np.where(valid, np.asarray(x, np.float64), 0)

    def blurred(x, kernels, outside):
        for axis, s, k in zip(axes, strides, kernels, strict=True):
            k = np.asarray(k, np.float64)
            widths = [(0, 0)] * x.ndim
            widths[axis] = ((len(k) - 1) // 2, len(k) // 2)
            options = {"constant_values": outside} if mode == "constant" else {}
            padded = np.moveaxis(np.pad(x, widths, mode, **options), axis, 0)
            rows = [
                sum(k[j] * padded[i + j] for j in range(len(k))) for i in range(0, x.shape[axis], s)
            ]
            x = np.moveaxis(np.stack(rows), 0, axis)
        return x

    sizes = [np.abs(k) for k in kernels]
    whole = functools.reduce(np.multiply, [k.sum(0) for k in sizes])
    there = blurred(inside, sizes, 0)
    counted = blurred(valid, sizes, 0)
    if mode == "constant":  # padding counts
        counted = counted + whole - blurred(np.ones(x.shape), sizes, 0)
    y = blurred(x, kernels, 0)
    if where is None:
        return y
    return np.where(there > 0, y * whole / np.where(there > 0, counted, 1), np.nan)


def close(actual, expected, dtype=np.float32):
    np.testing.assert_allclose(np.asarray(actual, np.float64), expected, **tolerance(dtype))


def all_of(everything, quick):
    """Parameters of which some are for every run."""
    return [
        pytest.param(
            *(n if isinstance(n, tuple) else (n,)),
            marks=() if n in quick else pytest.mark.exhaustive,
        )
        for n in everything
    ]


@pytest.mark.parametrize("f", all_of(range(1, 17), (1, 2, 3, 4, 7, 16)))
def test_equals_scipy(f):
    """For all filter sizes, of which even ones are one element off the middle."""
    x, s = distinct((2, 19, 17, 2)), 1 + f % 3
    y = jax.jit(lambda x: jaxpool.blur_pool(x, (s, 2), filter_size=f))(x)
    expected = x.astype(np.float64)
    for axis in (1, 2):
        expected = ndimage.correlate1d(
            expected, binomial(f), axis, mode="mirror", origin=-1 if f % 2 == 0 else 0
        )
    assert y.shape == (2, -(-19 // s), 9, 2)
    close(y, expected[:, ::s, ::2])


GEOMETRIES = [
    ((11,), (2,), (3,), (0,)),
    ((2, 9, 8, 2), (2, 1), (3, 4), (1, 2)),
    ((2, 3, 7, 9), (2, 3), (5, 2), (-1, -2)),
    ((1, 5, 6, 4, 2), (1, 2, 3), (2, 3, 4), (1, 2, 3)),
    ((2, 4, 3), (7,), (4,), (1,)),
]


def every_loop():
    """Each geometry, and each mode, with a mask and without."""
    for number, geometry in enumerate(GEOMETRIES):
        for masked in (False, True):
            for i, mode in enumerate(NUMPY_MODES):
                quick = i == (number + 2 * masked) % 4
                marks = () if quick else pytest.mark.exhaustive
                yield pytest.param(*geometry, mode, masked, marks=marks)


@pytest.mark.parametrize(
    ("shape", "strides", "sizes", "axes", "mode", "masked"), list(every_loop())
)
def test_equals_loops(shape, strides, sizes, axes, mode, masked):
    """Values and, since the map is linear, the gradient by one equation."""
    x, rng = distinct(shape), np.random.default_rng(0)
    where = rng.random((*shape[:-1], 1) if len(shape) > 1 else shape) < 0.4 if masked else None

    @jax.jit
    def f(x):
        y, vjp = jax.vjp(lambda x: jaxpool.blur_pool(
            x, strides, filter_size=sizes, padding_mode=mode, axes=axes, where=where,
            empty_value=np.nan), x)  # fmt: skip
        g = jnp.where(jnp.isnan(y), 0, jnp.cos(jnp.arange(y.size, dtype=x.dtype)).reshape(y.shape))
        return y, g, vjp(g)[0]

    y, g, gradient = f(x)
    expected = by_loops(x, strides, [binomial(k) for k in sizes], mode, axes, where)
    close(y, expected)
    np.testing.assert_allclose(
        np.vdot(np.nan_to_num(expected), g), np.vdot(np.where(where, x, 0) if masked else x, gradient),
        rtol=1e-4, atol=1e-5,
    )  # fmt: skip
    if masked:
        assert (np.asarray(gradient)[~np.broadcast_to(where, shape)] == 0).all()


@pytest.mark.parametrize(("mode", "theirs"), [("reflect", "reflect"), ("edge", "replicate"),
                                              ("wrap", "circular"), ("constant", "constant")])  # fmt: skip
def test_equals_torch(mode, theirs):
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    F = torch.nn.functional
    x = distinct((2, 3, 9, 10))
    k = np.outer(binomial(4), binomial(5)).astype(np.float32)
    t = torch.from_numpy(x).requires_grad_()
    wanted = F.conv2d(F.pad(t, (2, 2, 1, 2), mode=theirs),
                      torch.from_numpy(k)[None, None].repeat(3, 1, 1, 1), stride=(2, 3), groups=3)  # fmt: skip
    g = np.random.default_rng(0).normal(size=wanted.shape).astype(np.float32)

    @jax.jit
    def both(x, g):
        y, vjp = jax.vjp(
            lambda x: jaxpool.blur_pool(
                x, (2, 3), filter_size=(4, 5), padding_mode=mode, axes=(2, 3)
            ), x)  # fmt: skip
        return y, vjp(g)[0]

    y, gradient = both(x, g)
    close(y, wanted.detach().numpy())
    close(gradient, torch.autograd.grad(wanted, t, torch.from_numpy(g))[0].numpy())


def test_kernels():
    """Of any values, one for all axes, one for each, one for each channel."""
    x, rng = distinct((2, 8, 9, 3)), np.random.default_rng(0)
    shared, per_channel = (rng.normal(size=shape).astype(np.float32) for shape in (4, (3, 3)))
    given = (shared, [shared, per_channel], per_channel)
    meant = ([shared, shared], [shared, per_channel], [per_channel, per_channel])

    @jax.jit
    def pools(x, kernels, where):
        pool = functools.partial(jaxpool.blur_pool, x, (2, 1), where=where, empty_value=np.nan)
        return [pool(kernel=k) for k in kernels]

    for where in (None, rng.random((2, 8, 9, 1)) < 0.5):
        for y, kernels in zip(pools(x, given, where), meant, strict=True):
            np.testing.assert_allclose(
                y, by_loops(x, (2, 1), kernels, "reflect", (1, 2), where), rtol=2e-5, atol=2e-5
            )
    first = per_channel.reshape(3, 3, 1, 1)
    moved = jaxpool.blur_pool(np.moveaxis(x, -1, 1), (2, 1), kernel=first, axes=(2, 3))
    close(np.moveaxis(moved, 1, -1), pools(x, given, None)[2])


@pytest.mark.parametrize("f", all_of(range(1, 17), (1, 2, 3, 16)))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_constants_are_preserved(f, dtype):
    check_constants(f, dtype, ("reflect", "edge", "wrap")[f % 3 :])


@pytest.mark.parametrize(("f", "dtype"), [(4, "float16"), (3, "int32")])
def test_constants_of_other_dtypes_are_preserved(f, dtype, exhaustive):
    check_constants(f, dtype, ("reflect", "edge", "wrap")[f % 3 :] if exhaustive else ("edge",))


def check_constants(f, dtype, modes):
    x = np.full((18, 18), 3).astype(dtype)
    pools = jax.jit(lambda x: [jaxpool.blur_pool(
        x, (2, 3), filter_size=f, padding_mode=mode, axes=(0, 1)) for mode in modes])  # fmt: skip
    for y in pools(x):
        assert y.dtype == ("float32" if dtype == "int32" else dtype)
        np.testing.assert_allclose(np.asarray(y, np.float64), 3, rtol=1e-6)


def test_constants_are_preserved_under_masks():
    where = np.random.default_rng(0).random((16, 16)) < 0.3
    x = np.where(where, np.float32(1.7), np.float32(np.nan))
    pool = functools.partial(jaxpool.blur_pool, strides=(2, 2), axes=(0, 1), empty_value=1.7)
    pools = jax.jit(lambda x, where, kernel: (
        pool(x, where=where, filter_size=5), pool(x, where=where, kernel=kernel)))  # fmt: skip
    for y in pools(x, where, np.float32([0.1, 0.4, 0.3, 0.2])):
        np.testing.assert_allclose(y, 1.7, rtol=1e-6)


def test_bfloat16_rounds_once():
    x = distinct((2, 9, 9, 2), jnp.bfloat16)
    y = jaxpool.blur_pool(x, (2, 2), filter_size=7)
    exact = by_loops(x.astype(np.float64), (2, 2), [binomial(7)] * 2, "reflect", (1, 2))
    close(y, exact, jnp.bfloat16)


def test_shift_error_decreases_with_filter_size(exhaustive):
    """Shifting x by one and pooling: the wider the filter, the less it matters."""
    shape = (4, 64, 64, 3) if exhaustive else (2, 32, 32, 2)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    pool = functools.partial(jaxpool.blur_pool, strides=(2, 2), padding_mode="wrap")
    pools = jax.jit(lambda x: [pool(x, filter_size=f) for f in range(1, 8)])
    pairs = zip(pools(x), pools(np.roll(x, 1, 1)), strict=True)
    errors = [np.abs(np.subtract(*pair)).mean() for pair in pairs]
    assert all(a > b for a, b in itertools.pairwise(errors))
    assert errors[6] < errors[0] / 5


def test_masked_out_values_and_nan_stay_where_they_are():
    x, where = distinct((9, 10)), np.random.default_rng(0).random((9, 10)) < 0.5

    @jax.jit
    def f(x, where):
        def pool(x):
            return jaxpool.blur_pool(x, (2, 3), filter_size=4, axes=(0, 1), where=where)

        y, vjp = jax.vjp(pool, x)
        gradient = jax.grad(lambda x: (pool(x) ** 2).sum())
        return y, vjp(y)[0], jax.jvp(gradient, (x,), (jnp.ones_like(x),))

    clean = f(x, where)
    for poison in (np.nan, np.inf):
        dirty = f(np.where(where, x, np.float32(poison)), where)
        for a, b in zip(jax.tree.leaves(dirty), jax.tree.leaves(clean), strict=True):
            np.testing.assert_array_equal(a, b)
    plain = jax.jit(lambda x: jaxpool.blur_pool(x, (2, 3), filter_size=4, axes=(0, 1)))
    # Terms of up to 1 may cancel, and are rounded or not before they are added.
    np.testing.assert_allclose(f(x, x < np.inf)[0], plain(x), rtol=1e-6, atol=1e-7)
    x[4, 5] = np.nan
    found = np.isnan(plain(x))
    expected = by_loops(x, (2, 3), [binomial(4)] * 2, "reflect", (0, 1))
    np.testing.assert_array_equal(found, np.isnan(expected))
    assert found.any()
    pool = functools.partial(jaxpool.blur_pool, strides=3, filter_size=2, axes=0)
    gradient = jax.jit(lambda x, g: jax.vjp(pool, x)[1](g)[0])
    found = gradient(np.ones(9, np.float32), np.float32([1, np.nan, 1]))
    np.testing.assert_array_equal(np.isnan(found), [0, 0, 0, 1, 1, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("mode", "masked"),
    [("reflect", False), ("constant", True)]
    + [pytest.param(*p, marks=pytest.mark.exhaustive) for p in
       (("reflect", True), ("constant", False))],
)  # fmt: skip
def test_derivatives_in_x_and_kernel(mode, masked, exhaustive):
    x = distinct((2, 7, 6, 2), np.float64)
    kernels = [np.array([0.3, 0.9, -0.2]), np.array([[0.1, 0.2], [0.5, 0.4]])]
    where = np.random.default_rng(1).random((2, 7, 6, 1)) < 0.5 if masked else None

    def f(x, kernels):
        return jaxpool.blur_pool(
            x, (2, 3), kernel=kernels, padding_mode=mode, where=where, empty_value=5
        )

    with jax.enable_x64(True):
        derivatives.check(f, (x, kernels))
        if exhaustive:
            at = jax.tree.map(jnp.asarray, (x, kernels))
            derivatives.check_every_mode(f, at, eps=1e-4, atol=2e-5, rtol=2e-5)


def test_large_arrays_have_the_gradients_of_small_ones():
    """Above some size, gradients of kernels are added up in another order."""
    x = distinct((4, 66, 66, 8))
    k = np.float32([[0.2] * 8, [0.5] * 8, [0.3] * 8])

    def f(x, k):
        return jnp.sum(jnp.sin(jaxpool.blur_pool(x, (2, 2), kernel=k)))

    whole = as_users(jax.grad(f, 1))(x, k)
    parts = as_users(jax.vmap(jax.grad(f, 1), (0, None)))(x, k)
    np.testing.assert_allclose(whole, parts.sum(0), rtol=2e-4)


def test_vmap_and_export(exhaustive):
    x = distinct((3, 2, 9, 8, 2))
    f = functools.partial(jaxpool.blur_pool, strides=(2, 2), filter_size=4)
    kernels = np.float32([[0.2, 0.8], [0.5, 0.5], [1.0, 0.0]])
    given = jax.jit(lambda x, k: jaxpool.blur_pool(x, (2, 2), kernel=k))
    mapped, whole, by_kernel = jax.jit(
        lambda x, k: (jax.vmap(f)(x), f(x), jax.vmap(given)(x, k))
    )(x, kernels)  # fmt: skip
    np.testing.assert_allclose(mapped, whole, rtol=1e-6)
    for a, b, k in zip(by_kernel, x, kernels, strict=True):
        np.testing.assert_allclose(a, given(b, k), rtol=1e-6)

    def both(x):
        y, vjp = jax.vjp(f, x)
        return y, vjp(y)[0]

    scope = jax.export.SymbolicScope(["h >= 5"])
    shape = jax.export.symbolic_shape("b, h, 8, 2", scope=scope)
    exported = jax.export.export(jax.jit(both))(jax.ShapeDtypeStruct(shape, np.float32))
    for n in (5, 8, 9) if exhaustive else (5, 8):
        x = distinct((2, n, 8, 2))
        for a, b in zip(exported.call(x), jax.jit(both)(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_max_blur_is_a_blur_of_maxima(masked):
    x = distinct((2, 9, 8, 2))
    where = np.random.default_rng(0).random((2, 9, 8, 1)) < 0.05 if masked else None
    y = jax.jit(lambda x: jaxpool.max_blur_pool(
        x, (3, 2), 2, 1, dilation=(1, 2), filter_size=4, where=where, empty_value=-7))(x)  # fmt: skip
    padded = np.pad(np.where(True if where is None else where, x, -np.inf),
                    ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)  # fmt: skip
    maxima = np.max([padded[:, i : i + 9, j : j + 8] for i in range(3) for j in (0, 2)], 0)
    found = maxima > -np.inf
    expected = by_loops(np.where(found, maxima, 0), (2, 2), [binomial(4)] * 2, "reflect", (1, 2),
                        found if masked else None)  # fmt: skip
    close(y, np.where(np.isnan(expected), -7, expected))
    assert np.isnan(expected).any() == masked
    assert jax.eval_shape(lambda x: jaxpool.max_blur_pool(x, (3, 2)), x).shape == (2, 3, 4, 2)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_gaussian_equals_loops(masked):
    x, sigma = 5 + distinct((2, 23, 3)), np.array([0.2, 0.4, 0.9], np.float32)  # no digits cancel
    t = np.linspace(-1, 1, 8)[:, None] / sigma
    kernel = np.exp(-0.5 * t**2)
    kernel /= kernel.sum(0)
    where = np.random.default_rng(0).random((2, 23, 3)) < 0.5 if masked else None
    pool = functools.partial(jaxpool.gaussian_pool, strides=(4,), filter_size=8, where=where)
    y, scalar = jax.jit(lambda x, s: (pool(x, sigma=s), pool(x, sigma=0.4)))(x, sigma)
    close(y, by_loops(x, (4,), [kernel], "reflect", (1,), where))
    np.testing.assert_allclose(scalar[..., 1], y[..., 1], rtol=1e-6)


def test_gaussian_limits_and_derivative(exhaustive):
    x = distinct((40,))
    pool = functools.partial(jaxpool.gaussian_pool, strides=3, axes=0)
    narrow, wide, least = jax.jit(lambda x: (
        pool(x, filter_size=5, sigma=1e-30), pool(x, filter_size=5, sigma=1e6),
        pool(x, filter_size=1)))(x)  # fmt: skip
    np.testing.assert_array_equal(narrow, x[::3])  # the middle alone
    np.testing.assert_allclose(
        wide, ndimage.uniform_filter1d(x, 5, mode="mirror")[::3], rtol=1e-4, atol=1e-5
    )
    assert least.shape == (14,)
    f = lambda x, s: pool(x, filter_size=5, sigma=s)  # noqa: E731
    with jax.enable_x64(True):
        at = (x.astype(np.float64), np.array(0.4))
        derivatives.check(f, at)
        if exhaustive:
            derivatives.check_every_mode(f, jax.tree.map(jnp.asarray, at))


def content_aware(x, logits, strides, sizes, mode, where=None):
    """Of channels-last images, cell by cell."""
    (f, g), (s, t) = sizes, strides
    widths = [(0, 0), ((f - 1) // 2, f // 2), ((g - 1) // 2, g // 2), (0, 0)]
    groups = logits.shape[-1] // (f * g)
    valid = np.ones(x.shape, bool) if where is None else np.broadcast_to(where, x.shape)
    zeros = np.pad(np.where(valid, x, 0).astype(np.float64), widths, mode)
    inside = np.pad(valid, widths, mode)
    counts = np.pad(
        valid, widths, mode, **({"constant_values": True} if mode == "constant" else {})
    )
    y = np.full((*logits.shape[:3], x.shape[-1]), np.nan)
    for b, i, j, c in np.ndindex(*y.shape):
        at = (b, slice(i * s, i * s + f), slice(j * t, j * t + g), c)
        group = c // (x.shape[-1] // groups)
        w = np.exp(logits[b, i, j, group * f * g : (group + 1) * f * g].astype(np.float64))
        w = w.reshape(f, g) * counts[at]
        if inside[at].any():
            y[b, i, j, c] = (w * zeros[at]).sum() / w.sum()
    return y


QUICK = {("reflect", None), ("edge", 4), ("wrap", 1), ("constant", 1), ("constant", 4)}


@pytest.mark.parametrize(
    ("mode", "masked"),  # by how many channels the mask has
    all_of(itertools.product(NUMPY_MODES, (None, 1, 4)), QUICK),
)
def test_content_aware_equals_loops(mode, masked):
    x, rng = distinct((2, 7, 6, 4)), np.random.default_rng(0)
    logits = (3 * rng.normal(size=(2, 4, 2, 2 * 6))).astype(np.float32)
    where = None if masked is None else rng.random((2, 7, 6, masked)) < 0.25

    def pool(x, logits):
        return jaxpool.content_aware_blur_pool(
            x, logits, (2, 3), filter_size=(2, 3), padding_mode=mode, where=where,
            empty_value=np.nan)  # fmt: skip

    expected = content_aware(x, logits, (2, 3), (2, 3), mode, where)
    g = np.where(np.isnan(expected), 0, rng.normal(size=expected.shape)).astype(np.float32)

    @jax.jit
    def both(x, logits, g):
        y, vjp = jax.vjp(pool, x, logits)
        return y, *vjp(g)

    y, dx, dl = both(x, logits, g)
    close(y, expected)
    # By the chain rule of a linear map: <y, g> = <x, dx>, and the sum over logits' gradient is 0.
    x = x if where is None else np.where(where, x, 0)
    np.testing.assert_allclose(np.vdot(x, dx), np.vdot(np.nan_to_num(expected), g), rtol=1e-4)
    np.testing.assert_allclose(dl.reshape(2, 4, 2, 2, 6).sum(-1), 0, atol=1e-5)


def test_content_aware_of_one_kernel_is_a_blur():
    x = distinct((2, 5, 9, 3))
    k = np.log(binomial(4)).astype(np.float32)
    logits = np.broadcast_to(np.add.outer(k, k).reshape(16, 1, 1), (2, 16, 3, 2))
    y = jaxpool.content_aware_blur_pool(  # channels are axis 1, and in one group
        x, logits, (3, 2), filter_size=4, axes=(-2, -1), channel_axis=1
    )
    close(y, by_loops(x, (3, 2), [binomial(4)] * 2, "reflect", (2, 3)))


@pytest.mark.parametrize(
    "masked", [True, pytest.param(False, marks=pytest.mark.exhaustive)], ids=["masked", "plain"]
)
def test_content_aware_derivatives(masked, exhaustive):
    rng = np.random.default_rng(0)
    x, logits = distinct((7, 4), np.float64), rng.normal(size=(4, 6))
    where = rng.random((7, 4)) < 0.6 if masked else None
    f = lambda x, k: jaxpool.content_aware_blur_pool(x, k, (2,), where=where)  # noqa: E731
    with jax.enable_x64(True):
        derivatives.check(f, (x, logits))
        if exhaustive:
            derivatives.check_every_mode(f, (jnp.asarray(x), jnp.asarray(logits)), eps=1e-4)


def test_content_aware_vmap_and_large_logits():
    rng = np.random.default_rng(0)
    x, logits = distinct((7, 4), np.float64), rng.normal(size=(4, 6))
    where = rng.random((7, 4)) < 0.6
    f = lambda x, k, w: jaxpool.content_aware_blur_pool(x, k, (2,), where=w)  # noqa: E731
    one, many = jax.jit(f), jax.jit(jax.vmap(f, (0, 0, None)))
    with jax.enable_x64(True):
        mapped = many(np.stack([x, 2 * x]), np.stack([logits, 3 * logits]), where)
        np.testing.assert_allclose(mapped[1], one(2 * x, 3 * logits, where))
        # What is valid has its share however small its logits are.
        lonely = np.broadcast_to((np.arange(7) == 2)[:, None], x.shape)
        np.testing.assert_allclose(one(x, logits * 1e6, lonely)[1], x[2])


def test_gradients_are_dense():
    """No array full of holes, which is what the transpose of strided slices would be."""
    x, logits = jnp.zeros((2, 9, 8, 4)), jnp.zeros((2, 5, 4, 9))

    def holes(f):
        y = jax.eval_shape(f, x)
        found = jax.make_jaxpr(lambda g: jax.vjp(f, x)[1](g))(jnp.zeros(y.shape, y.dtype))
        return any(
            any(interior for *_, interior in e.params["padding_config"])
            for e in equations(found.jaxpr)
            if e.primitive.name == "pad"
        )

    assert holes(lambda x: jax.lax.slice_in_dim(x, 0, None, 2, 1))  # the check can fail
    assert not holes(lambda x: jaxpool.blur_pool(x, (2, 3), filter_size=4))
    assert not holes(lambda x: jaxpool.content_aware_blur_pool(x, logits, (2, 2)))


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


X = np.zeros((2, 6, 6, 4), np.float32)
K = np.ones(3, np.float32)
ERRORS = [
    (lambda: jaxpool.blur_pool(X, 2), ValueError,
     "blur_pool: `strides` must be a sequence when `axes` is not given, since its length says how "
     "many axes are pooled; got strides=2. Write strides=(2, 2) for 2D pooling, or axes=(-2, -1) if channels come first."),
    (lambda: jaxpool.blur_pool(X, (2, 0)), ValueError,
     "blur_pool: `strides` must be an int >= 1, or 2 of them (one per window axis); "
     "got strides=(2, 0)."),
    (lambda: jaxpool.blur_pool(X, (2, 2), filter_size=0), ValueError,
     "blur_pool: `filter_size` must be an int >= 1, or 2 of them (one per window axis); "
     "got filter_size=0."),
    (lambda: jaxpool.blur_pool(X, (2, 2), filter_size=12), ValueError,
     "blur_pool: `padding_mode` must be \"edge\" or \"constant\" for a filter of 12 along axis 1, "
     "since 'reflect' needs 7 elements there; got padding_mode='reflect' for "
     "x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.blur_pool(X, (2, 2), padding_mode="zeros"), ValueError,
     "blur_pool: `padding_mode` must be one of ('reflect', 'edge', 'wrap', 'constant'); got "
     "padding_mode='zeros'."),
    (lambda: jaxpool.blur_pool(X, (2, 2), kernel=[1, 2, 1]), TypeError,
     "blur_pool: `kernel` must be an array, or a sequence of one array per pooled axis; got an "
     "object of type int. Write jnp.array(kernel)."),
    (lambda: jaxpool.blur_pool(X, (2, 2), kernel=[K]), ValueError,
     "blur_pool: `kernel` must be one array, or 2 of them (one per pooled axis); got 1."),
    (lambda: jaxpool.blur_pool(X, (2, 2), kernel=K.astype(int)), TypeError,
     "blur_pool: `kernel` must hold floats; got kernel.dtype=int64."),
    (lambda: jaxpool.blur_pool(X, (2, 2), kernel=K[:0]), ValueError,
     "blur_pool: `kernel` must have an element along its first axis, that of the filter; got "
     "kernel.shape=(0,)."),
    (lambda: jaxpool.blur_pool(X, (2, 2), kernel=np.ones((3, 6, 1), np.float32)), ValueError,
     "blur_pool: `kernel` must but for its first axis, that of the filter, broadcast against x, "
     "with size 1 along axis 2; got kernel.shape=(3, 6, 1) for x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.gaussian_pool(X, (2, 2), filter_size=3, sigma=0), ValueError,
     "gaussian_pool: `sigma` must be a finite number > 0, or an array of them; got sigma=0."),
    (lambda: jaxpool.gaussian_pool(X, (2, 2), filter_size=3, sigma=K), ValueError,
     "gaussian_pool: `sigma` must broadcast against x, with size 1 along axis 1; got "
     "sigma.shape=(3,) for x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.content_aware_blur_pool(X, X, (2, 2)), ValueError,
     "content_aware_blur_pool: `logits` must have shape (2, 3, 3, groups*9), with a number of "
     "groups that divides the 4 channels; got logits.shape=(2, 6, 6, 4) for "
     "x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.content_aware_blur_pool(X, X.astype(int), (2, 2)), TypeError,
     "content_aware_blur_pool: `logits` must hold floats; got logits.dtype=int32."),
    (lambda: jaxpool.content_aware_blur_pool(X, X, (2, 2), channel_axis=1), ValueError,
     "content_aware_blur_pool: `axes` must name each axis once; got axes=(-3, -2, 1) for "
     "x.shape=(2, 6, 6, 4)."),
    (lambda: jaxpool.max_blur_pool(X, (2, 2), kernel=1), TypeError,
     "max_blur_pool: `kernel` must be an array, or a sequence of one array per pooled axis; got "
     "an object of type int. Write jnp.array(kernel)."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors_teach(call, error, message):
    with pytest.raises(error) as info:
        call()
    assert str(info.value) == message


def test_an_empty_batch_and_one_element():
    assert jaxpool.blur_pool(jnp.zeros((0, 6, 6, 2)), (2, 2)).shape == (0, 3, 3, 2)
    np.testing.assert_array_equal(
        jaxpool.blur_pool(jnp.array([3.0]), 2, axes=0, padding_mode="edge"), [3.0]
    )
    np.testing.assert_array_equal(jaxpool.blur_pool(jnp.arange(5.0), 2, filter_size=1, axes=0),
                                  [0, 2, 4])  # fmt: skip


@pytest.mark.parametrize("stride", [1, 7, 90])
def test_long_filters_run_in_a_loop(stride):
    """Values, both gradients and second derivatives are those of a product with a matrix."""
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 150, 3)), rng.normal(size=(75, 3))
    centres = np.arange(0, 150, stride)
    index = np.clip(centres[:, None] + np.arange(75) - 37, 0, 149)  # "edge"
    wanted = np.einsum("bokc,kc->boc", x[:, index], kernel)
    g = rng.normal(size=wanted.shape)

    def f(x, k):
        return jaxpool.blur_pool(x, stride, kernel=k[:, None], axes=1, padding_mode="edge")

    @jax.jit
    def everything(x, k, g):
        y, vjp = jax.vjp(f, x, k)
        # Linear in each: the mixed second derivative is the value of the tangents.
        tangent = jax.jvp(lambda x: jax.jvp(lambda k: f(x, k), (k,), (k,))[1], (x,), (x,))
        return y, vjp(g), tangent[1]

    with jax.enable_x64(True):
        y, gradients, mixed = everything(x, kernel, g)
    np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(mixed, wanted, rtol=1e-12, atol=1e-12)
    by_x = np.zeros_like(x)
    np.add.at(by_x, (slice(None), index), g[:, :, None] * kernel)
    by_kernel = np.einsum("boc,bokc->kc", g, x[:, index])
    for found, gradient in zip(gradients, (by_x, by_kernel), strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-10, atol=1e-10)


def test_a_nan_reaches_only_the_windows_of_a_long_filter_that_have_it():
    """Also where stride and filter do not fit: blocks of 7 have more elements than 75 taps."""
    x = np.zeros(150, np.float32)
    x[80] = np.nan  # just after the window that begins at 5
    y = jaxpool.blur_pool(x, 7, kernel=np.ones(75, np.float32), axes=0, padding_mode="edge")
    first = np.arange(0, 150, 7) - 37
    np.testing.assert_array_equal(np.isnan(y), (first <= 80) & (80 < first + 75))


@pytest.mark.parametrize("size", [69, 70, 1100])
def test_long_binomial_filters(size):
    y = jax.jit(lambda x: jaxpool.blur_pool(x, 7, filter_size=size, axes=0))(
        np.ones(2000, np.float32)
    )
    np.testing.assert_allclose(y, 1, rtol=1e-5)


@pytest.mark.parametrize("size", [4, 5])
def test_a_sigma_of_nearly_0_leaves_the_middle(size):
    x = jnp.arange(8.0)
    y = jaxpool.gaussian_pool(x, 2, filter_size=size, sigma=1e-20, padding_mode="edge", axes=0)
    np.testing.assert_array_equal(y, x[::2] + (0.5 if size == 4 else 0))
