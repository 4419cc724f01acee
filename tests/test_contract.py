"""Every operator x every case x every property, of which the quick tier has a covering array."""

import functools
import itertools

import chex
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxpool
from tests.cases import (
    CASES,
    OPS,
    cover,
    distinct,
    each_kind,
    each_lowering,
    each_operator,
    pairs,
    tolerance,
)
from tests.compiling import as_users
from tests.interpreter import as_lowered

FLOATS = ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16", "float32", "float64"]
INTS = ["int8", "uint8", "int32", "uint32", "bool"]
NO_BATCH = next(c for c in CASES if c.name == "no_batch_axes")


def parametrize(names, candidates, wanted):
    """All candidates, of which those outside the covering array are of the exhaustive tier."""
    quick = {id(c) for c in cover(candidates, wanted)}
    return pytest.mark.parametrize(names, [
        pytest.param(*c, id="-".join(map(str, c)),
                     marks=() if id(c) in quick else pytest.mark.exhaustive)
        for c in candidates
    ])  # fmt: skip


@functools.cache
def every(tag, wanted=each_lowering):
    return parametrize(("op", "case"), pairs(tag), wanted)


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


# Programs that several properties share. Of one operator and case they follow each other, see
# `conftest.py`.


@functools.cache
def for_users():
    """Some that are compiled as users compile them: each lowering."""
    return cover(cover(pairs("ci"), each_operator), lambda pair: {pair[0].lowering})


@functools.cache
def in_all_modes():
    """Some whose second derivatives are taken in every way: each domain, each family."""
    derived = cover(pairs("core"), each_kind)
    return cover(derived, lambda pair: {pair[0].domain_name, pair[0].family})


@functools.lru_cache(maxsize=2)
def values(op, case):
    """The program of x and a mask to the result without and with it.

    One of each lowering is compiled as users compile it.
    """
    compiled = as_users if (op, case) in for_users() else jax.jit
    return compiled(lambda x, where: (op(x, case), op(x, case, where=where, empty_value=7)))


@functools.lru_cache(maxsize=2)
def derivatives(op, case):
    """The program, in float64, to all derivatives to second order, without and with a mask.

    It takes x, two tangents, the cotangent of the result, the mask and the value of empty cells.
    Some have second derivatives in all modes and under a mask, others in `test_check_grads`.
    """
    full = (op, case) in in_all_modes()

    def of(f, x, v, w, ct, *, second, all_modes):
        y, vjp = jax.vjp(f, x)
        loss = lambda x: jnp.vdot(ct, f(x))  # noqa: E731
        found = {
            "y": y,
            "gradient": vjp(ct)[0],
            "forward": jax.jvp(f, (x,), (v,))[1],
        }
        if second:
            found["fwd-rev"] = jax.jvp(jax.grad(loss), (x,), (v,))[1]
        if all_modes:
            slope = lambda x: jax.jvp(loss, (x,), (v,))[1]  # noqa: E731
            found["rev-rev"] = jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), v))(x)
            found["rev-fwd"] = jax.grad(slope)(x)
            found["fwd-fwd"] = jax.jvp(slope, (x,), (w,))[1]
        return found

    @jax.jit
    def run(x, v, w, ct, where, empty):
        # Traced once each, and not for each derivative.
        plain = jax.jit(lambda x: op(x, case))
        masked = jax.jit(lambda x: op(x, case, where=where, empty_value=empty))
        return (
            of(plain, x, v, w, ct, second=True, all_modes=full),
            of(masked, x, v, w, ct, second=full, all_modes=False),
        )

    def call(*arguments):
        with jax.enable_x64(True):
            return jax.tree.map(np.asarray, run(*arguments))

    return call


def of_derivatives(op, case):
    """Arguments for that program: x, tangents, cotangent, a mask of x's shape, an empty value."""
    rng = np.random.default_rng(0)
    x = distinct(case.shape, np.float64)
    v, w = rng.normal(size=(2, *case.shape))
    ct = rng.normal(size=op.expected(x, case).shape)
    return x, v, w, ct, np.broadcast_to(a_mask(case), case.shape), np.float64(5)


@every("ci", each_operator)
def test_equals_the_oracle(op, case):
    x = distinct(case.shape)
    y, _ = values(op, case)(x, a_mask(case))
    expected = op.expected(x, case)
    assert y.shape == expected.shape == op.domain(case).output_shape(case.shape)
    assert y.dtype == np.float32
    close(y, expected)


@every("ci", each_operator)
def test_equals_the_oracle_under_a_mask(op, case):
    x, where = distinct(case.shape, seed=1), a_mask(case)
    _, y = values(op, case)(x, where)
    close(y, op.expected(x, case, where=where, empty_value=7))


