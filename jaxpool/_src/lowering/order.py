"""The elements of cells, laid out to be asked for order statistics."""

import dataclasses
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.bisection import largest_key, sortable_keys
from jaxpool._src.lowering.networks import (
    Weights,
    factor_of,
    interpolated,
    weighed_by,
)
from jaxpool._src.lowering.ranks import Number, Place, numbers, places
from jaxpool._src.lowering.scans import prefix_fold, restarted
from jaxpool._src.lowering.windows import (
    along,
    are_known,
    numbered,
    one_cpu,
    positions,
    traced,
)

# On CPUs, up to this many of the largest elements are selected, more found bit by bit.
_MOST_SELECTED = 256


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LaidOut:
    """The valid elements of each cell along some axes of an array; the others are the cells'."""

    x: jax.Array
    valid: jax.Array | None
    axes: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    count: Any  # how many these are for each cell: by NumPy, if it is known
    keepdims: bool = dataclasses.field(default=False, metadata={"static": True})

    @property
    def _shape(self) -> tuple[Any, ...]:
        """That of x and `valid` together."""
        valid = self.x.shape if self.valid is None else self.valid.shape
        return lax.broadcast_shapes(self.x.shape, valid)

    @property
    def _cells(self) -> list[Any]:
        """That of the result, with the axes of elements."""
        return [1 if i in self.axes else n for i, n in enumerate(self._shape)]

    @property
    def _counts(self) -> Any:
        """`count` in the rank of x."""
        count = self.count.astype(np.int32)
        if self.keepdims:
            return count
        expand_dims = np.expand_dims if isinstance(count, np.ndarray) else lax.expand_dims
        return expand_dims(count, self.axes)

    @property
    def _in_place(self) -> "LaidOut":
        """The same, where all that cells have is in the rank of x."""
        return dataclasses.replace(self, count=self._counts, keepdims=True)

    def _reduced(self, y: jax.Array) -> jax.Array:
        return y if self.keepdims else lax.squeeze(y, self.axes)

    def spread(self, cells: Any) -> Any:
        """What each cell has, to be broadcast against its elements."""
        return cells

    def total(self, x: jax.Array) -> jax.Array:
        """The sum of what the elements of each cell have."""
        return jnp.sum(x, self.axes, x.dtype, keepdims=True)

    def smallest(self, x: jax.Array) -> jax.Array:
        """The smallest of what they have."""
        return jnp.min(x, self.axes, keepdims=True)

    def at(self, place: Place) -> jax.Array:
        """As that of `Taps`."""
        ranks, fractions = places(place, self._counts, self.x.dtype)
        return self._reduced(_value_at(self._in_place, ranks, fractions))

    def has_nan(self) -> jax.Array:
        """Whether a cell has a NaN."""
        return self.counted(jnp.isnan(self.x)) > 0

    def counted(self, test: jax.Array) -> jax.Array:
        """How many valid elements pass."""
        if self.valid is not None:
            test = test & self.valid
        return self.total(test.astype(np.int32))

    def key_at(self, keys: jax.Array, ranks: Any) -> jax.Array:
        """The key of a rank, ascending; NaN is above all others."""

        def below(candidate: jax.Array) -> jax.Array:
            return self.counted(keys < self.spread(candidate))

        return largest_key(below, ranks, self._cells, keys.dtype)

    def first(self, test: jax.Array, number: Any = 1) -> jax.Array:
        """The first valid elements that pass, so many of each cell."""
        if self.valid is not None:
            test = test & self.valid
        place = jnp.where(
            test, positions(self.x.shape, self.axes), np.int32(np.iinfo(np.int32).max)
        )
        if isinstance(number, int):
            return test & (place == self.spread(self.smallest(place)))
        place = place.astype(np.uint32)

        def below(candidate: jax.Array) -> jax.Array:
            return self.total((place < self.spread(candidate)).astype(np.int32))

        last = largest_key(below, number - 1, self._cells, place.dtype)
        return test & (place <= self.spread(last)) & self.spread(number > 0)

    def sum(self, chosen: jax.Array) -> jax.Array:
        """Sum of the elements that are chosen."""
        return self.total(jnp.where(chosen, self.x, np.zeros((), self.x.dtype)))

    def element(self, keys: jax.Array, ranks: Any) -> jax.Array:
        """The element of a rank, ascending; of equal ones the first."""
        return self.sum(self.first(keys == self.spread(self.key_at(keys, ranks))))

    def top(self, k: Number) -> jax.Array:
        """Which elements are so many largest ones of each cell; of equal ones the first."""
        return _top(self._in_place, numbers(k, self._counts))

    def top_sum(self, k: Number) -> jax.Array:
        """As that of `Taps`."""
        by_keys = lambda cells: cells._reduced(_sum_unless_nan(cells._in_place, cells.top(k)))  # noqa: E731
        number = self._known_few(k)
        if number is None:
            return by_keys(self)
        cells = dataclasses.replace(self, count=None)  # which is known, and no array of the program
        select = lambda cells: cells._selected_sum(number)  # noqa: E731
        rest = lambda cells: by_keys(dataclasses.replace(cells, count=self.count))  # noqa: E731
        return lax.platform_dependent(cells, cpu=select, default=rest)

    def _known_few(self, k: Number) -> int | None:
        """How many elements `k` is in all cells, if CPUs select so many sooner."""
        known = self.valid is None and isinstance(self.count, np.ndarray | np.generic)
        known = known and are_known(*self.x.shape) and self.x.dtype == np.float32
        if not (known and traced(self.x) and one_cpu()):
            return None
        found = k.known(np.asarray(self.count))
        return int(found.max()) if found.min() == found.max() <= _MOST_SELECTED else None

    def _selected_sum(self, number: int) -> jax.Array:
        axis, x, _ = self._in_a_row()
        # Where NaN is in the order of a selection, depends on its sign.
        nan = jnp.any(jnp.isnan(x), axis)
        total = jnp.sum(lax.top_k(jnp.moveaxis(x, axis, -1), number)[0], -1)
        total = jnp.where(nan, np.array(np.nan, x.dtype), total)
        return lax.expand_dims(total, self.axes) if self.keepdims else total

    def number(self, k: Number) -> jax.Array:
        """As that of `Taps`."""
        return self._reduced(jnp.asarray(numbers(k, self._counts)).astype(self.x.dtype))

    def rank_sum(self, weights: Weights, scaled: bool = True) -> jax.Array:
        """As that of `Taps`; or, not `scaled`, with weights as they are, whatever their sum."""
        axis, x, valid = self._in_a_row()
        count = self.count
        if self.keepdims:
            count = count.reshape([n for i, n in enumerate(np.shape(count)) if i not in self.axes])
        count = count.reshape(*count.shape[:axis], 1, *count.shape[axis:])
        size = x.shape[axis]
        rank = numbered(axis, size, x.ndim)
        if callable(weights):
            weight = jnp.asarray(weights(rank, count)).astype(x.dtype)
            wanted = np.ones((), x.dtype)
        else:
            weight = self._laid_out_weights(weights, axis, x)
            wanted = jnp.sum(weight, axis, keepdims=True)
        zero = np.zeros((), x.dtype)
        weight = jnp.where(rank < count, weight, zero)
        if scaled:
            weight = weight * factor_of(wanted, jnp.sum(weight, axis, keepdims=True))
        keys = ~sortable_keys(lax.stop_gradient(x))
        if valid is not None:
            x, keys = jnp.where(valid, x, zero), jnp.where(valid, keys, ~keys.dtype.type(0))
        shape = lax.broadcast_shapes(x.shape, weight.shape)
        total = _compiled_sum_by_rank(
            jnp.broadcast_to(x, shape), jnp.broadcast_to(keys, shape), weight, axis
        )
        nan = jnp.any(jnp.isnan(x), axis)
        total = jnp.where(nan, np.array(np.nan, x.dtype), total)
        return lax.expand_dims(total, self.axes) if self.keepdims else total

    def most_common(self) -> jax.Array:
        """As that of `Taps`."""
        axis, x, valid = self._in_a_row()
        shape = x.shape if valid is None else lax.broadcast_shapes(x.shape, valid.shape)
        left_out = jnp.zeros(shape, bool) if valid is None else jnp.broadcast_to(~valid, shape)
        left_out, x = lax.sort((left_out, jnp.broadcast_to(x, shape)), dimension=axis, num_keys=2)
        length = jnp.where(left_out, np.int32(0), run_lengths(axis, x))
        place = numbered(axis, x.shape[axis], x.ndim)
        most = length == jnp.max(length, axis, keepdims=True)
        first = jnp.min(jnp.where(most, place, x.shape[axis]), axis, keepdims=True)
        zero = np.zeros((), x.dtype)
        label = jnp.sum(jnp.where(place == first, x, zero), axis, x.dtype)
        return lax.expand_dims(label, self.axes) if self.keepdims else label

    def _laid_out_weights(self, weights: jax.Array, axis: int, x: jax.Array) -> jax.Array:
        """Weights of ranks along an axis of x, where its elements are in a row; 0 beyond."""
        size = x.shape[axis]
        rows = min(weights.shape[0], size)
        widths = [(0, size - rows, 0)] + [(0, 0, 0)] * (weights.ndim - 1)
        weights = lax.pad(weights[:rows], np.zeros((), x.dtype), widths)
        if weights.ndim == 1:
            return along(weights, axis, x.ndim)
        kept = x.ndim - 1 + (len(self.axes) if self.keepdims else 0)
        weights = weights.reshape(size, *[1] * (kept + 1 - weights.ndim), *weights.shape[1:])
        if self.keepdims:
            weights = lax.squeeze(weights, [1 + i for i in self.axes])
        return jnp.moveaxis(weights, 0, axis)

    def _in_a_row(self) -> tuple[int, jax.Array, jax.Array | None]:
        """The elements along one axis: which that is, and x and `valid` so."""
        first, last = min(self.axes), max(self.axes)
        adjacent = last - first + 1 == len(self.axes)

        def lay(x: jax.Array) -> jax.Array:
            if not adjacent:
                x = jnp.moveaxis(x, self.axes, range(x.ndim - len(self.axes), x.ndim))
            start = first if adjacent else x.ndim - len(self.axes)
            stop = start + len(self.axes)
            size = functools.reduce(operator.mul, x.shape[start:stop])
            return x.reshape(*x.shape[:start], size, *x.shape[stop:])

        x = lay(jnp.broadcast_to(self.x, self._shape))
        valid = None if self.valid is None else lay(jnp.broadcast_to(self.valid, self._shape))
        return first if adjacent else self.x.ndim - len(self.axes), x, valid


