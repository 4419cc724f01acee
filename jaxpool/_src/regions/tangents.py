"""Tangents of what boxes have, those of which nothing is known left out."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.regions.corners import Places


def known(places: Places) -> Places:
    """Places with none that is NaN, where those that were NaN are outside of any map.

    A NaN among the weights would reach all of the gradient in the map: 0 * NaN is NaN.
    """
    return tuple(_known(t) for t in places)


def _known(t: jax.Array) -> jax.Array:
    return jnp.where(t == t, t, np.array(-2, t.dtype))


def without_unknown(tangent: jax.Array, places: Places) -> jax.Array:
    """0 for cells that lie nowhere: what is handed back to them, NaN as they are, is not used."""
    unknown = jnp.any(places[0] != places[0], -1)
    for t in places[1:]:
        unknown |= jnp.any(t != t, -1)
    return jnp.where(unknown[..., None], np.zeros((), tangent.dtype), tangent)


def tangent_of(
    function: Callable, primals: tuple[Any, ...], tangents: tuple[Any, ...]
) -> jax.Array:
    """The tangent of ``function(*primals)``, not computing with tangents that are known to be 0."""
    leaves, tree = jax.tree.flatten(primals)
    directions = jax.tree.leaves(tangents)
    zero = [isinstance(t, jax.custom_derivatives.SymbolicZero) for t in directions]

    def of_the_rest(*moving: jax.Array) -> jax.Array:
        rest = iter(moving)
        every = [x if z else next(rest) for x, z in zip(leaves, zero, strict=True)]
        return function(*jax.tree.unflatten(tree, every))

    point = tuple(x for x, z in zip(leaves, zero, strict=True) if not z)
    direction = tuple(t for t, z in zip(directions, zero, strict=True) if not z)
    return jax.jvp(of_the_rest, point, direction)[1]
