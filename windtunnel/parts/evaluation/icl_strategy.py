"""Whether a model knows its urns by heart or learns about any urn from the draws it sees."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.text.gapped import SYMBOLS, spelt
from windtunnel.parts.objective.next_token import NextToken
from windtunnel.parts.source.urns import Urns
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


class IclStrategy(Evaluation, name="icl-strategy"):
    """How far a model's predictions are from those of two ideal observers of the source `urns`: one who memorises, one who generalises.

    The memorising observer knows the urns of training and weighs them by the draws seen so far (the Bayes estimator under the training
    tasks); the generalising one knows only how urns are filled, and counts. ``icl-strategy/memorising`` and ``icl-strategy/generalising``
    are the symmetrised Kullback-Leibler divergences from them, in nats, the mean over the draws of sequences from the urns of training;
    ``/new`` behind them: from urns that were never seen. ``icl-strategy`` is where on the way between the two a model stands on urns of
    training: 0 predicts as the generalising one, 1 as the memorising one (Wurgaft et al. 2025, arXiv:2506.17859, who call it relative
    distance; Raventós et al. 2023, arXiv:2306.15063, measure the two distances for regression).

    ``icl-strategy/weight`` is the share of the memorising observer in the mixture of both that is nearest to what the model expects on urns
    of training, ``icl-strategy/mixed`` the divergence from that mixture, and ``icl-strategy/gap`` the nats a draw by which the memorising
    observer predicts better. The law `strategies` reads these.

    What a model expects of the colours is scaled to sum to one. All models of a study with the same knobs are asked the same.
    """

    trial = Trial(
        {"urns": 2, "colours": 3, "draws": 9, "sequences": 4},
        beside={"corpus": {"few": {"urns": {"urns": 2, "colours": 3, "draws": 9, "count": 300}}}},
    )

    unit: ClassVar[str] = "share of the way to memorising"
    better: ClassVar[str] = "higher"
    number: ClassVar[str] = "icl-strategy"

    urns: int = Field(ge=2, description="`urns` of the source that was trained on", examples=[16])
    colours: int = Field(8, ge=2, le=len(SYMBOLS), description="`colours` of the source")
    draws: int = Field(31, ge=2, description="balls of a sequence")
    pool: int = Field(0, ge=0, description="`pool` of the source")
    sequences: int = Field(256, ge=1, description="sequences of each kind")

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``icl-strategy``, the four divergences, and what the mixture of both observers tells.

        Raises:
            PartError: where documents are no text, for a model that is not scored on next tokens, where draws are more than its context,
                and where a colour is not one token.
        """
        from windtunnel.kits.text.encoded import vocabulary_of
        from windtunnel.kits.text.urns import divergence, generalising, memorising, nats, pool, share_of

        vocabulary_of(held_out, self.name)
        if model.config.is_encoder_decoder or not isinstance(held_out.objective.measured_by(), NextToken):
            raise PartError(f"{self.name}: needs a decoder that is scored on next tokens, not one trained with {held_out.objective.name}")
        if self.draws > held_out.context:
            raise PartError(f"{self.name}: draws {self.draws} is more than the context of {held_out.context}; lower draws or raise context")
        urns, found = pool(self.urns, self.colours, self.pool), dict[str, float]()
        for kind, count in (("", self.urns), ("/new", 0)):
            draws = self._draws(count)
            own = self._expected(model, held_out, draws)
            ideal = {"memorising": memorising(draws, urns), "generalising": generalising(draws, self.colours)}
            found |= {f"{self.name}/{name}{kind}": divergence(own, other) for name, other in ideal.items()}
            if not kind:
                apart = divergence(*ideal.values())
                share = share_of(ideal["memorising"], ideal["generalising"], own)
                mixture = share * ideal["memorising"] + (1 - share) * ideal["generalising"]
                gap = nats(ideal["generalising"], draws) - nats(ideal["memorising"], draws)
                told = {f"{self.name}/weight": share, f"{self.name}/mixed": divergence(own, mixture), f"{self.name}/gap": gap}
        near, far = found[f"{self.name}/memorising"], found[f"{self.name}/generalising"]
        return {self.name: (1 + (far - near) / apart) / 2, **found, **told}

    def _draws(self, urns: int) -> np.ndarray:
        """Colours as numbers, [sequences, draws], as of the source with another seed."""
        import numpy as np

        source = Urns(urns=urns, colours=self.colours, draws=self.draws, pool=self.pool)
        texts = (source.one(random.Random(f"{self.name} {urns} {number}")) for number in range(self.sequences))
        return np.array([[SYMBOLS.index(symbol) for symbol in text.split()] for text in texts])

    def _expected(self, model: PreTrainedModel, held_out: HeldOut, draws: np.ndarray) -> np.ndarray:
        """What ``model`` expects of each draw before seeing it, [sequences, draws, colours]."""
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.models.forward import forward

        numbers = self._numbers(held_out)
        tokens = torch.cat([torch.full((len(draws), 1), held_out.facts.document), numbers[torch.from_numpy(draws)]], dim=1)
        with torch.no_grad(), entered(held_out.precision):
            logits = forward(model, tokens[:, :-1].to(held_out.device)).logits.double().cpu()
        found: np.ndarray = logits[..., numbers].softmax(dim=-1).numpy()
        return found

    def _numbers(self, held_out: HeldOut) -> Any:
        """The token of each colour, [colours]."""
        import torch

        from windtunnel.kits.text.encoded import text_of

        tokenizer, symbols = text_of(held_out.stream, self.name).tokenizer, SYMBOLS[: self.colours]
        each = [tokenizer(spelt([symbol]), add_special_tokens=False)["input_ids"] for symbol in symbols]
        if long := next((symbol for symbol, numbers in zip(symbols, each, strict=True) if len(numbers) != 1), None):
            raise PartError(f"{self.name}: the colour {long!r} is no token of this tokenizer; train one on the source urns")
        return torch.tensor(each)[:, 0]
