"""The record of a run: everything that came of it, a few kB, in ``record.json`` in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_json
from windtunnel.core.keys import Variant
from windtunnel.core.typed import Failure, JsonBlock, Number

FORMAT = 2
FILE = "record.json"
Status = Literal["finished", "failed", "interrupted"]


class Measured(JsonBlock):
    """The numbers of one evaluation on validation, and where the run stood."""

    step: int = Field(description="optimizer steps since the beginning of the run; 0 is the model that it started from")
    phase: int = Field(0, description="the phase, counted from 0")
    tokens: float = Field(0, description="input tokens so far")
    flops: float = Field(0.0, description="FLOPs so far")
    seconds: float = Field(0.0, description="seconds of training so far")
    numbers: dict[str, Number] = Field({}, description="what was measured, by name")


class Totals(JsonBlock):
    """What a run has cost, the models that it needed included."""

    steps: int = Field(0, description="optimizer steps")
    tokens: float = Field(0, description="input tokens")
    targets: int = Field(0, description="positions that counted in the loss")
    flops: float = Field(0.0, description="floating point operations, counted on the real step")
    effective_flops: float = Field(0.0, description="those that remain where hardware leaves out what a structure holds at zero")
    seconds: float = Field(0.0, description="seconds of training")
    cpu_seconds: float | None = Field(
        None, description="seconds of training of all threads (of several ranks, of the first), which other work hardly changes"
    )
    peak_memory_bytes: float | None = Field(
        None, description="the most that a step held: its tensors; on an accelerator what was allocated"
    )
    epochs: dict[str, float] = Field({}, description="how often each source was read")
    spikes: int | None = Field(None, description="how often the training loss jumped above what it was")


class RunRecord(JsonBlock):
    """Everything that came of one run."""

    format: int = FORMAT
    key: str = Field(description="the hash of the recipe, the seed and the variant of the study")
    seed: int = Field(description="what differs between repetitions")
    status: Status = Field(description="finished, failed or interrupted")
    failure: Failure | None = Field(None, description="how it failed, where it did")
    recipe: dict[str, Any] = Field({}, description="the resolved recipe")
    stream: str | None = Field(None, description="fingerprint of the text that it was trained on")
    variant: Variant | None = Field(None, description="how its steps were computed")
    threads: int | None = Field(None, description="threads of each process")
    ranks: int = Field(1, description="processes that shared the work")
    mesh: str = Field("", description="how they were laid out: groups that each hold a model, and ranks of a group")
    device: str = Field("", description="where it was computed")
    versions: dict[str, str] = Field({}, description="of the packages that determine numbers")
    hardware: dict[str, Any] = Field({}, description="the machine")
    warnings: list[str] = Field([], description="what was said on the way")
    needed: dict[str, dict[str, Any]] = Field({}, description="the runs whose models it needed, by key: folder and own cost")
    curation: dict[str, dict[str, float]] = Field({}, description="what its corpora cost to curate, by what was paid for and by unit")
    charged: dict[str, float] = Field({}, description="what those and the curation cost together, by unit")
    phases: list[dict[str, Any]] = Field([], description="of each phase: steps, costs, parameters and what its parts say")
    validation: list[Measured] = Field([], description="every evaluation on validation")
    cursors: dict[str, int] = Field({}, description="tokens read of each source")
    stopped: str = Field("", description="why training ended before its budget")
    totals: Totals | None = Field(None, description="what it cost")
    cpu_seconds: float | None = Field(None, description="of its process from the first step to the saved model, evaluation included")
    test: dict[str, Number] = Field({}, description="numbers on test, by name; the first is primary")
    primary: str | None = Field(None, description="the name of the primary number")
    unit: str = Field("", description="its unit")
    better: Literal["lower", "higher"] | None = Field(None, description="which way it is better")
    samples: list[dict[str, Any]] = Field([], description="what the model wrote: source, prompt, continuation, truth")
    tokens_added: list[str] = Field([], description="special tokens that its tokenizer got besides those it was given")

    @model_validator(mode="before")
    @classmethod
    def _from_format_1(cls, data: Any) -> Any:
        """Format 1 told failures by the name of the exception before the message."""
        if not isinstance(data, Mapping) or data.get("format", FORMAT) != 1:
            return data
        data = {**data, "format": FORMAT, "totals": data.get("totals") or None}
        if data.get("status") == "failed" and "failure" not in data:
            data["failure"] = failure_of_format_1(data.get("error"), data.get("traceback"))
        if data.get("precision") is not None:
            data["variant"] = {"precision": data["precision"], "compiled": bool(data.get("compiled"))}
        return data

    @property
    def precision(self) -> str | None:
        """Arithmetic of forward and backward passes; None where it never came to that."""
        return self.variant.precision if self.variant else None

    @property
    def compiled(self) -> bool | None:
        """Whether its steps were compiled; None where it never came to that."""
        return self.variant.compiled if self.variant else None

    @property
    def finished(self) -> bool:
        """Whether it came to its end."""
        return self.status == "finished"

    @property
    def error(self) -> str | None:
        """How it failed, in one line; None where it has not."""
        return self.failure.message if self.failure else None

    @property
    def traceback(self) -> str | None:
        """How it failed, with the traceback if there is one; None where it has not."""
        return self.failure.story if self.failure else None


def failure_of_format_1(error: str | None, story: str | None) -> dict[str, Any]:
    """A failure as results of format 1 tell it: ``UserError: message``, with the message again in the place of the traceback."""
    name, colon, message = (error or "").partition(": ")
    kinds = {"UserError": "user", "PartError": "user", "Diverged": "diverged"}
    if colon and name in kinds:
        return {"kind": kinds[name], "message": message, "traceback": ""}
    lines = [line for line in (story or "").splitlines() if line.strip()]
    return {"kind": "fault", "message": error or (lines[-1].strip() if lines else "unknown reason"), "traceback": story or ""}


def read_record(folder: Path | str) -> RunRecord | None:
    """The record in a run's folder, or None where there is none yet.

    Raises:
        UserError: when the record is damaged.
    """
    path = Path(folder) / FILE
    try:
        return RunRecord.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValidationError as error:
        detail = error.errors()[0]
        reason = f"{'.'.join(map(str, detail['loc']))}: {detail['msg']}"
    except (OSError, ValueError, TypeError) as error:
        reason = str(error)
    raise UserError(f"{path} is damaged ({reason}); delete it and the run goes on from its checkpoints")


def finished_record(folder: Path | str) -> RunRecord | None:
    """The record in a run's folder if the run is finished; None too where it is damaged."""
    try:
        record = read_record(folder)
    except UserError:
        return None
    return record if record is not None and record.finished else None


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``record`` to a run's folder. Raises DiskError."""
    write_json(Path(folder) / FILE, record.plain())


def forget(folder: Path) -> None:
    """Remove the record of a run that has to be flown again: a kill during that would leave the story of the last time."""
    (folder / FILE).unlink(missing_ok=True)


def has_weights(folder: Path) -> bool:
    """Whether a run's folder holds the model that it trained."""
    return (folder / "model" / "config.json").is_file()
