"""
A pretrained face detector, with these pools in place of its own
================================================================

MTCNN looks for faces with three small networks, each of which sees fewer boxes than the one before,
and more of each: P-Net slides over the photograph at many sizes, R-Net and O-Net look at what is
left, cut out. Its weights, 2 MB, come in the package ``mtcnn``.

All that it pools is pooled by jaxpool here. The maxima between its convolutions are in **ceil
mode**: the last window of a row may hang over the border. That is not a detail. Of a cutout of 24
pixels, R-Net's last feature map is 3 x 3 in ceil mode and 2 x 2 without, and its dense layer has
weights for 3 x 3. The photograph is shrunk by ``adaptive_avg_pool``, and the boxes are cut out and
shrunk, all in one program, by a mean over ``Intervals``, whose bounds differ from box to box.

Boxes and points are those of ``facenet-pytorch``, which runs the same weights in PyTorch, to a
thousandth of a pixel.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import joblib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from skimage import data

import jaxpool

SMALLEST = 80  # pixels: the least face that is looked for
FACTOR = 0.709  # from one size of the photograph to the next
THRESHOLDS = (0.6, 0.7, 0.7)  # how sure each network has to be
P_WINDOW, P_STRIDE = 12, 2  # what P-Net sees at once, and from one place to the next

Weights = list[Any]  # of all layers in turn, the channels last


class Faces(NamedTuple):
    """What is left after a network."""

    boxes: np.ndarray  # (faces, 4): x1, y1, x2, y2
    scores: np.ndarray  # (faces,)
    points: np.ndarray  # (faces, 5, 2): eyes, nose, corners of the mouth; none before O-Net


def load_weights(network: str) -> Weights:
    """Kernels, biases and slopes from `mtcnn`, which is found but not imported: it wants Keras."""
    found = importlib.util.find_spec("mtcnn")
    if found is None or not found.submodule_search_locations:
        raise ImportError('the weights are in the package mtcnn: pip install -e ".[faces]"')
    folder = Path(found.submodule_search_locations[0])
    return joblib.load(folder / "assets" / "weights" / f"{network}.lz4")


def conv(x: jax.Array, kernel: Any, bias: Any, slope: Any = 1.0) -> jax.Array:
    """A convolution without padding, and a PReLU."""
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=layout)
    return prelu(x + bias, slope)


def prelu(x: jax.Array, slope: Any) -> jax.Array:
    """Negative values times a slope of their channel."""
    return jnp.where(x < 0, x * slope, x)


def halved(x: jax.Array, window: int) -> jax.Array:
    """Maxima of every other window; the last one may hang over."""
    return jaxpool.max_pool(x, (window, window), strides=2, ceil_mode=True)


@functools.partial(jax.jit, static_argnames="size")
def p_net(weights: Weights, image: jax.Array, size: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """At every other place of the shrunk image: corrections of its box, and a face's score."""
    x = normalized(jaxpool.adaptive_avg_pool(image, size))[None]
    x = halved(conv(x, *weights[:3]), 2)
    x = conv(conv(x, *weights[3:6]), *weights[6:9])
    return conv(x, *weights[9:11])[0], jax.nn.softmax(conv(x, *weights[11:13]))[0, ..., 1]


