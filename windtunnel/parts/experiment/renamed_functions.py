"""Functions found again after their variables were renamed, by encoders of code that were or were not taught to."""

from __future__ import annotations

import ast
import functools
import re
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field

from windtunnel.core.errors import PartError
from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_step
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    import numpy as np
    import torch

MODULES = (
    *("argparse", "ast", "bdb", "calendar", "codecs", "configparser", "csv", "datetime", "difflib", "dis", "enum", "fractions", "ftplib"),
    *("functools", "heapq", "imaplib", "inspect", "ipaddress", "locale", "mailbox", "optparse", "pathlib", "pdb", "pickle", "platform"),
    *("pprint", "random", "shutil", "smtplib", "socket", "statistics", "subprocess", "tarfile", "threading", "traceback", "zipfile"),
)
BUCKETS, WIDTH, SHOWN, QUEUE = 4096, 64, 60, 512  # of words, of vectors, words of a function that are read, keys that are kept
LEAST, KNOWN = 25, 800  # words of a function, and functions of training at most
OTHER = (
    "alpha",
    "river",
    "stone",
    "cloud",
    "ember",
    "maple",
    "orbit",
    "pixel",
    "quartz",
    "raven",
    "silk",
    "tiger",
    "umbra",
    "velvet",
    "willow",
)


class RenamedFunctions(Experiment, name="renamed-functions"):
    """The share of functions whose renamed copy is nearest to them among all others, by encoders that differ in what they were taught last.

    Liu et al. 2023 (ContraBERT), arXiv:2301.09072: models of code lose most of what they can when variables are renamed; training goes on
    with masked tokens and with a contrastive loss, -log softmax of cosines over 0.07, where a function's variant (renamed variables, names
    of functions, statements that do nothing, tokens dropped or swapped) has to be nearer than others, which come from a queue of keys of an
    encoder that follows slowly (momentum 0.99 here, MoCo).

    Functions are those of Python's library. An encoder has a vector for each word (in 4,096 buckets by its spelling), and its output is a
    linear map of their mean over a function. First it learns to tell a masked word from the mean of the others; then ``more`` of the same
    (``masked``), or of that and the contrast with a ``queue``, or with the other functions of the batch alone (``batch``). Variants of
    training rename variables to v0, v1 and so on, and drop words; judged are renamings to other words, in functions that were in no
    training. ``found`` is the share found among them all; ``drop`` how much less it is than with an unrenamed copy that lost a third of its
    words; ``module`` the share of functions whose nearest other one, all unchanged, is of the same module: what the encoder is worth
    otherwise.
    """

    trial = Trial({"steps": 2, "more": 2, "judged": 30})

    unit: ClassVar[str] = "share found"
    better: ClassVar[str] = "higher"

    taught: Literal["masked", "queue", "batch"] = Field("queue", description="what training goes on with")
    steps: int = Field(150, ge=1, description="on masked words, 64 functions each")
    more: int = Field(150, ge=0, description="steps that training goes on for")
    judged: int = Field(400, ge=10, description="functions that are in no training")
    rate: float = Field(3e-3, gt=0, description="learning rate of Adam")

    def measure(self, seed: int) -> dict[str, float]:
        """``found``, ``drop`` and ``module``. Raises PartError where this Python's library has too few functions with sources."""
        import numpy as np
        import torch

        random = np.random.default_rng(seed)
        every = functions()
        if len(every) < 2 * self.judged:
            raise PartError(
                f"{self.name}: judged {self.judged}: this Python has {len(every)} functions with sources, of which half may be judged"
            )
        order = random.permutation(len(every))
        tested, known = [every[place] for place in order[: self.judged]], [every[place] for place in order[self.judged :][:KNOWN]]
        encoder = self._trained(known, seed, random)

        def vectors(texts: list[list[str]]) -> torch.Tensor:
            with torch.no_grad():
                return torch.nn.functional.normalize(encoder.code(padded(texts)), dim=1)

        own = vectors([words(each.source) for each in tested])
        renamed = vectors([words(renaming(each, [OTHER[place] for place in random.permutation(len(OTHER))])) for each in tested])
        dropped = vectors([thinned(words(each.source), 1 / 3, random) for each in tested])
        diagonal = torch.arange(len(own))
        found, kept = (float(((each @ own.T).argmax(dim=1) == diagonal).double().mean()) for each in (renamed, dropped))
        near = (own @ own.T - 2 * torch.eye(len(own))).argmax(dim=1).tolist()
        module = float(np.mean([tested[place].module == tested[other].module for place, other in enumerate(near)]))
        return {"found": found, "drop": kept - found, "module": module}

    def _trained(self, known: list[Function], seed: int, random: np.random.Generator) -> Encoder:
        """An encoder after both stretches of training."""
        import copy

        import torch

        texts = [words(each.source) for each in known]
        variants = [words(renaming(each, [f"v{place}" for place in range(len(each.names))])) for each in known]
        encoder = Encoder(seed)
        slow = copy.deepcopy(encoder.net)
        optimizer = torch.optim.Adam(encoder.net.parameters(), self.rate)
        queue = torch.zeros(0, WIDTH)
        for step in range(self.steps + self.more):
            chosen = random.integers(len(texts), size=64)
            given = padded([texts[place] for place in chosen])
            loss = encoder.masked(given, torch.from_numpy(random.integers(0, 20, size=len(given))))
            if step == self.steps:
                slow.load_state_dict(encoder.net.state_dict())
            if step >= self.steps and self.taught != "masked":
                other = padded([thinned(variants[place], 0.1, random) for place in chosen])
                query = torch.nn.functional.normalize(encoder.code(given), dim=1)
                if self.taught == "queue":
                    with torch.no_grad():
                        for slowly, fast in zip(slow.parameters(), encoder.net.parameters(), strict=True):
                            slowly.lerp_(fast, 0.01)
                        key = torch.nn.functional.normalize(encoder.code(other, slow), dim=1)
                    against = torch.cat([(query * key).sum(dim=1, keepdim=True), query @ queue.T], dim=1)
                    loss = loss + torch.nn.functional.cross_entropy(against / 0.07, torch.zeros(len(query), dtype=torch.long))
                    queue = torch.cat([key, queue])[:QUEUE]
                else:
                    key = torch.nn.functional.normalize(encoder.code(other), dim=1)
                    loss = loss + torch.nn.functional.cross_entropy(query @ key.T / 0.07, torch.arange(len(query)))
            take_step(optimizer, loss)
        return encoder


