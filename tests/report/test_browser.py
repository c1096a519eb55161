"""The report in headless Chromium: charts drawn, no error, no request, readable on a phone, dark and light.

Skipped where the browser or playwright is missing, except under CI, where a missing browser is a failure: a check that silently does
not happen is none. Screenshots are written to pytest's temporary folder.
"""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from example_result import awkward, example

from windtunnel.commands.watch import serve
from windtunnel.report import atlas, page
from windtunnel.study.papers import list_papers

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)

# Text nodes that can be seen, each with the contrast of its colour to the first painted background behind it (WCAG 2 formula).
# Rows whose repeated first cell is hidden from the eye on purpose (class "same") are left out.
CONTRASTS = """() => {
  const parse = (colour) => { const m = colour.match(/[\\d.]+/g).map(Number); return m.length > 3 ? m : [...m, 1]; };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
  const linear = (v) => { v /= 255; return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
  const luminance = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
  const background = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("tr.same > :first-child")) continue;
    const style = getComputedStyle(element);
    const below = background(element);
    const colour = over(parse(element instanceof SVGElement ? style.fill : style.color), below);
    const [dark, bright] = [luminance(colour), luminance(below)].sort((a, b) => a - b);
    found.push([(bright + 0.05) / (dark + 0.05), text.slice(0, 40), element instanceof SVGElement]);
  }
  return found;
}"""

DRAWN = """() => [...document.querySelectorAll("figure svg[role=img]")].filter((svg) => svg.checkVisibility()).map((svg) => {
  const box = svg.getBoundingClientRect();
  const marks = [...svg.querySelectorAll("path, line, rect, text")].filter((mark) => mark.getBBox().width + mark.getBBox().height > 0);
  const texts = [...svg.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
  const size = Math.min(...[...svg.querySelectorAll("text")].map((text) => parseFloat(text.getAttribute("font-size"))));
  return { width: box.width, height: box.height, marks: marks.length, scale: box.width / svg.viewBox.baseVal.width, size,
           left: Math.min(...texts.map((text) => text.left)), right: Math.max(...texts.map((text) => text.right)) };
})"""

BESIDE = """() => {
  const box = (what) => document.querySelector(what).getBoundingClientRect();
  return [box(".verdicts").top, box(".first figure").top, box(".verdicts").right, box(".first figure").left];
}"""

OUTSIDE = """() => [...document.querySelectorAll(".cards tbody td, .cards tbody th")]
  .filter((cell) => cell.checkVisibility() && cell.getBoundingClientRect().right > innerWidth).map((cell) => cell.textContent)"""


CUT = """() => [...document.querySelectorAll(".scroll")].filter((box) => box.checkVisibility() && box.scrollWidth > box.clientWidth)
  .map((box) => `${box.scrollWidth} of ${box.clientWidth}: ${box.textContent.slice(0, 60)}`)"""


