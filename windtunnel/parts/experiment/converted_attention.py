"""A trained transformer whose attention is replaced by a recurrence, and what a little tuning brings back."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

WORDS, COPIED, BETWEEN = 32, 5, 18  # of a text; words that come twice, and words of other text between them
BEGIN, AGAIN = WORDS, WORDS + 1
LENGTH = 2 * COPIED + BETWEEN + 2
KINDS = ("both", "window", "linear", "plain")


class ConvertedAttention(Experiment, name="converted-attention"):
    """The share of words copied from far back that a model gets right, after its attention was turned into a gated recurrence.

    Lan et al. 2025 (Liger), arXiv:2503.01496. Without new weights: queries and keys go through a softmax over the channels of a head, the
    logarithm of what a channel keeps is logsigmoid(raw key) / 16, S = diag(kept) S + k v', and the output is half q S and half
    attention in a window. Then a few steps on the next token tune the projections (by LoRA there, all of their weights here).

    A text is 5 random words, 18 of a random Markov chain, and the same 5 again, so the chain needs the last two words and the copy what is
    farther back than the ``window``. ``both`` is this method's share of copied words told right after ``tuning`` steps, ``window`` that of
    the window alone, ``linear`` of the recurrence alone, ``plain`` of linear attention with 1 + elu of query and key and no decay
    (Katharopoulos et al. 2020, arXiv:2006.16236), ``base`` of the model before. Names with ``_nats`` are the loss on words of the chain,
    and ``untuned_nats`` that of ``both`` before tuning.
    """

    trial = Trial({"steps": 2, "tuning": 1, "judged": 8})

    unit: ClassVar[str] = "share right"
    better: ClassVar[str] = "higher"

    window: int = Field(6, ge=1, description="places that attention in a window sees, itself included")
    steps: int = Field(300, ge=1, description="of training with attention, 32 texts each")
    tuning: int = Field(100, ge=1, description="steps after, of projections alone, 32 texts each")
    judged: int = Field(200, ge=1, description="texts")
    rate: float = Field(3e-3, gt=0, description="learning rate of AdamW; a third of it after")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above."""
        import copy

        import numpy as np

        from windtunnel.kits.small_decoder import descend
        from windtunnel.kits.text.small import losses, made
        from windtunnel.kits.text.windowed import chances, language

        random = np.random.default_rng(seed)
        odds = chances(language(WORDS, random, sharpness=2.0))
        base = made(seed, WORDS + 2, LENGTH, width=48)

        def loss(model: object) -> torch.Tensor:
            return losses(model, texts(odds, 32, random))[:, COPIED:].mean()

        descend(base, lambda step: loss(base), self.steps, self.rate)
        judged = texts(odds, self.judged, random)
        found = told(base, judged)
        numbers = {"base": found[0], "base_nats": found[1]}
        numbers["untuned_nats"] = told(Converted(base, "both", self.window), judged)[1]
        for kind in KINDS:
            model = copy.deepcopy(base)
            for name, weight in model.named_parameters():
                weight.requires_grad_(".mixed." in name or ".out." in name)
            converted = Converted(model, kind, self.window)
            descend(model, lambda step, own=converted: loss(own), self.tuning, self.rate / 3)  # type: ignore[misc]
            numbers[kind], numbers[kind + "_nats"] = told(converted, judged)
        first = [name for kind in KINDS for name in (kind, kind + "_nats")]
        return {name: numbers[name] for name in [*first, "base", "base_nats", "untuned_nats"]}


class Converted:
    """A transformer that runs on another one's weights, with a recurrence in the place of attention."""

    def __init__(self, model: torch.nn.Module, kind: str, window: int) -> None:
        self.model, self.kind, self.window = model, kind, window

    def __call__(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [rows, length, vocabulary]."""
        import torch

        model = self.model
        state = model.tokens(tokens) + model.places.weight[: tokens.shape[1]]  # type: ignore[operator,union-attr,index]
        for block in model.blocks:  # type: ignore[union-attr]
            query, key, value = block.mixed(block.first(state)).unflatten(-1, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
            state = state + block.out(self.mixed(query, key, value).transpose(1, 2).flatten(2))
            state = state + block.down(torch.nn.functional.gelu(block.up(block.second(state))))
        return model.read(state)  # type: ignore[no-any-return,operator]

    def mixed(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """What takes the place of attention, [rows, heads, places, size] in and out."""
        import torch

        from windtunnel.kits.text.linear_attention import gated, softmaxed

        if self.kind == "window":
            return softmaxed(query, key, value, self.window)
        if self.kind == "plain":
            one, other = (1 + torch.nn.functional.elu(each) for each in (query, key))
            total = one @ other.cumsum(dim=2).transpose(2, 3)
            total = total.diagonal(dim1=2, dim2=3)[..., None]
            return gated(one, other, value, torch.zeros_like(key)) / total.clamp(min=1e-6)
        linear = gated(query.softmax(dim=-1), key.softmax(dim=-1), value, torch.nn.functional.logsigmoid(key) / 16)
        return linear if self.kind == "linear" else (linear + softmaxed(query, key, value, self.window)) / 2


def texts(odds: np.ndarray, count: int, random: np.random.Generator) -> torch.Tensor:
    """Words, a sign, a stretch of the chain, a sign, and the words again: int64 [count, LENGTH]."""
    import numpy as np
    import torch

    from windtunnel.kits.text.windowed import drawn

    words = random.integers(WORDS, size=(count, COPIED))
    begin, again = np.full((count, 1), BEGIN), np.full((count, 1), AGAIN)
    return torch.from_numpy(np.hstack([words, begin, drawn(odds, count, BETWEEN, random), again, words])).long()


def told(model: object, rows: torch.Tensor) -> tuple[float, float]:
    """The share of copied words that are the likeliest, and the loss on the chain from its third word on, in nats."""
    import torch

    with torch.no_grad():
        logits = model(rows[:, :-1])  # type: ignore[operator]
        right = (logits[:, -COPIED:].argmax(dim=2) == rows[:, -COPIED:]).double().mean()
        chain = slice(COPIED + 2, COPIED + BETWEEN)
        loss = torch.nn.functional.cross_entropy(logits[:, chain].transpose(1, 2), rows[:, 1:][:, chain])
    return float(right), float(loss)
