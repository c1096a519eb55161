"""The text of documents that are packed as zip: Word, OpenDocument and EPUB."""

from __future__ import annotations

import io
import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

from windtunnel.data.corpus.opened import Unreadable, declared_encoding, encoding_of
from windtunnel.data.extract.html import html_text

_LARGEST = 1 << 30  # bytes that a packed part may unpack to
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_WRAPPERS = ("sdt", "ins", "moveTo", "smartTag", "fldSimple", "customXml")
_DELETED = ("del", "moveFrom")
_ODF = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
_NOT_TEXT = ("{urn:oasis:names:tc:opendocument:xmlns:office:1.0}annotation", f"{_ODF}tracked-changes")  # comments and what was deleted


def word_text(data: bytes) -> str:
    """Paragraphs and tables of a .docx in their order; a row of a table is a line with tabs.

    Raises:
        Unreadable: where the file is damaged.
    """
    import docx

    try:
        document = docx.Document(io.BytesIO(data))
        _accept(document.element.body)
        return "\n".join(_word_lines(document))
    except Exception as error:  # whatever a damaged package leads zipfile, lxml or python-docx to
        raise Unreadable("damaged Word document", f"is a damaged Word document: {error}") from error


def _accept(body: Any) -> None:
    """Take content controls, fields and tracked insertions off what they hold, which python-docx passes over, and deletions out."""
    for element in list(body.iter(*(_WORD + name for name in (*_WRAPPERS, *_DELETED)))):
        parent = element.getparent()
        if element.tag == f"{_WORD}sdt":
            held = [child for content in element.iterchildren(f"{_WORD}sdtContent") for child in content]
        else:
            held = [] if element.tag.removeprefix(_WORD) in _DELETED else list(element)
        for child in held:
            element.addprevious(child)
        parent.remove(element)


def _word_lines(container: Any) -> Iterator[str]:
    for block in container.iter_inner_content():
        if hasattr(block, "rows"):
            for row in block.rows:
                cells = {id(cell._tc): " ".join(_word_lines(cell)) for cell in row.cells}  # one that spans columns is listed for each
                yield "\t".join(cells.values())
        else:
            yield block.text


def open_document_text(data: bytes) -> str:
    """Headings and paragraphs of an .odt in their order, a line each.

    Raises:
        Unreadable: where the file is damaged or encrypted.
    """
    tree = _xml(zipfile.ZipFile(io.BytesIO(data)), "content.xml")
    return "\n".join("".join(_runs(line)) for line in _lines(tree))


def _lines(element: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """The headings and paragraphs in ``element``, in their order."""
    if element.tag in _NOT_TEXT:
        return
    if element.tag in (f"{_ODF}p", f"{_ODF}h"):
        yield element
    for child in element:
        yield from _lines(child)


def _runs(element: ElementTree.Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if child.tag == f"{_ODF}s":
            yield " " * int(child.get(f"{_ODF}c", "1"))
        elif child.tag in (f"{_ODF}tab", f"{_ODF}line-break"):
            yield "\t" if child.tag == f"{_ODF}tab" else "\n"
        elif child.tag not in (f"{_ODF}note", f"{_ODF}p", f"{_ODF}h", *_NOT_TEXT):  # paragraphs in a box or note are lines of their own
            yield from _runs(child)
        yield child.tail or ""


def epub_text(data: bytes) -> str:
    """The chapters of an .epub in the order in which it is read.

    Raises:
        Unreadable: where the file is damaged or its chapters are encrypted.
    """
    book = zipfile.ZipFile(io.BytesIO(data))
    package = next((element.get("full-path") for element in _xml(book, "META-INF/container.xml").iter() if element.get("full-path")), None)
    if package is None:
        raise Unreadable("damaged EPUB book", "is a damaged EPUB book: it names no content")
    content = _xml(book, package)
    parts = {element.get("id"): element.get("href") for element in content.iter() if element.tag.endswith("}item")}
    spine = [parts.get(element.get("idref")) for element in content.iter() if element.tag.endswith("}itemref")]
    folder = posixpath.dirname(package)
    names = [posixpath.normpath(posixpath.join(folder, unquote(name))) for name in spine if name]
    locked = _encrypted(book)
    if any(name in locked for name in names):
        raise Unreadable("encrypted EPUB book", "is an encrypted EPUB book, which only the program that it was sold for can read")
    return "\n\n".join(html_text(_decoded(_part(book, name))) for name in names).strip()


def _encrypted(book: zipfile.ZipFile) -> set[str]:
    """The parts of a book that are encrypted, which may be its fonts alone."""
    name = "META-INF/encryption.xml"
    found = _xml(book, name).iter("{http://www.w3.org/2001/04/xmlenc#}CipherReference") if name in book.namelist() else ()
    return {posixpath.normpath(unquote(element.get("URI", "").lstrip("/"))) for element in found}


def _decoded(chapter: bytes) -> str:
    """In the encoding that the chapter names, as XML may be in any."""
    return chapter.decode(encoding_of(chapter, declared_encoding(chapter)), "replace")


def _xml(package: zipfile.ZipFile, name: str) -> ElementTree.Element:
    data = _part(package, name)
    if b"<!ENTITY" in data:  # entities that unfold into gigabytes
        raise Unreadable("damaged document", f"{name} in it defines entities, which no such document does")
    try:
        return ElementTree.fromstring(data)
    except ElementTree.ParseError as error:
        raise Unreadable("damaged or encrypted document", f"is damaged or encrypted: {name} in it is no XML ({error})") from error


def _part(package: zipfile.ZipFile, name: str) -> bytes:
    try:
        if package.getinfo(name).file_size > _LARGEST:
            raise Unreadable("document over 1 GiB", f"{name} in it holds more than 1 GiB")
        return package.read(name)
    except (KeyError, zipfile.BadZipFile, RuntimeError, OSError, NotImplementedError) as error:
        raise Unreadable("damaged document", f"is damaged: {name} in it cannot be read ({error})") from error
