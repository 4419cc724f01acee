"""Names of other libraries: what to write here for arguments and pools that they call otherwise."""

import difflib
import functools
import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, TypeVar

import jax
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

# Arguments of other libraries, and what they may be called here.
_ARGUMENTS = {
    "kernel_size": ("window_shape", "filter_size", "output_shape"),
    "pool_size": ("window_shape",),
    "kernel_shape": ("window_shape", "filter_size"),
    "window_dimensions": ("window_shape",),
    "size": ("window_shape", "output_shape"),
    "stride": ("strides",),
    "window_strides": ("strides",),
    "pad": ("padding",),
    "pads": ("padding",),
    "dilations": ("dilation",),
    "window_dilation": ("dilation",),
    "dim": ("axes", "axis"),
    "dims": ("axes", "axis"),
    "axis": ("axes",),
    "axes": ("axis",),
    "keepdim": ("keepdims",),
    "keep_dims": ("keepdims",),
    "mask": ("where",),
    "padding_mask": ("where",),
    "attention_mask": ("where",),
    "weights": ("where",),
    "output_size": ("output_shape",),
    "norm_type": ("p",),
    "input": ("x",),
    "inputs": ("x",),
    "rng": ("key",),
    "rngs": ("key",),
}


_LAYOUTS = ("data_format", "channel_axis", "channels_last", "channels_first", "layout")


def explained(made: F) -> F:
    """A function or a class that answers an argument which it does not have with what to write."""
    if isinstance(made, type):
        cls: Any = made
        cls.__init__ = answering(cls.__init__, cls.__name__)
        return cls
    return answering(made, made.__name__)


def answering(function: Any, op: str) -> Any:
    """`function`, which tells mistakes of names as those of `op`."""
    explain = unknown  # not a global, since it has those of the function

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            mistake = explain(op, function, kwargs)
            if mistake is None:
                raise
        raise mistake

    # A function of the same module as before, which is where doctest looks for examples.
    own = types.FunctionType(call.__code__, function.__globals__, op, None, call.__closure__)
    return functools.wraps(function)(own)


def unknown(op: str, function: Callable[..., Any], given: dict[str, Any]) -> TypeError | None:
    """What to say of arguments among the `given` that the function does not have, if there are."""
    taken = [n for n in inspect.signature(function).parameters if n not in ("self", "_")]
    names = [n for n in given if n not in taken]
    if not names:
        return None
    value = given[names[0]]
    large = isinstance(value, jax.Array | np.ndarray)
    got = f"an array as {names[0]}" if large else f"{names[0]}={value!r}"
    hints = [_hint(op, name, given[name], taken) for name in names]
    text = f"{op}: `{names[0]}` must be one of its arguments ({', '.join(taken)}); got {got}."
    return TypeError(" ".join([text, *filter(None, hints)]))


def _hint(op: str, name: str, value: Any, taken: list[str]) -> str:
    """What to write for an argument `name`, or nothing."""
    is_layer, function = op[:1].isupper(), _snake(op)
    target = next((n for n in _ARGUMENTS.get(name, ()) if n in taken), None)
    if target == "window_shape" and isinstance(value, int):
        both = f"({value}, {value})"
        return f"Write window_shape={both}, or window_shape={value} with axes=(-2, -1) for NCHW."
    if target == "where":
        return "Write where=..., which is True where an element takes part."
    if target is not None:
        return f"Write {target}={value!r}."
    if name in _LAYOUTS and "axes" in taken:
        return "Write axes=(-2, -1) if channels come first, and nothing if they come last."
    if name == "return_indices":
        found = [
            n for n in (f"{function}_with_argmax", f"{function}_with_argmin") if n in _public()
        ]
        return f"Write {camel(found[0]) if is_layer else f'jaxpool.{found[0]}'}." if found else ""
    if "where" in _ARGUMENTS.get(name, ()) and is_layer:
        return "Write layer(x, where=...): what a layer is called with is no field of it."
    local = function.removeprefix("global_")
    if "window_shape" in _ARGUMENTS.get(name, ()) and function != local and local in _public():
        return f"Write {camel(local) if is_layer else f'jaxpool.{local}'} for windows."
    close = difflib.get_close_matches(name, taken, 1, 0.75)
    return f"Write {close[0]}=..." if close else ""


def answers(module: str) -> Callable[[str], NoReturn]:
    """The `__getattr__` of a module of ours: what to say of attributes that it does not have."""
    return functools.partial(_refuse, module)


def _refuse(module: str, name: str) -> NoReturn:
    hint = "" if name.startswith("_") else _advice(module, name)
    text = f"module {module!r} has no attribute {name!r}." + (f" {hint}" if hint else "")
    raise AttributeError(text, name=name, obj=sys.modules[module])


# What else pools are called, after words are written as they are here.
_POOLS = {
    "roi_pool": "roi_max_pool",
    "ps_roi_align": "position_sensitive_roi_align",
    "ps_roi_pool": "position_sensitive_roi_pool",
    "deform_roi_pool": "deformable_roi_pool",
    "soft_pool": "softmax_pool",
    "norm_pool": "lp_pool",
    "power_average_pool": "lp_pool",
    "argmax_pool": "max_pool_with_argmax",
    "self_attention_pool": "attention_pool",
    "masked_avg_pool": "global_avg_pool",
    "masked_avg": "global_avg_pool",
    "avg": "global_avg_pool",
    "max": "global_max_pool",
    "gap": "global_avg_pool",
    "gmp": "global_max_pool",
}
_MODULES = ("nnx", "linen", "interop", "compat", "translate")


def _advice(module: str, name: str) -> str:
    """What to write for a name of another library."""
    public = {*vars(sys.modules[module]), *_public()}
    if name in _MODULES:
        return f"Write import jaxpool.{name}."
    words = _snake(re.sub(r"[_]?[123][dD](?=_|$)", "", name))
    words = re.sub(r"pooling(?=_|$)", "pool", words)
    words = re.sub(r"(?<![a-z])(mean|average)(?![a-z])", "avg", words)
    words = _POOLS.get(words, words)
    if words not in public:
        close = difflib.get_close_matches(words, sorted(public), 1, 0.8)
        return f"Write {module}.{close[0]}." if close else ""
    layer = camel(words)
    if module != "jaxpool":
        return f"Write {module}.{layer}." if layer in public else f"Write jaxpool.{words}."
    if name[0].isupper():
        return f"Write jaxpool.nnx.{layer} or jaxpool.linen.{layer}, layers, or jaxpool.{words}."
    where = ", where=mask" if "mask" in name else ""
    return f"Write jaxpool.{words}{f'(x, axes{where})' if where else ''}."


def _public() -> Iterable[str]:
    import jaxpool

    return vars(jaxpool)


def _snake(name: str) -> str:
    """`MaxPool` as `max_pool`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def camel(name: str) -> str:
    """`max_pool` as `MaxPool`."""
    return "".join(word.capitalize() for word in name.split("_"))
