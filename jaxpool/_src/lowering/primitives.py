"""Primitives whose programs are traced when they are lowered, for that platform alone.

`lax.platform_dependent` traces the programs of all platforms, once for each transformation. And of
a linear map JAX derives the transpose from its operations, so that one of the two directions runs a
program that was written for the other. What is here is one equation for JAX, whatever is in it.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxpool._src.lowering.footprints import Windows, like
from jaxpool._src.lowering.meshes import varying_alike

Results = tuple[jax.Array, ...]


@dataclasses.dataclass(frozen=True)
class WindowFold:
    """What is known of each window: its extremum, say, and where that is. It has no derivative.

    ``form(platform, windows, *options, several=...)`` is the function of x and of other arrays of
    its rank, or None, which broadcast to it; `several` says whether devices may share these. Its
    results have one entry for each window, in these `dtypes`; None is that of x.
    """

    form: Callable[..., Callable]
    dtypes: tuple[Any, ...]
    windows: Windows
    options: tuple[Any, ...] = ()

    def __call__(self, x: jax.Array, *others: Any) -> Results:
        leaves, tree = jax.tree.flatten(others)
        leaves = varying_alike(lax.stop_gradient(x), *lax.stop_gradient(leaves))
        return tuple(_fold_p.bind(*leaves, how=self, tree=tree))

    def lowered(
        self, platform: str, x: jax.Array, *leaves: jax.Array, several: bool, tree: Any
    ) -> Results:
        """The program of a platform."""
        others = jax.tree.unflatten(tree, leaves)
        return self.form(platform, self.windows, *self.options, several=several)(x, *others)


@dataclasses.dataclass(frozen=True)
class WindowMap:
    """A map from elements to windows that is linear in its first operand, and its transpose.

    ``form(platform, windows, *options, several=...)`` is the map as a function of elements, and a
    function to be transposed in its place. Both take ``(elements, taps, x, valid)``: what is
    mapped, in the shape of x; an array in the shape of the windows; x, which a program may look at
    again; and which of its elements are valid, or None. Derivatives in all but the first are taken
    to be 0.
    """

    form: Callable[..., tuple[Callable, Callable]]
    windows: Windows
    options: tuple[Any, ...] = ()

    def __call__(
        self, elements: jax.Array, taps: jax.Array, x: jax.Array, valid: jax.Array | None
    ) -> jax.Array:
        elements, taps, x, *masks = varying_alike(elements, taps, x, *_listed(valid))
        return _map_p.bind(elements, taps, x, *masks, how=self, backward=False)

    def lowered(
        self, platform: str, given: jax.Array, taps: jax.Array, x: jax.Array, *masks: jax.Array,
        several: bool, backward: bool,
    ) -> jax.Array:  # fmt: skip
        """The program of one direction."""
        valid = masks[0] if masks else None
        form = functools.partial(self.form, platform, self.windows, *self.options)
        forward, to_transpose = form(several=several)
        if not backward:
            return forward(given, taps, x, valid)
        zeros = lax.full_like(x, 0, given.dtype)  # in the shape and sharding of the result
        _, pull_back = jax.vjp(lambda elements: to_transpose(elements, taps, x, valid), zeros)
        return pull_back(given)[0]


@dataclasses.dataclass(frozen=True)
class LinearMap:
    """Sums over windows that are linear in what is `given`, with a program for either direction.

    ``form(platform, windows, *options, several=...)`` is two functions of two trees, what is given
    and what is fixed, in which all arrays have the same rank: the sums, and a function to be
    transposed in their place. In what is fixed, the derivative is that of the second.
    """

    form: Callable[..., tuple[Callable, Callable]]
    windows: Windows
    options: tuple[Any, ...] = ()

    def __call__(self, given: Any, fixed: Any, results: Any) -> Any:
        """The sums, which are like `results`."""
        leaves, tree = jax.tree.flatten(given)
        others, fixed_tree = jax.tree.flatten(fixed)
        like, result_tree = jax.tree.flatten(results)
        sides = tuple(
            Side(tree, tuple(np.dtype(leaf.dtype) for leaf in leaves))
            for leaves, tree in ((leaves, tree), (like, result_tree))
        )
        operands = varying_alike(*leaves, *others)
        found = _linear_p.bind(*operands, how=self, sides=sides, tree=fixed_tree, backward=False)
        return result_tree.unflatten(found)

    def lowered(
        self, platform: str, *operands: jax.Array, sides: tuple["Side", "Side"], tree: Any,
        backward: bool, several: bool,
    ) -> list[jax.Array]:  # fmt: skip
        """The program of one direction."""
        count = len(sides[backward].dtypes)
        fixed = tree.unflatten(operands[count:])
        form = functools.partial(self.form, platform, self.windows, *self.options)
        forward, to_transpose = form(several=several)
        given = sides[backward].tree.unflatten(operands[:count])
        if not backward:
            return jax.tree.leaves(forward(given, fixed))
        return self._transposed(to_transpose, given, fixed, sides[0])

    def by_jax(
        self, *operands: jax.Array, sides: tuple["Side", "Side"], tree: Any, backward: bool
    ) -> list[jax.Array]:
        """The same, for derivatives in what is fixed."""
        count = len(sides[backward].dtypes)
        fixed = tree.unflatten(operands[count:])
        given = sides[backward].tree.unflatten(operands[:count])

        def to_transpose(given: Any, fixed: Any) -> Any:
            forms = {
                name: self.form(name, self.windows, *self.options, several=False)[1]
                for name in ("cpu", "default")
            }
            return lax.platform_dependent(given, fixed, **forms)

        if not backward:
            return jax.tree.leaves(to_transpose(given, fixed))
        return self._transposed(to_transpose, given, fixed, sides[0])

    def _transposed(
        self, function: Callable, cotangents: Any, fixed: Any, side: "Side"
    ) -> list[jax.Array]:
        like = jax.tree.leaves(cotangents)[0]
        shape = list(like.shape)
        for axis, w in self.windows:
            shape[axis] = w.length
        zeros = [jnp.zeros(shape, dtype) for dtype in side.dtypes]
        zeros = varying_alike(*zeros, like)[:-1]
        _, pull_back = jax.vjp(lambda given: function(given, fixed), side.tree.unflatten(zeros))
        return jax.tree.leaves(pull_back(cotangents)[0])


@dataclasses.dataclass(frozen=True)
class Side:
    """What is on one side of a linear map: a tree of arrays, of one shape."""

    tree: Any
    dtypes: tuple[np.dtype, ...]


def with_batch(how: Any, axis: int) -> Any:
    """The same for arrays that have one axis more, there."""
    moved = like(how.windows, ((a + (a >= axis), w) for a, w in how.windows))
    return dataclasses.replace(how, windows=moved)


def _listed(valid: jax.Array | None) -> list[jax.Array]:
    return [] if valid is None else [valid]


def linear_pair(name: str) -> Primitive:
    """A primitive that is linear in its first operand, and with ``backward=True`` its transpose."""
    primitive = Primitive(name)
    ad.primitive_jvps[primitive] = functools.partial(_linear_jvp, primitive)
    ad.primitive_transposes[primitive] = functools.partial(_linear_transpose, primitive)
    return primitive


def lowered_by(
    primitive: Primitive,
    abstract: Callable,
    batch: Callable,
    lowered: Callable[..., Any],
    *,
    by_devices: bool = False,
) -> None:
    """Makes ``lowered(platform, *operands, **static)`` what a primitive is on each platform.

    It is told whether devices may share its operands, as `several`, if it goes `by_devices`.
    """
    primitive.def_abstract_eval(abstract)
    batching.primitive_batchers[primitive] = batch
    primitive.def_impl(functools.partial(_outside_jit, primitive))
    for platform in ("cpu", "tpu", "default"):
        form = functools.partial(lowered, platform)
        if by_devices:
            rule = functools.partial(_lowered_by_devices, form, primitive.multiple_results)
        else:
            rule = mlir.lower_fun(form, primitive.multiple_results)
        where = None if platform == "default" else platform
        mlir.register_lowering(primitive, rule, platform=where)


def _lowered_by_devices(
    form: Callable, multiple: bool, context: Any, *operands: Any, **static: Any
) -> Any:
    form = functools.partial(form, several=_are_several(context.module_context.axis_context))
    return mlir.lower_fun(form, multiple)(context, *operands, **static)


def _are_several(context: Any) -> bool:
    """Whether a program is for several devices that it does not tell apart, as `shard_map` does."""
    if hasattr(context, "num_devices"):
        return context.num_devices > 1
    manual = getattr(context, "manual_axes", ())
    sizes = context.mesh.shape.items() if hasattr(context, "mesh") else ()
    return math.prod(size for name, size in sizes if name not in manual) > 1


def _linear_jvp(
    primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], **direction: Any
) -> tuple[Any, Any]:
    y = primitive.bind(*primals, **direction)
    if isinstance(tangents[0], ad.Zero):
        return y, ad.Zero(jax.typeof(y).to_tangent_aval())
    return y, primitive.bind(tangents[0], *primals[1:], **direction)


def _linear_transpose(
    primitive: Primitive, cotangent: Any, given: Any, *fixed: Any, how: Any, backward: bool
) -> list[Any]:
    if isinstance(cotangent, ad.Zero):
        return [ad.Zero(given.aval)] + [None] * len(fixed)
    found = primitive.bind(cotangent, *fixed, how=how, backward=not backward)
    return [found] + [None] * len(fixed)


def _linear_map_jvp(
    primals: Sequence[Any], tangents: Sequence[Any], *, how: LinearMap, sides: Any, backward: bool,
    tree: Any,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    static = {"how": how, "sides": sides, "tree": tree, "backward": backward}
    count = len(sides[backward].dtypes)
    given, fixed = primals[:count], primals[count:]
    found = _linear_p.bind(*primals, **static)
    terms = []
    moves = [t for t in tangents[:count] if not isinstance(t, ad.Zero)]
    if moves:
        moves = map(ad.instantiate_zeros, tangents[:count])
        terms.append(_linear_p.bind(*varying_alike(*moves, *fixed), **static))
    moves = {i: t for i, t in enumerate(tangents[count:]) if not isinstance(t, ad.Zero)}
    if moves:

        @jax.checkpoint  # which keeps nothing of each element of a window
        def of_fixed(moving: dict[int, Any], given: Any, fixed: Any) -> list[jax.Array]:
            every = [moving.get(i, array) for i, array in enumerate(fixed)]
            return how.by_jax(*given, *every, sides=sides, tree=tree, backward=backward)

        at = ({i: fixed[i] for i in moves},)
        rule = functools.partial(of_fixed, given=given, fixed=fixed)
        terms.append(jax.jvp(rule, at, (moves,))[1])
    if not terms:
        return found, [ad.Zero(jax.typeof(y).to_tangent_aval()) for y in found]
    return found, list(functools.reduce(lambda a, b: map(lax.add, a, b), terms))


def _linear_map_transpose(
    cotangents: Sequence[Any], *operands: Any, how: LinearMap, sides: Any, backward: bool, tree: Any
) -> list[Any]:
    count = len(sides[backward].dtypes)
    given, fixed = operands[:count], operands[count:]
    found: list[Any] = [None] * len(operands)
    if all(isinstance(ct, ad.Zero) for ct in cotangents):
        for i, array in enumerate(given):
            if ad.is_undefined_primal(array):
                found[i] = ad.Zero(array.aval)
        return found
    handed_back = _linear_p.bind(
        *varying_alike(*map(ad.instantiate_zeros, cotangents), *fixed),
        how=how, sides=sides, tree=tree, backward=not backward,
    )  # fmt: skip
    for i, array in enumerate(given):
        if ad.is_undefined_primal(array):
            found[i] = handed_back[i]
    return found


_fold_p = Primitive("window_fold")
_fold_p.multiple_results = True
_linear_p = Primitive("linear_window_map")
_linear_p.multiple_results = True
ad.primitive_jvps[_linear_p] = _linear_map_jvp
ad.primitive_transposes[_linear_p] = _linear_map_transpose
_map_p = linear_pair("window_map")


@functools.partial(jax.jit, static_argnames=("primitive", "static"))
def _program(*operands: jax.Array, primitive: Primitive, static: tuple[Any, ...]) -> Any:
    return primitive.bind(*operands, **dict(static))


def _outside_jit(primitive: Primitive, *operands: jax.Array, **static: Any) -> Any:
    with jax.disable_jit(False):  # or it would come back here
        return _program(*operands, primitive=primitive, static=tuple(static.items()))


def _fold_abstract(x: Any, *others: Any, how: WindowFold, tree: Any) -> list[Any]:
    shape = list(x.shape)
    for axis, w in how.windows:
        shape[axis] = w.output
    dtypes = (x.dtype if dtype is None else np.dtype(dtype) for dtype in how.dtypes)
    return [x.update(shape=tuple(shape), dtype=dtype, weak_type=False) for dtype in dtypes]


def _map_abstract(
    given: Any, taps: Any, x: Any, *masks: Any, how: WindowMap, backward: bool
) -> Any:
    like = x if backward else taps
    return like.update(dtype=given.dtype, weak_type=False)


def _linear_map_abstract(
    *operands: Any, how: LinearMap, sides: Any, backward: bool, tree: Any
) -> list[Any]:
    del tree
    shape = list(operands[0].shape)
    for axis, w in how.windows:
        shape[axis] = w.length if backward else w.output
    dtypes = sides[not backward].dtypes
    return [operands[0].update(shape=tuple(shape), dtype=d, weak_type=False) for d in dtypes]


def _linear_map_batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: LinearMap, sides: Any, backward: bool,
    tree: Any,
) -> tuple[list[jax.Array], list[int]]:  # fmt: skip
    operands, at = batched(operands, axes, len(operands))
    static = {"sides": sides, "tree": tree, "backward": backward}
    found = _linear_p.bind(*operands, how=with_batch(how, at), **static)
    return found, [at] * len(found)


def _fold_batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: WindowFold, tree: Any
) -> tuple[list[jax.Array], list[int]]:
    operands, at = batched(operands, axes, 1)
    found = _fold_p.bind(*operands, how=with_batch(how, at), tree=tree)
    return found, [at] * len(found)


def _map_batch(
    operands: Sequence[Any], axes: Sequence[Any], *, how: WindowMap, backward: bool
) -> tuple[jax.Array, int]:
    operands, at = batched(operands, axes, 3)
    return _map_p.bind(*operands, how=with_batch(how, at), backward=backward), at


def batched(operands: Sequence[Any], axes: Sequence[Any], whole: int) -> tuple[list[Any], int]:
    """All operands with the batch along one axis, the first `whole` of them with its size."""
    # Where the first is batched, so that at least this one need not be turned.
    at, size = next(
        (axis, operand.shape[axis])
        for operand, axis in zip(operands, axes, strict=True)
        if axis is not None
    )
    found = []
    for number, (operand, axis) in enumerate(zip(operands, axes, strict=True)):
        if axis is None:
            operand = jnp.expand_dims(operand, at)
            if number < whole:
                shape = (*operand.shape[:at], size, *operand.shape[at + 1 :])
                operand = jnp.broadcast_to(operand, shape)
        found.append(operand if axis in (None, at) else jnp.moveaxis(operand, axis, at))
    return found, at


def lowered_as_told(platform: str, *operands: jax.Array, how: Any, **static: Any) -> Any:
    """The program that `how` has."""
    return how.lowered(platform, *operands, **static)


lowered_by(_fold_p, _fold_abstract, _fold_batch, lowered_as_told, by_devices=True)
lowered_by(_linear_p, _linear_map_abstract, _linear_map_batch, lowered_as_told, by_devices=True)
lowered_by(_map_p, _map_abstract, _map_batch, lowered_as_told, by_devices=True)
