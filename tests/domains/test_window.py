"""What the programs of window pools are made of, and facts that hold for all of them."""

import functools
import itertools
import re

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests import oracle
from tests.cases import CASES, OPS, distinct
from tests.compiling import as_users

TESTS_OF = (
    "domains/window.py",
    "core/pool.py",
    "lowering/windows.py",
    "lowering/max.py",
    "lowering/picks.py",
)

WINDOW_OPS = [op for op in OPS if not op.is_global and not op.rule]
WHOLE_OPS = [op for op in OPS if op.is_global]
GEOMETRIES = [c for c in CASES if "ci" in c.tags]
# Of their sums and maxima the others are made.
BASIC_OPS = [op for op in WINDOW_OPS if op.is_quick]
CORE = [case for case in GEOMETRIES if "core" in case.tags]
# These ask for the same programs as others do.
ALIKE = ("min", "avg", "avg_divisor", "lp3", "lp_inf")
UNLIKE = [op for op in WINDOW_OPS if op.name not in ALIKE]


def tiers(candidates, quick):
    """Parameters of a test, of which only those in `quick` are tried each time."""
    name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731
    return [
        pytest.param(
            *c, id="-".join(map(name, c)), marks=() if c in quick else pytest.mark.exhaustive
        )
        for c in candidates
    ]


def each(ops):
    return [(op,) for op in ops]


def in_turns(ops, cases, first=0):
    """Each operator on one case, and each case with some operators."""
    return [(op, cases[(i + first) % len(cases)]) for i, op in enumerate(ops)]


@functools.lru_cache(maxsize=2)  # for all platforms
def traced(op, case, masked):
    """The value, also on its own, and the gradient."""
    where = np.ones(case.shape, bool) if masked else None

    def both(x):
        f = lambda x: op(x, case, where=where)  # noqa: E731
        y, vjp = jax.vjp(f, x)
        return f(x), vjp(y)

    return jax.jit(both).trace(jax.ShapeDtypeStruct(case.shape, np.float32))


def program(op, case, platform="cpu", masked=False):
    """Text of the lowered value and gradient, before XLA."""
    return traced(op, case, masked).lower(lowering_platforms=(platform,)).as_text()


def numbers(text):
    return [int(n) for n in re.findall(r"-?\d+", text)]


def reduce_windows(text):
    """(base dilations, paddings) of each reduce_window and select_and_scatter."""
    for found in re.finditer(r'"?stablehlo\.(?:reduce_window|select_and_scatter)"?\(', text):
        attributes = text[found.end() : text.index("({", found.end())]
        base = re.search(r"base_dilations = array<i64: ([^>]*)>", attributes)
        padding = re.search(r"padding = dense<([^>]*)>", attributes)
        yield numbers(base[1]) if base else [1], numbers(padding[1]) if padding else [0]


def test_the_parser_of_programs_finds_what_it_looks_for():
    def bad(x):
        return jax.lax.reduce_window(
            x, np.float32(0), jax.lax.add, (2, 2), (1, 1), ((0, 0), (1, 2)), base_dilation=(1, 3)
        )

    text = jax.jit(bad).lower(np.ones((4, 4), np.float32)).as_text()
    assert list(reduce_windows(text)) == [([1, 3], [0, 0, 1, 2])]


SUM, MAX = (next(op for op in OPS if op.name == name) for name in ("sum", "max"))
LAID = [(op, c) for c in GEOMETRIES for op in (WINDOW_OPS if c in CORE else BASIC_OPS)]
LAID_QUICK = [
    *((SUM, case) for case in GEOMETRIES), *in_turns(UNLIKE, CORE),
    *in_turns(BASIC_OPS, [case for case in GEOMETRIES if case not in CORE]),
]  # fmt: skip


FOR_GPUS = [
    (op, case, masked)
    for case in CORE
    for op in WINDOW_OPS + (WHOLE_OPS if "global" in case.tags else [])
    for masked in (False, True)
]
WHOLE_CASES = [case for case in CORE if "global" in case.tags]
FOR_GPUS_QUICK = [
    (op, case, masked)
    for masked in (False, True)
    for op, case in (
        in_turns(UNLIKE, CORE, 4 * masked) + in_turns(WHOLE_OPS[masked::2], WHOLE_CASES, masked)
    )
]  # fmt: skip
FOR_CPUS, FOR_CPUS_QUICK = ([(*pair, False) for pair in pairs] for pairs in (LAID, LAID_QUICK))


