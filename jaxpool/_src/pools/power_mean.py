"""Power means of windows and of whole axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.power_mean import PowerMean


@explained
def power_mean_pool(
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
    p: Any = 1,
    eps: float = 1e-6,
) -> jax.Array:
    """The power mean of each window: ``mean_j(max(x[i*s - low + j*d], eps)^p)^(1/p)``.

    For positive elements. Powers are scaled, or taken by way of logarithms, and neither overflow
    nor underflow, whatever p is.

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
      p: 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum, -infinity
        the minimum. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      eps: a number > 0. Smaller elements, negative ones included, count as this.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is ``y^(1-p) x^(p-1) / n``, and 0 for elements up
      to `eps`. A traced `p` has a derivative too.

    Example:
      >>> x = jnp.array([1., 4., 3., 3.])
      >>> jaxpool.power_mean_pool(x, 2, axes=0, p=float("-inf"))
      Array([1., 3.], dtype=float32)

    References:
      Hardy, Littlewood and Pólya, Inequalities, 1934.
      <https://en.wikipedia.org/wiki/Generalized_mean>
    """
    return window_pool(
        "power_mean_pool",
        x,
        PowerMean(p, eps),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_power_mean_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    p: Any = 1,
    eps: float = 1e-6,
) -> jax.Array:
    """The power mean of whole axes: ``mean(max(x, eps)^p)^(1/p)``.

    Equal to `power_mean_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      p: 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum, -infinity
        the minimum. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      eps: a number > 0. Smaller elements, negative ones included, count as this.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is ``y^(1-p) x^(p-1) / n``, and 0 for elements up
      to `eps`. A traced `p` has a derivative too.

    Example:
      >>> jaxpool.global_power_mean_pool(jnp.array([1., 4.]), axes=0, p=1)
      Array(2.5, dtype=float32)

    References:
      Hardy, Littlewood and Pólya, Inequalities, 1934.
      <https://en.wikipedia.org/wiki/Generalized_mean>
    """
    reduction = PowerMean(p, eps)
    return global_pool("global_power_mean_pool", x, reduction, axes, keepdims, where, empty_value)


@explained
def gem_pool(
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
    p: Any = 3,
    eps: float = 1e-6,
) -> jax.Array:
    """The generalized mean (GeM) of each window: ``mean_j(max(x[i*s - low + j*d], eps)^p)^(1/p)``.

    `power_mean_pool` with the paper's p = 3. Elements are clamped before the power is taken, so
    that gradients are finite at 0, also in float16.

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
      p: 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum, -infinity
        the minimum. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      eps: a number > 0. Smaller elements, negative ones included, count as this.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is ``y^(1-p) x^(p-1) / n``, and 0 for elements up
      to `eps`. A traced `p` has a derivative too.

    Example:
      >>> x = jnp.array([1., 1., 0., 2.])
      >>> jaxpool.gem_pool(x, 2, axes=0)
      Array([1.      , 1.587401], dtype=float32)

    References:
      Radenović, Tolias and Chum, Fine-tuning CNN image retrieval with no human annotation, 2018.
      <https://arxiv.org/abs/1711.02512>
    """
    return window_pool(
        "gem_pool",
        x,
        PowerMean(p, eps),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_gem_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    p: Any = 3,
    eps: float = 1e-6,
) -> jax.Array:
    """The generalized mean (GeM) of whole axes: ``mean(max(x, eps)^p)^(1/p)``.

    Equal to `gem_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      p: 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum, -infinity
        the minimum. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned.
      eps: a number > 0. Smaller elements, negative ones included, count as this.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (powers are taken and added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is ``y^(1-p) x^(p-1) / n``, and 0 for elements up
      to `eps`. A traced `p` has a derivative too.

    Example:
      >>> jaxpool.global_gem_pool(jnp.array([0., 2.]), axes=0)
      Array(1.587401, dtype=float32)

    References:
      Radenović, Tolias and Chum, Fine-tuning CNN image retrieval with no human annotation, 2018.
      <https://arxiv.org/abs/1711.02512>
    """
    reduction = PowerMean(p, eps)
    return global_pool("global_gem_pool", x, reduction, axes, keepdims, where, empty_value)
