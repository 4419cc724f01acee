"""How the maximum of each window becomes an XLA program, with all of its derivatives.

The element that a window picks is the first of its maxima in row-major order, or the last of its
NaNs. It is known by its tap, the row-major position within the window, one byte per output. Given
the taps, the derivative is a masked sum, which is linear: that gives jvp, vjp and all higher orders
without select-and-scatter, and it is what the backward pass keeps instead of the input.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._geometry import AxisWindow
from jaxpool._lowering import (
    Windows,
    all_taps,
    along,
    borders_apart,
    by_runs,
    directly,
    fold_runs,
    groups,
    in_rows,
    lowest_value,
    numeric_module,
    once,
    pad,
    pad_windows,
    padded_taps_at,
    taps_at,
    widened,
    window_size,
)
from jaxpool._lowering_primitives import WindowFold, WindowMap
from jaxpool._lowering_tangent import (
    NO_TAPS,
    steps,
    tangent_forward,
    tangent_in_blocks,
    tangent_in_slices,
)

Implementation = Literal["taps", "axes", "reduce_window"]
IMPLEMENTATIONS = ("taps", "axes", "reduce_window")

# Windows of up to this many elements are compared all at once, larger ones axis by axis. Likewise
# with their derivative.
_AT_ONCE = {"cpu": 9, "default": 49}
# By XLA's own form on TPUs. Larger ones take up to a minute to compile, those of 16 bits sooner.
_NATIVE_AT_ONCE, _NATIVE_AT_ONCE_NARROW = 49, 25
# Along one axis, a window of up to this many elements is taken tap by tap, a larger one in runs.
_FEW = {"cpu": 16, "default": 64}

Picked = tuple[jax.Array, Any]  # maxima, and the taps that they come from
# What is added to the elements at each tap, in row-major order; of size 1 along pooled axes.
Offsets = tuple[jax.Array, ...] | None


def window_max(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    implementation: Implementation | None = None,
    offsets: Offsets = None,
) -> jax.Array:
    """Maximum of each window of `x`, of its `valid` elements if given, plus their `offsets`.

    "taps" compares all elements of a window at once, "axes" one axis after the other; both agree
    bit for bit. "reduce_window" is XLA's own maximum and gradient. Without a choice, each platform
    that is lowered for gets what is fastest there. With offsets, which need not be a sum over axes,
    it is "taps" everywhere.
    """
    return _window_max(x, valid, offsets, tuple(sorted(windows)), implementation)


@functools.partial(jax.jit, static_argnames=("windows", "implementation"))
def _window_max(
    x: jax.Array, valid: jax.Array | None, offsets: Offsets, windows: Windows, implementation: Any
) -> jax.Array:
    if offsets is not None:
        return _max_by_taps(x, valid, offsets, windows, "taps")
    if implementation == "reduce_window":
        return _native_max(x, valid, windows)
    if not known(windows) and window_size(windows) > _AT_ONCE["default"]:
        return _picked_by_axes(x, valid, windows=windows)[0]  # selections, which JAX differentiates
    return _max_by_taps(x, valid, None, windows, implementation)


@functools.partial(jax.jit, static_argnames="windows")
def window_argmax(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """Row-major position, on the pooled axes of the unpadded `x`, of what each window picks."""
    windows = tuple(sorted(windows))
    taps = _picked(windows, None, "taps")(x, valid, None)[0].astype(np.int32)
    position, size = jnp.zeros(taps.shape, np.int32), 1
    for axis, w in reversed(windows):
        starts = jnp.asarray(w.starts(numeric_module(w.output, w.low)), np.int32)
        place = along(starts, axis, x.ndim) + taps % w.window * w.dilation
        position = position + place * size
        taps, size = taps // w.window, size * w.length
    return position


def _picked(
    windows: Windows, style: str | None, result: Literal["maxima", "taps", "both"]
) -> WindowFold:
    """The function of x, `valid` and offsets to what is asked for.

    With "both", taps are those that `sum_of_picked` is to read, which XLA's own form does not.
    """
    taps = tap_dtype(windows)
    dtypes = {"maxima": (None,), "taps": (taps,), "both": (None, taps)}[result]
    return WindowFold(_picked_form, dtypes, windows, (style, result))


def _picked_form(platform: str, windows: Windows, style: str | None, result: str) -> Callable:
    kind = "cpu" if platform == "cpu" else "default"
    limit = _limits(style)[kind]
    if platform == "tpu" and result != "taps" and _native(windows, style):
        form = _native_picked
    elif kind == "default":
        form = functools.partial(_picked_in_passes, limit=limit)
    elif window_size(windows) <= limit:
        form = _picked_on_cpu
    else:
        form = functools.partial(_picked_by_axes, once=once, only_maxima=result == "maxima")
    form = functools.partial(form, windows=windows)
    if result == "both":
        return functools.partial(once, form) if kind == "cpu" else form
    return lambda *operands: form(*operands)[result == "taps" :][:1]


def _picked_on_cpu(
    x: jax.Array, valid: jax.Array | None, offsets: Offsets = None, *, windows: Windows
) -> Picked:
    """As at once, without a padded copy of x where that copy takes longer than the comparisons."""
    if x.dtype.itemsize == 1 and jnp.issubdtype(x.dtype, jnp.floating):
        # Widens each element once and not for each tap.
        return _picked_by_axes(x, valid, windows=windows)
    if borders_apart(x, windows):
        # XLA:CPU would write out slices of bfloat16, which it does not know as a dtype of its own.
        wide = widened(x) if x.dtype == jnp.bfloat16 else x
        at_once = functools.partial(_picked_at_once, offsets=offsets)
        y, taps = by_runs(at_once, (wide, valid), (), windows)
        return y.astype(x.dtype), taps
    return _picked_at_once(x, valid, windows, offsets)


def _limits(style: str | None) -> dict[str, float]:
    """The number of elements up to which each platform takes them at once."""
    if style is None:
        return dict(_AT_ONCE)
    return dict.fromkeys(_AT_ONCE, math.inf if style == "taps" else 0)


def _by_platform(forms: dict[str, Callable], *operands: Any) -> Any:
    """The form for the platform that is lowered for."""
    if len(forms) == 1:
        return forms["default"](*operands)
    return lax.platform_dependent(*operands, **forms)


def _native_max(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """XLA's own windowed maximum, per axis where windows are large: those compile slowly."""
    dtype = x.dtype
    at_once = _NATIVE_AT_ONCE if dtype.itemsize > 2 else _NATIVE_AT_ONCE_NARROW
    # TPUs compare in 32 bits anyway, and gradients of 16 bits would be added up in 16.
    x = _masked(widened(x), valid)
    for group in reversed(groups(windows, at_once)):
        dimensions, strides, padding = [1] * x.ndim, [1] * x.ndim, [(0, 0)] * x.ndim
        dilations = [1] * x.ndim
        for axis, w in group:
            dimensions[axis], strides[axis], dilations[axis] = w.window, w.stride, w.dilation
            padding[axis] = (w.low, w.right)
        x = lax.reduce_window(
            x,
            lowest_value(x.dtype),
            lax.max,
            dimensions,
            strides,
            padding,
            window_dilation=dilations,
        )
        for axis, w in group:
            x = lax.slice_in_dim(x, 0, w.output, 1, axis)
    return x.astype(dtype)


