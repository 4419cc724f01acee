"""Trains a small Flax NNX network with jaxpool layers to read handwritten digits.

The digits are scikit-learn's: 1797 real ones, 8 x 8 pixels, on disk with the package. Try

    python examples/train_digits.py --pool lp --other max --epochs 20 --seed 1 --out out

It trains the network twice, with the pooling of your choice and with another one. It prints a
summary, with the time of a step beside that of the same network with Flax's own pools, and saves a
figure of what each pooling keeps and of which elements learn.
"""

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
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
FLAX_POOLS = {"max": nnx.max_pool, "min": nnx.min_pool, "avg": nnx.avg_pool}
KEEPS = {
    "max": "the strongest response of each window",
    "min": "what all of a window responds to",
    "avg": "how much of each window responds",
    "sum": "how often a window responds",
    "lp": "the energy of each window",
}
BATCH_SIZE = 64


class Digits(NamedTuple):
    """Images of shape (n, 8, 8, 1) between 0 and 1, and their labels."""

    images: np.ndarray
    labels: np.ndarray


class Run(NamedTuple):
    """A network and how it learned."""

    pool: str
    model: "Network"
    losses: list[float]  # mean training loss of each epoch
    accuracies: list[float]  # test accuracy after each epoch


class Result(NamedTuple):
    """What the program leaves behind."""

    runs: list[Run]  # with the pooling that was asked for, and with the other
    step_times: dict[str, float]  # milliseconds of a training step, by whose pools
    figure: Path


