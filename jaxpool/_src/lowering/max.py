"""How the maximum of each window becomes an XLA program, with all of its derivatives.

The element that a window picks is the first of its maxima in row-major order, or the last of its
NaNs. It is known by its tap, the row-major position within the window, one byte per output. Given
the taps, the derivative is a masked sum, which is linear: that gives jvp, vjp and all higher orders
without select-and-scatter, and it is what the backward pass keeps instead of the input.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.footprints import Shaped, Windows, in_order, tap_count
from jaxpool._src.lowering.picks import (
    MAX_RUNS,
    Offsets,
    Picked,
    exceeds,
    masked_out,
    picked_at_once,
    picked_by_axes,
    picked_in_passes,
    tap_dtype,
)
from jaxpool._src.lowering.primitives import WindowFold, WindowMap
from jaxpool._src.lowering.shifts import reads_shifted
from jaxpool._src.lowering.tangent import (
    steps,
    tangent_fetched,
    tangent_forward,
    tangent_in_blocks,
    tangent_in_slices,
)
from jaxpool._src.lowering.taps import pick, scan
from jaxpool._src.lowering.windows import (
    by_runs,
    fused,
    groups,
    in_rows,
    known,
    lowest_value,
    materialized,
    numbered,
    pad_windows,
    peels_borders,
    widened,
    window_size,
)


class Style(NamedTuple):
    """Which form, None for what each platform has, and whether it is of the lowest element."""

    form: str | None = None
    lowest: bool = False


Implementation = Literal["taps", "axes", "reduce_window"]
IMPLEMENTATIONS = ("taps", "axes", "reduce_window")

# Windows of up to this many elements are compared all at once, larger ones axis by axis. Likewise
# with their derivative.
_AT_ONCE = {"cpu": 9, "default": 49}

# Footprints of up to this many elements are written out one by one; larger ones run in a loop.
_MOST_WRITTEN = 49

# By XLA's own form on TPUs. Larger ones take up to a minute to compile, those of 16 bits sooner.
_NATIVE_AT_ONCE, _NATIVE_AT_ONCE_NARROW = 49, 25


def window_max(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    implementation: Implementation | None = None,
    offsets: Offsets = None,
    *,
    lowest: bool = False,
) -> jax.Array:
    """Maximum of each window of `x`, of its `valid` elements if given, plus their `offsets`.

    "taps" compares all elements of a window at once, "axes" one axis after the other; both agree
    bit for bit. "reduce_window" is XLA's own maximum and gradient. Without a choice, each platform
    that is lowered for gets what is fastest there. With offsets, which need not be a sum over axes,
    it is "taps" everywhere. If `lowest`, of floats, it is the minimum.
    """
    return _window_max(x, valid, offsets, in_order(windows), Style(implementation, lowest))


@functools.partial(jax.jit, static_argnames=("windows", "style"))
def _window_max(
    x: jax.Array, valid: jax.Array | None, offsets: Offsets, windows: Windows, style: Style
) -> jax.Array:
    if (isinstance(windows, Shaped) and tap_count(windows) <= _MOST_WRITTEN) or offsets is not None:
        return _max_by_taps(x, valid, offsets, windows, style._replace(form="taps"))
    large = not known(windows) and window_size(windows) > _AT_ONCE["default"]
    if not (isinstance(windows, Shaped) or style.form == "reduce_window" or large):
        return _max_by_taps(x, valid, None, windows, style)
    if style.lowest:
        return -_window_max(-x, valid, None, windows, Style(style.form))
    if isinstance(windows, Shaped):
        return pick(x, _picked_in_a_loop(x, valid, windows), windows)
    if style.form == "reduce_window":
        return _native_max(x, valid, windows)
    return picked_by_axes(x, valid, windows=windows)[0]  # selections, which JAX differentiates


@functools.partial(jax.jit, static_argnames=("windows", "lowest"))
def window_max_with_argmax(
    x: jax.Array, valid: jax.Array | None, windows: Windows, *, lowest: bool = False
) -> tuple[jax.Array, jax.Array]:
    """`window_max` and `window_argmax`, of -x if `lowest`, which share what they compare."""
    windows = in_order(windows)
    looped = isinstance(windows, Shaped) and tap_count(windows) > _MOST_WRITTEN
    if looped or not known(windows):
        y = window_max(x, valid, windows, lowest=lowest)
        return y, window_argmax(-x if lowest else x, valid, windows)
    style = Style("taps" if isinstance(windows, Shaped) else None, lowest)
    y, taps = _picked(windows, style, "all")(x, valid, None)
    y = with_taps(x, valid, None, y, taps, windows, style)  # which has the derivative
    return y, _positions(taps.astype(np.int32), windows)


@functools.partial(jax.jit, static_argnames="windows")
def window_argmax(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """Row-major position, on the pooled axes of the unpadded `x`, of what each window picks."""
    windows = in_order(windows)
    if isinstance(windows, Shaped) and tap_count(windows) > _MOST_WRITTEN:
        picked = _picked_in_a_loop(x, valid, windows)
    else:
        style = Style("taps" if isinstance(windows, Shaped) else None)
        picked = _picked(windows, style, "taps")(x, valid, None)[0].astype(np.int32)
    return _positions(picked, windows)


def _positions(picked: jax.Array, windows: Windows) -> jax.Array:
    position, size = jnp.zeros(picked.shape, np.int32), 1
    for axis, w in reversed(windows):
        start = numbered(axis, w.output, position.ndim) * np.int32(w.stride) - w.low
        place = start + picked % np.int32(w.window) * np.int32(w.dilation)
        position = position + place * size
        picked, size = picked // np.int32(w.window), size * w.length
    return position


def _picked_in_a_loop(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """The taps that windows with a large footprint pick, -1 where none is valid."""
    outputs = {axis: w.output for axis, w in windows}
    shape = [outputs.get(axis, size) for axis, size in enumerate(x.shape)]
    x = widened(lax.stop_gradient(x))

    def compare(best: tuple[jax.Array, jax.Array], element: jax.Array, number: Any) -> Any:
        y, picked = best
        take = exceeds(element, y) | (picked < 0)
        return jnp.where(take, element, y), jnp.where(take, number, picked)

    nothing = jnp.zeros(shape, x.dtype), jnp.full(shape, -1, np.int32)
    return scan(compare, nothing, x, windows, valid, _MOST_WRITTEN)[1]


def _picked(
    windows: Windows, style: Style, result: Literal["maxima", "taps", "both", "all"]
) -> WindowFold:
    """The function of x, `valid` and offsets to what is asked for.

    With "both", taps are those that `sum_of_picked` is to read, which XLA's own form does not; with
    "all", they are there in any form.
    """
    taps = tap_dtype(windows)
    dtypes = {"maxima": (None,), "taps": (taps,)}.get(result, (None, taps))
    return WindowFold(_picked_form, dtypes, windows, (style, result))


def _picked_form(
    platform: str, windows: Windows, style: Style, result: str, *, several: bool
) -> Callable:
    kind = "cpu" if platform == "cpu" else "default"
    limit = _limits(style)[kind]
    shifted = several and reads_shifted(windows)
    at_once = kind == "cpu" and not shifted and window_size(windows) <= limit
    if platform == "tpu" and result in ("maxima", "both") and _native(windows, style):
        form = _native_picked
    elif shifted:
        form = functools.partial(picked_in_passes, limit=limit, shifted=True)
    elif kind == "default":
        form = functools.partial(picked_in_passes, limit=limit)
    elif at_once:
        form = _picked_on_cpu
    else:
        form = functools.partial(
            picked_by_axes, materialized=materialized, only_maxima=result == "maxima"
        )
    form = functools.partial(form, windows=windows)
    if style.lowest:
        if at_once:
            form = functools.partial(form, lowest=True)
        else:
            form = functools.partial(_of_negative, form)
    if result in ("both", "all"):
        return functools.partial(materialized, form) if kind == "cpu" else form
    return lambda *operands: form(*operands)[result == "taps" :][:1]


def _of_negative(form: Callable, x: jax.Array, *others: Any) -> Picked:
    """Here and not around the primitive, where it would be a copy of x in memory."""
    y, taps = form(-x, *others)
    return -y, taps


def _picked_on_cpu(
    x: jax.Array,
    valid: jax.Array | None,
    offsets: Offsets = None,
    *,
    windows: Windows,
    lowest: bool = False,
) -> Picked:
    """As at once, without a padded copy of x where that copy takes longer than the comparisons."""
    narrow = x.dtype.itemsize == 1 and jnp.issubdtype(x.dtype, jnp.floating)
    if narrow and not isinstance(windows, Shaped):
        # Widens each element once and not for each tap.
        by_axes = functools.partial(picked_by_axes, windows=windows)
        return _of_negative(by_axes, x, valid) if lowest else by_axes(x, valid)
    # XLA:CPU would write out slices of bfloat16, which it does not know as a dtype of its own.
    bits = x.dtype == jnp.bfloat16
    stored = lax.bitcast_convert_type(x, np.uint16) if bits else x
    at_once = functools.partial(picked_at_once, offsets=offsets, lowest=lowest, bits=bits)
    if peels_borders(x, windows):
        y, taps = by_runs(at_once, (stored, valid), (), windows)
    else:
        y, taps = at_once(stored, valid, windows)
    return lax.bitcast_convert_type(y, x.dtype) if bits else y, taps


def _limits(style: Style) -> dict[str, float]:
    """The number of elements up to which each platform takes them at once."""
    if style.form is None:
        return dict(_AT_ONCE)
    return dict.fromkeys(_AT_ONCE, math.inf if style.form == "taps" else 0)


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
    x = masked_out(widened(x), valid)
    # Its transpose, which scatters to what is selected, takes numbers for padding.
    in_place = known(windows)
    if not in_place:
        x = pad_windows(x, windows, lowest_value(x.dtype))
    for group in reversed(groups(windows, at_once)):
        dimensions, strides, padding = [1] * x.ndim, [1] * x.ndim, [(0, 0)] * x.ndim
        dilations = [1] * x.ndim
        for axis, w in group:
            dimensions[axis], strides[axis], dilations[axis] = w.window, w.stride, w.dilation
            padding[axis] = (w.low, w.right) if in_place else (0, 0)
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _max_by_taps(
    x: jax.Array, valid: jax.Array | None, offsets: Offsets, windows: Windows, style: Style
) -> jax.Array:
    """Maxima; the taps that they come from are computed only where a derivative asks."""
    return _picked(windows, style, "maxima")(x, valid, offsets)[0]


def _native(windows: Windows, style: Style) -> bool:
    """Whether TPUs get XLA's own form, which has no gradient for windows with holes."""
    return style.form is None and all(w.dilation == 1 for _, w in windows)


