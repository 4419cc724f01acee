"""Adaptive pools and intervals: live PyTorch, loops, and each form against the others."""

import functools
import itertools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.core import geometry
from jaxpool._src.lowering import interval_max, interval_scan, intervals
from tests import interpreter, oracle

TESTS_OF = (
    "pools/adaptive.py",
    "pools/pyramids.py",
    "domains/intervals.py",
    "lowering/intervals.py",
    "lowering/interval_max.py",
    "lowering/interval_scan.py",
    "core/geometry.py",
)
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


def bins(length, output):
    """Of PyTorch's rule, by its formula."""
    return [(i * length // output, -(-(i + 1) * length // output)) for i in range(output)]


def pool_by_loops(x, sizes, ct):
    """Maxima, their indices and gradient, means and their gradient; all axes but those in front."""
    lead = x.ndim - len(sizes)
    batch, plane = x.shape[:lead], x.shape[lead:]
    rows_ = x.reshape(-1, *plane)
    every = np.arange(int(np.prod(plane))).reshape(plane)
    largest, mean = np.zeros((2, len(rows_), *sizes))
    indices = np.zeros((len(rows_), *sizes), np.int64)
    by_largest, by_mean = np.zeros((2, len(rows_), every.size))
    ct, row = ct.reshape(len(rows_), *sizes), np.arange(len(rows_))
    bounds = [bins(n, o) for n, o in zip(plane, sizes, strict=True)]
    for cell in np.ndindex(*sizes):
        places = every[tuple(slice(*b[i]) for b, i in zip(bounds, cell, strict=True))].ravel()
        part = rows_.reshape(len(rows_), -1)[:, places]
        nan = np.isnan(part)
        first = np.where(nan, -INF, part).argmax(1)
        pick = np.where(nan.any(1), part.shape[1] - 1 - nan[:, ::-1].argmax(1), first)
        at = (slice(None), *cell)
        largest[at], indices[at] = part[row, pick], places[pick]
        with np.errstate(invalid="ignore"):
            mean[at] = part.astype(np.float64).mean(1)
        by_largest[row, places[pick]] += ct[at]
        by_mean[:, places] += ct[at][:, None] / len(places)
    of_cells, of_x = ((*batch, *n) for n in (sizes, plane))
    largest, indices, mean = (a.reshape(of_cells) for a in (largest, indices, mean))
    by_largest, by_mean = (a.reshape(of_x) for a in (by_largest, by_mean))
    return largest, indices, by_largest, mean, by_mean


def pool_by_torch(x, sizes, ct):
    """The same by PyTorch, of all axes but those in front."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    n = len(sizes)
    largest, average = (
        getattr(torch.nn.functional, f"adaptive_{kind}_pool{n}d") for kind in ("max", "avg")
    )
    tensor = torch.tensor(x, requires_grad=True)
    y, indices = largest(tensor, sizes, return_indices=True)
    mean = average(tensor, sizes)
    by_largest, by_mean = (torch.autograd.grad(z, tensor, torch.tensor(ct)) for z in (y, mean))
    return tuple(a.detach().numpy() for a in (y, indices, *by_largest, mean, *by_mean))


@pytest.fixture(params=[pool_by_loops, pool_by_torch], ids=["loops", "pytorch"])
def reference(request):
    """What is to be equalled: loops, which need nothing, and PyTorch where it is installed."""
    if request.param is pool_by_torch:
        pytest.importorskip("torch", reason="torch is the oracle of this test")
    return request.param


def agree(found, expected, rtol, atol, message=""):
    """The first three to the last bit, but of NaN; the last two, the means, nearly."""
    for a, b in zip(found[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(a, b, err_msg=message)
    number = ~np.isnan(np.asarray(found[0]))
    assert (np.signbit(found[0]) == np.signbit(expected[0]))[number].all(), message
    for a, b, r in zip(found[3:], expected[3:], rtol, strict=True):
        np.testing.assert_allclose(a, b, rtol=r, atol=atol, err_msg=message)


def pools(x, ct, sizes):
    """What `pool_by_loops` has, of jaxpool."""
    options = {"output_shape": sizes, "axes": tuple(range(-len(sizes), 0))}
    pool = functools.partial(jaxpool.adaptive_max_pool_with_argmax, **options)
    y, vjp, indices = jax.vjp(pool, x, has_aux=True)
    mean = functools.partial(jaxpool.adaptive_avg_pool, **options)
    return (y, indices, *vjp(ct), *both(mean, x, ct))


def both(function, x, ct):
    y, vjp = jax.vjp(function, x)
    return y, vjp(ct)[0]


def cotangent(shape):
    """Small whole numbers, whose sums are exact in any order."""
    return np.random.default_rng(0).integers(1, 100, shape).astype(np.float32)


def test_bins_of_every_size():
    for length, output in itertools.product(LENGTHS, OUTPUTS):
        assert found_bins(length, output) == bins(length, output)


def found_bins(length, output):
    laid = geometry.adaptive_intervals(length, output)
    starts, stops = (
        [bound + part * laid.length for part in range(laid.repeats) for bound, _ in b]
        for b in (laid.starts, laid.stops)
    )
    return list(zip(starts, stops, strict=True))


def test_bins_are_those_of_pytorch_for_every_size(exhaustive):
    """Means and maxima of 0, 1, 2, ... and of their negatives tell where each bin is."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    F = torch.nn.functional
    for length, output in itertools.product(LENGTHS, OUTPUTS if exhaustive else OUTPUTS[::3]):
        starts, stops = map(np.array, zip(*found_bins(length, output), strict=True))
        x = torch.arange(float(length))[None, None]
        np.testing.assert_array_equal(F.adaptive_max_pool1d(x, output)[0, 0], stops - 1)
        np.testing.assert_array_equal(-F.adaptive_max_pool1d(-x, output)[0, 0], starts)
        mean = (starts + stops - 1) / 2
        np.testing.assert_array_equal(F.adaptive_avg_pool1d(x, output)[0, 0], mean)


def test_the_loops_are_pytorch():
    """Which makes them worth something where PyTorch is not installed."""
    for shape, sizes in (((13,), (6,)), ((7,), (10,)), ((9, 8), (4, 6)), ((5, 4, 6), (3, 2, 8))):
        x, ct = rows(shape), cotangent((8, *sizes))
        agree(pool_by_torch(x, sizes, ct), pool_by_loops(x, sizes, ct), (2e-6, 2e-6), 2e-6)


# Side by side, one element each, few and many cells, cells that overlap as windows do and others,
# repeating parts, more cells than elements: in a multiple, and not.
PAIRS = [(1, 3), (2, 2), (2, 5), (3, 2), (4, 2), (6, 4), (5, 4), (6, 18), (7, 3), (9, 7), (10, 8),
         (12, 5), (13, 1), (15, 6), (23, 3), (32, 31), (2, 1), (8, 3), (9, 3), (11, 2), (14, 21),
         (16, 10), (17, 12), (19, 40), (24, 16), (25, 10), (28, 8), (32, 40)]  # fmt: skip


@pytest.mark.parametrize("first", range(4))
def test_every_size_equals_pytorch(first, reference, exhaustive):
    """Values, indices and gradients of maxima and means; not compiled, so that it takes seconds."""
    pairs = itertools.product(LENGTHS[first::4], OUTPUTS) if exhaustive else PAIRS[first::4]
    for length, output in pairs:
        x, ct = rows((length,), seed=length), cotangent((8, output))
        with np.errstate(invalid="ignore"):
            found = interpreter.run(functools.partial(pools, sizes=(output,)), x, ct)
        expected = reference(x, (output,), ct)
        agree(found, expected, (2e-6, 2e-6), 2e-6, f"{length} to {output}")


def test_one_axis_equals_pytorch(reference):
    """Compiled: outputs that divide, that do not, and that are larger."""
    pairs = [(1, 1), (1, 5), (5, 3), (7, 7), (13, 6), (12, 8), (7, 10), (31, 40), (32, 6)]
    inputs = {n: rows((n,), seed=n) for n, _ in pairs}
    cts = {o: cotangent((8, o)) for _, o in pairs}

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

    for (n, o), ((y, gradient), indices, mean) in zip(pairs, run(inputs, cts), strict=True):
        expected = reference(inputs[n], (o,), cts[o])
        agree((y, indices, gradient, *mean), expected, (1e-6, 2e-6), 1e-6, f"{n} to {o}")


@pytest.mark.parametrize(
    ("shape", "output"),
    [((13, 11), (6, 4)), ((7, 5), (3, 9)), ((8, 9), (None, 4)), ((5, 7, 6), (3, 2, 8)),
     ((32, 12), (6, 4)), ((211, 5), (13, 2))],
)  # fmt: skip
def test_several_axes_equal_pytorch(shape, output, reference):
    n = len(shape)
    x = rows((2, *shape))
    sizes = tuple(o or m for o, m in zip(output, shape, strict=True))
    ct = cotangent((8, 2, *sizes))
    axes = tuple(range(-n, 0))

    @jax.jit
    def run(x, ct):
        return (
            both(lambda x: jaxpool.adaptive_max_pool(x, output, axes=axes), x, ct),
            jaxpool.adaptive_max_pool_with_argmax(x, output, axes=axes)[1],
            both(lambda x: jaxpool.adaptive_avg_pool(x, output, axes=axes), x, ct),
            jaxpool.adaptive_max_pool(jnp.moveaxis(x, 1, -1), output),
        )

    (y, gradient), indices, mean, channels_last = run(x, ct)
    np.testing.assert_array_equal(np.moveaxis(channels_last, -1, 1), y)
    agree((y, indices, gradient, *mean), reference(x, sizes, ct), (2e-6, 2e-6), 1e-6)


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
    for module in (intervals, interval_max, interval_scan):
        monkeypatch.setattr(module, "form_of", lambda *_: form)
    monkeypatch.setattr(intervals, "_MOST_BLOCKS", 3)
    monkeypatch.setattr(intervals, "_MOST_STEPS", 3)
    monkeypatch.setattr(interval_max, "MOST_ROWS", 0)
    jax.clear_caches()


# Those that take a way of their own through the program, with a mask, without, or both.
QUICK = {("max", True), ("mean", False), ("lp", True), ("logsumexp", False)}


@pytest.mark.parametrize(("form", "traced"), [
    pytest.param(form, traced, id=f"{form}-{'traced' if traced else 'static'}",
                 marks=pytest.mark.exhaustive if traced and form == "blocks" else ())
    for form in FORMS for traced in (False, True)
])  # fmt: skip
def test_every_form_with_every_reduction(form, traced, monkeypatch, exhaustive):
    """Overlaps, gaps, an empty interval; with and without a mask; derivatives to second order."""
    force(form, monkeypatch)
    rng = np.random.default_rng(0)
    where = rng.random((1, 7, 5, 1)) < 0.5
    jobs = [job for job in itertools.product(REDUCTIONS, (True, False))
            if exhaustive or job in QUICK]  # fmt: skip

    def pool(x, bounds, reduction, where):
        domain = jaxpool.Intervals(*bounds)
        return jaxpool.pool(x, domain, reduction, where=where, empty_value=7)

    with jax.enable_x64(True):
        x = rng.normal(size=(2, 7, 5, 2))
        v, ct = rng.normal(size=x.shape), rng.normal(size=(2, 5, 3, 2))

        def everything(x, bounds):
            results = {}
            for name, plain in jobs:
                reduction, mask = REDUCTIONS[name], None if plain else where
                f = functools.partial(pool, bounds=bounds, reduction=reduction, where=mask)

                loss = lambda x, f=f: jnp.vdot(ct, f(x) ** 2)  # noqa: E731
                gradient, second = jax.jvp(jax.grad(loss), (x,), (v,))
                results[name, plain] = f(x), gradient, second
            return results

        if traced:
            arrays = jax.tree.map(np.array, (STARTS, STOPS), is_leaf=lambda b: type(b[0]) is int)
            run = functools.partial(jax.jit(everything), bounds=arrays)
        else:
            run = jax.jit(functools.partial(everything, bounds=(STARTS, STOPS)))
        found = run(x)
        near = run(x + 1e-5 * v), run(x - 1e-5 * v)
        found, near = jax.tree.map(np.asarray, (found, near))
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
def test_maxima_of_every_form_are_the_same_bits(form, reference, monkeypatch):
    """Ties, NaN, infinities, signed zeros: values, indices and gradients are PyTorch's."""
    force(form, monkeypatch)
    x, ct = rows((9, 8)), cotangent((8, 4, 6))

    @jax.jit
    def run(x, ct):
        pool = functools.partial(
            jaxpool.adaptive_max_pool_with_argmax, output_shape=(4, 6), axes=(1, 2)
        )
        y, vjp, indices = jax.vjp(pool, x, has_aux=True)
        return y, indices, vjp(ct)[0]

    found = run(x, ct)
    jax.clear_caches()
    agree(found, reference(x, (4, 6), ct)[:3], (), 0)


def test_sizes_that_divide_are_windows():
    @jax.jit
    def run(x):
        adaptive = (jaxpool.adaptive_max_pool, jaxpool.adaptive_avg_pool)
        window = (jaxpool.max_pool, jaxpool.avg_pool)
        return (
            [pool(x, (3, 4), axes=(1, 2)) for pool in adaptive],
            [pool(x, (4, 2), axes=(1, 2)) for pool in window],
        )

    for found, expected in zip(*run(rows((12, 8))), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


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
    y, gradient = jax.jit(lambda x: both(pool, x, np.ones((2, *output), np.float32)))(x)
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
    run = jax.jit(lambda x, ct: [both(lambda x, r=r: jaxpool.pool(x, domain, r), x, ct)
                                 for r in (jaxpool.Max(), jaxpool.Sum())])  # fmt: skip
    found = run(x, np.ones(3, np.float32))
    for (y, gradient), reduce in zip(found, (np.max, np.sum), strict=True):
        np.testing.assert_array_equal(y, [reduce(part) for part in parts])
        expected = np.zeros(8)
        for start, part in zip(starts, parts, strict=True):
            expected[start : start + len(part)] += part == part.max() if reduce is np.max else 1
        np.testing.assert_array_equal(gradient, expected)


def test_adaptive_numbers_from_the_documentation_of_pytorch():
    x = np.arange(10, dtype=np.float32)
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(x, 7, axes=0), [0.5, 1.5, 3, 4.5, 6, 7.5, 8.5]
    )
    np.testing.assert_array_equal(jaxpool.adaptive_avg_pool(x[:3], 5, axes=0), [0, 0.5, 1, 1.5, 2])


def test_peers_faults_are_not_copied():
    """Keras gives NaN for 7 to 7 of 0 .. 6, Equinox [0.5, 2.5, 4] for 5 to 3."""
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(np.arange(7, dtype=np.float32), 7, axes=0), np.arange(7)
    )
    np.testing.assert_array_equal(
        jaxpool.adaptive_avg_pool(np.arange(5, dtype=np.float32), 3, axes=0), [0.5, 2, 3.5]
    )
    # Equinox pools twice where sizes divide, so that a standard deviation is 0.
    spread = jaxpool.pool(
        np.array([1, 3, 2, 8], np.float32), jaxpool.Adaptive(2, axes=0), jaxpool.Lp()
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
    pools = (jaxpool.adaptive_avg_pool, jaxpool.adaptive_max_pool)
    run = jax.jit(lambda x, ct: [both(lambda x, p=p: p(x, 6, axes=1), x, ct)[1] for p in pools])
    for gradient in run(np.ones((1, 32), np.float32), ct):
        inside = np.isnan(np.asarray(gradient)[0])
        assert inside.any()
        assert not inside[:10].any()
        assert not inside[16:].any()


def test_narrow_floats_accumulate_in_float32():
    for dtype in ("bfloat16", "float16", "float8_e4m3fn"):
        x = np.ones((64, 64, 1), np.dtype(dtype))
        y = jax.jit(lambda x: jaxpool.adaptive_avg_pool(x, (3, 1)))(x)
        assert y.dtype == x.dtype
        np.testing.assert_array_equal(y.astype(np.float32), 1)


@pytest.mark.parametrize("number", range(5))
def test_no_gather_and_no_scatter_on_any_platform(number):
    # A TPU's own `select_and_scatter` walks the windows and writes each sum once: it is no scatter
    # of indices. Maxima of cells that overlap as windows do (13 to 6), and of windows at places
    # that are drawn, if they are many (20), use it there, and only there.
    x, u = np.ones((2, 13, 32, 4), np.float32), np.full((2, 4, 2), 0.3, np.float32)
    pool = [
        lambda x: jaxpool.adaptive_max_pool(x, (6, 3)),
        lambda x: jaxpool.adaptive_avg_pool(x, (6, 3)),
        lambda x: jaxpool.adaptive_max_pool_with_argmax(x, (6, 3))[0],
        lambda x: jaxpool.fractional_max_pool(x, (2, 3), output_shape=(6, 20), samples=u),
        lambda x: jaxpool.pool(x, jaxpool.Adaptive((6, 3)), jaxpool.Lp()),
    ][number]

    def f(x):
        y, vjp = jax.vjp(pool, x)
        return y, vjp(y)

    program = jax.jit(f).trace(x)
    for platform in ("cpu", "cuda", "tpu"):
        text = program.lower(lowering_platforms=(platform,)).as_text()
        if platform == "tpu" and number in (0, 3):
            text = text.replace("select_and_scatter", "").replace("reduce_window", "")
        for word in ("scatter", "gather", "transpose", "reduce_window"):
            assert word not in text, (platform, word)


def test_bounds_may_be_mapped_over():
    x = np.arange(20, dtype=np.float32).reshape(2, 10)
    starts, stops = np.array([[0, 4], [1, 5]]), np.array([[3, 9], [2, 12]])

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
    f = jax.jit(f)
    exported = jax.export.export(f)(jax.ShapeDtypeStruct(shape, np.float32))
    for batch, channels in ((1, 2), (3, 1)):
        x = np.random.default_rng(0).normal(size=(batch, 13, 9, channels)).astype(np.float32)
        for a, b in zip(exported.call(x), f(x), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
