"""Unpooling against PyTorch and NumPy loops, its derivatives, and what its programs are made of."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.experimental import checkify
from jax.test_util import check_grads

import jaxpool
from jaxpool._src.lowering import unpool as lowering
from tests import cases

TESTS_OF = ("pools/unpool.py", "lowering/unpool.py")

MODES = ("set", "add", "max")
modes = pytest.mark.parametrize("mode", MODES)
NAN, INF = np.float32(np.nan), np.float32(np.inf)

# One plane of 12 positions with duplicates, a bad index on either side, and one far out.
Y = np.array([1.0, -2.0, 3.0, -4.0, 3.0, 6.0, 7.0, -8.0], np.float32)
INDICES = np.array([0, 5, 0, 5, 0, -1, 12, 2**31 - 1], np.int32)
plane = functools.partial(jaxpool.max_unpool, window_shape=2, strides=1, axes=-1, output_shape=9)


def by_loop(y, indices, size, mode):
    """A plane, and for each of its values which of `y` it is (-1 if none, and for sums)."""
    result, source = np.zeros(size, y.dtype), np.full(size, -1)
    for place, (value, index) in enumerate(zip(y, indices, strict=True)):
        if not 0 <= index < size:
            continue
        if mode == "add":
            result[index] += value
            continue
        first = source[index] < 0
        if mode == "max" and not first:
            old = result[index]
            if np.isnan(old) or not (value > old or np.isnan(value)):
                continue
        result[index], source[index] = value, place
    return result, source


def gradient_by_loop(y, indices, size, mode, ct):
    """Of a plane's `ct`, what each value of `y` gets."""
    _, source = by_loop(y, indices, size, mode)
    inside = (indices >= 0) & (indices < size)
    return np.array([
        ct[i] if ok and (mode == "add" or source[i] == place) else 0
        for place, (i, ok) in enumerate(zip(indices, inside, strict=True))
    ], y.dtype)  # fmt: skip


def random_planes(seed, batch=(), n=40, size=30, values=(-1.0, 0.0, 1.0, 2.0)):
    rng = np.random.default_rng(seed)
    y = rng.choice(np.array(values, np.float32), (*batch, n))
    return y, rng.integers(-3, size + 3, (*batch, n)).astype(np.int32)


# What it is.


@pytest.mark.parametrize(
    ("mode", "expected", "gradient"),
    [
        ("set", [2, 0, 0, 3, 0, 0], [0, 1, 1]),  # PyTorch's backward pass gives [1, 1, 1]
        ("add", [3, 0, 0, 3, 0, 0], [1, 1, 1]),
        ("max", [2, 0, 0, 3, 0, 0], [0, 1, 1]),
    ],
)
def test_duplicates(mode, expected, gradient):
    y, indices = np.array([1, 2, 3], np.float32), jnp.array([0, 0, 3])
    unpool = lambda y: jaxpool.max_unpool(y, indices, 2, axes=0, mode=mode)  # noqa: E731
    np.testing.assert_array_equal(unpool(y), np.array(expected, np.float32), strict=True)
    np.testing.assert_array_equal(jax.grad(lambda y: unpool(y).sum())(y), gradient)


@modes
def test_equals_loop(mode):
    size = 30
    for seed in range(5):
        y, indices = random_planes(seed, size=size)
        found = lowering.unpool_planes(jnp.asarray(y), jnp.asarray(indices), size, mode)
        np.testing.assert_array_equal(found, by_loop(y, indices, size, mode)[0])


@modes
def test_max_of_equal_values_is_the_first(mode):
    y, indices = jnp.array([2.0, 2.0, 2.0, 1.0]), jnp.zeros(4, jnp.int32)
    gradient = jax.grad(lambda y: plane(y, indices, output_shape=5, mode=mode)[0])(y)
    expected = {"set": [0, 0, 0, 1], "add": [1, 1, 1, 1], "max": [1, 0, 0, 0]}[mode]
    np.testing.assert_array_equal(gradient, expected)


