"""Layers that draw by chance."""

import dataclasses
from typing import Any, ClassVar

import jax

import jaxpool
from jaxpool._src.core.arguments import Ints, fail
from jaxpool._src.layers.fields import GlobalPool, Pool, WindowPool, layer, op_of
from jaxpool._src.reductions.random import Per


@layer
class RandomPool(Pool):
    """Calls a function that draws, with the key that comes with the call or one of a framework."""

    _how: ClassVar[str]  # a framework offers a key

    def __call__(
        self, x: jax.Array, *, where: jax.Array | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return self._function(x, where=where, key=self._drawn_with(key), **self._options())

    def _drawn_with(self, key: jax.Array | None) -> jax.Array | None:
        """`key`, or in its place one of the framework's; None where nothing is drawn."""
        layer: Any = self
        if key is None and not layer.deterministic:
            key = self._key()
            if key is None:
                hint = f"Write {self._how}."
                fail(op_of(self), "key", "be given unless `deterministic`", None, hint=hint)
        return key

    def _key(self) -> jax.Array | None:
        """A new key of the framework's, if it has one."""
        raise NotImplementedError


@layer
class StochasticPool(RandomPool, WindowPool):
    """Layer form of `jaxpool.stochastic_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    deterministic: bool = False

    _function = staticmethod(jaxpool.stochastic_pool)


@layer
class GlobalStochasticPool(RandomPool, GlobalPool):
    """Layer form of `jaxpool.global_stochastic_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    deterministic: bool = False

    _function = staticmethod(jaxpool.global_stochastic_pool)


@layer
class RankStochasticPool(RandomPool, WindowPool):
    """Layer form of `jaxpool.rank_stochastic_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    deterministic: bool = False

    _function = staticmethod(jaxpool.rank_stochastic_pool)


@layer
class MaxPoolDropout(RandomPool, WindowPool):
    """Layer form of `jaxpool.max_pool_dropout`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    rate: Any = 0.5
    deterministic: bool = False

    _function = staticmethod(jaxpool.max_pool_dropout)


@layer
class RandomMixedPool(RandomPool, WindowPool):
    """Layer form of `jaxpool.random_mixed_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    alpha: Any = 0.5
    count_include_pad: bool = True
    per: Per = "map"
    deterministic: bool = False

    _function = staticmethod(jaxpool.random_mixed_pool)


@layer
class S3Pool(RandomPool, WindowPool):
    """Layer form of `jaxpool.s3_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    grid: Ints | None = None
    deterministic: bool = False

    _function = staticmethod(jaxpool.s3_pool)
