"""Results as the first format had them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from windtunnel.study.result import FORMAT
from windtunnel.train.record import failure_of_format_1


def upgraded(result: dict[str, Any]) -> dict[str, Any]:
    """A result of format 1, of a study or a paper, as format 2 has it; any other unchanged.

    Format 1 named the primary metric in its keys (``test_bits_per_byte``) and told failures by the name of the exception.
    """
    if result.get("format") != 1:
        return result
    metric = (result.get("study") or {}).get("metric", "")
    found = {**result, "format": FORMAT}
    if result.get("error"):
        found["failure"] = result.get("failure") or {**failure_of_format_1(result["error"], None), "message": result["error"]}
    if "baseline" in result:
        found["baseline"] = _with_test(result["baseline"], metric)
    if "arms" in result:
        found["arms"] = {name: _with_test(arm, metric) for name, arm in result["arms"].items()}
    if "runs" in result:
        found["runs"] = [_with_failure(run) for run in result["runs"]]
    return found


def _with_test(block: Any, metric: str) -> Any:
    key = f"test_{metric}"
    return {"test" if name == key else name: value for name, value in block.items()} if isinstance(block, Mapping) else block


def _with_failure(run: Any) -> Any:
    if not isinstance(run, Mapping) or run.get("status") != "failed" or run.get("failure"):
        return run
    return {**run, "failure": failure_of_format_1(run.get("error"), run.get("traceback"))}
