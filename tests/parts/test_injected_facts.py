"""Lines through what is retained, and facts that come with injections."""

from __future__ import annotations

import numpy as np
import pytest

from windtunnel.parts.experiment.injected_facts import InjectedFacts, forgetting


def test_a_decay_that_is_known_is_found():
    time = np.arange(1, 301)
    rise = np.linspace(-5, -2, 10)
    values = np.concatenate([[-5.0, -6.0, -4.0], rise, -2 - 3 * (0.1 + 0.2 * np.log10(time))])
    slope, line = forgetting(values, 2)
    assert slope == pytest.approx(0.2, abs=1e-6) and line == pytest.approx(1, abs=1e-6)  # l before is -5, so a drop of 0.2 of 3 a decade


def test_injections_teach_and_quiet_steps_forget():
    found = InjectedFacts(before=20, quiet=60, often=4, every=5, facts=8, rate=5e-3, batch=16).measure(270)
    assert found["gain"] > 0 and found["decay"] > 0 and found["nats"] < 3.9
