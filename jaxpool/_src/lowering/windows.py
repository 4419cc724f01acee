"""How windows become XLA programs: sums, folds and the helpers that all forms share.

Everything here gets canonical geometry (`AxisWindow` per pooled axis, axes counted from the front)
and checks nothing. Interior (base) dilation and negative padding are never emitted: XLA:CPU
computes wrong values for the one and aborts on the other.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer, max_dim

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.footprints import Shaped, Windows, all_taps, in_order, like
from jaxpool._src.lowering.meshes import varying_alike

# On CPUs, arrays of fewer elements are left to XLA: they stay in the cache whatever it does.
SMALL = 2**14

# Windows of up to this many elements are summed at once; of larger ones the transpose takes long.
_SUMS_AT_ONCE = 49

# On CPUs, borders of windows of up to so many elements are peeled: programs grow with them.
PEEL_LIMIT = 9

# On CPUs, borders are peeled off if at least `_WIDE` elements lie side by side along an
# axis that is not pooled, or if a padded copy would have `_LARGE` bytes.
_WIDE, _LARGE = 16, 2**24

# Sums over all elements are added up in rows of up to this many.
_ROW = 2**13


def are_known(*sizes: Any) -> bool:
    """Whether none of the sizes is symbolic or traced."""
    return all(isinstance(size, int) for size in sizes)


def known(windows: Windows) -> bool:
    """Whether no size along pooled axes is symbolic."""
    return are_known(*(n for _, w in windows for n in (w.length, w.low, w.output)))


def materialized(function: Callable, *operands: Any) -> Any:
    """``function(*operands)`` in memory. XLA:CPU fuses cheap producers into all of their uses.

    It does not fuse a conditional, and it cannot see through a barrier that the predicate is True
    until fusion is done.
    """
    if sum(map(known_size, jax.tree.leaves(operands))) < SMALL:
        return function(*operands)

    def never(*operands: Any) -> Any:
        shapes = jax.eval_shape(function, *operands)
        return jax.tree.map(lambda shape: lax.full_like(shape, 0), shapes)

    return lax.cond(lax.optimization_barrier(np.True_), function, never, *operands)


def materialized_on_cpus(function: Callable, *operands: Any) -> Any:
    """As `materialized` where it is lowered for CPUs, and left to XLA elsewhere."""
    if not traced(operands):
        return function(*operands)
    return lax.platform_dependent(
        *operands, cpu=functools.partial(materialized, function), default=function
    )


def traced(tree: Any) -> bool:
    """Whether a program is being made. Else operations run one by one, each compiled before.

    A conditional or loop around a function that is new would be compiled anew in each such call.
    """
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(tree))


@jax.custom_jvp
def only_where(condition: jax.Array, x: jax.Array) -> jax.Array:
    """x, a float, and 0 where the condition does not hold.

    By its bits: XLA:CPU does not vectorize the exponential of what is selected.
    """
    bits = np.dtype(f"int{8 * x.dtype.itemsize}")
    kept = lax.bitcast_convert_type(x, bits) & -condition.astype(bits)
    return lax.bitcast_convert_type(kept, x.dtype)


@only_where.defjvp
def _only_where_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    condition, x = primals
    return only_where(condition, x), jnp.where(condition, tangents[1], np.zeros((), x.dtype))


def one_cpu() -> bool:
    """Whether all of an array is on one CPU device, if it is on any.

    XLA parts concatenations and reshapes among devices at the price of all-to-alls.
    """
    try:
        return jax.device_count("cpu") == 1
    except RuntimeError:  # JAX_PLATFORMS leaves out CPUs
        return False


def peels_borders(x: jax.Array, windows: Windows) -> bool:
    """Whether `by_runs` is fast on a CPU: a padded copy of x takes longer than what it is for."""
    size, last = known_size(x), x.ndim - 1
    is_wide = (
        last not in dict(windows) and isinstance(x.shape[last], int) and x.shape[last] >= _WIDE
    )
    is_large = size * x.dtype.itemsize >= _LARGE
    return one_cpu() and size >= SMALL and (is_wide or is_large)


def by_runs(
    form: Callable, inputs: tuple[Any, ...], cells: tuple[Any, ...], windows: Windows
) -> Any:
    """``form(*inputs, *cells, windows)``, of windows at borders, and of those between, apart.

    Only the borders are padded. `inputs` are trees of arrays with an entry for each element, and
    `cells` those with one for each window.
    """
    for number, (axis, w) in enumerate(windows):
        runs = w.runs()
        if len(runs) > 1:
            parts, first = [], 0
            for start, stop, run in runs:
                last = first + run.output
                parts.append(
                    by_runs(
                        form,
                        _between(inputs, start, stop, axis),
                        _between(cells, first, last, axis),
                        like(windows, (*windows[:number], (axis, run), *windows[number + 1 :])),
                    )
                )
                first = last
            leaves = zip(*map(jax.tree.leaves, parts), strict=True)
            results = [lax.concatenate(leaf, axis) for leaf in leaves]
            return jax.tree.unflatten(jax.tree.structure(parts[0]), results)
    return form(*inputs, *cells, windows)


def _between(tree: Any, start: int, stop: int, axis: int) -> Any:
    return jax.tree.map(lambda x: lax.slice_in_dim(x, start, stop, 1, axis), tree)


def in_rows(
    function: Callable, weights: list[jax.Array], *arrays: jax.Array, below: int | None = None
) -> jax.Array:
    """``function(weights, *arrays)``, a sum to which weights broadcast.

    It is elementwise but for the axes from `below` on, which it counts from the back. The gradient
    of a weight is a sum of all elements, which XLA:CPU reduces an element at a time. So there it
    goes row by row, for which the transpose has a sum for each place in a row.
    """
    shape = arrays[0].shape
    known = all(isinstance(n, int) for n in shape) and one_cpu()
    lead, most = 0, len(shape) if below is None else below
    while known and lead < most and math.prod(shape[lead:]) > _ROW:
        lead += 1
    alike = all(n == 1 for weight in weights for n in weight.shape[:lead])
    if not alike or math.prod(shape[:lead]) == 1:
        return function(weights, *arrays)

    def by_rows(weights: list[jax.Array], *arrays: jax.Array) -> jax.Array:
        weights = [weight.reshape(weight.shape[lead:]) for weight in weights]
        rows = [array.reshape(-1, *array.shape[lead:]) for array in arrays]
        row = jax.eval_shape(function, weights, *(part[0] for part in rows)).shape
        weights = [jnp.broadcast_to(weight, row) for weight in weights]
        # The checkpoint keeps scan from storing what it computes of the arrays, for all rows.
        one = jax.checkpoint(function, prevent_cse=False)

        def summed(weights: list[jax.Array]) -> jax.Array:
            return lax.scan(lambda _, parts: (None, one(weights, *parts)), None, rows)[1]

        found = transposable(summed, weights)
        return found.reshape(*shape[:lead], *row)

    return lax.platform_dependent(weights, *arrays, cpu=by_rows, default=function)


def transposable(linear: Callable[[Any], jax.Array], xs: Any) -> jax.Array:
    """``linear(xs)``: a loop in it too, which JAX 0.7 and 0.8 transpose only as a derivative."""
    zeros = jax.tree.map(lambda x: varying_alike(jnp.zeros(x.shape, x.dtype), x)[0], xs)
    return jax.jvp(linear, (zeros,), (xs,))[1]


def known_size(x: jax.Array) -> int:
    """Number of elements; symbolic sizes are taken for large ones."""
    return math.prod(n if isinstance(n, int) else SMALL for n in x.shape)


def along(vector: Any, axis: int, ndim: int) -> Any:
    """A vector laid along `axis` of an array with `ndim` axes."""
    shape = [1] * ndim
    shape[axis] = vector.shape[0]
    return vector.reshape(shape)


def numbered(axis: int, size: Any, ndim: int) -> jax.Array:
    """0, 1, .. along `axis` of an array with `ndim` axes, which the program counts."""
    return lax.broadcasted_iota(np.int32, [size if i == axis else 1 for i in range(ndim)], axis)


def between(first: int, stop: int, axis: int, size: int, ndim: int) -> list[jax.Array]:
    """Conditions, all of which hold for the entries from `first` up to `stop` of `size`."""
    number, found = numbered(axis, size, ndim), []
    if first > 0:
        found.append(number >= np.int32(min(first, size)))
    if stop < size:
        found.append(number < np.int32(max(stop, 0)))
    return found


def inside(windows: Windows, taps: Sequence[Any], ndim: int) -> list[jax.Array]:
    """Conditions, all of which hold for windows whose tap lies inside x; `taps` may be traced."""
    found = []
    for (axis, w), tap in zip(windows, taps, strict=True):
        if not w.padded:
            continue
        if are_known(w.length, w.low, w.output, tap):
            found += between(*w.inside(tap), axis, w.output, ndim)
        else:
            position = numbered(axis, w.output, ndim) * w.stride + (tap * w.dilation - w.low)
            found += [position >= 0, position < w.length]
    return found


def all_of(conditions: Sequence[jax.Array]) -> Any:
    """Whether all of them hold; None if there is none."""
    return functools.reduce(operator.and_, conditions) if conditions else None


def lowest_value(dtype: Any) -> Any:
    """The identity of the maximum, as a concrete scalar."""
    lowest = -np.inf if jnp.issubdtype(dtype, jnp.floating) else jnp.iinfo(dtype).min
    return np.array(lowest, dtype)[()]


def widened(x: jax.Array) -> jax.Array:
    """Floats in at least float32, which holds every narrower one.

    XLA:CPU emulates arithmetic and comparisons of those one by one, and of 8 bits not all have an
    infinity. A cast is part of the program that reads x; before a conditional, it would be a copy.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return x
    return x.astype(np.promote_types(x.dtype, np.float32))


