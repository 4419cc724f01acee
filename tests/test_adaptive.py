"""Adaptive pools and intervals: live PyTorch, loops, and each form against the others."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool import _geometry, _lowering_intervals
from tests import interpreter, oracle

INF, NAN = np.float32(np.inf), np.float32(np.nan)
LENGTHS, OUTPUTS = range(1, 33), range(1, 41)


def rows(shape, seed=0):
    """Arrays of `shape` stacked: random, ties, NaN, infinities, only -inf, signed zeros."""
    rng = np.random.default_rng(seed)
    found = [
        rng.normal(size=(2, *shape)),
        rng.integers(-1, 2, size=(2, *shape)),
        rng.choice([0.0, -0.0], size=(1, *shape)),
        rng.choice([1.0, 2.0, NAN], size=(1, *shape)),
        rng.choice([1.0, NAN, -INF, INF], size=(1, *shape)),
        np.full((1, *shape), -INF),
    ]
    return np.concatenate([f.astype(np.float32) for f in found])


def torch_functional():
    return pytest.importorskip("torch", reason="the oracle of these tests").nn.functional


def test_bins_are_those_of_pytorch_for_every_size():
    """Means and maxima of 0, 1, 2, ... and of their negatives tell where each bin is."""
    import torch

    F = torch_functional()
    for length, output in itertools.product(LENGTHS, OUTPUTS):
        geometry = _geometry.adaptive_intervals(length, output)
        starts, stops = (
            [bound + part * geometry.length for part in range(geometry.repeats) for bound, _ in b]
            for b in (geometry.starts, geometry.stops)
        )
        x = torch.arange(float(length))[None, None]
        np.testing.assert_array_equal(F.adaptive_max_pool1d(x, output)[0, 0], np.array(stops) - 1)
        np.testing.assert_array_equal(-F.adaptive_max_pool1d(-x, output)[0, 0], starts)
        mean = (np.array(starts) + np.array(stops) - 1) / 2
        np.testing.assert_array_equal(F.adaptive_avg_pool1d(x, output)[0, 0], mean)


def both(function, x, ct):
    y, vjp = jax.vjp(function, x)
    return y, vjp(ct)[0]


@pytest.mark.parametrize("first", range(4))
def test_every_size_equals_pytorch(first):
    """Values, indices and gradients of maxima and means; not compiled, so that it takes seconds."""
    import torch

    F = torch_functional()
    rng = np.random.default_rng(0)

    def pools(x, ct, output):
        pool = functools.partial(jaxpool.adaptive_max_pool_with_argmax, output_shape=output, axes=1)
        y, vjp, indices = jax.vjp(pool, x, has_aux=True)
        mean = functools.partial(jaxpool.adaptive_avg_pool, output_shape=output, axes=1)
        return (y, indices, *vjp(ct), *both(mean, x, ct))

    for length in LENGTHS[first::4]:
        x = rows((length,), seed=length)
        for output in OUTPUTS:
            ct = rng.integers(1, 100, (8, output)).astype(np.float32)
            tensor = torch.tensor(x, requires_grad=True)
            largest, indices = F.adaptive_max_pool1d(tensor, output, return_indices=True)
            mean = F.adaptive_avg_pool1d(tensor, output)
            by_largest, by_mean = (
                torch.autograd.grad(y, tensor, torch.tensor(ct)) for y in (largest, mean)
            )
            expected = (largest.detach(), indices, *by_largest, mean.detach(), *by_mean)
            with np.errstate(invalid="ignore"):
                found = interpreter.run(functools.partial(pools, output=output), x, ct)
            message = f"{length} to {output}"
            for a, b in zip(found[:3], expected[:3], strict=True):
                np.testing.assert_array_equal(a, b, err_msg=message)
            for a, b in zip(found[3:], expected[3:], strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-6, atol=2e-6, err_msg=message)


def test_one_axis_equals_pytorch():
    """Compiled: outputs that divide, that do not, and that are larger."""
    import torch

    F = torch_functional()
    pairs = [(1, 1), (1, 5), (5, 3), (7, 7), (13, 6), (12, 8), (7, 10), (31, 40), (32, 6)]
    inputs = {n: rows((n,), seed=n) for n, _ in pairs}
    rng = np.random.default_rng(0)
    cts = {o: rng.integers(1, 100, (8, o)).astype(np.float32) for _, o in pairs}

    @jax.jit
    def run(inputs, cts):
        return [
            (
                both(lambda x, o=o: jaxpool.adaptive_max_pool(x, o, axes=1), inputs[n], cts[o]),
                jaxpool.adaptive_max_pool_with_argmax(inputs[n], o, axes=1)[1],
                both(lambda x, o=o: jaxpool.adaptive_avg_pool(x, o, axes=1), inputs[n], cts[o]),
            )
            for n, o in pairs
        ]

    for (n, o), (largest, indices, mean) in zip(pairs, run(inputs, cts), strict=True):
        x = torch.tensor(inputs[n], requires_grad=True)
        y, index = F.adaptive_max_pool1d(x, o, return_indices=True)
        (gradient,) = torch.autograd.grad(y, x, torch.tensor(cts[o]))
        for a, b in zip((*largest, indices), (y.detach(), gradient, index), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{n} to {o}")
        same = ~np.isnan(largest[0])
        assert (np.signbit(largest[0]) == np.signbit(y.detach().numpy()))[same].all()
        y = F.adaptive_avg_pool1d(x, o)
        (gradient,) = torch.autograd.grad(y, x, torch.tensor(cts[o]))
        close = {"rtol": 1e-6, "atol": 1e-6, "err_msg": f"{n} to {o}"}
        np.testing.assert_allclose(mean[0], y.detach(), **close)
        np.testing.assert_allclose(mean[1], gradient, **{**close, "rtol": 2e-6})


@pytest.mark.parametrize(
    ("shape", "output"),
    [((13, 11), (6, 4)), ((7, 5), (3, 9)), ((8, 9), (None, 4)), ((5, 7, 6), (3, 2, 8)),
     ((32, 12), (6, 4)), ((211, 5), (13, 2))],
)  # fmt: skip
def test_several_axes_equal_pytorch(shape, output):
    import torch

    F = torch_functional()
    n = len(shape)
    x = rows((2, *shape))
    sizes = tuple(o or m for o, m in zip(output, shape, strict=True))
    ct = np.random.default_rng(0).integers(1, 100, (8, 2, *sizes)).astype(np.float32)
    axes = tuple(range(-n, 0))

    @jax.jit
    def run(x, ct):
        return (
            both(lambda x: jaxpool.adaptive_max_pool(x, output, axes=axes), x, ct),
            jaxpool.adaptive_max_pool_with_argmax(x, output, axes=axes)[1],
            both(lambda x: jaxpool.adaptive_avg_pool(x, output, axes=axes), x, ct),
            jaxpool.adaptive_max_pool(jnp.moveaxis(x, 1, -1), output),
        )

    largest, indices, mean, channels_last = run(x, ct)
    tensor = torch.tensor(x, requires_grad=True)
    y, index = getattr(F, f"adaptive_max_pool{n}d")(tensor, output, return_indices=True)
    (gradient,) = torch.autograd.grad(y, tensor, torch.tensor(ct))
    for a, b in zip((*largest, indices), (y.detach(), gradient, index), strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.moveaxis(channels_last, -1, 1), largest[0])
    y = getattr(F, f"adaptive_avg_pool{n}d")(tensor, output)
    (gradient,) = torch.autograd.grad(y, tensor, torch.tensor(ct))
    np.testing.assert_allclose(mean[0], y.detach(), rtol=2e-6, atol=1e-6)
    np.testing.assert_allclose(mean[1], gradient, rtol=2e-6, atol=1e-6)


REDUCTIONS = {
    "max": jaxpool.Max(), "min": jaxpool.Min(), "sum": jaxpool.Sum(), "mean": jaxpool.Mean(),
    "lp": jaxpool.Lp(), "logsumexp": jaxpool.Monoid(
        combine=lambda a, b: a + b, identity=0, lift=jnp.exp, finish=jnp.log),
}  # fmt: skip
BOUNDS = [[(0, 3), (2, 7), (4, 4), (6, 7), (1, 2)], [(0, 5), (3, 4), (1, 5)]]
STARTS, STOPS = ([[pair[i] for pair in axis] for axis in BOUNDS] for i in (0, 1))
FORMS = ("elements", "blocks", "masks")


def force(form, monkeypatch):
    """The same intervals in another form than their geometry calls for, with short loops."""
    monkeypatch.setattr(_lowering_intervals, "_form", lambda *_: form)
    monkeypatch.setattr(_lowering_intervals, "_MOST_BLOCKS", 3)
    monkeypatch.setattr(_lowering_intervals, "_MOST_STEPS", 3)
    monkeypatch.setattr(_lowering_intervals, "_MOST_ROWS", 0)
    jax.clear_caches()


@pytest.mark.parametrize("traced", [False, True], ids=["static", "traced"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_with_every_reduction(form, traced, monkeypatch):
    """Overlaps, gaps, an empty interval; with and without a mask; derivatives to second order."""
    force(form, monkeypatch)
    rng = np.random.default_rng(0)
    where = rng.random((1, 7, 5, 1)) < 0.5

    def pool(x, bounds, reduction, where):
        domain = jaxpool.Intervals(*bounds)
        return jaxpool.pool(x, domain, reduction, where=where, empty_value=7)

    with jax.enable_x64(True):
        x = jnp.asarray(rng.normal(size=(2, 7, 5, 2)))
        v, ct = rng.normal(size=x.shape), rng.normal(size=(2, 5, 3, 2))

        def everything(x, bounds):
            results = {}
            for (name, reduction), mask in itertools.product(REDUCTIONS.items(), (None, where)):
                f = functools.partial(pool, bounds=bounds, reduction=reduction, where=mask)
                loss = lambda x, f=f: jnp.vdot(ct, f(x) ** 2)  # noqa: E731
                gradient, second = jax.jvp(jax.grad(loss), (x,), (v,))
                results[name, mask is None] = f(x), gradient, second
            return results

        if traced:
            arrays = jax.tree.map(np.array, (STARTS, STOPS), is_leaf=lambda b: type(b[0]) is int)
            run = jax.jit(everything)
            found = run(x, arrays)
            near = run(x + 1e-5 * v, arrays), run(x - 1e-5 * v, arrays)
        else:
            run = jax.jit(functools.partial(everything, bounds=(STARTS, STOPS)))
            found = run(x)
            near = run(x + 1e-5 * v), run(x - 1e-5 * v)
        x, found, near = jax.tree.map(np.asarray, (x, found, near))
    jax.clear_caches()
    for (name, plain), (y, gradient, second) in found.items():
        expected = oracle.intervals(
            name, x, BOUNDS, (1, 2), where=None if plain else where, empty_value=7
        )
        np.testing.assert_allclose(y, expected, rtol=1e-12, err_msg=name)
        up, down = (run[name, plain] for run in near)
        slope = (np.vdot(ct, up[0] ** 2) - np.vdot(ct, down[0] ** 2)) / 2e-5
        np.testing.assert_allclose(np.vdot(gradient, v), slope, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(
            second, (up[1] - down[1]) / 2e-5, rtol=1e-4, atol=1e-6, err_msg=name
        )


@pytest.mark.parametrize("form", FORMS)
def test_maxima_of_every_form_are_the_same_bits(form, monkeypatch):
    """Ties, NaN, infinities, signed zeros: values, indices and gradients are PyTorch's."""
    import torch

    force(form, monkeypatch)
    x = rows((9, 8))
    ct = np.random.default_rng(0).integers(1, 100, (8, 4, 6)).astype(np.float32)

    @jax.jit
    def run(x, ct):
        pool = functools.partial(
            jaxpool.adaptive_max_pool_with_argmax, output_shape=(4, 6), axes=(1, 2)
        )
        y, vjp, indices = jax.vjp(pool, x, has_aux=True)
        return y, vjp(ct)[0], indices

    found = run(x, ct)
    jax.clear_caches()
    tensor = torch.tensor(x, requires_grad=True)
    y, index = torch_functional().adaptive_max_pool2d(tensor, (4, 6), return_indices=True)
    (gradient,) = torch.autograd.grad(y, tensor, torch.tensor(ct))
    for a, b in zip(found, (y.detach(), gradient, index), strict=True):
        np.testing.assert_array_equal(a, b)
    number = ~np.isnan(found[0])
    assert (np.signbit(found[0]) == np.signbit(y.detach().numpy()))[number].all()


