"""How phases of a grid are weighed, picked and put back.

A phase has the elements whose places leave one remainder for each pooled axis. In `blocked` arrays
remainders have axes of their own, so that all phases are seen at once, and nothing is gathered.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.windows import all_of, lowest_value, numbered, unraveled

# Bits of an element's magnitude that its phase's norm is made of.
_BITS = 16
# More phases than this are not written out one by one.
_WRITTEN_OUT = 64


@dataclasses.dataclass(frozen=True)
class Grid:
    """Axes of an array, counted from the front, with the strides of its phases, and of channels."""

    ndim: int
    axes: tuple[int, ...]
    strides: tuple[int, ...]
    channel: int

    @property
    def batch(self) -> tuple[int, ...]:
        """All other axes."""
        return tuple(i for i in range(self.ndim) if i not in (*self.axes, self.channel))

    @property
    def rank(self) -> int:
        """Of blocked arrays."""
        return self.ndim + len(self.axes)

    def outer(self, axis: int) -> int:
        """Where an axis is in blocked arrays, remainders apart."""
        return axis + sum(other < axis for other in self.axes)

    @property
    def inner(self) -> tuple[int, ...]:
        """The axes of blocked arrays that are of remainders, for each of `axes`."""
        return tuple(self.outer(axis) + 1 for axis in self.axes)

    @property
    def reduced(self) -> tuple[int, ...]:
        """The axes of blocked arrays that a phase has elements along."""
        return tuple(sorted(self.outer(axis) for axis in (*self.axes, self.channel)))

    def count(self, shape: Sequence[int]) -> int:
        """The number of elements of a phase."""
        whole = math.prod(shape[axis] for axis in (*self.axes, self.channel))
        return whole // math.prod(self.strides)

    def blocked(self, x: jax.Array) -> jax.Array:
        """`x` with an axis for remainders after each pooled one."""
        strides, shape = dict(zip(self.axes, self.strides, strict=True)), []
        for axis, n in enumerate(x.shape):
            shape += [n // strides[axis], strides[axis]] if axis in strides else [n]
        return x.reshape(shape)

    def unblocked(self, x: jax.Array) -> jax.Array:
        """The inverse of `blocked`."""
        shape = []
        for axis in range(self.ndim):
            at = self.outer(axis)
            shape.append(x.shape[at] * x.shape[at + 1] if axis in self.axes else x.shape[at])
        return x.reshape(shape)

    def remainders(self, phase: jax.Array, *, blocked: bool) -> list[jax.Array]:
        """For each pooled axis the remainder that was chosen, in the rank of x or of its blocks."""
        kept = [self.outer(axis) if blocked else axis for axis in self.batch]
        added = [i for i in range(self.rank if blocked else self.ndim) if i not in kept]
        columns = (lax.index_in_dim(phase, i, phase.ndim - 1, False) for i in range(len(self.axes)))
        return [lax.expand_dims(column, added) for column in columns]

    def is_chosen(self, phase: jax.Array) -> Any:
        """Of each entry of a blocked array, whether its phase is."""
        found = self.remainders(phase, blocked=True)
        steps = zip(found, self.inner, self.strides, strict=True)
        return all_of([chosen == numbered(axis, s, self.rank) for chosen, axis, s in steps])

    def numbers(self) -> jax.Array:
        """Row-major numbers of phases, along the axes of remainders."""
        found: Any = np.int32(0)
        for axis, stride in zip(self.inner, self.strides, strict=True):
            found = found * np.int32(stride) + numbered(axis, stride, self.rank)
        return found


def largest_phase(x: jax.Array, grid: Grid, norm: float, smallest: bool) -> jax.Array:
    """The first of the phases with the largest norm, or smallest: a remainder for each axis.

    A norm is the same in any order of its phase's elements, to the last bit.
    """
    keys = _norms(x, grid, norm)
    return _first_largest([-key for key in keys] if smallest else keys, grid)


def largest_mean(x: jax.Array, grid: Grid) -> jax.Array:
    """The same of phases' means over places and channels."""
    most = np.array(jnp.finfo(x.dtype).max, x.dtype)
    x = jnp.where(x == x, jnp.clip(x, -most, most), most)
    largest = jnp.max(jnp.abs(x), (*grid.axes, grid.channel), keepdims=True)
    least = np.array(2.0**-100, x.dtype)
    whole = (x / jnp.maximum(largest, least) * np.array(2**23, x.dtype)).astype(np.int32)
    width = min(12, 31 - grid.count(x.shape).bit_length())
    shifts = range(-(-24 // width) * width - width, -1, -width)
    mask = np.int32(2**width - 1)
    words = [(whole >> np.int32(s)) if s == shifts[0] else (whole >> np.int32(s)) & mask
             for s in shifts]  # fmt: skip
    return _first_largest(_carried(_reduced(lax.add, words, grid), width), grid)


def _first_largest(keys: list[jax.Array], grid: Grid) -> jax.Array:
    """The first of the phases that no other is before, by one key after the other."""
    keep: Any = None
    for key in keys:
        lowest = np.array(lowest_value(key.dtype))
        key = key if keep is None else jnp.where(keep, key, lowest)
        best = key == jnp.max(key, grid.inner, keepdims=True)
        keep = best if keep is None else keep & best
    count = np.int32(math.prod(grid.strides))
    first = jnp.min(jnp.where(keep, grid.numbers(), count), grid.inner, keepdims=True)
    batch = [grid.outer(axis) for axis in grid.batch]
    first = lax.squeeze(first, [i for i in range(grid.rank) if i not in batch])
    return jnp.stack(unraveled(first, grid.strides), -1)


def _norms(x: jax.Array, grid: Grid, norm: float) -> list[jax.Array]:
    """Arrays by which phases are compared, one after the other, with 1 for all but remainders.

    Magnitudes become ints in units of their phase's largest, whose powers add up without rounding.
    """
    kind, info = np.dtype(f"uint{8 * x.dtype.itemsize}"), jnp.finfo(x.dtype)
    sign, most = (np.array(v, x.dtype).view(kind) for v in (-0.0, info.max))
    infinity = np.array(np.inf, x.dtype).view(kind)
    bits = jnp.minimum(lax.bitcast_convert_type(grid.blocked(x), kind) & ~sign, most)
    # As floats are ordered, so are their bits. XLA:CPU takes two maxima together in a third of the
    # time of one, if both are used.
    found = _reduced(lax.max, [bits, bits & infinity], grid)
    largest, power = (lax.bitcast_convert_type(n, x.dtype) for n in found)
    if norm == math.inf:
        return [power, largest]
    least = np.array(2.0 ** (info.minexp + 18), x.dtype)  # whose factor is finite
    unit = jnp.maximum(power, least)
    factor = np.array(2**_BITS - 1, x.dtype) / unit
    whole = (lax.bitcast_convert_type(bits, x.dtype) * factor).astype(np.int32)
    whole = ((whole + np.int32(1)) >> np.int32(1)).astype(np.uint32)  # rounded
    powers = whole * whole if norm == 2 else whole
    width = min(_BITS // 2 * int(norm), 32 - grid.count(x.shape).bit_length())  # two words
    shifts = range(-(-_BITS * int(norm) // width) * width - width, -1, -width)
    mask = np.uint32(2**width - 1)
    words = _reduced(lax.add, [(powers >> np.uint32(s)) & mask for s in shifts], grid)
    return _compared(words, width, unit, largest > 0, int(norm))


def _reduced(combine: Any, arrays: list[jax.Array], grid: Grid) -> list[jax.Array]:
    """Ints of phases combined, of whose neutral element is 0, in one pass."""
    arrays = [a if a.ndim == grid.rank else grid.blocked(a) for a in arrays]
    zeros = tuple(np.zeros((), a.dtype) for a in arrays)
    each = lambda a, b: tuple(map(combine, a, b))  # noqa: E731
    found = lax.reduce(tuple(arrays), zeros, each, grid.reduced)
    return [lax.expand_dims(a, grid.reduced) for a in found]


def _carried(words: list[jax.Array], width: int) -> list[jax.Array]:
    """Sums of words, the highest first, as words of that width but for the first."""
    words, shift = list(words), np.array(width, words[0].dtype)
    for i in range(len(words) - 1, 0, -1):
        words[i - 1] = words[i - 1] + (words[i] >> shift)
        words[i] = words[i] & np.array(2**width - 1, shift.dtype)
    return words


def _compared(
    words: list[jax.Array], width: int, unit: jax.Array, some: jax.Array, power: int
) -> list[jax.Array]:
    """Sums in words, the highest first, times a power of their units: exponent, and two parts."""
    words, dtype = _carried(words, width), unit.dtype
    high, rest = words[0] >> np.uint32(_BITS), words[0] & np.uint32(2**_BITS - 1)
    scale = 2.0 ** (width * (len(words) - 1))
    values = [scale * 2**_BITS, *(scale / 2.0 ** (width * i) for i in range(len(words)))]
    total, lost = jnp.zeros_like(unit), jnp.zeros_like(unit)
    for word, value in zip((high, rest, *words[1:]), values, strict=True):
        part = word.astype(dtype) * np.array(value, dtype)
        new = total + part
        lost = lost + _error(total, part, new)
        total = new
    _, exponent = jnp.frexp(unit)
    fraction, own = jnp.frexp(total)
    one = np.ones((), dtype)
    lost = lost * jnp.where(total > 0, fraction / jnp.where(total > 0, total, one), one)
    exponent = jnp.where(some, exponent * np.int32(power) + own, np.int32(-(2**20)))
    return [exponent.astype(dtype), fraction, lost]


def _error(a: jax.Array, b: jax.Array, total: jax.Array) -> jax.Array:
    """What rounding took from a sum of two, of any size (Knuth)."""
    other = total - a
    return (a - (total - other)) + (b - other)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def pick_phase(x: jax.Array, phase: jax.Array, grid: Grid) -> jax.Array:
    """The elements of one phase of each sample."""
    offsets = itertools.product(*map(range, grid.strides))
    if math.prod(grid.strides) > _WRITTEN_OUT:
        return _sum_of_chosen(x, phase, grid)
    found, chosen = None, grid.remainders(phase, blocked=False)
    for offset in offsets:
        part = x
        for axis, start, stride in zip(grid.axes, offset, grid.strides, strict=True):
            part = lax.slice_in_dim(part, start, None, stride, axis)
        this = all_of([of == np.int32(n) for of, n in zip(chosen, offset, strict=True)])
        found = part if found is None else jnp.where(this, part, found)
    assert found is not None
    return found


@pick_phase.defjvp
def _pick_phase_jvp(grid: Grid, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """By a sum over blocks, whose transpose is dense; that of strided slices is full of holes."""
    x, phase = primals
    return pick_phase(x, phase, grid), _sum_of_chosen(tangents[0], phase, grid)


def _sum_of_chosen(x: jax.Array, phase: jax.Array, grid: Grid) -> jax.Array:
    blocks = jnp.where(grid.is_chosen(phase), grid.blocked(x), np.zeros((), x.dtype))
    reduced = lax.reduce_or if x.dtype == bool else lax.reduce_sum
    return reduced(blocks, list(grid.inner))


def put_phase(y: jax.Array, phase: jax.Array, grid: Grid) -> jax.Array:
    """`y` at the places of a phase of each sample, and 0 at all others."""
    blocks = jnp.where(
        grid.is_chosen(phase), lax.expand_dims(y, sorted(grid.inner)), np.zeros((), y.dtype)
    )
    return grid.unblocked(blocks)


def phase_means(x: jax.Array, grid: Grid) -> jax.Array:
    """The mean of each phase over places and channels, as a blocked array with 1 for these."""
    return jnp.mean(grid.blocked(x), grid.reduced, keepdims=True)


def mix_phases(x: jax.Array, weights: jax.Array, grid: Grid) -> jax.Array:
    """The sum of all phases, each times its weight, of which there is one for each remainder."""
    return lax.reduce_sum(grid.blocked(x) * weights, list(grid.inner))
