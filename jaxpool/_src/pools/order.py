"""Order statistics of windows."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.order import Interpolation, Median, Mode, Quantile, RankMean, TopKMean


@explained
def median_pool(
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
    interpolation: Interpolation = "linear",
) -> jax.Array:
    """The median of each window.

    Padding takes no part: a window has as many elements as lie inside x. Of a 3 x 3 window this
    costs little more than its maximum: small windows are sorted by a network of comparators. One
    NaN makes a cell NaN.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
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
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their
      dtype; ints and bools do for "lower", "higher" and "nearest", and give float32 else.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the one or two elements that its
      value is made of; of equal ones to the first in row-major order, of NaNs too. Masked-out
      elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([1., 9., 2., 3., 4.])
      >>> jaxpool.median_pool(x, 3, 1, axes=0)
      Array([2., 3., 3.], dtype=float32)

    References:
      Tukey, Exploratory Data Analysis, 1977 (running medians).
    """
    return window_pool(
        "median_pool",
        x,
        Median(interpolation),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def quantile_pool(
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
    q: float,
    interpolation: Interpolation = "linear",
) -> jax.Array:
    """A quantile of each window: the value at ``(n - 1) * q`` of its n sorted elements.

    Padding takes no part: a window has as many elements as lie inside x. One NaN makes a cell NaN.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
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
      q: a number in [0, 1], known to the program: 0 for the smallest element, 1 for the largest.
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their
      dtype; ints and bools do for "lower", "higher" and "nearest", and give float32 else.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the one or two elements that its
      value is made of; of equal ones to the first in row-major order, of NaNs too. Masked-out
      elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([1., 9., 2., 3., 4.])
      >>> jaxpool.quantile_pool(x, 3, 1, axes=0, q=0.25)
      Array([1.5, 2.5, 2.5], dtype=float32)

    References:
      Hyndman and Fan, Sample quantiles in statistical packages, 1996.
      <https://doi.org/10.1080/00031305.1996.10473566>
    """
    return window_pool(
        "quantile_pool",
        x,
        Quantile(q, interpolation),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def mode_pool(
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
    """The value that most elements of each window have, of several the smallest: a majority vote.

    Labels are pooled so: classes of pixels, say, whose mean would be another class. Padding and
    masked elements have no vote.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
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
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); the dtype is x's.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind, x if it holds floats.

    Derivatives:
      None: ints in, ints out.

    Example:
      >>> labels = jnp.array([[0, 0, 7, 2], [0, 7, 2, 2]])
      >>> jaxpool.mode_pool(labels, 2, axes=(0, 1))
      Array([[0, 2]], dtype=int32)

    References:
      Davis and Peet, A method of smoothing digital thematic maps, 1977 (majority filters).
    """
    return window_pool(
        "mode_pool",
        x,
        Mode(),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def rank_pool(
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
    weights: Any,
) -> jax.Array:
    """The elements of each window by their rank, weighted: ``y[i] = sum_r weights[r] * x_(r)``.

    x_(0) is the largest (ordinal pooling). Padding takes no part: where a window has fewer elements
    than there are weights, those of the ranks that it has are scaled up to the sum of all; if
    theirs is 0, so is the cell. A function of rank and number of elements has its weights divided
    by their sum over those ranks: ``lambda r, n: r < 3`` is the mean of the three largest. See
    `RankMean` for more of them. One NaN makes a cell NaN.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
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
      weights: numbers, one for each rank, 0 beyond; or an array with ranks on its first axis, and
        behind it what broadcasts against the result: ``[ranks, channels]`` where channels are last.
        May be traced, to be learned. Or a function of rank and number of elements.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their
      dtype, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, also for the weights. Each rank's gradient goes to one element;
      which of equal ones it is is not specified. Masked-out elements, empty cells and cells with a
      NaN have gradient 0.

    Example:
      >>> x = jnp.array([1., 9., 2., 4.])
      >>> jaxpool.rank_pool(x, 2, axes=0, weights=[0.75, 0.25])
      Array([7. , 3.5], dtype=float32)

    References:
      Kumar, Ordinal pooling networks, 2018. <https://arxiv.org/abs/1804.02702>

      Deliège et al., Ordinal pooling, 2019. <https://arxiv.org/abs/2109.01561>

      Shi, Ye and Wu, Rank-based pooling for deep convolutional neural networks, 2016.
      <https://doi.org/10.1016/j.neunet.2016.07.003>
    """
    return window_pool(
        "rank_pool",
        x,
        RankMean(weights),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )


@explained
def top_k_mean_pool(
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
    k: int | float,
) -> jax.Array:
    """The mean of the k largest elements of each window; of all, if there are fewer.

    Padding takes no part. One NaN makes a cell NaN.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
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
      k: how many, an int; or which fraction of a cell's elements, a float in (0, 1), which is
        rounded to a number of elements, at least 1.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their
      dtype, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the elements that are averaged; of
      those equal to the last of them, to the first in row-major order. Masked-out elements, empty
      cells and cells with a NaN have gradient 0.

    Example:
      >>> x = jnp.array([1., 9., 2., 3., 4., 4.])
      >>> jaxpool.top_k_mean_pool(x, 3, axes=0, k=2)
      Array([5.5, 4. ], dtype=float32)

    References:
      Li and Vasconcelos, Multiple instance learning for soft bags via top instances, 2015.
      <https://openaccess.thecvf.com/content_cvpr_2015/html/Li_Multiple_Instance_Learning_2015_CVPR_paper.html>
    """
    return window_pool(
        "top_k_mean_pool",
        x,
        TopKMean(k),
        (window_shape, strides, padding, dilation, ceil_mode, axes, footprint),
        where,
        empty_value,
    )
