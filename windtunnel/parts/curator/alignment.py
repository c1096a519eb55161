"""A curator that keeps pairs whose image and caption a trained model finds alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.data.corpus.frame import engine, streamed
from windtunnel.kits.text.choice import digest, wanted
from windtunnel.slots import Curator, CuratorContext
from windtunnel.slots.curator import ROW

if TYPE_CHECKING:
    import daft


class Alignment(Curator, name="alignment"):
    """Keep the share of some sources' pairs whose image and caption lie nearest for a small model of images and captions.

    Fang et al. 2024, "Data Filtering Networks", arXiv:2309.17425: what makes a good filter is not its accuracy but that the pairs it
    learned from are right. So give the ``scorer`` a corpus of its own, of pairs that can be trusted and are none of those that are judged.
    It is trained first; its training and its forward passes are charged to every run on the corpus. Cosines favour short and general
    captions, whatever filters by them: compare with ``fraction``.
    """

    fields = ("text",)
    trial = Trial(untried="the tiny corpus has no pairs; tests/parts/test_image_text.py flies it")

    scorer: Trained = Field(description="the model that judges, of images and captions")
    keep: float = Field(gt=0, le=1, description="share of the pairs of each source that stays")
    sources: Many[str] = Field((), description="the sources that are judged (default: all)")
    image: str = Field("image", description="the field of a document that holds its image")
    batch: int = Field(64, ge=1, description="pairs in one forward pass")

    def curate(self, documents: daft.DataFrame, context: CuratorContext) -> daft.DataFrame:
        """The pairs that stay, in their order, and documents that are no pairs.

        Raises:
            PartError: where the scorer is no model of pairs, documents have no images or no captions, and for a source that is not there.
        """
        from windtunnel.models.init import family_of

        if context.processors["scorer"] is None or family_of(context.models["scorer"].config).kind != "image-text":
            raise PartError("alignment: the scorer is no model of images and captions, as clip is, with what lies beside one")
        for column in (self.image, "text"):
            if column not in documents.column_names:
                raise PartError(f"alignment: the documents have no {column!r}; their fields are {', '.join(documents.column_names)}")
        daft = engine()
        judged = wanted(self, documents, self.sources) & daft.col(self.image).not_null() & daft.col("text").not_null()
        pairs = streamed(documents.where(judged), (self.image, "text", "source", ROW))
        found: dict[str, list[tuple[float, int]]] = {}
        for score, source, row in self._scores(pairs, context):
            if not math.isfinite(score):
                raise PartError(f"alignment: the score of pair {row} of {source} is {score}; the scorer is of no use")
            found.setdefault(source, []).append((-score, row))
        kept = {row for scored in found.values() for _, row in sorted(scored)[: max(1, round(self.keep * len(scored)))]}
        stays = daft.col(ROW).apply(lambda row: row in kept, return_dtype=daft.DataType.bool())
        return documents.where(~judged | stays)

    def _scores(self, pairs: Iterator[Any], context: CuratorContext) -> Iterator[tuple[float, str, int]]:
        """The cosine of each of ``pairs``, its source and its number."""
        while batch := list(itertools.islice(pairs, self.batch)):
            images, texts, sources, rows = zip(*batch, strict=True)
            name = digest("\0".join([*texts, *map(str, rows)])).hex()

            def judged(images: Any = images, texts: Any = texts) -> list[float]:
                return self._cosines(images, texts, context)

            yield from zip(context.once(name, judged), sources, rows, strict=True)

    def _cosines(self, images: Any, texts: Any, context: CuratorContext) -> list[float]:
        import numpy as np
        import pyarrow
        import torch

        from windtunnel.kits.image.patches import to_patches
        from windtunnel.kits.image.pixels import pixels_of
        from windtunnel.models.forward import forward
        from windtunnel.models.init import family_of

        model, processor = context.models["scorer"], context.processors["scorer"]
        facts, patch = processor.facts, family_of(model.config).patch  # type: ignore[attr-defined]
        pixels = np.stack(pixels_of(pyarrow.array(list(images)), f"alignment: {self.image}", facts.images.size, facts.images.channels))
        cut = torch.from_numpy(np.ascontiguousarray(to_patches(facts.scaled(pixels), patch))).to(model.device)
        captions = torch.from_numpy(processor.captions(list(texts))).to(model.device)
        with context.counted(cut.shape[0] * (cut.shape[1] + captions.shape[1])), torch.no_grad():
            outputs = forward(model, pixels=cut, captions=captions)
        found: list[float] = torch.nn.functional.cosine_similarity(outputs.image_embeds, outputs.text_embeds, dim=-1).tolist()
        return found
