"""Folds by an associative operation: of windows, of runs of their taps, of whole axes."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxpool._src.core.geometry import AxisWindow, run_starts
from jaxpool._src.lowering.footprints import Shaped, Windows, all_taps, tap_numbers
from jaxpool._src.lowering.windows import (
    looped_numbers,
    pad,
    pad_windows,
    step_of,
    taps_at,
    taps_of,
)

# So many times a whole axis is halved before a loop does the rest, and programs stay small.
_WRITTEN_ROUNDS = 6

# Up to this many taps are written out one by one; more are folded by doubling.
_UNROLLED_TAPS = 64


def fold(
    carrier: Any,
    windows: Windows,
    combine: Callable[[Any, Any], Any],
    identity: Any,
) -> Any:
    """Combines each window's elements in row-major order, one axis after the other.

    `carrier` is a tree of arrays, `identity` a tree of scalars. An associative `combine` is all
    that is needed, since the last axis goes first.
    """
    if isinstance(windows, Shaped):
        return _fold_footprint(carrier, windows, combine, identity)
    for axis, window in sorted(windows, reverse=True):
        if window.padded:
            widths = (window.low, window.right)
            carrier = jax.tree.map(functools.partial(pad, axis, widths), carrier, identity)
        carrier = fold_axis(carrier, axis, window, lambda a, b, _: combine(a, b))
    return carrier


def _fold_footprint(
    carrier: Any, windows: Shaped, combine: Callable[[Any, Any], Any], identity: Any
) -> Any:
    """The same of the taps in a footprint, one by one."""
    padded = lambda c, value: pad_windows(c, windows, value)  # noqa: E731
    carrier = jax.tree.map(padded, carrier, identity)

    def part(taps: Sequence[Any]) -> Any:
        return jax.tree.map(lambda c: taps_at(c, windows, taps), carrier)

    numbers = tap_numbers(windows)
    if len(numbers) <= _UNROLLED_TAPS:
        return functools.reduce(combine, map(part, all_taps(windows)))

    @jax.checkpoint
    def step(total: Any, number: jax.Array) -> tuple[Any, None]:
        return combine(total, part(taps_of(number, windows))), None

    start = part(taps_of(numbers[0], windows))
    return lax.scan(step, start, looped_numbers(windows, 1))[0]


def fold_axis(carrier: Any, axis: int, window: AxisWindow, combine: Callable) -> Any:
    """Folds windows along one axis, whose padding is already in `carrier`, by doubling.

    For operations of a user's own, in which every element must count once.

    `combine` takes two carriers and how many taps the second starts after the first.
    """
    k, s = window.window, window.stride
    part = functools.partial(_tap, axis=axis, window=window)

    # Taps one by one read k/s elements per input element; doubling makes log2(k) passes instead.
    if k <= 4 or (k <= _UNROLLED_TAPS and k <= 2 * s * math.log2(k)):
        return _fold_parts(carrier, range(k), part, combine)

    # `runs` holds folds of `size` consecutive taps, from every position.
    runs, size = carrier, 1
    result, done = None, 0
    while True:
        if k & size:
            piece = part(runs, done)
            result = piece if result is None else combine(result, piece, done)
            done += size
        if 2 * size > k:
            return result
        reach = size * window.dilation
        near = jax.tree.map(lambda c, r=reach: lax.slice_in_dim(c, 0, -r, 1, axis), runs)
        far = jax.tree.map(lambda c, r=reach: lax.slice_in_dim(c, r, None, 1, axis), runs)
        runs = combine(near, far, size)
        size *= 2


def fold_runs(
    carrier: Any,
    axis: int,
    window: AxisWindow,
    combine: Callable,
    materialized: Callable,
    max_runs: int,
) -> Any:
    """As `fold_axis`, where combining what is already in does no harm: parts may overlap.

    A large window is at most `max_runs` runs of taps, and each of these is as many shorter runs.
    ``materialized(f, x)`` is f(x), as arrays in memory if that is of use.
    """
    taps = 1  # of which `carrier` holds folds, from every position
    for run in reversed(window.run_lengths(max_runs)):
        starts = run_starts(run, taps)

        def fold(tree: Any, starts: Any = starts, reach: int = (run - taps)) -> Any:
            def part(tree: Any, start: int) -> Any:
                first, left = start * window.dilation, (reach - start) * window.dilation
                return jax.tree.map(
                    lambda c: lax.slice_in_dim(c, first, c.shape[axis] - left, 1, axis), tree
                )

            return _fold_parts(tree, starts, part, combine)

        carrier, taps = materialized(fold, carrier), run
    part = functools.partial(_tap, axis=axis, window=window)
    return _fold_parts(carrier, run_starts(window.window, taps), part, combine)


def _tap(tree: Any, tap: int, axis: int, window: AxisWindow) -> Any:
    """For every window along `axis`, the entry of `tree` at its tap number `tap`."""
    start = tap * window.dilation
    stop = start + (window.output - 1) * window.stride + 1
    return jax.tree.map(lambda c: lax.slice_in_dim(c, start, stop, step_of(window), axis), tree)


def _fold_parts(carrier: Any, starts: Sequence[int], part: Callable, combine: Callable) -> Any:
    """Combines the parts of `carrier` that begin at some taps, in order."""
    result = part(carrier, starts[0])
    for start in starts[1:]:
        result = combine(result, part(carrier, start), start)
    return result


def fold_whole_axis(carrier: Any, axis: int, combine: Callable, identity: Any) -> Any:
    """Combines neighbours along `axis` until one is left, which stays as size 1."""
    length = jax.tree.leaves(carrier)[0].shape[axis]
    if not isinstance(length, int):
        first, rest = (
            jax.tree.map(lambda c, a=start, b=stop: lax.slice_in_dim(c, a, b, 1, axis), carrier)
            for start, stop in ((0, 1), (1, length))
        )
        rest = jax.tree.map(lambda c: jnp.expand_dims(jnp.moveaxis(c, axis, 0), axis + 1), rest)
        return lax.scan(lambda total, c: (combine(total, c), None), first, rest)[0]

    def padded(carrier: Any, extra: int) -> Any:
        return jax.tree.map(functools.partial(pad, axis, (0, extra)), carrier, identity)

    def halved(carrier: Any) -> Any:
        even, odd = (
            jax.tree.map(lambda c, a=start: lax.slice_in_dim(c, a, None, 2, axis), carrier)
            for start in (0, 1)
        )
        return combine(even, odd)

    rounds = (length - 1).bit_length()
    for _ in range(min(rounds, _WRITTEN_ROUNDS)):
        carrier = halved(padded(carrier, 1) if length % 2 else carrier)
        length = -(-length // 2)
    if length == 1:
        return carrier
    # What is left is little. In a loop it always has the same size, so that one program does.
    left = rounds - _WRITTEN_ROUNDS
    carrier = padded(carrier, 2**left - length)
    carrier = lax.fori_loop(0, left, lambda _, c: padded(halved(c), 2 ** (left - 1)), carrier)
    return jax.tree.map(lambda c: lax.slice_in_dim(c, 0, 1, 1, axis), carrier)
