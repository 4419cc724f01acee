"""Pools given as matrices, and those over strips and regions of an image."""

import functools
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, accumulator, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global
from jaxpool._src.domains.intervals import Intervals
from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.windows import lowest_value
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean

_MEAN = Mean()


@explained
def matrix_pool(
    x: jax.Array,
    matrices: Any,
    axes: Ints,
    semiring: Literal["sum", "max"] = "sum",
) -> jax.Array:
    """A matrix along each axis: ``y[i] = sum_j m[i, j]*x[j]``, or ``max_j m[i, j] + x[j]``.

    The pool that all separable ones are: rows of ones are sums, rows that sum to one are means, and
    in the semiring "max", rows of 0 where an element takes part and -inf where it does not are
    maxima. Blurs, resizing, and structuring functions of morphology are others.

    Args:
      x: array with the axes that are pooled; all others are batch.
      matrices: for each axis an array of shape (outputs, inputs), for an int `axes` one alone. They
        may be traced or learned.
      axes: the pooled axes, an int or one for each matrix.
      semiring: "sum" for a linear pool, "max" for a tropical one.

    Returns:
      Array of x's shape with a matrix's number of rows in place of each pooled axis; floats keep
      their dtype and are accumulated in float32 at least, others give float32.

    Raises:
      ValueError: an argument is out of range, or a matrix does not fit its axis.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the matrices, every mode, to any order; in those of sums, what is not finite in x
      counts as 0. In the semiring "max" the gradient of a cell goes to its first maximum in
      row-major order, and if there are NaNs, to the last of them.

    Example:
      >>> x = jnp.array([1., 2., 4., 8.])
      >>> halves = jnp.array([[0.5, 0.5, 0., 0.], [0., 0., 0.5, 0.5]])
      >>> jaxpool.matrix_pool(x, halves, axes=0)
      Array([1.5, 6. ], dtype=float32)
      >>> slopes = jnp.array([[0., -1., -2., -3.], [-3., -2., -1., 0.]])
      >>> jaxpool.matrix_pool(x, slopes, axes=0, semiring="max")
      Array([5., 8.], dtype=float32)

    References:
      Maragos, Charisopoulos and Theodosis, Tropical geometry and machine learning, 2021.
      <https://doi.org/10.1109/JPROC.2021.3065238>
    """
    return as_one_program(_matrix_pool, x, matrices, axes, semiring)


def _matrix_pool(x: Any, matrices: Any, axes: Any, semiring: Any) -> jax.Array:
    op = "matrix_pool"
    x = arguments.array(op, x)
    arguments.one_of(op, "semiring", semiring, ("sum", "max"))
    numbers = arguments.axis_numbers(op, axes)
    if arguments.entries(axes) is None:
        matrices = (matrices,)
    places = arguments.resolved_axes(op, numbers, x.shape)
    arguments.no_empty_axis(op, x.shape, places)
    if not isinstance(matrices, list | tuple) or len(matrices) != len(places):
        raise ValueError(
            f"{op}: `matrices` must be a sequence with one matrix for each of the {len(places)} "
            f"entries of `axes`; got {type(matrices).__name__}."
        )
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    y = x.astype(accumulator(dtype))
    with jax.named_scope(f"jaxpool.{op}"):
        # The last axis first: then the first of equal elements is so in row-major order.
        for axis, matrix in sorted(zip(places, matrices, strict=True), key=lambda p: -p[0]):
            y = _along(op, y, _matrix(op, matrix, x.shape, axis).astype(y.dtype), axis, semiring)
        return y.astype(dtype)


def _matrix(op: str, matrix: Any, shape: Sequence[Any], axis: int) -> jax.Array:
    """`matrix`, checked to fit `axis` of an array of `shape`."""
    if not isinstance(matrix, jax.Array | np.ndarray) or not jnp.issubdtype(
        matrix.dtype, jnp.floating
    ):
        kind = getattr(matrix, "dtype", type(matrix).__name__)
        raise TypeError(f"{op}: `matrices` must be arrays of floats; got {kind}.")
    if matrix.ndim != 2 or matrix.shape[1] != shape[axis]:
        raise ValueError(
            f"{op}: `matrices` must have shape (outputs, {shape[axis]}) for axis {axis}; got "
            f"{matrix.shape} for x.shape={tuple(shape)}."
        )
    return jnp.asarray(matrix)


