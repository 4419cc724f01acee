"""One network for digits of several sizes: spatial pyramid pooling before the head.

Trained on scikit-learn's digits at 8 x 8, 12 x 12 and 16 x 16 pixels, in turns. The pyramid makes
each size as many features, so that one fully connected head serves all of them, and sizes that were
never seen as well. Prints the test accuracy at each size, and saves a figure in the folder `out`.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxpool.nnx

plt.switch_backend("Agg")  # needs no screen

SIZES = (8, 12, 16)  # to train with
UNSEEN = (10, 14, 20)  # to test with as well
LEVELS = (1, 2, 3)
BATCH_SIZE = 64


class Result(NamedTuple):
    """What a run leaves behind."""

    losses: list[float]  # of each step
    accuracies: dict[int, float]  # test accuracy at each size
    figure: Path


class Network(nnx.Module):
    """Convolutions, which take any size, a pyramid, and a head that takes one size only."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.features = nnx.Sequential(
            nnx.Conv(1, 32, (3, 3), rngs=rngs),
            nnx.relu,
            nnx.Conv(32, 32, (3, 3), rngs=rngs),
            nnx.relu,
        )
        self.pyramid = jaxpool.nnx.SpatialPyramidPool(LEVELS)
        self.head = nnx.Linear(32 * sum(n * n for n in LEVELS), 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of shape (n, 10), for images of any height and width."""
        return self.head(self.pyramid(self.features(images)))


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """`images` with `size` by `size` pixels."""
    shape = (len(images), size, size, 1)
    return np.asarray(jax.image.resize(images, shape, "linear"))


@nnx.jit
def train_step(
    model: Network, optimizer: nnx.Optimizer, images: jax.Array, labels: jax.Array
) -> jax.Array:
    """Takes one step downhill; the loss before it."""

    def loss_of(model: Network) -> jax.Array:
        losses = optax.softmax_cross_entropy_with_integer_labels(model(images), labels)
        return losses.mean()

    loss, gradient = nnx.value_and_grad(loss_of)(model)
    optimizer.update(model, gradient)
    return loss


@nnx.jit
def predict(model: Network, images: jax.Array) -> jax.Array:
    """The most likely digit of each image."""
    return model(images).argmax(axis=-1)


def main(steps: int = 600, seed: int = 0, out: str | Path = "out") -> Result:
    """Trains for `steps` batches, of each size in turn; prints and draws what came of it."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=seed, stratify=labels
    )
    train = {size: resized(train_images, size) for size in SIZES}
    test = {size: resized(test_images, size) for size in sorted(SIZES + UNSEEN)}

    model = Network(nnx.Rngs(seed))
    schedule = optax.cosine_decay_schedule(3e-3, steps)
    optimizer = nnx.Optimizer(model, optax.adam(schedule), wrt=nnx.Param)
    rng = np.random.default_rng(seed)
    losses = []
    for step in range(steps):
        chosen = rng.choice(len(train_labels), BATCH_SIZE, replace=False)
        size = SIZES[step % len(SIZES)]
        loss = train_step(model, optimizer, train[size][chosen], train_labels[chosen])
        losses.append(float(loss))
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {np.mean(losses[-len(SIZES) :]):.4f}")

    accuracies = {}
    for size, images in test.items():
        accuracies[size] = float(np.mean(predict(model, images) == test_labels))
        seen = "" if size in SIZES else " (never seen)"
        print(f"test accuracy at {size} x {size}{seen}: {accuracies[size]:.2%}")
    figure = save_figure(model, test, test_labels, losses, accuracies, Path(out))
    print(f"figure {figure}")
    return Result(losses, accuracies, figure)


def save_figure(
    model: Network,
    test: dict[int, np.ndarray],
    labels: np.ndarray,
    losses: list[float],
    accuracies: dict[int, float],
    out: Path,
) -> Path:
    """One digit at each size with its pyramid of one channel, and the accuracy at each size."""
    digit = int(np.argmax(labels == 3))
    maps = {size: np.asarray(model.features(x[digit : digit + 1]))[0] for size, x in test.items()}
    channel = int(np.argmax(maps[SIZES[0]].std((0, 1))))
    largest = max(found[..., channel].max() for found in maps.values())
    figure = plt.figure(figsize=(13, 6.5), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    left.suptitle(f"A test digit at each size, and channel {channel} pooled to 1, 2 and 3")
    grid = left.subplots(len(LEVELS) + 1, len(test), squeeze=False)
    for column, (size, images) in enumerate(test.items()):
        levels = jaxpool.pyramid_pool(maps[size], LEVELS, jaxpool.Max())
        grid[0, column].imshow(images[digit, ..., 0], cmap="gray_r")
        grid[0, column].set_title(f"{size} x {size}\n" + ("" if size in SIZES else "never seen"))
        for row, level in enumerate(levels, start=1):
            grid[row, column].imshow(level[..., channel], cmap="viridis", vmin=0, vmax=largest)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    above, below = right.subplots(2, 1)
    above.plot(losses, color="tab:blue", linewidth=0.8)
    above.set(title="Training loss", xlabel="step", yscale="log")
    for seen, colour in ((True, "tab:blue"), (False, "tab:orange")):
        shown = {size: 100 * a for size, a in accuracies.items() if (size in SIZES) == seen}
        names = [f"{size} x {size}" for size in shown]
        label = "trained with" if seen else "never seen"
        bars = below.bar(names, list(shown.values()), color=colour, label=label)
        below.bar_label(bars, fmt="%.1f")
    below.set(title="Test accuracy in %", ylim=(0, 130))
    below.legend(loc="upper center", ncols=2)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "spp_digits.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


if __name__ == "__main__":
    main()
