"""Means under weights that networks predict: against NumPy in float64 and the papers' modules."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.interop
import jaxpool.linen
import jaxpool.nnx
from tests.views import viewed

TESTS_OF = (
    "layers/weighted.py",
    "layers/statistics.py",
    "layers/networks.py",
    "reductions/universal.py",
    "layers/parameters.py",
    "layers/checks.py",
    "linen.py",
    "nnx.py",
)

KEY = jax.random.key(0)
RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 6, 4)).astype(np.float32)
X[0, :, 1] = X[0, 0, 1]  # whose deviation is 0
# All, some and none of a bag; and a mask for each channel.
WHERE = np.stack([np.ones((6, 1)), [[1], [0], [1], [1], [0], [0]], np.zeros((6, 1))]).astype(bool)
OF_CHANNELS = WHERE & (RNG.random(X.shape) < 0.7)
DIRTY = np.where(WHERE, X, RNG.choice(np.float32([np.nan, np.inf, -np.inf]), X.shape))
EMPTY = 7.0


def softmax(logits, axis=0):
    weights = np.exp(logits - logits.max(axis, keepdims=True))
    return weights / weights.sum(axis, keepdims=True)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def means(logits, bag, valid):
    """(sets of weights, channels): one mean after the other."""
    valid, found = (
        np.broadcast_to(valid, bag.shape),
        np.full((logits.shape[1], bag.shape[1]), EMPTY),
    )
    for s, c in np.ndindex(*found.shape):
        if valid[:, c].any():
            found[s, c] = softmax(logits[valid[:, c], s]) @ bag[valid[:, c], c]
    return found


def gated(p, bag, valid):
    h = np.where(valid, bag, 0)
    hidden = np.tanh(h @ p["hidden_kernel"] + p["hidden_bias"])
    if "gate_kernel" in p:
        hidden = hidden * sigmoid(h @ p["gate_kernel"] + p["gate_bias"])
    return means(hidden @ p["logits_kernel"], bag, valid).ravel()


def tokens(p, bag, valid):
    h = np.where(valid, bag, 0)
    h = (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)
    h = (h * p["norm_scale"] + p["norm_bias"]) @ p["hidden_kernel"] + p["hidden_bias"]
    h = 0.5 * h * (1 + np.tanh(np.sqrt(2 / np.pi) * (h + 0.044715 * h**3)))
    return means(h @ p["logits_kernel"], bag, valid)


def normalized(h, p, mean, variance):
    return (h - mean) / np.sqrt(variance + 1e-5) * p["scale"] + p["bias"]


def attentive_statistics(p, x, where, running=None):
    """In training, or by `running` statistics; what is not in `p` is left out."""
    x, (count, _, channels) = np.where(where, x, 0), x.shape
    moments = lambda bag, w: (w @ bag, np.sqrt(max(w @ (bag - w @ bag) ** 2, 1e-12)))
    hidden = x @ p["hidden_kernel"][:channels]
    if len(p["hidden_kernel"]) > channels:
        for n in range(count):
            valid = where[n, :, 0]
            equal = np.full(valid.sum(), 1 / max(valid.sum(), 1))
            parts = [moments(x[n, valid, c], equal) for c in range(channels)]
            whole = np.ravel(parts, "F") if valid.any() else np.zeros(2 * channels)
            hidden[n] += whole @ p["hidden_kernel"][channels:]
    hidden = hidden + p["hidden_bias"]
    if "scale" in p:
        hidden = np.maximum(hidden, 0)
        seen = hidden[where[..., 0]]
        running = (seen.mean(0), seen.var(0)) if running is None else running
        hidden = normalized(hidden, p, *running)
    logits, found = np.tanh(hidden) @ p["logits_kernel"], np.full((count, 2 * channels), EMPTY)
    for n, c in np.ndindex(count, channels):
        valid = where[n, :, 0]
        if valid.any():
            pair = moments(x[n, valid, c], softmax(logits[n, valid, c]))
            found[n, c], found[n, channels + c] = pair
    return found


def of_bags(one):
    return lambda p, x, where: np.stack([one(p, bag, w) for bag, w in zip(x, where, strict=True)])


GEOMETRY = {"window_shape": (2, 3), "strides": (2, 1), "padding": ((1, 0), (1, 1)), "axes": (1, 2)}


def universal(p, x, where):
    """Windows of `GEOMETRY`, the network of a channel by loops."""
    widths = ((0, 0), (1, 0), (1, 1))
    x, where = (
        np.pad(np.where(where, x, 0), widths),
        np.pad(np.broadcast_to(where, x.shape), widths),
    )
    found = np.full((3, 3, 4), EMPTY)
    for n, i, j in np.ndindex(*found.shape):
        found[n, i, j] = of_window(p, *(v[n, 2 * i : 2 * i + 2, j : j + 3] for v in (x, where)))
    return found


def of_window(p, window, valid):
    hidden = [np.maximum((k * window).sum() + b, 0)
              for k, b in zip(p["hidden_kernel"], p["hidden_bias"], strict=True)]  # fmt: skip
    logits = p["logits_bias"] + np.tensordot(hidden, p["logits_kernel"], 1)
    return softmax(logits[valid]) @ window[valid] if valid.any() else EMPTY


CASES = {
    "gated": ("GatedAttentionPool", (5,), {"branches": 2}, of_bags(gated)),
    "not gated": ("GatedAttentionPool", (5,), {"gated": False}, of_bags(gated)),
    "tokens": ("TokenLearner", (3,), {"hidden_features": 5}, of_bags(tokens)),
    "universal": ("UniversalPool", (), {**GEOMETRY, "hidden_features": 3}, universal),
}
cases = pytest.mark.parametrize("name", CASES)


def made(name):
    cls, args, options, oracle = CASES[name]
    return getattr(jaxpool.linen, cls)(*args, **options, empty_value=EMPTY), oracle


def like(tree, rng, dtype=np.float32):
    """Numbers of a normal distribution in the shapes of a tree."""
    return jax.tree.map(lambda v: rng.normal(size=v.shape).astype(dtype), tree)


def differences(function, *arguments):
    """The gradient of a function of trees in float64, by central differences."""
    leaves, tree = jax.tree.flatten(arguments)
    leaves = [np.float64(leaf) for leaf in leaves]
    found = [np.zeros_like(leaf) for leaf in leaves]
    for leaf, slope in zip(leaves, found, strict=True):
        for place in np.ndindex(*leaf.shape):
            value = leaf[place]
            ends = []
            for step in (1e-6, -1e-6):
                leaf[place] = value + step
                ends.append(function(*jax.tree.unflatten(tree, leaves)))
            leaf[place], slope[place] = value, (ends[0] - ends[1]) / 2e-6
    return jax.tree.unflatten(tree, found)


def close(found, wanted, rtol=2e-5, atol=2e-6):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(np.float64(a), b, rtol=rtol, atol=atol)


@cases
def test_values_and_derivatives(name):
    """With and without a mask, whatever is masked out, by itself, in few bits, and for a twin."""
    layer, oracle = made(name)
    rng = np.random.default_rng(1)
    params = like(jax.eval_shape(layer.init, KEY, X)["params"], rng)
    wanted = functools.partial(oracle, jax.tree.map(np.float64, params), np.float64(X))
    by_mask = wanted(WHERE)
    cotangent = rng.normal(size=by_mask.shape).astype(np.float32)
    direction = like(params, rng), np.where(WHERE, rng.normal(size=X.shape), 0).astype(np.float32)
    twin = getattr(jaxpool.nnx, CASES[name][0])(
        *CASES[name][1], **CASES[name][2], empty_value=EMPTY, rngs=nnx.Rngs(0),
        **({} if name == "universal" else {"features": 4}),
    )  # fmt: skip
    for parameter, value in params.items():
        setattr(twin, parameter, nnx.Param(jnp.asarray(value)))

    @jax.jit
    def everything(params, x, dirty):
        call = lambda p, x, where=None: layer.apply({"params": p}, x, where=where)
        masked = lambda p, x: call(p, x, WHERE)
        y, vjp = jax.vjp(masked, params, dirty)
        few = call(params, x.astype(jnp.bfloat16))
        return {
            "masked": y,
            "gradient": vjp(cotangent),
            "tangent": jax.jvp(masked, (params, dirty), direction)[1],
            "all": call(params, x),
            "alone": call(params, x[1:2]),
            "of channels": call(params, x, OF_CHANNELS),
            "few bits": few,
            "twin": twin(dirty, where=WHERE),
        }

    found = everything(params, X, DIRTY)
    close(found["masked"], by_mask)
    close(found["all"], wanted(np.ones_like(WHERE)))
    close(found["of channels"], wanted(OF_CHANNELS))
    np.testing.assert_allclose(found["alone"], found["all"][1:2], rtol=1e-4)
    np.testing.assert_allclose(found["twin"], found["masked"], rtol=1e-6)
    assert found["few bits"].dtype == jnp.bfloat16
    close(found["few bits"], found["all"], 0.05, 0.05)
    loss = lambda p, x: (oracle(p, x, WHERE) * cotangent).sum()
    assert_derivatives(found, params, direction, cotangent, loss)


def assert_derivatives(found, params, direction, cotangent, loss):
    """The gradient is that of `loss`, 0 where masked, and the tangent is as the gradient says."""
    close(found["gradient"], differences(loss, params, np.where(WHERE, X, 0)), 2e-4, 2e-4)
    assert not np.where(WHERE, 0, found["gradient"][1]).any()
    both = [sum(np.vdot(a, b) for a, b in zip(*map(jax.tree.leaves, pair), strict=True))
            for pair in ((found["gradient"], direction), (cotangent, found["tangent"]))]  # fmt: skip
    np.testing.assert_allclose(*both, rtol=1e-4)


def test_universal_pool_of_channels_and_of_large_windows():
    """It begins as the mean; of more than a few elements it is a loop, also masked."""
    x = RNG.normal(size=(1, 5, 4, 2)).astype(np.float32)
    where = RNG.random((1, 5, 4, 1)) < 0.6
    own = jaxpool.linen.UniversalPool((5, 3), 1, features=2, hidden_features=3)
    params = like(jax.eval_shape(own.init, KEY, x)["params"], np.random.default_rng(2))

    @jax.jit
    def everything(params, x):
        call = lambda p, x: own.apply({"params": p}, x, where=where)
        dirty = jnp.where(where, x, np.float32(np.nan))
        gradient = jax.grad(lambda p, x: call(p, x).sum(), (0, 1))(params, dirty)
        return call(params, dirty), own.apply(own.init(KEY, x), x), gradient

    found, first, gradient = everything(params, x)
    for j, c in np.ndindex(2, 2):
        valid = where[0, :, j : j + 3, 0]
        window = x[0, :, j : j + 3, c]
        mine = {n: np.float64(p)[..., c] for n, p in params.items()}
        wanted = of_window(mine, np.where(valid, window, 0), valid)
        np.testing.assert_allclose(found[0, 0, j, c], wanted, rtol=1e-5)
        np.testing.assert_allclose(first[0, 0, j, c], window.mean(), rtol=1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_attentive_statistics():
    """By the batch and by running statistics, with and without what may be left out."""
    options = {"empty_value": EMPTY, "momentum": 0.75}
    layer = jaxpool.linen.AttentiveStatisticsPool(5, **options)
    plain = layer.clone(global_context=False, use_batch_norm=False)
    rng = np.random.default_rng(1)
    variables = like(jax.eval_shape(layer.init, KEY, X), rng)
    params, running = variables["params"], variables["batch_stats"]
    running["var"] = np.abs(running["var"]) + np.float32(0.5)
    of_plain = {**params, "hidden_kernel": params["hidden_kernel"][:4]}
    of_plain = {n: v for n, v in of_plain.items() if n not in ("scale", "bias")}
    cotangent = rng.normal(size=(3, 8)).astype(np.float32)
    direction = like(params, rng), np.where(WHERE, rng.normal(size=X.shape), 0).astype(np.float32)
    twin = jaxpool.nnx.AttentiveStatisticsPool(5, **options, features=4, rngs=nnx.Rngs(0))
    for name, value in params.items():
        setattr(twin, name, nnx.Param(jnp.asarray(value)))
    twin.mean[...], twin.var[...] = running["mean"], running["var"]

    @nnx.jit
    def everything(twin, params, x, dirty):
        by = lambda p, x, **more: layer.apply(
            {"params": p, "batch_stats": running}, x, mutable=["batch_stats"], **more
        )
        masked = lambda p, x: by(p, x, where=WHERE)[0]
        y, vjp, moved = jax.vjp(lambda *v: by(*v, where=WHERE), params, dirty, has_aux=True)
        by_view = viewed(twin, use_running_average=True)(dirty, where=WHERE)
        evaluated = by(params, dirty, where=WHERE, use_running_average=True)
        nothing = by(params, dirty, where=np.zeros((1, 1, 1), bool))
        return {
            "masked": y,
            "gradient": vjp(cotangent),
            "tangent": jax.jvp(masked, (params, dirty), direction)[1],
            "moved": moved["batch_stats"],
            "evaluated": evaluated[0],
            "kept": evaluated[1],
            "nothing": (nothing[0], nothing[1]["batch_stats"]),
            "alone": by(params, x[1:2], where=WHERE[1:2], use_running_average=True)[0],
            "plain": plain.apply({"params": of_plain}, x),
            "twin": (twin(dirty, where=WHERE), by_view),
        }

    found = everything(twin, params, X, DIRTY)
    p, r = (jax.tree.map(np.float64, tree) for tree in (params, running))
    close(found["masked"], attentive_statistics(p, np.float64(X), WHERE))
    close(found["evaluated"], attentive_statistics(p, np.float64(X), WHERE, (r["mean"], r["var"])))
    np.testing.assert_allclose(found["alone"], found["evaluated"][1:2], rtol=1e-4)
    q = jax.tree.map(np.float64, of_plain)
    everywhere = np.ones_like(WHERE)
    close(found["plain"], attentive_statistics(q, np.float64(X), everywhere))
    few = jax.eval_shape(plain.apply, {"params": of_plain}, jnp.asarray(X, jnp.bfloat16))
    assert few.dtype == jnp.bfloat16
    loss = lambda p, x: (attentive_statistics(p, x, WHERE) * cotangent).sum()
    assert_derivatives(found, params, direction, cotangent, loss)
    # Running statistics move a quarter of the way, by valid frames, and in training only.
    h = np.where(WHERE, np.float64(X), 0)
    context = [h[0], h[1][WHERE[1, :, 0]]]
    context = [np.concatenate([b.mean(0), b.std(0)]) @ p["hidden_kernel"][4:] for b in context]
    h = h[:2] @ p["hidden_kernel"][:4] + p["hidden_bias"] + np.stack(context)[:, None]
    seen = np.maximum(h, 0)[WHERE[:2, :, 0]]
    moved = {"mean": 0.75 * r["mean"] + 0.25 * seen.mean(0)}
    moved["var"] = 0.75 * r["var"] + 0.25 * seen.var(0)
    close(found["moved"], moved)
    close(found["kept"].get("batch_stats", running), running, 0, 0)
    close(found["nothing"], (np.full((3, 8), EMPTY), running), 0, 0)
    close(found["twin"], (found["masked"], found["evaluated"]), 1e-6, 1e-6)
    close({"mean": twin.mean[...], "var": twin.var[...]}, moved)
    twin.eval()
    assert twin.use_running_average


IMAGES = RNG.normal(size=(2, 3, 2, 4)).astype(np.float32)


def test_weights_and_axes():
    """Weights add up to 1 where something is valid; axes may be several, or not the last ones."""
    bags = jaxpool.linen.GatedAttentionPool(5, branches=2, keepdims=True)
    params = bags.init(KEY, X)
    whole = bags.clone(axes=(1, 2), keepdims=False)
    rows = bags.clone(axes=1, keepdims=False)
    tokens = jaxpool.linen.TokenLearner(3, axes=(-3, -2))
    statistics = jaxpool.linen.AttentiveStatisticsPool(5, axes=1, use_batch_norm=False)

    @jax.jit
    def everything(x, images):
        y, weights = bags.apply(params, x, where=OF_CHANNELS, return_weights=True)
        flat = images.reshape(2, 6, 4)
        variables, of_frames = tokens.init(KEY, images), statistics.init(KEY, images)
        pairs = [
            (whole.apply(params, images), bags.apply(params, flat)[:, 0]),
            (rows.apply(params, images)[:, 1], bags.apply(params, images[:, :, 1])[:, 0]),
            (tokens.apply(variables, images), tokens.clone(axes=1).apply(variables, flat)),
            (statistics.apply(of_frames, images), jnp.stack(
                [statistics.apply(of_frames, images[:, :, i]) for i in range(2)], 1)),
        ]  # fmt: skip
        return y, weights, pairs

    y, weights, pairs = everything(X, IMAGES)
    assert (y.shape, weights.shape) == ((3, 1, 8), (3, 6, 2))
    np.testing.assert_allclose(weights.sum(1), [[1, 1], [1, 1], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(weights > 0, np.repeat(OF_CHANNELS.any(-1, keepdims=True), 2, -1))
    for found, wanted in pairs:
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


MISTAKES = [
    ("GatedAttentionPool", {"hidden_features": 0}, None, "`hidden_features` must be an int >= 1"),
    ("GatedAttentionPool", {"hidden_features": 3, "branches": 1.5}, None, "`branches` must be an"),
    (
        "GatedAttentionPool",
        {"hidden_features": 3, "axes": (1, 1)},
        None,
        "`axes` must be an int or",
    ),
    ("GatedAttentionPool", {"hidden_features": 3, "axes": -1}, X, "`axes` must leave out the last"),
    ("GatedAttentionPool", {"hidden_features": 3}, X[0, 0], "`axes` must lie in"),
    ("GatedAttentionPool", {"hidden_features": 3}, X[:, :0], "`x` must have at least one element"),
    ("GatedAttentionPool", {"hidden_features": 3}, X[..., :3], "`features` must be 3"),
    ("TokenLearner", {"num_tokens": 0}, None, "`num_tokens` must be an int >= 1"),
    ("TokenLearner", {"num_tokens": 2, "axes": ()}, None, "`axes` must name at least one axis"),
    ("UniversalPool", {"window_shape": (2,), "hidden_features": 0}, None, "`hidden_features` must"),
    ("AttentiveStatisticsPool", {"momentum": 2}, None, "`momentum` must be a number from 0 to 1"),
    ("AttentiveStatisticsPool", {"use_batch_norm": 1}, None, "`use_batch_norm` must be True or"),
    ("AttentiveStatisticsPool", {"epsilon": -1}, X, "`epsilon` must be a finite number >= 0"),
]


@pytest.mark.parametrize(("name", "options", "x", "message"), MISTAKES)
def test_mistakes(name, options, x, message):
    """Told in the layer's name, and where it is made if that can be known by then."""
    by_linen = lambda: getattr(jaxpool.linen, name)(**options, features=4).init(KEY, x)
    by_nnx = lambda: getattr(jaxpool.nnx, name)(**options, features=4, rngs=nnx.Rngs(0))(x)
    for call in (by_linen, by_nnx):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: {message}"):
            call()


