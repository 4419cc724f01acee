"""Pools that keep the lowest frequencies of an array."""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints, Sizes
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, parted_by_xla
from jaxpool._src.core.program import as_one_program
from jaxpool._src.lowering.spectra import Resize, resized


@explained
def spectral_pool(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    transform: Literal["fourier", "hartley", "cosine"] = "fourier",
    window: Literal["hamming"] | None = None,
) -> jax.Array:
    """The array in another size, of its lowest frequencies alone.

    Along each axis the spectrum is cropped about frequency 0, and transformed back with the new
    size. Means stay, and constants exactly. A size may also be larger, which fills in between. What
    is beyond an edge is what is at the other one; pad x where it should not be, or take cosines,
    whose spectrum is that of x and its mirror image.

    An even size has a highest frequency that is its own negative. It has what both had, and gives a
    half to each where the size grows, as in ``scipy.signal.resample``. With that, the crop of a
    Hartley transform gives what a Fourier transform does, whatever the size; cropped as an array,
    without the second one, an even size would depend on which of the two is kept.

    There is no mask: each cell has a share of every element. Fill in what is missing, or pool with
    windows.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      transform: "fourier"; "hartley", which is the same for real x; or "cosine" (DCT-II).
      window: None to leave the frequencies that are kept as they are, the ideal low pass of FLC
        pooling; "hamming" to multiply them by the root of a Hamming window over all frequencies of
        x, along each axis, as ASAP does against ringing. It is 1 at frequency 0 whatever the size,
        0.73 where a half is cut, and 0.28 at the highest one of an even size.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; floats keep
      their dtype and are transformed in float32 at least, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Linear in x: every mode, to any order. What is not finite reaches all that is pooled with it.

    Example:
      >>> x = jnp.cos(jnp.arange(8.) * jnp.pi / 4)
      >>> jaxpool.spectral_pool(x, 4, axes=0).round(4) + 0
      Array([ 1.,  0., -1.,  0.], dtype=float32)
      >>> jaxpool.spectral_pool(jnp.full((1, 7, 7, 3), 0.1), (3, 4))[0, :, :, 0]
      Array([[0.1, 0.1, 0.1, 0.1],
             [0.1, 0.1, 0.1, 0.1],
             [0.1, 0.1, 0.1, 0.1]], dtype=float32)

    References:
      Rippel et al., Spectral representations for convolutional neural networks, 2015.
      <https://arxiv.org/abs/1506.03767>

      Zhang and Ma, Hartley spectral pooling for deep learning, 2020.
      <https://arxiv.org/abs/1810.04028>

      Grabinski et al., FrequencyLowCut pooling, 2022. <https://arxiv.org/abs/2204.00491>

      Grabinski et al., Fix your downsampling ASAP, 2023. <https://arxiv.org/abs/2307.09804>
    """
    return as_one_program(_spectral_pool, x, output_shape, axes, transform, window)


def _spectral_pool(x: Any, output_shape: Any, axes: Any, transform: Any, window: Any) -> jax.Array:
    op = "spectral_pool"
    arguments.one_of(op, "transform", transform, ("fourier", "hartley", "cosine"))
    arguments.one_of(op, "window", window, (None, "hamming"))
    x, resizes = _resizes(op, x, output_shape, axes, transform)
    return _pooled(op, x, resizes, None if window is None else _hamming)


