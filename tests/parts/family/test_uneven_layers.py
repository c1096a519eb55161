"""Layers that widen with depth: as many weights as an even model, the even model at even shares, and what loads them."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from tiny_models import build, config_of, random_tokens

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.models.anatomy import anatomy, linears
from windtunnel.models.forward import forward
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.models.sizes import sizes_of
from windtunnel.slots import Start

PROFILE = {"attention": (0.5, 1.0), "inner": (0.5, 4.0)}
SIZES = {"layers": 4, "width": 64, "heads": 8, "key_value_heads": 4, "intermediate": 160}


def blocks(model: object) -> int:
    return sum(module.weight.numel() for module in linears(model).values())  # type: ignore[union-attr, operator, misc]


def test_layers_go_along_a_line_with_the_weights_of_an_even_model() -> None:
    even = blocks(build("qwen3", **SIZES))
    for attention, inner in (((0.5, 1.0), (0.5, 4.0)), ((1.0, 0.5), (4.0, 0.5)), ((0.75, 0.75), (1.0, 1.0)), ((1.0, 1.0), (0.5, 4.0))):
        model = build("uneven-layers", **SIZES, attention=attention, inner=inner)
        assert blocks(model) == pytest.approx(even, rel=0.005)
        view = anatomy(model).blocks
        heads, sizes = [block.attention.heads for block in view], [block.mlp.up.shape[0] for block in view]
        assert heads == [2 * max(1, round(4 * (attention[0] + (attention[1] - attention[0]) * place / 3))) for place in range(4)]
        assert [block.attention.q.shape[0] for block in view] == [8 * some for some in heads]
        assert [block.attention.k.shape[0] for block in view] == [4 * some for some in heads]
        total = sum(sizes)
        wanted = [total * (inner[0] + (inner[1] - inner[0]) * place / 3) / (2 * sum(inner)) for place in range(4)]
        assert sizes == pytest.approx(wanted, abs=1)


def test_even_shares_are_the_even_model() -> None:
    even, same = build("qwen3", **SIZES), build("uneven-layers", **SIZES)
    same.load_state_dict(even.state_dict())
    tokens = random_tokens(2, 12)
    assert torch.equal(forward(even, tokens).logits, forward(same, tokens).logits)


def test_an_export_loads_with_its_code_and_generates_as_it_reads(tmp_path) -> None:
    from transformers import AutoModelForCausalLM

    model = build("uneven-layers", **SIZES, **PROFILE).eval()
    export(model, tmp_path / "out")
    tokens = random_tokens(1, 10)
    own = load(tmp_path / "out").eval()
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    logits = forward(model, tokens).logits
    assert torch.allclose(forward(own, tokens).logits, logits, atol=1e-6) and torch.allclose(theirs(tokens).logits, logits, atol=1e-5)
    told = sizes_of(own.config)
    assert told["attention"] == (0.5, 1.0) and ModelSettings.model_validate(told).family.inner == (0.5, 4.0)  # type: ignore[attr-defined]
    written = theirs.generate(tokens, max_new_tokens=6, do_sample=False)
    for _ in range(6):
        tokens = torch.cat([tokens, theirs(tokens, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)], dim=1)
    assert torch.equal(written, tokens), "a cache of layers with different numbers of heads"


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValidationError, match="both ends have to be above 0"):
        ModelSettings(family="uneven-layers", depth=4, inner=(0.0, 1.0))
    with pytest.raises(ValidationError, match="heads take all weights of the blocks"):
        ModelSettings(family="uneven-layers", **SIZES, attention=(5.0, 5.0))
    with pytest.raises(PartError, match="layers of their own sizes"):
        make(Start, {"stack": {"factor": 2}}).build(
            build("uneven-layers", **PROFILE), config_of("uneven-layers", layers=4, **PROFILE), None
        )
