"""A curator that keeps documents by how well a small trained model predicts them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.text.choice import digest, keep_scored
from windtunnel.slots import Curator, CuratorContext

if TYPE_CHECKING:
    import daft


class Perplexity(Curator, name="perplexity"):
    """Keep the share of some sources' training text that a small trained model finds least, most or middlingly perplexing.

    Ankner et al. 2024, "Perplexed by Perplexity", arXiv:2405.20541: a reference model much smaller than the one that is trained scores
    every document, and documents of low, middle or high perplexity stay; which is best differs by corpus. Marion et al. 2023,
    arXiv:2309.04564, found the middle best. The reference model is a recipe: it is trained first, on the corpus without this curator,
    from which the papers hold out what it learns from; here it has seen what it judges, so train it for less than an epoch. Its training
    and its forward passes are charged to every run on the corpus. A document is judged by its first ``tokens`` tokens. The middle is that
    of the characters in order of perplexity.
    """

    fields = ("text",)
    trial = Trial({"model": {"folder": "@model"}, "keep": 0.5})

    model: Trained = Field(description="the model that judges: a causal one")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays")
    which: Literal["lowest", "middle", "highest"] = Field("middle", description="of which perplexity the documents are that stay")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")
    tokens: int = Field(128, ge=2, description="tokens of a document that are judged, from its beginning")
    batch: int = Field(32, ge=1, description="documents in one forward pass")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents that stay, unchanged and in their order.

        Raises:
            PartError: where the model is not causal or has no tokenizer, and for a source that is not there.
        """
        from windtunnel.models.init import family_of

        if context.processors["model"] is None:
            raise PartError("perplexity: no tokenizer lies beside the model, so it cannot read documents")
        if family_of(context.models["model"].config).kind != "decoder":
            raise PartError("perplexity: a document has a perplexity only under a causal model; this one is none")
        return keep_scored(self, documents, self.sources, self.keep, lambda texts: self._scores(texts, context), self.which)

    def _scores(self, texts: Iterator[str], context: CuratorContext) -> Iterator[float]:
        from windtunnel.kits.text.tokenizer import describe, encoder

        tokenizer = context.processors["model"]
        separator, backend = describe(tokenizer, sentinels=0).document, encoder(tokenizer)
        while batch := list(itertools.islice(texts, self.batch)):
            name = digest("\0".join(batch)).hex()

            def judged(batch: list[str] = batch) -> list[float]:
                cut = [text[: 64 * self.tokens] for text in batch]  # more than any of so many tokens stands for
                encoded = backend.encode_batch(cut, add_special_tokens=False)
                numbers = [[separator, *one.ids][: self.tokens + 1] for one in encoded]
                with context.counted(sum(map(len, numbers))):
                    return mean_losses(context.models["model"], numbers)

            yield from context.once(name, judged)


def mean_losses(model: Any, numbers: list[list[int]]) -> list[float]:
    """The mean loss in nats of each sequence of token numbers but its first, which is not predicted; sequences of one token have none."""
    from windtunnel.kits.text.judged import token_losses

    losses, counts = token_losses(model, numbers)
    found: list[float] = (losses.sum(dim=1) / counts.clamp(min=1)).tolist()
    return found