def test_sizes_that_divide_are_windows():
    x = rows((12, 8))
    for adaptive, window in [
        (jaxpool.adaptive_max_pool, jaxpool.max_pool), (jaxpool.adaptive_avg_pool, jaxpool.avg_pool)
    ]:  # fmt: skip
        found = adaptive(x, (3, 4), axes=(1, 2))
        np.testing.assert_allclose(found, window(x, (4, 2), axes=(1, 2)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "output"), [((13, 7), (6, 3)), ((32, 4), (6, 2)), ((211, 3), (13, 2))]
)
def test_masks_in_every_form_of_maxima(shape, output):
    """Overlapping windows, parts that repeat, and intervals side by side."""
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 3, (2, *shape)).astype(np.float32)
    where = rng.random(x.shape) < 0.4
    where[0, : shape[0] // 2] = False
    x[~where] = NAN
    bounds = [
        [(i * n // o, -(-(i + 1) * n // o)) for i in range(o)]
        for n, o in zip(shape, output, strict=True)
    ]
    pool = functools.partial(
        jaxpool.adaptive_max_pool, output_shape=output, axes=(1, 2), where=where, empty_value=7
    )
    y, gradient = jax.jit(lambda x: both(pool, x, jnp.ones((2, *output))))(x)
    expected = oracle.intervals("max", x, bounds, (1, 2), where=where, empty_value=7)
    np.testing.assert_array_equal(y, expected)
    empty = oracle.intervals("sum", where.astype(np.float32), bounds, (1, 2)) == 0
    assert empty.any()
    np.testing.assert_array_equal(np.asarray(gradient)[~where], 0)
    np.testing.assert_array_equal(np.sum(gradient), (~empty).sum())


@pytest.mark.parametrize("stops", [(2, 6, 5), (1, 4, 6), (3, 5, 7), (3, 5, 6)])
def test_intervals_that_begin_as_windows_do(stops):
    """And end as such, or not."""
    starts, x = (0, 2, 4), np.random.default_rng(0).permutation(8).astype(np.float32)
    domain = jaxpool.Intervals(starts, stops, axes=0)
    parts = [x[a:b] for a, b in zip(starts, stops, strict=True)]
    for reduction, reduce in ((jaxpool.Max(), np.max), (jaxpool.Sum(), np.sum)):
        y, vjp = jax.vjp(lambda x, r=reduction: jaxpool.pool(x, domain, r), x)
        np.testing.assert_array_equal(y, [reduce(part) for part in parts])
        expected = np.zeros(8)
        for start, part in zip(starts, parts, strict=True):
            expected[start : start + len(part)] += part == part.max() if reduce is np.max else 1
        np.testing.assert_array_equal(vjp(jnp.ones(3))[0], expected)


def test_adaptive_numbers_from_the_documentation_of_pytorch():
    x = jnp.arange(10.0)
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(x, 7, axes=0), [0.5, 1.5, 3, 4.5, 6, 7.5, 8.5]
    )
    np.testing.assert_array_equal(jaxpool.adaptive_avg_pool(x[:3], 5, axes=0), [0, 0.5, 1, 1.5, 2])


def test_peers_faults_are_not_copied():
    """Keras gives NaN for 7 to 7 of 0 .. 6, Equinox [0.5, 2.5, 4] for 5 to 3."""
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(jnp.arange(7.0), 7, axes=0), np.arange(7)
    )
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(jnp.arange(5.0), 3, axes=0), [0.5, 2, 3.5]
    )
    # Equinox pools twice where sizes divide, so that a standard deviation is 0.
    spread = jaxpool.pool(
        jnp.array([1.0, 3.0, 2.0, 8.0]), jaxpool.Adaptive(2, axes=0), jaxpool.Lp()
    )
    np.testing.assert_allclose(spread, [np.sqrt(10), np.sqrt(68)], rtol=1e-6)


