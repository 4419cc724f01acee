"""Soft pools and power means against SciPy and torch: limits, laws, and faults seen elsewhere."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from tests import derivatives
from tests.compiling import as_users

TESTS_OF = (
    "pools/importance.py",
    "reductions/soft.py",
    "pools/softmax.py",
    "pools/power_mean.py",
    "reductions/power_mean.py",
    "reductions/softmean.py",
)

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
    pool = functools.partial(jaxpool.logsumexp_pool, sharpness=sharpness, mean=mean)
    close(jax.jit(lambda x: pool(x, *WINDOW))(X), wanted)


@pytest.mark.parametrize("sharpness", [1, 0.3, -2])
def test_softmax_is_that_of_scipy(sharpness):
    y = jax.jit(lambda x: jaxpool.softmax_pool(x, *WINDOW, sharpness=sharpness))(X)
    weights = scipy.special.softmax(sharpness * VIEW, axis=(-2, -1))
    close(y, (weights * VIEW).sum((-2, -1)))


@pytest.mark.parametrize("sharpness", [1, 0.3, -2])
def test_softmax_is_the_slope_of_logsumexp(sharpness):
    """d/db log sum exp(b x), by torch."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    b = torch.tensor(float(sharpness), dtype=torch.float64, requires_grad=True)

    def total(b):
        return torch.logsumexp(b * torch.from_numpy(VIEW.copy()), (-2, -1))

    wanted = torch.autograd.functional.jacobian(total, b)
    close(jax.jit(lambda x: jaxpool.softmax_pool(x, *WINDOW, sharpness=sharpness))(X), wanted)


@functools.cache
def power_mean_of_a_traced_p():
    return jax.jit(lambda x, p: jaxpool.power_mean_pool(x, *WINDOW, p=p))


@pytest.mark.parametrize("p", [3, 2.5, 1, -1, 0, 200, 0.01, -2])
def test_power_means_are_those_of_scipy(p):
    view = np.lib.stride_tricks.sliding_window_view(POSITIVE.astype(np.float64), (3, 2), (1, 2))
    flat = view.reshape(*view.shape[:-2], -1)
    means = {0: scipy.stats.gmean, -1: scipy.stats.hmean}
    wanted = means.get(p, functools.partial(scipy.stats.pmean, p=p))(flat, axis=-1)
    found = jax.jit(lambda x: jaxpool.power_mean_pool(x, *WINDOW, p=p))(POSITIVE)
    close(found, wanted, 4e-6)
    found = power_mean_of_a_traced_p()(POSITIVE, np.float32(p))
    close(found, wanted, 4e-6)


LOGITS = (12 / (1 + np.exp(-X[..., ::-1]))).astype(np.float32)
WIDE_WINDOW = ((3, 3), 2, 1)


@jax.jit
def importance(x, logits):
    return jaxpool.importance_pool(x, logits, *WIDE_WINDOW)


def test_importance_is_a_ratio():
    def sums(x):
        padded = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
        return view.sum((-2, -1))[:, ::2, ::2]

    weights = np.exp(LOGITS.astype(np.float64))
    close(importance(X, LOGITS), sums(X * weights) / sums(weights), 1e-5, 1e-5)

    @jax.jit
    def pools(x, nothing):
        return (
            jaxpool.importance_pool(x, x, *WINDOW),
            jaxpool.softmax_pool(x, *WINDOW),
            jaxpool.importance_pool(x, nothing, *WINDOW),
        )

    by_itself, softmax, plain = pools(X, np.zeros(1, np.float32))
    close(by_itself, softmax)
    close(plain, VIEW.mean((-2, -1)))


def test_importance_is_the_ratio_of_torch():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    x, weights = (torch.from_numpy(a.copy()).movedim(-1, 1) for a in (X, np.exp(LOGITS)))
    pool = functools.partial(torch.nn.functional.avg_pool2d, kernel_size=3, stride=2, padding=1)
    wanted = (pool(x * weights) / pool(weights)).movedim(1, -1)
    close(importance(X, LOGITS), wanted, 1e-5, 1e-5)


