"""Layers with the parameters of PyTorch's modules compute what these do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpool
import jaxpool.interop
import jaxpool.linen
import jaxpool.nnx

TESTS_OF = ("interop.py",)

C, HEADS = 12, 3
X = np.random.default_rng(0).normal(size=(2, 4, 5, C)).astype(np.float32)
WHERE = np.random.default_rng(1).random((2, 4, 5, 1)) < 0.6


def modules(torch):
    """As their authors define them, for channels first where those are."""

    class AttentionPoolLatent(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.latent = torch.nn.Parameter(torch.randn(1, 2, C))
            self.q, self.kv = torch.nn.Linear(C, C), torch.nn.Linear(C, 2 * C)
            self.proj, self.norm = torch.nn.Linear(C, C), torch.nn.LayerNorm(C, eps=1e-6)
            self.mlp = torch.nn.Module()
            self.mlp.fc1, self.mlp.fc2 = torch.nn.Linear(C, 2 * C), torch.nn.Linear(2 * C, C)

        def forward(self, x):
            b, n, _ = x.shape
            q = self.q(self.latent.expand(b, -1, -1)).reshape(b, -1, HEADS, C // HEADS)
            k, v = self.kv(x).reshape(b, n, 2, HEADS, C // HEADS).permute(2, 0, 3, 1, 4).unbind(0)
            x = torch.nn.functional.scaled_dot_product_attention(q.transpose(1, 2), k, v)
            x = self.proj(x.transpose(1, 2).reshape(b, -1, C))
            return x + self.mlp.fc2(torch.nn.functional.gelu(self.mlp.fc1(self.norm(x))))

    class AttentionPool2d(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.positional_embedding = torch.nn.Parameter(torch.randn(4 * 5 + 1, C))
            linear = torch.nn.Linear
            self.q_proj, self.k_proj, self.v_proj = (linear(C, C) for _ in range(3))
            self.c_proj = linear(C, 6)

        def forward(self, x):
            x = x.flatten(2).permute(2, 0, 1)
            x = torch.cat([x.mean(0, keepdim=True), x]) + self.positional_embedding[:, None]
            bias = torch.cat([self.q_proj.bias, self.k_proj.bias, self.v_proj.bias])
            y, _ = torch.nn.functional.multi_head_attention_forward(
                query=x[:1], key=x, value=x, embed_dim_to_check=C, num_heads=HEADS,
                q_proj_weight=self.q_proj.weight, k_proj_weight=self.k_proj.weight,
                v_proj_weight=self.v_proj.weight, in_proj_weight=None, in_proj_bias=bias,
                bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0,
                out_proj_weight=self.c_proj.weight, out_proj_bias=self.c_proj.bias,
                use_separate_proj_weight=True, training=False, need_weights=False,
            )  # fmt: skip
            return y[0]

    return AttentionPoolLatent(), AttentionPool2d()


def test_modules_of_pytorch():
    """Their values, of one program for all of them, by Linen and NNX."""
    torch = pytest.importorskip("torch", reason="torch is the oracle of this test")
    torch.manual_seed(0)
    latent, clip = modules(torch)
    attention = torch.nn.MultiheadAttention(C, HEADS, batch_first=True)
    torch.nn.init.normal_(attention.in_proj_bias)
    tokens, mask = X.reshape(2, 20, C), WHERE.reshape(2, 20, 1)
    probe = torch.randn(7, C)
    with torch.no_grad():
        of_torch = [
            latent(torch.from_numpy(tokens)),
            clip(torch.from_numpy(X).permute(0, 3, 1, 2)),
            attention(probe.expand(2, 7, C), torch.from_numpy(tokens), torch.from_numpy(tokens),
                      key_padding_mask=torch.from_numpy(~mask[..., 0]))[0],
        ]  # fmt: skip
    made = {
        "MultiheadAttentionPool": {"num_probes": 2, "mlp_ratio": 2.0, "gelu": "exact"},
        "AttentionPool2d": {"spatial_shape": (4, 5), "output_dim": 6},
    }
    layers = [getattr(jaxpool.linen, n)(num_heads=HEADS, **o) for n, o in made.items()]
    layers.append(jaxpool.linen.MultiheadAttentionPool(HEADS, num_probes=7, mlp_dim=0))
    states = [latent.state_dict(), clip.state_dict(), {**attention.state_dict(), "probe": probe}]
    params = [*map(jaxpool.interop.from_torch_state, layers, states)]
    calls = [(tokens, None), (X, None), (tokens, mask)]

    @jax.jit
    def found(params):
        rows = zip(layers, params, calls, strict=True)
        return [f.apply(p, x, where=where) for f, p, (x, where) in rows]

    for ours, theirs in zip(found(params), of_torch, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    layer = jaxpool.nnx.AttentionPool2d((4, 5), HEADS, output_dim=6, features=C, rngs=nnx.Rngs(0))
    nnx.update(layer, jaxpool.interop.from_torch_state(layer, clip.bfloat16().state_dict()))
    for name, value in params[1]["params"].items():
        np.testing.assert_array_equal(
            getattr(layer, name)[...], value.astype(jnp.bfloat16).astype(np.float32)
        )


def state_of_timm(separate):
    """Of its head of images, and what CLIP calls the same."""
    rng = np.random.default_rng(2)
    linear = lambda o: (rng.normal(size=(o, C)), rng.normal(size=o))
    q, k, v, out = (linear(n) for n in (C, C, C, 6))
    table = rng.normal(size=(21, C))
    clip = {"positional_embedding": table}
    for name, (weight, bias) in {"q": q, "k": k, "v": v, "c": out}.items():
        clip |= {f"{name}_proj.weight": weight, f"{name}_proj.bias": bias}
    timm = {"pos_embed": table, "proj.weight": out[0], "proj.bias": out[1]}
    if separate:
        for name, (weight, bias) in {"q": q, "k": k, "v": v}.items():
            timm |= {f"{name}.weight": weight, f"{name}.bias": bias}
    else:
        timm |= {f"qkv.{n}": np.concatenate([a[i] for a in (q, k, v)])
                 for i, n in enumerate(("weight", "bias"))}  # fmt: skip
    return timm, clip


@pytest.mark.parametrize("separate", [False, True])
def test_timm_has_other_names(separate):
    layer = jaxpool.linen.AttentionPool2d((4, 5), HEADS, output_dim=6, param_dtype=jnp.float16)
    found, wanted = (
        jaxpool.interop.from_torch_state(layer, state)["params"]
        for state in state_of_timm(separate)
    )
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert value.dtype == jnp.float16
        np.testing.assert_array_equal(found[name], value)


def test_mistakes_name_the_key():
    clip = state_of_timm(False)[1]
    layer = jaxpool.linen.AttentionPool2d((4, 5), HEADS, output_dim=6)
    alone = jaxpool.linen.MultiheadAttentionPool(HEADS)
    refused = [
        (layer, {k: v for k, v in clip.items() if k != "k_proj.bias"},
         "must have 'k_proj.bias' for AttentionPool2d of CLIP"),
        (layer, {**clip, "cls_token": clip["q_proj.bias"]}, "must not have 'cls_token' for"),
        (layer, {**clip, "c_proj.weight": clip["q_proj.weight"]},
         r"`c_proj.weight` must give `out_kernel` of shape \(12, 6\); got c_proj.weight.shape="),
        (layer, {"weight": clip["q_proj.bias"]}, "must have a key of 'positional_embedding' or"),
        (alone, {"in_proj_weight": clip["q_proj.weight"]}, "must have .*mlp_in_kernel.*has not"),
        (layer.clone(features=9), clip, "must give `positions` of shape"),
        (jaxpool.linen.AttentiveStatisticsPool(5), {"tdnn.conv.conv.weight": np.ones((5, 12, 3))},
         "must have 'tdnn.conv.conv.bias', 'tdnn.norm.norm.weight', .* for AttentiveStat"),
    ]  # fmt: skip
    for made, state, message in refused:
        with pytest.raises(ValueError, match=f"^from_torch_state: .*{message}"):
            jaxpool.interop.from_torch_state(made, state)
    with pytest.raises(TypeError, match="`layer` must be one of the layers MultiheadAttentionPool"):
        jaxpool.interop.from_torch_state(jaxpool.linen.MaxPool((2, 2)), clip)
    with pytest.raises(TypeError, match=r"`state_dict` must be a mapping .* module.state_dict\(\)"):
        jaxpool.interop.from_torch_state(layer, object())
