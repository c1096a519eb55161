"""What is stored in an output folder, and what of it can go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from windtunnel.api.given import OUT, Where

if TYPE_CHECKING:
    import pandas


def stored(out: Where = OUT) -> pandas.DataFrame:
    """A row a run below ``out``: status, bytes, seed, the number on test, and who needs it.

    Raises:
        UserError: where ``out`` is no output folder, or the result of a study there cannot be read.
    """
    import pandas

    from windtunnel.study.stored import stored_runs

    rows = [{"run": run.name, **vars(run)} for run in stored_runs(Path(out))]
    return pandas.DataFrame(rows, columns=["run", "folder", "status", "bytes", "seed", "primary", "needed_by"]).set_index("run")


def clean(out: Where = OUT, *, weights: bool = False, cache: bool = False) -> int:
    """Remove the runs below ``out`` that no study needs, without a question; returns how many bytes that freed.

    Args:
        out: the output folder of studies.
        weights: also the weights of finished runs, whose records stay.
        cache: also prepared text.

    Raises:
        UserError: as :func:`stored`.
    """
    from windtunnel.study.stored import removable, remove

    return remove(removable(Path(out), weights=weights, cache=cache))[0]
