"""Parameters of reductions and functions: checked, or refused as `arguments` refuses."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxpool._src.core.arguments import NUMBERS, fail, flag, integer, resolved_axes


def positive_power(op: str, p: Any) -> None:
    """Checks `p` of a norm: a number > 0 (inf allowed), or a scalar array, traced or not."""
    allowed = "be a number > 0 (float('inf') for the maximum of |x|) or a scalar array"
    if isinstance(p, jax.Array | np.ndarray):
        if p.shape != () or not jnp.issubdtype(p.dtype, jnp.number):
            fail(op, "p", allowed, p, error=TypeError)
    elif isinstance(p, bool | np.bool_) or not isinstance(p, NUMBERS):
        fail(op, "p", allowed, p, error=TypeError)
    # In NumPy, since under jit jnp stages the comparison of a concrete array; "not >" refuses NaN.
    if not isinstance(p, Tracer) and not np.asarray(p) > 0:
        fail(op, "p", allowed, p)


def positive(op: str, name: str, value: Any) -> None:
    """Checks `value`: a finite number > 0, or an array of floats that are, traced or not."""
    allowed = "be a finite number > 0, or an array of them"
    if isinstance(value, jax.Array | np.ndarray):
        if not jnp.issubdtype(value.dtype, jnp.floating):
            fail(op, name, allowed, value, error=TypeError)
    elif isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        fail(op, name, allowed, value, error=TypeError)
    if not isinstance(value, Tracer):
        known = np.asarray(value)  # in NumPy, as in `positive_power`
        if not ((known > 0) & (known < np.inf)).all():
            fail(op, name, allowed, value)


def is_number(value: Any) -> bool:
    """Whether `value` is a number and not an array, which may be traced."""
    return isinstance(value, NUMBERS) and not isinstance(value, bool | np.bool_)


def parameter(op: str, name: str, value: Any) -> None:
    """Checks a number, or an array of such, that shapes a mean; infinity is a limit."""
    allowed = "be a number (not NaN) or an array of real numbers"
    if isinstance(value, jax.Array | np.ndarray):
        if not jnp.issubdtype(value.dtype, jnp.number) or jnp.iscomplexobj(value):
            fail(op, name, allowed, value, error=TypeError)
    elif not is_number(value):
        fail(op, name, allowed, value, error=TypeError)
    elif math.isnan(value):
        fail(op, name, allowed, value)


def positive_number(op: str, name: str, value: Any) -> None:
    """Checks a finite number > 0."""
    allowed = "be a finite number > 0"
    if not is_number(value):
        fail(op, name, allowed, value, error=TypeError)
    if not 0 < value < math.inf:
        fail(op, name, allowed, value)


def finite_number(op: str, name: str, value: Any) -> None:
    """Checks a number that is not infinite, and no array."""
    allowed = "be a finite number"
    if not is_number(value):
        fail(op, name, allowed, value, error=TypeError)
    if not math.isfinite(value):
        fail(op, name, allowed, value)


def float_dtype(op: str, name: str, value: Any) -> None:
    """Checks the dtype of what is learned."""
    try:
        fits = value is not None and jnp.issubdtype(jnp.dtype(value), jnp.floating)
    except TypeError:
        fits = False
    if not fits:
        fail(op, name, "be a float dtype, such as jnp.float32", value, error=TypeError)


def size(
    op: str, name: str, value: Any, allowed: str = "be an int >= 1", *, least: int = 1
) -> None:
    """Checks an int that counts something."""
    if integer(op, name, value, allowed) < least:
        fail(op, name, allowed, value)


def shape(op: str, name: str, value: Any) -> None:
    """Checks the shape of a parameter, or None."""
    allowed = "be a sequence of ints >= 1, or None"
    if value is not None and not isinstance(value, list | tuple):
        fail(op, name, allowed, value, error=TypeError)
    if any(integer(op, name, entry, allowed) < 1 for entry in value or ()):
        fail(op, name, allowed, value)


def real_array(op: str, name: str, value: Any) -> None:
    """Checks an array of real numbers."""
    if not isinstance(value, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{op}: `{name}` must be a JAX or NumPy array; got an object of type "
            f"{type(value).__name__}. Write jnp.asarray({name})."
        )
    if not jnp.issubdtype(value.dtype, jnp.number) or jnp.iscomplexobj(value):
        raise TypeError(f"{op}: `{name}` must hold real numbers; got {name}.dtype={value.dtype}.")


def quantile(op: str, q: Any) -> None:
    """Checks `q` of a quantile: a number in [0, 1] that is no array."""
    allowed = "be a number in [0, 1], no array"
    if isinstance(q, bool | np.bool_) or not isinstance(q, NUMBERS):
        fail(op, "q", allowed, q, error=TypeError)
    if not 0 <= q <= 1:
        fail(op, "q", allowed, q)


def count_or_fraction(op: str, name: str, k: Any, minimum: int = 1) -> None:
    """Checks how many elements to take: an int, or a float as a fraction of all."""
    allowed = f"be an int >= {minimum}, or a fraction in (0, 1)"
    if isinstance(k, bool | np.bool_) or not isinstance(k, NUMBERS):
        fail(op, name, allowed, k, error=TypeError)
    if not (0 < k < 1 if isinstance(k, float | np.floating) else k >= minimum):
        fail(op, name, allowed, k)


def rank_weights(op: str, weights: Any) -> None:
    """Checks the weights of ranks: numbers, an array, or a function."""
    allowed = "be numbers, one for each rank from the largest element on, an array, or a function"
    if callable(weights):
        return
    if isinstance(weights, list | tuple):
        fits = bool(weights) and all(
            isinstance(w, NUMBERS) or (isinstance(w, jax.Array) and w.shape == ()) for w in weights
        )
    else:
        fits = isinstance(weights, jax.Array | np.ndarray) and weights.ndim >= 1
        fits = fits and weights.shape[0] > 0 and jnp.issubdtype(weights.dtype, jnp.number)
    if not fits:
        fail(op, "weights", allowed, weights, error=TypeError)


def decay(op: str, value: Any) -> None:
    """Checks the factor between weights: a number in [0, 1], or a scalar array, traced or not."""
    allowed = "be a number in [0, 1] or a scalar array"
    scalar(op, "decay", value, allowed)
    if not isinstance(value, Tracer) and not 0 <= np.asarray(value) <= 1:
        fail(op, "decay", allowed, value)


def scalar(op: str, name: str, value: Any, allowed: str = "be a number or a scalar array") -> None:
    """Checks a number that may be an array, traced or not."""
    if isinstance(value, jax.Array | np.ndarray):
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.number):
            fail(op, name, allowed, value, error=TypeError)
    elif isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        fail(op, name, allowed, value, error=TypeError)


def number_along(op: str, name: str, value: Any, shape: Sequence[Any], axis: int) -> int:
    """How many elements of an axis to keep: an int that the axis has."""
    number = integer(op, name, value, "be an int >= 1")
    size = shape[axis]
    if number < 1 or (isinstance(size, int) and number > size):
        fail(op, name, f"be an int in [1, {size}], the size of axis {axis}", value, shape=shape)
    return number


def divisor(op: str, value: Any) -> None:
    """Checks `divisor_override`: None or a number that can be divided by."""
    if value is None:
        return
    allowed = "be None or a finite number other than 0"
    if isinstance(value, bool | np.bool_) or not isinstance(value, NUMBERS):
        fail(op, "divisor_override", allowed, value, error=TypeError)
    if value == 0 or not math.isfinite(value):
        fail(op, "divisor_override", allowed, value)


def fraction(
    op: str, name: str, value: Any, *, positive: bool = False, scalar: bool = False
) -> None:
    """Checks a number from 0 to 1, or above 0 if `positive`; or a float array, traced or not."""
    numbers = "above 0 and up to 1" if positive else "from 0 to 1"
    allowed = f"be a number {numbers}, or a float {'scalar' if scalar else 'array'}"
    known = _known(op, name, value, allowed, scalar=scalar)
    lowest = known > 0 if positive else known >= 0
    if not (lowest & (known <= 1)).all():
        fail(op, name, allowed, value)


def not_negative(op: str, name: str, value: Any) -> None:
    """Checks a finite number >= 0, or a float array of such, traced or not."""
    allowed = "be a finite number >= 0, or a float array"
    known = _known(op, name, value, allowed)
    if not ((known >= 0) & (known < np.inf)).all():
        fail(op, name, allowed, value)


def _known(op: str, name: str, value: Any, allowed: str, *, scalar: bool = False) -> np.ndarray:
    """What is known of a number or a float array; checks that it is one of these."""
    if isinstance(value, jax.Array | np.ndarray):
        if not jnp.issubdtype(value.dtype, jnp.floating) or (scalar and value.shape):
            fail(op, name, allowed, value, error=TypeError)
    elif not is_number(value):
        fail(op, name, allowed, value, error=TypeError)
    return np.zeros(0) if isinstance(value, Tracer) else np.asarray(value)


class MisfitError(ValueError):
    """A parameter of a reduction does not fit x; `pool` says in whose name it was called."""


class WrongKindError(MisfitError):
    """The elements of x are of a kind that a reduction is not for."""


def spread(name: str, value: Any, result: jax.Array) -> jax.Array:
    """`value`, a number or an array that broadcasts to `result`, in its dtype and rank."""
    array = jnp.asarray(np.asarray(value) if isinstance(value, NUMBERS) else value)
    array = array.astype(result.dtype)
    lead = result.ndim - array.ndim
    fits = lead >= 0 and all(
        n == 1 or n == full
        for n, full in zip(array.shape, result.shape[max(lead, 0) :], strict=True)
    )
    if not fits:
        raise MisfitError(
            f"`{name}` must broadcast to the result; got {name}.shape={array.shape} for a result "
            f"of shape {result.shape}."
        )
    return array.reshape((1,) * lead + array.shape)


def kernel(
    op: str,
    name: str,
    value: Any,
    window_shape: Sequence[int],
    axes: Sequence[int],
    shape: Sequence[Any],
    several: bool = False,
) -> jax.Array:
    """A filter of windows in the rank of x, or `several` along a first axis.

    Given as an array of the window's shape, or as one that lies along the last axes of x.
    """
    if not isinstance(value, jax.Array | np.ndarray) or not jnp.issubdtype(
        value.dtype, jnp.floating
    ):
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{op}: `{name}` must be a float array; got {kind}.")
    axes, rank = resolved_axes(op, tuple(axes), shape), len(shape)
    laid, count = jnp.asarray(value), int(several)
    lead, own = value.shape[:count], value.shape[count:]
    full = [*(1 for _ in range(rank - len(own))), *own]
    if len(own) == len(axes):
        order = sorted(range(len(axes)), key=lambda i: axes[i])
        if order != list(range(len(axes))):
            laid = laid.transpose([*range(count), *(i + count for i in order)])
        sizes = dict(zip(axes, own, strict=True))
        full = [sizes.get(axis, 1) for axis in range(rank)]
    wanted = dict(zip(axes, window_shape, strict=True))
    fits = len(full) == rank and all(
        n == wanted[axis] if axis in wanted else n in (1, shape[axis])
        for axis, n in enumerate(full)
    )
    if not fits or len(lead) < count:
        hint = ", after a first axis for their number" if several else ""
        raise ValueError(
            f"{op}: `{name}` must have the window's shape {tuple(window_shape)}, or lie along the "
            f"last axes of x, with window sizes along pooled axes{hint}; got "
            f"{name}.shape={value.shape} for x.shape={tuple(shape)}."
        )
    return laid.reshape([*lead, *full])


def key(op: str, value: Any, deterministic: Any) -> None:
    """Checks what is drawn with, which is needed unless `deterministic`."""
    if flag(op, "deterministic", deterministic) and value is None:
        return
    if value is None:
        hint = "Write key=jax.random.key(0), or deterministic=True."
        fail(op, "key", "be given unless `deterministic`", value, hint=hint)
    if not isinstance(value, jax.Array | np.ndarray):
        fail(op, "key", "be a key of jax.random", value, error=TypeError)
    is_key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    if not is_key and value.dtype != np.uint32:
        raise TypeError(f"{op}: `key` must be a key of jax.random; got dtype {value.dtype}.")
    single = () if is_key else jax.eval_shape(_raw_key).shape
    if value.shape != single:
        raise ValueError(
            f"{op}: `key` must be a single key; got key.shape={value.shape}. Write key[0], or use "
            "jax.vmap over x and keys."
        )


def _raw_key() -> jax.Array:
    """A key as numbers, whose size depends on how the user lets JAX draw."""
    return jax.random.key_data(jax.random.key(0))
