"""What the programs of window pools are made of, and facts that hold for all of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool
from tests.cases import CASES, OPS, distinct

WINDOW_OPS = [op for op in OPS if not op.is_global and not op.rule]
WHOLE_OPS = [op for op in OPS if op.is_global]
GEOMETRIES = [c for c in CASES if "ci" in c.tags]
# Of their sums and maxima the others are made.
BASIC_OPS = [op for op in WINDOW_OPS if op.is_quick]


def programs(op, case, platform="cpu", dtype=np.float32, where=None):
    """Text of the lowered value and gradient, before XLA."""

    def gradient(x):
        y, vjp = jax.vjp(lambda x: op(x, case, where=where), x)
        return vjp(y)

    x = jax.ShapeDtypeStruct(case.shape, dtype)
    for f in (lambda x: op(x, case, where=where), gradient):
        yield jax.jit(f).trace(x).lower(lowering_platforms=(platform,)).as_text()


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

    text = jax.jit(bad).lower(jnp.ones((4, 4))).as_text()
    assert list(reduce_windows(text)) == [([1, 3], [0, 0, 1, 2])]


@pytest.mark.parametrize("case", GEOMETRIES, ids=str)
def test_no_base_dilation_and_no_negative_padding(case):
    """XLA:CPU computes wrong values for the one and aborts on the other."""
    seen = 0
    for op in WINDOW_OPS if "core" in case.tags else BASIC_OPS:
        for text in programs(op, case):
            for base, padding in reduce_windows(text):
                seen += 1
                assert set(base) == {1}, op
                assert min(padding) >= 0, op
    w = dict(case.window.windows(case.shape)).values()
    assert seen or all(a.window == a.stride and not a.padded for a in w)  # which need none


@pytest.mark.parametrize("case", [c for c in CASES if "core" in c.tags], ids=str)
def test_programs_for_gpus_need_no_atomics(case):
    """XLA refuses select-and-scatter, and scatters atomically, where determinism is asked for."""
    for op in WINDOW_OPS + (WHOLE_OPS if "global" in case.tags else []):
        for where in (None, np.ones(case.shape, bool)):
            for text in programs(op, case, "cuda", where=where):
                assert "scatter" not in text, op
                assert "custom_call" not in text, op


@pytest.mark.parametrize("op", OPS, ids=str)
def test_float64_is_not_reduced_on_gpus(op):
    """JAX's own forward mode of a maximum reduces precision there."""
    case = next(c for c in CASES if c.name == "no_batch_axes")
    with jax.enable_x64(True):
        x = jax.ShapeDtypeStruct(case.shape, np.float64)

        def hvp(x):
            loss = lambda x: jnp.sum(op(x, case) ** 2)  # noqa: E731
            return jax.jvp(jax.grad(loss), (x,), (x,))[1]

        text = jax.jit(hvp).trace(x).lower(lowering_platforms=("cuda",)).as_text()
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
            e.primitive.name.startswith("reduce_window")
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
    shapes = {
        e.invars[0].aval.shape for e in equations(jaxpr) if e.primitive.name == "reduce_window_sum"
    }
    assert shapes == {(2, 8, 8, 64), (1, 8, 8, 1)}


@pytest.mark.parametrize("op", WINDOW_OPS, ids=str)
def test_batch_axes_in_any_number(op):
    x = distinct((2, 3, 2, 5, 5, 2))
    case = next(c for c in CASES if c.name == "vgg_pool")
    y = jax.jit(lambda x: op(x, case))(x)
    assert y.shape == (2, 3, 2, 2, 2, 2)
    np.testing.assert_allclose(y[1, 2, 1], op(x[1, 2, 1], case), rtol=1e-6)


@pytest.mark.parametrize("op", WINDOW_OPS, ids=str)
def test_a_window_as_large_as_the_input_is_a_global_pool(op):
    function = getattr(op.function, "func", op.function)  # of a partial one
    twin = getattr(jaxpool, f"global_{function.__name__}", None)
    if twin is None or "divisor_override" in op.options:
        return
    options = {**getattr(op.function, "keywords", {}), **op.options}
    for name in ("count_include_pad", "implementation"):  # which whole axes do not have
        options.pop(name, None)
    x = distinct((2, 5, 4, 3))
    where = np.random.default_rng(0).random((2, 5, 4, 1)) < 0.5
    for mask in (None, where):
        a = jax.jit(lambda x: op.function(x, (5, 4), where=mask, **op.options)[:, 0, 0])  # noqa: B023
        b = jax.jit(lambda x: twin(x, (1, 2), where=mask, **options))  # noqa: B023
        np.testing.assert_allclose(a(x), b(x), rtol=2e-6, atol=1e-6)
        loss = lambda f: lambda x: jnp.sum(f(x) ** 2)  # noqa: E731
        np.testing.assert_allclose(jax.grad(loss(a))(x), jax.grad(loss(b))(x), rtol=1e-5, atol=1e-6)


