"""Pools that draw what they return. Each takes a key, and an expectation's place for evaluation."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.mixed import Mixed, times
from jaxpool._src.reductions.soft import LinearSoftmax

# Windows of more elements are ranked in a loop: to rank one element is to compare it with all.
_RANKED_AT_ONCE = 9


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stochastic(Reduction):
    """One of a cell's elements, drawn with probabilities proportional to them.

    What is not positive is never drawn; a cell without positive elements gives 0.

    Args:
      key: what is drawn with, for each cell independently of all others; not needed if
        `deterministic`.
      deterministic: whether to give the expectation, ``sum(x^2) / sum(x)``, as for evaluation.

    Raises:
      ValueError: when used, if `key` is missing.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 3., 0., 0.])
      >>> test = jaxpool.Stochastic(deterministic=True)
      >>> jaxpool.pool(x, jaxpool.Window(2, axes=0), test)
      Array([2.5, 0. ], dtype=float32)
    """

    key: Any = None
    deterministic: bool = dataclasses.field(default=False, metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if self.deterministic:
            return LinearSoftmax()(_weight(x), domain, where)
        sample = jax.random.uniform(self.key, domain.output_shape(x.shape), x.dtype)
        return domain.pick(x, _drawn(lax.stop_gradient(x), sample, domain, where))


def _weight(x: jax.Array) -> jax.Array:
    """What is positive, and NaN."""
    return jnp.where(x <= 0, np.zeros((), x.dtype), x)


# Of weights whose sum is beyond all numbers; what that takes to 0 is as good as 0 beside them. No
# power of 2: by those, XLA multiplies the sum and not each weight.
_LESS = 1e-19


def _drawn(x: jax.Array, sample: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """For each cell the number of the element at which `sample` of the sum of weights is passed.

    One random number for each cell is enough for any number of elements. -1 if no weight is
    positive. Of infinite weights, each is as likely; NaN has all the weight, the last one.
    """
    nothing, less = jnp.zeros(sample.shape, x.dtype), np.array(_LESS, x.dtype)

    def add(totals: Any, element: jax.Array, number: Any) -> Any:
        del number
        total, scaled, infinite = totals
        weight = _weight(element)
        is_infinite = (element == np.inf).astype(x.dtype)
        return total + weight, scaled + weight * less, infinite + is_infinite

    # As the second pass adds, and on CPUs in one loop with it.
    total, scaled, infinite = domain.scan(add, (nothing, nothing, nothing), x, where)
    is_nan, any_infinite, too_large = jnp.isnan(total), infinite > 0, jnp.isinf(total)
    total = jnp.where(any_infinite, infinite, jnp.where(too_large, scaled, total))
    threshold = sample * total

    def step(state: Any, element: jax.Array, number: Any) -> Any:
        before, drawn = state
        weight = _weight(element)
        weight = jnp.where(too_large, weight * less, weight)
        weight = jnp.where(any_infinite, (element == np.inf).astype(x.dtype), weight)
        # The last one that begins below the threshold, whatever products are rounded to.
        takes = jnp.where(is_nan, jnp.isnan(element), (weight > 0) & (before <= threshold))
        return before + weight, jnp.where(takes, number, drawn)

    nowhere = jnp.full(sample.shape, -1, np.int32)
    return domain.scan(step, (nothing, nowhere), x, where)[1]


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RankStochastic(Reduction):
    """One of a cell's elements, the one of rank r (0 the largest) with ``p ~ alpha (1-alpha)^r``.

    Args:
      alpha: how much of the probability that is left each rank takes, a number above 0 up to 1,
        or a scalar array.
      key: what is drawn with, for each cell independently of all others; not needed if
        `deterministic`.
      deterministic: whether to give the expectation, as for evaluation.

    Raises:
      ValueError: when used, if `key` is missing or `alpha` out of range.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> test = jaxpool.RankStochastic(0.5, deterministic=True)
      >>> jaxpool.pool(jnp.array([3., 6.]), jaxpool.Global(0), test)
      Array(5., dtype=float32)
    """

    alpha: Any = 0.5
    key: Any = None
    deterministic: bool = dataclasses.field(default=False, metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.fraction(op, "alpha", self.alpha, positive=True, scalar=True)
        parameters.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        # Of an alpha that is traced and 0, the limit: all ranks are alike.
        alpha = jnp.maximum(jnp.asarray(self.alpha).astype(x.dtype), np.array(1e-30, x.dtype))
        if self.deterministic:
            alpha = _with_slope_where_finite(alpha, x, domain, where)
        # Of a small alpha, 1 - alpha is 1. That of 1 would have an infinite slope.
        log = jnp.where(alpha < 1, jnp.log1p(-jnp.where(alpha < 1, alpha, 0)), -np.inf)
        largest = domain.max(x, where)
        count = jnp.broadcast_to(domain.count(x.shape, where).astype(x.dtype), largest.shape)
        # The probability of all ranks that there are.
        passed = -jnp.expm1(jnp.maximum(count, 1) * log)
        if self.deterministic:
            total = _sum_by_rank(x, alpha, domain, where)
            # In forward mode no slope is 0, which times infinity is NaN.
            beyond = ~jnp.isfinite(lax.stop_gradient(total))
            finite = jnp.where(beyond, np.zeros((), x.dtype), total) / passed
            y = jnp.where(beyond, total / lax.stop_gradient(passed), finite)
        else:
            sample = jax.random.uniform(self.key, largest.shape, x.dtype)
            rank = jnp.floor(jnp.log1p(-sample * passed) / log).astype(np.int32)
            rank = jnp.clip(rank, 0, jnp.maximum(count.astype(np.int32) - 1, 0))
            y = domain.pick(x, _of_rank(lax.stop_gradient(x), rank, domain, where))
        return jnp.where(jnp.isnan(largest), largest, y)


def _rank(
    value: jax.Array, number: Any, x: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """How many elements of each cell come before one of its own, the largest first.

    Of equal elements, the first does.
    """

    def step(count: jax.Array, other: jax.Array, place: Any) -> jax.Array:
        before = (other > value) | ((other == value) & (place < number))
        return count + before.astype(np.int32)

    nothing = jnp.zeros(value.shape, np.int32)
    return domain.scan(step, nothing, x, where, at_once=_RANKED_AT_ONCE)


def _of_rank(x: jax.Array, rank: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """Number of each cell's element of that rank, -1 if there is none."""

    def step(found: jax.Array, element: jax.Array, number: Any) -> jax.Array:
        return jnp.where(_rank(element, number, x, domain, where) == rank, number, found)

    nowhere = jnp.full(rank.shape, -1, np.int32)
    return domain.scan(step, nowhere, x, where, at_once=_RANKED_AT_ONCE)


