"""Means and standard deviations of frames, under weights that a network predicts from them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.arguments import Ints, check_array, flag, known
from jaxpool._src.core.parameters import not_negative
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import global_pool
from jaxpool._src.layers.fields import layer, op_of
from jaxpool._src.layers.learned import OfChannels
from jaxpool._src.layers.networks import (
    along_last,
    dense,
    network_input,
    position_axes,
    valid_elements,
    valid_positions,
)
from jaxpool._src.layers.parameters import constant, uniform
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.moments import Std, Variance

Arrays = dict[str, jax.Array]

# What PyTorch and Flax add to the variance of a batch.
_LEAST_VARIANCE = 1e-5


@layer
class AttentiveStatisticsPool(OfChannels):
    """Attentive statistics pooling: weighted means and deviations, with weights for each channel.

    For recordings of shape ``[..., frames, channels]``, to ``[..., 2 * channels]``: means, and
    standard deviations after them, as `jaxpool.stats_pool` computes them with weights. Weights are
    the softmax over frames of ``V tanh(norm(relu(W h + b)))``, or without batch normalization of
    ``V tanh(W h + b)``, where h are the frame's channels and, with `global_context`, plain means
    and deviations of the whole recording after them. The parameters `hidden_kernel` and
    `hidden_bias` are W and b, `scale` and `bias` those of the normalization, and `logits_kernel` is
    V. They begin as PyTorch's do. A bias of logits would change no softmax.

    The normalization has running statistics, not learned, that begin at a mean of 0 and a variance
    of 1: in Linen variables `mean` and `var` of the collection ``batch_stats``, in NNX attributes
    of type ``nnx.BatchStat``. They are used with `use_running_average`, for evaluation. Else, for
    training, statistics are those of all valid frames of the batch, and move the running ones, if
    there is such a frame.

    Args:
      hidden_features: number of rows of W.
      global_context: whether the network sees statistics of the whole recording.
      use_batch_norm: whether hidden features are rectified and normalized.
      use_running_average: whether to normalize by running statistics; a call may say so too, and
        ``eval()`` of an NNX module does.
      momentum: what part of the running statistics stays in each step, from 0 to 1.
      epsilon: the least variance of which a deviation is the root, a number >= 0.
      axes: the axes of frames, an int or several, but not the last, which is channels.
      keepdims: whether pooled axes stay, with size 1.
      empty_value: value of recordings in which nothing takes part.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.

    References:
      Okabe, Koshinaka and Shinoda, Attentive statistics pooling for deep speaker embedding, 2018.
      <https://arxiv.org/abs/1803.10963>

      Desplanques, Thienpondt and Demuynck, ECAPA-TDNN: emphasized channel attention, propagation
      and aggregation in TDNN based speaker verification, 2020. <https://arxiv.org/abs/2005.07143>
    """

    hidden_features: int = 128
    _: dataclasses.KW_ONLY
    global_context: bool = True
    use_batch_norm: bool = True
    use_running_average: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-12
    axes: Ints = -2
    keepdims: bool = False
    empty_value: Any = 0
    features: int | None = None
    param_dtype: Any = jnp.float32

    _starts_at_random = True

    def _first(self, channels: int) -> dict[str, Any]:
        hidden = self.hidden_features
        seen = 3 * channels if self.global_context else channels
        first: dict[str, Any] = {"hidden_kernel": ((seen, hidden), uniform(seen))}
        first["hidden_bias"] = ((hidden,), uniform(seen))
        if self.use_batch_norm:
            first["scale"] = ((hidden,), constant(1))
            first["bias"] = ((hidden,), constant(0))
        return first | {"logits_kernel": ((hidden, channels), uniform(hidden))}

    def _first_running(self) -> dict[str, Any]:
        """For each running statistic its shape and its first value, none without normalization."""
        shape = (self.hidden_features,)
        return {"mean": (shape, 0), "var": (shape, 1)} if self.use_batch_norm else {}

    def _running(self) -> Arrays:
        """The running statistics that the framework keeps."""
        raise NotImplementedError

    def _keep(self, running: Arrays) -> None:
        """Has the framework keep these from now on."""
        raise NotImplementedError

    def __call__(
        self,
        x: jax.Array,
        *,
        where: jax.Array | None = None,
        use_running_average: bool | None = None,
        return_weights: bool = False,
    ) -> Any:
        """The statistics of x; with `return_weights`, a pair of them and of the weights.

        What `where` masks out takes no part, NaN included. Weights are of x's shape; those of a
        channel add up to 1, or are all 0 where nothing is valid.
        """
        op = op_of(self)
        check_array(op, x)
        flag(op, "return_weights", return_weights)
        by_running = self.use_running_average
        if use_running_average is not None:
            by_running = flag(op, "use_running_average", use_running_average)
        not_negative(op, "epsilon", self.epsilon)
        axes = position_axes(self, x)
        parameters, running = self._parameters(x.shape[-1]), self._running()
        options = {
            "axes": axes,
            "keepdims": self.keepdims,
            "empty_value": known(self.empty_value),
            "epsilon": self.epsilon,
            "global_context": self.global_context,
        }
        momentum = None if by_running else self.momentum
        pooled, weights, moved = as_one_program(
            _attentive_statistics, op, x, where, parameters, running, momentum, options
        )
        if running and not by_running:
            self._keep(moved)
        return (pooled, weights) if return_weights else pooled


def _attentive_statistics(
    op: str,
    x: jax.Array,
    where: Any,
    parameters: Arrays,
    running: Arrays,
    momentum: float | None,
    options: dict[str, Any],
) -> tuple[jax.Array, jax.Array, Arrays]:
    """Statistics, weights, and running statistics that are moved unless `momentum` is None."""
    axes, epsilon = options["axes"], options["epsilon"]
    valid = valid_elements(op, where, x, axes)
    frames = network_input(x, valid)
    hidden = _hidden(op, frames, valid, parameters, options)
    if running:
        hidden, running = _normalized(op, jax.nn.relu(hidden), valid, parameters, running, momentum)
    logits = dense(jnp.tanh(hidden), parameters["logits_kernel"])
    weights = jax.nn.softmax(logits, axes, valid)
    rest = (axes, options["keepdims"], weights, options["empty_value"])
    parts = [global_pool(op, x, kind, *rest) for kind in (Mean(), Std(epsilon=epsilon))]
    return jnp.concatenate(parts, -1), weights, running


def _hidden(
    op: str, x: jax.Array, valid: jax.Array | None, parameters: Arrays, options: dict[str, Any]
) -> jax.Array:
    """The first layer, of frames and of what they are a part of."""
    kernel, channels = parameters["hidden_kernel"], x.shape[-1]
    hidden = dense(x, kernel[:channels])
    if options["global_context"]:
        for number, kind in enumerate((Mean(), Std(epsilon=options["epsilon"])), 1):
            whole = global_pool(op, x, kind, options["axes"], True, valid, 0)
            hidden = hidden + dense(whole, kernel[number * channels : (number + 1) * channels])
    return hidden + along_last(parameters["hidden_bias"], hidden)


def _normalized(
    op: str,
    x: jax.Array,
    valid: jax.Array | None,
    parameters: Arrays,
    running: Arrays,
    momentum: float | None,
) -> tuple[jax.Array, Arrays]:
    """Batch normalization, and running statistics as they are afterwards."""
    statistics = running
    if momentum is not None:
        batch, positions = tuple(range(x.ndim - 1)), valid_positions(valid)
        rest = (batch, False, positions, 0)
        statistics = {
            "mean": global_pool(op, x, Mean(), *rest),
            "var": global_pool(op, x, Variance(), *rest),
        }
        seen = np.bool_(True) if positions is None else jnp.any(positions)
        fixed = {name: jax.lax.stop_gradient(statistics[name]) for name in running}
        running = {
            name: jnp.where(
                seen, momentum * old + (1 - momentum) * fixed[name].astype(old.dtype), old
            )
            for name, old in running.items()
        }
    mean, variance = (along_last(statistics[name], x) for name in ("mean", "var"))
    x = (x - mean) * jax.lax.rsqrt(variance + np.array(_LEAST_VARIANCE, x.dtype))
    return x * along_last(parameters["scale"], x) + along_last(parameters["bias"], x), running
