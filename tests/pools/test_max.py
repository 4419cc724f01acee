"""Facts about maxima and minima."""

import functools
import itertools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.lowering import max as lowering_max
from jaxpool._src.lowering.primitives import WindowFold, WindowMap
from tests.compiling import as_users

TESTS_OF = (
    "pools/max.py",
    "reductions/max.py",
    "lowering/max.py",
    "lowering/picks.py",
    "lowering/tangent.py",
    "lowering/primitives.py",
    "lowering/windows.py",
)

INF, NAN = np.inf, np.nan


def gradient(f, x):
    """Of the sum, by one operation after the other."""
    y, vjp = jax.vjp(f, np.asarray(x, np.float32))
    return np.asarray(vjp(np.ones(y.shape, np.float32))[0])


def compiled(*functions, jit=jax.jit):
    """One program for value, value with a derivative to follow, and gradient of each function."""

    @jit
    def run(x):
        results = []
        for f in functions:
            y, vjp = jax.vjp(f, x)
            results.append((f(x), y, vjp(jnp.ones_like(y))[0]))
        return results

    return lambda x: jax.tree.map(np.asarray, run(np.asarray(x, np.float32)))


def quick(chosen, *others):
    """Parameters of which the others are for a release only."""
    return [*chosen, *(pytest.param(*p, marks=pytest.mark.exhaustive) for p in others)]


def bits(x):
    return np.asarray(x, np.float32).view(np.uint32)


def test_seed_facts():
    ramp = jnp.arange(1.0, 17.0).reshape(4, 4, 1)
    np.testing.assert_array_equal(jaxpool.max_pool(ramp, (2, 2))[..., 0], [[6, 8], [14, 16]])
    np.testing.assert_array_equal(jaxpool.min_pool(ramp, (2, 2))[..., 0], [[1, 3], [9, 11]])
    x = jnp.array([[1.0, 3, 2, 4], [5, 6, 8, 7], [4, 2, 1, 0], [9, 7, 3, 2]])
    y = jaxpool.max_pool(x, (2, 2), axes=(0, 1))
    np.testing.assert_array_equal(y, [[6, 8], [9, 3]])
    assert jaxpool.global_max_pool(ramp, (0, 1)) == 16


def picks(row, k, s, d, low, high, where):
    """The index that each window of a row takes, by looking: first maximum, or last NaN."""
    found = []
    for start in range(-low, len(row) + high - (k - 1) * d, s):
        taps = [t for t in range(start, start + k * d, d) if 0 <= t < len(row) and where[t]]
        nans = [t for t in taps if np.isnan(row[t])]
        best = [t for t in taps if row[t] == max(row[u] for u in taps)]
        found.append(nans[-1] if nans else best[0] if best else None)
    return found


