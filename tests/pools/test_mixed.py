"""Facts about mixed, gated and tree pools."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import derivatives, oracle

TESTS_OF = (
    "pools/mixed.py", "reductions/mixed.py", "lowering/taps.py", "lowering/weighted_blocks.py",
)  # fmt: skip

X = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype(np.float32)
GEOMETRY = {"window_shape": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))}


def filtered(x, kernel, where=None):
    """Sum of each window of GEOMETRY times a filter with the window's shape and channels."""
    x = x.astype(np.float64) if where is None else np.where(where, x, 0).astype(np.float64)
    x = np.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)))
    y = np.zeros((2, 3, 6, 3))
    for n, i, j, c in np.ndindex(*y.shape):
        y[n, i, j, c] = (x[n, 2 * i : 2 * i + 3, j : j + 2, c] * kernel[..., c]).sum()
    return y


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("alpha", [0, 1, 0.5])
def test_limits_are_those_of_pytorch(alpha):
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    F = torch.nn.functional
    x = torch.tensor(X.transpose(0, 3, 1, 2))
    maximum, mean = F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)
    expected = (alpha * maximum + (1 - alpha) * mean).numpy().transpose(0, 2, 3, 1)
    y = jaxpool.mixed_pool(X, (3, 3), 2, 1, alpha=alpha)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_alpha_broadcasts_to_the_result_and_may_be_learned():
    per_channel, per_place = (
        np.float32([0, 0.25, 1]),
        np.random.default_rng(1).random((3, 6, 1), np.float32),
    )
    kinds = [oracle.window(kind, X, **GEOMETRY) for kind in ("max", "mean")]
    f = jax.jit(lambda alpha: jaxpool.mixed_pool(X, **GEOMETRY, alpha=alpha))
    for alpha in (per_channel, per_place, np.float32(0.3)):
        expected = alpha * kinds[0] + (1 - alpha) * kinds[1]
        np.testing.assert_allclose(f(alpha), expected, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda alpha: f(alpha).sum())(per_channel)
    np.testing.assert_allclose(gradient, (kinds[0] - kinds[1]).sum((0, 1, 2)), rtol=1e-4)
    with pytest.raises(ValueError, match=r"^mixed_pool: `alpha` must broadcast to the result; got"):
        jaxpool.mixed_pool(X, (2, 2), alpha=np.zeros(2, np.float32))


def test_where_nothing_is_mixed_infinities_do_not_meet():
    x = jnp.array([1.0, np.inf, -np.inf, 2.0])
    assert jaxpool.mixed_pool(x, 2, axes=0, alpha=1).tolist() == [np.inf, 2]
    assert jaxpool.mixed_pool(x, 2, axes=0, alpha=0.0).tolist() == [np.inf, -np.inf]
    assert jaxpool.mixed_pool(x, 2, axes=0, alpha=0.5).tolist() == [np.inf, -np.inf]


def test_empty_cells_spoil_no_gradient_of_parameters():
    x, where = jnp.array([np.nan, np.inf, 2.0, 4.0]), jnp.array([False, False, True, True])

    def loss(alpha, gate):
        options = {"axes": 0, "where": where, "empty_value": 7.0}
        y = jaxpool.mixed_pool(x, 2, alpha=alpha, **options)
        return y.sum() + jaxpool.gated_pool(x, 2, gate=gate, **options).sum()

    by_alpha, by_gate = jax.jit(jax.grad(loss, (0, 1)))(np.float32(0.3), np.zeros(2, np.float32))
    np.testing.assert_allclose(by_alpha, 1)
    np.testing.assert_allclose(by_gate, [0.5, 1])  # max - mean = 1, slope of the sigmoid 1/4


