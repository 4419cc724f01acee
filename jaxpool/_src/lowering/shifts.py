"""How windows are read where devices may share an axis: by blocks of `stride`, shifted as a whole.

XLA exchanges a halo for each slice of a padded array, and moves most of it, since what is padded is
parted elsewhere. Blocks are parted as windows are. An array of them that is shifted by one needs
what lies at the borders of shards, and all that is read of it is there.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax

from jaxpool._src.lowering.footprints import Windows
from jaxpool._src.lowering.windows import are_known, pad

# Each shift is an exchange. Of longer windows there are too many.
_LONGEST = 9


def reads_shifted(windows: Windows) -> bool:
    """Whether windows are of a kind that pays."""
    return all(are_known(w.length, w.low) and w.window <= _LONGEST for _, w in windows)


def shifted_reader(x: jax.Array, windows: Windows, value: Any) -> Callable[[Sequence[int]], Any]:
    """The function of a tap to the element that each window has there, `value` outside of x."""
    strided = sorted(axis for axis, w in windows if w.stride > 1)
    place = {axis: axis + sum(other < axis for other in strided) for axis, _ in windows}
    inner = [place[axis] + 1 for axis in strided]
    geometry, shape, blocks = dict(windows), [], x
    for axis, size in enumerate(x.shape):
        if axis in strided:
            w = geometry[axis]
            blocks = pad(axis, (0, w.blocks * w.stride - size), blocks, value)
            shape += [w.blocks, w.stride]
        else:
            shape.append(size)
    blocks = blocks.reshape(shape)

    def first(number: int, shift: int) -> tuple[int, int]:
        """From which element up to which of a block is read, of that many blocks on."""
        _, w = windows[number]
        found = [r for q, r in (_of_block(w, tap) for tap in range(w.window)) if q == shift]
        return min(found), max(found) + 1

    @functools.cache
    def shifted(shifts: tuple[int, ...]) -> jax.Array:
        if not shifts:
            return blocks
        number, shift = len(shifts) - 1, shifts[-1]
        (axis, w), array = windows[number], shifted(shifts[:-1])
        if w.stride > 1:
            array = lax.slice_in_dim(array, *first(number, shift), 1, place[axis] + 1)
        return pad(place[axis], (-shift, w.output + shift - w.blocks), array, value)

    def read(taps: Sequence[int]) -> jax.Array:
        where = [_of_block(w, tap) for (_, w), tap in zip(windows, taps, strict=True)]
        array = shifted(tuple(shift for shift, _ in where))
        for number, ((axis, w), (shift, element)) in enumerate(zip(windows, where, strict=True)):
            if w.stride > 1:
                start = element - first(number, shift)[0]
                array = lax.slice_in_dim(array, start, start + 1, 1, place[axis] + 1)
        return lax.squeeze(array, inner)

    return read


def _of_block(w: Any, tap: int) -> tuple[int, int]:
    """How many blocks after its own a window has a tap, and at which element."""
    return divmod(tap * w.dilation - w.low, w.stride)
