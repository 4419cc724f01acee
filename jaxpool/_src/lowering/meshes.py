"""Arrays that differ between the devices of a mesh, under `jax.shard_map`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType

from jaxpool._src.core.shards import AxisShard


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


def device_number(shard: AxisShard) -> Any:
    """The number of this device along an axis, among those that share it."""
    return np.int32(0) if shard.name is None else lax.axis_index(shard.name)


def places(shard: AxisShard, axis: int, ndim: int) -> jax.Array:
    """Where on the whole axis is what the windows of this device reach over."""
    shape = [shard.length if i == axis else 1 for i in range(ndim)]
    return lax.broadcasted_iota(np.int32, shape, axis) + shard.start(device_number(shard))


def with_halo(x: jax.Array, axis: int, shard: AxisShard) -> jax.Array:
    """What the windows of this device reach over along an axis, 0 outside of the whole array."""
    before, after = shard.halo()
    parts = [*_received(x, axis, shard, before, 1), x, *_received(x, axis, shard, after, -1)[::-1]]
    x = lax.concatenate(parts, axis) if len(parts) > 1 else x
    offsets = shard.offsets()
    # Windows at the ends reach over what no device has.
    low = max(0, -min(offsets))
    high = max(0, max(offsets) + shard.length - x.shape[axis])
    widths = [(low, high, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    x = lax.pad(x, np.zeros((), x.dtype), widths) if low or high else x
    if len(offsets) == 1:
        x = lax.slice_in_dim(x, low + offsets[0], low + offsets[0] + shard.length, 1, axis)
    else:
        start = device_number(shard) * np.int32(offsets.step) + np.int32(low + offsets.start)
        x = lax.dynamic_slice_in_dim(x, start, shard.length, axis)
    if shard.whole.length < shard.size * shard.devices:
        inside = places(shard, axis, x.ndim) < np.int32(shard.whole.length)
        x = jnp.where(inside, x, np.zeros((), x.dtype))
    return x


def _received(
    x: jax.Array, axis: int, shard: AxisShard, width: int, direction: int
) -> list[jax.Array]:
    """The last `width` elements of devices before this one, or the first of those after it.

    In parts, one for each device, the farthest first; 0 where there is none.
    """
    parts = []
    for hop in range(-(-width // shard.size), 0, -1):
        size = min(width - (hop - 1) * shard.size, shard.size)
        start = shard.size - size if direction > 0 else 0
        step = hop * direction
        pairs = [(i, i + step) for i in range(shard.devices) if 0 <= i + step < shard.devices]
        sent = lax.slice_in_dim(x, start, start + size, 1, axis)
        parts.append(lax.ppermute(sent, shard.name, pairs))
    return parts
