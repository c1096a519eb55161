"""Images a CPU second from our loader against torch's DataLoader with two workers: arrays, and JPEG files of 256 pixels.

``python benchmarks/input_pipeline.py [PAIRS]`` prints JSON. Both give shuffled batches of 64 images with labels as tensors, by turns;
CPU seconds are those of the process and of the workers, which are started for each turn and live for all of its epochs. ``arrays``: 4,000
colour images of 32 pixels that need no decoding; a turn is five epochs, and at least 3 times as many images a CPU second are asked of ours.
``jpeg``: files of 256 pixels; theirs decodes them in every epoch, ours once, when the stream is prepared, which is timed too. ``ratio`` has
their seconds over ours for so many epochs, the preparation included; at least 1 is asked of one epoch, and ``even_after`` says how many
epochs it takes. ``decoding`` is Pillow alone. ``resumed`` says whether ours goes on in the middle of an epoch, from a state of a few
integers, with the very same batches; a DataLoader has no such state.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from paired import alternating, median_interval
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from windtunnel.data.loader import Loader
from windtunnel.recipe import recipe_from
from windtunnel.recipe.resolve import resolve
from windtunnel.slots import Progress
from windtunnel.train.prepare import prepare

ASKED = {"arrays": 3.0, "jpeg": 1.0}
SEQUENCE, BATCH = 8, 64  # images in a sequence of ours, and in a batch of both
DRAWN, EPOCHS = 4000, 5
FILES, SIDE = 256, 256
COUNTS = (1, 3, 10, 30)
NOW = Progress(0, 1, 0, 0, BATCH // SEQUENCE, 0.0, 0.0, 0)


def spent() -> float:
    """CPU seconds of this process and of those that it has started and that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Arrays(Dataset):  # type: ignore[type-arg]
    """Images of one array."""

    def __init__(self, pixels: np.ndarray, labels: np.ndarray) -> None:
        self.pixels, self.labels = pixels, labels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.pixels[index]), int(self.labels[index])


class Files(Dataset):  # type: ignore[type-arg]
    """Image files, decoded when they are asked for."""

    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.files[index]) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1), index % 2


def theirs(data: Dataset[Any], epochs: int) -> None:
    """Read ``data`` so often."""
    loader = DataLoader(data, batch_size=BATCH, shuffle=True, num_workers=2, persistent_workers=True)
    for _ in range(epochs):
        for pixels, _labels in loader:
            assert pixels.dtype == torch.uint8
    iterator, loader._iterator = loader._iterator, None
    del iterator  # ends the workers, whose seconds are counted then


