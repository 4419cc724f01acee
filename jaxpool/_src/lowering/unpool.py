"""Values set down at indices of planes: what unpooling is lowered to."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive

from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.primitives import linear_pair, lowered_as_told, lowered_by
from jaxpool._src.lowering.windows import are_known, lowest_value


@functools.partial(jax.jit, static_argnames=("size", "mode"))
def unpool_planes(y: jax.Array, indices: jax.Array, size: Any, mode: str) -> jax.Array:
    """Planes of `size` zeros, with `y` at `indices` along the last axis.

    Linear in y once it is known which values win. CPUs scatter, one value after the other; on
    parallel hardware, where that takes atomics, sorting brings together what has one position.
    """
    if mode == "add":
        return added_up(y, indices, size, y.ndim - 1)
    indices = _inside(indices, size)
    order = lax.broadcasted_iota(np.int32, y.shape, y.ndim - 1)
    key = order if mode == "set" else _ordered(lax.stop_gradient(y))
    winners = _winners_p.bind(*varying_alike(key, indices), size=size)
    # Where each value goes: losers, like what is dropped, beyond the end.
    targets = jnp.where(_take(winners, indices, y.shape[-1]) == order, indices, size)
    return _set_down(SetDown(size, y.ndim - 1), y, targets, winners)


def added_up(y: jax.Array, indices: jax.Array, size: Any, axis: int) -> jax.Array:
    """Vectors of `size` along an axis, with the sum of all of `y` that has an index."""
    total = _set_down(SetDown(size, axis), y.astype(_wide(y.dtype)), _inside(indices, size))
    return total.astype(y.dtype)


def fetched(x: jax.Array, indices: jax.Array, axis: int) -> jax.Array:
    """The elements of `x` at `indices` along an axis, 0 where there is none.

    It is the transpose of `added_up`, and has that for a transpose.
    """
    size, wide = x.shape[axis], x.astype(_wide(x.dtype))  # as its transpose adds up
    found = _set_down(SetDown(size, axis), wide, _inside(indices, size), backward=True)
    return found.astype(x.dtype)


def _wide(dtype: Any) -> Any:
    """In which many of a dtype are added up."""
    if jnp.issubdtype(dtype, jnp.floating):
        return np.promote_types(dtype, np.float32)
    return np.dtype(np.int32) if jnp.issubdtype(dtype, jnp.bool_) else dtype


def _inside(indices: jax.Array, size: Any) -> jax.Array:
    """All that are beyond an end beyond the last one."""
    return jnp.where((indices >= 0) & (indices < size), indices, size)


@dataclasses.dataclass(frozen=True)
class SetDown:
    """What is given, at its targets in vectors of `size` zeros along `axis`.

    The transpose fetches it there. Where no two have one target, so do vectors: their `winners`.
    """

    size: Any
    axis: int

    def lowered(
        self, platform: str, given: jax.Array, targets: jax.Array, *winners: jax.Array,
        several: bool, backward: bool,
    ) -> jax.Array:  # fmt: skip
        """The program of one direction."""
        if backward:
            return _take(given, targets, 0, self.axis)
        if winners:
            return _take(given, winners[0], 0, self.axis)
        if platform == "cpu":
            return _scattered("add", 0, given, targets, self, several)
        form = functools.partial(_sorted_sum, size=self.size)
        return _along(self.axis, form, given, targets)


def _set_down(
    how: SetDown, given: jax.Array, *places: jax.Array, backward: bool = False
) -> jax.Array:
    return _set_down_p.bind(*varying_alike(given, *places), how=how, backward=backward)


def _along(axis: int, function: Callable, *arrays: jax.Array) -> jax.Array:
    """A function of vectors along an axis of each of `arrays`."""
    ndim = arrays[0].ndim
    for _ in range(ndim - 1 - axis):
        function = jax.vmap(function, -1, -1)
    for _ in range(axis):
        function = jax.vmap(function)
    return function(*arrays)


def _scattered(
    method: str, start: Any, y: jax.Array, targets: jax.Array, how: SetDown, several: bool
) -> jax.Array:
    """Vectors of `start`, into which `y` is added, say, at `targets`.

    XLA:CPU takes a quarter of the time for a scatter along one axis, so all vectors are one there.
    But devices may share the others, and int32 has to number its elements.
    """
    size, axis = how.size, how.axis
    outer, inner = y.shape[:axis], y.shape[axis + 1 :]
    count = math.prod((*outer, size, *inner))
    if several or not are_known(count) or count >= np.iinfo(np.int32).max:

        def vector(y: jax.Array, targets: jax.Array) -> jax.Array:
            total = jnp.full(size, start, y.dtype)
            return getattr(total.at[targets], method)(y, mode="drop")

        return _along(axis, vector, y, targets)
    before = jnp.arange(math.prod(outer), dtype=targets.dtype).reshape(*outer, 1, *[1] * len(inner))
    within = jnp.arange(math.prod(inner), dtype=targets.dtype).reshape(*[1] * (axis + 1), *inner)
    row = (before * size + targets) * math.prod(inner) + within
    # What is dropped has an element of its own.
    row = jnp.where(targets < size, row, count)
    total = jnp.full(count + 1, start, y.dtype).at[row.reshape(-1)]
    total = getattr(total, method)(y.reshape(-1), mode="promise_in_bounds")
    return total[:-1].reshape(*outer, size, *inner)


def _sorted_sum(y: jax.Array, targets: jax.Array, size: Any) -> jax.Array:
    """`_scattered`, in an order of summation that depends on nothing but `targets`."""
    targets, y = lax.sort((targets, y), num_keys=1, is_stable=True)
    place = lax.iota(np.int32, y.shape[0])

    def again(distance: jax.Array) -> jax.Array:
        return (_take(targets, place + distance, -1) == targets) & (targets < size)

    def double(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """From sums of runs' next `distance` values to those of twice as many."""
        distance, sums = state
        more = _take(sums, place + distance, 0)
        return 2 * distance, jnp.where(again(distance), sums + more, sums)

    _, sums = lax.while_loop(lambda state: jnp.any(again(state[0])), double, (jnp.int32(1), y))
    return _firsts(targets, sums, size, 0)


