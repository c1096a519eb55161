"""Time and memory of growing a model of 135 million parameters, for each operator.

``python benchmarks/growth.py`` prints one JSON object. The sizes are those of a well-known llama of 135 million parameters (30 layers,
width 576, 9 heads on 3 of keys and values, vocabulary 49,152, tied); weights are random, as only their sizes matter. Two cases for each
operator: ``to`` grows a smaller model to these sizes, ``from`` grows a model of these sizes further. Each runs in a process of its own.

``peak_bytes`` is how far the largest resident memory (ru_maxrss) rose above what the process held before the small model was there, so
it holds the model begun from, the grown one and everything in between. ``over_grown`` divides it by the bytes of the grown model: at
most 2.2, in at most 10 seconds, is what this project asks of itself. ``over_both`` divides it by the bytes of both models, where 1 is
the least that can be, as both are there at the end; ``over_source`` by those of the model begun from.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ASKED = {"seconds": 10.0, "over_grown": 2.2}
SIZES = {"layers": 30, "width": 576, "heads": 9, "key_value_heads": 3, "intermediate": 1536, "tied": True}
NARROW = {"width": 192, "heads": 3, "key_value_heads": 1, "intermediate": 512}
WIDE = {"width": 1152, "heads": 18, "key_value_heads": 6, "intermediate": 3072}

# Start, sizes before and sizes after, where they differ from SIZES.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "stack to": ({"stack": {"factor": 2}}, {"layers": 15}, {}),
    "stack from": ({"stack": {"factor": 2}}, {}, {"layers": 60}),
    "deepen copy to": ({"deepen": {"repeat": [5, 14]}}, {"layers": 20}, {}),
    "deepen copy from": ({"deepen": {"drop": 8}}, {}, {"layers": 44}),
    "deepen zero to": ({"deepen": {"repeat": [5, 14], "new": "zero"}}, {"layers": 20}, {}),
    "deepen random to": ({"deepen": {"repeat": [5, 14], "new": "random"}}, {"layers": 20}, {}),
    "widen preserve to": ({"widen": {}}, NARROW, {}),
    "widen preserve from": ({"widen": {}}, {}, WIDE),
    "widen noise to": ({"widen": {"noise": 0.01}}, NARROW, {}),
    "widen advanced to": ({"widen": {"method": "advanced"}}, NARROW, {}),
}


def child(name: str) -> None:
    """Grow once, print what it took."""
    import warnings

    import numpy
    import torch

    from windtunnel.core.registry import make
    from windtunnel.kits.text.vocabulary import Vocabulary
    from windtunnel.models.init import config_for, fresh
    from windtunnel.models.settings import ModelSettings
    from windtunnel.slots import Start

    warnings.simplefilter("ignore")  # advanced widening says that it changes the function
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    written, before, after = CASES[name]

    def config(sizes: dict[str, Any], size: int = 49152) -> Any:
        words = Vocabulary(size, 0, 1, 2, (), {}, numpy.ones(size, numpy.int32), numpy.ones(size, bool))
        return config_for(ModelSettings(family="llama", **SIZES | sizes), words, 512)

    start = make(Start, written)
    tiny = {"width": 64, "heads": 2, "key_value_heads": 2, "intermediate": 64, "layers": 2}
    make(Start, "stack").build(fresh(config(tiny, 64), 0), config(tiny | {"layers": 8}, 64), 0)  # what is imported at first use
    held = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    source = fresh(config(before), 0)
    target = config(after)
    began, used = time.perf_counter(), time.process_time()
    grown = start.build(source, target, 0)
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - held
    begun, ended = (sum(weight.numel() * weight.element_size() for weight in model.parameters()) for model in (source, grown))
    result = {
        "parameters": [begun // 4, ended // 4],
        "seconds": round(seconds, 3),
        "processor_seconds": round(processor, 3),
        "peak_bytes": peak,
        "over_grown": round(peak / ended, 3),
        "over_both": round(peak / (begun + ended), 3),
        "over_source": round(peak / begun, 3),
    }
    print(json.dumps(result))


def main() -> None:
    """Run every case in a process of its own and report."""
    cases = {}
    for name in CASES:
        done = subprocess.run([sys.executable, __file__, "child", name], stdout=subprocess.PIPE, text=True, check=True)
        cases[name] = json.loads(done.stdout.strip().splitlines()[-1])
    worst = {key: max(case[key] for case in cases.values()) for key in ASKED}
    json.dump({"asked": ASKED, "worst": worst, "cases": cases}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2])
    else:
        main()