@pytest.mark.parametrize("masked", [False, True])
def test_gated_equals_loops(masked):
    rng = np.random.default_rng(1)
    where = rng.random((2, 7, 6, 1)) < 0.6 if masked else None
    one, per_channel = rng.normal(size=(3, 2)), rng.normal(size=(3, 2, 3))
    f = jax.jit(lambda gate: jaxpool.gated_pool(X, **GEOMETRY, gate=gate, where=where))
    options = {"where": where, **GEOMETRY}
    maximum, mean = (oracle.window(kind, X, **options) for kind in ("max", "mean"))
    for gate in (one, per_channel):
        spread = np.broadcast_to(gate.reshape(3, 2, -1), (3, 2, 3))
        alpha = sigmoid(filtered(X, spread, where))
        expected = alpha * maximum + (1 - alpha) * mean
        np.testing.assert_allclose(f(gate.astype(np.float32)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("leaves", [1, 2, 3, 4])
def test_tree_equals_recursion(leaves):
    rng = np.random.default_rng(1)
    filters = rng.normal(size=(leaves, 3, 2, 3)).astype(np.float32)
    gates = rng.normal(size=(leaves - 1, 3, 2, 3)).astype(np.float32)

    def node(i):
        if i >= leaves - 1:
            return filtered(X, filters[i - leaves + 1])
        part = sigmoid(filtered(X, gates[i]))
        return part * node(2 * i + 1) + (1 - part) * node(2 * i + 2)

    pool = jax.jit(lambda x, *f: jaxpool.tree_pool(x, **GEOMETRY, leaves=f[0], gates=f[1]))
    y = pool(X, filters, gates)
    np.testing.assert_allclose(y, node(0), rtol=1e-4, atol=1e-5)


def test_filters_lie_along_axes_in_their_order():
    gate = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    y, swapped, first = jax.jit(lambda x, gate: (
        jaxpool.gated_pool(x, (3, 2), gate=gate),
        jaxpool.gated_pool(x, (2, 3), gate=gate.T, axes=(1, 0)),
        jaxpool.gated_pool(x.transpose(2, 0, 1), (3, 2), gate=gate, axes=(-2, -1)),
    ))(X[0], gate)  # fmt: skip
    np.testing.assert_allclose(swapped, y, rtol=1e-6)
    np.testing.assert_allclose(first.transpose(1, 2, 0), y, rtol=1e-6)


# Strides, dilation, padding, more stride than window, and so many taps that they run in a loop.
FILTERS = [
    ((9,), {"window_shape": 3, "strides": 2, "padding": 1, "axes": 0}),
    ((12, 2), {"window_shape": (3,), "strides": 2, "padding": ((3, 1),), "dilation": 3}),
    ((11, 1), {"window_shape": (2,), "strides": 4, "ceil_mode": True}),
    ((6, 7), {"window_shape": (2, 3), "strides": (1, 2), "axes": (0, 1)}),
    ((66,), {"window_shape": 65, "strides": 1, "axes": 0}),
    (
        (19, 9),
        {
            "window_shape": (9, 8),
            "strides": (2, 1),
            "dilation": (2, 1),
            "padding": 1,
            "axes": (0, 1),
        },
    ),
]


@pytest.mark.parametrize(("shape", "geometry"), FILTERS)
def test_sums_with_filters_have_all_derivatives(shape, geometry, exhaustive):
    window = jaxpool.Window(**geometry)
    with jax.enable_x64(True):
        x = np.random.default_rng(1).normal(size=shape)
        sizes = dict(zip(window.axes, window.window_shape, strict=True))
        sizes = {axis % x.ndim: size for axis, size in sizes.items()}
        shape = [sizes.get(a, 1) for a in range(x.ndim)]
        kernel = np.random.default_rng(1).normal(size=shape)
        f = jax.jit(window.correlate)
        derivatives.check(f, (x, kernel))
        if exhaustive:
            order = 2 if window.dilation[0] > 1 else 1
            derivatives.check_every_mode(f, (jnp.asarray(x), jnp.asarray(kernel)), order=order)
        expected = oracle.window("sum", x, **geometry)
        np.testing.assert_allclose(f(x, np.ones(kernel.shape)), expected, atol=1e-12)
        # Each entry of the kernel counts for its own tap.
        geometry = dict(window.windows(x.shape))
        padded = np.pad(x, [(w.low, w.right) if (w := geometry.get(a)) else (0, 0)
                            for a in range(x.ndim)])  # fmt: skip
        total = 0
        for index in np.ndindex(*kernel.shape):
            cuts = [slice(None)] * x.ndim
            for axis, w in geometry.items():
                start = index[axis] * w.dilation
                cuts[axis] = slice(start, start + (w.output - 1) * w.stride + 1, w.stride)
            total = total + padded[tuple(cuts)] * float(kernel[index])
        np.testing.assert_allclose(f(x, kernel), total, atol=1e-12)


def test_nan_that_is_handed_back_stays_in_its_window():
    """Elements 3 and 7 are of the blocks of strides 4, and of no window."""
    f = lambda x: jaxpool.Window(3, strides=4, axes=0).correlate(x, jnp.ones(3))  # noqa: E731
    gradient = jax.vjp(f, jnp.ones(8))[1](jnp.array([np.nan, 1.0]))[0]
    np.testing.assert_array_equal(gradient, [np.nan] * 3 + [0, 1, 1, 1, 0])


def test_global_averages_and_maxima():
    mean, maximum = X.mean((1, 2)), X.max((1, 2))
    nothing = np.zeros((7, 6, 1), bool)
    cat = functools.partial(jaxpool.global_catavgmax_pool, axes=(1, 2))
    half, both, kept, first, empty = jax.jit(lambda x: (
        jaxpool.global_avgmax_pool(x, (1, 2)), cat(x), cat(x, keepdims=True),
        cat(x.transpose(0, 3, 1, 2), axes=(2, 3), channel_axis=1),
        cat(x, where=nothing, empty_value=9),
    ))(X)  # fmt: skip
    np.testing.assert_allclose(half, (mean + maximum) / 2, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(both, np.concatenate([mean, maximum], -1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(kept[:, 0, 0], both)
    np.testing.assert_allclose(first, both, rtol=1e-5, atol=1e-6)
    assert (empty == 9).all()


MISTAKES = [
    (ValueError, "mixed_pool: `alpha` must be a number from 0 to 1, or a float array; got alpha=1.5.",
     lambda: jaxpool.mixed_pool(X, (2, 2), alpha=1.5)),
    (TypeError, "mixed_pool: `alpha` must be a number from 0 to 1, or a float array; got alpha=True.",
     lambda: jaxpool.mixed_pool(X, (2, 2), alpha=True)),
    (TypeError, "mixed_pool: `count_include_pad` must be True or False; got count_include_pad=1.",
     lambda: jaxpool.mixed_pool(X, (2, 2), count_include_pad=1)),
    (TypeError, "gated_pool: `gate` must be a float array; got list.",
     lambda: jaxpool.gated_pool(X, (2, 2), gate=[1.0])),
    (ValueError, "gated_pool: `gate` must have the window's shape (2, 2), or lie along the last axes "
     "of x, with window sizes along pooled axes; got gate.shape=(2, 3) for x.shape=(2, 7, 6, 3).",
     lambda: jaxpool.gated_pool(X, (2, 2), gate=np.zeros((2, 3), np.float32))),
    (ValueError, "gated_pool: `gate` must have the window's shape (2, 2), or lie along the last axes "
     "of x, with window sizes along pooled axes; got gate.shape=(2, 2, 2) for x.shape=(2, 7, 6, 3).",
     lambda: jaxpool.gated_pool(X, (2, 2), gate=np.zeros((2, 2, 2), np.float32))),
    (ValueError, "tree_pool: `gates` must have one entry fewer than `leaves`; got 2 for 2.",
     lambda: jaxpool.tree_pool(X, (2, 2), leaves=np.zeros((2, 2, 2), np.float32),
                               gates=np.zeros((2, 2, 2), np.float32))),
    (ValueError, "global_catavgmax_pool: `channel_axis` must be an axis of x that is not pooled; got "
     "channel_axis=1 for x.shape=(2, 7, 6, 3).",
     lambda: jaxpool.global_catavgmax_pool(X, (1, 2), channel_axis=1)),
]  # fmt: skip


@pytest.mark.parametrize(("error", "text", "call"), MISTAKES)
def test_mistakes(error, text, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value).strip() == text


def opened(x, gate, one, other):
    """Of one cell the value, its slope in what the gate sums up, and the two parts."""
    read = gate != 0
    logit = (gate[read] * x[read]).sum()
    if np.isnan(logit):
        return np.nan, 0, np.zeros(2)
    parts = np.array([sigmoid(logit), sigmoid(-logit)])
    y = sum(p * v for p, v in zip(parts, (one, other), strict=True) if p != 0)
    return y, parts.prod() * (one - other) if np.isfinite(one - other) else 0, parts


@pytest.mark.parametrize("size", [2, 66])  # as many taps as are written out, and a loop
def test_what_a_filter_does_not_weigh_is_not_read(size):
    """And what is infinite or NaN gives no filter a slope."""
    x = np.float32([3, 4, np.inf, 2, -np.inf, 1, 5, np.nan, np.inf, -np.inf, np.nan, 2, 1, 2])
    x = np.concatenate([x.reshape(7, 2), np.full((7, size - 2), -7, np.float32)], 1)
    where = np.arange(size) < 2
    where = np.broadcast_to(where, x.shape) & (np.arange(7 * size).reshape(7, size) != 3 * size + 1)
    gates, leaves = np.zeros((3, size), np.float32), np.ones((2, size), np.float32)
    gates[:, :2] = [0, 0.5], [0.5, -0.5], [0, 0]
    leaves[:, :2] = [0, 2], [1.5, 0]

    @jax.jit
    def found(x, gates, leaves):
        def both(x, gate, leaves):
            geometry = {"window_shape": size, "axes": 1, "where": where}
            return (jaxpool.gated_pool(x, gate=gate, **geometry)[:, 0],
                    jaxpool.tree_pool(x, gates=gate[None], leaves=leaves, **geometry)[:, 0])  # fmt: skip

        def one(gate):
            y, back = jax.vjp(both, x, gate, leaves)
            ones, zeros = jnp.ones(7), jnp.zeros(7)
            _, forward = jax.jvp(lambda gate: both(x, gate, leaves), (gate,), (jnp.ones(size),))
            return y, back((ones, zeros)), back((zeros, ones)), forward

        return jax.lax.map(one, gates)

    values = np.where(where, x, 0).astype(np.float64)
    finite = np.where(np.isfinite(values), values, 0)
    for gate, *results in zip(gates, *jax.tree.leaves(found(x, gates, leaves)), strict=True):
        y, tree, in_x, in_gate, _, _, by_gate, in_leaves, forward, tree_forward = results
        for i, (v, valid) in enumerate(zip(values, where, strict=True)):
            with np.errstate(invalid="ignore"):
                first = np.flatnonzero(valid)[np.argmax(v[valid])]  # NaN, if there is one
                cell, slope, parts = opened(v, gate, v[first], v[valid].mean())
                a, b = ((leaf[leaf != 0] * v[leaf != 0]).sum() for leaf in leaves)
                node, tree_slope, tree_parts = opened(v, gate, a, b)
            shares = parts[0] * (np.arange(size) == first) + parts[1] * valid / valid.sum()
            np.testing.assert_allclose((y[i], tree[i]), (cell, node), 1e-5)
            np.testing.assert_allclose(in_x[i], shares + slope * gate * valid, 1e-5, 1e-6)
            np.testing.assert_allclose(forward[i], slope * finite[i].sum(), 1e-5)
            np.testing.assert_allclose(tree_forward[i], tree_slope * finite[i].sum(), 1e-5)
            in_gate = in_gate - slope * finite[i]
            by_gate = by_gate - tree_slope * finite[i]
            in_leaves = in_leaves - tree_parts[:, None] * finite[i]
        for rest in (in_gate, by_gate, in_leaves):
            np.testing.assert_allclose(rest, np.zeros_like(rest), atol=2e-5)


def test_of_one_part_alone_infinities_of_the_other_are_nothing():
    x = jnp.array([-np.inf, 2.0, 1.0, 3.0])
    for one in (1, 1.0, np.float32(1), jnp.array(1.0)):
        np.testing.assert_array_equal(jaxpool.mixed_pool(x, 2, axes=0, alpha=one), [2, 3])
    for zero in (0, np.float32(0), jnp.array(0.0)):
        np.testing.assert_array_equal(jaxpool.mixed_pool(x, 2, axes=0, alpha=zero), [-np.inf, 2])


def test_what_has_no_part_and_what_is_infinite_give_no_nan():
    """In alpha, the slopes of finite cells alone, forwards and backwards; in x, parts and shares."""
    x = np.float32([3, 4, -np.inf, 2, 1, np.inf, np.inf, -np.inf, -np.inf, -np.inf, 5, np.nan])
    where = np.arange(12) < 11

    @jax.jit
    def run(alpha):
        f = lambda alpha, x: jaxpool.mixed_pool(x, 2, axes=0, alpha=alpha, where=where)  # noqa: E731
        y, back = jax.vjp(f, alpha, x)
        return y, back(jnp.ones(6)), jax.jacfwd(f)(alpha, x)

    values = {0.0: [3.5, -np.inf, np.inf, np.nan, -np.inf, 5],
              0.5: [3.75, -np.inf, np.inf, np.nan, -np.inf, 5],
              1.0: [4, 2, np.inf, np.inf, -np.inf, 5]}  # fmt: skip
    for alpha, wanted in values.items():
        y, (in_alpha, in_x), forward = run(np.float32(alpha))
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_array_equal(forward, [0.5, 0, 0, 0, 0, 0])
        assert in_alpha == 0.5
        shares = np.full(12, (1 - alpha) / 2)
        shares[[1, 3, 5, 6, 8]] += alpha  # where the maxima are
        shares[10:] = 1, 0  # the only one of its cell
        np.testing.assert_allclose(in_x, shares, rtol=1e-6)


def test_an_alpha_of_zero_does_not_read_the_bottom():
    f = jax.jit(
        jax.value_and_grad(lambda alpha, x: jaxpool.wildcat_pool(x, 0, alpha=alpha), (0, 1))
    )
    x = np.float32([-np.inf, 1, 2])
    for alpha, wanted, in_x in ((0, 2, [0, 0, 1]), (0.5, -np.inf, [0.5, 0, 1])):
        y, (in_alpha, slopes) = f(np.float32(alpha), x)
        assert (y, in_alpha) == (wanted, 0)
        np.testing.assert_array_equal(slopes, in_x)
    y, (in_alpha, _) = f(np.float32(0.5), np.float32([-1, 1, 2]))
    assert (y, in_alpha) == (1.5, -1)
