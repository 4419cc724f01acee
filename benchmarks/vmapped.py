"""Measures every function under ``jax.vmap``: ``python -m benchmarks.vmapped``.

Each runs over a batch of images twice: mapped by ``jax.vmap``, and with a batch axis of its own, or
one image after another where it has none. A conditional costs both its branches under vmap, which
is what this is to find. `--modes vjp` has the gradient in the images too.
"""

import argparse
import functools
import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, report, timing
from benchmarks.programs import in_mode

BATCH, IMAGE = 16, (56, 56, 32)
AXES, CELLS = (-3, -2), 7
MODES = ("fwd", "vjp")

_CHANNELS = IMAGE[-1]
_RANDOM = np.random.default_rng(0)
_FILTER = _RANDOM.standard_normal((3, 3)).astype(np.float32)
_BOXES = (56 * np.sort(_RANDOM.uniform(0, 1, (8, 2, 2)), axis=1)).reshape(8, 4).astype(np.float32)
_ROWS = _RANDOM.standard_normal((CELLS, IMAGE[0])).astype(np.float32)


def _key() -> jax.Array:
    return jax.random.key(0)


# What functions of windows and of whole axes take besides those.
_OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "gated_pool": lambda x: {"gate": _FILTER},
    "tree_pool": lambda x: {
        "leaves": np.ones((2, 3, 3, 1), np.float32), "gates": np.ones((1, 3, 3, 1), np.float32)},
    "rank_pool": lambda x: {"weights": np.float32([0.5, 0.25, 0.25])},
    "global_rank_pool": lambda x: {"weights": np.float32([0.5, 0.25, 0.25])},
    "quantile_pool": lambda x: {"q": 0.3},
    "global_quantile_pool": lambda x: {"q": 0.3},
    "top_k_mean_pool": lambda x: {"k": 2},
    "global_top_k_mean_pool": lambda x: {"k": 5},
    "wildcat_pool": lambda x: {"kmin": 0.1, "kmax": 0.2},
    "ada_pool": lambda x: {"beta": 0.5},
    "importance_pool": lambda x: {"logits": x},
    "global_importance_pool": lambda x: {"logits": x},
    **{name: lambda x: {"structure": _FILTER} for name in (
        "dilation_pool", "erosion_pool", "opening_pool", "closing_pool")},
    **{name: lambda x: {"key": _key()} for name in (
        "stochastic_pool", "global_stochastic_pool", "rank_stochastic_pool", "max_pool_dropout",
        "random_mixed_pool", "s3_pool", "spectral_dropout_pool")},
}  # fmt: skip


def _fractional(name: str) -> Callable[[Any], Any]:
    pool = getattr(jaxpool, name)
    return lambda x: pool(x, 2, output_shape=(25, 25), axes=AXES, key=_key())


def _sequence(name: str) -> Callable[[Any], Any]:
    pool = getattr(jaxpool, name)
    return lambda x: pool(x, axis=-3, where=x > 0)


def _segments(name: str) -> Callable[[Any], Any]:
    pool = getattr(jaxpool, name)
    return lambda x: pool(x, np.arange(56) % 5, 5, axis=-3 % x.ndim)


def _prefix(name: str) -> Callable[[Any], Any]:
    pool = getattr(jaxpool, name)
    return lambda x: pool(x, -3)


def _region(name: str, channels: int = 1) -> Callable[[Any], Any]:
    pool = getattr(jaxpool, name)
    return lambda x: pool(jnp.tile(x[..., :4], channels), _BOXES, (3, 3))


def _planes(x: jax.Array) -> jax.Array:
    """Places that differ, for what takes positions in planes of 56 x 56, of half the size."""
    return jnp.broadcast_to(_spread(), (*x.shape[:-3], 28, 28, x.shape[-1]))


def _spread() -> np.ndarray:
    return (4 * np.arange(28 * 28, dtype=np.int32)).reshape(28, 28, 1)


