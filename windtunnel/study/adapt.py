"""Adapt a model that is trained already to documents of one's own: flight, how much of the change to keep, before and after.

``windtunnel adapt`` calls :func:`adapt`. Nothing here trains in a way of its own: it flies the recipe of a request, which ``windtunnel
train`` understands too, and then measures the model before and after on documents that neither has seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from windtunnel.core.errors import UserError
from windtunnel.core.files import write_json
from windtunnel.recipe import Document, Recipe, load_recipe, sources_from
from windtunnel.recipe.resolve import resolve
from windtunnel.slots import Among
from windtunnel.study.adapt_request import OWN, AdaptRequest, settings
from windtunnel.study.result import FORMAT
from windtunnel.train.record import RunRecord

SHARES = 16  # the share of the change that is kept is searched in so many steps
SAMPLED = 2  # prompts of each source in the report
RESAMPLES = 2000


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
