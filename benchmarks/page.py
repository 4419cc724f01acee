"""Brings the tables of docs/performance.md up to date: ``python -m benchmarks.page cpu.jsonl ...``.

Takes the files that `python -m benchmarks` and `python -m benchmarks.aot` wrote with ``--out``, and
keeps each as benchmarks/recorded/NAME.jsonl, from which the thresholds in the code are.
"""

import argparse
import re
import shutil
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from benchmarks import aot, report

ROOT = Path(__file__).parent
PAGE = ROOT.parent / "docs" / "performance.md"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("files", nargs="*", help="JSONL files, named after tables of the page")
    options = parser.parse_args(arguments)
    recorded = ROOT / "recorded"
    recorded.mkdir(exist_ok=True)
    for file in map(Path, options.files):
        if file.resolve().parent != recorded.resolve():
            shutil.copy(file, recorded / file.name)
    text = PAGE.read_text()
    for file in sorted(recorded.glob("*.jsonl")):
        text = with_table(text, file.stem, tables(report.read(file)))
    PAGE.write_text(text)


def with_table(text: str, name: str, table: str) -> str:
    """The page with `table` between the marks of that name."""
    marks = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end of table -->)", re.DOTALL
    )
    if not marks.search(text):
        raise SystemExit(f"{PAGE.name} has no place for a table {name!r}.")
    return marks.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def tables(rows: Sequence[report.Row]) -> str:
    """Times of each case beside its peers, and a summary; or what was compiled."""
    if "target" in rows[0]:
        return aot.as_table(rows)
    groups: dict[tuple[str, str], dict[str, dict[str, dict[str, report.Row]]]] = defaultdict(dict)
    for (op, case, dtype, mode), found in report.by_job(rows).items():
        if report.OWN in found:
            groups[op, dtype].setdefault(case.removeprefix("bench_"), {})[mode] = found
    parts = [report.tables(rows)[1], f"{_machine(rows)}\n"]
    for (op, dtype), cases in groups.items():
        modes = list(dict.fromkeys(mode for found in cases.values() for mode in found))
        peers = report.peers_of(rows)
        columns, lines = ["case"], []
        for mode in modes:
            columns += [f"{mode} ms", *(f"{peer} /" for peer in peers)]
        columns += ["compile ms", "temp MiB"]
        for case, found in cases.items():
            line: list[object] = [case]
            for mode in modes:
                own = found.get(mode, {}).get(report.OWN)
                line.append(own and own["median_us"] / 1000)
                line += [own and own["ratios"].get(peer) for peer in peers]
            last = found[modes[-1]][report.OWN] if modes[-1] in found else {}
            temp = last.get("temp_bytes")
            lines.append([*line, last.get("compile_ms"), None if temp is None else temp / 2**20])
        title = f"`{op}`, {dtype}: time, and time of each peer over it (above 1: jaxpool is faster)"
        parts.append(report.table(title, columns, lines))
    return "\n".join(parts)


def _machine(rows: Sequence[report.Row]) -> str:
    row = rows[0]
    twins = [ratio for found in rows for ratio in found["self_check"].values()]
    return (
        f"{row['device']}, jax {row['jax']}, commit {row['commit']}; copies move "
        f"{row['bandwidth_gb_s']:.0f} GB/s; two identical programs read "
        f"{min(twins):.2f} to {max(twins):.2f} of each other."
        + (" Programs ran on the thread that called them." if row.get("inline") else "")
    )


if __name__ == "__main__":
    main()
