"""Sums of windows where devices may share an axis."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpool._src.lowering.footprints import Windows
from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.primitives import batched, linear_pair, lowered_by, with_batch
from jaxpool._src.lowering.shifts import reads_shifted, sum_shifted
from jaxpool._src.lowering.windows import window_sum


@dataclasses.dataclass(frozen=True)
class _How:
    windows: Windows


def shared_sum(x: jax.Array, windows: Windows) -> jax.Array:
    """`window_sum`, whose gradient exchanges no more than its halos.

    XLA's own has holes between cotangents, and so other shards than x. Where there is one device,
    that is what runs.
    """
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    solid = all(w.dilation == 1 for _, w in windows)
    if jax.device_count() == 1 or not (floating and solid and reads_shifted(windows)):
        return window_sum(x, windows)
    return _sum_p.bind(x, how=_How(windows), backward=False)


def _lowered(
    platform: str, given: jax.Array, *, how: _How, several: bool, backward: bool
) -> jax.Array:
    del platform  # `window_sum` looks for itself
    form = functools.partial(sum_shifted if several else window_sum, windows=how.windows)
    if not backward:
        return form(given)
    x, _ = varying_alike(jnp.zeros(_shape(given, how, backward=True), given.dtype), given)
    return jax.vjp(form, x)[1](given)[0]


def _shape(given: Any, how: _How, *, backward: bool) -> tuple[int, ...]:
    shape = list(given.shape)
    for axis, w in how.windows:
        shape[axis] = w.length if backward else w.output
    return tuple(shape)


def _abstract(given: Any, *, how: _How, backward: bool) -> Any:
    return given.update(shape=_shape(given, how, backward=backward), weak_type=False)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: _How, backward: bool
) -> tuple[jax.Array, int]:
    operands, at = batched(operands, axes, 1)
    return _sum_p.bind(*operands, how=with_batch(how, at), backward=backward), at


_sum_p = linear_pair("window_sum")
lowered_by(_sum_p, _abstract, _batch, _lowered, by_devices=True)
