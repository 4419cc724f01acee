"""Descriptors of an image or a sequence: second-order pools, VLAD, and expected places."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, filled, parted_along
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global, channel_after
from jaxpool._src.reductions import descriptors
from jaxpool._src.reductions.descriptors import Layout


@explained
def covariance_pool(
    x: jax.Array,
    axes: Ints,
    *,
    channel_axis: int = -1,
    where: jax.Array | None = None,
    ddof: int = 0,
) -> jax.Array:
    """The covariance matrix of channels: ``sum (x - mean)(x - mean)^T / (n - ddof)``.

    Over the n elements along whole axes. Distances from the mean are taken before they are
    multiplied, so elements far from 0 lose no digits.

    Args:
      x: array with at least the axes that are pooled, and one of channels.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      channel_axis: the axis of x that has the channels, not a pooled one.
      where: bool mask that broadcasts to x and is the same for all channels; what is False takes no
        part, NaN included. Default: everything takes part.
      ddof: what is subtracted from the number of elements; 1 for the unbiased covariance.

    Returns:
      Array of shape ``[*batch, channels, channels]``, the batch axes in their order; floats keep
      their dtype (products are accumulated in float32 at least), ints and bools give float32. It is
      0 where nothing takes part, and NaN where there are no more than `ddof` elements.

    Raises:
      ValueError: an argument is out of range, an axis is missing or empty, or the mask differs
        along channels.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.array([[1., 0.], [3., 2.], [5., 1.]])
      >>> jaxpool.covariance_pool(x, axes=0, ddof=1)
      Array([[4., 1.],
             [1., 1.]], dtype=float32)

    References:
      Li et al., Is second-order information helpful for large-scale visual recognition?, 2017.
      <https://arxiv.org/abs/1703.08050>
    """
    return as_one_program(_covariance_pool, x, axes, channel_axis, where, ddof)


def _covariance_pool(x: Any, axes: Any, channel_axis: Any, where: Any, ddof: Any) -> jax.Array:
    op = "covariance_pool"
    parameters.size(op, "ddof", ddof, "be an int >= 0", least=0)
    x, mask, layout = given(op, x, axes, channel_axis, where)

    def compute(x: jax.Array, mask: Any) -> jax.Array:
        return descriptors.covariance(x, mask, layout, int(ddof))

    n = x.shape[layout.channel]
    return described(op, compute, x, mask, layout, (n, n))


@explained
def bilinear_pool(
    x: jax.Array,
    axes: Ints,
    *,
    y: jax.Array | None = None,
    channel_axis: int = -1,
    normalize: bool = True,
    where: jax.Array | None = None,
) -> jax.Array:
    """The mean outer product of each element's channels, as a vector: ``mean(x y^T)``.

    Normalised, it is ``sign(z) sqrt(abs(z))`` of that, over its length: then the scale of x does
    not matter, and neither large nor small elements overflow or vanish.

    Args:
      x: array with at least the axes that are pooled, and one of channels.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      y: array of x's shape, but for the number of channels, whose features x's are multiplied with.
        Default: x itself.
      channel_axis: the axis of x that has the channels, not a pooled one.
      normalize: whether to take signed square roots, and to divide by the length.
      where: bool mask that broadcasts to x and is the same for all channels; what is False takes no
        part, NaN included. Default: everything takes part.

    Returns:
      Array of shape ``[*batch, channels * channels]``, the batch axes in their order, with all
      products of x's first channel first; floats keep their dtype (products are accumulated in
      float32 at least), ints and bools, and two floats that differ, give float32 at least. It is 0
      where nothing takes part.

    Raises:
      ValueError: an argument is out of range, an axis is missing or empty, the mask differs along
        channels, or y does not fit x.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in y. The square root of 0 has gradient 0, and so has the
      length of a vector of zeros. Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.array([[1., 0.], [3., 2.]])
      >>> jaxpool.bilinear_pool(x, axes=0, normalize=False)
      Array([5., 3., 3., 2.], dtype=float32)
      >>> jnp.round(13 * jaxpool.bilinear_pool(x, axes=0) ** 2)
      Array([5., 3., 3., 2.], dtype=float32)

    References:
      Lin, RoyChowdhury and Maji, Bilinear CNN models for fine-grained visual recognition, 2015.
      <https://arxiv.org/abs/1504.07889>
    """
    return as_one_program(_bilinear_pool, x, axes, y, channel_axis, normalize, where)


def _bilinear_pool(
    x: Any, axes: Any, y: Any, channel_axis: Any, normalize: Any, where: Any
) -> jax.Array:
    op = "bilinear_pool"
    arguments.flag(op, "normalize", normalize)
    x, mask, layout = given(op, x, axes, channel_axis, where)
    if y is not None:
        parameters.real_array(op, "y", y)
        y = jnp.asarray(y)
        fits = y.ndim == x.ndim and all(
            y.shape[i] == n for i, n in enumerate(x.shape) if i != layout.channel
        )
        if not fits:
            raise ValueError(
                f"{op}: `y` must have the shape of x but along axis {layout.channel}, its "
                f"channels; got y.shape={y.shape} for x.shape={x.shape}."
            )

    def compute(x: jax.Array, mask: Any, y: Any) -> jax.Array:
        if y is not None:
            dtype = np.promote_types(x.dtype, accumulator(y.dtype))
            x, y = x.astype(dtype), y.astype(dtype)
        return descriptors.bilinear(x, y, mask, layout, normalize)

    dtype = None
    if y is not None and y.dtype != x.dtype:
        dtype = np.promote_types(accumulator(x.dtype), accumulator(y.dtype))
    n = x.shape[layout.channel]
    size = n * (n if y is None else y.shape[layout.channel])
    return described(op, compute, x, mask, layout, (size,), y, dtype=dtype)


@explained
def isqrt_covariance_pool(
    x: jax.Array,
    axes: Ints,
    *,
    channel_axis: int = -1,
    iterations: int = 5,
    epsilon: Any = 1e-6,
    vectorize: bool = True,
    where: jax.Array | None = None,
) -> jax.Array:
    """The square root of the covariance matrix of channels, by Newton-Schulz iterations (iSQRT).

    With C the covariance over the n elements (`covariance_pool`), plus `epsilon` on the diagonal,
    and t its trace: from ``Y = C / t`` and ``Z = 1``, so many times ``T = (3 - Z Y) / 2``,
    ``Y = Y T``, ``Z = T Z``; the result is ``sqrt(t) Y``. More iterations bring it closer to the
    root, first of all that of large eigenvalues.

    Args:
      x: array with at least the axes that are pooled, and one of channels.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      channel_axis: the axis of x that has the channels, not a pooled one.
      iterations: number of updates, at least 1.
      epsilon: what is added to the diagonal of the covariance, a number >= 0, or a float scalar,
        which may be traced.
      vectorize: whether the result is the upper triangle as a vector, row by row, which is all of
        a symmetric matrix.
      where: bool mask that broadcasts to x and is the same for all channels; what is False takes no
        part, NaN included. Default: everything takes part.

    Returns:
      Array of shape ``[*batch, channels * (channels + 1) / 2]``, or of shape
      ``[*batch, channels, channels]`` without `vectorize`, the batch axes in their order; floats
      keep their dtype (products are of float32 at least, without loss), ints and bools give
      float32. It is 0 where nothing takes part, and ``sqrt(epsilon)`` times the identity for
      elements that are all alike, as far as iterations come.

    Raises:
      ValueError: an argument is out of range, an axis is missing or empty, the mask differs along
        channels, or the number of channels is symbolic with `vectorize`.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of the iterations. Finite where the covariance is 0.
      Masked-out elements have gradient 0.

    Example:
      >>> x = jnp.array([[1., 0.], [3., 0.], [2., 3.], [2., -3.]])
      >>> jnp.round(jaxpool.isqrt_covariance_pool(x, axes=0, iterations=20), 3)
      Array([0.707, 0.   , 2.121], dtype=float32)

    References:
      Li et al., Towards faster training of global covariance pooling networks by iterative matrix
      square root normalization, 2018. <https://arxiv.org/abs/1712.01034>
    """
    op = "isqrt_covariance_pool"
    parameters.scalar(op, "epsilon", epsilon)
    parameters.not_negative(op, "epsilon", epsilon)
    return as_one_program(
        _isqrt_covariance_pool, x, axes, channel_axis, iterations, epsilon, vectorize, where
    )


def _isqrt_covariance_pool(
    x: Any,
    axes: Any,
    channel_axis: Any,
    iterations: Any,
    epsilon: Any,
    vectorize: Any,
    where: Any,
) -> jax.Array:
    op = "isqrt_covariance_pool"
    parameters.size(op, "iterations", iterations)
    arguments.flag(op, "vectorize", vectorize)
    x, mask, layout = given(op, x, axes, channel_axis, where)
    if vectorize and not isinstance(x.shape[layout.channel], int):
        raise ValueError(
            f"{op}: `x` must have a known number of channels; got x.shape={x.shape}. Write "
            "vectorize=False for the whole matrix."
        )

    def compute(x: jax.Array, mask: Any, epsilon: Any) -> jax.Array:
        epsilon = jnp.asarray(epsilon).astype(x.dtype)
        return descriptors.covariance_root(x, mask, layout, int(iterations), epsilon, vectorize)

    n = x.shape[layout.channel]
    shape = (n * (n + 1) // 2,) if vectorize else (n, n)
    return described(op, compute, x, mask, layout, shape, epsilon)


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sketch:
    """What `compact_bilinear_pool` projects outer products with: two hashes of the channels.

    A tree of JAX's whose leaves are ints. It is drawn once, by `draw_sketch`, and kept with the
    parameters of a model: results of two sketches have nothing to do with each other.

    Args:
      hashes: int array of shape ``[2, channels]``, entries from 0 up to, without it, `output_size`.
      signs: int array of shape ``[2, channels]``, entries 1 and -1.
      output_size: length of the projected vector.

    Raises:
      ValueError: when used, if it has another number of channels than x.

    Example:
      >>> hashes, signs = jnp.array([[0, 1], [0, 2]]), jnp.array([[1, 1], [1, -1]])
      >>> sketch = jaxpool.Sketch(hashes, signs, 4)
      >>> y = jaxpool.compact_bilinear_pool(jnp.array([[2., 3.]]), axes=0, sketch=sketch)
      >>> jnp.round(y)
      Array([ 4.,  6., -6., -9.], dtype=float32)
    """

    hashes: jax.Array
    signs: jax.Array
    output_size: int = dataclasses.field(metadata={"static": True})


@explained
def draw_sketch(key: jax.Array, channels: int, output_size: int) -> Sketch:
    """Draws the two hashes and the signs of a tensor sketch.

    Args:
      key: a key of jax.random.
      channels: number of channels of what is to be pooled.
      output_size: length of the projected vector. Sizes with two factors of about equal size, such
        as powers of 2, take least time.

    Returns:
      A `Sketch`, for `compact_bilinear_pool`.

    Raises:
      ValueError: a number is less than 1.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      None: ints come out.

    Example:
      >>> sketch = jaxpool.draw_sketch(jax.random.key(0), channels=512, output_size=8192)
      >>> sketch.hashes.shape, sketch.signs.shape
      ((2, 512), (2, 512))
    """
    op = "draw_sketch"
    parameters.key(op, key, False)
    parameters.size(op, "channels", channels)
    parameters.size(op, "output_size", output_size)
    return as_one_program(_draw_sketch, key, int(channels), int(output_size))


def _draw_sketch(key: Any, channels: int, output_size: int) -> Sketch:
    of_hashes, of_signs = jax.random.split(jnp.asarray(key))
    hashes = jax.random.randint(of_hashes, (2, channels), 0, output_size, np.int32)
    return Sketch(hashes, jax.random.rademacher(of_signs, (2, channels), np.int32), output_size)


@explained
def compact_bilinear_pool(
    x: jax.Array,
    axes: Ints,
    *,
    sketch: Sketch,
    channel_axis: int = -1,
    where: jax.Array | None = None,
) -> jax.Array:
    """The mean outer product of each element's channels, projected: a tensor sketch.

    With hashes h and signs s of the sketch, entry k is the mean over elements of the sum of
    ``s[0, i] s[1, j] x[i] x[j]`` over all i and j for which ``(h[0, i] + h[1, j]) % size`` is k.
    Products of two such vectors are on average the squares of products of elements. It is computed
    by Fourier transforms, linear in x, and never has as many entries as the outer product of the
    sketches.

    Args:
      x: array with at least the axes that are pooled, and one of channels.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      sketch: the projection, of `draw_sketch`.
      channel_axis: the axis of x that has the channels, not a pooled one.
      where: bool mask that broadcasts to x and is the same for all channels; what is False takes no
        part, NaN included. Default: everything takes part.

    Returns:
      Array of shape ``[*batch, sketch.output_size]``, the batch axes in their order; floats keep
      their dtype (products are accumulated in float32 at least), ints and bools give float32. It is
      0 where nothing takes part.

    Raises:
      ValueError: an argument is out of range, an axis is missing or empty, the mask differs along
        channels, or the sketch is of another number of channels.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x. Masked-out elements have gradient 0.

    Example:
      >>> x = jax.random.normal(jax.random.key(0), (2, 14, 14, 8))
      >>> sketch = jaxpool.draw_sketch(jax.random.key(1), 8, 16)
      >>> jaxpool.compact_bilinear_pool(x, axes=(1, 2), sketch=sketch).shape
      (2, 16)

    References:
      Gao et al., Compact bilinear pooling, 2016. <https://arxiv.org/abs/1511.06062>

      Pham and Pagh, Fast and scalable polynomial kernels via explicit feature maps, 2013.
      <https://doi.org/10.1145/2487575.2487591>
    """
    return as_one_program(_compact_bilinear_pool, x, axes, sketch, channel_axis, where)


def _compact_bilinear_pool(
    x: Any, axes: Any, sketch: Any, channel_axis: Any, where: Any
) -> jax.Array:
    op = "compact_bilinear_pool"
    if not isinstance(sketch, Sketch):
        hint = "Write jaxpool.draw_sketch(key, channels, output_size)."
        allowed = "be a jaxpool.Sketch"
        arguments.fail(op, "sketch", allowed, sketch, hint=hint, error=TypeError)
    x, mask, layout = given(op, x, axes, channel_axis, where)
    size = sketch.output_size
    parameters.size(op, "sketch.output_size", size)
    channels = x.shape[layout.channel]
    for name, value in (("hashes", sketch.hashes), ("signs", sketch.signs)):
        parameters.real_array(op, f"sketch.{name}", value)
        if value.shape != (2, channels):
            raise ValueError(
                f"{op}: `sketch` must be of {channels} channels, as x is; got sketch.{name}.shape="
                f"{value.shape} for x.shape={x.shape}."
            )

    def compute(x: jax.Array, mask: Any, hashes: jax.Array, signs: jax.Array) -> jax.Array:
        return descriptors.compact_bilinear(x, mask, layout, hashes, signs, size)

    more = (jnp.asarray(sketch.hashes), jnp.asarray(sketch.signs))
    return described(op, compute, x, mask, layout, (size,), *more)


def given(
    op: str, x: Any, axes: Any, channel_axis: Any, where: Any
) -> tuple[jax.Array, jax.Array | None, Layout]:
    """x, its mask, and its layout, checked."""
    x = arguments.array(op, x)
    domain = Global(arguments.axis_numbers(op, axes))
    domain.check(op, x.shape)
    channel_after(op, channel_axis, x.shape, domain)
    layout = Layout(x.ndim, domain.pooled_axes(x.ndim), channel_axis % x.ndim)
    mask = arguments.mask(op, where, x.shape, layout.pooled, False)
    if mask is not None and mask.shape[layout.channel] != 1:
        axis = layout.channel - x.ndim
        raise ValueError(
            f"{op}: `where` must be the same for all channels, with size 1 along axis {axis}; got "
            f"where.shape={where.shape} for x.shape={x.shape}. Write jnp.all(where, {axis}, "
            "keepdims=True) for elements of which all channels are valid."
        )
    return x, mask, layout


def described(
    op: str,
    compute: Callable[..., jax.Array],
    x: jax.Array,
    mask: jax.Array | None,
    layout: Layout,
    features: tuple[Any, ...],
    *more: Any,
    dtype: Any = None,
) -> jax.Array:
    """What `compute` makes of x in the dtype to accumulate in, 0 where no element takes part.

    The result has the batch axes of x, sharded as they are, and then those of `features`.
    """
    if dtype is None:
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    shape = (*(x.shape[axis] for axis in layout.batch), *features)

    def program(x: jax.Array, mask: Any, *more: Any) -> jax.Array:
        y = compute(x.astype(accumulator(x.dtype)), mask, *more)
        if mask is not None:
            count = Global(layout.pooled, keepdims=True).count(x.shape, mask)
            y = filled(y, layout.per_cell(count > 0, len(features)), 0)
        contracts.assert_shape(y, shape)
        return y.astype(dtype)

    sources = [*((x, axis) for axis in layout.batch), *(None for _ in features)]
    with jax.named_scope(f"jaxpool.{op}"):
        return parted_along(program, shape, sources, x, mask, *more)
