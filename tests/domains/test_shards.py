"""Windows over axes that devices share: each pools its part, and together they have the whole."""

import re

import jax
import jax.numpy as jnp
import pytest

import jaxpool
from jaxpool._src.core.shards import AxisShard
from tests.sharded_halos import CASES
from tests.test_sharding import on_eight_devices

TESTS_OF = ("core/shards.py", "domains/shards.py", "lowering/meshes.py")


def test_parts_make_up_the_whole():
    for name, found in on_eight_devices("sharded_halos.py").items():
        assert max(found) <= 2e-6, name


@pytest.mark.parametrize("name", CASES)
def test_halos_are_no_wider_than_needed(name):
    devices, length, k, s, p, d, ceil = CASES[name]
    ((_, w),) = jaxpool.Window(k, s, (p,), dilation=d, ceil_mode=ceil, axes=0).windows((length,))
    shard = AxisShard(w, -(-length // devices), devices, "d")
    before = after = 0
    for device in range(devices):
        cells = range(device * shard.cells, (device + 1) * shard.cells)
        first = cells[0] * s - p[0]
        reached = [i for i in range(first, cells[-1] * s - p[0] + w.span) if 0 <= i < length]
        assert shard.start(device) == first
        assert shard.length == (shard.cells - 1) * s + w.span
        if reached:
            before = max(before, device * shard.size - reached[0])
            after = max(after, reached[-1] + 1 - (device + 1) * shard.size)
    assert shard.halo() == (before, after)


WINDOW = jaxpool.Window((3, 3), 1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"domain": jaxpool.Global(0)}, TypeError,
         "halo_exchange: `domain` must be a jaxpool.Window; got domain=Global("),
        ({"axis_names": "d"}, ValueError,
         "halo_exchange: `axis_names` must be a name of an axis of the mesh, or 2 of them or None "
         "(one per pooled axis); got axis_names='d'."),
        ({"axis_names": ("d", 1)}, TypeError, "got axis_names=('d', 1)."),
        ({"axis_names": (None, None)}, ValueError,
         "halo_exchange: `axis_names` must name an axis of the mesh at least"),
        ({"lengths": (9, 4)}, ValueError,
         "halo_exchange: `lengths` must be at most (8, 4), which the devices have; got lengths="),
        ({"lengths": 2.0}, TypeError, "halo_exchange: `lengths` must be an int >= 1"),
        ({"x": [1.0]}, TypeError, "halo_exchange: `x` must be a JAX or NumPy array"),
        ({"domain": jaxpool.Window((9, 9))}, ValueError,
         "halo_exchange: `window_shape` must fit the padded input"),
    ],
)  # fmt: skip
def test_mistakes(arguments, error, message):
    def part(x):
        given = {"x": x, "domain": WINDOW, "axis_names": ("d", None), **arguments}
        return jaxpool.halo_exchange(**given)[0]

    with pytest.raises(error, match=re.escape(message)):
        jax.vmap(part, axis_name="d")(jnp.zeros((2, 4, 4, 1)))
