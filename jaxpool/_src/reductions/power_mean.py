"""Power means: geometric, harmonic and arithmetic ones, and those between."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.lowering.windows import materialized_on_cpus
from jaxpool._src.reductions.power import LARGEST_PRODUCT
from jaxpool._src.reductions.soft import LogSumExp, laid_parameter


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerMean(Reduction):
    """The power mean of a cell's elements: ``mean(max(x, eps)^p)^(1/p)``.

    p = 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum and
    -infinity the minimum. Powers neither overflow nor underflow.

    Args:
      p: a number, which may be 0 or infinite, or an array that broadcasts to the result and is the
        same along pooled axes. Arrays may be traced.
      eps: a number > 0. Smaller elements count as this, and have gradient 0.

    Raises:
      ValueError: when used, if `p` is NaN or does not broadcast, or `eps` is not positive.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 4., 16.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.PowerMean(p=1))
      Array(7., dtype=float32)
    """

    p: Any = 1
    eps: float = dataclasses.field(default=1e-6, metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.parameter(op, "p", self.p)
        parameters.positive_number(op, "eps", self.eps)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        eps = max(self.eps, float(jnp.finfo(x.dtype).tiny))
        if parameters.is_number(self.p) and self.p in range(1, LARGEST_PRODUCT + 1):
            return _integer_mean(x, int(self.p), eps, domain, where)
        if not parameters.is_number(self.p):
            laid_parameter("p", self.p, x, domain)  # else the error would speak of sharpness
        if where is not None:
            x = jnp.where(where, x, np.ones((), x.dtype))
        return jnp.exp(LogSumExp(self.p)(jnp.log(_at_least(x, eps)), domain, where))


def _at_least(x: jax.Array, eps: float) -> jax.Array:
    """Not by a maximum, whose slope at `eps` is 1/2."""
    least = np.array(eps, x.dtype)
    return jnp.where(x <= least, least, x)


def _integer_mean(
    x: jax.Array, p: int, eps: float, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """``mean(max(x, eps)^p)^(1/p)``, by products that are scaled by the largest element."""
    one = np.ones((), x.dtype)
    count = jnp.maximum(domain.count(x.shape, where).astype(x.dtype), one)
    if p == 1:
        return domain.sum(_at_least(x, eps), where) / count
    # As a constant: the scale cancels, so it has no part in any derivative.
    largest = _at_least(materialized_on_cpus(domain.max, jax.lax.stop_gradient(x), where), eps)
    # Of a larger one the reciprocal is denormal. Products, since of quotients XLA:CPU keeps arrays.
    most = np.array(2.0 ** (jnp.finfo(x.dtype).maxexp - 3), x.dtype)
    scale = jnp.where(jnp.isfinite(largest), jnp.minimum(largest, most), one)

    def power(element: jax.Array, scale: jax.Array) -> jax.Array:
        return jax.lax.integer_pow(_at_least(element, eps) * scale, p)

    total = domain.sum_with(power, x, one / scale, where)
    mean = jnp.where(total == 0, one, total / count)  # of an empty cell: a root of 0 has no slope
    return scale * (jnp.sqrt(mean) if p == 2 else _root(mean, p))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _root(x: jax.Array, p: int) -> jax.Array:
    """``x^(1/p)`` of positive x. XLA:CPU calls a function for every cube root; this is a loop."""
    return x ** np.array(1 / p, x.dtype)


@_root.defjvp
def _root_jvp(p: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """By the root, so that there is no second power."""
    (x,), (dx,) = primals, tangents
    y = _root(x, p)
    return y, dx * (y / (np.array(p, x.dtype) * x))
