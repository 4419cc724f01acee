"""Attention over elements: against float64, PyTorch, and its limits."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ("pools/attention.py", "lowering/attention.py")

INF, NAN = np.float32(np.inf), np.float32(np.nan)
RNG = np.random.default_rng(0)
# Shape of x, pooled axes, queries, heads, channels of keys and values (None where x is these), and
# whether each entry of the batch has queries of its own; of few queries and of many.
CASES = {
    "tokens": ((2, 5, 4), -2, 1, 1, None, None, False),
    "heads": ((3, 6, 8), -2, 2, 4, None, None, True),
    "one query of heads": ((2, 3, 5, 8), (2, 1), 1, 4, None, 12, True),
    "one query of many heads": ((2, 4, 50), -2, 1, 25, None, None, False),
    "projected": ((2, 3, 6, 2), (2, 1), 3, 2, 6, 4, False),
    "length first": ((7, 2, 3, 4), 0, 2, 2, None, 6, True),
    "many queries": ((2, 4, 2, 6), (1,), 23, 3, None, 3, True),
    "many queries of all": ((5, 6), 0, 70, 2, 4, None, False),
}


def arrays(name):
    """x, queries, keys and values (None where x is these), and a mask, in float32."""
    shape, axes, count, heads, keys, values, own = CASES[name]
    draw = lambda *s: RNG.normal(size=s).astype(np.float32)
    pooled = [a % len(shape) for a in np.atleast_1d(axes)]
    batch = [n for i, n in enumerate(shape[:-1]) if i not in pooled]
    q = draw(*(batch if own else ()), count, keys or shape[-1])
    key, value = (draw(*shape[:-1], n) if n else None for n in (keys, values))
    where = RNG.random((*shape[:-1], 1)) < 0.7
    where[tuple(slice(None) if i in pooled else 0 for i in range(len(shape) - 1))] = not batch
    return draw(*shape), q, key, value, where, {"axes": axes, "num_heads": heads}


def reference(q, k, v, valid, axes, num_heads, g, scale=None):
    """By loops in float64: values, weights, and gradients in queries, keys and values for `g`."""
    q, k, v, g = (np.asarray(a, np.float64) for a in (q, k, v, g))
    pooled = [a % k.ndim for a in np.atleast_1d(axes)]
    batch = [i for i in range(k.ndim - 1) if i not in pooled]
    order = (*batch, *pooled, k.ndim - 1)
    sizes = [k.shape[i] for i in batch]
    flat = lambda a: a.transpose(order).reshape(*sizes, -1, a.shape[-1])
    k_, v_, m_ = flat(k), flat(v), flat(np.broadcast_to(valid, (*k.shape[:-1], 1)))[..., 0]
    d, dv = k.shape[-1] // num_heads, v.shape[-1] // num_heads
    scale = d**-0.5 if scale is None else scale
    y = np.zeros((*sizes, q.shape[-2], v.shape[-1]))
    w = np.zeros((*sizes, num_heads, q.shape[-2], k_.shape[-2]))
    back = [np.zeros(q.shape), np.zeros(k_.shape), np.zeros(v_.shape)]
    for b in np.ndindex(*sizes):
        own = b if q.ndim > 2 else ()
        (at,) = np.nonzero(m_[b])
        for h in range(num_heads) if len(at) else ():
            c, cv = slice(h * d, h * d + d), slice(h * dv, h * dv + dv)
            kk, vv, qq = k_[b][at, c], v_[b][at, cv], q[own][:, c]
            e = np.exp(scale * (qq @ kk.T - (qq @ kk.T).max(1, keepdims=True)))
            p = e / e.sum(1, keepdims=True)
            w[b][h][:, at], y[b][:, cv] = p, p @ vv
            dp = g[b][:, cv] @ vv.T
            dl = scale * p * (dp - (p * dp).sum(1, keepdims=True))
            back[0][own][:, c] += dl @ kk
            back[1][b][at, c] = dl.T @ qq
            back[2][b][at, cv] = p.T @ g[b][:, cv]
    there = [k.shape[i] for i in (*batch, *pooled)]
    for i in (1, 2):
        back[i] = back[i].reshape(*there, -1).transpose(np.argsort(order))
    return y, w, back


def poisoned(a, where):
    """NaN and infinity, in turns, where masked."""
    if a is None:
        return None
    return np.where(where, a, np.where(np.arange(a.size).reshape(a.shape) % 2, NAN, INF))


def close(found, wanted, **tolerance):
    np.testing.assert_allclose(found, wanted, **{"rtol": 2e-5, "atol": 3e-6, **tolerance})


def test_value_weights_and_derivatives():
    """Of all cases, plain and masked, with what is not finite where it is masked."""
    given = {name: arrays(name) for name in CASES}
    shapes = {n: jax.eval_shape(lambda n=n: attended(n, given[n])) for n in CASES}
    cotangents = {n: RNG.normal(size=s.shape).astype(np.float32) for n, s in shapes.items()}

    def all_of(name, masked):
        x, q, key, value, where, options = given[name]
        if masked:
            x, key, value = (poisoned(a, where) for a in (x, key, value))
            options = {**options, "where": where, "empty_value": 7}
        f = lambda p: jaxpool.attention_pool(p[0], p[1], key=p[2], value=p[3], **options)
        p = tuple(None if a is None else jnp.asarray(a) for a in (x, q, key, value))
        y, vjp = jax.vjp(f, p)
        (back,) = vjp(cotangents[name])
        weights = jaxpool.attention_pool(
            *p[:2], key=p[2], value=p[3], return_weights=True, **options
        )
        tangent = jax.tree.map(jnp.cos, jax.tree.map(jnp.nan_to_num, p))
        along = jax.jvp(f, (p,), (tangent,))[1]
        return y, back, weights, along, tangent

    found = jax.jit(lambda: {(n, m): all_of(n, m) for n in CASES for m in (False, True)})()
    for (name, masked), (y, back, (same, weights), along, tangent) in found.items():
        x, q, key, value, where, options = given[name]
        k, v = (x if a is None else a for a in (key, value))
        valid, g = where if masked else np.True_, cotangents[name]
        y_, weights_, (dq, dk, dv) = reference(q, k, v, valid, g=g, **options)
        empty = ~weights_.any((-3, -2, -1))
        assert empty.any() == (masked and weights_.ndim > 3)
        close(y, np.where(empty[..., None, None], 7, y_), err_msg=name)
        close(same, y)
        close(weights, weights_)
        dx = np.zeros(x.shape)
        dx += dk if key is None else 0
        dx += dv if value is None else 0
        for a, b in zip(
            back, (dx, dq, None if key is None else dk, None if value is None else dv), strict=True
        ):
            assert (a is None) == (b is None)
            if a is not None:
                close(a, b, err_msg=name, atol=1e-5)
        dot = sum(jax.tree.leaves(jax.tree.map(lambda a, b: float((a * b).sum()), back, tangent)))
        close((along * g).sum(), dot, rtol=1e-4, atol=1e-4)


def attended(name, given):
    x, q, key, value, _, options = given
    return jaxpool.attention_pool(x, q, key=key, value=value, **options)


def test_second_order_and_sharpness():
    """Products with the Hessian, against central differences of the gradient in float64."""
    x, q, _, value, where, options = arrays("length first")
    g = RNG.normal(size=(2, 3, 2, 6)).astype(np.float32)
    direction = [RNG.normal(size=a.shape).astype(np.float32) for a in (q, x, value)]

    def loss(q, key, value, scale):
        y = jaxpool.attention_pool(x, q, key=key, value=value, where=where, scale=scale, **options)
        return jnp.sum(y * g)

    @jax.jit
    def found(*p):
        slopes = jax.grad(loss, (0, 1, 2))
        forward = jax.jvp(lambda *a: slopes(*a, jnp.float32(0.4)), p, tuple(direction))[1]
        inner = lambda *a: sum(map(jnp.vdot, slopes(*a, jnp.float32(0.4)), direction))
        return forward, jax.grad(inner, (0, 1, 2))(*p), jax.grad(loss, 3)(*p, jnp.float32(0.4))

    forward, backward, by_scale = found(q, x, value)
    step, at = (
        1e-4,
        lambda t: [np.float64(a) + t * d for a, d in zip((q, x, value), direction, strict=True)],
    )
    reach = lambda t: reference(*at(t), where, g=g, scale=0.4, **options)[2]
    wanted = [(a - b) / (2 * step) for a, b in zip(reach(step), reach(-step), strict=True)]
    for a, b, c in zip(forward, backward, wanted, strict=True):
        close(a, c, rtol=1e-3, atol=2e-4)
        close(b, c, rtol=1e-3, atol=2e-4)
    up, down = (
        (reference(q, x, value, where, g=g, scale=0.4 + t, **options)[0] * g).sum()
        for t in (step, -step)
    )
    close(by_scale, (up - down) / (2 * step), rtol=1e-3)


def test_multihead_attention_of_pytorch():
    """With projections that change nothing, and a mask of padding."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    x, q = (RNG.normal(size=s).astype(np.float32) for s in ((3, 7, 12), (3, 2, 12)))
    where = jaxpool.length_mask(np.array([7, 3, 1]), 7)[..., None]
    module = torch.nn.MultiheadAttention(12, 4, bias=False, batch_first=True)
    with torch.no_grad():
        module.in_proj_weight.copy_(torch.eye(12).repeat(3, 1))
        module.out_proj.weight.copy_(torch.eye(12))
    given = [torch.tensor(a, requires_grad=True) for a in (q, x)]
    padding = torch.tensor(~np.asarray(where[..., 0]))
    wanted, weights_ = module(
        given[0], given[1], given[1], key_padding_mask=padding, average_attn_weights=False
    )
    g = np.float32(RNG.normal(size=wanted.shape))
    slopes = torch.autograd.grad(wanted, given, torch.tensor(g))

    @jax.jit
    def found(x, q):
        pool = lambda x, q: jaxpool.attention_pool(
            x, q, num_heads=4, where=where, return_weights=True
        )
        y, vjp, weights = jax.vjp(pool, x, q, has_aux=True)
        return y, weights, *vjp(g)

    y, weights, dx, dq = found(x, q)
    close(y, wanted.detach())
    close(weights, weights_.detach())
    close(dq, slopes[0], atol=1e-5)
    close(dx, slopes[1], atol=1e-5)


