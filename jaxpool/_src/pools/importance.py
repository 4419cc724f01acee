"""Means with given weights or by the elements themselves, and noisy-or: of windows, of axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.soft import LinearSoftmax, NoisyOr, WeightedMean


@explained
def importance_pool(
    x: jax.Array,
    logits: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean under logits of each window: ``sum_j softmax_j(logits) x[i*s - low + j*d]``.

    Local importance pooling (LIP) where a network computes the logits. Safe for logits of any size.
    Those that are equal give the mean, and ``logits=x`` is `softmax_pool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      logits: array that broadcasts to x. Where all of a window are -inf, its mean is the plain one.
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

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in `logits`.

    Example:
      >>> x, logits = jnp.array([0., 4., 1., 2.]), jnp.log(jnp.array([3., 1., 1., 1.]))
      >>> jaxpool.importance_pool(x, logits, 2, axes=0)
      Array([1. , 1.5], dtype=float32)

    References:
      Gao, Wang and Wu, LIP: local importance-based pooling, 2019. <https://arxiv.org/abs/1908.04156>
    """
    return window_pool(
        "importance_pool",
        x,
        WeightedMean(logits),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_importance_pool(
    x: jax.Array,
    logits: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean under logits of whole axes: ``sum softmax(logits) x``.

    Equal to `importance_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      logits: array that broadcasts to x. Where all of a window are -inf, its mean is the plain one.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in `logits`.

    Example:
      >>> logits = jnp.log(jnp.array([3., 1.]))
      >>> jaxpool.global_importance_pool(jnp.array([0., 4.]), logits, axes=0)
      Array(1., dtype=float32)

    References:
      Gao, Wang and Wu, LIP: local importance-based pooling, 2019. <https://arxiv.org/abs/1908.04156>
    """
    reduction = WeightedMean(logits)
    return global_pool("global_importance_pool", x, reduction, axes, keepdims, where, empty_value)


@explained
def linear_softmax_pool(
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
) -> jax.Array:
    """The self-weighted mean of each window: ``sum_j x_j^2 / sum_j x_j``.

    For elements that are not negative, such as probabilities; 0 where all are 0. It is also what
    stochastic pooling gives on average.

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

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (both sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: with y the result, the gradient is ``(2 x - y) / sum x``. It is 0
      where all elements are 0.

    Example:
      >>> x = jnp.array([1., 3., 0., 0.])
      >>> jaxpool.linear_softmax_pool(x, 2, axes=0)
      Array([2.5, 0. ], dtype=float32)

    References:
      Wang, Li and Metze, A comparison of five multiple instance learning pooling functions for
      sound event detection with weak labeling, 2019. <https://arxiv.org/abs/1810.09050>

      Zeiler and Fergus, Stochastic pooling for regularization of deep convolutional neural
      networks, 2013. <https://arxiv.org/abs/1301.3557>
    """
    return window_pool(
        "linear_softmax_pool",
        x,
        LinearSoftmax(),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_linear_softmax_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The self-weighted mean of whole axes: ``sum x^2 / sum x``.

    Equal to `linear_softmax_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (both sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: with y the result, the gradient is ``(2 x - y) / sum x``. It is 0
      where all elements are 0.

    Example:
      >>> jaxpool.global_linear_softmax_pool(jnp.array([1., 3.]), axes=0)
      Array(2.5, dtype=float32)

    References:
      Wang, Li and Metze, A comparison of five multiple instance learning pooling functions for
      sound event detection with weak labeling, 2019. <https://arxiv.org/abs/1810.09050>

      Zeiler and Fergus, Stochastic pooling for regularization of deep convolutional neural
      networks, 2013. <https://arxiv.org/abs/1301.3557>
    """
    reduction = LinearSoftmax()
    return global_pool(
        "global_linear_softmax_pool", x, reduction, axes, keepdims, where, empty_value
    )


@explained
def noisy_or_pool(
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
) -> jax.Array:
    """The probability of an event in each window: ``1 - prod_j (1 - x[i*s - low + j*d])``.

    Of elements that are probabilities of independent events. Exact to rounding for small ones too.

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

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (products are taken in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the gradient is the product of ``1 - x`` over the other elements,
      also where an element is 1.

    Example:
      >>> x = jnp.array([0.5, 0.5, 0., 1.])
      >>> jaxpool.noisy_or_pool(x, 2, axes=0)
      Array([0.75, 1.  ], dtype=float32)

    References:
      Maron and Lozano-Pérez, A framework for multiple-instance learning, 1998.
      <https://proceedings.neurips.cc/paper/1997/hash/82965d4ed8150294d4330ace00821d77-Abstract.html>
    """
    return window_pool(
        "noisy_or_pool",
        x,
        NoisyOr(),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_noisy_or_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The probability of an event in whole axes: ``1 - prod (1 - x)``.

    Equal to `noisy_or_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (products are taken in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the gradient is the product of ``1 - x`` over the other elements,
      also where an element is 1.

    Example:
      >>> jaxpool.global_noisy_or_pool(jnp.array([0.5, 0.5]), axes=0)
      Array(0.75, dtype=float32)

    References:
      Maron and Lozano-Pérez, A framework for multiple-instance learning, 1998.
      <https://proceedings.neurips.cc/paper/1997/hash/82965d4ed8150294d4330ace00821d77-Abstract.html>
    """
    reduction = NoisyOr()
    return global_pool("global_noisy_or_pool", x, reduction, axes, keepdims, where, empty_value)
