"""Releases of a model in which something changed that they do not say, and rules that look for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

# What may happen between two releases, and the step of the version that it asks for.
EVENTS = {"retrained": "major", "cast": "major", "tokens": "major", "positions": "minor", "resharded": "none", "nothing": "none"}
DEFECTS = ("no card", "no parent", "wrong size")  # of the new release, beside what changed
VERSIONS = {"major": "2.0.0", "minor": "1.1.0", "patch": "1.0.1", "none": "1.0.0"}
OLD_CARD = "What it does.\n"


class ReleaseHistories(Experiment, name="release-histories"):
    """How many unsaid changes between two releases of a model a rule misses, among releases that are made up with known changes.

    Ajibode et al. 2025, arXiv:2409.10472: of 52,227 language models on a hub two fifths of the changes to weights show neither in a name
    nor in documentation. Here weights, tokenizer or configuration change, are merely stored in other files, or stay; the version is raised
    or not; the card tells of it or not; and some releases lack a card or the model that they began from, or say another size.

    ``content`` is what `windtunnel release OLD NEW` says; ``files`` asks for a major step of the version when the bytes of any file but the
    card changed; ``names`` sees versions and cards alone, so all that it finds is a card that is missing. The numbers are
    ``missed``, the share of releases with something to mend of which the rule says nothing, and ``false_alarms``, that of the others of
    which it says something.
    """

    trial = Trial({"releases": 8})

    unit: ClassVar[str] = "share"

    rule: Literal["content", "files", "names"] = Field("names", description="what looks at two releases")
    releases: int = Field(60, ge=4, description="how many are made up")
    silent: float = Field(0.41, ge=0, le=1, description="share of the changes that neither the version nor the card shows")
    defects: float = Field(0.2, ge=0, le=1, description="share of the releases that lack a card or a parent or say another size")

    def measure(self, seed: int) -> dict[str, float]:
        """``missed`` and ``false_alarms``."""
        import tempfile

        import numpy as np

        random = np.random.default_rng(seed)
        missed, alarms = list[bool](), list[bool]()
        with tempfile.TemporaryDirectory() as folder:
            old = _written(Path(folder) / "model-v1", VERSIONS["none"], "nothing", OLD_CARD, "")
            for number in range(self.releases):
                new, wrong = self._drawn(Path(folder) / f"{number}", random)
                (missed if wrong else alarms).append(self._says(old, new) != wrong)
        return {"missed": _share(missed), "false_alarms": _share(alarms)}

    def _drawn(self, folder: Path, random: np.random.Generator) -> tuple[Path, bool]:
        """A release, and whether something in it is to be mended."""
        event = str(random.choice(list(EVENTS)))
        asks = EVENTS[event]
        silent = asks != "none" and random.random() < self.silent
        made = "none" if silent or asks == "none" else asks
        defect = str(random.choice(DEFECTS)) if random.random() < self.defects else ""
        card = OLD_CARD if made == "none" else OLD_CARD + f"New: {event}.\n"
        name = "model-7b" if defect == "wrong size" else "model"
        return _written(folder / name, VERSIONS[made], event, card, defect), silent or bool(defect)

    def _says(self, old: Path, new: Path) -> bool:
        """Whether the rule finds something to mend."""
        from windtunnel.models.release import compared, version_of

        if self.rule == "content":
            return bool(compared(old, new).findings)
        cards = [(folder / "README.md").read_text("utf-8") if (folder / "README.md").exists() else "" for folder in (old, new)]
        if self.rule == "names":
            return not cards[1]
        before, after = ({path.name: path.read_bytes() for path in folder.iterdir() if path.name != "README.md"} for folder in (old, new))
        was, now = version_of(old), version_of(new)
        return before != after and (now is None or was is None or now[0] <= was[0])


def _written(folder: Path, version: str, event: str, card: str, defect: str) -> Path:
    """A release in the form in which transformers writes a model, with weights of a few numbers."""
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    kind = torch.bfloat16 if event == "cast" else torch.float32
    first = 7 if event == "retrained" else 0
    weights = {name: torch.randn(4, 3, generator=torch.Generator().manual_seed(first + at)).to(kind) for at, name in enumerate("ab")}
    if event == "resharded":
        for name, value in weights.items():
            save_file({name: value}, folder / f"model-{name}.safetensors")
        _json(folder / "model.safetensors.index.json", {"weight_map": {name: f"model-{name}.safetensors" for name in weights}})
    else:
        save_file(weights, folder / "model.safetensors")
    _json(folder / "config.json", {"model_type": "some", "max_position_embeddings": 256 if event == "positions" else 128})
    _json(folder / "tokenizer.json", {"tokens": 11 if event == "tokens" else 10})
    if defect != "no card":
        parent = "" if defect == "no parent" else "base_model: some/model\n"
        (folder / "README.md").write_text(f"---\nversion: {version}\n{parent}---\n{card}", encoding="utf-8")
    return folder


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def _share(found: list[bool]) -> float:
    return sum(found) / len(found) if found else 0.0
