"""`windtunnel curate` of many real documents, cold: CPU minutes and peak memory, against reading the same documents alone.

``python benchmarks/curate.py [FOLDER ...]`` prints one JSON object; without a folder the source files of the packages installed beside
this Python are read. Documents are normalised, near-duplicates and personal data go, and the cascade judges the rest. The documents are
taken in the order of their names up to ``--megabytes``. 6 CPU minutes for 200 MB are asked; ``memory_ratio`` is peak memory against that
of a tenth of the documents, and 1.2 is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

CURATORS = ["normalise", {"near-duplicates": {"similarity": 0.7}}, "personal-data", {"cascade": {"whole_sentences": True}}]
CHILD = """
import json, resource, sys, time
import windtunnel as wt
sources, out, curators = json.loads(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
result = wt.curate(sources, out, curators=curators, quiet=True)
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu_seconds": used.ru_utime + used.ru_stime, "peak_bytes": used.ru_maxrss * 1024, "funnel": [
    [step["curator"], sum(n for n, _ in step["after"].values()), step["spent"]["cpu_seconds"]] for step in result["funnel"]]}))
"""


def sample(folders: list[Path], target: Path, megabytes: float) -> tuple[int, int]:
    """Link files into ``target`` up to so many megabytes; their number and bytes."""
    files = size = 0
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if size >= megabytes * 1e6:
                return files, size
            if path.is_file() and path.suffix in (".py", ".txt", ".md", ".rst", ".html", ".jsonl", ".json") and path.stat().st_size:
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


def measure(folders: list[Path], megabytes: float) -> dict[str, Any]:
    """The measurement as a dictionary."""
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        sample(folders, few, megabytes / 10)
        files, size = sample(folders, many, megabytes)
        began = time.time()
        small, whole = flown(few, CURATORS), flown(many, CURATORS)
        alone = flown(many, [{"length": {"shortest": 0}}])
    return {
        "files": files,
        "bytes": size,
        "asked": {"cpu_minutes": 6.0, "memory_ratio": 1.2},
        "cpu_minutes": whole["cpu_seconds"] / 60,
        "reading_cpu_minutes": alone["cpu_seconds"] / 60,
        "memory_ratio": whole["peak_bytes"] / small["peak_bytes"],
        "peak_bytes": whole["peak_bytes"],
        "funnel": whole["funnel"],
        "seconds": time.time() - began,
        "load": os.getloadavg()[0],
        "own_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="windtunnel curate, cold")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_paths()["purelib"])])
    parser.add_argument("--megabytes", type=float, default=200)
    arguments = parser.parse_args()
    json.dump(measure(arguments.folders, arguments.megabytes), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
