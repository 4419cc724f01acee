"""Means of positions or of windows, under weights that small networks predict from them."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxpool._src.core.arguments import Ints, check_array, flag, known, scalar_for
from jaxpool._src.core.parameters import kernel
from jaxpool._src.core.pool import filled, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.domains.window import Window, window_arguments
from jaxpool._src.layers.fields import WindowPool, layer, op_of
from jaxpool._src.layers.learned import LearnedPool, OfChannels
from jaxpool._src.layers.networks import (
    dense,
    gelu,
    layer_norm,
    network_input,
    position_axes,
    valid_elements,
    valid_positions,
    weighted_means,
)
from jaxpool._src.layers.parameters import constant, glorot_of_windows, window_sizes
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.universal import Universal

Parameters = dict[str, jax.Array]
_glorot = jax.nn.initializers.glorot_uniform()


@layer
class OfPositions(OfChannels):
    """Weighs positions, the same for all channels, several times over; `_pooled` says how."""

    _starts_at_random = True
    _pooled: ClassVar[Any]

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, return_weights: bool = False
    ) -> Any:
        """The pooled x; with `return_weights`, a pair of it and of the weights.

        What `where` masks out takes no part, NaN included. Weights are of x's shape, with one
        entry for each set of weights in place of the channels; they add up to 1, or are all 0 where
        nothing is valid.
        """
        layer: Any = self
        op = op_of(self)
        check_array(op, x)
        flag(op, "return_weights", return_weights)
        axes = position_axes(self, x)
        parameters, options = self._parameters(x.shape[-1]), self._options()
        options["empty_value"] = known(layer.empty_value)
        pooled, weights = as_one_program(
            type(self)._pooled, op, x, where, parameters, axes, return_weights, options
        )
        return (pooled, weights) if return_weights else pooled


@layer
class GatedAttentionPool(OfPositions):
    """Attention-based multiple-instance pooling: a mean whose weights a small network predicts.

    For bags of shape ``[..., instances, channels]``. The logit of an instance h is
    ``w . (tanh(V h + b) * sigmoid(U h + c))``, and its weight the softmax over the bag; without the
    gate, ``w . tanh(V h + b)``. The mean is `jaxpool.global_avg_pool` with these weights. The
    parameters `hidden_kernel` and `hidden_bias` are V and b, `gate_kernel` and `gate_bias` U and c,
    and `logits_kernel` is w; kernels begin as Glorot and Bengio's, biases as 0. A bias of logits
    would change no softmax.

    Args:
      hidden_features: number of rows of V and U.
      gated: whether there is a gate.
      branches: number of sets of weights, each with a w of its own. Their means follow one another
        along the channels.
      axes: the axes of instances, an int or several, but not the last, which is channels.
      keepdims: whether pooled axes stay, with size 1.
      empty_value: value of bags in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Ilse, Tomczak and Welling, Attention-based deep multiple instance learning, 2018.
      <https://arxiv.org/abs/1802.04712>
    """

    hidden_features: int
    _: dataclasses.KW_ONLY
    gated: bool = True
    branches: int = 1
    axes: Ints = -2
    keepdims: bool = False
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _own = ("features", "param_dtype", "hidden_features", "branches", "axes", "gated")

    def _first(self, channels: int) -> dict[str, Any]:
        hidden, zero = self.hidden_features, constant(0)
        first: dict[str, Any] = {}
        for name in ("hidden", "gate") if self.gated else ("hidden",):
            first[f"{name}_kernel"] = ((channels, hidden), _glorot)
            first[f"{name}_bias"] = ((hidden,), zero)
        return first | {"logits_kernel": ((hidden, self.branches), _glorot)}

    @staticmethod
    def _pooled(
        op: str,
        x: jax.Array,
        where: Any,
        parameters: Parameters,
        axes: tuple[int, ...],
        with_weights: bool,
        options: dict[str, Any],
    ) -> tuple[jax.Array, jax.Array | None]:
        valid = valid_elements(op, where, x, axes)
        h = network_input(x, valid)
        hidden = _affine(h, parameters, "hidden", jnp.tanh)
        if "gate_kernel" in parameters:
            hidden = hidden * _affine(h, parameters, "gate", jax.nn.sigmoid)
        logits = dense(hidden, parameters["logits_kernel"])
        y = _means(op, x, logits, valid, axes, options)
        y = y.reshape(*y.shape[:-2], y.shape[-2] * y.shape[-1])
        return y, jax.nn.softmax(logits, axes, valid_positions(valid)) if with_weights else None


@layer
class TokenLearner(OfPositions):
    """TokenLearner 1.1: a few tokens, each a mean of all positions under weights of its own.

    For maps of shape ``[..., positions, channels]``, to ``[..., tokens, channels]``. The logits of
    a position, one for each token, are those of a layer normalization, a dense layer, a GELU (by a
    tanh) and a dense layer, and weights their softmax over positions. Means are
    `jaxpool.global_avg_pool` with these weights. The parameters are `norm_scale`, `norm_bias`,
    `hidden_kernel`, `hidden_bias` and `logits_kernel`; kernels begin as Glorot and Bengio's, and
    biases as 0 or near it. A bias of logits would change no softmax. There is no dropout.

    Args:
      num_tokens: number of tokens.
      hidden_features: number of features between the dense layers.
      axes: the axes of positions, an int or several, ``(-3, -2)`` for images, but not the last,
        which is channels.
      empty_value: value of tokens of a map in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Ryoo et al., TokenLearner: what can 8 learned tokens do for images and videos?, 2021.
      <https://arxiv.org/abs/2106.11297>
    """

    num_tokens: int
    _: dataclasses.KW_ONLY
    hidden_features: int = 64
    axes: Ints = -2
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _own = ("features", "param_dtype", "hidden_features", "num_tokens", "axes")

    def _first(self, channels: int) -> dict[str, Any]:
        hidden = self.hidden_features
        return {
            "norm_scale": ((channels,), constant(1)),
            "norm_bias": ((channels,), constant(0)),
            "hidden_kernel": ((channels, hidden), _glorot),
            "hidden_bias": ((hidden,), jax.nn.initializers.normal(1e-6)),
            "logits_kernel": ((hidden, self.num_tokens), _glorot),
        }

    @staticmethod
    def _pooled(
        op: str,
        x: jax.Array,
        where: Any,
        parameters: Parameters,
        axes: tuple[int, ...],
        with_weights: bool,
        options: dict[str, Any],
    ) -> tuple[jax.Array, jax.Array | None]:
        valid = valid_elements(op, where, x, axes)
        scale, bias = parameters["norm_scale"], parameters["norm_bias"]
        h = layer_norm(network_input(x, valid), scale, bias, 1e-6)
        logits = dense(_affine(h, parameters, "hidden", gelu), parameters["logits_kernel"])
        y = _means(op, x, logits, valid, axes, options)
        return y, jax.nn.softmax(logits, axes, valid_positions(valid)) if with_weights else None


def _affine(x: jax.Array, parameters: Parameters, name: str, activation: Any) -> jax.Array:
    """A dense layer with a bias, and what comes after it."""
    return activation(dense(x, parameters[f"{name}_kernel"], parameters[f"{name}_bias"]))


def _means(
    op: str,
    x: jax.Array,
    logits: jax.Array,
    valid: jax.Array | None,
    axes: tuple[int, ...],
    options: dict[str, Any],
) -> jax.Array:
    """The means of x, one for each set of logits, which are an axis just before the channels."""
    keepdims, empty_value = options.get("keepdims", False), options["empty_value"]
    if valid is None or valid.shape[-1] == 1:
        dtype = Mean().output_dtype(x.dtype)
        scalar_for(op, empty_value, dtype)
        weights = jax.nn.softmax(logits, axes, valid)
        means = weighted_means(network_input(x, valid), weights, axes).astype(dtype)
        if valid is not None:
            means = filled(means, jnp.any(valid, axes, keepdims=True)[..., None], empty_value)
        return means if keepdims else jax.lax.squeeze(means, axes)
    # Of several masks, each channel has weights of its own.
    weights = jax.nn.softmax(logits[..., None], axes, valid[..., None, :])
    several = jnp.broadcast_to(x[..., None, :], (*logits.shape, x.shape[-1]))
    return global_pool(op, several, Mean(), axes, keepdims, weights, empty_value)


@layer
class UniversalPool(LearnedPool, WindowPool):
    """Universal pooling: a mean whose weights a small network makes of the whole window.

    The weights of a window's n elements are the softmax of the n logits of a network with one layer
    of rectified hidden features, applied to each channel by itself; with other parameters it is the
    mean, nearly the maximum, or any one element. Its parameters `hidden_kernel`, of shape
    ``(hidden_features, *window_shape)``, `hidden_bias`, ``(hidden_features,)``, `logits_kernel`,
    as the first, and `logits_bias`, of the window's shape, have an entry for each channel, last, if
    `features` says how many there are. Hidden kernels begin as Glorot and Bengio's, all else as 0,
    so that the layer begins as the mean, without padding: `jaxpool.avg_pool` with
    ``count_include_pad=False``.

    Args:
      window_shape: as in `jaxpool.avg_pool`, like all other fields that are not listed here.
      hidden_features: number of hidden features.
      features: number of channels, each with a network of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      param_dtype: dtype of the parameters.

    References:
      Hyun, Seong and Kim, Universal pooling: a new pooling method for convolutional neural
      networks, 2019. <https://arxiv.org/abs/1907.11440>
    """

    _: dataclasses.KW_ONLY
    hidden_features: int = 8

    _own = (*LearnedPool._own, "hidden_features")
    _filters = ("hidden_kernel", "logits_kernel", "logits_bias")
    _starts_at_random = True

    @staticmethod
    def _function(x: jax.Array, *, where: Any, **given: Any) -> jax.Array:
        names = ("hidden_kernel", "hidden_bias", "logits_kernel", "logits_bias")
        parameters = tuple(given.pop(name) for name in names)
        given["empty_value"] = known(given["empty_value"])
        return as_one_program(_universal, x, where, parameters, given)

    def _first(self) -> dict[str, Any]:
        hidden, window, zero = self.hidden_features, window_sizes(self), constant(0)
        return {
            "hidden_kernel": ((hidden, *window), glorot_of_windows(window, hidden)),
            "hidden_bias": ((hidden,), zero),
            "logits_kernel": ((hidden, *window), zero),
            "logits_bias": (window, zero),
        }


def _universal(x: Any, where: Any, parameters: Any, options: dict[str, Any]) -> jax.Array:
    op, x = "UniversalPool", jnp.asarray(x)
    names = ("window_shape", "strides", "padding", "dilation", "ceil_mode", "axes")
    arguments = window_arguments(op, *(options[name] for name in names))
    sizes, axes = arguments["window_shape"], arguments["axes"]
    hidden_kernel, hidden_bias, logits_kernel, logits_bias = parameters
    hidden_kernel, logits_kernel = (
        kernel(op, name, value, sizes, axes, x.shape, several=True)
        for name, value in (("hidden_kernel", hidden_kernel), ("logits_kernel", logits_kernel))
    )
    logits_bias = kernel(op, "logits_bias", logits_bias, sizes, axes, x.shape)
    ones = (1,) * (x.ndim + 1 - hidden_bias.ndim)
    hidden_bias = hidden_bias.reshape(hidden_bias.shape[0], *ones, *hidden_bias.shape[1:])
    reduction = Universal(hidden_kernel, hidden_bias, logits_kernel, logits_bias)
    return run(op, x, Window(**arguments), reduction, where, options["empty_value"])
