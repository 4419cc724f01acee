"""Maxima of boxes: of the weighted corners of samples, and of rectangles of pixels."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled, varying_alike
from jaxpool._src.lowering.unpool import unpool_planes
from jaxpool._src.lowering.windows import lowest_value
from jaxpool._src.regions.corners import (
    Cells,
    Maps,
    Places,
    cells_of,
    corners,
    fold_corners,
    rows_of,
    take,
    walk,
    walk_of,
    weighed,
)
from jaxpool._src.regions.tangents import known, tangent_of, without_unknown

# Which of so many ends along an axis was chosen is looked up one by one, of more in a loop.
_UNROLLED_ENDS = 16


@jax.custom_jvp
def max_of_corners(maps: Maps, cells: Cells, places: Places) -> jax.Array:
    return _largest_corner(maps, cells, places)[0]


@functools.partial(max_of_corners.defjvp, symbolic_zeros=True)
def _max_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    maps, cells, places = primals
    y, winner = _largest_corner(*lax.stop_gradient(primals))

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

    tangent = tangent_of(won, (maps, places), (tangents[0], tangents[2]))
    return max_of_corners(*primals), without_unknown(tangent.astype(y.dtype), places)


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

    def larger(
        best: Any, number: Any, place: jax.Array, weight: jax.Array, there: Any = None
    ) -> tuple[jax.Array, jax.Array]:
        product = weighed(rows, place, weight)
        wins = (product > best[0]) | (product != product)
        if there is not None:
            wins &= there[..., None]
            number = number[..., None]
        return jnp.where(wins, product, best[0]), jnp.where(wins, number, best[1])

    _, *shape = cells_of(places)

    def start(boxes: Any) -> tuple[jax.Array, jax.Array]:
        every = (boxes, *shape, rows.shape[-1])
        return jnp.full(every, lowest_value(rows.dtype)), jnp.zeros(every, np.int32)

    if cells.counts is None:
        ends = corners(maps, cells, places)
        return fold_corners(larger, start(places[0].shape[0]), *ends)
    way = walk_of(maps, cells, places, merged=False)
    best, winner = walk(larger, start, way, math.prod(shape) * rows.shape[-1])
    empty = functools.reduce(jnp.minimum, cells.counts) <= 0
    empty = empty.reshape(-1, *[1] * (best.ndim - 1))
    return jnp.where(empty, np.zeros((), best.dtype), best), winner


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
    _, place = _interval_argmax(lax.stop_gradient(x), bounds, image)
    tangent = pick(rows_of((tangents[0],)), jnp.maximum(place, 0))
    tangent = jnp.where(place >= 0, tangent, np.zeros((), tangent.dtype))
    return _interval_max(*primals), tangent


def _interval_argmax(
    x: jax.Array, bounds: tuple[Intervals, ...], image: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the numbers of their pixels, -1 where there is none.

    All boxes are walked at once, in row-major order, each up to its own end.
    """
    rank = len(bounds)
    pixels, shape = rows_of((x,)), x.shape[-1 - rank : -1]
    starts, stops = (
        [_broad(axis, rank, b[end]) for axis, b in enumerate(bounds)] for end in (0, 1)
    )
    largest = [jnp.max(stop - start, initial=0) for start, stop in zip(starts, stops, strict=True)]
    begin: Any = 0
    if image is not None:
        begin = image.reshape(-1, *[1] * rank) * math.prod(shape)

    def place_of(at: Sequence[Any]) -> Any:
        place: Any = 0
        for start, i, length in zip(starts, at, shape, strict=True):
            place = place * length + (start + i)
        return place + begin

    def step(state: Any) -> Any:
        at, best, picked = state
        inside = functools.reduce(
            jnp.logical_and,
            [start + i < stop for start, i, stop in zip(starts, at, stops, strict=True)],
        )
        place = place_of(at)
        element = take(pixels, place)
        wins = inside[..., None] & ((element > best) | (element != element))
        best = jnp.where(wins, element, best)
        picked = jnp.where(wins, place[..., None], picked)
        return _next(at, largest), best, picked

    every = (*jnp.broadcast_shapes(*(start.shape for start in starts)), pixels.shape[-1])
    nothing = [stop <= start for start, stop in zip(starts, stops, strict=True)]
    empty = functools.reduce(jnp.logical_or, nothing)[..., None]
    first = jnp.broadcast_to(jnp.where(empty, -1, place_of([0] * rank)[..., None]), every)
    state = [jnp.int32(0)] * rank, jnp.full(every, lowest_value(x.dtype)), first
    more = lambda state: (state[0][0] < largest[0]) & _all_positive(largest[1:])  # noqa: E731
    _, best, picked = lax.while_loop(more, step, settled(step, state))
    return jnp.where(empty, np.zeros((), x.dtype), best), picked


def _broad(axis: int, rank: int, bound: jax.Array) -> jax.Array:
    """A bound of cells along one axis, to broadcast with those along the others."""
    return lax.expand_dims(bound, [1 + i for i in range(rank) if i != axis])


def _all_positive(numbers: Sequence[jax.Array]) -> Any:
    return functools.reduce(jnp.logical_and, [n > 0 for n in numbers], np.True_)


def _next(at: Sequence[jax.Array], sizes: Sequence[jax.Array]) -> list[jax.Array]:
    """The index after `at` in row-major order, which ends when the first one is as its size."""
    found, carry = list(at), jnp.int32(1)
    for axis in reversed(range(len(at))):
        number = at[axis] + carry
        full = (number >= sizes[axis]) if axis > 0 else np.False_
        found[axis] = jnp.where(full, 0, number)
        carry = jnp.where(full, 1, 0) if axis > 0 else carry
    return found


def pick(rows: jax.Array, place: jax.Array) -> jax.Array:
    """``rows[place[..., c], c]``, whose transpose adds up without a scatter on GPUs.

    It is written as the transpose of adding up, which `max_unpool` knows how to do everywhere.
    """
    count, channels = math.prod(place.shape[:-1]), place.shape[-1]
    if isinstance(count, int) and count == 0:  # of nothing there is no element to gather
        return jnp.zeros(place.shape, rows.dtype)
    places = place.reshape(count, channels).T

    def add_up(g: jax.Array) -> jax.Array:
        return unpool_planes(g, places, rows.shape[0], "add")

    # An array, since what is handed back varies over the same axes of a mesh as what is picked.
    rows, places, like = varying_alike(rows, places, jnp.zeros(places.shape, rows.dtype))
    (picked,) = jax.linear_transpose(add_up, like)(rows.T)
    return picked.T.reshape(place.shape)
