"""Pyramids: several pools of one array."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints, Sizes
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, parted_along, pool_mask, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.intervals import Adaptive
from jaxpool._src.domains.window import Window
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean

_MAX, _MEAN = Max(), Mean()


@explained
def pyramid_pool(
    x: jax.Array,
    levels: Sequence[Sizes],
    reduction: Reduction = _MEAN,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, ...]:
    """An adaptive pool for each level of a pyramid: ``[pool to s for s in levels]``.

    What a pyramid pooling module (PPM) convolves, resizes and concatenates.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      levels: output shapes, each an int for all `axes` or an entry for each of them.
      reduction: how the elements of a cell become one value. Default: ``Mean()``.
      axes: the pooled axes, an int or several. Default: the two axes just before the last, which is
        channels-last. All others are batch, in any number, none included.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      For each level, an array of x's shape with that level's sizes in place of the pooled axes; the
      dtype is that of the reduction.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.arange(16.).reshape(4, 4, 1)
      >>> [level[..., 0] for level in jaxpool.pyramid_pool(x, (1, 2))]
      [Array([[7.5]], dtype=float32), Array([[ 2.5,  4.5],
             [10.5, 12.5]], dtype=float32)]

    References:
      Zhao et al., Pyramid scene parsing network, 2017. <https://arxiv.org/abs/1612.01105>
    """
    return as_one_program(
        _pyramid_pool, x, levels, reduction, axes, where, arguments.known(empty_value)
    )


def _pyramid_pool(
    x: Any, levels: Any, reduction: Any, axes: Any, where: Any, empty_value: Any
) -> tuple[jax.Array, ...]:
    op = "pyramid_pool"
    return tuple(_levels(op, x, levels, reduction, axes, where, empty_value))


@explained
def spatial_pyramid_pool(
    x: jax.Array,
    levels: Sequence[Sizes],
    reduction: Reduction = _MAX,
    *,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """All cells of a pyramid as one vector, as long for every size of x (SPP).

    Equal to `pyramid_pool` with the cells and channels of each level flattened and concatenated: it
    takes images of any size to one fully connected layer.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      levels: output shapes, each an int for all `axes` or an entry for each of them.
      reduction: how the elements of a cell become one value. Default: ``Max()``.
      axes: the pooled axes, an int or several. Default: the two axes just before the last, which is
        channels-last. The last axis is that of the channels, or the one before the first pooled
        axis if the last one is pooled. What lies before them all is batch.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of shape ``[*batch, features]``; for the default axes, of c channels and levels of b
      by b cells, there are ``c * sum(b * b)`` features. The dtype is that of the reduction.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> jaxpool.spatial_pyramid_pool(jnp.arange(16.).reshape(4, 4, 1), (1, 2))
      Array([15.,  5.,  7., 13., 15.], dtype=float32)
      >>> jaxpool.spatial_pyramid_pool(jnp.zeros((8, 13, 17, 64)), (1, 2, 4)).shape
      (8, 1344)

    References:
      He et al., Spatial pyramid pooling in deep convolutional networks for visual recognition,
      2014. <https://arxiv.org/abs/1406.4729>
    """
    return as_one_program(
        _spatial_pyramid_pool, x, levels, reduction, axes, where, arguments.known(empty_value)
    )


def _spatial_pyramid_pool(
    x: Any, levels: Any, reduction: Any, axes: Any, where: Any, empty_value: Any
) -> jax.Array:
    return flat_pyramid("spatial_pyramid_pool", x, levels, reduction, axes, where, empty_value)


def flat_pyramid(
    op: str, x: Any, levels: Any, reduction: Any, axes: Any, where: Any, empty_value: Any
) -> jax.Array:
    """The levels of a pyramid as one vector, in the name of `op`."""
    parts = _levels(op, x, levels, reduction, axes, where, empty_value)
    numbers = (-3, -2) if axes is None else arguments.axis_numbers(op, axes)
    places = [axis % x.ndim for axis in numbers]
    first = min(*places, max(_channel_axis(places, x.ndim), 0))
    sizes = [math.prod(part.shape[first:]) for part in parts]
    batch = parts[0].shape[:first]

    def flat(*parts: jax.Array) -> jax.Array:
        vectors = [part.reshape(*batch, n) for part, n in zip(parts, sizes, strict=True)]
        return jnp.concatenate(vectors, -1)

    # Channels that lie on several devices come between the cells of other levels.
    sources = [*((parts[0], axis) for axis in range(first)), None]
    return parted_along(flat, (*batch, sum(sizes)), sources, *parts)


def _levels(
    op: str, x: Any, levels: Any, reduction: Any, axes: Any, where: Any, empty_value: Any
) -> list[jax.Array]:
    if not isinstance(levels, list | tuple) or not levels:
        arguments.fail(op, "levels", "be a sequence with an entry for each level", levels)
    axes = (-3, -2) if axes is None else axes
    domains = [
        Adaptive(arguments.sizes_and_axes(op, "levels", level, axes)[0], axes=axes)
        for level in levels
    ]
    return [run(op, x, domain, reduction, where, empty_value) for domain in domains]


def _channel_axis(places: Sequence[int], rank: int) -> int:
    """The last axis, or the one before the first of `places` if that is pooled; -1 if none is."""
    return rank - 1 if rank - 1 not in places else min(places) - 1


@explained
def sppf(
    x: jax.Array,
    window_shape: Ints = (5, 5),
    *,
    repeats: int = 3,
    axes: Ints | None = None,
    where: jax.Array | None = None,
) -> jax.Array:
    """X and chained maxima of it, one after another along the channels (YOLO's SPPF).

    Each is `max_pool` of the one before with strides 1 and "SAME" padding. Chained windows grow:
    those of 5, three times, are windows of 5, 9 and 13, which is the SPP layer of YOLO.

    Args:
      x: array of shape ``[..., *spatial, channels]``.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      repeats: number of maxima in the chain.
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. The last axis is
        that of the channels, or the one before the first pooled axis if the last one is pooled.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included, and is 0 in
        all but x itself where a window has nothing else. Default: everything takes part.

    Returns:
      Array of x's shape with ``(repeats + 1)`` times the channels; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or x has no axis for channels.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of `max_pool`: every mode, to any order.

    Example:
      >>> x = jnp.array([[1.], [0.], [0.], [2.]])
      >>> jaxpool.sppf(x, (3,), repeats=2)
      Array([[1., 1., 1.],
             [0., 1., 2.],
             [0., 2., 2.],
             [2., 2., 2.]], dtype=float32)

    References:
      Jocher et al., YOLOv5, 2020. <https://doi.org/10.5281/zenodo.3908559>
    """
    return as_one_program(_sppf, x, window_shape, repeats, axes, where)


def _sppf(x: Any, window_shape: Any, repeats: Any, axes: Any, where: Any) -> jax.Array:
    op = "sppf"
    x = arguments.array(op, x)
    _, axes = arguments.window_axes(op, window_shape, axes)
    (count,) = arguments.ints(op, "repeats", repeats, 1, 1)
    places = arguments.resolved_axes(op, axes, x.shape)
    channels = _channel_axis(places, x.ndim)
    if channels < 0:
        arguments.fail(op, "axes", "leave an axis for the channels", axes, shape=x.shape)
    parts, domain = [x], Window(window_shape, 1, "SAME", axes=axes)
    valid = where
    for _ in range(count):
        parts.append(run(op, parts[-1], domain, Max(), valid, 0))
        mask = arguments.mask(op, valid, x.shape, places, weights=False)
        valid = None if mask is None else pool_mask(mask, domain)
    return jnp.concatenate(parts, channels)
