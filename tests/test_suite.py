"""The tests themselves: what the quick tier covers, which files are tested, and what may be skipped."""

import ast
import functools
import pathlib
import types

import pytest

import conftest
from tests.cases import CASES, OPS, cover, each_operator, is_slow, pairs
from tests.faults import FAULTS
from tests.mutants import source_files

TESTS = pathlib.Path(__file__).parent


def named_in_test_files():
    """Files of the library that a test file says it is about."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TESTS_OF":
                yield from ast.literal_eval(node.value)


def test_each_file_of_the_library_has_tests_and_faults():
    files = set(source_files())
    of_operators = {file for op in OPS for file in op.files}
    assert {*named_in_test_files(), *of_operators} - {"__init__.py"} == files
    assert {file for file, *_ in FAULTS} == files


@pytest.mark.parametrize("file", sorted({file for file, *_ in FAULTS}))
def test_faults_can_be_put_into_the_library(file):
    text = source_files()[file].read_text()
    for before, after, what in (row for name, *row in FAULTS if name == file):
        assert text.count(before) == 1, before
        ast.parse(text.replace(before, after))
        assert before != after
        assert what


def test_the_quick_tier_has_each_feature_of_each_path():
    everything = [pair for pair in pairs("ci") if not is_slow(pair)]
    chosen = cover(pairs("ci"), each_operator)
    assert len(chosen) < len(everything) / 3
    for wanted in (lambda op, case: {(op.lowering, f) for f in case.features},
                   lambda op, case: {op.name}):  # fmt: skip
        wanted_of_all, quick = (
            set().union(*(wanted(*p) for p in found)) for found in (everything, chosen)
        )
        assert quick == wanted_of_all
    together = {
        frozenset((a, b)) for _, case in chosen for a in case.features for b in case.features
    }
    for case in CASES:
        if "ci" in case.tags:
            assert {frozenset((a, b)) for a in case.features for b in case.features} <= together


def test_a_cover_is_small_and_does_not_change():
    candidates = [{1, 2}, {2, 3}, {3}, {1, 2, 3}, {4}]
    assert cover(candidates, set) == [{1, 2, 3}, {4}]
    assert cover(pairs("core"), each_operator) == cover(pairs("core"), each_operator)


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [("torch is the oracle", "skipped"), ("it is Monday", "failed"), ("pytorch", "failed"),
     ("onnxruntime is the oracle", "failed")],
)  # fmt: skip
def test_only_a_missing_oracle_is_a_reason_to_skip(reason, outcome, monkeypatch):
    monkeypatch.setattr(
        conftest.importlib.util, "find_spec", lambda name: None if name == "torch" else name
    )
    report = types.SimpleNamespace(
        skipped=True, outcome="skipped", nodeid="x", longrepr=("file", 1, f"Skipped: {reason}")
    )
    assert conftest._refused(report).outcome == outcome


def test_what_was_skipped_is_named_by_test_or_file():
    items = [
        types.SimpleNamespace(nodeid=n) for n in ("a.py::b", "a.py::b[1]", "c.py::d", "e.py::b")
    ]
    again = conftest._among(items, ["a.py::b[1]", "c.py"])
    assert [item.nodeid for item in again] == ["a.py::b[1]", "c.py::d"]


LEVELS = {"core": 0, "lowering": 1, "domains": 2, "reductions": 3, "pools": 4, "filters": 4, "regions": 4,
          "layers": 5}  # fmt: skip


@pytest.mark.parametrize("file", sorted(source_files()))
def test_imports_go_down(file):
    """Within a room they make no circle, and of the uppermost rooms none knows another."""
    room = file.split("/")[0]
    for name in imported(file):
        other = name.split("/")[0]
        above = LEVELS.get(room, 6) > LEVELS[other]
        assert other == room or above, f"{file} imports {name}"
    reached, waiting = set(), [file]
    while waiting:
        for name in imported(waiting.pop()) - reached:
            assert name != file, f"{file} imports itself by way of others"
            reached.add(name)
            waiting.append(name)


@functools.cache
def imported(file):
    """Files of `_src` that a file imports."""
    files = source_files()
    found = set()
    for node in ast.walk(ast.parse(files[file].read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxpool._src."):
            module = node.module.removeprefix("jaxpool._src.").replace(".", "/")
            below = [f"{module}/{alias.name}.py" for alias in node.names]
            found |= {name if name in files else f"{module}.py" for name in below}
    return found


def test_a_file_has_one_subject():
    for name, path in source_files().items():
        if "/" in name:
            assert len(path.read_text().splitlines()) <= 500, name
