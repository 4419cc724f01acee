"""Where windows lie: output sizes, paddings and element counts, one axis at a time.

Plain integer arithmetic, so a length may also be a symbolic dimension of ``jax.export``. The only
names taken from JAX are ``max_dim`` and ``min_dim``, which are ``max`` and ``min`` for ints.
"""

import dataclasses
import functools
import itertools
import math
from typing import Any

import numpy as np
from jax.core import max_dim, min_dim

# An int, or a symbolic dimension, which behaves like one but has no public type.
Size = Any

# No more taps than this are written out one by one.
_MOST_TAPS = 64


@dataclasses.dataclass(frozen=True)
class AxisWindow:
    """The windows along one axis: window ``i`` has taps ``i * stride - low + j * dilation``."""

    length: Size
    window: int
    stride: int
    dilation: int
    low: Size
    high: Size  # declared padding, what `count_include_pad` counts; the ceil overhang is not in it
    output: Size
    ceil_mode: bool = False

    @property
    def span(self) -> int:
        """Length that one window covers, holes included."""
        return (self.window - 1) * self.dilation + 1

    @property
    def right(self) -> Size:
        """Padding that the last window needs on the right; less than `high` if a rest is left."""
        needed = (self.output - 1) * self.stride + self.span - self.length - self.low
        if isinstance(needed, int):
            return max(needed, 0)
        # Of a symbolic length only the bound is known; a cell too many does no harm.
        return self.high + (self.stride - 1 if self.ceil_mode else 0)

    @property
    def padded(self) -> bool:
        """Whether any window reads outside the input."""
        low, right = self.low, self.right
        return not (isinstance(low, int) and low == 0 and isinstance(right, int) and right == 0)

    @property
    def always_meets_input(self) -> bool:
        """Whether every window has a tap inside the input, whatever the length (at least 1)."""
        small = all(isinstance(p, int) and p < self.window for p in (self.low, self.high))
        return small and self.dilation == 1

    def starts(self, xp: Any = np) -> Any:
        """First tap of each window, in input coordinates; `xp` is numpy or, if symbolic, jnp."""
        return xp.arange(self.output) * self.stride - self.low

    def counts(self, xp: Any = np) -> Any:
        """Number of taps of each window that lie inside the input."""
        starts = self.starts(xp)
        first = -(xp.minimum(starts, 0) // self.dilation)  # ceil(max(-start, 0) / dilation)
        last = xp.minimum((self.length - 1 - starts) // self.dilation, self.window - 1)
        return xp.maximum(last - first + 1, 0)

    @property
    def count(self) -> int | None:
        """What `counts` says of each window, if all lie inside."""
        return None if self.padded else self.window

    @property
    def padded_count(self) -> int | None:
        """What `padded_counts` says of each window, if none reaches over declared padding."""
        room = self.length + self.high + self.low - self.span - (self.output - 1) * self.stride
        return self.window if isinstance(room, int) and room >= 0 else None

    def first_empty(self) -> int | None:
        """The first window without a tap inside the input, of sizes that are known."""
        if self.low > (self.window - 1) * self.dilation:
            return 0
        # A tap may step over an input that is shorter than the step.
        found = _first_residue(self.stride, -self.low, self.dilation, self.length)
        after = -(-(self.length + self.low) // self.stride)  # the first that starts behind it
        found = after if found is None else min(found, after)
        return found if found < self.output else None

    def padded_counts(self, xp: Any = np) -> Any:
        """Number of taps inside the input or its declared padding (PyTorch's default divisor)."""
        room = self.length + self.high - self.starts(xp)
        return xp.minimum(-(-room // self.dilation), self.window)

    def runs(self) -> list[tuple[Size, Size, "AxisWindow"]]:
        """The windows in runs: those with padding before the input, those without, those after.

        Of each run the geometry, and from where to where it reads the input. One run if lengths
        are symbolic, and where some window has padding on both sides.
        """
        whole: list[tuple[Size, Size, AxisWindow]] = [(0, self.length, self)]
        if not (isinstance(self.length, int) and isinstance(self.low, int)) or not self.padded:
            return whole
        last_start = self.length + self.low - self.span  # the last without padding after
        before = -(-self.low // self.stride)
        until = min(last_start // self.stride + 1, self.output)
        if before >= until:
            return whole
        found = []
        for first, stop in ((0, before), (before, until), (until, self.output)):
            if first < stop:
                start = max(first * self.stride - self.low, 0)
                end = min((stop - 1) * self.stride - self.low + self.span, self.length)
                low = max(self.low - first * self.stride, 0)
                run = dataclasses.replace(self, length=end - start, low=low, output=stop - first)
                found.append((start, end, run))
        return found

    @property
    def blocks(self) -> int:
        """Number of blocks of `stride` elements that the input falls into, the last padded."""
        return -(-self.length // self.stride)

    def shifts(self, run: int = 1) -> list[int]:
        """All q such that taps of window i begin in block ``i + q``, for taps in runs of `run`.

        The last run ends with the window and so may overlap the one before. For 3 taps, stride 2
        and 1 element of padding, window i has its tap 0 in block i - 1, and its taps 1 and 2 in
        block i: ``[-1, 0]``.
        """
        starts = run_starts(self.window, run)
        return sorted({(start * self.dilation - self.low) // self.stride for start in starts})

    def taps_of(self, element: Any, q: int, run: int = 1, xp: Any = np) -> tuple[Any, Any, Any]:
        """What begins at an element of a block, for the window that is `q` blocks before it.

        The first tap that the run is for, the number of taps that it is for (0 if none begins
        there), and the first tap that it has.
        """
        offset = element + (q * self.stride + self.low)
        start, last = offset // self.dilation, self.window - run
        begins = (offset % self.dilation == 0) & (start >= 0) & (start <= last)
        begins &= (start % run == 0) | (start == last)
        first = xp.where(start == last, -(-last // run) * run, start)
        count = xp.where(begins, xp.minimum(self.window - first, run), 0)
        return first, count, start

    def border(self, run: int = 1) -> tuple[int, int]:
        """How many windows more, before and after, would begin or end all of their runs outside.

        With these, every block is reached by windows ``block - q`` for all q of `shifts`.
        """
        shifts = self.shifts(run)
        return max(shifts[-1], 0), max(self.blocks - shifts[0] - self.output, 0)

    def run_lengths(self, max_runs: int) -> list[int]:
        """Lengths of runs of taps that make up a window, each at most `max_runs` times the next."""
        taps, lengths = self.window, []
        # Taps one by one read taps / stride elements for each element of the input. That may be
        # few, and yet be too many to write out.
        most = max(max_runs, min(max_runs * self.stride, _MOST_TAPS))
        while taps > most:
            levels = next(n for n in itertools.count(2) if max_runs**n >= taps)
            pieces = next(n for n in itertools.count(2) if n**levels >= taps)
            taps, most = -(-taps // pieces), max_runs
            lengths.append(taps)
        return lengths

    def runs_and_rest(self, run: int) -> tuple["AxisWindow", "AxisWindow"]:
        """This as windows over runs of `run` taps, and each run as a window over the input."""
        starts = self.low + self.length + self.right - (run - 1) * self.dilation
        outer = dataclasses.replace(self, length=starts, low=0, high=0)
        inner = dataclasses.replace(
            self, window=run, stride=1, high=self.right, output=starts, ceil_mode=False
        )
        return outer, inner

    def inside(self, tap: int) -> tuple[int, int]:
        """From which window up to which tap number `tap` lies inside the input."""
        first = tap * self.dilation - self.low
        return -(first // self.stride), (self.length - 1 - first) // self.stride + 1

    def begun_by(self, tap: int) -> tuple[int, int]:
        """From which window up to which `tap` is the first inside an input that has no end."""
        reach = self.low - tap * self.dilation  # of padding, in which no later tap may lie
        until = -(-(reach + self.dilation) // self.stride) if tap else self.output
        return -(-reach // self.stride), until


def _first_residue(step: int, start: int, modulus: int, least: int) -> int | None:
    """The first i >= 0 with ``(start + step * i) % modulus >= least``."""
    if least >= modulus:
        return None
    shift = start % modulus
    low, high = least - shift, modulus - 1 - shift  # what step * i has to be, modulo `modulus`
    return 0 if low <= 0 <= high else _first_multiple(step, modulus, low % modulus, high % modulus)


def _first_multiple(step: int, modulus: int, low: int, high: int) -> int | None:
    """The first i >= 0 with ``low <= step * i % modulus <= high``, as Euclid finds divisors."""
    if low > high:  # a range that goes over 0
        return 0
    step %= modulus
    if low == 0:
        return 0
    if step == 0:
        return None
    if 2 * step > modulus:
        step, low, high = modulus - step, modulus - high, modulus - low
    first = -(-low // step)
    if first * step <= high:
        return first
    # No multiple within the first lap: count laps instead.
    laps = _first_multiple(modulus, step, -high % step, -low % step)
    return None if laps is None else -(-(low + modulus * laps) // step)


def run_starts(taps: int, run: int) -> list[int]:
    """First taps of the runs of `run` taps that make up `taps`; the last may overlap."""
    return [min(first, taps - run) for first in range(0, taps, run)]


def axis_window(
    length: Size,
    window: int,
    stride: int,
    dilation: int,
    padding: str | tuple[int, int],
    ceil_mode: bool,
) -> AxisWindow:
    """Lays windows along an axis: PyTorch's rule for numbers, XLA's for SAME and SAME_LOWER."""
    span = (window - 1) * dilation + 1
    if padding == "VALID":
        padding = (0, 0)
    if isinstance(padding, str):
        output = (length + stride - 1) // stride
        total = max_dim((output - 1) * stride + span - length, 0)
        low = total // 2 if padding == "SAME" else total - total // 2
        stride = _used_stride(stride, length, output)
        return AxisWindow(length, window, stride, dilation, low, total - low, output)
    low, high = padding
    room = length + low + high - dilation * (window - 1) - 1
    output = room // stride + 1
    if ceil_mode:
        output = (room + stride - 1) // stride + 1
        # PyTorch's last-window rule: a window must start inside the input or the left padding.
        if stride > span - high:
            if isinstance(output, int):
                output -= (output - 1) * stride >= length + low
            else:
                bound = (length + low - 1) // stride + 1
                output = min_dim(output, max_dim(output - 1, bound))
    stride = _used_stride(stride, length, output)
    return AxisWindow(length, window, stride, dilation, low, high, output, ceil_mode)


def _used_stride(stride: int, length: Size, output: Size) -> int:
    """Of one window alone there is no next one, and blocks of `stride` are no longer than x."""
    if isinstance(length, int) and isinstance(output, int) and output == 1:
        return min(stride, max(length, 1))
    return stride


@dataclasses.dataclass(frozen=True)
class AxisIntervals:
    """The intervals along one axis, each known exactly or only to lie within bounds.

    What is described may be a part of the axis, which consists of `repeats` such parts side by
    side, each with the same intervals.
    """

    length: int
    starts: tuple[tuple[int, int], ...]  # the least and the largest start of each interval
    stops: tuple[tuple[int, int], ...]
    repeats: int = 1
    sizes: tuple[int, ...] | None = None  # one of them of each, if known where starts are not

    @functools.cached_property
    def exact(self) -> bool:
        """Whether the bounds are all known."""
        return all(low == high for low, high in self.starts + self.stops)

    @functools.cached_property
    def hulls(self) -> tuple[range, ...]:
        """For each interval, the elements of the axis that may be in it."""
        return tuple(
            range(max(start, 0), max(min(stop, self.length), start, 0))
            for (start, _), (_, stop) in zip(self.starts, self.stops, strict=True)
        )

    @property
    def can_be_empty(self) -> bool:
        """Whether an interval may have no element."""
        return any(
            start >= stop for (_, start), (stop, _) in zip(self.starts, self.stops, strict=True)
        )

    @property
    def output(self) -> int:
        """Number of intervals on the whole axis."""
        return len(self.starts) * self.repeats

    def every_window(self, size: int) -> AxisWindow:
        """The windows of `size` elements, one at each place."""
        return AxisWindow(self.length, size, 1, 1, 0, 0, self.length - size + 1)

    @functools.cached_property
    def window(self) -> AxisWindow | None:
        """The intervals of a part as windows without padding, if they lie as those do."""
        hulls, count = self.hulls, len(self.hulls)
        size = len(hulls[0])
        stride = hulls[1].start if count > 1 else size
        regular = all(hull == range(i * stride, i * stride + size) for i, hull in enumerate(hulls))
        if not (self.exact and regular and size > 0 and stride > 0):
            return None
        return AxisWindow(self.length, size, stride, 1, 0, 0, count)


def exact_intervals(length: int, starts: tuple[int, ...], stops: tuple[int, ...]) -> AxisIntervals:
    """Intervals whose bounds are known."""
    return AxisIntervals(length, tuple((i, i) for i in starts), tuple((i, i) for i in stops))


def adaptive_intervals(length: int, output: int) -> AxisIntervals:
    """PyTorch's bins, ``i*length // output`` up to ``ceil((i + 1)*length / output)``.

    They repeat as often as the greatest common divisor of both sizes says.
    """
    repeats = math.gcd(length, output)
    n, o = length // repeats, output // repeats
    starts = tuple(i * n // o for i in range(o))
    stops = tuple(-(-(i + 1) * n // o) for i in range(o))
    return dataclasses.replace(exact_intervals(n, starts, stops), repeats=repeats)
