"""Smooth maxima: logsumexp and softmax pools of windows and of whole axes."""

from typing import Any, Literal

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.soft import LogSumExp, SoftmaxMean


@explained
def logsumexp_pool(
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
    sharpness: Any = 10,
    mean: bool = True,
) -> jax.Array:
    """The logarithm of the mean exponential of each window: ``log(mean_j(exp(r x_j))) / r``.

    A smooth step from the mean (sharpness r = 0) to the maximum (r = inf). Safe for elements of any
    size: exponentials are taken relative to each window's largest. Also known as LSE pooling and as
    mellowmax.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(. . | a b c d | . .)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: r. 0 is the mean, infinity the maximum, -infinity the minimum; negative numbers are
        soft minima. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      mean: whether exponentials are averaged. If they are added, the result is at least the
        maximum, and larger the more elements there are.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (exponentials are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is the softmax of ``r x``: not negative, and 1 in
      sum. A traced `sharpness` has a derivative too. Where the result is infinite, it is 0.

    Example:
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.logsumexp_pool(x, 2, axes=0, sharpness=1)
      Array([0.62011445, 2.        ], dtype=float32)

    References:
      Pinheiro and Collobert, From image-level to pixel-level labeling with convolutional networks,
      2015. <https://arxiv.org/abs/1411.6228>

      Asadi and Littman, An alternative softmax operator for reinforcement learning, 2017.
      <https://arxiv.org/abs/1612.05628>
    """
    return window_pool(
        "logsumexp_pool",
        x,
        LogSumExp(sharpness, mean),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_logsumexp_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sharpness: Any = 10,
    mean: bool = True,
) -> jax.Array:
    """The logarithm of the mean exponential of whole axes: ``log(mean(exp(r x))) / r``.

    Equal to `logsumexp_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: r. 0 is the mean, infinity the maximum, -infinity the minimum; negative numbers are
        soft minima. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      mean: whether exponentials are averaged. If they are added, the result is at least the
        maximum, and larger the more elements there are.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (exponentials are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is the softmax of ``r x``: not negative, and 1 in
      sum. A traced `sharpness` has a derivative too. Where the result is infinite, it is 0.

    Example:
      >>> jaxpool.global_logsumexp_pool(jnp.array([0., 1.]), axes=0, sharpness=1)
      Array(0.6201145, dtype=float32)

      As `jax.nn.logsumexp`, which adds:

      >>> jaxpool.global_logsumexp_pool(jnp.array([0., 1.]), axes=0, sharpness=1, mean=False)
      Array(1.3132617, dtype=float32)

    References:
      Pinheiro and Collobert, From image-level to pixel-level labeling with convolutional networks,
      2015. <https://arxiv.org/abs/1411.6228>

      Asadi and Littman, An alternative softmax operator for reinforcement learning, 2017.
      <https://arxiv.org/abs/1612.05628>
    """
    reduction = LogSumExp(sharpness, mean)
    return global_pool("global_logsumexp_pool", x, reduction, axes, keepdims, where, empty_value)


@explained
def softmax_pool(
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
    sharpness: Any = 1,
    gradient: Literal["full", "semi"] = "full",
) -> jax.Array:
    """The softmax-weighted mean of each window: ``sum_j softmax_j(b x) x[i*s - low + j*d]``.

    SoftPool with a sharpness b of 1, and AutoPool with one that is learned. b = 0 is the mean, b =
    inf the maximum. Safe for elements of any size: exponentials are taken relative to each window's
    largest.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(. . | a b c d | . .)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: b. 0 is the mean, infinity the maximum, -infinity the minimum. A number, or an
        array that broadcasts to the result and is the same along pooled axes, such as one entry per
        channel where channels are last. Arrays may be traced, to be learned.
      gradient: "full", or "semi" to take weights as constants, as SoftPool's own kernels do.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. With w the weights and y the result, the gradient in x is ``w (1 + b
      (x - y))``, which may be negative; ``w`` if "semi". A traced `sharpness` has a derivative too,
      if "full".

    Example:
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.softmax_pool(x, 2, axes=0)
      Array([0.7310586, 2.       ], dtype=float32)

    References:
      Stergiou, Poppe and Kalliatakis, Refining activation downsampling with SoftPool, 2021.
      <https://arxiv.org/abs/2101.00440>

      McFee, Salamon and Bello, Adaptive pooling operators for weakly labeled sound event detection,
      2018. <https://arxiv.org/abs/1804.10070>
    """
    return window_pool(
        "softmax_pool",
        x,
        SoftmaxMean(sharpness, gradient),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_softmax_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sharpness: Any = 1,
    gradient: Literal["full", "semi"] = "full",
) -> jax.Array:
    """The softmax-weighted mean of whole axes: ``sum softmax(b x) x``.

    Equal to `softmax_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: b. 0 is the mean, infinity the maximum, -infinity the minimum. A number, or an
        array that broadcasts to the result and is the same along pooled axes, such as one entry per
        channel where channels are last. Arrays may be traced, to be learned.
      gradient: "full", or "semi" to take weights as constants, as SoftPool's own kernels do.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. With w the weights and y the result, the gradient in x is ``w (1 + b
      (x - y))``, which may be negative; ``w`` if "semi". A traced `sharpness` has a derivative too,
      if "full".

    Example:
      >>> jaxpool.global_softmax_pool(jnp.array([0., 1.]), axes=0)
      Array(0.7310586, dtype=float32)

    References:
      Stergiou, Poppe and Kalliatakis, Refining activation downsampling with SoftPool, 2021.
      <https://arxiv.org/abs/2101.00440>

      McFee, Salamon and Bello, Adaptive pooling operators for weakly labeled sound event detection,
      2018. <https://arxiv.org/abs/1804.10070>
    """
    reduction = SoftmaxMean(sharpness, gradient)
    return global_pool("global_softmax_pool", x, reduction, axes, keepdims, where, empty_value)
