"""The domain of segments: elements that say which cell they belong to."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, with_zeros
from jaxpool._src.lowering import segments as lowering
from jaxpool._src.lowering.picks import masked_out
from jaxpool._src.lowering.segment_order import InSegments, fold_segments
from jaxpool._src.lowering.windows import widened


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Segments(Domain):
    """Elements of equal id along one axis: packed sequences, the nodes of a batch of graphs.

    Cell s has the elements whose id is s, in the order of the axis. What has an id outside of
    ``[0, num_segments)`` takes no part: padding, for example.

    Args:
      ids: array of ints, as many as x has elements along `axis`; where each batch entry has ids of
        its own, of shape ``x.shape[:axis + 1]``. May be traced.
      num_segments: number of cells, which come in place of the axis.
      axis: the axis of elements, an int.
      sorted: whether ids ascend along the axis (of each batch entry), padding last, as
        `num_segments` or more. That is quicker on GPUs and TPUs and for a `Monoid`. If it is not
        true, results are wrong; `jax.experimental.checkify` finds that, with its user checks.

    Raises:
      ValueError: an argument is out of range; or ids that are known do not ascend, and `sorted`
        says that they do.
      TypeError: an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.pool(x, jaxpool.Segments([0, 2, 0, -1, 2], 3), jaxpool.Sum())
      Array([ 5.,  0., 18.], dtype=float32)
      >>> jaxpool.Segments([0, 0, 1], 2).output_shape((3, 64))
      (2, 64)
    """

    ids: Any
    num_segments: int = dataclasses.field(metadata={"static": True})
    _: dataclasses.KW_ONLY
    axis: int = dataclasses.field(default=0, metadata={"static": True})
    sorted: bool = dataclasses.field(default=False, metadata={"static": True})

    def __post_init__(self) -> None:
        if isinstance(self.ids, list | tuple | range | np.ndarray | jax.Array):
            fields = segment_fields("Segments", self.ids, self.num_segments, self.axis, self.sorted)
            for name, value in fields.items():
                object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not (isinstance(other, Segments) and self._is_known and other._is_known):
            return self is other
        return self._key == other._key

    def __hash__(self) -> int:
        if not self._is_known:
            raise TypeError(
                "Segments: `ids` must be NumPy's to be a static argument; got a JAX array. Give "
                "ids to the function, and make Segments in it."
            )
        return hash(self._key)

    @property
    def _is_known(self) -> bool:
        return isinstance(self.ids, np.ndarray)

    @property
    def _key(self) -> Any:
        ids = (self.ids.shape, self.ids.dtype, self.ids.tobytes())
        return ids, self.num_segments, self.axis, self.sorted

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        return (self.axis % ndim,)

    def check(self, op: str, shape: Sequence[Any]) -> None:
        axis = arguments.axis_of(op, self.axis, shape)
        arguments.no_empty_axis(op, shape, (axis,))
        given, alone = tuple(self.ids.shape), (shape[axis],)
        if given not in (alone, tuple(shape[: axis + 1])):
            of_batch = f", or {tuple(shape[: axis + 1])}, a row for each batch entry" * (axis > 0)
            raise ValueError(
                f"{op}: `ids` must have shape {alone}, one for each element along axis {axis}"
                f"{of_batch}; got ids.shape={given} for x.shape={tuple(shape)}."
            )

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`, whose sizes may be symbolic.

        Args:
          shape: shape of the array to pool.

        Returns:
          `shape` with the number of segments in place of the axis.

        Raises:
          ValueError: the axis is missing or empty, or ids do not fit.
        """
        self.check("Segments", shape)
        return self._how(shape).resized(tuple(shape), self.num_segments)

    def counts(self, shape: Sequence[Any]) -> jax.Array:
        """Number of elements of each cell.

        Args:
          shape: shape of the array to pool.

        Returns:
          Integer array that broadcasts to the result: 1 on axes along which ids do not differ.

        Raises:
          ValueError: the axis is missing or empty, or ids do not fit.
        """
        self.check("Segments", shape)
        return self.count(shape)

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        del shape
        return True

    def _how(self, shape: Sequence[Any]) -> lowering.Segments:
        axis = self.axis % len(shape)
        return lowering.Segments(axis, self.num_segments, shape[axis], self.sorted)

    def _laid_ids(self, ndim: int) -> jax.Array:
        """Ids in the rank of x, `num_segments` for what belongs to no cell."""
        ids, axis = jnp.asarray(self.ids), self.axis % ndim
        if self.sorted and ids.shape[-1] != 1:
            ascend = jnp.all(ids[..., 1:] >= ids[..., :-1])
            checkify.debug_check(ascend, "Segments: `ids` do not ascend, though sorted=True")
        inside = jnp.ones(ids.shape, bool)
        if self.num_segments <= np.iinfo(ids.dtype).max:
            inside = ids < np.array(self.num_segments, ids.dtype)
        if jnp.issubdtype(ids.dtype, jnp.signedinteger):
            inside = inside & (ids >= 0)
        ids = jnp.where(inside, ids.astype(np.int32), np.int32(self.num_segments))
        lead = [1] * (axis + 1 - ids.ndim)
        return ids.reshape(*lead, *ids.shape, *[1] * (ndim - axis - 1))

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        del include_pad  # there is no padding
        ids = self._laid_ids(len(shape))
        ones = jnp.ones(ids.shape, np.int32) if where is None else where.astype(np.int32)
        return self._how(shape).total(ones, ids)

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        return self._how(x.shape).total(with_zeros(x, where), self._laid_ids(x.ndim))

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        del implementation  # there is one
        input_dtype, x = x.dtype, masked_out(widened(x), where)
        how, ids = self._how(x.shape), self._laid_ids(x.ndim)
        return lowering.segment_max(x, where, ids, how).astype(input_dtype)

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        x = masked_out(widened(x), where)
        return lowering.segment_argmax(x, where, self._laid_ids(x.ndim), self._how(x.shape))

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
        shape = jax.tree.leaves(x)[0].shape
        how, ids = self._how(shape), self._laid_ids(len(shape))
        part = ids < self.num_segments
        part = part if where is None else part & where
        output = how.resized(shape, self.num_segments)

        def laid(c: jax.Array) -> jax.Array:
            c = how.spread(jnp.broadcast_to(c, output), ids)
            # What has no cell is dropped; that it is finite is for `jax_debug_nans`.
            return jnp.where(part, c, np.ones((), c.dtype))

        def total(value: jax.Array) -> jax.Array:
            return how.total(with_zeros(jnp.broadcast_to(value, shape), part), ids)

        values = function(with_zeros(x, part), jax.tree.map(laid, cells))
        return jax.tree.map(total, values)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        how, ids = self._how(x.shape), self._laid_ids(x.ndim)
        count = self.count(x.shape, where)
        return InSegments(x, where, (how.axis,), count, True, ids, how)

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        shape = jax.tree.leaves(carrier)[0].shape
        return fold_segments(
            carrier, combine, identity, self._laid_ids(len(shape)), self._how(shape)
        )

    def scan(self, *_: Any, **__: Any) -> Any:
        raise parameters.MisfitError(
            "`domain` must not be Segments for reductions that draw elements at random, or that "
            "weigh them by their place. Pool each segment by `Global` under a mask instead."
        )

    def pick(self, x: jax.Array, numbers: jax.Array) -> jax.Array:
        return self.scan(x, numbers)

    def correlate(
        self, x: jax.Array, kernel: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        return self.scan(x, kernel, where)


def segment_fields(
    op: str, ids: Any, num_segments: Any, axis: Any, ascending: Any
) -> dict[str, Any]:
    """The fields of a `Segments`, checked in the name of `op`."""
    allowed = "be an int >= 1"
    number = arguments.integer(op, "num_segments", num_segments, allowed)
    if not 1 <= number < np.iinfo(np.int32).max:
        arguments.fail(op, "num_segments", "lie in [1, 2**31 - 1)", number)
    axis = arguments.integer(op, "axis", axis, "be an int")
    ascending = arguments.flag(op, "sorted", ascending)
    if isinstance(ids, list | tuple | range):
        ids = np.asarray(ids)
    known = isinstance(ids, np.ndarray)
    if not isinstance(ids, np.ndarray | jax.Array) or not jnp.issubdtype(ids.dtype, jnp.integer):
        kind = getattr(ids, "dtype", type(ids).__name__)
        arguments.fail(op, "ids", "be an array of ints", kind, error=TypeError)
    if ids.ndim == 0:
        arguments.fail(op, "ids", "have an axis of elements", ids)
    if known and ascending and bool(np.any(ids[..., 1:] < ids[..., :-1])):
        hint = "Sort them, with x, or leave out `sorted`."
        raise ValueError(f"{op}: `ids` must ascend where sorted=True; they do not. {hint}")
    if known:  # without 64 bits, which not all of JAX has
        most = min(number, np.iinfo(ids.dtype).max)  # more is out of bounds for NumPy 2.0
        ids = np.clip(ids, -1 if ids.dtype.kind == "i" else 0, most).astype(np.int32)
    return {"ids": ids, "num_segments": number, "axis": axis, "sorted": ascending}
