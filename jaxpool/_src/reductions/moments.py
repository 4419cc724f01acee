"""Central moments: variances, standard deviations, and moments of any order.

Elements are taken relative to a reference in each cell, which is about the mean, and in a unit of
about the largest distance from it. Both are constants, since they cancel: the reference is not the
mean that has a derivative, and what it lacks to that is a sum over distances. So shifted elements
lose no digits, and no power overflows or underflows where the moment itself does not.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.lowering.windows import materialized_on_cpus, only_where
from jaxpool._src.reductions.exponentials import finite
from jaxpool._src.reductions.mean import quotient
from jaxpool._src.reductions.running_sums import running_sums
from jaxpool._src.reductions.units import power_of_2

# Distances are at most 1, and so few more where a unit cannot be as large as they are. Larger ones
# are of elements that are not in the cell.
_LARGEST_DISTANCE = 32


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Variance(Reduction):
    """The variance of a cell's elements, weighted if `where` holds floats.

    The sum of squared distances from the mean over ``n - ddof``, where n is the number of elements,
    or the sum of weights. NaN where that is not positive: with fewer than ``ddof + 1`` elements.

    Args:
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.

    Raises:
      ValueError: when used, if `ddof` is negative.
      TypeError: when used, if `ddof` is not an int.

    Example:
      >>> jaxpool.pool(jnp.array([1., 2., 6.]), jaxpool.Global(0), jaxpool.Variance(ddof=1))
      Array(7., dtype=float32)
    """

    ddof: int = 0

    takes_weights = True

    def check(self, op: str) -> None:
        parameters.size(op, "ddof", self.ddof, "be an int >= 0", least=0)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        cells = _cells(x, domain, where)
        free, enough = cells.freedom(self.ddof)
        y = quotient(cells.squares(scaled=False), free) * cells.unit
        # What overflows has no slope.
        y = jnp.where(jnp.isinf(y), lax.stop_gradient(y), y)
        return jnp.where(enough, y, np.array(np.nan, x.dtype))


@explained
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Std(Reduction):
    """The standard deviation of a cell's elements, weighted if `where` holds floats.

    ``sqrt(max(variance, epsilon))``, for the variance of `Variance`. Its gradient is 0 where the
    variance is 0, or not larger than `epsilon`.

    Args:
      ddof: what is subtracted from the number of elements; 1 for the unbiased variance.
      epsilon: the least variance, a number >= 0, or an array that broadcasts to the result. Arrays
        may be traced.

    Raises:
      ValueError: when used, if an argument is negative, or `epsilon` does not broadcast.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> jaxpool.pool(jnp.array([1., 3.]), jaxpool.Global(0), jaxpool.Std())
      Array(1., dtype=float32)
    """

    ddof: int = dataclasses.field(default=0, metadata={"static": True})
    epsilon: Any = 0

    takes_weights = True

    def check(self, op: str) -> None:
        parameters.size(op, "ddof", self.ddof, "be an int >= 0", least=0)
        parameters.not_negative(op, "epsilon", self.epsilon)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        zero, one = np.zeros((), x.dtype), np.ones((), x.dtype)
        cells = _cells(x, domain, where)
        free, enough = cells.freedom(self.ddof)
        variance = quotient(cells.squares(scaled=True), free)
        positive = variance > 0
        epsilon = parameters.spread("epsilon", self.epsilon, variance)
        # In one unit, since the square of what is representable may not be.
        larger = variance * cells.unit * cells.unit > epsilon
        positive &= larger | (epsilon == 0)
        root = cells.unit * jnp.sqrt(jnp.where(positive, variance, one))
        least = jnp.where(epsilon > 0, jnp.sqrt(jnp.where(epsilon > 0, epsilon, one)), zero)
        y = jnp.where(positive, root, least)
        return jnp.where(enough, y, np.array(np.nan, x.dtype))


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Moment(Reduction):
    """The central moment of a cell's elements: ``mean((x - mean(x))**order)``.

    Weighted if `where` holds floats. In units of the standard deviation if `standardize`: that of
    order 3 is the skewness, and that of order 4 the kurtosis.

    Args:
      order: the power, an int >= 1.
      standardize: whether the moment is divided by ``std**order``; it is 0 where all elements are
        alike.

    Raises:
      ValueError: when used, if `order` is less than 1.
      TypeError: when used, if an argument is of the wrong kind.

    Example:
      >>> x = jnp.array([0., 0., 0., 4.])
      >>> jaxpool.pool(x, jaxpool.Global(0), jaxpool.Moment(3))
      Array(6., dtype=float32)
    """

    order: int
    standardize: bool = False

    takes_weights = True

    def check(self, op: str) -> None:
        parameters.size(op, "order", self.order)
        arguments.flag(op, "standardize", self.standardize)

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        cells = _cells(x, domain, where, max(self.order, 2))
        y = jnp.zeros_like(cells.number) if self.order == 1 else self._moment(cells)
        y = jnp.where(jnp.isinf(y), lax.stop_gradient(y), y)
        return jnp.where(cells.usable, y, np.array(np.nan, x.dtype))

    def _moment(self, cells: "_Cells") -> jax.Array:
        squares, powers = cells.powers(self.order)
        moment, unit = quotient(powers, cells.divisor), cells.unit
        if self.standardize:
            variance, one = quotient(squares, cells.divisor), np.ones((), moment.dtype)
            positive = variance > 0
            unit = one / jnp.sqrt(jnp.where(positive, variance, one))
            moment = jnp.where(positive, moment, np.zeros((), moment.dtype))
        # In two steps, of which neither overflows, nor becomes 0, before the product does.
        for n in (self.order // 2, self.order - self.order // 2):
            moment = moment * finite(lax.integer_pow(unit, n))
        return moment


def _cells(x: jax.Array, domain: Domain, where: jax.Array | None, order: int = 2) -> "_Cells":
    return _NestedCells(x, domain, where, order) if domain.nested else _Cells(x, domain, where)


class _Cells:
    """Elements of cells by their distances from a reference, in a unit of each cell's own.

    `usable` says which cells have elements, and only finite ones; no other has a slope.
    """

    def __init__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> None:
        zero, weights = np.zeros((), x.dtype), None
        if where is not None and where.dtype != bool:
            where, weights = where != 0, where.astype(x.dtype)
            weights = jnp.broadcast_to(jnp.where(where, weights, zero), x.shape)
        if where is not None:
            x = jnp.where(where, x, zero)
        self.domain, self.where = domain, where
        self.elements = (x,) if weights is None else (x, weights)
        number = domain.count(x.shape, where) if weights is None else domain.sum(weights, where)
        self.number = jnp.broadcast_to(number, domain.output_shape(x.shape)).astype(x.dtype)
        self.divisor = jnp.where(self.number != 0, self.number, np.ones((), x.dtype))
        fixed = lax.stop_gradient(x)
        # In memory: else XLA:CPU computes them anew for each element.
        high = materialized_on_cpus(domain.max, fixed, where)
        low = -materialized_on_cpus(domain.max, -fixed, where)
        self.usable = jnp.isfinite(high) & jnp.isfinite(low)
        high, low = (jnp.where(self.usable, v, zero) for v in (high, low))
        self._refer_to_the_mean(high, low)

    def _refer_to_the_mean(self, high: jax.Array, low: jax.Array) -> None:
        """Sets the reference and the unit, as constants."""
        kept = self.usable.astype(high.dtype)
        unit, inverse = power_of_2(jnp.maximum(high, -low), 2.0)

        def scaled_mean(elements: Any, divisor: jax.Array, *cells: jax.Array) -> jax.Array:
            return quotient(self._sums(lambda _, d: d, elements, cells), divisor)

        given = lax.stop_gradient((self.elements, self.divisor))
        mean = materialized_on_cpus(scaled_mean, *given, inverse, jnp.zeros_like(unit), kept) * unit
        # Of elements that are all alike, a rounded mean would not be what they are.
        mean = jnp.where(jnp.isfinite(mean), jnp.clip(mean, low, high), low)
        half = np.array(0.5, high.dtype)  # of a distance, which itself may overflow
        distance = jnp.maximum(high * half - mean * half, mean * half - low * half)
        self.unit, inverse = power_of_2(distance, 4.0)
        self.reference, self.cells = mean, (inverse, mean * inverse, kept)

    def _sums(
        self,
        terms: Callable[..., Any],
        elements: Any,
        cells: Any,
        *own: jax.Array,
        kept: bool = False,
    ) -> Any:
        """Sums over each cell of `terms` of elements, their distances, and more that it has."""

        def weighted(elements: Any, cells: Any) -> Any:
            (inverse, reference, kept), own = cells
            # What is not finite is no element, since its slope would reach all cells it is in.
            e = only_where(kept != 0, elements[0])
            values = terms(e, e * inverse - reference, *own)
            return jax.tree.map(lambda v: v * elements[1] if elements[1:] else v, values)

        return self.domain.sum_with(weighted, elements, (cells, own), self.where, kept=kept)

    def freedom(self, ddof: int) -> tuple[jax.Array, jax.Array]:
        """The number of elements less `ddof`, or 1, and where it is positive and all is finite."""
        free = self.number - np.array(ddof, self.number.dtype)
        return jnp.where(free > 0, free, np.ones((), free.dtype)), (free > 0) & self.usable

    def squares(self, *, scaled: bool) -> jax.Array:
        """The sum of squared distances from the mean, over the square of the unit if `scaled`.

        Else over the unit alone: of a variance, neither value nor slope may pass through the square
        of what is small.
        """

        def terms(e: jax.Array, d: jax.Array, reference: jax.Array) -> tuple[jax.Array, jax.Array]:
            return d, d * d if scaled else _square(e - reference, d)

        total, squares = self._sums(terms, self.elements, self.cells, self.reference, kept=True)
        mean = quotient(total, self.divisor)
        y = squares - (mean * total if scaled else _square(total * self.unit, mean))
        return jnp.where(y < 0, np.zeros((), y.dtype), y)

    def powers(self, order: int) -> tuple[jax.Array, jax.Array]:
        """The sums of second and other powers of distances from the mean."""
        mean = quotient(self._sums(lambda _, d: d, self.elements, self.cells), self.divisor)

        def terms(e: jax.Array, d: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
            del e
            d = d - mean
            most = np.array(_LARGEST_DISTANCE, d.dtype)
            d = jnp.where(abs(d) <= most, d, np.zeros((), d.dtype))
            return d * d, lax.integer_pow(d, order)

        return self._sums(terms, self.elements, self.cells, mean)


class _NestedCells(_Cells):
    """Cells that hold one another, whose sums are found in one fold for all."""

    def __init__(self, x: jax.Array, domain: Domain, where: jax.Array | None, order: int) -> None:
        self.order = order
        super().__init__(x, domain, where)

    def _refer_to_the_mean(self, high: jax.Array, low: jax.Array) -> None:
        """Sets the sums and the unit."""
        del high, low
        x, *weights = self.elements
        # What is not finite is no element: its cells have no value.
        x = jnp.where(jnp.isfinite(x), x, np.zeros((), x.dtype))
        where = jnp.broadcast_to(True if self.where is None else self.where, x.shape)
        weights = weights[0] if weights else where
        sums, self.unit = running_sums(self.domain, x, weights.astype(x.dtype), self.order)
        self.of_powers = dict(enumerate(sums, 2))

    def squares(self, *, scaled: bool) -> jax.Array:
        return self.of_powers[2] if scaled else self.of_powers[2] * self.unit

    def powers(self, order: int) -> tuple[jax.Array, jax.Array]:
        return self.of_powers[2], self.of_powers[order]


@jax.custom_jvp
def _square(x: jax.Array, scaled: jax.Array) -> jax.Array:
    """``x * scaled``, of which the second is the first times a constant."""
    return x * scaled


@_square.defjvp
def _square_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return _square(*primals), 2 * primals[1] * tangents[0]
