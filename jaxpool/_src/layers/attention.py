"""Layers of attention over elements: the function, and heads that own their queries."""

import dataclasses
from typing import Any

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints
from jaxpool._src.layers.fields import Pool, layer


@layer
class AttentionPool(Pool):
    """Layer form of `jaxpool.attention_pool`; queries come with the call, and it learns nothing."""

    _: dataclasses.KW_ONLY
    axes: Ints = -2
    num_heads: int = 1
    scale: Any = None
    empty_value: Any = 0
    return_weights: bool = False

    _function = staticmethod(jaxpool.attention_pool)

    def __call__(
        self,
        x: jax.Array,
        query: jax.Array,
        *,
        key: jax.Array | None = None,
        value: jax.Array | None = None,
        where: jax.Array | None = None,
    ) -> Any:
        """The pooled x; arguments are those of the function."""
        return self._function(x, query, key=key, value=value, where=where, **self._options())
