"""Maxima of boxes: of the weighted corners of samples, and of rectangles of pixels."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.unpool import fetched
from jaxpool._src.lowering.windows import lowest_value, materialized, traced
from jaxpool._src.regions.corners import (
    Cells,
    Corners,
    Maps,
    Places,
    cells_of,
    corners,
    digits,
    fold_corners,
    in_groups,
    rows_of,
    take,
    walk,
    walk_of,
    weighed,
)
from jaxpool._src.regions.tangents import known, tangent_of, without_unknown

# Which of so many ends along an axis was chosen is looked up one by one, of more in a loop.
_UNROLLED_ENDS = 16

# Of each turn of a walk, so many pixels: with 4, finding the place takes half as long again.
_PIXELS_IN_TURN = 2


@jax.custom_jvp
def max_of_corners(maps: Maps, cells: Cells, places: Places) -> jax.Array:
    return _largest_corner(maps, cells, places)[0]


@functools.partial(max_of_corners.defjvp, symbolic_zeros=True)
def _max_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    y, winner = _largest_corner(*lax.stop_gradient(primals))
    maps, cells, places = primals
    tangent = _tangent_of_winner(maps, cells, places, winner, tangents[0], tangents[2])
    return _won(*primals, y, winner), tangent.astype(y.dtype)


@jax.custom_jvp
def _won(maps: Maps, cells: Cells, places: Places, y: jax.Array, winner: jax.Array) -> jax.Array:
    """`y`, the largest corners, for derivatives: it does not look for them again."""
    del maps, cells, places, winner
    return y


@functools.partial(_won.defjvp, symbolic_zeros=True)
def _won_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    maps, cells, places, y, winner = primals
    tangent = _tangent_of_winner(maps, cells, places, winner, tangents[0], tangents[2])
    return _won(*primals), tangent.astype(y.dtype)


def _tangent_of_winner(
    maps: Maps, cells: Cells, places: Places, winner: jax.Array, of_maps: Any, of_places: Any
) -> jax.Array:
    def won(maps: Maps, places: Places) -> jax.Array:
        """The largest corner, as a differentiable function, given which one it is."""
        number: Any = winner
        place: Any = 0
        weight: Any = 1
        numbers, weights = corners(maps, cells, known(places))
        for ends, parts in zip(reversed(numbers), reversed(weights), strict=True):
            at, number = number % len(ends), number // len(ends)
            place, weight = place + _chosen(ends, at), weight * _chosen(parts, at)
        found = pick(rows_of(maps), place)
        # As in the value, what has no weight is not read.
        return weight * jnp.where(weight != 0, found, np.zeros((), found.dtype))

    return without_unknown(tangent_of(won, (maps, places), (of_maps, of_places)), places)


def _chosen(parts: Sequence[jax.Array], at: jax.Array) -> jax.Array:
    """``parts[at]``, with an axis of channels more, by comparing: a gather would be a scatter."""
    dtype = parts[0].dtype
    nothing = jnp.zeros(at.shape, dtype)

    def choose(number: Any, part: jax.Array, chosen: jax.Array) -> jax.Array:
        return jnp.where(at == number, jnp.broadcast_to(part[..., None], at.shape), chosen)

    if len(parts) <= _UNROLLED_ENDS:
        for number, part in enumerate(parts):
            nothing = choose(np.int32(number), part, nothing)
        return nothing
    stack = jnp.stack(parts)
    # The backward pass compares again, and keeps nothing of each turn.
    body = jax.checkpoint(lambda number, chosen: choose(number, stack[number], chosen))
    nothing = settled(functools.partial(body, jnp.int32(0)), nothing)
    return lax.fori_loop(np.int32(0), np.int32(len(parts)), body, nothing)


def _largest_corner(maps: Maps, cells: Cells, places: Places) -> tuple[jax.Array, jax.Array]:
    """The largest product of a corner and its weight in each cell, and the number of the corner."""
    rows = rows_of(maps)
    count, *shape = cells_of(places)

    def start(boxes: Any) -> tuple[jax.Array, jax.Array]:
        every = (boxes, *shape, rows.shape[-1])
        return jnp.full(every, lowest_value(rows.dtype)), jnp.zeros(every, np.int32)

    if cells.counts is None:
        operands = rows, start(count), corners(maps, cells, places)
        if not traced(operands):
            return _fold_at_once(*operands)
        return lax.platform_dependent(*operands, cpu=_fold_in_turn, default=_fold_at_once)

    def step(best: Any, number: Any, place: jax.Array, weight: jax.Array, there: jax.Array) -> Any:
        there = there[..., None]
        return _larger(weighed(rows, place, weight), number[..., None], best, there)

    way = walk_of(maps, cells, places, merged=False)
    best, winner = walk(step, start, way, math.prod(shape) * rows.shape[-1])
    empty = functools.reduce(jnp.minimum, cells.counts) <= 0
    empty = empty.reshape(-1, *[1] * (best.ndim - 1))
    return jnp.where(empty, np.zeros((), best.dtype), best), winner


def _larger(
    product: jax.Array, number: Any, best: tuple[jax.Array, jax.Array], there: Any = True
) -> tuple[jax.Array, jax.Array]:
    wins = ((product > best[0]) | (product != product)) & there
    return jnp.where(wins, product, best[0]), jnp.where(wins, number, best[1])


def _fold_at_once(rows: jax.Array, start: Any, ends: tuple[Corners, Corners]) -> Any:
    """The largest product, and its number."""

    def step(best: Any, number: Any, place: jax.Array, weight: jax.Array) -> Any:
        return _larger(weighed(rows, place, weight), number, best)

    return fold_corners(step, start, *ends)


def _fold_in_turn(rows: jax.Array, start: Any, ends: tuple[Corners, Corners]) -> Any:
    """The same where a loop has one result: the largest product, then the first that equals it."""

    def larger(best: jax.Array, _: Any, place: jax.Array, weight: jax.Array) -> jax.Array:
        return _larger(weighed(rows, place, weight), 0, (best, start[1]))[0]

    def equals(found: jax.Array, number: Any, place: jax.Array, weight: jax.Array) -> jax.Array:
        product = weighed(rows, place, weight)
        here = ((product == best) & (found < 0)) | (product != product)
        return jnp.where(here, number, found)

    fold = lambda step, start, rows, ends: fold_corners(step, start, *ends)  # noqa: E731
    best = materialized(functools.partial(fold, larger), start[0], rows, ends)
    winner = materialized(functools.partial(fold, equals), start[1] - 1, rows, ends)
    return best, jnp.maximum(winner, 0)


Intervals = tuple[jax.Array, jax.Array]  # starts and stops, both of shape (K, cells)


@jax.jit
def interval_max(
    x: jax.Array, bounds: tuple[Intervals, ...], image: jax.Array | None = None
) -> jax.Array:
    """Maxima of boxes of x between bounds along each axis; 0 where a box is empty.

    x is of shape (H, W, C), or with any number of axes, and the result of shape (K, P, Q, C). If
    `image` is given, x has an axis of images before all others, and that is the one of each box; it
    is at least 0, and beyond the last one for boxes in none, which are empty.
    """
    if image is not None:
        inside = (image < x.shape[0])[:, None]
        bounds = tuple((start, jnp.where(inside, stop, start)) for start, stop in bounds)
        if isinstance(x.shape[0], int) and x.shape[0] == 0:  # none to gather from
            x = jnp.zeros((1, *x.shape[1:]), x.dtype)
    return _interval_max(x, bounds, image)


@jax.custom_jvp
def _interval_max(
    x: jax.Array, bounds: tuple[Intervals, ...], image: jax.Array | None
) -> jax.Array:
    return _interval_argmax(x, bounds, image)[0]


@_interval_max.defjvp
def _interval_max_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, bounds, image = primals
    y, place = _interval_argmax(lax.stop_gradient(x), bounds, image)
    return _found_at(x, y, place), _pick_from((tangents[0],), place)


@jax.custom_jvp
def _found_at(x: jax.Array, y: jax.Array, place: jax.Array) -> jax.Array:
    """`y`, the elements of x at their places, for derivatives: it does not look for them again."""
    del x, place
    return y


@_found_at.defjvp
def _found_at_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _found_at(*primals), _pick_from((tangents[0],), primals[2])


def _pick_from(maps: Maps, place: jax.Array) -> jax.Array:
    """The elements at their places, 0 where there is none."""
    return pick(rows_of(maps), place)


def _interval_argmax(
    x: jax.Array, bounds: tuple[Intervals, ...], image: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the numbers of their pixels, -1 where there is none."""
    pixels, shape = rows_of((x,)), x.shape[-1 - len(bounds) : -1]
    begin = jnp.zeros(bounds[0][0].shape[0], np.int32)
    if image is not None:
        begin = image * math.prod(shape)
    together = functools.partial(_walk_pixels, pixels, shape)
    sizes = tuple(jnp.max(stop - start, -1, initial=0) for start, stop in bounds)
    steps = functools.reduce(jnp.multiply, sizes)
    elements = math.prod(start.shape[-1] for start, _ in bounds) * pixels.shape[-1]
    return in_groups(together, steps, (bounds, sizes, begin), elements)


