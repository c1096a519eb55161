"""What `windtunnel check` says that a study takes, against what it took: CPU seconds of whole commands and their workers.

Five small studies that the estimate was not tuned on: a plain arm, growth by stacking, a teacher, tuning, and a budget in tokens per
parameter. Each is checked, flown in an empty folder, and compared. Run: python benchmarks/estimate.py [--only NAME ...], which prints JSON
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from windtunnel.train.machine import hardware, versions

HELD_OUT = {"validation": 0.1, "test": 0.1}
TEACHER = {"model": {"layers": 2, "width": 32}, "share": 0.2}
SMALL = {"tokenizer": {"vocabulary": 512}, "context": 64, "batch": 8, "precision": "float32", "split": HELD_OUT}
DEEP = {**SMALL, "model": {"layers": 4, "width": 64}}
STUDIES: dict[str, dict[str, Any]] = {
    "plain": {
        "budget": {"tokens": 40_000},
        "baseline": {**SMALL, "model": {"layers": 2, "width": 64}, "context": 128},
        "arms": {"muon": {"optimizer": "muon"}},
        "curve": [0.5, 1.0],
    },
    "growth": {
        "budget": {"flops": 5e10},
        "baseline": DEEP,
        "arms": {"stack": {"phases": [{"share": 0.3, "model": {"layers": 2}}, {"share": 0.7, "start": {"stack": {"factor": 2}}}]}},
        "curve": [1.0],
    },
    "teacher": {
        "budget": {"flops": 5e10},
        "baseline": DEEP,
        "arms": {"taught": {"losses": [{"distillation": {"teacher": {"recipe": {"model": {"layers": 2, "width": 32}, "share": 0.2}}}}]}},
        "curve": [1.0],
    },
    "tuned": {
        "budget": {"tokens": 30_000},
        "baseline": {**SMALL, "model": {"layers": 2, "width": 96}},
        "arms": {"wsd": {"schedule": "wsd"}},
        "curve": [1.0],
        "tune": {"batch": [8, 16], "share": 0.5},
    },
    "sized": {
        "budget": {"tokens_per_parameter": 1},
        "baseline": {**SMALL, "model": {"layers": 3, "width": 48}},
        "arms": {"masked": {"objective": {"prefix-lm": {}}}},
        "curve": [0.5, 1.0, 2.0],
    },
}


def command(*words: str) -> tuple[str, float]:
    """What a command of windtunnel prints, and the CPU seconds of its processes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "windtunnel.commands.main", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"windtunnel {' '.join(words)}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compared(name: str, folder: Path) -> dict[str, float]:
    """One study: CPU seconds as foretold and as measured, and those of the check itself."""
    file, out = folder / f"{name}.yaml", folder / name
    study = {"corpus": {"code": {"files": {"path": str(folder / "code"), "glob": "*.py"}}}, "seeds": 2, **STUDIES[name]}
    file.write_text(yaml.safe_dump(study))
    said, checking = command("check", str(file), "--out", str(out), "--workers", "1", "--json")
    _, measured = command("study", str(file), "--out", str(out), "--workers", "1")
    foretold = json.loads(said)["cpu_seconds"]
    return {"foretold": foretold, "measured": measured, "ratio": foretold / measured, "check": checking}


def main() -> None:
    """Compare the studies that were asked for and print a row each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=STUDIES, default=list(STUDIES))
    arguments = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "code").mkdir()
        library = sorted(Path(os.__file__).parent.glob("*.py"))
        for file in library[:120]:
            (folder / "code" / file.name).write_bytes(file.read_bytes())
        for name in arguments.only:
            found[name] = compared(name, folder)
            print(name, {key: round(value, 2) for key, value in found[name].items()}, file=sys.stderr, flush=True)
    about = {"benchmark": "estimate", "date": f"{datetime.date.today()}", "versions": versions(), "hardware": hardware(torch.device("cpu"))}
    print(json.dumps({**about, "unit": "CPU seconds", "load": round(os.getloadavg()[0], 1), "studies": found}, indent=1))


if __name__ == "__main__":
    main()
