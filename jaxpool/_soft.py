"""Soft pools: means under weights that are exponentials, and logarithms of mean exponentials."""

import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import global_pool
from jaxpool._pool import Domain, Reduction
from jaxpool._softmean import logsumexp, softmean
from jaxpool._window import window_pool

# A sharpness nearer to 0 than this counts as this: what is divided by it is rounded.
_SMALLEST = 2.0**-10
# Larger ones count as this: an infinite one in an array would make 0 times infinity.
_LARGEST = 2.0**60


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LogSumExp(Reduction):
    """The logarithm of the mean of exponentials: ``log(mean(exp(r x))) / r`` for a sharpness r.

    Between the mean (r = 0) and the maximum (r = inf), or the minimum (r = -inf). Safe for elements
    of any size.

    Args:
      sharpness: r, a number, which may be 0 or infinite, or an array that broadcasts to the result
        and is the same along pooled axes. Arrays may be traced.
      mean: whether exponentials are averaged. If they are added, the result is at least the
        maximum (r > 0), and larger the more elements there are.

    Raises:
      ValueError: when used, if `sharpness` is NaN, does not broadcast, or is 0 without `mean`.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([0., 1., 2.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.LogSumExp(sharpness=1, mean=False))
      Array(2.407606, dtype=float32)
    """

    sharpness: Any = 10
    mean: bool = dataclasses.field(default=True, metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.parameter(op, "sharpness", self.sharpness)
        _arguments.flag(op, "mean", self.mean)
        if not self.mean and _arguments.is_number(self.sharpness) and self.sharpness == 0:
            hint = "A sum over elements has no limit there."
            _arguments.fail(op, "sharpness", "not be 0 where mean=False", 0, hint=hint)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        limit = _limit(self.sharpness, x, domain, where)
        if limit is not None:
            return limit
        sharpness = laid_parameter("sharpness", self.sharpness, x, domain)
        if isinstance(sharpness, float):
            if abs(sharpness) < _SMALLEST:
                sharpness = math.copysign(_SMALLEST, sharpness)
        else:
            constant = jax.lax.stop_gradient(sharpness)
            least = jnp.copysign(np.array(_SMALLEST, x.dtype), constant)
            # The slope stays, so that a learned sharpness can leave.
            near = sharpness + (least - constant)
            sharpness = jnp.where(abs(sharpness) < _SMALLEST, near, sharpness)
        value = logsumexp(domain, x, where, sharpness)
        # What stands for infinity there is as much smaller as the sharpness is.
        size = jnp.minimum(abs(jax.lax.stop_gradient(jnp.asarray(sharpness, x.dtype))), 1)
        infinite = abs(value) >= size * jnp.finfo(x.dtype).max
        infinity = jnp.copysign(np.array(np.inf, x.dtype), jax.lax.stop_gradient(value))
        value = jnp.where(infinite, infinity, value)
        if self.mean:
            value = value - jnp.log(_count(x, domain, where))
        # Of an infinite value, the quotient's slope in a sharpness is infinite.
        infinite = jnp.isinf(value)
        finite = jnp.where(infinite, np.zeros((), x.dtype), value) / sharpness
        return jnp.where(infinite, jax.lax.stop_gradient(value / sharpness), finite)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SoftmaxMean(Reduction):
    """The mean of elements, weighted by the softmax of themselves: ``sum softmax(b x) x``.

    Between the mean (sharpness b = 0) and the maximum (b = inf), or the minimum (b = -inf).

    Args:
      sharpness: b, a number, which may be infinite, or an array that broadcasts to the result and
        is the same along pooled axes. Arrays may be traced.
      gradient: "full", or "semi" to take weights as constants, as SoftPool's own kernels do.

    Raises:
      ValueError: when used, if `sharpness` is NaN or does not broadcast, or `gradient` is neither.
      TypeError: when used, if `sharpness` is of the wrong kind.

    Example:
      >>> x = jnp.array([0., 1., 2.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.SoftmaxMean())
      Array(1.5752103, dtype=float32)
    """

    sharpness: Any = 1
    gradient: Literal["full", "semi"] = dataclasses.field(default="full", metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.parameter(op, "sharpness", self.sharpness)
        _arguments.one_of(op, "gradient", self.gradient, ("full", "semi"))

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        limit = _limit(self.sharpness, x, domain, where)
        if limit is not None:
            return limit
        sharpness = laid_parameter("sharpness", self.sharpness, x, domain)
        logits = jax.lax.stop_gradient(x) if self.gradient == "semi" else None
        if logits is not None:
            sharpness = jax.lax.stop_gradient(sharpness)
        return softmean(domain, x, logits, where, sharpness)[1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class WeightedMean(Reduction):
    """The mean of elements, weighted by the softmax of logits of their own.

    Args:
      logits: array that broadcasts to x. Of a cell in which all are -inf, the mean is the plain
        one.

    Raises:
      ValueError: when used, if `logits` does not broadcast to x.
      TypeError: when used, if `logits` is not an array of real numbers.

    Example:
      >>> x, logits = jnp.array([0., 1., 2.]), jnp.log(jnp.array([1., 1., 2.]))
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.WeightedMean(logits))
      Array(1.25, dtype=float32)
    """

    logits: Any

    def check(self, op: str) -> None:
        _arguments.real_array(op, "logits", self.logits)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        logits = jnp.asarray(self.logits).astype(x.dtype)
        if not broadcasts(logits.shape, x.shape):
            raise _arguments.MisfitError(
                f"`logits` must broadcast to x; got logits.shape={logits.shape} for "
                f"x.shape={x.shape}."
            )
        return softmean(domain, x, jnp.broadcast_to(logits, x.shape), where)[1]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LinearSoftmax(Reduction):
    """The mean of elements that are their own weights: ``sum x^2 / sum x``, 0 if all are 0.

    For elements that are not negative, such as probabilities. Also what stochastic pooling gives
    on average.

    Example:
      >>> jaxpool.pool(jnp.array([0., 1., 3.]), jaxpool.Global(0), jaxpool.LinearSoftmax())
      Array(2.5, dtype=float32)
    """

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        one, zero = np.ones((), x.dtype), np.zeros((), x.dtype)
        if where is not None:
            x = jnp.where(where, x, zero)
        # In units of about the largest element: squares, and what a quotient's slope divides by,
        # overflow and underflow.
        fixed = jax.lax.stop_gradient(x)
        largest = domain.max(jnp.abs(fixed), where)
        usable = (largest > 0) & jnp.isfinite(largest)
        # A power of 2, so that nothing is rounded for it.
        exponent = jnp.frexp(jnp.where(usable, largest, one))[1] - 1
        unit = jnp.ldexp(one, jnp.maximum(exponent, jnp.finfo(x.dtype).minexp))

        def terms(e: jax.Array, unit: jax.Array) -> tuple[jax.Array, jax.Array]:
            part = e / unit
            return part * part, part

        squares, total = domain.sum_with(terms, x, unit, where)
        usable &= total != 0
        mean = unit * (squares / jnp.where(usable, total, one))
        special = jnp.where(jnp.isfinite(largest), zero, domain.sum(fixed, where))
        return jnp.where(usable, mean, special)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NoisyOr(Reduction):
    """The probability that at least one of independent events happens: ``1 - prod (1 - x)``.

    Exact to rounding for small probabilities too, and differentiable at 1.

    Example:
      >>> jaxpool.pool(jnp.array([0.5, 0.5, 0.]), jaxpool.Global(0), jaxpool.NoisyOr())
      Array(0.75, dtype=float32)
    """

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.zeros((), x.dtype))
        return domain.fold(x, lambda a, b: a + b * (1 - a), np.zeros((), x.dtype))


def importance_logits(
    x: jax.Array, kernel: jax.Array, scale: jax.Array, bias: jax.Array, where: jax.Array | None
) -> jax.Array:
    """LIP's simplified network: a convolution, instance normalization, and 12 times a sigmoid.

    `x` has channels last, and one spatial axis for each one of `kernel` but its last two.
    """
    spatial = tuple(range(x.ndim - kernel.ndim + 1, x.ndim - 1))
    x = x if where is None else jnp.where(where, x, np.zeros((), x.dtype))
    batch = x.reshape(-1, *(x.shape[axis] for axis in spatial), x.shape[-1])
    channels_last = (0, batch.ndim - 1, *range(1, batch.ndim - 1))
    y = jax.lax.conv_general_dilated(
        batch,
        kernel.astype(x.dtype),
        (1,) * len(spatial),
        "SAME",
        dimension_numbers=jax.lax.ConvDimensionNumbers(
            channels_last,
            (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2)),
            channels_last,
        ),
    )
    y = y.reshape(*x.shape[:-1], y.shape[-1]).astype(np.promote_types(x.dtype, np.float32))
    valid = jnp.ones(y.shape, bool) if where is None else jnp.broadcast_to(where, y.shape)
    count = jnp.maximum(jnp.sum(valid, spatial, keepdims=True, dtype=y.dtype), 1)  # 0 of padding
    mean = jnp.sum(y, spatial, keepdims=True, where=valid) / count
    squares = jnp.sum(jnp.square(y - mean), spatial, keepdims=True, where=valid)
    variance = squares / count
    normal = (y - mean) * jax.lax.rsqrt(variance + np.array(1e-5, y.dtype))
    scale, bias = (v.astype(y.dtype).reshape((1,) * (y.ndim - 1) + v.shape) for v in (scale, bias))
    return 12 * jax.nn.sigmoid(normal * scale + bias)


def _limit(
    sharpness: Any, x: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array | None:
    """The mean, maximum or minimum that a number stands for; None for others and for arrays."""
    if not _arguments.is_number(sharpness):
        return None
    if sharpness == 0:
        return domain.sum(x, where) / _count(x, domain, where)
    if np.isinf(sharpness):
        return domain.max(x, where) if sharpness > 0 else -domain.max(-x, where)
    return None


def _count(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """Number of elements of each cell, 1 if there is none."""
    count = domain.count(x.shape, where).astype(x.dtype)
    return jnp.maximum(count, np.ones((), x.dtype))


def laid_parameter(name: str, value: Any, x: jax.Array, domain: Domain) -> Any:
    """`value` as a float, or as an array in the dtype of x that broadcasts to the result."""
    if _arguments.is_number(value):
        return min(max(float(value), -_LARGEST), _LARGEST)
    value, shape = jnp.asarray(value).astype(x.dtype), domain.output_shape(x.shape)
    lead = len(shape) - value.ndim
    kept = len(shape) == x.ndim
    pooled = domain.pooled_axes(x.ndim) if kept else ()
    fits = broadcasts(value.shape, shape) and all(
        value.shape[axis - lead] == 1 for axis in pooled if axis >= lead
    )
    if not fits:
        raise _arguments.MisfitError(
            f"`{name}` must broadcast to the result, with size 1 along pooled axes; got "
            f"{name}.shape={value.shape} for a result of shape {tuple(shape)}."
        )
    value = jnp.clip(value, np.array(-_LARGEST, x.dtype), np.array(_LARGEST, x.dtype))
    return value.reshape((1,) * lead + value.shape)


def broadcasts(shape: Any, target: Any) -> bool:
    """Whether an array of `shape` broadcasts to `target`."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(n == 1 or n == full for n, full in pairs)


def logsumexp_pool(
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
    sharpness: Any = 10,
    mean: bool = True,
) -> jax.Array:
    """The logarithm of the mean exponential of each window: ``log(mean_j(exp(r x_j))) / r``.

    A smooth step from the mean (sharpness r = 0) to the maximum (r = inf). Safe for elements of any
    size: exponentials are taken relative to each window's largest. Also known as LSE pooling and as
    mellowmax.

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
      sharpness: r. 0 is the mean, infinity the maximum, -infinity the minimum; negative numbers are
        soft minima. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
      mean: whether exponentials are averaged. If they are added, the result is at least the
        maximum, and larger the more elements there are.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (exponentials are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is the softmax of ``r x``: not negative, and 1 in
      sum. A traced `sharpness` has a derivative too. Where the result is infinite, it is 0.

    Example:
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.logsumexp_pool(x, 2, axes=0, sharpness=1)
      Array([0.62011445, 2.        ], dtype=float32)

    References:
      Pinheiro and Collobert, From image-level to pixel-level labeling with convolutional networks,
      2015. <https://arxiv.org/abs/1411.6228>

      Asadi and Littman, An alternative softmax operator for reinforcement learning, 2017.
      <https://arxiv.org/abs/1612.05628>
    """
    return window_pool(
        "logsumexp_pool",
        x,
        LogSumExp(sharpness, mean),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


def global_logsumexp_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sharpness: Any = 10,
    mean: bool = True,
) -> jax.Array:
    """The logarithm of the mean exponential of whole axes: ``log(mean(exp(r x))) / r``.

    Equal to `logsumexp_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: r. 0 is the mean, infinity the maximum, -infinity the minimum; negative numbers are
        soft minima. A number, or an array that broadcasts to the result and is the same along
        pooled axes, such as one entry per channel where channels are last. Arrays may be traced, to
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
      mean: whether exponentials are averaged. If they are added, the result is at least the
        maximum, and larger the more elements there are.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (exponentials are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient in x is the softmax of ``r x``: not negative, and 1 in
      sum. A traced `sharpness` has a derivative too. Where the result is infinite, it is 0.

    Example:
      >>> jaxpool.global_logsumexp_pool(jnp.array([0., 1.]), axes=0, sharpness=1)
      Array(0.62011445, dtype=float32)

    References:
      Pinheiro and Collobert, From image-level to pixel-level labeling with convolutional networks,
      2015. <https://arxiv.org/abs/1411.6228>

      Asadi and Littman, An alternative softmax operator for reinforcement learning, 2017.
      <https://arxiv.org/abs/1612.05628>
    """
    reduction = LogSumExp(sharpness, mean)
    return global_pool("global_logsumexp_pool", x, reduction, axes, keepdims, where, empty_value)


def softmax_pool(
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
    sharpness: Any = 1,
    gradient: Literal["full", "semi"] = "full",
) -> jax.Array:
    """The softmax-weighted mean of each window: ``sum_j softmax_j(b x) x[i*s - low + j*d]``.

    SoftPool with a sharpness b of 1, and AutoPool with one that is learned. b = 0 is the mean, b =
    inf the maximum. Safe for elements of any size: exponentials are taken relative to each window's
    largest.

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
      sharpness: b. 0 is the mean, infinity the maximum, -infinity the minimum. A number, or an
        array that broadcasts to the result and is the same along pooled axes, such as one entry per
        channel where channels are last. Arrays may be traced, to be learned.
      gradient: "full", or "semi" to take weights as constants, as SoftPool's own kernels do.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. With w the weights and y the result, the gradient in x is ``w (1 + b
      (x - y))``, which may be negative; ``w`` if "semi". A traced `sharpness` has a derivative too,
      if "full".

    Example:
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.softmax_pool(x, 2, axes=0)
      Array([0.7310586, 2.       ], dtype=float32)

    References:
      Stergiou, Poppe and Kalliatakis, Refining activation downsampling with SoftPool, 2021.
      <https://arxiv.org/abs/2101.00440>

      McFee, Salamon and Bello, Adaptive pooling operators for weakly labeled sound event detection,
      2018. <https://arxiv.org/abs/1804.10070>
    """
    return window_pool(
        "softmax_pool",
        x,
        SoftmaxMean(sharpness, gradient),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


def global_softmax_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sharpness: Any = 1,
    gradient: Literal["full", "semi"] = "full",
) -> jax.Array:
    """The softmax-weighted mean of whole axes: ``sum softmax(b x) x``.

    Equal to `softmax_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      sharpness: b. 0 is the mean, infinity the maximum, -infinity the minimum. A number, or an
        array that broadcasts to the result and is the same along pooled axes, such as one entry per
        channel where channels are last. Arrays may be traced, to be learned.
      gradient: "full", or "semi" to take weights as constants, as SoftPool's own kernels do.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (weights are added in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. With w the weights and y the result, the gradient in x is ``w (1 + b
      (x - y))``, which may be negative; ``w`` if "semi". A traced `sharpness` has a derivative too,
      if "full".

    Example:
      >>> jaxpool.global_softmax_pool(jnp.array([0., 1.]), axes=0)
      Array(0.7310586, dtype=float32)

    References:
      Stergiou, Poppe and Kalliatakis, Refining activation downsampling with SoftPool, 2021.
      <https://arxiv.org/abs/2101.00440>

      McFee, Salamon and Bello, Adaptive pooling operators for weakly labeled sound event detection,
      2018. <https://arxiv.org/abs/1804.10070>
    """
    reduction = SoftmaxMean(sharpness, gradient)
    return global_pool("global_softmax_pool", x, reduction, axes, keepdims, where, empty_value)


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
