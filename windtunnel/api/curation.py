"""Documents: cleaned, deduplicated and chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from windtunnel.api.given import Where, expanded, in_words


def curate(
    corpus: Where | Mapping[str, Any],
    out: Where,
    *,
    curators: Sequence[Any] | str | None = None,
    workers: int = 1,
    engine: str = "local",
    address: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Let curators act on documents and write what stays, what went and why to ``out``; returns the result. Called again, it goes on.

    As ``windtunnel curate``. The documents lie in ``out/documents``, a parquet file a source, the page in ``out/report.html``.

    Args:
        corpus: a file with ``corpus`` and ``curators``; or, with ``curators``, sources by name.
        out: where all goes.
        curators: in order, as YAML writes them: ``[{"near-duplicates": {"similarity": 0.7}}]``; one may be its name alone.
        workers: processes that judge side by side, or with ``engine="ray"`` tasks.
        engine: ``local`` or ``ray``; the documents are the same.
        address: of a running Ray cluster, whose nodes see ``out`` (default: one that is started here).
        quiet: show nothing.

    Raises:
        UserError: for what the caller can put right.
    """
    from windtunnel.report.curated import page
    from windtunnel.study.curate import curate as run
    from windtunnel.study.curate import curation_from, load_curation

    if isinstance(corpus, Mapping):
        with in_words("curation"):
            named = [curators] if isinstance(curators, str) else list(curators or ())
            recipe = curation_from({"corpus": expanded(corpus), "curators": named})
    else:
        recipe = load_curation(corpus)
    result = run(recipe, Path(out), workers=workers, engine=engine, address=address, progress=None if quiet else print)
    page(result, Path(out))
    return result
