"""Facts about maxima and minima."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._lowering_primitives import WindowFold, WindowMap

INF, NAN = np.inf, np.nan


def gradient(f, x, ct=None):
    y, vjp = jax.vjp(f, jnp.asarray(x, jnp.float32))
    return np.asarray(vjp(jnp.ones_like(y) if ct is None else ct)[0])


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


@pytest.mark.parametrize("minimum", [False, True], ids=["max", "min"])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize(
    ("k", "implementation"),
    [*((k, None) for k in (1, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17, 31, 70)),
     *((k, "axes") for k in (1, 2, 3, 4, 5, 8, 11)), (20, "taps")],
)  # fmt: skip
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
    x = np.ones((1, *(2 * n for n in shape), 1), np.float32)
    first = np.zeros_like(x)
    first[(slice(None), *(slice(None, None, n) for n in shape))] = 1
    np.testing.assert_array_equal(gradient(lambda x: jaxpool.max_pool(x, shape), x), first)
    np.testing.assert_array_equal(gradient(lambda x: jaxpool.min_pool(x, shape), x), first)
    # The maximum twice: later in the row above, earlier in the row below. The row above wins.
    if len(shape) == 2 and min(shape) > 1:
        x = np.zeros((1, *shape, 1), np.float32)
        x[0, 0, -1, 0] = x[0, 1, 0, 0] = 1
        assert gradient(lambda x: jaxpool.max_pool(x, shape), x)[0, 0, -1, 0] == 1
        x[x == 1] = NAN  # and of NaNs the later
        assert gradient(lambda x: jaxpool.max_pool(x, shape), x)[0, 1, 0, 0] == 1


@pytest.mark.parametrize("size", [2, 3, 5, 8, 100, 9001])
def test_global_pools_pick_as_a_window_of_that_size(size):
    rng = np.random.default_rng(size)
    for values in ([0, 1], [0.0, -0.0], [-INF], [1, NAN], [-INF, NAN], [np.finfo("f4").min, -INF]):
        x = rng.choice(values, (3, size)).astype(np.float32)
        for whole, window in (
            (jaxpool.global_max_pool, jaxpool.max_pool),
            (jaxpool.global_min_pool, jaxpool.min_pool),
        ):
            a, b = (lambda x: whole(x, 1)), (lambda x: window(x, (size,), axes=1)[:, 0])  # noqa: B023
            np.testing.assert_array_equal(gradient(a, x), gradient(b, x), str(values))
            np.testing.assert_array_equal(a(x), b(x), str(values))
            if not np.isnan(values).any():
                np.testing.assert_array_equal(bits(a(x)), bits(b(x)), f"bits of {values}")


@pytest.mark.parametrize("values", [[-0.0, 0.0], [0.0, -0.0], [-1.0, -0.0, 0.0], [-0.0, -0.0]])
def test_of_signed_zeros_the_first_is_the_value(values):
    x = jnp.array(values)
    first = np.array(next(v for v in values if v == 0), np.float32)
    n = len(values)
    for sign, whole, window in (
        (1, jaxpool.global_max_pool, lambda x, a: jaxpool.max_pool(x, n, axes=a)[0]),
        (-1, jaxpool.global_min_pool, lambda x, a: jaxpool.min_pool(x, n, axes=a)[0]),
    ):
        for f in (whole, window):
            for jit in (jax.jit, lambda f: f):
                assert bits(jit(lambda x: f(x, 0))(sign * x)) == bits(sign * first)  # noqa: B023
                # Alone, and when a derivative is asked for.
                y = jit(lambda x: jax.vjp(lambda x: f(x, 0), x)[0])(sign * x)  # noqa: B023
                assert bits(y) == bits(sign * first)


@pytest.mark.parametrize("value", [-INF, np.finfo(np.float32).min])
@pytest.mark.parametrize(
    ("k", "s", "p", "d"),
    [
        (3, 2, 1, 1),
        (3, 1, 1, 1),
        (2, 2, 1, 1),
        (5, 1, 2, 1),
        (3, 1, 1, 2),
        (4, 2, 3, 1),
        (9, 1, 4, 1),
    ],
)
def test_a_window_of_nothing_but_the_lowest_keeps_its_gradient(value, k, s, p, d):
    """JAX's own gradient sums to 1 of 4 for the first of these: padding steals the rest."""
    x = np.full((2, 6, 6, 3), value, np.float32)
    f = lambda x: jaxpool.max_pool(x, (k, k), s, p, dilation=d)  # noqa: E731
    y = f(x)
    np.testing.assert_array_equal(y, np.full(y.shape, value, np.float32))
    grad = gradient(f, x)
    assert grad.sum() == y.size
    assert grad[0, 0, 0, 0] >= 1  # the first window's first element inside the input
    g = lambda x: jaxpool.min_pool(x, (k, k), s, p, dilation=d)  # noqa: E731
    assert gradient(g, -x).sum() == y.size


