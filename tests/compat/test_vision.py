"""`jaxpool.compat.torchvision` against live torchvision, and figures of it that hold without."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool.compat.torchvision as compat
from jaxpool.compat._words import RefusedError

TESTS_OF = ("compat/torchvision.py",)


@pytest.fixture(scope="module")
def ops():
    return pytest.importorskip("torchvision.ops", reason="torchvision is the oracle of this test")


@pytest.fixture(scope="module")
def tensor():
    return pytest.importorskip("torch", reason="torch is the oracle of this test").tensor


RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 12, 9, 12)).astype(np.float32)
CORNERS = np.sort(RNG.uniform(-3, 26, (40, 2, 2)), 1).reshape(-1, 4).astype(np.float32)
NAMED = np.concatenate([RNG.integers(0, 2, (40, 1)).astype(np.float32), CORNERS], 1)
LISTED = [CORNERS[:15], CORNERS[15:]]

# Arguments after the boxes, by place and by name.
CALLS = [
    ("roi_align", NAMED, ((3, 2), 0.5), {}),
    ("roi_align", LISTED, (), {"output_size": 2, "sampling_ratio": 2, "spatial_scale": 0.5}),
    ("roi_align", NAMED, ([2, 2], 0.5, 0, True), {}),
    ("roi_pool", LISTED, ((3, 2), 0.5), {}),
    ("roi_pool", NAMED, (2,), {"spatial_scale": 0.5}),
    ("ps_roi_align", NAMED, ((3, 2), 0.5), {}),
    ("ps_roi_align", LISTED, (2, 0.5, 2), {}),
    ("ps_roi_pool", NAMED, ((3, 2), 0.5), {}),
    ("ps_roi_pool", LISTED, (), {"output_size": 2, "spatial_scale": 0.5}),
]


def test_values(ops, tensor):
    for name, boxes, args, kwargs in CALLS:
        # The last row and column of a map, which torchvision does not read there.
        x = np.pad(X, ((0, 0), (0, 0), (0, 1), (0, 1))) if name == "ps_roi_pool" else X
        given = [tensor(b) for b in boxes] if isinstance(boxes, list) else tensor(boxes)
        expected = getattr(ops, name)(tensor(x), given, *args, **kwargs).numpy()
        found = getattr(compat, name)(X, boxes, *args, **kwargs)
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, 1e-5, 5e-6, err_msg=f"{name} {args} {kwargs}")


def test_arguments(ops):
    for name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool"):
        ours, theirs = (
            inspect.signature(getattr(m, name)).parameters.values() for m in (compat, ops)
        )
        assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]
    theirs = list(inspect.signature(ops.MultiScaleRoIAlign.__init__).parameters.values())[1:]
    ours = inspect.signature(compat.MultiScaleRoIAlign).parameters.values()
    assert [(p.name, p.default, p.kind) for p in ours] == [
        (p.name, p.default, p.kind) for p in theirs
    ]


MAPS = {
    name: RNG.normal(size=(2, 3, 64 // 2**i, 64 // 2**i)).astype(np.float32)
    for i, name in enumerate("abc")
}
WIDE = np.concatenate([RNG.uniform(0, 100, (30, 2)), RNG.uniform(100, 256, (30, 2))], 1).astype(
    np.float32
)
WIDE[::3, 2:] = WIDE[::3, :2] + 20


@pytest.mark.parametrize(("names", "ratio"), [("abc", 2), ("ab", -1), ("b", 2)])
def test_pyramids(ops, tensor, names, ratio):
    given = ([*names], 3, ratio)
    shapes = [(256, 250), (250, 256)]
    maps = {name: tensor(x) for name, x in MAPS.items()}
    boxes = [WIDE[:12], WIDE[12:]]
    expected = ops.MultiScaleRoIAlign(*given)(maps, [tensor(b) for b in boxes], shapes).numpy()
    found = compat.MultiScaleRoIAlign(*given)(MAPS, boxes, shapes)
    np.testing.assert_allclose(found, expected, 1e-5, 2e-5)


# What torchvision 0.28 gives.
FIGURES = [
    ("roi_align", (2,), [7.0, 9.0, 13.25, 15.25, 14.25, 13.375, 9.0, 11.0, 10.0, 12.0, 13.375, 6.75, 8.625, 7.75, 12.0, 14.0, 14.75, 16.0, 10.0625, 11.3125, 6.54688, 7.62842, 13.0, 14.25, 13.93164, 12.89062, 6.77344, 4.25, 7.75, 9.0, 16.0, 17.25]),
    ("roi_align", (1, 0.5, 1, True), [3.5, 16.5, 6.5, 13.75, 9.25, 12.1875, 12.25, 7.10156]),
    ("roi_pool", (2,), [14.0, 16.0, 20.0, 22.0, 21.0, 22.0, 16.0, 18.0, 17.0, 19.0, 22.0, 19.0, 22.0, 20.0, 19.0, 21.0, 20.0, 22.0, 20.0, 22.0, 10.0, 12.0, 16.0, 18.0, 22.0, 19.0, 22.0, 8.0, 13.0, 15.0, 19.0, 21.0]),
    ("ps_roi_align", (2,), [3.5, 18.5, 18.5, 10.5, 11.25, 10.04688, 14.52637, 13.75]),
    ("ps_roi_pool", (2,), [3.5, 18.5, 18.5, 10.5, 13.5, 4.5, 11.0, 13.5]),
]  # fmt: skip
SMALL = np.arange(288, dtype=np.float32).reshape(2, 4, 6, 6) % 23
TWO = np.array([[0, 0, 0, 4, 4], [1, 1, 0.5, 3.5, 3.25]], np.float32)


@pytest.mark.parametrize(("name", "args", "figures"), FIGURES, ids=[f[0] for f in FIGURES])
def test_figures(name, args, figures):
    """Outside of jit, with NumPy's arrays; and boxes that are traced, where samples are counted."""
    found = getattr(compat, name)(SMALL, TWO, *args)
    np.testing.assert_allclose(np.ravel(found), figures, atol=2e-5)
    if name in ("roi_pool", "ps_roi_pool") or args[2:3] == (1,):
        listed = jax.jit(lambda x, a, b: getattr(compat, name)(x, [a, b], *args))
        np.testing.assert_allclose(listed(SMALL, TWO[:1, 1:], TWO[1:, 1:]), found, atol=1e-6)


