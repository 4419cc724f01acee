"""Named functions over groups of channels."""

from typing import Any

import jax

from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, run
from jaxpool._src.domains.groups import Groups, group_fields
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean

_MEAN = Mean()


@explained
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


@explained
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
    return run(op, x, Groups(**group_fields(op, size, axis)), reduction, where, empty_value)
