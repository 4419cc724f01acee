"""How weighted sums of windows become XLA programs.

The value is a sum of strided slices. Its transpose would be a sum of arrays full of holes, so the
derivative is written in blocks of `stride` elements instead, whose transpose is dense.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import max_dim
from jax.custom_derivatives import SymbolicZero

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.taps import UNROLLED_TAPS, correlate
from jaxpool._src.lowering.windows import (
    Windows,
    all_of,
    all_taps,
    between,
    in_rows,
    known,
    one_cpu,
    pad,
    taps_at,
)

Weights = tuple[jax.Array, ...]  # one for each tap, in row-major order, that broadcasts to the sum


def weighted_sum(
    x: jax.Array, weights: jax.Array | Sequence[jax.Array], windows: Windows, mode: str
) -> jax.Array:
    """Sum of each window's elements, each times the weight of its tap.

    `weights` are in row-major order, and of the rank of x; one array only along one axis. Padding
    is by NumPy's `mode`, or "periodization", which is "wrap" after an odd x has its last element
    twice.
    """
    windows = tuple(sorted(windows))
    if isinstance(weights, jax.Array):
        if len(weights) > UNROLLED_TAPS and known(windows):
            ((axis, w),) = windows
            kernel = jnp.moveaxis(jnp.squeeze(weights, 1 + axis), 0, axis)
            filled = ((axis, _filled_in(w)),)
            return correlate(padded(x, windows, mode), kernel, filled, operator.mul)
        weights = [lax.index_in_dim(weights, j, keepdims=False) for j in range(len(weights))]
    return _compiled(x, tuple(weights), windows, mode)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _weighted_sum(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    forms = {
        platform: functools.partial(form, windows=windows, mode=mode)
        for platform, form in (("cpu", _in_runs), ("default", _in_slices))
    }
    if not known(windows) or not one_cpu():
        return forms["default"](x, weights)
    return lax.platform_dependent(x, weights, **forms)


def _weighted_sum_jvp(windows: Windows, mode: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    x, weights = primals
    x_tangent, weight_tangents = tangents
    y = _weighted_sum(x, weights, windows, mode)
    terms = []
    if not isinstance(x_tangent, SymbolicZero):
        if known(windows):
            rule = LinearMap(_forms_of_tangent, windows, (mode,))
            terms.append(rule(x_tangent, weights, jax.typeof(y)))
        else:
            terms.append(_in_slices(x_tangent, weights, windows, mode))
    given = {t: w for t, w in enumerate(weight_tangents) if not isinstance(w, SymbolicZero)}
    if given:
        # The checkpoint makes the backward pass keep x and not each of its slices.
        rule = jax.checkpoint(_in_weights, static_argnums=(2, 3), prevent_cse=False)
        terms.append(rule(x, given, windows, mode))
    return y, functools.reduce(lax.add, terms) if terms else jnp.zeros_like(y)


def _forms_of_tangent(
    platform: str, windows: Windows, mode: str, *, several: bool
) -> tuple[Callable, Callable]:
    forward = _in_runs if platform == "cpu" and not several else _in_slices
    where = {"windows": windows, "mode": mode}
    return functools.partial(forward, **where), functools.partial(_in_blocks, **where)


def _in_weights(
    x: jax.Array, tangents: dict[int, jax.Array], windows: Windows, mode: str
) -> jax.Array:
    """The tangent that comes of those of some weights."""
    x, taps, rank = padded(x, windows, mode), all_taps(windows), x.ndim

    def total(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        laid = tuple((axis - rank + x.ndim, w) for axis, w in windows)
        parts = (taps_at(x, laid, taps[number]) for number in tangents)
        return functools.reduce(lax.add, map(jnp.multiply, parts, weights))

    return in_rows(total, list(tangents.values()), x, below=windows[0][0])


_weighted_sum.defjvp(_weighted_sum_jvp, symbolic_zeros=True)
_compiled = jax.jit(_weighted_sum, static_argnums=(2, 3))


def _in_slices(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    """Over a padded copy of x."""
    x = padded(x, windows, mode)
    parts = (taps_at(x, windows, tap) for tap in all_taps(windows))
    return functools.reduce(lax.add, (p * w for p, w in zip(parts, weights, strict=True)))


def _in_runs(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    """Windows at each border, and those between, side by side: only for borders x is copied."""
    for number, (axis, w) in enumerate(windows):
        runs = w.runs()
        if len(runs) > 1:
            before, after = _outside(x, axis, w, mode)
            parts, first = [], 0
            for start, stop, run in runs:
                pieces = [lax.slice_in_dim(x, start, stop, 1, axis)]
                if run.low:
                    pieces.insert(0, lax.slice_in_dim(before, w.low - run.low, w.low, 1, axis))
                if run.right:
                    pieces.append(lax.slice_in_dim(after, 0, run.right, 1, axis))
                part = pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)
                last = first + run.output
                cut = tuple(
                    lax.slice_in_dim(v, first, last, 1, axis) if v.shape[axis] > 1 else v
                    for v in weights
                )
                run = _filled_in(run)
                inner = (*windows[:number], (axis, run), *windows[number + 1 :])
                parts.append(_in_runs(part, cut, inner, mode))
                first = last
            return lax.concatenate(parts, axis)
    return _in_slices(x, weights, windows, mode)


def _filled_in(w: AxisWindow) -> AxisWindow:
    """The same windows over an input that has its padding in it."""
    return dataclasses.replace(w, length=w.low + w.length + w.right, low=0, high=0)


def _in_blocks(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    """The same, by which blocks of `stride` elements add what to which window.

    As with the derivative of maxima there are some windows more than there are, so that blocks of
    any shift are reached by as many.
    """
    x = padded(x, windows, mode)
    windows = tuple((axis, _filled_in(w)) for axis, w in windows)
    geometry, shape, inner = dict(windows), [], {}
    for axis, size in enumerate(x.shape):
        w = geometry.get(axis)
        if w is not None and w.stride > 1:
            x = pad(axis, (0, w.blocks * w.stride - size), x, 0)
            inner[axis] = len(shape) + 1
            shape += [w.blocks, w.stride]
        else:
            shape.append(size)
    blocks = x.reshape(shape)
    by_tap = dict(zip(all_taps(windows), _with_border(weights, windows), strict=True))
    zero, total = np.zeros((), x.dtype), None
    for shifts in itertools.product(*(w.shifts() for _, w in windows)):
        widths, taps = [(0, 0, 0)] * x.ndim, []
        for (axis, w), q in zip(windows, shifts, strict=True):
            before, after = w.border()
            widths[axis] = (before - q, w.output + after - w.blocks + q, 0)
            taps.append(_taps_in_block(w, q))
        starts = {axis: (widths[axis][0], w.blocks) for axis, w in windows}
        strides = {axis: w.stride for axis, w in windows}
        laid = _laid(by_tap, taps, [axis for axis, _ in windows], starts, inner, strides)
        part = blocks * laid
        there = [
            condition
            for (axis, w), (first, row) in zip(windows, taps, strict=True)
            if axis in inner
            for condition in between(first, first + len(row), inner[axis], w.stride, len(shape))
        ]
        if there:  # Not by a weight of 0, since 0 times NaN is NaN.
            part = jnp.where(all_of(there), part, zero)
        part = lax.reduce_sum(part, list(inner.values()))
        part = lax.pad(part, zero, widths)
        total = part if total is None else lax.add(total, part)
    assert total is not None
    starts, stops = [0] * x.ndim, list(total.shape)
    for axis, w in windows:
        starts[axis] = w.border()[0]
        stops[axis] = starts[axis] + w.output
    return lax.slice(total, starts, stops)


def _taps_in_block(w: AxisWindow, q: int) -> tuple[int, range]:
    """The taps that begin in a block, for the window `q` blocks before it, and at which element.

    Of windows without holes, so that they are consecutive.
    """
    before = q * w.stride + w.low  # taps in earlier blocks, if that is not negative
    taps = range(max(before, 0), min(before + w.stride, w.window))
    return taps.start - before, taps


def _with_border(weights: Weights, windows: Windows) -> list[jax.Array]:
    """Weights that differ between windows, with zeros for the additional windows."""
    found = []
    for weight in weights:
        for axis, w in windows:
            if weight.shape[axis] == w.output > 1:
                weight = pad(axis, w.border(), weight, 0)
        found.append(weight)
    return found


def _laid(
    by_tap: dict[tuple[int, ...], jax.Array],
    taps: list[tuple[int, range]],
    axes: list[int],
    starts: dict[int, tuple[int, int]],
    inner: dict[int, int],
    strides: dict[int, int],
) -> jax.Array:
    """The weights of the elements of each block, whose axes within blocks come after the block."""

    def build(chosen: tuple[int, ...]) -> jax.Array:
        depth = len(chosen)
        if depth == len(axes):
            weight = by_tap[chosen]
            for axis, (start, size) in starts.items():
                if weight.shape[axis] > 1:
                    weight = lax.slice_in_dim(weight, start, start + size, 1, axis)
            return lax.expand_dims(weight, list(inner.values()))
        first, row = taps[depth]
        parts = [build((*chosen, tap)) for tap in row]
        axis = axes[depth]
        if axis not in inner:
            return parts[0]
        block = lax.concatenate(parts, inner[axis])
        widths = (first, strides[axis] - first - len(row))
        return block if widths == (0, 0) else pad(inner[axis], widths, block, 0)

    return build(())


def padded(x: jax.Array, windows: Windows, mode: str) -> jax.Array:
    """`x` with the padding that its windows read, by NumPy's `mode`."""
    for axis, w in windows:
        if w.padded:
            before, after = _outside(x, axis, w, mode)
            x = lax.concatenate([before, x, after], axis)
    return x


