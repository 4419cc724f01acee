"""Measures jaxpool beside Flax's and lax's forms on a GPU: ``python -m benchmarks.gpu``.

Prints the device, the versions and tables of ratios, to be pasted as they are. It stops before the
next operator when nine minutes are over. Without a GPU it says so and tries small arrays, to show
that it runs: such times say nothing.
"""

import argparse
import importlib.metadata
import platform
import time
from collections.abc import Sequence

import jax

from benchmarks import __main__ as bench

OPS = ("max_pool", "avg_pool", "max_pool_with_argmax", "lp_pool", "softmax_pool", "median_pool",
       "blur_pool")  # fmt: skip
LARGE = (
    "--cases=bench_vgg_k2s2,bench_resnet_stem_k3s2p1,bench_inception_k3s1p1",
    "--dtypes=float32,bfloat16",
    "--repeats=10",
)
SMALL = ("--cases=vgg_pool,resnet_stem", "--dtypes=float32", "--repeats=1", "--copy-mebibytes=1")
LIMIT = 540  # seconds


def heading() -> str:
    """The device, and the version of whatever may matter."""
    device, versions = jax.devices()[0], [f"Python {platform.python_version()}"]
    for package in ("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "jaxpool"):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    lines = [f"{len(jax.devices())} x {device.device_kind} ({device.platform})"]
    lines += [", ".join(versions), f"{device.client.platform_version}".replace("\n", " ")]
    if device.platform != "gpu":
        lines.append("This is no GPU: small arrays, of which the times say nothing.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--ops", default=",".join(OPS), help="operators, with commas between them")
    ops = parser.parse_args(arguments).ops.split(",")
    print(heading())
    size = LARGE if jax.default_backend() == "gpu" else SMALL
    start = time.monotonic()
    for op in ops:
        if time.monotonic() - start > LIMIT:
            print(f"Left out for want of time: {', '.join(ops[ops.index(op) :])}.")
            break
        print(f"\n## {op}\n")
        bench.main([f"--ops={op}", "--peers=flax,reduce_window,jnp", "--modes=fwd,vjp", *size])


if __name__ == "__main__":
    main()
