"""What a user asks of an adaptation, and the recipe that does it.

It is for models that write text, with their tokenizer beside them: see :func:`model_of_text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.recipe import Budget
from windtunnel.recipe.resolve import Facts, facts_of_text
from windtunnel.slots import Structure

OWN = "own-text"  # the source of documents that the model wrote itself
OWN_TOKENS = 16_384
UNITS = {"s": ("seconds", 1.0), "m": ("seconds", 60.0), "h": ("seconds", 3600.0)}
NAMES = {"tokens": "tokens", "token": "tokens", "steps": "steps", "step": "steps", "flops": "flops"}
GENTLE = 0.2  # of the rate that a model of this width is trained from scratch with


@dataclass(frozen=True)
class AdaptRequest:
    """What the user asks for.

    Args:
        checkpoint: folder, file or hub name of the model to go on from.
        corpus: the documents to adapt to, sources by name.
        keep: sources that stand for what the model should keep; without any, the model writes its own.
        budget: how long to train.
        tolerance: the largest share by which bits per byte of what is kept may rise; None: no limit.
        replay: the share of training documents that come from what is kept; 0 leaves it out of training and measures it only.
        context: tokens of a sequence.
        batch: sequences of a step.
        rate: the peak learning rate; None: a fifth of what a model of this width is trained from scratch with.
        own_tokens: about how many tokens the model writes itself where there is no ``keep``.
        precision: arithmetic of forward and backward passes: ``float32``, ``bfloat16``, or ``auto``, the faster one on this machine.
        structure: what trains instead of all weights, the name of a structure such as ``lora``; its usual rate is that of training
            from scratch.
    """

    checkpoint: str
    corpus: Mapping[str, Any]
    keep: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=lambda: Budget(seconds=1800.0))
    tolerance: float | None = 0.01
    replay: float = 0.25
    context: int = 256
    batch: int = 4
    rate: float | None = None
    own_tokens: int = OWN_TOKENS
    precision: str = "auto"
    structure: str | None = None

    def __post_init__(self) -> None:
        if not self.corpus:
            raise UserError("--corpus: give the documents to adapt to, for example --corpus notes=~/notes")
        if both := sorted(self.corpus.keys() & self.keep.keys()):
            raise UserError(f"--keep {both[0]}: a source of that name is given with --corpus; every source needs a name of its own")
        if not 0 <= self.replay < 1:
            raise UserError(f"--replay {self.replay:g}: a share from 0 up to, but not including, 1")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise UserError(f"--max-forgetting {self.tolerance:g}: a share, 0 or more, for example 1%")
        if self.structure is not None and registry.find(Structure, self.structure) is None:
            raise UserError(f"--with {self.structure}: no such structure; {nearest(self.structure, registry.known(Structure))}")


def budget_of(text: str) -> Budget:
    """``30m``, ``2h``, ``90s``, ``500 steps``, ``2e6 tokens`` or ``1e15 flops`` as a budget.

    Raises:
        UserError: for anything else.
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text.lower())
    if found:
        amount, unit = float(found[1]) if re.fullmatch(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", found[1]) else 0.0, found[2]
        if amount > 0 and unit in UNITS:
            return Budget(seconds=amount * UNITS[unit][1])
        if amount > 0 and unit in NAMES:
            return Budget(**{NAMES[unit]: round(amount) if NAMES[unit] == "steps" else amount})
    raise UserError(f"--budget {text}: write a time (30m, 2h, 90s), or for example 500 steps, 2e6 tokens, 1e15 flops")


def share_of(text: str | None) -> float | None:
    """``1%``, ``0.01`` or None as a share. Raises UserError for anything else."""
    if text is None or text.strip().lower() in ("none", "no", "off"):
        return None
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        raise UserError(f"{text}: write a share as 1% or 0.01, or none for no limit") from None


def model_of_text(checkpoint: str) -> Facts:
    """What the model to adapt says of itself: a tokenizer beside it writes its own documents. Raises as :func:`facts_of_text`."""
    return facts_of_text(checkpoint, "adapting is for")[0]


def settings(request: AdaptRequest) -> dict[str, Any]:
    """The recipe of ``request`` as a file would write it, before the model's own settings are filled in."""
    from windtunnel.models.settings import ModelSettings

    kept = dict(request.keep) or {OWN: f"{OWN}-{request.own_tokens}.jsonl"}
    raw: dict[str, Any] = {
        "corpus": {**request.corpus, **kept},
        "split": {"validation": 0.05, "test": 0.1},  # few documents are usual here, and a few of them have to judge
        "budget": {request.budget.unit: request.budget.amount},
        "start": {"checkpoint": request.checkpoint},
        "context": request.context,
        "batch": request.batch,
        "schedule": {"linear": {"warmup": 0.05}},
        "evaluation_tokens": 4096,
        "test_tokens": 8192,
    }
    if request.replay:
        new, old = (1 - request.replay) / len(request.corpus), request.replay / len(kept)
        shares = dict.fromkeys(request.corpus, new) | dict.fromkeys(kept, old)
        raw["mixture"] = {"fixed": {"shares": {name: round(share, 6) for name, share in shares.items()}}}
    else:
        raw["sources"] = list(request.corpus)
    if request.precision != "auto":
        raw["precision"] = request.precision
    if request.tolerance is not None:
        raw["limits"] = dict.fromkeys(kept, request.tolerance)
    width = ModelSettings(width=model_of_text(request.checkpoint).model["width"])
    if request.structure is not None:
        raw["structure"] = request.structure
    gentle = GENTLE if request.structure is None else 1.0
    raw["optimizer"] = {"adamw": {"learning_rate": request.rate or float(f"{gentle * width.learning_rate():.2g}")}}
    return raw
