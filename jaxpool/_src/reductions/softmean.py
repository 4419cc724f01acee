"""Means under weights that are exponentials, and the logarithms of their sums: safe in all sizes.

This is the core of every soft pool. Over the elements x of a cell, with logits l, it gives

    log sum_i exp(l_i)   and   sum_i exp(l_i) x_i / sum_i exp(l_i).

Exponentials are taken relative to the cell's largest logit. Infinite logits and elements are taken
for the largest finite ones, so that no difference of infinities and no product with 0 is NaN.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.pool import Domain
from jaxpool._src.lowering.windows import materialized_on_cpus


def logsumexp(
    domain: Domain, logits: jax.Array, where: jax.Array | None, sharpness: Any = 1
) -> jax.Array:
    """``log sum exp(sharpness * logits)`` of each cell; -inf where a cell is empty.

    `sharpness` is a number, or an array that broadcasts to the result and is the same along pooled
    axes, traced or not.
    """
    stages = domain.stages(logits.shape)
    for part in stages:
        kept = part is not stages[-1]
        cells = _cells(part, logits, where, sharpness)
        total = part.sum_with(lambda e, c: _weighted(e, e, *c)[0], logits, cells, where, kept=kept)
        logits = _log(cells[0], total)
        where, sharpness = None, 1
    return logits


def softmean(
    domain: Domain,
    x: jax.Array,
    logits: jax.Array | None,
    where: jax.Array | None,
    sharpness: Any = 1,
) -> tuple[jax.Array, jax.Array]:
    """The `logsumexp` of each cell, and the mean of its x under those weights.

    Without `logits`, x itself takes their place. Of cells in which all logits are -inf, the mean is
    the plain one.
    """
    stages = domain.stages(x.shape)
    for part in stages:
        kept = part is not stages[-1]
        cells = _cells(part, x if logits is None else logits, where, sharpness)
        if logits is None:
            sums = part.sum_with(lambda e, c: _weighted(e, e, *c), x, cells, where, kept=kept)
        else:
            pair = (logits, x)
            sums = part.sum_with(lambda e, c: _weighted(*e, *c), pair, cells, where, kept=kept)
        total, product = sums
        logits = _log(cells[0], total)
        infinite = abs(product) >= _largest(product.dtype)
        infinity = jnp.copysign(np.array(np.inf, x.dtype), jax.lax.stop_gradient(product))
        product = jnp.where(infinite, np.zeros((), x.dtype), product)
        mean = product / jnp.where(total == 0, np.ones((), x.dtype), total)
        x = jnp.where(infinite, infinity, mean)
        where, sharpness = None, 1
    assert logits is not None
    return logits, x


def _cells(
    domain: Domain, logits: jax.Array, where: jax.Array | None, sharpness: Any
) -> tuple[jax.Array, Any]:
    """For each cell the largest of ``sharpness * logits``, as a constant, and `sharpness`."""
    constant = jax.lax.stop_gradient(logits)

    def largest(x: jax.Array, where: jax.Array | None) -> jax.Array:
        # Finite afterwards and not before: else XLA:CPU clips each element anew in every window.
        return _finite(materialized_on_cpus(domain.max, x, where))

    if isinstance(sharpness, int | float):
        top = largest(constant if sharpness >= 0 else -constant, where)
        if abs(sharpness) != 1:
            top = _finite(top * np.array(abs(sharpness), top.dtype))
        return top, np.array(sharpness, top.dtype)[()]
    fixed = jax.lax.stop_gradient(sharpness)
    top = jnp.where(fixed >= 0, largest(constant, where), -largest(-constant, where))
    return _finite(top * fixed), sharpness


def _log(top: jax.Array, total: jax.Array) -> jax.Array:
    """``log(exp(top) * total)``, and the infinity that `top` stands for."""
    empty = total == 0
    value = top + jnp.log(jnp.where(empty, np.ones((), total.dtype), total))
    infinite = empty | (abs(top) >= _largest(top.dtype))
    return jnp.where(infinite, jnp.copysign(np.array(np.inf, top.dtype), top), value)


@jax.custom_jvp
def _weighted(
    logit: jax.Array, x: jax.Array, top: jax.Array, sharpness: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """``w = exp(sharpness * logit - top)`` and w x; finite also for logits that are above `top`."""
    exponent = _finite(sharpness * _finite(logit)) - top
    weight = jnp.exp(jnp.minimum(exponent, np.zeros((), exponent.dtype)))
    return weight, weight * _finite(x)


@_weighted.defjvp
def _weighted_jvp(primals: Any, tangents: Any) -> Any:
    """Weights come first in all products: where they are 0, the rest may be as large as it likes.

    `top` is a constant.
    """
    logit, _, _, sharpness = primals
    weight, product = _weighted(*primals)
    move = sharpness * tangents[0] + _finite(logit) * tangents[3]
    return (weight, product), (weight * move, product * move + weight * tangents[1])


def _finite(x: jax.Array) -> jax.Array:
    """Infinities as the largest finite numbers."""
    largest = _largest(x.dtype)
    return jnp.clip(x, -largest, largest)


def _largest(dtype: Any) -> Any:
    return np.array(jnp.finfo(dtype).max, dtype)
