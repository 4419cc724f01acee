"""Compares two recorded runs: ``python -m benchmarks.compare before.jsonl after.jsonl``.

Peers are compared too. They did not change, so their geomean says how much the machine did.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence

from benchmarks import report


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    options = parser.parse_args(arguments)
    runs = []
    for path in (options.before, options.after):
        rows = report.read(path)
        runs.append({(*(r[k] for k in report.KEY), r["implementation"]): r for r in rows})
    before, after = runs
    common = [key for key in before if key in after]
    if not common:
        raise SystemExit(f"{options.before} and {options.after} have no row in common.")

    speedups: dict[str, dict[str, float]] = defaultdict(dict)
    lines = []
    for key in common:
        a, b = before[key]["median_us"], after[key]["median_us"]
        speedups[key[-1]][" ".join(key[:-1])] = a / b
        lines.append([*key, a, b, a / b])
    columns = [*report.KEY, "implementation", "before us", "after us", "before / after"]
    print(report.table("Above 1, the second run is faster", columns, lines))
    print(
        report.table(
            "Over all rows",
            ["implementation", "rows", "geomean", "worst", "worst row"],
            [
                [name, len(s), report.geomean(s.values()), min(s.values()), min(s, key=s.get)]
                for name, s in speedups.items()
            ],
        )
    )
    alone = len(before) + len(after) - 2 * len(common)
    if alone:
        print(f"{alone} rows are in one file only.")
    devices = {run[key]["device"] for run in runs for key in common}
    if len(devices) > 1:
        print(f"Not the same device: {', '.join(sorted(devices))}.")


if __name__ == "__main__":
    main()
