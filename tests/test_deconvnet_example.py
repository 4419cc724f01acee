"""The deconvnet example at toy size: it learns, draws, and its indices matter."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest

TESTS_OF = ()  # of examples/

EXAMPLE = Path(__file__).parent.parent / "examples" / "plot_deconvnet.py"
if not EXAMPLE.is_file():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)
pytest.importorskip("sklearn")
pytest.importorskip("optax")
plt = pytest.importorskip("matplotlib.pyplot")
plt.switch_backend("Agg")


@pytest.fixture(autouse=True)
def standard_promotion():
    """What users run it with; optax's Adam raises floats to an integer count."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("plot_deconvnet", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_main(example, tmp_path, capsys):
    figure, accuracy = example.main(steps=40, out=tmp_path)
    assert 0.5 < accuracy <= 1  # guessing: 0.1
    assert f"{accuracy:.1%}" in capsys.readouterr().out
    rows = np.reshape([np.asarray(ax.images[0].get_array()) for ax in figure.axes], (5, 10, 8, 8))
    assert np.isfinite(rows).all()

    def alike(pictures):
        """Mean correlation with the digit in the same column."""
        return np.mean([
            np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(rows[0], pictures, strict=True)
        ])  # fmt: skip

    assert alike(rows[1]) > alike(rows[4]) + 0.1  # with and without indices
    assert ((rows[3] != 0).sum((1, 2)) <= 9).all()  # a kernel of the first layer
    assert plt.imread(tmp_path / "deconvnet.png").shape == (560, 1100, 4)
    plt.close(figure)


def test_back_to_pixels_is_the_gradient_of_what_was_kept(example):
    """Where nothing is rectified away, the deconvnet is the network's transpose."""
    images = np.random.default_rng(2).uniform(size=(2, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def both(parameters, images):
        ((y, indices), _) = example.layers(parameters, images)
        back = example.back_to_pixels(parameters, y, [indices])
        loss = lambda x: (example.layers(parameters, x)[0][0] * jax.lax.stop_gradient(y)).sum()
        return back, jax.grad(loss)(images)

    back, gradient = both(example.initial_parameters(jax.random.key(1)), images)
    np.testing.assert_allclose(back, gradient, rtol=1e-4, atol=1e-5)
