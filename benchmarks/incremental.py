"""All eight heads of `incremental-probe` over ten tasks: five of fashion-mnist and five of digits. Prints JSON.

``python benchmarks/incremental.py FOLDER`` with the files of Debian's dataset-fashion-mnist. The features are those of one transformer with
random weights, 64 numbers an image: what a head costs does not depend on what they mean. 6,000 images of fashion-mnist and all digits
are learned from, 2,000 and 450 are judged. CPU seconds are those of this process with one thread.
"""

from __future__ import annotations

import gzip
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from windtunnel.parts.evaluation.incremental_probe import IncrementalProbe

HEADS = ("nearest-mean", "cosine-mean", "lda", "sequential", "gaussian-replay", "key-value", "key-votes", "oracle-joint")
WIDTH, TASKS = 64, 10


def images(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pictures [images, 784] in 0 to 1 and labels, fashion-mnist as 0 to 9 and digits, drawn large, as 10 to 19."""
    from sklearn.datasets import load_digits

    def read(name: str, skipped: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8, offset=skipped)

    pixels = read("train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[:8000] / 255
    labels = read("train-labels-idx1-ubyte.gz", 8)[:8000].astype(np.int64)
    digits = load_digits()
    large = np.pad(np.kron(digits.images / 16, np.ones((3, 3))), ((0, 0), (2, 2), (2, 2))).reshape(-1, 784)
    return np.concatenate([pixels, large]), np.concatenate([labels, digits.target + 10])


def features(pixels: np.ndarray) -> np.ndarray:
    """What two blocks of a transformer with random weights make of patches of 7 x 7: [images, 64]."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(WIDTH, 4, 128, batch_first=True, dropout=0.0)
    network = torch.nn.Sequential(torch.nn.Linear(49, WIDTH), torch.nn.TransformerEncoder(layer, 2)).eval()
    patches = torch.from_numpy(pixels.reshape(-1, 4, 7, 4, 7).transpose(0, 1, 3, 2, 4).reshape(-1, 16, 49)).float()
    with torch.no_grad():
        return np.concatenate([network(some).mean(dim=1).double().numpy() for some in patches.split(500)])


def main(folder: Path) -> None:
    """Each head along one order of the classes; its CPU seconds and its average accuracy."""
    torch.set_num_threads(1)
    began = time.process_time()
    pixels, labels = images(folder)
    found = features(pixels)
    spent = {"features": time.process_time() - began}
    held = np.random.default_rng(0).random(len(labels)) < 0.25
    tasks = [np.array([2 * place, 2 * place + 1]) for place in range(TASKS)]
    accuracy = {}
    for head in HEADS:
        began = time.process_time()
        probe = IncrementalProbe(head=head, tasks=TASKS, orders=1)
        _, (mean, _, _) = probe.along((found[~held], labels[~held]), (found[held], labels[held]), tasks, 0)
        spent[head], accuracy[head] = time.process_time() - began, mean
    told = {"cpu_seconds": {name: round(value, 2) for name, value in spent.items()}, "all": round(sum(spent.values()), 1)}
    print(json.dumps({**told, "accuracy": {name: round(value, 3) for name, value in accuracy.items()}}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
