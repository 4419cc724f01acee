"""What `python -m jaxpool.translate` prints: run, it is what PyTorch computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
import jaxpool.nnx
from jaxpool.translate import main, translate

TESTS_OF = ("translate.py",)

X = np.random.default_rng(0).uniform(0.1, 1, (2, 3, 9, 8)).astype(np.float32)

# What is translated, and the function and the layer that come of it.
EXPRESSIONS = {
    "nn.MaxPool2d(3, 2, 1, ceil_mode=True)": ("jaxpool.max_pool(x, (3, 3), 2, 1, ceil_mode=True)", "jaxpool.nnx.MaxPool((3, 3), 2, 1, ceil_mode=True)"),
    "F.avg_pool2d(x, 2)": ("jaxpool.avg_pool(x, (2, 2))", "jaxpool.nnx.AvgPool((2, 2))"),
    "torch.nn.AvgPool2d((2, 3), padding=1, count_include_pad=False, divisor_override=None)":
        ("jaxpool.avg_pool(x, (2, 3), padding=1, count_include_pad=False)", "jaxpool.nnx.AvgPool((2, 3), padding=1, count_include_pad=False)"),
    "nn.AdaptiveAvgPool2d((1, None))(x)": ("jaxpool.adaptive_avg_pool(x, (1, None))", "jaxpool.nnx.AdaptiveAvgPool((1, None))"),
    "F.adaptive_avg_pool2d(x, 1)": ("jaxpool.global_avg_pool(x, axes=(-3, -2), keepdims=True)", "jaxpool.nnx.GlobalAvgPool(axes=(-3, -2), keepdims=True)"),
    "nn.AdaptiveMaxPool2d(output_size=[4, 3])": ("jaxpool.adaptive_max_pool(x, (4, 3))", "jaxpool.nnx.AdaptiveMaxPool((4, 3))"),
    "nn.LPPool2d(3, 2, stride=(2, 1))": ("jaxpool.lp_pool(x, (2, 2), (2, 1), p=3)", "jaxpool.nnx.LpPool((2, 2), (2, 1), p=3)"),
    "torch.nn.functional.lp_pool2d(x, float('inf'), 3)": ('jaxpool.lp_pool(x, (3, 3), p=float("inf"))', 'jaxpool.nnx.LpPool((3, 3), p=float("inf"))'),
    "nn.MaxPool2d(2, None, 0, 2, True)": ("jaxpool.max_pool_with_argmax(x, (2, 2), dilation=2)", "jaxpool.nnx.MaxPoolWithArgmax((2, 2), dilation=2)"),
    "F.max_pool2d(kernel_size=(3, 2), input=x, padding=(1, 0), return_indices=True)":
        ("jaxpool.max_pool_with_argmax(x, (3, 2), padding=(1, 0))", "jaxpool.nnx.MaxPoolWithArgmax((3, 2), padding=(1, 0))"),
}  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_written(expression):
    found = translate(expression)
    assert (found.function, found.layer) == EXPRESSIONS[expression]
    assert found.shape == "x of shape (N, H, W, C)"
    assert translate(expression, nchw=True).shape == "x of shape (N, C, H, W)"


def test_it_computes_what_pytorch_does():
    """One program, for functions with channels last, and for layers with channels first."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")

    @jax.jit
    def everything(x):
        found = []
        for expression in EXPRESSIONS:
            last, first = translate(expression), translate(expression, nchw=True)
            y = eval(last.function, {"jaxpool": jaxpool, "x": jnp.moveaxis(x, 1, -1)})  # noqa: S307
            y = jax.tree.map(lambda y: jnp.moveaxis(y, -1, 1), y)
            found.append((y, eval(first.layer, {"jaxpool": jaxpool})(x)))  # noqa: S307
        return found

    for expression, found in zip(EXPRESSIONS, everything(X), strict=True):
        x = torch.tensor(X)
        names = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional, "x": x}
        result = eval(expression, names)  # noqa: S307
        expected = result(x) if isinstance(result, torch.nn.Module) else result
        expected = expected if isinstance(expected, tuple) else (expected,)
        for one in found:
            for a, b in zip(jax.tree.leaves(one), expected, strict=True):
                np.testing.assert_allclose(a, b.numpy(), 2e-6, err_msg=expression)


