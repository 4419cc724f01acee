"""Which pooling between two convolutions? The same small network with each of them, several seeds.

Trains on scikit-learn's handwritten digits, and prints the accuracy on a quarter of them that it
has not seen: mean and standard deviation over seeds, with which the split changes too. Where these
intervals overlap, as most do, the digits do not tell the poolings apart.
"""

import argparse
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import linen as nn
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxpool import linen as pooling

BATCH_SIZE = 64
SHAPE = (2, 2)
# Layers by name, those that draw at random made for training or for testing.
POOLS: dict[str, Callable[[bool], nn.Module]] = {
    "max": lambda _: pooling.MaxPool(SHAPE),
    "average": lambda _: pooling.AvgPool(SHAPE),
    "L2 norm": lambda _: pooling.LpPool(SHAPE),
    "median": lambda _: pooling.MedianPool(SHAPE),
    "softmax": lambda _: pooling.SoftmaxPool(SHAPE),
    "GeM, learned": lambda _: pooling.LearnedGemPool(SHAPE, features=32),
    "mixed, learned": lambda _: pooling.LearnedMixedPool(SHAPE, features=32),
    "gated, learned": lambda _: pooling.LearnedGatedPool(SHAPE),
    "max and blur": lambda _: pooling.MaxBlurPool(SHAPE),
    "stochastic": lambda test: pooling.StochasticPool(SHAPE, deterministic=test),
    "max of dropped": lambda test: pooling.MaxPoolDropout(SHAPE, deterministic=test),
}


class Row(NamedTuple):
    """What is known of one pooling."""

    accuracies: list[float]  # of each seed
    milliseconds: list[float]  # for a step, of each seed


class Network(nn.Module):
    """Two convolutions with a window pooling between them and a global pooling after them."""

    pool: Callable[[bool], nn.Module]
    test: bool = False

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of shape (n, 10)."""
        x = nn.relu(nn.Conv(32, (3, 3))(images))
        x = self.pool(self.test)(x)
        x = nn.relu(nn.Conv(64, (3, 3))(x))
        return nn.Dense(10)(pooling.GlobalAvgPool(axes=(-3, -2))(x))


class Programs(NamedTuple):
    """What is compiled for a network, once for all seeds."""

    start: Callable  # variables and the state of the optimizer, of a key and images
    step: Callable
    predict: Callable


@functools.cache
def programs(build: Callable[[bool], nn.Module], steps: int) -> Programs:
    """Programs of the network that `build` makes, for training or, given True, for testing."""
    network, tested = build(False), build(True)
    optimizer = optax.adam(optax.cosine_decay_schedule(3e-3, steps))

    @jax.jit
    def start(key: jax.Array, images: jax.Array) -> tuple[Any, Any]:
        variables = network.init({"params": key, "pool": key}, images)
        return variables, optimizer.init(variables)

    @jax.jit
    def step(variables: Any, state: Any, key: jax.Array, images: Any, labels: Any) -> Any:
        def loss(variables: Any) -> jax.Array:
            logits = network.apply(variables, images, rngs={"pool": key})
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimizer.update(jax.grad(loss)(variables), state)
        return optax.apply_updates(variables, updates), state

    @jax.jit
    def predict(variables: Any, images: jax.Array) -> jax.Array:
        return tested.apply(variables, images).argmax(-1)

    return Programs(start, step, predict)


def train(build: Callable[[bool], nn.Module], seed: int, steps: int) -> tuple[float, float]:
    """Accuracy on the test digits, and the median time of a step in milliseconds."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    split = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=seed, stratify=labels
    )
    train_images, test_images, train_labels, test_labels = split
    start, step, predict = programs(build, steps)
    key = jax.random.key(seed)
    variables, state = start(key, train_images[:1])

    rng, seconds = np.random.default_rng(seed), []
    for number in range(steps):
        chosen = rng.choice(len(train_labels), BATCH_SIZE, replace=False)
        begun = time.perf_counter()
        now = jax.random.fold_in(key, number)
        variables, state = jax.block_until_ready(
            step(variables, state, now, train_images[chosen], train_labels[chosen])
        )
        seconds.append(time.perf_counter() - begun)
    predicted = predict(variables, test_images)
    return float(np.mean(predicted == test_labels)), 1e3 * float(np.median(seconds))


def compare(
    networks: Mapping[str, Callable[[bool], nn.Module]], steps: int, seeds: int, console: Console
) -> dict[str, Row]:
    """Trains each network with each seed."""
    rows = {name: Row([], []) for name in networks}
    jobs = [(name, seed) for seed in range(seeds) for name in networks]
    for name, seed in track(jobs, "training", console=console):
        accuracy, milliseconds = train(networks[name], seed, steps)
        rows[name].accuracies.append(accuracy)
        rows[name].milliseconds.append(milliseconds)
    return rows


def cells(row: Row) -> tuple[str, str, str]:
    """What a table says of a row: the mean accuracy, its spread, and the time of a step."""
    return (
        f"{100 * np.mean(row.accuracies):.2f} %",
        f"± {100 * np.std(row.accuracies):.2f} %",
        f"{np.median(row.milliseconds):.2f}",
    )


def main(steps: int = 600, seeds: int = 5, pools: Sequence[str] = tuple(POOLS)) -> dict[str, Row]:
    """Trains each pooling with each seed; prints a table."""
    console = Console()
    networks = {name: functools.partial(Network, POOLS[name]) for name in pools}
    rows = compare(networks, steps, seeds, console)
    table = Table("pooling", "test accuracy", "spread", "ms a step", title=f"{seeds} seeds")
    for name, row in rows.items():
        table.add_row(name, *cells(row))
    console.print(table)
    return rows


def options(description: str) -> dict[str, int]:
    """What the command line says of `steps` and `seeds`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    return vars(parser.parse_args())


if __name__ == "__main__":
    main(**options("Compare poolings on handwritten digits."))
