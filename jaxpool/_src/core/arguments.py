"""What users pass: turned into canonical values, or refused with a message that says what to write.

These checks are always on. Nothing below the public functions checks its arguments again.
"""

import math
import operator
import types
from collections.abc import Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jax.core import Tracer

Ints = int | Sequence[int]
Sizes = int | Sequence[int | None]
Padding = str | int | Sequence[int] | Sequence[tuple[int, int]]
_PADDINGS = ("VALID", "SAME", "SAME_LOWER")
NUMBERS = (int, float, np.integer, np.floating)


def fail(
    op: str,
    argument: str,
    allowed: str,
    value: Any,
    *,
    hint: str = "",
    shape: Any = None,
    error: type[Exception] = ValueError,
) -> NoReturn:
    """Raises the one form of message that every function of the library uses."""
    where = "" if shape is None else f" for x.shape={tuple(shape)}"
    advice = f" {hint}" if hint else ""
    raise error(f"{op}: `{argument}` must {allowed}; got {argument}={value!r}{where}.{advice}")


def integer(op: str, name: str, value: Any, allowed: str) -> int:
    """`value` as an int; bools and floats are mistakes, not numbers."""
    if not isinstance(value, bool | np.bool_):
        try:
            return operator.index(value)
        except TypeError:  # of tracers too
            pass
    if isinstance(value, jax.Array):
        _fail_unknown(op, name, value)
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    fail(op, name, allowed, value, hint=f"Write {int(value)}." if whole else "", error=TypeError)


def _fail_unknown(op: str, name: str, value: jax.Array) -> NoReturn:
    """Of a number that is an array of JAX: within a program its value is not known."""
    hint = (
        f"Name it in static_argnames of jax.jit, as static_argnames={name!r}, if it is an argument "
        "of your own function."
        if isinstance(value, Tracer)
        else "Write int(...), or a tuple of ints."
    )
    allowed = "be known while the program is made, since shapes depend on it"
    fail(op, name, allowed, value, hint=hint, error=TypeError)


def length(op: str, name: str, value: Any, allowed: str) -> Any:
    """`value` as an int, or the symbolic dimension that it is."""
    return value if export.is_symbolic_dim(value) else integer(op, name, value, allowed)


def entries(value: Any) -> tuple[Any, ...] | None:
    """The entries of a sequence or of a NumPy array with axes; None of anything else."""
    if isinstance(value, np.ndarray) and value.ndim:
        return tuple(value.tolist())
    return tuple(value) if isinstance(value, list | tuple | range) else None


def plain(value: Any) -> Any:
    """A range or a NumPy array as a tuple, which can be part of what a program is."""
    found = entries(value) if isinstance(value, range | np.ndarray) else None
    return value if found is None else found


def ints(op: str, name: str, value: Any, n: int, minimum: int) -> tuple[int, ...]:
    """`value`, an int or `n` of them, as `n` ints that are at least `minimum`."""
    allowed = f"be an int >= {minimum}, or {n} of them (one per window axis)"
    items = entries(value)
    items = (value,) * n if items is None else items
    if name == "strides" and isinstance(value, str):
        hint = f'Write padding="{value.strip().upper()}".'
        fail(op, name, allowed, value, hint=hint, error=TypeError)
    items = tuple(integer(op, name, item, allowed) for item in items)
    if len(items) != n or any(item < minimum for item in items):
        full = len(items) == n + 2 and items[0] == items[-1] == 1
        hint = f"Write {name}={items[1:-1]}: batch and channels have no entry." if full else ""
        fail(op, name, allowed, value, hint=hint)
    return items


