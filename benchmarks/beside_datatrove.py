"""`windtunnel curate` beside datatrove 0.10: the rules of Gopher and MinHash near-deduplication of the same documents, in CPU seconds.

``python benchmarks/beside_datatrove.py PYTHON FOLDER ...`` prints one JSON object. PYTHON is that of an environment with
``datatrove[processing]`` 0.10 and ``spacy``. Text files below the folders are cut to 20,000 characters; ``--documents`` of them, every
tenth given a copy with one word replaced, are JSON lines that both read. In pairs of alternating order each curates all of them in a
process of its own: ``ratio`` is documents per CPU second of the process tree, ours over theirs, with what ten documents take (starting,
for the most part) left out; ``ratio_with_start`` leaves nothing out. At least 5 is asked. What one of them alone removes is listed with its
reason. Gopher's rule that four of five words have letters is off on both sides: to datatrove, which splits words by spacy, every comma is a
word, and hardly any manual is left.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

OURS = """
import sys
import windtunnel as wt
rules = {"papers": ["gopher"], "whole_sentences": False, "without": ["few letters"]}
wt.curate({"all": sys.argv[1]}, sys.argv[2], curators=[{"cascade": rules}, {"near-duplicates": {"similarity": 0.7}}], quiet=True)
"""
THEIRS = """
import sys
from pathlib import Path
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
file, work = Path(sys.argv[1]), sys.argv[2]
config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
quality = GopherQualityFilter(min_stop_words=None, max_non_alpha_words_ratio=None, exclusion_writer=JsonlWriter(work + "/quality"))
repetition = GopherRepetitionFilter(exclusion_writer=JsonlWriter(work + "/repetition"))
first = JsonlReader(str(file.parent), glob_pattern=file.name)
again = JsonlReader(work + "/clean")
for number, (steps, tasks) in enumerate((
    ([first, quality, repetition, JsonlWriter(work + "/clean")], 1),
    ([again, MinhashDedupSignature(work + "/signatures", config=config)], 1),
    ([MinhashDedupBuckets(work + "/signatures", work + "/buckets", config=config)], 14),
    ([MinhashDedupCluster(work + "/buckets", work + "/remove", config=config)], 1),
    ([again, MinhashDedupFilter(work + "/remove", exclusion_writer=JsonlWriter(work + "/copies")), JsonlWriter(work + "/kept")], 1),
)):
    LocalPipelineExecutor(steps, tasks=tasks, workers=1, logging_dir=f"{work}/logs-{number}").run()
"""


def write_documents(folders: list[Path], file: Path, count: int) -> None:
    """``count`` documents as JSON lines, drawn with a fixed seed; their ``id`` is their line."""
    chance = random.Random(0)
    paths = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file() and path.suffix in (".txt", ".rst", ".md"))
    texts: list[str] = []
    for path in chance.sample(paths, min(len(paths), count)):
        text = path.read_text(encoding="utf-8", errors="ignore")[:20_000]
        texts.append(text)
        if len(texts) % 10 == 0 and len(words := text.split(" ")) > 100:
            words[chance.randrange(len(words))] = "another"
            texts.append(" ".join(words))
    rows = enumerate(texts[:count], 1)
    file.write_text("".join(json.dumps({"id": str(number), "text": text}) + "\n" for number, text in rows), encoding="utf-8")


def spent(words: list[str]) -> float:
    """CPU seconds of a process and all that it started."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def removed_by_ours(work: Path) -> dict[str, str]:
    """Why each document went, by its id."""
    from pyarrow import parquet

    rows = parquet.read_table(work / "victims.parquet").to_pylist()
    return {row["origin"].rpartition(":")[2]: f"{row['curator']}: {row['reason']} ({row['detail']})" for row in rows}


def removed_by_theirs(work: Path) -> dict[str, str]:
    """Why each document went, by its id."""
    found = {}
    for step in ("quality", "repetition", "copies"):
        for file in (work / step).glob("*.gz"):
            for line in gzip.decompress(file.read_bytes()).splitlines():
                row = json.loads(line)
                found[row["id"]] = f"{step}: {row['metadata'].get('filter_reason', '')}".rstrip(": ")
    return found


def measure(python: str, folders: list[Path], documents: int, pairs: int) -> dict[str, Any]:
    """The measurement as a dictionary."""
    children = {"ours": [sys.executable, "-c", OURS], "theirs": [python, "-c", THEIRS]}
    seconds: dict[str, list[float]] = {who: [] for who in children}
    gone: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as name:
        whole, few = Path(name) / "whole.jsonl", Path(name) / "few.jsonl"
        write_documents(folders, whole, documents)
        lines = whole.read_text(encoding="utf-8").splitlines(keepends=True)
        few.write_text("".join(lines[:10]), encoding="utf-8")
        start = {}
        for who, words in children.items():
            with tempfile.TemporaryDirectory() as work:
                start[who] = spent([*words, str(few), work])
        for pair in range(pairs):
            for who in ("ours", "theirs") if pair % 2 else ("theirs", "ours"):
                with tempfile.TemporaryDirectory() as work:
                    seconds[who].append(spent([*children[who], str(whole), work]))
                    print(f"pair {pair + 1}: {who} took {seconds[who][-1]:.1f} CPU seconds", file=sys.stderr, flush=True)
                    if who not in gone:
                        gone[who] = removed_by_ours(Path(work)) if who == "ours" else removed_by_theirs(Path(work))
    own = {who: [each - start[who] for each in seconds[who]] for who in children}
    alone = {who: gone[who].keys() - gone[other].keys() for who, other in (("ours", "theirs"), ("theirs", "ours"))}
    return {
        "documents": len(lines),
        "bytes": sum(map(len, lines)),
        "asked": {"ratio": 5.0},
        "pairs": pairs,
        "cpu_seconds": seconds,
        "cpu_seconds_of_ten": start,
        "ratio": statistics.median(theirs / ours for ours, theirs in zip(own["ours"], own["theirs"], strict=True)),
        "ratio_with_start": statistics.median(theirs / ours for ours, theirs in zip(seconds["ours"], seconds["theirs"], strict=True)),
        "removed": {who: len(found) for who, found in gone.items()},
        "removed_by_both": len(gone["ours"].keys() & gone["theirs"].keys()),
        "removed_by_one": {who: {one: gone[who][one] for one in sorted(alone[who], key=int)} for who in alone},
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="windtunnel curate beside datatrove")
    parser.add_argument("python", help="of an environment with datatrove[processing] and spacy")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=7)
    arguments = parser.parse_args()
    json.dump(measure(arguments.python, arguments.folders, arguments.documents, arguments.pairs), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
