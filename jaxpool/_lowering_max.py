"""How the maximum of each window becomes an XLA program, with all of its derivatives.

The element that a window picks is the first of its maxima in row-major order, or the last of its
NaNs. It is known by its tap, the row-major position within the window, one byte per output. Given
the taps, the derivative is a masked sum, which is linear: that gives jvp, vjp and all higher orders
without select-and-scatter, and it is what the backward pass keeps instead of the input.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator
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
_TANGENT_AT_ONCE = {"cpu": 25, "default": 49}
_NATIVE_AT_ONCE = 9
_LIMITS = {"taps": math.inf, "axes": 0}  # for an `implementation` that is named


def window_max(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    implementation: Implementation | None = None,
) -> jax.Array:
    """Maximum of each window of `x`, of its `valid` elements if given.

    "taps" compares all elements of a window at once, "axes" one axis after the other; both agree
    bit for bit. "reduce_window" is XLA's own maximum and gradient. Without a choice, each platform
    that is lowered for gets what is fastest there.
    """
    return _window_max(x, valid, tuple(sorted(windows)), implementation)


@functools.partial(jax.jit, static_argnames=("windows", "implementation"))
def _window_max(
    x: jax.Array, valid: jax.Array | None, windows: Windows, implementation: Any
) -> jax.Array:
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    if implementation == "reduce_window":
        return _native_max(x, windows)
    if not _known(windows) and _size(windows) > _TAPS_AT_ONCE["default"]:
        return _picked_by_axes(x, valid, windows)[0]  # selections, which JAX differentiates
    return _max_by_taps(x, valid, windows, implementation)


@functools.partial(jax.jit, static_argnames="windows")
def window_argmax(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """Row-major position, on the pooled axes of the unpadded `x`, of what each window picks."""
    windows = tuple(sorted(windows))
    if valid is not None:
        x = jnp.where(valid, x, lowest_value(x.dtype))
    forms = {
        platform: functools.partial(_only_taps, form)
        for platform, form in _picked_forms(windows, None).items()
    }
    taps = _by_platform(forms, x, valid).astype(np.int32)
    position, size = jnp.zeros(taps.shape, np.int32), 1
    for axis, w in reversed(windows):
        starts = jnp.asarray(w.starts(numeric_module(w.output, w.low)), np.int32)
        place = along(starts, axis, x.ndim) + taps % w.window * w.dilation
        position = position + place * size
        taps, size = taps // w.window, size * w.length
    return position


def _only_taps(picked: Callable, x: jax.Array, valid: jax.Array | None) -> jax.Array:
    return picked(x, valid)[1]


def _picked_forms(windows: Windows, style: str | None) -> dict[str, Callable]:
    """For each platform, the function of x and `valid` to maxima and taps."""
    limits = _TAPS_AT_ONCE if style is None else dict.fromkeys(_TAPS_AT_ONCE, _LIMITS[style])
    forms = {}
    for platform, limit in limits.items():
        picked = _picked_at_once if _size(windows) <= limit else _picked_by_axes
        if platform == "cpu" and _one_cpu():
            picked = functools.partial(_picked_in_runs, picked)
        forms[platform] = functools.partial(picked, windows=windows)
    return forms


def _one_cpu() -> bool:
    """Whether all of an array is on one CPU device, if it is on any.

    XLA parts the concatenations of `_picked_in_runs` among devices at the price of all-to-alls.
    """
    try:
        return jax.device_count("cpu") == 1
    except RuntimeError:  # JAX_PLATFORMS leaves out CPUs
        return False


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
    x: jax.Array, valid: jax.Array | None, windows: Windows, style: str | None
) -> jax.Array:
    """Maxima; the taps that they come from are computed only where a derivative asks."""
    forms = {
        platform: functools.partial(_only_maxima, form)
        for platform, form in _picked_forms(windows, style).items()
    }
    if _native(windows, style):
        forms["tpu"] = lambda x, valid: _native_max(x, windows)
    return _by_platform(forms, x, valid)


def _only_maxima(picked: Callable, x: jax.Array, valid: jax.Array | None) -> jax.Array:
    return picked(x, valid)[0]


def _native(windows: Windows, style: str | None) -> bool:
    """Whether TPUs get XLA's own form, which has no gradient for windows with holes."""
    return style is None and all(w.dilation == 1 for _, w in windows)


