"""Layers of windows and of whole axes: maxima, means, norms, order statistics, soft and mixed."""

import dataclasses
from typing import Any, Literal

import jax

import jaxpool
from jaxpool._src.layers.fields import GlobalPool, Pool, ShapedPool, WindowPool, layer
from jaxpool._src.lowering.max import Implementation
from jaxpool._src.reductions.detail import Weights
from jaxpool._src.reductions.order import Interpolation


@layer
class MaxPool(ShapedPool):
    """Layer form of `jaxpool.max_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    implementation: Implementation | None = None

    _function = staticmethod(jaxpool.max_pool)


@layer
class MinPool(ShapedPool):
    """Layer form of `jaxpool.min_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    implementation: Implementation | None = None

    _function = staticmethod(jaxpool.min_pool)


@layer
class SumPool(ShapedPool):
    """Layer form of `jaxpool.sum_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.sum_pool)


@layer
class AvgPool(ShapedPool):
    """Layer form of `jaxpool.avg_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True
    divisor_override: float | None = None

    _function = staticmethod(jaxpool.avg_pool)


@layer
class LpPool(WindowPool):
    """Layer form of `jaxpool.lp_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 2

    _function = staticmethod(jaxpool.lp_pool)


@layer
class GlobalMaxPool(GlobalPool):
    """Layer form of `jaxpool.global_max_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_max_pool)


@layer
class GlobalMinPool(GlobalPool):
    """Layer form of `jaxpool.global_min_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_min_pool)


@layer
class GlobalSumPool(GlobalPool):
    """Layer form of `jaxpool.global_sum_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_sum_pool)


@layer
class GlobalAvgPool(GlobalPool):
    """Layer form of `jaxpool.global_avg_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_avg_pool)


@layer
class GlobalLpPool(GlobalPool):
    """Layer form of `jaxpool.global_lp_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 2

    _function = staticmethod(jaxpool.global_lp_pool)


@layer
class MaxPoolWithArgmax(WindowPool):
    """Layer form of `jaxpool.max_pool_with_argmax`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.max_pool_with_argmax)


@layer
class MinPoolWithArgmin(WindowPool):
    """Layer form of `jaxpool.min_pool_with_argmin`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.min_pool_with_argmin)


@layer
class GlobalMaxPoolWithArgmax(GlobalPool):
    """Layer form of `jaxpool.global_max_pool_with_argmax`, with its arguments as fields."""

    _function = staticmethod(jaxpool.global_max_pool_with_argmax)


@layer
class GlobalMinPoolWithArgmin(GlobalPool):
    """Layer form of `jaxpool.global_min_pool_with_argmin`, with its arguments as fields."""

    _function = staticmethod(jaxpool.global_min_pool_with_argmin)


@layer
class LogsumexpPool(WindowPool):
    """Layer form of `jaxpool.logsumexp_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sharpness: Any = 10
    mean: bool = True

    _function = staticmethod(jaxpool.logsumexp_pool)


@layer
class SoftmaxPool(WindowPool):
    """Layer form of `jaxpool.softmax_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sharpness: Any = 1
    gradient: Literal["full", "semi"] = "full"

    _function = staticmethod(jaxpool.softmax_pool)


@layer
class ImportancePool(WindowPool):
    """Layer form of `jaxpool.importance_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.importance_pool)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: jax.Array, logits: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x, weighted by the softmax of `logits`; `where` masks as in the function."""
        return self._function(x, logits, where=where, **self._options())


@layer
class LinearSoftmaxPool(WindowPool):
    """Layer form of `jaxpool.linear_softmax_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.linear_softmax_pool)


@layer
class PowerMeanPool(WindowPool):
    """Layer form of `jaxpool.power_mean_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 1
    eps: float = 1e-6

    _function = staticmethod(jaxpool.power_mean_pool)


@layer
class GemPool(WindowPool):
    """Layer form of `jaxpool.gem_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 3
    eps: float = 1e-6

    _function = staticmethod(jaxpool.gem_pool)


@layer
class NoisyOrPool(WindowPool):
    """Layer form of `jaxpool.noisy_or_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.noisy_or_pool)


@layer
class GlobalLogsumexpPool(GlobalPool):
    """Layer form of `jaxpool.global_logsumexp_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sharpness: Any = 10
    mean: bool = True

    _function = staticmethod(jaxpool.global_logsumexp_pool)


@layer
class GlobalSoftmaxPool(GlobalPool):
    """Layer form of `jaxpool.global_softmax_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    sharpness: Any = 1
    gradient: Literal["full", "semi"] = "full"

    _function = staticmethod(jaxpool.global_softmax_pool)


@layer
class GlobalImportancePool(GlobalPool):
    """Layer form of `jaxpool.global_importance_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_importance_pool)

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, x: jax.Array, logits: jax.Array, *, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x, weighted by the softmax of `logits`; `where` masks as in the function."""
        return self._function(x, logits, where=where, **self._options())


