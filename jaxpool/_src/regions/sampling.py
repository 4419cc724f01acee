"""How boxes become weights and picks of pixels: what all region pools share.

A cell of a box reads few pixels, so values are gathered. JAX's gradient of that would be a scatter;
derivatives are taken of products of matrices instead, one for each axis. TPUs, for which gathering
is slow, compute values so too, as does everyone where a cell may read any number of pixels.

Milliseconds of both forms of roi_align on two CPU cores, gathered and by matrices, for cases of
``python -m benchmarks.regions``: detector 7.5 and 72, mask_head 5.6 and 48, fine_map 7.3 and 189,
small_map 0.16 and 0.80, one_box 0.05 and 1.4. Gathering wins at every size.
"""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled, varying_alike
from jaxpool._src.lowering.taps import finite
from jaxpool._src.lowering.unpool import unpool_planes
from jaxpool._src.lowering.windows import lowest_value, pad

# Up to this many corners of samples are written out one by one; more run in a loop, which is slower
# but keeps programs small. 64 is 4 x 4 samples in a cell.
_UNROLLED_CORNERS = 64

# Products of matrices take so many boxes at once that what lies between the two products has this
# many elements. For 512 boxes of 7 x 7 cells on a 64 x 64 x 256 map, that is three times as fast on
# two CPU cores as all boxes at once, and takes 20 MB instead of 470.
_ELEMENTS_AT_ONCE = 2**21
Maps = tuple[jax.Array, ...]


def samples(low: jax.Array, high: jax.Array, cells: int, ratio: int) -> jax.Array:
    """Places of the `ratio` samples in each of `cells` equal cells of [low, high]."""
    low = low[..., None, None]
    size = (high[..., None, None] - low) / cells
    shape = (1,) * (low.ndim - 2)
    cell = jnp.arange(cells, dtype=low.dtype).reshape(*shape, cells, 1)
    inner = (jnp.arange(ratio, dtype=low.dtype) + 0.5).reshape(*shape, 1, ratio)
    return low + cell * size + inner * size / ratio


@functools.partial(jax.jit, static_argnames="reduction")
def pool_samples(
    maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array, reduction: str = "mean"
) -> jax.Array:
    """Means over bilinear samples, or maxima over their weighted corners, of shape (K, P, Q, C).

    Args:
      maps: one map of shape (H, W, C), several, or one of shape (P, Q, H, W, C), of which each cell
        has its own.
      level: for several maps, the one that each of the K boxes reads.
      ys: places of samples along H, of shape (K, P, 1 or Q, S).
      xs: places of samples along W, of shape (K, 1 or P, Q, S).
      reduction: "mean" or "max".
    """
    return (_mean if reduction == "mean" else _max)(maps, level, ys, xs)


@jax.custom_jvp
def _mean(maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array) -> jax.Array:
    return lax.platform_dependent(
        maps, level, ys, xs, tpu=_mean_by_matrices, default=_mean_by_gathering
    )


