"""Boxes in space, (x1, y1, z1, x2, y2, z2): against loops in NumPy's float64."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool import linen
from tests import derivatives
from tests.regions.oracles import adaptive_align

TESTS_OF = ("regions/align.py", "regions/pools.py", "regions/corners.py", "regions/maxima.py",
            "regions/matrices.py", "regions/products.py", "regions/places.py", "layers/checks.py")  # fmt: skip

D, H, W, C = 4, 5, 7, 2
CELLS = (2, 3, 1)
SCALE = 0.5
rng = np.random.default_rng(0)
X = rng.normal(size=(2, D, H, W, C)).astype(np.float32)
CORNERS = np.concatenate([rng.uniform(0, 1, (4, 2, 3)), rng.uniform(-0.6, 1.6, (4, 2, 3))])
BOXES = np.sort(CORNERS * [W, H, D] / SCALE, 1).reshape(-1, 6).astype(np.float32)
IDS = np.array([1, 0, 0, 1, 1, 2, 0, 1], np.int32)


def trilinear(image, point):
    """0 if more than a pixel outside, else clamped to the image."""
    size = image.shape[:3]
    if any(t < -1 or t > n for t, n in zip(point, size, strict=True)):
        return np.zeros(image.shape[3])
    point = [min(max(t, 0), n - 1) for t, n in zip(point, size, strict=True)]
    total = np.zeros(image.shape[3])
    for up in itertools.product((0, 1), repeat=3):
        at = [min(int(t) + u, n - 1) for t, u, n in zip(point, up, size, strict=True)]
        weight = math.prod(
            t - int(t) if u else 1 - (t - int(t)) for t, u in zip(point, up, strict=True)
        )
        total += weight * image[tuple(at)]
    return total


def by_samples(image, box, aligned):
    box = np.float64(box) * SCALE - 0.5 * aligned
    low, size = box[2::-1], box[:2:-1] - box[2::-1]
    size = size if aligned else np.maximum(size, 1)
    y = np.zeros((*CELLS, C))
    for cell in np.ndindex(*CELLS):
        for sample in np.ndindex(2, 2, 2):
            part = (np.array(cell) + (np.array(sample) + 0.5) / 2) / CELLS
            y[cell] += trilinear(image, low + part * size) / 8
    return y


def largest(image, box):
    low, high = (
        np.floor(np.abs(v) + 0.5) * np.sign(v) for v in (np.float32(box) * SCALE).reshape(2, 3)
    )
    low, length = low[::-1].astype(int), np.maximum(high - low + 1, 1)[::-1].astype(int)
    y = np.zeros((*CELLS, C))
    for cell in np.ndindex(*CELLS):
        # Whole numbers divided at last, so that floor and ceil are exact.
        bounds = [(max(o + i * n // k, 0), max(o - (-(i + 1) * n // k), 0))
                  for o, i, n, k in zip(low, cell, length, CELLS, strict=True)]  # fmt: skip
        pixels = image[tuple(slice(*bound) for bound in bounds)]
        y[cell] = pixels.max((0, 1, 2)) if pixels.size else 0
    return y


def test_values_of_several_images():
    """By samples, adaptive or not, and maxima, of boxes that name their image."""

    @jax.jit
    def pools(x, boxes):
        same = {"output_shape": CELLS, "spatial_scale": SCALE, "batch_indices": IDS}
        return (
            jaxpool.roi_align(x, boxes, **same),
            jaxpool.roi_align(x, boxes, **same, aligned=False),
            jaxpool.roi_align(x, boxes, **same, sampling_ratio=0, max_sampling_ratio=16),
            jaxpool.roi_max_pool(x - 5, boxes, **same),
        )

    found = [np.asarray(y) for y in pools(X, BOXES)]
    assert not any(y[IDS == 2].any() for y in found)
    for k in np.flatnonzero(IDS < 2):
        image, box = X[IDS[k]].astype(np.float64), BOXES[k]
        expected = (
            by_samples(image, box, True),
            by_samples(image, box, False),
            adaptive_align(image, box, CELLS, SCALE),
            largest(X[IDS[k]] - 5, box),
        )
        for y, wanted in zip(found, expected, strict=True):
            np.testing.assert_allclose(y[k], wanted, rtol=1e-5, atol=2e-5)


def test_what_does_not_change_in_depth_is_flat():
    flat, boxes = X[0, 1], np.delete(BOXES[:4], [2, 5], 1)
    deep, inside = np.stack([flat] * 9), BOXES[:4].copy()
    inside[:, [2, 5]] = 3.0, 11.0
    pools = jaxpool.roi_align, jaxpool.roi_max_pool
    both = jax.jit(lambda deep, flat: [
        (f(deep, inside, (3, 2, 2), spatial_scale=SCALE), f(flat, boxes, 2, spatial_scale=SCALE))
        for f in pools
    ])  # fmt: skip
    for y, expected in both(deep, flat):
        np.testing.assert_allclose(y, np.stack([expected] * 3, 1), rtol=1e-6, atol=1e-6)


def test_derivatives():
    """Of means to second order; maxima are linear in which pixels they pick."""
    with jax.enable_x64(True):
        at = X[0, :, :, :4, :1].astype(np.float64), BOXES[:2].astype(np.float64)
        derivatives.check(
            lambda x, b: jaxpool.roi_align(x, b, CELLS, spatial_scale=SCALE, sampling_ratio=1), at
        )
    pool = lambda x: jaxpool.roi_max_pool(x, BOXES, CELLS, spatial_scale=SCALE)
    y, tangent = jax.jit(lambda x: jax.jvp(pool, (x,), (x,)))(X[0])
    np.testing.assert_array_equal(tangent, y)


def test_layers_and_mistakes():
    class Own(linen.RoiAlign):  # by a name of its own
        pass

    for layer in (linen.RoiAlign(CELLS), linen.RoiMaxPool(CELLS), Own(CELLS)):
        assert layer.apply({}, X[0], BOXES).shape == (len(BOXES), *CELLS, C)
    with pytest.raises(ValueError, match="`output_shape` must be an int >= 1, or 3 of them"):
        jaxpool.roi_align(X[0], BOXES, (2, 2))
    with pytest.raises(
        ValueError, match=r"`x` must have shape \(D, H, W, C\); got x.shape=\(5, 7, 2\)"
    ):
        jaxpool.roi_max_pool(X[0, 0], BOXES, 2)
    for flat in (jaxpool.precise_roi_pool, jaxpool.position_sensitive_roi_pool):
        with pytest.raises(ValueError, match=r"`boxes` must have shape \(K, 4\)"):
            flat(X[0, 0], BOXES, 2)
    assert jnp.isnan(jaxpool.roi_align(X[0], np.full((1, 6), np.nan), 1)).all()