def footprint(op: str, value: Any, sizes: tuple[int, ...]) -> Any:
    """`value`, bools in the shape `sizes`, as nested tuples; None if all are True."""
    if value is None:
        return None
    allowed = f"be an array of bools with the window's shape {sizes}"
    if isinstance(value, Tracer):
        allowed = "be known to the program, since it says which elements are read"
        fail(op, "footprint", allowed, value, hint="Write it with NumPy.", error=TypeError)
    if not isinstance(value, list | tuple | np.ndarray | jax.Array):
        fail(op, "footprint", allowed, value, error=TypeError)
    try:
        bools = np.asarray(value)
    except ValueError:  # rows of several lengths
        fail(op, "footprint", allowed, value)
    if bools.dtype != bool:
        raise TypeError(
            f"{op}: `footprint` must {allowed}; got footprint.dtype={bools.dtype}. Write "
            "np.asarray(footprint).astype(bool)."
        )
    if bools.shape != sizes:
        raise ValueError(
            f"{op}: `footprint` must have the window's shape {sizes}; got footprint.shape="
            f"{bools.shape}."
        )
    if not bools.any():
        raise ValueError(f"{op}: `footprint` must have an element that is True; got none.")
    return None if bools.all() else _nested(bools.tolist())


def _nested(value: Any) -> Any:
    return tuple(map(_nested, value)) if isinstance(value, list) else value


