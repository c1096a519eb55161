"""What a part is: a frozen pydantic model whose fields are its knobs, the YAML keys, the documentation and the cache key."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

from pydantic import Field, PlainSerializer, PlainValidator, model_serializer, model_validator
from pydantic.json_schema import SkipJsonSchema
from pydantic_core import PydanticCustomError

from windtunnel.core import registry
from windtunnel.core.errors import nearest, with_article
from windtunnel.core.schema import elsewhere
from windtunnel.core.settings import Settings, plain
from windtunnel.core.trial import Trial

if TYPE_CHECKING:
    from windtunnel.recipe import Recipe as HeldRecipe
else:  # core stands below recipes; the registry knows their class once it is defined
    _HELD = elsewhere("HeldRecipe", "name under `recipes` or keys of a recipe")
    HeldRecipe = Annotated[Any, PlainValidator(registry.read_recipe), PlainSerializer(plain), _HELD]


Method = TypeVar("Method", bound=Callable[..., Any])


def required(method: Method) -> Method:
    """A method of a slot that every part of the slot has to write; a class without it is refused where it is defined."""
    method._required = True  # type: ignore[attr-defined]
    return method


class Part(Settings):
    """The base of every part. A direct subclass is a slot; a subclass of a slot with ``name=`` is a part that fills it.

    In YAML a part is its bare name (``objective: next-token``) or one key with its knobs (``objective: {ul2: {mean_span: 3}}``); where
    one knob has no default, its value alone will do (``start: {checkpoint: FOLDER}``).

    ``conflicts`` names the parts (of any slot) that this one cannot be combined with in one phase, each with the reason.
    ``other_tokens`` says that models it holds may know other tokens than the stream has; elsewhere that is refused.

    ``trial`` and ``identity`` are for the contract that tests every part (:mod:`windtunnel.testing`): the tiny setting in which it acts,
    and the knobs, besides those of the trial, at which it changes nothing; where there are none, the reason as a string.

    Every part of a phase but its start may have a state, look at data before the first step, observe what is measured, and hold other
    models. ``acts`` are the methods that are handed the state and the models where they name ``state`` and ``models`` among their
    parameters; slots with an empty ``acts`` say in their own contract how they come by them.
    """

    name: ClassVar[str] = ""
    slot: ClassVar[type[Part]]
    conflicts: ClassVar[dict[str, str]] = {}
    other_tokens: ClassVar[bool] = False
    trial: ClassVar[Trial] = Trial()
    identity: ClassVar[Mapping[str, Any] | str | None] = None
    acts: ClassVar[tuple[str, ...]] = ()
    local: ClassVar[str] = ""  # why it cannot act where each rank holds a part of the weights (``--mesh shard=2``); "": it can
    by_source: ClassVar[bool] = False  # whether observe is also told the training loss of every source after each step

    def __init_subclass__(cls, name: str = "", **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if Part in cls.__bases__:
            cls.slot = cls
            registry._slots[cls.__name__] = cls
            registry._parts[cls] = {}
        elif name:
            cls.name = name
            cls._refuse_unwritten()
            registry.add(cls)

    @classmethod
    def _refuse_unwritten(cls) -> None:
        """Raise TypeError where a method that the slot requires is missing, with the method that may be meant."""
        for method in dict.fromkeys(key for base in cls.__mro__ for key, value in vars(base).items() if hasattr(value, "_required")):
            if hasattr(getattr(cls, method), "_required"):
                own = [key for key, value in vars(cls).items() if inspect.isfunction(value) and not hasattr(cls.slot, key)]
                hint = "".join(f"; did you mean that by `{key}`?" for key in difflib.get_close_matches(method, own, n=1, cutoff=0.5))
                raise TypeError(f"part {cls.name!r} has no method `{method}`, which {with_article(cls.slot.__name__)} needs{hint}")

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
                "{slot} is written as its name or as one key with its settings, for example {example}; got {shown}",
                {"slot": with_article(cls.__name__), "example": next(iter(sorted(registry.known(cls))), "name"), "shown": repr(data)},
            )
        (name, fields), *_ = data.items()
        found = registry.find(cls, str(name))
        if found is None:
            raise PydanticCustomError(
                "unknown_part",
                "no {slot} is called {shown}; {hint}",
                {"slot": cls.__name__, "key": str(name), "shown": repr(name), "hint": nearest(str(name), registry.known(cls))},
            )
        return found.model_validate(_spelt_out(found, fields))

    def trained(self) -> dict[str, Trained]:
        """The models that this part needs besides the one being trained, by the path of the field that names each.

        Fields may be tuples and mappings of them: ``teacher``, ``ingredients.0``, ``experts.code``.
        """
        return dict(_trained_in(self))

    def state(self, model: Any) -> Any:
        """What changes during training, when the phase begins with ``model``: a dictionary that the checkpoint holds.

        It may hold tensors, numbers, text, and lists and dictionaries of them. Or it is an object with ``state_dict`` (which returns such
        a dictionary) and ``load_state_dict``. A part that has one overrides this; whatever else a part remembered would be lost when a
        run is interrupted, and would differ from one run to the next in one process.
        """
        return {}

    def look(self, model: Any, state: Any, context: Any) -> None:
        """Called once, before the first step of the phase: estimate from data what ``state`` is to hold. ``context``: a LookContext.

        ``model`` is what the phase begins with, in evaluation mode; its weights must stay, its gradients are cleared. A run that is
        resumed finds the state in its checkpoint and does not look again. Tokens and FLOPs are charged to the run.
        """

    def observe(self, numbers: Mapping[str, float], state: Any) -> None:
        """Called with the numbers of every evaluation on validation, by name, so that ``state`` can follow them.

        A part with ``by_source`` is also called after every step, with the mean loss of the targets of each source that was drawn, in
        nats, as ``loss/SOURCE``. That costs a wait for the device in each step.
        """

    def special(self) -> tuple[str, ...]:
        """Which special numbers of the encoding it may feed to the model, besides those that documents are made of, by their names there.

        For text: ``mask``, ``spans`` and ``modes``. A model that begins from a checkpoint gets rows for tokens its own tokenizer lacks
        only if a part of its recipe uses them.
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
    in a study). It does not inherit phases, start, structure, losses, weighting, selection and after_step, nor the field that it stands
    in: what a curator holds is flown without curators. ``{recipe: NAME}`` takes one of the file's ``recipes``. Its budget may be
    ``share: 0.2`` of the budget of the file. It is flown first, once for all that need it, and its whole cost is charged to each run that
    uses it, out of that run's own budget.
    """

    recipe: HeldRecipe | None = Field(
        None,
        description="the recipe that trains it: what differs, or the name of one under recipes",
        examples=["small", {"model": {"layers": 2}, "share": 0.2}],
    )
    folder: str | None = Field(
        None,
        description="an existing model: folder, file or name on the hub, as for `checkpoint`; it costs nothing here",
        examples=["~/models/teacher"],
    )
    fingerprint: SkipJsonSchema[str | None] = Field(
        None, description="what the content of `folder` must be; filled in when it is first opened"
    )

    @model_validator(mode="before")
    @classmethod
    def _says_which(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(
                f"a model is {{recipe: {value}}}, one under recipes, or {{folder: {value}}}, one in a folder; not {value!r} alone"
            )
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Trained:
        if (self.recipe is None) == (self.folder is None):
            raise ValueError("a model is named by exactly one of: recipe, folder")
        return self


def _trained_in(value: Any, path: str = "") -> Iterator[tuple[str, Trained]]:
    """Every :class:`Trained` within ``value`` (settings, tuples, mappings) with its path; those within its recipe are not its own."""
    if isinstance(value, Trained):
        yield path, value
        return
    for key, entry in _entries(value):
        yield from _trained_in(entry, f"{path}.{key}" if path else str(key))


def with_trained(value: Any, change: Callable[[Trained], Trained]) -> Any:
    """``value`` (settings, tuples, mappings) with ``change`` made to every :class:`Trained` in it; the same object where none changes."""
    if isinstance(value, Trained):
        return change(value)
    found = [(key, entry, with_trained(entry, change)) for key, entry in _entries(value)]
    changes = {key: after for key, before, after in found if after is not before}
    if not changes:
        return value
    if isinstance(value, Settings):
        return value.model_copy(update=changes)
    return {**value, **changes} if isinstance(value, Mapping) else tuple(after for *_, after in found)


def _entries(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, Settings):
        yield from ((key, getattr(value, key)) for key in type(value).model_fields)
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, (list, tuple)):
        yield from enumerate(value)


def _spelt_out(part: type[Part], fields: Any) -> Any:
    """``fields`` of ``part`` as a mapping: nothing, or a plain value of its one knob without a default."""
    if fields is None:
        return {}
    if not isinstance(fields, (str, int, float)):
        return fields
    needed = [key for key, info in part.model_fields.items() if info.is_required()]
    if len(needed) != 1:
        first = (needed or sorted(part.model_fields) or ["setting"])[0]
        one = f"it needs {' and '.join(needed)}" if needed else f"known: {', '.join(sorted(part.model_fields)) or 'none'}"
        raise PydanticCustomError(
            "not_fields",
            "{name} is written with the names of its settings, for example {example}, not {shown}; {one}",
            {"name": part.name, "example": f"{part.name}: {{{first}: ...}}", "shown": repr(fields), "one": one},
        )
    return {needed[0]: fields}