@pytest.mark.parametrize("pool", ["logsumexp", "softmax", "power_mean"])
def test_limits(pool):
    x, name = (POSITIVE, "p") if pool == "power_mean" else (X, "sharpness")
    function = getattr(jaxpool, f"{pool}_pool")
    limits = {-INF: jaxpool.min_pool, INF: jaxpool.max_pool}
    limits[1 if pool == "power_mean" else 0] = jaxpool.avg_pool
    large = {1e4: jaxpool.max_pool, -1e4: jaxpool.min_pool}

    @jax.jit
    def pairs(x):
        return [
            [(function(x, *WINDOW, **{name: value}), limit(x, *WINDOW)) for value, limit in some]
            for some in (limits.items(), large.items())
        ]

    for some, tolerance in zip(pairs(x), (2e-6, 1e-3), strict=True):
        for found, limit in some:
            close(found, limit, tolerance, tolerance)


@pytest.mark.parametrize("where", [None, np.random.default_rng(1).random((2, 6, 7, 3)) < 0.6])
def test_inequalities(where):
    """mean <= logsumexp <= softmax mean <= max, in every window, and in the whole."""
    for args, prefix in ((WINDOW, ""), (((1, 2),), "global_")):
        kinds = ("avg", "logsumexp", "softmax", "max")
        own = {"avg": {}, "max": {}, "logsumexp": {"sharpness": 1}, "softmax": {}}
        if not prefix:
            own["avg"] = {"count_include_pad": False}
        pools = [getattr(jaxpool, f"{prefix}{k}_pool") for k in kinds]
        every = lambda x: [f(x, *args, where=where, **own[k]) for f, k in zip(pools, kinds)]  # noqa: B023, B905, E731
        ys = jax.jit(every)(X)
        for smaller, larger in itertools.pairwise(ys):
            assert (np.asarray(smaller) <= np.asarray(larger) + 1e-6).all()


def test_laws_of_shift_and_scale():
    for f in (jaxpool.logsumexp_pool, jaxpool.softmax_pool):
        twice = jax.jit(functools.partial(f, window_shape=WINDOW[0], strides=1, sharpness=2))
        y = twice(X)
        close(twice(X + 100), y + 100, atol=1e-4)
        close(f(4 * X, *WINDOW, sharpness=0.5), 4 * y, atol=1e-5)
    gem = jax.jit(lambda x: jaxpool.gem_pool(x, *WINDOW))
    close(gem(4 * POSITIVE), 4 * gem(POSITIVE))


def test_constants_are_kept():
    pools = (jaxpool.logsumexp_pool, jaxpool.softmax_pool, jaxpool.gem_pool,
             jaxpool.linear_softmax_pool)  # fmt: skip
    for k in (4, 9, 16):
        for y in jax.jit(lambda x: [f(x, k, axes=0) for f in pools])(np.ones(k, jnp.bfloat16)):  # noqa: B023
            assert y[0] == 1
            assert y.dtype == jnp.bfloat16


LARGE = [
    [1e4, -1e4, 3.0],  # exp overflows
    [100.0, 99.0, 98.0],  # where an exponential without a shift is inf / inf
    [-1e4, -1e4, -1e4],
    [-INF, 2.0, 1.0],
    [-INF, -INF, -INF],
    [INF, 1.0, -INF],
]


def of_large(x, r):
    """By windows and globally: results with their slopes in x, and in r if that is traced."""
    for f in (jaxpool.logsumexp_pool, jaxpool.softmax_pool):
        whole = getattr(jaxpool, f"global_{f.__name__}")
        for g in (lambda x, r, f=f: f(x, 3, axes=0, sharpness=r)[0],
                  lambda x, r, whole=whole: whole(x, 0, sharpness=r)):  # fmt: skip
            moving = (0, 1) if isinstance(r, jax.Array) else (0,)
            yield jax.value_and_grad(g, moving)(x, r)


@functools.cache
def program_of_large(sharpness):
    if sharpness is None:
        return jax.jit(lambda x, r: list(of_large(x, r)))
    return jax.jit(lambda x: list(of_large(x, sharpness)))


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("sharpness", [1, 10])
@pytest.mark.parametrize("values", LARGE, ids=str)
def test_large_and_infinite_elements(values, sharpness, traced):
    x, v = np.float32(values), np.array(values)
    r = np.float32(sharpness)
    found = program_of_large(None)(x, r) if traced else program_of_large(sharpness)(x)
    finite = np.where(np.isneginf(v), -1e30, v)
    wanted_log = scipy.special.logsumexp(sharpness * v, b=1 / 3) / sharpness
    wanted = scipy.special.softmax(sharpness * finite) @ finite if not np.isposinf(v).any() else INF
    wanted = -INF if np.isneginf(v).all() else wanted
    for (y, slopes), expected in zip(found, (wanted_log,) * 2 + (wanted,) * 2, strict=True):
        close(y, expected, 1e-6)
        assert len(slopes) == 1 + traced
        assert all(np.isfinite(slope).all() for slope in slopes)


