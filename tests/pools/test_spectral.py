"""Spectral pools, against SciPy and definitions in float64."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.signal

import jaxpool
from jaxpool._src.lowering import spectra
from jaxpool._src.lowering.spectra import Resize, resized
from tests import interpreter
from tests.lowering.test_program_size import length

TESTS_OF = ("pools/spectral.py", "lowering/spectra.py")

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(3, 6, 9, 2)).astype(np.float32)
LONG = RANDOM.normal(size=(2, 420)).astype(np.float32)
KEY = jax.random.key(0)


def resampled(x, sizes, axes):
    for size, axis in zip(sizes, axes, strict=True):
        x = scipy.signal.resample(x, size, axis=axis)
    return x


def frequencies(n):
    """Those of a spectrum that begins at the lowest one, as integers."""
    return np.arange(n) - n // 2


def cropped(spectrum, size, axis, window=False):
    """About frequency 0, what has no place any more added to its mirror image, one by one."""
    spectrum = np.moveaxis(spectrum, axis, 0)
    n, kept = len(spectrum), min(len(spectrum), size)
    y = np.zeros((size, *spectrum.shape[1:]), spectrum.dtype)
    for k, value in zip(frequencies(n), spectrum, strict=True):
        if 2 * abs(k) > kept:
            continue
        if window:
            value = value * np.sqrt(0.54 + 0.46 * np.cos(2 * np.pi * k / n))
        if 2 * abs(k) == kept and size != n:
            # The highest frequency of an even size: half of it on each side, both on one side.
            value = value / 2 if size > n else value
            for side in {-k, k} if size > n else {-kept // 2}:
                y[side + size // 2] += value
        else:
            y[k + size // 2] += value
    return np.moveaxis(y, 0, axis)


def by_fourier(x, sizes, axes, window=False):
    y = np.fft.fftshift(np.fft.fftn(x, axes=axes, norm="forward"), axes)
    for size, axis in zip(sizes, axes, strict=True):
        y = cropped(y, size, axis, window)
    return np.fft.ifftn(np.fft.ifftshift(y, axes), axes=axes, norm="forward").real


def cas(rows, columns):
    """cos + sin of each frequency at each place of two axes, which is no product of two."""
    at = [np.outer(frequencies(n), np.arange(n)) / n for n in (rows, columns)]
    angle = 2 * np.pi * (at[0][:, None, :, None] + at[1][None, :, None, :])
    return np.cos(angle) + np.sin(angle)


def by_hartley(x, sizes, axes):
    """Two axes at once, by the definition."""
    x = np.moveaxis(x, axes, (-2, -1))
    y = np.einsum("klmn,...mn->...kl", cas(*x.shape[-2:]), x) / (x.shape[-2] * x.shape[-1])
    y = cropped(cropped(y, sizes[0], -2), sizes[1], -1)
    return np.moveaxis(np.einsum("klmn,...kl->...mn", cas(*sizes), y), (-2, -1), axes)


def by_cosines(x, sizes, axes, window=False):
    for size, axis in zip(sizes, axes, strict=True):
        y = np.moveaxis(scipy.fft.dct(x, axis=axis, norm="forward"), axis, 0)
        kept = min(len(y), size)
        y = y[:kept] * np.ones([kept] + [1] * (y.ndim - 1))
        if window:
            weights = np.sqrt(0.54 + 0.46 * np.cos(np.pi * np.arange(kept) / x.shape[axis]))
            y = y * weights.reshape([-1] + [1] * (y.ndim - 1))
        y = np.concatenate([y, np.zeros((size - kept, *y.shape[1:]))])
        x = np.moveaxis(scipy.fft.idct(y, axis=0, norm="forward"), 0, axis)
    return x


# Function of x, what x is, its definition. Sizes that are even and odd, smaller and larger.
HAMMING = {"window": "hamming"}
POOLS = {
    "smaller": ((4, 5), (1, 2), {}, X, by_fourier),
    "other axes": ((8, 2), (2, 0), {}, X, by_fourier),
    "larger": ((9, 10), (1, 2), HAMMING, X, functools.partial(by_fourier, window=True)),
    "same": ((6, 9), (1, 2), HAMMING, X, functools.partial(by_fourier, window=True)),
    "hartley": ((4, 8), (1, 2), {"transform": "hartley"}, X, by_hartley),
    "hartley, larger": ((7, 10), (2, 1), {"transform": "hartley"}, X, by_hartley),
    "cosine": ((4, 12), (1, 2), {"transform": "cosine"}, X, by_cosines),
    "cosine window": ((5, 4), (1, 2), {"transform": "cosine", **HAMMING}, X,
                      functools.partial(by_cosines, window=True)),
    "at once, smaller": ((4, 2, 6), (1, 0, 2), HAMMING, X,
                         functools.partial(by_fourier, window=True)),
    "at once, larger": ((12, 9, 4), (1, 2, 0), HAMMING, X,
                        functools.partial(by_fourier, window=True)),
    "at once, same": ((6, 2), (1, 3), HAMMING, X, functools.partial(by_fourier, window=True)),
    "at once, other": ((5, 8), (2, 1), {}, X, by_fourier),
    "long": ((200,), (1,), HAMMING, LONG, functools.partial(by_fourier, window=True)),
    "long, larger": ((500,), (1,), {}, LONG, by_fourier),
    "long cosines": ((300,), (1,), {"transform": "cosine", **HAMMING}, LONG,
                     functools.partial(by_cosines, window=True)),
}  # fmt: skip


def at_once(x, sizes, axes, **options):
    """By one Fourier transform, as long axes are."""
    weights = [None] * len(axes)
    resizes = [Resize(x.shape[axis], size) for axis, size in zip(axes, sizes, strict=True)]
    if options:
        weights = [jnp.sqrt(0.54 + 0.46 * jnp.cos(np.float32(np.pi / r.length)
                   * r.all_numbers().astype(np.float32))) for r in resizes]  # fmt: skip
    return spectra.by_fourier(x, list(zip(axes, resizes, weights, strict=True)))


def pool_of(name):
    sizes, axes, options, *_ = POOLS[name]
    if name.startswith("at once"):
        return lambda x: at_once(x, sizes, axes, **options)
    return lambda x: jaxpool.spectral_pool(x, sizes, axes=axes, **options)


@functools.cache
def program():
    """Every pool: its value, of each sample alone, gradient, tangent, and a second derivative."""

    @jax.jit
    def everything(x, long):
        found = {}
        for name, (*_, given, _) in POOLS.items():
            pool, given = pool_of(name), x if given is X else long
            direction = jnp.cos(3 * given)
            y, tangent = jax.jvp(pool, (given,), (direction,))
            (gradient,) = jax.vjp(pool, given)[1](jnp.cos(5 * y))
            loss = lambda v, pool=pool: jnp.sum(jnp.sin(pool(v)))
            _, second = jax.jvp(jax.grad(loss), (given,), (direction,))
            found[name] = y, gradient, tangent, second
        return found

    return everything


@functools.cache
def found():
    return jax.tree.map(np.asarray, program()(X, LONG))


@pytest.mark.parametrize("name", POOLS)
def test_values_and_derivatives_are_those_of_the_definition(name):
    sizes, axes, _, x, definition = POOLS[name]
    y, gradient, tangent, second = found()[name]
    x = np.float64(x)
    f = lambda v: definition(v, sizes, axes)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5, err_msg=name)
    close(y, f(x))
    close(tangent, f(np.cos(3 * x)))
    # The transposed matrix, from what becomes of each element.
    batch = [axis for axis in range(x.ndim) if axis not in axes]
    every = np.eye(x.size // np.prod([x.shape[a] for a in batch], dtype=int))
    shape = [1 if axis in batch else n for axis, n in enumerate(x.shape)]
    rows = definition(every.reshape(-1, *shape), sizes, tuple(axis + 1 for axis in axes))
    rows = rows.reshape(len(every), -1)

    def transposed(v):
        flat = np.moveaxis(v, batch, range(len(batch)))
        flat = flat.reshape(*flat.shape[: len(batch)], -1) @ rows.T
        kept = [n for axis, n in enumerate(x.shape) if axis in batch]
        back = flat.reshape(*kept, *(n for axis, n in enumerate(x.shape) if axis in axes))
        return np.moveaxis(back, range(len(batch)), batch)

    close(gradient, transposed(np.cos(5 * np.float64(y))))
    close(second, transposed(-np.sin(f(x)) * f(np.cos(3 * x))), atol=3e-5)


QUICK = (1, 2, 3, 4, 6, 7, 9, 16, 33)


@pytest.mark.parametrize("by_product", [True, False], ids=["product", "transform"])
def test_each_size_to_each_other_is_as_in_scipy(by_product, monkeypatch, exhaustive):
    monkeypatch.setattr("jaxpool._src.lowering.spectra._MOST_ENTRIES", 2**15 * by_product)
    sizes = range(1, 34) if exhaustive else QUICK
    for n in range(1, 34) if exhaustive or not by_product else QUICK:
        x = RANDOM.normal(size=(n, 2))
        f = lambda x, n=n: [resized(x, [(0, Resize(n, m), None)]) for m in sizes]
        for m, y in zip(sizes, interpreter.run(f, x.astype(np.float32)), strict=True):
            wanted = scipy.signal.resample(x, m, axis=0)
            np.testing.assert_allclose(y, wanted, 0, 4e-6, err_msg=f"{n} to {m}")


def test_constants_stay_bit_for_bit():
    values = np.array([0.1, -1e-30, 3e38, 1 / 3, 0.0], np.float32)
    x = {size: np.broadcast_to(values, (*size, 5)) for size in ((6, 7), (14, 5), (300, 1))}
    options = [{}, HAMMING, {"transform": "cosine"}]

    @jax.jit
    def pooled(x):
        narrow = [v[..., ::3].astype(d) for v in x.values() for d in (jnp.bfloat16, jnp.float16)]
        y = [(v, jaxpool.spectral_pool(v, s, **o)) for v in x.values() for o in options
             for s in ((3, 4), (8, 9), (250, 1))]  # fmt: skip
        y += [(v, jaxpool.spectral_pool(v, (3, 10))) for v in narrow]
        return y + [(v, jaxpool.spectral_dropout_pool(v, (5, 4), key=KEY)) for v in x.values()]

    for before, y in pooled(x):
        np.testing.assert_array_equal(y, np.broadcast_to(before[:1, :1], y.shape), strict=True)


def test_the_lowest_quarters_of_a_spectrum_are_no_crop_about_frequency_0():
    """What is known of an implementation: with 6 rows it has frequency 0 in the wrong place."""

    def quarters(x):
        h, w = x.shape
        y = np.fft.fftshift(np.fft.fft2(x, norm="forward"))
        y = y[int(h / 4) : int(h / 4 * 3), int(w / 4) : int(w / 4 * 3)]
        return np.fft.ifft2(np.fft.ifftshift(y), norm="forward").real

    for shape, wrong in {(6, 6): True, (6, 10): True, (14, 14): True, (8, 12): False}.items():
        x = np.ones(shape, np.float32)
        assert (abs(quarters(x) - 1).max() > 0.1) == wrong
        half = tuple(n // 2 for n in shape)
        assert (jaxpool.spectral_pool(x, half, axes=(0, 1)) == 1).all()


def test_what_is_not_finite_reaches_its_own_sample_alone():
    x = X.copy()
    x[1, 2, 3, 0] = np.nan
    for name in ("smaller", "larger", "cosine"):
        y, clean = np.array(program()(x, LONG)[name][0]), found()[name][0]
        assert np.isnan(y[1, ..., 0]).all(), name
        y[1, ..., 0] = clean[1, ..., 0]
        np.testing.assert_array_equal(y, clean, err_msg=name)


def test_dtypes():
    given = [jnp.asarray(X[0, :, :3] * 4).astype(d)
             for d in (jnp.bfloat16, jnp.float16, jnp.int8, bool)]  # fmt: skip
    pool = functools.partial(jaxpool.spectral_pool, output_shape=(4, 2))
    narrow, wide = jax.jit(lambda g: ([pool(x) for x in g],
                                      [pool(x.astype(jnp.float32)) for x in g]))(given)  # fmt: skip
    for x, y, z in zip(given, narrow, wide, strict=True):
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.float32
        np.testing.assert_array_equal(y, z.astype(dtype), strict=True)
    with jax.enable_x64(True):
        pool = jax.jit(lambda x, long: (jaxpool.spectral_pool(x, (4, 11)),
                                        jaxpool.spectral_pool(long, 201, axes=1, **HAMMING)))  # fmt: skip
        y, long = pool(np.float64(X), np.float64(LONG))
        assert y.dtype == np.float64
        np.testing.assert_allclose(y, resampled(np.float64(X), (4, 11), (1, 2)), 0, 1e-14)
        np.testing.assert_allclose(long, by_fourier(np.float64(LONG), (201,), (1,), True), 0, 1e-13)


def test_long_axes_and_sizes_of_few_elements():
    x = RANDOM.normal(size=40_000).astype(np.float32)
    sizes = {1: x, 2: x, 40_000: x[:1], 40_001: x[:2]}
    pools = jax.jit(lambda given: [jaxpool.spectral_pool(v, size, axes=0)
                                   for size, v in zip(sizes, given, strict=True)])  # fmt: skip
    for y, (size, v) in zip(pools([*sizes.values()]), sizes.items(), strict=True):
        np.testing.assert_allclose(y, scipy.signal.resample(np.float64(v), size), 0, 2e-6)


def test_an_axis_without_a_size_stays():
    y, z, same = jax.jit(lambda x: (
        jaxpool.spectral_pool(x, (None, 4), **HAMMING), jaxpool.spectral_pool(x, (4,), axes=2,
        **HAMMING), jaxpool.spectral_pool(x, (6, 9))))(X)  # fmt: skip
    np.testing.assert_array_equal(y, z)
    np.testing.assert_array_equal(same, X)


KEYS = jax.random.split(KEY, 400)


def test_dropout_draws_a_size_for_each_axis():
    """An impulse has all frequencies; those that it keeps tell the sizes that were drawn."""
    x = np.zeros((2, 12, 16, 1), np.float32)
    x[:, 0, 0] = 1

    @jax.jit
    def pooled(keys):
        pool = functools.partial(jaxpool.spectral_dropout_pool, output_shape=(7, 20))
        f = lambda key: pool(x, minimum_shape=(2, 5), key=key)
        return jax.vmap(f)(keys), jaxpool.spectral_pool(x, (7, 20)), pool(x, deterministic=True)

    drawn, whole, calm = (np.asarray(y) for y in pooled(KEYS))
    np.testing.assert_array_equal(calm, whole)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])  # one for all samples
    rows, columns = (abs(np.fft.rfft(drawn[:, 0, ..., 0].mean(axis))).round(5) > 0
                     for axis in (2, 1))  # fmt: skip
    for kept, sizes in ((rows, range(2, 8)), (columns, range(5, 17))):
        highest = kept.sum(1) - 1
        assert all(row[: n + 1].all() for row, n in zip(kept, highest, strict=True))
        numbers = [size // 2 for size in sizes]
        wanted = [numbers.count(n) / len(numbers) * len(KEYS) for n in sorted(set(numbers))]
        values, counts = np.unique(highest, return_counts=True)
        assert values.tolist() == sorted(set(numbers))
        assert (abs(counts - wanted) < 5 * np.sqrt(wanted)).all()
    # Those of one axis say nothing of the other.
    together = {(a, b) for a, b in zip(rows.sum(1), columns.sum(1), strict=True)}
    assert len(together) == 3 * 7


def test_dropout_is_a_product_with_a_window_of_ones_and_zeros():
    @jax.jit
    def pooled(x, keys):
        f = lambda x, key: jaxpool.spectral_dropout_pool(x, 200, axes=1, key=key)
        y = jax.vmap(f, (None, 0))(x, keys)
        return y, jax.grad(lambda x: jnp.sum(jnp.sin(f(x, keys[0]))))(x)

    y, gradient = pooled(LONG, KEYS[:8])
    for one in np.float64(y):
        wanted = scipy.signal.resample(np.float64(LONG), 200, axis=1)
        spectrum = np.fft.rfft(wanted)
        spectrum[:, (abs(np.fft.rfft(one)) > 1e-3).any(0).sum() :] = 0
        np.testing.assert_allclose(one, np.fft.irfft(spectrum, 200), 0, 1e-5)
    kept = (abs(np.fft.rfft(np.float64(y[0]))) > 1e-3).any(0).sum()
    back = np.fft.rfft(np.cos(np.float64(y[0])))
    back[:, kept:] = 0
    wanted = scipy.signal.resample(np.fft.irfft(back, 200), 420, axis=1) * 200 / 420
    np.testing.assert_allclose(gradient, wanted, 0, 1e-5)


def test_exported_with_a_symbolic_batch_and_without_jit():
    shape = jax.export.symbolic_shape("b, 6, 9, c")
    pool = lambda x: jaxpool.spectral_pool(x, (4, 5))
    exported = jax.export.export(jax.jit(pool))(jax.ShapeDtypeStruct(shape, np.float32))
    np.testing.assert_allclose(exported.call(X), found()["smaller"][0], 1e-5, 1e-6)
    with jax.disable_jit():
        np.testing.assert_allclose(pool(X), found()["smaller"][0], 1e-5, 1e-6)
    with pytest.raises(ValueError, match=r"^spectral_pool: `x` must have a known size along axis"):
        jax.eval_shape(
            pool, jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, h, w, 3"), "float32")
        )


def test_programs_stay_small_and_move_no_axis():
    """But where channels are few; and an axis of any length has no constant as long."""
    few, many = (length(lambda x, n=n: jaxpool.spectral_pool(x, n // 2, axes=0), (n, 1))
                 for n in (10_000, 1_000_000))  # fmt: skip
    assert many < 1.1 * few
    jaxpr = jax.make_jaxpr(lambda x: jaxpool.spectral_pool(x, (28, 28)))(np.zeros((2, 56, 56, 64)))
    for word in ("transpose", "gather", "scatter", "pad"):
        assert word not in str(jaxpr)
    # No axis is transformed if a product takes less time.
    of = lambda n: str(
        jax.make_jaxpr(lambda x: jaxpool.spectral_pool(x, n // 2, axes=0))(LONG[0, :n])
    )
    assert "fft" not in of(256)
    assert "fft" in of(400)


@pytest.mark.parametrize(("function", "args", "options", "message"), [
    (jaxpool.spectral_pool, (X, 4), {}, "`output_shape` must be a sequence when `axes` is not"),
    (jaxpool.spectral_pool, (X, (4, 0)), {}, "`output_shape` must be an int >= 1, or 2 of them"),
    (jaxpool.spectral_pool, (X, (4, 2.5)), {}, "`output_shape` must be an int >= 1"),
    (jaxpool.spectral_pool, (X, (4, 4)), {"axes": (0, 7)}, "`axes` must lie in"),
    (jaxpool.spectral_pool, (X, (4, 4)), {"axes": 1}, "`axes` must name one axis for each"),
    (jaxpool.spectral_pool, (X[:, :0], (4, 4)), {}, "`x` must have at least one element"),
    (jaxpool.spectral_pool, (X * 1j, (4, 4)), {}, "`x` must be real"),
    (jaxpool.spectral_pool, (X, (4, 4)), {"transform": "dct"}, "`transform` must be one of"),
    (jaxpool.spectral_pool, (X, (4, 4)), {"window": "hann"}, "`window` must be one of"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {}, "`key` must be given unless `determin"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {"key": 0, "deterministic": True},
     "`key` must be a key of jax.random"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {"key": KEYS}, "`key` must be a single key"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {"key": KEY, "deterministic": 1},
     "`deterministic` must be True or False"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {"key": KEY, "minimum_shape": 5},
     "`minimum_shape` must be at most 4 along axis 1"),
    (jaxpool.spectral_dropout_pool, (X, (8, 4)), {"key": KEY, "minimum_shape": (7, 1)},
     "`minimum_shape` must be at most 6 along axis 1"),
    (jaxpool.spectral_dropout_pool, (X, (4, 4)), {"key": KEY, "minimum_shape": (0, 1)},
     "`minimum_shape` must be an int >= 1"),
])  # fmt: skip
def test_mistakes_are_answered(function, args, options, message):
    with pytest.raises((ValueError, TypeError), match=f"^{function.__name__}: {message}"):
        function(*args, **options)


def test_sizes_may_be_arrays():
    a, b = jaxpool.spectral_pool(X, np.array([4, 5])), jaxpool.spectral_pool(X, (4, 5))
    np.testing.assert_array_equal(a, b)
    sizes = itertools.starmap(np.array, (([4, 5],), ([2, 1],)))
    y = jaxpool.spectral_dropout_pool(X, next(sizes), minimum_shape=next(sizes), key=KEY)
    assert y.shape == (3, 4, 5, 2)
