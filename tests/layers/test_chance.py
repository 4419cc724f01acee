"""Layers that draw by chance: streams of keys, and how drawing is turned off."""

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
from tests.views import viewed

TESTS_OF = ("linen.py", "nnx.py", "layers/random.py", "layers/shapes.py",
            "pools/fractional_cells.py")  # fmt: skip

X = np.random.default_rng(0).random((1, 6, 6, 3)).astype(np.float32)
KEY = jax.random.key(0)
RANDOM = {
    "StochasticPool": {"window_shape": (2, 2)},
    "GlobalStochasticPool": {"axes": (1, 2)},
    "RankStochasticPool": {"window_shape": (2, 2)},
    "MaxPoolDropout": {"window_shape": (2, 2)},
    "RandomMixedPool": {"window_shape": (2, 2)},
    "S3Pool": {"window_shape": (2, 2)},
    "SpectralDropoutPool": {"output_shape": (4, 4)},
    "FractionalMaxPool": {"window_shape": (2, 2), "output_shape": (4, 4)},
    "FractionalAvgPool": {"window_shape": (2, 2), "output_shape": (4, 4)},
    "FractionalMaxPoolWithArgmax": {"window_shape": (2, 2), "output_shape": (4, 4)},
}
named = pytest.mark.parametrize("name", RANDOM)


def test_all_that_draw_are_tried():
    taken = lambda f: inspect.signature(f).parameters
    draws = lambda f: "key" in taken(f) and "query" not in taken(f)  # whose keys are other ones
    functions = {n for n, f in vars(jaxpool).items() if inspect.isfunction(f) and draws(f)}
    names = {"".join(part.capitalize() for part in n.split("_")) for n in functions}
    assert names & set(vars(jaxpool.nnx)) == set(RANDOM)


def first(y):
    return np.asarray(y[0] if isinstance(y, tuple) else y)


@named
def test_nnx_draws_from_the_stream_it_is_made_with(name):
    """Each call draws anew, also within nnx.jit; equal seeds draw alike; a view does not draw."""
    make = getattr(jaxpool.nnx, name)
    layers = [make(**RANDOM[name], rngs=nnx.Rngs(seed)) for seed in (1, 1)]
    run = nnx.jit(lambda layer, x: first_traced(layer(x)))
    results = [[np.asarray(run(layer, X)) for _ in range(6)] for layer in layers]
    np.testing.assert_array_equal(results[0], results[1])
    assert any((results[0][0] != later).any() for later in results[0][1:])
    calm = make(**RANDOM[name], deterministic=True, rngs=nnx.Rngs(1))
    view = viewed(nnx.Sequential(layers[0]), deterministic=True)
    np.testing.assert_array_equal(run(view.layers[0], X), run(calm, X))
    assert layers[0].deterministic is False
    assert viewed(view, deterministic=False).layers[0].deterministic is False


def first_traced(y):
    return y[0] if isinstance(y, tuple) else y


def test_nnx_takes_the_given_key_first():
    layer = jaxpool.nnx.StochasticPool((2, 2), rngs=nnx.Rngs(0))
    before = int(layer.rngs.count[...])
    wanted = jaxpool.stochastic_pool(X, (2, 2), key=KEY)
    np.testing.assert_array_equal(layer(X, key=KEY), wanted)
    assert int(layer.rngs.count[...]) == before
    fractional = jaxpool.nnx.FractionalMaxPool(2, output_shape=3, axes=1, rngs=nnx.Rngs(0))
    fractional(X, samples=np.full((1, 6, 3, 1), 0.5, np.float32))
    assert int(fractional.rngs.count[...]) == 0
    late = jaxpool.nnx.StochasticPool((2, 2))
    late.rngs = nnx.Rngs(pool=3).pool.fork()
    for rngs in (nnx.Rngs(params=5, pool=3), nnx.Rngs(pool=3).pool):
        layer = jaxpool.nnx.StochasticPool((2, 2), rngs=rngs)
        late.rngs.count[...] = jnp.uint32(0)
        np.testing.assert_array_equal(layer(X), late(X))
    if hasattr(nnx, "view"):  # what the oldest Flax has instead does not ask the layer
        with pytest.raises(TypeError, match=r"^StochasticPool: `deterministic` must be True or"):
            nnx.view(layer, deterministic=1)


# One of each class that draws in a way of its own.
UNLIKE = ("StochasticPool", "FractionalMaxPool", "S3Pool", "RandomMixedPool")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in UNLIKE else pytest.mark.exhaustive) for n in RANDOM],
)
def test_linen_draws_from_the_stream_pool(name):
    """And is initialised without it, as Dropout is."""
    layer = getattr(jaxpool.linen, name)(**RANDOM[name])
    net = nn.Sequential([nn.Dense(3), layer])

    @jax.jit
    def run(key, other):
        y, variables = net.init_with_output(key, X)
        apply = lambda key: first_traced(net.apply(variables, X, rngs={"pool": key}))
        calm = net.layers[1].clone(deterministic=True)
        calmed = [first_traced(calm.apply({}, X, **given)) for given in ({}, {"key": other})]
        return variables, first_traced(y), apply(key), apply(other), calmed

    results = [run(KEY, jax.random.key(i)) for i in (1, 2, 3)]
    variables, _, one, _, calm = results[0]
    assert [*variables["params"]] == ["layers_0"]
    assert any((one != other).any() for _, _, _, other, _ in results)
    # The key that a model passes always is not used by what is deterministic.
    assert all((again == calm[0]).all() for *_, both in results for again in both)
    options = {**RANDOM[name], "deterministic": True}
    wanted = first(getattr(jaxpool.nnx, name)(**options)(X))
    np.testing.assert_allclose(calm[0], wanted, rtol=1e-6)


@named
def test_what_to_draw_with_is_said(name):
    layer = getattr(jaxpool.linen, name)(**RANDOM[name])
    with pytest.raises(ValueError, match=rf"^{name}: `key` must be given unless `deterministic`; "
                                         r'got key=None. Write .*rngs=\{"pool": key\}'):  # fmt: skip
        layer.apply({}, X)
    layer = getattr(jaxpool.nnx, name)(**RANDOM[name])
    with pytest.raises(ValueError, match=rf"^{name}: `key` must be given .*Write rngs=nnx.Rngs"):
        layer(X)
