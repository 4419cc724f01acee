"""What checks the documentation sees what is wrong with a site; and no layer is without a page."""

import importlib
import inspect
import pathlib

import pytest

import jaxpool
import jaxpool.nnx

TESTS_OF = ()  # of docs/

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
GOOD = (
    '<html><body><h1 id="top">A</h1><p>text<p>more <img src="a.png" alt="a square"></body></html>'
)


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    return importlib.import_module


@pytest.mark.parametrize(
    ("html", "complaint"),
    [
        (GOOD, None),
        ('<html><a href="other.html#there">x</a></html>', None),
        ('<html><a href="https://elsewhere.org/#x">x</a><a href="#">x</a></html>', None),
        ('<html><img src="a.png"></html>', "without words"),
        ('<html><img src="a.png" alt=" "></html>', "without words"),
        ('<html><svg role="img"><path d="M0 0"/></svg></html>', "without words"),
        ("<html><div></html>", "</html> closes nothing"),
        ('<html><p id="a">x</p><p id="a">y</p></html>', "the anchor 'a' is there twice"),
        ('<html><a href="gone.html">x</a></html>', "gone.html: no such file"),
        ('<html><a href="other.html#gone">x</a></html>', "other.html#gone: no such anchor"),
        ('<html><a href="#gone">x</a></html>', "#gone: no such anchor"),
        ('<html><script src="gone.js"></script></html>', "gone.js: no such file"),
    ],
)
def test_the_crawler_says_what_is_wrong(load, html, complaint, tmp_path):
    check = load("check_site")
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "other.html").write_text('<html><h1 id="there">B</h1></html>')
    (tmp_path / "page.html").write_text(html)
    found = check.complaints(tmp_path, check.read(tmp_path))
    assert [line for line in found if not line.startswith("page.html: ")] == []
    if complaint is None:
        assert found == []
    else:
        assert any(complaint in line for line in found), found


def test_every_layer_is_on_the_page_of_one_family(load):
    reference = load("reference")
    shown = [layer for layers in reference.families().values() for layer in layers]
    layers = [n for n, v in vars(jaxpool.nnx).items()
              if inspect.isclass(v) and v.__module__ == "jaxpool.nnx" and n[0] != "_"]  # fmt: skip
    assert sorted(shown) == sorted(layers)


def test_docstrings_link_to_layers_and_back(load):
    reference = load("reference")
    function = "\n".join(reference.links("jaxpool.gem_pool"))
    for layer in ("nnx.GemPool", "linen.GemPool", "nnx.LearnedGemPool"):
        assert f"<jaxpool.{layer}>" in function
    assert "<jaxpool.gem_pool>" in "\n".join(reference.links("jaxpool.linen.LearnedGemPool"))
    assert "! single: GAP" in "\n".join(reference.links("jaxpool.global_avg_pool"))
    reference.check(reference.OTHER_NAMES)
    with pytest.raises(ValueError, match="no such function or class: no_pool"):
        reference.check({"no_pool": "nothing"})


def test_searches_that_are_checked_lead_to_public_names(load):
    pages = load("check_site").QUERIES.values()
    assert all(hasattr(jaxpool, page.rpartition(".")[2]) for page in pages)


def test_figures_show_the_geometry_of_the_library(load):
    """As many dots as windows have elements, and words for all."""
    pictures = load("pictures")
    window = jaxpool.Window(4, 2, "SAME", axes=0)
    drawn = pictures.axis_picture(7, [("SAME", window)], "words & more")
    assert drawn.count("<circle") == 4 * window.output_shape((7,))[0]
    assert drawn.count("stroke-dasharray") == 1 + 2
    assert 'aria-label="words &amp; more"' in drawn
