"""What is measured: each operator as jaxpool and as its peers write it."""

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxpool
from benchmarks import by_hand
from tests.cases import CASES, Case

OWN = "jaxpool"
PACKAGES = {
    "flax": "flax",
    "torch": "torch",
    "equinox": "equinox",
    "haiku": "dm-haiku",
    "reduce_window": "jax",
    "jnp": "jax",
    "conv": "jax",
}
# "vjp" is value and gradient in one program, "grad" the gradient alone; "eager" is without jit.
MODES = ("fwd", "vjp", "grad", "jvp", "compile", "eager")


def _keyed(pool: Callable) -> Callable:
    """With a key, which is not made before it is needed: that would start a backend."""
    return lambda x, *geometry, **options: pool(x, *geometry, key=jax.random.key(0), **options)


# Operators, as jaxpool's function and its options. "avg_pool_exclude" leaves padding out of means.
OPS = {
    "max_pool": (jaxpool.max_pool, {}),
    "min_pool": (jaxpool.min_pool, {}),
    "avg_pool": (jaxpool.avg_pool, {}),
    "avg_pool_exclude": (jaxpool.avg_pool, {"count_include_pad": False}),
    "sum_pool": (jaxpool.sum_pool, {}),
    "lp_pool": (jaxpool.lp_pool, {"p": 2}),
    "logsumexp_pool": (jaxpool.logsumexp_pool, {"sharpness": 1}),
    "softmax_pool": (jaxpool.softmax_pool, {}),
    "importance_pool": (lambda x, *a, **k: jaxpool.importance_pool(x, 2 * x, *a, **k), {}),
    "gem_pool": (jaxpool.gem_pool, {}),
    "max_pool_with_argmax": (jaxpool.max_pool_with_argmax, {}),
    "global_max_pool": (jaxpool.global_max_pool, {}),
    "global_avg_pool": (jaxpool.global_avg_pool, {}),
    "adaptive_max_pool": (jaxpool.adaptive_max_pool, {}),
    "adaptive_avg_pool": (jaxpool.adaptive_avg_pool, {}),
    "blur_pool": (jaxpool.blur_pool, {}),
    "dilation_pool": (jaxpool.dilation_pool, {}),
    "maxout": (jaxpool.maxout, {}),
    "median_pool": (jaxpool.median_pool, {}),
    "quantile_pool": (jaxpool.quantile_pool, {"q": 0.3}),
    "top_k_mean_pool": (jaxpool.top_k_mean_pool, {"k": 2}),
    "rank_pool": (jaxpool.rank_pool, {"weights": (0.5, 0.25, 0.125, 0.125)}),
    "global_median_pool": (jaxpool.global_median_pool, {}),
    "global_top_k_mean_pool": (jaxpool.global_top_k_mean_pool, {"k": 5}),
    "mixed_pool": (jaxpool.mixed_pool, {"alpha": 0.3}),
    "gated_pool": (jaxpool.gated_pool, {}),  # with a gate of the case's window
    "stochastic_pool": (_keyed(jaxpool.stochastic_pool), {}),
    "s3_pool": (_keyed(jaxpool.s3_pool), {}),
    "adaptive_weighted_pool": (jaxpool.adaptive_weighted_pool, {}),
    "detail_preserving_pool": (jaxpool.detail_preserving_pool, {}),
}
# Those whose geometry is an output shape.
ADAPTIVE = ("adaptive_max_pool", "adaptive_avg_pool")


class Unsupported(Exception):
    """A peer has no such operator or geometry; the message says what is missing."""


def select_cases(wanted: Sequence[str]) -> list[Case]:
    """The cases with those names or tags."""
    known = {case.name for case in CASES} | {tag for case in CASES for tag in case.tags}
    for name in wanted:
        if name not in known:
            raise SystemExit(f"--cases: {name!r} is no name and no tag in tests/cases.py.")
    return [c for c in CASES if c.name in wanted or any(tag in wanted for tag in c.tags)]


