"""Sums and arithmetic means."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import global_pool
from jaxpool._pool import Domain, Reduction, accumulator
from jaxpool._window import window_pool


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sum(Reduction):
    """The sum of a cell's elements.

    Floats keep their dtype and are accumulated in float32 at least; ints and bools widen as in
    ``jnp.sum``.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 3.]), jaxpool.Global(0), jaxpool.Sum())
      Array(6., dtype=float32)
    """

    def accumulate_dtype(self, dtype: Any) -> Any:
        return accumulator(dtype) if jnp.issubdtype(dtype, jnp.floating) else _widened(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype if jnp.issubdtype(dtype, jnp.floating) else _widened(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return domain.sum(x, where)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Mean(Reduction):
    """The arithmetic mean of a cell's elements, weighted if `where` holds floats.

    Floats keep their dtype and are accumulated in float32 at least; ints and bools give float32.

    Args:
      count_include_pad: whether declared padding counts as zeros in the mean; the part of a
        window that only ceil mode adds never does.
      divisor_override: divides the sum by this number instead of the count.

    Raises:
      ValueError: when used, if `divisor_override` is 0 or not finite.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 3.]), jaxpool.Global(0), jaxpool.Mean())
      Array(2., dtype=float32)
    """

    count_include_pad: bool = True
    divisor_override: float | None = None

    takes_weights = True

    def check(self, op: str) -> None:
        _arguments.flag(op, "count_include_pad", self.count_include_pad)
        _arguments.divisor(op, self.divisor_override)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        weights = None
        if where is not None and where.dtype != bool:
            where, weights = where != 0, where.astype(x.dtype)
            weights = jnp.where(where, weights, np.zeros((), x.dtype))
            x = jnp.where(where, x, np.zeros((), x.dtype)) * weights
        total = domain.sum(x, where)
        if self.divisor_override is not None:
            return _quotient(total, jnp.asarray(self.divisor_override, x.dtype))
        count = domain.count(x.shape, where, include_pad=self.count_include_pad).astype(x.dtype)
        if weights is not None:
            inside = domain.count(x.shape, where).astype(x.dtype)
            count = domain.sum(weights) + (count - inside)
        if where is not None or domain.can_be_empty(x.shape):
            # A cell with nothing in it gets its value later; 0/0 here would spoil its gradient.
            count = jnp.where(count != 0, count, np.ones((), x.dtype))
        return _quotient(total, count)


def _quotient(total: jax.Array, count: jax.Array) -> jax.Array:
    """``total / count``, rounded once.

    Of a constant divisor, and of one number for all cells, XLA takes the rounded reciprocal and
    multiplies. Behind the barrier it sees neither.
    """
    return total / jax.lax.optimization_barrier(jnp.broadcast_to(count, total.shape))


def _widened(dtype: Any) -> Any:
    """The integer dtype that ``jnp.sum`` has for ints of `dtype`."""
    unsigned = jnp.issubdtype(dtype, jnp.unsignedinteger)
    return jax.dtypes.canonicalize_dtype(np.uint64 if unsigned else np.int64)


def sum_pool(
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
    """The sum of each window: ``y[i] = sum_j x[i*s - low + j*d]``.

    Padding adds nothing.

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

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (the sum is accumulated in float32 at least), ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.sum_pool(x, (2, 2))[..., 0]
      Array([[14., 22.],
             [46., 54.]], dtype=float32)

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
      <https://doi.org/10.1109/5.726791>
    """
    return window_pool(
        "sum_pool",
        x,
        Sum(),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


def avg_pool(
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
    count_include_pad: bool = True,
    divisor_override: float | None = None,
) -> jax.Array:
    """The mean of each window: ``y[i] = sum_j x[i*s - low + j*d] / n_i``.

    The divisor n_i counts declared padding or not (`count_include_pad`), never what only ceil mode
    adds, and with a mask only what takes part.

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
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.
      count_include_pad: whether declared padding counts as zeros in the mean.
      divisor_override: divides every sum by this number instead of the count.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (the mean is accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear in x. Masked-out elements and empty cells have
      gradient 0. Weights have derivatives too.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.avg_pool(x, (2, 2))[..., 0]
      Array([[ 3.5,  5.5],
             [11.5, 13.5]], dtype=float32)

    References:
      LeCun et al., Gradient-based learning applied to document recognition, 1998.
      <https://doi.org/10.1109/5.726791>
    """
    return window_pool(
        "avg_pool",
        x,
        Mean(count_include_pad, divisor_override),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


def global_sum_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The sum over whole axes.

    Equal to `sum_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype (the
      sum is accumulated in float32 at least), ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_sum_pool(x, axes=(0, 1))
      Array([136.], dtype=float32)

    References:
      Lin, Chen and Yan, Network in network, 2014. <https://arxiv.org/abs/1312.4400>
    """
    return global_pool("global_sum_pool", x, Sum(), axes, keepdims, where, empty_value)


def global_avg_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean over whole axes.

    Equal to `avg_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Floats are
        weights of a weighted mean. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype (the
      mean is accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear in x. Masked-out elements and empty cells have
      gradient 0. Weights have derivatives too.

    Example:
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.global_avg_pool(x, axes=(0, 1))
      Array([8.5], dtype=float32)

    References:
      Lin, Chen and Yan, Network in network, 2014. <https://arxiv.org/abs/1312.4400>
    """
    return global_pool("global_avg_pool", x, Mean(), axes, keepdims, where, empty_value)
