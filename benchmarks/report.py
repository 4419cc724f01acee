"""Tables and pictures of recorded rows: ``python -m benchmarks.report run.jsonl``.

The tables are Markdown, as they stand in the documentation.
"""

import argparse
import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
KEY = ("op", "case", "dtype", "mode")
OWN = "jaxpool"


def read(path: str | Path) -> list[Row]:
    """The rows of a JSONL file."""
    return [json.loads(line) for line in Path(path).read_text().splitlines() if line]


def geomean(values: Iterable[float]) -> float:
    return math.exp(math.fsum(logs := [math.log(v) for v in values]) / len(logs))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table under its title; None is an empty cell. Columns of numbers go right."""
    rows = [list(row) for row in rows]
    text = [list(columns), *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*text, strict=True)]
    numeric = [
        all(isinstance(value, int | float | None) for value in column)
        for column in (zip(*rows, strict=True) if rows else [[""]] * len(columns))
    ]
    rule = [
        "-" * (w + 1) + (":" if right else "-") for w, right in zip(widths, numeric, strict=True)
    ]
    lines = [
        "| "
        + " | ".join(
            cell.rjust(w) if right else cell.ljust(w)
            for cell, w, right in zip(line, widths, numeric, strict=True)
        )
        + " |"
        for line in text
    ]
    return "\n".join([f"{title}\n", lines[0], "|" + "|".join(rule) + "|", *lines[1:]]) + "\n"


def _cell(value: Any) -> str:
    """Numbers with three digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        if value == 0 or not 0.001 <= abs(value) < 1000:
            return f"{value:.0f}" if abs(value) >= 1000 or value == 0 else f"{value:.1e}"
        return f"{value:#.3g}".rstrip(".")
    return str(value)


def by_job(rows: Sequence[Row]) -> dict[tuple[str, ...], dict[str, Row]]:
    """Rows of each op, case, dtype and mode, by implementation."""
    jobs: dict[tuple[str, ...], dict[str, Row]] = defaultdict(dict)
    for row in rows:
        jobs[tuple(row[name] for name in KEY)][row["implementation"]] = row
    return dict(jobs)


def peers_of(rows: Sequence[Row]) -> list[str]:
    """Every implementation but jaxpool, in the order of appearance."""
    return [p for p in dict.fromkeys(r["implementation"] for r in rows) if p != OWN]


def tables(rows: Sequence[Row]) -> list[str]:
    """One line for each job, then geomean and worst case against each peer."""
    peers, jobs = peers_of(rows), by_job(rows)
    lines, summaries = [], defaultdict(dict)
    for key, found in jobs.items():
        if OWN not in found:
            continue
        own = found[OWN]
        ratios = own["ratios"]
        for peer, ratio in ratios.items():
            summaries[key[0], key[2], key[3], peer][key[1]] = ratio
        baselines = [found[p]["compile_ms"] for p in ("flax", "reduce_window") if p in found]
        lines.append(
            [
                *key,
                own["median_us"],
                f"{_cell(own['p10_us'])} to {_cell(own['p90_us'])}",
                *(ratios.get(peer) for peer in peers),
                own["compile_ms"],
                baselines[0] if baselines else None,
                own["temp_bytes"] / 2**20 if own["temp_bytes"] is not None else None,
                own["bandwidth_fraction"],
            ]
        )
    columns = [
        *KEY,
        "jaxpool us",
        "p10 to p90",
        *(f"{peer} /" for peer in peers),
        "compile ms",
        "flax's",
        "temp MiB",
        "of bandwidth",
    ]
    each = table("Time of a peer over jaxpool's: above 1, jaxpool is faster", columns, lines)
    summary = table(
        "Against each peer",
        ["op", "dtype", "mode", "peer", "cases", "geomean", "worst", "worst case"],
        [
            [
                *key,
                len(found),
                geomean(found.values()),
                min(found.values()),
                min(found, key=found.get),
            ]
            for key, found in summaries.items()
        ],
    )
    return [each, summary]


