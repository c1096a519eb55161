"""Curators that hold models: these are flown before the corpus, what they cost is charged to every run on it, and nothing is done twice."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from windtunnel.core.errors import PartError
from windtunnel.core.registry import make
from windtunnel.data.corpus.glance import Glance
from windtunnel.data.corpus.tally import Tally
from windtunnel.recipe import data_key, needed
from windtunnel.slots import Curator
from windtunnel.study.file import load_study
from windtunnel.study.fly import check_study, fly_study
from windtunnel.study.look import refuse_idle_curators
from windtunnel.train import curation
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

UNITS = ("tokens", "flops", "effective_flops", "seconds")


def judge(steps: int = 2, **knobs: Any) -> dict[str, Any]:
    return {"perplexity": {"model": {"recipe": {"budget": {"steps": steps}}}, "keep": 0.5, "tokens": 24, "batch": 16} | knobs}


@pytest.fixture(scope="module")
def curated(tiny, tmp_path_factory):
    """A recipe with a curator that holds a model, its cache and its stream."""
    cache = tmp_path_factory.mktemp("curated")
    recipe = tiny(curators=[judge(sources=["code"])], budget={"steps": 6})
    return recipe, cache, prepare(recipe, cache)


def test_the_model_is_flown_first_and_its_cost_lies_with_the_corpus(curated, stream):
    recipe, cache, made = curated
    (run,) = [path for path in (cache / "runs").iterdir() if path.is_dir()]
    (one,) = needed(recipe).values()
    assert run.name.startswith(one.key(curation.SEED, curation.PLAIN)) and not one.curators and not needed(recipe, curators=False)
    assert data_key(one) != data_key(recipe)
    trained, own = (
        made.curation[one.key(curation.SEED, curation.PLAIN)],
        made.curation[next(name for name in made.curation if "curators of" in name)],
    )
    assert trained["steps"] == 2 and all(trained[unit] > 0 and own[unit] > 0 for unit in UNITS) and own["steps"] == 0
    # Half of the characters of one source stays, the other is as it was.
    assert 0.3 < made.bytes("train")["code"] / stream.bytes("train")["code"] < 0.52
    assert made.bytes("train")["prose"] == stream.bytes("train")["prose"] and made.bytes("test") == stream.bytes("test")
    assert any("curator perplexity" in row["what"] for row in made.table)


def test_every_run_on_the_corpus_pays_for_it(curated, tmp_path):
    recipe, _, made = curated
    record = fly(recipe, 7, made, tmp_path / "run")
    assert record["status"] == "finished", record
    assert record["curation"] == made.curation
    for unit in UNITS:
        assert record["charged"][unit] == pytest.approx(sum(cost[unit] for cost in made.curation.values()))
    assert record["totals"]["steps"] == 4, "two of the six steps of the budget are the scorer's"
    assert record["totals"]["flops"] > record["charged"]["flops"] > made.curation[next(iter(made.curation))]["flops"]


def test_nothing_is_done_twice(curated, monkeypatch):
    recipe, cache, made = curated
    monkeypatch.setattr("windtunnel.train.run.fly", lambda *_, **__: pytest.fail("it is flown again"))
    monkeypatch.setattr("windtunnel.parts.curator.perplexity.mean_losses", lambda *_: pytest.fail("it scores again"))
    assert prepare(recipe, cache).fingerprint == made.fingerprint


def test_a_model_that_was_deleted_is_trained_again(curated, tmp_path):
    recipe, cache, made = curated
    shutil.copytree(cache / "runs", tmp_path / "runs")
    (run,) = [path for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    shutil.rmtree(run / "model")
    again = prepare(recipe, tmp_path)
    assert again.fingerprint == made.fingerprint and (run / "model" / "config.json").is_file()


def test_preparing_goes_on_after_it_was_interrupted(curated, tmp_path, monkeypatch):
    """The model is not trained again, documents that were judged are not judged again, and what all that cost is the same."""
    from windtunnel.parts.curator import perplexity

    recipe, _, made = curated
    real, calls = perplexity.mean_losses, 0

    def cut(model: Any, numbers: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return real(model, numbers)

    monkeypatch.setattr(perplexity, "mean_losses", cut)
    with pytest.raises(KeyboardInterrupt):
        prepare(recipe, tmp_path)
    (journal,) = (tmp_path / "corpora").glob("curating-*")
    journal.write_text(journal.read_text() + '\n{"name": "half a li')
    flown = []
    monkeypatch.setattr("windtunnel.train.loop.train", lambda *_, **__: flown.append(1))
    again = prepare(recipe, tmp_path)
    whole = len(journal.read_text().splitlines()) - 1
    assert calls == 3 + whole - 2 and not flown
    assert again.fingerprint == made.fingerprint
    for name, cost in made.curation.items():
        for unit in ("tokens", "flops", "steps"):
            assert again.curation[name][unit] == cost[unit]


def test_what_a_curator_has_computed_is_known_by_its_code_too(tiny, tmp_path, monkeypatch):
    def once(value: int) -> int:
        handed = curation.curation_of(tiny(), {}, tmp_path / "curating").context(make(Curator, "exact-duplicates"), Tally("all"))
        return handed.once("same input", lambda: value)

    assert [once(1), once(2)] == [1, 1]
    monkeypatch.setattr("windtunnel.core.keys.digest_of", lambda part: "its code has changed")
    assert [once(3), once(4)] == [3, 3]


@pytest.mark.parametrize("which", ["lowest", "middle", "highest"])
def test_which_documents_stay(which):
    from windtunnel.kits.text.choice import _best, _ranked

    entries = [(float(n), str(n).encode(), 10) for n in (3, 0, 5, 1, 4, 2)]
    kept = sorted(key.decode() for key in _best(_ranked(entries, which), 0.34))
    assert kept == {"lowest": ["0", "1"], "middle": ["2", "3"], "highest": ["4", "5"]}[which]


def test_perplexities_are_those_of_a_causal_model_alone(tiny, stream, tmp_path):
    """Padding and neighbours in the batch do not matter; the same numbers as one document at a time."""
    import torch

    from windtunnel.models.load import load
    from windtunnel.parts.curator.perplexity import mean_losses

    fly(tiny(budget={"steps": 2}), 0, stream, tmp_path / "run")
    model = load(tmp_path / "run" / "model").eval()
    numbers = [[0, 5, 9, 200, 31], [0, 17], [0], [0, 400, 3, 8]]
    for row, found in zip(numbers, mean_losses(model, numbers), strict=True):
        if len(row) == 1:
            assert found == 0.0
            continue
        logits = model(torch.tensor([row])).logits[0, :-1].float()
        assert found == pytest.approx(torch.nn.functional.cross_entropy(logits, torch.tensor(row[1:])).item(), abs=1e-5)


def test_a_study_flies_the_model_once_and_a_second_one_flies_nothing(tiny, corpus, tmp_path):
    base = tiny().model_dump(mode="json")
    phase = base["phases"][0]
    shared = {key: base[key] for key in ("split", "precision", "evaluate_every", "evaluation_tokens", "test_tokens")}
    raw = {
        "corpus": corpus,
        "budget": {"steps": 6},
        "seeds": 2,
        "curve": [0.5, 1.0],
        "baseline": shared | {"tokenizer": {"vocabulary": 512, "sentinels": 16}, "model": phase["model"], "context": 32, "batch": 4},
        "recipes": {"judge": {"share": 0.34}},
        "arms": {
            "middle": {"curators": [judge(model={"recipe": "judge"})]},
            "lowest": {"curators": [judge(model={"recipe": "judge"}, which="lowest")]},
        },
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(raw))
    study = load_study(file)
    assert check_study(study, timed=False)["runs"] == 1 + 2 * (2 + 2), "the model that both curators hold is flown once, for all seeds"
    events: list[dict[str, Any]] = []
    result = fly_study(study, tmp_path / "out", workers=1, quiet=True, on_event=events.append)
    assert result["error"] is None and all(run["status"] == "finished" for run in result["runs"])
    assert len([event for event in events if event["event"] == "finished"]) == 9
    flops = {arm: [run["totals"]["steps"] for run in result["runs"] if run["arm"] == arm and run["multiple"] == 1.0] for arm in raw["arms"]}
    assert flops == {"middle": [4, 4], "lowest": [4, 4]}, "two steps of six are the scorer's"
    events.clear()
    fly_study(study, tmp_path / "out", workers=1, quiet=True, on_event=events.append)
    assert not [event for event in events if event["event"] in ("finished", "started")]
    assert len(list(Path(tmp_path / "out" / "runs").iterdir())) == 9


@pytest.mark.parametrize("curator", ["near-duplicates", {"normalise": {}}, "personal-data"])
def test_what_works_on_text_is_refused_where_no_document_has_any(curator, tiny, tmp_path):
    digits = {"corpus": {"digits": "builtin:digits"}, "encoding": "pixels", "objective": "masked-patches", "model": {"family": "vit"}}
    recipe = tiny(**digits, evaluations="probe", curators=[curator], context=4)
    says = r"works on text, and the documents of digits have none \(their fields: image, label\).* these need no text: .*exact-duplicates"
    with pytest.raises(PartError, match=says):
        refuse_idle_curators(recipe, {"digits": Glance("digits", recipe.corpus["digits"])})
    with pytest.raises(PartError, match=says):
        prepare(recipe, tmp_path)
    captioned = tiny(corpus={"drawn": {"drawn-shapes": {"count": 60, "size": 8}}}, curators=[curator])
    refuse_idle_curators(captioned, {"drawn": Glance("drawn", captioned.corpus["drawn"])})
