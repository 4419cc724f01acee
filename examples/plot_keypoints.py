"""
Keypoints of moving digits: a place instead of a mean
=====================================================

Where is the 3? A convolution with one channel for each kind of digit is large where it sees that
digit. Averaged over the picture, the channel says whether the digit is there, and no longer where.
``spatial_softmax`` says where: the softmax of a channel over all places gives each of them a
probability, and the place to be expected is a point. Unlike the place of the maximum it has a
gradient, so that a network learns it from nothing but coordinates.

Scikit-learn's digits, 8 x 8 pixels, are put at random on a canvas of 32 x 32, three different ones
at a time. The same convolutions learn for as many steps with each of three heads: keypoints with a
learned temperature (``LearnedSpatialSoftmax``), a dense layer of all features, and a dense layer of
their mean. They are tested with digits that they have not seen. The dense layer has to learn each
digit anew at each place, and is still far off after these steps; the mean does hardly better than a
guess at the middle.

The film shows three such digits that move, their keypoints with the way that these came, and below
it where the softmax is. Its cells have 2 x 2 pixels, and it has become so sharp that a keypoint is
often in the middle of one: that is the pixel by which most are off. A channel has a place even
where its digit is not to be seen, so only those of digits on the canvas are drawn.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.lines import Line2D
from rich.console import Console
from rich.progress import track
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import jaxpool.nnx

CANVAS, DIGIT = 32, 8  # pixels
CELLS = CANVAS // 2  # of the pooled maps
SHOWN = 3  # digits at a time
STRIDE = 7  # frames from one that is drawn to the next
BATCH_SIZE = 32
HEADS = ("keypoints", "dense", "mean")
COLOURS = np.array([[1.0, 0.35, 0.2], [0.2, 0.8, 0.3], [0.3, 0.6, 1.0]])


class Scenes(NamedTuple):
    """Pictures, which digits are on them, and where."""

    images: np.ndarray  # (n, 32, 32, 1)
    digits: np.ndarray  # (n, 3)
    centres: np.ndarray  # (n, 3, 2), in pixels: y, then x


class Digits(NamedTuple):
    """Images (n, 8, 8) between 0 and 1, and their labels."""

    images: np.ndarray
    labels: np.ndarray


class Network(nnx.Module):
    """Convolutions, and a head that gives each of the ten digits a place."""

    def __init__(self, head: str, rngs: nnx.Rngs) -> None:
        conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)
        self.features = nnx.Sequential(
            conv(1, 16),
            nnx.relu,
            jaxpool.nnx.MaxPool((2, 2)),
            conv(16, 32),
            nnx.relu,
            conv(32, 32),
            nnx.relu,
        )
        if head == "keypoints":
            self.head = nnx.Sequential(conv(32, 10), jaxpool.nnx.LearnedSpatialSoftmax())
            return
        pool = jaxpool.nnx.GlobalAvgPool(axes=(-3, -2))
        size = 32 if head == "mean" else 32 * CELLS**2
        self.head = nnx.Sequential(
            pool if head == "mean" else lambda x: x.reshape(len(x), -1),
            nnx.Linear(size, 20, rngs=rngs),
            lambda x: x.reshape(-1, 10, 2),
        )

    def __call__(self, images: jax.Array) -> jax.Array:
        """Places (n, 10, 2) in pixels: y, then x."""
        # A place from -1 to 1 lies between the middles of the first and the last cell of 2 x 2.
        return (self.head(self.features(images)) + 1) / 2 * (CANVAS - 2) + 0.5


def paste(digits: Digits, chosen: np.ndarray, corners: np.ndarray) -> Scenes:
    """Scenes of digits (n, 3) at corners (n, 3, 2); where they overlap, the darker one is seen."""
    images = np.zeros((len(chosen), CANVAS, CANVAS, 1), np.float32)
    for image, row, places in zip(images[..., 0], chosen, corners, strict=True):
        for one, (y, x) in zip(digits.images[row], places, strict=True):
            part = image[y : y + DIGIT, x : x + DIGIT]
            np.maximum(part, one, out=part)
    centres = corners + np.float32((DIGIT - 1) / 2)
    return Scenes(images, digits.labels[chosen], centres.astype(np.float32))


def scatter(digits: Digits, n: int, random: np.random.Generator) -> Scenes:
    """`n` scenes of three digits of different kinds, anywhere."""
    kinds = random.permuted(np.tile(np.arange(10), (n, 1)), axis=1)[:, :SHOWN]
    of_kind = [np.flatnonzero(digits.labels == kind) for kind in range(10)]
    chosen = np.array([[random.choice(of_kind[kind]) for kind in row] for row in kinds])
    return paste(digits, chosen, random.integers(0, CANVAS - DIGIT + 1, (n, SHOWN, 2)))


def film(digits: Digits, frames: int, random: np.random.Generator) -> Scenes:
    """Three digits that move straight on and come back from the borders."""
    kinds = random.choice(10, SHOWN, replace=False)
    chosen = np.array([random.choice(np.flatnonzero(digits.labels == kind)) for kind in kinds])
    room = CANVAS - DIGIT
    start, angle = random.uniform(0, room, (SHOWN, 2)), random.uniform(0, 2 * np.pi, SHOWN)
    velocity = 1.2 * np.stack([np.sin(angle), np.cos(angle)], -1)
    way = (start + velocity * np.arange(frames)[:, None, None]) % (2 * room)
    corners = np.rint(room - np.abs(room - way)).astype(int)
    return paste(digits, np.tile(chosen, (frames, 1)), corners)


def of_shown(places: jax.Array, digits: jax.Array) -> jax.Array:
    """The places (n, 3, 2) of the digits that are there, out of (n, 10, 2)."""
    return jnp.take_along_axis(places, digits[..., None], axis=1)


@nnx.jit
def errors(model: Network, scenes: Scenes) -> jax.Array:
    """How far each digit is from where the network believes it, in pixels, (n, 3)."""
    far = of_shown(model(scenes.images), scenes.digits) - scenes.centres
    return jnp.sqrt((far**2).sum(-1) + 1e-6)  # differentiable at 0


@nnx.jit
def train_step(model: Network, optimizer: nnx.Optimizer, scenes: Scenes) -> jax.Array:
    """Takes one step downhill; the mean error before it."""
    loss, gradient = nnx.value_and_grad(lambda model: errors(model, scenes).mean())(model)
    optimizer.update(model, gradient)
    return loss


def train(head: str, digits: Digits, steps: int, seed: int) -> Network:
    """A network that has learned from `steps` batches of scenes."""
    model, random = Network(head, nnx.Rngs(seed)), np.random.default_rng(seed)
    schedule = optax.cosine_decay_schedule(3e-3, steps)
    optimizer = nnx.Optimizer(model, optax.adam(schedule), wrt=nnx.Param)
    console = Console(stderr=True)  # the gallery shows what is printed otherwise
    for _ in track(range(steps), f"{head:9}", console=console):
        train_step(model, optimizer, scatter(digits, BATCH_SIZE, random))
    return model


def main(
    steps: int = 300,
    heads: Sequence[str] = HEADS,
    seed: int = 0,
    out: str | Path | None = "out",
) -> tuple[Figure, dict[str, np.ndarray]]:
    """Trains each head for `steps`; the figure, and the errors in pixels on test digits.

    One of the heads has to be "keypoints", which is drawn. Saves the figure in the folder `out`
    unless that is None.
    """
    data = load_digits()
    images, labels = (data.images / 16).astype(np.float32), data.target.astype(np.int32)
    split = train_test_split(images, labels, test_size=0.25, random_state=seed, stratify=labels)
    learned, unseen = Digits(split[0], split[2]), Digits(split[1], split[3])
    models = {head: train(head, learned, steps, seed) for head in heads}

    random = np.random.default_rng(seed + 1)
    test = scatter(unseen, 500, random)
    found = {head: np.asarray(errors(model, test)).ravel() for head, model in models.items()}
    middle = np.linalg.norm(test.centres - (CANVAS - 1) / 2, axis=-1).ravel()
    found = {**found, "always the middle": middle}
    print(f"{'pixels off':17}   mean  median")
    for name, far in found.items():
        print(f"{name:17} {far.mean():6.2f} {np.median(far):7.2f}")

    figure = draw(models["keypoints"], film(unseen, 4 * STRIDE + 1, random), found)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "keypoints.png", dpi=100)
    return figure, found


@nnx.jit
def keypoints(model: Network, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The places (n, 10, 2), and the softmax (n, 16, 16, 10) that they are the mean places of."""
    convolution, pool = model.head.layers
    maps = convolution(model.features(images))
    return model(images), jax.nn.softmax(maps / jnp.exp(pool.log_temperature[...]), axis=(1, 2))