def test_nan_and_infinity_stay_in_their_bins():
    x = np.ones((1, 32), np.float32)
    x[0, 4], x[0, 30] = NAN, INF
    y = np.asarray(jaxpool.adaptive_avg_pool(x, 6, axes=1))[0]
    np.testing.assert_array_equal(np.isnan(y), [True, False, False, False, False, False])
    np.testing.assert_array_equal(np.isinf(y), [False] * 5 + [True])
    ct = np.ones((1, 6), np.float32)
    ct[0, 2] = NAN
    for pool in (jaxpool.adaptive_avg_pool, jaxpool.adaptive_max_pool):
        gradient = jax.vjp(lambda x, p=pool: p(x, 6, axes=1), jnp.ones((1, 32), np.float32))[1](ct)[
            0
        ]
        inside = np.isnan(np.asarray(gradient)[0])
        assert inside.any()
        assert not inside[:10].any()
        assert not inside[16:].any()


def test_narrow_floats_accumulate_in_float32():
    for dtype in ("bfloat16", "float16", "float8_e4m3fn"):
        x = jnp.ones((64, 64, 1), dtype)
        y = jaxpool.adaptive_avg_pool(x, (3, 1))
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y.astype(np.float32), 1)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_no_gather_and_no_scatter_on_any_platform(platform):
    # A TPU's own `select_and_scatter` walks the windows and writes each sum once: it is no scatter
    # of indices. Maxima of cells that overlap as windows do (13 to 6), and of windows at places
    # that are drawn, if they are many (20), use it there, and only there.
    x, u = jnp.ones((2, 13, 32, 4)), jnp.full((2, 4, 2), 0.3)
    pools = [
        lambda x: jaxpool.adaptive_max_pool(x, (6, 3)),
        lambda x: jaxpool.adaptive_avg_pool(x, (6, 3)),
        lambda x: jaxpool.adaptive_max_pool_with_argmax(x, (6, 3))[0],
        lambda x: jaxpool.fractional_max_pool(x, (2, 3), output_shape=(6, 20), samples=u),
        lambda x: jaxpool.pool(x, jaxpool.Adaptive((6, 3)), jaxpool.Lp()),
    ]
    for pool in pools:

        def f(x, pool=pool):
            y, vjp = jax.vjp(pool, x)
            return y, vjp(y)

        text = jax.jit(f).trace(x).lower(lowering_platforms=(platform,)).as_text()
        if platform == "tpu" and pool in (pools[0], pools[3]):
            text = text.replace("select_and_scatter", "").replace("reduce_window", "")
        for word in ("scatter", "gather", "transpose", "reduce_window"):
            assert word not in text, word


