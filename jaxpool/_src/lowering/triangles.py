"""The upper triangle of a matrix as a vector, row by row, and the transpose of that.

Each direction is a loop over rows, written for itself. Of 16 matrices of 256 rows, a gather takes
four times as long on CPUs, and its gradient ten times; slices of rows make a program that grows.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.primitives import linear_pair, lowered_by
from jaxpool._src.lowering.windows import numbered


def upper_triangle(matrices: jax.Array) -> jax.Array:
    """Entries on and above the diagonal: ``[..., n, n]`` to ``[..., n (n + 1) / 2]``."""
    return _triangle_p.bind(matrices, how=matrices.shape[-1], backward=False)


def _packed(n: int, matrices: jax.Array) -> jax.Array:
    """Row after row, from the last one up: what is left of a diagonal is written over."""
    axis = matrices.ndim - 2
    start = jnp.zeros((*matrices.shape[:-2], n * (n + 1) // 2), matrices.dtype)
    matrices, start = varying_alike(matrices, start)

    def put(number: Any, y: jax.Array) -> jax.Array:
        row = lax.dynamic_index_in_dim(matrices, n - 1 - number, axis, keepdims=False)
        return lax.dynamic_update_slice_in_dim(y, row, _place(n - 1 - number, n), axis)

    return lax.fori_loop(0, n, put, start)


def _unpacked(n: int, y: jax.Array) -> jax.Array:
    """Rows with 0 left of the diagonal."""
    axis = y.ndim - 1
    start = jnp.zeros((*y.shape[:-1], n, n), y.dtype)
    y, start = varying_alike(y, start)

    def put(number: Any, matrices: jax.Array) -> jax.Array:
        row = lax.dynamic_slice_in_dim(y, _place(number, n), n, axis)
        row = jnp.where(numbered(axis, n, y.ndim) >= number, row, np.zeros((), y.dtype))
        return lax.dynamic_update_index_in_dim(matrices, row, number, axis)

    return lax.fori_loop(0, n, put, start)


def _place(number: Any, n: int) -> Any:
    """Where a whole row lies whose part from the diagonal on is in its place."""
    return number * n - number * (number + 1) // 2


def _abstract(given: Any, *, how: int, backward: bool) -> Any:
    if backward:
        return given.update(shape=(*given.shape[:-1], how, how), weak_type=False)
    return given.update(shape=(*given.shape[:-2], how * (how + 1) // 2), weak_type=False)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: int, backward: bool
) -> tuple[jax.Array, int]:
    given = jnp.moveaxis(operands[0], axes[0], 0)
    return _triangle_p.bind(given, how=how, backward=backward), 0


def _lowered(platform: str, given: jax.Array, *, how: int, backward: bool) -> jax.Array:
    del platform
    return functools.partial(_unpacked if backward else _packed, how)(given)


_triangle_p = linear_pair("upper_triangle")
lowered_by(_triangle_p, _abstract, _batch, _lowered)
