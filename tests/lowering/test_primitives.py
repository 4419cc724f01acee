"""The primitives that maxima are made of, under what JAX does to primitives."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ("lowering/primitives.py", "lowering/max.py", "lowering/picks.py", "lowering/tangent.py",
            "lowering/sum.py", "lowering/window_order.py")  # fmt: skip

GEOMETRIES = [((2, 2), 2, 0, 1), ((3, 3), 2, 1, 1), ((3, 2), 1, (1, 0), (1, 2)), ((5, 5), 2, 2, 1)]


def values(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.permutation(np.prod(shape)).reshape(shape).astype(np.float32)


def of(geometry):
    k, s, p, d = geometry
    return functools.partial(jaxpool.max_pool, window_shape=k, strides=s, padding=p, dilation=d)


@pytest.fixture(params=GEOMETRIES, ids=str)
def pool(request):
    return of(request.param)


def test_the_forward_derivative_is_the_transposed_backward_one(pool):
    x = values((2, 9, 8, 3))
    forward, backward = jax.jit(lambda x: (jax.jacfwd(pool)(x), jax.jacrev(pool)(x)))(x)
    np.testing.assert_array_equal(forward, backward)
    assert set(np.unique(forward)) == {0, 1}
    np.testing.assert_array_equal(np.sum(forward, axis=(4, 5, 6, 7)), 1)  # one element per window


def test_linearized_once_it_runs_in_both_directions(pool):
    x, t = values((2, 9, 8, 3)), values((2, 9, 8, 3), 1)
    y, push = jax.linearize(pool, x)
    g = values(y.shape, 2)
    (pulled,) = jax.linear_transpose(push, x)(g)
    np.testing.assert_array_equal(push(t), jax.jvp(pool, (x,), (t,))[1])
    np.testing.assert_array_equal(pulled, jax.vjp(pool, x)[1](g)[0])
    again = jax.linear_transpose(lambda g: jax.linear_transpose(push, x)(g)[0], y)
    np.testing.assert_array_equal(again(t)[0], push(t))


AXES = [(x, mask) for x in (None, 0, 2, -1) for mask in (None, 0, 3) if (x, mask) != (None, None)]
# Each pair of axes with one geometry in its turn, or with all.
OPERANDS = [
    pytest.param(*axes, geometry, marks=[] if (i + j) % 4 == 0 else pytest.mark.exhaustive)
    for i, axes in enumerate(AXES)
    for j, geometry in enumerate(GEOMETRIES)
]


@pytest.mark.parametrize(("x_axis", "mask_axis", "geometry"), OPERANDS)
def test_a_batch_of_some_operands(x_axis, mask_axis, geometry):
    pool = of(geometry)
    one, mask = (2, 9, 8, 3), (1, 9, 8, 1)
    rng = np.random.default_rng(0)
    stacked = lambda shape, axis: shape if axis is None else np.insert(shape, axis % 5, 4)  # noqa: E731
    x = values(stacked(one, x_axis))
    where = rng.random(stacked(mask, mask_axis)) < 0.5

    def everything(x, where):
        f = functools.partial(pool, where=where)
        y, backward = jax.vjp(f, x)
        return y, backward(jnp.cos(y))[0], jax.jvp(f, (x,), (jnp.sin(x),))[1]

    found = jax.jit(jax.vmap(everything, (x_axis, mask_axis)))(x, where)
    single = jax.jit(everything)
    for i in range(4):
        part = x if x_axis is None else np.take(x, i, x_axis)
        expected = single(part, where if mask_axis is None else np.take(where, i, mask_axis))
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-6)


def test_without_jit(pool):
    x = values((2, 9, 8, 3))

    def everything(x):
        y, backward = jax.vjp(pool, x)
        return y, backward(jnp.cos(y))[0], jax.jvp(pool, (x,), (jnp.sin(x),))[1]

    expected = jax.jit(everything)(x)
    with jax.disable_jit():
        found = everything(x)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_only_the_form_of_the_platform_is_traced(monkeypatch):
    """Which is what makes a program of all platforms quick to trace and to compile."""
    from jaxpool._src.lowering import max as lowering_max

    asked = []
    for name in ("_picked_form", "_sum_forms"):
        form = getattr(lowering_max, name)

        def spy(platform, *arguments, form=form, several):
            asked.append(platform)
            return form(platform, *arguments, several=several)

        monkeypatch.setattr(lowering_max, name, spy)
    jax.clear_caches()

    def both(x):
        y, backward = jax.vjp(lambda x: jaxpool.max_pool(x, (5, 5), 1, 2), x)
        return y, backward(y)[0]

    traced = jax.jit(both).trace(jax.ShapeDtypeStruct((2, 12, 12, 3), np.float32))
    assert not asked
    for platform in ("cpu", "tpu", "cuda"):
        asked.clear()
        traced.lower(lowering_platforms=(platform,))
        assert set(asked) == {platform if platform != "cuda" else "default"}
    jax.clear_caches()


# Sums over windows.


@dataclasses.dataclass(frozen=True)
class Powers(jaxpool.Reduction):
    """A reduction of a user's own, whose terms close over an array: sum of x^power."""

    power: Any

    def __call__(self, x, domain, where):
        return domain.sum_with(lambda e, _: jnp.exp(self.power * jnp.log(e)), x, (), where)


@pytest.mark.parametrize("window", [(3, 3), (2, 2)], ids=str)
def test_terms_may_close_over_an_array_of_the_program(window):
    x, t = 1 + values((1, 7, 6, 2)), values((1, 7, 6, 2), 1)

    @jax.jit
    def everything(x, t, power):
        f = lambda x: jaxpool.pool(x, jaxpool.Window(window, 2, 1), Powers(power))  # noqa: E731
        y, backward = jax.vjp(f, x)
        return y, jax.jvp(f, (x,), (t,))[1], backward(y)[0]

    y, moved, gradient = everything(x, t, jnp.float32(0.5))
    expected, tangent = by_taps(np.sqrt(x), window), by_taps(t / (2 * np.sqrt(x)), window)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(moved, tangent, rtol=1e-4)
    np.testing.assert_allclose(np.vdot(gradient, t), np.vdot(y, tangent), rtol=1e-4)


def by_taps(terms, window):
    """Sums with strides of 2 and a padding of 1, by a loop over windows, in float64."""
    padded = np.pad(terms.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    sizes = [(n + 2 - k) // 2 + 1 for n, k in zip(terms.shape[1:3], window, strict=True)]
    found = np.zeros((terms.shape[0], *sizes, terms.shape[3]))
    for i, j in np.ndindex(*sizes):
        part = padded[:, 2 * i : 2 * i + window[0], 2 * j : 2 * j + window[1]]
        found[:, i, j] = part.sum((1, 2))
    return found