def loader_of(stream: Any) -> Loader:
    """Ours."""
    return Loader(stream, context=SEQUENCE, sequences=BATCH // SEQUENCE)


def ours(stream: Any, images: int) -> None:
    """Read so many images."""
    loader = loader_of(stream)
    for _ in range(images // BATCH):
        rows = loader.rows(NOW)
        pixels, _labels = torch.from_numpy(rows["pixels"]), torch.from_numpy(rows["label"])
        assert pixels.dtype == torch.uint8


def resumed(stream: Any) -> bool:
    """Whether a loader that takes over a state goes on as the one that gave it."""
    first, second = loader_of(stream), loader_of(stream)
    for _ in range(20):
        first.rows(NOW)
    second.load_state(json.loads(json.dumps(first.state())))
    pairs = [(first.rows(NOW), second.rows(NOW)) for _ in range(60)]
    return all(np.array_equal(one[name], other[name]) for one, other in pairs for name in one)


def prepared(source: dict[str, Any], size: int, cache: Path) -> Any:
    """The stream of a source of images."""
    given = {
        "corpus": {"images": source},
        "split": {"validation": 0.02, "test": 0.02, "near_duplicates": 1.0},
        "encoding": {"pixels": {"size": size, "channels": 3}},
        "model": {"family": "vit", "head": "classify", "patch": 32, "layers": 1, "width": 16, "heads": 1},
        "objective": {"classify": {"patch": 32}},
        "evaluations": "labels",
        "budget": {"steps": 1},
        "context": SEQUENCE,
    }
    return prepare(resolve(recipe_from(given)), cache)


def write_files(folder: Path) -> list[Path]:
    """JPEG files of smooth fields with some noise, about 12 kB each, in two classes."""
    random, files = np.random.default_rng(0), []
    for number in range(FILES):
        place = folder / "ab"[number % 2]
        place.mkdir(exist_ok=True, parents=True)
        field = random.normal(0, 1, (32, 32, 3)).cumsum(0).cumsum(1)
        field = (field - field.min()) / np.ptp(field) * 255
        smooth = np.asarray(Image.fromarray(field.astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC), float)
        noisy = np.clip(smooth + random.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
        files.append(place / f"{number:04}.jpg")
        Image.fromarray(noisy).save(files[-1], quality=85)
    return files


def by_turns(first: Callable[[], Any], second: Callable[[], Any], pairs: int) -> tuple[list[float], list[float]]:
    """CPU seconds of both, with those of the workers that they started."""
    seconds = alternating({"first": lambda _: first(), "second": lambda _: second()}, pairs, spent=spent)["cpu_seconds"]
    return seconds["first"], seconds["second"]


def arrays(pairs: int, folder: Path) -> dict[str, Any]:
    """Images that need no decoding."""
    stream = prepared({"drawn-shapes": {"count": DRAWN, "size": 32}}, 32, folder)
    count = sum(stream.sizes("train").values()) // BATCH * BATCH
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    data = Arrays(pixels, np.arange(count) % 5)
    mine, other = by_turns(lambda: ours(stream, EPOCHS * count), lambda: theirs(data, EPOCHS), pairs)
    ratios = [two / one for one, two in zip(mine, other, strict=True)]
    rates = {who: EPOCHS * count / float(np.median(each)) for who, each in (("ours", mine), ("theirs", other))}
    told = {"images": count, "epochs": EPOCHS, "images_a_cpu_second": rates, "cpu_seconds": {"ours": mine, "theirs": other}}
    return {**told, "ratio": float(np.median(ratios)), "interval": list(median_interval(ratios)), "resumed": resumed(stream)}


def jpeg(pairs: int, folder: Path) -> dict[str, Any]:
    """Files that are decoded."""
    files = write_files(folder / "files")
    source = {"image-folder": {"path": str(folder / "files"), "size": SIDE, "channels": 3}}
    streams = []

    def once() -> None:
        streams.append(prepared(source, SIDE, Path(tempfile.mkdtemp(dir=folder))))

    once()  # what is imported on the way is no cost of images
    count = FILES // BATCH * BATCH
    preparing, theirs_first = by_turns(once, lambda: theirs(Files(files), 1), pairs)
    reading, theirs_four = by_turns(lambda: ours(streams[0], 3 * count), lambda: theirs(Files(files), 4), pairs)
    began = spent()
    for file in files:
        np.array(Image.open(file).convert("RGB"))
    decoding = spent() - began
    epoch = [each / 3 for each in reading]
    later = [(four - first) / 3 for four, first in zip(theirs_four, theirs_first, strict=True)]
    ratios = {}
    for n in COUNTS:
        each = [
            (first + (n - 1) * more) / (ready + n * read)
            for first, more, ready, read in zip(theirs_first, later, preparing, epoch, strict=True)
        ]
        ratios[f"{n} epochs"] = {"ratio": float(np.median(each)), "interval": list(median_interval(each))}
    saved = float(np.median(later)) - float(np.median(epoch))
    milliseconds = {"preparing": preparing, "reading_prepared": epoch, "theirs_first": theirs_first, "theirs_later": later}
    return {
        "files": FILES,
        "milliseconds_an_image": {name: 1e3 * float(np.median(each)) / FILES for name, each in milliseconds.items()}
        | {"decoding": 1e3 * decoding / FILES},
        "after": ratios,
        "even_after": (float(np.median(preparing)) - float(np.median(theirs_first)) + float(np.median(later))) / saved,
        "cpu_seconds": {"preparing": preparing, "reading_three": reading, "theirs_one": theirs_first, "theirs_four": theirs_four},
    }


def main(pairs: int = 7) -> dict[str, Any]:
    torch.set_num_threads(1)
    began = time.time()
    with tempfile.TemporaryDirectory() as name:
        found = {"asked": ASKED, "pairs": pairs, "arrays": arrays(pairs, Path(name) / "a"), "jpeg": jpeg(pairs, Path(name) / "b")}
    return found | {"load": os.getloadavg()[0], "seconds": time.time() - began}


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:])), indent=1))
