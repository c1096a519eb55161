"""Studies: read, checked and flown; and their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.api.given import OUT, Where, expanded
from windtunnel.core.errors import UserError

if TYPE_CHECKING:
    import pandas

    from windtunnel.study.result import StudyResult, Verdict

BASELINE = "baseline"
COSTS = ("tokens", "flops", "effective_flops", "seconds", "cpu_seconds", "peak_memory_bytes", "parameters", "active_parameters")


def read(study: Where | Mapping[str, Any], *, corpus: Mapping[str, Any] | None = None, settings: Mapping[str, Any] | None = None) -> Study:
    """A study from its YAML file, or from a mapping of what such a file says (with ``name``; default: "study").

    Args:
        study: the file, or the mapping.
        corpus: sources by name (a path, ``builtin:NAME``, or a source as YAML writes it) in the place of those of the study.
        settings: of a file, what takes the place of its own, by paths with dots such as ``{"baseline.batch": 8, "seeds": 2}``, as
            ``--set`` has it.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling; for ``settings`` of a mapping, which you can change yourself.
    """
    from windtunnel.study.file import load_study, study_from

    if isinstance(study, Mapping):
        if settings:
            raise UserError("settings: are for the file of a study; change the mapping itself")
        raw = {**study, "corpus": expanded(corpus)} if corpus else study
        return Study(study_from(raw, name=str(study.get("name", "study"))))
    changes = [f"{key}={json.dumps(value)}" for key, value in (settings or {}).items()]
    return Study(load_study(study, expanded(corpus) if corpus else None, changes))


def ask_sources(corpus: Mapping[str, Any], *, target: Mapping[str, Any] | None = None, decides: str | None = None, **more: Any) -> Study:
    """The study that asks which source of ``corpus`` helps: each left out, and drawn more often. Fly it like any other.

    As ``windtunnel ask sources``; ``more`` is that of :func:`windtunnel.study.write.which_sources`.

    Raises:
        UserError: for fewer than two sources, and for one that cannot be read.
    """
    from windtunnel.study.write import which_sources

    raw = which_sources(expanded(corpus), target=expanded(target or {}), decides=decides, **more)
    return read({**raw, "name": "which-sources"})


class Study:
    """A baseline and arms that have been read and can be checked and flown."""

    def __init__(self, file: Any) -> None:
        """``file``: what the study's file says, as :func:`windtunnel.study.file.load_study` returns it."""
        self.file = file

    @property
    def name(self) -> str:
        """The name of the study's folder."""
        return str(self.file.name)

    @property
    def recipes(self) -> dict[str, Any]:
        """The recipe of the baseline and of each arm, by name, the baseline first, with what checkpoints say that they begin from.

        Raises:
            UserError: for a checkpoint that is missing or does not fit.
        """
        return dict(self.file.resolved)

    def check(
        self, out: Where = OUT, *, workers: int | None = None, threads: int | None = None, device: str | None = None
    ) -> dict[str, Any]:
        """What flying it takes, without flying it: runs, FLOPs, seconds, sources, and the steps, tokens and parameters of each arm.

        The beginning of every source is read and two real steps of every recipe are timed, on the first ``device``, as :meth:`fly` has it.

        Raises:
            UserError: for what cannot be flown.
        """
        from windtunnel.study.check import check_study

        return check_study(self.file, Path(out), workers=workers, threads=threads, device=device)

    def elsewhere(self, device: str, *, gpus: int = 1, days: float | None = None, mfu: float = 0.4) -> dict[str, Any]:
        """What a run of each recipe takes on such an accelerator ("h100"), and what ``days`` of it buy; ``sentences`` says it in words.

        As ``windtunnel check --device``. ``gpus`` share a run; ``mfu`` is the share of their peak that is reached.

        Raises:
            UserError: for a device that is not in the table, and for days that buy less than the baseline has.
        """
        from windtunnel.laws.elsewhere import Elsewhere

        there = Elsewhere.asked(device, gpus, days, mfu)
        assert there is not None
        found, sentences = there.told(self.recipes)
        return {**found, "sentences": sentences}

    def sized(
        self, hours: float, out: Where = OUT, *, workers: int | None = None, threads: int | None = None, device: str | None = None
    ) -> Study:
        """This study as it fills ``hours`` hours on this machine: the largest section that leaves room for enough seeds.

        What is chosen is kept below ``out``, where :meth:`fly` goes on with it.

        Raises:
            UserError: where not even two seeds end in time.
        """
        from windtunnel.study.hours import sized

        return Study(sized(self.file, hours, Path(out), workers=workers, threads=threads, device=device)[0])

    def fly(
        self,
        out: Where = OUT,
        *,
        workers: int | None = None,
        threads: int | None = None,
        engine: str = "local",
        address: str | None = None,
        device: str | None = None,
        loggers: Sequence[str] = (),
        quiet: bool = False,
        records: Sequence[Where] = (),
        save_records: Where | None = None,
        share: str | None = None,
    ) -> Result:
        """Fly what is missing, compare, and write the result and its page below ``out/studies``. Called again, it goes on where it was.

        Workers are processes of their own, which do not run the calling script again; parts that stand in it are defined there anew.

        Args:
            out: where runs, prepared text and results are kept and found again.
            workers: runs flown side by side.
            threads: of one run.
            engine: "local" or "ray".
            address: of a running Ray cluster.
            device: cpu, or a GPU or several such as "cuda:0,cuda:2" (default: all GPUs that there are, else the CPU).
            loggers: tensorboard, wandb, mlflow, trackio: the numbers of every run also go there.
            quiet: show nothing.
            records: folders of records of finished runs, which count as flown.
            save_records: a folder that the record of every finished run is written to, without weights.
            share: a store of a team, such as s3://bucket/name or a folder: encoded text and records come from there and go there.

        Raises:
            UserError: for what the caller can put right.
            KeyboardInterrupt: after Ctrl-C; what was flying has written checkpoints.
        """
        from windtunnel.study.fly import fly_study
        from windtunnel.train.machine import refuse_device

        refuse_device(device, several=True)
        kept: dict[str, Any] = {
            "records": [Path(folder) for folder in records],
            "save_records": Path(save_records) if save_records else None,
        }
        kept |= {"device": device, "loggers": tuple(loggers), "share": share}
        found = fly_study(self.file, Path(out), workers=workers, threads=threads, engine=engine, address=address, quiet=quiet, **kept)
        result = Result(found)
        result.page(Path(out) / "studies" / self.name)
        return result

    def __repr__(self) -> str:
        return f"<study {self.name}: baseline, {', '.join(name for name in self.file.written if name != BASELINE)}>"


