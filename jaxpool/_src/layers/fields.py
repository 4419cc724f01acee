"""What all layers have in common, and the fields of windows and of whole axes."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform

import jax
import numpy as np
from jax.core import Tracer

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import unknown

T = TypeVar("T")


@dataclass_transform()
def layer(cls: type[T]) -> type[T]:
    """Makes annotations fields, and leaves equality and `repr` to the framework."""
    made: Any = dataclasses.dataclass(eq=False, repr=False)(cls)
    if "__call__" in vars(made):
        made.__call__ = _says_what_has_a_name(made.__call__)
    return made


def _says_what_has_a_name(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, which answers a mask without its name, or with another one, with what to write."""
    parameters = inspect.signature(call).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    count = len(parameters) - len(named)

    @functools.wraps(call)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= count and named:
            kind, dtype = type(args[count - 1]).__name__, getattr(args[count - 1], "dtype", bool)
            name = "where" if "where" in named and dtype == np.bool_ else named[0]
            raise TypeError(
                f"{op_of(self)}: `{name}` must be given by its name; got an object of type {kind} "
                f"without one. Write {name}=..."
            )
        try:
            return call(self, *args, **kwargs)
        except TypeError:
            mistake = unknown(op_of(self), call, kwargs)
            if mistake is None:
                raise
        raise mistake

    return checked


def pool_of(module: type) -> type | None:
    """The class of this room that a framework's `module` stands for, if it is one of a pool."""
    return next((c for c in module.__mro__ if c.__module__.startswith(f"{__package__}.")), None)


def op_of(layer: Any) -> str:
    """The name in which a layer's mistakes are told: of a user's, what it is derived from."""
    return (pool_of(type(layer)) or type(layer)).__name__


def kinds_of(layer: Any) -> dict[str, Any]:
    """The types of the fields of ours. Linen has more, and so may a class that a user derives."""
    ours = next(c for c in type(layer).__mro__ if c.__module__.startswith("jaxpool."))
    return {f.name: f.type for f in dataclasses.fields(ours) if f.name not in ("parent", "name")}


def as_tuple(value: Any) -> Any:
    """`value` with tuples in place of lists, ranges and arrays of ints, which may have no hash.

    And of bools, which say what is pooled, and are not learned.
    """
    known = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, Tracer)
    if known and value.ndim and value.dtype == bool:
        value = np.asarray(value).tolist()
    if isinstance(value, np.ndarray) and value.ndim and np.issubdtype(value.dtype, np.integer):
        value = value.tolist()
    return tuple(map(as_tuple, value)) if type(value) in (list, tuple, range) else value


@layer
class Pool:
    """Calls `_function` with the fields."""

    _function: ClassVar[Callable[..., Any]]
    _own: ClassVar[tuple[str, ...]] = ()  # fields that are no arguments of the function
    _follows: ClassVar[dict[str, str]] = {}  # parameters that begin with the value of another

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        return self._function(x, where=where, **self._options())

    def _options(self) -> dict[str, Any]:
        """The fields that are arguments of the function."""
        return {n: getattr(self, n) for n in kinds_of(self) if n not in self._own}


@layer
class WindowPool(Pool):
    """The fields that all window functions share."""

    window_shape: Ints
    strides: Ints | None = None
    padding: Padding = "VALID"
    _: dataclasses.KW_ONLY
    dilation: Ints = 1
    ceil_mode: bool = False
    axes: Ints | None = None
    empty_value: Any = 0


@layer
class ShapedPool(WindowPool):
    """The same of functions whose windows may have a shape of their own."""

    _: dataclasses.KW_ONLY
    footprint: Any = None


@layer
class GlobalPool(Pool):
    """The fields that all global functions share."""

    axes: Ints
    _: dataclasses.KW_ONLY
    keepdims: bool = False
    empty_value: Any = 0
