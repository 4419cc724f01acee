"""Wavelet pools: bands of the discrete wavelet transform."""

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.geometry import AxisWindow, axis_window
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.filters.wavelet_filters import WAVELETS, analysis_filters
from jaxpool._src.lowering.weighted import weighted_sum

WaveletMode = Literal["periodization", "reflect", "constant", "edge"]
MODES = ("periodization", "reflect", "constant", "edge")
BANDS = ("low", "all")


@explained
def wavelet_pool(
    x: jax.Array,
    wavelet: str = "haar",
    *,
    axes: Ints | None = None,
    mode: WaveletMode = "periodization",
    levels: int = 1,
    bands: Literal["low", "all"] = "low",
    normalize: bool = False,
) -> jax.Array:
    """The low band of a discrete wavelet transform, or all of its bands: half of each axis.

    Along an axis, with the low-pass filter h of f elements, ``y[i] = sum_j h[j] * x[2*i + j - l]``,
    where l is ``f - 2``, or ``f/2 - 1`` for "periodization". The same with the high-pass filter
    gives the details. Values, bands and sizes are those of PyWavelets. There is no mask: weights
    that are left of a window may add up to 0, so that they cannot grow in proportion.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      wavelet: "haar", "db2" to "db8" (Daubechies), "sym2" to "sym8", "coif1" to "coif3", or a
        biorthogonal one of PyWavelets, "bior1.1" to "bior6.8".
      axes: the pooled axes, an int or several. Default: the two just before the last, which is
        channels-last. All others are batch.
      mode: what lies outside x: "periodization" ``(c d | a b c d | a b)``, of an odd number of
        elements ``(b c c | a b c c | a b c)``, with the fewest cells; or as in ``jnp.pad``:
        "reflect" ``(c b | a b c d | c b)``, "edge" ``(a a | a b c d | d d)`` (PyWavelets'
        "constant") or "constant" ``(0 0 | a b c d | 0 0)`` (PyWavelets' "zero"). It is repeated
        where the filter is longer than x.
      levels: how often the low band is taken, each time of the one before.
      bands: "low", or "all" of one level, which follow one another along the last axis: with a for
        the low and d for the high band, and a letter for each entry of `axes`, aa, ad, da and dd.
      normalize: whether the low band is divided by ``sqrt(2)`` for each axis and level, so that a
        constant stays. Other bands are not: of a constant they are 0.

    Returns:
      Array of x's shape with ``ceil(n / 2)`` for "periodization", and ``(n + f - 1) // 2`` for
      other modes, in place of n on each pooled axis, once for each level; with "all", the last axis
      is ``2**len(axes)`` times as long. Floats keep their dtype and are accumulated in float32 at
      least, others give float32.

    Raises:
      ValueError: an argument is out of range, there is one element for "reflect", there are several
        levels of "all" bands, or a size is symbolic and may be odd for "periodization".
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order.

    Example:
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.wavelet_pool(x, axes=0, normalize=True)
      Array([2., 4.], dtype=float32)
      >>> jaxpool.wavelet_pool(x, axes=0, bands="all").round(3)
      Array([ 2.828,  5.657, -1.414, -2.828], dtype=float32)

    References:
      Williams and Li, Wavelet pooling for convolutional neural networks, 2018.
      <https://openreview.net/forum?id=rkhlb8lCZ>

      Li et al., Wavelet integrated CNNs for noise-robust image classification, 2020.
      <https://arxiv.org/abs/2005.03337>
    """
    return as_one_program(_wavelet_pool, x, wavelet, axes, mode, levels, bands, normalize)


