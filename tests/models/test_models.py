"""Every family builds, trains, respects documents, shows its anatomy truthfully and survives export."""

from __future__ import annotations

import json
import math

import pytest
import torch
from families import KINDS
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny_models import DECODERS, ENCODERS, FAMILIES, LENGTH, SIZE, VOCABULARY, build, packed, random_tokens, run
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from windtunnel.core.errors import PartError, UserError
from windtunnel.kits.text.network import ROOM
from windtunnel.models.anatomy import anatomy, linears, parameters_count
from windtunnel.models.forward import attention_mask, forward, positions_of
from windtunnel.models.init import config_for, family_of, fresh, hollow
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings

# Documents ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_and_backward_reach_every_weight(family):
    model = build(family)
    tokens, documents = packed()
    logits = run(model, tokens, documents).logits
    assert logits.shape == (2, LENGTH, SIZE) and torch.isfinite(logits).all()
    nn.functional.cross_entropy(logits.flatten(0, 1), tokens.flatten()).backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None and torch.isfinite(weight.grad).all(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_no_influence_and_no_gradient_across_documents(family):
    model = build(family).eval()
    tokens, documents = packed()
    inputs: list[torch.Tensor] = []
    tables = [stack.embed_tokens for stack in (model.encoder, model.decoder)] if family == "t5" else [model.get_input_embeddings()]

    def keep(_, __, output):
        output.retain_grad()
        inputs.append(output)

    handles = [table.register_forward_hook(keep) for table in tables]
    before = run(model, tokens, documents).logits
    for handle in handles:
        handle.remove()
    changed = torch.where(documents == 0, random_tokens(2, LENGTH, seed=1), tokens)
    after = run(model, changed, documents).logits
    assert torch.equal(before[documents == 1], after[documents == 1])
    assert not torch.allclose(before[documents == 0], after[documents == 0])
    before[documents == 1].square().sum().backward()
    assert len(inputs) == len(tables)
    for gathered in inputs:
        assert (gathered.grad[documents != 1] == 0).all()
        assert (gathered.grad[documents == 1].abs().sum(-1) > 0).any()


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_documents_give_the_logits_of_each_alone(family):
    model = build(family).eval()
    tokens, documents = packed()
    logits = run(model, tokens, documents, torch.where(documents < 0, -1, positions_of(documents))).logits
    for row in range(2):
        for number in (0, 1):
            inside = documents[row] == number
            alone = run(model, tokens[row][inside][None]).logits[0]
            torch.testing.assert_close(logits[row][inside], alone, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padding_disturbs_nothing_and_is_finite(family):
    model = build(family)
    tokens, documents = packed()
    noisy = torch.where(documents < 0, random_tokens(2, LENGTH, seed=2), tokens)
    one, other = run(model, tokens, documents).logits, run(model, noisy, documents).logits
    assert torch.equal(one[documents >= 0], other[documents >= 0])
    assert torch.isfinite(one).all() and torch.isfinite(other).all()
    nothing = run(model, tokens, torch.full_like(documents, -1)).logits  # a row of padding alone
    nothing.sum().backward()
    assert torch.isfinite(nothing).all()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_decoder_padding_without_encoder_padding_is_finite():
    model = build("t5")
    documents = torch.zeros(1, LENGTH, dtype=torch.long)
    reads, writes = random_tokens(1, LENGTH), random_tokens(1, 8, seed=1)
    ends = torch.tensor([[0] * 5 + [-1] * 3])
    padded = forward(model, reads, documents, decoder_tokens=writes, decoder_documents=ends).logits
    alone = forward(model, reads, decoder_tokens=writes[:, :5]).logits
    assert torch.isfinite(padded).all()
    torch.testing.assert_close(padded[:, :5], alone, atol=2e-6, rtol=1e-5)
    one_sided = forward(model, reads, None, decoder_tokens=writes, decoder_documents=ends).logits
    assert torch.equal(one_sided, padded)


@pytest.mark.parametrize("family", [*DECODERS, "t5"])
def test_causal(family):
    model = build(family).eval()
    tokens, documents = packed()
    later = tokens.clone()
    later[:, 12] = 7
    for given_documents in (documents, None):
        extra = {"decoder_documents": given_documents} if family == "t5" else {}

        def logits(written, given_documents=given_documents, extra=extra):
            if family == "t5":
                return forward(model, tokens, given_documents, decoder_tokens=written, **extra).logits
            return forward(model, written, given_documents).logits

        one, other = logits(tokens), logits(later)
        assert torch.equal(one[:, :12], other[:, :12])
        assert not torch.allclose(one[:, 12:19], other[:, 12:19])


@pytest.mark.parametrize("family", DECODERS)
def test_prefix_is_seen_by_its_own_document_only(family):
    model = build(family).eval()
    tokens, documents = packed()
    prefix = torch.zeros_like(documents, dtype=torch.bool)
    prefix[0, :5] = prefix[0, 9:13] = prefix[1, 4:10] = True
    base = forward(model, tokens, documents, prefix=prefix).logits
    changed = tokens.clone()
    changed[0, 12] = 7  # the last of the prefix of the second document
    moved = (forward(model, changed, documents, prefix=prefix).logits - base).abs().amax(-1) > 0
    assert moved[0, 9:19].all() and not moved[0, :9].any() and not moved[1].any()
    changed = tokens.clone()
    changed[0, 15] = 7  # not of the prefix: causal
    moved = (forward(model, changed, documents, prefix=prefix).logits - base).abs().amax(-1) > 0
    assert moved[0, 15:19].all() and not moved[0, :15].any()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fast_path_equals_the_masked_one(family):
    model = build(family).eval()
    tokens = random_tokens(2, LENGTH)
    fast = run(model, tokens).logits
    masked = run(model, tokens, torch.zeros_like(tokens)).logits
    torch.testing.assert_close(fast, masked, atol=2e-6, rtol=1e-5)
    assert model.config._attn_implementation == "sdpa"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fast_path_uses_unmasked_kernels_and_nothing_is_read_back(family, monkeypatch):
    model, seen = build(family), []
    attend = nn.functional.scaled_dot_product_attention

    def spy(*arguments, **options):
        seen.append((options.get("attn_mask"), options.get("is_causal")))
        return attend(*arguments, **options)

    tokens, documents = random_tokens(2, LENGTH), (torch.arange(LENGTH) // 10).expand(2, -1)
    monkeypatch.setattr(nn.functional, "scaled_dot_product_attention", spy)
    with monkeypatch.context() as patch:  # on an accelerator each of these waits for everything queued before it
        for name in ("item", "__bool__", "tolist"):
            patch.setattr(torch.Tensor, name, lambda *_: pytest.fail("the forward pass read a value back from the device"))
        run(model, tokens)
        fast = list(seen)
        seen.clear()
        run(model, tokens, documents)
    if family in DECODERS:
        assert fast == [(None, True)] * 2
    elif family in ENCODERS:
        assert fast[0] == (None, False)  # modernbert's second layer is local and needs the window as its mask
    assert all(mask is not None and mask.shape[-2:] == (LENGTH, LENGTH) for mask, _ in seen)


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_autocast_respects_documents(family):
    model = build(family)
    tokens, documents = packed()
    changed = torch.where(documents == 0, random_tokens(2, LENGTH, seed=1), tokens)
    with torch.autocast("cpu", torch.bfloat16):
        one, other, fast = run(model, tokens, documents).logits, run(model, changed, documents).logits, run(model, tokens).logits
    assert torch.equal(one[documents == 1], other[documents == 1])
    assert torch.isfinite(one).all() and torch.isfinite(fast).all()
    one.float().square().mean().backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_modernbert_keeps_its_window_inside_documents():
    model = build("modernbert", layers=2).eval()  # the first layer is global, the second local
    model.config.local_attention = 4
    tokens, documents = packed()
    for layer, reach in ((0, 10), (1, 3)):
        for number, other in enumerate(model.model.layers):
            other.attn.Wo.weight.data.mul_(float(number == layer))
        changed = tokens.clone()
        changed[0, 9] = 7
        moved = (run(model, changed, documents).logits - run(model, tokens, documents).logits).abs().amax(-1) > 0
        assert moved[0].nonzero().flatten().tolist() == list(range(9, 9 + reach))
        model.load_state_dict(build("modernbert").state_dict())
    torch.testing.assert_close(run(model, tokens).logits, run(model, tokens, torch.zeros_like(tokens)).logits, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_attentions_on_request(family):
    model = build(family).eval()
    tokens, documents = packed()
    plain = run(model, tokens, documents)
    rich = run(model, tokens, documents, needs=frozenset({"hidden_states", "attentions"}))
    torch.testing.assert_close(rich.logits, plain.logits, atol=5e-6, rtol=1e-4)
    attentions = rich.decoder_attentions if family == "t5" else rich.attentions
    hidden = rich.encoder_hidden_states if family == "t5" else rich.hidden_states
    assert len(attentions) == 2 and len(hidden) == 3
    apart = (documents[:, None, :, None] != documents[:, None, None, :]).expand_as(attentions[0])
    assert (attentions[0][apart] == 0).all()
    assert model.config._attn_implementation == "sdpa"


def test_forward_refuses_what_does_not_fit():
    tokens = random_tokens(1, LENGTH)
    with pytest.raises(UserError, match="decoder_tokens"):
        forward(build("t5"), tokens)
    with pytest.raises(UserError, match="llama does not read decoder_tokens"):
        forward(build("llama"), tokens, decoder_tokens=tokens)
    with pytest.raises(UserError, match="positions this gpt2 has learned"):
        forward(build("gpt2", context=4), tokens)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1, max_size=3), st.booleans(), st.integers(0, 2**16))
def test_mask_and_positions_say_what_they_mean(lengths, causal, seed):
    size = max(map(sum, lengths)) + 1
    documents = torch.full((len(lengths), size), -1)
    for row, pieces in enumerate(lengths):
        documents[row, : sum(pieces)] = torch.repeat_interleave(torch.arange(len(pieces)), torch.tensor(pieces))
    prefix = torch.rand(documents.shape, generator=torch.Generator().manual_seed(seed)) < 0.3
    mask, positions = attention_mask(documents, causal=causal, prefix=prefix), positions_of(documents)
    for row in range(len(lengths)):
        for query in range(size):
            start = (documents[row] == documents[row, query]).nonzero()[0].item()
            assert positions[row, query] == query - start
            for key in range(size):
                same = bool(documents[row, query] == documents[row, key])
                assert bool(mask[row, 0, query, key]) == (same and (not causal or key <= query or bool(prefix[row, key])))
    assert mask.any(-1).all()


# Building -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_is_what_was_asked(family):
    shared = {"key_value_heads": 2} if family in ("llama", "qwen2", "qwen3") else {}
    config = config_for(ModelSettings(family=family, layers=3, width=48, heads=4, intermediate=80, dropout=0.25, **shared), VOCABULARY, 100)
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.vocab_size) == (48, 3, 4, SIZE)
    assert (config.pad_token_id, config.bos_token_id, config.eos_token_id) == (VOCABULARY.pad, VOCABULARY.document, VOCABULARY.document)
    assert not getattr(config, "use_cache", False) and config.tie_word_embeddings is True
    assert family == "t5" or config.max_position_embeddings == 100 + ROOM
    model = fresh(config, 0)
    rates = [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    rates += [getattr(module, "attention_dropout", 0.25) for module in model.modules()]
    assert rates and all(getattr(rate, "p", rate) == 0.25 for rate in rates)
    assert all(block.mlp.up.shape == (80, 48) for block in anatomy(model).blocks)
    if shared:
        assert anatomy(model).blocks[0].attention.k.shape == (24, 48)


@pytest.mark.parametrize("family", sorted({*FAMILIES} - {"t5"}))
def test_first_weights_have_the_range_that_was_asked(family):
    config = config_for(ModelSettings(family=family, layers=1, width=64, heads=2, initializer_range=0.1), VOCABULARY, 16)
    up = anatomy(fresh(config, 0)).blocks[0].mlp.up.module.weight
    assert up.std().item() == pytest.approx(0.1, rel=0.15)  # ModernBERT cuts the tails off


def test_settings_refuse_what_a_family_cannot_do():
    for wrong, message in (
        ({"family": "t5", "initializer_range": 0.1}, "t5 scales the first weights of each matrix by its own rule"),
        ({"family": "t5", "tied": False}, "ties the embeddings of every t5"),
        ({"family": "gpt2", "heads": 4, "key_value_heads": 2}, "gpt2 has as many heads of keys and values as heads"),
        ({"family": "llama", "width": 36, "heads": 4}, "even size"),
    ):
        with pytest.raises(ValidationError, match=message):
            ModelSettings(**({"width": 32} | wrong))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40))
