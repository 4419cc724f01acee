"""Sums of intervals that only the program knows, from a tree of sums of pairs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.windows import numbered, pad

# For fewer comparisons of an interval with an element it is quicker to make all of them.
_FEW = 2**14


def pays(length: int, cells: int) -> bool:
    """Whether so many intervals on an axis are many enough for a tree."""
    return length * cells > _FEW


def sum_by_tree(x: jax.Array, bounds: tuple[jax.Array, jax.Array], axis: int) -> jax.Array:
    """Sum of each interval along `axis`, in time of the elements and, for each cell, a logarithm.

    An interval is made of at most two nodes of each level of the tree. That rounds less than the
    difference of two sums from the start, and keeps NaN and infinities in their intervals.
    """
    start, stop = (jnp.clip(bound, 0, x.shape[axis]) for bound in bounds)
    tree, levels = _tree(x, axis)
    # Of each level, on an axis before all others: the nodes that lie within, without their ends.
    level = numbered(0, levels, start.ndim + 1)
    unit = jnp.left_shift(np.int32(1), level)
    first, last = (start[None] + (unit - 1)) // unit, stop[None] // unit
    has_first = (first % 2 == 1) & (first < last)
    has_last = (last % 2 == 1) & (first + has_first.astype(first.dtype) < last)
    # Level after level, the leaves last: node i of a level with n nodes is entry n + i.
    offset = jnp.left_shift(np.int32(1), np.int32(levels - 1) - level)
    places = jnp.concatenate([offset + first, offset + last - 1])
    return _sum_at(tree, places, jnp.concatenate([has_first, has_last]), axis)


def _tree(x: jax.Array, axis: int) -> tuple[jax.Array, int]:
    """All sums of pairs, of pairs of pairs and so on along `axis`; and the number of levels."""
    levels = (x.shape[axis] - 1).bit_length() + 1
    parts = [pad(axis, (0, 2 ** (levels - 1) - x.shape[axis]), x, 0)]
    while parts[-1].shape[axis] > 1:
        even, odd = (lax.slice_in_dim(parts[-1], first, None, 2, axis) for first in (0, 1))
        parts.append(even + odd)
    nothing = jnp.zeros_like(parts[-1])  # before the root, which is entry 1
    return lax.concatenate([nothing, *reversed(parts)], axis), levels


def _sum_at(x: jax.Array, places: Any, condition: jax.Array, axis: int) -> jax.Array:
    """Sum, over the first axis of `places`, of the entries there where the condition holds."""
    places = jnp.where(condition, places, 0)
    if places.size == places.shape[0] * places.shape[axis + 1]:
        # Whole rows, which are quicker to put back too.
        taken = jnp.take(x, places.reshape(places.shape[0], -1), axis, mode="clip")
        taken = jnp.moveaxis(taken, axis, 0)
    else:
        shape = list(x.shape)
        shape[axis] = places.shape[axis + 1]
        many = jnp.broadcast_to(places, (places.shape[0], *shape))
        take = lambda place: jnp.take_along_axis(x, place, axis, mode="clip")  # noqa: E731
        taken = jax.vmap(take)(many)
    return jnp.sum(jnp.where(condition, taken, np.zeros((), x.dtype)), 0, x.dtype)
