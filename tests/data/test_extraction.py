"""The text of documents that are more than text, and what is said of those that give none."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from windtunnel.core.errors import UserError
from windtunnel.data.corpus.frame import batches
from windtunnel.data.corpus.tally import Tally
from windtunnel.data.extract.mail import is_mail
from windtunnel.parts.source.files import Files

PAGE = """<?xml version="1.0"?><!-- made by hand --><!DOCTYPE html>
<html><head><title>Wings</title><style>h1 {color: red}</style><script>let hidden = 1</script></head>
<body><nav><a href="/">Home</a></nav><div class="docnav">Next</div><h1>Wings</h1>
<p>A wing has a <a href="chord.html">chord</a> and a&nbsp;span.</p><ul><li>root</li><li>tip</li></ul>
<table><tr><td>area</td><td>12</td></tr></table><pre>lift = area
       * speed</pre></body></html>"""

MAN = r""".\" A page about a wing
.de Custom
never set
..
.ds Nm flap
.TH WING 7 2020-01-01
.SH NAME
wing \- a \fIsurface\fP \(lqthat lifts\(rq
.SH OPTIONS
.TP
.BR \-\-span = \fInumber\fP
How wide; see
.BR chord (3).
.ie t \{\
printed
.\}
.el on a terminal with a \*(Nm
.PP
.nf
  kept   as it is
.fi
.TS
tab(;);
l l.
Name;Value
T{
two words
T};3
.TE
"""

MDOC = r""".Dd January 1, 2020
.Dt WING 7
.Os
.Sh NAME
.Nm wing
.Nd a surface
.Sh SYNOPSIS
.Nm
.Op Fl s Ar span
.Sh DESCRIPTION
See
.Xr chord 3 ,
or
.Dq the rest .
"""


MAIL = b"""Received: from a by b; Sun, 1 Nov 2026 10:00:00 +0000
From: Ann <ann@example.org>
Subject: Wings
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Der Fl=FCgel tr=E4gt.
--inner
Content-Type: text/html

<p>Not this</p>
--inner--
--outer
Content-Type: text/plain; name=attached.txt
Content-Disposition: attachment

attached
--outer--
"""

MHTML = b"""From: <Saved by a browser>
Subject: A page
MIME-Version: 1.0
Content-Type: multipart/related; type="text/html"; boundary=part

--part
Content-Type: text/html; charset=no-such-encoding

<html><body><nav>Home</nav><p>A wing lifts.</p></body></html>
--part
Content-Type: text/css

p {color: red}
--part--
"""

NO_MAILS = {  # text that looks like one, and stays as it is
    "letter.txt": "From: Ann\nSubject: wings\n\nThis was written by hand.",
    "settings": "received: yes\nmessage-id: 3\n\nmore",
    "all.mbox": "From ann@example.org Sun Nov 1\nFrom: ann@example.org\nMessage-ID: <1>\n\none\n\nFrom bob@example.org\nFrom: b\n\ntwo",
}


def pdf(text: str) -> bytes:
    """A PDF of one page."""
    stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET".encode() if text else b""
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n" % len(stream) + stream + b"\nendstream",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + part + b"\nendobj\n"
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % len(data)
    return data + b"xref\n0 6\n0000000000 65535 f \n" + rows + end


def encrypted() -> bytes:
    import pypdf

    writer = pypdf.PdfWriter(io.BytesIO(pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    writer.write(held := io.BytesIO())
    return held.getvalue()


def word() -> bytes:
    import docx

    document = docx.Document()
    document.add_heading("Wings", 1)
    document.add_paragraph("A wing has a span.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "area", "12"
    document.add_paragraph("The end.")
    document.save(held := io.BytesIO())
    return held.getvalue()


def packed(**parts: str) -> bytes:
    with zipfile.ZipFile(held := io.BytesIO(), "w") as package:
        for name, content in parts.items():
            package.writestr(name.replace("__", "/").replace("_", "."), content)
    return held.getvalue()


EQUATIONS = rb"""<html><body><p>If <span class="MathJax">a&lt;b</span><script type="math/tex; mode=display">a <
 b</script> then <math><semantics><mrow><mi>x</mi><mo>+</mo><mn>1</mn></mrow><annotation encoding="application/x-tex">x+1</annotation>
</semantics></math><span class="katex-html">x+1</span>, <img class="tex" alt="\beta" src="b.png"> and <math><mi>y</mi></math>.
<img class="wide" alt="a wing" src="w.png"></p><script>let hidden = 1</script></body></html>"""
ODF = "urn:oasis:names:tc:opendocument:xmlns:"
ODT = packed(
    mimetype="application/vnd.oasis.opendocument.text",
    content_xml=f'<o:d xmlns:o="{ODF}office:1.0" xmlns:t="{ODF}text:1.0">'
    "<t:tracked-changes><t:deletion><t:p>Deleted.</t:p></t:deletion></t:tracked-changes>"
    "<t:h>Wings</t:h><t:p>A <t:span>wing</t:span><t:s/><o:annotation><c>Jane</c><t:p>A comment.</t:p></o:annotation>has.</t:p></o:d>",
)
EPUB = packed(
    **{
        "META-INF__container_xml": '<container><rootfile full-path="book/book.opf"/></container>',
        "book__book_opf": '<p xmlns="urn:x"><item id="b" href="two.xhtml"/><item id="a" href="one.xhtml"/>'
        '<itemref idref="a"/><itemref idref="b"/></p>',
        "book__one_xhtml": "<html><body><p>First.</p></body></html>",
        "book__two_xhtml": "<html><body><p>Second.</p></body></html>",
    }
)
NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "cells": [
            {"cell_type": "markdown", "source": ["# Wings\n", "A text."]},
            {"cell_type": "code", "source": "lift()", "outputs": [{"text": "<svg>"}]},
        ],
    }
)
OLD_NOTEBOOK = json.dumps({"nbformat": 3, "worksheets": [{"cells": [{"cell_type": "code", "input": ["lift()"]}]}]})


def read(path: Path, **knobs: Any) -> tuple[list[str], dict[str, int], dict[str, list[str]]]:
    """The texts under ``path``, and the counts and examples of the table."""
    tally = Tally("notes")
    found = [row["text"] for batch in batches(Files(path=str(path), **knobs).documents(tally)) for row in batch.to_pylist()]
    return found, {row["what"]: row["documents"] for row in tally.rows()}, tally.examples


# Names say nothing: content decides.
DOCUMENTS: dict[str, tuple[bytes, str, str]] = {
    "a": (
        PAGE.encode(),
        "HTML documents",
        "Wings\n\nA wing has a chord and a\xa0span.\n\n  • root\n  • tip\narea\t\t12\nlift = area\n       * speed",
    ),
    "latin": ('<html><meta charset="iso-8859-1"><p>très</html>'.encode("latin-1"), "HTML documents", "très"),
    "piece.html": (b"<p>A piece</p> of a page", "HTML documents", "A piece\n\nof a page"),
    "paper": (pdf("A wing has a span"), "PDF documents", "A wing has a span"),
    "letter": (word(), "Word documents", "Wings\nA wing has a span.\narea\t12\nThe end."),
    "open": (ODT, "OpenDocument texts", "Wings\nA wing has."),
    "book": (EPUB, "EPUB books", "First.\n\nSecond."),
    "lift": (NOTEBOOK.encode(), "notebooks", "# Wings\nA text.\n\nlift()"),
    "old.ipynb": (OLD_NOTEBOOK.encode(), "notebooks", "lift()"),
    "wing.7": (
        MAN.encode(),
        "manual pages",
        "WING(7)\n\nNAME\nwing - a surface “that lifts”\n\nOPTIONS\n--span=number\nHow wide; see chord(3). on a terminal with a flap\n\n"
        "  kept   as it is\nName\tValue\ntwo words\t3",
    ),
    "bsd": (
        MDOC.encode(),
        "manual pages",
        "WING(7)\n\nNAME\nwing – a surface\n\nSYNOPSIS\nwing [-s span]\n\nDESCRIPTION\nSee chord(3), or “the rest”.",
    ),
    "letter.eml": (
        b"From: ann@example.org\r\nSubject: =?utf-8?q?Fl=C3=BCgel?=\r\n\r\nThe span\r\nis two metres.\r\n",
        "mails",
        "Flügel\n\nThe span\nis two metres.",
    ),
    "1234": (MAIL, "mails", "Wings\n\nDer Flügel trägt."),
    "equations.html": (EQUATIONS, "HTML documents", "If $a < b$ then $x+1$, $\\beta$ and y."),
    "saved.mhtml": (MHTML, "mails", "A page\n\nA wing lifts."),
    "unnamed.eml": ("From: a\n\nDer Flügel trägt, die Rippe hält.\n".encode(), "mails", "Der Flügel trägt, die Rippe hält."),
    "misnamed.eml": (b"From: a\nContent-Type: text/plain; charset=us-ascii\n\nDer Fl\xfcgel tr\xe4gt.\n", "mails", "Der Flügel trägt."),
    "damaged.eml": (b"From: a\nContent-Type: text/plain; charset=utf-8\n\nFl\xc3\xbcgel\xff\n", "mails", "Flügel\ufffd"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_text_of_a_document(name: str, tmp_path: Path) -> None:
    data, form, expected = DOCUMENTS[name]
    (tmp_path / name).write_bytes(data)
    found, counts, _ = read(tmp_path)
    assert found[0].replace("\n\n\n", "\n\n") == expected
    assert counts[f"{form}: text extracted"] == 1


def test_headers_that_never_end_are_none() -> None:
    """A long table of settings is not searched to its end."""
    headers = b"From: a\nMessage-ID: <1>\n"
    assert is_mail(headers + b"\nbody", "") and not is_mail(headers + b"key: value\n" * 50_000 + b"\nbody", "")


@pytest.mark.parametrize("name", NO_MAILS)
def test_what_only_looks_like_a_mail_is_text(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(NO_MAILS[name], encoding="utf-8")
    found, counts, _ = read(tmp_path)
    assert found == [NO_MAILS[name]] and not any("extracted" in what for what in counts)


def test_what_lies_beside_pages_is_told(tmp_path: Path) -> None:
    for name in ("page.html", "style.css", "draw.svg"):
        (tmp_path / name).write_text(PAGE if name == "page.html" else f"p {{color: red}} {name}", encoding="utf-8")
    found, counts, _ = read(tmp_path)
    assert len(found) == 3 and counts["style sheets, scripts and drawings: read as they stand"] == 2


def test_a_mail_without_text_is_counted(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("a text", encoding="utf-8")
    (tmp_path / "picture.eml").write_bytes(b"From: a\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\nAAAA\n")
    found, counts, _ = read(tmp_path)
    assert found == ["a text"] and counts["skipped: mails without text"] == 1


def test_with_the_knob_off_markup_stays_and_what_is_packed_is_binary(tmp_path: Path) -> None:
    for name, (data, _, _) in DOCUMENTS.items():
        (tmp_path / name).write_bytes(data)
    found, counts, _ = read(tmp_path, extract=False)
    assert PAGE in found and MAN in found and NOTEBOOK in found
    assert counts.get("skipped: binary file") == 3 and not any("extracted" in what for what in counts)


NOT_TEXT = {
    "scan.pdf": (pdf(""), "PDF documents without text"),
    "closed.pdf": (encrypted(), "encrypted PDF"),
    "cut.pdf": (pdf("A wing has a span")[:90], "damaged PDF"),
    "old.doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "old or encrypted Office document"),
    "empty.html": (b"<html><body><script>draw()</script></body></html>", "HTML documents without text"),
    "plain.ipynb": (b"not a notebook", "damaged notebook"),
    "other.3": (b'.\\" see the other\n.so man3/wing.3\n', "reference to another manual page"),
    "page.odt": (packed(mimetype="application/vnd.oasis.opendocument.text", content_xml="\x01\x02"), "damaged or encrypted document"),
    "cut.epub": (packed(**{"META-INF__container_xml": '<c><r full-path="none.opf"/></c>'}), "damaged document"),
}


def test_a_text_that_speaks_of_pdf_is_text(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Every file begins with %PDF-1.4, says the standard.")
    (tmp_path / "mail").write_bytes(b"From: the printer\r\n\r\n" + pdf("A wing has a span"))
    assert sorted(read(tmp_path)[0]) == ["A wing has a span", "Every file begins with %PDF-1.4, says the standard."]


@pytest.mark.parametrize("name", NOT_TEXT)
def test_a_document_without_text_is_counted_with_the_reason(name: str, tmp_path: Path) -> None:
    data, reason = NOT_TEXT[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=name):
        read(tmp_path / name)
    (tmp_path / "good.txt").write_text("a good one")
    found, counts, _ = read(tmp_path)
    assert found == ["a good one"] and counts == {f"skipped: {reason}": 1}


def test_a_missing_library_is_an_error_with_the_file_and_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "paper.pdf").write_bytes(pdf("A wing"))
    monkeypatch.setitem(sys.modules, "pypdf", None)
    with pytest.raises(UserError, match=r"paper\.pdf.*pip install pypdf.*extract: false"):
        read(tmp_path)


FRENCH = "Le système a été vérifié; façade naïve, où ça coûte cher.\n"
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy.\n"
RUSSIAN = "Съешь же ещё этих мягких французских булок.\n"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (FRENCH, "latin-1"),
        (FRENCH * 40, "latin-1"),
        ("Déjà vu – c’est l’été, « naïve » façade à 5 €\n", "cp1252"),
        ("Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich\n", "latin-1"),
        (CZECH * 3, "iso8859-2"),
        (RUSSIAN, "koi8-r"),
        ("데비안 프로젝트는 자유 운영 체제를 만드는 것을 목표로 합니다.\n" * 2, "euc-kr"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "rows.csv"])
def test_letters_of_old_encodings_are_right(text: str, encoding: str, name: str, tmp_path: Path) -> None:
    head = "id|text\n" if name == "rows.csv" else ""
    (tmp_path / name).write_bytes((head + "".join(f"1|{line}\n" if head else f"{line}\n" for line in text.splitlines())).encode(encoding))
    found, _, examples = read(tmp_path)
    assert "\n".join(found).split() == text.split()
    (what, shown), *_ = examples.items()
    assert what.startswith("decoded from") and any(word in shown[0] for word in text.split() if not word.isascii())


def test_the_encoding_may_be_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("été".encode("cp437"))
    (tmp_path / "b.jsonl").write_bytes('{"text": "été"}\n'.encode("cp437"))
    (tmp_path / "c.csv").write_bytes("text\nété\n".encode("cp437"))
    assert read(tmp_path, encoding="cp437")[0] == ["été"] * 3
    with pytest.raises(ValueError, match="did you mean 'cp1251'"):
        Files(path=".", encoding="cp1251x")
    for name in ("a.txt", "b.jsonl", "c.csv"):
        with pytest.raises(UserError, match="is not ascii"):
            read(tmp_path / name, encoding="ascii")