MISTAKES = {
    "(K, 4)": ("roi_align", (X, CORNERS, 2), "`boxes` must be an array of shape (K, 5), with the image's number first; got one of shape (40, 4)."),
    "a list of (L, 5)": ("roi_pool", (X, [NAMED], 2), "`boxes` must be a list of arrays of shape (L, 4), one for each image; got one of shape (40, 5)."),
    "no list": ("roi_pool", (X, [], 2), "`boxes` must have an entry for each image; got boxes=[]."),
    "one map": ("roi_align", (X[0], NAMED, 2, 1.0, 2), "`input` must have shape (N, C, H, W); got input.shape=(12, 9, 12)."),
    "channels": ("ps_roi_align", (X, NAMED, 5), "`input` must have a multiple of 25 channels, for output_size=(5, 5); got input.shape=(2, 12, 9, 12)."),
    "cells": ("roi_pool", (X, NAMED, (2, 2, 2)), "`output_size` must be an int >= 1, or 2 of them (one per window axis); got output_size=(2, 2, 2)."),
    "scale": ("roi_pool", (X, NAMED, 2, 0.0), "`spatial_scale` must be a number > 0; got spatial_scale=0.0."),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_mistakes(mistake):
    name, args, text = mistake
    with pytest.raises(RefusedError) as caught:
        getattr(compat, name)(*args)
    assert str(caught.value) == f"{name}: {text}"


def test_samples_of_traced_boxes():
    """What to write is said; a number, and boxes that are known, work under jit."""
    with pytest.raises(RefusedError, match=r"^roi_align: `sampling_ratio` must be an int >= 1 where `boxes` are traced.*"
                       r"sampling_ratio=-1\. .* Write sampling_ratio=2, or jaxpool.roi_align with"):  # fmt: skip
        jax.jit(lambda x, boxes: compat.roi_align(x, boxes, 2))(SMALL, TWO)
    boxes = jnp.asarray(TWO)
    known = jax.jit(lambda x: compat.roi_align(x, boxes, 2))(SMALL)
    np.testing.assert_allclose(np.ravel(known), FIGURES[0][2], atol=2e-5)
    with pytest.raises(TypeError, match=r"^roi_align: `boxes` must be an array of shape"):
        compat.roi_align(SMALL, 3, 2)
    with pytest.raises(
        RefusedError, match=r"^MultiScaleRoIAlign: `featmap_names` must name maps of \['a'"
    ):
        compat.MultiScaleRoIAlign(["d"], 3, 2)(MAPS, [WIDE], [(256, 256)])


def test_levels_of_a_pyramid():
    """Boxes of 20, 112 and 400 pixels are of the first, the second and the last of three maps."""
    maps = {
        name: np.full((1, 1, 128 // 2**i, 128 // 2**i), i, np.float32)
        for i, name in enumerate("abc")
    }
    boxes = np.float32([[10, 10, 30, 30], [8, 8, 121, 121], [50, 50, 450, 450]])
    pool = compat.MultiScaleRoIAlign(["a", "b", "c"], 1, -1)
    np.testing.assert_allclose(np.ravel(pool(maps, [boxes], [(512, 500)])), [0, 1, 2], atol=1e-5)
