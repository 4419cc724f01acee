"""The way back: unpooling by indices, and the conventions that indices are written in."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.lowering.unpool import unpool_planes

Convention = Literal["torch", "tensorflow", "tensorflow_with_batch", "onnx", "onnx_column_major"]
_CONVENTIONS = ("torch", "tensorflow", "tensorflow_with_batch", "onnx", "onnx_column_major")


@explained
def max_unpool(
    y: jax.Array,
    indices: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = 0,
    *,
    output_shape: Ints | None = None,
    axes: Ints | None = None,
    mode: Literal["set", "add", "max"] = "set",
) -> jax.Array:
    """Puts pooled values back to where they came from, and 0 everywhere else.

    The partial inverse of `max_pool_with_argmax`. Several cells may name one position, as windows
    that overlap do; `mode` says what it then gets. The result is the same in every run, on GPUs
    too: CPUs scatter, other platforms sort, and gradients are fetched, so nothing needs atomics.

    Args:
      y: array of pooled values, ``[..., *spatial, channels]``; with `axes`, any layout.
      indices: int array of y's shape: for each value its row-major position on the pooled axes of
        the result. Values whose index is negative or too large are dropped; see the example for
        how to notice them.
      window_shape: window sizes of the pooling in elements, as in `max_pool`.
      strides: steps between windows of the pooling, as in `max_pool`.
      padding: padding of the pooling: "VALID", numbers or (low, high) pairs, as in `max_pool`.
      output_shape: sizes of the result on the pooled axes, an int or one per pooled axis, each
        less than one stride from the default, ``(n - 1)*s + k - low - high``.
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last.
      mode: what a position named several times gets: "set", the last value in row-major order;
        "add", their sum (of bools, whether any is True); "max", the largest, of equal ones the
        first, and NaN if there is one.

    Returns:
      Array of y's shape with ``(n - 1)*s + k - low - high``, or `output_shape`, in place of n on
      each pooled axis; the dtype is y's.

    Raises:
      ValueError: an argument is out of range, or `output_shape` is one stride or more from the
        default. What indices hold is not checked: under jit their values are not known.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in y: each value that is in the result gets the gradient of its
      position, one that lost to another gets 0. Indices have none.

    Example:
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> y, indices = jaxpool.max_pool_with_argmax(x, 2, axes=0)
      >>> jaxpool.max_unpool(y, indices, 2, axes=0)
      Array([3., 0., 0., 5.], dtype=float32)

      Indices from elsewhere can be checked, under jit too:

      >>> from jax.experimental import checkify
      >>> def checked(y, indices):
      ...     z = jaxpool.max_unpool(y, indices, 2, axes=0)
      ...     checkify.check(jnp.all((indices >= 0) & (indices < z.size)), "an index is off")
      ...     return z
      >>> error, _ = jax.jit(checkify.checkify(checked))(y, indices + 1)
      >>> error.get()
      'an index is off (`check` failed)'

    References:
      Zeiler and Fergus, Visualizing and understanding convolutional networks, 2014.
      <https://arxiv.org/abs/1311.2901>
    """
    return as_one_program(
        _max_unpool, y, indices, window_shape, strides, padding, output_shape, axes, mode
    )


def _max_unpool(
    y: Any,
    indices: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    output_shape: Any,
    axes: Any,
    mode: Any,
) -> jax.Array:
    op = "max_unpool"
    y = arguments.array(op, y)
    indices = _index_array(op, indices)
    if indices.shape != y.shape:
        raise ValueError(
            f"{op}: `indices` must have y's shape; got indices.shape={indices.shape} for "
            f"y.shape={y.shape}."
        )
    if mode not in ("set", "add", "max"):
        arguments.fail(op, "mode", 'be "set", "add" or "max"', mode)
    window, given_axes = arguments.window_axes(op, window_shape, axes)
    n = len(window)
    steps = window if strides is None else arguments.ints(op, "strides", strides, n, 1)
    pads = arguments.padding(op, padding, n)
    if isinstance(pads, str):
        if pads != "VALID":
            allowed = 'be "VALID", numbers or (low, high) pairs, since SAME has many inverses'
            arguments.fail(op, "padding", allowed, padding)
        pads = ((0, 0),) * n
    pooled = arguments.resolved_axes(op, given_axes, y.shape)
    default = [
        (y.shape[axis] - 1) * s + k - sum(pad)
        for axis, s, k, pad in zip(pooled, steps, window, pads, strict=True)
    ]
    sizes = default
    if output_shape is not None:
        sizes = arguments.ints(op, "output_shape", output_shape, n, 1)
        for size, usual, step in zip(sizes, default, steps, strict=True):
            if isinstance(usual, int) and abs(size - usual) >= step:
                allowed = f"be less than one stride {steps} from the default size {tuple(default)}"
                arguments.fail(op, "output_shape", allowed, output_shape)
    elif any(isinstance(size, int) and size < 1 for size in sizes):
        raise ValueError(f"{op}: `y` must not unpool to nothing; got sizes {tuple(sizes)}.")

    indices = indices.astype(np.promote_types(indices.dtype, np.int32))  # int8 may not hold sizes

    def compute(y: jax.Array, indices: jax.Array) -> jax.Array:
        # This changes no value. Under shard_map, y now varies over the mesh axes of its indices.
        y = jnp.where(indices == indices, y, y)
        # Planes: the pooled axes last and flat, in the order of y's axes.
        order = sorted(range(n), key=lambda i: pooled[i])
        spatial = [pooled[i] for i in order]
        batch = [axis for axis in range(y.ndim) if axis not in spatial]
        outer = [y.shape[axis] for axis in batch]
        inner = [sizes[i] for i in order]
        size, count = math.prod(inner), math.prod(y.shape[axis] for axis in spatial)
        planes = lax.transpose(y, [*batch, *spatial]).reshape((*outer, count))
        positions = lax.transpose(indices, [*batch, *spatial]).reshape((*outer, count))
        result = unpool_planes(planes, positions, size, mode).reshape((*outer, *inner))
        back = [0] * y.ndim
        for place, axis in enumerate([*batch, *spatial]):
            back[axis] = place
        return lax.transpose(result, back)

    shape = list(y.shape)
    for axis, size in zip(pooled, sizes, strict=True):
        shape[axis] = size
    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, range(y.ndim), y, indices)


@explained
def convert_indices(
    indices: jax.Array,
    shape: Sequence[int],
    axes: Ints,
    *,
    source: Convention = "torch",
    to: Convention = "torch",
) -> jax.Array:
    """Rewrites indices of pooled values from one convention to another.

    With p the row-major position on the pooled axes, P their number of elements, b the row-major
    position on all other axes, and c that on the last axis of length C:

    - "torch": p, which is what this library returns;
    - "tensorflow": ``p*C + c``, channels-last; "tensorflow_with_batch" adds ``P*C`` times the
      position on the axes other than the pooled ones and the last;
    - "onnx": ``b*P + p`` (storage order 0);
    - "onnx_column_major": ``b*P`` plus the column-major position (storage order 1).

    Args:
      indices: int array with the axes of the pooled input; pooled sizes may have any length.
        Negative ones, which mark empty cells, stay.
      shape: shape of the array that was pooled; sizes may be symbolic dimensions of ``jax.export``,
        of which it is not checked that their indices fit the dtype.
      axes: the pooled axes, an int or several.
      source: the convention that `indices` are in.
      to: the convention to write them in.

    Returns:
      Array of the shape and dtype of `indices`.

    Raises:
      ValueError: an argument is out of range, or an index would not fit the dtype.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      None: ints in, ints out.

    Example:
      >>> x = jnp.arange(16.).reshape(1, 4, 2, 2)
      >>> _, indices = jaxpool.max_pool_with_argmax(x, (2, 2))
      >>> indices[0, :, 0]
      Array([[3, 3],
             [7, 7]], dtype=int32)
      >>> jaxpool.convert_indices(indices, x.shape, (1, 2), to="tensorflow")[0, :, 0]
      Array([[ 6,  7],
             [14, 15]], dtype=int32)
    """
    return as_one_program(_convert_indices, indices, shape, axes, source, to)


def _convert_indices(indices: Any, shape: Any, axes: Any, source: Any, to: Any) -> jax.Array:
    op = "convert_indices"
    indices = _index_array(op, indices)
    for name, value in (("source", source), ("to", to)):
        if value not in _CONVENTIONS:
            arguments.fail(op, name, f"be one of {_CONVENTIONS}", value)
    shape = tuple(arguments.length(op, "shape", size, "be a sequence of ints") for size in shape)
    if indices.ndim != len(shape):
        raise ValueError(
            f"{op}: `indices` must have as many axes as the pooled array (pool with keepdims=True "
            f"if they do not); got indices.shape={indices.shape} for shape={shape}."
        )
    pooled = sorted(arguments.resolved_axes(op, arguments.axis_numbers(op, axes), shape))
    last, kind = len(shape) - 1, indices.dtype
    if last in pooled and any(name.startswith("tensorflow") for name in (source, to)):
        arguments.fail(op, "axes", "leave out the last axis, TensorFlow's channels", axes)
    plane = [shape[axis] for axis in pooled]
    counted = {"torch": plane, "tensorflow": [*plane, shape[last]]}

    def least(sizes: Sequence[Any]) -> int:
        """Their product, without what is symbolic."""
        return math.prod(size for size in sizes if isinstance(size, int))

    if any(least(counted.get(name) or shape) > np.iinfo(kind).max for name in (source, to)):
        arguments.fail(op, "shape", f"have no more elements than {kind} can count", shape)
    others = [axis for axis in range(len(shape)) if axis not in pooled]
    # From here on sizes are numbers of the program where they are symbolic.
    shape = tuple(n if isinstance(n, int) else jnp.asarray(n).astype(kind) for n in shape)
    plane = [shape[axis] for axis in pooled]

    def place(axes_: Sequence[int]) -> jax.Array:
        """Row-major position of every entry of `indices` on `axes_` of the pooled array."""
        result = jnp.zeros((1,) * len(shape), kind)
        for axis in axes_:
            here = [indices.shape[i] if i == axis else 1 for i in range(len(shape))]
            result = result * shape[axis] + lax.broadcasted_iota(kind, here, axis)
        return result

    size = math.prod(plane)
    channels = shape[last]
    position = indices
    if source.startswith("tensorflow"):
        position = (indices // channels) % size
    elif source != "torch":
        position = indices % size
    if source == "onnx_column_major":
        position = _reordered(position, plane[::-1])
    result = position
    if to.startswith("tensorflow"):
        result = position * channels + place([last])
        if to == "tensorflow_with_batch":
            result = result + place([axis for axis in others if axis != last]) * (size * channels)
    elif to != "torch":
        inner = position if to == "onnx" else _reordered(position, plane)
        result = inner + place(others) * size
    return jnp.where(indices < 0, indices, result)


def _reordered(position: jax.Array, sizes: Sequence[Any]) -> jax.Array:
    """A row-major position on axes of `sizes` as one on the same axes in reverse order."""
    coordinates = []
    for size in reversed(sizes):
        coordinates.append(position % size)
        position = position // size
    # `coordinates` has the last axis first: the reverse order, so its sizes are reversed too.
    result = jnp.zeros_like(position)
    for coordinate, size in zip(coordinates, reversed(sizes), strict=True):
        result = result * size + coordinate
    return result


def _index_array(op: str, indices: Any) -> jax.Array:
    """`indices` as an array of signed ints."""
    if not isinstance(indices, jax.Array | np.ndarray):
        raise TypeError(
            f"{op}: `indices` must be an int array; got an object of type "
            f"{type(indices).__name__}. Write jnp.asarray(indices)."
        )
    indices = jnp.asarray(indices)
    if not jnp.issubdtype(indices.dtype, jnp.signedinteger):
        raise TypeError(
            f"{op}: `indices` must hold signed ints, as int32; got indices.dtype={indices.dtype}."
        )
    return indices
