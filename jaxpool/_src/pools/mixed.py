"""Maximum and mean mixed: by a number, by a gate, and by a tree of filters."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import (
    Global,
    channel_after,
    global_arguments,
    global_pool,
)
from jaxpool._src.domains.window import Window, window_arguments, window_pool
from jaxpool._src.reductions.mixed import Gated, Mixed, Tree


@explained
def mixed_pool(
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
    alpha: Any = 0.5,
    count_include_pad: bool = True,
) -> jax.Array:
    """Maximum and mean of each window, mixed: ``y = alpha * max + (1 - alpha) * mean``.

    With `alpha` 0 this is `avg_pool`, with 1 `max_pool`. To learn it, see
    `jaxpool.nnx.LearnedMixedPool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      alpha: the part of the maximum, from 0 to 1: a number, or an array that broadcasts to the
        result, for example with an entry for each channel. May be traced.
      count_include_pad: whether declared padding counts as zeros in the mean.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (means are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `max_pool` and of `avg_pool`. A traced `alpha` has one too.

    Example:
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.mixed_pool(x, 2, axes=0, alpha=0.5)
      Array([2.5, 5. ], dtype=float32)

    References:
      Lee, Gallagher and Tu, Generalizing pooling functions in convolutional neural networks: mixed,
      gated, and tree, 2016. <https://arxiv.org/abs/1509.08985>
    """
    return window_pool(
        "mixed_pool",
        x,
        Mixed(alpha, count_include_pad),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def gated_pool(
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
    gate: jax.Array,
    count_include_pad: bool = True,
) -> jax.Array:
    """Maximum and mean of each window, mixed by what is in it: ``alpha = sigmoid(sum(gate * x))``.

    As `mixed_pool` with an `alpha` for each cell. To learn the gate, see
    `jaxpool.nnx.LearnedGatedPool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      gate: filter to look at windows with: an array of the window's shape, or one that broadcasts
        to x but for window sizes along pooled axes, for example with an entry for each channel
        last. Zeros make the mean of maximum and mean.
      count_include_pad: whether declared padding counts as zeros in the mean.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and `gate`. Elements that are infinite or NaN give `gate` no
      slope, and are not read where `gate` is 0.

    Example:
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.gated_pool(x, 2, axes=0, gate=jnp.zeros(2))
      Array([2.5, 5. ], dtype=float32)

    References:
      Lee, Gallagher and Tu, Generalizing pooling functions in convolutional neural networks: mixed,
      gated, and tree, 2016. <https://arxiv.org/abs/1509.08985>
    """
    return as_one_program(
        _gated_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        arguments.known(empty_value),
        gate,
        count_include_pad,
    )


def _gated_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    gate: Any,
    count_include_pad: Any,
) -> jax.Array:
    op = "gated_pool"
    x = arguments.array(op, x)
    window = window_arguments(op, *(window_shape, strides, padding, dilation, ceil_mode, axes))
    arguments.flag(op, "count_include_pad", count_include_pad)
    gate = parameters.kernel(op, "gate", gate, window["window_shape"], window["axes"], x.shape)
    reduction = Gated(gate, count_include_pad)
    return run(op, x, Window(**window), reduction, where, empty_value)


@explained
def tree_pool(
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
    leaves: jax.Array,
    gates: jax.Array,
) -> jax.Array:
    """Filters of each window at the leaves of a binary tree, mixed upwards by gates.

    A leaf is ``sum(leaf * x)``; an inner node with the children f and g is ``s*f + (1 - s)*g``
    where ``s = sigmoid(sum(gate * x))``. To learn them, see `jaxpool.nnx.LearnedTreePool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      leaves: filters of the leaves, from left to right along a first axis, in any number. Each is
        an array of the window's shape, or one that broadcasts to x but for window sizes along
        pooled axes, for example with an entry for each channel last.
      gates: filters of the inner nodes, one fewer, likewise. In level order: the root is the first,
        and node i has the nodes 2i + 1 and 2i + 2 below it, where leaves count on after the gates.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x, `leaves` and `gates`. Elements that are infinite or NaN give
      filters no slope, and are not read where a filter is 0.

    Example:
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> leaves = jnp.array([[0.5, 0.5], [0., 1.]])
      >>> jaxpool.tree_pool(x, 2, axes=0, leaves=leaves, gates=jnp.zeros((1, 2)))
      Array([2.5, 5. ], dtype=float32)

    References:
      Lee, Gallagher and Tu, Generalizing pooling functions in convolutional neural networks: mixed,
      gated, and tree, 2016. <https://arxiv.org/abs/1509.08985>
    """
    return as_one_program(
        _tree_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        arguments.known(empty_value),
        leaves,
        gates,
    )


def _tree_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    leaves: Any,
    gates: Any,
) -> jax.Array:
    op = "tree_pool"
    x = arguments.array(op, x)
    window = window_arguments(op, *(window_shape, strides, padding, dilation, ceil_mode, axes))
    sizes, along = window["window_shape"], window["axes"]
    leaves = parameters.kernel(op, "leaves", leaves, sizes, along, x.shape, several=True)
    gates = parameters.kernel(op, "gates", gates, sizes, along, x.shape, several=True)
    if len(gates) != len(leaves) - 1:
        raise ValueError(
            f"{op}: `gates` must have one entry fewer than `leaves`; got {len(gates)} for "
            f"{len(leaves)}."
        )
    return run(op, x, Window(**window), Tree(leaves, gates), where, empty_value)


@explained
def global_avgmax_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    alpha: Any = 0.5,
) -> jax.Array:
    """Maximum and mean over whole axes, mixed: ``alpha * max + (1 - alpha) * mean``.

    By default half of each. Equal to `mixed_pool` with a window as large as the input.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      alpha: the part of the maximum, from 0 to 1: a number, or an array that broadcasts to the
        result, for example with an entry for each channel. May be traced.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (means are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `global_max_pool` and of `global_avg_pool`. A traced
      `alpha` has one too.

    Example:
      >>> jaxpool.global_avgmax_pool(jnp.array([1., 2., 6.]), axes=0)
      Array(4.5, dtype=float32)

    References:
      Lee, Gallagher and Tu, Generalizing pooling functions in convolutional neural networks: mixed,
      gated, and tree, 2016. <https://arxiv.org/abs/1509.08985>
    """
    return global_pool("global_avgmax_pool", x, Mixed(alpha), axes, keepdims, where, empty_value)


@explained
def global_catavgmax_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    channel_axis: int = -1,
) -> jax.Array:
    """Mean and maximum over whole axes, one after the other along the channels.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      channel_axis: the axis of x along which maxima follow means, not a pooled one.

    Returns:
      Array of x's shape with twice as many channels, without the pooled axes, or with size 1 there;
      floats keep their dtype (means are accumulated in float32 at least), ints and bools give
      float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `global_avg_pool` and of `global_max_pool`.

    Example:
      >>> x = jnp.array([[1., 5.], [3., 7.]])
      >>> jaxpool.global_catavgmax_pool(x, axes=0)
      Array([2., 6., 3., 7.], dtype=float32)

    References:
      Howard and Ruder, Universal language model fine-tuning for text classification, 2018.
      <https://arxiv.org/abs/1801.06146>
    """
    return as_one_program(
        _global_catavgmax_pool,
        x,
        axes,
        keepdims,
        where,
        arguments.known(empty_value),
        channel_axis,
    )


def _global_catavgmax_pool(
    x: Any, axes: Any, keepdims: Any, where: Any, empty_value: Any, channel_axis: Any
) -> jax.Array:
    op = "global_catavgmax_pool"
    x = arguments.array(op, x)
    domain = Global(**global_arguments(op, axes, keepdims))
    domain.check(op, x.shape)
    channel = channel_after(op, channel_axis, x.shape, domain)
    parts = [run(op, x, domain, kind, where, empty_value) for kind in (Mixed(0), Mixed(1))]
    return jnp.concatenate(parts, channel)
