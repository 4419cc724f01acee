"""Draws times of peers over jaxpool's, from recorded rows: ``python -m benchmarks.chart``.

It writes docs/_static/speed.svg for the README. The documentation draws the same rows, and others,
while it is built.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks import report

ROOT = Path(__file__).parent
README = ROOT.parent / "docs" / "_static" / "speed.svg"
# Readable on white and on black, since a picture in a README does not know which it is on.
INK = "#7a7f87"
COLOURS = {"flax": "#2f8f83", "torch": "#d9622b", "jnp": "#8566c2", "equinox": "#4b84c4",
           "onnxruntime": "#b3568c"}  # fmt: skip
NAMES = {"flax": "Flax", "torch": "PyTorch", "jnp": "jax.numpy by hand", "equinox": "Equinox",
         "onnxruntime": "ONNX Runtime"}  # fmt: skip
MODES = {"fwd": "value", "vjp": "value and gradient", "compile": "compilation"}

# Table of benchmarks/recorded, op, dtype, and how a person calls it.
Line = tuple[str, str, str, str]
WINDOWS: tuple[Line, ...] = (
    ("cpu_max", "max_pool", "float32", "max"),
    ("cpu_max_bf16", "max_pool", "bfloat16", "max, bfloat16"),
    ("cpu_min", "min_pool", "float32", "min"),
    ("cpu_others", "avg_pool", "float32", "average"),
    ("cpu_others", "sum_pool", "float32", "sum"),
    ("cpu_others", "max_pool_with_argmax", "float32", "max with indices"),
)
SOFT: tuple[Line, ...] = tuple(
    ("cpu_soft", op, "float32", op)
    for op in ("logsumexp_pool", "softmax_pool", "gem_pool", "median_pool", "top_k_mean_pool",
               "blur_pool", "dilation_pool", "mixed_pool", "stochastic_pool",
               "adaptive_weighted_pool")
)  # fmt: skip
OTHERS: tuple[Line, ...] = (
    ("cpu_adaptive", "adaptive_max_pool", "float32", "adaptive max"),
    ("cpu_adaptive", "adaptive_avg_pool", "float32", "adaptive average"),
    ("cpu_regions", "roi_align", "float32", "roi_align"),
    ("cpu_regions", "roi_max_pool", "float32", "roi_max_pool"),
)
CHARTS = {
    "windows": (WINDOWS, ("fwd", "vjp"), ("flax", "torch")),
    "soft": (SOFT, ("fwd", "vjp"), ("jnp", "torch")),
    "others": (OTHERS, ("fwd", "vjp"), ("torch", "equinox", "onnxruntime")),
    "compilation": (WINDOWS[:2], ("compile",), ("flax", "equinox")),
}


class Bar(NamedTuple):
    """Ratios of one peer in the cases of one op and mode."""

    label: str
    peer: str
    ratios: Sequence[float]


def bars(lines: Iterable[Line], modes: Sequence[str], peers: Sequence[str]) -> list[Bar]:
    """A bar for each op, mode and peer that was measured."""
    found = []
    for table, op, dtype, name in lines:
        jobs = report.by_job(_rows(table))
        for mode in modes:
            own = [r[report.OWN]["ratios"] for (o, _, d, m), r in jobs.items()
                   if (o, d, m) == (op, dtype, mode)]  # fmt: skip
            for peer in peers:
                if ratios := [r[peer] for r in own if peer in r]:
                    found.append(Bar(f"{name}, {MODES[mode]}", peer, ratios))
    return found


def conditions(lines: Iterable[Line], peers: Sequence[str]) -> str:
    """On what the rows of these lines were measured, with which versions."""
    rows = [row for table in dict.fromkeys(line[0] for line in lines) for row in _rows(table)]
    devices = " and ".join(dict.fromkeys(row["device"] for row in rows))
    versions = {row["implementation"]: row["version"] for row in rows}
    named = [f"{NAMES[p]} {versions[p]}" for p in peers if p in versions and p != "jnp"]
    return ", ".join([f"{devices}: JAX {rows[0]['jax']}", *named])


def draw(name: str, ink: str = INK, width: int = 760) -> str:
    """A chart as SVG: the geometric mean of each bar, and a line from the worst to the best."""
    lines, modes, peers = CHARTS[name]
    found = bars(lines, modes, peers)
    labels = list(dict.fromkeys(bar.label for bar in found))
    low = min(0.5, *(min(bar.ratios) for bar in found))
    high = max(max(bar.ratios) for bar in found)
    left, right, top, step = 20 + 6.2 * max(map(len, labels)), width - 60, 56, 13

    def at(ratio: float) -> float:
        return left + (right - left) * math.log(ratio / low) / math.log(high / low)

    def text(x: float, y: float, what: str, anchor: str = "start", size: int = 12) -> str:
        return (f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" font-size="{size}">'
                f"{escape(what)}</text>")  # fmt: skip

    parts, y = [], top
    for label in labels:
        group = [bar for bar in found if bar.label == label]
        parts.append(text(left - 10, y + step * len(group) / 2 + 4, label, "end"))
        for bar in group:
            mean, middle = report.geomean(bar.ratios), y + step / 2
            start, end = sorted((at(1), at(mean)))
            parts.append(
                f'<rect x="{start:.1f}" y="{y + 1}" width="{max(end - start, 1):.1f}" '
                f'height="{step - 3}" fill="{COLOURS[bar.peer]}"/>'
                f'<path d="M{at(min(bar.ratios)):.1f} {middle}H{at(max(bar.ratios)):.1f}" '
                f'stroke="{ink}" stroke-opacity="0.8"/>'
            )
            parts.append(
                text(
                    right + 8,
                    y + step - 3,
                    f"{mean:.0f}x" if mean >= 9.95 else f"{mean:.2g}x",
                    size=11,
                )
            )
            y += step
        y += 9
    ticks = [t for t in (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if low <= t <= high]
    for tick in ticks:
        opacity = 1 if tick == 1 else 0.3
        parts.insert(0, f'<path d="M{at(tick):.1f} {top - 6}V{y}" stroke="{ink}" '
                        f'stroke-opacity="{opacity}"/>')  # fmt: skip
        parts.append(text(at(tick), y + 14, f"{tick:g}x", "middle", 11))
    title = "Time over jaxpool's: right of 1x, jaxpool is faster"
    parts.append(text(left, 16, title, size=13))
    x = left
    for peer in dict.fromkeys(bar.peer for bar in found):
        parts.append(f'<rect x="{x:.0f}" y="29" width="10" height="10" fill="{COLOURS[peer]}"/>')
        parts.append(text(x + 15, 38, NAMES[peer]))
        x += 30 + 7 * len(NAMES[peer])
    parts.append(text(x, 38, "line: worst to best case"))
    parts.append(text(width - 4, y + 34, conditions(lines, peers), "end", 11))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 42}" width="{width}" '
        f'role="img" aria-label="{escape(described(name))}" style="max-width:100%" fill="{ink}" '
        f'font-family="sans-serif">\n' + "\n".join(parts) + "\n</svg>\n"
    )


def described(name: str) -> str:
    """What a chart shows, in words, for who does not see it."""
    said = [f"{bar.label} {NAMES[bar.peer]} {report.geomean(bar.ratios):.2g}"
            for bar in bars(*CHARTS[name])]  # fmt: skip
    return f"Time over jaxpool's, geometric means: {'; '.join(said)}."


def _rows(table: str) -> list[report.Row]:
    return report.read(ROOT / "recorded" / f"{table}.jsonl")


if __name__ == "__main__":
    README.write_text(draw("windows"))
