"""A merge of two checkpoints by `windtunnel merge` against mergekit's command: CPU seconds, and anonymous memory above that after imports.

``python benchmarks/merging.py MODEL [PAIRS]``: MODEL is a folder that transformers loads, with one file of safetensors. It is averaged
with a copy that is moved a little, each time in a process of its own, in alternating order, each side with one thread and on the CPU.
It prints JSON: ratios ours over theirs (at most 0.5 of the CPU seconds is what this project asks of itself), our peak over the
checkpoint's bytes (at most 0.3), and how far the two results lie apart. Needs ``pip install mergekit==0.1.5``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ASKED = {"cpu_ratio": 0.5, "ours_over_checkpoint": 0.3}
SIDES = ("ours", "theirs")
TICK = 0.002  # seconds between two looks at memory


def anonymous() -> int:
    """Bytes of anonymous memory that this process has in RAM."""
    found = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(found.split()[1]) * 1024


def child(side: str, config: str, out: str, model: str) -> None:
    """One merge; prints CPU seconds of the whole process and what anonymous memory rose by after imports."""
    import torch

    torch.set_num_threads(1)
    if side == "ours":
        from windtunnel.commands.main import app
        from windtunnel.train import merge as _late  # noqa: F401

        def merge() -> None:
            app(["merge", config, out], standalone_mode=False)

    else:
        from mergekit.scripts.run_yaml import main as run
        from transformers import AutoConfig

        AutoConfig.from_pretrained(model, local_files_only=True)  # what that imports is imported late

        def merge() -> None:
            run.main(args=[config, out, "--copy-tokenizer", "--num-threads", "1", "--quiet"], standalone_mode=False)

    before, peak, ended = anonymous(), [0], threading.Event()

    def watch() -> None:
        while not ended.wait(TICK):
            peak[0] = max(peak[0], anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    merge()
    ended.set()
    watcher.join()
    print(json.dumps({"cpu_seconds": time.process_time(), "peak": peak[0] - before}))


def moved(folder: Path, there: Path) -> None:
    """A copy of the model in ``folder`` whose weights differ a little."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, there)
    torch.manual_seed(0)
    tensors = load_file(folder / "model.safetensors")
    (there / "model.safetensors").unlink()
    save_file({name: one + 0.01 * torch.randn_like(one) for name, one in tensors.items()}, there / "model.safetensors", {"format": "pt"})


def configs(folder: Path, other: Path, place: Path) -> dict[str, Path]:
    """What each side reads: JSON, which is YAML."""
    given = [str(folder.resolve()), str(other)]
    ours = {"merge": {"soup": {"ingredients": [{"folder": name} for name in given]}}}
    models = [{"model": name, "parameters": {"weight": 0.5}} for name in given]
    theirs = {"merge_method": "linear", "dtype": "bfloat16", "models": models}
    paths = {}
    for side, config in zip(SIDES, (ours, theirs), strict=True):
        paths[side] = place / f"{side}.yaml"
        paths[side].write_text(json.dumps(config))
    return paths


def main(model: str, pairs: int = 3) -> dict[str, Any]:
    from safetensors.torch import load_file

    folder, found = Path(model), {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        moved(folder, place / "other")
        paths = configs(folder, place / "other", place)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        for pair in range(pairs):
            for side in SIDES if pair % 2 else SIDES[::-1]:
                out = place / side
                shutil.rmtree(out, ignore_errors=True)
                command = [sys.executable, __file__, "child", side, str(paths[side]), str(out), model]
                told = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
                found[side].append(json.loads(told.splitlines()[-1]))
        results = {side: load_file(place / side / "model.safetensors") for side in SIDES}
        apart = max(float((one.float() - results["theirs"][name].float()).abs().max()) for name, one in results["ours"].items())
        size = (folder / "model.safetensors").stat().st_size
    ratios = {
        key: statistics.median(ours[key] / theirs[key] for ours, theirs in zip(found["ours"], found["theirs"], strict=True))
        for key in ("cpu_seconds", "peak")
    }
    return {
        "asked": ASKED,
        "pairs": pairs,
        "bytes": size,
        "runs": found,
        "cpu_ratio": ratios["cpu_seconds"],
        "peak_ratio": ratios["peak"],
        "ours_over_checkpoint": statistics.median(run["peak"] for run in found["ours"]) / size,
        "theirs_over_checkpoint": statistics.median(run["peak"] for run in found["theirs"]) / size,
        "apart": apart,
        "load": os.getloadavg()[0],
    }


if __name__ == "__main__":
    if sys.argv[1] == "child":
        child(*sys.argv[2:])
    else:
        print(json.dumps(main(sys.argv[1], *map(int, sys.argv[2:])), indent=1))
