"""Combined logits: the sum that the paper writes, of three models that read the same, and the model left as it was."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rows import VOCABULARY

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.models.forward import forward, head_apart
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.exact_match import ExactMatch
from windtunnel.slots import Evaluation, Objective

NAMED: dict[str, Any] = {"plus": {"folder": "nowhere"}, "minus": {"folder": "nowhere"}}


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
    part = make(Evaluation, {"combined-logits": {**NAMED, "weight": 0.5, "judged_by": "exact-match"}})
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


def test_logits_that_would_be_made_in_pieces_are_combined_too(monkeypatch):
    monkeypatch.setattr("windtunnel.kits.text.predict.LARGE", 0)
    large, tuned, untuned = decoder(32, 0), decoder(16, 1), decoder(16, 2)
    tokens = torch.arange(12).view(2, 6) + 5
    objective = make(Objective, "next-token")

    def judged(self: Any, model: Any, held_out: Any) -> dict[str, float]:
        with torch.no_grad():
            return {"said": float(objective.loss(model, {"tokens": tokens[:, :-1], "labels": tokens[:, 1:]}).values.mean())}

    monkeypatch.setattr(ExactMatch, "evaluate", judged)
    part = make(Evaluation, {"combined-logits": {**NAMED, "judged_by": "exact-match"}})
    assert head_apart(large)
    found = part.evaluate(large, SimpleNamespace(), models={"plus": tuned, "minus": untuned})["combined/said"]
    with torch.no_grad():
        one, two, three = (forward(model, tokens[:, :-1]).logits for model in (large, tuned, untuned))
    wanted = torch.nn.functional.cross_entropy((one + two - three).flatten(0, 1), tokens[:, 1:].flatten())
    assert found == pytest.approx(float(wanted), abs=1e-5) and head_apart(large)
    assert abs(found - judged(None, large, None)["said"]) > 1e-4


def test_hidden_states_and_evaluations_with_models_of_their_own_are_refused(monkeypatch):
    model = decoder(16, 0)

    def judged(self: Any, model: Any, held_out: Any) -> dict[str, float]:
        with torch.no_grad():
            forward(model, torch.arange(6)[None], needs=frozenset({"hidden_states"}))
        return {}

    monkeypatch.setattr(ExactMatch, "evaluate", judged)
    part = make(Evaluation, {"combined-logits": {**NAMED, "judged_by": "exact-match"}})
    with pytest.raises(PartError, match="only logits are combined"):
        part.evaluate(model, SimpleNamespace(), models={"plus": model, "minus": model})
    assert head_apart(model)
    with pytest.raises(ValueError, match="holds models of its own"):
        make(Evaluation, {"combined-logits": {**NAMED, "judged_by": {"combined-logits": {**NAMED, "judged_by": "exact-match"}}}})


def test_unit_direction_and_files_are_those_of_the_evaluation(tmp_path):
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "a", "choices": ["b", "c"], "answer": 0}\n')
    part = make(Evaluation, {"combined-logits": {**NAMED, "judged_by": {"multiple-choice": {"file": str(file)}}}})
    assert part.better == "higher" and part.unit == part.judged_by.unit
    assert make(Evaluation, {"combined-logits": {**NAMED, "judged_by": "bits-per-byte"}}).better == "lower"
    known = part.pinned()
    assert known.judged_by.digest and known.pinned() is known
    file.write_text('{"question": "a", "choices": ["b", "d"], "answer": 0}\n')
    assert part.pinned() != known, "a change of the file is a change of the evaluation"
