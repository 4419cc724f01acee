"""Weighted sums of windows, block by block: written for their transpose.

Each axis is cut into blocks of `stride` elements. With a few windows more than there are, which add
nothing, all elements of a block are reached by equally many. So the transpose is a sum of dense
slices, where that of strided slices would be full of holes.
"""

import dataclasses
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.windows import Windows, all_of, all_taps, between, pad


def padding_inside(w: AxisWindow) -> AxisWindow:
    """The same windows over an input that has its padding in it."""
    return dataclasses.replace(w, length=w.low + w.length + w.right, low=0, high=0)


def sum_in_blocks(x: jax.Array, weights: Sequence[jax.Array], windows: Windows) -> jax.Array:
    """Sum of the elements of windows without padding or holes, each times the weight of its tap.

    Weights are in row-major order, and broadcast to the sum.
    """
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
            for (axis, w), row in zip(windows, taps, strict=True)
            if axis in inner
            for condition in between(0, len(row), inner[axis], w.stride, len(shape))
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


def _taps_in_block(w: AxisWindow, q: int) -> range:
    """The taps that are in the first elements of a block, for the window `q` blocks before it."""
    return range(q * w.stride, min((q + 1) * w.stride, w.window))


def _with_border(weights: Sequence[jax.Array], windows: Windows) -> list[jax.Array]:
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
    taps: list[range],
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
        row = taps[depth]
        parts = [build((*chosen, tap)) for tap in row]
        axis = axes[depth]
        if axis not in inner:
            return parts[0]
        block = lax.concatenate(parts, inner[axis])
        widths = (0, strides[axis] - len(row))
        return block if widths == (0, 0) else pad(inner[axis], widths, block, 0)

    return build(())
