"""How nearly the mixture that a tokenizer was trained on can be told from its merges."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel


class TokenizerMixture(Evaluation, name="tokenizer-mixture"):
    """Train a tokenizer on the sources in shares that are known, tell the shares from its merges, and see how far that is out.

    Hayase et al. 2024, arXiv:2407.16607. It says how far to believe `windtunnel forensics` on text of this kind. Shares are drawn evenly
    from all there are, other ones for every seed. The tokenizer learns from training documents, and pairs are counted in held-out ones.
    The model that is measured plays no part in it.

    ``method``: ``merges`` solves the linear program of the paper, ``one-slack`` leaves out the slack by pair, ``vocabulary`` counts each
    token for the source that has it most often, and ``uniform`` says that all shares are equal.
    """

    trial = Trial({"merges": 5, "sample": 1000, "learn": 2000})

    by_objective: ClassVar[bool] = False
    unit: ClassVar[str] = "mean absolute error of a share"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "share_error"

    method: Literal["merges", "one-slack", "vocabulary", "uniform"] = Field("merges", description="how shares are told")
    merges: int = Field(300, ge=1, description="merges of the tokenizer, all of which are looked at")
    sample: int = Field(300_000, ge=1, description="bytes of each source in which pairs are counted")
    learn: int = Field(1_000_000, ge=1, description="bytes that the tokenizer is trained on, fewer where a source has too few")

    def state(self, model: Any) -> dict[str, int]:
        """The number from which everything is drawn."""
        return {"draw": 0}

    def look(self, model: Any, state: dict[str, int], context: Any) -> None:
        """Draw that number, which depends on the seed alone."""
        import torch

        state["draw"] = int(torch.randint(1 << 31, ()))

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut, state: Any = None) -> dict[str, float]:
        """``share_error``, the mean over sources of how far a share is out, and ``log10_mse``, the logarithm of the mean of its square.

        Raises:
            PartError: where documents are no text, or the split holds those of a single source.
        """
        import numpy as np

        from windtunnel.kits.text.tokenizer import BYTES, specials, train

        if len(held_out.sources) < 2:
            raise PartError(f"{self.name}: needs held-out documents of two sources or more, between which there are shares to tell")
        random = np.random.default_rng(state["draw"] if state else 0)
        wanted = random.dirichlet(np.ones(len(held_out.sources)))
        there = np.array([held_out.stream.bytes("train")[source] for source in held_out.sources], np.float64)
        total = min(self.learn, float((there / np.maximum(wanted, 1e-12)).min()))
        learnt = [
            self._taken(held_out, "train", source, share * total, random) for source, share in zip(held_out.sources, wanted, strict=True)
        ]
        amounts = np.array([sum(len(text.encode()) for text in texts) for texts in learnt], np.float64)
        tokenizer = train((text for texts in learnt for text in texts), vocabulary=BYTES + len(specials(0)) + self.merges, sentinels=0)
        off = self._told(held_out, tokenizer.backend_tokenizer, random) - amounts / amounts.sum()
        return {"share_error": float(np.abs(off).mean()), "log10_mse": float(np.log10(max(1e-12, (off**2).mean())))}

    def _told(self, held_out: HeldOut, backend: Any, random: np.random.Generator) -> np.ndarray:
        """The shares of the sources as ``method`` tells them."""
        import numpy as np

        from windtunnel.kits.text import tokenizer_mixture as kit
        from windtunnel.kits.text.extend import words

        count = len(held_out.sources)
        if self.method == "uniform":
            return np.full(count, 1 / count)
        texts = [self._taken(held_out, held_out.split, source, self.sample, random) for source in held_out.sources]
        sizes = [sum(len(text.encode()) for text in some) for some in texts]
        if self.method == "vocabulary":
            return kit.by_vocabulary(backend, texts, sizes)
        made = kit.replay(kit.merges_of(backend), [words(backend, some) for some in texts], sizes, self.merges)
        found = kit.inferred(made, by_pair=self.method == "merges")
        if found.broken:
            warnings.warn(f"{self.name}: the program is not solved to its end: {found.broken:,} rivals of merges are ahead", stacklevel=2)
        return found.shares

    def _taken(self, held_out: HeldOut, split: str, source: str, amount: float, random: np.random.Generator) -> list[str]:
        """Documents in random order, of ``amount`` bytes together or all of them; the last is cut."""
        from windtunnel.kits.text.encoded import text_of

        text, found = text_of(held_out.stream, self.name), []
        for document in random.permutation(len(held_out.stream.lengths(split, source))).tolist():
            if amount < 1:
                break
            found.append(text.text(split, source, document).encode()[: int(amount)].decode(errors="ignore"))
            amount -= held_out.stream.document_bytes(split, source)[document]
        return found
