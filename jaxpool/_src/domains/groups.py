"""The domain of groups of channels, and its named functions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jaxpool._src.core import arguments
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain
from jaxpool._src.domains.intervals import Delegating
from jaxpool._src.domains.window import Window


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Groups(Delegating):
    """Consecutive elements along one axis, so many to a cell: groups of channels.

    Of an axis of length n, which `size` divides, cell i has the elements ``i*size`` up to, without
    it, ``(i + 1)*size``.

    Args:
      size: number of elements of a group.
      axis: the axis that consists of groups, an int. Default: the last.

    Raises:
      ValueError: `size` is less than 1.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> jaxpool.Groups(4).output_shape((8, 7, 7, 512))
      (8, 7, 7, 128)
      >>> jaxpool.pool(jnp.array([1., 5., 2., 4.]), jaxpool.Groups(2), jaxpool.Mean())
      Array([3., 3.], dtype=float32)
    """

    size: int
    axis: int = -1

    def __post_init__(self) -> None:
        for name, value in group_fields("Groups", self.size, self.axis).items():
            object.__setattr__(self, name, value)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return (self.axis % ndim,)

    def check(self, op: str, shape: Sequence[Any]) -> None:
        axis = arguments.axis_of(op, self.axis, shape)
        arguments.no_empty_axis(op, shape, (axis,))
        arguments.known_size(op, shape, axis)
        n = shape[axis]
        if n % self.size:
            divisors = ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)
            arguments.fail(
                op,
                "size",
                f"divide the {n} elements of axis {axis}",
                self.size,
                shape=shape,
                hint=f"Write one of {divisors}, or `axis` if this is not the axis that you mean.",
            )

    def _over(self, shape: Sequence[Any]) -> Domain:
        del shape
        return Window(self.size, axes=self.axis)


def group_fields(op: str, size: Any, axis: Any) -> dict[str, int]:
    """The fields of a `Groups`, checked in the name of `op`."""
    allowed = "be an int >= 1"
    size = arguments.integer(op, "size", size, allowed)
    if size < 1:
        arguments.fail(op, "size", allowed, size)
    return {"size": size, "axis": arguments.integer(op, "axis", axis, "be an int")}
