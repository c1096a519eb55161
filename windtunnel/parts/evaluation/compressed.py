"""What is left of a model that is made smaller without training, how small it is, and how fast."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.parts.evaluation.bits_per_byte import BitsPerByte
from windtunnel.parts.evaluation.pruned import limited
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Compressed(Evaluation, name="compressed"):
    """Bits per byte of the model in each of several ways of making it smaller, with megabytes and tokens per second beside them.

    Ways are those of `windtunnel compress`: ``8bit`` and ``4bit`` round the matrices of the blocks in groups of 32 inputs (``4bit-64``: of
    64), ``2:4`` keeps the two largest of every four consecutive inputs, ``svd-50%`` takes the best two thin factors with half of a
    matrix's numbers. ``compressed/4bit`` is the measure, ``compressed/none`` that of the same text with the model as it is.
    ``compressed_megabytes/4bit`` is reckoned: a file that packs the matrices so, and gives every other number 16 bits.
    ``compressed_tokens_per_second/4bit`` is measured, the better of two passes on this machine: thin factors are two products, and
    what is rounded or masked is computed with as ordinary numbers, so it is no faster here than without. Times differ from run to run.

    On validation the model is measured as it is, and made smaller on test alone. It is put back bitwise.
    """

    trial = Trial({"ways": ["8bit-16", "2:4", "svd-50%"]})

    local = "it rounds and factorises whole matrices"

    unit: ClassVar[str] = "bits per byte"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "compressed/none"
    timed: ClassVar[tuple[str, ...]] = ("compressed_tokens_per_second",)

    ways: tuple[str, ...] = Field(("8bit", "4bit", "2:4", "svd-50%"), min_length=1, description="how it is made smaller, each by itself")
    tokens: int = Field(16384, ge=1, description="most tokens of each source that are read for each way")

    @field_validator("ways")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        from windtunnel.kits.weights.smaller import way_of

        for name in value:
            way_of(name)
        if len(set(value)) < len(value):
            raise ValueError("one of the ways stands there twice")
        return value

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """The measure of each way, then megabytes and tokens per second.

        Raises:
            PartError: where the blocks hold no weight matrix, groups do not divide inputs, or no text was read.
        """
        import torch

        from windtunnel.kits.weights.smaller import bits_of, way_of
        from windtunnel.models.anatomy import linears, transposed

        read = {source: list(limited(held_out, source, held_out.objective, self.tokens)) for source in held_out.sources}
        text = dataclasses.replace(held_out, batches=lambda source, objective: iter(read[source]))
        if held_out.split != "test":  # a structure may still be in place, which no way knows
            return {"compressed/none": next(iter(BitsPerByte().evaluate(model, text).values()))}
        modules: dict[str, Any] = linears(model)
        if not modules:
            raise PartError(f"{self.name}: the blocks of this model hold no weight matrix")
        shapes = [tuple(module.weight.T.shape if transposed(module) else module.weight.shape) for module in modules.values()]
        targets = sum(int((batch["labels"] != -100).sum()) for batches in read.values() for batch in batches)
        before = {name: module.weight.detach().clone() for name, module in modules.items()}
        told, megabytes, speed = dict[str, float](), dict[str, float](), dict[str, float]()
        for name in ("none", *self.ways):
            way = None if name == "none" else way_of(name)
            try:
                if way is not None:
                    way.execute(model)
                seconds = []
                for _ in range(2):
                    begun = time.perf_counter()
                    told[name] = next(iter(BitsPerByte().evaluate(model, text).values()))
                    seconds.append(time.perf_counter() - begun)
            finally:
                with torch.no_grad():
                    for place, module in modules.items():
                        module.weight.copy_(before[place])
                        model.set_submodule(place, module)
            megabytes[name], speed[name] = bits_of(model, shapes, way) / 8e6, targets / min(seconds)
        found = {f"compressed/{name}": value for name, value in told.items()}
        found |= {f"compressed_megabytes/{name}": value for name, value in megabytes.items()}
        return found | {f"compressed_tokens_per_second/{name}": value for name, value in speed.items()}
