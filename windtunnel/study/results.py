"""The results that studies, papers and adaptations leave on disk: where they are, and reading one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_text
from windtunnel.study.compact import compact, restored, text
from windtunnel.study.format_1 import upgraded
from windtunnel.study.result import FORMAT

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
    return result
