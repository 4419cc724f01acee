"""What the pages of the gallery with photographs say is so: against SciPy and NumPy, and as drawn."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import ndimage

TESTS_OF = ()  # of examples/

EXAMPLES = Path(__file__).parent.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)
pytest.importorskip("skimage", reason="skimage has the photographs of the gallery")
nx = pytest.importorskip("networkx")  # which skimage needs
plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def as_users_run_them():
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"plot_{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(name, size, tmp_path):
    """What `main` returns beside the figure, once that is saved as large as it is drawn."""
    found = load(name).main(out=tmp_path)
    assert plt.imread(tmp_path / f"{name}.png").shape[:2] == size
    plt.close("all")
    return found[1] if isinstance(found, tuple) else None


def test_denoising_by_scipy():
    example = load("denoising")
    random = np.random.default_rng(0)
    noisy = example.lost(np.full((1, 12, 11), 0.5, np.float32), 0.3, random)
    found = example.cleaned(noisy)
    inner = (slice(2, -2),) * 2
    median = ndimage.median_filter(noisy[0], 5)
    mean = ndimage.uniform_filter(noisy[0].astype(np.float64), 5)
    np.testing.assert_array_equal(found["median_pool"][0][inner], median[inner])
    np.testing.assert_allclose(found["avg_pool"][0][inner], mean[inner], rtol=1e-5)
    assert example.decibels(noisy, 0.5) < example.decibels(found["avg_pool"], 0.5)


@pytest.mark.exhaustive  # building the documentation runs it too
def test_denoising(tmp_path):
    drawn("denoising", (680, 1300), tmp_path)


def test_best_threshold_of_two_heaps():
    random = np.random.default_rng(1)
    heaps = np.concatenate([random.normal(0.2, 0.03, 900), random.normal(0.7, 0.03, 300)])
    assert 0.25 < load("coins").best_threshold(heaps) < 0.65


@pytest.mark.exhaustive
def test_coins(tmp_path):
    assert drawn("coins", (720, 1300), tmp_path) == 24
    example = load("coins")
    photograph = example.data.coins().astype(np.float32) / 255
    alone = photograph > example.best_threshold(photograph)
    opened = ndimage.grey_opening(photograph, example.LIGHT)
    found = example.steps(photograph)
    inner = (slice(90, -90),) * 2  # of images, SciPy reflects what is outside
    expected = ndimage.uniform_filter(opened.astype(np.float64), 31)
    np.testing.assert_allclose(found.light[inner], expected[inner], atol=1e-5)
    assert alone[:5].mean() > 0.9  # no coin is there


@pytest.mark.exhaustive
def test_antialiasing(tmp_path):
    found = drawn("antialiasing", (700, 1350), tmp_path)
    assert found["every 8th pixel"] > 1.9 * found["avg_pool"]
    assert found["avg_pool"] > found["blur_pool"] > found["spectral_pool"]
    assert found["max_pool"] > 2 * found["max_blur_pool"]


def test_moved_back_is_the_inverse_of_a_shift():
    picture = np.random.default_rng(2).standard_normal((3, 15))
    moved = load("antialiasing").moved_back(np.roll(picture, 4, axis=1), 4)
    np.testing.assert_allclose(moved, picture, atol=1e-12)


def test_missing_values_by_numpy():
    example = load("missing_values")
    random = np.random.default_rng(3)
    depth = random.uniform(1, 9, (32, 48)).astype(np.float32)
    depth[random.random(depth.shape) < 0.4] = np.nan
    depth[16:, :16] = np.nan
    depth[:16, 16:32] = 5
    cells = depth.reshape(2, 16, 3, 16).swapaxes(1, 2).reshape(2, 3, 256)
    found = {name: x[..., 0] for name, x in example.pooled(depth[..., None]).items()}
    there = np.isfinite(cells).any(-1)
    assert there.tolist() == [[True] * 3, [False, True, True]]
    for name, function in (
        ("mean, where there", np.nanmean),
        ("nearest, where there", np.nanmax),
        ("nearest - farthest", lambda x, axis: np.nanmax(x, axis) - np.nanmin(x, axis)),
        ("standard deviation", np.nanstd),
    ):
        np.testing.assert_allclose(found[name][there], function(cells[there], axis=-1), rtol=1e-5)
        assert np.isnan(found[name][~there]).all()
    np.testing.assert_array_equal(np.isfinite(found["avg_pool"]), np.isfinite(cells).all(-1))


@pytest.mark.exhaustive
def test_missing_values(tmp_path):
    missing = drawn("missing_values", (640, 1300), tmp_path)
    assert missing.pop("avg_pool") > 0.5 > 0.1 > missing.pop("disparity (pixels)") > 0.05
    assert set(missing.values()) == {0.0}


@pytest.mark.exhaustive
def test_wavelets(tmp_path):
    parts = drawn("wavelets", (560, 1150), tmp_path)
    np.testing.assert_allclose(parts[0].sum(), 1, rtol=1e-5)
    np.testing.assert_allclose(parts[1:].sum(1), parts[:-1, 0], rtol=1e-5)
    assert (parts[:, 0] > 0.9).all()


def test_votes_agree_with_most_pixels():
    """By trying each label in each cell."""
    example = load("label_maps")
    labels = np.random.default_rng(4).integers(0, 6, (24, 36), dtype=np.int32)
    cells = labels.reshape(2, 12, 3, 12).swapaxes(1, 2).reshape(2, 3, 144)
    most = np.max([(cells == label).mean(-1) for label in range(6)], axis=0)
    pooled = np.asarray(example.POOLS["mode_pool"](labels[..., None]))[..., 0]
    agree, strange = example.score(pooled, labels)
    assert agree == pytest.approx(most.mean())
    assert strange == 0
    assert example.score(pooled - 6, labels) == (0, 1)


@pytest.mark.exhaustive
def test_label_maps(tmp_path):
    scores = drawn("label_maps", (680, 1400), tmp_path)
    assert max(scores, key=scores.get) == "mode_pool"
    assert [name for name, (_, strange) in scores.items() if strange] == ["avg_pool, rounded"]


def test_opinions_by_loops():
    example = load("graph")
    graph = nx.karate_club_graph()
    x = {n: {0: 1.0, 33: -1.0}.get(n, 0.0) for n in graph}
    expected = [list(x.values())]
    for _ in range(3):
        x = {n: x[n] if n in (0, 33) else np.mean([x[m] for m in graph[n]]) for n in graph}
        expected.append(list(x.values()))
    found = example.opinions(*example.edges_of(graph), 34, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.exhaustive
def test_graph(tmp_path):
    right = drawn("graph", (840, 1100), tmp_path)
    assert right[0] == 2
    assert (right[2:] == 33).all()


def test_filters_see_no_brightness():
    bank = load("textures").filters().reshape(16, 15)
    np.testing.assert_allclose(bank.sum(0), 0, atol=1e-6)
    np.testing.assert_allclose(bank.T @ bank, np.eye(15), atol=1e-6)


@pytest.mark.exhaustive
def test_textures(tmp_path):
    right = drawn("textures", (540, 1400), tmp_path)
    assert right["global_std_pool"] > 0.97
    assert right["global_avg_pool"] < 0.7 < right["covariance_pool"]
