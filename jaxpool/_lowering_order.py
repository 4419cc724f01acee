"""How order statistics become XLA programs, with all of their derivatives.

A cell's elements come in one of two forms, with the same methods:

- `Taps` are those of a window. Of a small one they go through a network of comparators, which sorts
  as many of them as the result needs; of a large one a bisection finds the value.
- `LaidOut` are all along some axes of an array: of `Global`, of intervals, of windows to be sorted.
  A bisection finds a value by counting, in one pass over the elements for each bit, and needs
  neither a copy nor an order. Only a sum over all ranks sorts.

All agree bit for bit. The order is that of numbers, -0.0 equals 0.0 and comes out as 0.0, and one
NaN makes its cell NaN. Of equal elements, the first in row-major order takes the gradient.
"""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._lowering import (
    TAPS_APART,
    Windows,
    all_taps,
    along,
    by_runs,
    directly,
    lowest_value,
    numeric_module,
    once,
    once_on_cpus,
    one_cpu,
    pad_windows,
    padded_taps_at,
    positions,
    taps_at,
    window_size,
)
from jaxpool._lowering_max import known, sum_of_picked, tap_dtype, with_taps
from jaxpool._lowering_tangent import Step, has_tap, tangent_in_blocks, tangent_in_slices

# Where in a cell's sorted elements to look, from 0 to n - 1, for each number n of elements: a
# function of floats, that grows by 0 to 1 with n.
Position = Callable[[Any], Any]
# The weight of each rank, from 0 for the largest element: one for each along the first axis, scaled
# where a cell has fewer elements, so that their sum stays; or a function of rank and number of
# elements, whose weights are divided by their sum.
Weights = Any

# Windows of up to this many elements are sorted by a network.
MOST_IN_NETWORK = 49
# Sets of taps are the bits of an integer.
_MOST_IN_SETS = 32
# Of windows of up to this many elements, the rank of each is found by comparing all pairs.
_MOST_IN_PAIRS = 25

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


def _sorted(elements: Sequence[jax.Array], ranks: Sequence[int]) -> list[jax.Array]:
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


def _any_nan(elements: Sequence[jax.Array]) -> jax.Array | None:
    if not jnp.issubdtype(elements[0].dtype, jnp.floating):
        return None
    return functools.reduce(lax.bitwise_or, [lax.ne(e, e) for e in elements])


def _plain(y: jax.Array, nan: jax.Array | None) -> jax.Array:
    """`y` with the one zero, and NaN where `nan`."""
    if nan is None:
        return y
    zero, not_a_number = lax.full_like(y, 0), lax.full_like(y, np.nan)
    return lax.select(nan, not_a_number, lax.select(lax.eq(y, zero), zero, y))


def _table(position: Position, most: int) -> np.ndarray:
    """`position` of 0 to `most` elements, where no element has that of one."""
    return np.asarray(position(np.maximum(np.arange(most + 1.0), 1)), np.float64)


def _looked_up(table: np.ndarray, count: Any, dtype: Any) -> Any:
    """``table[count]``, without a gather where `count` is known to the program only."""
    if isinstance(count, np.ndarray):
        found = table[count].astype(dtype)
        return found.flat[0] if _is_one_number(found) else found
    place = along(np.arange(len(table), dtype=np.int32), count.ndim, count.ndim + 1)
    chosen = jnp.expand_dims(count, count.ndim) == place
    entries = jnp.asarray(table.astype(dtype).reshape(place.shape))
    return jnp.sum(jnp.where(chosen, entries, np.zeros((), dtype)), count.ndim, dtype)


def _between(low: jax.Array, high: jax.Array, fraction: Any) -> jax.Array:
    """The value at a `fraction` of the way from `low` to `high`; exact where these are equal."""
    fraction = jnp.asarray(fraction, low.dtype)
    value = (np.ones((), low.dtype) - fraction) * low + fraction * high
    return jnp.where((fraction == 0) | (low == high), low, value)


