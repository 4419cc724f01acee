"""Heads of attention, alike in Linen and NNX: against their formulas in float64, and PyTorch."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.linen
import jaxpool.nnx

TESTS_OF = (
    "linen.py",
    "nnx.py",
    "layers/attention.py",
    "layers/heads.py",
    "layers/checks.py",
    "layers/parameters.py",
)

KEY, C = jax.random.key(0), 8
INF, NAN = np.float32(np.inf), np.float32(np.nan)
RNG = np.random.default_rng(0)
TOKENS, IMAGES = (3, 7, C), (3, 4, 5, C)
# A layer, its options, and the shape of x; heads of few queries and of many.
LAYERS = {
    "MAP": ("MultiheadAttentionPool", {"num_heads": 2}, TOKENS),
    "MAP of images": (
        "MultiheadAttentionPool",
        {"num_heads": 2, "num_probes": 3, "mlp_dim": 5, "gelu": "exact", "axes": (1, 2)},
        IMAGES,
    ),
    "attention alone": ("MultiheadAttentionPool", {"num_heads": 4, "mlp_dim": 0}, TOKENS),
    "PMA": ("PoolingByMultiheadAttention", {"num_seeds": 3, "num_heads": 4}, TOKENS),
    "PMA of the code": (
        "PoolingByMultiheadAttention",
        {"num_heads": 2, "scale": "channels", "feed_forward": False, "layer_norm": False},
        TOKENS,
    ),
    "CLIP": ("AttentionPool2d", {"spatial_shape": (4, 5), "num_heads": 2}, IMAGES),
    "CLIP resampled": (
        "AttentionPool2d",
        {"spatial_shape": (10, 2), "num_heads": 4, "output_dim": 3},
        IMAGES,
    ),
    "SimPool": ("SimPool", {}, TOKENS),
    "SimPool of powers": (
        "SimPool",
        {"num_heads": 2, "gamma": 1.25, "use_bias": True, "axes": (1, 2)},
        IMAGES,
    ),
}


def dense(x, p, name):
    return x @ p[f"{name}_kernel"] + p.get(f"{name}_bias", 0)


def normalized(x, p, name, epsilon):
    z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
    return z * p[f"{name}_scale"] + p[f"{name}_bias"]


def attention(q, k, v, num_heads, scale=None):
    """Of one sample."""
    parts = [np.split(a, num_heads, -1) for a in (q, k, v)]
    found = []
    for a, b, c in zip(*parts, strict=True):
        logits = a @ b.T * (scale or a.shape[-1] ** -0.5)
        e = np.exp(logits - logits.max(-1, keepdims=True))
        found.append(e / e.sum(-1, keepdims=True) @ c)
    return np.concatenate(found, -1)


def gelu(x, form):
    if form == "tanh":
        return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2
    return x * (1 + np.vectorize(math.erf)(x / np.sqrt(2))) / 2


def resized(grid, sizes):
    """Bicubic, of Keys' kernel, which is as much wider as the grid becomes smaller."""
    for axis, m in enumerate(sizes):
        n = grid.shape[axis]
        wide = max(n / m, 1)
        t = np.abs((np.arange(m)[:, None] + 0.5) * n / m - 0.5 - np.arange(n)) / wide
        w = np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1,
                     np.where(t < 2, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2, 0))  # fmt: skip
        w /= w.sum(1, keepdims=True)
        grid = np.moveaxis(np.tensordot(w, grid, (1, axis)), 0, axis)
    return grid


