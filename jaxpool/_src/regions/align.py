"""Pools of boxes that sample the map between pixels."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator
from jaxpool._src.core.program import as_one_program
from jaxpool._src.regions import places, sampling
from jaxpool._src.regions.corners import Cells


@explained
def roi_align(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduction: Literal["mean", "max"] = "mean",
    max_sampling_ratio: int | None = None,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """The mean of bilinear samples in each cell of each box (RoIAlign).

    Edges of boxes are not rounded. A cell has ``sampling_ratio**2`` samples, along each axis at
    ``low + (i + 0.5) / sampling_ratio * size``. A sample at most one pixel outside the map is taken
    at the map's edge, any other outside is 0.

    In space, x is of shape (D, H, W, C), `boxes` of shape (K, 6) with (x1, y1, z1, x2, y2, z2), and
    there are three numbers of cells, of which the first is along z.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis, or 0 for one for each pixel of
        the cell's length there, rounded up (as in PyTorch and ONNX).
      aligned: whether the centre of pixel i is at i + 0.5 (PyTorch's ``aligned=True``, ONNX's
        half_pixel). If False, it is at i, and boxes count as at least 1 wide and high.
      reduction: "mean" of the samples, or "max": the largest product of a pixel and its weight
        (ONNX's rule, whose values are not those of samples).
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
      the mean of both sides' ("mean"), or one side's ("max"). NaN and inf reach only cells that
      sample them. Samples without a place, as in boxes that are not finite, have none, whatever is
      handed back to them. What is lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> jaxpool.roi_align(x, boxes, (2, 2), sampling_ratio=1)[0, ..., 0]
      Array([[ 3.,  5.],
             [13., 15.]], dtype=float32)

      A batch of images, each with its own boxes:

      >>> pool = jax.vmap(lambda x, boxes: jaxpool.roi_align(x, boxes, (7, 7)))
      >>> pool(jnp.ones((2, 8, 8, 3)), jnp.ones((2, 10, 4))).shape
      (2, 10, 7, 7, 3)

      Or boxes of all images in one array, with the image of each:

      >>> images, image_of = jnp.ones((2, 8, 8, 3)), jnp.array([0, 1, 1])
      >>> jaxpool.roi_align(images, jnp.ones((3, 4)), (7, 7), batch_indices=image_of).shape
      (3, 7, 7, 3)

    References:
      He et al., Mask R-CNN, 2017. <https://arxiv.org/abs/1703.06870>
    """
    most = places.most_samples(
        boxes, output_shape, spatial_scale, sampling_ratio, max_sampling_ratio
    )
    return as_one_program(
        _roi_align,
        x,
        boxes,
        batch_indices,
        output_shape,
        spatial_scale,
        (sampling_ratio, max_sampling_ratio, most),
        aligned,
        reduction,
    )


def _roi_align(
    x: Any,
    boxes: Any,
    batch_indices: Any,
    output_shape: Any,
    spatial_scale: Any,
    ratio: tuple[Any, ...],
    aligned: Any,
    reduction: Any,
) -> jax.Array:
    op = "roi_align"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices, in_space=True)
    cells = arguments.ints(op, "output_shape", output_shape, len(given.shape), 1)
    how = places.samples_per_axis(op, *ratio).fitting(given.shape)
    aligned = arguments.flag(op, "aligned", aligned)
    arguments.one_of(op, "reduction", reduction, ("mean", "max"))

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        rows = places.cell_rows(boxes, given.scale, cells, aligned)
        at, counts = places.sample_places(rows, how)
        known = Cells(image=image, counts=counts)
        return sampling.pool_samples((places.wide(x, boxes),), at, known, reduction)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, x.shape[-1], given.x, given.boxes, given.image)


@explained
def deformable_roi_pool(
    x: jax.Array,
    boxes: jax.Array,
    offsets: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    gamma: float = 0.1,
    max_sampling_ratio: int | None = None,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """`roi_align` with each cell moved by an offset of its own (deformable RoI pooling).

    A cell moves by gamma times the box's size times its offset, which a network learns. The centre
    of pixel i is at i + 0.5, as with ``aligned=True``.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      offsets: array of shape (K, P, Q, 2) with the offsets of each cell along x and y.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis, or 0 for one for each pixel of
        the cell's length there, rounded up (as in PyTorch and ONNX).
      gamma: how far an offset of 1 moves a cell, as a part of the box.
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
      In x, boxes and offsets, every mode, to any order. Where a sample lies on a pixel, those in
      boxes and offsets are the means of both sides'. NaN and inf reach only cells that sample them.
      Samples without a place, as in boxes that are not finite, have none, whatever is handed back
      to them. What is lowered for GPUs has no scatter.

    Example:
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 4., 4.]])
      >>> right = jnp.broadcast_to(jnp.array([1., 0.]), (1, 2, 2, 2))
      >>> jaxpool.deformable_roi_pool(x, boxes, right, (2, 2), gamma=0.25)[0, ..., 0]
      Array([[ 4.,  6.],
             [14., 16.]], dtype=float32)

    References:
      Dai et al., Deformable convolutional networks, 2017. <https://arxiv.org/abs/1703.06211>
    """
    most = places.most_samples(
        boxes, output_shape, spatial_scale, sampling_ratio, max_sampling_ratio
    )
    return as_one_program(
        _deformable_roi_pool,
        x,
        boxes,
        offsets,
        batch_indices,
        output_shape,
        spatial_scale,
        (sampling_ratio, max_sampling_ratio, most),
        gamma,
    )


def _deformable_roi_pool(
    x: Any,
    boxes: Any,
    offsets: Any,
    batch_indices: Any,
    output_shape: Any,
    spatial_scale: Any,
    ratio: tuple[Any, ...],
    gamma: Any,
) -> jax.Array:
    op = "deformable_roi_pool"
    given = places.checked(op, x, boxes, spatial_scale, batch_indices)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    how = places.samples_per_axis(op, *ratio).fitting(given.shape)
    gamma = places.number(op, "gamma", gamma, "be a finite number")
    offsets = arguments.array(op, offsets)
    wanted = (given.boxes.shape[0], *cells, 2)
    if offsets.shape != wanted:
        raise ValueError(
            f"{op}: `offsets` must have shape (K, P, Q, 2) = {wanted}; got "
            f"offsets.shape={offsets.shape}."
        )

    def compute(
        x: jax.Array, boxes: jax.Array, image: jax.Array | None, offsets: jax.Array
    ) -> jax.Array:
        dtype = np.promote_types(accumulator(offsets.dtype), boxes.dtype)
        boxes = boxes.astype(dtype)
        moves = gamma * offsets.astype(dtype)
        rows = places.cell_rows(boxes, given.scale, cells, aligned=True)
        rows = [
            places.moved(row, high - low, moves[..., 1 - axis])
            for axis, (row, (low, high)) in enumerate(
                zip(rows, places.edges(boxes, given.scale, 0), strict=True)
            )
        ]
        at, counts = places.sample_places(rows, how)
        return sampling.pool_samples(
            (places.wide(x, boxes),), at, Cells(image=image, counts=counts)
        )

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(
            compute, cells, x.shape[-1], given.x, given.boxes, given.image, offsets
        )


@explained
def multi_scale_roi_align(
    features: Sequence[jax.Array],
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scales: Sequence[float],
    sampling_ratio: int = 2,
    aligned: bool = True,
    canonical_size: float = 224,
    canonical_level: int = 4,
    max_sampling_ratio: int | None = None,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """`roi_align` of each box on that map of a feature pyramid that suits its size.

    The map of scale ``2**-k`` is for boxes of
    ``k = floor(canonical_level + log2(sqrt(area) / canonical_size) + 1e-6)``; boxes too small for
    all maps go to the first, those too large to the last.

    Args:
      features: maps of one image, of shapes (H, W, C), from fine to coarse. For a batch, use
        ``jax.vmap`` or `batch_indices`.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scales: for each map, its size over size of the image: powers of 2, each half the one
        before.
      sampling_ratio: number of samples in a cell along each axis, or 0 for one for each pixel of
        the cell's length there, rounded up (as in PyTorch and ONNX).
      aligned: whether the centre of pixel i is at i + 0.5 (PyTorch's ``aligned=True``, ONNX's
        half_pixel). If False, it is at i, and boxes count as at least 1 wide and high.
      canonical_size: width and height of a box that belongs to `canonical_level`.
      canonical_level: the level k of such a box.
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
      In features and in boxes, every mode, to any order, as in `roi_align`; which map a box goes to
      has none. What is lowered for GPUs has no scatter.

    Example:
      >>> features = [jnp.full((64, 64, 1), 2.), jnp.full((32, 32, 1), 3.)]
      >>> boxes = jnp.array([[8., 8., 40., 40.], [0., 0., 240., 240.]])
      >>> jaxpool.multi_scale_roi_align(
      ...     features, boxes, (1, 1), spatial_scales=(1 / 8, 1 / 16))[:, 0, 0, 0]
      Array([2., 3.], dtype=float32)

    References:
      Lin et al., Feature pyramid networks for object detection, 2017.
      <https://arxiv.org/abs/1612.03144>
    """
    scale = places.known_scales(
        boxes, spatial_scales, sampling_ratio, canonical_size, canonical_level
    )
    most = places.most_samples(boxes, output_shape, scale, sampling_ratio, max_sampling_ratio)
    return as_one_program(
        _multi_scale_roi_align,
        features,
        boxes,
        batch_indices,
        output_shape,
        spatial_scales,
        (sampling_ratio, max_sampling_ratio, most),
        aligned,
        canonical_size,
        canonical_level,
    )


def _multi_scale_roi_align(
    features: Any,
    boxes: Any,
    batch_indices: Any,
    output_shape: Any,
    spatial_scales: Any,
    ratio: tuple[Any, ...],
    aligned: Any,
    canonical_size: Any,
    canonical_level: Any,
) -> jax.Array:
    op = "multi_scale_roi_align"
    if not isinstance(features, list | tuple) or not features:
        kind = type(features).__name__
        raise TypeError(
            f"{op}: `features` must be a list or tuple of at least one map; got an object of type "
            f"{kind} with {len(features) if isinstance(features, list | tuple) else 'no'} maps."
        )
    maps, like = [], features[0]
    for x in features:
        given = places.checked(op, x, boxes, 1.0, batch_indices)
        x = given.x
        if (x.shape[-1], x.dtype) != (like.shape[-1], like.dtype):
            raise ValueError(
                f"{op}: `features` must have the same number of channels and dtype; got "
                f"{places.described(like)} and {places.described(x)}."
            )
        if batch_indices is not None and x.shape[0] != like.shape[0]:
            raise ValueError(
                f"{op}: `features` must have the same number of images; got {like.shape[0]} and "
                f"{x.shape[0]}."
            )
        maps.append(x)
    cells = arguments.ints(op, "output_shape", output_shape, 2, 1)
    scales = places.pyramid_scales(op, spatial_scales, len(maps))
    lengths = [n for x in maps for n in x.shape[-3:-1]]
    how = places.samples_per_axis(op, *ratio).fitting(lengths)
    aligned = arguments.flag(op, "aligned", aligned)
    size = places.number(op, "canonical_size", canonical_size, "be a number > 0")
    top = arguments.integer(op, "canonical_level", canonical_level, "be an int")

    def compute(maps: list[jax.Array], boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        level = places.pyramid_level(boxes, size, top, round(-math.log2(scales[0])), len(maps))
        scale = jnp.asarray(scales, boxes.dtype)[level]
        rows = places.cell_rows(boxes, scale, cells, aligned)
        at, counts = places.sample_places(rows, how)
        wide = tuple(places.wide(x, boxes) for x in maps)
        known = Cells(level if len(maps) > 1 else None, image, counts)
        return sampling.pool_samples(wide, at, known)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, like.shape[-1], maps, given.boxes, given.image)