@pytest.mark.parametrize(
    ("op", "case", "masked"),
    tiers([*dict.fromkeys(FOR_CPUS + FOR_GPUS)], FOR_CPUS_QUICK + FOR_GPUS_QUICK),
)
def test_programs_have_nothing_that_platforms_cannot_do(op, case, masked, exhaustive):
    """XLA:CPU computes wrong values for base dilations and aborts on negative padding.

    For GPUs it refuses select-and-scatter, and scatters atomically, where determinism is asked for.
    """
    asked = (op, case, masked)
    if asked in (FOR_CPUS if exhaustive else FOR_CPUS_QUICK):
        found = list(reduce_windows(program(op, case)))
        for base, padding in found:
            assert set(base) == {1}
            assert min(padding) >= 0
        w = dict(case.window.windows(case.shape)).values()
        side_by_side = all(a.window == a.stride and not a.padded for a in w)  # which need none
        assert found or op is not SUM or side_by_side
    if asked in (FOR_GPUS if exhaustive else FOR_GPUS_QUICK):
        text = program(op, case, "cuda", masked)
        assert "scatter" not in text
        assert "custom_call" not in text


@pytest.mark.parametrize("op", tiers(each(OPS), each(o for o in OPS if o.name not in ALIKE)))
def test_float64_is_not_reduced_on_gpus(op, exhaustive):
    """JAX's own forward mode of a maximum reduces precision there."""
    small = not (exhaustive or op.rule)
    name = "one_axis_alone" if small else "no_batch_axes"
    case = next(c for c in CASES if c.name == name)
    with jax.enable_x64(True):
        x = jax.ShapeDtypeStruct(case.shape, np.float64)

        def derivatives(x):
            loss = lambda x: jnp.sum(op(x, case) ** 2)  # noqa: E731
            if exhaustive or op.kind == "max":
                return jax.jvp(jax.grad(loss), (x,), (x,))[1]
            return jax.grad(loss)(x), jax.jvp(loss, (x,), (x,))[1]

        text = jax.jit(derivatives).trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert "reduce_precision" not in text
        assert not re.search(r"tensor<(\d+x)*f32>", text) or op.rule == "fractional"  # samples