@every("ci", each_operator)
def test_eval_shape_equals_the_formula(op, case):
    x = jax.ShapeDtypeStruct(case.shape, np.float32)
    where = jax.ShapeDtypeStruct(a_mask(case).shape, np.bool_)
    promised = op.domain(case).output_shape(case.shape)
    assert [y.shape for y in jax.eval_shape(values(op, case), x, where)] == [promised] * 2


@every("ci", each_operator)
def test_one_nan_reaches_its_own_cells_only(op, case):
    """And all of them; so do infinities, of which a mean of one sign is infinite."""
    x, where = distinct(case.shape), a_mask(case)
    clean = np.asarray(values(op, case)(x, where)[0])
    reached = 0  # strides and dilation may leave out some elements, not all
    for at in {*np.linspace(0, x.size - 1, 7).astype(int), x.size // 3, x.size // 2 + 3}:
        dirty = x.copy()
        dirty.flat[at] = np.nan
        expected = np.isnan(op.expected(dirty, case))
        reached += expected.sum()
        found = np.asarray(values(op, case)(dirty, where)[0])
        np.testing.assert_array_equal(np.isnan(found), expected)
        close(found[~expected], clean[~expected])
    assert reached


@every("core")
def test_equals_the_oracle_with_weights(op, case):
    if op.kind not in ("mean", "variance", "std"):
        pytest.raises(TypeError, lambda: op(distinct(case.shape), case, where=np.ones(case.shape)))
        return
    x, weights = distinct(case.shape), np.random.default_rng(0).random(case.shape)
    weights = np.where(weights < 0.3, 0, weights).astype(np.float32)
    y = jax.jit(lambda x, w: op(x, case, where=w, empty_value=7))(x, weights)
    close(y, op.expected(x, case, where=weights, empty_value=7))


@every("core", each_kind)
def test_first_and_second_derivatives_in_all_modes(op, case):
    """As check_grads to order 2, in one program; and the modes agree with one another."""
    run = derivatives(op, case)
    x, v, w, ct, where, empty = of_derivatives(op, case)
    bound, step = {"rtol": 1e-5, "atol": 1e-6}, 2e-5 * v
    found, up, down = (run(at, v, w, ct, where, empty) for at in (x, x + step, x - step))
    for at, above, below in zip(found, up, down, strict=True):
        first, second = ((above[k] - below[k]) / 4e-5 for k in ("y", "gradient"))
        np.testing.assert_allclose(at["forward"], first, **bound)
        np.testing.assert_allclose(np.vdot(ct, at["forward"]), np.vdot(at["gradient"], v), 1e-9)
        for name in at.keys() & {"fwd-rev", "rev-rev", "rev-fwd"}:
            np.testing.assert_allclose(at[name], second, **bound, err_msg=name)
        if "fwd-fwd" in at:
            twice = np.vdot(at["fwd-rev"], w)
            np.testing.assert_allclose(at["fwd-fwd"], twice, rtol=1e-6, atol=1e-9)


@every("core", each_kind)
def test_masked_out_values_reach_nothing(op, case):
    """Neither values nor derivatives, and they have gradient 0 themselves."""
    run = derivatives(op, case)
    x, v, w, ct, where, empty = of_derivatives(op, case)
    _, clean = run(x, v, w, ct, where, empty)
    for poison in (np.nan, np.inf, -np.inf):
        _, dirty = run(np.where(where, x, poison), v, w, ct, where, empty)
        jax.tree.map(identical, dirty, clean)
        for name in dirty.keys() & {"gradient", "fwd-rev"}:
            assert (dirty[name][~where] == 0).all(), name


@every("core", each_kind)
def test_all_true_is_no_mask(op, case):
    run = derivatives(op, case)
    x, v, w, ct, where, empty = of_derivatives(op, case)
    x.flat[3], x.flat[5] = np.nan, -np.inf
    plain, masked = run(x, v, w, ct, np.ones_like(where), empty)
    # Of a product and the sum after it XLA makes one operation, rounded once, or does not.
    exact = op.kind in ("max", "min", "sum", "mean", "median", "logsumexp")
    (identical if exact else close)(masked["y"], plain["y"])
    close(masked["gradient"], plain["gradient"])


@every("core", each_kind)
def test_fully_masked_cells_are_empty(op, case):
    run = derivatives(op, case)
    x, v, w, ct, where, _ = of_derivatives(op, case)
    shape = op.domain(case).output_shape(case.shape)
    for empty in map(np.float64, (0, np.nan, -2.5)):
        _, found = run(np.full_like(x, np.nan), v, w, ct, np.zeros_like(where), empty)
        identical(found["y"], np.full(shape, empty))
        for name in found.keys() - {"y"}:
            assert (found[name] == 0).all(), name


@parametrize(("op", "case", "empty"), [(o, c, e) for o, c in pairs("few")
                                       for e in (0, np.nan, jnp.float32(-2.5))],
             lambda row: {row[0].lowering, (row[0].domain_name, str(row[2]))})  # fmt: skip
def test_empty_values_and_masks_of_the_program(op, case, empty):
    """Known while tracing, and a scalar for a mask."""
    x = distinct(case.shape)

    @jax.jit
    def f(x):
        nothing = op(x, case, where=np.zeros(x.shape, bool), empty_value=empty)
        return nothing, op(x, case, where=np.bool_(True), empty_value=9), op(x, case)

    nothing, masked, plain = f(x)
    identical(nothing, np.full(plain.shape, empty, np.float32))
    close(masked, plain)


@parametrize(("op", "dtype"), list(itertools.product(OPS, FLOATS)),
             lambda row: {row[0].name, (row[0].lowering, row[1])} if row[1] != "float32" else ())  # fmt: skip
def test_floats_keep_their_dtype_and_round_once(op, dtype):
    case = NO_BATCH
    with jax.enable_x64(dtype == "float64"):
        x = distinct(case.shape, dtype)
        y = jax.jit(lambda x: op(x, case))(x)
        assert y.dtype == np.dtype(dtype)
        close(y, op.expected(x, case), dtype)


@parametrize(
    ("op", "dtype", "x64"),
    [(op, dtype, x64) for op in OPS if op.takes_ints for dtype in INTS
     for x64 in ((False, True) if op.kind == "sum" else (False,))],
    lambda row: {row[0].name, (row[0].domain_name, row[1]), (row[0].family, row[1]), row[1:]},
)  # fmt: skip
def test_ints_never_wrap(op, dtype, x64):
    case = NO_BATCH
    rng = np.random.default_rng(0)
    if dtype == "bool":
        x = rng.random(case.shape) < 0.5
    else:
        info = np.iinfo(dtype)
        x = rng.integers(max(info.min, -(2**20)), min(info.max, 2**20), case.shape, dtype=dtype)
    with jax.enable_x64(x64):
        y = jax.jit(lambda x: op(x, case))(x)
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


def compilations(call):
    """What a call gives, and how many programs it compiles."""
    compiled = []

    def listen(event, duration, **facts):
        del duration, facts
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        return call(), len(compiled)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@every("few", lambda pair: {pair[0].name})
def test_eager_calls_are_one_program_and_equal_jit(op, case):
    x, where = distinct(case.shape), a_mask(case)
    y, compiled = compilations(lambda: op(x, case))
    assert compiled == 1 or op.rule == "fractional"  # samples are made before the call
    assert isinstance(y, jax.Array)
    close(y, values(op, case)(x, where)[0])
    array = jnp.asarray(x)
    again, compiled = compilations(lambda: op(array, case))
    identical(again, y)
    assert not compiled


@every("few")
def test_numpy_inputs(op, case):
    x, where = distinct(case.shape), a_mask(case)
    y = op(x, case, where=where, empty_value=7)
    assert isinstance(y, jax.Array)
    identical(y, op(jnp.asarray(x), case, where=jnp.asarray(where), empty_value=7))
    close(y, values(op, case)(x, where)[1])


@every("core")
def test_vmap_equals_batch_and_batches_are_independent(op, case):
    x, where = distinct(case.shape), np.broadcast_to(a_mask(case), case.shape)
    ndim, kept = len(case.shape), getattr(op.domain(case), "keepdims", True)

    def pool(x, where, left):
        """With pooled axes counted from the back, among the axes that are `left`."""
        lost = [a for a in range(-ndim, 0) if a not in left]
        axes = [a + sum(a < b for b in lost) for a in case.pooled]
        arguments = {**op.along(case, axes), **op.options}
        return op.function(x, **arguments, where=where, empty_value=7)

    # After pooling, a batch axis counts from the front among what is kept.
    def out_axis(a):
        gone = 0 if kept else sum(p < a for p in case.pooled)
        return a + ndim - gone

    def without(*axes):
        return functools.partial(pool, left=[b for b in range(-ndim, 0) if b not in axes])

    @jax.jit
    def everything(x, where):
        found = {}
        for a in {*case.batch[:1], *case.batch[-1:]}:
            found[str(a)] = jax.vmap(without(a), a, out_axis(a))(x, where)
        for a in case.batch[:1]:
            first = (jnp.take(x, 0, a), jnp.take(where, 0, a))
            found["first"] = without(a)(*first)
            found["shared mask"] = jax.vmap(without(a), (a, None), out_axis(a))(x, first[1])
        if len(case.batch) >= 2:
            a, b = case.batch[0], case.batch[-1]
            found["nested"] = jax.vmap(jax.vmap(without(a, b), a + (a < b), 0), b, 0)(x, where)
        return found

    found, whole = everything(x, where), np.asarray(values(op, case)(x, where)[1])
    for a in {*case.batch[:1], *case.batch[-1:]}:
        close(found[str(a)], whole)
    for a in case.batch[:1]:
        close(found["first"], np.take(whole, 0, out_axis(a)))
        alike = np.broadcast_to(np.expand_dims(np.take(where, 0, a), a), case.shape)
        close(found["shared mask"], values(op, case)(x, alike)[1])
    if len(case.batch) >= 2:
        a, b = case.batch[0], case.batch[-1]
        close(found["nested"], np.moveaxis(whole, (out_axis(b), out_axis(a)), (0, 1)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("op", OPS, ids=str)
def test_check_grads(op, masked):
    name = "no_batch_axes" if op.is_global else "dilated"
    case = next(c for c in CASES if c.name == name)
    with jax.enable_x64(True):
        where = jnp.asarray(a_mask(case)) if masked else None
        f = jax.jit(lambda x: op(x, case, where=where))
        check_grads(f, (jnp.asarray(distinct(case.shape, np.float64)),), order=2, eps=1e-4)


@every("few")
def test_one_trace_per_static_signature(op, case):
    chex.clear_trace_counter()

    @jax.jit
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
def test_axes_equal_transpose_pool_transpose(op, case):
    """The same geometry along other axes, in every rotation of the axes."""
    x = distinct(case.shape)
    y = jax.jit(lambda x: op(x, case))(x)
    ndim, kept = x.ndim, getattr(op.domain(case), "keepdims", True)
    for shift in {1, ndim - 1} - {0, ndim}:
        order = [(i + shift) % ndim for i in range(ndim)]
        axes = [order.index(a % ndim) for a in case.pooled]
        arguments = op.along(case, axes)
        turned = jax.jit(lambda x, a=arguments: op.function(x, **a, **op.options))(
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


@parametrize(("op", "case", "masked"), [(o, c, m) for o, c in pairs("core") for m in (False, True)],
             lambda row: {(row[0].lowering, row[2]), (row[1].name, row[2])})  # fmt: skip
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


def each_export(row):
    op, case, what, _ = row
    return {op.lowering, (op.rule, what), *((f, what) for f in case.features)}


@parametrize(("op", "case", "what", "masked"), EXPORTS, each_export)
def test_export_with_symbolic_sizes(op, case, what, masked):
    """One exported program serves two sizes, in shape, and in value and gradient."""
    pooled = [a % len(case.shape) for a in case.pooled]
    constraints = [f"{'d' if what == 'both' else 'n'}{i} >= 5" for i in pooled]
    scope = jax.export.SymbolicScope(constraints if what != "batch" else ())
    shape = symbolic(case, scope, what)

    def f(x, where):
        where = where if masked else None
        y, vjp = jax.vjp(lambda x: op(x, case, where=where), x)
        return y, vjp(jnp.ones_like(y))[0]

    arguments = (jax.ShapeDtypeStruct(shape, d) for d in (np.float32, np.bool_))
    if op.rule not in ("", "prefix") and what != "batch":  # cells depend on the sizes
        wanted = "`ids` must have" if op.rule == "segments" else "`x` must have a known size along"
        with pytest.raises(ValueError, match=wanted):
            jax.export.export(jax.jit(f))(*arguments)
        return
    exported = jax.export.export(jax.jit(f))(*arguments)
    known = jax.ShapeDtypeStruct(case.shape, np.float32), jax.ShapeDtypeStruct(case.shape, bool)
    y, gradient = jax.eval_shape(exported.call, *known)
    assert y.shape == op.domain(case).output_shape(case.shape)
    assert gradient.shape == case.shape
    x = distinct(grown(case, what, 3))
    where = np.random.default_rng(0).random(x.shape) < 0.5
    for a, b in zip(exported.call(x, where), jax.jit(f)(x, where), strict=True):
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
    for a, b in zip(exported.call(x), jax.jit(f)(x), strict=True):
        close(a, b)


@every("core")
def test_empty_batches(op, case):
    if not case.batch:
        return
    shape = tuple(0 if a - len(case.shape) == case.batch[0] else n
                  for a, n in enumerate(case.shape))  # fmt: skip

    @jax.jit
    def f(x, where):
        y, vjp = jax.vjp(lambda x: op(x, case), x)
        return y, op(x, case, where=where), vjp(y)[0]

    y, masked, gradient = f(np.zeros(shape, np.float32), np.zeros(shape, bool))
    assert y.shape == masked.shape == op.domain(case).output_shape(shape)
    assert y.size == 0
    assert gradient.shape == shape


@every("few", lambda pair: {pair[0].domain_name, pair[0].family})
def test_remat(op, case):
    x = distinct(case.shape)
    loss = lambda x: jnp.sum(jnp.sin(op(x, case)))  # noqa: E731
    close(jax.jit(jax.grad(jax.checkpoint(loss)))(x), jax.jit(jax.grad(loss))(x))