def missing(peers: Sequence[str]) -> dict[str, str]:
    """For each peer that cannot run here, why."""
    reasons = {}
    for peer in peers:
        name = peer.partition(":")[0]
        module = {"haiku": "haiku", "conv": "jax", "jnp": "jax", "reduce_window": "jax"}.get(
            name, name
        )
        if name != OWN and name not in PACKAGES:
            raise ValueError(f"peer must be one of {', '.join(PACKAGES)}, but is {peer!r}.")
        if importlib.util.find_spec(module) is None:
            reasons[peer] = f"not installed (pip install {PACKAGES[name]})"
        elif name == "torch" and jax.default_backend() != "cpu":
            reasons[peer] = f"its CPU build says nothing beside JAX on {jax.default_backend()}"
    return reasons


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A case's windows in explicit numbers, pooled axes from the front and in order."""

    case: Case

    @functools.cached_property
    def windows(self) -> list[tuple[int, Any]]:
        return sorted(self.case.window.windows(self.case.shape), key=lambda pair: pair[0])

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, _ in self.windows)

    @property
    def pads(self) -> list[tuple[int, int]]:
        return [(w.low, max(w.high, w.right)) for _, w in self.windows]

    def over_all(self, values: Sequence[Any], other: Any) -> list[Any]:
        """Values of the pooled axes, and `other` for the rest."""
        found = dict(zip(self.axes, values, strict=True))
        return [found.get(axis, other) for axis in range(len(self.case.shape))]

    @property
    def sizes(self) -> list[int]:
        return [w.window for _, w in self.windows]

    @property
    def strides(self) -> list[int]:
        return [w.stride for _, w in self.windows]

    @property
    def dilation(self) -> list[int]:
        return [w.dilation for _, w in self.windows]

    @property
    def padded(self) -> bool:
        return any(low or high for low, high in self.pads)

    @property
    def dilated(self) -> bool:
        return any(d > 1 for d in self.dilation)

    def divisor(self, include_pad: bool) -> Any:
        """The number of elements to divide a sum by: an array, or an int if all are equal."""
        counts = self.case.window.counts(self.case.shape, include_pad=include_pad)
        if (counts == counts.flat[0]).all():
            return int(counts.flat[0])
        return counts.astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Layout:
    """The shape (batch, channels, *spatial) that equinox and torch want, and the way there.

    Arrays are brought into it before the clock starts, since their users hold them so. With
    `channels_last`, memory keeps the order (batch, *spatial, channels), which torch supports.
    """

    case: Case
    channels_last: bool

    def __post_init__(self) -> None:
        axes = Geometry(self.case).axes
        if axes != tuple(range(axes[0], axes[-1] + 1)):
            raise Unsupported("pools axes that do not lie side by side")

    @property
    def _channels_behind(self) -> bool:
        return Geometry(self.case).axes[-1] < len(self.case.shape) - 1

    def there(self, array: np.ndarray) -> np.ndarray:
        axes, shape = Geometry(self.case).axes, self.case.shape
        batch = shape[: axes[0]] if self._channels_behind else shape[: max(axes[0] - 1, 0)]
        size = math.prod(batch)
        if array.ndim < len(shape):  # what a global pool leaves
            return array.reshape(size, -1, *[1] * len(axes))
        spatial = array.shape[axes[0] : axes[-1] + 1]
        if not self._channels_behind:
            return array.reshape(size, -1, *spatial)
        array = np.moveaxis(array.reshape(size, *spatial, -1), -1, 1)
        return array if self.channels_last else np.ascontiguousarray(array)

    def back(self, array: np.ndarray, like: tuple[int, ...]) -> np.ndarray:
        """Inverse of `there` for an array whose shape was `like`."""
        if self._channels_behind and len(like) == len(self.case.shape):
            array = np.moveaxis(array, 1, -1)
        return array.reshape(like)


@dataclasses.dataclass(frozen=True)
class Program:
    """One implementation of one operator in one mode, ready to be called.

    `function` takes `arguments` and gives results; for torch, which JAX cannot compile, it is
    called as it is.
    """

    implementation: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    layout: Layout | None = None


def build(
    implementation: str, op: str, case: Case, dtype: str, mode: str, *, abstract: bool = False
) -> Program:
    """The program of `implementation`; `abstract` arguments have shapes and no values.

    Raises:
      Unsupported: the implementation has no such thing.
    """
    name, _, form = implementation.partition(":")
    if name == "torch":
        return _torch_program(op, case, dtype, mode)
    if mode in ("vjp", "grad", "jvp") and not jnp.issubdtype(dtype, jnp.floating):
        raise Unsupported(f"no derivative in {dtype}")
    if name == OWN:
        pool, layout = own_form(op, case, form), None
    else:
        pool, layout = _FORMS[name](op, case)
    if abstract:
        shapes = _shapes(op, case, mode)
        arguments = tuple(jax.ShapeDtypeStruct(shape, dtype) for shape in shapes)
    else:
        arguments = _arguments(op, case, dtype, mode, layout)
    return Program(implementation, in_mode(pool, mode), arguments, layout)


