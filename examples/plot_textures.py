"""
Telling textures apart: what a mean cannot see
==============================================

Patches of brick, grass and gravel go through a bank of small filters, which look for edges of
several widths and directions. Each answer is as often positive as negative, whatever the texture,
so that its mean over a patch, ``global_avg_pool``, is mostly noise. How strong the answers are is
in ``global_max_pool`` and, of all places together, in ``global_std_pool``: 15 numbers that tell
nearly every patch. ``covariance_pool`` also knows which filters answer in the same places. These
are 225 numbers, and more is not better as such: where a texture is what its nearest neighbour is,
as here, all that is noise counts too. ``isqrt_covariance_pool``, its square root, takes the largest
down, and is what classifiers learn from.

Each patch of the lower half of the photographs is given the texture of the nearest one from the
upper half. Patches are standardised first, so that neither brightness nor contrast gives anything
away. On the right, the two directions in which all patches differ most, for two of the poolings.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from skimage import data

import jaxpool

TEXTURES = ("brick", "grass", "gravel")
PATCH = 32
AXES = (-3, -2)


POOLS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "global_avg_pool": lambda x: jaxpool.global_avg_pool(x, AXES),
    "global_max_pool": lambda x: jaxpool.global_max_pool(x, AXES),
    "global_std_pool": lambda x: jaxpool.global_std_pool(x, AXES),
    "covariance_pool": lambda x: jaxpool.covariance_pool(x, AXES),
    "isqrt_covariance_pool": lambda x: jaxpool.isqrt_covariance_pool(x, AXES),
}


def filters(size: int = 4) -> np.ndarray:
    """Products of cosines, (size, size, 1, size**2 - 1): all but the constant one."""
    places = (np.arange(size) + 0.5) / size
    waves = np.cos(np.pi * np.arange(size)[:, None] * places)
    bank = [np.outer(a, b) for a, b in itertools.product(waves, waves)][1:]
    bank = [kernel / np.linalg.norm(kernel) for kernel in bank]
    return np.stack(bank, -1)[:, :, None].astype(np.float32)


def patches(half: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches (n, 32, 32, 1) of the upper or the lower half of each texture, and which it is."""
    found = []
    for name in TEXTURES:
        photograph = getattr(data, name)().astype(np.float32)
        rows = photograph[half * 256 : half * 256 + 256]
        cut = rows.reshape(256 // PATCH, PATCH, -1, PATCH).swapaxes(1, 2)
        found.append(cut.reshape(-1, PATCH, PATCH, 1))
    kinds = np.repeat(np.arange(len(TEXTURES)), [len(x) for x in found])
    x = np.concatenate(found)
    axes = (1, 2, 3)
    return (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True), kinds


@jax.jit
def features(x: jax.Array) -> dict[str, jax.Array]:
    """Descriptors (n, features) of patches by each of the pools."""
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, filters(), (1, 1), "VALID", dimension_numbers=layout)
    return {name: pool(x).reshape(len(x), -1) for name, pool in POOLS.items()}


def nearest(asked: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Which of what is known each is nearest to, all features being as wide."""
    scale = known.std(0) + 1e-6
    distances = np.linalg.norm(asked[:, None] / scale - known / scale, axis=-1)
    return distances.argmin(-1)


def main(out: str | Path | None = "out") -> tuple[Figure, dict[str, float]]:
    """Draws; the figure, and which part of the patches each pool tells right.

    Saves the figure in the folder `out` unless that is None.
    """
    (known, kinds), (asked, expected) = patches(0), patches(1)
    learned, new = (
        {name: np.asarray(x) for name, x in features(some).items()} for some in (known, asked)
    )
    right = {
        name: float((kinds[nearest(new[name], learned[name])] == expected).mean()) for name in POOLS
    }
    for name, part in right.items():
        print(f"{name:24}{part:6.1%}")

    figure = plt.figure(figsize=(14, 5.4), layout="constrained")
    left, middle, rest = figure.subfigures(1, 3, width_ratios=(1, 1.4, 2.2))
    for kind, axes in enumerate(left.subplots(len(TEXTURES), 3)):
        for ax, patch in zip(axes, known[kinds == kind][::25], strict=False):
            ax.imshow(patch[..., 0], cmap="gray")
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(TEXTURES[kind])
    ax = middle.subplots()
    bars = ax.barh(list(right), [100 * part for part in right.values()], color="tab:purple")
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.axvline(100 / len(TEXTURES), color="black", linestyle=":")
    ax.invert_yaxis()
    ax.set(title="patches told right (%)", xlim=(0, 112))
    for ax, name in zip(rest.subplots(1, 2), ("global_avg_pool", "global_std_pool"), strict=True):
        values = learned[name] / (learned[name].std(0) + 1e-6)
        values = values - values.mean(0)
        points = values @ np.linalg.svd(values, full_matrices=False)[2][:2].T
        for kind, marker in enumerate("so^"):
            ax.scatter(*points[kinds == kind].T, marker=marker, s=16, label=TEXTURES[kind])
        ax.set(xticks=[], yticks=[], title=name)
    ax.legend()
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "textures.png", dpi=100)
    return figure, right


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