class Function(NamedTuple):
    """Its module, its source without a docstring, and the names of its arguments and of the variables that it sets."""

    module: str
    source: str
    names: tuple[str, ...]


class Encoder:
    """Vectors of words, a linear map of their mean (its output), and one that tells a masked word."""

    def __init__(self, seed: int) -> None:
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers = {"read": torch.nn.Embedding(BUCKETS + 1, WIDTH, padding_idx=BUCKETS)}
            rest = {"code": torch.nn.Linear(WIDTH, WIDTH), "tell": torch.nn.Linear(WIDTH, BUCKETS)}
            self.net = torch.nn.ModuleDict({**layers, **rest})

    def mean(self, tokens: torch.Tensor, net: torch.nn.ModuleDict) -> torch.Tensor:
        """Of the vectors of words, [rows, WIDTH]."""
        import torch

        found = net["read"](tokens).sum(dim=1) / (tokens != BUCKETS).sum(dim=1, keepdim=True).clamp(min=1)
        return torch.as_tensor(found)

    def code(self, tokens: torch.Tensor, net: torch.nn.ModuleDict | None = None) -> torch.Tensor:
        """What stands for each function."""
        import torch

        chosen = self.net if net is None else net
        return torch.as_tensor(chosen["code"](self.mean(tokens, chosen)))

    def masked(self, tokens: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """The loss on the word at each of ``places``, from the others."""
        import torch

        rows = torch.arange(len(tokens))
        hidden = tokens.clone()
        hidden[rows, places] = BUCKETS
        return torch.nn.functional.cross_entropy(self.net["tell"](self.code(hidden)), tokens[rows, places])


@functools.cache
def functions() -> list[Function]:
    """Those of MODULES that are long enough, as far as this Python has their sources."""
    import importlib.util
    from pathlib import Path

    found = []
    for module in MODULES:
        spec = importlib.util.find_spec(module)
        if spec is None or not spec.origin or not spec.origin.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                if ast.get_docstring(node) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
                each = Function(module, ast.unparse(node), own_names(node))
                if len(words(each.source)) >= LEAST and len(each.names) > 1:
                    found.append(each)
    return found


def own_names(node: ast.FunctionDef) -> tuple[str, ...]:
    """Arguments and variables of a function, as they come; self stays what it is."""
    arguments = [each.arg for each in ast.walk(node) if isinstance(each, ast.arg)]
    variables = [each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    return tuple(name for name in dict.fromkeys(arguments + variables) if name != "self")


def renaming(function: Function, names: list[str]) -> str:
    """Its source with other names for its own; where ``names`` are too few they come again with a number."""
    new = {old: names[place] if place < len(names) else f"{names[place % len(names)]}{place}" for place, old in enumerate(function.names)}
    tree = ast.parse(function.source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = new.get(node.id, node.id)
        elif isinstance(node, ast.arg):
            node.arg = new.get(node.arg, node.arg)
    return ast.unparse(tree)


def words(source: str) -> list[str]:
    """Names, numbers and signs."""
    return re.findall(r"[A-Za-z_]\w*|\d+|[^\s\w]", source)


def thinned(some: list[str], share: float, random: np.random.Generator) -> list[str]:
    """``some`` without a share of them."""
    kept = random.random(len(some)) >= share
    return [word for word, stays in zip(some, kept, strict=True) if stays]


def padded(texts: list[list[str]]) -> torch.Tensor:
    """The buckets of the first SHOWN words of each, int64 [texts, SHOWN], and BUCKETS behind."""
    import zlib

    import torch

    rows = [[zlib.crc32(word.encode()) % BUCKETS for word in text[:SHOWN]] for text in texts]
    return torch.tensor([row + [BUCKETS] * (SHOWN - len(row)) for row in rows])
