"""One contract for every part of this package: a new part is in this table by existing."""

from __future__ import annotations

import torch

from windtunnel.slots import Progress
from windtunnel.testing import contract

test_contract = contract("windtunnel.parts")


def test_the_six_steps_of_arms_see_the_same_documents(tiny, stream, tmp_path):
    """Arms with another model or schedule draw the same sequences as the baseline."""
    from windtunnel.data.loader import Loader

    rows = []
    for batch in (4, 2):
        recipe = tiny(batch=batch)
        phase = recipe.phases[0]
        loader = Loader(
            stream,
            split="train",
            sources=stream.sources,
            context=32,
            sequences=batch,
            mixture=phase.mixture,
            packing=phase.packing,
            seed=5,
        )
        progress = Progress(0, 1, 0, 1, batch, 0.0, 0.0, 0)
        drawn = [loader.rows(progress, {})["tokens"] for _ in range(8 // batch)]
        rows.append(torch.cat([torch.as_tensor(entry) for entry in drawn]))
    assert torch.equal(rows[0], rows[1])
