"""
What a network sees in a digit: unpooling by indices
====================================================

Zeiler and Fergus asked which pixels a feature of a network comes from, and let the network run
backwards: unpool, rectify, convolve with the transposed kernels. Pooling has forgotten where its
maxima were, so ``max_pool_with_argmax`` writes that down and ``max_unpool`` reads it.

A small network learns to read scikit-learn's digits, 8 x 8 pixels. Below each digit is what comes
back to the pixels, red for positive and blue for negative: from all features after the second
pooling, 32 at 2 x 2 positions; from the strongest of them alone, a part of a stroke; and from the
strongest one after the first pooling, which is its kernel of 3 x 3 at the place that it comes from.
The last row shows all features again, but put at the first position of each window instead of where
the maximum was. The values are the same, and the digits can no longer be told apart.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import jaxpool

Parameters = dict[str, jax.Array]
Layer = tuple[jax.Array, jax.Array]  # pooled values and the indices that they come from


def initial_parameters(key: jax.Array) -> Parameters:
    """Kernels of two convolutions, and what maps features to digits."""
    shapes = {"conv1": (3, 3, 1, 16), "conv2": (3, 3, 16, 32), "dense": (2 * 2 * 32, 10)}
    keys = jax.random.split(key, len(shapes))
    he = jax.nn.initializers.he_normal()
    return {name: he(k, shape) for k, (name, shape) in zip(keys, shapes.items(), strict=True)}


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolves (n, height, width, channels) and keeps the size."""
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def layers(parameters: Parameters, images: jax.Array) -> list[Layer]:
    """Both layers' values and indices: after each convolution, the maxima of 2 x 2 windows."""
    found, x = [], images
    for name in ("conv1", "conv2"):
        x = jax.nn.relu(convolve(x, parameters[name]))
        x, indices = jaxpool.max_pool_with_argmax(x, (2, 2))
        found.append((x, indices))
    return found


def logits(parameters: Parameters, images: jax.Array) -> jax.Array:
    """Ten numbers for each image; the largest says which digit it is."""
    features = layers(parameters, images)[-1][0]
    return features.reshape(len(images), -1) @ parameters["dense"]


def back_to_pixels(parameters: Parameters, y: jax.Array, all_indices: list[jax.Array]) -> jax.Array:
    """The deconvnet: from values of the last of some layers, given each layer's indices."""
    names = ["conv1", "conv2"][: len(all_indices)]
    for name, indices in zip(reversed(names), reversed(all_indices), strict=True):
        y = jax.nn.relu(jaxpool.max_unpool(y, indices, (2, 2)))
        kernel = parameters[name]
        x = jax.ShapeDtypeStruct((*y.shape[:-1], kernel.shape[2]), y.dtype)
        (y,) = jax.linear_transpose(lambda x, kernel=kernel: convolve(x, kernel), x)(y)
    return y


def strongest(y: jax.Array) -> jax.Array:
    """`y` with 0 for all but each image's largest value."""
    largest = jaxpool.global_max_pool(y, (1, 2, 3), keepdims=True)
    return jnp.where(y == largest, y, 0)


def without_indices(y: jax.Array) -> jax.Array:
    """Indices of the first position of each 2 x 2 window, whatever was there."""
    rows, columns = jnp.indices(y.shape[1:3], dtype=jnp.int32, sparse=True)
    first = 2 * rows * (2 * y.shape[2]) + 2 * columns
    return jnp.broadcast_to(first[..., None], y.shape)


def train(images: np.ndarray, labels: np.ndarray, steps: int) -> tuple[Parameters, list[float]]:
    """Parameters after `steps` of Adam on batches of 128, and their losses."""
    optimiser = optax.adam(3e-3)
    parameters = initial_parameters(jax.random.key(0))
    state = optimiser.init(parameters)

    @jax.jit
    def step(
        parameters: Parameters, state: optax.OptState, x: jax.Array, label: jax.Array
    ) -> tuple[Parameters, optax.OptState, jax.Array]:
        def loss(parameters: Parameters) -> jax.Array:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits(parameters, x), label)
            return losses.mean()

        value, gradient = jax.value_and_grad(loss)(parameters)
        update, state = optimiser.update(gradient, state)
        return optax.apply_updates(parameters, update), state, value

    losses, random = [], np.random.default_rng(0)
    for _ in range(steps):
        batch = random.choice(len(images), 128)
        parameters, state, value = step(parameters, state, images[batch], labels[batch])
        losses.append(float(value))
    return parameters, losses


def main(steps: int = 600, out: str | Path | None = "out") -> tuple[Figure, float]:
    """Trains and draws; the figure, and the accuracy on digits that it was not trained on.

    Saves the figure in the folder `out` unless that is None.
    """
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype(np.float32)
    training, test = slice(None, 1400), slice(1400, None)
    parameters, _ = train(images[training], digits.target[training], steps)
    right = jnp.argmax(logits(parameters, images[test]), -1) == digits.target[test]
    accuracy = float(right.mean())
    print(f"read {accuracy:.1%} of the test digits after {steps} steps")

    # One digit of each kind.
    shown = np.stack([images[test][digits.target[test] == digit][0] for digit in range(10)])
    (y1, indices1), (y2, indices2) = layers(parameters, shown)
    pictures = {
        "digit": shown,
        "all features\nof layer 2": back_to_pixels(parameters, y2, [indices1, indices2]),
        "strongest\nof layer 2": back_to_pixels(parameters, strongest(y2), [indices1, indices2]),
        "strongest\nof layer 1": back_to_pixels(parameters, strongest(y1), [indices1]),
        "all of layer 2,\nno indices": back_to_pixels(
            parameters, y2, [without_indices(y1), without_indices(y2)]
        ),
    }
    figure, grid = plt.subplots(
        len(pictures), len(shown), figsize=(11, 5.6), layout="constrained", squeeze=False
    )
    for axes, (name, row) in zip(grid, pictures.items(), strict=True):
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=12)
        for ax, picture in zip(axes, np.asarray(row)[..., 0], strict=True):
            most = max(float(np.abs(picture).max()), 1e-6)
            ax.imshow(picture, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
            ax.set(xticks=[], yticks=[])
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "deconvnet.png", dpi=100)
    return figure, accuracy


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
