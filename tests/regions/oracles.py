"""Pools of boxes by other means: onnxruntime, and products of weights in NumPy's float64."""

import numpy as np
import pytest


def run_onnx(op, x, boxes, opset=16, images=None, **attributes):
    """The operator of onnxruntime for x of shape (H, W, C), as a result of shape (K, P, Q, C).

    With numbers of `images`, one for each box, x is of shape (N, H, W, C).
    """
    onnx = pytest.importorskip("onnx", reason="onnx writes what onnxruntime, an oracle, runs")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is the oracle of this test")
    align = op == "RoiAlign"
    x, images = (x[None], np.zeros(len(boxes))) if images is None else (x, images)
    rois = boxes if align else np.c_[images, boxes].astype(np.float32)
    feeds = {"x": np.ascontiguousarray(np.moveaxis(x, -1, 1)), "rois": rois}
    if align:
        feeds["batch"] = np.asarray(images, np.int64)
    node = onnx.helper.make_node(op, list(feeds), ["y"], **attributes)
    kinds = {
        np.dtype(np.float32): onnx.TensorProto.FLOAT,
        np.dtype(np.int64): onnx.TensorProto.INT64,
    }
    inputs = [
        onnx.helper.make_tensor_value_info(name, kinds[value.dtype], value.shape)
        for name, value in feeds.items()
    ]
    output = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", inputs, [output]),
        opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=9,
    )  # fmt: skip
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.moveaxis(session.run(None, feeds)[0], 1, -1)


def weights(low, size, cells, counts, length):
    """Mean weights of `length` pixels over `counts` samples in each of some cells, one after the other.

    `low` is where the first begins, or where each does, and `size` is that of one.
    """
    lows = np.broadcast_to(np.asarray(low, np.float64), cells) + (np.ndim(low) == 0) * np.arange(
        cells
    ) * np.float64(size)
    found = np.zeros((cells, length))
    for cell in range(cells):
        t = lows[cell] + (np.arange(max(counts, 0)) + 0.5) * np.float64(size) / max(counts, 1)
        t = t[(t >= -1) & (t <= length)].clip(0, length - 1)
        hat = np.maximum(1 - np.abs(t[:, None] - np.arange(length)), 0)
        found[cell] = hat.sum(0) / max(counts, 1)
    return found


def needed(size, most=None):
    """How many samples a cell of this size has."""
    count = int(np.ceil(size))
    return count if most is None else min(count, most)


def adaptive_align(x, box, cells, scale=1.0, aligned=True, most=None):
    """RoIAlign of one box in any number of axes, with as many samples as cells are long."""
    rank = len(cells)
    box = np.asarray(box, np.float64) * scale - 0.5 * aligned
    y = x.astype(np.float64)
    for axis, n in enumerate(cells):
        low, high = box[rank - 1 - axis], box[2 * rank - 1 - axis]
        extent = high - low if aligned else max(high - low, 1)
        rows = weights(low, extent / n, n, needed(extent / n, most), x.shape[axis])
        y = np.moveaxis(np.tensordot(rows, y, (1, axis)), 0, axis)
    return y
