"""What heads of attention are made of: projections, normalization, and attention of these."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxpool
from jaxpool._src.core import arguments
from jaxpool._src.core.pool import accumulator, filled, with_zeros
from jaxpool._src.layers import networks
from jaxpool._src.pools.attention import attended_axes, element_mask

Parameters = dict[str, jax.Array]
HIGHEST = lax.Precision.HIGHEST


def product(letters: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """A product of arrays of one dtype, rounded as it says."""
    return jnp.einsum(letters, a, b, precision=HIGHEST)


def dense(x: jax.Array, p: Parameters, name: str) -> jax.Array:
    """The dense layer of that name, which may have no bias."""
    return networks.dense(x, p[f"{name}_kernel"], p.get(f"{name}_bias"))


def normalized(x: jax.Array, p: Parameters, name: str, epsilon: float) -> jax.Array:
    """The layer normalization of that name."""
    return networks.layer_norm(x, p[f"{name}_scale"], p[f"{name}_bias"], epsilon)


def attended(
    x: jax.Array,
    query: jax.Array,
    p: Parameters,
    valid: jax.Array | None,
    *,
    axes: tuple[int, ...],
    num_heads: int,
    scale: float,
) -> jax.Array:
    """Attention of projected queries over the projections `key` and `value` of elements.

    A product of a projected key with a query is one of the element with that query, projected
    back, and a mean of values is the projection of a mean of elements. So for few queries no
    element is projected. The bias of keys then drops out, since it shifts all logits of a query
    alike, and that of values is added once, since weights add up to 1.
    """
    count, channels = query.shape[-2:]
    options: dict[str, Any] = {"axes": axes, "where": valid, "scale": scale}
    if 2 * count * num_heads > channels:
        x = with_zeros(x, valid)  # else kernels would have gradients of what is masked
        key, value = (dense(x, p, name) for name in ("key", "value"))
        return jaxpool.attention_pool(
            x, query, key=key, value=value, num_heads=num_heads, **options
        )
    size = channels // num_heads
    y = jaxpool.attention_pool(x, looking_back(query, p["key_kernel"], num_heads), **options)
    y = y.reshape(*y.shape[:-2], count, num_heads, y.shape[-1])
    kernel = p["value_kernel"].reshape(y.shape[-1], num_heads, size)
    y = product("...qhc,chd->...qhd", y, kernel)
    y = y.reshape(*y.shape[:-2], channels)
    bias = p.get("value_bias")
    return y if bias is None else y + networks.along_last(bias, y)


def looking_back(query: jax.Array, kernel: jax.Array, heads: int) -> jax.Array:
    """For each query and head, what elements are multiplied by to be as projected by `kernel`."""
    *lead, count, channels = query.shape
    query = query.reshape(*lead, count, heads, channels // heads)
    kernel = kernel.reshape(kernel.shape[0], heads, channels // heads)
    query = product("...qhd,chd->...qhc", query, kernel)
    return query.reshape(*lead, count * heads, query.shape[-1])


def over_elements(
    op: str,
    x: Any,
    where: Any,
    p: Parameters,
    axes: Any,
    empty_value: Any,
    compute: Callable[[jax.Array, Parameters, jax.Array | None, tuple[int, ...]], jax.Array],
) -> jax.Array:
    """``compute(x, p, valid, axes)``, of shape (..., queries, channels), in float32 at least.

    What it makes of cells without elements does not matter, but it is finite.
    """
    x = arguments.array(op, x)
    axes = attended_axes(op, axes, x.shape)
    valid = element_mask(op, where, x.shape, axes)
    result = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    arguments.scalar_for(op, empty_value, result)
    dtype = np.result_type(accumulator(x.dtype), *(accumulator(a.dtype) for a in p.values()))
    wide = {name: a.astype(dtype) for name, a in p.items()}
    y = compute(x.astype(dtype), wide, valid, axes).astype(result)
    if valid is None:
        return y
    return filled(y, jnp.any(valid, axes)[..., None], empty_value)


def _squeezed(y: jax.Array) -> jax.Array:
    """Without the axis of queries, if there is one query."""
    return y[..., 0, :] if y.shape[-2] == 1 else y


def probed(op: str, x: Any, where: Any, p: Parameters, options: dict[str, Any]) -> jax.Array:
    """The MAP head: learned queries, and an MLP beside the identity."""
    heads = options["num_heads"]

    def compute(x: jax.Array, p: Any, valid: Any, axes: Any) -> jax.Array:
        query = dense(p["probe"], p, "query")
        scale = 1 / math.sqrt(query.shape[-1] // heads)
        y = attended(x, query, p, valid, axes=axes, num_heads=heads, scale=scale)
        y = dense(y, p, "out")
        if "mlp_in_kernel" not in p:
            return y
        z = dense(normalized(y, p, "norm", options["epsilon"]), p, "mlp_in")
        return y + dense(networks.gelu(z, exact=options["gelu"] == "exact"), p, "mlp_out")

    own = options["axes"], options["empty_value"]
    return _squeezed(over_elements(op, x, where, p, *own, compute))


def seeded(op: str, x: Any, where: Any, p: Parameters, options: dict[str, Any]) -> jax.Array:
    """PMA: projected seeds, to which attention and then a layer of their own are added."""
    heads, epsilon = options["num_heads"], options["epsilon"]

    def compute(x: jax.Array, p: Any, valid: Any, axes: Any) -> jax.Array:
        if "input_kernel" in p:
            x = jax.nn.relu(dense(with_zeros(x, valid), p, "input"))
        query = dense(p["seeds"], p, "query")
        channels = query.shape[-1]
        scale = 1 / math.sqrt(channels // (heads if options["scale"] == "heads" else 1))
        y = attended(x, query, p, valid, axes=axes, num_heads=heads, scale=scale)
        y = y + query.reshape((1,) * (y.ndim - 2) + query.shape)
        if options["layer_norm"]:
            y = normalized(y, p, "attention_norm", epsilon)
        y = y + jax.nn.relu(dense(y, p, "out"))
        return normalized(y, p, "out_norm", epsilon) if options["layer_norm"] else y

    return over_elements(op, x, where, p, options["axes"], options["empty_value"], compute)


def clip(op: str, x: Any, where: Any, p: Parameters, options: dict[str, Any]) -> jax.Array:
    """CLIP's head of images: the mean looks at itself and at all places."""
    if x.ndim < 3:
        raise ValueError(
            f"{op}: `x` must have shape [..., height, width, channels]; got x.shape={x.shape}. "
            "Write x[None]."
        )
    for axis in (x.ndim - 3, x.ndim - 2):
        arguments.known_size(op, x.shape, axis)
    heads = options["num_heads"]

    def compute(x: jax.Array, p: Any, valid: Any, axes: Any) -> jax.Array:
        lead, sizes = x.shape[:-3], x.shape[-3:-1]
        tokens = with_zeros(x, valid).reshape(*lead, sizes[0] * sizes[1], x.shape[-1])
        if valid is not None:
            valid = valid.reshape(*valid.shape[:-3], sizes[0] * sizes[1], 1)
        mean = jaxpool.global_avg_pool(tokens, -2, keepdims=True, where=valid)
        if valid is not None:
            valid = jnp.concatenate([jnp.any(valid, -2, keepdims=True), valid], -2)
        positions = _resampled(p["positions"], options["spatial_shape"], sizes)
        tokens = jnp.concatenate([mean, tokens], -2)
        tokens = tokens + positions.reshape((1,) * len(lead) + positions.shape)
        query = dense(tokens[..., :1, :], p, "query")
        scale = 1 / math.sqrt(query.shape[-1] // heads)
        own = {"axes": -2, "num_heads": heads, "scale": scale}
        return dense(attended(tokens, query, p, valid, **own), p, "out")

    y = over_elements(op, x, where, p, (-3, -2), options["empty_value"], compute)
    return y[..., 0, :]


def _resampled(positions: jax.Array, first: tuple[int, int], sizes: Any) -> jax.Array:
    """Those of the mean and of all places, for an image of other sizes than the `first`."""
    if tuple(first) == tuple(sizes):
        return positions
    grid = positions[1:].reshape(*first, positions.shape[-1])
    grid = jax.image.resize(grid, (*sizes, grid.shape[-1]), "bicubic", precision=HIGHEST)
    return jnp.concatenate([positions[:1], grid.reshape(sizes[0] * sizes[1], -1)])


def simple(op: str, x: Any, where: Any, p: Parameters, options: dict[str, Any]) -> jax.Array:
    """SimPool: the mean looks at what is normalized, of which a power mean is taken."""
    heads, gamma = options["num_heads"], options["gamma"]

    def compute(x: jax.Array, p: Any, valid: Any, axes: Any) -> jax.Array:
        x = with_zeros(x, valid)
        mean = jaxpool.global_avg_pool(x, axes, where=valid)
        query, key = dense(mean[..., None, :], p, "query"), normalized(x, p, "norm", 1e-6)
        size = key.shape[-1] // heads
        value = key
        if gamma is not None:
            parted = key.reshape(*key.shape[:-1], heads, size)
            mask = None if valid is None else valid[..., None]
            everything = (*axes, parted.ndim - 1)
            least = jaxpool.global_min_pool(parted, everything, keepdims=True, where=mask)
            parted = parted - least + np.asarray(1e-6, key.dtype)
            value = jnp.power(with_zeros(parted, mask), gamma).reshape(key.shape)
        own: dict[str, Any] = {"value": value, "scale": 1 / math.sqrt(size), "empty_value": 1}
        if heads == 1:
            query = looking_back(query, p["key_kernel"], 1)
        else:
            own |= {"key": dense(key, p, "key"), "num_heads": heads}
        y = jaxpool.attention_pool(key, query, axes=axes, where=valid, **own)
        return y if gamma is None else jnp.power(y, 1 / gamma)

    own = options["axes"], options["empty_value"]
    return over_elements(op, x, where, p, *own, compute)[..., 0, :]
