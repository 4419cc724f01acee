"""What a measurement depends on beside the code: the machine, JAX, and the commit."""

import os
import platform
import subprocess
from collections.abc import Collection
from pathlib import Path

import jax


def facts_of_machine() -> dict[str, str]:
    device = jax.devices()[0].device_kind
    if jax.default_backend() == "cpu":
        device = f"{_cpu_model()}, {len(cpus())} cores"
    return {"device": device, "jax": jax.__version__, "commit": _commit()}


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
    """The commit of the working tree, with + if it has changes, or "unknown"."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
