"""Trains the network of `train_digits.py` in several processes, as on several hosts.

    python examples/train_digits_processes.py --processes 2 --shard rows

starts two workers on this machine, which find each other by `jax.distributed` and add up their
gradients over gloo, on the loopback. With `--shard batch` each has a part of the images; with
`--shard rows` a part of the rows of each image, and XLA exchanges the rows that windows share. It
prints the losses beside those of one process.

`--kill STEP` lets the last worker die before that step: the others are stopped, and the command
fails. The same command with `--resume` goes on from the last checkpoint.
"""

import argparse
import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from train_digits import BATCH_SIZE, Digits, Network, load, shifted, train_step

LOOPBACK = "127.0.0.1"
# How images are split along the mesh, and their labels.
SHARDS = {
    "batch": (PartitionSpec("workers"), PartitionSpec("workers")),
    "rows": (PartitionSpec(None, "workers"), PartitionSpec()),
}


class Settings(NamedTuple):
    """What all workers are told."""

    processes: int = 2
    shard: str = "batch"
    steps: int = 40
    every: int = 10  # steps between checkpoints
    seed: int = 0
    out: Path = Path("out")
    resume: bool = False
    kill: int | None = None


class WorkerDied(RuntimeError):
    """A worker ended before its work was done."""


def connect(process: int, processes: int, port: int) -> None:
    """Makes this process one of several; before anything asks for a device."""
    from jaxlib import _jax

    # Gloo would listen where the host's name leads, which may be seen from elsewhere.
    _jax.make_gloo_tcp_collectives = functools.partial(
        _jax.make_gloo_tcp_collectives, hostname=LOOPBACK
    )
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"{LOOPBACK}:{port}",
        processes,
        process,
        cluster_detection_method="deactivate",
        coordinator_bind_address=f"{LOOPBACK}:{port}",
        initialization_timeout=60,
        heartbeat_timeout_seconds=20,
    )


def batch_of(digits: Digits, seed: int, step: int) -> Digits:
    """The images of a step, which depend on nothing else, so that a restart goes on with them."""
    rng = np.random.default_rng((seed, step))
    chosen = rng.choice(len(digits.labels), BATCH_SIZE, replace=False)
    return Digits(shifted(digits.images[chosen], rng), digits.labels[chosen])


def placed(values: np.ndarray, sharding: NamedSharding) -> jax.Array:
    """One array over all processes; each gives the part that it has."""
    return jax.make_array_from_callback(values.shape, sharding, lambda index: values[index])


