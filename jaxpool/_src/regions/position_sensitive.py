"""Pools of boxes where each cell has channels of its own."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.program import as_one_program
from jaxpool._src.regions import matrices, places, sampling
from jaxpool._src.regions.corners import Cells


@explained
def position_sensitive_roi_align(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    max_sampling_ratio: int | None = None,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """`roi_align` where each cell has channels of its own (PS-RoIAlign).

    Channel c of cell (p, q) is read from channel ``(c*P + p)*Q + q`` of x. The centre of pixel i is
    at i + 0.5, as with ``aligned=True``.

    Args:
      x: map of one image, of shape (H, W, C*P*Q). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis, or 0 for one for each pixel of
        the cell's length there, rounded up (as in PyTorch and ONNX).
      max_sampling_ratio: with ``sampling_ratio=0``, no cell has more samples along an axis. None
        takes what the boxes need, whose values must be known then.
      batch_indices: array of K ints, the number of each box's image. All maps then have an axis of
        N images before the others; boxes in none of these are 0.

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
    most = places.most_samples(
        boxes, output_shape, spatial_scale, sampling_ratio, max_sampling_ratio
    )
    return as_one_program(
        _position_sensitive_roi_align,
        x,
        boxes,
        batch_indices,
        output_shape,
        spatial_scale,
        (sampling_ratio, max_sampling_ratio, most),
    )


def _position_sensitive_roi_align(
    x: Any,
    boxes: Any,
    batch_indices: Any,
    output_shape: Any,
    spatial_scale: Any,
    ratio: tuple[Any, ...],
) -> jax.Array:
    op = "position_sensitive_roi_align"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    how = places.samples_per_axis(op, *ratio).fitting(given.shape)
    channels = places.channels_of_cells(op, given.x, cells)

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        maps = places.maps_of_cells(x, cells)
        rows = places.cell_rows(boxes, given.scale, cells, aligned=True)
        at, counts = places.sample_places(rows, how)
        known = Cells(image=image, counts=counts)
        return sampling.pool_samples((places.wide(maps, boxes),), at, known)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, channels, given.x, given.boxes, given.image)


@explained
def position_sensitive_roi_pool(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """The mean of each cell of each box, where each cell has channels of its own (PS-RoI pooling).

    Channel c of cell (p, q) is read from channel ``(c*P + p)*Q + q`` of x. Edges of boxes are
    rounded, halves away from zero, and a box is at least 1 wide and high. Cell i of n along a box
    of length l has the pixels from ``floor(i*l/n)`` to ``ceil((i + 1)*l/n) - 1``, so cells may
    overlap. Cells outside the map are 0.

    Args:
      x: map of one image, of shape (H, W, C*P*Q). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      batch_indices: array of K ints, the number of each box's image. All maps then have an axis of
        N images before the others; boxes in none of these are 0.

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
    return as_one_program(
        _position_sensitive_roi_pool, x, boxes, batch_indices, output_shape, spatial_scale
    )


def _position_sensitive_roi_pool(
    x: Any, boxes: Any, batch_indices: Any, output_shape: Any, spatial_scale: Any
) -> jax.Array:
    op = "position_sensitive_roi_pool"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    channels = places.channels_of_cells(op, given.x, cells)

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        wide = places.wide(places.maps_of_cells(x, cells), boxes)
        intervals = places.whole_pixels(boxes, given.scale, cells, given.shape, inclusive=False)
        inside = []
        for (start, stop), length in zip(intervals, given.shape, strict=True):
            pixel = jnp.arange(length, dtype=np.int32)[None, None]
            here = (pixel >= start[..., None]) & (pixel < stop[..., None])
            inside.append(here.astype(wide.dtype))
        rows, columns = inside[0][:, :, None], inside[1][:, None]
        y = matrices.weighted_sum(wide, (rows, columns), image)
        area = jnp.sum(rows, -1) * jnp.sum(columns, -1)
        return y / jnp.maximum(area, 1)[..., None]

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, channels, given.x, given.boxes, given.image)
