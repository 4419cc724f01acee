"""Exports everything for CPUs, CUDA and TPUs: ``python -m benchmarks.exports``.

Of each public function, its value and its gradient become one artefact for three platforms, with
symbolic sizes of the batch and of the pooled axes where that is possible, and else of the batch. A
fresh process without jaxpool reads and runs them on the CPU, with sizes that were not known while
exporting. The table goes into docs/scale.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

from benchmarks import operators, page, report

PLATFORMS = ("cpu", "cuda", "tpu")
SERVE = Path(__file__).with_name("serve.py")
# Symbolic sizes, constraints, and the sizes of the array that the artefact is run with.
SIZES = {
    "batch and pooled axes": ("b, h, w, 4", ("h >= 8", "w >= 8"), (3, 12, 14, 4)),
    "batch": ("b, 8, 10, 4", (), (3, 8, 10, 4)),
    "none": ("2, 8, 10, 4", (), (2, 8, 10, 4)),
}


class Made(NamedTuple):
    """One artefact, and what it was made of."""

    name: str
    symbolic: str  # which sizes
    reason: str  # why no more of them
    size: int  # bytes
    seconds: float  # of CPU time to export


def leaves_of(function: Callable) -> Callable:
    """Its results as a list, which an artefact can say without knowing their classes."""
    return lambda x: jax.tree.leaves(function(x))


def export(name: str, function: Callable, folder: Path) -> Made:
    """Writes the artefact with the most symbolic sizes, an input, and the results for that."""
    function = jax.jit(leaves_of(function))
    reason, start = "", time.process_time()
    for symbolic, (text, constraints, shape) in SIZES.items():
        scope = jax.export.SymbolicScope(constraints)
        given = jax.ShapeDtypeStruct(jax.export.symbolic_shape(text, scope=scope), np.float32)
        try:
            exported = jax.export.export(function, platforms=PLATFORMS)(given)
        except Exception as error:
            reason = reason or f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            continue
        seconds = time.process_time() - start
        data = exported.serialize()
        (folder / f"{name}.exported").write_bytes(data)
        x = np.random.default_rng(0).uniform(0.1, 0.9, shape).astype(np.float32)
        results = {f"result{i}": np.asarray(y) for i, y in enumerate(function(x))}
        np.savez(folder / f"{name}.npz", x=x, **results)
        return Made(name, symbolic, reason, len(data), seconds)
    raise RuntimeError(f"{name}: {reason}")


def program(name: str) -> Callable:
    """A function or a network, with its gradient, of images."""
    if name in operators.DISCRETE:
        return operators.operator(name, 2)
    function = MODELS[name]() if name in MODELS else operators.operator(name, 2)
    return operators.with_gradient(function)


def nnx_model() -> Callable:
    """A network that classifies images of any size."""
    from flax import nnx

    import jaxpool.nnx

    rngs = nnx.Rngs(0)
    graph, state = nnx.split(
        nnx.Sequential(
            nnx.Conv(4, 8, (3, 3), rngs=rngs),
            nnx.relu,
            jaxpool.nnx.MaxPool((3, 3), strides=2, padding="SAME"),
            nnx.Conv(8, 8, (3, 3), rngs=rngs),
            jaxpool.nnx.GlobalAvgPool(axes=(-3, -2)),
            nnx.Linear(8, 10, rngs=rngs),
        )
    )
    return lambda x: nnx.merge(graph, state)(x)


def linen_model() -> Callable:
    """The same in Flax Linen."""
    from flax import linen

    import jaxpool.linen

    layers = [
        linen.Conv(8, (3, 3)),
        linen.relu,
        jaxpool.linen.MaxPool((3, 3), strides=2, padding="SAME"),
        linen.Conv(8, (3, 3)),
        jaxpool.linen.GlobalAvgPool(axes=(-3, -2)),
        linen.Dense(10),
    ]
    module = linen.Sequential(layers)
    variables = module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 4)))
    return lambda x: module.apply(variables, x)


# Networks, as what makes them.
MODELS = {"model of Flax NNX": nnx_model, "model of Flax Linen": linen_model}


def served(folder: Path) -> dict[str, float]:
    """How far each artefact's results are from ours, in a process of its own."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [sys.executable, str(SERVE), str(folder)],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return json.loads(done.stdout)


def table(made: Sequence[Made], differences: dict[str, float]) -> str:
    """A line for each artefact."""
    title = (
        f"jax {jax.__version__}; each artefact is for {', '.join(PLATFORMS)}, and was run on "
        "the CPU by a process that did not import jaxpool; differences are relative"
    )
    columns = ["exported", "symbolic sizes", "why no more", "kB", "CPU s", "difference"]
    lines = [
        [f"`{m.name}`", m.symbolic, m.reason, m.size / 1000, m.seconds, differences[m.name]]
        for m in made
    ]
    return report.table(title, columns, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exports", description=__doc__)
    parser.add_argument("--names", nargs="*", help="default: all, for the page")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        made = []
        for name in options.names or (*operators.NAMES, *MODELS):
            made.append(export(name, program(name), Path(folder)))
            print(*made[-1][:3], file=sys.stderr, flush=True)
        found = table(made, served(Path(folder)))
    print(found)
    if not options.names:
        page.write(page.SCALE, {"exports": found})


if __name__ == "__main__":
    main()
