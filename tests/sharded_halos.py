"""Run by domains/test_shards.py in a process with eight CPU devices: prints a JSON object.

Of each case how far what devices make of their parts is from what it should be.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import jaxpool
from tests import oracle

# Devices, length, window, stride, padding, dilation, ceil mode.
CASES = {
    "stride 1": (4, 12, 3, 1, (1, 1), 1, False),
    "padded unevenly": (4, 11, 4, 1, (1, 2), 1, False),
    "strides that part the shard": (8, 32, 3, 2, (1, 1), 1, False),
    "strides that do not": (4, 13, 3, 2, (1, 1), 1, False),
    "side by side": (4, 16, 2, 2, (0, 0), 1, False),
    "side by side, of odd shards": (8, 40, 2, 2, (0, 0), 1, False),
    "ends padded": (4, 10, 3, 1, (2, 1), 1, False),
    "dilated": (4, 12, 3, 1, (2, 2), 2, False),
    "ceil mode": (2, 11, 3, 2, (1, 1), 1, True),
    "steps longer than windows": (3, 17, 2, 5, (0, 0), 1, False),
    "fewer windows than devices": (4, 8, 4, 3, (0, 0), 1, False),
    "longer than shards": (4, 8, 7, 1, (3, 3), 1, False),
    "all of two shards": (2, 8, 15, 1, (7, 7), 1, False),
    "padded at the end": (4, 12, 3, 1, (0, 2), 1, False),
    "no padding": (4, 12, 3, 1, (0, 0), 1, False),
    "one device": (1, 7, 3, 2, (1, 1), 1, False),
}
REDUCTIONS = (
    ("max", jaxpool.Max()),
    ("mean", jaxpool.Mean()),
    ("sum", jaxpool.Sum()),
    ("median", jaxpool.Median()),
    ("softmax", jaxpool.SoftmaxMean()),
    ("mean without padding", jaxpool.Mean(count_include_pad=False)),
)


def differences(found, wanted):
    return [
        float(np.max(np.abs(np.asarray(a) - np.asarray(b))))
        for a, b in zip(found, wanted, strict=True)
    ]


def on_devices(part, sizes, specs):
    """`part` mapped over the first devices, laid out as a mesh of some sizes."""
    names = ("a", "b", "c")[: len(sizes)]
    devices = jax.devices()[: int(np.prod(sizes))]
    mesh = jax.make_mesh(sizes, names, devices=devices, axis_types=(AxisType.Auto,) * len(sizes))
    return jax.shard_map(part, mesh=mesh, in_specs=specs, out_specs=specs)


def filled_up(x, axis, parts):
    """`x`, followed by what is no number, so that it can be parted evenly."""
    shape = list(x.shape)
    shape[axis] = -shape[axis] % parts
    filler = np.full(shape, np.nan if x.dtype == np.float32 else True, x.dtype)
    return jnp.concatenate([x, filler], axis)


def of_one_axis():
    """Values are the oracle's, gradients those of the whole array."""
    random, report = np.random.default_rng(0), {}
    for number, (name, (devices, n, k, s, p, d, ceil)) in enumerate(CASES.items()):
        x = random.standard_normal((n, 2)).astype(np.float32)
        kind, reduction = REDUCTIONS[number % len(REDUCTIONS)]
        window = jaxpool.Window(k, s, (p,), dilation=d, ceil_mode=ceil, axes=0)
        count = window.output_shape(x.shape)[0]

        most = 1 if number % 2 else np.inf

        def part(x, window=window, n=n, reduction=reduction, most=most):
            x, domain = jaxpool.halo_exchange(x, window, axis_names="a", lengths=n)
            # So is what lies outside of the array, where x is 0.
            where = x < most if most == 1 else None
            return jaxpool.pool(x, domain, reduction, where=where, empty_value=7)

        parts = on_devices(part, (devices,), P("a"))

        @jax.jit
        def both(
            x, parts=parts, devices=devices, window=window, reduction=reduction, count=count,
            where=x < most,
        ):  # fmt: skip
            y, vjp = jax.vjp(lambda x: parts(filled_up(x, 0, devices)), x)
            z, vjp_of_whole = jax.vjp(lambda x: jaxpool.pool(x, window, reduction, where=where), x)
            cotangent = jnp.cos(3 * z)
            spare = jnp.ones((len(y) - count, 2), y.dtype)  # which must not come back
            back = vjp(jnp.concatenate([cotangent, spare]))[0]
            return y[:count], y[count:], back, vjp_of_whole(cotangent)[0]

        y, spare, back, back_of_whole = both(x)
        without = kind == "mean without padding"
        wanted = oracle.window("mean" if without else kind, x, k, s, (p,), dilation=d,
                               ceil_mode=ceil, axes=0, count_include_pad=not without, where=x < most,
                               empty_value=7)  # fmt: skip
        found = differences((y, back), (wanted, back_of_whole))
        report[name] = [*found, float(np.max(np.abs(spare - 7), initial=0))]
    return report


def of_several_axes():
    """Two of three axes, masks and footprints."""
    random = np.random.default_rng(1)
    x = random.standard_normal((8, 9, 5, 2)).astype(np.float32)
    where = random.random((8, 9, 5, 1)) < 0.7
    where[:2, :3] = False
    x = np.where(where, x, np.float32(np.nan))
    footprint = np.zeros((3, 3, 3), bool)
    footprint[1], footprint[:, 1, 1] = True, True
    window = jaxpool.Window((3, 3, 3), (1, 2, 1), 1, footprint=footprint)
    wanted = functools.partial(
        oracle.window, x=x, window_shape=(3, 3, 3), strides=(1, 2, 1), padding=(1, 1, 1),
        where=where, footprint=footprint, empty_value=-1,
    )  # fmt: skip

    def part(x, where):
        exchange = functools.partial(
            jaxpool.halo_exchange, domain=window, axis_names=("a", ("b", "c"), None),
            lengths=(8, 9, 5),
        )  # fmt: skip
        x, domain = exchange(x)
        where = exchange(where)[0]
        pool = functools.partial(jaxpool.pool, x, domain, where=where, empty_value=-1)
        return (
            pool(reduction=jaxpool.Max()),
            pool(reduction=jaxpool.Mean()),
            jaxpool.pool_mask(where, domain),
        )

    mapped = jax.jit(on_devices(part, (2, 2, 2), P("a", ("b", "c"))))
    found = mapped(filled_up(x, 1, 4), filled_up(where, 1, 4))
    largest = wanted("max")
    expected = [largest, wanted("mean"), (largest != -1)[..., :1].astype(int)]
    spare = [np.max(np.abs(y[:, 5:] - v)) for y, v in zip(found, (-1, -1, 0), strict=True)]
    return {
        "several axes": differences([y[:, :5] for y in found], expected) + list(map(float, spare))
    }


def of_what_is_exchanged():
    window = jaxpool.Window(3, padding=1, strides=1, axes=0)
    part = lambda x: jaxpool.halo_exchange(x, window, axis_names="a", lengths=7)[0]  # noqa: E731
    found = jax.jit(on_devices(part, (4,), P("a")))(jnp.arange(1, 9))
    return {"elements": differences([found], [[0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7, 0, 0]])}


if __name__ == "__main__":
    print(json.dumps(of_one_axis() | of_several_axes() | of_what_is_exchanged()))
