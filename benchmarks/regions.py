"""Measures region pools beside onnxruntime: ``python -m benchmarks.regions``.

Random boxes of every size on one map, which onnxruntime gets channels-first, as it wants it.
"""

import argparse
import functools
import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when onnxruntime starts its threads

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool
from benchmarks import timing

# Height, width and channels of the map, number of boxes, cells along each axis.
CASES = {
    "one_box": (64, 64, 256, 1, 7),
    "detector": (64, 64, 256, 512, 7),
    "mask_head": (64, 64, 256, 128, 14),
    "fine_map": (200, 272, 256, 128, 7),
    "small_map": (7, 7, 256, 64, 3),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.regions", description=__doc__)
    add = parser.add_argument
    add("--cases", default=",".join(CASES), help=f"of {', '.join(CASES)}")
    add("--repeats", type=int, default=9, help="samples of each program")
    add("--gradients", action="store_true", help="also value and gradient in x, and in boxes")
    options = parser.parse_args(arguments)
    peer = importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx")
    if not peer:
        print("Peer onnxruntime is left out: not installed (pip install onnxruntime onnx).")
    print("| case | op | mode | jaxpool ms | onnxruntime ms | ratio | compile ms | temp MB |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.cases.split(","):
        x, boxes, cells = inputs(*CASES[name])
        for op, onnx_op, attributes in operators(cells):
            forms = {"fwd": functools.partial(getattr(jaxpool, op), output_shape=cells)}
            if options.gradients:
                forms["vjp x"] = in_reverse(forms["fwd"], 0)
                if op != "roi_max_pool":
                    forms["vjp boxes"] = in_reverse(forms["fwd"], 1)
            for mode, form in forms.items():
                compiled, seconds = compile_(form, x, boxes)
                groups = [{"own": lambda c=compiled, a=x, b=boxes: jax.block_until_ready(c(a, b))}]
                if peer and onnx_op and mode == "fwd":
                    call = onnx_call(onnx_op, x, boxes, **attributes)
                    own = np.asarray(compiled(x, boxes))
                    # Rounding moves a few cells of maxima by a pixel.
                    same = np.isclose(np.moveaxis(call(), 1, -1), own, atol=1e-3)
                    assert same.mean() > 0.999, "onnxruntime does another job"
                    groups.append({"peer": call})
                found = timing.measure(groups, options.repeats)
                other = found.get("peer")
                theirs = f"{1e3 * other.median:.2f}" if other else ""
                ratio = f"{found['own'].ratio(other):.2f}" if other else ""
                temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
                print(
                    f"| {name} | {op} | {mode} | {1e3 * found['own'].median:.2f} | {theirs} | "
                    f"{ratio} | {1e3 * seconds:.0f} | {temporary:.1f} |",
                    flush=True,
                )


def inputs(
    height: int, width: int, channels: int, count: int, cells: int
) -> tuple[jax.Array, jax.Array, tuple[int, int]]:
    random = np.random.default_rng(0)
    x = random.standard_normal((height, width, channels), np.float32)
    corners = np.sort(random.uniform(0, 1, (count, 2, 2)), axis=1) * [width, height]
    return jnp.asarray(x), jnp.asarray(corners.reshape(count, 4), np.float32), (cells, cells)


def operators(cells: tuple[int, int]) -> list[tuple[str, str, dict[str, Any]]]:
    size = {"output_height": cells[0], "output_width": cells[1]}
    align = {**size, "sampling_ratio": 2, "coordinate_transformation_mode": "half_pixel"}
    return [
        ("roi_align", "RoiAlign", align),
        ("roi_max_pool", "MaxRoiPool", {"pooled_shape": cells}),
        ("precise_roi_pool", "", {}),
    ]


def in_reverse(form: Callable, argument: int) -> Callable:
    """Value, and gradient in one argument, in one program."""
    return jax.value_and_grad(lambda *a: jnp.sum(form(*a)), argument)


def compile_(form: Callable, *arguments: Any) -> tuple[Any, float]:
    jax.clear_caches()
    start = time.perf_counter()
    compiled = jax.jit(form).lower(*arguments).compile()
    return compiled, time.perf_counter() - start


def onnx_call(op: str, x: Any, boxes: Any, **attributes: Any) -> Callable[[], np.ndarray]:
    import onnx
    import onnxruntime

    boxes = np.asarray(boxes)
    feeds = {"x": np.ascontiguousarray(np.moveaxis(np.asarray(x), -1, 0)[None]), "rois": boxes}
    if op == "RoiAlign":
        feeds["batch"] = np.zeros(len(boxes), np.int64)
    else:
        feeds["rois"] = np.concatenate([np.zeros((len(boxes), 1), np.float32), boxes], 1)
    helper = onnx.helper
    values = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for n, v in feeds.items()
    ]
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    node = helper.make_node(op, list(feeds), ["y"], **attributes)
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
    main()
