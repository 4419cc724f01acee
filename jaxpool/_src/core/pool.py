"""The algebra: a pooling is a domain (which elements) times a reduction (how they become one)."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, PartitionSpec, auto_axes, use_abstract_mesh

from jaxpool._src.core import arguments, contracts, parameters
from jaxpool._src.core.names import explained
from jaxpool._src.core.program import as_one_program


class Domain:
    """Which elements of an array feed which output cell.

    A domain offers a few services, each for arrays in the dtype to accumulate in, and a reduction
    asks for the one that it needs. `where` is a bool array of the rank of x, as long as x on the
    pooled axes and 1 or as long elsewhere; what it masks out reaches neither value nor gradient.
    """

    # Whether cells hold one another: one fold for all is cheap, another look at each is not.
    nested = False

    def pooled_axes(self, ndim: int) -> tuple[int, ...]:
        """The axes that cells are taken from, counted from the front of `ndim` axes."""
        raise NotImplementedError

    def output_shape(self, shape: Sequence[Any]) -> tuple[Any, ...]:
        """Shape of the result of pooling an array of `shape`, whose sizes may be symbolic."""
        raise NotImplementedError

    def counts(self, shape: Sequence[Any]) -> Any:
        """Number of elements of each cell, to be broadcast against the result."""
        raise NotImplementedError

    def check(self, op: str, shape: Sequence[Any]) -> None:
        """Raises `ValueError`, in the name of `op`, if an array of `shape` cannot be pooled."""

    def inside(self, shape: Sequence[Any], where: jax.Array | None) -> jax.Array | None:
        """`where` without what is no element of x, if there is such in an array of `shape`."""
        del shape
        return where

    def can_be_empty(self, shape: Sequence[Any]) -> bool:
        """Whether a cell may have no element (only so if a size is symbolic, else refused)."""
        del shape
        return False

    def most(self, shape: Sequence[Any]) -> int | None:
        """Number of elements that no cell has more of; None where that is not known."""
        del shape
        return None

    def count(
        self, shape: Sequence[Any], where: jax.Array | None = None, *, include_pad: bool = False
    ) -> jax.Array:
        """Number of valid elements of each cell, with declared padding if `include_pad`."""
        raise NotImplementedError

    def sum(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        """Sum of each cell's valid elements."""
        raise NotImplementedError

    def max(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        """Maximum of each cell; the gradient goes to its first maximum, or to its last NaN.

        `implementation` names one of several forms, where a domain has several.
        """
        raise NotImplementedError

    def min(
        self, x: jax.Array, where: jax.Array | None = None, *, implementation: Any = None
    ) -> jax.Array:
        """Minimum of each cell, as `max`."""
        return reversed_order(self.max(reversed_order(x), where, implementation=implementation))

    def argmax(self, x: jax.Array, where: jax.Array | None = None) -> jax.Array:
        """Where `max` takes each cell's value from: the row-major position on the pooled axes."""
        raise NotImplementedError

    def max_with_argmax(
        self, x: jax.Array, where: jax.Array | None = None, *, lowest: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """`max` and `argmax`; if `lowest`, `min` and where that takes its value from."""
        if lowest:
            return self.min(x, where), self.argmax(reversed_order(x), where)
        return self.max(x, where), self.argmax(x, where)

    def sum_with(
        self,
        function: Callable[[Any, Any], Any],
        x: Any,
        cells: Any,
        where: jax.Array | None = None,
        *,
        kept: bool = False,
    ) -> Any:
        """Sum over each cell's valid elements e of ``function(e, its entry of cells)``.

        This is how a reduction takes a second look at its elements: powers scaled by the maximum,
        deviations from the mean. `x` may be a tree of arrays of one shape, and `cells` one of
        arrays that broadcast to the result; `function` returns an array or a tree of several.

        `function` is elementwise, finite where e is 0 in cells of its own and in cells of 1, and
        sees traced values by way of `cells` only. `kept` says that sums are read more than once,
        by later stages for example.
        """
        raise NotImplementedError

    def stages(self, shape: Sequence[Any]) -> Sequence["Domain"]:
        """Domains that are this one if pooled over one after the other.

        For what may be taken in steps, as sums of sums may. One domain where that would not pay.
        """
        del shape
        return (self,)

    def elements(self, x: jax.Array, where: jax.Array | None = None) -> Any:
        """Each cell's valid elements, to be asked for order statistics.

        The result has the methods of `lowering.order.LaidOut`: the value `at` a position
        in ascending order, the `top_sum` of so many largest ones, the `rank_sum` with a weight
        for each rank, the `most_common` of ints. A domain of your own returns a `LaidOut` too.
        """
        raise NotImplementedError

    def fold(self, carrier: Any, combine: Callable[[Any, Any], Any], identity: Any) -> Any:
        """Combines each cell's entries of `carrier`, a tree of arrays, in row-major order."""
        raise NotImplementedError

    def scan(
        self,
        step: Callable[[Any, Any, Any], Any],
        state: Any,
        elements: Any,
        where: jax.Array | None = None,
        *,
        at_once: int = 64,
    ) -> Any:
        """For each cell ``state = step(state, element, number)`` over its valid elements, in order.

        Unlike the operation of a `fold`, `step` can know its cell: it takes arrays of the shape of
        the result, as `state` is, or trees of them, and with each an element of each cell and its
        row-major number in the cell. `elements` are of the shape of x. Up to `at_once` steps are
        written out, more are a loop.
        """
        raise NotImplementedError

    def pick(self, x: jax.Array, numbers: jax.Array) -> jax.Array:
        """Each cell's element of a number, as `scan` counts them, or 0 for -1: linear in x."""

        def pick(x: jax.Array) -> jax.Array:
            def step(found: jax.Array, element: jax.Array, number: Any) -> jax.Array:
                return jnp.where(numbers == number, element, found)

            return self.scan(step, jnp.zeros(numbers.shape, x.dtype), x)

        return jax.checkpoint(pick)(x)  # else a mask for each element would be kept

    def correlate(
        self, x: jax.Array, kernel: jax.Array, where: jax.Array | None = None
    ) -> jax.Array:
        """Sum of each cell's valid elements, each times the entry of `kernel` at its place.

        Of domains whose cells all have one shape. `kernel` has the rank of x, that shape along
        pooled axes, and 1 or as many entries as x along all others. What has weight 0 is not read;
        what is not finite gives its weight no slope.
        """
        raise NotImplementedError


class Reduction:
    """How the elements of a cell become one value.

    One of your own subclasses it and has ``__call__(x, domain, where)``, which asks the domain for
    sums, maxima and what else `Domain` lists, and returns one value for each cell. If it is to be
    an argument of a function under `jax.jit`, register it as a tree
    (`jax.tree_util.register_dataclass`), or as static (`jax.tree_util.register_static`). An
    associative operation is a `Monoid`, and needs no class.

    Example:
      >>> class Range(jaxpool.Reduction):
      ...     def __call__(self, x, domain, where):
      ...         return domain.max(x, where) + domain.max(-x, where)
      >>> jaxpool.pool(jnp.array([3., 1., 4., 1., 5.]), jaxpool.Window(3, 1, axes=0), Range())
      Array([3., 3., 4.], dtype=float32)
    """

    def accumulate_dtype(self, dtype: Any) -> Any:
        """The dtype that x is cast to before the reduction is called."""
        return accumulator(dtype)

    def output_dtype(self, dtype: Any) -> Any:
        """The dtype of the result for an x of `dtype`; None to keep what the reduction returns."""
        return dtype if jnp.issubdtype(dtype, jnp.floating) else np.dtype(np.float32)

    def check(self, op: str) -> None:
        """Raises `ValueError` or `TypeError`, in the name of `op`, for parameters out of range."""

    takes_weights = False  # whether `where` may hold floats

    def __call__(self, x: jax.Array, domain: Domain, where: jax.Array | None) -> jax.Array:
        """One value for each cell; what it is where a cell is empty does not matter."""
        raise NotImplementedError


def with_zeros(x: Any, where: jax.Array | None) -> Any:
    """Arrays with 0 for what is masked out."""
    if where is None:
        return x
    return jax.tree.map(lambda x: jnp.where(where, x, np.zeros((), x.dtype)), x)


def reversed_order(x: jax.Array) -> jax.Array:
    """`x` in the opposite order; ~ reverses ints without the overflow that -x has."""
    return -x if jnp.issubdtype(x.dtype, jnp.floating) else ~x


def accumulator(dtype: Any) -> Any:
    """The float dtype that sums of `dtype` are accumulated in: at least float32."""
    floating = jnp.issubdtype(dtype, jnp.floating)
    # np.promote_types, because jnp's raises under strict dtype promotion.
    return np.promote_types(dtype, np.float32) if floating else np.dtype(np.float32)


@explained
def pool(
    x: jax.Array,
    domain: Domain,
    reduction: Reduction,
    *,
    where: jax.Array | None = None,
    empty_value: Any = 0,
) -> jax.Array:
    """Reduces the elements of each cell of `domain` to one value.

    Every pooling of this library is such a pair, and every named function is this call with its
    arguments spelled out: ``max_pool(x, (2, 2))`` is ``pool(x, Window((2, 2)), Max())``.

    Args:
      x: array with the axes that `domain` pools; all others are batch.
      domain: which elements feed which output cell, for example `Window` or `Global`.
      reduction: how they become one value, for example `Max()` or `Lp(p=3)`.
      where: mask that broadcasts to x; what is False takes no part. Means also take floats, as
        weights. Default: everything takes part.
      empty_value: value of cells in which nothing takes part.

    Returns:
      Array of shape ``domain.output_shape(x.shape)``; floats keep their dtype, for others see the
      reduction.

    Raises:
      ValueError: an argument is out of range, or x is too small for the domain.
      TypeError: an argument is of the wrong kind.

    Derivatives:
      Those of the reduction. Masked-out elements and empty cells have gradient 0.

    Example:
      >>> x = jnp.array([1., 5., 2., 4.])
      >>> jaxpool.pool(x, jaxpool.Window(2, axes=0), jaxpool.Lp(p=1))
      Array([6., 6.], dtype=float32)
    """
    return run("pool", x, domain, reduction, where, empty_value)


def run(
    op: str, x: Any, domain: Domain, reduction: Reduction, where: Any, empty_value: Any
) -> jax.Array:
    """`pool` in the name of `op`, which is what its error messages begin with."""
    for name, value, kind in (("domain", domain, Domain), ("reduction", reduction, Reduction)):
        if not isinstance(value, kind):
            hint = "Write it with parentheses." if isinstance(value, type) else _named(value)
            allowed = f"be a jaxpool.{kind.__name__}"
            arguments.fail(op, name, allowed, value, hint=hint, error=TypeError)
    arguments.check_array(op, x)
    reduction.check(op)
    return as_one_program(_pooled, op, x, domain, reduction, where, arguments.known(empty_value))


_REDUCTIONS = {
    "mean": "Mean", "avg": "Mean", "average": "Mean", "max": "Max", "amax": "Max", "maximum": "Max",
    "min": "Min", "amin": "Min", "minimum": "Min", "sum": "Sum", "add": "Sum", "median": "Median",
    "mode": "Mode", "var": "Variance", "variance": "Variance", "std": "Std", "lp": "Lp",
    "norm": "Lp", "quantile": "Quantile",
}  # fmt: skip


def _named(value: Any) -> str:
    """What to write for the name of a reduction, or a function of JAX's or NumPy's."""
    if not isinstance(value, str) and not callable(value):
        return ""
    name = value if isinstance(value, str) else getattr(value, "__name__", "")
    if found := _REDUCTIONS.get(name.lower().removesuffix("_pool")):
        return f"Write jaxpool.{found}()."
    return "" if isinstance(value, str) else "An operation of your own is a jaxpool.Monoid."


def _pooled(
    op: str, x: Any, domain: Domain, reduction: Reduction, where: Any, empty_value: Any
) -> jax.Array:
    """`pool` of checked arguments, but for what depends on the shape of x."""
    x = jnp.asarray(x)
    domain.check(op, x.shape)
    pooled = domain.pooled_axes(x.ndim)
    mask = arguments.mask(op, where, x.shape, pooled, reduction.takes_weights)
    mask = domain.inside(x.shape, mask)
    fill_array = empty_value if isinstance(empty_value, jax.Array) else None

    def compute(
        x: jax.Array, mask: Any, domain: Domain, reduction: Reduction, fill: jax.Array | None
    ) -> jax.Array:
        dtype = reduction.output_dtype(x.dtype)
        with misfits_named(op):
            y = reduction(x.astype(reduction.accumulate_dtype(x.dtype)), domain, mask)
        if not isinstance(y, jax.Array):
            kind, name = type(y).__name__, type(reduction).__name__
            raise TypeError(f"{op}: {name} must return an array; got an object of type {kind}.")
        dtype = y.dtype if dtype is None else dtype
        y = y.astype(dtype)
        arguments.scalar_for(op, empty_value, dtype)
        if mask is not None or domain.can_be_empty(x.shape):
            mask = mask if mask is None or mask.dtype == bool else mask != 0
            y = filled(y, domain.count(x.shape, mask) > 0, empty_value if fill is None else fill)
        _check_result(op, y, domain, reduction, domain.output_shape(x.shape))
        contracts.assert_type(y, dtype)
        return y

    shape = domain.output_shape(x.shape)
    kept = range(x.ndim) if len(shape) == x.ndim else [i for i in range(x.ndim) if i not in pooled]
    with jax.named_scope(f"jaxpool.{op}"):
        return parted_by_xla(compute, shape, kept, x, mask, domain, reduction, fill_array)


@contextlib.contextmanager
def misfits_named(op: str) -> Iterator[None]:
    """What a reduction or a domain finds wrong with x is said in the name of `op`."""
    try:
        yield
    except parameters.MisfitError as error:
        wrong = isinstance(error, parameters.WrongKindError)
        raise (TypeError if wrong else ValueError)(f"{op}: {error}") from None


def filled(y: jax.Array, some: jax.Array, empty_value: Any) -> jax.Array:
    """`y` where a cell has `some` element, which broadcasts to it, and `empty_value` elsewhere."""
    # A number goes by way of NumPy, since it may not fit JAX's default int.
    value = empty_value if isinstance(empty_value, jax.Array) else np.asarray(empty_value)
    return jnp.where(jnp.broadcast_to(some, y.shape), y, jnp.asarray(value.astype(y.dtype)))


def _check_result(
    op: str, y: jax.Array, domain: Domain, reduction: Reduction, shape: Sequence[Any]
) -> None:
    """That a result has the promised shape: the user's mistake where domain or reduction is."""
    own = [type(part).__name__ for part in (domain, reduction)
           if not type(part).__module__.startswith("jaxpool.")]  # fmt: skip
    if own and y.shape != tuple(shape):
        raise ValueError(
            f"{op}: {' over '.join(reversed(own))} must return the shape that "
            f"`output_shape` of the domain says, {tuple(shape)}; got {y.shape}."
        )
    contracts.assert_shape(y, shape)


def parted_by_xla(
    function: Any, shape: Sequence[Any], kept: Sequence[int], x: jax.Array, *operands: Any
) -> Any:
    """``function(x, *operands)``, with shardings inside left to XLA.

    Where the mesh has explicit axes, JAX refuses what XLA can do, such as to pad along a sharded
    axis. The result, of `shape`, has the axes `kept` of x and is sharded along them as x is, but
    for axes whose new size cannot be parted evenly.
    """
    return parted_along(function, shape, [(x, axis) for axis in kept], x, *operands)


Sources = Sequence[tuple[jax.Array, int] | None]


def parted_along(
    function: Any,
    shape: Sequence[Any],
    sources: Sources,
    *operands: Any,
) -> Any:
    """`parted_by_xla`, with an array and its axis for each axis of the result, or None.

    A result has each axis of a mesh once: the first of its axes that is to have it.
    """
    return all_parted_along(lambda *given: (function(*given),), [(shape, sources)], *operands)[0]


def all_parted_along(
    function: Any, layouts: Sequence[tuple[Sequence[Any], Sources]], *operands: Any
) -> Any:
    """`parted_along` of several results, with shape and sources of each."""
    leaves = [leaf for leaf in jax.tree.leaves(operands) if isinstance(leaf, jax.Array)]
    shardings = [jax.typeof(array).sharding for array in leaves]
    explicit = [s.mesh for s in shardings if AxisType.Explicit in s.mesh.axis_types]
    if not explicit:
        return function(*operands)
    mesh = explicit[0]
    specs = tuple(_spec(mesh, *layout) for layout in layouts)
    with use_abstract_mesh(mesh):  # that of an operand, if none is set
        return auto_axes(out_sharding=specs)(function)(*operands)


def _spec(mesh: Any, shape: Sequence[Any], sources: Sources) -> PartitionSpec:
    """Which axes of the mesh the axes of a result have."""
    taken, places = set(), []
    for size, source in zip(shape, sources, strict=True):
        names = None
        if source is not None:
            array, axis = source
            names = jax.typeof(array).sharding.spec[axis]
        several = names if isinstance(names, tuple) else () if names is None else (names,)
        parts = math.prod(mesh.shape[name] for name in several)
        fits = isinstance(size, int) and size % parts == 0 and taken.isdisjoint(several)
        taken.update(several if fits else ())
        places.append(names if fits else None)
    return PartitionSpec(*places)


@explained
def pool_mask(mask: jax.Array, domain: Domain, mode: Literal["any", "all"] = "any") -> jax.Array:
    """Which output cells are valid, given which elements are.

    The mask to hand on after a masked pooling. Padding counts as neither valid nor invalid.

    Args:
      mask: bool array with the axes that `domain` pools, True where an element is valid.
      domain: the domain that the data is pooled over.
      mode: "any": a cell is valid if one of its elements is (partial convolution); "all": if all
        of them are.

    Returns:
      Bool array of shape ``domain.output_shape(mask.shape)``.

    Raises:
      ValueError: `mode` is neither "any" nor "all", or the mask is too small for the domain.
      TypeError: `mask` does not hold bools.

    Derivatives:
      None: bools in, bools out.

    Example:
      >>> mask = jnp.array([True, True, True, False, False, False])
      >>> jaxpool.pool_mask(mask, jaxpool.Window(2, axes=0))
      Array([ True,  True, False], dtype=bool)
      >>> jaxpool.pool_mask(mask, jaxpool.Window(2, axes=0), mode="all")
      Array([ True, False, False], dtype=bool)
    """
    return as_one_program(_pool_mask, mask, domain, mode)


def _pool_mask(mask: Any, domain: Any, mode: Any) -> jax.Array:
    op = "pool_mask"
    if mode not in ("any", "all"):
        arguments.fail(op, "mode", 'be "any" or "all"', mode)
    if not isinstance(domain, Domain):
        arguments.fail(op, "domain", "be a jaxpool.Domain", domain, error=TypeError)
    if not isinstance(mask, jax.Array | np.ndarray) or mask.dtype != bool:
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"{op}: `mask` must be a bool array; got {kind}. Write mask != 0.")
    mask = jnp.asarray(mask)
    domain.check(op, mask.shape)
    found = domain.count(mask.shape, mask)
    if mode == "any":
        return found > 0
    everything = domain.count(mask.shape)
    return jnp.broadcast_to((found == everything) & (found > 0), found.shape)
