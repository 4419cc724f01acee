"""Compiles for an accelerator that is not there: ``python -m benchmarks.aot --target gpu:h100``.

Prints what XLA made of jaxpool's form and of Flax's: kernels, memory traffic over the floor of
reading every argument and writing every result once, temporaries, scatters, collectives, seconds
to compile. These are facts about programs; none is a measured time.
"""

import argparse
import dataclasses
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

from benchmarks import report

TARGETS = "cpu, gpu:h100[:DEVICES], tpu:TOPOLOGY such as tpu:v5e:2x2"
TABLE_CASES = (
    "bench_vgg_k2s2", "bench_resnet_stem_k3s2p1", "bench_inception_k3s1p1",
    "bench_yolo_sppf_k5s1p2", "bench_k7s1p3", "bench_yolo_spp_k13s1p6",
)  # fmt: skip
# Modules that a target needs, and what to install for them, with the version of jax.
_NEEDS = {
    "cpu": ((), ""),
    "tpu": (("libtpu",), '"jax[tpu]=={jax}"'),
    "gpu": (
        ("jax_plugins.xla_cuda12", "nvidia.cuda_nvcc"),
        "jax=={jax} jax-cuda12-plugin=={jax} jax-cuda12-pjrt=={jax} "
        "nvidia-cuda-nvcc-cu12 nvidia-cuda-runtime-cu12",
    ),
}
# The device description that XLA's GPU compiler asks for, as a protocol buffer in text form.
_H100 = """
gpu_device_info {
  cuda_compute_capability { major: 9 } core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_core: 233472 shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448 l2_cache_size: 52428800
  device_memory_size: 84929347584 memory_bandwidth: 3352320000000
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
}
platform_name: "CUDA" device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 7 } runtime_version { major: 12 minor: 8 patch: 0 }
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    kind = options.target.partition(":")[0]
    if kind not in _NEEDS or (kind == "gpu" and not options.target.startswith("gpu:h100")):
        parser.error(f"--target must be one of {TARGETS}, but is {options.target!r}.")
    if gone := _missing(kind):
        version = importlib.metadata.version("jax")
        print(
            f"Skipped: {options.target} needs {' and '.join(gone)}, not installed here. In an "
            f"environment of its own, pip install {_NEEDS[kind][1].format(jax=version)} flax"
        )
        return
    if kind != "cpu":
        _prepare_environment()
    rows = []
    for row in _rows(options):
        rows.append(row)
        if options.out:
            with open(options.out, "w" if len(rows) == 1 else "a") as file:
                file.write(json.dumps(row) + "\n")
    print(as_table(rows))


def _parser() -> argparse.ArgumentParser:
    def names(text: str) -> list[str]:
        return [name for name in text.split(",") if name]

    parser = argparse.ArgumentParser(prog="python -m benchmarks.aot", description=__doc__)
    add = parser.add_argument
    add("--target", required=True, help=TARGETS)
    add("--ops", type=names, default=["max_pool"])
    add("--cases", type=names, default=list(TABLE_CASES), help="names or tags of tests/cases.py")
    add("--dtypes", type=names, default=["float32", "bfloat16"])
    add("--modes", type=names, default=["fwd", "vjp"])
    add("--peers", type=names, default=["flax"])
    add("--batch", type=int, default=32, help="batch size in place of the case's; 0 keeps that")
    add("--regions", type=names, help="cases of benchmarks.regions, in place of the others")
    add("--elements", action="store_true", help="those of benchmarks.elements, in their place")
    add("--operators", type=names, help="functions of benchmarks.operators, or all, in their place")
    add("--ranks", type=names, default=["2"], help="numbers of axes that --operators pool")
    add("--shard", type=int, help="axis to shard over all devices of the target")
    add("--out", help="JSONL to write, a row for each program")
    return parser


def _missing(kind: str) -> list[str]:
    """The modules that are needed for compiling, and not there."""

    def found(module: str) -> bool:
        try:
            return importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:  # the package around it
            return False

    return [module for module in _NEEDS[kind][0] if not found(module)]


def _prepare_environment() -> None:
    """Before JAX is imported: no search for devices, and nothing that would need one."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["TPU_SKIP_MDS_QUERY"] = "1"
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    flags = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def devices(target: str) -> Sequence[Any]:
    """The devices of a target, which can be compiled for and not run on."""
    import jax
    from jax.experimental import topologies

    kind, _, rest = target.partition(":")
    if kind == "cpu":
        return jax.devices("cpu")
    if kind == "tpu":
        return topologies.get_topology_desc(platform="tpu", topology_name=rest).devices
    count = rest.partition(":")[2] or "1"
    shape = f"1x1x{count}"
    _name_gpus_without_one()
    return topologies.get_topology_desc(
        platform="cuda", topology_name=shape, target_config=_H100, topology=shape
    ).devices


def _name_gpus_without_one() -> None:
    """Lets "gpu" mean CUDA where no GPU is present, which JAX refuses (jax-ml/jax#23971)."""
    from jax._src import xla_bridge

    aliases = xla_bridge.canonicalize_platform
    xla_bridge.canonicalize_platform = lambda p: "cuda" if p == "gpu" else aliases(p)