# All at once, axis by axis, in runs, in runs of runs; with and without a mask, and of minima two.
PICKS = [
    (k, masked, minimum, how)
    for k, how in [*((k, None) for k in (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 70)),
                   *((k, "axes") for k in (1, 2, 3, 4, 5, 8, 11)), (20, "taps")]
    for masked in (False, True)
    for minimum in (False, True)
]  # fmt: skip
PICKS_QUICK = [
    *((k, masked, False, None) for k in (3, 13, 17) for masked in (False, True)),
    (1, False, False, None), (2, True, False, None), (9, False, False, None),
    (8, False, True, None), (17, True, True, None), (70, True, False, None), (1, True, False, "axes"),
    (3, False, False, "axes"), (5, True, False, "axes"), (20, False, False, "taps"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("k", "masked", "minimum", "implementation"),
    quick(PICKS_QUICK, *(p for p in PICKS if p not in PICKS_QUICK)),
)
def test_every_window_picks_the_first_maximum_or_the_last_nan(k, masked, minimum, implementation):
    """Few and many taps take different ways through the library; all pick the same element."""
    rng = np.random.default_rng(k)
    length = 90
    rows = np.concatenate([
        rng.integers(-1, 2, (3, length)),
        rng.choice([0, 1, NAN], (2, length), p=[0.6, 0.3, 0.1]),
        rng.choice([-INF, 0], (1, length), p=[0.95, 0.05]),
        np.full((1, length), -INF),
    ]).astype(np.float32)  # fmt: skip
    sign = -1 if minimum else 1
    where = rng.random(rows.shape) < (0.4 if masked else 2)
    function = jaxpool.min_pool if minimum else jaxpool.max_pool
    geometries = [
        (1, 1, 0, 0),
        (2, 1, k // 2, k // 3),
        (k, 1, 0, k - 1),
        (1, 1 + (k < 45), k - 1, 0),
    ]

    @jax.jit
    def everything(x):
        results = []
        for s, d, low, high in geometries:
            mask = where if masked else None
            f = lambda x: function(x, k, s, ((low, high),), dilation=d, axes=-1, where=mask,
                                   implementation=implementation)  # noqa: E731, B023  # fmt: skip
            y, vjp = jax.vjp(f, x)
            ct = jnp.broadcast_to(jnp.arange(1.0, y.shape[1] + 1), y.shape)
            results.append((f(x), y, vjp(ct)[0]))
        return results

    found = everything(sign * rows)
    for (s, d, low, high), (alone, y, grad) in zip(geometries, found, strict=True):
        np.testing.assert_array_equal(alone, y)  # computed without the gradient
        for r, row in enumerate(rows):
            expected = np.zeros(length)
            taken = picks(row, k, s, d, low, high, where[r])
            for cell, t in enumerate(taken):
                if t is not None:
                    expected[t] += cell + 1
            values = [0 if t is None else sign * row[t] for t in taken]
            np.testing.assert_array_equal(y[r], values)
            np.testing.assert_array_equal(grad[r], expected, err_msg=f"{(s, d, low, high)} {r}")


@pytest.mark.parametrize("shape", [(2, 2), (3, 4), (8, 8), (9, 9), (1, 7), (2, 3, 4)])
def test_ties_are_resolved_in_row_major_order(shape):
    run = compiled(lambda x: jaxpool.max_pool(x, shape), lambda x: jaxpool.min_pool(x, shape))
    x = np.ones((1, *(2 * n for n in shape), 1), np.float32)
    first = np.zeros_like(x)
    first[(slice(None), *(slice(None, None, n) for n in shape))] = 1
    for *_, found in run(x):
        np.testing.assert_array_equal(found, first)
    # The maximum twice: later in the row above, earlier in the row below. The row above wins.
    if len(shape) == 2 and min(shape) > 1:
        x = np.zeros_like(x)
        x[0, 0, shape[1] - 1, 0] = x[0, 1, 0, 0] = 1
        assert run(x)[0][2][0, 0, shape[1] - 1, 0] == 1
        x[x == 1] = NAN  # and of NaNs the later
        assert run(x)[0][2][0, 1, 0, 0] == 1


@pytest.mark.parametrize("size", [2, 3, 5, 8, 100, 9001])
def test_global_pools_pick_as_a_window_of_that_size(size):
    rng = np.random.default_rng(size)
    run = compiled(*(
        f for whole, window in ((jaxpool.global_max_pool, jaxpool.max_pool),
                                (jaxpool.global_min_pool, jaxpool.min_pool))
        for f in (lambda x, whole=whole: whole(x, 1),
                  lambda x, window=window: window(x, (size,), axes=1)[:, 0])
    ))  # fmt: skip
    for values in ([0, 1], [0.0, -0.0], [-INF], [1, NAN], [-INF, NAN], [np.finfo("f4").min, -INF]):
        found = run(rng.choice(values, (3, size)))
        for a, b in (found[:2], found[2:]):
            np.testing.assert_array_equal(a[2], b[2], str(values))
            for y in a[:2]:
                np.testing.assert_array_equal(y, b[0], str(values))
                if not np.isnan(values).any():
                    np.testing.assert_array_equal(bits(y), bits(b[0]), f"bits of {values}")


@functools.cache
def with_signs(n, jit):
    """Values of maxima and of minima, alone and when a derivative is asked for."""
    maxima = (lambda x: jaxpool.global_max_pool(x, 0), lambda x: jaxpool.max_pool(x, n, axes=0)[0])
    minima = (lambda x: jaxpool.global_min_pool(x, 0), lambda x: jaxpool.min_pool(x, n, axes=0)[0])

    def run(x):
        both = lambda f, x: (f(x), jax.vjp(f, x)[0])  # noqa: E731
        return [both(f, x) for f in maxima], [both(f, -x) for f in minima]

    return jit(run)


@pytest.mark.parametrize("values", [[-0.0, 0.0], [0.0, -0.0], [-1.0, -0.0, 0.0], [-0.0, -0.0]])
def test_of_signed_zeros_the_first_is_the_value(values):
    x, n = np.array(values, np.float32), len(values)
    first = np.array(next(v for v in values if v == 0), np.float32)
    for jit in (as_users, jax.jit, lambda f: f):
        maxima, minima = with_signs(n, jit)(x)
        for y in jax.tree.leaves(maxima):
            assert bits(y) == bits(first)
        for y in jax.tree.leaves(minima):
            assert bits(y) == bits(-first)


@pytest.mark.parametrize(
    ("k", "s", "p", "d"),
    quick([(3, 2, 1, 1), (2, 2, 1, 1), (3, 1, 1, 2), (4, 2, 3, 1), (9, 1, 4, 1)],
          (3, 1, 1, 1), (5, 1, 2, 1)),
)  # fmt: skip
def test_a_window_of_nothing_but_the_lowest_keeps_its_gradient(k, s, p, d):
    """JAX's own gradient sums to 1 of 4 for the first of these: padding steals the rest."""
    run = compiled(
        lambda x: jaxpool.max_pool(x, (k, k), s, p, dilation=d),
        lambda x: jaxpool.min_pool(-x, (k, k), s, p, dilation=d),
    )
    for value in (-INF, np.finfo(np.float32).min):
        x = np.full((2, 6, 6, 3), value, np.float32)
        (alone, y, grad), (*_, of_minima) = run(x)
        np.testing.assert_array_equal(alone, np.full(y.shape, value, np.float32))
        np.testing.assert_array_equal(y, alone)
        assert grad.sum() == y.size
        assert grad[0, 0, 0, 0] >= 1  # the first window's first element inside the input
        assert -of_minima.sum() == y.size


def test_nan_takes_the_gradient_to_a_nan():
    x = [1.0, NAN, 5.0, NAN, 2.0]  # semantics.md, 3: PyTorch gives index 3
    for f in (
        lambda x: jaxpool.max_pool(x, 5, axes=0),
        lambda x: jaxpool.global_max_pool(x, 0),
        lambda x: jaxpool.min_pool(x, 5, axes=0),
        lambda x: jaxpool.global_min_pool(x, 0),
    ):
        assert np.isnan(f(np.array(x, np.float32))).all()
        np.testing.assert_array_equal(gradient(f, x), [0, 0, 0, 1, 0])


LARGE = [
    (k, s, dtype, jit)
    for dtype in ("float32", "bfloat16", "float16")
    for k, s in [(2, 2), (4, 4), (3, 2), (2, 1), (8, 8), (16, 16)]
    for jit in (True, False)
]
LARGE_QUICK = [
    (2, 2, "float32", True), (2, 2, "float32", False), (3, 2, "float32", True),
    (4, 4, "float32", True), (16, 16, "float32", False), (3, 2, "bfloat16", True),
    (2, 1, "float16", True),
]  # fmt: skip


@pytest.mark.parametrize(
    ("k", "s", "dtype", "jit"), quick(LARGE_QUICK, *(p for p in LARGE if p not in LARGE_QUICK))
)
def test_nan_survives_in_large_arrays(k, s, dtype, jit):
    """XLA:CPU's own reduction loses float32 NaN where windows lie side by side."""
    x = np.zeros((2, 64, 64, 16), np.float32)
    x[0, 0, 0, 0] = x[1, -1, -1, -1] = x[0, 21, 34, 7] = NAN
    expected = np.zeros((2, *[(64 - k) // s + 1] * 2, 16), bool)
    for b, h, w, c in np.argwhere(np.isnan(x)):
        for i in range(expected.shape[1]):
            for j in range(expected.shape[2]):
                if i * s <= h < i * s + k and j * s <= w < j * s + k:
                    expected[b, i, j, c] = True
    windowed = (jaxpool.max_pool, jaxpool.min_pool)
    whole = (jaxpool.global_max_pool, jaxpool.global_min_pool)

    def run(x):
        return [f(x, (k, k), s) for f in windowed], [f(x, (1, 2)) for f in whole]

    found, of_all = (as_users(run) if jit else run)(x.astype(np.dtype(dtype)))
    for y in found:
        np.testing.assert_array_equal(np.isnan(np.asarray(y, np.float32)), expected)
    for y in of_all:
        assert np.isnan(np.asarray(y, np.float32)).sum() == 3


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integer_extremes(dtype):
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, info.min, info.min, info.max, info.max], dtype)
    low, high = int(info.min), int(info.max)
    where = np.array([True, False, False, False, False, True])

    @jax.jit
    def run(x, where):
        masked = {"where": where, "empty_value": 5}
        return [
            # Padding and what is masked out are not elements, not even equal ones.
            [[f(x, 2, axes=0), f(x, 3, 3, ((1, 2),), axes=0), f(x, 2, axes=0, **masked)]
             for f in (jaxpool.max_pool, jaxpool.min_pool)],
            [jaxpool.global_max_pool(x, 0), jaxpool.global_min_pool(x, 0),
             jaxpool.global_max_pool(x[2:4], 0)],
        ]  # fmt: skip

    windowed, whole = run(x, where)
    assert [[y.tolist() for y in ys] for ys in windowed] == [
        [[high, low, high], [high, high, high], [low, 5, high]],
        [[low, low, high], [low, low, high], [low, 5, high]],
    ]
    assert [y.item() for y in whole] == [high, low, low]
    assert {y.dtype for y in jax.tree.leaves((windowed, whole))} == {np.dtype(dtype)}


def test_unsigned_numbers_beyond_the_signed_range_keep_their_order():
    x = np.array([1, 2**31, 2**32 - 1, 5], np.uint32)
    assert jaxpool.max_pool(x, 2, axes=0).tolist() == [2**31, 2**32 - 1]
    assert jaxpool.min_pool(x, 2, axes=0).tolist() == [1, 5]


def test_bools_dilate_and_erode():
    x = np.array([True, True, True, False, False, False])
    assert jaxpool.max_pool(x, 3, 1, 1, axes=0).tolist() == [True] * 4 + [False] * 2
    assert jaxpool.min_pool(x, 3, 1, 1, axes=0).tolist() == [True] * 2 + [False] * 4
    assert bool(jaxpool.global_max_pool(x, 0))
    assert not bool(jaxpool.global_min_pool(x, 0))
    assert jaxpool.global_min_pool(x, 0).dtype == np.bool_


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_narrow_floats_are_exact(dtype):
    if "8_" in dtype:
        x = np.arange(256, dtype=np.uint8).view(np.dtype(dtype))  # every number there is
    else:
        x = np.random.default_rng(0).normal(size=256).astype(np.dtype(dtype))
    wide = x.astype(np.float32).reshape(-1, 4)
    run = jax.jit(lambda x: [f(x, 4, axes=0) for f in (jaxpool.max_pool, jaxpool.min_pool)])
    for y, reference in zip(run(x), (np.max, np.min), strict=True):
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(y).astype(np.float32), reference(wide, 1))


def test_padding_never_wins():
    x = np.full((1, 4, 4, 1), -5, np.float32)
    assert (np.asarray(jaxpool.max_pool(x, (3, 3), 1, 1)) == -5).all()
    assert (np.asarray(jaxpool.min_pool(-x, (3, 3), 1, "SAME")) == 5).all()
    assert (np.asarray(jaxpool.max_pool(x.astype(np.int8), (3, 3), 1, 1)) == -5).all()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint32", 2**32 - 1), ("float32", 2**40), ("float32", -(2**70)), ("int32", -(2**31)),
     ("bfloat16", 3), ("uint8", 255), ("bool", True), ("bool", 1)],
)  # fmt: skip
def test_empty_values_that_the_dtype_holds(dtype, value):
    x = np.ones(4, dtype)

    @jax.jit
    def run(x, v):
        return (
            jaxpool.max_pool(x, 2, axes=0, where=jnp.zeros(4, bool), empty_value=value),
            jaxpool.max_pool(x, 2, axes=0, where=x != x, empty_value=v),
        )

    y, traced = run(x, np.array(1, dtype))
    assert y.dtype == np.dtype(dtype)
    assert np.asarray(y).astype(np.float64).tolist() == [float(value)] * 2
    np.testing.assert_array_equal(traced, np.ones(2, dtype))


