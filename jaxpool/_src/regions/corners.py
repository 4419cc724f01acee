"""Samples of cells, the pixels around them, and loops over these.

Along each axis a sample lies between two pixels; a corner is a choice of one of them for each axis,
and its weight is the product of theirs.
"""

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled

# Up to this many corners of samples are written out one by one; more run in a loop, which is slower
# but keeps programs small. 64 is 4 x 4 samples in a cell.
_UNROLLED_CORNERS = 64

# Boxes with a number of samples of their own take about as many turns as the largest of those that
# are walked together, and their cells have about this many elements. Of each turn, so many pixels.
_ELEMENTS_IN_STEP = 2**19
_PIXELS_IN_TURN = 4

Maps = tuple[jax.Array, ...]
Places = tuple[jax.Array, ...]  # of samples, along each axis: (K, P, 1, S) and (K, 1, Q, S), say


class Cells(NamedTuple):
    """What is known of boxes beside the places of their samples. Nothing of it has a derivative.

    Attributes:
      level: for several maps, the one that each of the K boxes reads.
      image: for maps with an axis of N images before all others, the one that each box is in. It
        is in [0, N), but N for boxes that are in none.
      counts: numbers of samples in a box's cells along each axis, int32 of shape (K,), if places
        have room for more; those that are not there are outside of any map.
    """

    level: jax.Array | None = None
    image: jax.Array | None = None
    counts: tuple[jax.Array, ...] | None = None


def samples(low: jax.Array, size: jax.Array, ratio: int) -> jax.Array:
    """Places of the `ratio` samples in cells that begin at `low` and are `size` long."""
    inner = jnp.arange(ratio, dtype=low.dtype) + 0.5
    size = size[..., None]
    return low[..., None] + inner.reshape((1,) * low.ndim + (ratio,)) * size / ratio


def cells_of(places: Places) -> tuple[Any, ...]:
    """Number of boxes, and of cells along each axis."""
    return places[0].shape[0], *(t.shape[1 + axis] for axis, t in enumerate(places))


def rows_of(maps: Maps) -> jax.Array:
    """All pixels of all maps, of shape (N, C)."""
    rows = [x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) for x in maps]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows)


def take(rows: jax.Array, place: jax.Array) -> jax.Array:
    return rows.at[place].get(mode="clip", wrap_negative_indices=False)


def weighed(rows: jax.Array, place: jax.Array, weight: jax.Array) -> jax.Array:
    """Pixels times their weights. What has no weight is not read: 0 * NaN is NaN."""
    weight = weight[..., None]
    return jnp.where(weight != 0, weight * take(rows, place), np.zeros((), rows.dtype))


# --- where they are in memory -------------------------------------------------------------------


def lengths(maps: Maps, cells: Cells, rank: int) -> tuple[list[Any], list[Any], Any]:
    """Pixels along each axis, rows from one to the next, and the row in which a cell's map begins.

    Numbers that depend on the box or on the cell are arrays of as many axes as places have.
    """
    spatial = [x.shape[-1 - rank : -1] for x in maps]
    sizes: list[Any] = list(spatial[0])
    pixels = [math.prod(shape) for shape in spatial]
    inner = maps[0].shape[1 if cells.image is not None else 0 : -1 - rank]
    first: Any = 0
    if cells.level is not None:
        images = 1 if cells.image is None else maps[0].shape[0]
        starts = itertools.accumulate((images * n for n in pixels[:-1]), initial=0)
        *sizes, each, first = (
            jnp.stack([jnp.asarray(n, np.int32) for n in numbers])[cells.level]
            for numbers in (*zip(*spatial, strict=True), pixels, starts)
        )
    else:
        each = math.prod(inner) * pixels[0]
    if cells.image is not None:
        first = first + cells.image * each
    sizes = [_of_boxes(n, rank) for n in sizes]
    first = _of_boxes(first, rank)
    if inner:
        own = jnp.arange(math.prod(inner), dtype=np.int32).reshape(1, *inner, 1)
        first = first + own * pixels[0]
    strides = [math.prod(sizes[axis + 1 :], start=1) for axis in range(rank)]
    return sizes, strides, first


def _of_boxes(number: Any, rank: int) -> Any:
    return number.reshape(-1, *[1] * (rank + 1)) if isinstance(number, jax.Array) else number


def clamped(t: jax.Array, length: Any) -> tuple[jax.Array, jax.Array]:
    """Which samples count as 0, being more than a pixel away, and where the others are taken."""
    length = jnp.asarray(length, t.dtype)
    return (t < -1) | (t > length), jnp.minimum(jnp.maximum(t, 0), length - 1)


