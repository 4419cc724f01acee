"""Writes the catalogue of all pools from the table below: ``python docs/catalogue.py``.

The table has what only a person can say: names, formulas, and what is not there. Papers, masks and
derivatives are read from the functions, and layers from `jaxpool.linen`.
"""

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pictures

import jaxpool
import jaxpool.linen
from jaxpool._src.core.names import camel

PAGE = Path(__file__).with_suffix(".md")


@dataclasses.dataclass(frozen=True)
class Pool:
    """One kind of pooling.

    Args:
      name: what the field calls it, and its other names.
      formula: the value of a cell, in TeX.
      functions: names in `jaxpool`, those of boxes and helpers too.
      layers: layers that are not named as a function, or as Learned and a function.
      reductions: names in `jaxpool` that take it to all domains.
    """

    name: str
    formula: str
    functions: str
    layers: str = ""
    reductions: str = ""


# Cells have elements x_i, i from 1 to n, of which x_(r) is the one of rank r, the largest first.
FAMILIES: dict[str, tuple[Pool, ...]] = {
    "Maxima, sums and means": (
        Pool("Max pooling", r"\max_i x_i", "max_pool global_max_pool adaptive_max_pool "
             "segment_max_pool", reductions="Max"),
        Pool("Min pooling", r"\min_i x_i", "min_pool global_min_pool adaptive_min_pool "
             "segment_min_pool", reductions="Min"),
        Pool("Max pooling with indices, argmax", r"(\max_i x_i,\ \arg\max_i x_i)",
             "max_pool_with_argmax min_pool_with_argmin global_max_pool_with_argmax "
             "global_min_pool_with_argmin adaptive_max_pool_with_argmax convert_indices"),
        Pool("Max unpooling", r"y_{p_i} = x_i", "max_unpool"),
        Pool("Sum pooling", r"\sum_i x_i", "sum_pool global_sum_pool segment_sum_pool",
             reductions="Sum"),
        Pool("Average pooling", r"\frac1n \sum_i x_i",
             "avg_pool global_avg_pool adaptive_avg_pool segment_avg_pool", reductions="Mean"),
        Pool("Strip pooling, directional pooling", r"\frac1n \sum_{i \in \mathrm{row}} x_i",
             "strip_pool"),
        Pool("Channel pooling, maxout", r"\max_{i \in \mathrm{group}} x_i", "channel_pool maxout"),
        Pool("Linear and tropical pooling with matrices",
             r"\sum_i A_{oi} x_i \ \mathrm{or} \ \max_i (A_{oi} + x_i)", "matrix_pool"),
    ),
    "Norms, power means and moments": (
        Pool("Lp pooling", r"\Bigl(\sum_i \lvert x_i \rvert^p\Bigr)^{1/p}",
             "lp_pool global_lp_pool", reductions="Lp"),
        Pool("Generalized mean (GeM)", r"\Bigl(\frac1n \sum_i \max(x_i, \varepsilon)^p\Bigr)^{1/p}",
             "gem_pool global_gem_pool"),
        Pool("Power mean", r"\Bigl(\frac1n \sum_i x_i^p\Bigr)^{1/p}",
             "power_mean_pool global_power_mean_pool", reductions="PowerMean"),
        Pool("Variance and standard deviation, moment pooling",
             r"\frac{1}{n - d} \sum_i (x_i - \bar x)^2",
             "variance_pool std_pool global_variance_pool global_std_pool",
             reductions="Variance Std Moment"),
        Pool("Statistics pooling", r"[\bar x,\ \sigma]", "stats_pool"),
        Pool("Attentive statistics pooling", r"\Bigl[\sum_i a_i x_i,\ \sigma_a\Bigr]", "",
             "AttentiveStatisticsPool"),
    ),
    "Soft pools": (
        Pool("Log-sum-exp pooling, mellowmax", r"\frac1r \log \frac1n \sum_i e^{r x_i}",
             "logsumexp_pool global_logsumexp_pool", reductions="LogSumExp"),
        Pool("Softmax-weighted pooling, SoftPool, AutoPool",
             r"\frac{\sum_i e^{\beta x_i} x_i}{\sum_i e^{\beta x_i}}",
             "softmax_pool global_softmax_pool", reductions="SoftmaxMean"),
        Pool("Local importance pooling (LIP)", r"\frac{\sum_i e^{l_i} x_i}{\sum_i e^{l_i}}",
             "importance_pool global_importance_pool", reductions="WeightedMean"),
        Pool("Universal pooling", r"\sum_i \mathrm{softmax}(g(x))_i\, x_i", "", "UniversalPool"),
        Pool("Linear-softmax pooling, self-weighted mean", r"\frac{\sum_i x_i^2}{\sum_i x_i}",
             "linear_softmax_pool global_linear_softmax_pool", reductions="LinearSoftmax"),
        Pool("Noisy-or pooling", r"1 - \prod_i (1 - x_i)", "noisy_or_pool global_noisy_or_pool",
             reductions="NoisyOr"),
        Pool("Adaptively weighted pooling (eDSCW, IDW)",
             r"\frac{\sum_i w(x_i, \bar x)\, x_i}{\sum_i w(x_i, \bar x)}", "adaptive_weighted_pool",
             reductions="AdaptiveWeighted"),
        Pool("AdaPool", r"\beta\, \mathrm{eDSCW} + (1 - \beta)\, \mathrm{SoftPool}", "ada_pool"),
        Pool("Detail-preserving pooling (DPP)",
             r"\frac{\sum_i w_i x_i}{\sum_i w_i},\ w_i = \alpha + \rho(x_i - \tilde x)^\lambda",
             "detail_preserving_pool"),
        Pool("Your own monoid", r"x_1 \oplus x_2 \oplus \cdots \oplus x_n", "",
             reductions="Monoid"),
    ),
    "Mixed and gated pools": (
        Pool("Mixed max-average pooling", r"\alpha \max_i x_i + (1 - \alpha)\, \bar x",
             "mixed_pool global_avgmax_pool", reductions="Mixed"),
        Pool("Concatenated average and max pooling", r"[\bar x,\ \max_i x_i]",
             "global_catavgmax_pool"),
        Pool("Gated max-average pooling",
             r"\sigma(\omega^T x) \max_i x_i + (1 - \sigma(\omega^T x))\, \bar x", "gated_pool"),
        Pool("Tree pooling",
             r"\sigma(\omega^T x)\, y_{\mathrm{left}} + "
             r"(1 - \sigma(\omega^T x))\, y_{\mathrm{right}}",
             "tree_pool"),
    ),
    "Order statistics": (
        Pool("Median and quantile pooling", r"x_{(q (n - 1))}",
             "median_pool quantile_pool global_median_pool global_quantile_pool",
             reductions="Median Quantile"),
        Pool("Rank-based and ordinal pooling", r"\sum_r w_r x_{(r)}", "rank_pool global_rank_pool",
             "OrdinalPool", reductions="RankMean"),
        Pool("Top-k mean pooling", r"\frac1k \sum_{r < k} x_{(r)}",
             "top_k_mean_pool global_top_k_mean_pool", reductions="TopKMean"),
        Pool("k-max pooling", r"\{x_i : x_i \geq x_{(k - 1)}\}", "k_max_pool"),
        Pool("WILDCAT pooling", r"\frac1k \sum_{r < k} x_{(r)} + "
             r"\frac{\alpha}{m} \sum_{r \geq n - m} x_{(r)}", "wildcat_pool"),
        Pool("Global weighted rank pooling (GWRP)",
             r"\frac{\sum_r d^r x_{(r)}}{\sum_r d^r}", "global_weighted_rank_pool"),
        Pool("Featurewise sort pooling (FSPool)", r"\sum_r f\Bigl(\frac{r}{n - 1}\Bigr) x_{(r)}",
             "featurewise_sort_pool"),
        Pool("Mode pooling, majority label", r"\arg\max_v \sum_i [x_i = v]", "mode_pool",
             reductions="Mode"),
    ),
    "Random pools": (
        Pool("Stochastic pooling", r"x_I,\ P(I = i) = x_i / \sum_j x_j",
             "stochastic_pool global_stochastic_pool", reductions="Stochastic"),
        Pool("Rank-based stochastic pooling", r"x_{(R)},\ P(R = r) = \alpha (1 - \alpha)^r",
             "rank_stochastic_pool", reductions="RankStochastic"),
        Pool("Max-pooling dropout", r"x_{(R)},\ P(R = r) = (1 - p)\, p^r", "max_pool_dropout"),
        Pool("Mixed pooling at random",
             r"\lambda \max_i x_i + (1 - \lambda)\, \bar x,\ \lambda \in \{0, 1\}",
             "random_mixed_pool"),
        Pool("Stochastic spatial sampling (S3Pool)",
             r"(\max_{i \in W} x_i)_{\mathrm{random\ rows\ and\ columns}}", "s3_pool"),
        Pool("Fractional pooling", r"\max_{i \in [b_o, b_{o + 1})} x_i",
             "fractional_max_pool fractional_avg_pool fractional_max_pool_with_argmax"),
    ),
    "Pyramids and chains": (
        Pool("Spatial pyramid pooling (SPP, PPM)", r"[\max_{i \in B_{l,b}} x_i]_{l, b}",
             "spatial_pyramid_pool pyramid_pool"),
        Pool("Fast spatial pyramid pooling (SPPF)", r"[x,\ m(x),\ m(m(x)),\ m(m(m(x)))]", "sppf"),
        Pool("Regional maximum activations (MAC, SPoC, R-MAC)",
             r"\sum_R \frac{\max_{i \in R} x_i}{\lVert \max_{i \in R} x_i \rVert}",
             "regional_max_pool"),
    ),
    "Blurs, wavelets and spectra": (
        Pool("Blur pooling, anti-aliased pooling", r"\sum_j k_j\, x_{so + j}",
             "blur_pool max_blur_pool"),
        Pool("Gaussian low-pass pooling (LEAF)",
             r"\sum_j e^{-\frac{j^2}{2 \sigma^2}} x_{so + j}", "gaussian_pool"),
        Pool("Content-aware low-pass pooling",
             r"\sum_j \mathrm{softmax}(l_o)_j\, x_{so + j}", "content_aware_blur_pool",
             "PredictedBlurPool"),
        Pool("Wavelet pooling", r"\sum_j h_j\, x_{2o + j}", "wavelet_pool"),
        Pool("Spectral pooling (Fourier, FLC, ASAP, Hartley, cosine)",
             r"F^{-1}\, \mathrm{crop}\, F x", "spectral_pool spectral_dropout_pool"),
        Pool("Polyphase sampling (APS, LPS)",
             r"x_{s o + p},\ p = \arg\max_p \lVert x_{s \cdot + p} \rVert",
             "polyphase_pool polyphase_unpool", "LearnedPolyphasePool"),
    ),
    "Morphology": (
        Pool("Dilation and erosion", r"\max_j (h_j + x_{so + j}),\ \min_j (x_{so + j} - h_j)",
             "dilation_pool erosion_pool parabolic_structure",
             "ParabolicDilationPool ParabolicErosionPool"),
        Pool("Opening and closing", r"\delta(\varepsilon(x)),\ \varepsilon(\delta(x))",
             "opening_pool closing_pool"),
    ),
    "Sequences, sets and segments": (
        Pool("First and last pooling, CLS", r"x_1,\ x_n", "first_pool last_pool"),
        Pool("Mean over the square root of the length", r"\frac{1}{\sqrt n} \sum_i x_i",
             "mean_sqrt_length_pool"),
        Pool("Position-weighted mean pooling",
             r"\frac{\sum_i i\, x_i}{\sum_i i}", "position_weighted_pool"),
        Pool("SPLADE pooling", r"\max_i \log(1 + \max(x_i, 0))", "splade_pool"),
        Pool("Approximate rank pooling, dynamic image", r"\sum_t (2 t - n - 1)\, x_t",
             "approximate_rank_pool"),
        Pool("Temporal pyramid pooling", r"[\max_{i \in B_{l,b}} x_i]_{l, b}",
             "temporal_pyramid_pool"),
        Pool("Piecewise pooling, chunk pooling",
             r"\max_{p_{k - 1} \leq i < p_k} x_i", "piecewise_pool"),
        Pool("Masks, ids and halos", r"i < n",
             "length_mask segment_ids pool_mask halo_exchange"),
        Pool("Prefix pooling, cumulative pooling", r"\max_{j \leq i} x_j",
             "prefix_max_pool prefix_avg_pool prefix_sum_pool"),
        Pool("Corner pooling",
             r"\max_{j \geq i} x_{j k} + \max_{l \geq k} x_{i l}", "corner_pool"),
    ),
    "Attention": (
        Pool("Attention pooling", r"\sum_i \mathrm{softmax}_i(q^T k_i / \sqrt d)\, v_i",
             "attention_pool", "MultiheadAttentionPool PoolingByMultiheadAttention "
             "AttentionPool2d"),
        Pool("Gated attention pooling (ABMIL)",
             r"a_i = \mathrm{softmax}_i\, w^T (\tanh(V x_i) \odot \sigma(U x_i))", "",
             "GatedAttentionPool"),
        Pool("SimPool", r"\Bigl(\sum_i a_i x_i^\gamma\Bigr)^{1 / \gamma},\ q = \bar x", "",
             "SimPool"),
        Pool("TokenLearner", r"\sum_i \mathrm{softmax}_i(g_s(x_i))\, x_i", "", "TokenLearner"),
    ),
    "Descriptors": (
        Pool("Covariance pooling (iSQRT-COV)",
             r"C = \frac{1}{n - d} \sum_i (x_i - \bar x)(x_i - \bar x)^T,\ C^{1/2}",
             "covariance_pool isqrt_covariance_pool"),
        Pool("Bilinear pooling", r"\frac1n \sum_i x_i y_i^T", "bilinear_pool"),
        Pool("Compact bilinear pooling",
             r"\frac1n \sum_i F^{-1}(F \psi_1(x_i) \odot F \psi_2(x_i))",
             "compact_bilinear_pool draw_sketch"),
        Pool("NetVLAD, GhostVLAD", r"\sum_i a_{ik} (x_i - c_k)", "netvlad_pool",
             "NetVlad GhostVlad"),
        Pool("Spatial softmax, soft-argmax", r"\sum_i \mathrm{softmax}_i(x / \tau)\, p_i",
             "spatial_softmax"),
    ),
    "Regions": (
        Pool("RoI align", r"\frac1n \sum_i x(p_i)", "roi_align multi_scale_roi_align"),
        Pool("RoI max pooling", r"\max_{i \in \mathrm{bin}} x_i", "roi_max_pool"),
        Pool("Precise RoI pooling", r"\frac{1}{\lvert B \rvert} \int_B x(p)\, dp",
             "precise_roi_pool"),
        Pool("Position-sensitive RoI pooling",
             r"\frac1n \sum_{i \in \mathrm{bin}} x_{i, c(\mathrm{bin})}",
             "position_sensitive_roi_align position_sensitive_roi_pool"),
        Pool("Deformable RoI pooling", r"\frac1n \sum_i x(p_i + \Delta p)", "deformable_roi_pool"),
        Pool("Crop and resize", r"x(p)", "crop_and_resize"),
    ),
}  # fmt: skip

