"""The poolings of ``torch.nn.functional``, with its names, arguments, layout and values.

Channels come first, (N, C, H, W) or (C, H, W), and arguments are those of PyTorch 2.13, in its
order and with its defaults. What PyTorch refuses with a `RuntimeError` is refused with an error
that is one, and a `ValueError` too. Derivatives are those of the functions of `jaxpool` that do the
work, and so are masks and dtypes: means of ints are float32, and indices are int32.

Some things differ on purpose. `lp_pool2d` of negative numbers takes ``|x|``, where PyTorch gives
NaN or a signed root for odd powers. A window that by its dilation reaches nothing but padding is
refused, where PyTorch gives -inf and an index outside of the input. Indices outside of what is
unpooled are left out, where PyTorch raises. Means and norms in three dimensions take windows larger
than the input in ceil mode, as all others do. Fractional pools take a `key` after PyTorch's
arguments, since there is no global state to draw from; in three dimensions they also take windows
as long as an axis.

Example:
  >>> import jaxpool.compat.torch as F
  >>> x = jnp.arange(16.).reshape(1, 4, 4)
  >>> F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
  Array([[[ 5.,  7.,  7.],
          [13., 15., 15.],
          [13., 15., 15.]]], dtype=float32)
  >>> y, indices = F.max_pool2d(x, 2, return_indices=True)
  >>> F.max_unpool2d(y, indices, 2).shape
  (1, 4, 4)
  >>> F.adaptive_avg_pool2d(x, (None, 1))[..., 0]
  Array([[ 1.5,  5.5,  9.5, 13.5]], dtype=float32)
  >>> F.fractional_max_pool2d(x, 2, output_ratio=(0.5, 0.5), key=jax.random.key(0)).shape
  (1, 2, 2)
"""

from typing import Any

import jax

from jaxpool.compat import _arrays, _calls
from jaxpool.compat._words import in_torchs_words, planes

# What PyTorch takes for a number along each axis, and what it returns.
Sizes = Any
Pair = tuple[jax.Array, jax.Array]


