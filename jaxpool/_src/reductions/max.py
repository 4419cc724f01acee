"""Maximum and minimum."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Domain, Reduction
from jaxpool._src.lowering.max import IMPLEMENTATIONS, Implementation


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Max(Reduction):
    """The largest element of a cell; the first of equal ones takes the gradient.

    The dtype stays. Of bools it is whether any is True (dilation). NaN propagates.

    Args:
      implementation: which form of a windowed maximum to compute; None, for which each platform
        has its own, "taps", "axes" or "reduce_window". See `max_pool`.

    Raises:
      ValueError: when used, if `implementation` is none of these.

    Example:
      >>> jaxpool.pool(jnp.array([3, 1, 2]), jaxpool.Global(0), jaxpool.Max())
      Array(3, dtype=int32)
    """

    implementation: Implementation | None = None

    def check(self, op: str) -> None:
        arguments.one_of(op, "implementation", self.implementation, (None, *IMPLEMENTATIONS))

    def accumulate_dtype(self, dtype: Any) -> Any:
        return comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return domain.max(x, where, implementation=self.implementation)

    def with_argument(
        self, x: jax.Array, domain: Domain, where: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Each cell's value, and its row-major position."""
        return domain.max_with_argmax(x, where)


@explained
@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Min(Reduction):
    """The smallest element of a cell; the first of equal ones takes the gradient.

    The dtype stays. Of bools it is whether all are True (erosion). NaN propagates.

    Args:
      implementation: which form of a windowed minimum to compute; None, for which each platform
        has its own, "taps", "axes" or "reduce_window". See `min_pool`.

    Raises:
      ValueError: when used, if `implementation` is none of these.

    Example:
      >>> jaxpool.pool(jnp.array([3, 1, 2]), jaxpool.Global(0), jaxpool.Min())
      Array(1, dtype=int32)
    """

    implementation: Implementation | None = None

    def check(self, op: str) -> None:
        arguments.one_of(op, "implementation", self.implementation, (None, *IMPLEMENTATIONS))

    def accumulate_dtype(self, dtype: Any) -> Any:
        return comparable(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        return dtype

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        return domain.min(x, where, implementation=self.implementation)

    def with_argument(
        self, x: jax.Array, domain: Domain, where: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Each cell's value, and its row-major position."""
        return domain.max_with_argmax(x, where, lowest=True)


def comparable(dtype: Any) -> Any:
    """A dtype that has an order, and ints of at least a byte, which XLA compares natively."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if jnp.issubdtype(dtype, jnp.integer) and jnp.iinfo(dtype).bits < 8:
        return np.dtype(np.uint8 if jnp.issubdtype(dtype, jnp.unsignedinteger) else np.int8)
    return dtype
