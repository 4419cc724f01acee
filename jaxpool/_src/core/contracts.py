"""What we promise to ourselves, by chex: imported at first use, since it brings much else along."""

from collections.abc import Sequence
from typing import Any

import jax


def assert_shape(y: jax.Array, shape: Sequence[Any]) -> None:
    """That a result has the promised shape."""
    import chex

    chex.assert_shape(y, tuple(shape))


def assert_type(y: jax.Array, dtype: Any) -> None:
    """That a result has the promised dtype."""
    import chex

    chex.assert_type(y, dtype)