def draw(model: Network, scenes: Scenes, found: dict[str, np.ndarray]) -> Figure:
    """Frames with keypoints, where the softmax of each is, and how often a head is how far off."""
    figure = plt.figure(figsize=(13, 4.8), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=(2.5, 1))
    draw_film(left, model, scenes)
    ax = right.subplots()
    for (name, far), style in zip(found.items(), ("-", "--", "-.", ":"), strict=False):
        part = np.linspace(0, 100, len(far))
        ax.plot(np.sort(far), part, style, linewidth=2, label=f"{name} ({far.mean():.1f})")
    ax.set(title="Test digits (%) that are no further off", xlabel="pixels", xlim=(0, CANVAS / 2))
    ax.set_xticks(range(0, CANVAS // 2 + 1, 4))
    title = "head (pixels off, on average)"
    right.legend(loc="outside lower center", ncols=2, title=title, columnspacing=1, fontsize=9)
    ax.grid(alpha=0.3)
    return figure


def draw_film(figure: SubFigure, model: Network, scenes: Scenes) -> None:
    """Every seventh frame: above with the keypoints since the one before, below their softmax."""
    places, weights = keypoints(model, scenes.images)
    points = np.asarray(of_shown(places, scenes.digits))
    weights = np.take_along_axis(np.asarray(weights), scenes.digits[:, None, None], axis=-1)
    weights = weights / weights.max((1, 2), keepdims=True)
    shown = range(0, len(points), STRIDE)
    figure.suptitle("A film: keypoints, and the softmax that each is the mean place of")
    for number, (above, below) in zip(shown, figure.subplots(2, len(shown)).T, strict=True):
        image = scenes.images[number, ..., 0]
        dots = draw_frame(above, image, points[max(0, number - STRIDE) : number + 1])
        above.set_title(f"frame {number}")
        picture = np.repeat(1 - 0.25 * image[..., None], 3, axis=-1)
        for one, colour in zip(np.moveaxis(weights[number], -1, 0), COLOURS, strict=True):
            part = np.kron(one, np.ones((2, 2)))[..., None]
            picture = (1 - part) * picture + part * colour
        below.imshow(picture, interpolation="nearest")
        below.set(xticks=[], yticks=[])
    names = [f"digit {kind}" for kind in scenes.digits[0]]
    figure.legend(dots, names, loc="outside lower center", ncols=SHOWN)


def draw_frame(ax: Axes, image: np.ndarray, points: np.ndarray) -> list[Line2D]:
    """A frame, its keypoints and those of frames before, (frames, 3, 2); the keypoints' dots."""
    ax.imshow(image, cmap="gray_r", vmax=2)
    dots = []
    for way, colour in zip(points.transpose(1, 2, 0), COLOURS, strict=True):
        ax.plot(way[1], way[0], color=colour, alpha=0.6, linewidth=2)
        look = {"color": colour, "markeredgecolor": "black", "markersize": 9, "linestyle": "none"}
        dots += ax.plot(way[1, -1], way[0, -1], "o", zorder=3, **look)
    ax.set(xticks=[], yticks=[], xlim=(-0.5, CANVAS - 0.5), ylim=(CANVAS - 0.5, -0.5))
    return dots


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