def test_zeros_keep_their_sign():
    y, indices = jnp.array([-0.0, 0.0]), jnp.array([3, 1])
    for mode in ("set", "max"):
        found = jax.jit(lambda y, m=mode: jaxpool.max_unpool(y, indices, 2, axes=0, mode=m))(y)
        np.testing.assert_array_equal(np.signbit(found), [False, False, False, True])
    # They are equal, so the first wins.
    y = jnp.array([-0.0, 0.0])
    found = jaxpool.max_unpool(y, jnp.array([2, 2]), 2, axes=0, mode="max")
    np.testing.assert_array_equal(np.signbit(found), [False, False, True, False])


def test_nan_is_above_all_in_mode_max():
    y = jnp.array([NAN, INF, 1.0, INF, NAN, NAN, -INF, -INF])
    indices = jnp.array([0, 0, 1, 2, 2, 2, 3, 3])
    unpool = lambda y: jaxpool.max_unpool(y, indices, 2, axes=0, mode="max")  # noqa: E731
    np.testing.assert_array_equal(unpool(y)[:5], [NAN, 1, NAN, -INF, 0])
    gradient = jax.vjp(unpool, y)[1](np.ones(16, np.float32))[0]
    np.testing.assert_array_equal(gradient, [1, 0, 1, 0, 1, 0, 1, 0])


@modes
def test_nan_stays_where_it_is(mode):
    y = jnp.array([1.0, NAN, 2.0, 3.0])
    found = jaxpool.max_unpool(y, jnp.array([0, 3, 0, 5]), 2, axes=0, mode=mode)
    first = 3 if mode == "add" else 2
    np.testing.assert_array_equal(found, [first, 0, 0, NAN, 0, 3, 0, 0])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "int8", "uint8", "int32",
                                   "uint32", "bool"])  # fmt: skip
