"""Lp norms."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.lowering.windows import materialized_on_cpus
from jaxpool._src.reductions.running_sums import running_totals

# Up to this exponent a power is a product.
LARGEST_PRODUCT = 16

# A norm for a larger exponent is the maximum to the last digit, and its slopes would overflow.
_LARGEST = 2.0**60


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lp(Reduction):
    """The p-norm of a cell's elements: ``(sum |x|^p)^(1/p)``.

    A sum, not a mean, and of absolute values. Powers are scaled by the largest element, so that
    neither overflows nor underflows: the norm is finite wherever it is representable.

    Args:
      p: exponent, a number > 0; ``float("inf")`` takes the maximum of |x|. May be traced.

    Raises:
      ValueError: when used, if `p` is not positive.
      TypeError: when used, if `p` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([3., -4.]), jaxpool.Global(0), jaxpool.Lp(p=2))
      Array(5., dtype=float32)
    """

    p: Any = 2

    def check(self, op: str) -> None:
        parameters.positive_power(op, self.p)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        zero, one = np.zeros((), x.dtype), np.ones((), x.dtype)
        if where is not None:
            x = jnp.where(where, x, zero)  # the slope of |x| at NaN would spoil gradients
        given = self.p.item() if isinstance(self.p, np.generic) else self.p
        if isinstance(given, int | float):
            return (
                _largest(x, domain, where) if given > _LARGEST else _norm(x, given, domain, where)
            )
        p = jnp.asarray(given).astype(x.dtype)
        infinite = p > np.array(_LARGEST, x.dtype)
        norm = _norm(x, jnp.where(infinite, one, p), domain, where)
        return jnp.where(infinite, _largest(x, domain, where), norm)


def _largest(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    return jnp.maximum(domain.max(absolute(x), where), np.zeros((), x.dtype))  # -inf if it is empty


def _norm(x: jax.Array, p: Any, domain: Domain, where: jax.Array | None) -> jax.Array:
    """The norm for a finite p, a number or an array in the dtype of x."""
    one = np.ones((), x.dtype)
    if domain.nested:
        (total,), scale = running_totals(domain, x, where, (lambda e: _power(e, p),))
        # Of finite elements. All others are the value of their cells, and have no slope.
        largest = domain.max(jnp.abs(jax.lax.stop_gradient(x)), where)
        usable = jnp.isfinite(largest) | (largest < 0)  # -inf if it is empty
        return jnp.where(usable, _rooted(total, scale, p), largest)
    # As a constant: the scale cancels, so it has no part in any derivative.
    constant = jax.lax.stop_gradient(x)
    largest = materialized_on_cpus(lambda x, where: domain.max(jnp.abs(x), where), constant, where)
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, one)
    if isinstance(p, int | float) and _is_product(p):
        # Products, since of quotients XLA:CPU keeps arrays. Reciprocals must not be denormal.
        least, most = jnp.finfo(x.dtype).tiny, 2.0 ** (jnp.finfo(x.dtype).maxexp - 3)
        scale = jnp.clip(scale, np.array(least, x.dtype), np.array(most, x.dtype))
        total = domain.sum_with(lambda e, c: _power(e * c, p), x, one / scale, where)
    else:
        # The reciprocal of a large scale, by which XLA may multiply, would be denormal too.
        factor = jnp.where(scale > 1, np.array(0.125, x.dtype), one)
        cells = (scale * factor, factor, p)
        if isinstance(p, int | float):
            total = domain.sum_with(lambda e, c: _power(e * c[1] / c[0], p), x, cells[:2], where)
        else:
            total = domain.sum_with(lambda e, c: _power(e * c[1] / c[0], c[2]), x, cells, where)
    return _rooted(total, scale, p)


def _rooted(total: jax.Array, scale: jax.Array, p: Any) -> jax.Array:
    """The root of a sum of powers, in a unit. That of 0 has no finite slope: it is taken of 1."""
    zero, one = np.zeros((), total.dtype), np.ones((), total.dtype)
    positive = total != 0
    safe = jnp.where(positive, total, one)
    root = safe ** (one / p)
    if isinstance(p, int | float) and p in (1, 2):
        root = safe if p == 1 else jnp.sqrt(safe)
    return jnp.where(positive, scale * root, zero)


@jax.custom_jvp
def absolute(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0, where that of ``jnp.abs`` is 1."""
    return jnp.abs(x)


@absolute.defjvp
def _absolute_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return absolute(*primals), jnp.sign(primals[0]) * tangents[0]


def _is_product(p: float) -> bool:
    return p == int(p) and p <= LARGEST_PRODUCT


def _power(x: jax.Array, p: Any) -> jax.Array:
    """|x|^p with all the derivatives that it has at 0, and 0 for those that it lacks."""
    if isinstance(p, int | float) and _is_product(p):
        if p == 1:
            return absolute(x)
        if p % 2:
            return absolute(x) * jax.lax.integer_pow(x, int(p) - 1)
        return jax.lax.integer_pow(x, int(p))
    positive = x != 0
    safe = jnp.where(positive, absolute(x), np.ones((), x.dtype))
    return jnp.where(positive, safe**p, np.zeros((), x.dtype))
