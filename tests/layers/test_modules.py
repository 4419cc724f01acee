"""The Flax layers mirror the named functions, and Flax stays optional."""

import dataclasses
import functools
import inspect
import pickle
import re
import subprocess
import sys

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
    "layers/fields.py",
    "layers/windows.py",
    "layers/moments.py",
    "layers/sequences.py",
    "layers/descriptors.py",
    "layers/segments.py",
    "layers/attention.py",
    "layers/shapes.py",
    "layers/regions.py",
    "layers/filters.py",
    "layers/random.py",
    "layers/learned.py",
    "layers/learned_filters.py",
    "layers/parameters.py",
)

FUNCTIONS = {n: f for n, f in vars(jaxpool).items() if inspect.isfunction(f)}
REGIONS = sorted(n for n, f in FUNCTIONS.items() if "boxes" in inspect.signature(f).parameters)
NAMES = sorted(n for n in FUNCTIONS if n.endswith("_pool") and n not in REGIONS)
FRAMEWORKS = [jaxpool.linen, jaxpool.nnx]
# What a framework's layers take beside the function's arguments.
OF_FRAMEWORK = {jaxpool.linen: ("parent", "name"), jaxpool.nnx: ("rngs",)}
frameworks = pytest.mark.parametrize("framework", FRAMEWORKS, ids=["linen", "nnx"])
named = pytest.mark.parametrize("name", NAMES)

X = np.random.default_rng(0).normal(size=(2, 3, 6, 8, 4)).astype(np.float32)
MASK = np.random.default_rng(1).random((6, 8, 1)) < 0.4

