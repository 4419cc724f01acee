"""Every operator x every case x every property."""

import functools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxpool
from tests.cases import CASES, OPS, distinct, pairs, tolerance
from tests.interpreter import as_lowered

# The same program in half the time to compile, where it is not its speed that is tested.
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

FLOATS = ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64"]
INTS = ["int8", "uint8", "int32", "uint32", "bool"]


def every(tag):
    found = pairs(tag)
    return pytest.mark.parametrize(
        ("op", "case"), found, ids=[f"{op.name}-{case.name}" for op, case in found]
    )


def close(actual, expected, dtype=np.float32):
    actual = np.asarray(actual)
    np.testing.assert_allclose(
        actual.astype(np.float64), np.asarray(expected).astype(np.float64), **tolerance(dtype)
    )


def identical(actual, expected):
    """The same bits, but that one NaN is as good as another."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)
    if actual.dtype.kind == "f":
        np.testing.assert_array_equal(np.signbit(actual), np.signbit(expected))


def a_mask(case, seed=0):
    """About half of the elements, one mask for all channels where channels are last."""
    shape = list(case.shape)
    if -1 in case.batch:
        shape[-1] = 1
    return np.random.default_rng(seed).random(shape) < 0.5


@every("ci")
def test_equals_the_oracle(op, case):
    x = distinct(case.shape)
    y = jax.jit(lambda x: op(x, case))(x)
    expected = op.expected(x, case)
    assert y.shape == expected.shape
    assert y.dtype == np.float32
    close(y, expected)


@every("ci")
def test_equals_the_oracle_under_a_mask(op, case):
    x, where = distinct(case.shape, seed=1), a_mask(case)
    y = quick_jit(lambda x, where: op(x, case, where=where, empty_value=7))(x, where)
    close(y, op.expected(x, case, where=where, empty_value=7))


@every("core")
def test_equals_the_oracle_with_weights(op, case):
    if op.kind != "mean":
        pytest.raises(TypeError, lambda: op(distinct(case.shape), case, where=np.ones(case.shape)))
        return
    x, weights = distinct(case.shape), np.random.default_rng(0).random(case.shape)
    weights = np.where(weights < 0.3, 0, weights).astype(np.float32)
    y = quick_jit(lambda x, w: op(x, case, where=w, empty_value=7))(x, weights)
    close(y, op.expected(x, case, where=weights, empty_value=7))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", OPS, ids=str)
def test_floats_keep_their_dtype_and_round_once(op, dtype):
    case = next(c for c in CASES if c.name == "no_batch_axes")
    with jax.enable_x64(dtype == "float64"):
        x = distinct(case.shape, dtype)
        y = jax.jit(lambda x: op(x, case))(x)
        assert y.dtype == np.dtype(dtype)
        close(y, op.expected(x, case), dtype)


@pytest.mark.parametrize(
    ("op", "dtype", "x64"),
    [(op, dtype, x64) for op in OPS if op.takes_ints for dtype in INTS
     for x64 in ((False, True) if op.kind == "sum" else (False,))],
)  # fmt: skip
def test_ints_never_wrap(op, dtype, x64):
    case = next(c for c in CASES if c.name == "no_batch_axes")
    rng = np.random.default_rng(0)
    if dtype == "bool":
        x = rng.random(case.shape) < 0.5
    else:
        info = np.iinfo(dtype)
        x = rng.integers(max(info.min, -(2**20)), min(info.max, 2**20), case.shape, dtype=dtype)
    with jax.enable_x64(x64):
        y = quick_jit(lambda x: op(x, case))(x)
        if op.kind in ("max", "min"):
            assert y.dtype == np.dtype(dtype)
        elif op.kind == "sum":
            assert y.dtype == jnp.sum(jnp.zeros(1, dtype)).dtype
        else:
            assert y.dtype == np.float32
        expected = op.expected(x, case)
        if op.kind not in ("max", "min", "sum", "mean"):  # weights: small may be left of large ones
            size = np.abs(x.astype(np.float32)).max()
            y, expected = y / size, expected / size
        close(y, expected, y.dtype)


@every("few")
def test_jit_equals_eager(op, case):
    x, where = distinct(case.shape), a_mask(case)
    close(op(jnp.asarray(x), case), jax.jit(lambda x: op(x, case))(x))
    eager = op(jnp.asarray(x), case, where=where)
    close(eager, jax.jit(lambda x, w: op(x, case, where=w))(x, where))


@every("few")
def test_numpy_inputs(op, case):
    x, where = distinct(case.shape), a_mask(case)
    y = op(x, case, where=where)
    assert isinstance(y, jax.Array)
    identical(y, op(jnp.asarray(x), case, where=jnp.asarray(where)))


@every("core")
def test_vmap_equals_batch_and_batches_are_independent(op, case):
    x, where = distinct(case.shape), np.broadcast_to(a_mask(case), case.shape)
    ndim, kept = len(case.shape), getattr(op.domain(case), "keepdims", True)

    def pool(x, where):
        """With pooled axes counted from the back, among the axes that are left."""
        lost = [a for a in range(-ndim, 0) if a not in left]
        axes = [a + sum(a < b for b in lost) for a in case.pooled]
        return op.function(x, **{**op.arguments(case), "axes": axes}, **op.options, where=where)

    # After pooling, a batch axis counts from the front among what is kept.
    def out_axis(a):
        gone = 0 if kept else sum(p < a for p in case.pooled)
        return a + ndim - gone

    whole = np.asarray(quick_jit(lambda x, w: op(x, case, where=w))(x, where))
    for a in case.batch:
        left = [b for b in range(-ndim, 0) if b != a]
        close(quick_jit(jax.vmap(pool, a, out_axis(a)))(x, where), whole)
        if a != case.batch[0]:
            continue
        first = quick_jit(pool)(np.take(x, 0, a), np.take(where, 0, a))
        close(first, np.take(whole, 0, out_axis(a)))
        shared = np.take(where, 0, a)  # a mask of the whole batch
        alike = np.broadcast_to(np.expand_dims(shared, a), case.shape)
        close(quick_jit(jax.vmap(pool, (a, None), out_axis(a)))(x, shared),
              quick_jit(lambda x, w: op(x, case, where=w))(x, alike))  # fmt: skip
    if len(case.batch) >= 2:
        a, b = case.batch[0], case.batch[-1]
        left = [c for c in range(-ndim, 0) if c not in (a, b)]
        nested = jax.vmap(jax.vmap(pool, a + (a < b), 0), b, 0)
        close(quick_jit(nested)(x, where), np.moveaxis(whole, (out_axis(b), out_axis(a)), (0, 1)))


def differences(f, x, v, eps=2e-5):
    """Directional derivative by central differences."""
    return jax.tree.map(lambda a, b: (a - b) / (2 * eps), f(x + eps * v), f(x - eps * v))


@every("core")
def test_first_and_second_derivatives_in_all_modes(op, case):
    """As check_grads to order 2, in one program; and the modes agree with one another."""
    with jax.enable_x64(True):
        x = jnp.asarray(distinct(case.shape, np.float64))
        rng = np.random.default_rng(0)
        v, w = (jnp.asarray(rng.normal(size=case.shape)) for _ in range(2))
        f = functools.partial(op, case=case)
        ct = jnp.asarray(rng.normal(size=jax.eval_shape(f, x).shape))

        def loss(x):
            return jnp.vdot(ct, f(x))

        @quick_jit
        def everything(x):
            y, vjp = jax.vjp(f, x)
            gradient = vjp(ct)[0]
            forward = jax.jvp(f, (x,), (v,))[1]
            over = {
                "fwd-rev": jax.jvp(jax.grad(loss), (x,), (v,))[1],
                "rev-rev": jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x),
                "rev-fwd": jax.grad(lambda x: jax.jvp(loss, (x,), (v,))[1])(x),
            }
            twice = jax.jvp(lambda x: jax.jvp(loss, (x,), (v,))[1], (x,), (w,))[1]
            return y, gradient, forward, over, twice

        both = quick_jit(lambda x: (f(x), jax.grad(loss)(x)))
        _, gradient, forward, over, twice = everything(x)
        first, second = differences(both, x, v)
        bound = {"rtol": 1e-5, "atol": 1e-6}
        np.testing.assert_allclose(forward, first, **bound)
        np.testing.assert_allclose(jnp.vdot(ct, forward), jnp.vdot(gradient, v), rtol=1e-9)
        for name, value in over.items():
            np.testing.assert_allclose(value, second, **bound, err_msg=name)
        np.testing.assert_allclose(twice, jnp.vdot(over["fwd-rev"], w), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("op", OPS, ids=str)
def test_check_grads(op, masked):
    name = "no_batch_axes" if op.is_global else "dilated"
    case = next(c for c in CASES if c.name == name)
    with jax.enable_x64(True):
        where = jnp.asarray(a_mask(case)) if masked else None
        f = jax.jit(lambda x: op(x, case, where=where))
        check_grads(f, (jnp.asarray(distinct(case.shape, np.float64)),), order=2, eps=1e-4)


@every("ci")
def test_eval_shape_equals_the_formula(op, case):
    promised = op.domain(case).output_shape(case.shape)
    assert promised == op.expected(np.zeros(case.shape), case).shape
    found = jax.eval_shape(lambda x: op(x, case), jax.ShapeDtypeStruct(case.shape, np.float32))
    assert found.shape == promised


@every("few")
def test_one_trace_per_static_signature(op, case):
    chex.clear_trace_counter()

    @quick_jit
    @chex.assert_max_traces(n=1)
    def f(x, where):
        return op(x, case, where=where)

    for seed in range(3):
        f(distinct(case.shape, seed=seed), a_mask(case, seed))


@every("few")
def test_a_domain_is_a_static_argument(op, case):
    """Equal domains are one domain to jit."""
    traces = []

    @functools.partial(jax.jit, static_argnums=1)
    def f(x, domain):
        traces.append(domain)
        return jaxpool.pool(x, domain, jaxpool.Max())

    for _ in range(2):
        f(distinct(case.shape), op.domain(case))
    assert len(traces) == 1
    assert hash(op.domain(case)) == hash(op.domain(case))


@every("core")
def test_masked_out_values_reach_nothing(op, case):
    x, where = distinct(case.shape), a_mask(case)

    @quick_jit
    def f(x):
        y, vjp = jax.vjp(lambda x: op(x, case, where=where, empty_value=5), x)
        tangent = jax.jvp(lambda x: op(x, case, where=where), (x,), (jnp.ones_like(x),))[1]
        gradient = vjp(jnp.ones_like(y))[0]
        second = jax.grad(lambda x: jnp.sum(op(x, case, where=where) ** 2))(x)
        return y, gradient, tangent, second

    clean = f(x)
    for poison in (np.nan, np.inf, -np.inf):
        dirty = f(np.where(where, x, np.float32(poison)))
        for a, b in zip(dirty, clean, strict=True):
            identical(a, b)
        for gradient in (dirty[1], dirty[3]):
            assert (np.asarray(gradient)[~np.broadcast_to(where, case.shape)] == 0).all()


@every("few")
def test_masked_out_values_reach_no_second_derivative(op, case):
    x, where = distinct(case.shape), a_mask(case)

    @quick_jit
    def hvp(x):
        def loss(x):
            return jnp.sum(op(x, case, where=where) ** 2)

        return jax.jvp(jax.grad(loss), (x,), (jnp.ones_like(x),))[1]

    identical(hvp(np.where(where, x, np.float32(np.nan))), hvp(x))


@every("few")
def test_all_true_is_no_mask(op, case):
    x = distinct(case.shape)
    x.flat[3] = np.nan
    x.flat[5] = -np.inf

    def f(x, where):
        y, vjp = jax.vjp(lambda x: op(x, case, where=where, empty_value=9), x)
        return y, vjp(jnp.ones_like(y))[0]

    y, gradient = quick_jit(lambda x: f(x, None))(x)
    for where in (np.ones(case.shape, bool), np.bool_(True)):
        y_masked, gradient_masked = quick_jit(f)(x, where)
        # Of a product and the sum after it XLA makes one operation, rounded once, or does not.
        exact = op.kind in ("max", "min", "sum", "mean", "median", "logsumexp")
        (identical if exact else close)(y_masked, y)
        close(gradient_masked, gradient)


@pytest.mark.parametrize("empty_value", [0, np.nan, jnp.float32(-2.5)], ids=str)
@every("few")
def test_fully_masked_cells_are_empty(op, case, empty_value):
    x = np.full(case.shape, np.nan, np.float32)

    @quick_jit
    def f(x):
        y, vjp = jax.vjp(
            lambda x: op(x, case, where=np.zeros(x.shape, bool), empty_value=empty_value), x
        )
        return y, vjp(jnp.ones_like(y))[0]

    y, gradient = f(x)
    identical(y, np.full(op.domain(case).output_shape(case.shape), empty_value, np.float32))
    assert (np.asarray(gradient) == 0).all()


@every("core")
def test_axes_equal_transpose_pool_transpose(op, case):
    """The same geometry along other axes, in every rotation of the axes."""
    x = distinct(case.shape)
    y = quick_jit(lambda x: op(x, case))(x)
    ndim, kept = x.ndim, getattr(op.domain(case), "keepdims", True)
    for shift in {1, ndim - 1} - {0, ndim}:
        order = [(i + shift) % ndim for i in range(ndim)]
        axes = [order.index(a % ndim) for a in case.pooled]
        arguments = {**op.arguments(case), "axes": axes}
        turned = quick_jit(lambda x, a=arguments: op.function(x, **a, **op.options))(
            np.transpose(x, order)
        )
        left = order if kept else [a for a in order if a - ndim not in case.pooled]
        close(np.transpose(turned, np.argsort(left)), y)


def primitives(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in jax.tree.leaves(
            equation.params, is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
        ):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from primitives(inner)
        if inner := as_lowered(equation):
            yield from primitives(inner.jaxpr)


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@every("core")
def test_no_transpose_in_the_program(op, case, masked):
    where = a_mask(case) if masked else None

    def f(x):
        y, vjp = jax.vjp(lambda x: op(x, case, where=where), x)
        return y, vjp(y)

    jaxpr = jax.make_jaxpr(f)(distinct(case.shape)).jaxpr
    assert "transpose" not in {e.primitive.name for e in primitives(jaxpr)}


def symbolic(case, scope, what):
    pooled = [a % len(case.shape) for a in case.pooled]
    names = {
        "batch": lambda i: f"b{i}" if i not in pooled else None,
        "spatial": lambda i: f"n{i}" if i in pooled else None,
        "both": lambda i: f"d{i}",
    }[what]
    text = ", ".join(str(names(i) or n) for i, n in enumerate(case.shape))
    return jax.export.symbolic_shape(text, scope=scope)


def grown(case, what, by):
    """The case's shape with its symbolic sizes made larger."""
    pooled = [a % len(case.shape) for a in case.pooled]
    grow = {"batch": lambda i: i not in pooled, "spatial": lambda i: i in pooled,
            "both": lambda i: True}[what]  # fmt: skip
    return tuple(n + by * grow(i) for i, n in enumerate(case.shape))


