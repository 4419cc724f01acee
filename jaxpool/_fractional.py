"""Fractional pools: as many cells as you say, at places drawn by chance."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from jaxpool import _arguments
from jaxpool._argmax import with_indices
from jaxpool._arguments import Ints
from jaxpool._intervals import Intervals, within_limits
from jaxpool._lowering import along
from jaxpool._max import Max
from jaxpool._mean import Mean
from jaxpool._pool import Reduction, accumulator, run
from jaxpool._program import as_one_program

Scheme = Literal["torch", "tensorflow"]
_SCHEMES = ("torch", "tensorflow")


def fractional_max_pool(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum of cells whose number need not divide the size of x, at places drawn by chance.

    In the scheme "torch", of n elements and o windows of k, with one number u per plane and axis
    and ``a = (n - k) / (o - 1)``, window i starts at ``int((i + u)*a) - int(u*a)`` and the last one
    at ``n - k``. In "tensorflow", with u up to 1 or 2, ``a = n / o``, and all counted from 1, cell
    i starts at ``ceil(a*(i + u))``, the first one at 1.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them. Masked-out elements and `samples` have
      gradient 0.

    Example:
      >>> x = jnp.arange(9.)
      >>> jaxpool.fractional_max_pool(x, 2, output_shape=5, axes=0, key=jax.random.key(0))
      Array([1., 3., 5., 6., 8.], dtype=float32)
      >>> jaxpool.fractional_max_pool(x, boundaries=[[0, 2, 3, 7, 9]], axes=0)
      Array([1., 2., 6., 8.], dtype=float32)

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_max_pool"
    options = _Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled, op, x, options, Max(), where, empty_value)


def fractional_avg_pool(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean of cells whose number need not divide the size of x, at places drawn by chance.

    The cells are those of `fractional_max_pool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part. Floats are weights of a weighted mean.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements and `samples` have gradient 0.

    Example:
      >>> x = jnp.arange(9.)
      >>> jaxpool.fractional_avg_pool(x, 2, output_shape=5, axes=0, key=jax.random.key(0))
      Array([0.5, 2.5, 4.5, 5.5, 7.5], dtype=float32)

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_avg_pool"
    options = _Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled, op, x, options, Mean(), where, empty_value)


def fractional_max_pool_with_argmax(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, jax.Array]:
    """The maximum of cells at places drawn by chance, and where in the input it is.

    Values are those of `fractional_max_pool`, indices as in `max_pool_with_argmax`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      (values, indices), both of x's shape with `output_shape` in place of the pooled axes; the
      dtype of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another, or
        the pooled axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `fractional_max_pool`: every mode, to any order. Indices have none,
      nor do `samples`.

    Example:
      >>> x = jnp.array([3., 1., 2., 5., 4.])
      >>> jaxpool.fractional_max_pool_with_argmax(x, 2, output_shape=3, axes=0, deterministic=True)
      (Array([3., 5., 5.], dtype=float32), Array([0, 3, 3], dtype=int32))

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_max_pool_with_argmax"
    options = _Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled_with_indices, op, x, options, Max(), where, empty_value)


class _Options(NamedTuple):
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


def _fractional(
    function: Callable[..., Any],
    op: str,
    x: Any,
    options: _Options,
    reduction: Reduction,
    where: Any,
    empty_value: Any,
) -> Any:
    """`function`, one of the two below, as one program; bounds that are known stay so."""
    boundaries, samples = options.boundaries, options.samples
    if isinstance(boundaries, list | tuple):
        known = (e.tolist() if isinstance(e, np.ndarray) and e.ndim == 1 else e for e in boundaries)
        options = options._replace(boundaries=tuple(known))
    elif samples is not None:
        _check_range(op, samples)
    empty_value = _arguments.known(empty_value)
    return as_one_program(function, op, x, options, reduction, where, empty_value)


def _pooled(
    op: str, x: Any, options: _Options, reduction: Reduction, where: Any, empty_value: Any
) -> jax.Array:
    x = _arguments.array(op, x)
    return run(op, x, _domain(op, x, options), reduction, where, empty_value)


def _pooled_with_indices(
    op: str, x: Any, options: _Options, reduction: Max, where: Any, empty_value: Any
) -> tuple[jax.Array, jax.Array]:
    x = _arguments.array(op, x)
    return with_indices(op, x, _domain(op, x, options), reduction, where, empty_value)


def _check_range(op: str, samples: Any) -> None:
    """Checks the values of samples that are not traced."""
    if not isinstance(samples, jax.Array | np.ndarray) or isinstance(samples, Tracer):
        return
    known = np.asarray(samples)
    if known.size and not ((known >= 0) & (known < 1)).all():
        raise ValueError(
            f"{op}: `samples` must lie in [0, 1); got numbers from {known.min()} to {known.max()}."
        )