def missing(what: str) -> NoReturn:
    """Skip, or fail under CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what}, and under CI the report must be looked at: install Debian's chromium and the test extra")
    pytest.skip(f"{what}: the report is not looked at here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed")
    candidates = ("/usr/bin/chromium", shutil.which("chromium"), shutil.which("google-chrome"))
    path = next((found for found in candidates if found and Path(found).exists()), None)
    if path is None:
        missing("there is no Chromium at /usr/bin/chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield started
        started.close()


def test_a_missing_browser_is_a_failure_under_ci_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="must be looked at"):
        missing("there is no browser")
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="not looked at here"):
        missing("there is no browser")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    return {name: page(make(), folder / name) for name, make in (("example", example), ("awkward", awkward))}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
@pytest.mark.parametrize("name", ["example", "awkward"])
def test_the_report_in_a_browser(browser: Any, pages: dict[str, Path], tmp_path: Path, name: str, width: int, scheme: str) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        tab.on("request", lambda request: requests.append(request.url))
        tab.goto(pages[name].as_uri())
        tab.evaluate("document.querySelectorAll('details').forEach((entry) => { entry.open = true; })")
        tab.screenshot(path=tmp_path / f"{name}-{width}-{scheme}.png", full_page=True)

        assert complaints == []
        assert [url for url in requests if not url.startswith(("file://", "data:"))] == []
        assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the body scrolls sideways"

        drawings = tab.evaluate(DRAWN)
        assert len(drawings) == 2
        for drawing, room in zip(drawings, (440, 900), strict=True):  # the differences stand beside the verdicts
            assert drawing["marks"] > 20 and drawing["width"] > 0.8 * min(width, room) - 60 and drawing["height"] > 100, drawing
            assert drawing["scale"] * drawing["size"] >= 10, f"text of {drawing['scale'] * drawing['size']:.1f} px is too small to read"
            assert drawing["left"] >= 0 and drawing["right"] <= width, f"text runs out of the page: {drawing}"

        beside = tab.evaluate(BESIDE)
        assert (abs(beside[0] - beside[1]) < 20 and beside[2] <= beside[3]) == (width == 1200), beside
        assert width == 1200 or tab.evaluate(OUTSIDE) == [], "on a phone nothing of a card is outside"
        assert width == 360 or name == "awkward" or tab.evaluate(CUT) == [], "no table is cut at the edge of a wide page"

        contrasts = tab.evaluate(CONTRASTS)
        assert len(contrasts) > 100
        assert [entry for entry in contrasts if entry[0] < (3 if entry[2] else 4.5)] == []
        assert (tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(252, 252, 251)") == (scheme == "light")
    finally:
        context.close()


def test_the_atlas_shows_the_area_that_is_chosen(browser: Any, tmp_path: Path) -> None:
    found = atlas.entries(list_papers())
    context = browser.new_context(viewport={"width": 360, "height": 800})
    try:
        tab = context.new_page()
        tab.goto(atlas.page(found, tmp_path / "atlas.html").as_uri())
        assert tab.locator("tbody tr:visible").count() == len(found)
        tab.get_by_label("laws").check()
        assert tab.locator("tbody tr:visible").count() == sum(entry.paper.area == "laws" for entry in found)
        tab.get_by_label("not reproduced").check()
        both = sum((entry.paper.area, entry.outcome) == ("laws", "not reproduced") for entry in found)
        assert tab.locator("tbody tr:visible").count() == both > 0
        assert tab.evaluate("document.documentElement.scrollWidth") <= 360, "the body scrolls sideways"
    finally:
        context.close()


def test_the_live_page_in_a_browser(browser: Any, tmp_path: Path) -> None:
    """A run that flies: its loss, on a phone too, and again when it has fallen; nothing is asked of anybody else."""
    log = tmp_path / "runs" / "flying" / "log.jsonl"
    log.parent.mkdir(parents=True)
    numbers = ("step_seconds", "step_seconds_95", "data_share", "memory_bytes")
    speed = {"tokens_per_second": 12345.0, **dict.fromkeys(numbers, 0.5)}
    lines = [json.dumps({"step": n, "loss": 7.375 - n, "seconds": n, "done": n / 9, "speed": speed}) + "\n" for n in (1, 2)]
    log.write_text(lines[0])
    complaints, requests = list[str](), list[str]()
    context = browser.new_context(viewport={"width": 360, "height": 800})
    with serve(tmp_path, 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        try:
            tab = context.new_page()
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.on("request", lambda request: requests.append(request.url))
            tab.goto(address)
            assert "6.375" in tab.inner_text("body") and "12.3 k" in tab.inner_text("body")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360, "the body scrolls sideways"
            assert [entry for entry in tab.evaluate(CONTRASTS) if entry[0] < (3 if entry[2] else 4.5)] == []
            with log.open("a") as file:
                file.write(lines[1])
            tab.get_by_text("5.375").first.wait_for(timeout=60_000)  # the page loads again by itself
            tab.screenshot(path=tmp_path / "live.png", full_page=True)
        finally:
            context.close()
            server.shutdown()
    assert [said for said in complaints if "favicon" not in said and "404" not in said] == []
    assert [url for url in requests if not url.startswith((address, "data:"))] == []
