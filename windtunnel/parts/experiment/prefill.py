"""Prompts of different lengths through a model: padded, sorted, or several in one sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

VOCABULARY = 256


class Prefill(Experiment, name="prefill"):
    """What it costs to put prompts through a decoder, in FLOPs beside those of each prompt by itself, and whether the answers are its own.

    Zhao et al. 2024, "Prepacking", arXiv:2404.09529. ``padded`` fills each batch up to its longest prompt, as prompts come; ``sorted``
    does so in the order of lengths, which costs nothing to do; ``prepacked`` lays prompts behind each other into sequences as long as the
    longest, by `windtunnel.kits.text.prepacked`. All FLOPs are counted, those of attention as what is computed under a mask and not as what
    the mask lets through. ``cost`` is the FLOPs over those of prompts one at a time, ``difference`` the largest difference of a logit from
    theirs, over the last token of each.

    Lengths are log-normal, as those of questions and documents are, or equal, where nothing can be saved. The model is drawn, not trained:
    neither number depends on what it has learnt. It is a llama, whose positions count from the beginning of each prompt.
    """

    trial = Trial({"prompts": 6, "longest": 16, "batch": 2, "width": 16})

    unit: ClassVar[str] = "times the FLOPs of single prompts"

    way: Literal["padded", "sorted", "prepacked"] = Field("padded", description="how prompts are put together")
    lengths: Literal["log-normal", "equal"] = Field("log-normal", description="how long prompts are")
    median: int = Field(12, ge=1, description="tokens of the middle prompt")
    longest: int = Field(128, ge=4, description="tokens of a prompt at most")
    prompts: int = Field(64, ge=1, description="how many")
    batch: int = Field(8, ge=1, description="sequences that go through the model at once")
    width: int = Field(256, ge=8, multiple_of=8, description="of the model; the longer prompts are beside it, the more a mask costs")
    apart: bool = Field(True, description="whether prompts in one sequence see themselves alone and count their own positions")

    def measure(self, seed: int) -> dict[str, float]:
        """``cost`` and ``difference``, and ``tokens`` read over those of the prompts."""
        import numpy as np

        random = np.random.default_rng(seed)
        lengths = np.full(self.prompts, self.median) if self.lengths == "equal" else random.lognormal(np.log(self.median), 1, self.prompts)
        rows = [random.integers(2, VOCABULARY, size).tolist() for size in np.clip(lengths, 4, self.longest).astype(int)]
        model = self._model(seed)
        alone, single, _ = self._through(model, rows, [[[place]] for place in range(len(rows))])
        answers, flops, read = self._through(model, rows, self._batches(rows))
        difference = float((answers - alone).abs().max())
        return {"cost": flops / single, "difference": difference, "tokens": read / sum(map(len, rows))}

    def _model(self, seed: int) -> Any:
        import numpy as np

        from windtunnel.kits.text.vocabulary import Vocabulary
        from windtunnel.models.init import config_for, fresh
        from windtunnel.models.settings import ModelSettings

        facts = Vocabulary(VOCABULARY, 0, 1, 1, (), {}, np.ones(VOCABULARY, np.int32), np.ones(VOCABULARY, bool))
        return fresh(config_for(ModelSettings(layers=2, width=self.width, heads=4), facts, self.longest), seed).eval()

    def _batches(self, rows: list[list[int]]) -> list[list[list[int]]]:
        """Places of prompts by sequence and batch."""
        from windtunnel.kits.text.prepacked import bins

        places = sorted(range(len(rows)), key=lambda place: -len(rows[place])) if self.way == "sorted" else range(len(rows))
        sequences = bins([len(row) for row in rows]) if self.way == "prepacked" else [[place] for place in places]
        return [sequences[first : first + self.batch] for first in range(0, len(sequences), self.batch)]

    def _through(self, model: Any, rows: list[list[int]], batches: list[list[list[int]]]) -> tuple[torch.Tensor, float, int]:
        """Logits of the last token of each of ``rows``, [rows, vocabulary], FLOPs, and tokens that were read, padding among them."""
        import torch

        from windtunnel.kits.text.prepacked import laid_out
        from windtunnel.models.flops import counter
        from windtunnel.models.forward import forward

        found, read, flops = torch.zeros(len(rows), VOCABULARY), 0, 0.0
        for batch in batches:
            laid = laid_out([[rows[place] for place in sequence] for sequence in batch], 1)
            documents, positions = laid.documents, laid.positions
            if not self.apart:
                documents, positions = documents.clip(max=0), _counted(documents)
            with torch.no_grad(), counter() as counted:
                logits = forward(model, *(torch.as_tensor(one) for one in (laid.tokens, documents, positions))).logits
            read, flops = read + laid.tokens.size, flops + counted.get_total_flops()
            for place, (number, begin) in zip([place for sequence in batch for place in sequence], laid.places, strict=True):
                found[place] = logits[number, begin + len(rows[place]) - 1]
        return found, flops, read


def _counted(documents: np.ndarray) -> np.ndarray:
    """Positions that count on through a whole sequence."""
    import numpy as np

    return np.broadcast_to(np.arange(documents.shape[1]), documents.shape).copy()
