"""Layers whose parameters or inputs are of few bits, or far out: against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from tests.cases import distinct

TESTS_OF = (
    "layers/learned.py",
    "layers/learned_filters.py",
    "layers/parameters.py",
    "reductions/soft.py",
    "reductions/detail.py",
    "filters/morphology.py",
)

KEY = jax.random.key(0)
X = distinct((1, 5, 6, 2))
FAR = np.float32([1e-20, 45, 89, 1e4, 1e10])
FAR = np.concatenate([FAR, -FAR])


def windows(x):
    """Elements of the windows of 2 x 3 that do not overlap, as (h, w, 6, channels) in float64."""
    cut = np.asarray(x, np.float64)[0, :4]
    return cut.reshape(2, 2, 2, 3, -1).transpose(0, 2, 1, 3, 4).reshape(2, 2, 6, -1)


def importance(x, kernel, scale, bias, where):
    """LIP's network and its mean, in float64; x is (1, h, w, channels)."""
    x, where = np.asarray(x, np.float64), np.broadcast_to(where, x.shape)
    x = np.where(where, x, 0)
    padded, (_, h, w, _) = np.pad(x[0], ((1, 1), (1, 1), (0, 0))), x.shape
    y = sum(padded[i : i + h, j : j + w] @ np.float64(kernel[i, j]) for i, j in np.ndindex(3, 3))
    y = np.ma.array(y, mask=~where[0])
    y = (y - y.mean((0, 1))) / np.sqrt(y.var((0, 1)) + 1e-5) * scale + bias
    weight = np.where(where, np.exp(12 / (1 + np.exp(-y.filled(0)[None]))), 0)
    return windows(weight * x).sum(2) / windows(weight).sum(2)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.int32, pytest.param(np.float32, marks=pytest.mark.exhaustive)]
)
def test_importance_is_predicted_in_float32(dtype):
    """The convolution of x neither overflows float16 nor has a kernel of ints."""
    rng = np.random.default_rng(0)
    factor = {np.float16: 3e4, np.int32: 100, np.float32: 1}[dtype]
    x = (X * factor / np.abs(X).max()).astype(dtype)
    where = rng.random((1, 5, 6, 1)) < 0.8
    where[:, ::2, ::3] = True
    params = {"kernel": rng.normal(size=(3, 3, 2, 2)) / 2, "scale": np.ones(2), "bias": np.zeros(2)}
    params = {n: np.float32(p) for n, p in params.items()}
    layer = jaxpool.linen.LearnedImportancePool((2, 3))

    @jax.jit
    def found(params, x):
        call = lambda params: layer.apply({"params": params}, x, where=where)
        return call(params), jax.grad(lambda p: call(p).astype(np.float32).sum())(params)

    y, gradient = found(params, x)
    wanted = importance(x, **params, where=where)
    rtol = 2e-3 if dtype == np.float16 else 2e-5
    np.testing.assert_allclose(np.float64(y[0]), wanted, rtol=rtol, atol=rtol * factor / 100)
    assert all((np.asarray(g) != 0).all() and np.isfinite(g).all() for g in gradient.values())


# Learned layers, for images of two channels.
LEARNED = {
    **{f"Learned{n}Pool": {"window_shape": (2, 3)} for n in ("Gem", "Logsumexp", "Softmax", "Gated",
       "Mixed", "Ada", "DetailPreserving", "Tree", "Dilation", "Opening")},
    "ParabolicDilationPool": {"window_shape": (2, 3)},
    "ParabolicErosionPool": {"window_shape": (3, 2)},
    "LearnedGlobalGemPool": {"axes": (1, 2)},
    "LearnedBlurPool": {"strides": (2, 2)},
    "LearnedGaussianPool": {"strides": (2, 2), "filter_size": 3},
    "PredictedBlurPool": {"strides": (2, 2)},
    "LearnedImportancePool": {"window_shape": (2, 3)},
    "OrdinalPool": {"window_shape": (2, 3)},
}  # fmt: skip


# Those whose parameters are in a sigmoid, a softmax or bounds of their own are as good as others.
LIKE_OTHERS = ("LearnedGatedPool", "LearnedMixedPool", "LearnedOpeningPool", "LearnedGlobalGemPool",
               "LearnedBlurPool", "OrdinalPool", "ParabolicErosionPool", "LearnedSoftmaxPool",
               "LearnedGaussianPool", "LearnedAdaPool", "LearnedTreePool")  # fmt: skip
NAMES = [pytest.param(n, marks=pytest.mark.exhaustive if n in LIKE_OTHERS else ()) for n in LEARNED]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_far_out(name):
    """Results and gradients are numbers, whatever an optimizer has made of the parameters."""
    options = {**LEARNED[name]}
    if name not in ("OrdinalPool", "LearnedImportancePool"):
        options["features"] = 2
    layer = getattr(jaxpool.linen, name)(**options)
    shapes = jax.eval_shape(layer.init, KEY, X)
    rng = np.random.default_rng(1)
    signs = jax.tree.map(lambda p: np.float32(rng.choice([-1, 1], p.shape)), shapes)

    def both(factor):
        far = jax.tree.map(lambda s: factor * s, signs)
        call = lambda far, x: jnp.sum(jnp.sin(layer.apply(far, x)))
        return layer.apply(far, X), jax.grad(call, (0, 1))(far, X)

    for result in jax.tree.leaves(jax.jit(jax.vmap(both))(FAR)):
        assert not np.isnan(result).any()