def test_dtypes(dtype):
    y, indices = np.array([1, 0, 1, 1]).astype(np.dtype(dtype)), np.array([0, 0, 3, 9], np.int32)
    run = jax.jit(lambda y: [jaxpool.max_unpool(y, indices, 2, axes=0, mode=m) for m in MODES])
    for mode, found in zip(MODES, run(y), strict=True):
        assert found.dtype == y.dtype
        expected = np.zeros(8, np.float32)
        expected[[0, 3]] = [0 if mode == "set" else 1, 1]
        np.testing.assert_array_equal(np.asarray(found).astype(np.float32), expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sums_accumulate_in_float32(dtype):
    n = 2**13  # in steps of one, bfloat16 stays at 256 and float16 at 2048
    y, indices = jnp.ones(n, dtype), jnp.zeros(n, jnp.int32)
    for jit in (lambda f: f, jax.jit):
        found = jit(lambda y: jaxpool.max_unpool(y, indices, 1, axes=0, mode="add"))(y)
        assert found[0] == n
    wide = lowering._sorted_sum(y.astype(np.float32), indices, 4)
    np.testing.assert_array_equal(wide, [n, 0, 0, 0])


def test_indices_of_any_int_dtype():
    y = jnp.arange(1.0, 101.0)
    for dtype in (jnp.int8, jnp.int16, jnp.int32):
        indices = jnp.arange(100).astype(dtype)  # the size, 400, does not fit int8
        for mode in MODES:
            found = jaxpool.max_unpool(y, indices, 4, axes=0, mode=mode)
            np.testing.assert_array_equal(found[:100], y)
    with jax.enable_x64():
        indices = np.array([0, 2**33, 3])
        found = jaxpool.max_unpool(np.ones(3), indices, 2, axes=0)
        np.testing.assert_array_equal(found, [1, 0, 0, 1, 0, 0])


# Against pooling and PyTorch.


@pytest.mark.parametrize("case", [
    cases.Case("plane", (2, 8, 6, 3), window_shape=(2, 2)),
    cases.Case("stem", (2, 9, 9, 3), window_shape=(3, 3), strides=2, padding=1),
    cases.Case("line", (2, 11, 2), window_shape=(4,), strides=3, padding=((1, 0),)),
    cases.Case("volume", (1, 4, 5, 6, 2), window_shape=(2, 3, 2), strides=1),
    cases.Case("channels_first", (2, 3, 7, 6), window_shape=(3, 2), strides=2, axes=(-2, -1)),
    cases.Case("reversed_axes", (5, 2, 6, 3), window_shape=(2, 3), axes=(2, 0)),
    cases.Case("no_batch", (7, 6), window_shape=(3, 3), strides=2, padding=1, axes=(0, 1)),
], ids=str)  # fmt: skip
def test_round_trip(case, exhaustive):
    """Every maximum comes back to its place, and all else is 0."""
    x = cases.distinct(case.shape)
    where = (case.window_shape, case.strides, case.padding)
    sizes = tuple(case.shape[a] for a in case.pooled)
    chosen_modes = ("set", "max") if exhaustive or case.name in ("stem", "volume") else ("set",)

    @jax.jit
    def run(x):
        y, indices = jaxpool.max_pool_with_argmax(x, **case.geometry)
        unpool = functools.partial(jaxpool.max_unpool, axes=case.axes, output_shape=sizes)
        return indices, [unpool(y, indices, *where, mode=mode) for mode in chosen_modes]

    indices, found = jax.tree.map(np.asarray, run(x))
    planes = lambda a: np.moveaxis(a, case.pooled, range(-len(sizes), 0))  # noqa: E731
    chosen = planes(indices).reshape(-1, int(np.prod([indices.shape[a] for a in case.pooled])))
    for back in found:
        kept = back != 0
        np.testing.assert_array_equal(back, np.where(kept, x, 0))
        assert kept.sum() == sum(len(set(row.tolist())) for row in chosen)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is the oracle of this test")


@pytest.mark.parametrize(
    ("shape", "k", "s", "p", "sizes"),
    [
        ((2, 3, 8), (2,), None, (0,), [None, (7,), (9,)]),
        ((2, 3, 9), (3,), (2,), (1,), [None, (8,), (10,)]),
        ((2, 3, 6, 8), (2, 2), None, (0, 0), [None, (7, 9), (5, 7)]),
        ((1, 2, 9, 8), (3, 2), (2, 2), (1, 0), [None, (9, 9), (10, 8)]),
        ((1, 2, 4, 4, 6), (2, 2, 3), (2, 2, 3), (0, 0, 0), [None, (5, 4, 8)]),
    ],
)
def test_torch(torch, shape, k, s, p, sizes, exhaustive):
    n = len(k)
    pool, unpool = (getattr(torch.nn.functional, f"max_{name}{n}d") for name in ("pool", "unpool"))
    x = cases.distinct(shape)
    y, indices = pool(torch.tensor(x), k, s, p, return_indices=True)
    axes = tuple(range(-n, 0))
    for size in sizes if exhaustive else sizes[:2]:
        y.requires_grad_()
        try:
            expected = unpool(y, indices, k, s, p, size)
        except (RuntimeError, IndexError):  # an index beyond a smaller size
            assert size is not None
            continue
        theirs, ours = y.detach().numpy(), indices.numpy().astype(np.int32)
        run = functools.partial(
            jaxpool.max_unpool, window_shape=k, strides=s, padding=p, output_shape=size
        )
        ct = cases.distinct(tuple(expected.shape), seed=1)

        @jax.jit
        def every(y, indices, ct, run=run):
            found, vjp = jax.vjp(lambda y: run(y, indices, axes=axes), y)
            last = run(jnp.moveaxis(y, 1, -1), jnp.moveaxis(indices, 1, -1))
            return found, jnp.moveaxis(last, -1, 1), vjp(ct)[0]

        found, last, mine = every(theirs, ours, ct)
        np.testing.assert_array_equal(found, expected.detach().numpy())
        np.testing.assert_array_equal(last, found)
        # Where no index comes twice, PyTorch's gradient is the derivative.
        if s is None:
            (gradient,) = torch.autograd.grad(expected, y, torch.tensor(ct))
            np.testing.assert_array_equal(mine, gradient.numpy())


@pytest.mark.parametrize(("n", "k", "s", "p"), [(3, 2, 2, 0), (3, 3, 2, 1), (4, 2, 3, 0)])
def test_torch_sizes(torch, n, k, s, p):
    y = np.ones((1, 1, n), np.float32)
    indices = np.arange(n, dtype=np.int32).reshape(1, 1, n)
    taken = []
    for size in range(1, 16):
        try:
            torch.nn.functional.max_unpool1d(
                torch.tensor(y), torch.tensor(np.zeros_like(indices, np.int64)), k, s, p, (size,)
            )
            legal = True
        except ValueError:
            legal = False
        run = functools.partial(jaxpool.max_unpool, y, indices, k, s, p, axes=2, output_shape=size)
        if legal:
            taken.append(size)
            assert jax.eval_shape(run).shape == (1, 1, size)
        else:
            with pytest.raises(ValueError, match="less than one stride"):
                run()
    default = (n - 1) * s + k - 2 * p
    assert taken == list(range(default - s + 1, default + s))


# Derivatives.


@modes
def test_gradient_is_the_derivative(mode):
    for seed in range(4):
        y, indices = random_planes(seed)
        ct = cases.distinct((30,), seed=seed)
        unpool = lambda y, i=indices: lowering.unpool_planes(y, jnp.asarray(i), 30, mode)  # noqa: E731
        found = jax.jit(jax.vjp(unpool, jnp.asarray(y))[1])(ct)[0]
        expected = gradient_by_loop(y, indices, 30, mode, ct)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        tangent = cases.distinct(y.shape, seed=9)
        moved = jax.jvp(unpool, (jnp.asarray(y),), (tangent,))[1]
        np.testing.assert_allclose(np.dot(moved, ct), np.dot(tangent, found), rtol=1e-4)


def test_second_order(exhaustive):
    with jax.enable_x64():
        rng = np.random.default_rng(0)
        y = cases.distinct((2, 3, 2), np.float64)
        indices = rng.integers(-2, 25, y.shape)
        unpool = lambda y, mode: jaxpool.max_unpool(y, indices, (2,), mode=mode) ** 3  # noqa: E731
        if not exhaustive:
            check_grads(jax.jit(lambda y: [unpool(y, m) for m in MODES]), (y,), 2, eps=1e-4)
        for mode in MODES if exhaustive else ():
            check_grads(jax.jit(functools.partial(unpool, mode=mode)), (y,), 2, eps=1e-4)
        cubes = [lambda y, m=mode: plane(y, INDICES, mode=m)[0] ** 3 for mode in MODES]
        hessians = jax.jit(lambda y: [jax.hessian(cube)(y) for cube in cubes])
        for mode, found in zip(MODES, hessians(Y.astype(np.float64)), strict=True):
            _, source = by_loop(Y, INDICES, 9, mode)
            expected = np.zeros((8, 8))
            at = [0, 2, 4] if mode == "add" else [source[0]]  # all that is in position 0
            expected[np.ix_(at, at)] = 6 * Y[at].sum()
            np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("mode", ["set", "add"])
def test_linear_transpose(mode):
    """What wins does not depend on y in these modes, so they are linear from the start."""
    y, indices = np.array([1, 2, 3], np.float32), jnp.array([0, 0, 3])
    run = lambda y: jaxpool.max_unpool(y, indices, 2, axes=0, mode=mode)  # noqa: E731
    (found,) = jax.linear_transpose(run, y)(np.arange(1, 7, dtype=np.float32))
    np.testing.assert_array_equal(found, {"set": [0, 1, 4], "add": [1, 1, 4]}[mode])


@modes
def test_ints_have_no_derivative(mode, exhaustive):
    y, indices = jnp.array([1, 2, 3]), jnp.array([0, 0, 3])
    run = functools.partial(jaxpool.max_unpool, window_shape=2, axes=0, mode=mode)
    nothing = np.zeros(3, jax.dtypes.float0)
    assert jax.jvp(run, (y, indices), (nothing, nothing))[1].dtype == jax.dtypes.float0
    both = jax.vjp(run, y.astype(jnp.float32), indices)[1](np.ones(6, np.float32))
    assert [g.dtype for g in both] == [np.float32, jax.dtypes.float0]
    if mode != "max" and not exhaustive:
        return
    with jax.checking_leaks():
        jax.grad(lambda y: jax.checkpoint(run)(y, indices).sum())(y.astype(jnp.float32))


# Composition.


@modes
def test_batches_and_layouts(mode):
    rng = np.random.default_rng(0)
    y = rng.choice(np.array([-1.0, 0.5, 2.0], np.float32), (2, 3, 4, 5, 2))
    indices = rng.integers(-2, 90, y.shape).astype(np.int32)
    run = functools.partial(jaxpool.max_unpool, window_shape=(2, 2), mode=mode)
    gradient = lambda y, i, run=run: jax.grad(lambda y: (run(y, i) ** 2).sum())(y)  # noqa: E731

    traced = {f: jax.jit(f) for f in (run, gradient)}  # once, and not for each of these

    @jax.jit
    def ways(y, i):
        one_by_one = lambda f: jax.lax.map(lambda a: f(*a), (y, i))  # noqa: E731
        twice, inside = (lambda f: jax.vmap(jax.vmap(f))), (lambda f: jax.vmap(f, 1, 1))
        found = []
        for f in (run, gradient):
            g = traced[f]
            ways = [way(g)(y, i) for way in (jax.vmap, twice, inside)]
            found.append([g(y, i), *ways, one_by_one(g)])
        one = functools.partial(run, axes=(0, 1))
        channels = jax.vmap(jax.vmap(jax.vmap(one, -1, -1)))(y, i)
        first = run(jnp.moveaxis(y, -1, 2), jnp.moveaxis(i, -1, 2), axes=(-2, -1))
        return found, [channels, jnp.moveaxis(first, 2, -1)]

    values, gradients = (f(y, indices) for f in (run, gradient))  # without jit
    (found_values, found_gradients), layouts = ways(y, indices)
    for found in (*found_values, *layouts):
        np.testing.assert_allclose(found, values, rtol=1e-6)
    for found in found_gradients:
        np.testing.assert_allclose(found, gradients, rtol=1e-6)


@modes
def test_vmap_of_one_argument(mode):
    y, indices = random_planes(0, (3,), n=6, size=12)
    f = lambda y, i: jaxpool.max_unpool(y, i, 2, axes=0, mode=mode)  # noqa: E731
    g = lambda y, i: jax.grad(lambda y: (f(y, i) ** 2).sum())(y)  # noqa: E731

    @jax.jit
    def every(y, indices):
        found = []
        for run, args in itertools.product((f, g), ((y, indices[0]), (y[0], indices))):
            axes = [0 if a.ndim == 2 else None for a in args]
            rows = [[a[i] if a.ndim == 2 else a for a in args] for i in range(3)]
            single = jax.jit(run)
            found.append((jax.vmap(single, axes)(*args), jnp.stack([single(*row) for row in rows])))
        return found

    for found, expected in every(y, indices):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@modes
def test_empty_batch(mode):
    y = jnp.zeros((0, 3, 3, 2))
    run = lambda y: jaxpool.max_unpool(y, y.astype(jnp.int32), (2, 2), mode=mode)  # noqa: E731
    assert run(y).shape == (0, 6, 6, 2)
    assert jax.grad(lambda y: run(y).sum())(y).shape == y.shape


@pytest.mark.parametrize("spec", ["b, 4, 4, c", "b, h, w, c"])
def test_export_with_symbolic_sizes(spec, exhaustive):
    y, indices = jaxpool.max_pool_with_argmax(cases.distinct((2, 8, 8, 3)), (2, 2))

    @jax.jit
    def run(y, indices):
        found = []
        for mode in MODES if exhaustive or spec == "b, h, w, c" else ("max",):
            unpool = lambda y, m=mode: jaxpool.max_unpool(y, indices, (2, 2), mode=m)  # noqa: E731
            found.append((unpool(y), jax.grad(lambda y, u=unpool: (u(y) ** 2).sum())(y)))
        return found

    shape = export.symbolic_shape(spec)
    every = ("cpu", "cuda", "tpu")
    platforms = every if exhaustive or spec == "b, h, w, c" else ("cpu",)
    exported = export.export(run, platforms=platforms)(
        jax.ShapeDtypeStruct(shape, y.dtype), jax.ShapeDtypeStruct(shape, indices.dtype)
    )
    found = export.deserialize(exported.serialize()).call(y, indices)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(run(y, indices)), strict=True):
        np.testing.assert_array_equal(a, b)


