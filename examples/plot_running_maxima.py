"""
The worst that could have happened: running maxima of a price
=============================================================

A price over four years, as daily closes. What somebody lost who bought at the worst moment is how
far the price is below its highest so far: that maximum of everything up to here is
``prefix_max_pool``. A pool over a window forgets: the maximum of the last 60 days, which is
``max_pool`` with a stride of 1 and all padding in front, calls a price high again that never
recovered. With ``reverse=True`` a prefix pool looks ahead: the highest price that is still to come
says what could have been won.

Padding wins no maximum, so the first windows hold the days that there are, and what is pooled is as
long as the prices.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib import cbook
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxpool

DAYS = 60


@jax.jit
def running(prices: jax.Array) -> dict[str, jax.Array]:
    """The highest price so far, of the last days, and still to come, of (days,)."""
    front = {"strides": 1, "padding": [(DAYS - 1, 0)], "axes": 0}
    return {
        "so far": jaxpool.prefix_max_pool(prices, 0),
        "of the last days": jaxpool.max_pool(prices, DAYS, **front),
        "to come": jaxpool.prefix_max_pool(prices, 0, reverse=True),
    }


def main(out: str | Path | None = "out") -> tuple[Figure, float]:
    """Draws; the figure and the largest loss, as a part. Saves it in `out` unless that is None."""
    table = cbook.get_sample_data("goog.npz")["price_data"]
    days, prices = table["date"], table["close"].astype(np.float32)
    highest = {name: np.asarray(x) for name, x in running(prices).items()}
    lost = {name: 1 - prices / highest[name] for name in ("so far", "of the last days")}
    worst = float(lost["so far"].max())
    print(f"at worst {worst:.0%} below the highest price so far")

    figure, (above, below) = plt.subplots(
        2, 1, figsize=(10, 7), layout="constrained", sharex=True, height_ratios=(1.5, 1)
    )
    above.plot(days, prices, color="black", linewidth=0.8, label="price (dollars)")
    looks = {
        "so far": {"color": "tab:red", "linewidth": 2},
        "of the last days": {"color": "tab:orange", "linestyle": "--"},
        "to come": {"color": "tab:blue", "linestyle": ":", "linewidth": 2},
    }
    for name, look in looks.items():
        label = f"highest {name}".replace("last", f"last {DAYS}")
        above.plot(days, highest[name], label=label, **look)
    above.fill_between(days, prices, highest["so far"], color="tab:red", alpha=0.15)
    above.legend()
    below.fill_between(days, -100 * lost["so far"], color="tab:red", alpha=0.4)
    below.plot(days, -100 * lost["of the last days"], "--", color="tab:orange", linewidth=1)
    below.set(title="below the highest (%)", ylim=(-100 * worst - 5, 2))
    below.grid(alpha=0.3)
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "running_maxima.png", dpi=100)
    return figure, worst


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