EXPORTS = [
    (op, case, what, masked)
    for op, case in pairs("export")
    for what, masked in (("batch", False), ("spatial", True), ("both", False))
    if op.is_quick or what != "batch"
]


@pytest.mark.parametrize(("op", "case", "what", "masked"), EXPORTS, ids=str)
def test_export_with_symbolic_sizes(op, case, what, masked):
    """One exported program serves two sizes, value and gradient."""
    pooled = [a % len(case.shape) for a in case.pooled]
    constraints = [f"{'d' if what == 'both' else 'n'}{i} >= 5" for i in pooled]
    scope = jax.export.SymbolicScope(constraints if what != "batch" else ())
    shape = symbolic(case, scope, what)

    def f(x, where):
        where = where if masked else None
        y, vjp = jax.vjp(lambda x: op(x, case, where=where), x)
        return y, vjp(jnp.ones_like(y))[0]

    arguments = (jax.ShapeDtypeStruct(shape, d) for d in (np.float32, np.bool_))
    if op.rule and what != "batch":  # cells depend on the sizes
        with pytest.raises(ValueError, match="`x` must have a known size along axis 2"):
            jax.export.export(jax.jit(f))(*arguments)
        return
    exported = jax.export.export(jax.jit(f))(*arguments)
    for by in (0, 3):
        x = distinct(grown(case, what, by))
        where = np.random.default_rng(0).random(x.shape) < 0.5
        for a, b in zip(exported.call(x, where), quick_jit(f)(x, where), strict=True):
            assert a.shape == b.shape
            close(a, b)