def _rows(options: argparse.Namespace) -> Iterator[report.Row]:
    """A row for each program, measured one after the other."""
    import jax
    import numpy as np
    from rich.progress import track

    from benchmarks import programs

    found = devices(options.target)
    if options.regions:
        from benchmarks import regions

        jobs = regions.jobs(options.regions, options.modes)
    elif options.elements:
        from benchmarks import elements

        jobs = elements.jobs(options.dtypes, options.modes)
    elif options.operators:
        from benchmarks import operators

        wanted = operators.NAMES if options.operators == ["all"] else options.operators
        jobs = operators.jobs(
            wanted, [int(n) for n in options.ranks], options.dtypes, options.modes
        )
    else:
        cases = [_with_batch(case, options.batch) for case in programs.select_cases(options.cases)]
        jobs = [
            (op, case.name, case.shape, dtype, mode, implementation, case)
            for op in options.ops
            for case in cases
            for dtype in options.dtypes
            for mode in options.modes
            for implementation in [programs.OWN, *options.peers]
        ]
    jax.config.update("jax_enable_compilation_cache", False)
    place = jax.sharding.SingleDeviceSharding(found[0])  # the first compilation also loads things
    jax.jit(lambda x: x + 1, in_shardings=place).lower(np.float32(1)).compile()
    for job in track(jobs, options.target, console=_log()):
        op, name, shape, dtype, mode, implementation, case = job
        row = {
            "target": options.target,
            "op": op,
            "case": name,
            "shape": list(shape),
            "dtype": dtype,
            "mode": mode,
            "implementation": implementation,
            "jax": jax.__version__,
        }
        try:
            if options.regions:
                program, floor = regions.program(op, case, mode)
            elif options.elements:
                program, floor = elements.program(case, dtype, mode)
            elif options.operators:
                program, floor = operators.program(case, dtype, mode)
            else:
                program = programs.build(implementation, op, case, dtype, mode, abstract=True)
                floor = programs.floor_bytes(op, case, dtype, mode)
            yield row | _compile(program, floor, found, options.shard)
        except Exception as error:
            # That a form is not there, or does not compile, is a result.
            yield row | {"error": (str(error).splitlines() or [repr(error)])[0][:160]}


def _log() -> Any:
    from rich.console import Console

    return Console(stderr=True)


def _with_batch(case: Any, batch: int) -> Any:
    """The case with another size of its first axis, if that is a batch axis."""
    if not batch or -len(case.shape) in case.pooled:
        return case
    return dataclasses.replace(case, shape=(batch, *case.shape[1:]))


def _compile(program: Any, floor: int, found: Sequence[Any], shard: int | None) -> dict[str, Any]:
    import time

    import jax
    import numpy as np

    from benchmarks import hlo

    arguments, results = program.arguments, None
    if shard is None:
        places = [jax.sharding.SingleDeviceSharding(found[0])] * len(arguments)
    else:
        mesh = jax.sharding.Mesh(np.array(found).reshape(-1), ("shard",))
        spec = jax.sharding.PartitionSpec(*[None] * shard, "shard")
        places = [jax.sharding.NamedSharding(mesh, spec)] * len(arguments)
        results = places[0]
    jitted = jax.jit(lambda *xs: program.function(*xs), in_shardings=places, out_shardings=results)
    jax.clear_caches()
    start = time.perf_counter()
    compiled = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - start
    facts = hlo.read(compiled.as_text())
    # A sharded program is one device's part.
    parts = 1 if shard is None else len(found)
    return {
        **dataclasses.asdict(facts),
        "floor": floor // parts,
        "temp_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "compile_s": seconds,
    }


def as_table(rows: Sequence[report.Row]) -> str:
    """A line for each program."""
    columns = [
        "op", "case", "shape", "dtype", "mode", "form", "kernels", "traffic / floor", "temp / x",
        "scatter", "collectives", "cycles (k, estimate)", "compile s",
    ]  # fmt: skip
    lines = []
    for row in rows:
        where = [row["op"], row["case"].removeprefix("bench_"), "x".join(map(str, row["shape"]))]
        where += [row["dtype"], row["mode"], row["implementation"]]
        if "error" in row:
            lines.append([*where, None, None, None, f"none: {row['error']}", None, None, None])
            continue
        collectives = ", ".join(f"{n} {name}" for name, n in row["collectives"].items())
        lines.append(
            [
                *where,
                f"{row['kernels']}, loops" if row["loops"] else row["kernels"],
                row["traffic"] / row["floor"],
                row["temp_bytes"] / x_bytes(row),
                "yes" if row["scatter"] else "no",
                collectives or "none",
                row["cycles"] / 1000 if row["cycles"] else None,
                row["compile_s"],
            ]
        )
    target, version = rows[0]["target"], rows[0]["jax"]
    return report.table(f"{target}, compiled by jax {version}, not run", columns, lines)


def x_bytes(row: report.Row) -> int:
    """Bytes of the array to pool."""
    import math

    import jax.numpy as jnp

    return math.prod(row["shape"]) * jnp.dtype(row["dtype"]).itemsize


if __name__ == "__main__":
    main()
