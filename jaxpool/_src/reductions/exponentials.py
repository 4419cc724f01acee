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
    u = _exponent(d, k)
    reach = 0.25 if order == 1 else 1.0
    series = (1 / (math.factorial(i) * (i + order)) for i in range(40))
    e, least = jnp.exp(u), np.ones((), u.dtype)
    small = abs(u) < np.array(reach, u.dtype)
    inverse = least / jnp.where(k == 0, least, k)
    far = (e - least) * inverse  # by parts, from one order to the next
    for i in range(1, order):
        far = (_power(d, i) * e - np.array(i, u.dtype) * far) * inverse
    near = d if order == 1 else _power(d, order)
    return jnp.where(
        small, near * _polynomial(u, series, reach), far if order == 1 else finite(far)
    )


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
