"""What is shown of several ranks at length, asked for by ``WINDTUNNEL_SLOW=1``: losses over 50 steps, runs that clusters disturb, and more.

The two benchmarks that these call take minutes. The tests beside this file hold the same in small.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from test_ranks import lines, together

from windtunnel.core import registry
from windtunnel.slots import Family
from windtunnel.testing import Workshop, trial_recipe
from windtunnel.train.run import fly

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("WINDTUNNEL_SLOW" not in os.environ, reason="takes minutes: set WINDTUNNEL_SLOW=1"),
]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "two_ranks", raising=False)


def test_losses_of_two_ranks_are_those_of_one_process_over_50_steps() -> None:
    import mesh_loss

    found = mesh_loss.main()
    print(json.dumps(found))
    for name in ("llama", "vit", "t5", "llama, cut"):
        assert found[name]["float64"]["furthest"] <= 1e-10, name
        assert found[name]["float32"]["furthest_in_3"] <= 1e-6 and found[name]["float32"]["over_gap"] <= 2, name


@pytest.mark.parametrize("scene", ["restarted", "two_machines", "signalled", "ray", "meshes"])
def test_a_run_that_is_disturbed_comes_to_what_it_would_have(scene: str) -> None:
    import elastic

    found = elastic.main(scene)
    print(json.dumps(found))
    assert elastic.right(found), found


def apart(one: Path, other: Path) -> float:
    """The largest relative difference of a loss or of the norm of a gradient."""
    pairs = [(mine[key], theirs[key]) for mine, theirs in zip(lines(one), lines(other), strict=True) for key in ("loss", "gradient_norm")]
    return max(abs(mine - theirs) / abs(mine) for mine, theirs in pairs)


def test_blocks_that_are_compiled_train_on_shards_as_others_do(tiny: Any, stream: Any, tmp_path: Path) -> None:
    jobs = [
        {"recipe": tiny(compile=way, batch=4).model_dump(mode="json"), "folder": str(tmp_path / way), "stop": 0, "mesh": [1, 2]}
        for way in ("no", "yes")
    ]
    assert together(jobs, stream) == [0, 0]
    record = json.loads((tmp_path / "yes-0.json").read_text())
    assert record["status"] == "finished", record["traceback"]
    print(json.dumps({"compiled": record["variant"], "apart": apart(tmp_path / "no", tmp_path / "yes")}))
    assert apart(tmp_path / "no", tmp_path / "yes") < 1e-5


def test_two_ranks_compare_the_pairs_of_a_whole_batch(tmp_path: Path) -> None:
    shop, clip = Workshop(tmp_path / "shop"), registry.find(Family, "clip")
    assert clip is not None
    recipe = trial_recipe(clip, shop)
    stream = shop.prepared(recipe)
    fly(recipe, 0, stream, tmp_path / "alone", threads=1)
    assert together([{"recipe": recipe.model_dump(mode="json"), "folder": str(tmp_path / "two"), "stop": 0}], stream) == [0, 0]
    print(json.dumps({"clip": apart(tmp_path / "alone", tmp_path / "two")}))
    assert apart(tmp_path / "alone", tmp_path / "two") < 1e-5
