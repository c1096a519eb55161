"""Scenes cut up by names that no mask was ever given for, from frozen vectors of patches and of names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

SIZE, HUES, FORMS, TEXT = 24, 6, 5, 24  # pixels on a side, colours, shapes, and numbers of a name
KINDS = HUES * FORMS
RATES = (1e-2, 3e-2)


class FusedNames(Experiment, name="fused-names"):
    """How far patches of kinds without any mask in training overlap with the truth, by how names and patches come together.

    Ma et al. 2022 (Fusioner), arXiv:2210.15138: an image encoder and a text encoder stay frozen; vectors of patches and of class names go
    through a small transformer together; a pixel belongs to a class where the sigmoid of their cosine over a temperature says so, and
    cross entropy on masks of seen classes trains the transformer. Here a scene has four coloured shapes in its quarters (the paper's
    Mosaic-4 joins four photographs); a kind is one of six colours and five shapes. Five of the thirty kinds, of five colours and all
    shapes, have no masks. Images are read by convolutions that learned to draw hidden patches of scenes of all kinds, without labels; a
    name is the sum of a random vector of its colour and one of its shape (``composed``), or a random vector of its own (``whole``), as of
    an encoder that knows no likeness between names. What is judged is patches of 4 pixels, which are of an object that covers half of
    them: the paper raises the resolution to pixels by convolutions. A learned number is added to cosines.

    ``join``: ``fused``, ``apart`` and ``linear`` are those of :class:`NamedPatches`; ``nearest`` is a ridge regression from vectors of
    patches to the name of what they show, one more vector standing for the ground, and a patch belongs to the name nearest by cosine. All
    but the last choose their rate of two by the overlap of seen kinds on scenes of their own; the last its ridge of three.

    ``unseen`` and ``seen`` are the mean over kinds of the overlap of patches with a logit above 0, all thirty names given. ``named`` is the
    share of patches of unseen kinds for which their own name has the highest score: 1/30 by chance.
    """

    trial = Trial({"scenes": 20, "steps": 2, "reading": 2, "judged": 20})

    unit: ClassVar[str] = "overlap"
    better: ClassVar[str] = "higher"

    join: Literal["linear", "nearest", "apart", "fused"] = Field("linear", description="how names and patches come together")
    names: Literal["composed", "whole"] = Field("composed", description="vectors of names")
    scenes: int = Field(600, ge=8, description="with masks")
    judged: int = Field(150, ge=8, description="scenes that are judged")
    reading: int = Field(200, ge=1, description="steps of the image encoder, 16 scenes each")
    steps: int = Field(600, ge=1, description="of training on masks, 8 scenes each")

    def measure(self, seed: int) -> dict[str, float]:
        """``unseen``, ``seen`` and ``named``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.fusion import PatchReader
        from windtunnel.kits.image.tiny import best

        random = np.random.default_rng(seed)
        missing = np.sort(random.permutation(HUES)[:FORMS] * FORMS + np.arange(FORMS))
        known = np.setdiff1d(np.arange(KINDS), missing)
        words = random.standard_normal((HUES, TEXT)), random.standard_normal((FORMS, TEXT))
        composed = (words[0][:, None] + words[1][None]).reshape(-1, TEXT)
        whole = random.standard_normal((KINDS, TEXT))
        names = torch.from_numpy(composed if self.names == "composed" else whole).float()

        def drawn(count: int, kinds: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
            return pictures(random, count, kinds)

        unlabelled, _ = drawn(self.scenes, np.arange(KINDS))
        trained, chosen = drawn(self.scenes, known), drawn(60, known)
        judged = drawn(self.judged, np.arange(KINDS))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            reader = PatchReader().learn(unlabelled, self.reading, seed)
            sets = [(reader(images), truth) for images, truth in (trained, chosen, judged)]
            if self.join == "nearest":
                fits = best(
                    (0.001, 0.1, 10.0), lambda ridge: nearest(sets[0], names, ridge), lambda one: scored(one, sets[1], names)[known].mean()
                )
            else:
                fits = best(
                    RATES,
                    lambda rate: self._learned(sets[0], names, known, rate, seed),
                    lambda one: scored(one, sets[1], names)[known].mean(),
                )
            found = scored(fits, sets[2], names)
        kinds, logits = sets[2][1], fits(sets[2][0], names)
        asked = np.isin(kinds, missing)
        return {
            "unseen": float(found[missing].mean()),
            "seen": float(found[known].mean()),
            "named": float((logits.argmax(dim=2).numpy()[asked] == kinds[asked]).mean()),
        }

    def _learned(self, given: tuple[torch.Tensor, np.ndarray], names: torch.Tensor, known: np.ndarray, rate: float, seed: int) -> Any:
        """A network after training on masks, which gives logits of all names."""
        import torch

        from windtunnel.kits.image.fusion import NamedPatches
        from windtunnel.kits.small_decoder import descend

        (seen, kinds), random = given, torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        network = NamedPatches(self.join, seen.shape[1], TEXT)
        wanted = torch.from_numpy(kinds[..., None] == known).float()

        def loss(step: int) -> torch.Tensor:
            rows = torch.randint(0, len(seen), (min(8, len(seen)),), generator=random)
            return torch.nn.functional.binary_cross_entropy_with_logits(network(seen[rows], names[known]), wanted[rows])

        descend(network, loss, self.steps, rate)

        def logits(seen: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return torch.cat([network(each, names) for each in seen.split(50)])

        return logits


def pictures(random: np.random.Generator, count: int, kinds: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Images [count, 3, SIZE, SIZE] of four objects of ``kinds``, and the kind of each patch [count, patches], -1 on the ground."""
    import numpy as np
    import torch

    from windtunnel.kits.image.fusion import PATCH
    from windtunnel.kits.image.patches import to_patches
    from windtunnel.kits.image.scenes import scenes

    drawn = random.choice(kinds, (count, 4))
    made = scenes(random, drawn % FORMS, drawn // FORMS, SIZE)
    shares = to_patches(made.masks[:, :, None], PATCH).mean(axis=3)  # [count, objects, patches]
    return torch.from_numpy(made.images), np.where(shares >= 0.5, drawn[..., None], -1).max(axis=1)


def nearest(given: tuple[torch.Tensor, np.ndarray], names: torch.Tensor, ridge: float) -> Any:
    """A ridge regression from patches to the names of their kinds; the ground's is the mean of all names turned about.

    A logit is the cosine with a name less the highest with any other or the ground, so it is above 0 for the nearest one alone.
    """
    import torch
    from torch.nn.functional import normalize

    seen, kinds = given
    every = torch.cat([names, -names.mean(dim=0, keepdim=True)]).double()
    inputs, wanted = seen.flatten(0, 1).double(), every[torch.from_numpy(kinds.ravel())]  # the ground is -1, the last one
    middle = inputs.mean(dim=0), wanted.mean(dim=0)
    inputs, wanted = inputs - middle[0], wanted - middle[1]
    strength = ridge * inputs.square().mean() * len(inputs) * torch.eye(inputs.shape[1])
    weights = torch.linalg.solve(inputs.T @ inputs + strength, inputs.T @ wanted)

    def logits(seen: torch.Tensor, names: torch.Tensor) -> torch.Tensor:
        cosines = normalize((seen.double() - middle[0]) @ weights + middle[1], dim=2) @ normalize(every, dim=1).T
        first, second = cosines.topk(2, dim=2).values.split(1, dim=2)
        apart = cosines - torch.where(cosines == first, second, first)
        return apart[:, :, :-1]

    return logits


def scored(fits: Any, given: tuple[torch.Tensor, np.ndarray], names: torch.Tensor) -> np.ndarray:
    """The overlap of each kind's patches with those of a logit above 0 [kinds]."""
    import numpy as np

    from windtunnel.kits.image.scenes import overlap

    seen, kinds = given
    logits = fits(seen, names).numpy()
    return np.array([overlap(logits[..., kind] > 0, kinds == kind) for kind in range(len(names))])
