"""Measures jaxpool beside its peers: ``python -m benchmarks --out run.jsonl --plot run.png``."""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import machine, programs, report, timing
from benchmarks.programs import OWN, Program, Unsupported
from tests.cases import Case

TRUSTED = (0.97, 1.03)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    cases = programs.select_cases(options.cases)
    for name, known in (("ops", programs.OPS), ("modes", programs.MODES)):
        for value in getattr(options, name):
            if value not in known:
                raise SystemExit(f"--{name}: must be of {', '.join(known)}, but is {value!r}.")
    if any(d in ("float64", "int64") for d in options.dtypes or ()):
        jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)
    if options.inline:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    try:
        gone = programs.missing(options.peers)
    except ValueError as error:
        raise SystemExit(f"--peers: {error}") from None
    for peer, reason in gone.items():
        print(f"Peer {peer} is left out: {reason}.")
    peers = [peer for peer in options.peers if peer not in gone]

    facts = {**machine.facts_of_machine(), "inline": options.inline}
    jobs = _jobs(options, cases)
    rows: list[report.Row] = []
    left_out: dict[tuple[str, str], int] = {}
    file = open(options.out, "w") if options.out else None
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
    )
    checks = []
    try:
        with bar:
            task = bar.add_task("bandwidth", total=len(jobs))
            speed = timing.bandwidth(options.copy_mebibytes)
            checks.append(_self_check(jobs[0], "torch" in peers, options.repeats))
            for job in jobs:
                bar.update(task, description=" ".join((job[0], job[1].name, *job[2:])))
                for row in _measure(job, [OWN, *peers], options.repeats, speed, left_out):
                    row |= {**facts, "bandwidth_gb_s": speed / 1e9, "self_check": checks[0]}
                    rows.append(row)
                    if file:
                        file.write(json.dumps(row) + "\n")
                        file.flush()
                bar.advance(task)
            checks.append(_self_check(jobs[-1], "torch" in peers, options.repeats))
    finally:
        if file:
            file.close()

    for found in report.tables(rows):
        print(found)
    for (implementation, reason), count in left_out.items():
        print(f"{implementation} left out of {count} jobs: {reason}.")
    print(_verdict(checks))
    print(
        f"Copies move {speed / 1e9:.1f} GB/s here. {facts['device']}, jax {facts['jax']}, "
        f"commit {facts['commit']}."
    )
    if options.plot:
        report.plot(rows, options.plot)


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--ops", type=names, default=["max_pool"], help=f"of {', '.join(programs.OPS)}")
    add("--cases", type=names, default=["bench"], help="names or tags of tests/cases.py")
    add("--dtypes", type=names, help="default: each case's own")
    add("--modes", type=names, default=["fwd", "vjp"], help=f"of {', '.join(programs.MODES)}")
    add(
        "--peers",
        type=names,
        default=["flax", "torch"],
        help=f"of {', '.join(programs.PACKAGES)}, and jaxpool:FORM for a forced implementation",
    )
    add("--inline", action="store_true", help="run programs on the thread that calls them (CPUs)")
    add("--repeats", type=int, default=30, help="samples of each program")
    add("--out", help="JSONL to write, a row for each program")
    add("--plot", help="picture of the ratios to write")
    add("--copy-mebibytes", type=int, default=256, help="size of the copy that shows bandwidth")
    return parser


Job = tuple[str, Case, str, str]


def _jobs(options: argparse.Namespace, cases: Sequence[Case]) -> list[Job]:
    """Op, case, dtype and mode; what differs in name only is there once."""
    jobs: dict[tuple[Any, ...], Job] = {}
    for op in options.ops:
        for case in cases:
            where = {"global": case.pooled, "adaptive": case.cells}.get(
                op.split("_")[0], case.window
            )
            for dtype in options.dtypes or [case.dtype]:
                for mode in options.modes:
                    if jnp.issubdtype(dtype, jnp.floating) or mode in ("fwd", "eager"):
                        jobs.setdefault(
                            (op, case.shape, where, dtype, mode), (op, case, dtype, mode)
                        )
    if not jobs:
        raise SystemExit("No job is left: integers have no derivative.")
    return list(jobs.values())


