"""Begin from a trained model with another tokenizer."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.checkpoint import refuse_other_sizes
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Transplant(Start, name="transplant"):
    """Begin with the weights of a model that was trained with another tokenizer, given the tokens of this stream.

    Tokens that both know, by their text or their role, keep their rows of the embedding and of the head; all other weights stay. Rows
    of new tokens come from ``method``:

    - ``zero``, to be measured and not to be trained: states that begin at zero stay zero in families without biases, and gradients
      grow through every RMSNorm on such states, in deep models beyond float32;
    - ``mean`` of all old rows; ``random``, drawn as the family draws first weights;
    - ``pieces``: the mean of the rows of the old tokens that the new token's text is read as;
    - ``omp``: a ``donor`` trained with the new tokens says of which ``atoms`` shared tokens its own row is a combination, and the same
      combination is made of the old rows (Goddard & Fernandes Neto 2025, arXiv:2506.06607). Head and embedding are two searches of their
      own; special tokens are no atoms. Their k of 64 is for widths in the thousands: keep ``atoms`` well below the width;
    - ``contextual``: the mean of the old model's states over the pieces of the new token where it occurs in the training text
      (Pavlova & Makhlouf 2023, arXiv:2308.08625), scaled to the mean length of old rows. The paper does not say after which layer;
      ``layer`` does, and 0 is ``pieces``. So are the rows of an untied head, and of tokens that do not occur.

    A bias of the head goes with its rows. What a donor or forward passes cost is charged.
    """

    trial = Trial({"source": {"folder": "@other"}})

    other_tokens: ClassVar[bool] = True

    source: Trained = Field(description="the model it begins from, with its own tokenizer")
    method: Literal["zero", "mean", "random", "pieces", "omp", "contextual"] = Field(
        "pieces", description="where rows of new tokens come from"
    )
    donor: Trained | None = Field(None, description="a model trained with the new tokens, for omp")
    atoms: int = Field(16, ge=1, description="most shared tokens that make up a new one, for omp")
    layer: int | None = Field(None, ge=0, description="the layer whose states are taken, for contextual (default: the last)")
    occurrences: int = Field(32, ge=1, description="most occurrences of a new token that are averaged, for contextual")
    tokens: int = Field(131072, ge=1, description="most tokens of training text that the old model reads, for contextual")

    @model_validator(mode="after")
    def _donor_where_it_is_used(self) -> Transplant:
        if (self.method == "omp") != (self.donor is not None):
            raise ValueError("a donor is needed by method omp and used by no other")
        return self

    def origin(self) -> str | None:
        """The model in a folder; its tokenizer, where the recipe describes none, may be extended."""
        return self.source.folder

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network like ``source`` with a row for every token of the stream.

        Raises:
            PartError: where sizes differ in more than the vocabulary, a tokenizer is missing, or there is nothing to change.
        """
        import torch

        from windtunnel.kits.text.encoded import tokenizer_of
        from windtunnel.kits.weights.embeddings import shared, spellings, tables_of
        from windtunnel.kits.weights.grow import grown_config
        from windtunnel.models.init import fresh, hollow

        with torch.no_grad():
            source, old, new = context.models["source"], context.processors.get("source"), tokenizer_of(context.stream)
            if old is None or new is None:
                raise PartError("transplant: the tokenizer of the model it begins from, or that of the stream, is not known")
            refuse_other_sizes(source.config, config, "transplant")
            rows, asked = len(tables_of(source)["embedding"]), copy.deepcopy(config)
            if context.rows is not None:
                asked.vocab_size = context.rows  # none for special tokens that nobody uses
            same = shared(new, old, rows, asked.vocab_size)
            if len(same) == rows and torch.equal(same, torch.arange(rows)):
                raise PartError("transplant: both tokenizers number every token alike, so there is nothing to change; use `trained`")
            known = same >= 0
            fresh_ones = torch.tensor(
                [number for number in sorted(spellings(new)) if number < len(known) and not known[number]], dtype=torch.int64
            )
            weights = source.state_dict()
            there = copy.deepcopy(source.config)
            there.vocab_size = rows + 1
            own = {name for name, weight in hollow(there).named_parameters() if weight.shape != weights[name].shape}
            grown_as = grown_config(source.config, asked, {"rows"})
            grown = fresh(grown_as, seed, lambda name, _: None if name in own else weights.get(name))
            for name in own:
                grown.get_parameter(name)[known] = weights[name][same[known]]
            made, told = self.rows(source, new, old, same, fresh_ones, config, context)
            for kind, rows_made in made.items():
                tables_of(grown)[kind][fresh_ones] = rows_made.to(torch.float32)
            warnings.warn(
                f"transplant: {int(known.sum())} of {len(known)} tokens keep their rows, {len(fresh_ones)} are new ({self.method}){told}",
                stacklevel=2,
            )
            return grown

    def rows(
        self, source: PreTrainedModel, new: Any, old: Any, same: Tensor, fresh_ones: Tensor, config: Any, context: StartContext
    ) -> tuple[dict[str, Tensor], str]:
        """The rows of the new tokens ``fresh_ones`` for each table (none: drawn), and what more there is to tell."""
        import torch

        from windtunnel.kits.text.encoded import text_of
        from windtunnel.kits.weights.embeddings import Mix, contextual, pieces, spellings, tables_of

        tables, numbers = tables_of(source), fresh_ones.tolist()
        if self.method == "random" or not numbers:
            return {}, ""
        if self.method == "zero":
            return {kind: torch.zeros(len(numbers), *table.shape[1:]) for kind, table in tables.items()}, ""
        ordinary = torch.tensor(
            [number for number, text in spellings(old).items() if text is not None and number < len(tables["embedding"])]
        )
        means = {kind: table[ordinary].mean(dim=0) for kind, table in tables.items()}
        if self.method == "mean":
            return {kind: mean.expand(len(numbers), *mean.shape) for kind, mean in means.items()}, ""
        if self.method == "omp":
            return self.by_donor(context, tables, same, fresh_ones)
        read = pieces(new, numbers, old, len(tables["embedding"]))
        made = {kind: Mix.mean(read).of(table) for kind, table in tables.items()}
        none = torch.tensor([not piece for piece in read])
        for kind, mean in means.items():  # special tokens have no text to take pieces of
            made[kind][none] = mean
        told = f"; {int(none.sum())} of them have no pieces and get the mean row" if none.any() else ""
        if self.method == "contextual" and self.layer != 0:
            if self.layer is not None and self.layer > source.config.num_hidden_layers:
                raise PartError(f"transplant.layer: the model has {source.config.num_hidden_layers} layers, not {self.layer}")
            states, seen = contextual(
                source,
                old,
                new,
                numbers,
                text_of(context.stream, self.name).training_text(context.sources),
                layer=-1 if self.layer is None else self.layer,
                occurrences=self.occurrences,
                tokens=self.tokens,
                window=getattr(config, "max_position_embeddings", 512),
                counted=context.counted,
            )
            if not seen.any():
                raise PartError("transplant: none of the new tokens occurs in the training text that was read; raise tokens, or use pieces")
            length = tables["embedding"][ordinary].norm(dim=1).mean()
            scaled = states * (length / states.norm(dim=1).clamp(min=1e-12))[:, None]
            made["embedding"][seen > 0] = scaled[seen > 0]
            told += f"; {int((seen == 0).sum())} of them do not occur in the text that was read and get the mean of their pieces"
        return made, told

    def by_donor(self, context: StartContext, tables: dict[str, Tensor], same: Tensor, fresh_ones: Tensor) -> tuple[dict[str, Tensor], str]:
        """As :meth:`rows`, each as the combination that the donor's own row is."""
        import torch

        from windtunnel.kits.text.encoded import tokenizer_of
        from windtunnel.kits.weights.embeddings import pursuit, shared, spellings, tables_of

        giver, new = tables_of(context.models["donor"]), tokenizer_of(context.stream)
        place = shared(new, context.processors["donor"], len(giver["embedding"]), len(same))
        lost = int((place[fresh_ones] < 0).sum())
        if lost:
            raise PartError(f"transplant: the donor does not know {lost} of the new tokens; train it with the tokenizer of this recipe")
        texts = spellings(new)
        ordinary = torch.tensor([texts.get(number) is not None for number in range(len(same))])
        atoms = ((same >= 0) & (place >= 0) & ordinary).nonzero()[:, 0]
        if not len(atoms):
            raise PartError("transplant: the two tokenizers share no ordinary token that new rows could be made of")
        made: dict[str, Tensor] = {}
        for kind in ("embedding", "head"):
            if kind in tables:
                table = giver.get(kind, giver["embedding"])  # a donor whose head is its embedding serves both
                mix = pursuit(table[place[fresh_ones]], table[place[atoms]], self.atoms, same[atoms])
                made[kind] = mix.of(tables[kind])
        if "bias" in tables:
            made["bias"] = mix.of(tables["bias"])
        return made, f", each of at most {min(self.atoms, len(atoms))} of {len(atoms)} shared tokens"
