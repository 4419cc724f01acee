"""What is lowered does not depend on the size of an array, nor on strides."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = (
    "core/geometry.py",
    "lowering/folds.py",
    "lowering/interval_scan.py",
    "lowering/interval_trees.py",
)

KEY = jax.random.key(0)
BOXES = np.array([[0.0, 0, 4, 4], [1, 2, 30, 20]], np.float32)
OFFSETS = np.zeros((2, 3, 3, 2), np.float32)

# What functions of windows are called with besides the geometry.
OPTIONS = {
    "gated_pool": lambda x, window: {"gate": jnp.ones(window)},
    "quantile_pool": lambda x, window: {"q": 0.3},
    "rank_pool": lambda x, window: {"weights": np.array([0.5, 0.3, 0.2], np.float32)},
    "top_k_mean_pool": lambda x, window: {"k": 2},
    "tree_pool": lambda x, window: {
        "leaves": jnp.ones((2, *window, 1)), "gates": jnp.ones((1, *window, 1))},
    "opening_pool": lambda x, window: {"structure": jnp.ones(window)},
    "closing_pool": lambda x, window: {"structure": jnp.ones(window)},
    "dilation_pool": lambda x, window: {"structure": jnp.ones(window)},
    "erosion_pool": lambda x, window: {"structure": jnp.ones(window)},
    "stochastic_pool": lambda x, window: {"key": KEY},
    "rank_stochastic_pool": lambda x, window: {"key": KEY},
    "max_pool_dropout": lambda x, window: {"key": KEY},
    "random_mixed_pool": lambda x, window: {"key": KEY},
    "s3_pool": lambda x, window: {"key": KEY},
    "spectral_dropout_pool": lambda x, window: {"key": KEY},
    "importance_pool": lambda x, window: {"logits": x},
    "global_importance_pool": lambda x, window: {"logits": x},
    "global_quantile_pool": lambda x, window: {"q": 0.3},
    "global_rank_pool": lambda x, window: {"weights": np.array([0.5, 0.3, 0.2], np.float32)},
    "global_top_k_mean_pool": lambda x, window: {"k": 0.1},
    "global_stochastic_pool": lambda x, window: {"key": KEY},
    "wildcat_pool": lambda x, window: {"kmin": 0.1, "kmax": 0.2},
    "ada_pool": lambda x, window: {"beta": 0.5},
}  # fmt: skip

# Functions with other arguments. x has `n` axes to pool, and one of channels.
OTHERS = {
    "blur_pool": lambda x, n: jaxpool.blur_pool(x, (2,) * n),
    "gaussian_pool": lambda x, n: jaxpool.gaussian_pool(x, (2,) * n, filter_size=3),
    "content_aware_blur_pool": lambda x, n: jaxpool.content_aware_blur_pool(
        x, jnp.ones((*(-(-s // 2) for s in x.shape[:n]), 3**n)), (2,) * n),
    "max_blur_pool": lambda x, n: jaxpool.max_blur_pool(x, (2,) * n),
    "wavelet_pool": lambda x, n: jaxpool.wavelet_pool(x, "db2", axes=tuple(range(n)), bands="all"),
    "polyphase_pool": lambda x, n: jaxpool.polyphase_pool(x, (2,) * n),
    "polyphase_unpool": lambda x, n: jaxpool.polyphase_unpool(
        x, jnp.zeros(n, jnp.int32), (2,) * n),
    "channel_pool": lambda x, n: jaxpool.channel_pool(x, 1),
    "maxout": lambda x, n: jaxpool.maxout(x, 2, 0),
    "k_max_pool": lambda x, n: jaxpool.k_max_pool(x, 3, 0),
    "matrix_pool": lambda x, n: jaxpool.matrix_pool(
        x, [jnp.ones((2, s)) for s in x.shape[:n]], tuple(range(n))),
    "pool": lambda x, n: jaxpool.pool(
        x, jaxpool.Global(0), jaxpool.Monoid(jnp.add, np.float32(0))),
    "pool_mask": lambda x, n: jaxpool.pool_mask(x > 0, jaxpool.Window((3,) * n, 2, 1), "all"),
    "pyramid_pool": lambda x, n: jaxpool.pyramid_pool(x, [1, 3], axes=tuple(range(n))),
    "spatial_pyramid_pool": lambda x, n: jaxpool.spatial_pyramid_pool(
        x, [1, 3], axes=tuple(range(n))),
    **{f"segment_{kind}_pool": functools.partial(
        lambda function, x, n: function(x, jnp.arange(x.shape[0]) // 7, 5),
        getattr(jaxpool, f"segment_{kind}_pool")) for kind in ("max", "min", "sum", "avg")},
    **{f"prefix_{kind}_pool": functools.partial(
        lambda function, x, n: function(x, 0, reverse=n > 1),
        getattr(jaxpool, f"prefix_{kind}_pool")) for kind in ("max", "sum", "avg")},
    "corner_pool": lambda x, n: jaxpool.corner_pool(x, axes=(0, n - 1 or -1)),
    "length_mask": lambda x, n: jaxpool.length_mask(jnp.array([3, 5]), x.shape[0]),
    "segment_ids": lambda x, n: jaxpool.segment_ids(jnp.array([3, 5]), x.shape[0]),
    "first_pool": lambda x, n: jaxpool.first_pool(x, axis=0, where=x > 0),
    "last_pool": lambda x, n: jaxpool.last_pool(x, axis=0, where=x > 0),
    "mean_sqrt_length_pool": lambda x, n: jaxpool.mean_sqrt_length_pool(x, axis=0, where=x > 0),
    "featurewise_sort_pool": lambda x, n: jaxpool.featurewise_sort_pool(
        x[:, None], np.array([0.5, 0.25], np.float32), axis=0, where=x[:, None] > 0),
    "position_weighted_pool": lambda x, n: jaxpool.position_weighted_pool(x, axis=0, where=x > 0),
    "approximate_rank_pool": lambda x, n: jaxpool.approximate_rank_pool(x, axis=0),
    "splade_pool": lambda x, n: jaxpool.splade_pool(x, axis=0, where=x > 0),
    "temporal_pyramid_pool": lambda x, n: jaxpool.temporal_pyramid_pool(x, (1, 3), axis=0),
    "piecewise_pool": lambda x, n: [
        jaxpool.piecewise_pool(x, p, axis=0, where=w)
        for p in ((2, 50), jnp.array([2, 50])) for w in (None, x > 0)],
    "covariance_pool": lambda x, n: jaxpool.covariance_pool(x, tuple(range(n))),
    "bilinear_pool": lambda x, n: jaxpool.bilinear_pool(x, tuple(range(n))),
    "isqrt_covariance_pool": lambda x, n: jaxpool.isqrt_covariance_pool(x, tuple(range(n))),
    "compact_bilinear_pool": lambda x, n: jaxpool.compact_bilinear_pool(
        x, tuple(range(n)), sketch=jaxpool.draw_sketch(KEY, 1, 8)),
    "draw_sketch": lambda x, n: jaxpool.draw_sketch(KEY, 3, 8),
    "netvlad_pool": lambda x, n: jaxpool.netvlad_pool(
        x, jnp.ones((1, 1)), x, axes=tuple(range(n))),
    "spatial_softmax": lambda x, n: jaxpool.spatial_softmax(x, axes=tuple(range(n))),
    "regional_max_pool": lambda x, n: jaxpool.regional_max_pool(x, 2, axes=tuple(range(n))),
    "strip_pool": lambda x, n: jaxpool.strip_pool(x, 0),
    "attention_pool": lambda x, n: jaxpool.attention_pool(
        x, jnp.ones((2, x.shape[-1])), axes=tuple(range(n)), where=x[..., :1] > 0),
    "sppf": lambda x, n: jaxpool.sppf(x, (3,) * n),
    "convert_indices": lambda x, n: jaxpool.convert_indices(
        jnp.zeros(x.shape, jnp.int32), x.shape, tuple(range(n)), to="onnx"),
    "max_unpool": lambda x, n: jaxpool.max_unpool(
        x, jnp.zeros(x.shape, jnp.int32), (2,) * n),
    "roi_align": lambda x, n: jaxpool.roi_align(x, BOXES, (3, 3)),
    "crop_and_resize": lambda x, n: jaxpool.crop_and_resize(x, BOXES / 9, (3, 3)),
    "roi_max_pool": lambda x, n: jaxpool.roi_max_pool(x, BOXES, (3, 3)),
    "precise_roi_pool": lambda x, n: jaxpool.precise_roi_pool(x, BOXES, (3, 3)),
    "position_sensitive_roi_align": lambda x, n: jaxpool.position_sensitive_roi_align(
        jnp.tile(x, 9), BOXES, (3, 3)),
    "position_sensitive_roi_pool": lambda x, n: jaxpool.position_sensitive_roi_pool(
        jnp.tile(x, 9), BOXES, (3, 3)),
    "deformable_roi_pool": lambda x, n: jaxpool.deformable_roi_pool(x, BOXES, OFFSETS, (3, 3)),
    "multi_scale_roi_align": lambda x, n: jaxpool.multi_scale_roi_align(
        [x, x[::2, ::2]], BOXES, (3, 3), spatial_scales=(1.0, 0.5)),
}  # fmt: skip
IMAGES = {name for name in OTHERS if "roi" in name} | {"regional_max_pool"}
CLASSES = {name for name in dir(jaxpool) if inspect.isclass(getattr(jaxpool, name))}
NAMES = sorted({n for n in dir(jaxpool) if callable(getattr(jaxpool, n)) and n[0] != "_"} - CLASSES
               - {"parabolic_structure", "halo_exchange"})  # fmt: skip


OF_WINDOWS = {
    name: name not in OTHERS and not name.startswith("fractional") and name != "sppf"
    and "window_shape" in inspect.signature(getattr(jaxpool, name)).parameters
    for name in NAMES
}  # fmt: skip


def call(name, n, size, geometry, x):
    """Of windows of that many elements, or of what else the function pools."""
    if name in OTHERS:
        return OTHERS[name](x, n)
    function = getattr(jaxpool, name)
    given = inspect.signature(function).parameters
    options = OPTIONS.get(name, lambda *_: {})(x, (size,) * n)
    axes = tuple(range(n))
    if name.startswith("fractional"):
        return function(x, (2,) * n, output_shape=(5,) * n, key=KEY, axes=axes)
    if "output_shape" in given:
        return function(x, (5,) * n, axes=axes, **options)
    if name == "mode_pool":
        x = x.astype(np.int32)
    if "window_shape" in given:
        accepted = {k: v for k, v in geometry.items() if k in given}
        return function(x, window_shape=(size,) * n, axes=axes, **accepted, **options)
    return function(x, axes=axes, **options)


def length(function, shape, dtype=jnp.float32):
    """That of the program of values and gradient."""

    def loss(x):
        leaves = jax.tree.leaves(function(x))
        return sum(jnp.sum(y.astype(jnp.float32)) for y in leaves)

    x = jax.ShapeDtypeStruct(shape, dtype)
    return len(jax.jit(jax.value_and_grad(loss)).lower(x).as_text())


# Of windows: on all paths, in the exhaustive tier of all functions.
GEOMETRIES = {
    "same": (9, {"strides": 1, "padding": "SAME"}),
    "ceil": (17, {"strides": 5, "padding": 3, "ceil_mode": True}),
    "dilated": (9, {"strides": 2, "padding": 6, "dilation": 3}),
    "long": (1921, {"strides": 1, "padding": 960}),
    "strides": (3, {"strides": 1000, "padding": 1}),
}
PATHS = ["max_pool", "median_pool"]
LONG_PATHS = [*PATHS, "avg_pool", "logsumexp_pool", "rank_pool"]
# Their programs are those of another function, but for a sign, a draw or a second one beside it;
# or what is of them alone is elementwise.
LIKE_OTHERS = {
    "global_lp_pool", "global_power_mean_pool", "global_gem_pool", "global_linear_softmax_pool",
    "global_noisy_or_pool", "global_softmax_pool", "global_weighted_rank_pool", "global_sum_pool",
    "gem_pool", "softmax_pool", "sum_pool", "max_blur_pool", "adaptive_weighted_pool",
    "first_pool", "prefix_sum_pool", "segment_sum_pool", "global_top_k_mean_pool",
    "fractional_avg_pool", "fractional_max_pool_with_argmax", "adaptive_max_pool_with_argmax",
    "min_pool", "min_pool_with_argmin", "adaptive_min_pool", "global_min_pool", "erosion_pool",
    "global_min_pool_with_argmin", "closing_pool", "random_mixed_pool", "global_avgmax_pool",
    "global_catavgmax_pool", "quantile_pool", "global_quantile_pool", "wildcat_pool",
    "multi_scale_roi_align", "position_sensitive_roi_pool", "importance_pool", "variance_pool",
    "global_variance_pool", "global_std_pool", "last_pool", "segment_min_pool", "segment_avg_pool",
    "prefix_avg_pool", "length_mask",  "mean_sqrt_length_pool", "splade_pool", "covariance_pool",
    "bilinear_pool", "draw_sketch",
}  # fmt: skip
# Its windows are shares of the axis, and programs of maxima grow with the logarithm of a window.
GROWTH = {"spatial_pyramid_pool": 1.5, "temporal_pyramid_pool": 1.5}
# Maxima of segments have a form for one block of elements, and another one for many.
MANY_BLOCKS = ("segment_max_pool", "segment_min_pool")


def assert_same_length(function, n, most=1.2, times=1):
    small, large = (100_000 * times, 1_600_000 * times) if n == 1 else (128 * times, 1024 * times)
    before, after = (length(function, (*(size,) * n, 1)) for size in (small, large))
    assert after <= most * before
    assert after < 1_000_000


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=pytest.mark.exhaustive if name in LIKE_OTHERS else ())
    for name in NAMES])  # fmt: skip
def test_programs_do_not_grow_with_an_image(name):
    geometry = {"strides": 2, "padding": 1}
    times = 8 if name in MANY_BLOCKS else 1
    assert_same_length(functools.partial(call, name, 2, 3, geometry), 2, times=times)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted(set(NAMES) - IMAGES))
def test_programs_do_not_grow_with_an_axis(name):
    geometry = {"strides": 2, "padding": 1}
    times = 8 if name in MANY_BLOCKS else 1
    assert_same_length(
        functools.partial(call, name, 1, 3, geometry), 1, GROWTH.get(name, 1.2), times
    )


@pytest.mark.parametrize(("name", "geometry"), [
    pytest.param(name, geometry, marks=() if name in paths else pytest.mark.exhaustive)
    for geometry in GEOMETRIES for paths in [LONG_PATHS if geometry == "long" else PATHS]
    for name in NAMES if OF_WINDOWS[name]])  # fmt: skip
def test_programs_do_not_grow_with_an_axis_of_windows(name, geometry):
    size, options = GEOMETRIES[geometry]
    assert_same_length(functools.partial(call, name, 1, size, options), 1)


def test_programs_do_not_grow_with_strides():
    def pool(stride, x):
        return jaxpool.max_pool(x, (2, 2), stride), jaxpool.logsumexp_pool(x, (2, 2), stride)

    few, many = (length(functools.partial(pool, s), (4, 4, 1)) for s in (5, 20_000))
    assert few == many
    few, many = (length(functools.partial(pool, s), (100, 30_000, 1)) for s in (90, 10_000))
    assert many <= 1.2 * few


@pytest.mark.parametrize("pool", [
    lambda x, s: jaxpool.blur_pool(x, (s,)),
    lambda x, s: jaxpool.gated_pool(x, (3,), s, gate=jnp.ones(3)),
    lambda x, s: jaxpool.content_aware_blur_pool(x, jnp.ones((100_000 // s, 3)), (s,)),
], ids=["blur", "gated", "content_aware"])  # fmt: skip
def test_programs_of_filters_do_not_grow_with_strides(pool):
    few, many = (length(lambda x, s=s: pool(x, s), (100_000, 1)) for s in (100, 5000))
    assert many <= 1.2 * few


@pytest.mark.parametrize("bounds", [
    jaxpool.Adaptive(5, axes=0),
    jaxpool.Intervals(jnp.array([0, 7]), jnp.array([50, 900]), axes=0),
], ids=["adaptive", "traced"])  # fmt: skip
def test_programs_of_intervals_do_not_grow_with_an_axis(bounds):
    def pools(x):
        return [jaxpool.pool(x, bounds, r) for r in (jaxpool.Stochastic(KEY), jaxpool.Mean())]

    assert_same_length(pools, 1)


def test_programs_of_order_statistics_do_not_grow_with_windows():
    def pool(size, x):
        return jaxpool.median_pool(x, size, size, axes=0)

    few, many = (length(functools.partial(pool, size), (100_000, 1)) for size in (200, 4000))
    assert many <= 1.2 * few


@pytest.mark.parametrize("options", [
    {"window_shape": 2, "key": KEY}, {"window_shape": 2, "deterministic": True},
    {"scheme": "tensorflow", "key": KEY}, {"scheme": "tensorflow", "deterministic": True},
])  # fmt: skip
def test_programs_do_not_grow_with_the_number_of_drawn_cells(options):
    def pools(x, cells):
        more = {"axes": 0, "output_shape": cells, **options}
        y, _ = jaxpool.fractional_max_pool_with_argmax(x, **more)
        return y, jaxpool.fractional_avg_pool(x, **more)

    before, after = (
        length(functools.partial(pools, cells=n // 147 * 100), (n,)) for n in (1471, 14_701)
    )
    assert after <= 1.2 * before
