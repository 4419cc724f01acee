"""Configuration of the documentation: ``sphinx-build -W -b html docs docs/_build``."""

import inspect
import shutil
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.utils.math import latex2mathml
from sklearn.datasets import load_digits
from sphinx import addnodes
from sphinx.util.inspect import stringify_signature

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import pictures  # noqa: E402
import reference  # noqa: E402

import jaxpool  # noqa: E402
import jaxpool.nnx  # noqa: E402
from benchmarks import chart  # noqa: E402

project = "jaxpool"
author = "The jaxpool authors"
copyright = "The jaxpool authors"
release = jaxpool.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_templates", "gallery_header.rst"]
templates_path = ["_templates"]

# In docstrings, `max_pool` links to its page, and what has none, like `where`, is shown as code.
default_role = "py:obj"
rst_prolog = r".. |x| replace:: \|x\|"  # docstrings mean the absolute value, not a substitution
highlight_language = "python3"
myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"

autosummary_generate = True
autodoc_inherit_docstrings = False  # a domain's page shows what is particular to it
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 79
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Derivatives"]

# The gallery's front page has to lie beside its examples, but belongs to the documentation.
EXAMPLES = HERE / "_build" / "examples"
shutil.rmtree(EXAMPLES, ignore_errors=True)
EXAMPLES.mkdir(parents=True)
for example in sorted((HERE.parent / "examples").glob("plot_*.py")):
    shutil.copy(example, EXAMPLES)
shutil.copy(HERE / "gallery_header.rst", EXAMPLES / "GALLERY_HEADER.rst")

reference.check(reference.OTHER_NAMES)
reference.write_layers()

sphinx_gallery_conf = {
    "examples_dirs": str(EXAMPLES),
    "gallery_dirs": "gallery",
    # Each public name's page shows the examples that call it, and their code links to it.
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("jaxpool",),
    "reference_url": {"jaxpool": None},
    "filename_pattern": r"/plot_",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,  # whose page asks for scripts from elsewhere
    "show_signature": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = "jaxpool"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["custom.css"]


def strip_code(app: Any, doctree: nodes.document) -> None:
    """Takes off the blank line that doctest needs between an output and the end of a fence."""
    for block in doctree.findall(nodes.literal_block):
        if len(block) == 1 and isinstance(block[0], nodes.Text):
            block.rawsource = block.rawsource.rstrip()
            block[0] = nodes.Text(block.astext().rstrip())


def link_names(app: Any, doctree: nodes.document) -> None:
    """Pages in Markdown show names as code; those that have a page link to it."""
    for code in list(doctree.findall(nodes.literal)):
        modules = [m for m in (jaxpool, jaxpool.nnx) if hasattr(m, code.astext())]
        if modules and isinstance(code.parent, nodes.TextElement) and "py" not in code["classes"]:
            if isinstance(code.parent, nodes.reference | nodes.title | addnodes.pending_xref):
                continue
            target = f"{modules[0].__name__}.{code.astext()}"
            link = addnodes.pending_xref(
                "", refdomain="py", reftype="obj", reftarget=target, refdoc=app.env.docname
            )
            code.replace_self(link)
            link += code


def show_fields(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returned: str
) -> Any:
    """The fields of a layer: NNX's own signature is ``(*args, **kwargs)``, Linen adds two."""
    if what != "class" or not name.startswith(("jaxpool.linen.", "jaxpool.nnx.")):
        return None
    whole = inspect.signature(obj.__init__)
    fields = [p for p in whole.parameters.values() if p.name not in ("self", "parent", "name")]
    whole = whole.replace(parameters=fields, return_annotation=inspect.Signature.empty)
    return stringify_signature(whole, unqualified_typehints=True), None


def add_links(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Links between a function and its layers, and the names that people search for."""
    if what in ("function", "class"):
        lines += reference.links(name)


PICTURES = pictures.pictures(load_digits().images[0] / 16)
PICTURES |= {f"chart-{name}": chart.draw(name, "currentColor") for name in chart.CHARTS}


def picture_role(
    name: str, rawtext: str, text: str, lineno: int, inliner: Any, *_: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """A drawing within a line, as ``{picture}`max_pool```."""
    return [nodes.raw("", PICTURES[text], format="html")], []


class Picture(Directive):
    """A drawing by itself, wide ones in a box that scrolls."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        drawn = f'<div class="picture">{PICTURES[self.arguments[0]]}</div>'
        return [nodes.raw("", drawn, format="html")]


def write_math(translator: Any, node: nodes.Element) -> None:
    """Formulas as MathML, which browsers draw without a script from elsewhere."""
    block = isinstance(node, nodes.math_block)
    formula = latex2mathml.tex2mathml(node.astext(), as_block=block)
    translator.body.append(formula)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.add_role("picture", picture_role)
    app.add_directive("picture", Picture)
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("autodoc-process-signature", show_fields)
    app.connect("autodoc-process-docstring", add_links, priority=900)  # after napoleon
    app.connect("doctree-read", strip_code)
    app.connect("doctree-read", link_names)
