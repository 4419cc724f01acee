"""Maximum and mean mixed: by a number, by a gate, and by a tree of filters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Mixed(Reduction):
    """The maximum and the mean of a cell's elements, mixed: ``alpha * max + (1 - alpha) * mean``.

    Args:
      alpha: the part of the maximum, from 0 to 1: a number, or an array that broadcasts to the
        result, for example with an entry for each channel. May be traced.
      count_include_pad: whether declared padding counts as zeros in the mean; the part of a
        window that only ceil mode adds never does.

    Raises:
      ValueError: when used, if `alpha` is not between 0 and 1 or does not broadcast.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 6.]), jaxpool.Global(0), jaxpool.Mixed(0.5))
      Array(4.5, dtype=float32)
    """

    alpha: Any = 0.5
    count_include_pad: bool = dataclasses.field(default=True, metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.fraction(op, "alpha", self.alpha)
        arguments.flag(op, "count_include_pad", self.count_include_pad)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        mean = Mean(self.count_include_pad)
        # Where nothing is mixed, infinities of the one must not meet the other.
        if isinstance(self.alpha, int | float) and self.alpha in (0, 1):
            return (Max() if self.alpha else mean)(x, domain, where)
        average = mean(x, domain, where)
        alpha = parameters.spread("alpha", self.alpha, average)
        return mixture(alpha, _largest(x, domain, where), average)


def _largest(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    return finite_where_empty(domain.max(x, where), x, domain, where)


def mixture(part: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    """``part * one + (1 - part) * other``, of which what has no part is not read.

    What is not finite, or differs by more than a number can say, is so whatever the part is, and
    gives that no slope, which would be no number.
    """
    beyond = ~jnp.isfinite(lax.stop_gradient(one - other))
    return times(part, one, beyond) + times(1 - part, other, beyond)


def gated(logit: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    """`mixture` by the sigmoid of `logit`, of which NaN makes NaN and gives nothing a slope."""
    unknown = jnp.isnan(logit)
    part = jax.nn.sigmoid(jnp.where(unknown, np.zeros((), logit.dtype), logit))
    return jnp.where(unknown, np.array(np.nan, logit.dtype), mixture(part, one, other))


def times(part: jax.Array, value: jax.Array, beyond: jax.Array) -> jax.Array:
    """``part * value``, 0 where the part is; `beyond` says where it has no slope in the part."""
    zero = np.zeros((), value.dtype)
    fixed = lax.stop_gradient(part)
    read = jnp.where(beyond & (fixed == 0), zero, value)
    return jnp.where(beyond, fixed * read, part * jnp.where(beyond, zero, value))


def finite_where_empty(
    y: jax.Array, x: jax.Array, domain: Domain, where: jax.Array | None, value: int = 0
) -> jax.Array:
    """`y` with `value` for empty cells, of which another would spoil the gradient of a factor."""
    if where is None and not domain.can_be_empty(x.shape):
        return y
    filled = jnp.broadcast_to(domain.count(x.shape, where) > 0, y.shape)
    return jnp.where(filled, y, np.array(value, y.dtype))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gated(Reduction):
    """Maximum and mean, mixed by a sigmoid of the sum of elements times those of a filter."""

    gate: Any
    count_include_pad: bool = dataclasses.field(default=True, metadata={"static": True})

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        kernel = self.gate.astype(x.dtype)
        average = Mean(self.count_include_pad)(x, domain, where)
        logit = domain.correlate(x, kernel, where)
        return gated(logit, _largest(x, domain, where), average)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Tree(Reduction):
    """Filters at the leaves of a binary tree, mixed upwards by gates; both have a first axis."""

    leaves: Any
    gates: Any

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        # In level order: inner node i has the children 2i + 1 and 2i + 2, leaves come last.
        nodes = [domain.correlate(x, leaf.astype(x.dtype), where) for leaf in self.leaves]
        for gate in self.gates[::-1]:
            right, left = nodes.pop(), nodes.pop()
            logit = domain.correlate(x, gate.astype(x.dtype), where)
            nodes.insert(0, gated(logit, left, right))
        return nodes[0]