def of_sample(name, o, x, valid, p):
    """The formula of a layer for one sample: of all elements, in rows, and of which take part."""
    rows, heads = x.reshape(-1, C)[valid.ravel()], o.get("num_heads", 1)
    if name == "MultiheadAttentionPool":
        q, k, v = (dense(a, p, n) for a, n in
                   ((p["probe"], "query"), (rows, "key"), (rows, "value")))  # fmt: skip
        y = dense(attention(q, k, v, heads), p, "out")
        if "norm_scale" in p:
            z = gelu(dense(normalized(y, p, "norm", 1e-6), p, "mlp_in"), o.get("gelu", "tanh"))
            y = y + dense(z, p, "mlp_out")
        return y if o.get("num_probes", 1) > 1 else y[0]
    if name == "PoolingByMultiheadAttention":
        ln = lambda z, n: normalized(z, p, n, 1e-5) if o.get("layer_norm", True) else z
        if o.get("feed_forward", True):
            rows = np.maximum(dense(rows, p, "input"), 0)
        q, k, v = (dense(a, p, n) for a, n in
                   ((p["seeds"], "query"), (rows, "key"), (rows, "value")))  # fmt: skip
        scale = C**-0.5 if o.get("scale") == "channels" else None
        h = ln(q + attention(q, k, v, heads, scale), "attention_norm")
        return ln(h + np.maximum(dense(h, p, "out"), 0), "out_norm")
    if name == "AttentionPool2d":
        grid = resized(p["positions"][1:].reshape(*o["spatial_shape"], C), x.shape[:2])
        places = grid.reshape(-1, C)[valid.ravel()]
        tokens = np.concatenate([rows.mean(0, keepdims=True) + p["positions"][:1], rows + places])
        q, k, v = (dense(a, p, n) for a, n in
                   ((tokens[:1], "query"), (tokens, "key"), (tokens, "value")))  # fmt: skip
        return dense(attention(q, k, v, heads), p, "out")[0]
    z = normalized(rows, p, "norm", 1e-6)
    q, k = dense(rows.mean(0, keepdims=True), p, "query"), dense(z, p, "key")
    gamma = o.get("gamma") or 1
    if "gamma" in o:
        z = np.concatenate([part - part.min() + 1e-6 for part in np.split(z, heads, -1)], -1)
    return (attention(q, k, z**gamma, heads) ** (1 / gamma))[0]


def expected(name, options, x, where, p):
    p = {n: np.float64(a) for n, a in p.items()}
    found = [of_sample(name, options, *row, p) for row in zip(np.float64(x), where, strict=True)
             if row[1].any()]  # fmt: skip
    return np.stack(found)


def drawn(p):
    """Other parameters than the first ones, so that none is 0."""
    rng = np.random.default_rng(1)
    return {n: np.float32(rng.normal(size=p[n].shape) / 2) for n in sorted(p)}


def poisoned(x, where):
    return np.where(where, x, np.where(np.arange(x.size).reshape(x.shape) % 2, NAN, INF))


@functools.cache
def given(case):
    name, options, shape = LAYERS[case]
    linen = getattr(jaxpool.linen, name)(**options)
    x = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    where = np.random.default_rng(3).random((*shape[:-1], 1)) < 0.6
    where[0], where[1] = False, True  # a sample without elements, and one with all
    first = jax.eval_shape(linen.init, KEY, x)["params"]
    return name, options, linen, x, where, drawn(first)


ALIKE = {"attention alone", "CLIP"}  # reach no branch that others do not
cases = [pytest.param(c, marks=pytest.mark.exhaustive if c in ALIKE else ()) for c in LAYERS]


@pytest.mark.parametrize("case", cases)
def test_head(case):
    """Value and gradients with a mask, and in bfloat16 without one, rounded once."""
    name, options, linen, x, where, p = given(case)
    bad, rng = poisoned(x, where), np.random.default_rng(4)
    direction = [rng.normal(size=x.shape), {n: rng.normal(size=v.shape) for n, v in p.items()}]

    @jax.jit
    def found(x, p):
        y, vjp = jax.vjp(lambda x, p: linen.apply({"params": p}, x, where=where), x, p)
        narrow = linen.apply({"params": p}, jnp.nan_to_num(x).astype(jnp.bfloat16))
        return y, vjp(jnp.cos(y)), narrow

    y, (dx, dp), narrow = jax.tree.map(np.asarray, found(bad, p))
    value = functools.partial(expected, name, options)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(y[1:], value(x, where, p))
    np.testing.assert_array_equal(y[0], np.zeros(y.shape[1:]))
    np.testing.assert_array_equal(dx[~where[..., 0]], 0)
    step = 1e-5
    up, down = (
        value(x + t * direction[0], where, {n: v + t * direction[1][n] for n, v in p.items()})
        for t in (step, -step)
    )
    dot = np.sum(dx * direction[0]) + sum(np.sum(dp[n] * d) for n, d in direction[1].items())
    close(dot, (np.cos(y[1:]) * (up - down)).sum() / (2 * step), rtol=1e-4, atol=1e-4)
    assert narrow.dtype == jnp.bfloat16
    rounded = np.float32(x[1:2].astype(jnp.bfloat16))
    wanted = value(rounded, where[1:2], p)
    close(np.float32(narrow[1:2]), wanted, rtol=2**-8 * 1.01, atol=1e-4)