class Result:
    """What a study or a paper came to: verdicts, tables and charts.

    ``data`` is the content of its result file, ``result`` the same as a :class:`windtunnel.study.result.StudyResult`.
    """

    def __init__(self, data: StudyResult | Mapping[str, Any]) -> None:
        """``data``: the content of a result file, or that typed."""
        from windtunnel.study.lenient import as_result

        self.result = as_result(data)
        self.data: dict[str, Any] = dict(data) if isinstance(data, Mapping) else data.plain()

    @property
    def metric(self) -> str:
        """The number that the verdicts rest on."""
        return self.result.study.metric

    @property
    def verdicts(self) -> dict[str, Verdict | None]:
        """The verdict of each arm: helps, hurts, no difference, undecided or failed; None while runs are missing."""
        return self.result.verdicts

    def table(self) -> pandas.DataFrame:
        """A row an arm, the baseline first: verdict, the metric, its difference from the baseline with the interval, gain and costs."""
        import pandas

        from windtunnel.study.result import Arm, Comparison, ComputeGain

        base = self.result.baseline
        level = Comparison(mean=base.test.mean, difference=0.0)
        reference = Arm(seeds=base.seeds, test=level, **{name: getattr(base, name) for name in COSTS})
        found = []
        for name, arm in {BASELINE: reference, **self.result.arms}.items():
            gain = arm.compute_gain or ComputeGain()
            found.append(
                {
                    "arm": name,
                    "verdict": "reference" if name == BASELINE else arm.verdict,
                    self.metric: arm.test.mean,
                    "difference": arm.test.difference,
                    "low": arm.test.low,
                    "high": arm.test.high,
                    "compute_gain": gain.value,
                    "compute_gain_low": gain.low,
                    "compute_gain_high": gain.high,
                    "seeds": arm.seeds,
                    **{column: getattr(arm, column) for column in COSTS},
                }
            )
        table = pandas.DataFrame(found).set_index("arm")
        return table.astype(dict.fromkeys(table.columns.difference(["verdict", "seeds"]), float))  # None is NaN where all are None too

    def runs(self) -> pandas.DataFrame:
        """A row a run: arm, multiple of the budget, seed, status, what it cost, and every number on test; ``error`` where runs failed."""
        import pandas

        rows = [
            {"arm": run.arm, "multiple": run.multiple, "seed": run.seed, "status": run.status}
            | ({"error": (run.error or run.traceback or "").strip().rpartition("\n")[2]} if run.status == "failed" else {})
            | run.totals.model_dump(exclude={"epochs"})
            | run.test
            for run in self.result.runs
        ]
        return pandas.DataFrame(rows)

    def plot(self) -> Any:
        """The charts of the result side by side, as an altair chart: every arm's interval, and loss against compute.

        Raises:
            UserError: where no run is finished yet.
        """
        from windtunnel.report.picture import drawing

        return drawing(self.result)

    def page(self, folder: Where) -> Path:
        """Write the report (``report.html``, ``report.md``) to ``folder``; returns the page."""
        from windtunnel.report import write_report

        return write_report(self.result, Path(folder))

    def __repr__(self) -> str:
        verdicts = ", ".join(f"{name} {verdict or 'no verdict yet'}" for name, verdict in self.verdicts.items())
        return f"<result of {self.result.study.name}: {verdicts}>"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def read_result(path: Where) -> Result:
    """The result in a file, or in the folder of a study.

    Raises:
        UserError: where there is none, or several.
    """
    from windtunnel.study.results import read_result as read_file
    from windtunnel.study.results import result_files

    files = result_files(Path(path))
    if len(files) > 1:
        raise UserError(f"{path}: holds {len(files)} results; name one of them, for example {files[0]}")
    return Result(read_file(files[0]))
