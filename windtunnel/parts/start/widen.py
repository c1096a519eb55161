"""Begin a wide model from a trained narrow one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.slots import ALONE, Start, StartContext

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SIZES = ("layers", "width", "heads", "key_value_heads", "intermediate")
EXACT = 1e-4  # a relative deviation of the logits below this is rounding


class Widen(Start, name="widen"):
    """Begin a wide model, which may also be deeper, by copying the heads, inner units and hidden units of a narrower trained one.

    bert2BERT, Chen et al. 2022, arXiv:2110.07143. ``preserve`` (its FPI) copies units and divides what reads a unit by the number of
    its copies; one map of hidden units serves the whole residual stream, heads are copied whole and keep their size, and each layer
    has its own map of inner units. ``advanced`` (its AKI) takes the copies of heads and inner units from the layer above, by that
    layer's map, and in the top layer does as ``preserve``; what a head or unit writes is still the layer's own. With grouped
    queries a query head goes with its own key/value head; more query heads for the same key/value head are copied within the group
    (Zhang et al. 2024, AquilaMoE, arXiv:2408.06567). More layers come last: whole copies of the stack, then its top layers.

    ``preserve`` gives the old function exactly where every hidden unit is copied equally often, or the width stays and only heads or
    inner units grow. Otherwise norms see other statistics, and a warning says how far the logits moved. A tied head reads the
    embeddings undivided (twice as wide, logits twice as large), so the gain and bias of the norm before it are divided instead, which
    is exact too. Exact copies get equal gradients and stay copies; ``advanced``, ``noise``, dropout or uneven copies make them differ.
    """

    trial = Trial(model={"width": 64, "heads": 4}, before={})

    method: Literal["preserve", "advanced"] = Field("preserve", description="copies of the same layer (FPI) or of the layer above (AKI)")
    noise: float = Field(
        0.0,
        ge=0,
        le=1,
        description="standard deviation, relative to that of the weights, of noise by which the weights that read copies differ; it "
        "adds up to zero over the copies of a unit, so what is exact stays exact",
    )
    mapping: Literal["even", "random"] = Field("even", description="units copied as evenly as possible, or each drawn (the paper's)")
    map_seed: int = Field(0, ge=0, description="decides, with the names of weights, what is copied and the noise")
    source: Trained | None = Field(None, description="the model it begins from (default: that of the phase before)")

    def build(self, previous: PreTrainedModel | None, config: Any, seed: int, context: StartContext = ALONE) -> PreTrainedModel:
        """A network of the sizes of ``config`` made of the weights of ``source`` or else ``previous``.

        What ``config`` does not size (the base of the rotation, the epsilon of the norms) is as in the old model. Warns with the
        measured deviation of the logits where the function changed.

        Raises:
            PartError: without such a model, or where family, vocabulary, head size or positions differ, something shrinks, heads
                cannot be grouped as before, or nothing grows.
        """
        from windtunnel.kits.weights.grow import origin, refuse_growth
        from windtunnel.kits.weights.widening import deviation, widened
        from windtunnel.models.sizes import head_size_of, sizes_of

        old = origin(previous, context, self.name)
        refuse_growth(old.config, config, self.name, SIZES)
        before, after = sizes_of(old.config), sizes_of(config)
        refuse_heads(before, after, head_size_of(old.config), head_size_of(config))
        if all(before[key] == after[key] for key in SIZES):
            written = ", ".join(f"{key}: {before[key]}" for key in SIZES)
            raise PartError(f"widen: the model it begins from already has these sizes ({written}); ask for larger ones under model")
        grown = widened(old, config, advanced=self.method == "advanced", mapping=self.mapping, noise=self.noise, seed=self.map_seed)
        moved = deviation(old, grown)
        if not moved < EXACT:
            reasons = [
                reason
                for reason, applies in (
                    ("copies come from the layer above", self.method == "advanced"),
                    ("layers were added", after["layers"] > before["layers"]),
                    (
                        f"width {before['width']} to {after['width']} does not copy every hidden unit equally often",
                        after["width"] % before["width"] or (self.mapping == "random" and after["width"] > before["width"]),
                    ),
                )
                if applies
            ]
            warnings.warn(
                f"widen: the grown model is not the function of the old one ({'; '.join(reasons) or 'rounding'}): on random tokens its "
                f"logits differ by up to {moved:.2g} standard deviations of the old logits",
                stacklevel=2,
            )
        return grown


def refuse_heads(before: Mapping[str, Any], after: Mapping[str, Any], size: int, wanted: int) -> None:
    """Raise PartError unless heads of ``size`` in sizes ``before`` can be those of ``wanted`` dimensions in sizes ``after``."""
    if size != wanted:
        width = after["width"]
        fits = (
            f"heads: {width // size}" if width % size == 0 else f"a width that is a multiple of {size}, such as {-(-width // size) * size}"
        )
        raise PartError(
            f"widen: heads have {size} dimensions and keep them, but width {width} with {after['heads']} heads makes them {wanted}; "
            f"set {fits}"
        )
    group = before["heads"] // before["key_value_heads"]
    left = after["heads"] // after["key_value_heads"]
    if left < group:
        counts = range(before["key_value_heads"], after["heads"] // group + 1)
        shared = [str(count) for count in counts if after["heads"] % count == 0]
        raise PartError(
            f"widen: {after['key_value_heads']} key_value_heads leave {left} query heads for each, and each has {group} to keep; "
            f"with {after['heads']} heads these would do: key_value_heads: {', '.join(shared) or 'none'}"
        )
