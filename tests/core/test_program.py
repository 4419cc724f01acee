"""Calls outside of `jax.jit`: one program each, and what tells two of them apart."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.core.program import _Signature, as_one_program
from tests.lowering.test_program_size import NAMES, OPTIONS
from tests.test_contract import compilations

TESTS_OF = ("core/program.py", "core/pool.py", "core/contracts.py")

X = jnp.asarray(np.random.default_rng(0).random((2, 6, 6, 4)), jnp.float32)
WHERE = X > 0.3
BOXES, OFFSETS = jnp.array([[0.0, 0, 4, 4]]), jnp.zeros((1, 2, 2, 2))
ONES, LOGITS, KEY = jnp.ones((3, 3)), jnp.zeros((2, 3, 3, 9)), jax.random.key(0)
INDICES, PHASE = jnp.zeros((2, 3, 3, 4), jnp.int32), jnp.zeros((2, 2), jnp.int32)

# What is not one call of `pool`, of which each operator of the tables is tried in test_contract.
CALLS = {
    "argmax": lambda: jaxpool.max_pool_with_argmax(X, (2, 2), where=WHERE),
    "unpool": lambda: jaxpool.max_unpool(X[:, :3, :3], INDICES, (2, 2)),
    "convert": lambda: jaxpool.convert_indices(INDICES, X.shape, (1, 2), to="onnx"),
    "pyramid": lambda: jaxpool.pyramid_pool(X, [1, 2]),
    "spatial pyramid": lambda: jaxpool.spatial_pyramid_pool(X, [1, (2, 3)], where=WHERE),
    "sppf": lambda: jaxpool.sppf(X, (3, 3), where=WHERE),
    "blur": lambda: jaxpool.blur_pool(X, (2, 2), where=WHERE),
    "max_blur": lambda: jaxpool.max_blur_pool(X, (2, 2), where=WHERE),
    "gaussian": lambda: jaxpool.gaussian_pool(X, (2, 2), filter_size=3),
    "content_aware": lambda: jaxpool.content_aware_blur_pool(X, LOGITS, (2, 2)),
    "wavelet": lambda: jaxpool.wavelet_pool(X, "db2"),
    "polyphase": lambda: jaxpool.polyphase_pool(X, (2, 2), return_phase=True),
    "polyphase unpool": lambda: jaxpool.polyphase_unpool(X, PHASE, (2, 2)),
    "fractional": lambda: jaxpool.fractional_max_pool(X, (2, 2), output_shape=(2, 3), key=KEY),
    "s3": lambda: jaxpool.s3_pool(X, (2, 2), key=KEY, where=WHERE),
    "gated": lambda: jaxpool.gated_pool(X, (3, 3), gate=ONES),
    "catavgmax": lambda: jaxpool.global_catavgmax_pool(X, (1, 2)),
    "dilation": lambda: jaxpool.dilation_pool(X, (3, 3), structure=ONES),
    "opening": lambda: jaxpool.opening_pool(X, (3, 3), structure=ONES),
    "parabolic": lambda: jaxpool.parabolic_structure((3, 3), 2.0),
    "matrix": lambda: jaxpool.matrix_pool(X, [jnp.ones((2, 6))] * 2, (1, 2)),
    "regional": lambda: jaxpool.regional_max_pool(X, 1),
    "stats": lambda: jaxpool.stats_pool(X, (1, 2), where=WHERE),
    "last": lambda: jaxpool.last_pool(X, where=WHERE),
    "temporal pyramid": lambda: jaxpool.temporal_pyramid_pool(X, [1, 2], where=WHERE),
    "piecewise": lambda: jaxpool.piecewise_pool(X, [2], where=WHERE),
    "k_max": lambda: jaxpool.k_max_pool(X, 2, 1),
    "detail": lambda: jaxpool.detail_preserving_pool(X, (3, 3), kernel=ONES),
    "mask": lambda: jaxpool.pool_mask(WHERE, jaxpool.Window((2, 2)), "all"),
    "roi_align": lambda: jaxpool.roi_align(X[0], BOXES, (2, 2)),
    "deformable": lambda: jaxpool.deformable_roi_pool(X[0], BOXES, OFFSETS, (2, 2)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_is_one_program(call):
    jax.eval_shape(call)  # makes what it is given
    _ = [X[0], X[:, :3, :3], jnp.ones((2, 6))]
    first, compiled = compilations(call)
    assert compiled == 1
    again, compiled = compilations(call)
    assert compiled == 0
    by_jit = jax.jit(lambda: call())()
    for a, b, c in zip(*map(jax.tree.leaves, (first, again, by_jit)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, rtol=1e-6)


def test_a_gradient_is_two_programs():
    loss = lambda x: jaxpool.logsumexp_pool(x, (3, 3), 2)  # noqa: E731
    ct = jnp.ones((2, 2, 2, 4))
    _, compiled = compilations(lambda: jax.vjp(loss, X)[1](ct))
    assert compiled == 2


def test_nothing_of_it_is_left_in_a_program():
    text = str(jax.make_jaxpr(lambda x: jaxpool.avg_pool(x, (2, 2)))(X))
    assert "_pooling" not in text
    assert "window_sum" in text


def test_without_jit_operations_run_one_by_one():
    seen = []
    spy = jaxpool.Monoid(jnp.add, 0.0, finish=lambda total: seen.append(total) or total)
    with jax.disable_jit():
        jaxpool.pool(X, jaxpool.Global(1), spy)
    assert not isinstance(seen[0], jax.core.Tracer)


@pytest.mark.parametrize("values", [
    (0.0, -0.0, float("nan"), 0, 7), (np.array(1.0), np.array(2.0), np.float32(3)),
    (jnp.array(1.0), jnp.array(2.0)),
], ids=["numbers", "numpy", "jax"])  # fmt: skip
def test_values_that_are_known_tell_programs_apart(values):
    for _ in range(2):
        for value in values:
            y = jaxpool.max_pool(X, (2, 2), where=np.zeros((1, 1), bool), empty_value=value)
            expected = np.full(y.shape, value, np.float32)
            np.testing.assert_array_equal(y, expected)
            np.testing.assert_array_equal(np.signbit(y), np.signbit(expected))


def test_a_scalar_that_is_changed_is_another():
    value = np.array(1.0)
    assert jaxpool.max_pool(X, (2, 2), where=False, empty_value=value)[0, 0, 0, 0] == 1
    value[()] = 2
    assert jaxpool.max_pool(X, (2, 2), where=False, empty_value=value)[0, 0, 0, 0] == 2


class Firsts(jaxpool.Domain):
    """Not a tree, and has changed when it is asked again."""

    def __init__(self):
        self.number = 1

    def pooled_axes(self, ndim):
        return (0,)

    def output_shape(self, shape):
        return (self.number, *shape[1:])

    def sum(self, x, where=None):
        return x[: self.number]


def test_domains_and_reductions_of_ones_own():
    domain = Firsts()
    assert jaxpool.pool(X, domain, jaxpool.Sum()).shape == (1, 6, 6, 4)
    domain.number = 2
    assert jaxpool.pool(X, domain, jaxpool.Sum()).shape == (2, 6, 6, 4)


@pytest.mark.parametrize("wrapped", [lambda c: c, lambda c: {"total": c}], ids=["array", "tree"])
def test_a_reduction_that_cannot_be_hashed_runs_operation_by_operation(wrapped):
    def reduction(identity):
        add = lambda a, b: jax.tree.map(jnp.add, a, b)  # noqa: E731
        first = lambda carrier: jax.tree.leaves(carrier)[0]  # noqa: E731
        return jaxpool.Monoid(add, wrapped(identity), wrapped, first)

    for identity in (0.0, jnp.zeros(()), jnp.zeros(()), np.zeros(()), np.zeros(())):
        found = jaxpool.pool(X, jaxpool.Global(0), reduction(identity))
        np.testing.assert_allclose(found, X.sum(0), rtol=1e-6)


def test_programs_are_found_by_what_they_are():
    """Else each would be looked for among all others, which would take longer with each."""
    windows = [jaxpool.Window((size,), stride) for size in range(1, 9) for stride in range(1, 9)]
    signatures = [
        _Signature(jaxpool.pool, jax.tree.structure((window, {"where": None})), ())
        for window in windows
    ]
    assert len(set(map(hash, signatures))) == len(set(signatures)) == len(windows)
    same = _Signature(jaxpool.pool, jax.tree.structure((jaxpool.Window((1,), 1), {"where": 0})), ())
    assert same != signatures[0]


def test_mistakes_are_said_of_what_was_passed():
    with pytest.raises(ValueError, match=r"got sigma=-1.0"):
        jaxpool.gaussian_pool(X, (2, 2), filter_size=3, sigma=-1.0)
    with pytest.raises(TypeError, match=r"empty_value=array\(\[0, 1\]\)"):
        jaxpool.max_pool(X, (2, 2), empty_value=np.arange(2))
    with pytest.raises(ValueError, match="only when it is traced"):
        as_one_program(_refuses_tracers, X)


def _refuses_tracers(x):
    if isinstance(x, jax.core.Tracer):
        raise ValueError("only when it is traced")


@jax.tree_util.register_static
class Unpooled(jaxpool.Reduction):
    """Returns as many values as it gets."""

    def __call__(self, x, domain, where):
        return x


def test_a_promise_that_is_broken_is_a_mistake_of_who_made_it(monkeypatch):
    with pytest.raises(
        ValueError, match=r"^pool: Unpooled must return the shape .* \(2, 3, 3, 4\)"
    ):
        jaxpool.pool(X, jaxpool.Window((2, 2)), Unpooled())
    monkeypatch.setattr(Unpooled, "__module__", jaxpool.Max.__module__)
    with pytest.raises(AssertionError, match="shape"):
        jaxpool.pool(X, jaxpool.Window((2, 2)), Unpooled())


def test_functions_that_want_numbers_run_operation_by_operation():
    """As they would without a program; in a user's own they cannot."""
    total = jaxpool.Monoid(jnp.add, 0.0, finish=lambda total: total if total > 0 else -total)
    found = jaxpool.pool(jnp.array([-3.0, 1.0]), jaxpool.Global(0), total)
    assert found == 2
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda x: jaxpool.pool(x, jaxpool.Global(0), total))(jnp.array([-3.0, 1.0]))


