"""What a part is, the slots it can fill, and how a part is found by its name.

A part is one mechanism in one file: a frozen pydantic model whose fields are its knobs. The same fields are the YAML keys, the
documentation and the cache key. This module imports nothing heavy and nothing else of the package, because everything imports it.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator
from pydantic_core import PydanticCustomError

from windtunnel.handed import ALONE, Ahead, Beginning, Given, HeldOut, Layout, Loss, Progress, Vocabulary

if TYPE_CHECKING:
    import daft
    import numpy as np
    import torch
    from transformers import PreTrainedModel

ROOMS = ("corpus", "stream", "objectives", "weights", "optim", "evaluate")


class UserError(Exception):
    """Something the user can mend: bad input, a full disk, an unknown name. The command line prints it and exits with code 2."""


class PartError(UserError):
    """A part that found nothing to act on, or that refuses what it was asked for."""


def nearest(word: str, known: Iterable[str]) -> str:
    """A sentence that helps with a misspelt ``word``: the closest valid spelling, then everything that is valid."""
    names = sorted(known)
    close = difflib.get_close_matches(str(word), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"


class Settings(BaseModel):
    """A frozen group of plain settings. Unknown keys are errors that name the nearest valid key."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise PydanticCustomError(
                        "unknown_key",
                        "unknown key {shown}; {hint}",
                        {"key": str(key), "shown": repr(key), "hint": nearest(str(key), cls.model_fields)},
                    )
        return data


