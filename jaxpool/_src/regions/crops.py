"""Boxes cut out and resized."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.program import as_one_program
from jaxpool._src.regions import places, sampling
from jaxpool._src.regions.corners import Cells


@explained
def crop_and_resize(
    x: jax.Array,
    boxes: jax.Array,
    crop_size: Ints,
    *,
    extrapolation_value: float = 0,
    batch_indices: jax.Array | None = None,
) -> jax.Array:
    """Boxes cut out of a map and resized to one size, bilinearly (TensorFlow's function).

    Boxes are in parts of the map, from 0 at the middle of its first pixel to 1 at that of its last,
    and begin with y. The corner samples of a crop lie on the box's corners, the others evenly
    between them; along an axis with one sample, it is in the middle. A box may be turned round, and
    its crop is flipped then.

    Args:
      x: map of one image, of shape (H, W, C). For a batch, use ``jax.vmap`` or
        `batch_indices`.
      boxes: array of shape (K, 4) with (y1, x1, y2, x2) of each box, in parts of the map.
      crop_size: number (P, Q) of samples along y and x, an int or two.
      extrapolation_value: value of samples outside the map.
      batch_indices: array of K ints, the number of each box's image. All maps then have an axis of
        N images before the others; boxes in none of these are 0.

    Returns:
      Array of shape (K, P, Q, C). Floats keep their dtype (samples are computed in float32 at
      least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range or of another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in boxes, every mode, to any order, as in `roi_align`. What is lowered for GPUs has
      no scatter.

    Example:
      >>> x = jnp.arange(25.).reshape(5, 5, 1)
      >>> boxes = jnp.array([[0., 0., 1., 0.5], [1., 0., 0., 2.]])
      >>> jaxpool.crop_and_resize(x, boxes, (2, 3), extrapolation_value=-1)[..., 0]
      Array([[[ 0.,  1.,  2.],
              [20., 21., 22.]],
      <BLANKLINE>
             [[20., 24., -1.],
              [ 0.,  4., -1.]]], dtype=float32)

    References:
      TensorFlow, ``tf.image.crop_and_resize``.
      <https://www.tensorflow.org/api_docs/python/tf/image/crop_and_resize>
    """
    return as_one_program(
        _crop_and_resize, x, boxes, batch_indices, arguments.plain(crop_size), extrapolation_value
    )


def _crop_and_resize(
    x: Any, boxes: Any, batch_indices: Any, crop_size: Any, extrapolation_value: Any
) -> jax.Array:
    op = "crop_and_resize"
    given = places.checked(op, x, boxes, 1.0, batch_indices, edges="(y1, x1, y2, x2)")
    cells = arguments.ints(op, "crop_size", crop_size, 2, 1)
    outer = places.number(op, "extrapolation_value", extrapolation_value, "be a finite number")

    def compute(x: jax.Array, boxes: jax.Array, image: jax.Array | None) -> jax.Array:
        found, outside = [], np.zeros((1, 1, 1), np.bool_)
        for axis, (n, length) in enumerate(zip(cells, given.shape, strict=True)):
            low, high = (boxes[:, i].reshape(-1, 1, 1) for i in (axis, 2 + axis))
            shape = [1, 1, 1]
            shape[1 + axis] = n
            sample = jnp.arange(n, dtype=boxes.dtype).reshape(shape)
            part = sample / (n - 1) if n > 1 else sample + 0.5
            # As a mean of both ends, which are met exactly.
            place = ((1 - part) * low + part * high) * jnp.asarray(length - 1, boxes.dtype)
            beyond = (place < 0) | (place > jnp.asarray(length - 1, boxes.dtype))
            outside |= beyond
            found.append(jnp.where(beyond, np.array(-2, boxes.dtype), place)[..., None])
        y = sampling.pool_samples((places.wide(x, boxes),), tuple(found), Cells(image=image))
        if image is not None:
            outside &= (image < x.shape[0]).reshape(-1, 1, 1)
        return jnp.where(outside[..., None], np.array(outer, y.dtype), y)

    with jax.named_scope(f"jaxpool.{op}"):
        return places.pooled(compute, cells, x.shape[-1], given.x, given.boxes, given.image)