# Arguments that say a shape, as functions of 12 x 12 maps take them, and what else these need.
SIZES = {"window_shape": (3, 3), "strides": (2, 2), "dilation": (1, 1), "filter_size": (3, 3),
         "axes": (0, 1), "output_shape": (2, 3), "levels": (1, 2), "shape": (12, 12, 1)}  # fmt: skip
NEEDED = {
    "attention_pool": lambda kind: {"query": jnp.ones((1, 1))},
    "compact_bilinear_pool": lambda kind: {"sketch": jaxpool.draw_sketch(KEY, 1, 4)},
    "netvlad_pool": lambda kind: {
        "centroids": jnp.ones((2, 1)), "logits": jnp.ones((12, 12, 2))},
    "content_aware_blur_pool": lambda kind: {"logits": jnp.ones((6, 6, 9))},
    "matrix_pool": lambda kind: {"matrices": [jnp.ones((2, 12))] * 2},
    "regional_max_pool": lambda kind: {"levels": 2},
    "wavelet_pool": lambda kind: {"levels": 2},
    "polyphase_unpool": lambda kind: {"phase": jnp.zeros(2, jnp.int32)},
    "max_unpool": lambda kind: {
        "indices": jnp.zeros((12, 12, 1), jnp.int32), "output_shape": kind((25, 25))},
    "parabolic_structure": lambda kind: {"t": jnp.ones(())},
}  # fmt: skip
FUNCTIONS = sorted(
    name
    for name in (*NAMES, "parabolic_structure")
    if SIZES.keys() & inspect.signature(getattr(jaxpool, name)).parameters and "roi" not in name
)


def sized(name, kind):
    """The program of a function each of whose shapes is a sequence of that kind."""
    function, x = getattr(jaxpool, name), jnp.zeros((12, 12, 1))
    taken = inspect.signature(function).parameters
    given = {k: kind(v) for k, v in SIZES.items() if k in taken}
    if name.startswith("fractional"):
        given |= {"key": KEY, "window_shape": kind((2, 2))}
    elif taken.keys() & {"window_shape", "axes"} and name in OPTIONS:
        given |= OPTIONS[name](x, (3, 3))
    given |= NEEDED.get(name, lambda kind: {})(kind)
    first = () if next(iter(taken)) in given else (x,)
    if name == "mode_pool":
        first = (x.astype(jnp.int32),)
    if name == "convert_indices":
        first, given["to"] = (jnp.zeros((2, 2, 1), jnp.int32),), "onnx"
    return str(jax.make_jaxpr(lambda *first: function(*first, **given))(*first))


def as_range(values):
    steps = set(np.diff(values))
    return range(values[0], values[-1] + 1) if steps == {1} else list(values)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_sequence_of_ints_is_a_shape(name):
    wanted = sized(name, tuple)
    assert sized(name, np.array) == wanted
    assert sized(name, as_range) == wanted
