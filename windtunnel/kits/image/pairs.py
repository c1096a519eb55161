"""Pairs of images and captions: what is known of them, and what belongs beside a model of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import PartError
from windtunnel.kits.image.pixels import Images
from windtunnel.kits.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np

FILE = "preprocessor_config.json"  # where transformers looks for what is done to images


class Pairs(NamedTuple):
    """What is known of the ``images`` and the ``text`` of a stream of pairs, whose captions are ``length`` tokens with their end."""

    images: Images
    text: Vocabulary
    length: int

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return self.images.classes

    def scaled(self, pixels: np.ndarray) -> np.ndarray:
        """As :meth:`Images.scaled`."""
        return self.images.scaled(pixels)

    def caption(self, tokens: np.ndarray) -> np.ndarray:
        """``tokens`` of one caption as a row of ``length``: cut where it is longer, then its end, then padding. int64 [length]."""
        import numpy as np

        row = np.full(self.length, self.text.pad, np.int64)
        kept = tokens[: self.length - 1]
        row[: len(kept)] = kept
        row[len(kept)] = self.text.document
        return row


def pairs_of(facts: Any, who: str) -> Pairs:
    """``facts`` of a stream of pairs. Raises PartError naming ``who`` needs them, where documents are something else."""
    if not isinstance(facts, Pairs):
        raise PartError(f"{who}: needs pairs of images and captions (encoding: image-text)")
    return facts


class Processor:
    """What belongs beside a model of pairs: the tokenizer, and what is done to images and captions, as transformers writes it."""

    def __init__(self, tokenizer: Any, facts: Pairs) -> None:
        self.tokenizer, self.facts = tokenizer, facts

    def save_pretrained(self, folder: Path | str) -> None:
        """Write the tokenizer's files and preprocessor_config.json."""
        images = self.facts.images
        self.tokenizer.save_pretrained(str(folder))
        side = {"height": images.size, "width": images.size}
        settings = {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": images.channels == 3,
            "do_resize": True,
            "resample": 4,  # the mean of the pixels that fall together, as images were read for training
            "size": {"shortest_edge": images.size},
            "do_center_crop": True,
            "crop_size": side,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": images.mean.tolist(),
            "image_std": images.deviation.tolist(),
            "caption_tokens": self.facts.length,
        }
        Path(folder, FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Processor:
        """What :meth:`save_pretrained` wrote. Raises PartError where it is not there."""
        import numpy as np

        from windtunnel.kits.text import tokenizer as tokenizers

        try:
            settings = json.loads((folder / FILE).read_text(encoding="utf-8"))
            size, length = int(settings["crop_size"]["height"]), int(settings["caption_tokens"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise PartError(f"{folder / FILE}: does not say what images and captions a model of pairs reads: {error}") from error
        mean, deviation = (np.array(settings[key], np.float32) for key in ("image_mean", "image_std"))
        tokenizer = tokenizers.load(folder, sentinels=0)
        images = Images(size, len(mean), mean, deviation, 0)
        return cls(tokenizer, Pairs(images, tokenizers.describe(tokenizer, sentinels=0), length))

    def captions(self, texts: list[str]) -> np.ndarray:
        """Captions as the model reads them: int64 [captions, length]."""
        import numpy as np

        numbers = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return np.stack([self.facts.caption(np.array(row, np.int64)) for row in numbers])
