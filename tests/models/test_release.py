"""Two releases of a model: what changed in content, which version that asks for, and what the new one does not say."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from windtunnel.core.card import MADE
from windtunnel.core.errors import UserError
from windtunnel.models.release import BUMPS, compared, version_of

EVENTS = {"retrained": "major", "cast": "major", "tokens": "major", "positions": "minor", "card alone": "patch", "resharded": "none"}


def released(folder: Path, version: str = "1.0.0", seed: int = 0, **changed) -> Path:
    folder.mkdir(parents=True)
    weights = {name: torch.randn(4, 3, generator=torch.Generator().manual_seed(seed + number)) for number, name in enumerate("ab")}
    weights = {name: value.to(changed.get("dtype", torch.float32)) for name, value in weights.items()}
    if changed.get("sharded"):
        for number, name in enumerate(weights):
            save_file({name: weights[name]}, folder / f"model-{number}.safetensors")
        index = {"weight_map": {name: f"model-{number}.safetensors" for number, name in enumerate(weights)}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        save_file(weights, folder / "model.safetensors")
    config = {
        "model_type": "llama",
        "max_position_embeddings": changed.get("positions", 128),
        "transformers_version": changed.get("by", "5.0"),
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text(json.dumps({"tokens": changed.get("tokens", 10)}))
    head = f"---\nversion: {version}\nbase_model: some/model\n---\n" if version else "---\nbase_model: some/model\n---\n"
    (folder / "README.md").write_text(head + changed.get("text", "A model."))
    return folder


def event(name: str) -> dict:
    return {
        "retrained": {"seed": 7},
        "cast": {"dtype": torch.bfloat16},
        "tokens": {"tokens": 11},
        "positions": {"positions": 256},
        "card alone": {},
        "resharded": {"sharded": True, "by": "5.1"},
    }[name]


def raised(by: str) -> str:
    return {"major": "2.0.0", "minor": "1.1.0", "patch": "1.0.1", "none": "1.0.0"}[by]


def test_changes_that_no_version_shows_are_found_in_two_hundred_histories(tmp_path):
    """What the paper counts. A rule that looks at names and versions alone finds none of the silent changes."""
    draw, wrong, silent = random.Random(0), [], 0
    old = released(tmp_path / "old")
    for number in range(200):
        name, made = draw.choice(list(EVENTS)), draw.choice(BUMPS)
        text = "Another card." if name == "card alone" or draw.random() < 0.5 else "A model."
        new = released(tmp_path / str(number), raised(made), text=text, **event(name))
        found = compared(old, new)
        card = text != "A model." or made != "none"
        asks = max(EVENTS[name], "patch" if card else "none", key=BUMPS.index)
        unsaid = BUMPS.index(made) < BUMPS.index(asks)
        silent += unsaid and made == "none"
        if (found.asks, found.made, any("asks for" in one for one in found.findings)) != (asks, made, unsaid):
            wrong.append((name, made, found))
    assert silent > 20 and not wrong, wrong[:3]


def test_what_changed_is_told_by_content_and_not_by_files(tmp_path):
    old = released(tmp_path / "old")
    assert compared(old, released(tmp_path / "sharded", sharded=True, by="5.9")) == ((), "none", "none", ())
    found = compared(old, released(tmp_path / "both", seed=3, tokens=12))
    assert found.changed == ("weights", "tokenizer") and found.asks == "major"
    assert found.findings == (
        "weights and tokenizer changed, which asks for a major step, and the version says 1.0.0 (no step)",
        "the weights changed and the card is word for word the former one",
    )


def test_a_release_without_version_card_or_parent_is_told(tmp_path):
    old, new = released(tmp_path / "old", ""), released(tmp_path / "new", "", seed=1)
    assert compared(old, new).findings[0].startswith("weights changed, and both releases have no version")
    (new / "README.md").unlink()
    assert "there is no README.md" in compared(old, new).findings[-1]
    (new / "README.md").write_text("Trained.")
    assert "names neither the model that it began from" in compared(old, new).findings[-1]
    (new / "README.md").write_text(f"Trained.\n\n{MADE}\n")
    assert not any("neither" in one for one in compared(old, new).findings)


def test_a_name_that_says_another_size_and_folders_that_hold_no_model(tmp_path):
    old = released(tmp_path / "old")
    assert any("says 7b, and it has 24 parameters" in one for one in compared(old, released(tmp_path / "model-7b")).findings)
    assert version_of(released(tmp_path / "model-v2.3", "")) == (2, 3, 0)
    with pytest.raises(UserError, match="no such folder"):
        compared(old, tmp_path / "nowhere")
    (old / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    with pytest.raises(UserError, match="damaged"):
        compared(released(tmp_path / "whole"), old)
