"""Values set down at indices of planes: what unpooling is lowered to."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.windows import lowest_value


@functools.partial(jax.jit, static_argnames=("size", "mode"))
def unpool_planes(y: jax.Array, indices: jax.Array, size: Any, mode: str) -> jax.Array:
    """`_unpool_plane` along the last axis."""
    unpool = functools.partial(_unpool_plane, size=size, mode=mode)
    for _ in range(y.ndim - 1):
        unpool = jax.vmap(unpool)
    return unpool(y, indices)


def _unpool_plane(y: jax.Array, indices: jax.Array, size: Any, mode: str) -> jax.Array:
    """A plane of `size` zeros with `y` at `indices`; both are vectors.

    Linear in y once it is known which values win. CPUs scatter, one value after the other; on
    parallel hardware, where that takes atomics, sorting brings together what has one position.
    """
    indices = jnp.where((indices >= 0) & (indices < size), indices, size)
    if mode == "add":
        by_platform: Any = functools.partial(
            lax.platform_dependent,
            cpu=functools.partial(_scattered, size=size),
            default=functools.partial(_sorted_sum, size=size),
        )
        dtype = np.int32 if y.dtype == bool else y.dtype
        if jnp.issubdtype(dtype, jnp.floating):
            dtype = np.promote_types(dtype, np.float32)
        total = _linear(by_platform, indices, indices, y.astype(dtype), size)
        return total.astype(y.dtype)
    order = lax.iota(np.int32, y.shape[0])
    key = order if mode == "set" else _ordered(lax.stop_gradient(y))
    winners = lax.platform_dependent(
        key,
        indices,
        cpu=functools.partial(_winners_by_scatter, size=size),
        default=functools.partial(_winners_by_sort, size=size),
    )
    # Where each value goes: losers, like what is dropped, beyond the end.
    targets = jnp.where(_take(winners, indices, y.shape[0]) == order, indices, size)
    return _linear(lambda v, winners: _take(v, winners, 0), winners, targets, y, size)


def _linear(
    forward: Callable[[jax.Array, jax.Array], jax.Array],
    places: jax.Array,
    targets: jax.Array,
    y: jax.Array,
    size: Any,
) -> jax.Array:
    """``forward(y, places)``, which adds up what has one target, and its transpose, which fetches.

    JAX would transpose to a scatter. It does take a transpose for the solution of a linear system,
    with derivatives of any order in every mode: here ``a = y, b - forward(a) = 0`` for (a, b).
    """
    if not jnp.issubdtype(y.dtype, jnp.floating):
        return forward(y, places)
    count = y.shape[0]
    # What is solved for varies over the same axes of a mesh as all that is given.
    y, places, targets = varying_alike(y, places, targets)

    def system(ab: jax.Array) -> jax.Array:
        a, b = ab[:count], ab[count:]
        # In the form that JAX can transpose. Only the solutions below become part of programs.
        return jnp.concatenate([a, b - _scattered(a, targets, size)])

    def solve(_: Any, right: jax.Array) -> jax.Array:
        a, b = right[:count], right[count:]
        return jnp.concatenate([a, b + forward(a, places)])

    def solve_transposed(_: Any, right: jax.Array) -> jax.Array:
        a, b = right[:count], right[count:]
        return jnp.concatenate([a + _take(b, targets, 0), b])

    # -0.0, since 0.0 + -0.0 is 0.0.
    right = lax.pad(y, jnp.asarray(-0.0, y.dtype), [(0, size, 0)])
    return lax.custom_linear_solve(system, right, solve, solve_transposed)[count:]


def _scattered(y: jax.Array, targets: jax.Array, size: Any) -> jax.Array:
    """At each of `size` positions the sum of `y` there."""
    return jnp.zeros(size, y.dtype).at[targets].add(y, mode="drop")


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


def _winners_by_scatter(key: jax.Array, targets: jax.Array, size: Any) -> jax.Array:
    """For each position the place of the first largest key there; beyond the end if none is."""
    order = lax.iota(np.int32, key.shape[0])
    largest = jnp.full(size, lowest_value(key.dtype)).at[targets].max(key, mode="drop")
    targets = jnp.where(_take(largest, targets, 0) == key, targets, size)
    return jnp.full(size, key.shape[0], np.int32).at[targets].min(order, mode="drop")


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


def _take(values: jax.Array, places: jax.Array, fill: Any) -> jax.Array:
    """`values` at `places`, none of which is negative; `fill` for those beyond the end."""
    return values.at[places].get(mode="fill", fill_value=fill, wrap_negative_indices=False)


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
