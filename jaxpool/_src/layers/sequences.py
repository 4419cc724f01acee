"""Layers of sequences; positions come with the call, as boxes do."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import jax

import jaxpool
from jaxpool._src.layers.fields import Pool, layer


@layer
class SequencePool(Pool):
    """The fields that functions of one axis share."""

    _: dataclasses.KW_ONLY
    axis: int = -2
    empty_value: Any = 0


@layer
class FirstPool(SequencePool):
    """Layer form of `jaxpool.first_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.first_pool)


@layer
class LastPool(SequencePool):
    """Layer form of `jaxpool.last_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.last_pool)


@layer
class MeanSqrtLengthPool(SequencePool):
    """Layer form of `jaxpool.mean_sqrt_length_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.mean_sqrt_length_pool)


@layer
class PositionWeightedPool(SequencePool):
    """Layer form of `jaxpool.position_weighted_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.position_weighted_pool)


@layer
class SpladePool(SequencePool):
    """Layer form of `jaxpool.splade_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    reduction: Literal["max", "sum"] = "max"

    _function = staticmethod(jaxpool.splade_pool)


@layer
class ApproximateRankPool(SequencePool):
    """Layer form of `jaxpool.approximate_rank_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.approximate_rank_pool)


@layer
class FeaturewiseSortPool(Pool):
    """Layer form of `jaxpool.featurewise_sort_pool`; its fields are the function's arguments."""

    weights: Any
    _: dataclasses.KW_ONLY
    axis: int = -2
    empty_value: Any = 0

    _function = staticmethod(jaxpool.featurewise_sort_pool)


@layer
class TemporalPyramidPool(Pool):
    """Layer form of `jaxpool.temporal_pyramid_pool`; its fields are the function's arguments."""

    levels: Sequence[int]
    reduction: jaxpool.Reduction = jaxpool.Max()
    _: dataclasses.KW_ONLY
    axis: int = -2
    empty_value: Any = 0

    _function = staticmethod(jaxpool.temporal_pyramid_pool)


@layer
class PiecewisePool(Pool):
    """Layer form of `jaxpool.piecewise_pool`; its fields are arguments of the function."""

    reduction: jaxpool.Reduction = jaxpool.Max()
    _: dataclasses.KW_ONLY
    axis: int = -2
    empty_value: Any = 0

    _function = staticmethod(jaxpool.piecewise_pool)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: jax.Array, positions: Any, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, positions, where=where, **self._options())
