"""Measures segments, prefixes and masks beside their peers: ``python -m benchmarks.segments``.

Prints milliseconds, and how many times longer each peer takes: ``jax.ops.segment_*`` and its like,
PyTorch's scatters and reductions, and masks written by hand.
"""

import argparse
import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxpool
from benchmarks import machine, timing
from benchmarks.programs import OWN

# Elements, channels and segments; batch, length and channels.
PACKED, PADDED = (65536, 256, 1024), (64, 512, 768)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.segments", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples of each program")
    parser.add_argument("--shrink", type=int, default=1, help="makes all axes so much shorter")
    parser.add_argument("--only", default="", help="functions whose names have this in them")
    options = parser.parse_args(arguments)
    speed = timing.bandwidth()
    print("| function | mode | ms | of a copy's bandwidth | times as long |")
    print("|---|---|---|---|---|")
    for name, x, functions in groups(options.shrink):
        if options.only not in name:
            continue
        for mode in ("forward", "forward + backward"):
            calls = {peer: _call(f, x, mode) for peer, f in functions.items()}
            found = timing.measure(calls, options.repeats)
            own = found[OWN]
            peers = ", ".join(
                f"{peer} {own.ratio(samples):.2f}" for peer, samples in found.items() if peer != OWN
            )
            share = x.nbytes / own.median / speed if mode == "forward" else None
            part = "" if share is None else f"{share:.0%}"
            print(f"| {name} | {mode} | {1e3 * own.median:.2f} | {part} | {peers} |", flush=True)


def groups(shrink: int) -> Iterator[tuple[str, np.ndarray, dict[str, Callable]]]:
    """Name, x, and functions of x that do one job; those of PyTorch are classes of `Torch`."""
    n, channels, cells = (max(size // shrink, 2) for size in PACKED)
    random = np.random.default_rng(0)
    x = random.standard_normal((n, channels), np.float32)
    unsorted = random.integers(0, cells, n).astype(np.int32)
    for ids, order in ((unsorted, "unsorted"), (np.sort(unsorted), "sorted")):
        for kind in ("sum", "avg", "max"):
            yield (
                f"segment_{kind}_pool, {order}",
                x,
                _segments(kind, jnp.asarray(ids), cells, order),
            )
    y = random.standard_normal([max(size // shrink, 2) for size in PADDED], np.float32)
    lengths = random.integers(1, y.shape[1] + 1, y.shape[0])
    where = jaxpool.length_mask(lengths, y.shape[1])[..., None]
    pools: dict[str, tuple[Callable, Callable]] = {
        "global_avg_pool, masked": (
            lambda y: jaxpool.global_avg_pool(y, 1, where=where),
            lambda y: jnp.sum(jnp.where(where, y, 0), 1) / jnp.sum(where, 1),
        ),
        "global_max_pool, masked": (
            lambda y: jaxpool.global_max_pool(y, 1, where=where),
            lambda y: jnp.max(y, 1, where=where, initial=-jnp.inf),
        ),
        "prefix_max_pool": (
            lambda y: jaxpool.prefix_max_pool(y, 1),
            lambda y: lax.cummax(y, 1),
        ),
        "prefix_sum_pool": (
            lambda y: jaxpool.prefix_sum_pool(y, 1),
            lambda y: lax.cumsum(y, 1),
        ),
    }
    for name, (own, by_hand) in pools.items():
        yield name, y, {OWN: own, "by hand": by_hand}


def _segments(kind: str, ids: jax.Array, cells: int, order: str) -> dict[str, Callable]:
    function = getattr(jaxpool, f"segment_{kind}_pool")
    ascending = order == "sorted"

    def peer(x: jax.Array) -> jax.Array:
        name = "segment_max" if kind == "max" else "segment_sum"
        y = getattr(jax.ops, name)(x, ids, cells, indices_are_sorted=ascending)
        if kind != "avg":
            return y
        count = jax.ops.segment_sum(jnp.ones_like(x[:, :1]), ids, cells)
        return y / jnp.maximum(count, 1)

    found: dict[str, Callable] = {
        OWN: lambda x: function(x, ids, cells, sorted=ascending),
        "jax.ops": peer,
    }
    if importlib.util.find_spec("torch"):
        forms = ["scatter_reduce", "index_add"] if kind == "sum" else ["scatter_reduce"]
        for form in [*forms, *(["segment_reduce"] if ascending else [])]:
            found[f"torch.{form}"] = functools.partial(Torch, form, kind, np.array(ids), cells)
    return found


class Torch:
    """A reduction by PyTorch, of an array that it takes over when it is made."""

    def __init__(self, form: str, kind: str, ids: np.ndarray, cells: int, x: np.ndarray) -> None:
        import torch

        self.torch: Any = torch
        self.form, self.cells, self.x = form, cells, torch.from_numpy(x.copy())
        self.kind = {"sum": "sum", "avg": "mean", "max": "amax"}[kind]
        self.ids = torch.from_numpy(ids).long()
        self.index = self.ids[:, None].expand(x.shape)
        self.lengths = torch.from_numpy(np.bincount(ids, minlength=cells)).long()

    def pooled(self, x: Any) -> Any:
        if self.form == "segment_reduce":
            return self.torch.segment_reduce(x, self.kind.removeprefix("a"), lengths=self.lengths)
        y = self.torch.zeros(self.cells, x.shape[1])
        if self.form == "index_add":
            return y.index_add(0, self.ids, x)
        return y.scatter_reduce(0, self.index, x, self.kind, include_self=False)

    def forward(self) -> Any:
        return self.pooled(self.x)

    def backward(self) -> Any:
        x = self.x.detach().requires_grad_()
        self.pooled(x).sum().backward()
        return x.grad


def _call(function: Any, x: np.ndarray, mode: str) -> timing.Call:
    if isinstance(function, functools.partial) and function.func is Torch:
        made = function(x)
        return made.forward if mode == "forward" else made.backward
    both = lambda x: jax.value_and_grad(lambda x: jnp.sum(function(x)))(x)  # noqa: E731
    given = jnp.asarray(x)
    compiled = jax.jit(function if mode == "forward" else both).lower(given).compile()
    return lambda: jax.block_until_ready(compiled(given))


if __name__ == "__main__":
    machine.keep_memory()
    main()
