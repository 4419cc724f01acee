"""Segments: every reduction against loops over ragged lists, and what makes ids and masks."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import checkify

import jaxpool
from jaxpool._src.lowering import segments as lowering

TESTS_OF = (
    "domains/segments.py",
    "pools/segments.py",
    "lowering/segments.py",
    "lowering/segment_order.py",
)

RNG = np.random.default_rng(0)
RANKS = np.array([0.5, 0.3, 0.2], np.float32)
DECAY = jaxpool.Monoid(  # not commutative: the first elements count least
    lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]), (1, 0),
    lambda x: (jnp.full_like(x, 0.5), x), lambda c: c[1],
)  # fmt: skip


def ranked(v):
    weights = RANKS[: len(v)].astype(np.float64)
    return (weights * np.sort(v)[::-1][:3]).sum() / weights.sum() * RANKS.sum()


# Each reduction, and what it is of a list of float64.
REDUCTIONS = {
    "max": (jaxpool.Max(), np.max),
    "min": (jaxpool.Min(), np.min),
    "sum": (jaxpool.Sum(), np.sum),
    "mean": (jaxpool.Mean(), np.mean),
    "variance": (jaxpool.Variance(), np.var),
    "std": (jaxpool.Std(), np.std),
    "moment": (jaxpool.Moment(3), lambda v: ((v - v.mean()) ** 3).mean()),
    "lp": (jaxpool.Lp(3.0), lambda v: (np.abs(v) ** 3).sum() ** (1 / 3)),
    "power_mean": (jaxpool.PowerMean(3.0), lambda v: (v**3).mean() ** (1 / 3)),
    "logsumexp": (jaxpool.LogSumExp(2.0), lambda v: np.log(np.exp(2 * v).mean()) / 2),
    "softmax": (
        jaxpool.SoftmaxMean(2.0),
        lambda v: (np.exp(2 * v) * v).sum() / np.exp(2 * v).sum(),
    ),
    "linear_softmax": (jaxpool.LinearSoftmax(), lambda v: (v * v).sum() / v.sum()),
    "noisy_or": (jaxpool.NoisyOr(), lambda v: 1 - np.prod(1 - v)),
    "mixed": (jaxpool.Mixed(0.3), lambda v: 0.3 * v.max() + 0.7 * v.mean()),
    "median": (jaxpool.Median(), np.median),
    "quantile": (jaxpool.Quantile(0.3), lambda v: np.quantile(v, 0.3)),
    "rank_mean": (jaxpool.RankMean(RANKS), ranked),
    "best_two": (jaxpool.RankMean(lambda r, n: r < 2), lambda v: np.sort(v)[-2:].mean()),
    "top_k_mean": (jaxpool.TopKMean(2), lambda v: np.sort(v)[-2:].mean()),
    "monoid": (DECAY, lambda v: (v * 0.5 ** np.arange(len(v))[::-1]).sum()),
}

FEW = ["max", "mean", "softmax", "median", "rank_mean", "monoid"]  # one of each path

# Shape, axis, whether each batch entry has ids of its own, and whether ids ascend.
LAYOUTS = {
    "rows": ((17, 3), 0, False, False),
    "batch": ((2, 13, 3), 1, True, True),
    "last": ((2, 3, 11), -1, False, True),
    "unsorted batch": ((2, 13, 2), 1, True, False),
}


def drawn(layout, cells=5):
    shape, axis, of_batch, ascending = LAYOUTS[layout]
    ids = RNG.integers(-1, cells + 1, shape[: axis % len(shape) + 1] if of_batch else shape[axis])
    if ascending:
        ids = np.sort(np.where(ids < 0, cells, ids), -1)
    return RNG.random(shape).astype(np.float32), ids.astype(np.int32), RNG.random(shape) < 0.7


def looped(function, x, ids, axis, cells, where=None, empty=0.0):
    """`function` of the float64 elements of each cell."""
    axis %= x.ndim
    full = ids if ids.ndim > 1 else ids.reshape([-1 if i == axis else 1 for i in range(axis + 1)])
    full = np.broadcast_to(full.reshape(*full.shape, *[1] * (x.ndim - axis - 1)), x.shape)
    full, kept, x = (
        np.moveaxis(v, axis, -1)
        for v in (full, np.ones(x.shape, bool) if where is None else where, x.astype(np.float64))
    )
    y = np.empty((*x.shape[:-1], cells))
    for *b, s in np.ndindex(*y.shape):
        v = x[tuple(b)][(full[tuple(b)] == s) & kept[tuple(b)]]
        y[(*b, s)] = function(v) if len(v) else empty
    return np.moveaxis(y, -1, axis)


@pytest.mark.parametrize(
    "layout",
    [
        "rows",
        "batch",
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("last", "unsorted batch")),
    ],
)
def test_every_reduction(layout, exhaustive):
    x, ids, where = drawn(layout)
    names = [*REDUCTIONS] if layout == "rows" or exhaustive else FEW
    _, axis, _, ascending = LAYOUTS[layout]
    masked = np.where(where, x, np.nan)  # what is masked out does not matter

    @jax.jit
    def found(x, masked, ids):
        domain = jaxpool.Segments(ids, 5, axis=axis, sorted=ascending)
        return {
            name: (
                jaxpool.pool(x, domain, reduction, empty_value=-7),
                jaxpool.pool(masked, domain, reduction, where=where, empty_value=-7),
            )
            for name, reduction in ((name, REDUCTIONS[name][0]) for name in names)
        }

    for name, (plain, partial) in found(x, masked, ids).items():
        function = REDUCTIONS[name][1]
        wanted = looped(function, x, ids, axis, 5, None, -7)
        np.testing.assert_allclose(plain, wanted, 1e-5, 2e-6, err_msg=name)
        wanted = looped(function, x, ids, axis, 5, where, -7)
        np.testing.assert_allclose(partial, wanted, 1e-5, 2e-6, err_msg=name)


def test_gradients_are_those_of_each_segment_alone():
    """And NaN among what belongs to no segment reaches none of them."""
    x, ids, _ = drawn("rows")
    x[(ids < 0) | (ids >= 5)] = np.nan
    names = [*FEW, "lp", "std"]

    def loss(x, domain, name, where=None):
        return jnp.sum(jnp.sin(jaxpool.pool(x, domain, REDUCTIONS[name][0], where=where)))

    @jax.jit
    def found(x):
        together, alone = [], []
        for name in names:
            together.append(jax.grad(loss)(x, jaxpool.Segments(ids, 5), name))
            slope = lambda s, n=name: jax.grad(loss)(x, jaxpool.Global(0), n, ids[:, None] == s)
            alone.append(jax.vmap(slope)(jnp.arange(5)).sum(0))
        return together, alone

    for name, a, b in zip(names, *found(x), strict=True):
        np.testing.assert_allclose(a, b, 1e-5, 1e-6, err_msg=name)


def test_the_first_of_equals_takes_the_gradient_and_the_last_nan():
    x = jnp.array([1.0, 3, 3, jnp.nan, 3, jnp.nan, -jnp.inf])
    ids = jnp.array([0, 0, 0, 1, 1, 1, 2])
    gradient = jax.grad(lambda x: jnp.sum(jaxpool.segment_max_pool(x, ids, 4)))(x)
    np.testing.assert_array_equal(gradient, [0, 1, 0, 0, 0, 1, 1])
    gradient = jax.grad(lambda x: jnp.sum(jaxpool.segment_min_pool(x, ids, 4)))(x)
    np.testing.assert_array_equal(gradient, [1, 0, 0, 0, 0, 1, 1])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32])
def test_ids_of_any_dtype(dtype):
    ids = np.array([0, 3, 127, 3, 126, 100], dtype)
    more = np.array([-1, -128, 1], dtype) if np.dtype(dtype).kind == "i" else np.array([1], dtype)
    ids = np.concatenate([ids, more])
    x = np.arange(1, len(ids) + 1).astype(np.float32)
    for cells in (3, 127, 300):
        wanted = [x[ids == s].sum() for s in range(cells)]
        for given in (ids, jnp.asarray(ids)):
            np.testing.assert_array_equal(jaxpool.segment_sum_pool(x, given, cells), wanted)


def test_sums_accumulate_in_float32():
    ones = jnp.ones(4096, jnp.bfloat16)
    assert jaxpool.segment_sum_pool(ones, np.zeros(4096, int), 1).tolist() == [4096]
    assert jaxpool.segment_avg_pool(ones, np.zeros(4096, int), 1).tolist() == [1]


def test_packed_is_padded_is_ragged():
    """On both sides, by lengths; and the order of segments does not matter."""
    lengths, size = np.array([3, 0, 5, 1]), 6
    rows = [RNG.random((n, 2)).astype(np.float32) for n in lengths]
    right, left = np.full((2, 4, size, 2), np.nan, np.float32)
    for i, row in enumerate(rows):
        right[i, : len(row)], left[i, size - len(row) :] = row, row
    packed = np.concatenate([*rows, np.full((2, 2), np.nan, np.float32)])

    @jax.jit
    def found(lengths):
        ids = jaxpool.segment_ids(lengths, len(packed))
        whole = functools.partial(jaxpool.global_avg_pool, axes=1)
        return (
            jaxpool.segment_avg_pool(packed, ids, 4, sorted=True),
            whole(right, where=jaxpool.length_mask(lengths, size)[..., None]),
            whole(left, where=~jaxpool.length_mask(size - lengths, size)[..., None]),
            jaxpool.segment_avg_pool(packed, 3 - ids, 4)[::-1],
        )

    wanted = [row.astype(np.float64).mean(0) if len(row) else np.zeros(2) for row in rows]
    for y in found(lengths):
        np.testing.assert_allclose(y, wanted, 1e-6)


@pytest.mark.parametrize("dtype", [np.int32, np.int8, np.uint8])
def test_ids_and_masks_of_lengths(dtype):
    """More than fits is cut off, and lengths of less than nothing are none."""
    lengths = np.array([[2, 0, 3], [0, 100, 1], [0, 0, 0]], dtype)
    for total in (4, 6, 300):
        ids = jaxpool.segment_ids(lengths, total)
        for row, found in zip(lengths.astype(int), ids, strict=True):
            wanted = np.concatenate([np.repeat(np.arange(3), row), np.full(total, 3)])[:total]
            np.testing.assert_array_equal(found, wanted)
        mask = jaxpool.length_mask(lengths, total)
        np.testing.assert_array_equal(mask, np.arange(total) < lengths.astype(int)[..., None])
    assert not jaxpool.length_mask(np.array(-3), 2).any()


def test_a_mask_of_lengths_may_have_a_symbolic_size():
    shape = jax.export.symbolic_shape("b, n")
    given = jax.ShapeDtypeStruct(shape, np.float32), jax.ShapeDtypeStruct(shape[:1], np.int16)
    program = jax.jit(lambda x, lengths: jaxpool.length_mask(lengths, x.shape[1]))
    exported = jax.export.export(program)(*given)
    lengths = np.array([0, -2, 3, 400, 5], np.int16)
    found = exported.call(np.zeros((5, 5), np.float32), lengths)
    np.testing.assert_array_equal(found, np.arange(5) < lengths[:, None])
    far = np.array([0, 2**32, 1 - 2**32, 1])  # beyond int32
    assert jaxpool.segment_sum_pool(jnp.ones(4), far, 2).tolist() == [1, 1]
    huge = jaxpool.segment_ids(np.array([2**31 - 1, 2**31 - 1], np.int32), 5)
    assert huge.tolist() == [0] * 5
    many = jaxpool.segment_ids(np.full(120000, 40000, np.int32), 40000)  # more than int32 holds
    assert not many.any()


@pytest.mark.parametrize("kind", ["sum", "max"])
def test_programs_of_other_platforms_agree(kind):
    """With what is sorted, and what is not, with NaN, and with ids along two axes."""
    x = RNG.normal(size=(2, 40, 3)).astype(np.float32)
    x[0, 3, 1] = np.nan
    for ids in (RNG.integers(0, 8, (1, 40, 1)), np.sort(RNG.integers(0, 8, (2, 40, 1)), 1)):
        how = lowering.Segments(1, 7, 40, ascending=ids.shape[0] == 2)
        forms = {
            "sum": (lowering._scattered, lowering._sum_in_order),
            "max": (lowering._largest_scattered, lowering._largest_in_order),
        }[kind]
        ids = jnp.asarray(ids, np.int32)
        ours, others = (jax.jit(lambda x, f=f: lowering._rows(f, how, ids, x))(x) for f in forms)  # noqa: B023
        np.testing.assert_allclose(ours, others, 1e-6, 2e-6)  # of sums of some units


def test_maxima_of_many_elements():
    """Those of floats are found among ints, some rows at a time, of which the last overlap."""
    n = 70001
    x = RNG.normal(size=(n, 8)).astype(np.float32)
    x[:2000, 0] = -np.abs(x[:2000, 0])
    x[[5, 69990], [1, 2]], x[[7, 9], 3] = np.inf, -np.inf
    x[[11, 69999], [4, 5]] = np.nan, -np.float32(np.nan)  # of either sign
    ids = RNG.integers(-1, 500, n).astype(np.int32)
    ids[ids == 3] = 4  # empty
    ids[:2000] = 499
    ids[2000:][ids[2000:] == 499] = 0  # and all negative along channel 0
    expected = np.full((500, 8), -np.inf, np.float32)
    np.maximum.at(expected, ids[ids >= 0], x[ids >= 0])
    expected[3] = -1

    @jax.jit
    def found(x, ids):
        y, slopes = jax.vjp(lambda x: jaxpool.segment_max_pool(x, ids, 500, empty_value=-1), x)
        return y, slopes(jnp.ones_like(y))[0]

    y, slope = found(x, ids)
    np.testing.assert_array_equal(y, expected)
    assert slope.sum() == 499 * 8


@pytest.mark.parametrize("ascending", [False, True])
def test_nothing_is_scattered_on_accelerators(ascending):
    def loss(x, ids, r):
        domain = jaxpool.Segments(ids, 9, sorted=ascending)
        return sum(jnp.sum(jaxpool.pool(x, domain, reduction)) for reduction in (
            jaxpool.Max(), jaxpool.Sum(), jaxpool.LogSumExp(r), jaxpool.Median(), DECAY,
            jaxpool.RankMean(RANKS)))  # fmt: skip

    shapes = [jax.ShapeDtypeStruct(s, d) for s, d in [
        ((100, 3), np.float32), ((100,), np.int32), ((), np.float32)]]  # fmt: skip
    traced = jax.jit(jax.value_and_grad(loss, (0, 2))).trace(*shapes)
    for platform in ("cuda", "tpu"):
        assert "scatter" not in traced.lower(lowering_platforms=(platform,)).as_text()


def test_ids_under_vmap_are_a_batch():
    x, ids, _ = drawn("unsorted batch")

    def pools(x, ids):
        domain = jaxpool.Segments(ids, 5, axis=ids.ndim - 1)
        return [jaxpool.pool(x, domain, REDUCTIONS[n][0]) for n in ("max", "mean", "rank_mean")]

    def slopes(x, ids):
        return jax.grad(lambda x: sum(jnp.sum(jnp.sin(y)) for y in pools(x, ids)))(x)

    @jax.jit
    def found(x, ids):
        apart = [pools(*pair) for pair in zip(x, ids, strict=True)]
        return (
            (pools(x, ids), jax.vmap(pools)(x, ids), jax.tree.map(lambda *y: jnp.stack(y), *apart)),
            (slopes(x, ids), jax.vmap(slopes)(x, ids)),
            (jax.vmap(pools, (2, None), 2)(x, ids)),
        )

    (whole, mapped, apart), (slope, mapped_slope), channels = found(x, ids)
    for y in (mapped, apart, channels):
        for a, b in zip(whole, y, strict=True):
            np.testing.assert_allclose(a, b, 1e-6)
    np.testing.assert_allclose(slope, mapped_slope, 1e-6)


def test_ids_of_each_channel_under_vmap():
    """Along an axis behind that of elements, and along two."""
    x = RNG.random((2, 9, 3)).astype(np.float32)
    ids = RNG.integers(0, 4, x.shape).astype(np.int32)

    def pools(x, ids):
        return jaxpool.segment_sum_pool(x, ids, 4), jaxpool.segment_max_pool(x, ids, 4)

    mapped = jax.vmap(jax.vmap(pools, (1, 1), 1))
    for found, function in zip(jax.jit(mapped)(x, ids), (np.sum, np.max), strict=True):
        for i, channel in np.ndindex(2, 3):
            wanted = looped(function, x[i, :, channel], ids[i, :, channel], 0, 4)
            np.testing.assert_allclose(found[i, :, channel], wanted, 1e-6)


def test_export_with_a_symbolic_length():
    (n,) = jax.export.symbolic_shape("n")

    def pools(x, ids):
        names = ("max", "softmax", "median", "monoid")
        domain = jaxpool.Segments(ids, 5)
        loss = lambda x: sum(jnp.sum(jaxpool.pool(x, domain, REDUCTIONS[n][0])) for n in names)  # noqa: E731
        return [jaxpool.pool(x, domain, REDUCTIONS[n][0]) for n in names], jax.grad(loss)(x)

    shapes = jax.ShapeDtypeStruct((n, 2), np.float32), jax.ShapeDtypeStruct((n,), np.int32)
    exported = jax.export.export(jax.jit(pools))(*shapes)
    for size in (1, 9):
        x, ids = RNG.random((size, 2)).astype(np.float32), RNG.integers(0, 6, size).astype(np.int32)
        for a, b in zip(*map(jax.tree.leaves, (exported.call(x, ids), jax.jit(pools)(x, ids))),
                        strict=True):  # fmt: skip
            np.testing.assert_allclose(a, b, 1e-5, 1e-6)


def test_a_false_promise_is_found():
    x, ids = jnp.ones(3), jnp.array([1, 0, 2])

    def pool(x, ids):
        return jaxpool.segment_sum_pool(x, ids, 3, sorted=True)

    checked = jax.jit(checkify.checkify(pool, checkify.user_checks))
    assert checked(x, jnp.array([0, 1, 2]))[0].get() is None
    assert "do not ascend" in checked(x, ids)[0].get()
    with pytest.raises(ValueError, match="`ids` must ascend where sorted=True"):
        pool(x, np.array(ids))


@pytest.mark.parametrize(
    ("error", "arguments", "text"),
    [
        (TypeError, {"ids": np.ones(4)}, "`ids` must be an array of ints; got ids=dtype"),
        (TypeError, {"ids": "abc"}, "`ids` must be an array of ints; got ids='str'"),
        (ValueError, {"ids": np.array(3)}, "`ids` must have an axis of elements"),
        (ValueError, {"ids": np.zeros(3, int)}, r"`ids` must have shape \(4,\), one for each"),
        (ValueError, {"num_segments": 0}, "`num_segments` must lie in"),
        (TypeError, {"num_segments": 2.0}, "`num_segments` must be an int >= 1"),
        (ValueError, {"axis": 2}, "`axis` must lie in"),
        (TypeError, {"sorted": 1}, "`sorted` must be"),
    ],
)
def test_arguments(error, arguments, text):
    given = {"ids": np.zeros(4, int), "num_segments": 2, **arguments}
    with pytest.raises(error, match=f"segment_max_pool: .*{text}"):
        jaxpool.segment_max_pool(jnp.ones((4, 3)), **given)


def test_what_segments_do_not_offer():
    domain = jaxpool.Segments(np.zeros(4, int), 2)
    reductions = (
        jaxpool.Stochastic(key=jax.random.key(0)),
        jaxpool.RankStochastic(key=jax.random.key(0)),
    )
    for reduction in reductions:
        with pytest.raises(ValueError, match="pool: `domain` must not be Segments"):
            jaxpool.pool(jnp.ones((4, 3)), domain, reduction)
    with pytest.raises(TypeError, match="`lengths` must be an array of ints"):
        jaxpool.segment_ids(jnp.ones(3), 4)
    with pytest.raises(ValueError, match="`lengths` must have an axis"):
        jaxpool.segment_ids(np.array(3), 4)
    with pytest.raises(ValueError, match="`size` must be an int >= 1"):
        jaxpool.length_mask([1], 0)
    with pytest.raises(TypeError, match="must be NumPy's to be a static argument"):
        hash(jaxpool.Segments(jnp.zeros(4, int), 2))
