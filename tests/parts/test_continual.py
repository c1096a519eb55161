"""Going on from a trained model: what pulls back, what looks at earlier text, what is measured of it, and the papers about it."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.kits.text.encoded import KEPT
from windtunnel.kits.text.vocabulary import Vocabulary
from windtunnel.models.init import config_for, fresh
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import (
    AfterStep,
    BatchContext,
    Curator,
    CuratorContext,
    Evaluation,
    HeldOut,
    LookContext,
    LossTerm,
    Progress,
    Source,
)
from windtunnel.train.run import fly

VOCABULARY = Vocabulary(64, 0, 1, 2, (3, 4), {"R": 5, "S": 6, "X": 7}, np.ones(64, np.int32), np.ones(64, bool))


def model_of(seed=0):
    sizes = ModelSettings(family="llama", depth=2, layers=1, width=16, heads=2)
    return fresh(config_for(sizes, VOCABULARY, 16), seed=seed)


def at(step, steps=100):
    return Progress(step, steps, 0, 1, 1, step / steps, step / steps, 0)


def weights(model):
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def shift(model, by):
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by)


# Moving back --------------------------------------------------------------------------------------------------------------------


def test_reptile_keeps_a_share_of_each_block_and_starts_the_next_from_there():
    model = model_of()
    rule = make(AfterStep, {"reptile": {"every": 3, "kept": 0.25}})
    begin, state = weights(model), rule.state(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    moments = copy.deepcopy(optimizer.state_dict())
    seen = []
    for step in range(7):
        shift(model, 1.0)
        rule.after_step(model, optimizer, at(step), state)
        seen.append({name: float((weight.detach() - begin[name]).mean()) for name, weight in model.named_parameters()})
    # three steps of 1 keep 0.75; the next block begins there: 0.75 + 0.25 * 3; a step after the last whole block stays
    for name in begin:
        assert [row[name] for row in seen] == pytest.approx([1, 2, 0.75, 1.75, 2.75, 1.5, 2.5], abs=1e-5), name
    assert all(torch.allclose(state["anchor"][name], begin[name] + 1.5, atol=1e-6) for name in begin)
    assert optimizer.state_dict() == moments


def test_reptile_does_not_act_before_its_first_block_is_whole():
    model = model_of()
    rule = make(AfterStep, {"reptile": {"every": 2, "kept": 0.5}})
    state = rule.state(model)
    shift(model, 1.0)
    before = weights(model)
    rule.after_step(model, None, at(0), state)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())


def test_interpolation_is_on_the_line_and_happens_once_at_the_end(tiny, stream, tmp_path):
    recipe = {"start": {"checkpoint": str(before_of(tiny, stream, tmp_path))}}
    plain = fly(tiny(**recipe), 0, stream, tmp_path / "plain")
    half = fly(tiny(**recipe, after_step={"interpolate": {"share": 0.25}}), 0, stream, tmp_path / "half")
    assert half["status"] == plain["status"] == "finished", half["traceback"]
    start, end, got = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("before", "plain", "half"))
    for name in end:
        assert torch.allclose(got[name], 0.75 * start[name] + 0.25 * end[name], atol=1e-6), name
    assert plain["validation"][1]["numbers"] == half["validation"][1]["numbers"]
    assert plain["validation"][-1]["numbers"] != half["validation"][-1]["numbers"], "the last evaluation sees what is kept"


def before_of(tiny, stream, folder):
    record = fly(tiny(budget={"steps": 4}), 3, stream, folder / "before")
    assert record["status"] == "finished", record["traceback"]
    return folder / "before" / "model"


def test_a_run_that_begins_with_trained_weights_is_measured_before_its_first_step(tiny, stream, tmp_path):
    folder = str(before_of(tiny, stream, tmp_path))
    recipe = tiny(start={"checkpoint": folder})
    whole = fly(recipe, 0, stream, tmp_path / "whole")
    assert [entry["step"] for entry in whole["validation"]] == [0, 3, 6]
    assert whole["validation"][0]["phase"] == 0 and whole["validation"][0]["flops"] == 0
    before = fly(tiny(budget={"steps": 4}), 3, stream, tmp_path / "before")
    assert whole["validation"][0]["numbers"] == before["validation"][-1]["numbers"]
    for _ in range(12):
        calls = iter([False, False, True])
        cut = fly(recipe, 0, stream, tmp_path / "cut", stop=lambda calls=calls: next(calls, True))
        if cut["status"] == "finished":
            break
    assert [entry["numbers"] for entry in cut["validation"]] == [entry["numbers"] for entry in whole["validation"]]
    scratch = fly(tiny(), 0, stream, tmp_path / "scratch")
    assert [entry["step"] for entry in scratch["validation"]] == [3, 6], "random weights are not worth a measurement"


# Looking at earlier text --------------------------------------------------------------------------------------------------------


class Linear(torch.nn.Module):
    """Two logits from one weight: its log-likelihood and Fisher information can be written down."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([weight]))


