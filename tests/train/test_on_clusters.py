"""What is shown of sharded training at length, asked for by ``WINDTUNNEL_SLOW=1``: losses over 50 steps, and runs that clusters disturb.

The two benchmarks that these call take minutes. The tests beside this file hold the same in small.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("WINDTUNNEL_SLOW" not in os.environ, reason="takes minutes: set WINDTUNNEL_SLOW=1"),
]


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    monkeypatch.delitem(sys.modules, "two_ranks", raising=False)


@pytest.mark.parametrize("name", ["llama", "vit", "t5", "llama, cut"])
def test_losses_of_two_ranks_are_those_of_one_process_over_50_steps(name: str) -> None:
    import mesh_loss

    found: dict[str, Any] = mesh_loss.main(name)[name]
    print(json.dumps(found))
    assert found["float64"]["furthest"] <= 1e-10
    assert found["float32"]["furthest_in_3"] <= 1e-6 and found["float32"]["over_gap"] <= 2


@pytest.mark.parametrize("scene", ["restarted", "two_machines", "signalled", "ray", "meshes"])
def test_a_run_that_is_disturbed_comes_to_what_it_would_have(scene: str) -> None:
    import elastic

    found = elastic.main(scene)
    print(json.dumps(found))
    assert elastic.right(found), found
