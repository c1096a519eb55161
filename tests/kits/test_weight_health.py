"""Health of weights: noise is told from what has learned, and dead and collapsed layers are found, in any checkpoint."""

from __future__ import annotations

import json
import math

import pytest
import torch
from checkpoints import written
from safetensors.torch import save_file
from tiny_models import build
from typer.testing import CliRunner

from windtunnel.commands.main import app
from windtunnel.core import registry
from windtunnel.core.errors import UserError
from windtunnel.kits.weights.health import layers, stored
from windtunnel.slots import Evaluation
from windtunnel.study.evaluate import evaluate


def of(tensor: torch.Tensor):
    return layers([("w", tensor)])[0]


@pytest.mark.parametrize("shape", [(64, 64), (64, 170), (300, 16), (32, 16, 3, 3), (64, 1, 3, 3), (24, 3, 8, 8)])
def test_noise_of_any_shape_and_distribution_is_untrained(shape):
    random = torch.Generator().manual_seed(0)
    for tensor in (torch.randn(shape, generator=random) * 0.02, torch.rand(shape, generator=random) - 0.5):
        found = of(tensor)
        assert (found.verdict, found.standing_out) == ("untrained", 0)
        assert found.entropy == pytest.approx(1, abs=0.03)


def test_a_layer_that_is_not_finite_is_told_and_the_others_are_measured():
    broken, whole = torch.full((16, 16), math.nan), torch.eye(16)
    found = layers([("broken", broken), ("whole", whole)])
    assert [layer.name for layer in found] == ["broken", "whole"] and found[0].verdict == "not finite" and found[1].verdict == ""


def test_what_has_a_direction_is_not_noise():
    random = torch.Generator().manual_seed(1)
    noise, left, right = (torch.randn(*shape, generator=random) for shape in ((64, 128), (64, 1), (1, 128)))
    found = of(noise + 0.4 * left @ right)
    assert (found.verdict, found.standing_out) == ("", 1)
    assert of(0.01 * noise + left @ right).verdict == "collapsed"
    assert of(torch.linalg.qr(noise.T).Q).entropy > 1.05  # more even than noise: an orthogonal matrix is not called untrained
    assert of(torch.linalg.qr(noise.T).Q).verdict == ""


def test_dead_rows_columns_and_kernels():
    random = torch.Generator().manual_seed(2)
    tensor = torch.randn(40, 40, generator=random)
    tensor[:, :25] *= 1e-4
    found = of(tensor)
    assert (found.dead_rows, found.dead_columns, found.verdict) == (0.0, 25 / 40, "dead")
    assert of(torch.zeros(3, 3)).verdict == "dead" and of(torch.zeros(20, 4, 3, 3)).verdict == "dead"
    kernels = torch.randn(8, 8, 3, 3, generator=random)
    kernels[:5] *= 1e-4
    assert (of(kernels).dead_rows, of(kernels).verdict) == (5 / 8, "dead")
    assert of(torch.randn(4, 40, generator=random)).verdict == "small"


def test_numbers_of_kernels_are_those_of_the_paper():
    """Entropy and orthogonality by their definitions in torchconvquality, except for what the entropy is divided by."""
    weight = torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(3)).double()
    weight[:, :, 0] *= 0.3
    kernels = weight.reshape(-1, 9)
    variance = torch.linalg.svdvals(kernels - kernels.mean(dim=0)) ** 2
    shares = variance / variance.sum()
    entropy = -float((shares * shares.log10()).sum())
    found = of(weight)
    assert found.entropy == pytest.approx(entropy * math.log(10) / (math.log(9) - 9 / (2 * 127)))
    unit = weight.flatten(1) / weight.flatten(1).norm(dim=1, keepdim=True)
    assert found.orthogonality == pytest.approx(float(1 - (unit @ unit.T - torch.eye(16)).abs().sum() / (16 * 15)))


def test_layers_left_random_are_found_among_those_that_learned(tmp_path):
    """A checkpoint of which two matrices are drawn anew, as a program that misses some names leaves it."""
    model = build("llama")
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                spikes = torch.randn(len(weight), 3, generator=random) @ torch.randn(3, weight.shape[1], generator=random)
                weight.copy_(torch.randn(weight.shape, generator=random) + spikes)
            if name in ("model.layers.0.mlp.up_proj.weight", "model.layers.1.self_attn.k_proj.weight"):
                weight.normal_(generator=random)
    model.save_pretrained(tmp_path / "one")
    found = evaluate([str(tmp_path / "one")], {}, tmp_path / "cache", weights=True)
    verdicts = found.weights()["verdict"]
    assert {name for (_, name), word in verdicts.items() if word} == {
        "model.layers.0.mlp.up_proj.weight",
        "model.layers.1.self_attn.k_proj.weight",
    }
    numbers = registry.make(Evaluation, "weight-health").evaluate(model, None)
    assert numbers["weight_health"] == numbers["weight_health/untrained"] == 2 / len(verdicts)
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "one"), "--weights"]).output
    assert f"{len(verdicts)} layers judged: 0 dead, 0 collapsed, 2 untrained" in shown


def test_any_file_of_weights_is_read(tmp_path):
    save_file({"features.weight": torch.randn(32, 16, 3, 3), "count": torch.ones(3, 3, dtype=torch.int64)}, tmp_path / "cnn.safetensors")
    torch.save({"features.weight": torch.randn(32, 16, 3, 3)}, tmp_path / "cnn.pth")
    for name in ("cnn.safetensors", "cnn.pth"):
        assert [(layer.name, layer.kind) for layer in layers(stored(str(tmp_path / name)))] == [("features.weight", "filters")]
    shown = CliRunner().invoke(app, ["evaluate", str(tmp_path / "cnn.pth"), "--weights", "--json"])
    assert json.loads(shown.stdout)["weights"][0]["shape"] == [32, 16, 3, 3]
    sharded = written(tmp_path / "sharded", form="sharded")
    assert len(layers(stored(str(sharded)))) == len(layers(stored(str(written(tmp_path / "pickled", form="pickled")))))
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="broken"):
        list(stored(str(tmp_path / "broken.safetensors")))
    save_file({"norm": torch.ones(4)}, tmp_path / "vectors.safetensors")
    with pytest.raises(UserError, match="holds no matrix"):
        evaluate([str(tmp_path / "vectors.safetensors")], {}, tmp_path, weights=True)
