"""What components of screens are for."""

from __future__ import annotations

import numpy as np

from windtunnel.parts.experiment.clicked_components import KINDS, LOOKS, App, ClickedComponents


def test_a_click_leads_where_its_use_does():
    random = np.random.default_rng(0)
    app = App(random)
    first, second, clicks, uses = app.traces(random, 300, 0.0)
    kinds, then = (each[:, 0, LOOKS : LOOKS + KINDS].argmax(axis=1) for each in (first, second))
    assert (then == app.leads[uses[np.arange(300), clicks]]).all()
    looks, high = first[..., :LOOKS].argmax(axis=2), (first[..., -1] > 0).astype(int)
    assert (uses == app.uses[looks, kinds[:, None], high]).all()


def test_clicks_at_random_teach_nothing_of_clicks():
    tiny = dict(traces=600, steps=120, labels=60)
    link, other = (ClickedComponents(tasks=tasks, **tiny).measure(80) for tasks in ("inverse", "other"))
    assert link["clicked"] > other["clicked"] + 0.05 and link["raw"] == other["raw"]
