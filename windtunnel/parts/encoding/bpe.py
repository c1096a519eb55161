"""Text as tokens."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from windtunnel.core.part import HeldRecipe
from windtunnel.slots import Encoding, Vocabulary

if TYPE_CHECKING:
    import numpy as np

    from windtunnel.recipe import Recipe


class Bpe(Encoding, name="bpe"):
    """Text as tokens: of a byte-level BPE that is trained on the training split, of the tokenizer in a folder, or of another recipe's.

    ``tokenizer: {vocabulary: 512}`` is the short form of ``encoding: {bpe: {vocabulary: 512}}``.

    Parts that hold a recipe (:class:`~windtunnel.core.part.Trained`) may hold one of another tokenizer only where they can carry weights
    over to other tokens (the start ``transplant``), or where both come out the same.

    Sennrich et al. 2016, arXiv:1508.07909, over bytes as in Radford et al. 2019 (GPT-2).
    """

    unit: ClassVar[str] = "token"

    folder: str | None = Field(None, description="folder of a tokenizer that AutoTokenizer loads (default: train one)")
    recipe: HeldRecipe | None = Field(
        None, description="the recipe whose tokenizer is taken, by its name under recipes or as what differs; nothing is trained for it"
    )
    vocabulary: int = Field(4096, ge=400, description="size of the trained vocabulary, special tokens included")
    sources: tuple[str, ...] | None = Field(None, description="the corpus sources that tokens are learnt from (default: all)")
    extend: int = Field(0, ge=0, description="how many tokens are added to those of `folder` or `recipe`, learnt from the corpus")
    sentinels: int = Field(64, ge=0, description="span sentinels kept in the vocabulary, for span corruption")

    @field_validator("sources", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _from_one_place(self) -> Bpe:
        if self.folder is not None and self.recipe is not None:
            raise ValueError("a tokenizer comes from folder or from recipe, not from both")
        if self.extend and self.folder is None and self.recipe is None:
            raise ValueError("extend adds to the tokenizer of a `folder` or of a `recipe`; for one trained here raise vocabulary")
        return self

    def looks_at(self) -> tuple[str, ...]:
        """As for every part."""
        return self.sources or ()

    def before(self) -> Recipe | None:
        """As for every encoding."""
        return self.recipe

    def folders(self) -> dict[str, str]:
        """As for every encoding."""
        return {} if self.folder is None else {"folder": self.folder}

    def differs(self) -> str:
        """As for every encoding."""
        return "another tokenizer. Bits per byte compare across tokenizers; losses per token do not."

    def prepare(self, corpus: Any, cache: Path, before: Any = None, progress: Callable[[str], None] | None = None) -> Any:
        """As for every encoding."""
        from windtunnel.kits.text.streams import prepare_stream

        return prepare_stream(
            corpus,
            folder=self.folder if before is None else str(before.folder / "tokenizer"),
            vocabulary=self.vocabulary,
            sentinels=self.sentinels,
            extend=self.extend,
            learn_from=self.sources,
            cache=cache,
            progress=progress,
        )

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
        return {"tokens": text, "documents": row, "positions": np.arange(context + 1)[None], "sources": row[0, :1]}

    def _size(self) -> int:
        """How many tokens there will be, as far as that can be told."""
        size: int = self.vocabulary if self.recipe is None else self.recipe.encoding.reckoned().size
        return size + self.extend
