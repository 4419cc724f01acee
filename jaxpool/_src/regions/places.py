"""Boxes and what else region pools take: checked, and turned into places on the map."""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxpool._src.core import arguments, contracts
from jaxpool._src.core.pool import accumulator, parted_along
from jaxpool._src.regions import corners
from jaxpool._src.regions.maxima import Intervals

# More samples than that along a cell are so many: a float32 counts no further.
_MOST = 2**24

# --- what users pass ----------------------------------------------------------------------------


class Given(NamedTuple):
    """What users pass, checked.

    Attributes:
      x: map of shape (H, W, C), or (D, H, W, C) for boxes in space, with an axis of images before
        all others if boxes name theirs.
      boxes: their edges, in a dtype to compute in.
      scale: size of the map over size of the image.
      image: None, or the number of each box's image; that of images for boxes in none of them.
    """

    x: jax.Array
    boxes: jax.Array
    scale: float
    image: jax.Array | None

    @property
    def shape(self) -> tuple[Any, ...]:
        """Size of the map, without images and channels."""
        return self.x.shape[1 if self.image is not None else 0 : -1]


def checked(
    op: str,
    x: Any,
    boxes: Any,
    spatial_scale: Any,
    batch_indices: Any = None,
    *,
    in_space: bool = False,
    edges: str = "(x1, y1, x2, y2)",
) -> Given:
    """Of the map and its boxes, which may be `in_space` for some functions; `edges` says how."""
    x = arguments.array(op, x)
    rank = 3 if in_space and getattr(boxes, "shape", ())[1:] == (6,) else 2
    axes = "D, H, W, C" if rank == 3 else "H, W, C"
    several = batch_indices is not None
    if x.ndim != rank + 1 + several:
        advice = "`batch_indices` says which of the N a box is in."
        other = "For a batch use jax.vmap, or `batch_indices` that say which image a box is in."
        raise ValueError(
            f"{op}: `x` must have shape ({'N, ' if several else ''}{axes}); got x.shape={x.shape}. "
            f"{advice if several else other}"
        )
    arguments.no_empty_axis(op, x.shape, tuple(range(several, several + rank)))
    if not isinstance(boxes, jax.Array | np.ndarray):
        raise TypeError(
            f"{op}: `boxes` must be a JAX or NumPy array; got an object of type "
            f"{type(boxes).__name__}. Write jnp.asarray(boxes)."
        )
    if boxes.ndim != 2 or boxes.shape[1] != 2 * rank:
        raise ValueError(
            f"{op}: `boxes` must have shape (K, {2 * rank}), with {edges} of each box; got "
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
    boxes = jnp.asarray(boxes)
    image = _images(op, batch_indices, boxes, x.shape[0]) if several else None
    return Given(x, boxes.astype(dtype), scale, image)


def _images(op: str, value: Any, boxes: jax.Array, count: Any) -> jax.Array:
    """The number of each box's image, `count` for all that there are not."""
    if not isinstance(value, jax.Array | np.ndarray) or not jnp.issubdtype(
        value.dtype, jnp.integer
    ):
        got = getattr(value, "dtype", type(value).__name__)
        raise TypeError(
            f"{op}: `batch_indices` must be a JAX or NumPy array of ints; got one of {got}. Write "
            "jnp.asarray(batch_indices, jnp.int32)."
        )
    if value.shape != boxes.shape[:1]:
        raise ValueError(
            f"{op}: `batch_indices` must have shape (K,) = {boxes.shape[:1]}, a number for each "
            f"box; got batch_indices.shape={value.shape}."
        )
    number = jnp.asarray(value)
    inside = number < count  # before the dtype is narrowed
    if jnp.issubdtype(number.dtype, jnp.signedinteger):
        inside &= number >= 0
    return jnp.where(inside, number.astype(np.int32), jnp.asarray(count, np.int32))


def number(op: str, name: str, value: Any, allowed: str) -> float:
    """`value` as a finite float, positive if that is `allowed`."""
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        arguments.fail(op, name, allowed, value, error=TypeError)
    if not math.isfinite(value) or ("> 0" in allowed and value <= 0):
        arguments.fail(op, name, allowed, value)
    return float(value)


class Samples(NamedTuple):
    """How many samples a cell has along each axis.

    Attributes:
      ratio: so many in each cell, or 0: one for each pixel of its length, rounded up.
      most: no cell has more than so many, if there is such a limit.
      room: an upper bound of what there are, if ratio is 0.
    """

    ratio: int
    most: int | None = None
    room: int = 0

    def fitting(self, lengths: Sequence[Any]) -> "Samples":
        """With room for no more than what may lie on a map of these lengths, and beside it.

        Samples are at least about a pixel apart, where there are so many.
        """
        known = all(isinstance(n, int) for n in lengths)
        return self._replace(room=min(self.room, max(lengths) + 8)) if known else self


def samples_per_axis(op: str, value: Any, limit: Any, found: int | None) -> Samples:
    """Samples for `sampling_ratio` and `max_sampling_ratio`; `found` is what boxes need."""
    allowed = "be an int >= 1, or 0 for a number that depends on the box"
    ratio = arguments.integer(op, "sampling_ratio", value, allowed)
    if ratio < 0:
        arguments.fail(op, "sampling_ratio", allowed, value)
    most = None
    if limit is not None:
        allowed = "be an int >= 1, or None"
        most = arguments.integer(op, "max_sampling_ratio", limit, allowed)
        if most < 1:
            arguments.fail(op, "max_sampling_ratio", allowed, limit)
        if ratio > 0:
            allowed = f"be None unless sampling_ratio=0, and sampling_ratio={ratio}"
            arguments.fail(op, "max_sampling_ratio", allowed, limit)
    if ratio == 0 and most is None and found is None:
        hint = "How many samples a box needs is not known before the program runs."
        allowed = "be given with sampling_ratio=0 where `boxes` are traced, as under jax.jit"
        arguments.fail(op, "max_sampling_ratio", allowed, limit, hint=hint)
    return Samples(ratio, most, (found or 1) if most is None else most)


def most_samples(
    boxes: Any, output_shape: Any, scale: Any, sampling_ratio: Any, max_sampling_ratio: Any
) -> int | None:
    """A power of 2 that bounds the samples per axis of all cells, if that is asked for and known.

    `scale` is a number or one for each box. Mistakes among arguments are told elsewhere.
    """
    asked = isinstance(sampling_ratio, int | np.integer) and not isinstance(sampling_ratio, bool)
    if not asked or sampling_ratio != 0 or max_sampling_ratio is not None:
        return None
    corners = known_boxes(boxes)
    if corners is None:
        return None
    try:
        cells = tuple(map(operator.index, arguments.entries(output_shape) or (output_shape,)))
    except TypeError:
        return 1
    if not isinstance(scale, int | float | np.number | np.ndarray) or min(cells) < 1:
        return 1
    rank = corners.shape[1] // 2
    with np.errstate(all="ignore"):
        extents = (corners[:, rank : 2 * rank] - corners[:, :rank]) * np.reshape(scale, (-1, 1))
        each = extents / (cells[::-1] if len(cells) == rank else min(cells))
    # Not by a rounding too few; and a power of 2, so that other boxes may have the same program.
    largest = np.max(each, initial=1, where=np.isfinite(each)) * (1 + 1e-5)
    return 2 ** max(math.ceil(math.log2(min(largest, _MOST))), 0)


def known_boxes(boxes: Any) -> np.ndarray | None:
    """Boxes whose values are at hand while tracing, as NumPy's."""
    if isinstance(boxes, Tracer):
        boxes = boxes.to_concrete_value()
    if not isinstance(boxes, jax.Array | np.ndarray) or boxes.ndim != 2:
        return None
    real = jnp.issubdtype(boxes.dtype, jnp.floating) or jnp.issubdtype(boxes.dtype, jnp.integer)
    return np.asarray(boxes).astype(np.float64) if real else None


def known_scales(
    boxes: Any, spatial_scales: Any, sampling_ratio: Any, size: Any, canonical_level: Any
) -> Any:
    """The scale of the map that each box goes to, if it is asked for and known; else the finest.

    Mistakes among arguments are told elsewhere.
    """
    corners = known_boxes(boxes)
    try:
        scales = [float(scale) for scale in spatial_scales]
        if sampling_ratio != 0 or corners is None or corners.shape[1] != 4:
            return max(scales)
        first = round(-math.log2(scales[0]))
        with np.errstate(all="ignore"):
            there = jnp.asarray(corners.astype(np.float32))
        level = pyramid_level(there, size, canonical_level, first, len(scales))
        return np.asarray(scales)[np.asarray(level)]
    except (TypeError, ValueError):
        return 1.0


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
    """`x` as one map for each cell: (P, Q, H, W, C), after the axis of images if it has one."""
    *images, height, width, channels = x.shape
    each = channels // math.prod(cells)
    n = len(images)
    order = (*range(n), n + 3, n + 4, n, n + 1, n + 2)
    return jnp.transpose(x.reshape(*images, height, width, each, *cells), order)


def wide(x: jax.Array, coordinates: jax.Array) -> jax.Array:
    """`x` in the dtype of coordinates, which holds it and is at least float32."""
    return x.astype(coordinates.dtype)


def pooled(
    compute: Callable[..., jax.Array],
    cells: tuple[int, ...],
    channels: Any,
    x: Any,
    boxes: jax.Array,
    *operands: jax.Array | None,
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

    sources = (boxes, 0), *[None] * len(cells), (first, first.ndim - 1)
    return parted_along(whole, shape, sources, x, boxes, *operands)


# --- from boxes to places -----------------------------------------------------------------------

Edges = tuple[jax.Array, jax.Array]  # low and high, both of shape (K,)


def edges(boxes: jax.Array, scale: Any, shift: float) -> tuple[Edges, ...]:
    """Edges along y, and along x, in pixels of the map; along z before these for boxes in space."""
    rank = boxes.shape[1] // 2
    found = [boxes[:, i] * scale - shift for i in range(2 * rank)]
    return tuple((found[axis], found[rank + axis]) for axis in reversed(range(rank)))


class Row(NamedTuple):
    """Cells along one axis: where they begin, (K, P, 1) and so on, and how long they are."""

    low: jax.Array
    size: jax.Array


def cell_rows(boxes: jax.Array, scale: Any, cells: tuple[int, ...], aligned: bool) -> list[Row]:
    """Cells along each axis."""
    rows, rank = [], len(cells)
    for axis, ((low, high), n) in enumerate(
        zip(edges(boxes, scale, 0.5 if aligned else 0), cells, strict=True)
    ):
        if not aligned:
            high = low + jnp.maximum(high - low, 1)
        low, high = (end.reshape(-1, *[1] * rank) for end in (low, high))
        size = (high - low) / n
        cell = jnp.arange(n, dtype=low.dtype).reshape(
            1, *(n if i == axis else 1 for i in range(rank))
        )
        rows.append(Row(low + cell * size, size))
    return rows


def sample_places(
    rows: Sequence[Row], how: Samples
) -> tuple[corners.Places, tuple[jax.Array, ...] | None]:
    """Places of samples, of shape (K, P, 1, S) along y and so on, and how many a box has of them.

    The latter is None if all have as many. Otherwise there is room for those near the map.
    """
    if how.ratio > 0:
        return tuple(corners.samples(*row, how.ratio) for row in rows), None
    found, counts = [], []
    for low, size in rows:
        fixed_low, fixed_size = lax.stop_gradient((low, size))
        known = jnp.where(fixed_size == fixed_size, fixed_size, 1)  # what is NaN has a NaN
        count = jnp.clip(jnp.ceil(known), 0, _MOST if how.most is None else how.most)
        number = jnp.maximum(count, 1)
        # The last one above the map, or the one before it; with the next ones, some below it.
        first = jnp.floor((-1 - fixed_low) / (fixed_size / number)) - 1
        first = jnp.clip(
            jnp.where(jnp.isfinite(first), first, 0), 0, jnp.maximum(count - how.room, 0)
        )
        sample = jnp.arange(how.room, dtype=low.dtype).reshape((1,) * low.ndim + (how.room,))
        sample = first[..., None] + sample
        place = low[..., None] + (sample + 0.5) * size[..., None] / number[..., None]
        found.append(jnp.where(sample < count[..., None], place, np.array(-2, low.dtype)))
        counts.append(count.reshape(-1).astype(np.int32))
    return tuple(found), tuple(counts)


def whole_pixels(
    boxes: jax.Array,
    scale: float,
    cells: tuple[int, ...],
    shape: tuple[Any, ...],
    *,
    inclusive: bool,
) -> tuple[Intervals, ...]:
    """First pixels of cells, and those after the last ones, within the map: along each axis.

    `inclusive` says whether the pixel that the far edge is rounded to belongs to the box.
    """
    found = []
    boxes = lax.stop_gradient(boxes)
    for ends, n, length in zip(edges(boxes, scale, 0), cells, shape, strict=True):
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
    return tuple(found)


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
    middle = corners.hats((begin + end) / 2, pixel)
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


def moved(row: Row, size: jax.Array, moves: jax.Array) -> Row:
    """Cells moved by parts of boxes' sizes along this axis, `moves` of shape (K, P, Q)."""
    size = size[:, None, None]
    way = lax.stop_gradient(size * moves)
    # The derivative of a product with what is not finite is not, even in the direction 0.
    finite = jnp.isfinite(way)
    zero = np.zeros((), way.dtype)
    product = size * jnp.where(finite, moves, zero)
    return row._replace(low=row.low + jnp.where(finite, product, way))
