"""The domain of groups of channels, and its named functions."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax

from jaxpool import _arguments
from jaxpool._intervals import Delegating
from jaxpool._max import Max
from jaxpool._mean import Mean
from jaxpool._pool import Domain, Reduction, run
from jaxpool._window import Window

_MEAN = Mean()


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
        for name, value in _fields("Groups", self.size, self.axis).items():
            object.__setattr__(self, name, value)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return (self.axis % ndim,)

    def check(self, op: str, shape: Sequence[Any]) -> None:
        ndim = len(shape)
        if not -ndim <= self.axis < ndim:
            allowed = f"lie in [{-ndim}, {ndim}) since x has {ndim} axes"
            _arguments.fail(op, "axis", allowed, self.axis, shape=shape)
        axis = self.axis % ndim
        _arguments.no_empty_axis(op, shape, (axis,))
        _arguments.known_size(op, shape, axis)
        n = shape[axis]
        if n % self.size:
            divisors = ", ".join(str(d) for d in range(1, n + 1) if n % d == 0)
            _arguments.fail(
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


def _fields(op: str, size: Any, axis: Any) -> dict[str, int]:
    """The fields of a `Groups`, checked in the name of `op`."""
    allowed = "be an int >= 1"
    size = _arguments.integer(op, "size", size, allowed)
    if size < 1:
        _arguments.fail(op, "size", allowed, size)
    return {"size": size, "axis": _arguments.integer(op, "axis", axis, "be an int")}


def channel_pool(
    x: jax.Array,
    size: int,
    reduction: Reduction = _MEAN,
    axis: int = -1,
    *,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """One value for each group of consecutive channels.

    Equal to `pool` over ``Groups(size, axis)``.

    Args:
      x: array of shape ``[..., channels]``; with `axis`, any layout.
      size: number of channels of a group; it divides the number of channels.
      reduction: how the channels of a group become one value. Default: ``Mean()``.
      axis: the axis of channels, an int. All others are batch.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of groups in which nothing takes part.

    Returns:
      Array of x's shape with ``n / size`` in place of n along `axis`; the dtype is that of the
      reduction.

    Raises:
      ValueError: an argument is out of range, or `size` does not divide the number of channels.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty groups have gradient 0.

    Example:
      >>> x = jnp.array([[1., 5., 2., 4.]])
      >>> jaxpool.channel_pool(x, 2)
      Array([[3., 3.]], dtype=float32)
      >>> jaxpool.channel_pool(x, 4, jaxpool.Lp(p=1))
      Array([[12.]], dtype=float32)

    References:
      Goodfellow et al., Maxout networks, 2013. <https://arxiv.org/abs/1302.4389>
    """
    return _grouped("channel_pool", x, size, reduction, axis, where, empty_value)


def maxout(
    x: jax.Array,
    size: int,
    axis: int = -1,
    *,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum of each group of consecutive channels: ``y[i] = max_j x[i*size + j]``.

    As an activation after a layer with `size` times as many channels it is a convex function,
    learned in pieces.

    Args:
      x: array of shape ``[..., channels]``; with `axis`, any layout.
      size: number of channels of a group; it divides the number of channels.
      axis: the axis of channels, an int. All others are batch.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of groups in which nothing takes part.

    Returns:
      Array of x's shape with ``n / size`` in place of n along `axis`; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or `size` does not divide the number of channels.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient goes to the first maximum of a group, as in `max_pool`.

    Example:
      >>> jaxpool.maxout(jnp.array([[1., 5., 2., 4.]]), 2)
      Array([[5., 4.]], dtype=float32)

    References:
      Goodfellow et al., Maxout networks, 2013. <https://arxiv.org/abs/1302.4389>
    """
    return _grouped("maxout", x, size, Max(), axis, where, empty_value)


def _grouped(
    op: str, x: Any, size: Any, reduction: Any, axis: Any, where: Any, empty_value: Any
) -> jax.Array:
    return run(op, x, Groups(**_fields(op, size, axis)), reduction, where, empty_value)
