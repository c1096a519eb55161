"""Begin from a model that is there already."""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.models.locate import locate
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Checkpoint(Start, name="checkpoint"):
    """Begin with the weights of a model in the Hugging Face format (safetensors or pickles, whole or in shards) or in GGUF.

    For continued pre-training. The recipe's ``model`` and ``tokenizer`` are as the model's own unless they are written, and what is
    written has to agree. What a recipe does not know (size of a head, base and scaling of the rotation, epsilon of the norms) is as the
    model's configuration says. A run's own folder is understood too. A GGUF file is converted once, exactly (its blocks of few bits
    become float32), and kept under ``~/.cache/windtunnel/models``.

    Special tokens that the model's tokenizer lacks (a mask, sentinels, mode tokens) get rows only if a part of the recipe uses them;
    new rows are the mean of the old ones.
    """

    local = ""

    trial = Trial({"model": "@model"})

    model: str = Field(
        min_length=1, description="folder, file (.safetensors, .bin, .pt, .gguf), `package:NAME/FILE`, or `owner/name` on the hub"
    )
    fingerprint: str | None = Field(None, description="what the content of the model must be; filled in when it is first opened")

    def origin(self) -> str:
        """The model."""
        return self.model

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """The model.

        Raises:
            PartError: naming what is missing, damaged, not finite, or different from what the recipe or the stream's tokenizer say.
        """
        from windtunnel.models.load import load
        from windtunnel.models.sizes import rows_of

        who = f"checkpoint {self.model}"
        try:
            folder = locate(self.model)
            model = load(folder, self.fingerprint)
        except PartError as error:
            raise PartError(f"start.checkpoint: {error}") from error
        refuse_other(folder, model.config, config, context, who)
        return with_rows(model, rows_of(config), context, who)

    def by_weight(self, config: Any, context: StartContext = ALONE) -> tuple[PreTrainedModel, Iterator[tuple[str, torch.Tensor]]] | None:
        """The model's outline and its weights, where its files hold them by its own names and no row has to be added.

        Raises:
            PartError: as :meth:`build`.
        """
        from windtunnel.models.load import by_weight
        from windtunnel.models.sizes import rows_of

        try:
            folder = locate(self.model)
            found = by_weight(folder, self.fingerprint)
        except PartError as error:
            raise PartError(f"start.checkpoint: {error}") from error
        if found is None:
            return None
        there, here = rows_of(found[0].config), rows_of(config)
        refuse_other(folder, found[0].config, config, context, f"checkpoint {self.model}")
        short = here is not None and there is not None and there < (here if context.rows is None else context.rows)
        return None if short else found


def refuse_other(folder: Path, there: Any, here: Any, context: StartContext, who: str) -> None:
    """Raise PartError where the model in ``folder``, of configuration ``there``, has other sizes than ``here`` or reads other tokens."""
    from windtunnel.kits.text.encoded import tokenizer_of
    from windtunnel.models.sizes import rows_of

    refuse_other_sizes(there, here, who)
    refuse_other_tokens(folder, rows_of(there) or 0, tokenizer_of(context.stream), who)


def refuse_other_sizes(there: Any, here: Any, who: str) -> None:
    """Raise PartError, beginning with ``who``, unless a model of configuration ``there`` is one that configuration ``here`` asks for.

    Vocabularies may differ; :func:`with_rows` sees to them.
    """
    from windtunnel.models.init import family_of
    from windtunnel.models.sizes import sizes_of
    from windtunnel.slots.family import found_in

    found, asked = sizes_of(there), sizes_of(here)
    differ = [f"{key} is {found[key]} there and {asked[key]} in the recipe" for key in found if found[key] != asked[key]]
    if differ:
        written = ", ".join(f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in found.items())
        raise PartError(f"{who}: {'; '.join(differ)}. To use it, write `model: {{{written}}}`")
    for key in ("text_config.vocab_size", "text_config.max_position_embeddings", "vision_config.image_size"):
        one, other = found_in(there, key), found_in(here, key)
        if one is not None and other is not None and one != other:
            raise PartError(f"{who}: {key} is {one} there and {other} here; prepare the corpus as that model reads it")
    positions, needed = (family_of(config).positions(config) for config in (there, here))
    if positions is not None and needed is not None and positions < needed:
        raise PartError(f"{who}: it has learned {positions} positions and the recipe's context needs {needed}")


