"""The domains of intervals along axes: adaptive bins, and bounds of the user's own."""

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.geometry import AxisIntervals, adaptive_intervals, exact_intervals
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, with_zeros
from jaxpool._src.domains.window import product_of_counts
from jaxpool._src.lowering import interval_max, interval_scan
from jaxpool._src.lowering import intervals as lowering_intervals
from jaxpool._src.lowering import max as lowering_max
from jaxpool._src.lowering.intervals import Bounds
from jaxpool._src.lowering.order import LaidOut
from jaxpool._src.lowering.windows import along, lowest_value, widened


@dataclasses.dataclass(frozen=True)
class _Intervals(Domain):
    """Intervals along axes of known sizes; the services of both public domains.

    `geometry` has axes from the front, in order, each with its intervals; `bounds` has what is
    known to the program only.
    """

    geometry: tuple[tuple[int, AxisIntervals], ...]
    bounds: tuple[Bounds, ...]

    @property
    def _axes(self) -> list[tuple[int, AxisIntervals, Bounds]]:
        """Each axis with its geometry and bounds."""
        return [(*g, b) for g, b in zip(self.geometry, self.bounds, strict=True)]

    @property
    def _changed(self) -> list[tuple[int, AxisIntervals, Bounds]]:
        """Those of which not each element is a cell."""
        single = exact_intervals(1, (0,), (1,))
        return [entry for entry in self._axes if dataclasses.replace(entry[1], repeats=1) != single]

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        del ndim
        return tuple(axis for axis, _ in self.geometry)

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        outputs = {axis: g.output for axis, g in self.geometry}
        return tuple(outputs.get(i, n) for i, n in enumerate(shape))

    def counts(self, shape: Sequence[Any]) -> Any:
        product = functools.reduce(operator.mul, self._count_vectors(len(shape)))
        return product.astype(np.int64) if isinstance(product, np.ndarray) else product

    def _count_vectors(self, ndim: int) -> list[Any]:
        vectors = []
        for axis, geometry, bounds in self._axes:
            if bounds is None:
                sizes = [len(hull) for hull in geometry.hulls] * geometry.repeats
                vectors.append(along(np.array(sizes, np.int32), axis, ndim))
            else:
                start, stop = bounds
                stop = jnp.minimum(stop, np.int32(geometry.length))
                vectors.append(jnp.maximum(stop - jnp.maximum(start, np.int32(0)), np.int32(0)))
        return vectors

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        del shape
        return any(geometry.can_be_empty for _, geometry in self.geometry)

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        del include_pad  # there is no padding
        if where is not None:
            return self.sum(where.astype(np.int32))
        return product_of_counts(self._count_vectors(len(shape)))

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.zeros((), x.dtype))
        for axis, geometry, bounds in self._changed:
            x = lowering_intervals.interval_sum(x, bounds, axis, geometry)
        return x

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        del implementation  # there is one for each geometry
        if self._overlap_as_windows:
            return self._max_of_windows(x, where)
        input_dtype, x = x.dtype, widened(x)
        if where is not None:
            x = jnp.where(where, x, lowest_value(x.dtype))
        # The last axis first: then the first of equal elements is so in row-major order.
        for number, (axis, geometry, bounds) in enumerate(reversed(self._changed)):
            if number > 0:
                x = interval_max.with_tangent_apart(x)
            if lowering_intervals.is_long(geometry, bounds):
                (x, where), geometry = lowering_intervals.side_by_side((x, where), axis, geometry)
            x, where = interval_max.interval_max(x, where, bounds, axis, geometry)
        return x.astype(input_dtype)

    @property
    def _overlap_as_windows(self) -> bool:
        """Whether cells lie as windows do, and not merely side by side."""
        axes = self._changed
        fit = all(bounds is None and geometry.window is not None for _, geometry, bounds in axes)
        return fit and any(len(geometry.starts) > 1 for _, geometry, _ in axes)

    def _max_of_windows(self, x: jax.Array, where: jax.Array | None) -> jax.Array:
        """Maxima of windows, in each of the parts that an axis consists of."""
        shape, windows = self.output_shape(x.shape), []
        for axis, geometry, _ in reversed(self._changed):
            if geometry.repeats > 1:
                x, where = jax.tree.map(
                    functools.partial(
                        lowering_intervals.split_parts, axis=axis, repeats=geometry.repeats
                    ),
                    (x, where),
                )
                windows = [(a + 1, w) for a, w in windows]
                axis += 1
            windows.append((axis, geometry.window))
        return lowering_max.window_max(x, where, tuple(windows)).reshape(shape)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        x = widened(x)
        if where is not None:
            x = jnp.where(where, x, lowest_value(x.dtype))
        sizes = [geometry.length * geometry.repeats for _, geometry in self.geometry]
        position = jnp.zeros([1] * x.ndim, np.int32)
        for i, (axis, geometry, bounds) in reversed(list(enumerate(self._axes))):
            x, where, picked = interval_max.interval_argmax(x, where, bounds, axis, geometry)
            part = np.repeat(np.arange(geometry.repeats), len(geometry.starts)) * geometry.length
            place = picked.astype(np.int32) + along(part.astype(np.int32), axis, x.ndim)
            if position.shape[axis] > 1:
                position = interval_max.pick_elements(position, picked, axis, geometry)
            position = position + place * np.int32(np.prod(sizes[i + 1 :], dtype=np.int64))
        return position

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        del kept  # there is one form
        x = with_zeros(x, where)
        shape = self.output_shape(jax.tree.leaves(x)[0].shape)
        cells = jax.tree.map(lambda c: jnp.broadcast_to(c, shape), cells)
        # Recomputing keeps the backward pass from holding each cell's elements.
        return jax.checkpoint(
            lambda x, cells: interval_scan.interval_sum_with(function, x, cells, where, self._axes)
        )(x, cells)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        known = where is None and all(bounds is None for bounds in self.bounds)
        count = self.counts(x.shape) if known else self.count(x.shape, where)
        x, valid, axes = interval_scan.unfolded(x, where, self._axes)
        return LaidOut(x, valid, axes, count)

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        for axis, geometry, bounds in reversed(self._changed):
            carrier = lowering_intervals.interval_fold(
                carrier, combine, identity, bounds, axis, geometry
            )
        return carrier

    def scan(
        self,
        step: Callable[[Any, Any, Any], Any],
        state: Any,
        elements: Any,
        where: jax.Array | None = None,
        *,
        at_once: int = 64,
    ) -> Any:
        return interval_scan.interval_scan(step, state, elements, where, self._axes, at_once)


