"""Episodes through the trainer that text goes through: what is read of tables, what a model is asked, and how it acts in worlds."""

from __future__ import annotations

import base64
import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.registry import make
from windtunnel.data.corpus.frame import engine
from windtunnel.data.corpus.tally import Tally
from windtunnel.data.held_out import held_out
from windtunnel.kits.trajectory.babyai import is_view
from windtunnel.kits.trajectory.samples import film
from windtunnel.kits.trajectory.steps import Steps
from windtunnel.models.init import config_for, fresh
from windtunnel.models.load import load
from windtunnel.models.settings import ModelSettings
from windtunnel.parts.evaluation.success import Player
from windtunnel.recipe import recipe_from
from windtunnel.slots import Curator, CuratorContext, Encoding, Evaluation, Objective, Source
from windtunnel.slots.curator import ROW
from windtunnel.study.comparable import in_words
from windtunnel.train.export import export_run
from windtunnel.train.prepare import prepare
from windtunnel.train.run import fly

FACTS = Steps(4, np.array([3, 2]), 5)
MODEL: dict[str, Any] = {"family": "decision-transformer", "layers": 1, "width": 16, "heads": 2}
RECIPE: dict[str, Any] = {
    "corpus": {"walks": {"drawn-walks": {"count": 120}}},
    "budget": {"steps": 30},
    "split": {"validation": 0.15, "test": 0.25},
    "encoding": {"episodes": {"steps": 4}},
    "model": MODEL,
    "objective": "action",
    "packing": "scattered",
    "context": 4,
    "batch": 4,
    "optimizer": {"adamw": {"learning_rate": 0.01}},
    "evaluate_every": 1,
    "precision": "float32",
    "compile": "no",
}


def episodes_in(path: Path, **knobs: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    tally = Tally("mine")
    found = list(make(Source, {"episode-files": {"path": str(path), **knobs}}).documents(tally))
    return found, {row["what"]: row["documents"] for row in tally.rows()}


def test_tables_of_steps_become_episodes_and_what_is_wrong_with_them_is_counted(tmp_path: Path) -> None:
    rows = [("a", [1, 2], 0, False), ("b", [0, 2], 3, False), ("a", [1, 0], 1, True), ("b", [0, 1], 2, False)]
    rows += [("odd", [1], 0, False), ("odd", [1, 2], 0, True), ("minus", [1, -2], 0, True)]
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("episode", "observation", "action", "done"))}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    found, counted = episodes_in(tmp_path / "x.parquet", done="done")
    assert [(one["observation"], one["action"]) for one in found] == [([[1, 2], [1, 0]], [0, 1]), ([[0, 2], [0, 1]], [3, 2])]
    assert counted == {
        "episode without an end: kept": 1,
        "skipped: observations of several lengths": 1,
        "skipped: numbers that are no whole ones from 0 to 32767": 1,
    }
    (tmp_path / "wide.csv").write_text("run,x,y,act\n1,4,0,1\n1,4,1,0\n", encoding="utf-8")
    wide, _ = episodes_in(tmp_path / "wide.csv", episode="run", observation=["x", "y"], action="act")
    assert wide[0]["observation"] == [[4, 0], [4, 1]]
    with pytest.raises(UserError, match="has no column 'episode'"):
        episodes_in(tmp_path / "wide.csv")


def test_an_end_parts_episodes_and_what_ends_them_may_be_words(tmp_path: Path) -> None:
    table = tmp_path / "x.csv"
    table.write_text("episode,observation,action,done\nall,0,0,no\nall,1,0,yes\nall,2,0,no\nall,3,0,no\n")
    found, counted = episodes_in(table, done="done")
    assert [one["observation"] for one in found] == [[[0], [1]], [[2], [3]]] and found[1]["origin"].endswith("x.csv: all, part 2")
    assert counted == {"episode that goes on after its end: parted there": 1, "episode without an end: kept": 1}
    assert len(episodes_in(table)[0]) == 1, "without done nothing is known of ends"
    table.write_text("episode,observation,action,done\na,0,0,maybe\n")
    with pytest.raises(UserError, match=r"x\.csv: a: column 'done' holds 'maybe'; an episode ends or not"):
        episodes_in(table, done="done")


def test_episodes_that_cannot_be_kept_are_skipped_by_name(tmp_path: Path) -> None:
    columns = {"episode": ["far", "blind", "good"], "observation": [[40000], [], [1]], "action": [0, 0, 0]}
    parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    found, counted = episodes_in(tmp_path / "x.parquet")
    assert len(found) == 1
    assert counted == {"skipped: numbers that are no whole ones from 0 to 32767": 1, "skipped: observations without a code": 1}


def test_an_episode_that_sees_otherwise_is_named() -> None:
    class Corpus:
        sources = ("mine",)

        def rows(self, split: str, source: str, columns: Any) -> Any:
            some = [{"observation": [[1] * places], "action": [0], "origin": f"e{places}"} for places in (2, 3)]
            yield pyarrow.RecordBatch.from_pylist(some).select(columns)

    with pytest.raises(UserError, match="mine, e3: has observations of 3 places, and those before have 2"):
        make(Encoding, "episodes").fit(Corpus(), Path(), tell=lambda line: None)


