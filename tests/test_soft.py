"""Soft pools and power means against SciPy and torch: limits, laws, and faults seen elsewhere."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from jax.test_util import check_grads

import jaxpool
import jaxpool.linen
import jaxpool.nnx

INF = float("inf")
X = np.random.default_rng(0).normal(size=(2, 6, 7, 3)).astype(np.float32)
VIEW = np.lib.stride_tricks.sliding_window_view(X.astype(np.float64), (3, 2), (1, 2))
WINDOW = ((3, 2), 1)
POSITIVE = np.exp(X)


def close(actual, expected, rtol=2e-6, atol=2e-6):
    np.testing.assert_allclose(np.float64(actual), np.float64(expected), rtol=rtol, atol=atol)


@pytest.mark.parametrize("sharpness", [0.5, 10, -3])
@pytest.mark.parametrize("mean", [True, False])
def test_logsumexp_is_that_of_scipy(sharpness, mean):
    weight = 1 / 6 if mean else 1
    wanted = scipy.special.logsumexp(sharpness * VIEW, axis=(-2, -1), b=weight) / sharpness
    close(jaxpool.logsumexp_pool(X, *WINDOW, sharpness=sharpness, mean=mean), wanted)


@pytest.mark.parametrize("sharpness", [1, 0.3, -2])
def test_softmax_is_the_slope_of_logsumexp(sharpness):
    """d/db log sum exp(b x), by torch."""
    b = torch.tensor(float(sharpness), dtype=torch.float64, requires_grad=True)

    def total(b):
        return torch.logsumexp(b * torch.from_numpy(VIEW.copy()), (-2, -1))

    wanted = torch.autograd.functional.jacobian(total, b)
    close(jaxpool.softmax_pool(X, *WINDOW, sharpness=sharpness), wanted)


@pytest.mark.parametrize("p", [3, 2.5, 1, -1, 0, 200, 0.01, -2])
def test_power_means_are_those_of_scipy(p):
    view = np.lib.stride_tricks.sliding_window_view(POSITIVE.astype(np.float64), (3, 2), (1, 2))
    flat = view.reshape(*view.shape[:-2], -1)
    means = {0: scipy.stats.gmean, -1: scipy.stats.hmean}
    wanted = means.get(p, functools.partial(scipy.stats.pmean, p=p))(flat, axis=-1)
    close(jaxpool.power_mean_pool(POSITIVE, *WINDOW, p=p), wanted, 1e-4 if p == 0.01 else 4e-6)
    if p:  # traced
        found = jax.jit(lambda p: jaxpool.power_mean_pool(POSITIVE, *WINDOW, p=p))(jnp.float32(p))
        close(found, wanted, 1e-4 if p == 0.01 else 4e-6)


def test_importance_is_the_ratio_of_torch():
    logits = 12 / (1 + np.exp(-X[..., ::-1]))
    x, weights = (torch.from_numpy(a.copy()).movedim(-1, 1) for a in (X, np.exp(logits)))
    pool = functools.partial(torch.nn.functional.avg_pool2d, kernel_size=3, stride=2, padding=1)
    wanted = (pool(x * weights) / pool(weights)).movedim(1, -1)
    close(jaxpool.importance_pool(X, logits, (3, 3), 2, 1), wanted, 1e-5, 1e-5)
    close(jaxpool.importance_pool(X, X, *WINDOW), jaxpool.softmax_pool(X, *WINDOW))
    close(jaxpool.importance_pool(X, np.zeros(1), *WINDOW), VIEW.mean((-2, -1)))


@pytest.mark.parametrize("pool", ["logsumexp", "softmax", "power_mean"])
def test_limits(pool):
    x, name = (POSITIVE, "p") if pool == "power_mean" else (X, "sharpness")
    function = getattr(jaxpool, f"{pool}_pool")
    limits = {-INF: jaxpool.min_pool, INF: jaxpool.max_pool}
    limits[1 if pool == "power_mean" else 0] = jaxpool.avg_pool
    for value, limit in limits.items():
        close(function(x, *WINDOW, **{name: value}), limit(x, *WINDOW))
    for value, limit in ((1e4, jaxpool.max_pool), (-1e4, jaxpool.min_pool)):
        close(function(x, *WINDOW, **{name: value}), limit(x, *WINDOW), 1e-3, 1e-3)


@pytest.mark.parametrize("where", [None, np.random.default_rng(1).random((2, 6, 7, 3)) < 0.6])
def test_inequalities(where):
    """mean <= logsumexp <= softmax mean <= max, in every window, and in the whole."""
    for args, prefix in ((WINDOW, ""), (((1, 2),), "global_")):
        kinds = ("avg", "logsumexp", "softmax", "max")
        own = {"avg": {}, "max": {}, "logsumexp": {"sharpness": 1}, "softmax": {}}
        if not prefix:
            own["avg"] = {"count_include_pad": False}
        pools = [getattr(jaxpool, f"{prefix}{k}_pool") for k in kinds]
        ys = [f(X, *args, where=where, **own[k]) for f, k in zip(pools, kinds, strict=True)]
        for smaller, larger in itertools.pairwise(ys):
            assert (np.asarray(smaller) <= np.asarray(larger) + 1e-6).all()


def test_laws_of_shift_and_scale():
    for f in (jaxpool.logsumexp_pool, jaxpool.softmax_pool):
        y = f(X, *WINDOW, sharpness=2)
        close(f(X + 100, *WINDOW, sharpness=2), y + 100, atol=1e-4)
        close(f(4 * X, *WINDOW, sharpness=0.5), 4 * y, atol=1e-5)
    close(jaxpool.gem_pool(4 * POSITIVE, *WINDOW), 4 * jaxpool.gem_pool(POSITIVE, *WINDOW))


def test_constants_are_kept():
    for k in (4, 9, 16):
        x = jnp.full((k,), 1, jnp.bfloat16)
        for f in (jaxpool.logsumexp_pool, jaxpool.softmax_pool, jaxpool.gem_pool,
                  jaxpool.linear_softmax_pool):  # fmt: skip
            assert f(x, k, axes=0)[0] == 1
            assert f(x, k, axes=0).dtype == jnp.bfloat16


LARGE = [
    [1e4, -1e4, 3.0],  # exp overflows
    [100.0, 99.0, 98.0],  # where an exponential without a shift is inf / inf
    [-1e4, -1e4, -1e4],
    [-INF, 2.0, 1.0],
    [-INF, -INF, -INF],
    [INF, 1.0, -INF],
]


@pytest.mark.parametrize("sharpness", [1, 10])
@pytest.mark.parametrize("values", LARGE, ids=str)
@pytest.mark.parametrize("traced", [False, True])
def test_large_and_infinite_elements(values, sharpness, traced):
    x = jnp.array(values)
    r = jnp.float32(sharpness) if traced else sharpness
    v = np.array(values)
    finite = np.where(np.isneginf(v), -1e30, v)
    wanted_log = scipy.special.logsumexp(sharpness * v, b=1 / 3) / sharpness
    wanted = scipy.special.softmax(sharpness * finite) @ finite if not np.isposinf(v).any() else INF
    wanted = -INF if np.isneginf(v).all() else wanted
    for f, y in ((jaxpool.logsumexp_pool, wanted_log), (jaxpool.softmax_pool, wanted)):
        for g in (lambda x, r, f=f: f(x, 3, axes=0, sharpness=r)[0],
                  lambda x, r, f=f: getattr(jaxpool, f"global_{f.__name__}")(x, 0, sharpness=r)):  # fmt: skip
            close(jax.jit(g)(x, r), y, 1e-6)
            assert np.isfinite(jax.grad(g)(x, r)).all()
            if traced:
                assert np.isfinite(jax.grad(g, 1)(x, r))


def test_infinite_logits():
    logits, x = jnp.array([-INF, 0.0, 0.0, -INF, -INF, 5.0]), jnp.array([9.0, 1, 3, 2, 4, -INF])

    def f(x, logits):
        return jaxpool.importance_pool(x, logits, 3, axes=0)

    close(f(x, logits), [2, -INF])
    close(f(x[:5], logits[:5].at[1:3].set(-INF))[:1], [13 / 3])  # the plain mean
    for gradient in jax.grad(lambda *a: f(*a)[0], (0, 1))(x, logits):
        assert np.isfinite(gradient).all()


def test_a_window_of_its_own_range():
    """A shift that all windows share is too large for some: 0 / 0."""
    x = jnp.concatenate([jnp.full(4, -200.0), jnp.full(4, 200.0)])
    for f in (jaxpool.softmax_pool, jaxpool.logsumexp_pool):
        close(f(x, 4, axes=0), [-200, 200], 1e-6)


def test_semi_gradient_takes_weights_as_constants():
    x = jnp.array([0.3, -1.0, 2.0])
    w = np.exp(x) / np.exp(x).sum()
    y = (w * x).sum()
    grads = {g: jax.grad(lambda x, g=g: jaxpool.global_softmax_pool(x, 0, gradient=g))(x)
             for g in ("full", "semi")}  # fmt: skip
    close(grads["semi"], w)
    close(grads["full"], w * (1 + x - y))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_gem_at_zero(dtype):
    """eps^3 is nothing in float16, and the slope of a power at 0 is not finite."""
    x = jnp.array([0.0, 0.0, 0.0, 2.0, -1.0, 0.0], dtype)
    for p in (3, 2.5, jnp.float32(3)):
        y, vjp = jax.vjp(lambda x, p=p: jaxpool.gem_pool(x, 3, axes=0, p=p), x)
        assert np.isfinite(np.float32(y)).all()
        gradient = np.float32(vjp(jnp.ones_like(y))[0])
        assert np.isfinite(gradient).all()
        assert (gradient[[0, 1, 2, 4, 5]] == 0).all()  # dead up to eps
        assert gradient[3] > 0


def test_linear_softmax():
    x = np.abs(X)
    view = np.abs(VIEW)
    wanted = (view**2).sum((-2, -1)) / view.sum((-2, -1))
    close(jaxpool.linear_softmax_pool(x, *WINDOW), wanted)
    zeros = jnp.zeros(4)
    y, vjp = jax.vjp(lambda x: jaxpool.linear_softmax_pool(x, 2, axes=0), zeros)
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(vjp(jnp.ones(2))[0], 0)


def test_noisy_or():
    p = scipy.special.expit(X)
    wanted = 1 - (1 - scipy.special.expit(VIEW)).prod((-2, -1))
    close(jaxpool.noisy_or_pool(p, *WINDOW), wanted)
    close(jaxpool.noisy_or_pool(jnp.full(3, 1e-9), 3, axes=0), [3e-9], 1e-6, 0)
    ones = jnp.array([1.0, 0.25, 0.5])
    close(jax.grad(lambda p: jaxpool.global_noisy_or_pool(p, 0))(ones), [0.375, 0, 0])
    masked = jnp.array([jnp.nan, 0.25, 0.5])
    where = jnp.array([False, True, True])
    close(jaxpool.noisy_or_pool(masked, 3, axes=0, where=where), [0.625])


def test_parameters_of_each_channel_are_learned():
    sharpness = jnp.array([0.5, -1.0, 4.0])
    for args, prefix in (((((3, 3), 2, 1)), ""), (((1, 2),), "global_")):
        for name, option, x in (("softmax", "sharpness", X), ("logsumexp", "sharpness", X),
                                ("gem", "p", POSITIVE)):  # fmt: skip
            f = getattr(jaxpool, f"{prefix}{name}_pool")
            whole = f(x, *args, **{option: sharpness})
            for c in range(3):
                close(whole[..., c], f(x, *args, **{option: float(sharpness[c])})[..., c], 1e-5)
    with jax.enable_x64(True):
        x, b = jnp.asarray(X[:1, :5, :5], jnp.float64), jnp.asarray(sharpness, jnp.float64)
        for f in (
            lambda x, b: jaxpool.softmax_pool(x, (3, 3), 2, 1, sharpness=b),
            lambda x, b: jaxpool.gem_pool(jnp.exp(x), (3, 3), 2, p=b),
        ):
            check_grads(jax.jit(f), (x, b), order=2, eps=1e-4, rtol=1e-3)


def test_large_windows_are_taken_axis_by_axis():
    """And agree with windows that are taken at once, here as global pools."""
    x = jnp.asarray(X)
    where = np.random.default_rng(2).random((6, 7, 1)) < 0.5
    for name in ("softmax", "logsumexp"):
        for mask in (None, where):
            wanted = getattr(jaxpool, f"global_{name}_pool")(x, (1, 2), where=mask)
            found = getattr(jaxpool, f"{name}_pool")(x, (6, 7), where=mask)
            close(found[:, 0, 0], wanted, 1e-5)


def test_wrong_arguments():
    x = jnp.ones((4, 3))
    for error, message, call in [
        (TypeError, "`sharpness` must be a number", {"sharpness": "1"}),
        (ValueError, "`sharpness` must be a number", {"sharpness": float("nan")}),
        (ValueError, "`sharpness` must broadcast", {"sharpness": jnp.ones(2)}),
        (ValueError, "`sharpness` must broadcast", {"sharpness": jnp.ones((2, 3))}),
        (ValueError, "`gradient` must be one of", {"gradient": "half"}),
    ]:
        with pytest.raises(error, match=message):
            jaxpool.softmax_pool(x, 2, axes=0, **call)
    with pytest.raises(ValueError, match="`sharpness` must not be 0"):
        jaxpool.logsumexp_pool(x, 2, axes=0, sharpness=0, mean=False)
    with pytest.raises(TypeError, match="`mean` must be True or False"):
        jaxpool.logsumexp_pool(x, 2, axes=0, mean=1)
    with pytest.raises(ValueError, match="`eps` must be a finite number > 0"):
        jaxpool.gem_pool(x, 2, axes=0, eps=0)
    with pytest.raises(TypeError, match="`eps` must be"):
        jaxpool.gem_pool(x, 2, axes=0, eps="0")
    with pytest.raises(ValueError, match=r"^importance_pool: `logits` must broadcast to x"):
        jaxpool.importance_pool(x, jnp.ones(4), 2, axes=0)
    with pytest.raises(TypeError, match="`logits` must be a JAX or NumPy array"):
        jaxpool.importance_pool(x, [1, 2], 2, axes=0)
    with pytest.raises(TypeError, match="`logits` must hold real numbers"):
        jaxpool.importance_pool(x, jnp.ones(3, bool), 2, axes=0)


def test_learned_layers_begin_as_their_function_and_learn():
    x = jnp.asarray(POSITIVE)
    for name, parameter, begins in [
        ("gem", "p", jaxpool.gem_pool),
        ("logsumexp", "sharpness", jaxpool.logsumexp_pool),
        ("softmax", "sharpness", jaxpool.avg_pool),
    ]:
        cls = f"Learned{name.capitalize()}Pool"
        layer = getattr(jaxpool.linen, cls)((2, 2), features=3, param_dtype=jnp.bfloat16)
        variables = layer.init(jax.random.key(0), x)
        assert jax.tree.map(lambda p: (p.shape, p.dtype), variables["params"]) == {
            parameter: ((3,), jnp.bfloat16)
        }
        close(layer.apply(variables, x), begins(x, (2, 2)), 1e-5)
        gradient = jax.grad(lambda v, layer=layer: layer.apply(v, x).sum())(variables)
        assert (np.asarray(gradient["params"][parameter]) != 0).all()
        twin = getattr(jaxpool.nnx, cls)((2, 2), features=3)
        close(twin(x), layer.apply(variables, x), 1e-5)
        assert getattr(twin, parameter).shape == (3,)
        whole = getattr(jaxpool.nnx, f"LearnedGlobal{name.capitalize()}Pool")((1, 2))
        assert whole(x).shape == (2, 3)


def test_learned_importance_begins_as_the_average():
    x, where = jnp.asarray(X), np.random.default_rng(2).random((2, 6, 7, 1)) < 0.5
    layer = jaxpool.linen.LearnedImportancePool((3, 3), 2, 1)
    variables = layer.init(jax.random.key(0), x)
    close(layer.apply(variables, x), jaxpool.avg_pool(x, (3, 3), 2, 1, count_include_pad=False))
    twin = jaxpool.nnx.LearnedImportancePool(3, (3, 3), 2, 1)
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 3, 3))
    twin.kernel[...] = kernel
    variables["params"]["kernel"] = kernel
    close(twin(x), layer.apply(variables, x))
    # The network by torch.
    planes = torch.from_numpy(X.copy()).movedim(-1, 1)
    weight = torch.from_numpy(np.array(kernel)).permute(3, 2, 0, 1)
    conv = torch.nn.functional.conv2d(planes, weight, padding=1)
    logits = 12 * torch.sigmoid(torch.nn.functional.instance_norm(conv)).movedim(1, -1)
    close(twin(x), jaxpool.importance_pool(x, logits.numpy(), (3, 3), 2, 1), 1e-4, 1e-4)
    dirty = jnp.where(where, x, jnp.nan)
    close(twin(dirty, where=where), twin(x, where=where), 0, 0)


@pytest.mark.parametrize("sharpness", [1e-6, 1e-30, -1e-8])
def test_a_small_sharpness_is_no_worse_than_none(sharpness):
    x = jnp.array([1.0, 2.0, 3.0, 7.0])
    found = jaxpool.logsumexp_pool(x, 4, axes=0, sharpness=sharpness)
    np.testing.assert_allclose(found, [3.25], atol=0.003)
    geometric = jaxpool.power_mean_pool(x, 4, axes=0, p=sharpness)
    np.testing.assert_allclose(geometric, [np.prod(x) ** 0.25], rtol=1e-3)


@pytest.mark.parametrize("sharpness", [0.25, 1.0, 10.0])
def test_infinite_results_have_no_gradient(sharpness):
    def f(x, sharpness):
        return jaxpool.logsumexp_pool(x, 2, axes=0, sharpness=sharpness)

    x = jnp.array([-np.inf, -np.inf, 1.0, np.inf, 2.0, 3.0])
    y = f(x, sharpness)
    np.testing.assert_array_equal(y[:2], [-np.inf, np.inf])
    for result, expected in zip((0, 1), ([0, 0], [0, 0]), strict=True):
        in_x, in_r = jax.grad(lambda *a, i=result: f(*a)[i], (0, 1))(x, sharpness)
        np.testing.assert_array_equal(in_x[2 * result : 2 * result + 2], expected)
        assert in_r == 0


def test_arrays_may_hold_infinite_parameters():
    x = jnp.array([[0.0, 2.0, 3.0], [-1.0, 5.0, 5.0]])
    limits = jnp.array([np.inf, -np.inf, 0.0])
    expected = [[0.0, 2.0, 4.0]]
    np.testing.assert_array_equal(jaxpool.softmax_pool(x, (2,), sharpness=limits), expected)
    found = jaxpool.logsumexp_pool(x, (2,), sharpness=limits)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    found = jaxpool.power_mean_pool(jnp.exp(x), (2,), p=limits)
    np.testing.assert_allclose(found, np.exp(expected), rtol=2e-3)


def test_a_sharpness_of_0_can_be_left():
    x = jnp.array([1.0, 2.0, 3.0, 7.0])
    slope = jax.grad(lambda r: jaxpool.logsumexp_pool(x, 4, axes=0, sharpness=r)[0])(0.0)
    np.testing.assert_allclose(slope, np.var(x) / 2, rtol=0.02)


@pytest.mark.parametrize("scale", [1e-22, 1.0, 1e30])
def test_linear_softmax_of_any_scale(scale):
    x = np.array([1.0, 3.0]) * scale

    def f(x):
        return jaxpool.linear_softmax_pool(x, 2, axes=0)[0]

    value, gradient = jax.value_and_grad(f)(jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(value, 2.5 * scale, rtol=1e-6)
    np.testing.assert_allclose(gradient, (2 * x - 2.5 * scale) / x.sum(), rtol=1e-5)


def test_parameters_are_named_in_errors():
    with pytest.raises(ValueError, match=r"^gem_pool: `p` must broadcast to the result"):
        jaxpool.gem_pool(jnp.ones((4, 3)), (2,), p=jnp.ones(5))


def test_importance_of_padding_has_a_gradient():
    x = jax.random.normal(jax.random.key(0), (2, 6, 3))
    where = jnp.ones((2, 6, 1), bool).at[1].set(False)
    layer = jaxpool.linen.LearnedImportancePool((2,))
    variables = layer.init(jax.random.key(1), x)
    gradient = jax.grad(lambda v: layer.apply(v, x, where=where).sum())(variables)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    alone = layer.apply(variables, x[:1])
    np.testing.assert_allclose(layer.apply(variables, x, where=where)[:1], alone, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_large_arrays_are_pooled_as_their_parts(masked):
    """Above some size, windows at borders are a program of their own on CPUs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 27, 26, 16)).astype(np.float32)
    x[0] = np.where(rng.random(x[0].shape) < 0.02, np.inf, x[0])
    x[1, :9] = np.where(rng.random(x[1, :9].shape) < 0.7, -np.inf, x[1, :9])
    x[1, 20, 20] = np.nan
    where = rng.random(x.shape) < 0.5 if masked else None
    for args in (((3, 3), 2, 1), ((3, 2), 1, (1, 0)), ((2, 2), 2, "SAME")):

        def everything(x, where, args=args):
            pools = {
                "logsumexp": lambda x: jaxpool.logsumexp_pool(x, *args, where=where, sharpness=2),
                "softmax": lambda x: jaxpool.softmax_pool(x, *args, where=where),
                "linear_softmax": lambda x: jaxpool.linear_softmax_pool(abs(x), *args, where=where),
                "gem": lambda x: jaxpool.gem_pool(x, *args, where=where),
                "lp": lambda x: jaxpool.lp_pool(x, *args, where=where, p=3),
            }
            found = {}
            for name, pool in pools.items():
                y, vjp = jax.vjp(pool, x)
                found[name] = pool(x), y, vjp(jnp.cos(y))[0]
            return found

        whole = jax.jit(everything)(x, where)
        part = jax.jit(everything)(x[..., :4], where if where is None else where[..., :4])
        for name, arrays in whole.items():
            for a, b in zip(arrays, part[name], strict=True):
                np.testing.assert_allclose(
                    a[..., :4], b, rtol=2e-5, atol=1e-6, err_msg=f"{name} {args}"
                )


def test_powers_of_doubles_neither_overflow_nor_underflow():
    with jax.enable_x64(True):
        for value in (1e-200, 1e200, 1e307):
            x = jnp.array([value, value / 2])
            expected = value * np.array([(1 + 0.5**p) / 2 for p in (2, 3, 16)]) ** (
                1 / np.array([2, 3, 16])
            )
            pools = [jaxpool.gem_pool(x, 2, axes=0, p=p, eps=1e-300)[0] for p in (2, 3, 16)]
            np.testing.assert_allclose(pools, expected, rtol=1e-14)
            norms = [jaxpool.lp_pool(x, 2, axes=0, p=p)[0] for p in (2, 3, 16)]
            np.testing.assert_allclose(
                norms, expected * 2 ** (1 / np.array([2, 3, 16])), rtol=1e-14
            )
