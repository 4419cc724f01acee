"""Every kind of pooling for JAX.

A pooling is a domain (which elements feed an output cell) times a reduction (how they become one
value): ``pool(x, domain, reduction)``. Named functions such as `max_pool` spell the common pairs
out. Layers are in `jaxpool.linen` and `jaxpool.nnx`, which need Flax.
"""

import typing as _typing

from jaxpool._src.core import names as _names
from jaxpool._src.core.pool import Domain as Domain
from jaxpool._src.core.pool import Reduction as Reduction
from jaxpool._src.core.pool import pool as pool
from jaxpool._src.core.pool import pool_mask as pool_mask
from jaxpool._src.domains.global_ import Global as Global
from jaxpool._src.domains.groups import Groups as Groups
from jaxpool._src.domains.intervals import Adaptive as Adaptive
from jaxpool._src.domains.intervals import Intervals as Intervals
from jaxpool._src.domains.prefix import Prefix as Prefix
from jaxpool._src.domains.segments import Segments as Segments
from jaxpool._src.domains.shards import halo_exchange as halo_exchange
from jaxpool._src.domains.window import Window as Window
from jaxpool._src.filters.blur import blur_pool as blur_pool
from jaxpool._src.filters.blur import gaussian_pool as gaussian_pool
from jaxpool._src.filters.blur import max_blur_pool as max_blur_pool
from jaxpool._src.filters.content_aware import content_aware_blur_pool as content_aware_blur_pool
from jaxpool._src.filters.morphology import closing_pool as closing_pool
from jaxpool._src.filters.morphology import dilation_pool as dilation_pool
from jaxpool._src.filters.morphology import erosion_pool as erosion_pool
from jaxpool._src.filters.morphology import opening_pool as opening_pool
from jaxpool._src.filters.morphology import parabolic_structure as parabolic_structure
from jaxpool._src.filters.wavelet import wavelet_pool as wavelet_pool
from jaxpool._src.pools.adaptive import adaptive_avg_pool as adaptive_avg_pool
from jaxpool._src.pools.adaptive import adaptive_max_pool as adaptive_max_pool
from jaxpool._src.pools.adaptive import (
    adaptive_max_pool_with_argmax as adaptive_max_pool_with_argmax,
)
from jaxpool._src.pools.adaptive import adaptive_min_pool as adaptive_min_pool
from jaxpool._src.pools.argmax import global_max_pool_with_argmax as global_max_pool_with_argmax
from jaxpool._src.pools.argmax import global_min_pool_with_argmin as global_min_pool_with_argmin
from jaxpool._src.pools.argmax import max_pool_with_argmax as max_pool_with_argmax
from jaxpool._src.pools.argmax import min_pool_with_argmin as min_pool_with_argmin
from jaxpool._src.pools.assignment import netvlad_pool as netvlad_pool
from jaxpool._src.pools.assignment import spatial_softmax as spatial_softmax
from jaxpool._src.pools.attention import attention_pool as attention_pool
from jaxpool._src.pools.channels import channel_pool as channel_pool
from jaxpool._src.pools.channels import maxout as maxout
from jaxpool._src.pools.descriptors import Sketch as Sketch
from jaxpool._src.pools.descriptors import bilinear_pool as bilinear_pool
from jaxpool._src.pools.descriptors import compact_bilinear_pool as compact_bilinear_pool
from jaxpool._src.pools.descriptors import covariance_pool as covariance_pool
from jaxpool._src.pools.descriptors import draw_sketch as draw_sketch
from jaxpool._src.pools.descriptors import isqrt_covariance_pool as isqrt_covariance_pool
from jaxpool._src.pools.detail import ada_pool as ada_pool
from jaxpool._src.pools.detail import adaptive_weighted_pool as adaptive_weighted_pool
from jaxpool._src.pools.detail import detail_preserving_pool as detail_preserving_pool
from jaxpool._src.pools.featurewise import featurewise_sort_pool as featurewise_sort_pool
from jaxpool._src.pools.fractional import fractional_avg_pool as fractional_avg_pool
from jaxpool._src.pools.fractional import fractional_max_pool as fractional_max_pool
from jaxpool._src.pools.fractional import (
    fractional_max_pool_with_argmax as fractional_max_pool_with_argmax,
)
from jaxpool._src.pools.global_order import global_median_pool as global_median_pool
from jaxpool._src.pools.global_order import global_quantile_pool as global_quantile_pool
from jaxpool._src.pools.global_order import global_rank_pool as global_rank_pool
from jaxpool._src.pools.global_order import global_top_k_mean_pool as global_top_k_mean_pool
from jaxpool._src.pools.global_order import global_weighted_rank_pool as global_weighted_rank_pool
from jaxpool._src.pools.global_order import k_max_pool as k_max_pool
from jaxpool._src.pools.global_order import wildcat_pool as wildcat_pool
from jaxpool._src.pools.importance import global_importance_pool as global_importance_pool
from jaxpool._src.pools.importance import global_linear_softmax_pool as global_linear_softmax_pool
from jaxpool._src.pools.importance import global_noisy_or_pool as global_noisy_or_pool
from jaxpool._src.pools.importance import importance_pool as importance_pool
from jaxpool._src.pools.importance import linear_softmax_pool as linear_softmax_pool
from jaxpool._src.pools.importance import noisy_or_pool as noisy_or_pool
from jaxpool._src.pools.matrix import matrix_pool as matrix_pool
from jaxpool._src.pools.matrix import regional_max_pool as regional_max_pool
from jaxpool._src.pools.matrix import strip_pool as strip_pool
from jaxpool._src.pools.max import global_max_pool as global_max_pool
from jaxpool._src.pools.max import global_min_pool as global_min_pool
from jaxpool._src.pools.max import max_pool as max_pool
from jaxpool._src.pools.max import min_pool as min_pool
from jaxpool._src.pools.mean import avg_pool as avg_pool
from jaxpool._src.pools.mean import global_avg_pool as global_avg_pool
from jaxpool._src.pools.mean import global_sum_pool as global_sum_pool
from jaxpool._src.pools.mean import sum_pool as sum_pool
from jaxpool._src.pools.mixed import gated_pool as gated_pool
from jaxpool._src.pools.mixed import global_avgmax_pool as global_avgmax_pool
from jaxpool._src.pools.mixed import global_catavgmax_pool as global_catavgmax_pool
from jaxpool._src.pools.mixed import mixed_pool as mixed_pool
from jaxpool._src.pools.mixed import tree_pool as tree_pool
from jaxpool._src.pools.moments import global_std_pool as global_std_pool
from jaxpool._src.pools.moments import global_variance_pool as global_variance_pool
from jaxpool._src.pools.moments import stats_pool as stats_pool
from jaxpool._src.pools.moments import std_pool as std_pool
from jaxpool._src.pools.moments import variance_pool as variance_pool
from jaxpool._src.pools.order import median_pool as median_pool
from jaxpool._src.pools.order import mode_pool as mode_pool
from jaxpool._src.pools.order import quantile_pool as quantile_pool
from jaxpool._src.pools.order import rank_pool as rank_pool
from jaxpool._src.pools.order import top_k_mean_pool as top_k_mean_pool
from jaxpool._src.pools.polyphase import polyphase_pool as polyphase_pool
from jaxpool._src.pools.polyphase import polyphase_unpool as polyphase_unpool
from jaxpool._src.pools.power import global_lp_pool as global_lp_pool
from jaxpool._src.pools.power import lp_pool as lp_pool
from jaxpool._src.pools.power_mean import gem_pool as gem_pool
from jaxpool._src.pools.power_mean import global_gem_pool as global_gem_pool
from jaxpool._src.pools.power_mean import global_power_mean_pool as global_power_mean_pool
from jaxpool._src.pools.power_mean import power_mean_pool as power_mean_pool
from jaxpool._src.pools.prefix import corner_pool as corner_pool
from jaxpool._src.pools.prefix import prefix_avg_pool as prefix_avg_pool
from jaxpool._src.pools.prefix import prefix_max_pool as prefix_max_pool
from jaxpool._src.pools.prefix import prefix_sum_pool as prefix_sum_pool
from jaxpool._src.pools.pyramids import pyramid_pool as pyramid_pool
from jaxpool._src.pools.pyramids import spatial_pyramid_pool as spatial_pyramid_pool
from jaxpool._src.pools.pyramids import sppf as sppf
from jaxpool._src.pools.random import global_stochastic_pool as global_stochastic_pool
from jaxpool._src.pools.random import max_pool_dropout as max_pool_dropout
from jaxpool._src.pools.random import random_mixed_pool as random_mixed_pool
from jaxpool._src.pools.random import rank_stochastic_pool as rank_stochastic_pool
from jaxpool._src.pools.random import stochastic_pool as stochastic_pool
from jaxpool._src.pools.s3 import s3_pool as s3_pool
from jaxpool._src.pools.segments import length_mask as length_mask
from jaxpool._src.pools.segments import segment_avg_pool as segment_avg_pool
from jaxpool._src.pools.segments import segment_ids as segment_ids
from jaxpool._src.pools.segments import segment_max_pool as segment_max_pool
from jaxpool._src.pools.segments import segment_min_pool as segment_min_pool
from jaxpool._src.pools.segments import segment_sum_pool as segment_sum_pool
from jaxpool._src.pools.sequences import approximate_rank_pool as approximate_rank_pool
from jaxpool._src.pools.sequences import first_pool as first_pool
from jaxpool._src.pools.sequences import last_pool as last_pool
from jaxpool._src.pools.sequences import mean_sqrt_length_pool as mean_sqrt_length_pool
from jaxpool._src.pools.sequences import piecewise_pool as piecewise_pool
from jaxpool._src.pools.sequences import position_weighted_pool as position_weighted_pool
from jaxpool._src.pools.sequences import splade_pool as splade_pool
from jaxpool._src.pools.sequences import temporal_pyramid_pool as temporal_pyramid_pool
from jaxpool._src.pools.softmax import global_logsumexp_pool as global_logsumexp_pool
from jaxpool._src.pools.softmax import global_softmax_pool as global_softmax_pool
from jaxpool._src.pools.softmax import logsumexp_pool as logsumexp_pool
from jaxpool._src.pools.softmax import softmax_pool as softmax_pool
from jaxpool._src.pools.spectral import spectral_dropout_pool as spectral_dropout_pool
from jaxpool._src.pools.spectral import spectral_pool as spectral_pool
from jaxpool._src.pools.unpool import convert_indices as convert_indices
from jaxpool._src.pools.unpool import max_unpool as max_unpool
from jaxpool._src.reductions.detail import AdaptiveWeighted as AdaptiveWeighted
from jaxpool._src.reductions.max import Max as Max
from jaxpool._src.reductions.max import Min as Min
from jaxpool._src.reductions.mean import Mean as Mean
from jaxpool._src.reductions.mean import Sum as Sum
from jaxpool._src.reductions.mixed import Mixed as Mixed
from jaxpool._src.reductions.moments import Moment as Moment
from jaxpool._src.reductions.moments import Std as Std
from jaxpool._src.reductions.moments import Variance as Variance
from jaxpool._src.reductions.monoid import Monoid as Monoid
from jaxpool._src.reductions.order import Median as Median
from jaxpool._src.reductions.order import Mode as Mode
from jaxpool._src.reductions.order import Quantile as Quantile
from jaxpool._src.reductions.order import RankMean as RankMean
from jaxpool._src.reductions.order import TopKMean as TopKMean
from jaxpool._src.reductions.power import Lp as Lp
from jaxpool._src.reductions.power_mean import PowerMean as PowerMean
from jaxpool._src.reductions.random import RankStochastic as RankStochastic
from jaxpool._src.reductions.random import Stochastic as Stochastic
from jaxpool._src.reductions.soft import LinearSoftmax as LinearSoftmax
from jaxpool._src.reductions.soft import LogSumExp as LogSumExp
from jaxpool._src.reductions.soft import NoisyOr as NoisyOr
from jaxpool._src.reductions.soft import SoftmaxMean as SoftmaxMean
from jaxpool._src.reductions.soft import WeightedMean as WeightedMean
from jaxpool._src.regions.align import deformable_roi_pool as deformable_roi_pool
from jaxpool._src.regions.align import multi_scale_roi_align as multi_scale_roi_align
from jaxpool._src.regions.align import roi_align as roi_align
from jaxpool._src.regions.crops import crop_and_resize as crop_and_resize
from jaxpool._src.regions.pools import precise_roi_pool as precise_roi_pool
from jaxpool._src.regions.pools import roi_max_pool as roi_max_pool
from jaxpool._src.regions.position_sensitive import (
    position_sensitive_roi_align as position_sensitive_roi_align,
)
from jaxpool._src.regions.position_sensitive import (
    position_sensitive_roi_pool as position_sensitive_roi_pool,
)

__version__ = "0.1.0"

if not _typing.TYPE_CHECKING:  # to which a module with this function would have any name
    __getattr__ = _names.answers(__name__)
