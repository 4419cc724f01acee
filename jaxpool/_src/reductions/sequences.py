"""Reductions of sequences, over one whole axis whose order matters: positions count valid elements.

So it does not matter on which side a sequence is padded.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments
from jaxpool._src.core.pool import Domain, Reduction, accumulator, with_zeros
from jaxpool._src.lowering.windows import numbered
from jaxpool._src.reductions.max import comparable
from jaxpool._src.reductions.mean import quotient


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Nth(Reduction):
    """The first valid element, or the last one."""

    last: bool

    def accumulate_dtype(self, dtype: Any) -> Any:
        return accumulator(dtype) if jnp.issubdtype(dtype, jnp.floating) else comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        (axis,) = domain.pooled_axes(x.ndim)
        if where is None:
            return lax.index_in_dim(x, -1 if self.last else 0, axis, keepdims=False)
        number = numbered(axis, x.shape[axis], x.ndim)
        order = jnp.broadcast_to(number if self.last else -number, where.shape)
        # Of order numbers only those of valid elements count; an empty cell picks nothing.
        chosen = domain.max(order, where)
        return domain.pick(x, chosen if self.last else -chosen)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class MeanSqrtLength(Reduction):
    """The sum over the square root of the number of elements."""

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return quotient(domain.sum(x, where), jnp.sqrt(_count(x, domain, where)))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PositionWeighted(Reduction):
    """The mean with weights 1, 2, 3 and so on."""

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        count = _count(x, domain, where)
        total = domain.sum(with_zeros(x, where) * places(x, domain, where).astype(x.dtype), where)
        return quotient(total, count * (count + 1) / 2)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ApproximateRank(Reduction):
    """The sum with weights 2 t - n - 1 for the place t of n: what changes along the axis."""

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        axes = domain.pooled_axes(x.ndim)
        count = lax.expand_dims(domain.count(x.shape, where).astype(np.int32), axes)
        weights = 2 * places(x, domain, where) - count - 1
        return domain.sum(with_zeros(x, where) * weights.astype(x.dtype), where)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Splade(Reduction):
    """The largest of ``log(1 + max(x, 0))``, or their sum."""

    reduction: Literal["max", "sum"]

    def check(self, op: str) -> None:
        arguments.one_of(op, "reduction", self.reduction, ("max", "sum"))

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if self.reduction == "max":
            return jnp.log1p(jax.nn.relu(domain.max(x, where)))
        return domain.sum(jnp.log1p(jax.nn.relu(x)), where)  # no slope of NaN gets through `relu`


def _count(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """The number of elements, or 1 for none, in the dtype of x."""
    count = domain.count(x.shape, where).astype(x.dtype)
    return jnp.maximum(count, np.ones((), x.dtype))


def places(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """Along the pooled axis 1, 2, 3 and so on for valid elements, as ints; it broadcasts to x."""
    (axis,) = domain.pooled_axes(x.ndim)
    if where is None:
        return numbered(axis, x.shape[axis], x.ndim) + 1
    return number_valid(where, axis)


def number_valid(where: jax.Array, axis: int) -> jax.Array:
    """How many are valid up to each element along an axis, itself included."""
    return lax.cumsum(where.astype(np.int32), axis)
