"""The contract of encodings: how documents become arrays of numbers, and what is known of those."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from windtunnel.core.part import Part

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.recipe import Recipe


class Encoding(Part):
    """How documents become named arrays of numbers."""

    unit: ClassVar[str] = "unit"  # what one entry of the first array is: a token, an image, a step

    def before(self) -> Recipe | None:
        """The recipe, in the knob ``recipe``, whose encoding this one takes over or goes on from; its stream is prepared first."""
        return None

    def folders(self) -> dict[str, str]:
        """The folders that it reads, by the knob that names each."""
        return {}

    def differs(self) -> str:
        """What a study says of an arm that has this encoding where the baseline has another: which of their numbers compare."""
        return f"another encoding. Numbers by {self.unit} do not compare."

    def prepare(self, corpus: Any, cache: Path, before: Any = None, progress: Callable[[str], None] | None = None) -> Any:
        """The stream of ``corpus``, made under ``cache`` or found there. ``before`` is the stream of the recipe :meth:`before`."""
        raise NotImplementedError

    def reckoned(self) -> Any:
        """What it will know of its numbers, as far as that can be told before a document is read."""
        raise NotImplementedError

    def example(self, context: int) -> dict[str, np.ndarray]:
        """Rows as a loader yields them, one that stands for any, of the numbers that :meth:`reckoned` knows."""
        raise NotImplementedError
