"""The models that curators hold: flown before their corpus is prepared, handed to them, and what that costs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from windtunnel.core.errors import UserError
from windtunnel.core.keys import Variant, differing
from windtunnel.core.part import Trained
from windtunnel.data.corpus.curation import SPENT, Curation
from windtunnel.recipe import Recipe, run_name
from windtunnel.slots import Curator, CuratorContext
from windtunnel.train.record import forget, has_weights, read_record

if TYPE_CHECKING:
    from windtunnel.data.stream import Stream

# Of the runs whose models curators hold: a corpus is the same for all seeds of a study, and on every machine.
SEED, PLAIN = 0, Variant()

# Given a recipe, its stream and those of the models that it needs, the folder of its finished run with SEED and PLAIN.
Fly = Callable[[Recipe, "Stream", Mapping[str, "Stream"]], Path]


def fly_in(folder: Path, progress: Callable[[str], None] | None = None) -> Fly:
    """What flies a curator's model in this process, in a folder of its own below ``folder``, unless it is finished there."""
    from windtunnel.core.files import awaited
    from windtunnel.train import ranks
    from windtunnel.train.run import fly

    def flown(recipe: Recipe, stream: Stream, streams: Mapping[str, Stream]) -> Path:
        name = run_name(recipe.key(SEED, PLAIN), stream.fingerprint)
        folder.mkdir(parents=True, exist_ok=True)
        tell = progress or print
        with awaited(folder / f"{name}.lock", lambda: tell("another process is training a curator's model; waiting for it")):
            record = read_record(folder / name)
            if record is None or not record.finished or not has_weights(folder / name):
                if ranks.count() > 1:
                    raise UserError("the model of a curator is not trained by several ranks; prepare the corpus first, with --ranks 1")
                if progress:
                    progress(f"training the model that a curator needs: {name}")
                if record is not None and record.finished:
                    forget(folder / name)
                fly(recipe, SEED, stream, folder / name, streams=streams, warn=progress, variant=PLAIN)
        return folder / name

    return flown


def curation_of(recipe: Recipe, folders: Mapping[str, Path], journal: Path) -> Curation:
    """What the curators of ``recipe`` are handed.

    ``folders`` are those of the runs whose models they hold, by the identity of their recipes; what they compute once is kept in files
    beginning with ``journal``.

    Raises:
        UserError: where a run has not finished.
    """
    runs: dict[str, dict[str, float]] = {}
    for folder in folders.values():
        runs |= costs_of(folder)
    curation = Curation(runs=runs)

    def context(curator: Curator, tally: Any) -> CuratorContext:
        held = curator.trained()
        places = {name: place_of(one, folders) for name, one in held.items()}
        identity = json.dumps([differing(curator), sorted(runs)]).encode()  # also the code of a curator of the user's own
        books = _Books(journal.with_name(f"{journal.name}-{hashlib.blake2b(identity, digest_size=8).hexdigest()}.jsonl"), curation.spent)
        return CuratorContext(
            tally,
            models={name: _model(places[name], one) for name, one in held.items()},
            processors={name: _processor(places[name], one, recipe) for name, one in held.items()},
            counted=books.counted,
            once=books.once,
            seed=SEED,
        )

    curation.context = context
    return curation


def costs_of(folder: Path) -> dict[str, dict[str, float]]:
    """What the finished run in ``folder`` has cost by itself, and what the runs have that it needs, by their key."""
    record = read_record(folder)
    if record is None or record.totals is None or not record.finished:
        reason = "has not been flown" if record is None else f"has {record.status}: {record.error}"
        raise UserError(f"the run in {folder}, whose model a curator needs, {reason}")
    own = {unit: record.totals[unit] - (record.charged.get(unit, 0) if unit != "steps" else 0) for unit in SPENT}
    needed = {key: {unit: one[unit] for unit in SPENT} for key, one in record.needed.items()}
    return {**needed, **record.curation, record.key: own}


def place_of(trained: Trained, folders: Mapping[str, Path]) -> str:
    """Where the model ``trained`` lies."""
    return trained.folder or str(folders[trained.recipe.identity()])  # type: ignore[union-attr]


def _model(place: str, trained: Trained) -> Any:
    import torch

    from windtunnel.models.load import load

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return load(place, trained.fingerprint).to(device).eval().requires_grad_(False)  # type: ignore[arg-type]


def _processor(place: str, trained: Trained, recipe: Recipe) -> Any:
    from windtunnel.models.locate import locate

    encoding = recipe.encoding if trained.recipe is None else trained.recipe.encoding
    try:
        return encoding.processor_in(locate(place))
    except UserError:
        return None


@dataclass
class _Books:
    """What one curator spends, entered into ``spent``, and what it has computed so far, kept in the file ``path``."""

    path: Path
    spent: dict[str, float]
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    self.known[entry["name"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # the line that was being written when the process was killed

    def enter(self, amounts: Mapping[str, float]) -> None:
        for unit, amount in amounts.items():
            self.spent[unit] = self.spent.get(unit, 0.0) + amount

    @contextmanager
    def counted(self, tokens: int) -> Iterator[None]:
        from windtunnel.models.flops import counter

        began = time.monotonic()
        with counter() as counts:
            yield
        flops = float(counts.get_total_flops())
        self.enter({"tokens": tokens, "flops": flops, "effective_flops": flops, "seconds": time.monotonic() - began})

    def once(self, name: str, compute: Callable[[], Any]) -> Any:
        if name in self.known:
            self.enter(self.known[name]["spent"])
            return self.known[name]["value"]
        before = dict(self.spent)
        value = compute()
        spent = {unit: amount - before.get(unit, 0.0) for unit, amount in self.spent.items()}
        line = json.dumps({"name": name, "value": value, "spent": spent})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:  # a kill may cut the last line, which is then computed again
            file.write("\n" * (file.tell() > 0) + line)
        self.known[name] = json.loads(line)
        return self.known[name]["value"]
