"""Order statistics: medians, quantiles, and means of elements by their rank."""

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import Global, global_pool
from jaxpool._max import comparable
from jaxpool._pool import Domain, Reduction, accumulator, parted_by_xla
from jaxpool._program import as_one_program
from jaxpool._soft import broadcasts
from jaxpool._window import window_pool

Interpolation = Literal["linear", "lower", "higher", "midpoint", "nearest"]
# The logit of a rank that is to have nearly all of the weight.
_SURE = 10.0
_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


def _position(n: Any, q: float, interpolation: Interpolation) -> Any:
    """Where among n sorted elements the quantile is, from 0 to n - 1."""
    xp = jnp if isinstance(n, jax.Array) else np
    place = (n - 1) * q
    low = xp.floor(place)
    if interpolation == "linear":
        return place
    if interpolation == "midpoint":
        return low + (place > low) / 2
    rounded = {"lower": xp.floor, "higher": xp.ceil, "nearest": xp.round}
    return rounded[interpolation](place)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Quantile(Reduction):
    """The value below which the fraction q of a cell's elements lies.

    The elements in ascending order are at 0, 1, .. n - 1, and the quantile is at ``(n - 1) * q``.
    Between two elements, `interpolation` says what it is. The dtype stays, but for ints that are
    interpolated.

    Args:
      q: a number in [0, 1], known to the program: 0 for the smallest element, 1 for the largest.
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Raises:
      ValueError: when used, if an argument is none of these.
      TypeError: when used, if `q` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([4., 1., 3., 2.]), jaxpool.Global(0), jaxpool.Quantile(0.9))
      Array(3.7, dtype=float32)
    """

    q: float
    interpolation: Interpolation = "linear"

    def check(self, op: str) -> None:
        _arguments.quantile(op, self.q)
        _arguments.one_of(op, "interpolation", self.interpolation, _INTERPOLATIONS)

    @property
    def _picks(self) -> bool:
        """Whether the value is one of the elements."""
        return self.interpolation not in ("linear", "midpoint")

    def accumulate_dtype(self, dtype: Any) -> Any:
        if not self._picks or jnp.issubdtype(dtype, jnp.floating):
            return accumulator(dtype)
        return comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype if self._picks else super().output_dtype(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        position = functools.partial(_position, q=float(self.q), interpolation=self.interpolation)
        return domain.elements(x, where).at(position)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Median(Reduction):
    """The middle one of a cell's elements, or what is between the middle two: ``Quantile(0.5)``.

    Args:
      interpolation: of an even number of elements, "linear" and "midpoint" are the mean of the
        middle two, "lower" and "higher" the one and the other (PyTorch's median is "lower"), and
        "nearest" the one of even place.

    Raises:
      ValueError: when used, if `interpolation` is none of these.

    Example:
      >>> jaxpool.pool(jnp.array([3., 9., 1.]), jaxpool.Global(0), jaxpool.Median())
      Array(3., dtype=float32)
    """

    interpolation: Interpolation = "linear"

    @property
    def _quantile(self) -> Quantile:
        return Quantile(0.5, self.interpolation)

    def check(self, op: str) -> None:
        self._quantile.check(op)

    def accumulate_dtype(self, dtype: Any) -> Any:
        return self._quantile.accumulate_dtype(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return self._quantile.output_dtype(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return self._quantile(x, domain, where)


@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class RankMean(Reduction):
    """A cell's elements, the largest first, times the weights of their ranks (ordinal pooling).

    ``sum_r weights[r] * x_(r)`` where x_(0) is the largest element. Where a cell has fewer elements
    than there are weights (padding, masks), those of the ranks that it has are scaled up to the sum
    of all. Weights that depend on the number of elements are a function: it is given ranks and
    numbers, as arrays that broadcast, and its weights are divided by their sum over the ranks that
    a cell has. Some are

    - ``lambda r, n: r < 3``, the mean of the three largest (rank-based average pooling),
    - ``lambda r, n: a * (1 - a) ** r``, weights that fall (rank-based weighted pooling),
    - ``lambda r, n: (r + 1 > 0.2 * n) & (r < 0.8 * n)``, the mean without a fifth on both sides.

    Args:
      weights: numbers, one for each rank, 0 beyond; or an array with ranks on its first axis, and
        behind it what broadcasts against the result: ``[ranks, channels]`` where channels are last.
        May be traced, to be learned. Or a function of rank and number of elements.

    Raises:
      TypeError: when used, if `weights` are neither numbers nor a function.

    Example:
      >>> x = jnp.array([4., 1., 3., 2.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.RankMean([0.5, 0.25, 0.25]))
      Array(3.25, dtype=float32)
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.RankMean(lambda r, n: (r > 0) & (r < n - 1)))
      Array(2.5, dtype=float32)
    """

    weights: Any

    def tree_flatten(self) -> tuple[Any, Any]:
        """Weights that are arrays, and a function."""
        function = self.weights if callable(self.weights) else None
        return (() if function else (self.weights,)), function

    @classmethod
    def tree_unflatten(cls, function: Any, leaves: Any) -> "RankMean":
        """The inverse of `tree_flatten`, around anything."""
        return cls(*leaves) if leaves else cls(function)

    def check(self, op: str) -> None:
        _arguments.rank_weights(op, self.weights)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        weights = self.weights
        if not callable(weights):
            weights = jnp.asarray(weights).astype(x.dtype)
            shape = domain.output_shape(x.shape)
            if not broadcasts(weights.shape[1:], shape):
                raise _arguments.MisfitError(
                    "`weights` must broadcast to the result behind its first axis; got "
                    f"weights.shape={weights.shape} for a result of shape {tuple(shape)}."
                )
        return domain.elements(x, where).rank_sum(weights)


def _number_of_top(n: Any, k: Any) -> Any:
    """How many of n elements are the top k, or the fraction k."""
    xp = jnp if isinstance(n, jax.Array) else np
    wanted = k if isinstance(k, int) else xp.maximum(xp.round(k * n), 1)
    return xp.minimum(n, wanted)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class TopKMean(Reduction):
    """The mean of a cell's k largest elements; of all, if there are fewer.

    Args:
      k: how many, an int; or which fraction of a cell's elements, a float in (0, 1), which is
        rounded to a number of elements, at least 1.

    Raises:
      ValueError: when used, if `k` is out of range.
      TypeError: when used, if `k` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([4., 1., 3., 2.]), jaxpool.Global(0), jaxpool.TopKMean(2))
      Array(3.5, dtype=float32)
    """

    k: int | float

    def check(self, op: str) -> None:
        _arguments.count_or_fraction(op, "k", self.k)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        k = float(self.k) if isinstance(self.k, float | np.floating) else int(self.k)
        number = functools.partial(_number_of_top, k=k)
        elements = domain.elements(x, where)
        return elements.top_sum(number) / elements.number(number)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Wildcat(Reduction):
    """The mean of the top elements, and `alpha` times that of the bottom ones."""

    kmax: Any = dataclasses.field(metadata={"static": True})
    kmin: Any = dataclasses.field(metadata={"static": True})
    alpha: Any

    def check(self, op: str) -> None:
        _arguments.count_or_fraction(op, "kmax", self.kmax)
        if self.kmin is not None:
            _arguments.count_or_fraction(op, "kmin", self.kmin, minimum=0)
        _arguments.scalar(op, "alpha", self.alpha)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        top = TopKMean(self.kmax)(x, domain, where)
        kmin = self.kmax if self.kmin is None else self.kmin
        if kmin == 0:
            return top
        return top - jnp.asarray(self.alpha).astype(x.dtype) * TopKMean(kmin)(-x, domain, where)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _FallingMean(Reduction):
    """A mean with weights that fall from rank to rank by a factor."""

    decay: Any

    def check(self, op: str) -> None:
        _arguments.decay(op, self.decay)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        decay = jnp.asarray(self.decay).astype(x.dtype)

        def weights(rank: Any, _: Any) -> jax.Array:
            # The slope of 0^0 is NaN for JAX, so the power of rank 0 is one of 1.
            base = jnp.where(rank == 0, np.ones((), x.dtype), decay)
            return jax.lax.pow(base, jnp.asarray(rank, x.dtype))

        return domain.elements(x, where).rank_sum(weights)


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
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


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
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


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
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


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
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


def global_median_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    interpolation: Interpolation = "linear",
) -> jax.Array:
    """The median over whole axes.

    Equal to `median_pool` with a window as large as the input, derivatives included. One NaN
    makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype;
      ints and bools do for "lower", "higher" and "nearest", and give float32 else.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the one or two elements that its
      value is made of; of equal ones to the first in row-major order, of NaNs too. Masked-out
      elements and empty cells have gradient 0.

    Example:
      >>> jaxpool.global_median_pool(jnp.array([1., 9., 2., 4.]), axes=0)
      Array(3., dtype=float32)

    References:
      Tukey, Exploratory Data Analysis, 1977 (running medians).
    """
    return global_pool(
        "global_median_pool", x, Median(interpolation), axes, keepdims, where, empty_value
    )


def global_quantile_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    q: float,
    interpolation: Interpolation = "linear",
) -> jax.Array:
    """A quantile over whole axes: the value at ``(n - 1) * q`` of n sorted elements.

    Equal to `quantile_pool` with a window as large as the input, derivatives included. One NaN
    makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      q: a number in [0, 1], known to the program: 0 for the smallest element, 1 for the largest.
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype;
      ints and bools do for "lower", "higher" and "nearest", and give float32 else.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the one or two elements that its
      value is made of; of equal ones to the first in row-major order, of NaNs too. Masked-out
      elements and empty cells have gradient 0.

    Example:
      >>> jaxpool.global_quantile_pool(jnp.array([1., 9., 2., 4., 3.]), axes=0, q=0.25)
      Array(2., dtype=float32)

    References:
      Hyndman and Fan, Sample quantiles in statistical packages, 1996.
      <https://doi.org/10.1080/00031305.1996.10473566>
    """
    return global_pool(
        "global_quantile_pool", x, Quantile(q, interpolation), axes, keepdims, where, empty_value
    )


def global_rank_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    weights: Any,
) -> jax.Array:
    """The elements over whole axes by their rank, weighted: ``sum_r weights[r] * x_(r)``.

    Equal to `rank_pool` with a window as large as the input. One NaN makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      weights: numbers, one for each rank, 0 beyond; or an array with ranks on its first axis, and
        behind it what broadcasts against the result: ``[ranks, channels]`` where channels are last.
        May be traced, to be learned. Or a function of rank and number of elements.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, also for the weights. Each rank's gradient goes to one element;
      which of equal ones it is is not specified. Masked-out elements, empty cells and cells with a
      NaN have gradient 0.

    Example:
      >>> jaxpool.global_rank_pool(jnp.array([1., 9., 2., 4.]), axes=0, weights=[0.75, 0.25])
      Array(7.75, dtype=float32)

    References:
      Kumar, Ordinal pooling networks, 2018. <https://arxiv.org/abs/1804.02702>

      Deliège et al., Ordinal pooling, 2019. <https://arxiv.org/abs/2109.01561>

      Shi, Ye and Wu, Rank-based pooling for deep convolutional neural networks, 2016.
      <https://doi.org/10.1016/j.neunet.2016.07.003>
    """
    return global_pool("global_rank_pool", x, RankMean(weights), axes, keepdims, where, empty_value)


