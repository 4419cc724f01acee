"""Sums and means of windows and of whole axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.mean import Mean, Sum


@explained
def sum_pool(
    x: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    footprint: Any = None,
) -> jax.Array:
    """The sum of each window: ``y[i] = sum_j x[i*s - low + j*d]``.

    Padding adds nothing.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      footprint: bool array of the window's shape, known to the program: what is False in it is no
        element of the window, and not read. Default: all of the window.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (the sum is accumulated in float32 at least), ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.sum_pool(x, (2, 2))[..., 0]
      Array([[14., 22.],
             [46., 54.]], dtype=float32)

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
      <https://doi.org/10.1109/5.726791>
    """
    return window_pool(
        "sum_pool",
        x,
        Sum(),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def avg_pool(
    x: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    footprint: Any = None,
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> jax.Array:
    """The mean of each window: ``y[i] = sum_j x[i*s - low + j*d] / n_i``.

    The divisor n_i counts declared padding or not (`count_include_pad`), never what only ceil mode
    adds, and with a mask only what takes part.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.
      footprint: bool array of the window's shape, known to the program: what is False in it is no
        element of the window, and not read. Default: all of the window.
      count_include_pad: whether declared padding counts as zeros in the mean.
      divisor_override: divides every sum by this number instead of the count.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (the mean is accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear in x. Masked-out elements and empty cells have
      gradient 0. Weights have derivatives too.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.avg_pool(x, (2, 2))[..., 0]
      Array([[ 3.5,  5.5],
             [11.5, 13.5]], dtype=float32)

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
      <https://doi.org/10.1109/5.726791>
    """
    return window_pool(
        "avg_pool",
        x,
        Mean(count_include_pad, divisor_override),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def global_sum_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The sum over whole axes.

    Equal to `sum_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype (the
      sum is accumulated in float32 at least), ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_sum_pool(x, axes=(0, 1))
      Array([136.], dtype=float32)

    References:
      Lin, Chen and Yan, Network in network, 2014. <https://arxiv.org/abs/1312.4400>
    """
    return global_pool("global_sum_pool", x, Sum(), axes, keepdims, where, empty_value)


@explained
def global_avg_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean over whole axes.

    Equal to `avg_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype (the
      mean is accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear in x. Masked-out elements and empty cells have
      gradient 0. Weights have derivatives too.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_avg_pool(x, axes=(0, 1))
      Array([8.5], dtype=float32)

    References:
      Lin, Chen and Yan, Network in network, 2014. <https://arxiv.org/abs/1312.4400>
    """
    return global_pool("global_avg_pool", x, Mean(), axes, keepdims, where, empty_value)
