"""Images as pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial, without
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import Encoding, Source
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.image.pixels import Images

FILES = ("image-folder", "image-captions")  # sources that bring image files to a size of their own


class Pixels(Encoding, name="pixels"):
    """Images of one size as pixels, an image a unit, with their labels beside them where they have some.

    Images are decoded once, when the stream is prepared; augmentations belong to objectives. Mean and deviation of the channels are those
    of the training images. Objectives that learn without labels never see ``label``. Held-out images whose label no training image has
    cannot be told and do not count, which is said.
    """

    trial = Trial(model={"family": "vit"}, beside=without(DIGITS, "encoding"))

    unit: ClassVar[str] = "image"
    evaluation: ClassVar[str] = "probe"

    image: str = Field("image", description="the field of a document that holds its image")
    label: str = Field("label", description="the field that holds its label, a whole number from 0; images without one have no label")
    size: int = Field(8, ge=1, description="pixels on a side; image files are brought to it, rows of pixels of another size are refused")
    channels: int = Field(1, description="1: grey, 3: colour")

    def notes(self, sources: Mapping[str, Source]) -> list[str]:
        """Which sources make image files smaller than they are read here."""
        small = {
            name: source for name, source in sources.items() if source.name in FILES and getattr(source, "size", self.size) < self.size
        }
        return [
            f"Images of {name} are brought to {getattr(source, 'size', 0)} pixels on a side by {source.name} and then enlarged to "
            f"{self.size}, which shows no more of them; let its size be {self.size}, that of the encoding."
            for name, source in small.items()
        ]

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {"image": self.image, "label": self.label, "size": self.size, "channels": self.channels}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding.

        Raises:
            UserError: for a source without images, images of another shape, or labels that are no whole numbers from 0.
        """
        import numpy as np

        tell("measuring the training images")
        shades, count = np.zeros((self.channels, 256), np.int64), 0  # how many pixels have each value: sums of them are exact
        known = set[int]()
        for source in corpus.sources:
            for images, labels in self._read(corpus, "train", source):
                shades += [np.bincount(channel.ravel(), minlength=256) for channel in images.swapaxes(0, 1)]
                count += len(images)
                known.update(labels[labels >= 0].tolist())
        share, values = shades / max(count * self.size**2, 1), np.arange(256) / 255
        mean = share @ values
        deviation = np.sqrt(np.maximum(share @ values**2 - mean**2, 1e-8))
        shape = (self.channels, self.size, self.size)
        return Fitted(
            fields={"pixels": Kind("|u1", shape), "label": Kind("<i8", fill=-1, along="document")},
            facts={
                "size": self.size,
                "channels": self.channels,
                "mean": mean.astype("<f4"),
                "deviation": deviation.astype("<f4"),
                "classes": max(known, default=-1) + 1,
            },
            encode=lambda split, source: self._encode(corpus, split, source, known, tell),
        )

    def _encode(self, corpus: Any, split: str, source: str, known: set[int], tell: Callable[[str], None]) -> Iterator[Piece]:
        import numpy as np

        count = strange = 0
        for images, labels in self._read(corpus, split, source):
            new = (labels >= 0) & ~np.isin(labels, sorted(known)) & bool(known)
            count, strange = count + len(images), strange + int(new.sum())
            for image, label in zip(images, np.where(new, -1, labels), strict=True):
                yield Piece({"pixels": image[None], "label": label[None]}, image.nbytes, True)
        if strange:
            tell(
                f"{strange:,} of {count:,} {split} images of {source} have a label that no training image has; "
                "they cannot be told and do not count"
            )

    def _read(self, corpus: Any, split: str, source: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images uint8 [N, channels, size, size] and labels int64 [N] (-1: none) of one source, in batches."""
        import numpy as np

        from windtunnel.kits.image.pixels import pixels_of

        known = corpus.schema(source).names
        columns = [self.image, *([self.label] if self.label in known else [])]
        asked = (self.channels, self.size, self.size)
        for batch in corpus.rows(split, source, columns):
            images = pixels_of(batch.column(0), f"{source}.{self.image}", self.size, self.channels)
            odd = next((image.shape for image in images if image.shape != asked), None)
            if odd is not None:
                channels, height, width = odd
                raise UserError(
                    f"encoding.pixels: source {source!r} has an image of {height} x {width} pixels and {channels} channels, "
                    f"the recipe says size: {self.size}, channels: {self.channels}"
                )
            labels = np.full(len(images), -1, np.int64)
            if len(columns) == 2:
                values = [-1 if value is None else value for value in batch.column(1).to_pylist()]
                if not all(isinstance(value, int) and value >= -1 for value in values):
                    raise UserError(f"encoding.pixels: {source}.{self.label}: a label is a whole number from 0")
                labels[:] = values
            if len(images):
                yield np.stack(images), labels

    def reckoned(self) -> Images:
        """As for every encoding; mean and deviation are not known before images are read."""
        import numpy as np

        return self.facts({**self.signature(None), "mean": np.zeros(self.channels), "deviation": np.ones(self.channels), "classes": 0})

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row = np.zeros((1, context), np.int64)
        pixels = np.zeros((1, context, self.channels, self.size, self.size), np.uint8)
        return {"pixels": pixels, "label": row, "documents": np.arange(context)[None], "positions": row, "sources": row[0, :1]}

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Images:
        """Size, channels, and what the training images are like."""
        from windtunnel.kits.image.pixels import Images

        return Images(**{key: stored[key] for key in Images._fields})

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Images with what it draws of them or names them: see :func:`windtunnel.kits.image.samples.samples`."""
        from windtunnel.kits.image.samples import samples

        return samples(model, held_out, count)

    @classmethod
    def about(cls, facts: Images) -> dict[str, int]:
        """Pixels on a side, channels and classes."""
        return {"pixels on a side": facts.size, "channels": facts.channels, "classes": facts.classes}
