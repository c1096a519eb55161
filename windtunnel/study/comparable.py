"""Whether the arms of a study can be compared: what is refused, and what is said beside the result.

Every function is given recipes by the name of their arm, the baseline among them, and ``complain``, which makes the error about a place of
the study.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.keys import differing
from windtunnel.recipe import Recipe, each_recipe
from windtunnel.study.result import BASELINE
from windtunnel.study.tune import Tune, with_knobs

if TYPE_CHECKING:
    from windtunnel.core.part import Part
    from windtunnel.study.file import StudyFile

MUST_AGREE = ("split", "held_out", "evaluation_tokens", "test_tokens")  # or arm and baseline would be tested on different text
Raise = Callable[[tuple[Any, ...], str], UserError]


def refuse_incomparable(recipes: Mapping[str, Recipe], study: StudyFile, complain: Raise) -> None:
    """Raise UserError where arms would be measured on other text, or by another number, than the baseline."""
    base = recipes[BASELINE]
    source = _source_that_decides(study.primary, recipes, complain)
    if study.tune and source in base.held_out and not base.split.held_out_validation:
        message = f"tuning chooses by documents of {source!r} in validation, of which there are none; let split.held_out_validation be 0.2"
        raise complain(("primary",), message)
    for arm, recipe in recipes.items():
        if arm == BASELINE:
            continue
        for key in MUST_AGREE:
            if getattr(recipe, key) != getattr(base, key):
                raise complain(("arms", arm, key), f"an arm cannot change {key}: it would be tested on other text; set it in the baseline")
        if recipe.evaluations[0] != base.evaluations[0]:
            raise complain(("arms", arm, "evaluations"), "the first evaluation gives the metric of the study and must be the baseline's")
        own, theirs = (one.evaluations[0].first(one.phases[-1].objective) for one in (recipe, base))
        if own != theirs:
            message = (
                f"{base.evaluations[0].name} tells {own} of this arm and {theirs} of the baseline, so no number compares the two; put an "
                "evaluation first under evaluations that asks both the same, such as probe where documents have labels"
            )
            raise complain(("arms", arm, "objective"), message)


def _source_that_decides(primary: str | None, recipes: Mapping[str, Recipe], complain: Raise) -> str:
    """The source that the number ``primary`` is of; "" where it is of all. Raises UserError where no run can give such a number."""
    base = recipes[BASELINE]
    objective, sources = base.phases[-1].objective, {name for recipe in recipes.values() for name in recipe.sources}
    first, *others = (evaluation.first(objective) for evaluation in base.evaluations)
    if primary is None or primary == first:
        return ""
    if not first:  # told by data alone
        return primary.rpartition("/")[2]
    if not primary.startswith(f"{first}/"):
        gives = f"the first evaluation, {base.evaluations[0].name}, gives no number {primary!r}"
        if primary in others:
            cure = f"put {base.evaluations[1 + others.index(primary)].name} first under evaluations, as the first one decides"
        else:
            cure = nearest(primary, [first, *(f"{first}/{name}" for name in sources)])
        raise complain(("primary",), f"{gives}; {cure}")
    source = primary.removeprefix(f"{first}/")
    if source not in sources:
        raise complain(
            ("primary",), f"no source is called {source!r}, neither in the corpus nor under held_out; {nearest(source, sources)}"
        )
    return source


def refuse_twins(recipes: Mapping[str, Recipe], study: StudyFile, complain: Raise) -> None:
    """Raise UserError where two arms are the same recipe."""
    seen: dict[str, str] = {}
    for arm, recipe in recipes.items():
        twin = seen.setdefault(recipe.identity(), arm)
        if twin != arm:
            ignored = "phases" in study.baseline and "phases" not in study.arms[arm]
            hint = "; the baseline's phases set these fields themselves, so the arm must write its own phases" if ignored else ""
            same = "the baseline" if twin == BASELINE else f"arm {twin}"
            raise complain(("arms", arm), f"this arm is the same recipe as {same}{hint}")


def on_the_same_text(recipes: Mapping[str, Recipe], complain: Raise) -> tuple[dict[str, Recipe], list[str]]:
    """Recipes that all know every source, so that all are tested on the same text, each training on its own sources only."""
    notes = []
    union = dict(recipes[BASELINE].corpus)
    for arm, recipe in recipes.items():
        for name, source in recipe.corpus.items():
            if union.setdefault(name, source) != source:
                message = "an arm cannot replace a source: it would be tested on other text; give the new source another name"
                raise complain(("arms", arm, "corpus", name), message)
    changed = {}
    for arm, recipe in recipes.items():

        def knowing_all(one: Recipe) -> Recipe:
            own = tuple(one.corpus)
            if set(union) <= set(own):
                return one
            phases = tuple(phase if phase.sources else phase.model_copy(update={"sources": own}) for phase in one.phases)
            # A recipe that a part holds may have sources that no arm has; nothing is tested on these.
            return one.model_copy(update={"corpus": {**union, **one.corpus}, "phases": phases})

        changed[arm] = each_recipe(recipe, knowing_all)
    base = changed[BASELINE]
    added = [name for name in union if name not in recipes[BASELINE].corpus]
    if added:
        notes.append(
            f"The sources {', '.join(added)} belong to some arms only. Only these train on them, but the encoding has seen them, and "
            "everything is tested on them too, so that all numbers are of the same documents."
        )
    notes += dict.fromkeys(note for recipe in changed.values() for note in recipe.encoding.notes(recipe.sources))
    curated = []
    for arm, recipe in changed.items():
        if recipe.encoding != base.encoding:
            notes.append(f"Arm {arm} has {recipe.encoding.differs()}")
        elif recipe.curators != base.curators:
            curated.append(arm)
        scored, first = (one.phases[-1].objective.measured_by() for one in (recipe, base))
        if base.evaluations[0].by_objective and scored != first:
            notes.append(
                f"Held-out documents are scored with the objective {in_words(scored)} for arm {arm} and with {in_words(first)} for the "
                "baseline; the two are comparable only as far as these are."
            )
    if curated and (said := base.encoding.follows_curators()):
        notes.append(f"Arm{'s' if len(curated) > 1 else ''} {', '.join(curated)}: {said}.")
    return changed, notes


def in_words(part: Part) -> str:
    """The name of ``part``, with the knobs that are not at their defaults: ``action (actions: seen)``."""
    knobs = ", ".join(f"{key}: {value}" for key, value in differing(part)[part.name].items())
    return f"{part.name} ({knobs})" if knobs else part.name


def check_knobs(tune: Tune, recipes: Mapping[str, Recipe], complain: Raise) -> None:
    """Raise UserError where a knob that is tuned does not fit an arm, or makes one arm the same recipe as another."""
    for values in tune.combinations():
        keys: dict[str, str] = {}
        for arm, recipe in recipes.items():
            try:
                key = with_knobs(recipe, values).identity()
            except UserError as error:
                knob = next((knob for knob in values if f"knob {knob};" in str(error)), next(iter(values)))
                raise complain(("tune", knob), f"{arm}: {error}") from error
            twin = keys.setdefault(key, arm)
            if twin != arm:
                raise complain(("tune",), f"tuning sets exactly what arm {arm} changes, so that it becomes the same recipe as {twin}")
