"""What a public function computes is one program, also where it is called outside of `jax.jit`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxpool._src.core.arguments import plain

P = ParamSpec("P")
R = TypeVar("R")

# Leaves of arguments that are part of what a program is; nothing that may change later.
_FIXED = (bool, int, float, complex, str, np.generic, np.dtype)


# Arguments that are known while tracing, though they may come as NumPy's arrays.
_SIZES = frozenset(
    ["window_shape", "strides", "padding", "dilation", "axes", "filter_size", "levels", "grid",
     "output_shape", "shape", "minimum_shape"]
)  # fmt: skip


@functools.lru_cache
def _sizes_of(function: Callable) -> tuple[int, ...]:
    """Which positional arguments of a function are sizes."""
    names = inspect.signature(function).parameters
    return tuple(place for place, name in enumerate(names) if name in _SIZES)


def _is_fixed(leaf: Any) -> bool:
    return isinstance(leaf, _FIXED) or (isinstance(leaf, np.ndarray) and leaf.ndim == 0)


def as_one_program(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """``function(*args, **kwargs)``, compiled once for each signature.

    Arrays are traced, so checks of their values belong before it; what else there is in the trees
    of arguments is known while tracing. Of a user's own `jax.jit` this leaves no trace. `function`
    is called as it is if an argument cannot be part of a signature (a domain that is no tree, say)
    or has a function in it that cannot be traced.
    """
    given: list[Any] = list(args)
    for place in _sizes_of(function):
        if place < len(given):
            given[place] = plain(given[place])
    leaves, tree = jax.tree.flatten((given, kwargs))
    arrays, fixed = [], []
    for leaf in leaves:
        if _is_array(leaf):
            arrays.append(leaf)
            fixed.append(None)
        elif _is_fixed(leaf):
            fixed.append(_Fixed(leaf))
        else:
            return function(*args, **kwargs)
    try:
        signature = _Signature(function, tree, tuple(fixed))
    except TypeError:  # an array or a dict among what a reduction is known by
        return function(*args, **kwargs)
    # A call of its own within a program would hide from JAX what is known; in a gradient that is
    # taken outside of programs, each part of it is one.
    program = _inlined if any(map(_is_staged, arrays)) else _program
    try:
        return program(signature, arrays)
    except jax.errors.JAXTypeError:  # a function of the user's own wants numbers, and no tracers
        return function(*args, **kwargs)
    except (TypeError, ValueError) as error:
        mistake = error
    function(*args, **kwargs)  # says what came, which in the program is a tracer
    raise mistake


class _Signature:
    """All that a program depends on but its arrays.

    A tree of JAX's hashes alike whatever its static nodes are, so that every window would be
    looked for among all others, and compares them even where that is an error.
    """

    __slots__ = ("fixed", "function", "hash", "key", "tree")

    def __init__(self, function: Callable, tree: Any, fixed: tuple["_Fixed | None", ...]) -> None:
        self.function, self.tree, self.fixed = function, tree, fixed
        self.key = (function, _nodes(tree), fixed)
        self.hash = hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Signature) and self.key == other.key

    def __hash__(self) -> int:
        return self.hash


def _nodes(tree: Any) -> tuple[Any, ...] | None:
    """The static part of a tree's nodes, to be hashed; None for a leaf."""
    node = tree.node_data()
    if node is None:
        return None
    kind, static = node
    return (kind, tuple(static) if kind is dict else static, *map(_nodes, tree.children()))


def _pooling(signature: _Signature, arrays: list[jax.Array]) -> Any:
    rest = iter(arrays)
    leaves = [next(rest) if entry is None else entry.value for entry in signature.fixed]
    args, kwargs = jax.tree.unflatten(signature.tree, leaves)
    return signature.function(*args, **kwargs)


_program = jax.jit(_pooling, static_argnums=0)
_inlined = jax.jit(_pooling, static_argnums=0, inline=True)


def _is_staged(array: Any) -> bool:
    """Whether it is part of a program that is being made; under `jax.grad` alone it is at hand."""
    return isinstance(array, Tracer) and array.to_concrete_value() is None


def _is_array(leaf: Any) -> bool:
    """Whether it is traced: not NumPy's scalars, which are numbers, nor what JAX cannot trace."""
    if isinstance(leaf, np.ndarray):
        is_number = leaf.dtype == bool or jnp.issubdtype(leaf.dtype, np.number)
        return leaf.ndim > 0 and is_number
    return isinstance(leaf, jax.Array)


class _Fixed:
    """A value as part of a signature: 0.0, -0.0, 0 and False differ, and NaN is itself."""

    __slots__ = ("key", "value")

    def __init__(self, value: Any) -> None:
        self.value = value.copy() if isinstance(value, np.ndarray) else value
        said = (value.dtype, value.tobytes()) if hasattr(value, "tobytes") else repr(value)
        self.key = (type(value), said)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Fixed) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)