@dataclasses.dataclass(frozen=True)
class Taps:
    """The valid elements of each window of x."""

    x: jax.Array
    valid: jax.Array | None
    windows: Windows
    count: Any  # how many these are for each window: by NumPy, if it is known

    @property
    def _size(self) -> int:
        return window_size(self.windows)

    def at(self, position: Position) -> jax.Array:
        """The value at a position among each cell's elements, in ascending order.

        Between two ranks it is on the line between their elements.
        """
        table = _table(position, self._size)
        ranks = np.floor(table).astype(np.int64)
        fractions = table - ranks
        both = bool(_entries(fractions, self.count).any())
        picks = _compiled_picks(self.x, self.valid, self.windows, tuple(ranks.tolist()), both)
        if not both:
            return picks[0]
        low, high = picks
        return _between(low, high, _looked_up(fractions, self.count, low.dtype))

    def top_sum(self, k: Callable[[Any], Any]) -> jax.Array:
        """Sum of the ``k(n)`` largest of each cell's n elements."""
        if self._size > _MOST_IN_SETS:
            return self._laid_out().top_sum(k)
        numbers = tuple(int(number) for number in _table(k, self._size))
        return _compiled_top_sum(self.x, self.valid, self.windows, numbers)

    def number(self, k: Callable[[Any], Any]) -> jax.Array:
        """``k(n)`` for each cell, as a float."""
        return jnp.asarray(_looked_up(_table(k, self._size), self.count, self.x.dtype))

    def rank_sum(self, weights: Weights) -> jax.Array:
        """Sum of each cell's elements times the weights of their ranks, 0 for the largest."""
        if self._size > min(MOST_IN_NETWORK, _MOST_IN_PAIRS):
            return self._laid_out().rank_sum(weights)
        if callable(weights):
            return self.by_network(self.x, weights)
        return _by_network(self.x, self.valid, weights, self.windows)

    def by_network(self, x: jax.Array, weights: Weights) -> jax.Array:
        """`rank_sum` of a small window."""
        _, missing = _filled(x, self.valid, self.windows, _always, pad_each=False)
        count = np.array(self._size) if missing is None else self._size - missing
        found = []
        for rank in range(self._size):
            if callable(weights):
                weight = weights(np.full([1] * x.ndim, rank, np.int32), count)
            elif rank < weights.shape[0]:
                weight = _expanded(weights[rank], x.ndim)
            else:
                break
            weight = _expanded(jnp.asarray(weight).astype(x.dtype), x.ndim)
            if missing is not None:
                weight = jnp.where(rank < count, weight, np.zeros((), x.dtype))
            found.append(weight)
        used = functools.reduce(operator.add, found)
        if callable(weights):
            factor = _factor(np.ones((), x.dtype), used)
            found = [weight * factor for weight in found]
        elif missing is not None or weights.shape[0] > self._size:
            # Added up in the same order: where nothing is missing, the factor is 1.
            wanted = functools.reduce(operator.add, list(weights))
            factor = _factor(_expanded(wanted, x.ndim), used)
            found = [weight * factor for weight in found]
        return _weighed_taps(x, self.valid, tuple(found), self.windows)

    def _laid_out(self) -> "LaidOut":
        """As an array with the elements behind all other axes."""
        taps, _ = _filled(self.x, self.valid, self.windows, _always, pad_each=False)
        x = jnp.stack([e for e, _ in taps], self.x.ndim)
        if all(inside is None for _, inside in taps):
            return LaidOut(x, None, (self.x.ndim,), self.count)
        shape = lax.broadcast_shapes(*(np.shape(i) for _, i in taps if i is not None))
        inside = [jnp.broadcast_to(True if i is None else i, shape) for _, i in taps]
        return LaidOut(x, jnp.stack(inside, self.x.ndim), (self.x.ndim,), self.count)


