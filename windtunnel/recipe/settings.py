"""How a corpus is split and tokenised."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_serializer, model_validator

from windtunnel.core.settings import Settings


class TokenizerSettings(Settings):
    """A byte-level BPE trained on the training split, the folder of any tokenizer, or the tokenizer of another recipe.

    Parts that hold a recipe (:class:`~windtunnel.core.part.Trained`) may hold one of another tokenizer only where they can carry weights
    over to other tokens (the start ``transplant``), or where both come out the same.
    """

    folder: str | None = Field(None, description="folder of a tokenizer that AutoTokenizer loads (default: train one)")
    recipe: dict[str, Any] | None = Field(
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
    def _from_one_place(self) -> TokenizerSettings:
        if self.folder is not None and self.recipe is not None:
            raise ValueError("a tokenizer comes from folder or from recipe, not from both")
        if self.extend and self.folder is None and self.recipe is None:
            raise ValueError("extend adds to the tokenizer of a `folder` or of a `recipe`; for one trained here raise vocabulary")
        return self

    @model_serializer(mode="wrap")
    def _short(self, dump: Any) -> dict[str, Any]:
        """What came later than the first runs is written only where it is set: the hash of a recipe finds those runs by what they say."""
        later = {"recipe": None, "sources": None, "extend": 0}
        return {key: value for key, value in dump(self).items() if key not in later or value != later[key]}

    def reckoned(self) -> int:
        """How many tokens it will have, as far as that can be told before it is made."""
        from windtunnel.recipe.recipe import Recipe

        inner = self.vocabulary if self.recipe is None else Recipe.model_validate(self.recipe).tokenizer.reckoned()
        return inner + self.extend


class SplitSettings(Settings):
    """How documents are held out and cleaned before anything else happens."""

    validation: float = Field(0.02, gt=0, lt=0.5, description="share of documents for validation")
    test: float = Field(0.05, gt=0, lt=0.5, description="share of documents for test")
    near_duplicates: float = Field(
        0.8, gt=0, le=1, description="estimated Jaccard similarity above which a training document is removed as a copy of a held-out one"
    )