def test_other_ranks_and_kinds():
    """Of which the values are tested where `jaxpool.compat` is, which has the same calls."""
    for expression, nchw, function in [
        ("nn.AvgPool1d(3, 1)", False, "jaxpool.avg_pool(x, (3,), 1)"),
        ("nn.AvgPool1d(3, 1)", True, "jaxpool.avg_pool(x, 3, 1, axes=-1)"),
        ("F.max_pool3d(h, 2)", True, "jaxpool.max_pool(h, 2, axes=(-3, -2, -1))"),
        ("nn.FractionalMaxPool2d(2, output_ratio=(0.5, 0.5))", False, "jaxpool.fractional_max_pool(x, (2, 2), output_ratio=0.5, key=key)"),
        ("F.fractional_max_pool2d(x, 3, (4, 5))", True, "jaxpool.fractional_max_pool(x, 3, output_shape=(4, 5), axes=(-2, -1), key=key)"),
        ("nn.MaxUnpool2d(3, 2, 1)", False, "jaxpool.max_unpool(x, indices, (3, 3), 2, 1)"),
        ("F.max_unpool2d(y, at, 2, output_size=(2, 3, 9, 8))", True, "jaxpool.max_unpool(y, at, 2, output_shape=(9, 8), axes=(-2, -1))"),
        ("torchvision.ops.roi_align(f, rois, 7, 1 / 16)", False, "jaxpool.roi_align(f, rois[:, 1:], 7, spatial_scale=0.0625, sampling_ratio=0, "
            "aligned=False, batch_indices=rois[:, 0].astype(int))"),
        ("ops.RoIAlign((7, 6), 0.5, 2, aligned=True)", False, "jaxpool.roi_align(x, boxes[:, 1:], (7, 6), spatial_scale=0.5, "
            "batch_indices=boxes[:, 0].astype(int))"),
        ("ps_roi_pool(x, boxes, 3)", False, "jaxpool.position_sensitive_roi_pool(x, boxes[:, 1:], 3, batch_indices=boxes[:, 0].astype(int))"),
    ]:  # fmt: skip
        assert translate(expression, nchw=nchw).function == function
    assert (
        translate("nn.FractionalMaxPool2d(2, 3)").layer
        == "jaxpool.nnx.FractionalMaxPool((2, 2), output_shape=3, rngs=nnx.Rngs(0))"
    )
    assert len(translate("nn.LPPool2d(3, 2, ceil_mode=True)").notes) == 2
    assert translate("nn.LPPool2d(2, 2)").notes == ()


def test_the_command(capsys):
    main(["nn.MaxPool2d(3, 2, 1, ceil_mode=True)", "--nchw"])
    assert capsys.readouterr().out == (
        "# x of shape (N, C, H, W)\n"
        "jaxpool.max_pool(x, 3, 2, 1, ceil_mode=True, axes=(-2, -1))\n"
        "jaxpool.nnx.MaxPool(3, 2, 1, ceil_mode=True, axes=(-2, -1))\n"
    )
    with pytest.raises(SystemExit):
        main(["nn.Conv2d(3, 3)"])
    assert "translate: `Conv2d` must be a pooling of torch.nn" in capsys.readouterr().err


@pytest.mark.parametrize(("expression", "text"), [
    ("nn.MaxPool2d", "translate: `expression` must be a call"), ("nn.MaxPool2d(", "translate: `expression` must be a call"),
    ("nn.MaxPool2d(k)", "translate: `kernel_size` of MaxPool2d must be a number, or several, written out; got k."),
    ("nn.MaxPool2d(*sizes)", "translate: `MaxPool2d` must be called without * and **"),
    ("nn.MaxPool2d()", "translate: MaxPool2d is called otherwise: missing a required argument: 'kernel_size'."),
    ("nn.MaxPool2d(2, padding=2)", "MaxPool2d: `padding` must be at most half of kernel_size=2"),
    ("nn.MaxPool4d(2)", "translate: `MaxPool4d` must be a pooling"), ("F.fractional_max_pool1d(x, 2, 2)", "translate: `fractional_max_pool1d` must be"),
    ("nn.AdaptiveAvgPool2d(0)", "translate: `output_size` of AdaptiveAvgPool2d must leave a cell"),
])  # fmt: skip
def test_what_is_not_known(expression, text):
    with pytest.raises((TypeError, ValueError)) as caught:
        translate(expression)
    assert str(caught.value).startswith(text)
