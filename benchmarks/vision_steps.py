"""A training step of ViT and of CLIP beside that of transformers' Trainer: the same model, batches, optimizer and one thread.

``python benchmarks/vision_steps.py [PAIRS [compile]]`` prints JSON: for each family the ratio of CPU seconds of steps by turns in one
process, ours over Trainer's; at most 0.9 is asked. Images are of 32 pixels, 64 in a step, and are ready as arrays for Trainer; ours are
drawn from a stream, scaled and cut into patches in each step. Each side computes in what is fastest for it: float32 or bfloat16 under
autocast, with fused attention or plain products (`eager` in transformers). With ``compile`` that way is then compiled on both sides
too, and ``ratio_of_fastest`` has the better of the two on each. ``stages`` says what a step consists of, and what the model
alone takes. That both begin with the same loss is checked.
"""

from __future__ import annotations

import contextlib
import copy
import json
import statistics
import sys
import time
from typing import Any

import torch
from beside_trainer import WARM, batches, by_turns, opened, plain_stages, stages, trained

from windtunnel.kits.image.patches import to_images
from windtunnel.models.attention import FUSED, set_attention
from windtunnel.train.compiled import compile_model, set_compiled
from windtunnel.train.measure import compile_step
from windtunnel.train.variant import Variant, step_seconds, use

ASKED = 0.9
SIZE, PATCH, SEQUENCE, BATCH = 32, 4, 8, 8
SIZES = {"layers": 4, "width": 128, "heads": 4}
SHARED: dict[str, Any] = {
    "corpus": {"drawn": {"drawn-shapes": {"count": 1500, "size": SIZE}}},
    "split": {"validation": 0.1, "test": 0.1, "near_duplicates": 1.0},
    "context": SEQUENCE,
    "batch": BATCH,
    "optimizer": {"adamw": {"learning_rate": 1e-4}},
}
RECIPES: dict[str, dict[str, Any]] = {
    "vit": {
        "encoding": {"pixels": {"size": SIZE, "channels": 3}},
        "model": {"family": "vit", "head": "classify", "patch": PATCH, **SIZES},
        "objective": {"classify": {"patch": PATCH}},
        "evaluations": "labels",
    },
    "clip": {
        "encoding": {"image-text": {"size": SIZE, "channels": 3, "vocabulary": 400, "length": 24}},
        "model": {"family": "clip", "patch": PATCH, **SIZES},
        "objective": {"contrastive-pairs": {"patch": PATCH}},
        "evaluations": {"match": {"gallery": 64}},
    },
}
PRECISIONS = {"float32": {}, "bfloat16": {"bf16": True}}


def examples(drawn: list[dict[str, torch.Tensor]]) -> list[dict[str, Any]]:
    """One image each, as Trainer hands them to the model."""
    found = []
    for batch in drawn:
        images = to_images(batch["pixels"].flatten(0, 1), PATCH, SIZE, SIZE).contiguous()
        others = {"input_ids": batch["captions"].flatten(0, 1)} if "captions" in batch else {"labels": batch["labels"].flatten()}
        found += [{"pixel_values": image, **{name: value[n] for name, value in others.items()}} for n, image in enumerate(images)]
    return found


class Paired(torch.nn.Module):
    """CLIP as Trainer needs it: with its loss."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, input_ids: torch.Tensor) -> Any:
        """Its outputs with the loss."""
        return self.model(pixel_values=pixel_values, input_ids=input_ids, return_loss=True)


def theirs(model: Any, attention: str = "sdpa") -> Any:
    """A copy for Trainer."""
    copied = copy.deepcopy(model)
    copied.set_attn_implementation(attention)
    return Paired(copied) if hasattr(model, "logit_scale") else copied


def check_same(phase_run: Any, drawn: list[dict[str, torch.Tensor]]) -> float:
    """The loss of the first batch, which both have."""
    loss = phase_run.phase.objective.loss(phase_run.model, drawn[0])
    mine = float((loss.values * loss.counts).sum() / loss.counts.sum())
    rows = examples(drawn[:1])
    other = theirs(phase_run.model)(**{name: torch.stack([row[name] for row in rows]) for name in rows[0]}).loss
    if abs(mine - float(other)) > 1e-4 * abs(mine):
        raise SystemExit(f"the two losses differ: {mine} and {float(other)}")
    return mine


def least(seconds: list[float]) -> float:
    """The fewest of those behind the first, which warms up."""
    return min(seconds[1:])


def compared(recipe: dict[str, Any], pairs: int, compiling: bool) -> dict[str, Any]:
    """Everything of one family."""
    with opened({**SHARED, **recipe}, "float32") as phase_run:
        phase_run.model.train()
        original = copy.deepcopy(phase_run.model)
        set_attention(original, FUSED)  # as transformers has it
        drawn = batches(phase_run, pairs + WARM)
        rows, size = examples(drawn), BATCH * SEQUENCE
        loss = check_same(phase_run, drawn)
        variants = [Variant(precision=one, attention=two) for one in ("float32", "bfloat16") for two in ("sdpa", "products")]
        mine = {}
        for variant in variants:
            use(phase_run, variant)
            mine[variant] = least([step_seconds(phase_run) for _ in range(3)])
        best = min(mine, key=lambda variant: mine[variant])
        others = {
            (name, attention): least(trained(theirs(original, attention), rows, size, 3, lambda: None, **given))
            for name, given in PRECISIONS.items()
            for attention in ("sdpa", "eager")
        }
        precision, attention = min(others, key=lambda way: others[way])
        use(phase_run, best)

        def turns(**given: Any) -> dict[str, Any]:
            return by_turns(theirs(original, attention), rows, size, lambda: step_seconds(phase_run), pairs, **given)

        found = {"loss": loss, "ways": {"ours": f"{best.precision}, {best.attention}", "theirs": f"{precision}, {attention}"}}
        found["uncompiled"] = turns(**PRECISIONS[precision])
        inputs = {name: torch.stack([row[name] for row in rows[:size]]) for name in rows[0]}
        alone = plain_stages(theirs(original, attention), inputs, precision == "bfloat16")
        found["stages"] = {"ours": stages(phase_run), "without a trainer": alone}
        if compiling:
            compile_model(phase_run.model)
            compile_step(phase_run)
            step_seconds(phase_run)
            found["compiled"] = turns(**PRECISIONS[precision], torch_compile=True)
            set_compiled(phase_run.model, None)
        measured = [found[key]["cpu_seconds"] for key in ("uncompiled", "compiled") if key in found]
        fastest = {who: min(statistics.median(one[who]) for one in measured) for who in ("ours", "theirs")}
        return found | {
            "cpu_seconds_of_ways": {
                "ours": {f"{one.precision}, {one.attention}": seconds for one, seconds in mine.items()},
                "theirs": {", ".join(way): seconds for way, seconds in others.items()},
            },
            "ratio_of_fastest": fastest["ours"] / fastest["theirs"],
        }


def main(pairs: int = 10, compiling: bool = False) -> dict[str, Any]:
    torch.set_num_threads(1)
    return {"asked": ASKED, "images": BATCH * SEQUENCE, **{name: compared(recipe, pairs, compiling) for name, recipe in RECIPES.items()}}


if __name__ == "__main__":
    began = time.time()
    with contextlib.redirect_stdout(sys.stderr):
        result = main(*map(int, sys.argv[1:2]), compiling="compile" in sys.argv)
    print(json.dumps(result | {"seconds": time.time() - began}, indent=1))