def test_second_derivatives_of_max_are_zero():
    x = np.array([[1, 5, 2, 4, 3, 0]], np.float32)
    f = lambda x: jnp.sum(jaxpool.max_pool(x, 3, 1, 1, axes=1) ** 3)  # noqa: E731

    @jax.jit
    def run(x):
        h = jax.hessian(lambda x: f(x[None]))(x[0])
        return h, jax.jacfwd(jax.jacrev(f))(x), jax.jacrev(jax.jacfwd(f))(x)

    h, one, other = run(x)
    # Each cell adds 6 v on the diagonal of the element that it picks.
    np.testing.assert_allclose(h, np.diag([0, 3 * 30, 0, 2 * 24, 18, 0]))
    np.testing.assert_allclose(one, other)


def test_all_ties_jacfwd_equals_jacrev():
    fs = (
        lambda x: jaxpool.max_pool(x, (3, 3), 1, 1, axes=(0, 1)),
        lambda x: jaxpool.global_max_pool(x, (0, 1)),
    )
    run = jax.jit(lambda x: [(jax.jacfwd(f)(x), jax.jacrev(f)(x)) for f in fs])
    for forward, backward in run(np.zeros((4, 4), np.float32)):
        np.testing.assert_array_equal(forward, backward)


@pytest.mark.parametrize("where", [None, "mask"])
def test_gradient_of_16_bit_floats_is_added_in_float32(where):
    """400 windows pick the one element: bfloat16 counts to 256 and no further."""
    x = (np.arange(401) == 200).astype(jnp.bfloat16)
    mask = None if where is None else np.ones(401, bool)

    @jax.jit
    def run(x):
        y, vjp = jax.vjp(lambda x: jaxpool.max_pool(x, 401, 1, 199, axes=0, where=mask), x)
        return y, vjp(jnp.ones_like(y))[0]

    y, grad = run(x)
    assert len(y) == 399
    assert grad[200].astype(np.float32) == 400  # the bfloat16 nearest to 399