@functools.partial(jax.jit, static_argnames="windows")
def window_sum(x: jax.Array, windows: Windows) -> jax.Array:
    """Sum of each window of `x`; padding adds nothing."""
    windows = in_order(windows)
    at_once = window_size(windows) <= _SUMS_AT_ONCE
    return lax.platform_dependent(
        x,
        cpu=functools.partial(_sum_on_cpu, windows=windows),
        default=functools.partial(_sum_at_once if at_once else _sum_by_axes, windows=windows),
    )


def _sum_on_cpu(x: jax.Array, windows: Windows) -> jax.Array:
    small = window_size(windows) <= PEEL_LIMIT
    if small and peels_borders(x, windows) and jnp.issubdtype(x.dtype, jnp.floating):
        return _sum_by_taps(x, windows)
    return _sum_by_axes(x, windows, in_blocks=one_cpu())


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _sum_by_taps(x: jax.Array, windows: Windows) -> jax.Array:
    return by_runs(_sum_of_taps, (x,), (), windows)


@_sum_by_taps.defjvp
def _sum_by_taps_jvp(
    windows: Windows, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """By axes, since the transpose of strided slices would be full of holes."""
    tangent = _sum_by_axes(*tangents, windows, in_blocks=True)
    return _sum_by_taps(*primals, windows), tangent


def _sum_of_taps(x: jax.Array, windows: Windows) -> jax.Array:
    x = pad_windows(x, windows, 0)
    return functools.reduce(lax.add, (taps_at(x, windows, taps) for taps in all_taps(windows)))


def _sum_by_axes(x: jax.Array, windows: Windows, *, in_blocks: bool = False) -> jax.Array:
    """One axis after the other: for k x k taps it adds 2k times, and so does its transpose.

    `in_blocks` where windows are consecutive blocks, which XLA may not keep apart on several
    devices.
    """
    blocks = tuple((axis, w) for axis, w in windows if in_blocks and _side_by_side(w))
    for window in reversed(windows):
        if window not in blocks:
            x = _sum_at_once(x, (window,))
    return _sum_of_blocks(x, blocks) if blocks else x


def _sum_at_once(x: jax.Array, windows: Windows) -> jax.Array:
    dimensions, strides, dilations = [1] * x.ndim, [1] * x.ndim, [1] * x.ndim
    padding = [(0, 0)] * x.ndim
    for axis, w in windows:
        dimensions[axis], strides[axis], dilations[axis] = w.window, w.stride, w.dilation
        padding[axis] = (w.low, w.right)
    # A concrete NumPy zero: of a traced one, lax.reduce_window has no reverse mode.
    zero = np.zeros((), x.dtype)[()]
    y = lax.reduce_window(x, zero, lax.add, dimensions, strides, padding, window_dilation=dilations)
    for axis, w in windows:
        y = lax.slice_in_dim(y, 0, w.output, 1, axis)  # of a symbolic length, one cell may be over
    return y


def _side_by_side(w: AxisWindow) -> bool:
    """Whether windows are consecutive blocks."""
    known = isinstance(w.length, int)
    return known and w.window == w.stride > 1 and w.dilation == 1 and not w.padded


def _sum_of_blocks(x: jax.Array, windows: Windows) -> jax.Array:
    geometry, shape, inner = dict(windows), [], []
    for axis, size in enumerate(x.shape):
        if axis in geometry:
            w = geometry[axis]
            x = lax.slice_in_dim(x, 0, w.output * w.window, 1, axis)
            inner.append(len(shape) + 1)
            shape += [w.output, w.window]
        else:
            shape.append(size)
    return lax.reduce_sum(x.reshape(shape), inner)


def window_size(windows: Windows) -> int:
    """Number of taps of a window, with those that a footprint leaves out."""
    return math.prod(w.window for _, w in windows)


def groups(windows: Windows, limit: float) -> tuple[Windows, ...]:
    """All axes together if a window has at most `limit` elements, else one by one."""
    return (windows,) if window_size(windows) <= limit else tuple((window,) for window in windows)


def looped_numbers(windows: Windows, first: int = 0) -> jax.Array:
    """The numbers of all taps, from the `first` of them on, for a loop over them."""
    if isinstance(windows, Shaped):
        return jnp.asarray(windows.numbers[first:], np.int32)
    return jnp.arange(first, window_size(windows), dtype=np.int32)


def taps_of(number: Any, windows: Windows) -> list[Any]:
    """The tap of a row-major number, which may be traced: one index per axis."""
    return unraveled(number, [w.window for _, w in windows])


def unraveled(number: Any, sizes: Sequence[int]) -> list[Any]:
    """The indices of a row-major number, which may be traced, along axes of some sizes."""
    found = []
    for size in reversed(sizes):
        found.append(number % np.int32(size))
        number = number // np.int32(size)
    return found[::-1]


def fused(function: Callable, *operands: Any) -> Any:
    """In place of `materialized`, where XLA knows best."""
    return function(*operands)


def positions(shape: Sequence[Any], axes: Sequence[int]) -> jax.Array:
    """Row-major position along `axes`, of size 1 along all others."""
    pooled = [n if i in axes else 1 for i, n in enumerate(shape)]
    position, size = jnp.zeros(pooled, np.int32), 1
    for axis in sorted(axes, reverse=True):
        position = position + lax.broadcasted_iota(np.int32, pooled, axis) * size
        size = size * shape[axis]
    return position


def taps_at(x: jax.Array, windows: Windows, taps: Sequence[Any]) -> jax.Array:
    """For each window of the padded `x`, its element number `taps`, one per axis, traced or not."""
    for (axis, w), tap in zip(windows, taps, strict=True):
        start, reach = tap * w.dilation, (w.output - 1) * w.stride + 1
        if not isinstance(tap, int):
            x, start = lax.dynamic_slice_in_dim(x, start, reach, axis), 0
        # Axis by axis, so that on several devices taps of one row share the exchange of that row.
        x = lax.slice_in_dim(x, start, start + reach, step_of(w), axis)
    return x


def padded_taps_at(x: jax.Array, windows: Windows, taps: Sequence[int], value: Any) -> jax.Array:
    """`taps_at` of an `x` that is not padded, by padding no more than these taps need."""
    for (axis, w), tap in zip(windows, taps, strict=True):
        start = tap * w.dilation - w.low
        stop = start + (w.output - 1) * w.stride + 1
        before, after = max_dim(-start, 0), max_dim(stop - w.length, 0)
        if not all(isinstance(n, int) and n == 0 for n in (before, after)):
            x = pad(axis, (before, after), x, value)
        x = lax.slice_in_dim(x, start + before, stop + before, step_of(w), axis)
    return x


def step_of(w: AxisWindow) -> int:
    """From window to window. XLA slices one element by a step over a sharded axis wrongly."""
    return 1 if isinstance(w.output, int) and w.output == 1 else w.stride


def pad_windows(x: jax.Array, windows: Windows, value: Any) -> jax.Array:
    """`x` with the padding that its windows read, filled with `value`."""
    config = [(0, 0, 0)] * x.ndim
    for axis, w in windows:
        config[axis] = (w.low, w.right, 0)
    if not any(w.padded for _, w in windows):
        return x
    return lax.pad(x, jnp.asarray(value, x.dtype), config)


def pad(axis: int, widths: tuple[Any, Any], x: jax.Array, value: Any) -> jax.Array:
    """`x` with `value` before and after it along `axis`; a negative width takes off as much."""
    config = [(*widths, 0) if i == axis else (0, 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.asarray(value, x.dtype), config)
