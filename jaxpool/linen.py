"""Flax Linen layers: one for each named function, with the function's arguments as fields.

They have no variables, and a call is the function; only those that learn, nearly all of them named
`Learned`, have parameters. They stand anywhere a Linen module may: in ``nn.Sequential``,
``nn.compact`` methods, and under ``nn.vmap``, ``nn.jit`` and ``nn.remat``.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.core.arguments import (
    Ints,
    Padding,
    Sizes,
    axis_numbers,
    fail,
    integer,
    resolved_axes,
    window_axes,
)
from jaxpool._src.filters.blur import PaddingMode, binomial_kernel
from jaxpool._src.lowering.max import Implementation
from jaxpool._src.pools.fractional_cells import Scheme
from jaxpool._src.reductions.detail import Weights
from jaxpool._src.reductions.order import Interpolation, ordinal_logits, ordinal_weights
from jaxpool._src.reductions.random import Per
from jaxpool._src.reductions.soft import importance_logits

try:
    from flax import linen as nn
except ImportError as error:
    raise ImportError('jaxpool.linen needs Flax. Write pip install "jaxpool[flax]".') from error


class _Pool(nn.Module):
    """Calls `_function` with the fields."""

    _function: ClassVar[Callable[..., Any]]
    _own: ClassVar[tuple[str, ...]] = ()  # fields that are no arguments of the function

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        return self._function(x, where=where, **self._options())

    def _options(self) -> dict[str, Any]:
        """The fields, without Linen's own."""
        names = [field.name for field in dataclasses.fields(self)]
        others = ("parent", "name", *self._own)
        return {n: getattr(self, n) for n in names if n not in others}


class _WindowPool(_Pool):
    """The fields that all window functions share."""

    window_shape: Ints
    strides: Ints | None = None
    padding: Padding = "VALID"
    _: dataclasses.KW_ONLY
    dilation: Ints = 1
    ceil_mode: bool = False
    axes: Ints | None = None
    empty_value: Any = 0


class _GlobalPool(_Pool):
    """The fields that all global functions share."""

    axes: Ints
    _: dataclasses.KW_ONLY
    keepdims: bool = False
    empty_value: Any = 0