def _walk_pixels(
    pixels: jax.Array,
    shape: Sequence[Any],
    boxes: tuple[tuple[Intervals, ...], tuple[jax.Array, ...], jax.Array],
) -> tuple[jax.Array, jax.Array]:
    """The pixels of all cells in row-major order, each box as far as its largest cell."""
    bounds, sizes, begin = boxes
    rank = len(bounds)
    starts, stops = (
        [_broad(axis, rank, b[end]) for axis, b in enumerate(bounds)] for end in (0, 1)
    )
    most = functools.reduce(jnp.multiply, sizes)
    sizes = [jnp.maximum(size, 1) for size in sizes]

    def read(number: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The pixel of each cell with this number, and whether it has one."""
        place: Any = 0
        conditions = [_of_boxes(number < most, rank)]
        at = digits(number, sizes)
        for start, stop, i, length in zip(starts, stops, at, shape, strict=True):
            pixel = start + _of_boxes(i, rank)
            place = place * length + pixel
            conditions.append(pixel < stop)
        inside = functools.reduce(jnp.logical_and, conditions)
        return (place + _of_boxes(begin, rank))[..., None], inside[..., None]

    def turn(number: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        return [read(number + i) for i in range(_PIXELS_IN_TURN)]

    def body(state: Any) -> Any:
        # Of the next turn, since XLA:CPU would compute what it needs at once for each channel.
        number, reads, best, picked = state
        for place, inside in reads:
            element = take(pixels, place[..., 0])
            wins = inside & ((element > best) | (element != element))
            best = jnp.where(wins, element, best)
            picked = jnp.where(wins, place, picked)
        number = number + _PIXELS_IN_TURN
        return number, turn(number), best, picked

    every = (*jnp.broadcast_shapes(*(start.shape for start in starts)), pixels.shape[-1])
    nothing = [stop <= start for start, stop in zip(starts, stops, strict=True)]
    empty = functools.reduce(jnp.logical_or, nothing)[..., None]
    reads = turn(jnp.int32(0))
    first = jnp.broadcast_to(jnp.where(empty, -1, reads[0][0]), every)
    state = jnp.int32(0), reads, jnp.full(every, lowest_value(pixels.dtype)), first
    longest = jnp.max(most, initial=0)
    state = lax.while_loop(lambda state: state[0] < longest, body, settled(body, state))
    return jnp.where(empty, np.zeros((), pixels.dtype), state[2]), state[3]


def _of_boxes(number: jax.Array, rank: int) -> jax.Array:
    """What each box has, to broadcast with its cells."""
    return number.reshape(-1, *[1] * rank)


def _broad(axis: int, rank: int, bound: jax.Array) -> jax.Array:
    """A bound of cells along one axis, to broadcast with those along the others."""
    return lax.expand_dims(bound, [1 + i for i in range(rank) if i != axis])


def pick(rows: jax.Array, place: jax.Array) -> jax.Array:
    """``rows[place[..., c], c]``, whose transpose adds up without a scatter on GPUs."""
    count, channels = math.prod(place.shape[:-1]), place.shape[-1]
    if isinstance(count, int) and count == 0:  # of nothing there is no element to gather
        return jnp.zeros(place.shape, rows.dtype)
    return fetched(rows, place.reshape(count, channels), 0).reshape(place.shape)