@functools.lru_cache(maxsize=2)
def _arguments(
    op: str, case: Case, dtype: str, mode: str, layout: Layout | None
) -> tuple[jax.Array, ...]:
    """One copy for all implementations: where arrays lie in memory changes what they take."""
    arrays = _values(_shapes(op, case, mode), dtype)
    return tuple(jnp.asarray(layout.there(a) if layout else a) for a in arrays)


def floor_bytes(op: str, case: Case, dtype: str, mode: str) -> int:
    """What any program must read and write: its arguments and results, once each."""
    function = in_mode(own_form(op, case), mode)
    arguments = [jax.ShapeDtypeStruct(shape, dtype) for shape in _shapes(op, case, mode)]
    results = jax.tree.leaves(jax.eval_shape(function, *arguments))
    return sum(a.size * a.dtype.itemsize for a in (*arguments, *results))


def in_mode(pool: Callable[[Any], Any], mode: str) -> Callable[..., Any]:
    """`pool` alone, or with its derivative in one program. Only its first result has one."""

    def split(x: Any) -> tuple[Any, Any]:
        y = pool(x)
        return (y[0], y[1:]) if isinstance(y, tuple) else (y, ())

    def vjp(x: Any, g: Any) -> Any:
        y, pull_back, rest = jax.vjp(split, x, has_aux=True)
        return y, rest, pull_back(g)[0]

    def jvp(x: Any, t: Any) -> Any:
        return jax.jvp(split, (x,), (t,), has_aux=True)

    # What is compiled is value and gradient, the largest program.
    forms = {"fwd": pool, "eager": pool, "vjp": vjp, "compile": vjp, "jvp": jvp}
    return {**forms, "grad": lambda x, g: vjp(x, g)[2]}[mode]


def own_form(op: str, case: Case, form: str = "") -> Callable[[Any], Any]:
    """The function of jaxpool; `form` names one of its implementations, "" its own choice."""
    function, options = OPS[op]
    where, geometry = case.geometry, Geometry(case)
    if op.startswith("global_"):
        where = {"axes": case.pooled}
    elif op in ADAPTIVE:
        where = {"output_shape": case.cells, "axes": case.pooled}
    elif op == "blur_pool":  # the case's window is its filter, and its padding half of that
        where = {"strides": tuple(geometry.strides), "filter_size": tuple(geometry.sizes),
                 "axes": geometry.axes}  # fmt: skip
    elif op == "dilation_pool":
        where = {**where, "structure": structure(case)}
    elif op == "maxout":
        where = {"size": group_size(case), "axis": case.batch[-1]}
    forced = {"implementation": form} if form else {}
    return lambda x: function(x, **where, **options, **_gate(op, case), **forced)


def _gate(op: str, case: Case) -> dict[str, Any]:
    """The filter that a gated pool needs, which must have the shape of the window."""
    if op != "gated_pool":
        return {}
    sizes = [w.window for _, w in case.window.windows(case.shape)]
    return {"gate": np.random.default_rng(1).normal(size=sizes).astype(np.float32)}


def structure(case: Case) -> np.ndarray:
    """A structuring function that is no sum over axes."""
    sizes = case.window.window_shape
    return np.random.default_rng(1).standard_normal(sizes).astype(np.float32)


def group_size(case: Case) -> int:
    """How many channels of a case make up a group."""
    channels = case.shape[case.batch[-1]]
    return 4 if channels % 4 == 0 else channels


def binomial(size: int) -> np.ndarray:
    """The kernel of a blur."""
    return functools.reduce(np.convolve, [[0.5, 0.5]] * (size - 1), np.ones(1)).astype(np.float32)


def _shapes(op: str, case: Case, mode: str) -> list[tuple[int, ...]]:
    x = jax.ShapeDtypeStruct(case.shape, np.float32)
    y = jax.tree.leaves(jax.eval_shape(own_form(op, case), x))[0]
    more = {m: [y.shape] for m in ("vjp", "grad", "compile")} | {"jvp": [case.shape]}
    return [case.shape, *more.get(mode, [])]


def _values(shapes: Sequence[tuple[int, ...]], dtype: str) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    if jnp.issubdtype(dtype, jnp.floating):
        return [random.standard_normal(s, np.float32).astype(jnp.dtype(dtype)) for s in shapes]
    return [random.integers(-100, 100, s).astype(dtype) for s in shapes]


# --- JAX peers --------------------------------------------------------------------------------


