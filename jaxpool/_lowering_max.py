"""How the maximum of each window becomes an XLA program, with all of its derivatives.

The element that a window picks is the first of its maxima in row-major order, or the last of its
NaNs. It is known by its tap, the row-major position within the window, one byte per output. Given
the taps, the derivative is a masked sum, which is linear: that gives jvp, vjp and all higher orders
without select-and-scatter, and it is what the backward pass keeps instead of the input.
"""

import functools
import itertools
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
    along,
    fold_axis,
    lowest_value,
    numeric_module,
    pad,
    pad_windows,
    taps_at,
)

Implementation = Literal["taps", "axes", "reduce_window"]
IMPLEMENTATIONS = ("taps", "axes", "reduce_window")

# Windows of up to this many elements are compared all at once, larger ones axis by axis.
_TAPS_AT_ONCE = {"cpu": 9, "default": 49}


def window_max(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Maximum of each window of `x`, of its `valid` elements if given.

    "taps" compares all elements of a window at once, "axes" one axis after the other (large ones
    in log2(k) steps); both agree bit for bit. "reduce_window" is XLA's own maximum and gradient.
    Without a choice, each platform that is lowered for gets what is fastest there.
    """
    return _compiled_max(x, valid, tuple(sorted(windows)), implementation)


@functools.partial(jax.jit, static_argnames="windows")
def window_argmax(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """Row-major position, on the pooled axes of the unpadded `x`, of what each window picks."""
    windows = tuple(sorted(windows))
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    forms = {
        platform: functools.partial(_values_and_taps, windows=windows, style=style)
        for platform, style in _styles(windows, None).items()
    }
    taps = _by_platform(forms, x, valid)[1].astype(np.int32)
    position, size = jnp.zeros(taps.shape, np.int32), 1
    for axis, w in reversed(windows):
        starts = jnp.asarray(w.starts(numeric_module(w.output, w.low)), np.int32)
        place = along(starts, axis, x.ndim) + taps % w.window * w.dilation
        position = position + place * size
        taps, size = taps // w.window, size * w.length
    return position


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _max(x: jax.Array, valid: jax.Array | None, windows: Windows, implementation: Any) -> jax.Array:
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    native = functools.partial(_native_max, windows=windows)
    if implementation == "reduce_window":
        return native(x)
    forms = {
        name: functools.partial(_values, windows=windows, style=style)
        for name, style in _styles(windows, implementation).items()
    }
    if _native_by_default(windows, implementation):
        forms["tpu"] = native
    return _by_platform(forms, x)


@_max.defjvp
def _max_jvp(
    windows: Windows, implementation: Any, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid = primals
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    y, taps = _picked(lax.stop_gradient(x), valid, windows, implementation)
    y = _with_taps(x, y, taps, windows, implementation)
    return y, _tangent(tangents[0], x, taps, windows, implementation)


_compiled_max = jax.jit(_max, static_argnums=(2, 3))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _with_taps(
    x: jax.Array, y: jax.Array, taps: jax.Array, windows: Windows, implementation: Any
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the picked `taps` say."""
    del x, taps, windows, implementation
    return y


@_with_taps.defjvp
def _with_taps_jvp(
    windows: Windows, implementation: Any, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, y, taps = primals
    tangent = _tangent(tangents[0], x, taps, windows, implementation)
    return _with_taps(x, y, taps, windows, implementation), tangent


def _picked(
    x: jax.Array, valid: jax.Array | None, windows: Windows, implementation: Any
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the taps that they come from; x holds the lowest value where not valid."""

    def native(x: jax.Array, valid: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        del valid
        y = _native_max(x, windows)
        return y, jnp.zeros(y.shape, _tap_dtype(windows))  # never read

    if implementation == "reduce_window":
        return native(x, valid)
    forms = {
        name: functools.partial(_values_and_taps, windows=windows, style=style)
        for name, style in _styles(windows, implementation).items()
    }
    cpu = forms.get("cpu", forms["default"])
    forms["cpu"] = functools.partial(_once, cpu)
    if _native_by_default(windows, implementation):
        forms["tpu"] = native
    return _by_platform(forms, x, valid)


def _tangent(
    tangent: jax.Array, x: jax.Array, taps: jax.Array, windows: Windows, implementation: Any
) -> jax.Array:
    """The tangents of the picked elements, a linear function of `tangent`."""

    def native(tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        del taps
        return jax.jvp(functools.partial(_native_max, windows=windows), (x,), (tangent,))[1]

    def by_taps(style: str, tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        del x
        return (_tangent_at_once if style == "taps" else _tangent_by_axes)(tangent, taps, windows)

    def choose(tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        if implementation == "reduce_window":
            return native(tangent, x, taps)
        forms = {
            name: functools.partial(by_taps, style)
            for name, style in _styles(windows, implementation).items()
        }
        if _native_by_default(windows, implementation):
            forms["tpu"] = native
        return _by_platform(forms, tangent, x, taps)

    # The checkpoint makes the backward pass keep `taps` and not what is computed from them.
    return jax.checkpoint(choose, prevent_cse=False)(tangent, x, taps)


def _styles(windows: Windows, implementation: Any) -> dict[str, str]:
    """For each platform, whether to take all taps at once or axis by axis."""
    if implementation is not None:
        return {"default": implementation}
    size = math.prod(w.window for _, w in windows)
    several = sum(w.window > 1 for _, w in windows) > 1
    long = max(w.window for _, w in windows) > 16
    styles = {
        platform: "axes" if (size > limit and several) or long else "taps"
        for platform, limit in _TAPS_AT_ONCE.items()
    }
    if len(set(styles.values())) == 1:
        return {"default": styles["default"]}
    return styles


def _native_by_default(windows: Windows, implementation: Any) -> bool:
    """Whether TPUs get XLA's own form, which has no gradient for windows with holes."""
    return implementation is None and all(w.dilation == 1 for _, w in windows)


def _by_platform(forms: dict[str, Callable], *operands: Any) -> Any:
    """The form for the platform that is lowered for."""
    if len(forms) == 1:
        return forms["default"](*operands)
    return lax.platform_dependent(*operands, **forms)


def _once(function: Callable, *operands: Any) -> Any:
    """``function(*operands)``, computed once. XLA:CPU fuses cheap producers into all of their uses.

    It does not fuse a conditional, and it cannot see through a barrier that the predicate is True
    until fusion is done.
    """

    def never(*operands: Any) -> Any:
        shapes = jax.eval_shape(function, *operands)
        return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    return lax.cond(lax.optimization_barrier(np.True_), function, never, *operands)


def _native_max(x: jax.Array, windows: Windows) -> jax.Array:
    """XLA's own windowed maximum, per axis where windows are large: those compile slowly."""
    groups = [windows]
    if math.prod(w.window for _, w in windows) > _TAPS_AT_ONCE["default"]:
        groups = [(window,) for window in reversed(windows)]
    for group in groups:
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
    return x


def _values(x: jax.Array, windows: Windows, style: str) -> jax.Array:
    """Maxima alone; ``lax.max`` propagates NaN, elementwise."""
    x = pad_windows(x, windows, lowest_value(x.dtype))
    if style == "taps":
        return functools.reduce(lax.max, (taps_at(x, windows, taps) for taps in _all_taps(windows)))
    for axis, window in reversed(windows):
        x = fold_axis(x, axis, window, lambda a, b, _: lax.max(a, b), idempotent=True)
    return x


def _values_and_taps(
    x: jax.Array, valid: jax.Array | None, windows: Windows, style: str
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the taps that they come from, by comparisons alone."""
    if style == "axes":
        return _picked_by_axes(x, valid, windows)
    return _picked_at_once(x, valid, windows)


def _picked_at_once(
    x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    x = pad_windows(x, windows, lowest_value(x.dtype))
    valid = None if valid is None else pad_windows(valid, windows, False)
    # Padding on the left comes before -inf in the input but must not be picked, so each window
    # starts from its first tap inside.
    dtype = _tap_dtype(windows)
    y = picked = seen = None
    for number, taps in enumerate(_all_taps(windows)):
        element = taps_at(x, windows, taps)
        there = None if valid is None else taps_at(valid, windows, taps)
        if y is None:
            y, seen = element, there
            picked = jnp.broadcast_to(_first_inside(windows, x.ndim).astype(dtype), y.shape)
            continue
        take = _exceeds(element, y)
        if there is not None:
            take |= ~seen
            seen |= there
        y = lax.select(take, element, y)
        picked = jnp.where(take, np.array(number, dtype), picked)
    return y, picked


def _picked_by_axes(
    x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    lowest, dtype = lowest_value(x.dtype), _tap_dtype(windows)
    picked, weight = jnp.zeros([1] * x.ndim, dtype), 1
    for axis, window in reversed(windows):
        here = valid
        if window.padded:
            widths = (window.low, window.right)
            x = pad(axis, widths, x, lowest)
            if valid is not None:
                here = pad(axis, widths, valid, False)
            elif not (isinstance(window.low, int) and window.low == 0):
                # Padding on the left comes before -inf in the input, but must not be picked. On
                # the right it comes after an element of the input in every window.
                place = numeric_module(x.shape[axis]).arange(x.shape[axis])
                here = along(jnp.asarray(place >= window.low), axis, x.ndim)
            if weight > 1:
                picked = pad(axis, widths, picked, 0)
        shape = [
            n if i == axis else m
            for i, (n, m) in enumerate(zip(x.shape, picked.shape, strict=True))
        ]
        picked = jnp.broadcast_to(picked, shape)
        pick = functools.partial(_pick, weight=weight)
        x, here, picked = fold_axis((x, here, picked), axis, window, pick, idempotent=True)
        # Without a mask every window has an element to pick, so no cell of this pass is invalid.
        valid = None if valid is None else here
        weight *= window.window
    return x, jnp.broadcast_to(picked, x.shape)


def _pick(a: Any, b: Any, taps: int, weight: int) -> Any:
    """The larger of two elements, of which the second is `taps` further on."""
    (x, x_valid, x_picked), (y, y_valid, y_picked) = a, b
    take = _exceeds(y, x)
    if x_valid is not None:
        take |= ~x_valid
    y_picked = y_picked + np.array(taps * weight, y_picked.dtype)
    return (
        lax.select(take, y, x),
        None if x_valid is None else x_valid | y_valid,
        jnp.where(take, y_picked, x_picked),
    )


def _exceeds(new: jax.Array, old: jax.Array) -> jax.Array:
    """Whether an element displaces an earlier one: it is larger, or NaN."""
    return (new > old) | (new != new)


def _tap_dtype(windows: Windows) -> Any:
    """The smallest dtype that numbers the taps of a window."""
    size = math.prod(w.window for _, w in windows)
    return np.dtype(np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.uint32)


def _all_taps(windows: Windows) -> Any:
    """All taps of a window, one index per axis, in row-major order."""
    return itertools.product(*(range(w.window) for _, w in windows))


def _first_inside(windows: Windows, ndim: int) -> Any:
    """For each window, the first tap that lies inside the input."""
    first, weight = np.zeros([1] * ndim, np.int32), 1
    for axis, w in reversed(windows):
        if not (isinstance(w.low, int) and w.low == 0):
            xp = numeric_module(w.output, w.length, w.low)
            starts = w.starts(xp)
            tap = -(xp.minimum(starts, 0) // w.dilation)  # ceil(-start / dilation), at least 0
            first = first + along(jnp.asarray(tap, np.int32), axis, ndim) * weight
        weight *= w.window
    return jnp.asarray(first)


def _tangent_at_once(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """Sum over all taps of the tangents there, where that tap was picked."""
    zero = np.zeros((), tangent.dtype)
    if all(w.dilation == 1 and isinstance(w.length, int) for _, w in windows if w.stride > 1):
        return _tangent_in_blocks(tangent, taps, windows)
    tangent = pad_windows(tangent, windows, 0)
    terms = (
        jnp.where(taps == np.array(number, taps.dtype), taps_at(tangent, windows, tap), zero)
        for number, tap in enumerate(_all_taps(windows))
    )
    return functools.reduce(lax.add, terms)


def _tangent_in_blocks(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """As `_tangent_at_once`, with each strided axis as blocks of `stride` elements.

    The transpose of that is dense, where the transpose of strided slices is full of holes. The
    taps ``q*s`` to ``q*s + s - 1`` of window i are the elements of block ``i + q``.
    """
    tangent = pad_windows(tangent, windows, 0)
    blocks = {axis: w for axis, w in windows if w.stride > 1}
    shape, tap_shape, place = [], [], {}
    for axis in range(tangent.ndim):
        place[axis] = len(shape)
        if axis in blocks:
            w = blocks[axis]
            count = w.output + (w.window - 1) // w.stride
            tangent = _resize(tangent, axis, count * w.stride)
            shape += [count, w.stride]
            tap_shape += [taps.shape[axis], 1]
        else:
            shape.append(tangent.shape[axis])
            tap_shape.append(taps.shape[axis])
    tangent, taps = tangent.reshape(shape), taps.reshape(tap_shape)
    zero, total = np.zeros((), tangent.dtype), None
    steps = [
        range((w.window - 1) // w.stride + 1) if axis in blocks else range(w.window)
        for axis, w in windows
    ]
    for step in itertools.product(*steps):
        part, number = tangent, np.zeros([1] * len(shape), np.int64)
        inside, weight = np.ones([1] * len(shape), bool), 1
        for (axis, w), q in reversed(list(zip(windows, step, strict=True))):
            at = place[axis]
            start = q if axis in blocks else q * w.dilation
            part = lax.slice_in_dim(part, start, start + w.output, 1, at)
            tap = np.array([q])
            if axis in blocks:
                tap = q * w.stride + np.arange(w.stride)
                at += 1
            number = number + along(tap, at, len(shape)) * weight
            inside = inside & along(tap < w.window, at, len(shape))
            weight *= w.window
        unused = np.iinfo(taps.dtype).max
        match = taps == jnp.asarray(np.where(inside, number, unused), taps.dtype)
        if not inside.all():
            match &= jnp.asarray(inside)
        term = jnp.where(match, part, zero)
        total = term if total is None else total + term
    inner = [place[axis] + 1 for axis in blocks]
    return jnp.sum(total, inner, dtype=total.dtype) if inner else total


def _tangent_by_axes(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """As `_tangent_at_once`, one axis after the other.

    A window's tap says which row it picks and which element of that row. All windows that pick
    one row at one place pick the same element of it, so the taps of each pass can be recovered.
    """
    passes, rest = [], taps
    weight = math.prod(w.window for _, w in windows)
    for i, (axis, w) in enumerate(windows):
        weight //= w.window
        passes.append(((axis, w), (rest // np.array(weight, rest.dtype)).astype(taps.dtype)))
        if i + 1 < len(windows):
            lower = rest % np.array(weight, rest.dtype)
            rest = _spread(lower, passes[-1][1], axis, w)
    for (axis, w), picked in reversed(passes):
        tangent = _tangent_at_once(tangent, picked, ((axis, w),))
    return tangent


def _spread(values: jax.Array, picked: jax.Array, axis: int, w: AxisWindow) -> jax.Array:
    """Along one axis, each window's value at the element that it picks; 0 where none does."""
    count = w.output + (w.window - 1) // w.stride
    total = None
    if w.dilation == 1 and isinstance(w.length, int):
        # In blocks, as in `_tangent_in_blocks`.
        values, picked = jnp.expand_dims(values, axis + 1), jnp.expand_dims(picked, axis + 1)
        for q in range((w.window - 1) // w.stride + 1):
            tap = along(np.arange(q * w.stride, (q + 1) * w.stride), axis + 1, values.ndim)
            match = (
                picked == jnp.asarray(np.minimum(tap, np.iinfo(picked.dtype).max), picked.dtype)
            ) & jnp.asarray(tap < w.window)
            term = pad(
                axis,
                (q, count - w.output - q),
                jnp.where(match, values, np.zeros((), values.dtype)),
                0,
            )
            total = term if total is None else lax.max(total, term)
        shape = [*total.shape[:axis], count * w.stride, *total.shape[axis + 2 :]]
        total = total.reshape(shape)
    else:
        span = w.length + w.low + w.right
        for tap in range(w.window):
            term = jnp.where(
                picked == np.array(tap, picked.dtype), values, np.zeros((), values.dtype)
            )
            start = tap * w.dilation
            reach = (w.output - 1) * w.stride + 1
            config = [
                (start, span - start - reach, w.stride - 1) if i == axis else (0, 0, 0)
                for i in range(values.ndim)
            ]
            term = lax.pad(term, np.zeros((), values.dtype), config)
            total = term if total is None else lax.max(total, term)
    total = _resize(total, axis, w.length + w.low + w.right)
    return lax.slice_in_dim(total, w.low, w.low + w.length, 1, axis)


def _resize(x: jax.Array, axis: int, length: int) -> jax.Array:
    """`x` cut or padded with zeros at its end along `axis`."""
    if x.shape[axis] < length:
        return pad(axis, (0, length - x.shape[axis]), x, 0)
    return lax.slice_in_dim(x, 0, length, 1, axis)
