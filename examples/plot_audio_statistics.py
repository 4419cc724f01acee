"""
What is heard in a mean, and what is not
========================================

Recordings have different lengths, and a classifier wants as many numbers of each: something has to
pool over time. Here are five kinds of tones, made of harmonics, at any pitch and loudness: steady
ones, some that tremble, some with a click, and some that rise or fall. Each recording becomes the
logarithms of its power in a few bands, frame after frame, is pooled over time in several ways, and
gets the kind whose average is nearest.

The mean over time cannot tell a tremolo from a softer tone. Its standard deviation can:
``stats_pool`` joins both. Neither knows in which order the frames came, so what rises and what
falls looks alike to them; the first and the last frame know nothing else. The maximum hears the
click. Together they miss little.

Recordings are padded to one length, here with NaN: with ``where=length_mask(lengths, size)``, what
the padding holds does not matter.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import jaxpool

RATE = 8000  # samples per second
FRAME, HOP = 512, 128  # samples
BAND = 8  # bins of the spectrum
KINDS = ("steady", "tremolo", "click", "rising", "falling")
HIGH = 14  # the first band that is drawn as high
LONGEST = 1.5  # seconds
POOLS = ("mean", "mean and std", "first and last", "max", "all of them")


class Recordings(NamedTuple):
    """Log spectra, padded with NaN."""

    frames: np.ndarray  # (recordings, frames, bands)
    lengths: np.ndarray  # (recordings,)
    kinds: np.ndarray  # (recordings,), places in `KINDS`


def tone(kind: str, random: np.random.Generator) -> np.ndarray:
    """Samples of one tone: half a second to a second and a half of some harmonics."""
    time = np.arange(int(RATE * random.uniform(0.5, LONGEST))) / RATE
    part = time / time[-1]
    semitones = {"rising": 12 * part - 6, "falling": 6 - 12 * part}.get(kind, 0 * part)
    pitch = random.uniform(200, 400) * 2 ** (semitones / 12)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    sound = sum(np.sin(n * phase + random.uniform(0, 2 * np.pi)) / n for n in range(1, 9))
    if kind == "tremolo":
        sound *= 1 + 0.8 * np.sin(2 * np.pi * random.uniform(3, 6) * time)
    if kind == "click":
        place = random.integers(FRAME, len(sound) - FRAME)
        sound[place : place + 8] += random.choice([-6, 6], 8)
    loudness = 10 ** random.uniform(-1, 0)
    return loudness * sound + 0.003 * random.standard_normal(len(sound))


def log_spectra(sound: np.ndarray) -> np.ndarray:
    """Decibels of each frame in bands of equal width, (frames, bands)."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP]
    power = np.abs(np.fft.rfft(frames * np.hanning(FRAME))[:, :-1]) ** 2
    return 10 * np.log10(power.reshape(len(frames), -1, BAND).mean(-1))


def record(each: int, random: np.random.Generator) -> Recordings:
    """`each` recordings of each kind."""
    kinds = np.repeat(np.arange(len(KINDS)), each)
    spectra = [log_spectra(tone(KINDS[kind], random)) for kind in kinds]
    lengths = np.array([len(found) for found in spectra])
    size = (int(RATE * LONGEST) - FRAME) // HOP + 1
    frames = np.full((len(spectra), size, spectra[0].shape[-1]), np.nan, np.float32)
    for row, found in zip(frames, spectra, strict=True):
        row[: len(found)] = found
    return Recordings(frames, lengths, kinds)


@jax.jit
def pooled(frames: jax.Array, lengths: jax.Array) -> dict[str, jax.Array]:
    """Features (recordings, channels) by each way of pooling (recordings, frames, bands)."""
    where = jaxpool.length_mask(lengths, frames.shape[-2])[..., None]
    first = jaxpool.first_pool(frames, where=where)
    last = jaxpool.last_pool(frames, where=where)
    found = {
        "mean": jaxpool.global_avg_pool(frames, axes=-2, where=where),
        "mean and std": jaxpool.stats_pool(frames, axes=-2, where=where),
        "first and last": jnp.concatenate([first, last], axis=-1),
        "max": jaxpool.global_max_pool(frames, axes=-2, where=where),
    }
    everything = [found[name] for name in ("mean and std", "first and last", "max")]
    return {**found, "all of them": jnp.concatenate(everything, axis=-1)}


