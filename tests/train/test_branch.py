"""A longer run hands shorter ones its beginning: bitwise what they would have been, flown from theirs."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from windtunnel.slots import AfterStep
from windtunnel.train.branch import may_branch
from windtunnel.train.run import fly

TRUNK = {"wsd": {"warmup_tokens": 3 * 128, "decay": 0.25}}  # a step of `tiny` holds 128 tokens


def checkpoints(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("*")) if (folder / "checkpoints").is_dir() else []


def test_a_branch_is_bitwise_the_run_flown_from_its_beginning(tiny, stream, tmp_path):
    long, *shorter = (tiny(budget={"steps": steps}, schedule=TRUNK, evaluate_every=0.125) for steps in (32, 16, 8))
    folders = [tmp_path / "16", tmp_path / "8"]
    trunk = fly(long, 0, stream, tmp_path / "32", shorter=dict(zip(folders, shorter, strict=True)))
    # Its decay begins after three quarters; the last step at the full rate is the one read there.
    assert [checkpoints(folder) for folder in folders] == [["step-000000013"], ["step-000000007"]]
    for recipe, folder in zip(shorter, folders, strict=True):
        branch, alone = fly(recipe, 0, stream, folder), fly(recipe, 0, stream, tmp_path / f"alone-{folder.name}")
        ours, theirs = (load_file(one / "model" / "model.safetensors") for one in (folder, tmp_path / f"alone-{folder.name}"))
        assert branch.finished and all(torch.equal(ours[name], theirs[name]) for name in theirs)
        assert branch.test == alone.test and branch.validation[-1].numbers == alone.validation[-1].numbers
        assert (branch.totals.steps, branch.totals.flops, branch.cursors) == (alone.totals.steps, alone.totals.flops, alone.cursors)
        assert not checkpoints(folder) and not branch.warnings
        assert branch.validation[0] == trunk.validation[0] and len(branch.validation) < len(alone.validation)


@pytest.mark.parametrize("schedule", ["cosine", {"wsd": {"warmup": 0.1}}])
def test_what_asks_how_far_it_is_hands_nothing_over(tiny, stream, tmp_path, schedule):
    long, short = (tiny(budget={"steps": steps}, schedule=schedule) for steps in (32, 16))
    fly(long, 0, stream, tmp_path / "long", shorter={tmp_path / "short": short})
    assert not (tmp_path / "short").exists()


def test_a_run_that_has_begun_keeps_what_it_has(tiny, stream, tmp_path):
    long, short = (tiny(budget={"steps": steps}, schedule=TRUNK) for steps in (16, 8))
    before = fly(short, 0, stream, tmp_path / "short")
    fly(long, 0, stream, tmp_path / "long", shorter={tmp_path / "short": short})
    assert not checkpoints(tmp_path / "short") and fly(short, 0, stream, tmp_path / "short") == before


class Counting(AfterStep, name="counting-for-branches"):
    """Does nothing, at every step."""

    def after_step(self, model, optimizer, progress, state):
        pass


@pytest.mark.parametrize(
    ("differs", "may"),
    [
        ({}, True),
        ({"budget": {"seconds": 5}}, False),
        ({"batch": 2}, False),
        ({"after_step": "counting-for-branches"}, False),
        ({"structure": {"fixed-mask": {"sparsity": 0.5}}}, False),
        ({"phases": [{"share": 0.5}, {"share": 0.5}]}, False),
    ],
)
def test_only_recipes_that_differ_in_their_budget_alone_share_a_trunk(tiny, differs, may):
    own = {key: value for key, value in differs.items() if key in ("after_step", "structure", "phases")}
    one = tiny(schedule=TRUNK, **{"budget": {"steps": 16}, **own})
    assert may_branch(one, tiny(schedule=TRUNK, **{"budget": {"steps": 8}, **own, **differs})) is may
