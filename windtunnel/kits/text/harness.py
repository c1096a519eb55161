"""lm-evaluation-harness on a model in memory: its tasks, prompts, metrics and standard errors, with likelihoods made here.

What is called here needs the package lm_eval, and asks for nothing over the network inside :func:`offline`.
"""

from __future__ import annotations

import glob
import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from windtunnel.core.errors import PartError, nearest
from windtunnel.kits.text.continuations import likelihoods

SEED = 1234  # of the choice of examples in a prompt, as the harness has it
RESAMPLES = 1000  # of standard errors that have no formula


class TaskScore(NamedTuple):
    """A metric of a task: its value, its standard error (None: the harness has none), and the value of each question by its number."""

    task: str
    metric: str
    value: float
    error: float | None
    higher: bool
    each: dict[int, float]


class InMemory:
    """A decoder in memory, with what the harness asks of an ``lm_eval.api.model.LM``, as which :func:`scores` registers it.

    Text is cut into tokens as by the harness's own class ``hf``: with a begin-of-text token where the tokenizer adds one; an empty
    context is the begin-of-text token, or where there is none the end-of-text token.
    """

    def __init__(self, model: Any, tokenizer: Any, *, context: int, device: Any, precision: Any) -> None:
        self.model, self.tokenizer, self.context, self.precision = model, tokenizer, context, precision
        self._device = device
        self.cut = 0  # requests that were longer than the context

        self.rank, self.world_size = 0, 1

    @property
    def prefix_token_id(self) -> int:
        """What stands for an empty context."""
        begin = self.tokenizer.bos_token_id
        return int(begin if begin is not None else self.tokenizer.eos_token_id)

    @property
    def tokenizer_name(self) -> str:
        """What requests are remembered by; they are not."""
        return str(self.tokenizer.name_or_path)

    def encoded(self, string: str, add_special_tokens: bool | None = None) -> list[int]:
        """Tokens of ``string``; None leaves special tokens to the tokenizer, except where the text begins with one already."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        how = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **how))

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation behind its context, and whether all of it is the likeliest.

        Spaces that end a context belong to the continuation, whose tokens are those by which both together are longer than the context.
        """
        pairs = []
        for context, continuation in (request.args for request in requests):
            if context:
                bare = self.encoded(context.rstrip())
                pairs.append((bare, self.encoded(context + continuation)[len(bare) :]))
                continue
            tokens, begin = self.encoded(continuation, False), self.prefix_token_id
            pairs.append((tokens[:1], tokens[1:]) if tokens[0] == begin else ([begin], tokens))
        return self._of(pairs)

    def _of(self, given: Sequence[tuple[list[int], list[int]]]) -> list[tuple[float, bool]]:
        """The same of tokens. What is longer than the context loses its beginning."""
        pairs = []
        for context, ending in given:
            room = self.context + 1 - len(ending)  # the last token is predicted and not read
            if room < 1:
                raise PartError(f"a continuation of {len(ending)} tokens is longer than the context of {self.context}")
            self.cut += len(context) > room
            pairs.append((context[-room:], ending))
        found = likelihoods(self.model, pairs, device=self._device, precision=self.precision)
        return [(one.nats, one.greedy) for one in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of whole texts, in windows of the context of which the last is full."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows: list[Any] = []
        owner: list[int] = []
        for number, request in enumerate(requests):
            tokens = self.encoded(request.args[0])
            cut = get_rolling_token_windows(token_list=tokens, prefix_token=self.prefix_token_id, max_seq_len=self.context, context_len=1)
            windows += [make_disjoint_window(window) for window in cut]
            owner += [number] * (len(windows) - len(owner))
        total = [0.0] * len(requests)
        for number, (nats, _) in zip(owner, self._of(windows), strict=True):
            total[number] += nats
        return total

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """What the model writes, by the harness's own class ``hf``."""
        from lm_eval.models.huggingface import HFLM

        written = HFLM(pretrained=self.model, tokenizer=self.tokenizer, batch_size=8, max_length=self.context)
        return list(written.generate_until(requests, disable_tqdm=True))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the template of the tokenizer writes it."""
        ends: dict[str, Any] = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        return str(self.tokenizer.apply_chat_template(chat_history, tokenize=False, **ends))


@contextmanager
def offline() -> Iterator[None]:
    """Let ``datasets`` and the hub take what lies on this machine and ask for nothing; the harness logs errors alone and draws no bars."""
    import datasets
    import huggingface_hub.constants as hub
    import lm_eval.api.model
    import lm_eval.api.task

    changed: list[tuple[Any, str, Any]] = [
        (datasets.config, "HF_HUB_OFFLINE", True),
        (hub, "HF_HUB_OFFLINE", True),
        (lm_eval.api.model, "tqdm", lambda rows, **_: rows),
        (lm_eval.api.task, "tqdm", lambda rows, **_: rows),
    ]
    before = [getattr(module, name) for module, name, _ in changed]
    logger, said, bars = logging.getLogger("lm_eval"), logging.getLogger("lm_eval").level, datasets.utils.logging.is_progress_bar_enabled()
    workers = os.environ.get("DISABLE_MULTIPROC")
    try:
        for module, name, value in changed:
            setattr(module, name, value)
        logger.setLevel(logging.ERROR)
        datasets.utils.logging.disable_progress_bar()
        os.environ["DISABLE_MULTIPROC"] = "1"  # of bootstraps: a process for each core would each load torch
        yield
    finally:
        for (module, name, _), value in zip(changed, before, strict=True):
            setattr(module, name, value)
        logger.setLevel(said)
        if bars:
            datasets.utils.logging.enable_progress_bar()
        if workers is None:
            del os.environ["DISABLE_MULTIPROC"]


def is_file(task: str) -> bool:
    """Whether ``task`` names a file and not a task of the harness."""
    return task.endswith((".yaml", ".yml"))


def files_of(tasks: Sequence[str]) -> list[Path]:
    """All files on this machine that the task files among ``tasks`` are made of: what they include, their functions, their data.

    Raises:
        PartError: for a task file that is missing or no task.
    """
    found: dict[Path, None] = {}
    for task in filter(is_file, tasks):
        config = _read(task)
        found |= dict.fromkeys(_written_in(Path(task).expanduser()))
        for names in _data_files(config).values():
            found |= dict.fromkeys(path for name in names for path in _matching(name))
        given = config.get("dataset_kwargs") or {}
        for folder in (config.get("dataset_path"), given.get("data_dir")):
            for place in (config["_folder"] / str(folder), Path(str(folder))) if folder else ():
                found |= dict.fromkeys(sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else ())
    return list(found)


def _written_in(file: Path) -> list[Path]:
    """A task file, the task files that it includes, and the Python files whose functions they name."""
    text, found = file.read_text(encoding="utf-8"), [file]
    for name in re.findall(r"^include:\s*[\"']?([^\"'\s#]+)", text, re.MULTILINE):
        found += _written_in(file.parent / name)
    modules = {function.rpartition(".")[0] for function in re.findall(r"!function\s+([\w.]+)", text)}
    python = (file.parent / f"{module.replace('.', '/')}.py" for module in sorted(modules))
    return found + [path for path in python if path.is_file()]


def _matching(name: str) -> list[Path]:
    """The files of data that ``name`` means, which may be a pattern."""
    return sorted(path for path in map(Path, glob.glob(name, recursive=True)) if path.is_file())


def load_tasks(tasks: Sequence[str]) -> dict[str, Any]:
    """The tasks as the harness has them, with ``tasks`` and ``groups``.

    Files of data in a task file stand beside it, or where the process runs. Raises PartError naming a task that is not known, has no data
    on this machine or no answers.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=not all(map(is_file, tasks)), include_path=[str(Path(t).parent) for t in tasks if is_file(t)])
    loaded: dict[str, Any] = {"tasks": {}, "groups": {}, "group_map": {}}
    for task in tasks:
        if not is_file(task) and task not in manager.all_tasks:
            near = nearest(task, manager.all_tasks).partition("known:")[0]
            raise PartError(f"lm_eval has no task {task!r}; {near}`lm-eval ls tasks` lists them; a file of your own ends in .yaml")
        with _told(task):
            one = manager.load([_with_places(task)] if is_file(task) else [task])
        for key, entries in loaded.items():
            entries |= one.get(key) or {}
    for name, one in loaded["tasks"].items():
        if one.get_config("num_fewshot") is None:
            one.set_config(key="num_fewshot", value=0)
        refuse_without_answers(name, one)
    return loaded


