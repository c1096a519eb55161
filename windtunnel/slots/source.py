"""The contract of sources."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from windtunnel.core.part import Part, required

if TYPE_CHECKING:
    import daft


class Source(Part):
    """Where documents come from. One that holds a model is refused: nobody would train it or charge what it costs."""

    @required
    def read(self, tally: Any) -> daft.DataFrame:
        """Documents, one a row, with the fields that they have as columns. What is skipped is counted in ``tally``.

        ``origin`` (text) says where a document came from and is always there. ``text`` holds the text of a text document. ``group`` (text)
        names what must not be split between train, validation and test, such as a scene or a customer. Any other column is a field of the
        document: an image, a label, a date. ``source`` is not one of them: it names the source where several stand in one table.
        """
        raise NotImplementedError

    def refuse_missing(self) -> None:
        """Raise UserError where nothing can be read, as far as that can be told at once."""
        signature = getattr(self, "signature", None)
        if signature is not None:
            signature()

    def content_fields(self) -> tuple[str, ...]:
        """The fields that make a document what it is: two that agree in them are duplicates. Empty: text and image, or all fields."""
        return ()
