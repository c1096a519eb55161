"""The keys of a study, a recipe and a paper: a page of them, and what ``windtunnel keys`` prints. Made from the models that read them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from itertools import cycle
from typing import Any, NamedTuple

import yaml

from windtunnel.core import registry
from windtunnel.core.part import Trained
from windtunnel.core.schema import described, described_key, first_sentence
from windtunnel.models.settings import ModelSettings
from windtunnel.recipe import Budget, Phase, Recipe
from windtunnel.recipe.phase import slot_fields
from windtunnel.recipe.settings import SplitSettings
from windtunnel.report.markup import code, escaped, table_of
from windtunnel.slots import Encoding, Source
from windtunnel.study.claims import Expectation, FittedLaw
from windtunnel.study.file import StudyFile
from windtunnel.study.papers import Paper
from windtunnel.study.rates import RateCheck
from windtunnel.study.schema import ADDED, BESIDE
from windtunnel.study.seeds import KnownNoise, Race
from windtunnel.study.tune import Tune

INTRODUCTION = """# The keys of a study, a recipe and a paper

`windtunnel keys` prints this page, `windtunnel keys NAME` one key, and `windtunnel schema study` the same for editors. It is made from the
models that read the files by `make docs`. Knobs of parts are told by `windtunnel parts NAME`."""
UNSAID = {"name": "that of the file", "phases": "one phase"}  # defaults that the models do not hold


class KeyGroup(NamedTuple):
    """The keys that stand in one place of a file. ``name`` is the key above them, or what the file is."""

    name: str
    title: str
    about: str
    keys: dict[str, dict[str, Any]]


def groups() -> list[KeyGroup]:
    """Every key of a file that people write, by its place."""
    written = {key: described_key(schema, {}, required=False) for key, schema in {**ADDED, **BESIDE}.items()}
    recipe, phase = described(Recipe), described(Phase)
    files, bpe = registry.find(Source, "files"), registry.find(Encoding, "bpe")
    assert files is not None and bpe is not None
    return [
        KeyGroup("study", "A study", "What stands at the top of a study file.", described(StudyFile)),
        KeyGroup(
            "recipe",
            "A recipe",
            "What `baseline:` and every arm may say besides the keys of a phase, and what stands at the top of a recipe file. In a study, "
            "`corpus`, `held_out`, `budget`, `recipes` and `parts` stand at its top.",
            recipe | written,
        ),
        KeyGroup("phases", "A phase", "Each may stand in one of `phases:`, or in the recipe itself, for all its phases.", phase),
        KeyGroup(
            "model", "`model:`", "A family's own knobs stand beside these: `model: {family: vit, patch: 2}`.", described(ModelSettings)
        ),
        KeyGroup("budget", "`budget:`", "Exactly one of these.", described(Budget)),
        KeyGroup("split", "`split:`", "How documents are held out, before anything else.", described(SplitSettings)),
        KeyGroup("corpus", "`corpus: {NAME: {files: ...}}`", "A path alone is short for `files: {path: ...}`.", described(files)),
        KeyGroup("tokenizer", "`tokenizer:`", "The knobs of the encoding `bpe`.", described(bpe)),
        KeyGroup("seeds", "`seeds: {least: ..., most: ...}`", "A race; a number or a list of seeds stays fixed.", described(Race)),
        KeyGroup("noise", "`noise:` of a race", "What is known beforehand of how far seeds scatter.", described(KnownNoise)),
        KeyGroup("tune", "`tune:`", "Paths of knobs stand beside these.", described(Tune)),
        KeyGroup("rates", "`rates:`", "The multiples alone will do: `rates: [0.5, 2]`.", described(RateCheck)),
        KeyGroup(
            "trained",
            "Models that parts hold",
            "A knob such as `teacher`, `source` or `ingredients` says where its model comes from by exactly one of `recipe` and `folder`.",
            described(Trained),
        ),
        KeyGroup("paper", "A paper", "What stands at the top of a paper file.", described(Paper)),
        KeyGroup("expect", "`expect:` of a paper", "One thing that is expected, said before anything is flown.", described(Expectation)),
        KeyGroup("laws", "`laws:` of a paper", "A law that expectations are about, and what it is fitted to.", described(FittedLaw)),
    ]


def default(key: str, about: Mapping[str, Any]) -> str:
    """The default of a key as a reader sees it."""
    if key in UNSAID:
        return UNSAID[key]
    if about["required"]:
        return "must be given"
    return "–" if about["default"] in (None, "", [], {}) else flow(about["default"])


def example(key: str, about: Mapping[str, Any]) -> str:
    """A key with its example as a line of a file."""
    return f"{key}: {flow(about['example'])}"


def flow(value: Any) -> str:
    """``value`` as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, float):
        return re.sub(r"e\+0*", "e", f"{value:g}")
    if isinstance(value, str) and "\n" in value:
        return json.dumps(value, ensure_ascii=False)
    return str(yaml.safe_dump(value, width=10_000, allow_unicode=True)).removesuffix("...\n").strip()


def said(text: str) -> str:
    """What a description says, as Markdown: what it marks as code is code."""
    return "".join(code(piece) if odd else escaped(piece, whole=False) for piece, odd in zip(text.split("`"), cycle((False, True))))


def slots() -> list[tuple[str, str, str]]:
    """Of each slot its name, the keys that hold its parts, and what it is."""
    keys: dict[str, list[str]] = {}
    for settings in (Recipe, Phase, ModelSettings):
        for key, slot in slot_fields(settings).items():
            keys.setdefault(slot.__name__, []).append(key)
    return [(name, ", ".join(keys[name]), first_sentence(slot)) for name, slot in registry.slots().items() if name in keys]


def keys_page() -> str:
    """Every key as Markdown, a section for each place, and what fills each slot."""
    blocks = [INTRODUCTION]
    for group in groups():
        rows = [
            (
                code(key),
                said(about["type"]),
                said(about["unit"]),
                escaped(shown) if (shown := default(key, about)) in ("–", "must be given", *UNSAID.values()) else code(shown),
                code(example(key, about)),
                said(about["description"]),
            )
            for key, about in group.keys.items()
        ]
        head = ("key", "type", "unit", "default", "example", "meaning")
        blocks.append(f"## {group.title}\n\n{group.about}\n\n{table_of(head, rows, frozenset(range(6)))}")
    filling = [(code(slot), code(keys), said(meaning)) for slot, keys, meaning in slots()]
    slots_head = "## Slots\n\nWhere a type above is one of these, a part stands: `windtunnel parts --slot NAME` lists them.\n\n"
    blocks.append(slots_head + table_of(("slot", "key", "what its parts are"), filling, frozenset(range(3))))
    return "\n\n".join(blocks) + "\n"
