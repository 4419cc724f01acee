"""Blurs whose kernels are predicted from the content."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.program import as_one_program
from jaxpool._src.filters.blur import PaddingMode, fill_empty, filter_windows
from jaxpool._src.lowering.weighted import padded, weighted_sum
from jaxpool._src.lowering.windows import Windows, all_taps, lowest_value, taps_at


@explained
def content_aware_blur_pool(
    x: jax.Array,
    logits: jax.Array,
    strides: Ints,
    *,
    filter_size: Ints = 3,
    padding_mode: PaddingMode = "reflect",
    axes: Ints | None = None,
    channel_axis: int = -1,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """A blur with a kernel of its own for each output, and each group of channels.

    The kernel is the softmax of the logits over the elements of the filter:
    ``y[i] = sum_j softmax_j(logits[i])[j] * x[i*s + j - (f - 1)//2]``. Where the kernel is narrow
    detail stays, where it is wide it is smoothed. A layer that predicts the logits from x by a
    convolution is ``PredictedBlurPool`` of `jaxpool.linen` and `jaxpool.nnx`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      logits: array of the result's shape but for the channel axis, along which it has, for each
        group of channels, one entry for each element of the filter, in row-major order: as a
        convolution gives them. The number of groups divides the number of channels.
      strides: steps between outputs in elements, one for each pooled axis, or an int for all
        `axes`.
      filter_size: number of elements of the filter, an int or one per pooled axis.
      padding_mode: what lies outside x, as in ``jnp.pad``: "reflect" ``(c b | a b c d | c b)``,
        "edge" ``(a a | a b c d | d d)``, "wrap" ``(c d | a b c d | a b)`` or "constant"
        ``(0 0 | a b c d | 0 0)``.
      axes: the pooled axes, an int or one for each entry of `strides`. Default: the
        ``len(strides)`` axes just before the last, which is channels-last. All others are batch.
      channel_axis: the axis of x that consists of groups.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included, and the
        softmax is that of the other elements. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with ``ceil(n / s)`` in place of n on each pooled axis; floats keep their
      dtype and are accumulated in float32 at least, others give float32.

    Raises:
      ValueError: an argument is out of range, logits have another shape, or x is too small for
        the padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the logits, every mode, to any order. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> x = jnp.array([[0.], [0.], [0.], [6.], [6.], [6.]])
      >>> logits = jnp.array([[0., 0., 0.], [0., 0., 0.], [0., 9., 0.]])
      >>> jaxpool.content_aware_blur_pool(x, logits, (2,))[:, 0]
      Array([0., 2., 6.], dtype=float32)

    References:
      Zou et al., Delving deeper into anti-aliasing in ConvNets, 2020.
      <https://arxiv.org/abs/2008.09604>
    """
    return as_one_program(
        _content_aware_blur_pool,
        x,
        logits,
        strides,
        filter_size,
        padding_mode,
        axes,
        channel_axis,
        where,
        arguments.known(empty_value),
    )


def _content_aware_blur_pool(
    x: Any,
    logits: Any,
    strides: Any,
    filter_size: Any,
    padding_mode: Any,
    axes: Any,
    channel_axis: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    op = "content_aware_blur_pool"
    x, logits = arguments.array(op, x), arguments.array(op, logits)
    steps, numbers = arguments.window_axes(op, strides, axes, "strides")
    sizes = arguments.ints(op, "filter_size", filter_size, len(numbers), 1)
    channel = arguments.integer(op, "channel_axis", channel_axis, "be an int")
    *_, channel = arguments.resolved_axes(op, (*numbers, channel), x.shape)
    windows = filter_windows(op, x.shape, sizes, steps, numbers, padding_mode)
    groups = _groups_of_logits(op, logits, x.shape, windows, channel)
    taps = math.prod(sizes)
    # The channel axis in two: groups, and the channels of a group.
    split = tuple(sorted((axis + (axis > channel), w) for axis, w in windows))

    def in_groups(array: jax.Array, sizes: Sequence[Any]) -> jax.Array:
        return array.reshape([*array.shape[:channel], *sizes, *array.shape[channel + 1 :]])

    def present(mask: jax.Array) -> list[jax.Array]:
        """For each tap, which outputs find a valid element there."""
        mask = padded(mask, split, padding_mode)
        return [taps_at(mask, split, tap) for tap in all_taps(split)]

    def compute(x: jax.Array, logits: jax.Array, mask: jax.Array | None) -> tuple[Any, Any]:
        parts = (groups, x.shape[channel] // groups)
        logits = in_groups(logits.astype(x.dtype), (groups, taps))
        by_tap = [jax.lax.index_in_dim(logits, t, channel + 1) for t in range(taps)]
        filled = None
        if mask is not None:
            x = jnp.where(mask, x, np.zeros((), x.dtype))
            mask = in_groups(mask, parts if mask.shape[channel] > 1 else (1, 1))
            valid = present(mask)
            filled = functools.reduce(jnp.logical_or, valid)
            filled = filled.reshape([*filled.shape[:channel], -1, *filled.shape[channel + 2 :]])
            if padding_mode == "constant":  # padding counts, as zeros
                pooled = dict(split)
                sizes = [n if i in pooled else 1 for i, n in enumerate(mask.shape)]
                inside = present(jnp.ones(sizes, bool))
                valid = [v | ~i for v, i in zip(valid, inside, strict=True)]
            lowest = lowest_value(x.dtype)
            by_tap = [jnp.where(v, e, lowest) for v, e in zip(valid, by_tap, strict=True)]
        y = weighted_sum(in_groups(x, parts), _softmax(by_tap), split, padding_mode)
        return y.reshape([*y.shape[:channel], x.shape[channel], *y.shape[channel + 2 :]]), filled

    return fill_empty(op, compute, x, windows, logits, where, empty_value)


def _softmax(logits: list[jax.Array]) -> list[jax.Array]:
    """The softmax over the arrays of a list; zeros where all are -inf."""
    largest = jax.lax.stop_gradient(functools.reduce(jnp.maximum, logits))
    largest = jnp.where(largest > lowest_value(largest.dtype), largest, np.zeros((), largest.dtype))
    powers = [jnp.exp(e - largest) for e in logits]
    total = functools.reduce(jnp.add, powers)
    total = jnp.where(total > 0, total, np.ones((), total.dtype))
    return [power / total for power in powers]


def _groups_of_logits(
    op: str, logits: jax.Array, shape: Sequence[Any], windows: Windows, channel: int
) -> int:
    """The number of groups, of logits checked to fit an x of `shape`."""
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise TypeError(f"{op}: `logits` must hold floats; got logits.dtype={logits.dtype}.")
    arguments.known_size(op, shape, channel)
    pooled, taps = dict(windows), math.prod(w.window for _, w in windows)
    wanted: list[Any] = [pooled[i].output if i in pooled else n for i, n in enumerate(shape)]
    wanted[channel] = f"groups*{taps}"
    fits = logits.ndim == len(shape) and all(
        i == channel or n == wanted[i] for i, n in enumerate(logits.shape)
    )
    groups = logits.shape[channel] // taps if fits else 0
    if not fits or not groups or groups * taps != logits.shape[channel] or shape[channel] % groups:
        raise ValueError(
            f"{op}: `logits` must have shape ({', '.join(map(str, wanted))}), with a number of "
            f"groups that divides the {shape[channel]} channels; got logits.shape={logits.shape} "
            f"for x.shape={tuple(shape)}."
        )
    return groups
