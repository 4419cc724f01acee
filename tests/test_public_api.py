"""Walks the public names: documented, alike, and light to import."""

import doctest
import inspect
import pathlib
import re
import subprocess
import sys
import types

import pytest

import jaxpool

TESTS_OF = ("__init__.py",)


def parameters(function):
    return inspect.signature(function).parameters


PUBLIC = {
    name: value
    for name, value in vars(jaxpool).items()
    if not name.startswith("_") and not isinstance(value, types.ModuleType)
}
FUNCTIONS = {n: v for n, v in PUBLIC.items() if inspect.isfunction(v)}
CLASSES = {n: v for n, v in PUBLIC.items() if inspect.isclass(v)}
METHODS = {
    f"{name}.{method}": value
    for name, cls in CLASSES.items()
    for method, value in vars(cls).items()
    if not method.startswith("_") and inspect.isfunction(value)
    if method not in parameters(cls)  # a field whose default is a function
}
functions = pytest.mark.parametrize("name", FUNCTIONS)
DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"


def sections(function):
    """The sections of a docstring by title, and for Args each argument's text."""
    text = inspect.getdoc(function)
    titles = "Args|Returns|Raises|Derivatives|Example|References"
    parts = re.split(rf"^({titles}):\n", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], (p.strip("\n") for p in parts[2::2]), strict=True))
    found["Args"] = dict(
        (part.split(":", 1)[0].strip(), " ".join(part.split(":", 1)[1].split()))
        for part in re.split(r"\n  (?=\w[\w, ]*: )", "\n" + found.get("Args", ""))
        if part.strip()
    )
    return parts[0], found


def test_nothing_is_public_by_accident():
    assert set(PUBLIC) == set(FUNCTIONS) | set(CLASSES)
    for name, value in PUBLIC.items():
        assert value.__name__ == name
        assert value.__module__.startswith("jaxpool._")
    modules = [n for n, v in vars(jaxpool).items() if isinstance(v, types.ModuleType)]
    assert all(n.startswith("_") for n in modules if n not in ("compat", "interop", "linen", "nnx"))


def test_what_the_first_release_promises_is_there():
    kinds = ("max", "min", "sum", "avg", "lp")
    names = {f"{kind}_pool" for kind in kinds} | {f"global_{kind}_pool" for kind in kinds}
    names |= {f"adaptive_{kind}_pool" for kind in ("max", "min", "avg")}
    names |= {"pool", "pool_mask", "Window", "Global", "Adaptive", "Intervals", "Max", "Min", "Sum", "Mean", "Lp", "Monoid",
              "Domain", "Reduction"}  # fmt: skip
    assert names <= set(PUBLIC)
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", jaxpool.__version__)


@functions
def test_docstrings_of_functions(name):
    function = FUNCTIONS[name]
    summary, found = sections(function)
    assert summary.split("\n")[0].endswith((".", ".``"))
    for title in ("Returns", "Raises", "Derivatives", "Example"):
        assert found.get(title), title
    assert "ValueError" in found["Raises"]
    assert "TypeError" in found["Raises"]
    assert set(found["Args"]) == set(parameters(function))
    if name.endswith("_pool"):
        assert found.get("References"), "a pooling names where it is from"
    examples = doctest.DocTestParser().get_examples(found["Example"])
    assert any(e.want for e in examples)


@pytest.mark.parametrize("name", CLASSES)
def test_docstrings_of_classes(name):
    cls = CLASSES[name]
    _, found = sections(cls)
    if cls in (jaxpool.Domain, jaxpool.Reduction):
        return
    fields = {p for p in parameters(cls) if p != "_"}
    assert set(found["Args"]) == fields
    assert found.get("Example")
    if fields:
        assert found.get("Raises")


@pytest.mark.parametrize("name", METHODS)
def test_docstrings_of_methods(name):
    assert inspect.getdoc(METHODS[name])  # inherited from the protocol, or its own