class Part(Settings):
    """The base of every part. A direct subclass is a slot; a subclass of a slot with ``name=`` is a part that fills it.

    In YAML a part is its bare name (``objective: next-token``) or one key with its knobs (``objective: {ul2: {mean_span: 3}}``); where
    one knob has no default, its value alone will do (``start: {checkpoint: FOLDER}``).

    ``conflicts`` names the parts (of any slot) that this one cannot be combined with in one phase, each with the reason.
    ``other_tokens`` says that models it holds may know other tokens than the stream has; elsewhere that is refused.
    """

    name: ClassVar[str] = ""
    slot: ClassVar[type[Part]]
    conflicts: ClassVar[dict[str, str]] = {}
    other_tokens: ClassVar[bool] = False

    def __init_subclass__(cls, name: str = "", **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if Part in cls.__bases__:
            cls.slot = cls
            _slots[cls.__name__] = cls
            _parts[cls] = {}
        elif name:
            cls.name = name
            present = _parts[cls.slot].setdefault(name, cls)
            if present.__module__ != cls.__module__:
                raise TypeError(f"two parts are called {name!r} in slot {cls.slot.__name__}: {present.__module__} and {cls.__module__}")
            _parts[cls.slot][name] = cls

    @model_validator(mode="wrap")
    @classmethod
    def _find_by_name(cls, data: Any, handler: Any) -> Any:
        if isinstance(data, cls) and data.name:
            return data
        if cls.name:
            return handler({} if data is None else data)
        if isinstance(data, str):
            data = {data: {}}
        if not isinstance(data, Mapping) or len(data) != 1:
            raise PydanticCustomError(
                "not_a_part",
                "a {slot} is written as its name or as one key with its settings, for example {example}; got {shown}",
                {"slot": cls.__name__, "example": next(iter(sorted(names(cls))), "name"), "shown": repr(data)},
            )
        (name, fields), *_ = data.items()
        found = names(cls).get(name)
        if found is None:
            raise PydanticCustomError(
                "unknown_part",
                "no {slot} is called {shown}; {hint}",
                {"slot": cls.__name__, "key": str(name), "shown": repr(name), "hint": nearest(str(name), names(cls))},
            )
        return found.model_validate(_spelt_out(found, fields))

    def trained(self) -> dict[str, Trained]:
        """The models that this part needs besides the one being trained, by the field that names each."""
        return {key: value for key in type(self).model_fields if isinstance(value := getattr(self, key), Trained)}

    def special_tokens(self) -> tuple[str, ...]:
        """Which special tokens it may feed to the model besides the separator and padding: ``mask``, ``spans``, ``modes``.

        A model that begins from a checkpoint gets rows for tokens its own tokenizer lacks only if a part of its recipe uses them.
        """
        return ()

    def looks_at(self) -> tuple[str, ...]:
        """The sources of the corpus that this part names and must find there."""
        return ()

    @model_serializer(mode="plain")
    def _as_one_key(self) -> dict[str, Any]:
        return {self.name: {key: plain(getattr(self, key)) for key in type(self).model_fields}}


class Trained(Settings):
    """Another model that a part needs (a teacher, an ancestor): what a recipe trains, or one in a folder.

    ``{recipe: {model: {depth: 2}, budget: {flops: 1e11}}}`` says how that recipe differs from the one it stands in (from the baseline,
    in a study), whose phases and whose start, structure, losses, weighting, selection and after_step it does not inherit;
    ``{recipe: NAME}`` takes one of the file's ``recipes``. Its budget may be ``share: 0.2`` of the budget of the file. It is flown
    first, once for all that need it, and its whole cost is charged to each run that uses it, out of that run's own budget.
    """

    recipe: dict[str, Any] | None = Field(None, description="the recipe that trains it: what differs, or the name of one under recipes")
    folder: str | None = Field(
        None, description="a model that is there already: folder, file or name on the hub, as for `checkpoint`; it costs nothing here"
    )
    fingerprint: str | None = Field(None, description="what the content of `folder` must be; filled in when the recipe is read")

    @model_validator(mode="after")
    def _one_of_both(self) -> Trained:
        if (self.recipe is None) == (self.folder is None):
            raise ValueError("a model is named by exactly one of: recipe, folder")
        return self

    @model_serializer(mode="wrap")
    def _short(self, dump: Any) -> dict[str, Any]:
        """Without the fingerprint where there is none: the hash of a recipe finds the runs that were stored before it existed."""
        return {key: value for key, value in dump(self).items() if key != "fingerprint" or value is not None}


_slots: dict[str, type[Part]] = {}
_parts: dict[type[Part], dict[str, type[Part]]] = {}
_loaded = False


def _spelt_out(part: type[Part], fields: Any) -> Any:
    """``fields`` of ``part`` as a mapping: nothing, or a plain value of its one knob without a default."""
    if fields is None:
        return {}
    if not isinstance(fields, (str, int, float)):
        return fields
    needed = [key for key, info in part.model_fields.items() if info.is_required()]
    if len(needed) != 1:
        one = f"it needs {' and '.join(needed)}" if needed else f"known: {', '.join(sorted(part.model_fields)) or 'none'}"
        raise PydanticCustomError(
            "not_fields",
            "{name} is written with the names of its settings, for example {name}: {{{example}: ...}}, not {shown}; {one}",
            {"name": part.name, "example": (needed or sorted(part.model_fields) or ["setting"])[0], "shown": repr(fields), "one": one},
        )
    return {needed[0]: fields}


def plain(value: Any) -> Any:
    """``value`` as what JSON and YAML can hold: parts become one-key mappings, tuples lists, paths strings."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def load_all() -> None:
    """Import every module of the rooms of parts and every module that another package offers as ``windtunnel.parts``."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    for room in ROOMS:
        package = importlib.import_module(f"windtunnel.{room}")
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    for entry in importlib.metadata.entry_points(group="windtunnel.parts"):
        try:
            entry.load()
        except Exception as error:
            raise UserError(f"the parts of entry point {entry.name!r} ({entry.value}) cannot be loaded: {error}") from error


def slots() -> dict[str, type[Part]]:
    """Every slot by its name."""
    return dict(_slots)


def names(slot: type[Part]) -> dict[str, type[Part]]:
    """Every part that fills ``slot``, by its name."""
    load_all()
    return dict(_parts[slot])


def make(slot: type[Part], data: Any) -> Any:
    """The part of ``slot`` that ``data`` (a name, or one key with its settings) describes."""
    return slot.model_validate(data)


def describe(part: type[Part]) -> dict[str, Any]:
    """What ``windtunnel parts`` prints of a part: name, slot, documentation, knobs with type, default and meaning, conflicts."""
    knobs = {
        key: {
            "type": str(info.annotation).replace("typing.", "") if not isinstance(info.annotation, type) else info.annotation.__name__,
            "default": None if info.is_required() else plain(info.get_default(call_default_factory=True)),
            "required": info.is_required(),
            "description": info.description or "",
        }
        for key, info in part.model_fields.items()
    }
    return {
        "name": part.name,
        "slot": part.slot.__name__,
        "documentation": inspect.cleandoc(part.__doc__ or ""),
        "knobs": knobs,
        "conflicts": dict(part.conflicts),
        "module": part.__module__,
    }


# Slots ------------------------------------------------------------------------------------------------------------------------


class Source(Part):
    """Where documents come from."""

    def read(self, tally: Any) -> daft.DataFrame:
        """Documents, one a row: ``text`` (str) and ``origin`` (str, where it came from). What is skipped is counted in ``tally``."""
        raise NotImplementedError


class Curator(Part):
    """Better training documents from training documents. It never sees held-out documents."""

    def curate(self, documents: daft.DataFrame, tally: Any) -> daft.DataFrame:
        """The documents that stay, perhaps changed; what was removed is counted in ``tally``."""
        raise NotImplementedError


class Mixture(Part):
    """How often each source is drawn."""

    def weights(self, sizes: Mapping[str, int], progress: Progress, feedback: Mapping[str, float]) -> dict[str, float]:
        """The share of each source (not negative, sum above zero). ``sizes``: training tokens; ``feedback``: latest validation."""
        raise NotImplementedError


class Packing(Part):
    """How documents become sequences. Every packing has the knob ``separate``, which the loader acts on."""

    separate: bool = Field(True, description="whether attention and positions stop at document boundaries within a sequence")

    def pack(self, lengths: np.ndarray, length: int, random: np.random.Generator) -> Layout:
        """One epoch of sequences of ``length`` tokens from documents of ``lengths`` tokens, in an order drawn from ``random``."""
        raise NotImplementedError


class Objective(Part):
    """What the model is asked to predict. ``kinds`` are the architectures it works on."""

    kinds: ClassVar[tuple[str, ...]] = ("decoder",)

    def special_tokens(self) -> tuple[str, ...]:
        """As for every part. An objective that does not say is taken to use all."""
        return ("mask", "spans", "modes")

    def prepare(self, rows: dict[str, np.ndarray], vocabulary: Vocabulary, random: np.random.Generator) -> dict[str, np.ndarray]:
        """Rows of the stream as what :meth:`loss` needs, of a fixed shape, with ``labels`` (-100 where nothing is predicted).

        ``rows``: ``tokens``, ``documents`` (piece number within the sequence, -1 for padding) and ``positions`` (counted from the
        beginning of the piece), all [sequences, context + 1] integers; ``sources`` [sequences].
        """
        raise NotImplementedError

    def loss(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], needs: frozenset[str] = frozenset()) -> Loss:
        """The loss of every target. ``needs`` names outputs that loss terms ask for: hidden_states, attentions, logits."""
        raise NotImplementedError

    def measured_by(self) -> Objective:
        """The objective that held-out text is scored with; by default this one."""
        return self


