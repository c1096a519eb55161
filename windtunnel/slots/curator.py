"""The contract of curators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.part import Part

if TYPE_CHECKING:
    import daft


class Curator(Part):
    """Better training documents from training documents. It never sees held-out documents."""

    def curate(self, documents: daft.DataFrame, tally: Any) -> daft.DataFrame:
        """The documents that stay, perhaps changed; what was removed is counted in ``tally``.

        ``documents`` has every field of every source as a column (null where a source has not), ``origin`` and ``source``, which names
        the source. What is returned keeps ``origin`` and ``source``; fields may be changed, added and left out.
        """
        raise NotImplementedError