def test_limits_and_dtypes():
    x = RNG.normal(size=(2, 9, 4)).astype(np.float32)
    q = 100 * RNG.normal(size=(3, 4)).astype(np.float32)
    one = np.arange(9)[:, None] == 4
    narrow, small = x.astype(jnp.bfloat16), np.asarray(q / 100).astype(jnp.bfloat16)
    # Weights that bfloat16 has not, and sums that it does not get to.
    ones = np.ones((3000, 2), jnp.bfloat16)
    counts = np.arange(-6, 6, dtype=np.int8).reshape(6, 2)

    @jax.jit
    def found():
        pool = jaxpool.attention_pool
        return {
            "equal": pool(x, q, key=jnp.ones_like(x), num_heads=2),
            "one": pool(x, q, where=one, num_heads=4),
            "far": pool(x, 1e6 * q, key=jnp.abs(x), num_heads=2),
            "narrow": pool(narrow, small, num_heads=2),
            "of many": pool(ones, small[:, :2]),
            "ints": pool(counts, q[:, :2] / 100),
            "mixed": pool(x, q, value=narrow, scale=0),
            "slopes": jax.grad(lambda x: jnp.sum(pool(x, small).astype(np.float32)))(narrow),
        }

    y = found()
    close(y["equal"], np.broadcast_to(x.mean(1, keepdims=True), (2, 3, 4)))
    np.testing.assert_array_equal(y["one"], np.broadcast_to(x[:, 4:5], (2, 3, 4)))
    assert np.isfinite(y["far"]).all()
    wide = [np.float64(np.asarray(a, np.float32)) for a in (narrow, small)]
    wanted = reference(wide[1], wide[0], wide[0], np.True_, -2, 2, np.zeros((2, 3, 4)))[0]
    close(np.float32(y["narrow"]), wanted, rtol=2**-8 * 1.001)
    assert [y[n].dtype for n in ("narrow", "mixed", "slopes", "ints")] == [
        jnp.bfloat16, jnp.bfloat16, jnp.bfloat16, np.float32]  # fmt: skip
    np.testing.assert_array_equal(np.float32(y["of many"]), np.ones((3, 2)))
    wanted = reference(q[:, :2] / 100, counts, counts, np.True_, -2, 1, np.zeros((3, 2)))[0]
    close(y["ints"], wanted)
    close(np.float32(y["mixed"][:, 0]), wide[0].mean(1), rtol=2**-8 * 1.001, atol=1e-6)
    with jax.enable_x64(True):
        double = x.astype(np.float64)
        y = jaxpool.attention_pool(double, q, num_heads=2)
        close(
            y,
            reference(q, double, double, np.True_, -2, 2, np.zeros((2, 3, 4)))[0],
            rtol=1e-13,
            atol=1e-15,
        )
        assert y.dtype == np.float64