class LossTerm(Part):
    """A scalar added to the loss. ``needs`` names the outputs it looks at."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """What changes during training: a dictionary of tensors and numbers that the checkpoint holds and :meth:`term` may change."""
        return {}

    def look(self, model: PreTrainedModel, state: dict[str, Any], ahead: Ahead) -> None:
        """Called once, before the first step of the phase: estimate from data what ``state`` is to hold.

        ``model`` is what the phase begins with, in evaluation mode; its weights must stay, its gradients are cleared. A run that is
        resumed finds the state in its checkpoint and does not look again. A Weighting or an AfterStep may have this method too.
        """

    def term(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], given: Given) -> torch.Tensor:
        """The scalar, already scaled, as a mean over the targets of ``loss`` that count; the loop weighs micro-batches by their targets."""
        raise NotImplementedError


class Weighting(Part):
    """How much each target counts."""

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """As :meth:`LossTerm.state`."""
        return {}

    def weigh(self, loss: Loss, batch: dict[str, torch.Tensor], state: dict[str, Any], given: Given) -> torch.Tensor:
        """Weights of the shape of ``loss.values``, not negative."""
        raise NotImplementedError


class Selection(Part):
    """Which of the sequences that were drawn are trained on. A step draws ``candidates`` times its batch and trains on the chosen part."""

    candidates: int = Field(4, ge=1, description="how many times the batch is drawn for one step to choose from")

    def score(self, model: PreTrainedModel, batch: dict[str, torch.Tensor], given: Given) -> torch.Tensor:
        """A number for each sequence of ``batch``, float [sequences], without gradient; the highest are trained on.

        Called on micro-batches of the candidates. Not a number means never, if there are others.
        """
        raise NotImplementedError


class Start(Part):
    """How the weights of a phase begin."""

    def origin(self) -> str | None:
        """The model (folder, file, name on the hub) that it begins with as it is: sizes and tokenizer of a recipe default to its own."""
        return None

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, given: Beginning = ALONE) -> PreTrainedModel:
        """A model of transformers configuration ``config``; ``previous`` is the model the phase before ended with.

        ``seed`` decides every weight that is drawn, together with the weight's name, so that two models agree where shapes do.
        """
        raise NotImplementedError


class Structure(Part):
    """A shape imposed on the weights while they train: sparse, low-rank, shared."""

    def apply(self, model: PreTrainedModel) -> None:
        """Impose it, in place. Raises PartError where no weight matches."""
        raise NotImplementedError

    def constrain(self, model: PreTrainedModel, progress: Progress | None = None) -> None:
        """Called after every optimizer step (``progress`` is that of the step just made): restore what the update may have broken."""

    def remove(self, model: PreTrainedModel) -> None:
        """Fold it back into plain dense weights, in place, leaving the function unchanged."""
        raise NotImplementedError

    def density(self, model: PreTrainedModel, done: float = 1.0) -> float:
        """The share of linear-layer FLOPs that hardware exploiting the structure would execute at share ``done`` of the phase (1.0: all).

        A pure function of the part, the shapes of ``model`` and ``done``: the loop asks it before the phase to count its steps.
        """
        return 1.0

    def variants(self, model: PreTrainedModel) -> int:
        """How many shapes a step can take, one drawn at random for each step, all equally likely. Each is counted by itself.

        The last is the whole model, which is what is evaluated and what remains.
        """
        return 1

    def take(self, model: PreTrainedModel, variant: int) -> None:
        """Called before every step where there are several variants: give ``model`` the shape ``variant`` (from 0)."""


class Optimizer(Part):
    """What turns gradients into updates."""

    def build(self, model: PreTrainedModel, learning_rate: float) -> torch.optim.Optimizer:
        """A torch optimizer over the trainable parameters; ``learning_rate`` is the recipe's default for this model size."""
        raise NotImplementedError