class Network(nnx.Module):
    """Two blocks of two convolutions; pooled by window between them, globally after them."""

    def __init__(self, pool: str, rngs: nnx.Rngs, flax: bool = False) -> None:
        self.block1 = block(1, 32, rngs)
        self.pool = flax_pool(pool) if flax else POOLS[pool]((2, 2))
        self.block2 = block(32, 64, rngs)
        self.head = nnx.Sequential(
            global_mean if flax else jaxpool.nnx.GlobalAvgPool(axes=(-3, -2)),
            nnx.Linear(64, 10, rngs=rngs),
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of shape (n, 10)."""
        return self.head(self.block2(self.pool(self.block1(images))))


def flax_pool(pool: str) -> Callable[[jax.Array], jax.Array]:
    """Flax's function of that name; its stride is 1 if it is not given."""
    return lambda maps: FLAX_POOLS[pool](maps, (2, 2), strides=(2, 2))


def global_mean(maps: jax.Array) -> jax.Array:
    """What one writes with Flax, which has no global pools."""
    return jnp.mean(maps, axis=(-3, -2))


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
def feature_maps(model: Network, images: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What enters the window pooling, what leaves it, and how much of that each element gets."""
    before = model.block1(images)
    after, transpose = jax.vjp(model.pool, before)
    return before, after, transpose(jnp.ones_like(after))[0]


def fit(pool: str, train: Digits, test: Digits, epochs: int, seed: int, console: Console) -> Run:
    """Trains a network, with a bar that says how far it is."""
    model = Network(pool, nnx.Rngs(seed))
    optimizer = nnx.Optimizer(model, adamw(epochs), wrt=nnx.Param)
    rng = np.random.default_rng(seed)
    run = Run(pool, model, [], [])
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
            losses = [train_step(model, optimizer, batch) for batch in batches(train, rng)]
            run.losses.append(float(np.mean(losses)))
            run.accuracies.append(float(np.mean(predict(model, test.images) == test.labels)))
            state = f"loss {run.losses[-1]:.4f}  test accuracy {run.accuracies[-1]:.2%}"
            progress.update(task, advance=1, state=state)
    return run


@functools.cache  # one object for all networks, so that their steps are compiled once
def adamw(epochs: int) -> optax.GradientTransformation:
    """AdamW, whose rate falls to 0 within as many epochs."""
    steps = epochs * (1797 * 3 // 4 // BATCH_SIZE)
    return optax.adamw(optax.cosine_decay_schedule(3e-3, steps), weight_decay=1e-2)


def time_steps(pool: str, digits: Digits, epochs: int, steps: int = 40) -> dict[str, float]:
    """Milliseconds of a training step with jaxpool's pools and with Flax's, taken in turns."""
    batch = Digits(digits.images[:BATCH_SIZE], digits.labels[:BATCH_SIZE])
    owners = {"jaxpool": False, **({"Flax": True} if pool in FLAX_POOLS else {})}
    trained = {}
    for name, flax in owners.items():
        model = Network(pool, nnx.Rngs(0), flax)
        trained[name] = model, nnx.Optimizer(model, adamw(epochs), wrt=nnx.Param)
    times: dict[str, list[float]] = {name: [] for name in trained}
    for _ in range(steps + 1):
        for name, (model, optimizer) in trained.items():
            start = time.perf_counter()
            train_step(model, optimizer, batch).block_until_ready()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: float(np.median(found[1:])) for name, found in times.items()}  # not the first


def main(
    pool: str = "max",
    other: str = "avg",
    epochs: int = 12,
    seed: int = 0,
    out: str | Path = "out",
) -> Result:
    """Trains, prints a summary, saves the figure in the folder `out`."""
    start = time.perf_counter()
    train, test = load(seed)
    console = Console()
    runs = [fit(name, train, test, epochs, seed, console) for name in (pool, other)]
    step_times = time_steps(pool, train, epochs)
    figure = save_figure(runs, test, Path(out))

    parameters = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(runs[0].model, nnx.Param)))
    table = Table("", *(f"{run.pool} pooling" for run in runs), title="Handwritten digits")
    table.add_row("training loss", *(f"{run.losses[-1]:.4f}" for run in runs))
    wrong = [round((1 - run.accuracies[-1]) * len(test.labels)) for run in runs]
    table.add_row("test accuracy", *(f"{r.accuracies[-1]:.2%}" for r in runs))
    table.add_row("misread", *(f"{n} of {len(test.labels)}" for n in wrong))
    console.print(table)
    console.print(f"{parameters} parameters, {epochs} epochs of {len(train.labels)} digits.")
    console.print(f"Figure: {figure}", soft_wrap=True)
    console.print(f"All of this took {time.perf_counter() - start:.1f} s.")
    console.print(compared(pool, step_times), soft_wrap=True)
    return Result(runs, step_times, figure)


def compared(pool: str, step_times: dict[str, float]) -> str:
    """The time of a step beside Flax's, in a sentence."""
    own = f"A training step with {pool} pooling takes {step_times['jaxpool']:.2f} ms"
    if "Flax" not in step_times:
        return f"{own}; Flax has no such pool."
    ratio = step_times["Flax"] / step_times["jaxpool"]
    return f"{own}; with Flax's pools {step_times['Flax']:.2f} ms, {ratio:.2f} times as long."


def save_figure(runs: list[Run], test: Digits, out: Path) -> Path:
    """Some digits under each pooling, with who learns, and the learning curves."""
    shown = [int(np.argmax(test.labels == digit)) for digit in range(0, 10, 2)]
    images = test.images[np.array(shown)]
    rows = [("test digit\n8 x 8", images[..., 0], "gray_r", "")]
    for run in runs:
        before, after, learns = (np.asarray(maps) for maps in feature_maps(run.model, images))
        channel = int(before.std(axis=(0, 1, 2)).argmax())  # whose maps vary most
        rows += [
            ("a channel\n8 x 8", before[..., channel], "viridis", f"Trained with {run.pool}_pool"),
            (f"{run.pool}-pooled\n4 x 4", after[..., channel], "viridis",
             f"{run.pool}_pool keeps {KEEPS[run.pool]}"),
            ("gradient\n8 x 8", learns[..., channel], "magma",
             f"{np.mean(learns[..., channel] != 0):.0%} of the elements learn"),
        ]  # fmt: skip

    figure = plt.figure(figsize=(12, 9), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(3, 2))
    grid = left.subplots(len(rows), len(shown))
    middle = len(shown) // 2
    for axes, (name, maps, colours, title) in zip(grid, rows, strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
        axes[middle].set_title(title, fontsize=10)
        for ax, one in zip(axes, maps, strict=True):
            ax.imshow(one, cmap=colours, vmin=min(0, maps.min()), vmax=maps.max())
            ax.set(xticks=[], yticks=[])

    top, bottom = right.subplots(2, 1, sharex=True)
    for run in runs:
        epoch = np.arange(1, len(run.losses) + 1)
        top.semilogy(epoch, run.losses, ".-", label=f"{run.pool}_pool")
        bottom.plot(epoch, 100 * np.array(run.accuracies), ".-", label=f"{run.pool}_pool")
    top.set(ylabel="training loss", title="Learning curves")
    bottom.set(xlabel="epoch", ylabel="test accuracy (%)")
    ends = [f"{run.pool}_pool {run.accuracies[-1]:.2%}" for run in runs]
    bottom.set_title(f"At the end: {', '.join(ends)}", fontsize=10)
    for ax in (top, bottom):
        ax.grid(alpha=0.3)
        ax.legend()

    out.mkdir(parents=True, exist_ok=True)
    path = out / f"digits_{runs[0].pool}.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small CNN on handwritten digits.")
    parser.add_argument("--pool", choices=POOLS, default="max")
    parser.add_argument("--other", choices=POOLS, default="avg", help="to compare it with")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure")
    main(**vars(parser.parse_args()))
