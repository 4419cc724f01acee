"""Places in a cell's sorted elements, from how many these are.

Numbers of elements that a program finds are multiplied as float64 would do it, in integers: float32
has too few digits for the rank of a quantile of millions, and not all platforms have float64.
"""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.lowering.doubles import rounded, times, word_at

Interpolation = Literal["linear", "lower", "higher", "midpoint", "nearest"]

# Of a product with a float64: what is left of the decimal point, the first 32 bits behind it, and
# whether there are more.
Product = tuple[jax.Array, jax.Array, jax.Array]

_HALF = np.uint32(1 << 31)


@dataclasses.dataclass(frozen=True)
class Place:
    """The place ``(n - 1) * q`` among n elements, 0 for the smallest, and what is between two."""

    q: float
    interpolation: Interpolation

    @property
    def between(self) -> bool:
        """Whether it may lie between two elements."""
        return self.interpolation in ("linear", "midpoint")

    def known(self, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rank below the place, and how much further that is."""
        place = (n - 1) * self.q
        low = np.floor(place)
        if self.interpolation == "linear":
            return low.astype(np.int64), place - low
        if self.interpolation == "midpoint":
            return low.astype(np.int64), (place > low) / 2
        rounded = {"lower": np.floor, "higher": np.ceil, "nearest": np.round}
        return rounded[self.interpolation](place).astype(np.int64), np.zeros(place.shape)

    def traced(self, n: jax.Array, dtype: Any) -> tuple[jax.Array, jax.Array]:
        """The same, of numbers that the program finds; what is further in `dtype`, a float."""
        low, part, more = product_of(n - 1, self.q)
        some = (part > 0) | more
        if self.interpolation == "linear":
            if dtype == np.float64:
                return low, (n - 1).astype(dtype) * np.array(self.q, dtype) - low.astype(dtype)
            return low, part.astype(dtype) * np.array(2**-32, dtype)
        if self.interpolation == "midpoint":
            return low, some.astype(dtype) * np.array(0.5, dtype)
        up = {"lower": jnp.zeros_like(some), "higher": some, "nearest": _rounds_up(low, part, more)}
        return low + up[self.interpolation].astype(np.int32), jnp.zeros(low.shape, dtype)


@dataclasses.dataclass(frozen=True)
class Number:
    """How many of n elements: an int, at most n; or a fraction of n, at least 1."""

    k: int | float

    def known(self, n: np.ndarray) -> np.ndarray:
        wanted = self.k if isinstance(self.k, int) else np.maximum(np.round(self.k * n), 1)
        return np.minimum(n, wanted).astype(np.int64)

    def traced(self, n: jax.Array) -> jax.Array:
        if isinstance(self.k, int):
            return jnp.minimum(n, np.int32(min(self.k, np.iinfo(np.int32).max)))
        low, part, more = product_of(n, self.k)
        wanted = low + _rounds_up(low, part, more).astype(np.int32)
        return jnp.minimum(n, jnp.maximum(wanted, 1))


def _rounds_up(low: jax.Array, part: jax.Array, more: jax.Array) -> jax.Array:
    """Whether the next integer is closer; of two that are as close, the even one."""
    tie = (part == _HALF) & ~more
    return jnp.where(tie, low % 2 == 1, part >= _HALF)


def product_of(n: jax.Array, factor: float) -> Product:
    """``n * factor``, rounded as float64, of int32 from 0 and a factor in [0, 1]."""
    n = n.astype(np.uint32)
    mantissa, exponent = math.frexp(factor)
    digits, shift = int(mantissa * 2**53), 53 - exponent  # factor = digits / 2**shift
    words = rounded(times(n, digits))
    low, part = word_at(words, shift), word_at(words, shift - 32)
    more = jnp.zeros(n.shape, bool)
    for i, word in enumerate(words):
        below = min(max(shift - 32 - 32 * i, 0), 32)
        mask = np.uint32((1 << below) - 1)
        more = more | (word & mask != 0)
    return low.astype(np.int32), part, more


def places(place: Place, count: Any, dtype: Any) -> tuple[Any, Any]:
    """For each cell the rank below its place, and what is left of it; None if nothing is."""
    if isinstance(count, np.ndarray):
        low, left = place.known(count)
        return low.astype(np.int32), left.astype(dtype) if left.any() else None
    if place.between:
        return place.traced(count, dtype)
    return place.traced(count, np.float32)[0], None


def numbers(number: Number, count: Any) -> Any:
    """How many elements of each cell."""
    if isinstance(count, np.ndarray):
        return number.known(count).astype(np.int32)
    return number.traced(count)