class Coin:
    """An objective of which each label is 1 with probability sigmoid(weight)."""

    name = "coin"

    def loss(self, model: Any, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Any:
        labels = batch["labels"]
        logits = torch.stack([torch.zeros(labels.shape), model.weight.expand(labels.shape)], -1)
        values = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none")
        return SimpleNamespace(values=values.view_as(labels), counts=labels != -100, outputs=SimpleNamespace(logits=logits))


def ahead_of(rows: list[list[int]]) -> LookContext:
    def batches(source: str, sequences: int, size: int):
        assert size == 1, "a square of a sum is not the sum of squares"
        for row in rows[:sequences]:
            yield {"labels": torch.tensor([row])}

    return LookContext(Coin(), batches, contextlib.nullcontext, {})  # type: ignore[arg-type]


def test_the_information_of_the_texts_labels_is_the_squared_gradient_of_each_sequence():
    model = Linear(0.5)
    p = 1 / (1 + math.exp(-0.5))
    term = make(LossTerm, {"elastic-weights": {"sources": ["old"], "labels": "data", "strength": 3.0, "sequences": 9}})
    state = term.state(model)
    term.look(model, state, ahead_of([[1, 1, 0], [0, 1, -100]]))
    # the gradient of the negative log-likelihood of a sequence is n * p - (number of ones)
    by_hand = ((3 * p - 2) ** 2 + (2 * p - 1) ** 2) / 5
    assert float(state["information"]["weight"]) == pytest.approx(by_hand, rel=1e-5)
    with torch.no_grad():
        model.weight.add_(0.2)
    loss = Coin().loss(model, {"labels": torch.tensor([[1]])})
    model.zero_grad()
    value = term.term(model, {}, loss, state, BatchContext(Coin(), at(0), {}))  # type: ignore[arg-type]
    assert float(value.detach()) == pytest.approx(0.5 * 3.0 * by_hand * 0.2**2, rel=1e-4)
    value.backward()
    assert float(model.weight.grad) == pytest.approx(3.0 * by_hand * 0.2, rel=1e-4)


def test_the_information_of_the_models_own_labels_is_that_of_the_distribution():
    model = Linear(0.5)
    p = 1 / (1 + math.exp(-0.5))
    torch.manual_seed(0)
    term = make(LossTerm, {"elastic-weights": {"sources": ["old"], "sequences": 400}})
    state = term.state(model)
    # every label is 1, which is not what the model expects: with its own labels that must not matter
    term.look(model, state, ahead_of([[1] * 16] * 400))
    assert float(state["information"]["weight"]) == pytest.approx(p * (1 - p), rel=0.25)
    nothing = make(LossTerm, {"elastic-weights": {"sources": ["old"], "labels": "data"}})
    with pytest.raises(PartError, match="say nothing"):
        nothing.look(model, nothing.state(model), ahead_of([[-100, -100]]))


def test_looking_ahead_is_charged_happens_once_and_shortens_the_phase(tiny, stream, tmp_path, monkeypatch):
    from windtunnel.parts.loss_term.elastic_weights import ElasticWeights

    plain = fly(tiny(), 0, stream, tmp_path / "plain")
    budget = plain["totals"]["flops"] * 1.0001
    looked = []
    real = ElasticWeights.look
    monkeypatch.setattr(ElasticWeights, "look", lambda self, *given: looked.append(1) or real(self, *given))
    term = {"elastic-weights": {"sources": ["code"], "sequences": 8, "strength": 100.0}}
    recipe = tiny(budget={"flops": budget}, losses=[term])
    for _ in range(12):
        calls = iter([False, True])
        record = fly(recipe, 0, stream, tmp_path / "with", stop=lambda calls=calls: next(calls, True))
        if record["status"] != "interrupted":
            break
    assert record["status"] == "finished", record["traceback"]
    assert len(looked) == 1, "a resumed run finds the information in its checkpoint"
    (phase,) = record["phases"]
    assert phase["ahead"]["tokens"] == 8 * 32 and record["totals"]["tokens"] == phase["tokens"] + 8 * 32
    step = plain["totals"]["flops"] / 6
    # eight sequences, forward and backward, and a forward pass to draw their labels from: about two steps of four and a third of each
    assert 2 * step < phase["ahead"]["flops"] < 3 * step
    assert record["totals"]["steps"] == int((budget - phase["ahead"]["flops"]) / step) == 3
    assert record["totals"]["flops"] == pytest.approx(phase["ahead"]["flops"] + 3 * step)


def test_a_stronger_pull_stays_nearer_to_the_start(tiny, stream, tmp_path):
    folder = str(before_of(tiny, stream, tmp_path))
    begin = load_file(tmp_path / "before" / "model" / "model.safetensors")
    distances = []
    for strength in (0.0, 1e6):
        term = {"elastic-weights": {"sources": ["code"], "sequences": 4, "strength": strength}}
        recipe = tiny(start={"checkpoint": folder}, sources=["prose"], losses=[term])
        record = fly(recipe, 0, stream, tmp_path / f"{strength:g}")
        assert record["status"] == "finished", record["traceback"]
        end = load_file(tmp_path / f"{strength:g}" / "model" / "model.safetensors")
        distances.append(sum(float((end[name] - begin[name]).square().sum()) for name in end))
    assert distances[1] < 0.9 * distances[0]


def test_a_source_that_is_not_there_is_refused_before_anything_runs(tiny):
    with pytest.raises(Exception, match=r"names source 'cod'.*did you mean 'code'"):
        tiny(losses=[{"elastic-weights": {"sources": ["cod"]}}])


# An accuracy that can dip -------------------------------------------------------------------------------------------------------


def judge_of(texts: dict[str, list[str]], split: str = "validation", context: int = 64) -> HeldOut:
    class Words:
        def __call__(self, text: str, add_special_tokens: bool = False) -> dict[str, list[int]]:
            return {"input_ids": [10 + int(word) for word in text.split()]}

    text = SimpleNamespace(tokenizer=Words(), documents=lambda split, source: iter(texts[source]))
    stream = SimpleNamespace(**{KEPT: text})
    device = torch.device("cpu")
    return HeldOut(tuple(texts), None, stream, VOCABULARY, NextToken(), device, contextlib.nullcontext, split, context)


def counted(first: int, length: int = 24) -> str:
    return " ".join(str((first + n) % 50) for n in range(length))


def test_a_model_that_knows_the_answers_is_always_right_and_one_that_does_not_guesses(monkeypatch):
    from windtunnel.slots import Loss

    texts = {"old": [counted(n) for n in (0, 13, 29, 41)], "new": [counted(7 * n, 12) for n in range(6)]}
    asked: list[torch.Tensor] = []

    def loss(self: Any, model: Any, batch: Any, needs: Any = frozenset()) -> Any:
        asked.append(batch["tokens"])
        follows = batch["labels"] - 10 == (batch["tokens"] - 9) % 50  # numbers are counted upwards
        values = torch.where(follows == model.knows, 0.1, 5.0)
        return Loss(values, batch["labels"] != -100, None)

    monkeypatch.setattr(NextToken, "loss", loss)
    cloze = make(Evaluation, {"cloze": {"given": 4, "continuation": 2, "choices": 3}})
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False), knows=True)
    judge = judge_of(texts)
    assert cloze.evaluate(model, judge) == {"cloze": 1.0, "cloze/old": 1.0, "cloze/new": 1.0}
    again, asked[:] = [tokens.clone() for tokens in asked], []
    assert cloze.evaluate(model, judge_of(texts))
    assert all(torch.equal(a, b) for a, b in zip(again, asked, strict=True)), "the same questions"
    model.knows = False
    texts.clear()
    wrong = cloze.evaluate(model, judge)  # asks again what it asked before, and reads no text for it
    assert wrong["cloze"] < 0.2, "a model that takes the unlikeliest is wrong"
    assert cloze.better == "higher"