RECIPES = (
    ("Hierarchical pooling (SWEM)", "means of windows, then the maximum over all of them",
     "`global_max_pool(avg_pool(x, 5, 1, axes=-2), axes=-2)`"),
    ("Chunk pooling into equal parts", "PyTorch's bins along one axis",
     "`adaptive_max_pool(x, 3, axes=-2)`"),
    ("MAC and SPoC", "global pools of the last feature map",
     "`global_max_pool`, `global_sum_pool`"),
    ("Product pooling", "noisy-or of what is left to 1", "`1 - noisy_or_pool(1 - x, ...)`"),
    ("Peaks of a heat map", "what is its window's maximum",
     "`x == max_pool(x, (3, 3), 1, \"SAME\")`"),
    ("Windows with a shape, footprints", "elements of a window that are True in an array",
     "`max_pool(x, (3, 3), 1, \"SAME\", footprint=cross)`"),
    ("Skewness and kurtosis", "standardized moments",
     "`pool(x, Global(axes), Moment(3, standardize=True))`"),
    ("Convolution with weights of windows, partial convolution",
     "means of what is valid", "`avg_pool(x, ..., where=mask)`, `pool_mask`"),
)  # fmt: skip

DECLINED = (
    ("Graph pooling that coarsens: TopK, SAGPool, DiffPool, ASAP, MinCut, EdgePool, SortPool",
     "needs edges, and makes graphs whose size depends on values. Readouts are segment pools."),
    ("Set2Set, LSTM and GRU aggregators, Janossy pooling, GMT, Perceiver resamplers",
     "models of several layers and not reductions: write them with `attention_pool`."),
    ("Squeeze-and-excitation, CBAM, GCNet, coordinate attention, ASPP",
     "blocks of a network whose pools are here: `global_avg_pool`, `strip_pool`, `channel_pool`, "
     "`pyramid_pool`."),
    ("Strided convolution, patch merging, space-to-depth", "convolutions and reshapes."),
    ("Token merging (ToMe)", "a matching of tokens, whose number of results it decides."),
    ("MCB, MUTAN, MFB", "fusion of two inputs."),
    ("Kernel pooling",
     "a Taylor series with a sketch for each order. That of order 2 is `compact_bilinear_pool`, "
     "what is linear is a mean; higher orders are not."),
    ("Fisher vectors, classical VLAD, bags of words",
     "fitted beforehand and not learned: `netvlad_pool` is their differentiable form."),
    ("Rotated, Bezier and border RoI; RoI of points and voxels",
     "weights that are no product of one vector for each axis: their gradient would be a scatter."),
    ("DiffStride with its stride as shape",
     "the shape of the result would depend on the value of a parameter, which no compiled program "
     "can have."),
    ("Interpolation and upsampling, AdaUnpool", "resizing: `jax.image.resize`."),
    ("Non-maximum suppression", "boxes whose number depends on values."),
)  # fmt: skip

