"""Intervals against slices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests.cases import distinct

TESTS_OF = (
    "domains/intervals.py",
    "core/pool.py",
    "lowering/interval_scan.py",
    "lowering/interval_max.py",
    "lowering/intervals.py",
    "lowering/interval_trees.py",
)


def test_stops_beyond_x_count_no_elements_there():
    x = distinct((5,))
    starts, stops = jnp.array([0, 2, 4]), jnp.array([9, 4, 6])
    y = jaxpool.pool(x, jaxpool.Intervals(starts, stops, axes=0), jaxpool.Mean())
    np.testing.assert_allclose(y, [x.mean(), x[2:4].mean(), x[4]], rtol=1e-6)


def test_axes_in_any_order():
    """Of equal maxima the first in x takes the gradient, whichever axis is named first."""
    rows, columns = ([0, 1], [2, 4]), ([0, 3], [4, 6])
    domain = jaxpool.Intervals((columns[0], rows[0]), (columns[1], rows[1]), axes=(1, 0))
    same = jaxpool.Intervals((rows[0], columns[0]), (rows[1], columns[1]), axes=(0, 1))
    x = distinct((4, 6))
    for reduction in (jaxpool.Max(), jaxpool.Median(), jaxpool.Mean()):
        y = jaxpool.pool(x, domain, reduction)
        np.testing.assert_array_equal(y, jaxpool.pool(x, same, reduction))
    for i, j in np.ndindex(2, 2):
        part = x[rows[0][i] : rows[1][i], columns[0][j] : columns[1][j]]
        assert jaxpool.pool(x, domain, jaxpool.Max())[i, j] == part.max()
    loss = lambda x: jaxpool.pool(x, domain, jaxpool.Max()).sum()  # noqa: E731
    expected = np.zeros((4, 6))
    for i, j in np.ndindex(2, 2):
        expected[rows[0][i], columns[0][j]] += 1
    np.testing.assert_array_equal(jax.grad(loss)(jnp.ones((4, 6))), expected)


def test_indices_of_axes_in_any_order():
    x = distinct((4, 6))
    y, indices = jaxpool.adaptive_max_pool_with_argmax(x, (3, 2), axes=(1, 0))
    np.testing.assert_array_equal(x.ravel()[indices], y)
    np.testing.assert_array_equal(y, jaxpool.adaptive_max_pool(x, (2, 3), axes=(0, 1)))


def test_an_empty_interval_is_not_valid():
    domain = jaxpool.Intervals([0, 2, 3], [2, 2, 5], axes=0)
    mask = np.array([True, True, False, True, True])
    for mode in ("any", "all"):
        found = jaxpool.pool_mask(mask, domain, mode=mode)
        np.testing.assert_array_equal(found, [True, False, True])


@pytest.mark.parametrize("at_once", [64, 1], ids=["written out", "loop"])
def test_a_scan_goes_along_several_axes_in_order(at_once):
    x = distinct((4, 2, 6))
    rows, columns = [(0, 3), (1, 4)], [(0, 2), (1, 4), (3, 6)]
    bounds = [[interval[end] for interval in axis] for end in (0, 1) for axis in (rows, columns)]
    domain = jaxpool.Intervals(bounds[:2], bounds[2:], axes=(0, 2))
    step = lambda state, element, number: (  # noqa: E731
        state * 0.75 + element * jnp.asarray(number + 1, jnp.float32)
    )
    found = domain.scan(step, jnp.zeros((2, 2, 3)), x, at_once=at_once)
    for i, j in np.ndindex(2, 3):
        state = np.zeros(2)
        width = max(stop - start for start, stop in columns)
        for row, column in np.ndindex(rows[i][1] - rows[i][0], columns[j][1] - columns[j][0]):
            element = x[rows[i][0] + row, :, columns[j][0] + column]
            state = state * 0.75 + element * (row * width + column + 1)
        np.testing.assert_allclose(found[i, :, j], state, rtol=1e-5)


@pytest.mark.parametrize("per_batch", [False, True], ids=["shared", "of each row"])
def test_many_intervals_that_only_the_program_knows(per_batch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 301)).astype(np.float32)
    x[0, 7], x[1, 250], x[2, 8] = np.nan, np.inf, -np.inf
    starts, stops = rng.integers(-2, 301, (2, 3 if per_batch else 1, 120))

    @jax.jit
    def run(x, starts, stops, ct):
        domain = jaxpool.Intervals((starts,), (stops,), axes=(1,))
        y, back = jax.vjp(lambda x: jaxpool.pool(x, domain, jaxpool.Sum()), x)
        return y, back(ct)[0], jaxpool.pool(x, domain, jaxpool.Mean(), where=x > 0)

    ct = rng.normal(size=(3, 120)).astype(np.float32)
    found, gradient, mean = run(x, starts.astype(np.int32), stops.astype(np.int32), ct)
    slopes = np.zeros(x.shape)
    for row, i in np.ndindex(3, 120):
        start, stop = (bound[row if per_batch else 0, i] for bound in (starts, stops))
        cell = slice(max(start, 0), max(stop, 0))
        slopes[row, cell] += ct[row, i]
        some = x[row, cell][x[row, cell] > 0]
        np.testing.assert_allclose(
            found[row, i], x[row, cell].sum(dtype=np.float64), rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(mean[row, i], some.mean() if len(some) else 0, rtol=1e-5)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-5)


def many_intervals(bounds_of):
    """A row, an interval's number, and the places of its elements in that row."""
    starts, stops = bounds_of
    for row, i in np.ndindex(3, starts.shape[1]):
        start, stop = (int(bound[min(row, len(bound) - 1), i]) for bound in (starts, stops))
        yield row, i, range(max(start, 0), max(stop, 0, start))