def global_top_k_mean_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    k: int | float,
) -> jax.Array:
    """The mean of the k largest elements over whole axes; of all, if there are fewer.

    As multiple-instance learning pools its bags. One NaN makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      k: how many, an int; or which fraction of a cell's elements, a float in (0, 1), which is
        rounded to a number of elements, at least 1.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the elements that are averaged; of
      those equal to the last of them, to the first in row-major order. Masked-out elements, empty
      cells and cells with a NaN have gradient 0.

    Example:
      >>> jaxpool.global_top_k_mean_pool(jnp.array([1., 9., 2., 4.]), axes=0, k=0.5)
      Array(6.5, dtype=float32)

    References:
      Li and Vasconcelos, Multiple instance learning for soft bags via top instances, 2015.
      <https://openaccess.thecvf.com/content_cvpr_2015/html/Li_Multiple_Instance_Learning_2015_CVPR_paper.html>
    """
    return global_pool("global_top_k_mean_pool", x, TopKMean(k), axes, keepdims, where, empty_value)


def global_weighted_rank_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    decay: Any = 0.996,
) -> jax.Array:
    """A mean whose weights fall from rank to rank: ``sum_r d^r x_(r) / sum_r d^r``.

    x_(0) is the largest element. From the maximum, with a decay of 0, to the mean, with 1. One NaN
    makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      decay: the factor d between the weights of a rank and the one before, a number in [0, 1]. May
        be traced, as a scalar, to be learned. Default: that of the paper.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, also for the decay. Each rank's gradient goes to one element;
      which of equal ones it is is not specified. Masked-out elements, empty cells and cells with a
      NaN have gradient 0.

    Example:
      >>> x = jnp.array([1., 2., 4.])
      >>> jaxpool.global_weighted_rank_pool(x, axes=0, decay=0.5)
      Array(3., dtype=float32)

    References:
      Kolesnikov and Lampert, Seed, expand and constrain, 2016. <https://arxiv.org/abs/1603.06098>
    """
    op = "global_weighted_rank_pool"
    return global_pool(op, x, _FallingMean(decay), axes, keepdims, where, empty_value)


