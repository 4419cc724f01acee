"""Functions of an element and of its cell that soft pools add up, smooth where exponents are 0.

With d the distance of an element from a reference of its cell, which is finite, and k the
sharpness, these are

    exp(k d)   and   (exp(k d) - 1) / k,

and the logarithm that undoes the second, ``log(1 + k a) / k``. At k = 0 the last two are d and a.
As they stand, they divide what is rounded by k; so do their derivatives. Each of them is the first
of a family of integrals, in which every one is the derivative in k of the one before. Members are
computed by series where exponents are small, so derivatives of any order are as exact as values.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Exponents in a cell are at most 1. Larger ones are of elements that are not in it.
_LARGEST_EXPONENT = 2

# An exponential of this or less is nothing beside 1.
_LEAST_EXPONENT = -80

# Of floats of so many bytes: ints as long, bits of the fraction, what is added to exponents, and
# log(2) as a number that times a small whole one is exact, and the rest.
_PARTS: dict[int, tuple[Any, int, int, float, float]] = {
    4: (np.int32, 23, 127, 0.693359375, -2.12194440054690583e-4),
    8: (np.int64, 52, 1023, 0.693147180369123816490, 1.90821492927058770002e-10),
}


@jax.custom_jvp
def weight(d: jax.Array, k: jax.Array) -> jax.Array:
    """``exp(k d)``."""
    return jnp.exp(_exponent(d, k))


@weight.defjvp
def _weight_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    """The weight comes first: where it is 0, the rest may be as large as it likes."""
    d, k = primals
    w = weight(d, k)
    return w, w * (k * tangents[0] + d * tangents[1])


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def moment(order: int, d: jax.Array, k: jax.Array) -> jax.Array:
    """``d^n`` times the integral of ``t^(n-1) exp(t k d)`` for t from 0 to 1; n is `order`.

    That is ``(exp(k d) - 1) / k`` for the order 1.
    """
    if order == 1:
        return _first_moment(d, k)
    u, reach = _exponent(d, k), 1.0
    series = (1 / (math.factorial(i) * (i + order)) for i in range(40))
    e, one = jnp.exp(u), np.ones((), u.dtype)
    small = abs(u) < np.array(reach, u.dtype)
    inverse = one / jnp.where(k == 0, one, k)
    far = (e - one) * inverse  # by parts, from one order to the next
    for i in range(1, order):
        far = (_power(d, i) * e - np.array(i, u.dtype) * far) * inverse
    return jnp.where(small, _power(d, order) * _polynomial(u, series, reach), finite(far))


def _first_moment(d: jax.Array, k: jax.Array) -> jax.Array:
    """``(exp(k d) - 1) / k`` by one series, which takes little longer than an exponential.

    With ``k d = n log(2) + f`` for a whole n, ``exp(k d) - 1 = 2^n (exp(f) - 1) + 2^n - 1``. Where
    n is 0, nothing is divided by k. On two CPU cores, `logsumexp_pool` of an (8, 112, 112, 64)
    array over 3 x 3 windows takes 14 ms so, and 18 with an exponential and a series for small ones.
    """
    one, (kind, bits, bias, high, low) = np.ones((), d.dtype), _PARTS[d.dtype.itemsize]
    u = jnp.maximum(_exponent(d, k), np.array(_LEAST_EXPONENT, d.dtype))
    # Rounded as a positive number, which a cast does: it is quicker than to round.
    n = (u * np.array(1 / math.log(2), d.dtype) + np.array(128.5, d.dtype)).astype(kind)
    power = jax.lax.bitcast_convert_type((n + kind(bias - 128)) << kind(bits), d.dtype)
    whole = (n - kind(128)).astype(d.dtype)
    f = (u - whole * np.array(high, d.dtype)) - whole * np.array(low, d.dtype)
    series = _polynomial(f, (1 / math.factorial(i + 1) for i in range(40)), 0.35)
    inverse = one / jnp.where(k == 0, one, k)
    far = (power * (f * series) + (power - one)) * inverse
    return jnp.where(whole == 0, d * series, far)


@moment.defjvp
def _moment_jvp(order: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    d, k = primals
    slope = weight(d, k) if order == 1 else weight(d, k) * _power(d, order - 1)
    return moment(order, d, k), slope * tangents[0] + moment(order + 1, d, k) * tangents[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def logarithm(order: int, a: jax.Array, k: jax.Array) -> jax.Array:
    """``log(1 + k a) / k`` for the order 1, and derivatives of that in k for higher ones.

    The derivative of order n - 1 is ``a^n`` times the integral of ``t^(n-1) / (1 + t k a)^n`` for t
    from 0 to 1, times a factorial with alternating signs.
    """
    one = np.ones((), a.dtype)
    z = _above_minus_1(k * a)
    reach = 0.125
    series = ((-1) ** i * math.comb(order - 1 + i, i) / (i + order) for i in range(40))
    small = abs(z) < np.array(reach, z.dtype)
    safe = jnp.where(small, one, z)
    # Not log1p, which XLA has to 100 units of the last place in float64.
    far = jnp.log(one + safe) / safe  # by parts, from one order to the next
    for i in range(1, order):
        far = (far - one / (np.array(i, z.dtype) * (one + safe) ** i)) / safe
    near = _polynomial(jnp.where(small, z, np.zeros((), z.dtype)), series, reach)
    return _factor(order, a.dtype) * _power(a, order) * jnp.where(small, near, far)


@logarithm.defjvp
def _logarithm_jvp(order: int, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    a, k = primals
    slope = _factor(order, a.dtype) / (np.ones((), a.dtype) + _above_minus_1(k * a)) ** order
    if order > 1:
        slope = slope * _power(a, order - 1)
    return logarithm(order, a, k), slope * tangents[0] + logarithm(order + 1, a, k) * tangents[1]


@jax.custom_jvp
def finite(x: jax.Array) -> jax.Array:
    """Infinities as the largest finite numbers, with slope 1: what is infinite has no weight."""
    largest = np.array(jnp.finfo(x.dtype).max, x.dtype)
    return jnp.clip(x, -largest, largest)


@finite.defjvp
def _finite_jvp(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    return finite(*primals), tangents[0]


def _exponent(d: jax.Array, k: jax.Array) -> jax.Array:
    return jnp.minimum(k * d, np.array(_LARGEST_EXPONENT, d.dtype))


def _above_minus_1(z: jax.Array) -> jax.Array:
    """z, which is a mean of ``exp(u) - 1``, and may be rounded to -1 or to less."""
    return jnp.maximum(z, np.array(-1 + jnp.finfo(z.dtype).eps, z.dtype))


def _power(x: jax.Array, n: int) -> jax.Array:
    """Finite, since infinity times no move is NaN."""
    return finite(jax.lax.integer_pow(x, n))


def _factor(order: int, dtype: Any) -> Any:
    return np.array((-1) ** (order - 1) * math.factorial(order - 1), dtype)


def _polynomial(x: jax.Array, coefficients: Any, reach: float) -> jax.Array:
    """The power series, up to where terms no longer count for any x in +-`reach`."""
    least, kept = float(jnp.finfo(x.dtype).eps) / 2, []
    for i, coefficient in enumerate(coefficients):
        if i and abs(coefficient) * reach**i < least * abs(kept[0]):
            break
        kept.append(coefficient)
    return _horner(x, kept)


def _horner(x: jax.Array, coefficients: Sequence[float]) -> jax.Array:
    value = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + np.array(coefficient, x.dtype)
    return value
