"""Writes a pooling of PyTorch or torchvision as a call of this library.

``python -m jaxpool.translate`` reads one call, of a function or of a module, whose arguments are
numbers; names of arrays are kept. What it prints is for channels last, or with ``--nchw`` for
channels first:

.. code-block:: console

    $ python -m jaxpool.translate "nn.MaxPool2d(3, 2, 1, ceil_mode=True)"
    # x of shape (N, H, W, C)
    jaxpool.max_pool(x, (3, 3), 2, 1, ceil_mode=True)
    jaxpool.nnx.MaxPool((3, 3), 2, 1, ceil_mode=True)

Layers are in `jaxpool.linen` under the same names.

Example:
  >>> from jaxpool.translate import translate
  >>> found = translate("F.avg_pool2d(x, 2)", nchw=True)
  >>> found.function
  'jaxpool.avg_pool(x, 2, axes=(-2, -1))'
  >>> found.layer
  'jaxpool.nnx.AvgPool(2, axes=(-2, -1))'
"""

import argparse
import ast
import inspect
import re
from typing import Any, NamedTuple

import jaxpool.compat.torch
import jaxpool.compat.torchvision
from jaxpool._src.core.names import camel
from jaxpool.compat import _calls
from jaxpool.compat._calls import Call
from jaxpool.compat._words import ints


class Translation(NamedTuple):
    """What to write.

    Attributes:
      shape: that of x, and what axes it has.
      function: a call of a function of `jaxpool`.
      layer: a layer of `jaxpool.nnx`, which is called with the arrays.
      notes: what differs.
    """

    shape: str
    function: str
    layer: str
    notes: tuple[str, ...] = ()


# Modules, and the functions that they call.
_MODULES = {
    "MaxPool": "max_pool",
    "AvgPool": "avg_pool",
    "LPPool": "lp_pool",
    "AdaptiveAvgPool": "adaptive_avg_pool",
    "AdaptiveMaxPool": "adaptive_max_pool",
    "FractionalMaxPool": "fractional_max_pool",
    "MaxUnpool": "max_unpool",
    "RoIAlign": "roi_align",
    "RoIPool": "roi_pool",
    "PSRoIAlign": "ps_roi_align",
    "PSRoIPool": "ps_roi_pool",
}
_REGIONS = {
    "roi_align": "roi_align",
    "roi_pool": "roi_max_pool",
    "ps_roi_align": "position_sensitive_roi_align",
    "ps_roi_pool": "position_sensitive_roi_pool",
}
_ARRAYS = ("input", "indices", "boxes")
_DEFAULTS = {
    "strides": None,
    "padding": 0,
    "dilation": 1,
    "ceil_mode": False,
    "count_include_pad": True,
    "divisor_override": None,
    "p": 2,
    "spatial_scale": 1.0,
}


def translate(expression: str, *, nchw: bool = False) -> Translation:
    """A call of PyTorch or torchvision, such as ``"nn.MaxPool2d(2)"``, as calls of this library.

    Args:
      expression: the call, with numbers as arguments.
      nchw: whether x has its channels first there too.

    Returns:
      The call of a function, and the layer.

    Raises:
      ValueError: the expression is no pooling that is known, or one that PyTorch refuses.
      TypeError: an argument is of the wrong kind.
    """
    name, args, kwargs = _parsed(expression)
    is_module, kind, rank = _known(name)
    if kind in _REGIONS:
        function = getattr(jaxpool.compat.torchvision, kind)
    else:
        function = getattr(jaxpool.compat.torch, f"{kind}{rank}d")
    given = _bound(name, function, is_module, args, kwargs)
    arrays = {n: given.pop(n, default) for n, default in _names_of(function).items()}
    if kind in _REGIONS:
        return _region(kind, given, arrays)
    call = _call(name, kind, rank, given)
    return _windows(call, rank, nchw, arrays)


def _parsed(expression: str) -> tuple[str, list[ast.expr], dict[str, ast.expr]]:
    """The name that is called, and its arguments."""
    try:
        node = ast.parse(expression.strip(), mode="eval").body
    except SyntaxError:
        node = None
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Call):  # a module that is called
        node = node.func
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute | ast.Name):
        raise ValueError(
            'translate: `expression` must be a call, as "nn.MaxPool2d(3, 2, 1)"; got '
            f"{expression!r}."
        )
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
    if any(isinstance(arg, ast.Starred) for arg in node.args) or None in [
        k.arg for k in node.keywords
    ]:
        raise ValueError(
            f"translate: `{name}` must be called without * and **; got {expression!r}."
        )
    return name, node.args, {k.arg: k.value for k in node.keywords if k.arg}


