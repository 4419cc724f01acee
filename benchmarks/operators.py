"""Each public function on a batch of arrays: of one x of shape (batch, *pooled, channels).

What is exported and what is compiled for accelerators runs over this table.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool

BOXES = np.array([[0, 0, 4, 4], [1, 2, 7, 5]], np.float32)
OFFSETS = np.zeros((2, 3, 3, 2), np.float32)
WEIGHTS = np.array([0.5, 0.3, 0.2], np.float32)
# Options of functions that are called as their neighbours are.
OPTIONS: dict[str, Callable[[jax.Array, tuple[int, ...]], dict[str, Any]]] = {
    "gated_pool": lambda x, window: {"gate": jnp.ones(window, x.dtype)},
    "tree_pool": lambda x, window: {
        "leaves": jnp.ones((2, *window, 1), x.dtype),
        "gates": jnp.ones((1, *window, 1), x.dtype),
    },
    "quantile_pool": lambda x, window: {"q": 0.3},
    "global_quantile_pool": lambda x, window: {"q": 0.3},
    "rank_pool": lambda x, window: {"weights": WEIGHTS},
    "global_rank_pool": lambda x, window: {"weights": WEIGHTS},
    "top_k_mean_pool": lambda x, window: {"k": 2},
    "global_top_k_mean_pool": lambda x, window: {"k": 2},
    "wildcat_pool": lambda x, window: {"kmin": 2, "kmax": 2},
    "ada_pool": lambda x, window: {"beta": 0.5},
    **dict.fromkeys(
        ("dilation_pool", "erosion_pool", "opening_pool", "closing_pool"),
        lambda x, window: {"structure": jnp.ones(window, x.dtype)},
    ),
    **dict.fromkeys(
        (
            "stochastic_pool", "global_stochastic_pool", "rank_stochastic_pool",
            "max_pool_dropout", "random_mixed_pool", "s3_pool", "spectral_dropout_pool",
        ),
        lambda x, window: {"key": jax.random.key(0)},
    ),
}  # fmt: skip


def _over(pool: Callable, n: int, **options: Any) -> Callable:
    """Pooled over all of the n axes at once."""
    return functools.partial(pool, axes=tuple(range(1, n + 1)), **options)


def _along(pool: Callable, **options: Any) -> Callable:
    """Pooled along the first of the axes."""
    return functools.partial(pool, axis=1, **options)


def _pieces(x: jax.Array) -> list[jax.Array]:
    return [jaxpool.piecewise_pool(x, (1, 3), axis=1, where=where) for where in (None, x > -9)]


def _unpooled(x: jax.Array, n: int) -> jax.Array:
    y, indices = jaxpool.max_pool_with_argmax(x, (2,) * n)
    return jaxpool.max_unpool(y, indices, (2,) * n)


def _converted(x: jax.Array, n: int) -> jax.Array:
    _, indices = jaxpool.max_pool_with_argmax(x, (2,) * n)
    return jaxpool.convert_indices(indices, x.shape, tuple(range(1, n + 1)), to="onnx")


def _each(pool: Callable, x: jax.Array, *others: Any, **options: Any) -> jax.Array:
    """Maps of a batch with the same boxes."""
    return jax.vmap(lambda x: pool(x, *others, **options))(x)


def _tiled(pool: Callable, x: jax.Array) -> jax.Array:
    return _each(pool, jnp.concatenate([x] * 9, -1), BOXES.astype(x.dtype), (3, 3))


def _levels(x: jax.Array) -> jax.Array:
    def one(x: jax.Array) -> jax.Array:
        maps = [x, x[::2, ::2]]
        return jaxpool.multi_scale_roi_align(
            maps, BOXES.astype(x.dtype), (3, 3), spatial_scales=(1.0, 0.5)
        )

    return jax.vmap(one)(x)


def _blurred_by_content(x: jax.Array, n: int) -> jax.Array:
    cells = [(size - 1) // 2 + 1 for size in x.shape[1:-1]]
    kernels = jnp.ones((x.shape[0], *cells, 3**n), x.dtype)
    return jaxpool.content_aware_blur_pool(x, kernels, (2,) * n)


def _ids(size: int) -> np.ndarray:
    return np.arange(size) // 3


# Those with arguments of their own, as functions of x and of the number of pooled axes.
OTHERS: dict[str, Callable[[jax.Array, int], Any]] = {
    "pool": lambda x, n: jaxpool.pool(
        x, jaxpool.Window((3,) * n), jaxpool.Monoid(jnp.add, np.zeros((), x.dtype))),
    "pool_mask": lambda x, n: jaxpool.pool_mask(x > 0, jaxpool.Window((3,) * n, 2, 1), "all"),
    "blur_pool": lambda x, n: jaxpool.blur_pool(x, (2,) * n),
    "gaussian_pool": lambda x, n: jaxpool.gaussian_pool(x, (2,) * n, filter_size=3),
    "max_blur_pool": lambda x, n: jaxpool.max_blur_pool(x, (2,) * n),
    "content_aware_blur_pool": _blurred_by_content,
    "wavelet_pool": lambda x, n: _over(jaxpool.wavelet_pool, n, wavelet="db2", bands="all")(x),
    "polyphase_pool": lambda x, n: jaxpool.polyphase_pool(x, (2,) * n),
    "polyphase_unpool": lambda x, n: jaxpool.polyphase_unpool(
        x, jnp.zeros((x.shape[0], n), jnp.int32), (2,) * n),
    "channel_pool": lambda x, n: jaxpool.channel_pool(x, 2),
    "maxout": lambda x, n: jaxpool.maxout(x, 2),
    "k_max_pool": lambda x, n: jaxpool.k_max_pool(x, 3, 1),
    "matrix_pool": lambda x, n: jaxpool.matrix_pool(
        x, [jnp.ones((2, size), x.dtype) for size in x.shape[1:-1]], tuple(range(1, n + 1))),
    "strip_pool": lambda x, n: jaxpool.strip_pool(x, 1),
    "regional_max_pool": lambda x, n: jaxpool.regional_max_pool(x, 2),
    "pyramid_pool": lambda x, n: _over(jaxpool.pyramid_pool, n)(x, [1, 3]),
    "spatial_pyramid_pool": lambda x, n: _over(jaxpool.spatial_pyramid_pool, n)(x, [1, 3]),
    "sppf": lambda x, n: jaxpool.sppf(x, (3,) * n),
    "max_unpool": _unpooled,
    "convert_indices": _converted,
    **{f"segment_{kind}_pool": functools.partial(
        lambda pool, x, n: pool(x, _ids(x.shape[1]), 5, axis=1),
        getattr(jaxpool, f"segment_{kind}_pool")) for kind in ("max", "min", "sum", "avg")},
    **{f"prefix_{kind}_pool": functools.partial(
        lambda pool, x, n: pool(x, 1), getattr(jaxpool, f"prefix_{kind}_pool"))
        for kind in ("max", "sum", "avg")},
    "corner_pool": lambda x, n: jaxpool.corner_pool(x, axes=(1, n if n > 1 else -1)),
    "importance_pool": lambda x, n: jaxpool.importance_pool(x, x, (3,) * n, 2, 1),
    "global_importance_pool": lambda x, n: _over(jaxpool.global_importance_pool, n)(x, x),
    "length_mask": lambda x, n: jaxpool.length_mask(jnp.array([3, 5]), x.shape[1]),
    "segment_ids": lambda x, n: jaxpool.segment_ids(jnp.array([3, 5]), x.shape[1]),
    **{name: functools.partial(
        lambda pool, x, n: pool(x, axis=1), getattr(jaxpool, name))
        for name in ("first_pool", "last_pool", "mean_sqrt_length_pool", "position_weighted_pool",
                     "approximate_rank_pool", "splade_pool")},
    "featurewise_sort_pool": lambda x, n: jaxpool.featurewise_sort_pool(x, WEIGHTS, axis=1),
    "temporal_pyramid_pool": lambda x, n: jaxpool.temporal_pyramid_pool(x, (1, 3), axis=1),
    "piecewise_pool": lambda x, n: _pieces(x),
    **{name: functools.partial(lambda pool, x, n: _over(pool, n)(x), getattr(jaxpool, name))
       for name in ("covariance_pool", "bilinear_pool", "isqrt_covariance_pool",
                    "spatial_softmax")},
    "draw_sketch": lambda x, n: jaxpool.draw_sketch(jax.random.key(0), 4, 8),
    "compact_bilinear_pool": lambda x, n: _over(
        jaxpool.compact_bilinear_pool, n,
        sketch=jaxpool.draw_sketch(jax.random.key(0), x.shape[-1], 8))(x),
    "netvlad_pool": lambda x, n: _over(jaxpool.netvlad_pool, n)(
        x, jnp.eye(x.shape[-1], dtype=x.dtype), x),
    "attention_pool": lambda x, n: _over(jaxpool.attention_pool, n)(
        x, jnp.eye(2, x.shape[-1], dtype=x.dtype)),
    **{name: functools.partial(
        lambda pool, x, n: _each(pool, x, BOXES.astype(x.dtype), (3, 3)), getattr(jaxpool, name))
        for name in ("roi_align", "roi_max_pool", "precise_roi_pool")},
    "crop_and_resize": lambda x, n: _each(
        jaxpool.crop_and_resize, x, (BOXES / 9).astype(x.dtype), (3, 3)),
    **{name: functools.partial(lambda pool, x, n: _tiled(pool, x), getattr(jaxpool, name))
       for name in ("position_sensitive_roi_align", "position_sensitive_roi_pool")},
    "deformable_roi_pool": lambda x, n: _each(
        jaxpool.deformable_roi_pool, x, BOXES.astype(x.dtype), OFFSETS.astype(x.dtype), (3, 3)),
    "multi_scale_roi_align": lambda x, n: _levels(x),
}  # fmt: skip
# What is of images alone, and what has no derivatives.
IMAGES = {name for name in OTHERS if "roi" in name} | {"crop_and_resize", "regional_max_pool"}
DISCRETE = {
    "convert_indices", "draw_sketch", "length_mask", "mode_pool", "pool_mask", "segment_ids",
}  # fmt: skip
NAMES = sorted(
    name
    for name, value in vars(jaxpool).items()
    if inspect.isfunction(value) and name != "parabolic_structure"
)


def operator(name: str, n: int) -> Callable[[jax.Array], Any]:
    """That function of x of shape (batch, *n sizes, channels)."""
    if name in OTHERS:
        return lambda x: OTHERS[name](x, n)
    function, window, axes = getattr(jaxpool, name), (3,) * n, tuple(range(1, n + 1))
    given = inspect.signature(function).parameters

    def call(x: jax.Array) -> Any:
        options = OPTIONS.get(name, lambda *_: {})(x, window)
        if name.startswith("fractional"):
            key = jax.random.key(0)
            return function(x, (2,) * n, output_shape=(3,) * n, axes=axes, key=key)
        if "output_shape" in given:
            return function(x, (3,) * n, axes=axes, **options)
        if "window_shape" in given:
            geometry = {"strides": 2, "padding": 1}
            accepted = {k: v for k, v in geometry.items() if k in given}
            return function(
                x.astype(np.int32) if name == "mode_pool" else x, window, **accepted, **options
            )
        return function(x, axes=axes, **options)

    return call


def with_gradient(function: Callable) -> Callable:
    """Its value, and the gradient of a sum of all floats in it."""

    def both(x: jax.Array) -> tuple[Any, jax.Array]:
        def loss(x: jax.Array) -> tuple[jax.Array, Any]:
            y = function(x)
            floats = [v for v in jax.tree.leaves(y) if jnp.issubdtype(v.dtype, jnp.floating)]
            return sum(jnp.sum(v) for v in floats), y

        gradient, y = jax.grad(loss, has_aux=True)(x)
        return y, gradient

    return both