def test_infinite_logits():
    logits, x = np.float32([-INF, 0, 0, -INF, -INF, 5]), np.float32([9, 1, 3, 2, 4, -INF])

    @jax.jit
    def f(x, logits):
        y, vjp = jax.vjp(lambda *a: jaxpool.importance_pool(*a, 3, axes=0), x, logits)
        return y, vjp(np.float32([1, 0]))

    y, gradients = f(x, logits)
    close(y, [2, -INF])
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    close(f(x, np.full(6, -INF, np.float32))[0][:1], [13 / 3])  # the plain mean


def test_a_window_of_its_own_range():
    """A shift that all windows share is too large for some: 0 / 0."""
    x = np.repeat(np.float32([-200, 200]), 4)
    for f in (jaxpool.softmax_pool, jaxpool.logsumexp_pool):
        close(f(x, 4, axes=0), [-200, 200], 1e-6)


def test_semi_gradient_takes_weights_as_constants():
    x = np.float32([0.3, -1, 2])
    w = np.exp(x) / np.exp(x).sum()
    y = (w * x).sum()
    grads = jax.jit(lambda x: {
        g: jax.grad(lambda x: jaxpool.global_softmax_pool(x, 0, gradient=g))(x)  # noqa: B023
        for g in ("full", "semi")})(x)  # fmt: skip
    close(grads["semi"], w)
    close(grads["full"], w * (1 + x - y))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_gem_at_zero(dtype):
    """eps^3 is nothing in float16, and the slope of a power at 0 is not finite."""
    x = np.array([0, 0, 0, 2, -1, 0]).astype(dtype)

    def both(x, p):
        y, vjp = jax.vjp(lambda x: jaxpool.gem_pool(x, 3, axes=0, p=p), x)
        return y, vjp(jnp.ones_like(y))[0]

    for p in (3, 2.5, np.float32(3)):
        known = isinstance(p, int | float)  # else it is traced
        y, gradient = jax.jit(both, static_argnums=1 if known else None)(x, p)
        gradient = np.float32(gradient)
        assert np.isfinite(np.float32(y)).all()
        assert np.isfinite(gradient).all()
        assert (gradient[[0, 1, 2, 4, 5]] == 0).all()  # dead up to eps
        assert gradient[3] > 0


def test_linear_softmax():
    x = np.abs(X)
    view = np.abs(VIEW)
    wanted = (view**2).sum((-2, -1)) / view.sum((-2, -1))
    close(jaxpool.linear_softmax_pool(x, *WINDOW), wanted)

    @jax.jit
    def both(x):
        y, vjp = jax.vjp(lambda x: jaxpool.linear_softmax_pool(x, 2, axes=0), x)
        return y, vjp(jnp.ones_like(y))[0]

    y, gradient = both(np.zeros(4, np.float32))
    np.testing.assert_array_equal(y, 0)
    np.testing.assert_array_equal(gradient, 0)


def test_noisy_or():
    p = scipy.special.expit(X)
    wanted = 1 - (1 - scipy.special.expit(VIEW)).prod((-2, -1))
    close(jax.jit(lambda p: jaxpool.noisy_or_pool(p, *WINDOW))(p), wanted)
    close(jaxpool.noisy_or_pool(jnp.full(3, 1e-9), 3, axes=0), [3e-9], 1e-6, 0)
    gradient = jax.jit(jax.grad(lambda p: jaxpool.global_noisy_or_pool(p, 0)))
    close(gradient(np.float32([1, 0.25, 0.5])), [0.375, 0, 0])
    masked, where = np.float32([np.nan, 0.25, 0.5]), np.array([False, True, True])
    pool = jax.jit(lambda x, where: jaxpool.noisy_or_pool(x, 3, axes=0, where=where))
    close(pool(masked, where), [0.625])


