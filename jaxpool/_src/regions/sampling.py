"""How boxes become weights and picks of pixels: what all region pools share.

A cell of a box reads few pixels, so values are gathered. JAX's gradient of that would be a scatter;
derivatives are taken of products of matrices instead, one for each axis. TPUs, for which gathering
is slow, compute values so too, as does everyone where a cell may read any number of pixels.

Milliseconds of both forms of roi_align on two CPU cores, gathered and by matrices, for cases of
``python -m benchmarks.regions``: detector 7.5 and 72, mask_head 5.6 and 48, fine_map 7.3 and 189,
small_map 0.16 and 0.80, one_box 0.05 and 1.4. Gathering wins at every size.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.regions.corners import (
    Cells,
    Maps,
    Places,
    cells_of,
    corners,
    fold_corners,
    rows_of,
    walk,
    walk_of,
    weighed,
)
from jaxpool._src.regions.matrices import mean_by_matrices
from jaxpool._src.regions.maxima import max_of_corners
from jaxpool._src.regions.tangents import known, tangent_of, without_unknown

_ALIKE = Cells()


@functools.partial(jax.jit, static_argnames="reduction")
def pool_samples(
    maps: Maps, places: Places, cells: Cells = _ALIKE, reduction: str = "mean"
) -> jax.Array:
    """Means over bilinear samples, or maxima over their weighted corners, of shape (K, P, Q, C).

    Args:
      maps: one map of shape (H, W, C), several, or one of shape (P, Q, H, W, C), of which each cell
        has its own; all with an axis of images before these if cells say which one a box is in.
      places: places of samples along H, of shape (K, P, 1 or Q, S), and along W, of shape
        (K, 1 or P, Q, S); so for any number of axes.
      cells: what else is known.
      reduction: "mean" or "max".
    """
    if cells.image is not None:
        images = maps[0].shape[0]
        inside = (cells.image < images).reshape(-1, *[1] * (len(places) + 1))
        places = tuple(jnp.where(inside, t, np.array(-2, t.dtype)) for t in places)
        if isinstance(images, int) and images == 0:  # none to gather from
            maps = tuple(jnp.zeros((1, *x.shape[1:]), x.dtype) for x in maps)
    return (_mean if reduction == "mean" else max_of_corners)(maps, cells, places)


@jax.custom_jvp
def _mean(maps: Maps, cells: Cells, places: Places) -> jax.Array:
    return lax.platform_dependent(
        maps, cells, places, tpu=mean_by_matrices, default=mean_by_gathering
    )


@functools.partial(_mean.defjvp, symbolic_zeros=True)
def _mean_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The tangent of the form by matrices, which transposes to products of matrices."""
    maps, cells, places = primals
    by_matrices = functools.partial(mean_by_matrices, contain=False)
    tangent = tangent_of(
        lambda maps, places: by_matrices(maps, cells, known(places)),
        (maps, places),
        (tangents[0], tangents[2]),
    )
    return _mean(*primals), without_unknown(tangent, places)


def mean_by_gathering(maps: Maps, cells: Cells, places: Places) -> jax.Array:
    rows = rows_of(maps)

    def add(total: jax.Array, _: Any, place: jax.Array, weight: jax.Array, *_more: Any) -> Any:
        return total + weighed(rows, place, weight)

    _, *shape = cells_of(places)

    def start(boxes: Any) -> jax.Array:
        return jnp.zeros((boxes, *shape, rows.shape[-1]), rows.dtype)

    if cells.counts is None:
        ends = corners(maps, cells, places)
        total = fold_corners(add, start(places[0].shape[0]), *ends)
        return total / math.prod(t.shape[-1] for t in places)
    way = walk_of(maps, cells, places, merged=True)
    total = walk(add, start, way, math.prod(shape) * rows.shape[-1])
    number = functools.reduce(jnp.multiply, [n.astype(rows.dtype) for n in cells.counts])
    return total / jnp.maximum(number, 1).reshape(-1, *[1] * (total.ndim - 1))
