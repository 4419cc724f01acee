"""Pools of boxes: against live onnxruntime, NumPy float64 loops, and finite differences."""

import functools
import itertools
import math

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.regions import corners, matrices, sampling
from jaxpool._src.regions.corners import Cells
from tests import derivatives
from tests.compiling import as_users
from tests.regions.oracles import run_onnx

TESTS_OF = (
    "regions/pools.py",
    "regions/position_sensitive.py",
    "regions/align.py",
    "regions/places.py",
    "regions/sampling.py",
    "regions/maxima.py",
    "regions/matrices.py",
    "regions/corners.py",
    "regions/products.py",
    "regions/tangents.py",
)

H, W, C = 9, 12, 3
P, Q = 3, 2
SCALE = 0.5
X = np.random.default_rng(0).normal(size=(H, W, C)).astype(np.float32)


def some_boxes(count, seed=0):
    """Inside, partly and wholly outside, tiny, huge, on whole and half pixels; in image coordinates."""
    rng = np.random.default_rng(seed)
    kinds = [
        rng.uniform(0, 1, (count, 2, 2)), rng.uniform(-1, 2, (count, 2, 2)),
        rng.uniform(0, 1, (count, 1, 2)) + rng.uniform(0, 0.02, (count, 2, 2)),
        rng.uniform(-3, 4, (count, 2, 2)),
    ]  # fmt: skip
    corners = np.sort(np.concatenate(kinds), axis=1) * np.array([W, H]) / SCALE
    boxes = corners.reshape(-1, 4)
    boxes = np.concatenate([boxes, np.round(boxes), np.round(2 * boxes) / 2])
    return boxes.astype(np.float32)


BOXES = some_boxes(40)
REVERSED = BOXES[:20, [2, 3, 0, 1]]


# --- live onnxruntime -----------------------------------------------------------------------------


def decided(boxes, ratio, aligned):
    """Boxes none of whose samples lies where it may be in or out by a rounding: -1, and the size."""
    low, high = (boxes[:, i].astype(np.float64) * SCALE - 0.5 * aligned for i in ([1, 0], [3, 2]))
    size = high - low if aligned else np.maximum(high - low, 1)
    near = np.zeros(len(boxes), bool)
    for axis, (n, length) in enumerate(((P, H), (Q, W))):
        parts = (np.arange(n * ratio) + 0.5) / (n * ratio)
        places = low[:, axis, None] + parts * size[:, axis, None]
        for jump in (-1, length):
            near |= (np.abs(places - jump) < 1e-4).any(1)
    return ~near


EVERY = itertools.product(("mean", "max"), (True, False), (1, 2, 5))
QUICK = [("mean", True, 1), ("max", False, 1), ("mean", False, 2), ("max", True, 2),
         ("mean", True, 5), ("max", False, 5)]  # fmt: skip


@pytest.mark.parametrize(
    ("reduction", "aligned", "ratio"),  # 5 x 5 x 4 corners run in a loop
    [pytest.param(*p, marks=() if p in QUICK else pytest.mark.exhaustive) for p in EVERY],
)
def test_roi_align_is_that_of_onnxruntime(reduction, aligned, ratio):
    boxes = np.concatenate([BOXES, REVERSED])
    y = jax.jit(lambda x, boxes: jaxpool.roi_align(
        x, boxes, (P, Q), spatial_scale=SCALE, sampling_ratio=ratio, aligned=aligned,
        reduction=reduction,
    ))(X, boxes)  # fmt: skip
    expected = run_onnx(
        "RoiAlign", X, boxes, output_height=P, output_width=Q, spatial_scale=SCALE,
        sampling_ratio=ratio, mode={"mean": "avg", "max": "max"}[reduction],
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
    )  # fmt: skip
    assert y.shape == expected.shape == (len(boxes), P, Q, C)
    sure = decided(boxes, ratio, aligned)
    assert sure.mean() > 0.9
    np.testing.assert_allclose(y[sure], expected[sure], rtol=1e-5, atol=2e-5)


def test_roi_align_by_hand():
    """The figures that onnxruntime 1.32 gives, so that they hold without it too."""
    x, boxes = np.arange(25, dtype=np.float32).reshape(5, 5, 1), np.float32([[0, 0, 4, 4]])
    pool = functools.partial(jaxpool.roi_align, output_shape=2, sampling_ratio=1)
    found = jax.jit(lambda *a: (pool(*a), pool(*a, reduction="max"), pool(*a, aligned=False)))
    for y, expected in zip(
        found(x, boxes), ([3, 5, 13, 15], [1.5, 2, 4, 4.5], [6, 8, 16, 18]), strict=True
    ):
        np.testing.assert_array_equal(y.ravel(), expected)


@pytest.mark.parametrize("cells", [(1, 1), (3, 2), (7, 7)])
def test_roi_max_pool_is_that_of_onnxruntime(cells):
    boxes = np.concatenate([BOXES, REVERSED])
    x = X - 5  # so that 0, the value of empty cells, is no maximum
    y = jax.jit(lambda x, b: jaxpool.roi_max_pool(x, b, cells, spatial_scale=SCALE))(x, boxes)
    expected = run_onnx("MaxRoiPool", x, boxes, pooled_shape=cells, spatial_scale=SCALE)
    np.testing.assert_array_equal(y, expected)
    assert (expected == 0).any()


def test_roi_max_pool_has_no_pixel_too_many():
    """A fault of onnxruntime 1.32: in float32, 7 * (57 / 7) is more than 57."""
    x = np.arange(60, dtype=np.float32).reshape(1, 60, 1)
    boxes = np.array([[0, 0, 56, 0]], np.float32)
    assert jaxpool.roi_max_pool(x, boxes, (1, 7))[0, 0, -1, 0] == 56
    assert run_onnx("MaxRoiPool", x, boxes, pooled_shape=(1, 7))[0, 0, -1, 0] == 57


# --- NumPy loops ----------------------------------------------------------------------------------


def function(name, **options):
    return functools.partial(getattr(jaxpool, name), output_shape=(P, Q), **options)


def half_away(v):
    return math.copysign(math.floor(abs(v) + 0.5), v)


