"""The text of a web page with what a plain reader of text loses: equations and pictures, in their places."""

from __future__ import annotations

from html.parser import HTMLParser

SKIPPED = {"script", "style", "nav", "header", "footer", "aside", "form", "noscript", "head"}
BREAKS = {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "figure", "section", "article", "pre"}
EMPTY = {"br", "img", "meta", "link", "input", "hr", "area", "base", "col", "embed", "source", "track", "wbr"}  # they have no end
TEX = "application/x-tex"


class PageText(HTMLParser):
    """Reads a page. With ``aware`` equations come out as ``$ ... $`` and pictures as ``![address]``; else as a plain reader has them.

    Equations are those of MathJax's scripts (``math/tex``), of MathML (its TeX annotation if it has one, else its text), and of pictures
    whose class is ``math`` or ``tex``, which have TeX for their alternative text. Han et al. 2024, arXiv:2409.12568, changed a library's
    reader so.
    """

    def __init__(self, aware: bool = True) -> None:
        super().__init__(convert_charrefs=True)
        self.aware = aware
        self.parts: list[str] = []
        self.open: list[str] = []  # elements that are not read, or read as mathematics, and what is open inside them
        self.kept: list[str] | None = None  # of the equation that is being read, its text
        self.noted: list[str] | None = None  # and its TeX annotation
        self.noting = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begins an element."""
        known = {name: value or "" for name, value in attrs}
        if self.open:
            if tag not in EMPTY:
                self.open.append(tag)
            self.noting = self.noting or (tag == "annotation" and known.get("encoding") == TEX)
            return
        if tag == "img" and self.aware:
            written = known.get("class", "").split()
            tex = known.get("alt", "") if {"math", "tex"} & set(written) else ""
            self.parts.append(f" ${tex}$ " if tex else f" ![{known.get('src', '')}] ")
        elif self.aware and (tag == "math" or (tag == "script" and known.get("type", "").startswith("math/tex"))):
            self.open, self.kept, self.noted = [tag], [], []
        elif tag in SKIPPED:
            self.open = [tag]
        elif tag in BREAKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Ends an element, and those inside it that were left open."""
        if not self.open:
            if tag in BREAKS:
                self.parts.append("\n")
            return
        if tag in self.open:
            del self.open[len(self.open) - 1 - self.open[::-1].index(tag) :]
        if tag == "annotation":
            self.noting = False
        if not self.open and self.kept is not None:
            tex = "".join(self.noted or []).strip() or " ".join("".join(self.kept).split())
            self.parts.append(f" ${tex}$ " if tex else "")
            self.kept = self.noted = None

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if not self.open:
            self.parts.append(data.replace("\n", " "))
        elif self.noting and self.noted is not None:
            self.noted.append(data)
        elif self.kept is not None:
            self.kept.append(data)


def text_of_page(html: str, *, aware: bool = True) -> str:
    """Lines of a page without its furniture, white space joined."""
    reader = PageText(aware)
    reader.feed(html)
    reader.close()
    lines = (" ".join(line.split()) for line in "".join(reader.parts).split("\n"))
    return "\n".join(line for line in lines if line)
