"""Folds of everything up to each element along an axis, by an associative operation."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.windows import pad

# So often the axis is halved before a loop does the rest, and programs stay small: by the number of
# arrays that are combined, the first row that has room for them. On CPUs a round more takes up to
# twice as long to compile, and gradients of long axes half as long to run.
_WRITTEN_ROUNDS = ((3, 3), (7, 2), (math.inf, 1))


def prefix_fold(carrier: Any, axis: int, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
    """For each element the fold of all up to it, in order, along an axis.

    `carrier` is a tree of arrays, `identity` one of scalars. For each element it takes two to four
    operations; of many arrays, whose programs are to stay small, up to half the logarithm of how
    many there are. If their number is symbolic, one element comes after the other.
    """
    leaves = jax.tree.leaves(carrier)
    length = leaves[0].shape[axis]
    if not isinstance(length, int):
        return _one_by_one(carrier, axis, combine, identity)
    written = next(rounds for most, rounds in _WRITTEN_ROUNDS if len(leaves) <= most)
    rounds = min((length - 1).bit_length(), written)
    extra = -length % 2**rounds
    carrier = jax.tree.map(functools.partial(pad, axis, (0, extra)), carrier, identity)
    folded = _halved(carrier, axis, combine, identity, rounds)
    return jax.tree.map(lambda c: lax.slice_in_dim(c, 0, length, 1, axis), folded)


def _one_by_one(carrier: Any, axis: int, combine: Callable, identity: Any) -> Any:
    rows = jax.tree.map(lambda c: jnp.moveaxis(c, axis, 0), carrier)
    start = jax.tree.map(lambda c, e: jnp.full(c.shape[1:], e, c.dtype), rows, identity)

    def step(total: Any, row: Any) -> tuple[Any, Any]:
        total = combine(total, row)
        return total, total

    start = settled(lambda total: step(total, jax.tree.map(lambda c: c[0], rows))[0], start)
    folded = lax.scan(step, start, rows)[1]
    return jax.tree.map(lambda c: jnp.moveaxis(c, 0, axis), folded)


def _halved(carrier: Any, axis: int, combine: Callable, identity: Any, rounds: int) -> Any:
    """`prefix_fold` by way of that of pairs, of a size that is so often even."""
    if rounds == 0:
        return _doubled(carrier, axis, combine, identity)

    def every_other(tree: Any, first: int) -> Any:
        return jax.tree.map(lambda c: lax.slice_in_dim(c, first, None, 2, axis), tree)

    odd = _halved(
        combine(every_other(carrier, 0), every_other(carrier, 1)), axis, combine, identity,
        rounds - 1,
    )  # fmt: skip
    before = jax.tree.map(functools.partial(_shifted, axis), odd, identity)
    even = combine(before, every_other(carrier, 0))

    def interleaved(a: jax.Array, b: jax.Array) -> jax.Array:
        shape = (*a.shape[:axis], 2 * a.shape[axis], *a.shape[axis + 1 :])
        return jnp.stack([a, b], axis + 1).reshape(shape)

    return jax.tree.map(interleaved, even, odd)


def _shifted(axis: int, c: jax.Array, identity: Any) -> jax.Array:
    """Each entry at the next one's place, the identity at the first."""
    return lax.slice_in_dim(pad(axis, (1, 0), c, identity), 0, c.shape[axis], 1, axis)


def _doubled(carrier: Any, axis: int, combine: Callable, identity: Any) -> Any:
    """`prefix_fold` from folds of the last 1, 2, 4, .. elements: one program for all rounds."""
    length = jax.tree.leaves(carrier)[0].shape[axis]
    rounds = (length - 1).bit_length()
    if rounds == 0:
        return carrier

    def double(number: Any, carrier: Any) -> Any:
        reach = lax.shift_left(np.int32(1), jnp.asarray(number, np.int32))

        def before(c: jax.Array, identity: Any) -> jax.Array:
            padded = pad(axis, (length, 0), c, identity)
            return lax.dynamic_slice_in_dim(padded, length - reach, length, axis)

        return combine(jax.tree.map(before, carrier, identity), carrier)

    start = settled(lambda carrier: double(0, carrier), carrier)
    return lax.fori_loop(0, rounds, double, start)


def restarted(combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """`combine` of pairs with a bool: whether a fold begins anew at the second, or in it."""

    def combined(a: tuple[jax.Array, Any], b: tuple[jax.Array, Any]) -> tuple[jax.Array, Any]:
        (a_begins, x), (b_begins, y) = a, b

        def chosen(both: jax.Array, alone: jax.Array) -> jax.Array:
            return jnp.where(b_begins, alone, both)

        return a_begins | b_begins, jax.tree.map(chosen, combine(x, y), y)

    return combined
