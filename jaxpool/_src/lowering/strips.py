"""Entries at places that a program draws, near places that are as far apart as one another.

Cells are parted into strips, of the same number of cells and of the same number of entries, and
these into shorter strips; within those, entries lie a whole step apart. Each cell is then a few
entries later than where the strips have it, and by selections of slices it gets there. Neither the
program nor the number of selections grows with the axis, and the transpose is as dense.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisIntervals
from jaxpool._src.lowering.windows import numbered, pad

# Strips of up to so many cells, of which so many are tried; more selections than that are a loop.
_MOST_CELLS, _MOST_STRIPS, _MOST_SHIFTS = 8, 4096, 16


class Strips(NamedTuple):
    """Cell i is in strip ``i // (count * cells)``, in the shorter strip ``i // cells``."""

    cells: int  # of a shorter strip
    step: int  # entries from one of these cells to the next
    count: int = 1  # shorter strips of a strip
    short: int = 1  # entries from one of these to the next
    long: int = 1  # entries from one strip to the next

    def places(self, number: Any) -> Any:
        """Where the cell of each number is."""
        within = number % (self.cells * self.count)
        place = number // (self.cells * self.count) * self.long + within // self.cells * self.short
        return place + number % self.cells * self.step


def split_parts(x: jax.Array, axis: int, repeats: int) -> jax.Array:
    """`x` with the parts of `axis` on an axis of their own, before it."""
    size = x.shape[axis] // repeats
    return x.reshape(*x.shape[:axis], repeats, size, *x.shape[axis + 1 :])


def at_starts(x: jax.Array, start: jax.Array, axis: int, geometry: AxisIntervals) -> jax.Array:
    """Of values at each place along `axis`, those where intervals start."""
    strips, first, most = _strips(geometry.starts)
    nearby = strips.places(numbered(axis, len(geometry.starts), x.ndim)) + np.int32(first)
    x = pad(axis, (max(-first, 0), 0), x, 0)
    x = lax.slice_in_dim(x, min(max(first, 0), x.shape[axis]), None, 1, axis)
    return shifted_entries(x, start - nearby, strips, most, axis)


@functools.lru_cache
def _strips(starts: tuple[tuple[int, int], ...]) -> tuple[Strips, int, int]:
    """Strips near which cells start, the first start, and how much later at most a cell starts."""
    least, largest = np.array(starts).T
    number = len(least)
    slope = (least[-1] - least[0]) / max(number - 1, 1)
    cells = np.arange(1, min(number, _MOST_CELLS) + 1)[:, None]
    count = np.arange(1, max(min(number, _MOST_STRIPS), 1) + 1)[None]
    step = np.full_like(cells, max(int(slope), 1))
    short = np.maximum(np.rint(slope * cells), cells * step).astype(int)
    long = np.maximum(np.rint(slope * cells * count), 1).astype(int)
    # How far cells get away from where they would be: in shorter strips, in strips, over all.
    away = (slope - step) * cells + abs(slope * cells - short) * count
    away = away + abs(slope * cells * count - long) * np.ceil(number / (cells * count))
    i, j = np.unravel_index(np.argmin(away), away.shape)
    best = Strips(
        *(int(v) for v in (cells[i, 0], step[i, 0], count[0, j], short[i, 0], long[i, j]))
    )
    places = best.places(np.arange(number))
    first = int(min(least - places))
    return best, first, int(max(largest - places)) - first


@functools.partial(jax.jit, static_argnames=("strips", "most", "axis"))
def shifted_entries(
    x: jax.Array, shifts: jax.Array, strips: Strips, most: int, axis: int
) -> jax.Array:
    """For each cell the entry of `x` so much later, from 0 to `most`, than where `strips` say.

    By selections of slices, whose transpose is dense; that of a gather is a scatter.
    """
    output = shifts.shape[axis]
    cells, step, count, short, long = strips
    number = -(-output // (cells * count))
    pieces = -(-count * short // long)
    needed = (number - 1 + pieces) * long
    x = pad(axis, (0, max(needed + most - x.shape[axis], 0)), x, 0)
    shifts = pad(axis, (0, number * count * cells - output), shifts, 0)
    shifts = split_parts(split_parts(shifts, axis, number), axis + 1, count)

    def at(shift: Any) -> jax.Array:
        part = lax.dynamic_slice_in_dim(x, shift, needed, axis)
        size = number * long
        overlapping = [
            split_parts(lax.slice_in_dim(part, i * long, i * long + size, 1, axis), axis, number)
            for i in range(pieces)
        ]
        part = overlapping[0] if pieces == 1 else lax.concatenate(overlapping, axis + 1)
        part = lax.slice_in_dim(part, 0, count * short, 1, axis + 1)
        part = split_parts(part, axis + 1, count)
        return lax.slice_in_dim(part, 0, (cells - 1) * step + 1, step, axis + 2)

    @jax.checkpoint  # else a loop would keep its conditions for the backward pass
    def select(found: jax.Array, shift: Any) -> tuple[jax.Array, None]:
        return jnp.where(shifts == shift, at(shift), found), None

    later = jnp.arange(1, most + 1, dtype=np.int32)
    found = lax.scan(select, at(0), later, unroll=most <= _MOST_SHIFTS)[0]
    found = found.reshape(*x.shape[:axis], number * count * cells, *x.shape[axis + 1 :])
    return lax.slice_in_dim(found, 0, output, 1, axis)
