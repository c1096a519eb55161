"""Train low-rank changes of frozen weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.weights.targets import Targets
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel


class Lora(Structure, name="lora"):
    """Freeze the model and train ``(alpha / rank) B A`` beside weight matrices, with A [rank, in] and B [out, rank].

    Hu et al. 2022, "LoRA", arXiv:2106.09685, drawn as peft draws it: A uniform within 1/sqrt(in), B zero, so that the model begins as it
    was. At the end of the phase the products are added to the matrices, and everything trains again in a phase that follows. peft's own
    layers are not used: they rename modules, and merging an adapter of a tied head changes the embedding with it. Here such a head
    becomes a matrix of its own. ``windtunnel export --adapter-of BASE`` writes what peft loads.

    ``nested`` is DyLoRA (Valipour et al. 2023, arXiv:2210.07558): each step trains the first b ranks alone, multiplied by alpha / b, b
    drawn uniformly from 1 to ``rank``; what is measured has all of them. ``kept_rank`` cuts the product at the end: a nested one to
    its first ranks, another to its best approximation (by SVD), which is what a nested one has to beat.

    ``side: output`` puts the product behind the matrix instead, ``y + (alpha / rank) B A y`` for its output y, bias and all; ``both`` has
    one on each side, two products of ``rank``: Hydra (Kim et al. 2023, arXiv:2309.06922). What is behind a matrix W is a change of
    it too, ``B A W``, and is added to it at the end like the other.
    """

    trial = Trial({"rank": 4})
    identity = "what is frozen would train without it"

    conflicts: ClassVar[dict[str, str]] = {
        "muon": "it looks for the weight matrices of the blocks, and here they are frozen",
        "galore": "it projects the weight matrices of the blocks, and here they are frozen",
    }

    rank: int = Field(8, ge=1, description="inner size of each product")
    alpha: float = Field(16.0, gt=0, description="products are multiplied by alpha / rank")
    targets: Targets = Field("all", description="which matrices of the blocks get one")
    head: bool = Field(False, description="whether the matrix of the logits gets one too")
    side: Literal["input", "output", "both"] = Field("input", description="what products read: inputs of the matrix, outputs, or both")
    nested: bool = Field(False, description="whether each step trains the first ranks alone, as many as are drawn")
    kept_rank: int | None = Field(None, ge=1, description="the rank that is left at the end (default: all)")

    @model_validator(mode="after")
    def _not_more_than_there_are(self) -> Lora:
        if self.kept_rank is not None and self.kept_rank > self.rank:
            raise ValueError(f"kept_rank {self.kept_rank} is larger than rank {self.rank}")
        if self.side != "input" and (self.nested or self.kept_rank is not None):
            raise ValueError(f"side: {self.side} cannot be nested or cut; leave out nested and kept_rank, or set side: input")
        return self

    def apply(self, model: PreTrainedModel) -> None:
        """Freeze the model and add the products. A depends on torch's generator and the name of the weight.

        Raises:
            PartError: where no matrix is found, the rank is larger than a side of one, or a structure is in place already.
        """
        import torch

        from windtunnel.kits.weights.adapters import LowRankAdapter, OutputAdapter, adapt, chosen
        from windtunnel.kits.weights.factors import uniform
        from windtunnel.parts.structure.low_rank import drawn_seed

        seed = drawn_seed()

        def make(name: str, weight: Tensor) -> LowRankAdapter:
            def factors(read: int, kind: str) -> tuple[Tensor, Tensor]:
                right = uniform((self.rank, read), read**-0.5, seed, f"{name}.{kind}")
                return torch.zeros(len(weight), self.rank, dtype=weight.dtype), right.to(weight.dtype)

            if self.side == "input":
                return LowRankAdapter(*factors(weight.shape[1], "right"), self.alpha)
            of_input = factors(weight.shape[1], "right") if self.side == "both" else None
            return OutputAdapter(*factors(len(weight), "output"), self.alpha, of_input)

        adapt(model, self.name, chosen(model, self.targets, self.head, self.name), self.rank, make)

    def variants(self, model: PreTrainedModel) -> int:
        """How many ranks a step may train: all numbers of them if nested, else one."""
        return self.rank if self.nested else 1

    def take(self, model: PreTrainedModel, variant: int) -> None:
        """Let the first ``variant + 1`` ranks act, if nested."""
        from windtunnel.kits.weights.adapters import adapters

        if self.nested:
            for adapter in adapters(model, self.name).values():
                adapter.active = variant + 1

    def remove(self, model: PreTrainedModel) -> None:
        """Add the products to the matrices; with ``kept_rank`` what is left of them."""
        from windtunnel.kits.weights.adapters import adapters, merge
        from windtunnel.kits.weights.factors import balanced

        for adapter in adapters(model, self.name).values() if self.kept_rank is not None else ():
            if self.nested:
                adapter.active = self.kept_rank
            else:
                left, right = balanced(adapter.left.data, adapter.right.data)
                adapter.left.data[:], adapter.right.data[:] = left, right
                adapter.left.data[:, self.kept_rank :] = 0
        merge(model, self.name)
