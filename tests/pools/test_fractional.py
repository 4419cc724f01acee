"""Fractional pools against live PyTorch, and against TensorFlow's rule in loops."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from jaxpool._src.lowering.doubles import ceil_of_product
from jaxpool._src.pools.fractional_cells import torch_extremes

TESTS_OF = (
    "pools/fractional.py",
    "pools/fractional_cells.py",
    "lowering/intervals.py",
    "lowering/interval_max.py",
    "lowering/interval_scan.py",
    "lowering/strips.py",
    "lowering/doubles.py",
)

NAN = np.float32(np.nan)


def planes(shape, seed=0):
    """Planes side by side: random, ties, NaN."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=shape).astype(np.float32)
    x[1::3] = rng.integers(-1, 2, x[1::3].shape)
    x[2::3] = rng.choice([1.0, 2.0, NAN], x[2::3].shape, p=[0.45, 0.45, 0.1])
    return x


@pytest.mark.parametrize(
    ("spatial", "window", "output"),
    [((9, 7), (2, 3), (5, 4)),
     pytest.param((12, 11), (3, 2), (10, 7), marks=pytest.mark.exhaustive),
     ((6, 6), (2, 2), (5, 1)), ((203, 3), (2, 2), (141, 2)), ((6, 7, 5), (2, 3, 1), (4, 3, 3))],
)  # fmt: skip
def test_equals_pytorch(spatial, window, output, exhaustive):
    """1,500 planes: values, indices and gradients, channels first and last."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    n = len(spatial)
    function = getattr(torch.nn.functional, f"fractional_max_pool{n}d")
    samples = np.random.default_rng(1).random((60, 5, n), np.float32)
    samples[:9] = np.array([0, 0.5, 1 - 2**-24], np.float32).repeat(3)[:, None, None]
    x = planes((60, 5, *spatial))
    ct = np.random.default_rng(2).integers(1, 9, (60, 5, *output)).astype(np.float32)
    tensor = torch.tensor(x, requires_grad=True)
    # PyTorch has the samples of two axes in the order width, height.
    reordered = samples[..., ::-1].copy() if n == 2 else samples
    y, indices = function(
        tensor, window, output, return_indices=True, _random_samples=torch.tensor(reordered)
    )
    y.backward(torch.tensor(ct))

    @functools.partial(jax.jit, static_argnums=3)
    def run(x, samples, ct, axes):
        f = functools.partial(
            jaxpool.fractional_max_pool_with_argmax, window_shape=window, output_shape=output,
            samples=samples, axes=axes,
        )  # fmt: skip
        y, vjp, indices = jax.vjp(f, x, has_aux=True)
        return y, indices, vjp(ct)[0]

    found = run(x, samples, ct, tuple(range(-n, 0)))
    for a, b in zip(found, (y.detach(), indices, tensor.grad), strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    if n == 2 and (exhaustive or spatial == (9, 7)):
        last = lambda a: np.moveaxis(a, 1, -1)  # noqa: E731
        found = run(last(x), samples, last(ct), (-3, -2))
        for a, b in zip(found, (y.detach(), indices, tensor.grad), strict=True):
            np.testing.assert_array_equal(a, last(b.numpy()))


def test_one_axis_is_a_row_of_pytorch():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    x, u = planes((300, 1, 13)), np.random.default_rng(1).random((300, 1, 1), np.float32)
    expected = torch.nn.functional.fractional_max_pool2d(
        torch.tensor(x[..., None, :]), (1, 3), (1, 8),
        _random_samples=torch.tensor(np.concatenate([u, u], -1)),
    )  # fmt: skip
    y = jax.jit(lambda x, u: jaxpool.fractional_max_pool(x, 3, output_shape=8, axes=-1, samples=u))(
        x, u
    )
    np.testing.assert_array_equal(y, expected.numpy()[..., 0, :])
    mean = jaxpool.fractional_avg_pool(x[0, 0], 3, output_shape=8, axes=0, samples=u[0, 0])
    starts = torch.nn.functional.fractional_max_pool2d(
        torch.arange(13.0)[None, None, None], (1, 1), (1, 8), _random_samples=torch.zeros(1, 1, 2)
    )
    assert starts.shape[-1] == mean.size


@pytest.mark.parametrize(("length", "k", "cells"), [(9, 2, 5), (24, 3, 8), (112, 2, 80)])
def test_windows_stay_within_what_the_program_looks_at(length, k, cells):
    """Every start that any sample gives, at the edges of rounding too."""
    u = np.concatenate([np.arange(4096) / 4096, np.random.default_rng(0).random(4096)])
    u = np.unique(np.clip(np.concatenate([u, u - 1e-7, u + 1e-7]), 0, 1 - 2**-24)).astype(
        np.float32
    )
    alpha = np.float32(length - k) / np.float32(cells - 1)
    i = np.arange(cells - 1, dtype=np.float32)[:, None]
    starts = ((i + u) * alpha).astype(int) - (u * alpha).astype(int)
    x = np.broadcast_to(np.arange(length, dtype=np.float32), (u.size, length))
    pool = functools.partial(jaxpool.fractional_max_pool, output_shape=cells, axes=1)
    y = np.asarray(jax.jit(lambda x, u: pool(x, k, samples=u))(x, u[:, None]))
    np.testing.assert_array_equal(y[:, :-1], (starts + k - 1).T)
    np.testing.assert_array_equal(y[:, -1], length - 1)


def float32_starts(u, i, length, k, cells):
    """Starts of the windows i, for each u, by PyTorch's rule."""
    alpha = np.float32(length - k) / np.float32(cells - 1)
    i = np.asarray(i, np.float32)[:, None]
    return ((i + u) * alpha).astype(int) - (u * alpha).astype(int)


