"""What XLA made of a program, read from the text of the optimised module."""

import dataclasses
import math
import re

# Not kernels: they move nothing, or their partner is counted.
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "opt-barrier", "domain", "copy-done", "slice-done", "async-done", "async-update",
    "all-reduce-done", "all-gather-done", "collective-permute-done", "send-done", "recv-done",
}  # fmt: skip
_COLLECTIVES = (
    "all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute",
)  # fmt: skip
_INSTRUCTION = re.compile(r"\s*(?:ROOT )?%?([\w.\-]+) = (.+?) ([\w\-]+)\((.*)")
_ARRAY = re.compile(r"\b(pred|bf16|[a-z]+(\d+)\w*)\[([\d,]*)\](\{[^{}]*\})?")


@dataclasses.dataclass(frozen=True)
class Facts:
    """Of one compiled program.

    `traffic` is the bytes of every kernel's operands and results in main memory, a buffer once
    for each kernel. For what memory bounds, it bounds the time from below; it is not a time.
    `cycles` is the TPU compiler's own estimate, which it does not give for every kernel: good for
    comparing programs of the same kind, and no speed. 0 elsewhere. If `loops`, a kernel is a
    whole loop or branch, whose inside is not counted, and traffic says little.
    """

    kernels: int
    traffic: int
    cycles: int
    scatter: bool
    collectives: dict[str, int]
    loops: bool


def read(text: str) -> Facts:
    """Reads ``compiled.as_text()``."""
    kernels, traffic = _entry(text)
    collectives = {name: len(re.findall(rf" {name}(?:-start)?\(", text)) for name in _COLLECTIVES}
    return Facts(
        kernels=kernels,
        traffic=traffic,
        cycles=sum(map(int, re.findall(r'"estimated_cycles":"?(\d+)', text))),
        scatter=re.search(r" (scatter|select-and-scatter)\(", text) is not None,
        collectives={name: count for name, count in collectives.items() if count},
        loops=re.search(r" (while|conditional)\(", text) is not None,
    )


def _entry(text: str) -> tuple[int, int]:
    """Number of kernels of the entry computation, and the bytes that they move."""
    sizes: dict[str, int] = {}
    kernels = traffic = 0
    for line in text[text.index("\nENTRY") + 1 :].splitlines()[1:]:
        if line.startswith("}"):
            break
        match = _INSTRUCTION.match(line)
        if not match:
            continue
        name, shape, op, rest = match.groups()
        sizes[name] = main_memory_bytes(shape)
        if op in _FREE:
            continue
        operands = set(re.findall(r"%([\w.\-]+)", rest.split("), ")[0]))
        read = sum(sizes.get(operand, 0) for operand in operands)
        # The result of an asynchronous start also names its operands.
        written = max(sizes[name] - read, 0) if op.endswith("-start") else sizes[name]
        kernels += 1
        traffic += read + written
    return kernels, traffic


def main_memory_bytes(shape: str) -> int:
    """Bytes of an array, or of all those of a tuple, that lie in main memory.

    TPU layouts say S(1) for arrays that never leave the chip's own memory.
    """
    total = 0
    for dtype, bits, dims, layout in _ARRAY.findall(shape):
        if not re.search(r"S\([1-9]\d*\)", layout):
            elements = math.prod(int(d) for d in dims.split(",") if d)
            total += elements * int(bits or {"pred": 8, "bf16": 16}[dtype]) // 8
    return total