def accuracies(train: Recordings, test: Recordings) -> dict[str, np.ndarray]:
    """The part of each kind's test recordings that is nearest to the mean of its kind."""
    learned, asked = pooled(train.frames, train.lengths), pooled(test.frames, test.lengths)
    found = {}
    for name in POOLS:
        x, y = np.asarray(learned[name]), np.asarray(asked[name])
        means = np.stack([x[train.kinds == kind].mean(0) for kind in range(len(KINDS))])
        # Distances in units of how much a feature varies within a kind.
        scale = (x - means[train.kinds]).std(0)
        distances = (((y[:, None] - means) / scale) ** 2).sum(-1)
        right = distances.argmin(-1) == test.kinds
        found[name] = np.array([right[test.kinds == kind].mean() for kind in range(len(KINDS))])
    return found


def main(
    each: int = 50, seed: int = 0, out: str | Path | None = "out"
) -> tuple[Figure, dict[str, np.ndarray]]:
    """Draws; the figure, and the accuracy of each way of pooling for each kind.

    There are `each` recordings of a kind to learn from, and as many to test with. Saves the figure
    in the folder `out` unless that is None.
    """
    random = np.random.default_rng(seed)
    train, test = record(each, random), record(each, random)
    found = accuracies(train, test)
    print(f"{'pooled by':16}" + "".join(f"{kind:>9}" for kind in KINDS) + f"{'all':>9}")
    for name, row in found.items():
        print(f"{name:16}" + "".join(f"{part:9.0%}" for part in (*row, row.mean())))
    figure = draw(test, found)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "audio_statistics.png", dpi=100)
    return figure, found


def draw(test: Recordings, found: dict[str, np.ndarray]) -> Figure:
    """A recording of each kind, what tells some kinds apart, and how often each is told right."""
    figure = plt.figure(figsize=(13, 8), layout="constrained")
    above, below = figure.subfigures(2, 1)
    above.suptitle("A recording of each kind")
    for kind, ax in enumerate(above.subplots(1, len(KINDS), sharey=True)):
        some = int(np.argmax(test.kinds == kind))
        one = test.frames[some, : test.lengths[some]]
        seconds = ((len(one) - 1) * HOP + FRAME) / RATE
        look = {"cmap": "magma", "vmin": -60, "vmax": 0, "interpolation": "nearest"}
        extent = (0, seconds, 0, RATE / 2000)
        ax.imshow(one.T - one.max(), origin="lower", aspect="auto", extent=extent, **look)
        ax.set(title=KINDS[kind], xlabel="seconds")
    above.axes[0].set_ylabel("kHz")

    left, middle, right = below.subplots(1, 3, width_ratios=(1, 1, 1.6))
    features = {name: np.asarray(x) for name, x in pooled(test.frames, test.lengths).items()}
    mean, std = np.split(features["mean and std"], 2, axis=-1)
    loudest = mean.argmax(-1)[:, None]
    scatter(
        left, *(np.take_along_axis(x, loudest, -1)[:, 0] for x in (mean, std)), test.kinds, 0, 1
    )
    left.set(title="loudest band (dB)", xlabel="mean over time", ylabel="standard deviation")
    first, last = np.split(features["first and last"], 2, axis=-1)
    scatter(middle, *(x[:, HIGH:].mean(-1) for x in (first, last)), test.kinds, 3, 4)
    title = f"above {HIGH * BAND * RATE / FRAME / 1000:g} kHz (dB)"
    middle.set(title=title, xlabel="first frame", ylabel="last frame")
    table(right, found)
    return figure


def scatter(ax: Axes, x: np.ndarray, y: np.ndarray, kinds: np.ndarray, *shown: int) -> None:
    """A mark for each recording of two kinds."""
    for kind, marker in zip(shown, "ox", strict=True):
        of = kinds == kind
        ax.scatter(x[of], y[of], marker=marker, label=KINDS[kind], alpha=0.7)
    ax.legend()


def table(ax: Axes, found: dict[str, np.ndarray]) -> None:
    """The accuracies: the darkest are no better than chance."""
    values = 100 * np.stack([np.append(row, row.mean()) for row in found.values()])
    ax.imshow(values, cmap="viridis", vmin=100 / len(KINDS), vmax=100, aspect="auto")
    ax.set_xticks(range(len(KINDS) + 1), [*KINDS, "all"])
    ax.set_yticks(range(len(found)), list(found))
    for (row, column), value in np.ndenumerate(values):
        ink = "black" if value > 65 else "white"
        ax.text(column, row, f"{value:.0f}", color=ink, size=12, ha="center", va="center")
    ax.set_title("recordings that are told right (%)")


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
