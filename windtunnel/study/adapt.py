"""Adapt a model that is trained already to documents of one's own: recipe, flight, how much of the change to keep, before and after.

It is for models that write text, with their tokenizer beside them: see :func:`model_of_text`.

``windtunnel adapt`` calls :func:`adapt`. Nothing here trains in a way of its own: it writes a recipe, which ``windtunnel train``
understands too, flies it, and then measures the model before and after on documents that neither has seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from windtunnel.core import registry
from windtunnel.core.errors import UserError, nearest
from windtunnel.core.files import write_json
from windtunnel.recipe import Budget, Document, Recipe, load_recipe, sources_from
from windtunnel.recipe.resolve import Facts, facts, resolve
from windtunnel.slots import Among, Encoding, Family, Structure
from windtunnel.study.result import FORMAT
from windtunnel.train.record import RunRecord

OWN = "own-text"  # the source of documents that the model wrote itself
OWN_TOKENS = 16_384
UNITS = {"s": ("seconds", 1.0), "m": ("seconds", 60.0), "h": ("seconds", 3600.0)}
NAMES = {"tokens": "tokens", "token": "tokens", "steps": "steps", "step": "steps", "flops": "flops"}
GENTLE = 0.2  # of the rate that a model of this width is trained from scratch with
SHARES = 16  # the share of the change that is kept is searched in so many steps
SAMPLED = 2  # prompts of each source in the report
RESAMPLES = 2000


@dataclass(frozen=True)
class AdaptRequest:
    """What the user asks for.

    Args:
        checkpoint: folder, file or hub name of the model to go on from.
        corpus: the documents to adapt to, sources by name.
        keep: sources that stand for what the model should keep; without any, the model writes its own.
        budget: how long to train.
        tolerance: the largest share by which bits per byte of what is kept may rise; None: no limit.
        replay: the share of training documents that come from what is kept; 0 leaves it out of training and measures it only.
        context: tokens of a sequence.
        batch: sequences of a step.
        rate: the peak learning rate; None: a fifth of what a model of this width is trained from scratch with.
        own_tokens: about how many tokens the model writes itself where there is no ``keep``.
        precision: arithmetic of forward and backward passes: ``float32``, ``bfloat16``, or ``auto``, the faster one on this machine.
        structure: what trains instead of all weights, the name of a structure such as ``lora``; its usual rate is that of training
            from scratch.
    """

    checkpoint: str
    corpus: Mapping[str, Any]
    keep: Mapping[str, Any] = field(default_factory=dict)
    budget: Budget = field(default_factory=lambda: Budget(seconds=1800.0))
    tolerance: float | None = 0.01
    replay: float = 0.25
    context: int = 256
    batch: int = 4
    rate: float | None = None
    own_tokens: int = OWN_TOKENS
    precision: str = "auto"
    structure: str | None = None

    def __post_init__(self) -> None:
        if not self.corpus:
            raise UserError("--corpus: give the documents to adapt to, for example --corpus notes=~/notes")
        if both := sorted(self.corpus.keys() & self.keep.keys()):
            raise UserError(f"--keep {both[0]}: a source of that name is given with --corpus; every source needs a name of its own")
        if not 0 <= self.replay < 1:
            raise UserError(f"--replay {self.replay:g}: a share from 0 up to, but not including, 1")
        if self.tolerance is not None and not self.tolerance >= 0:
            raise UserError(f"--max-forgetting {self.tolerance:g}: a share, 0 or more, for example 1%")
        if self.structure is not None and registry.find(Structure, self.structure) is None:
            raise UserError(f"--with {self.structure}: no such structure; {nearest(self.structure, registry.known(Structure))}")


def budget_of(text: str) -> Budget:
    """``30m``, ``2h``, ``90s``, ``500 steps``, ``2e6 tokens`` or ``1e15 flops`` as a budget.

    Raises:
        UserError: for anything else.
    """
    found = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?[0-9]+)?)\s*([a-z]+)\s*", text.lower())
    if found:
        amount, unit = float(found[1]) if re.fullmatch(r"[0-9]*\.?[0-9]+(e[+-]?[0-9]+)?", found[1]) else 0.0, found[2]
        if amount > 0 and unit in UNITS:
            return Budget(seconds=amount * UNITS[unit][1])
        if amount > 0 and unit in NAMES:
            return Budget(**{NAMES[unit]: round(amount) if NAMES[unit] == "steps" else amount})
    raise UserError(f"--budget {text}: write a time (30m, 2h, 90s), or for example 500 steps, 2e6 tokens, 1e15 flops")


def share_of(text: str | None) -> float | None:
    """``1%``, ``0.01`` or None as a share. Raises UserError for anything else."""
    if text is None or text.strip().lower() in ("none", "no", "off"):
        return None
    try:
        return float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        raise UserError(f"{text}: write a share as 1% or 0.01, or none for no limit") from None


def model_of_text(checkpoint: str) -> Facts:
    """What the model to adapt says of itself.

    All that this module asks of an encoding is text's: bits per byte of windows of documents, samples, and a tokenizer that the model
    writes its own documents with.

    Raises:
        PartError: where there is no such model, or its family is not supported.
        UserError: for a model that does not write text, or has no tokenizer beside it.
    """
    known = facts(checkpoint)
    family: Any = registry.make(Family, known.model["family"])  # not its class: what some are depends on their settings
    text = registry.make(Encoding, "bpe").completed_from(known.folder, known.rows)
    if "tokens" not in family.reads or family.kind != "decoder":
        what = f"is a model of family {family.name} ({family.kind})"
        raise UserError(f"{checkpoint}: {what}; adapting is for models that write text (decoder)")
    if not text.folders():
        raise UserError(f"{checkpoint}: has no tokenizer beside it ({known.folder}), and adapting needs the one it was trained with")
    return known


def settings(request: AdaptRequest) -> dict[str, Any]:
    """The recipe of ``request`` as a file would write it, before the model's own settings are filled in."""
    from windtunnel.models.settings import ModelSettings

    kept = dict(request.keep) or {OWN: f"{OWN}-{request.own_tokens}.jsonl"}
    raw: dict[str, Any] = {
        "corpus": {**request.corpus, **kept},
        "split": {"validation": 0.05, "test": 0.1},  # few documents are usual here, and a few of them have to judge
        "budget": {request.budget.unit: request.budget.amount},
        "start": {"checkpoint": request.checkpoint},
        "context": request.context,
        "batch": request.batch,
        "schedule": {"linear": {"warmup": 0.05}},
        "evaluation_tokens": 4096,
        "test_tokens": 8192,
    }
    if request.replay:
        new, old = (1 - request.replay) / len(request.corpus), request.replay / len(kept)
        shares = dict.fromkeys(request.corpus, new) | dict.fromkeys(kept, old)
        raw["mixture"] = {"fixed": {"shares": {name: round(share, 6) for name, share in shares.items()}}}
    else:
        raw["sources"] = list(request.corpus)
    if request.precision != "auto":
        raw["precision"] = request.precision
    if request.tolerance is not None:
        raw["limits"] = dict.fromkeys(kept, request.tolerance)
    width = ModelSettings(width=model_of_text(request.checkpoint).model["width"])
    if request.structure is not None:
        raw["structure"] = request.structure
    gentle = GENTLE if request.structure is None else 1.0
    raw["optimizer"] = {"adamw": {"learning_rate": request.rate or float(f"{gentle * width.learning_rate():.2g}")}}
    return raw


