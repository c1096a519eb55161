"""Begin with the encoder of a trained model and a head of another kind."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.settings import Many
from windtunnel.core.trial import Trial
from windtunnel.kits.trials import DIGITS
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class NewHead(Start, name="new-head"):
    """Begin with the encoder of the model that the phase before trained, and with a new head: pre-training, then fine-tuning.

    Every weight of the encoder is carried over. Weights of the head that have the same name and shape in both models are too; the others
    are drawn anew, from the generators that training from scratch would draw them from. A head that says something else with as many
    numbers, such as what to do next after what was done in between, is named in ``anew``. What begins new and what is left behind is
    said in a warning of the run. The usual way of using a pre-trained encoder, as in Dosovitskiy et al. 2020, arXiv:2010.11929.
    """

    trial = Trial(
        model={"family": "vit", "head": "classify"},
        beside={**DIGITS, "objective": "classify", "evaluations": "labels"},
        before={"model": {"family": "vit", "layers": 2, "width": 32, "heads": 2}, "objective": "masked-patches", "context": 8},
    )

    source: Trained | None = Field(None, description="the model whose encoder is taken (default: that of the phase before)")
    anew: Many[str] = Field(
        (), description="how names of weights begin that are drawn anew although they would fit", examples=[["predict_action"]]
    )

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of ``config`` with the encoder of ``source`` or ``previous``.

        Raises:
            PartError: without a model to begin from, where the encoders differ, or where nothing would begin new.
        """
        from windtunnel.kits.weights.grow import origin
        from windtunnel.models.init import fresh
        from windtunnel.models.sizes import sizes_of

        model = origin(previous, context, self.name)
        there, here = sizes_of(model.config), sizes_of(config)
        differ = [f"{key} is {there.get(key)} there and {here[key]} here" for key in here if key != "head" and there.get(key) != here[key]]
        if differ:
            raise PartError(f"new-head: {'; '.join(differ)}; the encoder has to be the same")
        encoder = f"{model.base_model_prefix}."  # before the names of its weights, save in a model that is nothing else
        old = {name.removeprefix(encoder): value for name, value in model.state_dict().items()}
        within = {name.removeprefix(encoder) for name in model.base_model.state_dict()}
        new, taken = [], set()

        def carried(name: str, shape: torch.Size) -> torch.Tensor | None:
            plain = name.removeprefix(encoder)
            weight = None if plain.startswith(self.anew) else old.get(plain)
            if weight is not None and weight.shape == shape:
                taken.add(plain)
                return weight
            if weight is not None and plain in within:
                raise PartError(f"new-head: {plain} has the shape {tuple(weight.shape)} there and {tuple(shape)} here; images of one size?")
            new.append(plain)
            return None

        found = fresh(_with_head_of(model.config, config), seed, carried)
        if unknown := [name for name in self.anew if not any(known.startswith(name) for known in new)]:
            raise PartError(f"new-head: no weight's name begins with {', '.join(unknown)}; they are {', '.join(sorted(taken | {*new}))}")
        left = sorted(set(old) - taken)
        if not new:
            raise PartError("new-head: every weight fits, so no head begins new; name its weights in `anew`, or leave `start` out")
        behind = f"; left behind: {', '.join(left)}" if left else ""
        warnings.warn(f"new-head: begins new: {', '.join(sorted(new))}{behind}", stacklevel=2)
        return found


OWN = ("architectures", "id2label", "label2id", "image_size", "num_channels")  # how a configuration says its head, and what it reads


def _with_head_of(there: Any, here: Any) -> Any:
    """The configuration ``there``, which may know what no recipe says (an activation, an epsilon), with head and images of ``here``."""
    asked = here.to_dict()
    return type(here).from_dict(there.to_dict() | {key: asked[key] for key in OWN if key in asked})
