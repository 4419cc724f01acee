"""Norms of windows and of whole axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.power import Lp


@explained
def lp_pool(
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
    p: Any = 2,
) -> jax.Array:
    """The p-norm of each window: ``y[i] = (sum_j |x[i*s - low + j*d]|^p)^(1/p)``.

    A sum, not a mean. Powers are scaled by each window's largest element and do not overflow, also
    in float16. Padding adds nothing.

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
      p: exponent of the norm, a number > 0; ``float("inf")`` takes the maximum of |x|. May be
        traced, as a scalar, to be learned.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order where the norm has one. The gradient is 0 where all elements are 0,
      and the part of an element that is 0 is 0. A traced `p` has a derivative too.

    Example:
      >>> x = jnp.array([3., -4., 6., 8.])
      >>> jaxpool.lp_pool(x, 2, axes=0)
      Array([ 5., 10.], dtype=float32)

    References:
      Sermanet, Chintala and LeCun, Convolutional neural networks applied to house numbers digit
      classification, 2012. <https://arxiv.org/abs/1204.3968>
    """
    return window_pool(
        "lp_pool",
        x,
        Lp(p),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_lp_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    p: Any = 2,
) -> jax.Array:
    """The p-norm over whole axes: ``(sum |x|^p)^(1/p)``.

    Equal to `lp_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      p: exponent of the norm, a number > 0; ``float("inf")`` takes the maximum of |x|. May be
        traced, as a scalar, to be learned.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order where the norm has one. The gradient is 0 where all elements are 0,
      and the part of an element that is 0 is 0. A traced `p` has a derivative too.

    Example:
      >>> jaxpool.global_lp_pool(jnp.array([3., -4.]), axes=0)
      Array(5., dtype=float32)

    References:
      Sermanet, Chintala and LeCun, Convolutional neural networks applied to house numbers digit
      classification, 2012. <https://arxiv.org/abs/1204.3968>
    """
    return global_pool("global_lp_pool", x, Lp(p), axes, keepdims, where, empty_value)
