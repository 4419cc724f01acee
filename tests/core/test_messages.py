"""What is said to those who write what other libraries take: one table of mistakes, and what to write."""

import inspect
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
import jaxpool.linen
import jaxpool.nnx

TESTS_OF = ("core/names.py", "core/arguments.py", "core/pool.py", "reductions/monoid.py",
            "layers/fields.py", "layers/checks.py", "nnx.py", "linen.py")  # fmt: skip

X = np.ones((2, 8, 8, 3), np.float32)
MASK = np.ones((2, 8, 8, 1), bool)
WINDOW = jaxpool.Window((2, 2))
add = jnp.add


def traced(function):
    """A call whose number is an argument of a program."""
    return lambda: jax.eval_shape(function, jnp.asarray(2))


def monoid(**options):
    return lambda: jaxpool.pool(
        X, WINDOW, jaxpool.Monoid(**{"combine": add, "identity": 0.0, **options})
    )


def own(name):
    """The names of arguments that a function has, as messages list them."""
    return ", ".join(inspect.signature(getattr(jaxpool, name)).parameters)


ADVICE_2D = "Write window_shape=(3, 3), or window_shape=3 with axes=(-2, -1) for NCHW."
PADDINGS = ('must be "VALID", "SAME", "SAME_LOWER", an int >= 0, 2 of them, or 2 (low, high) pairs '
            "(one per window axis)")  # fmt: skip
STRIDES = "must be an int >= 1, or 2 of them (one per window axis)"
KNOWN = "must be known while the program is made, since shapes depend on it"
EACH = "must return arrays of the shape of what it is given, {}, since it is for each element"
MASKED = "Write where=..., which is True where an element takes part."

