"""Names of runs: a hash of what determines a run, in which a setting that has its default leaves no trace.

So a new setting, in a recipe or in a part, changes the name of no run that was flown before it existed. Whoever changes what a default
means raises the format that is hashed with it.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal, cast

from pydantic import Field, TypeAdapter, ValidationError

from windtunnel.core.outside import digest_of
from windtunnel.core.part import Part
from windtunnel.core.settings import Settings, plain


class Variant(Settings):
    """How this machine computes a step. It is chosen once for a whole study, because two of them differ in their last digits or more."""

    precision: Literal["float32", "bfloat16"] = Field("float32", description="arithmetic of forward and backward passes")
    attention: str = Field("sdpa", description="sdpa: torch's fused attention; products: plain products of matrices")
    compiled: bool = Field(False, description="whether the step is compiled")


def hashed(facts: Any) -> str:
    """The first 20 hexadecimal digits of the SHA-256 of ``facts``, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:20]


def differing(value: Any) -> Any:
    """``value`` (settings, parts, lists and mappings of them) as plain data, with only what differs from its default, at every depth."""
    if isinstance(value, Settings):
        cls = type(value)
        found = {key: differing(getattr(value, key)) for key in cls.model_fields}
        changed = {key: entry for key, entry in found.items() if entry != _default(cls, key)}
        if not isinstance(value, Part):
            return changed
        source = digest_of(type(value))
        return {value.name: changed} if source is None else {value.name: changed, "source": source}
    if isinstance(value, Mapping):
        return {str(key): differing(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [differing(entry) for entry in value]
    return plain(value)


_REQUIRED = object()


@functools.cache
def _default(cls: type[Settings], key: str) -> Any:
    """The default of a field as :func:`differing` writes it. It may be declared as a file would write it, and become a part only then."""
    info = cls.model_fields[key]
    if info.is_required():
        return _REQUIRED
    default = info.get_default(call_default_factory=True)
    try:
        return differing(TypeAdapter[Any](cast(Any, info.annotation)).validate_python(default))
    except ValidationError:
        return differing(default)