class MaxPool(_WindowPool):
    """Layer form of `jaxpool.max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.MaxPool((2, 2)).apply({}, x)[..., 0]
      Array([[ 6.,  8.],
             [14., 16.]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    implementation: Implementation | None = None

    _function = staticmethod(jaxpool.max_pool)


class MinPool(_WindowPool):
    """Layer form of `jaxpool.min_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.MinPool((2, 2)).apply({}, x)[..., 0]
      Array([[ 1.,  3.],
             [ 9., 11.]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    implementation: Implementation | None = None

    _function = staticmethod(jaxpool.min_pool)


class SumPool(_WindowPool):
    """Layer form of `jaxpool.sum_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.SumPool((2, 2)).apply({}, x)[..., 0]
      Array([[14., 22.],
             [46., 54.]], dtype=float32)
    """

    _function = staticmethod(jaxpool.sum_pool)


class AvgPool(_WindowPool):
    """Layer form of `jaxpool.avg_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.AvgPool((2, 2)).apply({}, x)[..., 0]
      Array([[ 3.5,  5.5],
             [11.5, 13.5]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True
    divisor_override: float | None = None

    _function = staticmethod(jaxpool.avg_pool)


class LpPool(_WindowPool):
    """Layer form of `jaxpool.lp_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., -4., 6., 8.])
      >>> jaxpool.linen.LpPool(2, axes=0).apply({}, x)
      Array([ 5., 10.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 2

    _function = staticmethod(jaxpool.lp_pool)


class GlobalMaxPool(_GlobalPool):
    """Layer form of `jaxpool.global_max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.GlobalMaxPool(axes=(0, 1)).apply({}, x)
      Array([16.], dtype=float32)
    """

    _function = staticmethod(jaxpool.global_max_pool)


class GlobalMinPool(_GlobalPool):
    """Layer form of `jaxpool.global_min_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.GlobalMinPool(axes=(0, 1)).apply({}, x)
      Array([1.], dtype=float32)
    """

    _function = staticmethod(jaxpool.global_min_pool)


class GlobalSumPool(_GlobalPool):
    """Layer form of `jaxpool.global_sum_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.GlobalSumPool(axes=(0, 1)).apply({}, x)
      Array([136.], dtype=float32)
    """

    _function = staticmethod(jaxpool.global_sum_pool)


class GlobalAvgPool(_GlobalPool):
    """Layer form of `jaxpool.global_avg_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(1., 17.).reshape(4, 4, 1)
      >>> jaxpool.linen.GlobalAvgPool(axes=(0, 1)).apply({}, x)
      Array([8.5], dtype=float32)
    """

    _function = staticmethod(jaxpool.global_avg_pool)


class GlobalLpPool(_GlobalPool):
    """Layer form of `jaxpool.global_lp_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., -4.])
      >>> jaxpool.linen.GlobalLpPool(axes=0).apply({}, x)
      Array(5., dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 2

    _function = staticmethod(jaxpool.global_lp_pool)


class MaxPoolWithArgmax(_WindowPool):
    """Layer form of `jaxpool.max_pool_with_argmax`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.linen.MaxPoolWithArgmax(2, axes=0).apply({}, x)
      (Array([3., 5.], dtype=float32), Array([0, 3], dtype=int32))
    """

    _function = staticmethod(jaxpool.max_pool_with_argmax)


class MinPoolWithArgmin(_WindowPool):
    """Layer form of `jaxpool.min_pool_with_argmin`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.linen.MinPoolWithArgmin(2, axes=0).apply({}, x)
      (Array([1., 2.], dtype=float32), Array([1, 2], dtype=int32))
    """

    _function = staticmethod(jaxpool.min_pool_with_argmin)


class GlobalMaxPoolWithArgmax(_GlobalPool):
    """Layer form of `jaxpool.global_max_pool_with_argmax`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.linen.GlobalMaxPoolWithArgmax(axes=0).apply({}, x)
      (Array(5., dtype=float32), Array(3, dtype=int32))
    """

    _function = staticmethod(jaxpool.global_max_pool_with_argmax)


class GlobalMinPoolWithArgmin(_GlobalPool):
    """Layer form of `jaxpool.global_min_pool_with_argmin`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.linen.GlobalMinPoolWithArgmin(axes=0).apply({}, x)
      (Array(1., dtype=float32), Array(1, dtype=int32))
    """

    _function = staticmethod(jaxpool.global_min_pool_with_argmin)


class MaxUnpool(nn.Module):
    """Layer form of `jaxpool.max_unpool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> y, indices = jaxpool.max_pool_with_argmax(x, 2, axes=0)
      >>> jaxpool.linen.MaxUnpool(2, axes=0).apply({}, y, indices)
      Array([3., 0., 0., 5.], dtype=float32)
    """

    window_shape: Ints
    strides: Ints | None = None
    padding: Padding = 0
    _: dataclasses.KW_ONLY
    output_shape: Ints | None = None
    axes: Ints | None = None
    mode: Literal["set", "add", "max"] = "set"

    def __call__(self, y: jax.Array, indices: jax.Array) -> jax.Array:
        """The unpooled y."""
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("parent", "name")]
        return jaxpool.max_unpool(y, indices, **{name: getattr(self, name) for name in names})


class _RegionPool(nn.Module):
    """The fields that functions of boxes in one map share."""

    _function: ClassVar[Callable[..., Any]]

    output_shape: Ints
    _: dataclasses.KW_ONLY
    spatial_scale: float = 1.0

    def __call__(self, x: jax.Array, boxes: jax.Array) -> jax.Array:
        """The pooled boxes of x, of shape (K, P, Q, C)."""
        return self._function(x, boxes, **_fields(self))


class RoiAlign(_RegionPool):
    """Layer form of `jaxpool.roi_align`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> layer = jaxpool.linen.RoiAlign((2, 2), sampling_ratio=1)
      >>> layer.apply({}, x, boxes)[0, ..., 0]
      Array([[ 3.,  5.],
             [13., 15.]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2
    aligned: bool = True
    reduction: Literal["mean", "max"] = "mean"

    _function = staticmethod(jaxpool.roi_align)


class RoiMaxPool(_RegionPool):
    """Layer form of `jaxpool.roi_max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 2.5, 2.5]])
      >>> layer = jaxpool.linen.RoiMaxPool((2, 2))
      >>> layer.apply({}, x, boxes)[0, ..., 0]
      Array([[ 6.,  8.],
             [16., 18.]], dtype=float32)
    """

    _function = staticmethod(jaxpool.roi_max_pool)


class PreciseRoiPool(_RegionPool):
    """Layer form of `jaxpool.precise_roi_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> layer = jaxpool.linen.PreciseRoiPool((2, 2))
      >>> layer.apply({}, x, boxes)[0, ..., 0]
      Array([[ 6.,  8.],
             [16., 18.]], dtype=float32)
    """

    _function = staticmethod(jaxpool.precise_roi_pool)


class PositionSensitiveRoiAlign(_RegionPool):
    """Layer form of `jaxpool.position_sensitive_roi_align`; fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.broadcast_to(jnp.arange(4.), (5, 5, 4))
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> layer = jaxpool.linen.PositionSensitiveRoiAlign((2, 2))
      >>> layer.apply({}, x, boxes)[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2

    _function = staticmethod(jaxpool.position_sensitive_roi_align)


class PositionSensitiveRoiPool(_RegionPool):
    """Layer form of `jaxpool.position_sensitive_roi_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.broadcast_to(jnp.arange(4.), (5, 5, 4))
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> layer = jaxpool.linen.PositionSensitiveRoiPool((2, 2))
      >>> layer.apply({}, x, boxes)[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)
    """

    _function = staticmethod(jaxpool.position_sensitive_roi_pool)


class DeformableRoiPool(_RegionPool):
    """Layer form of `jaxpool.deformable_roi_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> right = jnp.broadcast_to(jnp.array([1., 0.]), (1, 2, 2, 2))
      >>> layer = jaxpool.linen.DeformableRoiPool((2, 2), gamma=0.25)
      >>> layer.apply({}, x, boxes, right)[0, ..., 0]
      Array([[ 4.,  6.],
             [14., 16.]], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sampling_ratio: int = 2
    gamma: float = 0.1

    def __call__(self, x: jax.Array, boxes: jax.Array, offsets: jax.Array) -> jax.Array:
        """The pooled boxes of x, each cell moved by its offset, of shape (K, P, Q, C)."""
        return jaxpool.deformable_roi_pool(x, boxes, offsets, **_fields(self))


class MultiScaleRoiAlign(nn.Module):
    """Layer form of `jaxpool.multi_scale_roi_align`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> features = [jnp.full((64, 64, 1), 2.), jnp.full((32, 32, 1), 3.)]
      >>> boxes = jnp.array([[8., 8., 40., 40.], [0., 0., 240., 240.]])
      >>> layer = jaxpool.linen.MultiScaleRoiAlign((1, 1), spatial_scales=(1 / 8, 1 / 16))
      >>> layer.apply({}, features, boxes)[:, 0, 0, 0]
      Array([2., 3.], dtype=float32)
    """

    output_shape: Ints
    _: dataclasses.KW_ONLY
    spatial_scales: Sequence[float]
    sampling_ratio: int = 2
    aligned: bool = True
    canonical_size: float = 224
    canonical_level: int = 4

    def __call__(self, features: Sequence[jax.Array], boxes: jax.Array) -> jax.Array:
        """The pooled boxes of the pyramid, of shape (K, P, Q, C)."""
        return jaxpool.multi_scale_roi_align(features, boxes, **_fields(self))


def _fields(layer: nn.Module) -> dict[str, Any]:
    """The function's arguments: the fields that are not Linen's own."""
    names = [field.name for field in dataclasses.fields(layer)]
    return {name: getattr(layer, name) for name in names if name not in ("parent", "name")}


class _AdaptivePool(_Pool):
    """The fields that all adaptive functions share."""

    output_shape: Sizes
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0


class _FractionalPool(_Pool):
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
        return self._function(x, key=key, samples=samples, where=where, **self._options())


class AdaptiveAvgPool(_AdaptivePool):
    """Layer form of `jaxpool.adaptive_avg_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(5.)
      >>> jaxpool.linen.AdaptiveAvgPool(3, axes=0).apply({}, x)
      Array([0.5, 2. , 3.5], dtype=float32)
    """

    _function = staticmethod(jaxpool.adaptive_avg_pool)


class AdaptiveMaxPool(_AdaptivePool):
    """Layer form of `jaxpool.adaptive_max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(5.)
      >>> jaxpool.linen.AdaptiveMaxPool(3, axes=0).apply({}, x)
      Array([1., 3., 4.], dtype=float32)
    """

    _function = staticmethod(jaxpool.adaptive_max_pool)


class AdaptiveMinPool(_AdaptivePool):
    """Layer form of `jaxpool.adaptive_min_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(5.)
      >>> jaxpool.linen.AdaptiveMinPool(3, axes=0).apply({}, x)
      Array([0., 1., 3.], dtype=float32)
    """

    _function = staticmethod(jaxpool.adaptive_min_pool)


class AdaptiveMaxPoolWithArgmax(_AdaptivePool):
    """Layer form of `jaxpool.adaptive_max_pool_with_argmax`; its fields are its arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5., 4.])
      >>> jaxpool.linen.AdaptiveMaxPoolWithArgmax(3, axes=0).apply({}, x)
      (Array([3., 5., 5.], dtype=float32), Array([0, 3, 3], dtype=int32))
    """

    _function = staticmethod(jaxpool.adaptive_max_pool_with_argmax)


class PyramidPool(_Pool):
    """Layer form of `jaxpool.pyramid_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.zeros((8, 60, 60, 512))
      >>> [level.shape for level in jaxpool.linen.PyramidPool((1, 2, 3, 6)).apply({}, x)]
      [(8, 1, 1, 512), (8, 2, 2, 512), (8, 3, 3, 512), (8, 6, 6, 512)]
    """

    levels: Sequence[Sizes]
    reduction: jaxpool.Reduction = jaxpool.Mean()
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.pyramid_pool)


class SpatialPyramidPool(_Pool):
    """Layer form of `jaxpool.spatial_pyramid_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(16.).reshape(4, 4, 1)
      >>> jaxpool.linen.SpatialPyramidPool((1, 2)).apply({}, x)
      Array([15.,  5.,  7., 13., 15.], dtype=float32)
    """

    levels: Sequence[Sizes]
    reduction: jaxpool.Reduction = jaxpool.Max()
    _: dataclasses.KW_ONLY
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.spatial_pyramid_pool)


class Sppf(_Pool):
    """Layer form of `jaxpool.sppf`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.zeros((8, 20, 20, 256))
      >>> jaxpool.linen.Sppf().apply({}, x).shape
      (8, 20, 20, 1024)
    """

    window_shape: Ints = (5, 5)
    _: dataclasses.KW_ONLY
    repeats: int = 3
    axes: Ints | None = None

    _function = staticmethod(jaxpool.sppf)


class FractionalMaxPool(_FractionalPool):
    """Layer form of `jaxpool.fractional_max_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(9.)
      >>> layer = jaxpool.linen.FractionalMaxPool(2, output_shape=5, axes=0)
      >>> layer.apply({}, x, key=jax.random.key(0))
      Array([1., 3., 5., 6., 8.], dtype=float32)
    """

    _function = staticmethod(jaxpool.fractional_max_pool)


class FractionalAvgPool(_FractionalPool):
    """Layer form of `jaxpool.fractional_avg_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(9.)
      >>> layer = jaxpool.linen.FractionalAvgPool(2, output_shape=5, axes=0)
      >>> layer.apply({}, x, key=jax.random.key(0))
      Array([0.5, 2.5, 4.5, 5.5, 7.5], dtype=float32)
    """

    _function = staticmethod(jaxpool.fractional_avg_pool)


class FractionalMaxPoolWithArgmax(_FractionalPool):
    """Layer form of `jaxpool.fractional_max_pool_with_argmax`; its fields are its arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 1., 2., 5., 4.])
      >>> layer = jaxpool.linen.FractionalMaxPoolWithArgmax(2, output_shape=3, axes=0)
      >>> layer.apply({}, x, samples=jnp.array([0.5]))
      (Array([3., 5., 5.], dtype=float32), Array([0, 3, 3], dtype=int32))
    """

    _function = staticmethod(jaxpool.fractional_max_pool_with_argmax)


class StripPool(_Pool):
    """Layer form of `jaxpool.strip_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(6.).reshape(2, 3)
      >>> jaxpool.linen.StripPool(1).apply({}, x)
      Array([[1.],
             [4.]], dtype=float32)
    """

    axis: int
    reduction: jaxpool.Reduction = jaxpool.Mean()
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.strip_pool)


class RegionalMaxPool(_Pool):
    """Layer form of `jaxpool.regional_max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.arange(32.).reshape(4, 4, 2)
      >>> jaxpool.linen.RegionalMaxPool(1).apply({}, x)
      Array([1.3908428, 1.4372042], dtype=float32)
    """

    levels: int = 3
    _: dataclasses.KW_ONLY
    axes: Sequence[int] = (-3, -2)
    channel_axis: int = -1
    epsilon: float = 1e-6

    _function = staticmethod(jaxpool.regional_max_pool)


class MatrixPool(_Pool):
    """Layer form of `jaxpool.matrix_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 2., 4., 8.])
      >>> halves = jnp.array([[0.5, 0.5, 0., 0.], [0., 0., 0.5, 0.5]])
      >>> jaxpool.linen.MatrixPool(axes=0).apply({}, x, halves)
      Array([1.5, 6. ], dtype=float32)
    """

    axes: Ints
    semiring: Literal["sum", "max"] = "sum"

    def __call__(self, x: jax.Array, matrices: Any) -> jax.Array:
        """The pooled x."""
        return jaxpool.matrix_pool(x, matrices, self.axes, self.semiring)


class BlurPool(_Pool):
    """Layer form of `jaxpool.blur_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 0., 4., 4., 4.])
      >>> jaxpool.linen.BlurPool(2, axes=0).apply({}, x)
      Array([0., 1., 4.], dtype=float32)
    """

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


class MaxBlurPool(_WindowPool):
    """Layer form of `jaxpool.max_blur_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 8., 0., 0., 0.])
      >>> jaxpool.linen.MaxBlurPool(2, axes=0).apply({}, x)
      Array([4., 6., 0.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    filter_size: Ints = 3
    padding_mode: PaddingMode = "reflect"

    _function = staticmethod(jaxpool.max_blur_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, kernel: Any = None
    ) -> jax.Array:
        """The pooled x; `where` and `kernel` as in the function."""
        return self._function(x, where=where, kernel=kernel, **self._options())


class GaussianPool(_Pool):
    """Layer form of `jaxpool.gaussian_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 4., 4., 0., 0.])
      >>> jaxpool.linen.GaussianPool(2, filter_size=5, sigma=0.5, axes=0).apply({}, x).round(3)
      Array([0.43600002, 2.5870001 , 1.195     ], dtype=float32)
    """

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: Ints
    sigma: Any = 0.4
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.gaussian_pool)


class ContentAwareBlurPool(_Pool):
    """Layer form of `jaxpool.content_aware_blur_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([[0.], [0.], [0.], [6.], [6.], [6.]])
      >>> jaxpool.linen.ContentAwareBlurPool((2,)).apply({}, x, jnp.zeros((3, 3)))[:, 0]
      Array([0., 2., 6.], dtype=float32)
    """

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


class ChannelPool(_Pool):
    """Layer form of `jaxpool.channel_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> jaxpool.linen.ChannelPool(2).apply({}, jnp.array([[1., 5., 2., 4.]]))
      Array([[3., 3.]], dtype=float32)
    """

    size: int
    reduction: jaxpool.Reduction = jaxpool.Mean()
    axis: int = -1
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.channel_pool)


class Maxout(_Pool):
    """Layer form of `jaxpool.maxout`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> jaxpool.linen.Maxout(2).apply({}, jnp.array([[1., 5., 2., 4.]]))
      Array([[5., 4.]], dtype=float32)
    """

    size: int
    axis: int = -1
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.maxout)


class _StructuredPool(_Pool):
    """Takes a structuring function with the call."""

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, structure: Any = None
    ) -> jax.Array:
        """The pooled x; `where` and `structure` as in the function."""
        return self._function(x, where=where, structure=structure, **self._options())


class DilationPool(_StructuredPool, _WindowPool):
    """Layer form of `jaxpool.dilation_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 5., 0., 0.])
      >>> hat = jnp.array([-1., 0., -1.])
      >>> jaxpool.linen.DilationPool(3, 1, "SAME", axes=0).apply({}, x, structure=hat)
      Array([0., 4., 5., 4., 0.], dtype=float32)
    """

    _function = staticmethod(jaxpool.dilation_pool)


class ErosionPool(_StructuredPool, _WindowPool):
    """Layer form of `jaxpool.erosion_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([9., 9., 5., 9., 9.])
      >>> hat = jnp.array([-1., 0., -1.])
      >>> jaxpool.linen.ErosionPool(3, 1, "SAME", axes=0).apply({}, x, structure=hat)
      Array([9., 6., 5., 6., 9.], dtype=float32)
    """

    _function = staticmethod(jaxpool.erosion_pool)


class _SameSizePool(_Pool):
    """The fields that openings and closings share."""

    window_shape: Ints
    _: dataclasses.KW_ONLY
    dilation: Ints = 1
    axes: Ints | None = None
    empty_value: Any = 0


class OpeningPool(_StructuredPool, _SameSizePool):
    """Layer form of `jaxpool.opening_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 7., 0., 5., 5., 5., 0.])
      >>> jaxpool.linen.OpeningPool(3, axes=0).apply({}, x)
      Array([0., 0., 0., 5., 5., 5., 0.], dtype=float32)
    """

    _function = staticmethod(jaxpool.opening_pool)


class ClosingPool(_StructuredPool, _SameSizePool):
    """Layer form of `jaxpool.closing_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([9., 2., 9., 4., 4., 4., 9.])
      >>> jaxpool.linen.ClosingPool(3, axes=0).apply({}, x)
      Array([9., 9., 9., 4., 4., 4., 9.], dtype=float32)
    """

    _function = staticmethod(jaxpool.closing_pool)


class _LearnedPool(_Pool):
    """Calls `_function` with the fields, and with what it makes of parameters of its own.

    A parameter is one for all channels or, if `features` says how many these are, has an entry for
    each of them, along its last axis.
    """

    _: dataclasses.KW_ONLY
    features: int | None = None
    channel_axis: int = -1
    param_dtype: Any = jnp.float32

    _own = ("features", "channel_axis", "param_dtype")
    _filters: ClassVar[tuple[str, ...]] = ()  # parameters that lie on windows as x does

    def _first(self) -> dict[str, tuple[tuple[int, ...], Callable[..., jax.Array]]]:
        """For each parameter its shape, without channels, and its initializer."""
        raise NotImplementedError

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        """What the function is given, of parameters that broadcast along the axis of channels."""
        return parameters

    def _laid(self, name: str, parameter: jax.Array, x: jax.Array) -> jax.Array:
        lay = _along_windows if name in self._filters else _along_channels
        return lay(parameter, self, x)

    @property
    def _channels(self) -> tuple[int, ...]:
        """The axis that a parameter has for channels, if it has one."""
        return () if self.features is None else (self.features,)

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        parameters = {}
        for name, (shape, start) in self._first().items():
            parameter = self.param(name, start, shape + self._channels, self.param_dtype)
            parameters[name] = self._laid(name, parameter, x)
        return self._function(x, where=where, **self._arguments(parameters), **self._options())


class LearnedBlurPool(_LearnedPool):
    """Layer form of `jaxpool.blur_pool` that learns its kernel, one for all axes.

    The kernel is the softmax of the parameter `kernel`, of shape ``(filter_size,)`` or
    ``(filter_size, features)``: it is positive and its sum is 1. It starts as the binomial one.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 0., 4., 4., 4.])
      >>> layer = jaxpool.linen.LearnedBlurPool(2, axes=0)
      >>> layer.init_with_output(jax.random.key(0), x)[0].round(3)
      Array([0., 1., 4.], dtype=float32)
    """

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: int = 3
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.blur_pool)

    def _first(self) -> dict[str, Any]:
        start = _same(np.log(binomial_kernel(self.filter_size)))
        return {"kernel": ((self.filter_size,), start)}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"kernel": jax.nn.softmax(parameters["kernel"], 0)}


class LearnedGaussianPool(_LearnedPool):
    """Layer form of `jaxpool.gaussian_pool` that learns its width, as LEAF does.

    The parameter `sigma`, of shape ``()`` or ``(features,)``, starts at 0.4 and is clipped to
    between ``2 / filter_size`` and 1/2, outside of which it has no gradient.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedGaussianPool((160,), filter_size=401, features=40)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 16000, 40)))[0].shape
      (8, 100, 40)
    """

    strides: Ints
    _: dataclasses.KW_ONLY
    filter_size: int
    padding_mode: PaddingMode = "reflect"
    axes: Ints | None = None
    empty_value: Any = 0

    _function = staticmethod(jaxpool.gaussian_pool)

    def _first(self) -> dict[str, Any]:
        return {"sigma": ((), _same(0.4))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        least = min(2 / self.filter_size, 0.5)
        return {"sigma": jnp.clip(parameters["sigma"], least, 0.5)}


class PredictedBlurPool(nn.Module):
    """Layer form of `jaxpool.content_aware_blur_pool` that predicts its kernels from x.

    For images of shape ``[..., *spatial, features]``, channels last. The logits, for each of
    `groups` of channels one for each element of the filter, are a convolution with a window of that
    size, `logits`. The paper normalises them over the batch before the softmax. Here the
    convolution has a bias and starts so that they have the variance of x.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.PredictedBlurPool((2, 2), features=16, groups=4)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 32, 32, 16)))[0].shape
      (8, 16, 16, 16)

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

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function, but that logits are of all of x."""
        sizes, count = _predicting(self)
        logits = nn.Conv(
            count,
            sizes,
            self.strides,
            "VALID",
            dtype=np.promote_types(self.param_dtype, np.float32),
            param_dtype=self.param_dtype,
            name="logits",
        )
        return jaxpool.content_aware_blur_pool(
            x,
            logits(_padded_for_logits(x, self)),
            self.strides,
            filter_size=sizes,
            padding_mode=self.padding_mode,
            where=where,
            empty_value=self.empty_value,
        )


class _LearnedStructurePool(_LearnedPool):
    """The parameter `structure` has the window's shape, and starts at 0."""

    def _first(self) -> dict[str, Any]:
        return {"structure": (_window_sizes(self), _same(0))}


