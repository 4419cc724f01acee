"""Pools of boxes where each cell has channels of its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.program import as_one_program
from jaxpool._src.regions import places, sampling


def position_sensitive_roi_align(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
) -> jax.Array:
    """`roi_align` where each cell has channels of its own (PS-RoIAlign).

    Channel c of cell (p, q) is read from channel ``(c*P + p)*Q + q`` of x. The centre of pixel i is
    at i + 0.5, as with ``aligned=True``.

    Args:
      x: map of one image, of shape (H, W, C*P*Q). For a batch, use ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis.

    Returns:
      Array of shape (K, P, Q, C). Floats keep their dtype (the mean is accumulated in float32 at
      least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in boxes, every mode, to any order. Where a sample lies on a pixel, that in boxes is
      the mean of both sides'. NaN and inf reach only cells that sample them. Samples without a
      place, as in boxes that are not finite, have none, whatever is handed back to them. What is
      lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.broadcast_to(jnp.arange(4.), (5, 5, 4))
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> jaxpool.position_sensitive_roi_align(x, boxes, (2, 2))[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)

    References:
      Dai et al., R-FCN: Object detection via region-based fully convolutional networks, 2016.
      <https://arxiv.org/abs/1605.06409>
    """
    return as_one_program(
        _position_sensitive_roi_align, x, boxes, output_shape, spatial_scale, sampling_ratio
    )


def _position_sensitive_roi_align(
    x: Any, boxes: Any, output_shape: Any, spatial_scale: Any, sampling_ratio: Any
) -> jax.Array:
    op = "position_sensitive_roi_align"
    x, boxes, scale = places.checked(op, x, boxes, spatial_scale)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    ratio = places.samples_per_axis(op, sampling_ratio)
    channels = places.channels_of_cells(op, x, cells)

    def compute(x: jax.Array, boxes: jax.Array) -> jax.Array:
        maps = places.maps_of_cells(x, cells)
        ys, xs = places.sample_places(boxes, scale, cells, ratio, aligned=True)
        return sampling.pool_samples((places.wide(maps, boxes),), None, ys, xs)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, channels, x, boxes)


def position_sensitive_roi_pool(
    x: jax.Array, boxes: jax.Array, output_shape: Ints, *, spatial_scale: float = 1.0
) -> jax.Array:
    """The mean of each cell of each box, where each cell has channels of its own (PS-RoI pooling).

    Channel c of cell (p, q) is read from channel ``(c*P + p)*Q + q`` of x. Edges of boxes are
    rounded, halves away from zero, and a box is at least 1 wide and high. Cell i of n along a box
    of length l has the pixels from ``floor(i*l/n)`` to ``ceil((i + 1)*l/n) - 1``, so cells may
    overlap. Cells outside the map are 0.

    Args:
      x: map of one image, of shape (H, W, C*P*Q). For a batch, use ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.

    Returns:
      Array of shape (K, P, Q, C). Floats keep their dtype (the mean is accumulated in float32 at
      least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x, every mode, to any order: the map is linear. In boxes it is 0, since they are rounded.
      What is lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.broadcast_to(jnp.arange(4.), (5, 5, 4))
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> jaxpool.position_sensitive_roi_pool(x, boxes, (2, 2))[0, ..., 0]
      Array([[0., 1.],
             [2., 3.]], dtype=float32)

    References:
      Dai et al., R-FCN: Object detection via region-based fully convolutional networks, 2016.
      <https://arxiv.org/abs/1605.06409>
    """
    return as_one_program(_position_sensitive_roi_pool, x, boxes, output_shape, spatial_scale)


def _position_sensitive_roi_pool(
    x: Any, boxes: Any, output_shape: Any, spatial_scale: Any
) -> jax.Array:
    op = "position_sensitive_roi_pool"
    x, boxes, scale = places.checked(op, x, boxes, spatial_scale)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    channels = places.channels_of_cells(op, x, cells)

    def compute(x: jax.Array, boxes: jax.Array) -> jax.Array:
        wide = places.wide(places.maps_of_cells(x, cells), boxes)
        intervals = places.whole_pixels(boxes, scale, cells, x.shape, inclusive=False)
        inside = []
        for (start, stop), length in zip(intervals, x.shape[:2], strict=True):
            pixel = jnp.arange(length, dtype=np.int32)[None, None]
            here = (pixel >= start[..., None]) & (pixel < stop[..., None])
            inside.append(here.astype(wide.dtype))
        rows, columns = inside[0][:, :, None], inside[1][:, None]
        y = sampling.weighted_sum(wide, rows, columns)
        area = jnp.sum(rows, -1) * jnp.sum(columns, -1)
        return y / jnp.maximum(area, 1)[..., None]

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, channels, x, boxes)
