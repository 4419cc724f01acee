"""Descriptors of all elements of a cell: products of channels, residuals, expected places.

Elements are vectors here, along the axis of channels. What is summed over elements is a product of
matrices, with batch axes where they are and the sum first: no array has both an axis of elements
and two of channels.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.core.pool import with_zeros
from jaxpool._src.domains.global_ import Global
from jaxpool._src.lowering.triangles import upper_triangle
from jaxpool._src.lowering.windows import numbered
from jaxpool._src.reductions.mean import quotient
from jaxpool._src.reductions.units import power_of_2

# Newton-Schulz steps that are written out; more are a loop.
_WRITTEN_OUT = 8

# A Fourier transform is two products if no factor of its length is longer.
_LONGEST_FACTOR = 1024


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which axes of x have elements, and which one has channels; all others are batch."""

    ndim: int
    pooled: tuple[int, ...]
    channel: int

    @property
    def batch(self) -> tuple[int, ...]:
        return tuple(i for i in range(self.ndim) if i != self.channel and i not in self.pooled)

    @property
    def own(self) -> tuple[int, ...]:
        """The axes that an element's entry of the batch is repeated along."""
        return (*self.pooled, self.channel)

    def outer(self, x: jax.Array, y: jax.Array) -> jax.Array:
        """Sum of all elements' outer products: ``[*batch, channels of x, channels of y]``."""
        return _product(x, y, (self.pooled, self.pooled), (self.batch, self.batch))

    def count(self, x: jax.Array, mask: jax.Array | None) -> jax.Array:
        """The number of elements, at least 1, with the rank of x and size 1 but along batch."""
        number = Global(self.pooled, keepdims=True).count(x.shape, mask)
        return jnp.maximum(number.astype(x.dtype), np.ones((), x.dtype))

    def per_cell(self, cells: jax.Array, axes: int) -> jax.Array:
        """What `count` gives, with so many axes of size 1 after those of batch."""
        flat = lax.squeeze(cells, self.own)
        return lax.expand_dims(flat, range(flat.ndim, flat.ndim + axes))

    def total(self, x: jax.Array) -> jax.Array:
        return jnp.sum(x, self.pooled, dtype=x.dtype, keepdims=True)


def _product(
    x: jax.Array,
    y: jax.Array,
    contract: tuple[Sequence[int], Sequence[int]],
    batch: tuple[Sequence[int], Sequence[int]] = ((), ()),
) -> jax.Array:
    return lax.dot_general(x, y, (contract, batch), precision=lax.Precision.HIGHEST)


def _with_rank(x: jax.Array, ndim: int) -> jax.Array:
    return x.reshape((1,) * (ndim - x.ndim) + x.shape)


def _root(x: jax.Array) -> jax.Array:
    """The square root of what is not negative; that of 0 has slope 0."""
    zero = x == 0
    root = jnp.sqrt(jnp.where(zero, np.ones((), x.dtype), x))
    return jnp.where(zero, np.zeros((), x.dtype), root)


def _unit(x: jax.Array, axes: Sequence[int], least: jax.Array | None = None) -> jax.Array:
    """A power of 2 about as large as the largest entry along some axes, which stay with size 1.

    As a constant: what is scaled by it is scaled back, or keeps no scale. `least` is how large it
    is to be at least.
    """
    largest = jnp.max(jnp.abs(lax.stop_gradient(x)), tuple(axes), keepdims=True, initial=0)
    if least is not None:
        largest = jnp.maximum(largest, lax.stop_gradient(least))
    return power_of_2(largest)[0]


