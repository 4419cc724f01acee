"""Poolings as a good user writes them: strided slices of a padded array, one for each tap."""

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def slices(x: Any, geometry: Any, value: float = 0) -> list[Any]:
    """For each tap, what windows have there; `value` in padding."""
    x = jnp.pad(x, geometry.over_all(geometry.pads, (0, 0)), constant_values=value)
    found = []
    for taps in itertools.product(*(range(k) for k in geometry.sizes)):
        cuts = [
            slice(t * d, t * d + (w.output - 1) * s + 1, s)
            for t, d, s, (_, w) in zip(
                taps, geometry.dilation, geometry.strides, geometry.windows, strict=True
            )
        ]
        found.append(x[tuple(geometry.over_all(cuts, slice(None)))])
    return found


def _total(terms: list[Any]) -> Any:
    return functools.reduce(lambda a, b: a + b, terms)


def _maximum(x: Any, geometry: Any) -> Any:
    larger = lambda a, b: jnp.where(b > a, b, a)  # noqa: E731
    return functools.reduce(larger, slices(x, geometry, -np.inf))


def mixed_pool(x: Any, geometry: Any, alpha: Any = 0.3) -> Any:
    mean = _total(slices(x, geometry)) / math.prod(geometry.sizes)
    return alpha * _maximum(x, geometry) + (1 - alpha) * mean


def gated_pool(x: Any, geometry: Any, gate: Any) -> Any:
    parts = slices(x, geometry)
    logit = _total([w * part for w, part in zip(gate.ravel(), parts, strict=True)])
    return mixed_pool(x, geometry, jax.nn.sigmoid(logit))


def stochastic_pool(x: Any, geometry: Any) -> Any:
    parts = slices(x, geometry)
    weights = [lax.stop_gradient(jnp.maximum(part, 0)) for part in parts]
    total = _total(weights)
    threshold = jax.random.uniform(jax.random.key(0), total.shape, total.dtype) * total
    before, y = jnp.zeros_like(total), jnp.zeros_like(total)
    for part, weight in zip(parts, weights, strict=True):
        y = jnp.where((before <= threshold) & (weight > 0), part, y)
        before = before + weight
    return y


def s3_pool(x: Any, geometry: Any) -> Any:
    pads = [(w.low, w.high) for _, w in geometry.windows]
    y = jnp.pad(x, geometry.over_all(pads, (0, 0)), constant_values=-np.inf)
    for number, (axis, w) in enumerate(geometry.windows):
        maxima = y.shape[axis] - w.span + 1
        y = functools.reduce(
            jnp.maximum,
            (
                lax.slice_in_dim(y, tap * w.dilation, tap * w.dilation + maxima, 1, axis)
                for tap in range(w.window)
            ),
        )
        cells = (maxima + w.ceil_mode * (w.stride - 1)) // w.stride
        key = jax.random.fold_in(jax.random.key(0), number)
        places = np.arange(cells)[:, None] * w.stride + np.arange(w.stride)
        score = jnp.where(places < maxima, jax.random.uniform(key, places.shape), 2)
        y = jnp.take(y, jnp.argmin(score, 1) + places[:, 0], axis)
    return y


def _weighted(parts: list[Any], weights: list[Any], inside: list[Any]) -> Any:
    weights = [weight * one for weight, one in zip(weights, inside, strict=True)]
    return _total([w * p for w, p in zip(weights, parts, strict=True)]) / _total(weights)


def _parts_and_mean(x: Any, geometry: Any) -> tuple[list[Any], list[Any], Any, Any]:
    parts, inside = slices(x, geometry), slices(jnp.ones_like(x), geometry)
    count = _total(inside)
    return parts, inside, count, _total(parts) / count


def adaptive_weighted_pool(x: Any, geometry: Any) -> Any:
    parts, inside, _, mean = _parts_and_mean(x, geometry)
    alike = [
        jnp.exp(2 * jnp.abs(e * mean) / jnp.maximum(e * e + mean * mean, 1e-12)) for e in parts
    ]
    return _weighted(parts, alike, inside)


def detail_preserving_pool(x: Any, geometry: Any) -> Any:
    parts, inside, count, mean = _parts_and_mean(x, geometry)
    squares = [(e - mean) ** 2 + 1e-3 for e in parts]
    usual = _total([r * one for r, one in zip(squares, inside, strict=True)]) / count
    return _weighted(parts, [1 + jnp.sqrt(r / usual) for r in squares], inside)


FORMS: dict[str, Callable[..., Any]] = {
    "mixed_pool": mixed_pool,
    "gated_pool": gated_pool,
    "stochastic_pool": stochastic_pool,
    "s3_pool": s3_pool,
    "adaptive_weighted_pool": adaptive_weighted_pool,
    "detail_preserving_pool": detail_preserving_pool,
}