def bilinear(image, y, x):
    """`image` at a point: 0 if more than a pixel outside, else clamped to the image."""
    height, width = image.shape[:2]
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(image.shape[2])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    i, j = min(int(y), max(height - 2, 0)), min(int(x), max(width - 2, 0))
    a, b = y - i, x - j
    down, right = min(i + 1, height - 1), min(j + 1, width - 1)
    return (
        (1 - a) * (1 - b) * image[i, j] + (1 - a) * b * image[i, right]
        + a * (1 - b) * image[down, j] + a * b * image[down, right]
    )  # fmt: skip


def largest_corner(image, y, x):
    """The largest of the four products that `bilinear` adds up."""
    i, j = np.ogrid[: image.shape[0], : image.shape[1]]
    y, x = (min(max(v, 0), n - 1) if -1 <= v <= n else v + 9 * n
            for v, n in zip((y, x), image.shape, strict=False))  # fmt: skip
    weight = np.maximum(1 - np.abs(i - y), 0) * np.maximum(1 - np.abs(j - x), 0)
    corners = weight[..., None] * image
    lowest = 0 if (weight > 0).sum() < 4 else -np.inf
    return np.maximum(np.where(weight[..., None] > 0, corners, -np.inf).max((0, 1)), lowest)


def by_samples(image, box, cells, scale, ratio, aligned=True, offsets=None, gamma=0.1,
               take=bilinear, reduce=np.mean):  # fmt: skip
    """RoIAlign of one box, whose cells may be moved by offsets; image maybe per cell."""
    x1, y1, x2, y2 = (np.float64(v) * scale - (0.5 if aligned else 0) for v in box)
    width, height = x2 - x1, y2 - y1
    if not aligned:
        width, height = max(width, 1), max(height, 1)
    y = []
    for p in range(cells[0]):
        for q in range(cells[1]):
            dx, dy = (0, 0) if offsets is None else gamma * offsets[p, q] * (width, height)
            here = image if image.ndim == 3 else image[..., p, q]
            points = [
                take(here, y1 + dy + (p + (i + 0.5) / ratio) * height / cells[0],
                     x1 + dx + (q + (j + 0.5) / ratio) * width / cells[1])
                for i in range(ratio) for j in range(ratio)
            ]  # fmt: skip
            y.append(reduce(points, axis=0))
    return np.reshape(y, (*cells, -1))


@pytest.mark.parametrize("reduction", ["mean", "max"])
def test_roi_align_equals_loops(reduction):
    boxes = np.concatenate([BOXES[::7], REVERSED[:3]])
    boxes = boxes[decided(boxes, 3, False)]
    y = jax.jit(lambda x, boxes: jaxpool.roi_align(
        x, boxes, (P, Q), spatial_scale=SCALE, sampling_ratio=3, aligned=False,
        reduction=reduction,
    ))(X, boxes)  # fmt: skip
    how = {"take": largest_corner, "reduce": np.max} if reduction == "max" else {}
    image = X.astype(np.float64)
    expected = [by_samples(image, box, (P, Q), SCALE, 3, aligned=False, **how) for box in boxes]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("cells", [(3, 2), (7, 7)])
def test_roi_max_pool_equals_loops(cells):
    boxes = np.concatenate([BOXES[::5], REVERSED[:3]])
    y = jax.jit(lambda x, b: jaxpool.roi_max_pool(x, b, cells, spatial_scale=SCALE))(X, boxes)
    for box, found in zip(boxes, np.asarray(y), strict=True):
        x1, y1, x2, y2 = (int(half_away(np.float32(v) * np.float32(SCALE))) for v in box)
        tall, wide = max(y2 - y1 + 1, 1), max(x2 - x1 + 1, 1)
        for p, q in np.ndindex(*cells):
            # Whole numbers divided at last, so that floor and ceil are exact.
            top, bottom = y1 + p * tall // cells[0], y1 - (-(p + 1) * tall // cells[0])
            left, right = x1 + q * wide // cells[1], x1 - (-(q + 1) * wide // cells[1])
            cell = X[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
            expected = cell.max((0, 1)) if cell.size else np.zeros(C)
            np.testing.assert_array_equal(found[p, q], expected)


def per_cell(x, cells):
    """Channels ``(c*P + p)*Q + q`` as an array of shape (H, W, C, P, Q)."""
    return x.astype(np.float64).reshape(*x.shape[:2], -1, *cells)


SENSITIVE = np.random.default_rng(1).normal(size=(H, W, 2 * P * Q)).astype(np.float32)


def test_position_sensitive_roi_align():
    boxes = BOXES[::7]
    pool = function("position_sensitive_roi_align", spatial_scale=SCALE)
    y = jax.jit(pool)(SENSITIVE, boxes)
    maps = per_cell(SENSITIVE, (P, Q))
    expected = [by_samples(maps, box, (P, Q), SCALE, 2) for box in boxes]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)


def test_position_sensitive_roi_pool():
    pool = function("position_sensitive_roi_pool", spatial_scale=SCALE)
    y = jax.jit(pool)(SENSITIVE, BOXES)
    maps = per_cell(SENSITIVE, (P, Q))
    empty = 0
    for box, found in zip(BOXES, np.asarray(y), strict=True):
        x1, y1, x2, y2 = (int(half_away(np.float32(v) * np.float32(SCALE))) for v in box)
        for p in range(P):
            for q in range(Q):
                # Whole numbers divided at last, so that floor and ceil are exact.
                tall, wide = max(y2 - y1, 1), max(x2 - x1, 1)
                top, bottom = y1 + p * tall // P, y1 - (-(p + 1) * tall // P)
                left, right = x1 + q * wide // Q, x1 - (-(q + 1) * wide // Q)
                cell = maps[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0), :, p, q]
                empty += cell[..., 0].size == 0
                expected = cell.mean((0, 1)) if cell[..., 0].size else np.zeros(2)
                np.testing.assert_allclose(found[p, q], expected, rtol=1e-5, atol=1e-6)
    assert empty > 20


def pieces(a, b):
    """[a, b] cut at whole numbers, where the interpolant has its kinks."""
    inner = [float(i) for i in range(math.ceil(a), math.floor(b) + 1) if a < i < b]
    ends = [a, *inner, b]
    return itertools.pairwise(ends)