@_max_by_taps.defjvp
def _max_by_taps_jvp(
    windows: Windows, style: Style, primals: Any, tangents: Any
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
    style: Style,
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the picked `taps` say."""
    del x, valid, offsets, taps, windows, style
    return y


@with_taps.defjvp
def _with_taps_jvp(
    windows: Windows, style: Style, primals: Any, tangents: Any
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


def sum_of_picked(
    tangent: jax.Array,
    x: jax.Array,
    valid: jax.Array | None,
    taps: jax.Array,
    windows: Windows,
    style: Style,
) -> jax.Array:
    """The tangents of the picked elements: a masked sum over all taps, linear in `tangent`."""
    if known(windows):
        return WindowMap(_sum_forms, windows, (style,))(tangent, taps, x, valid)

    def by_platform(tangent: jax.Array, taps: jax.Array, x: jax.Array, valid: Any) -> jax.Array:
        forms = {"default": _ignoring_x(functools.partial(tangent_in_slices, windows=windows))}
        if _native(windows, style):
            forms["tpu"] = functools.partial(_native_tangent, windows=windows, lowest=style.lowest)
        return _by_platform(forms, tangent, taps, x, valid)

    # The checkpoint makes the backward pass keep `taps` and not the masks made of them.
    return jax.checkpoint(by_platform, prevent_cse=False)(tangent, taps, x, valid)


def _sum_forms(
    platform: str, windows: Windows, style: Style, *, several: bool
) -> tuple[Callable, Callable]:
    """`sum_of_picked` for a platform, and as what it is transposed."""
    if platform == "tpu" and _native(windows, style):
        native = functools.partial(_native_tangent, windows=windows, lowest=style.lowest)
        return functools.partial(native, forward=True), native
    cpu = platform == "cpu"
    kind = "cpu" if cpu else "default"
    limit = _limits(style)[kind]
    shifted = several and reads_shifted(windows)
    path = steps(windows, limit, MAX_RUNS[kind], not cpu, shifted)
    in_blocks = functools.partial(
        tangent_in_blocks, path=path, materialized=materialized if cpu else fused
    )
    forward = in_blocks
    if window_size(windows) <= limit and not shifted:
        forward = functools.partial(tangent_forward, windows=windows, on_cpu=cpu)
    elif cpu and not several and _are_few(windows):
        forward = functools.partial(tangent_fetched, windows=windows)
    return _ignoring_x(forward), _ignoring_x(in_blocks)


def _are_few(windows: Windows) -> bool:
    """Whether windows are so few beside elements that each may fetch its own."""
    return 4 * math.prod(w.output for _, w in windows) <= math.prod(w.length for _, w in windows)


def _ignoring_x(form: Callable) -> Callable:
    return lambda tangent, taps, x, valid: form(tangent, taps)


def _native_tangent(
    tangent: jax.Array,
    taps: jax.Array,
    x: jax.Array,
    valid: jax.Array | None,
    *,
    windows: Windows,
    lowest: bool,
    forward: bool = False,
) -> jax.Array:
    """By XLA's own rules."""
    del taps
    x = -x if lowest else x
    apart = valid is not None or not known(windows)
    if (apart or forward) and jnp.issubdtype(x.dtype, jnp.floating):
        # What is masked, or padding of its own, is -inf, and would take the gradient of nothing but
        # -inf. And forward, XLA has a tangent of 0 for windows of nothing but -inf.
        x = jnp.maximum(x, np.array(jnp.finfo(x.dtype).min, x.dtype))
    return jax.jvp(lambda x: _native_max(x, valid, windows), (x,), (tangent,))[1]
