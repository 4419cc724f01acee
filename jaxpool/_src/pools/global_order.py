"""Order statistics of whole axes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, filled, parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global, global_pool
from jaxpool._src.lowering.ranks import Number
from jaxpool._src.reductions.max import comparable
from jaxpool._src.reductions.order import (
    FallingMean,
    Interpolation,
    Median,
    Quantile,
    RankMean,
    TopKMean,
    Wildcat,
)


@explained
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


@explained
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


@explained
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


@explained
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


@explained
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
    return global_pool(op, x, FallingMean(decay), axes, keepdims, where, empty_value)


@explained
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
    reduction = Wildcat(kmax, kmin, alpha)
    return global_pool("wildcat_pool", x, reduction, axes, keepdims, where, empty_value)


@explained
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
    return as_one_program(_k_max_pool, x, k, axis, where, arguments.known(empty_value))


def _k_max_pool(x: Any, k: Any, axis: Any, where: Any, empty_value: Any) -> jax.Array:
    op = "k_max_pool"
    x = arguments.array(op, x)
    (axis,) = arguments.axis_numbers(op, arguments.integer(op, "axis", axis, "be an int"))
    domain = Global(axis, keepdims=True)
    domain.check(op, x.shape)
    (place,) = domain.pooled_axes(x.ndim)
    number = parameters.number_along(op, "k", k, x.shape, place)
    mask = arguments.mask(op, where, x.shape, (place,), weights=False)
    arguments.scalar_for(op, empty_value, x.dtype)
    shape = tuple(number if i == place else n for i, n in enumerate(x.shape))
    fill_array = empty_value if isinstance(empty_value, jax.Array) else None

    def compute(x: jax.Array, mask: jax.Array | None, fill: jax.Array | None) -> jax.Array:
        wide = x.astype(accumulator(x.dtype) if jnp.issubdtype(x.dtype, jnp.floating)
                        else comparable(x.dtype))  # fmt: skip
        chosen = domain.elements(wide, mask).top(Number(number))
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
        some = jnp.any(taken, place + 1)
        return filled(y, some, empty_value if fill is None else fill)

    with jax.named_scope("jaxpool.k_max_pool"):
        return parted_by_xla(compute, shape, range(x.ndim), x, mask, fill_array)
