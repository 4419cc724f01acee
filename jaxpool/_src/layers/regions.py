"""Layers of boxes."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints
from jaxpool._src.layers.fields import Pool, layer


@layer
class RegionPool(Pool):
    """The fields that functions of boxes in one map share."""

    _function: ClassVar[Callable[..., Any]]
    _in_space: ClassVar[bool] = False  # whether boxes may be in space, with three numbers of cells

    output_shape: Ints
    _: dataclasses.KW_ONLY
    spatial_scale: float = 1.0

    def __call__(
        self, x: jax.Array, boxes: jax.Array, *, batch_indices: jax.Array | None = None
    ) -> jax.Array:
        """The pooled boxes of x, of shape (K, P, Q, C)."""
        return self._function(x, boxes, batch_indices=batch_indices, **self._options())


@layer
class RoiAlign(RegionPool):
    """Layer form of `jaxpool.roi_align`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2
    aligned: bool = True
    reduction: Literal["mean", "max"] = "mean"
    max_sampling_ratio: int | None = None

    _function, _in_space = staticmethod(jaxpool.roi_align), True


@layer
class RoiMaxPool(RegionPool):
    """Layer form of `jaxpool.roi_max_pool`; its fields are the function's arguments."""

    _function, _in_space = staticmethod(jaxpool.roi_max_pool), True


@layer
class PreciseRoiPool(RegionPool):
    """Layer form of `jaxpool.precise_roi_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.precise_roi_pool)


@layer
class PositionSensitiveRoiAlign(RegionPool):
    """Layer form of `jaxpool.position_sensitive_roi_align`; fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2
    max_sampling_ratio: int | None = None

    _function = staticmethod(jaxpool.position_sensitive_roi_align)


@layer
class PositionSensitiveRoiPool(RegionPool):
    """Layer form of `jaxpool.position_sensitive_roi_pool`, with its arguments as fields."""

    _function = staticmethod(jaxpool.position_sensitive_roi_pool)


@layer
class DeformableRoiPool(RegionPool):
    """Layer form of `jaxpool.deformable_roi_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2
    gamma: float = 0.1
    max_sampling_ratio: int | None = None

    def __call__(
        self,
        x: jax.Array,
        boxes: jax.Array,
        offsets: jax.Array,
        *,
        batch_indices: jax.Array | None = None,
    ) -> jax.Array:
        """The pooled boxes of x, each cell moved by its offset, of shape (K, P, Q, C)."""
        options = {"batch_indices": batch_indices, **self._options()}
        return jaxpool.deformable_roi_pool(x, boxes, offsets, **options)


@layer
class MultiScaleRoiAlign(Pool):
    """Layer form of `jaxpool.multi_scale_roi_align`; its fields are the function's arguments."""

    output_shape: Ints
    _: dataclasses.KW_ONLY
    spatial_scales: Sequence[float]
    sampling_ratio: int = 2
    aligned: bool = True
    canonical_size: float = 224
    canonical_level: int = 4
    max_sampling_ratio: int | None = None

    def __call__(
        self,
        features: Sequence[jax.Array],
        boxes: jax.Array,
        *,
        batch_indices: jax.Array | None = None,
    ) -> jax.Array:
        """The pooled boxes of the pyramid, of shape (K, P, Q, C)."""
        options = {"batch_indices": batch_indices, **self._options()}
        return jaxpool.multi_scale_roi_align(features, boxes, **options)


@layer
class CropAndResize(Pool):
    """Layer form of `jaxpool.crop_and_resize`; its fields are the function's arguments."""

    crop_size: Ints
    _: dataclasses.KW_ONLY
    extrapolation_value: float = 0

    _function = staticmethod(jaxpool.crop_and_resize)

    def __call__(
        self, x: jax.Array, boxes: jax.Array, *, batch_indices: jax.Array | None = None
    ) -> jax.Array:
        """The boxes of x, cut out and resized, of shape (K, P, Q, C)."""
        return self._function(x, boxes, batch_indices=batch_indices, **self._options())
