"""Mistakes told in the words of the library whose functions are stood in for."""

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from jaxpool._src.core import arguments

F = TypeVar("F", bound=Callable[..., Any])

# What our functions call what PyTorch's call otherwise.
_NAMES = {
    "window_shape": "kernel_size",
    "strides": "stride",
    "output_shape": "output_size",
    "samples": "_random_samples",
    "p": "norm_type",
    "x": "input",
    "y": "input",
}
_ANY = "|".join(_NAMES)


class RefusedError(ValueError, RuntimeError):
    """The caller's mistake: a `RuntimeError` as in PyTorch, a `ValueError` as in this library."""


def in_torchs_words(function: F) -> F:
    """`function`, whose mistakes are told in its own name, or its class's, and PyTorch's words."""
    op = function.__qualname__.split(".")[0]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except ValueError as error:
            raise RefusedError(_said_by(op, str(error))) from None
        except TypeError as error:
            # Python's own, of arguments that are missing or too many, already have the name.
            own = re.match(r"\w+: ", str(error))
            if not own:
                raise
            raise TypeError(_said_by(op, str(error))) from None

    return call  # pyright: ignore[reportReturnType]


def _said_by(op: str, text: str) -> str:
    text = re.sub(r"^\w+: ", f"{op}: ", text)
    text = re.sub(rf"`({_ANY})`", lambda found: f"`{_NAMES[found[1]]}`", text)
    text = re.sub(r", or `axes` if these are .*", ".", text)  # which are PyTorch's to say
    # As in "got strides=(0, 1) for x.shape=(8, 8)".
    return re.sub(rf"(?<![\w.])({_ANY})(?=(\.shape|\.dtype)?=)", lambda f: _NAMES[f[1]], text)


def planes(op: str, input: Any, rank: int, *, name: str = "input") -> jax.Array:
    """`input` as an array of channels that have `rank` axes, of one image or of several."""
    arguments.check_array(op, input)
    if input.ndim not in (rank + 1, rank + 2):
        letters = ", ".join(("D", "H", "W")[-rank:] if rank > 1 else "L")
        raise ValueError(
            f"{op}: `{name}` must have shape (C, {letters}) or (N, C, {letters}); got "
            f"{name}.shape={input.shape}."
        )
    return jnp.asarray(input)


def ints(op: str, name: str, value: Any, n: int, minimum: int) -> tuple[int, ...]:
    """`value`, an int, `n` of them, or a sequence with one that is for all axes."""
    items = arguments.entries(value)
    return arguments.ints(op, name, items[0] if items and len(items) == 1 else value, n, minimum)
