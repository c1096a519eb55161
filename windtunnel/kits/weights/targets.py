"""Which weight matrices adapters are put beside: a name that recipes write, without torch."""

from typing import Literal

Targets = Literal["all", "attention", "mlp", "queries-values"]