@pytest.mark.parametrize(
    ("args", "prefix"), [(WIDE_WINDOW, ""), (((1, 2),), "global_")], ids=["window", "global"]
)
def test_parameters_of_each_channel_are_learned(args, prefix):
    sharpness = np.float32([0.5, -1, 4])
    kinds = (("softmax", "sharpness"), ("logsumexp", "sharpness"), ("gem", "p"))

    @jax.jit
    def pools(x, positive, sharpness):
        found = []
        for name, option in kinds:
            f = getattr(jaxpool, f"{prefix}{name}_pool")
            x = positive if name == "gem" else x
            pool = lambda b: f(x, *args, **{option: b})  # noqa: B023, E731
            known = [pool(b)[..., c] for c, b in enumerate((0.5, -1.0, 4.0))]
            found.append((pool(sharpness), known))
        return found

    for whole, parts in pools(X, POSITIVE, sharpness):
        for c, part in enumerate(parts):
            close(whole[..., c], part, 1e-5)


@pytest.mark.parametrize("name", ["softmax", "gem"])
def test_parameters_of_each_channel_have_derivatives(name, exhaustive):
    x, b = X[:1, :5, :5].astype(np.float64), np.array([0.5, -1, 4])
    f = {
        "softmax": lambda x, b: jaxpool.softmax_pool(x, *WIDE_WINDOW, sharpness=b),
        "gem": lambda x, b: jaxpool.gem_pool(jnp.exp(x), (3, 3), 2, p=b),
    }[name]
    with jax.enable_x64(True):
        derivatives.check(f, (x, b))
        if exhaustive:
            at = jnp.asarray(x), jnp.asarray(b)
            derivatives.check_every_mode(f, at, eps=1e-4, rtol=1e-3)


def test_large_windows_are_taken_axis_by_axis():
    """And agree with windows that are taken at once, here as global pools."""
    where = np.random.default_rng(2).random((6, 7, 1)) < 0.5

    @jax.jit
    def pairs(x):
        return [
            (getattr(jaxpool, f"{name}_pool")(x, (6, 7), where=mask)[:, 0, 0],
             getattr(jaxpool, f"global_{name}_pool")(x, (1, 2), where=mask))
            for name in ("softmax", "logsumexp") for mask in (None, where)
        ]  # fmt: skip

    for found, wanted in pairs(X):
        close(found, wanted, 1e-5)


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


@pytest.mark.parametrize(
    ("name", "parameter", "begins"),
    [("gem", "p", jaxpool.gem_pool), ("logsumexp", "sharpness", jaxpool.logsumexp_pool),
     ("softmax", "sharpness", jaxpool.avg_pool)],
)  # fmt: skip
def test_learned_layers_begin_as_their_function_and_learn(name, parameter, begins):
    cls = f"Learned{name.capitalize()}Pool"
    layer = getattr(jaxpool.linen, cls)((2, 2), features=3, param_dtype=jnp.bfloat16)
    variables = jax.jit(layer.init)(jax.random.key(0), POSITIVE)
    assert jax.tree.map(lambda p: (p.shape, p.dtype), variables["params"]) == {
        parameter: ((3,), jnp.bfloat16)
    }
    twin = getattr(jaxpool.nnx, cls)((2, 2), features=3)
    assert getattr(twin, parameter).shape == (3,)

    @jax.jit
    def run(variables, x):
        y, vjp = jax.vjp(lambda v: layer.apply(v, x), variables)
        return y, vjp(jnp.ones_like(y))[0], begins(x, (2, 2)), twin(x)

    y, gradient, expected, by_twin = run(variables, POSITIVE)
    close(y, expected, 1e-5)
    assert (np.asarray(gradient["params"][parameter]) != 0).all()
    close(by_twin, y, 1e-5)
    whole = getattr(jaxpool.nnx, f"LearnedGlobal{name.capitalize()}Pool")((1, 2))
    assert jax.eval_shape(lambda x: whole(x), POSITIVE).shape == (2, 3)


KERNEL = np.random.default_rng(1).normal(size=(3, 3, 3, 3)).astype(np.float32)


def learned_importance(kernel=None):
    layer = jaxpool.nnx.LearnedImportancePool(3, *WIDE_WINDOW)
    if kernel is not None:
        layer.kernel[...] = jnp.asarray(kernel)
    return jax.jit(lambda x, where=None: layer(x, where=where))


