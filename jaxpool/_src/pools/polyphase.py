"""Polyphase pools: subsampling that follows shifts, and its inverse."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.parameters import is_number
from jaxpool._src.core.pool import accumulator, all_parted_along, parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.lowering.phases import Grid, largest_phase, pick_phase, put_phase


@explained
def polyphase_pool(
    x: jax.Array,
    strides: Ints,
    *,
    axes: Ints | None = None,
    channel_axis: int = -1,
    norm: float | Literal["min"] = 2,
    return_phase: bool = False,
) -> Any:
    """Every s-th element, from where their norm is largest: adaptive polyphase sampling (APS).

    A sample has ``prod(strides)`` phases, the elements whose places have one remainder on each
    pooled axis. The whole phase of largest norm is chosen, for each sample by itself, so that of a
    circular shift of x the result is a circular shift, to the last bit. Norms are the same in any
    order of elements: these are rounded to 16 bits of their phase's largest and added up as ints.
    Phases of equal norm are told apart by their place alone.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      strides: steps between elements, an int or one for each pooled axis.
      axes: the pooled axes, an int or one for each entry of `strides`. Default: the
        ``len(strides)`` axes just before the last, which is channels-last. All others but the
        channels are batch.
      channel_axis: the axis of the channels, which share a phase; no pooled one.
      norm: that of phases over pooled axes and channels: 2, 1 or ``float("inf")``, or "min" for the
        phase whose 2-norm is smallest. Infinities and NaN count as the largest finite number.
      return_phase: whether to return the phase too.

    Returns:
      Array of x's shape with ``n / s`` in place of n on each pooled axis, of x's dtype; with
      `return_phase`, a pair of it and of the phases, an int32 array of shape
      ``[*batch, len(axes)]`` with the place of the first element for each of `axes`. Of equal
      norms the first phase is chosen, in row-major order of `axes`.

    Raises:
      ValueError: an argument is out of range, or a stride does not divide the size of its axis.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, to the chosen phase; the choice is a constant.

    Example:
      >>> x = jnp.array([[1.], [5.], [2.], [4.]])
      >>> y, phase = jaxpool.polyphase_pool(x, 2, axes=0, return_phase=True)
      >>> y[:, 0], phase
      (Array([5., 4.], dtype=float32), Array([1], dtype=int32))
      >>> jaxpool.polyphase_pool(jnp.roll(x, 1, 0), 2, axes=0)[:, 0]
      Array([4., 5.], dtype=float32)

    References:
      Chaman and Dokmanić, Truly shift-invariant convolutional neural networks, 2021.
      <https://arxiv.org/abs/2011.14214>
    """
    op = "polyphase_pool"
    options = (strides, axes, channel_axis, exponent(op, norm), isinstance(norm, str))
    arguments.flag(op, "return_phase", return_phase)
    y, phase = as_one_program(_polyphase_pool, x, *options)
    return (y, phase) if return_phase else y


def exponent(op: str, norm: Any) -> float:
    """That of a norm, which is checked."""
    if isinstance(norm, str) and norm == "min":
        return 2.0
    if not is_number(norm) or norm not in (1, 2, math.inf):
        error = ValueError if is_number(norm) or isinstance(norm, str) else TypeError
        arguments.fail(op, "norm", 'be 2, 1, float("inf") or "min"', norm, error=error)
    return float(norm)


def _polyphase_pool(
    x: Any, strides: Any, axes: Any, channel_axis: Any, norm: float, smallest: bool
) -> tuple[jax.Array, jax.Array]:
    op = "polyphase_pool"
    x = arguments.array(op, x)
    grid = phase_grid(op, x.shape, strides, axes, channel_axis)

    def compute(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        weighed = jax.lax.stop_gradient(x).astype(accumulator(x.dtype))
        phase = largest_phase(weighed, grid, norm, smallest)
        return pick_phase(x, phase, grid), phase

    with jax.named_scope(f"jaxpool.{op}"):
        return all_parted_along(compute, phase_layouts(x, grid), x)


def phase_grid(op: str, shape: Sequence[Any], strides: Any, axes: Any, channel_axis: Any) -> Grid:
    """The phases of an array of `shape`, checked."""
    steps, numbers = arguments.window_axes(op, strides, axes, "strides")
    pooled = arguments.resolved_axes(op, numbers, shape)
    channel = _channel(op, channel_axis, shape, pooled)
    arguments.no_empty_axis(op, shape, pooled)
    for axis in (*pooled, channel):
        arguments.known_size(op, shape, axis)
    for axis, step in zip(pooled, steps, strict=True):
        if shape[axis] % step:
            allowed = f"divide the sizes of the pooled axes; {shape[axis]} along axis {axis} is not"
            arguments.fail(op, "strides", allowed, strides, shape=shape)
    return Grid(len(shape), pooled, steps, channel)


def _channel(op: str, axis: Any, shape: Sequence[Any], pooled: tuple[int, ...]) -> int:
    channel, ndim = arguments.integer(op, "channel_axis", axis, "be an int"), len(shape)
    if not -ndim <= channel < ndim or channel % ndim in pooled:
        allowed = "be an axis of x that is not pooled"
        arguments.fail(op, "channel_axis", allowed, axis, shape=shape)
    return channel % ndim


def phase_layouts(x: jax.Array, grid: Grid) -> list[Any]:
    """Shape and axes of x of a phase's elements, and of which phase it is."""
    strides = dict(zip(grid.axes, grid.strides, strict=True))
    shape = [n // strides.get(axis, 1) for axis, n in enumerate(x.shape)]
    of_phase = [*(x.shape[axis] for axis in grid.batch), len(grid.axes)]
    sources = [*((x, axis) for axis in grid.batch), None]
    return [(shape, [(x, axis) for axis in range(x.ndim)]), (of_phase, sources)]


@explained
def polyphase_unpool(
    y: jax.Array,
    phase: jax.Array,
    strides: Ints,
    *,
    axes: Ints | None = None,
    channel_axis: int = -1,
) -> jax.Array:
    """Puts the elements of a phase back to their places, and 0 everywhere else.

    The partial inverse of `polyphase_pool`: a circular shift of what was pooled shifts the result.

    Args:
      y: array of a phase's elements, ``[..., *spatial, channels]``; with `axes`, any layout.
      phase: int array of shape ``[*batch, len(axes)]``, as `polyphase_pool` returns it. Where a
        place is not one of a phase, from 0 up to the stride, the result is 0.
      strides: steps between elements, as in `polyphase_pool`.
      axes: the pooled axes, as in `polyphase_pool`.
      channel_axis: the axis of the channels, as in `polyphase_pool`.

    Returns:
      Array of y's shape with ``n * s`` in place of n on each pooled axis, of y's dtype.

    Raises:
      ValueError: an argument is out of range, or `phase` does not fit y.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in y.

    Example:
      >>> x = jnp.array([[1.], [5.], [2.], [4.]])
      >>> y, phase = jaxpool.polyphase_pool(x, 2, axes=0, return_phase=True)
      >>> jaxpool.polyphase_unpool(y, phase, 2, axes=0)[:, 0]
      Array([0., 5., 0., 4.], dtype=float32)

    References:
      Rojas-Gomez et al., Learnable polyphase sampling for shift invariant and equivariant
      convolutional networks, 2022. <https://arxiv.org/abs/2210.08001>
    """
    return as_one_program(_polyphase_unpool, y, phase, strides, axes, channel_axis)


def _polyphase_unpool(y: Any, phase: Any, strides: Any, axes: Any, channel_axis: Any) -> jax.Array:
    op = "polyphase_unpool"
    y = arguments.array(op, y)
    steps, numbers = arguments.window_axes(op, strides, axes, "strides")
    pooled = arguments.resolved_axes(op, numbers, y.shape)
    grid = Grid(y.ndim, pooled, steps, _channel(op, channel_axis, y.shape, pooled))
    if not isinstance(phase, jax.Array | np.ndarray):
        arguments.fail(op, "phase", "be an int array", phase, error=TypeError)
    if not jnp.issubdtype(phase.dtype, jnp.integer):
        raise TypeError(f"{op}: `phase` must hold ints; got phase.dtype={phase.dtype}.")
    wanted = (*(y.shape[axis] for axis in grid.batch), len(pooled))
    if phase.shape != wanted:
        raise ValueError(
            f"{op}: `phase` must have the shape {wanted} of batch axes and one for the pooled ones;"
            f" got phase.shape={phase.shape} for y.shape={y.shape}."
        )
    strides = dict(zip(pooled, steps, strict=True))
    shape = [n * strides.get(axis, 1) for axis, n in enumerate(y.shape)]

    def compute(y: jax.Array, phase: jax.Array) -> jax.Array:
        return put_phase(y, phase.astype(np.int32), grid)

    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, range(y.ndim), y, jnp.asarray(phase))
