"""What is stored as JSON and read again: typed blocks, numbers that JSON cannot hold, and how something failed."""

from __future__ import annotations

import math
import traceback
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from windtunnel.core.errors import ADVICE, NO_ROOM

Kind = Literal["user", "fault", "disk", "diverged", "lost"]
# JSON has no NaN and no infinity: they are stored as null, which is read as NaN.
Number = Annotated[
    float,
    BeforeValidator(lambda value: math.nan if value is None else value),
    PlainSerializer(lambda value: value if math.isfinite(value) else None, when_used="json"),
]


class JsonBlock(BaseModel):
    """A block of a record or a result. It can be read like the mapping that it is in the file: ``block["test"]`` is ``block.test``."""

    model_config = ConfigDict(extra="ignore", validate_assignment=False)

    def __getitem__(self, name: str) -> Any:
        try:
            return getattr(self, name)
        except AttributeError:
            raise KeyError(name) from None

    def __contains__(self, name: str) -> bool:
        return name in type(self).model_fields

    def get(self, name: str, default: Any = None) -> Any:
        """The field ``name``, or ``default`` where there is none."""
        return getattr(self, name, default)

    def plain(self) -> dict[str, Any]:
        """As JSON holds it."""
        return self.model_dump(mode="json")


class Failure(JsonBlock):
    """How something failed, and who can mend it."""

    kind: Kind = Field(
        description="user: what was asked for can be mended; disk: nothing more can be written; diverged: the loss is not finite any "
        "more; lost: the process died; fault: an error of the program or of a part"
    )
    message: str = Field(description="what went wrong, in one line")
    traceback: str = Field("", description="where it went wrong; empty where the message says all")

    @classmethod
    def of(cls, error: BaseException, where: str = "") -> Failure:
        """How ``error``, which is being handled, failed; ``where`` is put before its message."""
        kind: Kind = getattr(error, "kind", "fault")
        text = " ".join(str(error).split())
        if isinstance(error, OSError) and error.errno in ADVICE:
            kind = "disk" if error.errno in NO_ROOM else "user"
            text = f"{error.filename or 'writing'}: {error.strerror}: {ADVICE[error.errno]}"
        if kind == "fault":
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return cls(kind=kind, message=where + text, traceback=traceback.format_exc() if kind == "fault" else "")

    @property
    def story(self) -> str:
        """The traceback, or the message where it says all."""
        return self.traceback or self.message
