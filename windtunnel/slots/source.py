"""The contract of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.part import Part

if TYPE_CHECKING:
    import daft


class Source(Part):
    """Where documents come from."""

    def read(self, tally: Any) -> daft.DataFrame:
        """Documents, one a row: ``text`` (str) and ``origin`` (str, where it came from). What is skipped is counted in ``tally``."""
        raise NotImplementedError
