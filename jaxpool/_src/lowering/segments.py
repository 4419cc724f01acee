"""Elements that say which cell they belong to: sums of cells, cells brought to their elements.

Each map is linear, is the transpose of the other, and is one equation for JAX: a sum is a scatter
on CPUs, where that is as fast as memory, and a tree of sums of sorted elements elsewhere; its
transpose is a gather on all platforms.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive

from jaxpool._src.lowering.interval_trees import fold_by_tree, sum_by_tree
from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.primitives import batched, linear_pair, lowered_by
from jaxpool._src.lowering.windows import along, are_known, lowest_value, numbered


@dataclasses.dataclass(frozen=True)
class Segments:
    """How the elements along an axis make cells.

    Their ids come as an array of the rank of x, int32, as long as x along `axis` and 1 or as long
    elsewhere; what belongs to no cell has the id `cells`.
    """

    axis: int
    cells: int
    length: Any  # number of elements, which may be symbolic
    ascending: bool = False  # whether ids are known to be so
    permuted: bool = False  # whether each cell has one element

    def total(self, x: jax.Array, ids: jax.Array) -> jax.Array:
        """Sum of each cell's elements; linear in x."""
        x = jnp.broadcast_to(x, lax.broadcast_shapes(x.shape, ids.shape))
        x, ids = varying_alike(x, ids)
        return _total_p.bind(x, ids, how=self, backward=False)

    def spread(self, cells: jax.Array, ids: jax.Array) -> jax.Array:
        """Each element's cell, or 0 for those that have none; linear in `cells`."""
        shape = self.resized(ids.shape, 1)
        cells = jnp.broadcast_to(cells, lax.broadcast_shapes(cells.shape, shape))
        cells, ids = varying_alike(cells, ids)
        return _total_p.bind(cells, ids, how=self, backward=True)

    def largest(self, x: jax.Array, ids: jax.Array) -> jax.Array:
        """Each cell's maximum, and NaN if it has one; of an empty cell the lowest value."""
        x = jnp.broadcast_to(x, lax.broadcast_shapes(x.shape, ids.shape))
        x, ids = varying_alike(lax.stop_gradient(x), ids)
        return _largest_p.bind(x, ids, how=self)

    def pick(self, x: jax.Array, places: jax.Array, ids: jax.Array) -> jax.Array:
        """The element of each cell at a place on the axis, or 0 beyond its end; linear in x."""
        x, places, ids = varying_alike(x, places, ids)
        return _pick_p.bind(x, places, ids, how=self, backward=False)

    def moved(self, axis: int) -> "Segments":
        """The same for arrays that have one axis more, there."""
        return dataclasses.replace(self, axis=self.axis + (self.axis >= axis))

    def resized(self, shape: Sequence[Any], size: Any) -> tuple[Any, ...]:
        """`shape` with that many entries along the axis."""
        return (*shape[: self.axis], size, *shape[self.axis + 1 :])


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def segment_max(x: jax.Array, valid: jax.Array | None, ids: jax.Array, how: Segments) -> jax.Array:
    """Each cell's maximum. What is not valid has the lowest value."""
    del valid
    return how.largest(x, ids)