HEAD = """# Catalogue

Every kind of pooling that is here, what is a line of others, and what is not here and why. This
page is written by `python docs/catalogue.py`.

A cell has the elements $x_i$, $i$ from 1 to $n$; $x_{(r)}$ is the one of rank $r$, the largest
first. A domain is what feeds a cell: reductions go with any by `pool(x, domain, reduction)`, as
[Design](design.md) shows, and [which pairs work](support.md) proves. Masks are those of `where`,
which leaves elements out; "all" derivatives are those of every mode, to any order. Every function
that pools has a layer in `jaxpool.linen` and `jaxpool.nnx`; named are those that have parameters to
learn. What makes masks, ids, indices, sketches and structures has none.
Pictures show what one digit of 8 x 8 pixels becomes, light to dark from its least to its largest
value.
"""


def functions() -> dict[str, Any]:
    """The public functions, by name."""
    return {n: f for n, f in vars(jaxpool).items() if inspect.isfunction(f)}


def layers() -> set[str]:
    """All layers, but those that are named as a function."""
    own = {camel(name) for name in functions()}
    named = {n for n, v in vars(jaxpool.linen).items()
             if inspect.isclass(v) and v.__module__ == "jaxpool.linen" and n[0] != "_"}  # fmt: skip
    return named - own


