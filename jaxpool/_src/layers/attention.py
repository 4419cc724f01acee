"""Layers of attention over elements: the function, and heads that own their queries."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import jax
import jax.numpy as jnp
from jax.nn import initializers

import jaxpool
from jaxpool._src.core.arguments import Ints, check_array, known, known_size
from jaxpool._src.core.program import as_one_program
from jaxpool._src.layers import heads
from jaxpool._src.layers.fields import Pool, layer, op_of
from jaxpool._src.layers.learned import OfChannels
from jaxpool._src.layers.parameters import check_features, constant, heads_divide, uniform

XAVIER = initializers.glorot_uniform()


@layer
class AttentionPool(Pool):
    """Layer form of `jaxpool.attention_pool`; queries come with the call, and it learns nothing."""

    _: dataclasses.KW_ONLY
    axes: Ints = -2
    num_heads: int = 1
    scale: Any = None
    empty_value: Any = 0
    return_weights: bool = False

    _function = staticmethod(jaxpool.attention_pool)

    def __call__(
        self,
        x: jax.Array,
        query: jax.Array,
        *,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        where: jax.Array | None = None,
    ) -> Any:
        """The pooled x; arguments are those of the function."""
        return self._function(x, query, key=key, value=value, where=where, **self._options())


@layer
class AttentionHead(OfChannels):
    """Owns what is projected with, as kernels (inputs, outputs) and biases; channels are last."""

    _starts_at_random = True
    _head: ClassVar[Callable[..., jax.Array]]
    _own = ("features", "param_dtype")

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in `jaxpool.attention_pool`."""
        op, layer = op_of(self), cast(Any, self)
        check_array(op, x)
        if x.ndim < 2:
            raise ValueError(
                f"{op}: `x` must have elements and channels; got x.shape={x.shape}. Write x[None]."
            )
        check_features(self, x, -1)
        known_size(op, x.shape, x.ndim - 1)
        heads_divide(op, layer.num_heads, x.shape[-1])
        options = self._options()
        options["empty_value"] = known(options["empty_value"])
        parameters = self._parameters(x.shape[-1])
        return as_one_program(self._head, op, x, where, parameters, options)


def projections(channels: int, names: str, kernel: Any, bias: Any) -> dict[str, Any]:
    """Kernels and, if these have an initializer, biases that keep the number of channels."""
    first: dict[str, Any] = {}
    for name in names.split():
        first[f"{name}_kernel"] = ((channels, channels), kernel)
        if bias is not None:
            first[f"{name}_bias"] = ((channels,), bias)
    return first


def norm(channels: int, name: str) -> dict[str, Any]:
    """The parameters of a normalization."""
    own = (channels,)
    return {f"{name}_scale": (own, constant(1)), f"{name}_bias": (own, constant(0))}


@layer
class MultiheadAttentionPool(AttentionHead):
    """Multihead attention pooling (MAP), the head of ViT-G and SigLIP.

    Learned queries, `probe` of shape (num_probes, channels), are projected (`query_kernel`,
    `query_bias`) and look at projected elements (`key_*`) for a mean of others (`value_*`), as
    `jaxpool.attention_pool` does. That is projected (`out_*`) to y, and the result is y plus
    an MLP of two layers (`mlp_in_*`, `mlp_out_*`) of the normalized y (`norm_scale`, `norm_bias`).
    Of x with shape ``[..., length, channels]`` the result is ``[..., channels]``, with an axis of
    probes before channels if there are several. Few probes project no element: their cost is that
    of reading x, since queries are projected back instead.

    Args:
      num_heads: number of heads; it divides the channels.
      num_probes: number of learned queries.
      mlp_ratio: channels between the layers of the MLP, as a multiple of those of x.
      mlp_dim: their number, in place of the ratio; 0 for y itself, without normalization and MLP.
      gelu: the activation between them, by "tanh" as in the paper's code, or "exact".
      epsilon: what is added to the variance where y is normalized.
      axes: the pooled axes, an int or several, but not the last.
      empty_value: value of cells in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Zhai et al., Scaling vision transformers, 2022. <https://arxiv.org/abs/2106.04560>
    """

    num_heads: int
    _: dataclasses.KW_ONLY
    num_probes: int = 1
    mlp_ratio: float = 4.0
    mlp_dim: int | None = None
    gelu: Literal["tanh", "exact"] = "tanh"
    epsilon: float = 1e-6
    axes: Ints = -2
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _head = staticmethod(heads.probed)

    def _first(self, channels: int) -> dict[str, Any]:
        hidden = int(self.mlp_ratio * channels) if self.mlp_dim is None else self.mlp_dim
        first = {"probe": ((self.num_probes, channels), XAVIER)}
        first |= projections(channels, "query key value out", XAVIER, constant(0))
        if hidden:
            near_0 = initializers.normal(1e-6)
            first |= norm(channels, "norm")
            first |= {"mlp_in_kernel": ((channels, hidden), XAVIER)}
            first |= {"mlp_in_bias": ((hidden,), near_0)}
            first |= {"mlp_out_kernel": ((hidden, channels), XAVIER)}
            first |= {"mlp_out_bias": ((channels,), near_0)}
        return first