@functools.partial(_mean.defjvp, symbolic_zeros=True)
def _mean_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The tangent of the form by matrices, which transposes to products of matrices."""
    maps, level, ys, xs = primals
    by_matrices = functools.partial(_mean_by_matrices, contain=False)
    tangent = _jvp(
        lambda maps, ys, xs: by_matrices(maps, level, _known(ys), _known(xs)),
        (maps, ys, xs),
        (tangents[0], tangents[2], tangents[3]),
    )
    return _mean(*primals), _without_unknown(tangent, ys, xs)


def _known(t: jax.Array) -> jax.Array:
    """Places with none that is NaN, where those that were NaN are outside of any map.

    A NaN among the weights would reach all of the gradient in the map: 0 * NaN is NaN.
    """
    return jnp.where(t == t, t, np.array(-2, t.dtype))


def _without_unknown(tangent: jax.Array, ys: jax.Array, xs: jax.Array) -> jax.Array:
    """0 for cells that lie nowhere: what is handed back to them, NaN as they are, is not used."""
    unknown = jnp.any(ys != ys, -1) | jnp.any(xs != xs, -1)
    return jnp.where(unknown[..., None], np.zeros((), tangent.dtype), tangent)


def _jvp(function: Callable, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> jax.Array:
    """The tangent of ``function(*primals)``, not computing with tangents that are known to be 0."""
    leaves, tree = jax.tree.flatten(primals)
    directions = jax.tree.leaves(tangents)
    zero = [isinstance(t, jax.custom_derivatives.SymbolicZero) for t in directions]

    def of_the_rest(*moving: jax.Array) -> jax.Array:
        rest = iter(moving)
        every = [x if z else next(rest) for x, z in zip(leaves, zero, strict=True)]
        return function(*jax.tree.unflatten(tree, every))

    point = tuple(x for x, z in zip(leaves, zero, strict=True) if not z)
    direction = tuple(t for t, z in zip(directions, zero, strict=True) if not z)
    return jax.jvp(of_the_rest, point, direction)[1]


# --- by gathering -------------------------------------------------------------------------------


def _mean_by_gathering(
    maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array
) -> jax.Array:
    rows = _rows(maps)

    def add(total: jax.Array, _: Any, place: jax.Array, weight: jax.Array) -> jax.Array:
        weight = weight[..., None]
        # What has no weight is not read: 0 * NaN is NaN.
        return total + jnp.where(weight != 0, weight * _take(rows, place), np.zeros((), rows.dtype))

    places, weights = _corners(maps, level, ys, xs)
    total = jnp.zeros((*_cells(ys, xs), rows.shape[-1]), rows.dtype)
    return _fold_corners(add, total, places, weights) / (ys.shape[-1] * xs.shape[-1])


def _cells(ys: jax.Array, xs: jax.Array) -> tuple[Any, ...]:
    return ys.shape[0], ys.shape[1], xs.shape[2]


def _rows(maps: Maps) -> jax.Array:
    """All pixels of all maps, of shape (N, C)."""
    rows = [x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) for x in maps]
    return rows[0] if len(rows) == 1 else jnp.concatenate(rows)


def _take(rows: jax.Array, place: jax.Array) -> jax.Array:
    return rows.at[place].get(mode="clip", wrap_negative_indices=False)


Corners = tuple[list[jax.Array], list[jax.Array]]


def _corners(
    maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array
) -> tuple[Corners, Corners]:
    """Parts of rows' numbers, and of weights, for the two corners of each sample: along H, W."""
    height, width = maps[0].shape[-3:-1]
    first: Any = 0  # number of the row in which the cell's map begins
    if level is not None:
        sizes = [x.shape[-3] * x.shape[-2] for x in maps]
        starts = itertools.accumulate(sizes[:-1], initial=0)
        height, width, first = (
            jnp.stack([jnp.asarray(n, np.int32) for n in numbers])[level].reshape(-1, 1, 1, 1)
            for numbers in ([x.shape[-3] for x in maps], [x.shape[-2] for x in maps], starts)
        )
    elif maps[0].ndim == 5:
        p, q = maps[0].shape[:2]
        first = jnp.arange(p * q, dtype=np.int32).reshape(1, p, q, 1) * (height * width)
    (rows, row_weights), (columns, column_weights) = _ends(ys, height), _ends(xs, width)
    places = _split(rows * width + first), _split(columns)
    return places, (_split(row_weights), _split(column_weights))


def _split(x: jax.Array) -> list[jax.Array]:
    return [x[..., i] for i in range(x.shape[-1])]


def _ends(t: jax.Array, length: Any) -> tuple[jax.Array, jax.Array]:
    """The two pixels around each sample, and their weights, along the last axis of `t`."""
    outside, t = _clamped(t, length)
    low = jnp.minimum(jnp.floor(t).astype(np.int32), length - 1)
    high = jnp.minimum(low + 1, length - 1)
    part = t - low.astype(t.dtype)
    places = jnp.concatenate([low, high], -1)
    weights = jnp.concatenate([1 - part, part], -1)
    outside = jnp.concatenate([outside, outside], -1)
    return places, jnp.where(outside, np.zeros((), t.dtype), weights)


def _clamped(t: jax.Array, length: Any) -> tuple[jax.Array, jax.Array]:
    """Which samples count as 0, being more than a pixel away, and where the others are taken."""
    length = jnp.asarray(length, t.dtype)
    return (t < -1) | (t > length), jnp.minimum(jnp.maximum(t, 0), length - 1)