def learned(pool: Pool) -> list[str]:
    """The layers of a pool that are not named as its functions."""
    plain = {f"Learned{camel(name)}" for name in pool.functions.split()}
    return sorted(layers() & plain) + [n for n in pool.layers.split() if n not in plain]


def papers(pool: Pool) -> list[str]:
    """The papers that the docstrings of a pool name, each once, as links."""
    found = {}
    sources = [getattr(jaxpool, n) for n in pool.functions.split()]
    sources += [getattr(jaxpool.linen, n) for n in learned(pool)]
    for source in sources:
        _, _, text = inspect.getdoc(source).partition("References:\n")
        for entry in text.split("\n\n"):
            match = re.fullmatch(r"(.*?)\.?\s*<(\S+)>\.?", " ".join(entry.split()))
            if match:
                found.setdefault(match[2], match[1].replace("``", ""))
    return [f"[{shortened(title)}]({link})" for link, title in found.items()]


def shortened(citation: str) -> str:
    """Author and year."""
    year = re.search(r"\b(1[89]|20)\d\d\b", citation)
    author = re.split(r",| and | et al", citation)[0].split()[-1]
    return f"{author} {year[0]}" if year else citation


def masked(pool: Pool) -> str:
    """Whether functions of x, or layers where there are none, take `where`."""
    given = [inspect.signature(getattr(jaxpool, n)).parameters for n in pool.functions.split()]
    given = [names for names in given if next(iter(names)) in ("x", "features")]
    calls = [getattr(jaxpool.linen, n).__call__ for n in learned(pool)]
    given = given or [inspect.signature(call).parameters for call in calls]
    takes = ["where" in names for names in given]
    if any(takes) and not all(takes):
        return "some with masks"
    return "masks" if any(takes) or (pool.reductions and not takes) else "no masks"


