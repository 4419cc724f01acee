"""Pools a 3-D volume that eight devices share: ``python examples/shard_volume.py``.

Its slices and rows are cut into 4 x 2 blocks. Before each pooling, devices exchange the few slices
and rows that windows reach over, by ``jaxpool.halo_exchange``, and nothing else. Neither strides
nor sizes have to suit the blocks. It saves a picture of what one device reads, and of the result.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from matplotlib import pyplot as plt

import jaxpool

# Maxima, then means, of windows that overlap: two levels of a network, say.
WINDOWS = (jaxpool.Window((3, 3, 3), 2, 1), jaxpool.Window((3, 3, 3), 1, 1))
REDUCTIONS = (jaxpool.Max(), jaxpool.Mean(count_include_pad=False))
NAMES = ("slices", "rows", None)  # of the pooled axes; columns are not shared


def volume(size: tuple[int, int, int]) -> np.ndarray:
    """A noisy shell, with a channel axis."""
    places = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in size), indexing="ij"))
    radius = np.sqrt((places**2).sum(0))
    noise = np.random.default_rng(0).normal(0, 0.15, size)
    return (np.exp(-(((radius - 0.7) / 0.12) ** 2)) + noise)[..., None].astype(np.float32)


def network(x: jax.Array) -> jax.Array:
    """Of one device: no array is longer than what it has."""
    for window, reduction in zip(WINDOWS, REDUCTIONS, strict=True):
        x = jaxpool.pool(x, window, reduction)
    return x


def part_of_network(x: jax.Array, lengths: tuple[int, ...]) -> jax.Array:
    """This device's part of it."""
    for window, reduction in zip(WINDOWS, REDUCTIONS, strict=True):
        halo, domain = jaxpool.halo_exchange(x, window, axis_names=NAMES, lengths=lengths)
        x = jaxpool.pool(halo, domain, reduction)
        lengths = window.output_shape((*lengths, 1))[:3]
    return x


def main(size: tuple[int, int, int] = (44, 50, 40), out: Path | None = None) -> float:
    """The largest difference between gradients of the mean square, on eight devices and on one."""
    mesh = jax.make_mesh((4, 2), ("slices", "rows"), axis_types=(AxisType.Auto,) * 2)
    x = volume(size)
    output = x.shape
    for window in WINDOWS:
        output = window.output_shape(output)

    @jax.jit
    @jax.value_and_grad
    def loss_of_parts(x: jax.Array) -> jax.Array:
        # Filled up, so that all devices have as many slices and rows; what is too many is cut off.
        widths = [(0, -size[0] % 4), (0, -size[1] % 2), (0, 0), (0, 0)]
        parts = jax.shard_map(
            lambda x: part_of_network(x, size),
            mesh=mesh, in_specs=P("slices", "rows"), out_specs=P("slices", "rows"),
        )  # fmt: skip
        y = parts(jnp.pad(x, widths))
        return jnp.mean(jnp.square(y[: output[0], : output[1]]))

    loss = jax.jit(jax.value_and_grad(lambda x: jnp.mean(jnp.square(network(x)))))
    (of_parts, gradient), (whole, wanted) = loss_of_parts(x), loss(x)
    difference = float(jnp.max(jnp.abs(gradient - wanted)) / jnp.max(jnp.abs(wanted)))
    text = loss_of_parts.lower(x).compile().as_text()
    print(f"loss {of_parts:.6f} on 8 devices, {whole:.6f} on one; "
          f"largest difference of gradients {difference:.1e}; "
          f"{text.count(' collective-permute(')} collective-permutes")  # fmt: skip
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        draw(x, np.asarray(jax.jit(network)(x)), out / "shard_volume.png")
    return difference


def draw(x: np.ndarray, y: np.ndarray, path: Path) -> None:
    """The middle of the volume, and what the first windows of one device reach over."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
    for axes, array, title in (
        (left, x, "volume, and what one device reads"),
        (right, y, "pooled"),
    ):
        axes.imshow(array[:, :, array.shape[2] // 2, 0], cmap="magma")
        slices, rows = -(-array.shape[0] // 4), -(-array.shape[1] // 2)
        for block in range(1, 4):
            axes.axhline(block * slices - 0.5, color="white", lw=0.7)
        axes.axvline(rows - 0.5, color="white", lw=0.7)
        axes.set(title=title, ylabel="slices, shared by 4", xlabel="rows, shared by 2")
    spans = []
    for axis, devices, device in ((1, 2, 0), (0, 4, 1)):
        cells = -(-WINDOWS[0].output_shape(x.shape)[axis] // devices)
        first = device * cells * 2 - 1
        spans.append((first, first + (cells - 1) * 2 + 3))
    (x0, x1), (y0, y1) = spans
    corner, size = (x0 - 0.5, y0 - 0.5), (x1 - x0, y1 - y0)
    left.add_patch(plt.Rectangle(corner, *size, fill=False, color="cyan", lw=2, clip_on=False))
    figure.savefig(path, dpi=100)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("out"), help="where the picture goes")
    arguments = parser.parse_args()
    jax.config.update("jax_num_cpu_devices", 8)  # before JAX looks for devices
    main(out=arguments.out)
