"""Tokenising plus packing against the tokenizers library alone, on the same text in the same run; and how long opening a stream takes.

``python benchmarks/tokenise.py`` prints one JSON object. The text is the source of the standard library. In each repetition, one after
the other and in alternating order:

- *library*: the text is encoded with ``encode_batch_fast`` in calls of about two million characters, and the result thrown away;
- *ours*: the text is encoded and written as a stream (shards, index, checksums, manifest, all synced to disk), and then a whole epoch of
  it is packed into batches.

Ratios are of bytes per second, ours over the library's; at least 0.8 is what this project asks of itself. ``cpu_ratio`` is the same
of processor time over all threads, which busy neighbours disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import tokenizers

from windtunnel.data.encode import prepare_stream
from windtunnel.data.loader import Loader
from windtunnel.kits.text import tokenizer as tokenizer_room
from windtunnel.kits.text.tokenise import BATCH
from windtunnel.parts.encoding.bpe import Bpe
from windtunnel.slots import Progress

ASKED = {"ratio": 0.8, "open_seconds": 1.0}


class Texts:
    """A corpus of one source, in memory."""

    sources: tuple[str, ...] = ("code",)

    def __init__(self, texts: list[str], fingerprint: str) -> None:
        self.texts, self.fingerprint = texts, fingerprint
        self.table = [{"source": "code", "what": "train", "documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}]

    def documents(self, split: str, source: str) -> Iterator[list[str]]:
        yield self.texts if split == "train" else []


def read_text(size: int) -> list[str]:
    """Files of the standard library, at least ``size`` characters of them."""
    texts: list[str] = []
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in path.parts:
            texts.append(path.read_text(encoding="utf-8", errors="ignore"))
        if sum(map(len, texts)) >= size:
            break
    return texts


def library_alone(backend: tokenizers.Tokenizer, texts: list[str]) -> float:
    """Seconds."""
    begin = time.perf_counter()
    batch: list[str] = []
    characters = 0
    for text in texts:
        batch.append(text)
        characters += len(text)
        if characters >= BATCH:
            backend.encode_batch_fast(batch, add_special_tokens=False)
            batch, characters = [], 0
    backend.encode_batch_fast(batch, add_special_tokens=False)
    return time.perf_counter() - begin


def tokenise_and_pack(corpus: Texts, folder: str, cache: Path, context: int, sequences: int) -> dict[str, float]:
    """Seconds of preparing with a given tokenizer, of one packed epoch, and of opening the prepared stream in a new process."""
    begin, used = time.perf_counter(), time.process_time()
    stream = prepare_stream(corpus, Bpe(folder=folder, sentinels=64), cache=cache)
    prepared = time.perf_counter()
    loader = Loader(stream, context=context, sequences=sequences)
    progress = Progress(step=0, steps=1, tokens=0, step_tokens=0, sequences=sequences, done=0.0, overall=0.0, phase=0)
    while loader.epochs()["code"] < 1:
        loader.rows(progress)
    packed, used = time.perf_counter(), time.process_time() - used
    code = (
        "import sys, time; from windtunnel.data.stream import Stream; begin = time.perf_counter(); "
        "stream = Stream.open(sys.argv[1]); stream.facts; stream.read('train', 'code', 0); print(time.perf_counter() - begin)"
    )
    opened = subprocess.run([sys.executable, "-c", code, str(stream.folder)], capture_output=True, text=True, check=True).stdout
    return {"prepare": prepared - begin, "pack": packed - prepared, "cpu": used, "open": float(opened)}


def measure(
    *, size: int = 12_000_000, repetitions: int = 3, vocabulary: int = 4096, context: int = 128, sequences: int = 16
) -> dict[str, Any]:
    """The comparison as a dictionary; ``ratio`` is the median over the repetitions, ``ratios`` holds each of them."""
    texts = read_text(size)
    count = sum(len(text.encode()) for text in texts)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        tokenizer = tokenizer_room.train(texts[::4], vocabulary=vocabulary, sentinels=64)
        tokenizer.save_pretrained(f"{name}/tokenizer")
        tokenise_and_pack(Texts(texts[:20], "warm"), f"{name}/tokenizer", Path(name), context, sequences)  # imports
        library_alone(tokenizer_room.encoder(tokenizer), texts[:20])
        for repetition in range(repetitions):
            corpus, row = Texts(texts, f"repetition {repetition}"), {}
            for side in ("library", "ours") if repetition % 2 == 0 else ("ours", "library"):
                if side == "library":
                    backend = tokenizer_room.encoder(tokenizer)  # a new one, because each keeps a cache of words, and ours begins empty too
                    used = time.process_time()
                    row["library"] = library_alone(backend, texts)
                    row["library_cpu"] = time.process_time() - used
                else:
                    row |= tokenise_and_pack(corpus, f"{name}/tokenizer", Path(name), context, sequences)
            rows.append(row)
    ratios = [row["library"] / (row["prepare"] + row["pack"]) for row in rows]
    return {
        "benchmark": "tokenise",
        "asked": ASKED,
        "bytes": count,
        "vocabulary": vocabulary,
        "context": context,
        "sequences": sequences,
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "cpu_ratio": statistics.median(row["library_cpu"] / row["cpu"] for row in rows),
        "prepare_ratio": statistics.median(row["library"] / row["prepare"] for row in rows),
        "pack_share": statistics.median(row["pack"] / (row["prepare"] + row["pack"]) for row in rows),
        "library_bytes_per_second": statistics.median(count / row["library"] for row in rows),
        "bytes_per_second": statistics.median(count / (row["prepare"] + row["pack"]) for row in rows),
        "open_seconds": max(row["open"] for row in rows),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "tokenizers": tokenizers.__version__, "numpy": numpy.__version__},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="tokenising plus packing against the tokenizers library alone")
    parser.add_argument("--size", type=int, default=12_000_000, help="characters of text")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    json.dump(measure(size=arguments.size, repetitions=arguments.repetitions), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
