"""Where windows lie, without arrays: sizes, paddings and counts against counting them out."""

import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxpool
from tests import oracle

TESTS_OF = ("core/geometry.py", "domains/window.py")

PADDINGS = ["VALID", "SAME", "SAME_LOWER", (0, 0), (1, 0), (0, 2), (1, 1), (2, 3)]


def counted(length, k, s, padding, d, ceil):
    """(taps inside the input, those or in declared padding) for each window."""
    first, (low, high) = oracle.starts(length, k, s, d, padding, ceil)
    taps = [[i + j * d for j in range(k)] for i in first]
    inside = [sum(0 <= t < length for t in window) for window in taps]
    declared = [sum(-low <= t < length + high for t in window) for window in taps]
    return inside, declared


def refused(length, k, s, padding, d, ceil):
    """Why jaxpool does not take this geometry, if it does not."""
    if not oracle.starts(length, k, s, d, padding, ceil)[0]:
        return "must fit the padded input"
    return "lies wholly in padding" if min(counted(length, k, s, padding, d, ceil)[0]) == 0 else ""


def check(length, k, s, padding, d, ceil):
    pairs = padding if isinstance(padding, str) else (padding,)
    window = jaxpool.Window(k, s, pairs, dilation=d, ceil_mode=ceil, axes=-1)
    why = refused(length, k, s, padding, d, ceil)
    if why:
        for call in (window.output_shape, window.counts):
            with pytest.raises(ValueError, match=why):
                call((2, length))
        return
    inside, declared = counted(length, k, s, padding, d, ceil)
    assert window.output_shape((2, length)) == (2, len(inside))
    np.testing.assert_array_equal(window.counts((2, length)), [inside])
    np.testing.assert_array_equal(window.counts((2, length), include_pad=True), [declared])


@pytest.mark.parametrize("padding", PADDINGS, ids=str)
@pytest.mark.parametrize("ceil", [False, True], ids=["floor", "ceil"])
def test_every_small_geometry(padding, ceil):
    everything = itertools.product(range(1, 11), range(1, 6), range(1, 6), range(1, 4))
    for length, k, s, d in everything:
        check(length, k, s, padding, d, ceil)


@settings(deadline=None, derandomize=True, max_examples=400)
@given(
    st.integers(1, 60), st.integers(1, 40), st.integers(1, 50), st.integers(1, 9), st.booleans(),
    st.sampled_from(["VALID", "SAME", "SAME_LOWER"])
    | st.tuples(st.integers(0, 30), st.integers(0, 30)),
)  # fmt: skip
def test_drawn_geometries(length, k, s, d, ceil, padding):
    check(length, k, s, padding, d, ceil)


@st.composite
def pools(draw):
    n = draw(st.integers(1, 3))
    shape = tuple(draw(st.integers(1, 6)) for _ in range(n))
    k, s, d = (tuple(draw(st.integers(1, limit)) for _ in range(n)) for limit in (3, 4, 3))
    named = st.sampled_from(["VALID", "SAME", "SAME_LOWER"])
    numbers = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * n)
    return shape, k, s, draw(named | numbers), d, draw(st.booleans()), draw(st.integers(0, 9))


@settings(deadline=None, derandomize=True, max_examples=30)
@given(pools())
def test_drawn_pools_against_the_oracle(drawn):
    """Values, with a mask, in as many axes as are drawn."""
    shape, k, s, padding, d, ceil, seed = drawn
    rng = np.random.default_rng(seed)
    x, where = rng.normal(size=shape).astype(np.float32), rng.random(shape) < 0.7
    arguments = {"window_shape": k, "strides": s, "padding": padding, "dilation": d,
                 "ceil_mode": ceil, "axes": tuple(range(len(shape)))}  # fmt: skip
    per_axis = (padding,) * len(k) if isinstance(padding, str) else padding
    why = [refused(*g, ceil) for g in zip(shape, k, s, per_axis, d, strict=True)]
    if any(why):
        with pytest.raises(ValueError, match=f"{'|'.join(w for w in why if w)}"):
            jaxpool.max_pool(x, **arguments)
        return
    for kind, function, mask in [
        ("max", jaxpool.max_pool, where),
        ("mean", jaxpool.avg_pool, None),
        ("mean", jaxpool.avg_pool, where),
    ]:
        y = function(x, **arguments, where=mask, empty_value=-9)
        expected = oracle.window(kind, x, **arguments, where=mask, empty_value=-9)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("length", "k", "s", "padding", "expected"),
    [
        (7, 4, 2, "SAME", [3, 5, 7, 7]),  # pads (1, 2)
        (7, 4, 2, "SAME_LOWER", [2, 4, 6, 7]),  # pads (2, 1)
        (7, 3, 2, "SAME", [2, 4, 6, 7]),
        (6, 2, 3, "SAME", [2, 5]),  # the clamp at 0, where k < s
        (6, 2, 3, "SAME_LOWER", [2, 5]),
        (5, 2, 2, "VALID", [2, 4]),
    ],
)
def test_same_by_hand(length, k, s, padding, expected):
    x = np.arange(1, length + 1, dtype=np.float32)
    np.testing.assert_array_equal(jaxpool.max_pool(x, k, s, padding, axes=0), expected)
    lower = padding.lower()
    np.testing.assert_array_equal(jaxpool.max_pool(x, k, s, lower, axes=0), expected)