def test_only_the_continuation_counts_and_distractors_come_from_other_documents(monkeypatch):
    texts = {"old": [counted(0), counted(25)]}
    cloze = make(Evaluation, {"cloze": {"given": 4, "continuation": 2, "choices": 3, "questions": 5}})
    questions, answers = cloze._questions(judge_of(texts), "old", 5)
    assert questions.shape == (5, 3, 7) and (questions[:, :, 0] == VOCABULARY.document).all()
    assert len(set(answers.tolist())) > 1, "the true one is not always at one place"
    for question, answer in zip(questions - 10, answers, strict=True):
        true, first = question[answer], question[0, 1]
        assert (true[1:] == (first + np.arange(6)) % 50).all()
        half = first // 25
        for number, other in enumerate(question):
            assert (other[1:5] == true[1:5]).all()
            assert number == answer or (other[5] // 25 != half or other[5] < 0)


def test_what_cannot_be_asked_is_refused():
    cloze = make(Evaluation, {"cloze": {"given": 4, "continuation": 2}})
    model: Any = SimpleNamespace(config=SimpleNamespace(is_encoder_decoder=False))
    with pytest.raises(PartError, match="more than the context of 5"):
        cloze.evaluate(model, judge_of({"old": [counted(0), counted(9)]}, context=5))
    with pytest.raises(PartError, match="two held-out documents"):
        cloze.evaluate(model, judge_of({"old": [counted(0)]}))
    with pytest.raises(PartError, match="needs a decoder"):
        masked = dataclasses.replace(judge_of({"old": [counted(0), counted(9)]}), objective=make_objective("masked-token"))
        cloze.evaluate(model, masked)


def make_objective(name: str) -> Any:
    from windtunnel.slots import Objective

    return make(Objective, name)


# What was kept and gained -------------------------------------------------------------------------------------------------------


def recipe_of(*sources: tuple[str, ...], began: bool = False, **first: Any) -> Any:
    from windtunnel.recipe import recipe_from

    phases = [{"share": 1 / len(sources), "sources": list(names)} for names in sources]
    phases[0] |= first
    recipe = recipe_from({"corpus": dict.fromkeys("abc", "builtin:stdlib"), "budget": {"steps": 9}, "phases": phases})
    start = SimpleNamespace(trained=dict) if began else recipe.phases[0].start  # weights from a folder: nobody knows from what text
    return recipe.model_copy(update={"phases": (recipe.phases[0].model_copy(update={"start": start}), *recipe.phases[1:])})


def record_of(*stages: tuple[float, float, float], began: bool = False, extra: Any = ()) -> dict[str, Any]:
    rows = []
    for number, levels in enumerate(stages):
        phase = max(0, number - 1) if began else number
        numbers = {"loss": sum(levels)} | {f"loss/{source}": level for source, level in zip("abc", levels, strict=True)}
        rows.append({"step": 10 * number if began else 10 * number + 10, "phase": phase, "numbers": numbers})
    return {"validation": sorted([*rows, *extra], key=lambda row: row["step"])}


LEVELS = ((5.0, 6.0, 7.0), (3.0, 5.5, 6.0), (4.0, 2.0, 5.0), (4.5, 2.25, 1.0))


def test_the_matrix_of_three_stages_by_hand():
    from windtunnel.study.statistics.transfer import aggregates, matrix_of

    early = {"step": 5, "phase": 0, "numbers": {"loss": 0.0, "loss/a": 9.0, "loss/b": 9.0, "loss/c": 9.0}}
    matrix = matrix_of(record_of(*LEVELS, began=True, extra=[early]), recipe_of(("a",), ("b", "a"), ("c",), began=True), "loss")
    assert matrix is not None and matrix.names == ("before", "a", "b", "c")
    assert matrix.values == tuple(dict(zip("abc", row, strict=True)) for row in LEVELS), (
        "the last entry of each phase, not the one in between"
    )
    assert matrix.stage == {"a": 1, "b": 2, "c": 3}, "a source that is replayed belongs to the stage that brought it"
    got = aggregates(matrix)
    assert got["forgetting"] == pytest.approx(((4.5 - 3.0) + (2.25 - 2.0)) / 2)
    assert got["backward"] == pytest.approx(((5 - 4.0) + (5 - 4.5) + (6 - 2.25)) / 3)
    assert got["forward"] == pytest.approx(((6 - 5.5) + (7 - 6.0) + (7 - 5.0)) / 3)
    flipped = aggregates(matrix, better="higher")
    assert all(flipped[key] == pytest.approx(-got[key]) for key in got)


def test_a_run_from_scratch_goes_on_from_its_first_phase():
    from windtunnel.study.statistics.transfer import aggregates, matrix_of

    matrix = matrix_of(record_of(*LEVELS[:3]), recipe_of(("a",), ("b",), ("a", "b")), "loss")
    assert matrix is not None and matrix.names == ("a", "b", "stage 2") and matrix.stage == {"a": 0, "b": 1, "c": None}
    got = aggregates(matrix)
    assert got["forgetting"] == pytest.approx(((4.0 - 5.0) + (2.0 - 5.5)) / 2)
    assert got["backward"] == pytest.approx(6.0 - 2.0), "the text of stage 0 is not a stage that was learned"
    assert got["forward"] == pytest.approx(((7 - 6) + (7 - 5)) / 2)
    assert matrix_of(record_of(LEVELS[0]), recipe_of(("a",)), "loss") is None
    assert matrix_of(record_of(*LEVELS[:2]), recipe_of(("a",), ("b",)), "accuracy") is None


def test_what_a_named_recipe_was_trained_on_is_old():
    from windtunnel.study.statistics.transfer import matrix_of

    inner = {"recipe": {"budget": {"steps": 2}, "sources": ["a", "b"]}}
    recipe = recipe_of(("a", "c"), start={"trained": {"model": inner}})
    matrix = matrix_of(record_of(*LEVELS[:2], began=True), recipe, "loss")
    assert matrix is not None and matrix.stage == {"a": 0, "b": 0, "c": 1}
    told = matrix_of(record_of(*LEVELS[:2], began=True), recipe_of(("a", "c"), began=True), "loss", kept=["a"])
    assert told is not None and told.stage == {"a": 0, "b": None, "c": 1}


def test_a_dip_is_the_worst_fall_below_where_training_went_on_in_each_numbers_own_direction():
    from windtunnel.recipe import recipe_from
    from windtunnel.study.statistics.transfer import dips

    recipe = recipe_from(
        {
            "corpus": {"a": "builtin:stdlib"},
            "budget": {"steps": 9},
            "evaluations": ["bits-per-byte", "cloze"],
            "phases": [{"share": 0.5}, {"share": 0.5}],
        }
    )
    values = [(0, 3.0, 0.2), (0, 2.0, 0.5), (1, 2.3, 0.4), (1, 1.9, 0.45), (1, 1.8, 0.6)]
    numbers = [
        {"step": n + 1, "phase": phase, "numbers": {"bits_per_byte": bits, "cloze/a": share, "other": 1.0}}
        for n, (phase, bits, share) in enumerate(values)
    ]
    assert dips({"validation": numbers}, recipe) == pytest.approx({"bits_per_byte": 0.3, "cloze/a": 0.1})


def example() -> dict[str, Any]:
    from windtunnel.study.statistics.transfer import transfer

    plain, replay = recipe_of(("a",), ("b",)), recipe_of(("a",), ("a", "b"))
    joint = recipe_of(("a", "b"))
    runs: dict[str, dict[int, Any]] = {"baseline": {}, "replay": {}, "joint": {}, "worse": {}}
    for seed in range(3):
        jitter = 0.01 * seed
        begin = (2.0 + jitter, 5.0, 6.0)
        runs["baseline"][seed] = record_of(begin, (3.0 + 2 * jitter, 2.0, 5.0))
        runs["replay"][seed] = record_of(begin, (2.1, 2.2 + jitter, 5.5))
        runs["joint"][seed] = record_of((1.9, 2.5, 5.0 - jitter))
        runs["worse"][seed] = record_of(begin, (3.0, 2.4, 5.2 + jitter))
    recipes = {"baseline": plain, "replay": replay, "joint": joint, "worse": replay}
    found = transfer(runs, recipes, metric="loss", better="lower", confidence=0.95, kept=("a",))
    assert found is not None
    return found


def test_what_was_kept_and_gained_is_measured_from_one_point_for_all_arms():
    found = example()
    assert set(found["arms"]) == {"baseline", "replay", "worse"}, "joint training has no stages"
    assert found["arms"]["baseline"]["forgetting"]["mean"] == pytest.approx(1.0 + 0.01)
    points = found["axes"]["arms"]
    assert found["axes"]["reference"] == "start"
    assert points["baseline"]["kept"]["mean"] == pytest.approx(-1.01) and points["baseline"]["gained"]["mean"] == pytest.approx(5.5 - 3.5)
    assert points["joint"]["kept"]["mean"] == pytest.approx(2.01 - 1.9)
    assert points["joint"]["gained"]["mean"] == pytest.approx(5.5 - (2.5 + 4.99) / 2)
    assert {name for name, point in points.items() if point["front"]} == {"baseline", "joint"}
    low, high = points["joint"]["gained"]["low"], points["joint"]["gained"]["high"]
    assert high - low == pytest.approx(2 * 4.302653 * 0.005 / math.sqrt(3), rel=1e-4), "t of two degrees of freedom"


def result_with_transfer() -> dict[str, Any]:
    from example_result import example as example_result

    result = example_result()
    names = [name for name in result["arms"] if result["arms"][name]["verdict"] != "failed"][:3]
    block = example()
    for old, new in zip(("replay", "joint", "worse"), names, strict=True):
        for where in (block["arms"], block["axes"]["arms"]):
            if old in where:
                where[new] = where.pop(old)
    return {**result, "transfer": block}


def test_the_report_shows_matrix_axes_and_numbers(tmp_path):
    from rich.console import Console

    from windtunnel import report

    result = result_with_transfer()
    text = report.page(result, tmp_path).read_text()
    assert "What was kept and what was gained" in text
    assert text.count('aria-label="Each block is an arm') == text.count('aria-label="Each point is an arm') == 2, "wide and narrow"
    markdown = report.markdown(result)
    assert "| arm | forgetting | forward transfer | kept | gained | on the front |" in markdown, "no arm carried anything backward"
    assert "+1.010 (+0.985 to +1.035)" in markdown
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(report.terminal(result))
    assert "forgetting +1.010" in console.export_text()
    alone = copy.deepcopy(result)
    for arm in alone["transfer"]["arms"].values():
        arm["forward"] = None
    markdown = report.markdown(alone)
    assert "| arm | forgetting | kept | gained | on the front |" in markdown and "Transfer:" not in markdown
    plain = dict(result)
    del plain["transfer"]
    assert "What was kept" not in report.markdown(plain) and "What was kept" not in report.page(plain, tmp_path).read_text()


def test_a_study_says_what_is_to_be_kept(tmp_path):
    from windtunnel.study.fly import load_study

    path = tmp_path / "s.yaml"
    text = "corpus: {a: builtin:stdlib, b: builtin:docstrings}\nbudget: {steps: 4}\nkept: [%s]\narms: {other: {batch: 3}}\n"
    path.write_text(text % "a")
    assert load_study(path).kept == ("a",)
    for wrong, expected in (("aa", "did you mean 'a'"), ("a, b", "no source left to gain on")):
        path.write_text(text % wrong)
        with pytest.raises(UserError, match=expected) as caught:
            load_study(path)
        assert "s.yaml:3" in str(caught.value)


# Better text, other text --------------------------------------------------------------------------------------------------------


def frame_of(rows: list[tuple[str, str]]) -> Any:
    from windtunnel.data.corpus.frame import engine

    return engine().from_pydict(
        {"text": [text for text, _ in rows], "origin": [str(n) for n in range(len(rows))], "source": [source for _, source in rows]}
    )


def curated(part: Any, rows: list[tuple[str, str]]) -> list[tuple[str, str]]:
    from windtunnel.data.corpus.tally import Tally

    found = make(Curator, part).curate(frame_of(rows), CuratorContext(Tally("all"))).to_pydict()
    return list(zip(found["text"], found["source"], strict=True))


def test_an_ngram_model_is_witten_and_bells_by_hand_and_adds_up_to_one():
    from windtunnel.kits.text.ngrams import NGrams

    model = NGrams(["a b a b a c"], order=2)
    # three words known and one unknown: 1/4 each; six words seen, three kinds of them
    one = {word: (count + 3 * 0.25) / (6 + 3) for word, count in (("a", 3), ("b", 2), ("c", 1), ("?", 0))}
    assert model.probability("a", ()) == pytest.approx(one["a"])
    # a was followed by b, b and c: three times, two kinds
    assert model.probability("b", ("a",)) == pytest.approx((2 + 2 * one["b"]) / 5)
    assert model.probability("b", ("x", "a")) == model.probability("b", ("a",)), "one word before is all it looks at"
    assert model.probability("b", ("never",)) == pytest.approx(one["b"])
    for context in ((), ("a",), ("b",), ("c",)):
        assert sum(model.probability(word, context) for word in "abc?") == pytest.approx(1)
    assert model.perplexity("b a", None) == pytest.approx((model.probability("b", ("\n",)) * model.probability("a", ("b",))) ** -0.5)


def test_the_likeliest_text_stays_and_other_sources_are_left_alone(tmp_path):
    prose = "the cat sat on the mat and the dog lay at the door of the house. "
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.txt").write_text(prose * 20)
    good = [prose * 3 + f"number {n}" for n in range(6)]
    bad = [" ".join(reversed((prose * 3).split())) + f" no {n}" for n in range(6)]
    rows = [(text, "old") for pair in zip(good, bad, strict=True) for text in pair] + [("x y z", "new")]
    knobs = {"clean": {"files": {"path": str(tmp_path / "clean")}}, "keep": 0.52, "sources": ["old"]}
    assert curated({"lowest-perplexity": knobs}, rows) == [(text, "old") for text in good] + [("x y z", "new")]
    with pytest.raises(PartError, match="did you mean 'old'"):
        curated({"lowest-perplexity": knobs | {"sources": ["odl"]}}, rows)


def test_scrambling_hits_a_share_keeps_every_word_and_is_undone_by_the_filter(tmp_path):
    texts = [f"def f{n}(x):\n    return x + {n} if x > {n} else None\n" for n in range(80)]
    rows = [(text, "code") for text in texts] + [("left as it is", "prose")]
    found = curated({"scramble": {"share": 0.5, "sources": ["code"]}}, rows)
    changed = [one for one, text in zip(found, texts, strict=False) if one[0] != text]
    assert found[-1] == rows[-1] and 25 <= len(changed) <= 55
    assert all(sorted(one[0].split()) == sorted(text.split()) for one, text in zip(found, texts, strict=False))
    assert found == curated({"scramble": {"share": 0.5, "sources": ["code"]}}, rows)
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.txt").write_text("".join(f"def g{n}(x):\n    return x + {n} if x > {n} else None\n" for n in range(40)))
    knobs = {"clean": {"files": {"path": str(tmp_path / "clean")}}, "keep": 0.3, "sources": ["code"]}
    kept = {text for text, source in curated({"lowest-perplexity": knobs}, found) if source == "code"}
    assert kept and not kept & {text for text, _ in changed}


@pytest.mark.parametrize("text", ["characters", "readmes", "headers"])
def test_built_in_domains_are_the_same_twice(text):
    from windtunnel.data.corpus.tally import Tally

    source = make(Source, {"builtin": {"text": text}})
    try:
        first = list(source.documents(Tally(text)))
    except UserError as error:
        assert "C headers" in str(error)
        return
    assert len(first) >= 20 and all(document.strip() for document, _ in first)
    assert first == list(make(Source, {"builtin": {"text": text}}).documents(Tally(text))) and source.signature() == source.signature()


def test_instructions_hold_no_address_and_no_order_of_a_set():
    from windtunnel.kits.text.interpreter import instructions

    code = "def outer(x):\n    if x in {'b', 'a', 'c'}:\n        return lambda y: (y, 'text')\n"
    text = instructions(code, "module.py")
    assert "{'a', 'b', 'c'}" in text and "0x" not in text and "outer (x)" in text and "RETURN_VALUE" in text


# The files ----------------------------------------------------------------------------------------------------------------------

FILES = {
    "rewarm-cpt": ("constant-low", "joint"),
    "mer-cpt": ("replay-25-reptile", "joint"),
    "stability-gap": ("all-three",),
    "continual-domains-bench": ("shuffled", "replay-25"),
    "continual": ("elastic-weights", "interpolate", "infinite"),
}


@pytest.mark.parametrize("name", FILES)
def test_every_arm_of_the_files_flies_at_a_tiny_size(name, stream, tmp_path, monkeypatch, corpus):
    """The recipes as the files write them, but for sizes, budgets and text: on two sources, whatever theirs are called."""
    from windtunnel.core.shipped import library
    from windtunnel.recipe import each_recipe
    from windtunnel.study.fly import load_study
    from windtunnel.study.papers import load_paper
    from windtunnel.study.statistics.transfer import transfer

    study = load_study(library("studies") / f"{name}.yaml") if name == "continual" else load_paper(name).study("cpu")
    tiny_sizes = {"depth": 2, "layers": 2, "width": 32, "heads": 2}

    def few(parts: tuple[Any, ...], **knobs: int) -> tuple[Any, ...]:
        return tuple(one.model_copy(update={k: v for k, v in knobs.items() if k in type(one).model_fields}) for one in parts)

    def small(recipe: Any) -> Any:
        budget = {"steps": max(2, round(8 * recipe.budget.amount / study.budget.amount))}
        phases = tuple(
            phase.model_copy(
                update={
                    "model": phase.model.model_copy(update=tiny_sizes),
                    "context": 48,
                    "batch": 2,
                    "losses": few(phase.losses, sequences=3),
                }
            )
            for phase in recipe.phases
        )
        changed = {"budget": type(recipe.budget)(**budget), "phases": phases, "evaluation_tokens": 128, "test_tokens": 128, "curators": ()}
        changed["evaluations"] = few(recipe.evaluations, questions=4, test_questions=4)
        return recipe.model_copy(update=changed | {"precision": "float32", "evaluate_every": 1.0})

    first = next(iter(study.resolved["baseline"].corpus))
    monkeypatch.setattr("windtunnel.train.needed.data_key", lambda recipe: "one")
    stand_in = StandIn(stream, {source: "prose" if source == first else "code" for source in study.resolved["baseline"].corpus})
    records: dict[str, dict[int, Any]] = {}
    (tmp_path / "needed").mkdir()
    for arm in ("baseline", *FILES[name]):
        (tmp_path / arm).mkdir()
        (tmp_path / arm / "needed").symlink_to(tmp_path / "needed")  # the models that arms begin with are flown once
        recipe = each_recipe(study.resolved[arm], small)
        record = fly(recipe, 0, stand_in, tmp_path / arm, needed_in=None)  # type: ignore[arg-type]
        assert record["status"] == "finished", (arm, record["traceback"])
        records[arm] = {0: record}
    block = transfer(records, study.resolved, metric="bits_per_byte", better="lower", confidence=0.95, kept=study.kept)
    assert block is not None and block["arms"]["baseline"]["forgetting"] is not None
    if study.kept:
        assert set(block["axes"]["arms"]) == set(records)


class StandIn:
    """A stream whose sources have other names, each standing for one of the tiny corpus."""

    def __init__(self, stream: Any, names: dict[str, str]) -> None:
        self._stream, self._names = stream, names
        self.sources = tuple(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def sizes(self, split: str) -> dict[str, int]:
        return {name: self._stream.sizes(split)[real] for name, real in self._names.items()}

    def lengths(self, split: str, source: str) -> Any:
        return self._stream.lengths(split, self._names[source])

    def units(self, split: str, source: str) -> Any:
        return self._stream.units(split, self._names[source])

    def gather(self, split: str, source: str, *pieces: Any) -> Any:
        return self._stream.gather(split, self._names[source], *pieces)

    def read(self, split: str, source: str, *place: Any) -> Any:
        return self._stream.read(split, self._names[source], *place)
