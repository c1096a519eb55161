"""Scales of papers that train nothing: read, measured, judged."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from windtunnel.commands.main import main
from windtunnel.core.errors import UserError
from windtunnel.core.registry import names
from windtunnel.laws.claims import reproduce
from windtunnel.parts.experiment.mixture_sampling import MixtureSampling
from windtunnel.report import markdown
from windtunnel.slots import Experiment
from windtunnel.study.experiment import do, experiment_from
from windtunnel.study.papers import load_paper, measured

SCALE = {"experiment": {"mixture-sampling": {"particles": 200, "steps": 20}}, "arms": {"exact": {"correct": "exact"}}, "seeds": 3}
PAPER = """\
papers: [better-samples]
title: Samples
year: 2025
claim: Draws from the truth are nearer to it.
expect: [{arm: exact, metric: mass_error, relation: not-worse, by: 0.5}]
parts: [mixture-sampling]
scales:
  cpu:
    experiment: {mixture-sampling: {target: product, particles: 200, steps: 20}}
    arms: {exact: {correct: exact}}
    seeds: 3
  more:
    experiment: {mixture-sampling: {target: product, particles: 400, steps: 20}}
"""


def written(folder: Path, text: str = PAPER) -> Path:
    path = folder / "vision" / "better-samples" / "paper.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_arms_are_other_settings_and_seeds_are_paired():
    file = experiment_from(SCALE, document=None, prefix=())
    found = do(file, "samples")
    assert file.seeds == (0, 1, 2) and file.settings()["exact"] == MixtureSampling(particles=200, steps=20, correct="exact")
    values = {arm: {run.seed: run.test["mass_error"] for run in found.runs if run.arm == arm} for arm in ("baseline", "exact")}
    assert values["exact"][1] == MixtureSampling(particles=200, steps=20, correct="exact").measure(1)["mass_error"]
    differences = [values["exact"][seed] - values["baseline"][seed] for seed in (0, 1, 2)]
    assert found.arms["exact"].test.difference == pytest.approx(sum(differences) / 3)
    assert (found.study.metric, found.study.unit, found.study.better) == ("mass_error", "total variation", "lower")
    assert (
        found.finished and found.progress.finished == 6 and found.recipes["exact"]["experiment"]["mixture-sampling"]["correct"] == "exact"
    )


def test_a_paper_holds_one_in_the_place_of_a_study(tmp_path, capsys):
    path = written(tmp_path)
    paper = load_paper(path)
    assert "flew" not in (told := markdown(reproduce(path, "cpu", tmp_path / "out"))) and "measured with 3 seeds" in told
    result = reproduce(path, "cpu", tmp_path / "out")
    assert result.flops == 0 and measured(paper)["cpu"] == result and result.expectations[0].improvement.mean > 0
    assert set(result.expectations[0].values["exact"]) == {0, 1, 2}
    assert result.seconds == pytest.approx(sum(run.totals.seconds for run in result.runs), rel=1e-3), "what every run cost counts"
    assert (
        "mass error" in markdown(result).replace("_", " ")
        and (tmp_path / "out" / "studies" / "better-samples.cpu" / "result.json").exists()
    )
    assert paper.experiment("more").settings()["exact"].particles == 400, "arms are taken over from the first scale"
    with pytest.raises(UserError, match="is an experiment, which trains nothing"):
        paper.study("cpu")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(path), "--json"])
    assert not ended.value.code and json.loads(capsys.readouterr().out)["cpu"]["trains"] is False


@pytest.mark.parametrize(
    ("change", "line", "said"),
    [
        (("correct: exact}}", "corect: exact}}"), 10, "did you mean 'correct'"),
        (("exact: {correct", "exakt: {correct"), 5, "did you mean 'exakt'"),
        (("mixture-sampling: {target", "mixture-samplin: {target"), 9, "did you mean 'mixture-sampling'"),
        (("seeds: 3", "sedes: 3"), 11, "did you mean 'seeds'"),
    ],
)
def test_a_mistake_in_an_experiment_is_named_with_its_line(tmp_path, change, line, said):
    path = written(tmp_path, PAPER.replace(*change, 1))
    with pytest.raises(UserError) as caught:
        load_paper(path).experiment("cpu")
    assert f"{path}:{line}:" in str(caught.value) and said in str(caught.value), str(caught.value)


def test_what_fails_is_told_and_stops_nothing():
    class Stumbles(Experiment, name="stumbles"):
        """Cannot measure the seed 1, and with a knob none."""

        never: bool = False

        def measure(self, seed: int) -> dict[str, float]:
            if seed == 1 or self.never:
                raise ValueError(f"not {seed}")
            return {"number": 1.0 + seed}

    assert "stumbles" in names(Experiment)
    found = do(experiment_from({"experiment": "stumbles", "arms": {"none": {"never": True}}, "seeds": 3}, document=None, prefix=()), "x")
    assert found.failure is None and found.baseline.seeds == 2 and found.arms["none"].verdict == "failed"
    assert [run.error for run in found.runs if run.arm == "baseline" and not run.finished] == ["ValueError: not 1"]
    whole = {"experiment": {"stumbles": {"never": True}}, "arms": {"same": {}}, "seeds": 2}
    assert do(experiment_from(whole, document=None, prefix=()), "x").error == "ValueError: not 0"


def test_what_was_measured_before_an_end_is_not_measured_again(tmp_path, monkeypatch):
    file, real, asked = experiment_from(SCALE, document=None, prefix=()), MixtureSampling.measure, []

    def measure(self, seed):
        asked.append((self.correct, seed))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return real(self, seed) | {"no number": float("nan")}

    monkeypatch.setattr(MixtureSampling, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        do(file, "samples", tmp_path)
    written = io.StringIO()
    found, lines = do(file, "samples", tmp_path, written), written.getvalue().splitlines()
    assert len(asked) == 7 and asked[3] == asked[4] and lines[0] == "samples: 3 measurements to make, 3 made before"
    assert lines[1].startswith("[4/6] exact seed 1: mass_error 0.") and "left)" in lines[1] and "left" not in lines[-1]
    whole = do(file, "samples", tmp_path / "anew")
    assert [run.test for run in found.runs] == [run.test for run in whole.runs] and found.runs[0].test["no number"] is None
    do(file.model_copy(update={"experiment": MixtureSampling(particles=201, steps=20)}), "samples", tmp_path)
    assert len(asked) == 7 + 6 + 6, "other settings are other measurements"


def test_one_that_measures_nothing_is_told_so(monkeypatch):
    monkeypatch.setattr(MixtureSampling, "measure", lambda self, seed: {})
    found = do(experiment_from(SCALE, document=None, prefix=()), "samples")
    assert found.progress.failed == 6 and found.failure is not None and "mixture-sampling: measures nothing" in found.failure.message
