"""Whether the tests notice faults: `python -m tests.mutants`, see CONTRIBUTING.md.

Each fault of the table in `tests/faults.py` is put into a copy of the library, one at a time, and
the tests of its file run against it: those that `pytest -k FILE` finds. What survives is a gap in
the tests, or no fault. What is killed says something only where the tests pass without faults.
"""

import argparse
import ast
import concurrent.futures
import dataclasses
import os
import pathlib
import queue
import shutil
import subprocess
import sys
import tempfile
import time

from tests.cases import OPS
from tests.faults import FAULTS

ROOT = pathlib.Path(__file__).resolve().parent.parent
COPIED = ("jaxpool", "tests", "benchmarks", "examples", "docs", "conftest.py", "pyproject.toml",
          "README.md", "CHANGELOG.md")  # fmt: skip
LIMIT = 900  # seconds that the tests of one file may take before it counts as killed


def source_files(root=ROOT):
    """Files of the library by the names that `TESTS_OF` has for them: below `_src`, and the layers."""
    package = root / "jaxpool"
    found = [*package.glob("_src/*/*.py"), *package.glob("compat/*.py"), *package.glob("*.py")]
    names = (path.relative_to(package).as_posix().removeprefix("_src/") for path in found)
    return {n: path for n, path in zip(names, found, strict=True) if path.name != "__init__.py"}


@dataclasses.dataclass(frozen=True)
class Fault:
    """In `file` of the library, the one place `before` becomes `after`."""

    number: int
    file: str
    before: str
    after: str
    what: str

    def put_into(self, path: pathlib.Path) -> None:
        text = path.read_text()
        if text.count(self.before) != 1:
            raise SystemExit(f"{self.file}: {text.count(self.before)} places, not 1: {self.before}")
        path.write_text(text.replace(self.before, self.after))


def faults(patterns):
    found = [Fault(i, *row) for i, row in enumerate(FAULTS)]
    if not patterns:
        return found
    return [f for f in found if f.file in patterns or str(f.number) in patterns]


def files_about(file):
    """The file's doctests, test files that name it in `TESTS_OF`, first ones first, the tables."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TESTS_OF":
                named = ast.literal_eval(node.value)
                if file in named:
                    found.append((named.index(file), path))
    paths = [source_files()[file], *(path for _, path in sorted(found))]
    if any(file in op.files for op in OPS):
        paths.append(ROOT / "tests/test_contract.py")
    return [str(path.relative_to(ROOT)) for path in paths]


def run(fault, folder, tests, options):
    """(What came of it, seconds, the first test that failed)."""
    folder = pathlib.Path(folder)
    path = source_files(folder)[fault.file]
    original = path.read_text()
    fault.put_into(path)
    start = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n0", "--no-header", "--tb=no",
               "-p", "no:cacheprovider", *tests, "-k", fault.file, *options]  # fmt: skip
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT,
                              env={**os.environ, "JAX_PLATFORMS": "cpu"}, check=False)  # fmt: skip
        code, lines = done.returncode, (done.stdout + done.stderr).splitlines()
    except subprocess.TimeoutExpired:
        code, lines = 1, ["FAILED: ran out of time"]
    finally:
        path.write_text(original)
    by = next((line for line in lines if line.startswith(("FAILED", "ERROR"))), lines[-1])
    # 1: a test failed; 2: it could not be imported. All else says nothing about the tests.
    outcome = {0: "survived", 1: "killed", 2: "killed"}.get(code, f"pytest ended with {code}")
    return outcome, time.monotonic() - start, by


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", help="files of the library, or numbers of faults")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    parser.add_argument("--exhaustive", action="store_true", help="against the exhaustive tier")
    options = parser.parse_args(arguments)
    extra = ["--exhaustive"] if options.exhaustive else []
    chosen, not_killed = faults(options.only), []
    tests = {file: files_about(file) for file in {fault.file for fault in chosen}}
    with tempfile.TemporaryDirectory() as scratch:
        copies = queue.Queue()
        for number in range(options.jobs):
            copy = pathlib.Path(scratch) / str(number)
            for name in COPIED:
                source = ROOT / name
                (shutil.copytree if source.is_dir() else shutil.copy)(
                    source, copy / name if source.is_dir() else copy
                )
            copies.put(copy)

        def attempt(fault):
            folder = copies.get()
            try:
                return fault, *run(fault, folder, tests[fault.file], extra)
            finally:
                copies.put(folder)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            jobs = [pool.submit(attempt, fault) for fault in chosen]
            for job in concurrent.futures.as_completed(jobs):
                fault, outcome, seconds, by = job.result()
                print(f"{outcome}\t{fault.number}\t{fault.file}\t{seconds:.0f} s\t{fault.what}\t{by}",
                      flush=True)  # fmt: skip
                not_killed += [fault] if outcome != "killed" else []
    print(f"{len(chosen)} faults, {len(chosen) - len(not_killed)} killed, {len(not_killed)} not")


if __name__ == "__main__":
    main()
