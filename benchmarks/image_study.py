"""CPU minutes of a study of 10,000 image files, from the files to a verdict, by a study file of five lines.

``python benchmarks/image_study.py FOLDER`` prints JSON. FOLDER holds ``train-images-idx3-ubyte.gz`` and its labels, those of fashion-mnist
(Debian's package dataset-fashion-mnist). The first 10,000 pictures become PNG files in a folder for each class, which is not timed. Then
``windtunnel study`` reads them all and flies baseline and arm with the usual seeds at the usual budgets; at most 20 CPU minutes of the
process tree are asked. ``reading_cpu_seconds`` is what a study of one step takes, so what it is before anything is trained.
"""

from __future__ import annotations

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ASKED, COUNT = 20.0, 10_000
STUDY = """corpus: {fashion: {image-folder: {path: FOLDER, size: 28, channels: 1}}}
budget: {flops: BUDGET}
baseline: {encoding: {pixels: {size: 28}}, model: {family: vit, head: classify, layers: 2, width: 64, heads: 4, patch: 4}, SHARED}
arms:
  mirrored: {objective: {classify: {patch: 4, mirror: true}}}
"""
SHARED = "objective: {classify: {patch: 4}}, evaluations: labels, context: 8, batch: 8"
BUDGET = "1e11"


def written(folder: Path, target: Path) -> None:
    """The pictures as files."""
    read = {name: next(folder.glob(f"train-{name}-*.gz")) for name in ("images", "labels")}
    images = np.frombuffer(gzip.decompress(read["images"].read_bytes()), np.uint8, offset=16).reshape(-1, 28, 28)[:COUNT]
    labels = np.frombuffer(gzip.decompress(read["labels"].read_bytes()), np.uint8, offset=8)[:COUNT]
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = target / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:05}.png")


def flown(pictures: Path, folder: Path, study: str) -> tuple[float, float, dict[str, Any]]:
    """CPU seconds of the process tree and seconds of the clock of ``study``, and its result."""
    (folder / "pictures.yaml").write_text(study.replace("FOLDER", str(pictures)).replace("SHARED", SHARED), encoding="utf-8")
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.time()
    words = [sys.executable, "-m", "windtunnel", "study", "pictures.yaml", "--workers", "1", "--threads", "1"]
    subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = json.loads((folder / "windtunnel-out" / "studies" / "pictures" / "result.json").read_text(encoding="utf-8"))
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.time() - clock, result


def main(folder: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        pictures, whole, first = (Path(name) / one for one in ("pictures", "whole", "first"))
        for place in (whole, first):
            place.mkdir()
        written(Path(folder), pictures)
        alone = STUDY.split("arms:", maxsplit=1)[0].replace("{flops: BUDGET}", "{steps: 1}") + "seeds: 1\ncurve: [1]\narms: {}\n"
        reading, _, _ = flown(pictures, first, alone)
        cpu, wall, result = flown(pictures, whole, STUDY.replace("BUDGET", BUDGET))
    run = next(one for one in result["runs"] if one["arm"] == "baseline" and one["multiple"] == 1)
    return {
        "asked_cpu_minutes": ASKED,
        "files": COUNT,
        "lines": len(STUDY.strip().splitlines()),
        "cpu_minutes": cpu / 60,
        "reading_cpu_seconds": reading,
        "wall_minutes": wall / 60,
        "runs": len(result["runs"]),
        "steps": run["totals"]["steps"],
        "arms": result["arms"],
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1]), indent=1))
