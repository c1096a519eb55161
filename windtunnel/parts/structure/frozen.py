"""Train a head on features that stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Frozen(Structure, name="frozen"):
    """Train only the weights whose names begin with one of ``train``, and leave all others as they are: a head on fixed features.

    The usual judge of features that were learnt before, as in Brandfonbrener et al. 2023, arXiv:2305.16985, where a policy is cloned on a
    frozen encoder. FLOPs are counted as they are spent: the backward pass ends where nothing behind it trains.
    """

    trial = Trial({"train": ["model.norm"]})
    identity = "what is frozen would train without it"

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they may be frozen",
        "galore": "it projects the weight matrices of the blocks, and here they may be frozen",
    }

    train: Many[str] = Field(min_length=1, description="how names of weights begin that train", examples=[["predict_action"]])

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the other weights. Raises PartError where none is named so, or none is left to freeze."""
        names = [name for name, weight in model.named_parameters() if weight.requires_grad]
        if unknown := [begin for begin in self.train if not any(name.startswith(begin) for name in names)]:
            raise PartError(f"frozen: no weight's name begins with {', '.join(unknown)}; they are {', '.join(names)}")
        if not (others := [name for name in names if not name.startswith(self.train)]):
            raise PartError("frozen: every weight's name begins so, and none is left to freeze")
        model.frozen_names = others  # type: ignore[assignment]
        for name in others:
            model.get_parameter(name).requires_grad_(False)

    def remove(self, model: PreTrainedModel) -> None:
        """Let them train again."""
        names: Any = model.frozen_names
        for name in names:
            model.get_parameter(name).requires_grad_(True)
        del model.frozen_names
