"""Maxima of intervals, and which element each of them is."""

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisIntervals
from jaxpool._src.lowering.folds import fold
from jaxpool._src.lowering.interval_trees import pays, take_along
from jaxpool._src.lowering.intervals import (
    MOST_ROWS,
    Bounds,
    are_drawn_windows,
    cut_elements,
    each_element,
    fold_intervals,
    form_of,
    in_blocks,
    in_parts,
    interval_fold,
    joined,
    of_drawn_windows,
    slice_of,
    total_of,
)
from jaxpool._src.lowering.max import window_max
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.windows import (
    Windows,
    along,
    lowest_value,
    materialized,
    materialized_on_cpus,
    numbered,
)


@functools.partial(jax.jit, static_argnames=("axis", "geometry"))
def interval_max(
    x: jax.Array, valid: jax.Array | None, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> tuple[jax.Array, jax.Array | None]:
    """Maximum of each interval along `axis`, and whether it has a valid element.

    `x` holds the lowest value where it is not valid. The gradient goes to the first maximum, or to
    the last NaN.
    """
    if are_drawn_windows(bounds, geometry):

        def largest(windows: Windows) -> Any:
            some = None if valid is None else fold(valid, windows, operator.or_, False)
            return window_max(x, valid, windows), some

        return of_drawn_windows(largest, bounds, axis, geometry)
    y = _max(x, valid, bounds, axis, geometry)
    if valid is None:
        return y, None
    return y, interval_fold(valid, operator.or_, False, bounds, axis, geometry)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _max(
    x: jax.Array, valid: jax.Array | None, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> jax.Array:
    return _picked(x, valid, bounds, axis, geometry)[0]


@_max.defjvp
def _max_jvp(
    axis: int, geometry: AxisIntervals, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid, bounds = primals
    pick = functools.partial(_values_and_picks, axis=axis, geometry=geometry)
    y, picked = lax.platform_dependent(
        lax.stop_gradient(x),
        valid,
        bounds,
        cpu=functools.partial(materialized, pick),
        default=pick,
    )
    y = _with_picked(x, y, picked, axis, geometry)
    return y, _tangent(tangents[0], picked, axis, geometry)


def _values_and_picks(
    x: jax.Array, valid: jax.Array | None, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> tuple[jax.Array, jax.Array]:
    y, _, picked = _picked(x, valid, bounds, axis, geometry)
    return y, picked


@functools.partial(jax.custom_jvp, nondiff_argnums=(3, 4))
def _with_picked(
    x: jax.Array, y: jax.Array, picked: jax.Array, axis: int, geometry: AxisIntervals
) -> jax.Array:
    """`y`, the maximum of x, with the derivative that the `picked` elements say."""
    del x, picked, axis, geometry
    return y


@_with_picked.defjvp
def _with_picked_jvp(
    axis: int, geometry: AxisIntervals, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, y, picked = primals
    tangent = _tangent(tangents[0], picked, axis, geometry)
    return _with_picked(x, y, picked, axis, geometry), tangent


def _tangent(
    tangent: jax.Array, picked: jax.Array, axis: int, geometry: AxisIntervals
) -> jax.Array:
    """`pick_elements`, of which the backward pass keeps `picked` and not the masks made of it."""
    sizes: Any = ((axis, _Whole(tangent.shape[axis], picked.shape[axis])),)
    return LinearMap(_forms_of_tangent, sizes, (geometry,))(tangent, picked, tangent)


@dataclasses.dataclass(frozen=True)
class _Whole:
    """The sizes of an axis and of its intervals."""

    length: int
    output: int


def _forms_of_tangent(
    platform: str, windows: Any, geometry: AxisIntervals, *, several: bool
) -> tuple[Callable, Callable]:
    ((axis, _),) = windows
    to_transpose = functools.partial(pick_elements, axis=axis, geometry=geometry)

    def fetch(axis: int, x: jax.Array, picked: jax.Array) -> jax.Array:
        where = {"mode": "fill", "fill_value": 0}
        return jnp.take_along_axis(x, picked.astype(np.int32), axis, **where)

    if platform == "cpu" and not several:
        return lambda x, picked: in_parts(fetch, axis, geometry, x, picked), to_transpose
    return to_transpose, to_transpose


@jax.custom_jvp
def with_tangent_apart(x: jax.Array) -> jax.Array:
    """`x`, whose gradient is an array in memory, and not computed once per use of it."""
    return x


@with_tangent_apart.defjvp
def _with_tangent_apart_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return with_tangent_apart(*primals), materialized_on_cpus(lambda tangent: tangent, tangents[0])


@functools.partial(jax.jit, static_argnames=("axis", "geometry"))
def interval_argmax(
    x: jax.Array, valid: jax.Array | None, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    """As `interval_max`, and which element each interval picks, counted within its part."""
    if are_drawn_windows(bounds, geometry):
        place = numbered(axis, geometry.length, x.ndim)
        pick = functools.partial(fold, (x, valid, place), combine=_pick, identity=None)
        y, filled, picked = of_drawn_windows(pick, bounds, axis, geometry)
        return y, filled, jnp.broadcast_to(picked, y.shape)
    return _picked(x, valid, bounds, axis, geometry)


def _picked(
    x: jax.Array, valid: jax.Array | None, bounds: Bounds, axis: int, geometry: AxisIntervals
) -> tuple[jax.Array, jax.Array | None, jax.Array]:
    n = geometry.length
    dtype = np.uint8 if n <= 2**8 else np.uint16 if n <= 2**16 else np.uint32
    masked = valid is not None

    def run(axis: int, x: jax.Array, valid: jax.Array | None) -> Any:
        form = form_of(geometry)
        if valid is None and not (geometry.exact and form == "elements"):
            # Or what lies outside an interval would be as good as -inf in it.
            valid = jnp.ones([1] * axis + [n] + [1] * (x.ndim - axis - 1), bool)
        place = along(jnp.arange(n, dtype=dtype), axis, x.ndim)
        identity = (lowest_value(x.dtype), None if valid is None else False, dtype(0))
        identity = jax.tree.map(lambda c, e: np.asarray(e, c.dtype), (x, valid, place), identity)
        y, filled, picked = fold_intervals(
            (x, valid, place), _pick, identity, bounds, axis, geometry
        )
        return y, filled if masked else None, jnp.broadcast_to(picked, y.shape)

    return in_parts(run, axis, geometry, x, valid)


def _pick(a: Any, b: Any) -> Any:
    """The first of two elements, or the second if it is larger or NaN."""
    (x, x_valid, x_place), (y, y_valid, y_place) = a, b
    take = (y > x) | (y != y)
    if x_valid is not None:
        take = take | ~x_valid  # what is not valid holds the lowest value
    valid = None if x_valid is None else x_valid | y_valid
    return jnp.where(take, y, x), valid, jnp.where(take, y_place, x_place)


@functools.partial(jax.jit, static_argnames=("axis", "geometry"))
def pick_elements(x: jax.Array, picked: jax.Array, axis: int, geometry: AxisIntervals) -> jax.Array:
    """The element of `x` that is `picked` in each interval along `axis`: linear in x."""
    zero, form = np.zeros((), x.dtype), form_of(geometry)

    def chosen(x: jax.Array, picked: jax.Array, elements: range, axis: int) -> jax.Array:
        """Those of `elements`, which is where `x` is from; compared with each of `picked`."""

        def place(axis: int, ndim: int) -> jax.Array:
            shape = [len(elements) if i == axis else 1 for i in range(ndim)]
            number = lax.broadcasted_iota(picked.dtype, shape, axis)
            return number + np.array(elements.start, picked.dtype)

        if picked.shape[axis] == 1:
            hit = picked == place(axis, x.ndim)
            return jnp.sum(jnp.where(hit, x, zero), axis, x.dtype, keepdims=True)
        hit = jnp.expand_dims(picked, axis + 1) == place(axis + 1, x.ndim + 1)
        return jnp.sum(jnp.where(hit, jnp.expand_dims(x, axis), zero), axis + 1, x.dtype)

    def run(axis: int, x: jax.Array, picked: jax.Array) -> jax.Array:
        everything = range(geometry.length)
        if len(geometry.hulls) <= MOST_ROWS:
            # The transpose is one loop over x, with as many comparisons as there are intervals.
            return joined(
                [chosen(x, p, everything, axis) for p in each_element(picked, axis)], axis
            )
        if form == "masks":
            compared = functools.partial(chosen, elements=everything, axis=axis)
            if not pays(geometry.length, geometry.output):
                return compared(x, picked)
            taken = functools.partial(take_along, axis=axis)
            return lax.platform_dependent(x, picked, cpu=taken, default=compared)
        if form == "blocks":
            blocks = in_blocks(geometry, None, axis)
            cut = cut_elements(x, [elements for _, elements, *_ in blocks], axis)
            parts = [
                chosen(c, slice_of(picked, intervals, axis), elements, axis)
                for c, (intervals, elements, *_) in zip(cut, blocks, strict=True)
            ]
            return joined(parts, axis)
        each = each_element(x, axis)
        sums = []
        for p, hull in zip(each_element(picked, axis), geometry.hulls, strict=True):
            terms = [jnp.where(p == picked.dtype.type(i), each[i], zero) for i in hull]
            sums.append(total_of(terms) if terms else jnp.zeros_like(each[0]))
        return joined(sums, axis)

    return in_parts(run, axis, geometry, x, picked)
