"""What each function exchanges between devices: ``python -m benchmarks.sharding``.

Every public function of arrays, with its gradient, of images that eight simulated devices share by
batch, by channels, by rows or by batch and rows, in auto and in explicit mode and in
`jax.shard_map`. Collectives, and the bytes of their results on one device, are counted in the
compiled program; one in a loop counts once. Values and gradients are compared with those of one
device. Writes the table of docs/sharding.md if all functions are tried; that takes an hour.
"""

import argparse
import collections
import dataclasses
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks import vmapped

PAGE = Path(__file__).parent.parent / "docs" / "sharding.md"
BATCH = 8
# How images lie on 2 x 4 devices.
SPLITS = {
    "batch": P(("a", "b")),
    "channels": P(None, None, None, ("a", "b")),
    "rows": P(None, "b"),
    "batch and rows": P("a", "b"),
}
MODES = ("auto", "explicit", "shard_map")
_BYTES = {"f64": 8, "s64": 8, "u64": 8, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "pred": 1, "s8": 1,
          "u8": 1}  # fmt: skip
_COLLECTIVE = re.compile(
    r"= (\S.*?) (all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute)(?:-start)?\("
)


@dataclasses.dataclass(frozen=True)
class Exchange:
    """Collectives of a compiled program: how many of each kind, and the bytes of all."""

    counts: dict[str, int]
    size: int

    @classmethod
    def of(cls, text: str) -> "Exchange":
        counts, size = collections.Counter(), 0
        for shapes, kind in _COLLECTIVE.findall(text):
            counts[kind] += 1
            for dtype, sizes in re.findall(r"(\w+)\[([\d,]*)\]", shapes):
                size += _BYTES.get(dtype, 4) * math.prod(map(int, filter(None, sizes.split(","))))
        return cls(dict(sorted(counts.items())), size)


def form_of(name: str) -> Callable[[Any], Any]:
    """The function of a batch of images."""
    form = vmapped.forms()[name]
    return jax.vmap(form) if name in vmapped.OF_ONE or name == "crop_and_resize" else form


def with_gradient(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Results, and what comes back to x from those that are floats."""

    def both(x: jax.Array) -> Any:
        def floats(x: jax.Array) -> Any:
            leaves = jax.tree.leaves(form(x))
            return [y for y in leaves if jnp.issubdtype(y.dtype, jnp.floating)], leaves

        y, vjp, leaves = jax.vjp(floats, x, has_aux=True)
        return leaves, vjp(jax.tree.map(jnp.cos, y))[0]

    return both


def images(shape: Sequence[int] = vmapped.IMAGE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((BATCH, *shape)).astype(np.float32)


def compiled_for(function: Callable[[Any], Any], x: Any, split: str, mode: str) -> tuple[Any, Any]:
    """The program for images that devices share, and the images."""
    kind = AxisType.Explicit if mode == "explicit" else AxisType.Auto
    mesh = jax.make_mesh((2, 4), ("a", "b"), axis_types=(kind, kind))
    placed = jax.device_put(x, NamedSharding(mesh, SPLITS[split]))
    if mode == "shard_map":
        spec = SPLITS[split]
        function = jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec)
    if mode == "explicit":
        with jax.set_mesh(mesh):
            return jax.jit(function).lower(placed).compile(), placed
    return jax.jit(function).lower(placed).compile(), placed


def difference(found: Any, wanted: Any) -> float:
    """The largest one, in units of what is wanted where that is large."""
    worst = 0.0
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        a, b = (np.asarray(v).astype(np.float64) for v in (a, b))
        worst = max(worst, float(np.max(np.abs(a - b) / (1 + np.abs(b)), initial=0)))
    return worst


def tried(name: str, splits: Sequence[str], modes: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each split and mode."""
    x, rows = images(), []
    both = with_gradient(form_of(name))
    wanted = jax.jit(both)(x)
    for split in splits:
        for mode in modes:
            if mode == "shard_map" and split != "batch":
                continue
            row = {"op": name, "split": split, "mode": mode}
            try:
                compiled, placed = compiled_for(both, x, split, mode)
                exchange = Exchange.of(compiled.as_text())
                row |= {"counts": exchange.counts, "bytes": exchange.size,
                        "difference": difference(compiled(placed), wanted)}  # fmt: skip
            except Exception as error:  # its message is what the table is about
                row["error"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            rows.append(row)
    jax.clear_caches()
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sharding", description=str(__doc__).partition("\n")[0]
    )
    add = parser.add_argument
    add("--ops", help="names of functions")
    add("--splits", default=",".join(SPLITS), help=f"of {', '.join(SPLITS)}")
    add("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)}")
    add("--out", type=Path, help="JSONL to write, a row for each function, split and mode")
    options = parser.parse_args(arguments)
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX looks for devices
    rows = []
    for name in options.ops.split(",") if options.ops else vmapped.forms():
        new = tried(name, options.splits.split(","), options.modes.split(","))
        for row in new:
            print(json.dumps(row), flush=True)
        rows += new
    if options.out:
        options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main(sys.argv[1:])