WINDOW_CASES = [
    (((2, 2),), {}),
    (((3, 2), (2, 1), "SAME"), {"dilation": (1, 2)}),
    (([3, 3], [2, 2], [[1, 1], (0, 1)]), {"ceil_mode": True, "axes": [2, 3]}),
    ((3,), {"axes": -2, "padding": 1, "empty_value": 7}),
]
GLOBAL_CASES = [(((2, 3),), {}), (([-2],), {"keepdims": True, "empty_value": 7})]
KEY = jax.random.key(2)
LOGITS = np.random.default_rng(0).normal(size=(2, 3, 3, 4, 2 * 9)).astype(np.float32)
SKETCH = jaxpool.draw_sketch(KEY, 4, 6)
MATRIX = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
ADAPTIVE_CASES = [(((4, 3),), {}), ((3,), {"axes": [2, 3], "empty_value": 7})]
PYRAMID_CASES = [(((1, (2, 3)),), {}), (([2], jaxpool.Lp(3)), {"axes": (3, 2), "empty_value": 7})]
FRACTIONAL_CASES = [
    (((2, 3),), {"output_shape": (4, 3), "deterministic": True}),
    ((2,), {"output_ratio": 0.5, "axes": -2}),
    ((), {"output_shape": (4, 5), "scheme": "tensorflow", "overlapping": True, "empty_value": 7}),
]
SEQUENCE_CASES = [((), {}), ((), {"axis": 2, "empty_value": 7})]
SEGMENT_CASES = [((3,), {"axis": 1}), ((2,), {"axis": -4, "empty_value": 7, "sorted": True})]
PREFIX_CASES = [((-2,), {}), ((1,), {"reverse": True, "empty_value": 7})]
OTHER_CASES = {
    "spectral_pool": [
        (((4, 3),), {}),
        ((3,), {"axes": [3, 2], "transform": "cosine", "window": "hamming"}),
    ],
    "spectral_dropout_pool": [
        (((4, 3),), {"deterministic": True}),
        ((3,), {"axes": [3, 2], "minimum_shape": [1, 2]}),
    ],
    "pyramid_pool": PYRAMID_CASES,
    "spatial_pyramid_pool": PYRAMID_CASES,
    "strip_pool": [((2,), {}), ((-2, jaxpool.Max()), {"empty_value": 7})],
    "regional_max_pool": [((), {}), ((1,), {"axes": (2, 3), "epsilon": 1.0})],
    "matrix_pool": [((-2,), {}), ((3, "max"), {})],
    "blur_pool": [(((2, 2),), {}), ((2,), {"axes": -2, "filter_size": 4, "padding_mode": "edge"})],
    "gaussian_pool": [
        (([2, 3],), {"filter_size": 3}),
        (
            (2,),
            {"filter_size": 4, "sigma": 0.7, "axes": -2, "padding_mode": "wrap", "empty_value": 7},
        ),
    ],
    "content_aware_blur_pool": [
        (((2, 2),), {}),
        (([2, 2],), {"padding_mode": "edge", "empty_value": 7}),
    ],
    "wavelet_pool": [((), {}), (("db2",), {"axes": [2], "mode": "edge", "levels": 2})],
    "polyphase_pool": [
        (((2, 2),), {}),
        ((2,), {"axes": [3, -1], "channel_axis": 2, "norm": "min"}),
    ],
    "channel_pool": [((2,), {}), ((3, jaxpool.Max(), 2), {"empty_value": 7})],
    "opening_pool": [(((2, 3),), {}), ((3,), {"axes": [2, -2], "dilation": 2})],
    "closing_pool": [(((2, 3),), {}), ((3,), {"axes": -2, "empty_value": 7})],
    "wildcat_pool": [(((2, 3),), {"kmax": 3, "kmin": 0.1}), ((-2,), {"alpha": 2})],
    "k_max_pool": [((3, 2), {}), ((4,), {"axis": -2, "empty_value": 7})],
    "gated_pool": [(((2, 2),), {})],
    "tree_pool": [(((2, 2),), {})],
    "adaptive_weighted_pool": WINDOW_CASES,
    "segment_max_pool": SEGMENT_CASES,
    "segment_min_pool": SEGMENT_CASES,
    "segment_sum_pool": SEGMENT_CASES,
    "segment_avg_pool": SEGMENT_CASES,
    "prefix_max_pool": PREFIX_CASES,
    "prefix_avg_pool": PREFIX_CASES,
    "prefix_sum_pool": PREFIX_CASES,
    "corner_pool": [((), {}), (("top_right",), {"axes": [2, 1], "empty_value": 7})],
    "first_pool": SEQUENCE_CASES,
    "last_pool": SEQUENCE_CASES,
    "mean_sqrt_length_pool": SEQUENCE_CASES,
    "position_weighted_pool": SEQUENCE_CASES,
    "approximate_rank_pool": SEQUENCE_CASES,
    "splade_pool": [((), {}), ((), {"axis": 2, "reduction": "sum"})],
    "featurewise_sort_pool": [
        (([0.5, 0.25],), {}),
        (((1, 2.5, 3),), {"axis": 2, "empty_value": 7}),
    ],
    "temporal_pyramid_pool": [
        (((2,),), {}),
        (([1, 3], jaxpool.Lp(3)), {"axis": 2, "empty_value": 7}),
    ],
    "piecewise_pool": [((), {}), ((jaxpool.Mean(),), {"axis": 2, "empty_value": 7})],
    "covariance_pool": [((-2,), {}), (([2],), {"channel_axis": 1, "ddof": 1})],
    "bilinear_pool": [(((2, 3),), {}), ((0,), {"channel_axis": 1, "normalize": False})],
    "isqrt_covariance_pool": [
        (((2, 3),), {}),
        ((0,), {"channel_axis": 1, "iterations": 1, "epsilon": 0.1, "vectorize": False}),
    ],
    "compact_bilinear_pool": [(((2, 3),), {}), ((0,), {"channel_axis": -1})],
    "netvlad_pool": [((), {"axes": (2, 3)}), ((), {"axes": [1], "ghosts": 1})],
    "attention_pool": [
        ((), {}),
        (
            (),
            {
                "axes": [2, 3],
                "num_heads": 2,
                "scale": 0.3,
                "empty_value": 7,
                "return_weights": True,
            },
        ),
    ],
    "stats_pool": [((-2,), {}), (([2],), {"channel_axis": 1, "ddof": 1, "keepdims": True})],
}
# Options without a default.
REQUIRED = {
    "quantile_pool": {"q": 0.3, "interpolation": "lower"},
    "rank_pool": {"weights": (0.5, 0.25)},
    "top_k_mean_pool": {"k": 0.4},
}
FILTERS = {
    "gated_pool": {"gate": MATRIX[:2, :2]},
    "tree_pool": {"leaves": MATRIX[None, :2, :2], "gates": MATRIX[:0, :2, None][:, :, [0, 0]]},
}
# Of learned layers, the function that they are and the parameters that they own.
WITH_PARAMETERS = {
    "LearnedMixedPool": ("mixed_pool", ["alpha"]),
    "LearnedGatedPool": ("gated_pool", ["gate"]),
    "LearnedTreePool": ("tree_pool", ["leaves", "gates"]),
    "LearnedAdaPool": ("ada_pool", ["beta"]),
    "LearnedDetailPreservingPool": ("detail_preserving_pool", ["alpha", "lam"]),
}
# What is given with the call, and what a call is tried with beside a mask.
AT_CALL = ("x", "key", "samples", "where", "matrices", "features", "boxes", "offsets", "kernel",
           "logits", "structure", "gate", "leaves", "gates", "positions", "ids",
           "y", "sketch", "centroids", "query", "value", "batch_indices")  # fmt: skip
EXTRA = {
    "avg_pool": {"count_include_pad": False, "divisor_override": 5},
    "max_blur_pool": {"filter_size": 2, "padding_mode": "wrap"},
    "lp_pool": {"p": 3.5},
    "variance_pool": {"ddof": 1},
    "std_pool": {"ddof": 1, "epsilon": 0.1},
    "global_std_pool": {"epsilon": 0.1},
    "global_lp_pool": {"p": float("inf")},
    "mixed_pool": {"alpha": 0.25, "count_include_pad": False},
    "stochastic_pool": {"deterministic": True},
    "random_mixed_pool": {"per": "cell"},
    "s3_pool": {"grid": 4},
    "detail_preserving_pool": {"lam": 2, "symmetric": False},
    "logsumexp_pool": {"sharpness": 2.5, "mean": False},
    "softmax_pool": {"sharpness": -1, "gradient": "semi"},
    "global_gem_pool": {"p": 2, "eps": 0.1},
}
# Layers that own parameters have names of their own.
LEARNED = {
    "LearnedBlurPool", "LearnedGaussianPool", "PredictedBlurPool", "LearnedDilationPool",
    "LearnedErosionPool", "LearnedOpeningPool", "LearnedClosingPool", "ParabolicDilationPool",
    "ParabolicErosionPool", "LearnedGemPool", "LearnedGlobalGemPool", "LearnedLogsumexpPool",
    "LearnedGlobalLogsumexpPool", "LearnedSoftmaxPool", "LearnedGlobalSoftmaxPool",
    "LearnedImportancePool", "OrdinalPool", "MultiheadAttentionPool", "SimPool",
    "GatedAttentionPool", "AttentiveStatisticsPool", "UniversalPool", "LearnedPolyphasePool",
    "LearnedFeaturewiseSortPool", *WITH_PARAMETERS,
}  # fmt: skip