@modes
@pytest.mark.parametrize("split", ["indices", "y indices"])
def test_shard_map(mode, split):
    """Also if one y is for all of the indices that the mesh has."""
    mesh = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    y, indices = random_planes(0, (2,), n=6, size=12)
    f = lambda y, i: jaxpool.max_unpool(y, i, 2, axes=1, mode=mode)  # noqa: E731
    spec = jax.sharding.PartitionSpec("d")
    whole = jax.sharding.PartitionSpec()
    specs = tuple(spec if name in split.split() else whole for name in ("y", "indices"))
    mapped = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=specs, out_specs=spec))

    @jax.jit
    def every(y):
        functions = [lambda y, g=g: g(y, indices) for g in (mapped, f)]
        return [(g(y), jax.grad(lambda y, g=g: (g(y) ** 2).sum())(y)) for g in functions]

    for a, b in zip(*every(y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


# Bad indices.


@modes
def test_bad_indices_are_dropped(mode):
    expected, _ = by_loop(Y, INDICES, 9, mode)
    run = lambda y: plane(y, INDICES, mode=mode)  # noqa: E731
    np.testing.assert_array_equal(run(Y), expected)
    gradient = jax.vjp(run, jnp.asarray(Y))[1](np.ones(9, np.float32))[0]
    np.testing.assert_array_equal(gradient[5:], 0)


def test_empty_cells_are_dropped():
    x, where = jnp.array([1.0, 2.0, 3.0, 4.0]), jnp.array([True, True, False, False])
    y, indices = jaxpool.max_pool_with_argmax(x, 2, axes=0, where=where, empty_value=9)
    np.testing.assert_array_equal(jaxpool.max_unpool(y, indices, 2, axes=0), [0, 2, 0, 0])


@modes
def test_checkify(mode, exhaustive):
    """The docstring's way; checkify's own index checks do not see what is dropped on purpose."""

    def checked(y, indices):
        z = jaxpool.max_unpool(y, indices, 2, axes=0, mode=mode)
        good = (indices >= 0) & (indices < z.size)
        checkify.check(jnp.all(good), "{} indices are off", jnp.sum(~good))
        return z

    y = jnp.array([1.0, 2.0])
    runs = [jax.jit(checkify.checkify(checked))]
    if exhaustive or mode == "set":
        runs.append(checkify.checkify(checked))
    for run in runs:
        assert run(y, jnp.array([0, 3]))[0].get() is None
        for bad in ([0, 4], [-1, 0]):
            assert "1 indices are off" in run(y, jnp.array(bad))[0].get()
        batch = jax.vmap(run)(jnp.stack([y, y]), jnp.array([[0, 1], [-1, 4]]))
        with pytest.raises(checkify.JaxRuntimeError, match="2 indices are off"):
            batch[0].throw()


# Programs.


@modes
def test_without_scatter_but_on_cpu(mode):
    x = cases.distinct((2, 8, 8, 3))
    y, indices = jaxpool.max_pool_with_argmax(x, (3, 3), 2, 1)
    value = lambda y: jaxpool.max_unpool(y, indices, (3, 3), 2, 1, mode=mode)  # noqa: E731
    first = jax.grad(lambda y: (value(y) ** 3).sum())
    second = jax.grad(lambda y: (first(y) ** 2).sum())
    forward = lambda y: jax.jvp(value, (y,), (y,))  # noqa: E731
    program = jax.jit(lambda y: [f(y) for f in (value, first, second, forward)]).trace(y)
    texts = {p: program.lower(lowering_platforms=(p,)).as_text() for p in ("cuda", "tpu", "cpu")}
    assert all("scatter" not in texts[p] for p in ("cuda", "tpu"))
    assert "stablehlo.sort" not in texts["cpu"]
    # Going back is to fetch, on CPUs too.
    back = jax.jit(jax.vjp(value, y)[1])
    assert "scatter" not in back.lower(value(y)).as_text()


def test_sorted_forms_equal_scattered_ones():
    """Both run here, whatever the platform."""
    rng = np.random.default_rng(0)
    for n, size in ((1, 1), (1, 9), (7, 1), (8, 5), (37, 20), (20, 37)):
        targets = rng.integers(0, size + 1, (30, n)).astype(np.int32)
        key = rng.integers(-3, 3, (30, n)).astype(np.int32)

        def pairs(key, targets, size=size):
            by_sort = functools.partial(lowering._winners_by_sort, size=size)
            total = functools.partial(lowering._sorted_sum, size=size)
            how = lowering.SetDown(size, 1)
            for several in (False, True):
                yield (jax.vmap(by_sort)(key, targets),
                       lowering._winners_by_scatter(key, targets, size, several))  # fmt: skip
                yield (jax.vmap(total)(key, targets),
                       lowering._scattered("add", 0, key, targets, how, several))  # fmt: skip

        for a, b in jax.jit(lambda *given, pairs=pairs: list(pairs(*given)))(key, targets):
            np.testing.assert_array_equal(a, b, strict=True)
    targets = jnp.array([0, 1, 0, 5, 1], jnp.int32)
    a = lowering._sorted_sum(jnp.array([1.0, NAN, 2.0, INF, 1.0]), targets, 4)
    np.testing.assert_array_equal(a, [3, NAN, 0, 0])  # neither NaN nor inf leaks


def test_order_of_keys():
    special = [-INF, -1e38, -1.0, -1e-30, 0.0, 1e-30, 1.0, 1e38, INF, NAN]
    for dtype in ("float32", "bfloat16", "float16"):
        with np.errstate(over="ignore"):
            keys = lowering._ordered(jnp.asarray(special, np.float32).astype(dtype))
        assert (np.diff(np.asarray(keys).astype(object)) >= 0).all()
    assert (np.diff(np.asarray(lowering._ordered(jnp.asarray(special))).astype(object)) > 0).all()
    zeros = lowering._ordered(jnp.array([0.0, -0.0]))
    assert zeros[0] == zeros[1]
    with jax.enable_x64():
        assert lowering._ordered(jnp.asarray(special, np.float64)).dtype == np.int64


# Mistakes.

GOOD = {"y": jnp.zeros((1, 3, 3, 2)), "indices": jnp.zeros((1, 3, 3, 2), jnp.int32),
        "window_shape": (2, 2)}  # fmt: skip


@pytest.mark.parametrize(
    ("error", "message", "wrong"),
    [
        (ValueError, r"`indices` must have y's shape; got indices.shape=\(3, 3\) for y.shape=\(1, ",
         {"indices": jnp.zeros((3, 3), jnp.int32)}),
        (TypeError, "`indices` must hold signed ints, as int32; got indices.dtype=float32",
         {"indices": jnp.zeros((1, 3, 3, 2), jnp.float32)}),
        (TypeError, "`indices` must be an int array; got an object of type list",
         {"indices": [0]}),
        (TypeError, "must be a JAX or NumPy array; got an object of type list", {"y": [1.0]}),
        (ValueError, "`mode` must be .set., .add. or .max.; got mode='mean'", {"mode": "mean"}),
        (ValueError, "`padding` must be .VALID., numbers .* SAME has many inverses",
         {"padding": "same"}),
        (ValueError, "`padding` must be", {"padding": -1}),
        (ValueError, "`strides` must be an int >= 1", {"strides": (1, 1, 1)}),
        (ValueError, "`window_shape` must be a sequence when `axes`", {"window_shape": 2}),
        (ValueError, r"`output_shape` must be less than one stride \(2, 2\) from the default size "
         r"\(6, 6\); got output_shape=\(6, 8\)", {"output_shape": (6, 8)}),
        (ValueError, "`output_shape` must be an int >= 1", {"output_shape": (6,)}),
        (TypeError, "`output_shape` must be an int", {"output_shape": 6.0}),
        (ValueError, "`axes` must lie in", {"axes": (3, 4)}),
        (ValueError, "`axes` must name each axis once", {"axes": (1, -3)}),
        (ValueError, r"`y` must not unpool to nothing; got sizes \(0, 0\)", {"padding": 3}),
    ],
)  # fmt: skip
def test_mistakes(error, message, wrong):
    with pytest.raises(error, match=f"^max_unpool: .*{message}"):
        jaxpool.max_unpool(**{**GOOD, **wrong})


@pytest.mark.parametrize("framework", ["linen", "nnx"])
def test_layers(framework):
    pytest.importorskip("flax", reason="flax has the layers of this test")
    import jaxpool.linen
    import jaxpool.nnx

    x = cases.distinct((2, 9, 9, 2))
    y, indices = jaxpool.max_pool_with_argmax(x, (3, 3), 2, 1)
    options = {"output_shape": [9, 10], "mode": "add", "axes": [1, 2]}
    layer = getattr(jaxpool, framework).MaxUnpool([3, 3], 2, [[1, 1], [1, 0]], **options)
    found = layer.apply({}, y, indices) if framework == "linen" else layer(y, indices)
    expected = jaxpool.max_unpool(y, indices, (3, 3), 2, ((1, 1), (1, 0)), **options)
    np.testing.assert_array_equal(found, expected)
