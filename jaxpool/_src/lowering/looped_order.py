"""Order statistics of large windows, by loops over their elements."""

import dataclasses
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering import taps
from jaxpool._src.lowering.bisection import largest_key, sortable_keys
from jaxpool._src.lowering.folds import fold
from jaxpool._src.lowering.networks import Weights, interpolated
from jaxpool._src.lowering.order import LaidOut
from jaxpool._src.lowering.ranks import Number, Place, numbers, places
from jaxpool._src.lowering.windows import (
    Windows,
    looped_numbers,
    pad_windows,
    taps_at,
    taps_of,
)

# So many elements are read in each round of a loop.
_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class LoopedTaps:
    """As `Taps`. Nothing is as large as all windows side by side, but for weights of ranks."""

    x: jax.Array
    valid: jax.Array | None
    windows: Windows
    count: Any

    def at(self, place: Place) -> jax.Array:
        ranks, left = places(place, self.count, self.x.dtype)
        low = self._element(ranks)
        if left is None:
            return low
        return interpolated(low, self._element(jnp.minimum(ranks + 1, self.count - 1)), left)

    def top_sum(self, k: Number) -> jax.Array:
        x = self.x
        last, last_tie = _last_of_top(
            lax.stop_gradient(x), self.valid, self.count, numbers(k, self.count), self.windows
        )

        def step(total: jax.Array, element: Any, number: Any) -> jax.Array:
            key, e = element
            chosen = (key > last) | ((key == last) & (number <= last_tie))
            return total + jnp.where(chosen, e, np.zeros((), e.dtype))

        keys = sortable_keys(lax.stop_gradient(x))
        total = self._scan(step, jnp.zeros(last.shape, x.dtype), (keys, x))
        return jnp.where(_has_nan(x, self.valid, self.windows), np.array(np.nan, x.dtype), total)

    def number(self, k: Number) -> jax.Array:
        return jnp.asarray(numbers(k, self.count)).astype(self.x.dtype)

    def rank_sum(self, weights: Weights) -> jax.Array:
        return self._laid_out().rank_sum(weights)

    def most_common(self) -> jax.Array:
        return self._laid_out().most_common()

    def _scan(self, step: Any, state: Any, elements: Any) -> Any:
        return taps.scan(step, state, elements, self.windows, self.valid, 0, unroll=_AT_ONCE)

    def _element(self, ranks: Any) -> jax.Array:
        """The element of a rank, ascending; of equal ones the first."""
        fixed = lax.stop_gradient(self.x)
        number = _number_of_rank(fixed, self.valid, self.count, ranks, self.windows)
        return taps.pick(self.x, number, self.windows)

    def _laid_out(self) -> LaidOut:
        """As an array with the elements before all other axes."""
        x = pad_windows(self.x, self.windows, 0)
        valid = jnp.ones([1] * x.ndim, bool) if self.valid is None else self.valid
        valid = jnp.broadcast_to(
            valid, [n if i in dict(self.windows) else m for i, (n, m) in enumerate(
                zip(self.x.shape, valid.shape, strict=True))])  # fmt: skip
        valid = pad_windows(valid, self.windows, False)

        def tap(number: jax.Array) -> tuple[jax.Array, jax.Array]:
            at = taps_of(number, self.windows)
            return taps_at(x, self.windows, at), taps_at(valid, self.windows, at)

        elements, inside = lax.map(tap, looped_numbers(self.windows))
        return LaidOut(elements, inside, (0,), self.count)


def _has_nan(x: jax.Array, valid: jax.Array | None, windows: Windows) -> jax.Array:
    nan = jnp.isnan(x) if valid is None else jnp.isnan(x) & valid
    return fold(nan, windows, operator.or_, False)


def _key_of_rank(
    keys: jax.Array, valid: jax.Array | None, ranks: Any, windows: Windows
) -> jax.Array:
    """The key of a rank, ascending."""
    geometry = dict(windows)
    shape = keys.shape if valid is None else lax.broadcast_shapes(keys.shape, valid.shape)
    shape = [geometry[i].output if i in geometry else n for i, n in enumerate(shape)]

    def below(candidate: jax.Array) -> jax.Array:
        def step(total: jax.Array, key: jax.Array, _: Any) -> jax.Array:
            return total + (key < candidate).astype(np.int32)

        start = jnp.zeros(shape, np.int32)
        return taps.scan(step, start, keys, windows, valid, 0, unroll=_AT_ONCE)

    return largest_key(below, ranks, shape, keys.dtype)


@functools.partial(jax.jit, static_argnames="windows")
def _number_of_rank(
    x: jax.Array, valid: jax.Array | None, count: Any, ranks: Any, windows: Windows
) -> jax.Array:
    """The number of the first element of a rank in each window, or of the last if one is NaN."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        ranks = jnp.where(_has_nan(x, valid, windows), count - 1, ranks)
    keys = sortable_keys(x)
    wanted = _key_of_rank(keys, valid, ranks, windows)

    def step(found: jax.Array, key: jax.Array, number: Any) -> jax.Array:
        return jnp.where((key == wanted) & (found < 0), number, found)

    nothing = jnp.full(wanted.shape, -1, np.int32)
    return taps.scan(step, nothing, keys, windows, valid, 0, unroll=_AT_ONCE)


@functools.partial(jax.jit, static_argnames="windows")
def _last_of_top(
    x: jax.Array, valid: jax.Array | None, count: Any, number: Any, windows: Windows
) -> tuple[jax.Array, jax.Array]:
    """The key of the last of so many largest elements, and which of those equal to it that is."""
    keys = sortable_keys(x)
    last = _key_of_rank(keys, valid, count - number, windows)

    def count_above(total: jax.Array, key: jax.Array, _: Any) -> jax.Array:
        return total + (key > last).astype(np.int32)

    scan = functools.partial(taps.scan, windows=windows, valid=valid, at_once=0, unroll=_AT_ONCE)
    above = scan(count_above, jnp.zeros(last.shape, np.int32), keys)

    def tie(state: Any, key: jax.Array, tap: Any) -> Any:
        left, found = state
        tied = (key == last) & (left > 0)
        return left - tied.astype(np.int32), jnp.where(tied, tap, found)

    left = jnp.broadcast_to(jnp.asarray(number) - above, last.shape)
    return last, scan(tie, (left, jnp.full(last.shape, -1, np.int32)), keys)[1]
