"""The rungs of a ladder: a study at other sizes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from windtunnel.core.errors import UserError
from windtunnel.laws.ladder import rung
from windtunnel.study.file import StudyFile, load_study
from windtunnel.train.estimate import estimate

BASE = {"section": "S", "optimizer": {"adamw": {"learning_rate": 0.008}}}
ARMS = {"cold": {"model": {"initializer_range": 0.02}}, "half": {"batch": 16}, "cosine": {"schedule": {"cosine": {"warmup": 0.02}}}}


def study_of(folder: Path, **more: Any) -> StudyFile:
    file = folder / "mine.yaml"
    raw = {"corpus": {"notes": "/nowhere"}, "budget": {"tokens_per_parameter": 20}, "seeds": 3, "baseline": BASE, "arms": ARMS, **more}
    file.write_text(yaml.safe_dump(raw))
    return load_study(file)


def test_a_rung_carries_shape_batch_and_rates_of_every_arm_by_one_rule(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    written = tmp_path / "rung.yaml"
    written.write_text(yaml.safe_dump(rung(study, 40e3)))
    found = load_study(written)
    assert found.name == "mine-40k" and found.seed_list == (0, 1, 2) and set(found.arms) == set(ARMS)
    assert estimate(found.resolved["baseline"])["parameters"] == pytest.approx(40e3, rel=0.1)
    shrunk = estimate(found.resolved["baseline"])["parameters"] / estimate(study.resolved["baseline"])["parameters"]
    for arm in ("baseline", *ARMS):
        before, after = study.resolved[arm].phases[0], found.resolved[arm].phases[0]
        width = before.model.sizes().width / after.model.sizes().width
        assert after.batch == round(before.batch * shrunk ** (2 / 3)), arm
        assert after.rate_multiple == pytest.approx(shrunk ** (-1 / 3), rel=1e-3), arm
        assert after.model.initializer_range == pytest.approx(before.model.initializer_range * width**0.5, rel=1e-3), arm
    assert set(found.arms["cosine"]) == {"schedule"}  # what is the baseline's stands there alone


def test_a_rung_of_the_same_size_is_the_study(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    again = rung(study, estimate(study.resolved["baseline"])["parameters"])
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    for arm, recipe in load_study(tmp_path / "again.yaml").resolved.items():
        mine, theirs = recipe.phases[0], study.resolved[arm].phases[0]
        assert mine.model.sizes() == theirs.model.sizes() and (mine.batch, mine.rate_multiple) == (theirs.batch, theirs.rate_multiple)


def test_rungs_have_names_of_their_own_and_find_what_lies_beside_the_study(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("")
    study = study_of(tmp_path, name="asked").model_copy(update={"parts": ("mine.py",)})
    names = {rung(study, size)["name"] for size in (40e3, 90e3)}
    assert names == {"asked-40k", "asked-90k"} and rung(study, 40e3)["parts"] == [str(tmp_path / "mine.py")]


def test_an_arm_that_goes_back_to_what_is_usual_stays_one(tmp_path: Path) -> None:
    baseline = {**BASE, "model": {"tied": False, "family": "gpt2"}}
    arms = {"tied": {"model": {"tied": True}}, "llama": {"model": {"family": "llama"}}}
    (tmp_path / "rung.yaml").write_text(yaml.safe_dump(rung(study_of(tmp_path, baseline=baseline, arms=arms), 80e3)))
    found = {arm: recipe.phases[0].model for arm, recipe in load_study(tmp_path / "rung.yaml").resolved.items()}
    assert not found["baseline"].tied and found["tied"].tied and found["tied"].family.name == "gpt2"
    assert found["llama"].family.name == "llama" and not found["llama"].tied


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a budget in FLOPs": ({"budget": {"flops": 1e12}}, "does not grow with the size"),
    "knobs that are tuned": ({"tune": {"optimizer.adamw.learning_rate": [0.004, 0.008], "share": 0.5}}, "carries rates by rule"),
    "an arm's budget in tokens": ({"arms": {"long": {"budget": {"tokens": 1e6}}}}, "arms.long.budget does not grow"),
    "heads": ({"arms": {"one": {"model": {"heads": 1}}}}, "arms.one.model.heads: heads follow from the width"),
    "phases": (
        {"arms": {"two": {"phases": [{"share": 0.5}, {"share": 0.5, "batch": 8}]}}},
        "arms.two has several phases.*leave it out",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_rule_cannot_carry_is_refused(name: str, tmp_path: Path) -> None:
    more, message = REFUSED[name]
    with pytest.raises(UserError, match=message):
        rung(study_of(tmp_path, **more), 40e3)


@pytest.mark.parametrize(
    ("size", "message"), [(0.0, "above zero"), (-4e4, "above zero"), (float("nan"), "above zero"), (500.0, "far from that")]
)
def test_sizes_that_are_none_or_out_of_reach_are_refused(size: float, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        rung(study_of(tmp_path), size)