def hats(t: jax.Array, pixel: jax.Array) -> jax.Array:
    """The weight of each pixel at t.

    Where t is on a pixel, the derivatives of min and max are the means of both sides'.
    """
    distance = t - pixel
    return jnp.maximum(jnp.minimum(1 + distance, 1 - distance), 0)


Ends = tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]


def _ends(t: jax.Array, length: Any) -> Ends:
    """The two pixels around each sample, and their weights."""
    outside, t = clamped(t, length)
    low = jnp.minimum(jnp.floor(t).astype(np.int32), length - 1)
    high = jnp.minimum(low + 1, length - 1)
    part = t - low.astype(t.dtype)
    zero = np.zeros((), t.dtype)
    return (low, high), (jnp.where(outside, zero, 1 - part), jnp.where(outside, zero, part))


# --- as many samples for each box ---------------------------------------------------------------

Corners = list[list[jax.Array]]  # for each axis, an array for each of its ends


def corners(maps: Maps, cells: Cells, places: Places) -> tuple[Corners, Corners]:
    """Parts of rows' numbers, and of weights: for each axis those of the ends of each sample."""
    sizes, strides, first = lengths(maps, cells, len(places))
    numbers, weights = [], []
    for axis, (t, size, stride) in enumerate(zip(places, sizes, strides, strict=True)):
        ends, parts = _ends(t, size)
        ends = [end * stride + (first if axis == 0 else 0) for end in ends]
        numbers.append(_split(*ends))
        weights.append(_split(*parts))
    return numbers, weights


def _split(low: jax.Array, high: jax.Array) -> list[jax.Array]:
    return [x[..., i] for i in range(low.shape[-1]) for x in (low, high)]


def fold_corners(step: Callable, carry: Any, numbers: Corners, weights: Corners) -> Any:
    """``step(carry, number, place, weight)`` for each choice of an end along each axis."""
    shape = [len(parts) for parts in numbers]
    if math.prod(shape) <= _UNROLLED_CORNERS:
        for number, at in enumerate(np.ndindex(*shape)):
            place, weight = (
                functools.reduce(combine, [parts[i] for parts, i in zip(parts_of, at, strict=True)])
                for combine, parts_of in ((jnp.add, numbers), (jnp.multiply, weights))
            )
            carry = step(carry, np.int32(number), place, weight)
        return carry
    stacked = [[jnp.stack(parts) for parts in many] for many in (numbers, weights)]

    def body(number: jax.Array, carry: Any) -> Any:
        at = digits(number, shape)
        place = functools.reduce(jnp.add, [part[i] for part, i in zip(stacked[0], at, strict=True)])
        parts = [part[i] for part, i in zip(stacked[1], at, strict=True)]
        return step(carry, number, place, functools.reduce(jnp.multiply, parts))

    carry = settled(functools.partial(body, jnp.int32(0)), carry)
    return lax.fori_loop(np.int32(0), np.int32(math.prod(shape)), body, carry)


def digits(number: Any, shape: Sequence[Any]) -> list[Any]:
    """The index that an entry of an array has along each axis, given its number."""
    found = []
    for size in reversed(shape):
        found.append(number % size)
        number = number // size
    return found[::-1]


# --- a number of samples for each box -----------------------------------------------------------


class Walk(NamedTuple):
    """What cells read along each axis: rows, weights, and how many of these a box has."""

    numbers: tuple[jax.Array, ...]  # (K, P, 1, E) and so on
    weights: tuple[jax.Array, ...]
    counts: tuple[jax.Array, ...]  # (K,)


def walk_of(maps: Maps, cells: Cells, places: Places, *, merged: bool) -> Walk:
    """The ends of samples, or if they are `merged` the pixels that these lie on.

    Samples that are at most a pixel apart lie on one pixel more than they are, not on twice as
    many; weights of a pixel add up.
    """
    assert cells.counts is not None
    sizes, strides, first = lengths(maps, cells, len(places))
    numbers, weights, counts = [], [], []
    for axis, (t, size, stride) in enumerate(zip(places, sizes, strides, strict=True)):
        number, weight = (jnp.stack(ends, -1).reshape(*t.shape[:-1], -1) for ends in _ends(t, size))
        here = jnp.minimum(cells.counts[axis], t.shape[-1])
        count = 2 * here
        if merged:
            number, weight, count = _merged(t, size, here, number, weight)
        numbers.append(number * stride + (first if axis == 0 else 0))
        weights.append(weight)
        counts.append(count)
    return Walk(tuple(numbers), tuple(weights), tuple(counts))


