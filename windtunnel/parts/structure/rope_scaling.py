"""Give a model with rotary positions other frequencies, so that it can read longer sequences than it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Structure

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KEPT = ("rope_theta", "partial_rotary_factor")  # of a model's own rope_parameters


class RopeScaling(Structure, name="rope-scaling"):
    """Change the frequencies of rotary positions from this phase on, by what transformers knows as ``rope_parameters``.

    ``base``: a larger base alone (adjusted base frequency, Xiong et al. 2023, arXiv:2309.16039). ``linear``: positions divided by
    ``factor`` (position interpolation, Chen et al. 2023, arXiv:2306.15595). ``yarn``: by parts, with its own scale of logits (Peng et al.
    2023, arXiv:2309.00071). ``llama3``: by parts, as Llama 3.1. ``longrope``: a factor for each pair of dimensions, in ``factors`` (Ding
    et al. 2024, arXiv:2402.13753, without the search). ``by-angles``: the same, each factor 1 or ``factor``, whichever keeps the angles of
    the pair nearer to those of training (Wu et al. 2024, arXiv:2410.01490, from their code; their 360 bins are at most ``original`` / 8
    here). A new ``base`` goes with any of them. The scheme whose base grows with the sequence is left out: transformers remembers the
    longest sequence that it has read, so what is measured would depend on what was read before.

    The weights stay as they are. The new frequencies stand in the model's configuration and remain after the phase, in an exported model
    and in later phases; so a later phase needs no structure for it. To read longer sequences set the phase's ``context``.
    """

    trial = Trial({"scheme": "yarn", "factor": 2.0, "original": 16}, before={"context": 16})
    identity = {"scheme": "linear", "factor": 1.0}

    scheme: Literal["base", "linear", "yarn", "llama3", "longrope", "by-angles"] = Field("linear", description="how frequencies change")
    original: int = Field(ge=1, description="the context that the model was trained at, in units")
    factor: float = Field(4.0, ge=1, description="how many times longer the sequences are to be")
    base: float | None = Field(None, gt=1, description="base of the rotation (default: the model's own, mostly 10,000)")
    factors: tuple[float, ...] | None = Field(None, min_length=1, description="for longrope: what each pair's frequency is divided by")

    @model_validator(mode="after")
    def _says_what_changes(self) -> RopeScaling:
        if self.scheme == "base" and self.base is None:
            raise ValueError("scheme base changes the base of the rotation alone: say which, as in base: 500000")
        if (self.scheme == "longrope") != (self.factors is not None):
            raise ValueError("factors belong to scheme longrope, and longrope needs them, one for each pair of dimensions of a head")
        return self

    def apply(self, model: PreTrainedModel) -> None:
        """Change them in the configuration and in the table of positions; what was scaled before is replaced.

        Raises:
            PartError: for a model without rotary positions, or with other ones in each layer, and where ``factors`` do not fit.
        """
        from windtunnel.kits.text.distances import rotary_tables

        tables = rotary_tables(model, self.name)
        config: Any = model.config
        config.rope_parameters = self.parameters(config)
        config.max_position_embeddings = max(config.max_position_embeddings, round(self.original * self.factor))
        for name, table in tables.items():
            parent, _, key = name.rpartition(".")
            setattr(model.get_submodule(parent), key, type(table)(config).to(table.inv_freq.device))

    def remove(self, model: PreTrainedModel) -> None:
        """Nothing: the frequencies are part of the configuration, which any program reads."""

    def parameters(self, config: Any) -> dict[str, Any]:
        """The ``rope_parameters`` of a model of ``config``. Raises PartError where ``factors`` are not one for each pair of dimensions."""
        from windtunnel.kits.text.rotations import least_disturbing

        own = config.rope_parameters
        kept: dict[str, Any] = {key: own[key] for key in KEPT if own.get(key) is not None}
        if self.base is not None:
            kept["rope_theta"] = self.base
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        rotated = int(size * kept.get("partial_rotary_factor", 1.0))
        if self.scheme == "base":
            return {**kept, "rope_type": "default"}
        scaled = {**kept, "rope_type": self.scheme, "factor": self.factor}
        if self.scheme == "linear":
            return scaled
        scaled["original_max_position_embeddings"] = self.original
        if self.scheme == "yarn":
            return scaled
        if self.scheme == "llama3":
            return {**scaled, "low_freq_factor": 1.0, "high_freq_factor": 4.0}  # Llama 3.1's own
        factors = list(self.factors or ())
        if self.scheme == "by-angles":
            length = round(self.original * self.factor)
            factors = least_disturbing(kept["rope_theta"], rotated, self.original, length, (self.factor, 1.0))
        if len(factors) != rotated // 2:
            raise PartError(f"{self.name}: factors are {len(factors)}, and a head of this model rotates {rotated // 2} pairs of dimensions")
        # One set of frequencies at any length, and logits as they were: the paper of the factors scales neither by length.
        return {**scaled, "rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0}
