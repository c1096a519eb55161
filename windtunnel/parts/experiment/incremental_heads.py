"""Heads that meet the classes of handwritten digits one task after the other, on features that nothing has learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Evaluation, Experiment

if TYPE_CHECKING:
    import numpy as np


class IncrementalHeads(Experiment, name="incremental-heads"):
    """What the heads of `incremental-probe` do on features of handwritten digits that are fixed and need no model.

    The images are those of scikit-learn, 8 x 8: three quarters to learn from and a quarter to be judged on. ``pixels`` are the features
    themselves, ``random`` are ``width`` rectified random projections of them. The seed splits the images and deals the classes to tasks;
    arms of other features or another width have other splits. The numbers are those of `incremental-probe`. What a head is worth on the
    features of a pretrained model is asked by the evaluation.
    """

    trial = Trial({"probe": {"incremental-probe": {"head": "sequential", "tasks": 2, "epochs": 1}}})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    probe: Evaluation = Field(
        description="incremental-probe with its head; what it is `on` and its `orders` are not asked",
        examples=[{"incremental-probe": {"head": "lda"}}],
    )
    features: Literal["pixels", "random"] = Field("pixels", description="what the head reads")
    width: int = Field(256, ge=2, description="numbers of random features")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers of `incremental-probe`.

        Raises:
            PartError: for another evaluation.
        """
        import numpy as np

        from windtunnel.kits.image.digits import digits
        from windtunnel.parts.evaluation.incremental_probe import IncrementalProbe

        if not isinstance(self.probe, IncrementalProbe):
            raise PartError(f"{self.name} judges heads of incremental-probe, not {self.probe.name}")
        all_of_them, random = digits(self.name), np.random.default_rng((seed, 2))
        found, labels = self._features(all_of_them.data / 16, random), all_of_them.target
        held = random.random(len(found)) < 0.25
        return self.probe.of_features((found[~held], labels[~held]), (found[held], labels[held]), [seed])

    def _features(self, pixels: np.ndarray, random: np.random.Generator) -> Any:
        import numpy as np

        if self.features == "pixels":
            return pixels
        return np.maximum((pixels - pixels.mean(axis=0)) @ random.standard_normal((pixels.shape[1], self.width)), 0.0)