def _lowest(x: Any) -> Any:
    return -np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).min


def _highest(x: Any) -> Any:
    return np.inf if jnp.issubdtype(x.dtype, jnp.floating) else jnp.iinfo(x.dtype).max


def _reduce_window(op: str, case: Case) -> tuple[Callable, None]:
    """``lax.reduce_window`` as one writes it by hand, in the dtype of x."""
    geometry = Geometry(case)

    def windows(x: Any, identity: Any, combine: Callable) -> Any:
        return lax.reduce_window(
            x,
            np.array(identity, x.dtype)[()],
            combine,
            geometry.over_all(geometry.sizes, 1),
            geometry.over_all(geometry.strides, 1),
            geometry.over_all(geometry.pads, (0, 0)),
            window_dilation=geometry.over_all(geometry.dilation, 1),
        )

    def mean(x: Any, include_pad: bool) -> Any:
        divisor = geometry.divisor(include_pad)
        return windows(x, 0, lax.add) / jnp.asarray(divisor, x.dtype)

    forms = {
        "max_pool": lambda x: windows(x, _lowest(x), lax.max),
        "min_pool": lambda x: windows(x, _highest(x), lax.min),
        "sum_pool": lambda x: windows(x, 0, lax.add),
        "avg_pool": lambda x: mean(x, True),
        "avg_pool_exclude": lambda x: mean(x, False),
        "lp_pool": lambda x: jnp.sqrt(windows(x * x, 0, lax.add)),
    }
    return _pick(forms, op), None


def _slices(x: Any, geometry: Geometry, fill: float) -> list[Any]:
    """The elements of each window, tap by tap."""
    found = []
    padded = jnp.pad(x, geometry.over_all(geometry.pads, (0, 0)), constant_values=fill)
    for taps in itertools.product(*map(range, geometry.sizes)):
        cut = [
            slice(t * w.dilation, t * w.dilation + (w.output - 1) * w.stride + 1, w.stride)
            for t, (_, w) in zip(taps, geometry.windows, strict=True)
        ]
        found.append(padded[tuple(geometry.over_all(cut, slice(None)))])
    return found


def _median_of_nine(x: list[Any]) -> Any:
    """By 19 exchanges: Paeth, Median finding on a 3 x 3 grid, 1990."""
    x = list(x)
    steps = "12 45 78 01 34 67 12 45 78 03 58 47 36 14 25 47 42 64 42"
    for a, b in (map(int, step) for step in steps.split()):
        x[a], x[b] = jnp.minimum(x[a], x[b]), jnp.maximum(x[a], x[b])
    return x[4]


def _jnp_order(op: str, case: Case) -> Callable:
    """Order statistics of slices, sorted; the median of nine by a network.

    Padding is NaN where there is some, since NumPy's functions can leave that out.
    """
    geometry = Geometry(case)
    is_global = op.startswith("global_")
    q, k, weights = 0.3, OPS["top_k_mean_pool"][1]["k"], OPS["rank_pool"][1]["weights"]
    if is_global:
        k = OPS["global_top_k_mean_pool"][1]["k"]
    forms = {
        "median_pool": lambda x: (jnp.nanmedian if geometry.padded else jnp.median)(x, -1),
        "quantile_pool": lambda x: (jnp.nanquantile if geometry.padded else jnp.quantile)(x, q, -1),
        "top_k_mean_pool": lambda x: jnp.mean(lax.top_k(x, k)[0], -1),
        "rank_pool": lambda x: jnp.sort(x, -1)[..., : -len(weights) - 1 : -1] @ np.array(weights),
    }
    form = _pick(forms, op.removeprefix("global_"))
    if is_global:

        def whole(x: Any) -> Any:
            rest = [axis for axis in range(x.ndim) if axis not in geometry.axes]
            x = jnp.transpose(x, (*rest, *geometry.axes))
            return form(x.reshape(*x.shape[: len(rest)], -1))

        return whole
    if op == "median_pool" and math.prod(geometry.sizes) == 9 and not geometry.padded:
        return lambda x: _median_of_nine(_slices(x, geometry, 0))
    if op == "rank_pool" and geometry.padded:
        raise Unsupported("no padding")
    fill = -math.inf if op == "top_k_mean_pool" else math.nan
    return lambda x: form(jnp.stack(_slices(x, geometry, fill), -1))


