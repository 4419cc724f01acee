"""How weighted sums of windows become XLA programs.

The value is a sum of strided slices. Its transpose would be a sum of arrays full of holes, so that
of the derivative is in blocks.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import max_dim
from jax.custom_derivatives import SymbolicZero

from jaxpool._src.core.geometry import AxisWindow
from jaxpool._src.lowering.primitives import LinearMap
from jaxpool._src.lowering.taps import UNROLLED_TAPS, correlate
from jaxpool._src.lowering.weighted_blocks import padding_inside, sum_in_blocks
from jaxpool._src.lowering.windows import (
    Windows,
    all_taps,
    in_rows,
    known,
    one_cpu,
    taps_at,
)

Weights = tuple[jax.Array, ...]  # one for each tap, in row-major order, that broadcasts to the sum


def weighted_sum(
    x: jax.Array, weights: jax.Array | Sequence[jax.Array], windows: Windows, mode: str
) -> jax.Array:
    """Sum of each window's elements, each times the weight of its tap.

    `weights` are in row-major order, and of the rank of x; one array only along one axis. Padding
    is by NumPy's `mode`, or "periodization", which is "wrap" after an odd x has its last element
    twice.
    """
    windows = tuple(sorted(windows))
    if isinstance(weights, jax.Array):
        if len(weights) > UNROLLED_TAPS and known(windows):
            ((axis, w),) = windows
            kernel = jnp.moveaxis(jnp.squeeze(weights, 1 + axis), 0, axis)
            filled = ((axis, padding_inside(w)),)
            return correlate(padded(x, windows, mode), kernel, filled, operator.mul)
        weights = [lax.index_in_dim(weights, j, keepdims=False) for j in range(len(weights))]
    return _compiled(x, tuple(weights), windows, mode)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _weighted_sum(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    forms = {
        platform: functools.partial(form, windows=windows, mode=mode)
        for platform, form in (("cpu", _in_runs), ("default", _in_slices))
    }
    if not known(windows) or not one_cpu():
        return forms["default"](x, weights)
    return lax.platform_dependent(x, weights, **forms)


def _weighted_sum_jvp(windows: Windows, mode: str, primals: Any, tangents: Any) -> tuple[Any, Any]:
    x, weights = primals
    x_tangent, weight_tangents = tangents
    y = _weighted_sum(x, weights, windows, mode)
    terms = []
    if not isinstance(x_tangent, SymbolicZero):
        if known(windows):
            rule = LinearMap(_forms_of_tangent, windows, (mode,))
            terms.append(rule(x_tangent, weights, jax.typeof(y)))
        else:
            terms.append(_in_slices(x_tangent, weights, windows, mode))
    given = {t: w for t, w in enumerate(weight_tangents) if not isinstance(w, SymbolicZero)}
    if given:
        # The checkpoint makes the backward pass keep x and not each of its slices.
        rule = jax.checkpoint(_in_weights, static_argnums=(2, 3), prevent_cse=False)
        terms.append(rule(x, given, windows, mode))
    return y, functools.reduce(lax.add, terms) if terms else jnp.zeros_like(y)


def _forms_of_tangent(
    platform: str, windows: Windows, mode: str, *, several: bool
) -> tuple[Callable, Callable]:
    forward = _in_runs if platform == "cpu" and not several else _in_slices
    where = {"windows": windows, "mode": mode}
    return functools.partial(forward, **where), functools.partial(_in_blocks, **where)


def _in_weights(
    x: jax.Array, tangents: dict[int, jax.Array], windows: Windows, mode: str
) -> jax.Array:
    """The tangent that comes of those of some weights."""
    x, taps, rank = padded(x, windows, mode), all_taps(windows), x.ndim

    def total(weights: list[jax.Array], x: jax.Array) -> jax.Array:
        laid = tuple((axis - rank + x.ndim, w) for axis, w in windows)
        parts = (taps_at(x, laid, taps[number]) for number in tangents)
        return functools.reduce(lax.add, map(jnp.multiply, parts, weights))

    return in_rows(total, list(tangents.values()), x, below=windows[0][0])


_weighted_sum.defjvp(_weighted_sum_jvp, symbolic_zeros=True)
_compiled = jax.jit(_weighted_sum, static_argnums=(2, 3))


def _in_slices(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    """Over a padded copy of x."""
    x = padded(x, windows, mode)
    parts = (taps_at(x, windows, tap) for tap in all_taps(windows))
    return functools.reduce(lax.add, (p * w for p, w in zip(parts, weights, strict=True)))


def _in_runs(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    """Windows at each border, and those between, side by side: only for borders x is copied."""
    for number, (axis, w) in enumerate(windows):
        runs = w.runs()
        if len(runs) > 1:
            before, after = _outside(x, axis, w, mode)
            parts, first = [], 0
            for start, stop, run in runs:
                pieces = [lax.slice_in_dim(x, start, stop, 1, axis)]
                if run.low:
                    pieces.insert(0, lax.slice_in_dim(before, w.low - run.low, w.low, 1, axis))
                if run.right:
                    pieces.append(lax.slice_in_dim(after, 0, run.right, 1, axis))
                part = pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)
                last = first + run.output
                cut = tuple(
                    lax.slice_in_dim(v, first, last, 1, axis) if v.shape[axis] > 1 else v
                    for v in weights
                )
                run = padding_inside(run)
                inner = (*windows[:number], (axis, run), *windows[number + 1 :])
                parts.append(_in_runs(part, cut, inner, mode))
                first = last
            return lax.concatenate(parts, axis)
    return _in_slices(x, weights, windows, mode)


def _in_blocks(x: jax.Array, weights: Weights, windows: Windows, mode: str) -> jax.Array:
    windows_inside = tuple((axis, padding_inside(w)) for axis, w in windows)
    return sum_in_blocks(padded(x, windows, mode), weights, windows_inside)


def padded(x: jax.Array, windows: Windows, mode: str) -> jax.Array:
    """`x` with the padding that its windows read, by NumPy's `mode`."""
    for axis, w in windows:
        if w.padded:
            before, after = _outside(x, axis, w, mode)
            x = lax.concatenate([before, x, after], axis)
    return x


