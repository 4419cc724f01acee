"""The digits in several processes: the curve of one, an end when a worker dies, and a restart."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

TESTS_OF = ()  # of examples/

EXAMPLES = Path(__file__).parent.parent / "examples"
if not EXAMPLES.is_dir():
    pytest.skip("the examples are not part of the wheel", allow_module_level=True)


@pytest.fixture(scope="module")
def example():
    """As a script sees it, with its neighbours and standard promotion."""
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("standard"):
        patch.syspath_prepend(EXAMPLES)
        import train_digits_processes

        yield train_digits_processes


def alone(example, settings, **options):
    """The losses of one process."""
    return example.train(settings._replace(out=settings.out / "alone", **options))


@pytest.mark.parametrize(("processes", "shard", "steps"), [
    (2, "rows", 3),
    *(pytest.param(n, shard, 12, marks=pytest.mark.exhaustive)
      for n in (2, 4) for shard in ("batch", "rows")),
])  # fmt: skip
def test_several_processes_have_the_losses_of_one(example, processes, shard, steps, tmp_path):
    settings = example.Settings(processes, shard, steps, every=2, out=tmp_path)
    losses = example.launch(settings, limit=300)
    np.testing.assert_allclose(losses, alone(example, settings), rtol=1e-5)
    assert len(losses) == steps


@pytest.mark.exhaustive  # what the launcher and a restart do by themselves is quick, below
def test_a_worker_that_is_killed_and_a_restart(example, tmp_path, capfd):
    settings = example.Settings(2, "rows", 8, every=3, out=tmp_path, kill=5)
    start = time.monotonic()
    with pytest.raises(example.WorkerDied, match="process 1 of 2 was killed by SIGKILL"):
        example.launch(settings, limit=300)
    assert time.monotonic() - start < 200
    assert [p.name for p in example.checkpoints(settings).iterdir()] == ["3"]
    several, one = example.main(settings._replace(kill=None, resume=True))
    np.testing.assert_allclose(several, one, rtol=1e-5)
    assert "largest difference of 8 losses" in capfd.readouterr().out


def test_a_restart_goes_on_with_the_same_losses(example, tmp_path):
    whole = alone(example, example.Settings(1, steps=5, every=2, out=tmp_path))
    assert np.isfinite(whole).all()
    part = example.Settings(1, steps=3, every=2, out=tmp_path / "part")
    np.testing.assert_array_equal(example.train(part), whole[:3])
    loaded = []
    batch_of = example.batch_of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "batch_of", lambda d, s, n: loaded.append(n) or batch_of(d, s, n))
        again = example.train(part._replace(steps=5, resume=True))
    assert loaded == [2, 3, 4]
    np.testing.assert_array_equal(again, whole)


def started(*programs):
    return [subprocess.Popen([sys.executable, "-S", "-c", program]) for program in programs]


DIES = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(("programs", "message"), [
    (("import time; time.sleep(60)", DIES), "process 1 of 2 was killed by SIGKILL; the others"),
    (("raise SystemExit(3)", "import time; time.sleep(60)"), r"process 0 of 2 failed \(3\)"),
    (("import time; time.sleep(60)",), "not done after 1 s"),
])  # fmt: skip
def test_the_launcher_says_who_died(example, programs, message):
    workers, start = started(*programs), time.monotonic()
    try:
        with pytest.raises(example.WorkerDied, match=message):
            example.wait(workers, limit=1 if len(workers) == 1 else 50)
        assert time.monotonic() - start < 40
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait()


def test_the_launcher_waits_for_all(example):
    workers = started("", "import time; time.sleep(0.3)")
    example.wait(workers, limit=50)
    assert [worker.returncode for worker in workers] == [0, 0]
