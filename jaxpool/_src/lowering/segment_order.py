"""Order statistics of elements that say which cell they belong to; and folds in their order."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.bisection import sortable_keys
from jaxpool._src.lowering.networks import Weights, factor_of, weighed_by
from jaxpool._src.lowering.order import LaidOut, run_bounds, run_lengths
from jaxpool._src.lowering.scans import prefix_fold, restarted
from jaxpool._src.lowering.segments import Segments
from jaxpool._src.lowering.windows import lowest_value, numbered


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class InSegments(LaidOut):
    """The valid elements of each segment; what a segment has is in the rank of x."""

    ids: Any = None
    how: Any = dataclasses.field(default=None, metadata={"static": True})

    @property
    def _cells(self) -> list[Any]:
        shape = lax.broadcast_shapes(tuple(self._shape), self.ids.shape)
        return list(self.how.resized(shape, self.how.cells))

    def spread(self, cells: Any) -> jax.Array:
        cells = jnp.asarray(cells)
        return self.how.spread(cells, self.ids) if cells.ndim else cells

    def total(self, x: jax.Array) -> jax.Array:
        return self.how.total(x, self.ids)

    def smallest(self, x: jax.Array) -> jax.Array:
        return ~self.how.largest(~x, self.ids)  # of ints

    def rank_sum(self, weights: Weights) -> jax.Array:
        shape = lax.broadcast_shapes(tuple(self._shape), self.ids.shape)
        x = jnp.broadcast_to(self.x, shape)
        zero, rank = np.zeros((), x.dtype), self._ranks(x)
        if callable(weights):
            count = self.spread(self.count)
            weight = jnp.asarray(weights(rank, count)).astype(x.dtype)
            wanted = np.ones((), x.dtype)
        else:
            weight = self._looked_up(weights.astype(x.dtype), rank)
            wanted = jnp.sum(weights, 0).astype(x.dtype)
        if self.valid is not None:
            weight = jnp.where(self.valid, weight, zero)
            x = jnp.where(self.valid, x, zero)
        weight = jnp.broadcast_to(weight, shape)
        weight = weight * self.spread(factor_of(wanted, self.total(weight)))
        total = self.total(weight * weighed_by(weight, x))
        nan = self.total(jnp.isnan(x).astype(np.int32)) > 0
        return jnp.where(nan, np.array(np.nan, x.dtype), total)

    def most_common(self) -> jax.Array:
        axis, shape = self.how.axis, lax.broadcast_shapes(tuple(self._shape), self.ids.shape)
        nowhere = np.int32(self.how.cells)
        ids = self.ids if self.valid is None else jnp.where(self.valid, self.ids, nowhere)
        operands = (jnp.broadcast_to(ids, shape), jnp.broadcast_to(self.x, shape))
        ids, x = lax.sort(operands, dimension=axis, num_keys=2)
        how = dataclasses.replace(self.how, ascending=True)
        length = run_lengths(axis, ids, x)
        most = length == how.spread(how.largest(length, ids), ids)
        turned = jnp.where(most, ~x, lowest_value(x.dtype))  # of several the smallest
        return ~how.largest(turned, ids)

    def _ranks(self, x: jax.Array) -> jax.Array:
        """Of each element the rank in its cell, 0 for the largest; of equal ones the first."""
        axis, nowhere = self.how.axis, np.int32(self.how.cells)
        ids = self.ids if self.valid is None else jnp.where(self.valid, self.ids, nowhere)
        place = jnp.broadcast_to(numbered(axis, x.shape[axis], x.ndim), x.shape)
        keys = ~sortable_keys(lax.stop_gradient(x))
        operands = (jnp.broadcast_to(ids, x.shape), keys, place)
        _, _, order = lax.sort(operands, dimension=axis, is_stable=True, num_keys=2)
        # Where each element comes in that order: the inverse.
        _, number = lax.sort((order, place), dimension=axis, is_stable=False, num_keys=1)
        count = jnp.asarray(self.count).astype(np.int32)
        return number - self.spread(jnp.cumsum(count, axis, np.int32) - count)

    def _looked_up(self, weights: jax.Array, rank: jax.Array) -> jax.Array:
        """The weight of each element: ranks along the first axis, then what broadcasts to cells."""
        index, behind = rank, weights.shape[1:]
        for number, size in enumerate(behind):
            axis = rank.ndim - len(behind) + number
            if size != 1:
                here = self.ids if axis == self.how.axis else numbered(axis, size, rank.ndim)
                index = index * np.int32(size) + here
            else:
                index = index * np.int32(1)
        index = jnp.where((rank >= 0) & (rank < weights.shape[0]), index, np.int32(weights.size))
        table = Segments(0, weights.size, rank.size)
        return table.spread(weights.reshape(-1), index.reshape(-1)).reshape(rank.shape)


def fold_segments(
    carrier: Any,
    combine: Callable[[Any, Any], Any],
    identity: Any,
    ids: jax.Array,
    how: Segments,
) -> Any:
    """Combines the entries of each segment, in the order of the axis."""
    axis = how.axis
    if not how.ascending:
        order = jnp.argsort(ids, axis, stable=True).astype(np.int32)
        by_order = Segments(axis, how.length, how.length, permuted=True)
        carrier = jax.tree.map(lambda c: by_order.spread(c, order), carrier)
        ids = jnp.sort(ids, axis)
    begins, ends = run_bounds(axis, ids)
    _, folded = prefix_fold((begins, carrier), axis, restarted(combine), (False, identity))
    filled = how.total(ends.astype(np.int32), ids) > 0

    def last(c: jax.Array, identity: Any) -> jax.Array:
        kind = np.dtype(np.int32) if c.dtype == bool else c.dtype
        y = how.total(jnp.where(ends, c, np.zeros((), c.dtype)).astype(kind), ids)
        return jnp.where(filled, y.astype(c.dtype), identity)

    return jax.tree.map(last, folded, identity)
