"""Writes what the API pages have beside docstrings: layers by family, links, and other names."""

import functools
import re
from pathlib import Path
from typing import Any

import catalogue

import jaxpool
import jaxpool.linen
import jaxpool.nnx
from jaxpool._src.core.names import camel

API = Path(__file__).resolve().parent / "api"
MODULES = ("nnx", "linen")

# What rows of the catalogue name beside their pools.
HELPERS = ("convert_indices", "draw_sketch", "parabolic_structure", "length_mask", "segment_ids")

# Where layers are whose row of the catalogue has no function.
SECTIONS = {
    "Norms, power means and moments": "Moments",
    "Soft pools": "Soft pools",
    "Attention": "Attention",
}

# What people who know it from elsewhere search for.
OTHER_NAMES = {
    "max_pool": "MaxPool1d, MaxPool2d, MaxPool3d, max_pool2d, MaxPooling2D, maximum pooling, "
    "kernel_size, pool_size",
    "avg_pool": "AvgPool1d, AvgPool2d, AvgPool3d, avg_pool2d, AveragePooling2D, average pooling, "
    "mean pooling, mean_pool, masked mean, kernel_size, pool_size",
    "min_pool": "minimum pooling, min pooling",
    "sum_pool": "sum pooling, add pooling",
    "lp_pool": "LPPool1d, LPPool2d, LPPool3d, norm pooling, L2 pooling",
    "global_avg_pool": "GAP, global average, global average pooling, GlobalAveragePooling2D, "
    "AdaptiveAvgPool2d(1), masked mean, mean over tokens, reduce_mean",
    "global_max_pool": "GMP, global maximum, global max pooling, GlobalMaxPooling2D, "
    "AdaptiveMaxPool2d(1), max over time, MAC",
    "global_sum_pool": "SPoC, sum over tokens",
    "max_pool_with_argmax": "return_indices, tf.nn.max_pool_with_argmax",
    "max_unpool": "MaxUnpool1d, MaxUnpool2d, MaxUnpool3d, unpooling",
    "adaptive_avg_pool": "AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveAvgPool3d, output_size",
    "adaptive_max_pool": "AdaptiveMaxPool1d, AdaptiveMaxPool2d, AdaptiveMaxPool3d, output_size",
    "fractional_max_pool": "FractionalMaxPool2d, FractionalMaxPool3d",
    "gem_pool": "generalized mean, GeM",
    "global_gem_pool": "generalized mean, GeM, image retrieval",
    "softmax_pool": "SoftPool, AutoPool, soft pooling",
    "logsumexp_pool": "LSE pooling, mellowmax, smooth maximum",
    "importance_pool": "LIP, local importance pooling",
    "median_pool": "median filter, rank filter",
    "mode_pool": "majority vote, majority filter, downsample labels",
    "blur_pool": "BlurPool, anti-aliasing, antialiased pooling, shift invariance",
    "max_blur_pool": "MaxBlurPool, anti-aliasing",
    "polyphase_pool": "APS, adaptive polyphase sampling, shift invariance",
    "wavelet_pool": "DWT, discrete wavelet transform, Haar",
    "spectral_pool": "Fourier pooling, FLC, low-pass",
    "dilation_pool": "morphological pooling, grey dilation, max-plus",
    "spatial_pyramid_pool": "SPP, spatial pyramid pooling",
    "pyramid_pool": "PPM, pyramid pooling module, PSPNet",
    "sppf": "SPPF, YOLO",
    "strip_pool": "strip pooling, coordinate attention",
    "regional_max_pool": "R-MAC, image retrieval",
    "stochastic_pool": "stochastic pooling, random pooling",
    "max_pool_dropout": "max-pooling dropout",
    "roi_align": "RoIAlign, torchvision.ops.roi_align, region pooling, bounding boxes",
    "roi_max_pool": "RoIPool, torchvision.ops.roi_pool, bounding boxes",
    "precise_roi_pool": "PrRoIPool",
    "position_sensitive_roi_align": "ps_roi_align, R-FCN",
    "position_sensitive_roi_pool": "ps_roi_pool, R-FCN",
    "deformable_roi_pool": "DeformRoIPool",
    "multi_scale_roi_align": "MultiScaleRoIAlign, FPN, feature pyramid",
    "crop_and_resize": "tf.image.crop_and_resize",
    "first_pool": "CLS token, CLS pooling, tokens",
    "last_pool": "last token, EOS token, tokens",
    "mean_sqrt_length_pool": "sentence embedding, sqrtn",
    "position_weighted_pool": "SGPT, weighted mean of tokens",
    "splade_pool": "SPLADE, sparse retrieval",
    "length_mask": "sequence mask, padding mask, attention mask, tokens, masked mean",
    "segment_ids": "cu_seqlens, ragged, packed tokens",
    "segment_avg_pool": "segment mean, scatter mean, global_mean_pool, graph readout, ragged",
    "segment_sum_pool": "segment sum, scatter add, global_add_pool, graph readout",
    "segment_max_pool": "segment max, scatter max, graph readout",
    "prefix_max_pool": "cumulative maximum, cummax, running maximum",
    "prefix_avg_pool": "running mean, causal mean, expanding mean",
    "attention_pool": "attention pooling, query, tokens, scaled dot product attention",
    "netvlad_pool": "NetVLAD, VLAD, place recognition",
    "covariance_pool": "second-order pooling",
    "isqrt_covariance_pool": "iSQRT-COV, second-order pooling",
    "bilinear_pool": "B-CNN, outer product, second-order pooling",
    "compact_bilinear_pool": "CBP, tensor sketch",
    "spatial_softmax": "soft-argmax, keypoints, differentiable argmax",
    "stats_pool": "statistics pooling, x-vector, mean and std",
    "variance_pool": "local variance, contrast",
    "channel_pool": "cross-channel pooling, CBAM",
    "maxout": "maxout units",
    "global_avgmax_pool": "SelectAdaptivePool2d, avgmax",
    "global_catavgmax_pool": "SelectAdaptivePool2d, catavgmax, AdaptiveConcatPool2d",
    "global_weighted_rank_pool": "GWRP, weak supervision",
    "noisy_or_pool": "multiple-instance learning, MIL",
    "linear_softmax_pool": "sound event detection, MIL",
    "pool": "custom pooling, own pooling, user-defined reduction, reduce_window, nn.pool",
    "Monoid": "custom pooling, own reduction, user-defined reduction, custom reduction",
    "Reduction": "custom pooling, custom reduction, subclass",
    "Domain": "custom pooling, custom windows, subclass",
    "Window": "kernel_size, stride, output size, output_shape, receptive field",
    "pool_mask": "mask of the result, downsample mask, partial convolution",
    "GatedAttentionPool": "ABMIL, attention pooling, multiple-instance learning, MIL",
    "MultiheadAttentionPool": "MAP head, attention pooling, SigLIP, ViT head",
    "AttentionPool2d": "CLIP, attention pooling",
    "PoolingByMultiheadAttention": "PMA, Set Transformer, attention pooling",
    "AttentiveStatisticsPool": "ASP, ECAPA-TDNN, speaker embedding",
}  # fmt: skip


