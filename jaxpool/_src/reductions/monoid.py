"""A reduction of the user's own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.pool import Domain, Reduction


def _unchanged(x: Any) -> Any:
    return x


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Monoid(Reduction):
    """A reduction by an associative operation of your own: ``finish(lift(x1) * lift(x2) * ...)``.

    Unlike ``lax.reduce_window`` with such an operation, it has all derivatives that `combine`,
    `lift` and `finish` have, and takes masks. Elements are combined in row-major order, so the
    operation need not be commutative.

    Args:
      combine: associative function of two carriers to one. A carrier is an array, or a tree of
        arrays, as `lift` returns it; combine works on them elementwise.
      identity: carrier of scalars with ``combine(identity, a) == a == combine(a, identity)``,
        also for derivatives.
      lift: function of x to a carrier, elementwise. Sees x in float32 at least (ints and bools:
        in their dtype), and 1 where x is masked out. Default: x itself is the carrier.
      finish: function of the combined carrier to the result. Default: the carrier itself.

    Raises:
      TypeError: an argument is not a function.
      ValueError: when used, if `identity` has another tree structure than ``lift(x)``.

    Derivatives:
      Those of the three functions, forward and reverse, to any order.

    Example:
      >>> product = jaxpool.Monoid(combine=lambda a, b: a * b, identity=1)
      >>> jaxpool.pool(jnp.arange(1., 7.), jaxpool.Window(3, axes=0), product)
      Array([  6., 120.], dtype=float32)
      >>> geometric_mean = jaxpool.Monoid(
      ...     combine=lambda a, b: (a[0] + b[0], a[1] + b[1]),
      ...     identity=(0, 0),
      ...     lift=lambda x: (jnp.log(x), jnp.ones_like(x)),
      ...     finish=lambda carrier: jnp.exp(carrier[0] / carrier[1]),
      ... )
      >>> jaxpool.pool(jnp.array([1., 4., 2., 8.]), jaxpool.Window(2, axes=0), geometric_mean)
      Array([2., 4.], dtype=float32)
    """

    combine: Callable[[Any, Any], Any]
    identity: Any
    lift: Callable[[jax.Array], Any] = _unchanged
    finish: Callable[[Any], jax.Array] = _unchanged

    def __post_init__(self) -> None:
        for name in ("combine", "lift", "finish"):
            if not callable(getattr(self, name)):
                arguments.fail(
                    "Monoid", name, "be a function", getattr(self, name), error=TypeError
                )

    def accumulate_dtype(self, dtype: Any) -> Any:
        return np.promote_types(dtype, np.float32) if jnp.issubdtype(dtype, jnp.floating) else dtype

    def output_dtype(self, dtype: Any) -> Any:
        return dtype if jnp.issubdtype(dtype, jnp.floating) else None

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.ones((), x.dtype))
        carrier = self.lift(x)
        expected, given = jax.tree.structure(carrier), jax.tree.structure(self.identity)
        if expected != given:
            raise ValueError(
                "Monoid: `identity` must have the tree structure of what `lift` returns, "
                f"{expected}; got {given}."
            )
        identity = jax.tree.map(lambda c, e: jnp.asarray(e).astype(c.dtype), carrier, self.identity)
        if where is not None:
            carrier = jax.tree.map(lambda c, e: jnp.where(where, c, e), carrier, identity)
        return self.finish(domain.fold(carrier, self.combine, identity))
