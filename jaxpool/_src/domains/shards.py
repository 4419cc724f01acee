"""Windows over an axis that the devices of a mesh share, inside `jax.shard_map`."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain
from jaxpool._src.core.shards import AxisShard
from jaxpool._src.domains.window import Window
from jaxpool._src.lowering import meshes
from jaxpool._src.lowering.windows import all_of, numbered


@explained
def halo_exchange(
    x: jax.Array,
    domain: Window,
    *,
    axis_names: Any,
    lengths: arguments.Ints | None = None,
) -> tuple[jax.Array, Domain]:
    """What this device needs to pool its part of an array that devices share along pooled axes.

    For use inside of `jax.shard_map`. Pooling what is returned gives this device's part of the
    result, with any reduction and without another exchange::

        y = pool(*halo_exchange(x, domain, axis_names="rows"), reduction)

    Of n windows along an axis with d devices each has ``ceil(n / d)``, in order. What the last
    devices have too many is `empty_value`, and is cut off outside; or it is left where it is, and
    the next call is told by `lengths`. Elements come from as many devices away as it takes.

    Args:
      x: this device's part of the array, of the same size on each device.
      domain: the windows, as of the whole array: padding is at its ends.
      axis_names: for each pooled axis the name of the mesh axis that it is sharded over, or a
        tuple of names, None where it is not; or one name if one axis is pooled.
      lengths: for each pooled axis the length of the whole array, an int or one per pooled axis,
        beyond which x holds nothing that counts. Default: all that the devices have.

    Returns:
      x with what the windows of this device reach over, 0 outside of the whole array, and the
      domain to pool it over. A mask is exchanged as x is.

    Raises:
      ValueError: an argument is out of range, or x is too small for the domain.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Linear in x: what other devices make of an element is sent back to it.

    Example:
      >>> window = jaxpool.Window(3, strides=2, padding=1, axes=0)
      >>> def part(x):
      ...     return jaxpool.pool(
      ...         *jaxpool.halo_exchange(x, window, axis_names="rows"), jaxpool.Max()
      ...     )
      >>> mesh = jax.sharding.Mesh(jax.devices()[:1], "rows")  # of one device here
      >>> rows = jax.sharding.PartitionSpec("rows")
      >>> pool = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=rows, out_specs=rows))
      >>> pool(jnp.array([1., 5., 2., 4., 3., 0.]))
      Array([5., 5., 4.], dtype=float32)
    """
    op = "halo_exchange"
    if type(domain) is not Window:
        arguments.fail(op, "domain", "be a jaxpool.Window", domain, error=TypeError)
    x = arguments.array(op, x)
    axes = arguments.resolved_axes(op, arguments.axis_numbers(op, domain.axes), x.shape)
    names = _names(op, axis_names, len(axes))
    devices = [1 if name is None else int(lax.psum(1, name)) for name in names]
    whole = [0] * len(axes)
    for number, (axis, count) in enumerate(zip(axes, devices, strict=True)):
        arguments.known_size(op, x.shape, axis)
        whole[number] = x.shape[axis] * count
    if lengths is not None:
        given = arguments.ints(op, "lengths", lengths, len(axes), 1)
        if any(length > most for length, most in zip(given, whole, strict=True)):
            most = tuple(whole)
            arguments.fail(op, "lengths", f"be at most {most}, which the devices have", lengths)
        whole = list(given)
    shape = list(x.shape)
    for axis, length in zip(axes, whole, strict=True):
        shape[axis] = length
    domain.check(op, shape)
    shards = tuple(
        AxisShard(w, x.shape[axis], count, name)
        for (axis, w), count, name in zip(domain.windows(shape), devices, names, strict=True)
    )
    for axis, shard in zip(axes, shards, strict=True):
        x = meshes.with_halo(x, axis, shard)
    return x, _Shard(
        domain.window_shape,
        tuple(shard.whole.stride for shard in shards),
        dilation=domain.dilation,
        axes=domain.axes,
        footprint=domain.footprint,
        shards=shards,
    )


def _names(op: str, value: Any, n: int) -> tuple[Any, ...]:
    """A name of an axis of the mesh, or None, for each of `n` pooled axes."""
    allowed = f"be a name of an axis of the mesh, or {n} of them or None (one per pooled axis)"
    names = tuple(value) if isinstance(value, list | tuple) else (value,)
    if len(names) != n:
        arguments.fail(op, "axis_names", allowed, value)
    for name in names:
        parts = name if isinstance(name, tuple) else () if name is None else (name,)
        if not all(isinstance(part, str) for part in parts):
            arguments.fail(op, "axis_names", allowed, value, error=TypeError)
    if all(name is None for name in names):
        arguments.fail(op, "axis_names", "name an axis of the mesh at least", value)
    return names


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _Shard(Window):
    """The windows of one device, which has all that they reach over: they have no padding."""

    shards: tuple[AxisShard, ...] = ()

    def inside(self, shape: Sequence[Any], where: jax.Array | None) -> jax.Array | None:
        conditions = self._within(shape, declared=False)
        if not conditions:
            return where
        array = jnp.broadcast_to(all_of(conditions), self._pooled_shape(shape))
        return array if where is None else jnp.where(array, where, np.zeros((), where.dtype))

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        return any(shard.spare for shard in self.shards) or super().can_be_empty(shape)

    def stages(self, shape: Sequence[Any]) -> Sequence[Domain]:
        return (self,)  # those of one axis would have to know where the other ends

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        inside = self.inside(shape, where)
        found = super().count(shape, inside)
        if include_pad and (outside := self.inside(shape, None)) is not None:
            declared = jnp.broadcast_to(all_of(self._within(shape, declared=True)), outside.shape)
            found = found + self.sum((declared & ~outside).astype(np.int32))
        conditions = [
            numbered(axis, shard.cells, len(shape)) + self._first(shard) < shard.whole.output
            for axis, shard in self._by_axis(shape)
            if shard.spare
        ]
        return jnp.where(all_of(conditions), found, np.int32(0)) if conditions else found

    def _by_axis(self, shape: Sequence[Any]) -> list[tuple[int, AxisShard]]:
        return list(zip(self.pooled_axes(len(shape)), self.shards, strict=True))

    def _pooled_shape(self, shape: Sequence[Any]) -> list[int]:
        axes = self.pooled_axes(len(shape))
        return [n if axis in axes else 1 for axis, n in enumerate(shape)]

    @staticmethod
    def _first(shard: AxisShard) -> Any:
        """The number of this device's first window."""
        return meshes.device_number(shard) * np.int32(shard.cells)

    def _within(self, shape: Sequence[Any], *, declared: bool) -> list[jax.Array]:
        """Conditions that all hold inside the whole array, or inside its `declared` padding."""
        found = []
        for axis, shard in self._by_axis(shape):
            if not shard.overhangs:
                continue
            w, place = shard.whole, meshes.places(shard, axis, len(shape))
            low, high = (w.low, w.high) if declared else (0, 0)
            found += [place >= np.int32(-low), place < np.int32(w.length + high)]
        return found
