"""
Window pools of a photograph
============================

Five window functions, without overlap, at a few window sizes. The larger the window, the coarser
the picture and the plainer what a function keeps: ``max_pool`` the largest value of each colour in
a window, ``min_pool`` the smallest, ``avg_pool`` the mean. ``sum_pool`` and ``lp_pool`` (here with
p=8) grow with the window, so the pictures show them divided by what they make of a window of ones.
That turns the sum into the mean again, and the norm into a power mean, which lies between the mean
and the maximum.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from sklearn.datasets import load_sample_image

import jaxpool

FUNCTIONS = {
    "max_pool": jaxpool.max_pool,
    "min_pool": jaxpool.min_pool,
    "avg_pool": jaxpool.avg_pool,
    "sum_pool / size": jaxpool.sum_pool,
    "lp_pool (p=8)": functools.partial(jaxpool.lp_pool, p=8),
}


def main(windows: Sequence[int] = (8, 16, 32), out: str | Path | None = "out") -> Figure:
    """Draws the photograph, and pooled: a row for each function, a column for each window size.

    Saves the figure in the folder `out` unless that is None.
    """
    photograph = load_sample_image("flower.jpg").astype(np.float32) / 255

    figure = plt.figure(figsize=(13, 9.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 2))
    ax = left.subplots()
    draw(ax, photograph)
    ax.set_title("photograph", fontsize=14)

    grid = right.subplots(len(FUNCTIONS), len(windows), squeeze=False)
    for axes, (name, pool) in zip(grid, FUNCTIONS.items(), strict=True):
        axes[0].set_ylabel(name, fontsize=14)
        for ax, window in zip(axes, windows, strict=True):
            # Height and width are the two axes before the last, which is colour.
            pooled = pool(photograph, (window, window))
            of_ones = pool(np.ones((window, window, 1), np.float32), (window, window))
            draw(ax, pooled / of_ones)
    for ax, window in zip(grid[0], windows, strict=True):
        ax.set_title(f"{window} x {window}", fontsize=14)

    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "window_pools.png", dpi=100)
    return figure


def draw(ax: Axes, picture: ArrayLike) -> None:
    """Shows a picture without ticks; its size goes below."""
    picture = np.clip(picture, 0, 1)  # rounding may leave 1.0000001
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[], xlabel=" x ".join(map(str, picture.shape[:2])))


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
