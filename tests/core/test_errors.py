"""Every class of mistake, with the exact message; also under python -O and without chex."""

import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = (
    "core/arguments.py",
    "core/parameters.py",
    "core/pool.py",
    "domains/window.py",
    "pools/adaptive.py",
    "pools/pyramids.py",
)

X = np.ones((2, 8, 8, 3), np.float32)
N = "be an int >= {}, or {} of them (one per window axis)"
PADDING = (
    'be "VALID", "SAME", "SAME_LOWER", an int >= 0, 2 of them, or 2 (low, high) pairs '
    "(one per window axis)"
)
HINT_2D = "Write window_shape=(2, 2) for 2D pooling, or axes=(-2, -1) if channels come first."


def message(op, argument, allowed, value, *, hint="", shape=None):
    """The template of design.md, 6, spelled out once more."""
    where = f" for x.shape={shape}" if shape is not None else ""
    advice = f" {hint}" if hint else ""
    return f"{op}: `{argument}` must {allowed}; got {argument}={value!r}{where}.{advice}"


def wrong(error, text, *args, **kwargs):
    return error, text, args, kwargs


# For max_pool(x, ...); what is checked is shared by all window pools.
WINDOW_MISTAKES = {
    "int window without axes": wrong(ValueError, message(
        "max_pool", "window_shape", "be a sequence when `axes` is not given, since its length says "
        "how many axes are pooled", 2, hint=HINT_2D), X, 2),
    "window of 0": wrong(ValueError, message("max_pool", "window_shape", N.format(1, 2), (2, 0)), X, (2, 0)),
    "negative window": wrong(ValueError, message("max_pool", "window_shape", N.format(1, 2), (-2, 2)), X, (-2, 2)),
    "no window": wrong(ValueError, message("max_pool", "window_shape", "have at least one entry", ()), X, ()),
    "window of floats": wrong(TypeError, message("max_pool", "window_shape", N.format(1, 2), 2.0, hint="Write 2."), X, (2.0, 2)),
    "window of bools": wrong(TypeError, message("max_pool", "window_shape", N.format(1, 2), True), X, (True, 2)),
    "window of text": wrong(TypeError, message("max_pool", "window_shape", "be an int or a sequence of ints", "2"), X, "2"),
    "window is None": wrong(TypeError, message("max_pool", "window_shape", "be an int or a sequence of ints", None), X, None),
    "bool window with axes": wrong(TypeError, message("max_pool", "window_shape", N.format(1, 1), True), X, True, axes=1),
    "stride 0": wrong(ValueError, message("max_pool", "strides", N.format(1, 2), 0), X, (2, 2), 0),
    "negative stride": wrong(ValueError, message("max_pool", "strides", N.format(1, 2), (1, -1)), X, (2, 2), (1, -1)),
    "too few strides": wrong(ValueError, message("max_pool", "strides", N.format(1, 2), (1,)), X, (2, 2), (1,)),
    "too many strides": wrong(ValueError, message("max_pool", "strides", N.format(1, 2), (1, 1, 1)), X, (2, 2), (1, 1, 1)),
    "padding in place of strides": wrong(TypeError, message("max_pool", "strides", N.format(1, 2), "SAME", hint='Write padding="SAME".'), X, (2, 2), "SAME"),
    "bool stride": wrong(TypeError, message("max_pool", "strides", N.format(1, 2), True), X, (2, 2), True),
    "dilation 0": wrong(ValueError, message("max_pool", "dilation", N.format(1, 2), 0), X, (2, 2), dilation=0),
    "float dilation": wrong(TypeError, message("max_pool", "dilation", N.format(1, 2), 1.5), X, (2, 2), dilation=1.5),
    "unknown padding": wrong(ValueError, message("max_pool", "padding", PADDING, "FULL"), X, (2, 2), None, "FULL"),
    "negative padding": wrong(ValueError, message("max_pool", "padding", PADDING, -1), X, (2, 2), None, -1),
    "negative low padding": wrong(ValueError, message("max_pool", "padding", PADDING, ((-1, 0), (0, 0))), X, (2, 2), None, ((-1, 0), (0, 0))),
    "too many paddings": wrong(ValueError, message("max_pool", "padding", PADDING, (1, 1, 1)), X, (2, 2), None, (1, 1, 1)),
    "a triple of padding": wrong(ValueError, message("max_pool", "padding", PADDING, ((1, 1, 1), (0, 0))), X, (2, 2), None, ((1, 1, 1), (0, 0))),
    "float padding": wrong(TypeError, message("max_pool", "padding", PADDING, 0.5), X, (2, 2), None, 0.5),
    "padding is None": wrong(TypeError, message("max_pool", "padding", PADDING, None), X, (2, 2), None, None),
    "bool padding": wrong(TypeError, message("max_pool", "padding", PADDING, True), X, (2, 2), None, True),
    "ceil_mode of another kind": wrong(TypeError, message("max_pool", "ceil_mode", "be True or False", 1), X, (2, 2), ceil_mode=1),
    "axis beyond x": wrong(ValueError, message("max_pool", "axes", "lie in [-4, 4) since x has 4 axes", (4, 1), shape=(2, 8, 8, 3),
        hint="Without `axes`, the axes just before the last (channels) are pooled: name them if x has no channel axis."), X, (2, 2), axes=(4, 1)),
    "too few axes of x": wrong(ValueError, message("max_pool", "axes", "lie in [-2, 2) since x has 2 axes", (-3, -2), shape=(8, 8),
        hint="Without `axes`, the axes just before the last (channels) are pooled: name them if x has no channel axis."), X[0, :, :, 0], (2, 2)),
    "an axis twice": wrong(ValueError, message("max_pool", "axes", "be an int or a sequence of ints, all different", (1, 1)), X, (2, 2), axes=(1, 1)),
    "an axis twice by two names": wrong(ValueError, message("max_pool", "axes", "name each axis once", (1, -3), shape=(2, 8, 8, 3)), X, (2, 2), axes=(1, -3)),
    "no axes": wrong(ValueError, message("max_pool", "axes", "name at least one axis", ()), X, 2, axes=()),
    "float axes": wrong(TypeError, message("max_pool", "axes", "be an int or a sequence of ints, all different", 1.0, hint="Write 1."), X, (2, 2), axes=(1.0, 2)),
    "axes and window of different lengths": wrong(ValueError, message("max_pool", "axes", "name one axis for each of the 2 entries of `window_shape`", 1), X, (2, 2), axes=1),
    "window larger than the input": wrong(ValueError, message("max_pool", "window_shape", "fit the padded input: the window of 9 is larger than the 8 + 0 + 0 elements of axis 1", (9, 2),
        shape=(2, 8, 8, 3), hint="Write a smaller window, padding, or `axes` if these are not the axes that you mean."), X, (9, 2)),
    "window larger by its dilation": wrong(ValueError, message("max_pool", "window_shape", "fit the padded input: the window of 4 (10 with dilation 3) is larger than the 8 + 1 + 0 elements of axis 2", (1, 4),
        shape=(2, 8, 8, 3), hint="Write a smaller window, padding, or `axes` if these are not the axes that you mean."), X, (1, 4), None, (0, (1, 0)), dilation=(1, 3)),
    "window larger in ceil mode too": wrong(ValueError, message("max_pool", "window_shape", "fit the padded input: the window of 9 is larger than the 8 + 0 + 0 elements of axis 1", (9, 2),
        shape=(2, 8, 8, 3), hint="Write a smaller window, padding, or `axes` if these are not the axes that you mean."), X, (9, 2), 1, ceil_mode=True),
    "first window in padding": wrong(ValueError, message("max_pool", "padding", "leave every window an element of the input: window 0 of axis 1 lies wholly in padding (2, 0)", ((2, 0), (0, 0)),
        shape=(2, 8, 8, 3), hint="Write less padding."), X, (2, 2), 1, ((2, 0), 0)),
    "last window in padding": wrong(ValueError, message("max_pool", "padding", "leave every window an element of the input: window 8 of axis 2 lies wholly in padding (0, 2)", ((0, 0), (0, 2)),
        shape=(2, 8, 8, 3), hint="Write less padding."), X, (1, 1), 1, (0, (0, 2))),
    "a window around the input by dilation": wrong(ValueError, message("max_pool", "padding", "leave every window an element of the input: window 0 of axis 1 lies wholly in padding (1, 1)", ((1, 1),),
        shape=(1, 2), hint="Write less padding, or a smaller dilation than 3."), X[0, :1, :2, 0], 2, 1, ((1, 1),), dilation=3, axes=1),
    "SAME with dilation": wrong(ValueError, message("max_pool", "padding", "leave every window an element of the input: window 0 of axis 1 lies wholly in padding (1, 1)", "SAME",
        shape=(1, 2), hint="Write less padding, or a smaller dilation than 3."), X[0, :1, :2, 0], 2, 2, "SAME", dilation=3, axes=1),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WINDOW_MISTAKES.values(), ids=WINDOW_MISTAKES)