@layer
class PoolingByMultiheadAttention(AttentionHead):
    """Pooling by multihead attention (PMA) of the Set Transformer.

    Elements go through a layer of their own, ``relu(input(x))``. Learned `seeds` of shape
    (num_seeds, channels) are projected to q (`query_*`) and look at projected elements (`key_*`,
    `value_*`), as in `jaxpool.attention_pool`. With h the sum of q and what they find, normalized,
    the result is ``h + relu(out(h))``, normalized, of shape ``[..., num_seeds, channels]``.

    Args:
      num_seeds: number of learned queries.
      num_heads: number of heads; it divides the channels.
      scale: logits are divided by the square root of the channels of a head, "heads", as in the
        paper, or of all, "channels", as in the code that came with it.
      feed_forward: whether elements go through the first layer, which that code leaves out.
      layer_norm: whether the two sums are normalized, with `attention_norm_*` and `out_norm_*`;
        that code does not by default.
      epsilon: what is added to the variance there.
      axes: the pooled axes, an int or several, but not the last.
      empty_value: value of cells in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Lee et al., Set transformer: a framework for attention-based permutation-invariant neural
      networks, 2019. <https://arxiv.org/abs/1810.00825>
    """

    num_seeds: int = 1
    num_heads: int = 1
    _: dataclasses.KW_ONLY
    scale: Literal["heads", "channels"] = "heads"
    feed_forward: bool = True
    layer_norm: bool = True
    epsilon: float = 1e-5
    axes: Ints = -2
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _head = staticmethod(heads.seeded)

    def _first(self, channels: int) -> dict[str, Any]:
        names = "input query key value out"[0 if self.feed_forward else 6 :]
        start = uniform(channels)
        first = {"seeds": ((self.num_seeds, channels), XAVIER)}
        first |= projections(channels, names, start, start)
        if self.layer_norm:
            first |= norm(channels, "attention_norm") | norm(channels, "out_norm")
        return first


@layer
class AttentionPool2d(AttentionHead):
    """The head of CLIP's residual networks.

    For images of shape ``[..., height, width, channels]``. Their mean and their places, in this
    order, are tokens, to which learned `positions` of shape (height*width + 1, channels) are
    added. The token of the mean is projected to a query (`query_*`), which looks at all tokens
    (`key_*`, `value_*`) as in `jaxpool.attention_pool`, and what it finds is projected (`out_*`).
    For images of another size positions are resampled, bicubic.

    Args:
      spatial_shape: height and width of the images that `positions` are for.
      num_heads: number of heads; it divides the channels.
      output_dim: number of channels of the result. Default: those of x.
      empty_value: value of images in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Radford et al., Learning transferable visual models from natural language supervision, 2021.
      <https://arxiv.org/abs/2103.00020>
    """

    spatial_shape: Ints
    num_heads: int
    _: dataclasses.KW_ONLY
    output_dim: int | None = None
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _head = staticmethod(heads.clip)

    def _options(self) -> dict[str, Any]:
        own, shape = super()._options(), self.spatial_shape
        return own | {"spatial_shape": (shape, shape) if isinstance(shape, int) else shape}

    def _first(self, channels: int) -> dict[str, Any]:
        normal, output = initializers.normal(channels**-0.5), self.output_dim or channels
        places = math.prod(self._options()["spatial_shape"])
        first: dict[str, Any] = {"positions": ((places + 1, channels), normal)}
        first |= projections(channels, "query key value", normal, uniform(channels))
        first |= {"out_kernel": ((channels, output), normal)}
        return first | {"out_bias": ((output,), uniform(channels))}


@layer
class SimPool(AttentionHead):
    """SimPool: the mean of elements, projected (`query_kernel`), looks at all of them.

    Elements are normalized (`norm_scale`, `norm_bias`), and their projections (`key_kernel`)
    looked at as in `jaxpool.attention_pool`. The result is a mean of the normalized elements v
    themselves, not projected; with `gamma` it is ``(sum a (v - least + 1e-6)^gamma)^(1/gamma)``,
    where `least` is the least number of a sample and head. (The code of the authors takes that of
    a batch, so that samples would feel each other.)

    Args:
      num_heads: number of heads; it divides the channels.
      gamma: exponent of the mean of values, 2 for convolutional networks and 1.25 for transformers
        in the paper; None for the plain mean.
      use_bias: whether projections have a bias.
      axes: the pooled axes, an int or several, but not the last.
      empty_value: value of cells in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Psomas et al., Keep it SimPool: who said supervised transformers suffer from attention
      deficit?, 2023. <https://arxiv.org/abs/2309.06891>
    """

    num_heads: int = 1
    _: dataclasses.KW_ONLY
    gamma: float | None = None
    use_bias: bool = False
    axes: Ints = -2
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _head = staticmethod(heads.simple)

    def _first(self, channels: int) -> dict[str, Any]:
        start = uniform(channels)
        bias = start if self.use_bias else None
        return norm(channels, "norm") | projections(channels, "query key", start, bias)
