"""A curator that applies the published heuristics of clean text, one rule after the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, field_validator

from windtunnel.core.errors import nearest
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class Rule(NamedTuple):
    """A text breaks a rule whose ``measure`` is below ``least`` or above ``most``."""

    paper: str
    name: str
    measure: str
    least: float | None = None
    most: float | None = None


RULES = (
    Rule("gopher", "too few words", "words", least=50),
    Rule("gopher", "too many words", "words", most=100_000),
    Rule("gopher", "short words", "mean word length", least=3),
    Rule("gopher", "long words", "mean word length", most=10),
    Rule("gopher", "symbols", "symbols per word", most=0.1),
    Rule("gopher", "bullets", "bullets", most=0.9),
    Rule("gopher", "ellipses", "lines with an ellipsis", most=0.3),
    Rule("gopher", "few letters", "words with letters", least=0.8),
    Rule("gopher", "repeated lines", "repeated lines", most=0.3),
    Rule("gopher", "repeated line characters", "characters of repeated lines", most=0.2),
    Rule("gopher", "repeated paragraphs", "repeated paragraphs", most=0.3),
    Rule("gopher", "repeated paragraph characters", "characters of repeated paragraphs", most=0.2),
    *(Rule("gopher", f"one run of {n} words", f"commonest run of {n} words", most=most) for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))),
    *(Rule("gopher", f"repeated runs of {n} words", f"repeated runs of {n} words", most=round(0.2 - n / 100, 2)) for n in range(5, 11)),
    Rule("c4", "lorem ipsum", "lorem ipsum", most=0),
    Rule("c4", "braces", "braces", most=0),
    Rule("c4", "too few sentences", "sentences", least=3),
    Rule("fineweb", "lines without an end", "ended lines", least=0.12),
    Rule("fineweb", "short lines", "short lines", most=0.67),
    Rule("fineweb", "characters of repeated lines", "characters of repeated lines", most=0.1),
)
TOO_SHORT = ("too few words", "too few sentences")  # what whole sentences are excused from


class Cascade(Judge, name="cascade"):
    """Remove what breaks one of the rules of Gopher, C4 or FineWeb; the first rule that it breaks is the reason.

    Rae et al. 2021, arXiv:2112.11446, appendix A.1 (quality and repetition); Raffel et al. 2020, arXiv:1910.10683; Penedo et al. 2024,
    arXiv:2406.17557. Yi (arXiv:2403.04652) filters by such a cascade. ``windtunnel.parts.curator.cascade.RULES`` is the list with the
    published limits; ``limits`` changes one by its name and ``without`` leaves some out. Rules are for prose: name the ``sources`` that
    are, because code breaks most of them. Gopher's rule of two English stop words is left to the curator `language`, and C4's removal of
    single lines to `normalise`.

    Where datatrove 0.10 drops what is no rubbish, this does not:

    - a run of words that occurs once is no repetition (there a sentence of five words consists of two fifths of its "top 2-gram");
    - shares of lines are judged from five lines on; a line or paragraph of at most three words may occur again, as in a dialogue;
    - a dash before a sentence opens speech and is no bullet; a line ends as a sentence also within quotation marks, and then is not short;
    - a short text that is whole sentences stays, unless ``whole_sentences`` is false.
    """

    fields = ("text",)
    trial = Trial({"limits": {"too few words": 20}, "papers": ["gopher"], "whole_sentences": False, "sources": ["prose"]})

    papers: tuple[Literal["gopher", "c4", "fineweb"], ...] = Field(("gopher", "fineweb"), description="whose rules are applied")
    limits: dict[str, float] = Field({}, description="other limits than the published ones, by the name of the rule")
    without: tuple[str, ...] = Field((), description="rules that are not applied, by name")
    whole_sentences: bool = Field(True, description="whether a short text that is whole sentences stays")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")

    @field_validator("limits", "without")
    @classmethod
    def _known(cls, value: Mapping[str, float] | tuple[str, ...]) -> Mapping[str, float] | tuple[str, ...]:
        for name in value:
            if name not in (known := [rule.name for rule in RULES]):
                raise ValueError(f"no rule is called {name!r}; {nearest(name, known)}")
        return value

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are judged."""
        return self.sources

    def rules(self) -> list[Rule]:
        """The rules that are applied, with their limits."""
        found = []
        for rule in RULES:
            if rule.paper in self.papers and rule.name not in self.without:
                limit = self.limits.get(rule.name)
                if limit is not None:
                    rule = rule._replace(least=limit) if rule.least is not None else rule._replace(most=limit)
                found.append(rule)
        return found

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """The documents as they are, and of each the first rule that it breaks, with what it measures."""
        from windtunnel.kits.text.measures import of_lines, of_words, whole_sentences

        places, texts = self.judged(documents), text_of(documents)
        by_words = of_words([texts[place] or "" for place in places])
        reasons: list[str | None] = [None] * documents.num_rows
        rules = self.rules()
        for number, place in enumerate(places):
            text = texts[place] or ""
            measured = of_lines(text) | {
                "lorem ipsum": float("lorem ipsum" in text.lower()),
                "braces": float("{" in text),
            }
            for rule in rules:
                value = float(by_words[rule.measure][number]) if rule.measure in by_words else measured.get(rule.measure)
                if value is None or not broken(rule, value):
                    continue
                if rule.name in TOO_SHORT and self.whole_sentences and whole_sentences(text):
                    continue
                limit = f"at least {rule.least:g}" if rule.least is not None else f"at most {rule.most:g}"
                reasons[place] = f"{rule.paper}, {rule.name}: {value:.3g}, {limit}"
                break
        return documents, reasons


def broken(rule: Rule, value: float) -> bool:
    """Whether ``value`` breaks ``rule``."""
    return (rule.least is not None and value < rule.least) or (rule.most is not None and value > rule.most)