def test_pool_is_what_the_named_functions_are():
    x = distinct((2, 7, 7, 3))
    window = jaxpool.Window((3, 3), 2, 1)
    for reduction, function in [
        (jaxpool.Max(), jaxpool.max_pool), (jaxpool.Min(), jaxpool.min_pool),
        (jaxpool.Sum(), jaxpool.sum_pool), (jaxpool.Mean(), jaxpool.avg_pool),
        (jaxpool.Lp(2), jaxpool.lp_pool),
    ]:  # fmt: skip
        y = jaxpool.pool(x, window, reduction)
        np.testing.assert_array_equal(y, function(x, (3, 3), 2, 1))


def test_pool_mask():
    mask = jnp.array([[True, True, False], [True, False, False]])
    window = jaxpool.Window((2, 2), 1, axes=(0, 1))
    assert jaxpool.pool_mask(mask, window).tolist() == [[True, True]]
    assert jaxpool.pool_mask(mask, window, "all").tolist() == [[False, False]]
    # Padding is neither valid nor not.
    window = jaxpool.Window((2, 2), 2, 1, axes=(0, 1))
    assert jaxpool.pool_mask(mask, window, mode="any").tolist() == [[True, True], [True, False]]
    assert jaxpool.pool_mask(mask, window, mode="all").tolist() == [[True, False], [True, False]]
    for mode, expected in (("any", [True, True]), ("all", [False, False])):
        assert jaxpool.pool_mask(mask, jaxpool.Global(1), mode).tolist() == expected
    assert jaxpool.pool_mask(mask, jaxpool.Global((0, 1), keepdims=True)).tolist() == [[True]]


@pytest.mark.parametrize("case", [c for c in CASES if "core" in c.tags], ids=str)
def test_pool_mask_says_where_a_masked_pool_is_empty(case):
    where = np.random.default_rng(0).random(case.shape) < 0.15
    window = jaxpool.Window(**case.geometry)
    y = jaxpool.pool(np.ones(case.shape, "f4"), window, jaxpool.Max(), where=where, empty_value=-1)
    np.testing.assert_array_equal(jaxpool.pool_mask(where, window), np.asarray(y) == 1)
    y = jaxpool.pool(where, window, jaxpool.Min())
    np.testing.assert_array_equal(jaxpool.pool_mask(where, window, "all"), y)


def test_masks_broadcast():
    x = distinct((2, 4, 6, 3))
    rng = np.random.default_rng(0)
    for shape in [(2, 4, 6, 3), (4, 6, 1), (6, 1), (1, 4, 1, 1), (2, 1, 1, 1), (3,), (1,), ()]:
        where = rng.random(shape) < 0.6
        for function in (jaxpool.max_pool, jaxpool.avg_pool, jaxpool.lp_pool):
            y = function(x, (2, 3), where=where, empty_value=3)
            full = function(x, (2, 3), where=np.broadcast_to(where, x.shape), empty_value=3)
            np.testing.assert_array_equal(y, full)


def test_large_arrays_equal_small_ones():
    """More than 8k elements, strided and padded gradients: other kernels, the same numbers."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 40, 40, 8)).astype(np.float32)
    for function in (jaxpool.max_pool, jaxpool.sum_pool, jaxpool.avg_pool, jaxpool.lp_pool):
        for k, s, p in [(1, 1, 0), (2, 2, 0), (3, 2, 1), (1, 3, 0), (4, 4, 2), (3, 1, 1)]:

            @jax.jit
            def both(x):
                f = lambda x: function(x, (k, k), s, p)  # noqa: B023, E731
                y, vjp = jax.vjp(f, x)
                return y, vjp(y)[0]

            large = both(x)
            small = [both(x[i : i + 1, :, :, j : j + 1]) for i, j in ((0, 0), (2, 7))]
            for (i, j), part in zip(((0, 0), (2, 7)), small, strict=True):
                for a, b in zip(large, part, strict=True):
                    np.testing.assert_allclose(
                        a[i : i + 1, :, :, j : j + 1], b, rtol=1e-5, atol=1e-5
                    )
