"""Soft assignments of elements: to clusters, whose residuals add up, and to a place."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import accumulator, filled, parted_along
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.global_ import Global
from jaxpool._src.pools.descriptors import described, given
from jaxpool._src.reductions import descriptors
from jaxpool._src.reductions.soft import broadcasts


@explained
def netvlad_pool(
    x: jax.Array,
    centroids: jax.Array,
    logits: jax.Array,
    *,
    axes: Ints,
    ghosts: int = 0,
    where: jax.Array | None = None,
) -> jax.Array:
    """Residuals of elements to centroids, softly assigned, as a vector (NetVLAD, GhostVLAD).

    For each cluster k with the centroid c the sum over elements of ``a[k] (x - c)``, with the
    softmax a of the element's logits, divided by its length; all of them, one cluster after the
    other, are divided by the length again. Ghosts are clusters that take a share of the assignment
    and are then left out.

    Args:
      x: array of shape ``[..., channels]`` with at least the axes that are pooled.
      centroids: float array of shape ``[clusters, channels]``, without ghosts.
      logits: array of shape ``[..., clusters + ghosts]`` whose other axes are those of x, or
        broadcast to them; ghosts are last.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      ghosts: number of clusters without a centroid.
      where: bool mask that broadcasts to x and is the same for all channels; what is False takes no
        part, NaN included. Default: everything takes part.

    Returns:
      Array of shape ``[*batch, clusters * channels]``, the batch axes in their order; floats keep
      their dtype (sums are accumulated in float32 at least), ints and bools give float32. It is 0
      where nothing takes part.

    Raises:
      ValueError: an argument is out of range, an axis is missing or empty, the mask differs along
        channels, or an array does not fit x.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x, `centroids` and `logits`. Masked-out elements have gradient 0,
      and so have vectors of zeros.

    Example:
      >>> x = jnp.array([[1., 0.], [4., 4.]])
      >>> centroids, logits = jnp.array([[0., 0.], [4., 1.]]), jnp.array([[9., -9.], [-9., 9.]])
      >>> jnp.round(jaxpool.netvlad_pool(x, centroids, logits, axes=0), 3)
      Array([0.707, 0.   , 0.   , 0.707], dtype=float32)

    References:
      Arandjelović et al., NetVLAD: CNN architecture for weakly supervised place recognition, 2016.
      <https://arxiv.org/abs/1511.07247>

      Zhong, Arandjelović and Zisserman, GhostVLAD for set-based face recognition, 2018.
      <https://arxiv.org/abs/1810.09951>
    """
    return as_one_program(_netvlad_pool, x, centroids, logits, axes, ghosts, where)


def _netvlad_pool(
    x: Any, centroids: Any, logits: Any, axes: Any, ghosts: Any, where: Any
) -> jax.Array:
    op = "netvlad_pool"
    x, mask, layout = given(op, x, axes, -1, where)
    parameters.size(op, "ghosts", ghosts, "be an int >= 0", least=0)
    for name, value in (("centroids", centroids), ("logits", logits)):
        parameters.real_array(op, name, value)
    channels = x.shape[-1]
    if centroids.ndim != 2 or centroids.shape[1] != channels or centroids.shape[0] == 0:
        raise ValueError(
            f"{op}: `centroids` must have shape (clusters, {channels}), for the channels of x; got "
            f"centroids.shape={centroids.shape} for x.shape={x.shape}."
        )
    clusters = centroids.shape[0]
    target = (*x.shape[:-1], clusters + int(ghosts))
    if logits.shape[-1:] != target[-1:] or not broadcasts(logits.shape, target):
        raise ValueError(
            f"{op}: `logits` must broadcast to {target}, x's elements with {clusters} clusters and "
            f"{ghosts} ghosts; got logits.shape={logits.shape} for x.shape={x.shape}."
        )

    def compute(x: jax.Array, mask: Any, centroids: jax.Array, logits: jax.Array) -> jax.Array:
        logits = jnp.broadcast_to(logits.astype(x.dtype), (*x.shape[:-1], logits.shape[-1]))
        return descriptors.vlad(x, centroids.astype(x.dtype), logits, mask, layout)

    more = (jnp.asarray(centroids), jnp.asarray(logits))
    return described(op, compute, x, mask, layout, (clusters * channels,), *more)


@explained
def spatial_softmax(
    x: jax.Array,
    *,
    axes: Sequence[int] = (-3, -2),
    temperature: Any = 1.0,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """Where each channel is large: the mean place under ``softmax(x / temperature)``.

    Also known as soft-argmax. Places lie between -1, the first element of an axis, and 1, the last
    one; an axis of one element has the place 0. The lower the temperature, the closer to the
    maximum.

    Args:
      x: array of shape ``[..., height, width, channels]``; with `axes`, any layout.
      axes: the pooled axes, an int or several. All others are batch, in any number.
      temperature: what x is divided by, a number > 0, or a float scalar, which may be traced. In an
        array, what is not between ``2**-60`` and ``2**60`` counts as the nearest of these.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape without the pooled axes, and with a last axis for the places along these,
      in the order of `axes`; floats keep their dtype (sums are accumulated in float32 at least),
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or a pooled axis is missing or empty.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order, in x and in `temperature`. Masked-out elements and empty cells have
      gradient 0, and so have infinite ones.

    Example:
      >>> x = jnp.array([[0., 0., 9.], [0., 0., 0.]])[..., None]
      >>> jnp.round(jaxpool.spatial_softmax(x, temperature=0.5), 3)  # of one channel: y, then x
      Array([[-1.,  1.]], dtype=float32)

    References:
      Levine et al., End-to-end training of deep visuomotor policies, 2016.
      <https://arxiv.org/abs/1504.00702>

      Nibali et al., Numerical coordinate regression with convolutional neural networks, 2018.
      <https://arxiv.org/abs/1801.07372>
    """
    op = "spatial_softmax"
    parameters.scalar(op, "temperature", temperature)
    parameters.positive(op, "temperature", temperature)
    return as_one_program(
        _spatial_softmax, x, axes, temperature, where, arguments.known(empty_value)
    )


def _spatial_softmax(
    x: Any, axes: Any, temperature: Any, where: Any, empty_value: Any
) -> jax.Array:
    op = "spatial_softmax"
    x = arguments.array(op, x)
    domain = Global(arguments.axis_numbers(op, axes), keepdims=True)
    domain.check(op, x.shape)
    places = arguments.resolved_axes(op, arguments.axis_numbers(op, axes), x.shape)
    mask = arguments.mask(op, where, x.shape, places, False)
    dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else np.dtype(np.float32)
    arguments.scalar_for(op, empty_value, dtype)
    kept = [axis for axis in range(x.ndim) if axis not in places]
    shape = (*(x.shape[axis] for axis in kept), len(places))

    def program(x: jax.Array, mask: Any, temperature: Any, empty_value: Any) -> jax.Array:
        x = x.astype(accumulator(x.dtype))
        divisor = jnp.asarray(temperature, x.dtype)
        y = descriptors.expected_places(x, mask, places, divisor).astype(dtype)
        if mask is not None:
            y = filled(y, jnp.any(mask, places)[..., None], empty_value)
        contracts.assert_shape(y, shape)
        return y

    sources = [*((x, axis) for axis in kept), None]
    with jax.named_scope(f"jaxpool.{op}"):
        return parted_along(program, shape, sources, x, mask, temperature, empty_value)
