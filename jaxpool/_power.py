"""Lp norms."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import global_pool
from jaxpool._lowering import once_on_cpus
from jaxpool._pool import Domain, Reduction
from jaxpool._window import window_pool

# Up to this exponent a power is a product.
LARGEST_PRODUCT = 16


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lp(Reduction):
    """The p-norm of a cell's elements: ``(sum |x|^p)^(1/p)``.

    A sum, not a mean, and of absolute values. Powers are scaled by the largest element, so that
    neither overflows nor underflows: the norm is finite wherever it is representable.

    Args:
      p: exponent, a number > 0; ``float("inf")`` takes the maximum of |x|. May be traced.

    Raises:
      ValueError: when used, if `p` is not positive.
      TypeError: when used, if `p` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([3., -4.]), jaxpool.Global(0), jaxpool.Lp(p=2))
      Array(5., dtype=float32)
    """

    p: Any = 2

    def check(self, op: str) -> None:
        _arguments.positive_power(op, self.p)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        zero, one = np.zeros((), x.dtype), np.ones((), x.dtype)
        if where is not None:
            x = jnp.where(where, x, zero)  # the slope of |x| at NaN would spoil gradients
        given = self.p.item() if isinstance(self.p, np.generic) else self.p
        if isinstance(given, float) and given == float("inf"):
            return jnp.maximum(domain.max(absolute(x), where), zero)  # an empty cell holds -inf
        # As a constant: the scale cancels, so it has no part in any derivative.
        constant = jax.lax.stop_gradient(x)
        largest = once_on_cpus(lambda x, where: domain.max(jnp.abs(x), where), constant, where)
        scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, one)
        p = given if isinstance(given, int | float) else jnp.asarray(given).astype(x.dtype)
        if isinstance(p, int | float) and _is_product(p):
            # Products, since of quotients XLA:CPU keeps arrays. Reciprocals must not be denormal.
            least, most = jnp.finfo(x.dtype).tiny, 2.0 ** (jnp.finfo(x.dtype).maxexp - 3)
            scale = jnp.clip(scale, np.array(least, x.dtype), np.array(most, x.dtype))
            total = domain.sum_with(lambda e, c: _power(e * c, p), x, one / scale, where)
        else:
            # The reciprocal of a large scale, by which XLA may multiply, would be denormal too.
            factor = jnp.where(scale > 1, np.array(0.125, x.dtype), one)
            cells = (scale * factor, factor, p)
            if isinstance(p, int | float):
                total = domain.sum_with(
                    lambda e, c: _power(e * c[1] / c[0], p), x, cells[:2], where
                )
            else:
                total = domain.sum_with(lambda e, c: _power(e * c[1] / c[0], c[2]), x, cells, where)
        # The root of 0 has no finite slope: take it of 1, and 0 for the result.
        positive = total != 0
        safe = jnp.where(positive, total, one)
        root = safe ** (one / p)
        if isinstance(p, int | float) and p in (1, 2):
            root = safe if p == 1 else jnp.sqrt(safe)
        return jnp.where(positive, scale * root, zero)


@jax.custom_jvp
def absolute(x: jax.Array) -> jax.Array:
    """|x| with derivative 0 at 0, where that of ``jnp.abs`` is 1."""
    return jnp.abs(x)


@absolute.defjvp
def _absolute_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return absolute(*primals), jnp.sign(primals[0]) * tangents[0]


def _is_product(p: float) -> bool:
    return p == int(p) and p <= LARGEST_PRODUCT


def _power(x: jax.Array, p: Any) -> jax.Array:
    """|x|^p with all the derivatives that it has at 0, and 0 for those that it lacks."""
    if isinstance(p, int | float) and _is_product(p):
        if p == 1:
            return absolute(x)
        if p % 2:
            return absolute(x) * jax.lax.integer_pow(x, int(p) - 1)
        return jax.lax.integer_pow(x, int(p))
    positive = x != 0
    safe = jnp.where(positive, absolute(x), np.ones((), x.dtype))
    return jnp.where(positive, safe**p, np.zeros((), x.dtype))


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
