"""Means whose weights a network makes of all elements of the cell."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.pool import Domain, Reduction, with_zeros
from jaxpool._src.lowering.windows import materialized_on_cpus

# Cells of more elements are passed in a loop: written out, what is compiled grows faster than they.
_AT_ONCE = 9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Universal(Reduction):
    """The mean under a softmax over elements, whose logits are a network of two layers.

    Hidden features are filters of the cell, plus a bias, rectified; a logit is a sum over them, and
    a bias. All four lie on cells as filters do: of the rank of x, with the sizes of the cell along
    pooled axes, or with 1 for `hidden_bias`. All but `logits_bias` have a first axis for features.
    What is masked and what is padding is 0 for the filters.
    """

    hidden_kernel: Any
    hidden_bias: Any
    logits_kernel: Any
    logits_bias: Any

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        x = with_zeros(x, where)
        logits = materialized_on_cpus(lambda *given: _logits(domain, *given), x, self)

        def larger(most: jax.Array, element: jax.Array, number: Any) -> jax.Array:
            del element
            logit = _of(fixed, number)
            return jnp.where(logit > most, logit, most)

        def add(sums: Any, element: jax.Array, number: Any) -> Any:
            distance = _of(logits, number) - most
            # What is no element may have a larger logit, whose exponential would overflow.
            beyond = distance > np.zeros((), x.dtype)
            weight = jnp.exp(jnp.where(beyond, np.zeros((), x.dtype), distance))
            return sums[0] + weight, sums[1] + weight * element

        # The reference is a constant, since it cancels.
        fixed, nothing = lax.stop_gradient(logits), jnp.zeros(logits.shape[1:], x.dtype)
        lowest = jnp.full_like(nothing, jnp.finfo(x.dtype).min)
        most = domain.scan(larger, lowest, lax.stop_gradient(x), where, at_once=_AT_ONCE)
        weight, total = domain.scan(add, (nothing, nothing), x, where, at_once=_AT_ONCE)
        return total / jnp.where(weight == 0, np.ones((), x.dtype), weight)


def _logits(domain: Domain, x: jax.Array, network: Universal) -> jax.Array:
    """For each cell, the logits of its elements, by their number along a first axis."""
    given = (network.hidden_kernel, network.hidden_bias, network.logits_kernel, network.logits_bias)
    first, bias, second, second_bias = (p.astype(x.dtype) for p in given)
    hidden = jax.nn.relu(jax.vmap(lambda kernel: domain.correlate(x, kernel))(first) + bias)
    axes = sorted(domain.pooled_axes(x.ndim))
    second, second_bias = _in_order(second, axes, 1), _in_order(second_bias, axes, 0)
    return jnp.sum(hidden[:, None] * second, 0) + second_bias


def _in_order(kernel: jax.Array, axes: list[int], lead: int) -> jax.Array:
    """Entries in row-major order along an axis after `lead` ones, in place of the pooled axes."""
    pooled = [axis + lead for axis in axes]
    laid = jnp.moveaxis(kernel, pooled, range(lead, lead + len(axes)))
    rest = [1 if axis in pooled else n for axis, n in enumerate(kernel.shape)][lead:]
    number = math.prod(kernel.shape[axis] for axis in pooled)
    return laid.reshape(*kernel.shape[:lead], number, *rest)


def _of(logits: jax.Array, number: Any) -> jax.Array:
    """Those of the elements of that number."""
    if isinstance(number, np.integer):
        return lax.index_in_dim(logits, int(number), keepdims=False)
    return lax.dynamic_index_in_dim(logits, number, keepdims=False)
