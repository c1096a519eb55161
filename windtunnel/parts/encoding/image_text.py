"""Pairs of an image and its caption."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial, without
from windtunnel.kits.text.vocabulary import LEARNT
from windtunnel.kits.trials import CLIP, PAIRS
from windtunnel.parts.encoding.pixels import Pixels
from windtunnel.slots import Encoding, Source
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.image.pairs import Pairs, Processor

IMAGE = "image_"  # before the names of the facts of images: a vocabulary has a size too


class ImageText(Encoding, name="image-text"):
    """Pairs of an image and its caption, a pair a unit: pixels, and tokens of a byte-level BPE that is trained on training captions.

    The caption of a document is its ``text``. It is the caption's tokens, then the token that separates documents as its end, then
    padding: CLIP reads a caption off its end. Longer captions are cut to ``length`` tokens, and how many were is said. Images are treated
    as ``pixels`` treats them.
    """

    trial = Trial({"size": 8, "vocabulary": 400, "length": 12}, model=CLIP, beside=without(PAIRS, "encoding"))

    unit: ClassVar[str] = "pair"
    evaluation: ClassVar[str] = "match"

    image: str = Field("image", description="the field of a document that holds its image")
    label: str = Field("label", description="the field that holds its label, a whole number from 0; pairs without one have no label")
    size: int = Field(32, ge=1, description="pixels on a side; image files are brought to it, rows of pixels of another size are refused")
    channels: int = Field(3, description="1: grey, 3: colour")
    vocabulary: int = Field(1024, ge=400, le=10_000_000, description="size of the trained vocabulary, special tokens included")
    length: int = Field(24, ge=2, description="tokens of a caption, its end included")

    def differs(self) -> str:
        """As for every encoding."""
        return "another encoding. Bits per pair compare where the gallery has the same pairs."

    def follows_curators(self) -> str:
        """As for every encoding."""
        return LEARNT

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        from windtunnel.kits.text.tokenise import signature

        text = signature(corpus, given=None, vocabulary=self.vocabulary, sentinels=0, extend=0, learn_from=None)
        return {**text, "images": self._images().signature(corpus), "length": self.length}

    def notes(self, sources: Mapping[str, Source]) -> list[str]:
        """As ``pixels``."""
        return self._images().notes(sources)

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding.

        Raises:
            UserError: as ``pixels``, and where documents have no text.
        """
        from windtunnel.kits.text.tokenise import fit

        text = fit(corpus, folder, given=None, vocabulary=self.vocabulary, sentinels=0, extend=0, learn_from=None, tell=tell)
        images = self._images().fit(corpus, folder, before, tell)
        facts = {**{f"{IMAGE}{name}": value for name, value in images.facts.items()}, **text.facts, "length": self.length}
        tokens = Kind("<i4", (self.length,))
        return Fitted(
            fields={"pixels": images.fields["pixels"], "caption": tokens, "label": images.fields["label"]},
            facts=facts,
            encode=lambda split, source: self._encode(images.encode(split, source), text.encode(split, source), self.facts(facts), tell),
        )

    def _encode(self, images: Iterator[Piece], texts: Iterator[Piece], facts: Pairs, tell: Callable[[str], None]) -> Iterator[Piece]:
        import numpy as np

        cut = 0
        for piece in images:
            parts, size = [], 0  # the caption's alone, which is what the bytes of a document with text are
            for part in texts:
                parts.append(part.arrays["tokens"])
                size += part.size
                if part.ends:
                    break
            tokens = np.concatenate(parts)[1:]  # without the separator, which is its end here
            cut += len(tokens) >= facts.length
            yield Piece({**piece.arrays, "caption": facts.caption(tokens)[None]}, size, True)
        if cut:
            tell(f"{cut:,} captions are longer than {facts.length - 1} tokens and were cut; raise encoding.length to keep them whole")

    def _images(self) -> Pixels:
        return Pixels(image=self.image, label=self.label, size=self.size, channels=self.channels)

    def reckoned(self) -> Pairs:
        """As for every encoding."""
        from windtunnel.kits.image.pairs import Pairs
        from windtunnel.parts.encoding.bpe import Bpe

        return Pairs(self._images().reckoned(), Bpe(vocabulary=self.vocabulary, sentinels=0).reckoned(), self.length)

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        caption = self.reckoned().caption(np.full(self.length, self.vocabulary - 1))
        return {**self._images().example(context), "caption": np.tile(caption, (1, context, 1))}

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Pairs:
        """What is known of the images, of the tokens, and how long captions are."""
        from windtunnel.kits.image.pairs import Pairs
        from windtunnel.parts.encoding.bpe import Bpe

        images = {name.removeprefix(IMAGE): value for name, value in stored.items() if name.startswith(IMAGE)}
        text = {name: value for name, value in stored.items() if not name.startswith(IMAGE) and name != "length"}
        return Pairs(Pixels.facts(images), Bpe.facts(text), int(stored["length"]))

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 4) -> list[dict[str, Any]]:
        """Images with the nearest caption: see :func:`windtunnel.kits.image.samples.captioned`."""
        from windtunnel.kits.image.samples import captioned

        return captioned(model, held_out, count, cls.processor(held_out.stream).tokenizer)

    @classmethod
    def about(cls, facts: Pairs) -> dict[str, int]:
        """Pixels on a side, channels, classes, tokens of a caption, and how many there are to choose from."""
        return {**Pixels.about(facts.images), "tokens of a caption": facts.length, "vocabulary": facts.text.size}

    @classmethod
    def processor_in(cls, folder: Path) -> Processor:
        """The tokenizer and what is done to images, as they lie beside a model."""
        from windtunnel.kits.image.pairs import Processor

        return Processor.load(folder)

    @classmethod
    def processor(cls, stream: Any, special: Collection[str] = ()) -> Processor:
        """The tokenizer and what is done to images."""
        from windtunnel.kits.image.pairs import Processor
        from windtunnel.kits.text.tokenizer import load

        stream.check_tokenizer()
        return Processor(load(stream.folder / "tokenizer", sentinels=0), stream.facts)