def _outside(x: jax.Array, axis: int, w: AxisWindow, mode: str) -> tuple[jax.Array, jax.Array]:
    """What windows along `axis` read before x and after it."""
    n, low, right = x.shape[axis], w.low, w.right

    def part(start: Any, stop: Any) -> jax.Array:
        return lax.slice_in_dim(x, start, stop, 1, axis)

    if mode == "periodization" or _is_longer(n, max_dim(low, right), mode):
        return _folded(x, axis, range(-low, 0), mode), _folded(x, axis, range(n, n + right), mode)
    if mode == "reflect":
        before = lax.rev(part(1, 1 + low), (axis,))
        after = lax.rev(part(n - 1 - right, n - 1), (axis,))
    elif mode == "wrap":
        before, after = part(n - low, n), part(0, right)
    else:
        shapes = [[s if i == axis else d for i, d in enumerate(x.shape)] for s in (low, right)]
        ends = (part(0, 1), part(n - 1, n))
        if mode == "constant":
            ends = (np.zeros((), x.dtype),) * 2
        before, after = (jnp.broadcast_to(*pair) for pair in zip(ends, shapes, strict=True))
    return before, after


def _is_longer(n: Any, width: Any, mode: str) -> bool:
    """Whether padding has elements of x more than once."""
    most = {"reflect": n - 1, "wrap": n}.get(mode)
    return most is not None and isinstance(n, int) and width > most