def plot(rows: Sequence[Row], path: str | Path) -> None:
    """Draws the ratio to each peer, one panel for each op and mode, and saves the picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels: dict[tuple[str, str], dict[str, dict[str, float]]] = defaultdict(dict)
    for (op, case, dtype, mode), found in by_job(rows).items():
        if OWN in found and found[OWN]["ratios"]:
            label = f"{case.removeprefix('bench_')}, {dtype}"
            panels[op, mode][label] = found[OWN]["ratios"]
    if not panels:
        return
    heights = [len(cases) + 2 for cases in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        figsize=(9, 0.28 * sum(heights) + 1),
        height_ratios=heights,
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    peers = peers_of(rows)
    for ax, ((op, mode), cases) in zip(axes[:, 0], panels.items(), strict=True):
        for number, peer in enumerate(peers):
            points = [(r[peer], i) for i, r in enumerate(cases.values()) if peer in r]
            if points:
                xs, ys = zip(*points, strict=True)
                marker = "os^Dv<>P*X"[number % 10]
                ax.scatter(xs, ys, label=peer, color=f"C{number}", marker=marker, zorder=3)
        ax.axvline(1, color="black", linewidth=1)
        ax.set(xscale="log", title=f"{op}, {mode}", ylim=(len(cases) - 0.5, -0.5))
        ax.set_yticks(range(len(cases)), list(cases))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
        ax.grid(axis="both", color="0.9")
    axes[-1, 0].set_xlabel("time over jaxpool's (right of the line, jaxpool is faster)")
    figure.legend(*_handles(axes[:, 0]), loc="outside upper center", ncols=max(len(peers), 1))
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _handles(axes: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """Each label of a legend once."""
    found = {}
    for ax in axes:
        handles, labels = ax.get_legend_handles_labels()
        found.update(zip(labels, handles, strict=True))
    return list(found.values()), list(found)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("file", help="JSONL that `python -m benchmarks --out` wrote")
    parser.add_argument("--plot", help="picture of the ratios to write")
    options = parser.parse_args(arguments)
    rows = read(options.file)
    for found in tables(rows):
        print(found)
    if options.plot:
        plot(rows, options.plot)


def measured(rows: Sequence[Row]) -> str:
    """Times of each case beside its peers, and a summary."""
    groups: dict[tuple[str, str, str], dict[str, dict[str, Row]]] = defaultdict(dict)
    for (op, case, dtype, mode), found in by_job(rows).items():
        if OWN in found:
            groups[op, dtype, mode][case.removeprefix("bench_")] = found
    # Behind a summary, which opens when it is clicked.
    parts = [tables(rows)[1], f"{_machine(rows)}\n", "<details><summary>Each case</summary>\n"]
    for (op, dtype, mode), cases in groups.items():
        peers = peers_of([row for found in cases.values() for row in found.values()])
        lines = []
        for case, found in cases.items():
            own = found[OWN]
            temp = None if own["temp_bytes"] is None else own["temp_bytes"] / 2**20
            ratios = [own["ratios"].get(peer) for peer in peers]
            moved = own["bandwidth_fraction"]
            percent = None if moved is None else round(100 * moved)
            lines.append([case, own["median_us"] / 1000, *ratios, temp, percent])
        title = f"`{op}`, {dtype}, {mode}: time, and time of each peer over it"
        columns = ["case", "ms", *(f"{peer} /" for peer in peers), "temp MiB", "% of copies"]
        parts.append(table(title, columns, lines))
    return "\n".join([*parts, "</details>\n"])


def _machine(rows: Sequence[Row]) -> str:
    row = rows[0]
    twins = [ratio for found in rows for ratio in found["self_check"].values()]
    memory = {"kept": "memory is kept; ", "returned": "memory is returned; "}
    return (
        f"{row['device']}, jax {row['jax']}, commit {row['commit']}; "
        f"{memory.get(row.get('memory', 'returned'))}copies move "
        f"{row['bandwidth_gb_s']:.0f} GB/s; two identical programs read "
        f"{min(twins):.2f} to {max(twins):.2f} of each other."
        + (" Programs ran on the thread that called them." if row.get("inline") else "")
    )


if __name__ == "__main__":
    main()
