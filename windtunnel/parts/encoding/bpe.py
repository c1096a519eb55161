"""Text as tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, model_validator

from windtunnel.core.errors import UserError
from windtunnel.core.part import HeldRecipe
from windtunnel.core.settings import Many
from windtunnel.data.corpus.written import TemplateText
from windtunnel.kits.text.vocabulary import LEARNT, Vocabulary
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted

if TYPE_CHECKING:
    import numpy as np

    from windtunnel.recipe import Recipe


# By one of these a folder is known to hold a tokenizer.
BESIDE = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model")


class Bpe(Encoding, name="bpe"):
    """Text as tokens: of a byte-level BPE that is trained on the training split, of the tokenizer in a folder, or of another recipe's.

    ``tokenizer: {vocabulary: 512}`` is the short form of ``encoding: {bpe: {vocabulary: 512}}``.

    Parts that hold a recipe (:class:`~windtunnel.core.part.Trained`) may hold one of another tokenizer only where they can carry weights
    over to other tokens (the start ``transplant``), or where both come out the same.

    Sennrich et al. 2016, arXiv:1508.07909, over bytes as in Radford et al. 2019 (GPT-2).
    """

    unit: ClassVar[str] = "token"
    ahead: ClassVar[int] = 1  # each token but the first is a label
    least: ClassVar[int] = 8
    evaluation: ClassVar[str] = "bits-per-byte"

    folder: str | None = Field(
        None, description="folder of a tokenizer that AutoTokenizer loads (default: train one)", examples=["~/models/mine"]
    )
    recipe: HeldRecipe | None = Field(
        None,
        description="the recipe whose tokenizer is taken, by its name under recipes or as what differs; nothing is trained for it",
        examples=["small"],
    )
    vocabulary: int = Field(
        4096, ge=400, le=10_000_000, description="size of the trained vocabulary, special tokens included", examples=[1024]
    )
    sources: Many[str] | None = Field(
        None, description="the corpus sources that tokens are learnt from (default: all)", examples=[["notes"]]
    )
    extend: int = Field(
        0, ge=0, description="how many tokens are added to those of `folder` or `recipe`, learnt from the corpus", examples=[256]
    )
    sentinels: int = Field(64, ge=0, description="span sentinels kept in the vocabulary, for span corruption", examples=[0])
    metadata: TemplateText | None = Field(
        None,
        description='what is kept beside each document for objectives that show it, such as "{origin}\\n\\n"; {source} is the source',
        examples=["{origin}"],
    )
    metadata_tokens: int = Field(16, ge=1, description="most tokens of it; longer metadata is cut", examples=[8])

    @model_validator(mode="after")
    def _from_one_place(self) -> Bpe:
        if self.folder is not None and self.recipe is not None:
            raise ValueError("a tokenizer comes from folder or from recipe, not from both")
        return self

    def refuse_incomplete(self) -> None:
        """As for every encoding."""
        if self.extend and self.folder is None and self.recipe is None:
            raise UserError("extend adds to the tokenizer of a `folder` or of a `recipe`; for one trained here raise vocabulary")

    def completed_from(self, folder: Path, rows: int) -> Bpe:
        """The tokenizer beside the model, if there is one, unless one is described: by its folder, a recipe or the size of a new one."""
        described = {"folder", "recipe", "vocabulary"} & self.model_fields_set
        if described or not any((folder / file).is_file() for file in BESIDE):
            return self
        own = {key: getattr(self, key) for key in self.model_fields_set}
        return Bpe.model_validate({"folder": str(folder), "vocabulary": max(400, rows), **own})

    def looks_at(self) -> tuple[str, ...]:
        """As for every part."""
        return self.sources or ()

    def before(self) -> Recipe | None:
        """As for every encoding."""
        return self.recipe

    def folders(self) -> dict[str, str]:
        """As for every encoding."""
        return {} if self.folder is None else {"folder": self.folder}

    def follows_curators(self) -> str:
        """As for every encoding."""
        if self.folder is not None or self.recipe is not None:
            return ""
        return f"{LEARNT}; `tokenizer: {{recipe: NAME}}`, with a name under `recipes`, gives all arms the same"

    def differs(self) -> str:
        """As for every encoding."""
        return "another tokenizer. Bits per byte compare across tokenizers; losses per token do not."

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        from windtunnel.kits.text.tokenise import signature

        return signature(corpus, **self._asked(before))

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """As for every encoding."""
        from windtunnel.kits.text.tokenise import fit

        return fit(corpus, folder, **self._asked(before), tell=tell)

    def _asked(self, before: Any) -> dict[str, Any]:
        folder = self.folder if before is None else before.folder / "tokenizer"
        return {
            "given": None if folder is None else Path(folder).expanduser(),
            "vocabulary": self.vocabulary,
            "sentinels": self.sentinels,
            "extend": self.extend,
            "learn_from": self.sources,
            "metadata": None if self.metadata is None else (self.metadata, self.metadata_tokens),
        }

    def reckoned(self) -> Vocabulary:
        """A vocabulary of the size that it will have. How many sentinels a tokenizer of the user's has is not known before it is read."""
        import numpy as np

        count = self._size()
        size = np.ones(count, np.int32)
        spans = tuple(range(3, count if self.folder else 3 + self.sentinels))
        return Vocabulary(count, 0, 1, 2, spans, dict.fromkeys("RSX", 0), size, size.astype(bool))

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row = np.zeros((1, context + 1), np.int64)
        text = row + self._size() - 1
        beside = {} if self.metadata is None else {"metadata": np.repeat(text[..., None], self.metadata_tokens, axis=2)}
        return {"tokens": text, **beside, "documents": row, "positions": np.arange(context + 1)[None], "sources": row[0, :1]}

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Vocabulary:
        """Its size, special tokens, and for each token its bytes and whether it begins a word."""
        return Vocabulary(**{**stored, "spans": tuple(stored["spans"])})

    @classmethod
    def about(cls, facts: Vocabulary) -> dict[str, int]:
        """How many tokens there are."""
        return {"vocabulary": facts.size}

    @classmethod
    def rows(cls, facts: Vocabulary, special: Collection[str]) -> int:
        """As for every encoding."""
        return facts.rows_needed(special)

    @classmethod
    def same_numbers(cls, one: Any, other: Any) -> bool:
        """As for every encoding."""
        from windtunnel.kits.text.encoded import text_of

        return text_of(one, cls.name).same_tokens(text_of(other, cls.name))

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 2) -> list[dict[str, Any]]:
        """What it writes: see :func:`windtunnel.kits.text.samples.samples`."""
        from windtunnel.kits.text.samples import samples

        return samples(model, held_out, count=count)

    @classmethod
    def added(cls, stream: Any, special: Collection[str]) -> list[str]:
        """As for every encoding."""
        from windtunnel.kits.text.encoded import text_of

        text = text_of(stream, cls.name)
        return text.added_tokens() if text.tokenizer_for(special) is text.tokenizer else []

    @classmethod
    def processor_in(cls, folder: Path) -> Any:
        """The tokenizer beside a model. Raises UserError where there is none that is fast."""
        from windtunnel.kits.text.tokenizer import load

        return load(folder, sentinels=0)

    @classmethod
    def processor(cls, stream: Any, special: Collection[str] = ()) -> Any:
        """The tokenizer; the folder of one that was given, unless ``special`` tokens are used that were added to it."""
        from windtunnel.kits.text.encoded import text_of

        return text_of(stream, cls.name).tokenizer_for(special)

    def _size(self) -> int:
        """How many tokens there will be, as far as that can be told."""
        size: int = self.vocabulary if self.recipe is None else self.recipe.encoding.reckoned().size
        return size + self.extend
