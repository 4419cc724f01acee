"""Parameters of layers: laid along channels or windows of x, and how they begin."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.arguments import (
    axis_numbers,
    fail,
    integer,
    mask,
    resolved_axes,
    window_axes,
)
from jaxpool._src.core.pool import accumulator
from jaxpool._src.layers.fields import GlobalPool, op_of

# Of what the exponential is finite in float32, with room for what it is multiplied by.
LARGEST_EXPONENT = 80


def window_sizes(layer: Any) -> tuple[int, ...]:
    """The window's shape, with an entry for each axis."""
    return window_axes(op_of(layer), layer.window_shape, layer.axes)[0]


def accurate(parameter: jax.Array) -> jax.Array:
    """A parameter as layers compute with it: in float32 at least."""
    return parameter.astype(accumulator(parameter.dtype))


def finite_exp(parameter: jax.Array) -> jax.Array:
    """The exponential, which is not infinite: 0 times that, as in a gradient, would be NaN."""
    return jnp.exp(jnp.minimum(parameter, np.array(LARGEST_EXPONENT, parameter.dtype)))


def along_channels(parameter: jax.Array, layer: Any, x: jax.Array) -> jax.Array:
    """A parameter whose last axis is of channels, if one is, to broadcast against the result."""
    if not layer._channels:
        return parameter
    dropped = ()
    if isinstance(layer, GlobalPool) and not layer.keepdims:
        op = op_of(layer)
        dropped = resolved_axes(op, axis_numbers(op, layer.axes), x.shape)
    after = [a for a in range(channel_of(layer, x, dropped) + 1, x.ndim) if a not in dropped]
    return parameter.reshape(*parameter.shape, *[1] * len(after))


def along_windows(parameter: jax.Array, layer: Any, x: jax.Array) -> jax.Array:
    """Filters, whose last axis is of channels, if one is, with these and windows as x has them."""
    if not layer._channels:
        return parameter
    pooled = pooled_axes(layer, x)
    own = (*pooled, channel_of(layer, x, pooled))
    lead = parameter.ndim - len(own)
    sizes = dict(zip(own, parameter.shape[lead:], strict=True))
    order = sorted(range(len(own)), key=lambda i: own[i])
    parameter = parameter.transpose(*range(lead), *(lead + i for i in order))
    return parameter.reshape(*parameter.shape[:lead], *(sizes.get(a, 1) for a in range(x.ndim)))


def pooled_axes(layer: Any, x: jax.Array) -> tuple[int, ...]:
    """The axes of windows, counted from the front."""
    op = op_of(layer)
    return resolved_axes(op, window_axes(op, layer.window_shape, layer.axes)[1], x.shape)


def channel_of(layer: Any, x: jax.Array, pooled: tuple[int, ...]) -> int:
    """The axis of channels, counted from the front."""
    channel, ndim = layer.channel_axis, x.ndim
    if not -ndim <= channel < ndim or channel % ndim in pooled:
        allowed = "be an axis of x that is not pooled"
        fail(op_of(layer), "channel_axis", allowed, channel, shape=x.shape)
    check_features(layer, x, channel)
    return channel % ndim


def check_features(layer: Any, x: jax.Array, channel: int) -> None:
    """Checks that `features`, if the layer has it, is the number of channels."""
    features, size = getattr(layer, "features", None), x.shape[channel]
    if features is not None and isinstance(size, int) and features != size:
        allowed = f"be {size}, the number of channels of x"
        fail(op_of(layer), "features", allowed, features, shape=x.shape)


def heads_divide(op: str, num_heads: int, channels: int) -> None:
    """Checks that heads have equally many channels."""
    if channels % num_heads:
        fail(op, "num_heads", f"divide the {channels} channels of x", num_heads)


def constant(value: Any) -> Callable[..., jax.Array]:
    """An initializer with `value`, for each channel if there are some."""

    def start(_: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        first = np.asarray(value)
        first = first.reshape(first.shape + (1,) * (len(shape) - first.ndim))
        return jnp.broadcast_to(jnp.asarray(first, dtype), shape)

    return start


def noisy_mean(window: tuple[int, ...]) -> Callable[..., jax.Array]:
    """An initializer of filters that are a mean and normal noise of the same size."""
    size = math.prod(window)
    return lambda key, shape, dtype: (1 + jax.random.normal(key, shape, dtype)) / size


def uniform(features: int) -> Callable[..., jax.Array]:
    """An initializer with numbers up to ``1/sqrt(features)``, of both signs."""
    most = 1 / math.sqrt(features)
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -most, most)


def glorot_of_windows(window: tuple[int, ...], count: int) -> Callable[..., jax.Array]:
    """Glorot and Bengio's initializer of `count` filters, of each channel's own windows."""
    most = math.sqrt(6 / (math.prod(window) + count))
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -most, most)


def predicted_sizes(layer: Any) -> tuple[tuple[int, ...], int]:
    """Of a layer that predicts kernels, these kernels' shape and the number of logits."""
    op, strides, groups = op_of(layer), layer.strides, layer.groups
    if not isinstance(strides, list | tuple):
        allowed = "be a tuple with one step for each spatial axis"
        fail(op, "strides", allowed, strides, hint="Write strides=(2, 2) for images.")
    window_axes(op, strides, None, "strides")
    allowed = f"be an int >= 1 that divides features={layer.features}"
    if integer(op, "groups", groups, allowed) < 1 or layer.features % groups:
        fail(op, "groups", allowed, groups)
    sizes = (layer.filter_size,) * len(strides)
    return sizes, groups * math.prod(sizes)


def padded_for_logits(x: jax.Array, where: Any, layer: Any) -> jax.Array:
    """`x`, 0 where masked, with what a convolution reads that has the windows of the blur."""
    op, size, axes = op_of(layer), layer.filter_size, len(layer.strides)
    resolved_axes(op, tuple(range(-axes - 1, 0)), x.shape)
    check_features(layer, x, -1)
    valid = mask(op, where, x.shape, (), False)
    if valid is not None:
        x = jnp.where(valid, x, np.zeros((), x.dtype))
    widths = [(0, 0)] * (x.ndim - axes - 1) + [((size - 1) // 2, size // 2)] * axes + [(0, 0)]
    return jnp.pad(x, widths, layer.padding_mode)
