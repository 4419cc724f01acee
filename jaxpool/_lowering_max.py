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

# Windows of up to this many elements are compared all at once, larger ones axis by axis. By XLA on
# TPUs, larger ones take a minute to compile otherwise.
_TAPS_AT_ONCE = {"cpu": 9, "default": 49}
_NATIVE_AT_ONCE = 9


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
    return _window_max(x, valid, tuple(sorted(windows)), implementation)


@functools.partial(jax.jit, static_argnames=("windows", "implementation"))
def _window_max(
    x: jax.Array, valid: jax.Array | None, windows: Windows, implementation: Any
) -> jax.Array:
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    # On TPUs, XLA's own form; but it has no gradient for windows with holes.
    native = implementation is None and all(w.dilation == 1 for _, w in windows)

    def form(style: str) -> Callable:
        if style == "reduce_window":
            return lambda x, valid: _native_max(x, windows)
        if style == "taps":  # chooses for TPUs inside its rule, to keep no more than it needs
            return lambda x, valid: _max_by_taps(x, valid, windows, native)
        return lambda x, valid: _picked_by_axes(x, valid, windows)[0]

    styles = _styles(windows) if implementation is None else {"default": implementation}
    if native and styles["default"] == "axes":
        styles["tpu"] = "reduce_window"
    return _by_platform({platform: form(style) for platform, style in styles.items()}, x, valid)


@functools.partial(jax.jit, static_argnames="windows")
def window_argmax(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """Row-major position, on the pooled axes of the unpadded `x`, of what each window picks."""
    windows = tuple(sorted(windows))
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))

    def form(style: str) -> Callable:
        picked = _picked_at_once if style == "taps" else _picked_by_axes
        return lambda x, valid: picked(x, valid, windows)[1]

    forms = {platform: form(style) for platform, style in _styles(windows).items()}
    taps = _by_platform(forms, x, valid).astype(np.int32)
    position, size = jnp.zeros(taps.shape, np.int32), 1
    for axis, w in reversed(windows):
        starts = jnp.asarray(w.starts(numeric_module(w.output, w.low)), np.int32)
        place = along(starts, axis, x.ndim) + taps % w.window * w.dilation
        position = position + place * size
        taps, size = taps // w.window, size * w.length
    return position


def _styles(windows: Windows) -> dict[str, str]:
    """For each platform, whether to take all taps at once or axis by axis."""
    size = math.prod(w.window for _, w in windows)
    styles = {
        platform: "taps" if size <= limit else "axes" for platform, limit in _TAPS_AT_ONCE.items()
    }
    return styles if len(set(styles.values())) > 1 else {"default": styles["default"]}


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
    if math.prod(w.window for _, w in windows) > _NATIVE_AT_ONCE:
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _max_by_taps(
    x: jax.Array, valid: jax.Array | None, windows: Windows, native: bool
) -> jax.Array:
    """Maxima; the taps that they come from are computed only where a derivative asks.

    `native` says that TPUs get XLA's own form instead.
    """
    del valid  # x holds the lowest value where it is not

    def by_taps(x: jax.Array) -> jax.Array:
        # Not lax.max, for which 0.0 is larger than -0.0: of equal elements the first is the value.
        return _picked_at_once(x, None, windows)[0]

    forms = {"default": by_taps}
    if native:
        forms["tpu"] = functools.partial(_native_max, windows=windows)
    return _by_platform(forms, x)