@pytest.mark.parametrize(("length", "cells"), [(16_000, 7000), (160_000, 70_000), (2**20, 700_000)])
def test_starts_are_within_limits_at_any_length(length, cells):
    """Float32 rounds beyond i*a, rounded down or up, where i*a has many digits."""
    rng = np.random.default_rng(0)
    u = np.append(rng.random(500, np.float32), np.float32([0, 0.8748299, 1 - 2**-24]))
    least, largest = torch_extremes(length, 2, cells, np.float32)
    i = np.unique(np.append(rng.integers(0, cells - 1, 2000), np.arange(cells - 2000, cells - 1)))
    starts = float32_starts(u, i, length, 2, cells)
    assert (starts >= least[i][:, None]).all()
    assert (starts <= largest[i][:, None]).all()
    a = (length - 2) / (cells - 1)
    beyond = (starts > np.floor(i * a)[:, None] + 1) | (starts < np.floor(i * a)[:, None])
    assert beyond.any()  # or this would not be a test


@pytest.mark.parametrize(
    ("length", "k", "cells"), [(16_000, 2, 7000), (4000, 5, 37), (300, 3, 297)]
)
def test_long_axes_equal_pytorch(length, k, cells):
    """Values, indices, gradients and means; of samples whose starts float32 rounds away too."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    u = np.random.default_rng(0).random((6, 1), np.float32)
    u[:3, 0] = 0.8748299, 0, 1 - 2**-24
    x = np.random.default_rng(1).integers(-9, 9, (6, length)).astype(np.float32)
    ct = np.random.default_rng(2).integers(1, 9, (6, cells)).astype(np.float32)
    tensor = torch.tensor(x, requires_grad=True)
    y, indices = torch.nn.functional.fractional_max_pool2d(
        tensor[:, None, None], (1, k), (1, cells), return_indices=True,
        _random_samples=torch.tensor(np.concatenate([u, u], -1)[:, None]),
    )  # fmt: skip
    y.backward(torch.tensor(ct[:, None, None]))
    options = {"window_shape": k, "output_shape": cells, "axes": 1}

    @jax.jit
    def run(x, u, ct):
        pool = functools.partial(jaxpool.fractional_max_pool_with_argmax, samples=u, **options)
        y, vjp, indices = jax.vjp(pool, x, has_aux=True)
        mean = lambda x: jaxpool.fractional_avg_pool(x, samples=u, **options)  # noqa: E731
        average, pull_back = jax.vjp(mean, x)
        return (y, indices, vjp(ct)[0]), average, pull_back(ct)[0]

    found, average, gradient = run(x, u, ct)
    for a, b in zip(found, (y.detach()[:, 0, 0], indices[:, 0, 0], tensor.grad), strict=True):
        np.testing.assert_array_equal(a, b.numpy())
    starts = float32_starts(u[:, 0], np.arange(cells - 1), length, k, cells).T
    starts = np.append(starts, np.full((6, 1), length - k), 1)
    places = starts[..., None] + np.arange(k)
    rows = np.arange(6)[:, None, None]
    np.testing.assert_allclose(average, x[rows, places].mean(-1), rtol=1e-6, atol=1e-6)
    expected = np.zeros_like(x)
    np.add.at(expected, (rows, places), ct[..., None] / np.float32(k))
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_long_axes_with_a_mask():
    """Maxima and means of 180 windows, in loops of NumPy."""
    length, k, cells = 260, 3, 180
    rng = np.random.default_rng(0)
    x, where = rng.normal(size=(2, length)).astype(np.float32), rng.random((2, length)) < 0.5
    x[~where] = NAN
    u = rng.random((2, 1)).astype(np.float32)
    alpha = np.float32(length - k) / np.float32(cells - 1)
    i = np.arange(cells - 1, dtype=np.float32)
    starts = ((i + u) * alpha).astype(int) - (u * alpha).astype(int)
    starts = np.concatenate([starts, np.full((2, 1), length - k)], 1)
    options = {"output_shape": cells, "axes": 1, "samples": u, "where": where, "empty_value": 7}
    for pool, reduce in (
        (jaxpool.fractional_max_pool, np.max), (jaxpool.fractional_avg_pool, np.mean)
    ):  # fmt: skip

        @jax.jit
        def run(x, pool=pool):
            y, pull_back = jax.vjp(lambda x: pool(x, k, **options), x)
            return y, pull_back(jnp.ones_like(y))[0]

        y, found = run(x)
        expected, gradient = np.full((2, cells), 7, np.float32), np.zeros_like(x)
        for row, window in np.ndindex(2, cells):
            place = starts[row, window] + np.flatnonzero(
                where[row, starts[row, window] : starts[row, window] + k]
            )
            if place.size:
                values = x[row, place]
                expected[row, window] = reduce(values)
                if reduce is np.max:
                    gradient[row, place[values.argmax()]] += 1
                else:
                    gradient[row, place] += 1 / place.size
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found, gradient, rtol=1e-6)


def by_tensorflow(x, u, cells, overlapping):
    """Maximum and mean of a row, by TensorFlow's rule in float64."""
    n = len(x)
    alpha, k = n / cells, n // cells
    if n % cells == 0:
        bounds = [i * k for i in range(cells + 1)]
    else:
        u = u * min((k + 2) / alpha - 1, (n + 1 - k) / alpha - (cells - 1))
        bounds = [0, *(math.ceil(alpha * (i + u)) - 1 for i in range(1, cells)), n]
    parts = [x[a : b + overlapping] for a, b in itertools.pairwise(bounds)]
    return np.array([p.max() for p in parts]), np.array([p.mean() for p in parts]), bounds


