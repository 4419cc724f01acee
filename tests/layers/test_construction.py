"""How layers are made: checks, signatures, and fields that Flax can keep."""

import dataclasses
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

TESTS_OF = (
    "linen.py",
    "nnx.py",
    "layers/checks.py",
    "layers/fields.py",
    "layers/learned.py",
    "layers/learned_filters.py",
    "layers/windows.py",
    "layers/moments.py",
    "layers/sequences.py",
    "layers/segments.py",
    "layers/attention.py",
    "layers/shapes.py",
    "layers/filters.py",
    "layers/regions.py",
    "core/parameters.py",
    "core/arguments.py",
)

FRAMEWORKS = [jaxpool.linen, jaxpool.nnx]
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS, ids=["linen", "nnx"])
X = np.random.default_rng(0).normal(size=(1, 6, 4, 2)).astype(np.float32)
W = {"window_shape": (2, 2)}

# A layer, its options, and what it says of the last one of these.
REFUSED = [
    ("MaxPool", {"window_shape": 2}, "be a sequence when `axes` is not given"),
    ("MaxPool", {**W, "padding": "CAUSAL"}, 'be "VALID", "SAME"'),
    ("LpPool", {**W, "strides": 0}, "be an int >= 1"),
    ("AvgPool", {**W, "dilation": (1, 1.5)}, "be an int >= 1"),
    ("AvgPool", {**W, "count_include_pad": 1}, "be True or False"),
    ("MaxPool", {**W, "implementation": "fast"}, r"be one of \('taps', 'axes', 'reduce_window'\)"),
    ("OpeningPool", {"window_shape": (2, 0)}, "be an int >= 1"),
    ("MaxUnpool", {**W, "mode": "mean"}, "be one of"),
    ("GlobalMaxPool", {"axes": (1, 1)}, "be an int or a sequence of ints, all different"),
    ("AdaptiveAvgPool", {"output_shape": 3}, "be a sequence when `axes` is not given"),
    ("BlurPool", {"strides": 2}, "be a sequence when `axes` is not given"),
    ("BlurPool", {"strides": (2, 2), "filter_size": (3,)}, "be an int >= 1, or 2 of them"),
    ("MaxBlurPool", {**W, "filter_size": 0}, "be an int >= 1"),
    ("GaussianPool", {"strides": (2, 2), "filter_size": 3, "padding_mode": "zeros"}, "be one of"),
    ("RoiAlign", {"output_shape": (2, 0)}, "be an int >= 1"),
    ("MultiScaleRoiAlign", {"spatial_scales": (1, 0.5), "output_shape": (1, 2, 3)}, "be an int"),
    ("Maxout", {"size": 2.0}, "be an int"),
    ("StochasticPool", {**W, "deterministic": None}, "be True or False"),
    ("Sppf", {"window_shape": 5}, "be a sequence when `axes` is not given"),
    ("LearnedMixedPool", {**W, "features": True}, "be an int >= 1, or None"),
    ("LearnedMixedPool", {**W, "features": 0}, "be an int >= 1, or None"),
    ("LearnedDilationPool", {**W, "features": 2, "channel_axis": None}, "be an int"),
    ("LearnedDilationPool", {**W, "param_dtype": jnp.int32}, "be a float dtype"),
    ("LearnedErosionPool", {**W, "param_dtype": None}, "be a float dtype"),
    ("LearnedClosingPool", {**W, "param_dtype": "bits"}, "be a float dtype"),
    ("LearnedGemPool", {**W, "init_value": None}, "be a finite number"),
    ("LearnedGlobalGemPool", {"axes": (1, 2), "init_value": float("nan")}, "be a finite number"),
    ("LearnedSoftmaxPool", {**W, "init_value": "large"}, "be a finite number"),
    ("LearnedAdaPool", {**W, "beta_shape": 3}, "be a sequence of ints >= 1, or None"),
    ("LearnedAdaPool", {**W, "beta_shape": (3, 0)}, "be a sequence of ints >= 1, or None"),
    ("LearnedTreePool", {**W, "depth": 1.5}, "be at least 1"),
    ("LearnedDetailPreservingPool", {**W, "full": 1}, "be True or False"),
    ("LearnedBlurPool", {"strides": (2, 2), "filter_size": (3, 3)}, "be an int >= 1"),
    ("LearnedBlurPool", {"strides": (2, 2), "padding_mode": "zeros"}, "be one of"),
    ("LearnedGaussianPool", {"strides": (2, 2), "filter_size": 0}, "be an int >= 1"),
    ("PredictedBlurPool", {"strides": (2, 2), "features": None}, "be an int >= 1"),
    ("PredictedBlurPool", {"strides": (2, 2), "features": 2, "filter_size": -1}, "be an int >= 1"),
    ("PredictedBlurPool", {"strides": (2, 2), "features": 2, "param_dtype": 3}, "be a float dtype"),
    ("LearnedImportancePool", {"features": 2, "window_shape": 2}, "be a sequence"),
    ("LearnedImportancePool", {**W, "features": 2, "param_dtype": "int8"}, "be a float dtype"),
    ("LearnedImportancePool", {**W, "features": -1}, "be an int >= 1"),
    ("OrdinalPool", {**W, "features": 2, "initial": "min"}, "be one of"),
    ("OrdinalPool", {**W, "features": "all"}, "be an int >= 1"),
    ("AttentionPool", {"num_heads": 0}, "be an int >= 1"),
    ("AttentionPool", {"axes": ()}, "name at least one axis"),
    ("MultiheadAttentionPool", {"features": 6, "num_heads": 4}, "divide the 6 channels of x"),
    (
        "MultiheadAttentionPool",
        {"num_heads": 2, "features": 4, "mlp_dim": -1},
        "be an int >= 0, or",
    ),
    ("MultiheadAttentionPool", {"num_heads": 2, "features": 4, "mlp_ratio": 0}, "be a finite numb"),
    ("MultiheadAttentionPool", {"num_heads": 2, "features": 4, "gelu": "erf"}, "be one of"),
    (
        "MultiheadAttentionPool",
        {"num_heads": 2, "features": 4, "num_probes": 1.5},
        "be an int >= 1",
    ),
    ("PoolingByMultiheadAttention", {"features": 4, "num_seeds": 0}, "be an int >= 1"),
    ("PoolingByMultiheadAttention", {"features": 4, "epsilon": None}, "be a finite number > 0"),
    ("AttentionPool2d", {"num_heads": 2, "features": 4, "spatial_shape": (7, 7, 7)}, "be an int"),
    ("SimPool", {"features": 4, "gamma": -1}, "be a finite number > 0"),
]
HEADS = (
    "MultiheadAttentionPool",
    "PoolingByMultiheadAttention",
    "AttentionPool2d",
    "SimPool",
)
PREDICT_WEIGHTS = ("GatedAttentionPool", "TokenLearner", "UniversalPool")
NEED_RNGS = ("LearnedTreePool", "LearnedDetailPreservingPool", "PredictedBlurPool")