def adapt(
    request: AdaptRequest,
    out: Path,
    *,
    seed: int = 0,
    cache: Path | None = None,
    threads: int | None = None,
    device: str | None = None,
    report: Callable[[dict[str, Any]], None] | None = None,
    stop: Callable[[], bool] | None = None,
    warn: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Adapt the model of ``request`` in folder ``out`` and return what came of it, which is also written to ``out/result.json``.

    In ``out``: ``recipe.yaml``, ``run/``, ``model/`` (what AutoModelForCausalLM and AutoTokenizer load) and, without ``keep``,
    ``own-text-TOKENS.jsonl``. Given again it goes on where it was. The result has ``status`` (as a run's record), ``kept_share`` (how much
    of the change in weights was kept), ``stopped`` (why training ended before its budget, or ""), ``sources`` (for each its ``role`` and
    bits per byte before, after training and as exported, on test, each change with a 95 % interval over windows), ``validation`` and
    ``samples`` (prompt, truth, before, after).

    Raises:
        UserError: for what the user can mend.
    """
    from windtunnel.train import ranks
    from windtunnel.train.prepare import prepare
    from windtunnel.train.run import fly

    done = out / "result.json"
    raw = settings(request)
    own = out / raw["corpus"].get(OWN, "")
    if not request.keep:
        raw["corpus"][OWN] = str(own)
    with ranks.rank_0_first():
        present = yaml.safe_load((out / "recipe.yaml").read_text(encoding="utf-8")) if (out / "recipe.yaml").exists() else None
        if present is not None and present != raw:
            raise UserError(f"{out}: holds an adaptation with other settings (see recipe.yaml there); choose another folder with --out")
        if done.exists():
            found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
            if found["seed"] != seed:
                raise UserError(f"{out}: holds an adaptation with seed {found['seed']}; choose another folder with --out")
            return found
        if present is None:  # before the model writes for minutes, and before this folder is bound to a path that is misspelt
            refuse_without_text({**request.corpus, **request.keep})
        out.mkdir(parents=True, exist_ok=True)
        (out / "recipe.yaml").write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True), encoding="utf-8")
        if not request.keep and not own.exists():
            write_own(request, own, seed, threads, device, warn)
        document = Document(out / "recipe.yaml")
        recipe = resolve(load_recipe(document), document)
        stream = prepare(recipe, cache or out / "cache", warn)
    record = fly(recipe, seed, stream, out / "run", threads=threads, device=device, report=report, stop=stop, warn=warn)
    if not record.finished:
        return record.plain()
    result: dict[str, Any] = ranks.broadcast(None if ranks.rank() else result_of(request, recipe, seed, stream, record, out, warn))
    if not ranks.rank():
        write_json(done, result)
    return result


def refuse_without_text(corpus: Mapping[str, Any]) -> None:
    """Raise UserError for a source that cannot be read or has no text, by its beginning."""
    from windtunnel.data.corpus.corpus import without_text
    from windtunnel.data.corpus.glance import glances

    for name, glance in glances(sources_from(corpus)).items():
        if glance.rows and not glance.has_text:
            raise without_text(name, glance.fields)


def write_own(request: AdaptRequest, path: Path, seed: int, threads: int | None, device: str | None, warn: Callable[[str], None]) -> None:
    """Let the model write the documents that stand for what it knows."""
    import torch

    from windtunnel.kits.text.own_text import own_text, write_own_text
    from windtunnel.kits.text.tokenizer import stored
    from windtunnel.models.load import load
    from windtunnel.models.locate import locate

    warn(
        f"no --keep was given: the model writes about {request.own_tokens:,} tokens itself, to rehearse and to be judged by; it keeps what "
        "it would say, not all that it knows, so give a folder of text like what it must keep if you have one"
    )
    if threads:
        torch.set_num_threads(threads)
    model = load(request.checkpoint)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = stored(locate(request.checkpoint))
    shown = -1

    def tell(share: float) -> None:
        nonlocal shown
        if int(share * 5) > shown:
            shown = int(share * 5)
            warn(f"writing own text: {share:.0%}")

    count = write_own_text(path, own_text(model.to(device), tokenizer, tokens=request.own_tokens, seed=seed, report=tell))  # type: ignore[arg-type]
    warn(f"{path}: {count} documents")


def result_of(
    request: AdaptRequest, recipe: Recipe, seed: int, stream: Any, record: RunRecord, out: Path, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Decide how much of the change is kept, measure before and after on test, export, and put together the result."""
    import torch

    from windtunnel.models.load import load
    from windtunnel.models.save import export
    from windtunnel.train import machine
    from windtunnel.train.begin import begin
    from windtunnel.train.log import RunContext
    from windtunnel.train.phase import judges as judges_of
    from windtunnel.train.spend import Account

    phase = recipe.phases[0]
    place = torch.device(record.device)
    run_context = RunContext(folder=out / "run", device=place, precision=machine.precision_context(place, record.precision or "float32"))
    before = begin(recipe, 0, None, stream, seed, run_context, Account()).eval()
    after = load(out / "run" / "model").to(place).eval()  # type: ignore[arg-type]
    # Of several ranks this one measures alone.
    judges = {split: replace(judges_of(recipe, phase, stream, split, run_context), among=Among()) for split in ("validation", "test")}
    warn("measuring the model before and after on test documents")
    told = {"before": windows(before, judges["test"]), "trained": windows(after, judges["test"])}
    samples = {"before": stream.encoding.samples(before, judges["test"], SAMPLED)}
    first, trained = ({name: value.detach().clone() for name, value in model.state_dict().items()} for model in (before, after))
    kept = 1.0
    tried: list[dict[str, Any]] = []
    if recipe.limits:
        kept, tried = kept_share(recipe, after, first, trained, judges["validation"], warn)
    if kept < 1:
        warn(f"{kept:.0%} of the change is kept, the most that stays within the limit on validation")
        mix(after, first, trained, kept)
        told["kept"] = windows(after, judges["test"])
    else:
        told["kept"] = told["trained"]
    samples["after"] = stream.encoding.samples(after, judges["test"], SAMPLED)
    role = {name: "learned" for name in request.corpus} | {name: "kept" for name in recipe.corpus if name not in request.corpus}
    sources = {name: changes(told, name) | {"role": role[name]} for name in judges["test"].sources}
    result = {
        "format": FORMAT,
        "kind": "adaptation",
        "status": "finished",
        "checkpoint": request.checkpoint,
        "tolerance": request.tolerance,
        "replay": request.replay,
        "own_text": not request.keep,
        "kept_share": kept,
        "tried": tried,
        "stopped": record.stopped,
        "sources": sources,
        "validation": [one.plain() for one in record.validation],
        "samples": [
            {**{key: one[key] for key in ("source", "prompt", "truth")}, "before": one["continuation"], "after": two["continuation"]}
            for one, two in zip(samples["before"], samples["after"], strict=True)
        ],
        "totals": record.totals.plain() if record.totals else {},
        "seed": seed,
        "recipe": record.recipe,
        "versions": record.versions,
        "hardware": record.hardware,
    }
    card = {
        "title": f"{Path(request.checkpoint).name}, adapted",
        "text": "Continued with Windtunnel. `record.json` beside it says how.",
        "kept share of the change in weights": f"{kept:.0%}",
    }
    for name, entry in sources.items():
        card[f"bits per byte of {name}, before and after"] = f"{entry['before']:.4f}, {entry['after']:.4f}"
    export(after, out / "model", tokenizer=stream.encoding.processor(stream, recipe.special()), card=card)
    write_json(out / "model" / "record.json", result)
    return result


def mix(model: Any, first: Mapping[str, Any], trained: Mapping[str, Any], share: float) -> None:
    """Give ``model`` the weights that lie ``share`` of the way from ``first`` to ``trained``.

    Wortsman et al. 2021, arXiv:2109.01903 (WiSE-FT): between the model before and after fine-tuning lie models that keep most of what
    the first one knows and have most of what the second one learned.
    """
    import torch

    def between(name: str, value: Any) -> Any:
        return torch.lerp(first[name], value, share) if value.is_floating_point() else value

    with torch.no_grad():
        model.load_state_dict({name: between(name, value) for name, value in trained.items()})


def kept_share(
    recipe: Recipe, model: Any, first: Mapping[str, Any], trained: Mapping[str, Any], judge: Any, warn: Callable[[str], None]
) -> tuple[float, list[dict[str, Any]]]:
    """The largest share of the change, in steps of 1/16, with which every limited source stays within its limit on validation.

    Found by halving, which takes four measurements and supposes that the loss only rises on the way out of the limit. Returns it with all
    that was tried; 0 where even the smallest step leaves the limit. ``model`` is left with the weights last tried.
    """

    def rise(share: float) -> dict[str, float]:
        mix(model, first, trained, share)
        table = windows(model, judge, tuple(recipe.limits))
        return {name: float(rows[0].sum()) for name, rows in table.items()}

    start = rise(0.0)
    tried: list[dict[str, Any]] = []

    def within(share: float) -> bool:
        now = {name: value / start[name] - 1 for name, value in rise(share).items()}
        tried.append({"share": share, "rise": now})
        warn(f"with {share:.0%} of the change: " + ", ".join(f"{name} {value:+.2%}" for name, value in now.items()))
        return all(value <= recipe.limits[name] for name, value in now.items())

    if within(1.0):
        return 1.0, tried
    low, high = 0, SHARES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if within(middle / SHARES) else (low, middle)
    return low / SHARES, tried


def windows(model: Any, judge: Any, only: tuple[str, ...] | None = None) -> dict[str, np.ndarray]:
    """Nats and bytes of every held-out window, by source: float64 [2, windows]."""
    from windtunnel.kits.text.losses import window_losses
    from windtunnel.parts.evaluation.bits_per_byte import judge as scorer

    objective = scorer(model, judge.objective)
    was = model.training
    model.eval()
    found = {source: window_losses(model, judge, source, objective) for source in judge.sources if only is None or source in only}
    model.train(was)
    return {source: np.stack([table[:, 0], table[:, 2]]) for source, table in ((name, rows.cpu().numpy()) for name, rows in found.items())}


def changes(told: Mapping[str, Mapping[str, np.ndarray]], source: str) -> dict[str, Any]:
    """Bits per byte of ``source`` before, after training and as exported, and both changes as shares with 95 % intervals.

    The interval resamples windows, the same ones before and after. It speaks of this text and this one training, not of other seeds.
    """
    random = np.random.default_rng(0)
    before = told["before"][source]
    count = before.shape[1]
    drawn = random.integers(count, size=(RESAMPLES, count))
    per_byte = float(before[1].sum() * np.log(2))
    found: dict[str, Any] = {"windows": count, "bytes": float(before[1].sum()), "before": float(before[0].sum()) / per_byte}
    for key, name in (("trained", "trained"), ("kept", "after")):
        now = told[key][source]
        found[name] = float(now[0].sum()) / per_byte
        resampled = now[0][drawn].sum(axis=1) / before[0][drawn].sum(axis=1) - 1
        low, high = np.quantile(resampled, [0.025, 0.975])
        found[f"change_{name}"] = {"mean": float(now[0].sum() / before[0].sum() - 1), "low": float(low), "high": float(high)}
    return found
