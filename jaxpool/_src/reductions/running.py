"""Means under weights that are exponentials, of cells that hold one another: by one fold for all.

What `softmean.py` computes in two looks at the elements of each cell is here an associative
operation. A part of a cell is known by its largest logit m, its number n of elements, and

    e = sum (exp(k (l - m)) - 1) / k,   w = sum exp(k (l - m)),   t = sum exp(k (l - m)) x.

Of two parts, the one with the smaller m is taken to the other's. Where exponents are small, e
loses nothing that is divided by k; where they are large, w is exact. If x are the logits, t has
their distances from m.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.pool import Domain
from jaxpool._src.reductions.exponentials import finite, logarithm, moment, weight

# Of a mean of exponentials less one, up to this the logarithm is that of the difference.
_NEAR = 0.5


class Part(NamedTuple):
    """What is known of some elements of a cell."""

    m: Any
    n: Any
    e: Any
    w: Any
    t: Any


def running_log_mean_exp(
    domain: Domain, x: jax.Array, where: jax.Array | None, sharpness: Any
) -> jax.Array:
    """As `softmean.log_mean_exp`."""
    part, k = _folded(domain, x, x, where, sharpness, centred=True)
    one = np.ones((), x.dtype)
    n = jnp.maximum(part.n, one)
    mean = part.e / n
    near = abs(k * jax.lax.stop_gradient(mean)) <= np.array(_NEAR, x.dtype)
    apart = logarithm(1, jnp.where(near, mean, np.zeros((), x.dtype)), k)
    safe = jnp.where(~near & (part.w > 0), part.w / n, one)
    far = jnp.log(safe) / jnp.where(k == 0, one, k)
    return _if_finite(domain, part.m + jnp.where(near, apart, far), x, where, k)


def running_softmean(
    domain: Domain,
    x: jax.Array,
    logits: jax.Array | None,
    where: jax.Array | None,
    sharpness: Any,
) -> jax.Array:
    """As `softmean.softmean`."""
    centred = logits is None
    part, k = _folded(domain, x, x if centred else logits, where, sharpness, centred=centred)
    mean = part.t / jnp.where(part.w == 0, np.ones((), x.dtype), part.w)
    if not centred:
        spoiled = domain.sum(_are_nan(x, logits).astype(np.int32), where) > 0
        return jnp.where(spoiled, np.array(np.nan, x.dtype), mean)
    return _if_finite(domain, part.m + mean, x, where, k)


def _folded(
    domain: Domain,
    x: jax.Array,
    logits: Any,
    where: jax.Array | None,
    sharpness: Any,
    *,
    centred: bool,
) -> tuple[Part, jax.Array]:
    zero, k = np.zeros((), x.dtype), jnp.asarray(sharpness, x.dtype)
    # NaN is the value of its cells whatever else is in them, and has no slope.
    nan = _are_nan(x, logits)
    where = ~nan if where is None else where & ~nan
    x, logits = (jnp.where(where, v, zero) for v in (x, logits))
    logits = finite(logits)
    m = jax.lax.stop_gradient(logits)
    distance = logits - m
    w = weight(distance, k)
    alone = Part(
        m, jnp.ones_like(x), moment(1, distance, k), w, distance if centred else w * finite(x)
    )
    identity = Part(*[zero] * 5)
    alone = jax.tree.map(lambda v: jnp.where(where, v, zero), alone)

    def combine(a: Part, b: Part) -> Part:
        forward = jax.lax.stop_gradient(k) >= 0
        first = jnp.where(forward, a.m >= b.m, a.m <= b.m)
        first = (b.n == 0) | ((a.n != 0) & first)
        m = jnp.where(first, a.m, b.m)

        def taken(part: Part) -> Part:
            d = jnp.where(part.n == 0, zero, finite(part.m - m))
            q = weight(d, k)
            # Weights first: where they are 0, distances may be as large as they like.
            t = q * part.t + (q * d * part.w if centred else zero)
            return Part(m, part.n, q * part.e + part.n * moment(1, d, k), q * part.w, t)

        a, b = taken(a), taken(b)
        return Part(m, a.n + b.n, a.e + b.e, a.w + b.w, a.t + b.t)

    return domain.fold(alone, combine, identity), k


def _are_nan(x: jax.Array, logits: Any) -> jax.Array:
    return jnp.isnan(x) | jnp.isnan(logits)


def _if_finite(
    domain: Domain, y: jax.Array, x: jax.Array, where: jax.Array | None, k: jax.Array
) -> jax.Array:
    """`y`, but where the largest element, or for k < 0 the smallest, is infinite or NaN."""
    fixed = jax.lax.stop_gradient(x)
    high, low = domain.max(fixed, where), -domain.max(-fixed, where)
    top = jnp.where(jax.lax.stop_gradient(k) >= 0, high, low)
    return jnp.where(jnp.isfinite(top), y, top)
