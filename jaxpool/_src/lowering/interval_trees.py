"""Sums of intervals that only the program knows, from a tree of sums of pairs."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.windows import pad

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
    stop = jnp.maximum(start, stop)
    total = None
    while True:
        has_first = (start % 2 == 1) & (start < stop)
        first = _taken(x, start, has_first, axis)
        start = start + has_first.astype(start.dtype)
        has_last = (stop % 2 == 1) & (start < stop)
        stop = stop - has_last.astype(stop.dtype)
        part = first + _taken(x, stop, has_last, axis)
        total = part if total is None else total + part
        if x.shape[axis] == 1:
            return total
        start, stop = start // 2, stop // 2
        x = _pairs(x, axis)


def _pairs(x: jax.Array, axis: int) -> jax.Array:
    x = pad(axis, (0, x.shape[axis] % 2), x, 0)
    even, odd = (lax.slice_in_dim(x, first, None, 2, axis) for first in (0, 1))
    return even + odd


def _taken(x: jax.Array, place: Any, condition: jax.Array, axis: int) -> jax.Array:
    """The entries at places along `axis` where the condition holds, else 0."""
    if place.size == place.shape[axis]:  # whole rows, which are quicker to put back too
        taken = jnp.take(x, place.ravel(), axis, mode="clip")
    else:
        shape = [place.shape[i] if i == axis else n for i, n in enumerate(x.shape)]
        taken = jnp.take_along_axis(x, jnp.broadcast_to(place, shape), axis, mode="clip")
    return jnp.where(condition, taken, np.zeros((), x.dtype))
