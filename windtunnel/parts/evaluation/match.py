"""How well a model finds the caption of an image and the image of a caption."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import CLIP, PAIRS
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel

    from windtunnel.slots import Objective

SCALES = tuple(10 ** (step / 16) for step in range(49))  # from 1 to 1000, by which cosines may be multiplied


class Match(Evaluation, name="match"):
    """Bits per pair: the cross entropy of the true partner among the held-out pairs of a gallery, from image to caption and back.

    Every gallery holds ``gallery`` pairs of one source in their stored order, the same for every model; a rest that fills none is left out,
    unless a source has no more. The scale of the scores is not the model's, which training drives above what held-out pairs bear: the
    one is taken that is best on validation. ``recall_1`` and ``recall_10`` are the shares whose partner is the first, or among the first
    ten. Without any knowledge bits would be ``match_zero``, log2 of the pairs in a gallery.
    """

    trial = Trial({"gallery": 8}, model=CLIP, beside={**PAIRS, "evaluations": []})

    unit: ClassVar[str] = "bits per pair"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "match"
    by_objective: ClassVar[bool] = False

    gallery: int = Field(256, ge=2, description="pairs among which the partner is looked for")

    def measures(self, objective: Objective) -> bool:
        """One that reads captions."""
        return "caption" in objective.fields

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The numbers over all sources, then bits by source.

        Raises:
            PartError: where documents are no pairs, the model has no tower for captions, or a source holds one pair.
        """
        import numpy as np

        from windtunnel.kits.image.pairs import pairs_of
        from windtunnel.models.init import family_of

        pairs_of(held_out.facts, self.name)
        if family_of(model.config).kind != "image-text":
            raise PartError("match: needs a model of images and captions, such as clip")
        fitted = self._galleries(model, held_out, "validation")
        if not fitted:
            raise PartError("match: validation holds no two pairs of a source, by which the scale is chosen; hold out more for validation")
        judged = fitted if held_out.split == "validation" else self._galleries(model, held_out, held_out.split)
        cosines = [one for galleries in fitted.values() for one in galleries]
        scale = min(SCALES, key=lambda scale: sum(float(_bits(each, scale).sum()) for each in cosines))
        by_source = {source: np.concatenate([_bits(each, scale) for each in galleries]) for source, galleries in judged.items()}
        ranks = np.concatenate([_ranks(each) for galleries in judged.values() for each in galleries])
        sizes = [len(each) for galleries in judged.values() for each in galleries]
        zero = sum(size * math.log2(size) for size in sizes) / sum(sizes)
        found = {
            "match": float(np.concatenate(list(by_source.values())).mean()),
            "recall_1": float((ranks < 1).mean()),
            "recall_10": float((ranks < 10).mean()),
            "match_zero": zero,
        }
        return found | {f"match/{source}": float(bits.mean()) for source, bits in by_source.items()}

    def _galleries(self, model: PreTrainedModel, held_out: HeldOut, split: str) -> dict[str, list[np.ndarray]]:
        """The cosines [images, captions] of every gallery of each source of ``split``."""
        import numpy as np

        found: dict[str, list[np.ndarray]] = {}
        sizes = held_out.stream.sizes(split)
        for source in held_out.sources:
            if sizes[source] < 2:
                if split == held_out.split:
                    raise PartError(f"match: source {source!r} has {sizes[source]} held-out pair, and none to tell it from; hold out more")
                continue
            images, texts = (np.concatenate(parts) for parts in zip(*self._vectors(model, held_out, split, source), strict=True))
            size = min(self.gallery, len(images))
            begins = range(0, len(images) - size + 1, size)
            found[source] = [images[begin : begin + size] @ texts[begin : begin + size].T for begin in begins]
        return found

    def _vectors(self, model: PreTrainedModel, held_out: HeldOut, split: str, source: str) -> Any:
        """Vectors of length 1 of images and of captions, float64 [pairs, width] each, a batch at a time."""
        import numpy as np
        import torch

        from windtunnel.data.held_out import entered
        from windtunnel.data.loader import Loader
        from windtunnel.kits.image.patches import to_patches
        from windtunnel.models.forward import forward
        from windtunnel.models.init import family_of

        patch = family_of(model.config).patch  # type: ignore[attr-defined]
        for rows in Loader(held_out.stream, split=split, context=held_out.context, sequences=16).fixed(source):
            real = rows["documents"] >= 0
            pixels = np.ascontiguousarray(to_patches(held_out.facts.scaled(rows["pixels"][real]), patch))
            captions = torch.from_numpy(rows["caption"][real].astype(np.int64)).to(held_out.device)
            with torch.no_grad(), entered(held_out.precision):
                outputs = forward(model, pixels=torch.from_numpy(pixels).to(held_out.device), captions=captions)
            both = (outputs.image_embeds, outputs.text_embeds)
            yield tuple(torch.nn.functional.normalize(vectors.double(), dim=-1).cpu().numpy() for vectors in both)


def _bits(cosines: np.ndarray, scale: float) -> np.ndarray:
    """The mean over both directions of the bits that the partner of each pair costs: [pairs]."""
    import numpy as np

    found = np.zeros(len(cosines))
    for scores in (scale * cosines, scale * cosines.T):
        most = scores.max(axis=1)
        found += (np.log(np.exp(scores - most[:, None]).sum(axis=1)) + most - np.diag(scores)) / math.log(2)
    return found / 2


def _ranks(cosines: np.ndarray) -> np.ndarray:
    """How many others are at least as near as the partner, of every image and every caption: [2 pairs]."""
    import numpy as np

    return np.concatenate([(each >= np.diag(each)[:, None]).sum(axis=1) - 1 for each in (cosines, cosines.T)])