def _directions(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    """Vectors along some axes over their lengths; zeros stay, and have gradient 0."""
    x = x / _unit(x, axes)
    square = jnp.sum(x * x, axes, keepdims=True)
    positive = square != 0
    length = jnp.sqrt(jnp.where(positive, square, np.ones((), x.dtype)))
    return jnp.where(positive, x / length, np.zeros((), x.dtype))


def _centred(x: jax.Array, mask: jax.Array | None, layout: Layout, number: jax.Array) -> jax.Array:
    """Distances from the mean, 0 for what is masked out.

    In two steps, since the mean is rounded: what is near it has all digits of its distances, and
    elements that are all alike have none.
    """
    reference = quotient(layout.total(lax.stop_gradient(x)), number)
    x = with_zeros(x - reference, mask)
    return with_zeros(x - quotient(layout.total(x), number), mask)


def covariance(x: jax.Array, mask: jax.Array | None, layout: Layout, ddof: int) -> jax.Array:
    """The covariance of channels; NaN where there are no more than `ddof` elements."""
    number = layout.count(x, mask)
    x = _centred(with_zeros(x, mask), mask, layout, number)
    free = layout.per_cell(number - np.array(ddof, x.dtype), 2)
    enough = free > 0
    y = quotient(layout.outer(x, x), jnp.where(enough, free, np.ones((), x.dtype)))
    return jnp.where(enough, y, np.array(np.nan, x.dtype))


def bilinear(
    x: jax.Array, y: jax.Array | None, mask: jax.Array | None, layout: Layout, normalize: bool
) -> jax.Array:
    """The mean outer product, as a vector."""
    number = layout.per_cell(layout.count(x, mask), 2)
    given = [with_zeros(a, mask) for a in ((x,) if y is None else (x, y))]
    if normalize:  # in units, which the length takes away again
        given = [a / _unit(a, layout.own) for a in given]
    z = quotient(layout.outer(given[0], given[-1]), number)
    z = z.reshape(*z.shape[:-2], z.shape[-2] * z.shape[-1])
    if not normalize:
        return z
    return _directions(jnp.sign(lax.stop_gradient(z)) * _root(jnp.abs(z)), (z.ndim - 1,))


def covariance_root(
    x: jax.Array,
    mask: jax.Array | None,
    layout: Layout,
    iterations: int,
    epsilon: jax.Array,
    vectorize: bool,
) -> jax.Array:
    """The square root of the covariance, by Newton-Schulz iterations."""
    number = layout.count(x, mask)
    x = _centred(with_zeros(x, mask), mask, layout, number)
    # In a unit in which neither squares nor what is added to the diagonal can overflow.
    added = _root(epsilon)
    unit = _unit(x, layout.own, added)
    x, unit = x / unit, layout.per_cell(unit, 2)
    y = quotient(layout.outer(x, x), layout.per_cell(number, 2))
    n, one = y.shape[-1], np.ones((), y.dtype)
    diagonal = numbered(y.ndim - 2, n, y.ndim) == numbered(y.ndim - 1, n, y.ndim)
    added = added / unit  # the root, since of two divisions XLA makes one, by the unit's square
    y = y + jnp.where(diagonal, added * added, 0)
    trace = jnp.sum(jnp.where(diagonal, y, 0), (-2, -1), keepdims=True)
    y = y / jnp.where(trace == 0, one, trace)
    y = _newton_schulz(y, jnp.where(diagonal, 3 * one, 0), iterations) * (_root(trace) * unit)
    return upper_triangle(y) if vectorize else y


def _newton_schulz(y: jax.Array, thrice: jax.Array, iterations: int) -> jax.Array:
    """So many steps to the square root of matrices, from ``z = 1``; `thrice` is 3 of these.

    Products with the first z are left out, and so is the last z, which nothing needs.
    """

    def times(a: jax.Array, b: jax.Array) -> jax.Array:
        batch = tuple(range(a.ndim - 2))
        return _product(a, b, ((a.ndim - 1,), (a.ndim - 2,)), (batch, batch))

    def factor(zy: jax.Array) -> jax.Array:
        return (thrice - zy) / 2

    def step(state: tuple[jax.Array, jax.Array], _: None) -> Any:
        y, z = state
        t = factor(times(z, y))
        return (times(y, t), times(t, z)), None

    z = factor(y)
    y = times(y, z)
    if iterations == 1:
        return y
    state, between = (y, z), iterations - 2
    if between > _WRITTEN_OUT:
        state, _ = lax.scan(step, state, None, between)
    else:
        for _ in range(between):
            state, _ = step(state, None)
    y, z = state
    return times(y, factor(times(z, y)))


def compact_bilinear(
    x: jax.Array,
    mask: jax.Array | None,
    layout: Layout,
    hashes: jax.Array,
    signs: jax.Array,
    size: int,
) -> jax.Array:
    """The mean of elements' tensor sketches.

    The spectrum of a sketch is a product of two that are linear in x. So x is multiplied by the
    spectra of its channels, and only their sum over elements is transformed back.
    """
    number = layout.per_cell(layout.count(x, mask), 1)
    x = with_zeros(x, mask)
    first, second = (_spectra(hashes[i], signs[i], size, x.dtype) for i in range(2))
    channels, lengths = x.shape[layout.channel], [x.shape[axis] for axis in layout.pooled]
    known = all(isinstance(n, int) for n in (channels, *lengths))
    if known and 2 * int(np.prod(lengths)) <= channels:
        # Element by element takes fewer multiplications than their outer products.
        by_element = [_times_complex(x, table, layout.channel) for table in (first, second)]
        axes = tuple(axis - (axis > layout.channel) for axis in layout.pooled)
        spectrum = jnp.sum(by_element[0] * by_element[1], axes)
    else:
        outer = layout.outer(x, x)
        rows = _times_complex(outer, second, outer.ndim - 1)
        spectrum = jnp.sum(rows * _with_rank(first, rows.ndim), -2)
    return quotient(_from_spectrum(spectrum, size), number)


def _spectra(hashes: jax.Array, signs: jax.Array, size: int, dtype: Any) -> jax.Array:
    """The Fourier transform of what each channel adds to a sketch, a row for each."""
    # Behind a barrier, so that XLA does not transform hashes that it knows while it compiles.
    hashes, signs = lax.optimization_barrier((hashes.astype(np.int32), signs.astype(dtype)))
    place = lax.expand_dims(hashes, (1,)) == numbered(1, size, 2)
    return jnp.fft.rfft(jnp.where(place, lax.expand_dims(signs, (1,)), np.zeros((), dtype)))


def _times_complex(x: jax.Array, matrix: jax.Array, axis: int) -> jax.Array:
    """A real array times a complex matrix, along an axis that becomes the last."""
    parts = (_product(x, part, ((axis,), (0,))) for part in (matrix.real, matrix.imag))
    return lax.complex(*parts)


def _from_spectrum(spectrum: jax.Array, size: int) -> jax.Array:
    """The inverse of a real Fourier transform along the last axis.

    In two products with the roots of unity of two factors of its length: XLA would gather what is
    sharded along batch axes for a transform of its own.
    """
    short = next(n for n in range(int(size**0.5), 0, -1) if size % n == 0)
    long = size // short
    if long > _LONGEST_FACTOR:
        return jnp.fft.irfft(spectrum, size)
    dtype = spectrum.real.dtype
    *batch, frequencies = spectrum.shape
    # The other half is this one mirrored, so that all but the first and the middle count twice.
    number = numbered(len(batch), frequencies, len(batch) + 1)
    once = (number == 0) | (2 * number == size)
    weighted = jnp.where(once, spectrum, spectrum + spectrum)
    widths = [(0, 0, 0)] * len(batch) + [(0, size - frequencies, 0)]
    whole = lax.pad(weighted, np.zeros((), spectrum.dtype), widths)
    # Frequency ``long * a + b``, place ``c + short * d``: a to c, then b to d.
    y = whole.reshape(*batch, short, long)
    y = _product(y, _roots(short, short, short, dtype), ((len(batch),), (0,)))  # [*batch, b, c]
    y = y * _with_rank(_roots(long, short, size, dtype), y.ndim)
    y = _product(y, _roots(long, long, long, dtype), ((len(batch),), (0,)))  # [*batch, c, d]
    return jnp.swapaxes(y.real, -1, -2).reshape(*batch, size) / size


def _roots(rows: int, columns: int, order: int, dtype: Any) -> jax.Array:
    """The root of unity of an order to the power of row times column."""
    power = numbered(0, rows, 2) * numbered(1, columns, 2) % order
    angle = power.astype(dtype) * np.array(2 * np.pi / order, dtype)
    return lax.complex(jnp.cos(angle), jnp.sin(angle))


def vlad(
    x: jax.Array,
    centroids: jax.Array,
    logits: jax.Array,
    mask: jax.Array | None,
    layout: Layout,
) -> jax.Array:
    """Residuals to each cluster's centroid, softly assigned, normalised, as a vector.

    Channels and clusters are last; clusters without a centroid take a share of the assignment.
    """
    x, logits = with_zeros((x, logits), mask)
    clusters = centroids.shape[0]
    shares = jax.nn.softmax(logits, -1)[..., :clusters]
    shares = with_zeros(shares, mask)
    # From near the centroids, so that elements and centroids far from 0 have all their digits.
    reference = lax.stop_gradient(jnp.mean(centroids, 0))
    x = with_zeros(x - _with_rank(reference, x.ndim), mask)
    centroids = centroids - reference[None]
    total = jnp.sum(shares, layout.pooled)
    y = layout.outer(shares, x)
    y = y - total[..., None] * _with_rank(centroids, y.ndim)
    y = _directions(y, (y.ndim - 1,))
    y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])
    return _directions(y, (y.ndim - 1,))