class LearnedDilationPool(_LearnedStructurePool, _WindowPool):
    """Layer form of `jaxpool.dilation_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0, which is a maximum.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedDilationPool((3, 3), 2, "SAME", features=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 9, 9, 2)))[0].shape
      (8, 5, 5, 2)
    """

    _function = staticmethod(jaxpool.dilation_pool)


class LearnedErosionPool(_LearnedStructurePool, _WindowPool):
    """Layer form of `jaxpool.erosion_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0, which is a minimum.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedErosionPool((3, 3), 2, "SAME", features=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 9, 9, 2)))[0].shape
      (8, 5, 5, 2)
    """

    _function = staticmethod(jaxpool.erosion_pool)


class LearnedOpeningPool(_LearnedStructurePool, _SameSizePool):
    """Layer form of `jaxpool.opening_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedOpeningPool((3, 3), features=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 9, 9, 2)))[0].shape
      (8, 9, 9, 2)
    """

    _function = staticmethod(jaxpool.opening_pool)


class LearnedClosingPool(_LearnedStructurePool, _SameSizePool):
    """Layer form of `jaxpool.closing_pool` that learns its structuring function.

    The parameter `structure`, of shape ``window_shape`` or ``(*window_shape, features)``, starts at
    0.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedClosingPool((3, 3), features=2)
      >>> layer.init_with_output(jax.random.key(0), jnp.ones((8, 9, 9, 2)))[0].shape
      (8, 9, 9, 2)
    """

    _function = staticmethod(jaxpool.closing_pool)