@in_torchs_words
def max_pool1d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each window in (C, L) or (N, C, L): `jaxpool.max_pool`."""
    op = "max_pool1d"
    call = _calls.max_pool(op, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _arrays.pooled(call, planes(op, input, 1), 1)


@in_torchs_words
def max_pool2d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each window in (C, H, W) or (N, C, H, W): `jaxpool.max_pool`."""
    op = "max_pool2d"
    call = _calls.max_pool(op, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _arrays.pooled(call, planes(op, input, 2), 2)


@in_torchs_words
def max_pool3d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each window in (C, D, H, W) or (N, C, D, H, W): `jaxpool.max_pool`."""
    op = "max_pool3d"
    call = _calls.max_pool(op, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    return _arrays.pooled(call, planes(op, input, 3), 3)


@in_torchs_words
def max_pool1d_with_indices(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pair:
    """`max_pool1d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "max_pool1d_with_indices"
    call = _calls.max_pool(op, 1, kernel_size, stride, padding, dilation, ceil_mode, True)
    return _arrays.pooled(call, planes(op, input, 1), 1)


@in_torchs_words
def max_pool2d_with_indices(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pair:
    """`max_pool2d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "max_pool2d_with_indices"
    call = _calls.max_pool(op, 2, kernel_size, stride, padding, dilation, ceil_mode, True)
    return _arrays.pooled(call, planes(op, input, 2), 2)


@in_torchs_words
def max_pool3d_with_indices(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Pair:
    """`max_pool3d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "max_pool3d_with_indices"
    call = _calls.max_pool(op, 3, kernel_size, stride, padding, dilation, ceil_mode, True)
    return _arrays.pooled(call, planes(op, input, 3), 3)


@in_torchs_words
def avg_pool1d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> jax.Array:
    """The mean of each window in (C, L) or (N, C, L): `jaxpool.avg_pool`."""
    op = "avg_pool1d"
    call = _calls.avg_pool(op, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, None)
    return _arrays.pooled(call, planes(op, input, 1), 1)


@in_torchs_words
def avg_pool2d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """The mean of each window in (C, H, W) or (N, C, H, W): `jaxpool.avg_pool`."""
    op = "avg_pool2d"
    call = _calls.avg_pool(
        op, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return _arrays.pooled(call, planes(op, input, 2), 2)


@in_torchs_words
def avg_pool3d(
    input: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> jax.Array:
    """The mean of each window in (C, D, H, W) or (N, C, D, H, W): `jaxpool.avg_pool`."""
    op = "avg_pool3d"
    call = _calls.avg_pool(
        op, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )
    return _arrays.pooled(call, planes(op, input, 3), 3)


@in_torchs_words
def lp_pool1d(
    input: jax.Array,
    norm_type: Any,
    kernel_size: Sizes,
    stride: Sizes = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """The p-norm of each window in (C, L) or (N, C, L): `jaxpool.lp_pool`."""
    op = "lp_pool1d"
    call = _calls.lp_pool(op, 1, norm_type, kernel_size, stride, ceil_mode)
    return _arrays.norm(op, call, planes(op, input, 1), 1)


@in_torchs_words
def lp_pool2d(
    input: jax.Array,
    norm_type: Any,
    kernel_size: Sizes,
    stride: Sizes = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """The p-norm of each window in (C, H, W) or (N, C, H, W): `jaxpool.lp_pool`."""
    op = "lp_pool2d"
    call = _calls.lp_pool(op, 2, norm_type, kernel_size, stride, ceil_mode)
    return _arrays.norm(op, call, planes(op, input, 2), 2)


@in_torchs_words
def lp_pool3d(
    input: jax.Array,
    norm_type: Any,
    kernel_size: Sizes,
    stride: Sizes = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """The p-norm of each window in (C, D, H, W) or (N, C, D, H, W): `jaxpool.lp_pool`."""
    op = "lp_pool3d"
    call = _calls.lp_pool(op, 3, norm_type, kernel_size, stride, ceil_mode)
    return _arrays.norm(op, call, planes(op, input, 3), 3)


@in_torchs_words
def adaptive_avg_pool1d(
    input: jax.Array,
    output_size: Sizes,
) -> jax.Array:
    """The mean of each bin in (C, L) or (N, C, L): `jaxpool.adaptive_avg_pool`."""
    op = "adaptive_avg_pool1d"
    call = _calls.adaptive_pool(op, 1, "avg", output_size)
    return _arrays.adaptive(call, planes(op, input, 1), 1)


@in_torchs_words
def adaptive_avg_pool2d(
    input: jax.Array,
    output_size: Sizes,
) -> jax.Array:
    """The mean of each bin in (C, H, W) or (N, C, H, W): `jaxpool.adaptive_avg_pool`."""
    op = "adaptive_avg_pool2d"
    call = _calls.adaptive_pool(op, 2, "avg", output_size)
    return _arrays.adaptive(call, planes(op, input, 2), 2)


@in_torchs_words
def adaptive_avg_pool3d(
    input: jax.Array,
    output_size: Sizes,
) -> jax.Array:
    """The mean of each bin in (C, D, H, W) or (N, C, D, H, W): `jaxpool.adaptive_avg_pool`."""
    op = "adaptive_avg_pool3d"
    call = _calls.adaptive_pool(op, 3, "avg", output_size)
    return _arrays.adaptive(call, planes(op, input, 3), 3)


@in_torchs_words
def adaptive_max_pool1d(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each bin in (C, L) or (N, C, L): `jaxpool.adaptive_max_pool`."""
    op = "adaptive_max_pool1d"
    call = _calls.adaptive_pool(op, 1, "max", output_size, return_indices)
    return _arrays.adaptive(call, planes(op, input, 1), 1)


@in_torchs_words
def adaptive_max_pool2d(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each bin in (C, H, W) or (N, C, H, W): `jaxpool.adaptive_max_pool`."""
    op = "adaptive_max_pool2d"
    call = _calls.adaptive_pool(op, 2, "max", output_size, return_indices)
    return _arrays.adaptive(call, planes(op, input, 2), 2)


@in_torchs_words
def adaptive_max_pool3d(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> jax.Array | Pair:
    """The maximum of each bin in (C, D, H, W) or (N, C, D, H, W): `jaxpool.adaptive_max_pool`."""
    op = "adaptive_max_pool3d"
    call = _calls.adaptive_pool(op, 3, "max", output_size, return_indices)
    return _arrays.adaptive(call, planes(op, input, 3), 3)


@in_torchs_words
def adaptive_max_pool1d_with_indices(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> Pair:
    """`adaptive_max_pool1d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "adaptive_max_pool1d_with_indices"
    call = _calls.adaptive_pool(op, 1, "max", output_size, True)
    return _arrays.adaptive(call, planes(op, input, 1), 1)


@in_torchs_words
def adaptive_max_pool2d_with_indices(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> Pair:
    """`adaptive_max_pool2d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "adaptive_max_pool2d_with_indices"
    call = _calls.adaptive_pool(op, 2, "max", output_size, True)
    return _arrays.adaptive(call, planes(op, input, 2), 2)


@in_torchs_words
def adaptive_max_pool3d_with_indices(
    input: jax.Array,
    output_size: Sizes,
    return_indices: bool = False,
) -> Pair:
    """`adaptive_max_pool3d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "adaptive_max_pool3d_with_indices"
    call = _calls.adaptive_pool(op, 3, "max", output_size, True)
    return _arrays.adaptive(call, planes(op, input, 3), 3)


@in_torchs_words
def fractional_max_pool2d(
    input: jax.Array,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    key: jax.Array | None = None,
) -> jax.Array | Pair:
    """The maximum of windows at places drawn by `key`: `jaxpool.fractional_max_pool`.

    `_random_samples` in its place is of shape (N, C, 2), as PyTorch has it, with width first.
    """
    op = "fractional_max_pool2d"
    call = _calls.fractional_max_pool(op, 2, kernel_size, output_size, output_ratio, return_indices)
    return _arrays.fractional(op, call, planes(op, input, 2), 2, _random_samples, key)


@in_torchs_words
def fractional_max_pool3d(
    input: jax.Array,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    key: jax.Array | None = None,
) -> jax.Array | Pair:
    """The maximum of windows at places drawn by `key`: `jaxpool.fractional_max_pool`.

    `_random_samples` in its place is of shape (N, C, 3), as PyTorch has it.
    """
    op = "fractional_max_pool3d"
    call = _calls.fractional_max_pool(op, 3, kernel_size, output_size, output_ratio, return_indices)
    return _arrays.fractional(op, call, planes(op, input, 3), 3, _random_samples, key)


@in_torchs_words
def fractional_max_pool2d_with_indices(
    input: jax.Array,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    key: jax.Array | None = None,
) -> Pair:
    """`fractional_max_pool2d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "fractional_max_pool2d_with_indices"
    call = _calls.fractional_max_pool(op, 2, kernel_size, output_size, output_ratio, True)
    return _arrays.fractional(op, call, planes(op, input, 2), 2, _random_samples, key)


@in_torchs_words
def fractional_max_pool3d_with_indices(
    input: jax.Array,
    kernel_size: Sizes,
    output_size: Sizes = None,
    output_ratio: Any = None,
    return_indices: bool = False,
    _random_samples: jax.Array | None = None,
    key: jax.Array | None = None,
) -> Pair:
    """`fractional_max_pool3d` and where each maximum is; `return_indices` is not read."""
    del return_indices
    op = "fractional_max_pool3d_with_indices"
    call = _calls.fractional_max_pool(op, 3, kernel_size, output_size, output_ratio, True)
    return _arrays.fractional(op, call, planes(op, input, 3), 3, _random_samples, key)


@in_torchs_words
def max_unpool1d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Sizes = None,
) -> jax.Array:
    """Maxima put back to where they came from, and 0 elsewhere: `jaxpool.max_unpool`."""
    op = "max_unpool1d"
    call = _calls.max_unpool(op, 1, kernel_size, stride, padding, output_size)
    return _arrays.pooled(call, planes(op, input, 1), 1, indices)


@in_torchs_words
def max_unpool2d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Sizes = None,
) -> jax.Array:
    """Maxima put back to where they came from, and 0 elsewhere: `jaxpool.max_unpool`."""
    op = "max_unpool2d"
    call = _calls.max_unpool(op, 2, kernel_size, stride, padding, output_size)
    return _arrays.pooled(call, planes(op, input, 2), 2, indices)


@in_torchs_words
def max_unpool3d(
    input: jax.Array,
    indices: jax.Array,
    kernel_size: Sizes,
    stride: Sizes = None,
    padding: Sizes = 0,
    output_size: Sizes = None,
) -> jax.Array:
    """Maxima put back to where they came from, and 0 elsewhere: `jaxpool.max_unpool`."""
    op = "max_unpool3d"
    call = _calls.max_unpool(op, 3, kernel_size, stride, padding, output_size)
    return _arrays.pooled(call, planes(op, input, 3), 3, indices)
