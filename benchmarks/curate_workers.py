"""`windtunnel curate` with two workers against one: CPU seconds per document, and whether what they write is the same.

``python benchmarks/curate_workers.py [FOLDER ...]`` prints one JSON object; without a folder the source files of the packages installed
beside this Python are read, in the order of their names up to ``--megabytes``. In pairs of alternating order each curates them from the
beginning, in a process of its own; ``ratio`` is the median of CPU seconds of the process tree with two workers over those with one, at most
1.1 is asked. ``same`` says whether documents and victims are equal, byte for byte where the format is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from curate import CURATORS, sample

CURATE = """
import json, sys
import windtunnel as wt
wt.curate({"all": sys.argv[1]}, sys.argv[2], curators=json.loads(sys.argv[3]), workers=int(sys.argv[4]), quiet=True)
"""


def spent(words: list[str]) -> float:
    """CPU seconds of a process and all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def written(out: Path) -> str:
    """A hash of all documents and victims in ``out``."""
    from pyarrow import parquet

    digest = hashlib.sha256()
    for file in sorted([*(out / "documents").rglob("*.parquet"), out / "victims.parquet"]):
        digest.update(repr(parquet.read_table(file).to_pylist()).encode())
    return digest.hexdigest()


def measure(folders: list[Path], megabytes: float, pairs: int) -> dict[str, Any]:
    """The measurement as a dictionary."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    hashes = set()
    with tempfile.TemporaryDirectory() as name:
        documents = Path(name) / "documents"
        files, size = sample(folders, documents, megabytes)
        for pair in range(pairs):
            for workers in (1, 2) if pair % 2 else (2, 1):
                with tempfile.TemporaryDirectory() as out:
                    words = [sys.executable, "-c", CURATE, str(documents), out, json.dumps(CURATORS), str(workers)]
                    seconds[workers].append(spent(words))
                    print(f"pair {pair + 1}: {workers} took {seconds[workers][-1]:.1f} CPU seconds", file=sys.stderr, flush=True)
                    hashes.add(written(Path(out)))
    return {
        "files": files,
        "bytes": size,
        "pairs": pairs,
        "asked": {"ratio": 1.1, "same": True},
        "cpu_seconds": seconds,
        "ratio": statistics.median(two / one for one, two in zip(seconds[1], seconds[2], strict=True)),
        "same": len(hashes) == 1,
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="windtunnel curate with two workers")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_paths()["purelib"])])
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--pairs", type=int, default=3)
    arguments = parser.parse_args()
    json.dump(measure(arguments.folders, arguments.megabytes, arguments.pairs), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
