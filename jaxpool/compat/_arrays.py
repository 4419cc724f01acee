"""Calls of `_calls` on arrays whose channels come first."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.core import arguments
from jaxpool._src.core.pool import accumulator
from jaxpool._src.core.program import as_one_program
from jaxpool.compat._calls import Call


def pooled(call: Call, x: jax.Array, rank: int, *more: Any) -> Any:
    """The call, of arrays whose last axes are pooled."""
    return getattr(jaxpool, call.function)(x, *more, axes=tuple(range(-rank, 0)), **call.options)


def norm(op: str, call: Call, x: jax.Array, rank: int) -> jax.Array:
    """Norms; in ceil mode as if the rest of a window that reaches beyond x were like what is there.

    PyTorch multiplies the mean of powers by the size of a whole window.
    """
    if not call.options["ceil_mode"]:
        return pooled(call, x, rank)
    jaxpool.Window(*_window(call), ceil_mode=True, axes=tuple(range(-rank, 0))).check(op, x.shape)
    p = call.options["p"]
    return as_one_program(_rescaled_norm, {**call.options, "p": arguments.known(p)}, x, rank)


def _rescaled_norm(options: dict[str, Any], x: jax.Array, rank: int) -> jax.Array:
    call = Call("lp_pool", options)
    y = pooled(call, x, rank)
    window = jaxpool.Window(*_window(call), ceil_mode=True, axes=tuple(range(-rank, 0)))
    dtype = accumulator(y.dtype)
    whole = np.array(np.prod(options["window_shape"]), dtype)
    missing = whole / window.count(x.shape).astype(dtype)
    root = np.array(1, dtype) / jnp.asarray(options["p"]).astype(dtype)
    return (y.astype(dtype) * missing**root).astype(y.dtype)


def _window(call: Call) -> tuple[Any, Any]:
    return call.options["window_shape"], call.options["strides"]


def adaptive(call: Call, x: jax.Array, rank: int) -> Any:
    """Bins, of which there may be none."""
    sizes = call.options["output_shape"]
    if 0 not in sizes:
        return pooled(call, x, rank)
    kept = zip(sizes, x.shape[-rank:], strict=True)
    shape = (*x.shape[:-rank], *(n if size is None else size for size, n in kept))
    integral = "avg" in call.function and not jnp.issubdtype(x.dtype, jnp.floating)
    none = jnp.zeros(shape, np.float32 if integral else x.dtype)
    return (none, jnp.zeros(shape, np.int32)) if call.function.endswith("argmax") else none


def fractional(op: str, call: Call, x: jax.Array, rank: int, samples: Any, key: Any) -> Any:
    """Windows at places that `samples` or a key say."""
    if samples is None:
        if key is None:
            hint = "PyTorch draws from a state; write key=jax.random.key(0), and another each time."
            arguments.fail(op, "key", "be given, or `_random_samples`", key, hint=hint)
        return pooled(call._replace(options={**call.options, "key": key}), x, rank)
    planes_of_x = x.shape[:-rank]
    wanted = (*(1,) * (2 - len(planes_of_x)), *planes_of_x, rank)
    if getattr(samples, "shape", None) != wanted:
        raise ValueError(
            f"{op}: `_random_samples` must be an array of shape {wanted}, with {rank} numbers for "
            f"each plane; got one of {getattr(samples, 'shape', type(samples).__name__)}."
        )
    samples = samples.reshape((*planes_of_x, rank))
    if rank == 2:  # PyTorch has width and height
        samples = samples[..., ::-1]
    return pooled(call._replace(options={**call.options, "samples": samples}), x, rank)
