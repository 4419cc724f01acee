"""Functions of an element and of its cell over intervals: one element of every cell at a time."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisIntervals
from jaxpool._src.lowering.intervals import Bounds, form_of, in_parts, mask_of
from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.windows import pad, unraveled


def interval_sum_with(
    function: Callable[[Any, Any], Any],
    x: Any,
    cells: Any,
    valid: jax.Array | None,
    axes: Sequence[tuple[int, AxisIntervals, Bounds]],
) -> Any:
    """Sum over each cell's valid elements e of ``function(e, cells)``; `cells` is per output.

    `axes` come in order. `function` also sees 0 where nothing is valid.
    """
    x, condition, new = unfolded(x, valid, axes)
    cells = jax.tree.map(lambda c: lax.expand_dims(c, new), cells)
    shape = lax.broadcast_shapes(jax.tree.leaves(x)[0].shape, jax.tree.leaves(cells)[0].shape)
    x, cells = jax.tree.map(lambda v: jnp.broadcast_to(v, shape), (x, cells))

    def total(value: jax.Array) -> jax.Array:
        return jnp.sum(jnp.where(condition, value, np.zeros((), value.dtype)), new, value.dtype)

    return jax.tree.map(total, function(x, cells))


def interval_scan(
    step: Callable[[Any, Any, Any], Any],
    state: Any,
    elements: Any,
    valid: jax.Array | None,
    axes: Sequence[tuple[int, AxisIntervals, Bounds]],
    at_once: int,
) -> Any:
    """For each cell ``state = step(state, element, number)`` over its valid elements, in order."""
    elements, condition, new = unfolded(elements, valid, axes)
    shape = lax.broadcast_shapes(condition.shape, jax.tree.leaves(elements)[0].shape)
    laid = jax.tree.map(lambda v: jnp.broadcast_to(v, shape), (elements, condition))
    sizes = [int(shape[axis]) for axis in new]
    size = math.prod(sizes)

    def visit(state: Any, number: Any) -> Any:
        place = unraveled(number, sizes)

        def at(array: jax.Array) -> jax.Array:
            for axis, index in reversed(list(zip(new, place, strict=True))):
                array = lax.dynamic_index_in_dim(array, index, axis, keepdims=False)
            return array

        element, is_valid = jax.tree.map(at, laid)
        return jax.tree.map(
            lambda a, b: jnp.where(is_valid, a, b), step(state, element, number), state
        )

    if size <= at_once:
        return functools.reduce(visit, np.arange(size, dtype=np.int32), state)
    state = settled(lambda state: visit(state, np.int32(0)), state)
    numbers = jnp.arange(size, dtype=np.int32)
    return lax.scan(lambda state, number: (visit(state, number), None), state, numbers)[0]


def unfolded(
    x: Any, valid: jax.Array | None, axes: Sequence[tuple[int, AxisIntervals, Bounds]]
) -> tuple[Any, jax.Array, tuple[int, ...]]:
    """`x` with each cell's elements along new axes, which of these are valid, and the new axes.

    `axes` come in order. Where all cells may have all elements, x has size 1 for the cells.
    """
    new: list[int] = []
    conditions: list[jax.Array] = []
    leaves, tree = jax.tree.flatten(x)
    for axis, geometry, bounds in reversed(axes):
        if bounds is not None:
            start, stop = (lax.expand_dims(bound, new) for bound in bounds)
            bounds = (start, stop)
        conditions = [jnp.expand_dims(c, axis + 1) for c in conditions]
        unfolded = [_unfolded(leaf, 0, bounds, axis, geometry) for leaf in leaves]
        leaves = [leaf for leaf, _ in unfolded]
        if valid is not None:
            valid, _ = _unfolded(valid, False, bounds, axis, geometry)
        conditions.append(unfolded[0][1])
        new = [axis + 1, *(i + 1 for i in new)]
    if valid is not None:
        conditions.append(valid)
    return tree.unflatten(leaves), functools.reduce(operator.and_, conditions), tuple(new)


def _unfolded(
    x: jax.Array, fill: Any, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> tuple[jax.Array, jax.Array]:
    """`x` with the elements of each interval on a new axis behind `axis`, and which those are.

    Intervals are filled up to one length. If all may have all elements, these are laid out once.
    """
    rank, repeats, count = x.ndim, geometry.repeats, len(geometry.hulls)
    if form_of(geometry) == "masks":
        mask = mask_of(geometry, bounds, axis, rank)
        if repeats == 1:
            return jnp.expand_dims(x, axis), mask

        def lay_out(axis: int, x: jax.Array) -> jax.Array:
            return jnp.broadcast_to(
                jnp.expand_dims(x, axis), (*x.shape[:axis], count, *x.shape[axis:])
            )

    else:
        hulls = geometry.hulls
        size = max(1, *(len(hull) for hull in hulls))

        def lay_out(axis: int, x: jax.Array) -> jax.Array:
            padded = pad(axis, (0, size), x, fill)
            parts = [lax.slice_in_dim(padded, h.start, h.start + size, 1, axis) for h in hulls]
            return lax.concatenate([jnp.expand_dims(part, axis) for part in parts], axis)

        first = np.array([hull.start for hull in hulls], np.int32)[:, None]
        place = _along_two(first + np.arange(size, dtype=np.int32), axis, rank)
        if bounds is None:
            stop = np.array([hull.stop for hull in hulls], np.int32)[:, None]
            mask = jnp.asarray(place < _along_two(stop, axis, rank))
        else:
            start, stop = (jnp.expand_dims(bound, axis + 1) for bound in bounds)
            mask = (start <= place) & (place < stop) & (place < geometry.length)
    return (
        in_parts(lay_out, axis, geometry, x),
        jnp.tile(mask, [repeats if i == axis else 1 for i in range(rank + 1)]),
    )


def _along_two(matrix: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """A matrix laid along `axis` and the axis behind it, which an array of `rank` axes lacks."""
    return matrix.reshape([1] * axis + [*matrix.shape] + [1] * (rank - axis - 1))
