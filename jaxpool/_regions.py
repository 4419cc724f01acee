"""Pools of boxes in one image: as many cells for every box, whatever its size."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxpool import _arguments, _boxes, _sampling
from jaxpool._arguments import Ints
from jaxpool._max import Max
from jaxpool._pool import accumulator
from jaxpool._program import as_one_program


def roi_align(
    x: jax.Array,
    boxes: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = True,
    reduction: Literal["mean", "max"] = "mean",
) -> jax.Array:
    """The mean of bilinear samples in each cell of each box (RoIAlign).

    Edges of boxes are not rounded. A cell has ``sampling_ratio**2`` samples, along each axis at
    ``low + (i + 0.5) / sampling_ratio * size``. A sample at most one pixel outside the map is taken
    at the map's edge, any other outside is 0.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis.
      aligned: whether the centre of pixel i is at i + 0.5 (PyTorch's ``aligned=True``, ONNX's
        half_pixel). If False, it is at i, and boxes count as at least 1 wide and high.
      reduction: "mean" of the samples, or "max": the largest product of a pixel and its weight
        (ONNX's rule, whose values are not those of samples).

    Returns:
      Array of shape (K, P, Q, C). Floats keep their dtype (the mean is accumulated in float32 at
      least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in boxes, every mode, to any order. Where a sample lies on a pixel, that in boxes is
      the mean of both sides' ("mean"), or one side's ("max"). NaN and inf reach only cells that
      sample them. What is lowered for GPUs has no scatter.

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

    References:
      He et al., Mask R-CNN, 2017. <https://arxiv.org/abs/1703.06870>
    """
    return as_one_program(
        _roi_align, x, boxes, output_shape, spatial_scale, sampling_ratio, aligned, reduction
    )


def _roi_align(
    x: Any,
    boxes: Any,
    output_shape: Any,
    spatial_scale: Any,
    sampling_ratio: Any,
    aligned: Any,
    reduction: Any,
) -> jax.Array:
    op = "roi_align"
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    ratio = _boxes.samples_per_axis(op, sampling_ratio)
    aligned = _arguments.flag(op, "aligned", aligned)
    _arguments.one_of(op, "reduction", reduction, ("mean", "max"))
    with jax.named_scope(f"jaxpool.{op}"):
        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, aligned)
        y = _sampling.pool_samples((_boxes.wide(x, boxes),), None, ys, xs, reduction)
        return _boxes.result(y, x, boxes, cells, x.shape[-1])


def roi_max_pool(
    x: jax.Array, boxes: jax.Array, output_shape: Ints, *, spatial_scale: float = 1.0
) -> jax.Array:
    """The maximum of each cell of each box, in whole pixels (RoI max pooling).

    Edges of boxes are rounded, halves away from zero, and belong to the box, which is thus at least
    1 wide and high. Cell i of n along a box of length l has the pixels from ``floor(i*l/n)`` to
    ``ceil((i + 1)*l/n) - 1``, so cells may overlap. Cells outside the map are 0. (Where
    ``l/n`` is rounded to float32, as in onnxruntime, the last of 7 cells of 57 pixels has a 58th.)

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.

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
    return as_one_program(_roi_max_pool, x, boxes, output_shape, spatial_scale)


def _roi_max_pool(x: Any, boxes: Any, output_shape: Any, spatial_scale: Any) -> jax.Array:
    op = "roi_max_pool"
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    with jax.named_scope(f"jaxpool.{op}"):
        rows, columns = _boxes.whole_pixels(boxes, scale, cells, x.shape, inclusive=True)
        y = _sampling.interval_max(x.astype(Max().accumulate_dtype(x.dtype)), rows, columns)
        y = y.astype(x.dtype)
        chex.assert_shape(y, (boxes.shape[0], *cells, x.shape[-1]))
        return y


def precise_roi_pool(
    x: jax.Array, boxes: jax.Array, output_shape: Ints, *, spatial_scale: float = 1.0
) -> jax.Array:
    """The mean of the bilinear interpolant over each cell of each box (precise RoI pooling).

    The integral is exact, so there are no samples, and the result is smooth in the boxes. Pixel i
    is at i, and outside the map the interpolant falls to 0 within a pixel. Boxes without area give
    0.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap``.
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
      In x and in boxes, every mode, to any order; the first is continuous in boxes. Of boxes
      without area it is 0. NaN and inf reach only cells that they have a part in. What is lowered
      for GPUs has no scatter.

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
    return as_one_program(_precise_roi_pool, x, boxes, output_shape, spatial_scale)


def _precise_roi_pool(x: Any, boxes: Any, output_shape: Any, spatial_scale: Any) -> jax.Array:
    op = "precise_roi_pool"
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    with jax.named_scope(f"jaxpool.{op}"):
        wide = _boxes.wide(x, boxes)
        rows, columns = (
            _boxes.mean_weights(low, high, n, length)
            for (low, high), n, length in zip(
                _boxes.edges(boxes, scale, 0), cells, x.shape[:2], strict=True
            )
        )
        y = _sampling.weighted_sum(
            wide, rows[:, :, None].astype(wide.dtype), columns[:, None].astype(wide.dtype)
        )
        return _boxes.result(y, x, boxes, cells, x.shape[-1])


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
      the mean of both sides'. NaN and inf reach only cells that sample them. What is lowered for
      GPUs has no scatter.

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
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    ratio = _boxes.samples_per_axis(op, sampling_ratio)
    maps = _boxes.maps_of_cells(op, x, cells)
    with jax.named_scope(f"jaxpool.{op}"):
        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, aligned=True)
        y = _sampling.pool_samples((_boxes.wide(maps, boxes),), None, ys, xs)
        return _boxes.result(y, x, boxes, cells, maps.shape[-1])


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
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    maps = _boxes.maps_of_cells(op, x, cells)
    with jax.named_scope(f"jaxpool.{op}"):
        wide = _boxes.wide(maps, boxes)
        intervals = _boxes.whole_pixels(boxes, scale, cells, x.shape, inclusive=False)
        inside = []
        for (start, stop), length in zip(intervals, x.shape[:2], strict=True):
            pixel = jnp.arange(length, dtype=np.int32)[None, None]
            here = (pixel >= start[..., None]) & (pixel < stop[..., None])
            inside.append(here.astype(wide.dtype))
        rows, columns = inside[0][:, :, None], inside[1][:, None]
        y = _sampling.weighted_sum(wide, rows, columns)
        area = jnp.sum(rows, -1) * jnp.sum(columns, -1)
        y = y / jnp.maximum(area, 1)[..., None]
        return _boxes.result(y, x, boxes, cells, maps.shape[-1])


def deformable_roi_pool(
    x: jax.Array,
    boxes: jax.Array,
    offsets: jax.Array,
    output_shape: Ints,
    *,
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    gamma: float = 0.1,
) -> jax.Array:
    """`roi_align` with each cell moved by an offset of its own (deformable RoI pooling).

    A cell moves by gamma times the box's size times its offset, which a network learns. The centre
    of pixel i is at i + 0.5, as with ``aligned=True``.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      offsets: array of shape (K, P, Q, 2) with the offsets of each cell along x and y.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scale: size of the map over size of the image.
      sampling_ratio: number of samples in a cell along each axis.
      gamma: how far an offset of 1 moves a cell, as a part of the box.

    Returns:
      Array of shape (K, P, Q, C). Floats keep their dtype (the mean is accumulated in float32 at
      least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x, boxes and offsets, every mode, to any order. Where a sample lies on a pixel, those in
      boxes and offsets are the means of both sides'. NaN and inf reach only cells that sample them.
      What is lowered for GPUs has no scatter.

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
    return as_one_program(
        _deformable_roi_pool, x, boxes, offsets, output_shape, spatial_scale, sampling_ratio, gamma
    )


def _deformable_roi_pool(
    x: Any,
    boxes: Any,
    offsets: Any,
    output_shape: Any,
    spatial_scale: Any,
    sampling_ratio: Any,
    gamma: Any,
) -> jax.Array:
    op = "deformable_roi_pool"
    x, boxes, scale = _boxes.checked(op, x, boxes, spatial_scale)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    ratio = _boxes.samples_per_axis(op, sampling_ratio)
    gamma = _boxes.number(op, "gamma", gamma, "be a finite number")
    offsets = _arguments.array(op, offsets)
    if offsets.shape != (boxes.shape[0], *cells, 2):
        raise ValueError(
            f"{op}: `offsets` must have shape (K, P, Q, 2) = {(boxes.shape[0], *cells, 2)}; got "
            f"offsets.shape={offsets.shape}."
        )
    with jax.named_scope(f"jaxpool.{op}"):
        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, aligned=True)
        dtype = np.promote_types(accumulator(offsets.dtype), ys.dtype)
        (top, bottom), (left, right) = _boxes.edges(boxes.astype(dtype), scale, 0)
        moves = gamma * offsets.astype(dtype)
        ys = ys.astype(dtype) + ((bottom - top)[:, None, None] * moves[..., 1])[..., None]
        xs = xs.astype(dtype) + ((right - left)[:, None, None] * moves[..., 0])[..., None]
        y = _sampling.pool_samples((_boxes.wide(x, ys),), None, ys, xs)
        return _boxes.result(y, x, boxes, cells, x.shape[-1])


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
) -> jax.Array:
    """`roi_align` of each box on that map of a feature pyramid that suits its size.

    The map of scale ``2**-k`` is for boxes of
    ``k = floor(canonical_level + log2(sqrt(area) / canonical_size) + 1e-6)``; boxes too small for
    all maps go to the first, those too large to the last.

    Args:
      features: maps of one image, of shapes (H, W, C), from fine to coarse. For a batch, use
        ``jax.vmap``.
      boxes: array of shape (K, 4) with (x1, y1, x2, y2) of each box, in the image's coordinates.
      output_shape: number (P, Q) of cells along y and x, an int or two.
      spatial_scales: for each map, its size over size of the image: powers of 2, each half the one
        before.
      sampling_ratio: number of samples in a cell along each axis.
      aligned: whether the centre of pixel i is at i + 0.5 (PyTorch's ``aligned=True``, ONNX's
        half_pixel). If False, it is at i, and boxes count as at least 1 wide and high.
      canonical_size: width and height of a box that belongs to `canonical_level`.
      canonical_level: the level k of such a box.

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
    return as_one_program(
        _multi_scale_roi_align,
        features,
        boxes,
        output_shape,
        spatial_scales,
        sampling_ratio,
        aligned,
        canonical_size,
        canonical_level,
    )


def _multi_scale_roi_align(
    features: Any,
    boxes: Any,
    output_shape: Any,
    spatial_scales: Any,
    sampling_ratio: Any,
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
        x, points, _ = _boxes.checked(op, x, boxes, 1.0)
        if (x.shape[-1], x.dtype) != (like.shape[-1], like.dtype):
            raise ValueError(
                f"{op}: `features` must have the same number of channels and dtype; got "
                f"{_boxes.described(like)} and {_boxes.described(x)}."
            )
        maps.append(x)
    cells = _arguments.ints(op, "output_shape", output_shape, 2, 1)
    scales = _boxes.pyramid_scales(op, spatial_scales, len(maps))
    ratio = _boxes.samples_per_axis(op, sampling_ratio)
    aligned = _arguments.flag(op, "aligned", aligned)
    size = _boxes.number(op, "canonical_size", canonical_size, "be a number > 0")
    top = _arguments.integer(op, "canonical_level", canonical_level, "be an int")
    boxes = points
    with jax.named_scope(f"jaxpool.{op}"):
        level = _boxes.pyramid_level(boxes, size, top, round(-math.log2(scales[0])), len(maps))
        scale = jnp.asarray(scales, boxes.dtype)[level]
        ys, xs = _boxes.sample_places(boxes, scale, cells, ratio, aligned)
        wide = tuple(_boxes.wide(x, boxes) for x in maps)
        y = _sampling.pool_samples(wide, level if len(maps) > 1 else None, ys, xs)
        return _boxes.result(y, maps[0], boxes, cells, maps[0].shape[-1])
