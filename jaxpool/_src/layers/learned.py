"""Layers whose parameters are learned: sharpness, exponents, weights and gates."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

import jaxpool
from jaxpool._src.core.arguments import check_array
from jaxpool._src.core.parameters import size
from jaxpool._src.layers.fields import GlobalPool, Pool, WindowPool, layer, op_of
from jaxpool._src.layers.parameters import (
    accurate,
    along_channels,
    along_windows,
    channel_of,
    check_features,
    constant,
    finite_exp,
    noisy_mean,
    pooled_axes,
    uniform,
    window_sizes,
)
from jaxpool._src.reductions.order import ordinal_logits, ordinal_weights
from jaxpool._src.reductions.soft import importance_logits


@layer
class LearnedPool(Pool):
    """Calls `_function` with the fields, and with what it makes of parameters of its own.

    A parameter is one for all channels or, if `features` says how many these are, has an entry for
    each of them, along its last axis.
    """

    _: dataclasses.KW_ONLY
    features: int | None = None
    channel_axis: int = -1
    param_dtype: Any = jnp.float32

    _own = ("features", "channel_axis", "param_dtype")
    _of_channels, _starts_at_random = False, False
    _filters: ClassVar[tuple[str, ...]] = ()  # parameters that lie on windows as x does

    def _first(self) -> dict[str, tuple[tuple[int, ...], Callable[..., jax.Array]]]:
        """For each parameter its shape, without channels, and its initializer."""
        raise NotImplementedError

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        """What the function is given, of parameters that broadcast along the axis of channels."""
        return parameters

    def _laid(self, name: str, parameter: jax.Array, x: jax.Array) -> jax.Array:
        lay = along_windows if name in self._filters else along_channels
        return lay(parameter, self, x)

    @property
    def _channels(self) -> tuple[int, ...]:
        """The axis that a parameter has for channels, if it has one."""
        return () if self.features is None else (self.features,)

    def _parameters(self) -> dict[str, jax.Array]:
        """What the framework keeps: in the shapes of `_first`, with channels."""
        raise NotImplementedError

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        check_array(op_of(self), x)
        parameters = {n: self._laid(n, accurate(p), x) for n, p in self._parameters().items()}
        return self._function(x, where=where, **self._arguments(parameters), **self._options())


@layer
class LearnedGemPool(LearnedPool, WindowPool):
    """GeM with a learned exponent.

    Its parameter is `p`, the function's argument, of shape (features,), or () without
    `features`. Every exponent is a mean, so it is not constrained; negative ones weigh small
    elements more.
    The fields are arguments of `jaxpool.gem_pool`, and

    Args:
      features: number of channels, each with an exponent of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    eps: float = 1e-6
    init_value: float = 3.0

    _function = staticmethod(jaxpool.gem_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"p": ((), constant(self.init_value))}


@layer
class LearnedGlobalGemPool(LearnedPool, GlobalPool):
    """GeM with a learned exponent.

    Its parameter is `p`, the function's argument, of shape (features,), or () without
    `features`. Every exponent is a mean, so it is not constrained; negative ones weigh small
    elements more.
    The fields are arguments of `jaxpool.global_gem_pool`, and

    Args:
      features: number of channels, each with an exponent of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    eps: float = 1e-6
    init_value: float = 3.0

    _function = staticmethod(jaxpool.global_gem_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"p": ((), constant(self.init_value))}


@layer
class LearnedLogsumexpPool(LearnedPool, WindowPool):
    """LSE pooling with a learned sharpness.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones are soft minima.
    The fields are arguments of `jaxpool.logsumexp_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    mean: bool = True
    init_value: float = 10.0

    _function = staticmethod(jaxpool.logsumexp_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), constant(self.init_value))}


@layer
class LearnedGlobalLogsumexpPool(LearnedPool, GlobalPool):
    """LSE pooling with a learned sharpness.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones are soft minima.
    The fields are arguments of `jaxpool.global_logsumexp_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    mean: bool = True
    init_value: float = 10.0

    _function = staticmethod(jaxpool.global_logsumexp_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), constant(self.init_value))}