def window_axes(
    op: str, window_shape: Any, axes: Any, name: str = "window_shape"
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The window's shape, or what `name` is, and the pooled axes, as tuples of one length."""
    given = None if axes is None else axis_numbers(op, axes)
    sizes = entries(window_shape)
    if sizes is not None:
        if not sizes:
            fail(op, name, "have at least one entry", window_shape)
        if given is not None and len(given) != len(sizes):
            fail(
                op, "axes", f"name one axis for each of the {len(sizes)} entries of `{name}`", axes
            )
        n = len(sizes)
    elif given is None:
        integer(op, name, window_shape, "be an int or a sequence of ints")
        fail(
            op,
            name,
            "be a sequence when `axes` is not given, since its length says how many axes are "
            "pooled",
            window_shape,
            hint=_hint_of_rank(name, window_shape),
        )
    else:
        n = len(given)
    return ints(op, name, window_shape, n, 1), given or tuple(range(-n - 1, -1))


def _hint_of_rank(name: str, value: Any) -> str:
    return (
        f"Write {name}=({value}, {value}) for 2D pooling, or axes=(-2, -1) if channels come first."
    )


def axis_numbers(op: str, axes: Any) -> tuple[int, ...]:
    """`axes`, an int or several, as a tuple."""
    allowed = "be an int or a sequence of ints, all different"
    items = entries(axes)
    items = (axes,) if items is None else items
    if not items:
        fail(op, "axes", "name at least one axis", axes)
    items = tuple(integer(op, "axes", item, allowed) for item in items)
    if len(set(items)) != len(items):
        fail(op, "axes", allowed, axes)
    return items


def resolved_axes(op: str, axes: tuple[int, ...], shape: Sequence[Any]) -> tuple[int, ...]:
    """`axes` counted from the front of an array of `shape`; all there, all different."""
    ndim = len(shape)
    if any(not -ndim <= axis < ndim for axis in axes):
        fail(
            op,
            "axes",
            f"lie in [{-ndim}, {ndim}) since x has {ndim} axes",
            axes,
            shape=shape,
            hint="Without `axes`, the axes just before the last (channels) are pooled: "
            "name them if x has no channel axis.",
        )
    found = tuple(axis % ndim for axis in axes)
    if len(set(found)) != len(found):
        fail(op, "axes", "name each axis once", axes, shape=shape)
    return found


def axis_of(op: str, axis: Any, shape: Sequence[Any]) -> int:
    """`axis`, an int, counted from the front of an array of `shape`."""
    ndim = len(shape)
    number = integer(op, "axis", axis, "be an int")
    if not -ndim <= number < ndim:
        allowed = f"lie in [{-ndim}, {ndim}) since x has {ndim} axes"
        fail(op, "axis", allowed, axis, shape=shape)
    return number % ndim


def padding(op: str, value: Any, n: int) -> str | tuple[tuple[int, int], ...]:
    """Padding as "VALID", "SAME", "SAME_LOWER" or `n` (low, high) pairs."""
    allowed = (
        f'be "VALID", "SAME", "SAME_LOWER", an int >= 0, {n} of them, or {n} (low, high) pairs '
        "(one per window axis)"
    )
    if isinstance(value, str):
        if value.upper() not in _PADDINGS:
            meant = value.strip().upper().replace("SAME_UPPER", "SAME")
            hint = f'Write padding="{meant}".' if meant in _PADDINGS else ""
            fail(op, "padding", allowed, value, hint=hint)
        return value.upper()
    items = entries(value)
    items = (value,) * n if items is None else items
    hint = ""
    if n == 1 and len(items) == 2 and not any(isinstance(i, list | tuple) for i in items):
        hint = f"Write padding=({tuple(items)},) for low and high padding of the one axis."
    if len(items) != n:
        fail(op, "padding", allowed, value, hint=hint)
    pairs = []
    for item in items:
        pair = entries(item) or (item, item)
        pair = tuple(integer(op, "padding", p, allowed) for p in pair)
        if len(pair) != 2 or min(pair) < 0:
            fail(op, "padding", allowed, value)
        pairs.append(pair)
    return tuple(pairs)


def one_of(op: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Checks that `value` is one of a few names."""
    if not any(
        value is choice or (isinstance(value, str) and value == choice) for choice in choices
    ):
        fail(op, name, f"be one of {choices}", value)


def flag(op: str, name: str, value: Any) -> bool:
    """`value` as a bool; 0 and 1 are refused so that a misplaced number is noticed."""
    if not isinstance(value, bool | np.bool_):
        fail(op, name, "be True or False", value, error=TypeError)
    return bool(value)


def of_kind(op: str, name: str, value: Any, kind: Any) -> None:
    """Checks a bool, an int or one of a few names, if the annotation `kind` says that it is one."""
    if get_origin(kind) in (types.UnionType, Union):
        kinds = [k for k in get_args(kind) if k is not types.NoneType]
        if len(kinds) == 1 and value is not None:
            of_kind(op, name, value, kinds[0])
    elif kind is bool:
        flag(op, name, value)
    elif kind is int:
        integer(op, name, value, "be an int")
    elif get_origin(kind) is Literal:
        one_of(op, name, value, get_args(kind))


def array(op: str, x: Any) -> jax.Array:
    """`x` as a JAX array."""
    check_array(op, x)
    return jnp.asarray(x)


def check_array(op: str, x: Any) -> None:
    """Checks an array that can be pooled, of JAX's or NumPy's."""
    if not isinstance(x, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"{op}: `x` must be a JAX or NumPy array; got an object of type "
            f"{type(x).__name__}. Write jnp.asarray(x)."
        )
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        raise TypeError(
            f"{op}: `x` must hold numbers or bools; got keys, x.dtype={x.dtype}. "
            "Write jax.random.normal(x) or the like, or key=x."
        )
    if x.dtype == jnp.float8_e8m0fnu:
        raise TypeError(
            f"{op}: `x` must have a dtype with signs and a zero; got x.dtype={x.dtype}, which is "
            "for scales. Write x.astype(jnp.float32)."
        )
    if np.issubdtype(x.dtype, np.complexfloating):
        raise TypeError(
            f"{op}: `x` must be real, since complex numbers have no order and no one mean of "
            f"their magnitudes; got x.dtype={x.dtype}. Pool x.real and x.imag."
        )
    if not (x.dtype == bool or jnp.issubdtype(x.dtype, jnp.number)):
        raise TypeError(f"{op}: `x` must hold numbers or bools; got x.dtype={x.dtype}.")


def mask(
    op: str, where: Any, shape: Sequence[Any], pooled: Sequence[int], weights: bool
) -> jax.Array | None:
    """`where` with the rank of x and its full size on the pooled axes; 1 or full elsewhere.

    `weights` says whether floats are meant as weights; otherwise only bools are taken.
    """
    if where is None:
        return None
    if not isinstance(where, jax.Array | np.ndarray | np.generic | bool):
        raise TypeError(
            f"{op}: `where` must be a bool array; got an object of type {type(where).__name__}. "
            "Write jnp.asarray(where)."
        )
    where = jnp.asarray(where)
    if where.dtype != bool and not (weights and jnp.issubdtype(where.dtype, jnp.floating)):
        kinds = "bools, or floats as weights" if weights else "bools"
        raise TypeError(
            f"{op}: `where` must hold {kinds}; got where.dtype={where.dtype}. Write where != 0."
        )
    lead = len(shape) - where.ndim
    fits = lead >= 0 and all(
        n == 1 or n == full for n, full in zip(where.shape, shape[max(lead, 0) :], strict=False)
    )
    if not fits:
        raise ValueError(
            f"{op}: `where` must broadcast to x; got where.shape={where.shape} for "
            f"x.shape={tuple(shape)}. {_advice_for_mask(where.shape, shape)}"
        )
    where = where.reshape((1,) * lead + where.shape)
    target = [shape[i] if i in pooled else n for i, n in enumerate(where.shape)]
    return jnp.broadcast_to(where, target)


def _advice_for_mask(given: Sequence[Any], shape: Sequence[Any]) -> str:
    try:
        both = np.broadcast_shapes(given, tuple(shape))
    except (TypeError, ValueError):  # symbolic, or other sizes
        return "A mask without the channel axis wants where[..., None]."
    return f"For several masks of one x, write jnp.broadcast_to(x, {both})."


def scalar_for(op: str, empty_value: Any, dtype: Any) -> None:
    """Checks `empty_value`: a scalar that the result's dtype can hold."""
    allowed = f"be a scalar that the result's dtype {dtype} can hold"
    value = empty_value
    if isinstance(value, jax.Array | np.ndarray):
        if value.shape != ():
            fail(op, "empty_value", allowed, empty_value, error=TypeError)
        if isinstance(value, Tracer):
            return
        value = np.asarray(value).item()
    boolean = isinstance(value, bool | np.bool_)
    if (boolean and dtype.kind != "b") or not (boolean or isinstance(value, NUMBERS)):
        fail(op, "empty_value", allowed, empty_value, error=TypeError)
    holds = True
    if dtype.kind == "b":
        holds = value in (0, 1)
    elif jnp.issubdtype(dtype, jnp.integer):
        info = jnp.iinfo(dtype)
        whole = math.isfinite(value) and value == int(value)
        holds = whole and int(info.min) <= value <= int(info.max)
    if not holds:
        fail(op, "empty_value", allowed, empty_value)


def known(value: Any) -> Any:
    """A scalar that is not traced as NumPy's, which can be checked where all else is traced."""
    concrete = isinstance(value, jax.Array | np.ndarray) and not isinstance(value, Tracer)
    return np.asarray(value) if concrete and value.shape == () else value


def no_empty_axis(op: str, shape: Sequence[Any], axes: Sequence[int]) -> None:
    """Refuses to pool an axis that has nothing in it."""
    if any(isinstance(shape[axis], int) and shape[axis] == 0 for axis in axes):
        raise ValueError(
            f"{op}: `x` must have at least one element along each pooled axis; got "
            f"x.shape={tuple(shape)} with pooled axes {tuple(axes)}. Only batch axes may be empty."
        )


def sizes_and_axes(
    op: str, name: str, sizes: Any, axes: Any
) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Numbers of cells, None where an axis stays, and the axes, as tuples of one length."""
    given = None if axes is None else axis_numbers(op, axes)
    items = entries(sizes)
    if items == ():
        fail(op, name, "have at least one entry", sizes)
    if items is None and given is None:
        fail(
            op,
            name,
            "be a sequence when `axes` is not given, since its length says how many axes are "
            "pooled",
            sizes,
            hint=_hint_of_rank(name, sizes),
        )
    items = (sizes,) * len(given or ()) if items is None else items
    n = len(items)
    allowed = f"be an int >= 1, or {n} of them (one per pooled axis), None to keep an axis"
    items = tuple(None if i is None else integer(op, name, i, allowed) for i in items)
    if any(item is not None and item < 1 for item in items):
        fail(op, name, allowed, sizes)
    if given is not None and len(given) != n:
        fail(op, "axes", f"name one axis for each of the {n} entries of `{name}`", axes)
    return items, given or tuple(range(-n - 1, -1))


def known_size(op: str, shape: Sequence[Any], axis: int) -> None:
    """Refuses a symbolic size along an axis whose cells depend on it."""
    if not isinstance(shape[axis], int):
        raise ValueError(
            f"{op}: `x` must have a known size along axis {axis}, since its cells depend on it; "
            f"got x.shape={tuple(shape)}. Only batch axes may be symbolic."
        )


def bounds(
    op: str, starts: Any, stops: Any, axes: Any
) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[int, ...]]:
    """Bounds of intervals for each axis, as tuples of ints or as arrays, and the axes."""
    alone = axes is not None and not isinstance(axes, list | tuple)
    given = None if axes is None else axis_numbers(op, axes)
    found = []
    for name, value in (("starts", starts), ("stops", stops)):
        entries = (value,) if alone else value
        if not isinstance(entries, list | tuple) or not entries:
            fail(
                op,
                name,
                "be a sequence with one entry per pooled axis",
                value,
                hint="Name the axis by an int, axes=0, for the bounds of one axis alone.",
                error=TypeError,
            )
        found.append(tuple(_bound(op, name, entry) for entry in entries))
    for name, value, size in (("stops", stops, len(found[1])), ("axes", axes, len(given or ()))):
        if (given is not None or name != "axes") and size != len(found[0]):
            fail(op, name, f"have one entry for each of the {len(found[0])} of `starts`", value)
    return found[0], found[1], given or tuple(range(-len(found[0]) - 1, -1))


def _bound(op: str, name: str, value: Any) -> Any:
    allowed = "be ints, or an int array with an axis for the intervals"
    if isinstance(value, jax.Array):
        if not jnp.issubdtype(value.dtype, jnp.integer) or value.ndim < 1:
            fail(op, name, allowed, value, error=TypeError)
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "iu" or value.ndim < 1:
            fail(op, name, allowed, value, error=TypeError)
        if value.ndim > 1:
            return jnp.asarray(value)
        value = value.tolist()
    if not isinstance(value, list | tuple):
        fail(op, name, allowed, value, error=TypeError)
    return tuple(integer(op, name, item, allowed) for item in value)


def bounds_fit(
    op: str, start: Any, stop: Any, shape: Sequence[Any], axis: int, axes: Sequence[int]
) -> None:
    """Checks one axis' bounds against an array of `shape`."""
    counts = []
    for name, bound in (("starts", start), ("stops", stop)):
        if isinstance(bound, tuple):
            counts.append(len(bound))
            if not bound or not all(0 <= i <= shape[axis] for i in bound):
                allowed = f"lie in [0, {shape[axis]}] along axis {axis}, and be one at least"
                fail(op, name, allowed, bound, shape=shape)
        elif bound.ndim == 1:
            counts.append(bound.shape[0])
        else:
            fits = bound.ndim == len(shape) and all(
                n == 1 or (n == full and i not in axes)
                for i, (n, full) in enumerate(zip(bound.shape, shape, strict=True))
                if i != axis
            )
            if not fits:
                raise ValueError(
                    f"{op}: `{name}` must have one axis, or the rank of x with 1 or x's size on "
                    f"batch axes and 1 on pooled axes other than {axis}; got {name}.shape="
                    f"{bound.shape} for x.shape={tuple(shape)}."
                )
            counts.append(bound.shape[axis])
    if counts[0] != counts[1]:
        raise ValueError(
            f"{op}: `starts` and `stops` must be equally many along axis {axis}; got {counts[0]} "
            f"and {counts[1]}."
        )
