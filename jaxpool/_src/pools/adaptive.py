"""Pools to a given output shape."""

from typing import Any

import jax

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints, Sizes
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.domains.intervals import Adaptive
from jaxpool._src.pools.argmax import with_indices
from jaxpool._src.reductions.max import Max, Min
from jaxpool._src.reductions.mean import Mean


def _adaptive(op: str, output_shape: Any, axes: Any) -> Adaptive:
    """An `Adaptive` whose arguments are checked in the name of `op`."""
    sizes, axes = arguments.sizes_and_axes(op, "output_shape", output_shape, axes)
    return Adaptive(sizes, axes=axes)


@explained
def adaptive_avg_pool(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean of each of `output_shape` cells, whatever the size of x.

    Along an axis of length n, cell i of o has the elements ``i*n // o`` to ``ceil((i+1)*n / o)``,
    the latter not included: PyTorch's rule. Neighbours share an element where o does not divide n,
    and where o is larger, elements repeat.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part. Floats are weights of a weighted mean.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; floats keep
      their dtype, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.arange(5.)
      >>> jaxpool.adaptive_avg_pool(x, 3, axes=0)
      Array([0.5, 2. , 3.5], dtype=float32)
      >>> jaxpool.adaptive_avg_pool(x, 7, axes=0)
      Array([0. , 0.5, 1.5, 2. , 2.5, 3.5, 4. ], dtype=float32)

    References:
      He et al., Spatial pyramid pooling in deep convolutional networks for visual recognition,
      2014. <https://arxiv.org/abs/1406.4729>
    """
    domain = _adaptive("adaptive_avg_pool", output_shape, axes)
    return run("adaptive_avg_pool", x, domain, Mean(), where, empty_value)


@explained
def adaptive_max_pool(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum of each of `output_shape` cells, whatever the size of x.

    The cells are those of `adaptive_avg_pool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; the dtype is
      x's.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0. On TPUs, which NaN it is may differ.

    Example:
      >>> jaxpool.adaptive_max_pool(jnp.arange(5.), 3, axes=0)
      Array([1., 3., 4.], dtype=float32)

    References:
      He et al., Spatial pyramid pooling in deep convolutional networks for visual recognition,
      2014. <https://arxiv.org/abs/1406.4729>
    """
    domain = _adaptive("adaptive_max_pool", output_shape, axes)
    return run("adaptive_max_pool", x, domain, Max(), where, empty_value)


@explained
def adaptive_min_pool(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The minimum of each of `output_shape` cells, whatever the size of x.

    The cells are those of `adaptive_avg_pool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; the dtype is
      x's.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first minimum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0. On TPUs, which NaN it is may differ.

    Example:
      >>> jaxpool.adaptive_min_pool(jnp.arange(5.), 3, axes=0)
      Array([0., 1., 3.], dtype=float32)

    References:
      He et al., Spatial pyramid pooling in deep convolutional networks for visual recognition,
      2014. <https://arxiv.org/abs/1406.4729>
    """
    domain = _adaptive("adaptive_min_pool", output_shape, axes)
    return run("adaptive_min_pool", x, domain, Min(), where, empty_value)


@explained
def adaptive_max_pool_with_argmax(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each of `output_shape` cells, and where in the input it is.

    Values are those of `adaptive_max_pool`, indices as in `max_pool_with_argmax`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      (values, indices), both of x's shape with `output_shape` in place of the pooled axes; the
      dtype of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic,
        or the pooled axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `adaptive_max_pool`: every mode, to any order. Indices have none.

    Example:
      >>> jaxpool.adaptive_max_pool_with_argmax(jnp.array([3., 1., 2., 5., 4.]), 3, axes=0)
      (Array([3., 5., 5.], dtype=float32), Array([0, 3, 3], dtype=int32))

    References:
      He et al., Spatial pyramid pooling in deep convolutional networks for visual recognition,
      2014. <https://arxiv.org/abs/1406.4729>
    """
    domain = _adaptive("adaptive_max_pool_with_argmax", output_shape, axes)
    return with_indices("adaptive_max_pool_with_argmax", x, domain, Max(), where, empty_value)
