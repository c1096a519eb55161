"""Files out of archives, and the containers in which corpora come."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow
import pytest
import zstandard
from pyarrow import feather

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.parts.source.files import Files

NOTES = {
    "a.txt": b"a river",
    "deep/b.jsonl": b'{"text": "a stone", "id": 1}\n{"text": "a lamp", "id": 2}\n',
    "c.bin": bytes(range(256)),
    "._a.txt": b"hidden",
    "page.html": b"<html><body><p>a bridge</p></body></html>",
    "d.txt.gz": gzip.compress(b"a tree"),
}
TEXTS = {"a river", "a stone", "a lamp", "a bridge", "a tree"}
PACKING = {".tar": bytes, ".tar.gz": gzip.compress, ".tgz": gzip.compress, ".tar.bz2": bz2.compress, ".tar.xz": lzma.compress}
PACKING[".tar.zst"] = zstandard.compress


def tarred(members: dict[str, bytes]) -> bytes:
    with tarfile.open(fileobj=(held := io.BytesIO()), mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return held.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    with zipfile.ZipFile(held := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return held.getvalue()


def read(path: Path, **knobs: Any) -> tuple[list[dict[str, Any]], dict[str, int]]:
    tally = Tally("notes")
    found = [row for batch in batches(Files(path=str(path), **knobs).documents(tally)) for row in batch.to_pylist()]
    return found, {row["what"]: row["documents"] for row in tally.rows()}


@pytest.mark.parametrize("suffix", [*PACKING, ".zip"])
def test_files_in_an_archive(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(zipped(NOTES) if suffix == ".zip" else PACKING[suffix](tarred(NOTES)))
    for place in (path, tmp_path):
        found, counts = read(place)
        assert {row["text"] for row in found} == TEXTS
        assert counts == {"skipped: binary file": 1, "skipped: hidden file": 1, "HTML documents: text extracted": 1}
        assert {row["origin"] for row in found} >= {f"notes{suffix}/a.txt", f"notes{suffix}/deep/b.jsonl:2"}
        assert [row["id"] for row in found if row["text"] == "a lamp"] == [2]


def test_archives_in_archives_and_names_that_lead_out_of_them(tmp_path: Path) -> None:
    (tmp_path / "outer.zip").write_bytes(zipped({"inner.tar": tarred({"../../escaped.txt": b"a river"})}))
    found, _ = read(tmp_path)
    assert found == [{"text": "a river", "origin": "outer.zip/inner.tar/../../escaped.txt"}]
    assert not list(tmp_path.parent.glob("**/escaped.txt"))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_damaged_archive(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"notes{suffix}"
    path.write_bytes(zipped(NOTES)[:-40] if suffix == ".zip" else PACKING[suffix](tarred(NOTES)[:1100]))
    with pytest.raises(UserError, match=r"damaged"):
        read(path)
    (tmp_path / "good.txt").write_text("a good one")
    found, counts = read(tmp_path)
    assert "a good one" in [row["text"] for row in found] and any(what.startswith("skipped: damaged") for what in counts)


def test_samples_of_webdataset_are_records(tmp_path: Path) -> None:
    members = {
        "s/1.cls": b"\0\1",
        "s/1.json": b'{"url": "u1", "text": "other"}',
        "s/1.txt": b"a river",
        "s/2.json": b'{"url": "u2"}',
        "s/2.png": b"\x89PNG\0",
        "s/2.txt": b"a stone",
        "s/3.txt": b"a lamp",
        "s/4.json": b'{"text": "a tree"}',
    }
    (tmp_path / "shard.tar").write_bytes(tarred(members))
    found, counts = read(tmp_path / "shard.tar")
    assert [(row["text"], row["url"]) for row in found] == [("a river", "u1"), ("a stone", "u2"), ("a lamp", None), ("a tree", None)]
    assert counts == {"skipped: binary file": 2}


def test_feather_is_arrow(tmp_path: Path) -> None:
    feather.write_feather(pyarrow.table({"text": ["a river"], "id": [1]}), str(tmp_path / "a.feather"))
    assert read(tmp_path)[0] == [{"text": "a river", "id": 1, "origin": "a.feather:1"}]


def test_several_frames_and_values_that_appear_late(tmp_path: Path) -> None:
    """Daft 0.7.26 reads only the first frame of a .zst file, and takes for null what its sample of a JSON file did not show."""
    lines = [json.dumps({"text": f"note {n}", **({"late": "x"} if n == 2999 else {})}) + "\n" for n in range(3000)]
    frames = [zstandard.compress("".join(lines[start : start + 1000]).encode()) for start in (0, 1000, 2000)]
    (tmp_path / "a.jsonl.zst").write_bytes(b"".join(frames))
    found, _ = read(tmp_path)
    assert len(found) == 3000 and found[-1]["late"] == "x"


WARC = (
    b"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Target-URI: https://example.org/wings\r\nWARC-Date: 2024-05-03T10:00:00Z\r\n"
    b"WARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000000>\r\nContent-Type: {content}\r\nContent-Length: {length}\r\n\r\n"
)


def record(kind: bytes, content: bytes, data: bytes) -> bytes:
    head = WARC.replace(b"{type}", kind).replace(b"{content}", content).replace(b"{length}", str(len(data)).encode())
    return gzip.compress(head + data + b"\r\n\r\n")


def response(content: bytes, data: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: " + content + b"\r\nContent-Length: " + str(len(data)).encode() + b"\r\n\r\n"
    return record(b"response", b"application/http; msgtype=response", head + data)


def test_warc_and_wet(tmp_path: Path) -> None:
    pages = [
        record(b"warcinfo", b"application/warc-fields", b"software: x\r\n"),
        response(b"text/html; charset=iso-8859-1", "<html><body><p>très</p></body></html>".encode("latin-1")),
        response(b"image/png", b"\x89PNG\0"),
    ]
    (tmp_path / "crawl.warc.gz").write_bytes(b"".join(pages))
    (tmp_path / "crawl.warc.wet.gz").write_bytes(record(b"conversion", b"text/plain", "a bridge, très".encode()))
    found, counts = read(tmp_path, group="site")
    assert [row["text"] for row in found] == ["très", "a bridge, très"]
    shown = {name: found[0][name] for name in ("url", "date", "site", "group")}
    assert shown == {"url": "https://example.org/wings", "date": "2024-05-03T10:00:00Z", "site": "example.org", "group": "example.org"}
    assert counts["HTML documents: text extracted"] == 1 and counts["skipped: page, neither HTML nor text"] == 1
    (row,), alone = read(tmp_path / "crawl.warc.gz")
    assert row["text"] == "très" and alone["skipped: page, neither HTML nor text"] == 1


DUMP = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11"><siteinfo><sitename>W</sitename><namespaces>
<namespace key="6">Datei</namespace><namespace key="12">Help</namespace></namespaces></siteinfo>
<page><title>Wing</title><ns>0</ns><id>7</id><revision><id>1</id><text xml:space="preserve">A '''wing''' has a [[chord (wing)|chord]].
{{Infobox|span=3}}&lt;ref&gt;Aside.&lt;/ref&gt;

[[Datei:w.png|thumb|A [[wing]] seen from below]]
== Use ==
It [[Help:Lift|lifts]]. [[Category:Wings]]</text></revision></page>
<page><title>Talk:Wing</title><ns>1</ns><revision><text>Talk.</text></revision></page>
<page><title>Wings</title><ns>0</ns><redirect title="Wing"/><revision><text>#REDIRECT [[Wing]]</text></revision></page></mediawiki>"""


def test_dumps_of_mediawiki(tmp_path: Path) -> None:
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(DUMP.encode()))
    for place in (tmp_path, tmp_path / "dump.xml.bz2"):
        (row,), counts = read(place)
        assert row["text"].split() == ["A", "wing", "has", "a", "chord.", "Use", "It", "lifts."] and row["title"] == "Wing"
        assert counts == {"skipped: page that redirects": 1, "skipped: page that is no article": 1, "wiki pages: text extracted": 1}
    found, _ = read(tmp_path, extract=False)
    assert found[0]["text"].startswith("A '''wing'''")
    (tmp_path / "dump.xml.bz2").write_bytes(bz2.compress(DUMP[:500].encode()))
    with pytest.raises(UserError, match="cut short or no XML"):
        read(tmp_path / "dump.xml.bz2")
