"""Run by test_sharding.py in a process with eight CPU devices: prints a JSON object.

With `--exhaustive` of every program, split along every axis; else of each along some.
"""

import functools
import itertools
import json
import re
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxpool
from jaxpool._src.lowering import masked as masked_sums

COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute")
SPLITS = {"batch": P("d"), "channels": P(None, None, None, "d"), "rows": P(None, "d"),
          "columns": P(None, None, "d")}  # fmt: skip


def unpooled(x):
    y, indices = jaxpool.max_pool_with_argmax(x, (2, 2))
    return jaxpool.max_unpool(y, indices, (2, 2))


def masked(x):
    where = jnp.arange(x.shape[1]).reshape(-1, 1, 1) % 3 > 0
    return jaxpool.max_pool(x, (3, 3), 2, 1, where=where)


PROGRAMS = {
    "max": lambda x: jaxpool.max_pool(x, (3, 3), 2, 1),
    "max_large": lambda x: jaxpool.max_pool(x, (5, 5), 1, 2),
    "max_runs": lambda x: jaxpool.max_pool(x, (25,), 1, 12, axes=1),
    "max_masked": masked,
    "min": lambda x: jaxpool.min_pool(x, (2, 2)),
    "argmax": lambda x: jaxpool.max_pool_with_argmax(x, (3, 3), 2, 1)[0],
    "avg": lambda x: jaxpool.avg_pool(x, (3, 3), 2, 1, count_include_pad=False),
    "lp": lambda x: jaxpool.lp_pool(x, (3, 3), 2, 1),
    "global_max": lambda x: jaxpool.global_max_pool(x, (1, 2), keepdims=True),
    "global_avg": lambda x: jaxpool.global_avg_pool(x, (1, 2)),
    "global_avg_masked": lambda x: jaxpool.global_avg_pool(x, (1, 2), where=x[..., :1] > 0),
    "unpool": unpooled,
    "adaptive_max": lambda x: jaxpool.adaptive_max_pool(x, (7, 5)),
    "adaptive_avg": lambda x: jaxpool.adaptive_avg_pool(x, (7, 5)),
}


EXPLICIT = ("max", "max_large", "argmax", "avg", "global_avg", "unpool", "adaptive_max")
EXPLICIT_QUICK = ("max", "argmax", "unpool", "adaptive_max")
NEED_PLANES = (
    "global_max",
    "global_avg",
    "global_avg_masked",
    "unpool",
    "adaptive_max",
    "adaptive_avg",
)  # wherever
# Quickly: programs by number, so that all axes have their turns, and axes that need halos more.
MAPPED = ("max_large", "max_masked", "avg", "unpool", "adaptive_max")