@frameworks
@pytest.mark.parametrize(("name", "options", "message"), REFUSED)
def test_mistakes_are_told_when_a_layer_is_made(framework, name, options, message):
    """In its name, and of the argument; nothing is called."""
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(framework, name)(**options)
    option = [*options][-1]
    assert str(caught.value).startswith(f"{name}: `{option}` must {message[:9]}")
    caught.match(message)
    caught.match(f"got {option}=")


@pytest.mark.parametrize("name", NEED_RNGS)
def test_nnx_says_that_it_needs_rngs(name):
    options = {"strides": (2, 2), "features": 2} if "Blur" in name else W
    cls = getattr(jaxpool.nnx, name)
    with pytest.raises(
        TypeError, match=rf"^{name}: `rngs` must be nnx.Rngs or .*Write rngs=nnx.Rngs"
    ):
        cls(**options)
    with pytest.raises(
        TypeError, match=rf"^{name}: `rngs` must be nnx.Rngs or an nnx.RngStream; got"
    ):
        cls(**options, rngs=jax.random.key(0))
    assert jax.tree.leaves(nnx.state(cls(**options, rngs=nnx.Rngs(0)), nnx.Param))


def test_nnx_takes_rngs_wherever_something_is_learned():
    """Those that begin with constants leave the stream as it is; a stream does as well."""
    rngs = nnx.Rngs(0)
    before = int(rngs.params.count[...])
    jaxpool.nnx.LearnedMixedPool((2, 2), rngs=rngs)
    jaxpool.nnx.LearnedImportancePool(2, (2, 2), rngs=rngs)
    jaxpool.nnx.OrdinalPool((2, 2), features=2, rngs=rngs)
    assert int(rngs.params.count[...]) == before
    jaxpool.nnx.LearnedTreePool((2, 2), rngs=rngs)
    assert int(rngs.params.count[...]) == before + 2
    stream = nnx.Rngs(0).params
    by_stream = jaxpool.nnx.LearnedTreePool((2, 2), rngs=stream)
    by_rngs = jaxpool.nnx.LearnedTreePool((2, 2), rngs=nnx.Rngs(0))
    assert by_stream.leaves.shape == by_rngs.leaves.shape


