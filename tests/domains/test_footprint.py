"""Facts about windows with a shape: what a footprint leaves out is no element of its windows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from jaxpool._src.lowering import picks, tangent
from jaxpool._src.lowering.footprints import all_taps, tap_numbers
from tests import oracle
from tests.derivatives import wave

TESTS_OF = (
    "lowering/footprints.py",
    "domains/window.py",
    "core/arguments.py",
    "lowering/max.py",
    "lowering/sum.py",
    "lowering/taps.py",
    "lowering/folds.py",
    "lowering/picks.py",
    "lowering/tangent.py",
    "lowering/bisection.py",
    "lowering/window_order.py",
    "lowering/looped_order.py",
    "lowering/primitives.py",
    "layers/fields.py",
)

CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)
WEIGHTS = np.array([0.5, 0.125, -0.25, 0.5])  # those of the oracle's "ordinal"
SUM_EXP = jaxpool.Monoid(lambda a, b: a + b, 0, lift=jnp.exp, finish=jnp.log)


def drawn(shape, share):
    """A footprint without its corners, which is not symmetric."""
    found = np.random.default_rng(1).random(shape) < share
    found.flat[0] = found.flat[-1] = False
    found.flat[found.size // 2] = True
    return found


CASES = {}
CASES["small"] = (
    (7, 2, 8),
    {"window_shape": (4, 3), "strides": (2, 3), "dilation": (1, 2), "padding": (2, 1),
     "ceil_mode": True, "axes": (0, 2), "footprint": drawn((4, 3), 0.6)},
    {"max": (jaxpool.Max(), "max"), "mean": (jaxpool.Mean(), "mean"),
     "lp": (jaxpool.Lp(3), lambda v, _: (np.abs(v) ** 3).sum() ** (1 / 3)),
     "median": (jaxpool.Median(), "median"), "top": (jaxpool.TopKMean(3), "top_3"),
     "ordinal": (jaxpool.RankMean(WEIGHTS), "ordinal"), "fold": (SUM_EXP, "logsumexp")},
)  # fmt: skip
CASES["large"] = (
    (12, 13),
    {"window_shape": (9, 10), "strides": (1, 2), "padding": 4, "axes": (0, 1),
     "footprint": drawn((9, 10), 0.9)},
    {"max": (jaxpool.Max(), "max"), "mean": (jaxpool.Mean(), "mean"),
     "median": (jaxpool.Median("lower"), lambda v, _: np.quantile(v, 0.5, method="lower")),
     "fold": (SUM_EXP, "logsumexp")},
)  # fmt: skip


@pytest.mark.parametrize("case", ["small", "large"])
def test_only_elements_in_it_are_pooled(case):
    """Values and derivatives of every service against loops; of small windows, masked ones."""
    shape, geometry, reductions = CASES[case]
    rng = np.random.default_rng(0)
    x, step = rng.normal(size=shape), 1e-6
    where = rng.random(shape) < 0.7 if case == "small" else None
    move, domain = wave(x), jaxpool.Window(**geometry)
    options = {"where": where, "empty_value": -5}

    @jax.jit
    def found(x, move):
        results = {}
        for name, (reduction, _) in reductions.items():
            pool = lambda x, r=reduction: jaxpool.pool(x, domain, r, **options)  # noqa: E731
            y, pull = jax.vjp(pool, x)
            forward = jax.jvp(pool, (x,), (move,))[1] if case == "small" else None
            results[name] = y, forward, pull(jnp.cos(y))[0]
        return results

    hidden = x if where is None else np.where(where, x, np.nan)
    results = found(hidden.astype(np.float32), move.astype(np.float32))
    for name, (_, kind) in reductions.items():
        y, forward, backward = results[name]
        expected, ahead, behind = (
            oracle.window(kind, x + by * move, **geometry, **options) for by in (0, step, -step)
        )
        differences = (ahead - behind) / (2 * step)
        near = {"rtol": 2e-4, "atol": 1e-4, "err_msg": name}
        np.testing.assert_allclose(y, expected, **{**near, "rtol": 1e-5, "atol": 1e-5})
        along = (np.cos(expected) * differences).sum()
        np.testing.assert_allclose((np.asarray(backward) * move).sum(), along, **near)
        if forward is not None:
            np.testing.assert_allclose(forward, differences, **near)
            assert not np.asarray(backward)[~where].any(), name


def test_equals_filters_of_scipy():
    """By the named functions, at borders too, which SciPy fills with a constant."""
    x = np.random.default_rng(0).normal(size=(7, 8)).astype(np.float32)
    ring = ~CROSS
    options = {"strides": (2, 1), "axes": (0, 1)}

    @jax.jit
    def found(x):
        given = {**options, "footprint": CROSS}
        return (
            jaxpool.max_pool(x, 3, padding="SAME", **{**given, "strides": 1}),
            jaxpool.min_pool(x, 3, padding=1, **given),
            jaxpool.sum_pool(x, 3, padding=1, **{**options, "footprint": ring}),
            jaxpool.avg_pool(x, 3, padding=1, **given),
            jaxpool.median_pool(x, 3, **given),
            jaxpool.quantile_pool(x, 3, q=0.75, **given),
            jaxpool.rank_pool(x, 3, weights=[0.0, 1.0, 0.0, 0.0, 0.0], **given),
            jaxpool.top_k_mean_pool(x, 3, k=2, **given),
        )

    rank = lambda r: scipy.ndimage.rank_filter(x, r, footprint=CROSS)[1:-1:2, 1:-1]  # noqa: E731
    filled = {"footprint": CROSS, "mode": "constant"}
    expected = (
        scipy.ndimage.maximum_filter(x, cval=-np.inf, **filled),
        scipy.ndimage.minimum_filter(x, cval=np.inf, **filled)[::2],
        scipy.ndimage.correlate(x, ring.astype(np.float32), mode="constant")[::2],
        scipy.ndimage.correlate(x, CROSS.astype(np.float32) / 5, mode="constant")[::2],
        scipy.ndimage.median_filter(x, footprint=CROSS)[1:-1:2, 1:-1],
        rank(3),
        rank(3),
        (rank(3) + rank(4)) / 2,
    )
    for y, e in zip(found(x), expected, strict=True):
        np.testing.assert_allclose(y, e, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [3, 11])
def test_what_is_left_out_is_not_read(size):
    """Neither NaN there, nor a NaN that is handed back."""
    footprint = drawn((size, size), 0.8)
    left_out = np.argwhere(~footprint)[-1]
    domain = jaxpool.Window((size, size), axes=(0, 1), footprint=footprint)
    x = np.random.default_rng(0).normal(size=(size, 2 * size)).astype(np.float32)
    x[tuple(left_out)] = np.nan
    reductions = [jaxpool.Max(), jaxpool.Sum(), jaxpool.Median(), jaxpool.Monoid(jnp.add, 0)]
    reductions += [jaxpool.TopKMean(2), jaxpool.Lp(3)] if size == 3 else []

    @jax.jit
    def found(x, cotangent):
        pulls = [jax.vjp(lambda x, r=r: jaxpool.pool(x, domain, r), x) for r in reductions]
        return [(y[0, 0], pull(cotangent)[0]) for y, pull in pulls]

    for y, gradient in found(x, np.array([[np.nan, 0]], np.float32)):
        assert np.isfinite(y)
        assert not np.isnan(np.asarray(gradient)[:, :size][~footprint]).any()


def test_the_first_of_equals_takes_the_gradient():
    """Of those in the footprint, in row-major order; of nothing but -inf, within the input."""
    corners = np.zeros((3, 3), bool)
    corners[0, 2] = corners[2, 0] = True
    footprint = {3: CROSS, 9: drawn((9, 9), 0.9), 2: corners}

    @jax.jit
    def found(x):
        def total(x, size, padding):
            sizes = footprint[size].shape
            return jaxpool.max_pool(
                x, sizes, 1, padding, axes=(0, 1), footprint=footprint[size]
            ).sum()

        return [jax.grad(total)(x, *how) for how in ((3, "SAME"), (9, "SAME"), (2, 1))]

    x = np.full((9, 10), -np.inf, np.float32)
    cross, large, pair = found(x)
    # Above the middle if there is a row above, else left of it, else itself.
    expected = np.zeros((9, 10))
    expected[:8] += 1
    expected[0, :9] += 1
    expected[0, 0] += 1
    np.testing.assert_array_equal(cross, expected)
    assert float(large.sum()) == 90
    expected = np.zeros((9, 10))
    for i, j in np.ndindex(9, 10):
        reached = [(i - 1, j + 1), (i + 1, j - 1)]
        reached = [(k, m) for k, m in reached if 0 <= k < 9 and 0 <= m < 10]
        for place in reached[:1]:
            expected[place] += 1
    np.testing.assert_array_equal(pair, expected)


def test_counts_are_of_the_footprint():
    """Cells that reach the input with nothing are empty, and declared padding counts if in it."""
    shape, geometry, _ = CASES["small"]
    domain = jaxpool.Window(**geometry)
    for include_pad in (False, True):
        kind = lambda v, pads, more=include_pad: len(v) + more * pads  # noqa: E731
        expected = oracle.window(kind, np.zeros(shape), **geometry, empty_value=-1)
        found = np.broadcast_to(domain.counts(shape, include_pad=include_pad), expected.shape)
        np.testing.assert_array_equal(found[expected >= 0], expected[expected >= 0])
        assert include_pad or not found[expected < 0].any()
    corner = np.arange(9).reshape(3, 3) == 0
    x = np.arange(1.0, 10, dtype=np.float32).reshape(3, 3)
    options = {"axes": (0, 1), "footprint": corner.tolist(), "empty_value": -7}
    means = jaxpool.avg_pool(x, 3, 1, 1, count_include_pad=False, **options)
    np.testing.assert_array_equal(means, [[-7, -7, -7], [-7, 1, 2], [-7, 4, 5]])
    halves = jaxpool.avg_pool(x, 3, 1, divisor_override=2, **options)
    np.testing.assert_array_equal(halves, [[0.5]])
    window = jaxpool.Window((3, 3), 1, 1, axes=(0, 1), footprint=corner)
    assert window.can_be_empty((3, 3))
    assert not jaxpool.Window((3, 3), 1, 1, axes=(0, 1), footprint=CROSS).can_be_empty((3, 3))
    assert window.most((3, 3)) == 1


def test_where_maxima_are():
    x = np.random.default_rng(0).permutation(12 * 13).reshape(12, 13).astype(np.float32)
    for size in (3, 9):
        footprint = drawn((size, size), 0.9)
        domain = jaxpool.Window((size, size), 2, 1, axes=(0, 1), footprint=footprint)
        y = jaxpool.pool(x, domain, jaxpool.Max())
        np.testing.assert_array_equal(x.ravel()[np.asarray(domain.argmax(jnp.asarray(x)))], y)


def test_it_follows_the_order_of_axes():
    x = np.random.default_rng(0).integers(0, 9, (6, 7)).astype(np.int8)
    footprint = drawn((2, 3), 0.5)
    y = jaxpool.max_pool(x, (2, 3), 1, axes=(1, 0), footprint=footprint)
    np.testing.assert_array_equal(
        y, jaxpool.max_pool(x, (3, 2), 1, axes=(0, 1), footprint=footprint.T)
    )
    assert y.dtype == np.int8


def test_a_full_footprint_is_none():
    full = jaxpool.Window((2, 2), footprint=[[True, True], [True, True]])
    assert full == jaxpool.Window((2, 2))
    assert full.footprint is None
    one, same = (jaxpool.Window((3, 3), footprint=f) for f in (CROSS, CROSS.tolist()))
    assert (one, hash(one)) == (same, hash(same))
    assert one != jaxpool.Window((3, 3))
    assert one.windows((9, 9, 1)) != tuple(one.windows((9, 9, 1)))
    assert one.windows((9, 9, 1)) == same.windows((9, 9, 1))


def test_mistakes():
    x, pool = jnp.ones((4, 4, 1)), jaxpool.max_pool
    with pytest.raises(
        ValueError, match=r"max_pool: `footprint` must have the window's shape \(2, 3\); got"
    ):
        pool(x, (2, 3), footprint=[[True, False]])
    with pytest.raises(
        TypeError, match=r"max_pool: `footprint` must be an array of bools .*astype\(bool\)"
    ):
        pool(x, (2, 2), footprint=[[0, 1], [1, 1]])
    with pytest.raises(ValueError, match="max_pool: `footprint` must have an element that is True"):
        pool(x, (2, 2), footprint=np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="Window: `footprint` must be an array of bools"):
        jaxpool.Window((2, 2), footprint=[[True], [True, False]])
    with pytest.raises(TypeError, match="Window: `footprint` must be an array of bools"):
        jaxpool.Window((2, 2), footprint=True)
    with pytest.raises(TypeError, match="max_pool: `footprint` must be known to the program"):
        jax.jit(lambda f: pool(x, (2, 2), footprint=f))(np.eye(2, dtype=bool))
    with pytest.raises(ValueError, match='max_pool: `implementation` must be None or "taps" where'):
        pool(x, (2, 2), footprint=np.eye(2, dtype=bool), implementation="axes")
    with pytest.raises(TypeError, match="MedianPool: `footprint` must be an array of bools"):
        jaxpool.linen.MedianPool((2, 2), footprint=[[0, 1], [1, 1]])


def test_layers_have_it_as_a_field():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5, 1)), np.float32)
    expected = jaxpool.median_pool(x, (3, 3), 1, footprint=CROSS)
    layer = jaxpool.linen.MedianPool((3, 3), 1, footprint=jnp.asarray(CROSS))
    assert hash(layer) == hash(jaxpool.linen.MedianPool((3, 3), 1, footprint=CROSS.tolist()))
    np.testing.assert_array_equal(layer.apply({}, x), expected)
    module = jaxpool.nnx.MedianPool((3, 3), 1, footprint=CROSS)
    np.testing.assert_array_equal(nnx.jit(lambda m, x: m(x))(module, x), expected)


def test_forms_of_other_platforms_agree():
    """Without padded copies, and tap by tap for derivatives; batched too."""
    x = np.random.default_rng(0).normal(size=(6, 7)).astype(np.float32)
    windows = jaxpool.Window((3, 4), 2, 1, axes=(0, 1), footprint=drawn((3, 4), 0.5)).windows(
        x.shape
    )

    @jax.jit
    def found(x):
        here, there = picks.picked_at_once(x, None, windows), picks.picked_in_passes(
            x, None, windows=windows, limit=99)  # fmt: skip
        moved = [form(x, here[1]) for form in (
            lambda x, taps: tangent.tangent_in_slices(x, taps, windows, pad_each=True),
            lambda x, taps: tangent.tangent_in_blocks(
                x, taps, [tangent.Step(windows)], lambda f, *operands: f(*operands)),
        )]  # fmt: skip
        return here, there, moved

    here, there, moved = found(x)
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
    for tangents in moved:
        np.testing.assert_array_equal(tangents, here[0])
    assert set(np.unique(here[1])) <= set(tap_numbers(windows))
    assert len(all_taps(windows)) == len(tap_numbers(windows))
    domain = jaxpool.Window(2, axes=0, footprint=[False, True])
    pool = jax.vmap(jax.grad(lambda x: jaxpool.pool(x, domain, jaxpool.Max()).sum()), 1, 1)
    np.testing.assert_array_equal(pool(x), np.repeat([[0.0], [1.0]] * 3, 7, 1))


def test_programs_do_not_grow_with_large_footprints():
    def size(k):
        domain = jaxpool.Window((k, k), 1, footprint=drawn((k, k), 0.9))
        reductions = (jaxpool.Max(), jaxpool.Mean(), jaxpool.Median(), SUM_EXP)

        def total(x):
            return sum(jaxpool.pool(x, domain, r).sum() for r in reductions)

        text = jax.jit(jax.grad(total)).lower(jnp.ones((1, 40, 40, 1))).as_text()
        return len(text.splitlines())

    assert size(21) <= 1.05 * size(11)
