"""Decoders whose layers widen, or narrow, with depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.text.network import usual
from windtunnel.parts.family.llama import NAMES, PLACES
from windtunnel.slots import Call, Family, Places, Sizes


class UnevenLayers(Family, name="uneven-layers"):
    """A Qwen 3 whose numbers of heads and inner sizes go along a line from the first layer to the last, with the weights of an even one.

    Mehta et al. 2024 (OpenELM, layer-wise scaling), arXiv:2404.14619: in layer i of N there are heads for the model's width times a share
    that goes from 0.5 to 1, and an inner size of the width times a number that goes from 0.5 to 4, both in equal steps. ``attention`` is
    that share, here of ``heads``, rounded to whole groups of ``key_value_heads``, one at least. ``inner`` says in which proportion inner
    sizes stand to each other: they are scaled so that all blocks together have as many weights as those of a Qwen 3 of the same ``width``,
    ``heads`` and ``intermediate``, as near as whole numbers allow, so that arms differ in shape alone. Both at ``[1, 1]`` is that Qwen 3,
    and only so it can grow.

    As in the released model there are RMS norms, rotary positions, a gated MLP, groups of query heads and norms of queries and keys. Equal
    weights are not equal FLOPs, as attention costs by head and place, nor an equal cache; a run counts its FLOPs on its real step, and the
    estimate of ``check`` is that of the even model. Its code is windtunnel's own and travels with an exported model, which
    ``AutoModelForCausalLM`` loads with ``trust_remote_code=True``.
    """

    trial = Trial({"attention": (0.5, 1.0), "inner": (0.5, 4.0)})

    kind: ClassVar[str] = "decoder"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = {**NAMES, "attention": ("attention",), "inner": ("inner",)}
    gated: ClassVar[bool] = True
    rotary: ClassVar[bool] = True
    uncut: ClassVar[str] = "its layers have different numbers of heads"

    attention: tuple[float, float] = Field((1.0, 1.0), description="share of the heads in the first layer and in the last (paper: 0.5, 1)")
    inner: tuple[float, float] = Field(
        (1.0, 1.0), description="proportion of the inner sizes of the first layer and the last (paper: 0.5, 4)"
    )

    def unable(self, sizes: Sizes) -> dict[str, str]:
        """As for every family; shares have to be above 0, and leave inner sizes of 1 at least."""
        found = super().unable(sizes)
        for key, ends in (("attention", self.attention), ("inner", self.inner)):
            if min(ends) <= 0:
                found[key] = f"{list(ends)}: both ends have to be above 0"
        if not found and min(self.layers(sizes).get("layer_intermediate", [1])) < 1:
            found["attention"] = f"{list(self.attention)}: heads take all weights of the blocks; lower it or raise intermediate"
        return found

    def layers(self, sizes: Sizes) -> dict[str, list[int]]:
        """Heads, heads of keys and values, and inner sizes of all layers; empty where every layer has the model's."""
        if self.attention == (1.0, 1.0) and self.inner[0] == self.inner[1]:
            return {}
        group = sizes.heads // sizes.key_value_heads
        shared = [max(1, round(share * sizes.key_value_heads)) for share in line(self.attention, sizes.layers)]
        attention = sum(2 * sizes.width * sizes.head_size * (group + 1) * each for each in shared)
        left = (self.blocks(sizes) - attention) / (3 * sizes.width)  # what inner sizes add up to
        proportions = line(self.inner, sizes.layers)
        inner = [round(left * each / sum(proportions)) for each in proportions]
        return {"layer_heads": [group * each for each in shared], "layer_key_value_heads": shared, "layer_intermediate": inner}

    @classmethod
    def written(cls, config: Any) -> dict[str, Any]:
        """As for every family; files know lists alone."""
        return {key: tuple(found) if isinstance(found, list) else found for key, found in super().written(config).items()}

    def config(self, sizes: Sizes, facts: Any, context: int) -> Any:
        """As for every family."""
        own: dict[str, Any] = {
            "num_key_value_heads": sizes.key_value_heads,
            "attention_dropout": sizes.dropout,
            "head_dim": sizes.head_size,
            "attention": list(self.attention),
            "inner": list(self.inner),
        }
        return self.config_class()(**usual(sizes, facts, context), **own, **self.layers(sizes))

    @classmethod
    def config_class(cls) -> Any:
        """As for every family."""
        from windtunnel.kits.text.uneven import UnevenConfig

        return UnevenConfig

    def model_class(self) -> Any:
        """As for every family."""
        from windtunnel.kits.text.uneven import UnevenForCausalLM

        return UnevenForCausalLM

    def places(self, config: Any) -> Places:
        """As for every family."""
        return PLACES

    def layer(self, config: Any, number: int) -> dict[str, int]:
        """As for every family."""
        if not config.layer_heads:
            return {}
        return {"heads": config.layer_heads[number], "key_value_heads": config.layer_key_value_heads[number]}

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """As for every family."""
        from windtunnel.models.forward import one_stack

        return one_stack(self, model, arrays, call)


def line(ends: Sequence[float], count: int) -> list[float]:
    """``count`` numbers in equal steps from the first end to the second; of one number their mean."""
    if count == 1:
        return [sum(ends) / 2]
    return [ends[0] + (ends[1] - ends[0]) * place / (count - 1) for place in range(count)]
