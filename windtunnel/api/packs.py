"""Packs: studies for machines without a network or the libraries that read a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from windtunnel.api.given import OUT, Where
from windtunnel.api.studies import Study, read


def pack(studies: Study | Where | Sequence[Study | Where], folder: Where, *, most: int | None = None, out: Where = OUT) -> dict[str, Any]:
    """Pack studies into ``folder`` for a machine without a network or the libraries that read a corpus; returns what is in it.

    Args:
        studies: one, or several: files, or what :func:`read` returns.
        folder: is made.
        most: bytes that the pack may have; what does not fit is left out, the least valuable first, and named under ``left_out``.
        out: where text is prepared and kept, as for :meth:`Study.fly`.

    Raises:
        UserError: where ``folder`` is not empty, nothing fits, or a study cannot be flown elsewhere.
    """
    from windtunnel.study.pack.make import pack_studies

    given = [studies] if isinstance(studies, Study | str | Path) else list(studies)
    found = [study if isinstance(study, Study) else read(study) for study in given]
    return pack_studies([study.file for study in found], Path(folder), out=Path(out), most=most).summary()


def fly_pack(folder: Where, minutes: float, *, out: Where = OUT, workers: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """Fly what ends within ``minutes`` of the pack in ``folder``; returns the list of its runs. Called again, it goes on where it was.

    Args:
        folder: what :func:`pack` made.
        minutes: how long it may take.
        out: where runs and results go, which :func:`unpack` takes in.
        workers: most runs side by side (default: as many as make it faster).
        threads: of one run.

    Raises:
        UserError: where the pack is damaged or of another version, or ``out`` holds results of another one.
    """
    from windtunnel.study.pack.flight import fly_pack as fly

    return fly(Path(folder), Path(out), minutes=minutes, workers=workers, threads=threads).plain()


def unpack(results: Where | Sequence[Where], out: Where = OUT, *, weights: bool = False) -> dict[str, list[str]]:
    """Take what came of packs into ``out``, where studies find it as flown; returns ``joined``, ``known`` and ``refused``.

    Args:
        results: folders that packs were flown in.
        out: where studies keep their runs.
        weights: the models too, not their records alone.

    Raises:
        UserError: where a folder holds no results of a pack, or those of another format.
    """
    from windtunnel.study.pack.unpack import unpack as take

    given = [results] if isinstance(results, (str, Path)) else results
    found = take([Path(one) for one in given], Path(out), weights=weights)
    return {"joined": found.joined, "known": found.known, "refused": found.refused}
