"""The upper triangle of a matrix as a vector, without a gather."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.windows import numbered


def upper_triangle(matrices: jax.Array) -> jax.Array:
    """Entries on and above the diagonal, row by row: ``[..., n, n]`` to ``[..., n (n + 1) / 2]``.

    Side by side, an entry of row i has ``i (i + 1) / 2`` others before it that are left out. It
    moves that far in steps of 1, 2, 4 and so on, in which no two that stay ever meet.
    """
    n = matrices.shape[-1]
    row, column = numbered(0, n, 2), numbered(1, n, 2)
    left_out = row * (row + 1) // 2
    steps = jnp.where(column >= row, left_out, np.int32(0)).reshape(n * n)
    y = matrices.reshape(*matrices.shape[:-2], n * n)
    for bit in range((n * (n - 1) // 2).bit_length()):
        step = 1 << bit
        further = _earlier(steps, step)
        arrives, leaves = ((s & step) != 0 for s in (further, steps))
        arrives_here = arrives.reshape((1,) * (y.ndim - 1) + arrives.shape)
        y = lax.select(jnp.broadcast_to(arrives_here, y.shape), _earlier(y, step), y)
        steps = jnp.where(arrives, further, jnp.where(leaves, np.int32(0), steps))
    return lax.slice_in_dim(y, 0, n * (n + 1) // 2, axis=-1)


def _earlier(x: jax.Array, step: int) -> jax.Array:
    """Each entry that many places earlier along the last axis."""
    moved = lax.slice_in_dim(x, step, None, axis=-1)
    return lax.pad(moved, np.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 1) + [(0, step, 0)])
