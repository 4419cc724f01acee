"""A number of samples that depends on the box: against onnxruntime and float64 loops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from tests import derivatives
from tests.regions.oracles import adaptive_align, needed, run_onnx, weights

TESTS_OF = ("regions/corners.py", "regions/places.py", "regions/align.py", "regions/matrices.py",
            "regions/maxima.py", "regions/position_sensitive.py", "regions/sampling.py")  # fmt: skip

H, W, C = 9, 12, 3
P, Q = 3, 2
SCALE = 0.5
X = np.random.default_rng(0).normal(size=(H, W, C)).astype(np.float32)
MOST = 24


def some_boxes():
    """In image coordinates: of all sizes, wholly outside, without area, and turned round."""
    rng = np.random.default_rng(1)
    corners = [rng.uniform(a, b, (n, 2, 2)) for a, b, n in ((0, 1, 30), (-1, 2, 20), (2, 3, 2))]
    boxes = np.sort(np.concatenate(corners), 1).reshape(-1, 4) * np.tile([W, H], 2) / SCALE
    odd = [[4, 4, 4, 8], [3, 5, 9, 5], [9, 9, 2, 2], [2, 9, 9, 3]]
    return np.concatenate([boxes, odd]).astype(np.float32)


BOXES = some_boxes()


def test_samples_are_those_of_onnxruntime():
    """Means and maxima, with and without half a pixel of shift; none is at the edge of counting."""
    forms = [("mean", True), ("mean", False), ("max", True), ("max", False)]
    pool = functools.partial(
        jaxpool.roi_align, output_shape=(P, Q), spatial_scale=SCALE, sampling_ratio=0
    )
    found = jax.jit(lambda x, boxes: [
        pool(x, boxes, reduction=reduction, aligned=aligned, max_sampling_ratio=MOST)
        for reduction, aligned in forms
    ])(X, BOXES)  # fmt: skip
    sized = slice(-2)  # it refuses boxes that are turned round
    for (reduction, aligned), y in zip(forms, found, strict=True):
        expected = run_onnx(
            "RoiAlign", X, BOXES[sized], output_height=P, output_width=Q, spatial_scale=SCALE,
            sampling_ratio=0, mode={"mean": "avg", "max": "max"}[reduction],
            coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        )  # fmt: skip
        np.testing.assert_allclose(y[sized], expected, rtol=2e-5, atol=2e-5)
        if aligned:
            assert not np.asarray(y[-4:]).any()
    # Outside of jit the boxes say how many samples there may be.
    known = pool(X, BOXES, output_shape=(np.int64(P), Q), sampling_ratio=np.int32(0))
    np.testing.assert_allclose(known, found[0], rtol=1e-6, atol=1e-6)
    grad = jax.grad(lambda boxes: jnp.sum(pool(X, boxes)))(jnp.asarray(BOXES[:5]))
    assert np.asarray(grad).any(1).all()


def offsets_of(boxes):
    return np.random.default_rng(2).normal(size=(len(boxes), P, Q, 2)).astype(np.float32)


def test_limits_huge_boxes_and_other_functions():
    """A limit holds for each box; of a huge one, few samples are near the map; NaN keeps to itself."""
    huge = np.float32([[-9000, 2, 12000, 14], [3, -70000, 19, 66000], [-1e4, -1e4, 1e4, 1e4]])
    boxes = np.concatenate([BOXES[::6], huge, np.full((1, 4), np.nan, np.float32)])
    own = np.random.default_rng(3).normal(size=(H, W, 2 * P * Q)).astype(np.float32)
    offsets = offsets_of(boxes)

    @jax.jit
    def pools(x, own, boxes, offsets):
        same = {"output_shape": (P, Q), "sampling_ratio": 0, "spatial_scale": SCALE}
        return (
            jaxpool.roi_align(x, boxes, **same, max_sampling_ratio=3),
            jaxpool.roi_align(x, boxes, **same, max_sampling_ratio=2**20),
            jaxpool.position_sensitive_roi_align(own, boxes, **same, max_sampling_ratio=2**20),
            jaxpool.deformable_roi_pool(x, boxes, offsets, **same, max_sampling_ratio=2**20),
        )

    limited, free, sensitive, deformed = map(np.asarray, pools(X, own, boxes, offsets))
    per_cell = own.reshape(H, W, 2, P, Q)
    for k, box in enumerate(boxes[:-1]):
        for y, most in ((limited, 3), (free, None)):
            expected = adaptive_align(X, box, (P, Q), SCALE, most=most)
            np.testing.assert_allclose(y[k], expected, rtol=1e-4, atol=3e-5)
        x1, y1, x2, y2 = np.float64(box) * SCALE - 0.5
        tall, wide = (y2 - y1) / P, (x2 - x1) / Q
        for p, q in np.ndindex(P, Q):
            expected = adaptive_align(per_cell[..., p, q], box, (P, Q), SCALE)[p, q]
            np.testing.assert_allclose(sensitive[k, p, q], expected, rtol=1e-4, atol=3e-5)
            dx, dy = 0.1 * np.float64(offsets[k, p, q]) * (x2 - x1, y2 - y1)
            rows = weights([y1 + p * tall + dy], tall, 1, needed(tall), H)
            columns = weights([x1 + q * wide + dx], wide, 1, needed(wide), W)
            expected = np.einsum("h,w,hwc->c", rows[0], columns[0], X.astype(np.float64))
            np.testing.assert_allclose(deformed[k, p, q], expected, rtol=1e-4, atol=5e-5)
    assert all(np.isnan(y[-1]).all() for y in (limited, free, sensitive, deformed))


def test_pyramids():
    """Each box has the samples that it needs on its own map, some at once as when alone."""
    maps = [np.random.default_rng(i).normal(size=(40 // 2**i, 48 // 2**i, C)).astype(np.float32)
            for i in range(3)]  # fmt: skip
    rng = np.random.default_rng(0)
    sides = np.array([1, 27, 50, 60, 100, 130, 300, 170])
    corner = rng.integers(0, 40, (len(sides), 2))
    boxes = np.concatenate([corner, corner + sides[:, None]], 1).astype(np.float32)
    scales = (1 / 4, 1 / 8, 1 / 16)
    pool = functools.partial(
        jaxpool.multi_scale_roi_align, output_shape=(P, Q), spatial_scales=scales, sampling_ratio=0
    )
    y = jax.jit(functools.partial(pool, max_sampling_ratio=16))(maps, boxes)
    for box, found, side in zip(boxes, np.asarray(y), sides, strict=True):
        level = int(np.clip(np.floor(4 + np.log2(side / 224) + 1e-6), 2, 4)) - 2
        expected = adaptive_align(maps[level], box, (P, Q), scales[level])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_allclose(pool(maps, boxes), y, rtol=1e-6, atol=1e-6)


FEW = np.array([[1.31, 2.27, 9.73, 14.19], [-3.17, 4.33, 22.91, 21.61], [9, 5, 4, 9.1]])
FEW_SAMPLES = functools.partial(
    jaxpool.roi_align, output_shape=(P, Q), spatial_scale=SCALE, sampling_ratio=0,
    max_sampling_ratio=5,
)  # fmt: skip


def test_derivatives_of_means():
    """In x and in boxes that have other counts, one of them none."""
    with jax.enable_x64(True):
        at = X.astype(np.float64), FEW
        gradient = derivatives.check(FEW_SAMPLES, at)
        assert not np.asarray(gradient(*at)[1][2]).any()


def test_derivatives_of_maxima_and_batches():
    """The tangent against differences, the gradient against the tangent; under vmap as alone."""
    pool = functools.partial(FEW_SAMPLES, reduction="max")
    with jax.enable_x64(True):
        at = X.astype(np.float64), FEW
        way = tuple(map(derivatives.wave, at))

        @jax.jit
        def everything(*at):
            y, tangent = jax.jvp(pool, at, way)
            return y, tangent, derivatives.dot(jax.vjp(pool, *at)[1](jnp.cos(y)), way)

        y, tangent, backward = everything(*at)
        ahead, behind = (
            np.asarray(everything(*(v + by * d for v, d in zip(at, way, strict=True)))[0])
            for by in (1e-6, -1e-6)
        )
    np.testing.assert_allclose(tangent, (ahead - behind) / 2e-6, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(backward, np.vdot(np.cos(y), tangent), rtol=1e-8)
    images, many = np.stack([X, -X]), np.stack([FEW, FEW[::-1] * 1.3]).astype(np.float32)
    forms = FEW_SAMPLES, pool
    both = jax.jit(
        lambda x, b: [(jax.vmap(f)(x, b), [f(x[i], b[i]) for i in range(2)]) for f in forms]
    )
    for y, alone in both(images, many):
        np.testing.assert_allclose(y, alone, rtol=1e-6, atol=1e-6)


def test_groups_of_boxes_and_platforms_agree():
    """Boxes that are walked together are put back in order; TPUs multiply matrices; no scatters."""
    boxes = np.concatenate([BOXES] * 2)
    pool = functools.partial(
        jaxpool.roi_align, output_shape=(P, Q), spatial_scale=SCALE, sampling_ratio=0,
        max_sampling_ratio=MOST,
    )  # fmt: skip
    y = pool(X, boxes)
    expected = np.array([adaptive_align(X, box, (P, Q), SCALE) for box in boxes])
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=3e-5)
    back = jax.jit(lambda x, b, g: jax.vjp(pool, x, b)[1](g)).trace(X, boxes, y)
    assert "scatter" not in back.lower(lowering_platforms=("cuda",)).as_text()
    assert (
        "gather" not in jax.jit(pool).trace(X, boxes).lower(lowering_platforms=("tpu",)).as_text()
    )