def domains(pool: Pool) -> str:
    """What the elements of a cell are."""
    kinds = {"boxes": "boxes", "num_segments": "segments", "window_shape": "windows",
             "strides": "windows", "axes": "axes", "axis": "axes"}  # fmt: skip
    found = {}
    for name in pool.functions.split():
        given = inspect.signature(getattr(jaxpool, name)).parameters
        kind = next((kind for argument, kind in kinds.items() if argument in given), None)
        if name.startswith(("global_", "adaptive_", "prefix_")):
            kind = name.partition("_")[0]
        found.setdefault(kind, None)
    for name in learned(pool):
        given = inspect.signature(getattr(jaxpool.linen, name)).parameters
        found.setdefault(next((kinds[n] for n in kinds if n in given), None), None)
    return "any domain" if pool.reductions else ", ".join(filter(None, found))


def derivatives(pool: Pool) -> str:
    """Whether the derivatives that the docstrings name are those of every mode."""
    texts = [inspect.getdoc(getattr(jaxpool, n)) or "" for n in pool.functions.split()]
    own = [text.partition("Derivatives:\n")[2].strip() for text in texts]
    some = [not text.startswith("None") for text in own]
    names = [n for n, has in zip(pool.functions.split(), some, strict=True) if has]
    if 2 * len(names) >= len(some):  # but for a helper beside a pool
        return "all derivatives"
    return f"derivatives of {', '.join(names)}" if names else "no derivatives"