@functions
def test_types_are_written_out(name):
    signature = inspect.signature(FUNCTIONS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty


@functions
def test_what_follows_padding_is_keyword_only(name):
    names = list(parameters(FUNCTIONS[name]))
    kinds = [p.kind for p in parameters(FUNCTIONS[name]).values()]
    if "padding" in names:
        start = names.index("window_shape")
        assert names[start : start + 3] == ["window_shape", "strides", "padding"]
        after = kinds[start + 3 :]
    elif name.startswith("global_"):
        start = names.index("axes")
        assert names[:start] in (["x"], ["x", "logits"])
        assert parameters(FUNCTIONS[name])["axes"].default is inspect.Parameter.empty
        after = kinds[start + 1 :]
    else:
        return
    assert set(after) <= {inspect.Parameter.KEYWORD_ONLY}


# Pools of boxes in one map, which have arguments of their own.
REGIONS = {n: f for n, f in FUNCTIONS.items() if "boxes" in parameters(f)}


def pools(prefix):
    return {
        n: f for n, f in FUNCTIONS.items()
        if n.endswith("_pool") and (n.startswith("global_") if prefix else "padding" in parameters(f))
    }  # fmt: skip


@pytest.mark.parametrize("is_global", [False, True], ids=["window", "global"])
def test_pools_share_their_arguments(is_global):
    """The same order and the same defaults; what is a function's own comes last."""
    common = (
        ["x", "axes", "keepdims", "where", "empty_value"]
        if is_global
        else [
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
    )
    defaults = {"strides": None, "padding": "VALID", "dilation": 1, "ceil_mode": False,
                "where": None, "empty_value": 0, "keepdims": False}  # fmt: skip
    for name, function in pools(is_global).items():
        found = {
            n: p for n, p in parameters(function).items() if n != "logits"
        }  # an array, as x is
        assert list(found)[: len(common)] == common, name
        for argument, default in defaults.items():
            if argument in found:
                assert found[argument].default == default, (name, argument)
    if not is_global:
        for function in pools(False).values():
            assert parameters(function)["axes"].default is None


def test_regions_share_their_arguments():
    """Arrays, then `output_shape`, which all may be positional; the rest only by name."""
    assert len(REGIONS) >= 7
    assert all("roi" in name or name == "crop_and_resize" for name in REGIONS)
    defaults = {"spatial_scale": 1.0, "sampling_ratio": 2, "aligned": True}
    for name, function in REGIONS.items():
        found = parameters(function)
        positional = [p.name for p in found.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
        rest = list(found)[len(positional) :]
        assert positional[0] in ("x", "features"), name
        assert positional[1] == "boxes"
        assert positional[-1] == ("crop_size" if name == "crop_and_resize" else "output_shape")
        assert {found[n].kind for n in rest} == {inspect.Parameter.KEYWORD_ONLY}
        assert [n for n in rest if n in defaults] == [n for n in defaults if n in rest]
        for argument in set(defaults) & set(rest):
            assert found[argument].default == defaults[argument], (name, argument)


# Where the text of a shared argument has a reason to differ.
OWN_WORDS = {
    ("padding", "window"): r" As in ``\(.*\)``\.",  # what is padded with
    ("where", "window"): r" Floats are weights of a weighted mean\.",
    ("where", "global"): r" Floats are weights of a weighted mean\.",
    ("x", "region"): r"(?<=C)\*P\*Q",  # channels of position-sensitive pools
    # Crops are of boxes in another order, and in parts of the map.
    ("boxes", "region"): r"with \(.*",
}
# Of norms and means, logarithms and weights, mixtures and ranks, filters and sums; what draws, and what for;
# distances and variances.
HOMONYMS = {"p", "sharpness", "alpha", "key", "deterministic", "kernel", "weights", "epsilon"}


@pytest.mark.parametrize("kind", ["window", "global", "region"])
def test_shared_arguments_are_explained_in_the_same_words(kind):
    texts = {}
    for name, function in (REGIONS if kind == "region" else pools(kind == "global")).items():
        for argument, text in sections(function)[1]["Args"].items():
            own = OWN_WORDS.get((argument, kind))
            text = re.sub(own, "", text) if own else text
            texts.setdefault(argument, {}).setdefault(text, []).append(name)
    assert {a: t for a, t in texts.items() if len(t) > 1 and a not in HOMONYMS} == {}


def test_window_explains_its_arguments_as_the_pools_do():
    of_window, of_pool = (sections(f)[1]["Args"] for f in (jaxpool.Window, jaxpool.max_pool))
    for argument in of_window:
        words = re.sub(OWN_WORDS["padding", "window"], "", of_pool[argument])
        words = words.replace(" All others are batch, in any number, none included.", "")
        assert of_window[argument] == words, argument


def test_documented_is_public():
    pages = sorted((DOCS / "api").glob("*.md")) or sorted(DOCS.glob("api*.md"))
    assert pages, "there is an API page"
    documented = {"jaxpool": set(), "jaxpool.linen": set(), "jaxpool.nnx": set()}
    for page in pages:
        module = "jaxpool"
        for line in page.read_text().split("\n"):
            if found := re.match(r"\.\. currentmodule:: (\S+)", line):
                module = found[1]
            elif found := re.match(r"   (\w+)$", line):
                documented[module].add(found[1])
    assert documented["jaxpool"] == set(PUBLIC)


def test_domains_and_reductions_are_frozen_and_hashable():
    for value in (
        jaxpool.Window((2, 2)), jaxpool.Global(0), jaxpool.Max(), jaxpool.Min(), jaxpool.Sum(),
        jaxpool.Mean(), jaxpool.Lp(2), jaxpool.Adaptive((2, 2)), jaxpool.Intervals([[0]], [[1]]),
        jaxpool.Groups(2), jaxpool.Median(),
    ):  # fmt: skip
        arguments = {jaxpool.Window: [(2, 2)], jaxpool.Global: [0], jaxpool.Adaptive: [[2, 2]],
                     jaxpool.Intervals: [[[0]], [(1,)]], jaxpool.Groups: [2]}.get(type(value), [])  # fmt: skip
        assert hash(value) == hash(type(value)(*arguments))
        assert value == type(value)(*arguments)
        for field in list(vars(value))[:1]:
            with pytest.raises(AttributeError):
                setattr(value, field, 3)


def test_a_type_checker_finds_types():
    assert (pathlib.Path(jaxpool.__file__).parent / "py.typed").exists()


IMPORTS = """
import sys
import jaxpool
loaded = {name.split(".")[0] for name in sys.modules}
heavy = {"chex", "flax", "torch", "tensorflow", "optax", "matplotlib", "sklearn", "scipy.ndimage"}
print(sorted(loaded & heavy), hasattr(jaxpool, "linen"), hasattr(jaxpool, "nnx"))
import jax
print(jax._src.xla_bridge._backends)
"""


def test_importing_loads_no_framework_and_starts_no_backend():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IMPORTS], capture_output=True, text=True, check=True,
        cwd=DOCS.parent,
    )  # fmt: skip
    assert done.stdout.split("\n")[:2] == ["[] False False", "{}"]