@pytest.mark.parametrize(("length", "cells"), [(13, 6), (4097, 2000), (1000, 24)])
def test_tensorflow_counts_in_float64(length, cells):
    """Sequences in NumPy's float64; cells of two sizes at the largest sample too."""
    k, alpha = length // cells, length / cells
    most = min((k + 2) / alpha - 1, (length + 1 - k) / alpha - (cells - 1))
    u = np.append(
        np.random.default_rng(0).random(60, np.float32), np.float32([0, 1 - 2**-24, 1e-9])
    )
    i = np.arange(1, cells)
    inner = np.ceil(alpha * (i + u.astype(np.float64)[:, None] * most)) - 1
    bounds = np.pad(inner, ((0, 0), (1, 1)), constant_values=((0, 0), (0, length))).astype(int)
    assert set(np.unique(np.diff(bounds))) == {k, k + 1}
    x = np.arange(length, dtype=np.float32)
    options = {"output_shape": cells, "axes": 0, "scheme": "tensorflow"}

    @jax.jit
    @jax.vmap
    def run(u):
        largest = lambda x, **more: jaxpool.fractional_max_pool(  # noqa: E731
            x, samples=u[None], **options, **more
        )
        y, vjp = jax.vjp(largest, x)
        return y, vjp(y)[0], largest(x, overlapping=True)

    y, gradient, overlapping = map(np.asarray, run(u))
    np.testing.assert_array_equal(y, bounds[:, 1:] - 1)
    np.testing.assert_array_equal(overlapping, np.minimum(bounds[:, 1:], length - 1))
    expected = np.zeros_like(gradient)
    np.put_along_axis(expected, bounds[:, 1:] - 1, y, 1)
    np.testing.assert_array_equal(gradient, expected)