@pytest.mark.parametrize("name", ["max_pool", "avg_pool", "lp_pool"])
def test_window_arguments(mistake, name):
    error, text, args, kwargs = mistake
    with pytest.raises(error) as caught:
        getattr(jaxpool, name)(*args, **kwargs)
    assert type(caught.value) is error
    assert str(caught.value) == text.replace("max_pool:", f"{name}:")


def test_the_hint_about_low_and_high_padding():
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        jaxpool.max_pool(X, (2,), 1, (1, 0), axes=1)
    assert str(caught.value).endswith(
        "got padding=(1, 0). Write padding=((1, 0),) for low and high padding of the one axis."
    )


def test_empty_axes_are_refused_and_empty_batches_are_not():
    x = np.ones((2, 0, 8, 3), np.float32)
    text = (
        "{}: `x` must have at least one element along each pooled axis; got x.shape=(2, 0, 8, 3) "
        "with pooled axes (1, 2). Only batch axes may be empty."
    )
    for name, args in [("max_pool", ((1, 1),)), ("global_avg_pool", ((1, 2),))]:
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            getattr(jaxpool, name)(x, *args)
        assert str(caught.value) == text.format(name)
    for padding in ("SAME", 1):
        with pytest.raises(ValueError, match="at least one element"):
            jaxpool.max_pool(x, (2, 2), 1, padding)
    assert jaxpool.max_pool(jnp.ones((0, 8, 8, 0)), (2, 2)).shape == (0, 4, 4, 0)


def raises(error, text, function, *args, **kwargs):
    with pytest.raises(error) as caught:
        function(*args, **kwargs)
    assert type(caught.value) is error
    assert str(caught.value) == text


NOT_AN_ARRAY = (
    "max_pool: `x` must be a JAX or NumPy array; got an object of type {}. Write jnp.asarray(x)."
)


@pytest.mark.parametrize("x", [[[1.0, 2.0]], 3.0, None, "x", (1, 2)])
def test_x_of_another_kind(x):
    raises(TypeError, NOT_AN_ARRAY.format(type(x).__name__), jaxpool.max_pool, x, 2, axes=0)


def test_x_of_another_dtype():
    raises(
        TypeError,
        "avg_pool: `x` must be real, since complex numbers have no order and no one mean of their "
        "magnitudes; got x.dtype=complex64. Pool x.real and x.imag.",
        jaxpool.avg_pool, jnp.ones(4, jnp.complex64), 2, axes=0,
    )  # fmt: skip
    with pytest.raises(TypeError, match="must be real"):
        jaxpool.global_lp_pool(np.ones(4, np.complex128), 0)
    for x in (np.array(["a", "b"]), np.array([None, 1]), np.zeros(2, "M8[s]")):
        with pytest.raises(
            TypeError, match=r"max_pool: `x` must hold numbers or bools; got x\.dtype="
        ):
            jaxpool.max_pool(x, 2, axes=0)


@pytest.mark.parametrize("name", ["max_pool", "sum_pool", "lp_pool", "min_pool"])
def test_where(name):
    function = getattr(jaxpool, name)
    raises(
        ValueError,
        f"{name}: `where` must broadcast to x; got where.shape=(2, 8, 8) for x.shape=(2, 8, 8, 3). "
        "A mask without the channel axis wants where[..., None].",
        function, X, (2, 2), where=jnp.ones((2, 8, 8), bool),
    )  # fmt: skip
    for shape in [(1, 2, 8, 8, 3), (2, 8, 8, 2), (0,), (8, 1, 4, 1)]:
        with pytest.raises(ValueError, match="`where` must broadcast to x"):
            function(X, (2, 2), where=jnp.ones(shape, bool))
    for dtype in (jnp.float32, jnp.int32, jnp.uint8):
        raises(
            TypeError,
            f"{name}: `where` must hold bools; got where.dtype={np.dtype(dtype)}. "
            "Write where != 0.",
            function, X, (2, 2), where=jnp.ones(X.shape, dtype),
        )  # fmt: skip
    for where in ([True], "yes", 1.0):
        with pytest.raises(TypeError, match="`where` must be a bool array; got an object of type"):
            function(X, (2, 2), where=where)


def test_where_of_means():
    raises(
        TypeError,
        "avg_pool: `where` must hold bools, or floats as weights; got where.dtype=int32. "
        "Write where != 0.",
        jaxpool.avg_pool, X, (2, 2), where=jnp.ones(X.shape, jnp.int32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("dtype", "value", "error"),
    [
        ("uint8", 300, ValueError), ("uint8", -1, ValueError), ("int32", 0.5, ValueError),
        ("int8", float("nan"), ValueError), ("int32", float("inf"), ValueError),
        ("int32", 2**31, ValueError), ("bool", 2, ValueError), ("bool", 0.5, ValueError),
        ("float32", "0", TypeError), ("float32", None, TypeError), ("float32", [0], TypeError),
        ("float32", True, TypeError), ("int32", False, TypeError),
        ("float32", np.zeros(1, np.float32), TypeError), ("float32", 1j, TypeError),
        ("uint8", np.array(300), ValueError), ("int32", np.array(0.5), ValueError),
        ("uint8", np.int64(300), ValueError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("masked", [True, False], ids=["masked", "plain"])
def test_empty_values_that_the_dtype_does_not_hold(dtype, value, error, masked):
    """Refused whether there is an empty cell or not."""
    x = jnp.ones(4, dtype)
    where = jnp.zeros(4, bool) if masked else None
    text = message(
        "max_pool", "empty_value", f"be a scalar that the result's dtype {dtype} can hold", value
    )
    raises(error, text, jaxpool.max_pool, x, 2, axes=0, where=where, empty_value=value)


@pytest.mark.parametrize("value", [0, 0.0, float("nan"), float("inf"), -0.0, np.float32(0)])
def test_divisor_that_is_no_divisor(value):
    text = message("avg_pool", "divisor_override", "be None or a finite number other than 0", value)
    raises(ValueError, text, jaxpool.avg_pool, X, (2, 2), divisor_override=value)


@pytest.mark.parametrize("value", ["2", True, [2], 2j, jnp.array(2)])
def test_divisor_of_another_kind(value):
    with pytest.raises(TypeError, match="avg_pool: `divisor_override` must be None or a finite"):
        jaxpool.avg_pool(X, (2, 2), divisor_override=value)


@pytest.mark.parametrize("value", [0, 0.0, -1, -0.5, float("nan"), -float("inf"), np.float32(0)])
def test_p_that_is_no_power(value):
    text = message(
        "lp_pool", "p", "be a number > 0 (float('inf') for the maximum of |x|) or a scalar array",
        value,
    )  # fmt: skip
    raises(ValueError, text, jaxpool.lp_pool, X, (2, 2), p=value)
    with pytest.raises(ValueError, match="global_lp_pool: `p` must"):
        jaxpool.global_lp_pool(X, 1, p=value)
    with pytest.raises(ValueError, match="pool: `p` must"):
        jaxpool.pool(X, jaxpool.Global(1), jaxpool.Lp(value))
    with pytest.raises(ValueError, match="lp_pool: `p` must"):
        jaxpool.lp_pool(X, (2, 2), p=jnp.asarray(value))


@pytest.mark.parametrize("value", ["2", True, None, [2], 2j, np.ones(1), np.array(True)])
def test_p_of_another_kind(value):
    with pytest.raises(TypeError, match="lp_pool: `p` must be a number > 0"):
        jaxpool.lp_pool(X, (2, 2), p=value)


def test_flags():
    raises(TypeError, message("avg_pool", "count_include_pad", "be True or False", 0),
           jaxpool.avg_pool, X, (2, 2), count_include_pad=0)  # fmt: skip
    raises(TypeError, message("global_max_pool", "keepdims", "be True or False", 1),
           jaxpool.global_max_pool, X, (1, 2), keepdims=1)  # fmt: skip
    with pytest.raises(TypeError, match="pool: `count_include_pad` must be True or False"):
        jaxpool.pool(X, jaxpool.Global(1), jaxpool.Mean(count_include_pad="no"))


def test_implementation():
    with pytest.raises(ValueError, match="max_pool: `implementation` must be") as caught:
        jaxpool.max_pool(X, (2, 2), implementation="fast")
    assert "'taps'" in str(caught.value)
    assert "got implementation='fast'" in str(caught.value)


GLOBAL_MISTAKES = [
    (ValueError, (4,), "lie in [-4, 4) since x has 4 axes"),
    (ValueError, (1, 1), "be an int or a sequence of ints, all different"),
    (ValueError, (1, -3), "name each axis once"),
    (ValueError, (), "name at least one axis"),
    (TypeError, (1.0,), "be an int or a sequence of ints, all different"),
    (TypeError, None, "be an int or a sequence of ints, all different"),
    (TypeError, "12", "be an int or a sequence of ints, all different"),
    (TypeError, True, "be an int or a sequence of ints, all different"),
]


@pytest.mark.parametrize(("error", "axes", "allowed"), GLOBAL_MISTAKES)
@pytest.mark.parametrize("name", ["global_max_pool", "global_avg_pool", "global_lp_pool"])
def test_global_axes(name, error, axes, allowed):
    with pytest.raises(error) as caught:
        getattr(jaxpool, name)(X, axes)
    assert str(caught.value).startswith(f"{name}: `axes` must {allowed}; got axes=")


def test_global_pools_have_no_default_axes():
    with pytest.raises(TypeError, match="axes"):
        jaxpool.global_max_pool(X)


def test_pool_and_pool_mask():
    raises(TypeError, message("pool", "domain", "be a jaxpool.Domain", jaxpool.Window,
                              hint="Write it with parentheses."),
           jaxpool.pool, X, jaxpool.Window, jaxpool.Max())  # fmt: skip
    raises(TypeError, message("pool", "reduction", "be a jaxpool.Reduction", "max", hint="Write jaxpool.Max()."),
           jaxpool.pool, X, jaxpool.Window((2, 2)), "max")  # fmt: skip
    with pytest.raises(ValueError, match="pool: `window_shape` must fit the padded input"):
        jaxpool.pool(X, jaxpool.Window((9, 9)), jaxpool.Max())
    with pytest.raises(ValueError, match=r"Window: `window_shape` must fit the padded input"):
        jaxpool.Window((9, 9)).output_shape(X.shape)
    with pytest.raises(ValueError, match=r"Window: `strides` must be an int >= 1"):
        jaxpool.Window((9, 9), 0)
    with pytest.raises(ValueError, match='pool_mask: `mode` must be "any" or "all"; got mode='):
        jaxpool.pool_mask(jnp.ones(4, bool), jaxpool.Global(0), "some")
    with pytest.raises(TypeError, match="pool_mask: `mask` must be a bool array; got float32"):
        jaxpool.pool_mask(jnp.ones(4), jaxpool.Global(0))
    with pytest.raises(TypeError, match="pool_mask: `mask` must be a bool array; got list"):
        jaxpool.pool_mask([True], jaxpool.Global(0))


def test_everything_after_padding_is_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        jaxpool.max_pool(X, (2, 2), 1, "SAME", 1)
    with pytest.raises(TypeError, match="positional"):
        jaxpool.Window((2, 2), 1, "SAME", 1)
    with pytest.raises(TypeError, match="positional"):
        jaxpool.global_max_pool(X, 1, True)


def test_mistakes_are_found_inside_transformations():
    for wrap in (jax.jit, jax.vmap, jax.grad, lambda f: lambda x: jax.eval_shape(f, x)):
        with pytest.raises(ValueError, match="max_pool: `window_shape` must fit"):
            wrap(lambda x: jaxpool.max_pool(x, (9, 9)).sum())(X)


CELLS = "be an int >= 1, or {} of them (one per pooled axis), None to keep an axis"
ADAPTIVE_MISTAKES = {
    "no cells": wrong(ValueError, message("adaptive_avg_pool", "output_shape", CELLS.format(2), (0, 3)), X, (0, 3)),
    "negative": wrong(ValueError, message("adaptive_avg_pool", "output_shape", CELLS.format(1), -1), X, -1, axes=1),
    "floats": wrong(TypeError, message("adaptive_avg_pool", "output_shape", CELLS.format(2), 2.0, hint="Write 2."), X, (2.0, 2)),
    "bools": wrong(TypeError, message("adaptive_avg_pool", "output_shape", CELLS.format(1), True), X, True, axes=1),
    "empty": wrong(ValueError, message("adaptive_avg_pool", "output_shape", "have at least one entry", ()), X, ()),
    "an int without axes": wrong(ValueError, message("adaptive_avg_pool", "output_shape", "be a sequence when `axes` is not given, since its "
        "length says how many axes are pooled", 7, hint="Write output_shape=(7, 7) for 2D pooling, or axes=(-2, -1) if channels come first."), X, 7),
    "other axes": wrong(ValueError, message("adaptive_avg_pool", "axes", "name one axis for each of the 2 entries of `output_shape`", 1), X, (2, 2), axes=1),
    "axis beyond x": wrong(ValueError, message("adaptive_avg_pool", "axes", "lie in [-4, 4) since x has 4 axes", (4,), shape=(2, 8, 8, 3),
        hint="Without `axes`, the axes just before the last (channels) are pooled: name them if x has no channel axis."), X, 2, axes=4),
}  # fmt: skip


@pytest.mark.parametrize("mistake", ADAPTIVE_MISTAKES.values(), ids=ADAPTIVE_MISTAKES)
@pytest.mark.parametrize("name", ["adaptive_avg_pool", "adaptive_max_pool_with_argmax"])
def test_output_shapes(mistake, name):
    error, text, args, kwargs = mistake
    text = text.replace("adaptive_avg_pool:", f"{name}:")
    raises(error, text, getattr(jaxpool, name), *args, **kwargs)
    if "Write output_shape" not in text and "lie in" not in text:
        text = text.replace(f"{name}:", "Adaptive:").replace("output_shape", "sizes")
        raises(error, text, jaxpool.Adaptive, *args[1:], **kwargs)


def test_adaptive_axes_that_are_empty():
    with pytest.raises(ValueError, match="adaptive_max_pool: `x` must have at least one element"):
        jaxpool.adaptive_max_pool(jnp.ones((2, 0, 8, 3)), (2, 2))
    assert jaxpool.adaptive_max_pool(jnp.ones((0, 8, 8, 0)), (3, 2)).shape == (0, 3, 2, 0)


def test_bounds_of_intervals():
    bounds = "be ints, or an int array with an axis for the intervals"
    for value in ([1.0], [[1]], ["1"], [True]):
        with pytest.raises(TypeError, match=f"Intervals: `starts` must {bounds}; got starts="):
            jaxpool.Intervals(value, [2], axes=0)
    raises(TypeError, message("Intervals", "stops", bounds, 2), jaxpool.Intervals, [1], 2, axes=0)
    raises(
        TypeError,
        message("Intervals", "starts", "be a sequence with one entry per pooled axis", 1,
                hint="Name the axis by an int, axes=0, for the bounds of one axis alone."),
        jaxpool.Intervals, 1, 2,
    )  # fmt: skip
    text = message("Intervals", "stops", "have one entry for each of the 1 of `starts`", [[1], [2]])
    raises(ValueError, text, jaxpool.Intervals, [[0]], [[1], [2]])
    text = message("Intervals", "axes", "have one entry for each of the 1 of `starts`", (0, 1))
    raises(ValueError, text, jaxpool.Intervals, [[0]], [[1]], axes=(0, 1))
    for start, stop, name in [([0], [9], "stops"), ([-1], [3], "starts"), ([], [], "starts")]:
        domain = jaxpool.Intervals(start, stop, axes=1)
        value = tuple(stop if name == "stops" else start)
        text = message(
            "pool", name, "lie in [0, 8] along axis 1, and be one at least", value, shape=X.shape
        )
        raises(ValueError, text, jaxpool.pool, X, domain, jaxpool.Max())
    domain = jaxpool.Intervals([0, 1], jnp.array([2]), axes=1)
    text = "pool: `starts` and `stops` must be equally many along axis 1; got 2 and 1."
    raises(ValueError, text, jaxpool.pool, X, domain, jaxpool.Max())
    domain = jaxpool.Intervals(jnp.ones((3, 2), int), jnp.array([2]), axes=1)
    with pytest.raises(ValueError, match="pool: `starts` must have one axis, or the rank of x"):
        jaxpool.pool(X, domain, jaxpool.Max())


U = np.full((2, 3, 2), 0.5, np.float32)
FRACTIONAL_MISTAKES = [
    (ValueError, {}, "`output_shape` must be given, or `output_ratio`, and not both"),
    (ValueError, {"output_shape": 4, "output_ratio": 0.5}, "and not both; got output_shape=4"),
    (ValueError, {"output_shape": 0}, "`output_shape` must be an int >= 1, or 2 of them"),
    (ValueError, {"output_ratio": 1.0}, "`output_ratio` must be a number between 0 and 1"),
    (ValueError, {"output_ratio": 0.1}, "`output_ratio` must leave one cell at least"),
    (TypeError, {"output_ratio": 1}, "`output_ratio` must be a number between 0 and 1"),
    (ValueError, {"output_shape": 8},
     "`output_shape` must leave room: 8 windows of 2 at different places do not fit the 8 elements "
     "of axis 1; got output_shape=8 for x.shape=(2, 8, 8, 3)."),
    (ValueError, {"output_shape": 4, "key": None}, "`key` must be given, or `samples`"),
    (ValueError, {"output_shape": 4, "samples": U}, "`key` must be given, or `samples`"),
    (TypeError, {"output_shape": 4, "key": 0}, "`key` must be a key of jax.random; got key=0."),
    (TypeError, {"output_shape": 4, "key": np.ones(2, np.float32)}, "`key` must be a key of jax"),
    (ValueError, {"output_shape": 4, "key": np.zeros((3, 2), np.uint32)},
     "`key` must be a single key; got key.shape=(3, 2)."),
    (ValueError, {"output_shape": 4, "key": np.zeros(3, np.uint32)},
     "`key` must be a single key; got key.shape=(3,)."),
    (TypeError, {"output_shape": 4, "key": 0, "deterministic": True}, "`key` must be a key of jax"),
    (ValueError, {"output_shape": 4, "key": None, "samples": U, "deterministic": True},
     "`samples` must be None if `deterministic`"),
    (ValueError, {"output_shape": 4, "scheme": "tensorflow"},
     '`window_shape` must be None for the scheme "tensorflow"'),
    (ValueError, {"output_shape": 4, "window_shape": 0, "axes": (1, 2)},
     "`window_shape` must be an int >= 1"),
    (ValueError, {"output_shape": 4, "key": None, "samples": U + 0.5},
     "`samples` must lie in [0, 1); got numbers from 1.0 to 1.0."),
    (ValueError, {"output_shape": 4, "key": None, "samples": U[0]},
     "`samples` must have shape (2, 3, 2), x's shape without the pooled axes"),
    (TypeError, {"output_shape": 4, "key": None, "samples": 0.5}, "`samples` must be an array of"),
    (ValueError, {"output_shape": 4, "scheme": "paddle"}, "`scheme` must be one of"),
    (ValueError, {"output_shape": 4, "overlapping": True}, "`overlapping` must be False for the"),
    (ValueError, {"output_shape": 4, "window_shape": None, "axes": (1, 2)},
     'must be given for the scheme "torch"'),
    (ValueError, {"output_shape": 4, "window_shape": None}, "`axes` must be given when no other"),
    (ValueError, {"boundaries": [[0, 8], [0, 8]]}, "`window_shape` must be None when `boundaries`"),
    (ValueError, {"boundaries": [[0, 9], [0, 8]], "window_shape": None, "key": None},
     "`boundaries` must rise from 0 to 8 at most"),
    (TypeError, {"boundaries": [[0, 2.5], [0, 8]], "window_shape": None, "key": None},
     "`boundaries` must have for each pooled axis the ints"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "options", "text"), FRACTIONAL_MISTAKES)
def test_fractional_arguments(error, options, text):
    options = {"window_shape": (2, 2), "key": jax.random.key(0), **options}
    with pytest.raises(error) as caught:
        jaxpool.fractional_max_pool(X, **options)
    assert type(caught.value) is error
    assert str(caught.value).startswith("fractional_max_pool: `")
    assert text in str(caught.value)


def test_pyramids_strips_and_matrices():
    text = message(
        "spatial_pyramid_pool", "levels", "be a sequence with an entry for each level", 3
    )
    raises(ValueError, text, jaxpool.spatial_pyramid_pool, X, 3)
    text = message("pyramid_pool", "levels", CELLS.format(2), 0)
    raises(ValueError, text, jaxpool.pyramid_pool, X, (1, 0))
    text = message("sppf", "axes", "leave an axis for the channels", (0, 1), shape=(8, 8))
    raises(ValueError, text, jaxpool.sppf, X[0, :, :, 0], 5, axes=(0, 1))
    raises(TypeError, message("strip_pool", "axis", "be an int", (1,)), jaxpool.strip_pool, X, (1,))
    text = message("regional_max_pool", "axes", "name the two axes of the image", (1,))
    raises(ValueError, text, jaxpool.regional_max_pool, X, axes=(1,))
    m = jnp.ones((2, 8))
    for error, args, words in [
        (ValueError, (m, (1, 2)), "must be a sequence with one matrix for each of the 2 entries"),
        (ValueError, (m.T, 1), "must have shape (outputs, 8) for axis 1; got (8, 2)"),
        (TypeError, (m.astype(int), 1), "must be arrays of floats; got int32"),
        (ValueError, (m, 1, "min"), "`semiring` must be one of ('sum', 'max')"),
    ]:
        with pytest.raises(error) as caught:
            jaxpool.matrix_pool(X, *args)
        assert str(caught.value).startswith("matrix_pool: `")
        assert words in str(caught.value)


SAME_WITHOUT_ASSERTIONS = """
    import sys, chex, jax.numpy as jnp, jaxpool
    assert_works = False
    try:
        assert False
    except AssertionError:
        assert_works = True
    x = jnp.ones((2, 8, 8, 3))
    calls = [
        lambda: jaxpool.max_pool(x, (9, 9)),
        lambda: jaxpool.max_pool(x, (2, 2), 0),
        lambda: jaxpool.max_pool(x, (2, 2), 1, -1),
        lambda: jaxpool.avg_pool(x, (2, 2), divisor_override=0),
        lambda: jaxpool.lp_pool(x, (2, 2), p=0),
        lambda: jaxpool.max_pool(x, (2, 2), axes=(1, 9)),
        lambda: jaxpool.max_pool(x, (2, 2), where=jnp.ones((2, 8, 8), bool)),
        lambda: jaxpool.global_max_pool(x, (1, 1)),
        lambda: jaxpool.max_pool(x[:, :0], (1, 1)),
        lambda: jaxpool.max_pool([1.0], 1, axes=0),
        lambda: jaxpool.Window(2, dilation=0, axes=0),
    ]

    def report():
        for call in calls:
            try:
                call()
            except (ValueError, TypeError) as error:
                print(type(error).__name__, error)
            else:
                print("nothing raised")
        print(float(jaxpool.max_pool(x, (2, 2)).sum()))

    report()
    chex.disable_asserts()
    print("without chex")
    report()
    print(assert_works, file=sys.stderr)
"""


def test_the_same_without_assertions():
    def run(flags):
        code = textwrap.dedent(SAME_WITHOUT_ASSERTIONS)
        return subprocess.run(
            [sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True,
            env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip

    normal = run([])
    with_chex, without_chex = normal.stdout.strip().split("without chex\n")
    assert with_chex.count("Error") == 11
    assert "nothing raised" not in with_chex
    assert with_chex.endswith("96.0\n")
    assert without_chex.strip() == with_chex.strip()
    assert normal.stderr.strip().endswith("True")
    optimised = run(["-O"])
    assert optimised.stderr.strip().endswith("False")
    assert optimised.stdout == normal.stdout