@pytest.mark.parametrize("case", LAYERS)
def test_both_frameworks_have_one_program(case):
    name, options, linen, x, where, p = given(case)
    made = lambda: getattr(jaxpool.nnx, name)(**options, features=C, rngs=nnx.Rngs(0))
    graph, state = nnx.split(nnx.eval_shape(made))
    assert jax.tree.map(jnp.shape, p) == {n: v.shape for n, v in nnx.to_pure_dict(state).items()}

    def by_nnx(x, p):
        nnx.replace_by_pure_dict(state, p)
        return nnx.merge(graph, state)(x, where=where)

    wanted = jax.make_jaxpr(lambda x, p: linen.apply({"params": p}, x, where=where))(x, p)
    assert str(jax.make_jaxpr(by_nnx)(x, p)) == str(wanted)


@pytest.mark.parametrize(
    "case",
    ["MAP", *(pytest.param(c, marks=pytest.mark.exhaustive) for c in ("PMA", "CLIP", "SimPool"))],
)
def test_heads_start_as_in_their_papers(case):
    name, options, _, x, _, _ = given(case)
    linen = getattr(jaxpool.linen, name)(**options, param_dtype=jnp.float16)
    first = jax.jit(linen.init)(KEY, x)["params"]
    assert all(v.dtype == jnp.float16 for v in first.values())
    first = {n: np.float32(v) for n, v in first.items()}
    limits = {"MAP": {"probe": (6 / (C + 1)) ** 0.5, "query_kernel": (3 / C) ** 0.5, "out_bias": 0,
                      "mlp_in_kernel": (6 / (5 * C)) ** 0.5, "mlp_in_bias": 1e-5},
              "PMA": {"seeds": (6 / (C + 3)) ** 0.5, "key_kernel": C**-0.5, "out_bias": C**-0.5},
              "CLIP": {"positions": 4.5 * C**-0.5, "value_kernel": 4.5 * C**-0.5},
              "SimPool": {"query_kernel": C**-0.5}}[case]  # fmt: skip
    for n, limit in limits.items():
        most = np.abs(first[n]).max()
        assert 0.6 * limit / (1 + 2 * (case == "CLIP")) <= most * (1 + (n == "mlp_in_bias") * 9), n
        assert most <= 1.001 * limit, n
    for n in first:
        if n.endswith("norm_scale"):
            np.testing.assert_array_equal(first[n], 1)


def test_simpool_knows_its_own_sample_alone():
    """The least number is not of the batch."""
    x = RNG.normal(size=(4, 6, C)).astype(np.float32)
    linen = jaxpool.linen.SimPool(gamma=2)
    p = {"params": drawn(jax.eval_shape(linen.init, KEY, x)["params"])}
    together, alone = jax.jit(lambda: (linen.apply(p, x), linen.apply(p, x[2:3])))()
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-6)


def test_mistakes_of_a_call():
    x = np.zeros((2, 5, 6), np.float32)
    layer = jaxpool.linen.MultiheadAttentionPool(4)
    for given, options, message in (
        (x, {}, "`num_heads` must divide the 6 channels of x; got num_heads=4"),
        (x[0, 0], {}, "`x` must have elements and channels"),
        (x[..., :4], {"where": x > 0}, "`where` must broadcast to x"),
        (x[..., :4], {"where": x[..., :4] > 0}, "`where` must have the size 1 for channels"),
    ):
        with pytest.raises(ValueError, match=f"^MultiheadAttentionPool: {message}"):
            layer.init(KEY, given, **options)
    with pytest.raises(ValueError, match=r"^SimPool: `features` must be 6"):
        jaxpool.linen.SimPool(features=4).init(KEY, x)