def _known(name: str) -> tuple[bool, str, int]:
    """Whether a name is that of a module, the kind of pooling, and for how many axes."""
    found = re.fullmatch(r"(\w+?)(?:([123])d)?(_with_indices)?", name)
    stem, rank = found.groups()[:2] if found else ("", None)
    kind = _MODULES.get(stem, stem)
    of_torch = rank and hasattr(jaxpool.compat.torch, f"{kind}{rank}d")
    if not of_torch and (kind not in _REGIONS or rank):
        known = [f"{n}{'' if 'RoI' in n else '2d'}" for n in _MODULES]
        raise ValueError(
            f"translate: `{name}` must be a pooling of torch.nn, torch.nn.functional or "
            f"torchvision.ops, as {', '.join(known)}, or one of the functions that they call."
        )
    return stem in _MODULES, kind, int(rank or 2)


def _names_of(function: Any) -> dict[str, str]:
    """The arrays that a function takes, and what they are called where no name is given."""
    names = {"input": "x", "indices": "indices", "boxes": "boxes"}
    return {n: names[n] for n in inspect.signature(function).parameters if n in _ARRAYS}


def _bound(
    name: str, function: Any, is_module: bool, args: list[ast.expr], kwargs: dict[str, ast.expr]
) -> dict[str, Any]:
    """Arguments by their names: values, but for arrays, of which it is the text."""
    parameters = [*inspect.signature(function).parameters.values()]
    if is_module:
        left_out = (*_ARRAYS, "key", *(["output_size"] if "unpool" in function.__name__ else []))
        parameters = [p for p in parameters if p.name not in left_out]
        if function.__name__.startswith("max_pool"):  # modules have these two the other way round
            parameters[-2:] = parameters[:-3:-1]
    signature = inspect.Signature(parameters)
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"translate: {name} is called otherwise: {error}.") from None
    found = {p.name: p.default for p in parameters if p.default is not p.empty}
    for argument, node in bound.arguments.items():
        if argument in (*_ARRAYS, "key", "_random_samples"):
            found[argument] = ast.unparse(node)
            continue
        found[argument] = _value(name, argument, node)
    return found


