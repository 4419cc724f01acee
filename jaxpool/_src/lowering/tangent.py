"""The derivative of windowed maxima: a sum over the elements that windows pick.

Which these are is known by their taps. The sum is linear in the tangent, and written for its
transpose, which is what a backward pass runs.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.footprints import Windows, all_taps, shifts, tap_numbers
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.windows import (
    along,
    by_runs,
    fused,
    known,
    materialized,
    numbered,
    pad,
    pad_windows,
    padded_taps_at,
    peels_borders,
    taps_at,
    widened,
    window_size,
)

# The largest numbers of a dtype are no window's taps: what a window beyond the border has, and what
# an element asks for at which no tap begins.
NO_TAPS = 2
_BEYOND, _NOWHERE = 0, 1  # below the largest

# Up to this many elements of a block say in the program's text which tap they are.
_WRITTEN = 64


def _no_tap(which: int, dtype: Any) -> Any:
    return np.array(np.iinfo(dtype).max - which, dtype)


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of the way from a window to the element that it picks.

    `run` taps of it are taken together, and one of them is found in a later step. Taps count in
    `unit`, the number of taps along all later axes. A step with its `own_border` gets additional
    windows when its turn comes, all others in the beginning. Of `sets`, a bit for each tap says
    whether it is picked, all in one step. A step that goes `shifted` has no additional windows:
    what is read of them is filled in, which devices that share an axis do at its ends alone.
    """

    windows: Windows
    run: int = 1
    unit: int = 1
    own_border: bool = False
    sets: bool = False
    shifted: bool = False

    def border(self, w: AxisWindow) -> tuple[int, int]:
        """The additional windows before and after those of an axis."""
        return (0, 0) if self.shifted else w.border(self.run)


def steps(
    windows: Windows, limit: float, max_runs: int, own_borders: bool, shifted: bool = False
) -> list["Step"]:
    """All axes at once if a window has at most `limit` elements, else one by one.

    And that in several steps where a window is large: as runs of taps, and then within runs.
    Each axis has its border apart if `own_borders`: less to read and write, but one copy more where
    a border is a copy.
    """
    if window_size(windows) <= limit:
        return [Step(windows, shifted=shifted)]
    found, unit = [], window_size(windows)
    for axis, w in windows:
        unit //= w.window
        own = own_borders
        for run in w.run_lengths(max_runs):
            outer, w = w.runs_and_rest(run)
            found.append(Step(((axis, outer),), run, unit, own, shifted=shifted))
            own = True
        found.append(Step(((axis, w),), 1, unit, own, shifted=shifted))
    return found


def tangent_in_blocks(
    tangent: jax.Array, taps: jax.Array, path: list[Step], materialized: Callable
) -> jax.Array:
    """The tangents of the picked elements, step by step.

    Written for its transpose, in which an element adds up what the windows that picked it hand
    back. Each axis is cut into blocks of `stride` elements; with a few windows more than there are,
    which pick nothing, the elements of a block are reached by equally many windows each. So the
    transpose is a sum of dense slices; that of strided slices would be full of holes, and that of
    slices without the additional windows would ask of each element whether it is at the border.
    """
    input_dtype = tangent.dtype
    together = [step for step in path if not step.own_border]
    taps = _add_border(taps, together, materialized)
    taps_by_step = []
    for step in path:
        if step.own_border:
            taps = _add_border(taps, [step], materialized)
        taps_by_step.append((step, taps))
        if step is not path[-1]:
            taps = materialized(functools.partial(_taps_left, step=step), taps)
    tangent = widened(tangent)
    for step, taps in reversed(taps_by_step):
        along_step = functools.partial(_tangent_along, step=step)
        # The transpose of the last step gives the result.
        tangent = (fused if step is path[-1] else materialized)(along_step, tangent, taps)
        if step.own_border:
            tangent = _drop_border(tangent, [step], materialized)
    return _drop_border(tangent, together, materialized, input_dtype)


def _borders(path: list[Step], ndim: int) -> tuple[list[tuple[int, int, int]], bool]:
    """The additional windows on each axis, as padding, and whether there are any."""
    widths = [(0, 0, 0)] * ndim
    for step in path:
        for axis, w in step.windows:
            widths[axis] = (*step.border(w), 0)
    return widths, any(low or high for low, high, _ in widths)


def _add_border(taps: jax.Array, path: list[Step], materialized: Callable) -> jax.Array:
    """`taps` with those of additional windows, which pick nothing."""
    widths, any_ = _borders(path, taps.ndim)
    sets = any(step.sets for step in path)
    nothing = np.zeros((), taps.dtype) if sets else _no_tap(_BEYOND, taps.dtype)
    return materialized(lambda taps: lax.pad(taps, nothing, widths), taps) if any_ else taps