def _fold_corners(step: Callable, carry: Any, places: Corners, weights: Corners) -> Any:
    """``step(carry, number, place, weight)`` for each pair of a row and a column."""
    rows, columns = places
    count = len(rows) * len(columns)
    if count <= _UNROLLED_CORNERS:
        for number, (i, j) in enumerate(itertools.product(range(len(rows)), range(len(columns)))):
            place, weight = rows[i] + columns[j], weights[0][i] * weights[1][j]
            carry = step(carry, np.int32(number), place, weight)
        return carry
    stacks = (
        jax.tree.map(lambda *xs: jnp.stack(xs), *zip(rows, weights[0], strict=True)),
        (
            jnp.stack(columns),
            jnp.stack(weights[1]),
        ),
    )

    def body(number: jax.Array, carry: Any) -> Any:
        i, j = number // len(columns), number % len(columns)
        row, row_weight = (part[i] for part in stacks[0])
        column, column_weight = (part[j] for part in stacks[1])
        return step(carry, number, row + column, row_weight * column_weight)

    carry = settled(functools.partial(body, jnp.int32(0)), carry)
    return lax.fori_loop(np.int32(0), np.int32(count), body, carry)


# --- by matrices --------------------------------------------------------------------------------


def _mean_by_matrices(
    maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array, *, contain: bool = True
) -> jax.Array:
    form = weighted_sum if contain else _product_of_finite
    parts = []
    for number, x in enumerate(maps):
        rows, columns = _mean_hats(ys, x.shape[-3]), _mean_hats(xs, x.shape[-2])
        if level is not None:
            here = (level == number).reshape(-1, 1, 1, 1)
            rows = jnp.where(here, rows, np.zeros((), rows.dtype))
        parts.append(form(x, rows, columns))
    return functools.reduce(lax.add, parts)


def _mean_hats(t: jax.Array, length: Any) -> jax.Array:
    """Mean weights of `length` pixels over the samples on the last axis of `t`."""
    outside, t = _clamped(t, length)
    pixel = jnp.arange(length, dtype=t.dtype).reshape((1,) * t.ndim + (length,))
    hat = hats(t[..., None], pixel)
    return jnp.mean(jnp.where(outside[..., None], np.zeros((), t.dtype), hat), -2)


def hats(t: jax.Array, pixel: jax.Array) -> jax.Array:
    """The weight of each pixel at t.

    Where t is on a pixel, the derivatives of min and max are the means of both sides'.
    """
    distance = t - pixel
    return jnp.maximum(jnp.minimum(1 + distance, 1 - distance), 0)