def test_parameters_begin_as_the_papers_say():
    """Within Glorot's bounds, or PyTorch's, and each from a key of its own."""
    of = lambda name, *args, **options: getattr(jaxpool.nnx, name)(
        *args, features=12, rngs=nnx.Rngs(0), **options
    )
    bags, tokens = of("GatedAttentionPool", 20, param_dtype=jnp.bfloat16), of("TokenLearner", 3)
    frames, windows = of("AttentiveStatisticsPool", 50), of("UniversalPool", (4, 3))
    for kernel, most in [
        (bags.hidden_kernel, np.sqrt(6 / 32)), (bags.gate_kernel, np.sqrt(6 / 32)),
        (bags.logits_kernel, np.sqrt(6 / 21)), (tokens.hidden_kernel, np.sqrt(6 / 76)),
        (tokens.logits_kernel, np.sqrt(6 / 67)), (frames.hidden_kernel, 1 / 6),
        (frames.hidden_bias, 1 / 6), (frames.logits_kernel, np.sqrt(1 / 50)),
        (windows.hidden_kernel, np.sqrt(6 / 20)),
    ]:  # fmt: skip
        largest = np.abs(np.float64(kernel[...])).max()
        assert 0.8 * most < largest <= 1.01 * most
    assert bags.hidden_kernel.dtype == bags.gate_bias.dtype == jnp.bfloat16
    assert not np.array_equal(bags.hidden_kernel[...], bags.gate_kernel[...])
    for bias in (bags.hidden_bias, bags.gate_bias, windows.logits_kernel, windows.logits_bias,
                 tokens.norm_bias, frames.bias):  # fmt: skip
        assert not np.asarray(bias[...], np.float32).any()
    np.testing.assert_array_equal(tokens.norm_scale[...], 1)


