"""Layers that learn filters and structuring functions, alike in Linen and NNX."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from tests.cases import distinct

TESTS_OF = (
    "linen.py",
    "nnx.py",
    "layers/fields.py",
    "layers/windows.py",
    "layers/shapes.py",
    "layers/regions.py",
    "layers/filters.py",
    "layers/random.py",
    "layers/learned.py",
    "layers/learned_filters.py",
    "layers/parameters.py",
)

frameworks = pytest.mark.parametrize("framework", ["linen", "nnx"])
KEY = jax.random.key(0)
X = distinct((2, 9, 8, 4))
MASK = np.random.default_rng(0).random((2, 9, 8, 1)) < 0.7


def ready(framework, name, *args, x=X, **options):
    """A layer's parameters by name, and the function of parameters, x and a mask."""
    cls = getattr(getattr(jaxpool, framework), name)
    if framework == "linen":
        layer = cls(*args, **options)
        params = jax.jit(layer.init)(KEY, x)["params"]
        return params, lambda p, x, where=None: layer.apply({"params": p}, x, where=where)
    if name == "PredictedBlurPool":
        options["rngs"] = nnx.Rngs(0)
    graph, state = nnx.split(cls(*args, **options))
    params = nnx.to_pure_dict(state)

    def call(p, x, where=None):
        replaced = jax.tree.map(lambda s: s, state)
        nnx.replace_by_pure_dict(replaced, p)
        return nnx.merge(graph, replaced)(x, where=where)

    return params, call


