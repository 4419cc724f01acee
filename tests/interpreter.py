"""Runs what JAX traced with NumPy, one operation after the other, and compiles nothing.

For tests of thousands of small programs, of which each would take longer to compile than to check.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend import core


def run(function: Callable, *arguments: Any) -> Any:
    """``function(*arguments)`` as lowered for CPUs; arguments and results are trees."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
    results = _evaluate(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
    return jax.tree.unflatten(jax.tree.structure(shapes), results)


# Primitives of this library, with a `how` that has their program.
OWN = ("window_fold", "window_map", "window_sum", "linear_window_map", "set_down")


def as_lowered(equation: Any) -> Any:
    """What one of this library's primitives is for CPUs, None of others."""
    if equation.primitive.name not in OWN:
        return None
    static = dict(equation.params)
    form = functools.partial(static.pop("how").lowered, "cpu", several=False, **static)
    return jax.make_jaxpr(form)(*(x.aval for x in equation.invars))


def _evaluate(jaxpr: Any, consts: Any, arguments: Any) -> list[np.ndarray]:
    values = {}

    def read(x: Any) -> np.ndarray:
        return np.asarray(x.val) if isinstance(x, core.Literal) else values[x]

    for names, given in ((jaxpr.constvars, consts), (jaxpr.invars, arguments)):
        values |= zip(names, map(np.asarray, given), strict=True)
    for equation in jaxpr.eqns:
        found = _apply(equation, [read(x) for x in equation.invars])
        found = found if isinstance(found, list) else [found]
        for name, value in zip(equation.outvars, found, strict=True):
            assert value.shape == name.aval.shape, equation
            values[name] = value.astype(name.aval.dtype, copy=False)
    return [read(x) for x in jaxpr.outvars]


def _apply(equation: Any, xs: list[np.ndarray]) -> Any:
    name, p = equation.primitive.name, equation.params
    for key in ("jaxpr", "call_jaxpr"):
        if key in p:
            inner = p[key]
            closed = hasattr(inner, "consts")
            return _evaluate(inner.jaxpr if closed else inner, inner.consts if closed else [], xs)
    if name == "cond":
        branch = p["branches"][int(xs[0])]
        return _evaluate(branch.jaxpr, branch.consts, xs[1:])
    if name == "platform_index":
        names = [platforms or ("cpu",) for platforms in p["platforms"]]
        return np.asarray(next(i for i, platforms in enumerate(names) if "cpu" in platforms))
    if inner := as_lowered(equation):
        return _evaluate(inner.jaxpr, inner.consts, xs)
    if name == "empty2":  # of what no one reads
        return np.zeros((), p["dtype"])
    if name in _SEVERAL:
        return _SEVERAL[name](xs, p)
    if name in _ELEMENTWISE:
        return np.asarray(_ELEMENTWISE[name](*xs))
    return np.asarray(_OTHERS[name](*xs, p=p))


def _pad(x: np.ndarray, value: np.ndarray, p: Any) -> np.ndarray:
    config = p["padding_config"]
    spread = [n + max(n - 1, 0) * inner for n, (_, _, inner) in zip(x.shape, config, strict=True)]
    wide = [n + max(a, 0) + max(b, 0) for n, (a, b, _) in zip(spread, config, strict=True)]
    y = np.full(wide, value, x.dtype)
    y[tuple(slice(max(a, 0), max(a, 0) + n, inner + 1)
            for n, (a, _, inner) in zip(spread, config, strict=True))] = x  # fmt: skip
    return y[tuple(slice(max(-a, 0), n - max(-b, 0))
                   for n, (a, b, _) in zip(wide, config, strict=True))]  # fmt: skip


def _broadcast(x: np.ndarray, p: Any) -> np.ndarray:
    shape = [1] * len(p["shape"])
    for axis, n in zip(p["broadcast_dimensions"], x.shape, strict=True):
        shape[axis] = n
    return np.broadcast_to(x.reshape(shape), p["shape"])


def _dot_general(x: np.ndarray, y: np.ndarray, p: Any) -> np.ndarray:
    """With the names of axes shared by contraction and by batch."""
    (contract, batch), names = p["dimension_numbers"], iter(range(x.ndim + y.ndim))
    left, right = ([next(names) for _ in range(a.ndim)] for a in (x, y))
    for i, j in zip((*contract[0], *batch[0]), (*contract[1], *batch[1]), strict=True):
        right[j] = left[i]
    own = [left[i] for i in batch[0]]
    kept = [n for side in (left, right) for n in side if n not in own]
    return np.einsum(x, left, y, right, own + [n for n in kept if kept.count(n) == 1])


def _fft(x: np.ndarray, p: Any) -> np.ndarray:
    function = {"RFFT": np.fft.rfft, "IRFFT": np.fft.irfft}[p["fft_type"].name]
    return function(x, *p["fft_lengths"])


def _iota(p: Any) -> np.ndarray:
    shape = [n if i == p["dimension"] else 1 for i, n in enumerate(p["shape"])]
    return np.broadcast_to(np.arange(p["shape"][p["dimension"]]).reshape(shape), p["shape"])


_SEVERAL = {
    "device_put": lambda xs, p: xs,
    "optimization_barrier": lambda xs, p: xs,
    "split": lambda xs, p: np.split(xs[0], np.cumsum(p["sizes"])[:-1], p["axis"]),
}
_ELEMENTWISE = {
    "add": operator.add, "add_any": operator.add, "sub": operator.sub, "mul": operator.mul,
    "div": operator.truediv, "gt": operator.gt, "lt": operator.lt, "ge": operator.ge,
    "eq": operator.eq, "ne": operator.ne, "or": operator.or_, "and": operator.and_,
    "not": np.invert, "neg": operator.neg, "max": np.maximum, "stop_gradient": np.asarray,
    "min": np.minimum, "rem": np.fmod, "sin": np.sin, "cos": np.cos, "sqrt": np.sqrt,
    "shift_right_arithmetic": operator.rshift, "shift_left": operator.lshift, "real": np.real,
    "imag": np.imag, "conj": np.conj, "complex": lambda x, y: x + 1j * y,
    "select_n": lambda which, *cases: np.choose(which.astype(int), cases),
}  # fmt: skip
_OTHERS = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda *xs, p: np.concatenate(xs, p["dimension"]),
    "convert_element_type": lambda x, p: x.astype(p["new_dtype"]),
    "dot_general": _dot_general,
    "fft": _fft,
    "iota": _iota,
    "pad": _pad,
    "reduce_sum": lambda x, p: x.sum(p["axes"], dtype=x.dtype),
    "rev": lambda x, p: np.flip(x, p["dimensions"]),
    "transpose": lambda x, p: x.transpose(p["permutation"]),
    "reshape": lambda x, p: x.reshape(p["new_sizes"]),
    "slice": lambda x, p: x[tuple(
        slice(a, b, s) for a, b, s in
        zip(p["start_indices"], p["limit_indices"], p["strides"] or [1] * x.ndim, strict=True))],
    "squeeze": lambda x, p: x.squeeze(p["dimensions"]),
}  # fmt: skip
