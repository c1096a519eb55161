"""A model as it would be if it had been tuned, told by two small models, of which one was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import Evaluation, HeldOut, Objective

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class CombinedLogits(Evaluation, name="combined-logits"):
    """The numbers of another evaluation, where logits are the model's + weight (those of ``plus`` - those of ``minus``).

    With a small tuned model as ``plus`` and the same before tuning as ``minus`` it is emulated fine-tuning, up-scaling in particular:
    log p = log p_large + weight (log p_tuned - log p_untuned), normalised for each token (Mitchell et al. 2023, arXiv:2310.12962; also the
    expression of DExperts, arXiv:2105.03023). It tells what tuning the large model would give before that is tuned. The three models
    have one vocabulary. Whole sequences are read anew for every number, without a cache, so evaluations that write texts are refused.
    So are those that read hidden states, which are not combined. Every number is told with ``combined/`` before its name; its unit and
    which way it is better are those of the evaluation.
    """

    trial = Trial({"plus": {"folder": "@model"}, "minus": {"folder": "@model"}, "judged_by": "bits-per-byte"})

    plus: Trained = Field(description="the small model that was tuned")
    minus: Trained = Field(description="the same before it was tuned")
    weight: float = Field(1.0, ge=0, description="of the difference; 0 leaves the model as it is")
    judged_by: Evaluation = Field(description="the evaluation whose numbers are told", examples=[{"exact-match": {"ends": False}}])

    @model_validator(mode="after")
    def _alone(self) -> Self:
        if self.judged_by.trained():
            raise ValueError(
                f"judged_by: {self.judged_by.name} holds models of its own, and these are not handed on; name another evaluation"
            )
        return self

    @property
    def unit(self) -> str:  # type: ignore[override]
        """That of the evaluation."""
        return self.judged_by.unit

    @property
    def better(self) -> str:  # type: ignore[override]
        """As the evaluation says."""
        return self.judged_by.better

    def pinned(self) -> Self:
        """With the content of the files that the evaluation reads."""
        judged_by = self.judged_by.pinned()
        return self if judged_by is self.judged_by else self.model_copy(update={"judged_by": judged_by})

    def measures(self, objective: Objective) -> bool:
        """What the evaluation measures."""
        return self.judged_by.measures(objective)

    def first(self, objective: Objective) -> str:
        """That of the evaluation, combined."""
        name = self.judged_by.first(objective)
        return name and f"combined/{name}"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut, models: Mapping[str, PreTrainedModel] | None = None) -> dict[str, float]:
        """Its numbers with the sum of logits; the model is as before.

        Raises:
            PartError: for models of different vocabularies, an evaluation that reads through a cache or reads hidden states, and as that
                evaluation does.
        """
        others = {name: (models or {})[name] for name in ("plus", "minus")}
        for name, other in others.items():
            if other.config.vocab_size != model.config.vocab_size:
                raise PartError(
                    f"{self.name}: {name} has {other.config.vocab_size} tokens and the model {model.config.vocab_size}; logits are added "
                    "token by token, so all three need one tokenizer"
                )

        def added(_: Any, args: Any, options: Any, output: Any) -> Any:
            if options.get("past_key_values") is not None or options.get("use_cache"):
                raise PartError(f"{self.name}: {self.judged_by.name} reads through a cache, which holds what one model has read")
            if options.get("output_hidden_states"):
                raise PartError(f"{self.name}: {self.judged_by.name} reads hidden states, and only logits are combined")
            plus, minus = (other(*args, **options).logits for other in others.values())
            output.logits = output.logits + self.weight * (plus - minus)
            return output

        model.whole_logits = True  # type: ignore[assignment]
        hook = model.register_forward_hook(added, with_kwargs=True)
        try:
            found = self.judged_by.evaluate(model, held_out)
        finally:
            hook.remove()
            del model.whole_logits
        return {f"combined/{name}": value for name, value in found.items()}
