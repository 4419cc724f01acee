"""Maxima and minima of windows and of whole axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.lowering.max import Implementation
from jaxpool._src.reductions.max import Max, Min


@explained
def max_pool(
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
    implementation: Implementation | None = None,
) -> jax.Array:
    """The maximum of each window: ``y[i] = max_j x[i*s - low + j*d]``.

    Padding never wins: it is -inf, and the gradient of a window of -inf stays inside the input.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(-inf -inf | a b c d | -inf -inf)``.
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
      implementation: "taps" compares all elements of a window at once, "axes" those of one axis
        after the other, with the same result bit for bit; "reduce_window" is XLA's own form, with
        its own gradient: select-and-scatter, none if dilated, and padding and NaN treated as XLA
        does. Default: what is fastest on the platform that is lowered for, XLA's form on TPU only.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); the dtype is x's.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0.
      On TPUs, where the form is XLA's, which NaN it is may differ, and a window that reads padding
      may give none if it holds nothing but -inf.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.max_pool(x, (2, 2))[..., 0]
      Array([[ 6.,  8.],
             [14., 16.]], dtype=float32)

    References:
      Riesenhuber and Poggio, Hierarchical models of object recognition in cortex, 1999.
      <https://doi.org/10.1038/14819>
    """
    return window_pool(
        "max_pool",
        x,
        Max(implementation),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def min_pool(
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
    implementation: Implementation | None = None,
) -> jax.Array:
    """The minimum of each window: ``y[i] = min_j x[i*s - low + j*d]``.

    Equal to ``-max_pool(-x)``, and exact for integers too. Padding never wins: it is +inf.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(inf inf | a b c d | inf inf)``.
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
      implementation: "taps" compares all elements of a window at once, "axes" those of one axis
        after the other, with the same result bit for bit; "reduce_window" is XLA's own form, with
        its own gradient: select-and-scatter, none if dilated, and padding and NaN treated as XLA
        does. Default: what is fastest on the platform that is lowered for, XLA's form on TPU only.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); the dtype is x's.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first minimum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0.
      On TPUs, where the form is XLA's, which NaN it is may differ, and a window that reads padding
      may give none if it holds nothing but inf.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.min_pool(x, (2, 2))[..., 0]
      Array([[ 1.,  3.],
             [ 9., 11.]], dtype=float32)

    References:
      Serra, Image Analysis and Mathematical Morphology, 1982 (erosion by a flat window).
    """
    return window_pool(
        "min_pool",
        x,
        Min(implementation),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def global_max_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum over whole axes.

    Equal to `max_pool` with a window as large as the input, derivatives included: of equal maxima
    the first takes the gradient, where ``jnp.max`` splits it.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_max_pool(x, axes=(0, 1))
      Array([16.], dtype=float32)

    References:
      Oquab et al., Is object localization for free?, 2015.
      <https://openaccess.thecvf.com/content_cvpr_2015/html/Oquab_Is_Object_Localization_2015_CVPR_paper.html>
    """
    return global_pool("global_max_pool", x, Max(), axes, keepdims, where, empty_value)


@explained
def global_min_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The minimum over whole axes.

    Equal to `min_pool` with a window as large as the input, derivatives included.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first minimum in row-major
      order, and if there are NaNs, to the last of them (as in PyTorch). Masked-out elements and
      empty cells have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_min_pool(x, axes=(0, 1))
      Array([1.], dtype=float32)

    References:
      Serra, Image Analysis and Mathematical Morphology, 1982.
    """
    return global_pool("global_min_pool", x, Min(), axes, keepdims, where, empty_value)
