"""Layers of a given output shape: adaptive, spectral, fractional, matrices; and unpooling."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints, Padding, Sizes
from jaxpool._src.layers.fields import Pool, layer
from jaxpool._src.layers.random import RandomPool
from jaxpool._src.pools.fractional_cells import Scheme


@layer
class MaxUnpool(Pool):
    """Layer form of `jaxpool.max_unpool`; its fields are the function's arguments."""

    window_shape: Ints
    strides: Ints | None = None
    padding: Padding = 0
    _: dataclasses.KW_ONLY
    output_shape: Ints | None = None
    axes: Ints | None = None
    mode: Literal["set", "add", "max"] = "set"

    def __call__(self, y: jax.Array, indices: jax.Array) -> jax.Array:
        """The unpooled y."""
        return jaxpool.max_unpool(y, indices, **self._options())


@layer
class AdaptivePool(Pool):
    """The fields that all adaptive functions share."""

    output_shape: Sizes
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0


@layer
class FractionalPool(RandomPool):
    """The fields that all fractional functions share; what is drawn with comes with the call."""

    window_shape: Ints | None = None
    _: dataclasses.KW_ONLY
    output_shape: Ints | None = None
    output_ratio: float | Sequence[float] | None = None
    boundaries: Any = None
    axes: Ints | None = None
    overlapping: bool = False
    scheme: Scheme = "torch"
    deterministic: bool = False
    empty_value: Any = 0

    def __call__(
        self,
        x: jax.Array,
        *,
        key: jax.Array | None = None,
        samples: jax.Array | None = None,
        where: jax.Array | None = None,
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        if samples is None and self.boundaries is None:
            key = self._drawn_with(key)
        return self._function(x, key=key, samples=samples, where=where, **self._options())


@layer
class AdaptiveAvgPool(AdaptivePool):
    """Layer form of `jaxpool.adaptive_avg_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.adaptive_avg_pool)


@layer
class AdaptiveMaxPool(AdaptivePool):
    """Layer form of `jaxpool.adaptive_max_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.adaptive_max_pool)


@layer
class AdaptiveMinPool(AdaptivePool):
    """Layer form of `jaxpool.adaptive_min_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.adaptive_min_pool)


@layer
class SpectralPool(Pool):
    """Layer form of `jaxpool.spectral_pool`; its fields are arguments of the function."""

    output_shape: Sizes
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    transform: Literal["fourier", "hartley", "cosine"] = "fourier"
    window: Literal["hamming"] | None = None

    def __call__(self, x: jax.Array) -> jax.Array:
        """The pooled x."""
        return jaxpool.spectral_pool(x, **self._options())


@layer
class SpectralDropoutPool(RandomPool):
    """Layer form of `jaxpool.spectral_dropout_pool`; its fields are arguments of the function."""

    output_shape: Sizes
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    minimum_shape: Ints = 1
    deterministic: bool = False

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """The pooled x; `key` as in the function."""
        key = self._drawn_with(key)
        return jaxpool.spectral_dropout_pool(x, key=key, **self._options())


@layer
class AdaptiveMaxPoolWithArgmax(AdaptivePool):
    """Layer form of `jaxpool.adaptive_max_pool_with_argmax`; its fields are its arguments."""

    _function = staticmethod(jaxpool.adaptive_max_pool_with_argmax)


@layer
class PyramidPool(Pool):
    """Layer form of `jaxpool.pyramid_pool`; its fields are the function's arguments."""

    levels: Sequence[Sizes]
    reduction: jaxpool.Reduction = jaxpool.Mean()
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.pyramid_pool)


@layer
class SpatialPyramidPool(Pool):
    """Layer form of `jaxpool.spatial_pyramid_pool`; its fields are the function's arguments."""

    levels: Sequence[Sizes]
    reduction: jaxpool.Reduction = jaxpool.Max()
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.spatial_pyramid_pool)


@layer
class Sppf(Pool):
    """Layer form of `jaxpool.sppf`; its fields are the function's arguments."""

    window_shape: Ints = (5, 5)
    _: dataclasses.KW_ONLY
    repeats: int = 3
    axes: Ints | None = None

    _function = staticmethod(jaxpool.sppf)


@layer
class FractionalMaxPool(FractionalPool):
    """Layer form of `jaxpool.fractional_max_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.fractional_max_pool)


@layer
class FractionalAvgPool(FractionalPool):
    """Layer form of `jaxpool.fractional_avg_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.fractional_avg_pool)


@layer
class FractionalMaxPoolWithArgmax(FractionalPool):
    """Layer form of `jaxpool.fractional_max_pool_with_argmax`; its fields are its arguments."""

    _function = staticmethod(jaxpool.fractional_max_pool_with_argmax)


@layer
class StripPool(Pool):
    """Layer form of `jaxpool.strip_pool`; its fields are the function's arguments."""

    axis: int
    reduction: jaxpool.Reduction = jaxpool.Mean()
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.strip_pool)


@layer
class RegionalMaxPool(Pool):
    """Layer form of `jaxpool.regional_max_pool`; its fields are the function's arguments."""

    levels: int = 3
    _: dataclasses.KW_ONLY
    axes: Sequence[int] = (-3, -2)
    channel_axis: int = -1
    epsilon: float = 1e-6

    _function = staticmethod(jaxpool.regional_max_pool)


@layer
class MatrixPool(Pool):
    """Layer form of `jaxpool.matrix_pool`; its fields are arguments of the function."""

    axes: Ints
    semiring: Literal["sum", "max"] = "sum"

    def __call__(self, x: jax.Array, matrices: Any) -> jax.Array:
        """The pooled x."""
        return jaxpool.matrix_pool(x, matrices, self.axes, self.semiring)


@layer
class ChannelPool(Pool):
    """Layer form of `jaxpool.channel_pool`; its fields are the function's arguments."""

    size: int
    reduction: jaxpool.Reduction = jaxpool.Mean()
    axis: int = -1
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.channel_pool)


@layer
class Maxout(Pool):
    """Layer form of `jaxpool.maxout`; its fields are the function's arguments."""

    size: int
    axis: int = -1
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.maxout)
