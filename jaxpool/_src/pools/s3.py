"""Stochastic subsampling of maxima (S3Pool)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import parted_by_xla, pool_mask, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.window import Window, window_arguments
from jaxpool._src.lowering.strips import Strips, shifted_entries
from jaxpool._src.lowering.windows import along, numbered
from jaxpool._src.reductions.max import Max
from jaxpool._src.reductions.mean import Mean
from jaxpool._src.reductions.mixed import Mixed


@explained
def s3_pool(
    x: jax.Array,
    window_shape: Ints,
    strides: Ints | None = None,
    padding: Padding = "VALID",
    *,
    dilation: Ints = 1,
    ceil_mode: bool = False,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    grid: Ints | None = None,
    key: jax.Array | None = None,
    deterministic: bool = False,
) -> jax.Array:
    """The maximum of windows at stride 1, of which rows and columns are kept at random.

    Along each pooled axis the maxima are parted into strips of `grid`, and one in `strides` of a
    strip is kept, in order and the same for all maps.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(0 0 | a b c d | 0 0)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      grid: length of strips, a multiple of the stride, an int or one per pooled axis. Default: the
        strides, so that each cell is one of a block of maxima, and its expectation their mean.
      key: what is drawn with.
      deterministic: whether to give the mean of each block of `strides` maxima instead, as for
        evaluation; then no key is needed.

    Returns:
      Array of x's shape with ``m // s`` in place of n on each pooled axis (``ceil(m / s)`` in ceil
      mode), where m is the number of windows at stride 1; floats keep their dtype, ints and bools
      give float32.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, or a
        window lies wholly in padding.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Every mode, to any order: those of `max_pool` for the cells that are kept.

    Example:
      >>> x = jnp.array([1., 3., 2., 6., 4.])
      >>> jaxpool.s3_pool(x, 2, axes=0, deterministic=True)
      Array([3., 6.], dtype=float32)

    References:
      Zhai et al., S3Pool: pooling with stochastic spatial sampling, 2017.
      <https://arxiv.org/abs/1611.05138>
    """
    return as_one_program(
        _s3_pool,
        x,
        window_shape,
        strides,
        padding,
        dilation,
        ceil_mode,
        axes,
        where,
        arguments.known(empty_value),
        grid,
        key,
        deterministic,
    )


def _s3_pool(
    x: Any,
    window_shape: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: Any,
    axes: Any,
    where: Any,
    empty_value: Any,
    grid: Any,
    key: Any,
    deterministic: Any,
) -> jax.Array:
    op = "s3_pool"
    x = arguments.array(op, x)
    parameters.key(op, key, deterministic)
    window = window_arguments(op, *(window_shape, strides, padding, dilation, ceil_mode, axes))
    along, steps = window["axes"], window["strides"]
    strips = steps if grid is None else arguments.ints(op, "grid", grid, len(along), 1)
    if any(strip % step for strip, step in zip(strips, steps, strict=True)):
        arguments.fail(op, "grid", f"be multiples of the strides {steps}", grid)
    maxima = Window(**{**window, "strides": (1,) * len(along), "ceil_mode": False})
    maxima.check(op, x.shape)
    pooled = maxima.pooled_axes(x.ndim)
    mask = arguments.mask(op, where, x.shape, pooled, False)
    sizes = maxima.output_shape(x.shape)
    for axis, step in zip(pooled, steps, strict=True):
        arguments.known_size(op, x.shape, axis)
        if step > sizes[axis] and not window["ceil_mode"]:
            allowed = f"be at most {sizes[axis]} along axis {axis}, the number of windows there"
            arguments.fail(op, "strides", allowed, strides, shape=x.shape)
    blocks = Window(steps, axes=along, ceil_mode=window["ceil_mode"])
    fill_array = empty_value if isinstance(empty_value, jax.Array) else None

    def compute(x: jax.Array, mask: Any, key: Any, fill: jax.Array | None) -> jax.Array:
        y = run(op, x, maxima, Mixed(1), mask, 0)
        mask = None if mask is None else pool_mask(mask, maxima)
        fill = empty_value if fill is None else fill
        if deterministic:
            return run(op, y, blocks, Mean(), mask, fill)
        y, mask = _kept(key, (y, mask), blocks, strips)
        return run(op, y, Window((1,) * len(along), axes=along), Max(), mask, fill)

    shape = blocks.output_shape(sizes)
    return parted_by_xla(compute, shape, range(x.ndim), x, mask, key, fill_array)


def _kept(key: Any, tree: Any, blocks: Window, grid: tuple[int, ...]) -> Any:
    """Of the arrays in `tree` as many entries as `blocks`, drawn from strips of `grid`."""
    windows = blocks.windows(jax.tree.leaves(tree)[0].shape)
    for number, ((axis, w), strip) in enumerate(zip(windows, grid, strict=True)):
        key_of_axis = jax.random.fold_in(key, number)
        picks = strip // w.stride
        strips = -(-w.output // picks)
        # The last strip may be short, and then has fewer cells.
        numbers = numbered(0, strips, 2)
        wanted = jnp.minimum(picks, w.output - numbers * picks)
        sizes = jnp.minimum(strip, w.length - numbers * strip)
        score = jax.random.uniform(key_of_axis, (strips, strip))
        score = jnp.where(numbered(1, strip, 2) < sizes, score, np.float32(2))
        chosen = jnp.argsort(score, 1)[:, :picks].astype(np.int32)
        chosen = jnp.where(numbered(1, picks, 2) < wanted, chosen, np.int32(strip))
        # How far each is from the first that could be there: from 0 to strip - picks.
        shifts = jnp.sort(chosen, 1) - numbered(1, picks, 2)
        tree = jax.tree.map(
            functools.partial(_shifted, shifts.ravel()[: w.output], picks, strip, axis), tree
        )
    return tree


def _shifted(shifts: jax.Array, cells: int, step: int, axis: int, x: jax.Array) -> jax.Array:
    strips = Strips(cells, 1, 1, step, step)
    return shifted_entries(x, along(shifts, axis, x.ndim), strips, step - cells, axis)
