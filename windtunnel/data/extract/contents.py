"""What a document is, by its content, and the text in it."""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from collections.abc import Callable

from windtunnel.data.corpus.opened import BOMS, Unreadable, unmarked
from windtunnel.data.extract.html import html_text
from windtunnel.data.extract.mail import is_mail, mail_text
from windtunnel.data.extract.manual import manual_text
from windtunnel.data.extract.notebook import notebook_text
from windtunnel.data.extract.office import epub_text, open_document_text, word_text
from windtunnel.data.extract.pdf import pdf_text

_BYTES: dict[str, Callable[[bytes], str]] = {
    "PDF documents": pdf_text,
    "Word documents": word_text,
    "OpenDocument texts": open_document_text,
    "EPUB books": epub_text,
    "mails": mail_text,
}
_TEXT: dict[str, Callable[[str], str]] = {
    "HTML documents": html_text,
    "notebooks": notebook_text,
    "manual pages": manual_text,
}

_MARKED_UP = {b"{\\rtf": "RTF", b"%!PS": "PostScript"}  # plain text to look at, and hardly a word of it is text
_HEAD = 1 << 16  # characters in which a document says what it is; the macros that Perl writes before a manual page take 5,000
_COMMENTS = re.compile(r"(\s|<\?xml[^>]*>|<!--.*?-->)*", re.DOTALL)
_HTML = re.compile(r"<(!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_FRAGMENT = re.compile(r"</(p|div|span|a|h[1-6]|li|td|title|pre)\s*>", re.IGNORECASE)
_NOTEBOOK = re.compile(r'"nbformat"\s*:\s*\d')
_MANUAL = re.compile(r"^[.'][ \t]*(TH|Dd)[ \t]+\S", re.MULTILINE)
_REFERENCE = re.compile(r"(\.\\\".*\n|'\\\".*\n|\s)*\.so\s+\S+\s*$")


def form_of(data: bytes, suffix: str) -> str | None:
    """What a document is, such as "HTML documents"; None where it is plain text or nothing known. ``data`` may be its beginning only.

    The content decides. ``suffix`` helps only with pieces of HTML, which nothing but tags tells, and with mails of few headers.

    Raises:
        Unreadable: where it is a document whose text nothing here can take out.
    """
    at = data[:1024].find(b"%PDF-")
    if at == 0 or (at > 0 and b"endobj" in data):  # a text may speak of PDF
        return "PDF documents"
    if data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        raise Unreadable("old or encrypted Office document", "is an old or encrypted Office document; save it as .docx without a password")
    for begins, name in _MARKED_UP.items():
        if data.startswith(begins):
            raise Unreadable(f"{name} document", f"is a {name} document, which is not read; save it as .docx, .pdf or plain text")
    if data.startswith(b"PK\x03\x04"):
        return _packed(data)
    if is_mail(data, suffix):
        return "mails"
    mark = next((encoding for mark, encoding in BOMS if data.startswith(mark)), None) or unmarked(data) or "utf-8"
    head = codecs.getincrementaldecoder(mark)("replace").decode(data[:_HEAD])
    begun = _COMMENTS.match(head)
    if _HTML.match(head, begun.end() if begun else 0) or (suffix in (".html", ".htm", ".xhtml") and _FRAGMENT.search(head)):
        return "HTML documents"
    if suffix == ".ipynb" or (head.lstrip().startswith("{") and '"cells"' in head and _NOTEBOOK.search(head)):
        return "notebooks"
    if head.lstrip()[:1] in (".", "'") and (_MANUAL.search(head) or _REFERENCE.match(head)):
        return "manual pages"
    return None


def _packed(data: bytes) -> str | None:
    try:
        names = set(zipfile.ZipFile(io.BytesIO(data)).namelist())
    except zipfile.BadZipFile:
        return None
    if "word/document.xml" in names:
        return "Word documents"
    if "META-INF/container.xml" in names:
        return "EPUB books"
    return "OpenDocument texts" if {"content.xml", "mimetype"} <= names else None


def is_packed(form: str) -> bool:
    """Whether documents of ``form`` are read as bytes, not decoded first."""
    return form in _BYTES


def extracted(form: str, document: bytes | str) -> str:
    """The text of a document of ``form``: from its bytes where :func:`is_packed`, else from its decoded text.

    Raises:
        Unreadable: where it is damaged or encrypted, or holds no text.
    """
    text = _BYTES[form](document) if isinstance(document, bytes) else _TEXT[form](document)
    if not text.strip():
        raise Unreadable(f"{form} without text", "holds no text; a scan has to go through text recognition first")
    return text