@jax.jit
def r_net(weights: Weights, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of cutouts (n, 24, 24, 3): corrections of their boxes, and scores."""
    x = normalized(x)
    x = halved(conv(x, *weights[:3]), 3)
    x = halved(conv(x, *weights[3:6]), 3)
    x = dense(conv(x, *weights[6:9]), *weights[9:12])
    return x @ weights[12] + weights[13], jax.nn.softmax(x @ weights[14] + weights[15])[..., 1]


@jax.jit
def o_net(weights: Weights, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of cutouts (n, 48, 48, 3): corrections, places of the points, and scores."""
    x = normalized(x)
    x = halved(conv(x, *weights[:3]), 3)
    x = halved(conv(x, *weights[3:6]), 3)
    x = halved(conv(x, *weights[6:9]), 2)
    x = dense(conv(x, *weights[9:12]), *weights[12:15])
    boxes, points, classes = (x @ weights[n] + weights[n + 1] for n in (15, 17, 19))
    return boxes, points, jax.nn.softmax(classes)[..., 1]


def dense(x: jax.Array, kernel: Any, bias: Any, slope: Any) -> jax.Array:
    """Of whole feature maps, which its weights see column by column."""
    x = x.swapaxes(1, 2).reshape(len(x), -1)
    return prelu(x @ kernel + bias, slope)


@functools.partial(jax.jit, static_argnames="size")
def cut_out(image: jax.Array, boxes: jax.Array, size: int) -> jax.Array:
    """Boxes (n, 4) of whole pixels, one after the other shrunk to `size` x `size` by means."""
    places = np.arange(size, dtype=np.int32)

    def one(box: jax.Array) -> jax.Array:
        low, length = box[:2][::-1], (box[2:] - box[:2])[::-1]  # of rows, of columns
        starts = [a + places * n // size for a, n in zip(low, length, strict=True)]
        stops = [a + -((places + 1) * -n // size) for a, n in zip(low, length, strict=True)]
        return jaxpool.pool(image, jaxpool.Intervals(starts, stops, axes=(0, 1)), jaxpool.Mean())

    return jax.lax.map(one, boxes)


def first_boxes(weights: Weights, image: np.ndarray) -> tuple[Faces, list[np.ndarray]]:
    """What P-Net takes for faces in all sizes of the photograph, and its map of scores for each."""
    height, width = image.shape[:2]
    scale = P_WINDOW / SMALLEST
    found, corrections, maps = [], [], []
    while min(height, width) * scale >= P_WINDOW:
        size = (int(height * scale + 1), int(width * scale + 1))
        by, scores = map(np.asarray, p_net(weights, image, size))
        places = np.argwhere(scores >= THRESHOLDS[0])
        corners = places[:, ::-1] * P_STRIDE + 1
        corners = np.concatenate([corners, corners + P_WINDOW - 1], -1).astype(np.float32)
        boxes = np.floor(corners / np.float32(scale))
        some = scores[tuple(places.T)]
        kept = apart(boxes, some, 0.5)
        found.append((boxes[kept], some[kept]))
        corrections.append(by[tuple(places[kept].T)])
        maps.append(scores)
        scale *= FACTOR
    boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = apart(boxes, scores, 0.7)
    boxes, by = boxes[kept], np.concatenate(corrections)[kept]
    boxes = boxes + by * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    return Faces(boxes, scores[kept], without_points(boxes)), maps


def without_points(boxes: np.ndarray) -> np.ndarray:
    """The points of boxes that no network has given any."""
    return np.zeros((len(boxes), 0, 2), boxes.dtype)


def normalized(x: jax.Array) -> jax.Array:
    """Colours from 0 to 255, as the networks want them."""
    return (x - 127.5) / 128


def apart(
    boxes: np.ndarray, scores: np.ndarray, most: float, pixel: float = 0, of_smaller: bool = False
) -> np.ndarray:
    """Which boxes overlap none with a better score by more than `most`, the best first.

    The overlap is a part of the union, or of the smaller box; a box is `pixel` longer than its
    corners are apart.
    """
    waiting, kept = np.argsort(-scores, kind="stable"), []
    sizes = (boxes[:, 2:] - boxes[:, :2] + pixel).prod(-1)
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[waiting, :2])
        high = np.minimum(boxes[best, 2:], boxes[waiting, 2:])
        common = np.maximum(high - low + pixel, 0).prod(-1)
        smaller = np.minimum(sizes[best], sizes[waiting])
        whole = smaller if of_smaller else sizes[best] + sizes[waiting] - common
        waiting = waiting[common <= most * whole]
    return np.array(kept, int)


def squared(boxes: np.ndarray) -> np.ndarray:
    """Squares around the same middles."""
    lengths = boxes[:, 2:] - boxes[:, :2]
    side = lengths.max(-1, keepdims=True)
    low = boxes[:, :2] + lengths * 0.5 - side * 0.5
    return np.concatenate([low, low + side], -1)


def pixels_in(boxes: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The pixels of boxes within the photograph; none is empty."""
    height, width = image.shape[:2]
    low = np.maximum(boxes[:, :2].astype(np.int32), 1) - 1
    high = np.minimum(boxes[:, 2:].astype(np.int32), (width, height))
    return np.concatenate([low, np.maximum(high, low + 1)], -1).astype(np.int32)


def corrected(boxes: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Corners moved by parts of their boxes' sizes."""
    return boxes + by * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def refined(weights: Weights, image: np.ndarray, faces: Faces) -> Faces:
    """What R-Net takes for faces."""
    boxes = squared(faces.boxes)
    cutouts = cut_out(image, pixels_in(boxes, image), 24)
    by, scores = map(np.asarray, r_net(weights, cutouts))
    sure = scores > THRESHOLDS[1]
    boxes, by, scores = boxes[sure], by[sure], scores[sure]
    kept = apart(boxes, scores, 0.7)
    boxes = corrected(boxes[kept], by[kept])
    return Faces(boxes, scores[kept], without_points(boxes))


def last_boxes(weights: Weights, image: np.ndarray, faces: Faces) -> Faces:
    """What O-Net takes for faces, with five points of each."""
    boxes = squared(faces.boxes)
    cutouts = cut_out(image, pixels_in(boxes, image), 48)
    by, points, scores = map(np.asarray, o_net(weights, cutouts))
    sure = scores > THRESHOLDS[2]
    boxes, by, points, scores = boxes[sure], by[sure], points[sure], scores[sure]
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    points = points.reshape(-1, 2, 5).swapaxes(1, 2) * sides[:, None] + boxes[:, None, :2] - 1
    boxes = corrected(boxes, by)
    kept = apart(boxes, scores, 0.7, pixel=1, of_smaller=True)
    return Faces(boxes[kept], scores[kept], points[kept])


def detect(image: np.ndarray) -> tuple[list[Faces], list[np.ndarray]]:
    """Faces in (height, width, 3) after each of the networks; P-Net's scores at each size."""
    image = image.astype(np.float32)
    first, maps = first_boxes(load_weights("pnet"), image)
    found = [first]
    for network, step in (("rnet", refined), ("onet", last_boxes)):
        if len(found[-1].boxes):  # else there is nothing to look at
            found.append(step(load_weights(network), image, found[-1]))
    return found, maps


def main(out: str | Path | None = "out") -> tuple[Figure, list[Faces]]:
    """Finds the astronaut's face; saves the figure in the folder `out` unless that is None."""
    photograph = data.astronaut()
    found, maps = detect(photograph)
    for name, faces in zip(("P-Net", "R-Net", "O-Net"), found, strict=False):
        print(f"{name} leaves {len(faces.boxes)} boxes")
    for box, score in zip(found[-1].boxes, found[-1].scores, strict=True):
        print(f"a face at {np.round(box, 1).tolist()}, score {score:.4f}")
    figure = draw(photograph, found, maps)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "face_detection.png", dpi=100)
    return figure, found


def draw(photograph: np.ndarray, found: list[Faces], maps: list[np.ndarray]) -> Figure:
    """P-Net's scores, the boxes that each network leaves, and the face."""
    figure, grid = plt.subplots(2, 2, figsize=(9.6, 9.8), layout="constrained")
    axes = grid.flat
    scores = maps[1]
    axes[0].imshow(scores, cmap="magma", vmin=0, vmax=1)
    axes[0].set_title(f"P-Net's scores, {scores.shape[0]} x {scores.shape[1]}")
    for ax, faces, title in zip(axes[1:3], found, ("P-Net", "R-Net"), strict=False):
        show(ax, photograph, faces, "cyan", 1)
        ax.set_title(f"{len(faces.boxes)} boxes after {title}")
    show(axes[3], photograph, found[-1], "lime", 3)
    axes[3].set(xlim=(120, 330), ylim=(225, 15), title="O-Net: the face, and its points")
    for ax in axes:
        ax.set(xticks=[], yticks=[])
    return figure


def show(ax: Axes, photograph: np.ndarray, faces: Faces, colour: str, width: float) -> None:
    """A photograph with boxes and points."""
    ax.imshow(photograph)
    for (x1, y1, x2, y2), points in zip(faces.boxes, faces.points, strict=True):
        frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=colour, linewidth=width)
        ax.add_patch(frame)
        ax.plot(*points.T, "o", color="yellow", markeredgecolor="black")
    ax.set(xlim=(-0.5, photograph.shape[1] - 0.5), ylim=(photograph.shape[0] - 0.5, -0.5))


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