def _measure(
    job: Job,
    implementations: Sequence[str],
    repeats: int,
    speed: float,
    left_out: dict[tuple[str, str], int],
) -> list[report.Row]:
    op, case, dtype, mode = job
    ready: dict[str, Ready] = {}
    for name in implementations:
        try:
            ready[name] = Ready(programs.build(name, op, case, dtype, mode), mode, repeats)
            if name != OWN and OWN in ready:
                check_same(ready[OWN], ready[name], dtype)
        except Exception as error:
            if name == OWN:
                raise
            # A peer may refuse in its own way; the table says so, and the others are measured.
            ready.pop(name, None)
            reason = str(error) if isinstance(error, Unsupported) else repr(error)
            reason = reason.splitlines()[0][:160]
            left_out[name, reason] = left_out.get((name, reason), 0) + 1

    if mode == "compile":
        samples = {name: one.compile_samples for name, one in ready.items()}
    else:
        samples = timing.measure({name: one.call for name, one in ready.items()}, repeats)
    moved = programs.floor_bytes(op, case, dtype, mode)
    rows = []
    for name, one in ready.items():
        others = [OWN] if name != OWN else [other for other in ready if other != OWN]
        median = samples[name].median
        timed = mode != "compile"
        rows.append(
            {
                "op": op,
                "case": case.name,
                "dtype": dtype,
                "mode": mode,
                "implementation": name,
                "version": _version(name),
                "median_us": 1e6 * median,
                "p10_us": 1e6 * samples[name].percentile(10),
                "p90_us": 1e6 * samples[name].percentile(90),
                # Time of another over this one's.
                "ratios": {other: samples[name].ratio(samples[other]) for other in others},
                "compile_ms": one.compile_ms,
                "temp_bytes": one.temp_bytes,
                "floor_bytes": moved,
                "bandwidth_fraction": moved / median / speed if timed else None,
            }
        )
    return rows


class Ready:
    """A program that is compiled, if it can be, and has run."""

    def __init__(self, program: Program, mode: str, repeats: int = 1) -> None:
        self.program = program
        self.compile_ms = self.temp_bytes = self.compile_samples = None
        function, arguments = program.function, program.arguments
        if program.implementation == "torch":
            self.call: Callable[[], Any] = lambda: function(*arguments)
        elif mode == "eager":
            self.call = lambda: jax.block_until_ready(function(*arguments))
        else:
            times = []
            for _ in range(min(repeats, 5) if mode == "compile" else 1):
                jax.clear_caches()  # else what an earlier program has traced is there already
                start = time.perf_counter()
                compiled = jax.jit(lambda *xs: function(*xs)).lower(*arguments).compile()
                times.append(time.perf_counter() - start)
            self.compile_samples = timing.Samples([times])
            self.compile_ms = 1e3 * self.compile_samples.median
            self.temp_bytes = compiled.memory_analysis().temp_size_in_bytes
            self.call = lambda: jax.block_until_ready(compiled(*arguments))
        self.results = self.call()


def check_same(own: Ready, peer: Ready, dtype: str) -> None:
    """Refuses a peer that does another job: its values differ from jaxpool's.

    In narrow formats only loosely, since peers sum in them, and not for gradients, where equal
    elements are common and share nothing but their sum.
    """
    narrow = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    mine, theirs = jax.tree.leaves(own.results), jax.tree.leaves(peer.results)
    if narrow:
        mine, theirs = mine[:1], theirs[:1]
    tolerance = 0.1 if narrow else 1e-4
    for a, b in zip(mine, theirs, strict=True):
        if peer.program.implementation == "torch":
            b = (b.float() if b.is_floating_point() else b).numpy()
        b = np.asarray(b).astype(np.float32)
        b = peer.program.layout.back(b, a.shape) if peer.program.layout else b
        a = np.asarray(a).astype(np.float32)
        if a.shape != b.shape:
            raise Unsupported(f"another shape, {b.shape} where jaxpool has {a.shape}")
        if not np.allclose(a, b, rtol=tolerance, atol=tolerance):
            raise Unsupported("other values than jaxpool's")


def _self_check(job: Job, with_torch: bool, repeats: int) -> dict[str, float]:
    op, case, dtype, mode = job
    mode = "fwd" if mode in ("compile", "eager") else mode
    first, twin = (Ready(programs.build(OWN, op, case, dtype, mode), mode) for _ in range(2))
    torch = None
    if with_torch:
        try:
            torch = Ready(programs.build("torch", op, case, dtype, mode), mode).call
        except Exception:
            torch = None  # the job itself reports why
    return timing.self_check(first.call, twin.call, torch, max(repeats, 1))


def _verdict(checks: Sequence[dict[str, float]]) -> str:
    low, high = TRUSTED
    values = [ratio for check in checks for ratio in check.values()]
    trusted = all(low <= value <= high for value in values)
    shown = "; ".join(
        ", ".join(f"{ratio:.3f} ({how})" for how, ratio in check.items()) for check in checks
    )
    return (
        f"Two identical programs, before and after: {shown}. "
        + (f"All within {low} to {high}." if trusted else "")
        + ("" if trusted else f"NOT all within {low} to {high}: do not believe this table.")
    )


def _version(implementation: str) -> str:
    name = implementation.partition(":")[0]
    package = programs.PACKAGES.get(name, name)
    if name == OWN:
        return programs.jaxpool.__version__
    return metadata.version(package)


if __name__ == "__main__":
    machine.keep_memory()
    main()
