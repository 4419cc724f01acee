"""Arrays that differ between the devices of a mesh, under `jax.shard_map`."""

from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import AxisType


def settled(step: Callable[[Any], Any], state: Any) -> Any:
    """`state` as `step` returns it: under `jax.shard_map`, varying over the same axes of the mesh.

    A loop wants that, and what it begins with is often a constant.
    """
    if AxisType.Manual not in jax.sharding.get_abstract_mesh().axis_types:
        return state
    return jax.tree.map(lambda a, b: varying_alike(a, b)[0], state, step(state))


def varying_alike(*arrays: jax.Array) -> list[jax.Array]:
    """The arrays, varying over the same axes of a mesh under `jax.shard_map`."""
    axes = [_varying_over(array) for array in arrays]
    every = frozenset().union(*axes)
    return [
        _vary(array, tuple(every - here)) if every - here else array
        for array, here in zip(arrays, axes, strict=True)
    ]


def _vary(array: jax.Array, axes: tuple[Any, ...]) -> jax.Array:
    of_jax: Any = lax
    if hasattr(of_jax, "pcast"):
        return of_jax.pcast(array, axes, to="varying")
    return of_jax.pvary(array, axes)  # in earlier versions


def _varying_over(array: jax.Array) -> frozenset[Any]:
    kind: Any = jax.typeof(array)
    return kind.mat.varying if hasattr(kind, "mat") else kind.vma  # named so up to JAX 0.9
