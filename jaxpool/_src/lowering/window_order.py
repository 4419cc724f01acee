"""Order statistics of windows: by networks, by sets, and by ranks from comparing pairs."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.bisection import compiled_picks, compiled_top_sum
from jaxpool._src.lowering.footprints import Windows, all_taps, tap_count
from jaxpool._src.lowering.looped_order import LoopedTaps
from jaxpool._src.lowering.networks import (
    MOST_IN_NETWORK,
    Weights,
    always,
    any_nan,
    each_number,
    entries_of,
    expanded,
    factor_of,
    filled_in,
    interpolated,
    looked_up,
    sorted_entries,
    weighed_by,
)
from jaxpool._src.lowering.order import LaidOut
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.ranks import Number, Place
from jaxpool._src.lowering.weighted_blocks import padding_inside, sum_in_blocks
from jaxpool._src.lowering.windows import (
    known,
    materialized_on_cpus,
    pad_windows,
    taps_at,
    window_size,
)

# Sets of taps are the bits of an integer.
_MOST_IN_SETS = 32

# Of windows of up to this many elements, the rank of each is found by comparing all pairs.
_MOST_IN_PAIRS = 25

# Windows of up to this many elements are written out element by element.
_MOST_WRITTEN = 64


def elements_of(x: jax.Array, valid: jax.Array | None, windows: Windows, count: Any) -> Any:
    """The valid elements of each window of x; `count` says how many, by NumPy if it is known."""
    kind = Taps if tap_count(windows) <= _MOST_WRITTEN else LoopedTaps
    return kind(x, valid, windows, count)


@dataclasses.dataclass(frozen=True)
class Taps:
    """The valid elements of each window of x."""

    x: jax.Array
    valid: jax.Array | None
    windows: Windows
    count: Any  # how many these are for each window: by NumPy, if it is known

    @property
    def _size(self) -> int:
        return tap_count(self.windows)

    def at(self, place: Place) -> jax.Array:
        """The value at a place among each cell's elements, in ascending order.

        Between two ranks it is on the line between their elements.
        """
        ranks, fractions = place.known(each_number(self._size))
        both = bool(entries_of(fractions, self.count).any())
        picks = compiled_picks(self.x, self.valid, self.windows, tuple(ranks.tolist()), both)
        if not both:
            return picks[0]
        low, high = picks
        return interpolated(low, high, looked_up(fractions, self.count, low.dtype))

    def top_sum(self, k: Number) -> jax.Array:
        """Sum of so many of each cell's largest elements."""
        if window_size(self.windows) > _MOST_IN_SETS:
            return self._laid_out().top_sum(k)
        numbers = tuple(k.known(each_number(self._size)).tolist())
        return compiled_top_sum(self.x, self.valid, self.windows, numbers)

    def number(self, k: Number) -> jax.Array:
        """How many elements of each cell these are, as a float."""
        numbers = k.known(each_number(self._size))
        return jnp.asarray(looked_up(numbers, self.count, self.x.dtype))

    def rank_sum(self, weights: Weights) -> jax.Array:
        """Sum of each cell's elements times the weights of their ranks, 0 for the largest."""
        if self._size > min(MOST_IN_NETWORK, _MOST_IN_PAIRS):
            return self._laid_out().rank_sum(weights)
        if callable(weights):
            return self.by_network(self.x, weights)
        return _by_network(self.x, self.valid, weights, self.windows)

    def most_common(self) -> jax.Array:
        """Which value, of ints, most elements of each cell have; of several the smallest."""
        if self._size > _MOST_IN_PAIRS:
            return self._laid_out().most_common()
        return _longest_run(self.x, self.valid, self.windows)

    def by_network(self, x: jax.Array, weights: Weights) -> jax.Array:
        """`rank_sum` of a small window."""
        _, missing = filled_in(x, self.valid, self.windows, always, pad_each=False)
        count = np.array(self._size) if missing is None else self._size - missing
        found = []
        for rank in range(self._size):
            if callable(weights):
                weight = weights(np.full([1] * x.ndim, rank, np.int32), count)
            elif rank < weights.shape[0]:
                weight = expanded(weights[rank], x.ndim)
            else:
                break
            weight = expanded(jnp.asarray(weight).astype(x.dtype), x.ndim)
            if missing is not None:
                weight = jnp.where(rank < count, weight, np.zeros((), x.dtype))
            found.append(weight)
        used = functools.reduce(operator.add, found)
        if callable(weights):
            factor = factor_of(np.ones((), x.dtype), used)
            found = [weight * factor for weight in found]
        elif missing is not None or weights.shape[0] > self._size:
            # Added up in the same order: where nothing is missing, the factor is 1.
            wanted = functools.reduce(operator.add, list(weights))
            factor = factor_of(expanded(wanted, x.ndim), used)
            found = [weight * factor for weight in found]
        return _weighed_taps(x, self.valid, tuple(found), self.windows)

    def _laid_out(self) -> "LaidOut":
        """As an array with the elements behind all other axes."""
        taps, _ = filled_in(self.x, self.valid, self.windows, always, pad_each=False)
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