def module_class(framework, name):
    return getattr(framework, "".join(word.capitalize() for word in name.split("_")))


def cases(name):
    if name in OTHER_CASES:
        return OTHER_CASES[name]
    kinds = {"global": GLOBAL_CASES, "adaptive": ADAPTIVE_CASES, "fractional": FRACTIONAL_CASES}
    plain = kinds.get(name.split("_")[0], WINDOW_CASES)
    required = REQUIRED.get(name.removeprefix("global_"), {})
    plain = [(args, {**options, **required}) for args, options in plain]
    first, _ = plain[0]
    return [*plain, (first, EXTRA[name])] if name in EXTRA else plain


def minimal(framework, name):
    """A layer with the shortest legal arguments."""
    args, options = cases(name)[0]
    return module_class(framework, name)(*args, **options)


def given(name, options, where, key=KEY):
    """What a call takes beside x."""
    if name == "matrix_pool":
        return {"matrices": MATRIX}
    if name == "netvlad_pool":
        return {
            "centroids": MATRIX[:, :4],
            "logits": X[..., : 3 + options.get("ghosts", 0)],
            "where": where,
        }
    if name in ("wavelet_pool", "polyphase_pool"):
        return {}
    if name == "compact_bilinear_pool":
        return {"sketch": SKETCH, "where": where}
    if name == "bilinear_pool" and options:
        return {"y": X[:, :1], "where": where}
    if name == "content_aware_blur_pool":
        return {"logits": LOGITS, "where": where}
    if "importance" in name:
        return {"logits": 2 * X, "where": where}
    if name.startswith("segment_"):
        return {"ids": np.zeros(X.shape[1], np.int32), "where": where}
    if name == "attention_pool":
        return {"query": X[0, 0, 0, :2], "key": 2 * X, "value": 3 * X, "where": where}
    if name == "piecewise_pool":
        return {"positions": (1, 4), "where": where}
    if name.startswith("spectral"):
        random = "dropout" in name and not options.get("deterministic")
        return {"key": key} if random else {}
    takes_key = "key" in inspect.signature(getattr(jaxpool, name)).parameters
    random = takes_key and not options.get("deterministic")
    return {"where": where, **({"key": key} if random else {}), **FILTERS.get(name, {})}


def x_of(name):
    """X, and labels in its place for what takes these alone."""
    return (4 * X).astype(np.int32) if name == "mode_pool" else X


def as_given(function, *args, **kwargs):
    """The function of X, and of logits, where these come before the window."""
    names = ("centroids", "logits", "positions", "ids", "query")
    first = [kwargs.pop(name) for name in names if name in kwargs]
    return function(x_of(function.__name__), *first, *args, **kwargs)


def call(layer, *args, **kwargs):
    return (
        layer.apply({}, *args, **kwargs) if isinstance(layer, nn.Module) else layer(*args, **kwargs)
    )


def program(function, *arguments):
    """What `function` computes, as text, with its constants and the shapes of what it returns."""
    closed = jax.make_jaxpr(function)(*arguments)
    text = re.sub(r" at 0x[0-9a-f]+", "", str(closed.jaxpr))
    # Checks of users are numbered in the order in which they are traced, whatever they check.
    text = re.sub(r"select_n False:bool\[\] \d+:i32", "select_n False:bool[] ?:i32", text)
    return text, list(constants(closed.jaxpr, closed.consts)), closed.out_avals


def constants(jaxpr, own):
    """Arrays that are part of a program, which its text only names."""
    yield from own
    for equation in jaxpr.eqns:
        yield from (v.val for v in equation.invars if np.ndim(getattr(v, "val", 0)))
        for part in jax.tree.leaves(equation.params, is_leaf=lambda v: hasattr(v, "eqns")):
            if hasattr(part, "eqns"):
                yield from constants(getattr(part, "jaxpr", part), getattr(part, "consts", ()))


def assert_same(found, wanted):
    """That two programs are one: they give the same, whatever they are given."""
    assert found[0] == wanted[0]
    for a, b in zip(found[1], wanted[1], strict=True):
        np.testing.assert_array_equal(a, b, strict=True)
    assert found[2] == wanted[2]


def test_all_named_functions_are_found():
    assert len(NAMES) >= 10
    assert {"max_pool", "global_lp_pool"} <= set(NAMES)


@frameworks
def test_every_layer_has_a_function(framework):
    classes = {n for n, c in vars(framework).items() if inspect.isclass(c) and n.endswith("Pool")}
    public = {n for n in classes if not n.startswith("_")}
    regions = {n for n in REGIONS if n.endswith("_pool")}
    named = {module_class(framework, name).__name__ for name in {*NAMES, *regions}}
    assert public == named | LEARNED
    assert {n for n in vars(framework) if "Roi" in n or "Crop" in n} == {
        module_class(framework, name).__name__ for name in REGIONS
    }


