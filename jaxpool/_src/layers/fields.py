"""What all layers have in common, and the fields of windows and of whole axes."""

import dataclasses
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, ClassVar, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin

import jax
import numpy as np

from jaxpool._src.core.arguments import Ints, Padding, axis_numbers, flag, integer, one_of
from jaxpool._src.domains.window import window_arguments

T = TypeVar("T")


@dataclass_transform()
def layer(cls: type[T]) -> type[T]:
    """Makes annotations fields, and leaves equality and `repr` to the framework."""
    made: Any = dataclasses.dataclass(eq=False, repr=False)(cls)
    if "__call__" in vars(made):
        made.__call__ = _says_what_has_a_name(made.__call__)
    return made


def _says_what_has_a_name(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, which answers a mask that comes without its name with what to write."""
    parameters = inspect.signature(call).parameters.values()
    named = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    count = len(parameters) - len(named)

    @functools.wraps(call)
    def checked(self: Any, *args: Any, **kwargs: Any) -> Any:
        if len(args) >= count and named:
            extra = args[count - 1]
            is_mask = "where" in named and getattr(extra, "dtype", bool) == np.bool_
            name = "where" if is_mask else named[0]
            raise TypeError(
                f"{op_of(self)}: `{name}` must be given by its name; got an object of type "
                f"{type(extra).__name__} without one. Write {name}=..."
            )
        return call(self, *args, **kwargs)

    return checked


def pool_of(module: type) -> type | None:
    """The class of this room that a framework's `module` stands for, if it is one of a pool."""
    return next((c for c in module.__mro__ if c.__module__.startswith(f"{__package__}.")), None)


def op_of(layer: Any) -> str:
    """The name in which a layer's mistakes are told: of a user's, what it is derived from."""
    return (pool_of(type(layer)) or type(layer)).__name__


def as_tuple(value: Any) -> Any:
    """`value` with tuples in place of lists, which have no hash."""
    return tuple(map(as_tuple, value)) if type(value) in (list, tuple) else value


@layer
class Pool:
    """Calls `_function` with the fields."""

    _function: ClassVar[Callable[..., Any]]
    _own: ClassVar[tuple[str, ...]] = ()  # fields that are no arguments of the function

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        return self._function(x, where=where, **self._options())

    def _options(self) -> dict[str, Any]:
        """The fields, without Linen's own."""
        names = [field.name for field in dataclasses.fields(self)]
        others = ("parent", "name", *self._own)
        return {n: getattr(self, n) for n in names if n not in others}

    def _check(self) -> None:
        """Checks what can be known before the first call; a framework does when it makes one."""
        for field in dataclasses.fields(self):
            if field.name not in ("parent", "name"):
                _check_kind(op_of(self), field.name, getattr(self, field.name), field.type)


def _check_kind(op: str, name: str, value: Any, kind: Any) -> None:
    """Checks a bool, an int or one of a few names, if the annotation `kind` of a field is that."""
    if get_origin(kind) in (types.UnionType, Union):
        kinds = [k for k in get_args(kind) if k is not types.NoneType]
        if len(kinds) == 1 and value is not None:
            _check_kind(op, name, value, kinds[0])
    elif kind is bool:
        flag(op, name, value)
    elif kind is int:
        integer(op, name, value, "be an int")
    elif get_origin(kind) is Literal:
        one_of(op, name, value, get_args(kind))


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

    def _check(self) -> None:
        window = (self.window_shape, self.strides, self.padding, self.dilation, self.ceil_mode)
        window_arguments(op_of(self), *window, self.axes)
        super()._check()


@layer
class GlobalPool(Pool):
    """The fields that all global functions share."""

    axes: Ints
    _: dataclasses.KW_ONLY
    keepdims: bool = False
    empty_value: Any = 0

    def _check(self) -> None:
        axis_numbers(op_of(self), self.axes)
        super()._check()
