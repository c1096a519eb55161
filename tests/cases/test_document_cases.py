"""Documents, archives and chats that somebody has reported trouble with, each as small as it can be. The source stands beside the case."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files


def found_in(path: Path) -> tuple[list[str], dict[str, int]]:
    """The texts of the documents of ``path``, and the counts of the table."""
    tally = Tally("notes")
    texts = [row["text"] for batch in batches(Files(path=str(path)).documents(tally)) for row in batch.to_pylist()]
    return texts, {row["what"]: row["documents"] for row in tally.rows()}


WORD = """<w:{name} xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">{inner}</w:{name}>"""


def word(text: str) -> str:
    return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'


def test_words_in_content_controls_fields_and_tracked_changes_of_word(tmp_path: Path) -> None:
    """python-openxml/python-docx 340, 1123; thomas-villani/all2md 480, 487."""
    import docx
    from docx.oxml import parse_xml

    document = docx.Document()
    block = f"<w:sdtContent><w:p>{word('a title')}</w:p></w:sdtContent>"
    inner = f"{word('a river')}<w:ins>{word(' and a stone')}</w:ins><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
    inner += f"<w:sdt><w:sdtContent><w:smartTag>{word(' by')}</w:smartTag></w:sdtContent></w:sdt>"
    inner += f"<w:fldSimple>{word(' a lamp')}</w:fldSimple>"
    for name, held in (("sdt", block), ("p", inner)):
        document.element.body.insert(-1, parse_xml(WORD.format(name=name, inner=held)))
    document.save(tmp_path / "a.docx")
    assert found_in(tmp_path)[0] == ["a title\na river and a stone by a lamp"]


def epub(path: Path, chapter: bytes, encrypted: str = "") -> None:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="in/c.opf"/></rootfiles>'
    package = '<package xmlns="http://www.idpf.org/2007/opf"><manifest><item id="a" href="a.xhtml"/></manifest><spine><itemref idref="a"/>'
    part = f'<x:EncryptedData><x:CipherData><x:CipherReference URI="{encrypted}"/></x:CipherData></x:EncryptedData>'
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("META-INF/container.xml", f"{container}</container>")
        book.writestr("in/c.opf", f"{package}</spine></package>")
        book.writestr("in/a.xhtml", chapter)
        if encrypted:
            book.writestr("META-INF/encryption.xml", f'<encryption xmlns:x="http://www.w3.org/2001/04/xmlenc#">{part}</encryption>')


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1251"])
def test_chapters_of_a_book_that_are_not_utf8(encoding: str, tmp_path: Path) -> None:
    """xberg-io/xberg 1494; docling-project/docling 4351; j-raghavan/inkread 180."""
    text = "река и камень" if encoding == "windows-1251" else "la rivière gelée"
    epub(tmp_path / "a.epub", f'<?xml version="1.0" encoding="{encoding}"?><html><body><p>{text}</p></body></html>'.encode(encoding))
    assert found_in(tmp_path)[0] == [text]


def test_a_book_with_encrypted_chapters_is_refused_and_one_with_encrypted_fonts_is_read(tmp_path: Path) -> None:
    """xberg-io/xberg 1494: what is sold with a lock came out as noise."""
    epub(tmp_path / "font.epub", b"<html><body><p>a river</p></body></html>", "in/fonts/a.otf")
    assert found_in(tmp_path)[0] == ["a river"]
    epub(tmp_path / "sold.epub", bytes(range(1, 256)) * 3, "in/a.xhtml")
    with pytest.raises(UserError, match="encrypted EPUB"):
        found_in(tmp_path / "sold.epub")


