"""Cells of fractional pools: drawn by chance, or between given boundaries."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.pool import accumulator
from jaxpool._src.domains.intervals import Intervals, within_limits
from jaxpool._src.lowering.doubles import ceil_of_product
from jaxpool._src.lowering.windows import along, numbered

Scheme = Literal["torch", "tensorflow"]
_SCHEMES = ("torch", "tensorflow")

# On longer axes, cells that could be known while tracing are computed by the program.
_MOST_KNOWN = 512


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


def known_samples(op: str, samples: Any) -> Any:
    """Samples as JAX holds them; their values are checked if they are not traced."""
    if not isinstance(samples, jax.Array | np.ndarray) or isinstance(samples, Tracer):
        return samples
    known = np.asarray(samples)
    if known.size and not ((known >= 0) & (known < 1)).all():
        raise ValueError(
            f"{op}: `samples` must lie in [0, 1); got numbers from {known.min()} to {known.max()}."
        )
    dtype = jax.dtypes.canonicalize_dtype(known.dtype)
    if dtype == known.dtype:
        return samples
    # What is just below 1 in float64 stays so.
    return np.minimum(known.astype(dtype), np.nextafter(dtype.type(1), dtype.type(0)))


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
    windows = _windows(op, o, overlapping, places, x.shape, outputs)
    batch = tuple(size for i, size in enumerate(x.shape) if i not in places) if torch else ()
    u = _samples(op, o, deterministic, (*batch, len(axes)), x.dtype)
    found = []
    for i, (axis, length, k, cells) in enumerate(
        zip(places, lengths, windows, outputs, strict=True)
    ):
        sample, xp = u[..., i], jnp
        if deterministic:
            # Of short axes, what is known while tracing stays so.
            xp = np if length <= _MOST_KNOWN else jnp
            sample, axis = xp.asarray(sample.reshape(1)), 0
        elif torch:
            sample = lax.expand_dims(sample, places)
        if torch:
            start = _torch_starts(xp, sample, length, k, cells, axis)
            found.append((start, start + k, _torch_limits(length, k, cells, u.dtype)))
        else:
            bounds = _tensorflow_bounds(xp, sample, length, cells, overlapping)
            found.append((*bounds, _tensorflow_limits(length, cells, overlapping)))
    starts, stops, limits = (list(entries) for entries in zip(*found, strict=True))
    return within_limits(Intervals(starts, stops, axes=axes), tuple(limits))


def _windows(
    op: str,
    o: Options,
    overlapping: bool,
    places: Sequence[int],
    shape: Sequence[int],
    outputs: Sequence[int],
) -> tuple[int, ...]:
    """Window sizes along each axis, 1 where the scheme has none; checked, as far as cells fit."""
    torch = o.scheme == "torch"
    if torch and o.window_shape is None:
        arguments.fail(op, "window_shape", 'be given for the scheme "torch"', None)
    if not torch and o.window_shape is not None:
        allowed = 'be None for the scheme "tensorflow", whose cells have the sizes that fit'
        arguments.fail(op, "window_shape", allowed, o.window_shape)
    if torch and overlapping:
        arguments.fail(op, "overlapping", 'be False for the scheme "torch"', True)
    given = o.window_shape if torch else 1
    windows = arguments.ints(op, "window_shape", given, len(places), 1)
    for axis, k, cells in zip(places, windows, outputs, strict=True):
        if cells + k - 1 > shape[axis]:
            arguments.fail(
                op,
                "output_shape" if o.output_ratio is None else "output_ratio",
                f"leave room: {cells} windows of {k} at different places do not fit the "
                f"{shape[axis]} elements of axis {axis}"
                if torch
                else f"give at most {shape[axis]} cells along axis {axis}",
                o.output_shape if o.output_ratio is None else o.output_ratio,
                shape=shape,
            )
    return windows


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
        parameters.key(op, o.key, deterministic)
        if o.samples is not None:
            arguments.fail(op, "samples", "be None if `deterministic`", o.samples)
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
        parameters.key(op, o.key, False)
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
    # A program counts, so that it does not grow with the axis.
    i = np.arange(cells - 1) if xp is np else numbered(0, cells - 1, 1)
    i = along(i.astype(u.dtype), axis, u.ndim)
    start = xp.floor((i + u) * alpha).astype(np.int32) - xp.floor(u * alpha).astype(np.int32)
    return xp.concatenate([xp.minimum(start, np.int32(length - k)), last], axis)


def torch_extremes(length: int, k: int, cells: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """The least and the largest start of each window.

    Start i is i*a, rounded down or up, of which floats have so many digits: up to 6 roundings make
    the product, the larger of the two that a start is the difference of, and 4 the other.
    """
    last = length - k
    least, largest = np.full(cells, last), np.full(cells, last)
    if cells > 1:
        i, a = np.arange(cells - 1), last / (cells - 1)
        off = (i + 2) * a * 4 * float(np.finfo(dtype).eps)
        least[:-1] = np.maximum(np.floor(i * a - off), 0)
        largest[:-1] = np.minimum(np.ceil(i * a + off), last)
        least[0] = largest[0] = 0
    return least, largest


@functools.lru_cache
def _torch_limits(length: int, k: int, cells: int, dtype: Any) -> Any:
    """What `AxisIntervals` wants: least and largest starts and stops, one part, and the size."""
    least, largest = torch_extremes(length, k, cells, dtype)
    starts, stops = (
        tuple(zip((least + more).tolist(), (largest + more).tolist(), strict=True))
        for more in (0, k)
    )
    return starts, stops, 1, (k,)


def _tensorflow_bounds(
    xp: Any, u: Any, length: int, cells: int, overlapping: bool
) -> tuple[Any, Any]:
    """Starts and stops for one sample; in the arithmetic of TensorFlow, which is float64's."""
    k, more = divmod(length, cells)
    # A program counts, so that it does not grow with the axis.
    i = np.arange(1, cells, dtype=np.int32) if xp is np else numbered(0, cells - 1, 1) + 1
    inner = i * np.int32(k)
    if more:
        scale, most = _tensorflow_scale(length, cells)
        if xp is np:
            u = u.astype(np.float64)
        if u.dtype == np.float64:
            inner = xp.ceil(scale * (i.astype(np.float64) + u * most)).astype(np.int32) - 1
        else:
            inner = ceil_of_product(jnp.asarray(i), u, scale, most) - 1
        # However the last digit is rounded, there are two sizes.
        inner = xp.minimum(xp.minimum(inner, i * np.int32(k + 1)), np.int32(length - k))
    ends = xp.zeros(1, np.int32), xp.full(1, length, np.int32)
    start, stop = xp.concatenate([ends[0], inner]), xp.concatenate([inner, ends[1]])
    if overlapping:
        stop = xp.minimum(stop + 1, np.int32(length))
    return start, stop


