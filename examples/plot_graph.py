"""
A club that split: pooling over the edges of a graph
====================================================

Zachary watched the 34 members of a karate club for three years, wrote down who met whom outside of
it, and saw it split in two, around its teacher (0) and its president (33). Who would go with whom
can be read from the graph. Give the teacher +1, the president -1 and everybody else nothing, and
let everybody take the mean of their friends: that is one ``segment_avg_pool`` over the ends of all
edges, which is what a layer of a graph network pools with. After a few rounds the sign says on
which side somebody is.

Graphs of any number of edges are one array of ends, without padding; many graphs at once are one
array too.
"""  # noqa: D205, D212, D415  (sphinx-gallery reads a title underlined like this)

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import networkx as nx
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

import jaxpool

TEACHER, PRESIDENT = 0, 33
ROUNDS = 6
SHOWN = (1, 2, 6)


def edges_of(graph: nx.Graph) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of each edge, in both directions: who is looked at, and who looks."""
    ends = np.array(graph.edges, np.int32)
    return np.concatenate([ends, ends[:, ::-1]]).T


@functools.partial(jax.jit, static_argnames=("members", "rounds"))
def opinions(seen: jax.Array, who: jax.Array, members: int, rounds: int) -> jax.Array:
    """What each member leans to, between -1 and 1, before the first round and after each."""
    first = jnp.zeros(members).at[np.array([TEACHER, PRESIDENT])].set(np.array([1.0, -1.0]))
    leaders = first != 0

    def step(x: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        # Leaders know what they want.
        x = jnp.where(leaders, first, jaxpool.segment_avg_pool(x[seen], who, members))
        return x, x

    return jnp.concatenate([first[None], jax.lax.scan(step, first, length=rounds)[1]])


def main(out: str | Path | None = "out") -> tuple[Figure, np.ndarray]:
    """Draws; the figure, and how many members each round puts on the right side.

    Saves the figure in the folder `out` unless that is None.
    """
    graph = nx.karate_club_graph()
    sides = np.array([1 if graph.nodes[n]["club"] == "Mr. Hi" else -1 for n in graph])
    found = np.asarray(opinions(*edges_of(graph), len(sides), ROUNDS))
    right = (np.sign(found) == sides).sum(1)
    print(f"right after each round: {right.tolist()} of {len(sides)}")

    places = nx.spring_layout(graph, seed=3, iterations=100)
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.4), layout="constrained")
    shown = {f"after round {n}: {right[n]} of 34 are right": found[n] for n in SHOWN}
    shown["what happened"] = sides
    for ax, (title, values) in zip(axes.flat, shown.items(), strict=True):
        nx.draw_networkx(
            graph, places, ax=ax, node_color=values, cmap="coolwarm", vmin=-1, vmax=1,
            edgecolors="black", edge_color="#aaaaaa", font_size=7, node_size=170,
        )  # fmt: skip
        ax.set_title(title)
        ax.set_axis_off()
    if out is not None:
        Path(out).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(out) / "graph.png", dpi=100)
    return figure, right


if __name__ == "__main__":
    # The gallery takes the figure from pyplot; only a script has to save it.
    main(out=None if "sphinx_gallery" in sys.modules else "out")
