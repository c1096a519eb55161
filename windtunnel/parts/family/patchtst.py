"""PatchTST, a transformer over the patches of a series."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import Field

from windtunnel.core.errors import UserError
from windtunnel.core.trial import Trial
from windtunnel.kits.series.grid import FREQUENCIES
from windtunnel.kits.trials import SERIES
from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, Inputs, MlpPlace, Places, Sizes

BLOCK = BlockPlace(
    AttentionPlace("self_attn", ("q_proj", "k_proj", "v_proj"), "out_proj"),
    MlpPlace("ff", (None, "0"), "3"),
    {"attention": "norm_sublayer1", "mlp": "norm_sublayer3"},
)
UNNAMED = ("tied", "rows", "positions")  # it has no table of units
NUMBERS = {"points": 1, "normal": 2, "student-t": 3}  # that its head says of each step


class Patchtst(Family, name="patchtst"):
    """An encoder of series, cut into patches that each become one position, with a head that forecasts the whole horizon at once.

    Nie et al. 2022, arXiv:2211.14730. Every channel is a series of its own. It scales what it reads by the mean and deviation of its
    values, so that an exported model takes series as they are. Layer norm stands in the place of the batch norm that is usual there: what
    is said of a window must not depend on the others of its batch. ``prefix: frequency`` puts a patch before the series that says how long
    its steps are, the resolution prefix of Ekambaram et al. 2024, arXiv:2401.03955. An exported model reads it as the first ``patch``
    values, not observed: the mean of the others for 0, their deviation above or below it for 1 and -1.
    """

    trial = Trial({"patch": 4}, beside=SERIES)

    kind: ClassVar[str] = "forecaster"
    reads: ClassVar[tuple[str, ...]] = ("past", "observed", "frequency")
    auto_class: ClassVar[str] = "PatchTSTForPrediction"  # no automatic class knows it: AutoModel loads it without its head
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **{size: names for size, names in Family.names.items() if size not in UNNAMED},
        "layers": ("num_hidden_layers",),
        "width": ("d_model",),
        "intermediate": ("ffn_dim",),
        "patch": ("patch_length",),
        "prefix": ("series_prefix",),
        "head": ("series_head",),
    }

    patch: int = Field(8, ge=1, description="steps in a patch; it divides the past that the encoding says")
    prefix: Literal["none", "frequency"] = Field("none", description="what stands before the series: nothing, or how long its steps are")
    head: Literal["points", "normal", "student-t"] = Field("points", description="what it says of each step: a number, or a distribution")

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family; of the windows it asks ``facts`` for ``past`` and ``horizon``.

        Raises:
            UserError: where patches do not fill the past, or one has no room for the prefix, and for a distribution of a single step.
        """
        from transformers import PatchTSTConfig

        if facts.past % self.patch or facts.past == self.patch:
            fits = ", ".join(str(patch) for patch in range(1, facts.past) if facts.past % patch == 0)
            raise UserError(
                f"model.patch: {self.patch} does not cut a past of {facts.past} steps into two patches or more; these do: {fits}"
            )
        if self.prefix != "none" and self.patch < BITS:
            raise UserError(f"model.prefix: {self.prefix} needs a patch of {BITS} steps at least; patch is {self.patch}")
        if self.head != "points" and facts.horizon < 2:  # transformers drops the axis of a single step from its distributions
            raise UserError(f"model.head: {self.head} needs a horizon of 2 steps or more; the encoding says {facts.horizon}")
        config = PatchTSTConfig(
            d_model=sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            ffn_dim=sizes.intermediate,
            attention_dropout=sizes.dropout,
            positional_dropout=sizes.dropout,
            path_dropout=sizes.dropout,
            ff_dropout=sizes.dropout,
            head_dropout=sizes.dropout,
            num_input_channels=1,
            context_length=facts.past + (0 if self.prefix == "none" else self.patch),
            prediction_length=facts.horizon,
            patch_length=self.patch,
            patch_stride=self.patch,
            norm_type="layernorm",
            pooling_type=None,
            do_mask_input=False,  # it would draw masks inside forward, from the global generator, when it is judged too
            scaling="std",
            loss="mse" if self.head == "points" else "nll",
            distribution_output="normal" if self.head == "normal" else "student_t",
        )
        config.series_prefix, config.series_head = self.prefix, self.head
        return config

    @classmethod
    def of(cls, config: Any) -> Self:
        """As for every family; a model that was not made here has no prefix, and says a distribution where it was trained to."""
        said = "points" if config.loss == "mse" else config.distribution_output.replace("_", "-")
        prefix, head = getattr(config, "series_prefix", None) or "none", getattr(config, "series_head", None) or said
        return cls(patch=config.patch_length, prefix=prefix, head=head)

    def model_class(self) -> Any:
        """As for every family."""
        from transformers import PatchTSTForPrediction

        return PatchTSTForPrediction

    def places(self, config: Any) -> Places:
        """As for every family; patches are projected and values ahead are said by matrices that are no places of the anatomy."""
        return Places({"model.encoder.layers": BLOCK})

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """The outputs of ``model``, with ``logits`` [B, horizon]: what it forecasts, of a distribution the middle.

        Args:
            model: a network of this family.
            arrays: ``past`` [B, steps] without gaps, ``observed`` bool [B, steps], whose values alone say the scale, and ``frequency`` [B]
                as :func:`windtunnel.kits.series.grid.frequency_number` has it.
            call: as for every family; every patch sees every other.
        """
        import torch

        if "past" not in arrays:
            raise UserError(f"{self.name} needs the past of series; this objective gives none")
        past = arrays["past"]
        observed = arrays.get("observed", torch.ones_like(past, dtype=torch.bool))
        if self.prefix != "none":
            bits = torch.arange(BITS, device=past.device)
            code = (arrays["frequency"][:, None] >> bits & 1).to(past) * 2 - 1
            front = torch.nn.functional.pad(code, (0, self.patch - BITS))
            past = torch.cat([front, past], dim=1)
            observed = torch.cat([torch.zeros_like(front, dtype=torch.bool), observed], dim=1)  # the prefix has no say in the scale
        outputs = model(past_values=past[..., None], past_observed_mask=observed[..., None], **call.options)
        said = outputs.prediction_outputs
        if isinstance(said, tuple):
            outputs.logits = said[-2].squeeze(-1) * outputs.scale[:, 0] + outputs.loc[:, 0]
        else:
            outputs.logits = said.squeeze(-1)
        return outputs

    def inputs(self, facts: Any, context: int) -> Inputs:
        """As for every family: every window by itself, by its patches."""
        return Inputs(context, facts.past // self.patch + (self.prefix != "none"))

    def rows(self, facts: Any) -> int:
        """Numbers in a patch."""
        return self.patch

    def _head(self, sizes: Sizes, facts: Any) -> float:
        return float(self.inputs(facts, 1).positions * sizes.width * facts.horizon * NUMBERS[self.head])

    def parameters(self, sizes: Sizes, facts: Any) -> float:
        """As for every family; patches are projected by one matrix, and another reads all of them to say the horizon."""
        return sizes.layers * self.block(sizes) + self.patch * sizes.width + self._head(sizes, facts)

    def flops(self, sizes: Sizes, facts: Any, reads: int, writes: int = 0) -> float:
        """As for every family."""
        per_unit = 6 * (sizes.layers * self.block(sizes) + self.patch * sizes.width) + 12 * sizes.layers * sizes.width * reads
        return reads * per_unit + 6 * self._head(sizes, facts)


BITS = len(FREQUENCIES).bit_length()  # that tell frequencies apart, 0 being none of them