def test_tensorflow_scheme_with_samples_of_float64():
    x = np.random.default_rng(0).normal(size=13)
    for u in (0.3, 0.0, 1 - 2**-53):
        with jax.enable_x64(True):
            y = jaxpool.fractional_max_pool(
                x, output_shape=6, axes=0, samples=np.full(1, u), scheme="tensorflow"
            )
        np.testing.assert_array_equal(y, by_tensorflow(x, u, 6, False)[0])


def test_products_of_float64_in_integers():
    rng = np.random.default_rng(0)
    u = np.concatenate([
        rng.random(300, np.float32), rng.integers(0, 64, 50).astype(np.float32) / 64,
        np.float32([0, 1e-40, 1e-30, 1 - 2**-24]), np.float32(2) ** -np.arange(1, 60),
        3 * np.float32(2) ** -np.arange(2, 60), rng.random(50, np.float32) * np.float32(2**-40),
    ])  # fmt: skip
    for length, cells in [
        (6, 4),
        (13, 6),
        (7, 3),
        (44_100, 30_000),
        (1_000_003, 999_983),
        (2**30 - 1, 5),
    ]:
        k, alpha = length // cells, length / cells
        most = min((k + 2) / alpha - 1, (length + 1 - k) / alpha - (cells - 1))
        i = np.unique(rng.integers(1, cells, 200)).astype(np.int32)[:, None]
        found = jax.jit(functools.partial(ceil_of_product, scale=alpha, most=most))(i, u[None])
        np.testing.assert_array_equal(found, np.ceil(alpha * (i + u.astype(np.float64) * most)))


@pytest.mark.parametrize("overlapping", [False, True])
def test_tensorflow_scheme(overlapping):
    rng = np.random.default_rng(0)
    for length, cells in [(13, 9), (20, 6), (12, 4)]:
        x = rng.normal(size=(2, length)).astype(np.float32)
        options = {"axes": 1, "overlapping": overlapping}

        @jax.jit
        def run(u, x=x, cells=cells, options=options):
            more = {"output_shape": cells, "samples": u, "scheme": "tensorflow", **options}
            return [f(x, **more) for f in
                    (jaxpool.fractional_max_pool, jaxpool.fractional_avg_pool)]  # fmt: skip

        for u in rng.random((20, 1)).astype(np.float32):
            largest, mean, bounds = by_tensorflow(x[1], float(u[0]), cells, overlapping)
            found = run(u)
            np.testing.assert_array_equal(found[0][1], largest)
            np.testing.assert_allclose(found[1][1], mean, rtol=1e-6, atol=1e-6)
    for given in (bounds, np.array(bounds), jnp.array(bounds)):
        y = jaxpool.fractional_max_pool(x, boundaries=[given], **options)
        np.testing.assert_array_equal(y[1], largest)


def test_numbers_from_the_documentation_of_tensorflow():
    """Of ``fractional_max_pool`` and ``fractional_avg_pool``, with overlapping cells."""
    x, options = jnp.array([20.0, 5, 16, 3, 7]), {"axes": 0, "overlapping": True}
    largest = jaxpool.fractional_max_pool(x, boundaries=[[0, 2, 4]], **options)
    np.testing.assert_array_equal(largest, [20, 16])
    mean = jaxpool.fractional_avg_pool(x, boundaries=[[0, 2, 4]], **options)
    np.testing.assert_allclose(mean, [41 / 3, 26 / 3], rtol=1e-6)


def test_one_key_gives_each_plane_its_own_places():
    x = np.broadcast_to(np.arange(25.0, dtype=np.float32)[:, None], (40, 25, 8))
    pool = functools.partial(jaxpool.fractional_max_pool, window_shape=(2,), output_shape=(11,))
    pool = jax.jit(pool)
    y = np.asarray(pool(x, key=jax.random.key(0)))
    # With steps of 23 / 10 there are ten ways to round.
    assert len({tuple(row) for row in y.transpose(0, 2, 1).reshape(-1, 11)}) == 10
    np.testing.assert_array_equal(y, pool(x, key=jax.random.key(0)))
    assert (y != pool(x, key=jax.random.key(1))).any()
    by_tensorflow = functools.partial(jaxpool.fractional_max_pool, scheme="tensorflow")
    shared = np.asarray(jax.jit(lambda x, key: by_tensorflow(x, output_shape=(11,), key=key))(
        x, jax.random.key(0)
    ))  # fmt: skip
    np.testing.assert_array_equal(shared, np.broadcast_to(shared[:1, :, :1], shared.shape))


