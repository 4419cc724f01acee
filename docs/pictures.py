"""Draws what pools do, as SVG within a page: ``{picture}`` roles and directives of the docs.

Nothing is stored. Places come from the geometry of the library, values from its functions. Lines
and text have the colour of the page's text, so that they are readable in dark mode.
"""

import functools
from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxpool

Array = jax.Array
CELL = 24
ACCENT = "var(--color-brand-primary, #0a4bff)"


def svg(width: float, height: float, alt: str, parts: Sequence[str], style: str = "") -> str:
    """A picture with words for who does not see it; as wide as the page at most."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{escape(alt)}" '
        f'viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}" '
        f'style="max-width:100%;{style}" fill="currentColor" font-size="12" '
        f'font-family="sans-serif">{"".join(parts)}</svg>'
    )


def square(x: float, y: float, size: float = CELL, shade: float = 0, extra: str = "") -> str:
    """A cell, more or less filled with the accent."""
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{size:g}" height="{size:g}" fill="{ACCENT}" '
        f'fill-opacity="{shade:.2f}" stroke="currentColor" stroke-opacity="0.5" {extra}/>'
    )


def text(x: float, y: float, what: str, anchor: str = "start") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(what)}</text>'


def axis_picture(length: int, windows: Sequence[tuple[str, jaxpool.Window]], alt: str) -> str:
    """An axis of cells for each window, with the elements of each position below it."""
    axes: list[tuple[str, Any]] = [(name, w.windows((length,))[0][1]) for name, w in windows]
    ends = [max(int(w.starts()[-1]) + w.span, length + w.high) for _, w in axes]
    first = min(-w.low for _, w in axes)
    left = 12 + max(len(name) for name, _ in axes) * 8

    def at(place: int) -> int:
        return left + (place - first) * CELL

    parts, y = [], 4
    for (name, w), end in zip(axes, ends, strict=True):
        parts.append(text(0, y + 16, name))
        for place in range(-w.low, end):
            inside, declared = 0 <= place < length, place < length + w.high
            dash = "" if inside else f'stroke-dasharray="{"4 3" if declared else "1 4"}"'
            parts.append(square(at(place), y, extra=dash))
            if inside:
                parts.append(text(at(place) + CELL / 2, y + 16, str(place + 1), "middle"))
        y += CELL + 6
        for start in w.starts().tolist():
            taps = [start + j * w.dilation for j in range(w.window)]
            parts.append(
                f'<path d="M{at(taps[0]) + 3} {y}H{at(taps[-1]) + CELL - 3}" stroke="{ACCENT}"/>'
            )
            parts += [f'<circle cx="{at(t) + CELL / 2:g}" cy="{y}" r="3.5" fill="{ACCENT}"/>'
                      for t in taps]  # fmt: skip
            y += 10
        y += 12
    return svg(at(max(ends)) + 4, y, alt, parts)


def window(k: int, s: int, p: Any = 0, **options: Any) -> jaxpool.Window:
    """Windows along one axis."""
    return jaxpool.Window(k, s, p, axes=0, **options)


def grids() -> str:
    """The ramp of the tutorial, and the maxima of its windows."""
    ramp = np.arange(1.0, 17.0).reshape(4, 4)
    pooled = np.asarray(jaxpool.max_pool(ramp, (2, 2), axes=(0, 1)))
    parts = []
    for (i, j), value in np.ndenumerate(ramp):
        shade = 0.08 + 0.16 * ((i // 2 + j // 2) % 2)
        shade = 0.7 if value in pooled else shade
        parts += [square(j * CELL, i * CELL, shade=shade),
                  text((j + 0.5) * CELL, i * CELL + 16, f"{value:g}", "middle")]  # fmt: skip
    parts.append(text(4 * CELL + 24, 2 * CELL + 4, "→", "middle"))
    for (i, j), value in np.ndenumerate(pooled):
        x, y = 4 * CELL + 48 + j * CELL, (1 + i) * CELL
        parts += [square(x, y, shade=0.08 + 0.16 * ((i + j) % 2)),
                  text(x + CELL / 2, y + 16, f"{value:g}", "middle")]  # fmt: skip
    alt = "A grid of 4 x 4 numbers in four 2 x 2 windows; of each the largest is kept: 6, 8, 14, 16"
    return svg(4 * CELL + 48 + 2 * CELL + 1, 4 * CELL + 1, alt, parts)


def bins(length: int, sizes: Sequence[int]) -> str:
    """Cells of adaptive pools: where each has a slope there are its elements."""
    parts, y = [], 4
    for size in sizes:
        domain = jaxpool.Adaptive(size, axes=0)
        sums = functools.partial(jaxpool.pool, domain=domain, reduction=jaxpool.Sum())
        taken = np.asarray(jax.jacobian(sums)(jnp.zeros(length))) != 0
        parts.append(text(0, y + 16, f"{length} to {size}"))
        for place in range(length):
            x = 64 + place * CELL
            parts += [square(x, y), text(x + CELL / 2, y + 16, str(place + 1), "middle")]
        y += CELL + 6
        for row in taken:
            places = np.flatnonzero(row)
            left, right = 64 + places[0] * CELL + 3, 64 + (places[-1] + 1) * CELL - 3
            parts.append(f'<path d="M{left} {y}H{right}" stroke="{ACCENT}" stroke-width="5"/>')
            y += 9
        y += 10
    alt = f"The bins of adaptive pools of {length} elements, for {sizes} cells; some overlap by one"
    return svg(66 + length * CELL, y, alt, parts)


def region() -> str:
    """Where `roi_align` reads a map: its samples, and the pixels that have a slope."""
    size, box = 8, (1.3, 0.9, 6.7, 5.3)

    def first_cell(x: Array) -> Array:
        cells = jaxpool.roi_align(x[..., None], jnp.array([box]), (2, 3), sampling_ratio=2)
        return cells[0, 0, 0, 0]

    slopes = np.asarray(jax.grad(first_cell)(jnp.zeros((size, size))))
    parts = [square(j * CELL, i * CELL, shade=1.6 * slopes[i, j])
             for i in range(size) for j in range(size)]  # fmt: skip
    x1, y1, x2, y2 = (v * CELL for v in box)
    wide, high = (x2 - x1) / 3, (y2 - y1) / 2
    for i in range(2):
        for j in range(3):
            parts.append(
                f'<rect x="{x1 + j * wide:g}" y="{y1 + i * high:g}" width="{wide:g}" '
                f'height="{high:g}" fill="none" stroke="currentColor" stroke-width="2"/>'
            )
            for a in (0.25, 0.75):
                parts += [f'<circle cx="{x1 + (j + b) * wide:g}" cy="{y1 + (i + a) * high:g}" '
                          'r="3"/>' for b in (0.25, 0.75)]  # fmt: skip
    alt = ("A box on a grid of 8 x 8 pixels, in 2 x 3 cells of 2 x 2 samples each; shaded are the "
           "pixels around the samples of the first cell, by their weight")  # fmt: skip
    return svg(size * CELL + 1, size * CELL + 1, alt, parts)


FIGURES: dict[str, Callable[[], str]] = {
    "windows": grids,
    "strides": lambda: axis_picture(
        7, [("window 3, stride 3", window(3, 3)), ("stride 2", window(3, 2)),
            ("stride 1", window(3, 1)), ("stride 1, dilation 2", window(3, 1, dilation=2))],
        "Windows of 3 on 7 elements: 2 at stride 3, 3 at stride 2, 5 at stride 1, and 3 that are "
        "spread by dilation 2"),
    "padding": lambda: axis_picture(
        7, [("VALID", window(4, 2, "VALID")), ("SAME", window(4, 2, "SAME")),
            ("SAME_LOWER", window(4, 2, "SAME_LOWER")), ("padding=1", window(4, 2, 1))],
        "Windows of 4 at stride 2 on 7 elements: 2 without padding, 4 with SAME and SAME_LOWER, "
        "whose odd element of padding is after and before, and 3 with one element on both sides"),
    "ceil": lambda: axis_picture(
        6, [("floor", window(3, 2, 1)), ("ceil_mode=True", window(3, 2, 1, ceil_mode=True))],
        "Windows of 3 at stride 2 on 6 elements padded by 1: 3 of them, and in ceil mode a fourth "
        "that reaches beyond the padding"),
    "adaptive": lambda: bins(10, (5, 4, 3)),
    "region": region,
}  # fmt: skip

KEY = jax.random.key(0)
TWO, THREE = (2, 2), (3, 3)
# Small pictures of one digit as each kind makes it, by names of the catalogue.
THUMBNAILS: dict[str, Callable[[Array], Array]] = {
    "max_pool": lambda x: jaxpool.max_pool(x, TWO),
    "min_pool": lambda x: jaxpool.min_pool(x, TWO),
    "max_pool_with_argmax": lambda x: jaxpool.max_pool_with_argmax(x, TWO)[0],
    "max_unpool": lambda x: jaxpool.max_unpool(*jaxpool.max_pool_with_argmax(x, TWO), TWO),
    "sum_pool": lambda x: jaxpool.sum_pool(x, TWO),
    "avg_pool": lambda x: jaxpool.avg_pool(x, TWO),
    "strip_pool": lambda x: jaxpool.strip_pool(x, 0) + jaxpool.strip_pool(x, 1),
    "lp_pool": lambda x: jaxpool.lp_pool(x, TWO),
    "gem_pool": lambda x: jaxpool.gem_pool(x, TWO),
    "power_mean_pool": lambda x: jaxpool.power_mean_pool(x + 0.1, TWO, p=-1.0),
    "variance_pool": lambda x: jaxpool.variance_pool(x, TWO),
    "logsumexp_pool": lambda x: jaxpool.logsumexp_pool(x, TWO),
    "softmax_pool": lambda x: jaxpool.softmax_pool(x, TWO),
    "importance_pool": lambda x: jaxpool.importance_pool(x, 4 * x, TWO),
    "linear_softmax_pool": lambda x: jaxpool.linear_softmax_pool(x, TWO),
    "noisy_or_pool": lambda x: jaxpool.noisy_or_pool(x, TWO),
    "adaptive_weighted_pool": lambda x: jaxpool.adaptive_weighted_pool(x, TWO),
    "ada_pool": lambda x: jaxpool.ada_pool(x, TWO),
    "detail_preserving_pool": lambda x: jaxpool.detail_preserving_pool(x, TWO),
    "mixed_pool": lambda x: jaxpool.mixed_pool(x, TWO),
    "median_pool": lambda x: jaxpool.median_pool(x, TWO),
    "top_k_mean_pool": lambda x: jaxpool.top_k_mean_pool(x, TWO, k=2),
    "stochastic_pool": lambda x: jaxpool.stochastic_pool(x, TWO, key=KEY),
    "max_pool_dropout": lambda x: jaxpool.max_pool_dropout(x, TWO, key=KEY),
    "random_mixed_pool": lambda x: jaxpool.random_mixed_pool(x, TWO, key=KEY),
    "fractional_max_pool": lambda x: jaxpool.fractional_max_pool(
        x, TWO, output_shape=(5, 5), key=KEY
    ),
    "blur_pool": lambda x: jaxpool.blur_pool(x, TWO),
    "wavelet_pool": lambda x: jaxpool.wavelet_pool(x, "haar", bands="all"),
    "spectral_pool": lambda x: jaxpool.spectral_pool(x, (5, 5)),
    "polyphase_pool": lambda x: jaxpool.polyphase_pool(x, TWO),
    "dilation_pool": lambda x: jaxpool.dilation_pool(x, THREE, 1, "SAME"),
    "opening_pool": lambda x: jaxpool.opening_pool(x, TWO),
    "prefix_max_pool": lambda x: jaxpool.prefix_max_pool(x, axis=0),
    "corner_pool": lambda x: jaxpool.corner_pool(x),
    "adaptive_avg_pool": lambda x: jaxpool.adaptive_avg_pool(x, (3, 3)),
    "roi_align": lambda x: jaxpool.roi_align(x, jnp.array([[1.5, 1.5, 6.5, 6.5]]), (4, 4))[0],
    "roi_max_pool": lambda x: jaxpool.roi_max_pool(x, jnp.array([[1.5, 1.5, 6.5, 6.5]]), (4, 4))[0],
}


def thumbnail(name: str, pooled: np.ndarray) -> str:
    """A grid of squares, filled by value; several channels stand side by side."""
    low, high = float(pooled.min()), float(pooled.max())
    size, parts = 40 / max(pooled.shape[:2]), []
    for channel in range(pooled.shape[2]):
        for i, j in np.ndindex(*pooled.shape[:2]):
            shade = (pooled[i, j, channel] - low) / max(high - low, 1e-6)
            parts.append(square(1 + j * size + 42 * channel, 1 + i * size, size, 0.9 * shade))
    alt = f"A digit of 8 x 8 pixels after {name}"
    return svg(42 * pooled.shape[2], 42, alt, parts, "min-width:42px;")


def thumbnails(image: np.ndarray) -> dict[str, str]:
    """All of them, from one program that is compiled in a hurry."""
    pools = jax.jit(lambda x: {name: pool(x) for name, pool in THUMBNAILS.items()})
    hurry = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    x = jnp.asarray(image, jnp.float32)[..., None]
    pooled = pools.lower(x).compile(compiler_options=hurry)(x)
    return {name: thumbnail(name, np.asarray(y)) for name, y in pooled.items()}


def pictures(image: np.ndarray) -> dict[str, str]:
    """All figures and thumbnails by name."""
    return {**{name: draw() for name, draw in FIGURES.items()}, **thumbnails(image)}
