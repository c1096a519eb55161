"""Images made for captions by way of features, which a second step turns into pixels."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment


class FeatureSamples(Experiment, name="feature-samples"):
    """How often images made for captions show what the captions tell, by the features that are generated.

    Chen et al. 2025, arXiv:2505.09568 (BLIP3-o): a flow makes the vector that CLIP has for an image, conditioned on what a language model
    says of the prompt, and a decoder draws pixels from it; targets of a variational autoencoder and plain regression are behind. Targets
    here: ``towers``, 16 numbers of the image tower of two that learned from pairs; ``components``, the first 16 principal components of
    images, which are what a linear autoencoder keeps; ``towers-mean``, the towers' vector by regression. Captions tell three of four
    attributes. Both decoders are linear; a regression that learned from true images judges what is drawn.

    The numbers are ``shown``, the share of told attributes that the judge finds in images drawn for unseen captions; ``pixels``, the
    squared distance from the mean true image over the variance of images; and ``spread``, the variance of images drawn for one caption over
    that of true ones.
    """

    trial = Trial({"pairs": 100, "steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    target: Literal["towers", "components", "towers-mean"] = Field("components", description="what is generated")
    pairs: int = Field(1500, ge=50, description="of training")
    steps: int = Field(800, ge=2, description="of the generator, 128 pairs each")
    noise: float = Field(0.8, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``shown``, ``pixels`` and ``spread``."""
        import numpy as np
        import torch

        from windtunnel.kits.flow import Flow
        from windtunnel.kits.image.planted import COUNTS, PairTowers, PairWorld, drawn_attributes, shuffled, told
        from windtunnel.kits.ridge import applied, ridge_with_constant

        random = np.random.default_rng(seed)
        world, attributes = PairWorld.drawn(random), drawn_attributes(random, self.pairs)
        images = world.seen(attributes, random, self.noise)
        which = np.ones((self.pairs, 4), bool)
        which[:, 2] = False  # the size is never told
        words = told(attributes, which)
        asked = drawn_attributes(random, 200)
        given = told(asked, np.tile(which[:1], (200, 1)))
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            if self.target == "components":
                axes = np.linalg.svd(images - images.mean(axis=0), full_matrices=False)[2][:16]
                features = (images - images.mean(axis=0)) @ axes.T
            else:
                towers = PairTowers.begun(random)
                towers.fit(images, told(attributes, which | True), shuffled(random, self.pairs, 64), 300 if self.steps > 10 else 3)
                with torch.no_grad():
                    features = towers.images(images).double().numpy()
            mean, scale = features.mean(axis=0), features.std() + 1e-9
            decode = ridge_with_constant((features - mean) / scale, images, 1e-3)
            condition = torch.from_numpy(np.concatenate([words, given])).float()
            repeated = condition[self.pairs :].repeat_interleave(4, dim=0)
            if self.target == "towers-mean":
                made = np.repeat(applied(ridge_with_constant(words, (features - mean) / scale, 1e-3), given), 4, axis=0)
            else:
                flow = Flow(16, condition.shape[1], 96)
                flow.learn(torch.from_numpy((features - mean) / scale).float(), condition[: self.pairs], self.steps, random)
                made = flow.sample(repeated, 16).double().numpy()
        drawn = applied(decode, made)
        right = []
        for place in (0, 1, 3):
            judge = ridge_with_constant(images, np.eye(COUNTS[place])[attributes[:, place]], 1e-2)
            right.append((applied(judge, drawn).argmax(axis=1) == np.repeat(asked[:, place], 4)).mean())
        clean = np.mean([world.seen(np.where(np.arange(4) == 2, size, asked), random, 0.0) for size in range(COUNTS[2])], axis=0)
        within = drawn.reshape(200, 4, -1).var(axis=1, ddof=1).mean()
        return {
            "shown": float(np.mean(right)),
            "pixels": float(((drawn.reshape(200, 4, -1).mean(axis=1) - clean) ** 2).mean() / images.var(axis=0).mean()),
            "spread": float(within / (self.noise**2 + 1e-9)),
        }
