"""
Pooling that loses nothing: wavelets
====================================

``wavelet_pool`` halves a photograph as other pools do, and keeps what they throw away: beside the
low band, three bands of as many pixels, with what changes from left to right, from top to bottom,
and both ways. Here the low band is pooled again, three times in all, and everything stands in one
square, as large as the photograph.

With an orthogonal wavelet the sum of all squares stays what it was. So the part of it that is in
each band says what a pool would lose which keeps the low band alone: little, which is why pooling
works, and most of it at edges, which is why some pools keep more than a mean.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from skimage import data

import jaxpool

WAVELET = "db2"
LEVELS = 3
BANDS = ("low", "left to right", "top to bottom", "both ways")


@jax.jit
def bands(x: jax.Array) -> list[jax.Array]:
    """The low band of (height, width), and those of its details, each half as high and wide."""
    found = jaxpool.wavelet_pool(x[..., None], WAVELET, bands="all")
    return [found[..., n] for n in range(len(BANDS))]


def pyramid(photograph: np.ndarray, levels: int = LEVELS) -> list[list[np.ndarray]]:
    """The bands of the photograph, of its low band, and so on."""
    found = []
    for _ in range(levels):
        found.append(list(map(np.asarray, bands(photograph))))
        photograph = found[-1][0]
    return found


def mosaic(found: list[list[np.ndarray]]) -> np.ndarray:
    """All bands in one square: the last low band at the top left, details as strong as they are."""
    low = found[-1][0]
    picture = (low - low.min()) / np.ptp(low)
    for level in reversed(found):
        across, down, both = (0.5 + 4 * detail for detail in level[1:])
        above, below = np.hstack([picture, across]), np.hstack([down, both])
        picture = np.clip(np.vstack([above, below]), 0, 1)
    return picture


def main(out: str | Path | None = "out") -> tuple[Figure, np.ndarray]:
    """Draws; the figure, and each band's part of the sum of squares at each level.

    Saves the figure in the folder `out` unless that is None.
    """
    photograph = data.camera().astype(np.float32) / 255
    photograph -= photograph.mean()  # brightness is no detail
    found = pyramid(photograph)
    whole = np.square(photograph).sum()
    parts = np.array([[np.square(band).sum() / whole for band in level] for level in found])

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11.5, 5.6), layout="constrained", width_ratios=(1.25, 1)
    )
    left.imshow(mosaic(found), cmap="gray")
    left.set(xticks=[], yticks=[], title=f"{WAVELET}, {LEVELS} times")
    places = np.arange(len(found))
    for n, (name, shift) in enumerate(zip(BANDS[1:], (-0.25, 0, 0.25), strict=True), start=1):
        bars = right.bar(places + shift, 100 * parts[:, n], 0.24, label=name)
        right.bar_label(bars, fmt="%.2f", fontsize=8)
    names = [f"to 1/{2 ** (n + 1)}\n{100 * parts[n, 0]:.1f} % stays" for n in places]
    right.set_xticks(places, names)
    right.set(title="variance in the details (%)")
    right.legend()
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "wavelets.png", dpi=100)
    return figure, parts


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