def row(pool: Pool) -> str:
    """A line of a table."""
    links = [f"{{py:obj}}`~jaxpool.{n}`" for n in (pool.functions + " " + pool.reductions).split()]
    links += [f"{{py:obj}}`~jaxpool.linen.{n}`" for n in learned(pool)]
    name = "<br>".join([f"**{pool.name}**", *papers(pool)])
    over = domains(pool)
    facts = [f"over {over}"] if over else []
    facts += [masked(pool), derivatives(pool)]
    drawn = next((n for n in pool.functions.split() if n in pictures.THUMBNAILS), None)
    picture = f"{{picture}}`{drawn}`" if drawn else ""
    cells = (name, picture, f"${pool.formula}$", ", ".join(links), "<br>".join(facts))
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """The page, as Markdown."""
    parts = [HEAD]
    for family, pools in FAMILIES.items():
        parts += [f"\n## {family}\n", 

                  "| pooling, papers | picture | value of a cell | names | domain, mask, "
                  "derivatives |",
                  "|---|---|---|---|---|", *map(row, pools)]  # fmt: skip
    parts += [
        "\n## What is a line of others\n",
        "| pooling | what it is | write |",
        "|---|---|---|",
    ]
    parts += [f"| {' | '.join(recipe)} |" for recipe in RECIPES]
    parts += ["\n## What is not here\n", "| pooling | why |", "|---|---|"]
    parts += [f"| {' | '.join(declined)} |" for declined in DECLINED]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