def test_episodes_that_all_do_the_same_are_refused() -> None:
    class Corpus:
        sources = ("mine",)

        def rows(self, split: str, source: str, columns: Any) -> Any:
            yield pyarrow.RecordBatch.from_pylist([{"observation": [[1], [0]], "action": [3, -1], "origin": "e"}] * 2).select(columns)

    with pytest.raises(UserError, match="all training steps have the action 3"):
        make(Encoding, "episodes").fit(Corpus(), Path(), tell=lambda line: None)


def test_codes_are_kinds_and_what_training_did_not_show_is_nothing() -> None:
    states = FACTS.states(np.array([[2, 0], [0, 1], [3, -1]]))
    assert states.tolist() == [[0, 0, 1, 1, 0], [1, 0, 0, 0, 1], [0] * 5]


def test_a_policy_sees_what_was_and_an_inverse_model_one_step_more() -> None:
    random = np.random.default_rng(0)
    rows = {
        "observation": random.integers(0, 2, (1, 1, 4, 2)),
        "action": np.array([[[1, 4, 2, -1]]]),
        "there": np.array([[[1, 1, 1, 0]]], np.uint8),
        "documents": np.zeros((1, 1), np.int64),
    }
    plain = make(Objective, "action").prepare(rows, FACTS, random)
    assert plain["labels"].tolist() == [[[1, 4, 2, -100]]] and (plain["acted"] == -1).all()
    inverse = make(Objective, {"action": {"sees": "next"}}).prepare(rows, FACTS, random)
    assert inverse["labels"].tolist() == [[[-100, 1, 4, -100]]] and (inverse["acted"] == -1).all()
    seen = make(Objective, {"action": {"actions": "seen"}})
    assert seen.prepare(rows, FACTS, random)["acted"].tolist() == [[[1, 4, 2, -1]]]
    with pytest.raises(PartError, match="would be seen"):
        make(Objective, {"action": {"sees": "next", "actions": "seen"}}).prepare(rows, FACTS, random)
    model = fresh(config_for(ModelSettings.model_validate(MODEL), FACTS, 1), 0).eval()
    made = model.get_submodule("encoder.h.0.attn.c_attn")  # which the family's own rule for first weights leaves as it was in memory
    assert 0.01 < float(made.weight.detach().std()) < 0.03 and not made.bias.any()
    batch = {name: torch.from_numpy(one) for name, one in seen.prepare(rows, FACTS, random).items()}
    said = seen.loss(model, batch).outputs.logits
    for place in range(4):  # what comes at and after the action that is asked for has no say in it
        other = batch | {"states": batch["states"].clone(), "acted": batch["acted"].clone()}
        other["states"][:, :, place + 1 :] = 1 - other["states"][:, :, place + 1 :]
        other["acted"][:, :, place:] = 0
        assert torch.allclose(seen.loss(model, other).outputs.logits[:, : place + 1], said[:, : place + 1], atol=1e-6)


def test_a_run_of_episodes_learns_and_exports_what_automodel_loads(tmp_path: Path) -> None:
    from transformers import AutoModel

    recipe = recipe_from(RECIPE)
    record = fly(recipe, 0, prepare(recipe, tmp_path / "cache"), tmp_path / "run")
    assert record["status"] == "finished", record["traceback"]
    assert (record["primary"], record["unit"]) == ("action_bits", "bits per action")
    assert record["test"]["action_bits"] < 0.8 and record["test"]["action_accuracy"] > 0.7, "a coin costs one bit"
    assert record["totals"]["tokens"] == 30 * 4 * 4 * (3 * 4), "steps, sequences, windows, positions of a window"
    export_run(tmp_path / "run", tmp_path / "model", "float32")
    model = AutoModel.from_pretrained(tmp_path / "model", local_files_only=True)
    assert type(model).__name__ == "DecisionTransformerModel" and model.config.act_dim == 2
    assert (tmp_path / "model" / "steps.json").read_text() == (tmp_path / "run" / "model" / "steps.json").read_text()
    assert all("AutoTokenizer" not in (tmp_path / place / "README.md").read_text() for place in ("model", "run/model"))


