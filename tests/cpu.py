"""``pytest --cpu 30``: CPU seconds of the tests, those of their processes included, by file and of the 30 most expensive.

The wall time of a test says little on a machine that does other things. A session fixture is charged to the first test that asks for it.
A process counts once it has been waited for.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import warm


def spent() -> float:
    """CPU seconds of this process, of those that it has waited for, and of warm ones."""
    return sum(os.times()[:4]) + warm.spent()


class Cpu:
    """Measures in every worker; the numbers travel with the reports, and the process that prints adds them up."""

    def __init__(self, shown: int) -> None:
        self.shown = shown
        self.tests: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Iterator[Any]:
        return (yield from self._measured(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Iterator[Any]:
        return (yield from self._measured(item))

    def _measured(self, item: pytest.Item) -> Iterator[Any]:
        before = spent()
        try:
            return (yield)
        finally:
            item.user_properties.append(("cpu", spent() - before))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "teardown":
            self.tests[report.nodeid] += sum(float(value) for name, value in report.user_properties if name == "cpu")  # type: ignore[arg-type]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        files: Counter[str] = Counter()
        for test, seconds in self.tests.items():
            files[test.partition("::")[0]] += seconds
        terminalreporter.write_sep("=", f"{files.total():.1f} CPU seconds in {len(self.tests)} tests")
        for name, seconds in [*files.most_common(), *self.tests.most_common(self.shown)]:
            terminalreporter.write_line(f"{seconds:8.2f}  {name}")
