"""Trained models side by side on documents and questions of one's own: bits per byte by source, differences paired by document.

Nothing is trained. Every model reads the same documents with its own tokenizer, each document from its beginning, in windows of the same
number of tokens; so numbers of models with different tokenizers compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from windtunnel.core.errors import UserError
from windtunnel.slots import ByDocument, Source
from windtunnel.study.tasks import ROOM, Asked, asked_of, refuse_unknown, rows_of

if TYPE_CHECKING:
    import pandas

    from windtunnel.data.corpus.corpus import Corpus

CONTEXT = 1024  # most tokens of a window, unless more are asked for
BATCH = 4  # windows that go through a model at once
CONFIDENCE = 0.95
ALL = "all"  # what all sources together are called


class ModelOnText(NamedTuple):
    """What was measured of one model: ``documents`` by source, what is told of it, and what it said to tasks."""

    model: str
    documents: dict[str, ByDocument]
    about: dict[str, Any]
    asked: list[Asked] = []


def _indexed(rows: Sequence[Mapping[str, Any]], *names: str) -> pandas.DataFrame:
    import pandas

    return pandas.DataFrame(rows, columns=None if rows else [*names]).set_index([*names])


class SideBySide:
    """Models on the same documents and tasks. ``data`` is what ``windtunnel evaluate --json`` prints."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def table(self) -> pandas.DataFrame:
        """A row a source and model; ``difference`` is from the first model, with its interval.

        Where only tasks were asked, those; where only weights were looked at, those.
        """
        if self.data["numbers"]:
            return _indexed(self.data["numbers"], "source", "model")
        return self.tasks() if self.data["tasks"] else self.weights()

    def tasks(self) -> pandas.DataFrame:
        """A row a task, metric and model; ``difference`` is from the first model, with its interval over questions."""
        return _indexed(self.data["tasks"], "task", "metric", "model")

    def weights(self) -> pandas.DataFrame:
        """A row a model and layer: :class:`windtunnel.kits.weights.health.Layer`."""
        return _indexed(self.data["weights"], "model", "name")

    def __repr__(self) -> str:
        found = {row["model"]: row["bits_per_byte"] for row in self.data["numbers"] if row["source"] == ALL}
        return "<evaluation: " + ", ".join(f"{model} {value:.4f}" for model, value in found.items()) + ">"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def evaluate(
    models: Sequence[str],
    corpus: Mapping[str, Source],
    cache: Path,
    *,
    tasks: Sequence[str] = (),
    weights: bool = False,
    context: int | None = None,
    most_bytes: int | None = None,
    batch: int = BATCH,
    precision: str = "float32",
    threads: int | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> SideBySide:
    """Bits per byte of ``models`` on ``corpus``, and what they say to ``tasks``.

    Args:
        models: each a folder, the folder of a run, a file of weights, or a name on the hub.
        corpus: sources by name, of which every document is read, exact duplicates once.
        cache: where prepared text is kept.
        weights: look at the weights of each, a layer at a time; for this alone a model may be of any architecture, and need no tokenizer.
        tasks: JSON lines of multiple-choice questions (see `multiple-choice`), and tasks of lm_eval, by file or name (see `harness`).
        context: tokens of a window (default: what all models have room for, at most :data:`CONTEXT`) and of a question (default: what
            all have room for).
        most_bytes: most bytes of each source that are read, in whole documents drawn at random, the same for all models; None: all.
        batch: windows that go through a model at once.
        precision: float32 or bfloat16.
        threads, device: as of a run.
        say: told what is being done, a line at a time.

    Raises:
        UserError: for a model that is missing, is not supported or does not write text, and for a source or task that cannot be read.
    """
    import torch

    from windtunnel.data.corpus.prepare import prepare_corpus

    if not models:
        raise UserError("name a model: a folder, the folder of a run, a file of weights, or owner/name on the hub")
    if not corpus and not tasks and not weights:
        what = "for example --corpus notes=~/notes, or questions with --tasks, or look at the --weights"
        raise UserError(f"--corpus: give the text to evaluate on, {what}")
    refuse_unknown(tasks)
    if ALL in corpus:
        raise UserError(f"--corpus {ALL}: is what all sources together are called; give the source another name")
    if twice := next((model for place, model in enumerate(models) if model in models[:place]), None):
        raise UserError(f"{twice}: is named twice")
    if threads:
        torch.set_num_threads(threads)
    looked = weight_rows(models, say) if weights else []
    if not corpus and not tasks:
        named = [{"model": model} for model in models]
        return SideBySide({"kind": "evaluation", "models": named, "numbers": [], "tasks": [], "weights": looked, "corpus": {}})
    ready = {model: opened(model) for model in models}  # what is wrong with one is told before anything is read
    room = {model: positions for model, (_, _, positions) in ready.items() if positions}
    for model, positions in room.items():
        if context is not None and context > positions:
            raise UserError(f"--context {context}: {model} has room for {positions} tokens")
    questions = {"tasks": tasks, "context": context or min([*room.values(), ROOM])}
    context = context or min(CONTEXT, *room.values())
    found = None
    if corpus:
        split: dict[str, Any] = {"validation": 0.0, "test": 1.0, "near_duplicates": 1.0, "held_out_validation": 0.0}
        found = prepare_corpus({}, held_out=corpus, cache=cache / "corpora", progress=say, **split)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    how = {"context": context, "most_bytes": most_bytes, "batch": batch, "precision": precision}
    measured = [_measured(model, ready[model], found, cache, place, how, questions, say) for model in models]
    return SideBySide(
        {
            "kind": "evaluation",
            "models": [{"model": one.model, **one.about} for one in measured],
            **how,
            "device": str(place),
            "confidence": CONFIDENCE,
            "numbers": numbers(measured) if corpus else [],
            "tasks": rows_of([(one.model, one.asked) for one in measured], _confidence(measured)) if tasks else [],
            "weights": looked,
            "corpus": found.table if found else {},
        }
    )


def weight_rows(models: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each matrix and convolution of each model: :class:`windtunnel.kits.weights.health.Layer`, and ``model``.

    Raises:
        UserError: for a checkpoint that cannot be read, or holds no matrix of floating-point numbers.
    """
    from windtunnel.kits.weights.health import layers, stored

    rows = []
    for model in models:
        say(f"looking at the weights of {model}")
        found = layers(stored(model))
        if not found:
            raise UserError(f"{model}: holds no matrix of floating-point numbers")
        rows += [{"model": model, **layer._asdict()} for layer in found]
    return rows


def opened(model: str) -> tuple[Any, Any, int]:
    """The encoding of ``model``, what its files say, and how many positions it has room for (0: that does not end)."""
    from transformers import AutoConfig

    from windtunnel.recipe.resolve import facts_of_text

    known, text = facts_of_text(model, "bits per byte are measured of")
    config = AutoConfig.from_pretrained(known.folder, local_files_only=True)
    return text, known, int(getattr(config, "max_position_embeddings", 0) or 0)


def _measured(
    model: str,
    opened: tuple[Any, Any, int],
    corpus: Corpus | None,
    cache: Path,
    place: Any,
    how: Mapping[str, Any],
    questions: Mapping[str, Any],
    say: Callable[[str], None],
) -> ModelOnText:
    from windtunnel.models.load import load
    from windtunnel.train.machine import precision_context

    encoding, known, _ = opened
    loaded: Any = load(model)
    loaded = loaded.to(place).eval()
    precision = precision_context(place, how["precision"])
    about = {"parameters": sum(parameter.numel() for parameter in loaded.parameters()), "fingerprint": known.fingerprint}
    documents: dict[str, ByDocument] = {}
    if corpus is not None:
        documents, sizes = _documents(loaded, model, encoding, corpus, cache, place, precision, how, say)
        about |= sizes
    asked = []
    if questions["tasks"]:
        say(f"asking {model}: {', '.join(questions['tasks'])}")
        asked = asked_of(loaded, known.folder, **questions, device=place, precision=precision)
    return ModelOnText(model, documents, about, asked)


def _documents(
    loaded: Any,
    model: str,
    encoding: Any,
    corpus: Corpus,
    cache: Path,
    place: Any,
    precision: Any,
    how: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[dict[str, ByDocument], dict[str, Any]]:
    """Bits and bytes of each document, by source, and how many tokens and bytes the sources have."""
    from windtunnel.core import registry
    from windtunnel.data.encode import prepare_stream
    from windtunnel.data.rolling import rolling
    from windtunnel.kits.text.losses import document_losses
    from windtunnel.slots import Objective

    say(f"encoding the documents for {model}")  # all of them are test documents, and splits are no business of whoever asks
    stream = prepare_stream(corpus, encoding, cache=cache / "streams")
    judge = rolling(
        stream,
        "test",
        objective=registry.make(Objective, "next-token"),
        context=how["context"],
        sequences=how["batch"],
        device=place,
        precision=precision,
        most_bytes=how["most_bytes"],
    )
    if not judge.sources:
        raise UserError("the documents hold no text that could be predicted")
    documents = {}
    for source in judge.sources:
        say(f"measuring {model} on {source}")
        _, found = document_losses(loaded, judge, source, judge.objective)
        assert found is not None  # every window says which document it is of
        documents[source] = found
    return documents, {"tokens": stream.sizes("test"), "bytes": stream.bytes("test")}


def sample(
    model: str,
    prompt: str = "",
    *,
    tokens: int = 100,
    temperature: float = 0.8,
    count: int = 1,
    seed: int = 0,
    threads: int | None = None,
    device: str | None = None,
) -> list[str]:
    """What ``model`` writes after ``prompt``, ``count`` times: at most ``tokens`` tokens each, drawn at ``temperature`` (0: the likeliest).

    Raises:
        UserError: for a model that is missing or does not write text, and a prompt that leaves no room.
    """
    import torch

    from windtunnel.kits.text.tokenizer import stored
    from windtunnel.models.load import load

    if threads:
        torch.set_num_threads(threads)
    _, known, room = opened(model)
    tokenizer = stored(known.folder)
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    numbers = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    begin = torch.tensor([([] if first is None else [first]) + list(numbers)])
    if not begin.shape[1]:
        raise UserError(f"{model}: its tokenizer has no token that a text begins with; give a --prompt")
    if room and begin.shape[1] + 1 > room:
        raise UserError(f"--prompt: {begin.shape[1]} tokens, and {model} has room for {room}")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    loaded: Any = load(model)
    loaded = loaded.to(place).eval()
    how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0} if temperature else {"do_sample": False}
    begin = begin.repeat(count if temperature else 1, 1).to(place)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        drawn = loaded.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            max_new_tokens=min(tokens, room - begin.shape[1]) if room else tokens,
            pad_token_id=tokenizer.eos_token_id,
            use_cache=True,
            **how,
        )
    return [str(text) for text in tokenizer.batch_decode(drawn[:, begin.shape[1] :], skip_special_tokens=True)]


def numbers(measured: Sequence[ModelOnText]) -> list[dict[str, Any]]:
    """A row for each source and model: ``bits_per_byte``, and its ``difference`` from the first model with ``low`` and ``high``.

    The interval is over documents, paired, and corrected for the number of models; None with fewer than eight documents. All sources
    together come first, where there are several.
    """
    from windtunnel.study.statistics.bootstrap import over_documents

    confidence = _confidence(measured)
    rows = []
    sources = list(measured[0].documents)
    for source in [ALL, *sources] if len(sources) > 1 else sources:
        each = [_of(one, source) for one in measured]
        first = _ratio(each[0])
        for one, documents in zip(measured, each, strict=True):
            value = _ratio(documents)
            row = {"source": source, "model": one.model, "bits_per_byte": value, "difference": None, "low": None, "high": None}
            if one is not measured[0]:
                found = over_documents([documents], [each[0]], confidence)
                row |= {"difference": value - first, "low": found.low if found else None, "high": found.high if found else None}
            rows.append({**row, "documents": len(documents.unit), "bytes": float(documents.below.sum())})
    return rows


def _confidence(measured: Sequence[ModelOnText]) -> float:
    """That of each interval, so that all of a source hold together."""
    from windtunnel.study.statistics.compare import adjusted_confidence

    return adjusted_confidence(CONFIDENCE, len(measured) - 1) if len(measured) > 1 else CONFIDENCE


def _of(measured: ModelOnText, source: str) -> ByDocument:
    return ByDocument.together(measured.documents.values()) if source == ALL else measured.documents[source]


def _ratio(documents: ByDocument) -> float:
    return float(documents.above.sum() / documents.below.sum())
