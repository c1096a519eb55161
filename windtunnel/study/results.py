"""The results that studies, papers and adaptations leave on disk: where they are, and reading one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_text
from windtunnel.study.compact import compact, restored, text
from windtunnel.study.format_1 import upgraded
from windtunnel.study.result import FORMAT, Verdict

GIVE = "give a result file, or the folder of a study or an adaptation"


def result_files(path: Path) -> list[Path]:
    """The results at ``path``: itself, its result.json, or those of the studies below it. Raises UserError where there is none."""
    if path.is_file():
        return [path]
    found = [path / "result.json"] if (path / "result.json").is_file() else sorted(path.glob("studies/*/result.json"))
    if not found:
        raise UserError(f"{path}: {'holds no result.json' if path.is_dir() else 'no such file or folder'}; {GIVE}")
    return found


def load(file: Path) -> Any:
    """What a result file holds, whichever form it has; one of format 1 is converted. Raises OSError, and ValueError where it is no JSON."""
    content = json.loads(file.read_text(encoding="utf-8"))
    return upgraded(restored(content)) if isinstance(content, dict) else content


def save(result: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """Write ``result`` to ``file`` in the compact form, whole or not at all; returns what :func:`load` will read there.

    Raises:
        DiskError: when it cannot be written.
    """
    found = compact(result)
    write_text(file, text(found))
    return restored(found)


def read_result(file: Path, *, adaptations: bool = False) -> dict[str, Any]:
    """The result of a study or a paper in ``file``; with ``adaptations``, or of an adaptation.

    Raises:
        UserError: where the file is none, or has another format.
    """
    try:
        result = load(file)
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}; {GIVE}") from error
    except ValueError as error:
        raise UserError(f"{file}: not a result: {error}") from error
    if not isinstance(result, dict) or "format" not in result:
        raise UserError(f"{file}: not a result: it has no format; {GIVE}")
    if result["format"] != FORMAT:
        raise UserError(f"{file}: has format {result['format']}, this version reads format {FORMAT}")
    if not {"runs", "arms"} <= result.keys() and not (adaptations and result.get("kind") == "adaptation"):
        raise UserError(f"{file}: not the result of a study: it has no runs")
    refuse_other_verdicts(result, file)
    return result


def refuse_other_verdicts(result: Mapping[str, Any], file: Path) -> None:
    """Raise UserError where a verdict in ``file`` is no word of ours, or not what its own interval says: somebody has changed it."""
    from windtunnel.study.statistics.compare import Interval, verdict

    cure = "the file has been changed since it was written; give the command that wrote it again (finished runs are not flown again)"
    study, arms = result.get("study"), result.get("arms")
    margin, better = (study.get("margin"), study.get("better")) if isinstance(study, Mapping) else (None, None)
    for name, arm in arms.items() if isinstance(arms, Mapping) else ():
        word, test = (arm.get("verdict"), arm.get("test")) if isinstance(arm, Mapping) else (None, None)
        if word is None:
            continue
        if word not in get_args(Verdict):
            raise UserError(f"{file}: arms.{name}.verdict: {word!r} is no verdict; {nearest(str(word), get_args(Verdict))}; {cure}")
        low, high = (test.get("low"), test.get("high")) if isinstance(test, Mapping) else (None, None)
        if isinstance(low, float) and isinstance(high, float) and isinstance(margin, float):
            said = verdict(Interval(0.0, low, high, 0, 0.0), margin, better or "lower")
            if said != word:
                interval = f"its interval ({low:.4g} to {high:.4g}, margin {margin:.4g}, {better or 'lower'} is better)"
                raise UserError(f"{file}: arms.{name}.verdict: {word!r} is not what {interval} says, which is {said!r}; {cure}")
