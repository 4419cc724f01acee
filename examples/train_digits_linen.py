"""The same digits with Flax Linen: jaxpool layers in a `TrainState` loop.

Shorter than `train_digits.py`, without command line, progress bar or figure.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from jaxpool import linen as pooling

BATCH_SIZE = 64


class Network(nn.Module):
    """Two convolutions with a window pooling between them and a global pooling after them."""

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Logits of shape (n, 10)."""
        layers = [
            nn.Conv(32, (3, 3)),
            nn.relu,
            pooling.MaxPool((2, 2)),
            nn.Conv(64, (3, 3)),
            nn.relu,
            pooling.GlobalAvgPool(axes=(-3, -2)),
            nn.Dense(10),
        ]
        return nn.Sequential(layers)(images)


@jax.jit
def train_step(
    state: TrainState, images: jax.Array, labels: jax.Array
) -> tuple[TrainState, jax.Array]:
    """One step downhill, and the loss before it."""

    def loss_of(params: dict) -> jax.Array:
        logits = state.apply_fn({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradient = jax.value_and_grad(loss_of)(state.params)
    return state.apply_gradients(grads=gradient), loss


def main(steps: int = 600, seed: int = 0) -> tuple[list[float], float]:
    """Trains for `steps` batches; the loss of each, and the test accuracy at the end."""
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype(np.float32)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels.astype(np.int32), test_size=0.25, random_state=seed, stratify=labels
    )

    model = Network()
    variables = model.init(jax.random.key(seed), train_images[:1])
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    state = TrainState.create(apply_fn=model.apply, params=variables["params"], tx=optimizer)

    rng = np.random.default_rng(seed)
    losses = []
    for step in range(steps):
        chosen = rng.choice(len(train_labels), BATCH_SIZE, replace=False)
        state, loss = train_step(state, train_images[chosen], train_labels[chosen])
        losses.append(float(loss))
        if (step + 1) % 100 == 0:
            print(f"step {step + 1}: loss {loss:.4f}")

    logits = state.apply_fn({"params": state.params}, jnp.asarray(test_images))
    accuracy = float(np.mean(np.argmax(logits, axis=-1) == test_labels))
    print(f"test accuracy {accuracy:.2%}")
    return losses, accuracy


if __name__ == "__main__":
    main()
