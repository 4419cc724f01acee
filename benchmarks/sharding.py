"""What each function exchanges between devices: ``python -m benchmarks.sharding``.

Every public function of arrays, with its gradient, of images that eight simulated devices share by
batch, by channels, by rows or by batch and rows, in auto and in explicit mode and in
`jax.shard_map`. Collectives, and the bytes of their results on one device, are counted in the
compiled program; one in a loop counts once. Values and gradients are compared with those of one
device. All functions take an hour or more. ``--page`` writes the table of docs/sharding.md from
what is recorded, and ``--out benchmarks/sharding.jsonl`` records it.
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

RECORDED = Path(__file__).with_suffix(".jsonl")
PAGE = Path(__file__).parent.parent / "docs" / "sharding.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
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
        # A bounded function of them, which makes no error larger.
        return leaves, vjp([y / (1 + jnp.abs(y)) for y in y])[0]

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


def cell(row: dict[str, Any] | None) -> str:
    """What is exchanged, or why nothing is known of it."""
    if row is None:
        return ""
    if "error" in row:
        return "raises"
    if not row["counts"]:
        return "0"
    counts = " + ".join(f"{n} {kind}" for kind, n in row["counts"].items())
    return f"{counts.replace('collective-', '')}, {row['bytes'] / 1000:,.1f} kB"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line for each function; explicit mode is named where it differs, and shard_map's errors."""
    found = {(row["op"], row["split"], row["mode"]): row for row in rows}
    splits = [split for split in SPLITS if any(key[1] == split for key in found)]
    lines = [f"| | {' | '.join(splits)} |", f"|{'---|' * (1 + len(splits))}"]
    for op in dict.fromkeys(row["op"] for row in rows):
        cells = []
        for split in splits:
            auto, *others = (cell(found.get((op, split, mode))) for mode in MODES)
            differing = (f"{mode}: {other}" for mode, other in zip(MODES[1:], others, strict=True)
                         if other not in ("", auto))  # fmt: skip
            cells.append("<br>".join([auto, *differing]))
        lines.append(f"| `{op}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_page() -> None:
    rows = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table(rows) + "\n" + END + rest.split(END)[1])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sharding", description=str(__doc__).partition("\n")[0]
    )
    add = parser.add_argument
    add("--ops", help="names of functions")
    add("--splits", default=",".join(SPLITS), help=f"of {', '.join(SPLITS)}")
    add("--modes", default=",".join(MODES), help=f"of {', '.join(MODES)}")
    add("--out", type=Path, help="JSONL to write, a row for each function, split and mode")
    add("--page", action="store_true", help="only write the page, from what is recorded")
    options = parser.parse_args(arguments)
    if options.page:
        write_page()
        return
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX looks for devices
    rows = []
    for name in options.ops.split(",") if options.ops else vmapped.forms():
        rows += tried(name, options.splits.split(","), options.modes.split(","))
        if options.out:
            options.out.write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(table(rows))


if __name__ == "__main__":
    main(sys.argv[1:])
