"""Everything that determines one trained model except the seed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest, told
from windtunnel.core.keys import Variant, differing, hashed
from windtunnel.core.settings import Many, Settings, unit
from windtunnel.recipe import section
from windtunnel.recipe.budget import USUAL, Budget
from windtunnel.recipe.phase import Phase, held_checkpoints, part_named
from windtunnel.recipe.settings import SHORT, SplitSettings, long_form, named
from windtunnel.slots import Curator, Encoding, Evaluation, Progress, Source

FORMAT = 2  # raised when the meaning of a stored recipe changes, a default included, so that no run is taken for what it is not


@registry.add_recipe
class Recipe(Settings):
    """Everything that determines one trained model, except the seed."""

    corpus: dict[str, Source] = Field(description="sources by name", examples=[{"notes": "~/notes", "code": "builtin:stdlib"}])
    held_out: dict[str, Source] = Field(
        {}, description="sources that are never trained on, only measured on, by name", examples=[{"target": "questions.jsonl"}]
    )
    budget: Budget = Field(USUAL, description="what a run may spend", examples=[{"tokens": 1e6}])
    encoding: Encoding = Field(
        part_named("bpe"),
        description="how documents become numbers; `tokenizer` is the short form for text",
        examples=[{"bpe": {"vocabulary": 1024}}],
    )
    split: SplitSettings = Field(
        SplitSettings(), description="what is held out for validation and test", examples=[{"validation": 0.1, "test": 0.1}]
    )
    curators: Many[Curator] = Field(
        (), description="what improves the training documents, in order", examples=[["normalise", {"near-duplicates": {"similarity": 0.8}}]]
    )
    evaluations: Many[Evaluation] = Field(
        part_named(("bits-per-byte",)),
        min_length=1,
        description="what is measured; the first number of the first is primary",
        examples=[["bits-per-byte", "cloze"]],
    )
    evaluate_every: float = Field(
        0.2,
        gt=0,
        le=1,
        description="share of the run between two evaluations on validation",
        examples=[0.1],
        json_schema_extra=unit("share of the run"),
    )
    evaluation_tokens: int = Field(
        4096,
        ge=1,
        description="most tokens of each source that an evaluation on validation reads",
        examples=[8192],
        json_schema_extra=unit("tokens of each source"),
    )
    test_tokens: int = Field(
        32768,
        ge=1,
        description="most tokens of each source that the final evaluation on test reads",
        examples=[65536],
        json_schema_extra=unit("tokens of each source"),
    )
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="arithmetic of forward and backward passes (auto: measured at the start)", examples=["float32"]
    )
    compile: Literal["auto", "yes", "no"] = Field(
        "auto", description="whether to torch.compile (auto: when the run is long enough to repay it)", examples=["no"]
    )
    micro_batch: int | None = Field(
        None, ge=1, description="sequences in one forward pass (default: the batch)", examples=[4], json_schema_extra=unit("sequences")
    )
    limits: dict[str, float] = Field(
        {},
        description="by how large a share the loss of a source may rise over the model that the run starts from before training ends",
        examples=[{"notes": 0.01}],
        json_schema_extra=unit("share of the loss"),
    )
    phases: tuple[Phase, ...] = Field(
        description="stretches of training, one after the other; their shares add up to 1",
        examples=[[{"share": 0.2, "model": {"layers": 2}}, {"share": 0.8, "start": {"stack": {"factor": 4}}}]],
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        """As everywhere, but the hint also knows the keys that a file may write once for all its phases."""
        for key in data if isinstance(data, Mapping) else ():
            if key == section.KEY:
                raise _at(key, f"no section is called {data[key]!r}; {nearest(str(data[key]), section.ORDER)}")
            if key not in cls.model_fields:
                hint = nearest(str(key), {*cls.model_fields, *Phase.model_fields, SHORT, section.KEY})
                raise PydanticCustomError("unknown_key", "unknown key {shown}; {hint}", {"key": str(key), "shown": repr(key), "hint": hint})
        return data

    @model_validator(mode="before")
    @classmethod
    def _one_meaning_one_key(cls, data: Any) -> Any:
        return long_form(data) if isinstance(data, Mapping) else data

    @field_validator("corpus", "held_out", mode="before")
    @classmethod
    def _named_sources(cls, value: Any) -> Any:
        return {named(name, "source"): shorthand(source) for name, source in value.items()} if isinstance(value, Mapping) else value

    @field_validator("phases", mode="before")
    @classmethod
    def _a_list_of_mappings(cls, value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or not all(isinstance(phase, (Mapping, Phase)) for phase in value):
            raise ValueError("expected a list of phases, each a mapping of the fields it sets")
        return tuple(value)

    @model_validator(mode="after")
    def _shares_and_sources(self) -> Recipe:
        total = sum(phase.share for phase in self.phases)
        if abs(total - 1) > 1e-6:
            raise _at("phases", f"the shares of the phases add up to {total:g}, not to 1")
        if not self.corpus:
            raise _at("corpus", "the corpus has no source")
        for name in self.held_out:
            if name in self.corpus:
                raise _at("held_out", f"a source of the corpus is called {name!r} too; every source needs a name of its own")
        for name, one in self.sources.items():
            if one.trained():
                raise _at(
                    "corpus" if name in self.corpus else "held_out",
                    f"source {name!r}: {one.name} holds a model, which would be neither trained nor charged; "
                    "let a run of its own train the model, write its documents to a folder, and name that folder here",
                )
        if self.is_resolved() or not self.checkpoints():
            try:
                self.encoding.refuse_incomplete()
            except UserError as error:
                raise _at("encoding", str(error)) from error
        for source in self.encoding.looks_at():
            if source not in self.corpus:
                hint = nearest(source, self.corpus)
                raise _at("encoding", f"{self.encoding.unit}s are learnt from source {source!r}, which the corpus does not have; {hint}")
        for curator in self.curators:
            for source in curator.looks_at():
                if source not in self.corpus:
                    hint = nearest(source, self.corpus)
                    raise _at("curators", f"{curator.name} names source {source!r}, which the corpus does not have; {hint}")
        for source, limit in self.limits.items():
            if source not in self.sources:
                raise _at(
                    "limits", f"a limit is set for source {source!r}, which the corpus does not have; {nearest(source, self.sources)}"
                )
            if not limit >= 0:
                raise _at("limits", f"the limit of source {source!r} is {limit:g}; a share, 0 or more, for example 0.01")
        if self.limits and (self.phases[0].start is None or self.phases[0].start.name == "scratch"):
            raise _at("limits", "a limit needs a model to start from: give the first phase a `start:`")
        if self.limits and not all(self.evaluations[0].measures(phase.objective) for phase in self.phases):
            raise _at("limits", f"a limit is watched in every phase, and {self.evaluations[0].name} cannot judge the models of all")
        if self.limits and self.evaluations[0].better != "lower":
            raise _at("limits", f"a limit applies to a loss, and the first evaluation, {self.evaluations[0].name}, does not measure one")
        for evaluation in self.evaluations:
            if not evaluation.measures(self.phases[-1].objective):
                raise _at("evaluations", f"{evaluation.name} cannot judge a model that is trained with {self.phases[-1].objective.name}")
        for index, phase in enumerate(self.phases):
            if phase.context < self.encoding.least:
                least = f"a sequence of {self.encoding.unit}s holds {self.encoding.least} or more, not {phase.context}"
                raise _at("context", least, "phases", index)
            for source in phase.sources or ():
                if source not in self.corpus:
                    hint = nearest(source, self.corpus)
                    raise _at("sources", f"a phase trains on source {source!r}, which the corpus does not have; {hint}")
            for part in phase.parts():
                for source in part.looks_at():
                    if source not in self.corpus:
                        raise _at(
                            "sources",
                            f"{part.name} names source {source!r}, which the corpus does not have; {nearest(source, self.corpus)}",
                        )
            refuse_batch(phase, self.micro_batch)
            try:  # sizes are not known yet, names are
                sizes = dict.fromkeys(phase.sources or self.corpus, 1)
                phase.mixture.weights(sizes, Progress.first(phase.batch, phase=index), {})
            except UserError as error:
                raise _at("mixture", str(error).removeprefix("mixture.")) from error
        return self

    @property
    def sources(self) -> dict[str, Source]:
        """Every source by name: those of the corpus, then those that are held out."""
        return {**self.corpus, **self.held_out}

    def trained_on(self, phase: Phase) -> tuple[str, ...]:
        """The sources that ``phase`` trains on."""
        return phase.sources or tuple(self.corpus)

    def special(self) -> frozenset[str]:
        """Which special numbers of the encoding some part feeds to the model; see :meth:`Part.special`."""
        parts = [*self.evaluations, *(part for phase in self.phases for part in phase.parts())]
        return frozenset(name for part in parts for name in part.special())

    @property
    def block_parameters(self) -> float:
        """Weights in the matrices of all blocks of the last phase's model, embeddings and head left out."""
        settings = self.phases[-1].model
        return settings.family.blocks(settings.sizes())

    @property
    def allowance(self) -> Budget:
        """The budget as a run spends it: in tokens, where it is given in tokens per parameter."""
        if self.budget.unit != "tokens_per_parameter":
            return self.budget
        return Budget(tokens=self.budget.amount * self.block_parameters)

    def variant(self, chosen: Variant) -> Variant:
        """How a step of this recipe is computed where ``chosen`` is what the machine does: what the recipe itself says comes first."""
        precision = chosen.precision if self.precision == "auto" else self.precision
        compiled = chosen.compiled if self.compile == "auto" else self.compile == "yes"
        return Variant(precision=precision, attention=chosen.attention, compiled=compiled)

    def checkpoints(self) -> list[tuple[str, str | None]]:
        """The models in folders or on the hub that it, or a recipe in it, begins from or holds; see :meth:`Phase.checkpoints`."""
        before = self.encoding.before()
        found = [each for phase in self.phases for each in phase.checkpoints()] + ([] if before is None else before.checkpoints())
        return found + held_checkpoints((*self.curators, *self.evaluations))

    def is_resolved(self) -> bool:
        """Whether it says all that its checkpoints say: every size, and what the content of each is. Nothing is opened to tell."""
        before = self.encoding.before()
        parts = (*self.curators, *self.evaluations, *(part for phase in self.phases for part in phase.parts()))
        inner = [one.recipe for part in parts for one in part.trained().values()]
        known = all(content is not None for _, content in self.checkpoints())
        return known and all(phase.model.whole for phase in self.phases) and all(one.is_resolved() for one in (before, *inner) if one)

    def refuse_unresolved(self) -> None:
        """Raise ValueError where a checkpoint says what this recipe does not: whoever flies it has to open that first."""
        if not self.is_resolved():
            raise ValueError("this recipe leaves sizes or contents to a checkpoint: windtunnel.recipe.resolve.resolve fills them in")

    def key(self, seed: int, chosen: Variant) -> str:
        """The name under which a run of this recipe is stored: a hash of everything that determines it.

        ``chosen`` is the variant of the study, or of the single run; it counts also where this recipe leaves nothing to it, because models
        that it holds may. Settings that have their default leave no trace in the key.

        Raises:
            ValueError: where a checkpoint says what the recipe does not (:meth:`is_resolved`), because the key would not hold it.
        """
        self.refuse_unresolved()
        return hashed({"format": FORMAT, "seed": seed, "recipe": differing(self), "variant": chosen.model_dump()})

    def identity(self) -> str:
        """A hash of the recipe alone, by which two recipes are told apart whatever flies them."""
        return hashed(differing(self))


