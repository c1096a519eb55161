"""`windtunnel curate` of many real documents, cold: CPU minutes and peak memory, against reading the same documents alone.

``python benchmarks/curate.py [FOLDER ...]`` prints one JSON object; without a folder the source files of the packages installed beside
this Python are read. Documents are normalised, near-duplicates and personal data go, and the cascade judges the rest. The documents are
taken in the order of their names up to ``--megabytes`` (``small``), and up to ``--times`` as many (``large``). 6 CPU minutes for 200 MB
are asked; ``memory_ratio`` is the peak of what the process holds of its own (anonymous memory) on the large corpus against that on the
small one, and 1.2 is asked. ``resident_ratio`` counts pages of files that are mapped too, which the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

SUFFIXES = (".py", ".c", ".h", ".txt", ".md", ".rst", ".html", ".jsonl", ".json")
CURATORS = ["normalise", {"near-duplicates": {"similarity": 0.7}}, "personal-data", {"cascade": {"whole_sentences": True}}]
CHILD = """
import json, resource, sys, threading
import windtunnel as wt
sources, out, curators = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
peak, ended = 0, threading.Event()
def watch():
    global peak
    while not ended.wait(0.05):
        held = next(line for line in open("/proc/self/status") if line.startswith("RssAnon"))
        peak = max(peak, int(held.split()[1]) * 1024)
watcher = threading.Thread(target=watch)
watcher.start()
try:
    result = wt.curate(sources, out, curators=curators, quiet=True)
finally:
    ended.set()
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime, "own_peak_bytes": peak, "peak_bytes": used.ru_maxrss * 1024, "funnel": [
    [step["curator"], sum(n for n, _ in step["after"].values()), step["spent"]["cpu_seconds"]] for step in result["funnel"]]}))
"""


def sample(folders: list[Path], target: Path, megabytes: float) -> tuple[int, int]:
    """Link files into ``target`` up to so many megabytes; their number and bytes."""
    files = size = 0
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if size >= megabytes * 1e6:
                return files, size
            if path.is_file() and path.suffix in SUFFIXES and path.stat().st_size:
                place = target / f"{files // 1000:04d}"
                place.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place / f"{files:07d}{path.suffix}")
                files, size = files + 1, size + path.stat().st_size
    return files, size


def flown(documents: Path, curators: list[Any]) -> dict[str, Any]:
    """Curate in a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, "-c", CHILD, json.dumps({"all": str(documents)}), out, json.dumps(curators)]
        return json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)


def measure(folders: list[Path], megabytes: float, times: float) -> dict[str, Any]:
    """The measurement as a dictionary."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for size in ("small", "large"):
            documents = Path(name) / size
            files, held = sample(folders, documents, megabytes * (times if size == "large" else 1))
            began = time.time()
            spent = flown(documents, CURATORS)
            minutes = {"cpu_minutes": spent["cpu_seconds"] / 60, "wall_minutes": (time.time() - began) / 60, "load": os.getloadavg()[0]}
            found[size] = {
                "files": files,
                "bytes": held,
                **minutes,
                **{key: spent[key] for key in ("own_peak_bytes", "peak_bytes", "funnel")},
            }
            print(f"{size}: {held / 1e6:.0f} MB took {minutes['cpu_minutes']:.2f} CPU minutes", file=sys.stderr, flush=True)
        alone = flown(Path(name) / "small", [{"length": {"shortest": 0}}])
    return {
        "asked": {"cpu_minutes_of_small": 6.0, "memory_ratio": 1.2},
        **found,
        "reading_cpu_minutes_of_small": alone["cpu_seconds"] / 60,
        "memory_ratio": found["large"]["own_peak_bytes"] / found["small"]["own_peak_bytes"],
        "resident_ratio": found["large"]["peak_bytes"] / found["small"]["peak_bytes"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="windtunnel curate, cold")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_paths()["purelib"])])
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--times", type=float, default=10)
    arguments = parser.parse_args()
    json.dump(measure(arguments.folders, arguments.megabytes, arguments.times), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