def _drop_border(
    tangent: jax.Array, path: list[Step], materialized: Callable, dtype: Any = None
) -> jax.Array:
    """`tangent` without those of additional windows."""
    widths, any_ = _borders(path, tangent.ndim)
    dtype = tangent.dtype if dtype is None else dtype
    starts = [low for low, _, _ in widths]
    stops = [n - high for n, (_, high, _) in zip(tangent.shape, widths, strict=True)]
    if not any_:
        return tangent.astype(dtype)
    return materialized(lambda tangent: lax.slice(tangent, starts, stops).astype(dtype), tangent)


@functools.partial(jax.jit, static_argnames="step")
def _tangent_along(tangent: jax.Array, taps: jax.Array, step: Step) -> jax.Array:
    """The tangents that windows, along the axes of a step, pick by their `taps`."""
    geometry, shape = dict(step.windows), []
    for axis, size in enumerate(tangent.shape):
        if axis in geometry and geometry[axis].stride > 1:
            w = geometry[axis]
            tangent = pad(axis, (0, w.blocks * w.stride - size), tangent, 0)
            shape += [w.blocks, w.stride]
        else:
            shape.append(size)
    tangent = tangent.reshape(shape)
    zero = np.zeros((), tangent.dtype)
    strided = (axis for axis, w in step.windows if w.stride > 1)
    inner = [axis + n for n, axis in enumerate(strided, start=1)]
    zeros, total = lax.full_like(tangent, 0), None
    for widths, match, _ in _matches(taps, step):
        part = lax.select(match, tangent, zeros)
        part = lax.reduce_sum(part, inner) if inner else part
        # Axis by axis, and so are slices: on several devices those of one row share its exchange.
        for axis in reversed(geometry):
            part = pad(axis, widths[axis][:2], part, zero)
        total = part if total is None else lax.add(total, part)
    assert total is not None
    return total


@functools.partial(jax.jit, static_argnames="step")
def _taps_left(taps: jax.Array, step: Step) -> jax.Array:
    """For each element along the axes of a step, what its windows' taps say of later steps.

    All windows that pick from one row (or one run of taps) agree on where in it: on its first
    maximum. For if the first maximum of a window is in the row, then it is the row's; and likewise
    its last NaN. In an overlap of runs, the pick of the window is that of either.
    """
    found = None
    for _, match, rest in _matches(taps, step):
        nothing = lax.full(match.shape, 0, taps.dtype)
        rest = nothing if rest is None else rest
        found = lax.select(match, rest, nothing if found is None else found)
    assert found is not None
    geometry = dict(step.windows)
    found = found.reshape(
        [
            geometry[axis].blocks * geometry[axis].stride if axis in geometry else size
            for axis, size in enumerate(taps.shape)
        ]
    )
    for axis, w in step.windows:
        found = lax.slice_in_dim(found, 0, w.length, 1, axis)
    return found


def _matches(taps: jax.Array, step: Step) -> Iterator[tuple[Any, Any, Any]]:
    """For each shift between blocks and the windows that reach them: which elements are picked.

    Yields how the blocks lie among the windows, as padding; whether the window picks the element
    (or what its run is for), in blocks; and what its tap says of later steps, None for 0.
    """
    geometry, shape, places = dict(step.windows), [], {}
    for axis, size in enumerate(taps.shape):
        places[axis] = len(shape)
        shape += [size, 1] if axis in geometry and geometry[axis].stride > 1 else [size]
    taps, kind, whole = taps.reshape(shape), taps.dtype, list(shape)
    for axis, w in step.windows:
        whole[places[axis]] = w.blocks
        if w.stride > 1:
            whole[places[axis] + 1] = w.stride

    def spread(x: Any) -> Any:
        """Along all blocks. By lax, which traces faster; one number is no array to keep."""
        if isinstance(x, np.ndarray) and x.size == 1:
            return lax.full(whole, x.item(), x.dtype)
        return x if list(x.shape) == whole else lax.broadcast_in_dim(x, whole, range(len(whole)))

    # Which tap begins at which element of a block is written down for small blocks only.
    short = math.prod(w.stride for _, w in step.windows) <= _WRITTEN
    xp = np if short else jnp
    for blocks in shifts(step.windows, step.run):
        widths, starts, stops = [(0, 0, 0)] * len(places), [0] * len(shape), list(shape)
        first = start = np.zeros([1] * len(shape), np.int32)
        count, unit = first + 1, step.unit
        for (axis, w), q in reversed(list(zip(step.windows, blocks, strict=True))):
            at, (before, after) = places[axis], step.border(w)
            widths[axis] = (before - q, w.output + after - w.blocks + q, 0)
            starts[at], stops[at] = before - q, before - q + w.blocks
            if short:
                element = along(
                    np.arange(w.stride, dtype=np.int32), at + (w.stride > 1), len(shape)
                )
            else:
                element = numbered(at + (w.stride > 1), w.stride, len(shape))
            here = w.taps_of(element, q, step.run, xp)
            first, count, start = first + here[0] * unit, count * here[1], start + here[2] * unit
            unit *= w.window
        part = taps
        for axis, _ in step.windows:
            at = places[axis]
            if step.shifted:
                widths_of_part = (-starts[at], stops[at] - shape[at])
                nothing = np.zeros((), kind) if step.sets else _no_tap(_BEYOND, kind)
                part = pad(at, widths_of_part, part, nothing)
            else:
                part = lax.slice_in_dim(part, starts[at], stops[at], 1, at)
        part = spread(part)
        first, start = first.astype(kind), start.astype(kind)
        if step.unit == step.run == 1:
            first = xp.where(count > 0, first, _no_tap(_NOWHERE, kind))
            match = (has_tap if step.sets else lax.eq)(part, spread(first))
            yield widths, match, None
        else:
            # Wraps if `first` is larger. Of several axes at once, all runs are of one tap.
            beyond = lax.sub(part, spread(first))
            match = lax.lt(beyond, spread((count * step.unit).astype(kind)))
            yield widths, match, lax.sub(part, spread(start))


