"""The Python door: the verbs of the command line as functions, and results as objects with tables and pictures.

``import windtunnel as wt`` offers all of it. Nothing is done here in a way of its own: each function calls what its command calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError, nearest

if TYPE_CHECKING:
    import pandas

    from windtunnel.study.result import StudyResult, Verdict

OUT = "windtunnel-out"
Where = str | Path
BASELINE = "baseline"
COSTS = ("tokens", "flops", "effective_flops", "seconds", "peak_memory_bytes", "parameters", "active_parameters")


def read(study: Where | Mapping[str, Any], *, corpus: Mapping[str, Any] | None = None) -> Study:
    """A study from its YAML file, or from a mapping of what such a file says (with ``name``; default: "study").

    Args:
        study: the file, or the mapping.
        corpus: sources by name (a path, ``builtin:NAME``, or a source as YAML writes it) in the place of those of the study.

    Raises:
        UserError: naming file, line, key and the nearest valid spelling.
    """
    from windtunnel.study.file import load_study, study_from

    if isinstance(study, Mapping):
        raw = {**study, "corpus": _expanded(corpus)} if corpus else study
        return Study(study_from(raw, name=str(study.get("name", "study"))))
    return Study(load_study(study, _expanded(corpus) if corpus else None))


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

    def check(self, out: Where = OUT, *, workers: int | None = None, threads: int | None = None) -> dict[str, Any]:
        """What flying it takes, without flying it: runs, FLOPs, seconds, sources, and the steps, tokens and parameters of each arm.

        The beginning of every source is read and two real steps of every recipe are timed.

        Raises:
            UserError: for what cannot be flown.
        """
        from windtunnel.study.check import check_study

        return check_study(self.file, Path(out), workers=workers, threads=threads)

    def sized(self, hours: float, out: Where = OUT, *, workers: int | None = None, threads: int | None = None) -> Study:
        """This study as it fills ``hours`` hours on this machine: the largest section that leaves room for enough seeds.

        What is chosen is kept below ``out``, where :meth:`fly` goes on with it.

        Raises:
            UserError: where not even two seeds end in time.
        """
        from windtunnel.study.hours import sized

        return Study(sized(self.file, hours, Path(out), workers=workers, threads=threads)[0])

    def fly(
        self,
        out: Where = OUT,
        *,
        workers: int | None = None,
        threads: int | None = None,
        engine: str = "local",
        address: str | None = None,
        quiet: bool = False,
        records: Sequence[Where] = (),
        save_records: Where | None = None,
    ) -> Result:
        """Fly what is missing, compare, and write the result and its page below ``out/studies``. Called again, it goes on where it was.

        Workers are processes of their own, which Python starts by importing the calling script once more: a script guards the call by
        ``if __name__ == "__main__":``. A notebook needs nothing.

        Args:
            out: where runs, prepared text and results are kept and found again.
            workers: runs flown side by side.
            threads: of one run.
            engine: "local" or "ray".
            address: of a running Ray cluster.
            quiet: show nothing.
            records: folders of records of finished runs, which count as flown.
            save_records: a folder that the record of every finished run is written to, without weights.

        Raises:
            UserError: for what the caller can put right.
            KeyboardInterrupt: after Ctrl-C; what was flying has written checkpoints.
        """
        from windtunnel.study.fly import fly_study

        kept: dict[str, Any] = {
            "records": [Path(folder) for folder in records],
            "save_records": Path(save_records) if save_records else None,
        }
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
        return pandas.DataFrame(found).set_index("arm")

    def runs(self) -> pandas.DataFrame:
        """A row a run: arm, multiple of the budget, seed, status, what it cost, and every number on test."""
        import pandas

        rows = [
            {"arm": run.arm, "multiple": run.multiple, "seed": run.seed, "status": run.status}
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


def train(
    recipe: Where | Mapping[str, Any],
    out: Where,
    *,
    seed: int = 0,
    corpus: Mapping[str, Any] | None = None,
    cache: Where = f"{OUT}/cache",
    threads: int | None = None,
    device: str | None = None,
    loggers: Sequence[str] = (),
) -> Any:
    """Train one model from a recipe (a YAML file, or a mapping of what it says) in the folder ``out``; returns its record.

    Called again, it goes on where it was. The model lies in ``out/model``, which ``AutoModel`` loads.

    Args:
        recipe: with its corpus and budget.
        out: the folder of the run.
        seed: what differs between repetitions.
        corpus: sources that are replaced or added.
        cache: where prepared text is kept; studies share theirs.
        threads: of this run (default: torch's own choice).
        device: cpu, cuda, cuda:1 ... (default: a GPU if there is one).
        loggers: tensorboard, wandb, mlflow, trackio.

    Raises:
        UserError: for what the caller can put right.
        RuntimeError: where training failed; the message ends with the traceback.
    """
    from windtunnel.recipe import Document, load_recipe, merge, recipe_from
    from windtunnel.recipe.resolve import resolve
    from windtunnel.train.run import fly, prepare, prepare_needed

    more = _expanded(corpus or {})
    if isinstance(recipe, Mapping):
        found = resolve(recipe_from(merge(recipe, {"corpus": more} if more else {})))
    else:
        document = Document(recipe)
        found = resolve(load_recipe(document, more), document)
    stream, others = prepare(found, Path(cache)), prepare_needed(found, Path(cache))
    record = fly(found, seed, stream, Path(out), threads=threads, device=device, loggers=loggers, streams=others)
    return _finished(record)


def adapt(
    model: str,
    corpus: Mapping[str, Any],
    out: Where,
    *,
    keep: Mapping[str, Any] | None = None,
    budget: str = "30m",
    max_forgetting: str | float | None = "1%",
    replay: float = 0.25,
    rate: float | None = None,
    context: int = 256,
    batch: int = 4,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
) -> Any:
    """Go on training ``model`` on ``corpus``, and keep what it knew; returns the result, before and after, by source.

    As ``windtunnel adapt``. The model lies in ``out/model``, the page in ``out/report.html``. Called again, it goes on where it was.

    Args:
        model: a folder, a file of weights or a hub name.
        corpus: what to adapt to, sources by name.
        out: where all goes.
        keep: sources that stand for what must be kept (default: the model writes its own).
        budget: "30m", "2h", "500 steps", "2e6 tokens", "1e15 flops".
        max_forgetting: by how large a share bits per byte of what is kept may rise; None: by any.
        replay: the share of training documents that come from what is kept.
        rate: the peak learning rate (default: a fifth of that of training from scratch).
        context: tokens of a sequence.
        batch: sequences of a step.
        seed: what differs between repetitions.
        threads: of this process (default: all cores).
        device: cpu, cuda ... (default: a GPU if there is one).

    Raises:
        UserError: for what the caller can put right.
        RuntimeError: where training failed.
    """
    from windtunnel.report.adaptation import page
    from windtunnel.study.adapt import AdaptRequest, budget_of, share_of
    from windtunnel.study.adapt import adapt as fly

    request = AdaptRequest(
        checkpoint=model,
        corpus=_expanded(corpus),
        keep=_expanded(keep or {}),
        budget=budget_of(budget),
        tolerance=share_of(max_forgetting) if isinstance(max_forgetting, str) or max_forgetting is None else max_forgetting,
        replay=replay,
        context=context,
        batch=batch,
        rate=rate,
    )
    result = _finished(fly(request, Path(out), seed=seed, threads=threads, device=device))
    page(result, Path(out))
    return result


def parts(slot: str | None = None) -> pandas.DataFrame:
    """What can be plugged in: a row a part, with its slot and what it does.

    Raises:
        UserError: for a slot that does not exist.
    """
    import pandas

    from windtunnel.core import registry
    from windtunnel.slots import by_name

    known = by_name()
    if slot is not None and slot not in known:
        raise UserError(f"no slot is called {slot!r}; {nearest(slot, known)}")
    rows = [
        {"slot": key, "part": name, "meaning": registry.summary(kind, name)}
        for key, kind in known.items()
        for name in sorted(registry.known(kind))
        if slot in (None, key)
    ]
    return pandas.DataFrame(rows, columns=["slot", "part", "meaning"])


def papers() -> pandas.DataFrame:
    """The papers that can be reproduced: a row a paper and scale, with the verdict where it was measured."""
    import pandas

    from windtunnel.study.papers import list_papers, measured

    rows = []
    for paper in list_papers():
        found = measured(paper)
        rows += [
            {
                "paper": paper.name,
                "title": paper.title,
                "year": paper.year,
                "scale": scale,
                "verdict": found[scale].verdict if scale in found else None,
            }
            for scale in paper.scales
        ]
    return pandas.DataFrame(rows, columns=["paper", "title", "year", "scale", "verdict"])


def reproduce(
    paper: str,
    out: Where = OUT,
    *,
    scale: str = "cpu",
    results: Where | None = None,
    workers: int | None = None,
    threads: int | None = None,
) -> Result:
    """Fly the study of a paper (its name, or its file) and judge whether its claim was reproduced.

    Args:
        paper: a name that :func:`papers` lists, or the file of one.
        out: where runs, prepared text and results are kept and found again.
        scale: one of those that the paper has, cpu or gpu in most.
        results: the folder that the measurement is written to (default: beside the paper).
        workers: runs flown side by side.
        threads: of one run.
    """
    from windtunnel.study import papers as library

    found = library.reproduce(
        library.load_paper(paper), scale, Path(out), results=Path(results) if results else None, workers=workers, threads=threads
    )
    return Result(found)


def pack(studies: Study | Sequence[Study], folder: Where, *, most: int | None = None, out: Where = OUT) -> dict[str, Any]:
    """Pack studies into ``folder`` for a machine without a network or the libraries that read a corpus; returns what is in it.

    Args:
        studies: one, or several, as :func:`read` returns them.
        folder: is made.
        most: bytes that the pack may have; what does not fit is left out, the least valuable first, and named under ``left_out``.
        out: where text is prepared and kept, as for :meth:`Study.fly`.

    Raises:
        UserError: where ``folder`` is not empty, nothing fits, or a study cannot be flown elsewhere.
    """
    from windtunnel.study.pack.make import pack_studies

    given = [studies] if isinstance(studies, Study) else list(studies)
    return pack_studies([study.file for study in given], Path(folder), out=Path(out), most=most).summary()


def fly_pack(folder: Where, minutes: float, *, out: Where = OUT, workers: int | None = None, threads: int | None = None) -> dict[str, Any]:
    """Fly what ends within ``minutes`` of the pack in ``folder``; returns the list of its runs. Called again, it goes on where it was.

    Args:
        folder: what :func:`pack` made.
        minutes: how long it may take.
        out: where runs and results go, which :func:`unpack` takes in.
        workers: most runs side by side (default: as many as make it faster).
        threads: of one run.

    Raises:
        UserError: where the pack is damaged or of another version, or ``out`` holds results of another one.
    """
    from windtunnel.study.pack.flight import fly_pack as fly

    return fly(Path(folder), Path(out), minutes=minutes, workers=workers, threads=threads).plain()


def unpack(results: Where | Sequence[Where], out: Where = OUT, *, weights: bool = False) -> dict[str, list[str]]:
    """Take what came of packs into ``out``, where studies find it as flown; returns ``joined``, ``known`` and ``refused``.

    Args:
        results: folders that packs were flown in.
        out: where studies keep their runs.
        weights: the models too, not their records alone.

    Raises:
        UserError: where a folder holds no results of a pack, or those of another format.
    """
    from windtunnel.study.pack.unpack import unpack as take

    given = [results] if isinstance(results, (str, Path)) else results
    found = take([Path(one) for one in given], Path(out), weights=weights)
    return {"joined": found.joined, "known": found.known, "refused": found.refused}


def _expanded(corpus: Mapping[str, Any]) -> dict[str, Any]:
    """Sources with ``~`` in paths replaced by the home folder; everything else as it is."""
    return {name: str(Path(source).expanduser()) if isinstance(source, (str, Path)) else source for name, source in corpus.items()}


def _finished(record: Any) -> Any:
    """``record`` of a run or an adaptation, or what kept it from finishing, raised."""
    facts = record if isinstance(record, Mapping) else record.model_dump()
    if facts["status"] == "interrupted":
        raise KeyboardInterrupt
    if facts["status"] != "finished":
        failure = facts.get("failure") or {}
        raise RuntimeError(failure.get("traceback") or facts.get("traceback") or failure.get("message") or facts.get("error"))
    return record