def _jnp(op: str, case: Case) -> tuple[Callable, None]:
    """Plain reductions: of whole axes, or of windows side by side after a reshape.

    Soft pools of other windows are sums over strided slices, and so are those of `by_hand`.
    """
    if op.endswith(("median_pool", "quantile_pool", "top_k_mean_pool", "rank_pool")):
        return _jnp_order(op, case), None
    if op in by_hand.FORMS:
        form, geometry = by_hand.FORMS[op], Geometry(case)
        return lambda x: form(x, geometry, **_gate(op, case)), None
    reductions = {
        "max_pool": jnp.max,
        "min_pool": jnp.min,
        "sum_pool": jnp.sum,
        "avg_pool": jnp.mean,
        "avg_pool_exclude": jnp.mean,
        "lp_pool": lambda x, axes: jnp.sqrt(jnp.sum(x * x, axes)),
        "logsumexp_pool": lambda x, axes: jax.nn.logsumexp(
            x, axes, b=1 / math.prod(geometry.sizes)
        ),
        "softmax_pool": lambda x, axes: jnp.sum(jax.nn.softmax(x, axes) * x, axes),
        "importance_pool": lambda x, axes: jnp.sum(jax.nn.softmax(2 * x, axes) * x, axes),
        "gem_pool": lambda x, axes: jnp.cbrt(jnp.mean(jnp.maximum(x, 1e-6) ** 3, axes)),
    }
    geometry = Geometry(case)
    if op in ("blur_pool", "dilation_pool"):
        return functools.partial(_by_taps, op=op, case=case), None
    if op == "maxout":
        axis, size = case.batch[-1] % len(case.shape), group_size(case)
        cut = [*case.shape[:axis], -1, size, *case.shape[axis + 1 :]]
        return lambda x: jnp.max(x.reshape(cut), axis + 1), None
    reduce = _pick(reductions, op.removeprefix("global_"))
    if op.startswith("global_"):
        return lambda x: reduce(x, geometry.axes), None
    in_slices = _in_slices(op, geometry)
    if in_slices and (geometry.padded or geometry.sizes != geometry.strides):
        return in_slices, None
    if geometry.padded or geometry.dilated or geometry.sizes != geometry.strides:
        raise Unsupported("reshapes only windows that lie side by side, without padding")

    def pool(x: Any) -> Any:
        blocks = list(zip(x.shape, geometry.over_all(geometry.sizes, 1), strict=True))
        x = x[tuple(slice(n - n % k) for n, k in blocks)]
        x = x.reshape([size for n, k in blocks for size in (n // k, k)])
        return reduce(x, tuple(range(1, x.ndim, 2)))

    return pool, None


def _by_taps(x: Any, op: str, case: Case) -> Any:
    """A padded copy, and a strided slice of it for each element of the window."""
    geometry = Geometry(case)
    if op == "blur_pool":
        widths = geometry.over_all([((k - 1) // 2, k // 2) for k in geometry.sizes], (0, 0))
        x = jnp.pad(x, widths, "reflect")
        weights = functools.reduce(np.multiply.outer, map(binomial, geometry.sizes))
        terms, add = lambda w, e: e * np.asarray(w, e.dtype), jnp.add
    else:
        x = jnp.pad(x, geometry.over_all(geometry.pads, (0, 0)), constant_values=-np.inf)
        order = np.argsort([a % x.ndim for a in case.pooled])
        weights = structure(case).transpose(order)
        terms, add = lambda w, e: e + np.asarray(w, e.dtype), jnp.maximum
    found = None
    for taps in np.ndindex(*geometry.sizes):
        places = [slice(None)] * x.ndim
        per_axis = zip(geometry.windows, taps, geometry.strides, geometry.dilation, strict=True)
        for (axis, w), tap, s, d in per_axis:
            outputs = -(-w.length // s) if op == "blur_pool" else w.output
            places[axis] = slice(tap * d, tap * d + (outputs - 1) * s + 1, s)
        term = terms(weights[taps], x[tuple(places)])
        found = term if found is None else add(found, term)
    return found


def _conv(op: str, case: Case) -> tuple[Callable, None]:
    """A convolution with as many groups as channels."""
    geometry, rank = Geometry(case), len(case.shape)
    if op != "blur_pool" or geometry.axes != tuple(range(1, rank - 1)) or rank > 5:
        raise Unsupported("no such operator, or another layout")
    widths = geometry.over_all([((k - 1) // 2, k // 2) for k in geometry.sizes], (0, 0))
    kernel = functools.reduce(np.multiply.outer, map(binomial, geometry.sizes))
    spatial, channels = "DHW"[5 - rank :], case.shape[-1]
    layout = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")

    def pool(x: Any) -> Any:
        weights = np.broadcast_to(kernel[..., None, None], (*kernel.shape, 1, channels))
        return lax.conv_general_dilated(
            jnp.pad(x, widths, "reflect"), jnp.asarray(weights, x.dtype), geometry.strides, "VALID",
            dimension_numbers=layout, feature_group_count=channels,
        )  # fmt: skip

    return pool, None


def _in_slices(op: str, geometry: Geometry) -> Callable | None:
    """A soft pool as sums over strided slices of x, one for each element of a window."""

    def slices(x: Any, fill: float) -> list[Any]:
        x = jnp.pad(x, geometry.over_all(geometry.pads, (0, 0)), constant_values=fill)
        found = []
        for taps in itertools.product(*map(range, geometry.sizes)):
            cut = [slice(None)] * x.ndim
            for (axis, w), tap in zip(geometry.windows, taps, strict=True):
                start = tap * w.dilation
                cut[axis] = slice(start, start + (w.output - 1) * w.stride + 1, w.stride)
            found.append(x[tuple(cut)])
        return found

    def exponentials(elements: Any) -> tuple[Any, list[Any]]:
        top = lax.stop_gradient(functools.reduce(jnp.maximum, elements))
        return top, [jnp.exp(e - top) for e in elements]

    def softmax(x: Any, sharpness: float) -> Any:
        elements = slices(x, -1e30)
        _, weights = exponentials([sharpness * e for e in elements])
        return sum(w * e for w, e in zip(weights, elements, strict=True)) / sum(weights)

    def logsumexp(x: Any) -> Any:
        top, weights = exponentials(slices(x, -1e30))
        return top + jnp.log(sum(weights) / geometry.divisor(False))

    def gem(x: Any) -> Any:
        cubes = [e**3 for e in slices(jnp.maximum(x, 1e-6), 0)]
        return jnp.cbrt(sum(cubes) / geometry.divisor(False))

    return {
        "logsumexp_pool": logsumexp,
        "softmax_pool": lambda x: softmax(x, 1),
        "importance_pool": lambda x: softmax(x, 2),
        "gem_pool": gem,
        "lp_pool": lambda x: jnp.sqrt(sum(e * e for e in slices(x, 0))),
    }.get(op)


def _flax(op: str, case: Case) -> tuple[Callable, None]:
    from flax.linen import pooling

    geometry = Geometry(case)
    if geometry.dilated:
        raise Unsupported("no dilation")
    rank = len(case.shape)
    if geometry.axes == tuple(range(1, rank - 1)):
        window, strides, pads = geometry.sizes, geometry.strides, geometry.pads
        fits = True
    else:
        # Any layout without a transpose: all axes are spatial, and batch and channels are new.
        window = geometry.over_all(geometry.sizes, 1)
        strides = geometry.over_all(geometry.strides, 1)
        pads = geometry.over_all(geometry.pads, (0, 0))
        fits = False
    where = (tuple(window), tuple(strides), pads)

    def summed(x: Any) -> Any:
        return pooling.pool(x, 0.0, lax.add, *where)

    forms = {
        "max_pool": lambda x: pooling.max_pool(x, *where),
        "min_pool": lambda x: pooling.min_pool(x, *where),
        "sum_pool": summed,
        "avg_pool": lambda x: pooling.avg_pool(x, *where),
        "avg_pool_exclude": lambda x: pooling.avg_pool(x, *where, count_include_pad=False),
    }
    form = _pick(forms, op)
    if op == "avg_pool" and not isinstance(geometry.divisor(True), int):
        raise Unsupported("counts what ceil mode adds")
    return form if fits else (lambda x: form(x[None, ..., None])[0, ..., 0]), None


def _haiku(op: str, case: Case) -> tuple[Callable, None]:
    import haiku as hk

    geometry = Geometry(case)
    if geometry.dilated:
        raise Unsupported("no dilation")
    window = tuple(geometry.over_all(geometry.sizes, 1))
    strides = tuple(geometry.over_all(geometry.strides, 1))
    pads = geometry.over_all(geometry.pads, (0, 0))
    same = pads == [tuple(p) for p in lax.padtype_to_pads(case.shape, window, strides, "SAME")]

    def padded(function: Callable, identity: Any) -> Callable:
        """Haiku has no numbers for padding: one pads first."""

        def pool(x: Any) -> Any:
            if geometry.padded:
                x = jnp.pad(x, pads, constant_values=np.array(identity, x.dtype))
            return function(x, window, strides, "VALID", channel_axis=None)

        return pool

    if op == "max_pool":
        if same:
            return lambda x: hk.max_pool(x, window, strides, "SAME", channel_axis=None), None
        return padded(hk.max_pool, -np.inf), None
    if op == "avg_pool" and isinstance(geometry.divisor(True), int):
        return padded(hk.avg_pool, 0), None
    if op == "avg_pool_exclude" and (same or not geometry.padded):
        padding = "SAME" if geometry.padded else "VALID"
        return lambda x: hk.avg_pool(x, window, strides, padding, channel_axis=None), None
    raise Unsupported("no such operator or counts")


def _equinox(op: str, case: Case) -> tuple[Callable, Layout]:
    import equinox as eqx

    geometry = Geometry(case)
    rank = len(geometry.axes)
    if geometry.dilated or rank > 3:
        raise Unsupported("no dilation, and at most three axes")
    if op in ADAPTIVE:
        layers = {"adaptive_max_pool": "AdaptiveMaxPool", "adaptive_avg_pool": "AdaptiveAvgPool"}
        sizes = [case.shape[axis] for axis in geometry.axes]
        if any(n % o for n, o in zip(sizes, case.cells, strict=True)):
            raise Unsupported("other cells where sizes do not divide")
        layer = getattr(eqx.nn, f"{_pick(layers, op)}{rank}d")(case.cells)
        return jax.vmap(layer), Layout(case, channels_last=False)
    layers = {"max_pool": "MaxPool", "avg_pool": "AvgPool"}
    if op == "avg_pool" and not isinstance(geometry.divisor(True), int):
        raise Unsupported("counts what ceil mode adds")
    layer = getattr(eqx.nn, f"{_pick(layers, op)}{rank}d")(
        tuple(geometry.sizes), tuple(geometry.strides), tuple(geometry.pads)
    )
    return jax.vmap(layer), Layout(case, channels_last=False)


_FORMS = {
    "reduce_window": _reduce_window,
    "jnp": _jnp,
    "conv": _conv,
    "flax": _flax,
    "haiku": _haiku,
    "equinox": _equinox,
}


def _pick(forms: dict[str, Any], op: str) -> Any:
    if op not in forms:
        raise Unsupported("no such operator")
    return forms[op]


# --- torch ------------------------------------------------------------------------------------


def _torch_program(op: str, case: Case, dtype: str, mode: str) -> Program:
    import torch

    if mode == "compile":
        raise Unsupported("nothing to compile")
    if mode in ("vjp", "grad", "jvp") and not jnp.issubdtype(dtype, jnp.floating):
        raise Unsupported(f"no derivative in {dtype}")
    pool = _torch_pool(torch, op, case)
    layout = Layout(case, channels_last=len(Geometry(case).axes) > 1)
    carried = "float32" if jnp.issubdtype(dtype, jnp.floating) else dtype  # NumPy has no bfloat16

    def tensor(array: np.ndarray) -> Any:
        found = torch.from_numpy(layout.there(array.astype(carried))).to(getattr(torch, dtype))
        return found.detach().clone(memory_format=torch.preserve_format)

    arguments = [tensor(array) for array in _values(_shapes(op, case, mode), dtype)]

    def forward(x: Any) -> Any:
        with torch.no_grad():
            return pool(x)

    def vjp(x: Any, g: Any) -> Any:
        leaf = x.detach().requires_grad_()
        result = pool(leaf)
        y, rest = (result[0], result[1:]) if isinstance(result, tuple) else (result, ())
        return y.detach(), rest, torch.autograd.grad(y, leaf, g)[0]

    def jvp(x: Any, t: Any) -> Any:
        def split(x: Any) -> tuple[Any, Any]:
            y = pool(x)
            return (y[0], y[1:]) if isinstance(y, tuple) else (y, ())

        return torch.func.jvp(split, (x,), (t,), has_aux=True)

    forms = {"fwd": forward, "eager": forward, "vjp": vjp, "jvp": jvp}
    function = {**forms, "grad": lambda x, g: vjp(x, g)[2]}[mode]
    return Program("torch", function, tuple(arguments), layout)


def _torch_pool(torch: Any, op: str, case: Case) -> Callable[[Any], Any]:
    F = torch.nn.functional
    geometry = Geometry(case)
    rank = len(geometry.axes)
    spatial = tuple(range(2, 2 + rank))
    if op == "global_max_pool":
        if rank > 3:
            return lambda x: torch.amax(x, spatial, keepdim=True)
        function = getattr(F, f"adaptive_max_pool{rank}d")  # whose gradient goes to one element
        return lambda x: function(x, (1,) * rank)
    if op == "global_avg_pool":
        return lambda x: torch.mean(x, spatial, keepdim=True)
    if rank > 3:
        raise Unsupported("at most three axes")
    if op in ADAPTIVE:
        function = getattr(F, f"{op}{rank}d", None)
        if function is None:
            raise Unsupported("no such operator")
        return lambda x: function(x, case.cells)
    if op == "blur_pool":
        kernel = torch.from_numpy(
            functools.reduce(np.multiply.outer, map(binomial, geometry.sizes))
        )
        widths = [p for size in reversed(geometry.sizes) for p in ((size - 1) // 2, size // 2)]
        conv = getattr(F, f"conv{rank}d")

        def blur(x: Any) -> Any:
            channels = x.shape[1]
            weights = kernel.to(x.dtype).expand(channels, 1, *kernel.shape)
            return conv(F.pad(x, widths, "reflect"), weights, stride=geometry.strides,
                        groups=channels)  # fmt: skip

        return blur
    if op == "maxout":
        return lambda x: torch.amax(x.unflatten(1, (-1, group_size(case))), 2)
    k, s, d = geometry.sizes, geometry.strides, geometry.dilation
    declared = [(w.low, w.high) for _, w in geometry.windows]
    native = all(low == high <= size // 2 for (low, high), size in zip(declared, k, strict=True))
    padding = [low for low, _ in declared] if native else 0
    ceil = case.ceil_mode
    if ceil and not native:
        raise Unsupported("ceil mode with padding on one side")

    def padded(x: Any, identity: float) -> Any:
        if native:
            return x
        return F.pad(x, [p for pair in reversed(declared) for p in pair], value=identity)

    def extreme(x: Any, indices: bool = False) -> Any:
        if indices and not native:
            raise Unsupported("indices with padding on one side")
        function = getattr(F, f"max_pool{rank}d")
        return function(padded(x, -math.inf), k, s, padding, d, ceil, return_indices=indices)

    def mean(x: Any, include_pad: bool = True) -> Any:
        if geometry.dilated:
            raise Unsupported("no dilation")
        if not native and not include_pad:
            raise Unsupported("padding on one side in the count")
        function = getattr(F, f"avg_pool{rank}d")
        return function(padded(x, 0), k, s, padding, ceil, include_pad)

    def power(x: Any) -> Any:
        if geometry.padded or geometry.dilated:
            raise Unsupported("no padding, no dilation")
        return getattr(F, f"lp_pool{rank}d")(x, 2.0, tuple(k), tuple(s), ceil)

    def unfolded(x: Any, fill: float) -> Any:
        if geometry.dilated:
            raise Unsupported("no dilation")
        x = F.pad(x, [p for pair in reversed(declared) for p in pair], value=fill)
        for axis, (size, step) in enumerate(zip(k, s, strict=True), start=2):
            x = x.unfold(axis, size, step)
        return x.flatten(2 + rank)

    def median(x: Any) -> Any:
        if geometry.padded or math.prod(k) % 2 == 0:
            raise Unsupported("the lower one of two")
        return unfolded(x, 0).median(-1).values

    def by_means(there: Callable, back: Callable) -> Callable:
        """As one writes it where there is no such function, without care for overflow."""
        return lambda x: back(mean(there(x), False))

    def softmax(x: Any) -> Any:
        weights = x.exp()
        return mean(x * weights, False) / mean(weights, False)

    forms = {
        "logsumexp_pool": by_means(lambda x: x.exp(), lambda y: y.log()),
        "softmax_pool": softmax,
        "gem_pool": by_means(lambda x: x.clamp(min=1e-6) ** 3, lambda y: y ** (1 / 3)),
        "median_pool": median,
        "quantile_pool": lambda x: unfolded(x, math.nan).nanquantile(0.3, -1),
        "top_k_mean_pool": lambda x: unfolded(x, -math.inf).topk(2, -1).values.mean(-1),
        "max_pool": extreme,
        "min_pool": lambda x: -extreme(-x),
        "avg_pool": mean,
        "avg_pool_exclude": lambda x: mean(x, False),
        "sum_pool": lambda x: mean(x) * math.prod(k),
        "lp_pool": power,
        "max_pool_with_argmax": lambda x: extreme(x, True),
    }
    return _pick(forms, op)
