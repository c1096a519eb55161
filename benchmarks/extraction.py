"""Words of pages and PDF files that reach the text, against what other programs take out of the same files.

``python benchmarks/extraction.py HTML_FOLDER PDF_FOLDER [PDFS]``: pages are compared with what lxml finds in them (all text of the body but
scripts and styles), PDFs with ``pdftotext`` of poppler, which must be installed. It prints JSON: for each kind the files, the share of
the other's words that ours has (recall), the share of ours that the other has (precision), tags that are left, and CPU seconds.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lxml.html

from windtunnel.data.corpus.frame import texts_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files

TAG = re.compile(r"</?(?:p|div|span|html|head|body|a|li|ul|table|td|tr|h[1-6]|em|code|pre)\b[^<>]{0,80}>", re.IGNORECASE)


def words(text: str) -> Counter[str]:
    """The words of a text; a word that is parted at the end of a line counts as two, as both do it."""
    return Counter(re.findall(r"\w+", text.lower()))


def page(path: Path) -> str:
    """The text of a page by lxml."""
    body = lxml.html.parse(str(path), lxml.html.HTMLParser(encoding="utf-8")).getroot().find("body")
    for gone in body.xpath(".//script|.//style|.//comment()"):
        gone.drop_tree()
    return " ".join(body.itertext())


def pdf(path: Path) -> str:
    """The text of a PDF by poppler."""
    return subprocess.run(["pdftotext", "-enc", "UTF-8", str(path), "-"], capture_output=True, check=True).stdout.decode()


def compared(files: Iterable[Path], other: Callable[[Path], str]) -> dict[str, Any]:
    """Both on each of ``files``."""
    shared, ours, theirs, tags, seconds, worst = 0, 0, 0, 0, 0.0, []
    for file in files:
        began = time.process_time()
        texts = list(texts_of(Files(path=str(file)), Tally("files")))
        seconds += time.process_time() - began
        (text,) = texts
        one, two = words(text), words(other(file))
        both = (one & two).total()
        shared, ours, theirs = shared + both, ours + one.total(), theirs + two.total()
        tags += len(TAG.findall(text))
        worst.append((both / max(1, two.total()), both / max(1, one.total()), file.name))
    worst.sort()
    return {
        "files": len(worst),
        "words": ours,
        "recall": shared / theirs,
        "precision": shared / ours,
        "tags": tags,
        "least_recall": worst[:3],
        "cpu_seconds": seconds,
    }


def main(pages: str, pdfs: str, count: int = 20) -> dict[str, Any]:
    html = sorted(Path(pages).glob("**/*.html"))
    smallest = sorted(Path(pdfs).glob("**/*.pdf"), key=lambda file: file.stat().st_size)[:count]
    return {"html": compared(html, page), "pdf": compared(smallest, pdf)}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:3], *map(int, sys.argv[3:]))))
