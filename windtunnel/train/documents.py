"""What each held-out document adds to the primary number on test: a file of a few kB beside the record of a run.

The record does not hold it, because it grows with the number of documents. Who has the record alone can do without.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from windtunnel.core.files import write_bytes
from windtunnel.slots import ByDocument

FILE = "documents.npz"


def write(folder: Path, found: ByDocument | None) -> None:
    """Put ``found`` into the folder of a run; of a run that does not say, none may be left of an earlier try. Raises DiskError."""
    if found is None:
        (folder / FILE).unlink(missing_ok=True)
        return
    import numpy as np

    data = io.BytesIO()
    below = found.below.astype(np.int32) if np.array_equal(found.below, np.rint(found.below)) else found.below
    np.savez_compressed(data, unit=found.unit, above=found.above.astype(np.float32), below=below)
    write_bytes(folder / FILE, data.getvalue())


def of_primary(found: ByDocument, primary: str | None, first: str | None, sources: Sequence[str]) -> ByDocument | None:
    """What documents add to the number ``primary``, by what they add to the ``first``: that itself, or that of one of ``sources``.

    None where it is any other number.
    """
    if primary == first:
        return found
    source = str(primary).removeprefix(f"{first}/")
    return found.of_source(sources.index(source)) if source in sources else None


def read(folder: Path) -> ByDocument | None:
    """What :func:`write` put into the folder of a run, float64; None where there is none, or it is damaged."""
    import numpy as np

    try:
        with np.load(folder / FILE, allow_pickle=False) as data:
            return ByDocument(data["unit"], data["above"].astype(np.float64), data["below"].astype(np.float64))
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        return None