def has_tap(sets: jax.Array, tap: jax.Array) -> jax.Array:
    """Whether the bit of a tap is set; not so of a number that is no tap."""
    bit = lax.bitwise_and(lax.shift_right_logical(sets, tap), lax.full_like(sets, 1))
    return lax.ne(bit, lax.full_like(sets, 0))


def tangent_of_taps(
    tangent: jax.Array, taps: jax.Array, windows: Windows, *, sets: bool = False
) -> jax.Array:
    """The tangents of the elements that any taps pick, or `sets` of taps: all axes at once.

    Windows that pick from one row need not agree on where in it.
    """
    if known(windows):
        return LinearMap(_forms_of_taps, windows, (sets,))(tangent, taps, tangent)
    match = has_tap if sets else lax.eq
    rule = functools.partial(tangent_in_slices, windows=windows, match=match)
    # The checkpoint makes the backward pass keep `taps` and not the masks made of them.
    return jax.checkpoint(rule, prevent_cse=False)(tangent, taps)


def _forms_of_taps(
    platform: str, windows: Windows, sets: bool, *, several: bool
) -> tuple[Callable, Callable]:
    del several
    cpu = platform == "cpu"
    forward = functools.partial(
        tangent_forward, windows=windows, on_cpu=cpu, match=has_tap if sets else lax.eq
    )
    path, apart = [Step(windows, sets=sets)], materialized if cpu else fused
    return forward, functools.partial(tangent_in_blocks, path=path, materialized=apart)


def tangent_forward(
    tangent: jax.Array, taps: jax.Array, windows: Windows, *, on_cpu: bool, match: Callable = lax.eq
) -> jax.Array:
    """The tangents of the picked elements tap by tap: to be run as it is, and not transposed."""
    if not (on_cpu and peels_borders(tangent, windows)):
        return tangent_in_slices(tangent, taps, windows, match, pad_each=not on_cpu)

    def separate(tangent: jax.Array, taps: jax.Array) -> jax.Array:
        form = functools.partial(tangent_in_slices, match=match)
        found = by_runs(form, (widened(tangent),), (taps,), windows)
        return found.astype(tangent.dtype)

    # Apart from its readers too, where XLA:CPU would ask of each element which part it is in.
    return materialized(separate, tangent, taps)


def tangent_fetched(tangent: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    """The tangents of the picked elements one by one, where windows have many: a gather."""
    tap, place, ndim = taps.astype(np.int32), jnp.zeros(taps.shape, np.int32), tangent.ndim
    pooled = dict(windows)
    within: Any = np.True_
    found = {}
    for axis, w in reversed(windows):
        start = numbered(axis, w.output, ndim) * np.int32(w.stride) - w.low
        found[axis] = start + tap % np.int32(w.window) * np.int32(w.dilation)
        within &= (found[axis] >= 0) & (found[axis] < w.length)  # what picks padding picks nothing
        tap //= np.int32(w.window)
    for axis, size in enumerate(tangent.shape):
        at = found[axis] if axis in pooled else numbered(axis, size, ndim)
        place = place * np.int32(size) + at
    fetched = tangent.reshape(-1).at[jnp.where(within, place, 0)]
    fetched = fetched.get(mode="promise_in_bounds")
    return jnp.where(within, fetched, np.zeros((), tangent.dtype))


def tangent_in_slices(
    tangent: jax.Array,
    taps: jax.Array,
    windows: Windows,
    match: Callable = lax.eq,
    pad_each: bool = False,
) -> jax.Array:
    """Tap by tap, also for sizes that are symbolic."""
    input_dtype, tangent = tangent.dtype, widened(tangent)
    zero = np.zeros((), tangent.dtype)
    if pad_each:
        at = functools.partial(padded_taps_at, tangent, windows, value=zero)
    else:
        at = functools.partial(taps_at, pad_windows(tangent, windows, zero), windows)
    terms = (
        jnp.where(match(taps, lax.full_like(taps, number)), at(taps=tap), zero)
        for number, tap in zip(tap_numbers(windows), all_taps(windows), strict=True)
    )
    return functools.reduce(lax.add, terms).astype(input_dtype)
