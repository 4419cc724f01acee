"""
Noise that a median takes away, and a mean only spreads
=======================================================

A part of a photograph's pixels is lost: black or white, at random. ``median_pool`` with a stride of
1 takes the middle of each 5 x 5 window, which is a pixel that was not lost as long as most were
not. ``avg_pool`` counts the lost pixels too, and makes grey smears of them. ``rank_pool`` can be
anything between the two: here it is the mean without the lowest and the highest quarter, which is
as good as long as a window rarely loses more than that. The median holds until nearly half is lost.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from skimage import data

import jaxpool

WINDOW = (5, 5)
PARTS = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5)  # of the pixels, that are lost
SHOWN = 2  # which of them is in the pictures

trimmed = np.ones(25, np.float32)
trimmed[:6] = trimmed[-6:] = 0
same = {"strides": 1, "padding": "SAME"}
POOLS = {
    "avg_pool": functools.partial(jaxpool.avg_pool, count_include_pad=False, **same),
    "rank_pool, trimmed mean": functools.partial(
        jaxpool.rank_pool, weights=trimmed / trimmed.sum(), **same
    ),
    "median_pool": functools.partial(jaxpool.median_pool, **same),
}


def lost(image: np.ndarray, part: float, random: np.random.Generator) -> np.ndarray:
    """The image with a part of its pixels black or white."""
    noise = random.choice(np.array([0, 1], image.dtype), image.shape)
    return np.where(random.random(image.shape) < part, noise, image)


def decibels(found: np.ndarray, image: np.ndarray) -> float:
    """The peak signal-to-noise ratio."""
    return float(-10 * np.log10(np.mean((found - image) ** 2)))


def cleaned(noisy: np.ndarray) -> dict[str, np.ndarray]:
    """Images (n, height, width) by each of the pools."""
    programs = {name: jax.jit(functools.partial(pool, window_shape=WINDOW))
                for name, pool in POOLS.items()}  # fmt: skip
    return {name: np.asarray(pool(noisy[..., None]))[..., 0] for name, pool in programs.items()}


def main(out: str | Path | None = "out") -> Figure:
    """Draws; saves the figure in the folder `out` unless that is None."""
    random = np.random.default_rng(0)
    photograph = data.camera()[60:220, 150:310].astype(np.float32) / 255
    noisy = np.stack([lost(photograph, part, random) for part in PARTS])
    found = cleaned(noisy)

    figure, places = plt.subplot_mosaic("ABEE;CDEE", figsize=(13, 6.8), layout="constrained")
    *axes, chart = (places[letter] for letter in "ABCDE")
    pictures = {f"{PARTS[SHOWN]:.0%} of the pixels lost": noisy, **found}
    for ax, (name, images) in zip(axes, pictures.items(), strict=True):
        picture = images[SHOWN]
        ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[], title=name)
        ax.set_xlabel(f"{decibels(picture, photograph):.1f} dB")
    for (name, images), style in zip(found.items(), ("--", "-.", "-"), strict=True):
        row = [decibels(one, photograph) for one in images]
        chart.plot([100 * part for part in PARTS], row, style, marker="o", label=name)
    chart.set(xlabel="pixels lost (%)", title="peak signal to noise (dB)")
    chart.legend()
    chart.grid(alpha=0.3)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "denoising.png", dpi=100)
    return figure


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
