"""A curator that writes the same text in one way, and takes out lines that many documents share."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import TEXT, text_of
from windtunnel.data.corpus.judging import Judge, Reasons, by_share, replaced
from windtunnel.slots import CuratorContext

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

# Control characters but tab and line end, the byte order mark, zero-width spaces (not the joiners, which some scripts need), soft hyphens
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u200b\u2060\ufeff]")
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\u0085\u2028\u2029]")
_TRAILING = re.compile(r"[ \t\u00a0\u3000]+$", re.MULTILINE)
_EMPTY_LINES = re.compile(r"\n{3,}")
PIECE = 1 << 20  # lines that are counted together: some 60 MB of memory


class Normalise(Judge, name="normalise"):
    """Bring Unicode into one form, take out what nobody sees, and lines of boilerplate that many documents have.

    One form for composed characters (NFC, or NFKC, which also undoes ligatures and full width), one line end, no control characters,
    byte order marks, zero-width spaces and soft hyphens, no white space at the end of lines, at most one empty line. A line that at least
    ``documents`` documents have, and the share ``boilerplate`` of all, is taken out everywhere: menus, cookie notices, licences. A
    document that holds nothing else goes.
    """

    fields = ("text",)
    trial = Trial({"boilerplate": 0.5, "documents": 2})
    scans: ClassVar[bool] = True

    form: Literal["NFC", "NFKC"] = Field("NFC", description="the Unicode normal form")
    boilerplate: float = Field(0.05, gt=0, le=1, description="the share of documents from which on a line that they have is boilerplate")
    documents: int = Field(20, ge=2, description="documents that have to have a line before it is boilerplate")
    shortest: int = Field(12, ge=1, description="characters of a line that can be boilerplate; brackets and blanks occur anywhere")

    def clean(self, text: str) -> str:
        """``text`` written in the one way; boilerplate is still in it."""
        text = _LINE_ENDS.sub("\n", text)
        text = _INVISIBLE.sub("", text) if not text.isprintable() else text
        text = text if text.isascii() else unicodedata.normalize(self.form, text)
        return _EMPTY_LINES.sub("\n\n", _TRAILING.sub("", text)).strip("\n")

    def _lines(self, text: str) -> tuple[list[str], np.ndarray]:
        """The lines of a text, and a hash of each, 0 for one that is too short."""
        import numpy as np
        import xxhash

        lines = text.split("\n")
        keys = [xxhash.xxh3_64_intdigest(line.encode()) if len(line) >= self.shortest else 0 for line in map(str.strip, lines)]
        return lines, np.array(keys, np.uint64)

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """In how many documents each line occurs."""
        import numpy as np

        texts = [text for text in text_of(documents) if text]
        keys = [np.unique(self._lines(self.clean(text))[1]) for text in texts]
        lines, counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *keys]), return_counts=True)
        return {"lines": lines[lines != 0], "counts": counts[lines != 0], "documents": np.array([len(texts)])}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """The lines that are boilerplate."""
        import numpy as np

        least = max(self.documents, self.boilerplate * sum(int(scan["documents"][0]) for scan in scans))
        found = [np.zeros(0, np.uint64)]
        for places in by_share(scans, "lines", PIECE):
            lines, counts = (
                np.concatenate([scan[name][own] for scan, own in zip(scans, places, strict=True)]) for name in ("lines", "counts")
            )
            known, which = np.unique(lines, return_inverse=True)
            found.append(known[np.bincount(which, weights=counts, minlength=len(known)) >= least])
        return {"lines": np.concatenate(found)}

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents, written anew; those that are nothing but boilerplate go."""
        import numpy as np

        texts: list[str | None] = []
        reasons: list[str | None] = []
        for text in text_of(documents):
            new = None if text is None else self.clean(text)
            if new and len(found["lines"]):
                lines, keys = self._lines(new)
                gone = np.isin(keys, found["lines"])
                if gone.any():
                    new = _EMPTY_LINES.sub("\n\n", "\n".join(line for line, out in zip(lines, gone, strict=True) if not out)).strip("\n")
            reasons.append("nothing but boilerplate" if text and not (new or "").strip() else None)
            texts.append(new)
        return replaced(documents, {TEXT: texts}), reasons