def sections() -> dict[str, list[str]]:
    """Names of each section of the API's front page, those of the algebra left out."""
    text = (API / "index.md").read_text().partition("## The algebra")[0]
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    names = [re.findall(r"^   (\w+)$", part, flags=re.MULTILINE) for part in parts[2::2]]
    return dict(zip(parts[1::2], names, strict=True))


@functools.cache
def layers_of() -> dict[str, list[str]]:
    """The layers of each function: its own, those that learn, and others of its kind."""
    found = {}
    for name in catalogue.functions():
        own, learned = camel(name), f"Learned{camel(name)}"
        found[name] = [n for n in (own, learned) if hasattr(jaxpool.nnx, n)]
    for pool in (pool for pools in catalogue.FAMILIES.values() for pool in pools):
        for layer in pool.layers.split() if pool.functions else ():
            near = [n for n in pool.functions.split() if camel(n) in layer]
            first = (near or pool.functions.split())[0]
            if layer not in found[first]:
                found[first].append(layer)
    return found


@functools.cache
def families() -> dict[str, list[str]]:
    """The layers of each section of the API, each once."""
    own = layers_of()
    found = {
        title: [layer for name in names for layer in own.get(name, ())]
        for title, names in sections().items()
    }
    for family, pools in catalogue.FAMILIES.items():
        for pool in pools:
            if not pool.functions:
                found[SECTIONS[family]] += pool.layers.split()
    return {title: layers for title, layers in found.items() if layers}


def write_layers() -> None:
    """A page for each family of layers; sources that git does not know."""
    folder = API / "layers"
    folder.mkdir(exist_ok=True)
    pages = {f"{slug(title)}.md": page(title, layers) for title, layers in families().items()}
    for old in set(folder.glob("*.md")) - {folder / name for name in pages}:
        old.unlink()
    for name, text in pages.items():
        if not (folder / name).exists() or (folder / name).read_text() != text:
            (folder / name).write_text(text)


def page(title: str, layers: list[str]) -> str:
    """The layers of one family, in both modules."""
    parts = [f"# Layers: {title[0].lower()}{title[1:]}\n"]
    for layer in layers:
        classes = [f".. autoclass:: jaxpool.{module}.{layer}\n   :members:\n" for module in MODULES]
        parts.append("\n".join([f"## {layer}\n\n```{{eval-rst}}", *classes, "```\n"]))
    return "\n".join(parts)


def slug(title: str) -> str:
    """A file's name."""
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def links(name: str) -> list[str]:
    """What follows a docstring, in reStructuredText: layer, function, and other names."""
    module, _, short = name.rpartition(".")
    own = layers_of()
    lines = formula(short) if module == "jaxpool" else []
    if module == "jaxpool" and own.get(short):
        shown = [f"`{m}.{layer} <jaxpool.{m}.{layer}>`" for layer in own[short] for m in MODULES]
        lines += [f"**Layers:** {', '.join(shown)}.", ""]
    elif module in ("jaxpool.nnx", "jaxpool.linen"):
        shown = [f"`{f} <jaxpool.{f}>`" for f, layers in own.items() if short in layers]
        lines += [f"**Function:** {', '.join(shown)}.", ""] if shown else []
    names = OTHER_NAMES[short].split(", ") if short in OTHER_NAMES else []
    if names and module in ("jaxpool", "jaxpool.nnx"):  # once for a layer
        lines += [f"**Also searched as:** {', '.join(names)}.", ""]
        lines += [".. index::", *(f"   ! single: {other}" for other in names), ""]
    return ["", *lines]


def formula(name: str) -> list[str]:
    """That of the catalogue, for the kinds that a function or a reduction is of."""
    lines: list[str] = []
    for pool in (pool for pools in catalogue.FAMILIES.values() for pool in pools):
        if name in f"{pool.functions} {pool.reductions}".split() and name not in HELPERS:
            elements = r"of cells with elements :math:`x_1, \ldots, x_n`"
            lines += [f"**{pool.name}**, {elements}:", "", f".. math:: {pool.formula}", ""]
    return lines


def check(names: dict[str, Any]) -> None:
    """Refuses other names of what is not there."""
    public = {n for module in (jaxpool, jaxpool.nnx) for n in vars(module)}
    if unknown := set(names) - public:
        raise ValueError(f"OTHER_NAMES: no such function or class: {', '.join(sorted(unknown))}")