@frameworks
@pytest.mark.parametrize("name", [*NAMES, *REGIONS])
def test_fields_are_the_parameters_of_the_function(framework, name):
    function = inspect.signature(getattr(jaxpool, name)).parameters
    layer = inspect.signature(module_class(framework, name).__init__).parameters
    wanted = [(p.name, p.kind, p.default) for p in function.values() if p.name not in AT_CALL]
    found = [
        (p.name, p.kind, p.default)
        for p in layer.values()
        if p.name not in ("self", *OF_FRAMEWORK[framework])
    ]
    assert found == wanted


@frameworks
@pytest.mark.parametrize("name", [*NAMES, *REGIONS])
def test_types_are_those_of_the_function(framework, name):
    wanted = inspect.get_annotations(getattr(jaxpool, name))
    fields = dataclasses.fields(module_class(framework, name))
    types = {f.name: f.type for f in fields if f.name not in ("parent", "name")}
    assert types == {n: wanted[n] for n in types}


@frameworks
@named
def test_call_takes_x_and_where(framework, name):
    parameters = inspect.signature(module_class(framework, name).__call__).parameters
    function = inspect.signature(getattr(jaxpool, name)).parameters
    assert list(parameters) == ["self", *(p for p in function if p in AT_CALL)]
    for keyword in ("key", "samples", "where"):
        if keyword in parameters:
            assert parameters[keyword].kind == inspect.Parameter.KEYWORD_ONLY
            assert parameters[keyword].default is None


@frameworks
@pytest.mark.parametrize("name", REGIONS)
def test_call_of_regions(framework, name, exhaustive):
    """A call takes the function's arrays, in its order, and is the function."""
    function, layer = getattr(jaxpool, name), module_class(framework, name)
    arrays = [n for n in inspect.signature(function).parameters if n in AT_CALL]
    assert list(inspect.signature(layer.__call__).parameters) == ["self", *arrays]
    values = {
        "x": X[0, 0],
        "features": [X[0, 0], X[0, 0, ::2, ::2]],
        "boxes": np.float32([[1.0, 0.5, 6.0, 5.0], [0.0, 0.0, 3.0, 3.0]]),
        "offsets": np.ones((2, 1, 2, 2), np.float32),
        "batch_indices": np.int32([1, 0]),
    }
    values["x"] = np.stack([values["x"], -values["x"]])
    values["features"] = [np.stack([x, -x]) for x in values["features"]]
    values = [values[n] for n in arrays]
    options = {"spatial_scale": 0.5} if "features" not in arrays else {"spatial_scales": [1, 0.5]}
    options = {"extrapolation_value": 3.0} if name == "crop_and_resize" else options
    by_function = lambda *v: function(*v[:-1], (1, 2), batch_indices=v[-1], **options)
    by_layer = lambda *v: call(layer([1, 2], **options), *v[:-1], batch_indices=v[-1])
    wanted = program(by_function, *values)
    assert_same(program(by_layer, *values), wanted)
    assert wanted[2][0].shape == (2, 1, 2, 2 if "position" in name else 4)
    if exhaustive:
        np.testing.assert_array_equal(by_layer(*values), by_function(*values), strict=True)


@frameworks
@pytest.mark.parametrize("name", [*NAMES, *REGIONS])
def test_doc_names_the_function(framework, name):
    assert f"Layer form of `jaxpool.{name}`" in module_class(framework, name).__doc__


def by_function(name, number):
    """A function of a mask and a key: the pooling function, with the arguments of a case."""
    function, (args, options) = getattr(jaxpool, name), cases(name)[number]
    of_call = options
    if name == "matrix_pool":
        options = {**options, "axes": args[0], "semiring": (*args, "sum")[1]}
        args = ()
    if name == "content_aware_blur_pool":  # whose logits come before what the layer is made of
        options, args = {**options, "strides": args[0]}, ()
    return lambda where, key: as_given(
        function, *args, **given(name, of_call, where, key), **options
    )


@functools.lru_cache
def program_of_function(name, number, masked):
    return program(by_function(name, number), MASK if masked else None, KEY)


@frameworks
@named
def test_equals_the_function(framework, name, exhaustive):
    """A mask is in the programs of all cases, and in the first there is also one without.

    Fields are of what both frameworks make modules of, so each has one case of the quick tier.
    """
    numbered = list(enumerate(cases(name)))
    if not exhaustive and len(numbered) > 1:
        numbered = numbered[:1] if framework is jaxpool.linen else numbered[1:]
    for number, (args, options) in numbered:
        layer = module_class(framework, name)(*args, **options)
        found = lambda where, key: call(layer, x_of(name), **given(name, options, where, key))
        for masked in (True, False) if exhaustive or not number else (True,):
            where = MASK if masked else None
            assert_same(program(found, where, KEY), program_of_function(name, number, masked))
            if exhaustive:
                results = jax.jit(found)(where, KEY), jax.jit(by_function(name, number))(where, KEY)
                for a, b in zip(*map(jax.tree.leaves, results), strict=True):
                    np.testing.assert_array_equal(a, b, strict=True)


@frameworks
def test_mask_reaches_the_function(framework):
    layer = framework.MaxPool((2, 2), empty_value=-1)
    x = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    where = np.array([[True, False, False, False], [False, False, False, False]])[..., None]
    np.testing.assert_array_equal(call(layer, x, where=where), [[[0.0], [-1.0]]])


