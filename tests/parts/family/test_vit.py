"""The family of vision transformers: patches, the forward pass against transformers, anatomy, growth, pruning and export."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.utils.flop_counter import FlopCounterMode

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.image.patches import to_images, to_patches
from windtunnel.models.anatomy import anatomy, linears, parameters_count
from windtunnel.models.forward import forward
from windtunnel.models.init import config_for, family_of, fresh
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.models.settings import ModelSettings
from windtunnel.models.sizes import sizes_of
from windtunnel.slots import Start, Structure


class Images(NamedTuple):
    size: int
    channels: int


def settings(**sizes: Any) -> ModelSettings:
    return ModelSettings.model_validate({"family": "vit", "layers": 2, "width": 32, "heads": 4, "patch": 2} | sizes)


def build(seed: int = 0, channels: int = 3, **sizes: Any) -> Any:
    return fresh(config_for(settings(**sizes), Images(8, channels), 16), seed)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_patches_and_images_are_one_another() -> None:
    images = np.arange(2 * 3 * 4 * 6).reshape(2, 3, 4, 6)
    patches = to_patches(images, 2)
    assert patches.shape == (2, 6, 12)
    assert patches[1, 1].reshape(2, 2, 3)[1, 0].tolist() == images[1, :, 1, 2].tolist(), "row 1, column 0 of the second patch"
    assert (to_images(patches, 2, 4, 6) == images).all()
    assert torch.equal(to_patches(torch.from_numpy(images), 2), torch.from_numpy(patches))
    assert torch.equal(to_images(torch.from_numpy(patches), 2, 4, 6), torch.from_numpy(images))


def test_the_forward_pass_is_that_of_transformers() -> None:
    model = build().eval()
    images, masked = drawn(3, 3, 8, 8), drawn(3, 16, seed=1) > 0
    outputs = forward(model, pixels=to_patches(images, 2), masked=masked)
    theirs = model(pixel_values=images, bool_masked_pos=masked)
    assert outputs.logits.shape == (3, 16, 12)
    assert torch.equal(to_images(outputs.logits, 2, 8, 8), theirs.reconstruction)
    rich = forward(model, pixels=to_patches(images, 2), masked=masked, needs=frozenset({"hidden_states", "attentions"}))
    torch.testing.assert_close(rich.logits, outputs.logits, atol=1e-5, rtol=1e-4)
    assert len(rich.hidden_states) == 3 and rich.attentions[0].shape == (3, 4, 17, 17)


def test_masked_patches_are_not_read_and_every_weight_gets_a_gradient() -> None:
    model = build()
    pixels, masked = drawn(2, 16, 12), torch.zeros(2, 16, dtype=torch.bool)
    masked[:, [3, 7]] = True
    other = torch.where(masked[..., None], drawn(2, 16, 12, seed=1), pixels)
    one = forward(model, pixels=pixels, masked=masked).logits
    assert torch.equal(one, forward(model, pixels=other, masked=masked).logits)
    assert not torch.equal(one, forward(model, pixels=pixels).logits)
    (one - pixels)[masked].square().mean().backward()
    assert all(weight.grad is not None and torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_it_learns_to_draw_what_is_masked() -> None:
    """Each image is of one brightness, so the patches that are seen tell the others."""
    model = build(channels=1)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    errors = []
    for step in range(60):
        pixels = drawn(32, 1, 1, seed=step).expand(32, 16, 4)
        masked = torch.rand(32, 16, generator=torch.Generator().manual_seed(step)) < 0.5
        loss = (forward(model, pixels=pixels, masked=masked).logits - pixels)[masked].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert np.mean(errors[-10:]) < 0.2 * np.mean(errors[:5])


def test_sizes_are_read_back_and_what_does_not_fit_is_refused() -> None:
    asked = settings(intermediate=80, dropout=0.25)
    config = config_for(asked, Images(8, 3), 16)
    assert family_of(config) == asked.family and sizes_of(config) == asked.shape() and sizes_of(config)["patch"] == 2
    assert config.hidden_dropout_prob == config.attention_probs_dropout_prob == 0.25
    with pytest.raises(UserError, match=r"model.patch: 3 does not divide images of 8 pixels on a side; these do: 1, 2, 4, 8"):
        config_for(settings(patch=3), Images(8, 3), 16)
    untied, grouped = (
        ({"tied": False}, "vit has no table that its head could be"),
        ({"key_value_heads": 2}, "vit has as many heads of keys"),
    )
    for wrong, says in (untied, grouped):
        with pytest.raises(ValidationError, match=says):
            settings(**wrong)
    with pytest.raises(UserError, match="vit does not read tokens"):
        forward(build(), torch.zeros(1, 16, dtype=torch.int64))
    with pytest.raises(UserError, match="vit needs pixels"):
        forward(build())


def test_first_weights_depend_on_seed_name_and_shape_alone() -> None:
    one, deeper, other = (dict(build(seed, layers=layers).named_parameters()) for seed, layers in ((0, 2), (0, 3), (1, 2)))
    assert all(torch.equal(value, deeper[name]) for name, value in one.items())
    assert [name for name, value in one.items() if value.std() > 0 and torch.equal(value, other[name])] == []
    assert one["vit.embeddings.position_embeddings"].std().item() == pytest.approx(0.02, rel=0.1)


def test_estimates_are_near_what_is_counted() -> None:
    asked, facts = settings(layers=3, width=64), Images(8, 3)
    model = fresh(config_for(asked, facts, 16), 0)
    real = sum(module.weight.numel() for module in linears(model).values())  # type: ignore[union-attr, operator, misc]
    ends = model.vit.embeddings.patch_embeddings.projection.weight.numel() + model.decoder[0].weight.numel()
    assert asked.family.parameters(asked.sizes(), facts) == real + ends
    assert parameters_count(model)["total"] == sum(weight.numel() for weight in model.parameters())
    with FlopCounterMode(display=False) as counter:
        pixels = drawn(2, 16, 12)
        (forward(model, pixels=pixels, masked=pixels[..., 0] > 0).logits - pixels).square().mean().backward()
    assert asked.family.flops(asked.sizes(), facts, 16) == pytest.approx(counter.get_total_flops() / 2, rel=0.05)


def test_growth_and_pruning_act_on_its_blocks() -> None:
    small = build()
    view = anatomy(small)
    assert view.kind == "image-encoder" and view.head is None and not view.tied and not view.embeddings and len(view.blocks) == 2
    assert view.blocks[1].attention.q.shape == (32, 32) and view.blocks[1].mlp.up.shape == (128, 32) and len(linears(small)) == 12
    pixels = drawn(2, 16, 12)
    silent = make(Start, {"deepen": {"new": "zero"}}).build(small, config_for(settings(layers=4), Images(8, 3), 16), 0)
    torch.testing.assert_close(forward(silent.eval(), pixels=pixels).logits, forward(small.eval(), pixels=pixels).logits)
    stacked = make(Start, {"stack": {"factor": 2}}).build(small, config_for(settings(layers=4), Images(8, 3), 16), 0)
    assert torch.equal(anatomy(stacked).blocks[3].mlp.down.get(), view.blocks[1].mlp.down.get())
    with pytest.raises(PartError, match=r"widen: no rule says how vit\.embeddings\.\w+ of vit grows"):
        make(Start, "widen").build(small, config_for(settings(width=64, heads=8), Images(8, 3), 16), 0)
    with pytest.raises(PartError, match="has patch 2 and this one 4"):
        make(Start, {"stack": {"factor": 2}}).build(small, config_for(settings(layers=4, patch=4), Images(8, 3), 16), 0)
    masks = make(Structure, {"fixed-mask": {"sparsity": 0.5}})
    masks.apply(small)
    assert sum(int((module.weight == 0).sum()) for module in linears(small).values()) == sum(  # type: ignore[union-attr, arg-type, misc]
        module.weight.numel() // 2  # type: ignore[union-attr, operator]
        for module in linears(small).values()
    )


def test_export_and_load_give_bitwise_the_same_model(tmp_path: Any) -> None:
    from transformers import AutoModelForMaskedImageModeling

    model = build()
    export(model, tmp_path)
    assert "AutoModelForMaskedImageModeling" in (tmp_path / "README.md").read_text(encoding="utf-8")
    for again in (load(tmp_path), AutoModelForMaskedImageModeling.from_pretrained(tmp_path, local_files_only=True)):
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())