@pytest.mark.parametrize(
    "name", [pytest.param("gated", marks=pytest.mark.exhaustive), "tokens", "universal"]
)
def test_parameters_far_out(name):
    """Values and gradients are numbers, also where what is masked out has the largest logit."""
    layer, _ = made(name)
    layer = layer.clone(empty_value=0)
    rng = np.random.default_rng(3)
    signs = jax.tree.map(
        lambda p: rng.choice(np.float32([-1, 1]), p.shape), jax.eval_shape(layer.init, KEY, X)
    )
    # The logits of padding and of valid elements, hundreds apart.
    call = lambda far, x: jnp.sin(layer.apply(far, x, where=WHERE)).sum()
    both = lambda k: jax.value_and_grad(call, (0, 1))(jax.tree.map(lambda s: k * s, signs), DIRTY)
    for result in jax.tree.leaves(jax.jit(jax.vmap(both))(np.float32([30, -30, 1e10, -1e10]))):
        assert np.isfinite(result).all()


def tdnn_block(torch, channels, hidden):
    """SpeechBrain's: a convolution, a rectifier and batch normalization, by its names."""
    named = lambda name, part: torch.nn.ModuleDict({name: part})
    return torch.nn.ModuleDict({
        "conv": named("conv", torch.nn.Conv1d(channels, hidden, 1)),
        "norm": named("norm", torch.nn.BatchNorm1d(hidden)),
    })  # fmt: skip


