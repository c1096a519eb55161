"""A head on features that stay as they are."""

import pytest
import torch
from tiny_models import build

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.slots import Structure


def test_only_what_is_named_trains_and_all_does_again_afterwards() -> None:
    model = build("llama", layers=1, width=16, heads=2)
    for names, says in ((["nothing"], "begins with nothing; they are model.embed"), (["model"], "none is left")):
        with pytest.raises(PartError, match=says):
            make(Structure, {"frozen": {"train": names}}).apply(model)
    part = make(Structure, {"frozen": {"train": ["model.norm"]}})
    part.apply(model)
    model(input_ids=torch.arange(4)[None]).logits.sum().backward()
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == {"model.norm.weight"}
    part.remove(model)
    assert all(weight.requires_grad for weight in model.parameters())