@pytest.mark.parametrize(("k", "implementation"), [(9, None), (3, "axes"), (3, "taps")])
def test_export_of_large_windows_with_symbolic_sizes(k, implementation):
    shape = jax.export.symbolic_shape("b, h, w, 2")

    def f(x):
        pool = lambda x: jaxpool.max_pool(x, (k, k), 1, k // 2, implementation=implementation)  # noqa: E731
        y, vjp = jax.vjp(pool, x)
        return y, vjp(jnp.ones_like(y))[0]

    exported = jax.export.export(jax.jit(f))(jax.ShapeDtypeStruct(shape, np.float32))
    x = distinct((2, 10, 11, 2))
    for a, b in zip(exported.call(x), quick_jit(f)(x), strict=True):
        close(a, b)


@every("core")
def test_empty_batches(op, case):
    if not case.batch:
        return
    shape = tuple(0 if a - len(case.shape) == case.batch[0] else n
                  for a, n in enumerate(case.shape))  # fmt: skip
    x = jnp.zeros(shape)
    y, vjp = jax.vjp(lambda x: op(x, case), x)
    assert y.shape == op.domain(case).output_shape(shape)
    assert y.size == 0
    assert vjp(y)[0].shape == shape
    assert op(x, case, where=jnp.zeros(shape, bool)).shape == y.shape


@every("few")
def test_remat(op, case):
    x = distinct(case.shape)
    loss = lambda x: jnp.sum(jnp.sin(op(x, case)))  # noqa: E731
    close(quick_jit(jax.grad(jax.checkpoint(loss)))(x), quick_jit(jax.grad(loss))(x))


@every("core")
def test_one_nan_reaches_its_own_cells_only(op, case):
    """And all of them; so do infinities, of which a mean of one sign is infinite."""
    x = distinct(case.shape)
    f = quick_jit(lambda x: op(x, case))
    clean = np.asarray(f(x))
    reached = 0  # strides and dilation may leave out some elements, not all
    for at in (0, x.size // 3, x.size // 2 + 3, x.size - 1):
        dirty = x.copy()
        dirty.flat[at] = np.nan
        expected = np.isnan(op.expected(dirty, case))
        reached += expected.sum()
        found = np.asarray(f(dirty))
        np.testing.assert_array_equal(np.isnan(found), expected)
        close(found[~expected], clean[~expected])
    assert reached


@pytest.mark.parametrize("op", OPS, ids=str)
def test_eager_calls_compile_nothing_anew(op):
    case = next(c for c in CASES if c.name == "no_batch_axes")
    compiled = []

    def listen(event, duration, **facts):
        del duration, facts
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    # Larger than what is left to XLA whatever it does.
    x = jnp.asarray(distinct((*case.shape[:-1], 64 * case.shape[-1])))
    op(x, case)
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        op(x, case)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled
