"""What callers are told about their mistakes: the kind of exception and the whole message."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

X = jnp.zeros((2, 8, 8, 3))
V = jnp.zeros(7)

# (call, exception, message)
MISTAKES = [
    (
        lambda: jaxpool.max_pool(X, 2),
        ValueError,
        "max_pool: `window_shape` must be a sequence when `axes` is not given, since its length "
        "says how many axes are pooled; got window_shape=2. Write window_shape=(2, 2) for 2D "
        "pooling.",
    ),
    (
        lambda: jaxpool.max_pool(X, (2, 2), (2, 2, 2)),
        ValueError,
        "max_pool: `strides` must be an int >= 1, or 2 of them (one per window axis); got "
        "strides=(2, 2, 2).",
    ),
    (
        lambda: jaxpool.avg_pool(X, (2, 2), 0),
        ValueError,
        "avg_pool: `strides` must be an int >= 1, or 2 of them (one per window axis); got "
        "strides=0.",
    ),
    (
        lambda: jaxpool.avg_pool(X, (2, 2), dilation=0),
        ValueError,
        "avg_pool: `dilation` must be an int >= 1, or 2 of them (one per window axis); got "
        "dilation=0.",
    ),
    (
        lambda: jaxpool.avg_pool(X, (2, 0)),
        ValueError,
        "avg_pool: `window_shape` must be an int >= 1, or 2 of them (one per window axis); got "
        "window_shape=(2, 0).",
    ),
    (
        lambda: jaxpool.avg_pool(X, (2.0, 2)),
        TypeError,
        "avg_pool: `window_shape` must be an int >= 1, or 2 of them (one per window axis); got "
        "window_shape=2.0.",
    ),
    (
        lambda: jaxpool.avg_pool(X, (2, 2), True),
        TypeError,
        "avg_pool: `strides` must be an int >= 1, or 2 of them (one per window axis); got "
        "strides=True.",
    ),
    (
        lambda: jaxpool.avg_pool(X, ()),
        ValueError,
        "avg_pool: `window_shape` must have at least one entry; got window_shape=().",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), padding="FULL"),
        ValueError,
        'sum_pool: `padding` must be "VALID", "SAME", "SAME_LOWER", an int >= 0, 2 of them, or 2 '
        "(low, high) pairs (one per window axis); got padding='FULL'.",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), padding=-1),
        ValueError,
        'sum_pool: `padding` must be "VALID", "SAME", "SAME_LOWER", an int >= 0, 2 of them, or 2 '
        "(low, high) pairs (one per window axis); got padding=-1.",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), padding=((-1, 0), (0, 0))),
        ValueError,
        'sum_pool: `padding` must be "VALID", "SAME", "SAME_LOWER", an int >= 0, 2 of them, or 2 '
        "(low, high) pairs (one per window axis); got padding=((-1, 0), (0, 0)).",
    ),
    (
        lambda: jaxpool.sum_pool(V, 2, padding=(1, 0), axes=0),
        ValueError,
        'sum_pool: `padding` must be "VALID", "SAME", "SAME_LOWER", an int >= 0, 1 of them, or 1 '
        "(low, high) pairs (one per window axis); got padding=(1, 0). Write padding=((1, 0),) for "
        "low and high padding of the one axis.",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), ceil_mode=1),
        TypeError,
        "sum_pool: `ceil_mode` must be True or False; got ceil_mode=1.",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), axes=(1, 2, 3)),
        ValueError,
        "sum_pool: `axes` must name one axis for each of the 2 entries of `window_shape`; got "
        "axes=(1, 2, 3).",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), axes=(1, 1)),
        ValueError,
        "sum_pool: `axes` must be an int or a sequence of ints, all different; got axes=(1, 1).",
    ),
    (
        lambda: jaxpool.sum_pool(X, (2, 2), axes=(1, -3)),
        ValueError,
        "sum_pool: `axes` must name each axis once; got axes=(1, -3) for x.shape=(2, 8, 8, 3).",
    ),
    (
        lambda: jaxpool.max_pool(V, (2, 2)),
        ValueError,
        "max_pool: `axes` must lie in [-1, 1) since x has 1 axes; got axes=(-3, -2) for "
        "x.shape=(7,). Without `axes`, the axes just before the last (channels) are pooled: name "
        "them if x has no channel axis.",
    ),
    (
        lambda: jaxpool.max_pool(X, (9, 2)),
        ValueError,
        "max_pool: `window_shape` must fit the padded input: the window of 9 is larger than the "
        "8 + 0 + 0 elements of axis 1; got window_shape=(9, 2) for x.shape=(2, 8, 8, 3). Write a "
        "smaller window, padding, or `axes` if these are not the axes that you mean.",
    ),
    (
        lambda: jaxpool.max_pool(V, 4, dilation=3, padding=1, axes=0),
        ValueError,
        "max_pool: `window_shape` must fit the padded input: the window of 4 (10 with dilation 3) "
        "is larger than the 7 + 1 + 1 elements of axis 0; got window_shape=(4,) for x.shape=(7,). "
        "Write a smaller window, padding, or `axes` if these are not the axes that you mean.",
    ),
    (
        lambda: jaxpool.max_pool(V, 2, padding=2, axes=0),
        ValueError,
        "max_pool: `padding` must leave every window an element of the input: window 0 of axis 0 "
        "lies wholly in padding (2, 2); got padding=((2, 2),) for x.shape=(7,). Write less "
        "padding.",
    ),
    (
        lambda: jaxpool.avg_pool(jnp.zeros(2), 2, 1, "SAME", dilation=3, axes=0),
        ValueError,
        "avg_pool: `padding` must leave every window an element of the input: window 0 of axis 0 "
        "lies wholly in padding (1, 2); got padding='SAME' for x.shape=(2,). Write less padding, "
        "or a smaller dilation than 3.",
    ),
    (
        lambda: jaxpool.max_pool(jnp.zeros((2, 0, 8, 3)), (2, 2), padding=1),
        ValueError,
        "max_pool: `x` must have at least one element along each pooled axis; got "
        "x.shape=(2, 0, 8, 3) with pooled axes (1, 2). Only batch axes may be empty.",
    ),
    (
        lambda: jaxpool.global_avg_pool(jnp.zeros((2, 0)), 1),
        ValueError,
        "global_avg_pool: `x` must have at least one element along each pooled axis; got "
        "x.shape=(2, 0) with pooled axes (1,). Only batch axes may be empty.",
    ),
    (
        lambda: jaxpool.global_max_pool(X, ()),
        ValueError,
        "global_max_pool: `axes` must name at least one axis; got axes=().",
    ),
    (
        lambda: jaxpool.global_max_pool(X, "hw"),
        TypeError,
        "global_max_pool: `axes` must be an int or a sequence of ints, all different; got "
        "axes='hw'.",
    ),
    (
        lambda: jaxpool.global_max_pool(X, 1, keepdims=0),
        TypeError,
        "global_max_pool: `keepdims` must be True or False; got keepdims=0.",
    ),
    (
        lambda: jaxpool.max_pool([1.0, 2.0], 2, axes=0),
        TypeError,
        "max_pool: `x` must be a JAX or NumPy array; got an object of type list. Write "
        "jnp.asarray(x).",
    ),
    (
        lambda: jaxpool.max_pool(V.astype(np.complex64), 2, axes=0),
        TypeError,
        "max_pool: `x` must be real, since complex numbers have no order and no one mean of "
        "their magnitudes; got x.dtype=complex64. Pool x.real and x.imag.",
    ),
    (
        lambda: jaxpool.max_pool(np.array(["a", "b"]), 2, axes=0),
        TypeError,
        "max_pool: `x` must hold numbers or bools; got x.dtype=<U1.",
    ),
    (
        lambda: jaxpool.max_pool(V, 2, axes=0, where=np.ones(7)),
        TypeError,
        "max_pool: `where` must hold bools; got where.dtype=float32. Write where != 0.",
    ),
    (
        lambda: jaxpool.avg_pool(V, 2, axes=0, where=np.ones(7, np.int32)),
        TypeError,
        "avg_pool: `where` must hold bools, or floats as weights; got where.dtype=int32. Write "
        "where != 0.",
    ),
    (
        lambda: jaxpool.max_pool(X, (2, 2), where=np.ones((2, 8, 8), bool)),
        ValueError,
        "max_pool: `where` must broadcast to x; got where.shape=(2, 8, 8) for "
        "x.shape=(2, 8, 8, 3). A mask without the channel axis wants where[..., None].",
    ),
    (
        lambda: jaxpool.max_pool(V, 2, axes=0, where=[True] * 7),
        TypeError,
        "max_pool: `where` must be a bool array; got an object of type list. Write "
        "jnp.asarray(where).",
    ),
    (
        lambda: jaxpool.avg_pool(V, 2, axes=0, divisor_override=0),
        ValueError,
        "avg_pool: `divisor_override` must be None or a finite number other than 0; got "
        "divisor_override=0.",
    ),
    (
        lambda: jaxpool.avg_pool(V, 2, axes=0, divisor_override="2"),
        TypeError,
        "avg_pool: `divisor_override` must be None or a finite number other than 0; got "
        "divisor_override='2'.",
    ),
    (
        lambda: jaxpool.avg_pool(V, 2, axes=0, count_include_pad=None),
        TypeError,
        "avg_pool: `count_include_pad` must be True or False; got count_include_pad=None.",
    ),
    (
        lambda: jaxpool.lp_pool(V, 2, axes=0, p=0),
        ValueError,
        "lp_pool: `p` must be a number > 0 (float('inf') for the maximum of |x|) or a scalar "
        "array; got p=0.",
    ),
    (
        lambda: jaxpool.lp_pool(V, 2, axes=0, p=float("nan")),
        ValueError,
        "lp_pool: `p` must be a number > 0 (float('inf') for the maximum of |x|) or a scalar "
        "array; got p=nan.",
    ),
    (
        lambda: jaxpool.global_lp_pool(V, 0, p="2"),
        TypeError,
        "global_lp_pool: `p` must be a number > 0 (float('inf') for the maximum of |x|) or a "
        "scalar array; got p='2'.",
    ),
    (
        lambda: jaxpool.max_pool(V.astype(np.int8), 2, axes=0, empty_value=-np.inf),
        ValueError,
        "max_pool: `empty_value` must be a scalar that the result's dtype int8 can hold; got "
        "empty_value=-inf.",
    ),
    (
        lambda: jaxpool.max_pool(V, 2, axes=0, empty_value="0"),
        TypeError,
        "max_pool: `empty_value` must be a scalar that the result's dtype float32 can hold; got "
        "empty_value='0'.",
    ),
    (
        lambda: jaxpool.max_pool(V, 2, axes=0, implementation="fast"),
        ValueError,
        "max_pool: `implementation` must be one of (None, 'taps', 'axes', 'reduce_window'); got "
        "implementation='fast'.",
    ),
    (
        lambda: jaxpool.pool(V, jaxpool.Window, jaxpool.Max()),
        TypeError,
        "pool: `domain` must be a jaxpool.Domain; got domain=<class 'jaxpool._window.Window'>. "
        "Write it with parentheses.",
    ),
    (
        lambda: jaxpool.pool(V, jaxpool.Global(0), max),
        TypeError,
        "pool: `reduction` must be a jaxpool.Reduction; got reduction=<built-in function max>.",
    ),
    (
        lambda: jaxpool.pool_mask(V, jaxpool.Global(0)),
        TypeError,
        "pool_mask: `mask` must be a bool array; got float32. Write mask != 0.",
    ),
    (
        lambda: jaxpool.pool_mask(V != 0, jaxpool.Global(0), "some"),
        ValueError,
        'pool_mask: `mode` must be "any" or "all"; got mode=\'some\'.',
    ),
    (
        lambda: jaxpool.Window((3, 3)).output_shape((2, 2, 2, 1)),
        ValueError,
        "Window: `window_shape` must fit the padded input: the window of 3 is larger than the "
        "2 + 0 + 0 elements of axis 1; got window_shape=(3, 3) for x.shape=(2, 2, 2, 1). Write a "
        "smaller window, padding, or `axes` if these are not the axes that you mean.",
    ),
    (
        lambda: jaxpool.Monoid(combine=None, identity=0),
        TypeError,
        "Monoid: `combine` must be a function; got combine=None.",
    ),
    (
        lambda: jaxpool.pool(V, jaxpool.Global(0), jaxpool.Monoid(lambda a, b: a, identity=(0, 0))),
        ValueError,
        "Monoid: `identity` must have the tree structure of what `lift` returns, PyTreeDef(*); "
        "got PyTreeDef((*, *)).",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_message(call, error, message):
    with pytest.raises(error) as found:
        call()
    assert str(found.value) == message


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES[:20])
def test_message_is_the_same_under_jit(call, error, message):
    with pytest.raises(error) as found:
        jax.jit(call)()
    assert str(found.value) == message


@pytest.mark.parametrize("flags", [[], ["-O"]])
def test_checks_are_always_on(flags):
    """Also under ``python -O``, which drops asserts, and with chex switched off."""
    program = (
        "import chex, jax.numpy as jnp, jaxpool\n"
        "chex.disable_asserts()\n"
        "x = jnp.zeros((2, 8, 8, 3))\n"
        "for window, strides, padding in [((9, 9), 1, 0), ((2, 2), 0, 0), ((2, 2), 1, -1)]:\n"
        "    try:\n"
        "        jaxpool.max_pool(x, window, strides, padding)\n"
        "    except ValueError as error:\n"
        "        print(str(error)[:8])\n"
        "print(jaxpool.max_pool(x, (2, 2)).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, *flags, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:-1] == ["max_pool"] * 3 + ["(2, 4, 4, 3)"]


def test_the_librarys_own_promise_is_an_assertion():
    """A domain that breaks its promise about shapes is the library's fault, not the caller's."""

    class Liar(jaxpool.Global):
        def output_shape(self, shape):
            return (*super().output_shape(shape), 1)

    with pytest.raises(AssertionError):
        jaxpool.pool(V, Liar(0), jaxpool.Max())
