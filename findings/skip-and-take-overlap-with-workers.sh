#!/usr/bin/env bash
# Expected: of a streamed data set, take(n) is its first n rows and skip(n) all others, as the documentation says and as the usual way to hold out
#   rows needs it: held out is take(n), training reads skip(n), whatever number of workers a DataLoader has.
# Really: n is divided among the workers, each of which takes or skips its share of its own files, so DataLoaders of unlike num_workers mean other
#   rows. Of 8 files of 100 rows, 200 rows are held out without workers: training with 4 workers reads 100 of them, with 8 it reads 150, and as
#   many that nobody held out are never read. Nothing warns.
# Versions: datasets 5.2.0, torch 2.13.0 (CPU), Python 3.11.
# Met: whoever streams a corpus, holds rows out by take and skip, and reads the small part with fewer workers (none, usually) than the large one:
#   the held-out loss is that of rows trained on. Hold out whole files, or by a hash of the row in filter().
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check torch==2.13.0 numpy==2.4.6 datasets==5.2.0
cat > "$folder/overlap.py" <<'PYTHON'
import json
import sys

import datasets
import torch
from datasets import load_dataset
from torch.utils.data import DataLoader

print("datasets", datasets.__version__, "torch", torch.__version__)
files = []
for number in range(8):
    files.append(f"{sys.argv[1]}/rows-{number}.jsonl")
    with open(files[-1], "w") as file:
        file.writelines(json.dumps({"row": 100 * number + row}) + "\n" for row in range(100))
streamed = load_dataset("json", data_files=files, split="train", streaming=True)


def rows(part, workers):
    return {int(row["row"]) for row in DataLoader(part, batch_size=None, num_workers=workers)}


overlap = {}
for held_with, trained_with in ((0, 0), (4, 4), (0, 4), (0, 8)):
    held, trained = rows(streamed.take(200), held_with), rows(streamed.skip(200), trained_with)
    overlap[held_with, trained_with] = len(held & trained)
    print(
        f"held out with {held_with} workers: {len(held)} rows; trained with {trained_with}: {len(trained)}; "
        f"in both {len(held & trained)}, in neither {800 - len(held | trained)}"
    )
assert overlap[0, 0] == overlap[4, 4] == 0
assert (overlap[0, 4], overlap[0, 8]) == (100, 150), "skip and take mean the same rows with other workers now"
PYTHON
HF_HUB_OFFLINE=1 HF_HOME="$folder/home" "$folder/venv/bin/python" -W ignore::UserWarning "$folder/overlap.py" "$folder"
