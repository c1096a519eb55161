"""Begin from the average of several trained models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.checkpoint import refuse_other_sizes, refuse_other_tokens, with_rows
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel


class Soup(Start, name="soup"):
    """Begin with the average of the weights of several models of one shape.

    Wortsman et al. 2022, "Model soups", arXiv:2203.05482: the uniform soup, or with ``weights`` a weighted one; their greedy soup, which
    chooses ingredients by held-out accuracy, is not built. Models average well where they share a part of their training, so let the
    ingredients begin from one recipe. Each is flown once, and what all of them cost is charged. Averages are computed in float64.
    """

    trial = Trial({"ingredients": [{"folder": "@model"}, {"folder": "@model"}]})

    ingredients: tuple[Trained, ...] = Field(min_length=2, description="the models that are averaged")
    weights: tuple[float, ...] = Field((), description="how much each ingredient counts, in their order (default: equally)")

    @model_validator(mode="after")
    def _one_weight_each(self) -> Soup:
        if self.weights and len(self.weights) != len(self.ingredients):
            raise ValueError(f"{len(self.weights)} weights for {len(self.ingredients)} ingredients; give each one, or none")
        if self.weights and not (min(self.weights) >= 0 and 0 < sum(self.weights) < float("inf")):
            raise ValueError("weights are numbers from 0 up, and not all of them 0")
        return self

    def origin(self) -> str | None:
        """The first ingredient, where it is in a folder."""
        return self.ingredients[0].folder

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """The average.

        Raises:
            PartError: where an ingredient has other sizes, weights or tokens than the recipe says or than the first one has.
        """
        from windtunnel.kits.text.encoded import tokenizer_of
        from windtunnel.models.locate import locate

        models = [context.models[f"ingredients.{number}"] for number in range(len(self.ingredients))]
        for number, (model, trained) in enumerate(zip(models, self.ingredients, strict=True)):
            refuse_other_sizes(model.config, config, f"soup: ingredient {number}")
            if trained.folder is not None:  # those of recipes are compared by their streams
                tokenizer = tokenizer_of(context.stream)
                refuse_other_tokens(locate(trained.folder), model.config.vocab_size, tokenizer, f"soup: ingredient {number}")
        first = models[0]
        states = [model.state_dict() for model in models]
        for number, state in enumerate(states):
            differ = sorted(name for name in states[0].keys() | state.keys() if shape_of(state, name) != shape_of(states[0], name))
            if differ:
                raise PartError(f"soup: ingredient {number} has other weights than the first: {differ[0]}, and {len(differ)} in all differ")
        first.load_state_dict(average(states, self.weights or (1.0,) * len(states)))
        return with_rows(first, config.vocab_size, context, "soup")


def shape_of(state: Any, name: str) -> Any:
    """The shape of the tensor ``name`` of ``state``; None where there is none."""
    return state[name].shape if name in state else None


def average(states: Sequence[Any], weights: Sequence[float]) -> dict[str, Any]:
    """The mean of the tensors of ``states``, which have the same names and shapes, weighted by ``weights``, in their own dtype.

    Numbers that are no floats (counters) are those of the first.
    """
    import torch

    def mean(name: str) -> Any:
        tensors = [state[name] for state in states]
        if not tensors[0].is_floating_point():
            return tensors[0]
        total = torch.zeros_like(tensors[0], dtype=torch.float64)
        for tensor, weight in zip(tensors, weights, strict=True):
            total += tensor.double() * (weight / sum(weights))
        return total.to(tensors[0].dtype)

    return {name: mean(name) for name in states[0]}
