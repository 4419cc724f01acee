"""Power means: geometric, harmonic and arithmetic ones, and those between."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import global_pool
from jaxpool._lowering import once_on_cpus
from jaxpool._pool import Domain, Reduction
from jaxpool._power import LARGEST_PRODUCT
from jaxpool._soft import LogSumExp, laid_parameter
from jaxpool._window import window_pool


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PowerMean(Reduction):
    """The power mean of a cell's elements: ``mean(max(x, eps)^p)^(1/p)``.

    p = 1 is the arithmetic mean, 0 the geometric, -1 the harmonic, infinity the maximum and
    -infinity the minimum. Powers neither overflow nor underflow.

    Args:
      p: a number, which may be 0 or infinite, or an array that broadcasts to the result and is the
        same along pooled axes. Arrays may be traced.
      eps: a number > 0. Smaller elements count as this, and have gradient 0.

    Raises:
      ValueError: when used, if `p` is NaN or does not broadcast, or `eps` is not positive.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 4., 16.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.PowerMean(p=1))
      Array(7., dtype=float32)
    """

    p: Any = 1
    eps: float = dataclasses.field(default=1e-6, metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.parameter(op, "p", self.p)
        _arguments.positive_number(op, "eps", self.eps)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        eps = max(self.eps, float(jnp.finfo(x.dtype).tiny))
        if _arguments.is_number(self.p) and self.p in range(1, LARGEST_PRODUCT + 1):
            return _integer_mean(x, int(self.p), eps, domain, where)
        if not _arguments.is_number(self.p):
            laid_parameter("p", self.p, x, domain)  # else the error would speak of sharpness
        if where is not None:
            x = jnp.where(where, x, np.ones((), x.dtype))
        return jnp.exp(LogSumExp(self.p)(jnp.log(_at_least(x, eps)), domain, where))


def _at_least(x: jax.Array, eps: float) -> jax.Array:
    """Not by a maximum, whose slope at `eps` is 1/2."""
    least = np.array(eps, x.dtype)
    return jnp.where(x <= least, least, x)


def _integer_mean(
    x: jax.Array, p: int, eps: float, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """``mean(max(x, eps)^p)^(1/p)``, by products that are scaled by the largest element."""
    one = np.ones((), x.dtype)
    count = jnp.maximum(domain.count(x.shape, where).astype(x.dtype), one)
    if p == 1:
        return domain.sum(_at_least(x, eps), where) / count
    # As a constant: the scale cancels, so it has no part in any derivative.
    largest = _at_least(once_on_cpus(domain.max, jax.lax.stop_gradient(x), where), eps)
    # Of a larger one the reciprocal is denormal. Products, since of quotients XLA:CPU keeps arrays.
    most = np.array(2.0 ** (jnp.finfo(x.dtype).maxexp - 3), x.dtype)
    scale = jnp.where(jnp.isfinite(largest), jnp.minimum(largest, most), one)

    def power(element: jax.Array, scale: jax.Array) -> jax.Array:
        return jax.lax.integer_pow(_at_least(element, eps) * scale, p)

    total = domain.sum_with(power, x, one / scale, where)
    mean = jnp.where(total == 0, one, total / count)  # of an empty cell: a root of 0 has no slope
    return scale * (jnp.sqrt(mean) if p == 2 else _root(mean, p))


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _root(x: jax.Array, p: int) -> jax.Array:
    """``x^(1/p)`` of positive x. XLA:CPU calls a function for every cube root; this is a loop."""
    return x ** np.array(1 / p, x.dtype)


@_root.defjvp
def _root_jvp(p: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """By the root, so that there is no second power."""
    (x,), (dx,) = primals, tangents
    y = _root(x, p)
    return y, dx * (y / (np.array(p, x.dtype) * x))


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
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
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
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
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
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
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
        be learned. What is nearer to 0 than 2**-10, and not 0, counts as that.
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
