"""The clock: programs side by side in one process, so that ratios survive a busy machine."""

import dataclasses
import gc
import math
import statistics
import time
from collections.abc import Callable, Sequence
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
    groups: Sequence[dict[str, Call]], repeats: int, *, blocks: int = 3, shortest: float = 1e-3
) -> dict[str, Samples]:
    """Times each call about `repeats` times, those of one group in turns.

    A block is one group after the other. In a group every round runs each call once, in random
    order. torch belongs in a group of its own: even told to sleep, its threads are awake for a
    moment after a call, and a jaxpool call right behind it in every round would pay for that. The
    group's calls run once off the clock before a block, and blocks are short beside the minutes
    in which a shared machine drifts, so ratios across groups still compare like with like. How
    well is measured, not assumed: `self_check`.

    Args:
      groups: calls by name; empty groups are skipped.
      repeats: samples of each call, rounded up to a multiple of the blocks.
      blocks: how often the groups take turns, at most `repeats`.
      shortest: a faster call is repeated within a sample until it takes that many seconds.
    """
    blocks = min(blocks, repeats)
    random = np.random.default_rng(0)
    numbers = {}
    for group in groups:
        for name, call in group.items():
            call()  # warm up; the second one is what counts
            numbers[name] = max(1, math.ceil(shortest / _seconds(call, 1)))
    samples: dict[str, list[list[float]]] = {name: [] for name in numbers}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for _ in range(blocks):
            for group in groups:
                for name, call in group.items():
                    call()
                    samples[name].append([])
                for _ in range(math.ceil(repeats / blocks)):
                    for name in random.permutation(list(group)):
                        samples[name][-1].append(_seconds(group[name], numbers[name]))
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

    "turns" is for twins in one group, as JAX's peers are. "torch" is for a twin right after a
    group of torch's, against one that runs before it.
    """
    together = measure([{"first": first, "twin": twin}], repeats)
    found = {"turns": together["first"].ratio(together["twin"])}
    if torch is not None:
        apart = measure([{"first": first}, {"torch": torch}, {"twin": twin}], repeats)
        found["torch"] = apart["first"].ratio(apart["twin"])
    return found


def bandwidth(mebibytes: int = 256, repeats: int = 7) -> float:
    """Bytes read and written per second by the best of some large copies, with JAX and NumPy."""
    size = mebibytes * 2**20 // 4
    source, target = np.zeros(size, np.float32), np.ones(size, np.float32)
    copy = jax.jit(lambda x: x + 1)  # what adds nothing would copy nothing
    x = jax.block_until_ready(jnp.asarray(source))
    calls = [lambda: jax.block_until_ready(copy(x))]
    if jax.default_backend() == "cpu":
        calls.append(lambda: np.copyto(target, source))
    for call in calls:
        call()
    return 2 * 4 * size / min(_seconds(call, 1) for call in calls for _ in range(repeats))
