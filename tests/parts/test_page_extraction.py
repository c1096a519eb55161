"""Pages with mathematics: equations and pictures in their places, whatever is left open, and a plain reader that loses them."""

from __future__ import annotations

import random
from html import escape

from hypothesis import given, settings
from hypothesis import strategies as st

from windtunnel.kits.text.pages import text_of_page
from windtunnel.parts.experiment.page_extraction import PageExtraction, in_order, page

PAGE = r"""<head><title>no</title></head><nav><p>no</nav><p>One <script type="math/tex; mode=display">a < b</script> two
<img src="x.png" alt="a picture">
<math><semantics><mi>x</mi><annotation encoding="application/x-tex">\alpha</annotation></semantics></math>
<script>if (1 < 2) no;</script><div>Three<br>four &amp; <math><mi>y</mi><mo>+</mo><mn>1</mn></math>
<img class="tex" alt="\beta" src="b.png"></div>"""


def test_equations_and_pictures_stand_in_their_places():
    assert text_of_page(PAGE) == "One $a < b$ two ![x.png] $\\alpha$\nThree\nfour & $y+1$ $\\beta$"
    plain = text_of_page(PAGE, aware=False)
    assert "alpha$" not in plain and "a < b" not in plain and "x.png" not in plain and plain.startswith("One two")


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=60))
def test_text_comes_through_but_for_white_space(text):
    assert "".join(text_of_page(f"<p>{escape(text)}</p>").split()) == "".join(text.split())


@settings(max_examples=100, deadline=None)
@given(st.text("<>/ampthscriotn =\"'!-", max_size=80))
def test_no_page_is_an_error(html):
    text_of_page(html)


def test_the_signs_of_a_page_are_read_in_order():
    chance = random.Random(124)
    pages = [page("some words of a line\n" * 24, chance, 0.5) for _ in range(40)]
    assert all(in_order(text_of_page(one.html), one.signs) for one in pages)
    assert any(one.mathematics for one in pages) and not in_order("$a$ $b$", ["$b$", "$a$"])


def test_reading_equations_finds_pages_that_speak_of_none():
    aware, plain = (
        PageExtraction(reader=reader, stages=1, hidden=1.0, pages=80, annotated=80, words=800).measure(125) for reader in ("aware", "plain")
    )
    assert aware["equations"] == aware["order"] == 1 and plain["equations"] == 0
    assert aware["f1"] > plain["f1"]
