"""Sums and arithmetic means."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction, accumulator


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sum(Reduction):
    """The sum of a cell's elements.

    Floats keep their dtype and are accumulated in float32 at least; ints and bools widen as in
    ``jnp.sum``.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 3.]), jaxpool.Global(0), jaxpool.Sum())
      Array(6., dtype=float32)
    """

    def accumulate_dtype(self, dtype: Any) -> Any:
        return accumulator(dtype) if jnp.issubdtype(dtype, jnp.floating) else _widened(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype if jnp.issubdtype(dtype, jnp.floating) else _widened(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return domain.sum(x, where)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Mean(Reduction):
    """The arithmetic mean of a cell's elements, weighted if `where` holds floats.

    Floats keep their dtype and are accumulated in float32 at least; ints and bools give float32.

    Args:
      count_include_pad: whether declared padding counts as zeros in the mean; the part of a
        window that only ceil mode adds never does.
      divisor_override: divides the sum by this number instead of the count.

    Raises:
      ValueError: when used, if `divisor_override` is 0 or not finite.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 3.]), jaxpool.Global(0), jaxpool.Mean())
      Array(2., dtype=float32)
    """

    count_include_pad: bool = True
    divisor_override: float | None = None

    takes_weights = True

    def check(self, op: str) -> None:
        arguments.flag(op, "count_include_pad", self.count_include_pad)
        parameters.divisor(op, self.divisor_override)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        weights = None
        if where is not None and where.dtype != bool:
            where, weights = where != 0, where.astype(x.dtype)
            weights = jnp.where(where, weights, np.zeros((), x.dtype))
            x = jnp.where(where, x, np.zeros((), x.dtype)) * weights
        total = domain.sum(x, where)
        if self.divisor_override is not None:
            return quotient(total, jnp.asarray(self.divisor_override, x.dtype))
        count = domain.count(x.shape, where, include_pad=self.count_include_pad).astype(x.dtype)
        if weights is not None:
            inside = domain.count(x.shape, where).astype(x.dtype)
            count = domain.sum(weights) + (count - inside)
        if where is not None or domain.can_be_empty(x.shape):
            # A cell with nothing in it gets its value later; 0/0 here would spoil its gradient.
            count = jnp.where(count != 0, count, np.ones((), x.dtype))
        return quotient(total, count)


def quotient(total: jax.Array, count: jax.Array) -> jax.Array:
    """``total / count``, rounded once.

    Of a constant divisor, and of one number for all cells, XLA takes the rounded reciprocal and
    multiplies. Behind the barrier it sees neither. Chosen by `total`, the divisor has the axes that
    vmap gives to that, and is not broadcast along them after the barrier.
    """
    count = jnp.broadcast_to(count, total.shape)
    return total / jax.lax.optimization_barrier(jnp.where(total == total, count, count))


def _widened(dtype: Any) -> Any:
    """The integer dtype that ``jnp.sum`` has for ints of `dtype`."""
    unsigned = jnp.issubdtype(dtype, jnp.unsignedinteger)
    return jax.dtypes.canonicalize_dtype(np.uint64 if unsigned else np.int64)