def filled(params):
    """Other values than the first ones."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda p: np.asarray(rng.normal(size=p.shape) / 4, p.dtype), params)


def slopes(call, params):
    """The gradient of a function of the result that feels each of its elements."""
    return jax.grad(lambda p: jnp.sum(jnp.sin(call(p, X))))(params)


WINDOW = ((3, 2), 2, "SAME")
STRUCTURES = {
    "LearnedDilationPool": (jaxpool.dilation_pool, WINDOW),
    "LearnedErosionPool": (jaxpool.erosion_pool, WINDOW),
    "LearnedOpeningPool": (jaxpool.opening_pool, WINDOW[:1]),
    "LearnedClosingPool": (jaxpool.closing_pool, WINDOW[:1]),
}


@frameworks
@pytest.mark.parametrize("name", STRUCTURES)
def test_structures(framework, name):
    """They start flat, and are given to the function as they are."""
    function, args = STRUCTURES[name]
    first, call = ready(framework, name, *args, features=4)
    shared, call_shared = ready(framework, name, *args)
    np.testing.assert_array_equal(first["structure"], np.zeros((3, 2, 4)))
    assert shared["structure"].shape == (3, 2)
    params = filled(first)

    @jax.jit
    def found():
        start, of_shared = call(first, X), call_shared(shared, X)
        return start, of_shared, call(params, X, MASK), slopes(call, params)["structure"]

    @jax.jit
    def wanted():
        return function(X, *args), function(X, *args, where=MASK, structure=params["structure"])

    start, of_shared, masked, gradient = found()
    flat, structured = wanted()
    np.testing.assert_array_equal(start, flat)
    np.testing.assert_array_equal(of_shared, flat)
    np.testing.assert_array_equal(masked, structured)
    assert (np.asarray(gradient) != 0).any(axis=(0, 1)).all()


@frameworks
@pytest.mark.parametrize("name", ["DilationPool", "ErosionPool", "OpeningPool", "ClosingPool"])
def test_structures_come_with_the_call(framework, name):
    function, args = STRUCTURES[f"Learned{name}"]
    structure = filled(np.zeros((3, 2, 4), np.float32))
    layer = getattr(getattr(jaxpool, framework), name)(*args)
    call = functools.partial(layer.apply, {}) if framework == "linen" else layer
    expected = function(X, *args, where=MASK, structure=structure)
    np.testing.assert_array_equal(call(X, where=MASK, structure=structure), expected)


@frameworks
@pytest.mark.parametrize(("name", "sign"), [("ParabolicDilationPool", 1),
                                            ("ParabolicErosionPool", -1)])  # fmt: skip
def test_parabolas(framework, name, sign):
    params, call = ready(framework, name, (5, 3), 2, "SAME", features=4)
    np.testing.assert_array_equal(params["t"], np.zeros(4))

    @jax.jit
    def both(params):
        return call(params, X), jax.grad(lambda p: call(p, X).sum())(params)["t"]

    params = filled(params)
    found, gradient = both(params)
    # Of 9 x 8 to halves, rounded up: "SAME" pads by 2 and 2, and by 0 and 1 of 3 elements.
    padded = np.pad(sign * np.float64(X), ((0, 0), (2, 2), (0, 1), (0, 0)), constant_values=-np.inf)
    terms = [
        padded[:, i : i + 9 : 2, j : j + 8 : 2]
        - ((i - 2) ** 2 + (j - 1) ** 2) / (4 * np.exp(np.float64(params["t"])))
        for i, j in np.ndindex(5, 3)
    ]
    # Sums of terms of both signs: what is left of them has their rounding.
    np.testing.assert_allclose(found, sign * np.max(terms, 0), rtol=1e-6, atol=1e-6)
    assert (np.asarray(gradient) * sign > 0).all()  # a flatter parabola reaches further


@frameworks
def test_kernels(framework):
    """They start binomial, and are positive and of sum 1 whatever the parameter is."""
    first, call = ready(framework, "LearnedBlurPool", (2, 2), filter_size=4, features=4)
    assert first["kernel"].shape == (4, 4)
    params = filled(first)

    @jax.jit
    def found(params):
        ones = call(params, jnp.ones_like(X))
        return call(first, X), call(params, X, MASK), ones, slopes(call, params)["kernel"]

    @jax.jit
    def wanted(kernel):
        blurred = jaxpool.blur_pool(X, (2, 2), filter_size=4)
        return blurred, jaxpool.blur_pool(X, (2, 2), kernel=kernel, where=MASK)

    start, masked, ones, gradient = found(params)
    binomial, blurred = wanted(np.exp(params["kernel"]) / np.exp(params["kernel"]).sum(0))
    np.testing.assert_allclose(start, binomial, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(masked, blurred, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ones, 1, rtol=1e-6)
    assert (np.asarray(gradient) != 0).all()


@frameworks
def test_widths(framework):
    params, call = ready(framework, "LearnedGaussianPool", (2, 2), filter_size=8, features=4)
    np.testing.assert_array_equal(params["sigma"], np.full(4, 0.4, np.float32))

    @jax.jit
    def both(params, sigma):
        expected = jaxpool.gaussian_pool(X, (2, 2), filter_size=8, sigma=sigma, where=MASK)
        return call(params, X, MASK), expected, slopes(call, params)["sigma"]

    found, expected, gradient = both(
        {"sigma": np.float32([0.1, 0.3, 0.45, 0.9])}, np.float32([0.25, 0.3, 0.45, 0.5])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(np.asarray(gradient) != 0, [False, True, True, False])


@pytest.mark.parametrize(
    ("framework", "mode"),
    [
        ("linen", "reflect"),
        *(("nnx", mode) for mode in ("reflect", "edge", "wrap", "constant")),
        *(pytest.param("linen", mode, marks=pytest.mark.exhaustive)
          for mode in ("edge", "wrap", "constant")),
    ],
)  # fmt: skip
def test_predicted_kernels(framework, mode):
    params, call = ready(framework, "PredictedBlurPool", (2, 3), features=4, groups=2,
                         padding_mode=mode)  # fmt: skip
    assert params["logits"]["kernel"].shape == (3, 3, 4, 18)
    params = filled(params)
    logits = []
    for x in (X, np.where(MASK, X, np.float32(0))):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode)
        of_x = np.zeros((2, 5, 3, 18), np.float32) + np.asarray(params["logits"]["bias"])
        for i, j in np.ndindex(3, 3):
            part = padded[:, i : i + 9 : 2, j : j + 8 : 3]
            of_x = of_x + np.einsum("nhwc,cd->nhwd", part, params["logits"]["kernel"][i, j])
        logits.append(of_x)

    @jax.jit
    def both(params, logits):
        blur = functools.partial(jaxpool.content_aware_blur_pool, padding_mode=mode)
        pairs = [
            (call(params, X, where), blur(X, of_x, (2, 3), where=where))
            for where, of_x in zip((None, MASK), logits, strict=True)
        ]
        return pairs, call(params, jnp.ones_like(X)), slopes(call, params)

    pairs, ones, gradient = both(params, logits)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
    if mode != "constant":
        np.testing.assert_allclose(ones, 1, rtol=1e-6)
    assert all((np.asarray(g) != 0).all() for g in jax.tree.leaves(gradient))


LAYERS = {
    "LearnedBlurPool": ((2, 2),), "LearnedDilationPool": WINDOW, "ParabolicErosionPool": WINDOW,
    "PredictedBlurPool": ((2, 2),),
}  # fmt: skip


@frameworks
@pytest.mark.parametrize("name", LAYERS)
def test_param_dtype(framework, name):
    options = {"param_dtype": jnp.bfloat16, "features": 4}
    params, call = ready(framework, name, *LAYERS[name], **options)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    assert jax.eval_shape(call, params, X).dtype == np.float32


@frameworks
@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_documented_and_alike(framework, name):
    cls = getattr(getattr(jaxpool, framework), name)
    other = getattr(jaxpool.linen, name)
    assert "Layer form of `jaxpool." in cls.__doc__
    fields = [
        p for p in inspect.signature(other.__init__).parameters if p not in ("parent", "name")
    ]
    found = [p for p in inspect.signature(cls.__init__).parameters if p not in ("parent", "name")]
    assert [p for p in found if p != "rngs"] == fields


def test_nnx_trains_a_kernel():
    """From the blurred image, the kernel that has blurred it."""
    kernel = np.float32([0.1, 0.6, 0.3])
    wanted = jax.jit(lambda x: jaxpool.blur_pool(x, (1, 1), kernel=kernel))(X)
    layer = jaxpool.nnx.LearnedBlurPool((1, 1))

    @nnx.jit
    def step(layer):
        gradient = nnx.grad(lambda layer: jnp.mean((layer(X) - wanted) ** 2))(layer)
        layer.kernel[...] -= 3 * gradient["kernel"][...]

    for _ in range(300):
        step(layer)
    np.testing.assert_allclose(jax.nn.softmax(layer.kernel[...]), kernel, atol=1e-3)


def test_linen_in_a_network():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jaxpool.linen.LearnedDilationPool((2, 2), features=4, name="grow")(x)
            return jaxpool.linen.PredictedBlurPool((2, 2), features=4, name="blur")(x)

    y, variables = jax.jit(Net().init_with_output)(KEY, X)
    assert y.shape == (2, 2, 2, 4)
    assert set(variables["params"]) == {"grow", "blur"}


@frameworks
@pytest.mark.parametrize(
    ("strides", "options", "message"),
    [
        (2, {}, "`strides` must be a tuple with one step for each spatial axis; got strides=2"),
        ((2, 0), {}, "`strides` must be an int >= 1"),
        (
            (2, 2),
            {"groups": 3},
            "`groups` must be an int >= 1 that divides features=4; got groups=3",
        ),
        (
            (2, 2),
            {"groups": 0},
            "`groups` must be an int >= 1 that divides features=4; got groups=0",
        ),
    ],
)
def test_predicted_kernels_refuse(framework, strides, options, message):
    with pytest.raises(ValueError, match=f"^PredictedBlurPool: {message}"):
        ready(framework, "PredictedBlurPool", strides, features=4, **options)
