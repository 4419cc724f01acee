"""How windows are summed with filters, passed tap by tap with a state, and picked from."""

import functools
import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.footprints import (
    Shaped,
    Windows,
    all_taps,
    as_mask,
    in_order,
    tap_numbers,
)
from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.tangent import tangent_of_taps
from jaxpool._src.lowering.weighted_blocks import padding_inside, sum_in_blocks
from jaxpool._src.lowering.windows import (
    all_of,
    are_known,
    inside,
    known,
    looped_numbers,
    numbered,
    pad_windows,
    taps_at,
    taps_of,
    unraveled,
    window_size,
)

# Up to this many taps are written out one by one; more run in a loop, so that programs stay small.
UNROLLED_TAPS = 64


Product = Callable[[jax.Array, jax.Array], jax.Array]


@jax.custom_jvp
def finite(x: jax.Array) -> jax.Array:
    """`x` with 0 for what is not finite, which would reach all sums: 0 * NaN is NaN."""
    return jnp.where(jnp.isfinite(x), x, np.zeros((), x.dtype))


@finite.defjvp
def _finite_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return finite(*primals), tangents[0]  # what a sum is linear in is x


@jax.custom_jvp
def read(x: jax.Array, weight: jax.Array) -> jax.Array:
    """``x * weight``, of which x is not read where its weight is 0.

    What is not finite gives its weight no slope, which would be no number times 0.
    """
    return jnp.where(weight == 0, np.zeros((), x.dtype), x * weight)


@read.defjvp
def _read_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (x, weight), (dx, dweight) = primals, tangents
    return read(x, weight), dx * weight + finite(x) * dweight


def correlate(
    x: jax.Array, kernel: jax.Array, windows: Windows, product: Product = read
) -> jax.Array:
    """Sum of each window's elements, each times the entry of `kernel` at its tap.

    `kernel` has the rank of x: as many entries as taps along pooled axes, and 1 or as many as x
    along all others. Padding adds nothing. `product` is `read`, or `operator.mul`.
    """
    windows = tuple(sorted(windows))
    if known(windows) and window_size(windows) > UNROLLED_TAPS:
        return _correlate_in_a_loop(x, kernel, windows, product)
    return _correlate(x, kernel, windows, product)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _correlate(x: jax.Array, kernel: jax.Array, windows: Windows, product: Product) -> jax.Array:
    return _correlate_by_taps(x, kernel, windows, product)


