"""What devices that share an axis run: it is the program of one device, read by shifted blocks."""

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from jaxpool._src.lowering import shared_sums
from jaxpool._src.lowering.footprints import all_taps, in_order
from jaxpool._src.lowering.max import Style, _picked_form, _sum_forms
from jaxpool._src.lowering.shifts import reads_shifted, shifted_reader
from tests import oracle

TESTS_OF = (
    "lowering/shifts.py",
    "lowering/shared_sums.py",
    "lowering/tangent.py",
    "lowering/picks.py",
    "lowering/max.py",
)

# Windows, strides, padding, dilation over (13, 10).
CASES = (
    jaxpool.Window((3, 3), 2, 1, axes=(0, 1)),
    jaxpool.Window((3, 2), (1, 3), ((1, 1), (0, 2)), axes=(0, 1)),
    jaxpool.Window((2, 5), (2, 4), ((0, 0), (3, 1)), axes=(1, 0)),
    jaxpool.Window((3, 3), (3, 1), ((2, 1), (2, 2)), dilation=(2, 2), axes=(0, 1), ceil_mode=True),
    jaxpool.Window((3, 3), 2, 1, axes=(0, 1), footprint=np.eye(3) < np.roll(np.eye(3), 1)),
    jaxpool.Window((9, 4), (20, 5), axes=(0, 1)),
)  # fmt: skip
X = np.random.default_rng(0).integers(-4, 5, (13, 10, 2)).astype(np.float32)
X[2:5, 3] = -np.inf


def element(x, w, tap, axis, value):
    """What each window along an axis has at a tap, looked up one by one."""
    places = [i * w.stride - w.low + tap * w.dilation for i in range(w.output)]
    filler = np.full_like(np.take(x, [0], axis), value)
    rows = [np.take(x, [i], axis) if 0 <= i < w.length else filler for i in places]
    return np.concatenate(rows, axis)


def test_each_tap_is_read_where_it_is():
    for domain in CASES:
        windows = in_order(domain.windows(X.shape))
        assert reads_shifted(windows)
        taps = list(all_taps(windows))
        read = jax.jit(lambda x, w=windows, t=taps: list(map(shifted_reader(x, w, 7), t)))
        for tap, found in zip(taps, read(X), strict=True):
            wanted = X
            for (axis, w), number in zip(windows, tap, strict=True):
                wanted = element(wanted, w, number, axis, 7)
            np.testing.assert_array_equal(found, wanted)


def test_picks_and_their_gradients_are_those_of_one_device():
    where = X[..., :1] > -3
    for domain in CASES:
        windows = in_order(domain.windows(X.shape))

        @jax.jit
        def both(x, where, windows=windows):
            tangent = jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape)
            found = []
            for several in (False, True):
                pick = _picked_form("cpu", windows, Style(), "both", several=several)
                forward, back = _sum_forms("cpu", windows, Style(), several=several)
                for mask in (None, where):
                    y, taps = pick(x, mask, None)
                    _, vjp = jax.vjp(lambda t, taps=taps: back(t, taps, x, None), tangent)
                    cotangent = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
                    found.append((y, taps, forward(tangent, taps, x, None), vjp(cotangent)[0]))
            return found[:2], found[2:]

        of_one, of_several = both(X, where)
        for a, b in zip(jax.tree.leaves(of_one), jax.tree.leaves(of_several), strict=True):
            np.testing.assert_allclose(a, b, 1e-6, 1e-6)


def test_sums_and_their_transposes_are_those_of_one_device():
    x = np.random.default_rng(1).standard_normal(X.shape).astype(np.float32)
    for domain in CASES:
        if domain.footprint is not None or max(domain.dilation) > 1:
            continue
        how = shared_sums.WindowSum(in_order(domain.windows(x.shape)))
        shape = domain.output_shape(x.shape)

        @jax.jit
        def both(x, how=how, shape=shape):
            y = jnp.cos(jnp.arange(np.prod(shape), dtype=x.dtype)).reshape(shape)
            return [
                [how.lowered("cpu", given, several=several, backward=backward)
                 for given, backward in ((x, False), (y, True))]
                for several in (False, True)
            ]  # fmt: skip

        of_one, of_several = both(x)
        wanted = oracle.window("sum", x, domain.window_shape, domain.strides, domain.padding,
                               axes=domain.axes, ceil_mode=domain.ceil_mode)  # fmt: skip
        np.testing.assert_allclose(of_several[0], wanted, 1e-5, 1e-5)
        np.testing.assert_allclose(of_several[1], of_one[1], 1e-5, 1e-5)


def test_long_windows_and_symbolic_lengths_are_not_shifted():
    assert not reads_shifted(jaxpool.Window(10, axes=0).windows((20,)))
    (n,) = jax.export.symbolic_shape("n")
    assert not reads_shifted(jaxpool.Window(3, axes=0).windows((n,)))