def public(framework):
    return {
        n: c
        for n, c in vars(framework).items()
        if inspect.isclass(c) and c.__module__ == framework.__name__ and not n.startswith("_")
    }


def test_signatures_show_the_fields_and_are_alike():
    """But that parameters are made with an NNX layer, which has to know of channels."""
    ours = public(jaxpool.nnx)
    assert ours.keys() == public(jaxpool.linen).keys()
    for name, cls in ours.items():
        found = dict(inspect.signature(cls).parameters)
        rngs = found.pop("rngs", None)
        draws = name.startswith(
            ("Learned", "Parabolic", "Predicted", "Ordinal", "Fractional", "NetVlad", "Ghost")
        )
        draws = draws or name in (*HEADS, *PREDICT_WEIGHTS)
        draws = draws or hasattr(cls, "set_view")
        assert (rngs is not None) == draws
        assert rngs is None or (rngs.kind, rngs.default) == (rngs.KEYWORD_ONLY, None)
        wanted = dict(inspect.signature(getattr(jaxpool.linen, name)).parameters)
        for own in ("parent", "name"):
            del wanted[own]
        if name == "LearnedImportancePool":
            assert next(iter(found)) == "features"
            assert found.pop("features").annotation is int
            assert wanted.pop("features").default is None
        assert found == wanted
        assert [*found] == [*wanted]
    layer = jaxpool.nnx.MaxPool((2, 2))
    assert [*inspect.signature(layer).parameters] == ["x", "where"]


def test_linen_takes_features_as_nnx_does():
    for name in ("LearnedImportancePool", "OrdinalPool"):
        options = {"window_shape": (2, 2), "features": 2}
        layer, other = (getattr(f, name)(**options) for f in FRAMEWORKS)
        params = layer.init(jax.random.key(0), X)["params"]
        assert jax.tree.map(jnp.shape, params) == {
            n: p.shape for n, p in nnx.to_pure_dict(nnx.state(other)).items()
        }
        with pytest.raises(ValueError, match=f"^{name}: `features` must be 2"):
            layer.clone(features=3).init(jax.random.key(0), X)


@frameworks
@pytest.mark.parametrize(
    ("name", "args", "keyword"),
    [("MaxPool", ((2, 2),), "where"), ("BlurPool", ((2, 2),), "where"),
     ("StochasticPool", ((2, 2),), "where"), ("FractionalMaxPool", ((2, 2),), "where"),
     ("LearnedMixedPool", ((2, 2),), "where"), ("ContentAwareBlurPool", ((2, 2),), "where"),
     ("BlurPool", ((2, 2),), "kernel")],
)  # fmt: skip
def test_a_mask_has_its_name(framework, name, args, keyword):
    layer = getattr(framework, name)(*args)
    given = [X, X] if name == "ContentAwareBlurPool" else [X]
    given.append(X > 0 if keyword == "where" else X[0, 0, 0])
    with pytest.raises(TypeError, match=rf"^{name}: `{keyword}` must be given by its name; got an"
                                        rf" object of type ndarray .*Write {keyword}="):  # fmt: skip
        layer.init(jax.random.key(0), *given) if framework is jaxpool.linen else layer(*given)