@segment_max.defjvp
def _segment_max_jvp(how: Segments, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, valid, ids = primals
    y = segment_max(x, valid, ids, how)
    return y, how.pick(tangents[0], _place_of(lax.stop_gradient(x), y, valid, ids, how), ids)


def segment_argmax(
    x: jax.Array, valid: jax.Array | None, ids: jax.Array, how: Segments
) -> jax.Array:
    """The place on the axis of each cell's first maximum, or of its last NaN."""
    return _place_of(x, how.largest(x, ids), valid, ids, how)


def _place_of(
    x: jax.Array, y: jax.Array, valid: jax.Array | None, ids: jax.Array, how: Segments
) -> jax.Array:
    """The place of the first element that is equal to the cell's y, or of the last NaN."""
    shape = lax.broadcast_shapes(x.shape, ids.shape)
    place = jnp.broadcast_to(numbered(how.axis, how.length, len(shape)), shape)
    hits, key = x == how.spread(y, ids), -1 - place  # the first has the largest key
    if jnp.issubdtype(x.dtype, jnp.floating):
        is_nan = jnp.isnan(x)
        hits, key = hits | is_nan, jnp.where(is_nan, place, key)
    if valid is not None:
        hits &= valid
    nowhere = lowest_value(np.dtype(np.int32))
    found = how.largest(jnp.where(hits, key, nowhere), ids)
    beyond = jnp.broadcast_to(jnp.asarray(how.length, np.int32), found.shape)
    return jnp.where(found >= 0, found, jnp.where(found == nowhere, beyond, -1 - found))


def _rows(form: Callable, how: Segments, ids: jax.Array, *arrays: jax.Array) -> jax.Array:
    """``form(how, ids, *arrays)`` with ids as a vector, for each entry along their other axes."""
    batch = [i for i, n in enumerate(ids.shape) if i != how.axis and not _is_one(n)]
    kept = sorted([*batch, how.axis])
    row = lax.squeeze(ids, [i for i in range(ids.ndim) if i not in kept])
    one = dataclasses.replace(how, axis=how.axis - sum(i < how.axis for i in batch))
    function = functools.partial(form, one)
    for number in reversed(range(len(batch))):  # the first is the outermost
        axis = batch[number] - number
        in_axes = (kept.index(batch[number]) - number, *[axis] * len(arrays))
        function = jax.vmap(function, in_axes, axis)
    return function(row, *arrays)


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def _at(array: jax.Array, how: Segments, ids: jax.Array) -> Any:
    """Where the entries of `ids` are, to be updated."""
    return array.at[(*[slice(None)] * how.axis, ids)]


def _scattered(how: Segments, ids: jax.Array, x: jax.Array) -> jax.Array:
    start = jnp.zeros(how.resized(x.shape, how.cells), x.dtype)
    kept = {"mode": "drop", "indices_are_sorted": how.ascending}
    return _at(start, how, ids).add(x, wrap_negative_indices=False, **kept)


def _largest_scattered(how: Segments, ids: jax.Array, x: jax.Array) -> jax.Array:
    start = jnp.full(how.resized(x.shape, how.cells), lowest_value(x.dtype))
    return _raised(how, ids, x, start)


def _largest_in_blocks(how: Segments, ids: jax.Array, x: jax.Array) -> jax.Array:
    """On one CPU: a block of an axis that devices share would be on all of them."""
    if not (are_known(*x.shape) and jnp.issubdtype(x.dtype, jnp.floating) and x.size > _BLOCK):
        return _largest_scattered(how, ids, x)
    return _largest_of_keys(how, ids, x, rows=max(1, _BLOCK * how.length // x.size))


def _raised(how: Segments, ids: jax.Array, x: jax.Array, start: jax.Array) -> jax.Array:
    kept = {"mode": "drop", "indices_are_sorted": how.ascending}
    return _at(start, how, ids).max(x, wrap_negative_indices=False, **kept)


# Elements that are made ints at a time: 2 MB of float32, which stay in cache.
_BLOCK = 1 << 19


def _largest_of_keys(how: Segments, ids: jax.Array, x: jax.Array, rows: int) -> jax.Array:
    """By ints of the same order, whose maxima take half the time on CPUs.

    They are made of so many rows at a time: all of them would be another array in memory.
    """
    kind = np.dtype(f"int{8 * x.dtype.itemsize}")
    most = np.array(np.iinfo(kind).max, kind)

    def flipped(bits: jax.Array) -> jax.Array:
        """Those of negative numbers in the other order; its own inverse."""
        return jnp.where(bits < 0, bits ^ most, bits)

    def keys(x: jax.Array) -> jax.Array:
        return jnp.where(x != x, most, flipped(lax.bitcast_convert_type(x, kind)))

    def raised(number: Any, found: jax.Array) -> jax.Array:
        part, its_ids = (  # the last begin earlier: a slice ends within its array
            lax.dynamic_slice_in_dim(array, number * rows, rows, axis)
            for array, axis in ((x, how.axis), (ids, 0))
        )
        return _raised(how, its_ids, keys(part), found)

    start = keys(jnp.full(how.resized(x.shape, how.cells), lowest_value(x.dtype)))
    found = lax.fori_loop(0, -(-how.length // rows), raised, start)
    return lax.bitcast_convert_type(flipped(found), x.dtype)


def _gathered(how: Segments, ids: jax.Array, cells: jax.Array) -> jax.Array:
    return jnp.take(cells, ids, how.axis, mode="fill", fill_value=0)


def _in_order(how: Segments, ids: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Ids and elements, those of a cell side by side."""
    if how.ascending:
        return ids, x
    order = jnp.argsort(ids, stable=True).astype(np.int32)
    return jnp.take(ids, order, mode="clip"), jnp.take(x, order, how.axis, mode="clip")


def _bounds(ids: jax.Array, how: Segments, ndim: int) -> tuple[jax.Array, jax.Array]:
    """Where each cell's elements begin and end, of ids in order."""
    numbers = lax.iota(np.int32, how.cells)
    start, stop = (jnp.searchsorted(ids, numbers, side=side) for side in ("left", "right"))
    start, stop = (along(bound.astype(np.int32), how.axis, ndim) for bound in (start, stop))
    return start, stop


def _sum_in_order(how: Segments, ids: jax.Array, x: jax.Array) -> jax.Array:
    """Without a scatter, which on parallel hardware would add in any order."""
    if how.permuted:
        return jnp.take(x, jnp.argsort(ids), how.axis, mode="clip")
    if not isinstance(how.length, int):
        return _scattered(how, ids, x)
    ids, x = _in_order(how, ids, x)
    return sum_by_tree(x, _bounds(ids, how, x.ndim), how.axis)


def _largest_in_order(how: Segments, ids: jax.Array, x: jax.Array) -> jax.Array:
    ids, x = _in_order(how, ids, x)
    bounds = _bounds(ids, how, x.ndim)

    def larger(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where((b > a) | (b != b), b, a)

    return fold_by_tree(x, larger, lowest_value(x.dtype), bounds, how.axis)


def _picked(how: Segments, x: jax.Array, places: jax.Array) -> jax.Array:
    return jnp.take_along_axis(x, places, how.axis, mode="fill", fill_value=0)


def _put(how: Segments, places: jax.Array, y: jax.Array) -> jax.Array:
    """The transpose: all places are different."""
    start = jnp.zeros(how.resized(y.shape, how.length), y.dtype)
    kept = {"mode": "drop", "unique_indices": True}
    return _at(start, how, places).add(y, wrap_negative_indices=False, **kept)


_total_p, _pick_p = linear_pair("segment_total"), linear_pair("segment_pick")
_largest_p = Primitive("segment_largest")


def _total(
    platform: str, given: jax.Array, ids: jax.Array, *, how: Segments, backward: bool
) -> jax.Array:
    if backward:
        return _rows(_gathered, how, ids, given)
    return _rows(_scattered if platform == "cpu" else _sum_in_order, how, ids, given)


def _pick(
    platform: str, given: jax.Array, places: jax.Array, ids: jax.Array, *, how: Segments,
    backward: bool,
) -> jax.Array:  # fmt: skip
    if not backward:
        return _picked(how, given, places)
    if platform == "cpu":
        return _rows(_put, how, places, given)
    place = numbered(how.axis, how.length, given.ndim)
    picked = (_rows(_gathered, how, ids, places) == place) & (ids < how.cells)
    return jnp.where(picked, _rows(_gathered, how, ids, given), np.zeros((), given.dtype))


def _largest(
    platform: str, x: jax.Array, ids: jax.Array, *, how: Segments, several: bool
) -> jax.Array:
    form = _largest_scattered
    if isinstance(how.length, int) and not (platform == "cpu" and several):
        form = _largest_in_blocks if platform == "cpu" else _largest_in_order
    return _rows(form, how, ids, x)


def _resized(given: Any, *_: Any, how: Segments, backward: bool = False) -> Any:
    shape = how.resized(given.shape, how.length if backward else how.cells)
    return given.update(shape=shape, weak_type=False)


def _batch(
    primitive: Primitive, whole: int, operands: Any, axes: Any, *, how: Segments, **direction: Any
) -> tuple[jax.Array, int]:
    operands, at = batched(operands, axes, whole)
    return primitive.bind(*operands, how=how.moved(at), **direction), at


lowered_by(_total_p, _resized, functools.partial(_batch, _total_p, 1), _total)
lowered_by(_pick_p, _resized, functools.partial(_batch, _pick_p, 2), _pick)
lowered_by(
    _largest_p, _resized, functools.partial(_batch, _largest_p, 1), _largest, by_devices=True
)
