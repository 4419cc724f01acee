"""Trains a small Flax NNX network with jaxpool layers to read handwritten digits.

The digits are scikit-learn's: 1797 real ones, 8 x 8 pixels, on disk with the package. Try

    python examples/train_digits.py --pool lp --epochs 20 --seed 1 --out out

It prints a summary and saves a figure of the feature maps before and after pooling.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import nnx
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxpool.nnx

plt.switch_backend("Agg")  # needs no screen

POOLS = {
    "max": jaxpool.nnx.MaxPool,
    "min": jaxpool.nnx.MinPool,
    "avg": jaxpool.nnx.AvgPool,
    "sum": jaxpool.nnx.SumPool,
    "lp": jaxpool.nnx.LpPool,
}
BATCH_SIZE = 64


class Digits(NamedTuple):
    """Images of shape (n, 8, 8, 1) between 0 and 1, and their labels."""

    images: np.ndarray
    labels: np.ndarray


class Result(NamedTuple):
    """What a run leaves behind."""

    losses: list[float]  # mean training loss of each epoch
    accuracies: list[float]  # test accuracy after each epoch
    figure: Path


class Network(nnx.Module):
    """Two blocks of two convolutions; pooled by window between them, globally after them."""

    def __init__(self, pool: str, rngs: nnx.Rngs) -> None:
        self.block1 = block(1, 32, rngs)
        self.pool = POOLS[pool]((2, 2))
        self.block2 = block(32, 64, rngs)
        self.head = nnx.Sequential(
            jaxpool.nnx.GlobalAvgPool(axes=(-3, -2)),
            nnx.Linear(64, 10, rngs=rngs),
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of shape (n, 10)."""
        return self.head(self.block2(self.pool(self.block1(images))))


def block(channels_in: int, channels: int, rngs: nnx.Rngs) -> nnx.Sequential:
    """Two 3 x 3 convolutions, each with a ReLU."""
    return nnx.Sequential(
        nnx.Conv(channels_in, channels, (3, 3), rngs=rngs),
        nnx.relu,
        nnx.Conv(channels, channels, (3, 3), rngs=rngs),
        nnx.relu,
    )


def load(seed: int) -> tuple[Digits, Digits]:
    """Digits to train on and, a quarter of all, to test on."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    split = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=seed, stratify=labels
    )
    return Digits(split[0], split[2]), Digits(split[1], split[3])


def batches(digits: Digits, rng: np.random.Generator) -> Iterator[Digits]:
    """Shifted digits in random order, `BATCH_SIZE` at a time; what is left over sits out."""
    order = rng.permutation(len(digits.labels))
    for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        yield Digits(shifted(digits.images[chosen], rng), digits.labels[chosen])


def shifted(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each image moved at random, by a pixel at most: few digits teach more when they move."""
    padded = np.pad(images[..., 0], ((0, 0), (1, 1), (1, 1)))
    positions = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), axis=(1, 2))
    down, right = rng.integers(0, 3, (2, len(images)))
    return positions[np.arange(len(images)), down, right][..., None]


def loss_of(model: Network, digits: Digits) -> jax.Array:
    """Mean cross-entropy."""
    logits = model(digits.images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, digits.labels).mean()


@nnx.jit
def train_step(model: Network, optimizer: nnx.Optimizer, digits: Digits) -> jax.Array:
    """Takes one step downhill; the loss before it."""
    loss, gradient = nnx.value_and_grad(loss_of)(model, digits)
    optimizer.update(model, gradient)
    return loss


@nnx.jit
def predict(model: Network, images: jax.Array) -> jax.Array:
    """The most likely digit of each image."""
    return model(images).argmax(axis=-1)


