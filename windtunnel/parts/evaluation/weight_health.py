"""Whether layers of a model are dead, collapsed, or have not learned anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Evaluation, HeldOut

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class WeightHealth(Evaluation, name="weight-health"):
    """The share of weight matrices and convolutions that are dead, collapsed or untrained, told from the weights alone.

    After Gavrikov and Keuper 2022, arXiv:2203.15331, who look at kernels of 3 x 3; here every matrix is looked at as well. A layer is

    - ``dead`` where more than half of its rows or columns (of a convolution: kernels) are nothing beside the others;
    - ``collapsed`` where nearly all of it lies in few directions: the entropy of its spectrum is under 0.3 of that of noise;
    - ``untrained`` where it is as noise: no direction of its spectrum stands out, and the entropy and the angles between its rows and
      between its columns are those of independent entries.

    The paper divides the entropy of kernels by a curve fitted to random ones; here it is divided by what noise of the shape has in theory,
    so 1 is noise for a matrix of any shape. What is drawn orthogonal, as some initialisations are, lies above 1 and is not called
    untrained: some optimizers lead there. Layers of fewer than 8 rows or columns, or 16 kernels, count only where they are dead.
    `windtunnel evaluate MODEL --weights` tells the same of any checkpoint, a layer at a time.
    """

    trial = Trial()

    by_objective: ClassVar[bool] = False
    unit: ClassVar[str] = "share of layers"
    better: ClassVar[str] = "lower"
    number: ClassVar[str] = "weight_health"

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> dict[str, float]:
        """``weight_health``, the share by verdict, and ``weight_health/entropy``: the mean over layers, in that of noise.

        Raises:
            PartError: where the model has no weight matrix.
        """
        from windtunnel.kits.weights.health import held, layers

        judged = [layer for layer in layers(held(model)) if layer.verdict != "small"]
        if not judged:
            raise PartError(f"{self.name}: this model has no weight matrix of 8 rows and columns")
        verdicts = [layer.verdict for layer in judged]
        shares = {f"weight_health/{word}": verdicts.count(word) / len(judged) for word in ("dead", "collapsed", "untrained")}
        entropy = sum(layer.entropy for layer in judged) / len(judged)
        return {"weight_health": sum(shares.values()), **shares, "weight_health/entropy": entropy}