class _ParabolicPool(_LearnedPool):
    """The parameter `t` is the logarithm of the parabola's scale, and starts at 0."""

    def _first(self) -> dict[str, Any]:
        return {"t": ((), _same(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        scale = jnp.exp(parameters["t"])
        return {"structure": jaxpool.parabolic_structure(_window_sizes(self), scale)}


class ParabolicDilationPool(_ParabolicPool, _WindowPool):
    """Layer form of `jaxpool.dilation_pool` with a parabola whose scale it learns.

    The structuring function is ``-sum(z**2) / (4*exp(t))``, for a parameter `t` of shape ``()`` or
    ``(features,)`` that starts at 0.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 0., 9., 0., 0.])
      >>> layer = jaxpool.linen.ParabolicDilationPool((5,), 1, "SAME", axes=0)
      >>> layer.init_with_output(jax.random.key(0), x)[0]
      Array([0.  , 8.  , 8.75, 9.  , 8.75, 8.  ], dtype=float32)
    """

    _function = staticmethod(jaxpool.dilation_pool)


class ParabolicErosionPool(_ParabolicPool, _WindowPool):
    """Layer form of `jaxpool.erosion_pool` with a parabola whose scale it learns.

    The structuring function is ``-sum(z**2) / (4*exp(t))``, for a parameter `t` of shape ``()`` or
    ``(features,)`` that starts at 0.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([9., 9., 9., 0., 9., 9.])
      >>> layer = jaxpool.linen.ParabolicErosionPool((5,), 1, "SAME", axes=0)
      >>> layer.init_with_output(jax.random.key(0), x)[0]
      Array([9.  , 1.  , 0.25, 0.  , 0.25, 1.  ], dtype=float32)
    """

    _function = staticmethod(jaxpool.erosion_pool)


def _window_sizes(layer: Any) -> tuple[int, ...]:
    """The window's shape, with an entry for each axis."""
    return window_axes(type(layer).__name__, layer.window_shape, layer.axes)[0]


def _along_channels(parameter: jax.Array, layer: Any, x: jax.Array) -> jax.Array:
    """A parameter whose last axis is of channels, if one is, to broadcast against the result."""
    if not layer._channels:
        return parameter
    dropped = ()
    if isinstance(layer, _GlobalPool) and not layer.keepdims:
        op = type(layer).__name__
        dropped = resolved_axes(op, axis_numbers(op, layer.axes), x.shape)
    after = [a for a in range(_channel_of(layer, x, dropped) + 1, x.ndim) if a not in dropped]
    return parameter.reshape(*parameter.shape, *[1] * len(after))


def _along_windows(parameter: jax.Array, layer: Any, x: jax.Array) -> jax.Array:
    """Filters, whose last axis is of channels, if one is, with these and windows as x has them."""
    if not layer._channels:
        return parameter
    pooled = _pooled_axes(layer, x)
    own = (*pooled, _channel_of(layer, x, pooled))
    lead = parameter.ndim - len(own)
    sizes = dict(zip(own, parameter.shape[lead:], strict=True))
    order = sorted(range(len(own)), key=lambda i: own[i])
    parameter = parameter.transpose(*range(lead), *(lead + i for i in order))
    return parameter.reshape(*parameter.shape[:lead], *(sizes.get(a, 1) for a in range(x.ndim)))


def _pooled_axes(layer: Any, x: jax.Array) -> tuple[int, ...]:
    """The axes of windows, counted from the front."""
    op = type(layer).__name__
    return resolved_axes(op, window_axes(op, layer.window_shape, layer.axes)[1], x.shape)


def _channel_of(layer: Any, x: jax.Array, pooled: tuple[int, ...]) -> int:
    """The axis of channels, counted from the front."""
    channel, ndim = layer.channel_axis, x.ndim
    if not -ndim <= channel < ndim or channel % ndim in pooled:
        allowed = "be an axis of x that is not pooled"
        fail(type(layer).__name__, "channel_axis", allowed, channel, shape=x.shape)
    return channel % ndim


def _same(value: Any) -> Callable[..., jax.Array]:
    """An initializer with `value`, for each channel if there are some."""

    def start(_: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
        first = np.asarray(value)
        first = first.reshape(first.shape + (1,) * (len(shape) - first.ndim))
        return jnp.broadcast_to(jnp.asarray(first, dtype), shape)

    return start


def _noisy_mean(window: tuple[int, ...]) -> Callable[..., jax.Array]:
    """An initializer of filters that are a mean and normal noise of the same size."""
    size = math.prod(window)
    return lambda key, shape, dtype: (1 + jax.random.normal(key, shape, dtype)) / size


def _uniform(features: int) -> Callable[..., jax.Array]:
    """An initializer with numbers up to ``1/sqrt(features)``, of both signs."""
    most = 1 / math.sqrt(features)
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -most, most)


def _predicting(layer: Any) -> tuple[tuple[int, ...], int]:
    """Of a layer that predicts kernels, these kernels' shape and the number of logits."""
    op, strides, groups = type(layer).__name__, layer.strides, layer.groups
    if not isinstance(strides, list | tuple):
        allowed = "be a tuple with one step for each spatial axis"
        fail(op, "strides", allowed, strides, hint="Write strides=(2, 2) for images.")
    window_axes(op, strides, None, "strides")
    allowed = f"be an int >= 1 that divides features={layer.features}"
    if integer(op, "groups", groups, allowed) < 1 or layer.features % groups:
        fail(op, "groups", allowed, groups)
    sizes = (layer.filter_size,) * len(strides)
    return sizes, groups * math.prod(sizes)


def _padded_for_logits(x: jax.Array, layer: Any) -> jax.Array:
    """`x` with what a convolution reads that has the windows of the blur."""
    size, axes = layer.filter_size, len(layer.strides)
    widths = [(0, 0)] * (x.ndim - axes - 1) + [((size - 1) // 2, size // 2)] * axes + [(0, 0)]
    return jnp.pad(x, widths, layer.padding_mode)


class LogsumexpPool(_WindowPool):
    """Layer form of `jaxpool.logsumexp_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.linen.LogsumexpPool(2, axes=0, sharpness=1).apply({}, x)
      Array([0.62011445, 2.        ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sharpness: Any = 10
    mean: bool = True

    _function = staticmethod(jaxpool.logsumexp_pool)


class SoftmaxPool(_WindowPool):
    """Layer form of `jaxpool.softmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.linen.SoftmaxPool(2, axes=0).apply({}, x)
      Array([0.7310586, 2.       ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sharpness: Any = 1
    gradient: Literal["full", "semi"] = "full"

    _function = staticmethod(jaxpool.softmax_pool)


class ImportancePool(_WindowPool):
    """Layer form of `jaxpool.importance_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 4., 1., 2.])
      >>> jaxpool.linen.ImportancePool(2, axes=0).apply({}, x, jnp.zeros(4))
      Array([2. , 1.5], dtype=float32)
    """

    _function = staticmethod(jaxpool.importance_pool)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: jax.Array, logits: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x, weighted by the softmax of `logits`; `where` masks as in the function."""
        return self._function(x, logits, where=where, **self._options())


class LinearSoftmaxPool(_WindowPool):
    """Layer form of `jaxpool.linear_softmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 0., 0.])
      >>> jaxpool.linen.LinearSoftmaxPool(2, axes=0).apply({}, x)
      Array([2.5, 0. ], dtype=float32)
    """

    _function = staticmethod(jaxpool.linear_softmax_pool)


class PowerMeanPool(_WindowPool):
    """Layer form of `jaxpool.power_mean_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 4., 3., 3.])
      >>> jaxpool.linen.PowerMeanPool(2, axes=0).apply({}, x)
      Array([2.5, 3. ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 1
    eps: float = 1e-6

    _function = staticmethod(jaxpool.power_mean_pool)


class GemPool(_WindowPool):
    """Layer form of `jaxpool.gem_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 1., 0., 2.])
      >>> jaxpool.linen.GemPool(2, axes=0).apply({}, x)
      Array([1.      , 1.587401], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 3
    eps: float = 1e-6

    _function = staticmethod(jaxpool.gem_pool)


class NoisyOrPool(_WindowPool):
    """Layer form of `jaxpool.noisy_or_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0.5, 0.5, 0., 1.])
      >>> jaxpool.linen.NoisyOrPool(2, axes=0).apply({}, x)
      Array([0.75, 1.  ], dtype=float32)
    """

    _function = staticmethod(jaxpool.noisy_or_pool)


class GlobalLogsumexpPool(_GlobalPool):
    """Layer form of `jaxpool.global_logsumexp_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.linen.GlobalLogsumexpPool(0, sharpness=1).apply({}, x)
      Array(1.5312815, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sharpness: Any = 10
    mean: bool = True

    _function = staticmethod(jaxpool.global_logsumexp_pool)


class GlobalSoftmaxPool(_GlobalPool):
    """Layer form of `jaxpool.global_softmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 1., 2., 2.])
      >>> jaxpool.linen.GlobalSoftmaxPool(0).apply({}, x)
      Array(1.744908, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    sharpness: Any = 1
    gradient: Literal["full", "semi"] = "full"

    _function = staticmethod(jaxpool.global_softmax_pool)


class GlobalImportancePool(_GlobalPool):
    """Layer form of `jaxpool.global_importance_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 4., 1., 2.])
      >>> jaxpool.linen.GlobalImportancePool(0).apply({}, x, jnp.zeros(4))
      Array(1.75, dtype=float32)
    """

    _function = staticmethod(jaxpool.global_importance_pool)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: jax.Array, logits: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x, weighted by the softmax of `logits`; `where` masks as in the function."""
        return self._function(x, logits, where=where, **self._options())


class GlobalLinearSoftmaxPool(_GlobalPool):
    """Layer form of `jaxpool.global_linear_softmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 0., 0.])
      >>> jaxpool.linen.GlobalLinearSoftmaxPool(0).apply({}, x)
      Array(2.5, dtype=float32)
    """

    _function = staticmethod(jaxpool.global_linear_softmax_pool)


class GlobalPowerMeanPool(_GlobalPool):
    """Layer form of `jaxpool.global_power_mean_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 4., 3., 3.])
      >>> jaxpool.linen.GlobalPowerMeanPool(0).apply({}, x)
      Array(2.75, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 1
    eps: float = 1e-6

    _function = staticmethod(jaxpool.global_power_mean_pool)


class GlobalGemPool(_GlobalPool):
    """Layer form of `jaxpool.global_gem_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 1., 0., 2.])
      >>> jaxpool.linen.GlobalGemPool(0).apply({}, x)
      Array(1.3572088, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    p: Any = 3
    eps: float = 1e-6

    _function = staticmethod(jaxpool.global_gem_pool)


class GlobalNoisyOrPool(_GlobalPool):
    """Layer form of `jaxpool.global_noisy_or_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0.5, 0.5, 0., 1.])
      >>> jaxpool.linen.GlobalNoisyOrPool(0).apply({}, x)
      Array(1., dtype=float32)
    """

    _function = staticmethod(jaxpool.global_noisy_or_pool)


class LearnedGemPool(_LearnedPool, _WindowPool):
    """GeM with a learned exponent.

    Its parameter is `p`, the function's argument, of shape (features,), or () without
    `features`. Every exponent is a mean, so it is not constrained; negative ones weigh small
    elements more.
    The fields are arguments of `jaxpool.gem_pool`, and

    Args:
      features: number of channels, each with an exponent of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedGemPool(2, axes=0)
      >>> layer.init(jax.random.key(0), jnp.array([1., 1., 0., 2.]))
      {'params': {'p': Array(3., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    eps: float = 1e-6
    init_value: float = 3.0

    _function = staticmethod(jaxpool.gem_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"p": ((), _same(self.init_value))}


class LearnedGlobalGemPool(_LearnedPool, _GlobalPool):
    """GeM with a learned exponent.

    Its parameter is `p`, the function's argument, of shape (features,), or () without
    `features`. Every exponent is a mean, so it is not constrained; negative ones weigh small
    elements more.
    The fields are arguments of `jaxpool.global_gem_pool`, and

    Args:
      features: number of channels, each with an exponent of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedGlobalGemPool(0)
      >>> layer.init(jax.random.key(0), jnp.array([1., 1., 0., 2.]))
      {'params': {'p': Array(3., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    eps: float = 1e-6
    init_value: float = 3.0

    _function = staticmethod(jaxpool.global_gem_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"p": ((), _same(self.init_value))}


class LearnedLogsumexpPool(_LearnedPool, _WindowPool):
    """LSE pooling with a learned sharpness.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones are soft minima.
    The fields are arguments of `jaxpool.logsumexp_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedLogsumexpPool(2, axes=0)
      >>> layer.init(jax.random.key(0), jnp.array([0., 1., 2., 2.]))
      {'params': {'sharpness': Array(10., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    mean: bool = True
    init_value: float = 10.0

    _function = staticmethod(jaxpool.logsumexp_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), _same(self.init_value))}


class LearnedGlobalLogsumexpPool(_LearnedPool, _GlobalPool):
    """LSE pooling with a learned sharpness.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones are soft minima.
    The fields are arguments of `jaxpool.global_logsumexp_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedGlobalLogsumexpPool(0)
      >>> layer.init(jax.random.key(0), jnp.array([0., 1., 2., 2.]))
      {'params': {'sharpness': Array(10., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    mean: bool = True
    init_value: float = 10.0

    _function = staticmethod(jaxpool.global_logsumexp_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), _same(self.init_value))}


class LearnedSoftmaxPool(_LearnedPool, _WindowPool):
    """AutoPool: a softmax-weighted mean with a learned sharpness, at first the plain mean.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones weigh small elements more.
    The fields are arguments of `jaxpool.softmax_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedSoftmaxPool(2, axes=0)
      >>> layer.init(jax.random.key(0), jnp.array([0., 1., 2., 2.]))
      {'params': {'sharpness': Array(0., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    gradient: Literal["full", "semi"] = "full"
    init_value: float = 0.0

    _function = staticmethod(jaxpool.softmax_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), _same(self.init_value))}


class LearnedGlobalSoftmaxPool(_LearnedPool, _GlobalPool):
    """AutoPool: a softmax-weighted mean with a learned sharpness, at first the plain mean.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones weigh small elements more.
    The fields are arguments of `jaxpool.global_softmax_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedGlobalSoftmaxPool(0)
      >>> layer.init(jax.random.key(0), jnp.array([0., 1., 2., 2.]))
      {'params': {'sharpness': Array(0., dtype=float32)}}
    """

    _: dataclasses.KW_ONLY
    gradient: Literal["full", "semi"] = "full"
    init_value: float = 0.0

    _function = staticmethod(jaxpool.global_softmax_pool)
    _own = (*_LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), _same(self.init_value))}


class LearnedImportancePool(nn.Module):
    """Local importance pooling (LIP): a mean whose weights a small network predicts.

    The network is the paper's simplified one, over channels that are last: a convolution of 3
    elements along each axis, instance normalization, and 12 times a sigmoid, to logits for
    `jaxpool.importance_pool`. Its parameters are `kernel`, which begins as 0, so that the layer
    begins as the average, `scale` and `bias`. The fields are arguments of the function, and

    Args:
      param_dtype: dtype of the parameters.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedImportancePool((2,))
      >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.array([[1.], [3.]]))
      >>> y
      Array([[2.]], dtype=float32)
      >>> jax.tree.map(jnp.shape, variables["params"])
      {'bias': (1,), 'kernel': (3, 1, 1), 'scale': (1,)}
    """

    window_shape: Sequence[int]
    strides: Ints | None = None
    padding: Padding = "VALID"
    _: dataclasses.KW_ONLY
    dilation: Ints = 1
    ceil_mode: bool = False
    empty_value: Any = 0
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        channels, zeros = x.shape[-1], nn.initializers.zeros
        shape = (*(3 for _ in self.window_shape), channels, channels)
        kernel = self.param("kernel", zeros, shape, self.param_dtype)
        scale = self.param("scale", nn.initializers.ones, (channels,), self.param_dtype)
        bias = self.param("bias", zeros, (channels,), self.param_dtype)
        return jaxpool.importance_pool(
            x,
            importance_logits(x, kernel, scale, bias, where),
            self.window_shape,
            self.strides,
            self.padding,
            dilation=self.dilation,
            ceil_mode=self.ceil_mode,
            where=where,
            empty_value=self.empty_value,
        )


class MedianPool(_WindowPool):
    """Layer form of `jaxpool.median_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 3., 4.])
      >>> jaxpool.linen.MedianPool(3, 1, axes=0).apply({}, x)
      Array([2., 3., 3.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.median_pool)


class QuantilePool(_WindowPool):
    """Layer form of `jaxpool.quantile_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 3., 4.])
      >>> jaxpool.linen.QuantilePool(3, 1, axes=0, q=0.25).apply({}, x)
      Array([1.5, 2.5, 2.5], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    q: float
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.quantile_pool)