@nnx.jit
def feature_maps(model: Network, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What enters the window pooling and what leaves it."""
    before = model.block1(images)
    return before, model.pool(before)


def main(pool: str = "max", epochs: int = 40, seed: int = 0, out: str | Path = "out") -> Result:
    """Trains, prints a summary, saves the figure in the folder `out`."""
    start = time.perf_counter()
    train, test = load(seed)
    model = Network(pool, nnx.Rngs(seed))
    steps = epochs * (len(train.labels) // BATCH_SIZE)
    schedule = optax.cosine_decay_schedule(3e-3, steps)
    optimizer = nnx.Optimizer(model, optax.adamw(schedule, weight_decay=1e-2), wrt=nnx.Param)
    rng = np.random.default_rng(seed)

    losses, accuracies = [], []
    console = Console()
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(f"{pool} pooling", total=epochs, state="compiling")
        for _ in range(epochs):
            step_losses = [train_step(model, optimizer, batch) for batch in batches(train, rng)]
            losses.append(float(np.mean(step_losses)))
            accuracies.append(float(np.mean(predict(model, test.images) == test.labels)))
            state = f"loss {losses[-1]:.4f}  test accuracy {accuracies[-1]:.2%}"
            progress.update(task, advance=1, state=state)

    figure = save_figure(model, pool, test, losses, accuracies, Path(out))
    wrong = round((1 - accuracies[-1]) * len(test.labels))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))
    table = Table("", f"{pool} pooling", title="Handwritten digits")
    table.add_row("training digits", str(len(train.labels)))
    table.add_row("test digits", str(len(test.labels)))
    table.add_row("parameters", str(parameters))
    table.add_row("epochs", str(epochs))
    table.add_row("training loss", f"{losses[-1]:.4f}")
    table.add_row("test accuracy", f"{accuracies[-1]:.2%} ({wrong} wrong)")
    table.add_row("time", f"{time.perf_counter() - start:.1f} s")
    table.add_row("figure", str(figure))
    console.print(table)
    return Result(losses, accuracies, figure)


def save_figure(
    model: Network, pool: str, test: Digits, losses: list[float], accuracies: list[float], out: Path
) -> Path:
    """Some test digits, their feature maps before and after pooling, and the learning curve."""
    shown = [int(np.argmax(test.labels == digit)) for digit in range(0, 10, 2)]
    images = test.images[np.array(shown)]
    predictions = predict(model, images)
    before, after = (np.asarray(maps) for maps in feature_maps(model, images))
    # The two channels whose maps vary most.
    first, second = np.argsort(before.std(axis=(0, 1, 2)))[::-1][:2]
    rows = [
        ("test digit\n8 x 8", images[..., 0], "gray_r"),
        (f"channel {first}\n8 x 8", before[..., first], "viridis"),
        (f"{pool}-pooled\n4 x 4", after[..., first], "viridis"),
        (f"channel {second}\n8 x 8", before[..., second], "viridis"),
        (f"{pool}-pooled\n4 x 4", after[..., second], "viridis"),
    ]

    figure = plt.figure(figsize=(12, 6.4), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    left.suptitle("Feature maps before and after pooling")
    grid = left.subplots(len(rows), len(shown))
    for axes, (name, maps, colours) in zip(grid, rows, strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, one in zip(axes, maps, strict=True):
            ax.imshow(one, cmap=colours, vmin=0, vmax=maps.max())
            ax.set(xticks=[], yticks=[])
    for ax, prediction in zip(grid[0], predictions, strict=True):
        ax.set_title(f"read as {prediction}", fontsize=10)

    right.suptitle("Learning curve")
    top, bottom = right.subplots(2, 1, sharex=True)
    epoch = np.arange(1, len(losses) + 1)
    top.semilogy(epoch, losses, ".-", color="tab:blue")
    top.set(ylabel="training loss")
    bottom.plot(epoch, 100 * np.array(accuracies), ".-", color="tab:orange")
    bottom.set(xlabel="epoch", ylabel="test accuracy (%)")
    bottom.set_title(f"{accuracies[-1]:.2%} at the end", fontsize=10)
    for ax in (top, bottom):
        ax.grid(alpha=0.3)

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"digits_{pool}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small CNN on handwritten digits.")
    parser.add_argument("--pool", choices=POOLS, default="max")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure")
    main(**vars(parser.parse_args()))
