"""Facts about pools of sequences."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import derivatives

TESTS_OF = (
    "pools/sequences.py",
    "reductions/sequences.py",
    "pools/pyramids.py",
    "core/arguments.py",
)

LENGTHS = (5, 1, 8, 0, 3)
SIZE = 8
ROWS = [np.random.default_rng(i).normal(size=(n, 3)).astype(np.float32)
        for i, n in enumerate(LENGTHS)]  # fmt: skip


def padded(left, value=0.0):
    """The rows side by side, and which elements are valid."""
    x = np.full((len(LENGTHS), SIZE, 3), value, np.float32)
    where = np.zeros((len(LENGTHS), SIZE, 1), bool)
    for i, row in enumerate(ROWS):
        part = slice(SIZE - len(row), SIZE) if left else slice(0, len(row))
        x[i, part], where[i, part] = row, True
    return x, where


def t(v):
    return np.arange(1, len(v) + 1.0).reshape(-1, 1)


POOLS = {
    "first": jaxpool.first_pool,
    "last": jaxpool.last_pool,
    "sqrt": jaxpool.mean_sqrt_length_pool,
    "position": jaxpool.position_weighted_pool,
    "rank": jaxpool.approximate_rank_pool,
    "splade": jaxpool.splade_pool,
    "splade_sum": partial(jaxpool.splade_pool, reduction="sum"),
}
EXPECTED = {
    "first": lambda v: v[0],
    "last": lambda v: v[-1],
    "sqrt": lambda v: v.sum(0) / len(v) ** 0.5,
    "position": lambda v: (t(v) * v).sum(0) / t(v).sum(),
    "rank": lambda v: ((2 * t(v) - len(v) - 1) * v).sum(0),
    "splade": lambda v: np.log1p(np.maximum(v, 0)).max(0),
    "splade_sum": lambda v: np.log1p(np.maximum(v, 0)).sum(0),
}


def expected(name, v, empty=7):
    return EXPECTED[name](v.astype(np.float64)) if len(v) else np.full(v.shape[1:], empty)


@jax.jit
def everything(x, where):
    """All pools under a mask, with their gradients, and without one."""
    found = {}
    for name, f in POOLS.items():
        y, vjp = jax.vjp(lambda x, f=f: f(x, where=where, empty_value=7), x)
        found[name] = y, vjp(jnp.ones_like(y))[0], f(x)
    return found


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_padding_is_irrelevant(value):
    """On either side, whatever is in it: to values and to gradients."""
    found = {left: everything(*padded(left, value)) for left in (False, True)}
    where = {left: padded(left)[1] for left in (False, True)}
    for name in POOLS:
        rows = [expected(name, row) for row in ROWS]
        for left in (False, True):
            y, gradient, _ = found[left][name]
            np.testing.assert_allclose(y, rows, 2e-6, 1e-6, err_msg=name)
            assert np.isfinite(gradient).all()
            assert (np.asarray(gradient)[~np.broadcast_to(where[left], gradient.shape)] == 0).all()
        np.testing.assert_array_equal(found[False][name][0], found[True][name][0])


def test_without_a_mask_and_along_other_axes():
    x, where = padded(False)
    found = everything(x, where)
    turned = jax.jit(
        lambda x, where: {
            name: f(x.transpose(0, 2, 1), axis=-1, where=where.transpose(0, 2, 1), empty_value=7)
            for name, f in POOLS.items()
        }
    )(x, where)
    for name in POOLS:
        rows = [expected(name, row) for row in x]
        np.testing.assert_allclose(found[name][2], rows, 2e-6, 1e-6, err_msg=name)
        np.testing.assert_allclose(turned[name], found[name][0], 1e-6, 1e-6)


def test_masks_of_channels_and_holes():
    """Positions are those among what is valid in a channel."""
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    where = np.random.default_rng(1).random(x.shape) < 0.6
    found = everything(x, where)
    shared = everything(x, where[0, :, :1])
    for name in POOLS:
        for b, c in np.ndindex(2, 3):
            row = expected(name, x[b, where[b, :, c], c][:, None])
            np.testing.assert_allclose(found[name][0][b, c], row[0], 2e-6, 1e-6, err_msg=name)
            row = expected(name, x[b, where[0, :, 0], c][:, None])
            np.testing.assert_allclose(shared[name][0][b, c], row[0], 2e-6, 1e-6, err_msg=name)


@pytest.mark.parametrize("dtype", ["int8", "bool", "bfloat16", "float8_e4m3fn"])
def test_dtypes(dtype):
    """Elements stay what they are; what is computed is so in float32 at least."""
    x = (np.arange(24).reshape(2, 12, 1) % 5).astype(dtype)
    where = np.arange(12)[:, None] % 3 > 0
    found = jax.jit(lambda x: {n: f(x, where=where) for n, f in POOLS.items()})(x)
    floating = jnp.issubdtype(x.dtype, jnp.floating)
    for name, y in found.items():
        assert y.dtype == (x.dtype if floating or name in ("first", "last") else np.float32)
        wanted = np.stack([expected(name, v[where[:, 0]]) for v in x])
        tolerance = 0.13 if dtype.startswith("float8") else 0.008 if floating else 1e-6
        np.testing.assert_allclose(np.float64(y), wanted, tolerance)
    if dtype == "bfloat16":  # 256 + 1 is 256 there
        ones = np.ones((4096, 1), jnp.bfloat16)
        assert jaxpool.mean_sqrt_length_pool(ones) == 64
        assert jaxpool.position_weighted_pool(ones) == 1


def test_derivatives_against_differences():
    with jax.enable_x64(True):
        x, where = padded(True)
        pools = lambda x: [POOLS[n](x, where=where) for n in ("last", "position", "rank", "splade")]  # noqa: E731
        derivatives.check(pools, (np.float64(x),))


def test_saturated_activations_have_no_slope_at_0():
    x = np.float32([[0.0, -1.0], [0.0, -np.inf]])
    for reduction in ("max", "sum"):
        f = partial(jaxpool.splade_pool, reduction=reduction)
        np.testing.assert_array_equal(f(x), 0)
        np.testing.assert_array_equal(jax.grad(lambda x, f=f: f(x).sum())(x), 0)


def test_vmap_and_symbolic_lengths():
    x, where = padded(True)
    pools = lambda x, where: [f(x, where=where, empty_value=7) for f in POOLS.values()]  # noqa: E731
    plain = jax.jit(pools)(x, where)
    mapped = jax.jit(jax.vmap(pools))(x, where)
    shape = jax.export.symbolic_shape("b, n, 3")
    kinds = (
        jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct((*shape[:2], 1), np.bool_)
    )  # fmt: skip
    exported = jax.export.export(jax.jit(pools))(*kinds).call(x, where)
    for a, b, c in zip(plain, mapped, exported, strict=True):
        np.testing.assert_allclose(b, a, 1e-6)
        np.testing.assert_allclose(c, a, 1e-6)


def test_temporal_pyramids_are_spatial_ones_of_one_axis():
    x, where = padded(False, np.nan)

    @jax.jit
    def both(x, where):
        found = []
        for kind in (jaxpool.Max(), jaxpool.Mean()):
            options = {"where": where, "empty_value": 7}
            pyramid = jaxpool.temporal_pyramid_pool(x, (1, 3), kind, **options)
            parts = [jaxpool.pool(x, jaxpool.Adaptive(n, axes=1), kind, **options) for n in (1, 3)]
            parts = [part.reshape(len(part), -1) for part in parts]
            found.append((pyramid, jnp.concatenate(parts, 1)))
        return found, jaxpool.temporal_pyramid_pool(x, np.array([2]), axis=1)

    found, one = both(x, where)
    for pyramid, parts in found:
        assert pyramid.shape == (5, 4 * 3)
        np.testing.assert_array_equal(pyramid, parts)
    assert one.shape == (5, 6)
    np.testing.assert_array_equal(found[0][0][2, :3], ROWS[2].max(0))


def pieces(row, positions, kind, empty=7):
    bounds = [0, *positions, len(row)]
    parts = [row[max(a, 0) : b] for a, b in itertools.pairwise(bounds)]
    return np.stack([kind(p.astype(np.float64), 0) if len(p) else np.full(3, empty) for p in parts])


@pytest.mark.parametrize("kind", [(jaxpool.Max(), np.max), (jaxpool.Mean(), np.mean)],
                         ids=["max", "mean"])  # fmt: skip
def test_pieces_equal_slices(kind):
    """Of rows and of one row for all, known or traced, on either side of the padding."""
    reduction, of = kind
    rows = np.array([[2, 2], [0, 1], [1, 7], [0, 0], [1, 3]])
    pool = partial(jaxpool.piecewise_pool, reduction=reduction, empty_value=7)

    @jax.jit
    def run(left, right, rows, one):
        return (
            [pool(x, rows, where=w) for x, w in (left, right)],
            [pool(right[0], p, where=right[1]) for p in ((1, 3), one)],
            [pool(right[0], p) for p in ((1, 3), np.array([1, 3]), one, one[None])],
        )

    # `pool` takes its reduction by name here, which is its third argument.
    padded_rows, ones, plain = run(padded(True, np.nan), padded(False, 0.5), rows, np.array([1, 3]))
    expected = [pieces(row, p, of) for row, p in zip(ROWS, rows, strict=True)]
    for y in padded_rows:
        np.testing.assert_allclose(y, expected, 1e-6)
    for y in ones:
        np.testing.assert_allclose(y, [pieces(row, (1, 3), of) for row in ROWS], 1e-6)
    x = padded(False, 0.5)[0]
    for y in plain:
        assert y.shape == (5, 3, 3)
        np.testing.assert_allclose(y, [pieces(row, (1, 3), of) for row in x], 1e-6)


def test_pieces_of_channels_first_and_of_masked_channels():
    x = np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    where = np.random.default_rng(1).random(x.shape) < 0.6
    rows = np.array([[[2], [1], [0]], [[3], [4], [2]]])
    f = jax.jit(partial(jaxpool.piecewise_pool, reduction=jaxpool.Sum(), axis=-1, empty_value=7))
    y = f(x, rows, where=where)
    for b, c in np.ndindex(2, 3):
        v, n = x[b, c][where[b, c]], rows[b, c, 0]
        parts = [part.sum() if len(part) else 7 for part in (v[:n], v[n:])]
        np.testing.assert_allclose(y[b, c], parts, 1e-5, 1e-6)


X = np.zeros((2, 8, 3), np.float32)


@pytest.mark.parametrize(("error", "message", "call"), [
    (ValueError, "first_pool: `axis` must lie in [-3, 3) since x has 3 axes; got axis=3 for "
     "x.shape=(2, 8, 3).", lambda: jaxpool.first_pool(X, axis=3)),
    (ValueError, "last_pool: `axis` must lie in [-1, 1) since x has 1 axes; got axis=-2 for "
     "x.shape=(8,).", lambda: jaxpool.last_pool(X[0, :, 0])),
    (TypeError, "position_weighted_pool: `axis` must be an int; got axis=1.0. Write 1.",
     lambda: jaxpool.position_weighted_pool(X, axis=1.0)),
    (TypeError, "approximate_rank_pool: `where` must hold bools; got where.dtype=float32. "
     "Write where != 0.", lambda: jaxpool.approximate_rank_pool(X, where=X)),
    (ValueError, "splade_pool: `reduction` must be one of ('max', 'sum'); got reduction='mean'.",
     lambda: jaxpool.splade_pool(X, reduction="mean")),
    (ValueError, "temporal_pyramid_pool: `levels` must be a sequence of ints >= 1, one for each "
     "level; got levels=3.", lambda: jaxpool.temporal_pyramid_pool(X, 3)),
    (ValueError, "temporal_pyramid_pool: `levels` must be a sequence of ints >= 1, one for each "
     "level; got levels=(1, 0).", lambda: jaxpool.temporal_pyramid_pool(X, (1, 0))),
    (ValueError, "piecewise_pool: `positions` must ascend within [0, 8], the length of the "
     "sequence; got positions=(5, 2) for x.shape=(2, 8, 3).",
     lambda: jaxpool.piecewise_pool(X, (5, 2))),
    (ValueError, "piecewise_pool: `positions` must ascend within [0, 8], the length of the "
     "sequence; got positions=(2, 9) for x.shape=(2, 8, 3).",
     lambda: jaxpool.piecewise_pool(X, np.array([2, 9]))),
    (TypeError, "piecewise_pool: `positions` must be ints, or an int array with an axis for the "
     "positions; got positions=3.", lambda: jaxpool.piecewise_pool(X, 3)),
    (ValueError, "piecewise_pool: `positions` must have one axis, or a row for each sequence; got "
     "positions.shape=(3, 2) for x.shape=(2, 8, 3) with the sequence along axis 1.",
     lambda: jaxpool.piecewise_pool(X, jnp.zeros((3, 2), jnp.int32))),
    (TypeError, "piecewise_pool: `reduction` must be a jaxpool.Reduction; got reduction='max'. "
     "Write jaxpool.Max().", lambda: jaxpool.piecewise_pool(X, (2,), "max", where=X > 0)),
])  # fmt: skip
def test_mistakes_are_answered(error, message, call):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message
