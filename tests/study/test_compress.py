"""A model made smaller: what each way leaves, how small it is, what it costs, and a folder that transformers loads."""

from __future__ import annotations

import pytest
import torch
from checkpoints import with_tokenizer
from tiny_models import build

from windtunnel.commands.compress import table
from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.models.anatomy import linears, transposed
from windtunnel.models.load import load
from windtunnel.models.save import export
from windtunnel.recipe import sources_from
from windtunnel.study.compress import compress, ways_of

TEXT = "a wing lifts the plane over stones, and the wind goes on. "


def test_each_way_is_measured_and_what_is_written_is_what_was_measured(tmp_path):
    from transformers import AutoModelForCausalLM

    model = with_tokenizer(tmp_path / "model")
    notes = tmp_path / "notes"
    notes.mkdir()
    for number in range(9):
        (notes / f"{number}.txt").write_text(f"{number}: {TEXT * (1 + number % 3)}{number * 7919}")
    ways = ways_of("8bit-16, 2:4, svd-25%")
    found = compress(str(model), ways, tmp_path / "out", sources_from({"notes": str(notes)}), context=16)
    before = linears(load(model))
    for row in found["rows"][1:]:
        smaller = AutoModelForCausalLM.from_pretrained(row["folder"])
        assert (tmp_path / "out" / "2-of-4" / "tokenizer.json").is_file()
        for name, module in linears(smaller).items():
            own = before[name].weight
            if row["way"] == "2:4":
                assert torch.equal(module.weight.unflatten(1, (-1, 4)).count_nonzero(-1), torch.full((len(own), own.shape[1] // 4), 2))
            elif row["way"] == "svd-25%":
                rank = int(0.25 * own.numel() / sum(own.shape))
                assert torch.linalg.matrix_rank(module.weight) == rank
                spare = torch.linalg.svdvals(own)[rank:].norm()
                assert torch.allclose((own - module.weight).norm(), spare, rtol=1e-3)
    none, eight, pattern, thin = found["rows"]
    assert none["share"] == 1 and 0 < eight["changed"] < 0.02 < pattern["changed"] < thin["changed"] < 1
    total = sum(weight.numel() for weight in load(model).parameters())
    blocks = sum(module.weight.numel() for module in before.values())
    assert none["megabytes"] == pytest.approx(2 * total / 1e6)
    assert eight["megabytes"] == pytest.approx((2 * (total - blocks) + blocks * 9 / 8) / 1e6)
    assert pattern["megabytes"] == pytest.approx((2 * (total - blocks) + blocks * 9 / 8) / 1e6), "half of them, and where they stand"
    measured = {row["model"]: row for row in found["evaluation"]["numbers"]}
    assert 0 < abs(measured[eight["folder"]]["difference"]) < abs(measured[thin["folder"]]["difference"])
    head, rows = table(found)
    assert len(head) == len(rows[0]) and [row[0] for row in rows] == ["none", *ways] and " to " in rows[3][-1]
    with pytest.raises(UserError, match="choose another folder"):
        compress(str(model), ways, tmp_path / "out")


def test_where_one_way_fails_nothing_of_any_stays(tmp_path):
    model = with_tokenizer(tmp_path / "model")
    with pytest.raises(UserError):
        compress(str(model), ways_of("8bit-16, 2:7"), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").iterdir()]


def test_a_stored_transposed_matrix_is_the_same_matrix(tmp_path):
    model = export(build("gpt2"), tmp_path / "model")
    told: list[str] = []
    found = compress(str(model), ways_of("2:4"), tmp_path / "out", say=told.append)
    assert found["evaluation"] is None and 0 < found["rows"][1]["changed"] < 1
    smaller = linears(load(tmp_path / "out" / "2-of-4"))
    assert all(transposed(one) and int(one.weight.T.unflatten(1, (-1, 4)).count_nonzero(-1).max()) == 2 for one in smaller.values())
    again = compress(str(tmp_path / "out" / "2-of-4"), ways_of("2:4"), tmp_path / "again", say=told.append)
    assert again["rows"][1]["changed"] == 0 and "changes nothing" in told[-1]


@pytest.mark.parametrize(
    ("to", "says"),
    [("4bits", "write 4bit"), ("4:2", "takes nothing away"), ("svd-100%", "nothing away"), ("9bit", "write 4bit"), ("2:4,2:4", "twice")],
)
def test_what_is_no_way_is_refused(to, says):
    with pytest.raises(UserError, match=says):
        ways_of(to)


def test_a_way_that_is_named_in_an_option_of_its_own_is_not_lost(capsys):
    with pytest.raises(SystemExit):
        main(["compress", "nowhere", "--to", "4bit", "--to", "4bit"])
    assert "--to 4bit,4bit: 4bit stands there twice" in capsys.readouterr().err