def _wavelet_pool(
    x: Any, wavelet: Any, axes: Any, mode: Any, levels: Any, bands: Any, normalize: Any
) -> jax.Array:
    op = "wavelet_pool"
    x = arguments.array(op, x)
    check_wavelet(op, wavelet, mode, levels, bands, normalize)
    numbers = (-3, -2) if axes is None else arguments.axis_numbers(op, axes)
    pooled = arguments.resolved_axes(op, numbers, x.shape)
    arguments.no_empty_axis(op, x.shape, pooled)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    shape = list(x.shape)
    for _ in range(levels):
        for axis in pooled:
            shape[axis] = _halved(op, shape, axis, wavelet, mode)
    if bands == "all":
        shape[-1] = shape[-1] * 2 ** len(pooled)

    def compute(x: jax.Array) -> jax.Array:
        y = x.astype(accumulator(x.dtype))
        if bands == "all":
            y = _all_bands(y, wavelet, pooled, mode, normalize)
        else:
            for axis in sorted(pooled, reverse=True) * levels:
                y = _band(y, wavelet, axis, mode, "a", _scale(normalize))
        contracts.assert_shape(y, shape)
        return y.astype(dtype)

    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, range(x.ndim), x)


def check_wavelet(
    op: str, wavelet: Any, mode: Any, levels: Any, bands: Any, normalize: Any
) -> None:
    """Checks what is no matter of x."""
    arguments.one_of(op, "wavelet", wavelet, WAVELETS)
    arguments.one_of(op, "mode", mode, MODES)
    arguments.one_of(op, "bands", bands, BANDS)
    arguments.flag(op, "normalize", normalize)
    parameters.size(op, "levels", levels)
    if bands == "all" and levels != 1:
        arguments.fail(op, "levels", 'be 1 for bands="all"', levels)


def _halved(op: str, shape: list[Any], axis: int, wavelet: str, mode: str) -> Any:
    """The size of an axis after one level, if there can be one."""
    n = shape[axis]
    if mode == "reflect" and isinstance(n, int) and n == 1:
        allowed = f"not be 'reflect' for one element, which is what a level has along axis {axis}"
        arguments.fail(op, "mode", allowed, mode, shape=shape)
    if mode == "periodization" and not isinstance(n, int) and not n % 2 == 0:
        allowed = f"not be 'periodization' for a symbolic size that may be odd, along axis {axis}"
        arguments.fail(op, "mode", allowed, mode, shape=shape)
    return _window(n, analysis_filters(wavelet)[0], mode)[0].output


def _window(n: Any, taps: np.ndarray, mode: str) -> tuple[AxisWindow, np.ndarray]:
    """The windows of a filter along n elements, and its weights, without the zeros at its ends."""
    length, used = len(taps), np.flatnonzero(taps)
    first, stop = int(used[0]), int(used[-1]) + 1
    low, high = length - 2, length - 1
    if mode == "periodization":
        low, high = length // 2 - 1, length // 2 - 1 + (n % 2 if isinstance(n, int) else 0)
    padding = (low - first, high - (length - stop))
    return axis_window(n, stop - first, 2, 1, padding, False), taps[first:stop]


def _band(x: jax.Array, wavelet: str, axis: int, mode: str, letter: str, scale: float) -> jax.Array:
    """One band along one axis, times `scale`."""
    taps = analysis_filters(wavelet)["ad".index(letter)]
    n = x.shape[axis]
    window, taps = _window(n, taps, mode)
    if mode == "periodization" and (not isinstance(n, int) or n % 2 == 0):
        mode = "wrap"
    weights = jnp.asarray(taps * scale, x.dtype).reshape(len(taps), *[1] * x.ndim)
    return weighted_sum(x, weights, ((axis, window),), mode)


def _scale(normalize: bool, axes: int = 1) -> float:
    return math.sqrt(0.5) ** axes if normalize else 1.0


def _all_bands(
    x: jax.Array, wavelet: str, axes: tuple[int, ...], mode: str, normalize: bool
) -> jax.Array:
    """Bands by the letters of `axes`, in alphabetical order along the last axis."""
    found = {"": x}
    order = sorted(range(len(axes)), key=lambda i: axes[i], reverse=True)
    for done, i in enumerate(order, 1):
        parts = {}
        for name, part in found.items():
            for letter in "ad":
                lowest = done == len(axes) and "d" not in name + letter
                scale = _scale(normalize, len(axes)) if lowest else 1.0
                parts[name + letter] = _band(part, wavelet, axes[i], mode, letter, scale)
        found = parts
    places = sorted(range(len(axes)), key=lambda place: order[place])
    names = sorted(found, key=lambda name: [name[place] for place in places])
    return jax.lax.concatenate([found[name] for name in names], x.ndim - 1)
