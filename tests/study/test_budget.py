"""Budgets in tokens per parameter: they size the baseline, and its FLOPs are then every arm's."""

from __future__ import annotations

import json

import pytest

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant
from windtunnel.recipe import USUAL, held_by, recipe_from
from windtunnel.report.markup import markdown
from windtunnel.study.assemble import exposure
from windtunnel.study.decisions import work_of
from windtunnel.study.fly import check_study, fly_study, study_from, summary
from windtunnel.study.plan import at_one_budget, roughly
from windtunnel.train.estimate import too_large
from windtunnel.train.prepare import prepare
from windtunnel.train.record import RunRecord
from windtunnel.train.run import fly

BASE = {
    "context": 32,
    "batch": 4,
    "model": {"layers": 2, "width": 32, "heads": 2},
    "tokenizer": {"vocabulary": 400},
    "precision": "float32",
    "compile": "no",
    "evaluate_every": 1.0,
    "evaluation_tokens": 128,
    "test_tokens": 256,
}


def test_a_missing_budget_means_twenty_tokens_per_parameter(corpus):
    recipe = recipe_from({"corpus": corpus, **BASE})
    assert recipe.budget == USUAL and USUAL.amount == 20
    assert recipe.allowance.unit == "tokens" and recipe.allowance.amount == 20 * recipe.block_parameters
    # 2 layers of 4 matrices of attention and 3 of the MLP
    sizes = recipe.phases[0].model.sizes()
    assert recipe.block_parameters == 2 * (4 * 32 * 32 + 3 * 32 * sizes.intermediate)
    study = study_from({"corpus": corpus, "baseline": BASE, "arms": {"wide": {"model": {"width": 64}}}}, name="s")
    assert {one.budget for one in study.resolved.values()} == {USUAL}


def test_a_worker_compiles_every_shape_once_and_anew_for_every_look(corpus):
    raw = {"corpus": corpus, "baseline": BASE, "curve": [1], "arms": {"flat": {"schedule": "constant"}, "wide": {"model": {"width": 64}}}}
    four = work_of(study_from({**raw, "seeds": 4}, name="s"))
    assert (four.runs, four.compilations) == (12, 2)
    raced = work_of(study_from({**raw, "seeds": {"least": 2, "most": 6}}, name="s"))
    assert (raced.runs, raced.compilations) == (18, 2 * 3)


def test_both_stacks_of_an_encoder_decoder_count(corpus):
    def blocks(family):
        return recipe_from({"corpus": corpus, **BASE, "model": {**BASE["model"], "family": family}, "objective": "prefix-lm"})

    one = blocks("t5")
    assert one.block_parameters == 2 * 2 * one.phases[0].model.family.block(one.phases[0].model.sizes())


def test_a_run_reads_so_many_tokens_for_every_parameter(tiny, stream, tmp_path):
    recipe = tiny(budget={"tokens_per_parameter": 0.02})
    record = fly(recipe, 0, stream, tmp_path / "run")
    steps = int(0.02 * recipe.block_parameters / (recipe.phases[0].batch * recipe.phases[0].context))
    assert record.totals.steps == steps > 3
    found = exposure([record], recipe, {source: 3.0 for source in stream.sources})
    assert found["tokens_per_parameter"] == pytest.approx(0.02, rel=0.1)
    assert found["tokens_per_active_parameter"] is None
    assert found["unique_tokens"] == sum(record.cursors.values()) and found["bytes"] == 3 * found["unique_tokens"]


def test_tokens_read_twice_are_not_unique_and_zeros_are_not_active(tiny, stream):
    recipe = tiny()
    blocks = recipe.block_parameters
    phases = [{"parameters": blocks + 100, "active_parameters": blocks / 2 + 100}]
    totals = {"tokens": 2 * blocks, "epochs": {"code": 4.0, "prose": 0.5}}
    record = RunRecord(key="k", seed=0, status="finished", totals=totals, cursors={"code": 400, "prose": 50}, phases=phases)
    found = exposure([record], recipe, None)
    assert found == {"tokens_per_parameter": 2.0, "tokens_per_active_parameter": 4.0, "unique_tokens": 150.0, "bytes": None}


