"""Masked sums over whole axes, a block of the array at a time on CPUs."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.interpreters import mlir

from jaxpool._src.lowering.meshes import settled, varying_alike
from jaxpool._src.lowering.primitives import batched, linear_pair, lowered_by
from jaxpool._src.lowering.windows import are_known

# XLA:CPU does not fuse a selection into the sum after it. It writes all that is selected first, to
# memory that the system has to give and to clear: ten times the time of the sum. So it is done in
# blocks of about so many bytes, which stay in the cache; what is not much larger is one block.
_BLOCK = 1 << 21

# One row along the pooled axis needs no sum, and is faster still, if it is at least so many bytes,
# in pieces of some cache lines. Many rows are left to blocks, whose sums have more digits.
_ROW, _LINES, _MOST_ROWS = 1 << 16, 1 << 9, 4096


@dataclasses.dataclass(frozen=True)
class MaskedSum:
    """The sum over `axes`, which stay with size 1, of what is valid in an array of `shape`.

    Linear in x, which has that shape, or is a number of which there is no derivative.
    """

    axes: tuple[int, ...]
    shape: tuple[int, ...]

    def __call__(self, x: jax.Array, where: jax.Array) -> jax.Array:
        x, where = (
            lax.expand_dims(a, range(len(self.shape) - a.ndim)) for a in varying_alike(x, where)
        )
        return _sum_p.bind(x, where, how=self, backward=False)

    @property
    def cells(self) -> tuple[int, ...]:
        """Shape of the sums."""
        return tuple(1 if axis in self.axes else n for axis, n in enumerate(self.shape))


def masked_sum(x: jax.Array, where: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """The sum over `axes`, which stay with size 1, of what `where` does not leave out of x.

    `where` broadcasts to x, or x is a number for each of its elements: 1, to count them.
    """
    shape = x.shape or where.shape
    if are_known(*shape) and math.prod(shape) * x.dtype.itemsize >= 4 * _BLOCK:
        return MaskedSum(axes, shape)(x, where)
    return _at_once(x, where, axes)


def _at_once(x: jax.Array, where: jax.Array, axes: Sequence[int]) -> jax.Array:
    valid = jnp.where(where, x, np.zeros((), x.dtype))
    return jnp.sum(valid, axes, dtype=x.dtype, keepdims=True)


def _cut(how: MaskedSum, size: int) -> tuple[int, int]:
    """An axis, and how many of its entries make a block; elements have `size` bytes."""

    def entry(axis: int) -> int:
        return math.prod(how.shape) // how.shape[axis] * size

    if len(how.axes) == 1:
        (axis,) = how.axes
        together = math.prod(how.shape[axis + 1 :]) * size  # what lies side by side in memory
        few = how.shape[axis] <= _MOST_ROWS
        if few and together >= _LINES and _ROW <= entry(axis) <= 2 * _BLOCK:
            return axis, 1
    # The first that can be cut up finely enough.
    axes = range(len(how.shape))
    axis = next(a for a in axes if math.prod(how.shape[a + 1 :]) * size <= 2 * _BLOCK)
    return axis, min(max(1, _BLOCK // entry(axis)), how.shape[axis])


def _in_blocks(x: jax.Array, where: jax.Array, how: MaskedSum) -> jax.Array:
    axis, along = _cut(how, x.dtype.itemsize)
    length = how.shape[axis]
    whole, rest = divmod(length, along)
    # A mask that is shorter elsewhere broadcasts in each block, where x has all elements.
    shape = (*where.shape[:axis], length, *where.shape[axis + 1 :])
    where = jnp.broadcast_to(where, shape)

    def of(start: Any, length: int) -> jax.Array:
        def part(a: jax.Array) -> jax.Array:
            return a if a.shape[axis] == 1 else lax.dynamic_slice_in_dim(a, start, length, axis)

        return _at_once(part(x), part(where), how.axes)

    def step(y: jax.Array, start: Any, length: int) -> jax.Array:
        if axis in how.axes:
            return y + of(start, length)
        return lax.dynamic_update_slice_in_dim(y, of(start, length), start, axis)

    y = settled(lambda y: step(y, 0, along), jnp.zeros(how.cells, x.dtype))
    y = lax.fori_loop(0, whole, lambda i, y: step(y, i * along, along), y)
    return step(y, whole * along, rest) if rest else y


_sum_p = linear_pair("masked_sum")


def _lowered(
    platform: str, given: jax.Array, where: jax.Array, *, how: MaskedSum, backward: bool
) -> jax.Array:
    if backward:
        return jnp.where(where, jnp.broadcast_to(given, how.shape), np.zeros((), given.dtype))
    return _in_blocks(given, where, how) if platform == "cpu" else _at_once(given, where, how.axes)


def _abstract(given: Any, where: Any, *, how: MaskedSum, backward: bool) -> Any:
    return given.update(shape=how.shape if backward else how.cells, weak_type=False)


def _batch(
    operands: Any, axes: Any, *, how: MaskedSum, backward: bool
) -> tuple[jax.Array, int]:  # fmt: skip
    operands, at = batched(operands, axes, 1)
    shape = (*how.shape[:at], operands[0].shape[at], *how.shape[at:])
    moved = tuple(axis + (axis >= at) for axis in how.axes)
    return _sum_p.bind(*operands, how=MaskedSum(moved, shape), backward=backward), at


def _one_device_each(context: Any) -> bool:
    """Whether what is lowered runs on one device, or on the part of an array that each has."""
    context = getattr(context.module_context, "axis_context", None)
    mesh = getattr(context, "mesh", None)
    if mesh is not None:
        return set(mesh.axis_names) == set(getattr(context, "manual_axes", ()))
    return getattr(context, "num_devices", None) == 1


def _on_cpus(context: Any, *operands: Any, **direction: Any) -> Any:
    """Of an array in parts, a loop would have to fetch those of other devices."""
    platform = "cpu" if _one_device_each(context) else "default"
    form = functools.partial(_lowered, platform)
    return mlir.lower_fun(form, multiple_results=False)(context, *operands, **direction)


lowered_by(_sum_p, _abstract, _batch, _lowered)
mlir.register_lowering(_sum_p, _on_cpus, platform="cpu")