def refuse_other_tokens(folder: Path, rows: int, tokenizer: Any, who: str) -> None:
    """Raise PartError where the tokenizer beside a model gives a number below ``rows`` to another token than ``tokenizer`` does."""
    file = folder / "tokenizer.json"
    if tokenizer is None or not file.is_file():
        return  # it cannot be told
    whole = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = whole["model"]["vocab"]
    theirs = {number: token for token, number in vocabulary.items()} if isinstance(vocabulary, dict) else dict(enumerate(vocabulary))
    theirs = {number: token if isinstance(token, str) else token[0] for number, token in theirs.items()}  # unigrams have a score each
    theirs |= {entry["id"]: entry["content"] for entry in whole["added_tokens"]}
    ours = {number: token for token, number in tokenizer.get_vocab().items()}
    differ = sorted(number for number in theirs.keys() & ours.keys() if number < rows and theirs[number] != ours[number])
    if differ:
        first = differ[0]
        raise PartError(
            f"{who}: token {first} is {theirs[first]!r} for the model and {ours[first]!r} in the stream, and {len(differ)} in all differ; "
            f"prepare the corpus with the tokenizer of that model (`tokenizer: {{folder: {folder}}}`)"
        )


def with_rows(model: PreTrainedModel, size: int | None, context: StartContext, who: str) -> PreTrainedModel:
    """``model`` with a row for every token that the run feeds to it; those for special tokens that it lacks are the mean of all others.

    ``size`` is that of the stream's vocabulary (None: nothing is looked up). An embedding with more rows than tokens stays as it is.

    Raises:
        PartError: where ordinary tokens of the stream have no row.
    """
    import torch

    from windtunnel.kits.text.encoded import tokenizer_of
    from windtunnel.models.init import fresh
    from windtunnel.models.save import set_generation, written_generation

    if size is None:
        return model
    with torch.no_grad():
        there, needed = model.config.vocab_size, size if context.rows is None else context.rows
        if there >= needed:
            return model
        tokenizer = tokenizer_of(context.stream)
        special = tokenizer.added_tokens_decoder if tokenizer is not None else {}
        lacking = sorted((number, token) for token, number in tokenizer.get_vocab().items() if number >= there) if special else []
        if not lacking or not all(number in special and special[number].special for number, _ in lacking):
            raise PartError(
                f"{who}: its vocabulary has {there} tokens, the stream's {size}; "
                "prepare the corpus with the tokenizer of that model (`tokenizer: {folder: ...}`)"
            )
        weights, config = model.state_dict(), copy.deepcopy(model.config)
        config.vocab_size = needed

        def rows(name: str, shape: torch.Size) -> torch.Tensor:
            old = weights[name]
            return old if old.shape == shape else torch.cat([old, old.mean(dim=0).expand(shape[0] - len(old), *shape[1:])])

        grown, generation = fresh(config, 0, rows), written_generation(model)
        if generation is not None:
            set_generation(grown, generation)
        # As much is true of transformers' resize_token_embeddings (findings/resized-vocabulary-repeats-one-row.sh), which does not say it.
        equal = "; all hold the same numbers until they are trained, and a structure that leaves them frozen, such as lora, keeps them so"
        names = ", ".join(token for _, token in lacking)
        warnings.warn(f"{who}: {needed - there} rows added for special tokens: {names}{equal if needed - there > 1 else ''}", stacklevel=2)
        return grown