@functools.partial(jax.jit, static_argnames="windows")
def _by_network(
    x: jax.Array, valid: jax.Array | None, weights: jax.Array, windows: Windows
) -> jax.Array:
    return Taps(x, valid, windows, None).by_network(x, weights)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _weighed_taps(
    x: jax.Array, valid: jax.Array | None, weights: tuple[jax.Array, ...], windows: Windows
) -> jax.Array:
    """Sum of each window's elements, the largest first, times the weights."""
    total, nan = _weighed_in_order(x, valid, weights, weights, windows)
    return total if nan is None else jnp.where(nan, np.array(np.nan, x.dtype), total)


def _weighed_in_order(
    x: jax.Array,
    valid: jax.Array | None,
    weights: tuple[jax.Array, ...],
    factors: tuple[Any, ...],
    windows: Windows,
) -> tuple[jax.Array, jax.Array | None]:
    """The sum with `factors` of what is to be weighed by `weights`, and which cells have a NaN."""
    elements = [e for e, _ in _filled(x, valid, windows, _always, pad_each=False)[0]]
    last = len(elements) - 1
    ordered = _sorted(elements, range(last, last - len(weights), -1))
    terms = [
        factor * _weighed(weight, e)
        for weight, factor, e in zip(weights, factors, ordered, strict=True)
    ]
    return functools.reduce(operator.add, terms), _any_nan(elements)


@_weighed_taps.defjvp
def _weighed_taps_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """With the weights brought to the elements: these are sorted once, and no tangent is."""
    x, valid, weights = primals
    total, nan = _weighed_in_order(x, valid, weights, tangents[2], windows)
    find = functools.partial(_ranks, windows=windows)
    fixed = lax.stop_gradient(x)
    ranks = once_on_cpus(find, fixed, valid)
    tangent, zero = pad_windows(tangents[0], windows, 0), np.zeros((), x.dtype)
    for taps, rank in zip(all_taps(windows), ranks, strict=True):
        own = lax.full_like(total, 0)
        for number, weight in enumerate(weights):
            own = jnp.where(rank == number, weight, own)
        total = total + own * taps_at(tangent, windows, taps)
    if nan is not None:
        total = jnp.where(nan, zero, total)
    return _weighed_taps(*primals, windows), total


def _ranks(x: jax.Array, valid: jax.Array | None, windows: Windows) -> list[jax.Array]:
    """The rank of each tap's element, 0 for the largest; of equal ones the first is above.

    What is not valid comes last, and has the number of elements for its rank.
    """
    taps, _ = _filled(x, valid, windows, _always, pad_each=False)
    ranks = [lax.full_like(taps[0][0], 0, np.int8)] * len(taps)
    for i, (a, a_valid) in enumerate(taps):
        for j, (b, b_valid) in enumerate(taps[:i]):
            larger = lax.gt(a, b)
            if a_valid is not None:
                larger = larger & a_valid
            if b_valid is not None:
                larger = larger | ~b_valid
            ranks[j] = ranks[j] + larger.astype(np.int8)
            ranks[i] = ranks[i] + (~larger).astype(np.int8)
    last = np.int8(len(taps))
    return [
        rank if inside is None else jnp.where(inside, rank, last)
        for rank, (_, inside) in zip(ranks, taps, strict=True)
    ]


def _expanded(weight: jax.Array, ndim: int) -> jax.Array:
    """With axes of size 1 in front, to be broadcast."""
    return weight.reshape([1] * (ndim - weight.ndim) + [*weight.shape])


def _factor(wanted: Any, used: jax.Array) -> jax.Array:
    """The factor that brings the sum of weights to what is wanted; 1 if there is none."""
    some = used != 0
    one = np.ones((), used.dtype)
    return jnp.where(some, wanted / jnp.where(some, used, one), one)


def _weighed(weight: jax.Array, e: jax.Array) -> jax.Array:
    """Elements to be multiplied with a weight: 0 for infinities that have none."""
    return jnp.where((weight == 0) & jnp.isinf(e), np.zeros((), e.dtype), e)


def _always(missing: Any) -> Any:
    return missing >= 0


