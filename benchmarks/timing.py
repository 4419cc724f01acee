"""The clock: programs side by side in one process, so that ratios survive a busy machine."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Call = Callable[[], Any]  # runs a program and waits for its results


@dataclasses.dataclass(frozen=True)
class Samples:
    """Seconds for one call, in blocks; between blocks the machine may have changed its speed."""

    blocks: list[list[float]]

    def percentile(self, q: float) -> float:
        return float(np.percentile([s for block in self.blocks for s in block], q))

    @property
    def median(self) -> float:
        return self.percentile(50)

    def ratio(self, other: "Samples") -> float:
        """How many times longer `other` takes: the median over blocks, which ran side by side."""
        pairs = zip(self.blocks, other.blocks, strict=True)
        return statistics.median(statistics.median(b) / statistics.median(a) for a, b in pairs)


def measure(
    calls: dict[str, Call], repeats: int, *, blocks: int = 5, shortest: float = 1e-3
) -> dict[str, Samples]:
    """Times each call about `repeats` times, in blocks of one call that take turns.

    Within a block a call follows itself, so that all start with what they left in the caches; one
    that follows another would pay for what that one evicted. (And for torch's threads, which spin
    for a moment after a call, even told not to: set OMP_WAIT_POLICY=PASSIVE.) A block is short
    beside the minutes in which a shared machine drifts, so ratios still compare like with like. How
    well is measured, not assumed: `self_check`.

    Args:
      calls: calls by name.
      repeats: samples of each call, rounded up to a multiple of the blocks.
      blocks: how often the calls take turns, at most `repeats`.
      shortest: a faster call is repeated within a sample until it takes that many seconds.
    """
    blocks = min(blocks, repeats)
    numbers = {}
    for name, call in calls.items():
        call()  # warm up; the second one is what counts
        numbers[name] = max(1, math.ceil(shortest / _seconds(call, 1)))
    samples: dict[str, list[list[float]]] = {name: [] for name in calls}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(blocks):
            for name, call in calls.items():
                for _ in range(2):
                    call()
                many = range(math.ceil(repeats / blocks))
                samples[name].append([_seconds(call, numbers[name]) for _ in many])
    finally:
        if collecting:
            gc.enable()
    return {name: Samples(found) for name, found in samples.items()}


def _seconds(call: Call, number: int) -> float:
    start = time.perf_counter()
    for _ in range(number):
        call()
    return (time.perf_counter() - start) / number


def self_check(first: Call, twin: Call, torch: Call | None, repeats: int) -> dict[str, float]:
    """Ratios of two identical programs, which must be near 1 before anything else is believed.

    "twins" is for two that take turns, "torch" for two with torch's program between them.
    """
    found = {}
    for how, between in (("twins", {}), ("torch", {} if torch is None else {"torch": torch})):
        if how == "twins" or between:
            samples = measure({"first": first, **between, "twin": twin}, repeats)
            found[how] = samples["first"].ratio(samples["twin"])
    return found


def bandwidth(mebibytes: int = 256, repeats: int = 7) -> float:
    """Bytes read and written per second by the best of some large copies, with JAX and NumPy."""
    size = mebibytes * 2**20 // 4
    # Zeros that nobody wrote would be one page of memory, which is read from the cache.
    source, target = np.full(size, 2, np.float32), np.ones(size, np.float32)
    copy = jax.jit(lambda x: x + 1)  # what adds nothing would copy nothing
    x = jax.block_until_ready(jnp.asarray(source))
    calls = [lambda: jax.block_until_ready(copy(x))]
    if jax.default_backend() == "cpu":
        calls.append(lambda: np.copyto(target, source))
    for call in calls:
        call()
    return 2 * 4 * size / min(_seconds(call, 1) for call in calls for _ in range(repeats))
