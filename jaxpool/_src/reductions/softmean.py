"""Means under weights that are exponentials, and logarithms of mean exponentials: in all sizes.

This is the core of every soft pool. Over the n elements x of a cell, with logits l and a sharpness
r, it gives

    log(sum_i exp(r l_i) / n) / r   and   sum_i exp(r l_i) x_i / sum_i exp(r l_i).

Elements are taken relative to a reference c in each cell, which is a constant, since it cancels:

- The largest element (the smallest for r < 0) is safe from overflow. It is all that a cell of few
  elements needs, or one whose logits are not what is averaged.
- Where many elements are close to their mean, that is the reference: variances are exact then.

Distances are added in the form ``(exp(r (x - c)) - 1) / r``, which is ``x - c`` for r = 0 and loses
nothing where r is small, and else as exponentials, which lose nothing where most of these are 0.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.pool import Domain
from jaxpool._src.lowering.windows import materialized_on_cpus
from jaxpool._src.reductions.exponentials import finite, logarithm, moment, weight
from jaxpool._src.reductions.running import running_log_mean_exp, running_softmean

# Of so few elements a mean of exponentials is not much less than the largest.
_FEW = 16

# Under a sharpness that is not smaller, elements that are so far that they overflow have no weight.
_SMALL = 2.0**-64

# Large numbers are made smaller by so many bits: what may be added up as often does not overflow.
_BITS = 24


def log_mean_exp(
    domain: Domain, x: jax.Array, where: jax.Array | None, sharpness: Any
) -> jax.Array:
    """``log(mean(exp(sharpness * x))) / sharpness`` of each cell: the mean for a sharpness of 0.

    `sharpness` is a number, or an array that broadcasts to the result and is the same along pooled
    axes, traced or not.
    """
    if domain.nested:
        return running_log_mean_exp(domain, x, where, sharpness)
    count = None
    stages = domain.stages(x.shape)
    for part in stages:
        stage = _Stage(part, x, count, where, sharpness, centred=True)
        elements = (x,) if count is None else (x, count)
        kept = part is not stages[-1]
        total = part.sum_with(stage.log_term, elements, stage.cells, where, kept=kept)
        x = stage.log(total)
        count, where = stage.handed_on(x)
    return x


def softmean(
    domain: Domain,
    x: jax.Array,
    logits: jax.Array | None,
    where: jax.Array | None,
    sharpness: Any = 1,
) -> jax.Array:
    """The mean of each cell's x under the weights ``exp(sharpness * logits)``.

    Without `logits`, x itself takes their place. Of cells in which all logits are -inf, the mean is
    the plain one.
    """
    if domain.nested:
        return running_softmean(domain, x, logits, where, sharpness)
    count, centred = None, logits is None
    logits = x if logits is None else logits
    stages = domain.stages(x.shape)
    for part in stages:
        stage = _Stage(part, logits, count, where, sharpness, centred=centred)
        elements = (logits, x) if count is None else (logits, x, count)
        kept = part is not stages[-1]
        terms = stage.log_and_mean_terms if kept else stage.mean_terms
        if elements[0] is elements[1] and count is None:
            elements = (x,)
        total, product = part.sum_with(terms, elements, stage.cells, where, kept=kept)
        x = stage.mean(stage.weights(total) if kept else total, product)
        if kept:
            logits = stage.log(total)
            count, where = stage.handed_on(x)
    return x


class _Stage:
    """The cells of a domain that are pooled over at once, and what is to be added up in them.

    `near` says in which cells distances are added in the first form, and in which as exponentials.
    """

    near: Any

    def __init__(
        self,
        part: Domain,
        logits: jax.Array,
        count: jax.Array | None,
        where: jax.Array | None,
        sharpness: Any,
        *,
        centred: bool,
    ) -> None:
        self.part, self.shape, self.where, self.centred = part, logits.shape, where, centred
        dtype, one = logits.dtype, np.ones((), logits.dtype)
        number = part.count(logits.shape, where) if count is None else part.sum(count, where)
        self.number = number.astype(dtype)
        self.divisor = jnp.maximum(self.number, one)
        self.sharpness = jnp.asarray(sharpness, dtype)
        constant, most = jax.lax.stop_gradient(logits), part.most(logits.shape)
        top, bottom = _extremes(part, constant, where, sharpness)
        # What is infinite is a limit: the largest element, or for a sharpness of 0 any of them.
        self.limit, self.limits = jnp.isinf(top), top
        if bottom is not None:
            flat = ~self.limit & (jax.lax.stop_gradient(self.sharpness) == 0) & jnp.isinf(bottom)
            self.limit, self.limits = self.limit | flat, jnp.where(flat, bottom, top)
        self.near, size, reference = centred, abs(top), top
        if centred and (most is None or most > _FEW):
            mean = _mean(part, constant, count, where, self.divisor)
            fixed = jax.lax.stop_gradient(self.sharpness)
            self.near = abs(fixed * (top - mean)) <= 1  # not so for what is not finite
            reference, size = jnp.where(self.near, mean, top), jnp.maximum(size, abs(mean))
        self.reference = finite(reference)
        self.k, self.unit, shift, scale = self.sharpness, None, self.reference, None
        least = np.array(_SMALL, dtype)
        if bottom is not None:
            # What is far has weight, and may overflow. Made small, tiny elements would underflow.
            large = (size > least) & (abs(jax.lax.stop_gradient(self.sharpness)) < least)
            scale = jnp.where(large, np.array(2.0**-_BITS, dtype), one)
            self.unit = jnp.where(large, np.array(2.0**_BITS, dtype), one)
            self.k, shift = self.sharpness * self.unit, self.reference * scale
        near = None if isinstance(self.near, bool) else self.near
        self.cells = (shift, self.k, scale, near)

    def log_term(self, elements: Any, cells: Any) -> jax.Array:
        """What `log` needs the sum of: of the logit and maybe its count."""
        logit, *counts = elements
        d, k, near = self._distance(logit, cells), cells[1], cells[3]
        if near is not None:
            term = jnp.where(near, moment(1, d, k), weight(d, k))
        else:
            term = moment(1, d, k) if self.near else weight(d, k)
        return term * counts[0] if counts else term

    def mean_terms(self, elements: Any, cells: Any) -> tuple[jax.Array, jax.Array]:
        """The weight, and the weight times x, of the logit, x, and maybe a count."""
        logit, x, *counts = elements if len(elements) > 1 else elements * 2
        w = weight(self._distance(logit, cells), cells[1])
        w = w * counts[0] if counts else w
        return w, w * (self._distance(x, cells) if self.centred else finite(x))

    def log_and_mean_terms(self, elements: Any, cells: Any) -> tuple[jax.Array, jax.Array]:
        logit, _, *counts = elements if len(elements) > 1 else elements * 2
        return self.log_term((logit, *counts), cells), self.mean_terms(elements, cells)[1]

    def _distance(self, x: jax.Array, cells: Any) -> jax.Array:
        """How far from the reference, in the cell's unit, and finite."""
        x = x if self.centred else finite(x)
        return finite((x if cells[2] is None else x * cells[2]) - cells[0])

    def weights(self, total: jax.Array) -> jax.Array:
        """The sum of weights, of the sum of `log_term`."""
        if self.near is False:
            return total
        one_by_one = self.number + self.k * _where_finite(total)
        return one_by_one if self.near is True else jnp.where(self.near, one_by_one, total)

    def log(self, total: jax.Array) -> jax.Array:
        """The logarithm of the mean exponential over the sharpness, of the sum of `log_term`."""
        one, zero = np.ones((), total.dtype), np.zeros((), total.dtype)
        mean = _where_finite(total) / self.divisor
        if self.near is not False:
            apart = logarithm(1, jnp.where(self.near, mean, zero), self.k)
        if self.near is not True:
            far = ~jnp.asarray(self.near)
            safe = jnp.where(far & (mean > 0), mean, one)
            ratio = jnp.log(safe) / jnp.where(far & (self.k != 0), self.k, one)
            apart = ratio if self.near is False else jnp.where(self.near, apart, ratio)
        return self._value(apart, total)

    def mean(self, weights: jax.Array, total: jax.Array) -> jax.Array:
        """The mean under weights, of their sum and of that of products."""
        weights = jnp.where(weights == 0, np.ones((), total.dtype), weights)
        if self.centred:
            return self._value(_where_finite(total) / weights, total)
        infinite = abs(total) >= np.array(jnp.finfo(total.dtype).max, total.dtype)
        infinity = jnp.copysign(np.array(np.inf, total.dtype), jax.lax.stop_gradient(total))
        mean = jnp.where(infinite, np.zeros((), total.dtype), total) / weights
        return jnp.where(infinite, infinity, mean)

    def _value(self, apart: jax.Array, total: jax.Array) -> jax.Array:
        """What is `apart` from the reference, in units of its own; infinities are constants."""
        value = self.reference + (apart if self.unit is None else apart * self.unit)
        value = jnp.where(jnp.isinf(total), jax.lax.stop_gradient(total), value)
        return jnp.where(self.limit, self.limits, value)

    def handed_on(self, x: jax.Array) -> tuple[jax.Array | None, jax.Array | None]:
        """How many elements each entry of x stands for, if they differ, and which have any."""
        if self.where is None and all(n == 1 for n in self.number.shape):
            return None, None
        count = jnp.broadcast_to(self.number, x.shape)
        if self.where is None and not self.part.can_be_empty(self.shape):
            return count, None
        return count, count > 0


