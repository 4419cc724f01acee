"""Flax Linen layers: one for each named function, with the function's arguments as fields.

They have no variables, and a call is the function. They stand anywhere a Linen module may: in
``nn.Sequential``, ``nn.compact`` methods, and under ``nn.vmap``, ``nn.jit`` and ``nn.remat``.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

import jaxpool
from jaxpool._arguments import Ints, Padding, Sizes
from jaxpool._fractional import Scheme
from jaxpool._lowering_max import Implementation
from jaxpool._order import Interpolation, ordinal_logits, ordinal_weights

try:
    from flax import linen as nn
except ImportError as error:
    raise ImportError('jaxpool.linen needs Flax. Write pip install "jaxpool[flax]".') from error


class _Pool(nn.Module):
    """Calls `_function` with the fields."""

    _function: ClassVar[Callable[..., Any]]

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        return self._function(x, where=where, **self._options())

    def _options(self) -> dict[str, Any]:
        """The fields, without Linen's own."""
        names = [field.name for field in dataclasses.fields(self)]
        return {n: getattr(self, n) for n in names if n not in ("parent", "name")}


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

    @nn.compact
    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in `jaxpool.rank_pool`."""
        first = ordinal_logits(
            self.window_shape, self.axes, x.shape[self.channel_axis], self.initial
        )
        logits = self.param("logits", lambda key: jnp.asarray(first, self.param_dtype))
        options = self._options()
        for own in ("initial", "channel_axis", "param_dtype"):
            del options[own]
        weights = ordinal_weights(logits, self.channel_axis, x.ndim)
        return jaxpool.rank_pool(x, where=where, weights=weights, **options)
