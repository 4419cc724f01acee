"""Pools of segments, of masked axes and of attention, and descriptors, for `benchmarks.aot`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

import jaxpool
from benchmarks.programs import OWN, Program

PACKED, PADDED, TOKENS = (65536, 256), (64, 512, 768), (32, 1024, 768)
IDS, MASK = ((65536,), "int32"), ((64, 512, 1), "bool")
HEADS = {"num_heads": 12}


def _masked(pool: Callable, x: jax.Array, where: jax.Array) -> jax.Array:
    return pool(x, 1, where=where)


def _of_values(x: jax.Array, query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    return jaxpool.attention_pool(x, query, key=key, value=value, **HEADS)


def _segments(kind: str, *, in_order: bool) -> Callable:
    pool = getattr(jaxpool, f"segment_{kind}_pool")
    return functools.partial(pool, num_segments=1024, sorted=in_order)


# By name: the function, the shape of x, and shape and dtype of what else it takes. None is x's.
CASES: dict[str, tuple[Callable, tuple[int, ...], tuple[Any, ...]]] = {
    "segment_sum": (_segments("sum", in_order=False), PACKED, (IDS,)),
    "segment_sum, sorted": (_segments("sum", in_order=True), PACKED, (IDS,)),
    "segment_max": (_segments("max", in_order=False), PACKED, (IDS,)),
    "segment_max, sorted": (_segments("max", in_order=True), PACKED, (IDS,)),
    "mean, masked": (functools.partial(_masked, jaxpool.global_avg_pool), PADDED, (MASK,)),
    "max, masked": (functools.partial(_masked, jaxpool.global_max_pool), PADDED, (MASK,)),
    "attention, 1 query": (
        functools.partial(jaxpool.attention_pool, **HEADS), TOKENS, (((1, 768), None),)),
    "attention, 64 queries": (
        _of_values, TOKENS, (((64, 768), None), (TOKENS, None), (TOKENS, None))),
    "covariance": (
        functools.partial(jaxpool.covariance_pool, axes=(1, 2)), (32, 14, 14, 256), ()),
    "isqrt_covariance": (
        functools.partial(jaxpool.isqrt_covariance_pool, axes=(1, 2)), (32, 14, 14, 256), ()),
    "netvlad": (
        functools.partial(jaxpool.netvlad_pool, axes=(1, 2)), (32, 30, 40, 512),
        (((64, 512), None), ((32, 30, 40, 64), None))),
    "spatial_softmax": (jaxpool.spatial_softmax, (32, 64, 64, 64), ()),
}  # fmt: skip


def jobs(dtypes: Sequence[str], modes: Sequence[str]) -> list[tuple[Any, ...]]:
    """Op, name, shape of x, dtype, mode, implementation and case of each program."""
    return [
        (op, "", case[1], dtype, mode, OWN, case)
        for op, case in CASES.items()
        for dtype in dtypes
        for mode in modes
    ]


def program(case: tuple[Any, ...], dtype: str, mode: str) -> tuple[Program, int]:
    """What `benchmarks.aot` compiles, and the bytes that it must read and write.

    Gradients are in all floats.
    """
    function, shape, others = case
    kinds = [(shape, dtype), *((s, d or dtype) for s, d in others)]
    arguments = tuple(jax.ShapeDtypeStruct(s, d) for s, d in kinds)
    floats = tuple(i for i, (_, d) in enumerate(kinds) if jnp.issubdtype(d, jnp.floating))

    def in_reverse(*given: jax.Array) -> Any:
        def of(*floating: jax.Array) -> jax.Array:
            every = list(given)
            for i, array in zip(floats, floating, strict=True):
                every[i] = array
            return function(*every)

        y, pull_back = jax.vjp(of, *(given[i] for i in floats))
        return y, pull_back(jnp.ones_like(y))

    form = function if mode == "fwd" else in_reverse
    results = jax.tree.leaves(jax.eval_shape(form, *arguments))
    floor = sum(a.size * a.dtype.itemsize for a in (*arguments, *results))
    return Program(OWN, form, arguments), floor
