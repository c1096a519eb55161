"""Documents out of what crawls the web or copies a wiki: WARC and WET files, and XML dumps of MediaWiki."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

from windtunnel.data.corpus.columns import Columns, Documents, Note
from windtunnel.data.corpus.fields import GROUP, TEXT
from windtunnel.data.corpus.opened import Unreadable, declared_encoding, encoding_of, opened

_PAGES = ("text/html", "application/xhtml+xml", "text/plain")


def is_crawl(path: Path) -> bool:
    """Whether a file is WARC by its content, whatever it is called, as ``.warc.wat`` or ``.warc.open``.

    Raises:
        Unreadable: for an ARC file, which is what crawls wrote before WARC.
    """
    try:
        with opened(path) as file:
            head = file.read(11)
    except Unreadable:
        return False
    if head == b"filedesc://":
        raise Unreadable("ARC file", "is an ARC file, which crawls wrote before WARC; warcio recompress makes it a WARC file")
    return head.startswith(b"WARC/")


def read_warc(path: Path, columns: Columns, note: Note) -> Documents:
    """The pages of a WARC file, and the texts of a WET file, with the fields ``url``, ``date`` and ``site``."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    number = 0
    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    with opened(path) as stream:
        try:
            for number, record in enumerate(ArchiveIterator(stream, record_types=wanted, auto_decode="all"), 1):
                try:
                    text = _page(record, columns, note)
                except Unreadable as problem:
                    note(f"skipped: page, {problem.what}", where=f"{record.headers.get('WARC-Target-URI')}: {problem.detail}")
                    continue
                url = (record.headers.get("WARC-Target-URI") or "").strip("<>")
                found = {"url": url, "date": record.headers.get("WARC-Date"), "site": urlsplit(url).hostname}
                yield _document(text, found, columns), f":{number}"
        except OSError as error:
            if error.errno is not None:
                raise
            raise Unreadable("damaged or truncated file", f"the WARC file is damaged after record {number}: {error}") from error
    if not number:
        raise Unreadable("WARC file without pages", "holds no page, only what is said about pages, or requests")


def _page(record: Any, columns: Columns, note: Note) -> str:
    form = record.http_content_type if record.is_http else (record.headers.get("Content-Type") or "").partition(";")[0].strip()
    if form not in _PAGES:
        raise Unreadable("neither HTML nor text", f"is {form or 'of no stated type'}")
    data = record.reader.read()
    if len(data) < record.content_length and not record.is_http:
        raise Unreadable("cut short", f"ends after {len(data)} of {record.content_length} bytes")
    encoding = columns.encoding or encoding_of(data, (record.http_charset if record.is_http else None) or declared_encoding(data))
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise Unreadable("not valid text in any encoding", f"is not {encoding}: {error.reason}") from error
    if form == "text/plain" or not columns.extract:
        return text
    from windtunnel.data.extract.contents import extracted

    text = extracted("HTML documents", text)
    note("HTML documents: text extracted", size=len(data))
    return text


def _document(text: str, found: dict[str, Any], columns: Columns) -> dict[str, Any]:
    """A document with those of its other fields that are kept."""
    row = {TEXT: text, **{ours: found[their] for their, ours in columns.kept(found).items()}}
    return {**row, GROUP: found[columns.group]} if columns.group in found else row


# Wikis ---------------------------------------------------------------------------------------------------------------------------


def is_wiki(path: Path) -> bool:
    """Whether an XML file is a dump of MediaWiki."""
    try:
        with opened(path) as file:
            return b"<mediawiki" in file.read(1024)
    except Unreadable:
        return False


def read_wiki(path: Path, columns: Columns, note: Note) -> Documents:
    """The articles of a dump of MediaWiki, without templates, tables, footnotes, images and categories, with the field ``title``.

    Pages that redirect, and those that are no articles (talk, users, templates), are counted and left out.
    """
    unseen = {"file", "image", "category"}
    with opened(path) as file:
        for page in _elements(file):
            if page.tag.rpartition("}")[2] == "namespace":
                if page.get("key") in ("6", "14"):  # files and categories, as this wiki calls them
                    unseen.add((page.text or "").lower())
                continue
            title = page.findtext("{*}title") or ""
            if page.find("{*}redirect") is not None:
                note("skipped: page that redirects", where=title)
            elif page.findtext("{*}ns", "0") != "0":
                note("skipped: page that is no article", where=title)
            elif page.findtext("{*}revision/{*}model", "wikitext") != "wikitext":
                note("skipped: page that is no wikitext", where=title)
            else:
                written = page.findtext("{*}revision/{*}text") or ""
                yield _document(_plain(written, unseen, note) if columns.extract else written, {"title": title}, columns), f":{title}"


def _elements(file: IO[bytes]) -> Iterator[ElementTree.Element]:
    """The namespaces that a dump declares at its head, and its pages, each with its latest revision alone."""
    try:
        root: ElementTree.Element | None = None
        page: ElementTree.Element | None = None
        for event, element in ElementTree.iterparse(file, ("start", "end")):
            if root is None:
                root = element
            name = element.tag.rpartition("}")[2]
            if event == "start" and name == "page":
                page = element
            if event == "end" and name == "revision" and page is not None:
                earlier = sorted(page.findall("{*}revision"), key=_saved)[:-1]
                for revision in earlier:  # a dump of the history holds every state that a page ever had
                    page.remove(revision)
            if event == "end" and name in ("namespace", "page"):
                yield element
            if event == "end" and name == "page":
                root.clear()  # else all pages stay in memory
    except ElementTree.ParseError as error:
        raise Unreadable("damaged or truncated file", f"the dump is cut short or no XML: {error}") from error


def _saved(revision: ElementTree.Element) -> tuple[str, int]:
    """When a revision was saved; where two were in one second, their numbers tell."""
    number = revision.findtext("{*}id") or ""
    return revision.findtext("{*}timestamp") or "", int(number) if number.isdecimal() else 0


def _plain(written: str, unseen: Collection[str], note: Note) -> str:
    """The words of a page; links into the namespaces ``unseen`` are no words of it."""
    import mwparserfromhell

    code = mwparserfromhell.parse(written)
    for tag in code.filter_tags(recursive=True, matches=lambda tag: str(tag.tag).lower() in ("ref", "table", "gallery", "math")):
        if code.contains(tag):
            code.remove(tag)
    for link in code.filter_wikilinks(recursive=True):
        space, colon, _ = str(link.title).partition(":")
        if colon and space.strip().lower() in unseen and code.contains(link):
            code.remove(link)
    note("wiki pages: text extracted", size=len(written))
    return str(code.strip_code()).strip()
