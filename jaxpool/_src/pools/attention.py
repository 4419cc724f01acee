"""Attention of queries over elements."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, all_parted_along, filled, parted_along, with_zeros
from jaxpool._src.core.program import as_one_program
from jaxpool._src.lowering.attention import attend


@explained
def attention_pool(
    x: jax.Array,
    query: jax.Array,
    *,
    axes: Ints = -2,
    key: jax.Array | None = None,
    value: jax.Array | None = None,
    num_heads: int = 1,
    scale: Any = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    return_weights: bool = False,
) -> Any:
    """The mean of elements by how well they match a query: ``sum_j softmax_j(scale q.k_j) v_j``.

    With `num_heads`, channels are parted into as many groups of equal size, each with weights of
    its own. Queries that are learned make it the pooling of attention heads; `jaxpool.linen` and
    `jaxpool.nnx` have some with their projections. Equal keys give the mean.

    Args:
      x: array of shape ``[..., length, channels]``; with `axes`, any layout with channels last.
      query: array of shape ``[queries, channels]``, or with x's batch axes before these; 1 where
        they are to share one.
      axes: the pooled axes, an int or several, but not the last. All others are batch, in any
        number.
      key: array of x's shape, in which queries look; the number of its channels is that of
        queries. Default: x.
      value: array of x's shape, what the mean is of; channels in any number. Default: x.
      num_heads: number of heads; it divides the channels of queries and of values.
      scale: what logits are multiplied by, a number or a scalar array. Default: 1 over the square
        root of the number of channels of a head.
      where: bool mask that broadcasts to x, with the size 1 for channels; what is False takes no
        part, NaN included. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.
      return_weights: whether to return the weights too.

    Returns:
      Array of shape ``[..., queries, channels of value]``, with x's batch axes; floats keep their
      dtype (logits, weights and sums are of float32 at least), others give float32. With
      `return_weights` a pair of it and of the weights, ``[..., num_heads, queries, length]``, in
      that wider dtype, whose last axis has the elements in row-major order of `axes`; what takes no
      part has the weight 0.

    Raises:
      ValueError: an argument is out of range, shapes do not fit, or a pooled axis is missing or
        empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x, queries, keys, values and `scale`. Masked-out elements and
      cells without elements have gradient 0, and queries none from there. What is not finite in a
      valid key may reach all heads.

    Example:
      >>> x = jnp.array([[0., 0.], [1., 0.], [4., 8.]])
      >>> jaxpool.attention_pool(x, jnp.zeros((1, 2)), where=jnp.array([[1], [1], [0]]) > 0)
      Array([[0.5, 0. ]], dtype=float32)
      >>> jaxpool.attention_pool(x, jnp.array([[0., 9.], [0., -9.]]), num_heads=2).round(3)
      Array([[1.667, 8.   ],
             [1.667, 0.   ]], dtype=float32)

    References:
      Vaswani et al., Attention is all you need, 2017. <https://arxiv.org/abs/1706.03762>

      Lee et al., Set transformer: a framework for attention-based permutation-invariant neural
      networks, 2019. <https://arxiv.org/abs/1810.00825>
    """
    options = (axes, num_heads, scale, arguments.known(empty_value), return_weights)
    return as_one_program(_attention_pool, x, query, key, value, where, *options)


def _attention_pool(
    x: Any,
    query: Any,
    key: Any,
    value: Any,
    where: Any,
    axes: Any,
    num_heads: Any,
    scale: Any,
    empty_value: Any,
    return_weights: Any,
) -> Any:
    op = "attention_pool"
    x = arguments.array(op, x)
    parameters.size(op, "num_heads", num_heads)
    pooled = attended_axes(op, axes, x.shape)
    key, value = (
        x if a is None else _projected(op, name, a, x.shape)
        for name, a in (("key", key), ("value", value))
    )
    batch = [n for axis, n in enumerate(x.shape[:-1]) if axis not in pooled]
    query = _query(op, query, x.shape, batch, key.shape[-1])
    for name, array in (("query", query), ("value", value)):
        _parted(op, name, array, num_heads)
    if scale is None:
        arguments.known_size(op, key.shape, key.ndim - 1)
        scale = 1 / math.sqrt(key.shape[-1] // num_heads)
    parameters.scalar(op, "scale", scale)
    valid = element_mask(op, where, x.shape, pooled)
    result = value.dtype if jnp.issubdtype(value.dtype, jnp.floating) else np.dtype(np.float32)
    arguments.scalar_for(op, empty_value, result)
    arguments.flag(op, "return_weights", return_weights)
    dtype = np.result_type(*(accumulator(a.dtype) for a in (query, key, value)))
    scale = jnp.asarray(scale).astype(dtype)
    fill = empty_value if isinstance(empty_value, jax.Array) else None

    def compute(query: Any, key: Any, value: Any, valid: Any, scale: Any, fill: Any) -> Any:
        key = with_zeros(_multiplied(key, dtype), valid)
        value = key if value is None else with_zeros(_multiplied(value, dtype), valid)
        own = {"pooled": pooled, "heads": num_heads, "scale": scale, "dtype": dtype}
        y, weights = attend(_multiplied(query, dtype), key, value, valid, **own)
        contracts.assert_shape(y, (*batch, count, channels))
        y = y.astype(result)
        if valid is not None:
            some = jnp.any(valid, pooled)[..., None]
            y = filled(y, some, empty_value if fill is None else fill)
        return y, weights

    count, channels = query.shape[-2], value.shape[-1]
    operands = (query, key, None if value is key else value, valid, scale, fill)
    along = [(x, axis) for axis in range(x.ndim - 1) if axis not in pooled]
    with jax.named_scope(f"jaxpool.{op}"):
        shape, sources = (*batch, count, channels), [*along, None, (value, -1)]
        if not return_weights:
            return parted_along(lambda *given: compute(*given)[0], shape, sources, *operands)
        length = math.prod(x.shape[axis] for axis in pooled)
        of_weights = (*batch, num_heads, count, length), [*along, None, None, None]
        return all_parted_along(compute, [(shape, sources), of_weights], *operands)


def _multiplied(array: jax.Array, dtype: Any) -> jax.Array:
    """What products take as it is: floats of 16 bits at least; all else in `dtype`."""
    as_it_is = array.dtype.itemsize > 1 and jnp.issubdtype(array.dtype, jnp.floating)
    return array if as_it_is else array.astype(dtype)


def attended_axes(op: str, axes: Any, shape: Any) -> tuple[int, ...]:
    """The pooled axes, counted from the front; the last is of channels."""
    pooled = arguments.resolved_axes(op, arguments.axis_numbers(op, axes), shape)
    if len(shape) - 1 in pooled:
        allowed = "be other axes than the last, which has the channels"
        arguments.fail(op, "axes", allowed, axes, shape=shape)
    arguments.no_empty_axis(op, shape, pooled)
    return pooled


def _projected(op: str, name: str, array: Any, shape: Any) -> jax.Array:
    """Keys or values, checked to have an entry for each element of x."""
    parameters.real_array(op, name, array)
    if array.shape[:-1] != tuple(shape[:-1]) or array.ndim != len(shape):
        raise ValueError(
            f"{op}: `{name}` must have x's shape but for channels; got {name}.shape={array.shape} "
            f"for x.shape={tuple(shape)}."
        )
    return jnp.asarray(array)


def _query(op: str, query: Any, shape: Any, batch: list[Any], channels: Any) -> jax.Array:
    """Queries with the batch axes of x or none, checked to have the channels of keys."""
    parameters.real_array(op, "query", query)
    own = (*batch, *query.shape[-2:])
    lead = query.shape[:-2]
    fits = query.ndim == 2 or (
        query.ndim == len(own) and all(n in (1, full) for n, full in zip(lead, batch, strict=True))
    )
    if not fits or query.shape[-1] != channels:
        raise ValueError(
            f"{op}: `query` must have shape (queries, {channels}), with the batch axes of x before "
            f"these or none; got query.shape={query.shape} for x.shape={tuple(shape)}."
        )
    query = jnp.asarray(query)
    return query if query.ndim == 2 else jnp.broadcast_to(query, own)


def _parted(op: str, name: str, array: jax.Array, heads: int) -> None:
    """Checks that heads divide the channels."""
    channels = array.shape[-1]
    if isinstance(channels, int) and channels % heads:
        allowed = f"divide the {channels} channels of `{name}`"
        arguments.fail(op, "num_heads", allowed, heads)


def element_mask(op: str, where: Any, shape: Any, pooled: tuple[int, ...]) -> jax.Array | None:
    """`where` in the rank of x, one for all channels."""
    valid = arguments.mask(op, where, shape, pooled, False)
    if valid is not None and valid.shape[-1] != 1:
        raise ValueError(
            f"{op}: `where` must have the size 1 for channels, which are weighted alike; got "
            f"where.shape={where.shape} for x.shape={tuple(shape)}. Write where[..., :1], or "
            "where[..., None] if it has no axis of channels."
        )
    return valid
