"""What all layers have in common, and the fields of windows and of whole axes."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform

import jax

from jaxpool._src.core.arguments import Ints, Padding

T = TypeVar("T")


@dataclass_transform()
def layer(cls: type[T]) -> type[T]:
    """Makes annotations fields, and leaves equality and `repr` to the framework."""
    return dataclasses.dataclass(eq=False, repr=False)(cls)


def pool_of(module: type) -> type | None:
    """The class of this room that a framework's `module` stands for, if it is one of a pool."""
    return next((c for c in module.__mro__ if c.__module__.startswith(f"{__package__}.")), None)


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
class GlobalPool(Pool):
    """The fields that all global functions share."""

    axes: Ints
    _: dataclasses.KW_ONLY
    keepdims: bool = False
    empty_value: Any = 0
