"""The text of HTML."""

from __future__ import annotations

import re
from typing import Any

# What a page itself marks as a way to other pages: by HTML and ARIA, then by the classes of DocBook and Sphinx, which write most manuals.
NAVIGATION = (
    "nav",
    "[role=navigation]",
    ".docnav",
    ".navheader",
    ".navfooter",
    ".sphinxsidebar",
    ".related",
    ".headerlink",
)


# What scripts drew of an equation whose TeX or MathML stands beside it: KaTeX, and MathJax before version 3.
DRAWN = (".katex-html", ".MathJax_Preview", ".MathJax", ".MathJax_Display")
_MATHEMATICS = re.compile(r"<math\b|math/tex|<img\b[^>]*\b(?:tex|math)\b", re.IGNORECASE)


def html_text(page: str) -> str:
    """All that a reader of a page sees, without the ways to other pages. Headings, lists and preformatted lines keep their lines.

    Equations that the page has as TeX come out as ``$...$``: of MathJax's scripts, which hold no text to resiliparse, of the annotations
    of MathML, which it writes behind the jumbled signs themselves, and of pictures of the class ``tex`` or ``math``. Resiliparse can also
    guess what of a page is content; on manuals it then drops boxes, and links out of the middle of sentences.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree, skipped = HTMLTree.parse(page), list(NAVIGATION)
    if _MATHEMATICS.search(page) and _written(tree):
        skipped += DRAWN
    found: str = extract_plain_text(tree, preserve_formatting=True, main_content=False, alt_texts=False, skip_elements=skipped)
    return found.strip()


def _written(tree: Any) -> bool:
    """Put TeX in the place of the equations of a page; whether there were any."""
    found = False
    for one in tree.document.query_selector_all('script[type^="math/tex"], math, img.tex, img.math'):
        if one.tag == "math":
            note = one.query_selector('annotation[encoding="application/x-tex"]')
            tex = "" if note is None else note.text
        else:
            tex = one.text if one.tag == "script" else one.getattr("alt", "")
        if tex := " ".join(tex.split()):
            found = True
            one.parent.replace_child(tree.create_text_node(f"${tex}$"), one)
    return found
