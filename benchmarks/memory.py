"""A corpus several times larger than the memory the process may have is prepared and trained on.

A child process in a memory control group of CAP bytes (the kernel kills it at the first page beyond) prepares a synthetic corpus RATIO
times as large and trains a few steps. Needs the right to make control groups (root). ``python benchmarks/memory.py`` prints JSON.

``python benchmarks/memory.py FOLDER GLOB 0.2GB 1GB`` prepares samples of so much of one's own files instead, trains a few steps on each,
and prints peak memory of each stage, CPU seconds and what lies in the cache, without a cap and so without any right.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

CAP = int(os.environ.get("WINDTUNNEL_MEMORY_CAP", 1 << 30))
RATIO = float(os.environ.get("WINDTUNNEL_MEMORY_RATIO", 2.5))
GROUPS = Path("/sys/fs/cgroup")


@contextlib.contextmanager
def capped() -> Iterator[Path]:
    """The file that a process writes its number into to live under the cap from then on."""
    first = (GROUPS / "memory").is_dir()  # version 1 keeps a tree for each resource
    group = (GROUPS / "memory" if first else GROUPS) / f"windtunnel-{os.getpid()}"
    group.mkdir()
    (group / ("memory.limit_in_bytes" if first else "memory.max")).write_text(str(CAP))
    try:
        yield group / "cgroup.procs"
    finally:
        group.rmdir()


def write_corpus(folder: Path, size: int) -> None:
    """Documents of random words from a vocabulary of 8,000, some 20 kB each, as JSON lines in files of 256 MiB."""
    chooser = random.Random(0)
    words = ["".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=chooser.randint(2, 10))) for _ in range(8_000)]
    pieces = [" ".join(chooser.choices(words, k=400)) for _ in range(4000)]
    written, number = 0, 0
    while written < size:
        with open(folder / f"part-{number:03d}.jsonl", "w") as file:
            in_file = 0
            while in_file < 256 << 20 and written < size:
                line = json.dumps({"text": f"{chooser.random()} " + " ".join(chooser.choices(pieces, k=8))}) + "\n"
                file.write(line)
                in_file += len(line)
                written += len(line)
        number += 1


STAGES = {"reading": "read", "read": "read", "comparing": "compare", "learning": "tokenizer", "encoding": "encode"}  # first words


class Peak(threading.Thread):
    """The most anonymous memory this process has held in each stage, looked at every 50 ms, and the CPU seconds it had taken at its end.

    Pages of files the system can take back, anonymous ones it cannot.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.stage = "start"
        self.stages: dict[str, dict[str, float]] = {}

    def told(self, line: str) -> None:
        """Another stage begins where the first word of ``line`` names one."""
        self.look()
        self.stage = STAGES.get(line.split()[0], self.stage)

    def look(self) -> None:
        """Enter what is held now."""
        found = re.search(r"RssAnon:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
        before = self.stages.get(self.stage, {}).get("peak_anonymous_bytes", 0)
        held = max(before, int(found[1]) * 1024 if found else 0)
        self.stages[self.stage] = {"peak_anonymous_bytes": held, "cpu_seconds_at_its_end": round(time.process_time(), 1)}

    def run(self) -> None:
        """Look until the process ends."""
        while True:
            self.look()
            time.sleep(0.05)


def child(corpus: str, out: str, group: str) -> None:
    """Prepare and train, under the cap if there is one; print peak memory and times."""
    if group:
        Path(group).write_text(str(os.getpid()))
    from windtunnel.recipe import recipe_from
    from windtunnel.train.prepare import prepare
    from windtunnel.train.run import fly

    recipe = recipe_from(
        {
            "corpus": {"big": json.loads(corpus)},
            "budget": {"steps": 5},
            "model": {"depth": 4},
            "evaluation_tokens": 1024,
            "test_tokens": 1024,
        }
    )
    anonymous = Peak()
    anonymous.start()
    began = time.perf_counter()
    anonymous.stage = "read"
    stream = prepare(recipe, Path(out) / "cache", anonymous.told)
    prepared = time.perf_counter()
    anonymous.stage = "train"
    record = fly(recipe, 0, stream, Path(out) / "run")
    assert record["status"] == "finished", record["traceback"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    cache = sum(file.stat().st_size for file in (Path(out) / "cache").rglob("*") if file.is_file())
    found = {"prepare_seconds": prepared - began, "cpu_seconds": time.process_time(), "peak_resident_bytes": peak, "cache_bytes": cache}
    sizes = {"bytes": sum(row["bytes"] for row in stream.table if row["what"] == "read"), "tokens": sum(stream.sizes("train").values())}
    print(json.dumps(found | sizes | {"stages": anonymous.stages}))


def measured(corpus: object, out: str, group: str = "") -> dict[str, float]:
    """What the child says of ``corpus``, a source as a recipe writes it."""
    command = [sys.executable, __file__, "child", json.dumps(corpus), out, group]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def samples(folder: str, glob: str, sizes: list[str]) -> None:
    """A line of JSON for each size."""
    for size in sizes:
        with tempfile.TemporaryDirectory() as out:
            found = measured({"files": {"path": folder, "glob": glob, "sample": size}}, out)
        print(json.dumps({"sample": size, **found}), flush=True)


def main() -> None:
    """Write the corpus, run the child, report."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        write_corpus(corpus, int(CAP * RATIO))
        size = sum(path.stat().st_size for path in corpus.iterdir())
        with capped() as group:
            result = measured(str(corpus), folder, str(group))
    json.dump({"cap_bytes": CAP, "corpus_bytes": size, "corpus_over_cap": size / CAP, **result}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(*sys.argv[2:5])
    elif len(sys.argv) > 3:
        samples(sys.argv[1], sys.argv[2], sys.argv[3:])
    else:
        main()
