"""
Which digit of a bag it was: attention in multiple-instance learning
====================================================================

A bag holds 5 to 12 of scikit-learn's digits, and all that is told about it is whether there is a
nine among them, not which one it is, nor that it is about nines at all. A small network makes
features of each digit, ``GatedAttentionPool`` a weighted mean of the bag's, and a linear layer says
yes or no. Bags are of different sizes, so they are padded, and a mask says what is a digit.

Nobody has told the network where to look, and still its weights point at the nines: a mean over the
whole bag would hide one digit among many. Below are bags that it has not seen, four with nines and
two without. The more weight a digit has, the darker is its frame; the number is the weight in
percent. In a bag without a nine, attention has to go somewhere too.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from rich.progress import track
from sklearn.datasets import load_digits

import jaxpool.nnx

WANTED = 9
SMALLEST, LARGEST = 5, 12  # bags


class Bags(NamedTuple):
    """Padded bags: pixels (bag, digit, 64), which of these are digits, which digits, and labels."""

    pixels: np.ndarray
    mask: np.ndarray
    digits: np.ndarray
    labels: np.ndarray


class Network(nnx.Module):
    """Says of each bag how likely it has what is wanted, and how it weighs the bag's digits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.features = nnx.Linear(64, 32, rngs=rngs)
        self.pool = jaxpool.nnx.GatedAttentionPool(32, features=32, rngs=rngs)
        self.head = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, pixels: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
        """A score for each bag, positive for yes, and its digits' weights."""
        x = nnx.relu(self.features(nnx.relu(self.hidden(pixels))))
        pooled, weights = self.pool(x, where=mask[..., None], return_weights=True)
        return self.head(pooled)[..., 0], weights[..., 0]


def draw_bags(
    images: np.ndarray, digits: np.ndarray, count: int, random: np.random.Generator
) -> Bags:
    """Bags of random digits, every other one with one to three of those that are wanted."""
    wanted, others = np.flatnonzero(digits == WANTED), np.flatnonzero(digits != WANTED)
    mask = np.arange(LARGEST) < random.integers(SMALLEST, LARGEST + 1, (count, 1))
    labels = np.arange(count) % 2 == 0
    chosen = random.choice(others, (count, LARGEST))
    places = np.where(mask, random.random(mask.shape), 1).argsort(-1).argsort(-1)
    some = labels[:, None] & (places < random.integers(1, 4, (count, 1)))
    chosen = np.where(some, random.choice(wanted, (count, LARGEST)), chosen)
    pixels = np.where(mask[..., None], images[chosen], 0)
    return Bags(pixels, mask, np.where(mask, digits[chosen], -1), labels.astype(np.float32))


@nnx.jit
def step(network: Network, optimizer: nnx.Optimizer, bags: Bags) -> jax.Array:
    """One step of the optimizer; the loss before it."""

    def loss(network: Network) -> jax.Array:
        scores, _ = network(bags.pixels, bags.mask)
        return optax.sigmoid_binary_cross_entropy(scores, bags.labels).mean()

    value, gradient = nnx.value_and_grad(loss)(network)
    optimizer.update(network, gradient)
    return value


def show(bags: Bags, weights: np.ndarray, scores: np.ndarray) -> Figure:
    """A row for each bag: its digits, in frames as dark as their weights."""
    figure, grid = plt.subplots(len(bags.labels), LARGEST, figsize=(12, 7))
    figure.subplots_adjust(left=0.07, right=0.99, bottom=0.04, top=0.98, wspace=0.1, hspace=0.3)
    for row, axes in enumerate(grid):
        chance = 1 / (1 + np.exp(-scores[row]))
        axes[0].set_ylabel(f"a nine:\n{chance:.0%}", rotation=0, ha="right", va="center")
        for ax, pixels, is_digit, digit, weight in zip(
            axes, bags.pixels[row], bags.mask[row], bags.digits[row], weights[row], strict=True
        ):
            ax.set(xticks=[], yticks=[])
            if not is_digit:
                ax.set_frame_on(False)
                continue
            ax.imshow(pixels.reshape(8, 8), cmap="gray_r", interpolation="nearest")
            bold = "bold" if digit == WANTED else "normal"
            ax.set_xlabel(f"{100 * weight:.0f}", fontweight=bold)
            for spine in ax.spines.values():
                spine.set(linewidth=5, color=plt.get_cmap("Reds")(float(weight)))
    return figure


def main(
    steps: int = 600, seed: int = 0, out: str | Path | None = "out"
) -> tuple[Figure, float, float]:
    """Trains and draws; the figure, the accuracy, and how often attention finds a nine.

    Both are of bags of digits that it was not trained on; the second is how often, in a bag with a
    nine, the largest weight is that of one. Saves the figure in the folder `out` unless that is
    None.
    """
    data, random = load_digits(), np.random.default_rng(seed)
    images = (data.data / 16).astype(np.float32)
    training, test = slice(None, 1400), slice(1400, None)
    network = Network(nnx.Rngs(seed))
    optimizer = nnx.Optimizer(network, optax.adam(2e-3), wrt=nnx.Param)
    for _ in track(range(steps), "training"):
        step(network, optimizer, draw_bags(images[training], data.target[training], 64, random))

    bags = draw_bags(images[test], data.target[test], 400, random)
    scores, weights = map(np.asarray, network(jnp.asarray(bags.pixels), jnp.asarray(bags.mask)))
    accuracy = float(((scores > 0) == bags.labels).mean())
    looked_at = np.take_along_axis(bags.digits, weights.argmax(-1)[:, None], -1)[:, 0]
    found = float((looked_at == WANTED)[bags.labels > 0].mean())
    print(f"{accuracy:.1%} of the test bags are told right after {steps} steps")
    print(f"in {found:.1%} of those with a nine, it has the largest weight")

    shown = np.array([0, 2, 4, 6, 1, 3])
    figure = show(Bags(*(part[shown] for part in bags)), weights[shown], scores[shown])
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "bag_of_digits.png", dpi=100)
    return figure, accuracy, found


if __name__ == "__main__":
    if "sphinx_gallery" in sys.modules:
        main(out=None)  # the gallery takes the figure from pyplot
    else:
        parser = argparse.ArgumentParser(description="Attention over bags of digits.")
        parser.add_argument("--steps", type=int, default=600, help="how many batches to train on")
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--out", type=Path, default=Path("out"), help="folder of the figure")
        main(**vars(parser.parse_args()))