def _masked(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """`x` with the lowest value where it is not valid."""
    return x if valid is None else jnp.where(valid, x, lowest_value(x.dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _max_by_taps(
    x: jax.Array, valid: jax.Array | None, offsets: Offsets, windows: Windows, style: str | None
) -> jax.Array:
    """Maxima; the taps that they come from are computed only where a derivative asks."""
    return _picked(windows, style, "maxima")(x, valid, offsets)[0]


def _native(windows: Windows, style: str | None) -> bool:
    """Whether TPUs get XLA's own form, which has no gradient for windows with holes."""
    return style is None and all(w.dilation == 1 for _, w in windows)


@_max_by_taps.defjvp
def _max_by_taps_jvp(
    windows: Windows, style: str | None, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid, offsets = primals
    y, taps = _picked(windows, style, "both")(x, valid, offsets)
    tangent = sum_of_picked(tangents[0], x, valid, taps, windows, style)
    return (
        with_taps(x, valid, offsets, y, taps, windows, style),
        _add_picked(tangent, tangents[2], taps),
    )


def _native_picked(
    x: jax.Array, valid: jax.Array | None, offsets: None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """Maxima, and taps that are never read: XLA's own gradient looks at x again."""
    del offsets  # none
    y = _native_max(x, valid, windows)
    return y, lax.full_like(y, 0, tap_dtype(windows))


@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6))
def with_taps(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: Offsets,
    y: jax.Array,
    taps: jax.Array,
    windows: Windows,
    style: str | None,
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the picked `taps` say."""
    del x, valid, offsets, taps, windows, style
    return y


@with_taps.defjvp
def _with_taps_jvp(
    windows: Windows, style: str | None, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid, _, _, taps = primals
    tangent = sum_of_picked(tangents[0], x, valid, taps, windows, style)
    tangent = _add_picked(tangent, tangents[2], taps)
    return with_taps(*primals, windows, style), tangent


def _add_picked(tangent: jax.Array, offsets: Offsets, taps: jax.Array) -> jax.Array:
    """`tangent` with the tangents of the picked offsets."""
    if offsets is None:
        return tangent

    def picked(offsets: list[jax.Array], taps: jax.Array) -> jax.Array:
        zero = np.zeros((), offsets[0].dtype)
        numbered = enumerate(offsets)
        terms = (jnp.where(taps == np.array(t, taps.dtype), o, zero) for t, o in numbered)
        return functools.reduce(lax.add, terms)

    # The checkpoint makes the backward pass keep `taps` alone.
    rule = jax.checkpoint(functools.partial(in_rows, picked), prevent_cse=False)
    return tangent + rule(list(offsets), taps)


def _picked_at_once(
    x: jax.Array, valid: jax.Array | None, windows: Windows, offsets: Offsets = None
) -> Picked:
    """All elements of a window compared with one another, over a padded copy of x."""
    narrow, x = x.dtype, _masked(widened(x), valid)
    y, _, picked = _compared(x, valid, None, windows, tap_dtype(windows), offsets=offsets)
    return y.astype(narrow), picked


def _picked_in_passes(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: Offsets = None,
    *,
    windows: Windows,
    limit: float,
) -> Picked:
    """For GPUs, whose programs pad what they read as they go: no padded copy is made.

    All axes at once if a window has at most `limit` elements, else the last one first.
    """
    narrow, dtype, picked, unit = x.dtype, tap_dtype(windows), None, 1
    if x.dtype.itemsize == 1 or offsets is not None:
        x = widened(x)  # of 8 bits not all floats have an infinity, and sums are in 32
    for step in reversed(groups(windows, limit)):
        x = _masked(x, valid)
        x, valid, picked = _compared(
            x, valid, picked, step, dtype, unit=unit, pad_each=True, offsets=offsets
        )
        unit *= window_size(step)
    return x.astype(narrow), picked


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
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """Maxima, whether any element was valid, and the taps that they come from, in `dtype`.

    Taps count in `unit` and are added to those along `later` axes.
    """

    def reader(array: Any, value: Any) -> Callable:
        if array is None:
            return lambda taps: None
        if pad_each:
            return lambda taps: padded_taps_at(array, windows, taps, value)
        padded = pad_windows(array, windows, value)
        return lambda taps: taps_at(padded, windows, taps)

    element, is_valid = reader(x, lowest_value(x.dtype)), reader(valid, False)
    later_taps = reader(later, 0)
    firsts = [_first_inside(w, axis, x.ndim) for axis, w in windows]
    best = None
    for number, taps in enumerate(all_taps(windows)):
        new, new_valid, picked = element(taps), is_valid(taps), later_taps(taps)
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
        elif (begins := _begins(firsts, taps)) is not None:
            take = take | begins
        best = lax.select(take, new, y), seen, lax.select(take, picked, y_picked)
    assert best is not None
    return best


def plus(x: jax.Array, offset: jax.Array) -> jax.Array:
    """The sum, where an offset of -inf leaves out what it is added to, inf and NaN included."""
    lowest = lowest_value(x.dtype)
    return jnp.where(offset == lowest, lowest, x + offset)


def _first_inside(w: AxisWindow, axis: int, ndim: int) -> Any:
    """For each window along `axis`, its first tap inside the input; None if it is the first."""
    if isinstance(w.low, int) and w.low == 0:
        return None
    xp = numeric_module(w.output, w.length, w.low)
    tap = -(xp.minimum(w.starts(xp), 0) // w.dilation)  # ceil(-start / dilation), at least 0
    return along(tap, axis, ndim)


def _begins(firsts: list[Any], taps: tuple[int, ...]) -> Any:
    """For which windows `taps` are the first inside the input; None if for none.

    Padding before the input comes before its elements, and would be picked in place of -inf.
    """
    begins = None
    for first, tap in zip(firsts, taps, strict=True):
        here = np.bool_(tap == 0) if first is None else first == tap
        begins = here if begins is None else begins & here
    return None if isinstance(begins, np.ndarray | np.generic) and not begins.any() else begins


def _picked_by_axes(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: None = None,
    *,
    windows: Windows,
    once: Callable = directly,
    only_maxima: bool = False,
) -> Picked:
    """Maxima and the taps that they come from, one axis after the other, the last one first.

    Selections have all derivatives, so this form needs no rule.
    """
    del offsets  # none: they need not be a sum over axes
    narrow, x = x.dtype, _masked(widened(x), valid)
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
                place = numeric_module(x.shape[axis]).arange(x.shape[axis])
                here = along(jnp.asarray(place >= window.low), axis, x.ndim)
        if picked is not None:
            shape = list(picked.shape)
            shape[axis] = x.shape[axis]
            picked = jnp.broadcast_to(picked, shape)
        pick = functools.partial(_pick, weight=weight)
        carrier = (x, here, picked)
        x, here, picked = fold_runs(carrier, axis, window, pick, once, _FEW["cpu"])
        # Without a mask every window has an element to pick, so no cell of this pass is invalid.
        valid = None if valid is None else here
        weight *= window.window
    if picked is not None:
        picked = jnp.broadcast_to(picked, x.shape)
    return x.astype(narrow), picked


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
    kinds = (np.dtype(kind) for kind in (np.uint8, np.uint16, np.uint32))
    return next(kind for kind in kinds if size <= np.iinfo(kind).max + 1 - NO_TAPS)


def sum_of_picked(
    tangent: jax.Array,
    x: jax.Array,
    valid: jax.Array | None,
    taps: jax.Array,
    windows: Windows,
    style: str | None,
) -> jax.Array:
    """The tangents of the picked elements: a masked sum over all taps, linear in `tangent`."""
    if known(windows):
        return WindowMap(_sum_forms, windows, (style,))(tangent, taps, x, valid)

    def by_platform(tangent: jax.Array, taps: jax.Array, x: jax.Array, valid: Any) -> jax.Array:
        forms = {"default": _ignoring_x(functools.partial(tangent_in_slices, windows=windows))}
        if _native(windows, style):
            forms["tpu"] = functools.partial(_native_tangent, windows=windows)
        return _by_platform(forms, tangent, taps, x, valid)

    # The checkpoint makes the backward pass keep `taps` and not the masks made of them.
    return jax.checkpoint(by_platform, prevent_cse=False)(tangent, taps, x, valid)


def _sum_forms(platform: str, windows: Windows, style: str | None) -> tuple[Callable, Callable]:
    """`sum_of_picked` for a platform, and as what it is transposed."""
    if platform == "tpu" and _native(windows, style):
        native = functools.partial(_native_tangent, windows=windows)
        return functools.partial(native, forward=True), native
    cpu = platform == "cpu"
    kind = "cpu" if cpu else "default"
    limit = _limits(style)[kind]
    way = steps(windows, limit, _FEW[kind], not cpu)
    in_blocks = functools.partial(tangent_in_blocks, way=way, once=once if cpu else directly)
    forward = in_blocks
    if window_size(windows) <= limit:
        forward = functools.partial(tangent_forward, windows=windows, on_cpu=cpu)
    return _ignoring_x(forward), _ignoring_x(in_blocks)


def _ignoring_x(form: Callable) -> Callable:
    return lambda tangent, taps, x, valid: form(tangent, taps)


def _native_tangent(
    tangent: jax.Array,
    taps: jax.Array,
    x: jax.Array,
    valid: jax.Array | None,
    *,
    windows: Windows,
    forward: bool = False,
) -> jax.Array:
    """By XLA's own rules."""
    del taps
    if (valid is not None or forward) and jnp.issubdtype(x.dtype, jnp.floating):
        # What is masked is -inf, and would take the gradient of nothing but -inf. And forward, XLA
        # has a tangent of 0 for windows of nothing but -inf.
        x = jnp.maximum(x, np.array(jnp.finfo(x.dtype).min, x.dtype))
    return jax.jvp(lambda x: _native_max(x, valid, windows), (x,), (tangent,))[1]


def known(windows: Windows) -> bool:
    """Whether no size along pooled axes is symbolic."""
    return all(isinstance(w.length, int) and isinstance(w.low, int) for _, w in windows)