def parted(f, x):
    """The forward pass, and what it hands to the backward pass: arrays of these shapes."""
    y, backward = jax.jit(lambda x: jax.vjp(f, x))(x)
    large = [r for r in jax.tree.leaves(backward) if r.size > 9]  # than tables of a block
    return y, backward, {(r.shape, r.dtype) for r in large}


@pytest.mark.parametrize(
    ("k", "s", "p", "kind"),
    quick([(3, 2, 1, "u1"), (5, 1, 2, "u1"), (16, 1, 8, "u2")], (2, 2, 0, "u1")),
)
def test_the_backward_pass_keeps_a_tap_for_each_output(k, s, p, kind):
    """One byte, two above 255 taps. JAX keeps x as well, for the one form that reads it: TPUs'."""
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 16)).astype(np.float32)
    f = lambda x: jaxpool.max_pool(x, (k, k), s, p)  # noqa: E731
    y, backward, residuals = parted(f, x)
    assert residuals == {(y.shape, np.dtype(kind)), (x.shape, x.dtype)}
    # What XLA makes of it for CPUs: x has a name and no use.
    text = as_users(lambda b, g: b(g)).lower(backward, y).compile().as_text()
    entry = text.split("\nENTRY")[1]
    whole = f"f32[{','.join(map(str, x.shape))}]"
    named = re.findall(r"(%b_[\w.]+) = (\S+) parameter", entry)
    kept = [name for name, shape in named if shape.startswith(whole)]
    assert len(kept) == 1
    assert len(re.findall(rf"{re.escape(kept[0])}\b", entry)) == 1
    assert f"{'u8' if kind == 'u1' else 'u16'}[" in entry


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_programs_hold_no_second_copy_of_the_input(platform):
    """In value and gradient as one program, by the operands of what computes the gradient."""
    x = jax.ShapeDtypeStruct((2, 64, 64, 32), np.float32)

    def f(x):
        y, vjp = jax.vjp(lambda x: jaxpool.max_pool(x, (3, 3), 2, 1), x)
        return y, vjp(jnp.cos(y))[0]

    if platform == "cpu":
        program = as_users(f).lower(x).compile()
        assert program.memory_analysis().temp_size_in_bytes < x.size * 4 / 2
    else:
        text = jax.jit(f).trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert "ui8" in text
        assert "reduce_window" not in text


