"""Variances and standard deviations of windows and of whole axes."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import (
    Global,
    channel_after,
    global_arguments,
    global_pool,
)
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.moments import Std, Variance


@explained
def variance_pool(
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
    ddof: int = 0,
) -> jax.Array:
    """The variance of each window: ``y[i] = sum_j (x[i*s - low + j*d] - m_i)**2 / (n_i - ddof)``.

    With m_i the mean and n_i the number of elements, or the sum of weights. Padding takes no part.
    NaN where ``n_i - ddof`` is not positive. Exact to rounding for elements of any size, far from 0
    or not.

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
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (moments are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements and empty cells have gradient 0, and so have
      cells that are not finite. Weights have derivatives too.

    Example:
      >>> jaxpool.variance_pool(jnp.array([1., 3., 2., 8.]), 2, axes=0)
      Array([1., 9.], dtype=float32)

    References:
      Lee, Kim and Nam, SRM: a style-based recalibration module for convolutional neural networks,
      2019. <https://arxiv.org/abs/1903.10829>
    """
    return window_pool(
        "variance_pool",
        x,
        Variance(ddof),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def std_pool(
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
    ddof: int = 0,
    epsilon: Any = 0,
) -> jax.Array:
    """The standard deviation of each window: ``y[i] = sqrt(max(variance_pool(x)[i], epsilon))``.

    Padding takes no part. NaN where there are fewer than ``ddof + 1`` elements. Exact to rounding
    for elements of any size, far from 0 or not.

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
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.
      epsilon: the least variance, a number >= 0, or an array that broadcasts to the result.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (moments are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient is 0 where the variance is 0, or not larger than
      `epsilon`. Masked-out elements and empty cells have gradient 0, and so have cells that are not
      finite. Weights have derivatives too.

    Example:
      >>> jaxpool.std_pool(jnp.array([1., 3., 2., 8.]), 2, axes=0)
      Array([1., 3.], dtype=float32)

    References:
      Lee, Kim and Nam, SRM: a style-based recalibration module for convolutional neural networks,
      2019. <https://arxiv.org/abs/1903.10829>
    """
    return window_pool(
        "std_pool",
        x,
        Std(ddof, epsilon),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_variance_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    ddof: int = 0,
) -> jax.Array:
    """The variance over whole axes: ``sum (x - mean(x))**2 / (n - ddof)``.

    With n the number of elements, or the sum of weights; NaN where ``n - ddof`` is not positive.
    Equal to `variance_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (moments are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements and empty cells have gradient 0, and so have
      cells that are not finite. Weights have derivatives too.

    Example:
      >>> jaxpool.global_variance_pool(jnp.array([1., 2., 6.]), axes=0, ddof=1)
      Array(7., dtype=float32)

    References:
      Lee, Kim and Nam, SRM: a style-based recalibration module for convolutional neural networks,
      2019. <https://arxiv.org/abs/1903.10829>
    """
    return global_pool(
        "global_variance_pool", x, Variance(ddof), axes, keepdims, where, empty_value
    )


@explained
def global_std_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    ddof: int = 0,
    epsilon: Any = 0,
) -> jax.Array:
    """The standard deviation over whole axes: ``sqrt(max(variance, epsilon))``.

    NaN where there are fewer than ``ddof + 1`` elements. Equal to `std_pool` with a window as large
    as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.
      epsilon: the least variance, a number >= 0, or an array that broadcasts to the result.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (moments are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient is 0 where the variance is 0, or not larger than
      `epsilon`. Masked-out elements and empty cells have gradient 0, and so have cells that are not
      finite. Weights have derivatives too.

    Example:
      >>> jaxpool.global_std_pool(jnp.array([1., 3.]), axes=0)
      Array(1., dtype=float32)

    References:
      Lee, Kim and Nam, SRM: a style-based recalibration module for convolutional neural networks,
      2019. <https://arxiv.org/abs/1903.10829>
    """
    return global_pool("global_std_pool", x, Std(ddof, epsilon), axes, keepdims, where, empty_value)


@explained
def stats_pool(
    x: jax.Array,
    axes: Ints,
    *,
    channel_axis: int = -1,
    ddof: int = 0,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """Mean and standard deviation over whole axes, one after the other along the channels.

    The statistics pooling of x-vectors.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      channel_axis: the axis of x along which standard deviations follow means, not a pooled one.
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with twice as many channels, without the pooled axes, or with size 1 there;
      floats keep their dtype (moments are accumulated in float32 at least), ints and bools give
      float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `global_avg_pool` and of `global_std_pool`.

    Example:
      >>> x = jnp.array([[1., 5.], [3., 11.]])
      >>> jaxpool.stats_pool(x, axes=0)
      Array([2., 8., 1., 3.], dtype=float32)

    References:
      Snyder et al., X-vectors: robust DNN embeddings for speaker recognition, 2018.
      <https://doi.org/10.1109/ICASSP.2018.8461375>
    """
    return as_one_program(
        _stats_pool, x, axes, channel_axis, ddof, keepdims, where, arguments.known(empty_value)
    )


def _stats_pool(
    x: Any, axes: Any, channel_axis: Any, ddof: Any, keepdims: Any, where: Any, empty_value: Any
) -> jax.Array:
    op = "stats_pool"
    x = arguments.array(op, x)
    domain = Global(**global_arguments(op, axes, keepdims))
    domain.check(op, x.shape)
    channel = channel_after(op, channel_axis, x.shape, domain)
    parts = [run(op, x, domain, kind, where, empty_value) for kind in (Mean(), Std(ddof))]
    return jnp.concatenate(parts, channel)
