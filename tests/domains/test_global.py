"""Facts about global pools."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
import jaxpool.linen
from jaxpool._src.lowering import masked
from tests.compiling import as_users

TESTS_OF = (
    "domains/global_.py",
    "lowering/masked.py",
    "pools/importance.py",
    "pools/max.py",
    "pools/power_mean.py",
    "reductions/max.py",
)

POOLS = ["global_max_pool", "global_min_pool", "global_sum_pool", "global_avg_pool",
         "global_lp_pool"]  # fmt: skip


@pytest.mark.parametrize("name", POOLS)
def test_axes_and_keepdims(name):
    function = getattr(jaxpool, name)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5)), jnp.float32)
    y = function(x, (1, 2))
    assert y.shape == (2, 5)
    for same in (
        function(x, (2, 1)), function(x, [-3, -2]), function(x, (-2, np.int64(1))),
        function(x, (1, 2), keepdims=True)[:, 0, 0], function(np.asarray(x), (1, 2)),
    ):  # fmt: skip
        np.testing.assert_array_equal(same, y)
    assert function(x, -1).shape == (2, 3, 4)
    assert function(x, (0, 1, 2, 3)).shape == ()
    assert function(x, 0, keepdims=True).shape == (1, 3, 4, 5)


def test_seed_facts():
    x = jnp.arange(16.0).reshape(4, 4)
    assert jaxpool.global_avg_pool(x, (0, 1)) == 7.5
    assert jaxpool.global_max_pool(x, (0, 1)) == 15
    assert jaxpool.global_min_pool(x, (0, 1)) == 0
    assert jaxpool.global_sum_pool(x, (0, 1)) == 120


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (1,), (0, 2), (2, 0, 1)])
def test_the_first_maximum_in_row_major_order_of_x_takes_the_gradient(axes):
    """Whatever order the axes are named in."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (3, 4, 5)).astype(np.float32)
    expected = np.zeros_like(x)
    batch = [a for a in range(3) if a not in axes]
    for index in np.ndindex(*(x.shape[a] for a in batch)):
        cell = [slice(None)] * 3
        for a, i in zip(batch, index, strict=True):
            cell[a] = i
        part = np.zeros_like(x[tuple(cell)])
        part.flat[np.argmax(x[tuple(cell)])] = 1
        expected[tuple(cell)] = part
    for f in (jaxpool.global_max_pool, lambda x, a: -jaxpool.global_min_pool(-x, a)):
        np.testing.assert_array_equal(jax.grad(lambda x: f(x, axes).sum())(x), expected)  # noqa: B023
        y, tangent = jax.jvp(lambda x: f(x, axes), (x,), (np.cumsum(x, 1),))  # noqa: B023
        np.testing.assert_array_equal(y, x.max(axes))
        np.testing.assert_array_equal(tangent, (expected * np.cumsum(x, 1)).sum(axes))


def test_gradient_of_nothing_but_the_lowest():
    for value in (-np.inf, np.finfo(np.float32).min):
        x = jnp.full((3, 50), value)
        g = jax.grad(lambda x: jaxpool.global_max_pool(x, 1).sum())(x)
        np.testing.assert_array_equal(g[:, 0], 1)
        assert g.sum() == 3
        where = jnp.arange(50) > 20
        g = jax.grad(lambda x: jaxpool.global_max_pool(x, 1, where=where).sum())(x)
        np.testing.assert_array_equal(g[:, 21], 1)
        assert g.sum() == 3


def test_masked_nan_and_last_valid_nan():
    x = jnp.array([np.nan, 1.0, np.nan, 2.0, np.nan])
    where = jnp.array([True, True, True, True, False])
    assert np.isnan(jaxpool.global_max_pool(x, 0, where=where))
    g = jax.grad(lambda x: jaxpool.global_max_pool(x, 0, where=where))(x)
    np.testing.assert_array_equal(g, [0, 0, 1, 0, 0])
    where = jnp.array([False, True, False, True, False])
    assert jaxpool.global_max_pool(x, 0, where=where) == 2
    assert jaxpool.global_avg_pool(x, 0, where=where) == 1.5
    assert jaxpool.global_sum_pool(x, 0, where=where) == 3


