"""Revert: the body walks back to where it began while the rest trains on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_models import build

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.slots import AfterStep, Progress


def walked(part: Any, steps: int) -> tuple[list[float], dict[str, torch.Tensor], Any]:
    """How far the body is from its start after each step, in units of where it was moved to before the way began; and the start."""
    model: Any = build("llama")
    state = part.state(model)
    first = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    with torch.no_grad():
        for weight in model.parameters():
            weight += 1.0
    found = []
    name = next(iter(state["start"]))
    for step in range(steps):
        part.after_step(model, None, Progress(step, steps, 0, 1, 1, step / steps, step / steps, 0), state)
        found.append(float((model.get_parameter(name).detach() - first[name]).mean()))
    part.end(model, state)
    return found, first, model


def test_the_way_back_is_walked_evenly_and_the_last_block_stays() -> None:
    far, first, model = walked(make(AfterStep, {"revert": {"after": 0.2, "until": 0.6, "free": 1}}), 10)
    assert far == pytest.approx([1, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0], abs=1e-5)
    stays = {name for name, weight in model.named_parameters() if not torch.equal(weight, first[name])}
    assert stays and all(name.startswith(("model.layers.1.", "model.norm.")) for name in stays)


def test_it_may_go_back_at_once_or_slowly_at_both_ends() -> None:
    at_once, _, _ = walked(make(AfterStep, {"revert": {"after": 0.5, "until": 0.5, "free": 1}}), 10)
    assert at_once == pytest.approx([1] * 4 + [0] * 6, abs=1e-6)
    cosine, _, _ = walked(make(AfterStep, {"revert": {"after": 0.2, "until": 0.6, "free": 1, "shape": "cosine"}}), 10)
    assert cosine[2] == pytest.approx(0.8536, abs=1e-3) and cosine[3] == pytest.approx(0.5, abs=1e-5)


def test_a_model_whose_head_is_its_embedding_is_refused_without_free_blocks() -> None:
    with pytest.raises(PartError, match="nothing would go on training"):
        make(AfterStep, "revert").state(build("llama"))
    with pytest.raises(ValueError, match="behind until"):
        make(AfterStep, {"revert": {"after": 0.9}})
