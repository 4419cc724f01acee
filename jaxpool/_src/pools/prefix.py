"""Named functions of running values, and of corners that are made of them."""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.prefix import Prefix, prefix_fields
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean, Sum

Corner = Literal["top_left", "top_right", "bottom_left", "bottom_right"]


@explained
def prefix_max_pool(
    x: jax.Array,
    axis: int,
    *,
    reverse: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum so far: of each element and all before it along an axis.

    Args:
      x: array with the axis along which elements come one after the other.
      axis: that axis, an int. All others are batch, in any number.
      reverse: whether each element has all from it on, up to the end.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in the direction
      of the prefix (reversed, from the back), and if there are NaNs, to the last of them.
      Masked-out elements have gradient 0.

    Example:
      >>> jaxpool.prefix_max_pool(jnp.array([2., 1., 6., 3.]), axis=0)
      Array([2., 2., 6., 6.], dtype=float32)
      >>> jaxpool.prefix_max_pool(jnp.array([2., 1., 6., 3.]), axis=0, reverse=True)
      Array([6., 6., 6., 3.], dtype=float32)

    References:
      Law and Deng, CornerNet: Detecting objects as paired keypoints, 2018.
      <https://arxiv.org/abs/1808.01244>
    """
    op = "prefix_max_pool"
    return _prefix_pool(op, x, Max(), axis, reverse, where, empty_value)


@explained
def prefix_avg_pool(
    x: jax.Array,
    axis: int,
    *,
    reverse: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean so far: of each element and all before it along an axis.

    Args:
      x: array with the axis along which elements come one after the other.
      axis: that axis, an int. All others are batch, in any number.
      reverse: whether each element has all from it on, up to the end.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part. Floats are weights of a weighted mean.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape; floats keep their dtype and are accumulated in float32 at least, ints and
      bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order; linear in x. Masked-out elements have gradient 0.

    Example:
      >>> jaxpool.prefix_avg_pool(jnp.array([2., 1., 6., 3.]), axis=0)
      Array([2. , 1.5, 3. , 3. ], dtype=float32)
      >>> jaxpool.prefix_avg_pool(jnp.array([2., 1., 6., 3.]), axis=0, reverse=True)
      Array([3.       , 3.3333333, 4.5      , 3.       ], dtype=float32)

    References:
      Blelloch, Prefix sums and their applications, 1990. <https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf>
    """
    op = "prefix_avg_pool"
    return _prefix_pool(op, x, Mean(), axis, reverse, where, empty_value)


@explained
def prefix_sum_pool(
    x: jax.Array,
    axis: int,
    *,
    reverse: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The sum so far: of each element and all before it along an axis.

    Args:
      x: array with the axis along which elements come one after the other.
      axis: that axis, an int. All others are batch, in any number.
      reverse: whether each element has all from it on, up to the end.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape; floats keep their dtype and are accumulated in float32 at least, ints and
      bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order; linear in x. Masked-out elements have gradient 0.

    Example:
      >>> jaxpool.prefix_sum_pool(jnp.array([2., 1., 6., 3.]), axis=0)
      Array([ 2.,  3.,  9., 12.], dtype=float32)
      >>> jaxpool.prefix_sum_pool(jnp.array([2., 1., 6., 3.]), axis=0, reverse=True)
      Array([12., 10.,  9.,  3.], dtype=float32)

    References:
      Blelloch, Prefix sums and their applications, 1990. <https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf>
    """
    op = "prefix_sum_pool"
    return _prefix_pool(op, x, Sum(), axis, reverse, where, empty_value)


@explained
def corner_pool(
    x: jax.Array,
    corner: Corner = "top_left",
    *,
    axes: Ints = (-3, -2),
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The sum of two running maxima, along rows and along columns, towards a corner of a box.

    At the top left corner of an object there is nothing of it: what says that it is one lies below
    and to the right. So the maximum of all below is added to the maximum of all to the right.

    Args:
      x: array of shape ``[..., H, W, channels]``; with `axes`, any layout.
      corner: which one: "top_left" looks down and right, "top_right" down and left, "bottom_left"
        up and right, "bottom_right" up and left.
      axes: the axes of rows and columns, H and W.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of a maximum in which nothing takes part.

    Returns:
      Array of x's shape; floats keep their dtype, ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, or an axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Of each of the two, the gradient goes to the first maximum seen from
      the border, and if there are NaNs, to the last of them. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.array([[0., 0., 2.], [0., 0., 0.], [3., 0., 0.]])[..., None]
      >>> jaxpool.corner_pool(x, "top_left")[..., 0]
      Array([[5., 2., 4.],
             [3., 0., 0.],
             [6., 0., 0.]], dtype=float32)

    References:
      Law and Deng, CornerNet: Detecting objects as paired keypoints, 2018.
      <https://arxiv.org/abs/1808.01244>
    """
    op = "corner_pool"
    choices = ("top_left", "top_right", "bottom_left", "bottom_right")
    arguments.one_of(op, "corner", corner, choices)
    arguments.check_array(op, x)
    axes = arguments.axis_numbers(op, axes)
    if len(axes) != 2:
        arguments.fail(op, "axes", "be two axes, of rows and of columns", axes)
    return as_one_program(_corner_pool, x, corner, axes, where, arguments.known(empty_value))


def _corner_pool(x: Any, corner: str, axes: Any, where: Any, empty_value: Any) -> jax.Array:
    op, x = "corner_pool", jnp.asarray(x)
    arguments.resolved_axes(op, axes, x.shape)
    towards = (corner.startswith("top"), corner.endswith("left"))
    down, right = (
        _prefix_pool(op, x, Max(), axis, reverse, where, empty_value)
        for axis, reverse in zip(axes, towards, strict=True)
    )
    kind = Sum().output_dtype(x.dtype)
    return down.astype(kind) + right.astype(kind)


def _prefix_pool(
    op: str, x: Any, reduction: Reduction, axis: Any, reverse: Any, where: Any, empty_value: Any
) -> jax.Array:
    domain = Prefix(**prefix_fields(op, axis, reverse))
    return run(op, x, domain, reduction, where, empty_value)