@pytest.mark.parametrize("name", POOLS)
def test_large_float32_arrays_keep_their_nan(name):
    x = jnp.zeros((4, 64, 64, 16)).at[2, 33, 1, 5].set(jnp.nan)
    for f in (as_users(lambda x: getattr(jaxpool, name)(x, (1, 2))),
              lambda x: getattr(jaxpool, name)(x, (1, 2))):  # fmt: skip
        bad = np.isnan(f(x))
        assert bad.sum() == 1
        assert bad[2, 5]


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 65, 1000])
def test_any_length(name, length):
    x = np.random.default_rng(length).uniform(0.5, 1, (2, length)).astype(np.float32)
    reference = {"max": np.max, "min": np.min, "sum": np.sum, "avg": np.mean,
                 "lp": lambda x, axis: np.sqrt((x * x).sum(axis))}[name.split("_")[1]]  # fmt: skip
    y = jax.jit(lambda x: getattr(jaxpool, name)(x, 1))(x)
    np.testing.assert_allclose(y, reference(x.astype(np.float64), axis=1), rtol=1e-6)


def test_of_two_zeros_the_first_is_the_maximum():
    """Zeros of either sign are equal, and the value is the element that takes the gradient."""
    for zeros, negative in (([0.0, -0.0], False), ([-0.0, 0.0], True), ([-1, -0.0, 0.0], True)):
        x = jnp.array(zeros)
        y = jaxpool.global_max_pool(x, 0)
        assert np.signbit(y) == negative
        first = zeros.index(0)
        assert jax.grad(lambda x: jaxpool.global_max_pool(x, 0))(x)[first] == 1


NAMES = [name for name in dir(jaxpool) if name.startswith("global_")]
NEEDED = {"global_quantile_pool": {"q": 0.3}, "global_top_k_mean_pool": {"k": 2},
          "global_rank_pool": {"weights": np.array([0.5, 0.25, 0.125])},
          "global_stochastic_pool": {"deterministic": True}}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_mask_is_as_if_the_rest_were_not_there(name):
    rng = np.random.default_rng(1)
    x = rng.uniform(0.1, 0.9, (7, 3)).astype(np.float32)
    keep = np.array([False, True, True, False, True, False, True])
    options = NEEDED.get(name, {})
    of_all = of_some = (0,)
    if name == "global_importance_pool":
        logits = rng.normal(size=x.shape).astype(np.float32)
        of_all, of_some = (logits, *of_all), (logits[keep], *of_some)
    function = getattr(jaxpool, name)
    found = function(x, *of_all, where=keep[:, None], **options)
    expected = function(x[keep], *of_some, **options)
    if "argm" in name:  # indices count what is masked out
        found, indices = found
        np.testing.assert_array_equal(np.take_along_axis(x, indices[None], 0)[0], found)
        expected, _ = expected
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_importance_is_a_ratio():
    rng = np.random.default_rng(2)
    x, logits = rng.normal(size=(2, 5, 3)).astype(np.float32)
    weights = np.exp(logits.astype(np.float64))
    expected = (x * weights).sum(0) / weights.sum(0)
    np.testing.assert_allclose(jaxpool.global_importance_pool(x, logits, 0), expected, rtol=1e-5)


def test_more_elements_than_int32_counts(monkeypatch):
    shape = jax.ShapeDtypeStruct((65536, 32768), jnp.float32)
    mask = jax.ShapeDtypeStruct(shape.shape, jnp.bool_)
    for pool in (jaxpool.global_avg_pool, jaxpool.global_gem_pool, jaxpool.global_logsumexp_pool):
        for arrays in ((shape,), (shape, mask)):
            loss = lambda x, where=None: pool(x, (0, 1), where=where)  # noqa: B023, E731
            assert jax.eval_shape(jax.grad(loss), *arrays).shape == shape.shape
    for pool in (jaxpool.global_median_pool, jaxpool.global_stochastic_pool):
        options = {"key": jax.random.key(0)} if "stoch" in pool.__name__ else {}
        with pytest.raises(ValueError, match=f"^{pool.__name__}: `x` must have at most 2"):
            jax.eval_shape(lambda x: pool(x, (0, 1), **options), shape)  # noqa: B023
    # Of as many as can be held here, the same.
    x = np.random.default_rng(3).normal(size=(5, 4, 3)).astype(np.float32)
    where = x > 0
    monkeypatch.setattr(jaxpool.Global, "_too_many", lambda *_: True)
    jax.clear_caches()
    domain = jaxpool.Global((0, 1))
    np.testing.assert_array_equal(domain.count(x.shape, where), where.sum((0, 1)))
    assert domain.count(x.shape).tolist() == [20]