@layer
class LearnedSoftmaxPool(LearnedPool, WindowPool):
    """AutoPool: a softmax-weighted mean with a learned sharpness, at first the plain mean.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones weigh small elements more.
    The fields are arguments of `jaxpool.softmax_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    gradient: Literal["full", "semi"] = "full"
    init_value: float = 0.0

    _function = staticmethod(jaxpool.softmax_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), constant(self.init_value))}


@layer
class LearnedGlobalSoftmaxPool(LearnedPool, GlobalPool):
    """AutoPool: a softmax-weighted mean with a learned sharpness, at first the plain mean.

    Its parameter is `sharpness`, the function's argument, of shape (features,), or () without
    `features`. It is not constrained: negative ones weigh small elements more.
    The fields are arguments of `jaxpool.global_softmax_pool`, and

    Args:
      features: number of channels, each with a sharpness of its own; None for one for all.
      channel_axis: the axis of the channels in x, no pooled one.
      init_value: number that the parameter begins with.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    gradient: Literal["full", "semi"] = "full"
    init_value: float = 0.0

    _function = staticmethod(jaxpool.global_softmax_pool)
    _own = (*LearnedPool._own, "init_value")

    def _first(self) -> dict[str, Any]:
        return {"sharpness": ((), constant(self.init_value))}


@layer
class OfChannels(Pool):
    """Has parameters for each channel of x, in Linen without being told how many there are."""

    _of_channels, _starts_at_random, _channels = True, False, ()

    def _first(self, channels: int) -> dict[str, Any]:
        """For each parameter its shape and its initializer."""
        raise NotImplementedError

    def _parameters(self, channels: int) -> dict[str, jax.Array]:
        """What the framework keeps: in the shapes of `_first`."""
        raise NotImplementedError


@layer
class LearnedImportancePool(OfChannels):
    """Local importance pooling (LIP): a mean whose weights a small network predicts.

    The network is the paper's simplified one, over channels that are last: a convolution of 3
    elements along each axis, instance normalization, and 12 times a sigmoid, to logits for
    `jaxpool.importance_pool`. Its parameters are `kernel`, which begins as 0, so that the layer
    begins as the average, `scale` and `bias`. The fields are arguments of the function, and

    Args:
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.
    """

    _own = ("features", "param_dtype")

    def _first(self, channels: int) -> dict[str, Any]:
        layer: Any = self
        shape, one = (*(3 for _ in layer.window_shape), channels, channels), (channels,)
        zero = constant(0)
        return {"kernel": (shape, zero), "scale": (one, constant(1)), "bias": (one, zero)}

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        check_array(op_of(self), x)
        check_features(self, x, -1)
        logits = importance_logits(x, **self._parameters(x.shape[-1]), where=where)
        return jaxpool.importance_pool(x, logits, where=where, **self._options())


@layer
class OrdinalPool(OfChannels, WindowPool):
    """Ordinal pooling with learned weights: `jaxpool.rank_pool` of a softmax over ranks.

    Each channel has the parameter `logits`, one number for each rank of a window, of which the
    softmax is the weights: none is negative, and they add up to 1.

    Args:
      window_shape: as in `jaxpool.rank_pool`, like all other fields that are not listed here.
      initial: "mean", for equal weights, or "max", for a window's maximum to have nearly all.
      features: number of channels, which only NNX needs to be told.
      channel_axis: the axis of the channels in x, no pooled one.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    initial: Literal["mean", "max"] = "mean"
    features: int | None = None
    channel_axis: int = -1
    param_dtype: Any = jnp.float32

    _own = ("initial", "features", "channel_axis", "param_dtype")

    def _first(self, channels: int) -> dict[str, Any]:
        first = ordinal_logits(self.window_shape, self.axes, channels, self.initial)
        return {"logits": (first.shape, constant(first))}

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in `jaxpool.rank_pool`."""
        check_array(op_of(self), x)
        channel = channel_of(self, x, pooled_axes(self, x))
        logits = self._parameters(x.shape[channel])["logits"]
        weights = ordinal_weights(logits, channel, x.ndim)
        return jaxpool.rank_pool(x, where=where, weights=weights, **self._options())