def test_learned_importance_begins_as_the_average():
    where = np.random.default_rng(2).random((2, 6, 7, 1)) < 0.5
    layer = jaxpool.linen.LearnedImportancePool(*WIDE_WINDOW)
    variables, apply = jax.jit(layer.init)(jax.random.key(0), X), jax.jit(layer.apply)
    mean = jax.jit(lambda x: jaxpool.avg_pool(x, *WIDE_WINDOW, count_include_pad=False))(X)
    close(apply(variables, X), mean)
    close(learned_importance()(X), mean)
    twin = learned_importance(KERNEL)
    variables["params"]["kernel"] = KERNEL
    close(twin(X), apply(variables, X))
    dirty = np.where(where, X, np.float32(np.nan))
    close(twin(dirty, where), twin(X, where), 0, 0)


def test_the_network_of_learned_importance():
    """A convolution, normalized for each channel of an example, in a sigmoid."""
    padded = np.pad(X.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (1, 2))
    conv = np.einsum("nijcpq,pqcd->nijd", view, KERNEL)
    unit = (conv - conv.mean((1, 2), keepdims=True)) / np.sqrt(
        conv.var((1, 2), keepdims=True) + 1e-5
    )
    logits = (12 * scipy.special.expit(unit)).astype(np.float32)
    close(learned_importance(KERNEL)(X), importance(X, logits), 1e-4, 1e-4)


def test_the_network_of_learned_importance_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    planes = torch.from_numpy(X.copy()).movedim(-1, 1)
    weight = torch.from_numpy(KERNEL).permute(3, 2, 0, 1)
    conv = torch.nn.functional.conv2d(planes, weight, padding=1)
    logits = 12 * torch.sigmoid(torch.nn.functional.instance_norm(conv)).movedim(1, -1)
    close(learned_importance(KERNEL)(X), importance(X, logits.numpy()), 1e-4, 1e-4)


@pytest.mark.parametrize("sharpness", [1e-6, 1e-30, -1e-8])
def test_a_small_sharpness_is_no_worse_than_none(sharpness):
    x = jnp.array([1.0, 2.0, 3.0, 7.0])
    found = jaxpool.logsumexp_pool(x, 4, axes=0, sharpness=sharpness)
    np.testing.assert_allclose(found, [3.25], rtol=3e-6)
    geometric = jaxpool.power_mean_pool(x, 4, axes=0, p=sharpness)
    np.testing.assert_allclose(geometric, [np.prod(x) ** 0.25], rtol=3e-6)


def test_infinite_results_have_no_gradient():
    x = np.float32([-np.inf, -np.inf, 1, np.inf, 2, 3])
    values = (0.25, 1.0, 10.0)

    def f(x, sharpness):
        return jaxpool.logsumexp_pool(x, 2, axes=0, sharpness=sharpness)

    @jax.jit
    def traced(x, sharpness):
        y, vjp = jax.vjp(f, x, sharpness)
        return y, [vjp(np.float32(unit)) for unit in ([1, 0, 0], [0, 1, 0])]

    for sharpness, known in zip(
        values, jax.jit(lambda x: [f(x, r) for r in values])(x), strict=True
    ):
        y, gradients = traced(x, np.float32(sharpness))
        for found in (y, known):
            np.testing.assert_array_equal(found[:2], [-np.inf, np.inf])
        for result, (in_x, in_r) in enumerate(gradients):
            np.testing.assert_array_equal(in_x[2 * result : 2 * result + 2], [0, 0])
            assert in_r == 0


