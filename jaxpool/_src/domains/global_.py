"""The domain of whole axes."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.geometry import axis_window
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction, reversed_order, run, with_zeros
from jaxpool._src.lowering import taps
from jaxpool._src.lowering.folds import fold_whole_axis
from jaxpool._src.lowering.masked import masked_sum
from jaxpool._src.lowering.order import LaidOut
from jaxpool._src.lowering.windows import (
    are_known,
    lowest_value,
    materialized,
    positions,
    traced,
    widened,
)

# Axes of up to this length are folded element by element, longer ones in halves.
_IN_ONE_PASS = 64


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Global(Domain):
    """All elements along some axes, as one cell.

    Args:
      axes: the pooled axes, an int or several. There is no default: say which axes are not batch.
      keepdims: whether pooled axes stay, with size 1.

    Raises:
      ValueError: an axis is named twice.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> jaxpool.Global((-3, -2)).output_shape((8, 7, 7, 512))
      (8, 512)
      >>> jaxpool.Global((-3, -2), keepdims=True).output_shape((8, 7, 7, 512))
      (8, 1, 1, 512)
    """

    axes: arguments.Ints
    _: dataclasses.KW_ONLY
    keepdims: bool = False

    def __post_init__(self) -> None:
        for name, value in global_arguments("Global", self.axes, self.keepdims).items():
            object.__setattr__(self, name, value)

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return tuple(sorted(axis % ndim for axis in self._canonical.axes))

    @property
    def _canonical(self) -> Any:
        """Itself, for type checkers: the constructor has made all fields tuples."""
        return self

    def check(self, op: str, shape: Sequence[Any]) -> None:
        axes = arguments.resolved_axes(op, self._canonical.axes, shape)
        arguments.no_empty_axis(op, shape, axes)

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`, whose sizes may be symbolic.

        Args:
          shape: shape of the array to pool.

        Returns:
          `shape` without the pooled axes, or with 1 in their place if `keepdims`.

        Raises:
          ValueError: an axis is missing or empty.
        """
        self.check("Global", shape)
        return self._without(shape, self.pooled_axes(len(shape)))

    def counts(self, shape: Sequence[Any]) -> np.ndarray:
        """Number of elements of each cell.

        Args:
          shape: shape of the array to pool, all sizes known.

        Returns:
          Integer array that broadcasts to the result: 1 on batch axes.

        Raises:
          ValueError: an axis is missing or empty.
        """
        self.check("Global", shape)
        axes = self.pooled_axes(len(shape))
        size = np.prod([shape[axis] for axis in axes], dtype=np.int64)
        return np.reshape(size, self._without([1] * len(shape), axes))

    def _without(self, shape: Sequence[Any], axes: Sequence[int]) -> tuple[Any, ...]:
        """`shape` after the pooled axes are reduced."""
        if self.keepdims:
            return tuple(1 if i in axes else n for i, n in enumerate(shape))
        return tuple(n for i, n in enumerate(shape) if i not in axes)

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        del include_pad  # there is no padding
        axes = self.pooled_axes(len(shape))
        size = functools.reduce(lambda a, b: a * b, [shape[axis] for axis in axes])
        many = self._too_many(shape)  # for int32
        if where is not None:
            if not many:
                return self._drop_axes(masked_sum(jnp.ones((), np.int32), where, axes))
            along_one = jnp.sum(where, axes[0], np.uint32, keepdims=True)
            return self.sum(along_one.astype(np.float32))
        size = jnp.asarray(size, np.float32 if many else np.int32)
        size = size.reshape(self._without([1] * len(shape), axes))
        return lax.optimization_barrier(size)  # as in Window: x / n is then an exact division

    def _too_many(self, shape: Sequence[Any]) -> bool:
        """Whether int32 cannot number the elements of a cell."""
        sizes = [shape[axis] for axis in self.pooled_axes(len(shape))]
        return are_known(*sizes) and math.prod(sizes) > np.iinfo(np.int32).max

    def _check_numbers(self, shape: Sequence[Any]) -> None:
        """Refuses what numbers the elements of a cell that has too many."""
        if self._too_many(shape):
            raise parameters.MisfitError(
                "`x` must have at most 2**31 - 1 elements on its pooled axes, since ranks and "
                f"numbers of elements are int32; got x.shape={tuple(shape)}. Pool it in parts."
            )

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        axes = self.pooled_axes(x.ndim)
        if where is not None:
            return self._drop_axes(masked_sum(x, where, axes))
        return jnp.sum(x, axes, dtype=x.dtype, keepdims=self.keepdims)

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: str | None = None
    ) -> jax.Array:
        del implementation  # there is one
        input_dtype, x = x.dtype, widened(x)
        if where is not None:
            x = jnp.where(where, x, lowest_value(x.dtype))
        y = _compiled_first_max(x, where, self.pooled_axes(x.ndim))
        return self._drop_axes(y).astype(input_dtype)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return self.max_with_argmax(x, where)[1]

    def max_with_argmax(
        self, x: jax.Array, where: jax.Array | None = None, *, lowest: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        if lowest:
            y, place = self.max_with_argmax(reversed_order(x), where)
            return reversed_order(y), place
        input_dtype, x = x.dtype, widened(x)
        if where is not None:
            x = jnp.where(where, x, lowest_value(x.dtype))
        y, place = _compiled_first_maximum(x, where, self.pooled_axes(x.ndim))
        return self._drop_axes(y).astype(input_dtype), self._drop_axes(place)

    def _drop_axes(self, y: jax.Array) -> jax.Array:
        """`y`, whose pooled axes have size 1, in the shape of the output."""
        return y if self.keepdims else lax.squeeze(y, self.pooled_axes(y.ndim))

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        del kept  # these are small
        x = with_zeros(x, where)
        shape = jax.tree.leaves(x)[0].shape
        axes, output = self.pooled_axes(len(shape)), self.output_shape(shape)

        def laid(c: jax.Array) -> jax.Array:
            c = jnp.broadcast_to(c, output)
            return jnp.broadcast_to(c if self.keepdims else lax.expand_dims(c, axes), shape)

        values = function(x, jax.tree.map(laid, cells))
        return jax.tree.map(lambda value: self.sum(value, where), values)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        self._check_numbers(x.shape)
        axes = self.pooled_axes(x.ndim)
        known = where is None and all(isinstance(x.shape[axis], int) for axis in axes)
        count = self.counts(x.shape) if known else self.count(x.shape, where)
        return LaidOut(x, where, axes, count, self.keepdims)

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        axes = self.pooled_axes(jax.tree.leaves(carrier)[0].ndim)
        for axis in reversed(axes):
            carrier = fold_whole_axis(carrier, axis, combine, identity)
        if self.keepdims:
            return carrier
        return jax.tree.map(lambda c: lax.squeeze(c, axes), carrier)

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
        self._check_numbers(shape)
        if not all(isinstance(shape[axis], int) for axis in self.pooled_axes(len(shape))):
            raise parameters.MisfitError(
                "`x` must have known sizes along its pooled axes, since elements are passed one by "
                f"one; got x.shape={tuple(shape)}. Only batch axes may be symbolic."
            )
        windows = self._as_windows(shape)
        return taps.scan(step, state, elements, windows, where, at_once, laid=self._drop_axes)

    def pick(self, x: jax.Array, numbers: jax.Array) -> jax.Array:
        self._check_numbers(x.shape)
        axes = self.pooled_axes(x.ndim)
        numbers = numbers if self.keepdims else lax.expand_dims(numbers, axes)
        picked = positions(x.shape, axes) == numbers
        return self.sum(jnp.where(picked, x, np.zeros((), x.dtype)))

    def correlate(
        self, x: jax.Array, kernel: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        if where is not None:
            x = jnp.where(where, x, np.zeros((), x.dtype))
        return self.sum(taps.read(x, kernel))

    def _as_windows(self, shape: Sequence[Any]) -> Any:
        """The cell of an array of `shape`, as one window."""
        return tuple(
            (axis, axis_window(shape[axis], shape[axis], 1, 1, "VALID", False))
            for axis in self.pooled_axes(len(shape))
        )


def global_arguments(op: str, axes: Any, keepdims: Any) -> dict[str, Any]:
    """The fields of a `Global`, checked in the name of `op`."""
    return {
        "axes": arguments.axis_numbers(op, axes),
        "keepdims": arguments.flag(op, "keepdims", keepdims),
    }


def channel_after(op: str, channel_axis: Any, shape: Sequence[Any], domain: Global) -> int:
    """Which axis of the result an axis of x is that `domain` does not pool."""
    rank = len(shape)
    channel = arguments.integer(op, "channel_axis", channel_axis, "be an int")
    pooled = domain.pooled_axes(rank)
    if not -rank <= channel < rank or channel % rank in pooled:
        allowed = "be an axis of x that is not pooled"
        arguments.fail(op, "channel_axis", allowed, channel_axis, shape=shape)
    channel %= rank
    return channel if domain.keepdims else channel - sum(axis < channel for axis in pooled)


def global_pool(
    op: str,
    x: Any,
    reduction: Reduction,
    axes: Any,
    keepdims: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    """`pool` over the `Global` of `axes` and `keepdims`, in the name of `op`."""
    domain = Global(**global_arguments(op, axes, keepdims))
    return run(op, x, domain, reduction, where, empty_value)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _first_max(x: jax.Array, where: jax.Array | None, axes: tuple[int, ...]) -> jax.Array:
    """Maximum over `axes`, which stay with size 1."""
    if not are_known(*(x.shape[axis] for axis in axes)):
        y = jnp.max(x, axes, keepdims=True)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return y
        return jnp.where(jnp.any(jnp.isnan(x), axes, keepdims=True), np.array(np.nan, x.dtype), y)

    # Not jnp.max: XLA:CPU's reduction loses NaN in large float32 arrays, and for lax.max 0.0 is
    # larger than -0.0. Neighbours are compared, so that of equal elements the first is the value.
    def larger(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.select((b > a) | (b != b), b, a)

    return _folded(x, axes, larger, lowest_value(x.dtype))


@_first_max.defjvp
def _first_max_jvp(
    axes: tuple[int, ...], primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, where = primals
    y, place = _first_with_place(x, where, axes)
    return y, _element_at(tangents[0], place, axes)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _found(x: jax.Array, y: jax.Array, place: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """`y`, the elements of x at a place, for derivatives: it does not look for them again."""
    del x, place, axes
    return y


@_found.defjvp
def _found_jvp(axes: tuple[int, ...], primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _found(*primals, axes), _element_at(tangents[0], primals[2], axes)


def _element_at(x: jax.Array, place: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """A masked sum, hence linear."""
    elements = jnp.where(positions(x.shape, axes) == place, x, np.zeros((), x.dtype))
    return jnp.sum(elements, axes, dtype=x.dtype, keepdims=True)


def _first_with_place(
    x: jax.Array, where: jax.Array | None, axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """`_first_maximum`, which is differentiable."""
    y, place = _first_maximum(lax.stop_gradient(x), where, axes)
    return _found(x, y, place, axes), place


def _first_maximum(
    x: jax.Array, where: jax.Array | None, axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """The maximum, and the position of the first one, or of the last NaN.

    That is beyond all positions if no element is valid.
    """
    by_pairs = are_known(*x.shape) and x.ndim - 1 not in axes and traced((x, where))
    forms = {"default": functools.partial(_by_comparison, axes=axes)}
    if by_pairs:  # along the last axis XLA:CPU would have no vectors
        in_pairs = functools.partial(_in_pairs, axes=axes)
        forms["cpu"] = functools.partial(materialized, in_pairs)
        return lax.platform_dependent(x, where, **forms)
    return forms["default"](x, where)


_BEYOND = np.int32(np.iinfo(np.int32).max)


def _by_comparison(
    x: jax.Array, where: jax.Array | None, axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """The maximum, then the first position that has it."""
    y = _first_max(x, where, axes)
    hits = x == y
    key = jnp.broadcast_to(positions(x.shape, axes), x.shape)
    is_nan = None
    if jnp.issubdtype(x.dtype, jnp.floating):
        is_nan = jnp.isnan(y)
        hits |= jnp.isnan(x)
        key = jnp.where(is_nan, -1 - key, key)  # the last NaN has the smallest key
    if where is not None:
        hits &= where
    first = jnp.min(jnp.where(hits, key, _BEYOND), axes, keepdims=True)
    return y, first if is_nan is None else jnp.where(is_nan, -1 - first, first)


def _in_pairs(
    x: jax.Array, where: jax.Array | None, axes: tuple[int, ...]
) -> tuple[jax.Array, jax.Array]:
    """Both at once; on CPUs in a third of the time."""
    place = jnp.broadcast_to(positions(x.shape, axes), x.shape)
    if where is not None:
        place = jnp.where(where, place, _BEYOND)

    def larger(a: tuple[jax.Array, ...], b: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        take = (b[0] > a[0]) | (b[0] != b[0])
        if where is not None:  # a valid element may be as low as those that are not
            take |= (a[1] == _BEYOND) & (b[1] != _BEYOND)
        return lax.select(take, b[0], a[0]), lax.select(take, b[1], a[1])

    return _folded((x, place), axes, larger, (lowest_value(x.dtype), _BEYOND))


def _folded(carrier: Any, axes: tuple[int, ...], combine: Callable, identity: Any) -> Any:
    """`fold_whole_axis` along some axes, short ones in one pass and without padding."""
    for axis in reversed(axes):
        length = jax.tree.leaves(carrier)[0].shape[axis]
        if length > _IN_ONE_PASS:
            carrier = fold_whole_axis(carrier, axis, combine, identity)
            continue
        element = lambda i, c=carrier, axis=axis: jax.tree.map(  # noqa: E731
            lambda c: lax.slice_in_dim(c, i, i + 1, 1, axis), c
        )
        carrier = functools.reduce(combine, map(element, range(length)))
    return carrier


_compiled_first_max = jax.jit(_first_max, static_argnums=2)
_compiled_first_maximum = jax.jit(_first_with_place, static_argnums=2)