def refuse_without_answers(name: str, task: Any) -> None:
    """Raise PartError naming the task and the document of a multiple-choice task that has no right choice: the harness counts it wrong."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return
    for number, document in enumerate(task.eval_docs):
        with _told(f"{name}, document {number}"):
            choices, target = task.doc_to_choice(document), task.doc_to_target(document)
        targets = target if isinstance(target, list) else [target]
        known = [one for one in targets if (one in choices if isinstance(one, str) else isinstance(one, int) and 0 <= one < len(choices))]
        if not known and not task.multiple_input:
            raise PartError(f"task {name}: document {number} has no answer: {target!r} is none of its {len(choices)} choices ({document})")


@contextmanager
def _told(task: str) -> Iterator[None]:
    """What goes wrong inside as a PartError that names the task."""
    try:
        yield
    except PartError:
        raise
    except Exception as error:  # of lm_eval, datasets, jinja2 and files of the user's
        kind = type(error).__name__
        missing = "Offline" in kind or "Connection" in kind or "NotFound" in kind
        advice = "; its data set is not on this machine: load it once where there is a network, or name files with dataset_path: json"
        raise PartError(f"task {task}: {kind}: {str(error)[:300]}{advice if missing else ''}") from error


def _read(task: str) -> dict[str, Any]:
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(task).expanduser()
    if not path.is_file():
        raise PartError(f"task {task}: no such file")
    with _told(task):
        found = load_yaml(path.resolve(), resolve_func=True)
    if not isinstance(found, dict) or not {"task", "group"} & found.keys():
        raise PartError(f"task {task}: a task file says `task: NAME`; see lm_eval's guide to new tasks")
    return {**found, "_folder": path.resolve().parent}


def _data_files(config: Mapping[str, Any]) -> dict[str, list[str]]:
    """The files of data of a task, by split, found beside the task file or where the process runs."""
    given = (config.get("dataset_kwargs") or {}).get("data_files") or {}
    by_split = given if isinstance(given, Mapping) else {"train": given}
    found = {split: [names] if isinstance(names, str) else list(names) for split, names in by_split.items()}
    beside: Path = config["_folder"]
    return {split: [str(beside / one) if glob.glob(str(beside / one)) else one for one in names] for split, names in found.items()}


def _with_places(task: str) -> Any:
    """A task file as the harness reads it: its content where it names files of data, else its path."""
    config = _read(task)
    places = _data_files(config)
    for name in (name for names in places.values() for name in names):
        if "://" not in name and not any(mark in name for mark in "*?[") and not Path(name).is_file():
            raise PartError(f"task {task}: {name}: no such file of data, neither beside the task file nor here")
    plain = {key: value for key, value in config.items() if key != "_folder"}
    if not places:
        return str(Path(task).expanduser())
    return {**plain, "dataset_kwargs": {**plain["dataset_kwargs"], "data_files": places}}


def evenly(count: int, most: int) -> list[int]:
    """At most ``most`` of the numbers below ``count``, evenly spaced from the first to the last."""
    taken = min(count, most)
    return sorted({round(place * (count - 1) / max(1, taken - 1)) for place in range(taken)})


def scores(model: InMemory, loaded: Mapping[str, Any], *, most: int | None = None, chat: bool = False) -> list[TaskScore]:
    """Every metric of every task, in their order; of at most ``most`` questions of each, evenly spaced.

    Raises:
        PartError: naming the task where the harness cannot score it.
    """
    from lm_eval.api.model import LM
    from lm_eval.evaluator import evaluate

    LM.register(InMemory)
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=SEED)
    chosen = None
    if most is not None:
        counts = {name: len(task.eval_docs) for name, task in loaded["tasks"].items()}
        chosen = {name: evenly(n, most) for name, n in counts.items()}
    with _told(", ".join(loaded["tasks"])):
        found: Any = evaluate(
            lm=model, task_dict=dict(loaded), samples=chosen, bootstrap_iters=RESAMPLES, apply_chat_template=chat, verbosity="ERROR"
        )
    told = []
    for name, numbers in found["results"].items():
        if name not in loaded["tasks"]:
            continue  # the mean of a group
        better = found["higher_is_better"].get(name, {})
        for key, value in numbers.items():
            metric, _, kept = key.partition(",")
            if not kept or metric.endswith("_stderr") or not isinstance(value, (int, float)):
                continue
            rows = [row for row in found["samples"][name] if row["filter"] == kept]
            each = {row["doc_id"]: float(row[metric]) for row in rows if isinstance(row.get(metric), (int, float))}
            error = numbers.get(f"{metric}_stderr,{kept}")
            error = float(error) if isinstance(error, (int, float)) and math.isfinite(error) else None
            shown = metric if kept == "none" else f"{metric},{kept}"
            told.append(TaskScore(name, shown, float(value), error, bool(better.get(metric, True)), each))
    if not told:
        raise PartError(f"{', '.join(loaded['tasks'])}: the harness gives no number")
    return told
