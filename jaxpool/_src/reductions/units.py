"""Units in which neither elements nor their squares overflow or underflow."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def power_of_2(size: jax.Array, factor: float = 1.0) -> tuple[jax.Array, jax.Array]:
    """The power of 2 that is at most `size`, times `factor`, and its reciprocal.

    Products with either are exact, and neither is denormal.
    """
    one, info = np.ones((), size.dtype), jnp.finfo(size.dtype)
    # By its bits, which takes less time than functions that count in exponents.
    bits = np.dtype(f"int{8 * size.dtype.itemsize}")
    exponent = np.array(np.inf, size.dtype).view(bits)
    power = lax.bitcast_convert_type(jnp.where(size > 0, size, one), bits) & exponent
    unit = lax.bitcast_convert_type(power, size.dtype) * np.array(factor, size.dtype)
    most = np.array(2.0 ** (info.maxexp - 3), size.dtype)
    unit = jnp.clip(unit, np.array(info.tiny, size.dtype), most)
    return unit, jnp.asarray(one) / unit
