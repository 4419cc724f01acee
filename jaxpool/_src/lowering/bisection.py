"""Order statistics found bit by bit: elements below a candidate are counted."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxpool._src.lowering.footprints import Windows, tap_count, tap_numbers
from jaxpool._src.lowering.max import Style, sum_of_picked, with_taps
from jaxpool._src.lowering.meshes import settled
from jaxpool._src.lowering.networks import (
    MOST_IN_NETWORK,
    any_nan,
    filled_in,
    is_low,
    looked_up,
    plain_position,
    sorted_entries,
)
from jaxpool._src.lowering.picks import tap_dtype
from jaxpool._src.lowering.tangent import tangent_of_taps
from jaxpool._src.lowering.windows import (
    PEEL_LIMIT,
    by_runs,
    materialized,
    one_cpu,
    pad_windows,
    taps_at,
    window_size,
)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def _picks(
    x: jax.Array, valid: jax.Array | None, windows: Windows, ranks: tuple[int, ...], both: bool
) -> tuple[jax.Array, ...]:
    """The elements of a rank for each number of elements; and of the next rank, if `both`."""
    return _by_platform(
        functools.partial(_picked, ranks=ranks, both=both, with_picks=False), x, valid, windows
    )


@_picks.defjvp
def _picks_jvp(
    windows: Windows, ranks: tuple[int, ...], both: bool, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    x, valid = primals
    found = _by_platform(
        functools.partial(_picked, ranks=ranks, both=both, with_picks=True),
        lax.stop_gradient(x),
        valid,
        windows,
        materialized=materialized,
    )
    half, style = len(found) // 2, Style("taps")
    values, picked = found[:half], found[half:]
    return (
        tuple(
            with_taps(x, valid, None, y, taps, windows, style)
            for y, taps in zip(values, picked, strict=True)
        ),
        tuple(sum_of_picked(tangents[0], x, valid, taps, windows, style) for taps in picked),
    )


def _in_runs(form: Callable, x: jax.Array, valid: jax.Array | None, windows: Windows) -> Any:
    return by_runs(form, (x, valid), (), windows)


def _by_platform(
    form: Callable,
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    materialized: Callable | None = None,
) -> Any:
    """``form(x, valid, windows, pad_each=...)`` as each platform has it best."""
    on_cpu = functools.partial(form, pad_each=False)
    if one_cpu() and tap_count(windows) <= PEEL_LIMIT:
        on_cpu = functools.partial(_in_runs, on_cpu)
    on_cpu = functools.partial(on_cpu, windows=windows)
    return lax.platform_dependent(
        x,
        valid,
        cpu=on_cpu if materialized is None else functools.partial(materialized, on_cpu),
        default=functools.partial(form, windows=windows, pad_each=True),
    )


def _picked(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    *,
    ranks: tuple[int, ...],
    both: bool,
    with_picks: bool,
    pad_each: bool,
) -> tuple[jax.Array, ...]:
    """Values, by a network, and the taps that they come from."""
    size, numbers = tap_count(windows), tap_numbers(windows)
    taps, _ = filled_in(x, valid, windows, functools.partial(is_low, ranks), pad_each=pad_each)
    elements = [e for e, _ in taps]
    nan = any_nan(elements)
    wanted = [ranks[size], min(ranks[size] + 1, size - 1)][: 1 + both]
    if size <= MOST_IN_NETWORK:
        values = [plain_position(y, nan) for y in sorted_entries(elements, wanted)]
    else:
        low = functools.partial(is_low, ranks)
        values = [plain_position(_bisected(x, valid, windows, low, rank), nan) for rank in wanted]
    if not with_picks:
        return tuple(values)
    picked = []
    for y in values:
        first = lax.full_like(y, numbers[-1], tap_dtype(windows))
        for number, (e, inside) in reversed(list(zip(numbers[:-1], taps[:-1], strict=True))):
            match = lax.eq(e, y)
            if nan is not None:
                match = lax.bitwise_or(match, lax.bitwise_and(nan, lax.ne(e, e)))
            if inside is not None:
                match = match & inside
            first = lax.select(match, lax.full_like(first, number), first)
        picked.append(first)
    return (*values, *picked)


def _bisected(
    x: jax.Array, valid: jax.Array | None, windows: Windows, is_low: Callable[[Any], Any], rank: int
) -> jax.Array:
    """The element of a rank, ascending, of each window: found by counting, bit by bit."""
    keys = sortable_keys(x)

    def below(candidate: jax.Array) -> jax.Array:
        # Cut anew in each round: only x is kept.
        taps, _ = filled_in(keys, valid, windows, is_low, pad_each=False)
        terms = [lax.lt(e, candidate).astype(np.int32) for e, _ in taps]
        return functools.reduce(lax.add, terms)

    shape = jax.eval_shape(lambda: taps_at(pad_windows(x, windows, 0), windows, [0] * len(windows)))
    return _values(largest_key(below, rank, shape.shape, keys.dtype), x.dtype)


def sortable_keys(x: jax.Array) -> jax.Array:
    """Unsigned integers in the order of x, of which one stands for both zeros, and one for NaN."""
    bits = x.dtype.itemsize * 8
    kind, top = np.dtype(f"uint{bits}"), np.array(1 << (bits - 1), f"uint{bits}")[()]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        key = lax.bitcast_convert_type(x, kind)
        return key ^ top if jnp.issubdtype(x.dtype, jnp.signedinteger) else key
    x = jnp.where(x == 0, np.zeros((), x.dtype), x)
    x = jnp.where(x != x, np.array(np.nan, x.dtype), x)
    key = lax.bitcast_convert_type(x, kind)
    return jnp.where(key >= top, ~key, key | top)


def _values(key: jax.Array, dtype: Any) -> jax.Array:
    """The inverse of `sortable_keys`."""
    top = np.array(1 << (key.dtype.itemsize * 8 - 1), key.dtype)[()]
    if jnp.issubdtype(dtype, jnp.floating):
        key = jnp.where(key >= top, key ^ top, ~key)
    elif jnp.issubdtype(dtype, jnp.signedinteger):
        key = key ^ top
    return lax.bitcast_convert_type(key, dtype)


def largest_key(
    below: Callable[[jax.Array], jax.Array], rank: Any, shape: Sequence[Any], dtype: Any
) -> jax.Array:
    """The largest key that no more than `rank` keys are below: that of the rank, ascending."""
    bits = dtype.itemsize * 8

    def step(i: jax.Array, found: jax.Array) -> jax.Array:
        place = jnp.asarray(bits - 1 - i).astype(dtype)  # an int without jit
        bit = lax.shift_left(np.ones((), dtype), place)
        candidate = found | bit
        return jnp.where(below(candidate) <= rank, candidate, found)

    start = settled(lambda found: step(jnp.int32(0), found), jnp.zeros(shape, dtype))
    return lax.fori_loop(0, bits, step, start)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def _top_sum(
    x: jax.Array, valid: jax.Array | None, windows: Windows, numbers: tuple[int, ...]
) -> jax.Array:
    """Sum of so many of the largest elements as `numbers` has for the number of elements."""
    form = functools.partial(_topped, numbers=numbers, with_sets=False)
    return _by_platform(form, x, valid, windows)[0]


@_top_sum.defjvp
def _top_sum_jvp(
    windows: Windows, numbers: tuple[int, ...], primals: Any, tangents: Any
) -> tuple[jax.Array, jax.Array]:
    x, valid = primals
    form = functools.partial(_topped, numbers=numbers, with_sets=True)
    y, sets = _by_platform(form, lax.stop_gradient(x), valid, windows, materialized=materialized)
    return _with_sets(x, y, sets, windows), tangent_of_taps(tangents[0], sets, windows, sets=True)


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def _with_sets(x: jax.Array, y: jax.Array, sets: jax.Array, windows: Windows) -> jax.Array:
    """`y`, sums of elements of x, with the derivative that the `sets` of these say."""
    del x, sets, windows
    return y


@_with_sets.defjvp
def _with_sets_jvp(windows: Windows, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    tangent = tangent_of_taps(tangents[0], primals[2], windows, sets=True)
    return _with_sets(*primals, windows), tangent


def _topped(
    x: jax.Array,
    valid: jax.Array | None,
    windows: Windows,
    *,
    numbers: tuple[int, ...],
    with_sets: bool,
    pad_each: bool,
) -> tuple[jax.Array, ...]:
    """Sums of the largest elements, and the sets of the taps that these come from.

    These are the elements above that of one rank, and the first of those equal to it.
    """
    size, numbered = tap_count(windows), list(enumerate(tap_numbers(windows)))
    ranks = [max(n, 1) - numbers[n] for n in range(size + 1)]
    taps, missing = filled_in(
        x, valid, windows, functools.partial(is_low, ranks), pad_each=pad_each
    )
    elements = [e for e, _ in taps]
    nan = any_nan(elements)
    (last,) = sorted_entries(elements, [ranks[size]])
    count = np.array(size) if missing is None else size - missing
    left = jnp.asarray(looked_up(np.array(numbers), count, np.int8))
    above, equal = ([compare(e, last) for e in elements] for compare in (lax.gt, lax.eq))
    for tests in (above, equal):
        for i, (_, inside) in enumerate(taps):
            tests[i] = tests[i] if inside is None else tests[i] & inside
    for test in above:
        left = left - test.astype(np.int8)
    bits = window_size(windows)
    kind = next(k for k in (np.uint8, np.uint16, np.uint32) if bits <= np.iinfo(k).bits)
    total, sets = lax.full_like(last, 0), lax.full_like(last, 0, kind)
    for (i, tap), e in zip(numbered, elements, strict=True):
        tied = equal[i] & (left > 0)
        left = left - tied.astype(np.int8)
        chosen = above[i] | tied
        total = total + lax.select(chosen, e, lax.full_like(e, 0))
        sets = sets | lax.select(chosen, lax.full_like(sets, 1 << tap), lax.full_like(sets, 0))
    if nan is not None:
        total = lax.select(nan, lax.full_like(total, np.nan), total)
        sets = lax.select(nan, lax.full_like(sets, 0), sets)
    return (total, sets) if with_sets else (total,)


compiled_picks = jax.jit(_picks, static_argnums=(2, 3, 4))
compiled_top_sum = jax.jit(_top_sum, static_argnums=(2, 3))