# Those with other arguments, which an image follows, and images before it if they take any.
_OTHERS: dict[str, Callable[[Any], Any]] = {
    "blur_pool": lambda x: jaxpool.blur_pool(x, 2, axes=AXES),
    "max_blur_pool": lambda x: jaxpool.max_blur_pool(x, 2, axes=AXES),
    "gaussian_pool": lambda x: jaxpool.gaussian_pool(x, 2, filter_size=3, axes=AXES),
    "content_aware_blur_pool": lambda x: jaxpool.content_aware_blur_pool(
        x, x[..., ::2, ::2, :9], 2, axes=AXES, channel_axis=-1),
    "wavelet_pool": lambda x: jaxpool.wavelet_pool(x, "db2", axes=AXES),
    "polyphase_pool": lambda x: jaxpool.polyphase_pool(x, 2, axes=AXES),
    "polyphase_unpool": lambda x: jaxpool.polyphase_unpool(
        x[..., ::2, ::2, :], (x[..., :2, 0, 0] > 0).astype(np.int32), 2, axes=AXES),
    "channel_pool": lambda x: jaxpool.channel_pool(x, 4),
    "maxout": lambda x: jaxpool.maxout(x, 4),
    "k_max_pool": lambda x: jaxpool.k_max_pool(x, 3, -2),
    "matrix_pool": lambda x: jaxpool.matrix_pool(x, [_ROWS, _ROWS], AXES),
    "matrix_pool_max": lambda x: jaxpool.matrix_pool(x, [_ROWS, _ROWS], AXES, "max"),
    "pool": lambda x: jaxpool.pool(
        x, jaxpool.Global(AXES), jaxpool.Monoid(jnp.add, np.float32(0))),
    "mode_pool": lambda x: jaxpool.mode_pool((4 * x).astype(np.int32), 3, 2, 1, axes=AXES),
    "pool_mask": lambda x: jaxpool.pool_mask(x > 0, jaxpool.Window(3, 2, 1, axes=AXES), "all"),
    "pyramid_pool": lambda x: jaxpool.pyramid_pool(x, [1, 3], axes=AXES),
    "spatial_pyramid_pool": lambda x: jaxpool.spatial_pyramid_pool(x, [1, 3], axes=AXES),
    "regional_max_pool": lambda x: jaxpool.regional_max_pool(x, 2, axes=AXES),
    "strip_pool": lambda x: jaxpool.strip_pool(x, -3),
    "attention_pool": lambda x: jaxpool.attention_pool(
        x, np.ones((1, _CHANNELS), np.float32), axes=AXES, num_heads=4),
    "sppf": lambda x: jaxpool.sppf(x, 3, axes=AXES),
    **{name: _sequence(name) for name in (
        "first_pool", "last_pool", "mean_sqrt_length_pool", "position_weighted_pool",
        "approximate_rank_pool", "splade_pool")},
    **{name: _segments(name) for name in (
        "segment_max_pool", "segment_min_pool", "segment_sum_pool", "segment_avg_pool")},
    **{name: _prefix(name) for name in ("prefix_max_pool", "prefix_sum_pool", "prefix_avg_pool")},
    "crop_and_resize": lambda x: jaxpool.crop_and_resize(
        x[..., :4], _BOXES / np.float32(56), (3, 3)),
    "featurewise_sort_pool": lambda x: jaxpool.featurewise_sort_pool(
        x, np.float32([1, 0.5, 0]), axis=-3, where=x > 0),
    "temporal_pyramid_pool": lambda x: jaxpool.temporal_pyramid_pool(x, (1, 3), axis=-3),
    "piecewise_pool": lambda x: jaxpool.piecewise_pool(x, (9, 30), axis=-3, where=x > 0),
    "netvlad_pool": lambda x: jaxpool.netvlad_pool(
        x, np.ones((8, _CHANNELS), np.float32), x[..., :9], axes=AXES, ghosts=1),
    "compact_bilinear_pool": lambda x: jaxpool.compact_bilinear_pool(
        x, AXES, sketch=jaxpool.draw_sketch(_key(), _CHANNELS, 256)),
    "convert_indices": lambda x: jaxpool.convert_indices(_planes(x), x.shape, AXES, to="onnx"),
    "max_unpool": lambda x: jaxpool.max_unpool(
        x[..., ::2, ::2, :], _planes(x), 2, axes=AXES),
    **{name: _fractional(name) for name in (
        "fractional_max_pool", "fractional_avg_pool", "fractional_max_pool_with_argmax")},
}  # fmt: skip

# Those of one image, which have no batch axis.
OF_ONE: dict[str, Callable[[Any], Any]] = {
    **{name: _region(name) for name in ("roi_align", "roi_max_pool", "precise_roi_pool")},
    **{f"position_sensitive_roi_{how}": _region(f"position_sensitive_roi_{how}", 9)
       for how in ("align", "pool")},
    "deformable_roi_pool": lambda x: jaxpool.deformable_roi_pool(
        x, _BOXES, np.zeros((8, 3, 3, 2), np.float32), (3, 3)),
    "multi_scale_roi_align": lambda x: jaxpool.multi_scale_roi_align(
        [x, x[::2, ::2]], _BOXES, (3, 3), spatial_scales=(1.0, 0.5)),
}  # fmt: skip


