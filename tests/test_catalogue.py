"""The catalogue names every public function, layer and reduction, and every variant that is known."""

import importlib.util
import inspect
import pathlib
import sys

import jaxpool
import jaxpool.linen

TESTS_OF = ("__init__.py",)

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"

# What the literature, PyTorch, Keras, torchvision, timm and ONNX call poolings.
VARIANTS = """
    max pooling, min pooling, average pooling, sum pooling, lp pooling, global_avgmax_pool,
    adaptive_avg_pool, argmax, max unpooling, generalized mean (gem), power mean, log-sum-exp,
    mellowmax, softpool, autopool, blur pooling, max_blur_pool, spatial pyramid pooling (spp, ppm),
    sppf, pool_mask, position-weighted, splade, cls, square root of the length, segment_max_pool,
    attention pooling, multiheadattentionpool, poolingbymultiheadattention, attentionpool2d, abmil,
    statistics pooling, attentive statistics, mixed max-average, gated max-average, median,
    quantile, k-max, top-k mean, wildcat, gwrp, stochastic pooling, fractional pooling,
    linear-softmax, local importance pooling, spectral pooling, flc, asap, aps, lps, roi align,
    roi max pooling, covariance pooling, isqrt, bilinear pooling, netvlad, ghostvlad, strip pooling,
    dilation and erosion, opening and closing, corner pooling, prefix pooling, spatial softmax,
    soft-argmax, channel pooling, maxout, r-mac, mac, spoc, moment, variance, simpool, tree pooling,
    adapool, edscw, idw, detail-preserving, s3pool, ordinal, rank-based stochastic, fspool,
    universal pooling, hartley, cosine, wavelet, diffstride, position-sensitive, precise roi,
    deformable roi, compact bilinear, kernel pooling, mixed pooling at random, max-pooling dropout,
    leaf, gaussian, noisy-or, product pooling, tokenlearner, piecewise, chunk pooling,
    hierarchical pooling, temporal pyramid, dynamic image, tropical, content-aware, mode pooling,
    crop and resize, graph pooling, set2set, squeeze-and-excitation, token merging, fisher vectors,
    rotated, non-maximum suppression
"""


def catalogue():
    sys.path.insert(0, str(DOCS))
    spec = importlib.util.spec_from_file_location("catalogue", DOCS / "catalogue.py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DOCS))
    return module


def test_every_name_has_one_row():
    module = catalogue()
    rows = [pool for pools in module.FAMILIES.values() for pool in pools]
    named = sorted(name for pool in rows for name in pool.functions.split())
    assert named == sorted(n for n in module.functions() if n != "pool")
    layers = [name for pool in rows for name in module.learned(pool)]
    assert sorted(layers) == sorted(module.layers())
    reductions = {n for n, v in vars(jaxpool).items() if inspect.isclass(v)
                  and issubclass(v, jaxpool.Reduction) and v is not jaxpool.Reduction}  # fmt: skip
    assert {name for pool in rows for name in pool.reductions.split()} == reductions


def test_every_variant_is_there():
    page = (DOCS / "catalogue.md").read_text().lower()
    missing = [v for v in " ".join(VARIANTS.split()).split(", ") if v not in page]
    assert not missing, missing


def test_the_page_is_that_of_the_table():
    assert (DOCS / "catalogue.md").read_text() == catalogue().page()


def test_the_readme_counts_kinds_and_names_each_family():
    families = catalogue().FAMILIES
    readme = (DOCS.parent / "README.md").read_text()
    assert f"lists {sum(map(len, families.values()))} kinds of pooling" in readme
    assert all(f"| [{family}](docs/catalogue.md#" in readme for family in families)
