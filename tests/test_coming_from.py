"""Each row of the page about other libraries, run beside the library that it is about."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import jaxpool

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "coming_from.md"

rng = np.random.default_rng(0)
MAPS = rng.uniform(0.1, 1, (2, 3, 9, 8)).astype(np.float32)
QUERY, KEYS = (
    rng.normal(size=(2, 4, 6)).astype(np.float32),
    rng.normal(size=(2, 7, 6)).astype(np.float32),
)
VALUES = rng.normal(size=(2, 7, 5)).astype(np.float32)
TOKENS = rng.normal(size=(3, 5, 4)).astype(np.float32)
MASK = np.arange(5) < np.array([[2], [5], [1]])


def rows(title):
    """The cells of the first table below a title, as code."""
    text = PAGE.read_text().split(f"\n{title}\n")[1]
    lines = re.search(r"\n\|[^\n]*\|\n\|[-|]+\|\n((?:\|.*\n)+)", text)[1]
    return [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in lines.splitlines()]


def check(wanted, found, row):
    wanted, found = (value if isinstance(value, tuple) else (value,) for value in (wanted, found))
    for a, b in zip(wanted, found, strict=True):
        assert tuple(a.shape) == b.shape, row
        if "fractional" not in row:  # which draws
            np.testing.assert_allclose(b, np.asarray(a), 2e-6, 1e-6, err_msg=row)


def by_jaxpool(codes, names):
    """All of a table as one program."""
    return jax.jit(
        lambda names: [eval(c, {"jaxpool": jaxpool, "lax": lax, **names}) for c in codes]
    )(names)  # noqa: S307


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is the oracle of this test")


def test_pytorch(torch):
    table = rows("## PyTorch")
    assert len(table) > 15
    assert sum(bool(row[1]) for row in table) > 10
    y, indices = torch.nn.functional.max_pool2d(torch.tensor(MAPS), 2, return_indices=True)
    arrays = {
        "x": MAPS,
        "q": QUERY,
        "k": KEYS,
        "v": VALUES,
        "y": y.numpy(),
        "indices": indices.numpy(),
    }
    theirs = {n: torch.tensor(a) for n, a in arrays.items()}
    names = {"F": torch.nn.functional, "nn": torch.nn, **theirs}
    ours = {**arrays, "indices": arrays["indices"].astype(np.int32), "key": jax.random.key(0)}
    every = by_jaxpool([row[2] for row in table], ours)
    for (function, module, code), found in zip(table, every, strict=True):
        check(eval(function, names), found, code)  # noqa: S307
        if module:
            check(eval(module, names)(theirs["x"]), found, code)  # noqa: S307


def test_padded_tokens(torch):
    table = rows("### Padded tokens")
    every = by_jaxpool([code for _, code in table], {"x": TOKENS, "m": MASK})
    names = {"torch": torch, "x": torch.tensor(TOKENS), "m": torch.tensor(MASK)}
    for (theirs, code), found in zip(table, every, strict=True):
        check(eval(theirs, names), found, code)  # noqa: S307


def test_flax():
    table, x = rows("## Flax"), np.moveaxis(MAPS, 1, -1)
    assert len(table) > 6
    every = by_jaxpool([code for _, code in table], {"x": jnp.asarray(x)})
    with jax.numpy_dtype_promotion("standard"):  # Flax divides by ints
        names = {"nn": nn, "lax": lax}
        theirs = jax.jit(lambda x: [eval(code, {**names, "x": x}) for code, _ in table])(x)  # noqa: S307
    for (_, code), wanted, found in zip(table, theirs, every, strict=True):
        check(wanted, found, code)
