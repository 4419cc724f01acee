"""Means whose weights come from a second look at the cell: how far elements are from its mean."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.lowering.windows import materialized_on_cpus, only_where
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.mixed import finite_where_empty
from jaxpool._src.reductions.power import absolute

Weights = Literal["dice", "inverse_distance"]
_WEIGHTS = ("dice", "inverse_distance")

# What keeps the power of a difference, and its slope, finite at 0.
_LEAST_SQUARE = 1e-3
_LARGEST_RATIO = 1e18

# What a quotient of at most 1 may be when rounded, and up to which power that is near 1.
_LARGEST_ROUNDED = 1 + 1e-5
_LARGEST_POWER = 2.0**20

# A weight that no other one is felt beside; together with x it does not overflow.
_LARGEST_WEIGHT = 1e15


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdaptiveWeighted(Reduction):
    """The mean of a cell's elements e, weighted by how alike they are to its plain mean m.

    Args:
      weights: "dice", ``exp(2|e m| / (e^2 + m^2))``, where 0/0 is 0; or "inverse_distance",
        ``1 / (|e - m| + epsilon)``.
      epsilon: what is added to distances, a number > 0.

    Raises:
      ValueError: when used, if an argument is out of range.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> near = jaxpool.AdaptiveWeighted("inverse_distance", epsilon=1.)
      >>> jaxpool.pool(jnp.array([0., 0., 3.]), jaxpool.Global(0), near)
      Array(0.75, dtype=float32)
    """

    weights: Weights = dataclasses.field(default="dice", metadata={"static": True})
    epsilon: float = 1e-6

    def check(self, op: str) -> None:
        arguments.one_of(op, "weights", self.weights, _WEIGHTS)
        parameters.positive(op, "epsilon", self.epsilon)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        mean = _mean(x, domain, where)
        center, finite = _finite(mean)

        def by_dice(e: jax.Array, cells: Any) -> tuple[jax.Array, jax.Array]:
            reciprocal, finite = cells
            e = _or_zero(finite, e)
            weight = jnp.exp(_dice(e, reciprocal))
            return weight * e, weight

        def by_distance(e: jax.Array, cells: Any) -> tuple[jax.Array, jax.Array]:
            center, finite, epsilon = cells
            e = _or_zero(finite, e)
            weight = 1 / (absolute(e - center) + epsilon)
            return weight * e, weight

        if self.weights == "dice":
            terms, cells = by_dice, (_reciprocal(center), finite)
        else:
            terms, cells = by_distance, (center, finite, jnp.asarray(self.epsilon).astype(x.dtype))
        y = _quotient(domain.sum_with(terms, x, cells, where), x, domain, where)
        return jnp.where(finite != 0, y, mean)


def _mean(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """The plain mean, on CPUs apart: beside it, XLA does not vectorize exponentials."""
    mean = Mean(count_include_pad=False)
    return materialized_on_cpus(lambda x, where: mean(x, domain, where), x, where)


def _finite(mean: jax.Array) -> tuple[jax.Array, jax.Array]:
    """`mean` with 0 for what is not finite, and 1. where it is, else 0.

    Such a cell's result is its mean. Terms of infinities would be dropped, but not their slopes:
    these times 0 are NaN, for all cells that share an element. So elements are 0 there too.
    """
    finite = jnp.isfinite(mean)
    return jnp.where(finite, mean, np.zeros((), mean.dtype)), finite.astype(mean.dtype)


def _or_zero(condition: jax.Array, x: jax.Array) -> jax.Array:
    """x, and 0 where the condition, in numbers, is 0."""
    return only_where(condition != 0, x)


def _reciprocal(mean: jax.Array) -> jax.Array:
    """``1 / mean``, and 0 for what is so small that the square of that would overflow."""
    usable = jnp.abs(mean) >= np.array(1 / _LARGEST_RATIO, mean.dtype)
    one = np.ones((), mean.dtype)
    return jnp.where(usable, one / jnp.where(usable, mean, one), np.zeros((), mean.dtype))


def _dice(e: jax.Array, reciprocal: jax.Array) -> jax.Array:
    """``2|e m| / (e^2 + m^2)`` for m of that reciprocal, and 0 if m is 0."""
    # By a quotient of which the square does not overflow; beyond, the result is as good as 0.
    ratio = jnp.minimum(absolute(e * reciprocal), np.array(_LARGEST_RATIO, e.dtype))
    return 2 * ratio / (1 + ratio * ratio)


def _quotient(
    sums: tuple[jax.Array, jax.Array], x: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """The one sum over the other, and 0 for cells with nothing in them."""
    total, weight = sums
    if where is None and not domain.can_be_empty(x.shape):
        return total / weight  # read once, so that XLA:CPU fuses them
    filled = jnp.broadcast_to(domain.count(x.shape, where) > 0, total.shape)
    weight = jnp.where(filled, weight, np.ones((), weight.dtype))
    return jnp.where(filled, total / weight, np.zeros((), total.dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdaMean(Reduction):
    """The mean with Dice weights and that with softmax weights, mixed."""

    beta: Any

    def check(self, op: str) -> None:
        parameters.fraction(op, "beta", self.beta)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        mean = _mean(x, domain, where)
        center, finite = _finite(mean)
        largest = _or_zero(finite, lax.stop_gradient(domain.max(x, where)))
        largest = jnp.where(jnp.isfinite(largest), largest, np.zeros((), x.dtype))

        def terms(e: jax.Array, cells: Any) -> Any:
            reciprocal, finite, largest = cells
            e = _or_zero(finite, e)
            alike, soft = jnp.exp(_dice(e, reciprocal)), jnp.exp(e - largest)
            return (alike * e, alike), (soft * e, soft)

        cells = (_reciprocal(center), finite, largest)
        alike, soft = domain.sum_with(terms, x, cells, where)
        beta = parameters.spread("beta", self.beta, mean)
        alike = _quotient(alike, x, domain, where)
        y = beta * alike + (1 - beta) * _quotient(soft, x, domain, where)
        return jnp.where(finite != 0, y, mean)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DetailPreserving(Reduction):
    """The mean with weights that grow with the distance from a reference for each cell."""

    alpha: Any
    lam: Any
    kernel: Any
    symmetric: bool = dataclasses.field(metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.not_negative(op, "alpha", self.alpha)
        parameters.not_negative(op, "lam", self.lam)
        arguments.flag(op, "symmetric", self.symmetric)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        mean = Mean(count_include_pad=False)(x, domain, where)
        reference, finite = _finite(mean)
        if self.kernel is not None:
            elements, _ = _finite(x)
            reference = domain.correlate(elements, self.kernel.astype(x.dtype), where)
            reference = _or_zero(finite, reference)
        alpha = _up_to(_LARGEST_WEIGHT, "alpha", self.alpha, mean)
        lam = _up_to(_LARGEST_POWER, "lam", self.lam, mean)
        # Then no power is larger than the number of elements.
        moderate = isinstance(self.lam, int | float) and self.lam <= 2

        def square(e: jax.Array, cells: Any) -> jax.Array:
            reference, finite = cells
            distance = _or_zero(finite, e) - reference
            if not self.symmetric:
                distance = jnp.where(distance > 0, distance, np.zeros((), e.dtype))
            return distance * distance + np.array(_LEAST_SQUARE, e.dtype)

        def power(ratio: jax.Array, lam: jax.Array) -> jax.Array:
            if isinstance(self.lam, int | float) and self.lam in (1, 2):
                return jnp.sqrt(ratio) if self.lam == 1 else ratio
            return jnp.exp(lam / 2 * jnp.log(ratio))

        def terms(e: jax.Array, cells: Any) -> tuple[jax.Array, jax.Array]:
            center, unit, alpha, lam = cells
            ratio = square(e, center) / unit
            if not moderate:  # what is not of the cell, as padding, may be farther than all that is
                outside = ratio > np.array(_LARGEST_ROUNDED, e.dtype)
                ratio = jnp.where(outside, np.ones((), e.dtype), ratio)
            weight = alpha + power(ratio, lam)
            return weight * _or_zero(center[1], e), weight

        center = (reference, finite)
        count = jnp.broadcast_to(domain.count(x.shape, where), mean.shape).astype(x.dtype)
        squares = domain.sum_with(square, x, center, where)
        unit = _quotient((squares, count), x, domain, where)
        unit = finite_where_empty(unit, x, domain, where, 1)
        if not moderate:
            # All weights are divided by the largest power, by way of a constant that cancels out.
            fixed, around = lax.stop_gradient((x, center))
            largest = square(domain.max(fixed, where), around)
            if self.symmetric:
                largest = jnp.maximum(largest, square(-domain.max(-fixed, where), around))
            largest = finite_where_empty(largest, x, domain, where, 1)
            alpha, unit = alpha * power(unit / largest, lam), largest
        sums = domain.sum_with(terms, x, (center, unit, alpha, lam), where)
        return jnp.where(finite != 0, _quotient(sums, x, domain, where), mean)


def _up_to(most: float, name: str, value: Any, mean: jax.Array) -> jax.Array:
    """A parameter that broadcasts to `mean`; beyond `most` nothing would change but by rounding."""
    if isinstance(value, int | float):
        return parameters.spread(name, min(value, most), mean)
    return jnp.minimum(parameters.spread(name, value, mean), np.array(most, mean.dtype))