def _folded(x: jax.Array, axis: int, places: range, mode: str) -> jax.Array:
    """What is at `places` outside of x: slices of x, one for each time that it is gone through."""
    n = x.shape[axis]
    found = [_inside(place, n, mode) for place in places]
    pieces, first = [lax.slice_in_dim(x, 0, 0, 1, axis)] if not found else [], 0
    while first < len(found):
        last, step = first, found[min(first + 1, len(found) - 1)] - found[first]
        while last + 1 < len(found) and found[last + 1] - found[last] == step in (0, 1, -1):
            last += 1
        low, high = sorted((found[first], found[last]))
        piece = lax.slice_in_dim(x, low, high + 1, 1, axis)
        if step == 0:
            shape = [last - first + 1 if i == axis else d for i, d in enumerate(x.shape)]
            piece = jnp.broadcast_to(piece, shape)
        pieces.append(lax.rev(piece, (axis,)) if found[last] < found[first] else piece)
        first = last + 1
    return pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)


def _inside(place: int, n: int, mode: str) -> int:
    """Which of n elements stands at a place outside of them."""
    if mode == "reflect":
        period = 2 * (n - 1)
        return min(place % period, -place % period)
    even = n + n % 2 if mode == "periodization" else n
    return min(place % even, n - 1)
