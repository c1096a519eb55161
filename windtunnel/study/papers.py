"""Papers: a claim, the study that would show it, and what was measured.

A paper is a folder ``papers/AREA/NAME``: ``paper.yaml``, and beside it what was measured at each scale, ``SCALE.json``.
:func:`windtunnel.laws.claims.reproduce` flies its study at one scale, fits its laws and writes that file. What comes out is published as it
is: *reproduced*, *not reproduced* or *undecided*.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, PrivateAttr, ValidationError, field_validator, model_validator

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_json
from windtunnel.core.schema import elsewhere
from windtunnel.core.settings import Many, Settings
from windtunnel.core.shipped import AREAS, PAPER, paper_files
from windtunnel.recipe.yaml import Document
from windtunnel.study.claims import GAIN, Expectation, FittedLaw
from windtunnel.study.experiment import KEY, ExperimentFile, do, experiment_from
from windtunnel.study.file import StudyFile, study_from
from windtunnel.study.lenient import paper_result
from windtunnel.study.paper_result import PaperResult
from windtunnel.study.result import BASELINE, StudyResult
from windtunnel.study.results import load
from windtunnel.study.scales import overridden


class Paper(Settings):
    """What a paper file says."""

    papers: Many[str] = Field(
        min_length=1, description="slugs of the papers it answers; the first is its own name", examples=[["slow-decay"]]
    )
    title: str = Field(description="of the paper", examples=["Stacking Your Transformers"])
    authors: str = Field("", description="of the paper", examples=["Du et al."])
    year: int = Field(ge=1900, le=2100, description="in which it appeared", examples=[2024])
    arxiv: str | None = Field(None, description="its number there", examples=["2405.15319"])
    claim: str = Field(
        description="in our own words, with the paper's numbers", examples=["Stacking saves 45 percent of the tokens at 7B."]
    )
    expect: Many[Expectation] = Field(
        min_length=1, description="what would count as reproducing it", examples=[{"arm": "long-decay", "by": 0.01}]
    )
    laws: dict[str, FittedLaw] = Field(
        {},
        description="by a name of your own: laws that are fitted, and that expectations are about",
        examples=[{"growth": {"law": {"chinchilla": {"size": "parameters", "tokens": "tokens", "loss": "nats"}}}}],
    )
    parts: Many[str] = Field((), description="names of the parts it uses", examples=[["stack"]])
    scales: dict[str, Annotated[dict[str, Any], elsewhere("Scale", "keys of a study or an experiment")]] = Field(
        description="studies, or experiments, which train nothing: the first whole, each further one as what differs from the first; or "
        "`table: {}` alone, where laws are fitted to tables beside the file",
        examples=[{"cpu": {"corpus": {"code": "builtin:stdlib"}, "arms": {"wsd": {"schedule": "wsd"}}}}],
    )
    notes: str = Field(
        "",
        description="what differs from the paper, and what small scale can and cannot show",
        examples=["The paper has 3B parameters; this is 2 million."],
    )
    outcomes: dict[str, str] = Field(
        {},
        description="by scale: what came out, and what would have to differ for the claim to show",
        examples=[{"cpu": "The gain is there, and smaller."}],
    )

    _document: Document | None = PrivateAttr(default=None)

    @field_validator("scales")
    @classmethod
    def _has_one(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not value:
            raise ValueError("a paper needs the study of at least one scale, for example cpu")
        return value

    @model_validator(mode="after")
    def _outcomes_have_scales(self) -> Paper:
        for scale in self.outcomes:
            if scale not in self.scales:
                raise ValueError(f"outcomes of scale {scale!r}, which the paper does not have; {nearest(scale, self.scales)}")
        return self

    @model_validator(mode="after")
    def _laws_are_there(self) -> Paper:
        for expectation in self.expect:
            if expectation.law and expectation.law not in self.laws:
                raise ValueError(f"an expectation about law {expectation.law!r}; {nearest(expectation.law, self.laws)}")
            if not self.flies and not (expectation.law and self.laws[expectation.law].table):
                raise ValueError("where nothing is flown, every expectation is about a law of a table beside the file")
        if not self.flies and len(self.scales) > 1:
            raise ValueError("where nothing is flown there is one scale; leave the others out")
        return self

    @property
    def flies(self) -> bool:
        """Whether it has studies or experiments; else laws are fitted to tables alone."""
        return bool(next(iter(self.scales.values())))

    @property
    def name(self) -> str:
        """Its own slug, which is also the name of its folder."""
        return self.papers[0]

    @property
    def area(self) -> str:
        """The area that it is sorted into, the folder above its own; empty for a paper that was not read from such a folder."""
        return self._document.path.resolve().parents[1].name if self._document and self._document.path.name == PAPER else ""

    @property
    def file(self) -> Path | None:
        """Where it was read from."""
        return self._document.path if self._document else None

    def result_file(self, scale: str, folder: Path | None = None) -> Path:
        """Where the result of ``scale`` lies: beside the paper's file, or below ``folder`` in a folder of the paper's name.

        A paper in a file of its own name (``NAME.yaml``) has ``NAME.SCALE.json`` beside it.
        """
        if folder is not None:
            return folder / self.name / f"{scale}.json"
        path = self._document.path if self._document else Path(self.name) / PAPER
        return path.parent / (f"{scale}.json" if path.name == PAPER else f"{self.name}.{scale}.json")

    def study(self, scale: str) -> StudyFile:
        """The study of one scale, as it is written.

        Raises:
            UserError: for an unknown scale, an experiment, a study that is not valid, or an expectation about an arm that it does not have.
        """
        raw = self._raw(scale)
        if KEY in raw:
            raise UserError(
                f"paper {self.name}: scale {scale!r} is an experiment, which trains nothing: `windtunnel reproduce {self.name}`"
            )
        if not raw:
            raise UserError(f"paper {self.name}: nothing is flown, its laws are fitted to tables: `windtunnel reproduce {self.name}`")
        study = study_from({"description": self.title, **raw}, name=self.name, document=self._document, prefix=("scales", scale))
        self._names_arms(scale, study.written)
        return study

    def experiment(self, scale: str) -> ExperimentFile | None:
        """The experiment of one scale, as it is written; None where that is a study.

        Raises:
            UserError: as :meth:`study`.
        """
        raw = self._raw(scale)
        if KEY not in raw:
            return None
        found = experiment_from({"description": self.title, **raw}, document=self._document, prefix=("scales", scale))
        self._names_arms(scale, (BASELINE, *found.arms))
        return found

    def _raw(self, scale: str) -> Mapping[str, Any]:
        if scale not in self.scales:
            raise UserError(f"paper {self.name} has no scale {scale!r}; {nearest(scale, self.scales)}")
        first = next(iter(self.scales))
        return self.scales[first] if scale == first else overridden(self.scales[first], self.scales[scale])

    def _names_arms(self, scale: str, arms: Collection[str]) -> None:
        """Refuse an expectation about an arm that is not among ``arms``."""
        for index, expectation in enumerate(self.expect):
            for key in ("arm", "against") if expectation.arm else ():
                name = getattr(expectation, key)
                if name not in arms:
                    message = f"the study of scale {scale} has no arm {name!r}; {nearest(name, arms)}"
                    raise self.error(("expect", index, key), message)
            if expectation.metric == GAIN and expectation.against != BASELINE:
                raise self.error(("expect", index, "against"), "a compute gain is always against the baseline")
            if GAIN in (expectation.metric, expectation.than) and expectation.than is not None:
                raise self.error(("expect", index, "than"), "a compute gain is compared with no other number")
            if expectation.arm == expectation.against and expectation.than in (None, expectation.metric):
                raise self.error(("expect", index, "against"), "an arm is compared with itself; name another, or another number as `than`")

    def error(self, path: tuple[Any, ...], message: str) -> UserError:
        """``message`` with file, line and key of what is wrong at ``path``."""
        if self._document is not None:
            return self._document.error(path, message)
        return UserError(f"paper {self.name}: {'.'.join(map(str, path))}: {message}")


# Files --------------------------------------------------------------------------------------------------------------------------


def load_paper(name: str | Path, folder: Path | None = None) -> Paper:
    """The paper called ``name``, by its own slug or any it answers, or in the file ``name``.

    Only its own file is read, unless ``name`` is a further slug of some paper: then all of ``folder`` (default: the papers that come with
    Windtunnel) are.

    Raises:
        UserError: naming the nearest paper, or file, line and key of what is wrong in it.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        files = paper_files(folder)
        if str(name) not in files:
            known = {slug: paper for paper in list_papers(folder) for slug in paper.papers}
            if str(name) in known:
                return known[str(name)]
            raise UserError(f"no paper is called {str(name)!r}; {nearest(str(name), known)}")
        path = files[str(name)]
    document = Document(path)
    try:
        paper = Paper.model_validate(document.data)
    except ValidationError as error:
        raise document.errors(error) from error
    own = path.resolve().parent.name if path.name == PAPER else path.stem
    if paper.name != own:
        what = "folder" if path.name == PAPER else "file"
        raise document.error(("papers",), f"the first slug is the paper's own name and must be that of the {what}, {own!r}")
    paper._document = document
    return paper