def _value(name: str, argument: str, node: ast.expr) -> Any:
    """A literal, an infinite float, or a quotient, as 1 / 16."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _value(name, argument, node.left) / _value(name, argument, node.right)
    try:
        return ast.literal_eval(node)
    except ValueError:
        text = ast.unparse(node)
    if text in ("float('inf')", "math.inf", "np.inf", "torch.inf"):
        return float("inf")
    raise ValueError(
        f"translate: `{argument}` of {name} must be a number, or several, written out; got {text}."
    )


def _call(name: str, kind: str, rank: int, given: dict[str, Any]) -> Call:
    """The call of this library."""
    given.pop("key", None)
    if given.pop("_random_samples", None) not in (None, "None"):
        raise ValueError(f"translate: `_random_samples` of {name} must be left out; write a key.")
    if name.endswith("_with_indices"):
        given["return_indices"] = True
    if kind.startswith("adaptive"):
        call = _calls.adaptive_pool(name, rank, kind.split("_")[1], **given)
        if 0 in call.options["output_shape"]:
            raise ValueError(f"translate: `output_size` of {name} must leave a cell; got 0.")
        return call
    if kind == "avg_pool":
        given.setdefault("divisor_override", None)
    if kind == "max_unpool":
        given.setdefault("output_size", None)
    return getattr(_calls, kind)(name, rank, **given)


def _windows(call: Call, rank: int, nchw: bool, arrays: dict[str, str]) -> Translation:
    """Functions of windows and bins."""
    function, options = call.function, dict(call.options)
    spatial = ("D", "H", "W")[-rank:] if rank > 1 else ("L",)
    order = ("N", "C", *spatial) if nchw else ("N", *spatial, "C")
    axes = tuple(range(-rank, 0)) if nchw else tuple(range(-rank - 1, -1))
    axes_text = repr(axes[0] if rank == 1 else axes)
    notes = _notes(function, options)
    if set(options.get("output_shape") or ()) == {1} and function.startswith("adaptive"):
        function = function.replace("adaptive", "global")
        texts = [f"axes={axes_text}", "keepdims=True"]
    else:
        texts = _texts(options, nchw) + ([f"axes={axes_text}"] if nchw else [])
    more = {"fractional": "key=key"}.get(function.split("_")[0])
    inside = ", ".join([*arrays.values(), *texts, *([more] if more else [])])
    with_keys = ["rngs=nnx.Rngs(0)"] if more else []
    layer = f"jaxpool.nnx.{camel(function)}({', '.join(texts + with_keys)})"
    x = arrays["input"]
    shape = f"{x} of shape ({', '.join(order)})"
    return Translation(shape, f"jaxpool.{function}({inside})", layer, notes)


def _texts(options: dict[str, Any], nchw: bool) -> list[str]:
    """Arguments as they are written, without those that are the default."""
    if options.get("strides") == options.get("window_shape"):
        options.pop("strides", None)
    texts, by_place = [], True
    for name, value in options.items():
        first = not texts  # which says how many axes there are, if `axes` do not
        short = value if first and not nchw else _short(value)
        if name in _DEFAULTS and short == _DEFAULTS[name]:
            by_place = False
            continue
        by_place = by_place and name in ("window_shape", "strides", "padding", "output_shape")
        by_place = by_place and not (name == "output_shape" and texts)
        written = 'float("inf")' if short == float("inf") else repr(short)
        texts.append(written if by_place else f"{name}={written}")
        by_place = by_place and ("strides" in options or name != "window_shape")
    return texts


def _short(value: Any) -> Any:
    """One number for several that are the same."""
    return value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value


def _notes(function: str, options: dict[str, Any]) -> tuple[str, ...]:
    if function != "lp_pool":
        return ()
    found = []
    if options["p"] != float("inf") and options["p"] % 2:
        found.append(
            "for x >= 0: of negative numbers PyTorch takes odd powers, and this library |x|"
        )
    if options["ceil_mode"]:
        found.append(
            "in ceil mode PyTorch scales norms of windows that reach beyond x, as does "
            "jaxpool.compat.torch"
        )
    return tuple(found)


def _region(kind: str, given: dict[str, Any], arrays: dict[str, str]) -> Translation:
    """Functions of boxes, which have maps with channels last only."""
    function, x, boxes = _REGIONS[kind], arrays["input"], arrays["boxes"]
    cells = ints(kind, "output_size", given["output_size"], 2, 1)
    texts = [repr(_short(cells))]
    if given["spatial_scale"] != 1:
        texts.append(f"spatial_scale={given['spatial_scale']!r}")
    if "sampling_ratio" in given and given["sampling_ratio"] != 2:
        texts.append(f"sampling_ratio={max(given['sampling_ratio'], 0)}")
    if not given.get("aligned", True):
        texts.append("aligned=False")
    images = f"batch_indices={boxes}[:, 0].astype(int)"
    inside = ", ".join([x, f"{boxes}[:, 1:]", *texts, images])
    notes = [f"{boxes} of shape (K, 5), with the image's number first; the result is (K, P, Q, C)"]
    if "sampling_ratio=0" in texts:
        notes.append("under jax.jit also max_sampling_ratio=16, or another number of samples")
    layer = f"jaxpool.nnx.{camel(function)}({', '.join(texts)})"
    shape = f"{x} of shape (N, H, W, C)"
    return Translation(shape, f"jaxpool.{function}({inside})", layer, tuple(notes))


def main(arguments: list[str] | None = None) -> None:
    """Prints what is translated."""
    parser = argparse.ArgumentParser(
        prog="python -m jaxpool.translate",
        description="Writes a pooling of PyTorch or torchvision as a call of jaxpool.",
    )
    parser.add_argument("expression", help='a call, as "nn.MaxPool2d(3, 2, 1, ceil_mode=True)"')
    parser.add_argument("--nchw", action="store_true", help="x has its channels first here too")
    given = parser.parse_args(arguments)
    try:
        found = translate(given.expression, nchw=given.nchw)
    except (TypeError, ValueError) as error:
        parser.error(str(error))
    print(f"# {found.shape}", *(f"# {note}" for note in found.notes), sep="\n")
    print(found.function, found.layer, sep="\n")


if __name__ == "__main__":
    main()
