"""Merging folders tensor by tensor: equal to what transformers loads and adds, and refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_models import build

from windtunnel.core.errors import UserError
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.train.merge import Weights, merge_models, read_merge


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    return [export(build("llama", seed=seed, tied=True), tmp_path / name) for seed, name in enumerate("abc")]


def merged(folder: Path, out: str = "out", **recipe: Any) -> Path:
    (folder / "merge.yaml").write_text(yaml.safe_dump(recipe))
    merge_models(read_merge(folder / "merge.yaml"), folder / out)
    return folder / out


def arithmetic(folders: list[Path], **knobs: Any) -> dict[str, Any]:
    base, *models = ({"folder": str(folder)} for folder in folders)
    return {"task-arithmetic": {"base": base, "models": models, **knobs}}


def test_a_sum_is_that_of_the_models_as_they_load(folders, tmp_path):
    found = load(merged(tmp_path, merge=arithmetic(folders, weights=[0.5, -1.0])))
    base, one, other = (load(folder).state_dict() for folder in folders)
    for name, value in found.state_dict().items():
        assert torch.allclose(value, base[name] + 0.5 * (one[name] - base[name]) - (other[name] - base[name]), atol=1e-6), name
    soup = {"soup": {"ingredients": [{"folder": str(folder)} for folder in folders]}}
    narrow = load_file(merged(tmp_path, "narrow", merge=soup, dtype="bfloat16") / "model.safetensors")
    mean = torch.stack([state["model.norm.weight"].double() for state in (base, one, other)]).mean(0)
    assert narrow["model.norm.weight"].dtype == torch.bfloat16 and torch.allclose(narrow["model.norm.weight"].double(), mean, atol=1e-2)
    assert json.loads((tmp_path / "narrow" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_cannot_be_merged_is_refused_by_name(folders, tmp_path):
    other = export(build("llama", layers=3, tied=True), tmp_path / "deeper")
    with pytest.raises(UserError, match=r"models\.0: .* differ in all; .*deepen"):
        merged(tmp_path, merge=arithmetic([folders[0], other]))
    with pytest.raises(UserError, match="is a gpt2 and base a llama"):
        merged(tmp_path, merge=arithmetic([folders[0], export(build("gpt2"), tmp_path / "gpt2")]))
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "its/base"}))
    with pytest.raises(UserError, match="is an adapter and no model; merge it into its/base"):
        merged(tmp_path, merge=arithmetic([folders[0], tmp_path / "adapter"]))
    for folder, vocabulary in ((folders[0], {"a": 0, "b": 1}), (folders[1], {"b": 0, "a": 1})):
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}}))
    with pytest.raises(UserError, match=r"models\.0: the tokenizer in .*transplant"):
        merged(tmp_path, merge=arithmetic(folders))
    broken = load_file(folders[2] / "model.safetensors")
    broken["model.norm.weight"][3] = torch.nan
    save_file(broken, folders[2] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weight model\.norm\.weight has 1 values that are not finite"):
        merged(tmp_path, merge=arithmetic([folders[0], folders[2]]))
    assert not (tmp_path / "out").exists()
    with pytest.raises(UserError, match=r"merge\.yaml:\d+: merge: 'checkpoint' needs more than weights; .*known: soup, task-arithmetic$"):
        merged(tmp_path, merge={"checkpoint": str(folders[0])})
    with pytest.raises(UserError, match=r"'soop' is no start; of those that merge, did you mean 'soup'\?"):
        merged(tmp_path, merge={"soop": {"ingredients": []}})


@pytest.mark.parametrize(("file", "said"), [("config.json", "not a configuration that"), ("tokenizer.json", "damaged: it is no tokenizer")])
def test_files_beside_weights_that_are_cut_off_are_named(folders, tmp_path, file, said):
    (folders[0] / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"a": 0}}}))
    (folders[1] / file).write_text('{"model_type":')
    with pytest.raises(UserError, match=rf"b/{file}: {said}"):
        merged(tmp_path, merge=arithmetic(folders[:2]))
    assert not (tmp_path / "out").exists()


def test_a_merge_that_changes_nothing_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match=r"nothing is merged: .*no weight of it changes$"):
        merged(tmp_path, merge=arithmetic([folders[0], folders[0]]))
    for folder in folders:  # as a model without its head is saved: no name begins as those of the family's stacks do
        weights = load_file(folder / "model.safetensors")
        save_file({name.removeprefix("model."): value for name, value in weights.items()}, folder / "model.safetensors")
    with pytest.raises(UserError, match="no weight of it changes in the first 1 layers; its weights are called"):
        merged(tmp_path, merge=arithmetic(folders, layers=1))
    assert not (tmp_path / "out").exists()


def test_a_merge_in_pieces_is_that_of_whole_weights(folders, tmp_path, monkeypatch):
    whole = {key: load_file(merged(tmp_path, f"{key}-whole", merge=merge) / "model.safetensors") for key, merge in _merges(folders).items()}
    monkeypatch.setattr("windtunnel.train.merge.PIECE", 100)
    read: list[slice] = []
    plain = Weights.read
    monkeypatch.setattr(Weights, "read", lambda self, name, rows: (read.append(rows), plain(self, name, rows))[1])
    for key, merge in _merges(folders).items():
        read.clear()
        found = load_file(merged(tmp_path, key, merge=merge) / "model.safetensors")
        assert all(torch.equal(value, found[name]) for name, value in whole[key].items())
        cut = any(rows.stop is not None and rows.start > 0 for rows in read)
        assert cut == (key != "top"), "what a mask keeps depends on the whole weight"


def _merges(folders: list[Path]) -> dict[str, Any]:
    soup = {"soup": {"ingredients": [{"folder": str(folder)} for folder in folders]}}
    return {"soup": soup, "sum": arithmetic(folders), "top": arithmetic(folders, mask="top", density=0.5)}
