"""Attention: logits of keys and queries, and sums of values by their softmax, along any axes."""

import math
import string
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# Up to so many queries, those of each head counted, keys are multiplied with whole queries that
# are 0 in the channels of other heads, and values are summed whole. That is more arithmetic, of
# which there is little, and no copy: with an axis for heads, XLA lays all keys and values out
# anew, heads first, which for one query takes most of the time. On CPUs, over 1024 elements of 768
# channels and with 12 heads, both take as long for 24 in all, and for 60 the copy is worth it.
FEW = 24


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    valid: jax.Array | None,
    *,
    pooled: Sequence[int],
    heads: int,
    scale: Any,
    dtype: Any,
) -> tuple[jax.Array, jax.Array]:
    """The sums of values, of shape (..., queries, channels), and weights (..., heads, queries, n).

    `key` and `value` have channels last and are finite where not `valid`, which has their rank and
    the size 1 for channels. `query` has their batch axes before its own two, or none.
    """
    few = heads == 1 or (isinstance(query.shape[-2], int) and query.shape[-2] * heads <= FEW)
    # Each axis has a letter: capital ones those of x, q queries, h heads and c channels.
    every = string.ascii_uppercase[: key.ndim - 1]
    along = "".join(every[axis] for axis in pooled)
    batch = "".join(letter for letter in every if letter not in along)
    lead = batch if query.ndim > 2 else ""
    if few:
        query, channels, pair = _apart(query, heads), "c", f"{batch}{along}qh"
    else:
        query, key, value = (_split(array, heads) for array in (query, key, value))
        channels, pair = "hc", f"{batch}hq{along}"
    logits = _product(f"{every}{channels},{lead}qhc->{pair}", key, query, dtype)
    where = None if valid is None else _laid(valid[..., 0], every, pair)
    axes = tuple(pair.index(letter) for letter in along)
    weights = jax.nn.softmax(logits * jnp.asarray(scale).astype(dtype), axes, where=where)
    if query.shape[-3] == 1 and value.dtype == dtype:
        own = _laid(jnp.squeeze(weights, pair.index("q")), pair.replace("q", ""), f"{every}h")
        y = _one_sum(own, _split(value, heads) if few else value, pooled)
    else:
        y = _product(f"{pair},{every}{channels}->{batch}qhc", weights, value, dtype)
        y = _together(y, heads) if few else y.reshape(*y.shape[:-2], heads * y.shape[-1])
    weights = _laid(weights, pair, f"{batch}hq{along}")
    kept = len(batch) + 2
    return y, weights.reshape(*weights.shape[:kept], math.prod(weights.shape[kept:]))


def _product(letters: str, a: jax.Array, b: jax.Array, dtype: Any) -> jax.Array:
    """Products of narrow floats are exact in `dtype`, and the sums are taken in it."""
    return jnp.einsum(letters, a, b, precision=lax.Precision.HIGHEST, preferred_element_type=dtype)


def _one_sum(weights: jax.Array, value: jax.Array, pooled: Sequence[int]) -> jax.Array:
    """For one query: a sum that XLA:CPU multiplies on the way; heads and their channels are apart.

    Values are read as they are, once; a product of matrices takes twice as long. More queries
    would read them again, and narrow floats would first be written out wide.
    """
    y = jnp.sum(weights[..., None] * value, tuple(pooled))
    return y.reshape(*y.shape[:-2], 1, math.prod(y.shape[-2:]))


def _split(x: jax.Array, heads: int) -> jax.Array:
    """Channels as an axis of heads and one of each head's channels."""
    return x.reshape(*x.shape[:-1], heads, x.shape[-1] // heads)


def _own(heads: int, channels: int) -> jax.Array:
    """Which channels are a head's own."""
    shape = (heads, channels)
    number = lax.broadcasted_iota(np.int32, shape, 1) // np.int32(channels // heads)
    return number == lax.broadcasted_iota(np.int32, shape, 0)


def _apart(query: jax.Array, heads: int) -> jax.Array:
    """For each head, queries that are 0 in the channels of others."""
    if heads == 1:
        return query[..., None, :]
    own = _own(heads, query.shape[-1])
    own = own.reshape((1,) * (query.ndim - 1) + own.shape)
    return jnp.where(own, query[..., None, :], np.zeros((), query.dtype))


def _together(y: jax.Array, heads: int) -> jax.Array:
    """Of what each head has in all channels, its own."""
    if heads == 1:
        return y[..., 0, :]
    own = _own(heads, y.shape[-1])
    own = own.reshape((1,) * (y.ndim - 2) + own.shape)
    return jnp.sum(jnp.where(own, y, np.zeros((), y.dtype)), -2)


def _laid(array: jax.Array, letters: str, wanted: str) -> jax.Array:
    """The axes in the order of `wanted`, with the size 1 for letters that the array lacks."""
    there = [letters.index(letter) for letter in wanted if letter in letters]
    array = array.transpose(there) if there != sorted(there) else array
    return jnp.expand_dims(array, [i for i, letter in enumerate(wanted) if letter not in letters])
