"""A reduction of the user's own."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction


def _unchanged(x: Any) -> Any:
    return x


@explained
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
        _same_shape("lift", carrier, x.shape)
        expected, given = jax.tree.structure(carrier), jax.tree.structure(self.identity)
        if expected != given:
            raise ValueError(
                "Monoid: `identity` must have the tree structure of what `lift` returns, "
                f"{expected}; got {given}."
            )
        identity = jax.tree.map(lambda c, e: jnp.asarray(e).astype(c.dtype), carrier, self.identity)
        if where is not None:
            carrier = jax.tree.map(lambda c, e: jnp.where(where, c, e), carrier, identity)
        total = domain.fold(carrier, _Checked(self.combine), identity)
        result = self.finish(total)
        if not isinstance(result, jax.Array):
            raise parameters.WrongKindError(
                f"`finish` must return an array; got an object of type {type(result).__name__}."
            )
        _same_shape("finish", result, jax.tree.leaves(total)[0].shape)
        return result


@dataclasses.dataclass(frozen=True)
class _Checked:
    """`combine`, whose results have to be like what it is given."""

    combine: Callable[[Any, Any], Any]

    def __call__(self, a: Any, b: Any) -> Any:
        found = self.combine(a, b)
        expected, given = jax.tree.structure(a), jax.tree.structure(found)
        if expected != given:
            raise parameters.MisfitError(
                f"`combine` must return a carrier like those it is given, {expected}; got {given}."
            )
        shape = jax.lax.broadcast_shapes(*(jnp.shape(leaf) for leaf in jax.tree.leaves((a, b))))
        _same_shape("combine", found, shape)
        return found


def _same_shape(name: str, found: Any, shape: Sequence[Any]) -> None:
    """Checks what a function of the user's has returned."""
    for leaf in jax.tree.leaves(found):
        if jnp.shape(leaf) != tuple(shape):
            raise parameters.MisfitError(
                f"`{name}` must return arrays of the shape of what it is given, {tuple(shape)}, "
                f"since it is for each element; got one of shape {jnp.shape(leaf)}."
            )
