"""Conventions of the public functions, and that what is public is documented."""

import inspect
import pathlib
import re
import subprocess
import sys

import pytest

import jaxpool

ROOT = pathlib.Path(__file__).parent.parent
PUBLIC = {
    name: value
    for name, value in vars(jaxpool).items()
    if not name.startswith("_") and not inspect.ismodule(value)
}
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
CLASSES = {name: value for name, value in PUBLIC.items() if inspect.isclass(value)}
# What a user subclasses has no arguments of its own.
PROTOCOLS = {"Domain", "Reduction"}
WINDOW_FUNCTIONS = {
    name: f
    for name, f in FUNCTIONS.items()
    if "window_shape" in inspect.signature(f).parameters and name != "max_unpool"
}
GLOBAL_FUNCTIONS = {name: f for name, f in FUNCTIONS.items() if name.startswith("global_")}


def sections(docstring):
    """The parts of a Google docstring, by title."""
    parts = re.split(r"^(\w+):$", inspect.cleandoc(docstring), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def arguments(function):
    """The text of each documented argument, on one line."""
    text = sections(function.__doc__)["Args"]
    entries = re.split(r"^  (\w+): ", text, flags=re.MULTILINE)
    return dict(zip(entries[1::2], (" ".join(e.split()) for e in entries[2::2]), strict=True))


def test_everything_is_of_a_known_kind():
    assert set(PUBLIC) == set(FUNCTIONS) | set(CLASSES)
    assert len(FUNCTIONS) >= 18


def test_documented_is_public():
    pages = "\n".join(p.read_text() for p in (ROOT / "docs" / "api").glob("*.md"))
    listed = set(re.findall(r"^\s*(?:jaxpool\.)?(\w+)\s*$", pages, flags=re.MULTILINE))
    assert set(PUBLIC) <= listed, set(PUBLIC) - listed


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_docstring(name):
    function = FUNCTIONS[name]
    found = sections(function.__doc__)
    expected = ["Args", "Returns", "Raises", "Derivatives", "Example"]
    assert [title for title in found if title in expected] == expected
    assert ">>>" in found["Example"]
    if name not in ("pool", "pool_mask", "convert_indices"):
        assert "References" in found
    assert list(arguments(function)) == list(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", sorted(set(CLASSES) - PROTOCOLS))
def test_class_docstring(name):
    found = sections(CLASSES[name].__doc__)
    assert ">>>" in found["Example"]
    parameters = list(inspect.signature(CLASSES[name]).parameters)
    assert (list(arguments(CLASSES[name])) if parameters else []) == parameters


@pytest.mark.parametrize("name", WINDOW_FUNCTIONS)
def test_window_signature(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    names = [p.name for p in parameters]
    assert names[:9] == [
        "x",
        "window_shape",
        "strides",
        "padding",
        "dilation",
        "ceil_mode",
        "axes",
        "where",
        "empty_value",
    ]
    kinds = [p.kind for p in parameters]
    assert kinds[:4] == [inspect.Parameter.POSITIONAL_OR_KEYWORD] * 4
    assert set(kinds[4:]) == {inspect.Parameter.KEYWORD_ONLY}
    assert [p.default for p in parameters[2:9]] == [None, "VALID", 1, False, None, None, 0]


@pytest.mark.parametrize("name", GLOBAL_FUNCTIONS)
def test_global_signature(name):
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    assert [p.name for p in parameters[:5]] == ["x", "axes", "keepdims", "where", "empty_value"]
    assert parameters[1].default is inspect.Parameter.empty
    assert {p.kind for p in parameters[2:]} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("group", [WINDOW_FUNCTIONS, GLOBAL_FUNCTIONS], ids=["window", "global"])
def test_shared_arguments_have_one_text(group):
    texts = {}
    for name, function in group.items():
        for argument, text in arguments(function).items():
            if argument == "where" and "weights" in text:
                continue  # means take weights too
            if argument == "padding":
                text = text.split(" As in ")[0]  # followed by a picture of the boundary
            texts.setdefault(argument, {}).setdefault(text, []).append(name)
    different = {a: found for a, found in texts.items() if len(found) > 1}
    assert not different


def loaded_by(statement, module):
    program = f"{statement}\nimport sys\nprint({module!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout.strip() == "True"


@pytest.mark.parametrize("module", ["flax", "torch", "optax", "sklearn", "matplotlib"])
def test_import_is_light(module):
    assert not loaded_by("import jaxpool", module)


def test_import_test_can_fail():
    assert loaded_by("import jaxpool.nnx", "flax")


def test_no_private_jax():
    for path in (ROOT / "jaxpool").glob("*.py"):
        assert "jax._src" not in path.read_text(), path.name
