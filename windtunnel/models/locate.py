"""Where a model lies that is named by a folder, a file, the hub or a package: always a folder in the Hugging Face format in the end.

Nothing heavy is imported before it is needed: a recipe is read with this module.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from windtunnel.core.errors import PartError
from windtunnel.core.files import naming, publish, remove_abandoned, temporary_folder
from windtunnel.models.content import WHOLE, digest_of

STANDING_IN = "WINDTUNNEL_MODELS"  # in the environment: folders by the name of the model that they stand in for, as JSON
HUB = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")  # what a model needs besides weights: configurations and the tokenizer
PICKLED = (".bin", ".pt", ".pth")
WEIGHTLESS = "this run is finished, but its weights were deleted or did not come with its record; fly it with another --out to have them"


def cache_folder() -> Path:
    """Where converted models are kept: ``$XDG_CACHE_HOME/windtunnel/models``, which is ``~/.cache/windtunnel/models`` unless it is set.

    Not the cache of a study: a conversion depends on the file alone, and every study of this user can use it.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "windtunnel" / "models"


def locate(name: str | Path, cache: Path | None = None) -> Path:
    """The folder (config.json, weights, tokenizer) of the model that ``name`` says.

    Args:
        name: a folder, or one whose subfolder ``model`` is meant, as in a run; a file of weights (.safetensors, .bin, .pt, .pth) with
            config.json beside it; a .gguf file; ``package:NAME/FILE`` for what an installed Python package contains; else
            ``owner/name`` on the Hugging Face hub. A folder that :data:`STANDING_IN` names for it comes before all these: that of a pack.
        cache: where a .gguf file is converted to, once for each content (default: :func:`cache_folder`).

    Raises:
        PartError: where nothing of that name is found, or what is found is no model.
        UserError: where a file cannot be converted or written.
    """
    text = str(name)
    if text in (standing := json.loads(os.environ.get(STANDING_IN) or "{}")):
        return _whole(Path(standing[text]))
    cache = cache or cache_folder()
    place = _in_package(text) if text.startswith("package:") else Path(text).expanduser()
    if place.is_dir():
        return _whole(place)
    if place.is_file():
        if place.suffix == ".gguf":
            from windtunnel.models.gguf import convert

            return _once(cache / f"gguf-{digest_of([place])}", lambda folder: convert(place, folder))
        if place.suffix in (".safetensors", *PICKLED):
            return _around(place, cache)
        raise PartError(f"{text}: not a file of weights that can be read; known: .safetensors, .gguf, {', '.join(PICKLED)}, or a folder")
    if HUB.fullmatch(text) and not text.startswith("package:"):
        return _from_hub(text)
    raise PartError(f"{text}: no such folder or file (a model on the hub is written owner/name)")


def _whole(folder: Path) -> Path:
    for place in (folder, folder / "model"):
        if (place / "config.json").is_file():
            return place
    if (snapshot := _cached(folder)) is not None:
        return snapshot
    raise PartError(f"{folder}: holds no config.json, so it is not the folder of a model{_hint(folder)}")


def _cached(folder: Path) -> Path | None:
    """The snapshot in a folder of the hub's cache (``models--owner--name``) that its branch main stands for."""
    try:
        snapshot = folder / "snapshots" / (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except OSError:
        return None
    return snapshot if (snapshot / "config.json").is_file() else None


def _finished(run: Path) -> bool:
    """Whether the record of a run says so; it stays where weights are deleted."""
    try:
        return bool(json.loads((run / "record.json").read_text(encoding="utf-8"))["status"] == "finished")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _hint(folder: Path) -> str:
    if (folder / "adapter_config.json").is_file():
        return "; it is an adapter: merge it into its model first (merge_and_unload of peft), and name what that writes"
    if (folder / "plan.json").is_file():
        return f"; {WEIGHTLESS}" if _finished(folder) else "; it is a run that has not ended"
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    files = sorted(path.name for path in folder.glob("*.gguf"))
    if files:
        return f"; name the file itself: {folder / files[0]}"
    return f"; name one of those in it: {', '.join(inside[:5])}" if inside else ""


def _in_package(text: str) -> Path:
    package, _, file = text.removeprefix("package:").partition("/")
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise PartError(f"{text}: no installed package is called {package!r}")
    place = Path(found.submodule_search_locations[0]) / file
    if not place.exists():
        inside = sorted(path.name for path in place.parent.iterdir()) if place.parent.is_dir() else []
        raise PartError(f"{text}: the package holds no such file; there: {', '.join(inside[:20]) or 'nothing'}")
    return place


def _around(file: Path, cache: Path) -> Path:
    """A folder for a file of weights: its own where it is the one that would be read there, else one of links in the cache."""
    folder = file.parent
    if not (folder / "config.json").is_file():
        raise PartError(f"{file}: config.json is missing beside it; it says what the weights are")
    if re.search(r"-\d+-of-\d+\.", file.name):
        raise PartError(f"{file}: is one shard of several; name the folder {folder}")
    wanted = WHOLE[0] if file.suffix == ".safetensors" else WHOLE[1]
    if file.name == next((name for name in WHOLE if (folder / name).is_file()), None):
        return folder
    beside = [path for path in sorted(folder.iterdir()) if path.is_file() and any(path.match(pattern) for pattern in BESIDE)]

    def link(made: Path) -> None:
        for path in beside:
            if not path.name.endswith(".index.json"):
                shutil.copyfile(path, made / path.name)
        (made / wanted).symlink_to(file.resolve())

    return _once(cache / f"file-{digest_of([file, *beside])}", link)


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    def fetch(*weights: str) -> Path:
        return Path(snapshot_download(name, allow_patterns=[*BESIDE, *weights], local_files_only=HF_HUB_OFFLINE))

    try:
        folder = fetch("*.safetensors")
        if not any(folder.glob("*.safetensors")):
            folder = fetch("pytorch_model*.bin")
    except Exception as error:  # the hub's client, its transport and the disk each have errors of their own
        if HF_HUB_OFFLINE:
            raise PartError(
                f"{name}: no such folder or file, and not in the hub's cache on this machine ({HF_HUB_CACHE}); HF_HUB_OFFLINE=1 forbids "
                "to download it: unset it, or put the model's folder here and name that"
            ) from error
        reason = (str(error).strip().splitlines() or [""])[0]
        raise PartError(f"{name}: no such folder or file, and the hub does not give it: {type(error).__name__}: {reason}") from error
    return _whole(folder)


def _once(target: Path, make: Callable[[Path], None]) -> Path:
    """``target``, made by ``make(folder)`` unless it is there; it appears under its name only when it is whole."""
    if target.is_dir():
        return target
    prefix = f"{target.name}.partial-"
    with naming(target, "; XDG_CACHE_HOME names another place for it"):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(target.parent, prefix)
        with temporary_folder(target.parent, prefix) as partial:
            make(partial)
            publish(partial, target)
    return target
