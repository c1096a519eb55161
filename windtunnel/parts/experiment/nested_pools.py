"""Learning features without labels from images of one style alone, with images of other styles, or of another kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np


class NestedPools(Experiment, name="nested-pools"):
    """The accuracy of a probe for images of a narrow style, by the pool from which features were learned by contrast.

    Jaspers et al. 2024, arXiv:2407.17904, and de Jong et al. 2025, arXiv:2501.09436 (SurgeNet): images of one's own procedure teach more
    than generic ones, and other images of the same field add to that; more images and longer training help. They learn by self-distillation
    (DINO); here it is by contrast. The target are scikit-learn's digits in one style: mirrored, at low contrast and on a background.

    ``narrow`` are ``images`` of the target style; ``diverse`` half of them and as many digits in other styles; ``added`` all of them and
    three times as many in other styles, as in the paper, whose pools differ in size; ``field`` other styles alone; ``generic`` textures
    that are no digits; ``none`` leaves the network untrained; ``supervised`` learns labels of upright digits of full contrast first, which
    stands for ImageNet. ``accuracy`` is that of a ridge regression on ``labels`` labelled images of the target style.
    """

    trial = Trial({"images": 30, "steps": 4, "labels": 20})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    pool: Literal["narrow", "diverse", "added", "field", "generic", "none", "supervised"] = Field(
        "narrow", description="what is learned from"
    )
    images: int = Field(300, ge=20, le=800, description="of the narrow pool")
    steps: int = Field(300, ge=1, description="of contrastive learning, 64 images each, or all where there are fewer")
    labels: int = Field(50, ge=10, le=400, description="labelled images of the probe")

    def measure(self, seed: int) -> dict[str, float]:
        """``accuracy``. Raises UserError where scikit-learn is missing."""
        import numpy as np

        from windtunnel.kits.image.contrastive import encoder, pretrained, probed
        from windtunnel.kits.image.digits import shuffled_digits

        random = np.random.default_rng(seed)
        pixels, names = shuffled_digits(self.name, random)
        held, known, rest = np.split(np.arange(len(pixels)), [500, 500 + self.labels])
        ground = textures(1, np.random.default_rng(seed + 1))[0]
        pool = self._pool(pixels[rest], ground, random)
        if self.pool == "none":
            model = encoder(seed)
        elif self.pool == "supervised":
            model = labelled(pixels[rest][: self.images], names[rest][: self.images], seed, random, self.steps)
        else:
            model = pretrained(pool, seed, random, steps=self.steps)
        own, others = (styled(pixels[part], "target", ground, random) for part in (known, held))
        return {"accuracy": probed(model, own, names[known], others, names[held])}

    def _pool(self, pixels: np.ndarray, ground: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Images [images, 64] without labels."""
        import numpy as np

        count = self.images
        narrow = styled(pixels[random.permutation(len(pixels))[:count]], "target", ground, random)
        others = styled(pixels[random.integers(len(pixels), size=3 * count)], "any", ground, random)
        return {
            "narrow": narrow,
            "diverse": np.concatenate([narrow[: count // 2], others[: count - count // 2]]),
            "added": np.concatenate([narrow, others]),
            "field": others[:count],
            "generic": textures(count, random),
        }.get(self.pool, narrow)


def styled(pixels: np.ndarray, style: str, ground: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Digits [images, 64] in the target style, or each in one of its own: turned, mirrored or not, at some contrast, on some texture."""
    import numpy as np

    square = pixels.reshape(-1, 8, 8)
    if style == "target":
        return np.asarray(0.4 * square[:, :, ::-1].reshape(len(pixels), -1) + 0.6 * ground)
    turned = np.stack([np.rot90(one, turn) for one, turn in zip(square, random.integers(0, 4, len(square)), strict=True)])
    mirrored = np.where(random.random((len(square), 1, 1)) < 0.5, turned[:, :, ::-1], turned).reshape(len(pixels), -1)
    share = random.uniform(0.3, 1.0, (len(pixels), 1))
    return np.asarray(share * mirrored + (1 - share) * textures(len(pixels), random))


def textures(count: int, random: np.random.Generator) -> np.ndarray:
    """Smooth random images [count, 64] in 0 to 1."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    found = gaussian_filter(random.standard_normal((count, 8, 8)), (0, 1.0, 1.0), mode="wrap").reshape(count, -1)
    low, high = found.min(axis=1, keepdims=True), found.max(axis=1, keepdims=True)
    return np.asarray((found - low) / (high - low))


def labelled(images: np.ndarray, names: np.ndarray, seed: int, random: np.random.Generator, steps: int):  # type: ignore[no-untyped-def]
    """An encoder that learned to name ``images`` [images, 64] in varied views."""
    import torch
    from torch import nn

    from windtunnel.kits.image.contrastive import encoder, views

    model = encoder(seed)
    head = nn.Linear(32, 10)
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(random.standard_normal((10, 32)) / 32**0.5))
        head.bias.zero_()

    def loss(step: int) -> torch.Tensor:
        chosen = random.integers(len(images), size=64)
        return nn.functional.cross_entropy(head(model(torch.from_numpy(views(images[chosen], random)))), torch.from_numpy(names[chosen]))

    take_steps(torch.optim.Adam([*model.parameters(), *head.parameters()], 3e-3), loss, steps)
    return model