def by_pieces(image, box, cells, scale):
    """Means of the interpolant over cells of one box: the midpoint rule, exact between kinks."""
    x1, y1, x2, y2 = (np.float64(v) * scale for v in box)
    framed = np.pad(image.astype(np.float64), ((1, 1), (1, 1), (0, 0)))  # 0 a pixel outside
    height, width = (y2 - y1) / cells[0], (x2 - x1) / cells[1]
    y = np.zeros((*cells, image.shape[2]))
    if height <= 0 or width <= 0:
        return y
    for p, q in np.ndindex(*cells):
        for top, bottom in pieces(y1 + p * height, y1 + (p + 1) * height):
            for left, right in pieces(x1 + q * width, x1 + (q + 1) * width):
                v, u = (top + bottom) / 2, (left + right) / 2
                if -1 < v < image.shape[0] and -1 < u < image.shape[1]:
                    area = (bottom - top) * (right - left)
                    y[p, q] += area * bilinear(framed, v + 1, u + 1)
    return y / (height * width)


def test_precise_roi_pool():
    boxes = np.concatenate([BOXES[::7], REVERSED[:3], BOXES[:2, [0, 1, 0, 3]]])
    y = jax.jit(function("precise_roi_pool", spatial_scale=SCALE))(X, boxes)
    for box, found in zip(boxes, np.asarray(y), strict=True):
        expected = by_pieces(X, box, (P, Q), SCALE)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=5e-5)


def test_precise_roi_pool_of_tiny_cells():
    """A difference of integrals up to both ends would lose the cell's area."""
    y = jaxpool.precise_roi_pool(np.ones((64, 64, 1), np.float32),
                                 np.array([[40, 50, 40.001, 50.002]], np.float32), 2)  # fmt: skip
    np.testing.assert_allclose(y, 1, rtol=1e-6)


def test_precise_roi_pool_is_as_exact_far_from_the_corner():
    """Constants stay, and so do slopes in boxes, where a float32 has 4 digits of a pixel left."""
    width = 1000
    row = np.random.default_rng(0).normal(size=(1, width)).astype(np.float32)
    x = np.stack([np.ones((6, width)), np.tile(row, (6, 1))], -1).astype(np.float32)
    corners = [(900.3, w) for w in (3, 1, 0.1, 1e-3, 1e-4)] + [(899.9999, 2e-4), (998.9, 0.1)]
    boxes = np.array([[c, 1.2, c + w, 1.2 + w] for c, w in corners], np.float32)
    boxes = np.concatenate([boxes, [[900, 1, np.nextafter(np.float32(900), np.float32(901)), 2]]])

    @jax.jit
    def f(x, boxes):
        y, vjp = jax.vjp(lambda boxes: jaxpool.precise_roi_pool(x, boxes, (1, 3)), boxes)
        return y, *vjp(jnp.zeros_like(y).at[:, 0, 0, 1].set(1))

    y, slopes = f(x, boxes)
    np.testing.assert_allclose(y[..., 0], 1, rtol=5e-7)
    for box, found in zip(boxes, np.asarray(y), strict=True):
        np.testing.assert_allclose(found, by_pieces(x, box, (1, 3), 1), rtol=1e-6, atol=2e-6)
    # Between two pixels, the mean is the value in the middle, which is nearer to the left edge.
    between = np.r_[2, 3, 4, 7]
    at = np.floor(boxes[between, 0]).astype(int)
    for edge, part in ((0, 5 / 6), (2, 1 / 6)):
        expected = part * (row[0, at + 1] - row[0, at])
        np.testing.assert_allclose(slopes[between, edge], expected, rtol=1e-5, atol=1e-6)


def test_deformable_roi_pool():
    boxes = BOXES[::7]
    offsets = np.random.default_rng(2).normal(size=(len(boxes), P, Q, 2)).astype(np.float32)

    @jax.jit
    def pools(x, boxes, offsets):
        pool = functools.partial(jaxpool.deformable_roi_pool, x, boxes, spatial_scale=SCALE)
        return (
            pool(offsets, (P, Q), sampling_ratio=3, gamma=0.3),
            pool(0 * offsets, (P, Q)),
            jaxpool.roi_align(x, boxes, (P, Q), spatial_scale=SCALE),
        )

    y, still, aligned = pools(X, boxes, offsets)
    expected = [
        by_samples(X.astype(np.float64), box, (P, Q), SCALE, 3, offsets=offset, gamma=0.3)
        for box, offset in zip(boxes, offsets, strict=True)
    ]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-5)
    np.testing.assert_array_equal(still, aligned)


