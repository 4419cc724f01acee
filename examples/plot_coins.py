"""
Light taken off: morphology before a threshold
==============================================

These coins from Pompeii were photographed in uneven light, so that the background at the top is as
bright as coins at the bottom: no threshold tells the two apart. ``opening_pool`` with a window
larger than any coin leaves what is around them, the light. Taken away from the photograph (which is
called the white top-hat), it leaves coins on black, and one threshold is enough. Of its mask,
``closing_pool`` fills holes and ``opening_pool`` takes away specks, and every coin is one piece.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy import ndimage
from skimage import data

import jaxpool

LIGHT = (71, 71)  # larger than a coin
HOLES, SPECKS = (5, 5), (13, 13)
THRESHOLD = 0.2


class Found(NamedTuple):
    """What there is on the way from a photograph to its coins."""

    light: np.ndarray
    flat: np.ndarray
    mask: np.ndarray


@functools.partial(jax.jit, static_argnames=("threshold",))
def steps(photograph: jax.Array, threshold: float = THRESHOLD) -> Found:
    """The light, the photograph without it, and where coins are, of (height, width)."""
    x = photograph[..., None]
    opened = jaxpool.opening_pool(x, LIGHT)
    light = jaxpool.avg_pool(opened, (31, 31), 1, "SAME", count_include_pad=False)
    flat = x - light
    mask = (flat > threshold).astype(np.float32)
    mask = jaxpool.opening_pool(jaxpool.closing_pool(mask, HOLES), SPECKS)
    return Found(light[..., 0], flat[..., 0], mask[..., 0] > 0)


def best_threshold(image: np.ndarray) -> float:
    """Otsu's: the one that leaves least variance on its two sides."""
    values = np.sort(image.ravel())[:: max(1, image.size // 4096)]
    count = np.arange(1, len(values))
    below = np.cumsum(values)[:-1] / count
    above = (values.sum() - below * count) / (len(values) - count)
    between = count * (len(values) - count) * (above - below) ** 2
    return float(values[between.argmax()])


def main(out: str | Path | None = "out") -> tuple[Figure, int]:
    """Draws; the figure and the number of coins. Saves it in `out` unless that is None."""
    photograph = data.coins().astype(np.float32) / 255
    found = Found(*map(np.asarray, steps(photograph)))
    pieces, count = ndimage.label(found.mask)
    print(f"{count} pieces")

    figure, axes = plt.subplots(2, 3, figsize=(13, 7.2), layout="constrained")
    bright = photograph > best_threshold(photograph)
    shown = {
        "photograph": (photograph, "gray"),
        "a threshold alone": (bright, "gray"),
        "light: a large opening, smoothed": (found.light, "gray"),
        "photograph - light": (found.flat, "gray"),
        "a threshold, closed and opened": (found.mask, "gray"),
        f"{count} pieces": (np.where(found.mask, pieces * 7 % 20, np.nan), "tab20"),
    }
    for ax, (title, (picture, colours)) in zip(axes.flat, shown.items(), strict=True):
        ax.imshow(picture, cmap=colours, interpolation="nearest")
        ax.set(xticks=[], yticks=[], title=title)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "coins.png", dpi=100)
    return figure, count


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
