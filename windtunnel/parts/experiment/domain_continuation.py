"""What further training on a domain brings: how pure, how clean, with which start, and how languages share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np

WORDS, LENGTH, HELD_OUT = 40, 20, 200  # of all languages, of a text, and texts of each that are judged on


class DomainContinuation(Experiment, name="domain-continuation"):
    """Nats a word of a domain, and of general text, after a model of general text went on in the domain; studies/domain.yaml in seconds.

    General text and the domain are made languages of 40 words, the next drawn by the last two; what these say of the next word has a
    correlation of ``shared`` between domain and general text. The model is a network of one hidden layer on the last two words. ``general``
    steps on general text come first, none for a model from scratch; then as many in the domain as the rest of ``steps``, of which a share
    ``purity`` is domain text and the rest general text.

    ``copies`` makes a tenth of the domain's texts come so many times, as pages on the web do, and ``clean`` removes what comes again.
    ``spoiled`` is a share of texts that are noise; ``clean`` leaves them. ``noise`` is added to all weights before the domain, normal, with
    so many times the deviation of each tensor (Aghaei et al. 2022 and Ash and Adams 2020). ``sizes`` are texts of further languages, each
    as near to the domain, which are trained on with it, drawn by the power ``temperature`` of their sizes; 1 is in proportion, 0 alike
    (Javed et al. 2022).

    The numbers are ``domain``, nats a word of held-out text of the domain; ``general``, of general text; and with ``sizes`` ``rarest`` and
    ``commonest``, of the languages with the fewest and the most texts.
    """

    trial = Trial({"steps": 6, "general": 3, "texts": 20})

    unit: ClassVar[str] = "nats a word"

    general: int = Field(600, ge=0, description="steps on general text before the domain")
    steps: int = Field(1000, ge=1, description="in all, 128 words each")
    texts: int = Field(300, ge=10, description="of the domain, each of 20 words; of general text there are five times as many")
    shared: float = Field(0.7, ge=0, le=1, description="correlation of what words say of the next one in the domain and in general text")
    purity: float = Field(1.0, ge=0, le=1, description="share of domain text, after the general steps")
    copies: int = Field(1, ge=1, description="how often a tenth of the domain's texts come")
    spoiled: float = Field(0.0, ge=0, lt=1, description="share of the domain's texts that are noise")
    clean: Literal["no", "copies", "all"] = Field("no", description="what is removed: nothing, what comes again, or noise as well")
    noise: float = Field(0.0, ge=0, description="added to all weights before the domain, in deviations of each tensor")
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="texts of further languages that are trained on with the domain")
    temperature: float = Field(1.0, ge=0, le=1, description="power of sizes by which languages are drawn")
    rate: float = Field(0.01, gt=0, description="learning rate of Adam; half of it in the domain where general text came before")

    def measure(self, seed: int) -> dict[str, float]:
        """``domain``, ``general``, with languages ``rarest`` and ``commonest``. Raises PartError for ``general`` above ``steps``."""
        import numpy as np

        from windtunnel.kits.text.windowed import chances, drawn, language, learn, made, nats, windows

        if self.general > self.steps:
            raise PartError(f"{self.name}: general {self.general}: there are {self.steps} steps in all; lower it or raise steps")
        # Each has a generator of its own, so that arms which differ in one of them meet the same of all others.
        general, before, shaking, after, *streams = np.random.default_rng(seed).spawn(5 + len(self.sizes))
        first = language(WORDS, general)
        common = chances(first)
        plain, held_general = (windows(drawn(common, count, LENGTH, general)) for count in (5 * self.texts, HELD_OUT))
        languages = [chances(language(WORDS, stream, like=first, shared=self.shared)) for stream in streams]
        held = [windows(drawn(one, HELD_OUT, LENGTH, stream)) for one, stream in zip(languages, streams, strict=True)]
        own = [windows(self._texts(languages[0], streams[0]))]
        own += [windows(drawn(one, size, LENGTH, part)) for one, size, part in zip(languages[1:], self.sizes, streams[1:], strict=True)]
        model = made(seed, WORDS)
        if self.general:
            learn(model, [plain], [1.0], before, steps=self.general, rate=self.rate)
        if self.noise:
            shaken(model, self.noise, shaking)
        if self.steps > self.general:
            weights = np.array([len(one) for one in own], float) ** self.temperature
            shares = [1 - self.purity, *(self.purity * weights / weights.sum())]
            rate = self.rate / 2 if self.general else self.rate
            learn(model, [plain, *own], shares, after, steps=self.steps - self.general, rate=rate)
        losses = [nats(model, one) for one in held]
        found = {"domain": losses[0], "general": nats(model, held_general)}
        if self.sizes:
            order = np.argsort([len(one) for one in own])
            found |= {"rarest": losses[int(order[0])], "commonest": losses[int(order[-1])]}
        return found

    def _texts(self, odds: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Of the domain, with copies and noise as they come, or without."""
        import numpy as np

        from windtunnel.kits.text.windowed import drawn

        good = drawn(odds, self.texts, LENGTH, random)
        noise = random.integers(WORDS, size=(round(self.spoiled / (1 - self.spoiled) * self.texts), LENGTH))
        again = np.repeat(good[: max(self.texts // 10, 1)], self.copies - 1, axis=0)
        parts = {"no": (good, again, noise), "copies": (good, noise), "all": (good,)}[self.clean]
        return np.concatenate(parts)


def shaken(model: object, share: float, random: np.random.Generator) -> None:
    """Add normal noise to every weight, of ``share`` times the deviation of its tensor."""
    import torch

    with torch.no_grad():
        for one in model.parameters():  # type: ignore[attr-defined]
            one.add_(torch.from_numpy(random.standard_normal(tuple(one.shape))).float() * share * one.std())
