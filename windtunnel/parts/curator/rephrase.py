"""A curator that has documents written anew by a model."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.fields import text_of
from windtunnel.data.corpus.judging import Judge, Reasons
from windtunnel.slots import CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

# Ours, after what the paper asks in each style.
PROMPTS = {
    "easy": "Rewrite this text in very short and simple words that a small child understands:",
    "medium": "Rewrite this text in clear English of high quality, as an article of Wikipedia has it:",
    "hard": "Rewrite this text in terse and scholarly language:",
    "questions": "Turn this text into questions and answers. Begin each question with Question: and each answer with Answer:",
}
LEAD_IN = re.compile(r"(?:(?:sure|certainly|of course)\b[^\n]{0,40}\n\s*)?(?:here(?:'s| is| are)\b[^\n:]{0,80}:\s*)?", re.IGNORECASE)


class Rephrase(Judge, name="rephrase"):
    """Have a share of the documents written anew by a model, in a style that is asked for; the others stay as they are.

    Maini et al. 2024 (WRAP), arXiv:2401.16380: real and rephrased text one to one (``share: 0.5``). A document is rewritten in pieces of at
    most ``piece`` characters, which end at a line or a sentence where they can. "Here is a paraphrase:" and the like is cut off. What
    comes out empty, or shorter or longer than ``shortest`` and ``longest`` times the piece, or says one line again and again, is
    discarded: that document stays as it was. Every token that was written is charged, discarded ones too. It is kept by content, model and
    all knobs, so nothing is written twice when preparing is begun again; where a knob differs, all is written and charged again. From
    ``most`` tokens on nothing is written any more.

    ``written: rules`` is the control: the first sentences of the document, of the length that the model's text has, with its white space
    tidied. The model writes (and is charged) for the control as well, the same by the same seed. What the model adds is only what it does
    better than that.
    """

    fields = ("text",)
    trial = Trial({"model": {"folder": "@model"}, "shortest": 0.0, "most": 200, "batch": 4})
    scans: ClassVar[bool] = True

    model: Trained = Field(description="the model that writes: a causal one, which should follow instructions")
    style: Literal["easy", "medium", "hard", "questions"] = Field("medium", description="how it is asked to write")
    share: float = Field(0.5, gt=0, le=1, description="share of the documents that are written anew, drawn by their text")
    written: Literal["model", "rules"] = Field("model", description="whose text takes the place; rules: the control of equal length")
    sources: tuple[str, ...] = Field((), description="the sources that are rephrased (default: all)")
    piece: int = Field(1200, ge=16, description="characters that are rewritten at once")
    shortest: float = Field(0.2, ge=0, description="least length of what is written, as a share of the piece")
    longest: float = Field(2.0, gt=0, description="most length of it")
    most: int = Field(200_000, ge=1, description="tokens that are written in all")
    temperature: float = Field(0.7, ge=0, description="of the draws; 0: the likeliest token each")
    batch: int = Field(8, ge=1, description="pieces that are written side by side")
    seed: int = Field(0, ge=0, description="of the draws and of the documents that are drawn")

    def looks_at(self) -> tuple[str, ...]:
        """The sources that are rephrased."""
        return self.sources

    def scan(self, documents: pyarrow.RecordBatch) -> dict[str, np.ndarray]:
        """The numbers and the texts of the documents that are drawn."""
        import numpy as np
        import xxhash

        texts = text_of(documents)
        data = {place: text.encode() for place in self.judged(documents) if (text := texts[place] or "").strip()}
        drawn = [place for place, one in data.items() if xxhash.xxh32_intdigest(one, self.seed) < self.share * (1 << 32)]
        rows = documents.column(ROW).to_numpy()[np.array(drawn, np.int64)]
        return {"row": rows, "seen": np.array([len(data)], np.int64), **_stored([data[place].decode() for place in drawn])}

    def decide(self, scans: Sequence[Mapping[str, np.ndarray]], context: CuratorContext) -> dict[str, np.ndarray]:
        """What takes the place of which document.

        Raises:
            PartError: where the model is not causal or has no tokenizer, and where no document is drawn or none is written anew.
        """
        import numpy as np

        from windtunnel.kits.text.judged import reading

        reading(context, "model", self.name)
        rows = np.concatenate([scan["row"] for scan in scans])
        texts = [text for scan in scans for text in _texts(scan)]
        if not texts:
            seen = sum(int(scan["seen"][0]) for scan in scans)
            raise PartError(f"{self.name}: none of {seen:,} documents with text was drawn (share: {self.share:g})")
        answers, tokens = self._answers(texts, context)
        new = {number: "\n\n".join(map(str, parts)) for number, parts in enumerate(answers) if parts and None not in parts}
        discarded, left = len(answers) - len(new), len(texts) - len(answers)
        if not new:
            knobs = f"shortest: {self.shortest:g}, longest: {self.longest:g}, piece: {self.piece}, most: {self.most}"
            counts = f"what was written was discarded of {discarded:,}, and {left:,} were left after {tokens:,} tokens"
            raise PartError(f"{self.name}: none of {len(texts):,} documents was written anew ({knobs}): {counts}")
        context.tally.count("documents written anew", len(new))
        context.tally.count("left as they are: what the model wrote was discarded", discarded)
        context.tally.count("left as they are: enough tokens were written", left)
        if self.written == "rules":
            new = {number: extract(texts[number], len(text)) for number, text in new.items()}
        chosen = sorted(new)
        return {"row": rows[np.array(chosen, np.int64)], **_stored([new[number] for number in chosen])}

    def _answers(self, texts: list[str], context: CuratorContext) -> tuple[list[list[str | None]], int]:
        """What is written of the pieces of the first ``texts``, None where it is discarded, and the tokens that took."""
        pieces = [(number, piece) for number, text in enumerate(texts) for piece in cut(text, self.piece)]
        answers: list[list[str | None]] = [[] for _ in texts]
        tokens = 0
        for first in range(0, len(pieces), self.batch):
            group = pieces[first : first + self.batch]
            if tokens >= self.most:
                return answers[: group[0][0]], tokens  # a document that was begun stays as it was
            found = self._written([piece for _, piece in group], context)
            tokens += found["tokens"]
            for (number, piece), said in zip(group, found["texts"], strict=True):
                answers[number].append(self._tidy(said, piece))
        return answers, tokens

    def _written(self, pieces: list[str], context: CuratorContext) -> dict[str, Any]:
        """The ``texts`` that the model makes of ``pieces``, and how many ``tokens`` that took."""
        from windtunnel.kits.text.choice import digest
        from windtunnel.kits.text.generate import generated, instruction

        model, tokenizer = context.models["model"], context.processors["model"]
        about = digest(chr(0).join(pieces), self.seed)
        seed = int.from_bytes(about[:7], "little")

        def write() -> dict[str, Any]:
            room = int(getattr(model.config, "max_position_embeddings", 0) or 1 << 20)
            prompts = [instruction(tokenizer, f"{PROMPTS[self.style]}\n\n{piece}")[-(room * 2 // 3) :] for piece in pieces]
            left = room - max(map(len, prompts))
            most = [max(1, min(int(self.longest * len(tokenizer(piece)["input_ids"])), left)) for piece in pieces]
            with context.counted(sum(map(len, prompts))):
                texts, counts = generated(model, tokenizer, prompts, most, temperature=self.temperature, seed=seed)
            with context.counted(sum(counts)):  # known only now
                return {"texts": texts, "tokens": sum(counts)}

        found: dict[str, Any] = context.once(f"model-{about.hex()}", write)
        return found

    def _tidy(self, said: str, piece: str) -> str | None:
        """What the model said without its lead-in; None where it is to be discarded."""
        said = LEAD_IN.sub("", said.strip(), count=1)
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        repeats = len(lines) > 3 and len(set(lines)) < len(lines) / 2
        fits = self.shortest * len(piece) <= len(said) <= self.longest * len(piece)
        return said if said and fits and not repeats else None

    def judge(self, documents: pyarrow.RecordBatch, found: Mapping[str, np.ndarray]) -> tuple[pyarrow.RecordBatch, Reasons]:
        """As decided; nothing goes."""
        from windtunnel.data.corpus.judging import replaced

        new = dict(zip(found["row"].tolist(), _texts(found), strict=True))
        texts = text_of(documents)
        rows = documents.column(ROW).to_pylist()
        changed = [new.get(row, text) for row, text in zip(rows, texts, strict=True)]
        return replaced(documents, {"text": changed}), [None] * len(rows)


def cut(text: str, most: int) -> list[str]:
    """``text`` in pieces of at most ``most`` characters, which end at an empty line, a line, a sentence or a word where there is one."""
    pieces = []
    while len(text) > most:
        places = (text.rfind(sign, most // 2, most) for sign in ("\n\n", "\n", ". ", " "))
        end = next((place + 1 for place in places if place >= 0), most)
        pieces.append(text[:end].strip())
        text = text[end:]
    return [piece for piece in (*pieces, text.strip()) if piece]


def extract(text: str, length: int) -> str:
    """The first sentences of ``text``, its white space tidied, up to about ``length`` characters; at least one sentence."""
    found = ""
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", re.sub(r"[ \t]+", " ", text).strip()):
        if found and len(found) + len(sentence) / 2 > length:
            break
        found = f"{found} {sentence}".strip()
    return found[: max(length, 1)] if len(found) > 2 * length else found


def _stored(texts: Sequence[str]) -> dict[str, np.ndarray]:
    import numpy as np

    data = [text.encode(errors="replace") for text in texts]
    return {"text": np.frombuffer(b"".join(data), np.uint8), "ends": np.cumsum([len(one) for one in data], dtype=np.int64)}


def _texts(found: Mapping[str, np.ndarray]) -> list[str]:
    import numpy as np

    return [bytes(found["text"][begin:end]).decode() for begin, end in itertools.pairwise(np.append(0, found["ends"]))]
