"""Layers of variances and standard deviations."""

import dataclasses
from typing import Any

import jaxpool
from jaxpool._src.core.arguments import Ints
from jaxpool._src.layers.fields import GlobalPool, Pool, WindowPool, layer


@layer
class VariancePool(WindowPool):
    """Layer form of `jaxpool.variance_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    ddof: int = 0

    _function = staticmethod(jaxpool.variance_pool)


@layer
class StdPool(WindowPool):
    """Layer form of `jaxpool.std_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    ddof: int = 0
    epsilon: Any = 0

    _function = staticmethod(jaxpool.std_pool)


@layer
class GlobalVariancePool(GlobalPool):
    """Layer form of `jaxpool.global_variance_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    ddof: int = 0

    _function = staticmethod(jaxpool.global_variance_pool)


@layer
class GlobalStdPool(GlobalPool):
    """Layer form of `jaxpool.global_std_pool`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    ddof: int = 0
    epsilon: Any = 0

    _function = staticmethod(jaxpool.global_std_pool)


@layer
class StatsPool(Pool):
    """Layer form of `jaxpool.stats_pool`; its fields are the function's arguments."""

    axes: Ints
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    ddof: int = 0
    keepdims: bool = False
    empty_value: Any = 0

    _function = staticmethod(jaxpool.stats_pool)
