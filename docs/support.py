"""Tries every reduction over every domain, in every way, and writes what works.

``python docs/support.py`` writes the page; it takes some minutes. What does not work is given with
the message of the library, which is its reason.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import jaxpool

PAGE = Path(__file__).with_suffix(".md")

# Entries lie between 0 and 1, which is where all reductions are smooth.
RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(0.1, 0.9, (8, 12, 4)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, X.shape)
WHERE = np.arange(12)[:, None] < np.arange(5, 13)[:, None, None]

IDS = np.repeat(np.arange(3), 4)
DOMAINS: dict[str, jaxpool.Domain] = {
    "Window": jaxpool.Window(3, 2, 1, axes=1),
    "Global": jaxpool.Global(1),
    "Adaptive": jaxpool.Adaptive(5, axes=1),
    "Intervals": jaxpool.Intervals([0, 3], [5, 12], axes=1),
    "Groups": jaxpool.Groups(2),
    "Segments": jaxpool.Segments(IDS, 3, axis=1),
    "Prefix": jaxpool.Prefix(1),
}
KEY = jax.random.key(0)
REDUCTIONS: dict[str, jaxpool.Reduction] = {
    "Max": jaxpool.Max(),
    "Min": jaxpool.Min(),
    "Sum": jaxpool.Sum(),
    "Mean": jaxpool.Mean(),
    "Lp": jaxpool.Lp(3),
    "PowerMean": jaxpool.PowerMean(0.5),
    "LogSumExp": jaxpool.LogSumExp(2),
    "SoftmaxMean": jaxpool.SoftmaxMean(2),
    "WeightedMean": jaxpool.WeightedMean(jnp.asarray(X[:1])),
    "LinearSoftmax": jaxpool.LinearSoftmax(),
    "NoisyOr": jaxpool.NoisyOr(),
    "AdaptiveWeighted": jaxpool.AdaptiveWeighted(),
    "Mixed": jaxpool.Mixed(0.3),
    "Variance": jaxpool.Variance(),
    "Std": jaxpool.Std(),
    "Moment": jaxpool.Moment(3),
    "Median": jaxpool.Median(),
    "Quantile": jaxpool.Quantile(0.3),
    "RankMean": jaxpool.RankMean([0.5, 0.3, 0.2]),
    "TopKMean": jaxpool.TopKMean(2),
    "Mode": jaxpool.Mode(),
    "Stochastic": jaxpool.Stochastic(KEY),
    "RankStochastic": jaxpool.RankStochastic(0.5, KEY),
    "Monoid": jaxpool.Monoid(jnp.multiply, 1.0),
}

Pooling = Callable[..., Any]


def value(pooling: Pooling, x: Any) -> Any:
    """The result."""
    return jax.jit(pooling)(x)


def mask(pooling: Pooling, x: Any) -> Any:
    """The result under a mask, where what is masked out is not a number."""
    bad = np.nan if np.issubdtype(x.dtype, np.floating) else 99
    return jax.jit(pooling)(np.where(WHERE, x, np.asarray(bad, x.dtype)), where=WHERE)


def jvp(pooling: Pooling, x: Any) -> Any:
    """A tangent."""
    return jax.jit(lambda x: jax.jvp(pooling, (x,), (jnp.cos(x),)))(x)


def vjp(pooling: Pooling, x: Any) -> Any:
    """A gradient."""
    return jax.jit(jax.grad(lambda x: jnp.sum(jnp.sin(pooling(x)))))(x)


def second(pooling: Pooling, x: Any) -> Any:
    """A tangent of a gradient."""
    gradient = jax.grad(lambda x: jnp.sum(jnp.sin(pooling(x))))
    return jax.jit(lambda x: jax.jvp(gradient, (x,), (jnp.cos(x),)))(x)


def export(pooling: Pooling, x: Any) -> Any:
    """The result of what is exported for a batch of any size."""
    (size,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
    exported = jax.export.export(jax.jit(pooling))(shape)
    return jax.export.deserialize(exported.serialize()).call(x)


def sharded(pooling: Pooling, x: Any) -> Any:
    """The result of a batch on eight devices, which is that of one."""
    mesh = jax.make_mesh((8,), ("devices",))
    placed = jax.device_put(x, NamedSharding(mesh, P("devices")))
    found = jax.jit(pooling)(placed)
    np.testing.assert_allclose(found, jax.jit(pooling)(x), 1e-6, 1e-6)
    return found


WAYS = (value, mask, jvp, vjp, second, export, sharded)
OF_INTS = (value, mask, export, sharded)  # labels have no derivatives


def tried(domain: jaxpool.Domain, reduction: jaxpool.Reduction, of_ints: bool) -> dict[str, str]:
    """What does not work, and why."""

    def pooling(x: Any, where: Any = None) -> Any:
        return jaxpool.pool(x, domain, reduction, where=where)

    missing = {}
    for way in OF_INTS if of_ints else WAYS:
        try:
            found = way(pooling, LABELS if of_ints else X)
        except Exception as error:  # its message is what the page is about
            missing[way.__name__] = str(error).strip().splitlines()[0]
            continue
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)):
            missing[way.__name__] = "the result is not finite"
    return missing


def page() -> str:
    """The page, as Markdown."""
    parts = [
        "# Which pairs work\n",
        "Each reduction over each domain, tried by `python docs/support.py` in every way: a value,",
        "a value under a `mask` that hides NaN, a tangent (`jvp`), a gradient (`vjp`), a tangent",
        "of a gradient (`second`), an `export` for any batch size, which is read back and run,",
        "and a batch `sharded` over eight devices, whose result is that of one. A tick stands for",
        "all of these, a number for a reason below.\n",
        f"| | {' | '.join(DOMAINS)} |",
        f"|---{'|---' * len(DOMAINS)}|",
    ]
    reasons: dict[str, int] = {}
    for name, reduction in REDUCTIONS.items():
        cells = []
        for domain in DOMAINS.values():
            of_ints = name == "Mode"
            missing, ways = tried(domain, reduction, of_ints), OF_INTS if of_ints else WAYS
            numbers = {reasons.setdefault(text, len(reasons) + 1) for text in missing.values()}
            lacking = "" if len(missing) == len(ways) else f"but {', '.join(missing)}: "
            cells.append(f"{lacking}{', '.join(map(str, sorted(numbers)))}" if missing else "✓")
            print(name, type(domain).__name__, missing or "all", flush=True)
        parts.append(f"| `{name}` | {' | '.join(cells)} |")
    parts += ["\n`Mode` is of ints and has no derivatives.\n"]
    parts += [f"{number}. {text}" for text, number in reasons.items()]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
