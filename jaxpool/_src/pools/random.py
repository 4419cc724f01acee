"""Pools that draw by chance, of windows and of whole axes."""

from typing import Any

import jax

from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import window_pool
from jaxpool._src.reductions.random import DroppedMax, Per, RandomMixed, RankStochastic, Stochastic


@explained
def stochastic_pool(
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
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """An element of each window, drawn with probabilities proportional to them: ``p = x / sum x``.

    For x that is not negative, as after a ReLU: what is not positive is never drawn, and a window
    without positive elements gives 0. Each window is drawn for itself, with one random number.

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
      key: what is drawn with, for each cell independently of all others. Under `jax.vmap`, map
        over keys too, or all examples draw alike.
      deterministic: whether to give the expectation instead, ``sum(x^2) / sum(x)``, as for
        evaluation; then no key is needed.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient goes to the element that is drawn, as if probabilities
      were constants; of the expectation it is that of the quotient. It is 0 in windows without
      positive elements.

    Example:
      >>> x = jnp.array([0., 3., 0., 0.])
      >>> jaxpool.stochastic_pool(x, 2, axes=0, key=jax.random.key(0))
      Array([3., 0.], dtype=float32)

    References:
      Zeiler and Fergus, Stochastic pooling for regularization of deep convolutional neural
      networks, 2013. <https://arxiv.org/abs/1301.3557>
    """
    return window_pool(
        "stochastic_pool",
        x,
        Stochastic(key, deterministic),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def global_stochastic_pool(
    x: jax.Array,
    axes: Ints,
    *,
    keepdims: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """An element of whole axes, drawn with probabilities proportional to them: ``p = x / sum x``.

    As `stochastic_pool` with a window as large as the input. Elements are passed one after the
    other, so pool with windows first if there are very many.

    Args:
      x: array with at least the axes that are pooled.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      keepdims: whether pooled axes stay, with size 1.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      key: what is drawn with, for each cell independently of all others. Under `jax.vmap`, map
        over keys too, or all examples draw alike.
      deterministic: whether to give the expectation instead, ``sum(x^2) / sum(x)``, as for
        evaluation; then no key is needed.

    Returns:
      Array of x's shape without the pooled axes, or with size 1 there; floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient goes to the element that is drawn, as if probabilities
      were constants; of the expectation it is that of the quotient. It is 0 in cells without
      positive elements.

    Example:
      >>> jaxpool.global_stochastic_pool(jnp.array([1., 3.]), axes=0, deterministic=True)
      Array(2.5, dtype=float32)

    References:
      Zeiler and Fergus, Stochastic pooling for regularization of deep convolutional neural
      networks, 2013. <https://arxiv.org/abs/1301.3557>
    """
    return global_pool(
        "global_stochastic_pool",
        x,
        Stochastic(key, deterministic),
        axes,
        keepdims,
        where,
        empty_value,
    )


@explained
def rank_stochastic_pool(
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
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """An element of each window, drawn by rank: the largest but r with ``p ~ alpha*(1 - alpha)^r``.

    Probabilities are of sum 1 in each window. Of any sign, unlike `stochastic_pool`. The number of
    comparisons is the square of the window's size.

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
      alpha: how much of the probability that is left each rank takes, a number above 0 up to 1, or
        a scalar array. Of 1, this is `max_pool`.
      key: what is drawn with, for each cell independently of all others. Under `jax.vmap`, map
        over keys too, or all examples draw alike.
      deterministic: whether to give the expectation instead, as for evaluation; then no key is
        needed.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient goes to the element that is drawn; that of the
      expectation is the probability of each. Of equal elements the first has the lower rank.

    Example:
      >>> x = jnp.array([3., 6., 1., -5.])
      >>> jaxpool.rank_stochastic_pool(x, 2, axes=0, deterministic=True)
      Array([ 5., -1.], dtype=float32)

    References:
      Shi, Ye and Wu, Rank-based pooling for deep convolutional neural networks, 2016.
      <https://doi.org/10.1016/j.neunet.2016.07.003>
    """
    return window_pool(
        "rank_stochastic_pool",
        x,
        RankStochastic(alpha, key, deterministic),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def max_pool_dropout(
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
    rate: Any = 0.5,
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """The maximum of what is left of each window after elements are dropped by chance.

    Of n elements in ascending order, it is number j with probability ``(1 - rate)*rate^(n - j)``,
    and 0 if all are dropped. Where windows overlap, what one of them drops the others do too.

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
      rate: probability with which an element is dropped, from 0 to 1, or a scalar array.
      key: what is drawn with, for each element of x independently of all others. Under `jax.vmap`,
        map over keys too, or all examples draw alike.
      deterministic: whether to give the expectation instead, as for evaluation; then no key is
        needed. The number of comparisons is the square of the window's size.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient goes to the maximum of what is left, and is 0 if
      nothing is; that of the expectation is the probability of each element.

    Example:
      >>> x = jnp.array([4., 8., 1., 2.])
      >>> jaxpool.max_pool_dropout(x, 2, axes=0, rate=0.5, deterministic=True)
      Array([5.  , 1.25], dtype=float32)

    References:
      Wu and Gu, Max-pooling dropout for regularization of convolutional neural networks, 2015.
      <https://arxiv.org/abs/1512.01400>
    """
    return window_pool(
        "max_pool_dropout",
        x,
        DroppedMax(rate, key, deterministic),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )


@explained
def random_mixed_pool(
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
    per: Per = "map",
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """The maximum or the mean of windows, as drawn: the maximum with probability `alpha`.

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
      alpha: the probability of the maximum, from 0 to 1: a number, or an array that broadcasts to
        the result.
      count_include_pad: whether declared padding counts as zeros in the mean.
      per: what is drawn for: "call", once for all; "map", for each index of the axes that are not
        pooled; "cell", for each window.
      key: what is drawn with. Under `jax.vmap`, map over keys too, or all examples draw alike.
      deterministic: whether to give the expectation instead, which is `mixed_pool`, as for
        evaluation; then no key is needed.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (means are accumulated in float32 at least), ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `max_pool` or of `avg_pool`, as drawn.

    Example:
      >>> x = jnp.array([1., 3., 2., 6.])
      >>> jaxpool.random_mixed_pool(x, 2, axes=0, deterministic=True)
      Array([2.5, 5. ], dtype=float32)

    References:
      Yu, Wang, Chen and Wei, Mixed pooling for convolutional neural networks, 2014.
      <https://doi.org/10.1007/978-3-319-11740-9_34>
    """
    return window_pool(
        "random_mixed_pool",
        x,
        RandomMixed(alpha, count_include_pad, per, key, deterministic),
        (window_shape, strides, padding, dilation, ceil_mode, axes),
        where,
        empty_value,
    )