def test_linen_layers_of_lists_have_a_hash():
    layer = jaxpool.linen.MaxPool([2, 2], padding=[[1, 0], [0, 1]])
    same = jaxpool.linen.MaxPool((2, 2), padding=((1, 0), (0, 1)))
    assert (layer.window_shape, layer.padding) == (same.window_shape, same.padding)
    assert hash(layer) == hash(same)
    assert layer == same
    gated = jaxpool.linen.LearnedGatedPool(np.array([2, 2]), axes=range(1, 3))
    assert hash(gated) == hash(jaxpool.linen.LearnedGatedPool((2, 2), axes=(1, 2)))
    assert not jax.tree.leaves(nnx.state(jaxpool.nnx.MaxPool(np.array([2, 2]), axes=range(1, 3))))

    class Net(nn.Module):
        pools: tuple

        def __call__(self, x):
            return self.pools[0](x)

    run = jax.jit(lambda net, x: net.apply({}, x), static_argnums=0)
    assert run(Net((layer,)), X).shape == (1, 3, 2, 2)


def test_nnx_keeps_arrays_in_fields_as_state():
    """In a reduction or in boundaries: they go through transformations with the layer."""
    layers = {
        "reduction": jaxpool.nnx.PyramidPool((1, 2), jaxpool.Lp(jnp.float32(3)), axes=(1, 2)),
        "boundaries": jaxpool.nnx.FractionalMaxPool(
            boundaries=[jnp.array([0, 1, 6]), np.array([0, 2, 4])], axes=(1, 2)
        ),
    }

    @jax.jit
    def wanted(x):
        cells = [
            x[:, a:b, c:d].max((1, 2)) for a, b in ((0, 1), (1, 6)) for c, d in ((0, 2), (2, 4))
        ]
        norm = jnp.linalg.norm(x, 3, 1)
        return {"reduction": (jnp.abs(x) ** 3).sum((1, 2)) ** (1 / 3) + 0 * norm[:, 0],
                "boundaries": jnp.stack(cells, 1).reshape(1, 2, 2, 2)}  # fmt: skip

    @nnx.jit
    def found(layers, x):
        return {n: layer(x) for n, layer in layers.items()}

    copies = {n: nnx.clone(nnx.merge(*nnx.split(layer))) for n, layer in layers.items()}
    expected = wanted(X)
    for result in (found(layers, X), found(copies, X)):
        np.testing.assert_allclose(
            result["reduction"][0][:, 0, 0], expected["reduction"], rtol=1e-5
        )
        np.testing.assert_array_equal(result["boundaries"], expected["boundaries"])
    assert jax.tree.leaves(nnx.state(layers["reduction"]))[0] == 3


@dataclasses.dataclass(eq=False)
class Doubled(jaxpool.nnx.MaxPool):
    """A user's own layer on one of ours, with a field named as one of another layer."""

    depth: float = dataclasses.field(default=2.0, kw_only=True)

    def __call__(self, x, mask):
        return self.depth * super().__call__(x, where=mask)


class DoubledToo(jaxpool.linen.MaxPool):
    """And one of Linen."""

    depth: float = dataclasses.field(default=2.0, kw_only=True)

    def __call__(self, x, mask):
        return self.depth * super().__call__(x, where=mask)


def test_derived_layers_have_fields_and_calls_of_their_own():
    wanted = 2.5 * jaxpool.max_pool(X, (2, 2))
    np.testing.assert_array_equal(Doubled((2, 2), depth=2.5)(X, X < 9), wanted)
    layer = DoubledToo((2, 2), depth=2.5)
    np.testing.assert_array_equal(layer.apply({}, X, X < 9), wanted)
    assert "depth" in inspect.signature(Doubled).parameters
    with pytest.raises(ValueError, match=r"^MaxPool: `strides` must be an int >= 1"):
        Doubled((2, 2), 0)


def test_the_smallest_size_of_dropout_is_checked_where_a_layer_is_made():
    for framework in (jaxpool.linen, jaxpool.nnx):
        for wrong in (0, (1, 2, 3)):
            with pytest.raises(ValueError, match=r"^SpectralDropoutPool: `minimum_shape` must be"):
                framework.SpectralDropoutPool((4, 4), minimum_shape=wrong)