@_max_by_taps.defjvp
def _max_by_taps_jvp(
    windows: Windows, style: str | None, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid = primals
    forms = _picked_forms(windows, style)
    forms["cpu"] = functools.partial(_once, forms["cpu"])
    if _native(windows, style):
        forms["tpu"] = functools.partial(_native_picked, windows=windows)
    y, taps = _by_platform(forms, lax.stop_gradient(x), valid)
    return (
        _with_taps(x, y, taps, windows, style),
        _tangent(tangents[0], x, taps, windows, style),
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
    x: jax.Array, y: jax.Array, taps: jax.Array, windows: Windows, style: str | None
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the picked `taps` say."""
    del x, taps, windows, style
    return y


@_with_taps.defjvp
def _with_taps_jvp(
    windows: Windows, style: str | None, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, y, taps = primals
    tangent = _tangent(tangents[0], x, taps, windows, style)
    return _with_taps(x, y, taps, windows, style), tangent


def _picked_in_runs(
    picked: Callable, x: jax.Array, valid: jax.Array | None, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """`picked`, of the windows at each border and of those between, put side by side.

    Only the borders are padded, and no copy is made of the rest.
    """
    for number, (axis, w) in enumerate(windows):
        runs = w.runs()
        if len(runs) > 1:
            parts = []
            for start, stop, run in runs:
                inner = (*windows[:number], (axis, run), *windows[number + 1 :])
                cut = functools.partial(
                    lax.slice_in_dim, start_index=start, limit_index=stop, axis=axis
                )
                valid_part = None if valid is None else cut(valid)
                parts.append(_picked_in_runs(picked, cut(x), valid_part, inner))
            return jax.tree.map(lambda *p: lax.concatenate(p, axis), *parts)
    return picked(x, valid, windows)


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
    tangent: jax.Array, x: jax.Array, taps: jax.Array, windows: Windows, style: str | None
) -> jax.Array:
    """The tangents of the picked elements: a masked sum over all taps, linear in `tangent`."""
    if not _known(windows):
        forms = {"default": functools.partial(_tangent_in_slices, windows=windows)}
    else:
        limits = (
            _TANGENT_AT_ONCE if style is None else dict.fromkeys(_TANGENT_AT_ONCE, _LIMITS[style])
        )
        forms = {
            platform: functools.partial(
                _tangent_in_blocks,
                groups=_groups(windows, limit),
                once=_once if platform == "cpu" else _directly,
            )
            for platform, limit in limits.items()
        }

    def with_x(form: Callable) -> Callable:
        return lambda tangent, x, taps: form(tangent, taps)

    def by_xla(tangent: jax.Array, x: jax.Array, taps: jax.Array) -> jax.Array:
        del taps
        return jax.jvp(functools.partial(_native_max, windows=windows), (x,), (tangent,))[1]

    forms = {platform: with_x(form) for platform, form in forms.items()}
    if _native(windows, style):
        forms["tpu"] = by_xla
    # The checkpoint makes the backward pass keep `taps` and not the masks made of them.
    rule = jax.checkpoint(functools.partial(_by_platform, forms), prevent_cse=False)
    return rule(tangent, x, taps)


def _tangent_in_slices(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """For sizes that may be symbolic."""
    tangent = pad_windows(tangent, windows, 0)
    zero = np.zeros((), tangent.dtype)
    terms = (
        jnp.where(taps == np.array(number, taps.dtype), taps_at(tangent, windows, tap), zero)
        for number, tap in enumerate(_all_taps(windows))
    )
    return functools.reduce(lax.add, terms)


def _groups(windows: Windows, limit: int) -> tuple[Windows, ...]:
    """All axes at once if a window has at most `limit` elements, else one by one."""
    return (windows,) if _size(windows) <= limit else tuple((window,) for window in windows)


def _known(windows: Windows) -> bool:
    """Whether no size along pooled axes is symbolic."""
    return all(isinstance(w.length, int) and isinstance(w.low, int) for _, w in windows)


def _size(windows: Windows) -> int:
    """Number of elements of a window."""
    return math.prod(w.window for _, w in windows)


def _directly(function: Callable, *operands: Any) -> Any:
    """In place of `_once`, where XLA knows best."""
    return function(*operands)


def _tangent_in_blocks(
    tangent: jax.Array, taps: jax.Array, groups: tuple[Windows, ...], once: Callable
) -> jax.Array:
    """The tangents of the picked elements, one group of axes after the other.

    Written for its transpose, in which an element adds up what the windows that picked it hand
    back. Each axis is cut into blocks of `stride` elements; with a few windows more than there are,
    which pick nothing, the elements of a block are reached by equally many windows each. So the
    transpose is a sum of dense slices; that of strided slices would be full of holes, and that of
    slices without the additional windows would ask of each element whether it is at the border.
    """
    windows = sum(groups, ())
    more, inside = [(0, 0, 0)] * tangent.ndim, [slice(None)] * tangent.ndim
    for axis, w in windows:
        shifts = list(w.shifts())
        more[axis] = (shifts[-1], w.blocks - shifts[0] - w.output, 0)
        inside[axis] = slice(shifts[-1], shifts[-1] + w.output)
    bordered = any(before + after for before, after, _ in more)
    if bordered:
        nothing = np.array(np.iinfo(taps.dtype).max, taps.dtype)
        taps = once(lambda taps: lax.pad(taps, nothing, more), taps)
    steps, weight = [], _size(windows)
    for group in groups:
        weight //= _size(group)
        steps.append((group, taps, weight))
        if weight > 1:
            taps = once(functools.partial(_taps_left, group=group, weight=weight), taps)
    for group, taps, weight in reversed(steps):
        along_group = functools.partial(_tangent_along, group=group, weight=weight)
        # The transpose of the last step gives the result.
        tangent = (once if weight > 1 and len(groups) > 1 else _directly)(
            along_group, tangent, taps
        )
    return once(lambda tangent: tangent[tuple(inside)], tangent) if bordered else tangent


def _tangent_along(tangent: jax.Array, taps: jax.Array, group: Windows, weight: int) -> jax.Array:
    """The tangents that windows along the axes of `group` pick by their `taps`."""
    geometry, shape = dict(group), []
    for axis, size in enumerate(tangent.shape):
        if axis in geometry and geometry[axis].stride > 1:
            w = geometry[axis]
            tangent = pad(axis, (0, w.blocks * w.stride - size), tangent, 0)
            shape += [w.blocks, w.stride]
        else:
            shape.append(size)
    tangent = tangent.reshape(shape)
    zero = np.zeros((), tangent.dtype)
    inner = [axis + n for n, axis in enumerate(a for a, w in group if w.stride > 1)]
    inner = [at + 1 for at in inner]
    total = None
    for widths, match, _ in _matches(taps, group, weight):
        part = jnp.where(match, tangent, zero)
        part = lax.pad(jnp.sum(part, inner, dtype=part.dtype) if inner else part, zero, widths)
        total = part if total is None else total + part
    assert total is not None
    return total


def _taps_left(taps: jax.Array, group: Windows, weight: int) -> jax.Array:
    """For each element along the axes of `group`, what its windows' taps say of later axes.

    The windows that pick the element agree on that: it is where the element comes from.
    """
    found = None
    for _, match, rest in _matches(taps, group, weight):
        found = jnp.where(match, rest, np.zeros((), taps.dtype) if found is None else found)
    assert found is not None
    geometry = dict(group)
    shape = [
        geometry[axis].blocks * geometry[axis].stride if axis in geometry else size
        for axis, size in enumerate(taps.shape)
    ]
    found = found.reshape(shape)
    for axis, w in group:
        found = lax.slice_in_dim(found, 0, w.length, 1, axis)
    return found


def _matches(taps: jax.Array, group: Windows, weight: int) -> Iterator[tuple[Any, Any, Any]]:
    """For each shift between blocks and the windows that reach them: which elements are picked.

    Yields how the blocks lie among the windows, as padding; whether the window picks the element,
    in blocks; and the window's tap on the later axes, which have `weight` taps.
    """
    geometry, shape, places = dict(group), [], {}
    for axis, size in enumerate(taps.shape):
        places[axis] = len(shape)
        shape += [size, 1] if axis in geometry and geometry[axis].stride > 1 else [size]
    taps, kind = taps.reshape(shape), taps.dtype
    for step in itertools.product(*(w.shifts().items() for _, w in group)):
        part, number, found, unit = taps, np.int64(0), np.True_, weight
        widths = [(0, 0, 0)] * len(geometry | dict.fromkeys(places))
        for (axis, w), (q, here) in zip(reversed(group), reversed(step), strict=True):
            shifts, at = list(w.shifts()), places[axis]
            widths[axis] = (shifts[-1] - q, q - shifts[0], 0)
            part = lax.slice_in_dim(part, shifts[-1] - q, shifts[-1] - q + w.blocks, 1, at)
            here = along(here, at + (w.stride > 1), len(shape))
            number, found = number + np.maximum(here, 0) * unit, found & (here >= 0)
            unit *= w.window
        if weight == 1:
            number = np.where(found, number, np.iinfo(kind).max - 1)
            yield widths, part == jnp.asarray(number, kind), None
        else:
            rest = part - jnp.asarray(number, kind)  # wraps if the number is larger
            match = rest < np.array(weight, kind)
            yield widths, match if np.all(found) else match & jnp.asarray(found), rest
