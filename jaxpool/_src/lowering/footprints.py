"""Windows with a shape: which of a window's taps are its elements."""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jaxpool._src.core.geometry import AxisWindow

# Pooled axes with their geometry; hashable, so that it is a static argument of jax.jit.
Windows = tuple[tuple[int, AxisWindow], ...]
Taps = tuple[int, ...]  # one index per axis


class Shaped(tuple[tuple[int, AxisWindow], ...]):
    """Windows, in the order of their axes, of which only the taps in a footprint are elements.

    `numbers` are the row-major numbers of these taps, ascending. All else about the windows is as
    if they were full, the numbers of taps included.
    """

    numbers: tuple[int, ...]

    def __new__(cls, windows: Iterable[tuple[int, AxisWindow]], numbers: tuple[int, ...]) -> Any:
        self = super().__new__(cls, windows)
        self.numbers = numbers
        return self

    def __eq__(self, other: object) -> bool:
        alike = isinstance(other, Shaped) and self.numbers == other.numbers
        return alike and tuple.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((tuple(self), self.numbers))


def shaped(windows: Windows, footprint: np.ndarray) -> Windows:
    """Windows, in the order that `footprint` has its axes in, with only its taps."""
    order = sorted(range(len(windows)), key=lambda i: windows[i][0])
    taps = np.flatnonzero(np.transpose(footprint, order))
    return Shaped((windows[i] for i in order), tuple(taps.tolist()))


def like(windows: Windows, entries: Iterable[tuple[int, AxisWindow]]) -> Windows:
    """Windows along the same axes, in their order, with the footprint that `windows` have."""
    return Shaped(entries, windows.numbers) if isinstance(windows, Shaped) else tuple(entries)


def in_order(windows: Windows) -> Windows:
    """In the order of their axes."""
    return windows if isinstance(windows, Shaped) else tuple(sorted(windows))


def tap_numbers(windows: Windows) -> Sequence[int]:
    """The row-major numbers of all taps that are elements, ascending."""
    if isinstance(windows, Shaped):
        return windows.numbers
    return range(int(np.prod([w.window for _, w in windows], dtype=object)))


def tap_count(windows: Windows) -> int:
    """How many these are."""
    return len(tap_numbers(windows))


def all_taps(windows: Windows) -> list[Taps]:
    """All taps that are elements of a window, one index per axis, in row-major order."""
    sizes = [w.window for _, w in windows]
    if isinstance(windows, Shaped):
        indices = np.unravel_index(np.asarray(windows.numbers), sizes)
        return [tuple(map(int, taps)) for taps in zip(*indices, strict=True)]
    return list(itertools.product(*map(range, sizes)))


def shifts(windows: Windows, run: int = 1) -> list[tuple[int, ...]]:
    """`AxisWindow.shifts` of all axes together, in which there is an element.

    That is as many as there are taps at most.
    """
    if isinstance(windows, Shaped):
        return sorted(taps_by_shift(windows))
    return list(itertools.product(*(w.shifts(run) for _, w in windows)))


def taps_by_shift(windows: Windows) -> dict[tuple[int, ...], list[Taps]]:
    """For each of `shifts`, where in their block elements lie, by axis."""
    found: dict[tuple[int, ...], list[Taps]] = {}
    for taps in all_taps(windows):
        places = [
            divmod(tap * w.dilation - w.low, w.stride)
            for tap, (_, w) in zip(taps, windows, strict=True)
        ]
        found.setdefault(tuple(q for q, _ in places), []).append(tuple(e for _, e in places))
    return found


def with_padding(windows: Shaped) -> Shaped:
    """The windows over an input that is already padded, but for what ceil mode adds."""
    entries = (
        (axis, dataclasses.replace(w, length=w.low + w.length + w.high, low=0, high=0))
        for axis, w in windows
    )
    return Shaped(entries, windows.numbers)


def any_tap_always_inside(windows: Shaped) -> bool:
    """Whether all windows are known to have the same tap inside the input."""

    def is_inside(w: AxisWindow, tap: int) -> bool:
        if not all(isinstance(n, int) for n in (w.length, w.low, w.output)):
            return not w.padded
        first, stop = w.inside(tap)
        return first <= 0 and stop >= w.output

    return any(
        all(is_inside(w, tap) for (_, w), tap in zip(windows, taps, strict=True))
        for taps in all_taps(windows)
    )


def as_mask(windows: Shaped, ndim: int) -> np.ndarray:
    """The footprint, laid along the axes of its windows."""
    geometry = dict(windows)
    mask = np.zeros([geometry[i].window if i in geometry else 1 for i in range(ndim)], bool)
    mask.reshape(-1)[list(windows.numbers)] = True
    return mask
