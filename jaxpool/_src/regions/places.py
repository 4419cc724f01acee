"""Boxes and what else region pools take: checked, and turned into places on the map."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, contracts
from jaxpool._src.core.pool import accumulator, parted_along
from jaxpool._src.regions import sampling

# --- what users pass ----------------------------------------------------------------------------


def checked(op: str, x: Any, boxes: Any, spatial_scale: Any) -> tuple[jax.Array, jax.Array, float]:
    """The map, the boxes in a dtype to compute in, and the scale."""
    x = arguments.array(op, x)
    if x.ndim != 3:
        raise ValueError(
            f"{op}: `x` must have shape (H, W, C); got x.shape={x.shape}. Use jax.vmap for a batch."
        )
    arguments.no_empty_axis(op, x.shape, (0, 1))
    if not isinstance(boxes, jax.Array | np.ndarray):
        raise TypeError(
            f"{op}: `boxes` must be a JAX or NumPy array; got an object of type "
            f"{type(boxes).__name__}. Write jnp.asarray(boxes)."
        )
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"{op}: `boxes` must have shape (K, 4), with (x1, y1, x2, y2) of each box; got "
            f"boxes.shape={boxes.shape}. Use jax.vmap for a batch."
        )
    if boxes.dtype == bool or not (
        jnp.issubdtype(boxes.dtype, jnp.floating) or jnp.issubdtype(boxes.dtype, jnp.integer)
    ):
        raise TypeError(f"{op}: `boxes` must hold real numbers; got boxes.dtype={boxes.dtype}.")
    dtype = accumulator(boxes.dtype)
    if jnp.issubdtype(x.dtype, jnp.floating):
        dtype = np.promote_types(dtype, x.dtype)
    scale = number(op, "spatial_scale", spatial_scale, "be a number > 0")
    return x, jnp.asarray(boxes).astype(dtype), scale


def number(op: str, name: str, value: Any, allowed: str) -> float:
    """`value` as a finite float, positive if that is `allowed`."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        arguments.fail(op, name, allowed, value, error=TypeError)
    if not math.isfinite(value) or ("> 0" in allowed and value <= 0):
        arguments.fail(op, name, allowed, value)
    return float(value)


def samples_per_axis(op: str, value: Any) -> int:
    allowed = "be an int >= 1"
    ratio = arguments.integer(op, "sampling_ratio", value, allowed)
    if ratio < 1:
        hint = "A number of samples that depends on the boxes has no static shape."
        arguments.fail(op, "sampling_ratio", allowed, value, hint=hint)
    return ratio


def pyramid_scales(op: str, value: Any, count: int) -> list[float]:
    allowed = f"be {count} powers of 2 (one per map), each half the one before"
    if not isinstance(value, list | tuple):
        arguments.fail(op, "spatial_scales", allowed, value, error=TypeError)
    scales = [number(op, "spatial_scales", scale, "hold numbers > 0") for scale in value]
    if len(scales) != count or any(
        scale != scales[0] / 2**i or math.frexp(scale)[0] != 0.5 for i, scale in enumerate(scales)
    ):
        arguments.fail(op, "spatial_scales", allowed, value)
    return scales


def described(x: Any) -> str:
    return f"{x.shape[-1]} of {x.dtype}"


def channels_of_cells(op: str, x: jax.Array, cells: tuple[int, ...]) -> Any:
    """How many of x's channels each cell has."""
    each = math.prod(cells)
    if x.shape[-1] % each != 0:
        raise ValueError(
            f"{op}: `x` must have a multiple of P*Q = {each} channels, for output_shape={cells}; "
            f"got x.shape={x.shape}."
        )
    return x.shape[-1] // each


def maps_of_cells(x: jax.Array, cells: tuple[int, ...]) -> jax.Array:
    """`x` as one map for each cell, of shape (P, Q, H, W, C)."""
    return jnp.transpose(x.reshape(*x.shape[:2], -1, *cells), (3, 4, 0, 1, 2))


def wide(x: jax.Array, coordinates: jax.Array) -> jax.Array:
    """`x` in the dtype of coordinates, which holds it and is at least float32."""
    return x.astype(coordinates.dtype)


def pooled(
    compute: Callable[..., jax.Array],
    cells: tuple[int, ...],
    channels: Any,
    x: Any,
    boxes: jax.Array,
    *operands: jax.Array,
) -> jax.Array:
    """``compute(x, boxes, *operands)``, of shape (K, P, Q, C), in the dtype of a result.

    On a mesh with explicit axes, it is sharded along K as boxes are and along C as x is, a map or
    several. All inside is left to XLA.
    """
    first = jax.tree.leaves(x)[0]
    shape = (boxes.shape[0], *cells, channels)

    def whole(*arrays: Any) -> jax.Array:
        y = compute(*arrays)
        contracts.assert_shape(y, shape)
        means_of_ints = jnp.issubdtype(y.dtype, jnp.floating) and not jnp.issubdtype(
            first.dtype, jnp.floating
        )
        return y.astype(np.float32 if means_of_ints else first.dtype)

    return parted_along(whole, shape, ((boxes, 0), None, None, (first, 2)), x, boxes, *operands)


# --- from boxes to places -----------------------------------------------------------------------

Edges = tuple[jax.Array, jax.Array]  # low and high, both of shape (K,)


