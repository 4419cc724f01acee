"""Named functions over segments, and what makes ids and masks of lengths."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.segments import Segments, segment_fields
from jaxpool._src.reductions.max import Max, Min
from jaxpool._src.reductions.mean import Mean, Sum


@explained
def segment_max_pool(
    x: jax.Array,
    ids: jax.Array,
    num_segments: int,
    *,
    axis: int = 0,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sorted: bool = False,
) -> jax.Array:
    """The maximum of each segment: of the elements that have one id.

    Of equal maxima the first takes the gradient, where ``jax.ops.segment_max`` splits it.

    Args:
      x: array with the axis of elements; all others are batch, or channels.
      ids: array of ints, as many as x has elements along `axis`; where each batch entry has ids of
        its own, of shape ``x.shape[:axis + 1]``. May be traced. What has an id outside of
        ``[0, num_segments)`` takes no part.
      num_segments: number of cells, which come in place of the axis.
      axis: the axis of elements, an int.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of segments in which nothing takes part.
      sorted: whether ids ascend along the axis (of each batch entry), padding last, as
        `num_segments` or more. That is quicker on GPUs and TPUs. If it is not true, results are
        wrong; `jax.experimental.checkify` finds that, with its user checks.

    Returns:
      Array of x's shape with `num_segments` in place of the axis; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, ids do not fit x, or are known not to ascend where
        `sorted` says that they do.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a segment goes to its first maximum in the order of
      the axis, and if there are NaNs, to the last of them. Masked-out elements and empty segments
      have gradient 0.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.segment_max_pool(x, jnp.array([0, 2, 0, -1, 2]), 3)
      Array([ 4.,  0., 16.], dtype=float32)

    References:
      Qi et al., PointNet: Deep learning on point sets for 3D classification and segmentation, 2017.
      <https://arxiv.org/abs/1612.00593>
    """
    fields = segment_fields("segment_max_pool", ids, num_segments, axis, sorted)
    return run("segment_max_pool", x, Segments(**fields), Max(), where, empty_value)


@explained
def segment_min_pool(
    x: jax.Array,
    ids: jax.Array,
    num_segments: int,
    *,
    axis: int = 0,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sorted: bool = False,
) -> jax.Array:
    """The minimum of each segment: of the elements that have one id.

    Of equal minima the first takes the gradient, where ``jax.ops.segment_min`` splits it.

    Args:
      x: array with the axis of elements; all others are batch, or channels.
      ids: array of ints, as many as x has elements along `axis`; where each batch entry has ids of
        its own, of shape ``x.shape[:axis + 1]``. May be traced. What has an id outside of
        ``[0, num_segments)`` takes no part.
      num_segments: number of cells, which come in place of the axis.
      axis: the axis of elements, an int.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of segments in which nothing takes part.
      sorted: whether ids ascend along the axis (of each batch entry), padding last, as
        `num_segments` or more. That is quicker on GPUs and TPUs. If it is not true, results are
        wrong; `jax.experimental.checkify` finds that, with its user checks.

    Returns:
      Array of x's shape with `num_segments` in place of the axis; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, ids do not fit x, or are known not to ascend where
        `sorted` says that they do.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a segment goes to its first minimum in the order of
      the axis, and if there are NaNs, to the last of them. Masked-out elements and empty segments
      have gradient 0.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.segment_min_pool(x, jnp.array([0, 2, 0, -1, 2]), 3)
      Array([1., 0., 2.], dtype=float32)

    References:
      Qi et al., PointNet: Deep learning on point sets for 3D classification and segmentation, 2017.
      <https://arxiv.org/abs/1612.00593>
    """
    fields = segment_fields("segment_min_pool", ids, num_segments, axis, sorted)
    return run("segment_min_pool", x, Segments(**fields), Min(), where, empty_value)


@explained
def segment_sum_pool(
    x: jax.Array,
    ids: jax.Array,
    num_segments: int,
    *,
    axis: int = 0,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sorted: bool = False,
) -> jax.Array:
    """The sum of each segment: of the elements that have one id.

    Accumulated in float32 at least, where ``jax.ops.segment_sum`` of bfloat16 stops at 256 ones.

    Args:
      x: array with the axis of elements; all others are batch, or channels.
      ids: array of ints, as many as x has elements along `axis`; where each batch entry has ids of
        its own, of shape ``x.shape[:axis + 1]``. May be traced. What has an id outside of
        ``[0, num_segments)`` takes no part.
      num_segments: number of cells, which come in place of the axis.
      axis: the axis of elements, an int.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of segments in which nothing takes part.
      sorted: whether ids ascend along the axis (of each batch entry), padding last, as
        `num_segments` or more. That is quicker on GPUs and TPUs. If it is not true, results are
        wrong; `jax.experimental.checkify` finds that, with its user checks.

    Returns:
      Array of x's shape with `num_segments` in place of the axis; floats keep
      their dtype, ints and bools widen as in ``jnp.sum``.

    Raises:
      ValueError: an argument is out of range, ids do not fit x, or are known not to ascend where
        `sorted` says that they do.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order; linear in x. Masked-out elements and empty segments have gradient
      0. On GPUs the gradient is deterministic: it is gathered.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.segment_sum_pool(x, jnp.array([0, 2, 0, -1, 2]), 3)
      Array([ 5.,  0., 18.], dtype=float32)

    References:
      Xu et al., How powerful are graph neural networks?, 2019. <https://arxiv.org/abs/1810.00826>
    """
    fields = segment_fields("segment_sum_pool", ids, num_segments, axis, sorted)
    return run("segment_sum_pool", x, Segments(**fields), Sum(), where, empty_value)


@explained
def segment_avg_pool(
    x: jax.Array,
    ids: jax.Array,
    num_segments: int,
    *,
    axis: int = 0,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    sorted: bool = False,
) -> jax.Array:
    """The mean of each segment: of the elements that have one id.

    Accumulated in float32 at least.

    Args:
      x: array with the axis of elements; all others are batch, or channels.
      ids: array of ints, as many as x has elements along `axis`; where each batch entry has ids of
        its own, of shape ``x.shape[:axis + 1]``. May be traced. What has an id outside of
        ``[0, num_segments)`` takes no part.
      num_segments: number of cells, which come in place of the axis.
      axis: the axis of elements, an int.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part. Floats are weights of a weighted mean.
      empty_value: value of segments in which nothing takes part.
      sorted: whether ids ascend along the axis (of each batch entry), padding last, as
        `num_segments` or more. That is quicker on GPUs and TPUs. If it is not true, results are
        wrong; `jax.experimental.checkify` finds that, with its user checks.

    Returns:
      Array of x's shape with `num_segments` in place of the axis; floats keep
      their dtype, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, ids do not fit x, or are known not to ascend where
        `sorted` says that they do.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order; linear in x. Masked-out elements and empty segments have gradient
      0. On GPUs the gradient is deterministic: it is gathered.

    Example:
      >>> x = jnp.array([1., 2., 4., 8., 16.])
      >>> jaxpool.segment_avg_pool(x, jnp.array([0, 2, 0, -1, 2]), 3)
      Array([2.5, 0. , 9. ], dtype=float32)

    References:
      Xu et al., How powerful are graph neural networks?, 2019. <https://arxiv.org/abs/1810.00826>
    """
    fields = segment_fields("segment_avg_pool", ids, num_segments, axis, sorted)
    return run("segment_avg_pool", x, Segments(**fields), Mean(), where, empty_value)


@explained
def length_mask(lengths: jax.Array, size: int) -> jax.Array:
    """Which places of padded sequences hold an element: the first ones, as many as their length.

    The mask to pool (..., size, channels) with is ``length_mask(lengths, size)[..., None]``; of
    sequences that are padded on the left it is ``~length_mask(size - lengths, size)``.

    Args:
      lengths: array of ints of any shape, the number of elements of each sequence. May be traced.
      size: length of the axis of places; may be a symbolic dimension of ``jax.export``.

    Returns:
      Bool array of shape ``(*lengths.shape, size)``.

    Raises:
      ValueError: `size` is less than 1.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      None: ints in, bools out.

    Example:
      >>> jaxpool.length_mask(jnp.array([2, 0, 3]), 3)
      Array([[ True,  True, False],
             [False, False, False],
             [ True,  True,  True]], dtype=bool)
    """
    op = "length_mask"
    lengths = _checked_lengths(op, lengths)
    allowed = "be an int >= 1"
    size = arguments.length(op, "size", size, allowed)
    if isinstance(size, int) and size < 1:
        arguments.fail(op, "size", allowed, size)
    return as_one_program(_length_mask, lengths, size)


def _length_mask(lengths: Any, size: Any) -> jax.Array:
    most = size if isinstance(size, int) else np.iinfo(np.int32).max
    lengths = _up_to(most, lengths)[..., None]
    places = lax.broadcasted_iota(np.int32, (*[1] * (lengths.ndim - 1), size), lengths.ndim - 1)
    return places < lengths


@explained
def segment_ids(lengths: jax.Array, total: int) -> jax.Array:
    """The ids of sequences that lie one after the other along a packed axis.

    What comes after the last one has the id ``len(lengths)``, which `Segments` drops; what goes
    beyond `total` is cut off. Ids ascend: say ``sorted=True``. From offsets (``cu_seqlens``),
    lengths are ``jnp.diff(offsets)``.

    Args:
      lengths: array of ints, (..., sequences): the number of elements of each, 0 included. May be
        traced.
      total: length of the packed axis.

    Returns:
      int32 array of shape ``(*lengths.shape[:-1], total)``.

    Raises:
      ValueError: `total` is less than 1, or `lengths` has no axis.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      None: ints in, ints out.

    Example:
      >>> jaxpool.segment_ids(jnp.array([2, 0, 3]), 7)
      Array([0, 0, 2, 2, 2, 3, 3], dtype=int32)
    """
    op = "segment_ids"
    lengths = _checked_lengths(op, lengths)
    parameters.size(op, "total", total)
    if lengths.ndim == 0:
        arguments.fail(op, "lengths", "have an axis of sequences", lengths)
    return as_one_program(_segment_ids, lengths, int(total))


def _segment_ids(lengths: Any, total: int) -> jax.Array:
    # Cut off at `total` as they are added up, so that no sum can overflow.
    lengths = _up_to(total, lengths)
    ends = lax.associative_scan(
        lambda a, b: jnp.minimum(a, np.int32(total) - b) + b, lengths, axis=lengths.ndim - 1
    )
    places = lax.iota(np.int32, total)
    find = lambda ends: jnp.searchsorted(ends, places, side="right")  # noqa: E731
    for _ in range(lengths.ndim - 1):
        find = jax.vmap(find)
    return find(ends).astype(np.int32)


def _checked_lengths(op: str, lengths: Any) -> Any:
    if isinstance(lengths, list | tuple | range):
        lengths = np.asarray(lengths)
    is_array = isinstance(lengths, np.ndarray | jax.Array)
    if not is_array or not jnp.issubdtype(lengths.dtype, jnp.integer):
        kind = getattr(lengths, "dtype", type(lengths).__name__)
        arguments.fail(op, "lengths", "be an array of ints", kind, error=TypeError)
    return lengths


def _up_to(limit: int, lengths: Any) -> jax.Array:
    """Lengths from 0 to the limit, as int32."""
    lengths = jnp.asarray(lengths)
    most = np.array(min(limit, np.iinfo(lengths.dtype).max), lengths.dtype)
    return jnp.clip(lengths, np.zeros((), lengths.dtype), most).astype(np.int32)