@functools.partial(jax.jit, static_argnames="windows")
def _longest_run(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    """The element that comes most often in order; what is missing comes last there."""
    last = lambda missing: missing < 0  # noqa: E731
    taps, missing = filled_in(x, valid, windows, last, pad_each=False)
    ordered = sorted_entries([e for e, _ in taps], range(len(taps)))
    label = before = ordered[0]
    length = longest = lax.full_like(label, 1, np.int8)
    for place, e in enumerate(ordered[1:], start=1):
        length = jnp.where(e == before, length + np.int8(1), np.int8(1))
        longer = length > longest
        if missing is not None:
            longer &= place < len(taps) - missing
        label, longest = jnp.where(longer, e, label), jnp.where(longer, length, longest)
        before = e
    return label


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
    elements = [e for e, _ in filled_in(x, valid, windows, always, pad_each=False)[0]]
    last = len(elements) - 1
    ordered = sorted_entries(elements, range(last, last - len(weights), -1))
    terms = [
        factor * weighed_by(weight, e)
        for weight, factor, e in zip(weights, factors, ordered, strict=True)
    ]
    return functools.reduce(operator.add, terms), any_nan(elements)


@_weighed_taps.defjvp
def _weighed_taps_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """With the weights brought to the elements: these are sorted once, and no tangent is."""
    x, valid, weights = primals
    total, nan = _weighed_in_order(x, valid, weights, tangents[2], windows)
    find = functools.partial(_ranks, windows=windows)
    fixed = lax.stop_gradient(x)
    ranks = materialized_on_cpus(find, fixed, valid)
    if known(windows) and all(w.dilation == 1 for _, w in windows):
        rule = LinearMap(_forms_by_rank, windows)
        total = total + rule(tangents[0], (ranks, weights), total)
    else:
        total = total + _by_rank(tangents[0], (ranks, weights), windows)
    if nan is not None:
        total = jnp.where(nan, np.zeros((), x.dtype), total)
    return _weighed_taps(*primals, windows), total


def _forms_by_rank(platform: str, windows: Windows, *, several: bool) -> tuple[Callable, Callable]:
    del platform, several

    def in_blocks(x: jax.Array, fixed: Any) -> jax.Array:
        inside = tuple((axis, padding_inside(w)) for axis, w in windows)
        return sum_in_blocks(pad_windows(x, windows, 0), _weights_of_taps(*fixed), inside)

    return functools.partial(_by_rank, windows=windows), in_blocks


def _by_rank(x: jax.Array, fixed: Any, windows: Windows) -> jax.Array:
    """Sum of each window's elements, each times the weight of its rank."""
    x, weights = pad_windows(x, windows, 0), _weights_of_taps(*fixed)
    terms = (
        own * taps_at(x, windows, taps)
        for taps, own in zip(all_taps(windows), weights, strict=True)
    )
    return functools.reduce(operator.add, terms)


def _weights_of_taps(ranks: list[jax.Array], weights: tuple[jax.Array, ...]) -> list[jax.Array]:
    found = []
    for rank in ranks:
        own = lax.full(rank.shape, 0, weights[0].dtype)
        for number, weight in enumerate(weights):
            own = jnp.where(rank == number, weight, own)
        found.append(own)
    return found


def _ranks(x: jax.Array, valid: jax.Array | None, windows: Windows) -> list[jax.Array]:
    """The rank of each tap's element, 0 for the largest; of equal ones the first is above.

    What is not valid comes last, and has the number of elements for its rank.
    """
    taps, _ = filled_in(x, valid, windows, always, pad_each=False)
    ranks = [lax.full_like(taps[0][0], 0, np.int8)] * len(taps)
    for i, (a, _) in enumerate(taps):
        for j, (b, b_valid) in enumerate(taps[:i]):
            larger = lax.gt(a, b)  # not so if a is not valid, which has the lowest value
            if b_valid is not None:
                larger = larger | ~b_valid
            ranks[j] = ranks[j] + larger.astype(np.int8)
            ranks[i] = ranks[i] + (~larger).astype(np.int8)
    last = np.int8(len(taps))
    return [
        rank if inside is None else jnp.where(inside, rank, last)
        for rank, (_, inside) in zip(ranks, taps, strict=True)
    ]
