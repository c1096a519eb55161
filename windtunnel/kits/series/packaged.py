"""Series that an installed package carries."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import needing
from windtunnel.kits.series.tables import document

if TYPE_CHECKING:
    from windtunnel.data.corpus.tally import Tally

QUARTERS = (1, 4, 7, 10)  # the months in which they begin


def package() -> Any:
    """The data sets of statsmodels. Raises UserError where it is not installed."""
    with needing("builtin:series", "statsmodels", "series"):
        return importlib.import_module("statsmodels.datasets")


def version() -> str:
    """Which statsmodels there is."""
    package()
    return str(importlib.import_module("statsmodels").__version__)


def packaged(tally: Tally) -> Iterator[dict[str, Any]]:
    """The series in time of statsmodels as documents: weekly, monthly, quarterly and yearly ones. Those of one table are one group."""
    datasets = package()

    def table(name: str) -> Any:
        return getattr(datasets, name).load_pandas().data

    def named(name: str, group: str, times: Any, values: Any) -> Iterator[dict[str, Any]]:
        found = document(name, group, list(times), list(values), tally)
        if found is not None:
            yield found

    weekly = table("co2")
    yield from named("co2", "co2", weekly.index.to_pydatetime(), weekly["co2"])
    for name, when, column in (("sunspots", "YEAR", "SUNACTIVITY"), ("nile", "year", "volume")):
        yearly = table(name)
        yield from named(name, name, [f"{int(year)}-01-01" for year in yearly[when]], yearly[column])
    months = table("elnino").set_index("YEAR")
    times = [f"{int(year)}-{month:02d}-01" for year in months.index for month in range(1, 13)]
    yield from named("elnino", "elnino", times, months.to_numpy().reshape(-1))
    for name in ("macrodata", "interest_inflation"):
        quarterly = table(name)
        times = [
            f"{int(year)}-{QUARTERS[int(quarter) - 1]:02d}-01" for year, quarter in zip(quarterly.year, quarterly.quarter, strict=True)
        ]
        for column in quarterly.columns.drop(["year", "quarter"]):
            yield from named(f"{name}.{column}", name, times, quarterly[column])
    danish = table("danish_data")
    for column in danish.columns:
        yield from named(f"danish_data.{column}", "danish_data", danish.index.to_pydatetime(), danish[column])
    countries = table("fertility")
    years = [column for column in countries.columns if column.isdigit()]
    for _, row in countries.iterrows():
        country = str(row["Country Name"])
        yield from named(f"fertility: {country}", f"fertility: {country}", [f"{year}-01-01" for year in years], row[years])
