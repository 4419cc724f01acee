"""Brings the tables of docs/performance.md up to date: ``python -m benchmarks.page``.

A table NAME shows the rows of benchmarks/recorded/NAME.jsonl, from which the thresholds in the code
are. With ``--measure NAME ...``, these are measured first; without names, all of those that this
environment can measure or compile.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import aot, report

ROOT = Path(__file__).parent
PAGE = ROOT.parent / "docs" / "performance.md"
SCALE = ROOT.parent / "docs" / "scale.md"
PEERS = "--peers=flax,torch,equinox,haiku"
ADAPTIVE = ("--ops=adaptive_max_pool,adaptive_avg_pool", "--cases=bench_adaptive")
REGIONS = ("--regions=detector",)
SOFT = (
    "--ops=logsumexp_pool,softmax_pool,importance_pool,gem_pool,lp_pool,median_pool,quantile_pool,"
    "top_k_mean_pool,rank_pool,blur_pool,dilation_pool,mixed_pool,gated_pool,stochastic_pool,"
    "s3_pool,adaptive_weighted_pool,detail_preserving_pool"
)
SIX = f"--cases={','.join(aot.TABLE_CASES)}"
GPU, TPU = "--target=gpu:h100", "--target=tpu:v5e:2x2"
# For each table the module that writes its rows, and its arguments.
RUNS = {
    "cpu_max": ("benchmarks", "--ops=max_pool", "--modes=fwd,vjp,jvp,compile", PEERS),
    "cpu_min": ("benchmarks", "--ops=min_pool", SIX, "--modes=fwd,vjp", "--peers=flax,torch"),
    "cpu_max_bf16": (
        "benchmarks",
        "--ops=max_pool",
        SIX,
        "--dtypes=bfloat16,float16",
        "--modes=fwd,vjp,jvp,compile",
        PEERS,
    ),
    "cpu_max_returned": (
        "benchmarks",
        "--ops=max_pool",
        SIX,
        "--modes=fwd,vjp",
        "--peers=flax,torch",
    ),
    "cpu_global": (
        "benchmarks",
        "--ops=global_max_pool,global_avg_pool,global_median_pool,global_top_k_mean_pool",
        "--cases=bench_vgg_k2s2,bench_inception_k3s1p1",
        "--modes=fwd,vjp,jvp",
        "--peers=flax,torch,jnp",
    ),
    "cpu_others": (
        "benchmarks",
        "--ops=avg_pool,sum_pool,lp_pool,max_pool_with_argmax",
        "--cases=bench_vgg_k2s2,bench_resnet_stem_k3s2p1,bench_inception_k3s1p1,bench_k7s1p3",
        "--peers=flax,torch",
    ),
    "cpu_soft": (
        "benchmarks",
        SOFT,
        "--cases=bench_vgg_k2s2,bench_resnet_stem_k3s2p1",
        "--modes=fwd,vjp,compile",
        "--peers=jnp,torch",
        "--repeats=10",
    ),
    "cpu_adaptive": ("benchmarks", *ADAPTIVE, "--peers=torch,equinox", "--repeats=40"),
    "cpu_adaptive_inline": (
        "benchmarks",
        *ADAPTIVE,
        "--peers=torch,equinox",
        "--repeats=40",
        "--inline",
    ),
    "cpu_regions": ("benchmarks.regions", "--repeats=15", "--modes=fwd,vjp"),
    "gpu": ("benchmarks.aot", GPU),
    "gpu_adaptive": ("benchmarks.aot", GPU, *ADAPTIVE, "--dtypes=float32", "--peers="),
    "gpu_regions": ("benchmarks.aot", GPU, *REGIONS, "--modes=fwd,vjp,vjp_boxes"),
    "tpu": ("benchmarks.aot", TPU),
    "tpu_adaptive": ("benchmarks.aot", TPU, *ADAPTIVE, "--dtypes=float32", "--peers="),
    "tpu_regions": ("benchmarks.aot", TPU, *REGIONS, "--modes=fwd,vjp,vjp_boxes"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--measure", nargs="*", choices=RUNS, metavar="NAME", help=", ".join(RUNS))
    options = parser.parse_args(arguments)
    recorded = ROOT / "recorded"
    if options.measure is not None:
        for name in options.measure or RUNS:
            measure(name, recorded / f"{name}.jsonl")
    text = PAGE.read_text()
    for file in sorted(recorded.glob("*.jsonl")):
        text = with_table(text, file.stem, tables(report.read(file)))
    PAGE.write_text(text)
    compiled = sorted((recorded / "scale").glob("*.jsonl"))
    write(SCALE, {file.stem: tables(report.read(file)) for file in compiled})


def measure(name: str, out: Path) -> None:
    """Writes the rows of a table; keeps those that are there if this environment cannot."""
    module, *options = RUNS[name]
    new = out.with_suffix(".new")
    environment = dict(os.environ)
    if module != "benchmarks.aot":  # torch's threads must not spin between calls
        environment |= {"JAX_PLATFORMS": "cpu", "OMP_WAIT_POLICY": "PASSIVE"}
        environment["JAXPOOL_MEMORY"] = "returned" if name.endswith("_returned") else "kept"
    command = [sys.executable, "-m", module, *options, f"--out={new}"]
    subprocess.run(command, check=True, env=environment, cwd=ROOT.parent)
    if new.exists():
        new.replace(out)


def with_table(text: str, name: str, table: str, page: str = PAGE.name) -> str:
    """The page with `table` between the marks of that name."""
    marks = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end of table -->)", re.DOTALL
    )
    if not marks.search(text):
        raise SystemExit(f"{page} has no place for a table {name!r}.")
    return marks.sub(lambda found: f"{found[1]}\n{table}\n{found[2]}", text)


def write(path: Path, found: dict[str, str]) -> None:
    """Puts tables in their places on a page."""
    text = path.read_text()
    for name, table in found.items():
        text = with_table(text, name, table, path.name)
    path.write_text(text)


def tables(rows: Sequence[report.Row]) -> str:
    """What was compiled, or what was measured."""
    return aot.as_table(rows) if "target" in rows[0] else report.measured(rows)


if __name__ == "__main__":
    main()