def _domain(op: str, x: jax.Array, options: _Options) -> Intervals:
    """The cells, as intervals along each axis."""
    o = options
    _arguments.one_of(op, "scheme", o.scheme, _SCHEMES)
    overlapping = _arguments.flag(op, "overlapping", o.overlapping)
    deterministic = _arguments.flag(op, "deterministic", o.deterministic)
    axes = _axes(op, o)
    places = _arguments.resolved_axes(op, axes, x.shape)
    _arguments.no_empty_axis(op, x.shape, places)
    for axis in places:
        _arguments.known_size(op, x.shape, axis)
    lengths = [x.shape[axis] for axis in places]
    if o.boundaries is not None:
        return _from_boundaries(op, o, axes, lengths, overlapping)
    outputs = _outputs(op, o, lengths)
    torch = o.scheme == "torch"
    n = len(axes)
    if torch and o.window_shape is None:
        _arguments.fail(op, "window_shape", 'be given for the scheme "torch"', None)
    if torch and overlapping:
        _arguments.fail(op, "overlapping", 'be False for the scheme "torch"', True)
    windows = _arguments.ints(op, "window_shape", o.window_shape or 1, n, 1)
    for axis, length, k, cells in zip(places, lengths, windows, outputs, strict=True):
        if cells + k - 1 > length:
            _arguments.fail(
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


def _axes(op: str, o: _Options) -> tuple[int, ...]:
    """The pooled axes, whose number any of the arguments may say."""
    if o.axes is not None:
        return _arguments.axis_numbers(op, o.axes)
    for value in (o.window_shape, o.output_shape, o.output_ratio, o.boundaries):
        if isinstance(value, list | tuple) and value:
            return tuple(range(-len(value) - 1, -1))
    _arguments.fail(
        op, "axes", "be given when no other argument has an entry for each pooled axis", None
    )


def _outputs(op: str, o: _Options, lengths: Sequence[int]) -> tuple[int, ...]:
    """Number of cells along each axis."""
    n = len(lengths)
    if (o.output_shape is None) == (o.output_ratio is None):
        _arguments.fail(
            op,
            "output_shape",
            "be given, or `output_ratio`, and not both",
            o.output_shape,
        )
    if o.output_shape is not None:
        return _arguments.ints(op, "output_shape", o.output_shape, n, 1)
    allowed = f"be a number between 0 and 1, or {n} of them (one per pooled axis)"
    ratios = o.output_ratio if isinstance(o.output_ratio, list | tuple) else (o.output_ratio,) * n
    if not all(isinstance(r, float | np.floating) for r in ratios):
        _arguments.fail(op, "output_ratio", allowed, o.output_ratio, error=TypeError)
    if len(ratios) != n or not all(0 < r < 1 for r in ratios):
        _arguments.fail(op, "output_ratio", allowed, o.output_ratio)
    outputs = tuple(int(length * r) for length, r in zip(lengths, ratios, strict=True))
    if min(outputs) < 1:
        _arguments.fail(
            op,
            "output_ratio",
            f"leave one cell at least along each axis; it leaves {outputs}",
            o.output_ratio,
        )
    return outputs


def _samples(op: str, o: _Options, deterministic: bool, shape: tuple[Any, ...], dtype: Any) -> Any:
    """Uniform numbers: given, drawn, or one half."""
    dtype = accumulator(dtype)
    if deterministic:
        return np.full(shape[-1:], 0.5, dtype)
    if (o.key is None) == (o.samples is None):
        _arguments.fail(
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
    op: str, o: _Options, axes: tuple[int, ...], lengths: Sequence[int], overlapping: bool
) -> Intervals:
    """Cells between boundaries that are given."""
    for name in ("window_shape", "output_shape", "output_ratio", "key", "samples"):
        if getattr(o, name) is not None:
            _arguments.fail(op, name, "be None when `boundaries` says it all", getattr(o, name))
    given = o.boundaries
    allowed = "have for each pooled axis the ints where its cells begin and where they end"
    if not isinstance(given, list | tuple) or len(given) != len(axes):
        _arguments.fail(op, "boundaries", allowed, given, error=TypeError)
    starts, stops = [], []
    for entry, length in zip(given, lengths, strict=True):
        if isinstance(entry, list | tuple):
            entry = np.asarray([_arguments.integer(op, "boundaries", i, allowed) for i in entry])
        ok = isinstance(entry, jax.Array | np.ndarray) and jnp.issubdtype(entry.dtype, jnp.integer)
        if not ok:
            _arguments.fail(op, "boundaries", allowed, given, error=TypeError)
        if entry.ndim != 1 or entry.shape[0] < 2:
            _arguments.fail(op, "boundaries", allowed, given)
        if isinstance(entry, np.ndarray) and (
            (np.diff(entry) < 0).any() or entry[0] < 0 or entry[-1] > length
        ):
            _arguments.fail(
                op, "boundaries", f"rise from 0 to {length} at most along each axis", given
            )
        xp = np if isinstance(entry, np.ndarray) else jnp
        starts.append(entry[:-1])
        stops.append(xp.minimum(entry[1:] + int(overlapping), length))
    return Intervals(starts, stops, axes=axes)
