"""Measures attention over tokens beside its peers: ``python -m benchmarks.attention``.

Prints milliseconds, and how many times longer each peer takes: `jax.nn.dot_product_attention`
called by hand and PyTorch's `scaled_dot_product_attention` of given keys and values, and for heads
with projections the attention of Flax and of PyTorch. Gradients are those in all that is given.
"""

import argparse
import functools
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

import jaxpool
import jaxpool.linen
from benchmarks import machine, timing
from benchmarks.programs import OWN

TOKENS, HEADS = (32, 1024, 768), 12
FLAX = nn.MultiHeadDotProductAttention(HEADS)
MODES = ("forward", "forward + backward")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument("--repeats", type=int, default=15, help="samples of each program")
    parser.add_argument("--shrink", type=int, default=1, help="makes all axes so much shorter")
    parser.add_argument("--only", default="", help="functions whose names have this in them")
    options = parser.parse_args(arguments)
    print("| function | mode | ms | times as long |")
    print("|---|---|---|---|")
    for name, peers in groups(options.shrink, options.only):
        for mode in MODES:
            calls = {peer: make(mode) for peer, make in peers.items()}
            found = timing.measure(calls, options.repeats)
            own = found[OWN]
            times = ", ".join(
                f"{peer} {own.ratio(samples):.2f}" for peer, samples in found.items() if peer != OWN
            )
            print(f"| {name} | {mode} | {1e3 * own.median:.2f} | {times} |", flush=True)


def groups(shrink: int, only: str) -> Iterator[tuple[str, dict[str, Callable]]]:
    """Each job that has `only` in its name, and what makes the call of a mode, by peer."""
    batch, length, channels = (max(size // shrink, HEADS) for size in TOKENS)
    channels -= channels % HEADS
    random = np.random.default_rng(0)
    x, value = random.standard_normal((2, batch, length, channels), np.float32)
    query = random.standard_normal((1, channels), np.float32)
    masked = np.arange(length)[:, None] < random.integers(1, length, (batch, 1, 1))
    for where, how in ((None, ""), (masked, ", masked")):
        if only in f"one query{how}":
            yield (
                f"one query{how}",
                {
                    OWN: _jax(functools.partial(_own, where=where), query, x, value),
                    "jax.nn": _jax(functools.partial(_by_hand, where=where), query, x, value),
                    **_torch(projected=False, where=where, given=(query, x, value)),
                },
            )
        if only in f"MAP{how}":
            own = jaxpool.linen.MultiheadAttentionPool(HEADS, mlp_dim=0)
            parameters = jax.jit(own.init)(jax.random.key(0), x[:1])
            theirs = jax.jit(FLAX.init)(jax.random.key(0), x[:1, :1], x[:1])
            queries = jnp.broadcast_to(query, (batch, 1, channels))
            mask = None if where is None else where[:, None, None, :, 0]
            yield (
                f"MAP{how}",
                {
                    OWN: _jax(functools.partial(own.apply, where=where), parameters, x),
                    "Flax": _jax(functools.partial(_by_flax, queries, mask), theirs, x),
                    **_torch(projected=True, where=where, given=(query, x, value)),
                },
            )


def _own(query: jax.Array, key: jax.Array, value: jax.Array, where: Any) -> jax.Array:
    return jaxpool.attention_pool(key, query, value=value, num_heads=HEADS, where=where)


def _by_hand(query: jax.Array, key: jax.Array, value: jax.Array, where: Any) -> jax.Array:
    apart = lambda x: x.reshape(*x.shape[:-1], HEADS, -1)  # noqa: E731
    query = jnp.broadcast_to(query, (key.shape[0], *query.shape))
    mask = None if where is None else where[:, None, None, :, 0]
    return jax.nn.dot_product_attention(*map(apart, (query, key, value)), mask=mask)


def _by_flax(query: jax.Array, mask: Any, parameters: Any, x: jax.Array) -> jax.Array:
    found: Any = FLAX.apply(parameters, query, x, mask=mask)
    return found


def _jax(function: Callable, *given: Any) -> Callable[[str], timing.Call]:
    def make(mode: str) -> timing.Call:
        places = tuple(range(len(given)))
        both = jax.value_and_grad(lambda *given: jnp.sum(function(*given)), places)
        arrays = jax.tree.map(jnp.asarray, given)
        program = jax.jit(function if mode == MODES[0] else both).lower(*arrays).compile()
        return lambda: jax.block_until_ready(program(*arrays))

    return make


def _torch(projected: bool, where: Any, given: Sequence[np.ndarray]) -> dict[str, Callable]:
    if not importlib.util.find_spec("torch"):
        return {}
    import torch

    tensors: list[Any] = [torch.from_numpy(array.copy()) for array in given]
    module = torch.nn.MultiheadAttention(given[0].shape[-1], HEADS, batch_first=True)
    valid = None if where is None else torch.from_numpy(where[..., 0].copy())

    def pooled(query: Any, key: Any, value: Any) -> Any:
        query = query.expand(key.shape[0], *query.shape)
        if projected:
            padding = None if valid is None else ~valid
            return module(query, key, key, key_padding_mask=padding, need_weights=False)[0]
        apart = lambda x: x.reshape(*x.shape[:2], HEADS, -1).transpose(1, 2)  # noqa: E731
        mask = None if valid is None else valid[:, None, None]
        attention: Any = torch.nn.functional.scaled_dot_product_attention
        return attention(*map(apart, (query, key, value)), attn_mask=mask)

    def forward() -> Any:
        with torch.no_grad():
            return pooled(*tensors)

    def backward() -> Any:
        leaves = [tensor.detach().requires_grad_() for tensor in tensors]
        pooled(*leaves).sum().backward()
        module.zero_grad()
        return leaves

    return {"torch": lambda mode: forward if mode == MODES[0] else backward}


if __name__ == "__main__":
    machine.keep_memory()
    main()
