"""
Majority votes: label maps are not photographs
==============================================

A photograph is cut into regions by k-means of its colours, and the map of their numbers is made
smaller by 12. Numbers of regions are names: a mean of regions 1 and 5 is region 3, which is
somewhere else, so that a mean draws regions along borders that nothing there belongs to. A maximum
prefers high numbers, and every twelfth pixel is whatever happens to lie there. ``mode_pool`` lets
the pixels of a window vote, and no other map agrees with more pixels. That is what to make targets
for a segmentation at a lower resolution with.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.datasets import load_sample_image

import jaxpool

SIZE = 12
WINDOW = (SIZE, SIZE)
REGIONS = 6

POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "every 12th pixel": lambda x: jaxpool.max_pool(x, (1, 1), WINDOW),
    "avg_pool, rounded": lambda x: jnp.round(jaxpool.avg_pool(x, WINDOW)).astype(x.dtype),
    "max_pool": lambda x: jaxpool.max_pool(x, WINDOW),
    "mode_pool": lambda x: jaxpool.mode_pool(x, WINDOW),
}


def regions_of(photograph: np.ndarray) -> np.ndarray:
    """Which of some colours each pixel of (height, width, 3) is nearest to, as int32."""
    colours = photograph.reshape(-1, 3).astype(np.float32)
    means = KMeans(REGIONS, n_init=1, max_iter=30, random_state=0).fit(colours[::97])
    return means.predict(colours).reshape(photograph.shape[:2]).astype(np.int32)


def score(pooled: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Which part of the pixels has its cell's label, and of the cells a label that none has."""
    same = np.kron(pooled, np.ones(WINDOW, np.int32)) == labels
    in_cells = same.reshape(len(pooled), SIZE, -1, SIZE)
    return float(same.mean()), float(1 - in_cells.any((1, 3)).mean())


def main(out: str | Path | None = "out") -> tuple[Figure, dict[str, tuple[float, float]]]:
    """Draws; the figure and the scores. Saves it in the folder `out` unless that is None."""
    photograph = load_sample_image("china.jpg")[:420, :636]  # whole windows
    labels = regions_of(photograph)
    found = {name: np.asarray(pool(labels[..., None]))[..., 0] for name, pool in POOLS.items()}
    scores = {name: score(pooled, labels) for name, pooled in found.items()}

    figure, axes = plt.subplots(2, 3, figsize=(14, 6.8), layout="constrained")
    look = {"cmap": "Dark2", "vmin": 0, "vmax": 7, "interpolation": "nearest"}
    axes.flat[0].imshow(photograph)
    axes.flat[0].set_title("photograph")
    axes.flat[1].imshow(labels, **look)
    axes.flat[1].set_title(f"{REGIONS} regions")
    for ax, (name, pooled) in zip(axes.flat[2:], found.items(), strict=True):
        ax.imshow(pooled, **look)
        agree, strange = scores[name]
        ax.set_title(name)
        ax.set_xlabel(f"{agree:.1%} of pixels agree; {strange:.1%} of cells have a label of none")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "label_maps.png", dpi=100)
    return figure, scores


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