@explained
def spectral_dropout_pool(
    x: jax.Array,
    output_shape: Sizes,
    *,
    axes: Ints | None = None,
    minimum_shape: Ints = 1,
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """`spectral_pool` without its highest frequencies, from one that is drawn (frequency dropout).

    Along each axis a size is drawn, from `minimum_shape` to that of the output (or of x, if that is
    smaller), all alike likely. Frequencies that an array of that size does not have become 0; means
    stay, and constants exactly. All that is pooled in a call has the same sizes, as in a minibatch
    of the paper; map over x and keys with `jax.vmap` for sizes of each sample's own.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      output_shape: number of cells along each pooled axis, None to keep an axis as it is; or an int
        for all `axes`.
      axes: the pooled axes, an int or one for each entry of `output_shape`. Default: the
        ``len(output_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      minimum_shape: the smallest size that may be drawn, an int or one per pooled axis.
      key: what is drawn with.
      deterministic: whether to keep all frequencies, as for evaluation; then no key is needed.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; floats keep
      their dtype and are transformed in float32 at least, ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing, empty or symbolic.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Linear in x: every mode, to any order. What is not finite reaches all that is pooled with it.

    Example:
      >>> x = jnp.cos(jnp.arange(8.) * jnp.pi / 4)
      >>> y = jaxpool.spectral_dropout_pool(x, 4, axes=0, minimum_shape=2, key=jax.random.key(0))
      >>> y.round(4) + 0  # 2, 3 and 4 have the frequency of x
      Array([ 1.,  0., -1.,  0.], dtype=float32)

    References:
      Rippel et al., Spectral representations for convolutional neural networks, 2015.
      <https://arxiv.org/abs/1506.03767>
    """
    return as_one_program(
        _spectral_dropout_pool, x, output_shape, axes, minimum_shape, key, deterministic
    )


def _spectral_dropout_pool(
    x: Any, output_shape: Any, axes: Any, minimum_shape: Any, key: Any, deterministic: Any
) -> jax.Array:
    op = "spectral_dropout_pool"
    parameters.key(op, key, deterministic)
    x, resizes = _resizes(op, x, output_shape, axes, "fourier")
    least = arguments.ints(op, "minimum_shape", minimum_shape, len(resizes), 1)
    for size, (axis, resize) in zip(least, resizes, strict=True):
        if resize is not None and size > resize.kept:
            allowed = f"be at most {resize.kept} along axis {axis}, as many as are kept there"
            arguments.fail(op, "minimum_shape", allowed, minimum_shape, shape=x.shape)

    def weights(number: int, resize: Resize, dtype: Any, key: Any) -> jax.Array:
        size = jax.random.randint(
            jax.random.fold_in(key, number), (), least[number], resize.kept + 1, np.int32
        )
        return (resize.all_numbers() <= size).astype(dtype)

    return _pooled(op, x, resizes, *(() if deterministic else (weights, key)))


def _resizes(
    op: str, x: Any, output_shape: Any, axes: Any, transform: str
) -> tuple[jax.Array, list[tuple[int, Resize | None]]]:
    """x, and for each pooled axis what becomes of it, None if nothing does."""
    x = arguments.array(op, x)
    sizes, numbers = arguments.sizes_and_axes(op, "output_shape", output_shape, axes)
    places = arguments.resolved_axes(op, numbers, x.shape)
    arguments.no_empty_axis(op, x.shape, places)
    found = []
    for size, axis in zip(sizes, places, strict=True):
        if size is not None:
            arguments.known_size(op, x.shape, axis)
        kind = "cosine" if transform == "cosine" else "fourier"
        found.append((axis, None if size is None else Resize(x.shape[axis], size, kind)))
    return x, found


def _hamming(_: int, resize: Resize, dtype: Any) -> jax.Array:
    """The root of a Hamming window over all frequencies of x."""
    angle = resize.all_numbers().astype(dtype) * np.array(np.pi / resize.length, dtype)
    return jnp.sqrt(np.array(0.54, dtype) + np.array(0.46, dtype) * jnp.cos(angle))


def _pooled(
    op: str,
    x: jax.Array,
    resizes: list[tuple[int, Resize | None]],
    weights: Callable[..., jax.Array] | None = None,
    *more: Any,
) -> jax.Array:
    """The array in other sizes; `weights(number of axis, resize, dtype, *more)` of frequencies."""
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    steps = [(number, axis, resize) for number, (axis, resize) in enumerate(resizes)
             if resize is not None and not (resize.is_identity and weights is None)]  # fmt: skip
    sizes = {axis: resize.output for _, axis, resize in steps}
    shape = [sizes.get(axis, n) for axis, n in enumerate(x.shape)]

    def compute(x: jax.Array, *more: Any) -> jax.Array:
        # Distances from the first element, so that constants stay what they are. As a constant:
        # what is the same for all elements has no part in the derivative.
        y = x.astype(accumulator(x.dtype))
        first = [slice(0, 1) if axis in sizes else slice(None) for axis in range(x.ndim)]
        first = lax.stop_gradient(y[tuple(first)])
        found = []
        for number, axis, resize in steps:
            weight = None if weights is None else weights(number, resize, y.dtype, *more)
            found.append((axis, resize, weight))
        y = resized(y - first, found)
        y = y + first
        contracts.assert_shape(y, shape)
        return y.astype(dtype)

    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, range(x.ndim), x, *more) if steps else x.astype(dtype)
