"""Moments and norms of cells that hold one another: by one fold for all.

For central moments a part of a cell is known by its number n of elements, or their weight, their
mean, and the sums of powers of distances from it, from the second on, in a unit of its own. Of two
parts, distances are taken to the mean of both. So shifted elements lose no digits, as in two looks
at each cell. For sums of powers it is known by these, in a unit that is about its largest element.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.pool import Domain
from jaxpool._src.reductions.units import power_of_2


class Part(NamedTuple):
    """What is known of some elements of a cell; the mean is a constant and what that lacks."""

    n: Any
    mean: Any
    rest: Any
    unit: Any
    sums: tuple[Any, ...]


def running_sums(
    domain: Domain, x: jax.Array, weights: jax.Array, order: int
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """The sums of powers 2 to `order` of distances from each cell's mean, and their unit.

    Of finite elements. Those without weight take no part.
    """
    dtype, zero = x.dtype, np.zeros((), x.dtype)
    # Of elements that are all alike. Slopes divide by its square, which must not overflow.
    least = np.array(2.0 ** (jnp.finfo(dtype).minexp * 2 // 5), dtype)
    sums = (jnp.zeros_like(x),) * (order - 1)
    fixed = lax.stop_gradient(x)
    alone = Part(weights, fixed, x - fixed, jnp.full_like(x, least), sums)
    identity = Part(zero, zero, zero, least, (zero,) * (order - 1))
    folded = domain.fold(alone, _together, identity)
    return folded.sums, folded.unit


def _together(a: Part, b: Part) -> Part:
    """Both parts as one."""
    dtype = a.n.dtype
    zero, half, two = (np.array(v, dtype) for v in (0, 0.5, 2))
    n = a.n + b.n
    safe = jnp.where(n != 0, n, np.ones((), dtype))
    of_a, of_b = a.n / safe, b.n / safe
    apart = (a.n != 0) & (b.n != 0)
    # The distance of the means may overflow, half of it does not.
    near = jnp.where(apart, (b.mean * half - a.mean * half) + (b.rest - a.rest) * half, zero)
    size = abs(lax.stop_gradient(near))
    unit = jnp.maximum(a.unit, b.unit)
    unit = jnp.where(size > 0, jnp.maximum(power_of_2(size, 4.0)[0], unit), unit)
    # From the mean of more elements. What its rounding takes off is in the rest.
    more = jnp.where(apart, of_b <= half, a.n != 0)
    start, rest = jnp.where(more, a.mean, b.mean), jnp.where(more, a.rest, b.rest)
    way = jnp.where(more, of_b, -of_a) * two * near
    mean = start + lax.stop_gradient(way + rest)
    rest = (start - mean) + way + rest
    distance = near / unit * two
    to_a, to_b = -of_b * distance, of_a * distance
    parts = [(_in_unit(a, unit), a.n, to_a), (_in_unit(b, unit), b.n, to_b)]
    sums = []
    for order in range(2, len(a.sums) + 2):
        total = sum(n * lax.integer_pow(to, order) for _, n, to in parts)
        for k in range(order - 1):
            factor = np.array(math.comb(order, k), dtype)
            total += factor * sum(
                own[order - k - 2] * (lax.integer_pow(to, k) if k else np.ones((), dtype))
                for own, _, to in parts
            )
        sums.append(total)
    return Part(n, mean, rest, unit, tuple(sums))


def _in_unit(part: Part, unit: jax.Array) -> list[jax.Array]:
    ratio = part.unit / unit
    return [lax.integer_pow(ratio, k + 2) * total for k, total in enumerate(part.sums)]


def running_totals(
    domain: Domain,
    x: jax.Array,
    where: jax.Array | None,
    terms: Sequence[Callable[[jax.Array], jax.Array]],
) -> tuple[tuple[jax.Array, ...], jax.Array]:
    """Sums of each of `terms` of finite elements over a unit of each cell's own, and that unit.

    Each is homogeneous: of a multiple of an element, for numbers that are not negative, it is the
    product of what it is of both.
    """
    zero, one = np.zeros((), x.dtype), np.ones((), x.dtype)
    most = np.array(2.0 ** (jnp.finfo(x.dtype).maxexp - 8), x.dtype)
    x = jnp.where(jnp.isfinite(lax.stop_gradient(x)), x, zero)
    size = abs(lax.stop_gradient(x))
    if where is not None:
        size = jnp.where(where, size, zero)
    # Elements that are 0 have slopes, but no unit: a unit of 0 stands for 1, and gives way.
    unit = jnp.where(size == 0, zero, power_of_2(size)[0])

    def as_divisor(unit: jax.Array) -> jax.Array:
        return jnp.where(unit == 0, one, unit)

    totals = tuple(term(x / as_divisor(unit)) for term in terms)
    if where is not None:
        totals = tuple(jnp.where(where, total, zero) for total in totals)

    def together(a: Any, b: Any) -> Any:
        unit = jnp.maximum(a[0], b[0])
        ratios = [as_divisor(part[0]) / as_divisor(unit) for part in (a, b)]
        sums = []
        for term, s, t in zip(terms, a[1], b[1], strict=True):
            # Only for sums of zeros can a ratio be large.
            p, q = (jnp.minimum(term(ratio), most) for ratio in ratios)
            sums.append(p * s + q * t)
        return unit, tuple(sums)

    unit, totals = domain.fold((unit, totals), together, (zero, (zero,) * len(terms)))
    return totals, as_divisor(unit)
