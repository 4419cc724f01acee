"""Means of windows weighted by a second look at them."""

from typing import Any

import jax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.window import Window, window_arguments, window_pool
from jaxpool._src.reductions.detail import AdaMean, AdaptiveWeighted, DetailPreserving, Weights


@explained
def adaptive_weighted_pool(
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
    weights: Weights = "dice",
    epsilon: float = 1e-6,
) -> jax.Array:
    """The mean of each window's elements e, weighted by how alike they are to its plain mean m.

    By "dice", weights are ``exp(2|e m| / (e^2 + m^2))`` (eDSCW pooling); by "inverse_distance",
    ``1 / (|e - m| + epsilon)`` (IDW pooling). Padding has no weight. By "dice", an m of less than
    1e-18 counts as 0, and elements are then weighted alike.

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
      weights: "dice" or "inverse_distance".
      epsilon: what is added to distances, a number > 0, so that a window of equal elements has
        finite weights.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, also by way of the weights. The slope of |x| at 0 counts as 0. By
      "inverse_distance", squares of distances have to fit float32.

    Example:
      >>> x = jnp.array([0., 0., 3., 2., 2., 2.])
      >>> jaxpool.adaptive_weighted_pool(x, 3, axes=0, weights="inverse_distance", epsilon=1.)
      Array([0.75, 2.  ], dtype=float32)

    References:
      Stergiou and Poppe, AdaPool: exponential adaptive pooling for information-retaining
      downsampling, 2023. <https://arxiv.org/abs/2111.00772>
    """
    return window_pool(
        "adaptive_weighted_pool",
        x,
        AdaptiveWeighted(weights, epsilon),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def ada_pool(
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
    beta: Any = 0.5,
) -> jax.Array:
    """Two weighted means of each window, mixed: ``beta * dice + (1 - beta) * softmax``.

    The one is `adaptive_weighted_pool` with Dice weights, the other has the weights ``exp(x)``. To
    learn `beta`, see `jaxpool.nnx.LearnedAdaPool`.

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
      beta: the part of the mean with Dice weights, from 0 to 1: a number, or an array that
        broadcasts to the result, for example with an entry for each place. May be traced.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in a traced `beta`.

    Example:
      >>> jaxpool.ada_pool(jnp.array([2., 2., 5., 5.]), 2, axes=0)
      Array([2., 5.], dtype=float32)

    References:
      Stergiou and Poppe, AdaPool: exponential adaptive pooling for information-retaining
      downsampling, 2023. <https://arxiv.org/abs/2111.00772>
    """
    return window_pool(
        "ada_pool",
        x,
        AdaMean(beta),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def detail_preserving_pool(
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
    alpha: Any = 1.0,
    lam: Any = 1.0,
    kernel: jax.Array | None = None,
    symmetric: bool = True,
) -> jax.Array:
    """The mean of each window with larger weights for what differs from its surroundings.

    The weight of an element e is ``alpha + (r / mean(r))^(lam / 2)`` with ``r = (e - m)^2 + 1e-3``
    where m is the window's mean, or what `kernel` makes of the window. To learn parameters, see
    `jaxpool.nnx.LearnedDetailPreservingPool`.

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
      alpha: what all weights have in common, a number >= 0, or an array that broadcasts to the
        result, for example with an entry for each channel. May be traced.
      lam: how much details count, likewise; 0 makes the plain mean.
      kernel: filter that makes m, ``sum(kernel * x)``: an array of the window's shape, or one that
        broadcasts to x but for window sizes along pooled axes. Default: the mean.
      symmetric: whether what is smaller than m is a detail too, or only what is larger.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least, and squares have to fit it), ints and bools give
      float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in parameters that are traced, also by way of the weights.

    Example:
      >>> x = jnp.array([0., 0., 0., 4.])
      >>> jaxpool.detail_preserving_pool(x, 4, axes=0, lam=0)
      Array([1.], dtype=float32)
      >>> jaxpool.detail_preserving_pool(x, 4, axes=0, lam=2, alpha=0).round(3)
      Array([2.999], dtype=float32)

    References:
      Saeedan, Weber, Goesele and Roth, Detail-preserving pooling in deep networks, 2018.
      <https://arxiv.org/abs/1804.04076>
    """
    return as_one_program(
        _detail_preserving_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        arguments.known(empty_value),
        alpha,
        lam,
        kernel,
        symmetric,
    )


def _detail_preserving_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    alpha: Any,
    lam: Any,
    kernel: Any,
    symmetric: Any,
) -> jax.Array:
    op = "detail_preserving_pool"
    x = arguments.array(op, x)
    window = window_arguments(op, *(window_shape, strides, padding, dilation, ceil_mode, axes))
    if kernel is not None:
        shape, along = window["window_shape"], window["axes"]
        kernel = parameters.kernel(op, "kernel", kernel, shape, along, x.shape)
    reduction = DetailPreserving(alpha, lam, kernel, symmetric)
    return run(op, x, Window(**window), reduction, where, empty_value)
