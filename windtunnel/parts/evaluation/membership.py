"""Whether training text can be told from held-out text by what a model says of it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel


class Membership(Evaluation, name="membership"):
    """The area under the ROC curve at which a score tells documents that were trained on from held-out ones; 0.5 is chance.

    Both are the first ``length`` tokens of documents of the sources that the phase trains on, where that is known, and which documents
    were held out was drawn at random, so the two differ in nothing but the training. Where less than one epoch of a source was read, some
    of its documents that count as trained on were not, and the area is too near to 0.5; a warning says so. Scores: ``loss``; ``zlib``,
    the loss over the bytes of the compressed text (Carlini et al. 2021, arXiv:2012.07805); ``min-k``, the least likely tokens (Shi et al.
    2023, arXiv:2310.16789); ``dc-pdd``, probabilities over frequencies, capped (Zhang et al. 2024, arXiv:2409.14781; frequencies are
    those of all pieces that are judged; its cap of 0.01 is for models with large vocabularies); ``reference``, the loss less that of
    another model. All are told as ``membership/SCORE`` with ``/low`` and ``/high``; the first number is that of ``score``.
    ``membership/blind`` is the area of a classifier that knows no model: where its lower bound is above 0.5, the two sets differ by
    themselves.

    ``wt.was_trained_on`` asks the same of any model and text.
    """

    trial = Trial({"length": 8, "most": 24})

    unit: ClassVar[str] = "area under the ROC curve"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "membership"
    by_objective: ClassVar[bool] = False

    score: Literal["loss", "zlib", "min-k", "dc-pdd", "reference"] = Field("loss", description="the score of the first number")
    length: int = Field(64, ge=2, description="tokens of each document that are read")
    most: int = Field(256, ge=10, description="most documents on either side, evenly spaced")
    share: float = Field(0.2, gt=0, le=1, description="the share of tokens that min-k looks at")
    cap: float = Field(0.01, gt=0, description="the most that one token adds to dc-pdd")
    reference: Trained | None = Field(None, description="a model that has not seen the training text, with the same tokenizer")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut, models: Mapping[str, PreTrainedModel] | None = None) -> dict[str, float]:
        """The area of ``score``, then of each with its bounds.

        Raises:
            PartError: where documents are no text, the model is not scored on next tokens, fewer than ten documents on a side are long
                enough, or ``score`` is ``reference`` and none is given.
        """
        import numpy as np

        from windtunnel.kits.text import membership as kit
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.prepacked import ending_nats

        facts, objective = vocabulary_of(held_out, self.name), held_out.objective.measured_by()
        if model.config.is_encoder_decoder or not isinstance(objective, NextToken):
            raise PartError(f"{self.name}: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}")
        if self.score == "reference" and self.reference is None:
            raise PartError(f"{self.name}: score is reference, and no reference is given")
        if self.length > held_out.context:
            raise PartError(f"{self.name}: length {self.length} is more than the context of {held_out.context}")
        sides, sources = [], self._sources(held_out)
        for split in ("train", held_out.split):
            found = kit.pieces(held_out.stream, split, sources, self.length, self.most, self.name)
            if len(found.texts) < kit.FEWEST:
                raise PartError(f"{self.name}: {len(found.texts)} documents of {split} have {self.length} tokens; lower length")
            sides.append(found)
        counts = np.bincount(np.concatenate([side.tokens[:, 1:].ravel() for side in sides]), minlength=facts.size)
        how: dict[str, Any] = {"objective": objective, "held_out": held_out}
        told = []
        for side in sides:
            nats = np.stack(ending_nats(model, side.rows, **how))
            told.append(kit.scores(nats, side, counts, share=self.share, cap=self.cap))
            if models and "reference" in models:
                others = np.stack(ending_nats(models["reference"], side.rows, **how))
                told[-1]["reference"] = others.mean(axis=1) - nats.mean(axis=1)
        areas = {name: kit.area(told[0][name], told[1][name]) for name in told[0]}
        areas["blind"] = kit.told_apart(sides[0], sides[1], facts.size)
        numbers = {"membership": areas[self.score].value}
        for name, one in areas.items():
            key = f"membership/{name}"
            numbers |= {key: one.value, f"{key}/low": one.low, f"{key}/high": one.high}
        return numbers

    def _sources(self, held_out: HeldOut) -> tuple[str, ...]:
        """Those of ``held_out`` that are trained on; a warning where, at the end, not all of their documents were.

        Raises:
            PartError: where none of them was.
        """
        known = held_out.trained_on
        sources = tuple(source for source in held_out.sources if known is None or source in known)
        if not sources:
            raise PartError(f"{self.name}: the {held_out.split} split holds no documents of a source that the phase trains on")
        read = held_out.epochs() if held_out.epochs is not None and held_out.split == "test" else {}
        if few := [f"{source} {read[source]:.2f}" for source in sources if read.get(source, 1.0) < 1.0]:
            told = f"{self.name}: less than one epoch was read ({', '.join(few)}), so the area is too near to 0.5"
            warnings.warn(told, stacklevel=2)
        return sources
