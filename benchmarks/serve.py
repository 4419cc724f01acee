"""Runs what `benchmarks.exports` wrote, in a process that knows JAX alone.

``python benchmarks/serve.py FOLDER`` reads each artefact, calls it with the inputs beside it, and
prints how far the results are from those beside it, as a JSON object.
"""

import json
import sys
from pathlib import Path

import jax.export
import numpy as np


def difference(path: Path) -> float:
    """The largest difference of any result, relative to the largest number of its array."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    with np.load(path.with_suffix(".npz")) as given:
        results = exported.call(given["x"])
        wanted = [given[f"result{i}"] for i in range(len(results))]
    most = 0.0
    for found, expected in zip(results, wanted, strict=True):
        found = np.asarray(found)
        if (found.shape, found.dtype) != (expected.shape, expected.dtype):
            return float("inf")
        if expected.size:
            far = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max()
            most = max(most, float(far) / max(1, float(np.abs(expected).max())))
    return most


def main(folder: str) -> None:
    found = {path.stem: difference(path) for path in sorted(Path(folder).glob("*.exported"))}
    assert not any(name.partition(".")[0] == "jaxpool" for name in sys.modules)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