def test_vmap_with_a_key_each_is_one_by_one():
    x = np.random.default_rng(0).normal(size=(3, 9, 8, 2)).astype(np.float32)
    keys = jax.random.split(jax.random.key(0), 3)
    pool = lambda x, key: jaxpool.fractional_avg_pool(x, 2, output_ratio=0.6, axes=(0, 1), key=key)  # noqa: E731
    run = jax.jit(
        lambda x, keys: (jax.vmap(pool)(x, keys), [pool(x[i], keys[i]) for i in range(3)])
    )
    y, one_by_one = run(x, keys)
    assert y.shape == (3, 5, 4, 2)
    for i in range(3):
        np.testing.assert_allclose(y[i], one_by_one[i], rtol=1e-6)


def test_deterministic_is_one_half():
    x = planes((3, 2, 11))
    half = np.full((3, 2, 1), 0.5, np.float32)

    @jax.jit
    def run(x, half):
        pool = functools.partial(jaxpool.fractional_max_pool, x, output_shape=6, axes=-1)
        ways = [functools.partial(pool, 3), functools.partial(pool, scheme="tensorflow")]
        samples = half, half[0, 0]
        return [
            (way(deterministic=True), way(samples=u)) for way, u in zip(ways, samples, strict=True)
        ]

    for found, expected in run(x, half):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64", "int8"])
def test_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = (np.arange(40).reshape(2, 20) % 7).astype(np.dtype(dtype))
        u = np.random.default_rng(0).random((2, 1)).astype(np.float32)
        options = {"window_shape": 3, "output_shape": 12, "axes": 1, "samples": u}

        @jax.jit
        def run(x):
            mean = jaxpool.fractional_avg_pool(x, **options)
            wide = x.astype(np.promote_types(mean.dtype, np.float32))
            return (
                jaxpool.fractional_max_pool(x, **options),
                mean,
                jaxpool.fractional_avg_pool(wide, **options),
            )

        largest, mean, wide = run(x)
        assert largest.dtype == np.dtype(dtype)
        assert mean.dtype == (np.float32 if dtype == "int8" else np.dtype(dtype))
        np.testing.assert_array_equal(mean, wide.astype(mean.dtype))


@pytest.mark.parametrize("sample", [1.0, -0.1, np.nan])
def test_samples_out_of_range_are_refused(sample):
    x, samples = np.arange(7, dtype=np.float32), np.full(1, sample, np.float32)
    with pytest.raises(ValueError, match=r"`samples` must lie in \[0, 1\)"):
        jaxpool.fractional_max_pool(x, 2, output_shape=3, samples=samples, axes=0)


def test_samples_of_float64_are_taken_in_silence():
    """Also where no program is made, and where float32 would round them to 1."""
    x, samples = np.arange(7, dtype=np.float32), np.full(1, 1 - 1e-12)
    pool = functools.partial(jaxpool.fractional_max_pool, x, 1, output_shape=4, axes=0)
    expected = pool(samples=np.full(1, 1 - 2**-24, np.float32))
    np.testing.assert_array_equal(pool(samples=samples), expected)
    with jax.disable_jit():
        np.testing.assert_array_equal(pool(samples=samples), expected)


def test_deterministic_cells_of_long_axes():
    """Which the program computes, and not while tracing."""
    x = np.random.default_rng(0).normal(size=(2, 1400)).astype(np.float32)
    half = np.full((2, 1), 0.5, np.float32)

    @jax.jit
    def run(x):
        pool = functools.partial(jaxpool.fractional_max_pool, x, output_shape=900, axes=-1)
        by_tensorflow = functools.partial(pool, scheme="tensorflow")
        return [
            (pool(3, deterministic=True), pool(3, samples=half)),
            (by_tensorflow(deterministic=True), by_tensorflow(samples=half[0])),
        ]

    for found, expected in run(x):
        np.testing.assert_array_equal(found, expected)