def edges(boxes: jax.Array, scale: Any, shift: float) -> tuple[Edges, Edges]:
    """Edges along y, and along x, in pixels of the map."""
    left, top, right, bottom = (boxes[:, i] * scale - shift for i in range(4))
    return (top, bottom), (left, right)


def sample_places(
    boxes: jax.Array, scale: Any, cells: tuple[int, ...], ratio: int, aligned: bool
) -> tuple[jax.Array, jax.Array]:
    """Samples along y, of shape (K, P, 1, S), and along x, of shape (K, 1, Q, S)."""
    places = []
    for (low, high), n in zip(edges(boxes, scale, 0.5 if aligned else 0), cells, strict=True):
        if not aligned:
            high = low + jnp.maximum(high - low, 1)
        places.append(sampling.samples(low, high, n, ratio))
    return places[0][:, :, None], places[1][:, None]


def whole_pixels(
    boxes: jax.Array,
    scale: float,
    cells: tuple[int, ...],
    shape: tuple[Any, ...],
    *,
    inclusive: bool,
) -> tuple[sampling.Intervals, sampling.Intervals]:
    """First pixels of cells, and those after the last ones, within the map: along y, along x.

    `inclusive` says whether the pixel that the far edge is rounded to belongs to the box.
    """
    found = []
    boxes = lax.stop_gradient(boxes)
    for ends, n, length in zip(edges(boxes, scale, 0), cells, shape[:2], strict=True):
        nowhere = jnp.isnan(ends[0]) | jnp.isnan(ends[1])
        # Far beyond any map, and far from the end of int32.
        low, high = (
            jnp.clip(lax.round(end, lax.RoundingMethod.AWAY_FROM_ZERO), -(2**28), 2**28)[:, None]
            for end in ends
        )
        low, high = low.astype(np.int32), high.astype(np.int32)
        size = jnp.maximum(high - low + int(inclusive), 1)
        cell = jnp.arange(n, dtype=np.int32)[None]
        # floor(i * size / n) and ceil((i + 1) * size / n) in ints: in float32, 7 * (57 / 7) > 57.
        whole, rest = size // n, size % n
        start = low + cell * whole + cell * rest // n
        stop = low + (cell + 1) * whole - (-(cell + 1) * rest // n)
        start, stop = (jnp.clip(edge, 0, length) for edge in (start, stop))
        found.append((start, jnp.where(nowhere[:, None], start, stop)))
    return found[0], found[1]


def mean_weights(low: jax.Array, high: jax.Array, cells: int, length: Any) -> jax.Array:
    """Means over each cell of the hats ``max(1 - |t - i|, 0)`` of `length` pixels: (K, P, L)."""
    there = jnp.isfinite(high - low)
    low, high = (jnp.where(there, end, 0)[:, None, None] for end in (low, high))
    # Counted from the box's first pixel, ends of cells have as many digits anywhere on the map.
    first = lax.stop_gradient(jnp.clip(jnp.floor(low), 0, length))
    size = (high - low) / cells
    ends = low - first + jnp.arange(cells + 1, dtype=low.dtype)[None, :, None] * size
    begin, end = ends[:, :-1], ends[:, 1:]
    pixel = jnp.arange(length, dtype=low.dtype)[None, None] - first
    total = jnp.zeros((), low.dtype)
    for slope, left, right in ((1, -1, 0), (-1, 0, 1)):
        # The two sides of a hat, whose integral over what is left of a cell is its width times the
        # height in its middle. A difference of integrals up to both ends would cancel.
        a, b = (jnp.minimum(jnp.maximum(e, pixel + left), pixel + right) for e in (begin, end))
        total = total + (b - a) * (1 + slope * ((a - pixel) + (b - pixel)) / 2)
    # Between two pixels hats are straight, and the mean is the height in the middle, at any width.
    straight = jnp.ceil(end) - jnp.floor(begin) <= 1
    middle = sampling.hats((begin + end) / 2, pixel)
    # Divided by what was integrated, which may be another width than `size` by a rounding.
    mean = jnp.where(straight, middle, total / jnp.where(straight, 1, end - begin))
    return jnp.where(size > 0, mean, 0)


def pyramid_level(
    boxes: jax.Array, size: float, canonical_level: int, first: int, count: int
) -> jax.Array:
    """Number of the map that each box goes to."""
    (top, bottom), (left, right) = edges(lax.stop_gradient(boxes), 1, 0)
    side = jnp.sqrt(jnp.maximum((right - left) * (bottom - top), 0))
    level = jnp.floor(canonical_level + jnp.log2(side / size) + 1e-6) - first
    level = jnp.where(jnp.isnan(level), 0, level)  # platforms differ in what int NaN is
    return jnp.clip(level, 0, count - 1).astype(np.int32)


def moved(places: jax.Array, size: jax.Array, moves: jax.Array) -> jax.Array:
    """`places`, of shape (K, P, Q, S) or what broadcasts to it, moved by parts of boxes' sizes."""
    size = size[:, None, None]
    way = lax.stop_gradient(size * moves)
    # The derivative of a product with what is not finite is not, even in the direction 0.
    finite = jnp.isfinite(way)
    zero = np.zeros((), way.dtype)
    product = size * jnp.where(finite, moves, zero)
    return places + jnp.where(finite, product, way)[..., None]
