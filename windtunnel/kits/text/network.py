"""What the configurations of families that read tokens have in common."""

from __future__ import annotations

from typing import Any, NamedTuple

from windtunnel.slots import Sizes

ROOM = 16  # positions beyond the context, for the tokens that an objective adds (modes, sentinels, a start token)


class TokenFacts(NamedTuple):
    """What a family asks of a vocabulary, for who knows no more of it than its size: ``document`` is the separator."""

    size: int
    document: int = 0
    pad: int = 0
    end: int | None = None


def shared(sizes: Sizes, facts: Any) -> dict[str, Any]:
    """What every configuration takes. The document separator is the begin-of-sequence token, and the other one unless there is one."""
    pad = None if facts.pad == facts.document else facts.pad  # the row of the padding token is never trained
    end = facts.document if facts.end is None else facts.end
    special = {"pad_token_id": pad, "bos_token_id": facts.document, "eos_token_id": end}
    return {"vocab_size": facts.size, "tie_word_embeddings": sizes.tied, "use_cache": False, **special}


def usual(sizes: Sizes, facts: Any, context: int) -> dict[str, Any]:
    """What most configurations take, by the names that most have for it."""
    return {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate,
        "max_position_embeddings": context + ROOM,
        **shared(sizes, facts),
    }