def test_bounds_may_be_mapped_over():
    x = jnp.arange(20.0).reshape(2, 10)
    starts, stops = jnp.array([[0, 4], [1, 5]]), jnp.array([[3, 9], [2, 12]])

    def pool(x, start, stop):
        return jaxpool.pool(x, jaxpool.Intervals(start, stop, axes=0), jaxpool.Sum())

    expected = [[0 + 1 + 2, 4 + 5 + 6 + 7 + 8], [11, 15 + 16 + 17 + 18 + 19]]
    np.testing.assert_array_equal(jax.vmap(pool)(x, starts, stops), expected)
    domain = jaxpool.Intervals(starts, stops, axes=1)  # a row for each batch entry at once
    np.testing.assert_array_equal(jaxpool.pool(x, domain, jaxpool.Sum()), expected)
    by_domain = jax.vmap(lambda x, d: jaxpool.pool(x, d, jaxpool.Sum()))
    one = jaxpool.Intervals(starts, stops, axes=0)
    np.testing.assert_array_equal(by_domain(x, one), expected)


def test_counts_and_masks_of_intervals():
    domain = jaxpool.Intervals(STARTS, STOPS, axes=(0, 1))
    sizes = [[stop - start for start, stop in axis] for axis in BOUNDS]
    np.testing.assert_array_equal(domain.counts((7, 5)), np.outer(*sizes))
    traced = jaxpool.Intervals(*([jnp.array(b) for b in bs] for bs in (STARTS, STOPS)), axes=(0, 1))
    np.testing.assert_array_equal(traced.counts((7, 5)), np.outer(*sizes))
    mask = np.zeros((7, 5), bool)
    mask[2, :] = True
    any_, all_ = (jaxpool.pool_mask(mask, domain, mode) for mode in ("any", "all"))
    inside = np.array([start <= 2 < stop for start, stop in BOUNDS[0]])
    np.testing.assert_array_equal(any_, np.outer(inside, [True] * 3))
    assert not all_.any()
    assert hash(domain) == hash(jaxpool.Intervals(STARTS, STOPS, axes=(0, 1)))


def test_symbolic_batch():
    shape = jax.export.symbolic_shape("b, 13, 9, c")
    f = lambda x: jax.value_and_grad(lambda x: jaxpool.adaptive_max_pool(x, (6, 4)).sum())(x)  # noqa: E731
    exported = jax.export.export(jax.jit(f))(jax.ShapeDtypeStruct(shape, np.float32))
    for batch, channels in ((1, 2), (3, 1)):
        x = np.random.default_rng(0).normal(size=(batch, 13, 9, channels)).astype(np.float32)
        for a, b in zip(exported.call(x), f(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
