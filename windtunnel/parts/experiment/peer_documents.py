"""Questions about one document whose answer stands in others about the same thing, as pre-training for questions about several."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

ATTRIBUTES, VALUES, SIGNS = 10, 24, 3  # signs: of a sentence, of a question in training, and in the task
MASKED_ATTRIBUTE, MASKED_VALUE, NOTHING = ATTRIBUTES, VALUES, -1
DOCUMENTS, FACTS, TOLD = 3, 6, 3  # of a cluster, facts of it, and facts that a document tells
INPUTS = SIGNS + DOCUMENTS + ATTRIBUTES + 1 + VALUES + 1
OUTPUTS = ATTRIBUTES + VALUES
BATCH, CHOOSING, TESTED, WIDTH, TUNED = 48, 100, 500, 48, (5e-4, 2e-3)


class SentencePlaces(NamedTuple):
    """What a model reads, int64 [rows, 1 + DOCUMENTS * TOLD] each: the question and all sentences, ``sign``, ``document``, ``attribute``
    and ``value`` (NOTHING: none); and what is told at each place, ``attributes`` and ``values`` (NOTHING: nothing).
    """

    sign: np.ndarray
    document: np.ndarray
    attribute: np.ndarray
    value: np.ndarray
    attributes: np.ndarray
    values: np.ndarray


class PeerDocuments(Experiment, name="peer-documents"):
    """The share of questions about clusters of documents that are answered right after tuning on a few.

    Caciularu et al. 2023, arXiv:2305.15387: in a cluster of documents about one thing a sentence of one document is removed, which others
    support; the model reads a question about it and all documents and writes the answer and the sentence.

    A cluster is three documents, each telling three of the same six facts, in an order of its own; a fact is an attribute and a value,
    drawn anew for each cluster. A sentence is read at one place, as a sum of its attribute, value and document; the encoder sees all, and
    what is told stands at a place in the place of a decoder. ``taught``: ``questions`` removes from a document a fact that another one
    tells and asks for its attribute, and the value and the whole fact are told; ``alone`` does so without the other documents (a control:
    what is asked stands nowhere); ``sentences`` removes it and asks nothing, and the fact is told where it was (gap sentences within a
    cluster); ``single`` is that of one document alone; ``spans`` masks the attribute or the value of three sentences, which are told there;
    ``none`` trains not at all.

    Tuning is on ``tuned`` questions with another sign, whose fact one or more of three whole documents tell, and the value alone is told;
    of two learning rates that is taken which does better on 100 others. ``answered`` is judged on 500 more clusters; ``peerless`` on
    these without the documents that tell the fact, so that it is what can be guessed: a value of the cluster by chance is right once in
    some five. Generated questions and salient sentences chosen by overlap are not here.
    """

    trial = Trial({"steps": 2, "tuned": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    taught: Literal["questions", "alone", "sentences", "single", "spans", "none"] = Field("questions", description="what training asks for")
    steps: int = Field(200, ge=1, description="of training, 48 clusters each")
    tuned: int = Field(60, ge=1, description="questions to tune on")
    tuning: int = Field(60, ge=1, description="steps on them, 48 each")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW in training")

    def measure(self, seed: int) -> dict[str, float]:
        """``answered`` and ``peerless``."""
        import numpy as np
        import torch

        from windtunnel.kits.small_decoder import SmallDecoder, descend

        random, gaps = np.random.default_rng(seed), np.random.default_rng([seed, 1])
        some = clusters(self.tuned + CHOOSING + TESTED, random)
        which = random.integers(0, DOCUMENTS * TOLD, len(some))
        order = random.integers(0, self.tuned, (self.tuning, BATCH))
        model = SmallDecoder(INPUTS, OUTPUTS, 1 + DOCUMENTS * TOLD, width=WIDTH, seed=seed)

        def loss(step: int) -> torch.Tensor:
            return nats(model, pretext(self.taught, clusters(BATCH, random), gaps))

        if self.taught != "none":
            descend(model, loss, self.steps, self.rate)
        rows = asked(some, which)
        tuned, choosing, tested = np.split(np.arange(len(some)), [self.tuned, self.tuned + CHOOSING])
        found = list[tuple[float, torch.nn.Module]]()
        for rate in TUNED:
            further = copy.deepcopy(model)
            descend(further, lambda step, further=further: nats(further, at(rows, tuned[order[step]])), self.tuning, rate)  # type: ignore[misc]
            found.append((right(further, at(rows, choosing)), further))
        best = max(found, key=lambda pair: pair[0])[1]
        return {"answered": right(best, at(rows, tested)), "peerless": right(best, without(at(rows, tested)))}


def clusters(count: int, random: np.random.Generator) -> np.ndarray:
    """Documents of ``count`` clusters, int64 [count, DOCUMENTS, TOLD, 2]: attributes and values."""
    import numpy as np

    attributes = random.permuted(np.tile(np.arange(ATTRIBUTES), (count, 1)), axis=1)[:, :FACTS]
    facts = np.stack([attributes, random.integers(0, VALUES, (count, FACTS))], axis=2)
    which = random.permuted(np.tile(np.arange(FACTS), (count, DOCUMENTS, 1)), axis=2)[..., :TOLD]
    which[:, 1, 0] = which[:, 0, 0]  # a fact at least is told by two
    for place in range(1, TOLD):
        double = which[:, 1, place] == which[:, 1, 0]
        which[double, 1, place] = missing(which[double, 1])
    return np.asarray(facts[np.arange(count)[:, None, None], random.permuted(which, axis=2)])


def missing(which: np.ndarray) -> np.ndarray:
    """The least number that is not in each row."""
    import numpy as np

    return np.asarray((~(which[:, :, None] == np.arange(FACTS)).any(axis=1)).argmax(axis=1))


def read(documents: np.ndarray) -> SentencePlaces:
    """Whole documents without a question; nothing is told."""
    import numpy as np

    count = len(documents)
    nothing = np.full((count, 1 + DOCUMENTS * TOLD), NOTHING)
    sign, document, attribute, value = nothing.copy(), nothing.copy(), nothing.copy(), nothing.copy()
    sign[:, 1:], document[:, 1:] = 0, np.repeat(np.arange(DOCUMENTS), TOLD)
    flat = documents.reshape(count, -1, 2)
    attribute[:, 1:], value[:, 1:] = flat[..., 0], flat[..., 1]
    return SentencePlaces(sign, document, attribute, value, nothing.copy(), nothing.copy())


def pretext(taught: str, documents: np.ndarray, random: np.random.Generator) -> SentencePlaces:
    """What is read and told in training in the way of ``taught``."""
    import numpy as np

    every = np.arange(len(documents))
    found = read(documents)
    if taught == "spans":
        place = 1 + np.argsort(random.random((len(documents), DOCUMENTS * TOLD)), axis=1)[:, :3].T
        first = random.random(place.shape) < 0.5
        for some, half in zip(place, first, strict=True):
            one, other = every[half], every[~half]
            found.attributes[one, some[half]], found.values[other, some[~half]] = (
                found.attribute[one, some[half]],
                found.value[other, some[~half]],
            )
            found.attribute[one, some[half]], found.value[other, some[~half]] = MASKED_ATTRIBUTE, MASKED_VALUE
        return found
    attributes = found.attribute[:, 1:]
    supported = (attributes[:, :, None] == attributes[:, None]).sum(axis=2) > 1  # no document tells a fact twice
    place = 1 + np.where(supported, random.random(supported.shape), -1).argmax(axis=1)
    attribute, value = found.attribute[every, place], found.value[every, place]
    found.attribute[every, place], found.value[every, place] = MASKED_ATTRIBUTE, MASKED_VALUE
    target = np.zeros(len(every), int) if taught in ("questions", "alone") else place
    found.attributes[every, target], found.values[every, target] = attribute, value
    if taught in ("questions", "alone"):
        found.sign[:, 0], found.attribute[:, 0] = 1, attribute
    if taught in ("alone", "single"):
        away(found, found.document != found.document[every, place][:, None])
    return found


def asked(documents: np.ndarray, which: np.ndarray) -> SentencePlaces:
    """The task: whole documents, the attribute of the sentence at ``which``, and its value."""
    import numpy as np

    found, every = read(documents), np.arange(len(documents))
    found.sign[:, 0], found.attribute[:, 0] = 2, found.attribute[every, 1 + which]
    found.values[:, 0] = found.value[every, 1 + which]
    return found


def away(rows: SentencePlaces, gone: np.ndarray) -> None:
    """Takes the sentences at ``gone`` out of ``rows``; the question stays."""
    gone[:, 0] = False
    for each in (rows.sign, rows.document, rows.attribute, rows.value):
        each[gone] = NOTHING


def without(rows: SentencePlaces) -> SentencePlaces:
    """``rows`` of the task without the documents that tell what is asked."""
    import numpy as np

    found = SentencePlaces(*(each.copy() for each in rows))
    telling = rows.attribute == rows.attribute[:, :1]
    gone = np.zeros_like(telling)
    for document in range(DOCUMENTS):
        own = rows.document == document
        gone |= own & (own & telling).any(axis=1, keepdims=True)
    away(found, gone)
    return found


def at(rows: SentencePlaces, places: np.ndarray) -> SentencePlaces:
    """Some of ``rows``."""
    return SentencePlaces(*(each[places] for each in rows))


def logits_of(model: torch.nn.Module, rows: SentencePlaces) -> torch.Tensor:
    """Attributes and values told at each place, [rows, places, OUTPUTS]."""
    import torch

    sizes = (SIGNS, DOCUMENTS, ATTRIBUTES + 1, VALUES + 1)
    parts = [torch.nn.functional.one_hot(torch.from_numpy(each) + 1, size + 1)[..., 1:] for each, size in zip(rows[:4], sizes, strict=True)]
    return torch.as_tensor(model(torch.cat(parts, dim=2).float(), True))


def nats(model: torch.nn.Module, rows: SentencePlaces) -> torch.Tensor:
    """The mean loss of values that are told and, where there are any, that of attributes."""
    import torch

    logits = logits_of(model, rows).transpose(1, 2)
    losses = []
    for part, wanted in ((logits[:, :ATTRIBUTES], rows.attributes), (logits[:, ATTRIBUTES:], rows.values)):
        if (wanted != NOTHING).any():
            losses.append(torch.nn.functional.cross_entropy(part, torch.from_numpy(wanted), ignore_index=NOTHING))
    return torch.stack(losses).sum()


def right(model: torch.nn.Module, rows: SentencePlaces) -> float:
    """The share of ``rows`` whose likeliest value at the question is that asked for."""
    import torch

    with torch.no_grad():
        told = logits_of(model, rows)[:, 0, ATTRIBUTES:].argmax(dim=1).numpy()
    return float((told == rows.values[:, 0]).mean())
