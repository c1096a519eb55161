"""Reading pages with mathematics, and finding those pages among others in one step or in two."""

from __future__ import annotations

import random
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

HELD_OUT, LINES = 60, 12  # pages that are judged on, and most lines of a page's own text
GREEK = ("alpha", "beta", "gamma", "lambda", "mu", "sigma", "theta", "omega")


class PageExtraction(Experiment, name="page-extraction"):
    """How many equations and pictures of generated pages are read, in order, and how well pages of mathematics are found by their text.

    Han et al. 2024 (InfiMM-WebMath), arXiv:2409.12568: a reader of pages that keeps equations and the addresses of pictures in their
    places, a first classifier that lets through nearly all mathematics, and a second one, fitted to what the first let through, that is
    exact; copies are removed. Pages hold paragraphs of Python's manual; those of mathematics also have equations as MathJax scripts, MathML
    with and without TeX annotations, and pictures of TeX, other pages may show code or an amount in dollars. All have navigation, footers
    and scripts; a tenth are copies with another last line. A page of mathematics is ``hidden`` if it has equations and none of its words
    speak of them.

    ``reader: aware`` keeps equations, ``plain`` does not; ``stages`` is two or one naive Bayes classifiers, fitted to ``annotated`` pages.
    The numbers are ``f1`` of the pages found; ``equations``, the share read to the letter; ``order``, the share of pages whose equations
    and pictures come in their order and complete; and ``bits``, bits a word of held-out pages of mathematics, read by the aware reader,
    under a model of as many words of what was kept, without copies.
    """

    trial = Trial({"pages": 30, "annotated": 20, "words": 200})

    unit: ClassVar[str] = "F1"
    better: ClassVar[str] = "higher"

    reader: Literal["aware", "plain"] = Field("aware", description="what reads pages")
    stages: Literal[0, 1, 2] = Field(2, description="classifiers; 0 keeps all pages")
    pages: int = Field(320, ge=10, description="to be found among")
    annotated: int = Field(150, ge=10, description="pages that the classifiers are fitted to")
    hidden: float = Field(0.5, ge=0, le=1, description="share of pages of mathematics that have its signs alone")
    words: int = Field(10000, ge=100, description="that the model learns from")

    def measure(self, seed: int) -> dict[str, float]:
        """``f1``, ``equations``, ``order`` and ``bits``."""
        from windtunnel.kits.text.manual import asked, bits_of, pieces
        from windtunnel.kits.text.pages import text_of_page

        chance = random.Random(f"{self.name} {seed}")
        texts = asked(self.name, pieces(chance, LINES), self.annotated + self.pages + HELD_OUT)
        made: list[GeneratedPage] = []
        for n, text in enumerate(texts):
            if n not in (0, self.annotated, self.annotated + self.pages) and chance.random() < 0.1:  # a copy, but for its last line
                made.append(made[-1]._replace(html=f"{made[-1].html}<p>read {n} times</p>"))
            else:
                made.append(page(text, chance, self.hidden))
        aware = self.reader == "aware"
        read = [text_of_page(one.html, aware=aware) for one in made]
        known, pool = slice(0, self.annotated), range(self.annotated, self.annotated + self.pages)
        named = self._named(read, made[known])
        found = [n for n in pool if named(read[n])]
        true = [n for n in pool if made[n].signs and made[n].mathematics]
        whole = [(text, one) for text, one in zip(read, made, strict=True) if one.signs]
        equations = [sign in text for text, one in whole for sign in one.signs if sign.startswith("$")]
        ordered = [in_order(text, one.signs) for text, one in whole]
        texts, seen = [], set[str]()
        for n in found:
            body = "\n".join(read[n].split("\n")[:6])
            if body not in seen:
                seen.add(body)
                texts.append(read[n])
        held = [text_of_page(one.html) for one in made[self.annotated + self.pages :] if one.mathematics]
        both = len(set(found) & set(true))
        return {
            "f1": 2 * both / max(len(found) + len(true), 1),
            "equations": sum(equations) / max(len(equations), 1),
            "order": sum(ordered) / max(len(ordered), 1),
            "bits": bits_of(texts, held, self.words),
        }

    def _named(self, read: list[str], known: list[GeneratedPage]):  # type: ignore[no-untyped-def]
        """Whether a text is taken for mathematics."""
        from windtunnel.kits.text.bayes import Bayes

        if not self.stages:
            return lambda text: True
        labelled = list(zip(read[: len(known)], (one.mathematics for one in known), strict=True))

        def fitted(rows: list[tuple[str, bool]]) -> Bayes:
            return Bayes([text for text, good in rows if not good], [text for text, good in rows if good])

        if self.stages == 1:
            alone = fitted(labelled)
            return lambda text: alone.odds(text) > 0
        half = len(labelled) // 2  # what a classifier was fitted to is no measure of what it lets through
        first = fitted(labelled[:half])
        least = sorted(first.odds(text) for text, good in labelled[half:] if good)
        bar = least[len(least) // 20] if least else 0.0  # 95 percent of the mathematics are above it
        second = fitted([(text, good) for text, good in labelled if first.odds(text) >= bar])
        return lambda text: first.odds(text) >= bar and second.odds(text) > 0


class GeneratedPage(NamedTuple):
    """A page, whether it is of mathematics, and its equations and pictures as the aware reader has them, in order."""

    html: str
    mathematics: bool
    signs: list[str]


def equation(chance: random.Random) -> str:
    """TeX."""
    one, two = chance.sample(GREEK, 2)
    return chance.choice(
        (
            f"\\{one}_{chance.randint(1, 9)} = \\frac{{{chance.randint(2, 99)}}}{{\\{two}}}",
            f"\\int_0^{chance.randint(1, 9)} \\{one}(x) dx",
            f"x^{chance.randint(2, 9)} + \\{one} x \\leq {chance.randint(2, 99)}",
            f"\\sum_{{i=1}}^{{{chance.randint(3, 99)}}} \\{one}_i \\{two}",
        )
    )


def page(text: str, chance: random.Random, hidden: float) -> GeneratedPage:
    """A page around ``text``."""
    from html import escape

    mathematics = chance.random() < 0.3
    spoken = mathematics and chance.random() >= hidden
    body, signs = [], []
    for number, line in enumerate(text.split("\n")[: chance.randint(LINES // 2, LINES)]):
        words = f"{line} " + (
            chance.choice(("the theorem follows", "by this lemma", "we prove that", "the equation holds")) if spoken else ""
        )
        if mathematics and number % 3 == 0:
            tex = equation(chance)
            shown = " ".join(tex.replace("\\", "").split())
            form = chance.randrange(4)
            signs.append(f"${shown}$" if form == 2 else f"${tex}$")
            words += (
                f'<script type="math/tex">{tex}</script>',
                f'<math><semantics><mi>{shown}</mi><annotation encoding="application/x-tex">{escape(tex)}</annotation></semantics></math>',
                f"<math><mrow><mi>{shown}</mi></mrow></math>",
                f'<img class="tex" alt="{escape(tex)}" src="eq{number}.png">',
            )[form]
        elif chance.random() < 0.08:
            signs.append(f"![p{number}.png]")
            words += f'<img src="p{number}.png" alt="a picture">'
        elif chance.random() < 0.1:
            words += f"<code>x = {chance.randint(1, 99)}</code> for ${chance.randint(1, 99)} or ${chance.randint(1, 99)}"
        body.append(f"<p>{words}</p>")
    around = "<nav><a href='/'>Home</a> <a href='/a'>About</a></nav><script>var x = 1 < 2;</script><style>p {color: red}</style>"
    html = (
        f"<html><head><title>t</title></head><body>{around}{''.join(body)}<footer>(c) {chance.randint(1990, 2030)}</footer></body></html>"
    )
    return GeneratedPage(html, mathematics, signs)


def in_order(text: str, signs: list[str]) -> bool:
    """Whether all ``signs`` are in ``text``, one behind the other."""
    place = 0
    for sign in signs:
        place = text.find(sign, place)
        if place < 0:
            return False
        place += len(sign)
    return True
