"""Layers that filter: blurs, wavelets and morphology."""

import dataclasses
from typing import Any, Literal

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints
from jaxpool._src.filters.blur import PaddingMode
from jaxpool._src.filters.wavelet import WaveletMode
from jaxpool._src.layers.fields import Pool, WindowPool, layer


@layer
class BlurPool(Pool):
    """Layer form of `jaxpool.blur_pool`; its fields are arguments of the function."""

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: Ints = 3
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.blur_pool)

    def __call__(
        self, x: jax.Array, *, kernel: Any = None, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; `kernel` and `where` as in the function."""
        return self._function(x, kernel=kernel, where=where, **self._options())


@layer
class MaxBlurPool(WindowPool):
    """Layer form of `jaxpool.max_blur_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    filter_size: Ints = 3
    padding_mode: PaddingMode = "reflect"

    _function = staticmethod(jaxpool.max_blur_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, kernel: Any = None
    ) -> jax.Array:
        """The pooled x; `where` and `kernel` as in the function."""
        return self._function(x, where=where, kernel=kernel, **self._options())


@layer
class GaussianPool(Pool):
    """Layer form of `jaxpool.gaussian_pool`; its fields are the function's arguments."""

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: Ints
    sigma: Any = 0.4
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.gaussian_pool)


@layer
class ContentAwareBlurPool(Pool):
    """Layer form of `jaxpool.content_aware_blur_pool`; its fields are arguments of the function."""

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: Ints = 3
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    channel_axis: int = -1
    empty_value: Any = 0

    _function = staticmethod(jaxpool.content_aware_blur_pool)

    def __call__(
        self, x: jax.Array, logits: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; `logits` and `where` as in the function."""
        return self._function(x, logits, where=where, **self._options())


@layer
class WaveletPool(Pool):
    """Layer form of `jaxpool.wavelet_pool`; its fields are the function's arguments."""

    wavelet: str = "haar"
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    mode: WaveletMode = "periodization"
    levels: int = 1
    bands: Literal["low", "all"] = "low"
    normalize: bool = False

    def __call__(self, x: jax.Array) -> jax.Array:
        """The pooled x."""
        return jaxpool.wavelet_pool(x, **self._options())


@layer
class StructuredPool(Pool):
    """Takes a structuring function with the call."""

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, structure: Any = None
    ) -> jax.Array:
        """The pooled x; `where` and `structure` as in the function."""
        return self._function(x, where=where, structure=structure, **self._options())


@layer
class DilationPool(StructuredPool, WindowPool):
    """Layer form of `jaxpool.dilation_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.dilation_pool)


@layer
class ErosionPool(StructuredPool, WindowPool):
    """Layer form of `jaxpool.erosion_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.erosion_pool)


@layer
class SameSizePool(Pool):
    """The fields that openings and closings share."""

    window_shape: Ints
    _: dataclasses.KW_ONLY
    dilation: Ints = 1
    axes: Ints | None = None
    empty_value: Any = 0


@layer
class OpeningPool(StructuredPool, SameSizePool):
    """Layer form of `jaxpool.opening_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.opening_pool)


@layer
class ClosingPool(StructuredPool, SameSizePool):
    """Layer form of `jaxpool.closing_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.closing_pool)
