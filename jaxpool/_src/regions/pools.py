"""Pools of boxes over whole pixels, and exact means."""

from typing import Any

import jax

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.program import as_one_program
from jaxpool._src.reductions.max import Max
from jaxpool._src.regions import matrices, maxima, places


@explained
def roi_max_pool(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """The maximum of each cell of each box, in whole pixels (RoI max pooling).

    Edges of boxes are rounded, halves away from zero, and belong to the box, which is thus at least
    1 wide and high. Cell i of n along a box of length l has the pixels from ``floor(i*l/n)`` to
    ``ceil((i + 1)*l/n) - 1``, so cells may overlap. Cells outside the map are 0. (Where
    ``l/n`` is rounded to float32, as in onnxruntime, the last of 7 cells of 57 pixels has a 58th.)

    In space, x is of shape (D, H, W, C), `boxes` of shape (K, 6) with (x1, y1, z1, x2, y2, z2), and
    there are three numbers of cells, of which the first is along z.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      batch_indices: array of K ints, the number of each box's image. All maps then have an axis of
        N images before the others; boxes in none of these are 0.

    Returns:
      Array of shape (K, P, Q, C); the dtype is x's.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x, every mode, to any order: the gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them. In boxes it is 0, since they are rounded.
      What is lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 2.5, 2.5]])
      >>> jaxpool.roi_max_pool(x, boxes, (2, 2))[0, ..., 0]
      Array([[ 6.,  8.],
             [16., 18.]], dtype=float32)

    References:
      Girshick, Fast R-CNN, 2015. <https://arxiv.org/abs/1504.08083>
    """
    return as_one_program(_roi_max_pool, x, boxes, batch_indices, output_shape, spatial_scale)


def _roi_max_pool(
    x: Any, boxes: Any, batch_indices: Any, output_shape: Any, spatial_scale: Any
) -> jax.Array:
    op = "roi_max_pool"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices, in_space=True)
    cells = arguments.ints(op, "output_shape", output_shape, len(given.shape), 1)

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        bounds = places.whole_pixels(boxes, given.scale, cells, given.shape, inclusive=True)
        return maxima.interval_max(x.astype(Max().accumulate_dtype(x.dtype)), bounds, image)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, x.shape[-1], given.x, given.boxes, given.image)


@explained
def precise_roi_pool(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """The mean of the bilinear interpolant over each cell of each box (precise RoI pooling).

    The integral is exact, so there are no samples, and the result is smooth in the boxes. Pixel i
    is at i, and outside the map the interpolant falls to 0 within a pixel. Boxes without area give
    0, and so do those that are not finite.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap`` or
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
      In x and in boxes, every mode, to any order; the first is continuous in boxes. Of boxes
      without area, or not finite, it is 0. NaN and inf reach only cells that they have a part in.
      What is lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> jaxpool.precise_roi_pool(x, boxes, (2, 2))[0, ..., 0]
      Array([[ 6.,  8.],
             [16., 18.]], dtype=float32)

    References:
      Jiang et al., Acquisition of localization confidence for accurate object detection, 2018.
      <https://arxiv.org/abs/1807.11590>
    """
    return as_one_program(_precise_roi_pool, x, boxes, batch_indices, output_shape, spatial_scale)


def _precise_roi_pool(
    x: Any, boxes: Any, batch_indices: Any, output_shape: Any, spatial_scale: Any
) -> jax.Array:
    op = "precise_roi_pool"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        wide = places.wide(x, boxes)
        rows, columns = (
            places.mean_weights(low, high, n, length).astype(wide.dtype)
            for (low, high), n, length in zip(
                places.edges(boxes, given.scale, 0), cells, given.shape, strict=True
            )
        )
        return matrices.weighted_sum(wide, (rows[:, :, None], columns[:, None]), image)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, x.shape[-1], given.x, given.boxes, given.image)