def test_arrays_may_hold_infinite_parameters():
    x = np.float32([[0, 2, 3], [-1, 5, 5]])
    limits = np.float32([np.inf, -np.inf, 0])
    expected = [[0.0, 2.0, 4.0]]
    softmax, logsumexp, power = jax.jit(lambda x, limits: (
        jaxpool.softmax_pool(x, (2,), sharpness=limits),
        jaxpool.logsumexp_pool(x, (2,), sharpness=limits),
        jaxpool.power_mean_pool(jnp.exp(x), (2,), p=limits)))(x, limits)  # fmt: skip
    np.testing.assert_array_equal(softmax, expected)
    np.testing.assert_allclose(logsumexp, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(power, np.exp(expected), rtol=1e-6)


def test_a_sharpness_of_0_can_be_left():
    x = jnp.array([1.0, 2.0, 3.0, 7.0])
    slope = jax.jit(jax.grad(lambda r: jaxpool.logsumexp_pool(x, 4, axes=0, sharpness=r)[0]))(0.0)
    np.testing.assert_allclose(slope, np.var(x) / 2, rtol=1e-6)


@functools.cache
def slope_of_linear_softmax():
    return jax.jit(jax.value_and_grad(lambda x: jaxpool.linear_softmax_pool(x, 2, axes=0)[0]))


@pytest.mark.parametrize("scale", [1e-22, 1.0, 1e30])
def test_linear_softmax_of_any_scale(scale):
    x = np.array([1.0, 3.0]) * scale
    value, gradient = slope_of_linear_softmax()(x.astype(np.float32))
    np.testing.assert_allclose(value, 2.5 * scale, rtol=1e-6)
    np.testing.assert_allclose(gradient, (2 * x - 2.5 * scale) / x.sum(), rtol=1e-5)


def test_parameters_are_named_in_errors():
    with pytest.raises(ValueError, match=r"^gem_pool: `p` must broadcast to the result"):
        jaxpool.gem_pool(jnp.ones((4, 3)), (2,), p=jnp.ones(5))


def test_importance_of_padding_has_a_gradient():
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    where = np.ones((2, 6, 1), bool)
    where[1] = False
    layer = jaxpool.linen.LearnedImportancePool((2,))
    variables = jax.jit(layer.init)(jax.random.key(1), x)

    @jax.jit
    def run(variables, x):
        y, vjp = jax.vjp(lambda v: layer.apply(v, x, where=where), variables)
        return y, vjp(jnp.ones_like(y)), layer.apply(variables, x[:1])

    y, gradient, alone = run(variables, x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))
    np.testing.assert_allclose(y[:1], alone, rtol=1e-5)


GEOMETRIES = [((3, 3), 2, 1), ((3, 2), 1, (1, 0)), ((2, 2), 2, "SAME"), ((3,), 2, 1)]
QUICK = [(GEOMETRIES[2], False), (GEOMETRIES[3], True)]


@pytest.mark.parametrize(
    ("args", "masked"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.exhaustive)
     for case in itertools.product(GEOMETRIES, (False, True))],
)  # fmt: skip
def test_large_arrays_are_pooled_as_their_parts(args, masked, exhaustive):
    """Above some size, windows at borders are a program of their own on CPUs."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 27, 26, 16)).astype(np.float32)
    x[0] = np.where(rng.random(x[0].shape) < 0.02, np.inf, x[0])
    x[1, :9] = np.where(rng.random(x[1, :9].shape) < 0.7, -np.inf, x[1, :9])
    x[1, 20, 20] = np.nan
    where = rng.random(x.shape) < 0.5 if masked else None

    def everything(x, where):
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

    # What XLA makes of large arrays for users, of one geometry unless all are tried.
    compiled = as_users if exhaustive or not masked else jax.jit
    whole = compiled(everything)(x, where)
    part = jax.jit(everything)(x[..., :4], where if where is None else where[..., :4])
    for name, arrays in whole.items():
        for a, b in zip(arrays, part[name], strict=True):
            np.testing.assert_allclose(
                a[..., :4], b, rtol=2e-5, atol=1e-6, err_msg=f"{name} {args}"
            )


def test_powers_of_doubles_neither_overflow_nor_underflow():
    powers = (2, 3, 16)

    @jax.jit
    def pools(x):
        return (
            jnp.stack([jaxpool.gem_pool(x, 2, axes=0, p=p, eps=1e-300)[0] for p in powers]),
            jnp.stack([jaxpool.lp_pool(x, 2, axes=0, p=p)[0] for p in powers]),
        )

    p = np.array(powers)
    with jax.enable_x64(True):
        for value in (1e-200, 1e200, 1e307):
            means, norms = pools(np.array([value, value / 2]))
            expected = value * ((1 + 0.5**p) / 2) ** (1 / p)
            np.testing.assert_allclose(means, expected, rtol=1e-14)
            np.testing.assert_allclose(norms, expected * 2 ** (1 / p), rtol=1e-14)