def wildcat_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    kmax: int | float = 1,
    kmin: int | float | None = None,
    alpha: Any = 1.0,
) -> jax.Array:
    """The mean of the largest elements, and alpha times that of the smallest: WILDCAT.

    As in the paper; its code halves the sum where both parts are used. One NaN makes a cell NaN.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      kmax: how many of the largest, an int; or which fraction of a cell's elements, a float in
        (0, 1), which is rounded to a number of elements, at least 1.
      kmin: likewise of the smallest; 0 for none of them. Default: as many as of the largest.
      alpha: factor of the second part. May be traced, as a scalar, to be learned.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to the elements that are averaged; of
      those equal to the last of them, to the first in row-major order. Masked-out elements, empty
      cells and cells with a NaN have gradient 0.

    Example:
      >>> x = jnp.array([1., -2., 4., 0.])
      >>> jaxpool.wildcat_pool(x, axes=0, kmax=2, kmin=1, alpha=0.5)
      Array(1.5, dtype=float32)

    References:
      Durand et al., WILDCAT: weakly supervised learning of deep ConvNets, 2017.
      <https://openaccess.thecvf.com/content_cvpr_2017/html/Durand_WILDCAT_Weakly_Supervised_CVPR_2017_paper.html>
    """
    reduction = _Wildcat(kmax, kmin, alpha)
    return global_pool("wildcat_pool", x, reduction, axes, keepdims, where, empty_value)


