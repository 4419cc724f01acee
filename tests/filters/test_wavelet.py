"""Wavelet pools against PyWavelets and loops, and the table of their filters."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.filters.wavelet_filters import WAVELETS, analysis_filters
from tests import derivatives
from tests.cases import tolerance

TESTS_OF = ("filters/wavelet.py", "filters/wavelet_filters.py", "lowering/weighted.py", "lowering/weighted_blocks.py",
            "layers/filters.py", "layers/checks.py")  # fmt: skip

OF_PYWT = {"periodization": "periodization", "reflect": "reflect", "constant": "zero",
           "edge": "constant"}  # fmt: skip
# Each length of a filter, beside signals that are longer, of either parity, and shorter.
CASES = [
    *[("db2", mode, n) for mode in OF_PYWT for n in (2, 7, 8)],
    *[("haar", mode, 5) for mode in OF_PYWT],
    *[("periodization", 1), ("constant", 1), ("edge", 1), ("reflect", 3), ("periodization", 3)],
]
CASES = [case if len(case) == 3 else ("bior3.5", *case) for case in CASES]


def orders(name):
    """Zeros of the low-pass filters of synthesis and of analysis, at half the sampling rate."""
    if name.startswith("bior"):
        n, m = map(int, name[4:].split("."))
        return {"bior4.4": (4, 4), "bior5.5": (6, 4), "bior6.8": (6, 8)}.get(name, (n, m))
    if name == "haar":
        return 1, 1
    n = int(name[-1])
    return (2 * n, 2 * n) if name.startswith("coif") else (n, n)


@pytest.mark.parametrize("name", WAVELETS)
def test_filters_are_those_of_a_wavelet(name):
    """Biorthogonal, or orthogonal; with their sums, and as many moments that vanish."""
    low, high = analysis_filters(name)
    length = len(low)
    assert length == len(high)
    assert length % 2 == 0
    synthesis = high[::-1] * (-1.0) ** np.arange(1, length + 1)
    for shift in range(-length + 2, length, 2):
        pairs = [(low[i], synthesis[i + shift]) for i in range(length) if 0 <= i + shift < length]
        assert sum(a * b for a, b in pairs) == pytest.approx(float(shift == 0), abs=1e-15)
    places = (np.arange(length) - (length - 1) / 2) / length
    for taps, order in zip((synthesis, low), orders(name), strict=True):
        assert taps.sum() == pytest.approx(2**0.5, abs=1e-15)
        alternating = taps * (-1.0) ** np.arange(length)
        for k in range(order):
            assert (places**k * alternating).sum() == pytest.approx(0, abs=1e-14)
    if not name.startswith("bior"):
        np.testing.assert_array_equal(synthesis, low)


def test_filters_are_those_of_pywavelets():
    pywt = pytest.importorskip("pywt", reason="pywt is the oracle of this test")
    assert {n for n in WAVELETS if n.startswith("bior")} == set(pywt.wavelist("bior"))
    assert len(WAVELETS) == len(set(WAVELETS)) == 1 + 7 + 7 + 3 + 15
    for name in WAVELETS:
        theirs = pywt.Wavelet(name)
        for own, wanted in zip(analysis_filters(name), (theirs.dec_lo, theirs.dec_hi), strict=True):
            np.testing.assert_allclose(own, wanted[::-1], rtol=0, atol=4e-12)


def by_loop(x, name, mode):
    """Both bands along the first axis, of a signal that NumPy pads."""
    (low, high), n = analysis_filters(name), len(x)
    length = len(low)
    if mode == "periodization":
        x = np.concatenate([x, x[-1:]]) if n % 2 else x
        before, cells, mode = length // 2 - 1, len(x) // 2, "wrap"
    else:
        before, cells = length - 2, (n + length - 1) // 2
    x = np.pad(x, [(before, 2 * length), *[(0, 0)] * (x.ndim - 1)], mode)
    return [
        np.stack([sum(taps[j] * x[2 * i + j] for j in range(length)) for i in range(cells)])
        for taps in (low, high)
    ]


@functools.cache
def signals():
    random = np.random.default_rng(0)
    return [random.standard_normal((n, 2)) for _, _, n in CASES]


@functools.cache
def bands_of_all_cases():
    """In float64, with what is handed back for the cosine of each."""

    def everything(signals):
        found = []
        for x, (name, mode, _) in zip(signals, CASES, strict=True):
            pool = functools.partial(
                jaxpool.wavelet_pool, wavelet=name, mode=mode, bands="all", axes=0
            )
            y, vjp = jax.vjp(pool, x)
            found.append((y, vjp(jnp.cos(y))[0]))
        return found

    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(everything)(signals()))


def test_bands_are_sums_over_padded_signals():
    """And the gradient is the transpose: what is handed back, against each unit vector."""
    for x, case, (y, back) in zip(signals(), CASES, bands_of_all_cases(), strict=True):
        name, mode, n = case
        wanted = np.concatenate(by_loop(x, name, mode), -1)
        np.testing.assert_allclose(y, wanted, rtol=1e-12, atol=1e-12)
        units = np.concatenate(by_loop(np.eye(n), name, mode), -1).reshape(len(y), 2, n)
        handed = np.cos(wanted).reshape(len(y), 2, 2)  # band and channel
        np.testing.assert_allclose(
            back, np.einsum("ibn,ibc->nc", units, handed), rtol=1e-12, atol=1e-12
        )


def test_bands_are_those_of_pywavelets():
    pywt = pytest.importorskip("pywt", reason="pywt is the oracle of this test")
    for x, (name, mode, _), (y, _) in zip(signals(), CASES, bands_of_all_cases(), strict=True):
        wanted = np.concatenate(pywt.dwt(x, name, OF_PYWT[mode], axis=0), -1)
        np.testing.assert_allclose(y, wanted, rtol=1e-9, atol=1e-11)


X = np.random.default_rng(1).standard_normal((2, 5, 6, 3)).astype(np.float32)


@functools.cache
def facts():
    """One program of what is compared."""
    pool = jaxpool.wavelet_pool
    ones, marked = jnp.ones_like(X), jnp.asarray(X).at[0, 2, 3, 1].set(jnp.nan)

    def program(x, half, ints):
        return {
            "mean": (pool(x[:, :4]), 2 * jaxpool.avg_pool(x[:, :4], (2, 2))),
            "levels": (
                pool(x, "db2", mode="reflect", levels=2),
                pool(pool(x, "db2", mode="reflect"), "db2", mode="reflect"),
            ),
            "order": (
                pool(x, "db2", axes=(2, 1), bands="all"),
                pool(x, "db2", axes=(1, 2), bands="all"),
            ),
            "bands": (
                pool(x, "sym4", bands="all", mode="edge"),
                pool(x, "sym4", bands="all", mode="edge", normalize=True),
                pool(x, "sym4", mode="edge"),
            ),
            "constant": pool(ones, "coif1", levels=2, normalize=True),
            "details of a constant": pool(ones, "db3", bands="all", normalize=True, axes=1),
            "marked": pool(marked, "bior2.2", mode="edge", bands="all", axes=1),
            "half": (pool(half, "db2"), pool(half.astype(jnp.float32), "db2")),
            "ints": (pool(ints, "db2"), pool(ints.astype(jnp.float32), "db2")),
            "batched": (jax.vmap(lambda x: pool(x, "db2"), 3, 3)(x[..., None, :])[..., 0, :],
                        pool(x, "db2")),
        }  # fmt: skip

    half = jnp.asarray(X, jnp.bfloat16)
    return jax.tree.map(np.asarray, jax.jit(program)(X, half, (10 * X).astype(np.int8)))


def test_the_low_band_of_haar_is_twice_the_mean():
    np.testing.assert_allclose(*facts()["mean"], rtol=1e-6, atol=1e-6)


def test_levels_compose():
    np.testing.assert_array_equal(*facts()["levels"])


def test_bands_follow_the_letters_of_axes():
    there, back = facts()["order"]
    there = np.split(there, 4, -1)
    for swapped, band in zip((0, 2, 1, 3), np.split(back, 4, -1), strict=True):
        np.testing.assert_allclose(there[swapped], band, rtol=1e-5, atol=1e-6)
    wanted = X.astype(np.float64)
    rows = by_loop(np.moveaxis(wanted, 1, 0), "db2", "periodization")
    ad = by_loop(np.moveaxis(rows[0], 2, 0), "db2", "periodization")[1]
    np.testing.assert_allclose(back[..., 3:6], ad.transpose(2, 1, 0, 3), rtol=1e-5, atol=1e-6)


def test_normalized_low_bands_keep_constants():
    plain, scaled, low = facts()["bands"]
    np.testing.assert_allclose(plain[..., :3], low, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(scaled[..., :3], low / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(scaled[..., 3:], plain[..., 3:])
    constant = facts()["constant"]
    assert constant.shape == (2, 2, 2, 3)
    np.testing.assert_allclose(constant, 1, rtol=1e-6)
    np.testing.assert_allclose(np.split(facts()["details of a constant"], 2, -1)[1], 0, atol=1e-6)


def test_nan_reaches_what_weighs_it():
    """The zeros that biorthogonal filters are padded with weigh nothing."""
    spoiled = np.isnan(facts()["marked"])
    wanted = np.zeros_like(spoiled)
    low, high = analysis_filters("bior2.2")
    for band, taps in enumerate((low, high)):
        for i in range(wanted.shape[1]):
            tap = 2 + len(taps) - 2 - 2 * i
            wanted[0, i, 3, 3 * band + 1] = 0 <= tap < len(taps) and taps[tap] != 0
    np.testing.assert_array_equal(spoiled, wanted)


def test_narrow_dtypes_are_accumulated_in_float32():
    half, whole = facts()["half"]
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), whole, **tolerance(jnp.bfloat16))
    found, wanted = facts()["ints"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, wanted)


def test_batches_of_batches():
    np.testing.assert_allclose(*facts()["batched"], rtol=1e-5, atol=1e-6)


def test_derivatives_of_both_orders():
    def two_levels(x):
        return jnp.sin(jaxpool.wavelet_pool(x, "bior3.1", mode="reflect", levels=2, axes=(0, 1)))

    with jax.enable_x64(True):
        derivatives.check(two_levels, (np.random.default_rng(0).standard_normal((5, 4)),))


def test_export_with_symbolic_sizes():
    """Of batch axes always, of pooled ones where the mode need not know whether they are even."""
    scope = jax.export.SymbolicScope(["h >= 8"])
    b, h = jax.export.symbolic_shape("b, h", scope=scope)

    def pools(x):
        return jaxpool.wavelet_pool(x, "db2", mode="edge"), jaxpool.wavelet_pool(x, axes=2)

    shape = jax.ShapeDtypeStruct((b, h, 6, 3), np.float32)
    exported = jax.export.export(jax.jit(pools))(shape)
    x = np.random.default_rng(0).standard_normal((2, 9, 6, 3)).astype(np.float32)
    for found, wanted in zip(exported.call(x), jax.jit(pools)(x), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"`mode` must not be 'periodization' for a symbolic size"):
        jax.export.export(jax.jit(jaxpool.wavelet_pool))(shape)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"wavelet": "db1"}, ValueError, "`wavelet` must be one of"),
        ({"wavelet": 2}, ValueError, "`wavelet` must be one of"),
        ({"mode": "zero"}, ValueError, "`mode` must be one of"),
        ({"bands": "high"}, ValueError, "`bands` must be one of"),
        ({"levels": 0}, ValueError, "`levels` must be an int >= 1"),
        ({"levels": 2, "bands": "all"}, ValueError, '`levels` must be 1 for bands="all"'),
        ({"normalize": 1}, TypeError, "`normalize` must be True or False"),
        ({"axes": (1, 1)}, ValueError, "`axes` must be an int or a sequence of ints, all diff"),
        ({"axes": 4}, ValueError, "`axes` must lie in"),
        ({"mode": "reflect", "levels": 4}, ValueError,
         "`mode` must not be 'reflect' for one element, which is what a level has along axis 1"),
    ],
)  # fmt: skip
def test_mistakes_are_told_by_name(options, error, message):
    with pytest.raises(error, match=f"^wavelet_pool: {message}"):
        jax.eval_shape(lambda x: jaxpool.wavelet_pool(x, **options), X)
    with pytest.raises(ValueError, match=r"^wavelet_pool: `x` must have at least one element"):
        jax.eval_shape(jaxpool.wavelet_pool, X[:, :0])
