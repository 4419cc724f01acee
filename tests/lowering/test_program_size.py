"""What is lowered does not depend on the size of an array, nor on strides."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

KEY = jax.random.key(0)
BOXES = np.array([[0.0, 0, 4, 4], [1, 2, 30, 20]], np.float32)
OFFSETS = np.zeros((2, 3, 3, 2), np.float32)

# What functions of windows are called with besides the geometry.
OPTIONS = {
    "gated_pool": lambda x, n: {"gate": jnp.ones((3,) * n)},
    "quantile_pool": lambda x, n: {"q": 0.3},
    "rank_pool": lambda x, n: {"weights": np.array([0.5, 0.3, 0.2], np.float32)},
    "top_k_mean_pool": lambda x, n: {"k": 2},
    "tree_pool": lambda x, n: {
        "leaves": jnp.ones((2, *(3,) * n, 1)), "gates": jnp.ones((1, *(3,) * n, 1))},
    "opening_pool": lambda x, n: {"structure": jnp.ones((3,) * n)},
    "closing_pool": lambda x, n: {"structure": jnp.ones((3,) * n)},
    "dilation_pool": lambda x, n: {"structure": jnp.ones((3,) * n)},
    "erosion_pool": lambda x, n: {"structure": jnp.ones((3,) * n)},
    "stochastic_pool": lambda x, n: {"key": KEY},
    "rank_stochastic_pool": lambda x, n: {"key": KEY},
    "max_pool_dropout": lambda x, n: {"key": KEY},
    "random_mixed_pool": lambda x, n: {"key": KEY},
    "s3_pool": lambda x, n: {"key": KEY},
    "importance_pool": lambda x, n: {"logits": x},
    "global_importance_pool": lambda x, n: {"logits": x},
    "global_quantile_pool": lambda x, n: {"q": 0.3},
    "global_rank_pool": lambda x, n: {"weights": np.array([0.5, 0.3, 0.2], np.float32)},
    "global_top_k_mean_pool": lambda x, n: {"k": 0.1},
    "global_stochastic_pool": lambda x, n: {"key": KEY},
    "wildcat_pool": lambda x, n: {"kmin": 0.1, "kmax": 0.2},
    "ada_pool": lambda x, n: {"beta": 0.5},
}  # fmt: skip

# Functions with other arguments. x has `n` axes to pool, and one of channels.
OTHERS = {
    "blur_pool": lambda x, n: jaxpool.blur_pool(x, (2,) * n),
    "gaussian_pool": lambda x, n: jaxpool.gaussian_pool(x, (2,) * n, filter_size=3),
    "content_aware_blur_pool": lambda x, n: jaxpool.content_aware_blur_pool(
        x, jnp.ones((*(-(-s // 2) for s in x.shape[:n]), 3**n)), (2,) * n),
    "max_blur_pool": lambda x, n: jaxpool.max_blur_pool(x, (2,) * n),
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
    "regional_max_pool": lambda x, n: jaxpool.regional_max_pool(x, 2, axes=tuple(range(n))),
    "strip_pool": lambda x, n: jaxpool.strip_pool(x, 0),
    "sppf": lambda x, n: jaxpool.sppf(x, (3,) * n),
    "convert_indices": lambda x, n: jaxpool.convert_indices(
        jnp.zeros(x.shape, jnp.int32), x.shape, tuple(range(n)), to="onnx"),
    "max_unpool": lambda x, n: jaxpool.max_unpool(
        x, jnp.zeros(x.shape, jnp.int32), (2,) * n),
    "roi_align": lambda x, n: jaxpool.roi_align(x, BOXES, (3, 3)),
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
NAMES = sorted({n for n in dir(jaxpool) if callable(getattr(jaxpool, n))} - CLASSES
               - {"parabolic_structure"})  # fmt: skip


def call(name, n, geometry, x):
    if name in OTHERS:
        return OTHERS[name](x, n)
    function = getattr(jaxpool, name)
    given = inspect.signature(function).parameters
    options = OPTIONS.get(name, lambda x, n: {})(x, n)
    axes = tuple(range(n))
    if name.startswith("fractional"):
        return function(x, (2,) * n, output_shape=(5,) * n, key=KEY, axes=axes)
    if "output_shape" in given:
        return function(x, (5,) * n, axes=axes, **options)
    if "window_shape" in given:
        accepted = {k: v for k, v in geometry.items() if k in given}
        return function(x, window_shape=(3,) * n, axes=axes, **accepted, **options)
    return function(x, axes=axes, **options)


def length(function, shape, dtype=jnp.float32):
    """That of the program of values and gradient."""

    def loss(x):
        leaves = jax.tree.leaves(function(x))
        return sum(jnp.sum(y.astype(jnp.float32)) for y in leaves)

    x = jax.ShapeDtypeStruct(shape, dtype)
    return len(jax.jit(jax.value_and_grad(loss)).lower(x).as_text())


GEOMETRY = {"strides": 2, "padding": 1}


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_programs_do_not_grow(name, n):
    if name in IMAGES and n == 1:
        return
    function = functools.partial(call, name, n, GEOMETRY)
    small, large = (100_000, 1_600_000) if n == 1 else (128, 1024)
    before, after = (length(function, (*(size,) * n, 1)) for size in (small, large))
    assert after <= 1.2 * before