@pytest.mark.parametrize("newest_first", [True, False])
def test_the_history_of_a_wiki_gives_each_page_as_it_is_now(newest_first: bool, tmp_path: Path) -> None:
    """outofcontrol/mediawiki-to-gfm 4; mak-kirkland/mediawiki-to-markdown 3; WikiExtractor/wikiextractor 77."""
    saved = [
        f"<revision><id>{number}</id><timestamp>20{number:02}-01-01T00:00:00Z</timestamp><text>state {number}</text></revision>"
        for number in (9, 10, 11)
    ]
    page = f"<page><title>River</title><ns>0</ns>{''.join(reversed(saved) if newest_first else saved)}</page>"
    code = "<page><title>River.js</title><ns>0</ns><revision><model>javascript</model><text>let hidden = 1</text></revision></page>"
    (tmp_path / "a.xml").write_text(f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">{page}{code}</mediawiki>')
    texts, counts = found_in(tmp_path)
    assert texts == ["state 11"] and counts["skipped: page that is no wikitext"] == 1


def tar(**members: str) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in members.items():
            member = tarfile.TarInfo(f"{name}.txt")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return made.getvalue()


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_archives_that_were_joined_are_read_to_the_last(name: str, tmp_path: Path) -> None:
    """libarchive/libarchive 457, 1620; plougher/squashfs-tools 212: readers stop at the end mark of the first."""
    joined = [tar(a="a river", b="a stone"), tar(c="a lamp" * 5000), tar(d="a bridge") + bytes(10240)]
    (tmp_path / name).write_bytes(b"".join(map(gzip.compress, joined)) if name.endswith("gz") else b"".join(joined))
    assert found_in(tmp_path)[0] == ["a river", "a stone", "a lamp" * 5000, "a bridge"]


OBJECTS = [{"type": "text", "content": "a river"}, {"text": {"value": "a stone"}}]


@pytest.mark.parametrize("content", [["a river", "a stone"], OBJECTS], ids=["texts", "objects"])
def test_parts_of_a_turn_in_the_forms_that_are_met(content: Any, tmp_path: Path) -> None:
    """ray-project/ray 60837; Red-Hat-AI-Innovation-Team/its_hub 147; messages of langchain hold plain texts among their parts."""
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": content}]}))
    assert found_in(tmp_path)[0] == ["User: a river\na stone"]


@pytest.mark.parametrize("first", [None, []], ids=str)
def test_a_chat_without_turns_does_not_speak_for_the_file(first: Any, tmp_path: Path) -> None:
    """huggingface/datasets 4491, 7092, 7222: what the first record leaves empty decides how all others are read."""
    records = [{"messages": first}, {"messages": [{"role": "user", "content": "a river"}]}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert [text for text in found_in(tmp_path)[0] if text] == ["User: a river"]


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'91' * 32}\nsize 9037\n"


def test_a_pointer_of_git_lfs_is_no_text(tmp_path: Path) -> None:
    """git-lfs/git-lfs 3598; benedekrozemberczki/datasets 10."""
    for name in ("a.txt", "b.csv", "c.parquet"):
        (tmp_path / name).write_text(POINTER)
    (tmp_path / "good.txt").write_text("a river")
    assert found_in(tmp_path) == (["a river"], {"skipped: pointer of Git LFS": 3})


@pytest.mark.parametrize("begin", [r"{\rtf1\ansi a river}", "%!PS-Adobe-3.0\n(a river) show"], ids=["RTF", "PostScript"])
def test_markup_that_looks_like_text_is_refused_by_name(begin: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """awslabs/ferret-scan 594; microsoft/markitdown 2151."""
    (tmp_path / "a.doc").write_text(begin)
    with pytest.raises(UserError, match=f"is a {request.node.callspec.id} document"):
        found_in(tmp_path / "a.doc")


def test_a_crawl_is_known_by_its_content(tmp_path: Path) -> None:
    """webrecorder/archiveweb.page 42 and chfoo/warcat-rs 5 meet names that hide it; webrecorder/warcio 102 reads a WAT file."""
    record = "WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {form}\r\nContent-Length: 7\r\n\r\na river\r\n\r\n"
    (tmp_path / "a.warc.open").write_text(record.format(kind="conversion", form="text/plain"))
    (tmp_path / "b.warc.wat.gz").write_bytes(gzip.compress(record.format(kind="metadata", form="application/json").encode()))
    (tmp_path / "c.arc").write_text("filedesc://c.arc 0.0.0.0 20080101000000 text/plain 76\n")
    assert found_in(tmp_path) == (["a river"], {"skipped: WARC file without pages": 1, "skipped: ARC file": 1})
