"""Soft pools: means under weights that are exponentials, and logarithms of mean exponentials."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction, accumulator
from jaxpool._src.reductions.running_sums import running_totals
from jaxpool._src.reductions.softmean import log_mean_exp, softmean
from jaxpool._src.reductions.units import power_of_2

# A larger sharpness counts as this: an infinite one in an array would make 0 times infinity.
_LARGEST = 2.0**60


@explained
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
      Array(2.4076061, dtype=float32)
    """

    sharpness: Any = 10
    mean: bool = dataclasses.field(default=True, metadata={"static": True})

    def check(self, op: str) -> None:
        parameters.parameter(op, "sharpness", self.sharpness)
        arguments.flag(op, "mean", self.mean)
        if not self.mean and parameters.is_number(self.sharpness) and self.sharpness == 0:
            hint = "A sum over elements has no limit there."
            arguments.fail(op, "sharpness", "not be 0 where mean=False", 0, hint=hint)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        limit = _limit(self.sharpness, x, domain, where)
        if limit is not None:
            return limit
        sharpness = laid_parameter("sharpness", self.sharpness, x, domain)
        mean = log_mean_exp(domain, x, where, sharpness)
        if self.mean:
            return mean
        logarithm = jnp.log(_count(x, domain, where))
        sharpness = jnp.asarray(sharpness, x.dtype)
        zero = sharpness == 0
        more = logarithm / jnp.where(zero, np.ones((), x.dtype), sharpness)
        # A sum over several has no limit there; infinite values have no slope.
        infinity = np.array(np.inf, x.dtype)
        infinite = zero & (logarithm > 0)
        return jnp.where(infinite, infinity, mean + jnp.where(zero, np.zeros((), x.dtype), more))


@explained
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
        parameters.parameter(op, "sharpness", self.sharpness)
        arguments.one_of(op, "gradient", self.gradient, ("full", "semi"))

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        limit = _limit(self.sharpness, x, domain, where)
        if limit is not None:
            return limit
        sharpness = laid_parameter("sharpness", self.sharpness, x, domain)
        logits = jax.lax.stop_gradient(x) if self.gradient == "semi" else None
        if logits is not None:
            sharpness = jax.lax.stop_gradient(sharpness)
        return softmean(domain, x, logits, where, sharpness)


@explained
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
        parameters.real_array(op, "logits", self.logits)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        logits = jnp.asarray(self.logits).astype(x.dtype)
        if not broadcasts(logits.shape, x.shape):
            raise parameters.MisfitError(
                f"`logits` must broadcast to x; got logits.shape={logits.shape} for "
                f"x.shape={x.shape}."
            )
        return softmean(domain, x, jnp.broadcast_to(logits, x.shape), where)


@explained
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
        unit, _ = power_of_2(jnp.where(usable, largest, one))

        def terms(e: jax.Array, unit: jax.Array) -> tuple[jax.Array, jax.Array]:
            part = e / unit
            return part * part, part

        if domain.nested:
            both = (jnp.square, lambda e: e)
            (squares, total), unit = running_totals(domain, x, where, both)
        else:
            squares, total = domain.sum_with(terms, x, unit, where)
        usable &= total != 0
        mean = unit * (squares / jnp.where(usable, total, one))
        special = jnp.where(jnp.isfinite(largest), zero, domain.sum(fixed, where))
        return jnp.where(usable, mean, special)


@explained
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
    x = x.astype(accumulator(x.dtype))
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
    y = y.reshape(*x.shape[:-1], y.shape[-1])
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
    """The maximum or minimum that an infinite number stands for; None for others and arrays."""
    if parameters.is_number(sharpness) and np.isinf(sharpness):
        return domain.max(x, where) if sharpness > 0 else -domain.max(-x, where)
    return None


def _count(x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """Number of elements of each cell, 1 if there is none."""
    count = domain.count(x.shape, where).astype(x.dtype)
    return jnp.maximum(count, np.ones((), x.dtype))


def laid_parameter(name: str, value: Any, x: jax.Array, domain: Domain) -> Any:
    """`value` as a float, or as an array in the dtype of x that broadcasts to the result."""
    if parameters.is_number(value):
        number = min(max(float(value), -_LARGEST), _LARGEST)
        return number if abs(number) >= jnp.finfo(x.dtype).tiny else 0.0  # as devices take it
    value, shape = jnp.asarray(value).astype(x.dtype), domain.output_shape(x.shape)
    lead = len(shape) - value.ndim
    kept = len(shape) == x.ndim
    pooled = domain.pooled_axes(x.ndim) if kept else ()
    fits = broadcasts(value.shape, shape) and all(
        value.shape[axis - lead] == 1 for axis in pooled if axis >= lead
    )
    if not fits:
        raise parameters.MisfitError(
            f"`{name}` must broadcast to the result, with size 1 along pooled axes; got "
            f"{name}.shape={value.shape} for a result of shape {tuple(shape)}."
        )
    value = jnp.clip(value, np.array(-_LARGEST, x.dtype), np.array(_LARGEST, x.dtype))
    return value.reshape((1,) * lead + value.shape)


def broadcasts(shape: Any, target: Any) -> bool:
    """Whether an array of `shape` broadcasts to `target`."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(n == 1 or n == full for n, full in pairs)