def _is_one_number(values: Any) -> bool:
    return isinstance(values, np.ndarray) and bool((values == values.flat[0]).all())


def _entries(table: np.ndarray, count: Any) -> np.ndarray:
    """The entries that some cell has, as far as it is known."""
    return table[count] if isinstance(count, np.ndarray) else table


def _is_low(ranks: Sequence[int], missing: Any) -> Any:
    """Whether the last of so many `missing` elements is to be below all others, or above.

    So many elements of the lowest value, and of the highest else, that the rank which is asked for
    is the same in all cells: that of a cell where nothing is missing. The more elements a cell
    has, the larger the rank, by one or not at all.
    """
    size = len(ranks) - 1
    low = [False] + [ranks[size - m + 1] > ranks[size - m] for m in range(1, size + 1)]
    if isinstance(missing, np.ndarray):
        return np.array(low)[missing]
    found = None
    for start in range(0, len(low), 32):
        word = np.uint32(sum(bit << i for i, bit in enumerate(low[start : start + 32])))
        shift = missing.astype(np.uint32) - np.uint32(start)  # wraps below, to a shift that gives 0
        part = lax.shift_right_logical(jnp.broadcast_to(word, shift.shape), shift) & np.uint32(1)
        found = part if found is None else found | part
    return found == 1


