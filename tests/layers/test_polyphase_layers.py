"""Layers of phases: what the network makes of them, chance, and shifts."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from tests.views import viewed

TESTS_OF = ("layers/polyphase.py", "layers/checks.py", "linen.py", "nnx.py", "lowering/phases.py")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 6, 8, 4)).astype(np.float32)
KEY, STRIDES = jax.random.key(0), (3, 2)
SIZES = {"hidden_kernel": (3, 3, 4, 5), "hidden_bias": (5,), "output_kernel": (3, 3, 5, 5)}
PARAMETERS = {n: RNG.standard_normal(s).astype(np.float32) for n, s in SIZES.items()}
frameworks = pytest.mark.parametrize(
    "framework", [jaxpool.linen, jaxpool.nnx], ids=["linen", "nnx"]
)


def applied(framework, x, parameters=PARAMETERS, key=None, **options):
    """What a layer with these parameters makes of x."""
    options = {"hidden_features": 5, **options}
    if framework is jaxpool.linen:
        layer = framework.LearnedPolyphasePool(STRIDES, **options)
        return layer.apply({"params": parameters}, x, key=key)
    layer = framework.LearnedPolyphasePool(STRIDES, features=4, **options, rngs=nnx.Rngs(0))
    nnx.update(layer, parameters)
    return layer(x, key=key)


def phases(x):
    """All phases of a batch, in order."""
    starts = itertools.product(*map(range, STRIDES))
    return np.stack([x[:, a :: STRIDES[0], b :: STRIDES[1]] for a, b in starts], 1)


def logits():
    """A network of each phase by itself, by sums over what is rolled, in float64."""

    def convolved(x, kernel):
        taps = itertools.product(range(3), range(3))
        return sum(np.roll(x, (1 - a, 1 - b), (2, 3)) @ kernel[a, b] for a, b in taps)

    kernel, bias, other = (PARAMETERS[n].astype(np.float64) for n in SIZES)
    hidden = np.maximum(convolved(phases(X.astype(np.float64)), kernel) + bias, 0)
    return convolved(hidden, other).mean((2, 3, 4))


@functools.cache
def results(framework):
    """One program of all that a layer does."""

    def program(x, parameters, places):
        pool = functools.partial(applied, framework)
        loss = lambda p, x: jnp.sum(pool(x, p, key=KEY) ** 2)
        calm = functools.partial(pool, deterministic=True)
        marked = x.at[0, 0, 0, 0].set(jnp.nan)
        return {
            "kept": calm(x),
            "ignoring": calm(x, key=KEY),
            "convex": calm(x, convex=True),
            "drawn": [pool(x, key=key, temperature=0.7) for key in jax.random.split(KEY)],
            "cold": pool(x, key=KEY, temperature=jnp.float32(1e-6)),
            "half": calm(x.astype(jnp.bfloat16)),
            "gradient": jax.grad(loss, (0, 1))(parameters, x),
            "frozen": jax.grad(lambda p: jnp.sum(calm(x, p) ** 2))(parameters),
            "marked": calm(marked),
            "shifted": [calm(jax.vmap(lambda p: jnp.roll(x, p, (1, 2)))(places).reshape(-1, 6, 8, 4))],
            "unbatched": calm(x[1]),
            "pairs": calm(x.reshape(1, 3, 6, 8, 4)),
        }  # fmt: skip

    places = np.array([*itertools.product(range(6), range(8))], np.int32)
    return jax.tree.map(np.asarray, jax.jit(program)(X, PARAMETERS, places))


@frameworks
def test_the_phase_of_the_largest_logit_is_kept(framework):
    found, wanted = results(framework), phases(X)[np.arange(3), logits().argmax(1)]
    np.testing.assert_array_equal(found["kept"], wanted, strict=True)
    np.testing.assert_array_equal(found["ignoring"], wanted)
    np.testing.assert_array_equal(found["unbatched"], wanted[1])
    np.testing.assert_array_equal(found["pairs"][0], wanted)
    assert found["half"].dtype == jnp.bfloat16
    assert np.isfinite(found["marked"][1:]).all()
    for gradient in found["frozen"].values():  # a choice has none
        np.testing.assert_array_equal(gradient, 0)


@frameworks
def test_what_is_kept_follows_every_shift(framework):
    """To the last bit: sums of features are the same in any order."""
    kept = results(framework)["kept"]
    shifted = results(framework)["shifted"][0].reshape(48, 3, 2, 4, 4)
    chosen = np.stack(np.unravel_index(logits().argmax(1), STRIDES), -1)
    for place, images in zip(itertools.product(range(6), range(8)), shifted, strict=True):
        for i in range(3):
            by = (chosen[i] + place) // STRIDES
            np.testing.assert_array_equal(images[i], np.roll(kept[i], by, (0, 1)))


@frameworks
def test_phases_are_mixed_in_training(framework):
    found, parts = results(framework), phases(X)

    def mixed(logits):
        weights = np.exp(logits - logits.max(1, keepdims=True))
        weights /= weights.sum(1, keepdims=True)
        return np.einsum("bp,bphwc->bhwc", weights, parts)

    np.testing.assert_allclose(found["convex"], mixed(logits()), rtol=1e-4, atol=1e-5)
    for key, y in zip(jax.random.split(KEY), found["drawn"], strict=True):
        noise = np.asarray(jax.random.gumbel(key, (3, 1, 3, 1, 2, 1))).reshape(3, 6)
        np.testing.assert_allclose(y, mixed((logits() + noise) / 0.7), rtol=1e-4, atol=1e-4)
    assert (found["drawn"][0] != found["drawn"][1]).any()
    noise = np.asarray(jax.random.gumbel(KEY, (3, 1, 3, 1, 2, 1))).reshape(3, 6)
    coldest = parts[np.arange(3), (logits() + noise).argmax(1)]
    np.testing.assert_allclose(found["cold"], coldest, rtol=1e-5, atol=1e-6)
    for gradient in jax.tree.leaves(found["gradient"]):
        assert np.isfinite(gradient).all()
        assert (gradient != 0).any()


def test_both_frameworks_begin_alike_and_draw():
    layer = jaxpool.linen.LearnedPolyphasePool(STRIDES, hidden_features=5)

    @jax.jit
    def run(key):
        variables = layer.init(KEY, X)
        drawn = layer.apply(variables, X, rngs={"pool": key})
        return variables["params"], drawn, layer.clone(deterministic=True).apply(variables, X)

    first, drawn, kept = run(KEY)
    assert jax.tree.map(jnp.shape, first) == SIZES
    assert (drawn != kept).any()
    assert (drawn != run(jax.random.key(1))[1]).any()
    assert first["hidden_kernel"].std() == pytest.approx((2 / 36) ** 0.5, rel=0.2)
    with pytest.raises(ValueError, match=r"^LearnedPolyphasePool: `key` must be given unless"):
        layer.apply({"params": first}, X)
    with pytest.raises(ValueError, match=r"^LearnedPolyphasePool: `features` must be 4"):
        layer.clone(features=3).apply({"params": first}, X)
    with pytest.raises(ValueError, match=r"^LearnedPolyphasePool: `strides` must divide"):
        layer.clone(strides=(4, 2), deterministic=True).apply({"params": first}, X)


def test_nnx_draws_from_a_stream_and_views_do_not():
    layer = jaxpool.nnx.LearnedPolyphasePool(
        STRIDES, features=4, hidden_features=5, rngs=nnx.Rngs(0)
    )
    assert jax.tree.map(jnp.shape, nnx.to_pure_dict(nnx.state(layer, nnx.Param))) == SIZES
    run = nnx.jit(lambda layer, x: layer(x))
    assert (run(layer, X) != run(layer, X)).any()
    view = viewed(nnx.Sequential(layer), deterministic=True)
    np.testing.assert_array_equal(run(view.layers[0], X), run(view.layers[0], X))
    assert layer.deterministic is False
    layer.rngs = None
    with pytest.raises(ValueError, match=r"`key` must be given .*Write rngs=nnx.Rngs"):
        layer(X)


@frameworks
def test_plain_layers_are_the_functions(framework):
    pool = framework.PolyphasePool([2, 2], norm=1, return_phase=True)
    unpool = framework.PolyphaseUnpool([2, 2])
    call = lambda layer, *args: (
        layer.apply({}, *args) if framework is jaxpool.linen else layer(*args)
    )

    @jax.jit
    def both(x):
        y, phase = jaxpool.polyphase_pool(x, (2, 2), norm=1, return_phase=True)
        found = call(pool, x)
        return (*found, call(unpool, *found)), (
            y, phase, jaxpool.polyphase_unpool(y, phase, (2, 2)))  # fmt: skip

    for found, wanted in zip(*both(X), strict=True):
        np.testing.assert_array_equal(found, wanted, strict=True)


@frameworks
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("WaveletPool", {"wavelet": "db1"}, "`wavelet` must be one of"),
        ("WaveletPool", {"levels": 2, "bands": "all"}, "`levels` must be 1"),
        ("PolyphasePool", {"strides": (2, 2), "norm": "max"}, "`norm` must be 2, 1"),
        ("PolyphasePool", {"strides": 2}, "`strides` must be a sequence"),
        ("PolyphaseUnpool", {"strides": (0, 2)}, "`strides` must be an int >= 1"),
        ("LearnedPolyphasePool", {"temperature": 0}, "`temperature` must be a finite number > 0"),
        ("LearnedPolyphasePool", {"hidden_features": 0}, "`hidden_features` must be an int >= 1"),
        ("LearnedPolyphasePool", {"filter_size": (3, 3)}, "`filter_size` must be an int >= 1"),
    ],
)
def test_mistakes_are_told_when_a_layer_is_made(framework, name, options, message):
    if name.startswith("Learned"):
        options = {"strides": (2, 2), "features": 4, **options}
        options |= {"rngs": nnx.Rngs(0)} if framework is jaxpool.nnx else {}
    with pytest.raises((TypeError, ValueError), match=f"^{name}: {message}"):
        getattr(framework, name)(**options)
