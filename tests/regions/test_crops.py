"""Crops: against a loop in NumPy's float64, by the rule that TensorFlow documents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import derivatives

TESTS_OF = ("regions/crops.py", "regions/places.py")

N, H, W, C = 2, 5, 6, 2
X = np.random.default_rng(0).normal(size=(N, H, W, C)).astype(np.float32)
# Inside, flipped along either axis or both, partly and wholly outside, whole, and without area.
BOXES = np.float32([
    [0.11, 0.23, 0.87, 0.71], [0.9, 0.1, 0.2, 0.6], [0.3, 0.8, 0.7, 0.3], [1.1, 1.2, -0.3, -0.1],
    [-0.2, 0.5, 0.4, 1.3], [1.1, 1.2, 1.5, 1.6], [0, 0, 1, 1], [0.4, 0.4, 0.4, 0.4],
    [0.1, 0.2, 0.3, 0.4],
])  # fmt: skip
IDS = np.int32([0, 1, 1, 0, 1, 0, 1, 0, 2])


def crop(image, box, size, outer):
    y1, x1, y2, x2 = np.float64(box)
    y = np.full((*size, C), outer, np.float64)
    for p, q in np.ndindex(*size):
        at = []
        for i, n, low, high, length in ((p, size[0], y1, y2, H), (q, size[1], x1, x2, W)):
            between = low + i * (high - low) / (n - 1) if n > 1 else (low + high) / 2
            at.append(between * (length - 1))
        if all(0 <= t <= n - 1 for t, n in zip(at, (H, W), strict=True)):
            (i, a), (j, b) = ((int(t), t - int(t)) for t in at)
            down, right = min(i + 1, H - 1), min(j + 1, W - 1)
            top = (1 - b) * image[i, j] + b * image[i, right]
            y[p, q] = (1 - a) * top + a * ((1 - b) * image[down, j] + b * image[down, right])
    return y


def test_crops_equal_loops():
    sizes = (4, 3), (1, 5)
    found = jax.jit(lambda x, boxes: [
        jaxpool.crop_and_resize(x, boxes, size, extrapolation_value=7.5, batch_indices=IDS)
        for size in sizes
    ])(X, BOXES)  # fmt: skip
    for size, y in zip(sizes, found, strict=True):
        expected = [crop(X[i], b, size, 7.5) for i, b in zip(IDS[:-1], BOXES[:-1], strict=True)]
        np.testing.assert_allclose(y[:-1], expected, rtol=1e-5, atol=1e-5)
        assert not np.asarray(y[-1]).any()
    np.testing.assert_allclose(found[0][6, [0, -1]][:, [0, -1]], X[1, ::4, ::5], rtol=1e-6)
    outside = jaxpool.crop_and_resize(
        X, BOXES[5:6] + 1, 2, extrapolation_value=7.5, batch_indices=IDS[-1:]
    )
    assert not np.asarray(outside).any()


def test_derivatives_of_crops():
    with jax.enable_x64(True):
        at = X[0, ..., :1].astype(np.float64), BOXES[[0, 3, 4]].astype(np.float64)
        gradient = derivatives.check(
            lambda x, b: jaxpool.crop_and_resize(x, b, 2, extrapolation_value=3), at
        )
        broken = at[1].copy()
        broken[2] = np.nan, 0, 1, np.inf
        in_x, in_boxes = gradient(at[0], broken)
        assert np.isfinite(in_x).all()
        np.testing.assert_allclose(in_boxes[:2], gradient(*at)[1][:2])
        assert not np.asarray(in_boxes[2]).any()


def test_mistakes_of_crops():
    for error, text, given in (
        (
            ValueError,
            r"`boxes` must have shape \(K, 4\), with \(y1, x1, y2, x2\)",
            (X[0], BOXES[0], 2),
        ),
        (ValueError, "`crop_size` must be an int >= 1, or 2", (X[0], BOXES, (2, 0))),
    ):
        with pytest.raises(error, match=f"^crop_and_resize: {text}"):
            jaxpool.crop_and_resize(*given)
    with pytest.raises(TypeError, match="`extrapolation_value` must be a finite number"):
        jaxpool.crop_and_resize(X[0], BOXES, 2, extrapolation_value="0")
    y = jaxpool.crop_and_resize(jnp.ones((3, 3, 1), jnp.bfloat16), BOXES, 1)
    assert y.dtype == jnp.bfloat16
