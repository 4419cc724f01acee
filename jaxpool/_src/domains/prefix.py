"""The domain of prefixes: everything up to here."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, with_zeros
from jaxpool._src.lowering import prefixes
from jaxpool._src.lowering.picks import masked_out
from jaxpool._src.lowering.scans import prefix_fold
from jaxpool._src.lowering.windows import numbered, widened

_NOT_ONE_BY_ONE = (
    "`domain` must not be Prefix for order statistics and random pools, which would look at all "
    "elements anew for each one. Pool windows or the whole axis instead."
)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Prefix(Domain):
    """For each element all up to it along one axis, itself included; the shape stays.

    Args:
      axis: the axis along which elements come one after the other, an int.
      reverse: whether each element has all from it on, up to the end.

    Raises:
      TypeError: an argument is of the wrong kind.

    Example:
      >>> jaxpool.pool(jnp.array([2., 1., 4., 3.]), jaxpool.Prefix(0), jaxpool.Max())
      Array([2., 2., 4., 4.], dtype=float32)
      >>> jaxpool.pool(jnp.array([2., 1., 4., 3.]), jaxpool.Prefix(0, reverse=True), jaxpool.Sum())
      Array([10.,  8.,  7.,  3.], dtype=float32)
    """

    axis: int
    _: dataclasses.KW_ONLY
    reverse: bool = False

    nested = True

    def __post_init__(self) -> None:
        for name, value in prefix_fields("Prefix", self.axis, self.reverse).items():
            object.__setattr__(self, name, value)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return (self.axis % ndim,)

    def check(self, op: str, shape: Sequence[Any]) -> None:
        arguments.no_empty_axis(op, shape, (arguments.axis_of(op, self.axis, shape),))

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`: the same.

        Args:
          shape: shape of the array to pool.

        Returns:
          `shape`.

        Raises:
          ValueError: the axis is missing or empty.
        """
        self.check("Prefix", shape)
        return tuple(shape)

    def counts(self, shape: Sequence[Any]) -> np.ndarray:
        """Number of elements of each cell.

        Args:
          shape: shape of the array to pool, all sizes known.

        Returns:
          Integer array that broadcasts to the result: 1 on batch axes.

        Raises:
          ValueError: the axis is missing or empty.
        """
        self.check("Prefix", shape)
        axis = self.axis % len(shape)
        found = np.arange(1, shape[axis] + 1)
        found = found[::-1] if self.reverse else found
        return found.reshape([-1 if i == axis else 1 for i in range(len(shape))])

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        del include_pad  # there is no padding
        if where is not None:
            return self.sum(where.astype(np.int32))
        axis = self.axis % len(shape)
        number = numbered(axis, shape[axis], len(shape))
        return jnp.asarray(shape[axis], np.int32) - number if self.reverse else number + 1

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return lax.cumsum(with_zeros(x, where), self.axis % x.ndim, reverse=self.reverse)

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        del implementation  # there is one
        input_dtype, x = x.dtype, widened(x)
        where = None if where is None else jnp.broadcast_to(where, x.shape)
        x = masked_out(x, where)
        y = prefixes.running_max(x, where, self.axis % x.ndim, self.reverse)
        return y.astype(input_dtype)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        x = widened(x)
        where = None if where is None else jnp.broadcast_to(where, x.shape)
        x = masked_out(x, where)
        return prefixes.running_argmax(x, where, self.axis % x.ndim, self.reverse)

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        del kept  # there is one form
        shape = jax.tree.leaves(x)[0].shape
        cells = jax.tree.map(lambda c: jnp.broadcast_to(c, shape), cells)
        return prefixes.running_sum_with(
            function, with_zeros(x, where), cells, where, self.axis % len(shape), self.reverse
        )

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        axis = self.axis % jax.tree.leaves(carrier)[0].ndim
        if not self.reverse:
            return prefix_fold(carrier, axis, combine, identity)
        turned = jax.tree.map(functools.partial(lax.rev, dimensions=(axis,)), carrier)
        folded = prefix_fold(turned, axis, lambda a, b: combine(b, a), identity)
        return jax.tree.map(functools.partial(lax.rev, dimensions=(axis,)), folded)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        raise parameters.MisfitError(_NOT_ONE_BY_ONE)

    def scan(self, *_: Any, **__: Any) -> Any:
        raise parameters.MisfitError(_NOT_ONE_BY_ONE)

    def pick(self, x: jax.Array, numbers: jax.Array) -> jax.Array:
        raise parameters.MisfitError(_NOT_ONE_BY_ONE)

    def correlate(
        self, x: jax.Array, kernel: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        raise parameters.MisfitError(
            "`domain` must have cells of one shape for this reduction, as windows have; got Prefix."
        )


def prefix_fields(op: str, axis: Any, reverse: Any) -> dict[str, Any]:
    """The fields of a `Prefix`, checked in the name of `op`."""
    return {
        "axis": arguments.integer(op, "axis", axis, "be an int"),
        "reverse": arguments.flag(op, "reverse", reverse),
    }
