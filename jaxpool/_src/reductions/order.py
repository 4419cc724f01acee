"""Order statistics: medians, quantiles, modes, and means of elements by their rank."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction, accumulator
from jaxpool._src.lowering.ranks import Interpolation, Number, Place
from jaxpool._src.reductions.max import comparable
from jaxpool._src.reductions.mixed import times
from jaxpool._src.reductions.soft import broadcasts

# The logit of a rank that is to have nearly all of the weight.
_SURE = 10.0
_INTERPOLATIONS = ("linear", "lower", "higher", "midpoint", "nearest")


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Quantile(Reduction):
    """The value below which the fraction q of a cell's elements lies.

    The elements in ascending order are at 0, 1, .. n - 1, and the quantile is at ``(n - 1) * q``.
    Between two elements, `interpolation` says what it is. The dtype stays, but for ints that are
    interpolated.

    Args:
      q: a number in [0, 1], known to the program: 0 for the smallest element, 1 for the largest.
      interpolation: between two elements, "linear" is on the line between both, "lower" and
        "higher" are the one and the other, "midpoint" is their mean and "nearest" the closer one,
        or that of even place if both are as close.

    Raises:
      ValueError: when used, if an argument is none of these.
      TypeError: when used, if `q` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([4., 1., 3., 2.]), jaxpool.Global(0), jaxpool.Quantile(0.9))
      Array(3.7, dtype=float32)
    """

    q: float
    interpolation: Interpolation = "linear"

    def check(self, op: str) -> None:
        parameters.quantile(op, self.q)
        arguments.one_of(op, "interpolation", self.interpolation, _INTERPOLATIONS)

    @property
    def _picks(self) -> bool:
        """Whether the value is one of the elements."""
        return self.interpolation not in ("linear", "midpoint")

    def accumulate_dtype(self, dtype: Any) -> Any:
        if not self._picks or jnp.issubdtype(dtype, jnp.floating):
            return accumulator(dtype)
        return comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype if self._picks else super().output_dtype(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return domain.elements(x, where).at(Place(float(self.q), self.interpolation))


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Median(Reduction):
    """The middle one of a cell's elements, or what is between the middle two: ``Quantile(0.5)``.

    Args:
      interpolation: of an even number of elements, "linear" and "midpoint" are the mean of the
        middle two, "lower" and "higher" the one and the other (PyTorch's median is "lower"), and
        "nearest" the one of even place.

    Raises:
      ValueError: when used, if `interpolation` is none of these.

    Example:
      >>> jaxpool.pool(jnp.array([3., 9., 1.]), jaxpool.Global(0), jaxpool.Median())
      Array(3., dtype=float32)
    """

    interpolation: Interpolation = "linear"

    @property
    def _quantile(self) -> Quantile:
        return Quantile(0.5, self.interpolation)

    def check(self, op: str) -> None:
        self._quantile.check(op)

    def accumulate_dtype(self, dtype: Any) -> Any:
        return self._quantile.accumulate_dtype(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return self._quantile.output_dtype(dtype)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return self._quantile(x, domain, where)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Mode(Reduction):
    """The value that most of a cell's elements have, of several the smallest: a majority vote.

    Of ints and bools, whose dtype stays.

    Example:
      >>> jaxpool.pool(jnp.array([3, 1, 3, 2]), jaxpool.Global(0), jaxpool.Mode())
      Array(3, dtype=int32)
    """

    def accumulate_dtype(self, dtype: Any) -> Any:
        return comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        if jnp.issubdtype(x.dtype, jnp.floating):
            raise parameters.WrongKindError(
                "`x` must hold ints or bools, since of floats hardly two are equal; got x.dtype="
                f"{x.dtype}. Round them, as in jnp.round(x).astype(jnp.int32)."
            )
        return domain.elements(x, where).most_common()


@explained
@jax.tree_util.register_pytree_node_class
@dataclasses.dataclass(frozen=True)
class RankMean(Reduction):
    """A cell's elements, the largest first, times the weights of their ranks (ordinal pooling).

    ``sum_r weights[r] * x_(r)`` where x_(0) is the largest element. Where a cell has fewer elements
    than there are weights (padding, masks), those of the ranks that it has are scaled up to the sum
    of all. Weights that depend on the number of elements are a function: it is given ranks and
    numbers, as arrays that broadcast, and its weights are divided by their sum over the ranks that
    a cell has. Some are

    - ``lambda r, n: r < 3``, the mean of the three largest (rank-based average pooling),
    - ``lambda r, n: a * (1 - a) ** r``, weights that fall (rank-based weighted pooling),
    - ``lambda r, n: (r + 1 > 0.2 * n) & (r < 0.8 * n)``, the mean without a fifth on both sides.

    Args:
      weights: numbers, one for each rank, 0 beyond; or an array with ranks on its first axis, and
        behind it what broadcasts against the result: ``[ranks, channels]`` where channels are last.
        May be traced, to be learned. Or a function of rank and number of elements.

    Raises:
      TypeError: when used, if `weights` are neither numbers nor a function.

    Example:
      >>> x = jnp.array([4., 1., 3., 2.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.RankMean([0.5, 0.25, 0.25]))
      Array(3.25, dtype=float32)
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.RankMean(lambda r, n: (r > 0) & (r < n - 1)))
      Array(2.5, dtype=float32)
    """

    weights: Any

    def tree_flatten(self) -> tuple[Any, Any]:
        """Weights that are arrays, and a function."""
        function = self.weights if callable(self.weights) else None
        return (() if function else (self.weights,)), function

    @classmethod
    def tree_unflatten(cls, function: Any, leaves: Any) -> "RankMean":
        """The inverse of `tree_flatten`, around anything."""
        return cls(*leaves) if leaves else cls(function)

    def check(self, op: str) -> None:
        parameters.rank_weights(op, self.weights)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        weights = self.weights
        if not callable(weights):
            weights = jnp.asarray(weights).astype(x.dtype)
            shape = domain.output_shape(x.shape)
            if not broadcasts(weights.shape[1:], shape):
                raise parameters.MisfitError(
                    "`weights` must broadcast to the result behind its first axis; got "
                    f"weights.shape={weights.shape} for a result of shape {tuple(shape)}."
                )
        return domain.elements(x, where).rank_sum(weights)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class TopKMean(Reduction):
    """The mean of a cell's k largest elements; of all, if there are fewer.

    Args:
      k: how many, an int; or which fraction of a cell's elements, a float in (0, 1), which is
        rounded to a number of elements, at least 1.

    Raises:
      ValueError: when used, if `k` is out of range.
      TypeError: when used, if `k` is not a number.

    Example:
      >>> jaxpool.pool(jnp.array([4., 1., 3., 2.]), jaxpool.Global(0), jaxpool.TopKMean(2))
      Array(3.5, dtype=float32)
    """

    k: int | float

    def check(self, op: str) -> None:
        parameters.count_or_fraction(op, "k", self.k)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        k = float(self.k) if isinstance(self.k, float | np.floating) else int(self.k)
        number = Number(k)
        elements = domain.elements(x, where)
        return elements.top_sum(number) / elements.number(number)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Wildcat(Reduction):
    """The mean of the top elements, and `alpha` times that of the bottom ones."""

    kmax: Any = dataclasses.field(metadata={"static": True})
    kmin: Any = dataclasses.field(metadata={"static": True})
    alpha: Any

    def check(self, op: str) -> None:
        parameters.count_or_fraction(op, "kmax", self.kmax)
        if self.kmin is not None:
            parameters.count_or_fraction(op, "kmin", self.kmin, minimum=0)
        parameters.scalar(op, "alpha", self.alpha)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        top = TopKMean(self.kmax)(x, domain, where)
        kmin = self.kmax if self.kmin is None else self.kmin
        if kmin == 0:
            return top
        alpha = jnp.asarray(self.alpha).astype(x.dtype)
        bottom = -TopKMean(kmin)(-x, domain, where)
        return top + times(alpha, bottom, ~jnp.isfinite(lax.stop_gradient(bottom)))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class FallingMean(Reduction):
    """A mean with weights that fall from rank to rank by a factor."""

    decay: Any

    def check(self, op: str) -> None:
        parameters.decay(op, self.decay)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        decay = jnp.asarray(self.decay).astype(x.dtype)

        def weights(rank: Any, _: Any) -> jax.Array:
            # The slope of 0^0 is NaN for JAX, so the power of rank 0 is one of 1.
            base = jnp.where(rank == 0, np.ones((), x.dtype), decay)
            return jax.lax.pow(base, jnp.asarray(rank, x.dtype))

        return domain.elements(x, where).rank_sum(weights)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PiecewiseWeighted(Reduction):
    """The sum of elements times a function of their rank's ratio, a line from knot to knot.

    Of elements in a row along one axis, and with knots that have an entry for each channel, which
    are the last axis, or one for all.
    """

    weights: Any

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        knots = jnp.asarray(self.weights).astype(x.dtype)
        last, one = np.array(knots.shape[0] - 1, x.dtype), np.ones((), x.dtype)

        def weights(rank: Any, count: Any) -> jax.Array:
            most = jnp.maximum(jnp.asarray(count) - 1, 1).astype(x.dtype)
            place = jnp.asarray(rank).astype(x.dtype) * (last / most)
            number = lax.broadcasted_iota(x.dtype, (1,) * place.ndim + knots.shape[:1], place.ndim)
            hats = jnp.maximum(one - abs(place[..., None] - number), np.zeros((), x.dtype))
            if knots.ndim == 1 or hats.shape[-2] != 1:
                own = lax.expand_dims(knots.T, range(hats.ndim - knots.ndim))
                return jnp.sum(hats * own, -1)
            return jnp.matmul(hats[..., 0, :], knots, precision=lax.Precision.HIGHEST)

        return domain.elements(x, where).rank_sum(weights, scaled=False)


def ordinal_logits(window_shape: Any, axes: Any, channels: int, initial: str) -> np.ndarray:
    """What the weights of a layer are learned from: one row for each rank."""
    op = "OrdinalPool"
    arguments.one_of(op, "initial", initial, ("mean", "max"))
    sizes, _ = arguments.window_axes(op, window_shape, axes)
    logits = np.zeros((math.prod(sizes), channels), np.float32)
    if initial == "max":
        logits[0] = _SURE
    return logits


def ordinal_weights(logits: jax.Array, channel_axis: int, ndim: int) -> jax.Array:
    """The softmax over ranks, to be broadcast along the axis of channels."""
    weights = jax.nn.softmax(logits.astype(accumulator(logits.dtype)), 0)
    behind = ndim - 1 - channel_axis % ndim
    return weights.reshape(*weights.shape, *[1] * behind)
