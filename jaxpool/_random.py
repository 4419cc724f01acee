"""Pools that draw what they return. Each takes a key, and an expectation's place for evaluation."""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool import _arguments
from jaxpool._arguments import Ints, Padding
from jaxpool._global import global_pool
from jaxpool._lowering import along
from jaxpool._lowering_intervals import shifted_entries
from jaxpool._max import Max
from jaxpool._mean import Mean
from jaxpool._mixed import Mixed
from jaxpool._pool import Domain, Reduction, pool_mask, run
from jaxpool._program import as_one_program
from jaxpool._soft import LinearSoftmax
from jaxpool._window import Window, window_arguments, window_pool

# Windows of more elements are ranked in a loop: to rank one element is to compare it with all.
_RANKED_AT_ONCE = 9


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stochastic(Reduction):
    """One of a cell's elements, drawn with probabilities proportional to them.

    What is not positive is never drawn; a cell without positive elements gives 0.

    Args:
      key: what is drawn with, for each cell independently of all others; None if `deterministic`.
      deterministic: whether to give the expectation, ``sum(x^2) / sum(x)``, as for evaluation.

    Raises:
      ValueError: when used, if `key` is missing.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([1., 3., 0., 0.])
      >>> test = jaxpool.Stochastic(deterministic=True)
      >>> jaxpool.pool(x, jaxpool.Window(2, axes=0), test)
      Array([2.5, 0. ], dtype=float32)
    """

    key: Any = None
    deterministic: bool = dataclasses.field(default=False, metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if self.deterministic:
            return LinearSoftmax()(_weight(x), domain, where)
        sample = jax.random.uniform(self.key, domain.output_shape(x.shape), x.dtype)
        total, drawn = _drawn(lax.stop_gradient(x), sample, domain, where)
        return jnp.where(jnp.isfinite(total), domain.pick(x, drawn), total)


def _weight(x: jax.Array) -> jax.Array:
    """What is positive, and NaN."""
    return jnp.where(x <= 0, np.zeros((), x.dtype), x)


def _drawn(
    x: jax.Array, sample: jax.Array, domain: Domain, where: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Sum of each cell's weights, and the number of the element at which `sample` of it is passed.

    One random number for each cell is enough for any number of elements. -1 if no weight is
    positive.
    """
    nothing = jnp.zeros(sample.shape, x.dtype)
    # As the second pass adds, and on CPUs in one loop with it.
    total = domain.scan(lambda total, e, _: total + _weight(e), nothing, x, where)
    threshold = sample * total

    def step(state: Any, element: jax.Array, number: Any) -> Any:
        before, drawn = state
        weight = _weight(element)
        # The last one that begins below the threshold, whatever products are rounded to.
        drawn = jnp.where((weight > 0) & (before <= threshold), number, drawn)
        return before + weight, drawn

    nowhere = jnp.full(sample.shape, -1, np.int32)
    return total, domain.scan(step, (nothing, nowhere), x, where)[1]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RankStochastic(Reduction):
    """One of a cell's elements, the one of rank r (0 the largest) with ``p ~ alpha (1-alpha)^r``.

    Args:
      alpha: how much of the probability that is left each rank takes, a number above 0 up to 1,
        or a scalar array.
      key: what is drawn with, for each cell independently of all others; None if `deterministic`.
      deterministic: whether to give the expectation, as for evaluation.

    Raises:
      ValueError: when used, if `key` is missing or `alpha` out of range.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> test = jaxpool.RankStochastic(0.5, deterministic=True)
      >>> jaxpool.pool(jnp.array([3., 6.]), jaxpool.Global(0), test)
      Array(5., dtype=float32)
    """

    alpha: Any = 0.5
    key: Any = None
    deterministic: bool = dataclasses.field(default=False, metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.fraction(op, "alpha", self.alpha, positive=True, scalar=True)
        _arguments.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        alpha = jnp.asarray(self.alpha).astype(x.dtype)
        # Of a small alpha, 1 - alpha is 1. That of 1 would have an infinite slope.
        log = jnp.where(alpha < 1, jnp.log1p(-jnp.where(alpha < 1, alpha, 0)), -np.inf)
        largest = domain.max(x, where)
        count = jnp.broadcast_to(domain.count(x.shape, where).astype(x.dtype), largest.shape)
        # The probability of all ranks that there are.
        passed = -jnp.expm1(jnp.maximum(count, 1) * log)
        if self.deterministic:
            y = _sum_by_rank(x, alpha, domain, where) / passed
        else:
            sample = jax.random.uniform(self.key, largest.shape, x.dtype)
            rank = jnp.floor(jnp.log1p(-sample * passed) / log).astype(np.int32)
            rank = jnp.clip(rank, 0, jnp.maximum(count.astype(np.int32) - 1, 0))
            y = domain.pick(x, _of_rank(lax.stop_gradient(x), rank, domain, where))
        return jnp.where(jnp.isnan(largest), largest, y)


def _rank(
    value: jax.Array, number: Any, x: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """How many elements of each cell come before one of its own, the largest first.

    Of equal elements, the first does.
    """

    def step(count: jax.Array, other: jax.Array, place: Any) -> jax.Array:
        before = (other > value) | ((other == value) & (place < number))
        return count + before.astype(np.int32)

    nothing = jnp.zeros(value.shape, np.int32)
    return domain.scan(step, nothing, x, where, at_once=_RANKED_AT_ONCE)


def _of_rank(x: jax.Array, rank: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
    """Number of each cell's element of that rank, -1 if there is none."""

    def step(found: jax.Array, element: jax.Array, number: Any) -> jax.Array:
        return jnp.where(_rank(element, number, x, domain, where) == rank, number, found)

    nowhere = jnp.full(rank.shape, -1, np.int32)
    return domain.scan(step, nowhere, x, where, at_once=_RANKED_AT_ONCE)


def _sum_by_rank(
    x: jax.Array, alpha: jax.Array, domain: Domain, where: jax.Array | None
) -> jax.Array:
    """Sum of each cell's elements, each times ``alpha * (1 - alpha)^rank``."""
    if where is not None:
        x = jnp.where(where, x, np.zeros((), x.dtype))
    shape = domain.output_shape(x.shape)

    def total(x: jax.Array, alpha: jax.Array) -> jax.Array:
        fixed, zero, one = lax.stop_gradient(x), np.zeros((), x.dtype), np.ones((), x.dtype)

        def step(total: jax.Array, element: Any, number: Any) -> jax.Array:
            rank = _rank(element[1], number, fixed, domain, where).astype(x.dtype)
            # The power of 0 has no slope that is finite, and no infinity times 0 is a number.
            power = jnp.where(rank == 0, one, (one - alpha) ** jnp.maximum(rank, one))
            weight = alpha * power
            # No weight times infinity is NaN.
            there = (weight > 0) | jnp.isfinite(element[0])
            return total + jnp.where(there, weight * element[0], zero)

        state = jnp.zeros(shape, x.dtype)
        return domain.scan(step, state, (x, fixed), where, at_once=_RANKED_AT_ONCE)

    return jax.checkpoint(total)(x, alpha)  # else the weights of all elements would be kept


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class DroppedMax(Reduction):
    """The maximum of what is left of a cell after each element is dropped with some probability."""

    rate: Any
    key: Any
    deterministic: bool = dataclasses.field(metadata={"static": True})

    def check(self, op: str) -> None:
        _arguments.fraction(op, "rate", self.rate, scalar=True)
        _arguments.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        rate = jnp.asarray(self.rate).astype(x.dtype)
        if self.deterministic:
            largest = domain.max(x, where)
            y = _sum_by_rank(x, 1 - rate, domain, where)
            return jnp.where(jnp.isnan(largest), largest, y)
        kept = jax.random.bernoulli(self.key, 1 - rate, x.shape)
        kept = kept if where is None else kept & where
        some = domain.count(x.shape, kept) > 0
        return jnp.where(some, domain.max(x, kept), np.zeros((), x.dtype))


Per = Literal["call", "map", "cell"]
_PER = ("call", "map", "cell")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomMixed(Reduction):
    """The maximum or the mean of a cell, as drawn."""

    alpha: Any
    count_include_pad: bool = dataclasses.field(metadata={"static": True})
    per: Per = dataclasses.field(metadata={"static": True})
    key: Any
    deterministic: bool = dataclasses.field(metadata={"static": True})

    def check(self, op: str) -> None:
        Mixed(self.alpha, self.count_include_pad).check(op)
        _arguments.one_of(op, "per", self.per, _PER)
        _arguments.key(op, self.key, self.deterministic)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if self.deterministic:
            return Mixed(self.alpha, self.count_include_pad)(x, domain, where)
        mean = Mean(self.count_include_pad)(x, domain, where)
        shape = [1] * mean.ndim if self.per == "call" else list(mean.shape)
        if self.per == "map" and mean.ndim == x.ndim:
            for axis in domain.pooled_axes(x.ndim):
                shape[axis] = 1
        alpha = _arguments.spread("alpha", self.alpha, mean)
        is_max = jax.random.uniform(self.key, shape, x.dtype) < alpha
        is_max = jnp.broadcast_to(is_max, mean.shape)
        return jnp.where(is_max, domain.max(x, where), mean)


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


def s3_pool(
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
    grid: Ints | None = None,
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """The maximum of windows at stride 1, of which rows and columns are kept at random.

    Along each pooled axis the maxima are parted into strips of `grid`, and one in `strides` of a
    strip is kept, in order and the same for all maps.

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
      grid: length of strips, a multiple of the stride, an int or one per pooled axis. Default: the
        strides, so that each cell is one of a block of maxima, and its expectation their mean.
      key: what is drawn with.
      deterministic: whether to give the mean of each block of `strides` maxima instead, as for
        evaluation; then no key is needed.

    Returns:
      Array of x's shape with ``m // s`` in place of n on each pooled axis (``ceil(m / s)`` in ceil
      mode), where m is the number of windows at stride 1; floats keep their dtype, ints and bools
      give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `max_pool` for the cells that are kept.

    Example:
      >>> x = jnp.array([1., 3., 2., 6., 4.])
      >>> jaxpool.s3_pool(x, 2, axes=0, deterministic=True)
      Array([3., 6.], dtype=float32)

    References:
      Zhai et al., S3Pool: pooling with stochastic spatial sampling, 2017.
      <https://arxiv.org/abs/1611.05138>
    """
    return as_one_program(
        _s3_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        _arguments.known(empty_value),
        grid,
        key,
        deterministic,
    )


def _s3_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    grid: Any,
    key: Any,
    deterministic: Any,
) -> jax.Array:
    op = "s3_pool"
    x = _arguments.array(op, x)
    _arguments.key(op, key, deterministic)
    window = window_arguments(op, *(window_shape, strides, padding, dilation, ceil_mode, axes))
    along, steps = window["axes"], window["strides"]
    strips = steps if grid is None else _arguments.ints(op, "grid", grid, len(along), 1)
    if any(strip % step for strip, step in zip(strips, steps, strict=True)):
        _arguments.fail(op, "grid", f"be multiples of the strides {steps}", grid)
    maxima = Window(**{**window, "strides": (1,) * len(along), "ceil_mode": False})
    maxima.check(op, x.shape)
    mask = _arguments.mask(op, where, x.shape, maxima.pooled_axes(x.ndim), False)
    y = run(op, x, maxima, Mixed(1), mask, 0)
    mask = None if mask is None else pool_mask(mask, maxima)
    for axis, step in zip(maxima.pooled_axes(x.ndim), steps, strict=True):
        _arguments.known_size(op, x.shape, axis)
        if step > y.shape[axis] and not window["ceil_mode"]:
            allowed = f"be at most {y.shape[axis]} along axis {axis}, the number of windows there"
            _arguments.fail(op, "strides", allowed, strides, shape=x.shape)
    blocks = Window(steps, axes=along, ceil_mode=window["ceil_mode"])
    if deterministic:
        return run(op, y, blocks, Mean(), mask, empty_value)
    y, mask = _kept(key, (y, mask), blocks, strips)
    return run(op, y, Window((1,) * len(along), axes=along), Max(), mask, empty_value)


def _kept(key: Any, tree: Any, blocks: Window, grid: tuple[int, ...]) -> Any:
    """Of the arrays in `tree` as many entries as `blocks`, drawn from strips of `grid`."""
    windows = blocks.windows(jax.tree.leaves(tree)[0].shape)
    for number, ((axis, w), strip) in enumerate(zip(windows, grid, strict=True)):
        key_of_axis = jax.random.fold_in(key, number)
        picks = strip // w.stride
        strips = -(-w.output // picks)
        firsts = np.arange(strips)[:, None] * strip
        # The last strip may be short, and then has fewer cells.
        wanted = np.minimum(picks, w.output - np.arange(strips)[:, None] * picks)
        sizes = np.minimum(strip, w.length - firsts)
        score = jax.random.uniform(key_of_axis, (strips, strip))
        score = jnp.where(np.arange(strip)[None] < sizes, score, np.float32(2))
        chosen = jnp.argsort(score, 1)[:, :picks].astype(np.int32)
        chosen = jnp.where(np.arange(picks)[None] < wanted, chosen, np.int32(strip))
        # How far each is from the first that could be there: from 0 to strip - picks.
        shifts = jnp.sort(chosen, 1) - np.arange(picks, dtype=np.int32)[None]
        tree = jax.tree.map(
            functools.partial(_shifted, shifts.ravel()[: w.output], picks, strip, axis), tree
        )
    return tree


def _shifted(shifts: jax.Array, cells: int, step: int, axis: int, x: jax.Array) -> jax.Array:
    return shifted_entries(x, along(shifts, axis, x.ndim), cells, step, step - cells, axis)
