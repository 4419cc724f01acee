"""Derivatives against differences, by one program for all of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads


def wave(x: Any) -> np.ndarray:
    """A direction in which no two elements are alike."""
    return np.cos(np.arange(np.size(x), dtype=x.dtype)).reshape(np.shape(x))


def dot(a: Any, b: Any) -> jax.Array:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return sum(jnp.vdot(u, v) for u, v in pairs)


def check(
    f: Callable, args: tuple, *, step: float = 1e-6, rtol: float = 1e-5, atol: float = 1e-6
) -> Callable:
    """Checks forward and reverse mode at float64 `args`, and forward over reverse.

    Returns the compiled gradient of ``sum(sin(f(*args)))``.
    """
    f = jax.jit(f)
    direction = jax.tree.map(wave, args)

    def gradient(*args: Any) -> Any:
        y, vjp = jax.vjp(f, *args)
        return vjp(jax.tree.map(jnp.cos, y))

    @jax.jit
    def everything(*args: Any) -> Any:
        y, tangent = jax.jvp(f, args, direction)
        g, second = jax.jvp(gradient, args, direction)
        forward = dot(jax.tree.map(jnp.cos, y), tangent)
        return (y, g), (tangent, second), (forward, dot(g, direction))

    def moved(by: float) -> Any:
        return everything(*jax.tree.map(lambda x, d: x + by * d, args, direction))[0]

    found, (forward, backward) = everything(*args)[1:]
    np.testing.assert_allclose(backward, forward, rtol=1e-8, atol=1e-10)
    for d, ahead, behind in zip(
        *map(jax.tree.leaves, (found, moved(step), moved(-step))), strict=True
    ):
        np.testing.assert_allclose(d, (ahead - behind) / (2 * step), rtol=rtol, atol=atol)
    return lambda *args: everything(*args)[0][1]


def check_every_mode(f: Callable, args: tuple, **options: Any) -> None:
    """All four of second order, each by programs of its own: as dear as it is thorough."""
    check_grads(jax.jit(f), args, **{"order": 2, **options})
