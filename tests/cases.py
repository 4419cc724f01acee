"""The tables that tests and benchmarks run over: operators x geometries.

A new operator joins `OPS`, and gets every property of `test_contract.py`: on all cases in the
exhaustive tier, and in the quick one on those that `cover` chooses. `python -m tests.cases` prints
these.
"""

import dataclasses
import functools
import random
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from tests import oracle


@dataclasses.dataclass(frozen=True)
class Case:
    """A geometry, named after where its shape comes from.

    Tags: "ci" small enough for loops; "core" for properties that may depend on how windows lie, and
    "few" for all others, and for operators that take long to compile; "global" also for global
    pools; "intervals" also for adaptive and fractional ones; "export" symbolic sizes make sense;
    "bench" and "bench_adaptive" for benchmarks only.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    window_shape: int | tuple[int, ...] = (2, 2)
    strides: int | tuple[int, ...] | None = None
    padding: Any = "VALID"
    dilation: int | tuple[int, ...] = 1
    ceil_mode: bool = False
    axes: int | tuple[int, ...] | None = None
    output_shape: tuple[int, ...] | None = None  # of adaptive pools
    tags: tuple[str, ...] = ("ci",)

    @property
    def geometry(self) -> dict[str, Any]:
        names = ("window_shape", "strides", "padding", "dilation", "ceil_mode", "axes")
        return {name: getattr(self, name) for name in names}

    @property
    def window(self) -> jaxpool.Window:
        return jaxpool.Window(**self.geometry)

    @property
    def cells(self) -> tuple[int, ...]:
        """An output shape for adaptive pools; smaller than x, larger than x, in turns."""
        if self.output_shape is not None:
            return self.output_shape
        sizes = [self.shape[a] for a in self.pooled]
        return tuple(n + 2 if i % 2 else n // 2 + 1 for i, n in enumerate(sizes))

    @property
    def pooled(self) -> tuple[int, ...]:
        """Pooled axes, negative."""
        if self.axes is not None:
            axes = self.axes if isinstance(self.axes, tuple) else (self.axes,)
            return tuple(a - len(self.shape) if a >= 0 else a for a in axes)
        return tuple(range(-len(self.window_shape) - 1, -1))

    @property
    def batch(self) -> tuple[int, ...]:
        """Batch axes, negative."""
        return tuple(a for a in range(-len(self.shape), 0) if a not in self.pooled)

    @functools.cached_property
    def features(self) -> frozenset[str]:
        """What a program may depend on: how windows lie, along which axes, and how many taps."""
        windows = [w for _, w in self.window.windows(self.shape)]
        taps = int(np.prod([w.window for w in windows]))
        ascending = list(self.pooled) == sorted(self.pooled)
        named = isinstance(self.padding, str) and self.padding.upper()
        found = {
            f"{min(len(windows), 3)} axes": True,
            "last axis pooled": -1 in self.pooled,
            "no batch": not self.batch,
            "several batch axes": len(self.batch) > 2,
            "axes out of order": not ascending,
            "side by side": all(w.window == w.stride for w in windows),
            "overlapping": any(w.window > w.stride for w in windows),
            "gaps": any(w.window < w.stride for w in windows),
            "strides differ": len({w.stride for w in windows}) > 1,
            "padded": any(w.low or w.high for w in windows),
            "padded on one side": any(w.low != w.high for w in windows),
            "SAME": named == "SAME",
            "SAME_LOWER": named == "SAME_LOWER",
            "dilated": any(w.dilation > 1 for w in windows),
            "ceil": self.ceil_mode,
            "one tap": taps == 1,
            "more than 9 taps": taps > 9,
            "more than 64 taps": taps > 64,
            "one cell": all(w.output == 1 for w in windows),
        }
        return frozenset(name for name, holds in found.items() if holds)

    def __str__(self) -> str:
        return self.name


CI, CORE = ("ci",), ("ci", "core")
CASES = [
    Case("resnet_stem", (2, 9, 9, 3), window_shape=(3, 3), strides=2, padding=1,
         tags=("ci", "export")),
    Case("vgg_pool", (2, 8, 8, 3), window_shape=(2, 2),
         tags=("ci", "core", "global")),
    Case("inception_3x3s1", (2, 6, 6, 2), window_shape=(3, 3), strides=1, padding="SAME"),
    Case("inception_head_avg", (1, 7, 7, 4), window_shape=(7, 7), strides=1),
    Case("yolo_sppf_5", (1, 6, 7, 2), window_shape=(5, 5), strides=1, padding=2),
    Case("yolo_spp_13", (1, 9, 8, 1), window_shape=(13, 13), strides=1, padding=6),
    Case("googlenet_ceil", (1, 8, 8, 2), window_shape=(3, 3), strides=2, ceil_mode=True,
         tags=("ci", "export")),
    Case("audio_1d", (2, 23, 3), window_shape=(4,), strides=3, padding=((1, 2),),
         tags=("ci", "global")),
    Case("volumetric_3d", (1, 4, 5, 6, 2), window_shape=(2, 3, 2), strides=(2, 1, 2),
         padding=(0, 1, 1), tags=("ci", "global")),
    Case("vit_tokens", (2, 17, 5), window_shape=2, axes=1, ceil_mode=True),
    Case("two_batch_axes_explicit_pad", (2, 3, 6, 5, 2), window_shape=(3, 2), strides=(2, 1),
         padding=((1, 1), (1, 0)), tags=CORE),
    Case("no_batch_axes", (7, 6), window_shape=(3, 3), strides=2, padding=1, axes=(0, 1),
         tags=("ci", "core", "few", "global")),
    Case("one_axis_alone", (11,), window_shape=3, axes=0),
    Case("channels_first", (2, 3, 7, 6), window_shape=(3, 2), strides=2, padding=(1, 0),
         axes=(-2, -1), tags=("ci", "core", "few", "export", "intervals")),
    Case("scattered_axes", (5, 2, 6, 3), window_shape=(2, 3), strides=(1, 2), axes=(2, 0),
         tags=("ci", "intervals")),
    Case("rank4", (1, 3, 4, 3, 4, 2), window_shape=(2, 2, 2, 3), strides=1,
         padding=(0, 1, 0, 1)),
    Case("asymmetric", (2, 7, 8, 2), window_shape=(3, 4), strides=2, padding=((2, 0), (0, 3))),
    Case("more_padding_than_half", (1, 5, 5, 1), window_shape=(3, 3), strides=1, padding=2),
    Case("same_lower", (2, 7, 6, 2), window_shape=(4, 3), strides=2, padding="SAME_LOWER"),
    Case("same_even_keras", (1, 7, 7, 2), window_shape=(2, 2), padding="same",
         tags=("ci", "export")),
    Case("ceil_tail", (2, 8, 7, 2), window_shape=(3, 3), strides=(3, 2), padding=1,
         ceil_mode=True, tags=CORE),
    Case("ceil_asymmetric", (1, 10, 1), window_shape=(4,), strides=5, padding=((1, 0),),
         ceil_mode=True),
    Case("ceil_dilated", (2, 12, 2), window_shape=(3,), strides=4, padding=1, dilation=3,
         ceil_mode=True),
    Case("dilated", (2, 9, 8, 2), window_shape=(3, 2), strides=(1, 2), padding=1,
         dilation=(2, 3), tags=("ci", "core", "few", "export")),
    Case("dilated_same", (1, 8, 9, 1), window_shape=(3, 3), strides=1, padding="SAME", dilation=2),
    Case("skips_elements", (2, 11, 2), window_shape=(2,), strides=4),
    Case("window_of_one", (2, 5, 5, 2), window_shape=(1, 1), strides=2),
    Case("window_17_doubling", (2, 40, 1), window_shape=(17,), strides=1, padding=8),
    # Benchmarks: batch, height, width, channels of the networks that the windows are from.
    *(
        Case(name, shape, dtype, window_shape, strides, padding, axes=axes, tags=("bench",))
        for name, shape, dtype, window_shape, strides, padding, axes in [
            ("bench_vgg_k2s2", (8, 112, 112, 64), "float32", (2, 2), 2, "VALID", None),
            ("bench_resnet_stem_k3s2p1", (8, 112, 112, 64), "float32", (3, 3), 2, 1, None),
            ("bench_resnet_stem_bf16", (8, 112, 112, 64), "bfloat16", (3, 3), 2, 1, None),
            ("bench_resnet_stem_nchw", (8, 64, 112, 112), "float32", (3, 3), 2, 1, (-2, -1)),
            ("bench_inception_k3s1p1", (8, 56, 56, 64), "float32", (3, 3), 1, 1, None),
            ("bench_yolo_sppf_k5s1p2", (4, 56, 56, 64), "float32", (5, 5), 1, 2, None),
            ("bench_k7s1p3", (4, 56, 56, 64), "float32", (7, 7), 1, 3, None),
            ("bench_yolo_spp_k13s1p6", (4, 28, 28, 64), "float32", (13, 13), 1, 6, None),
            ("bench_audio_k4s4", (8, 16000, 64), "float32", (4,), 4, "VALID", None),
            ("bench_audio_k25s1", (8, 16000, 32), "float32", (25,), 1, "SAME", None),
            ("bench_volume_k2s2", (2, 32, 64, 64, 32), "float32", (2, 2, 2), 2, "VALID", None),
            ("bench_volume_k3s1p1", (2, 32, 32, 32, 32), "float32", (3, 3, 3), 1, 1, None),
            ("bench_no_batch_axes", (4096, 4096), "float32", (3, 3), 2, 1, (0, 1)),
            # Where a form could be the wrong one: few channels, one image, large windows, holes.
            ("bench_vit_tokens_k2s2", (8, 576, 768), "float32", (2,), 2, "VALID", None),
            ("bench_inception_nchw", (8, 64, 56, 56), "float32", (3, 3), 1, 1, (-2, -1)),
            ("bench_rgb_k3s2p1", (8, 224, 224, 3), "float32", (3, 3), 2, 1, None),
            ("bench_gray_k2s2", (32, 112, 112, 1), "float32", (2, 2), 2, "VALID", None),
            ("bench_gray_k3s1p1", (32, 112, 112, 1), "float32", (3, 3), 1, 1, None),
            ("bench_audio_mono_k4s4", (8, 160000, 1), "float32", (4,), 4, "VALID", None),
            ("bench_one_image_k3s2p1", (1, 112, 112, 64), "float32", (3, 3), 2, 1, None),
            ("bench_k9s1p4", (4, 56, 56, 64), "float32", (9, 9), 1, 4, None),
            ("bench_k11s2p5", (4, 56, 56, 64), "float32", (11, 11), 2, 5, None),
            ("bench_k15s1p7", (4, 56, 56, 64), "float32", (15, 15), 1, 7, None),
            ("bench_skips_k2s4", (8, 112, 112, 64), "float32", (2, 2), 4, "VALID", None),
            ("bench_huge_k3s2p1", (1, 2048, 2048, 16), "float32", (3, 3), 2, 1, None),
            ("bench_tiny_k2s2", (1, 8, 8, 4), "float32", (2, 2), 2, "VALID", None),
        ]
    ),
    *(
        Case(f"bench_{shape[1]}_to_{output}", shape, output_shape=(output, output),
             tags=("bench_adaptive",))
        for shape, output in [
            ((4, 224, 224, 16), 7), ((8, 56, 56, 64), 7), ((8, 13, 13, 256), 6),
            ((8, 7, 7, 512), 1), ((8, 7, 7, 512), 3), ((8, 32, 32, 64), 1), ((8, 32, 32, 64), 2),
            ((8, 32, 32, 64), 3), ((8, 32, 32, 64), 6),
        ]
    ),
]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class Op:
    """A public pooling with some options, and the oracle's name for its reduction.

    `function` takes geometry as `max_pool` does, or as `global_max_pool` if `is_global`, or as the
    reference named by `rule` does, of which it needs the sizes of pooled axes.
    """

    name: str
    function: Callable[..., jax.Array]
    options: dict[str, Any]
    kind: str | Callable[..., Any]  # or a function of a cell's values and number of pads
    is_global: bool = False
    takes_ints: bool = True
    only: str = ""  # tag that a case must have
    rule: str = ""  # "adaptive", "fractional", "segments" or "prefix"

    def __str__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """What computes it: operators of one path differ in what they ask of it, not in how."""
        return f"{self.domain_name} {self.family}"

    @property
    def family(self) -> str:
        """What reductions of one kind are called, whatever they pool over."""
        return KINDS[self.own_kind][0]

    @property
    def lowering(self) -> str:
        """What paths have in common where it matters how windows lie."""
        return f"{self.domain_name} {KINDS[self.own_kind][1]}"

    @property
    def domain_name(self) -> str:
        return "global" if self.is_global else self.rule or "window"

    @property
    def own_kind(self) -> str | Callable[..., Any]:
        return "max" if self.options.get("p") == float("inf") else self.kind

    @property
    def files(self) -> tuple[str, ...]:
        """The files of jaxpool whose tests it is among, see `conftest.py`."""
        kind = self.own_kind
        own = KINDS[kind][2]
        if self.is_global:
            return (*own, "domains/global_.py")
        if self.rule in ALONG_ONE_AXIS:
            return (*own, f"pools/{self.rule}.py", *ALONG_ONE_AXIS[self.rule])
        if self.rule:
            return (*own, f"pools/{self.rule}.py", "domains/intervals.py", *INTERVALS)
        return (
            (*own, "core/pool.py", "domains/window.py", "core/geometry.py")
            if kind in ("mean", "max")
            else own
        )

    @property
    def is_quick(self) -> bool:
        """Whether it compiles soon enough for every property on every case."""
        basic = self.kind in ("max", "min", "sum", "mean", "lp", "logsumexp")
        return self.is_global or (basic and self.name not in ("lp3", "lp_inf", "avg_divisor"))

    def arguments(self, case: Case) -> dict[str, Any]:
        if self.rule == "adaptive":
            return {"output_shape": case.cells, "axes": case.pooled}
        if self.rule == "fractional":
            sizes = [case.shape[a] for a in case.pooled]
            return {
                "window_shape": tuple(2 + i for i, _ in enumerate(sizes)),
                "output_shape": tuple(n // 2 + 1 - i for i, n in enumerate(sizes)),
                "axes": case.pooled,
            }
        if self.rule == "segments":
            axis = case.pooled[0]
            # No cell is empty, and some elements are in none.
            length, cells = case.shape[axis], case.shape[axis] // 2
            ids = np.random.default_rng(length).permutation(length) % (cells + 1)
            return {"ids": ids, "num_segments": cells, "axis": axis}
        if self.rule == "prefix":
            return {"axis": case.pooled[0], "reverse": len(case.pooled) > 1}
        return {"axes": case.pooled} if self.is_global else case.geometry

    def along(self, case: Case, axes: list[int]) -> dict[str, Any]:
        """`arguments` along other axes."""
        if self.rule in ALONG_ONE_AXIS:
            return {**self.arguments(case), "axis": axes[0]}
        return {**self.arguments(case), "axes": axes}

    def domain(self, case: Case) -> jaxpool.Domain:
        if self.rule in ALONG_ONE_AXIS:
            own = jaxpool.Segments if self.rule == "segments" else jaxpool.Prefix
            return own(**self.arguments(case))
        if self.rule:  # of fractional cells only the number matters
            return jaxpool.Adaptive(self.arguments(case)["output_shape"], axes=case.pooled)
        keepdims = self.options.get("keepdims", False)
        return jaxpool.Global(case.pooled, keepdims=keepdims) if self.is_global else case.window

    def __call__(self, x: Any, case: Case, **more: Any) -> jax.Array:
        return self.function(x, **self.arguments(case), **{**self.options, **more})

    def expected(self, x: Any, case: Case, **more: Any) -> np.ndarray:
        options = {**self.options, **more}
        options.pop("implementation", None)  # the reference has one
        if callable(self.kind):
            options = more  # it has the others
        if self.rule:
            reference = getattr(oracle, self.rule)
            return reference(self.kind, np.asarray(x), **self.arguments(case), **options)
        reference = oracle.globally if self.is_global else oracle.window
        return reference(self.kind, np.asarray(x), **self.arguments(case), **options)


# log(sum(exp)) as a user would write it. Not with logaddexp, which has no derivative at -inf.
SOFT_SUM = jaxpool.Monoid(combine=lambda a, b: a + b, identity=0, lift=jnp.exp, finish=jnp.log)


def monoid_pool(x, window_shape, strides=None, padding="VALID", *, where=None, empty_value=0, **kw):
    window = jaxpool.Window(window_shape, strides, padding, **kw)
    return jaxpool.pool(x, window, SOFT_SUM, where=where, empty_value=empty_value)


def global_monoid_pool(x, axes, *, keepdims=False, where=None, empty_value=0):
    domain = jaxpool.Global(axes, keepdims=keepdims)
    return jaxpool.pool(x, domain, SOFT_SUM, where=where, empty_value=empty_value)


def adaptive_pool(reduction):
    def pool(x, output_shape, axes, *, where=None, empty_value=0):
        domain = jaxpool.Adaptive(output_shape, axes=axes)
        return jaxpool.pool(x, domain, reduction, where=where, empty_value=empty_value)

    return pool


def segment_pool(reduction):
    def pool(x, ids, num_segments, axis, *, where=None, empty_value=0):
        domain = jaxpool.Segments(ids, num_segments, axis=axis)
        return jaxpool.pool(x, domain, reduction, where=where, empty_value=empty_value)

    return pool


def prefix_pool(reduction):
    def pool(x, axis, reverse, *, where=None, empty_value=0):
        domain = jaxpool.Prefix(axis, reverse=reverse)
        return jaxpool.pool(x, domain, reduction, where=where, empty_value=empty_value)

    return pool


def fractional_pool(x, window_shape, output_shape, axes, *, u, where=None, empty_value=0):
    """With one sample for all planes, so that these are alike."""
    pooled = [a % x.ndim for a in axes]
    batch = [n for i, n in enumerate(x.shape) if i not in pooled]
    samples = jnp.full((*batch, len(axes)), u, jnp.float32)
    return jaxpool.fractional_max_pool(
        x, window_shape, output_shape=output_shape, axes=axes, samples=samples, where=where,
        empty_value=empty_value,
    )  # fmt: skip


OPS = [
    Op("max", jaxpool.max_pool, {}, "max"),
    Op("max_axes", jaxpool.max_pool, {"implementation": "axes"}, "max"),
    Op("min", jaxpool.min_pool, {}, "min"),
    Op("sum", jaxpool.sum_pool, {}, "sum"),
    Op("avg", jaxpool.avg_pool, {}, "mean"),
    Op("avg_exclude", jaxpool.avg_pool, {"count_include_pad": False}, "mean"),
    Op("avg_divisor", jaxpool.avg_pool, {"divisor_override": -3}, "mean"),
    Op("lp2", jaxpool.lp_pool, {}, "lp"),
    Op("lp3", jaxpool.lp_pool, {"p": 3}, "lp"),
    Op("lp_2.5", jaxpool.lp_pool, {"p": 2.5}, "lp"),
    Op("lp_inf", jaxpool.lp_pool, {"p": float("inf")}, "lp"),
    Op("monoid", monoid_pool, {}, "logsumexp", takes_ints=False),
    Op("global_max", jaxpool.global_max_pool, {}, "max", True, only="global"),
    Op("global_min", jaxpool.global_min_pool, {"keepdims": True}, "min", True, only="global"),
    Op("global_sum", jaxpool.global_sum_pool, {}, "sum", True, only="global"),
    Op("global_avg", jaxpool.global_avg_pool, {}, "mean", True, only="global"),
    Op("global_lp3", jaxpool.global_lp_pool, {"p": 3, "keepdims": True}, "lp", True,
       only="global"),
    Op("global_monoid", global_monoid_pool, {}, "logsumexp", True, takes_ints=False,
       only="global"),
    Op("adaptive_max", jaxpool.adaptive_max_pool, {}, "max", only="intervals", rule="adaptive"),
    Op("adaptive_avg", jaxpool.adaptive_avg_pool, {}, "mean", only="intervals", rule="adaptive"),
    Op("adaptive_lp2", adaptive_pool(jaxpool.Lp()), {}, "lp", only="intervals", rule="adaptive"),
    Op("adaptive_monoid", adaptive_pool(SOFT_SUM), {}, "logsumexp", takes_ints=False,
       only="intervals", rule="adaptive"),
    Op("fractional_max", fractional_pool, {"u": 0.3}, "max", only="intervals", rule="fractional"),
    Op("logsumexp", jaxpool.logsumexp_pool, {"sharpness": 1.5}, "mean_exp"),
    Op("softmax", jaxpool.softmax_pool, {}, "softmax"),
    Op("gem", jaxpool.power_mean_pool, {"p": 2.5, "eps": 0.123}, "power_mean"),
    Op("global_softmax", jaxpool.global_softmax_pool, {"sharpness": -0.5}, "softmax", True,
       only="global"),
    Op("adaptive_softmax", adaptive_pool(jaxpool.SoftmaxMean()), {}, "softmax", only="intervals",
       rule="adaptive"),
    Op("std", jaxpool.std_pool, {}, "std"),
    Op("global_variance", jaxpool.global_variance_pool, {"keepdims": True}, "variance", True,
       only="global"),
    Op("median", jaxpool.median_pool, {}, "median"),
    Op("top_3_mean", functools.partial(jaxpool.top_k_mean_pool, k=3), {}, "top_3"),
    Op("ordinal", functools.partial(jaxpool.rank_pool, weights=oracle.RANK_WEIGHTS), {}, "ordinal"),
    Op("global_median", jaxpool.global_median_pool, {}, "median", True, only="global"),
    Op("segment_max", jaxpool.segment_max_pool, {}, "max", only="intervals", rule="segments"),
    Op("segment_avg", jaxpool.segment_avg_pool, {}, "mean", only="intervals", rule="segments"),
    Op("segment_softmax", segment_pool(jaxpool.SoftmaxMean()), {}, "softmax", only="intervals",
       rule="segments"),
    Op("segment_median", segment_pool(jaxpool.Median()), {}, "median", only="intervals",
       rule="segments"),
    Op("segment_monoid", segment_pool(SOFT_SUM), {}, "logsumexp", takes_ints=False,
       only="intervals", rule="segments"),
    Op("prefix_max", jaxpool.prefix_max_pool, {}, "max", only="intervals", rule="prefix"),
    Op("prefix_avg", jaxpool.prefix_avg_pool, {}, "mean", only="intervals", rule="prefix"),
    Op("prefix_monoid", prefix_pool(SOFT_SUM), {}, "logsumexp", takes_ints=False,
       only="intervals", rule="prefix"),
    Op("adaptive_top_3_mean", adaptive_pool(jaxpool.TopKMean(3)), {}, "top_3", only="intervals",
       rule="adaptive"),
]  # fmt: skip


def mixed(values, pads, alpha=0.25):
    return alpha * values.max() + (1 - alpha) * values.sum() / (len(values) + pads)


def self_weighted(values, pads):
    positive = np.maximum(values, 0)
    return (positive**2).sum() / positive.sum() if positive.sum() else positive.sum()


def dice_weighted(values, pads):
    mean = values.mean()
    with np.errstate(invalid="ignore"):
        dice = 2 * np.abs(values * mean) / (values**2 + mean**2)
    weights = np.exp(np.where((values == 0) & (mean == 0), 0, dice))
    return (weights * values).sum() / weights.sum()


def detail_weighted(values, pads, alpha=0.5, lam=1.5):
    squares = (values - values.mean()) ** 2 + 1e-3
    weights = alpha + (squares / squares.mean()) ** (lam / 2)
    return (weights * values).sum() / weights.sum()


OPS += [
    Op("mixed", jaxpool.mixed_pool, {"alpha": 0.25}, mixed),
    Op("stochastic_test", jaxpool.stochastic_pool, {"deterministic": True}, self_weighted),
    Op("detail", jaxpool.detail_preserving_pool, {"alpha": 0.5, "lam": 1.5}, detail_weighted),
]


# Of kinds of cells: what computes them, what that lowers to, and the files that this is in.
MAXIMA = (
    "pools/max.py",
    "reductions/max.py",
    "lowering/max.py",
    "lowering/picks.py",
    "lowering/tangent.py",
    "lowering/primitives.py",
)
INTERVALS = ("lowering/intervals.py", "lowering/interval_max.py", "lowering/interval_scan.py")
ALONG_ONE_AXIS = {
    "segments": ("domains/segments.py", "lowering/segments.py", "lowering/segment_order.py"),
    "prefix": ("domains/prefix.py", "lowering/prefixes.py", "lowering/scans.py"),
}
SUMS = ("pools/mean.py", "reductions/mean.py", "lowering/windows.py")
TERMS = ("reductions/softmean.py", "lowering/sum.py", "core/pool.py")
MOMENTS = ("pools/moments.py", "reductions/moments.py", "lowering/sum.py")
ORDER = (
    "pools/global_order.py",
    "reductions/order.py",
    "pools/order.py",
    "lowering/order.py",
    "lowering/networks.py",
    "lowering/window_order.py",
    "lowering/bisection.py",
)
KINDS = {
    "max": ("maxima", "maxima", MAXIMA),
    "min": ("maxima", "maxima", MAXIMA),
    "sum": ("sums", "sums", SUMS),
    "mean": ("sums", "sums", SUMS),
    "lp": ("norms", "terms", ("pools/power.py", "reductions/power.py", "lowering/sum.py")),
    "logsumexp": ("folds", "folds", ("reductions/monoid.py", "lowering/windows.py")),
    "mean_exp": (
        "soft",
        "terms",
        ("pools/importance.py", "reductions/soft.py", "pools/softmax.py", *TERMS),
    ),
    "softmax": (
        "soft",
        "terms",
        ("pools/importance.py", "reductions/soft.py", "pools/softmax.py", *TERMS),
    ),
    "power_mean": (
        "power means",
        "terms",
        ("pools/power_mean.py", "reductions/power_mean.py", *TERMS),
    ),
    "variance": ("norms", "terms", MOMENTS),
    "std": ("norms", "terms", MOMENTS),
    "median": ("order statistics", "order", ORDER),
    "top_3": ("order statistics", "order", ORDER),
    "ordinal": ("ranks", "order", ORDER),
    mixed: ("mixtures", "sums", ("pools/mixed.py", "reductions/mixed.py")),
    self_weighted: (
        "weights",
        "terms",
        ("pools/random.py", "reductions/random.py", "pools/s3.py", "lowering/sum.py"),
    ),
    dice_weighted: (
        "weights",
        "terms",
        ("pools/detail.py", "reductions/detail.py", "lowering/sum.py"),
    ),
    detail_weighted: (
        "weights",
        "terms",
        ("pools/detail.py", "reductions/detail.py", "lowering/sum.py"),
    ),
}


def pairs(tag: str) -> list[tuple[Op, Case]]:
    """Every operator with every case of that tag that it is for.

    Beyond values ("ci"), those that take long to compile with a few of them.
    """
    return [
        (op, case)
        for op in OPS
        for case in CASES
        if tag in case.tags and (not op.only or op.only in case.tags)
        if tag == "ci" or op.is_quick or "few" in case.tags
    ]


def cover(candidates: list, wanted: Callable[[Any], Iterable[Hashable]]) -> list:
    """Few of the candidates that together have all that is wanted of any: a covering array.

    Greedy: always the one that adds most, of equal ones the first in an order drawn once.
    """
    order = random.Random(0).sample(range(len(candidates)), len(candidates))
    has = [frozenset(wanted(candidate)) for candidate in candidates]
    missing, chosen = frozenset().union(*has), []
    while missing:
        best = max(order, key=lambda i: len(has[i] & missing))
        missing -= has[best]
        chosen.append(best)
    return [candidates[i] for i in sorted(chosen)]


SMALL = next(case for case in CASES if case.name == "no_batch_axes")


def is_slow(pair: tuple[Op, Case]) -> bool:
    """Whether its derivatives take 20 s or more to compile; their files have such windows too."""
    op, case = pair[:2]
    looped = op.lowering == "window order" and "more than 64 taps" in case.features
    return looped or (op.kind is detail_weighted and case is not SMALL)


def each_operator(pair: tuple[Op, Case]) -> set[Hashable]:
    """Each operator; each lowering with each feature; each two features."""
    op, case = pair
    if is_slow(pair):
        return set()
    features = sorted(case.features)
    together = {(a, b) for a in features for b in features if a < b}
    return {op.name} | {(op.lowering, f) for f in features} | together


def each_kind(pair: tuple[Op, Case]) -> set[Hashable]:
    """Each lowering, each kind of reduction, and each feature, at least once."""
    op, case = pair
    return set() if is_slow(pair) else {op.lowering, str(op.kind), *case.features}


def each_lowering(pair: tuple[Op, Case]) -> set[Hashable]:
    """Each lowering, and each feature, at least once."""
    op, case = pair
    return set() if is_slow(pair) else {op.lowering, *case.features}


def distinct(shape: tuple[int, ...], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    """Values of both signs, of which no two have one magnitude: k steps and a quarter."""
    n = int(np.prod(shape))
    values = np.random.default_rng(seed).permutation(n).reshape(shape)
    return ((values - n // 2 + 0.25) * (4 / max(n, 100))).astype(dtype)


def tolerance(dtype: Any) -> dict[str, float]:
    """How far a result may be from the float64 oracle: some roundings of its dtype."""
    name = np.dtype(dtype).name
    if np.dtype(dtype).kind in "biu":
        return {"rtol": 0, "atol": 0}
    ulp = {"float8_e4m3fn": 2**-3, "float8_e5m2": 2**-2, "bfloat16": 2**-7, "float16": 2**-10,
           "float32": 2**-23, "float64": 2**-52}[name]  # fmt: skip
    # Accumulated in float32 and cast once: half an ulp of the narrow formats and no more. A sum in
    # float32 itself may lose some ulps, relative to its largest element where it cancels.
    if ulp > 2**-20:
        subnormal = 2**-10 if name == "float8_e4m3fn" else 0  # half a step
        return {"rtol": 0.5001 * ulp, "atol": subnormal + 2**-9 * ulp}
    return {"rtol": 16 * ulp, "atol": 16 * ulp}


if __name__ == "__main__":
    for wanted in (each_operator, each_kind, each_lowering):
        for tag in ("ci", "core", "few", "export"):
            chosen = cover(pairs(tag), wanted)
            print(f"{tag}, {wanted.__name__}: {len(chosen)} of {len(pairs(tag))}")
            print("  " + ", ".join(f"{op}-{case}" for op, case in chosen))