def equations(jaxpr):
    for e in jaxpr.eqns:
        yield e
        for value in jax.tree.leaves(e.params, is_leaf=lambda v: hasattr(v, "eqns")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


@pytest.mark.parametrize("k", [3, 31])
@pytest.mark.parametrize(
    "options", [{"count_include_pad": False}, {"ceil_mode": True}, {"divisor_override": 3}, {}]
)
def test_counts_are_host_vectors(k, options):
    """Counting by pooling ones is folded at compile time: 4096 x 4096 would take minutes."""
    x = jax.ShapeDtypeStruct((1, 4096, 4096, 1), np.float32)
    f = lambda x: jaxpool.avg_pool(x, (k, k), 2, k // 2, **options)  # noqa: E731
    sums = lambda x: jaxpool.sum_pool(x, (k, k), 2, k // 2, ceil_mode="ceil_mode" in options)  # noqa: E731
    windows = [
        sum(
            e.primitive.name.startswith(("reduce_window", "window_sum"))
            for e in equations(jax.make_jaxpr(g)(x).jaxpr)
        )
        for g in (f, sums)
    ]
    assert windows[0] == windows[1] > 0
    lowered = jax.jit(f).lower(x)
    assert lowered.out_info.shape == f_shape(x.shape, k, options)
    # Constants of the program are vectors, one per axis, not maps of counts.
    text = lowered.as_text()
    for shape in re.findall(r"stablehlo\.constant dense<[^>]*> : tensor<([^>]*)>", text):
        assert np.prod(numbers(re.sub(r"x?[a-z]+\d+$", "", shape)) or [1]) <= 4096
    assert len(text) < 200_000
    lowered.compile()


def f_shape(shape, k, options):
    ceil = options.get("ceil_mode", False)
    return jaxpool.Window((k, k), 2, k // 2, ceil_mode=ceil).output_shape(shape)


def test_masks_cost_one_more_sum_at_their_own_size():
    """A mask without channels is not counted once per channel."""
    x = jax.ShapeDtypeStruct((2, 8, 8, 64), np.float32)
    where = jax.ShapeDtypeStruct((8, 8, 1), np.bool_)
    jaxpr = jax.make_jaxpr(lambda x, w: jaxpool.avg_pool(x, (2, 2), where=w))(x, where).jaxpr
    sums = ("reduce_window_sum", "window_sum")
    shapes = {e.invars[0].aval.shape for e in equations(jaxpr) if e.primitive.name in sums}
    assert shapes == {(2, 8, 8, 64), (1, 8, 8, 1)}


@pytest.mark.parametrize("op", tiers(each(WINDOW_OPS), each(UNLIKE)))
def test_batch_axes_in_any_number(op):
    x = distinct((2, 3, 2, 5, 5, 2))
    case = next(c for c in CASES if c.name == "vgg_pool")
    y, part = jax.jit(lambda x: (op(x, case), op(x[1, 2, 1], case)))(x)
    assert y.shape == (2, 3, 2, 2, 2, 2)
    np.testing.assert_allclose(y[1, 2, 1], part, rtol=1e-6)


def as_global(op):
    """The function of x and a mask that pools whole axes, or None."""
    function = getattr(op.function, "func", op.function)  # of a partial one
    twin = getattr(jaxpool, f"global_{function.__name__}", None)
    if twin is None or "divisor_override" in op.options:
        return None
    options = {**getattr(op.function, "keywords", {}), **op.options}
    for name in ("count_include_pad", "implementation"):  # which whole axes do not have
        options.pop(name, None)
    return lambda x, where: twin(x, (1, 2), where=where, **options)


ONE_OF_EACH_PATH = {op.path: op for op in filter(as_global, UNLIKE)}.values()


@pytest.mark.parametrize("op", tiers(each(filter(as_global, WINDOW_OPS)), each(ONE_OF_EACH_PATH)))
def test_a_window_as_large_as_the_input_is_a_global_pool(op, exhaustive):
    sizes = (5, 4) if exhaustive else (4, 3)
    x = distinct((2, *sizes, 3))
    where = np.random.default_rng(0).random((2, *sizes, 1)) < 0.5
    by_window = lambda x, where: op.function(x, sizes, where=where, **op.options)[:, 0, 0]  # noqa: E731

    @jax.jit
    def both(x, where):
        loss = lambda f: lambda x: jnp.sum(f(x, where) ** 2)  # noqa: E731
        return [(f(x, where), jax.grad(loss(f))(x)) for f in (by_window, as_global(op))]

    for mask in (None, where) if exhaustive or op.kind == "max" else (where,):
        (y, gradient), (whole, of_whole) = both(x, mask)
        np.testing.assert_allclose(y, whole, rtol=2e-6, atol=1e-6)
        np.testing.assert_allclose(gradient, of_whole, rtol=1e-5, atol=1e-6)


def test_pool_is_what_the_named_functions_are():
    x = distinct((2, 7, 7, 3))
    window = jaxpool.Window((3, 3), 2, 1)
    for reduction, function in [
        (jaxpool.Max(), jaxpool.max_pool), (jaxpool.Min(), jaxpool.min_pool),
        (jaxpool.Sum(), jaxpool.sum_pool), (jaxpool.Mean(), jaxpool.avg_pool),
        (jaxpool.Lp(2), jaxpool.lp_pool),
    ]:  # fmt: skip
        both = jax.jit(lambda x: (jaxpool.pool(x, window, reduction), function(x, (3, 3), 2, 1)))  # noqa: B023
        np.testing.assert_array_equal(*both(x))


def test_pool_mask():
    mask = np.array([[True, True, False], [True, False, False]])
    inside = jaxpool.Window((2, 2), 1, axes=(0, 1))
    padded = jaxpool.Window((2, 2), 2, 1, axes=(0, 1))  # padding is neither valid nor not
    found = jax.jit(
        lambda mask: {
            mode: [
                jaxpool.pool_mask(mask, domain, mode)
                for domain in (inside, padded, jaxpool.Global(1))
            ]
            for mode in ("any", "all")
        }
    )(mask)
    assert [m.tolist() for m in found["any"]] == [
        [[True, True]], [[True, True], [True, False]], [True, True],
    ]  # fmt: skip
    assert [m.tolist() for m in found["all"]] == [
        [[False, False]], [[True, False], [True, False]], [False, False],
    ]  # fmt: skip
    assert jaxpool.pool_mask(mask, inside).tolist() == [[True, True]]  # not in a program
    assert jaxpool.pool_mask(mask, inside, mode="all").tolist() == [[False, False]]
    assert jaxpool.pool_mask(mask, jaxpool.Global((0, 1), keepdims=True)).tolist() == [[True]]


@pytest.mark.parametrize("case", CORE, ids=str)
def test_pool_mask_says_where_a_masked_pool_is_empty(case):
    where = np.random.default_rng(0).random(case.shape) < 0.15
    window = jaxpool.Window(**case.geometry)

    @jax.jit
    def pools(x, where):
        return (
            jaxpool.pool_mask(where, window),
            jaxpool.pool(x, window, jaxpool.Max(), where=where, empty_value=-1),
            jaxpool.pool_mask(where, window, "all"),
            jaxpool.pool(where, window, jaxpool.Min()),
        )

    any_valid, ones, all_valid, least = pools(np.ones(case.shape, "f4"), where)
    np.testing.assert_array_equal(any_valid, np.asarray(ones) == 1)
    np.testing.assert_array_equal(all_valid, least)


SHAPES = [(2, 4, 6, 3), (4, 6, 1), (6, 1), (1, 4, 1, 1), (2, 1, 1, 1), (3,), (1,), ()]


@pytest.mark.parametrize("function", [jaxpool.max_pool, jaxpool.avg_pool, jaxpool.lp_pool])
def test_masks_broadcast(function, exhaustive):
    x = distinct((2, 4, 6, 3))
    rng = np.random.default_rng(0)
    masks = [rng.random(shape) < 0.6 for shape in (SHAPES if exhaustive else SHAPES[1:])]
    f = lambda x, where: function(x, (2, 3), where=where, empty_value=3)  # noqa: E731
    found = jax.jit(lambda x, masks: [f(x, where) for where in masks])(x, masks)
    broadcast = jax.jit(f)
    for y, where in zip(found, masks, strict=True):
        full = broadcast(x, np.broadcast_to(where, x.shape))
        np.testing.assert_array_equal(y, full)


LARGE = [
    (function, geometry)
    for function in (jaxpool.max_pool, jaxpool.sum_pool, jaxpool.avg_pool, jaxpool.lp_pool)
    for geometry in [(1, 1, 0), (2, 2, 0), (3, 2, 1), (1, 3, 0), (4, 4, 2), (3, 1, 1)]
]
LARGE_QUICK = [
    *((jaxpool.max_pool, g) for g in [(2, 2, 0), (3, 2, 1), (1, 3, 0), (3, 1, 1)]),
    *((jaxpool.sum_pool, g) for g in [(3, 2, 1), (4, 4, 2)]),
    (jaxpool.avg_pool, (1, 1, 0)), (jaxpool.lp_pool, (3, 2, 1)), (jaxpool.lp_pool, (2, 2, 0)),
]  # fmt: skip


@pytest.mark.parametrize(("function", "geometry"), tiers(LARGE, LARGE_QUICK))
def test_large_arrays_equal_small_ones(function, geometry):
    """More than 8k elements, strided and padded gradients: other kernels, the same numbers."""
    k, s, p = geometry
    x = np.random.default_rng(0).normal(size=(3, 40, 40, 8)).astype(np.float32)

    def both(x):
        y, vjp = jax.vjp(lambda x: function(x, (k, k), s, p), x)
        return y, vjp(y)[0]

    large, of_small = as_users(both)(x), jax.jit(both)
    for i, j in ((0, 0), (2, 7)):
        small = of_small(x[i : i + 1, :, :, j : j + 1])
        for a, b in zip(large, small, strict=True):
            part = a[i : i + 1, :, :, j : j + 1]
            np.testing.assert_allclose(part, b, rtol=1e-5, atol=1e-5)


def test_soft_pools_of_large_windows_have_the_padding_of_small_ones():
    """They go axis by axis; SAME pads an even window by one more after the input."""
    x = distinct((6, 7))
    for k in ((2, 2), (4, 4), (5, 2)):
        for padding in ("SAME", ((1, 0), (0, 1))):
            options = {"window_shape": k, "strides": 1, "padding": padding, "axes": (0, 1)}
            y = jaxpool.softmax_pool(x, **options)
            expected = oracle.window("softmax", x, **options)
            np.testing.assert_allclose(y, expected, rtol=1e-5)


def test_windows_in_padding_of_a_symbolic_length_are_empty():
    """Of a known length they are refused; here nobody knows while tracing."""
    (length,) = jax.export.symbolic_shape("n")

    def pools(x):
        options = {"window_shape": 2, "strides": 1, "padding": ((2, 0),), "axes": 0}
        return [pool(x, **options, empty_value=-7) for pool in (jaxpool.max_pool, jaxpool.avg_pool)]

    exported = jax.export.export(jax.jit(pools))(jax.ShapeDtypeStruct((length,), np.float32))
    largest, mean = exported.call(np.float32([5, 1, 3]))
    np.testing.assert_array_equal(largest, [-7, 5, 5, 3])
    np.testing.assert_array_equal(mean, [-7, 2.5, 3, 2])


@pytest.mark.parametrize("name", ["max", "avg"])
def test_ceil_mode_takes_a_window_that_is_larger_than_x(name):
    """As PyTorch does, and no larger ones: SqueezeNet needs it on small images."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    pools = {"max": (jaxpool.max_pool, torch.nn.functional.max_pool1d),
             "avg": (jaxpool.avg_pool, torch.nn.functional.avg_pool1d)}  # fmt: skip
    ours, theirs = pools[name]
    seen = set()
    for n, k, s, p in itertools.product((1, 2, 3), (2, 3, 6), (1, 2, 7), (0, 1)):
        x = np.random.default_rng(n).normal(size=(1, n)).astype(np.float32)
        try:
            wanted = theirs(torch.from_numpy(x), k, s, p, ceil_mode=True)
        except RuntimeError:
            with pytest.raises(ValueError, match=r"fit the padded input|wholly in padding"):
                ours(x, (k,), s, p, ceil_mode=True, axes=1)
            seen.add("refused")
            continue
        found = ours(x, (k,), s, p, ceil_mode=True, axes=1)
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=str((n, k, s, p)))
        seen.add(k > n + 2 * p)
    assert seen == {"refused", True, False}


def test_of_a_window_larger_than_x_the_gradient_is_that_of_x():
    x = jnp.array([[1.0, 4.0], [3.0, 2.0]])[..., None]
    pool = functools.partial(jaxpool.max_pool, window_shape=(3, 3), strides=2, ceil_mode=True)
    y, back = jax.vjp(pool, x)
    assert y.ravel().tolist() == [4]
    assert back(jnp.ones((1, 1, 1)))[0].ravel().tolist() == [0, 1, 0, 0]
    with pytest.raises(ValueError, match="fit the padded input"):
        jaxpool.max_pool(x, (3, 3), 2)


def test_what_is_too_much_is_refused_in_no_time():
    """Nothing as long as what was asked for is made to look at it."""
    x = jnp.ones((8, 8, 1))
    with pytest.raises(ValueError, match=r"window 0 of axis 0 lies wholly in padding"):
        jaxpool.max_pool(x, (2, 2), padding=10**12)
    with pytest.raises(ValueError, match=r"window 4 of axis 0 lies wholly in padding \(0, 1"):
        jaxpool.avg_pool(x, (2,), padding=((0, 10**12),), axes=0)
    with pytest.raises(ValueError, match=r"window 4 of axis 0 lies wholly .* a smaller dilation"):
        jaxpool.avg_pool(x, (3,), 2, padding=((12, 20),), dilation=12, axes=0)
    many = jax.ShapeDtypeStruct((65536, 65536, 1), jnp.float32)
    for loss in (jaxpool.max_pool, lambda *args: jax.grad(jaxpool.max_pool)(*args)):
        with pytest.raises(ValueError, match=r"^max_pool: `window_shape` must have less than 2"):
            jax.eval_shape(lambda x: loss(x, (65536, 65536)), many)  # noqa: B023


def test_a_full_window_is_told_which_entries_are_too_many():
    x = jnp.ones((2, 8, 8, 3))
    with pytest.raises(
        ValueError, match=r"window_shape` must have at most 3 .* window_shape=\(3, 3\)"
    ):
        jaxpool.max_pool(x, (1, 3, 3, 1))


def test_sequences_of_ints():
    x = jnp.arange(2 * 6 * 6 * 3.0).reshape(2, 6, 6, 3)
    wanted = jaxpool.max_pool(x, (2, 3), (1, 2), ((0, 1), (1, 1)))
    pads = np.array([[0, 1], [1, 1]])
    found = jaxpool.max_pool(x, np.array([2, 3]), range(1, 3), pads, axes=range(1, 3))
    np.testing.assert_array_equal(found, wanted)
    for bad in (np.array([2.0, 3.0]), np.array([True, True])):
        with pytest.raises(TypeError, match="max_pool: `window_shape` must be an int"):
            jaxpool.max_pool(x, bad)
