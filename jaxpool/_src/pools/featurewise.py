"""Featurewise sort pooling: each channel sorted by itself, with weights of the ranks' ratios."""

from typing import Any

import jax
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.domains.global_ import Global
from jaxpool._src.reductions.order import PiecewiseWeighted


@explained
def featurewise_sort_pool(
    x: jax.Array,
    weights: Any,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """Featurewise sort pooling (FSPool) of sets: ``sum_r f(r / (n - 1)) x_(r)`` for each channel.

    x_(0) is the largest of the n elements. f is a line from knot to knot: at the first the weight
    of the largest element, at the last that of the smallest, whatever n is. A single element has
    the weight of the first knot. One NaN makes a cell NaN.

    Args:
      x: array of shape ``[..., elements, channels]``; with `axis`, any layout that has channels
        last.
      weights: f at knots of equal distance: numbers, or an array of shape ``[knots]``, or
        ``[knots, channels]`` for a function of each channel's own. May be traced, to be learned.
      axis: the axis of the elements, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; floats keep their dtype (sums are accumulated in
      float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, also for the weights. Each rank's gradient goes to one element;
      which of equal ones it is is not specified. Masked-out elements, empty cells and cells with a
      NaN have gradient 0.

    Example:
      >>> x = jnp.array([[1., 9.], [5., 2.], [3., 4.]])
      >>> jaxpool.featurewise_sort_pool(x, jnp.array([1., 0.]))
      Array([ 6.5, 11. ], dtype=float32)

    References:
      Zhang, Hare and Prügel-Bennett, FSPool: learning set representations with featurewise sort
      pooling, 2020. <https://arxiv.org/abs/1906.02795>
    """
    op = "featurewise_sort_pool"
    arguments.check_array(op, x)
    numbers = isinstance(weights, list | tuple) and all(map(parameters.is_number, weights))
    knots: Any = np.array(weights, np.float32) if numbers else weights
    parameters.real_array(op, "weights", knots)
    shape = np.shape(x)
    place = arguments.axis_of(op, axis, shape)
    fits = knots.ndim == 1 or (
        knots.ndim == 2 and knots.shape[1] in (1, shape[-1]) and place != len(shape) - 1
    )
    fits = fits and knots.shape[0] > 0
    if not fits:
        raise ValueError(
            f"{op}: `weights` must have shape (knots,), or (knots, channels) with channels along "
            f"the last axis of x; got weights.shape={knots.shape} for x.shape={shape} and "
            f"axis={axis}."
        )
    return run(op, x, Global(place), PiecewiseWeighted(knots), where, empty_value)
