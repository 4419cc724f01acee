"""Polyphase layers: phases by their norm, or by what a small network makes of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.core import parameters
from jaxpool._src.core.arguments import Ints, check_array
from jaxpool._src.core.pool import accumulator, parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.layers.fields import Pool, layer, op_of
from jaxpool._src.layers.learned import OfChannels
from jaxpool._src.layers.networks import along_last
from jaxpool._src.layers.parameters import check_features, constant
from jaxpool._src.layers.random import RandomPool
from jaxpool._src.lowering.phases import (
    Grid,
    largest_mean,
    mix_phases,
    phase_means,
    pick_phase,
)
from jaxpool._src.pools.polyphase import phase_grid, phase_layouts

Parameters = dict[str, jax.Array]
_fan_in = jax.nn.initializers.he_normal()


@layer
class PolyphasePool(Pool):
    """Layer form of `jaxpool.polyphase_pool`; its fields are the function's arguments."""

    strides: Ints
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    channel_axis: int = -1
    norm: float | Literal["min"] = 2
    return_phase: bool = False

    def __call__(self, x: jax.Array) -> Any:
        """The pooled x; with the field `return_phase`, a pair of it and of the phases."""
        return jaxpool.polyphase_pool(x, **self._options())


@layer
class PolyphaseUnpool(Pool):
    """Layer form of `jaxpool.polyphase_unpool`; its fields are the function's arguments."""

    strides: Ints
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    channel_axis: int = -1

    def __call__(self, y: jax.Array, phase: jax.Array) -> jax.Array:
        """The unpooled y."""
        return jaxpool.polyphase_unpool(y, phase, **self._options())


@layer
class LearnedPolyphasePool(OfChannels, RandomPool):
    """Learnable polyphase sampling (LPS): a network chooses which phase of x is kept.

    For images of shape ``[..., *spatial, channels]``, as those of `jaxpool.polyphase_pool`. The
    logit of a phase is the mean, over places and features, of two convolutions with circular
    padding and a rectifier between them, the same for all phases. In training the result is a mean
    of phases, with weights that are a softmax of logits plus Gumbel noise, over a temperature; the
    key is of the stream `pool`. With `deterministic` it is the phase of the largest logit, of equal
    ones the first, so that the result follows circular shifts of x; sums are the same in any order,
    of features to 23 bits of the largest. Or it is, if `convex`, a mean with the softmax of logits.
    Parameters are `hidden_kernel`, `hidden_bias` and `output_kernel`; kernels begin as He's. A bias
    of logits would change no softmax.

    Args:
      strides: steps between elements, one for each spatial axis, whose size it divides.
      hidden_features: number of features of both convolutions.
      filter_size: number of elements of their filters along each axis.
      temperature: what logits and noise are divided by, a number > 0 or an array, which may be
        traced.
      convex: whether phases are mixed with `deterministic` too.
      deterministic: whether no noise is drawn.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Rojas-Gomez et al., Learnable polyphase sampling for shift invariant and equivariant
      convolutional networks, 2022. <https://arxiv.org/abs/2210.08001>
    """

    strides: Sequence[int]
    _: dataclasses.KW_ONLY
    hidden_features: int = 16
    filter_size: int = 3
    temperature: Any = 1.0
    convex: bool = False
    deterministic: bool = False
    features: int | None = None
    param_dtype: Any = jnp.float32

    _starts_at_random = True

    def _first(self, channels: int) -> dict[str, Any]:
        sizes, hidden = (self.filter_size,) * len(self.strides), self.hidden_features
        return {
            "hidden_kernel": ((*sizes, channels, hidden), _fan_in),
            "hidden_bias": ((hidden,), constant(0)),
            "output_kernel": ((*sizes, hidden, hidden), _fan_in),
        }

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """The pooled x; `key` is what is drawn with unless `deterministic`."""
        op = op_of(self)
        check_array(op, x)
        phase_grid(op, x.shape, self.strides, None, -1)  # checks
        check_features(self, x, -1)
        key = None if self.deterministic else self._drawn_with(key)
        parameters.key(op, key, self.deterministic)
        own, mixed = self._parameters(x.shape[-1]), self.convex or not self.deterministic
        return as_one_program(_sampled, op, x, key, own, self.temperature, self.strides, mixed)


def _sampled(
    op: str, x: Any, key: Any, own: Parameters, temperature: Any, strides: Any, mixed: bool
) -> jax.Array:
    x, grid = jnp.asarray(x), phase_grid(op, x.shape, strides, None, -1)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    shape = phase_layouts(x, grid)[0][0]

    def compute(x: jax.Array, own: Parameters, key: Any, temperature: Any) -> jax.Array:
        x = x.astype(accumulator(x.dtype))
        features = _features(x, own, grid)
        if not mixed:
            phase = largest_mean(jax.lax.stop_gradient(features), grid)
            return pick_phase(x, phase, grid).astype(dtype)
        logits = phase_means(features, grid)
        if key is not None:
            noisy = logits + jax.random.gumbel(key, logits.shape, logits.dtype)
            logits = noisy / jnp.asarray(temperature).astype(logits.dtype)
        return mix_phases(x, jax.nn.softmax(logits, grid.inner), grid).astype(dtype)

    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, range(x.ndim), x, own, key, temperature)


def _features(x: jax.Array, own: Parameters, grid: Grid) -> jax.Array:
    """What the network makes of each phase, at the places of its elements."""
    hidden = _convolved(x, own["hidden_kernel"].astype(x.dtype), grid)
    hidden = jax.nn.relu(hidden + along_last(own["hidden_bias"], hidden))
    return _convolved(hidden, own["output_kernel"].astype(x.dtype), grid)


def _convolved(x: jax.Array, kernel: jax.Array, grid: Grid) -> jax.Array:
    """A convolution of each phase by itself, with circular padding.

    With holes of strides in its filter it takes all phases at once, where they are.
    """
    spatial = tuple(x.shape[axis] for axis in grid.axes)
    batch = x.reshape(-1, *spatial, x.shape[-1])
    holes = zip(kernel.shape[:-2], grid.strides, strict=True)
    widths = [((k - 1) // 2 * step, k // 2 * step) for k, step in holes]
    batch = jnp.pad(batch, ((0, 0), *widths, (0, 0)), "wrap")
    places = range(1, batch.ndim - 1)
    channels_last = (0, batch.ndim - 1, *places)
    numbers = jax.lax.ConvDimensionNumbers(
        channels_last, (kernel.ndim - 1, kernel.ndim - 2, *range(kernel.ndim - 2)), channels_last
    )
    y = jax.lax.conv_general_dilated(
        batch,
        kernel,
        (1,) * len(places),
        "VALID",
        rhs_dilation=grid.strides,
        dimension_numbers=numbers,
    )
    return y.reshape(*x.shape[:-1], y.shape[-1])