@_correlate.defjvp
def _correlate_jvp(
    windows: Windows, product: Product, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    """Bilinear; the part in x has a transpose of its own."""
    (x, kernel), (dx, dkernel) = primals, tangents
    y = _correlate(x, kernel, windows, product)
    if known(windows):
        tangent = LinearMap(_forms_of_correlation, windows)(dx, kernel, y)
    else:
        tangent = _correlate(dx, kernel, windows, operator.mul)
    x = finite(x) if product is read else x
    return y, tangent + _correlate(x, dkernel, windows, operator.mul)


def _forms_of_correlation(
    platform: str, windows: Windows, *, several: bool
) -> tuple[Callable, Callable]:
    del platform, several
    forward = functools.partial(_correlate_by_taps, windows=windows, product=operator.mul)
    solid = all(w.dilation == 1 for _, w in windows) and window_size(windows) <= UNROLLED_TAPS
    in_blocks = _correlate_in_dense_blocks if solid else _correlate_in_blocks
    return forward, functools.partial(in_blocks, windows=windows)


def _correlate_in_dense_blocks(x: jax.Array, kernel: jax.Array, windows: Windows) -> jax.Array:
    """The same, with additional windows, of which the transpose has a slice for each block."""
    weights = []
    for taps in all_taps(windows):
        weight = kernel
        for (axis, _), tap in zip(windows, taps, strict=True):
            weight = lax.slice_in_dim(weight, tap, tap + 1, 1, axis)
        weights.append(weight)
    inside = tuple((axis, padding_inside(w)) for axis, w in windows)
    return sum_in_blocks(pad_windows(x, windows, 0), weights, inside)


def _correlate_by_taps(
    x: jax.Array, kernel: jax.Array, windows: Windows, product: Product
) -> jax.Array:
    x = pad_windows(x, windows, 0)

    def term(taps: Sequence[Any]) -> jax.Array:
        weight = kernel
        for (axis, _), tap in zip(windows, taps, strict=True):
            if isinstance(tap, int):
                weight = lax.slice_in_dim(weight, tap, tap + 1, 1, axis)
            else:
                weight = lax.dynamic_slice_in_dim(weight, tap, 1, axis)
        return product(taps_at(x, windows, taps), weight)

    size = window_size(windows)
    if size <= UNROLLED_TAPS:
        return functools.reduce(operator.add, map(term, all_taps(windows)))

    @jax.checkpoint
    def step(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        return total + term(taps_of(number, windows)), None

    numbers = jnp.arange(1, size, dtype=np.int32)
    return lax.scan(step, term(taps_of(0, windows)), numbers)[0]


def _correlate_in_blocks(x: jax.Array, kernel: jax.Array, windows: Windows) -> jax.Array:
    """The same, written for its transpose in x.

    Windows begin at every block of `stride` elements, and the transpose is a sum of dense slices;
    that of strided slices would be full of holes.
    """
    x, kernel, places = _cut_into_blocks(x, kernel, windows)
    total = None
    numbers = ([n for n in range(_reach(w)) if _has_tap(w, n)] for _, w in windows)
    for blocks in itertools.product(*numbers):
        part, weight, conditions = x, kernel, []
        for at, number, (_, w) in zip(places, blocks, windows, strict=True):
            part = lax.slice_in_dim(part, number, number + w.output, 1, at)
            weight = lax.slice_in_dim(weight, number, number + 1, 1, at)
            conditions += _are_taps(w, number, at, x.ndim)
        term = lax.reduce_sum(_of_taps(part * weight, conditions), [at + 1 for at in places])
        total = term if total is None else total + term
    assert total is not None
    return total


@functools.partial(jax.jit, static_argnames=("windows", "product"))
def _correlate_in_a_loop(
    x: jax.Array, kernel: jax.Array, windows: Windows, product: Product
) -> jax.Array:
    """The same for large windows, whose program would else grow with them."""
    x, kernel, places = _cut_into_blocks(x, kernel, windows)
    inner, reach = [at + 1 for at in places], [_reach(w) for _, w in windows]
    outputs = {at: w.output for at, (_, w) in zip(places, windows, strict=True)}

    @jax.checkpoint  # or else the backward pass would keep the slices of each step
    def step(total: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
        part, weight, conditions = x, kernel, []
        for at, block, (_, w) in zip(places, unraveled(number, reach), windows, strict=True):
            part = lax.dynamic_slice_in_dim(part, block, w.output, at)
            weight = lax.dynamic_slice_in_dim(weight, block, 1, at)
            conditions += _are_taps(w, block, at, x.ndim)
        return total + lax.reduce_sum(_of_taps(product(part, weight), conditions), inner), None

    sizes = np.maximum(x.shape, kernel.shape).tolist()
    shape = [outputs.get(i, n) for i, n in enumerate(sizes) if i not in inner]
    numbers = jnp.arange(math.prod(reach), dtype=np.int32)
    start = settled(lambda total: step(total, numbers[0])[0], jnp.zeros(shape, x.dtype))
    return lax.scan(step, start, numbers)[0]


def large_sum(x: jax.Array, windows: Shaped) -> jax.Array:
    """Sum of the elements in a large footprint, of sizes that are known, in a loop."""
    kernel = jnp.asarray(as_mask(windows, x.ndim), x.dtype)
    return _correlate_in_a_loop(x, kernel, tuple(windows), _chosen)


def _chosen(x: jax.Array, weight: jax.Array) -> jax.Array:
    """What has a weight; of the rest neither elements nor what is handed back are read."""
    return jnp.where(weight != 0, x, np.zeros((), x.dtype))


def _reach(w: AxisWindow) -> int:
    """Number of blocks that a window has elements of."""
    return -(-w.span // w.stride)


def _has_tap(w: AxisWindow, number: int) -> bool:
    """Whether a tap lies in the block of that number of a window: not so where holes are larger."""
    first = -(-number * w.stride // w.dilation) * w.dilation
    return first < min((number + 1) * w.stride, w.span)


def _are_taps(w: AxisWindow, number: Any, at: int, ndim: int) -> list[jax.Array]:
    """Conditions, all of which hold for the entries of a block of a window that are taps."""
    offset, found = numbered(at + 1, w.stride, ndim) + number * np.int32(w.stride), []
    whole = are_known(number) and (number + 1) * w.stride <= w.span
    if w.span % w.stride and not whole:
        found.append(offset < w.span)
    if w.dilation > 1:
        found.append(offset % w.dilation == 0)
    return found


def _of_taps(term: jax.Array, conditions: list[jax.Array]) -> jax.Array:
    """The terms of taps; NaN that is handed back stays out of what is no tap of its window."""
    return jnp.where(all_of(conditions), term, np.zeros((), term.dtype)) if conditions else term


def _cut_into_blocks(
    x: jax.Array, kernel: jax.Array, windows: Windows
) -> tuple[jax.Array, jax.Array, list[int]]:
    """Each pooled axis in two, blocks of `stride` elements and those in a block; the kernel alike.

    With the place of each axis of blocks.
    """
    zero, geometry = np.zeros((), x.dtype), dict(windows)
    widths, spread, shape, kernel_shape = [], [], [], []
    places: list[int] = []
    for axis, (size, entries) in enumerate(zip(x.shape, kernel.shape, strict=True)):
        if axis not in geometry:
            widths.append((0, 0, 0))
            spread.append((0, 0, 0))
            shape.append(size)
            kernel_shape.append(entries)
            continue
        w = geometry[axis]
        reach = _reach(w)
        blocks = w.output + reach - 1
        places.append(len(shape))
        widths.append((w.low, blocks * w.stride - w.low - w.length, 0))
        spread.append((0, reach * w.stride - w.span, w.dilation - 1))
        shape += [blocks, w.stride]
        kernel_shape += [reach, w.stride]
    x = _padded(x, widths).reshape(shape)
    return x, lax.pad(kernel, zero, spread).reshape(kernel_shape), places


def _padded(x: jax.Array, widths: Sequence[tuple[int, int, int]]) -> jax.Array:
    """`x` with zeros around it, or cut where a width is negative."""
    stops = [n + min(high, 0) for n, (_, high, _) in zip(x.shape, widths, strict=True)]
    x = lax.slice(x, [0] * x.ndim, stops)
    return lax.pad(x, np.zeros((), x.dtype), [(low, max(high, 0), 0) for low, high, _ in widths])


def scan(
    step: Callable[[Any, Any, Any], Any],
    state: Any,
    elements: Any,
    windows: Windows,
    valid: jax.Array | None,
    at_once: int,
    laid: Callable[[jax.Array], jax.Array] = lambda x: x,
    unroll: int = 1,
) -> Any:
    """For each window ``state = step(state, element, number)`` over its valid elements, in order.

    `state` and `elements` are arrays or trees of them. `laid` brings an element of each window into
    the shape of the state. Up to `at_once` taps are written out one by one; more are a loop, which
    takes `unroll` of them in a round.
    """
    windows = in_order(windows)
    elements = jax.tree.map(lambda x: pad_windows(x, windows, np.zeros((), x.dtype)), elements)
    valid = None if valid is None else pad_windows(valid, windows, False)
    ndim = jax.tree.leaves(elements)[0].ndim

    def visit(state: Any, taps: Sequence[Any], number: Any) -> Any:
        conditions = [] if valid is None else [taps_at(valid, windows, taps)]
        conditions += inside(windows, taps, ndim)
        element = jax.tree.map(lambda x: laid(taps_at(x, windows, taps)), elements)
        new = step(state, element, number)
        if not conditions:
            return new
        condition = laid(all_of(conditions))
        return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, state)

    numbers = tap_numbers(windows)
    if len(numbers) <= at_once:
        for number, tap in zip(numbers, all_taps(windows), strict=True):
            state = visit(state, tap, np.int32(number))
        return state

    @jax.checkpoint  # else the backward pass would keep what is known of each window, for every tap
    def body(state: Any, number: jax.Array) -> tuple[Any, None]:
        return visit(state, taps_of(number, windows), number), None

    first = numbers[0]
    state = settled(lambda state: visit(state, taps_of(first, windows), np.int32(first)), state)
    return lax.scan(body, state, looped_numbers(windows), unroll=unroll)[0]


def pick(x: jax.Array, numbers: jax.Array, windows: Windows) -> jax.Array:
    """Of each window the element at the tap of that row-major number, 0 if there is none."""
    windows = in_order(windows)
    if window_size(windows) > UNROLLED_TAPS:
        return jax.checkpoint(functools.partial(_pick_in_order, windows=windows))(x, numbers)
    nowhere = np.uint8(255)  # no number of a tap, of which there are fewer
    return _pick(x, jnp.where(numbers < 0, nowhere, numbers.astype(np.uint8)), windows)


def _pick_in_order(x: jax.Array, numbers: jax.Array, windows: Windows) -> jax.Array:
    def step(found: jax.Array, element: jax.Array, number: Any) -> jax.Array:
        return jnp.where(numbers == number.astype(numbers.dtype), element, found)

    return scan(step, jnp.zeros(numbers.shape, x.dtype), x, windows, None, UNROLLED_TAPS)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _pick(x: jax.Array, taps: jax.Array, windows: Windows) -> jax.Array:
    return _pick_in_order(x, taps, windows)


@_pick.defjvp
def _pick_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, taps = primals
    return _pick(x, taps, windows), tangent_of_taps(tangents[0], taps, windows)
