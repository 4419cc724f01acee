"""Variables of layers from trained modules of PyTorch, which is not imported."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import jax.numpy as jnp
import numpy as np

from jaxpool._src.core.arguments import fail
from jaxpool._src.layers.fields import op_of

Entry = tuple[str, Callable[[np.ndarray], np.ndarray]]


@dataclasses.dataclass(frozen=True)
class _Source:
    """A module of PyTorch, known by a key that no other for the same layer has.

    `entries` say for each parameter of the layer, and for each of its running statistics, from
    which key it is read, and how. `unused` are keys of what changes no result. `counts` is a
    parameter and which of its axes is as long as x has channels.
    """

    name: str
    known_by: str
    entries: Mapping[str, Entry]
    unused: tuple[str, ...] = ()
    counts: tuple[str, int] = ("query_kernel", 0)


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _of_one(array: np.ndarray) -> np.ndarray:
    """Without a batch axis of size 1."""
    return array[0] if array.ndim == 3 and len(array) == 1 else array


def _of_one_tap(array: np.ndarray) -> np.ndarray:
    """A convolution of one tap, (outputs, inputs, 1), as a kernel."""
    return array[..., 0].T if array.ndim == 3 and array.shape[2] == 1 else array


def _part(i: int, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """Of what is stacked, one of `n`; kernels here are (inputs, outputs)."""

    def read(array: np.ndarray) -> np.ndarray:
        return np.array_split(array, n)[i].T

    return read


def _linear(ours: str, theirs: str, i: int = 0, n: int = 1) -> dict[str, Entry]:
    """A projection, or one of `n` that are stacked."""
    read = _part(i, n)
    return {f"{ours}_kernel": (f"{theirs}weight", read), f"{ours}_bias": (f"{theirs}bias", read)}


def _norm(ours: str, theirs: str) -> dict[str, Entry]:
    return {f"{ours}_scale": (f"{theirs}.weight", _same), f"{ours}_bias": (f"{theirs}.bias", _same)}


def _stacked(theirs: str, *names: str) -> dict[str, Entry]:
    """Projections whose weights are one array."""
    return {k: e for i, n in enumerate(names) for k, e in _linear(n, theirs, i, len(names)).items()}


_SOURCES: dict[str, tuple[_Source, ...]] = {
    "MultiheadAttentionPool": (
        _Source("AttentionPoolLatent of timm", "latent", {
            "probe": ("latent", _of_one), **_linear("query", "q."),
            **_stacked("kv.", "key", "value"), **_linear("out", "proj."), **_norm("norm", "norm"),
            **_linear("mlp_in", "mlp.fc1."), **_linear("mlp_out", "mlp.fc2."),
        }),
        _Source("torch.nn.MultiheadAttention", "in_proj_weight", {
            "probe": ("probe", _of_one), **_stacked("in_proj_", "query", "key", "value"),
            **_linear("out", "out_proj."),
        }),
    ),
    "AttentionPool2d": (
        _Source("AttentionPool2d of CLIP", "positional_embedding", {
            "positions": ("positional_embedding", _same), **_linear("query", "q_proj."),
            **_linear("key", "k_proj."), **_linear("value", "v_proj."), **_linear("out", "c_proj."),
        }),
        _Source("AttentionPool2d of timm", "qkv.weight", {
            "positions": ("pos_embed", _same), **_stacked("qkv.", "query", "key", "value"),
            **_linear("out", "proj."),
        }),
        _Source("AttentionPool2d of timm", "q.weight", {
            "positions": ("pos_embed", _same), **_linear("query", "q."), **_linear("key", "k."),
            **_linear("value", "v."), **_linear("out", "proj."),
        }),
    ),
    "AttentiveStatisticsPool": (
        _Source("AttentiveStatisticsPooling of SpeechBrain", "tdnn.conv.conv.weight", {
            "hidden_kernel": ("tdnn.conv.conv.weight", _of_one_tap),
            "hidden_bias": ("tdnn.conv.conv.bias", _same),
            "scale": ("tdnn.norm.norm.weight", _same), "bias": ("tdnn.norm.norm.bias", _same),
            "logits_kernel": ("conv.conv.weight", _of_one_tap),
            "mean": ("tdnn.norm.norm.running_mean", _same),
            "var": ("tdnn.norm.norm.running_var", _same),
        }, ("conv.conv.bias", "tdnn.norm.norm.num_batches_tracked"), ("logits_kernel", 1)),
    ),
}  # fmt: skip


def from_torch_state(layer: Any, state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a layer from the ``state_dict()`` of a module of PyTorch.

    These layers are known, and the modules that they stand for:

    - `MultiheadAttentionPool`: `AttentionPoolLatent` of timm; with ``mlp_dim=0`` also
      `torch.nn.MultiheadAttention`, with the queries for it under ``"probe"``;
    - `AttentionPool2d`: that of CLIP, and that of timm;
    - `AttentiveStatisticsPool`: `AttentiveStatisticsPooling` of SpeechBrain, with the statistics of
      its batch normalization; the bias of its last convolution changes no softmax, and is not used.

    Args:
      layer: a layer of `jaxpool.linen` or `jaxpool.nnx`, made with the options of the module: the
        number of heads and, if it has one, the epsilon of its normalization and the form of its
        GELU, which no state has.
      state_dict: tensors, or NumPy's arrays, by the module's own names, without a prefix.

    Returns:
      For Linen the variables, ``layer.apply(variables, x)``: a dict of "params" and, where there
      are running statistics, "batch_stats". For NNX one dict of all by name, which a layer takes by
      ``nnx.update(layer, variables)``. All have the layer's `param_dtype`.

    Raises:
      ValueError: a key is missing or unknown, or an array has not the shape that the layer needs.
      TypeError: the layer is none of these, or `state_dict` is no mapping.

    Example:
      >>> import jaxpool.interop, jaxpool.linen
      >>> layer = jaxpool.linen.MultiheadAttentionPool(2, mlp_dim=0)
      >>> state = {  # of torch.nn.MultiheadAttention(2, 2), and queries of your own
      ...     "in_proj_weight": np.ones((6, 2)), "in_proj_bias": np.zeros(6),
      ...     "out_proj.weight": np.eye(2), "out_proj.bias": np.zeros(2), "probe": np.ones((1, 2))}
      >>> variables = jaxpool.interop.from_torch_state(layer, state)
      >>> layer.apply(variables, jnp.array([[1., 2.], [1., 2.]]))
      Array([3., 3.], dtype=float32)
    """
    op = "from_torch_state"
    sources = _SOURCES.get(op_of(layer))
    if sources is None:
        allowed = f"be one of the layers {', '.join(_SOURCES)}"
        fail(op, "layer", allowed, layer, error=TypeError)
    if not isinstance(state_dict, Mapping):
        allowed = "be a mapping of names to arrays"
        hint = "Write module.state_dict()."
        fail(op, "state_dict", allowed, state_dict, hint=hint, error=TypeError)
    source = next((s for s in sources if s.known_by in state_dict), None)
    if source is None:
        _refuse(f"have a key of {' or '.join(repr(s.known_by) for s in sources)}", state_dict)
    ours: Any = layer
    wanted = _shapes(ours, source, state_dict)
    if lacking := [name for name in wanted if name not in source.entries]:
        _refuse(f"have {', '.join(lacking)}, which {source.name} has not", state_dict)
    keys = {source.entries[name][0]: None for name in wanted}
    for what, names in (
        ("have", [k for k in keys if k not in state_dict]),
        ("not have", [k for k in state_dict if k not in keys and k not in source.unused]),
    ):
        if names:
            _refuse(f"{what} {', '.join(map(repr, names))} for {source.name}", state_dict)
    found = {}
    for name, shape in wanted.items():
        key, read = source.entries[name]
        array = _array(state_dict[key])
        value = read(array)
        if value.shape != shape:
            raise ValueError(
                f"{op}: `{key}` must give `{name}` of shape {shape}; got {key}.shape={array.shape}."
            )
        found[name] = jnp.asarray(value, ours.param_dtype)
    if not hasattr(layer, "apply"):  # as modules of Linen have
        return found
    running = {name: found.pop(name) for name in _running(ours)}
    return {"params": found, **({"batch_stats": running} if running else {})}


def _running(layer: Any) -> dict[str, Any]:
    """The running statistics of a layer, as it begins with them."""
    return layer._first_running() if hasattr(layer, "_first_running") else {}


def _shapes(layer: Any, source: _Source, state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Of all that the layer has for as many channels as the state is for, if it does not say."""
    name, axis = source.counts
    key, read = source.entries[name]
    channels = layer.features
    if channels is None:
        kernel = read(_array(state[key])) if key in state else np.ones((1, 1))
        channels = kernel.shape[axis] if kernel.ndim == 2 else 1
    first = layer._first(channels) | _running(layer)
    return {name: tuple(shape) for name, (shape, _) in first.items()}


def _refuse(allowed: str, state: Mapping[str, Any]) -> NoReturn:
    raise ValueError(f"from_torch_state: `state_dict` must {allowed}; got the keys {[*state]}.")


def _array(tensor: Any) -> np.ndarray:
    """An array of NumPy's from one, or from a tensor wherever it is."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu()
        # NumPy has no such dtype by itself.
        tensor = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
    return np.asarray(tensor)
