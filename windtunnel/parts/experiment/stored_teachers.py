"""Two small towers that learn from what larger ones made of the same pairs, once and for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

    from windtunnel.kits.image.planted import PairTowers


class StoredTeachers(Experiment, name="stored-teachers"):
    """Narrow towers trained towards the similarities that stored vectors of wide ones have.

    Vasu et al. 2024, arXiv:2311.17049 (MobileCLIP): vectors of images and captions by several teachers are stored with the data; the
    student's loss is ``1 - weight`` times the contrastive one and ``weight`` times the cross entropy of the teachers' mean softmax of
    similarities with the student's own, over rows and columns, and with ``captions: several`` a second caption of each image takes turns.
    Teachers learned from ``known`` pairs without mistakes, of which the student has none; a share ``wrong`` of its own captions is
    exchanged. The numbers are ``named``, the mean over attributes of the share of held-out images whose nearest name is right;
    ``teachers``, the same for the mean of the teachers; and ``stored_gap``, the difference between a loss from stored vectors and from
    teachers asked anew. Without teachers these two are 0.
    """

    trial = Trial({"pairs": 100, "steps": 4, "known": 100, "teacher_steps": 4})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    weight: float = Field(0.0, ge=0, le=1, description="of the teachers")
    teachers: int = Field(2, ge=1, le=4, description="how many")
    captions: Literal["one", "several"] = Field("one", description="captions of an image")
    wrong: float = Field(0.5, ge=0, lt=1, description="share of the student's captions that is exchanged")
    known: int = Field(4000, ge=50, description="pairs of the teachers")
    pairs: int = Field(1000, ge=50, description="pairs of the student")
    steps: int = Field(100, ge=1, description="of the student, 64 pairs each")
    teacher_steps: int = Field(400, ge=1, description="of a teacher")
    width: int = Field(8, ge=2, description="numbers of a student's vector; teachers have 32")
    sharpness: float = Field(10.0, gt=0, description="what the teachers' cosines are multiplied by")
    noise: float = Field(1.0, ge=0, description="deviation of the noise of images")

    def measure(self, seed: int) -> dict[str, float]:
        """``named``, ``teachers`` and ``stored_gap``."""
        import numpy as np
        import torch

        from windtunnel.kits.image.planted import PairTowers, PairWorld, drawn_attributes, shuffled, told

        random = np.random.default_rng((seed, 0))
        world = PairWorld.drawn(random)
        asked, every = drawn_attributes(random, 1000), np.ones((self.pairs, 4), bool)
        judged = world.seen(asked, random, self.noise)
        attributes = drawn_attributes(random, self.pairs)
        images = world.seen(attributes, random, self.noise)
        words = told(attributes, every, random)
        moved = np.nonzero(random.random(self.pairs) < self.wrong)[0]
        words[moved] = words[np.roll(moved, 1)]
        if self.captions == "several":  # what a captioner says: true, and only two of four attributes
            words = np.concatenate([words, told(attributes, random.random((self.pairs, 4)).argsort(axis=1) < 2)])
            images = np.concatenate([images, images])
        large = drawn_attributes(random, self.known)
        seen, texts = world.seen(large, random, self.noise), told(large, np.ones((self.known, 4), bool), random)
        wide = []
        for number in range(self.teachers if self.weight else 0):
            own = np.random.default_rng((seed, 1, number))
            wide.append(PairTowers.begun(own, width=32).fit(seen, texts, shuffled(own, self.known, 64), self.teacher_steps))
        with torch.no_grad():
            stored = [(tower.images(images), tower.texts(words)) for tower in wide]
        gap = self._gap(wide, stored, images, words)

        def extra(first: torch.Tensor, second: torch.Tensor, rows: np.ndarray) -> torch.Tensor:
            return self.weight * towards([(one[rows], other[rows]) for one, other in stored], 10 * first @ second.T, self.sharpness)

        random = np.random.default_rng((seed, 2))
        student = PairTowers.begun(random, width=self.width)
        rows = shuffled(random, len(images), 64)
        student.fit(images, words, rows, self.steps, extra=extra if wide else None, weight=1 - self.weight if wide else 1.0)

        def right(towers: PairTowers) -> float:
            return float(np.mean([(towers.named(judged, place) == asked[:, place]).mean() for place in range(4)]))

        return {"named": right(student), "teachers": float(np.mean([right(each) for each in wide] or [0.0])), "stored_gap": gap}

    def _gap(self, wide: list[PairTowers], stored: list[tuple[torch.Tensor, torch.Tensor]], images: np.ndarray, words: np.ndarray) -> float:
        """Between the loss of the first 32 pairs from ``stored`` vectors and from teachers asked for these alone."""
        import torch

        if not wide:
            return 0.0
        logits = torch.zeros(32, 32)
        with torch.no_grad():
            again = [(tower.images(images[:32]), tower.texts(words[:32])) for tower in wide]
            known = [(one[:32], other[:32]) for one, other in stored]
            return float(abs(towards(again, logits, self.sharpness) - towards(known, logits, self.sharpness)))


def towards(vectors: list[tuple[torch.Tensor, torch.Tensor]], logits: torch.Tensor, sharpness: float) -> torch.Tensor:
    """The cross entropy of the mean softmax of teachers with that of square ``logits``, the mean of rows and columns.

    ``vectors`` are those of the images and of the captions of each teacher, [pairs, width].
    """
    import torch

    total = logits.new_zeros(())
    for turned in (False, True):
        wanted = (
            torch.stack([sharpness * (other @ one.T if turned else one @ other.T) for one, other in vectors]).softmax(dim=2).mean(dim=0)
        )
        own = (logits.T if turned else logits).log_softmax(dim=1)
        total = total - (wanted * own).sum(dim=1).mean() / 2
    return total
