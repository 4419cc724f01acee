"""The domain of sliding windows."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, geometry, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction, reversed_order, run, with_zeros
from jaxpool._src.lowering import folds, taps, window_order
from jaxpool._src.lowering import max as lowering_max
from jaxpool._src.lowering import sum as lowering_sum
from jaxpool._src.lowering import windows as lowering
from jaxpool._src.lowering.footprints import (
    Shaped,
    all_taps,
    any_tap_always_inside,
    as_mask,
    in_order,
    shaped,
    tap_count,
    with_padding,
)
from jaxpool._src.lowering.shared_sums import shared_sum

# Windows of more elements are taken axis by axis, where that is possible.
_AT_ONCE = 9


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Window(Domain):
    """A window that slides along some axes.

    Along one axis of length n, with stride s, dilation d and padding (low, high), window i has the
    elements ``i*s - low + j*d`` for j in 0 .. k-1, and there are
    ``(n + low + high - d*(k-1) - 1) // s + 1`` windows.

    Args:
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last.
      footprint: bool array of the window's shape, known to the program: what is False in it is no
        element of the window, and not read. Default: all of the window.

    Raises:
      ValueError: an argument is out of range.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> window = jaxpool.Window((3, 3), strides=2, padding="SAME")
      >>> window.output_shape((8, 224, 224, 64))
      (8, 112, 112, 64)
      >>> jaxpool.Window(3, strides=2, padding=1, axes=0).counts((7,))
      array([2, 3, 3, 2])
    """

    window_shape: arguments.Ints
    strides: arguments.Ints | None = None
    padding: arguments.Padding = "VALID"
    _: dataclasses.KW_ONLY
    dilation: arguments.Ints = 1
    ceil_mode: bool = False
    axes: arguments.Ints | None = None
    footprint: Any = None

    def __post_init__(self) -> None:
        fields = window_arguments(
            "Window",
            self.window_shape,
            self.strides,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.axes,
            self.footprint,
        )
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(axis % ndim for axis in self._canonical.axes)

    @property
    def _canonical(self) -> Any:
        """Itself, for type checkers: the constructor has made all fields tuples."""
        return self

    def windows(self, shape: Sequence[Any]) -> lowering.Windows:
        """Each pooled axis of an array of `shape` with its geometry."""
        me = self._canonical
        pairs = (me.padding,) * len(me.axes) if isinstance(me.padding, str) else me.padding
        per_axis = zip(me.axes, me.window_shape, me.strides, me.dilation, pairs, strict=True)
        windows = tuple(
            (axis % len(shape), geometry.axis_window(shape[axis], k, s, d, p, self.ceil_mode))
            for axis, k, s, d, p in per_axis
        )
        return windows if self.footprint is None else shaped(windows, np.array(self.footprint))

    def check(self, op: str, shape: Sequence[Any]) -> None:
        self._check_rank(op, len(shape))
        axes = arguments.resolved_axes(op, self._canonical.axes, shape)
        arguments.no_empty_axis(op, shape, axes)
        for axis, w in self.windows(shape):
            if not isinstance(w.length, int):
                continue
            if w.output < 1:
                holes = f" ({w.span} with dilation {w.dilation})" if w.dilation > 1 else ""
                arguments.fail(
                    op,
                    "window_shape",
                    f"fit the padded input: the window of {w.window}{holes} is larger than the "
                    f"{w.length} + {w.low} + {w.high} elements of axis {axis}",
                    self.window_shape,
                    shape=shape,
                    hint="Write a smaller window, padding, or `axes` if these are not the axes "
                    "that you mean.",
                )
            if not w.always_meets_input and (cell := w.first_empty()) is not None:
                pads = (w.low, w.high)
                arguments.fail(
                    op,
                    "padding",
                    f"leave every window an element of the input: window {cell} of axis {axis} "
                    f"lies wholly in padding {pads}",
                    self.padding,
                    shape=shape,
                    hint=f"Write less padding, or a smaller dilation than {w.dilation}."
                    if w.dilation > 1
                    else "Write less padding.",
                )

    def _check_rank(self, op: str, ndim: int) -> None:
        """Says which entries are too many, if all axes of x have one, as elsewhere."""
        window = self._canonical.window_shape
        full = len(window) == ndim > 2 and self._canonical.axes == tuple(range(-ndim - 1, -1))
        if full and window[0] == window[-1] == 1:
            arguments.fail(
                op,
                "window_shape",
                f"have at most {ndim - 1} entries, one for each pooled axis, since x has {ndim} "
                "axes and its last is channels",
                window,
                hint=f"Write window_shape={window[1:-1]}: batch and channels have no entry.",
            )

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        windows = self.windows(shape)
        if isinstance(windows, Shaped):
            return not any_tap_always_inside(windows)
        return any(not isinstance(w.length, int) and not w.always_meets_input for _, w in windows)

    def most(self, shape: Sequence[Any]) -> int:
        return tap_count(self.windows(shape))

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`, whose sizes may be symbolic.

        Args:
          shape: shape of the array to pool.

        Returns:
          `shape` with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on pooled axes.

        Raises:
          ValueError: the window does not fit.
        """
        self.check("Window", shape)
        windows = dict(self.windows(shape))
        return tuple(windows[i].output if i in windows else n for i, n in enumerate(shape))

    def counts(self, shape: Sequence[Any], *, include_pad: bool = False) -> np.ndarray:
        """Number of elements of the input in each window.

        Args:
          shape: shape of the array to pool, all sizes known.
          include_pad: whether declared padding counts too; what ceil mode adds never does.

        Returns:
          Integer array that broadcasts to the result: 1 on batch axes.

        Raises:
          ValueError: the window does not fit.
        """
        self.check("Window", shape)
        windows = self.windows(shape)
        if isinstance(windows, Shaped):
            return self._counts_of_footprint(windows, len(shape), include_pad)
        counts = np.ones([1] * len(shape), np.int64)
        for axis, w in windows:
            vector = w.padded_counts() if include_pad else w.counts()
            counts = counts * lowering.along(vector, axis, len(shape))
        return counts

    @staticmethod
    def _counts_of_footprint(windows: Shaped, ndim: int, include_pad: bool) -> np.ndarray:
        windows = with_padding(windows) if include_pad else windows
        total = np.zeros([1] * ndim, np.int64)
        for tap in all_taps(windows):
            inside = np.ones([1] * ndim, bool)
            for (axis, w), index in zip(windows, tap, strict=True):
                places = w.starts() + index * w.dilation
                here = (places >= 0) & (places < w.length)
                inside = inside & lowering.along(here, axis, ndim)
            total = total + inside
        return total

    def _count_vectors(self, shape: Sequence[Any], include_pad: bool) -> list[Any]:
        """One vector for each pooled axis, laid along it; their product counts each window.

        Numbers where they are the same for all windows, else computed by the program.
        """
        vectors, windows = [], self.windows(shape)
        if isinstance(windows, Shaped):
            windows = with_padding(windows) if include_pad else windows
            if any(w.padded for _, w in windows):
                return [lowering_sum.footprint_count(windows, len(shape))]
            return [np.full([1] * len(shape), tap_count(windows))]
        for axis, w in windows:
            one = w.padded_count if include_pad else w.count
            if one is not None:
                vectors.append(np.full([1] * len(shape), one))
                continue
            vector = w.padded_counts(jnp) if include_pad else w.counts(jnp)
            vectors.append(lowering.along(vector, axis, len(shape)))
        return vectors

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        inside = None if where is None else self.sum(where.astype(np.int32))
        if inside is not None and not include_pad:
            return inside
        declared = product_of_counts(self._count_vectors(shape, include_pad))
        if inside is None:
            return declared
        return inside + (declared - product_of_counts(self._count_vectors(shape, False)))

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.zeros((), x.dtype))
        windows = self.windows(x.shape)
        if isinstance(windows, Shaped):
            return lowering_sum.footprint_sum(x, windows)
        return shared_sum(x, windows)

    def max(
        self,
        x: jax.Array,
        where: jax.Array | None = None,
        *,
        implementation: lowering_max.Implementation | None = None,
        lowest: bool = False,
    ) -> jax.Array:
        if self.footprint is not None and implementation not in (None, "taps"):
            raise parameters.MisfitError(
                '`implementation` must be None or "taps" where windows have a footprint; got '
                f"implementation={implementation!r}."
            )
        windows = self.windows(x.shape)
        return lowering_max.window_max(x, where, windows, implementation, lowest=lowest)

    def min(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return super().min(x, where, implementation=implementation)
        return self.max(x, where, implementation=implementation, lowest=True)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return lowering_max.window_argmax(x, where, self.windows(x.shape))

    def max_with_argmax(
        self, x: jax.Array, where: jax.Array | None = None, *, lowest: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        if lowest and not jnp.issubdtype(x.dtype, jnp.floating):
            y, indices = self.max_with_argmax(reversed_order(x), where)
            return reversed_order(y), indices
        windows = self.windows(x.shape)
        return lowering_max.window_max_with_argmax(x, where, windows, lowest=lowest)

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        x = with_zeros(x, where)
        windows = self.windows(jax.tree.leaves(x)[0].shape)
        return lowering_sum.tap_sum(function, x, cells, windows, where, kept=kept)

    def stages(self, shape: Sequence[Any]) -> Sequence[Domain]:
        windows = dict(self.windows(shape))
        small = lowering.window_size(tuple(windows.items())) <= _AT_ONCE
        if small or self.footprint is not None:
            return (self,)
        strides = dict(zip(windows, self._canonical.strides, strict=True))
        return tuple(
            Window(w.window, strides[axis], ((w.low, w.high),), dilation=w.dilation,
                   ceil_mode=self.ceil_mode, axes=axis)
            for axis, w in sorted(windows.items(), reverse=True)
        )  # fmt: skip

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        windows = self.windows(x.shape)
        known = where is None and all(w.count is not None for _, w in windows)
        count = self.count(x.shape, where)
        if known:
            count = np.full([1] * x.ndim, tap_count(windows))
        return window_order.elements_of(x, where, in_order(windows), count)

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        shape = jax.tree.leaves(carrier)[0].shape
        return folds.fold(carrier, self.windows(shape), combine, identity)

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
        windows = self.windows(shape)
        return taps.scan(step, state, elements, windows, where, at_once)

    def pick(self, x: jax.Array, numbers: jax.Array) -> jax.Array:
        return taps.pick(x, numbers, self.windows(x.shape))

    def correlate(
        self, x: jax.Array, kernel: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.zeros((), x.dtype))
        windows = self.windows(x.shape)
        if isinstance(windows, Shaped):
            kernel = jnp.where(as_mask(windows, x.ndim), kernel, np.zeros((), kernel.dtype))
        return taps.correlate(x, kernel, tuple(windows))


def window_arguments(
    op: str,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    footprint: Any = None,
) -> dict[str, Any]:
    """The fields of a `Window`, checked in the name of `op`."""
    shape, axes = arguments.window_axes(op, window_shape, axes)
    n = len(shape)
    return {
        "window_shape": shape,
        "strides": shape if strides is None else arguments.ints(op, "strides", strides, n, 1),
        "padding": arguments.padding(op, padding, n),
        "dilation": arguments.ints(op, "dilation", dilation, n, 1),
        "ceil_mode": arguments.flag(op, "ceil_mode", ceil_mode),
        "axes": axes,
        "footprint": arguments.footprint(op, footprint, shape),
    }


def window_pool(
    op: str, x: Any, reduction: Reduction, window: Sequence[Any], where: Any, empty_value: Any
) -> jax.Array:
    """`pool` over the `Window` of those positional arguments, in the name of `op`."""
    domain = Window(**window_arguments(op, *window))
    return run(op, x, domain, reduction, where, empty_value)


def product_of_counts(vectors: Sequence[Any]) -> jax.Array:
    """Product of vectors along different axes, each a scalar if it is constant.

    The barrier makes them run-time values. Else XLA turns division by them into multiplication
    with a rounded reciprocal, and folds the product of long vectors at compile time.
    """
    factors = []
    for v in vectors:
        if isinstance(v, np.ndarray) and v.size and (v == v.flat[0]).all():
            v = v.flat[0].reshape([1] * v.ndim)
        factors.append(lax.optimization_barrier(jnp.asarray(v, np.int32)))
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product