def list_papers(folder: Path | None = None, area: str | None = None) -> list[Paper]:
    """Every paper by name, or those of one area.

    Raises:
        UserError: for an area that is none, and as :func:`load_paper`.
    """
    if area is not None and area not in AREAS:
        raise UserError(f"no area is called {area!r}; {nearest(area, AREAS)}")
    return [load_paper(path) for path in paper_files(folder).values() if area in (None, path.parents[1].name)]


def measured(paper: Paper, folder: Path | None = None) -> dict[str, PaperResult]:
    """The result of each scale that was flown: those beside the paper's file, or below ``folder``.

    Raises:
        UserError: naming a file that is there and cannot be read.
    """
    found = {}
    for scale in paper.scales:
        file = paper.result_file(scale, folder)
        try:
            found[scale] = paper_result(load(file))
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise UserError(f"{file}: cannot be read as a result of {paper.name}: {error}") from error
    return found


# Measuring ----------------------------------------------------------------------------------------------------------------------


def flown(paper: Paper, scale: str, out: Path, **options: Any) -> StudyResult:
    """What the study or the experiment of ``paper`` at ``scale`` came to, under ``out``; an empty result where nothing is flown.

    ``options`` are those of :func:`windtunnel.study.fly.fly_study`; an experiment asks for ``quiet`` alone.

    Raises:
        UserError: for an unknown scale, and as ``fly_study``.
    """
    from windtunnel.study.fly import fly_study
    from windtunnel.study.records import folders_of

    if (experiment := paper.experiment(scale)) is not None:
        folder = out / "studies" / study_name(paper, scale)
        done = do(experiment, folder.name, folder / "measured", None if options.get("quiet") else sys.stderr)
        write_json(folder / "result.json", done.plain())
        return done
    if not paper.flies:
        return StudyResult(finished=True)
    study = paper.study(scale)
    options["records"] = folders_of(str(paper.file) if paper.file else None, options.get("records") or ())
    return fly_study(study.model_copy(update={"name": study_name(paper, scale)}), out, **options)


def study_name(paper: Paper, scale: str) -> str:
    """What the study of ``paper`` is called. Each scale is one of its own, so that flying one leaves the report of the other alone."""
    return f"{paper.name}.{scale}"