def k_max_pool(
    x: jax.Array,
    k: int,
    axis: int,
    *,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The k largest elements along an axis, in the order in which they are in x.

    Of equal elements the first are taken. NaN counts as larger than all numbers.

    Args:
      x: array with at least the pooled axis.
      k: how many elements to keep, an int.
      axis: the pooled axis. All others are batch, in any number.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: what is at the end where fewer than k elements take part.

    Returns:
      Array of x's shape with k along the axis; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or shorter than k.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of an element of the result goes to where it is from.

    Example:
      >>> jaxpool.k_max_pool(jnp.array([1., 9., 2., 3., 4.]), k=3, axis=0)
      Array([9., 3., 4.], dtype=float32)

    References:
      Kalchbrenner, Grefenstette and Blunsom, A convolutional neural network for modelling
      sentences, 2014. <https://arxiv.org/abs/1404.2188>
    """
    return as_one_program(_k_max_pool, x, k, axis, where, _arguments.known(empty_value))


def _k_max_pool(x: Any, k: Any, axis: Any, where: Any, empty_value: Any) -> jax.Array:
    op = "k_max_pool"
    x = _arguments.array(op, x)
    (axis,) = _arguments.axis_numbers(op, _arguments.integer(op, "axis", axis, "be an int"))
    domain = Global(axis, keepdims=True)
    domain.check(op, x.shape)
    (place,) = domain.pooled_axes(x.ndim)
    number = _arguments.number_along(op, "k", k, x.shape, place)
    mask = _arguments.mask(op, where, x.shape, (place,), weights=False)
    _arguments.scalar_for(op, empty_value, x.dtype)
    shape = tuple(number if i == place else n for i, n in enumerate(x.shape))
    fill_array = empty_value if isinstance(empty_value, jax.Array) else None

    def compute(x: jax.Array, mask: jax.Array | None, fill: jax.Array | None) -> jax.Array:
        wide = x.astype(accumulator(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating)
                        else comparable(x.dtype))  # fmt: skip
        chosen = domain.elements(wide, mask).top(functools.partial(_number_of_top, k=number))
        # Which place an element takes is the number of those before it.
        before = jnp.cumsum(chosen, place, dtype=np.int32) - 1
        places = np.arange(number, dtype=np.int32).reshape(
            [number if i == place else 1 for i in range(x.ndim + 1)]
        )
        taken = jnp.expand_dims(chosen, place) & (jnp.expand_dims(before, place) == places)
        elements = jnp.where(taken, jnp.expand_dims(wide, place), np.zeros((), wide.dtype))
        y = jnp.sum(elements, place + 1, wide.dtype).astype(x.dtype)
        if mask is None:
            return y
        value = np.asarray(empty_value).astype(x.dtype) if fill is None else fill.astype(x.dtype)
        return jnp.where(jnp.any(taken, place + 1), y, jnp.asarray(value))

    with jax.named_scope("jaxpool.k_max_pool"):
        return parted_by_xla(compute, shape, range(x.ndim), x, mask, fill_array)


def ordinal_logits(window_shape: Any, axes: Any, channels: int, initial: str) -> np.ndarray:
    """What the weights of a layer are learned from: one row for each rank."""
    op = "OrdinalPool"
    _arguments.one_of(op, "initial", initial, ("mean", "max"))
    sizes, _ = _arguments.window_axes(op, window_shape, axes)
    logits = np.zeros((math.prod(sizes), channels), np.float32)
    if initial == "max":
        logits[0] = _SURE
    return logits


def ordinal_weights(logits: jax.Array, channel_axis: int, ndim: int) -> jax.Array:
    """The softmax over ranks, to be broadcast along the axis of channels."""
    weights = jax.nn.softmax(logits.astype(accumulator(logits.dtype)), 0)
    behind = ndim - 1 - channel_axis % ndim
    return weights.reshape(*weights.shape, *[1] * behind)