@layer
class LearnedFeaturewiseSortPool(OfChannels):
    """`jaxpool.featurewise_sort_pool` of sets, with learned weights for each channel.

    Its parameter is `weights`, the function's argument, of shape (knots, features). It begins with
    normal numbers, as in the paper.

    Args:
      knots: how many weights a channel has, from that of the largest element to that of the
        smallest. Default: the ends of the paper's 20 pieces.
      axis: the axis of the elements, as in the function.
      empty_value: value of cells in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameter.
    """

    _: dataclasses.KW_ONLY
    knots: int = 21
    axis: int = -2
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _starts_at_random = True
    _own = ("knots", "features", "param_dtype")

    def _first(self, channels: int) -> dict[str, Any]:
        size(op_of(self), "knots", self.knots)
        return {"weights": ((self.knots, channels), jax.nn.initializers.normal(1.0))}

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The pooled x; `where` masks as in the function."""
        check_array(op_of(self), x)
        check_features(self, x, -1)
        weights = accurate(self._parameters(x.shape[-1])["weights"])
        return jaxpool.featurewise_sort_pool(x, weights, where=where, **self._options())


@layer
class LearnedMixedPool(LearnedPool, WindowPool):
    """`jaxpool.mixed_pool` with an `alpha` that is learned, as the sigmoid of a parameter.

    The parameter `alpha` is one number, or one for each channel if `features` says how many of
    these `channel_axis` has. It starts at 0, from where `alpha` is a half.
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.mixed_pool)

    def _first(self) -> dict[str, Any]:
        return {"alpha": ((), constant(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"alpha": jax.nn.sigmoid(parameters["alpha"])}


@layer
class LearnedGatedPool(LearnedPool, WindowPool):
    """`jaxpool.gated_pool` with a `gate` that is learned.

    The parameter `gate` has the window's shape, and an entry for each channel if `features` says
    how many of these `channel_axis` has. It starts at 0, from where maximum and mean have one half
    each.
    """

    _: dataclasses.KW_ONLY
    count_include_pad: bool = True

    _function = staticmethod(jaxpool.gated_pool)
    _filters = ("gate",)

    def _first(self) -> dict[str, Any]:
        return {"gate": (window_sizes(self), constant(0))}


@layer
class LearnedTreePool(LearnedPool, WindowPool):
    """`jaxpool.tree_pool` with `leaves` and `gates` that are learned.

    The parameters are filters of the window's shape, with an entry for each channel if `features`
    says how many of these `channel_axis` has; of n elements, leaves start as ``1/n`` with as much
    normal noise, since equal leaves would learn alike, and gates at 0. A tree of `depth` levels
    has ``2**(depth - 1)`` leaves.
    """

    _own = (*LearnedPool._own, "depth")

    _: dataclasses.KW_ONLY
    depth: int = 2

    _function = staticmethod(jaxpool.tree_pool)
    _filters = ("leaves", "gates")
    _starts_at_random = True

    def _first(self) -> dict[str, Any]:
        leaves, window = 2 ** (self.depth - 1), window_sizes(self)
        return {
            "leaves": ((leaves, *window), noisy_mean(window)),
            "gates": ((leaves - 1, *window), constant(0)),
        }


@layer
class LearnedAdaPool(LearnedPool, WindowPool):
    """`jaxpool.ada_pool` with a `beta` that is learned, as the sigmoid of a parameter.

    The parameter `beta` has the shape `beta_shape`, which broadcasts to the result, for example
    ``(height, width, 1)`` for each place, or one number for each channel if `features` says how
    many of these `channel_axis` has. It starts at 0, from where `beta` is a half.
    """

    _own = (*LearnedPool._own, "beta_shape")

    _: dataclasses.KW_ONLY
    beta_shape: Sequence[int] | None = None

    _function = staticmethod(jaxpool.ada_pool)

    def _first(self) -> dict[str, Any]:
        return {"beta": (tuple(self.beta_shape or ()), constant(0))}

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {"beta": jax.nn.sigmoid(parameters["beta"])}

    @property
    def _channels(self) -> tuple[int, ...]:
        return super()._channels if self.beta_shape is None else ()


@layer
class LearnedDetailPreservingPool(LearnedPool, WindowPool):
    """`jaxpool.detail_preserving_pool` with learned `alpha` and `lam`, exponentials of parameters.

    The parameters `alpha` and `lam` are one number each, or one for each channel if `features` says
    how many of these, C, `channel_axis` has. They start uniform in ``-1/sqrt(C) .. 1/sqrt(C)``. If
    `full`, there is a parameter `kernel` too, of the window's shape, which starts as a mean.
    """

    _own = (*LearnedPool._own, "full")

    _: dataclasses.KW_ONLY
    symmetric: bool = True
    full: bool = False

    _function = staticmethod(jaxpool.detail_preserving_pool)
    _filters = ("kernel",)
    _starts_at_random = True

    def _first(self) -> dict[str, Any]:
        start, window = uniform(self.features or 1), window_sizes(self)
        first: dict[str, Any] = {"alpha": ((), start), "lam": ((), start)}
        if self.full:
            first["kernel"] = (window, constant(1 / math.prod(window)))
        return first

    def _arguments(self, parameters: dict[str, jax.Array]) -> dict[str, Any]:
        return {n: p if n == "kernel" else finite_exp(p) for n, p in parameters.items()}