@pytest.mark.parametrize("t", [-100.0, -89.0, -45.0, 3.0, 89.0])
def test_parabolas_far_out(t):
    """Of a steep one, an element alone is left; a flat one is the maximum, and gradients are 0."""
    layer = jaxpool.linen.ParabolicDilationPool((3, 3), 1, "SAME")

    @jax.jit
    def found(t):
        call = lambda t: layer.apply({"params": {"t": t}}, X)
        return call(t), jax.grad(lambda t: call(t).sum())(t)

    y, slope = found(np.float32(t))
    padded = np.pad(np.float64(X), ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    steps = list(np.ndindex(3, 3))
    sides = np.float64([-((i - 1) ** 2 + (j - 1) ** 2) / 4 * np.exp(-t) for i, j in steps])
    terms = np.stack([padded[:, i : i + 5, j : j + 6] for i, j in steps])
    terms = terms + sides[:, None, None, None, None]
    np.testing.assert_allclose(y, terms.max(0), rtol=1e-6)
    np.testing.assert_allclose(slope, -sides[terms.argmax(0)].sum(), rtol=1e-5, atol=1e-30)


def test_parabolas_of_small_scales():
    """The derivative of a quotient by t is one by its square, which is 0 for a t of 1e-25."""

    def largest(t):
        structure = jaxpool.parabolic_structure((3, 3), t)
        return jaxpool.dilation_pool(X, (3, 3), 1, "SAME", structure=structure)

    t = np.float32([1e-37, 1e-25, 1e-20, 1, 1e30])
    both = jax.jit(jax.vmap(lambda t: (largest(t), jax.grad(lambda t: largest(t).sum())(t))))
    values, slopes = both(t)
    np.testing.assert_array_equal(values[:3], np.stack([X] * 3))
    np.testing.assert_array_equal(slopes[:3], 0)
    near = jaxpool.dilation_pool
    of = lambda t: np.float64(
        near(np.float64(X), (3, 3), 1, "SAME",
             structure=-np.float64([[2, 1, 2], [1, 0, 1], [2, 1, 2]]) / 4 / t).sum()
    )  # fmt: skip
    np.testing.assert_allclose(slopes[3], (of(1.01) - of(0.99)) / 0.02, rtol=1e-2)
    np.testing.assert_allclose(np.diff(slopes[3:])[0] + slopes[3], 0, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_details_of_a_large_power(symmetric):
    """At a power of e^25 the element that is farthest from the mean is all that counts."""
    x = np.random.default_rng(3).normal(size=X.shape).astype(np.float32)

    @jax.jit
    def found(alpha, lam):
        call = lambda x, alpha, lam: jaxpool.detail_preserving_pool(
            x, (2, 3), alpha=alpha, lam=lam, symmetric=symmetric
        )
        gradient = jax.grad(lambda *v: call(*v).sum(), (0, 1, 2))(x, alpha, lam)
        return call(x, alpha, lam), gradient

    elements = windows(x)
    distance = elements - elements.mean(2, keepdims=True)
    if not symmetric:
        distance = np.maximum(distance, 0)
    ratio = distance**2 + 1e-3
    ratio /= ratio.max(2, keepdims=True)
    for lam in (30.0, np.exp(25), 1e30):
        y, (by_x, by_alpha, by_lam) = found(np.float32(0), np.float32(lam))
        weight = ratio ** (lam / 2)
        wanted = (weight * elements).sum(2) / weight.sum(2)
        np.testing.assert_allclose(y[0], wanted, rtol=2e-5)
        assert all(np.isfinite(g).all() for g in (by_x, by_alpha, by_lam))
        if lam > 100:
            np.testing.assert_allclose(np.sort(windows(by_x), 2)[:, :, -1], 1, atol=0.1)
    y, gradient = found(np.float32(3e38), np.float32(1))
    np.testing.assert_allclose(y[0], elements.mean(2), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in gradient)


@pytest.mark.parametrize("size", [3, 4, 5, 8])
def test_widths_of_small_filters_are_learned(size):
    """The gradient at the first width is the difference quotient, of all sizes."""
    layer = jaxpool.linen.LearnedGaussianPool((2, 2), filter_size=size, padding_mode="edge")
    first = layer.init(KEY, X)["params"]["sigma"]

    @jax.jit
    def found(sigma):
        return jax.grad(lambda s: (layer.apply({"params": {"sigma": s}}, X) ** 2).sum())(sigma)

    def loss(sigma):
        z = (np.arange(size) - (size - 1) / 2) / (sigma * (size - 1) / 2)
        kernel = np.exp(-(z**2) / 2)
        y, before = np.float64(X), (size - 1) // 2
        for axis in (1, 2):
            widths = [(0, 0)] * 4
            widths[axis] = (before, size // 2)
            n, padded = y.shape[axis], np.pad(y, widths, "edge")
            taps = [np.take(padded, range(i, i + n, 2), axis) for i in range(size)]
            y = np.tensordot(kernel / kernel.sum(), np.stack(taps), 1)
        return (y**2).sum()

    quotient = (loss(0.4 + 1e-5) - loss(0.4 - 1e-5)) / 2e-5
    assert abs(quotient) > 1e-2
    np.testing.assert_allclose(found(first), quotient, rtol=1e-3)


def test_what_is_made_of_few_bits_is_made_in_float32():
    """Parameters in bfloat16 or float16: kernels of sum 1, and powers that do not overflow."""
    ones = jnp.ones((1, 7, 7, 2))
    blur = jaxpool.nnx.LearnedBlurPool((1, 1), filter_size=7, param_dtype=jnp.bfloat16)
    mixed = jaxpool.nnx.LearnedMixedPool((2, 3), param_dtype=jnp.bfloat16)
    mixed.alpha = nnx.Param(jnp.asarray(0.3, jnp.bfloat16))
    power = jaxpool.nnx.LearnedDetailPreservingPool(
        (2, 3), param_dtype=jnp.float16, rngs=nnx.Rngs(0)
    )
    power.alpha = nnx.Param(jnp.asarray(12, jnp.float16))
    steep = jaxpool.nnx.ParabolicDilationPool((3, 3), 1, "SAME", param_dtype=jnp.float16)
    steep.t = nnx.Param(jnp.asarray(-12, jnp.float16))
    mean, share, farther, alone = jax.jit(lambda: (blur(ones), mixed(X), power(X), steep(X)))()
    np.testing.assert_allclose(mean, 1, rtol=1e-6)
    elements = windows(X)
    alpha = 1 / (1 + np.exp(-np.float64(mixed.alpha[...])))
    wanted = alpha * elements.max(2) + (1 - alpha) * elements.mean(2)
    np.testing.assert_allclose(share[0], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(farther[0], elements.mean(2), atol=1e-4)
    np.testing.assert_array_equal(alone, X)


@pytest.mark.parametrize("name", ["PredictedBlurPool", "LearnedImportancePool"])
def test_what_is_masked_out_predicts_nothing(name):
    """Neither NaN nor any other value there reaches the result or a gradient."""
    where = np.ones((*X.shape[:-1], 1), bool)
    where[0, 1, 2:4] = False
    options = {"strides": (2, 2), "features": 2} if "Blur" in name else {"window_shape": (2, 2)}
    layer = getattr(jaxpool.linen, name)(**options)
    params = layer.init(KEY, X)

    @jax.jit
    def found(x):
        call = lambda params, x: (layer.apply(params, x, where=where) ** 2).sum()
        return layer.apply(params, x, where=where), jax.grad(call, (0, 1))(params, x)

    wanted = found(jnp.where(where, X, 0))
    for value in (np.nan, 1e3):
        got = found(jnp.where(where, X, np.float32(value)))
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("framework", "name", "options"),
    [
        ("linen", "PredictedBlurPool", {"strides": (2, 2)}),
        ("nnx", "PredictedBlurPool", {"strides": (2, 2), "rngs": nnx.Rngs(0)}),
        ("nnx", "LearnedImportancePool", {"window_shape": (2, 2)}),
        ("nnx", "OrdinalPool", {"window_shape": (2, 2)}),
        ("linen", "LearnedMixedPool", {"window_shape": (2, 2)}),
        ("nnx", "LearnedDilationPool", {"window_shape": (2, 2)}),
        ("linen", "LearnedGlobalGemPool", {"axes": (1, 2)}),
    ],
)
@pytest.mark.parametrize("features", [1, 4])
def test_features_are_the_channels(framework, name, options, features):
    layer = getattr(getattr(jaxpool, framework), name)(features=features, **options)
    message = f"^{name}: `features` must be 2, the number of channels of x; got features={features}"
    with pytest.raises(ValueError, match=message):
        layer.init(KEY, X) if framework == "linen" else layer(X)


def test_a_large_power_of_what_is_nearly_one():
    """Ratios to the largest distance are rounded; at a power of e^25 that is all there is of some."""
    x = (1 + 1e-5 * np.random.default_rng(0).normal(size=(1, 20, 18, 4))).astype(np.float32)

    @jax.jit
    def found(x, lam):
        call = lambda x: jaxpool.detail_preserving_pool(x, (3, 3), 1, "SAME", lam=lam)
        return call(x), jax.grad(lambda x: call(x).sum())(x)

    y, gradient = found(x, np.float32(np.exp(25)))
    np.testing.assert_allclose(y, 1, atol=1e-4)
    assert np.isfinite(gradient).all()