def test_nan_takes_the_gradient_to_a_nan():
    x = [1.0, NAN, 5.0, NAN, 2.0]  # semantics.md, 3: PyTorch gives index 3
    for f in (
        lambda x: jaxpool.max_pool(x, 5, axes=0),
        lambda x: jaxpool.global_max_pool(x, 0),
        lambda x: jaxpool.min_pool(x, 5, axes=0),
        lambda x: jaxpool.global_min_pool(x, 0),
    ):
        assert np.isnan(f(jnp.array(x))).all()
        np.testing.assert_array_equal(gradient(f, x), [0, 0, 0, 1, 0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("k", "s"), [(2, 2), (4, 4), (3, 2), (2, 1), (8, 8), (16, 16)])
@pytest.mark.parametrize("jit", [True, False], ids=["jit", "eager"])
def test_nan_survives_in_large_arrays(k, s, dtype, jit):
    """XLA:CPU's own reduction loses float32 NaN where windows lie side by side."""
    x = np.zeros((2, 64, 64, 16), np.float32)
    x[0, 0, 0, 0] = x[1, -1, -1, -1] = x[0, 21, 34, 7] = NAN
    x = jnp.asarray(x).astype(dtype)
    wrap = jax.jit if jit else lambda f: f
    expected = np.zeros((2, *[(64 - k) // s + 1] * 2, 16), bool)
    for b, h, w, c in np.argwhere(np.isnan(np.asarray(x, np.float32))):
        for i in range(expected.shape[1]):
            for j in range(expected.shape[2]):
                if i * s <= h < i * s + k and j * s <= w < j * s + k:
                    expected[b, i, j, c] = True
    for f in (jaxpool.max_pool, jaxpool.min_pool):
        y = wrap(lambda x: f(x, (k, k), s))(x)  # noqa: B023
        np.testing.assert_array_equal(np.isnan(np.asarray(y, np.float32)), expected)
    for f in (jaxpool.global_max_pool, jaxpool.global_min_pool):
        y = wrap(lambda x: f(x, (1, 2)))(x)  # noqa: B023
        assert np.isnan(np.asarray(y, np.float32)).sum() == 3


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32"])
def test_integer_extremes(dtype):
    info = np.iinfo(dtype)
    x = jnp.array([info.min, info.max, info.min, info.min, info.max, info.max], dtype)
    low, high = int(info.min), int(info.max)
    assert jaxpool.max_pool(x, 2, axes=0).tolist() == [high, low, high]
    assert jaxpool.min_pool(x, 2, axes=0).tolist() == [low, low, high]
    # Padding and what is masked out are not elements, not even equal ones.
    assert jaxpool.max_pool(x, 3, 3, ((1, 2),), axes=0).tolist() == [high, high, high]
    assert jaxpool.min_pool(x, 3, 3, ((1, 2),), axes=0).tolist() == [low, low, high]
    where = jnp.array([True, False, False, False, False, True])
    assert jaxpool.max_pool(x, 2, axes=0, where=where, empty_value=5).tolist() == [low, 5, high]
    assert jaxpool.min_pool(x, 2, axes=0, where=where, empty_value=5).tolist() == [low, 5, high]
    assert jaxpool.global_max_pool(x, 0).item() == high
    assert jaxpool.global_min_pool(x, 0).item() == low
    assert jaxpool.global_max_pool(x[2:4], 0).item() == low
    assert jaxpool.global_max_pool(x, 0).dtype == np.dtype(dtype)


def test_unsigned_numbers_beyond_the_signed_range_keep_their_order():
    x = jnp.array([1, 2**31, 2**32 - 1, 5], jnp.uint32)
    assert jaxpool.max_pool(x, 2, axes=0).tolist() == [2**31, 2**32 - 1]
    assert jaxpool.min_pool(x, 2, axes=0).tolist() == [1, 5]


def test_bools_dilate_and_erode():
    x = jnp.array([True, True, True, False, False, False])
    assert jaxpool.max_pool(x, 3, 1, 1, axes=0).tolist() == [True] * 4 + [False] * 2
    assert jaxpool.min_pool(x, 3, 1, 1, axes=0).tolist() == [True] * 2 + [False] * 4
    assert bool(jaxpool.global_max_pool(x, 0))
    assert not bool(jaxpool.global_min_pool(x, 0))
    assert jaxpool.global_min_pool(x, 0).dtype == np.bool_


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_narrow_floats_are_exact(dtype):
    if "8_" in dtype:
        x = jnp.asarray(np.arange(256, dtype=np.uint8)).view(dtype)  # every number there is
    else:
        x = jnp.asarray(np.random.default_rng(0).normal(size=256)).astype(dtype)
    wide = np.asarray(x).astype(np.float32).reshape(-1, 4)
    for f, reference in ((jaxpool.max_pool, np.max), (jaxpool.min_pool, np.min)):
        y = f(x, 4, axes=0)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(np.asarray(y).astype(np.float32), reference(wide, 1))


def test_padding_never_wins():
    x = jnp.full((1, 4, 4, 1), -5.0)
    assert (jaxpool.max_pool(x, (3, 3), 1, 1) == -5).all()
    assert (jaxpool.min_pool(-x, (3, 3), 1, "SAME") == 5).all()
    assert (jaxpool.max_pool(x.astype(jnp.int8), (3, 3), 1, 1) == -5).all()


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("uint32", 2**32 - 1), ("float32", 2**40), ("float32", -(2**70)), ("int32", -(2**31)),
     ("bfloat16", 3), ("uint8", 255), ("bool", True), ("bool", 1)],
)  # fmt: skip
def test_empty_values_that_the_dtype_holds(dtype, value):
    x = jnp.ones(4, dtype)
    y = jaxpool.max_pool(x, 2, axes=0, where=jnp.zeros(4, bool), empty_value=value)
    assert y.dtype == np.dtype(dtype)
    assert np.asarray(y).astype(np.float64).tolist() == [float(value)] * 2
    traced = jax.jit(lambda x, v: jaxpool.max_pool(x, 2, axes=0, where=x != x, empty_value=v))
    np.testing.assert_array_equal(traced(x, jnp.asarray(1, dtype)), jnp.ones(2, dtype))


def test_second_derivatives_of_max_are_zero():
    x = jnp.array([[1.0, 5, 2, 4, 3, 0]])
    f = lambda x: jnp.sum(jaxpool.max_pool(x, 3, 1, 1, axes=1) ** 3)  # noqa: E731
    h = jax.hessian(lambda x: f(x[None]))(x[0])
    # Each cell adds 6 v on the diagonal of the element that it picks.
    np.testing.assert_allclose(h, np.diag([0, 3 * 30, 0, 2 * 24, 18, 0]))
    np.testing.assert_allclose(jax.jacfwd(jax.jacrev(f))(x), jax.jacrev(jax.jacfwd(f))(x))


def test_all_ties_jacfwd_equals_jacrev():
    for f in (
        lambda x: jaxpool.max_pool(x, (3, 3), 1, 1, axes=(0, 1)),
        lambda x: jaxpool.global_max_pool(x, (0, 1)),
    ):
        x = jnp.zeros((4, 4))
        np.testing.assert_array_equal(jax.jacfwd(f)(x), jax.jacrev(f)(x))


@pytest.mark.parametrize("where", [None, "mask"])
def test_gradient_of_16_bit_floats_is_added_in_float32(where):
    """400 windows pick the one element: bfloat16 counts to 256 and no further."""
    x = jnp.zeros(401, jnp.bfloat16).at[200].set(1)
    mask = None if where is None else jnp.ones(401, bool)
    y, vjp = jax.vjp(lambda x: jaxpool.max_pool(x, 401, 1, 199, axes=0, where=mask), x)
    grad = np.asarray(vjp(jnp.ones_like(y))[0]).astype(np.float32)
    assert len(y) == 399
    assert grad[200] == 400  # the bfloat16 nearest to 399


def parted(f, x):
    """The forward pass, and what it hands to the backward pass: arrays of these shapes."""
    y, backward = jax.jit(lambda x: jax.vjp(f, x))(x)
    large = [r for r in jax.tree.leaves(backward) if r.size > 9]  # than tables of a block
    return y, backward, {(r.shape, r.dtype) for r in large}


@pytest.mark.parametrize(("k", "s", "p", "kind"), [(2, 2, 0, "u1"), (3, 2, 1, "u1"), (5, 1, 2, "u1"),
                                                   (16, 1, 8, "u2")])  # fmt: skip
def test_the_backward_pass_keeps_a_tap_for_each_output(k, s, p, kind):
    """One byte, two above 255 taps. JAX keeps x as well, for the one form that reads it: TPUs'."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 32, 32, 16)), jnp.float32)
    f = lambda x: jaxpool.max_pool(x, (k, k), s, p)  # noqa: E731
    y, backward, residuals = parted(f, x)
    assert residuals == {(y.shape, np.dtype(kind)), (x.shape, x.dtype)}
    # What XLA makes of it for CPUs: x has a name and no use.
    compiled = jax.jit(lambda b, g: b(g)).lower(backward, y).compile()
    entry = compiled.as_text().split("\nENTRY")[1]
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
        compiled = jax.jit(f).lower(x).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < x.size * 4 / 2
    else:
        text = jax.jit(f).trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert "ui8" in text
        assert "reduce_window" not in text


@pytest.mark.parametrize("k", [254, 255, 256])
def test_taps_at_the_end_of_a_dtype(k):
    """Some numbers of a dtype are no taps; with strides, elements at which no tap begins use one."""
    for s, implementation in ((22, None), (4, "taps")):
        x = jnp.tile(jnp.arange(k + 3.0 * s), (2, 1))
        f = lambda x: jaxpool.max_pool(x, k, s, axes=1, implementation=implementation)  # noqa: B023, E731
        y, vjp = jax.jit(lambda x: jax.vjp(f, x))(x)
        grad = np.asarray(vjp(jnp.ones_like(y))[0])
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
def test_large_arrays_are_pooled_as_their_parts(masked):
    """Large arrays take forms of their own on CPUs; few channels of them, the one tested above."""
    rng = np.random.default_rng(0)
    values = [-INF, -1.0, -0.0, 0.0, 1.0, NAN]
    x = rng.choice(values, (2, 27, 26, 16), p=[0.3, 0.2, 0.2, 0.2, 0.05, 0.05]).astype(np.float32)
    x[0] = np.where(np.isnan(x[0]) | (x[0] > -1), -INF, x[0])  # windows of nothing but -inf
    where = rng.random(x.shape) < 0.5 if masked else None
    for k, s, p, d in ((3, 2, 1, 1), (3, 1, 1, 1), (2, 2, 1, 1), (3, 2, 2, 2), (5, 1, 2, 1)):

        def everything(x, where, k=k, s=s, p=p, d=d):
            pool = lambda x: jaxpool.max_pool(x, (k, k), s, p, dilation=d, where=where)  # noqa: E731
            y, vjp = jax.vjp(pool, x)
            found = jaxpool.max_pool_with_argmax(x, (k, k), s, p, dilation=d, where=where)
            return pool(x), y, vjp(jnp.ones_like(y))[0], *found

        whole = jax.jit(everything)(x, where)
        part = jax.jit(everything)(x[..., :4], where if where is None else where[..., :4])
        for a, b in zip(whole, part, strict=True):
            np.testing.assert_array_equal(a[..., :4], b, err_msg=str((k, s, p, d)))
            if a.dtype == np.float32:
                same = np.signbit(a[..., :4]) == np.signbit(b)
                assert (same | np.isnan(b)).all()


@pytest.mark.parametrize("implementation", [None, "axes", "reduce_window"])
def test_gradients_of_16_bits_are_added_up_in_32(implementation):
    x = jnp.zeros(599, jnp.bfloat16).at[299].set(1)  # the maximum of all 300 windows

    def total(x):
        return jaxpool.max_pool(x, 300, 1, axes=0, implementation=implementation).sum()

    assert jax.grad(total)(x)[299] == 300  # in bfloat16, 256 + 1 is 256


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


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=str)
@pytest.mark.parametrize("platform", ["default", "tpu"])
def test_programs_of_other_platforms_agree(platform_form, platform, dtype):
    """In value, and in which element takes the gradient; sums of gradients by their order only."""
    rng = np.random.default_rng(0)
    values = [-INF, -1.0, 0.0, 1.0, 2.0, NAN]
    chance = [0.3, 0.2, 0.2, 0.2, 0.05, 0.05]
    x = jnp.asarray(rng.choice(values, (2, 17, 16, 2), p=chance), dtype)
    if platform == "tpu":  # XLA's own gradient goes to another element beside a NaN
        x = jnp.where(jnp.isnan(x), 3, x)
    no_infinity = jnp.where(jnp.isinf(x), -2, x)
    where = rng.random(x.shape) < 0.6
    geometries = [
        (2, 2, 0, 1),
        (3, 2, 1, 1),
        (5, 1, 2, 1),
        (3, 1, 2, 2),
        (8, 3, 4, 1),
        (13, 1, 6, 1),
    ]

    def ct_of(y):
        return (1 + jnp.arange(y.size).reshape(y.shape) % 7).astype(y.dtype)

    def run(geometry, mask):
        k, s, p, d = geometry
        pool = functools.partial(
            jaxpool.max_pool, window_shape=(k, k), strides=s, padding=p, dilation=d, where=mask
        )

        def both(x):
            y, vjp = jax.vjp(pool, x)
            ct = ct_of(y)
            gradient = vjp(ct)[0]
            tangent = jax.jvp(pool, (x,), (ct_of(x),))[1]
            _, places = jaxpool.max_pool_with_argmax(
                x, (k, k), strides=s, padding=p, dilation=d, where=mask
            )
            return pool(x), y, gradient, tangent, places

        lost = platform == "tpu" and p > 0 and mask is None  # of nothing but -inf, to padding
        found = jax.jit(both)(no_infinity if lost else x)
        return [np.asarray(a, np.float32) for a in found]

    jobs = [(geometry, mask) for geometry in geometries for mask in (None, where)]
    expected = [run(*job) for job in jobs]
    platform_form(platform)
    for job, values_on_cpus in zip(jobs, expected, strict=True):
        # Gradients are sums of small integers, so that their order does not matter.
        for a, b in zip(run(*job), values_on_cpus, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(job[0]))
