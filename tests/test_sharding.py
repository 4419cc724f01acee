"""On several devices: values and gradients stay, and only halos are exchanged."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import jaxpool

TESTS_OF = ("core/pool.py", "pools/s3.py", "lowering/windows.py", "lowering/primitives.py",
            "lowering/meshes.py", "lowering/masked.py", "lowering/unpool.py", "regions/places.py",
            "regions/maxima.py", "regions/sampling.py", "pools/sequences.py", "pools/pyramids.py",
            "pools/descriptors.py", "pools/assignment.py", "pools/attention.py",
            "pools/spectral.py", "pools/polyphase.py")  # fmt: skip

ROOT = Path(__file__).parent.parent


def on_eight_devices(script, *options):
    """What a script of this folder prints of eight CPU devices, in a process of their own."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    environment = {**os.environ, "XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu",
                   "PYTHONPATH": str(ROOT)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / script), *options],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_on_eight_devices(exhaustive):
    report = on_eight_devices("sharded_programs.py", *["--exhaustive"] * exhaustive)
    assert len(report) > (60 if exhaustive else 35)
    for name, found in report.items():
        assert found["difference"] <= 1e-6, name
        if "Explicit" in name:
            assert found["sharded_as_x"], name
    collectives = {n: r["collectives"] for n, r in report.items() if "collectives" in r}
    for name, used in collectives.items():
        if name.endswith(("batch", "channels")):
            assert not used, name
        else:  # only halos are exchanged
            assert name.endswith(("rows", "columns"))
            assert set(used) <= {"collective-permute"}, name
    # Of what overlaps one halo is exchanged, and for the gradient those of taps and of cotangents.
    assert collectives["max Auto rows"] == {"collective-permute": 3}
    assert collectives["max_large Auto rows"]["collective-permute"] <= 24
    assert not collectives["min Auto rows"]  # those that lie side by side can


@pytest.mark.exhaustive
def test_every_function_on_eight_devices(tmp_path):
    """Split by batch and by rows: values and gradients are those of one device."""
    out = tmp_path / "rows.jsonl"
    arguments = ["--splits", "batch,rows", "--modes", "auto,shard_map", "--out", str(out)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "benchmarks.sharding", *arguments],
                   env=environment, cwd=ROOT, check=True)  # fmt: skip
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len({row["op"] for row in rows}) > 100
    for row in rows:
        assert "error" not in row, row
        assert row["difference"] < 1e-4, row
        # Whether all is finite, which a product of matrices wants to know, is one byte.
        assert row["split"] != "batch" or row["bytes"] <= 2, row


@pytest.mark.parametrize("window_shape", [(3, 3), (5, 5)])
def test_in_a_loop_and_recomputed(window_shape):
    x = np.random.default_rng(0).normal(size=(32, 40, 16)).astype(np.float32)

    def pool(x):
        return jaxpool.max_pool(x, window_shape, 1, "SAME")

    def by_scan(x):
        return jax.lax.scan(lambda c, _: (jax.checkpoint(pool)(c) * 0.5 + c, None), x, None, 3)[0]

    def by_hand(x):
        for _ in range(3):
            x = pool(x) * 0.5 + x
        return x

    def both(f):
        return jax.jit(lambda x: (f(x), jax.grad(lambda x: jnp.sum(f(x) ** 2))(x)))(x)

    for found, expected in zip(both(by_scan), both(by_hand), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_one_export_for_all_platforms():
    x = np.random.default_rng(0).normal(size=(2, 24, 24, 16)).astype(np.float32)

    def f(x):
        y, vjp = jax.vjp(lambda x: jaxpool.max_pool(x, (3, 3), 2, 1), x)
        return y, vjp(jnp.cos(y))[0]

    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(f), platforms=platforms)(
        jax.ShapeDtypeStruct(x.shape, x.dtype)
    )
    assert exported.platforms == platforms
    again = jax.export.deserialize(exported.serialize())
    for a, b in zip(again.call(x), jax.jit(f)(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