MASKED = [((5, 7, 3), 1, (5, 7, 1)), ((5, 7, 3), 2, (1, 1, 3)), ((40,), 0, (40,)),
          ((2, 3, 4, 6), (1, 2), (2, 1, 4, 6)), ((3, 64), (0, 1), (64,)), ((6, 1, 5), (1, 2), (5,)),
          ((4, 9, 2), (0, 2), (4, 9, 2))]  # fmt: skip


@pytest.mark.parametrize(("block", "row"), [(24, 1 << 16), (48, 12)], ids=["blocks", "rows"])
def test_masked_sums_in_blocks(block, row, monkeypatch):
    """Cut along a pooled axis or another, with and without a rest; of every derivative, by hand."""
    monkeypatch.setattr(masked, "_BLOCK", block)
    monkeypatch.setattr(masked, "_ROW", row)
    monkeypatch.setattr(masked, "_LINES", 4)
    rng = np.random.default_rng(4)
    arrays = []
    for shape, _, of_mask in MASKED:
        x, v = rng.normal(size=(2, *shape)).astype(np.float32)
        where = rng.random(of_mask) < 0.6
        arrays.append((np.where(where, x, np.nan), v, where))

    @jax.jit
    def run(arrays):
        found = []
        for (x, v, where), (_, axes, _) in zip(arrays, MASKED, strict=True):
            means = lambda x, w=where, a=axes: jaxpool.global_avg_pool(x, a, where=w, keepdims=True)  # noqa: E731
            y, tangent = jax.jvp(means, (x,), (v,))
            gradient = jax.vjp(means, x)[1](y)[0]
            twice = jax.vmap(lambda x, w, a=axes: jaxpool.global_sum_pool(x, a, where=w), (0, None))
            found.append((y, tangent, gradient, twice(jnp.stack([x, 2 * x]), where)))
        return found

    assert "while" in run.lower(arrays).as_text()
    for (x, v, where), (_, axes, _), found in zip(arrays, MASKED, run(arrays), strict=True):
        where = np.broadcast_to(where, x.shape)
        n = np.maximum(where.sum(axes, keepdims=True), 1)
        total = np.where(where, x, 0.0).sum(axes, dtype=np.float64, keepdims=True)
        tangent = np.where(where, v, 0.0).sum(axes, dtype=np.float64, keepdims=True) / n
        twice = np.stack([total, 2 * total]).reshape(found[3].shape)
        expected = total / n, tangent, np.where(where, total / n**2, 0), twice
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_empty_values_that_are_no_int32():
    """In each function that fills cells by itself."""
    x, where, value = np.ones((2, 6, 4), np.float32), np.zeros((2, 6, 1), bool), 2**40
    head = jaxpool.linen.MultiheadAttentionPool(2, empty_value=value)

    @jax.jit
    def run(x):
        empty = {"where": where, "empty_value": value}
        return [
            jaxpool.global_avg_pool(x, 1, **empty), jaxpool.blur_pool(x, 2, axes=1, **empty),
            jaxpool.k_max_pool(x, 2, 1, **empty), jaxpool.spatial_softmax(x, axes=1, **empty),
            jaxpool.attention_pool(x, jnp.ones((1, 4)), **empty),
            head.init_with_output(jax.random.key(0), x, where=where)[0],
        ]  # fmt: skip

    for y in run(x):
        np.testing.assert_array_equal(y, np.full(y.shape, value, np.float32))


def test_elements_of_symbolic_axes_cannot_be_passed_one_by_one():
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("2, n"), np.float32)
    pool = lambda x: jaxpool.global_stochastic_pool(x, 1, key=jax.random.key(0))  # noqa: E731
    message = r"^global_stochastic_pool: `x` must have known sizes .* got x.shape=\(2, n\)"
    with pytest.raises(ValueError, match=message):
        jax.export.export(jax.jit(pool))(x)