def test_the_ceil_formula_of_the_max_pool1d_docstring_is_not_used():
    """It adds s-1 inside the ceil. PyTorch's code, and this, keep a window that starts inside."""
    window = jaxpool.Window(3, 3, ceil_mode=True, axes=0)
    assert window.output_shape((7,)) == (3,)
    assert window.counts((7,)).tolist() == [3, 3, 1]
    # The last window would start in the right padding: dropped.
    assert jaxpool.Window(2, 3, 1, ceil_mode=True, axes=0).output_shape((5,)) == (2,)


@pytest.mark.parametrize(("k", "s", "padding", "d"), [
    (2, 2, (1, 1), 1), (2, 2, (0, 1), 1), (2, 3, (0, 0), 1), (3, 2, (1, 1), 1), (3, 3, (1, 0), 1),
    (2, 4, (1, 1), 3), (1, 4, (0, 0), 1), (3, 2, "SAME", 1), (4, 3, "SAME_LOWER", 2),
], ids=str)  # fmt: skip
def test_symbolic_lengths_have_the_same_cells(k, s, padding, d):
    """Also where the last window would begin just after the input."""
    (length,) = jax.export.symbolic_shape("n", constraints=["n >= 7"])
    for ceil in {False, not isinstance(padding, str)}:
        pairs = padding if isinstance(padding, str) else (padding,)
        window = jaxpool.Window(k, s, pairs, dilation=d, ceil_mode=ceil, axes=0)
        pool = jax.jit(lambda x: jnp.zeros(window.output_shape(x.shape)))  # noqa: B023
        exported = jax.export.export(pool)(jax.ShapeDtypeStruct((length,), np.float32))
        for n in range(7, 7 + 2 * s):
            cells = jax.eval_shape(exported.call, jax.ShapeDtypeStruct((n,), np.float32))
            assert cells.shape == (len(oracle.starts(n, k, s, d, padding, ceil)[0]),)


def test_output_size_of_the_tutorial():
    for n, p, k, s in [(224, 3, 7, 2), (112, 1, 3, 2), (32, 0, 2, 2), (7, 0, 7, 1)]:
        window = jaxpool.Window((k, k), s, p)
        size = (n + 2 * p - k) // s + 1
        assert window.output_shape((8, n, n, 3)) == (8, size, size, 3)


def test_int_and_sequence_arguments_say_the_same():
    a = jaxpool.Window((3, 3), 2, 1, dilation=1)
    for b in (
        jaxpool.Window([3, 3], [2, 2], [1, 1], dilation=[1, 1]),
        jaxpool.Window((3, 3), (2, 2), ((1, 1), (1, 1)), dilation=(1, 1), axes=(-3, -2)),
        jaxpool.Window(3, np.int64(2), [[1, 1], [1, 1]], axes=[-3, -2]),
    ):
        assert a == b
        assert hash(a) == hash(b)


def test_strides_default_to_the_window():
    assert jaxpool.Window((2, 3)).output_shape((1, 8, 9, 1)) == (1, 4, 3, 1)


def test_global_shapes_and_counts():
    assert jaxpool.Global((1, 2)).output_shape((8, 7, 5, 3)) == (8, 3)
    assert jaxpool.Global((-1, 0), keepdims=True).output_shape((8, 7, 5)) == (1, 7, 1)
    assert jaxpool.Global(0).output_shape((4,)) == ()
    assert jaxpool.Global((1, 2)).counts((8, 7, 5, 3)).item() == 35
    assert jaxpool.Global((1, 2)).counts((8, 7, 5, 3)).shape == (1, 1)


def test_counts_are_small_whatever_the_batch():
    counts = jaxpool.Window((3, 3), 2, 1).counts((256, 9, 8, 512))
    assert counts.shape == (1, 5, 4, 1)
    np.testing.assert_array_equal(counts[0, :, 0, 0], 2 * np.array([2, 3, 3, 3, 2]))
