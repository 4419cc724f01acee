"""What pooling moves on large machines, on paper: ``python -m benchmarks.pods``.

Of each pooling stage of a ResNet-50 and of a 3-D U-Net, in a step of training in bfloat16: bytes
that a device reads and writes, bytes that it exchanges with its neighbours, and how long both take
at the published rates. No program is compiled and none run. The table goes into docs/scale.md.
"""

import math
from typing import NamedTuple

from benchmarks import page, report


class Machine(NamedTuple):
    """Devices, and bytes a second of a device's memory and of a link to a neighbour, one way."""

    name: str
    devices: int
    memory: float
    link: float


class Stage(NamedTuple):
    """A pooling, of one example; windows of None are the whole of each axis."""

    name: str
    sizes: tuple[int, ...]
    channels: int
    window: int | None
    stride: int = 1


# 819 GB/s and four links of 400 Gbit/s; 3.35 TB/s and NVLink at 450 GB/s.
MACHINES = (Machine("v5e:16x16", 256, 819e9, 50e9), Machine("8 x H100", 8, 3.35e12, 450e9))
STAGES = (
    Stage("ResNet-50, 3x3/2 maximum", (112, 112), 64, 3, 2),
    Stage("ResNet-50, global mean", (7, 7), 2048, None),
    Stage("3-D U-Net, 2x2x2/2 maximum, 128", (128, 128, 128), 32, 2, 2),
    Stage("3-D U-Net, 2x2x2/2 maximum, 16", (16, 16, 16), 256, 2, 2),
)
EXAMPLES = 16  # for each device, if the batch is sharded
BYTES = 2


class Moved(NamedTuple):
    """Bytes of a device in a step, forward and backward, and seconds that they take."""

    memory: float
    exchanged: float
    seconds: float  # of memory
    waiting: float  # of exchange


def moved(stage: Stage, machine: Machine, parts: int) -> Moved:
    """With each example in so many parts along its first axis; latencies do not count."""
    row = math.prod(stage.sizes[1:]) * stage.channels * BYTES
    x = stage.sizes[0] * row
    outputs = 1 if stage.window is None else math.prod(n // stage.stride for n in stage.sizes)
    y = outputs * stage.channels * BYTES
    # As many examples for a device as before, each in parts: x and y, and their gradients.
    memory = EXAMPLES * parts * 2 * (x + y) / parts
    if parts == 1:
        exchanged = 0.0
    elif stage.window is None:  # sums of float32 are added up around a ring
        exchanged = EXAMPLES * parts * 2 * (parts - 1) / parts * 4 * stage.channels
    else:  # rows that windows share, and their gradients
        exchanged = EXAMPLES * parts * 2 * max(stage.window - stage.stride, 0) * row
    return Moved(memory, exchanged, memory / machine.memory, exchanged / machine.link)


def table() -> str:
    """A line for each stage, machine and number of parts."""
    lines = []
    for machine in MACHINES:
        for stage in STAGES:
            for parts in (1, 4, 7, 8, 14):
                if parts > machine.devices or stage.sizes[0] % (parts * stage.stride):
                    continue
                found = moved(stage, machine, parts)
                lines.append(
                    [
                        machine.name,
                        stage.name,
                        "batch" if parts == 1 else f"{parts} along rows",
                        found.memory / 1e6,
                        found.exchanged / 1e6,
                        found.seconds * 1e6,
                        found.waiting * 1e6,
                        found.seconds / max(found.seconds, found.waiting),
                    ]
                )
    title = (
        f"Computed, neither compiled nor run: a device's share of a step, with {EXAMPLES} examples "
        "for each device"
    )
    columns = ["machine", "stage", "sharded", "memory MB", "exchanged MB", "memory us",
               "exchange us", "of the roofline"]  # fmt: skip
    return report.table(title, columns, lines)


if __name__ == "__main__":
    print(table())
    page.write(page.SCALE, {"pods": table()})
