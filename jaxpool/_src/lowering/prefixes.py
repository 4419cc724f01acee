"""Maxima and sums of everything up to each element along an axis."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.scans import prefix_fold, restarted
from jaxpool._src.lowering.windows import lowest_value, numbered, pad, transposable


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def running_max(x: jax.Array, valid: jax.Array | None, axis: int, reverse: bool) -> jax.Array:
    """The maximum so far. What is not valid has the lowest value."""
    del valid
    return lax.cummax(x, axis, reverse=reverse)


@running_max.defjvp
def _running_max_jvp(
    axis: int, reverse: bool, primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    """The tangent of the last element that was larger than all before it, held until the next."""
    x, valid = primals
    y = running_max(x, valid, axis, reverse)
    is_new = _is_new(lax.stop_gradient(x), y, valid, axis, reverse)
    tangent = jnp.where(is_new, tangents[0], np.zeros((), x.dtype))
    held = functools.partial(_held, begins=is_new, axis=axis, reverse=reverse)
    if isinstance(x.shape[axis], int):
        return y, held(tangent)
    return y, transposable(held, tangent)  # which goes one by one, in a loop


def running_argmax(x: jax.Array, valid: jax.Array | None, axis: int, reverse: bool) -> jax.Array:
    """The place of the maximum so far, of equal ones the first, or the last NaN; -1 for none."""
    is_new = _is_new(x, lax.cummax(x, axis, reverse=reverse), valid, axis, reverse)
    place = jnp.broadcast_to(numbered(axis, x.shape[axis], x.ndim), x.shape)
    return _held(jnp.where(is_new, place + 1, np.int32(0)), is_new, axis, reverse) - 1


def _is_new(
    x: jax.Array, y: jax.Array, valid: jax.Array | None, axis: int, reverse: bool
) -> jax.Array:
    """Whether an element is larger than all before it, or NaN, or the first that is valid."""

    def before(array: jax.Array, value: Any) -> jax.Array:
        size = array.shape[axis]
        if reverse:
            return lax.slice_in_dim(pad(axis, (0, 1), array, value), 1, size + 1, 1, axis)
        return lax.slice_in_dim(pad(axis, (1, 0), array, value), 0, size, 1, axis)

    seen = jnp.ones(x.shape, np.int32)
    if valid is not None:
        seen = lax.cummax(valid.astype(np.int32), axis, reverse=reverse)
    is_new = (x > before(y, lowest_value(y.dtype))) | (before(seen, 0) == 0)
    if jnp.issubdtype(x.dtype, jnp.floating):
        is_new |= jnp.isnan(x)
    return is_new if valid is None else is_new & valid


def _held(x: jax.Array, begins: jax.Array, axis: int, reverse: bool) -> jax.Array:
    """The entry of the last beginning up to each place; all entries but those are 0."""
    turned = (begins, x)
    if reverse:
        turned = jax.tree.map(functools.partial(lax.rev, dimensions=(axis,)), turned)
    # By sums, which are linear in x.
    _, held = prefix_fold(turned, axis, restarted(lax.add), (False, 0))
    return lax.rev(held, (axis,)) if reverse else held


def running_sum_with(
    function: Callable[[Any, Any], Any],
    x: Any,
    cells: Any,
    valid: jax.Array | None,
    axis: int,
    reverse: bool,
) -> Any:
    """Sum over all elements up to each place of ``function(element, what the place has)``.

    Each element anew for each place, since `function` may do anything with the two.
    """
    shape = jax.tree.leaves(cells)[0].shape
    place = numbered(axis, shape[axis], len(shape))

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def term(number: jax.Array, x: Any, cells: Any) -> Any:
        at = functools.partial(lax.dynamic_slice_in_dim, slice_size=1, axis=axis)
        taken = place <= number if reverse else place >= number
        taken = taken if valid is None else taken & at(jnp.broadcast_to(valid, shape), number)

        def kept(v: jax.Array) -> jax.Array:
            return jnp.where(taken, jnp.broadcast_to(v, shape), np.zeros((), v.dtype))

        # What is foreign to a cell need not be finite there.
        element = jax.tree.map(lambda c: kept(at(c, number)), x)
        return jax.tree.map(kept, function(element, cells))

    def step(total: Any, number: jax.Array) -> tuple[Any, None]:
        return jax.tree.map(lax.add, total, term(number, x, cells)), None

    values = jax.eval_shape(term, jax.ShapeDtypeStruct((), np.int32), x, cells)
    start = jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), values)
    start = settled(lambda total: step(total, jnp.int32(0))[0], start)
    return lax.scan(step, start, lax.iota(np.int32, shape[axis]))[0]
