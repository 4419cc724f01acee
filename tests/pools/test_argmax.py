"""Where maxima and minima are: against PyTorch, onnxruntime, and formulas written as loops."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.test_util import check_grads

import jaxpool
from tests import cases
from tests.cases import CASES, Case

TESTS_OF = (
    "pools/argmax.py",
    "pools/unpool.py",
    "lowering/unpool.py",
    "pools/max.py",
    "reductions/max.py",
    "lowering/max.py",
    "lowering/picks.py",
)

INF, NAN = np.float32(np.inf), np.float32(np.nan)

CORE = [c for c in CASES if "core" in c.tags]
core = pytest.mark.parametrize("case", CORE, ids=str)
# Minima are maxima in the other order, and take the same way through the program.
mostly_max = pytest.mark.parametrize(
    ("kind", "case"),
    [("max", c) for c in CORE]
    + [("min", CORE[0]), pytest.param("min", CORE[1], marks=pytest.mark.exhaustive)],
    ids=str,
)

WINDOWED = {"max": jaxpool.max_pool_with_argmax, "min": jaxpool.min_pool_with_argmin}
PLAIN = {"max": jaxpool.max_pool, "min": jaxpool.min_pool}
WHOLE = {"max": jaxpool.global_max_pool_with_argmax, "min": jaxpool.global_min_pool_with_argmin}
PLAIN_WHOLE = {"max": jaxpool.global_max_pool, "min": jaxpool.global_min_pool}
kinds = pytest.mark.parametrize("kind", ["max", "min"])


def rows(shape, seed=0):
    """Arrays of `shape` stacked: random, ties, one NaN and several, infinities, signed zeros."""
    rng = np.random.default_rng(seed)
    found = [
        rng.normal(size=shape),
        rng.integers(-1, 2, size=shape),
        rng.choice([0.0, -0.0], size=shape),
        rng.choice([1.0, 2.0, NAN], size=shape),
        rng.choice([1.0, NAN, -INF, INF], size=shape),
        rng.choice([-INF, -INF, 0.0], size=shape),
        np.full(shape, -INF),
        np.full(shape, INF),
        np.full(shape, NAN),
    ]
    return np.stack(found).astype(np.float32)


def picked(kind, elements):
    """(value, position) of a list of (position, value), by the rule: first best, last NaN."""
    best = None
    for position, value in elements:
        better = best is None or (value > best[1] if kind == "max" else value < best[1])
        if better or np.isnan(value):
            best = (position, value)
    return (0, -1) if best is None else (best[1], best[0])


def by_loop(kind, x, window, where=None):
    """Values and indices of a `Window`, counted out one by one."""
    axes = sorted(window.pooled_axes(x.ndim))
    where = np.broadcast_to(True if where is None else where, x.shape)
    geometry = dict(window.windows(x.shape))
    shape = window.output_shape(x.shape)
    values, indices = np.zeros(shape, x.dtype), np.zeros(shape, np.int32)
    for cell in np.ndindex(*shape):
        taps = [range(geometry[a].window) for a in axes]
        elements = []
        for tap in itertools.product(*taps):
            place = list(cell)
            for axis, t in zip(axes, tap, strict=True):
                w = geometry[axis]
                place[axis] = cell[axis] * w.stride - w.low + t * w.dilation
            inside = all(0 <= place[a] < x.shape[a] for a in axes)
            if inside and where[tuple(place)]:
                flat = np.ravel_multi_index(
                    [place[a] for a in axes], [x.shape[a] for a in axes]
                )  # fmt: skip
                elements.append((flat, x[tuple(place)]))
        values[cell], indices[cell] = picked(kind, elements)
    return values, indices


def same(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


# The rule itself, by loops.


@kinds
@pytest.mark.parametrize("case", [c for c in CASES if "ci" in c.tags][::3], ids=str)
def test_equals_loop(kind, case):
    x = np.random.default_rng(0).integers(-2, 3, case.shape).astype(np.float32)  # ties
    x.flat[:: max(x.size // 5, 1)] = NAN
    run = jax.jit(lambda x: (WINDOWED[kind](x, **case.geometry), PLAIN[kind](x, **case.geometry)))
    (values, indices), plain = run(x)
    assert indices.dtype == np.int32
    same((values, indices), by_loop(kind, x, case.window))
    same((values,), (plain,))


@kinds
@core
def test_where_equals_loop(kind, case):
    rng = np.random.default_rng(1)
    x = rng.integers(-1, 2, case.shape).astype(np.float32)
    where = rng.random(case.shape) < 0.3
    x[~where] = rng.choice([NAN, INF, -INF], (~where).sum())
    pool = functools.partial(WINDOWED[kind], **case.geometry)
    run = jax.jit(lambda x, where, all_: (pool(x, where=where), pool(x, where=all_), pool(x)))
    masked, all_, full = run(x, where, np.ones_like(where))
    same(masked, by_loop(kind, x, case.window, where))
    some = where.any()
    assert some
    same(all_, full)


@kinds
def test_empty_cells(kind):
    x = jnp.array([1.0, NAN, 2.0, 3.0])
    where = jnp.array([False, False, True, False])
    values, indices = WINDOWED[kind](x, 2, axes=0, where=where, empty_value=7)
    same((values, indices), ([7, 2], [-1, 2]))
    nothing = jnp.zeros(4, bool)
    values, index = WHOLE[kind](x, 0, where=nothing, empty_value=-5)
    assert (values, index) == (-5, -1)


@kinds
def test_where_of_lowest_values(kind):
    """An element equal to what masks and padding are filled with is still the one that counts."""
    worst = -INF if kind == "max" else INF
    x = jnp.full(6, worst)
    where = jnp.array([False, True, True, False, False, True])
    same(WINDOWED[kind](x, 3, axes=0, where=where), ([worst, worst], [1, 5]))
    same(WINDOWED[kind](x, 3, 1, 1, axes=0)[1:], ([0, 0, 1, 2, 3, 4],))
    assert WHOLE[kind](x, 0, where=where)[1] == 1


@kinds
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "bool"])
def test_integers(kind, dtype):
    info = np.iinfo(np.uint8 if dtype == "bool" else dtype)
    low, high = (0, 1) if dtype == "bool" else (info.min, info.max)
    pool = jax.jit(lambda x: WINDOWED[kind](x, (3, 3), 2, 1))
    for fill in (low, high):  # the identity of the reduction everywhere: padding must not win
        x = np.full((5, 4, 1), fill, dtype)
        values, indices = pool(x)
        assert values.dtype == x.dtype
        same((values[..., 0], indices[..., 0]), (np.full((3, 2), fill), [[0, 1], [4, 5], [12, 13]]))
    x = np.random.default_rng(0).choice(np.array([low, high], dtype), (2, 5, 4, 3))
    where = np.random.default_rng(1).random(x.shape) < 0.4
    window = jaxpool.Window((3, 2), 1, 1)
    found = jax.jit(lambda x, where: WINDOWED[kind](x, (3, 2), 1, 1, where=where))(x, where)
    assert found[0].dtype == x.dtype
    same(found, by_loop(kind, x, window, where))


@kinds
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"])
def test_low_precision(kind, dtype):
    x = rows((2, 9, 7, 2)).astype(jnp.dtype(dtype))
    if dtype == "float8_e4m3fn":
        x = np.where(np.isnan(x), np.zeros((), x.dtype), x)  # it has no infinity
    pool = jax.jit(lambda x: WINDOWED[kind](x, (3, 3), 2, 1))
    values, indices = pool(x)
    wide, expected = pool(x.astype(np.float32))
    assert values.dtype == x.dtype
    same((values.astype(np.float32), indices), (wide, expected))


# Other implementations.


@pytest.fixture(scope="module")
def torch_pool():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    pools = {n: getattr(torch.nn.functional, f"max_pool{n}d") for n in (1, 2, 3)}

    def pool(x, k, s, p, d, ceil):
        """Values and indices of (batch, channels, *spatial)."""
        y, indices = pools[x.ndim - 2](torch.tensor(x), k, s, p, d, ceil, return_indices=True)
        return y.numpy(), indices.numpy()

    return pool


def legal(shape, geometry):
    k, s, p, d, ceil = geometry
    window = jaxpool.Window(k, s, p, dilation=d, ceil_mode=ceil, axes=tuple(range(len(shape))))
    try:
        window.output_shape(shape)
    except ValueError:
        return False
    return all(2 * low <= size for low, size in zip(p, k, strict=True))  # PyTorch's limit


def geometries(shape, count, seed=0):
    rng = np.random.default_rng(seed)
    n, found = len(shape), []
    while len(found) < count:
        k, s, d = (tuple(map(int, rng.integers(1, top, n))) for top in (5, 4, 4))
        p = tuple(int(rng.integers(0, size // 2 + 1)) for size in k)
        geometry = (k, s, p, d, bool(rng.integers(2)))
        if geometry not in found and legal(shape, geometry):
            found.append(geometry)
    return found


@pytest.mark.parametrize(
    ("shape", "count"), [((2,), 4), ((7,), 16), ((12,), 24), ((9, 7), 20), ((6, 5, 7), 8)], ids=str
)
def test_torch(torch_pool, shape, count, exhaustive):
    chosen = geometries(shape, count)[: count if exhaustive else (count + 2) // 3]
    x = rows((2, *shape))
    nchw = tuple(range(-len(shape), 0))

    @jax.jit
    def run(x):
        found = []
        for k, s, p, d, ceil in chosen:
            options = {"dilation": d, "ceil_mode": ceil}
            first = jaxpool.max_pool_with_argmax(x, k, s, p, axes=nchw, **options)
            last = jaxpool.max_pool_with_argmax(jnp.moveaxis(x, 1, -1), k, s, p, **options)
            found.append((first, tuple(jnp.moveaxis(y, -1, 1) for y in last)))
        return found

    for geometry, (first, last) in zip(chosen, run(x), strict=True):
        values, indices = torch_pool(x, *geometry)
        for found in (first, last):
            np.testing.assert_array_equal(found[0], values, err_msg=str(geometry))
            np.testing.assert_array_equal(found[1], indices, err_msg=str(geometry))
            number = ~np.isnan(values)
            assert (np.signbit(found[0]) == np.signbit(values))[number].all()


@kinds
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_is_the_largest_window(kind, keepdims):
    x = rows((3, 4, 5))
    values, indices = WHOLE[kind](x, (-2, 1), keepdims=keepdims)
    wanted = WINDOWED[kind](x, (3, 4), axes=(1, 2))
    shape = (9, 1, 1, 5) if keepdims else (9, 5)
    assert values.shape == indices.shape == shape
    assert indices.dtype == np.int32
    same((values, indices), [np.reshape(w, shape) for w in wanted])
    same((values,), (PLAIN_WHOLE[kind](x, (1, 2), keepdims=keepdims),))


def test_global_equals_torch_adaptive():
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    for shape in ((5,), (4, 3), (2, 3, 4)):
        n = len(shape)
        x = rows((2, *shape))
        adaptive = getattr(torch.nn.functional, f"adaptive_max_pool{n}d")
        values, indices = adaptive(torch.tensor(x), 1, return_indices=True)
        axes = tuple(range(-n, 0))
        found = jaxpool.global_max_pool_with_argmax(x, axes, keepdims=True)
        same(found, (values.numpy(), indices.numpy()))


ONNX_CASES = [
    ((2, 3, 7, 6), (3, 2), (2, 1), (1, 0), (1, 1)),
    ((1, 2, 8, 9), (2, 3), (2, 3), (0, 0), (2, 1)),
    ((2, 2, 4, 5, 6), (2, 3, 2), (2, 1, 2), (0, 1, 1), (1, 1, 1)),
    ((2, 3, 11), (3,), (2,), (1,), (2,)),
]


def onnx_indices(x, k, s, p, d, order):
    onnx, ort = (
        pytest.importorskip(name, reason=f"{name} is the oracle of this test")
        for name in ("onnx", "onnxruntime")
    )
    node = onnx.helper.make_node(
        "MaxPool", ["x"], ["y", "i"], kernel_shape=k, strides=s, pads=[*p, *p], dilations=d,
        storage_order=order,
    )  # fmt: skip
    kind = onnx.TensorProto
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "g", [info("x", kind.FLOAT, x.shape)],
        [info("y", kind.FLOAT, None), info("i", kind.INT64, None)],
    )  # fmt: skip
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 12)], ir_version=7
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


@pytest.mark.parametrize(("order", "name"), [(0, "onnx"), (1, "onnx_column_major")])
@pytest.mark.parametrize(("shape", "k", "s", "p", "d"), ONNX_CASES)
def test_onnxruntime(shape, k, s, p, d, order, name):
    x = cases.distinct(shape)
    axes = tuple(range(2, len(shape)))
    values, theirs = onnx_indices(x, k, s, p, d, order)
    found, ours = jaxpool.max_pool_with_argmax(x, k, s, p, dilation=d, axes=axes)
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(jaxpool.convert_indices(ours, shape, axes, to=name), theirs)
    back = jaxpool.convert_indices(theirs, shape, axes, source=name)
    np.testing.assert_array_equal(back, ours)


def test_onnx_example():
    """The figures for arange(36) of shape (2, 2, 3, 4), 2 x 2."""
    x = jnp.arange(48.0).reshape(2, 2, 3, 4)
    _, indices = jaxpool.max_pool_with_argmax(x, (2, 2), axes=(2, 3))
    convert = functools.partial(jaxpool.convert_indices, indices, x.shape, (-2, -1))
    np.testing.assert_array_equal(indices.ravel(), [5, 7] * 4)
    np.testing.assert_array_equal(convert(to="onnx").ravel(), [5, 7, 17, 19, 29, 31, 41, 43])
    column = [4, 10, 16, 22, 28, 34, 40, 46]
    np.testing.assert_array_equal(convert(to="onnx_column_major").ravel(), column)


# Conventions.

CONVENTIONS = ("torch", "tensorflow", "tensorflow_with_batch", "onnx", "onnx_column_major")


def by_formula(name, place, shape, axes):
    """Index of the element at `place`, from its definition in the docstring."""
    sizes = lambda axes: [shape[a] for a in axes]  # noqa: E731
    flat = lambda axes: int(np.ravel_multi_index([place[a] for a in axes], sizes(axes)))  # noqa: E731
    last = len(shape) - 1
    others = [a for a in range(len(shape)) if a not in axes]
    p, size = flat(axes), int(np.prod(sizes(axes)))
    if name == "torch":
        return p
    if name == "tensorflow":
        return p * shape[last] + place[last]
    if name == "tensorflow_with_batch":  # ((b*H + y)*W + x)*C + c
        batch = [a for a in others if a != last]
        return ((flat(batch) if batch else 0) * size + p) * shape[last] + place[last]
    inner = p if name == "onnx" else flat(axes[::-1])
    return (flat(others) if others else 0) * size + inner


LAYOUTS = [
    ((2, 5, 4, 3), (1, 2)),
    ((2, 3, 5, 4), (2, 3)),
    ((2, 3, 3, 4, 5), (2, 3, 4)),
    ((2, 3, 4, 3, 2, 2), (2, 4, 3)),
    ((7, 3), (0,)),
    ((5, 4), (0, 1)),
    ((3, 5, 4, 2), (0, 2)),
]


@pytest.mark.parametrize(("shape", "axes"), LAYOUTS, ids=str)
def test_convert_indices(shape, axes):
    x = cases.distinct(shape)
    _, indices = jaxpool.max_pool_with_argmax(x, 2, axes=axes)
    plane = sorted(axes)
    names = CONVENTIONS
    if len(shape) - 1 in axes:
        names = [name for name in CONVENTIONS if not name.startswith("tensorflow")]
    written = {}
    for name in names:
        expected = np.zeros(indices.shape, np.int32)
        for cell in np.ndindex(*indices.shape):
            place = list(cell)
            inside = np.unravel_index(indices[cell], [shape[a] for a in plane])
            for axis, i in zip(plane, inside, strict=True):
                place[axis] = int(i)
            expected[cell] = by_formula(name, place, shape, plane)
        written[name] = expected
    convert = functools.partial(jaxpool.convert_indices, shape=shape, axes=axes)
    ways = list(itertools.product(names, names))
    every = jax.jit(lambda written: [convert(written[s], source=s, to=t) for s, t in ways])
    for (source, to), found in zip(ways, every(written), strict=True):
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, written[to], err_msg=f"{source} to {to}")


@pytest.mark.parametrize("dtype", [np.int32, np.int16])
def test_convert_indices_of_symbolic_sizes(dtype):
    """One program for all sizes, with each convention on either side."""
    ways = [("torch", "onnx_column_major"), ("onnx_column_major", "tensorflow_with_batch"),
            ("tensorflow_with_batch", "onnx"), ("onnx", "tensorflow"), ("tensorflow", "torch")]  # fmt: skip

    def convert(x, indices):
        for source, to in ways:
            indices = jaxpool.convert_indices(indices, x.shape, (2, 1), source=source, to=to)
            yield indices

    both = jax.jit(lambda x, indices: list(convert(x, indices)))
    sizes = export.symbolic_shape("b, h, w, c, p, q")
    x = jax.ShapeDtypeStruct(sizes[:4], np.float32)
    given = jax.ShapeDtypeStruct((sizes[0], *sizes[4:], sizes[3]), dtype)
    program = export.export(both)(x, given)
    shape, cells = (2, 4, 6, 3), (2, 2, 3, 3)
    indices = np.random.default_rng(0).integers(0, 24, cells).astype(dtype)
    found = program.call(np.zeros(shape, np.float32), indices)
    for (_, to), written in zip(ways, found, strict=True):
        assert written.dtype == dtype
        for cell in np.ndindex(*cells):
            row, column = np.unravel_index(indices[cell], shape[1:3])
            place = [cell[0], int(row), int(column), cell[3]]
            assert written[cell] == by_formula(to, place, shape, [1, 2]), to


def test_convert_indices_keeps_empty_cells_and_dtype():
    for name in CONVENTIONS:
        marks = jnp.array([[[-1, 3]], [[0, -1]]], jnp.int16)
        found = jaxpool.convert_indices(marks, (2, 5, 2), 1, to=name)
        assert found.dtype == jnp.int16
        same((found < 0,), (marks < 0,))
        same((jaxpool.convert_indices(found, (2, 5, 2), 1, source=name),), (marks,))


def test_convert_indices_of_many_batches():
    """Only an index that would be written has to fit."""
    indices = jnp.ones((1, 1, 1, 1), jnp.int32)
    shape = (2**20, 64, 64, 64)
    assert jaxpool.convert_indices(indices, shape, (1, 2), to="tensorflow") == 64
    for name in ("onnx", "tensorflow_with_batch"):
        with pytest.raises(ValueError, match=r"`shape` must have no more elements than int32 can"):
            jaxpool.convert_indices(indices, shape, (1, 2), to=name)
        with pytest.raises(ValueError, match=r"`shape` must have no more elements than int32 can"):
            jaxpool.convert_indices(indices, shape, (1, 2), source=name)


@pytest.mark.parametrize(
    ("error", "message", "args", "options"),
    [
        (ValueError, "`to` must be one of", ((2, 4, 3), 1), {"to": "caffe"}),
        (ValueError, "`source` must be one of", ((2, 4, 3), 1), {"source": "Torch"}),
        (ValueError, "as many axes as the pooled array .pool with keepdims", ((4, 3), 0), {}),
        (ValueError, "`axes` must lie in", ((2, 4, 3), 3), {}),
        (ValueError, "`axes` must be an int or .* all different", ((2, 4, 3), (1, 1)), {}),
        (ValueError, "`axes` must leave out the last axis", ((2, 4, 3), 2), {"to": "tensorflow"}),
        (TypeError, "`shape` must be a sequence of ints", ((2, 4.5, 3), 1), {}),
    ],
)  # fmt: skip
def test_convert_indices_refuses(error, message, args, options):
    indices = jnp.zeros((2, 2, 3), jnp.int32)
    with pytest.raises(error, match=f"^convert_indices: .*{message}"):
        jaxpool.convert_indices(indices, *args, **options)


def test_convert_indices_refuses_what_are_no_indices():
    with pytest.raises(TypeError, match="`indices` must hold signed ints"):
        jaxpool.convert_indices(jnp.zeros(3), (3,), 0)
    with pytest.raises(TypeError, match="`indices` must be an int array; got an object of type l"):
        jaxpool.convert_indices([1, 2], (3,), 0)


# What programs can be made of them.


@mostly_max
def test_gradients_are_those_of_values(kind, case, exhaustive):
    x = cases.distinct(case.shape, np.float32)
    op = functools.partial(WINDOWED[kind], **case.geometry)
    plain = functools.partial(PLAIN[kind], **case.geometry)
    shape = case.window.output_shape(case.shape)
    ct, nothing = cases.distinct(shape, seed=1), np.zeros(shape, jax.dtypes.float0)
    tangent = cases.distinct(case.shape, seed=2)

    @jax.jit
    def run(x, ct, tangent):
        (_, indices), vjp = jax.vjp(op, x)
        (d_values, d_indices) = jax.jvp(op, (x,), (tangent,))[1]
        assert d_indices.dtype == jax.dtypes.float0
        assert indices.shape == shape
        of_plain = jax.vjp(plain, x)[1](ct)[0], jax.jvp(plain, (x,), (tangent,))[1]
        return (vjp((ct, nothing))[0], d_values), of_plain

    same(*run(x, ct, tangent))
    if exhaustive or case is CORE[0]:
        _, vjp = jax.vjp(op, x)  # without jit
        same(vjp((ct, nothing)), jax.vjp(plain, x)[1](ct))
        with jax.checking_leaks():
            jax.grad(lambda x: jax.checkpoint(op)(x)[0].sum())(x)


@kinds
def test_second_order(kind, exhaustive):
    with jax.enable_x64():
        x = cases.distinct((2, 5, 6, 2), np.float64)
        window = functools.partial(WINDOWED[kind], window_shape=(3, 3), strides=2, padding=1)
        where = np.random.default_rng(0).random(x.shape) < 0.5
        pools = [
            lambda x: window(x)[0] ** 3,
            lambda x: window(x, where=where)[0] ** 3,
            lambda x: WHOLE[kind](x, (1, 2))[0] ** 3,
        ]
        if not exhaustive:  # together, and of minima, which are maxima of -x, but one
            chosen = pools if kind == "max" else pools[1:2]
            check_grads(jax.jit(lambda x: [pool(x) for pool in chosen]), (x,), 2, eps=1e-4)
        for pool in pools if exhaustive else ():
            check_grads(jax.jit(pool), (x,), 2, eps=1e-4)
        values, indices = window(x)
        assert (values.dtype, indices.dtype) == (np.float64, np.int32)


@mostly_max
def test_jit_and_vmap(kind, case):
    x = np.stack([cases.distinct(case.shape, seed=i) for i in range(6)])
    x = x.reshape(2, 3, *case.shape)
    op = functools.partial(WINDOWED[kind], **{**case.geometry, "axes": case.pooled})
    eager = op(x)
    ways = [op, jax.vmap(op), jax.vmap(jax.vmap(op))]
    inner = jax.vmap(jax.vmap(op, -1, -1), -1, -1)
    run = jax.jit(lambda x, turned: ([way(x) for way in ways], inner(turned)))
    found, last = run(x, np.moveaxis(x, (0, 1), (-2, -1)))
    for y in found:
        same(y, eager)
    same([np.moveaxis(y, (-2, -1), (0, 1)) for y in last], eager)


@kinds
def test_vmap_of_mask(kind):
    x = cases.distinct((4, 6, 2))
    where = np.random.default_rng(0).random((3, 4, 6, 2)) < 0.5
    pools = (lambda w: WINDOWED[kind](x, (2,), where=w), lambda w: WHOLE[kind](x, 1, where=w))
    run = jax.jit(
        lambda where: [(jax.vmap(pool)(where), [pool(w) for w in where]) for pool in pools]
    )
    for found, one_by_one in run(where):
        for i, expected in enumerate(one_by_one):
            same([y[i] for y in found], expected)


@kinds
def test_export_with_symbolic_sizes(kind, exhaustive):
    x = cases.distinct((2, 9, 8, 3))
    for spec in ("b, 9, 8, c", "b, h, w, c")[kind == "min" and not exhaustive :]:
        shape = export.symbolic_shape(spec)
        for op in (
            functools.partial(WINDOWED[kind], window_shape=(3, 2), strides=2, padding=1),
            functools.partial(WHOLE[kind], axes=(1, 2)),
        ):
            op = jax.jit(op)
            exported = export.export(op)(jax.ShapeDtypeStruct(shape, x.dtype))
            same(export.deserialize(exported.serialize()).call(x), op(x))


@kinds
def test_batches(kind):
    x = cases.distinct((0, 4, 4, 2))
    values, indices = WINDOWED[kind](x, (2, 2))
    assert values.shape == indices.shape == (0, 2, 2, 2)
    x = cases.distinct((3, 4, 4, 2))
    values, indices = WINDOWED[kind](x, (2, 2))
    same([y[1:2] for y in (values, indices)], WINDOWED[kind](x[1:2], (2, 2)))


@kinds
def test_too_large_planes(kind):
    name = {"max": "max_pool_with_argmax", "min": "min_pool_with_argmin"}[kind]
    largest = jax.ShapeDtypeStruct((2**16, 2**15 - 1, 2), jnp.int8)
    assert jax.eval_shape(lambda x: WINDOWED[kind](x, (2, 2))[1], largest).dtype == np.int32
    x = jax.ShapeDtypeStruct((2**16, 2**15, 1), jnp.int8)
    with pytest.raises(ValueError, match=rf"^{name}: `x` must have at most 2\*\*31 - 1 elements"):
        jax.eval_shape(lambda x: WINDOWED[kind](x, (2, 2)), x)
    with pytest.raises(ValueError, match=rf"^global_{name}: `x` must have at most 2\*\*31 - 1"):
        jax.eval_shape(lambda x: WHOLE[kind](x, (0, 1)), x)
    jax.eval_shape(lambda x: WINDOWED[kind](x, (2,), axes=0), x)  # the plane counts, not the array


@kinds
def test_errors_speak_of_the_function(kind):
    x = jnp.zeros((4, 4, 1))
    name = WINDOWED[kind].__name__
    with pytest.raises(ValueError, match=f"^{name}: `strides` must be"):
        WINDOWED[kind](x, (2, 2), 0)
    with pytest.raises(ValueError, match=f"^{name}: `where` must broadcast"):
        WINDOWED[kind](x, (2, 2), where=jnp.ones((3, 3), bool))
    with pytest.raises(ValueError, match=f"^{WHOLE[kind].__name__}: `axes` must"):
        WHOLE[kind](x, (5,))


@pytest.mark.parametrize("case", [
    Case("stem", (2, 9, 9, 3), window_shape=(3, 3), strides=2, padding=1),
    Case("whole", (2, 9, 9, 3), window_shape=(9, 9)),
], ids=str)  # fmt: skip
def test_cuda_programs_do_not_scatter(case):
    x = cases.distinct(case.shape)
    ops = [functools.partial(f, **case.geometry) for f in (
        *WINDOWED.values(), *PLAIN.values(), jaxpool.avg_pool
    )]  # fmt: skip
    ops += [
        functools.partial(f, axes=case.pooled) for f in (*WHOLE.values(), *PLAIN_WHOLE.values())
    ]

    def value(op, x):
        y = op(x)
        return y[0] if isinstance(y, tuple) else y

    for op in ops:
        first = jax.grad(lambda x, op=op: (value(op, x) ** 2).sum())
        second = jax.grad(lambda x, first=first: (first(x) ** 2).sum())
        forward = lambda x, op=op: jax.jvp(lambda x: value(op, x), (x,), (x,))  # noqa: E731
        every = jax.jit(lambda x, fs=(op, first, second, forward): [f(x) for f in fs])
        text = every.trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert "scatter" not in text  # nor select_and_scatter


@pytest.mark.parametrize("framework", ["linen", "nnx"])
def test_layers(framework):
    pytest.importorskip("flax", reason="flax has the layers of this test")
    import jaxpool.linen
    import jaxpool.nnx

    layers = getattr(jaxpool, framework)
    call = (lambda layer, *a, **k: layer.apply({}, *a, **k)) if framework == "linen" else (
        lambda layer, *a, **k: layer(*a, **k)
    )  # fmt: skip
    x = cases.distinct((2, 6, 6, 2))
    where = x > -1
    options = {"dilation": 2, "empty_value": 3}
    for name, op in (
        ("MaxPoolWithArgmax", WINDOWED["max"]),
        ("MinPoolWithArgmin", WINDOWED["min"]),
    ):
        layer = getattr(layers, name)((2, 2), 2, "SAME", **options)
        same(call(layer, x, where=where), op(x, (2, 2), 2, "SAME", where=where, **options))
    for name, op in (("GlobalMaxPoolWithArgmax", WHOLE["max"]),
                     ("GlobalMinPoolWithArgmin", WHOLE["min"])):  # fmt: skip
        layer = getattr(layers, name)([1, 2], keepdims=True)
        same(call(layer, x, where=where), op(x, (1, 2), keepdims=True, where=where))


def test_indices_on_a_mesh_with_explicit_axes():
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Explicit,))
    x = cases.distinct((2, 5, 3))
    sharded = jax.device_put(x, jax.NamedSharding(mesh, jax.P("data")))
    for pool, axes in ((jaxpool.global_max_pool_with_argmax, 1), (jaxpool.global_min_pool_with_argmin, (1, 2))):  # fmt: skip
        for a, b in zip(pool(sharded, axes), pool(x, axes), strict=True):
            np.testing.assert_array_equal(a, b)