@frameworks
def test_errors_speak_of_the_layer_and_then_of_the_function(framework):
    with pytest.raises(ValueError, match=r"^MaxPool: `strides` must be"):
        framework.MaxPool((2, 2), 0)
    with pytest.raises(ValueError, match=r"^max_pool: `axes` must lie in"):
        call(framework.MaxPool((2, 2), axes=(0, 7)), X)
    with pytest.raises(TypeError, match="missing 1 required"):
        framework.GlobalAvgPool()


def test_linen_has_no_variables():
    for name in NAMES:
        layer = minimal(jaxpool.linen, name)
        more = given(name, cases(name)[0][1], None)
        assert jax.eval_shape(lambda: layer.init(KEY, x_of(name), **more)) == {}


def test_nnx_has_no_state():
    for name in NAMES:
        layer = minimal(jaxpool.nnx, name)
        assert not jax.tree.leaves(nnx.state(layer))


def test_linen_sequential():
    model = nn.Sequential(
        [
            nn.Conv(5, (3, 3)),
            jaxpool.linen.LpPool([2, 2], p=3),
            jaxpool.linen.AvgPool((3, 3), padding="SAME", count_include_pad=False),
            jaxpool.linen.GlobalMaxPool(axes=[-3, -2]),
        ]
    )

    def by_hand(variables):
        z = nn.Conv(5, (3, 3)).apply({"params": variables["params"]["layers_0"]}, X[0])
        z = jaxpool.lp_pool(z, (2, 2), p=3)
        z = jaxpool.avg_pool(z, (3, 3), padding="SAME", count_include_pad=False)
        return jaxpool.global_max_pool(z, (-3, -2))

    y, variables = jax.jit(model.init_with_output)(KEY, X[0])
    assert y.shape == (3, 5)
    assert list(variables["params"]) == ["layers_0"]
    wanted, gradient = jax.jit(
        lambda v: (by_hand(v), jax.grad(lambda v: model.apply(v, X[0]).sum())(v))
    )(variables)
    np.testing.assert_allclose(y, wanted, rtol=1e-5)
    assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, variables)


def test_linen_lifted_transforms():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.jit(jaxpool.linen.MaxPool)([2, 2])(x)
            x = nn.remat(jaxpool.linen.LpPool)((2, 1), 1)(x)
            return nn.vmap(jaxpool.linen.AvgPool, in_axes=1, out_axes=1)((2, 2), 1)(x)

    def by_hand(x):
        x = jaxpool.lp_pool(jaxpool.max_pool(x, (2, 2)), (2, 1), 1)
        return jaxpool.avg_pool(x, (2, 2), 1)

    y, variables = jax.jit(Net().init_with_output)(KEY, X)
    assert variables == {}
    np.testing.assert_allclose(y, jax.jit(by_hand)(X), rtol=1e-6)


def sequential():
    return nnx.Sequential(
        nnx.Conv(4, 5, (3, 3), rngs=nnx.Rngs(0)),
        jaxpool.nnx.LpPool([2, 2], padding=[[0, 0], [1, 1]], p=3),
        jaxpool.nnx.GlobalAvgPool([-3, -2]),
    )


def test_nnx_sequential_and_jit():
    def by_hand(model, x):
        y = jaxpool.lp_pool(model.layers[0](x), (2, 2), padding=((0, 0), (1, 1)), p=3)
        return jaxpool.global_avg_pool(y, (-3, -2))

    model, x = sequential(), X[0, :1]
    expected = by_hand(model, x)
    np.testing.assert_array_equal(model(x), expected)
    jitted = nnx.jit(lambda model, x: model(x))
    np.testing.assert_allclose(jitted(model, x), expected, rtol=1e-5)


def test_nnx_jit_traces_once_for_equal_layers():
    traces = []

    @nnx.jit
    def run(layer, x):
        traces.append(layer)
        return layer(x)

    for window_shape in ([2, 2], (2, 2), (3, 3)):
        run(jaxpool.nnx.MaxPool(window_shape), X)
    assert len(traces) == 2


def test_nnx_grad():
    model = sequential()
    gradient = nnx.jit(nnx.grad(lambda model: model(X[0]).sum()))(model)
    kernel, bias = gradient["layers"][0]["kernel"][...], gradient["layers"][0]["bias"][...]
    assert kernel.shape == (3, 3, 4, 5)
    assert (np.asarray(kernel) != 0).all()
    assert (np.asarray(bias) != 0).all()
    by_pool = nnx.grad(lambda layer, x: layer(x).sum(), argnums=1)(jaxpool.nnx.MaxPool((2, 2)), X)
    assert np.asarray(by_pool).sum() == 2 * 3 * 3 * 4 * 4


def test_nnx_vmap():
    layer = jaxpool.nnx.MaxPool((2, 2))
    mapped = nnx.vmap(lambda layer, x: layer(x), in_axes=(None, 1), out_axes=1)
    np.testing.assert_array_equal(mapped(layer, X), layer(X))


def test_nnx_split_merge_and_clone():
    layer = jaxpool.nnx.AvgPool((2, 2), count_include_pad=False)
    for copy in (nnx.merge(*nnx.split(layer)), nnx.clone(layer)):
        assert copy is not layer
        assert copy.count_include_pad is False
        np.testing.assert_array_equal(copy(X), layer(X))