def splits(name, mode, everything):
    """The axes along which a program is tried."""
    number = list(PROGRAMS).index(name)
    whole = ("batch", "channels")
    if name in NEED_PLANES:
        return whole if everything else (whole[number % 2],)
    if everything or (name == "max" and mode is AxisType.Auto):
        return tuple(SPLITS)
    halo = "rows" if name in ("min", "max_runs") else ("columns", "rows")[number % 2]
    return (halo,) if mode is AxisType.Explicit else (halo, whole[number // 2 % 2])


def with_gradient(f):
    def both(x):
        y, vjp = jax.vjp(f, x)
        return y, vjp(jax.tree.map(jnp.cos, y))[0]

    return both


def difference(found, expected):
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    return max(float(np.max(np.abs(np.asarray(a) - np.asarray(b)))) for a, b in leaves)


REGIONS = {
    "roi_max": jaxpool.roi_max_pool,
    "align_max": functools.partial(jaxpool.roi_align, sampling_ratio=1, reduction="max"),
    "position_sensitive": jaxpool.position_sensitive_roi_pool,
    "align": jaxpool.roi_align,
    "precise": jaxpool.precise_roi_pool,
    "position_sensitive_align": jaxpool.position_sensitive_roi_align,
}
# How the map and its boxes are split: each device has its own, or they are one for all.
DIFFERING = {"maps": (P("d"), P()), "boxes": (P(), P("d"))}
PLACED = {"rows": (P(None, "d"), P()), "channels": (P(None, None, None, "d"), P()),
          "images": (P("d"), P("d"))}  # fmt: skip
QUICK_REGIONS = (("roi_max", "maps"), ("roi_max", "boxes"), ("roi_max", "channels"))


def of_regions(everything):
    """Maps that differ between devices while boxes do not, the reverse, and explicit meshes."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((8, 16, 8, 32)).astype(np.float32)
    boxes = np.sort(rng.uniform(-1, 12, (8, 8, 2, 2)), 2).reshape(8, 8, 4).astype(np.float32)
    auto = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    explicit = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
    everywhere = itertools.product(REGIONS, (*DIFFERING, *PLACED))

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(name, x, boxes):
        y, vjp = jax.vjp(lambda x, boxes: REGIONS[name](x, boxes, 2), x, boxes)
        return y, vjp(jnp.cos(3 * y) / 16)

    report = {}
    for name, split in everywhere if everything else QUICK_REGIONS:
        specs = DIFFERING.get(split, (P("d"), P("d")))
        own = [spec == P("d") for spec in specs]
        given = [v if o else v[0] for v, o in zip((x, boxes), own, strict=True)]

        def of_one(i, given=given, own=own, name=name):
            return gradients(name, *(v[i] if o else v for v, o in zip(given, own, strict=True)))

        expected = jax.tree.map(lambda *parts: np.stack(parts), *map(of_one, range(8)))
        if split in PLACED:
            with jax.set_mesh(explicit):
                placed = [jax.device_put(v, NamedSharding(explicit, spec))
                          for v, spec in zip(given, PLACED[split], strict=True)]  # fmt: skip
                found = jax.jit(jax.vmap(functools.partial(gradients, name)))(*placed)
        else:

            def on_device(x, boxes, own=own, name=name):
                one = [v[0] if o else v for v, o in zip((x, boxes), own, strict=True)]
                y, back = gradients(name, *one)
                return y[None], tuple(g[None] if o else g for g, o in zip(back, own, strict=True))

            mapped = jax.shard_map(on_device, mesh=auto, in_specs=specs, out_specs=(P("d"), specs))
            found = jax.jit(mapped)(*given)
            # What is one for all devices has the gradients of all of them, added up.
            back = tuple(g if o else g.sum(0) for g, o in zip(expected[1], own, strict=True))
            expected = expected[0], back
        report[f"{name} {split} regions"] = {"difference": difference(found, expected)}
    return report


def of_descriptors():
    """All of them, with their gradients, of images that are parted between devices."""
    random = np.random.default_rng(3)
    x = random.standard_normal((8, 6, 5, 4)).astype(np.float32)
    centroids = random.standard_normal((3, 4)).astype(np.float32)
    sketch = jaxpool.draw_sketch(jax.random.key(0), 4, 12)
    pools = {
        "root": lambda x, **k: jaxpool.isqrt_covariance_pool(x, iterations=11, **k),
        "sketch": lambda x, **k: jaxpool.compact_bilinear_pool(x, sketch=sketch, **k),
        "vlad": lambda x, **k: jaxpool.netvlad_pool(x, centroids, x, ghosts=1, **k),
        "places": lambda x, **k: jaxpool.spatial_softmax(x, **k),
    }

    def every(x):
        return {n: pool(x, axes=(1, 2), where=x[..., :1] > -1) / 16 for n, pool in pools.items()}

    return on_devices("descriptors", every, x)


def of_spectra():
    """Short axes, which are products, of images and channels that devices share."""
    x = np.random.default_rng(4).standard_normal((8, 6, 9, 8)).astype(np.float32)
    key = jax.random.key(0)

    def pools(x):
        return [jaxpool.spectral_pool(x, (4, 5), window="hamming"),
                jaxpool.spectral_dropout_pool(x, (8, 3), key=key)]  # fmt: skip

    return on_devices("spectra", pools, x, ("batch", "channels"))


def of_phases():
    """Phases and wavelets of images that are parted between devices, with their gradients."""
    x = np.random.default_rng(4).standard_normal((8, 4, 6, 2)).astype(np.float32)

    def pools(x):
        y, phase = jaxpool.polyphase_pool(x, (2, 3), return_phase=True)
        return y, jaxpool.polyphase_unpool(y, phase, (2, 3)), jaxpool.wavelet_pool(x, bands="all")

    return on_devices("phases", pools, x)


def on_devices(name, pools, x, splits=("batch",)):
    """A report of pools and their gradients, on explicit meshes and with the batch in `shard_map`."""

    def both(x):
        y, vjp = jax.vjp(pools, x)
        return y, vjp(jax.tree.map(jnp.cos, y))[0]

    wanted, report = jax.jit(both)(x), {}
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
    for split in splits:
        with jax.set_mesh(mesh):
            placed = jax.device_put(x, NamedSharding(mesh, SPLITS[split]))
            compiled = jax.jit(both).lower(placed).compile()
            found = compiled(placed)
        report[f"{name} Explicit {split}"] = {
            "difference": difference(found, wanted),
            "collectives": collectives(compiled),
            "sharded_as_x": all(
                y.sharding.is_equivalent_to(placed.sharding, y.ndim) for y in jax.tree.leaves(found)
            ),
        }
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    found = jax.jit(jax.shard_map(both, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(x)
    report[f"{name} shard_map"] = {"difference": difference(found, wanted)}
    return report


def collectives(compiled):
    text = compiled.as_text()
    return {c: n for c in COLLECTIVES if (n := len(re.findall(rf" {c}(?:-start)?\(", text)))}


def attended():
    """Attention over rows and columns of images that devices share, masked, with its weights."""
    x = np.random.default_rng(0).standard_normal((8, 4, 3, 4)).astype(np.float32)
    query = x[0, 0, :2]

    def pool(x):
        return jaxpool.attention_pool(
            x, query, axes=(1, 2), num_heads=2, where=x[..., :1] > -1, return_weights=True
        )

    return on_devices("attention", pool, x)


def main(everything):
    assert len(jax.devices()) == 8
    masked_sums._BLOCK = 1 << 12  # so that these arrays are many blocks
    x = np.random.default_rng(0).standard_normal((8, 32, 32, 8)).astype(np.float32)
    report = {}

    @functools.cache
    def on_one_device(name):
        return jax.jit(with_gradient(PROGRAMS[name]))(x)

    for (name, f), mode in itertools.product(PROGRAMS.items(), (AxisType.Auto, AxisType.Explicit)):
        explicit = EXPLICIT if everything else EXPLICIT_QUICK
        if mode is AxisType.Explicit and name not in explicit:
            continue
        mesh = jax.make_mesh((8,), ("d",), axis_types=(mode,))
        for split in splits(name, mode, everything):
            with jax.set_mesh(mesh):
                placed = jax.device_put(x, NamedSharding(mesh, SPLITS[split]))
                compiled = jax.jit(with_gradient(f)).lower(placed).compile()
                found = compiled(placed)
            report[f"{name} {mode.name} {split}"] = {
                "difference": difference(found, on_one_device(name)),
                "collectives": collectives(compiled),
                "sharded_as_x": found[1].sharding.is_equivalent_to(placed.sharding, x.ndim),
            }
    # A mesh that is only the array's own; and an empty value that is an array.
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))
    placed = jax.device_put(x, NamedSharding(mesh, P("d")))
    f = with_gradient(PROGRAMS["max"])
    report["max alone"] = {"difference": difference(jax.jit(f)(placed), on_one_device("max"))}
    with jax.set_mesh(mesh):
        fill = lambda x, v: jaxpool.max_pool(x, (2, 2), where=x > 1, empty_value=v)  # noqa: E731
        found = jax.jit(fill)(placed, jnp.asarray(3.0))
        report["filled"] = {"difference": difference(found, fill(x, 3.0))}
    # Bounds that come of a mask, which is sharded as x is.
    pieces = with_gradient(
        lambda x: jaxpool.piecewise_pool(x, (1, 3), jaxpool.Std(), axis=1, where=x > -1)
    )
    with jax.set_mesh(mesh):
        found = jax.jit(pieces)(placed)
    report["pieces"] = {"difference": difference(found, jax.jit(pieces)(x))}
    # Channels on several devices, which a vector has between the cells of other levels.
    pyramid = with_gradient(lambda x: jaxpool.spatial_pyramid_pool(x, (1, 2)))
    with jax.set_mesh(mesh):
        found = jax.jit(pyramid)(jax.device_put(x, NamedSharding(mesh, SPLITS["channels"])))
    report["pyramid"] = {"difference": difference(found, jax.jit(pyramid)(x))}
    # One window alone, whose stride is longer than what a device has.
    one_cell = with_gradient(
        lambda x: [jaxpool.pool(x, jaxpool.Adaptive((1,), axes=1), jaxpool.Sum()),
                   jaxpool.sum_pool(x, 3, 30, axes=1, footprint=[True, False, True])]
    )  # fmt: skip
    with jax.set_mesh(mesh):
        found = jax.jit(one_cell)(jax.device_put(x, NamedSharding(mesh, SPLITS["rows"])))
    report["one cell"] = {"difference": difference(found, jax.jit(one_cell)(x)) / 32}
    # What is drawn from strips of an axis that is sharded, with and without a mask.
    key = jax.random.key(0)
    for name, options in {"s3": {}, "s3 masked": {"where": x[..., :1] > -1}}.items():
        f = with_gradient(
            functools.partial(
                jaxpool.s3_pool,
                window_shape=(3, 3),
                strides=2,
                padding=1,
                grid=4,
                key=key,
                **options,
            )
        )
        with jax.set_mesh(mesh):
            found = jax.jit(f)(jax.device_put(x, NamedSharding(mesh, P(None, "d"))))
        report[name] = {"difference": difference(found, jax.jit(f)(x))}
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
    for name in PROGRAMS if everything else MAPPED:
        f = PROGRAMS[name]
        mapped = jax.shard_map(with_gradient(f), mesh=mesh, in_specs=P("d"), out_specs=P("d"))
        found = jax.jit(mapped)(x)
        report[f"{name} shard_map"] = {"difference": difference(found, on_one_device(name))}

    # Loops, which begin with constants.
    looped = {
        "median": lambda x: jaxpool.global_median_pool(x, (1, 2)),
        "median of large windows": lambda x: jaxpool.median_pool(x, (9, 8), 8),
        "largest of large windows": lambda x: jaxpool.top_k_mean_pool(x, (9, 8), 8, k=3),
        "matrix": lambda x: jaxpool.matrix_pool(x, jnp.ones((2, 32)), 1),
        "deterministic": lambda x: jaxpool.global_stochastic_pool(x, (1, 2), deterministic=True),
    }
    f = lambda x: [with_gradient(pool)(x) for pool in looped.values()]  # noqa: E731
    found = jax.jit(jax.shard_map(f, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(x)
    for name, mapped, whole in zip(looped, found, jax.jit(f)(x), strict=True):
        report[f"{name} shard_map"] = {"difference": difference(mapped, whole)}

    # One x for all devices, and a mask of its own for each.
    def masked_by(where, x):
        return jaxpool.max_pool(x, (3, 3), 2, 1, where=where)

    masks = np.random.default_rng(1).random((8, 32, 32, 1)) < 0.7
    mapped = jax.shard_map(
        lambda x, where: jax.lax.pmean(masked_by(where, x), "d"),
        mesh=mesh, in_specs=(P(), P("d")), out_specs=P(),
    )  # fmt: skip
    found = jax.jit(with_gradient(lambda x: mapped(x, masks)))(x)
    by_hand = with_gradient(lambda x: sum(masked_by(mask, x) for mask in masks) / 8)
    report["masked shard_map"] = {"difference": difference(found, jax.jit(by_hand)(x))}

    # Indices that are the same on all devices.
    y, indices = jaxpool.max_pool_with_argmax(x[:1], (4, 4))
    of_each = np.asarray(y) * np.arange(1, 9, dtype=np.float32).reshape(8, 1, 1, 1)
    back = with_gradient(
        lambda y: jaxpool.max_unpool(y, jnp.broadcast_to(indices, y.shape), (4, 4))
    )
    mapped = jax.shard_map(back, mesh=mesh, in_specs=P("d"), out_specs=P("d"))
    report["unpool shard_map, indices of all"] = {
        "difference": difference(jax.jit(mapped)(of_each), jax.jit(back)(of_each))
    }
    report |= of_regions(everything) | of_descriptors() | attended()
    report |= of_spectra() | of_phases()
    print(json.dumps(report))


if __name__ == "__main__":
    main("--exhaustive" in sys.argv)