def train(settings: Settings, process: int = 0) -> np.ndarray:
    """Takes all steps on all devices of all processes; the loss of each."""
    mesh = jax.make_mesh((jax.device_count(),), ("workers",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    where = Digits(*(NamedSharding(mesh, spec) for spec in SHARDS[settings.shard]))
    digits, _ = load(settings.seed)
    model = Network("max", nnx.Rngs(settings.seed))
    # An epsilon above the rounding of gradients, which a sum over workers does in another order.
    optimizer = nnx.Optimizer(model, optax.adam(3e-3, eps=1e-4), wrt=nnx.Param)

    state = nnx.to_pure_dict(nnx.state((model, optimizer)))
    state = jax.tree.map(lambda leaf: placed(np.asarray(leaf), everywhere), state)
    losses, start = np.full(settings.steps, np.nan, np.float32), 0
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager(checkpoints(settings), options=options) as manager:
        if settings.resume and (last := manager.latest_step()) is not None:
            like = {"state": state, "losses": losses[:last]}
            saved = manager.restore(last, args=ocp.args.StandardRestore(like))
            state, losses[:last], start = saved["state"], saved["losses"], last
        set_state(model, optimizer, state)
        for step in range(start, settings.steps):
            if step == settings.kill and process == settings.processes - 1:
                os.kill(os.getpid(), signal.SIGKILL)
            batch = batch_of(digits, settings.seed, step)
            batch = Digits(*(placed(v, s) for v, s in zip(batch, where, strict=True)))
            losses[step] = train_step(model, optimizer, batch)
            if (step + 1) % settings.every == 0:
                state = nnx.to_pure_dict(nnx.state((model, optimizer)))
                tree = {"state": state, "losses": losses[: step + 1].copy()}
                manager.save(step + 1, args=ocp.args.StandardSave(tree))
    return losses


def set_state(model: Network, optimizer: nnx.Optimizer, values: dict) -> None:
    """Gives both the arrays of a pure dictionary."""
    state = nnx.state((model, optimizer))
    nnx.replace_by_pure_dict(state, values)
    nnx.update((model, optimizer), state)


def checkpoints(settings: Settings) -> Path:
    """The folder of the checkpoints."""
    return settings.out.absolute() / "checkpoints"


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as found:
        found.bind((LOOPBACK, 0))
        return found.getsockname()[1]


def launch(settings: Settings, limit: float = 600) -> np.ndarray:
    """Runs the workers until all are done, which takes `limit` seconds at most; their losses.

    If one dies, the others are stopped, and a `WorkerDied` says which it was.
    """
    settings.out.mkdir(parents=True, exist_ok=True)
    if not settings.resume:
        shutil.rmtree(checkpoints(settings), ignore_errors=True)
    result = settings.out / "losses.json"
    result.unlink(missing_ok=True)
    told = json.dumps(settings._asdict() | {"out": str(settings.out.absolute())})
    port = free_port()
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, "--worker", str(process), "--port", str(port), told],
            env=environment,
        )
        for process in range(settings.processes)
    ]
    try:
        wait(workers, limit)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    return np.array(json.loads(result.read_text()), np.float32)


def wait(workers: Sequence[subprocess.Popen], limit: float) -> None:
    """Returns when all have ended well; raises as soon as one has not."""
    end = time.monotonic() + limit
    while None in (codes := [worker.poll() for worker in workers]) or any(codes):
        for number, code in enumerate(codes):
            if code:
                how = (
                    f"was killed by {signal.Signals(-code).name}"
                    if code < 0
                    else f"failed ({code})"
                )
                raise WorkerDied(
                    f"process {number} of {len(workers)} {how}; the others were stopped"
                )
        if time.monotonic() > end:
            raise WorkerDied(f"the workers were not done after {limit:.0f} s, and were stopped")
        time.sleep(0.02)


def work(process: int, port: int, told: str) -> None:
    """What a worker does."""
    settings = json.loads(told)
    settings = Settings(**settings | {"out": Path(settings["out"])})
    connect(process, settings.processes, port)
    losses = train(settings, process)
    if process == 0:
        (settings.out / "losses.json").write_text(json.dumps(losses.tolist()))
    jax.distributed.shutdown()


def main(settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Trains in several processes, and then in this one; the losses of both."""
    several = launch(settings)
    one = train(settings._replace(every=settings.steps + 1, resume=False, kill=None))
    print(f"step   {settings.processes} processes   one process")
    for step in sorted({*range(0, settings.steps, settings.every), settings.steps - 1}):
        print(f"{step:4}   {several[step]:11.6f}   {one[step]:11.6f}")
    print(f"largest difference of {settings.steps} losses: {abs(several - one).max():.1e}")
    return several, one


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        work(int(sys.argv[2]), int(sys.argv[4]), sys.argv[5])
        sys.exit()
    parser = argparse.ArgumentParser(description="Train a small CNN in several processes.")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--shard", choices=SHARDS, default="batch")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--every", type=int, default=10, help="steps between checkpoints")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--kill", type=int, metavar="STEP", help="the last worker dies there")
    try:
        main(Settings(**vars(parser.parse_args())))
    except WorkerDied as error:
        sys.exit(f"{error}. With --resume it goes on from the last checkpoint.")
