"""What a measurement depends on beside the code: the machine, JAX, and the commit."""

import os
import platform
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import jax

# By default glibc hands large arrays back to the system once they are freed, so that a program pays
# for new pages with each of its results: up to 10 ms for 25 MB, now in one program and now in
# another. With these it keeps them. They are read when a process starts.
KEEPS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(2**33),
    "MALLOC_TRIM_THRESHOLD_": str(2**33),
}


def keep_memory() -> None:
    """Starts this command anew where memory is kept; JAXPOOL_MEMORY=returned leaves it as it is."""
    if os.environ.get("JAXPOOL_MEMORY") == "returned" or memory() == "kept":
        return
    os.execve(sys.executable, sys.orig_argv, dict(os.environ) | KEEPS_MEMORY)


def memory() -> str:
    """Whether what is freed is kept for later results, or returned to the system."""
    kept = all(os.environ.get(name) == value for name, value in KEEPS_MEMORY.items())
    return "kept" if kept else "returned"


def facts_of_machine() -> dict[str, str]:
    device = jax.devices()[0].device_kind
    if jax.default_backend() == "cpu":
        device = f"{_cpu_model()}, {len(cpus())} cores"
    return {
        "device": device,
        "jax": jax.__version__,
        "commit": _commit(),
        "memory": memory(),
    }


def cpus() -> Collection[int]:
    return getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count() or 1))(0)


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the working tree, with + if what runs has changes, or "unknown"."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # What other runs have recorded in the meantime is no change of it.
        runs = ("--", "jaxpool", "benchmarks", "tests", ":!benchmarks/recorded")
        changed = git("status", "--porcelain", *runs)
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
