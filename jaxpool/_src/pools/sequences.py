"""Pools of sequences: of tokens, frames and recordings of different lengths, under a mask.

Positions are those among valid elements, so that it does not matter on which side is padded.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, parted_by_xla, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global
from jaxpool._src.domains.intervals import Intervals
from jaxpool._src.pools.pyramids import flat_pyramid
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.sequences import (
    ApproximateRank,
    MeanSqrtLength,
    Nth,
    PositionWeighted,
    Splade,
    number_valid,
)

_MAX = Max()


@explained
def first_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The first valid element of each sequence.

    Of a sequence that is padded on the left too: the classification token of encoders.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the element that is picked takes the gradient.

    Example:
      >>> x = jnp.array([[1.], [2.], [3.]])
      >>> jaxpool.first_pool(x, where=jnp.array([[False], [True], [True]]))
      Array([2.], dtype=float32)

    References:
      Devlin et al., BERT: pre-training of deep bidirectional transformers for language
      understanding, 2019. <https://arxiv.org/abs/1810.04805>
    """
    return _along("first_pool", x, Nth(last=False), axis, where, empty_value)


@explained
def last_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The last valid element of each sequence.

    Whether it is padded on the left or on the right: what decoders embed texts with.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the element that is picked takes the gradient.

    Example:
      >>> x = jnp.array([[1.], [2.], [3.]])
      >>> jaxpool.last_pool(x, where=jnp.array([[True], [True], [False]]))
      Array([2.], dtype=float32)

    References:
      Neelakantan et al., Text and code embeddings by contrastive pre-training, 2022.
      <https://arxiv.org/abs/2201.10005>
    """
    return _along("last_pool", x, Nth(last=True), axis, where, empty_value)


@explained
def mean_sqrt_length_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The sum over the square root of the number of valid elements: ``sum x / sqrt(n)``.

    Between a sum, which grows with the length, and a mean.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; floats keep their dtype (sums are accumulated in
      float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> jaxpool.mean_sqrt_length_pool(jnp.array([[1.], [2.], [3.], [4.]]))
      Array([5.], dtype=float32)

    References:
      Cer et al., Universal sentence encoder, 2018. <https://arxiv.org/abs/1803.11175>
    """
    return _along("mean_sqrt_length_pool", x, MeanSqrtLength(), axis, where, empty_value)