def test_vmap_and_symbolic_lengths():
    """Mapped over masks and queries; one program for all lengths and batches."""
    x, where = RNG.normal(size=(3, 5, 4)).astype(np.float32), RNG.random((3, 5, 1)) < 0.6
    q = RNG.normal(size=(3, 2, 4)).astype(np.float32)
    pool = lambda x, q, where: jaxpool.attention_pool(x, q, where=where, num_heads=2)
    mapped = jax.jit(jax.vmap(pool))(x, q, where)
    close(mapped, jax.jit(pool)(x, q, where), rtol=1e-6)

    def both(x, q, where):
        y, vjp = jax.vjp(lambda x: pool(x, q, where), x)
        return y, vjp(jnp.cos(y))[0]

    b, n = jax.export.symbolic_shape("b, n")
    sizes = ((b, n, 4), np.float32), ((b, 2, 4), np.float32), ((b, n, 1), bool)
    exported = jax.export.export(jax.jit(both))(*(jax.ShapeDtypeStruct(*s) for s in sizes))
    y, gradient = exported.call(x[:2, :4], q[:2], where[:2, :4])
    close(y, jaxpool.attention_pool(x[:2, :4], q[:2], where=where[:2, :4], num_heads=2))
    assert gradient.shape == (2, 4, 4)
    (jaxpr,) = (jax.make_jaxpr(both)(x, q, where),)
    assert not {"gather", "scatter", "scatter-add"} & {e.primitive.name for e in jaxpr.eqns}


