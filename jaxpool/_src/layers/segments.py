"""Layers of segments and of prefixes; ids come with the call."""

import dataclasses
from typing import Any

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints
from jaxpool._src.layers.fields import Pool, layer
from jaxpool._src.pools.prefix import Corner


@layer
class SegmentPool(Pool):
    """The fields that functions of segments share."""

    num_segments: int
    _: dataclasses.KW_ONLY
    axis: int = 0
    empty_value: Any = 0
    sorted: bool = False

    def __call__(
        self, x: jax.Array, ids: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; `ids` say which segment an element belongs to."""
        return self._function(x, ids, where=where, **self._options())


@layer
class SegmentMaxPool(SegmentPool):
    """Layer form of `jaxpool.segment_max_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.segment_max_pool)


@layer
class SegmentMinPool(SegmentPool):
    """Layer form of `jaxpool.segment_min_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.segment_min_pool)


@layer
class SegmentSumPool(SegmentPool):
    """Layer form of `jaxpool.segment_sum_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.segment_sum_pool)


@layer
class SegmentAvgPool(SegmentPool):
    """Layer form of `jaxpool.segment_avg_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.segment_avg_pool)


@layer
class PrefixPool(Pool):
    """The fields that functions of prefixes share."""

    axis: int
    _: dataclasses.KW_ONLY
    reverse: bool = False
    empty_value: Any = 0


@layer
class PrefixMaxPool(PrefixPool):
    """Layer form of `jaxpool.prefix_max_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.prefix_max_pool)


@layer
class PrefixAvgPool(PrefixPool):
    """Layer form of `jaxpool.prefix_avg_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.prefix_avg_pool)


@layer
class PrefixSumPool(PrefixPool):
    """Layer form of `jaxpool.prefix_sum_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.prefix_sum_pool)


@layer
class CornerPool(Pool):
    """Layer form of `jaxpool.corner_pool`; its fields are the function's arguments."""

    corner: Corner = "top_left"
    _: dataclasses.KW_ONLY
    axes: Ints = (-3, -2)
    empty_value: Any = 0

    _function = staticmethod(jaxpool.corner_pool)
