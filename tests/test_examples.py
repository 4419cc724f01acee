"""Each example at toy size: it runs, it learns, and what it draws is there."""

import functools
import importlib.util
import inspect
import math
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot as plt

import jaxpool

TESTS_OF = ()  # of examples/

EXAMPLES = Path(__file__).parent.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)

plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def standard_promotion():
    """What users run them with; optax's Adam raises floats to an integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def digits():
    return load("train_digits")


# `.ci/run` runs it with max, and so beside Flax.
@pytest.mark.parametrize("pool", ["sum", pytest.param("max", marks=pytest.mark.exhaustive)])
def test_train_digits(digits, pool, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(digits, "time_steps", functools.partial(digits.time_steps, steps=2))
    result = digits.main(pool=pool, other=pool, epochs=2, out=tmp_path / "new")
    assert [run.pool for run in result.runs] == [pool, pool]
    for run in result.runs:
        assert len(run.losses) == len(run.accuracies) == 2
        assert run.losses[1] < run.losses[0] < 2 * math.log(10)
        assert run.accuracies[1] > 0.3  # guessing: 0.1
    assert result.figure == tmp_path / "new" / f"digits_{pool}.png"
    picture = plt.imread(result.figure)
    assert picture.shape == (1080, 1440, 4)
    assert picture[..., :3].std() > 0.1
    assert not plt.get_fignums()
    printed = capsys.readouterr().out
    assert f"{result.runs[0].accuracies[-1]:.2%}" in printed
    assert (
        f"A training step with {pool} pooling takes {result.step_times['jaxpool']:.2f} ms"
        in printed
    )
    if pool == "sum":
        assert "Flax has no such pool" in printed
    else:
        ratio = result.step_times["Flax"] / result.step_times["jaxpool"]
        assert f"{ratio:.2f} times as long" in printed


@pytest.mark.parametrize("pool", ["max", "min", "avg"])
def test_train_digits_compares_the_same_network(digits, pool):
    """With Flax's pools it has the same logits, from the same parameters."""
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    own, theirs = (digits.Network(pool, digits.nnx.Rngs(0), flax) for flax in (False, True))
    np.testing.assert_allclose(own(images), theirs(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pool", ["max", "min", "avg", "sum", "lp"])
def test_train_digits_pools_between_the_blocks(digits, pool):
    model = digits.Network(pool, digits.nnx.Rngs(0))
    images = np.ones((3, 8, 8, 1), np.float32)
    before, after, learns = digits.feature_maps(model, images)
    assert (before.shape, after.shape) == ((3, 8, 8, 32), (3, 4, 4, 32))
    function = getattr(digits.jaxpool, f"{pool}_pool")
    np.testing.assert_allclose(after, function(before, (2, 2)), rtol=1e-6)
    share = {"max": 0.25, "min": 0.25, "avg": 1, "sum": 1}
    assert pool == "lp" or (np.asarray(learns) != 0).mean() == share[pool]
    assert model(images).shape == (3, 10)


def test_train_digits_split_is_stratified(digits):
    train, test = digits.load(seed=0)
    assert len(train.labels) + len(test.labels) == 1797
    assert np.bincount(test.labels).min() >= 43
    everything = np.concatenate([train.images, test.images])
    assert len(np.unique(everything, axis=0)) == 1797
    assert 0 <= train.images.min() < train.images.max() <= 1


def test_train_digits_shifts_by_a_pixel_at_most(digits):
    images = np.zeros((200, 8, 8, 1), np.float32)
    images[:, 4, 2] = 1
    moved = digits.shifted(images, np.random.default_rng(0))
    assert moved.shape == images.shape
    np.testing.assert_array_equal(moved.sum(axis=(1, 2, 3)), 1)
    places = {tuple(map(int, place[1:3])) for place in np.argwhere(moved)}
    assert places == {(row, column) for row in (3, 4, 5) for column in (1, 2, 3)}


def test_train_digits_command_line(monkeypatch, capsys):
    script = str(EXAMPLES / "train_digits.py")
    monkeypatch.setattr(sys, "argv", [script, "--pool", "median"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(script, run_name="__main__")
    assert left.value.code == 2
    assert "invalid choice: 'median'" in capsys.readouterr().err


def test_train_digits_linen(capsys):
    losses, accuracy = load("train_digits_linen").main(steps=100)
    assert len(losses) == 100
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    assert 0.5 < accuracy <= 1
    assert f"test accuracy {accuracy:.2%}" in capsys.readouterr().out


@pytest.mark.exhaustive  # `.ci/run` runs it too
def test_train_spp_digits(tmp_path, capsys):
    losses, accuracies, figure = load("train_spp_digits").main(steps=60, out=tmp_path)
    assert len(losses) == 60
    assert np.mean(losses[-6:]) < 0.6 * np.mean(losses[:6])
    assert sorted(accuracies) == [8, 10, 12, 14, 16, 20]
    assert min(accuracies.values()) > 0.5
    assert plt.imread(figure).shape[:2] == (650, 1300)
    assert "test accuracy at 20 x 20 (never seen): " in capsys.readouterr().out


@pytest.mark.exhaustive  # `.ci/run` runs it too
def test_shard_volume(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent), "MPLBACKEND": "Agg"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "shard_volume.py"), "--out", str(tmp_path)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.match(r"loss (.*) on 8 devices, (.*) on one; .* gradients (.*); ", done.stdout)
    assert found[1] == found[2]
    assert float(found[3]) < 1e-6
    assert plt.imread(tmp_path / "shard_volume.png").shape == (450, 900, 4)


@pytest.mark.exhaustive  # building the documentation runs it too
def test_plot_window_pools(tmp_path):
    example = load("plot_window_pools")
    figure = example.main(windows=(16, 64), out=tmp_path)
    assert set(example.FUNCTIONS) >= {"max_pool", "min_pool", "avg_pool"}
    drawn = [ax.images[0].get_array() for ax in figure.findobj(matplotlib.axes.Axes)]
    assert sorted({picture.shape for picture in drawn}) == [(6, 10, 3), (26, 40, 3), (427, 640, 3)]
    assert len(drawn) == 1 + 2 * len(example.FUNCTIONS)
    assert all(0 <= picture.min() < picture.max() <= 1 for picture in drawn)
    assert plt.imread(tmp_path / "window_pools.png").shape == (960, 1300, 4)
    plt.close(figure)


def test_plot_pooling_zoo_has_all_pools_of_windows():
    shown = {name.split(",")[0].split("(")[0] for name in load("plot_pooling_zoo").pools(4)}
    found = {n for n, f in vars(jaxpool).items() if n.endswith("_pool") and callable(f)}
    found = {n for n in found if "padding" in inspect.signature(vars(jaxpool)[n]).parameters}
    assert shown >= found


@pytest.mark.exhaustive  # building the documentation runs it too
def test_plot_pooling_zoo(tmp_path):
    figure = load("plot_pooling_zoo").main(out=tmp_path)
    for ax in figure.findobj(matplotlib.axes.Axes):
        for picture in (image.get_array() for image in ax.images):
            assert picture.shape[-1] == 3
            assert 0 <= picture.min() < picture.max() <= 1
    assert plt.imread(tmp_path / "pooling_zoo.png").shape == (1435, 1560, 4)
    plt.close(figure)


@pytest.mark.exhaustive  # `.ci/run` runs it too
def test_compare_pools_digits(capsys, exhaustive):
    example, seeds = load("compare_pools_digits"), 2 if exhaustive else 1
    rows = example.main(steps=80, seeds=seeds, pools=["max", "stochastic", "GeM, learned"])
    assert list(rows) == ["max", "stochastic", "GeM, learned"]
    for row in rows.values():
        assert len(row.accuracies) == len(row.milliseconds) == seeds
        assert min(row.accuracies) > 0.4  # guessing: 0.1
    assert f"{seeds} seeds" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("heads", "steps"),
    [
        (["NetVLAD"], 60),
        pytest.param(None, 80, marks=pytest.mark.exhaustive),  # all of them
    ],
)
def test_compare_heads_digits(heads, steps, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)  # as for a script
    example = load("compare_heads_digits")
    heads = heads or list(example.HEADS)
    rows = example.main(steps=steps, seeds=1, heads=heads)
    assert list(rows) == heads
    for row in rows.values():
        assert len(row.accuracies) == len(row.milliseconds) == 1
        assert min(row.accuracies) > 0.4  # guessing: 0.1
    sizes = {"mean": 32, "GeM, learned": 32, "covariance, root": 32 * 33 // 2, "NetVLAD": 8 * 32}
    sizes["flattened"] = 4 * 4 * 32
    assert {name: example.size(head) for name, head in example.HEADS.items()} == sizes
    printed = capsys.readouterr().out
    for name, row in rows.items():
        (line,) = (line for line in printed.splitlines() if f" {name} " in line)
        assert f" {sizes[name]} " in line
        assert f" {row.accuracies[0]:.2%}".replace("%", " %") in line


@pytest.fixture(scope="module")
def moving_digits():
    return load("plot_keypoints")


@pytest.mark.parametrize(
    ("heads", "steps"),
    [
        (("keypoints",), 30),
        pytest.param(None, 150, marks=pytest.mark.exhaustive),  # all of them
    ],
)
def test_plot_keypoints(moving_digits, heads, steps, tmp_path, capsys):
    heads = heads or moving_digits.HEADS
    figure, found = moving_digits.main(steps, heads, out=tmp_path)
    assert list(found) == [*heads, "always the middle"]
    means = {name: far.mean() for name, far in found.items()}
    assert means["keypoints"] < 0.8 * means["always the middle"]
    assert all(means["keypoints"] < 0.6 * means[head] for head in heads[1:])
    # The mean distance of points that are uniform in a square from its middle, in sides.
    assert means["always the middle"] == pytest.approx(0.3826 * (32 - 8 + 1), rel=0.03)
    printed = capsys.readouterr().out
    for name, far in found.items():
        assert f"{name:17} {far.mean():6.2f}" in printed
    assert plt.imread(tmp_path / "keypoints.png").shape == (480, 1300, 4)
    plt.close(figure)


def test_plot_keypoints_draws_the_softmax_of_its_points(moving_digits):
    model = moving_digits.Network("keypoints", moving_digits.nnx.Rngs(0))
    pool = model.head.layers[1]
    pool.log_temperature[...] = np.float32(-3.0)  # far from uniform
    images = np.random.default_rng(4).uniform(size=(2, 32, 32, 1)).astype(np.float32)
    places, weights = (np.asarray(found) for found in moving_digits.keypoints(model, images))
    pixels = np.arange(0.5, 32, 2)  # the middles of cells
    y, x = (np.tensordot(weights.sum(axis), pixels, ((1,), (0,))) for axis in (2, 1))
    assert places.std(axis=1).min() > 0.5
    np.testing.assert_allclose(places, np.stack([y, x], -1), rtol=1e-4)


def test_plot_keypoints_knows_where_its_digits_are(moving_digits):
    random = np.random.default_rng(5)
    shade = np.arange(1, 11, dtype=np.float32)  # all pixels of a digit are its number
    digits = moving_digits.Digits(np.tile(shade[:, None, None], (1, 8, 8)), np.arange(10))
    scattered, film = (
        moving_digits.scatter(digits, 50, random),
        moving_digits.film(digits, 60, random),
    )
    whole = 0
    for image, kinds, centres in (*zip(*scattered, strict=True), *zip(*film, strict=True)):
        assert len(set(kinds)) == 3
        for kind, centre in zip(kinds, centres, strict=True):
            seen = np.argwhere(image[..., 0] == shade[kind])
            if len(seen) == 64:  # nothing is before it
                np.testing.assert_array_equal(seen.mean(0), centre)
                whole += 1
    assert whole > 150
    steps = np.abs(np.diff(film.centres, axis=0))
    assert 0 < steps.max() <= 2
    assert (film.digits == film.digits[0]).all()


@pytest.mark.exhaustive  # building the documentation runs it too
def test_plot_roi_align(tmp_path):
    example = load("plot_roi_align")
    figure = example.main(cells=7, out=tmp_path)
    photograph, *pooled = [ax.images[0].get_array() for ax in figure.findobj(matplotlib.axes.Axes)]
    assert photograph.shape == (427, 640, 3)
    assert len(pooled) == len(example.FUNCTIONS) * len(example.BOXES)
    assert {picture.shape for picture in pooled} == {(7, 7, 3)}
    assert all(0 <= picture.min() < picture.max() <= 1 for picture in pooled)
    assert (pooled[3][-1, -1] == 0).all()  # beyond the photograph
    np.testing.assert_allclose(
        pooled[0].mean((0, 1)), photograph[91:296, 193:457].mean((0, 1)), atol=0.05
    )
    assert plt.imread(tmp_path / "roi_align.png").shape == (520, 1300, 4)
    plt.close(figure)


def test_plot_audio_statistics(tmp_path, capsys):
    example = load("plot_audio_statistics")
    figure, found = example.main(each=25, out=tmp_path)
    assert list(found) == list(example.POOLS)
    steady, tremolo, click, rising, falling = range(5)
    told = lambda name, *kinds: found[name][list(kinds)].mean()
    assert told("mean and std", steady, tremolo) > 0.9
    assert told("mean", steady, tremolo) < 0.7
    assert told("max", click) > 0.8 > told("first and last", click)
    assert told("first and last", rising, falling) > told("mean", rising, falling) + 0.2
    assert told("all of them", *range(5)) > 0.85
    printed = capsys.readouterr().out
    for name, row in found.items():
        assert f"{name:16}{row[0]:9.0%}" in printed
    assert plt.imread(tmp_path / "audio_statistics.png").shape == (800, 1300, 4)
    plt.close(figure)


def test_plot_audio_statistics_does_not_read_its_padding():
    """Each recording by itself, without padding, has the statistics that it has among others."""
    example = load("plot_audio_statistics")
    frames, lengths, kinds = example.record(1, np.random.default_rng(3))
    assert np.isnan(frames).any(axis=(1, 2)).any()
    assert kinds.tolist() == list(range(5))
    found = example.pooled(frames, lengths)
    for row, length in enumerate(lengths):
        one = frames[row, :length].astype(np.float64)
        assert np.isfinite(one).all()
        statistics = np.concatenate([one.mean(0), one.std(0)])
        ends = np.concatenate([one[0], one[-1]])
        expected = {
            "mean": one.mean(0),
            "mean and std": statistics,
            "first and last": ends,
            "max": one.max(0),
            "all of them": np.concatenate([statistics, ends, one.max(0)]),
        }
        for name, values in expected.items():
            np.testing.assert_allclose(found[name][row], values, rtol=1e-4, atol=1e-4)


def test_plot_bag_of_digits(tmp_path, capsys):
    """It learns which bags have a nine, and looks at that."""
    example = load("plot_bag_of_digits")
    figure, accuracy, found = example.main(steps=30, out=tmp_path)
    assert accuracy > 0.65  # guessing: 0.5
    assert found > 0.5  # guessing: 0.2
    printed = capsys.readouterr().out
    assert f"{accuracy:.1%} of the test bags" in printed
    assert f"in {found:.1%} of those" in printed
    shown = [[ax for ax in row if ax.images] for row in np.reshape(figure.axes, (6, -1))]
    for row in shown:
        percents = [int(ax.get_xlabel()) for ax in row]
        assert 5 <= len(row) <= 12
        assert abs(sum(percents) - 100) <= len(row)
    nines = [sum(ax.xaxis.label.get_fontweight() == "bold" for ax in row) for row in shown]
    assert all(1 <= n <= 3 for n in nines[:4])
    assert nines[4:] == [0, 0]
    assert plt.imread(tmp_path / "bag_of_digits.png").shape == (700, 1200, 4)
    plt.close(figure)
