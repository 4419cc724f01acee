"""Blurs: low-pass filters before subsampling, fixed and given."""

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.geometry import axis_window
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, filled, parted_by_xla, pool_mask, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.window import Window, window_arguments
from jaxpool._src.lowering.weighted import weighted_sum
from jaxpool._src.lowering.windows import Windows
from jaxpool._src.reductions.max import Max

PaddingMode = Literal["reflect", "edge", "wrap", "constant"]
PADDING_MODES = ("reflect", "edge", "wrap", "constant")


@explained
def blur_pool(
    x: jax.Array,
    strides: Ints,
    *,
    filter_size: Ints = 3,
    kernel: Any = None,
    padding_mode: PaddingMode = "reflect",
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """A blurred x, subsampled: ``y[i] = sum_j k[j] * x[i*s + j - (f - 1)//2]`` along each axis.

    The kernel is binomial unless given, ``[1, 2, 1] / 4`` for a filter of 3, so that what a stride
    cannot represent is filtered out before, and a shift of x changes y little. Of the f - 1
    elements of padding the odd one is after x.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      strides: steps between outputs in elements, one for each pooled axis, or an int for all
        `axes`.
      filter_size: number of elements of the binomial kernel, an int or one per pooled axis.
      kernel: weights in place of binomial ones: an array for all pooled axes, or a sequence of one
        per axis. Its first axis is that of the filter; more axes, if any, broadcast against x, as
        in shape ``(f, channels)``. May be traced, to be learned.
      padding_mode: what lies outside x, as in ``jnp.pad``: "reflect" ``(c b | a b c d | c b)``,
        "edge" ``(a a | a b c d | d d)``, "wrap" ``(c d | a b c d | a b)`` or "constant"
        ``(0 0 | a b c d | 0 0)``.
      axes: the pooled axes, an int or one for each entry of `strides`. Default: the
        ``len(strides)`` axes just before the last, which is channels-last. All others are batch.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included, and the
        other weights of a cell grow in proportion (of their magnitudes, if some are negative), so
        that a constant stays. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with ``ceil(n / s)`` in place of n on each pooled axis; floats keep their
      dtype and are accumulated in float32 at least, others give float32.

    Raises:
      ValueError: an argument is out of range, a kernel does not fit, or x is too small for the
        padding (reflect: fewer than ``f // 2 + 1`` elements, wrap: ``f // 2``).
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the kernel, every mode, to any order. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> x = jnp.array([0., 0., 0., 4., 4., 4.])
      >>> jaxpool.blur_pool(x, 2, axes=0)
      Array([0., 1., 4.], dtype=float32)
      >>> jaxpool.blur_pool(x, 2, kernel=jnp.array([0.5, 0.5]), axes=0)
      Array([0., 2., 4.], dtype=float32)

    References:
      Zhang, Making convolutional networks shift-invariant again, 2019.
      <https://arxiv.org/abs/1904.11486>
    """
    return as_one_program(
        _blur_pool,
        x,
        strides,
        filter_size,
        kernel,
        padding_mode,
        axes,
        where,
        arguments.known(empty_value),
    )


def _blur_pool(
    x: Any,
    strides: Any,
    filter_size: Any,
    kernel: Any,
    padding_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    op = "blur_pool"
    x = arguments.array(op, x)
    steps, numbers = arguments.window_axes(op, strides, axes, "strides")
    kernels = _kernels(op, kernel, filter_size, len(numbers))
    return _blurred(op, x, steps, numbers, kernels, padding_mode, where, empty_value)


def binomial_kernel(size: int) -> np.ndarray:
    """Binomial coefficients, divided by their sum: in float32 exact up to a size of 25."""
    return np.array([math.comb(size - 1, j) / 2 ** (size - 1) for j in range(size)])


def _kernels(op: str, kernel: Any, filter_size: Any, n: int) -> list[Any]:
    """One array of weights for each of `n` axes, binomial ones unless they are given."""
    if kernel is None:
        return [binomial_kernel(k) for k in arguments.ints(op, "filter_size", filter_size, n, 1)]
    kernels = list(kernel) if isinstance(kernel, list | tuple) else [kernel] * n
    for entry in kernels:
        if not isinstance(entry, jax.Array | np.ndarray):
            raise TypeError(
                f"{op}: `kernel` must be an array, or a sequence of one array per pooled axis; got "
                f"an object of type {type(entry).__name__}. Write jnp.array(kernel)."
            )
        if not jnp.issubdtype(entry.dtype, jnp.floating):
            raise TypeError(f"{op}: `kernel` must hold floats; got kernel.dtype={entry.dtype}.")
        if entry.ndim < 1 or entry.size == 0:
            raise ValueError(
                f"{op}: `kernel` must have an element along its first axis, that of the filter; "
                f"got kernel.shape={entry.shape}."
            )
    if len(kernels) != n:
        raise ValueError(
            f"{op}: `kernel` must be one array, or {n} of them (one per pooled axis); got "
            f"{len(kernels)}."
        )
    return kernels


def filter_windows(
    op: str,
    shape: Sequence[Any],
    sizes: Sequence[int],
    strides: Sequence[int],
    axes: tuple[int, ...],
    padding_mode: Any,
) -> Windows:
    """Each pooled axis with the filter's windows, padding by half of them on both sides."""
    arguments.one_of(op, "padding_mode", padding_mode, PADDING_MODES)
    places = arguments.resolved_axes(op, axes, shape)
    arguments.no_empty_axis(op, shape, places)
    found = []
    for axis, size, stride in zip(places, sizes, strides, strict=True):
        n, widths = shape[axis], ((size - 1) // 2, size // 2)
        least = {"reflect": widths[1] + 1, "wrap": widths[1]}.get(padding_mode, 0)
        if isinstance(n, int) and n < least:
            arguments.fail(
                op,
                "padding_mode",
                f'be "edge" or "constant" for a filter of {size} along axis {axis}, since '
                f"{padding_mode!r} needs {least} elements there",
                padding_mode,
                shape=shape,
            )
        found.append((axis, axis_window(n, size, stride, 1, widths, False)))
    return tuple(found)


def _blurred(
    op: str,
    x: jax.Array,
    strides: Sequence[int],
    axes: tuple[int, ...],
    kernels: Sequence[Any],
    padding_mode: PaddingMode,
    where: Any,
    empty_value: Any,
    name: str = "kernel",
) -> jax.Array:
    """`blur_pool` of checked arguments, in the name of `op`; `name` is what kernels are from."""
    sizes = [kernel.shape[0] for kernel in kernels]
    windows = filter_windows(op, x.shape, sizes, strides, axes, padding_mode)
    weights = [
        _taps(op, name, k, x.shape, axis) for k, (axis, _) in zip(kernels, windows, strict=True)
    ]

    def compute(x: jax.Array, weights: Any, mask: jax.Array | None) -> tuple[Any, Any]:
        def blurred(x: jax.Array, weights: Any) -> jax.Array:
            laid = [(axis, w, taps) for (axis, w), taps in zip(windows, weights, strict=True)]
            for axis, w, taps in sorted(laid, key=lambda entry: -entry[0]):
                x = weighted_sum(x, taps, ((axis, w),), padding_mode)
            return x

        weights = [taps.astype(x.dtype) for taps in weights]
        if mask is None:
            return blurred(x, weights), None
        y = blurred(jnp.where(mask, x, np.zeros((), x.dtype)), weights)
        magnitudes = [jnp.abs(taps) for taps in weights]
        whole = functools.reduce(jnp.multiply, [taps.sum(0) for taps in magnitudes])
        present = blurred(mask.astype(x.dtype), magnitudes)
        filled, counted = present > 0, present
        if padding_mode == "constant":  # padding counts, as zeros
            pooled = dict(windows)
            ones = jnp.ones([n if i in pooled else 1 for i, n in enumerate(x.shape)], x.dtype)
            counted = present + (whole - blurred(ones, magnitudes))
        return y * (whole / jnp.where(filled, counted, np.ones((), x.dtype))), filled

    return fill_empty(op, compute, x, windows, weights, where, empty_value)


def fill_empty(
    op: str,
    compute: Any,
    x: jax.Array,
    windows: Windows,
    operand: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    """What `compute` makes of x, some operand and a mask; `empty_value` where it is not filled."""
    pooled = dict(windows)
    mask = arguments.mask(op, where, x.shape, list(pooled), False)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    arguments.scalar_for(op, empty_value, dtype)
    shape = tuple(pooled[i].output if i in pooled else n for i, n in enumerate(x.shape))
    fill = empty_value if isinstance(empty_value, jax.Array) else None

    def cast(x: jax.Array, operand: Any, mask: Any, fill: Any) -> jax.Array:
        y, some = compute(x.astype(accumulator(dtype)), operand, mask)
        y = y.astype(dtype)
        if some is not None:
            y = filled(y, some, empty_value if fill is None else fill)
        contracts.assert_shape(y, shape)
        return y

    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(cast, shape, range(x.ndim), x, operand, mask, fill)


def _taps(op: str, name: str, kernel: Any, shape: Sequence[Any], axis: int) -> jax.Array:
    """A kernel's entries in the rank of x, checked to broadcast against x along batch axes."""
    rest = (1,) * (len(shape) - kernel.ndim + 1) + kernel.shape[1:]
    fits = len(rest) == len(shape) and all(
        k == 1 or (k == n and i != axis) for i, (k, n) in enumerate(zip(rest, shape, strict=True))
    )
    if not fits:
        given = kernel.shape[1:] if name == "sigma" else kernel.shape
        but = "" if name == "sigma" else " but for its first axis, that of the filter,"
        raise ValueError(
            f"{op}: `{name}` must{but} broadcast against x, with size 1 along axis {axis}; got "
            f"{name}.shape={given} for x.shape={tuple(shape)}."
        )
    return jnp.asarray(kernel).reshape(kernel.shape[0], *rest)


@explained
def max_blur_pool(
    x: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    filter_size: Ints = 3,
    kernel: Any = None,
    padding_mode: PaddingMode = "reflect",
) -> jax.Array:
    """The maximum of each window at every place, blurred and subsampled: anti-aliased max pooling.

    Equal to ``blur_pool(max_pool(x, window_shape, 1, padding, ...), strides, ...)``. So `padding`
    is that of the maximum, in which it never wins, and since the maximum has stride 1, ceil mode
    changes nothing.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(-inf -inf | a b c d | -inf -inf)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      filter_size: number of elements of the binomial kernel, an int or one per pooled axis.
      kernel: weights in place of binomial ones, as in `blur_pool`.
      padding_mode: what the blur finds outside the maxima, as in `blur_pool`.

    Returns:
      Array of x's shape with ``ceil(m / s)`` on each pooled axis, where m is the number of windows
      at stride 1, ``n + low + high - d*(k-1)``; floats keep their dtype and are accumulated in
      float32 at least, others give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, a
        window lies wholly in padding, or there are too few maxima for the blur's padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the kernel, every mode, to any order. That of a maximum goes to the first, as in
      `max_pool`. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([0., 0., 8., 0., 0., 0.])
      >>> jaxpool.max_blur_pool(x, 2, axes=0)
      Array([4., 6., 0.], dtype=float32)

    References:
      Zhang, Making convolutional networks shift-invariant again, 2019.
      <https://arxiv.org/abs/1904.11486>
    """
    return as_one_program(
        _max_blur_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        arguments.known(empty_value),
        filter_size,
        kernel,
        padding_mode,
    )


def _max_blur_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    filter_size: Any,
    kernel: Any,
    padding_mode: Any,
) -> jax.Array:
    op = "max_blur_pool"
    x = arguments.array(op, x)
    fields = window_arguments(op, window_shape, strides, padding, dilation, ceil_mode, axes)
    steps, numbers = fields["strides"], fields["axes"]
    kernels = _kernels(op, kernel, filter_size, len(numbers))
    domain = Window(**{**fields, "strides": (1,) * len(numbers)})
    maxima = run(op, x, domain, Max(), where, 0)
    mask = arguments.mask(op, where, x.shape, domain.pooled_axes(x.ndim), False)
    mask = None if mask is None else pool_mask(mask, domain)
    return _blurred(op, maxima, steps, numbers, kernels, padding_mode, mask, empty_value)


@explained
def gaussian_pool(
    x: jax.Array,
    strides: Ints,
    *,
    filter_size: Ints,
    sigma: Any = 0.4,
    padding_mode: PaddingMode = "reflect",
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """A mean with Gaussian weights, subsampled: `blur_pool` by a bell of any width.

    The weights ``exp(-t**2 / 2)`` are divided by their sum, where t, the distance from the middle
    of the filter, is in units of `sigma` times half of the filter, ``(f - 1)/2``. So at a sigma of
    0.4, LEAF's first one, the ends of the filter are 2.5 standard deviations away. LEAF pads with
    zeros and does not divide by the sum.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      strides: steps between outputs in elements, one for each pooled axis, or an int for all
        `axes`.
      filter_size: number of elements of the kernel, an int or one per pooled axis.
      sigma: standard deviation as a part of half of the filter, a number > 0, or an array that
        broadcasts against x with size 1 along pooled axes, such as one with an entry per channel.
        May be traced, to be learned.
      padding_mode: what lies outside x, as in ``jnp.pad``: "reflect" ``(c b | a b c d | c b)``,
        "edge" ``(a a | a b c d | d d)``, "wrap" ``(c d | a b c d | a b)`` or "constant"
        ``(0 0 | a b c d | 0 0)``.
      axes: the pooled axes, an int or one for each entry of `strides`. Default: the
        ``len(strides)`` axes just before the last, which is channels-last. All others are batch.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included, and the
        other weights of a cell grow in proportion, so that a constant stays. Default: everything
        takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with ``ceil(n / s)`` in place of n on each pooled axis; floats keep their
      dtype and are accumulated in float32 at least, others give float32.

    Raises:
      ValueError: an argument is out of range, or x is too small for the padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in sigma, every mode, to any order. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> x = jnp.array([0., 0., 4., 4., 0., 0.])
      >>> jaxpool.gaussian_pool(x, 2, filter_size=5, sigma=0.5, axes=0).round(3)
      Array([0.43600002, 2.5870001 , 1.195     ], dtype=float32)

    References:
      Zeghidour et al., LEAF: A learnable frontend for audio classification, 2021.
      <https://arxiv.org/abs/2101.08596>
    """
    op = "gaussian_pool"
    arguments.check_array(op, x)
    steps, numbers = arguments.window_axes(op, strides, axes, "strides")
    sizes = arguments.ints(op, "filter_size", filter_size, len(numbers), 1)
    parameters.positive(op, "sigma", sigma)
    options = (steps, numbers, sizes, sigma, padding_mode, where, arguments.known(empty_value))
    return as_one_program(_gaussian_pool, x, *options)


def _gaussian_pool(
    x: Any,
    steps: Any,
    numbers: Any,
    sizes: Any,
    sigma: Any,
    padding_mode: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    op, x = "gaussian_pool", jnp.asarray(x)
    dtype = accumulator(x.dtype)
    kernels = [_bell(size, jnp.asarray(sigma).astype(dtype)) for size in sizes]
    return _blurred(op, x, steps, numbers, kernels, padding_mode, where, empty_value, "sigma")


def _bell(size: int, sigma: jax.Array) -> jax.Array:
    """Gaussian weights along a first axis, before those of sigma."""
    half = (size - 1) / 2
    places = (np.arange(size) - half) / max(half, 1)
    places = places.reshape(size, *[1] * sigma.ndim).astype(sigma.dtype)
    # By softmax, and beyond the middle: a small sigma leaves that and not 0/0.
    beyond = places**2 - (places**2).min()
    return jax.nn.softmax(-0.5 * (beyond / sigma[None]) / sigma[None], axis=0)