def _with_slope_where_finite(
    alpha: jax.Array, x: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """`alpha` for each cell; what is infinite or NaN is so whatever alpha is, and has no slope."""
    beyond = ~jnp.isfinite(x) if where is None else ~jnp.isfinite(x) & where
    beyond = domain.count(x.shape, beyond) > 0
    return jnp.where(beyond, lax.stop_gradient(alpha), alpha)


def _sum_by_rank(
    x: jax.Array, alpha: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """Sum of each cell's elements, each times ``alpha * (1 - alpha)^rank``."""
    if where is not None:
        x = jnp.where(where, x, np.zeros((), x.dtype))
    shape = domain.output_shape(x.shape)

    def total(x: jax.Array, alpha: jax.Array) -> jax.Array:
        fixed, one = lax.stop_gradient(x), np.ones((), x.dtype)

        def step(total: jax.Array, element: Any, number: Any) -> jax.Array:
            rank = _rank(element[1], number, fixed, domain, where).astype(x.dtype)
            # The power of 0 has no slope that is finite, and no infinity times 0 is a number.
            power = jnp.where(rank == 0, one, (one - alpha) ** jnp.maximum(rank, one))
            return total + times(alpha * power, element[0], ~jnp.isfinite(element[1]))

        state = jnp.zeros(shape, x.dtype)
        return domain.scan(step, state, (x, fixed), where, at_once=_RANKED_AT_ONCE)

    return jax.checkpoint(total)(x, alpha)  # else the weights of all elements would be kept


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DroppedMax(Reduction):
    """The maximum of what is left of a cell after each element is dropped with some probability."""

    rate: Any
    key: Any
    deterministic: bool = dataclasses.field(metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.fraction(op, "rate", self.rate, scalar=True)
        parameters.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        rate = jnp.asarray(self.rate).astype(x.dtype)
        if self.deterministic:
            largest = domain.max(x, where)
            rate = _with_slope_where_finite(rate, x, domain, where)
            y = _sum_by_rank(x, 1 - rate, domain, where)
            return jnp.where(jnp.isnan(largest), largest, y)
        kept = jax.random.bernoulli(self.key, 1 - rate, x.shape)
        kept = kept if where is None else kept & where
        some = domain.count(x.shape, kept) > 0
        return jnp.where(some, domain.max(x, kept), np.zeros((), x.dtype))


Per = Literal["call", "map", "cell"]
_PER = ("call", "map", "cell")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomMixed(Reduction):
    """The maximum or the mean of a cell, as drawn."""

    alpha: Any
    count_include_pad: bool = dataclasses.field(metadata={"static": True})
    per: Per = dataclasses.field(metadata={"static": True})
    key: Any
    deterministic: bool = dataclasses.field(metadata={"static": True})

    def check(self, op: str) -> None:
        Mixed(self.alpha, self.count_include_pad).check(op)
        arguments.one_of(op, "per", self.per, _PER)
        parameters.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if self.deterministic:
            return Mixed(self.alpha, self.count_include_pad)(x, domain, where)
        mean = Mean(self.count_include_pad)(x, domain, where)
        shape = [1] * mean.ndim if self.per == "call" else list(mean.shape)
        if self.per == "map" and mean.ndim == x.ndim:
            for axis in domain.pooled_axes(x.ndim):
                shape[axis] = 1
        alpha = parameters.spread("alpha", self.alpha, mean)
        is_max = jax.random.uniform(self.key, shape, x.dtype) < alpha
        is_max = jnp.broadcast_to(is_max, mean.shape)
        return jnp.where(is_max, domain.max(x, where), mean)
