#!/usr/bin/env bash
# Expected: daft's read_json, read_csv and read_text give every line of a .zst, .bz2 or .xz file, as zstd, bzip2 and xz do; a file of several
#   frames (streams) is a valid file, and what `cat`, pzstd and pbzip2 write. Of a .gz file of several members Daft gives every line.
# Really: they stop where the first frame ends. Of ten rows in frames of four and six, four come back: no error, no warning, and the same from
#   count_rows().
# Versions: daft 0.7.26, zstandard 0.25.0, Python 3.11.
# Met: whoever reads a corpus of .jsonl.zst with Daft that was put together with `cat` or packed on several cores, or a dump of Wikipedia
#   (multistream .bz2): they train on its beginning. Unpack before reading, or read with fsspec, pyarrow, pandas, polars or datasets, which
#   read all of it.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --disable-pip-version-check daft==0.7.26 zstandard==0.25.0 fsspec==2026.9.0
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import bz2
import gzip
import lzma
import os
import sys

import daft
import fsspec
import zstandard

print("daft", daft.__version__, "zstandard", zstandard.__version__)
os.chdir(sys.argv[1])
os.environ["DAFT_PROGRESS_BAR"] = "0"
first, second = ("".join(f'{{"number": {number}}}\n' for number in numbers).encode() for numbers in (range(4), range(4, 10)))
packers = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}
found = {}
for suffix, pack in packers.items():
    path = f"rows.jsonl.{suffix}"
    with open(path, "wb") as file:
        file.write(pack(first) + pack(second))
    with fsspec.open(path, "rb", compression="infer") as file:
        whole = len(file.read().splitlines())
    rows = daft.read_json(path).to_pydict()["number"]
    found[suffix] = len(rows)
    print(f"{path}: {whole} lines; daft reads {rows}, and counts {daft.read_json(path).count_rows()}")
    assert whole == 10
assert found == {"gz": 10, "zst": 4, "bz2": 4, "xz": 4}, "Daft reads further than the first frame now"
PYTHON
