"""Grey-scale morphology: dilation, erosion, opening and closing."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpool._src.core import arguments, parameters
from jaxpool._src.core.arguments import Ints, Padding
from jaxpool._src.core.names import explained
from jaxpool._src.core.pool import Reduction, run
from jaxpool._src.core.program import as_one_program
from jaxpool._src.domains.window import Window, window_arguments
from jaxpool._src.lowering.max import window_max
from jaxpool._src.lowering.picks import exceeds, plus
from jaxpool._src.lowering.taps import scan
from jaxpool._src.lowering.windows import Windows, window_size, window_sum
from jaxpool._src.reductions.max import Max, Min

# Structures of up to this many places are written out one by one; larger ones run in a loop.
_AT_ONCE = 25


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Structured(Reduction):
    """The largest sum of an element and a structuring function; its mirror image if `erodes`.

    Only for a `Window`, since a structuring function is one of places in a window. `structure` has
    those places on its first axes, and then the rank of what it is added to; or it is a tuple, of
    one such array for each axis, whose sum it is then.
    """

    structure: Any
    erodes: bool = dataclasses.field(metadata={"static": True})

    def __call__(self, x: jax.Array, domain: Any, where: jax.Array | None) -> jax.Array:
        windows, given = domain.windows(x.shape), self.structure
        x = -x if self.erodes else x
        if not isinstance(given, tuple):
            y = _largest(x, where, windows, given)
            return -y if self.erodes else y
        # The last axis first: then the first of equal sums is so in row-major order.
        for (axis, w), along in sorted(zip(windows, given, strict=True), key=lambda p: -p[0][0]):
            here = ((axis, w),)
            x = _largest(x, where, here, along)
            if where is not None:
                where = window_sum(where.astype(np.int32), here) > 0
        return -x if self.erodes else x


def _largest(
    x: jax.Array, where: jax.Array | None, windows: Windows, structure: jax.Array
) -> jax.Array:
    """The largest valid sum of each window. `structure` has the places of `windows` first."""
    lead, order = len(windows), sorted(range(len(windows)), key=lambda i: windows[i][0])
    by_tap = jnp.transpose(structure, (*order, *range(lead, structure.ndim)))
    by_tap = by_tap.reshape(-1, *structure.shape[lead:]).astype(x.dtype)
    if window_size(windows) > _AT_ONCE:
        return _largest_in_a_loop(x, where, windows, by_tap)
    offsets = (jax.lax.index_in_dim(by_tap, i, keepdims=False) for i in range(len(by_tap)))
    return window_max(x, where, windows, offsets=tuple(offsets))


@functools.partial(jax.jit, static_argnames="windows")
def _largest_in_a_loop(
    x: jax.Array, where: jax.Array | None, windows: Windows, by_tap: jax.Array
) -> jax.Array:
    """The same for large windows, whose program would else grow with them."""
    outputs = {axis: w.output for axis, w in windows}
    shape = [outputs.get(axis, size) for axis, size in enumerate(x.shape)]
    fixed, offsets = jax.lax.stop_gradient((x, by_tap))

    def compare(best: tuple[jax.Array, jax.Array], element: jax.Array, number: Any) -> Any:
        y, picked = best
        new = plus(element, offsets[number])
        take = exceeds(new, y) | (picked < 0)
        return jnp.where(take, new, y), jnp.where(take, number, picked)

    nothing = jnp.zeros(shape, x.dtype), jnp.full(shape, -1, np.int32)
    _, picked = scan(compare, nothing, fixed, windows, where, _AT_ONCE)

    def pick(y: jax.Array, element: jax.Array, number: Any) -> jax.Array:
        return jnp.where(picked == number, plus(element, by_tap[number]), y)

    return scan(pick, nothing[0], x, windows, None, _AT_ONCE)


def _laid(op: str, structure: Any, fields: dict[str, Any], ndim: int, shape: Any) -> Any:
    """A structuring function, checked, with values in the rank of x."""
    sizes, axes = fields["window_shape"], arguments.resolved_axes(op, fields["axes"], shape)
    several = isinstance(structure, list | tuple)
    entries = structure if several else (structure,)
    if several and len(structure) != len(sizes):
        raise ValueError(
            f"{op}: `structure` must be one array, or {len(sizes)} of them (one per window axis), "
            f"whose sum it is; got {len(structure)}."
        )
    found = []
    for entry, lead in zip(entries, [(k,) for k in sizes] if several else [sizes], strict=True):
        if not isinstance(entry, jax.Array | np.ndarray) or not (
            jnp.issubdtype(entry.dtype, jnp.floating) or jnp.issubdtype(entry.dtype, jnp.integer)
        ):
            kind = getattr(entry, "dtype", type(entry).__name__)
            raise TypeError(
                f"{op}: `structure` must be an array of numbers, or a sequence of one per window "
                f"axis; got {kind}. For a set of places write jnp.where(places, 0.0, -jnp.inf)."
            )
        rest = entry.shape[len(lead) :]
        rest = (1,) * (ndim - len(rest)) + rest
        fits = len(rest) == ndim and all(
            k == 1 or (k == n and i not in axes)
            for i, (k, n) in enumerate(zip(rest, shape, strict=True))
        )
        if entry.shape[: len(lead)] != lead or not fits:
            raise ValueError(
                f"{op}: `structure` must have shape {lead}, that of the window, and more axes only "
                f"if these broadcast against x with size 1 along pooled axes; got structure.shape="
                f"{entry.shape} for x.shape={tuple(shape)}."
            )
        found.append(jnp.asarray(entry).reshape(*lead, *rest))
    return tuple(found) if several else found[0]


def _morphology(
    op: str,
    x: Any,
    erodes: bool,
    window: Sequence[Any],
    structure: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    """A dilation or erosion over the `Window` of those positional arguments."""
    fields = window_arguments(op, *window)
    domain = Window(**fields)
    if structure is None:
        return run(op, x, domain, Min() if erodes else Max(), where, empty_value)
    x = arguments.array(op, x)
    structure = _laid(op, structure, fields, x.ndim, x.shape)
    return run(op, x, domain, _Structured(structure, erodes), where, empty_value)


@explained
def dilation_pool(
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
    structure: Any = None,
) -> jax.Array:
    """The largest sum of element and structure: ``y[i] = max_j x[i*s - low + j*d] + h[j]``.

    Without a structure, which is a flat one, this is `max_pool`. Windows are not turned round, as
    in deep learning: mathematics, and SciPy's ``grey_dilation``, have ``x[i - j] + h[j]``.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(-inf -inf | a b c d | -inf -inf)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      structure: the structuring function h, an array of the window's shape; more axes, if any,
        broadcast against x with size 1 along pooled axes, as in ``(3, 3, channels)``. Where it is
        -inf, elements are left out. Or a sequence with such an array for each window axis: their
        sum is h, and one axis is pooled after the other, as for `parabolic_structure`. May be
        traced, to be learned. Default: 0 everywhere.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are in float32 at least); ints and bools give float32, without a structure their dtype.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, a
        window lies wholly in padding, or the structure has another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the structure, every mode, to any order. The gradient of a cell goes to the first
      largest sum in row-major order, and if there are NaNs, to the last of them: to its element,
      and to its place in the structure. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([0., 0., 5., 0., 0.])
      >>> hat = jnp.array([-1., 0., -1.])
      >>> jaxpool.dilation_pool(x, 3, 1, "SAME", axes=0, structure=hat)
      Array([0., 4., 5., 4., 0.], dtype=float32)

    References:
      Groenendijk et al., MorphPool: Efficient non-linear pooling and unpooling in CNNs, 2022.
      <https://arxiv.org/abs/2211.14037>
    """
    window = (window_shape, strides, padding, dilation, ceil_mode, axes)
    window = tuple(map(arguments.plain, window))
    options = (window, structure, where, arguments.known(empty_value))
    return as_one_program(_morphology, "dilation_pool", x, False, *options)


@explained
def erosion_pool(
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
    structure: Any = None,
) -> jax.Array:
    """The smallest difference of element and structure: ``y[i] = min_j x[i*s - low + j*d] - h[j]``.

    Without a structure, which is a flat one, this is `min_pool`. Equal to ``-dilation_pool(-x)``
    with the same structure.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      strides: steps between windows in elements, an int or one per pooled axis. Default: the
        window's shape, so that windows do not overlap.
      padding: "VALID" (none), "SAME" (as many outputs as ``ceil(n / stride)``, the odd pad on the
        right) or "SAME_LOWER" (the odd pad on the left), in any case; or the number of elements
        padded on both sides, an int or one per pooled axis; or (low, high) pairs.
        As in ``(inf inf | a b c d | inf inf)``.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      ceil_mode: if True, a last window that reaches beyond the padding is kept if it starts
        inside the input or the left padding (PyTorch's rule).
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, NaN included. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      structure: the structuring function h, an array of the window's shape; more axes, if any,
        broadcast against x with size 1 along pooled axes, as in ``(3, 3, channels)``. Where it is
        -inf, elements are left out. Or a sequence with such an array for each window axis: their
        sum is h, and one axis is pooled after the other, as for `parabolic_structure`. May be
        traced, to be learned. Default: 0 everywhere.

    Returns:
      Array of x's shape with ``(n + low + high - d*(k-1) - 1) // s + 1`` in place of n on each
      pooled axis (``ceil(n / s)`` for SAME, one more at most in ceil mode); floats keep their dtype
      (sums are in float32 at least); ints and bools give float32, without a structure their dtype.

    Raises:
      ValueError: an argument is out of range, the window is larger than the padded input, a
        window lies wholly in padding, or the structure has another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the structure, every mode, to any order. The gradient of a cell goes to the first
      smallest difference in row-major order, and if there are NaNs, to the last of them: to its
      element, and to its place in the structure. Masked-out elements and empty cells have
      gradient 0.

    Example:
      >>> x = jnp.array([9., 9., 5., 9., 9.])
      >>> hat = jnp.array([-1., 0., -1.])
      >>> jaxpool.erosion_pool(x, 3, 1, "SAME", axes=0, structure=hat)
      Array([9., 6., 5., 6., 9.], dtype=float32)

    References:
      Groenendijk et al., MorphPool: Efficient non-linear pooling and unpooling in CNNs, 2022.
      <https://arxiv.org/abs/2211.14037>
    """
    window = (window_shape, strides, padding, dilation, ceil_mode, axes)
    window = tuple(map(arguments.plain, window))
    options = (window, structure, where, arguments.known(empty_value))
    return as_one_program(_morphology, "erosion_pool", x, True, *options)


def _there_and_back(
    op: str,
    x: Any,
    erodes: bool,
    window_shape: Any,
    dilation: Any,
    axes: Any,
    structure: Any,
    where: Any,
    empty_value: Any,
) -> jax.Array:
    """An erosion and its adjoint dilation, or the other way round.

    The adjoint has all turned round: the structure, and the side of the odd padding.
    """
    back = structure
    if structure is not None:
        fields = window_arguments(op, window_shape, None, "SAME", dilation, False, axes)
        x = arguments.array(op, x)
        structure = _laid(op, structure, fields, x.ndim, x.shape)
        if isinstance(structure, tuple):
            back = tuple(jnp.flip(along, 0) for along in structure)
        else:
            back = jnp.flip(structure, range(len(fields["window_shape"])))
    for first, padding, h in ((True, "SAME", structure), (False, "SAME_LOWER", back)):
        window = (window_shape, 1, padding, dilation, False, axes)
        x = _morphology(op, x, erodes is first, window, h, where, empty_value)
    return x


@explained
def opening_pool(
    x: jax.Array,
    window_shape: Ints,
    *,
    dilation: Ints = 1,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    structure: Any = None,
) -> jax.Array:
    """An erosion and then a dilation, which removes peaks narrower than the structure.

    Equal to an `erosion_pool` of stride 1 and padding "SAME", and a `dilation_pool` of stride 1 and
    padding "SAME_LOWER" with the structure turned round: together an element is never more than it
    was, also for even windows, and once more changes nothing. The size stays; to subsample, slice.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, in both steps. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      structure: the structuring function h, an array of the window's shape, or a sequence with one
        for each window axis, as in `dilation_pool`. Default: 0 everywhere.

    Returns:
      Array of x's shape; floats keep their dtype (sums are in float32 at least, and rounded after
      each step); ints and bools give float32, without a structure their dtype.

    Raises:
      ValueError: an argument is out of range, a window lies wholly in padding, or the structure
        has another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the structure, every mode, to any order, as in `dilation_pool`.

    Example:
      >>> x = jnp.array([0., 7., 0., 5., 5., 5., 0.])
      >>> jaxpool.opening_pool(x, 3, axes=0)
      Array([0., 0., 0., 5., 5., 5., 0.], dtype=float32)

    References:
      Serra, Image analysis and mathematical morphology, 1982.
      <https://dl.acm.org/doi/10.5555/1098652>
    """
    options = (window_shape, dilation, axes, structure, where, arguments.known(empty_value))
    return as_one_program(_there_and_back, "opening_pool", x, True, *options)


@explained
def closing_pool(
    x: jax.Array,
    window_shape: Ints,
    *,
    dilation: Ints = 1,
    axes: Ints | None = None,
    where: jax.Array | None = None,
    empty_value: Any = 0,
    structure: Any = None,
) -> jax.Array:
    """A dilation and then an erosion, which fills gaps narrower than the structure.

    Equal to a `dilation_pool` of stride 1 and padding "SAME", and an `erosion_pool` of stride 1 and
    padding "SAME_LOWER" with the structure turned round: together an element is never less than it
    was, also for even windows, and once more changes nothing. The size stays; to subsample, slice.

    Args:
      x: array of shape ``[..., *spatial, channels]``; with `axes`, any layout.
      window_shape: window sizes in elements, one for each pooled axis, or an int for all `axes`.
      dilation: steps between the elements of a window, an int or one per pooled axis.
      axes: the pooled axes, an int or one for each entry of `window_shape`. Default: the
        ``len(window_shape)`` axes just before the last, which is channels-last. All others are
        batch, in any number, none included.
      where: bool mask that broadcasts to x; what is False takes no part, in both steps. Default:
        everything takes part.
      empty_value: value of cells in which nothing takes part.
      structure: the structuring function h, an array of the window's shape, or a sequence with one
        for each window axis, as in `dilation_pool`. Default: 0 everywhere.

    Returns:
      Array of x's shape; floats keep their dtype (sums are in float32 at least, and rounded after
      each step); ints and bools give float32, without a structure their dtype.

    Raises:
      ValueError: an argument is out of range, a window lies wholly in padding, or the structure
        has another shape.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In x and in the structure, every mode, to any order, as in `dilation_pool`.

    Example:
      >>> x = jnp.array([9., 2., 9., 4., 4., 4., 9.])
      >>> jaxpool.closing_pool(x, 3, axes=0)
      Array([9., 9., 9., 4., 4., 4., 9.], dtype=float32)

    References:
      Serra, Image analysis and mathematical morphology, 1982.
      <https://dl.acm.org/doi/10.5555/1098652>
    """
    options = (window_shape, dilation, axes, structure, where, arguments.known(empty_value))
    return as_one_program(_there_and_back, "closing_pool", x, False, *options)


@explained
def parabolic_structure(window_shape: Ints, t: Any) -> tuple[jax.Array, ...]:
    """A parabola as structuring function: ``h[z] = -sum(z**2) / (4*t)``, as one array per axis.

    z counts from the element that padding "SAME" puts in the middle, ``(k - 1)//2``. As a sum over
    axes it takes `dilation_pool` one pass for each of them, whatever the window's size.

    Args:
      window_shape: window sizes in elements, an int for one axis or one per pooled axis.
      t: the scale, a number > 0, or an array that broadcasts against x with size 1 along pooled
        axes, such as one with an entry per channel. The larger, the flatter. May be traced, to be
        learned.

    Returns:
      Tuple of arrays, for each window axis one of shape ``(k, *t.shape)``; float32 for a number.

    Raises:
      ValueError: an argument is out of range.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      In t, every mode, to any order.

    Example:
      >>> (parabola,) = jaxpool.parabolic_structure(5, t=0.25)
      >>> parabola
      Array([-4., -1., -0., -1., -4.], dtype=float32)
      >>> x = jnp.array([0., 0., 0., 9., 0., 0.])
      >>> jaxpool.dilation_pool(x, (5,), 1, "SAME", axes=0, structure=(parabola,))
      Array([0., 5., 8., 9., 8., 5.], dtype=float32)
    """
    op = "parabolic_structure"
    n = len(arguments.entries(window_shape) or (1,))
    sizes = arguments.ints(op, "window_shape", window_shape, n, 1)
    parameters.positive(op, "t", t)
    return as_one_program(_parabolic_structure, sizes, t)


def _parabolic_structure(sizes: tuple[int, ...], t: Any) -> tuple[jax.Array, ...]:
    t = jnp.asarray(t if isinstance(t, jax.Array | np.ndarray) else np.float32(t))
    t = jnp.maximum(t, np.array(jnp.finfo(t.dtype).tiny, t.dtype))
    # By way of a constant and a logarithm, since the derivative of a quotient divides by the
    # square of t, which may be 0.
    unit = jax.lax.stop_gradient(t)
    return parabola(sizes, jnp.log(t) - jnp.log(unit), unit)


def parabola(sizes: tuple[int, ...], log_t: jax.Array, unit: jax.Array) -> tuple[jax.Array, ...]:
    """`parabolic_structure` of a t that is given by its logarithm, in units of a constant."""
    most, found = np.array(jnp.finfo(log_t.dtype).max, log_t.dtype), []
    for size in sizes:
        z = np.arange(size, dtype=np.float32) - (size - 1) // 2
        quarters = (z * z / 4).astype(log_t.dtype).reshape(size, *[1] * log_t.ndim)
        steepness = jnp.minimum(quarters / unit[None], most)
        found.append(-(steepness * jnp.exp(-log_t[None])))
    return tuple(found)
