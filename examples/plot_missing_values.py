"""
Holes in a measurement: means of what is there
==============================================

Of a motorcycle, two cameras found how near each pixel is, but not everywhere: where one camera sees
what the other does not, there is no value. A mean over a window with one hole is a hole, so that
after pooling by 16 more than half the picture is gone. With ``where``, a pool takes the mean, the
median, or whatever it takes, of the pixels that are there. Only a window that has none is empty,
and ``empty_value`` says what that is.

The maximum is the nearest thing in a window, which is what a robot should keep; means mix what is
near with what is behind it. The spread of a window, from the nearest to the farthest or as a
standard deviation, finds where something ends.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from skimage import data

import jaxpool

WINDOW = (16, 16)
NAMES = (
    "avg_pool",
    "mean, where there",
    "nearest, where there",
    "nearest - farthest",
    "standard deviation",
)


@jax.jit
def pooled(depth: jax.Array) -> dict[str, jax.Array]:
    """A map (height, width, 1) that is NaN in its holes, pooled; empty cells are NaN."""
    there = jnp.isfinite(depth)

    def masked(reduction: jaxpool.Reduction) -> jax.Array:
        domain = jaxpool.Window(WINDOW)
        return jaxpool.pool(depth, domain, reduction, where=there, empty_value=np.nan)

    nearest = masked(jaxpool.Max())
    pictures = (
        jaxpool.avg_pool(depth, WINDOW),
        masked(jaxpool.Mean()),
        nearest,
        nearest - masked(jaxpool.Min()),
        masked(jaxpool.Std()),
    )
    return dict(zip(NAMES, pictures, strict=True))


def main(out: str | Path | None = "out") -> tuple[Figure, dict[str, float]]:
    """Draws; the figure, and which part of each picture is missing.

    Saves the figure in the folder `out` unless that is None.
    """
    depth = np.array(data.stereo_motorcycle()[2], np.float32)
    depth[~np.isfinite(depth)] = np.nan
    found = pooled(depth[..., None])
    pictures = {"disparity (pixels)": depth[..., None], **{name: found[name] for name in NAMES}}
    missing = {name: float(np.isnan(np.asarray(x)).mean()) for name, x in pictures.items()}

    figure, axes = plt.subplots(2, 3, figsize=(13, 6.4), layout="constrained")
    for ax, (name, picture) in zip(axes.flat, pictures.items(), strict=True):
        shown = ax.imshow(np.asarray(picture)[..., 0], cmap="viridis", interpolation="nearest")
        shown.cmap.set_bad("white")
        ax.set(xticks=[], yticks=[], title=name, xlabel=f"{missing[name]:.1%} missing")
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "missing_values.png", dpi=100)
    return figure, missing


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
