"""Sums of windows where devices may share an axis."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpool._src.lowering.footprints import Windows
from jaxpool._src.lowering.meshes import varying_alike
from jaxpool._src.lowering.primitives import (
    batched,
    linear_pair,
    lowered_as_told,
    lowered_by,
    with_batch,
)
from jaxpool._src.lowering.shifts import reads_shifted, sum_shifted
from jaxpool._src.lowering.windows import window_sum


@dataclasses.dataclass(frozen=True)
class WindowSum:
    """The sum of each window as one equation; its lowering knows for how many devices it is."""

    windows: Windows

    def lowered(
        self, platform: str, given: jax.Array, *, several: bool, backward: bool
    ) -> jax.Array:
        """The program of one direction."""
        del platform  # `window_sum` looks for itself
        form = functools.partial(sum_shifted if several else window_sum, windows=self.windows)
        if not backward:
            return form(given)
        x, _ = varying_alike(jnp.zeros(_shape(given, self, backward=True), given.dtype), given)
        return jax.vjp(form, x)[1](given)[0]


def shared_sum(x: jax.Array, windows: Windows) -> jax.Array:
    """`window_sum`, whose gradient exchanges no more than its halos.

    XLA's own has holes between cotangents, and so other shards than x. A program for one device is
    that of `window_sum`.
    """
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    solid = all(w.dilation == 1 for _, w in windows)
    if not (floating and solid and reads_shifted(windows)):
        return window_sum(x, windows)
    return _sum_p.bind(x, how=WindowSum(windows), backward=False)


def _shape(given: Any, how: WindowSum, *, backward: bool) -> tuple[int, ...]:
    shape = list(given.shape)
    for axis, w in how.windows:
        shape[axis] = w.length if backward else w.output
    return tuple(shape)


def _abstract(given: Any, *, how: WindowSum, backward: bool) -> Any:
    return given.update(shape=_shape(given, how, backward=backward), weak_type=False)


def _batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: WindowSum, backward: bool
) -> tuple[jax.Array, int]:
    operands, at = batched(operands, axes, 1)
    return _sum_p.bind(*operands, how=with_batch(how, at), backward=backward), at


_sum_p = linear_pair("window_sum")
lowered_by(_sum_p, _abstract, _batch, lowered_as_told, by_devices=True)
