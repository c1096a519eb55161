"""Attention by plain products is the attention of torch's fused kernel, for every family."""

from __future__ import annotations

import pytest
import torch
from tiny_models import DECODERS, FAMILIES, LENGTH, build, packed, random_tokens, run
from torch import nn

from windtunnel.models.attention import by_products, set_attention

# No model of this family says that it can do with torch's fused attention.
FUSED = [family for family in FAMILIES if build(family).config._attn_implementation == "sdpa"]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("family", FUSED)
def test_products_give_the_logits_and_gradients_of_the_fused_kernel(family, masked, monkeypatch):
    tokens, documents = packed() if masked else (random_tokens(2, LENGTH), None)
    found = {}
    for attention in ("sdpa", "products"):
        model = build(family)
        set_attention(model, attention)
        used = []
        monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", counted(nn.functional.scaled_dot_product_attention, used))
        logits = run(model, tokens, documents).logits
        monkeypatch.undo()
        assert bool(used) is (attention == "sdpa")
        nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
        found[attention] = [logits.detach(), *(weight.grad for weight in model.parameters())]
    for one, other in zip(*found.values(), strict=True):
        torch.testing.assert_close(one, other, atol=3e-6, rtol=1e-4)


def counted(function, used):
    def wrapped(*args, **kwargs):
        used.append(1)
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("family", DECODERS)
def test_a_model_writes_the_same_with_either(family):
    written = []
    for attention in ("sdpa", "products"):
        model = build(family).eval()
        set_attention(model, attention)
        tokens = random_tokens(2, 6)
        padding = torch.ones_like(tokens)
        padding[0, :2] = 0
        options = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
        written.append(model.generate(input_ids=tokens, attention_mask=padding, **options))
    assert torch.equal(*written)


def test_capped_scores_are_refused():
    with pytest.raises(ValueError, match="does not cap"):
        by_products(nn.Module(), torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4), None, softcap=3.0)
