"""Maximum and minimum with the positions that they come from."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, all_parted_along, filled, misfits_named
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global, global_arguments
from jaxpool._src.domains.window import Window, window_arguments
from jaxpool._src.reductions.max import Max, Min


@explained
def max_pool_with_argmax(
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
) -> tuple[jax.Array, jax.Array]:
    """The maximum of each window, and where in the input it is.

    Values are those of `max_pool`. An index is the row-major position of the value among the pooled
    axes of the input without padding (PyTorch's convention; `convert_indices` gives others), of
    equal values the first, of NaNs the last. In a cell with nothing in it the index is -1.

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

    Returns:
      (values, indices), both of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place
      of n on each pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); the dtype
      of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, a window
        lies wholly in padding, or the pooled axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `max_pool`: every mode, to any order. Indices have none.

    Example:
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.max_pool_with_argmax(x, 2, axes=0)
      (Array([3., 5.], dtype=float32), Array([0, 3], dtype=int32))

    References:
      Zeiler, Taylor and Fergus, Adaptive deconvolutional networks for mid and high level feature
      learning, 2011. <https://doi.org/10.1109/ICCV.2011.6126474>
    """
    domain = Window(
        **window_arguments(
            "max_pool_with_argmax", window_shape, strides, padding, dilation, ceil_mode, axes
        )
    )
    return with_indices("max_pool_with_argmax", x, domain, Max(), where, empty_value)


@explained
def min_pool_with_argmin(
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
) -> tuple[jax.Array, jax.Array]:
    """The minimum of each window, and where in the input it is.

    Values are those of `min_pool`. An index is the row-major position of the value among the pooled
    axes of the input without padding (PyTorch's convention; `convert_indices` gives others), of
    equal values the first, of NaNs the last. In a cell with nothing in it the index is -1.

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

    Returns:
      (values, indices), both of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place
      of n on each pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); the dtype
      of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, a window
        lies wholly in padding, or the pooled axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `min_pool`: every mode, to any order. Indices have none.

    Example:
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.min_pool_with_argmin(x, 2, axes=0)
      (Array([1., 2.], dtype=float32), Array([1, 2], dtype=int32))

    References:
      Zeiler, Taylor and Fergus, Adaptive deconvolutional networks for mid and high level feature
      learning, 2011. <https://doi.org/10.1109/ICCV.2011.6126474>
    """
    domain = Window(
        **window_arguments(
            "min_pool_with_argmin", window_shape, strides, padding, dilation, ceil_mode, axes
        )
    )
    return with_indices("min_pool_with_argmin", x, domain, Min(), where, empty_value)


@explained
def global_max_pool_with_argmax(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, jax.Array]:
    """The maximum over whole axes, and where in the input it is.

    Values are those of `global_max_pool`, indices as in `max_pool_with_argmax`.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      (values, indices), both of x's shape without the pooled axes, or with size 1 there; the dtype
      of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, a pooled axis is missing or empty, or the pooled
        axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `global_max_pool`: every mode, to any order. Indices have none.

    Example:
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.global_max_pool_with_argmax(x, axes=0)
      (Array(5., dtype=float32), Array(3, dtype=int32))

    References:
      Oquab et al., Is object localization for free?, 2015.
      <https://openaccess.thecvf.com/content_cvpr_2015/html/Oquab_Is_Object_Localization_2015_CVPR_paper.html>
    """
    domain = Global(**global_arguments("global_max_pool_with_argmax", axes, keepdims))
    return with_indices("global_max_pool_with_argmax", x, domain, Max(), where, empty_value)


@explained
def global_min_pool_with_argmin(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, jax.Array]:
    """The minimum over whole axes, and where in the input it is.

    Values are those of `global_min_pool`, indices as in `min_pool_with_argmin`.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      (values, indices), both of x's shape without the pooled axes, or with size 1 there; the dtype
      of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, a pooled axis is missing or empty, or the pooled
        axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `global_min_pool`: every mode, to any order. Indices have none.

    Example:
      >>> x = jnp.array([3., 1., 2., 5.])
      >>> jaxpool.global_min_pool_with_argmin(x, axes=0)
      (Array(1., dtype=float32), Array(1, dtype=int32))

    References:
      Oquab et al., Is object localization for free?, 2015.
      <https://openaccess.thecvf.com/content_cvpr_2015/html/Oquab_Is_Object_Localization_2015_CVPR_paper.html>
    """
    domain = Global(**global_arguments("global_min_pool_with_argmin", axes, keepdims))
    return with_indices("global_min_pool_with_argmin", x, domain, Min(), where, empty_value)


def with_indices(
    op: str, x: Any, domain: Domain, reduction: Max | Min, where: Any, empty_value: Any
) -> tuple[jax.Array, jax.Array]:
    """Values and indices, which share the comparisons that both are made of."""
    arguments.check_array(op, x)
    empty_value = arguments.known(empty_value)
    return as_one_program(_with_indices, op, x, domain, reduction, where, empty_value)


def _with_indices(
    op: str, x: Any, domain: Domain, reduction: Max | Min, where: Any, empty_value: Any
) -> tuple[jax.Array, jax.Array]:
    x = jnp.asarray(x)
    domain.check(op, x.shape)
    axes = domain.pooled_axes(x.ndim)
    sizes = [x.shape[axis] for axis in axes]
    if all(isinstance(n, int) for n in sizes) and np.prod(sizes, dtype=object) > 2**31 - 1:
        raise ValueError(
            f"{op}: `x` must have at most 2**31 - 1 elements on its pooled axes, since indices are "
            f"int32; got x.shape={x.shape} with pooled axes {axes}."
        )
    mask = domain.inside(x.shape, arguments.mask(op, where, x.shape, axes, weights=False))

    def compute(x: jax.Array, mask: Any, domain: Domain, reduction: Max | Min, fill: Any) -> Any:
        wide = x.astype(reduction.accumulate_dtype(x.dtype))
        with misfits_named(op):
            y, indices = reduction.with_argument(wide, domain, mask)
        y = y.astype(x.dtype)
        arguments.scalar_for(op, empty_value, y.dtype)
        if mask is not None or domain.can_be_empty(x.shape):
            some = domain.count(x.shape, mask) > 0
            y = filled(y, some, empty_value if fill is None else fill)
            indices = filled(indices, some, -1)
        for found, dtype in ((y, x.dtype), (indices, np.int32)):
            contracts.assert_shape(found, shape)
            contracts.assert_type(found, dtype)
        return y, indices

    shape = domain.output_shape(x.shape)
    kept = [i for i in range(x.ndim) if len(shape) == x.ndim or i not in axes]
    layout = shape, [(x, axis) for axis in kept]
    fill = empty_value if isinstance(empty_value, jax.Array) else None
    with jax.named_scope(f"jaxpool.{op}"):
        return all_parted_along(compute, [layout] * 2, x, mask, domain, reduction, fill)
