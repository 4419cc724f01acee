"""What can be known of a layer's arguments before its first call, checked in the layer's name."""

from typing import Any

import jax
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.domains.window import window_arguments
from jaxpool._src.filters.wavelet import check_wavelet
from jaxpool._src.layers.fields import kinds_of, op_of
from jaxpool._src.layers.parameters import heads_divide, predicted_sizes
from jaxpool._src.pools.polyphase import exponent


def check(layer: Any, *, begins: bool = False) -> None:
    """Checks the fields of a layer that is being made, with its parameters if it `begins`."""
    op, kinds = op_of(layer), kinds_of(layer)
    given = {name: getattr(layer, name) for name in kinds}
    _check_called(op, given)
    known = "groups" in given or (begins and getattr(layer, "_of_channels", False))
    _check_learned(op, given, known)
    _check_geometry(op, given, getattr(layer, "_in_space", False))
    _check_attention(op, given)
    if "groups" in given:
        predicted_sizes(layer)
    if "wavelet" in given:
        options = (given[n] for n in ("wavelet", "mode", "levels", "bands", "normalize"))
        check_wavelet(op, *options)
    if "norm" in given:
        exponent(op, given["norm"])
    if "temperature" in given:
        parameters.positive(op, "temperature", given["temperature"])
    for name, kind in kinds.items():
        arguments.of_kind(op, name, given[name], kind)


def _check_called(op: str, given: dict[str, Any]) -> None:
    """Says what to write where a layer is made of what it should be called with."""
    name, value = next(iter(given.items()), ("", None))
    if name not in ("window_shape", "axes", "output_shape", "levels", "strides"):
        return
    if isinstance(value, jax.Array | np.ndarray) and value.ndim > 1:
        raise TypeError(
            f"{op}: `{name}` must be ints; got an array of shape {value.shape}. A layer is made, "
            f"and then called: write {op}({name}=...)(x)."
        )


def _check_geometry(op: str, given: dict[str, Any], in_space: bool) -> None:
    """Checks where cells lie."""
    get, n = given.get, 1
    if "window_shape" in given and "output_ratio" not in given:
        more = (get("padding", "VALID"), get("dilation", 1), get("ceil_mode", False), get("axes"))
        more += (get("footprint"),)
        n = len(window_arguments(op, get("window_shape"), get("strides"), *more)["axes"])
    elif "strides" in given and "groups" not in given:
        n = len(arguments.window_axes(op, get("strides"), get("axes"), "strides")[1])
    elif "crop_size" in given:
        arguments.ints(op, "crop_size", get("crop_size"), 2, 1)
    elif "spatial_scale" in given or "spatial_scales" in given:
        cells = arguments.entries(get("output_shape")) or ()
        rank = 3 if in_space and len(cells) == 3 else 2
        arguments.ints(op, "output_shape", get("output_shape"), rank, 1)
    elif "output_shape" in given and "output_ratio" not in given:
        sizes, _ = arguments.sizes_and_axes(op, "output_shape", get("output_shape"), get("axes"))
        if "minimum_shape" in given:
            arguments.ints(op, "minimum_shape", get("minimum_shape"), len(sizes), 1)
    elif get("axes") is not None or "keepdims" in given:
        arguments.axis_numbers(op, get("axes"))
    if "filter_size" in given and "param_dtype" in given:  # one for all axes
        parameters.size(op, "filter_size", get("filter_size"))
    elif "filter_size" in given:
        arguments.ints(op, "filter_size", get("filter_size"), n, 1)


def _check_learned(op: str, given: dict[str, Any], known: bool) -> None:
    """Checks what parameters are made of, which are `known` by now to be of `features`."""
    if "param_dtype" in given:
        parameters.float_dtype(op, "param_dtype", given["param_dtype"])
        features = given.get("features")
        if known or features is not None:
            allowed = "be an int >= 1" + ("" if known else ", or None")
            parameters.size(op, "features", features, allowed)
    if "init_value" in given:
        parameters.finite_number(op, "init_value", given["init_value"])
    if "clusters" in given:
        parameters.size(op, "clusters", given["clusters"])
        parameters.size(op, "ghosts", given.get("ghosts", 0), "be an int >= 0", least=0)
        parameters.positive_number(op, "alpha", given["alpha"])
    for name in ("hidden_features", "branches", "num_tokens"):
        if name in given:
            parameters.size(op, name, given[name])
    if "momentum" in given:
        parameters.fraction(op, "momentum", given["momentum"], scalar=True)
    if "depth" in given:
        parameters.size(op, "depth", given["depth"], "be at least 1")
    if "beta_shape" in given:
        parameters.shape(op, "beta_shape", given["beta_shape"])


def _check_attention(op: str, given: dict[str, Any]) -> None:
    """Checks heads and what they are made of, and that these divide the channels, if known."""
    for name in ("num_heads", "num_probes", "num_seeds"):
        if name in given:
            parameters.size(op, name, given[name])
    for name, least in (("output_dim", 1), ("mlp_dim", 0)):
        if given.get(name) is not None:
            allowed = f"be an int >= {least}, or None"
            parameters.size(op, name, given[name], allowed, least=least)
    if "num_heads" in given:
        if "axes" in given:
            arguments.axis_numbers(op, given["axes"])
        if given.get("features") is not None:
            heads_divide(op, given["num_heads"], given["features"])
    if "spatial_shape" in given:
        arguments.ints(op, "spatial_shape", given["spatial_shape"], 2, 1)
    if "mlp_ratio" in given or "layer_norm" in given:
        parameters.positive_number(op, "epsilon", given["epsilon"])
    for name in ("mlp_ratio", "gamma"):
        if given.get(name) is not None:
            parameters.positive_number(op, name, given[name])