def _at(key: str, message: str, *path: Any) -> PydanticCustomError:
    """An error of the whole recipe, or of what stands at ``path`` in it, that is shown at ``key``, where the file writes it."""
    return PydanticCustomError("at_key", "{message}", {"key": key, "message": message, "path": path})


def refuse_batch(phase: Phase, micro_batch: int | None) -> None:
    """Raise an error that points where the objective of ``phase`` cannot do with what it is handed."""
    objective = phase.objective
    compares = f"the loss of {objective.name} compares the sequences of a step with each other"
    if "label" in objective.fields and not objective.supervised:
        raise _at("objective", f"{objective.name} reads the field 'label' and is not declared supervised")
    if objective.together and micro_batch is not None and micro_batch < phase.batch:
        raise _at("micro_batch", f"{compares}, so {micro_batch} at a time is another loss; leave micro_batch out, or lower batch")
    if objective.together and phase.selection is not None:
        raise _at("selection", f"{compares}, so none can be chosen by itself")


def sources_from(corpus: Mapping[str, Any]) -> dict[str, Source]:
    """Sources by name as a file writes them. Raises UserError naming the one that is none."""
    found = {}
    for name, source in corpus.items():
        try:
            found[name] = registry.make(Source, shorthand(source))
        except ValidationError as error:
            raise UserError(f"corpus source {name!r}: {told(error.errors()[0])}") from error
    return found


def shorthand(source: Any) -> Any:
    """``builtin:NAME``, ``hf:OWNER/NAME`` and a path as the Source they stand for; anything else unchanged."""
    if not isinstance(source, str):
        return source
    if source.startswith("builtin:"):
        return {"builtin": {"text": source.removeprefix("builtin:")}}
    if source.startswith("hf:"):
        return {"hub": {"data_set": source.removeprefix("hf:")}}
    return {"files": {"path": source}}
