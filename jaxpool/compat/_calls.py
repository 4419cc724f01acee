"""What a call of PyTorch's is here: the name of a function, and its arguments."""

from typing import Any, NamedTuple

from jaxpool._src.core import arguments
from jaxpool.compat._words import ints


class Call(NamedTuple):
    """A function of `jaxpool` with its arguments, but for arrays, keys and `axes`."""

    function: str
    options: dict[str, Any]


def max_pool(
    op: str,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    return_indices: Any,
) -> Call:
    """Maxima of windows."""
    options = _windows(op, rank, kernel_size, stride, padding, ceil_mode)
    options["dilation"] = ints(op, "dilation", dilation, rank, 1)
    with_indices = arguments.flag(op, "return_indices", return_indices)
    return Call("max_pool_with_argmax" if with_indices else "max_pool", options)


def avg_pool(
    op: str,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: Any,
    count_include_pad: Any,
    divisor_override: Any,
) -> Call:
    """Means of windows."""
    options = _windows(op, rank, kernel_size, stride, padding, ceil_mode)
    options["count_include_pad"] = arguments.flag(op, "count_include_pad", count_include_pad)
    if divisor_override is not None:
        allowed = "be None or an int other than 0"
        divisor_override = arguments.integer(op, "divisor_override", divisor_override, allowed)
    options["divisor_override"] = divisor_override
    return Call("avg_pool", options)


def lp_pool(
    op: str, rank: int, norm_type: Any, kernel_size: Any, stride: Any, ceil_mode: Any
) -> Call:
    """Norms of windows, of which those of ceil mode that are not whole have to be scaled."""
    options = _windows(op, rank, kernel_size, stride, 0, ceil_mode)
    return Call("lp_pool", {**options, "p": norm_type})


def adaptive_pool(
    op: str, rank: int, kind: str, output_size: Any, return_indices: Any = False
) -> Call:
    """Means, "avg", or maxima, "max", of bins; None keeps an axis."""
    allowed = f"be an int >= 0, or {rank} of them (one per pooled axis), None to keep an axis"
    items = arguments.entries(output_size)
    items = (output_size,) * rank if items is None else items * (rank if len(items) == 1 else 1)
    sizes = tuple(
        None if item is None else arguments.integer(op, "output_size", item, allowed)
        for item in items
    )
    if len(sizes) != rank or any(size is not None and size < 0 for size in sizes):
        arguments.fail(op, "output_size", allowed, output_size)
    with_indices = arguments.flag(op, "return_indices", return_indices)
    suffix = "_with_argmax" if with_indices else ""
    return Call(f"adaptive_{kind}_pool{suffix}", {"output_shape": sizes})


def fractional_max_pool(
    op: str,
    rank: int,
    kernel_size: Any,
    output_size: Any,
    output_ratio: Any,
    return_indices: Any,
) -> Call:
    """Maxima of windows at places drawn by chance; `output_size` goes first if both are given."""
    options: dict[str, Any] = {"window_shape": ints(op, "kernel_size", kernel_size, rank, 1)}
    if output_size is not None:
        options["output_shape"] = ints(op, "output_size", output_size, rank, 1)
    elif output_ratio is not None:
        options["output_ratio"] = output_ratio
    else:
        arguments.fail(op, "output_size", "be given, or `output_ratio`", output_size)
    with_indices = arguments.flag(op, "return_indices", return_indices)
    suffix = "_with_argmax" if with_indices else ""
    return Call(f"fractional_max_pool{suffix}", options)


def max_unpool(
    op: str, rank: int, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Call:
    """Maxima put back; `output_size` may have batch and channels in front, which are not read."""
    window = ints(op, "kernel_size", kernel_size, rank, 1)
    options: dict[str, Any] = {
        "window_shape": window,
        "strides": _stride(op, stride, window),
        "padding": ints(op, "padding", padding, rank, 0),
    }
    if output_size is not None:
        items = arguments.entries(output_size)
        allowed = f"be {rank} ints, or {rank + 2} with batch and channels"
        if items is None:
            arguments.fail(op, "output_size", allowed, output_size, error=TypeError)
        if len(items) not in (rank, rank + 2):
            arguments.fail(op, "output_size", allowed, output_size)
        options["output_shape"] = ints(op, "output_size", items[-rank:], rank, 1)
    return Call("max_unpool", options)


def _windows(
    op: str, rank: int, kernel_size: Any, stride: Any, padding: Any, ceil_mode: Any
) -> dict[str, Any]:
    """What all windows have: none has more padding than half of it."""
    window = ints(op, "kernel_size", kernel_size, rank, 1)
    pads = ints(op, "padding", padding, rank, 0)
    if any(pad > size // 2 for pad, size in zip(pads, window, strict=True)):
        hint = "jaxpool's own functions take any, as long as each window has an element."
        allowed = f"be at most half of kernel_size={kernel_size!r}"
        arguments.fail(op, "padding", allowed, padding, hint=hint)
    return {
        "window_shape": window,
        "strides": _stride(op, stride, window),
        "padding": pads,
        "ceil_mode": arguments.flag(op, "ceil_mode", ceil_mode),
    }


def _stride(op: str, stride: Any, window: tuple[int, ...]) -> tuple[int, ...]:
    """The window where there is none; an empty sequence is none."""
    if stride is None or arguments.entries(stride) == ():
        return window
    return ints(op, "stride", stride, len(window), 1)
