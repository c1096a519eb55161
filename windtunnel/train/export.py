"""A finished run as a folder that transformers loads without Windtunnel, checked by loading it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from windtunnel.core.errors import UserError, nearest
from windtunnel.core.keys import differing
from windtunnel.models.locate import WEIGHTLESS
from windtunnel.recipe import Recipe
from windtunnel.train.record import RunRecord, read_record, write_record


def export_run(run: Path, out: Path, dtype: str = "float32") -> dict[str, Any]:
    """Write the model of the finished run in folder ``run`` to the new or empty folder ``out``: weights, tokenizer, card and record.

    Runs train in float32, whatever a checkpoint was stored in, so only ``dtype`` float32 loses nothing; bfloat16 and float16 take half
    the space and round the weights once.

    Returns:
        ``architecture`` (class name), ``loads_with`` (the Auto class), ``beside`` (the class of the tokenizer beside the model,
        if there is one), ``parameters`` (how many), ``dtype``.

    Raises:
        UserError: when the run is not finished or damaged, or ``out`` is not empty or cannot be written.
    """
    record = finished(run, out)
    assert record.totals is not None, "a finished run has totals"
    from windtunnel.models.load import load
    from windtunnel.models.save import DTYPES, export

    if dtype not in DTYPES:
        raise UserError(f"dtype: {dtype!r}: {nearest(dtype, DTYPES)}")
    model = load(run / "model")
    processor = Recipe.model_validate(record.recipe).encoding.processor_in(run / "model")
    card = {
        "title": run.resolve().name,
        "text": "Trained with Windtunnel. `record.json` beside it says how: the resolved recipe, the seed, versions and hardware.",
        **{f"test {name}": f"{value:.5g}" for name, value in record.test.items()},
        **{name: f"{record.totals[name]:,.0f}" for name in ("tokens", "flops")},
        "seed": record.seed,
        "text it was trained on": f"fingerprint {record.stream}",
        "recipe": yaml.safe_dump(differing(Recipe.model_validate(record.recipe)), sort_keys=False, allow_unicode=True, width=120),
        "dtype": dtype,
        **origins(record.recipe),
    }
    if added := record.tokens_added:
        card["special tokens added to the tokenizer"] = f"{len(added)}: {', '.join(added)}"
    tokenizer = None if processor is None else run / "model"  # its files are copied as they are
    export(model, out, tokenizer=tokenizer, card=card, dtype=DTYPES[dtype])
    model = model.to(DTYPES[dtype])  # type: ignore[arg-type]
    write_record(out, record)
    parameters = same_model(model, out)
    if processor is not None:
        Recipe.model_validate(record.recipe).encoding.processor_in(out)
    beside = [] if processor is None else [type(processor).__name__]
    return {
        "architecture": type(model).__name__,
        "loads_with": auto_class(model).__name__,
        "beside": beside,
        "parameters": parameters,
        "dtype": dtype,
    }


def export_adapter(run: Path, out: Path, base: str, rank: int | None = None) -> dict[str, Any]:
    """Write what the finished run in folder ``run`` has changed in the model ``base`` to the folder ``out``, as an adapter for peft.

    ``base`` is a model as for ``checkpoint``. The difference is taken apart by SVD, so the run need not have trained an adapter; it has
    to have changed matrices of the blocks or the head alone, each by a matrix of ``rank`` (default: the least rank that holds it).

    Returns:
        ``base``, ``rank``, ``matrices`` (how many are changed).

    Raises:
        UserError: when the run is not finished, ``out`` is not empty, or the difference is no such adapter; it names the weight.
    """
    from windtunnel.kits.weights.adapters import low_rank_changes, write_peft
    from windtunnel.models.anatomy import linears, transposed
    from windtunnel.models.init import family_of
    from windtunnel.models.load import load

    finished(run, out)
    first, tuned = load(base), load(run / "model")
    changes = low_rank_changes(first, tuned, rank)
    stored_transposed = any(transposed(module) for module in linears(first).values())
    task = {"decoder": "CAUSAL_LM", "encoder-decoder": "SEQ_2_SEQ_LM"}.get(family_of(first.config).kind, "FEATURE_EXTRACTION")
    write_peft(out, base, changes, stored_transposed, task)
    return {"base": base, "rank": len(next(iter(changes.values()))[1]), "matrices": len(changes)}


def finished(run: Path, out: Path) -> RunRecord:
    """The record of the run in folder ``run``. Raises UserError where it is not finished or without weights, or ``out`` holds something."""
    record = read_record(run)
    if record is None:
        raise UserError(f"{run}: {'holds no record.json' if run.is_dir() else 'no such folder'}; give the folder of a finished run")
    if record.totals is None or not record.finished:
        raise UserError(f"{run}: the run is {record.status}, not finished; give its train command again")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists and is not an empty folder; choose another")
    if not (run / "model" / "config.json").is_file():
        raise UserError(f"{run}: {WEIGHTLESS}")
    return record


def origins(recipe: dict[str, Any]) -> dict[str, str]:
    """What the card says of the models that the phases of a stored ``recipe`` begin from."""
    found = []
    for phase in Recipe.model_validate(recipe).phases:
        origin = phase.start.origin() if phase.start is not None else None
        if phase.start is not None and origin is not None:
            content = [getattr(part, "fingerprint", None) for part in (phase.start, *phase.start.trained().values())]
            found.append(f"{origin} (content {next((one for one in content if one), 'not known')})")
    return {"began from": "; ".join(found)} if found else {}


def auto_class(model: Any) -> Any:
    """The Auto class of transformers that loads a model like ``model``."""
    import transformers

    from windtunnel.models.init import family_of

    return getattr(transformers, family_of(model.config).auto_class)


def same_model(model: Any, folder: Path) -> int:
    """The number of parameters of ``model``, after loading ``folder`` with transformers alone gave bitwise the same weights.

    Where the code of the model is windtunnel's own, that is the code which was written beside it.
    """
    import torch

    from windtunnel.models.init import family_of

    own = family_of(model.config).config_class() is not None
    again = auto_class(model).from_pretrained(folder, local_files_only=True, trust_remote_code=own)
    for name, value in model.state_dict().items():
        if not torch.equal(value, again.state_dict()[name]):
            raise RuntimeError(f"{folder}: weight {name} is not what it was before the export")
    return sum(value.numel() for value in again.parameters())
