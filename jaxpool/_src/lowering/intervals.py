"""How intervals along axes become XLA programs: sums, maxima and folds, one axis at a time.

The geometry of an axis decides on one of three forms:

- "elements" cuts the axis into its elements and combines those of each interval one after the
  other. Its transpose is as good: each element's gradient is put together from its intervals.
- "blocks" takes slices with one or some intervals each, and reduces a slice as a whole or by masks.
  For axes so long that "elements" would take long to compile.
- "masks" compares each interval with each element. For bounds that are known only to the program.

None has a gather or scatter. No product with 0 is ever taken, so that NaN stays in its intervals.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisIntervals
from jaxpool._src.lowering.folds import fold_whole_axis
from jaxpool._src.lowering.interval_trees import fold_by_tree, pays, sum_by_tree
from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.strips import at_starts, split_parts
from jaxpool._src.lowering.windows import (
    Windows,
    along,
    materialized_on_cpus,
    numbered,
    taps_at,
    window_sum,
)

# Starts and stops of the rank of x, as long as there are intervals on their axis; None if all are
# known from the geometry.
Bounds = tuple[jax.Array, jax.Array] | None

# A condition on elements, intervals or both; None if it always holds.
Condition = Any

# Programs are written out element by element for so many elements of intervals. A sum takes less
# code than a maximum, and windows at places that the program draws have a shorter form.
_MOST_TERMS, _MOST_TERMS_OF_SUMS, _MOST_TERMS_OF_DRAWN_WINDOWS = 192, 512, 64
_MOST_BLOCKS = 8
MOST_ROWS = 3
_MOST_STEPS = 32


def form_of(geometry: AxisIntervals, most_terms: int = _MOST_TERMS) -> str:
    terms = sum(len(hull) for hull in geometry.hulls)
    if max(geometry.length, terms) <= most_terms:
        return "elements"
    known = 2 * terms <= geometry.length * len(geometry.hulls)
    return "blocks" if known or (geometry.exact and len(geometry.hulls) == 1) else "masks"


def in_blocks(
    geometry: AxisIntervals, bounds: Bounds, axis: int
) -> list[tuple[range, range, str, AxisIntervals, Bounds]]:
    """Intervals with the elements that may be in them, and what there is to do within."""
    count = len(geometry.starts)
    size = -(-count // _MOST_BLOCKS)
    found = []
    for first in range(0, count, size):
        chosen = range(first, min(first + size, count))
        hulls = [geometry.hulls[i] for i in chosen if geometry.hulls[i]] or [range(1)]
        low, high = min(hull.start for hull in hulls), max(hull.stop for hull in hulls)
        starts, stops = (
            tuple((bound[i][0] - low, bound[i][1] - low) for i in chosen)
            for bound in (geometry.starts, geometry.stops)
        )
        part = AxisIntervals(high - low, starts, stops)
        whole = len(chosen) == 1 and part.exact and len(part.hulls[0]) == part.length
        inner = None
        if bounds is not None:
            start, stop = (
                lax.slice_in_dim(bound, chosen.start, chosen.stop, 1, axis) - np.int32(low)
                for bound in bounds
            )
            inner = (start, stop)
        form = "whole" if whole else "masks"
        found.append((chosen, range(low, high), form, part, inner))
    return found


def in_parts(function: Callable, axis: int, geometry: AxisIntervals, *trees: Any) -> Any:
    """``function(axis, *trees)`` with the parts of the axis that repeat on an axis of their own."""
    if geometry.repeats == 1:
        return function(axis, *trees)

    def split(x: jax.Array) -> jax.Array:
        return split_parts(x, axis, geometry.repeats)

    def join(x: jax.Array) -> jax.Array:
        size = geometry.repeats * x.shape[axis + 1]
        return x.reshape(*x.shape[:axis], size, *x.shape[axis + 2 :])

    return jax.tree.map(join, function(axis + 1, *jax.tree.map(split, trees)))


def each_element(x: Any, axis: int) -> list[Any]:
    """`x`, a tree, cut into slices of size 1."""
    leaves, tree = jax.tree.flatten(x)
    cut = [lax.split(leaf, [1] * leaf.shape[axis], axis) for leaf in leaves]
    return [jax.tree.unflatten(tree, parts) for parts in zip(*cut, strict=True)]


def _insides(geometry: AxisIntervals, bounds: Bounds, axis: int) -> list[list[Condition]]:
    """For each interval and each element of its hull, whether the element is inside."""
    if bounds is None:
        return [[None] * len(hull) for hull in geometry.hulls]
    starts, stops = (each_element(bound, axis) for bound in bounds)
    found = []
    for i, hull in enumerate(geometry.hulls):
        (_, sure_from), (sure_to, _) = geometry.starts[i], geometry.stops[i]
        conditions = []
        for place in hull:
            tests = []
            if place < sure_from:
                tests.append(starts[i] <= place)
            if place >= sure_to:
                tests.append(stops[i] > place)
            conditions.append(functools.reduce(operator.and_, tests) if tests else None)
        found.append(conditions)
    return found


def mask_of(geometry: AxisIntervals, bounds: Bounds, axis: int, ndim: int) -> jax.Array:
    """Whether each element, on `axis` + 1, lies in each interval, on `axis`."""
    place = numbered(axis + 1, geometry.length, ndim + 1)
    if bounds is None:
        starts, stops = (
            along(np.array([low for low, _ in bound], np.int32), axis, ndim + 1)
            for bound in (geometry.starts, geometry.stops)
        )
        return (place >= starts) & (place < stops)
    starts, stops = (jnp.expand_dims(bound, axis + 1) for bound in bounds)
    return (starts <= place) & (place < stops)


def slice_of(x: jax.Array, where: range, axis: int) -> jax.Array:
    return lax.slice_in_dim(x, where.start, where.stop, 1, axis)


def cut_elements(tree: Any, ranges: Sequence[range], axis: int) -> list[Any]:
    """Slices of each leaf along `axis`, which may overlap.

    They are put together from pieces, so that the transpose is put together from pieces too, and is
    no sum of as many arrays as there are slices.
    """
    ends = sorted({end for where in ranges for end in (where.start, where.stop)})

    def cut(x: jax.Array) -> list[jax.Array]:
        edges = sorted({0, *ends, x.shape[axis]})
        sizes = [high - low for low, high in itertools.pairwise(edges)]
        pieces = dict(zip(edges, lax.split(x, sizes, axis), strict=False))
        chosen = [[p for edge, p in pieces.items() if edge in where] for where in ranges]
        return [p[0] if len(p) == 1 else lax.concatenate(p, axis) for p in chosen]

    leaves, structure = jax.tree.flatten(tree)
    parts = zip(*map(cut, leaves), strict=True)
    return [jax.tree.unflatten(structure, part) for part in parts]


def joined(parts: Sequence[jax.Array], axis: int) -> jax.Array:
    """Parts along `axis`, one after the other; of size 1 elsewhere where all are."""
    outer = [(*part.shape[:axis], 1, *part.shape[axis + 1 :]) for part in parts]
    shape = lax.broadcast_shapes(*outer)
    full = [(*shape[:axis], part.shape[axis], *shape[axis + 1 :]) for part in parts]
    return lax.concatenate(
        [jnp.broadcast_to(part, s) for part, s in zip(parts, full, strict=True)], axis
    )


def total_of(terms: list[jax.Array]) -> jax.Array:
    """Sum of all terms, by halves: that rounds less than one after the other."""
    while len(terms) > 1:
        pairs = [a + b for a, b in zip(terms[::2], terms[1::2], strict=False)]
        terms = pairs + terms[2 * len(pairs) :]
    return terms[0]


@functools.partial(jax.jit, static_argnames=("axis", "geometry"))
def interval_sum(x: jax.Array, bounds: Bounds, axis: int, geometry: AxisIntervals) -> jax.Array:
    """Sum of each interval along `axis`."""
    if are_drawn_windows(bounds, geometry):
        return of_drawn_windows(lambda windows: window_sum(x, windows), bounds, axis, geometry)
    form = form_of(geometry, _MOST_TERMS_OF_SUMS)

    def run(axis: int, x: jax.Array) -> jax.Array:
        if form == "elements" and geometry.window is not None:
            return _window_sum(x, axis, geometry)
        by_form = functools.partial(_sum, axis=axis, geometry=geometry, form=form)
        if bounds is None or form != "masks" or not pays(geometry.length, geometry.output):
            return by_form(x, bounds)
        # Gathers, whose transposes are scatters: these are quick on CPUs alone.
        by_tree = functools.partial(sum_by_tree, axis=axis)
        return lax.platform_dependent(x, bounds, cpu=by_tree, default=by_form)

    return in_parts(run, axis, geometry, x)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1, 2))
def _window_sum(x: jax.Array, axis: int, geometry: AxisIntervals) -> jax.Array:
    """The sum of slices, each with one element of each interval: one loop for all axes.

    The transpose of these is slow, that of "elements" is not.
    """
    w = geometry.window
    assert w is not None
    return total_of([taps_at(x, ((axis, w),), (tap,)) for tap in range(w.window)])


@_window_sum.defjvp
def _window_sum_jvp(
    axis: int, geometry: AxisIntervals, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    tangent = _sum(tangents[0], None, axis, geometry, "elements")
    return _window_sum(*primals, axis, geometry), tangent


def _sum(x: jax.Array, bounds: Bounds, axis: int, geometry: AxisIntervals, form: str) -> jax.Array:
    zero = np.zeros((), x.dtype)
    if form == "whole":
        return jnp.sum(x, axis, x.dtype, keepdims=True)
    if form == "masks":
        mask = mask_of(geometry, bounds, axis, x.ndim)
        return jnp.sum(jnp.where(mask, jnp.expand_dims(x, axis), zero), axis + 1, x.dtype)
    if form == "blocks":
        blocks = in_blocks(geometry, bounds, axis)
        cut = cut_elements(x, [elements for _, elements, *_ in blocks], axis)
        parts = [
            _sum(c, inner, axis, part, form)
            for c, (*_, form, part, inner) in zip(cut, blocks, strict=True)
        ]
        return joined(parts, axis)
    elements = each_element(x, axis)
    sums = []
    for hull, insides in zip(geometry.hulls, _insides(geometry, bounds, axis), strict=True):
        terms = [
            elements[place] if inside is None else jnp.where(inside, elements[place], zero)
            for place, inside in zip(hull, insides, strict=True)
        ]
        sums.append(total_of(terms) if terms else jnp.zeros_like(elements[0]))
    return joined(sums, axis)


def interval_fold(
    carrier: Any,
    combine: Callable[[Any, Any], Any],
    identity: Any,
    bounds: Bounds,
    axis: int,
    geometry: AxisIntervals,
) -> Any:
    """The elements of each interval along `axis`, combined in order."""

    def run(axis: int, carrier: Any) -> Any:
        return fold_intervals(carrier, combine, identity, bounds, axis, geometry)

    return in_parts(run, axis, geometry, carrier)


def fold_intervals(
    carrier: Any,
    combine: Callable[[Any, Any], Any],
    identity: Any,
    bounds: Bounds,
    axis: int,
    geometry: AxisIntervals,
) -> Any:
    """`interval_fold` within one of the parts that an axis consists of."""
    form = form_of(geometry)
    by_form = functools.partial(
        _fold_by_form, combine=combine, identity=identity, axis=axis, geometry=geometry, form=form
    )
    if bounds is None or form != "masks" or not pays(geometry.length, geometry.output):
        return by_form(carrier, bounds=bounds)

    def by_tree(carrier: Any, bounds: Any) -> Any:
        return fold_by_tree(carrier, combine, identity, bounds, axis)

    return lax.platform_dependent(
        carrier,
        bounds,
        cpu=by_tree,
        default=lambda carrier, bounds: by_form(carrier, bounds=bounds),
    )


def _fold_by_form(
    carrier: Any,
    combine: Callable[[Any, Any], Any],
    identity: Any,
    bounds: Bounds,
    axis: int,
    geometry: AxisIntervals,
    form: str,
) -> Any:
    def only(inside: Condition, c: Any) -> Any:
        if inside is None:
            return c
        return jax.tree.map(lambda c, e: jnp.where(inside, c, e), c, identity)

    if form == "whole":
        return fold_whole_axis(carrier, axis, combine, identity)
    if form == "masks":
        mask = mask_of(geometry, bounds, axis, jax.tree.leaves(carrier)[0].ndim)

        def element(place: Any) -> Any:
            inside = lax.dynamic_index_in_dim(mask, place, axis + 1, keepdims=False)
            found = jax.tree.map(lambda c: lax.dynamic_slice_in_dim(c, place, 1, axis), carrier)
            return only(inside, found)

        if geometry.length <= _MOST_STEPS:
            return functools.reduce(combine, map(element, range(geometry.length)))
        # Of the shape that combinations have, which may be larger than that of a leaf alone.
        shapes = jax.eval_shape(lambda: combine(element(0), element(0)))
        nothing = jax.tree.map(lambda s, e: jnp.full(s.shape, e, s.dtype), shapes, identity)
        steps = jnp.arange(geometry.length, dtype=np.int32)
        nothing = settled(lambda c: combine(c, element(np.int32(0))), nothing)
        return lax.scan(lambda c, i: (combine(c, element(i)), None), nothing, steps)[0]
    results = []
    if form == "blocks":
        blocks = in_blocks(geometry, bounds, axis)
        cut = cut_elements(carrier, [elements for _, elements, *_ in blocks], axis)
        for c, (*_, inner_form, part, inner) in zip(cut, blocks, strict=True):
            results.append(_fold_by_form(c, combine, identity, inner, axis, part, inner_form))
    else:
        each = each_element(carrier, axis)
        empty = jax.tree.map(jnp.full_like, each[0], identity)
        for hull, insides in zip(geometry.hulls, _insides(geometry, bounds, axis), strict=True):
            terms = [only(i, each[place]) for place, i in zip(hull, insides, strict=True)]
            results.append(functools.reduce(combine, terms) if terms else empty)
    return jax.tree.map(lambda *parts: joined(parts, axis), *results)


def is_long(geometry: AxisIntervals, bounds: Bounds) -> bool:
    """Whether known intervals, about as large as one another, are too many for "elements"."""
    sizes = set(map(len, geometry.hulls))
    known = bounds is None and len(geometry.hulls) > 1 and min(sizes) > 0
    return known and max(sizes) - min(sizes) <= 1 and form_of(geometry) != "elements"


def side_by_side(x: Any, axis: int, geometry: AxisIntervals) -> tuple[Any, AxisIntervals]:
    """`x`, a tree, in which known intervals lie side by side, and these intervals.

    They have one size; what a shorter one lacks is its last element again, which alters no maximum.
    """
    size, ranges = max(map(len, geometry.hulls)), []
    for hull in geometry.hulls:
        ranges += [hull, hull[-1:]] if len(hull) < size else [hull]

    def lay_out(x: jax.Array) -> jax.Array:
        return in_parts(
            lambda axis, x: lax.concatenate(cut_elements(x, ranges, axis), axis), axis, geometry, x
        )

    repeats = len(geometry.hulls) * geometry.repeats
    one = AxisIntervals(size, ((0, 0),), ((size, size),), repeats)
    return jax.tree.map(functools.partial(materialized_on_cpus, lay_out), x), one


def are_drawn_windows(bounds: Bounds, geometry: AxisIntervals) -> TypeGuard[tuple]:
    """Whether to take all windows of the intervals' sizes, and of these those where they start."""
    if geometry.sizes is None or bounds is None:
        return False
    return form_of(geometry, _MOST_TERMS_OF_DRAWN_WINDOWS) != "elements"


def of_drawn_windows(
    function: Callable[[Windows], Any], bounds: tuple, axis: int, geometry: AxisIntervals
) -> Any:
    """Of what `function` makes of all windows of a size, a tree, that of each interval."""
    start, stop = bounds
    found = None
    for size in geometry.sizes or ():
        every = function(((axis, geometry.every_window(size)),))
        here = jax.tree.map(lambda x: at_starts(x, start, axis, geometry), every)
        fits = stop - start == np.int32(size)
        found = (
            here
            if found is None
            else jax.tree.map(lambda a, b, fits=fits: jnp.where(fits, a, b), here, found)
        )
    return found
