"""What a run reads, made before it begins: the corpus as its curators leave it, the stream, and those of the models that it needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import claim, refuse_address
from windtunnel.recipe import Recipe, data_key, held_by_curators, needed
from windtunnel.train.curation import Fly, curation_of, fly_in
from windtunnel.train.estimate import too_large
from windtunnel.train.needed import refuse_other_documents

if TYPE_CHECKING:
    from windtunnel.core.shared import Share
    from windtunnel.data.stream import Stream


def prepare(
    recipe: Recipe,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    flown: Fly | None = None,
    share: Share | None = None,
) -> Stream:
    """Read, split and clean the corpus of ``recipe`` and encode it, under ``cache``; what is already there is used again.

    Models that its curators hold are trained first by ``flown``, by default in this process, in ``cache/runs``. What is encoded is fetched
    from ``share`` where it is there, and else brought to it.

    Raises:
        UserError: where no machine could train what is asked for.
        ValueError: where a checkpoint says what the recipe does not (:meth:`Recipe.is_resolved`); it may say the tokenizer, too.
    """
    from windtunnel.data.corpus.prepare import prepare_corpus
    from windtunnel.data.encode import prepare_stream

    recipe.refuse_unresolved()
    if (problem := too_large(recipe)) is not None:
        raise UserError(problem)
    refuse_address(cache)
    claim(cache)
    before = None
    if (other := recipe.encoding.before()) is not None:
        refuse_other_documents(other, recipe)
        before = prepare(other, cache, progress, flown, share)
    held = held_models(recipe, cache, progress, flown, share)
    curation = curation_of(recipe, held, cache / "corpora" / "curating")
    corpus = prepare_corpus(recipe.corpus, **_asked(recipe, cache), curation=curation, progress=progress)
    return prepare_stream(corpus, recipe.encoding, before=before, cache=cache / "streams", progress=progress, share=share)


def data_now(recipe: Recipe, cache: Path) -> str | None:
    """The fingerprint of the stream that preparing ``recipe`` under ``cache`` would find there.

    None where its sources have changed since anything was prepared there, "" where only preparing can tell: because a source cannot say
    whether it has changed, nothing is kept there, or the corpus or its encoding takes a model.
    """
    from windtunnel.data.corpus.known import found_corpus
    from windtunnel.data.encode import fingerprint_of

    if recipe.encoding.before() is not None or any(curator.trained() for curator in recipe.curators):
        return ""
    found = found_corpus(recipe.corpus, **_asked(recipe, cache))
    if not found.told:
        return ""
    return None if found.corpus is None else fingerprint_of(found.corpus, recipe.encoding)


def _asked(recipe: Recipe, cache: Path) -> dict[str, Any]:
    """What ``recipe`` asks of its corpus, besides the sources that it trains on."""
    split = recipe.split
    return {
        "validation": split.validation,
        "test": split.test,
        "near_duplicates": split.near_duplicates,
        "by": split.by(),
        "held_out": recipe.held_out,
        "held_out_validation": split.held_out_validation,
        "curators": recipe.curators,
        "cache": cache / "corpora",
    }


def held_models(
    recipe: Recipe,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    flown: Fly | None = None,
    share: Share | None = None,
) -> dict[str, Path]:
    """The folders of the runs whose models the curators of ``recipe`` hold, by the identity of their recipes, flown if they are missing."""
    held: dict[str, Path] = {}
    for one in held_by_curators(recipe):
        refuse_other_documents(one, recipe)
        own = prepare(one, cache, progress, flown, share)
        others = prepare_needed(one, cache, progress, flown, share)
        held[one.identity()] = (flown or fly_in(cache / "runs", progress))(one, own, others)
    return held


def prepare_needed(
    recipe: Recipe,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    flown: Fly | None = None,
    share: Share | None = None,
) -> dict[str, Stream]:
    """The streams of the models that ``recipe`` needs, by :func:`windtunnel.recipe.data_key`, where they are not its own.

    Raises:
        UserError: as :func:`prepare`, and where a needed model could have been trained on what this recipe is tested on.
    """
    found: dict[str, Stream] = {}
    for one in needed(recipe, curators=False).values():
        key = data_key(one)
        refuse_other_documents(one, recipe)
        if key != data_key(recipe) and key not in found:
            found[key] = prepare(one, cache, progress, flown, share)
    return found
