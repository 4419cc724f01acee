"""Which element of a window is its maximum: compared at once, and axis by axis."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.parameters import MisfitError
from jaxpool._src.lowering.folds import fold_runs
from jaxpool._src.lowering.footprints import Shaped, Windows, all_taps, tap_numbers
from jaxpool._src.lowering.shifts import shifted_reader
from jaxpool._src.lowering.tangent import NO_TAPS
from jaxpool._src.lowering.windows import (
    all_of,
    are_known,
    between,
    fused,
    groups,
    inside,
    lowest_value,
    numbered,
    pad,
    pad_windows,
    padded_taps_at,
    taps_at,
    widened,
    window_size,
)

# Along one axis, a window of up to this many elements is taken tap by tap, a larger one in runs.
MAX_RUNS = {"cpu": 16, "default": 64}
Picked = tuple[jax.Array, Any]  # maxima, and the taps that they come from

# What is added to the elements at each tap, in row-major order; of size 1 along pooled axes.
Offsets = tuple[jax.Array, ...] | None


def masked_out(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """`x` with the lowest value where it is not valid."""
    return x if valid is None else jnp.where(valid, x, lowest_value(x.dtype))


def picked_at_once(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    offsets: Offsets = None,
    *,
    lowest: bool = False,
    bits: bool = False,
) -> Picked:
    """All elements of a window compared with one another, over a padded copy of x.

    If `lowest`, for minima, it is -x that is compared. If x is `bits`, uint16, it is the bfloat16
    numbers that have these. Both tap by tap: all of x would be a copy.
    """
    input_dtype, x = x.dtype, x if bits else widened(x)
    dtype = np.dtype(np.float32) if bits else x.dtype
    fill = -lowest_value(dtype) if lowest else lowest_value(dtype)
    if bits:
        fill = np.array(np.array(fill).view(np.uint32) >> 16, np.uint16)
    if valid is not None:
        x = jnp.where(valid, x, fill)

    def compared(element: jax.Array) -> jax.Array:
        if bits:
            wide = lax.shift_left(element.astype(np.uint32), np.uint32(16))
            element = lax.bitcast_convert_type(wide, np.float32)
        return -element if lowest else element

    taps = tap_dtype(windows)
    y, _, picked = _compared(x, valid, None, windows, taps, offsets=offsets, fill=fill, of=compared)
    y = -y if lowest else y
    if bits:  # exact, and sooner than a conversion, which rounds
        wide = lax.bitcast_convert_type(y, np.uint32)
        return lax.shift_right_logical(wide, np.uint32(16)).astype(np.uint16), picked
    return y.astype(input_dtype), picked


def picked_in_passes(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: Offsets = None,
    *,
    windows: Windows,
    limit: float,
    shifted: bool = False,
) -> Picked:
    """For GPUs, whose programs pad what they read as they go: no padded copy is made.

    All axes at once if a window has at most `limit` elements, else the last one first. `shifted` if
    devices may share an axis.
    """
    input_dtype, dtype, picked, unit = x.dtype, tap_dtype(windows), None, 1
    if x.dtype.itemsize == 1 or offsets is not None:
        x = widened(x)  # of 8 bits not all floats have an infinity, and sums are in 32
    for step in reversed(groups(windows, limit)):
        x = masked_out(x, valid)
        x, valid, picked = _compared(
            x,
            valid,
            picked,
            step,
            dtype,
            unit=unit,
            pad_each=True,
            offsets=offsets,
            shifted=shifted,
        )
        unit *= window_size(step)
    return x.astype(input_dtype), picked


def _compared(
    x: jax.Array,
    valid: jax.Array | None,
    later: jax.Array | None,
    windows: Windows,
    dtype: Any,
    *,
    unit: int = 1,
    pad_each: bool = False,
    offsets: Offsets = None,
    shifted: bool = False,
    fill: Any = None,
    of: Callable = lambda element: element,
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Maxima, whether any element was valid, and the taps that they come from, in `dtype`.

    Taps count in `unit` and are added to those along `later` axes. What is compared is a function
    `of` elements, and of the `fill` around them.
    """

    def reader(array: Any, value: Any) -> Callable:
        if array is None:
            return lambda taps: None
        if shifted:
            return shifted_reader(array, windows, value)
        if pad_each:
            return lambda taps: padded_taps_at(array, windows, taps, value)
        padded = pad_windows(array, windows, value)
        return lambda taps: taps_at(padded, windows, taps)

    element = reader(x, lowest_value(x.dtype) if fill is None else fill)
    is_valid = reader(valid, False)
    later_taps = reader(later, 0)
    best = None
    if isinstance(windows, Shaped) and valid is None and any(w.padded for _, w in windows):
        # Which tap is the first inside the input is no range of windows.
        is_valid = functools.partial(_is_inside, windows, ndim=x.ndim)
    for number, taps in zip(tap_numbers(windows), all_taps(windows), strict=True):
        new, new_valid, picked = of(element(taps)), is_valid(taps), later_taps(taps)
        if offsets is not None:
            new = plus(new, offsets[number])
        if picked is None:
            picked = lax.full_like(new, number * unit, dtype)
        elif number:
            picked = lax.add(picked, lax.full_like(picked, number * unit))
        if best is None:
            best = (new, new_valid, picked)
            continue
        y, seen, y_picked = best
        take = exceeds(new, y)
        if seen is not None:
            take, seen = take | ~seen, seen | new_valid
        elif (begins := _begins(windows, taps, x.ndim)) is not None:
            take = take | begins
        best = lax.select(take, new, y), seen, lax.select(take, picked, y_picked)
    assert best is not None
    return best