def _tensorflow_scale(length: int, cells: int) -> tuple[float, float]:
    """Elements per cell, and the largest number that is added to a cell's."""
    scale, k = length / cells, length // cells
    return scale, min((k + 2) / scale - 1, (length + 1 - k) / scale - (cells - 1))


@functools.lru_cache
def _tensorflow_limits(length: int, cells: int, overlapping: bool) -> Any:
    """What `AxisIntervals` wants: least and largest starts and stops, one part, and the sizes."""
    k, more = divmod(length, cells)
    i = np.arange(cells + 1)
    least = largest = i * k
    if more:
        scale, most = _tensorflow_scale(length, cells)
        least = np.ceil(scale * i - 1e-6) - 1
        largest = np.minimum(np.ceil(scale * (i + most) + 1e-6) - 1, length - k)
        for bounds in (least, largest):
            bounds[0], bounds[-1] = 0, length
    later = np.minimum(np.stack([least, largest])[:, 1:] + int(overlapping), length)
    starts, stops = (
        tuple(zip(*np.array(bounds).astype(int).tolist(), strict=True))
        for bounds in ((least[:-1], largest[:-1]), later)
    )
    sizes = range(k, k + 1 + (more > 0) + overlapping)
    return starts, stops, 1, tuple(sizes)


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
