"""Products as float64 has them, in integers of 32 bits: not all platforms have float64.

Numbers are lists of words, the lowest first.
"""

import functools
import math
import operator
from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_ALL = np.uint32(0xFFFFFFFF)


def times(n: jax.Array, digits: int) -> list[jax.Array]:
    """The product of n, of 32 bits, and of `digits`, of 53, as three words, the lowest first."""
    half = np.uint32(0xFFFF)
    by_half = [jnp.zeros(n.shape, np.uint32)] * 7
    for i, part in enumerate((n & half, n >> np.uint32(16))):
        for j in range(4):
            product = part * np.uint32(digits >> (16 * j) & 0xFFFF)
            by_half[i + j] += product & half
            by_half[i + j + 1] += product >> np.uint32(16)
    for i in range(6):  # at most 8 terms of 16 bits each
        by_half[i + 1] += by_half[i] >> np.uint32(16)
        by_half[i] = by_half[i] & half
    return [by_half[2 * i] | (by_half[2 * i + 1] << np.uint32(16)) for i in range(3)]


def rounded(words: list[jax.Array]) -> list[jax.Array]:
    """To 53 digits, and of two that are as close to the even one. It has 53 to 85, or is 0."""
    low, middle, high = words
    zeros = jnp.where(high > 0, lax.clz(high), lax.clz(middle) + np.uint32(32))
    over = jnp.maximum(np.int32(43) - zeros.astype(np.int32), 0).astype(np.uint32)  # of 96 bits
    one = jnp.ones_like(low)
    unit = one << over
    rest, half = low & (unit - one), unit >> np.uint32(1)
    up = (rest > half) | ((rest == half) & (low & unit != 0))
    up = up & (over > 0)
    kept = low - rest
    low = kept + jnp.where(up, unit, 0)
    carry = (low < kept).astype(np.uint32)
    middle = middle + carry
    return [low, middle, high + (carry & (middle == 0).astype(np.uint32))]


def word_at(words: list[jax.Array], start: int) -> jax.Array:
    """The 32 bits from bit `start`."""
    found = jnp.zeros_like(words[0])
    for i, word in enumerate(words):
        left = 32 * i - start
        if 0 <= left < 32:
            found = found | (word << np.uint32(left))
        elif -32 < left < 0:
            found = found | (word >> np.uint32(-left))
    return found


def ceil_of_product(number: jax.Array, u: jax.Array, scale: float, most: float) -> jax.Array:
    """``ceil(scale * (number + u * most))``, each step rounded as float64.

    Of int32 from 1, float32 in [0, 1), a scale from 1 on and a factor `most` up to 1.
    """
    factor, exponent = _digits(scale)
    parts = [times(word, factor) for word in _sum(number, _fraction(u, most))]
    nothing = jnp.zeros_like(parts[0][0])
    product = _plus([*parts[0], nothing, nothing], [nothing, *parts[1], nothing])
    product = _plus(product, [nothing, nothing, *parts[2]])
    point = 64 + 53 - exponent  # that many bits are behind it
    whole = word_at(product, point)
    behind = [word_at(product, point - 32 * i) for i in (4, 3, 2, 1)]
    # The 53 digits that are kept begin with those of `whole`. Half of the last one is rounded down.
    half = np.int32(128 - 54) + _size(whole)
    above, beyond = _below(half + 1, 4), _below(half, 4)
    more = _any(b & ~m for b, m in zip(behind, above, strict=True))
    is_half = _any(b & (m ^ n) for b, m, n in zip(behind, above, beyond, strict=True))
    rest = _any(b & n for b, n in zip(behind, beyond, strict=True))
    return (whole + (more | (is_half & rest)).astype(np.uint32)).astype(np.int32)


def _digits(factor: float) -> tuple[int, int]:
    """53 digits and the exponent: ``factor = digits * 2**(exponent - 53)``."""
    mantissa, exponent = math.frexp(factor)
    return int(mantissa * 2**53), exponent


def _fraction(u: jax.Array, factor: float) -> list[jax.Array]:
    """``u * factor``, which is below 1: 96 bits behind the point, far more than a sum keeps."""
    bits = lax.bitcast_convert_type(u, np.uint32)
    exponent = bits >> np.uint32(23) & np.uint32(0xFF)
    digits = bits & np.uint32(0x7FFFFF) | np.uint32(0x800000)
    digits = jnp.where(exponent > 0, digits, np.uint32(0))  # 0, or as good as that
    factor_digits, factor_exponent = _digits(factor)
    words = rounded(times(digits, factor_digits))
    shifted = [word_at(words, 32 * i - 20) for i in range(4)]
    right = np.int32(127 - factor_exponent) - exponent.astype(np.int32)
    whole, part = right // 32, (right % 32).astype(np.uint32)
    higher = [*shifted[1:], jnp.zeros_like(bits)]
    near = [
        (low >> part) | (high << np.uint32(1) << (np.uint32(31) - part))
        for low, high in zip(shifted, higher, strict=True)
    ]
    found = []
    for i in range(3):
        word = jnp.zeros_like(bits)
        for j in range(i, 4):
            word = jnp.where(whole == j - i, near[j], word)
        found.append(word)
    return found


def _sum(number: jax.Array, fraction: list[jax.Array]) -> list[jax.Array]:
    """Their sum to 53 digits: 64 bits behind the point, and the whole."""
    number = number.astype(np.uint32)
    dropped = np.int32(96 - 53) + _size(number)  # of the fraction's bits, at least 44
    odd = _any(
        word & (m ^ n)
        for word, m, n in zip(fraction, _below(dropped + 1, 3), _below(dropped, 3), strict=True)
    )
    # To the nearest one, and of two that are as close to the even one.
    nothing = jnp.zeros_like(number)
    words = _plus([*fraction, number], [*_below(dropped - 1, 3), nothing])
    words = _plus(words, [odd.astype(np.uint32), nothing, nothing, nothing])
    kept = [word & ~m for word, m in zip(words, _below(dropped, 3), strict=False)]
    return [kept[1], kept[2], words[3]]


def _size(word: jax.Array) -> jax.Array:
    """Number of bits, without leading zeros."""
    return np.int32(32) - lax.clz(word).astype(np.int32)


def _below(bits: jax.Array, count: int) -> list[jax.Array]:
    """`count` words in which so many of the lowest bits are 1."""
    found = []
    for i in range(count):
        own = jnp.clip(bits - np.int32(32 * i), 0, 32).astype(np.uint32)
        one = np.uint32(1)
        found.append(jnp.where(own == 32, _ALL, (one << jnp.minimum(own, 31)) - one))
    return found


def _any(words: Iterable[jax.Array]) -> jax.Array:
    """Whether a bit is 1 in any of them."""
    return functools.reduce(operator.or_, words) != 0


def _plus(a: list[jax.Array], b: list[jax.Array]) -> list[jax.Array]:
    """The sum of two numbers of as many words."""
    found, carry = [], np.uint32(0)
    for low, more in zip(a, b, strict=True):
        both = low + more
        total = both + carry
        carry = ((both < low) | (total < both)).astype(np.uint32)
        found.append(total)
    return found
