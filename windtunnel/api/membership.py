"""Whether a model was trained on a text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from windtunnel.api.given import OUT, Where, expanded


def was_trained_on(
    model: str,
    members: Any,
    others: Any,
    *,
    reference: str | None = None,
    length: int = 128,
    cache: Where = f"{OUT}/cache",
    device: str | None = None,
) -> Any:
    """How well what ``model`` says of ``members`` text tells it from ``others`` text of the same kind, which it cannot have seen.

    Returns a :class:`windtunnel.study.membership.Told`, with ``.table()`` (the area under the ROC curve of each score, with bounds) and
    ``.data``. Where ``.data["alike"]`` is False the two differ without any model, and no area says anything of a training.

    Args:
        model: a folder, the folder of a run, a file of weights, or a hub name.
        members: documents that it may have been trained on: a path, or a source.
        others: documents of the same kind that it cannot have seen.
        reference: a model with the same tokenizer that has seen neither.
        length: tokens of each document that are read; shorter documents are left out.
        cache: where prepared text is kept.
        device: cpu, cuda ... (default: a GPU if there is one).

    Raises:
        UserError: for what the caller can put right.
    """
    from windtunnel.recipe import sources_from
    from windtunnel.study.membership import was_trained_on as tell

    both = sources_from(expanded({"members": members, "others": others}))
    return tell(model, both["members"], both["others"], Path(cache), reference=reference, length=length, device=device)
