"""Networks of comparators that bring the elements of a small window into order."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.footprints import Windows, all_taps
from jaxpool._src.lowering.windows import (
    all_of,
    along,
    inside,
    lowest_value,
    pad_windows,
    padded_taps_at,
    taps_at,
)

# The weight of each rank, from 0 for the largest element: one for each along the first axis, scaled
# where a cell has fewer elements, so that their sum stays; or a function of rank and number of
# elements, whose weights are divided by their sum.
Weights = Any

# Windows of up to this many elements are sorted by a network.
MOST_IN_NETWORK = 49

# Batcher's network for 9 has 28 comparators; this one, of 25, is the smallest there is.
# R. W. Floyd, in Knuth, The Art of Computer Programming, vol. 3, 1973, 5.3.4.
_NINE = "01 34 67 12 45 78 01 34 67 03 36 03 14 47 14 25 58 25 13 57 26 46 24 23 56"


@functools.lru_cache
def network(size: int, ranks: tuple[int, ...]) -> tuple[tuple[int, int, bool, bool], ...]:
    """Comparators that bring the elements of some ranks, ascending, to their places among `size`.

    Each is a pair of places, of which the first gets the smaller element, and whether the one and
    the other of them is looked at later.
    """
    if size == 9:
        comparators = [(int(a), int(b)) for a, b in _NINE.split()]
    else:
        comparators = _batcher(size)
    needed, found = set(ranks), []
    for a, b in reversed(comparators):
        if a in needed or b in needed:
            found.append((a, b, a in needed, b in needed))
            needed |= {a, b}
    return tuple(reversed(found))


def _batcher(size: int) -> list[tuple[int, int]]:
    """The comparators of Batcher's merge exchange sort."""
    found, whole = [], 1
    while whole < size:
        part = whole
        while part:
            for start in range(part % whole, size - part, 2 * part):
                for a in range(start, min(start + part, size - part)):
                    if a // (2 * whole) == (a + part) // (2 * whole):
                        found.append((a, a + part))
            part //= 2
        whole *= 2
    return found


def sorted_entries(elements: Sequence[jax.Array], ranks: Sequence[int]) -> list[jax.Array]:
    """The elements of some ranks, ascending; anything in their place if one is NaN."""
    places = list(elements)
    for i, j, first, second in network(len(places), tuple(ranks)):
        a, b = places[i], places[j]
        # One comparison, so that each element is in one place; and one instruction for each result.
        less = lax.lt(a, b)
        if first:
            places[i] = lax.select(less, a, b)
        if second:
            places[j] = lax.select(less, b, a)
    return [places[rank] for rank in ranks]


def any_nan(elements: Sequence[jax.Array]) -> jax.Array | None:
    if not jnp.issubdtype(elements[0].dtype, jnp.floating):
        return None
    return functools.reduce(lax.bitwise_or, [lax.ne(e, e) for e in elements])


def plain_position(y: jax.Array, nan: jax.Array | None) -> jax.Array:
    """`y` with the one zero, and NaN where `nan`."""
    if nan is None:
        return y
    zero, not_a_number = lax.full_like(y, 0), lax.full_like(y, np.nan)
    return lax.select(nan, not_a_number, lax.select(lax.eq(y, zero), zero, y))


def each_number(most: int) -> np.ndarray:
    """The numbers of elements that a cell may have, up to `most`; none counts as one."""
    return np.maximum(np.arange(most + 1), 1)


def looked_up(table: np.ndarray, count: Any, dtype: Any) -> Any:
    """``table[count]``, without a gather where `count` is known to the program only."""
    if isinstance(count, np.ndarray):
        return table[count].astype(dtype)
    place = along(np.arange(len(table), dtype=np.int32), count.ndim, count.ndim + 1)
    chosen = jnp.expand_dims(count, count.ndim) == place
    entries = jnp.asarray(table.astype(dtype).reshape(place.shape))
    return jnp.sum(jnp.where(chosen, entries, np.zeros((), dtype)), count.ndim, dtype)


def interpolated(low: jax.Array, high: jax.Array, fraction: Any) -> jax.Array:
    """The value at a `fraction` of the way from `low` to `high`; exact where these are equal."""
    fraction = jnp.asarray(fraction, low.dtype)
    value = (np.ones((), low.dtype) - fraction) * low + fraction * high
    return jnp.where((fraction == 0) | (low == high), low, value)


def expanded(weight: jax.Array, ndim: int) -> jax.Array:
    """With axes of size 1 in front, to be broadcast."""
    return weight.reshape([1] * (ndim - weight.ndim) + [*weight.shape])


def factor_of(wanted: Any, used: jax.Array) -> jax.Array:
    """The factor that brings the sum of weights to what is wanted; 1 if there is none."""
    some = used != 0
    one = np.ones((), used.dtype)
    return jnp.where(some, wanted / jnp.where(some, used, one), one)


def weighed_by(weight: jax.Array, e: jax.Array) -> jax.Array:
    """Elements to be multiplied with a weight: 0 for infinities that have none."""
    return jnp.where((weight == 0) & jnp.isinf(e), np.zeros((), e.dtype), e)


def always(missing: Any) -> Any:
    return missing >= 0


def entries_of(table: np.ndarray, count: Any) -> np.ndarray:
    """The entries that some cell has, as far as it is known."""
    return table[count] if isinstance(count, np.ndarray) else table


def is_low(ranks: Sequence[int], missing: Any) -> Any:
    """Whether the last of so many `missing` elements is to be below all others, or above.

    So many elements of the lowest value, and of the highest else, that the rank which is asked for
    is the same in all cells: that of a cell where nothing is missing. The more elements a cell
    has, the larger the rank, by one or not at all.
    """
    size = len(ranks) - 1
    low = [False] + [ranks[size - m + 1] > ranks[size - m] for m in range(1, size + 1)]
    found = None
    for start in range(0, len(low), 32):
        word = np.uint32(sum(bit << i for i, bit in enumerate(low[start : start + 32])))
        shift = missing.astype(np.uint32) - np.uint32(start)  # wraps below, to a shift that gives 0
        part = lax.shift_right_logical(jnp.broadcast_to(word, shift.shape), shift) & np.uint32(1)
        found = part if found is None else found | part
    return found == 1


def filled_in(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    is_low: Callable[[Any], Any],
    *,
    pad_each: bool,
) -> tuple[list[tuple[jax.Array, Any]], Any]:
    """Each tap's elements, and which are valid (None for all): the others have either limit.

    Which one is a function of how many elements so far, with it, are not valid. The second result
    is how many these are in the end; None if none is.
    """
    lowest = lowest_value(x.dtype)
    highest = -lowest if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).max
    if not pad_each:
        x = pad_windows(x, windows, 0)
        valid = None if valid is None else pad_windows(valid, windows, False)

    def element(array: jax.Array, taps: Sequence[int], value: Any) -> jax.Array:
        if pad_each:
            return padded_taps_at(array, windows, taps, value)
        return taps_at(array, windows, taps)

    found, missing = [], None
    for taps in all_taps(windows):
        e = element(x, taps, 0)
        if valid is not None:
            here = element(valid, taps, False)  # padding is not valid either
        else:
            here = all_of(inside(windows, taps, x.ndim))
        if here is None:
            found.append((e, None))
            continue
        missing = (0 if missing is None else missing) + (~here).astype(np.int32)
        limits = jnp.where(is_low(missing), lowest, np.array(highest, x.dtype)[()])
        e = jnp.where(here, e, jnp.broadcast_to(limits, e.shape))
        found.append((e, here))
    return found, missing