@_max_by_taps.defjvp
def _max_by_taps_jvp(
    windows: Windows, native: bool, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid = primals
    picked = functools.partial(_picked_at_once, windows=windows)
    forms = {"cpu": functools.partial(_once, picked), "default": picked}
    if native:
        forms["tpu"] = functools.partial(_native_picked, windows=windows)
    y, taps = _by_platform(forms, lax.stop_gradient(x), valid)
    return (
        _with_taps(x, y, taps, windows, native),
        _tangent(tangents[0], x, taps, windows, native),
    )


def _native_picked(
    x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """Maxima, and taps that are never read: XLA's own gradient looks at x again."""
    del valid
    y = _native_max(x, windows)
    return y, jnp.zeros(y.shape, _tap_dtype(windows))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _with_taps(
    x: jax.Array, y: jax.Array, taps: jax.Array, windows: Windows, native: bool
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the picked `taps` say."""
    del x, taps, windows, native
    return y


@_with_taps.defjvp
def _with_taps_jvp(
    windows: Windows, native: bool, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, y, taps = primals
    tangent = _tangent(tangents[0], x, taps, windows, native)
    return _with_taps(x, y, taps, windows, native), tangent


def _picked_at_once(
    x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the taps that they come from."""
    x = pad_windows(x, windows, lowest_value(x.dtype))
    valid = None if valid is None else pad_windows(valid, windows, False)
    dtype = _tap_dtype(windows)
    all_taps = _all_taps(windows)
    y = taps_at(x, windows, all_taps[0])
    seen = None if valid is None else taps_at(valid, windows, all_taps[0])
    # Padding on the left comes before -inf in the input but must not be picked.
    picked = jnp.broadcast_to(_first_inside(windows, x.ndim).astype(dtype), y.shape)
    for number, taps in enumerate(all_taps[1:], start=1):
        element = taps_at(x, windows, taps)
        take = _exceeds(element, y)
        if valid is not None and seen is not None:
            take |= ~seen
            seen |= taps_at(valid, windows, taps)
        y = lax.select(take, element, y)
        picked = jnp.where(take, np.array(number, dtype), picked)
    return y, picked


def _picked_by_axes(
    x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the taps that they come from, one axis after the other, the last one first.

    Selections have all derivatives, so this form needs no rule.
    """
    lowest, dtype = lowest_value(x.dtype), _tap_dtype(windows)
    picked, weight = jnp.zeros([1] * x.ndim, dtype), 1
    for axis, window in reversed(windows):
        here = valid
        if window.padded:
            widths = (window.low, window.right)
            x = pad(axis, widths, x, lowest)
            if picked.shape[axis] > 1:
                picked = pad(axis, widths, picked, 0)
            if valid is not None:
                here = pad(axis, widths, valid, False)
            elif not (isinstance(window.low, int) and window.low == 0):
                # As above. On the right, padding comes after an element of the input.
                place = numeric_module(x.shape[axis]).arange(x.shape[axis])
                here = along(jnp.asarray(place >= window.low), axis, x.ndim)
        shape = list(picked.shape)
        shape[axis] = x.shape[axis]
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
    """The smallest dtype that numbers the taps of a window and has a number to spare."""
    size = math.prod(w.window for _, w in windows)
    return np.dtype(np.uint8 if size < 2**8 else np.uint16 if size < 2**16 else np.uint32)


def _all_taps(windows: Windows) -> list[tuple[int, ...]]:
    """All taps of a window, one index per axis, in row-major order."""
    return list(itertools.product(*(range(w.window) for _, w in windows)))


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


def _tangent(
    tangent: jax.Array, x: jax.Array, taps: jax.Array, windows: Windows, native: bool
) -> jax.Array:
    """The tangents of the picked elements: a masked sum over all taps, linear in `tangent`."""
    dense = all(
        isinstance(w.length, int) and isinstance(w.low, int) and (w.stride == 1 or w.dilation == 1)
        for _, w in windows
    )
    form = _tangent_in_blocks if dense else _tangent_in_slices

    def by_taps(tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        del x
        return form(tangent, taps, windows)

    def by_xla(tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        del taps
        return jax.jvp(functools.partial(_native_max, windows=windows), (x,), (tangent,))[1]

    forms = {"default": by_taps, "tpu": by_xla} if native else {"default": by_taps}
    # The checkpoint makes the backward pass keep `taps` and not the masks made of them.
    rule = jax.checkpoint(functools.partial(_by_platform, forms), prevent_cse=False)
    return rule(tangent, x, taps)


def _tangent_in_slices(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    tangent = pad_windows(tangent, windows, 0)
    zero = np.zeros((), tangent.dtype)
    terms = (
        jnp.where(taps == np.array(number, taps.dtype), taps_at(tangent, windows, tap), zero)
        for number, tap in enumerate(_all_taps(windows))
    )
    return functools.reduce(lax.add, terms)


def _tangent_in_blocks(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """As in slices, with each strided axis cut into blocks of `stride` elements of the input.

    The transpose of that is dense, where the transpose of strided slices is full of holes. Window
    i reads blocks ``i + q`` for a few q, which may be negative: there the input is padded.
    """
    geometry = dict(windows)
    place, shape, tap_shape = {}, [], []
    for axis in range(tangent.ndim):
        place[axis] = len(shape)
        stride = geometry[axis].stride if axis in geometry else 1
        if stride > 1:
            blocks = -(-tangent.shape[axis] // stride)
            tangent = pad(axis, (0, blocks * stride - tangent.shape[axis]), tangent, 0)
            shape += [blocks, stride]
            tap_shape += [taps.shape[axis], 1]
        else:
            shape.append(tangent.shape[axis])
            tap_shape.append(taps.shape[axis])
    tangent, taps = tangent.reshape(shape), taps.reshape(tap_shape)
    zero, no_tap = np.zeros((), tangent.dtype), np.iinfo(taps.dtype).max

    # For each axis: which blocks a step reads, and the taps that these hold (k and up: none).
    steps = []
    for _, w in windows:
        if w.stride == 1:
            steps.append([(j * w.dilation - w.low, np.array([j])) for j in range(w.window)])
        else:
            first, last = -w.low // w.stride, (w.window - 1 - w.low) // w.stride
            inner = np.arange(w.stride) + w.low
            steps.append([(q, q * w.stride + inner) for q in range(first, last + 1)])
    total = jnp.zeros(taps.shape, tangent.dtype)
    for step in itertools.product(*steps):
        part, number, inside, weight = tangent, np.int64(0), np.True_, 1
        for (axis, w), (shift, tap) in zip(reversed(windows), reversed(step), strict=True):
            at = place[axis]
            count = part.shape[at]
            start, stop = max(shift, 0), min(shift + w.output, count)
            if start >= stop:
                break  # only padding
            part = lax.slice_in_dim(part, start, stop, 1, at)
            part = pad(at, (start - shift, shift + w.output - stop), part, 0)
            tap = along(tap, at + (w.stride > 1), len(shape))
            number = number + tap * weight
            inside = inside & (tap >= 0) & (tap < w.window)
            weight *= w.window
        else:
            match = taps == jnp.asarray(np.where(inside, number, no_tap), taps.dtype)
            total = total + jnp.where(match, part, zero)
    inner = [place[axis] + 1 for axis, w in windows if w.stride > 1]
    return jnp.sum(total, inner, dtype=total.dtype) if inner else total
