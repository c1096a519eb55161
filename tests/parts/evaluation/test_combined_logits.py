"""Combined logits: the sum that the paper writes, of three models that read the same, and the model left as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rows import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.exact_match import ExactMatch
from windtunnel.slots import Evaluation


def decoder(width: int, seed: int) -> Any:
    return fresh(config_for(ModelSettings(family="llama", layers=1, width=width, heads=2), VOCABULARY, 32), seed).eval()


def test_the_difference_of_two_small_models_is_added(monkeypatch):
    large, tuned, untuned = decoder(32, 0), decoder(16, 1), decoder(16, 2)
    tokens, documents = torch.arange(12).view(2, 6) + 5, torch.tensor([[0] * 6, [0] * 4 + [-1] * 2])
    cached = False

    def judged(self: Any, model: Any, held_out: Any) -> dict[str, float]:
        with torch.no_grad():
            if cached:
                model(tokens, use_cache=True)
            odds = forward(model, tokens, documents).logits.log_softmax(-1)
        return {"said": float(odds[1, 2, 7])}

    monkeypatch.setattr(ExactMatch, "evaluate", judged)
    named = {"folder": "nowhere"}
    part = make(Evaluation, {"combined-logits": {"plus": named, "minus": named, "weight": 0.5, "judged_by": "exact-match"}})
    before = judged(None, large, None)
    found = part.evaluate(large, SimpleNamespace(), models={"plus": tuned, "minus": untuned})
    with torch.no_grad():
        large_, tuned_, untuned_ = (forward(model, tokens, documents).logits.log_softmax(-1) for model in (large, tuned, untuned))
    wanted = (large_ + 0.5 * (tuned_ - untuned_)).log_softmax(-1)
    assert list(found) == ["combined/said"] and found["combined/said"] == pytest.approx(float(wanted[1, 2, 7]), abs=1e-5)
    assert abs(found["combined/said"] - before["said"]) > 1e-3 and judged(None, large, None) == before
    cached = True
    with pytest.raises(PartError, match="reads through a cache"):
        part.evaluate(large, SimpleNamespace(), models={"plus": tuned, "minus": untuned})
    assert not large._forward_hooks
    tuned.config.vocab_size += 1
    with pytest.raises(PartError, match="need one tokenizer"):
        part.evaluate(large, SimpleNamespace(), models={"plus": tuned, "minus": untuned})
