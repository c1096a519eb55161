"""Documents from a data set of the Hugging Face hub, or from the cache of the datasets library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import Field

from windtunnel.core.errors import UserError, nearest, needing
from windtunnel.data.corpus.frame import Document, StreamedSource
from windtunnel.data.corpus.tally import Tally
from windtunnel.data.corpus.written import TemplateText


class Hub(StreamedSource, name="hub"):
    """Documents of a data set by its name on the hub: ``hf:owner/name``, loaded by the datasets library.

    What it has downloaded is in its cache and needs no network (``HF_HUB_OFFLINE=1`` asks for none). Needs the extra ``datasets``.
    """

    data_set: str = Field(min_length=1, description="its name on the hub, such as owner/name")
    config: str | None = Field(None, description="which of its configurations, where it has several")
    split: str = Field("train", min_length=1, description="which of its splits, such as train or train+validation or train[:1%]")
    revision: str | None = Field(None, description="a branch, tag or commit (default: the newest)")
    field: str | None = Field("text", min_length=1, description="the column that holds the text; null: there is none")
    template: TemplateText | None = Field(None, description='writes the text from several columns, such as "{subject}\\n{body}"')
    keep: tuple[str, ...] | None = Field(None, description="the other columns that are kept; [] for none (default: all)")
    group: str | None = Field(None, description="the column whose value names what is never split, such as a site or a customer")

    def documents(self, tally: Tally) -> Iterator[Document]:
        """The rows of the split in their order, each with its number.

        Raises:
            UserError: where the data set cannot be loaded, or has no such column.
        """
        import pyarrow

        from windtunnel.data.corpus.arrow import rows_of
        from windtunnel.data.corpus.columns import Columns
        from windtunnel.data.corpus.fields import ORIGIN
        from windtunnel.data.corpus.opened import Unreadable
        from windtunnel.data.corpus.written import Template

        found = self._loaded()
        columns = Columns(self.field, self.keep, self.group, template=None if self.template is None else Template(self.template))
        for wanted in (*(self.keep or ()), *([self.group] if self.group else ())):
            if wanted not in found.column_names:
                raise UserError(f"hf:{self.data_set}: no column {wanted!r}; {nearest(wanted, found.column_names)}")

        def note(what: str, documents: int = 1, size: int = 0, where: str = "") -> bool:
            tally.count(what, documents, size, f"hf:{self.data_set}: {where}")
            return True

        number = 0
        tables = found.with_format("arrow").iter(batch_size=1000)
        try:
            for batch in rows_of((batch for table in tables for batch in table.to_batches()), found.features.arrow_schema, columns, note):
                origins = [f"hf:{self.data_set}:{number + row}" for row in range(1, batch.num_rows + 1)]
                yield batch.append_column(ORIGIN, pyarrow.array(origins, pyarrow.large_string()))
                number += batch.num_rows
        except Unreadable as error:
            raise UserError(f"hf:{self.data_set}: {error.detail}") from error

    def signature(self) -> str:
        """The fingerprint that the datasets library gives it, which is of its files."""
        return str(self._loaded()._fingerprint)

    def _loaded(self) -> Any:
        with needing(f"hf:{self.data_set}", "the datasets library", "datasets"):
            import datasets
        try:
            return datasets.load_dataset(self.data_set, self.config, split=self.split, revision=self.revision)
        except Exception as error:  # datasets raises errors of its own, of the hub, of the network and of pyarrow
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"hf:{self.data_set}: cannot be loaded: {reason}") from error