def test_the_bot_solves_its_worlds_and_a_player_is_the_model_step_by_step(tmp_path: Path) -> None:
    pytest.importorskip("minigrid")
    from windtunnel.kits.trajectory.babyai import demonstrations, rollouts

    level = "BabyAI-GoToLocal-v0"
    shown = {seed: demonstrations(level, seed, goal=True, noise=0.0) for seed in range(4)}
    assert all(one["ended"] and len(one["observation"][0]) == 150 for one in shown.values())
    steps = dict.fromkeys(shown, 0)

    def bot(seen: np.ndarray, playing: np.ndarray) -> np.ndarray:
        actions = []
        for place, row in zip(playing.tolist(), seen.tolist(), strict=True):
            assert row == shown[place]["observation"][steps[place]], "the same world, seen alike"
            actions.append(shown[place]["action"][steps[place]])
            steps[place] += 1
        return np.array(actions)

    assert rollouts(level, list(shown), bot, goal=True, most=64).all()
    assert not rollouts(level, list(shown), lambda seen, playing: np.zeros(len(playing)), goal=True, most=3).any(), "turning solves none"
    first, hidden = shown[0]["observation"][0], demonstrations(level, 0, goal=False, noise=0.3)["observation"][0]
    assert hidden == [*first[:-2], 0, 0] != first

    recipe = recipe_from(RECIPE | {"corpus": {"bot": {"minigrid": {"count": 24}}}, "split": {"validation": 0.2, "test": 0.2}})
    stream = prepare(recipe, tmp_path)
    model = fresh(config_for(recipe.phases[0].model, stream.facts, 4), 0).eval()
    objective = recipe.phases[0].objective
    settings: dict[str, Any] = {"context": 4, "sequences": 2, "limit_tokens": 64, "device": "cpu", "precision": contextlib.nullcontext()}
    held = held_out(stream, "test", objective=objective, **settings)
    numbers = make(Evaluation, {"success": {"rollouts": 6, "most": 6}}).evaluate(model, held)
    assert 0 <= numbers["success"] <= 1 and set(numbers) == {"success", "success_error"}
    player = Player(model, held, 3)
    seen = np.stack([np.array(shown[seed]["observation"][:2]) for seed in (0, 1, 2)])
    acted = [player.act(seen[:, step], np.arange(3)) for step in (0, 1)]
    rows = {
        "observation": seen[:, None],
        "action": np.zeros((3, 1, 2), int),
        "there": np.ones((3, 1, 2)),
        "documents": np.zeros((3, 1), int),
    }
    batch = {name: torch.from_numpy(one) for name, one in objective.prepare(rows, stream.facts, np.random.default_rng(0)).items()}
    with torch.no_grad():
        assert np.stack(acted, axis=1).tolist() == objective.loss(model, batch).outputs.logits.argmax(dim=-1).tolist()


def test_what_is_seen_is_drawn_step_by_step() -> None:
    codes = np.array([*[11, 6, 3] * 49, 4, 7, 5])
    assert is_view(codes) and not is_view(np.array([*[12, 6, 3] * 49, 4, 7, 5])) and not is_view(codes[:-1])
    for view, places, squares in ((True, 150, 2 * 49), (False, 3, 2 * 3)):
        drawn = base64.b64decode(film(np.ones((2, places), int), view).partition(",")[2]).decode()
        assert drawn.count("<rect") == squares and drawn.count("<path") == (2 if view else 0)


def test_success_is_no_measure_of_an_inverse_model() -> None:
    assert not make(Evaluation, "success").measures(make(Objective, {"action": {"sees": "next"}}))
    assert make(Evaluation, "success").measures(make(Objective, "action"))


def test_a_labeller_tells_the_actions_that_nobody_wrote_down(tmp_path: Path) -> None:
    """Of a walk that is seen, two places say what was done between them; the last step has no next one."""
    walk = [[place, 7] for place in (1, 2, 3, 4, 5, 6)]
    frame = engine().from_pydict(
        {
            ROW: [0, 1],
            "source": ["watched", "told"],
            "origin": ["a", "b"],
            "observation": [walk, walk[::-1]],
            "action": [[-1] * 6, [0] * 6],
        }
    )
    recipe = recipe_from(RECIPE | {"objective": {"action": {"sees": "next"}}})
    stream = prepare(recipe, tmp_path / "cache")
    fly(recipe, 0, stream, tmp_path / "run")
    beside = stream.encoding.processor_in(tmp_path / "run" / "model")
    tally = Tally("x")
    context = CuratorContext(tally, {"labeller": load(tmp_path / "run" / "model").eval()}, {"labeller": beside})
    curator = make(Curator, {"pseudo-actions": {"labeller": {"folder": str(tmp_path / "run" / "model")}}})
    found = curator.curate(frame, context).to_pydict()["action"]
    assert found == [[1, 1, 1, 1, 1, -1], [0] * 6] and tally.documents("episodes whose actions were told") == 1
    past = make(Curator, {"pseudo-actions": {"labeller": {"recipe": recipe_from(RECIPE)}}})
    with pytest.raises(PartError, match="sees is next, and that of the labeller's objective is past"):
        past.curate(frame, context)
    with pytest.raises(PartError, match="every episode has actions"):
        curator.curate(frame.where(engine().col("source") == "told"), context)


def test_objectives_of_one_name_are_told_apart_by_their_knobs() -> None:
    seen = make(Objective, {"action": {"actions": "seen"}})
    assert in_words(seen) == "action (actions: seen)" and in_words(make(Objective, "action")) == "action"