@pytest.mark.parametrize(
    ("where", "key", "value", "says"),
    [
        ("baseline", "context", 1e15, r"the baseline: phase 1: context: a sequence of 1,000,000,000,000,000 in 2 layers .* bytes, more"),
        ("arms", "model", {"width": 1e12}, r"arm tried: phase 1: model: 2 layers of width 1,000,000,000,000 are .* parameters, which take"),
        ("arms", "batch", 1e18, r"arm tried: phase 1: batch: a step of .* reads 3.2e\+19 tokens"),
        ("baseline", "tokenizer", {"vocabulary": 1e15}, r"baseline.encoding.vocabulary: expected a number of at most 1e\+07"),
        ("arms", "budget", {"tokens": 1e300}, r"arms.tried.budget.tokens: expected a number of at most 1e\+18, not 1e\+300"),
        ("baseline", "context", 1e30, r"baseline.phases.0.context: expected a number below 9.2e\+18, not 1e\+30"),
    ],
)
def test_what_no_machine_could_train_is_refused_with_what_it_would_take(where, key, value, says):
    raw = {"corpus": {"code": "builtin:stdlib"}, "baseline": dict(BASE), "arms": {"tried": {"schedule": "wsd"}}}
    (raw["baseline"] if where == "baseline" else raw["arms"]["tried"])[key] = value
    with pytest.raises(UserError, match=says):
        roughly(study_from(raw, name="huge"), Variant())


def test_a_run_that_no_machine_could_train_is_refused_before_its_text_is_read(tmp_path):
    recipe = recipe_from({"corpus": {"code": str(tmp_path / "not-there")}, **BASE, "model": {"width": 1e12}})
    with pytest.raises(UserError, match=r"phase 1: model: .* more than any machine holds"):
        prepare(recipe, tmp_path / "cache")


def test_a_large_vocabulary_does_not_make_a_million_tokens_too_many():
    raw = {"model": {"layers": 28, "width": 3584, "heads": 28}, "tokenizer": {"vocabulary": 152_000}, "context": 2**20, "batch": 1}
    assert too_large(recipe_from({"corpus": {"code": "builtin:stdlib"}, **raw})) is None


def test_the_flops_of_the_baselines_real_step_are_the_budget_of_every_arm(corpus, tmp_path):
    arms = {"wide": {"model": {"width": 64}}, "own": {"budget": {"tokens_per_parameter": 0.05}, "model": {"width": 48}}}
    study = study_from(
        {
            "corpus": corpus,
            "baseline": BASE,
            "arms": arms,
            "budget": {"tokens_per_parameter": 0.1},
            "seeds": 1,
            "curve": [1.0],
        },
        name="sized",
    )
    check = check_study(study, tmp_path, timed=False)
    said = list(summary(check))
    assert any(line.split()[:1] == ["baseline"] and " 0.1 " in line for line in said), said
    assert any(line.startswith("baseline, wide, own: less than 1 token") for line in said), said
    result = fly_study(study, tmp_path, workers=1, quiet=True)
    base, wide, own = result.baseline, result.arms["wide"], result.arms["own"]
    assert base.tokens_per_parameter == pytest.approx(0.1, rel=0.08)
    assert wide.flops == pytest.approx(base.flops, rel=0.1), "matched FLOPs"
    assert wide.tokens_per_parameter < base.tokens_per_parameter / 2
    assert own.tokens_per_parameter == pytest.approx(0.05, rel=0.15), "an arm keeps a budget of its own"
    assert base.bytes > base.unique_tokens > 0
    budget = result.recipes["wide"]["budget"]
    assert result.recipes["baseline"]["budget"] == budget and result.recipes["own"]["budget"]["tokens_per_parameter"] == 0.05
    assert result.study.budget == {"tokens_per_parameter": 0.1, "flops": budget["flops"]}
    page = markdown(json.loads(result.model_dump_json()))
    assert page.splitlines()[2].startswith("These verdicts are about early training: the baseline saw 0.")
    assert check_study(study, tmp_path, timed=False)["cached"] == 3, "what was counted is known afterwards"


def test_a_share_is_one_of_the_studys_flops_however_small_the_model_is(corpus):
    def settled(**budget):
        study = study_from(
            {
                "corpus": corpus,
                "baseline": BASE,
                "budget": budget,
                "recipes": {"small": {"share": 0.25, "model": {"layers": 1}}, "own": {"budget": {"tokens_per_parameter": 3}}},
                "arms": {
                    "grown": {"start": {"stack": {"factor": 2, "source": {"recipe": "small"}}}},
                    "continued": {"start": {"trained": {"model": {"recipe": "own"}}}},
                },
                "seeds": 1,
            },
            name="sized",
        )
        recipes = at_one_budget(study.resolved, lambda base: 8.0e9)
        return {arm: held_by(recipes[arm])[0].budget for arm in study.arms}

    found = settled(tokens_per_parameter=4)
    assert found["grown"].flops == pytest.approx(2.0e9), "a quarter of the baseline's, not four tokens for each weight of half a model"
    assert found["continued"].tokens_per_parameter == 3, "what a recipe says itself stays"
    assert settled(tokens=1000)["grown"].tokens == 250
