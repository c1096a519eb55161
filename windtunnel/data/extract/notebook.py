"""The text of notebooks."""

from __future__ import annotations

import json
from typing import Any

from windtunnel.data.corpus.opened import Unreadable


def notebook_text(notebook: str) -> str:
    """The cells of text and code in their order, with a blank line between; without outputs, which are often images or long tables.

    Raises:
        Unreadable: where it is no notebook.
    """
    try:
        content = json.loads(notebook)
        # Notebooks before version 4 hold sheets, and call the source of a cell of code its input.
        cells = [cell for sheet in content.get("worksheets", [content]) for cell in sheet.get("cells", [])]
        found = [_joined(cell.get("source", cell.get("input", ""))) for cell in cells]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise Unreadable("damaged notebook", f"is a damaged notebook: {error}") from error
    return "\n\n".join(text.strip("\n") for text in found if text.strip())


def _joined(source: Any) -> str:
    return source if isinstance(source, str) else "".join(source)
