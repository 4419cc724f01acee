"""Groups of channels."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests.cases import SOFT_SUM, distinct

TESTS_OF = ("pools/channels.py", "domains/groups.py", "domains/window.py")

REDUCTIONS = [
    (jaxpool.Max(), lambda v, w: v[w].max()),
    (jaxpool.Min(), lambda v, w: v[w].min()),
    (jaxpool.Sum(), lambda v, w: v[w].sum()),
    (jaxpool.Mean(), lambda v, w: v[w].mean()),
    (jaxpool.Lp(3), lambda v, w: (np.abs(v[w]) ** 3).sum() ** (1 / 3)),
    (SOFT_SUM, lambda v, w: np.log(np.exp(v[w]).sum())),
]


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize(("reduction", "by_numpy"), REDUCTIONS, ids=lambda r: type(r).__name__)
def test_every_service(reduction, by_numpy, masked, axis):
    """Of all reductions, the values and gradients of each group alone."""
    x = distinct((2, 6, 3, 8))
    size = 2
    where = np.random.default_rng(0).random(x.shape) < 0.6 if masked else np.ones(x.shape, bool)
    given = where if masked else None

    # As of the whole axis of each group.
    split = [*x.shape]
    split[axis % 4 : axis % 4 + 1] = [x.shape[axis] // size, size]
    alone = jaxpool.Global(axis % 4 + 1)

    def whole(x):
        mask = None if given is None else given.reshape(split)
        return jaxpool.pool(x.reshape(split), alone, reduction, where=mask, empty_value=7)

    @jax.jit
    def f(x):
        y, vjp = jax.vjp(lambda x: jaxpool.channel_pool(
            x, size, reduction, axis, where=given, empty_value=7), x)  # fmt: skip
        return y, vjp(jnp.cos(y))[0], jax.grad(lambda x: jnp.sin(whole(x)).sum())(x)

    y, gradient, by_whole = f(x)
    groups = jaxpool.Groups(size, axis)
    assert y.shape == groups.output_shape(x.shape)
    assert (groups.counts(x.shape) == size).all()
    values, valid = (np.moveaxis(a, axis, -1) for a in (x.astype(np.float64), where))
    expected = np.empty((*values.shape[:-1], values.shape[-1] // size))
    for at in np.ndindex(*expected.shape):
        part = (*at[:-1], slice(at[-1] * size, (at[-1] + 1) * size))
        expected[at] = by_numpy(values[part], valid[part]) if valid[part].any() else 7
    np.testing.assert_allclose(np.moveaxis(y, axis, -1), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, by_whole, rtol=1e-4, atol=1e-5)


def test_maxout_is_the_maximum_of_groups():
    x = distinct((3, 4, 12))

    @jax.jit
    def f(x, tied):
        maxima = [jaxpool.maxout(x, 4), jaxpool.maxout(x, 2, 1), jaxpool.maxout(x, 12, axis=-1)]
        return *maxima, jaxpool.maxout(x, 1), jax.grad(lambda x: jaxpool.maxout(x, 3).sum())(tied)

    last, middle, all_of_it, each, ties = f(x, np.float32([1, 2, 2, 5, 5, 5]))
    np.testing.assert_array_equal(last, x.reshape(3, 4, 3, 4).max(-1))
    np.testing.assert_array_equal(middle, x.reshape(3, 2, 2, 12).max(2))
    np.testing.assert_array_equal(all_of_it[..., 0], x.max(-1))
    np.testing.assert_array_equal(each, x)
    np.testing.assert_array_equal(ties, [0, 1, 0, 1, 0, 0])
    ints = np.array([[-128, 127, 3, 4]], np.int8)
    assert jaxpool.maxout(ints, 2).dtype == np.int8
    np.testing.assert_array_equal(jaxpool.maxout(ints, 2), [[127, 4]])


def test_masks_of_groups_and_where_maxima_are():
    mask = np.array([True, False, False, False])
    np.testing.assert_array_equal(jaxpool.pool_mask(mask, jaxpool.Groups(2)), [True, False])
    x = distinct((2, 6))
    place = jax.jit(jaxpool.Groups(3).argmax)(x)
    np.testing.assert_array_equal(place, x.reshape(2, 2, 3).argmax(-1) + np.array([0, 3]))


def test_vmap_and_export():
    x = distinct((3, 5, 8))
    f = functools.partial(jaxpool.maxout, size=4)
    gradient = jax.grad(lambda x: f(x).sum())
    mapped, values, by_jit = jax.jit(lambda x: (jax.vmap(f)(x), f(x), gradient(x)))(x)
    np.testing.assert_array_equal(mapped, values)
    shape = jax.export.symbolic_shape("b, c, 8")
    exported = jax.export.export(jax.jit(gradient))(jax.ShapeDtypeStruct(shape, np.float32))
    np.testing.assert_array_equal(exported.call(x), by_jit)
    assert jax.jit(f)(np.zeros((0, 8), np.float32)).shape == (0, 2)


X = np.zeros((2, 6), np.float32)
ERRORS = [
    (lambda: jaxpool.maxout(X, 4), ValueError,
     "maxout: `size` must divide the 6 elements of axis 1; got size=4 for x.shape=(2, 6). Write "
     "one of 1, 2, 3, 6, or `axis` if this is not the axis that you mean."),
    (lambda: jaxpool.maxout(X, 0), ValueError, "maxout: `size` must be an int >= 1; got size=0."),
    (lambda: jaxpool.Groups(2.0), TypeError, "Groups: `size` must be an int >= 1; got size=2.0. Write 2."),
    (lambda: jaxpool.channel_pool(X, 2, axis=2), ValueError,
     "channel_pool: `axis` must lie in [-2, 2) since x has 2 axes; got axis=2 for "
     "x.shape=(2, 6)."),
    (lambda: jaxpool.channel_pool(X, 2, axis=(0, 1)), TypeError,
     "channel_pool: `axis` must be an int; got axis=(0, 1)."),
    (lambda: jaxpool.channel_pool(X, 2, jaxpool.Mean), TypeError,
     f"channel_pool: `reduction` must be a jaxpool.Reduction; got reduction={jaxpool.Mean!r}. "
     "Write it with parentheses."),
    (lambda: jaxpool.Groups(2).output_shape((2, 0)), ValueError,
     "Groups: `x` must have at least one element along each pooled axis; got x.shape=(2, 0) with "
     "pooled axes (1,). Only batch axes may be empty."),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=range(len(ERRORS)))
def test_errors_teach(call, error, message):
    with pytest.raises(error) as info:
        call()
    assert str(info.value) == message


def test_a_symbolic_number_of_channels_is_refused():
    shape = jax.export.symbolic_shape("b, c")
    with pytest.raises(ValueError, match=r"maxout: `x` must have a known size along axis 1"):
        jax.eval_shape(lambda x: jaxpool.maxout(x, 2), jax.ShapeDtypeStruct(shape, np.float32))


def test_masks_of_one_channel_and_empty_values():
    """A mask of size 1 along the channels holds for all of them; what is empty is filled."""
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    where = np.array([True, False, True])[:, None]
    for pool in (jaxpool.maxout, jaxpool.channel_pool):
        y = np.asarray(pool(x, 2, where=where, empty_value=7))
        np.testing.assert_array_equal(y[1], [7, 7])
        np.testing.assert_array_equal(y[[0, 2]], np.asarray(pool(x, 2))[[0, 2]])
