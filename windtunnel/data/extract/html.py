"""The text of HTML."""

from __future__ import annotations

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


def html_text(page: str) -> str:
    """All that a reader of a page sees, without the ways to other pages. Headings, lists and preformatted lines keep their lines.

    Resiliparse can also guess what of a page is content; on manuals it then drops boxes, and links out of the middle of sentences.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    tree = HTMLTree.parse(page)
    found: str = extract_plain_text(tree, preserve_formatting=True, main_content=False, alt_texts=False, skip_elements=list(NAVIGATION))
    return found.strip()