def test_gpt_neox_rotates_an_even_number_of_dimensions(half):
    config = config_for(ModelSettings(family="gpt-neox", width=4 * half * 2, heads=4), VOCABULARY, 8)
    rotated = int(config.head_dim * config.rope_parameters["partial_rotary_factor"]) if hasattr(config, "head_dim") else 0
    rotated = rotated or int(2 * half * config.rope_parameters["partial_rotary_factor"])
    assert rotated % 2 == 0 and 2 <= rotated <= 2 * half


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_weights_depend_on_seed_name_and_shape_alone(family, tied):
    if family == "t5" and not tied:
        pytest.skip("transformers ties every t5")
    torch.manual_seed(1)
    one = build(family, tied=tied)
    state = torch.random.get_rng_state()
    deeper = build(family, tied=tied, layers=3, intermediate=96)
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's generator is left alone
    other = build(family, tied=tied, seed=1)
    here, there, elsewhere = (dict(model.named_parameters()) for model in (one, deeper, other))
    common = [name for name in here if name in there and here[name].shape == there[name].shape]
    scaled = {"gpt2": ("c_proj",), "modernbert": ("Wo", "head.dense", "decoder")}.get(family, ())  # scaled by the number of layers
    for name in common:
        factor = math.sqrt(3 / 2) if any(part in name for part in scaled) else 1.0
        torch.testing.assert_close(here[name], there[name] * factor, atol=1e-6, rtol=1e-5)
    drawn = [name for name in here if here[name].dim() == 2]
    assert len(drawn) > 5 and not any(torch.allclose(here[name], elsewhere[name]) for name in drawn)
    values = [here[name].flatten()[:8].tolist() for name in drawn]
    assert len({tuple(value) for value in values}) == len(values)  # no two weights share a generator
    assert not any(hasattr(weight, "_is_hf_initialized") for weight in here.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_the_distribution_is_the_family_own(family, tied):
    if family == "t5" and not tied:
        pytest.skip("transformers ties every t5")
    ours = build(family, tied=tied, width=64)
    torch.manual_seed(0)
    theirs = type(ours)(ours.config)
    assert set(ours.state_dict()) == set(theirs.state_dict())
    for (name, one), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        if one.numel() < 500:
            torch.testing.assert_close(
                one.std(), other.std(), atol=0.3 * max(1e-9, other.std().item()) + 1e-9, rtol=0.4
            ) if one.dim() == 2 else None
            assert one.dim() == 2 or torch.equal(one, other), name
        else:
            assert one.std().item() == pytest.approx(other.std().item(), rel=0.12), name
            assert abs(one.mean().item()) < 0.15 * other.std().item(), name
    head, embedding = ours.get_output_embeddings().weight, ours.get_input_embeddings().weight
    assert (head is embedding) == tied


# Anatomy ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_weight_has_exactly_one_place_in_the_anatomy(family):
    model = build(family, tied=family == "t5")
    view = anatomy(model)
    claimed: dict[str, int] = {}

    def claim(name: str, module: nn.Module | None, share: float = 1.0) -> None:
        for key, _ in module.named_parameters(prefix=name) if module is not None else ():
            claimed[key] = claimed.get(key, 0) + share

    names = {id(module): name for name, module in model.named_modules()}
    for name, table in view.embeddings.items():
        claimed[name] = claimed.get(name, 0) + 1
        assert dict(model.named_parameters())[name] is table.weight
    for block in view.blocks:
        for attention in (block.attention, block.cross):
            if attention is None:
                continue
            assert attention.heads * attention.head_size == attention.q.shape[0] == attention.o.shape[1]
            for matrix in (attention.q, attention.k, attention.v):
                assert matrix.shape == (32, 32) == tuple(matrix.get().shape)
                claim(matrix.name, matrix.module, 1.0 if matrix.rows is None else 1 / 3)
            claim(attention.o.name, attention.o.module)
            for norm in attention.norms.values():
                claim(names[id(norm)], norm)
            if attention.bias is not None:
                claim(names[id(attention.bias)], attention.bias)
        for matrix in (block.mlp.up, block.mlp.gate, block.mlp.down):
            if matrix is not None:
                claim(matrix.name, matrix.module, 1.0 if matrix.rows is None else 1 / 2)
        for norm in block.norms.values():
            claim(names[id(norm)], norm)
    for group in (view.embedding_norms, view.final_norms, view.head_norms):
        for name, norm in group.items():
            claim(name, norm)
    for matrix in (view.head, view.head_transform):
        if matrix is not None and not (view.tied and matrix is view.head):
            claim(matrix.name, matrix.module)
    left_out = {"cls.predictions.bias"} if family == "bert" else set()  # which bert does not use unless it is tied to the head's
    assert set(claimed) == {name for name, _ in model.named_parameters()} - left_out
    assert all(count == pytest.approx(1.0) for count in claimed.values()), claimed
    assert len(view.blocks) == (4 if family == "t5" else 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_matrices_are_what_their_names_say(family):
    """Rebuilt from the anatomy alone, the first block's attention and mlp give what the block itself gives."""
    model = build(family, **({"key_value_heads": 2} if family in ("llama", "qwen2", "qwen3") else {})).eval()
    for matrix in [m for b in anatomy(model).blocks for m in (b.attention.q, b.attention.k, b.attention.v, b.mlp.up, b.mlp.gate) if m]:
        if matrix.bias() is not None:
            matrix.set_bias(torch.randn(matrix.shape[0]) * 0.1)
    block = anatomy(model).blocks[0]
    attention, mlp = block.attention, block.mlp
    seen: dict[str, torch.Tensor] = {}
    parents = dict(model.named_modules())
    handles = [
        parents[name].register_forward_hook(lambda _, inputs, output, key=key: seen.update({f"{key}.in": inputs[0], f"{key}.out": output}))
        for key, name in {
            "q": attention.q.name,
            "v": attention.v.name,
            "o": attention.o.name,
            "up": mlp.up.name,
            "down": mlp.down.name,
        }.items()
    ]
    run(model, random_tokens(1, 1))  # one token attends to itself alone: the output of attention is its value
    for handle in handles:
        handle.remove()

    def linear(matrix, value):
        bias = matrix.bias()
        return value @ matrix.get().T + (0 if bias is None else bias)

    value = linear(attention.v, seen["v.in"]).view(attention.key_value_heads, attention.head_size)
    value = value.repeat_interleave(attention.heads // attention.key_value_heads, 0)
    torch.testing.assert_close(seen["o.in"].flatten(), value.flatten(), atol=1e-6, rtol=1e-5)
    if mlp.gate is not None or family in ("gpt2", "gpt-neox", "bert"):
        up = linear(mlp.up, seen["up.in"])
        activation = {"llama": "silu", "qwen2": "silu", "qwen3": "silu", "uneven-layers": "silu"}.get(family, "gelu")
        approximate = {"approximate": "tanh"} if family in ("gpt2", "t5") else {}
        act = getattr(nn.functional, activation)
        inner = act(up, **approximate) if mlp.gate is None else act(linear(mlp.gate, seen["up.in"]), **approximate) * up
        torch.testing.assert_close(seen["down.in"], inner, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt-neox", "gpt2", "modernbert"])
def test_queries_and_keys_of_fused_matrices_are_told_apart(family):
    """With the query of a head zeroed that head attends evenly; with the key of the wrong head zeroed it would not."""
    model = build(family).eval()
    attention = anatomy(model).blocks[0].attention
    for matrix in (attention.q, attention.k):
        model = build(family).eval()
        chosen = getattr(anatomy(model).blocks[0].attention, "q" if matrix is attention.q else "k")
        value = chosen.get() * 50
        value[: attention.head_size] = 0
        chosen.set(value)
        tokens = random_tokens(1, 8)
        weights = run(model, tokens, torch.zeros_like(tokens), needs=frozenset({"attentions"})).attentions[0][0, :, -1]
        assert torch.allclose(weights[0], torch.full((8,), 1 / 8), atol=1e-6)
        assert all(not torch.allclose(weights[head], weights[0], atol=1e-3) for head in range(1, attention.heads))


@pytest.mark.parametrize("family", FAMILIES)
def test_set_writes_what_get_reads_and_nothing_else(family):
    model = build(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    block = anatomy(model).blocks[1]
    matrices = [
        m
        for m in (block.attention.q, block.attention.k, block.attention.v, block.attention.o, block.mlp.up, block.mlp.gate, block.mlp.down)
        if m
    ]
    for number, matrix in enumerate(matrices):
        matrix.set(torch.full(matrix.shape, float(number + 1)))
    for number, matrix in enumerate(matrices):
        assert (matrix.get() == number + 1).all()
    written = {matrix.parameter for matrix in matrices}
    for name, value in model.state_dict().items():
        assert (name in written) != torch.equal(value, before[name]), name
    with pytest.raises(ValueError, match="does not fit"):
        matrices[0].set(torch.zeros(3, 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_add_up(family):
    for tied in (True, False):
        if family == "t5" and not tied:
            continue
        model = build(family, tied=tied)
        counts = parameters_count(model)
        assert counts["total"] == sum(weight.numel() for weight in model.parameters()) == counts["embedding"] + counts["non_embedding"]
        tables = SIZE * 32 * (1 if tied else 2)
        tables += {"gpt2": (LENGTH + ROOM) * 32, "bert": (LENGTH + ROOM + 2) * 32}.get(family, 0)
        assert counts["embedding"] == tables
        found = linears(model)
        blocks = [
            name
            for stack in anatomy(model).stacks
            for name, weight in model.named_parameters()
            if name.startswith(stack) and weight.dim() == 2
        ]
        assert {f"{name}.weight" for name in found} == {name for name in blocks if "relative_attention_bias" not in name}


# Folders ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_export_and_load_give_bitwise_the_same_model(family, tmp_path):
    model = build(family, seed=3).eval()
    folder = export(model, tmp_path / "out", card={"title": "A title", "steps": 12, "recipe": {"a": 1}})
    tokens, documents = packed()
    expected = run(model, tokens, documents).logits
    again = load(folder)
    assert again.training and family_of(again.config).name == family
    assert torch.equal(run(again.eval(), tokens, documents).logits, expected)
    auto = {"decoder": AutoModelForCausalLM, "encoder": AutoModelForMaskedLM}.get(KINDS[family], AutoModelForSeq2SeqLM)
    theirs = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=True)  # some bring code of windtunnel's own
    assert torch.equal(run(theirs.eval(), tokens, documents).logits, expected)
    text = (folder / "README.md").read_text()
    assert "# A title" in text and "| steps | 12 |" in text and auto.__name__ in text
    assert json.loads((folder / "config.json").read_text())["architectures"] == [type(model).__name__]
    assert (folder / "generation_config.json").exists() == (KINDS[family] != "encoder")
    if KINDS[family] != "encoder":
        written = theirs.generate(tokens[:1, :6], max_new_tokens=4, do_sample=False)
        assert written.shape[1] > 1 and theirs.generation_config.use_cache


def test_generation_is_the_greedy_reading_of_our_forward(tmp_path):
    model = build("llama").eval()
    export(model, tmp_path)
    theirs, tokens = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True), random_tokens(1, 6)
    for _ in range(4):
        tokens = torch.cat([tokens, forward(model, tokens).logits[:, -1].argmax(-1, keepdim=True)], 1)
    assert torch.equal(theirs.generate(tokens[:, :6], max_new_tokens=4, do_sample=False), tokens)


def test_export_in_shards_and_a_missing_shard_is_named(tmp_path):
    model = build("llama")
    export(model, tmp_path, shard="20KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 2
    again = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    shards[1].unlink()
    with pytest.raises(PartError, match=f"{shards[1].name} is missing"):
        load(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_come_one_by_one_make_the_same_files(family, tmp_path):
    """In any order, from a model that has none itself, to one file and to several."""
    model = build(family, seed=3)
    shape = hollow(model.config)
    shape.tie_weights()
    for limit in ("5GB", "20KB"):
        whole, streamed = (tmp_path / f"{limit}-{name}" for name in ("whole", "streamed"))
        export(model, whole, shard=limit)
        export(shape, streamed, shard=limit, values=reversed(model.state_dict().items()))
        assert {file.name for file in whole.iterdir()} == {file.name for file in streamed.iterdir()}
        for file in whole.iterdir():
            if limit == "5GB" or "index" not in file.name:  # which weight is in which file may differ
                assert file.read_bytes() == (streamed / file.name).read_bytes() or "-of-" in file.name, file.name
        assert all(torch.equal(one, other) for one, other in zip(model.parameters(), load(streamed).parameters(), strict=True))


def test_load_reads_pytorch_files_and_a_run_folder(tmp_path):
    model = build("gpt2")
    model.config.architectures = ["GPT2LMHeadModel"]
    (tmp_path / "model").mkdir()
    model.config.save_pretrained(tmp_path / "model")
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    again = load(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_load_refuses_by_name(tmp_path):
    from safetensors.torch import load_file, save_file

    with pytest.raises(PartError, match="no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(PartError, match=r"config\.json"):
        load(tmp_path)
    export(build("llama"), tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)

    def broken(message: str, **changes):
        save_file({key: value for key, value in (weights | changes).items() if value is not None}, file, metadata={"format": "pt"})
        with pytest.raises(PartError, match=message):
            load(tmp_path)

    name = "model.layers.1.mlp.up_proj.weight"
    broken(rf"{name} is missing", **{name: None})
    broken(rf"{name} has shape \(3, 32\)", **{name: torch.zeros(3, 32)})
    broken(
        rf"{name} has 1 values that are not finite",
        **{name: weights[name].clone().index_fill_(0, torch.tensor([0]), 0.0).fill_diagonal_(0.0).add_(spike(weights[name]))},
    )
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(PartError, match=r"model\.safetensors: damaged: \d+ bytes, its header says \d+; it was cut off"):
        load(tmp_path)
    file.unlink()
    with pytest.raises(PartError, match="holds no weights"):
        load(tmp_path)
    (tmp_path / "config.json").write_text("{ not json")
    with pytest.raises(PartError, match=r"config\.json"):
        load(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(UserError, match="mamba"):
        load(tmp_path)


def spike(like: torch.Tensor) -> torch.Tensor:
    value = torch.zeros_like(like)
    value[2, 3] = float("nan")
    return value


def test_export_refuses_a_folder_it_cannot_write(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        export(build("llama"), tmp_path / "file")


def test_what_lies_beside_a_model_of_images_or_episodes_goes_along(tmp_path):
    from windtunnel.models.content import copy_beside

    for name in ("tokenizer.json", "preprocessor_config.json", "steps.json", "other.json"):
        (tmp_path / name).write_text(name)
    copy_beside(tmp_path, tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["preprocessor_config.json", "steps.json", "tokenizer.json"]