# What is called, how the message begins, and what it says to write.
MISTAKES = {
    "kernel_size": (lambda: jaxpool.max_pool(X, kernel_size=3),
        f"max_pool: `kernel_size` must be one of its arguments ({own('max_pool')}); got kernel_size=3.", ADVICE_2D),
    "two names": (lambda: jaxpool.avg_pool(X, kernel_size=(3, 3), stride=2), "avg_pool: `kernel_size` must be one", "Write window_shape=(3, 3). Write strides=2."),
    "stride": (lambda: jaxpool.max_pool(X, (2, 2), stride=1), "max_pool: `stride` must be one", "got stride=1. Write strides=1."),
    "pool_size": (lambda: jaxpool.lp_pool(X, pool_size=(2, 2)), "lp_pool: `pool_size` must be one", "Write window_shape=(2, 2)."),
    "dim": (lambda: jaxpool.global_avg_pool(X, dim=(1, 2)),
        "global_avg_pool: `dim` must be one of its arguments (x, axes, keepdims, where, empty_value); got dim=(1, 2).", "Write axes=(1, 2)."),
    "axis": (lambda: jaxpool.global_max_pool(X, axis=1), "global_max_pool: `axis` must be one", "Write axes=1."),
    "axes of one": (lambda: jaxpool.prefix_max_pool(X, axes=1), "prefix_max_pool: `axes` must be one", "Write axis=1."),
    "keepdim": (lambda: jaxpool.global_avg_pool(X, 1, keepdim=True), "global_avg_pool: `keepdim` must be one", "Write keepdims=True."),
    "mask": (lambda: jaxpool.global_avg_pool(X, 1, mask=MASK), "global_avg_pool: `mask` must be one", f"got an array as mask. {MASKED}"),
    "data_format": (lambda: jaxpool.max_pool(X, (2, 2), data_format="NCHW"), "max_pool: `data_format` must be one",
        "Write axes=(-2, -1) if channels come first, and nothing if they come last."),
    "return_indices": (lambda: jaxpool.max_pool(X, (2, 2), return_indices=True), "max_pool: `return_indices` must be one", "Write jaxpool.max_pool_with_argmax."),
    "no indices": (lambda: jaxpool.avg_pool(X, (2, 2), return_indices=True), "avg_pool: `return_indices` must be one", "got return_indices=True."),
    "a window of all": (lambda: jaxpool.global_avg_pool(X, kernel_size=2), "global_avg_pool: `kernel_size` must be one", "Write jaxpool.avg_pool for windows."),
    "output_size": (lambda: jaxpool.adaptive_avg_pool(X, output_size=(1, 1)), "adaptive_avg_pool: `output_size` must be one", "Write output_shape=(1, 1)."),
    "a slip": (lambda: jaxpool.max_pool(X, (2, 2), paddings=1), "max_pool: `paddings` must be one", "Write padding=..."),
    "of a domain": (lambda: jaxpool.Window(kernel_size=3), "Window: `kernel_size` must be one of its arguments (window_shape, ", ADVICE_2D),
    "of an NNX layer": (lambda: jaxpool.nnx.MaxPool(kernel_size=3, stride=2), "MaxPool: `kernel_size` must be one of its arguments (window_shape, ",
        f"{ADVICE_2D} Write strides=2."),
    "of a Linen layer": (lambda: jaxpool.linen.MaxPool(kernel_size=3), "MaxPool: `kernel_size` must be one of its arguments (window_shape, ", ADVICE_2D),
    "indices of a layer": (lambda: jaxpool.linen.MaxPool((2, 2), return_indices=True), "MaxPool: `return_indices` must be one", "Write MaxPoolWithArgmax."),
    "mask of a layer": (lambda: jaxpool.nnx.AvgPool((2, 2), mask=MASK), "AvgPool: `mask` must be one",
        "Write layer(x, where=...): what a layer is called with is no field of it."),
    "mask of its call": (lambda: jaxpool.nnx.GlobalAvgPool(1)(X, mask=MASK), "GlobalAvgPool: `mask` must be one of its arguments (x, where)", MASKED),
    "windows of all in a layer": (lambda: jaxpool.nnx.GlobalAvgPool(pool_size=2), "GlobalAvgPool: `pool_size` must be one", "Write AvgPool for windows."),
    "jaxpool.MaxPool": (lambda: jaxpool.MaxPool, "module 'jaxpool' has no attribute 'MaxPool'.",
        "Write jaxpool.nnx.MaxPool or jaxpool.linen.MaxPool, layers, or jaxpool.max_pool."),
    "jaxpool.MaxPool2d": (lambda: jaxpool.MaxPool2d, "module 'jaxpool' has no attribute 'MaxPool2d'.", "or jaxpool.max_pool."),
    "jaxpool.GlobalAveragePooling2D": (lambda: jaxpool.GlobalAveragePooling2D, "module 'jaxpool' has no", "Write jaxpool.nnx.GlobalAvgPool or "
        "jaxpool.linen.GlobalAvgPool, layers, or jaxpool.global_avg_pool."),
    "jaxpool.max_pool2d": (lambda: jaxpool.max_pool2d, "module 'jaxpool' has no attribute 'max_pool2d'.", "Write jaxpool.max_pool."),
    "jaxpool.adaptive_avg_pool3d": (lambda: jaxpool.adaptive_avg_pool3d, "module 'jaxpool' has no", "Write jaxpool.adaptive_avg_pool."),
    "jaxpool.mean_pool": (lambda: jaxpool.mean_pool, "module 'jaxpool' has no attribute 'mean_pool'.", "Write jaxpool.avg_pool."),
    "jaxpool.masked_mean": (lambda: jaxpool.masked_mean, "module 'jaxpool' has no", "Write jaxpool.global_avg_pool(x, axes, where=mask)."),
    "jaxpool.roi_pool": (lambda: jaxpool.roi_pool, "module 'jaxpool' has no", "Write jaxpool.roi_max_pool."),
    "a slip of a name": (lambda: jaxpool.max_poool, "module 'jaxpool' has no", "Write jaxpool.max_pool."),
    "of nowhere": (lambda: jaxpool.something, "module 'jaxpool' has no attribute 'something'.", "has no attribute 'something'."),
    "nnx.MaxPool2d": (lambda: jaxpool.nnx.MaxPool2d, "module 'jaxpool.nnx' has no attribute 'MaxPool2d'.", "Write jaxpool.nnx.MaxPool."),
    "linen.max_pool": (lambda: jaxpool.linen.max_pool, "module 'jaxpool.linen' has no attribute 'max_pool'.", "Write jaxpool.linen.MaxPool."),
    "a traced window": (traced(lambda k: jaxpool.max_pool(X, (k, k))), f"max_pool: `window_shape` {KNOWN}; got window_shape=",
        "Name it in static_argnames of jax.jit, as static_argnames='window_shape', if it is an argument of your own function."),
    "traced strides": (traced(lambda k: jaxpool.max_pool(X, (2, 2), k)), f"max_pool: `strides` {KNOWN}; got strides=", "your own function."),
    "traced cells": (traced(lambda k: jaxpool.adaptive_avg_pool(X, (k, k))), f"adaptive_avg_pool: `output_shape` {KNOWN}", "your own function."),
    "a window that is an array": (lambda: jaxpool.max_pool(X, jnp.array([2, 2])), f"max_pool: `window_shape` {KNOWN}; got window_shape=Array([2, 2]",
        "Write int(...), or a tuple of ints."),
    "a window of floats": (lambda: jaxpool.max_pool(X, np.array([2.0, 2.0])), f"max_pool: `window_shape` {STRIDES}; got", "got window_shape=2.0. Write 2."),
    "a float": (lambda: jaxpool.max_pool(X, 2.5, axes=1), "max_pool: `window_shape` must be an int", "got window_shape=2.5."),
    "SAME strides": (lambda: jaxpool.max_pool(X, (2, 2), "same"), f"max_pool: `strides` {STRIDES}; got strides='same'.", 'Write padding="SAME".'),
    "same and a blank": (lambda: jaxpool.max_pool(X, (2, 2), 1, "same "), f"max_pool: `padding` {PADDINGS}; got padding='same '.", 'Write padding="SAME".'),
    "SAME_UPPER": (lambda: jaxpool.max_pool(X, (2, 2), 1, "SAME_UPPER"), "max_pool: `padding` must be", 'Write padding="SAME".'),
    "a window of all axes": (lambda: jaxpool.max_pool(X, (1, 2, 2, 1)), "max_pool: `window_shape` must have at most 3 entries",
        "Write window_shape=(2, 2): batch and channels have no entry."),
    "strides of all axes": (lambda: jaxpool.max_pool(X, (2, 2), (1, 2, 2, 1)), f"max_pool: `strides` {STRIDES}; got strides=(1, 2, 2, 1).",
        "Write strides=(2, 2): batch and channels have no entry."),
    "an int window": (lambda: jaxpool.max_pool(X, 2), "max_pool: `window_shape` must be a sequence when `axes` is not given",
        "Write window_shape=(2, 2) for 2D pooling, or axes=(-2, -1) if channels come first."),
    "a class for a layer": (lambda: jaxpool.nnx.MaxPool(X), "MaxPool: `window_shape` must be ints; got an array of shape (2, 8, 8, 3).",
        "A layer is made, and then called: write MaxPool(window_shape=...)(x)."),
    "a class for a Linen layer": (lambda: jaxpool.linen.GlobalAvgPool(jnp.asarray(X)), "GlobalAvgPool: `axes` must be ints; got an array",
        "write GlobalAvgPool(axes=...)(x)."),
    "a class for a reduction": (lambda: jaxpool.pool(X, WINDOW, jaxpool.Max), "pool: `reduction` must be a jaxpool.Reduction", "Write it with parentheses."),
    "text for a reduction": (lambda: jaxpool.pool(X, WINDOW, "average"), "pool: `reduction` must be a jaxpool.Reduction; got reduction='average'.",
        "Write jaxpool.Mean()."),
    "a function for a reduction": (lambda: jaxpool.pool(X, WINDOW, jnp.max), "pool: `reduction` must be a jaxpool.Reduction", "Write jaxpool.Max()."),
    "one's own for a reduction": (lambda: jaxpool.pool(X, WINDOW, lambda x: x), "pool: `reduction` must be a jaxpool.Reduction",
        "An operation of your own is a jaxpool.Monoid."),
    "a finish of another shape": (monoid(finish=jnp.sum), f"pool: `finish` {EACH.format((2, 4, 4, 3))}", "got one of shape ()."),
    "a finish of two": (monoid(finish=lambda y: (y, y)), "pool: `finish` must return an array", "got an object of type tuple."),
    "a lift of another shape": (monoid(lift=lambda x: x.sum(-1)), f"pool: `lift` {EACH.format((2, 8, 8, 3))}", "got one of shape (2, 8, 8)."),
    "an operation of another shape": (monoid(combine=lambda a, b: (a + b).sum()), "pool: `combine` must return arrays of the shape", "got one of shape ()."),
    "an operation of another tree": (monoid(combine=lambda a, b: (a, b)), "pool: `combine` must return a carrier like those it is given",
        "got PyTreeDef((*, *))."),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_each_says_what_to_write(mistake):
    call, begin, end = mistake
    with pytest.raises((TypeError, ValueError, AttributeError)) as caught:
        call()
    assert not isinstance(caught.value, AssertionError)
    assert str(caught.value).startswith(begin)
    assert str(caught.value).endswith(end)


class Pair(jaxpool.Reduction):
    """Returns no array."""

    def __call__(self, x, domain, where):
        return domain.sum(x, where), 1


def test_a_reduction_of_ones_own_that_returns_no_array():
    with pytest.raises(
        TypeError, match=r"^pool: Pair must return an array; got an object of type tuple\."
    ):
        jaxpool.pool(X, WINDOW, Pair())


PUBLIC = [v for n, v in vars(jaxpool).items() if not n.startswith("_") and getattr(v, "__module__", "").startswith("jaxpool.")]  # fmt: skip


def test_names_leave_functions_and_classes_as_they_are():
    """Signatures, sources, globals, by which doctest knows a module's own, and pickles."""
    for value in PUBLIC:
        if value in (jaxpool.Domain, jaxpool.Reduction):
            continue
        made = value.__init__ if inspect.isclass(value) else value
        assert hasattr(made, "__wrapped__"), value
        assert inspect.signature(made) == inspect.signature(made.__wrapped__)
        if inspect.isfunction(value):
            assert pickle.loads(pickle.dumps(value)) is value
            assert value.__globals__ is made.__wrapped__.__globals__
    assert "def max_pool(" in inspect.getsource(jaxpool.max_pool)
    assert not hasattr(jaxpool, "__path_of_nothing__")


def test_other_mistakes_of_calls_are_pythons():
    with pytest.raises(TypeError, match=r"^max_pool\(\) missing 1 required positional argument"):
        jaxpool.max_pool(X)
    with pytest.raises(TypeError, match=r"takes from 2 to 4 positional arguments"):
        jaxpool.max_pool(X, (2, 2), 1, "SAME", 1)