X, Q = np.zeros((2, 5, 4), np.float32), np.zeros((1, 4), np.float32)
REFUSED = [
    (ValueError, "query", {"query": Q[0]}, r"have shape \(queries, 4\)"),
    (ValueError, "query", {"query": np.zeros((3, 1, 4), np.float32)}, "with the batch axes of x"),
    (ValueError, "query", {"query": np.zeros((1, 3), np.float32)}, "got query.shape=.1, 3. for x"),
    (TypeError, "query", {"query": [[0.0] * 4]}, "be a JAX or NumPy array"),
    (TypeError, "key", {"key": X > 0}, "hold real numbers"),
    (ValueError, "key", {"key": X[:, :4]}, "have x's shape but for channels"),
    (ValueError, "value", {"value": X[0]}, "have x's shape but for channels"),
    (ValueError, "num_heads", {"num_heads": 3}, "divide the 4 channels of `query`"),
    (ValueError, "num_heads", {"num_heads": 4, "value": X[..., :3]}, "the 3 channels of `value`"),
    (ValueError, "num_heads", {"num_heads": 0}, "be an int >= 1"),
    (ValueError, "axes", {"axes": (1, 2)}, "be other axes than the last"),
    (ValueError, "axes", {"axes": 3}, "lie in"),
    (
        ValueError,
        "where",
        {"where": X > 0},
        r"have the size 1 for channels.*Write where\[..., :1\]",
    ),
    (ValueError, "where", {"where": X[..., 0] > 0}, r"broadcast to x.*where\[..., None\]"),
    (TypeError, "where", {"where": X[..., :1]}, "hold bools"),
    (TypeError, "scale", {"scale": "1"}, "be a number or a scalar array"),
    (TypeError, "return_weights", {"return_weights": 1}, "be True or False"),
    (TypeError, "empty_value", {"empty_value": X}, "be a scalar"),
    (ValueError, "x", {"x": X[:, :0]}, "have at least one element"),
]


@pytest.mark.parametrize(("error", "name", "options", "text"), REFUSED)
def test_mistakes(error, name, options, text):
    with pytest.raises(error, match=rf"^attention_pool: `{name}` must .*{text}"):
        jaxpool.attention_pool(**{"x": X, "query": Q, **options})