@jax.jit
def weighted_sum(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """``sum_hw rows[k,p,q,h] columns[k,p,q,w] x[h,w,c]``, of shape (K, P, Q, C).

    The q of `rows` and the p of `columns` may be 1, and x may be of shape (P, Q, H, W, C). Weights
    are not negative. An infinity or NaN in x reaches only cells in which it has a weight.
    """
    y = _product_of_finite(x, rows, columns)
    # Outside of the loop, of which JAX up to 0.10.1 takes no second derivative, not even one of 0.
    fixed, *weights = lax.stop_gradient((x, rows, columns))

    def spread(state: Any) -> Any:
        """What is not finite, in cells that it has a weight in; else 0."""
        _, dirty = state
        by_rows, by_columns = ((weight != 0).astype(x.dtype) for weight in weights)
        zero = np.zeros((), x.dtype)
        unfinite = zero
        for infinity in (np.inf, -np.inf):
            # `dirty` is True. XLA computes what does not depend on the state ahead of the loop.
            here = dirty & ((fixed == infinity) | (fixed != fixed))
            found = _product(here.astype(x.dtype), by_rows, by_columns)
            unfinite = unfinite + jnp.where(found > 0, np.array(infinity, x.dtype), zero)
        return unfinite, dirty & np.False_

    dirty = jnp.any(~jnp.isfinite(fixed))
    # A loop of no or one round, since vmap makes both branches of a conditional run.
    nothing = jnp.zeros_like(lax.stop_gradient(y))
    state = settled(spread, (nothing, dirty))
    unfinite, _ = lax.while_loop(lambda state: state[1], spread, state)
    return y + unfinite


def _product_of_finite(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    return _product(finite(x), rows, columns)


def _product(x: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """`weighted_sum` of finite x: first over h, then over w, some boxes at once."""
    if rows.shape[2] == columns.shape[1] == 1:
        rows, columns = rows[:, :, 0], columns[:, 0]
        a, b = "ph", "qw"
    else:
        a, b = "pqh", "pqw"
    between = "pwc" if a == "ph" and x.ndim == 3 else "pqwc"
    first = f"{a},{'hwc' if x.ndim == 3 else 'pqhwc'}->{between}"
    second = f"{b},{between}->pqc"

    def of_box(weights: tuple[jax.Array, jax.Array]) -> jax.Array:
        partial = jnp.einsum(first, weights[0], x, precision=lax.Precision.HIGHEST)
        return jnp.einsum(second, weights[1], partial, precision=lax.Precision.HIGHEST)

    # The backward pass is to keep the weights, and not what lies between the products.
    of_box = jax.checkpoint(of_box)
    size = {
        **dict(zip(a, rows.shape[1:], strict=True)),
        **dict(zip(b, columns.shape[1:], strict=True)),
    }
    elements = math.prod(size[letter] for letter in between[:-1]) * x.shape[-1]
    at_once = rows.shape[0]
    if isinstance(elements, int) and isinstance(at_once, int):
        # A power of 2, and as many in the last round: for TPUs, rounds of 18 with 8 left over take
        # 10 s to compile, and rounds of 16 0.7.
        at_once = 2 ** (max(_ELEMENTS_AT_ONCE // max(elements, 1), 1).bit_length() - 1)
        if at_once < rows.shape[0]:
            while at_once > 8 and -rows.shape[0] % at_once > rows.shape[0] // 8:
                at_once //= 2  # else up to half of all rounds would be of no box
            parts = [
                pad(0, (0, -part.shape[0] % at_once), part, 0).reshape(-1, at_once, *part.shape[1:])
                for part in (rows, columns)
            ]
            found = lax.map(lambda part: jax.vmap(of_box)(tuple(part)), parts)
            found = found.reshape(-1, *found.shape[2:])
            return lax.slice_in_dim(found, 0, rows.shape[0], 1, 0)
    return jax.vmap(of_box)((rows, columns))


# --- maxima -------------------------------------------------------------------------------------


@jax.custom_jvp
def _max(maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array) -> jax.Array:
    return _largest_corner(maps, level, ys, xs)[0]


@functools.partial(_max.defjvp, symbolic_zeros=True)
def _max_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    maps, level, ys, xs = primals
    y, winner = _largest_corner(*lax.stop_gradient(primals))

    def won(maps: Maps, ys: jax.Array, xs: jax.Array) -> jax.Array:
        """The largest corner, as a differentiable function, given which one it is."""
        rows = _rows(maps)

        def choose(chosen: Any, number: Any, place: jax.Array, weight: jax.Array) -> Any:
            here = winner == number
            shape = winner.shape[:-1]
            return (
                jnp.where(here, jnp.broadcast_to(place, shape)[..., None], chosen[0]),
                jnp.where(here, jnp.broadcast_to(weight, shape)[..., None], chosen[1]),
            )

        nothing = jnp.zeros(winner.shape, np.int32), jnp.zeros(winner.shape, rows.dtype)
        place, weight = _fold_corners(
            choose, nothing, *_corners(maps, level, _known(ys), _known(xs))
        )
        found = pick(rows, place)
        # As in the value, what has no weight is not read.
        return weight * jnp.where(weight != 0, found, np.zeros((), found.dtype))

    tangent = _jvp(won, (maps, ys, xs), (tangents[0], tangents[2], tangents[3]))
    return _max(*primals), _without_unknown(tangent.astype(y.dtype), ys, xs)


def _largest_corner(
    maps: Maps, level: jax.Array | None, ys: jax.Array, xs: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The largest product of a corner and its weight in each cell, and the number of the corner."""
    rows = _rows(maps)

    def larger(best: Any, number: Any, place: jax.Array, weight: jax.Array) -> Any:
        weight = weight[..., None]
        product = jnp.where(weight != 0, weight * _take(rows, place), np.zeros((), rows.dtype))
        take = (product > best[0]) | (product != product)
        return jnp.where(take, product, best[0]), jnp.where(take, number, best[1])

    shape = (*_cells(ys, xs), rows.shape[-1])
    lowest = jnp.full(shape, lowest_value(rows.dtype)), jnp.zeros(shape, np.int32)
    return _fold_corners(larger, lowest, *_corners(maps, level, ys, xs))


Intervals = tuple[jax.Array, jax.Array]  # starts and stops, both of shape (K, cells)


@jax.jit
def interval_max(x: jax.Array, rows: Intervals, columns: Intervals) -> jax.Array:
    """Maxima of rectangles of x, of shape (K, P, Q, C); 0 where a rectangle is empty."""
    return _interval_max(x, rows, columns)


@jax.custom_jvp
def _interval_max(x: jax.Array, rows: Intervals, columns: Intervals) -> jax.Array:
    return _interval_argmax(x, rows, columns)[0]


@_interval_max.defjvp
def _interval_max_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, rows, columns = primals
    _, place = _interval_argmax(lax.stop_gradient(x), rows, columns)
    tangent = pick(_rows((tangents[0],)), jnp.maximum(place, 0))
    tangent = jnp.where(place >= 0, tangent, np.zeros((), tangent.dtype))
    return _interval_max(*primals), tangent


def _interval_argmax(
    x: jax.Array, rows: Intervals, columns: Intervals
) -> tuple[jax.Array, jax.Array]:
    """Maxima and the numbers of their pixels, -1 where there is none.

    All rectangles are walked at once, in row-major order, each up to its own end.
    """
    pixels, width = _rows((x,)), x.shape[1]
    top, bottom = (edge[:, :, None] for edge in rows)
    left, right = (edge[:, None, :] for edge in columns)
    tallest, widest = jnp.max(bottom - top, initial=0), jnp.max(right - left, initial=0)

    def step(state: Any) -> Any:
        i, j, best, picked = state
        inside = (top + i < bottom) & (left + j < right)
        place = (top + i) * width + (left + j)
        element = _take(pixels, place)
        take = inside[..., None] & ((element > best) | (element != element))
        best = jnp.where(take, element, best)
        picked = jnp.where(take, place[..., None], picked)
        last = j + 1 >= widest
        return jnp.where(last, i + 1, i), jnp.where(last, 0, j + 1), best, picked

    shape = (*jnp.broadcast_shapes(top.shape, left.shape), pixels.shape[-1])
    empty = ((bottom <= top) | (right <= left))[..., None]
    first = jnp.broadcast_to(jnp.where(empty, -1, (top * width + left)[..., None]), shape)
    start = jnp.int32(0), jnp.int32(0), jnp.full(shape, lowest_value(x.dtype)), first
    more = lambda state: (state[0] < tallest) & (widest > 0)  # noqa: E731
    _, _, best, picked = lax.while_loop(more, step, settled(step, start))
    return jnp.where(empty, np.zeros((), x.dtype), best), picked


def pick(rows: jax.Array, place: jax.Array) -> jax.Array:
    """``rows[place[..., c], c]``, whose transpose adds up without a scatter on GPUs.

    It is written as the transpose of adding up, which `max_unpool` knows how to do everywhere.
    """
    count, channels = math.prod(place.shape[:-1]), place.shape[-1]
    if isinstance(count, int) and count == 0:  # of nothing there is no element to gather
        return jnp.zeros(place.shape, rows.dtype)
    places = place.reshape(count, channels).T

    def add_up(g: jax.Array) -> jax.Array:
        return unpool_planes(g, places, rows.shape[0], "add")

    # An array, since what is handed back varies over the same axes of a mesh as what is picked.
    rows, places, like = varying_alike(rows, places, jnp.zeros(places.shape, rows.dtype))
    (picked,) = jax.linear_transpose(add_up, like)(rows.T)
    return picked.T.reshape(place.shape)
