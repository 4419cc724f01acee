"""Parameters of layers, of what other libraries have saved."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.arguments import fail

_OP = "attentive_statistics_variables"
_TDNN = "tdnn.conv.conv."
_NORM = "tdnn.norm.norm."


def attentive_statistics_variables(state: Mapping[str, Any]) -> dict[str, dict[str, jax.Array]]:
    """Variables of `jaxpool.linen.AttentiveStatisticsPool`, of those of SpeechBrain's layer.

    The bias of its last convolution changes no softmax, and is left out. In NNX, entries of both
    collections are attributes of the layer.

    Args:
      state: arrays or tensors of ``AttentiveStatisticsPooling(...).state_dict()``, by their names.

    Returns:
      The collections ``params`` and ``batch_stats``, in float32.

    Raises:
      ValueError: a name is missing, or its array has another number of axes than it should.
    """
    return {
        "params": {
            "hidden_kernel": _kernel(state, f"{_TDNN}weight"),
            "hidden_bias": _vector(state, f"{_TDNN}bias"),
            "scale": _vector(state, f"{_NORM}weight"),
            "bias": _vector(state, f"{_NORM}bias"),
            "logits_kernel": _kernel(state, "conv.conv.weight"),
        },
        "batch_stats": {
            "mean": _vector(state, f"{_NORM}running_mean"),
            "var": _vector(state, f"{_NORM}running_var"),
        },
    }


def _kernel(state: Mapping[str, Any], name: str) -> jax.Array:
    """A convolution of one tap, (out, in, 1), as a matrix (in, out)."""
    value = _array(state, name)
    if value.ndim != 3 or value.shape[2] != 1:
        fail(_OP, "state", f"have a convolution of one tap as {name!r}", value.shape)
    return jnp.asarray(value[..., 0].T)


def _vector(state: Mapping[str, Any], name: str) -> jax.Array:
    value = _array(state, name)
    if value.ndim != 1:
        fail(_OP, "state", f"have a vector as {name!r}", value.shape)
    return jnp.asarray(value)


def _array(state: Mapping[str, Any], name: str) -> np.ndarray:
    if name not in state:
        hint = "Write state={name: value} without a prefix." if len(state) else ""
        fail(_OP, "state", f"have an entry {name!r}", sorted(state), hint=hint)
    value = state[name]
    if hasattr(value, "detach"):  # a tensor, wherever it is and of any dtype
        value = value.detach().cpu().float()
    return np.asarray(value, np.float32)
