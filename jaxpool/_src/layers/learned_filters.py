"""Filters whose weights are learned or predicted."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.core.arguments import Ints, check_array
from jaxpool._src.filters.blur import PaddingMode, binomial_kernel
from jaxpool._src.filters.morphology import parabola
from jaxpool._src.layers.fields import Pool, WindowPool, layer, op_of
from jaxpool._src.layers.filters import SameSizePool
from jaxpool._src.layers.learned import LearnedPool
from jaxpool._src.layers.parameters import (
    LARGEST_EXPONENT,
    constant,
    padded_for_logits,
    predicted_sizes,
    window_sizes,
)


@layer
class LearnedBlurPool(LearnedPool):
    """Layer form of `jaxpool.blur_pool` that learns its kernel, one for all axes.

    The kernel is the softmax of the parameter `kernel`, of shape ``(filter_size,)`` or
    ``(filter_size, features)``: it is positive and its sum is 1. It starts as the binomial one.
    """

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: int = 3
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.blur_pool)

    def _first(self) -> dict[str, Any]:
        start = constant(np.log(binomial_kernel(self.filter_size)))
        return {"kernel": ((self.filter_size,), start)}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"kernel": jax.nn.softmax(parameters["kernel"], 0)}


@layer
class LearnedGaussianPool(LearnedPool):
    """Layer form of `jaxpool.gaussian_pool` that learns its width, as LEAF does.

    The parameter `sigma`, of shape ``()`` or ``(features,)``, starts at 0.4 and is clipped to
    between ``2 / filter_size``, or 1/4 if that is less, and 1/2, outside of which it has no
    gradient. A filter of 1 or 2 elements does not depend on it.
    """

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: int
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.gaussian_pool)

    def _first(self) -> dict[str, Any]:
        return {"sigma": ((), constant(0.4))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        least = min(2 / self.filter_size, 0.25)
        return {"sigma": jnp.clip(parameters["sigma"], least, 0.5)}


@layer
class PredictedBlurPool(Pool):
    """Layer form of `jaxpool.content_aware_blur_pool` that predicts its kernels from x.

    For images of shape ``[..., *spatial, features]``, channels last. The logits, for each of
    `groups` of channels one for each element of the filter, are a convolution with a window of that
    size, `logits`. The paper normalises them over the batch before the softmax. Here the
    convolution has a bias and starts so that they have the variance of x.

    References:
      Zou et al., Delving deeper into anti-aliasing in ConvNets, 2020.
      <https://arxiv.org/abs/2008.09604>
    """

    strides: Sequence[int]
    _: dataclasses.KW_ONLY
    features: int
    groups: int = 1
    filter_size: int = 3
    padding_mode: PaddingMode = "reflect"
    empty_value: Any = 0
    param_dtype: Any = jnp.float32

    _own = ("features", "groups", "param_dtype")
    _starts_at_random = True

    def _convolved(self, x: jax.Array, sizes: tuple[int, ...], count: int) -> jax.Array:
        """`count` features of x, by a convolution without padding."""
        raise NotImplementedError

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function, and for the logits it is 0."""
        check_array(op_of(self), x)
        sizes, count = predicted_sizes(self)
        logits = self._convolved(padded_for_logits(x, where, self), sizes, count)
        return jaxpool.content_aware_blur_pool(x, logits, where=where, **self._options())


@layer
class LearnedStructurePool(LearnedPool):
    """The parameter `structure` has the window's shape, and starts at 0."""

    def _first(self) -> dict[str, Any]:
        return {"structure": (window_sizes(self), constant(0))}


@layer
class LearnedDilationPool(LearnedStructurePool, WindowPool):
    """Layer form of `jaxpool.dilation_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0, which is a maximum.
    """

    _function = staticmethod(jaxpool.dilation_pool)


@layer
class LearnedErosionPool(LearnedStructurePool, WindowPool):
    """Layer form of `jaxpool.erosion_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0, which is a minimum.
    """

    _function = staticmethod(jaxpool.erosion_pool)


@layer
class LearnedOpeningPool(LearnedStructurePool, SameSizePool):
    """Layer form of `jaxpool.opening_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0.
    """

    _function = staticmethod(jaxpool.opening_pool)


@layer
class LearnedClosingPool(LearnedStructurePool, SameSizePool):
    """Layer form of `jaxpool.closing_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0.
    """

    _function = staticmethod(jaxpool.closing_pool)


@layer
class ParabolicPool(LearnedPool):
    """The parameter `t` is the logarithm of the parabola's scale, and starts at 0."""

    def _first(self) -> dict[str, Any]:
        return {"t": ((), constant(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        sizes = window_sizes(self)
        # The steepest sides are finite, since 0 times their slope is part of the gradient.
        least = math.log(max(sizes) ** 2) - LARGEST_EXPONENT
        t = jnp.maximum(parameters["t"], np.array(least, parameters["t"].dtype))
        fixed = jax.lax.stop_gradient(t)
        return {"structure": parabola(sizes, t - fixed, jnp.exp(fixed))}


@layer
class ParabolicDilationPool(ParabolicPool, WindowPool):
    """Layer form of `jaxpool.dilation_pool` with a parabola whose scale it learns.

    The structuring function is ``-sum(z**2) / (4*exp(t))``, for a parameter `t` of shape ``()`` or
    ``(features,)`` that starts at 0.
    """

    _function = staticmethod(jaxpool.dilation_pool)


@layer
class ParabolicErosionPool(ParabolicPool, WindowPool):
    """Layer form of `jaxpool.erosion_pool` with a parabola whose scale it learns.

    The structuring function is ``-sum(z**2) / (4*exp(t))``, for a parameter `t` of shape ``()`` or
    ``(features,)`` that starts at 0.
    """

    _function = staticmethod(jaxpool.erosion_pool)
