"""What the families of networks that read sets have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from windtunnel.slots import AttentionPlace, BlockPlace, Call, Family, MlpPlace, Places, Sizes

BLOCK = BlockPlace(
    AttentionPlace("attention", ("q_proj", "k_proj", "v_proj"), "o_proj"),
    MlpPlace("mlp", (None, "fc1"), "fc2"),
    {"attention": "norm_before", "mlp": "norm_after"},
)
UNNAMED = ("tied", "rows", "positions")  # they have no table of units
NAMES = {size: names for size, names in Family.names.items() if size not in UNNAMED}


def common(sizes: Sizes, classes: int) -> dict[str, Any]:
    """The settings of a configuration that all of them have."""
    return {
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "intermediate_size": sizes.intermediate,
        "hidden_dropout_prob": sizes.dropout,
        "classes": classes,
    }


class SetFamily(Family):
    """A family of :mod:`windtunnel.kits.sets.networks`: the stack is the same, and arrays are named as the network's own."""

    auto_class: ClassVar[str] = "AutoModel"
    names: ClassVar[Mapping[str, tuple[str, ...]]] = NAMES
    network: ClassVar[str]  # of its model and configuration, without Model and Config

    @classmethod
    def config_class(cls) -> Any:
        """As for every family."""
        from windtunnel.kits.sets import networks

        return getattr(networks, f"{cls.network}Config")

    def model_class(self) -> Any:
        """As for every family."""
        from windtunnel.kits.sets import networks

        return getattr(networks, f"{self.network}Model")

    def places(self, config: Any) -> Places:
        """As for every family; what makes positions and reads answers off them is no place of the anatomy."""
        return Places({"layers": BLOCK}, final=("norm",))

    def forward(self, model: Any, arrays: Mapping[str, Any], call: Call) -> Any:
        """The outputs of ``model``; ``arrays`` are those of its own forward, by name. Which position sees which, they decide."""
        return model(**arrays, **call.options)
