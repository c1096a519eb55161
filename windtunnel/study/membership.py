"""Whether a model was trained on a text: the text against other text of its kind that the model cannot have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.slots import Source

if TYPE_CHECKING:
    import pandas

    from windtunnel.kits.text.membership import Area, Beginnings
    from windtunnel.slots import HeldOut

LENGTH, MOST = 128, 1000  # tokens of a document, documents on a side
SHARE, CAP = 0.2, 0.01  # those of the papers
MEMBERS, OTHERS = "members", "others"


class Told:
    """What scores say of a text. ``data`` is plain: names, numbers and lists."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def table(self) -> pandas.DataFrame:
        """A row a score: its ``area`` under the ROC curve, ``low``, ``high``, and ``found`` at five percent of false alarms."""
        import pandas

        return pandas.DataFrame(self.data["scores"]).set_index("score")

    def __repr__(self) -> str:
        return "<membership: " + ", ".join(f"{row['score']} {row['area']:.3f}" for row in self.data["scores"]) + ">"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def was_trained_on(
    model: str,
    members: Source,
    others: Source,
    cache: Path,
    *,
    reference: str | None = None,
    length: int = LENGTH,
    most: int = MOST,
    share: float = SHARE,
    cap: float = CAP,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Told:
    """How well scores tell ``members`` text from ``others`` text: above chance where ``model`` was trained on the former.

    Args:
        model: a folder, the folder of a run, a file of weights, or a name on the hub.
        members: documents that it may have been trained on.
        others: documents of the same kind that it cannot have seen. Documents that are in both are read as members alone.
        cache: where prepared text is kept.
        reference: a model with the same tokenizer that has not seen either.
        length: tokens of each document that are read; shorter documents are left out.
        most: most documents on either side.
        share: of tokens that min-k looks at.
        cap: the most that a token adds to dc-pdd.
        device: as of a run.
        say: told what is being done, a line at a time.

    Raises:
        UserError: for a model that does not write text, a reference with another tokenizer, and fewer than ten documents on a side.
    """
    from windtunnel.data.corpus.prepare import prepare_corpus
    from windtunnel.data.encode import prepare_stream
    from windtunnel.kits.text.encoded import text_of
    from windtunnel.study.evaluate import opened

    encoding, _, room = opened(model)
    if room and length > room:
        raise UserError(f"length {length}: {model} has room for {room} tokens")
    split: dict[str, Any] = {"validation": 0.0, "test": 1.0, "near_duplicates": 1.0, "held_out_validation": 0.0}
    both = {MEMBERS: members, OTHERS: others}
    corpus = prepare_corpus({}, held_out=both, cache=cache / "corpora", progress=say, **split)
    stream = prepare_stream(corpus, encoding, cache=cache / "streams", progress=say)
    sides = {name: _beginnings(stream, name, length, most) for name in both}
    judge = _judge(stream, length, device)
    if reference is not None:
        other = prepare_stream(corpus, opened(reference)[0], cache=cache / "streams", progress=say)
        if not text_of(stream, "forensics").same_tokens(text_of(other, "forensics")):
            raise UserError(f"reference {reference}: has another tokenizer than {model}")
    nats = []
    for name in [model] if reference is None else [model, reference]:
        say(f"reading {sum(len(side.texts) for side in sides.values()):,} documents with {name}")
        nats.append(_read(name, sides, judge))
    about = {"kind": "membership", "model": model, "reference": reference, "length": length}
    return Told(about | _numbers(nats, sides, stream.facts.size, share, cap))


def _judge(stream: Any, length: int, device: str | None) -> HeldOut:
    """How documents of ``stream`` are read: next tokens, in single precision."""
    import torch

    from windtunnel.core import registry
    from windtunnel.slots import HeldOut, Objective
    from windtunnel.train.machine import precision_context

    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    objective, precision = registry.make(Objective, "next-token"), precision_context(place, "float32")
    return HeldOut((), None, stream, stream.facts, objective, place, precision, "test", length)


def _beginnings(stream: Any, name: str, length: int, most: int) -> Beginnings:
    """The beginnings of the documents of one side, of which there have to be enough."""
    from windtunnel.kits.text import membership as kit

    found = kit.pieces(stream, "test", [name], length, most, "forensics")
    if (count := len(found.texts)) < kit.FEWEST:
        raise UserError(f"{name}: {count} documents of {length} tokens, too few for an answer; give more text or lower the length")
    return found


def _read(name: str, sides: Mapping[str, Beginnings], judge: HeldOut) -> dict[str, Any]:
    """What the model ``name`` says of every token of each side, in nats."""
    import numpy as np

    from windtunnel.kits.text.prepacked import ending_nats
    from windtunnel.models.load import load

    loaded: Any = load(name)
    loaded = loaded.to(judge.device).eval()
    how: dict[str, Any] = {"objective": judge.objective, "held_out": judge}
    return {side: np.stack(ending_nats(loaded, found.rows, **how)) for side, found in sides.items()}


def _numbers(nats: Sequence[Mapping[str, Any]], sides: Mapping[str, Beginnings], size: int, share: float, cap: float) -> dict[str, Any]:
    """The rows of scores from ``nats`` of the model and of a reference, if there is one, and how far the texts differ by themselves."""
    import numpy as np

    from windtunnel.kits.text import membership as kit

    counts = np.bincount(np.concatenate([side.tokens[:, 1:].ravel() for side in sides.values()]), minlength=size)
    told = {side: kit.scores(nats[0][side], found, counts, share=share, cap=cap) for side, found in sides.items()}
    for other in nats[1:]:
        for side, scores in told.items():
            scores["reference"] = other[side].mean(axis=1) - nats[0][side].mean(axis=1)
    areas = {name: kit.area(told[MEMBERS][name], told[OTHERS][name]) for name in told[MEMBERS]}
    blind = kit.told_apart(sides[MEMBERS], sides[OTHERS], size)
    rows = [{"score": name, **_row(one)} for name, one in areas.items()]
    documents = {side: len(found.texts) for side, found in sides.items()}
    return {"documents": documents, "scores": rows, "blind": _row(blind), "alike": blind.low <= 0.5}


def _row(area: Area) -> dict[str, float]:
    return {"area": area.value, "low": area.low, "high": area.high, "found": area.found}
