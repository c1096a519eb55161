"""The text of PDF."""

from __future__ import annotations

import io
import logging
import re

from windtunnel.data.corpus.opened import Unreadable

# Letters that were set as one piece of type, and what has no place in text.
_JOINED = {ord("ﬀ"): "ff", ord("ﬁ"): "fi", ord("ﬂ"): "fl", ord("ﬃ"): "ffi", ord("ﬄ"): "ffl", ord("ﬅ"): "st", ord("ﬆ"): "st"}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def pdf_text(data: bytes) -> str:
    """The text of all pages, in the order in which it was written to them; a page begins after a blank line.

    Raises:
        Unreadable: where the file is damaged or needs a password.
    """
    import pypdf

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it reports every oddity of a file that it then reads well
    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("encrypted PDF", "is an encrypted PDF; save it without a password")
        pages = [page.extract_text() for page in reader.pages]
    except Unreadable:
        raise
    except pypdf.errors.DependencyError as error:
        raise Unreadable("encrypted PDF", f"is an encrypted PDF ({error}); save it without encryption") from error
    except Exception as error:  # pypdf raises whatever a damaged file leads it to
        detail = f"is a damaged PDF: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        raise Unreadable("damaged PDF", detail) from error
    return "\n\n".join(_CONTROL.sub("", page.translate(_JOINED)).strip() for page in pages).strip()