def _is_inside(windows: Windows, taps: tuple[int, ...], ndim: int) -> Any:
    """For which windows `taps` lie inside the input."""
    conditions = inside(windows, taps, ndim)
    return all_of(conditions) if conditions else np.True_


def plus(x: jax.Array, offset: jax.Array) -> jax.Array:
    """The sum, where an offset of -inf leaves out what it is added to, inf and NaN included."""
    lowest = lowest_value(x.dtype)
    return jnp.where(offset == lowest, lowest, x + offset)


def _begins(windows: Windows, taps: tuple[int, ...], ndim: int) -> Any:
    """For which windows `taps` are the first inside the input; None if for none.

    Padding before the input comes before its elements, and would be picked in place of -inf.
    """
    begins = []
    for (axis, w), tap in zip(windows, taps, strict=True):
        if are_known(w.low, w.output):
            first, stop = w.begun_by(tap)
            if first >= min(stop, w.output):
                return None
            begins += between(first, stop, axis, w.output, ndim)
        else:
            reach = w.low - numbered(axis, w.output, ndim) * w.stride  # of padding
            begins.append(
                (reach <= tap * w.dilation) & ((reach > (tap - 1) * w.dilation) | (tap == 0))
            )
    return all_of(begins) if begins else np.True_  # for all


def picked_by_axes(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: None = None,
    *,
    windows: Windows,
    materialized: Callable = fused,
    only_maxima: bool = False,
) -> Picked:
    """Maxima and the taps that they come from, one axis after the other, the last one first.

    Selections have all derivatives, so this form needs no rule.
    """
    del offsets  # none: they need not be a sum over axes
    input_dtype, x = x.dtype, masked_out(widened(x), valid)
    lowest, dtype = lowest_value(x.dtype), tap_dtype(windows)
    picked, weight = None if only_maxima else lax.full_like(x, 0, dtype, [1] * x.ndim), 1
    for axis, window in reversed(windows):
        here = valid
        if window.padded:
            widths = (window.low, window.right)
            x = pad(axis, widths, x, lowest)
            if picked is not None and not _is_one(picked.shape[axis]):
                picked = pad(axis, widths, picked, 0)
            if valid is not None:
                here = pad(axis, widths, valid, False)
            elif not (isinstance(window.low, int) and window.low == 0):
                # As above. On the right, padding comes after an element of the input.
                here = numbered(axis, x.shape[axis], x.ndim) >= window.low
        if picked is not None:
            shape = list(picked.shape)
            shape[axis] = x.shape[axis]
            picked = jnp.broadcast_to(picked, shape)
        pick = functools.partial(_pick, weight=weight)
        carrier = (x, here, picked)
        x, here, picked = fold_runs(carrier, axis, window, pick, materialized, MAX_RUNS["cpu"])
        # Without a mask every window has an element to pick, so no cell of this pass is invalid.
        valid = None if valid is None else here
        weight *= window.window
    if picked is not None:
        picked = jnp.broadcast_to(picked, x.shape)
    return x.astype(input_dtype), picked


def _is_one(size: Any) -> bool:
    """Whether a size, which may be symbolic, is known to be 1."""
    return isinstance(size, int) and size == 1


def _pick(a: Any, b: Any, taps: int, weight: int) -> Any:
    """The larger of two elements, of which the second is `taps` further on."""
    (x, x_valid, x_picked), (y, y_valid, y_picked) = a, b
    take = exceeds(y, x)
    if x_valid is not None:
        take |= ~x_valid
    if y_picked is not None:
        y_picked = y_picked + np.array(taps * weight, y_picked.dtype)
        x_picked = jnp.where(take, y_picked, x_picked)
    return lax.select(take, y, x), None if x_valid is None else x_valid | y_valid, x_picked


def exceeds(new: jax.Array, old: jax.Array) -> jax.Array:
    """Whether an element displaces an earlier one: it is larger, or NaN."""
    # By lax, since tracing a jnp function takes several times as long, and there are many of these.
    larger = lax.gt(new, old)
    is_float = jnp.issubdtype(new.dtype, jnp.floating)
    return lax.bitwise_or(larger, lax.ne(new, new)) if is_float else larger


def tap_dtype(windows: Windows) -> Any:
    """The smallest dtype that numbers the taps of a window, and has `NO_TAPS` to spare."""
    size = window_size(windows)
    for kind in (np.uint8, np.uint16, np.uint32):
        if size <= np.iinfo(kind).max + 1 - NO_TAPS:
            return np.dtype(kind)
    raise MisfitError(
        f"`window_shape` must have less than 2**32 - 1 elements, which are numbered; got {size}. "
        "Pool its axes one after the other."
    )