def _form(name: str) -> Callable[[Any], Any]:
    """The function by its name, of images with any number of axes before theirs."""
    pool = getattr(jaxpool, name)
    given = inspect.signature(pool).parameters
    options = _OPTIONS.get(name, lambda x: {})
    if "output_shape" in given:
        return lambda x: pool(x, (CELLS, CELLS), axes=AXES, **options(x))
    if "window_shape" in given:
        more = {"strides": 2, "padding": 1} if "strides" in given else {}
        return lambda x: pool(x, window_shape=3, axes=AXES, **more, **options(x))
    return lambda x: pool(x, axes=AXES, **options(x))


def functions() -> list[str]:
    """The names of all public functions of arrays to be pooled."""
    names = {n for n in dir(jaxpool) if callable(getattr(jaxpool, n)) and n[0] != "_"}
    classes = {name for name in names if inspect.isclass(getattr(jaxpool, name))}
    others = {"parabolic_structure", "length_mask", "segment_ids", "draw_sketch", "halo_exchange"}
    return sorted(names - classes - others)


@functools.cache
def forms() -> dict[str, Callable[[Any], Any]]:
    """What is measured, by name."""
    written = {**_OTHERS, **OF_ONE}
    return written | {name: _form(name) for name in functions() if name not in written}


def both(name: str, mode: str) -> dict[str, Callable[..., Any]]:
    """The function mapped by vmap, and what that is compared with, of a batch of images."""
    form = forms()[name]
    mapped = jax.vmap(form)
    batched = functools.partial(jax.lax.map, form) if name in OF_ONE else form
    return {"vmap": in_mode(mapped, mode), "batched": in_mode(batched, mode)}


def arguments_of(name: str, mode: str, batch: int = BATCH) -> list[jax.Array]:
    """Images, and what is handed back to them."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((batch, *IMAGE), np.float32))
    if mode == "fwd":
        return [x]
    y = jax.tree.leaves(jax.eval_shape(forms()[name], x[0]))[0]
    return [x, jnp.asarray(random.standard_normal((batch, *y.shape), np.float32))]


def has_gradient(name: str) -> bool:
    y = jax.tree.leaves(jax.eval_shape(forms()[name], jax.ShapeDtypeStruct(IMAGE, np.float32)))[0]
    return jnp.issubdtype(y.dtype, jnp.floating)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.vmapped", description=str(__doc__).partition("\n")[0]
    )
    add = parser.add_argument
    add("--ops", default=",".join(forms()), help="names of functions")
    add("--modes", default="fwd,vjp", help=f"of {', '.join(MODES)}")
    add("--repeats", type=int, default=20, help="samples of each program")
    add("--batch", type=int, default=BATCH, help="number of images")
    add("--out", help="JSONL to write, a row for each function and mode")
    options = parser.parse_args(arguments)
    rows = []
    for name in options.ops.split(","):
        if name not in forms():
            raise SystemExit(f"--ops: must be of {', '.join(forms())}, but is {name!r}.")
        for mode in options.modes.split(","):
            if mode == "fwd" or has_gradient(name):
                rows.append(_measured(name, mode, options.batch, options.repeats))
    if options.out:
        facts = machine.facts_of_machine()
        Path(options.out).write_text("".join(json.dumps({**r, **facts}) + "\n" for r in rows))
    rows.sort(key=lambda row: -row["ratio"])
    columns = ["op", "mode", "vmap us", "batched us", "ratio"]
    print(report.table("Time under vmap over that of a batch axis", columns,
                       ([row[c.replace(" ", "_")] for c in columns] for row in rows)))  # fmt: skip


def _measured(name: str, mode: str, batch: int, repeats: int) -> dict[str, Any]:
    given = arguments_of(name, mode, batch)
    calls = {}
    for how, function in both(name, mode).items():
        compiled = jax.jit(function).lower(*given).compile()
        calls[how] = lambda c=compiled: jax.block_until_ready(c(*given))
    found = timing.measure(calls, repeats)
    jax.clear_caches()
    return {
        "op": name,
        "mode": mode,
        **{f"{how}_us": 1e6 * samples.median for how, samples in found.items()},
        "ratio": found["batched"].ratio(found["vmap"]),
    }


if __name__ == "__main__":
    machine.keep_memory()
    main()
