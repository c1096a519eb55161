"""Series as windows of their values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from windtunnel.core.errors import UserError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial, without
from windtunnel.kits.series.grid import coarse, frequency_number
from windtunnel.kits.trials import PATCHTST, SERIES
from windtunnel.slots import Encoding
from windtunnel.slots.encoding import Fitted, Kind, Piece

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from windtunnel.kits.series.windows import Windows

LATER = ("validation", "test")  # whose windows the ends of training series are, the last of them test's


class SeriesWindows(Encoding, name="series"):
    """Series of numbers as windows, a window a unit: ``past`` steps that a forecast is made from and the ``horizon`` of steps after them.

    Training windows lie ``stride`` steps apart, held-out ones a horizon, counted from the end of the series. Gaps stay gaps, and so does
    what lies before the beginning of a series; what has fewer than ``known`` values in its past, or none in its future, is left out. Values
    are stored as they are: whatever scales them sees a window's past alone.

    Held-out series are new ones, by the split of the corpus. Besides, the last ``later`` horizons of every training series belong to test,
    as many before them to validation, and no training window reaches into either: so "a new series" and "a later time" are two numbers.

    ``coarser: [2, 4]`` trains besides on every training series at a half and a quarter of its rate, as means of so many steps: the
    augmentation of Ekambaram et al. 2024, arXiv:2401.03955. What is held out stays the same.
    """

    trial = Trial({"past": 24, "horizon": 12}, model=PATCHTST, beside=without(SERIES, "encoding"))

    unit: ClassVar[str] = "window"
    evaluation: ClassVar[str] = "relative-error"

    past: int = Field(96, ge=2, description="steps that a forecast is made from", json_schema_extra={"unit": "steps"})
    horizon: int = Field(24, ge=1, description="steps that are forecast", json_schema_extra={"unit": "steps"})
    stride: int | None = Field(None, ge=1, description="steps from one training window to the next (default: horizon)")
    known: int = Field(8, ge=2, description="values that the past of a window has at least")
    coarser: Many[int] = Field((), description="steps that are averaged into one, of training series, as further ones", examples=[[2, 4]])
    later: int = Field(1, ge=0, description="horizons at the end of every training series that are held out, for validation and test each")

    @field_validator("coarser")
    @classmethod
    def _at_least_two(cls, coarser: tuple[int, ...]) -> tuple[int, ...]:
        if min(coarser, default=2) < 2:
            raise ValueError(f"coarser: {min(coarser)}; a mean is of 2 steps at least")
        return coarser

    def differs(self) -> str:
        """As for every encoding."""
        return "other training windows. Where past, horizon, known and later are the same, what is held out is too."

    def signature(self, corpus: Any, before: Any = None) -> dict[str, Any]:
        """As for every encoding."""
        return {key: getattr(self, key) for key in type(self).model_fields if key != "coarser" or self.coarser}

    def fit(self, corpus: Any, folder: Path, before: Any = None, tell: Callable[[str], None] = print) -> Fitted:
        """Nothing is learnt: every window is scaled by its own past. Series that give no window are told."""
        return Fitted(
            fields={
                "past": Kind("<f8", (self.past,), fill=float("nan")),
                "future": Kind("<f8", (self.horizon,), fill=float("nan")),
                "period": Kind("<i8", fill=1, along="document"),
                "frequency": Kind("<i8", along="document"),
                "later": Kind("<i8", along="document"),
            },
            facts={"past": self.past, "horizon": self.horizon},
            encode=lambda split, source: self._encode(corpus, split, source, tell),
        )

    def _encode(self, corpus: Any, split: str, source: str, tell: Callable[[str], None]) -> Iterator[Piece]:
        """The series of ``split``, and where it holds out later times the ends of those of training, behind them."""
        held = self.later * self.horizon
        count = short = 0
        for values, period, frequency in self._read(corpus, split, source):
            stop = len(values) - (len(LATER) * held if split == "train" else 0)
            apart = self.horizon if split in LATER else self.stride or self.horizon
            whole = self._piece(values, 0, stop, apart, (period, frequency, 0))
            count, short = count + 1, short + (not len(whole.arrays["past"]))
            yield whole
            for steps in self.coarser if split == "train" else ():
                means, its_period, its_frequency = coarse(values[: max(stop, 0)], steps, period, frequency)
                yield self._piece(means, 0, len(means), apart, (its_period, its_frequency, 0))
        if short:
            least = self.known + self.horizon + (len(LATER) * held if split == "train" else 0)
            tell(
                f"{short:,} of {count:,} {split} series of {source} give no window: one needs {least} steps or more (known, horizon"
                f"{', and later' if split == 'train' and held else ''}) with values among them"
            )
        if split in LATER and held:
            for values, period, frequency in self._read(corpus, "train", source):
                stop = len(values) - (held if split == "validation" else 0)
                yield self._piece(values, stop - held, stop, self.horizon, (period, frequency, 1))

    def _piece(self, values: np.ndarray, start: int, stop: int, apart: int, about: tuple[int, int, int]) -> Piece:
        """The windows, ``apart`` steps from each other, whose future lies in ``values[start:stop]``; nothing behind is in them."""
        import numpy as np

        from windtunnel.kits.series.windows import cut

        ends = np.arange(stop - self.horizon, max(start, self.known) - 1, -apart)[::-1]
        past, future = cut(values[: max(stop, 0)], ends, self.past, self.horizon)
        good = (np.isfinite(past).sum(axis=1) >= self.known) & np.isfinite(future).any(axis=1)
        single = (np.array([one], np.int64) for one in about)
        arrays = {"past": past[good], "future": future[good], **dict(zip(("period", "frequency", "later"), single, strict=True))}
        return Piece(arrays, int(good.sum()) * 8 * self.horizon, True)

    def _read(self, corpus: Any, split: str, source: str) -> Iterator[tuple[np.ndarray, int, int]]:
        """The values of each series, its period and the number of its frequency."""
        import numpy as np

        known = corpus.schema(source).names
        columns = ["values", *(name for name in ("period", "frequency") if name in known)]
        for batch in corpus.rows(split, source, columns):
            periods = batch.column("period").to_pylist() if "period" in columns else [1] * batch.num_rows
            names = batch.column("frequency").to_pylist() if "frequency" in columns else [""] * batch.num_rows
            for values, period, name in zip(batch.column("values").to_pylist(), periods, names, strict=True):
                try:
                    numbers = np.array(values if values is not None else [], np.float64)
                except (TypeError, ValueError) as error:
                    raise UserError(f"encoding.series: {source}.values: a series is a list of numbers, not {str(values)[:60]}") from error
                yield numbers, max(1, int(period or 1)), frequency_number(str(name))

    def reckoned(self) -> Windows:
        """As for every encoding."""
        return self.facts({"past": self.past, "horizon": self.horizon})

    def example(self, context: int) -> dict[str, np.ndarray]:
        """As for every encoding."""
        import numpy as np

        row = np.zeros((1, context), np.int64)
        steps = np.sin(np.arange(self.past + self.horizon))
        windows = {"past": steps[: self.past], "future": steps[self.past :]}
        arrays = {name: np.tile(values, (1, context, 1)) for name, values in windows.items()}
        about = {"period": row + 1, "frequency": row, "later": row}
        return arrays | about | {"documents": np.arange(context)[None], "positions": row, "sources": row[0, :1]}

    @classmethod
    def facts(cls, stored: Mapping[str, Any]) -> Windows:
        """How long past and horizon are."""
        from windtunnel.kits.series.windows import Windows

        return Windows(**{key: int(stored[key]) for key in Windows._fields})

    @classmethod
    def same_numbers(cls, one: Any, other: Any) -> bool:
        """Values are stored as they are, so every stream says the same with them; windows of another length do not fit a model."""
        return bool(one.facts == other.facts)

    @classmethod
    def samples(cls, model: Any, held_out: Any, count: int = 3) -> list[dict[str, Any]]:
        """Held-out windows as plots, with what it forecasts: see :func:`windtunnel.kits.series.samples.samples`."""
        from windtunnel.kits.series.samples import samples

        return samples(model, held_out, count)

    @classmethod
    def about(cls, facts: Windows) -> dict[str, int]:
        """Steps of past and horizon."""
        return {"steps of past": facts.past, "steps of horizon": facts.horizon}
