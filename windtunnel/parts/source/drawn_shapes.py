"""Drawings of shapes with true captions, some of them swapped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.data.corpus.frame import StreamedSource
from windtunnel.data.corpus.tally import Tally

if TYPE_CHECKING:
    import numpy as np

PLACES = {"top left": (0.3, 0.3), "top right": (0.3, 0.7), "bottom left": (0.7, 0.3), "bottom right": (0.7, 0.7), "middle": (0.5, 0.5)}
SIZES = {"small": 0.14, "large": 0.24}


class DrawnShapes(StreamedSource, name="drawn-shapes"):
    """Drawings of one shape each with a caption of its colour, form, size and place: pairs of image and text whose truth is known.

    Where a shape stands and how large it is vary a little, and every pixel has some noise. ``swapped`` exchanges that share of the
    captions with one another, in what is held out too (the curator ``swap-captions`` does so in training documents alone); ``true`` says
    which captions are those of their image. The label is the shape. The same knobs always draw the same documents.

    ``light`` and ``tilt`` draw the same shapes in other conditions: darker, or seen from lower down and so flatter. With sources
    of several conditions a model that was trained in one is asked in the others (as Das et al. 2024, arXiv:2407.20372, do in barns).
    """

    count: int = Field(1000, ge=1, description="how many drawings")
    size: int = Field(16, ge=8, description="pixels on a side")
    swapped: float = Field(0.0, ge=0, le=1, description="share of the captions that are exchanged with one another")
    light: float = Field(1.0, gt=0, le=1, description="what brightness is multiplied by")
    tilt: float = Field(0.0, ge=0, lt=90, description="degrees by which the eye is lowered from above the drawing")
    seed: int = Field(0, ge=0, description="another seed draws others")

    def content_fields(self) -> tuple[str, ...]:
        """Image and caption."""
        return ("image", "text")

    def documents(self, tally: Tally) -> Iterator[dict[str, Any]]:
        """The drawings, one after the other."""
        import numpy as np

        from windtunnel.kits.image.scenes import SHAPES

        random = np.random.default_rng(self.seed)
        drawn = [self._drawn(random) for _ in range(self.count)]
        captions = np.arange(self.count)
        chosen = random.permutation(self.count)[: round(self.swapped * self.count)]
        captions[chosen] = np.roll(chosen, 1)
        for number, (image, caption, shape) in enumerate(drawn):
            own = drawn[captions[number]][1]
            yield {
                "image": image.tolist(),
                "text": own,
                "true": own == caption,
                "label": SHAPES.index(shape),
                "origin": f"drawing {number}",
            }

    def signature(self) -> str:
        """The knobs."""
        seen = [] if (self.light, self.tilt) == (1.0, 0.0) else [self.light, self.tilt]
        return json.dumps([self.count, self.size, self.swapped, self.seed, *seen])

    def _drawn(self, random: np.random.Generator) -> tuple[np.ndarray, str, str]:
        """An image uint8 [size, size, 3], its caption and its shape."""
        import numpy as np

        from windtunnel.kits.image.scenes import COLOURS, SHAPES, insides

        colour, shape, place, size = (str(random.choice(list(kind))) for kind in (COLOURS, SHAPES, PLACES, SIZES))
        down, across = np.array(PLACES[place]) + random.uniform(-0.05, 0.05, 2)
        radius = SIZES[size] * random.uniform(0.9, 1.1)
        y, x = (np.indices((self.size, self.size)) + 0.5) / self.size
        y, x = (y - down) / radius / np.cos(np.radians(self.tilt)), (x - across) / radius
        inside = insides(y, x)[shape]
        image = self.light * np.where(inside[..., None], COLOURS[colour], (235, 235, 235)) + random.normal(0, 8, (self.size, self.size, 3))
        where = "in the middle" if place == "middle" else f"at the {place}"
        return np.clip(image, 0, 255).astype(np.uint8), f"a {size} {colour} {shape} {where}", shape