def speechbrains(torch, module, x, lengths):
    """What its forward pass does with (batch, channels, frames); lengths are in frames."""
    mask = (torch.arange(x.shape[2])[None] < lengths[:, None])[:, None].to(x.dtype)

    def statistics(weights):
        mean = (weights * x).sum(2)
        deviations = (weights * (x - mean[..., None]) ** 2).sum(2)
        return mean, deviations.clamp(1e-12).sqrt()

    whole = [v[..., None].expand_as(x) for v in statistics(mask / mask.sum(2, keepdim=True))]
    tdnn = module["tdnn"]
    hidden = tdnn["conv"]["conv"](torch.cat([x, *whole], 1)).relu()
    logits = module["conv"]["conv"](tdnn["norm"]["norm"](hidden).tanh())
    weights = logits.masked_fill(mask == 0, -torch.inf).softmax(2)
    return torch.cat(statistics(weights), 1)


def test_attentive_statistics_of_speechbrain():
    """Its parameters, in its module, in evaluation; where frames are padding, in training not."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    torch.manual_seed(0)
    module = torch.nn.ModuleDict({
        "tdnn": tdnn_block(torch, 12, 5),
        "conv": torch.nn.ModuleDict({"conv": torch.nn.Conv1d(5, 4, 1)}),
    }).double()  # fmt: skip
    norm = module["tdnn"]["norm"]["norm"]
    x = torch.tensor(np.moveaxis(np.float64(X), 2, 1))
    lengths = torch.tensor([6, 4, 2])
    by_torch = lambda: speechbrains(torch, module, x, lengths).detach().numpy()
    with torch.no_grad():
        for part in (norm.weight, norm.bias, module["conv"]["conv"].bias):
            part += torch.randn(part.shape)
        speechbrains(torch, module, x + 1, torch.tensor([6, 6, 6]))
    module.eval()
    state = module.state_dict()
    where = (np.arange(6) < lengths.numpy()[:, None])[..., None]
    layer = jaxpool.linen.AttentiveStatisticsPool(5, use_running_average=True)
    variables = jaxpool.interop.from_torch_state(layer, state)
    found, weights = layer.apply(variables, X, where=where, return_weights=True)
    np.testing.assert_allclose(found, by_torch(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    in_nnx = jaxpool.nnx.AttentiveStatisticsPool(
        5, use_running_average=True, features=4, rngs=nnx.Rngs(0)
    )
    nnx.update(in_nnx, jaxpool.interop.from_torch_state(in_nnx, state))
    np.testing.assert_array_equal(in_nnx(X, where=where), found)
    p = jax.tree.map(np.float64, variables["params"])
    module.train()
    lengths[:] = 6
    wanted = attentive_statistics(p, np.float64(X), np.ones_like(where))
    np.testing.assert_allclose(by_torch(), wanted, rtol=1e-5)
    for wrong, key in (({"conv.conv.weight": torch.ones(4, 5)}, "conv.conv.weight"),
                       ({"tdnn.norm.norm.bias": torch.ones(2, 5)}, "tdnn.norm.norm.bias")):  # fmt: skip
        with pytest.raises(ValueError, match=f"^from_torch_state: `{key}` must give"):
            jaxpool.interop.from_torch_state(layer.clone(features=4), {**state, **wrong})


def test_gated_attention_of_torch():
    """The module of the paper's authors, biases included, with its gradient."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    torch.manual_seed(0)
    v, u, w = torch.nn.Linear(4, 5), torch.nn.Linear(4, 5), torch.nn.Linear(5, 1)
    bag = torch.tensor(X[0], requires_grad=True)
    logits = w(torch.tanh(v(bag)) * torch.sigmoid(u(bag)))
    pooled = torch.softmax(logits.T, 1) @ bag
    pooled.sin().sum().backward()
    params = {"hidden": v, "gate": u}
    params = {f"{n}_{k}": a.detach().numpy().T for n, layer in params.items()
              for k, a in (("kernel", layer.weight), ("bias", layer.bias))}  # fmt: skip
    params["logits_kernel"] = w.weight.detach().numpy().T
    layer = jaxpool.linen.GatedAttentionPool(5)

    @jax.jit
    def both(params, x):
        call = lambda params, x: layer.apply({"params": params}, x)
        gradient = jax.grad(lambda *v: jnp.sin(call(*v)).sum(), (0, 1))(params, x)
        return call(params, x), gradient

    y, (by_params, by_x) = both(params, X[0])
    close(y, pooled[0].detach().numpy())
    close(by_x, bag.grad.numpy())
    close(by_params["gate_kernel"], u.weight.grad.numpy().T)
    close(by_params["logits_kernel"], w.weight.grad.numpy().T)