PYRAMID = [np.random.default_rng(i).normal(size=(40 // 2**i, 48 // 2**i, C)).astype(np.float32)
           for i in range(3)]  # fmt: skip


def pyramid_boxes():
    """Squares around the sizes at which levels change, and others."""
    sides = np.array([1, 27.9, 28, 28.1, 55.9, 56, 56.1, 111.9, 112, 112.1, 300, 0, 70])
    corner = np.random.default_rng(0).integers(0, 40, (len(sides), 2))
    return np.concatenate([corner, corner + sides[:, None]], 1).astype(np.float32)


@pytest.mark.parametrize("aligned", [True, False])
def test_multi_scale_roi_align(aligned):
    boxes, scales = pyramid_boxes(), (1 / 4, 1 / 8, 1 / 16)
    pool = functools.partial(
        jaxpool.multi_scale_roi_align, output_shape=(P, Q), spatial_scales=scales, aligned=aligned
    )

    @jax.jit
    def pools(pyramid, boxes):
        first = pyramid[:1]
        return (
            pool(pyramid, boxes),
            pool(pyramid, boxes, canonical_size=112, canonical_level=3),
            jaxpool.multi_scale_roi_align(first, boxes, (P, Q), spatial_scales=[0.25]),
            jaxpool.roi_align(first[0], boxes, (P, Q), spatial_scale=0.25),
        )

    y, canonical, one, alone = pools(PYRAMID, boxes)
    used = set()
    for box, found in zip(boxes, np.asarray(y), strict=True):
        side = math.sqrt(np.float64(box[2] - box[0]) * np.float64(box[3] - box[1]))
        level = math.floor(4 + math.log2(max(side, 1e-9) / 224) + 1e-6)
        number = min(max(level, 2), 4) - 2
        used.add(number)
        expected = by_samples(PYRAMID[number].astype(np.float64), box, (P, Q), scales[number], 2,
                              aligned)  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
    assert used == {0, 1, 2}
    np.testing.assert_array_equal(canonical, y)
    np.testing.assert_array_equal(one, alone)


# --- every function -------------------------------------------------------------------------------

# No sample lies on a pixel, where derivatives jump.
FEW = np.array(
    [[1.31, 2.27, 9.73, 14.19], [-3.17, 4.33, 12.91, 21.79], [15.23, 0.71, 30.37, 9.43]], np.float32
)
OFFSETS = np.random.default_rng(3).normal(size=(3, P, Q, 2)).astype(np.float32)


def deformable(x, boxes, **options):
    kind = boxes.dtype if jnp.issubdtype(boxes.dtype, jnp.floating) else np.float32
    offsets = np.resize(OFFSETS, (len(boxes), P, Q, 2)).astype(kind)
    return jaxpool.deformable_roi_pool(x, boxes, offsets, (P, Q), **options)


def pyramid(x, boxes, spatial_scale=1):
    """`x` at two scales, small enough boxes for both."""
    coarse = jax.lax.slice(jnp.asarray(x), (0, 0, 0), x.shape, (2, 2, 1))  # never a gather
    coarse = coarse * 2 if x.dtype != bool else coarse
    return jaxpool.multi_scale_roi_align(
        [x, coarse], boxes, (P, Q), spatial_scales=(spatial_scale, spatial_scale / 2),
        canonical_size=9, canonical_level=1,
    )  # fmt: skip


# Functions of (x, boxes, spatial_scale=...): whether there is a gradient in boxes, and channels of x.
POOLS = {
    "roi_align": (function("roi_align"), True, C),
    "roi_align_max": (function("roi_align", reduction="max"), True, C),
    "roi_max_pool": (function("roi_max_pool"), False, C),
    "precise_roi_pool": (function("precise_roi_pool"), True, C),
    "position_sensitive_roi_align": (function("position_sensitive_roi_align"), True, 2 * P * Q),
    "position_sensitive_roi_pool": (function("position_sensitive_roi_pool"), False, 2 * P * Q),
    "deformable_roi_pool": (deformable, True, C),
    "multi_scale_roi_align": (pyramid, True, C),
}
every = pytest.mark.parametrize("name", POOLS)


def setting(name, dtype=np.float32):
    pool, in_boxes, channels = POOLS[name]
    x = SENSITIVE if channels != C else X
    return (
        functools.partial(pool, spatial_scale=SCALE),
        x.astype(dtype),
        FEW.astype(dtype),
        in_boxes,
    )


MANY = 12  # so many boxes that one program serves several tests


@functools.cache
def backward(name):
    """The pool with its gradients, as one program: of x, boxes and what is handed back."""
    pool = setting(name)[0]

    def f(x, boxes, g):
        y, vjp = jax.vjp(pool, x, boxes)
        return y, *vjp(g)

    return jax.jit(f)


def handed_back(name, count=MANY):
    shape = (count, P, Q, 2 if "sensitive" in name else C)
    return np.cos(np.arange(math.prod(shape), dtype=np.float32)).reshape(shape)


@every
def test_transformations(name, exhaustive):
    """vmap over images, over boxes, and over both; one program each."""
    pool, x, boxes, _ = setting(name)
    images = np.stack([x, x[::-1], -x])
    many = np.stack([boxes, boxes + 1, boxes * 0.7]).astype(np.float32)

    # Compiled quickly, XLA takes minutes for maxima of gathered corners.
    @(as_users if name == "roi_align_max" else jax.jit)
    def batched(images, many):
        nested = jax.vmap(jax.vmap(pool, in_axes=(None, 0)), in_axes=(0, None))(images, many)
        if not exhaustive:
            return nested, jax.vmap(pool)(images, many)
        return (
            nested,
            jax.vmap(pool)(images, many),
            jax.vmap(pool, in_axes=(0, None))(images, many[0]),
            jax.vmap(pool, in_axes=(None, 0))(images[0], many),
        )

    one = jax.jit(pool)
    alone = np.array([[one(image, boxes) for boxes in many] for image in images])
    expected = (alone, alone[[0, 1, 2], [0, 1, 2]], alone[:, 0], alone[0])
    for a, b in zip(batched(images, many), expected, strict=exhaustive):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


@every
def test_derivatives(name):
    """In x, and in boxes if there is one."""
    pool, x, boxes, in_boxes = setting(name, np.float64)
    fixed = [] if in_boxes else [boxes]
    with jax.enable_x64(True):
        derivatives.check(lambda *at: pool(*at, *fixed), (x, boxes)[: 1 + in_boxes])


@pytest.mark.exhaustive
@every
def test_derivatives_in_every_mode(name):
    """First and second order, in x and where there is one in boxes."""
    wave, dot = derivatives.wave, derivatives.dot
    with jax.enable_x64(True):
        pool, x, boxes, in_boxes = setting(name, np.float64)
        at = (jnp.asarray(x), jnp.asarray(boxes))[: 1 + in_boxes]
        direction = jax.tree.map(wave, at)
        f = lambda args: pool(*args, *([] if in_boxes else [boxes]))  # noqa: E731
        gradient = jax.grad(lambda args: jnp.sum(jnp.sin(f(args))))

        @jax.jit
        def everything(args):
            y, tangent = jax.jvp(f, (args,), (direction,))
            cotangent = wave(y)
            (back,) = jax.vjp(f, args)[1](cotangent)
            g, hvp = jax.jvp(gradient, (args,), (direction,))
            again = jax.grad(lambda args: dot(gradient(args), direction))(args)
            return (y, g), (tangent, hvp), (dot(cotangent, tangent), dot(back, direction)), again

        step = 1e-6
        ahead, behind = (
            everything(jax.tree.map(lambda v, d, s=s: v + s * step * d, at, direction))[0]
            for s in (1, -1)
        )
        _, derivative, (forward, backward), again = everything(at)
        for d, a, b in zip(*map(jax.tree.leaves, (derivative, ahead, behind)), strict=True):
            np.testing.assert_allclose(d, (a - b) / (2 * step), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(backward, forward, rtol=1e-10)
        for a, b in zip(again, derivative[1], strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-9)


@every
def test_cuda_gets_no_scatter(name):
    text = backward(name).trace(*setting(name)[1:3], handed_back(name, len(FEW)))
    assert "scatter" not in text.lower(lowering_platforms=("cuda",)).as_text()


NAMES = [name for name in POOLS if name != "deformable_roi_pool"]  # with as many offsets as boxes
OF_PARTS = ("multi_scale_roi_align", "position_sensitive_roi_pool")  # which others have


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in ("roi_align", "roi_max_pool") else pytest.mark.exhaustive)
        for n in NAMES
    ],
)
def test_one_program_serves_all_numbers_of_boxes(name):
    _, x, boxes, in_boxes = setting(name)
    many, g = np.tile(boxes, (MANY // len(boxes), 1)), handed_back(name)
    (count,) = jax.export.symbolic_shape("k")
    shapes = x.shape, (count, 4), (count, *g.shape[1:])
    exported = jax.export.export(backward(name))(
        *(jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes)
    )
    found, expected = exported.call(x, many, g), backward(name)(x, many, g)
    for a, b in zip(found[: 2 + in_boxes], expected, strict=False):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@every
def test_one_bad_pixel_reaches_its_own_cells_only(name):
    """NaN and infinities; which cells those are is what the gradient in x says."""
    pool, x, boxes, _ = setting(name)
    many, g = np.tile(boxes, (MANY // len(boxes), 1)), handed_back(name)
    f = lambda x: np.asarray(backward(name)(x, many, g)[0])[: len(boxes)]  # noqa: E731
    clean = f(x)
    reached = np.asarray(jax.jit(jax.jacrev(pool))(x, boxes)) != 0  # (K, P, Q, C, H, W, C_in)
    touched = 0
    for at in ((3, 4), (0, 0), (H - 1, W - 1), (5, 1), (2, 9)):
        for bad in (np.nan, np.inf, -np.inf):
            dirty = x.copy()
            dirty[at] = bad
            found = f(dirty)
            hit = reached[..., at[0], at[1], :].any(-1)
            if "max" not in name:
                touched += hit.sum()
                assert (~np.isfinite(found) == hit).all()
                assert (np.isnan(found) | (found == bad))[hit].all()
            elif name == "roi_max_pool" and np.isnan(bad):
                touched += np.isnan(found).sum()
                assert np.isnan(found)[hit].all()
            spared = np.isfinite(found) if np.isnan(bad) else found == clean
            np.testing.assert_array_equal(found[spared], clean[spared])
            assert spared.mean() > 0.5
    assert touched or name == "roi_align_max"


@every
def test_gradients_beside_bad_pixels_are_finite(name):
    _, x, boxes, _ = setting(name)
    if "max" in name:
        return
    dirty = x.copy()
    dirty[3, 4] = np.nan
    dirty[0, 0] = np.inf
    many = np.tile(boxes, (MANY // len(boxes), 1))
    for gradient in backward(name)(dirty, many, np.ones_like(handed_back(name)))[1:]:
        assert np.isfinite(gradient).all()


@every
def test_dtypes(name, exhaustive):
    pool, x, boxes, _ = setting(name)
    f = jax.jit(pool)
    narrow = x.astype(jnp.bfloat16)
    y = f(narrow, boxes)
    assert y.dtype == jnp.bfloat16
    # Accumulated in float32 and rounded once.
    expected = f(narrow.astype(np.float32), boxes).astype(jnp.bfloat16)
    np.testing.assert_array_equal(y.astype(np.float32), expected.astype(np.float32))
    whole = np.clip(np.round(20 * x), -100, 100).astype(np.int8)
    kind = np.int8 if name == "roi_max_pool" else np.float32
    round_boxes = np.round(boxes).astype(np.int32)
    if exhaustive or name in ("roi_align", "roi_max_pool"):
        y = f(whole, boxes)
        assert y.dtype == kind
        np.testing.assert_allclose(y, f(whole.astype(np.float32), boxes), rtol=1e-6)
        np.testing.assert_array_equal(f(x, round_boxes), f(x, np.round(boxes)))
    else:
        assert jax.eval_shape(pool, whole, round_boxes).dtype == kind
    for other, dtype in (("bool", np.float32), ("float16", np.float16)):
        y = jax.eval_shape(f, x.astype(other), boxes.astype(jnp.bfloat16))
        assert y.dtype == (np.bool_ if (name, other) == ("roi_max_pool", "bool") else dtype)
    with jax.enable_x64(True):  # the values of float64 are those of test_derivatives
        assert jax.eval_shape(pool, x.astype(np.float64), boxes).dtype == np.float64


@every
def test_degenerate_boxes(name):
    """No boxes; boxes without area, turned round, far away, infinite or NaN: each keeps to itself."""
    pool, x, boxes, in_boxes = setting(name)
    odd = np.array(
        [[4, 4, 4, 4], [9, 9, 2, 2], [1e9, 1e9, 2e9, 2e9], [-1e9] * 4, [-1e30, -1e30, 1e30, 1e30],
         [np.nan] * 4, [-np.inf, -np.inf, np.inf, np.inf]], np.float32,
    )  # fmt: skip

    ones = np.ones_like(handed_back(name))
    tiled = np.tile(boxes, (MANY // len(boxes), 1))
    y, _, gradient = backward(name)(x, np.concatenate([boxes, odd, tiled])[:MANY], ones)
    plain, _, plain_gradient = backward(name)(x, tiled, ones)
    np.testing.assert_allclose(y[:3], plain[:3], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[:3], plain_gradient[:3], rtol=1e-4, atol=1e-5)
    assert np.isfinite(plain_gradient).all()
    assert (np.asarray(plain_gradient) != 0).any() == in_boxes
    assert np.isfinite(y[3:7]).all()
    assert np.isfinite(gradient[3:7]).all()
    assert (np.asarray(y[5:7]) == 0).all()
    assert jax.eval_shape(pool, x, boxes[:0]).shape[0] == 0


def broken_boxes():
    """NaN, infinities and what overflows, in each coordinate, in pairs of them and in all."""
    found = []
    for bad in (np.nan, np.inf, -np.inf, 3e38, -3e38):
        for parts in ([0], [1], [2], [3], [0, 1], [2, 3], [0, 2], [1, 3], [0, 1, 2, 3]):
            found.append(FEW[0].copy())
            found[-1][parts] = bad
    for low, high in itertools.permutations([-np.inf, np.inf, np.nan, -3.4e38, 3.4e38], 2):
        found += [[low, low, high, high], [low, 1, high, 8]]
    return np.array(found, np.float32)


@pytest.mark.parametrize(
    "dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.exhaustive)]
)
@every
def test_boxes_that_are_not_finite_leave_gradients_of_others_alone(name, dtype):
    """And have none themselves, even if NaN is handed back to what was NaN."""
    _, x, boxes, _ = setting(name)
    g, few = handed_back(name), len(boxes)
    g[few:] = 0
    broken = broken_boxes()
    far = np.full((MANY - few, 4), 1e6, np.float32)
    kind = jnp.dtype(dtype)
    y, *expected = backward(name)(x, np.concatenate([boxes, far]).astype(kind), g)
    count = 0
    for start in range(0, len(broken), MANY - few):
        some = np.concatenate([boxes, np.resize(broken[start:], far.shape)]).astype(kind)
        found = backward(name)(x, some, g)[0]
        back = g.copy()
        back[few:] = 0 * np.asarray(found)[few:]
        count += np.isnan(back).any((1, 2, 3)).sum()
        again, in_x, in_boxes = backward(name)(x, some, back)
        np.testing.assert_array_equal(again[:few], y[:few])
        np.testing.assert_allclose(in_x, expected[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(in_boxes[:few], expected[1][:few])
        np.testing.assert_array_equal(in_boxes[few:].astype(np.float32), 0)
    assert (count > 0) == (name not in ("roi_max_pool", "precise_roi_pool",
                                        "position_sensitive_roi_pool"))  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name for name in POOLS if "roi_pool" not in name])
def test_boxes_that_are_not_finite_leave_second_derivatives_of_others_alone(name):
    pool, x, boxes, _ = setting(name)
    weight = handed_back(name)

    @jax.jit
    def hessian_times(x, boxes):
        kept = lambda x, b: jnp.sum(jnp.sin(pool(x, b)[: len(FEW)]) * weight[: len(FEW)])  # noqa: E731
        direction = derivatives.wave(x), jnp.cos(jnp.arange(4.0 * MANY).reshape(MANY, 4))
        return jax.jvp(jax.grad(kept, (0, 1)), (x, boxes), direction)[1]

    odd = broken_boxes()
    for start in range(0, len(odd), MANY - len(boxes)):
        bad = np.resize(odd[start:], (MANY - len(boxes), 4))
        both = [
            hessian_times(x, jnp.concatenate([boxes, more]))
            for more in (bad, np.full_like(bad, 1e6))
        ]
        for a, b in zip(*both, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_offsets_that_are_not_finite_leave_gradients_of_others_alone():
    x, boxes, g = X, np.tile(FEW, (4, 1)), handed_back("deformable_roi_pool")
    offsets = np.resize(OFFSETS, (MANY, P, Q, 2))

    @jax.jit
    def f(boxes, offsets, g):
        y, vjp = jax.vjp(functools.partial(jaxpool.deformable_roi_pool, output_shape=(P, Q)),
                         x, boxes, offsets)  # fmt: skip
        return y, *vjp(g)

    hit = np.zeros((MANY, P, Q), bool)
    for i, bad in enumerate((np.nan, np.inf, -np.inf, 3e38)):
        offsets[i, 1, 0, i % 2] = bad
        hit[i, 1, 0] = True
    broken = boxes.copy()
    broken[8, 2], broken[9], broken[10, :2], broken[11, [1, 3]] = (
        np.inf,
        np.nan,
        3e38,
        (-3e38, 3e38),
    )
    hit[8:] = True
    y, *found = f(broken, offsets, g)
    g[hit] = 0
    still = np.where(hit[..., None], 1e6, offsets)  # outside of the map
    clean, *expected = f(boxes, still, g)
    np.testing.assert_array_equal(np.asarray(y)[~hit], np.asarray(clean)[~hit])
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_matrices_and_gathering_agree(exhaustive):
    """TPUs get the other form; and in the loop of boxes, that a large map makes, too."""
    pool, x, boxes, _ = setting("roi_align")
    count = 2 * len(BOXES) if exhaustive else 100
    places = (
        np.random.default_rng(0).uniform(-3, H + 3, (count, P, 1, 2)).astype(np.float32),
        np.random.default_rng(1).uniform(-3, W + 3, (count, 1, Q, 2)).astype(np.float32),
    )
    places[0][1, 1], places[1][3], places[1][4, 0, 1] = np.nan, np.inf, np.nan
    gathered = jax.jit(sampling.mean_by_gathering)((x,), Cells(), places)
    # Rounds of 32, 16 or 8 boxes, whichever leaves few places of the last one empty.
    # Each of another shape, or what was traced for the one before would run again.
    rounds = ((50, count), (50, 40), (9, 39), (9, 7), (2, 5))
    for at_once, number in (*rounds, (50, 33), (9, 34)) if exhaustive else rounds:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(matrices, "_ELEMENTS_AT_ONCE", at_once * P * W * C)
            some = tuple(v[:number] for v in places)
            looped = jax.jit(matrices.mean_by_matrices)((x,), Cells(), some)
        np.testing.assert_allclose(looped, gathered[:number], rtol=1e-5, atol=1e-5)
    dirty = x.copy()
    dirty[3, 4], dirty[5, 6] = np.nan, -np.inf
    dirty = jnp.asarray(dirty)
    a = jax.jit(lambda *v: jax.tree.map(
        lambda form: form((dirty,), Cells(), v),
        [sampling.mean_by_gathering, matrices.mean_by_matrices]))(*places)  # fmt: skip
    np.testing.assert_allclose(*a, rtol=1e-5, atol=1e-5)
    text = jax.jit(pool).trace(x, boxes).lower(lowering_platforms=("tpu",)).as_text()
    assert "gather" not in text
    assert "dot_general" in text


def test_ties_go_to_the_first_maximum():
    whole = np.float32([[0, 0, 3, 3]])
    gradient = jax.jit(jax.grad(lambda x: jaxpool.roi_max_pool(x, whole, 1).sum()))
    x = np.zeros((4, 4, 1), np.float32)
    x[1, 2] = x[2, 1] = 3
    np.testing.assert_array_equal(np.argwhere(gradient(x)[..., 0]), [[1, 2]])
    np.testing.assert_array_equal(np.argwhere(gradient(np.full_like(x, -np.inf))[..., 0]), [[0, 0]])
    x[0, 3] = x[3, 0] = np.nan
    np.testing.assert_array_equal(np.argwhere(gradient(x)[..., 0]), [[3, 0]])


def test_boxes_are_walked_in_groups_of_their_size(monkeypatch):
    """Few at once, so that there are many groups; each box is what it is alone."""
    rng = np.random.default_rng(0)
    x = rng.permutation(12 * 14 * 3).reshape(12, 14, 3).astype(np.float32)
    ends = np.sort(rng.integers(-2, 15, (21, 2, 2)), 1)
    boxes = ends.reshape(21, 4).astype(np.float32)

    def both(x, boxes):
        y, backward = jax.vjp(lambda x: jaxpool.roi_max_pool(x, boxes, (3, 2)), x)
        return y, backward(jnp.cos(y))[0]

    at_once = jax.jit(both)(x, boxes)
    monkeypatch.setattr(corners, "_ELEMENTS_IN_STEP", 4 * 3 * 3 * 2)
    jax.clear_caches()
    found = jax.jit(both)(x, boxes)
    jax.clear_caches()
    for a, b in zip(found, at_once, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_the_slope_where_a_sample_lies_on_a_pixel_is_the_mean_of_both_sides():
    x = np.float32([0, 1, 5]).reshape(1, 3, 1)
    at = lambda t: jaxpool.roi_align(  # noqa: E731
        x, jnp.stack([t, 0.0, t + 1, 1.0])[None], 1, sampling_ratio=1)[0, 0, 0, 0]  # fmt: skip
    assert jax.jit(jax.value_and_grad(at))(1.0) == (1, (1 + 4) / 2)
    boxes, move = np.float32([[0, 0.5, 1, 1.5]]), np.float32([[0, 0, 1, 0]])
    assert jax.jit(jax.grad(lambda t: jaxpool.precise_roi_pool(
        np.tile(x, (3, 1, 1)), boxes + t * move, 1).sum()))(0.0) == pytest.approx(0.5)  # fmt: skip


# --- mistakes -------------------------------------------------------------------------------------


def raises(error, text, pool, *args, **kwargs):
    with pytest.raises(error) as caught:
        pool(*args, **kwargs)
    assert type(caught.value) is error
    assert str(caught.value) == text


def call(name, x=X, boxes=FEW, output_shape=(P, Q), **options):
    """A function by its name, with what else it needs."""
    if name == "multi_scale_roi_align":
        options.setdefault("spatial_scales", (1.0,))
        x = [x]
    more = [OFFSETS] if name == "deformable_roi_pool" else []
    return getattr(jaxpool, name)(x, boxes, *more, output_shape, **options)


SEVEN = ["roi_align", "roi_max_pool", "precise_roi_pool", "position_sensitive_roi_align",
         "position_sensitive_roi_pool", "deformable_roi_pool", "multi_scale_roi_align"]  # fmt: skip


@pytest.mark.parametrize("name", SEVEN)
def test_mistakes_of_all(name):
    x = np.ones((H, W, P * Q), np.float32)
    bad = functools.partial(raises, pool=functools.partial(call, name))
    bad(ValueError, f"{name}: `x` must have shape (H, W, C); got x.shape=(2, 9, 12, 6). "
        "For a batch use jax.vmap, or `batch_indices` that say which image a box is in.",
        x=np.stack([x, x]))  # fmt: skip
    bad(ValueError, f"{name}: `x` must have at least one element along each pooled axis; got "
        "x.shape=(0, 12, 6) with pooled axes (0, 1). Only batch axes may be empty.", x=x[:0])  # fmt: skip
    with pytest.raises(TypeError, match=f"^{name}: `x` must be a JAX or NumPy array"):
        call(name, x="image")
    with pytest.raises(TypeError, match=f"^{name}: `x` must be real"):
        call(name, x=x.astype(np.complex64))
    for shape in ((4,), (3, 5), (2, 3, 4)):
        bad(ValueError, f"{name}: `boxes` must have shape (K, 4), with (x1, y1, x2, y2) of each box; "
            f"got boxes.shape={shape}. Use jax.vmap for a batch.",
            x=x, boxes=np.ones(shape, np.float32))  # fmt: skip
    bad(TypeError, f"{name}: `boxes` must be a JAX or NumPy array; got an object of type list. "
        "Write jnp.asarray(boxes).", x=x, boxes=[[0, 0, 1, 1]])  # fmt: skip
    for dtype in (bool, np.complex64):
        bad(TypeError, f"{name}: `boxes` must hold real numbers; got boxes.dtype={np.dtype(dtype)}.",
            x=x, boxes=FEW.astype(dtype))  # fmt: skip
    allowed = f"{name}: `output_shape` must be an int >= 1, or 2 of them (one per window axis); "
    for value in (0, (3, -1), (3,), (3, 2, 1)):
        bad(ValueError, f"{allowed}got output_shape={value!r}.", x=x, output_shape=value)
    for value, hint in ((2.0, " Write 2."), (None, ""), (True, "")):
        bad(TypeError, f"{allowed}got output_shape={value!r}.{hint}", x=x, output_shape=value)


@pytest.mark.parametrize("name", SEVEN[:-1])
def test_mistakes_of_scales(name):
    x = np.ones((H, W, P * Q), np.float32)
    for value, error in [(0, ValueError), (-1.0, ValueError), (float("nan"), ValueError),
                         ("1", TypeError), (True, TypeError), ((1, 1), TypeError)]:  # fmt: skip
        raises(error, f"{name}: `spatial_scale` must be a number > 0; got spatial_scale={value!r}.",
               call, name, x, spatial_scale=value)  # fmt: skip


def test_mistakes_of_samples():
    raises(TypeError, "roi_align: `spatial_scale` must be a number > 0; got spatial_scale='1'.",
           call, "roi_align", sampling_ratio=0, spatial_scale="1")  # fmt: skip
    x = np.ones((H, W, P * Q), np.float32)
    for name in SEVEN:
        if name in ("roi_max_pool", "precise_roi_pool", "position_sensitive_roi_pool"):
            continue
        wanted = f"{name}: `sampling_ratio` must be an int >= 1, or 0 for a number that depends on the box; "
        for value, error in ((-1, ValueError), (2.0, TypeError), (True, TypeError)):
            hint = " Write 2." if value == 2.0 else ""
            raises(error, f"{wanted}got sampling_ratio={value}.{hint}", call, name, x,
                   sampling_ratio=value)  # fmt: skip
        limited = functools.partial(call, name, x, sampling_ratio=0)
        for value, error in ((0, ValueError), (2.0, TypeError)):
            hint = " Write 2." if value == 2.0 else ""
            raises(error, f"{name}: `max_sampling_ratio` must be an int >= 1, or None; got "
                   f"max_sampling_ratio={value}.{hint}", limited, max_sampling_ratio=value)  # fmt: skip
        raises(TypeError, f"{name}: `boxes` must hold real numbers; got boxes.dtype=complex64.",
               limited, boxes=FEW.astype(np.complex64))  # fmt: skip
        raises(TypeError, f"{name}: `output_shape` must be an int >= 1, or 2 of them (one per window "
               "axis); got output_shape=2.0. Write 2.", limited, output_shape=2.0)  # fmt: skip
        raises(ValueError, f"{name}: `max_sampling_ratio` must be None unless sampling_ratio=0, and "
               "sampling_ratio=2; got max_sampling_ratio=3.",
               call, name, x, sampling_ratio=2, max_sampling_ratio=3)  # fmt: skip
        raises(ValueError, f"{name}: `max_sampling_ratio` must be given with sampling_ratio=0 where "
               "`boxes` are traced, as under jax.jit; got max_sampling_ratio=None. How many samples a "
               "box needs is not known before the program runs.",
               jax.eval_shape, lambda boxes: call(name, x, boxes, sampling_ratio=0), FEW)  # fmt: skip


def test_mistakes_of_one():
    raises(ValueError, "roi_align: `reduction` must be one of ('mean', 'max'); got reduction='avg'.",
           call, "roi_align", reduction="avg")  # fmt: skip
    raises(TypeError, "roi_align: `aligned` must be True or False; got aligned=1.",
           call, "roi_align", aligned=1)  # fmt: skip
    for name in ("position_sensitive_roi_align", "position_sensitive_roi_pool"):
        raises(ValueError, f"{name}: `x` must have a multiple of P*Q = 6 channels, for output_shape="
               "(3, 2); got x.shape=(9, 12, 3).", call, name)  # fmt: skip
    raises(ValueError, "deformable_roi_pool: `offsets` must have shape (K, P, Q, 2) = (3, 3, 2, 2); "
           "got offsets.shape=(3, 2, 3, 2).",
           jaxpool.deformable_roi_pool, X, FEW, OFFSETS.swapaxes(1, 2), (P, Q))  # fmt: skip
    raises(TypeError, "deformable_roi_pool: `gamma` must be a finite number; got gamma='0.1'.",
           call, "deformable_roi_pool", gamma="0.1")  # fmt: skip
    with pytest.raises(TypeError, match="positional"):
        jaxpool.roi_align(X, FEW, (P, Q), 0.5)


def test_mistakes_of_pyramids():
    name = "multi_scale_roi_align"
    pool = functools.partial(jaxpool.multi_scale_roi_align, boxes=FEW, output_shape=(P, Q))
    for features in (X, [], None):
        with pytest.raises(TypeError, match=f"{name}: `features` must be a list or tuple of at"):
            pool(features, spatial_scales=(1.0,))
    for other in (X[..., :2], X.astype(np.float16)):
        raises(ValueError, f"{name}: `features` must have the same number of channels and dtype; got "
               f"3 of float32 and {other.shape[-1]} of {other.dtype}.",
               pool, [X, other], spatial_scales=(1.0, 0.5))  # fmt: skip
    for scales in ((1.0,), (0.5, 1.0), (1.0, 0.25), (0.3, 0.15)):
        raises(ValueError, f"{name}: `spatial_scales` must be 2 powers of 2 (one per map), each half "
               f"the one before; got spatial_scales={scales!r}.",
               pool, [X, X], spatial_scales=scales)  # fmt: skip
    raises(TypeError, f"{name}: `spatial_scales` must be 2 powers of 2 (one per map), each half the "
           "one before; got spatial_scales=1.0.", pool, [X, X], spatial_scales=1.0)  # fmt: skip
    raises(ValueError, f"{name}: `canonical_size` must be a number > 0; got canonical_size=0.",
           pool, [X], spatial_scales=(1.0,), canonical_size=0)  # fmt: skip
    raises(TypeError, f"{name}: `canonical_level` must be an int; got canonical_level=4.0. Write 4.",
           pool, [X], spatial_scales=(1.0,), canonical_level=4.0)  # fmt: skip


@pytest.mark.parametrize(
    ("op", "options"),
    [("roi_align", {}), ("roi_align", {"reduction": "max"}), ("roi_max_pool", {}),
     ("precise_roi_pool", {})],
)  # fmt: skip
def test_no_boxes_have_a_gradient_of_zero(op, options):
    x, boxes = np.ones((5, 4, 3), np.float32), np.zeros((0, 4), np.float32)
    pool = functools.partial(getattr(jaxpool, op), output_shape=2, **options)

    @jax.jit
    def both(x, boxes):
        y, vjp = jax.vjp(pool, x, boxes)
        return y, vjp(y)

    y, gradients = both(x, boxes)
    assert y.shape == (0, 2, 2, 3)
    for gradient, like in zip(gradients, (x, boxes), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(like.shape))


def test_boxes_too_large_for_the_pyramid_have_their_gradient_in_the_last_map():
    features = [jnp.ones((64, 64, 1)), jnp.ones((32, 32, 1))]
    boxes = jnp.array([[8.0, 8.0, 240.0, 240.0]])

    def loss(features):
        pool = functools.partial(jaxpool.multi_scale_roi_align, canonical_size=8)
        return pool(features, boxes, (2, 2), spatial_scales=(1 / 8, 1 / 16)).sum()

    fine, coarse = jax.grad(loss)(features)
    assert not fine.any()
    np.testing.assert_allclose(coarse.sum(), 4, rtol=1e-6)