@pytest.mark.parametrize("k", quick([255], (254,), (256,)))
def test_taps_at_the_end_of_a_dtype(k):
    """Some numbers of a dtype are no taps; with strides, elements at which no tap begins use one."""
    ways = ((22, None), (4, "taps"))
    inputs = [np.tile(np.arange(k + 3 * s, dtype=np.float32), (2, 1)) for s, _ in ways]

    @jax.jit
    def run(inputs):
        found = []
        for x, (s, how) in zip(inputs, ways, strict=True):
            y, vjp = jax.vjp(lambda x: jaxpool.max_pool(x, k, s, axes=1, implementation=how), x)
            found.append(vjp(jnp.ones_like(y))[0])
        return found

    for (s, _), grad in zip(ways, run(inputs), strict=True):
        expected = np.zeros_like(grad)
        expected[:, k - 1 :: s] = 1
        np.testing.assert_array_equal(grad, expected)


def test_large_windows_stay_small_programs():
    for k, s in ((400, 400), (1024, 256)):
        f = lambda x: jax.vjp(lambda x: jaxpool.max_pool(x, k, s, axes=0), x)[1]  # noqa: B023, E731
        text = (
            jax.jit(lambda x, g: f(x)(g))
            .lower(  # noqa: B023
                jnp.ones(2 * k), jnp.ones(k // s + 1)
            )
            .as_text()
        )
        assert text.count("stablehlo.") < 4000, (k, s)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_large_arrays_are_pooled_as_their_parts(masked, exhaustive):
    """Large arrays take forms of their own on CPUs; few channels of them, the one tested above."""
    rng = np.random.default_rng(0)
    values = [-INF, -1.0, -0.0, 0.0, 1.0, NAN]
    x = rng.choice(values, (2, 27, 26, 16), p=[0.3, 0.2, 0.2, 0.2, 0.05, 0.05]).astype(np.float32)
    x[0] = np.where(np.isnan(x[0]) | (x[0] > -1), -INF, x[0])  # windows of nothing but -inf
    where = rng.random(x.shape) < 0.5 if masked else None
    geometries = [(3, 2, 1, 1), (3, 1, 1, 1), (2, 2, 1, 1), (3, 2, 2, 2), (5, 1, 2, 1)]
    if not exhaustive:  # the first with a mask and without, of the others one
        geometries = [geometries[i] for i in ((0, 2) if masked else (0, 3, 4))]

    def everything(x, where):
        results = []
        for k, s, p, d in geometries:
            more = {"strides": s, "padding": p, "dilation": d, "where": where}
            pool = functools.partial(jaxpool.max_pool, window_shape=(k, k), **more)
            y, vjp = jax.vjp(pool, x)
            found = jaxpool.max_pool_with_argmax(x, (k, k), **more)
            results.append((pool(x), y, vjp(jnp.ones_like(y))[0], *found))
        return results

    whole = as_users(everything)(x, where)
    part = jax.jit(everything)(x[..., :4], where if where is None else where[..., :4])
    for geometry, wholes, parts in zip(geometries, whole, part, strict=True):
        for a, b in zip(wholes, parts, strict=True):
            np.testing.assert_array_equal(a[..., :4], b, err_msg=str(geometry))
            if a.dtype == np.float32:
                same = np.signbit(a[..., :4]) == np.signbit(b)
                assert (same | np.isnan(b)).all()


@pytest.mark.parametrize("implementation", [None, "axes", "reduce_window"])
def test_gradients_of_16_bits_are_added_up_in_32(implementation):
    x = (np.arange(599) == 299).astype(jnp.bfloat16)  # the maximum of all 300 windows

    def total(x):
        return jaxpool.max_pool(x, 300, 1, axes=0, implementation=implementation).sum()

    assert jax.jit(jax.grad(total))(x)[299] == 300  # in bfloat16, 256 + 1 is 256


@pytest.fixture
def platform_form(monkeypatch):
    """Makes CPUs run the program that another platform is given."""

    def choose(platform):
        jax.clear_caches()
        for kind in (WindowFold, WindowMap):
            lowered = kind.lowered

            def another(self, _, *operands, lowered=lowered, **static):
                return lowered(self, platform, *operands, **static)

            monkeypatch.setattr(kind, "lowered", another)

    yield choose
    monkeypatch.undo()
    jax.clear_caches()


GEOMETRIES = [(2, 2, 0, 1), (3, 2, 1, 1), (5, 1, 2, 1), (3, 1, 2, 2), (8, 3, 4, 1), (13, 1, 6, 1)]
# Geometry and whether there is a mask: at once and by axes, native and not, wide and narrow.
JOBS_QUICK = {
    "float32": [(0, False), (1, False), (1, True), (2, True), (3, False), (4, False), (4, True)],
    "bfloat16": [(1, True), (4, False)],
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("platform", ["default", "tpu"])
def test_programs_of_other_platforms_agree(platform_form, platform, dtype, exhaustive):
    """In value, and in which element takes the gradient; sums of gradients by their order only."""
    rng = np.random.default_rng(0)
    values = [-INF, -1.0, 0.0, 1.0, 2.0, NAN]
    chance = [0.3, 0.2, 0.2, 0.2, 0.05, 0.05]
    x = rng.choice(values, (2, 17, 16, 2), p=chance).astype(np.float32)
    if platform == "tpu":  # XLA's own gradient goes to another element beside a NaN
        x = np.where(np.isnan(x), np.float32(3), x)
    no_infinity = np.where(np.isinf(x), np.float32(-2), x)
    where = rng.random(x.shape) < 0.6
    jobs = [(i, masked) for i in range(len(GEOMETRIES)) for masked in (False, True)]
    jobs = jobs if exhaustive else JOBS_QUICK[dtype]

    def ct_of(y):
        return (1 + jnp.arange(y.size).reshape(y.shape) % 7).astype(y.dtype)

    def has_places(k):  # which TPUs and GPUs find in one way
        return exhaustive or (platform == "default" and k <= 5)

    def both(x, geometry, mask):
        k, s, p, d = geometry
        pool = functools.partial(
            jaxpool.max_pool, window_shape=(k, k), strides=s, padding=p, dilation=d, where=mask
        )
        y, vjp = jax.vjp(pool, x)
        gradient = vjp(ct_of(y))[0]
        tangent = jax.jvp(pool, (x,), (ct_of(x),))[1]
        values = [pool(x), y, gradient, tangent]
        if not has_places(k):
            return values
        _, places = jaxpool.max_pool_with_argmax(
            x, (k, k), strides=s, padding=p, dilation=d, where=mask
        )
        return [*values, places]

    def run(number, masked, jit):
        geometry = GEOMETRIES[number]
        lost = platform == "tpu" and geometry[2] > 0 and not masked  # of only -inf, to padding
        program = jit(functools.partial(both, geometry=geometry))
        found = program((no_infinity if lost else x).astype(dtype), mask=where if masked else None)
        return [np.asarray(a, np.float32) for a in found]

    expected = [run(*job, jax.jit) for job in jobs]
    platform_form(platform)
    for job, on_cpus in zip(jobs, expected, strict=True):
        # Gradients are sums of small integers, so that their order does not matter.
        # Of many taps at once XLA:CPU's older emitters make a program that grows without end.
        k = GEOMETRIES[job[0]][0]
        jit = as_users if k > 3 and has_places(k) else jax.jit
        for a, b in zip(run(*job, jit), on_cpus, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str((GEOMETRIES[job[0]], job[1])))


@pytest.mark.parametrize("implementation", ["taps", "axes"])
def test_an_infinite_cotangent_reaches_the_picked_element_alone(implementation):
    """And so does NaN: what is not picked is not multiplied by 0."""
    x, k, s = np.random.default_rng(0).permutation(26).reshape(2, 13).astype(np.float32), 4, 2
    pool = functools.partial(
        jaxpool.max_pool, window_shape=k, strides=s, axes=1, implementation=implementation
    )
    y, vjp = jax.vjp(jax.jit(pool), x)
    ct = np.arange(1, y.size + 1, dtype=np.float32).reshape(y.shape)
    ct[0, 1], ct[1, 3] = INF, NAN
    expected = np.zeros_like(x)
    for row, cell in np.ndindex(*y.shape):
        expected[row, cell * s + np.argmax(x[row, cell * s : cell * s + k])] += ct[row, cell]
    np.testing.assert_array_equal(vjp(ct)[0], expected)


def first_maxima(x, where):
    """How often each element is the first largest of a 3 x 3 window, SAME and every second one."""
    found = np.zeros(x.shape, np.float32)
    lows = [max((-(-n // 2) - 1) * 2 + 3 - n, 0) // 2 for n in x.shape]
    for row, column in itertools.product(*(range(-(-n // 2)) for n in x.shape)):
        corner = (2 * row - lows[0], 2 * column - lows[1])
        places = [(corner[0] + i, corner[1] + j) for i in range(3) for j in range(3)]
        inside = [p for p in places if min(p) >= 0 and p[0] < x.shape[0] and p[1] < x.shape[1]]
        if inside := [p for p in inside if where[p]]:
            found[max(inside, key=lambda p: x[p])] += 1  # the first of equals
    return found


def test_gradients_of_symbolic_sizes_as_tpus_have_them(monkeypatch):
    """What is lowered for TPUs, run here; no window gives its gradient to padding."""
    monkeypatch.setattr(
        lowering_max, "_by_platform",
        lambda forms, *operands: forms.get("tpu", forms["default"])(*operands),
    )  # fmt: skip
    pool = functools.partial(
        jaxpool.max_pool, window_shape=(3, 3), strides=2, padding="SAME", axes=(0, 1)
    )
    gradients = jax.jit(lambda x, where: [
        jax.grad(lambda x, w=w: pool(x, where=w).sum())(x) for w in (None, where)])  # fmt: skip
    shape = jax.export.symbolic_shape("h, w", constraints=("h >= 4", "w >= 4"))
    given = [jax.ShapeDtypeStruct(shape, d) for d in (np.float32, bool)]
    program = jax.export.export(gradients)(*given)
    for sizes in ((7, 6), (6, 9)):
        random = np.random.default_rng(sum(sizes))
        x, where = random.integers(0, 9, sizes).astype(np.float32), random.random(sizes) < 0.6
        x[:3, :3], where[-3:, -3:] = -np.inf, False
        for mask, found in zip((np.ones(sizes, bool), where), program.call(x, where), strict=True):
            np.testing.assert_array_equal(found, first_maxima(x, mask))


def test_gradients_of_symbolic_sizes_are_lowered_for_tpus():
    """Strided SAME windows, whose padding is symbolic too."""
    geometry = ((3, 3), 2, "SAME")

    def pools(x):
        yield jaxpool.max_pool(x, *geometry)
        yield jaxpool.min_pool(x, *geometry, where=x < 2)
        yield jaxpool.max_pool_with_argmax(x, *geometry)[0]
        yield jaxpool.mixed_pool(x, *geometry, alpha=0.3)

    gradient = jax.jit(jax.grad(lambda x: sum(y.sum() for y in pools(x))))
    x = jax.ShapeDtypeStruct(jax.export.symbolic_shape("b, h, w, c"), np.float32)
    exported = jax.export.export(gradient, platforms=("tpu",))(x)
    assert exported.out_avals[0].shape == exported.in_avals[0].shape