def test_nnx_lists_become_tuples():
    layer = jaxpool.nnx.AvgPool([2, 2], [1, 1], [[0, 1], [1, 0]])
    assert (layer.window_shape, layer.strides) == ((2, 2), (1, 1))
    assert layer.padding == ((0, 1), (1, 0))


def ordinal(framework, *args, features=4, **options):
    """A layer's logits, and a function of such and of x to what it gives."""
    if framework is jaxpool.linen:
        layer = framework.OrdinalPool(*args, **options)
        logits = jax.jit(layer.init)(KEY, X)["params"]["logits"]
        return logits, lambda logits, x, **more: layer.apply(
            {"params": {"logits": logits}}, x, **more
        )
    layer = framework.OrdinalPool(*args, features=features, **options)

    def apply(logits, x, **more):
        layer = framework.OrdinalPool(*args, features=features, **options)
        layer.logits = nnx.Param(logits)
        return layer(x, **more)

    return layer.logits[...], apply


@frameworks
def test_ordinal_pool_learns_weights(framework):
    """From the mean or the maximum, one row of weights for each channel."""
    logits, apply = ordinal(framework, (2, 2))
    first, apply_first = ordinal(framework, (2, 2), initial="max", param_dtype=jnp.bfloat16)
    assert logits.shape == (4, 4)
    assert logits.dtype == jnp.float32
    assert first.dtype == jnp.bfloat16
    other = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)

    def wanted():
        rank = jaxpool.rank_pool(X, (2, 2), weights=jax.nn.softmax(other, 0), where=MASK)
        return jaxpool.avg_pool(X, (2, 2)), jaxpool.max_pool(X, (2, 2)), rank

    def found(logits, first, other):
        gradient = jax.grad(lambda other: (apply(other, X) ** 2).sum())(other)
        return apply(logits, X), apply_first(first, X), apply(other, X, where=MASK), gradient

    mean, most, rank = jax.jit(wanted)()
    as_mean, as_most, as_rank, gradient = jax.jit(found)(logits, first, other)
    np.testing.assert_allclose(as_mean, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(as_most, most, atol=1e-3)
    np.testing.assert_allclose(as_rank, rank, rtol=1e-6)
    assert (np.asarray(gradient) != 0).all()
    # A softmax does not feel a shift.
    np.testing.assert_allclose(np.asarray(gradient).sum(0), 0, atol=1e-3)
    with pytest.raises(
        ValueError, match=r"OrdinalPool: `initial` must be one of \('mean', 'max'\)"
    ):
        ordinal(framework, (2, 2), initial="min")


@frameworks
def test_ordinal_pool_of_other_layouts(framework):
    logits = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    _, apply = ordinal(framework, 2, axes=(3, 4), channel_axis=1, features=3)

    def both(logits):
        weights = jax.nn.softmax(logits, 0)[..., None, None, None]
        return apply(logits, X), jaxpool.rank_pool(X, 2, axes=(3, 4), weights=weights)

    found, wanted = jax.jit(both)(logits)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    for channel in (3, 5):
        with pytest.raises(ValueError, match="OrdinalPool: `channel_axis` must be an axis of x"):
            ordinal(framework, 2, axes=(3, 4), channel_axis=channel)[1](logits, X)


NEEDS_RNGS = ("LearnedTreePool", "LearnedDetailPreservingPool", "UniversalPool")
MORE_OPTIONS = {
    "LearnedTreePool": {"depth": 3},
    "LearnedDetailPreservingPool": {"full": True},
}


def learned(framework, name, **options):
    """A layer and its parameters, by name."""
    cls = getattr(framework, name)
    options = {**MORE_OPTIONS.get(name, {}), **options}
    if framework is jaxpool.linen:
        layer = cls((2, 3), **options)
        return layer, jax.jit(layer.init)(KEY, X)["params"]
    layer = cls((2, 3), **options, **({"rngs": nnx.Rngs(0)} if name in NEEDS_RNGS else {}))
    return layer, nnx.to_pure_dict(nnx.state(layer))


@frameworks
@pytest.mark.parametrize("name", WITH_PARAMETERS)
@pytest.mark.parametrize("features", [None, 4])
def test_learned_layers_own_their_parameters(framework, name, features):
    function, owned = WITH_PARAMETERS[name]
    layer, parameters = learned(framework, name, features=features, param_dtype=jnp.float16)
    full = ["kernel"] if name == "LearnedDetailPreservingPool" else []
    assert sorted(parameters) == sorted(owned + full)
    channels = () if features is None else (features,)
    constrain = {"alpha": jax.nn.sigmoid, "beta": jax.nn.sigmoid}
    if full:
        constrain = {"alpha": jnp.exp, "lam": jnp.exp}
        np.testing.assert_array_equal(parameters["kernel"], np.float16(1 / 6))
        for name_ in owned:
            most, first = 1 / np.sqrt(features or 1), np.asarray(parameters[name_])
            assert (np.abs(first) <= most).all()
            assert (first != 0).all()
    for key, value in parameters.items():
        assert value.dtype == jnp.float16
        count = {"leaves": (4,), "gates": (3,)}.get(key, ())
        window = (2, 3) if key in ("gate", "leaves", "gates", "kernel") else ()
        assert value.shape == count + window + channels
        if key not in ("leaves", "kernel") and not full:
            assert (np.asarray(value) == 0).all()

    @jax.jit
    def both():
        accurate = {k: v.astype(np.float32) for k, v in parameters.items()}
        given = {k: constrain.get(k, lambda v: v)(v) for k, v in accurate.items()}
        wanted = getattr(jaxpool, function)(X, (2, 3), **given, where=MASK)
        if framework is jaxpool.linen:
            return layer.apply({"params": parameters}, X, where=MASK), wanted
        return layer(X, where=MASK), wanted

    np.testing.assert_array_equal(*both())


@frameworks
@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_learned_layers_have_the_fields_of_the_function(framework, name):
    function, owned = WITH_PARAMETERS[name]
    wanted = inspect.signature(getattr(jaxpool, function)).parameters
    own = {"features", "channel_axis", "param_dtype", "depth", "full", "beta_shape", "rngs"}
    found = {
        p.name: (p.kind, p.default)
        for p in inspect.signature(getattr(framework, name).__init__).parameters.values()
        if p.name not in ("self", "parent", "name") and p.name not in own
    }
    assert found == {
        n: (p.kind, p.default) for n, p in wanted.items() if n not in AT_CALL and n not in owned
    }


@frameworks
@pytest.mark.parametrize("name", WITH_PARAMETERS)
def test_learned_layers_learn(framework, name):
    layer, parameters = learned(framework, name)
    if framework is jaxpool.linen:
        loss = lambda p: (layer.apply({"params": p}, X) ** 2).sum()
        gradient = jax.jit(jax.grad(loss))(parameters)
    else:
        state = nnx.jit(nnx.grad(lambda layer: (layer(X) ** 2).sum()))(layer)
        gradient = nnx.to_pure_dict(state)
    assert set(gradient) == set(parameters)
    for value in map(np.asarray, jax.tree.leaves(gradient)):
        assert np.isfinite(value).all()
        assert (value != 0).all()


# Layers with a parameter for each channel: how they are made for pooled axes of any layout.
LAYOUTS = {
    **{
        f"Learned{name}Pool": lambda axes: {"window_shape": (2, 3), "axes": axes}
        for name in ("Mixed", "Gated", "Tree", "Ada", "DetailPreserving", "Gem", "Logsumexp",
                     "Softmax", "Dilation", "Erosion", "Opening", "Closing")
    },
    **{
        f"LearnedGlobal{name}Pool": lambda axes: {"axes": axes}
        for name in ("Gem", "Logsumexp", "Softmax")
    },
    "LearnedBlurPool": lambda axes: {"strides": (2, 3), "axes": axes},
    "LearnedGaussianPool": lambda axes: {"strides": (2, 3), "filter_size": 8, "axes": axes},
    "ParabolicDilationPool": lambda axes: {"window_shape": (2, 3), "axes": axes},
    "ParabolicErosionPool": lambda axes: {"window_shape": (2, 3), "axes": axes},
    "OrdinalPool": lambda axes: {"window_shape": (2, 3), "axes": axes},
    "UniversalPool": lambda axes: {"window_shape": (2, 3), "axes": axes, "hidden_features": 2},
}  # fmt: skip
OF_ALL_CHANNELS = {
    "PredictedBlurPool", "LearnedImportancePool", "MultiheadAttentionPool", "SimPool",
    "GatedAttentionPool", "AttentiveStatisticsPool", "LearnedPolyphasePool",
    "LearnedFeaturewiseSortPool",
}  # fmt: skip
PER_CHANNEL = LEARNED - OF_ALL_CHANNELS


def of_layout(framework, name, x, **options):
    """The result for x with some parameters, the same for all layouts."""
    options = {**MORE_OPTIONS.get(name, {}), **options}

    def other(parameter):
        numbers = np.random.default_rng(0).uniform(0.3, 1, parameter.shape)
        return jnp.asarray(numbers, parameter.dtype)

    if framework is jaxpool.linen:
        if name == "OrdinalPool":  # it looks at x
            options.pop("features")
        layer = getattr(framework, name)(**options)
        return layer.apply(jax.tree.map(other, layer.init(KEY, x)), x)
    rngs = {"rngs": nnx.Rngs(0)} if name in NEEDS_RNGS else {}
    layer = getattr(framework, name)(**options, **rngs)
    nnx.update(layer, jax.tree.map(other, nnx.state(layer)))
    return layer(x)


def test_all_layers_with_channels_are_tried():
    assert LAYOUTS.keys() == PER_CHANNEL


@pytest.mark.parametrize(
    "framework",  # which keep the same parameters
    [jaxpool.linen, pytest.param(jaxpool.nnx, marks=pytest.mark.exhaustive)],
    ids=["linen", "nnx"],
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_channels_first_is_as_channels_last(framework, name, exhaustive):
    x = X[:, 0] + np.float32(0.1)
    last = {"features": 4, **LAYOUTS[name]((1, 2))}
    kinds = [{"keepdims": kept} for kept in (False, True)] if "Global" in name else [{}]
    layouts = [(-3, (-2, -1)), (0, (2, 3)), (2, (1, 3)), *[(1, (2, 3))] * exhaustive]

    @jax.jit
    def every_layout(x):
        firsts = [
            [
                of_layout(framework, name, jnp.moveaxis(x, -1, axis), features=4,
                          channel_axis=axis, **LAYOUTS[name](axes), **more)
                for axis, axes in layouts
            ]
            for more in kinds
        ]  # fmt: skip
        lasts = [of_layout(framework, name, x, **last, **more) for more in kinds]
        return firsts, lasts, of_layout(framework, name, 0 * x + x[..., :1], **last)

    firsts, lasts, of_equal_channels = every_layout(x)
    for more, wanted, results in zip(kinds, lasts, firsts, strict=True):
        for (axis, axes), found in zip(layouts, results, strict=True):
            kept = [
                a for a in range(4) if more.get("keepdims", True) or a not in np.add(axes, 4) % 4
            ]
            back = np.moveaxis(found, kept.index(axis % 4), -1)
            np.testing.assert_allclose(back, wanted, rtol=1e-5, atol=1e-6)
    assert (np.ptp(of_equal_channels, -1) > 0).any()


@frameworks
def test_channel_axis_is_one_of_x(framework):
    layers = [
        framework.LearnedMixedPool((2, 2), features=4, channel_axis=5),
        framework.LearnedGlobalGemPool((2, 3), features=4, channel_axis=-1),
    ]
    for layer in layers:
        with pytest.raises(ValueError, match="`channel_axis` must be an axis of x that is not poo"):
            layer.init(KEY, X[0]) if framework is jaxpool.linen else layer(X[0])


@frameworks
def test_depth_is_at_least_one(framework):
    with pytest.raises(ValueError, match=r"^LearnedTreePool: `depth` must be at least 1; got"):
        learned(framework, "LearnedTreePool", depth=0)


def test_beta_may_be_of_each_place():
    layer = jaxpool.nnx.LearnedAdaPool((2, 2), beta_shape=[3, 4, 1])
    assert layer.beta.shape == (3, 4, 1)
    np.testing.assert_array_equal(*jax.jit(lambda x: (layer(x), jaxpool.ada_pool(x, (2, 2))))(X))


def test_linen_draws_from_the_stream_pool():
    layer, x = jaxpool.linen.StochasticPool((2, 2)), np.abs(X)
    draw = jax.jit(lambda key: layer.apply({}, x, rngs={"pool": key}))
    y = np.asarray(draw(KEY))
    assert np.isin(y, x).all()
    assert (y != draw(jax.random.key(9))).any()
    by_key = lambda key: layer.apply({}, x, key=key, rngs={"pool": key})
    by_function = lambda key: jaxpool.stochastic_pool(x, (2, 2), key=key)
    assert_same(program(by_key, KEY), program(by_function, KEY))
    with pytest.raises(ValueError, match=r"^StochasticPool: `key` must be given"):
        layer.apply({}, x)


@frameworks
def test_dropout_layer_is_the_function(framework):
    layer = framework.MaxPoolDropout((2, 2), rate=0.3)
    found = lambda key: call(layer, X, key=key, where=MASK)
    wanted = lambda key: jaxpool.max_pool_dropout(X, (2, 2), rate=0.3, key=key, where=MASK)
    assert_same(program(found, KEY), program(wanted, KEY))


IMPORTS = """
import sys
import jaxpool
print("flax" in sys.modules)
sys.modules["flax"] = None  # as if it were not installed
for name in ("linen", "nnx"):
    try:
        __import__(f"jaxpool.{name}")
    except ImportError as error:
        print(error)
del sys.modules["flax"]
import jaxpool.nnx
print("flax" in sys.modules)  # so the first line could have said so
"""


def test_flax_is_optional_and_its_lack_says_what_to_install():
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "False",
        'jaxpool.linen needs Flax. Write pip install "jaxpool[flax]".',
        'jaxpool.nnx needs Flax. Write pip install "jaxpool[flax]".',
        "True",
    ]


class Halved(jaxpool.linen.MaxPool):
    """A user's own layer on one of ours."""

    def __call__(self, x, *, where=None):
        return super().__call__(x, where=where) / 2


class HalvedToo(jaxpool.nnx.MaxPool):
    """And one of NNX."""

    def __call__(self, x, *, where=None):
        return super().__call__(x, where=where) / 2


@pytest.mark.parametrize("layer", [Halved((2, 2)), HalvedToo((2, 2))], ids=["linen", "nnx"])
def test_layers_can_be_derived_from_and_pickled(layer):
    x = X[0]
    np.testing.assert_array_equal(call(layer, x), jaxpool.max_pool(x, (2, 2)) / 2)
    again = pickle.loads(pickle.dumps(layer))
    assert (type(again), again.window_shape) == (type(layer), (2, 2))
    assert "(2, 2)" in repr(layer)


def test_tabulate_shows_the_layer():
    table = jaxpool.linen.LearnedMixedPool((2, 2)).tabulate(jax.random.key(0), X[0])
    assert "LearnedMixedPool" in table
    assert "alpha" in table


def test_each_parameter_starts_from_a_key_of_its_own():
    layer = jaxpool.nnx.LearnedDetailPreservingPool((2, 2), features=4, rngs=nnx.Rngs(0))
    assert (layer.alpha[...] != layer.lam[...]).all()
    layer = jaxpool.linen.LearnedDetailPreservingPool((2, 2), features=4)
    parameters = layer.init(KEY, X[0])["params"]
    assert (parameters["alpha"] != parameters["lam"]).all()


def test_both_frameworks_have_one_text():
    for name, layer in vars(jaxpool.linen).items():
        if getattr(layer, "__module__", "") == "jaxpool.linen" and not name.startswith("_"):
            text = getattr(jaxpool.nnx, name).__doc__
            assert layer.__doc__ == text
            assert "jaxpool." in text, name
