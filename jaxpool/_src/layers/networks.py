"""What the networks of learned weights are made of: in float32 at least, and of what is valid."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.arguments import axis_numbers, fail, mask, no_empty_axis, resolved_axes
from jaxpool._src.core.pool import accumulator
from jaxpool._src.layers.fields import op_of
from jaxpool._src.layers.parameters import check_features

# Beyond, a GELU is 0 or its argument, and what its slope multiplies may overflow.
_LARGE = 1e3


def position_axes(layer: Any, x: jax.Array) -> tuple[int, ...]:
    """The axes of positions, counted from the front, of an x whose last axis is of channels."""
    op = op_of(layer)
    axes = resolved_axes(op, axis_numbers(op, layer.axes), x.shape)
    if x.ndim - 1 in axes:
        allowed = "leave out the last axis, which is of channels"
        fail(op, "axes", allowed, layer.axes, shape=x.shape)
    no_empty_axis(op, x.shape, axes)
    check_features(layer, x, -1)
    return axes


def valid_elements(op: str, where: Any, x: jax.Array, axes: tuple[int, ...]) -> jax.Array | None:
    """The mask in the rank of x, as long as x along `axes`."""
    return mask(op, where, x.shape, axes, False)


def valid_positions(valid: jax.Array | None) -> jax.Array | None:
    """Positions of which one channel is valid at least."""
    return None if valid is None else jnp.any(valid, -1, keepdims=True)


def network_input(x: jax.Array, valid: jax.Array | None) -> jax.Array:
    """`x` as networks compute with it, and 0 where it is not valid, which no sum can mask later."""
    x = x.astype(accumulator(x.dtype))
    return x if valid is None else jnp.where(valid, x, np.zeros((), x.dtype))


def dense(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """A dense layer along the channels of x, by a kernel (inputs, outputs).

    As precise as Flax's `Dense`, which `jax.default_matmul_precision` says.
    """
    y = jnp.tensordot(x, kernel.astype(x.dtype), 1)
    return y if bias is None else y + along_last(bias, y)


def along_last(parameter: jax.Array, x: jax.Array) -> jax.Array:
    """A parameter of channels in the dtype and the rank of x."""
    return parameter.astype(x.dtype).reshape((1,) * (x.ndim - 1) + parameter.shape)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Channels of each position, with mean 0 and variance 1, times `scale` plus `bias`."""
    x = x - jnp.mean(x, -1, keepdims=True)
    variance = jnp.mean(jnp.square(x), -1, keepdims=True)
    x = x * jax.lax.rsqrt(variance + np.array(epsilon, x.dtype))
    return x * along_last(scale, x) + along_last(bias, x)


def gelu(x: jax.Array, *, exact: bool = False) -> jax.Array:
    """The GELU, or as its usual form has it, by a tanh; its slope is a number for any argument."""
    large = abs(x) > np.array(_LARGE, x.dtype)
    near = jax.nn.gelu(jnp.where(large, np.zeros((), x.dtype), x), approximate=not exact)
    return jnp.where(large, jax.nn.relu(x), near)


def weighted_means(x: jax.Array, weights: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Means of x under several sets of weights, an axis before the channels; `axes` stay as 1.

    A product of matrices: beside an element that is not finite, all weights are NaN already.
    """
    batch = tuple(axis for axis in range(x.ndim - 1) if axis not in axes)
    numbers = ((axes, axes), (batch, batch))
    means = jax.lax.dot_general(weights, x, numbers, precision=jax.lax.Precision.HIGHEST)
    return jax.lax.expand_dims(means, axes)
