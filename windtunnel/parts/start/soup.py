"""Begin from the average of several trained models."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.checkpoint import refuse_other_sizes, refuse_other_tokens, with_rows
from windtunnel.slots import ALONE, Evaluation, Start, StartContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel


class Soup(Start, name="soup"):
    """Begin with the average of the weights of several models of one shape.

    Wortsman et al. 2022, "Model soups", arXiv:2203.05482: the uniform soup, or with ``weights`` a weighted one. The greedy one takes
    ingredients in the order of what they are worth on validation, as the encoding of the documents is judged (bits per byte), and keeps
    one if the average with it is better than without, as in their code; it needs no weights. Models average well where they share a part
    of their training, so let the ingredients begin from one recipe. Each is flown once, and what all of them cost is charged, and so is
    what the choice reads. Averages are computed in float64.
    """

    trial = Trial({"ingredients": [{"folder": "@model"}, {"folder": "@model"}]})

    ingredients: tuple[Trained, ...] = Field(min_length=2, description="the models that are averaged")
    weights: tuple[float, ...] = Field((), description="how much each ingredient counts, in their order (default: equally)")

    choose: Literal["all", "greedy"] = Field("all", description="which ingredients are averaged: all, or those that help")
    read: int = Field(8192, ge=1, description="most units of each source on validation that an ingredient is chosen by")

    @model_validator(mode="after")
    def _one_weight_each(self) -> Soup:
        if self.weights and self.choose == "greedy":
            raise ValueError("a greedy soup chooses its ingredients and weighs them equally; give weights or choose: greedy, not both")
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
        from windtunnel.kits.weights.deltas import refuse_other_weights
        from windtunnel.models.locate import locate
        from windtunnel.models.sizes import rows_of

        models = [context.models[f"ingredients.{number}"] for number in range(len(self.ingredients))]
        for number, (model, trained) in enumerate(zip(models, self.ingredients, strict=True)):
            refuse_other_sizes(model.config, config, f"soup: ingredient {number}")
            if trained.folder is not None:  # those of recipes are compared by their streams
                tokenizer = tokenizer_of(context.stream)
                refuse_other_tokens(locate(trained.folder), rows_of(model.config) or 0, tokenizer, f"soup: ingredient {number}")
        first = models[0]
        states = [model.state_dict() for model in models]
        for number, state in enumerate(states):
            refuse_other_weights(states[0], state, f"soup: ingredient {number}")
        if self.choose == "greedy":
            states = [states[number] for number in self._chosen(models, context)]
        first.load_state_dict(average(states, self.weights or (1.0,) * len(states)))
        return with_rows(first, rows_of(config), context, "soup")

    def each_by_itself(self) -> bool:
        """Whether :meth:`merged` makes every number from those in its place alone, so that a weight may be merged in pieces."""
        return True

    def merged(self, name: str, given: Mapping[str, Tensor], config: Callable[[], Any], seed: int) -> Tensor:
        """The weight ``name`` of the average from that of each model in ``given``, by the path of its field."""
        states = [{name: given[f"ingredients.{number}"]} for number in range(len(self.ingredients))]
        return average(states, self.weights or (1.0,) * len(states))[name]

    def _chosen(self, models: Sequence[PreTrainedModel], context: StartContext) -> list[int]:
        """The numbers of the ingredients of the greedy soup, best first; says which they are in a warning."""
        import copy

        import torch

        from windtunnel.core.registry import make

        assert context.judge is not None and context.stream is not None
        evaluation, held_out = make(Evaluation, context.stream.encoding.evaluation), context.judge(self.read)
        sign = 1 if evaluation.better == "lower" else -1
        units = sum(batch["labels"].numel() for source in held_out.sources for batch in held_out.batches(source, held_out.objective))
        tried = copy.deepcopy(models[0]).to(held_out.device).eval()  # type: ignore[arg-type]

        def worth(numbers: Sequence[int]) -> float:
            tried.load_state_dict(average([models[number].state_dict() for number in numbers], (1.0,) * len(numbers)))
            with torch.no_grad(), context.counted(units):
                return sign * float(next(iter(evaluation.evaluate(tried, held_out).values())))

        alone = [worth([number]) for number in range(len(models))]
        best, *others = sorted(range(len(models)), key=lambda number: alone[number])
        chosen, reached = [best], alone[best]
        for number in others:
            if (now := worth([*chosen, number])) < reached:
                chosen, reached = [*chosen, number], now
        warnings.warn(f"soup: of {len(models)} ingredients these are averaged, best first: {', '.join(map(str, chosen))}", stacklevel=2)
        return chosen


def average(states: Sequence[Any], weights: Sequence[float]) -> dict[str, Any]:
    """The mean of the tensors of ``states``, which have the same names and shapes, weighted by ``weights``, in their own dtype.

    Numbers that are no floats (counters) are those of the first.
    """
    import torch

    def mean(name: str) -> Any:
        tensors = [state[name] for state in states]
        if not tensors[0].is_floating_point():
            return tensors[0]
        first, *shares = (weight / sum(weights) for weight in weights)
        total = tensors[0].to(torch.float64, copy=True).mul_(first)
        for tensor, share in zip(tensors[1:], shares, strict=True):
            total.add_(tensor.double(), alpha=share)
        return total.to(tensors[0].dtype)

    return {name: mean(name) for name in states[0]}
