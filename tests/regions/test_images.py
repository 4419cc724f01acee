"""Boxes that name their image: each function against itself on one image at a time."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.regions import matrices
from tests import derivatives
from tests.regions.oracles import run_onnx

TESTS_OF = ("regions/products.py", "regions/corners.py", "regions/maxima.py", "regions/matrices.py",
            "regions/sampling.py", "regions/places.py")  # fmt: skip

N, H, W, C = 3, 7, 8, 2
P, Q = 3, 2
rng = np.random.default_rng(0)
X = rng.normal(size=(N, H, W, C)).astype(np.float32)
OWN = rng.normal(size=(N, H, W, P * Q)).astype(np.float32)
BOXES = np.sort(rng.uniform(-2, 17, (11, 2, 2)), 1).reshape(-1, 4).astype(np.float32)
BOXES[4] = np.nan
OFFSETS = rng.normal(size=(len(BOXES), P, Q, 2)).astype(np.float32)
IDS = np.array([2, 0, 2, -1, 0, 2, 3, 2, 0, 2**31 - 1, 2], np.int32)  # none in image 1


def pyramid(x, boxes, **options):
    coarse = jax.lax.slice_in_dim(jax.lax.slice_in_dim(x, 0, H, 2, -3), 0, W, 2, -2)
    options["spatial_scales"] = (options.pop("spatial_scale"), 0.25)
    return jaxpool.multi_scale_roi_align(
        [x, coarse], boxes, (P, Q), canonical_size=9, canonical_level=2, **options
    )


def function(name, **options):
    return functools.partial(getattr(jaxpool, name), output_shape=(P, Q), **options)


def deformable(x, boxes, offsets=OFFSETS, **options):
    return jaxpool.deformable_roi_pool(x, boxes, offsets, (P, Q), **options)


POOLS = {
    "roi_align": function("roi_align"),
    "adaptive": function("roi_align", sampling_ratio=0, max_sampling_ratio=4),
    "roi_align_max": function("roi_align", reduction="max", sampling_ratio=1),
    "roi_max_pool": function("roi_max_pool"),
    "precise_roi_pool": function("precise_roi_pool"),
    "position_sensitive_roi_align": function("position_sensitive_roi_align"),
    "position_sensitive_roi_pool": function("position_sensitive_roi_pool"),
    "deformable_roi_pool": deformable,
    "multi_scale_roi_align": pyramid,
}


# Which read by code that others reach too.
ALIKE = ("roi_align_max", "position_sensitive_roi_pool", "deformable_roi_pool")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.exhaustive] * (n in ALIKE)) for n in POOLS]
)
def test_each_box_has_its_own_image(name):
    """Values and gradients are those of images one by one; of boxes in none of them they are 0."""
    pool = functools.partial(POOLS[name], spatial_scale=0.5)
    x = OWN if "sensitive" in name else X
    g = np.cos(np.arange(len(BOXES) * P * Q * (x.shape[-1] if x is X else 1), dtype=np.float32))
    g = g.reshape(len(BOXES), P, Q, -1)
    g[4] = 0  # what NaN would be handed back
    own = np.float32(np.arange(N)[:, None] == IDS).reshape(N, -1, 1, 1, 1)

    @jax.jit
    def both(x, boxes):
        y, back = jax.vjp(functools.partial(pool, batch_indices=IDS), x, boxes)
        every, back_of_all = jax.vjp(lambda x, b: jax.vmap(pool, (0, None))(x, b), x, boxes)
        alone = jnp.sum(jnp.where(own == 1, every, 0), 0)
        return (y, *back(g)), (alone, *back_of_all(own * g))

    # A few boxes at once, so that images take several rounds.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matrices, "_ELEMENTS_AT_ONCE", 2 * P * W * x.shape[-1])
        found, expected = both(x, BOXES)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
    assert not np.asarray(found[0])[[3, 6, 9]].any()
    assert np.asarray(found[1])[2].any()
    assert not np.asarray(found[1])[1].any()


@pytest.mark.parametrize("op", ["RoiAlign", "MaxRoiPool"])
def test_images_are_those_of_onnxruntime(op):
    ids = np.array([2, 0, 1, 1, 0, 2, 2, 1], np.int64)
    boxes = np.delete(BOXES, 4, 0)[: len(ids)]
    pool, options = (
        (jaxpool.roi_max_pool, {"pooled_shape": (P, Q)}) if op == "MaxRoiPool"
        else (jaxpool.roi_align, {"output_height": P, "output_width": Q, "sampling_ratio": 2,
                                  "coordinate_transformation_mode": "half_pixel"})
    )  # fmt: skip
    y = pool(X, boxes, (P, Q), spatial_scale=0.5, batch_indices=ids.astype(np.int32))
    expected = run_onnx(op, X, boxes, images=ids, spatial_scale=0.5, **options)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_second_derivatives_and_batches_of_batches():
    """Of the means of several images, forward over reverse in maps and boxes; and under vmap."""
    boxes, ids = BOXES[[0, 1, 2]], np.array([2, 0, 5], np.int32)
    pool = functools.partial(jaxpool.roi_align, output_shape=1, spatial_scale=0.5, sampling_ratio=1)
    with jax.enable_x64(True):
        at = X[..., :1].astype(np.float64), boxes.astype(np.float64)
        derivatives.check(functools.partial(pool, batch_indices=ids), at)
    sets = np.stack([X, -2 * X, X[::-1]])
    many = np.stack([boxes, boxes + 1, boxes * 0.8])
    numbers = np.stack([ids, ids[::-1], (ids + 1) % 3])

    @jax.jit
    def all_of(x, boxes, ids):
        y, back = jax.vjp(lambda x, b: pool(x, b, batch_indices=ids), x, boxes)
        return y, *back(jnp.cos(y))

    for axes in ((0, 0, 0), (None, 0, 0), (0, None, None)):
        given = [v if a == 0 else v[0] for v, a in zip((sets, many, numbers), axes, strict=True)]
        alone = [all_of(*(v[i] if a == 0 else v for v, a in zip(given, axes, strict=True)))
                 for i in range(3)]  # fmt: skip
        found = jax.jit(jax.vmap(all_of, axes))(*given)
        for a, b in zip(found, map(np.stack, zip(*alone, strict=True)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_programs():
    """No scatter on GPUs, on TPUs no gather of pixels; none keeps maps of boxes; no images, no boxes."""
    pools = [functools.partial(POOLS[n], batch_indices=IDS, spatial_scale=0.5)
             for n in ("roi_align", "precise_roi_pool")]  # fmt: skip

    def back(x, boxes):
        return [jax.vjp(pool, x, boxes)[1](jnp.ones((len(BOXES), P, Q, C))) for pool in pools]

    traced = jax.jit(back).trace(X, BOXES)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "scatter" not in text
    assert f"{len(BOXES)}x{H}x{W}x{C}x" not in text
    for x, boxes, ids in ((X, BOXES[:0], IDS[:0]), (X[:0], BOXES, IDS)):
        for name in ("roi_align", "roi_max_pool", "precise_roi_pool"):
            f = functools.partial(
                getattr(jaxpool, name), boxes=boxes, output_shape=1, batch_indices=ids
            )
            y, gradient = jax.jit(lambda x, f=f: (f(x), jax.grad(lambda x: f(x).sum())(x)))(x)
            assert not np.asarray(y).any()
            np.testing.assert_array_equal(gradient, np.zeros(x.shape))


def test_mistakes():
    def bad(error, text, x=X, **options):
        with pytest.raises(error) as caught:
            jaxpool.roi_align(x, BOXES, (P, Q), **options)
        assert str(caught.value) == text

    bad(ValueError, "roi_align: `x` must have shape (N, H, W, C); got x.shape=(7, 8, 2). "
        "`batch_indices` says which of the N a box is in.", x=X[0], batch_indices=IDS)  # fmt: skip
    bad(ValueError, "roi_align: `batch_indices` must have shape (K,) = (11,), a number for each box; "
        "got batch_indices.shape=(10,).", batch_indices=IDS[:-1])  # fmt: skip
    for value, got in ((IDS.astype(np.float32), "float32"), ([0] * 11, "list")):
        bad(TypeError, "roi_align: `batch_indices` must be a JAX or NumPy array of ints; got one of "
            f"{got}. Write jnp.asarray(batch_indices, jnp.int32).", batch_indices=value)  # fmt: skip
