"""Begin from a model to which the differences of fine-tuned models are added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.start.checkpoint import refuse_other_sizes, refuse_other_tokens, with_rows
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class TaskArithmetic(Start, name="task-arithmetic"):
    """Begin with ``onto`` plus the sum of ``weight * mask(model - base)`` over fine-tuned ``models``.

    Ilharco et al. 2023, "Editing Models with Task Arithmetic", arXiv:2212.04089. Masks choose entries of each difference:

    - ``random``: each with probability ``density``, and what is left is divided by ``q``. With ``q`` equal to ``density``, its default,
      this is DARE (Yu et al. 2024, arXiv:2311.03099); with ``q`` between that and 1 it is DAREx-q (Deng et al. 2025, arXiv:2410.09344).
    - ``middle``: without the share ``drop_top`` of largest magnitude, the share ``density`` that follow: Model Breadcrumbs (Davari &
      Belilovsky 2024, arXiv:2312.06795). Their code counts in each row, others in the whole tensor.
    - ``top``: the share ``density`` of largest magnitude.

    ``without`` takes from each difference its component along that of one more model, tensor by tensor: the projection of Robust
    Weight Signatures (Cai et al. 2023, arXiv:2302.12480), whose code counts each weight squared and also replaces batch norms. The sum
    for ``base``, an instructed model and ``onto`` a continued base is the instruction residual (Jindal et al. 2024, arXiv:2410.10739).

    ``scale: shift-ranks`` multiplies each column of each difference by what the rank of its shift among the columns of its model says, in
    the place of ``weights``: WIDEN (Yu et al. 2024, arXiv:2408.03092). A column of an embedding is a token.

    mergekit's DARE restores the norm of the difference instead of dividing by the density, so it is not wrapped; without masks, and
    with ``middle`` and ``top`` in whole tensors, this gives what mergekit gives. Sums are made in float32.
    """

    trial = Trial({"models": [{"folder": "@model"}], "weights": [0.5], "mask": "middle", "density": 0.5, "drop_top": 0.1}, before={})

    base: Trained | None = Field(None, description="what the models were tuned from (default: the model of the phase before)")
    models: tuple[Trained, ...] = Field(min_length=1, description="the fine-tuned models")
    weights: tuple[float, ...] = Field((), description="what the difference of each model is multiplied with (default: 1)")
    onto: Trained | None = Field(None, description="what differences are added to (default: the model of the phase before, else the base)")
    mask: Literal["none", "random", "middle", "top"] = Field("none", description="which entries of a difference are kept")
    density: float = Field(1.0, gt=0, le=1, description="share of the entries that a mask keeps")
    q: float | None = Field(None, gt=0, le=1, description="what randomly kept entries are divided by (default: density)")
    drop_top: float = Field(0.0, ge=0, lt=1, description="share of largest magnitude that the mask middle leaves out")
    scale: Literal["weights", "shift-ranks"] = Field(
        "weights", description="what multiplies differences: weights, or the rank of each column's shift"
    )
    per: Literal["row", "tensor"] = Field("tensor", description="what shares of middle and top are counted in")
    without: Trained | None = Field(None, description="a model along whose difference from the base nothing is added")
    layers: int | None = Field(None, ge=1, description="only the first layers of each stack are changed (default: all weights are)")

    @model_validator(mode="after")
    def _fits_together(self) -> TaskArithmetic:
        if self.weights and len(self.weights) != len(self.models):
            raise ValueError(f"{len(self.weights)} weights for {len(self.models)} models; give each one, or none")
        if (self.mask == "none") != (self.density == 1):
            raise ValueError("density says what share a mask keeps: give both a mask and a density below 1, or neither")
        if self.q is not None and (self.mask != "random" or self.q < self.density):
            raise ValueError("q lies between density and 1 and goes with the mask random")
        if self.scale == "shift-ranks" and (self.weights or len(self.models) < 2):
            raise ValueError("shift-ranks make the weights of two models or more: leave out weights, and name a second model")
        if self.drop_top and (self.mask != "middle" or self.density + self.drop_top > 1):
            raise ValueError("drop_top goes with the mask middle, and it and density add up to at most 1")
        return self

    def origin(self) -> str | None:
        """What differences are added to, or the base, where it is in a folder."""
        return next((one.folder for one in (self.onto, self.base) if one is not None and one.folder is not None), None)

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """The sum. Masks depend on ``seed``, the number of the model and the name of the weight.

        Raises:
            PartError: without a base; where a model has other sizes, weights or tokens than the recipe says; where no model differs
                from the base.
        """
        import torch

        from windtunnel.kits.text.encoded import tokenizer_of
        from windtunnel.kits.weights.deltas import refuse_other_weights
        from windtunnel.models.locate import locate
        from windtunnel.models.sizes import rows_of

        models = dict(context.models)
        if previous is not None:
            models = {"base": previous, "onto": previous, **models}
        if "base" not in models:
            raise PartError("task-arithmetic: no phase comes before it, so `base` has to say what the models were tuned from")
        for path, model in models.items():
            refuse_other_sizes(model.config, config, f"task-arithmetic: {path}")
        for path, trained in self.trained().items():
            if trained.folder is not None:
                tokenizer, rows = tokenizer_of(context.stream), rows_of(models[path].config) or 0
                refuse_other_tokens(locate(trained.folder), rows, tokenizer, f"task-arithmetic: {path}")
        result = models.get("onto", models["base"])
        states = {path: dict(model.named_parameters()) for path, model in models.items()}
        for path, state in states.items():
            refuse_other_weights(states["base"], state, f"task-arithmetic: {path}")
        changed = False
        with torch.no_grad():
            for name, weight in result.named_parameters():
                value = self.merged(name, {path: state[name] for path, state in states.items()}, lambda: config, seed)
                changed |= not torch.equal(value, weight)
                weight.copy_(value)
        if not changed:
            raise PartError("task-arithmetic: no weight of the models differs from the base, or all weights are 0, so it adds nothing")
        return with_rows(result, rows_of(config), context, "task-arithmetic")

    def each_by_itself(self) -> bool:
        """Whether :meth:`merged` makes every number from those in its place alone, so that a weight may be merged in pieces."""
        return self.mask == "none" and self.without is None and self.scale == "weights"

    def merged(self, name: str, given: Mapping[str, Tensor], config: Callable[[], Any], seed: int) -> Tensor:
        """The weight ``name`` of the result from that of each model in ``given`` (by the path of its field), in its own dtype.

        ``config`` gives the transformers configuration of the models, asked for where the names of weights do not say enough.
        """
        import torch

        onto = given.get("onto", given["base"])
        if not onto.is_floating_point() or not self._touches(name, config):
            return onto
        wide = torch.promote_types(onto.dtype, torch.float32)
        base, total = given["base"].to(wide), onto.to(wide)
        if self.scale == "shift-ranks":
            deltas = [self._delta(name, base, given, number, seed) for number in range(len(self.models))]
            return (total + self._ranked(name, base, deltas, config)).to(onto.dtype)
        for number, weight in enumerate(self.weights or (1.0,) * len(self.models)):
            total = total + weight * self._delta(name, base, given, number, seed)
        return total.to(onto.dtype)

    def _ranked(self, name: str, base: Tensor, deltas: list[Tensor], config: Callable[[], Any]) -> Tensor:
        from windtunnel.kits.weights.deltas import by_shift_ranks
        from windtunnel.models.init import family_of

        if name.removesuffix(".weight") in family_of(config()).places(config()).embeddings:
            return by_shift_ranks(base.T, [delta.T for delta in deltas]).T
        return by_shift_ranks(base, deltas)

    def _delta(self, name: str, base: Tensor, given: Mapping[str, Tensor], number: int, seed: int) -> Tensor:
        """What model ``number`` has beyond ``base``: without what lies along ``without``, and of that what the mask keeps."""
        from windtunnel.kits.weights.deltas import without_component

        delta = given[f"models.{number}"].to(base.dtype) - base
        if "without" in given:
            delta = without_component(delta, given["without"].to(base.dtype) - base)
        return self._chosen(delta, name, number, seed)

    def _chosen(self, delta: Tensor, name: str, number: int, seed: int) -> Tensor:
        from windtunnel.kits.weights.deltas import random_mask, size_mask
        from windtunnel.models.init import generator

        if self.mask == "none":
            return delta
        if self.mask == "random":
            kept = random_mask(delta, self.density, generator(seed, f"{number}:{name}"))
            return delta * kept / (self.density if self.q is None else self.q)
        return delta * size_mask(delta, self.density, self.drop_top, self.per, f"task-arithmetic: {name}")

    def _touches(self, name: str, config: Callable[[], Any]) -> bool:
        if self.layers is None:
            return True
        from windtunnel.models.init import family_of

        stacks = family_of(config()).places(config()).stacks
        return any(name.startswith(f"{stack}.{layer}.") for stack in stacks for layer in range(self.layers))