@pytest.mark.parametrize("per_batch", [False, True], ids=["shared", "of each row, masked"])
def test_many_maxima_that_only_the_program_knows(per_batch):
    """The first of equal maxima takes the gradient, or the last NaN."""
    rng = np.random.default_rng(1)
    x = rng.integers(-3, 3, (3, 301)).astype(np.float32)
    x[0, [7, 90]], x[1, 250], x[2, 100:200] = np.nan, np.inf, -np.inf
    bounds = rng.integers(-2, 301, (2, 3 if per_batch else 1, 120)).astype(np.int32)
    where = rng.random((3, 301)) < 0.3 if per_batch else None

    @jax.jit
    def run(x, bounds, ct):
        domain = jaxpool.Intervals((bounds[0],), (bounds[1],), axes=(1,))

        def largest(x):
            return jaxpool.pool(x, domain, jaxpool.Max(), where=where, empty_value=-9)

        y, back = jax.vjp(largest, x)
        return y, back(ct)[0], domain.argmax(x, where)

    ct = rng.normal(size=(3, 120)).astype(np.float32)
    found, gradient, places = run(x, bounds, ct)
    slopes = np.zeros(x.shape)
    for row, i, cell in many_intervals(bounds):
        inside = [j for j in cell if where is None or where[row, j]]
        if not inside:
            assert found[row, i] == -9
            continue
        nans = [j for j in inside if np.isnan(x[row, j])]
        place = nans[-1] if nans else inside[np.argmax(x[row, inside])]
        slopes[row, place] += ct[row, i]
        np.testing.assert_array_equal(found[row, i], x[row, place])
        assert places[row, i] == place
    np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-5)


def test_many_folds_that_only_the_program_knows_are_in_order():
    rng = np.random.default_rng(2)
    x = rng.uniform(0.5, 1.5, (3, 301)).astype(np.float32)
    bounds = rng.integers(-2, 301, (2, 1, 120)).astype(np.int32)
    polynomial = jaxpool.Monoid(
        lambda a, b: (a[0] * b[0], a[1] * b[0] + b[1]),
        (1.0, 0.0),
        lambda x: (jnp.full_like(x, 0.5), x),
        lambda state: state[1],
    )

    @jax.jit
    def run(x, bounds, ct):
        domain = jaxpool.Intervals((bounds[0],), (bounds[1],), axes=(1,))
        y, back = jax.vjp(lambda x: jaxpool.pool(x, domain, polynomial), x)
        return y, back(ct)[0]

    ct = rng.normal(size=(3, 120)).astype(np.float32)
    found, gradient = run(x, bounds, ct)
    slopes = np.zeros(x.shape)
    for row, i, cell in many_intervals(bounds):
        weights = 0.5 ** np.arange(len(cell))[::-1]
        np.testing.assert_allclose(found[row, i], weights @ x[row, cell], rtol=1e-5, atol=1e-30)
        slopes[row, cell] += ct[row, i] * weights
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)