def _along(op: str, x: jax.Array, matrix: jax.Array, axis: int, semiring: str) -> jax.Array:
    """One matrix along one axis."""
    if semiring == "max":
        rows = matrix.reshape([1] * axis + [*matrix.shape] + [1] * (x.ndim - axis - 1))
        absent = rows == -np.inf
        terms = jnp.where(absent, lowest_value(x.dtype), jnp.expand_dims(x, axis) + rows)
        return Global(axis + 1).max(terms, jnp.broadcast_to(~absent, terms.shape))
    return _sums(x, matrix, axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sums(x: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """``sum_j m[i, j]*x[j]`` without the terms in which m is 0: 0 times NaN would be everywhere."""

    def by_terms(state: Any) -> Any:
        # `dirty` is True. XLA computes what does not depend on the state ahead of the loop.
        _, dirty = state
        clean = dirty & np.False_
        rows = matrix.reshape([1] * axis + [*matrix.shape] + [1] * (x.ndim - axis - 1))
        terms = jnp.expand_dims(jnp.where(dirty, x, np.zeros((), x.dtype)), axis) * rows
        terms = jnp.where(rows != 0, terms, np.zeros((), x.dtype))
        return jnp.sum(terms, axis + 1, x.dtype), clean

    dirty = ~jnp.all(jnp.isfinite(x))
    # A loop of no or one round, since vmap makes both branches of a conditional run.
    state = settled(by_terms, (_product(x, matrix, axis), dirty))
    return lax.while_loop(lambda state: state[1], by_terms, state)[0]


def _product(x: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    contract = (((axis,), (1,)), ((), ()))
    product = lax.dot_general(x, matrix, contract, precision=lax.Precision.HIGHEST)
    return jnp.moveaxis(product, -1, axis)


@functools.partial(_sums.defjvp, symbolic_zeros=True)
def _sums_jvp(axis: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    x, matrix = primals
    y, terms = _sums(x, matrix, axis), []
    if not isinstance(tangents[0], SymbolicZero):
        terms.append(_product(tangents[0], matrix, axis))
    if not isinstance(tangents[1], SymbolicZero):
        # An infinite sum stays so if its weights move, and no NaN reaches other rows.
        finite = jnp.where(jnp.isfinite(x), x, np.zeros((), x.dtype))
        terms.append(_product(finite, tangents[1], axis))
    return y, functools.reduce(lax.add, terms) if terms else jnp.zeros_like(y)


@explained
def strip_pool(
    x: jax.Array,
    axis: int,
    reduction: Reduction = _MEAN,
    *,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """One value for each strip along `axis`, which stays with size 1.

    Equal to `pool` over ``Global(axis, keepdims=True)``. Strip pooling and coordinate attention
    take the means of rows and of columns, and broadcast both over the image.

    Args:
      x: array with the axis that strips lie along; all others are batch.
      axis: the pooled axis, an int.
      reduction: how the elements of a strip become one value. Default: ``Mean()``.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of strips in which nothing takes part.

    Returns:
      Array of x's shape with size 1 along `axis`; the dtype is that of the reduction.

    Raises:
      ValueError: an argument is out of range, or the axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty strips have gradient 0.

    Example:
      >>> x = jnp.arange(6.).reshape(2, 3)
      >>> jaxpool.strip_pool(x, 1)
      Array([[1.],
             [4.]], dtype=float32)

    References:
      Hou et al., Strip pooling: rethinking spatial pooling for scene parsing, 2020.
      <https://arxiv.org/abs/2003.13328>
    """
    op = "strip_pool"
    axis = arguments.integer(op, "axis", axis, "be an int")
    return run(op, x, Global(axis, keepdims=True), reduction, where, empty_value)


@explained
def regional_max_pool(
    x: jax.Array,
    levels: int = 3,
    *,
    axes: Sequence[int] = (-3, -2),
    channel_axis: int = -1,
    epsilon: float = 1e-6,
    where: jax.Array | None = None,
) -> jax.Array:
    """A descriptor of an image: maxima of many regions, each normalised, summed (R-MAC).

    Level l has squares of ``floor(2*w / (l + 1))`` along axes of which the shorter has w elements:
    l of them along it, and along the other so many that neighbours share about 40 %. With the whole
    image, each region's vector of maxima over its elements is divided by its length over the
    channels. Without levels this is MAC; the mean, `global_avg_pool`, is SPoC.

    Args:
      x: array of shape ``[..., height, width, channels]``; with `axes` and `channel_axis`, any
        layout.
      levels: number of levels, 0 for the whole image alone.
      axes: the two axes of the image.
      channel_axis: the axis along which vectors are normalised.
      epsilon: what is added to a vector's length.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.

    Returns:
      Array of x's shape without `axes`; floats keep their dtype, others give float32.

    Raises:
      ValueError: an argument is out of range, or an axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a maximum goes to the first, as in `max_pool`; that
      of the length of a vector of zeros is 0.

    Example:
      >>> x = jnp.arange(32.).reshape(4, 4, 2)
      >>> jaxpool.regional_max_pool(x, 1).round(4)
      Array([1.3908, 1.4372], dtype=float32)

    References:
      Tolias, Sicre and Jegou, Particular object retrieval with integral max-pooling of CNN
      activations, 2016. <https://arxiv.org/abs/1511.05879>
    """
    return as_one_program(_regional_max_pool, x, levels, axes, channel_axis, epsilon, where)


def _regional_max_pool(
    x: Any, levels: Any, axes: Any, channel_axis: Any, epsilon: Any, where: Any
) -> jax.Array:
    op = "regional_max_pool"
    x = arguments.array(op, x)
    (levels,) = arguments.ints(op, "levels", levels, 1, 0)
    numbers = arguments.axis_numbers(op, axes)
    channel = arguments.integer(op, "channel_axis", channel_axis, "be an int")
    if len(numbers) != 2:
        arguments.fail(op, "axes", "name the two axes of the image", axes)
    *places, channel = arguments.resolved_axes(op, (*numbers, channel), x.shape)
    for axis in places:
        arguments.known_size(op, x.shape, axis)
    height, width = (x.shape[axis] for axis in places)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    x = x.astype(accumulator(dtype))
    total = jnp.zeros((), x.dtype)
    for rows, columns, size in [([0], [0], None), *_regions(height, width, levels)]:
        ends = [[s + (size or n) for s in starts]
                for starts, n in ((rows, height), (columns, width))]  # fmt: skip
        domain = Intervals([rows, columns], ends, axes=places)
        maxima = run(op, x, domain, Max(), where, 0)
        square = jnp.sum(maxima * maxima, channel, keepdims=True)
        positive = square > 0
        length = jnp.where(positive, jnp.sqrt(jnp.where(positive, square, np.ones((), x.dtype))), 0)
        total = total + jnp.sum(maxima / (length + epsilon), tuple(places))
    return total.astype(dtype)


def _regions(height: int, width: int, levels: int) -> list[tuple[list[int], list[int], int]]:
    """For each level, where its squares start along both axes, and their size."""
    short, long = min(height, width), max(height, width)
    # As many more along the longer axis as bring the shared part of neighbours closest to 40 %.
    shared = {steps: 1 - (long - short) / (steps - 1) / short for steps in range(2, 8)}
    more = min(shared, key=lambda steps: abs(shared[steps] - 0.4)) - 1 if long > short else 0
    found = []
    for level in range(1, levels + 1):
        size = 2 * short // (level + 1)
        if size > 0:
            starts = []
            for n in (height, width):
                count = level + (more if n == long else 0)
                starts.append([i * (n - size) // max(count - 1, 1) for i in range(count)])
            found.append((starts[0], starts[1], size))
    return found