def _filled(
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
        inside = None
        if valid is not None:
            inside = element(valid, taps, False)  # padding is not valid either
        else:
            for (axis, w), tap in zip(windows, taps, strict=True):
                xp = numeric_module(w.output, w.length, w.low)
                if w.padded and not (xp is np and w.inside(tap).all()):
                    here = along(w.inside(tap, xp), axis, x.ndim)
                    inside = here if inside is None else inside & here
        if inside is None:
            found.append((e, None))
            continue
        missing = (0 if missing is None else missing) + (~inside).astype(np.int32)
        limits = jnp.where(is_low(missing), lowest, np.array(highest, x.dtype)[()])
        e = jnp.where(inside, e, jnp.broadcast_to(limits, e.shape))
        found.append((e, inside))
    return found, missing


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _picks(
    x: jax.Array, valid: jax.Array | None, windows: Windows, ranks: tuple[int, ...], both: bool
) -> tuple[jax.Array, ...]:
    """The elements of a rank for each number of elements; and of the next rank, if `both`."""
    return _by_platform(
        functools.partial(_picked, ranks=ranks, both=both, with_picks=False), x, valid, windows
    )


@_picks.defjvp
def _picks_jvp(
    windows: Windows, ranks: tuple[int, ...], both: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    x, valid = primals
    found = _by_platform(
        functools.partial(_picked, ranks=ranks, both=both, with_picks=True),
        lax.stop_gradient(x),
        valid,
        windows,
        once=once,
    )
    half = len(found) // 2
    values, picked = found[:half], found[half:]
    return (
        tuple(
            with_taps(x, valid, None, y, taps, windows, "taps")
            for y, taps in zip(values, picked, strict=True)
        ),
        tuple(sum_of_picked(tangents[0], x, valid, taps, windows, "taps") for taps in picked),
    )


def _in_runs(form: Callable, x: jax.Array, valid: jax.Array | None, windows: Windows) -> Any:
    return by_runs(form, (x, valid), (), windows)


def _by_platform(
    form: Callable,
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    once: Callable | None = None,
) -> Any:
    """``form(x, valid, windows, pad_each=...)`` as each platform has it best."""
    on_cpu = functools.partial(form, pad_each=False)
    if one_cpu() and window_size(windows) <= TAPS_APART:
        on_cpu = functools.partial(_in_runs, on_cpu)
    on_cpu = functools.partial(on_cpu, windows=windows)
    return lax.platform_dependent(
        x,
        valid,
        cpu=on_cpu if once is None else functools.partial(once, on_cpu),
        default=functools.partial(form, windows=windows, pad_each=True),
    )


def _picked(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    *,
    ranks: tuple[int, ...],
    both: bool,
    with_picks: bool,
    pad_each: bool,
) -> tuple[jax.Array, ...]:
    """Values, by a network, and the taps that they come from."""
    size = window_size(windows)
    taps, _ = _filled(x, valid, windows, functools.partial(_is_low, ranks), pad_each=pad_each)
    elements = [e for e, _ in taps]
    nan = _any_nan(elements)
    wanted = [ranks[size], min(ranks[size] + 1, size - 1)][: 1 + both]
    if size <= MOST_IN_NETWORK:
        values = [_plain(y, nan) for y in _sorted(elements, wanted)]
    else:
        low = functools.partial(_is_low, ranks)
        values = [_plain(_bisected(x, valid, windows, low, rank), nan) for rank in wanted]
    if not with_picks:
        return tuple(values)
    picked = []
    for y in values:
        first = lax.full_like(y, size - 1, tap_dtype(windows))
        for number, (e, inside) in reversed(list(enumerate(taps[:-1]))):
            match = lax.eq(e, y)
            if nan is not None:
                match = lax.bitwise_or(match, lax.bitwise_and(nan, lax.ne(e, e)))
            if inside is not None:
                match = match & inside
            first = lax.select(match, lax.full_like(first, number), first)
        picked.append(first)
    return (*values, *picked)


def _bisected(
    x: jax.Array, valid: jax.Array | None, windows: Windows, is_low: Callable[[Any], Any], rank: int
) -> jax.Array:
    """The element of a rank, ascending, of each window: found by counting, bit by bit."""
    keys = _keys(x)

    def below(candidate: jax.Array) -> jax.Array:
        # Cut anew in each round: only x is kept.
        taps, _ = _filled(keys, valid, windows, is_low, pad_each=False)
        terms = [lax.lt(e, candidate).astype(np.int32) for e, _ in taps]
        return functools.reduce(lax.add, terms)

    shape = jax.eval_shape(lambda: taps_at(pad_windows(x, windows, 0), windows, [0] * len(windows)))
    return _values(_largest_key(below, rank, shape.shape, keys.dtype), x.dtype)


def _keys(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of x, of which one stands for both zeros, and one for NaN."""
    bits = x.dtype.itemsize * 8
    kind, top = np.dtype(f"uint{bits}"), np.array(1 << (bits - 1), f"uint{bits}")[()]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        key = lax.bitcast_convert_type(x, kind)
        return key ^ top if jnp.issubdtype(x.dtype, jnp.signedinteger) else key
    x = jnp.where(x == 0, np.zeros((), x.dtype), x)
    x = jnp.where(x != x, np.array(np.nan, x.dtype), x)
    key = lax.bitcast_convert_type(x, kind)
    return jnp.where(key >= top, ~key, key | top)


def _values(key: jax.Array, dtype: Any) -> jax.Array:
    """The inverse of `_keys`."""
    top = np.array(1 << (key.dtype.itemsize * 8 - 1), key.dtype)[()]
    if jnp.issubdtype(dtype, jnp.floating):
        key = jnp.where(key >= top, key ^ top, ~key)
    elif jnp.issubdtype(dtype, jnp.signedinteger):
        key = key ^ top
    return lax.bitcast_convert_type(key, dtype)


def _largest_key(
    below: Callable[[jax.Array], jax.Array], rank: Any, shape: Sequence[Any], dtype: Any
) -> jax.Array:
    """The largest key that no more than `rank` keys are below: that of the rank, ascending."""
    bits = dtype.itemsize * 8

    def step(i: jax.Array, found: jax.Array) -> jax.Array:
        bit = lax.shift_left(np.ones((), dtype), (bits - 1 - i).astype(dtype))
        candidate = found | bit
        return jnp.where(below(candidate) <= rank, candidate, found)

    return lax.fori_loop(0, bits, step, jnp.zeros(shape, dtype))


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _top_sum(
    x: jax.Array, valid: jax.Array | None, windows: Windows, numbers: tuple[int, ...]
) -> jax.Array:
    """Sum of so many of the largest elements as `numbers` has for the number of elements."""
    form = functools.partial(_topped, numbers=numbers, with_sets=False)
    return _by_platform(form, x, valid, windows)[0]


@_top_sum.defjvp
def _top_sum_jvp(
    windows: Windows, numbers: tuple[int, ...], primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid = primals
    form = functools.partial(_topped, numbers=numbers, with_sets=True)
    y, sets = _by_platform(form, lax.stop_gradient(x), valid, windows, once=once)
    return _with_sets(x, y, sets, windows), _sum_of_sets(tangents[0], sets, windows)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _with_sets(x: jax.Array, y: jax.Array, sets: jax.Array, windows: Windows) -> jax.Array:
    """`y`, sums of elements of x, with the derivative that the `sets` of these say."""
    del x, sets, windows
    return y


@_with_sets.defjvp
def _with_sets_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    tangent = _sum_of_sets(tangents[0], primals[2], windows)
    return _with_sets(*primals, windows), tangent


def _sum_of_sets(tangent: jax.Array, sets: jax.Array, windows: Windows) -> jax.Array:
    """The tangents of the elements in `sets`, added up."""
    if known(windows):
        way = [Step(windows, sets=True)]
        rule = functools.partial(
            lax.platform_dependent,
            cpu=functools.partial(tangent_in_blocks, way=way, once=once),
            default=functools.partial(tangent_in_blocks, way=way, once=directly),
        )
    else:
        rule = functools.partial(tangent_in_slices, windows=windows, match=has_tap)
    # As with maxima, the backward pass keeps `sets` and not the masks made of them.
    return jax.checkpoint(rule, prevent_cse=False)(tangent, sets)


def _topped(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    *,
    numbers: tuple[int, ...],
    with_sets: bool,
    pad_each: bool,
) -> tuple[jax.Array, ...]:
    """Sums of the largest elements, and the sets of the taps that these come from.

    These are the elements above that of one rank, and the first of those equal to it.
    """
    size = window_size(windows)
    ranks = [max(n, 1) - numbers[n] for n in range(size + 1)]
    taps, missing = _filled(x, valid, windows, functools.partial(_is_low, ranks), pad_each=pad_each)
    elements = [e for e, _ in taps]
    nan = _any_nan(elements)
    (last,) = _sorted(elements, [ranks[size]])
    count = np.array(size) if missing is None else size - missing
    left = jnp.asarray(_looked_up(np.array(numbers), count, np.int8))
    above, equal = ([compare(e, last) for e in elements] for compare in (lax.gt, lax.eq))
    for tests in (above, equal):
        for i, (_, inside) in enumerate(taps):
            tests[i] = tests[i] if inside is None else tests[i] & inside
    for test in above:
        left = left - test.astype(np.int8)
    kind = next(k for k in (np.uint8, np.uint16, np.uint32) if size <= np.iinfo(k).bits)
    total, sets = lax.full_like(last, 0), lax.full_like(last, 0, kind)
    for i, e in enumerate(elements):
        tied = equal[i] & (left > 0)
        left = left - tied.astype(np.int8)
        chosen = above[i] | tied
        total = total + lax.select(chosen, e, lax.full_like(e, 0))
        sets = sets | lax.select(chosen, lax.full_like(sets, 1 << i), lax.full_like(sets, 0))
    if nan is not None:
        total = lax.select(nan, lax.full_like(total, np.nan), total)
        sets = lax.select(nan, lax.full_like(sets, 0), sets)
    return (total, sets) if with_sets else (total,)


@dataclasses.dataclass(frozen=True)
class LaidOut:
    """The valid elements of each cell along some axes of an array; the others are the cells'."""

    x: jax.Array
    valid: jax.Array | None
    axes: tuple[int, ...]
    count: Any  # how many these are for each cell: by NumPy, if it is known
    keepdims: bool = False

    @property
    def _most(self) -> Any:
        """The most elements that a cell may have."""
        return functools.reduce(operator.mul, [self.x.shape[axis] for axis in self.axes])

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

    def _reduced(self, y: jax.Array) -> jax.Array:
        return y if self.keepdims else lax.squeeze(y, self.axes)

    def at(self, position: Position) -> jax.Array:
        """As that of `Taps`."""
        ranks, fractions, both = self._places(position)
        fractions = fractions if both else None
        return self._reduced(
            _value_at(self.x, self.valid, self._counts, ranks, fractions, self.axes)
        )

    def _places(self, position: Position) -> tuple[Any, Any, bool]:
        """For each cell the rank below a position, what is left, and whether anything may be."""
        if isinstance(self._most, int):
            table = _table(position, self._most)
            ranks = np.floor(table).astype(np.int32)
            both = bool(_entries(table - ranks, self.count).any())
            return (
                _looked_up(ranks, self._counts, np.int32),
                _looked_up(table - ranks, self._counts, self.x.dtype),
                both,
            )
        # Of sizes that are symbolic there is no table: float32 has to do.
        place = jnp.asarray(position(self._counts.astype(np.float32)))
        ranks = jnp.floor(place)
        return ranks.astype(np.int32), (place - ranks).astype(self.x.dtype), True

    def has_nan(self) -> jax.Array:
        """Whether a cell has a NaN."""
        return self.counted(jnp.isnan(self.x)) > 0

    def counted(self, test: jax.Array) -> jax.Array:
        """How many valid elements pass."""
        if self.valid is not None:
            test = test & self.valid
        return jnp.sum(test, self.axes, np.int32, keepdims=True)

    def key_at(self, keys: jax.Array, ranks: Any) -> jax.Array:
        """The key of a rank, ascending; NaN is above all others."""
        return _largest_key(lambda c: self.counted(keys < c), ranks, self._cells, keys.dtype)

    def first(self, test: jax.Array, number: Any = 1) -> jax.Array:
        """The first valid elements that pass, so many of each cell."""
        if self.valid is not None:
            test = test & self.valid
        place = jnp.where(
            test, positions(self.x.shape, self.axes), np.int32(np.iinfo(np.int32).max)
        )
        if isinstance(number, int):
            return test & (place == jnp.min(place, self.axes, keepdims=True))
        place = place.astype(np.uint32)

        def below(candidate: jax.Array) -> jax.Array:
            return jnp.sum(place < candidate, self.axes, np.int32, keepdims=True)

        last = _largest_key(below, number - 1, self._cells, place.dtype)
        return test & (place <= last) & (number > 0)

    def sum(self, chosen: jax.Array) -> jax.Array:
        """Sum of the elements that are chosen."""
        zero = np.zeros((), self.x.dtype)
        x = jnp.where(chosen, self.x, zero)
        return jnp.sum(x, self.axes, x.dtype, keepdims=True)

    def element(self, keys: jax.Array, ranks: Any) -> jax.Array:
        """The element of a rank, ascending; of equal ones the first."""
        return self.sum(self.first(keys == self.key_at(keys, ranks)))

    def top(self, k: Callable[[Any], Any]) -> jax.Array:
        """Which elements are the ``k(n)`` largest of each cell's n; of equal ones the first."""
        return _top(self.x, self.valid, self._counts, self._places(k)[0], self.axes)

    def top_sum(self, k: Callable[[Any], Any]) -> jax.Array:
        """As that of `Taps`."""
        return self._reduced(_sum_unless_nan(self.x, self.valid, self.top(k), self.axes))

    def number(self, k: Callable[[Any], Any]) -> jax.Array:
        """As that of `Taps`."""
        number = jnp.asarray(self._places(k)[0]).astype(self.x.dtype)
        return number if number.ndim == 0 else self._reduced(number)

    def rank_sum(self, weights: Weights) -> jax.Array:
        """As that of `Taps`."""
        axis, x, valid = self._in_a_row()
        count = self.count
        if self.keepdims:
            count = count.reshape([n for i, n in enumerate(np.shape(count)) if i not in self.axes])
        count = count.reshape(*count.shape[:axis], 1, *count.shape[axis:])
        size = x.shape[axis]
        rank = along(numeric_module(size).arange(size, dtype=np.int32), axis, x.ndim)
        if callable(weights):
            weight = jnp.asarray(weights(rank, count)).astype(x.dtype)
            wanted = np.ones((), x.dtype)
        else:
            weight = self._laid_out_weights(weights, axis, x)
            wanted = jnp.sum(weight, axis, keepdims=True)
        zero = np.zeros((), x.dtype)
        weight = jnp.where(rank < count, weight, zero)
        weight = weight * _factor(wanted, jnp.sum(weight, axis, keepdims=True))
        keys = ~_keys(lax.stop_gradient(x))
        if valid is not None:
            x, keys = jnp.where(valid, x, zero), jnp.where(valid, keys, ~keys.dtype.type(0))
        shape = lax.broadcast_shapes(x.shape, weight.shape)
        total = _compiled_sum_by_rank(
            jnp.broadcast_to(x, shape), jnp.broadcast_to(keys, shape), weight, axis
        )
        nan = jnp.any(jnp.isnan(x), axis)
        total = jnp.where(nan, np.array(np.nan, x.dtype), total)
        return lax.expand_dims(total, self.axes) if self.keepdims else total

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


@functools.partial(jax.jit, static_argnames="axes")
def _value_at(
    x: jax.Array,
    valid: jax.Array | None,
    counts: Any,
    ranks: Any,
    fractions: Any,
    axes: tuple[int, ...],
) -> jax.Array:
    """The element of a rank of each cell; or that much further, on the line to the next."""
    cells = LaidOut(x, valid, axes, counts, keepdims=True)
    last = counts - 1
    if jnp.issubdtype(x.dtype, jnp.floating):
        ranks = jnp.where(cells.has_nan(), last, ranks)
    keys = _keys(lax.stop_gradient(x))
    low = cells.element(keys, ranks)
    if fractions is None:
        return low
    return _between(low, cells.element(keys, jnp.minimum(ranks + 1, last)), fractions)


@functools.partial(jax.jit, static_argnames="axes")
def _top(
    x: jax.Array, valid: jax.Array | None, counts: Any, numbers: Any, axes: tuple[int, ...]
) -> jax.Array:
    """Which elements are so many largest ones."""
    cells = LaidOut(x, valid, axes, counts, keepdims=True)
    keys = _keys(lax.stop_gradient(x))
    last = cells.key_at(keys, counts - numbers)
    above = keys > last
    if valid is not None:
        above = above & valid
    return above | cells.first(keys == last, numbers - cells.counted(above))


@functools.partial(jax.jit, static_argnames="axes")
def _sum_unless_nan(
    x: jax.Array, valid: jax.Array | None, chosen: jax.Array, axes: tuple[int, ...]
) -> jax.Array:
    cells = LaidOut(x, valid, axes, None, keepdims=True)
    return jnp.where(cells.has_nan(), np.array(np.nan, x.dtype), cells.sum(chosen))


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _sum_by_rank(x: jax.Array, keys: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """Sum along an axis of x, in the order of `keys`, times `weights`."""
    return jnp.sum(weights * _weighed(weights, _in_order(x, keys, axis)), axis, x.dtype)


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
    weighed = _weighed(weights, _in_order(x, keys, axis))
    terms = jnp.broadcast_to(tangents[2], x.shape) * weighed + back * tangents[0]
    return _sum_by_rank(x, keys, weights, axis), jnp.sum(terms, axis, x.dtype)


_compiled_picks = jax.jit(_picks, static_argnums=(2, 3, 4))
_compiled_top_sum = jax.jit(_top_sum, static_argnums=(2, 3))
_compiled_sum_by_rank = jax.jit(_sum_by_rank, static_argnums=3)
