"""Loss on filling gaps and on continuing, whatever a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.parts.objective.prefix_lm import PrefixLM
from windtunnel.parts.objective.span_corruption import SpanCorruption
from windtunnel.slots import Evaluation, HeldOut, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Mode = Literal["R", "S", "X"]


class Denoising(Evaluation, name="denoising"):
    """Nats per hidden token when filling gaps and when continuing from the middle, on the same corruptions for every model.

    ``infill_nats`` is the mean of ``infill_regular_nats`` (spans of 3 tokens, 15 % hidden: UL2's R) and ``infill_extreme_nats``
    (spans of 3, 50 % hidden: X); ``continuation_nats`` is the second half of each document given the first (S). Sentinels and
    separators do not count. Sources are pooled by token.

    Each model is asked in its own format: with mode tokens if its objective is ul2 with mode tokens, reading its input in both
    directions unless its objective is causal. ``mode: none`` leaves mode tokens out. ``mode: wrong`` measures with its own and adds
    the same three numbers under a wrong one (S before gaps, R before continuations), as ``infill_wrong_mode_nats`` and so on. That
    needs a model with mode tokens.
    """

    unit: ClassVar[str] = "nats per hidden token"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "infill_nats"
    shares: ClassVar[bool] = True

    mode: Literal["own", "none", "wrong"] = Field("own", description="mode tokens: the model's own, none, or also wrong ones")

    def special(self) -> tuple[str, ...]:
        """Sentinels and mode tokens."""
        return ("spans", "modes")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers; with ``mode: wrong`` those under wrong mode tokens after them.

        Raises:
            PartError: where documents are no text, where a model tells tokens at masks, for ``mode: wrong`` where the objective has no mode
                tokens, and where nothing is hidden.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.predict import own_format

        vocabulary_of(held_out, self.name)
        modes, bidirectional = own_format(held_out.objective)
        if held_out.objective.by_mask:
            raise PartError(f"denoising needs a model that predicts from left to right; {held_out.objective.name} does not train one")
        if self.mode == "wrong" and not modes:
            raise PartError(
                f"denoising: mode: wrong needs an objective with mode tokens; {held_out.objective.name} has none (use mode: own)"
            )
        shown = modes and self.mode != "none"
        numbers = self._measure(model, held_out, bidirectional, ("R", "X", "S") if shown else (None, None, None), "")
        if self.mode == "wrong":
            numbers |= self._measure(model, held_out, bidirectional, ("S", "S", "R"), "wrong_mode_")
        return numbers

    def _measure(
        self, model: PreTrainedModel, held_out: HeldOut, bidirectional: bool, modes: tuple[Mode | None, Mode | None, Mode | None], tag: str
    ) -> dict[str, float]:
        regular, extreme, continuation = (
            _mean(model, held_out, objective)
            for objective in (
                SpanCorruption(rate=0.15, mean_span=3, mode=modes[0], bidirectional=bidirectional),
                SpanCorruption(rate=0.5, mean_span=3, mode=modes[1], bidirectional=bidirectional),
                PrefixLM(lowest=0.5, highest=0.5, mode=modes[2], bidirectional=bidirectional),
            )
        )
        return {
            f"infill_{tag}nats": (regular + extreme) / 2,
            f"continuation_{tag}nats": continuation,
            f"infill_regular_{tag}nats": regular,
            f"infill_extreme_{tag}nats": extreme,
        }


def _mean(model: PreTrainedModel, held_out: HeldOut, objective: Objective) -> float:
    from windtunnel.kits.text.losses import text_loss

    sums = [text_loss(model, held_out, source, objective) for source in held_out.sources]
    targets = sum(count for _, count, _ in sums)
    if not targets:
        raise PartError("denoising: the held-out text that was read is too short to hide anything in; read more of it")
    return sum(nats for nats, _, _ in sums) / targets