@explained
def position_weighted_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean with weights that grow with the position: ``sum t x_t / sum t``, t from 1 to n.

    Positions are those among valid elements, so padding on the left changes nothing.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; floats keep their dtype (sums are accumulated in
      float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> jaxpool.position_weighted_pool(jnp.array([[1.], [4.]]))
      Array([3.], dtype=float32)

    References:
      Muennighoff, SGPT: GPT sentence embeddings for semantic search, 2022.
      <https://arxiv.org/abs/2202.08904>
    """
    return _along("position_weighted_pool", x, PositionWeighted(), axis, where, empty_value)


@explained
def splade_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    reduction: Literal["max", "sum"] = "max",
) -> jax.Array:
    """The largest saturated activation of each channel: ``max log(1 + max(x, 0))``, or the sum.

    Of the logits of a vocabulary for each token, a sparse vector for the text.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      reduction: "max", or "sum" as in the first version.

    Returns:
      Array of x's shape without the axis; floats keep their dtype (computed and accumulated in
      float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, but at 0, where the gradient is 0. The first of equal maxima takes
      it. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([[-1., 1.], [0., 3.]])
      >>> jnp.exp(jaxpool.splade_pool(x)) - 1
      Array([0., 3.], dtype=float32)

    References:
      Formal et al., SPLADE v2: sparse lexical and expansion model for information retrieval, 2021.
      <https://arxiv.org/abs/2109.10086>
    """
    return _along("splade_pool", x, Splade(reduction), axis, where, empty_value)


@explained
def approximate_rank_pool(
    x: jax.Array,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The direction in which a sequence moves: ``sum (2 t - n - 1) x_t``, t from 1 to n.

    The first step of rank pooling; of the frames of a video it makes a dynamic image. Positions
    are those among valid elements.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the axis; floats keep their dtype (sums are accumulated in
      float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: the map is linear. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> jaxpool.approximate_rank_pool(jnp.array([[1.], [2.], [4.]]))
      Array([6.], dtype=float32)

    References:
      Bilen et al., Action recognition with dynamic image networks, 2018.
      <https://arxiv.org/abs/1612.00738>
    """
    return _along("approximate_rank_pool", x, ApproximateRank(), axis, where, empty_value)


@explained
def temporal_pyramid_pool(
    x: jax.Array,
    levels: Sequence[int],
    reduction: Reduction = _MAX,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """All cells of a pyramid of bins along a sequence, as one vector.

    Equal to `spatial_pyramid_pool` over one axis. Bins are those of the axis; what is masked out
    takes no part in its bin.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      levels: numbers of bins, one for each level.
      reduction: how the elements of a cell become one value. Default: ``Max()``.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of shape ``[*batch, features]``, with ``channels * sum(levels)`` features, the cells of
      each level one after the other; the dtype is that of the reduction.

    Raises:
      ValueError: an argument is out of range, or the axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> jaxpool.temporal_pyramid_pool(jnp.array([[1.], [4.], [2.], [3.]]), (1, 2))
      Array([4., 4., 3.], dtype=float32)

    References:
      Wang et al., Temporal pyramid pooling based convolutional neural network for action
      recognition, 2015. <https://arxiv.org/abs/1503.01224>
    """
    return as_one_program(
        _temporal_pyramid_pool, x, levels, reduction, axis, where, arguments.known(empty_value)
    )


def _temporal_pyramid_pool(
    x: Any, levels: Any, reduction: Any, axis: Any, where: Any, empty_value: Any
) -> jax.Array:
    op = "temporal_pyramid_pool"
    x = arguments.array(op, x)
    allowed = "be a sequence of ints >= 1, one for each level"
    found = arguments.entries(levels)
    if not found or any(arguments.integer(op, "levels", n, allowed) < 1 for n in found):
        arguments.fail(op, "levels", allowed, levels)
    place = arguments.axis_of(op, axis, x.shape)
    return flat_pyramid(op, x, found, reduction, (place,), where, empty_value)


@explained
def piecewise_pool(
    x: jax.Array,
    positions: Any,
    reduction: Reduction = _MAX,
    *,
    axis: int = -2,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """Each piece of a sequence between some positions, as one cell.

    Piece k has the valid elements from ``positions[k - 1]`` up to, without it, ``positions[k]``;
    the first piece begins at 0, and the last one ends with the sequence. Positions count valid
    elements, so padding on the left changes nothing.

    Args:
      x: array of shape ``[..., length, channels]``; with `axis`, any layout.
      positions: K ints in ascending order, for all sequences, or an int array, which may be traced,
        of shape ``[K]`` or with a row for each sequence: ``[*batch, K]`` for the axes before that
        of the sequence, each as long as x's, or 1. Equal positions leave a piece empty. Arrays are
        taken as they are: beyond the end nothing is left.
      reduction: how the elements of a cell become one value. Default: ``Max()``.
      axis: the axis of the sequence, an int. Default: the one just before the last, which is
        channels-last.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with ``K + 1`` pieces in place of the sequence; the dtype is that of the
      reduction.

    Raises:
      ValueError: an argument is out of range, or the axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([[1.], [4.], [2.], [3.], [0.]])
      >>> jaxpool.piecewise_pool(x, [2, 3])[:, 0]
      Array([4., 2., 3.], dtype=float32)

    References:
      Zeng et al., Distant supervision for relation extraction via piecewise convolutional neural
      networks, 2015. <https://aclanthology.org/D15-1203>
    """
    positions = arguments.plain(positions) if np.ndim(positions) == 1 else positions
    return as_one_program(
        _piecewise_pool, x, positions, reduction, axis, where, arguments.known(empty_value)
    )


def _piecewise_pool(
    x: Any, positions: Any, reduction: Any, axis: Any, where: Any, empty_value: Any
) -> jax.Array:
    op = "piecewise_pool"
    x = arguments.array(op, x)
    place = arguments.axis_of(op, axis, x.shape)
    arguments.known_size(op, x.shape, place)
    size = x.shape[place]
    bounds = _positions(op, positions, x.shape, place)
    if where is None and isinstance(bounds, tuple):
        domain = Intervals((0, *bounds), (*bounds, size), axes=place)
        return run(op, x, domain, reduction, where, empty_value)
    laid = _laid(bounds, place, x.ndim)
    # Numbers stay numbers, since they are checked.
    leaves, tree = jax.tree.flatten((reduction, empty_value))
    arrays = [leaf if isinstance(leaf, jax.Array) else None for leaf in leaves]

    def compute(x: jax.Array, where: Any, bounds: jax.Array, arrays: Any) -> jax.Array:
        known = [b if a is None else a for a, b in zip(arrays, leaves, strict=True)]
        reduction, empty_value = tree.unflatten(known)
        weights = getattr(reduction, "takes_weights", False)
        mask = arguments.mask(op, where, x.shape, (place,), weights)
        if mask is not None:
            valid = mask if mask.dtype == bool else mask != 0
            bounds = _of_valid(bounds, valid, place)
        first = [1 if i == place else n for i, n in enumerate(bounds.shape)]
        starts = jnp.concatenate([jnp.zeros(first, np.int32), bounds], place)
        stops = jnp.concatenate([bounds, jnp.full(first, size, np.int32)], place)
        domain = Intervals((starts,), (stops,), axes=(place,))
        return run(op, x, domain, reduction, where, empty_value)

    shape = [laid.shape[place] + 1 if i == place else n for i, n in enumerate(x.shape)]
    return parted_by_xla(compute, shape, range(x.ndim), x, where, laid, arrays)


def _positions(op: str, positions: Any, shape: Sequence[Any], place: int) -> Any:
    """Positions as ascending ints that x has, or as an array with a row for each sequence."""
    allowed = "be ints, or an int array with an axis for the positions"
    if isinstance(positions, jax.Array | np.ndarray):
        if not jnp.issubdtype(positions.dtype, jnp.integer):
            arguments.fail(op, "positions", allowed, positions, error=TypeError)
        batch = positions.shape[:-1]
        fits = positions.ndim == 1 or (
            len(batch) == place
            and all(n in (1, full) for n, full in zip(batch, shape[:place], strict=True))
        )
        if not fits:
            raise ValueError(
                f"{op}: `positions` must have one axis, or a row for each sequence; got "
                f"positions.shape={positions.shape} for x.shape={tuple(shape)} with the sequence "
                f"along axis {place}."
            )
        return positions
    found = arguments.entries(positions)
    if found is None:
        arguments.fail(op, "positions", allowed, positions, error=TypeError)
    found = tuple(arguments.integer(op, "positions", entry, allowed) for entry in found)
    if any(a > b for a, b in zip((0, *found), (*found, shape[place]), strict=True)):
        allowed = f"ascend within [0, {shape[place]}], the length of the sequence"
        arguments.fail(op, "positions", allowed, positions, shape=shape)
    return found


def _laid(positions: Any, place: int, ndim: int) -> jax.Array:
    """Positions in the rank of x, along its axis."""
    array = jnp.asarray(positions, np.int32)
    lead = () if array.ndim > 1 else (1,) * place
    return array.reshape(lead + array.shape + (1,) * (ndim - place - 1))


def _of_valid(positions: jax.Array, where: jax.Array, place: int) -> jax.Array:
    """Where along an axis the valid elements of these numbers are, or its length."""
    before = lax.expand_dims(number_valid(where, place), (place + 1,))
    found = before <= lax.expand_dims(positions, (place,))
    return jnp.sum(found, place, dtype=np.int32)


def _along(
    op: str, x: Any, reduction: Reduction, axis: Any, where: Any, empty_value: Any
) -> jax.Array:
    """`pool` along one axis, in the name of `op`."""
    arguments.check_array(op, x)
    domain = Global(arguments.axis_of(op, axis, np.shape(x)))
    return run(op, x, domain, reduction, where, empty_value)