class RankPool(_WindowPool):
    """Layer form of `jaxpool.rank_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 4.])
      >>> jaxpool.linen.RankPool(2, axes=0, weights=(0.75, 0.25)).apply({}, x)
      Array([7. , 3.5], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    weights: Any

    _function = staticmethod(jaxpool.rank_pool)


class TopKMeanPool(_WindowPool):
    """Layer form of `jaxpool.top_k_mean_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 3., 4., 4.])
      >>> jaxpool.linen.TopKMeanPool(3, axes=0, k=2).apply({}, x)
      Array([5.5, 4. ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    k: int | float

    _function = staticmethod(jaxpool.top_k_mean_pool)


class GlobalMedianPool(_GlobalPool):
    """Layer form of `jaxpool.global_median_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 4.])
      >>> jaxpool.linen.GlobalMedianPool(axes=0).apply({}, x)
      Array(3., dtype=float32)
    """

    _: dataclasses.KW_ONLY
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.global_median_pool)


class GlobalQuantilePool(_GlobalPool):
    """Layer form of `jaxpool.global_quantile_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 4., 3.])
      >>> jaxpool.linen.GlobalQuantilePool(axes=0, q=0.25).apply({}, x)
      Array(2., dtype=float32)
    """

    _: dataclasses.KW_ONLY
    q: float
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.global_quantile_pool)


class GlobalRankPool(_GlobalPool):
    """Layer form of `jaxpool.global_rank_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 4.])
      >>> jaxpool.linen.GlobalRankPool(axes=0, weights=(0.75, 0.25)).apply({}, x)
      Array(7.75, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    weights: Any

    _function = staticmethod(jaxpool.global_rank_pool)


class GlobalTopKMeanPool(_GlobalPool):
    """Layer form of `jaxpool.global_top_k_mean_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 4.])
      >>> jaxpool.linen.GlobalTopKMeanPool(axes=0, k=0.5).apply({}, x)
      Array(6.5, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    k: int | float

    _function = staticmethod(jaxpool.global_top_k_mean_pool)


class GlobalWeightedRankPool(_GlobalPool):
    """Layer form of `jaxpool.global_weighted_rank_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 2., 4.])
      >>> jaxpool.linen.GlobalWeightedRankPool(axes=0, decay=0.5).apply({}, x)
      Array(3., dtype=float32)
    """

    _: dataclasses.KW_ONLY
    decay: Any = 0.996

    _function = staticmethod(jaxpool.global_weighted_rank_pool)


class WildcatPool(_GlobalPool):
    """Layer form of `jaxpool.wildcat_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., -2., 4., 0.])
      >>> jaxpool.linen.WildcatPool(axes=0, kmax=2, kmin=1, alpha=0.5).apply({}, x)
      Array(1.5, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    kmax: int | float = 1
    kmin: int | float | None = None
    alpha: Any = 1.0

    _function = staticmethod(jaxpool.wildcat_pool)


class KMaxPool(_Pool):
    """Layer form of `jaxpool.k_max_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 9., 2., 3., 4.])
      >>> jaxpool.linen.KMaxPool(3, axis=0).apply({}, x)
      Array([9., 3., 4.], dtype=float32)
    """

    k: int
    axis: int
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.k_max_pool)


