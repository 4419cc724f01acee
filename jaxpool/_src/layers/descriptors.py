"""Layers of descriptors: second-order pools, VLAD with its clusters, expected places."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

import jaxpool
from jaxpool._src.core.arguments import Ints, axis_numbers, check_array, mask, resolved_axes
from jaxpool._src.core.pool import accumulator, with_zeros
from jaxpool._src.layers.fields import Pool, layer, op_of
from jaxpool._src.layers.learned import OfChannels
from jaxpool._src.layers.parameters import accurate, check_features, constant, finite_exp


@layer
class CovariancePool(Pool):
    """Layer form of `jaxpool.covariance_pool`; its fields are the function's arguments."""

    axes: Ints
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    ddof: int = 0

    _function = staticmethod(jaxpool.covariance_pool)


@layer
class BilinearPool(Pool):
    """Layer form of `jaxpool.bilinear_pool`; its fields are arguments of the function."""

    axes: Ints
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    normalize: bool = True

    def __call__(
        self, x: jax.Array, *, y: jax.Array | None = None, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return jaxpool.bilinear_pool(x, y=y, where=where, **self._options())


@layer
class IsqrtCovariancePool(Pool):
    """Layer form of `jaxpool.isqrt_covariance_pool`; its fields are the function's arguments."""

    axes: Ints
    _: dataclasses.KW_ONLY
    channel_axis: int = -1
    iterations: int = 5
    epsilon: Any = 1e-6
    vectorize: bool = True

    _function = staticmethod(jaxpool.isqrt_covariance_pool)


@layer
class CompactBilinearPool(Pool):
    """Layer form of `jaxpool.compact_bilinear_pool`; its fields are arguments of the function.

    The sketch comes with the call: drawn once, it is kept with the parameters of the model.
    """

    axes: Ints
    _: dataclasses.KW_ONLY
    channel_axis: int = -1

    def __call__(
        self, x: jax.Array, *, sketch: jaxpool.Sketch, where: jax.Array | None = None
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return jaxpool.compact_bilinear_pool(x, sketch=sketch, where=where, **self._options())


@layer
class NetvladPool(Pool):
    """Layer form of `jaxpool.netvlad_pool`; its fields are arguments of the function."""

    _: dataclasses.KW_ONLY
    axes: Ints
    ghosts: int = 0

    def __call__(
        self,
        x: jax.Array,
        centroids: jax.Array,
        logits: jax.Array,
        *,
        where: jax.Array | None = None,
    ) -> jax.Array:
        """The pooled x; arguments are those of the function."""
        return jaxpool.netvlad_pool(x, centroids, logits, where=where, **self._options())


@layer
class SpatialSoftmax(Pool):
    """Layer form of `jaxpool.spatial_softmax`; its fields are the function's arguments."""

    _: dataclasses.KW_ONLY
    axes: Sequence[int] = (-3, -2)
    temperature: Any = 1.0
    empty_value: Any = 0

    _function = staticmethod(jaxpool.spatial_softmax)


@layer
class LearnedSpatialSoftmax(Pool):
    """`jaxpool.spatial_softmax` with a `temperature` that is learned.

    Its parameter `log_temperature`, one number, is the temperature's logarithm, so that this stays
    above 0. It starts at 0, from where the temperature is 1.
    """

    _: dataclasses.KW_ONLY
    axes: Sequence[int] = (-3, -2)
    empty_value: Any = 0
    param_dtype: Any = jnp.float32

    _own = ("param_dtype",)
    _of_channels, _starts_at_random, _channels = False, False, ()

    def _first(self) -> dict[str, Any]:
        return {"log_temperature": ((), constant(0))}

    def _parameters(self) -> dict[str, jax.Array]:
        """What the framework keeps: in the shapes of `_first`."""
        raise NotImplementedError

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The expected places of x; `where` masks as in the function."""
        temperature = finite_exp(accurate(self._parameters()["log_temperature"]))
        return jaxpool.spatial_softmax(x, temperature=temperature, where=where, **self._options())


@layer
class _Vlad(OfChannels):
    """Clusters, some of which may be ghosts, and an assignment to them that is linear in x."""

    _own = ("clusters", "alpha", "features", "param_dtype")
    _starts_at_random = True
    # Both begin with what the kernel begins with, and are free from then on.
    _follows: ClassVar[dict[str, str]] = {"bias": "kernel", "centroids": "kernel"}

    def _first(self, channels: int) -> dict[str, Any]:
        layer: Any = self
        kept, alpha = layer.clusters, layer.alpha
        every = kept + getattr(self, "ghosts", 0)

        def kernel(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            drawn = jax.random.normal(key, shape)
            return (2 * alpha * drawn / jnp.linalg.norm(drawn, axis=0, keepdims=True)).astype(dtype)

        def bias(_: Any, shape: tuple[int, ...], dtype: Any, kernel: jax.Array) -> jax.Array:
            return (-jnp.sum(accurate(kernel) ** 2, 0) / (4 * alpha)).astype(dtype)

        def centroids(_: Any, shape: tuple[int, ...], dtype: Any, kernel: jax.Array) -> jax.Array:
            return (accurate(kernel).T[:kept] / (2 * alpha)).astype(dtype)

        return {
            "kernel": ((channels, every), kernel),
            "bias": ((every,), bias),
            "centroids": ((kept, channels), centroids),
        }

    def __call__(self, x: jax.Array, *, where: jax.Array | None = None) -> jax.Array:
        """The descriptor of x, whose channels are last; `where` masks as in `netvlad_pool`."""
        op, options = op_of(self), self._options()
        check_array(op, x)
        check_features(self, x, -1)
        pooled = resolved_axes(op, axis_numbers(op, options["axes"]), x.shape)
        # What is masked out is to reach no parameter either.
        x = with_zeros(jnp.asarray(x), mask(op, where, x.shape, pooled, False))
        elements = x.astype(accumulator(x.dtype))
        parameters = self._parameters(x.shape[-1])
        kernel, bias, centroids = (
            accurate(parameters[name]).astype(elements.dtype)
            for name in ("kernel", "bias", "centroids")
        )
        along = (((x.ndim - 1,), (0,)), ((), ()))
        logits = lax.dot_general(elements, kernel, along, precision=lax.Precision.HIGHEST)
        logits += bias.reshape((1,) * (x.ndim - 1) + bias.shape)
        return jaxpool.netvlad_pool(x, centroids, logits, where=where, **options)


@layer
class NetVlad(_Vlad):
    """NetVLAD: `jaxpool.netvlad_pool` with centroids and an assignment that are learned.

    Its parameters are `centroids`, of shape (clusters, channels), and the `kernel` and `bias` of
    the assignment, of which the logits of an element x are ``x @ kernel + bias``. With centroids c,
    these begin as ``2 * alpha * c.T`` and ``-alpha * sum(c**2)``, for which the assignment is the
    softmax of ``-alpha`` times squared distances; each goes its own way then. Centroids begin as
    directions drawn at random, for elements that are normalised as in the paper; set all three for
    centroids of k-means.

    Args:
      clusters: number of clusters.
      axes: the pooled axes, an int or several. Channels are last, all others are batch.
      alpha: how sharp the assignment is at first, a number > 0.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.
    """

    clusters: int = 64
    axes: Ints = (-3, -2)
    _: dataclasses.KW_ONLY
    alpha: float = 100.0
    features: int | None = None
    param_dtype: Any = jnp.float32


@layer
class GhostVlad(_Vlad):
    """GhostVLAD: `jaxpool.netvlad_pool` with ghosts, to which elements may go that are of no use.

    As `NetVlad`, but that `kernel` and `bias` have an entry for each ghost too, after those of
    clusters; `centroids` has none. Ghosts begin as clusters do.

    Args:
      clusters: number of clusters.
      ghosts: number of clusters without a centroid.
      axes: the pooled axes, an int or several. Channels are last, all others are batch.
      alpha: how sharp the assignment is at first, a number > 0.
      features: number of channels, which only NNX needs to be told.
      param_dtype: dtype of the parameters.
    """

    clusters: int = 8
    ghosts: int = 1
    axes: Ints = (-3, -2)
    _: dataclasses.KW_ONLY
    alpha: float = 100.0
    features: int | None = None
    param_dtype: Any = jnp.float32
