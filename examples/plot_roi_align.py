"""
RoIAlign of a photograph
========================

Boxes of any size and place, each pooled to the same number of cells: what a detector hands to its
head. ``roi_align`` interpolates, so edges of boxes need not lie on pixels. ``roi_max_pool`` rounds
them to whole pixels and takes maxima, so its pictures are brighter and coarser.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike
from sklearn.datasets import load_sample_image

import jaxpool

# (x1, y1, x2, y2) in pixels of the photograph; the last one reaches beyond it.
BOXES = np.array(
    [
        [193.4, 90.7, 457.2, 296.3],
        [14.5, 260.5, 145.5, 391.5],
        [88.2, 20.3, 320.9, 140.7],
        [536.3, 283.6, 700.4, 460.5],
    ],
    np.float32,
)
FUNCTIONS = {"roi_align": jaxpool.roi_align, "roi_max_pool": jaxpool.roi_max_pool}


def main(cells: int = 28, out: str | Path | None = "out") -> Figure:
    """Draws the photograph with its boxes, and each box pooled to `cells` x `cells`.

    Saves the figure in the folder `out` unless that is None.
    """
    photograph = load_sample_image("china.jpg").astype(np.float32) / 255
    colours = plt.colormaps["tab10"].colors[: len(BOXES)]

    figure = plt.figure(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(1, 1.25))
    ax = left.subplots()
    ax.imshow(photograph)
    ax.set(xticks=[], yticks=[], xlim=(0, 710), ylim=(470, 0))
    ax.set_title("photograph and boxes", fontsize=14)
    for (x1, y1, x2, y2), colour in zip(BOXES, colours, strict=True):
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=3))

    grid = right.subplots(len(FUNCTIONS), len(BOXES))
    for axes, (name, pool) in zip(grid, FUNCTIONS.items(), strict=True):
        axes[0].set_ylabel(name, fontsize=14)
        for ax, pooled, colour in zip(
            axes, pool(photograph, BOXES, (cells, cells)), colours, strict=True
        ):
            draw(ax, pooled, colour)

    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "roi_align.png", dpi=100)
    return figure


def draw(ax: Axes, picture: ArrayLike, colour: tuple[float, ...]) -> None:
    """Shows a pooled box, framed in the colour of the box; its size goes below."""
    picture = np.clip(picture, 0, 1)  # rounding may leave 1.0000001
    ax.imshow(picture, interpolation="nearest")
    ax.set(xticks=[], yticks=[], xlabel=" x ".join(map(str, picture.shape[:2])))
    for spine in ax.spines.values():
        spine.set(color=colour, linewidth=3)


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