class OrdinalPool(_WindowPool):
    """Ordinal pooling with learned weights: `jaxpool.rank_pool` of a softmax over ranks.

    Each channel has the parameter `logits`, one number for each rank of a window, of which the
    softmax is the weights: none is negative, and they add up to 1.

    Args:
      window_shape: as in `jaxpool.rank_pool`, like all other fields that are not listed here.
      initial: "mean", for equal weights, or "max", for a window's maximum to have nearly all.
      channel_axis: the axis of the channels in x, no pooled one.
      param_dtype: dtype of the parameter.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([[1.], [9.], [2.], [4.]])
      >>> layer = jaxpool.linen.OrdinalPool((2,))
      >>> variables = layer.init(jax.random.key(0), x)
      >>> variables["params"]["logits"].shape
      (2, 1)
      >>> layer.apply(variables, x)[:, 0]
      Array([5., 3.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    initial: Literal["mean", "max"] = "mean"
    channel_axis: int = -1
    param_dtype: Any = jnp.float32

    _own = ("initial", "channel_axis", "param_dtype")

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in `jaxpool.rank_pool`."""
        channel = _channel_of(self, x, _pooled_axes(self, x))
        first = ordinal_logits(self.window_shape, self.axes, x.shape[channel], self.initial)
        logits = self.param("logits", lambda key: jnp.asarray(first, self.param_dtype))
        weights = ordinal_weights(logits, channel, x.ndim)
        return jaxpool.rank_pool(x, where=where, weights=weights, **self._options())