def _outside(x: jax.Array, axis: int, w: AxisWindow, mode: str) -> tuple[jax.Array, jax.Array]:
    """What windows along `axis` read before x and after it."""
    n, low, right = x.shape[axis], w.low, w.right

    def part(start: Any, stop: Any) -> jax.Array:
        return lax.slice_in_dim(x, start, stop, 1, axis)

    if mode == "periodization" or _is_longer(n, max_dim(low, right), mode):
        return _folded(x, axis, range(-low, 0), mode), _folded(x, axis, range(n, n + right), mode)
    if mode == "reflect":
        before = lax.rev(part(1, 1 + low), (axis,))
        after = lax.rev(part(n - 1 - right, n - 1), (axis,))
    elif mode == "wrap":
        before, after = part(n - low, n), part(0, right)
    else:
        shapes = [[s if i == axis else d for i, d in enumerate(x.shape)] for s in (low, right)]
        ends = (part(0, 1), part(n - 1, n))
        if mode == "constant":
            ends = (np.zeros((), x.dtype),) * 2
        before, after = (jnp.broadcast_to(*pair) for pair in zip(ends, shapes, strict=True))
    return before, after


def _is_longer(n: Any, width: Any, mode: str) -> bool:
    """Whether padding has elements of x more than once."""
    most = {"reflect": n - 1, "wrap": n}.get(mode)
    return most is not None and isinstance(n, int) and width > most


def _folded(x: jax.Array, axis: int, places: range, mode: str) -> jax.Array:
    """What is at `places` outside of x: slices of x, one for each time that it is gone through."""
    n = x.shape[axis]
    found = [_inside(place, n, mode) for place in places]
    pieces, first = [lax.slice_in_dim(x, 0, 0, 1, axis)] if not found else [], 0
    while first < len(found):
        last, step = first, found[min(first + 1, len(found) - 1)] - found[first]
        while last + 1 < len(found) and found[last + 1] - found[last] == step in (0, 1, -1):
            last += 1
        low, high = sorted((found[first], found[last]))
        piece = lax.slice_in_dim(x, low, high + 1, 1, axis)
        if step == 0:
            shape = [last - first + 1 if i == axis else d for i, d in enumerate(x.shape)]
            piece = jnp.broadcast_to(piece, shape)
        pieces.append(lax.rev(piece, (axis,)) if found[last] < found[first] else piece)
        first = last + 1
    return pieces[0] if len(pieces) == 1 else lax.concatenate(pieces, axis)


def _inside(place: int, n: int, mode: str) -> int:
    """Which of n elements stands at a place outside of them."""
    if mode == "reflect":
        period = 2 * (n - 1)
        return min(place % period, -place % period)
    even = n + n % 2 if mode == "periodization" else n
    return min(place % even, n - 1)
