"""What the committed results of a section's baseline say."""

from __future__ import annotations

import json
import statistics

import pytest

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.recipe import recipe_from, section
from windtunnel.study import section as committed
from windtunnel.study.result import FORMAT
from windtunnel.study.section import levels

VALUES = {0.5: {0: 2.4, 1: 2.5}, 1.0: {0: 2.0, 1: 2.1, 2: 2.3}}


@pytest.fixture
def shipped(tmp_path):
    recipe = recipe_from({"section": "S", "corpus": {"code": "builtin:stdlib"}})
    tokens = 20 * recipe.block_parameters
    runs = [
        {
            "arm": "baseline",
            "multiple": multiple,
            "seed": seed,
            "status": "finished",
            "test": {"bits_per_byte": value},
            "totals": {"tokens": multiple * tokens, "flops": multiple * 8e12, "seconds": 100.0},
        }
        for multiple, values in VALUES.items()
        for seed, value in values.items()
    ]
    runs.append({**runs[0], "seed": 7, "status": "failed", "test": {}})
    about = {"name": "s", "metric": "bits_per_byte", "unit": "bits per byte", "curve": [0.5, 1.0, 2.0], "seed_list": [0, 1, 2, 7]}
    result = {"format": FORMAT, "study": about, "runs": runs, "arms": {}, "recipes": {"baseline": recipe.model_dump(mode="json")}}
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "section-S-python.json").write_text(json.dumps(result))
    return tmp_path


def test_levels_are_the_finished_runs_at_each_budget_by_seed(shipped):
    first, second = levels("S", shipped)
    assert (first.corpus, first.tokens_per_parameter, second.tokens_per_parameter) == ("python", 10, 20)
    assert (first.values, second.values, second.flops) == (VALUES[0.5], VALUES[1.0], 8e12)
    assert (second.mean, second.sd) == (statistics.fmean([2.0, 2.1, 2.3]), statistics.stdev([2.0, 2.1, 2.3]))
    assert levels("M", shipped) == []


def test_an_unknown_section_has_no_levels(shipped):
    with pytest.raises(UserError, match="no section is called 'XS'; known: S, M, L"):
        levels("XS", shipped)


def test_the_command_shows_settings_and_baselines(shipped, monkeypatch, capsys):
    monkeypatch.setattr(committed, "library", lambda kind: shipped)
    with pytest.raises(SystemExit, match="0"):
        main(["sections", "S"])
    shown = capsys.readouterr().out
    assert "2.133" in shown and "0.153" in shown and "width: 64" in shown
    with pytest.raises(SystemExit, match="0"):
        main(["sections", "S", "--json"])
    (found,) = json.loads(capsys.readouterr().out)
    assert found["settings"] == section.section("S") and found["baseline"][1]["sd"] == pytest.approx(0.1528, abs=1e-4)
