"""The families that read tokens, and their kinds."""

from windtunnel.core import registry
from windtunnel.slots import Family

KINDS: dict[str, str] = {name: found.kind for name, found in registry.names(Family).items() if "tokens" in found.reads}  # type: ignore[attr-defined]
