"""Layers that own clusters or a temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx

TESTS_OF = ("layers/descriptors.py", "layers/checks.py", "linen.py", "nnx.py")

FRAMEWORKS = [jaxpool.linen, jaxpool.nnx]
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS, ids=["linen", "nnx"])
X = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
X /= np.linalg.norm(X, axis=-1, keepdims=True)
WHERE = np.random.default_rng(1).random((2, 3, 5, 1)) < 0.7


def owned(framework, name, **options):
    """The parameters of a layer, and a function of these, of x and of a mask."""
    if framework is jaxpool.linen:
        layer = framework.__dict__[name](**options)
        first = jax.jit(layer.init)(jax.random.key(0), X)["params"]
        return first, lambda p, x, where=None: layer.apply({"params": p}, x, where=where)
    features = {} if name.startswith("Learned") else {"features": 4}
    layer = framework.__dict__[name](**options, **features, rngs=nnx.Rngs(0))
    graph, state = nnx.split(layer)
    first = {n: p[...] for n, p in state.items()}

    def apply(parameters, x, where=None):
        made = nnx.State({n: nnx.Param(v) for n, v in parameters.items()})
        return nnx.merge(graph, made)(x, where=where)

    return first, apply


@frameworks
def test_vlad_owns_its_clusters(framework):
    """They begin as in the paper; a call is the function, masked, and hands all of them gradients."""
    first, apply = owned(framework, "GhostVlad", clusters=3, ghosts=2, alpha=5.0)
    assert {n: p.shape for n, p in first.items()} == {
        "kernel": (4, 5), "bias": (5,), "centroids": (3, 4)}  # fmt: skip
    c = np.asarray(first["kernel"]).T / 10
    np.testing.assert_allclose(first["centroids"], c[:3], 1e-6)
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), 1, 1e-6)
    np.testing.assert_allclose(first["bias"], -5 * (c**2).sum(1), 1e-5)
    distances = ((X[..., None, :] - c) ** 2).sum(-1)
    wanted = jaxpool.netvlad_pool(X, c[:3], -5 * distances, axes=(1, 2), ghosts=2, where=WHERE)

    @jax.jit
    def run(parameters, x):
        y, vjp = jax.vjp(lambda p, x: apply(p, x, WHERE), parameters, x)
        return y, *vjp(jnp.cos(y))

    y, gradients, back = run(first, X)
    np.testing.assert_allclose(y, wanted, 1e-4, 1e-5)
    assert all((np.asarray(g) != 0).any() for g in gradients.values())
    for a, b in zip(*map(jax.tree.leaves, (
        run(first, np.where(WHERE, X, np.nan)), (y, gradients, back))), strict=True):  # fmt: skip
        np.testing.assert_array_equal(a, b)
    if framework is jaxpool.nnx:
        with pytest.raises(ValueError, match=r"^GhostVlad: `features` must be 4"):
            jaxpool.nnx.GhostVlad(3, features=5, rngs=nnx.Rngs(0))(X)


@frameworks
def test_vlad_of_other_dtypes(framework):
    first, apply = owned(framework, "NetVlad", clusters=2, param_dtype=jnp.bfloat16)
    assert {n: (p.shape, str(p.dtype)) for n, p in first.items()} == {
        "kernel": ((4, 2), "bfloat16"), "bias": ((2,), "bfloat16"), "centroids": ((2, 4), "bfloat16")}  # fmt: skip
    ints = np.round(9 * X).astype(np.int8)
    shape = jax.eval_shape(apply, first, ints)
    assert (shape.shape, shape.dtype) == ((2, 8), np.float32)


@frameworks
def test_temperature_is_learned(framework):
    """From 1 on, as a logarithm."""
    first, apply = owned(framework, "LearnedSpatialSoftmax")
    assert {n: float(p) for n, p in first.items()} == {"log_temperature": 0}

    @jax.jit
    def run(v, x):
        f = lambda v: apply({"log_temperature": v}, x, WHERE)
        y, slope = jax.jvp(f, (v,), (jnp.ones_like(v),))
        far = [jax.grad(lambda v: f(v).sum())(jnp.float32(u)) for u in (-200, 200)]
        return y, slope, far, jaxpool.spatial_softmax(x, temperature=jnp.exp(v), where=WHERE)

    y, slope, far, wanted = run(jnp.float32(-0.3), X)
    np.testing.assert_allclose(y, wanted, 1e-6)
    assert (np.asarray(slope) != 0).any()
    assert np.isfinite(far).all()


MISTAKES = [
    ("NetVlad", {"clusters": 0}, "be an int >= 1"),
    ("GhostVlad", {"ghosts": -1}, "be an int >= 0"),
    ("NetVlad", {"alpha": 0.0}, "be a finite number > 0"),
    ("NetVlad", {"axes": (1, 1)}, "be an int or a sequence of ints, all different"),
    ("CovariancePool", {"axes": 1.5}, "be an int or a sequence of ints"),
    ("LearnedSpatialSoftmax", {"param_dtype": int}, "be a float dtype"),
    ("IsqrtCovariancePool", {"axes": 1, "iterations": 2.0}, "be an int"),
]


@frameworks
@pytest.mark.parametrize(("name", "options", "message"), MISTAKES)
def test_mistakes_are_told_when_a_layer_is_made(framework, name, options, message):
    features = {"features": 4} if name.endswith("Vlad") else {}
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        getattr(framework, name)(**features, **options)
    assert str(caught.value).startswith(f"{name}: `{[*options][-1]}` must")