def _merged(
    t: jax.Array, size: Any, here: jax.Array, number: jax.Array, weight: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Pixels from the first one on, for boxes whose samples leave none of them out."""
    outside, inside = clamped(t, size)
    first = jnp.floor(inside[..., :1])
    last = jnp.max(jnp.floor(inside), -1, keepdims=True)
    every = tuple(range(1, t.ndim))
    dense = jnp.all(last - first < _of_boxes(here, t.ndim - 2).astype(t.dtype), every)
    pixel = first + jnp.arange(number.shape[-1], dtype=t.dtype).reshape((1,) * (t.ndim - 1) + (-1,))
    hat = hats(inside[..., None, :], pixel[..., None])
    sums = jnp.sum(jnp.where(outside[..., None, :], np.zeros((), t.dtype), hat), -1)
    broad = _of_boxes(dense, t.ndim - 2)
    number = jnp.where(broad, jnp.minimum(pixel.astype(np.int32), size - 1), number)
    count = jnp.where(dense, here + jnp.minimum(here, 1), 2 * here)
    return number, jnp.where(broad, sums, weight), count


def walk(step: Callable, start: Callable, way: Walk, elements: Any) -> Any:
    """``step(carry, number, place, weight, there)`` for all that each box reads.

    `start` makes the carry for a number of boxes, of each of which it has so many `elements`.
    """
    together = functools.partial(_walk_together, step, start)
    steps = functools.reduce(jnp.multiply, way.counts)
    return in_groups(together, steps, way, elements)


def in_groups(together: Callable, steps: jax.Array, boxes: Any, elements: Any) -> Any:
    """``together(boxes)``, of arrays whose first axis is that of boxes, as are its results.

    Boxes that take about as many `steps` go together, with as many `elements` in all as are good at
    once, so that each group takes no more steps than its longest does.
    """
    count = steps.shape[0]
    if not isinstance(count, int) or not isinstance(elements, int):
        return together(boxes)
    at_once = min(max(_ELEMENTS_IN_STEP // max(elements, 1), 1), max(count // 4, 1))
    if at_once >= count or count * elements <= _ELEMENTS_IN_STEP // 4:
        return together(boxes)
    order = jnp.argsort(-steps)
    back = jnp.argsort(order)
    padded = jnp.pad(order, (0, -count % at_once), mode="edge")
    grouped = jax.tree.map(
        lambda part: take(part, padded).reshape(-1, at_once, *part.shape[1:]), boxes
    )
    found = lax.map(together, grouped)
    return jax.tree.map(lambda part: take(part.reshape(-1, *part.shape[2:]), back), found)


def _walk_together(step: Callable, start: Callable, way: Walk) -> Any:
    shape = tuple(part.shape[-1] for part in way.numbers)
    total = functools.reduce(jnp.multiply, way.counts)
    counts = [jnp.maximum(count, 1) for count in way.counts]

    def read(number: jax.Array) -> tuple[jax.Array, ...]:
        """What `step` is told of each box's pixel with this number."""
        there = (number < total).reshape(-1, *[1] * len(shape))
        at = digits(number, counts)
        place, weight = (
            functools.reduce(combine, map(_entry, parts, at))
            for combine, parts in ((jnp.add, way.numbers), (jnp.multiply, way.weights))
        )
        corner = functools.reduce(lambda a, b: a * b[0] + b[1], zip(shape, at, strict=True), 0)
        weight = jnp.where(there, weight, np.zeros((), weight.dtype))
        return jnp.reshape(corner, there.shape), place, weight, there

    def turn(number: jax.Array) -> list[tuple[jax.Array, ...]]:
        return [read(number + i) for i in range(_PIXELS_IN_TURN)]

    def body(state: Any) -> Any:
        # Of the next turn, since XLA:CPU would compute what it needs at once for each channel.
        number, reads, carry = state
        for given in reads:
            carry = step(carry, *given)
        number = number + _PIXELS_IN_TURN
        return number, turn(number), carry

    longest = jnp.max(total, initial=0)
    state = settled(body, (jnp.int32(0), turn(jnp.int32(0)), start(total.shape[0])))
    return lax.while_loop(lambda state: state[0] < longest, body, state)[2]


def _entry(part: jax.Array, at: jax.Array) -> jax.Array:
    """The entry of each box at a place of its own on the last axis."""
    at = at.reshape(-1, *[1] * (part.ndim - 1))
    return jnp.take_along_axis(part, at, -1, mode="clip")[..., 0]