def _winners_by_scatter(key: jax.Array, targets: jax.Array, size: Any, several: bool) -> jax.Array:
    """For each position the place of the first largest key there; beyond the end if none is."""
    order = lax.broadcasted_iota(np.int32, key.shape, key.ndim - 1)
    put = functools.partial(_scattered, how=SetDown(size, key.ndim - 1), several=several)
    largest = put("max", lowest_value(key.dtype), key, targets)
    targets = jnp.where(_take(largest, targets, 0) == key, targets, size)
    return put("min", key.shape[-1], order, targets)


def _winners_by_sort(key: jax.Array, targets: jax.Array, size: Any) -> jax.Array:
    """`_winners_by_scatter` by sorting; ~ reverses ints, largest first."""
    order = lax.iota(np.int32, key.shape[0])
    targets, _, order = lax.sort((targets, ~key, order), num_keys=2, is_stable=True)
    return _firsts(targets, order, size, key.shape[0])


def _firsts(targets: jax.Array, values: jax.Array, size: Any, fill: Any) -> jax.Array:
    """For each of `size` positions the first value with that target; `targets` are sorted."""
    position = lax.iota(targets.dtype, size)
    found = jnp.zeros(size, np.int32)  # number of targets below the position, by bisection
    count = targets.shape[0]
    beyond = np.iinfo(targets.dtype).max
    for bit in reversed(range(count.bit_length() if isinstance(count, int) else 31)):
        probe = found + np.int32(1 << bit)
        found = jnp.where(_take(targets, probe - 1, beyond) < position, probe, found)
    return jnp.where(
        _take(targets, found, beyond) == position,
        _take(values, found, fill),
        jnp.asarray(fill, values.dtype),
    )


def _take(values: jax.Array, places: jax.Array, fill: Any, axis: int = -1) -> jax.Array:
    """`values` at `places`, none of which is negative; `fill` for those beyond the end."""

    def take(values: jax.Array, places: jax.Array) -> jax.Array:
        at = values.at[places]
        return at.get(mode="fill", fill_value=fill, wrap_negative_indices=False)

    return _along(axis % values.ndim, take, values, places)


def _ordered(y: jax.Array) -> jax.Array:
    """Ints in the order of `y`; -0.0 equals 0.0, and NaN is above all."""
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return y.astype(np.int32) if y.dtype.itemsize < 4 else y
    y = y.astype(np.promote_types(y.dtype, np.float32))
    y = jnp.where(y == 0, np.zeros((), y.dtype), y)
    kind = np.dtype(f"int{8 * y.dtype.itemsize}")
    bits = lax.bitcast_convert_type(y, kind)
    largest = np.iinfo(kind).max
    return jnp.where(jnp.isnan(y), largest, jnp.where(bits < 0, bits ^ largest, bits))


# --- for JAX ------------------------------------------------------------------------------------


def _abstract(given: Any, targets: Any, *_: Any, how: SetDown, backward: bool) -> Any:
    shape = list(given.shape)
    shape[how.axis] = targets.shape[how.axis] if backward else how.size
    return given.update(shape=tuple(shape), weak_type=False)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: SetDown, backward: bool
) -> tuple[jax.Array, int]:
    how = dataclasses.replace(how, axis=how.axis + 1)
    return _set_down_p.bind(*_batch_first(operands, axes), how=how, backward=backward), 0


def _winners_abstract(key: Any, targets: Any, *, size: Any) -> Any:
    return key.update(shape=(*key.shape[:-1], size), dtype=np.dtype(np.int32), weak_type=False)


def _winners_batch(
    operands: Sequence[Any], axes: Sequence[Any], *, size: Any
) -> tuple[jax.Array, int]:
    return _winners_p.bind(*_batch_first(operands, axes), size=size), 0


def _batch_first(operands: Sequence[Any], axes: Sequence[Any]) -> list[jax.Array]:
    count = next(a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
    return [
        jnp.broadcast_to(a, (count, *a.shape)) if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(operands, axes, strict=True)
    ]


def _winners_lowered(
    platform: str, key: jax.Array, targets: jax.Array, *, size: Any, several: bool
) -> jax.Array:
    if platform == "cpu":
        return _winners_by_scatter(key, targets, size, several)
    return _along(key.ndim - 1, functools.partial(_winners_by_sort, size=size), key, targets)


_set_down_p = linear_pair("set_down")
lowered_by(_set_down_p, _abstract, _batch, lowered_as_told, by_devices=True)
_winners_p = Primitive("winners")
lowered_by(_winners_p, _winners_abstract, _winners_batch, _winners_lowered, by_devices=True)