class Delegating(Domain):
    """A domain that, for arrays of a given shape, is another one."""

    _name = ""

    def _over(self, shape: Sequence[Any]) -> Domain:
        raise NotImplementedError

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`, whose batch sizes may be symbolic.

        Args:
          shape: shape of the array to pool.

        Returns:
          `shape` with the number of intervals on pooled axes.

        Raises:
          ValueError: an axis is missing, empty, or too short.
        """
        self.check(type(self).__name__, shape)
        return self._over(shape).output_shape(shape)

    def counts(self, shape: Sequence[Any]) -> Any:
        """Number of elements of each cell.

        Args:
          shape: shape of the array to pool, all sizes known.

        Returns:
          Integer array that broadcasts to the result: 1 on batch axes.

        Raises:
          ValueError: an axis is missing, empty, or too short.
        """
        self.check(type(self).__name__, shape)
        return self._over(shape).counts(shape)

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        return self._over(shape).can_be_empty(shape)

    def most(self, shape: Sequence[Any]) -> int | None:
        return self._over(shape).most(shape)

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        return self._over(shape).count(shape, where, include_pad=include_pad)

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return self._over(x.shape).sum(x, where)

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        return self._over(x.shape).max(x, where, implementation=implementation)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return self._over(x.shape).argmax(x, where)

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        shape = jax.tree.leaves(x)[0].shape
        return self._over(shape).sum_with(function, x, cells, where, kept=kept)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        return self._over(x.shape).elements(x, where)

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        shape = jax.tree.leaves(carrier)[0].shape
        return self._over(shape).fold(carrier, combine, identity)

    def scan(
        self,
        step: Callable[[Any, Any, Any], Any],
        state: Any,
        elements: Any,
        where: jax.Array | None = None,
        *,
        at_once: int = 64,
    ) -> Any:
        shape = jax.tree.leaves(elements)[0].shape
        return self._over(shape).scan(step, state, elements, where, at_once=at_once)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Adaptive(Delegating):
    """As many cells as you say, whatever the size of the input.

    Along one axis of length n, cell i of o has the elements from ``i*n // o`` up to, without it,
    ``ceil((i + 1)*n / o)``: PyTorch's rule. Neighbours share an element where o does not divide n,
    and elements repeat where o is larger. Where o divides n, these are the cells of a `Window`.

    Args:
      sizes: number of cells along each pooled axis, None to keep an axis as it is; or an int for
        all `axes`.
      axes: the pooled axes, an int or one for each entry of `sizes`. Default: the ``len(sizes)``
        axes just before the last, which is channels-last.

    Raises:
      ValueError: an argument is out of range.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> jaxpool.Adaptive((7, 7)).output_shape((8, 60, 33, 512))
      (8, 7, 7, 512)
      >>> jaxpool.Adaptive(3, axes=0).counts((7,))
      array([3, 3, 3])
      >>> jaxpool.pool(jnp.arange(7.), jaxpool.Adaptive(3, axes=0), jaxpool.Mean())
      Array([1., 3., 5.], dtype=float32)
    """

    sizes: arguments.Sizes
    _: dataclasses.KW_ONLY
    axes: arguments.Ints | None = None

    def __post_init__(self) -> None:
        sizes, axes = arguments.sizes_and_axes("Adaptive", "sizes", self.sizes, self.axes)
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "axes", axes)

    @property
    def _canonical(self) -> Any:
        """Itself, for type checkers: the constructor has made all fields tuples."""
        return self

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(sorted(axis % ndim for axis in self._canonical.axes))

    def check(self, op: str, shape: Sequence[Any]) -> None:
        axes = arguments.resolved_axes(op, self._canonical.axes, shape)
        arguments.no_empty_axis(op, shape, axes)
        for axis in axes:
            arguments.known_size(op, shape, axis)

    def _over(self, shape: Sequence[Any]) -> Domain:
        me, rank = self._canonical, len(shape)
        pairs = sorted((a % rank, s) for a, s in zip(me.axes, me.sizes, strict=True))
        geometry = tuple((a, adaptive_intervals(shape[a], size or shape[a])) for a, size in pairs)
        return _Intervals(geometry, (None,) * len(geometry))


@explained
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class Intervals(Delegating):
    """Cells of your own bounds: along one axis, cell i has the elements ``starts[i]:stops[i]``.

    The stop is not in it. Intervals may overlap, leave gaps, come in any order and be empty. Over
    several axes, cells are all combinations of their intervals.

    Args:
      starts: for each pooled axis the first element of each interval, as ints or as an array,
        which may be traced. Arrays may differ along batch axes: they then have the rank of x, with
        as many entries as intervals on their axis, and 1 or as many as x elsewhere. For an int
        `axes`, ints or an array alone.
      stops: likewise, where each interval ends. Ints lie within x; of what arrays say, only the
        part within x counts.
      axes: the pooled axes, an int or one for each entry of `starts`. Default: the ``len(starts)``
        axes just before the last, which is channels-last.

    Raises:
      ValueError: an argument is out of range, or the numbers of starts and stops differ.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.pool(x, jaxpool.Intervals([0, 1, 2], [2, 5, 2], axes=0), jaxpool.Sum())
      Array([ 3., 30.,  0.], dtype=float32)
      >>> thirds = jaxpool.Intervals([[0, 2]] * 2, [[2, 6]] * 2)
      >>> thirds.output_shape((8, 6, 6, 3))
      (8, 2, 2, 3)
    """

    starts: Any
    stops: Any
    _: dataclasses.KW_ONLY
    axes: arguments.Ints | None = None

    # What is known of traced bounds while tracing: the least and largest of each, for each axis.
    _limits: Any = dataclasses.field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        starts, stops, axes = arguments.bounds("Intervals", self.starts, self.stops, self.axes)
        for name, value in (("starts", starts), ("stops", stops), ("axes", axes)):
            object.__setattr__(self, name, value)

    def tree_flatten(self) -> tuple[Any, Any]:
        """Bounds that are arrays, and all else."""
        entries = (*self.starts, *self.stops)
        arrays = [e for e in entries if not isinstance(e, tuple)]
        ints = tuple(e if isinstance(e, tuple) else None for e in entries)
        return arrays, (ints, self.axes, self._limits)

    @classmethod
    def tree_unflatten(cls, static: Any, arrays: Any) -> "Intervals":
        """The inverse of `tree_flatten`, around anything."""
        ints, axes, limits = static
        rest = iter(arrays)
        entries = [next(rest) if e is None else e for e in ints]
        half = len(entries) // 2
        new = object.__new__(cls)
        values = (tuple(entries[:half]), tuple(entries[half:]), axes, limits)
        for name, value in zip(("starts", "stops", "axes", "_limits"), values, strict=True):
            object.__setattr__(new, name, value)
        return new

    @property
    def _canonical(self) -> Any:
        """Itself, for type checkers: the constructor has made all fields tuples."""
        return self

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(sorted(axis % ndim for axis in self._canonical.axes))

    def check(self, op: str, shape: Sequence[Any]) -> None:
        axes = arguments.resolved_axes(op, self._canonical.axes, shape)
        arguments.no_empty_axis(op, shape, axes)
        for axis, start, stop in zip(axes, self.starts, self.stops, strict=True):
            arguments.known_size(op, shape, axis)
            arguments.bounds_fit(op, start, stop, shape, axis, axes)

    def _over(self, shape: Sequence[Any]) -> Domain:
        rank, found = len(shape), []
        limits = self._limits or [None] * len(self.starts)
        for axis, start, stop, limit in zip(
            self._canonical.axes, self.starts, self.stops, limits, strict=True
        ):
            axis, bounds = axis % rank, None
            if isinstance(start, tuple) and isinstance(stop, tuple):
                geometry = exact_intervals(shape[axis], start, stop)
            else:
                start, stop = (_laid(bound, axis, rank) for bound in (start, stop))
                bounds = (start, stop)
                anywhere = ((0, shape[axis]),) * start.shape[axis]
                geometry = AxisIntervals(shape[axis], *(limit or (anywhere, anywhere)))
            found.append((axis, geometry, bounds))
        found.sort(key=lambda entry: entry[0])
        return _Intervals(tuple((a, g) for a, g, _ in found), tuple(b for _, _, b in found))


def within_limits(domain: Intervals, limits: Any) -> Intervals:
    """`domain` with what is known of its traced bounds."""
    object.__setattr__(domain, "_limits", limits)
    return domain


def _laid(bound: Any, axis: int, rank: int) -> jax.Array:
    """`bound` in the rank of x."""
    bound = jnp.asarray(bound, np.int32)
    return along(bound, axis, rank) if bound.ndim == 1 else bound
