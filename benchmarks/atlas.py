"""The atlas of papers in headless Chromium: how large the page is, and how soon it answers. Prints JSON. Needs Debian's chromium."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from windtunnel.report import atlas
from windtunnel.study.known import not_built
from windtunnel.study.papers import list_papers

TIMES = 5
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def main() -> None:
    """Open the page, choose an area and an outcome, and wait for the rows that are then left, each time in a new tab."""
    papers = list_papers()
    missing, found = not_built(papers), atlas.entries(papers)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = atlas.page(found, Path(folder) / "atlas.html", missing)
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        opened, chosen, interactive, busy = [], [], [], []
        for _ in range(TIMES):
            tab = browser.new_page(viewport={"width": 1200, "height": 900})
            session = tab.context.new_cdp_session(tab)
            session.send("Performance.enable", {"timeDomain": "threadTicks"})
            begin = time.perf_counter()
            tab.goto(page.as_uri())
            tab.evaluate(PAINTED)
            opened.append(time.perf_counter() - begin)
            interactive.append(tab.evaluate("performance.getEntriesByType('navigation')[0].domInteractive") / 1000)
            begin = time.perf_counter()
            tab.locator("#area-data").check()
            tab.locator("#outcome-not-built").check()
            tab.evaluate(PAINTED)
            chosen.append(time.perf_counter() - begin)
            metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
            busy.append(metrics["TaskDuration"])
            left = tab.locator("tbody tr:visible").count()
            tab.close()
        browser.close()
        told = {
            "papers": len({slug for paper in papers for slug in paper.papers} | {paper.name for paper in missing}),
            "rows": len(found) + len(missing),
            "bytes": page.stat().st_size,
            "cpu_seconds_of_both": [round(one, 3) for one in busy],  # of the page's thread, which other work hardly changes
            "median_cpu_seconds": round(statistics.median(busy), 3),
            "seconds_to_interactive": [round(one, 3) for one in interactive],
            "seconds_to_open": [round(one, 3) for one in opened],
            "seconds_to_choose": [round(one, 3) for one in chosen],
            "rows_left": left,
            "load": os.getloadavg()[0],
        }
    print(json.dumps(told))


PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"

if __name__ == "__main__":
    main()
