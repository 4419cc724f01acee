"""Measures region pools beside onnxruntime: ``python -m benchmarks.regions``.

Random boxes of every size on one map, which onnxruntime gets channels-first, as it wants it.
"""

import argparse
import functools
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when onnxruntime starts its threads

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import machine, report, timing
from benchmarks.programs import OWN, Program

# Height, width and channels of the map, number of boxes, cells along each axis.
CASES = {
    "one_box": (64, 64, 256, 1, 7),
    "detector": (64, 64, 256, 512, 7),
    "mask_head": (64, 64, 256, 128, 14),
    "fine_map": (200, 272, 256, 128, 7),
    "small_map": (7, 7, 256, 64, 3),
}
OPS = ("roi_align", "roi_max_pool", "precise_roi_pool")
# By --ops: as many samples as cells are long, and boxes of several images in one array, which name
# theirs, beside as many boxes of each image under vmap.
MORE = ("roi_align_adaptive", "roi_align_images", "roi_align_vmapped")
IMAGES = 4
ONNX = {"roi_align": "RoiAlign", "roi_max_pool": "MaxRoiPool"}


# What is differentiated, beside the map: all but maxima depend on where boxes are.
MODES = ("fwd", "vjp", "vjp_boxes")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regions", description=__doc__)
    add = parser.add_argument
    add("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    add("--modes", default="fwd", help=f"of {', '.join(MODES)}")
    add("--ops", default=",".join(OPS), help=f"of {', '.join((*OPS, *MORE))}")
    add("--repeats", type=int, default=30, help="samples of each program")
    add("--out", help="JSONL to write, a row for each program")
    options = parser.parse_args(arguments)
    peer = importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")
    if not peer:
        print("Peer onnxruntime is left out: not installed (pip install onnxruntime onnx).")
    speed = timing.bandwidth()
    facts = {**machine.facts_of_machine(), "bandwidth_gb_s": speed / 1e9}
    rows: list[report.Row] = []
    lists = (given.split(",") for given in (options.cases, options.modes, options.ops))
    for job in jobs(*lists):
        op, case_name, shape, dtype, mode, _, case = job
        x, boxes, cells = inputs(*case, images=IMAGES if op in MORE[1:] else None)
        function, floor = form(op, cells, mode), program(op, case, mode)[1]
        compiled, seconds = compile_(function, x, boxes)
        calls = {OWN: lambda c=compiled, a=x, b=boxes: jax.block_until_ready(c(a, b))}
        if not rows:
            twin, _ = compile_(function, x, boxes)
            again = lambda c=twin, a=x, b=boxes: jax.block_until_ready(c(a, b))  # noqa: E731
            facts["self_check"] = timing.self_check(calls[OWN], again, None, options.repeats)
        if peer and mode == "fwd" and op in ONNX:
            call = onnx_call(op, x, boxes, cells)
            # Rounding moves a few cells of maxima by a pixel.
            same = np.isclose(np.moveaxis(call(), 1, -1), np.asarray(calls[OWN]()), atol=1e-3)
            assert same.mean() > 0.999, "onnxruntime does another job"
            calls["onnxruntime"] = call
        found = timing.measure(calls, options.repeats)
        for implementation, samples in found.items():
            own = implementation == OWN
            rows.append(
                {
                    "op": op,
                    "case": case_name,
                    "shape": list(shape),
                    "dtype": dtype,
                    "mode": mode,
                    "implementation": implementation,
                    "version": metadata.version(implementation),
                    "median_us": 1e6 * samples.median,
                    "p10_us": 1e6 * samples.percentile(10),
                    "p90_us": 1e6 * samples.percentile(90),
                    "ratios": {
                        k: samples.ratio(s) for k, s in found.items() if k != implementation
                    },
                    "floor_bytes": floor,
                    "bandwidth_fraction": floor / samples.median / speed,
                    "compile_ms": 1e3 * seconds if own else None,
                    "temp_bytes": compiled.memory_analysis().temp_size_in_bytes if own else None,
                    **facts,
                }
            )
    if options.out:
        Path(options.out).write_text("".join(json.dumps(row) + "\n" for row in rows))
    print(report.measured(rows))


def jobs(
    cases: Sequence[str], modes: Sequence[str], ops: Sequence[str] = OPS
) -> list[tuple[Any, ...]]:
    """Op, name, shape of the map, dtype, mode, implementation and case of each program."""
    return [
        (op, name, CASES[name][:3], "float32", mode, OWN, CASES[name])
        for op in ops
        for name in cases
        for mode in modes
        if mode != "vjp_boxes" or op != "roi_max_pool"
        if op not in MORE[1:] or CASES[name][3] % IMAGES == 0
    ]


def adaptive(cells: tuple[int, int]) -> Callable:
    def pool(x: jax.Array, boxes: jax.Array) -> jax.Array:
        most = -(-max(x.shape[:2]) // min(cells))  # boxes lie on the map
        return jaxpool.roi_align(x, boxes, cells, sampling_ratio=0, max_sampling_ratio=most)

    return pool


def of_images(cells: tuple[int, int]) -> Callable:
    def pool(x: jax.Array, boxes: jax.Array) -> jax.Array:
        numbers = jnp.arange(boxes.shape[0], dtype=np.int32) // (boxes.shape[0] // IMAGES)
        return jaxpool.roi_align(x, boxes, cells, batch_indices=numbers)

    return pool


def vmapped(cells: tuple[int, int]) -> Callable:
    def pool(x: jax.Array, boxes: jax.Array) -> jax.Array:
        one = functools.partial(jaxpool.roi_align, output_shape=cells)
        y = jax.vmap(one)(x, boxes.reshape(IMAGES, -1, 4))
        return y.reshape(-1, *y.shape[2:])

    return pool


MADE = dict(zip(MORE, (adaptive, of_images, vmapped), strict=True))


def form(op: str, cells: tuple[int, int], mode: str) -> Callable:
    """A function of the map and the boxes: values, with the gradient in one of them if asked."""
    pool = (
        MADE[op](cells)
        if op in MADE
        else functools.partial(getattr(jaxpool, op), output_shape=cells)
    )
    if mode == "fwd":
        return pool
    argument = MODES.index(mode) - 1

    def in_reverse(x: jax.Array, boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
        y, pull_back = jax.vjp(pool, x, boxes)
        return y, pull_back(jnp.ones_like(y))[argument]

    return in_reverse


def program(op: str, case: tuple[int, ...], mode: str) -> tuple[Program, int]:
    """What `benchmarks.aot` compiles, and the bytes that it must read and write."""
    *shape, count, cells = case
    shape = [IMAGES, *shape] if op in MORE[1:] else shape
    arguments = tuple(jax.ShapeDtypeStruct(s, np.float32) for s in (tuple(shape), (count, 4)))
    function = form(op, (cells, cells), mode)
    results = jax.tree.leaves(jax.eval_shape(function, *arguments))
    floor = sum(a.size * a.dtype.itemsize for a in (*arguments, *results))
    return Program(OWN, function, arguments), floor


def inputs(
    height: int, width: int, channels: int, count: int, cells: int, images: int | None = None
) -> tuple[jax.Array, jax.Array, tuple[int, int]]:
    random = np.random.default_rng(0)
    x = random.standard_normal((height, width, channels), np.float32)
    x = x if images is None else np.stack([x] * images)
    corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1) * [width, height]
    return jnp.asarray(x), jnp.asarray(corners.reshape(count, 4), np.float32), (cells, cells)


def compile_(form: Callable, *arguments: Any) -> tuple[Any, float]:
    jax.clear_caches()
    start = time.perf_counter()
    compiled = jax.jit(form).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def onnx_call(op: str, x: Any, boxes: Any, cells: tuple[int, int]) -> Callable[[], np.ndarray]:
    import onnx
    import onnxruntime

    attributes: dict[str, Any] = {"pooled_shape": cells}
    if op == "roi_align":
        attributes = {"output_height": cells[0], "output_width": cells[1], "sampling_ratio": 2}
        attributes["coordinate_transformation_mode"] = "half_pixel"
    boxes = np.asarray(boxes)
    feeds = {"x": np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 0)[None]), "rois": boxes}
    if op == "roi_align":
        feeds["batch"] = np.zeros(len(boxes), np.int64)
    else:
        feeds["rois"] = np.concatenate([np.zeros((len(boxes), 1), np.float32), boxes], 1)
    helper = onnx.helper
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in feeds.items()
    ]
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = helper.make_node(ONNX[op], list(feeds), ["y"], **attributes)
    # MaxRoiPool has no kernel at opset 22.
    model = helper.make_model(
        helper.make_graph([node], "regions", values, [result]),
        opset_imports=[helper.make_opsetid("", 16)],
        ir_version=9,
    )
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, feeds)[0]


if __name__ == "__main__":
    machine.keep_memory()
    main()
