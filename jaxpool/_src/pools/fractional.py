"""Fractional pools: as many cells as you say, at places drawn by chance."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxpool._src.core import arguments
from jaxpool._src.core.arguments import Ints
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.pools.argmax import with_indices
from jaxpool._src.pools.fractional_cells import Options, Scheme, drawn_cells, known_samples
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean


@explained
def fractional_max_pool(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The maximum of cells whose number need not divide the size of x, at places drawn by chance.

    In the scheme "torch", of n elements and o windows of k, with one number u per plane and axis
    and ``a = (n - k) / (o - 1)``, window i starts at ``int((i + u)*a) - int(u*a)`` and the last one
    at ``n - k``. In "tensorflow", with u up to 1 or 2, ``a = n / o``, and all counted from 1, cell
    i starts at ``ceil(a*(i + u))``, the first one at 1.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation; then
        no key is needed, and there are no `samples`.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; the dtype is x's.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. The gradient of a cell goes to its first maximum in row-major
      order, and if there are NaNs, to the last of them. Masked-out elements and `samples` have
      gradient 0.

    Example:
      >>> x = jnp.arange(9.)
      >>> jaxpool.fractional_max_pool(x, 2, output_shape=5, axes=0, key=jax.random.key(0))
      Array([1., 3., 5., 6., 8.], dtype=float32)
      >>> jaxpool.fractional_max_pool(x, boundaries=[[0, 2, 3, 7, 9]], axes=0)
      Array([1., 2., 6., 8.], dtype=float32)

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_max_pool"
    options = Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled, op, x, options, Max(), where, empty_value)


@explained
def fractional_avg_pool(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """The mean of cells whose number need not divide the size of x, at places drawn by chance.

    The cells are those of `fractional_max_pool`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation; then
        no key is needed, and there are no `samples`.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part. Floats are weights of a weighted mean.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of x's shape with `output_shape` in place of the pooled axes; floats keep their dtype,
      ints and bools give float32.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order. Masked-out elements and `samples` have gradient 0.

    Example:
      >>> x = jnp.arange(9.)
      >>> jaxpool.fractional_avg_pool(x, 2, output_shape=5, axes=0, key=jax.random.key(0))
      Array([0.5, 2.5, 4.5, 5.5, 7.5], dtype=float32)

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_avg_pool"
    options = Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled, op, x, options, Mean(), where, empty_value)


@explained
def fractional_max_pool_with_argmax(
    x: jax.Array,
    window_shape: Ints | None = None,
    *,
    output_shape: Ints | None = None,
    output_ratio: float | Sequence[float] | None = None,
    key: jax.Array | None = None,
    samples: jax.Array | None = None,
    boundaries: Any = None,
    axes: Ints | None = None,
    overlapping: bool = False,
    scheme: Scheme = "torch",
    deterministic: bool = False,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> tuple[jax.Array, jax.Array]:
    """The maximum of cells at places drawn by chance, and where in the input it is.

    Values are those of `fractional_max_pool`, indices as in `max_pool_with_argmax`.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
        Only of the scheme "torch", which needs it.
      output_shape: number of cells along each pooled axis, or an int for all.
      output_ratio: in place of `output_shape`, the part of the elements that there are cells for,
        between 0 and 1, for each pooled axis or for all.
      key: what the places are drawn with. In one call each plane has its own places in the scheme
        "torch", and all have the same in "tensorflow".
      samples: in place of `key`, uniform numbers in [0, 1). For "torch" of the shape of x without
        the pooled axes, and then an entry for each pooled axis, in their order; for "tensorflow"
        only the latter.
      boundaries: in place of all of these, for each pooled axis where its cells begin and, last,
        where they end, as TensorFlow's ``row_pooling_sequence``.
      axes: the pooled axes, an int or several. Default: as many axes as other arguments have
        entries, just before the last, which is channels-last. All others are batch, in any number,
        none included.
      overlapping: whether each cell also has the first element of the next one. Not of "torch".
      scheme: "torch": windows of `window_shape`, which overlap or leave gaps; "tensorflow": cells
        of one or two sizes that follow one another.
      deterministic: whether all numbers that would be drawn are one half, as for evaluation; then
        no key is needed, and there are no `samples`.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      (values, indices), both of x's shape with `output_shape` in place of the pooled axes; the
      dtype of values is x's, that of indices int32.

    Raises:
      ValueError: an argument is out of range, or arguments are missing or exclude one another, or
        the pooled axes have more than 2**31 - 1 elements.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Of the values as in `fractional_max_pool`: every mode, to any order. Indices have none,
      nor do `samples`.

    Example:
      >>> x = jnp.array([3., 1., 2., 5., 4.])
      >>> jaxpool.fractional_max_pool_with_argmax(x, 2, output_shape=3, axes=0, deterministic=True)
      (Array([3., 5., 5.], dtype=float32), Array([0, 3, 3], dtype=int32))

    References:
      Graham, Fractional max-pooling, 2014. <https://arxiv.org/abs/1412.6071>
    """
    op = "fractional_max_pool_with_argmax"
    options = Options(
        window_shape,
        output_shape,
        output_ratio,
        key,
        samples,
        boundaries,
        axes,
        overlapping,
        scheme,
        deterministic,
    )
    return _fractional(_pooled_with_indices, op, x, options, Max(), where, empty_value)


def _fractional(
    function: Callable[..., Any],
    op: str,
    x: Any,
    options: Options,
    reduction: Reduction,
    where: Any,
    empty_value: Any,
) -> Any:
    """`function`, one of the two below, as one program; bounds that are known stay so."""
    boundaries, samples = options.boundaries, options.samples
    sizes = ("window_shape", "output_shape", "output_ratio", "axes")
    options = options._replace(**{n: arguments.plain(getattr(options, n)) for n in sizes})
    if isinstance(boundaries, list | tuple):
        known = (e.tolist() if isinstance(e, np.ndarray) and e.ndim == 1 else e for e in boundaries)
        options = options._replace(boundaries=tuple(known))
    elif samples is not None:
        options = options._replace(samples=known_samples(op, samples))
    empty_value = arguments.known(empty_value)
    return as_one_program(function, op, x, options, reduction, where, empty_value)


def _pooled(
    op: str, x: Any, options: Options, reduction: Reduction, where: Any, empty_value: Any
) -> jax.Array:
    x = arguments.array(op, x)
    return run(op, x, drawn_cells(op, x, options), reduction, where, empty_value)


def _pooled_with_indices(
    op: str, x: Any, options: Options, reduction: Max, where: Any, empty_value: Any
) -> tuple[jax.Array, jax.Array]:
    x = arguments.array(op, x)
    return with_indices(op, x, drawn_cells(op, x, options), reduction, where, empty_value)
