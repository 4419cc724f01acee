"""Tries the package as it is installed: pools as functions and as layers, and a gradient."""

from pathlib import Path

import flax
import jax
import jax.numpy as jnp

import jaxpool
import jaxpool.linen
import jaxpool.nnx

found, clone = Path(jaxpool.__file__).resolve().parent, Path(__file__).resolve().parents[1]
assert found.parent != clone, f"{found} is the clone's, not that of a wheel"
assert (found / "py.typed").is_file(), found

x = jnp.arange(1.0, 17.0).reshape(4, 4, 1)
for pool in (
    lambda x: jaxpool.max_pool(x, (2, 2)),
    jaxpool.nnx.MaxPool((2, 2)),
    lambda x: jaxpool.linen.MaxPool((2, 2)).apply({}, x),
):
    y = pool(x)[..., 0]
    assert y.tolist() == [[6, 8], [14, 16]], y
gradient = jax.grad(lambda x: jaxpool.median_pool(x, (3, 3), strides=1).sum())(x)
assert gradient.sum() == 4, gradient
print(f"jaxpool {jaxpool.__version__} works with jax {jax.__version__}, flax {flax.__version__}")
