"""
One photograph through all of them
==================================

Every window pool of the library over the same windows, 16 x 16 without overlap, and those that keep
or blur the picture instead. Order statistics and soft pools lie between ``min_pool`` and
``max_pool``; the random ones draw anew in each window and colour, which shows as noise; a dilation
and an erosion move the borders of what is bright.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image

import jaxpool

KEY = jax.random.key(0)
COLUMNS = 6


def pools(window: int) -> dict[str, Callable[[Any], Any]]:
    """Functions of a picture, by what stands above them."""
    w = (window, window)
    slope = np.linspace(-1, 1, window, dtype=np.float32)
    parabola = jaxpool.parabolic_structure(w, 0.5 * window**2)
    trimmed = np.ones(window**2, np.float32)
    trimmed[: window**2 // 4] = trimmed[-(window**2) // 4 :] = 0
    windowed = {
        "max_pool": jaxpool.max_pool,
        "min_pool": jaxpool.min_pool,
        "avg_pool": jaxpool.avg_pool,
        "sum_pool, relative": lambda x, w: jaxpool.sum_pool(x, w) / math.prod(w),
        "lp_pool(p=8), relative": lambda x, w: jaxpool.lp_pool(x, w, p=8) / math.prod(w) ** (1 / 8),
        "variance_pool, times 4": lambda x, w: 4 * jaxpool.variance_pool(x, w),
        "std_pool, times 2": lambda x, w: 2 * jaxpool.std_pool(x, w),
        "logsumexp_pool": jaxpool.logsumexp_pool,
        "softmax_pool(sharpness=10)": functools.partial(jaxpool.softmax_pool, sharpness=10),
        "linear_softmax_pool": jaxpool.linear_softmax_pool,
        "importance_pool": lambda x, w: jaxpool.importance_pool(
            x, np.broadcast_to(5 * x[..., :1], x.shape), w
        ),
        "power_mean_pool(p=-1)": functools.partial(jaxpool.power_mean_pool, p=-1.0),
        "gem_pool": jaxpool.gem_pool,
        "noisy_or_pool": lambda x, w: jaxpool.noisy_or_pool(x / math.prod(w), w),
        "median_pool": jaxpool.median_pool,
        "mode_pool, of 8 levels": lambda x, w: (
            jaxpool.mode_pool((7 * x).astype(np.int32), w).astype(np.float32) / 7
        ),
        "quantile_pool(q=0.9)": functools.partial(jaxpool.quantile_pool, q=0.9),
        "rank_pool, trimmed mean": functools.partial(
            jaxpool.rank_pool, weights=trimmed / trimmed.sum()
        ),
        "top_k_mean_pool(k=0.1)": functools.partial(jaxpool.top_k_mean_pool, k=0.1),
        "mixed_pool": jaxpool.mixed_pool,
        "gated_pool": functools.partial(
            jaxpool.gated_pool, gate=np.full(w, 4 / window**2, np.float32)
        ),
        "tree_pool": functools.partial(
            jaxpool.tree_pool,
            leaves=np.stack([np.full(w, 1 / window**2), np.eye(window) / window]).astype("f4"),
            gates=np.add.outer(slope, slope)[None],
        ),
        "ada_pool": jaxpool.ada_pool,
        "adaptive_weighted_pool": jaxpool.adaptive_weighted_pool,
        "detail_preserving_pool": jaxpool.detail_preserving_pool,
        "stochastic_pool": functools.partial(jaxpool.stochastic_pool, key=KEY),
        "rank_stochastic_pool": functools.partial(jaxpool.rank_stochastic_pool, key=KEY),
        "random_mixed_pool": functools.partial(jaxpool.random_mixed_pool, key=KEY, per="cell"),
        "max_pool_dropout(0.9)": functools.partial(jaxpool.max_pool_dropout, rate=0.9, key=KEY),
        "dilation_pool, parabola": functools.partial(jaxpool.dilation_pool, structure=parabola),
        "erosion_pool, parabola": functools.partial(jaxpool.erosion_pool, structure=parabola),
        "max_blur_pool": functools.partial(jaxpool.max_blur_pool, filter_size=window),
        "s3_pool": lambda x, w: jaxpool.s3_pool(x, w, grid=2 * w[0], key=KEY),
    }
    found = {name: functools.partial(_over, pool, w) for name, pool in windowed.items()}
    return found | {
        "blur_pool": lambda x: jaxpool.blur_pool(x, w, filter_size=2 * window),
        "gaussian_pool": lambda x: jaxpool.gaussian_pool(x, w, filter_size=2 * window),
        "fractional_max_pool": lambda x: jaxpool.fractional_max_pool(
            x, w, output_ratio=1 / window, key=KEY
        ),
        "adaptive_avg_pool": lambda x: jaxpool.adaptive_avg_pool(
            x, (x.shape[0] // window, x.shape[1] // window)
        ),
        "opening_pool": lambda x: jaxpool.opening_pool(x, w),
        "closing_pool": lambda x: jaxpool.closing_pool(x, w),
    }


def _over(pool: Callable, window: tuple[int, int], x: Any) -> Any:
    return pool(x, window)


def main(window: int = 16, out: str | Path | None = "out") -> Figure:
    """Draws the photograph through each pool; saves the figure in `out` unless that is None."""
    photograph = load_sample_image("flower.jpg").astype(np.float32) / 255
    functions = pools(window)
    rows = -(-len(functions) // COLUMNS)
    figure, grid = plt.subplots(
        rows, COLUMNS, figsize=(2.6 * COLUMNS, 2.05 * rows), layout="constrained"
    )
    for ax in grid.flat:
        ax.set_axis_off()
    for ax, (name, pool) in zip(grid.flat, functions.items(), strict=False):
        picture = np.clip(np.asarray(pool(photograph)), 0, 1)
        ax.imshow(picture, interpolation="nearest")
        ax.set_title(name, fontsize=10)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "pooling_zoo.png", dpi=100)
    return figure


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
