"""Peak training memory and time per step of factorised weights and of projected moments, against full rank at equal width.

Each variant trains in a process of its own. On a CPU the peak is the most resident memory during the steps, above what the process
held before it had a model; on an accelerator the most that was allocated. Beside it stand the bytes that must be there (weights,
gradients, moments, positions, as float32) and the paper's formula (Han et al. 2024, arXiv:2406.02214: bfloat16 weights and moments,
8 bytes a position, no gradients, no activations). ``python benchmarks/structure_memory.py`` prints JSON.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WIDTH, LAYERS, VOCABULARY, CONTEXT = 512, 8, 1024, 64
SMALL, USUAL = 1, 16  # sequences in a step: few for memory, so that weights and moments dominate; more for time
RANK, NONZERO, STEPS = 128, 0.03, 4
VARIANTS: dict[str, dict[str, Any]] = {
    "full-rank": {},
    "low-rank": {"structure": {"low-rank": {"rank": RANK, "alpha": 32}}},
    "sparse-low-rank": {"structure": {"sparse-low-rank": {"rank": RANK, "alpha": 32, "nonzero": NONZERO}}},
    "galore": {"optimizer": {"galore": {"rank": RANK, "every": 1000}}},  # the subspace is chosen once, in the first step
}


def resident(key: str) -> int:
    """VmRSS or VmHWM (the highest since it was last cleared) of this process in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def needed(model: Any, optimizer: Any) -> dict[str, int]:
    """Bytes of what one step must hold as it is here, and by the paper's formula."""
    import torch

    trained = sum(parameter.numel() for parameter in model.parameters())
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    moments = sum(value.numel() for value in tensors if value.ndim)
    positions = [module.support for module in model.modules() if hasattr(module, "support")]
    held = sum(support.numel() for support in positions)
    return {
        "trained_parameters": trained,
        "formula_here": 4 * (2 * trained + moments) + sum(support.numel() * support.element_size() for support in positions),
        "formula_paper": 2 * (trained + moments) + 8 * held,
    }


def child(name: str) -> dict[str, Any]:
    """Train variant ``name`` for a few steps; memory and seconds."""
    import torch

    from windtunnel.core.registry import make
    from windtunnel.kits.text.vocabulary import Vocabulary
    from windtunnel.models.forward import forward
    from windtunnel.models.init import config_for, fresh
    from windtunnel.models.settings import ModelSettings
    from windtunnel.slots import Optimizer, Structure

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    vocabulary = Vocabulary(VOCABULARY, 0, 1, 2, (), {}, None, None)  # type: ignore[arg-type]
    settings = ModelSettings(family="llama", layers=LAYERS, width=WIDTH)
    torch.randn(64, 64, device=device) @ torch.randn(64, 64, device=device)  # libraries load before memory is looked at
    before = 0 if cuda else resident("VmRSS")
    model: Any = fresh(config_for(settings, vocabulary, CONTEXT), 0).to(device)
    if "structure" in VARIANTS[name]:
        make(Structure, VARIANTS[name]["structure"]).apply(model)
    optimizer = make(Optimizer, VARIANTS[name].get("optimizer", "adamw")).build(model, 1e-3)
    tokens = torch.randint(VOCABULARY, (USUAL, CONTEXT), generator=torch.Generator().manual_seed(0)).to(device)

    def step(batch: torch.Tensor) -> float:
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        logits = forward(model, batch).logits
        torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), batch[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - began

    if cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of building the model, which is that of a dense one
    for _ in range(STEPS):
        step(tokens[:SMALL])
    peak = torch.cuda.max_memory_allocated() if cuda else resident("VmHWM") - before
    return {"peak_bytes": peak, **needed(model, optimizer), "seconds_per_step": statistics.median(step(tokens) for _ in range(STEPS))}


def main() -> dict[str, Any]:
    """Every variant in its own process, and what each is of full rank."""
    # Large tensors are mapped one by one and given back when they are freed, so that resident memory is what is in use.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    found = {}
    for name in VARIANTS:
        done = subprocess.run([sys.executable, __file__, name], stdout=subprocess.PIPE, text=True, check=True, env=environment)
        found[name] = json.loads(done.stdout.strip().splitlines()[-1])
    full = found["full-rank"]
    for name, numbers in found.items():
        numbers["over_full_rank"] = {key: numbers[key] / full[key] for key in full if key != "over_full_rank"}
        if name == "sparse-low-rank" and numbers["peak_bytes"] >= full["peak_bytes"]:
            raise SystemExit("sparse-low-rank needed as much memory as full rank")
    sizes = {"width": WIDTH, "layers": LAYERS, "vocabulary": VOCABULARY, "context": CONTEXT, "rank": RANK, "nonzero": NONZERO}
    sizes |= {"sequences_for_memory": SMALL, "sequences_for_time": USUAL, "steps_of_each": STEPS}
    return {"sizes": sizes, "variants": found}


if __name__ == "__main__":
    json.dump(child(sys.argv[1]) if len(sys.argv) > 1 else main(), sys.stdout, indent=None if len(sys.argv) > 1 else 1)
    print()