class Schedule(Part):
    """How the learning rate moves."""

    def factor(self, progress: Progress, peak: float) -> float:
        """What the peak learning rate ``peak`` is multiplied with for the coming step, between 0 and 1."""
        raise NotImplementedError


class AfterStep(Part):
    """What happens to weights or moments after an optimizer step."""

    def state(self, model: PreTrainedModel) -> dict[str, Any]:
        """As :meth:`LossTerm.state`."""
        return {}

    def rate(self, progress: Progress) -> float:
        """What the learning rate of the coming step is multiplied with, besides the schedule."""
        return 1.0

    def after_step(self, model: PreTrainedModel, optimizer: torch.optim.Optimizer, progress: Progress, state: dict[str, Any]) -> None:
        """Called after every step, in place. ``progress`` is that of the step just made."""
        raise NotImplementedError

    def end(self, model: PreTrainedModel, state: dict[str, Any]) -> None:
        """Called once after the last step of the phase, before the model is evaluated: what has to know that no step follows."""


class Evaluation(Part):
    """Numbers of a model. ``better`` says which direction is good, ``unit`` what they are counted in."""

    unit: ClassVar[str] = ""
    better: ClassVar[str] = "lower"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """Numbers by name; the first is the primary one. The model is in evaluation mode and no gradient is kept."""
        raise NotImplementedError
