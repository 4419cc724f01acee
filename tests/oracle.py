"""Pooling by NumPy float64 loops: slow, and obviously right. Shares no code with jaxpool."""

import itertools
import math

import numpy as np

RANK_WEIGHTS = (0.5, 0.125, -0.25, 0.5)  # from the largest element on, for "ordinal"


def starts(length, k, s, d, padding, ceil_mode):
    """First tap of each window along one axis, and the declared padding (low, high)."""
    span = (k - 1) * d + 1
    if isinstance(padding, str) and padding.upper() != "VALID":
        outputs = -(-length // s)
        total = max((outputs - 1) * s + span - length, 0)
        low = total // 2 if padding.upper() == "SAME" else total - total // 2
        return [i * s - low for i in range(outputs)], (low, total - low)
    low, high = (0, 0) if isinstance(padding, str) else padding
    found = []
    for i in itertools.count():
        fits = i * s + span <= low + length + high
        # PyTorch: (room + stride - 1) // stride + 1 windows, one of them larger than its input.
        something_left = i * s + span < low + length + high + s
        if not (fits or (ceil_mode and something_left)):
            break
        found.append(i * s - low)
    if ceil_mode and found and found[-1] >= length:
        found.pop()  # PyTorch: the last window must begin inside the input or the left padding
    return found, (low, high)


def cell(kind, values, weights, pads, empty_value, p, count_include_pad, divisor_override,
         sharpness=1, eps=0):  # fmt: skip
    """One output: `values` inside the input, their `weights` (or bools), `pads` declared pads."""
    kept = [(float(v), float(w)) for v, w in zip(values, weights, strict=True) if w]
    if not kept:
        return empty_value
    v, w = np.array(kept).T
    if callable(kind):
        return kind(v, pads)
    if kind in ("max", "min"):
        return v.max() if kind == "max" else v.min()  # both propagate NaN
    if kind == "sum":
        return v.sum()
    if kind == "mean":
        divisor = w.sum() + (pads if count_include_pad else 0)
        return (v * w).sum() / (divisor if divisor_override is None else divisor_override)
    if kind in ("variance", "std"):
        variance = (w * (v - (v * w).sum() / w.sum()) ** 2).sum() / w.sum()
        return variance if kind == "variance" else np.sqrt(variance)
    if kind == "logsumexp":
        return np.log(np.exp(v).sum())
    if kind in ("mean_exp", "softmax"):
        e = np.exp(sharpness * (v - (sharpness * v).max() / sharpness))
        if kind == "softmax":
            return (e * v).sum() / e.sum()
        return (sharpness * v).max() / sharpness + np.log(e.mean()) / sharpness
    if kind == "power_mean":
        return (np.maximum(v, eps) ** p).mean() ** (1 / p)
    if kind == "median":
        return np.median(v)
    if kind == "top_3":
        return np.sort(v)[::-1][:3].mean()  # NumPy sorts NaN behind all numbers
    if kind == "ordinal":
        ranks = np.array(RANK_WEIGHTS[: len(v)])
        return (ranks * np.sort(v)[::-1][: len(ranks)]).sum() * sum(RANK_WEIGHTS) / ranks.sum()
    assert kind == "lp"
    return np.abs(v).max() if p == np.inf else (np.abs(v) ** p).sum() ** (1 / p)


def window(kind, x, window_shape, strides=None, padding="VALID", *, dilation=1, ceil_mode=False,
           axes=None, where=None, empty_value=0, p=2, count_include_pad=True,
           divisor_override=None, footprint=None, **own):  # fmt: skip
    """Pools `x` by sliding windows; arguments as jaxpool's, but counted out one by one."""
    many = lambda value, n: tuple(value) if isinstance(value, tuple | list) else (value,) * n  # noqa: E731
    n = len(many(axes, 1)) if axes is not None else len(window_shape)
    axes = tuple(range(-n - 1, -1)) if axes is None else many(axes, 1)
    sizes = many(window_shape, n)
    steps = sizes if strides is None else many(strides, n)
    pairs = [q if isinstance(q, str) else many(q, 2) for q in many(padding, n)]
    gaps = many(dilation, n)
    weights = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    x = np.moveaxis(np.asarray(x).astype(np.float64), axes, range(-n, 0))
    weights = np.moveaxis(weights, axes, range(-n, 0))
    full = x.shape[x.ndim - n :]
    laid = [starts(*a, ceil_mode) for a in zip(full, sizes, steps, gaps, pairs, strict=True)]
    chosen_taps = np.ones(sizes, bool) if footprint is None else np.asarray(footprint)
    y = np.empty((*x.shape[: x.ndim - n], *(len(first) for first, _ in laid)))
    for out in np.ndindex(*y.shape[y.ndim - n :]):
        taps = [
            tuple(
                first[i] + j * d for (first, _), i, j, d in zip(laid, out, tap, gaps, strict=True)
            )
            for tap in np.argwhere(chosen_taps).tolist()
        ]
        inside = [t for t in taps if all(0 <= i < m for i, m in zip(t, full, strict=True))]
        declared = [t for t in taps if all(
            -low <= i < m + high for i, m, (_, (low, high)) in zip(t, full, laid, strict=True)
        )]  # fmt: skip
        pads = len(declared) - len(inside)
        for b in np.ndindex(*y.shape[: y.ndim - n]):
            values, ws = [x[b + t] for t in inside], [weights[b + t] for t in inside]
            y[b + out] = cell(kind, values, ws, pads, empty_value, p, count_include_pad,
                              divisor_override, **own)  # fmt: skip
    return np.moveaxis(y, range(-n, 0), axes)


def globally(kind, x, axes, *, keepdims=False, where=None, empty_value=0, p=2, **own):
    """Pools whole axes of `x`."""
    axes = axes if isinstance(axes, tuple | list) else (axes,)
    sizes = tuple(x.shape[axis] for axis in axes)
    y = window(kind, x, sizes, axes=axes, where=where, empty_value=empty_value, p=p, **own)
    return y if keepdims else np.squeeze(y, tuple(axes))


def intervals(kind, x, bounds, axes, *, where=None, empty_value=0, p=2):
    """Pools `x` over all combinations of intervals, (start, stop) in lists for each axis."""
    n = len(axes)
    weights = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    x = np.moveaxis(np.asarray(x).astype(np.float64), axes, range(-n, 0))
    weights = np.moveaxis(weights, axes, range(-n, 0))
    y = np.empty((*x.shape[: x.ndim - n], *(len(b) for b in bounds)))
    for index in np.ndindex(*y.shape):
        place = index[y.ndim - n :]
        part = tuple(slice(*b[i]) for b, i in zip(bounds, place, strict=True))
        at = index[: y.ndim - n] + part
        y[index] = cell(kind, x[at].ravel(), weights[at].ravel(), 0, empty_value, p, False, None)
    return np.moveaxis(y, range(-n, 0), axes)


def adaptive(kind, x, output_shape, axes, **options):
    """Pools `x` to `output_shape` by PyTorch's rule."""
    bounds = [
        [(math.floor(i * x.shape[a] / o), math.ceil((i + 1) * x.shape[a] / o)) for i in range(o)]
        for a, o in zip(axes, output_shape, strict=True)
    ]
    return intervals(kind, x, bounds, axes, **options)


def fractional(kind, x, window_shape, output_shape, u, axes, **options):
    """Pools `x` by PyTorch's fractional rule with the same float32 sample for all planes."""
    bounds, u = [], np.float32(u)
    for a, k, o in zip(axes, window_shape, output_shape, strict=True):
        step = np.float32(x.shape[a] - k) / np.float32(o - 1)
        starts = [int((np.float32(i) + u) * step) - int(u * step) for i in range(o - 1)]
        bounds.append([(s, s + k) for s in [*starts, x.shape[a] - k]])
    return intervals(kind, x, bounds, axes, **options)


def chosen(kind, x, axis, cells, part, *, where=None, empty_value=0, p=2, **own):
    """Pools `x` along an axis to so many cells; `part` of each says which elements are its own."""
    weights = np.broadcast_to(True if where is None else np.asarray(where), x.shape)
    x, weights = (np.moveaxis(v, axis, -1) for v in (np.asarray(x).astype(np.float64), weights))
    y = np.empty((*x.shape[:-1], cells))
    for *batch, number in np.ndindex(*y.shape):
        own_elements = part(number)
        values, ws = (v[tuple(batch)][own_elements] for v in (x, weights))
        y[(*batch, number)] = cell(kind, values, ws, 0, empty_value, p, False, None, **own)
    return np.moveaxis(y, -1, axis)


def segments(kind, x, ids, num_segments, axis, **options):
    """Pools elements of one id."""
    return chosen(kind, x, axis, num_segments, lambda number: ids == number, **options)


def prefix(kind, x, axis, reverse, **options):
    """Pools all up to each element, or from it on."""
    part = lambda i: slice(i, None) if reverse else slice(i + 1)  # noqa: E731
    return chosen(kind, x, axis, x.shape[axis], part, **options)
