"""Products of maps with one matrix of weights for each axis."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.taps import finite
from jaxpool._src.lowering.windows import pad
from jaxpool._src.regions.corners import Cells, Maps, Places, clamped, hats
from jaxpool._src.regions.products import image_product, product_of_box

# Products of matrices take so many boxes at once that what lies between the two products has this
# many elements. For 512 boxes of 7 x 7 cells on a 64 x 64 x 256 map, that is three times as fast on
# two CPU cores as all boxes at once, and takes 20 MB instead of 470.
_ELEMENTS_AT_ONCE = 2**21


def mean_by_matrices(
    maps: Maps, cells: Cells, places: Places, *, contain: bool = True
) -> jax.Array:
    form = weighted_sum if contain else _product_of_finite
    counts = cells.counts or (None,) * len(places)
    parts = []
    for number, x in enumerate(maps):
        shape = x.shape[-1 - len(places) : -1]
        weights = [_mean_hats(*given) for given in zip(places, shape, counts, strict=True)]
        image = cells.image
        if cells.level is not None:
            here = cells.level == number
            mine = here.reshape(-1, *[1] * len(places), 1)
            weights[0] = jnp.where(mine, weights[0], np.zeros((), weights[0].dtype))
            image = None if image is None else jnp.where(here, image, x.shape[0])
        parts.append(form(x, tuple(weights), image))
    return functools.reduce(lax.add, parts)


def _mean_hats(t: jax.Array, length: Any, count: jax.Array | None) -> jax.Array:
    """Mean weights of `length` pixels over the samples on the last axis of `t`."""
    outside, t = clamped(t, length)
    pixel = jnp.arange(length, dtype=t.dtype).reshape((1,) * t.ndim + (length,))
    hat = jnp.where(outside[..., None], np.zeros((), t.dtype), hats(t[..., None], pixel))
    if count is None:
        return jnp.mean(hat, -2)
    number = jnp.maximum(count, 1).astype(t.dtype)
    return jnp.sum(hat, -2) / number.reshape(-1, *[1] * (t.ndim - 1))


@jax.jit
def weighted_sum(
    x: jax.Array, weights: tuple[jax.Array, ...], image: jax.Array | None = None
) -> jax.Array:
    """``sum_hw rows[k,p,q,h] columns[k,p,q,w] x[h,w,c]``, of shape (K, P, Q, C), for any axes.

    `weights` are rows and columns; the q of rows and the p of columns may be 1. x may be of shape
    (P, Q, H, W, C), and has an axis of images before that if `image` says which one each box is in.
    Weights are not negative. An infinity or NaN in x reaches only cells in which it has a weight.
    """
    y = _product_of_finite(x, weights, image)
    # Outside of the loop, of which JAX up to 0.10.1 takes no second derivative, not even one of 0.
    fixed, *still = lax.stop_gradient((x, *weights))

    def spread(state: Any) -> Any:
        """What is not finite, in cells that it has a weight in; else 0."""
        _, dirty = state
        some = tuple((weight != 0).astype(x.dtype) for weight in still)
        zero = np.zeros((), x.dtype)
        unfinite = zero
        for infinity in (np.inf, -np.inf):
            # `dirty` is True. XLA computes what does not depend on the state ahead of the loop.
            here = dirty & ((fixed == infinity) | (fixed != fixed))
            found = _product(here.astype(x.dtype), some, image)
            unfinite = unfinite + jnp.where(found > 0, np.array(infinity, x.dtype), zero)
        return unfinite, dirty & np.False_

    dirty = jnp.any(~jnp.isfinite(fixed))
    # A loop of no or one round, since vmap makes both branches of a conditional run.
    nothing = jnp.zeros_like(lax.stop_gradient(y))
    state = settled(spread, (nothing, dirty))
    unfinite, _ = lax.while_loop(lambda state: state[1], spread, state)
    return y + unfinite


def _product_of_finite(
    x: jax.Array, weights: tuple[jax.Array, ...], image: jax.Array | None
) -> jax.Array:
    return _product(finite(x), weights, image)


def _product(x: jax.Array, weights: tuple[jax.Array, ...], image: jax.Array | None) -> jax.Array:
    """`weighted_sum` of finite x: one axis after the other, some boxes at once."""
    count = weights[0].shape[0]
    at_once = _boxes_at_once(x, weights, image)
    if image is not None:
        return image_product(x, weights, image, at_once or 1)
    # The backward pass is to keep the weights, and not what lies between the products.
    of_box = jax.checkpoint(functools.partial(product_of_box, x))
    if isinstance(count, int) and at_once is not None and at_once < count:
        while at_once > 8 and -count % at_once > count // 8:
            at_once //= 2  # else up to half of all rounds would be of no box
        parts = [
            pad(0, (0, -part.shape[0] % at_once), part, 0).reshape(-1, at_once, *part.shape[1:])
            for part in weights
        ]
        found = lax.map(lambda parts: jax.vmap(of_box)(*parts), parts)
        found = found.reshape(-1, *found.shape[2:])
        return lax.slice_in_dim(found, 0, count, 1, 0)
    return jax.vmap(of_box)(*weights)


def _boxes_at_once(
    x: jax.Array, weights: tuple[jax.Array, ...], image: jax.Array | None
) -> int | None:
    """How many boxes it is best to take at once, if sizes are known."""
    rank = len(weights)
    inner = x.shape[1 if image is not None else 0 :]
    cells = inner[:rank] if len(inner) > rank + 1 else weights[0].shape[1 : 1 + rank]
    elements = math.prod(cells) * math.prod(inner[-rank:])  # after the first product
    if not isinstance(elements, int):
        return None
    # A power of 2, and as many in the last round: for TPUs, rounds of 18 with 8 left over take
    # 10 s to compile, and rounds of 16 0.7.
    return 2 ** (max(_ELEMENTS_AT_ONCE // max(elements, 1), 1).bit_length() - 1)
