"""Cells of fractional pools: drawn by chance, or between given boundaries."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxpool._src.core import arguments
from jaxpool._src.core.pool import accumulator
from jaxpool._src.domains.intervals import Intervals, within_limits
from jaxpool._src.lowering.windows import along

Scheme = Literal["torch", "tensorflow"]
_SCHEMES = ("torch", "tensorflow")


class Options(NamedTuple):
    """What says where the cells are."""

    window_shape: Any
    output_shape: Any
    output_ratio: Any
    key: Any
    samples: Any
    boundaries: Any
    axes: Any
    overlapping: Any
    scheme: Any
    deterministic: Any


def check_range(op: str, samples: Any) -> None:
    """Checks the values of samples that are not traced."""
    if not isinstance(samples, jax.Array | np.ndarray) or isinstance(samples, Tracer):
        return
    known = np.asarray(samples)
    if known.size and not ((known >= 0) & (known < 1)).all():
        raise ValueError(
            f"{op}: `samples` must lie in [0, 1); got numbers from {known.min()} to {known.max()}."
        )


def drawn_cells(op: str, x: jax.Array, options: Options) -> Intervals:
    """The cells, as intervals along each axis."""
    o = options
    arguments.one_of(op, "scheme", o.scheme, _SCHEMES)
    overlapping = arguments.flag(op, "overlapping", o.overlapping)
    deterministic = arguments.flag(op, "deterministic", o.deterministic)
    axes = _axes(op, o)
    places = arguments.resolved_axes(op, axes, x.shape)
    arguments.no_empty_axis(op, x.shape, places)
    for axis in places:
        arguments.known_size(op, x.shape, axis)
    lengths = [x.shape[axis] for axis in places]
    if o.boundaries is not None:
        return _from_boundaries(op, o, axes, lengths, overlapping)
    outputs = _outputs(op, o, lengths)
    torch = o.scheme == "torch"
    n = len(axes)
    if torch and o.window_shape is None:
        arguments.fail(op, "window_shape", 'be given for the scheme "torch"', None)
    if torch and overlapping:
        arguments.fail(op, "overlapping", 'be False for the scheme "torch"', True)
    windows = arguments.ints(op, "window_shape", o.window_shape or 1, n, 1)
    for axis, length, k, cells in zip(places, lengths, windows, outputs, strict=True):
        if cells + k - 1 > length:
            arguments.fail(
                op,
                "output_shape" if o.output_ratio is None else "output_ratio",
                f"leave room: {cells} windows of {k} at different places do not fit the {length} "
                f"elements of axis {axis}"
                if torch
                else f"give at most {length} cells along axis {axis}",
                o.output_shape if o.output_ratio is None else o.output_ratio,
                shape=x.shape,
            )
    batch = tuple(size for i, size in enumerate(x.shape) if i not in places) if torch else ()
    u = _samples(op, o, deterministic, (*batch, n), x.dtype)
    xp = np if deterministic else jnp  # what is known while tracing stays so
    starts, stops, limits = [], [], []
    for i, (axis, length, k, cells) in enumerate(
        zip(places, lengths, windows, outputs, strict=True)
    ):
        sample = u[..., i]
        if torch:
            if deterministic:
                sample, axis = sample.reshape(1), 0
            else:
                sample = lax.expand_dims(sample, places)
            start = _torch_starts(xp, sample, length, k, cells, axis)
            stop, limit = start + k, _torch_limits(length, k, cells)
        else:
            start, stop, limit = _tensorflow_bounds(xp, sample, length, cells, overlapping)
        starts.append(start)
        stops.append(stop)
        limits.append(limit)
    return within_limits(Intervals(starts, stops, axes=axes), tuple(limits))


def _axes(op: str, o: Options) -> tuple[int, ...]:
    """The pooled axes, whose number any of the arguments may say."""
    if o.axes is not None:
        return arguments.axis_numbers(op, o.axes)
    for value in (o.window_shape, o.output_shape, o.output_ratio, o.boundaries):
        if isinstance(value, list | tuple) and value:
            return tuple(range(-len(value) - 1, -1))
    arguments.fail(
        op, "axes", "be given when no other argument has an entry for each pooled axis", None
    )


def _outputs(op: str, o: Options, lengths: Sequence[int]) -> tuple[int, ...]:
    """Number of cells along each axis."""
    n = len(lengths)
    if (o.output_shape is None) == (o.output_ratio is None):
        arguments.fail(
            op,
            "output_shape",
            "be given, or `output_ratio`, and not both",
            o.output_shape,
        )
    if o.output_shape is not None:
        return arguments.ints(op, "output_shape", o.output_shape, n, 1)
    allowed = f"be a number between 0 and 1, or {n} of them (one per pooled axis)"
    ratios = o.output_ratio if isinstance(o.output_ratio, list | tuple) else (o.output_ratio,) * n
    if not all(isinstance(r, float | np.floating) for r in ratios):
        arguments.fail(op, "output_ratio", allowed, o.output_ratio, error=TypeError)
    if len(ratios) != n or not all(0 < r < 1 for r in ratios):
        arguments.fail(op, "output_ratio", allowed, o.output_ratio)
    outputs = tuple(int(length * r) for length, r in zip(lengths, ratios, strict=True))
    if min(outputs) < 1:
        arguments.fail(
            op,
            "output_ratio",
            f"leave one cell at least along each axis; it leaves {outputs}",
            o.output_ratio,
        )
    return outputs


def _samples(op: str, o: Options, deterministic: bool, shape: tuple[Any, ...], dtype: Any) -> Any:
    """Uniform numbers: given, drawn, or one half."""
    dtype = accumulator(dtype)
    if deterministic:
        return np.full(shape[-1:], 0.5, dtype)
    if (o.key is None) == (o.samples is None):
        arguments.fail(
            op,
            "key",
            "be given, or `samples`, and not both",
            o.key,
            hint="Write key=jax.random.key(0), or deterministic=True.",
        )
    if o.samples is None:
        return jax.random.uniform(o.key, shape, dtype)
    samples = o.samples
    if not isinstance(samples, jax.Array | np.ndarray) or not jnp.issubdtype(
        samples.dtype, jnp.floating
    ):
        kind = getattr(samples, "dtype", type(samples).__name__)
        raise TypeError(f"{op}: `samples` must be an array of floats; got {kind}.")
    if samples.shape != shape:
        raise ValueError(
            f"{op}: `samples` must have shape {shape}, x's shape without the pooled axes (if the "
            'scheme is "torch") and then an entry for each pooled axis; got samples.shape='
            f"{samples.shape}."
        )
    return jnp.asarray(samples).astype(np.promote_types(samples.dtype, np.float32))


def _torch_starts(xp: Any, u: Any, length: int, k: int, cells: int, axis: int) -> Any:
    """Where windows start, with one sample for each plane; in the arithmetic of PyTorch."""
    last = xp.full([1 if i == axis else n for i, n in enumerate(u.shape)], length - k, np.int32)
    if cells == 1:
        return last
    alpha = u.dtype.type(length - k) / u.dtype.type(cells - 1)
    i = along(np.arange(cells - 1).astype(u.dtype), axis, u.ndim)
    start = xp.floor((i + u) * alpha).astype(np.int32) - xp.floor(u * alpha).astype(np.int32)
    return xp.concatenate([start, last], axis)


def _torch_limits(length: int, k: int, cells: int) -> Any:
    """What `AxisIntervals` wants: least and largest starts and stops, one part, and the size.

    Starts are floor(i*a) or one more.

    Where i*a is whole, rounding may take away one.
    """
    starts = []
    for i in range(cells - 1):
        least, rest = divmod(i * (length - k), cells - 1)
        starts.append((least - (rest == 0 and i > 0), least + 1 if i > 0 else 0))
    starts.append((length - k, length - k))
    return tuple(starts), tuple((a + k, b + k) for a, b in starts), 1, k


def _tensorflow_bounds(xp: Any, u: Any, length: int, cells: int, overlapping: bool) -> Any:
    """Starts and stops for one sample, and their limits; in the arithmetic of TensorFlow."""
    alpha, k = length / cells, length // cells
    if length % cells == 0:
        first = np.arange(cells + 1) * k
        limits = [(int(i), int(i)) for i in first]
        bounds = first
    else:
        most = min((k + 2) / alpha - 1, (length + 1 - k) / alpha - (cells - 1))
        least = [math.ceil(alpha * j - 1e-3) - 1 for j in range(1, cells)]
        largest = [math.ceil(alpha * (j + most) + 1e-3) - 1 for j in range(1, cells)]
        i = np.arange(1, cells)
        number = u.dtype.type
        inner = xp.ceil(number(alpha) * (i.astype(u.dtype) + u * number(most)))
        # Each cell keeps an element, however the last digit is rounded.
        inner = xp.minimum(inner.astype(np.int32) - 1, (length - cells + i).astype(np.int32))
        ends = (np.zeros(1, np.int32), np.full(1, length, np.int32))
        bounds = xp.concatenate([ends[0], inner, ends[1]])
        limits = [(0, 0), *zip(least, largest, strict=True), (length, length)]
    stops, stop_limits = bounds[1:], limits[1:]
    if overlapping:
        stops = xp.minimum(stops + 1, length)
        stop_limits = [(min(a + 1, length), min(b + 1, length)) for a, b in stop_limits]
    return bounds[:-1], stops, (tuple(limits[:-1]), tuple(stop_limits))


def _from_boundaries(
    op: str, o: Options, axes: tuple[int, ...], lengths: Sequence[int], overlapping: bool
) -> Intervals:
    """Cells between boundaries that are given."""
    for name in ("window_shape", "output_shape", "output_ratio", "key", "samples"):
        if getattr(o, name) is not None:
            arguments.fail(op, name, "be None when `boundaries` says it all", getattr(o, name))
    given = o.boundaries
    allowed = "have for each pooled axis the ints where its cells begin and where they end"
    if not isinstance(given, list | tuple) or len(given) != len(axes):
        arguments.fail(op, "boundaries", allowed, given, error=TypeError)
    starts, stops = [], []
    for entry, length in zip(given, lengths, strict=True):
        if isinstance(entry, list | tuple):
            entry = np.asarray([arguments.integer(op, "boundaries", i, allowed) for i in entry])
        ok = isinstance(entry, jax.Array | np.ndarray) and jnp.issubdtype(entry.dtype, jnp.integer)
        if not ok:
            arguments.fail(op, "boundaries", allowed, given, error=TypeError)
        if entry.ndim != 1 or entry.shape[0] < 2:
            arguments.fail(op, "boundaries", allowed, given)
        if isinstance(entry, np.ndarray) and (
            (np.diff(entry) < 0).any() or entry[0] < 0 or entry[-1] > length
        ):
            arguments.fail(
                op, "boundaries", f"rise from 0 to {length} at most along each axis", given
            )
        xp = np if isinstance(entry, np.ndarray) else jnp
        starts.append(entry[:-1])
        stops.append(xp.minimum(entry[1:] + int(overlapping), length))
    return Intervals(starts, stops, axes=axes)