@layer
class GlobalLinearSoftmaxPool(GlobalPool):
    """Layer form of `jaxpool.global_linear_softmax_pool`, with its arguments as fields."""

    _function = staticmethod(jaxpool.global_linear_softmax_pool)


@layer
class GlobalPowerMeanPool(GlobalPool):
    """Layer form of `jaxpool.global_power_mean_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 1
    eps: float = 1e-6

    _function = staticmethod(jaxpool.global_power_mean_pool)


@layer
class GlobalGemPool(GlobalPool):
    """Layer form of `jaxpool.global_gem_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    p: Any = 3
    eps: float = 1e-6

    _function = staticmethod(jaxpool.global_gem_pool)


@layer
class GlobalNoisyOrPool(GlobalPool):
    """Layer form of `jaxpool.global_noisy_or_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.global_noisy_or_pool)


@layer
class MedianPool(ShapedPool):
    """Layer form of `jaxpool.median_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.median_pool)


@layer
class QuantilePool(ShapedPool):
    """Layer form of `jaxpool.quantile_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    q: float
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.quantile_pool)


@layer
class ModePool(ShapedPool):
    """Layer form of `jaxpool.mode_pool`; its fields are the function's arguments."""

    _function = staticmethod(jaxpool.mode_pool)


@layer
class RankPool(ShapedPool):
    """Layer form of `jaxpool.rank_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    weights: Any

    _function = staticmethod(jaxpool.rank_pool)


@layer
class TopKMeanPool(ShapedPool):
    """Layer form of `jaxpool.top_k_mean_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    k: int | float

    _function = staticmethod(jaxpool.top_k_mean_pool)


@layer
class GlobalMedianPool(GlobalPool):
    """Layer form of `jaxpool.global_median_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.global_median_pool)


@layer
class GlobalQuantilePool(GlobalPool):
    """Layer form of `jaxpool.global_quantile_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    q: float
    interpolation: Interpolation = "linear"

    _function = staticmethod(jaxpool.global_quantile_pool)


@layer
class GlobalRankPool(GlobalPool):
    """Layer form of `jaxpool.global_rank_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    weights: Any

    _function = staticmethod(jaxpool.global_rank_pool)


@layer
class GlobalTopKMeanPool(GlobalPool):
    """Layer form of `jaxpool.global_top_k_mean_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    k: int | float

    _function = staticmethod(jaxpool.global_top_k_mean_pool)


@layer
class GlobalWeightedRankPool(GlobalPool):
    """Layer form of `jaxpool.global_weighted_rank_pool`, with its arguments as fields."""

    _: dataclasses.KW_ONLY
    decay: Any = 0.996

    _function = staticmethod(jaxpool.global_weighted_rank_pool)


@layer
class WildcatPool(GlobalPool):
    """Layer form of `jaxpool.wildcat_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    kmax: int | float = 1
    kmin: int | float | None = None
    alpha: Any = 1.0

    _function = staticmethod(jaxpool.wildcat_pool)


@layer
class KMaxPool(Pool):
    """Layer form of `jaxpool.k_max_pool`; its fields are the function's arguments."""

    k: int
    axis: int
    _: dataclasses.KW_ONLY
    empty_value: Any = 0

    _function = staticmethod(jaxpool.k_max_pool)


@layer
class MixedPool(WindowPool):
    """Layer form of `jaxpool.mixed_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.mixed_pool)


@layer
class GatedPool(WindowPool):
    """Layer form of `jaxpool.gated_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.gated_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, gate: jax.Array
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, gate=gate, **self._options())


@layer
class TreePool(WindowPool):
    """Layer form of `jaxpool.tree_pool`; its fields are arguments of the function."""

    _function = staticmethod(jaxpool.tree_pool)

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, leaves: jax.Array, gates: jax.Array
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, leaves=leaves, gates=gates, **self._options())


@layer
class GlobalAvgmaxPool(GlobalPool):
    """Layer form of `jaxpool.global_avgmax_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5

    _function = staticmethod(jaxpool.global_avgmax_pool)


@layer
class GlobalCatavgmaxPool(GlobalPool):
    """Layer form of `jaxpool.global_catavgmax_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    channel_axis: int = -1

    _function = staticmethod(jaxpool.global_catavgmax_pool)


@layer
class AdaptiveWeightedPool(WindowPool):
    """Layer form of `jaxpool.adaptive_weighted_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    weights: Weights = "dice"
    epsilon: float = 1e-6

    _function = staticmethod(jaxpool.adaptive_weighted_pool)


@layer
class AdaPool(WindowPool):
    """Layer form of `jaxpool.ada_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    beta: Any = 0.5

    _function = staticmethod(jaxpool.ada_pool)


@layer
class DetailPreservingPool(WindowPool):
    """Layer form of `jaxpool.detail_preserving_pool`; its fields are arguments of the function."""

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