def run_bounds(axis: int, *keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where runs of elements that are equal in all keys begin along an axis, and where they end."""
    changes = []
    for key in keys:
        near, far = (lax.slice_in_dim(key, *ends, axis=axis) for ends in ((0, -1), (1, None)))
        changes.append(near != far)
    changed = functools.reduce(operator.or_, changes)
    edge = lax.full_like(lax.slice_in_dim(keys[0], 0, 1, axis=axis), True, bool)
    return lax.concatenate([edge, changed], axis), lax.concatenate([changed, edge], axis)


def run_lengths(axis: int, *keys: jax.Array) -> jax.Array:
    """How many elements along an axis, up to each, are equal to it in all keys and not apart."""
    begins, _ = run_bounds(axis, *keys)
    ones = lax.full_like(begins, 1, np.int32)
    return prefix_fold((begins, ones), axis, restarted(lax.add), (False, np.int32(0)))[1]


@jax.jit
def _value_at(cells: LaidOut, ranks: Any, fractions: Any) -> jax.Array:
    """The element of a rank of each cell; or that much further, on the line to the next."""
    x, last = cells.x, cells.count - 1
    if jnp.issubdtype(x.dtype, jnp.floating):
        ranks = jnp.where(cells.has_nan(), last, ranks)
    keys = sortable_keys(lax.stop_gradient(x))
    low = cells.element(keys, ranks)
    if fractions is None:
        return low
    return interpolated(low, cells.element(keys, jnp.minimum(ranks + 1, last)), fractions)


@jax.jit
def _top(cells: LaidOut, numbers: Any) -> jax.Array:
    """Which elements are so many largest ones."""
    keys = sortable_keys(lax.stop_gradient(cells.x))
    last = cells.key_at(keys, cells.count - numbers)
    above = keys > cells.spread(last)
    if cells.valid is not None:
        above = above & cells.valid
    equal = keys == cells.spread(last)
    return above | cells.first(equal, numbers - cells.counted(above))


@jax.jit
def _sum_unless_nan(cells: LaidOut, chosen: jax.Array) -> jax.Array:
    return jnp.where(cells.has_nan(), np.array(np.nan, cells.x.dtype), cells.sum(chosen))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _sum_by_rank(x: jax.Array, keys: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """Sum along an axis of x, in the order of `keys`, times `weights`."""
    return jnp.sum(weights * weighed_by(weights, _in_order(x, keys, axis)), axis, x.dtype)


def _in_order(x: jax.Array, keys: jax.Array, axis: int) -> jax.Array:
    return lax.sort((keys, x), dimension=axis, is_stable=True, num_keys=1)[1]


@_sum_by_rank.defjvp
def _sum_by_rank_jvp(axis: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """With the weights brought to where the elements are, so that nothing is scattered."""
    x, keys, weights = primals
    place = lax.broadcasted_iota(np.int32, x.shape, axis)
    _, place = lax.sort((keys, place), dimension=axis, is_stable=True, num_keys=1)
    spread = jnp.broadcast_to(weights, x.shape)
    back = lax.sort((place, spread), dimension=axis, is_stable=False, num_keys=1)[1]
    weighed = weighed_by(weights, _in_order(x, keys, axis))
    terms = jnp.broadcast_to(tangents[2], x.shape) * weighed + back * tangents[0]
    return _sum_by_rank(x, keys, weights, axis), jnp.sum(terms, axis, x.dtype)


_compiled_sum_by_rank = jax.jit(_sum_by_rank, static_argnums=3)
