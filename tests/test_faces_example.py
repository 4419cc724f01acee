"""The face detector: its networks against PyTorch, and its boxes against those of the original."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

TESTS_OF = ()  # of examples/

EXAMPLE = Path(__file__).parent.parent / "examples" / "plot_face_detection.py"
if not EXAMPLE.is_file():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)
if importlib.util.find_spec("mtcnn") is None:  # which cannot be imported without TensorFlow
    pytest.skip("mtcnn has the weights of the example", allow_module_level=True)
pytest.importorskip("lz4", reason="lz4 reads the weights of the example")
pytest.importorskip("skimage", reason="skimage has the photograph of the example")
plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("Agg")

# What facenet-pytorch 2.6.0 finds with PyTorch 2.13: the box, and x and y of five points.
OF_THE_CROP = [50.372108, 30.677197, 137.091492, 145.725082], [
    [74.602638, 70.758484], [117.319901, 73.726608], [95.646416, 98.953209],
    [71.630417, 109.883698], [114.969101, 112.663574],
]  # fmt: skip
OF_THE_WHOLE = [181.051407, 62.156132, 267.747314, 172.050156], [
    [205.010910, 101.727455], [246.762573, 103.714081], [224.671371, 128.964996],
    [201.716110, 139.246155], [245.265488, 141.857010],
]  # fmt: skip


@pytest.fixture(autouse=True)
def standard_promotion():
    """What users run it with."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("plot_face_detection", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("smallest", "left", "expected"),
    [
        (80, [9, 4, 1], OF_THE_CROP),
        pytest.param(20, [153, 9, 1], OF_THE_WHOLE, marks=pytest.mark.exhaustive),
    ],
)
def test_main(example, monkeypatch, smallest, left, expected, tmp_path, capsys):
    monkeypatch.setattr(example, "SMALLEST", smallest)
    if expected is OF_THE_CROP:
        photograph = example.data.astronaut()[30:210, 130:310]
        monkeypatch.setattr(example.data, "astronaut", lambda: photograph)
    figure, found = example.main(out=tmp_path)
    assert [len(faces.boxes) for faces in found] == left
    (box,), (points,) = found[-1].boxes, found[-1].points
    np.testing.assert_allclose(box, expected[0], atol=2e-3)
    np.testing.assert_allclose(points, expected[1], atol=2e-3)
    assert found[-1].scores > 0.999
    printed = capsys.readouterr().out
    assert f"R-Net leaves {left[1]} boxes" in printed
    assert f"a face at {np.round(box, 1).tolist()}" in printed
    assert len(figure.axes[3].patches) == 1
    assert plt.imread(tmp_path / "face_detection.png").shape == (980, 960, 4)
    plt.close(figure)


@pytest.mark.exhaustive  # the boxes say it too
def test_networks_are_those_of_pytorch(example):
    """Layer by layer, of an image of odd sizes and of cutouts of boxes that overlap its border."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    f = torch.nn.functional
    random = np.random.default_rng(0)
    image = random.uniform(0, 255, (31, 38, 3)).astype(np.float32)

    def area(x, size):
        x = f.interpolate(torch.from_numpy(x).permute(2, 0, 1)[None], size, mode="area")
        return (x - 127.5) / 128

    def layers(x, weights, pools):
        """Convolutions with what they are pooled by, and the rest of the weights."""
        weights = [torch.from_numpy(w) for w in weights]
        for window in pools:
            kernel, bias, slope, *weights = weights
            x = f.prelu(f.conv2d(x, kernel.permute(3, 2, 0, 1), bias), slope.flatten())
            x = f.max_pool2d(x, window, 2, ceil_mode=True) if window else x
        return x, weights

    def heads(x, weights):
        kernel, bias, slope, *weights = weights
        x = f.prelu(x.permute(0, 3, 2, 1).flatten(1) @ kernel + bias, slope)
        found = [x @ k + b for k, b in zip(weights[::2], weights[1::2], strict=True)]
        return [*found[:-1], found[-1].softmax(-1)[:, 1]]

    weights = example.load_weights("pnet")
    x, (k1, b1, k2, b2) = layers(area(image, (23, 26)), weights, (2, 0, 0))
    by = f.conv2d(x, k1.permute(3, 2, 0, 1), b1)[0].permute(1, 2, 0)
    scores = f.conv2d(x, k2.permute(3, 2, 0, 1), b2).softmax(1)[0, 1]
    compare(example.p_net(weights, image, (23, 26)), (by, scores))

    boxes = np.array([[-3.2, 4.1, 20.7, 40.9], [10.0, 2.6, 17.9, 9.2]], np.float32)
    pixels = example.pixels_in(boxes, image)
    assert pixels.tolist() == [[0, 3, 20, 31], [9, 1, 17, 9]]
    for name, size, pools in (("rnet", 24, (3, 3, 0)), ("onet", 48, (3, 3, 2, 0))):
        network = {"rnet": example.r_net, "onet": example.o_net}[name]
        weights = example.load_weights(name)
        cutouts = example.cut_out(image, pixels, size)
        expected = torch.cat([area(image[b:d, a:c], (size, size)) for a, b, c, d in pixels])
        np.testing.assert_allclose(
            example.normalized(cutouts), expected.permute(0, 2, 3, 1), atol=1e-5
        )
        compare(network(weights, cutouts), heads(*layers(expected, weights, pools)))


def compare(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
