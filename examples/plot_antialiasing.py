"""
Patterns that were not there: pooling a brick wall
==================================================

Each pool makes one pixel of 8 x 8, of a photograph with fine detail. What is finer than the new
pixels cannot be seen any more, but it does not go away by itself: every eighth pixel turns it into
coarse patterns that were not there, and the gaps between bricks come and go. ``blur_pool`` filters
first, ``max_blur_pool`` takes maxima and filters those, and ``spectral_pool`` keeps the frequencies
that there is room for, exactly, at the price of ringing beside sharp edges.

The bars say how well each can be relied on: the photograph is moved by 0, 2, 4 and 6 pixels, its
pools are put over each other, and what differs is given in parts of what a picture varies. That is
aliasing, which networks get with every strided layer.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from skimage import data

import jaxpool

SIZE = 8
WINDOW = (SIZE, SIZE)
TAPS = 40  # of binomial filters: the deviation is sqrt(39) / 2, or 3.1 pixels
SHIFTS = (0, 2, 4, 6)  # pixels


def every(x: jax.Array) -> jax.Array:
    """Windows of one pixel: a strided layer, and no pooling."""
    return jaxpool.max_pool(x, (1, 1), WINDOW)


def spectral(x: jax.Array) -> jax.Array:
    """The lowest frequencies, as many as there are pixels."""
    return jaxpool.spectral_pool(x, (x.shape[-3] // SIZE, x.shape[-2] // SIZE))


POOLS: dict[str, Callable[[Any], jax.Array]] = {
    "every 8th pixel": every,
    "max_pool": lambda x: jaxpool.max_pool(x, WINDOW),
    "max_blur_pool": lambda x: jaxpool.max_blur_pool(x, WINDOW, filter_size=TAPS),
    "avg_pool": lambda x: jaxpool.avg_pool(x, WINDOW),
    "blur_pool": lambda x: jaxpool.blur_pool(x, WINDOW, filter_size=TAPS),
    "spectral_pool": spectral,
}


def pooled_while_moving(photograph: np.ndarray) -> dict[str, np.ndarray]:
    """What each pool makes of the photograph moved to the right by each of the shifts."""
    moved = np.stack([np.roll(photograph, shift, axis=1) for shift in SHIFTS])[..., None]
    return {name: np.asarray(jax.jit(pool)(moved))[..., 0] for name, pool in POOLS.items()}


def difference(pooled: np.ndarray) -> float:
    """How much pools of a moved photograph differ, once each is moved back, borders apart."""
    back = [moved_back(x[2:-2], s / SIZE) for x, s in zip(pooled, SHIFTS, strict=True)]
    inner = np.stack(back)[:, :, 6:-6]
    return float(np.sqrt(inner.var(0).mean()) / inner.std())


def moved_back(picture: np.ndarray, pixels: float) -> np.ndarray:
    """A picture moved left by a part of a pixel, in Fourier space."""
    frequencies = np.fft.rfftfreq(picture.shape[1])
    turned = np.fft.rfft(picture, axis=1) * np.exp(2j * np.pi * frequencies * pixels)
    return np.fft.irfft(turned, picture.shape[1], axis=1)


def main(out: str | Path | None = "out") -> tuple[Figure, dict[str, float]]:
    """Draws; the figure and what it says below pictures. Saves it in `out` unless that is None."""
    photograph = data.brick()[:320, :320].astype(np.float32) / 255
    pictures = pooled_while_moving(photograph)
    found = {name: difference(pooled) for name, pooled in pictures.items()}
    figure, grid = plt.subplots(2, 4, figsize=(13.5, 7), layout="constrained")
    *axes, chart = grid.flat
    axes[0].imshow(photograph, cmap="gray")
    axes[0].set_title("photograph")
    for ax, (name, pooled) in zip(axes[1:], pictures.items(), strict=True):
        ax.imshow(pooled[0], cmap="gray", interpolation="nearest")
        ax.set_title(name)
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    bars = chart.barh(list(found), [100 * part for part in found.values()], color="tab:red")
    chart.bar_label(bars, list(found), padding=3)
    chart.invert_yaxis()
    chart.set(title="what differs (%)", xlim=(0, 120), yticks=[], xticks=range(0, 61, 20))
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "antialiasing.png", dpi=100)
    return figure, found


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
