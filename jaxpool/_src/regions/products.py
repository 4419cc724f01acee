"""Products of maps of several images with matrices of boxes, each box with its own image.

One map is a factor for all of its boxes. With several, boxes are taken image by image, some of them
at once, so that no map is copied for a box and no box meets another image. The sum over boxes, the
gradient in a map, adds up in place there. JAX would derive it as a sum of arrays as large as all
images, one in each round; so the product and what it is transposed to are one primitive.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxpool._src.lowering.meshes import settled, varying_alike
from jaxpool._src.lowering.primitives import lowered_by

Operands = Sequence[jax.Array]


def product_of_box(x: jax.Array, *weights: jax.Array) -> jax.Array:
    """``sum_hw rows[p,q,h] columns[p,q,w] x[h,w,c]`` of one box, for any number of axes.

    A matrix may have the size 1 along cells of other axes than its own, and x may be of shape
    (P, Q, H, W, C).
    """
    rank = len(weights)
    cells, pixels = "pqr"[:rank], "hwd"[:rank]
    letters = (cells if x.ndim > rank + 1 else "") + pixels + "c"
    for axis, weight in enumerate(weights):
        own = [i for i in range(rank) if i == axis or _is_many(weight.shape[i])]
        weight = lax.squeeze(weight, [i for i in range(rank) if i not in own])
        here = "".join(cells[i] for i in own)
        kept = [c for c in cells if c in letters or c in here]
        after = "".join(kept) + "".join(p for p in pixels[axis + 1 :]) + "c"
        form = f"{here}{pixels[axis]},{letters}->{after}"
        x, letters = jnp.einsum(form, weight, x, precision=lax.Precision.HIGHEST), after
    return x


def _is_many(size: Any) -> bool:
    return not isinstance(size, int) or size != 1


@dataclasses.dataclass(frozen=True)
class Product:
    """The product of a map x and of matrices, one for each axis, of the boxes in it.

    With y, which has the product's shape, as one factor more, it is a number that is linear in each
    factor. `gives` is the one in which it has its derivative here, 0 for x and -1 for y; all others
    are the operands, in this order, and then the image of each box. `shapes` are those of factors,
    without the axis of boxes or of images, and `images` is how many of these there are.
    """

    gives: int
    shapes: tuple[tuple[Any, ...], ...]
    images: Any
    at_once: int

    def __call__(self, *operands: jax.Array) -> jax.Array:
        return _product_p.bind(*varying_alike(*operands), how=self)

    @property
    def role(self) -> int:
        """`gives` as it is counted from the front."""
        return self.gives % len(self.shapes)

    def roles(self) -> list[int]:
        """Which factor each of the operands is, but the last."""
        return [role for role in range(len(self.shapes)) if role != self.role]


def image_product(
    x: jax.Array, weights: Operands, image: jax.Array, at_once: int
) -> jax.Array:  # fmt: skip
    """Each box's product of x, of shape (N, H, W, C), at its image with its matrices.

    `image` is at least 0, and N for boxes in no image, whose product is 0.
    """
    count = image.shape[0]
    if isinstance(count, int) and isinstance(x.shape[0], int):
        # A round is of one image: with room for more boxes than it has, most of it would be empty.
        share = max(-(-count // max(x.shape[0], 1)), 1)
        at_once = min(at_once, 2 ** (share - 1).bit_length())
    cells = tuple(weight.shape[1 + axis] for axis, weight in enumerate(weights))
    shapes = tuple(a.shape[1:] for a in (x, *weights))
    how = Product(-1, (*shapes, (*cells, x.shape[-1])), x.shape[0], at_once)
    return how(x, *weights, image)


def _in_order(*operands: jax.Array, how: Product) -> jax.Array:
    """Boxes of one image after the other, up to `at_once` of them in a round."""
    *factors, image = operands
    roles, count = how.roles(), image.shape[0]
    if any(isinstance(n, int) and n == 0 for n in (count, how.images)):
        size = how.images if how.role == 0 else count
        return jnp.zeros((size, *how.shapes[how.role]), factors[0].dtype)
    order = jnp.argsort(image)
    pad = functools.partial(_with_more, how.at_once)
    image = pad(_taken(image, order), how.images)
    of_boxes = {r: pad(_taken(f, order), 0) for r, f in zip(roles, factors, strict=True) if r != 0}
    x = factors[0] if roles[0] == 0 else None
    form = _round(how)

    def step(state: Any) -> Any:
        first, found = state
        number = image[first]
        here = lax.dynamic_slice_in_dim(image, first, how.at_once) == number
        given = []
        for role in roles:
            if role == 0:
                assert x is not None
                given.append(lax.dynamic_index_in_dim(x, number, keepdims=False))
                continue
            part = lax.dynamic_slice_in_dim(of_boxes[role], first, how.at_once)
            mine = here.reshape(-1, *[1] * (part.ndim - 1))
            given.append(jnp.where(mine, part, np.zeros((), part.dtype)))
        more = form(*given)
        if how.role == 0:
            more = more + lax.dynamic_index_in_dim(found, number, keepdims=False)
            found = lax.dynamic_update_index_in_dim(found, more, number, 0)
        else:  # what boxes of the next image get here is written over in its round
            found = lax.dynamic_update_slice_in_dim(found, more, first, 0)
        return first + jnp.sum(here, dtype=np.int32), found

    last = jnp.sum(image < how.images, dtype=np.int32)
    size = how.images if how.role == 0 else image.shape[0]
    state = jnp.int32(0), jnp.zeros((size, *how.shapes[how.role]), factors[0].dtype)
    _, found = lax.while_loop(lambda state: state[0] < last, step, settled(step, state))
    return found if how.role == 0 else _taken(found, jnp.argsort(order))


def _round(how: Product) -> Callable[..., jax.Array]:
    """The product of some boxes of one image, or its transpose in one of the factors."""
    together = jax.vmap(product_of_box, (None, *[0] * (len(how.shapes) - 2)))
    if how.role == len(how.shapes) - 1:
        return together

    def transposed(*given: jax.Array) -> jax.Array:
        *others, y = given
        shape = how.shapes[how.role]
        like = jnp.zeros(shape if how.role == 0 else (y.shape[0], *shape), y.dtype)
        like, y, *others = varying_alike(like, y, *others)
        put = lambda v: together(*others[: how.role], v, *others[how.role :])  # noqa: E731
        return jax.linear_transpose(put, like)(y)[0]

    return transposed


def _taken(array: jax.Array, order: jax.Array) -> jax.Array:
    return array.at[order].get(mode="clip", wrap_negative_indices=False)


def _with_more(number: int, array: jax.Array, fill: Any) -> jax.Array:
    more = jnp.full((number, *array.shape[1:]), fill, array.dtype)
    return jnp.concatenate(varying_alike(array, more))


# --- for JAX ------------------------------------------------------------------------------------

_product_p = Primitive("image_product")


def _abstract(*operands: Any, how: Product) -> Any:
    size = how.images if how.role == 0 else operands[-1].shape[0]
    return operands[0].update(shape=(size, *how.shapes[how.role]), weak_type=False)


def _jvp(primals: Any, tangents: Any, *, how: Product) -> tuple[Any, Any]:
    y = how(*primals)
    terms = [
        how(*primals[:i], tangent, *primals[i + 1 :])
        for i, tangent in enumerate(tangents[:-1])
        if not isinstance(tangent, ad.Zero)
    ]
    if not terms:
        return y, ad.Zero(jax.typeof(y).to_tangent_aval())
    return y, functools.reduce(lax.add, terms)


def _transpose(cotangent: Any, *operands: Any, how: Product) -> list[Any]:
    at = next(i for i, operand in enumerate(operands) if ad.is_undefined_primal(operand))
    found: list[Any] = [None] * len(operands)
    if isinstance(cotangent, ad.Zero):
        found[at] = ad.Zero(operands[at].aval)
        return found
    roles = how.roles()
    factors = dict(zip(roles, operands[:-1], strict=True)) | {how.role: cotangent}
    other = dataclasses.replace(how, gives=roles[at])
    found[at] = other(*(factors[role] for role in other.roles()), operands[-1])
    return found


def _batch(operands: Any, axes: Any, *, how: Product) -> tuple[jax.Array, int]:
    """Images and boxes of the whole batch, as many of them and in one row."""
    size = next(a.shape[axis] for a, axis in zip(operands, axes, strict=True) if axis is not None)
    *factors, image = (
        a if axis is None else jnp.moveaxis(a, axis, 0)
        for a, axis in zip(operands, axes, strict=True)
    )
    roles = how.roles()
    # One set of images serves all boxes of a batch, if it is the same for all of them.
    several = how.role == 0 or axes[0] is not None
    ids = image if axes[-1] is not None else jnp.broadcast_to(image, (size, *image.shape))
    if several:
        number = jnp.arange(size, dtype=np.int32)[:, None]
        ids = jnp.where(ids < how.images, ids + number * how.images, size * how.images)
    rows = []
    for role, factor, axis in zip(roles, factors, axes[:-1], strict=True):
        if axis is None and not (role == 0 and not several):
            factor, axis = jnp.broadcast_to(factor, (size, *factor.shape)), 0
        rows.append(factor if axis is None else _flat(factor))
    much = dataclasses.replace(how, images=how.images * (size if several else 1))
    found = much(*rows, _flat(ids))
    return found.reshape(size, found.shape[0] // size, *found.shape[1:]), 0


def _flat(array: jax.Array) -> jax.Array:
    return array.reshape(math.prod(array.shape[:2]), *array.shape[2:])


def _lowered(platform: str, *operands: jax.Array, how: Product) -> jax.Array:
    del platform
    return _in_order(*operands, how=how)


ad.primitive_jvps[_product_p] = _jvp
ad.primitive_transposes[_product_p] = _transpose
lowered_by(_product_p, _abstract, _batch, _lowered)