def _extremes(
    domain: Domain, logits: jax.Array, where: jax.Array | None, sharpness: Any
) -> tuple[jax.Array, jax.Array | None]:
    """Of each cell the element with the largest exponential, and the one with the smallest.

    The latter only where the sharpness is not known, or may be so small that it matters.
    """

    def largest(x: jax.Array) -> jax.Array:
        # In memory: else XLA:CPU computes it anew for each element.
        return materialized_on_cpus(domain.max, x, where)

    if isinstance(sharpness, int | float) and abs(sharpness) >= _SMALL:
        return (largest(logits) if sharpness > 0 else -largest(-logits)), None
    positive = jax.lax.stop_gradient(jnp.asarray(sharpness)) >= 0
    high, low = largest(logits), -largest(-logits)
    return jnp.where(positive, high, low), jnp.where(positive, low, high)


def _mean(
    domain: Domain,
    x: jax.Array,
    count: jax.Array | None,
    where: jax.Array | None,
    divisor: jax.Array,
) -> jax.Array:
    """The mean, but for what is too small to matter to a reference; it does not overflow."""
    factor = np.array(2.0**-_BITS, x.dtype)

    def total(x: jax.Array, where: jax.Array | None) -> jax.Array:
        return domain.sum(x * factor, where)

    # An infinity of a cell with none of it is no number.
    parts = x if count is None else jnp.where(count > 0, x * count, np.zeros((), x.dtype))
    return materialized_on_cpus(total, parts, where) / divisor / factor


def _where_finite(x: jax.Array) -> jax.Array:
    return jnp.where(jnp.isinf(x), np.zeros((), x.dtype), x)