class _RandomPool(_Pool):
    """Calls a function that draws; what it draws with comes with the call."""

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; the default key is of the stream `pool`, if there is one."""
        options = self._options()
        if key is None and not options["deterministic"] and self.has_rng("pool"):
            key = self.make_rng("pool")
        return self._function(x, where=where, key=key, **options)


class MixedPool(_WindowPool):
    """Layer form of `jaxpool.mixed_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.MixedPool(2, axes=0).apply({}, x)
      Array([2.5, 5. ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.mixed_pool)


class GatedPool(_WindowPool):
    """Layer form of `jaxpool.gated_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.GatedPool(2, axes=0).apply({}, x, gate=jnp.zeros(2))
      Array([2.5, 5. ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.gated_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, gate: jax.Array
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, gate=gate, **self._options())


class TreePool(_WindowPool):
    """Layer form of `jaxpool.tree_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.TreePool(2, axes=0).apply({}, x, leaves=jnp.eye(2), gates=jnp.zeros((1, 2)))
      Array([2., 4.], dtype=float32)
    """

    _function = staticmethod(jaxpool.tree_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, leaves: jax.Array, gates: jax.Array
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, leaves=leaves, gates=gates, **self._options())


class GlobalAvgmaxPool(_GlobalPool):
    """Layer form of `jaxpool.global_avgmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 2., 6.])
      >>> jaxpool.linen.GlobalAvgmaxPool(axes=0).apply({}, x)
      Array(4.5, dtype=float32)
    """

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5

    _function = staticmethod(jaxpool.global_avgmax_pool)


class GlobalCatavgmaxPool(_GlobalPool):
    """Layer form of `jaxpool.global_catavgmax_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([[1., 5.], [3., 7.]])
      >>> jaxpool.linen.GlobalCatavgmaxPool(axes=0).apply({}, x)
      Array([2., 6., 3., 7.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    channel_axis: int = -1

    _function = staticmethod(jaxpool.global_catavgmax_pool)


class StochasticPool(_RandomPool, _WindowPool):
    """Layer form of `jaxpool.stochastic_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 3., 0., 0.])
      >>> jaxpool.linen.StochasticPool(2, axes=0).apply({}, x, key=jax.random.key(0))
      Array([3., 0.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    deterministic: bool = False

    _function = staticmethod(jaxpool.stochastic_pool)


class GlobalStochasticPool(_RandomPool, _GlobalPool):
    """Layer form of `jaxpool.global_stochastic_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 3., 0.])
      >>> jaxpool.linen.GlobalStochasticPool(0).apply({}, x, key=jax.random.key(0))
      Array(3., dtype=float32)
    """

    _: dataclasses.KW_ONLY
    deterministic: bool = False

    _function = staticmethod(jaxpool.global_stochastic_pool)


class RankStochasticPool(_RandomPool, _WindowPool):
    """Layer form of `jaxpool.rank_stochastic_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([3., 6., 1., -5.])
      >>> jaxpool.linen.RankStochasticPool(2, axes=0, deterministic=True).apply({}, x)
      Array([ 5., -1.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    deterministic: bool = False

    _function = staticmethod(jaxpool.rank_stochastic_pool)


class MaxPoolDropout(_RandomPool, _WindowPool):
    """Layer form of `jaxpool.max_pool_dropout`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([4., 8., 1., 2.])
      >>> jaxpool.linen.MaxPoolDropout(2, axes=0, deterministic=True).apply({}, x)
      Array([5.  , 1.25], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    rate: Any = 0.5
    deterministic: bool = False

    _function = staticmethod(jaxpool.max_pool_dropout)


class RandomMixedPool(_RandomPool, _WindowPool):
    """Layer form of `jaxpool.random_mixed_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.RandomMixedPool(2, axes=0, deterministic=True).apply({}, x)
      Array([2.5, 5. ], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    count_include_pad: bool = True
    per: Per = "map"
    deterministic: bool = False

    _function = staticmethod(jaxpool.random_mixed_pool)


class S3Pool(_RandomPool, _WindowPool):
    """Layer form of `jaxpool.s3_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6., 4.])
      >>> jaxpool.linen.S3Pool(2, axes=0, deterministic=True).apply({}, x)
      Array([3., 6.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    grid: Ints | None = None
    deterministic: bool = False

    _function = staticmethod(jaxpool.s3_pool)


class AdaptiveWeightedPool(_WindowPool):
    """Layer form of `jaxpool.adaptive_weighted_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([2., 2., 0., 0.])
      >>> jaxpool.linen.AdaptiveWeightedPool(2, axes=0).apply({}, x)
      Array([2., 0.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    weights: Weights = "dice"
    epsilon: float = 1e-6

    _function = staticmethod(jaxpool.adaptive_weighted_pool)


class AdaPool(_WindowPool):
    """Layer form of `jaxpool.ada_pool`; its fields are the function's arguments.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([2., 2., 5., 5.])
      >>> jaxpool.linen.AdaPool(2, axes=0).apply({}, x)
      Array([2., 5.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    beta: Any = 0.5

    _function = staticmethod(jaxpool.ada_pool)


class DetailPreservingPool(_WindowPool):
    """Layer form of `jaxpool.detail_preserving_pool`; its fields are arguments of the function.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([0., 0., 0., 4.])
      >>> jaxpool.linen.DetailPreservingPool(4, axes=0, lam=0).apply({}, x)
      Array([1.], dtype=float32)
    """

    _: dataclasses.KW_ONLY
    alpha: Any = 1.0
    lam: Any = 1.0
    symmetric: bool = True

    _function = staticmethod(jaxpool.detail_preserving_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, kernel: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, kernel=kernel, **self._options())


class LearnedMixedPool(_LearnedPool, _WindowPool):
    """`jaxpool.mixed_pool` with an `alpha` that is learned, as the sigmoid of a parameter.

    The parameter `alpha` is one number, or one for each channel if `features` says how many of
    these `channel_axis` has. It starts at 0, from where `alpha` is a half.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.LearnedMixedPool(2, axes=0).init_with_output(jax.random.key(0), x)
      (Array([2.5, 5. ], dtype=float32), {'params': {'alpha': Array(0., dtype=float32)}})
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.mixed_pool)

    def _first(self) -> dict[str, Any]:
        return {"alpha": ((), _same(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"alpha": jax.nn.sigmoid(parameters["alpha"])}


class LearnedGatedPool(_LearnedPool, _WindowPool):
    """`jaxpool.gated_pool` with a `gate` that is learned.

    The parameter `gate` has the window's shape, and an entry for each channel if `features` says
    how many of these `channel_axis` has. It starts at 0, from where maximum and mean have one half
    each.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.linen.LearnedGatedPool(2, axes=0).init_with_output(jax.random.key(0), x)
      (Array([2.5, 5. ], dtype=float32), {'params': {'gate': Array([0., 0.], dtype=float32)}})
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.gated_pool)
    _filters = ("gate",)

    def _first(self) -> dict[str, Any]:
        return {"gate": (_window_sizes(self), _same(0))}


class LearnedTreePool(_LearnedPool, _WindowPool):
    """`jaxpool.tree_pool` with `leaves` and `gates` that are learned.

    The parameters are filters of the window's shape, with an entry for each channel if `features`
    says how many of these `channel_axis` has; of n elements, leaves start as ``1/n`` with as much
    normal noise, since equal leaves would learn alike, and gates at 0. A tree of `depth` levels
    has ``2**(depth - 1)`` leaves.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedTreePool((2, 2), depth=3)
      >>> variables = layer.init(jax.random.key(0), jnp.zeros((4, 4, 1)))
      >>> jax.tree.map(jnp.shape, variables)
      {'params': {'gates': (3, 2, 2), 'leaves': (4, 2, 2)}}
    """

    _own = (*_LearnedPool._own, "depth")

    _: dataclasses.KW_ONLY
    depth: int = 2

    _function = staticmethod(jaxpool.tree_pool)
    _filters = ("leaves", "gates")

    def _first(self) -> dict[str, Any]:
        allowed = "be at least 1"
        if integer("LearnedTreePool", "depth", self.depth, allowed) < 1:
            fail("LearnedTreePool", "depth", allowed, self.depth)
        leaves, window = 2 ** (self.depth - 1), _window_sizes(self)
        return {
            "leaves": ((leaves, *window), _noisy_mean(window)),
            "gates": ((leaves - 1, *window), _same(0)),
        }


class LearnedAdaPool(_LearnedPool, _WindowPool):
    """`jaxpool.ada_pool` with a `beta` that is learned, as the sigmoid of a parameter.

    The parameter `beta` has the shape `beta_shape`, which broadcasts to the result, for example
    ``(height, width, 1)`` for each place, or one number for each channel if `features` says how
    many of these `channel_axis` has. It starts at 0, from where `beta` is a half.

    Example:
      >>> import jaxpool.linen
      >>> x = jnp.array([2., 2., 5., 5.])
      >>> jaxpool.linen.LearnedAdaPool(2, axes=0).init_with_output(jax.random.key(0), x)
      (Array([2., 5.], dtype=float32), {'params': {'beta': Array(0., dtype=float32)}})
    """

    _own = (*_LearnedPool._own, "beta_shape")

    _: dataclasses.KW_ONLY
    beta_shape: Sequence[int] | None = None

    _function = staticmethod(jaxpool.ada_pool)

    def _first(self) -> dict[str, Any]:
        return {"beta": (tuple(self.beta_shape or ()), _same(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"beta": jax.nn.sigmoid(parameters["beta"])}

    @property
    def _channels(self) -> tuple[int, ...]:
        return super()._channels if self.beta_shape is None else ()


class LearnedDetailPreservingPool(_LearnedPool, _WindowPool):
    """`jaxpool.detail_preserving_pool` with learned `alpha` and `lam`, exponentials of parameters.

    The parameters `alpha` and `lam` are one number each, or one for each channel if `features` says
    how many of these, C, `channel_axis` has. They start uniform in ``-1/sqrt(C) .. 1/sqrt(C)``. If
    `full`, there is a parameter `kernel` too, of the window's shape, which starts as a mean.

    Example:
      >>> import jaxpool.linen
      >>> layer = jaxpool.linen.LearnedDetailPreservingPool((2, 2), features=3, full=True)
      >>> variables = layer.init(jax.random.key(0), jnp.zeros((4, 4, 3)))
      >>> jax.tree.map(jnp.shape, variables)
      {'params': {'alpha': (3,), 'kernel': (2, 2, 3), 'lam': (3,)}}
    """

    _own = (*_LearnedPool._own, "full")

    _: dataclasses.KW_ONLY
    symmetric: bool = True
    full: bool = False

    _function = staticmethod(jaxpool.detail_preserving_pool)
    _filters = ("kernel",)

    def _first(self) -> dict[str, Any]:
        start, window = _uniform(self.features or 1), _window_sizes(self)
        first: dict[str, Any] = {"alpha": ((), start), "lam": ((), start)}
        if self.full:
            first["kernel"] = (window, _same(1 / math.prod(window)))
        return first

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {n: p if n == "kernel" else jnp.exp(p) for n, p in parameters.items()}
