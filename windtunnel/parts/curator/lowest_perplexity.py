"""A curator that keeps what a model of clean text finds most likely."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import texts_of
from windtunnel.data.corpus.tally import Tally
from windtunnel.kits.text.choice import keep_best
from windtunnel.kits.text.ngrams import NGrams
from windtunnel.slots import Curator, CuratorContext, Source

if TYPE_CHECKING:
    import daft


class LowestPerplexity(Curator, name="lowest-perplexity"):
    """Keep the share of some sources' training text that is likeliest under an n-gram model of a clean sample.

    Wenzek et al. 2019 (CCNet), arXiv:1911.00359; as the second strategy of Guo et al. 2024 (arXiv:2406.14833). Their model is KenLM's
    on subwords; here it is a Witten-Bell smoothed model of words in plain Python (:mod:`windtunnel.kits.text.ngrams`), fitted on the first
    ``sample`` characters of ``clean``, which should be other text than what is judged. Low perplexity also favours what is repetitive:
    compare with ``fraction``. The tokenizer of the recipe is trained on what stays.
    """

    fields = ("text",)
    trial = Trial({"clean": {"files": {"path": "@prose"}}, "keep": 0.5})

    clean: Source = Field(description="text of the quality that is wanted, as a source is written under corpus")
    keep: float = Field(gt=0, le=1, description="share of the characters that stays, best documents first")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")
    order: int = Field(3, ge=1, le=5, description="words that the model looks at, the predicted one included")
    sample: int = Field(2_000_000, ge=1, description="characters of the clean text that the model is fitted on")
    longest: int = Field(2000, ge=1, description="words of a document that are judged, from its beginning")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The documents that stay, in their order, and those without text.

        Raises:
            PartError: where the clean text is empty, and where no document has text.
        """
        model = NGrams(self._clean(), self.order)
        if not model.vocabulary:
            raise PartError("lowest-perplexity: the clean text holds no word; name another source under clean")
        return keep_best(self, documents, self.sources, self.keep, lambda text: model.perplexity(text, self.longest))

    def _clean(self) -> Iterator[str]:
        left = self.sample
        for text in texts_of(self.clean, Tally("clean")):
            if left <= 0:
                return
            yield text[:left]
            left -= len(text)
