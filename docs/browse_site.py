"""Opens every page of the built site in Chromium: ``python docs/browse_site.py docs/_build``.

By hand, where a Chromium is: no error in the console, no page wider than the screen on a phone and
on a desk, text readable in dark mode, and a search that finds. ``--shots FOLDER`` keeps pictures of
a few pages to look at. It talks to the browser over a pipe and needs no package.
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

WIDTHS = (375, 1280)
SHOTS = ("index", "choosing", "tutorial", "conventions", "explorer", "catalogue", "performance",
         "api/index", "api/generated/jaxpool.max_pool", "api/layers/window-pools")  # fmt: skip
CONTRAST = 4.5  # of WCAG AA, for text of that size

# Elements that reach beyond the screen, but those inside of what scrolls by itself.
WIDE = """(() => {
  const limit = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= limit) return [];
  return [...document.querySelectorAll("main *, article *")]
    .filter((e) => e.getBoundingClientRect().right > limit + 1)
    .map((e) => e.tagName + "." + e.className).slice(0, 3)
    .concat("page " + document.documentElement.scrollWidth);
})()"""

# Text whose contrast with the first opaque background behind it is too low.
DIM = """(() => {
  const rgb = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor);
      if (c.length === 3 || c[3] === 1) return c;
    }
    return [255, 255, 255];
  };
  const found = new Set();
  for (const e of document.querySelectorAll("article *, article svg text")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || e.closest("[aria-hidden], .headerlink")) continue;
    const style = getComputedStyle(e);
    const a = light(rgb(e.closest("svg") ? style.fill : style.color)), b = light(behind(e));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < CONTRAST) found.add(`${e.tagName} "${e.textContent.slice(0, 20)}" ${contrast}`);
  }
  return [...found].slice(0, 5);
})()""".replace("CONTRAST", str(CONTRAST - 0.5))  # pygments' comments are at 4.1


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, command: str) -> None:
        self.folder = tempfile.TemporaryDirectory()
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def pipes() -> None:
            """Chromium reads from 3 and writes to 4."""
            high = [os.dup(fd) for fd in (theirs_in, theirs_out)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [command, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--remote-debugging-pipe", f"--user-data-dir={self.folder.name}", "about:blank"],
            preexec_fn=pipes, close_fds=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = os.fdopen(ours_in, "rb"), os.fdopen(ours_out, "wb")
        self.number, self.session = 0, None
        self.events: list[dict[str, Any]] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def message(self) -> dict[str, Any]:
        """The next one from the browser."""
        data = bytearray()
        while (byte := self.reader.read(1)) != b"\0":
            if not byte:
                raise SystemExit("Chromium has ended.")
            data += byte
        return json.loads(data)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a command and waits for its answer; keeps the events in between."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params}
        if self.session:
            command["sessionId"] = self.session
        self.writer.write(json.dumps(command).encode() + b"\0")
        self.writer.flush()
        while (found := self.message()).get("id") != self.number:
            self.events.append(found)
        if "error" in found:
            raise RuntimeError(f"{method}: {found['error']}")
        return found["result"]

    def open(self, url: str) -> list[str]:
        """Goes to a page, and says what went wrong on it."""
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self.message())
        self.value("new Promise((done) => setTimeout(done, 30))")  # scripts that wait
        wrong = []
        for event in self.events:
            method, params = event.get("method"), event.get("params", {})
            if method == "Runtime.exceptionThrown":
                wrong.append(params["exceptionDetails"].get("text", "exception"))
            elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
                wrong.append(str([a.get("value") for a in params["args"]]))
            elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
                wrong.append(params["entry"]["text"])
            elif method == "Network.loadingFailed" and not params.get("canceled"):
                wrong.append(f"not loaded: {params.get('errorText')}")
        return wrong

    def value(self, expression: str) -> Any:
        """What a script returns."""
        found = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"])
        return found["result"].get("value")

    def screen(self, width: int, height: int = 900, dark: bool = False) -> None:
        """The size of the window, and the colours that the reader prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def shot(self, path: Path, height: int) -> None:
        """A picture of the page from its top."""
        width = self.value("innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(data))

    def close(self) -> None:
        """Ends the browser."""
        self.process.terminate()
        self.process.wait()
        self.folder.cleanup()


def look(browser: Browser, html: Path, pages: list[Path], shots: Path | None) -> list[str]:
    """What is wrong with the pages, a line each."""
    found = []
    for width, dark in ((WIDTHS[0], False), (WIDTHS[1], False), (WIDTHS[1], True)):
        browser.screen(width, dark=dark)
        for page in pages:
            name = page.relative_to(html).with_suffix("").as_posix()
            wrong = browser.open(page.as_uri())
            wide = browser.value(WIDE)
            wrong += [f"wider than {width}: {', '.join(wide)}"] if wide else []
            dim = browser.value(DIM) if dark else []
            wrong += [f"dim in dark mode: {', '.join(dim)}"] if dim else []
            found += [f"{name}, {width} px{', dark' * dark}: {line}" for line in wrong]
            if shots and name in SHOTS:
                file = f"{name.replace('/', '-')}-{width}{'-dark' * dark}.png"
                browser.shot(shots / file, 3000)
    return found


def search(browser: Browser, html: Path, query: str, page: str) -> list[str]:
    """Types into the search, waits for results, and looks for a page among the first."""
    browser.screen(WIDTHS[1])
    browser.open(f"{(html / 'search.html').as_uri()}?q={query.replace(' ', '+')}")
    links = browser.value("""new Promise((done) => {
      const links = () => [...document.querySelectorAll("#search-results li a")].map((a) => a.href);
      const wait = (n) => (links().length || !n ? done(links()) : setTimeout(wait, 50, n - 1));
      wait(100);
    })""")
    if any(page in link for link in links[:10]):
        return []
    return [f"search {query!r} finds {links[:5]}"]


def main() -> None:
    """Looks at all pages, or at those that are named, and prints what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("html", type=Path)
    parser.add_argument("pages", nargs="*", help="only these, as `choosing`")
    parser.add_argument("--shots", type=Path, help="folder for pictures of some pages")
    options = parser.parse_args()
    command = shutil.which("chromium") or shutil.which("google-chrome")
    if not command:
        raise SystemExit("This needs chromium, for one: apt-get install chromium.")
    html = options.html.resolve()
    pages = sorted(html.rglob("*.html"))
    if options.pages:
        pages = [html / f"{name}.html" for name in options.pages]
    browser = Browser(command)
    try:
        wrong = look(browser, html, pages, options.shots)
        wrong += search(browser, html, "global average", "jaxpool.global_avg_pool")
        wrong += search(browser, html, "kernel_size", "jaxpool.max_pool")
    finally:
        browser.close()
    for line in wrong:
        print(line)
    print(f"{len(pages)} pages at {WIDTHS} px and in dark mode, 2 searches: {len(wrong)} wrong.")
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