def expected_places(
    x: jax.Array,
    mask: jax.Array | None,
    axes: Sequence[int],
    temperature: jax.Array,
) -> jax.Array:
    """The mean place under a softmax over some axes, from -1 to 1, along a last axis for these."""
    zero, lowest = np.zeros((), x.dtype), np.array(-np.inf, x.dtype)
    fixed = lax.stop_gradient(x)
    fixed = fixed if mask is None else jnp.where(mask, fixed, lowest)
    largest = jnp.max(fixed, axes, keepdims=True)  # where it loses a NaN, the weights have it
    # Infinite maxima share their weight, all -inf included.
    below = jnp.where(jnp.isinf(largest), jnp.where(x == largest, zero, lowest), x - largest)
    weighs = below != lowest if mask is None else mask & (below != lowest)
    weight = jnp.exp(jnp.where(weighs, below, zero) / _limited(temperature))
    weight = jnp.where(weighs, weight, zero)
    # The sum of weights, and of weights times places, as one product.
    sums = _product(weight, _table_of_places(x, axes), (axes, range(len(axes))))
    total = sums[..., :1]
    return sums[..., 1:] / jnp.where(total == 0, np.ones((), x.dtype), total)


def _table_of_places(x: jax.Array, axes: Sequence[int]) -> jax.Array:
    """For each element of the pooled axes, in their order, 1 and its places."""
    shape = [x.shape[axis] for axis in axes]
    table = [jnp.ones(shape, x.dtype)]
    for axis, n in enumerate(shape):
        number, last = numbered(axis, n, len(shape)), jnp.asarray(n - 1, np.int32)
        # From behind a barrier, so that the division is one, and the last place exactly 1.
        steps = lax.optimization_barrier(jnp.maximum(last, np.int32(1)).astype(x.dtype))
        table.append(jnp.broadcast_to((2 * number - last).astype(x.dtype) / steps, shape))
    return jnp.stack(table, -1)


def _limited(temperature: jax.Array) -> jax.Array:
    """A temperature whose square, and that of its reciprocal, is a number."""
    most = np.array(2.0**60, temperature.dtype)
    return jnp.clip(temperature, 1 / most, most)
