"""What a tokenizer was trained on: the shares of the sources, told from its merges."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from windtunnel.core.errors import UserError
from windtunnel.slots import Source

if TYPE_CHECKING:
    import pandas
    from tokenizers import Tokenizer

    from windtunnel.kits.text.tokenizer_mixture import Found, Replay

MERGES = 1000  # that are looked at, the first ones
SAMPLE = 5_000_000  # bytes of each source in which pairs are counted
LONGEST = 20  # of the sample at most one part in so many is of one document
QUARTERS = 4  # parts of the documents from which the shares are told again, each alone


class TokenizerShares:
    """The shares that were told. ``data`` is what ``windtunnel forensics --json`` prints."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def table(self) -> pandas.DataFrame:
        """A row a source: its ``share`` in bytes, and the ``least`` and ``most`` that a quarter of the documents tells."""
        import pandas

        return pandas.DataFrame(self.data["shares"]).set_index("source")

    def __repr__(self) -> str:
        return "<tokenizer trained on " + ", ".join(f"{row['source']} {row['share']:.1%}" for row in self.data["shares"]) + ">"

    def _repr_html_(self) -> str:
        return self.table().to_html()


def forensics(
    tokenizer: str,
    corpus: Mapping[str, Source],
    *,
    merges: int = MERGES,
    sample: int = SAMPLE,
    say: Callable[[str], None] = lambda line: None,
) -> TokenizerShares:
    """The shares of ``corpus``'s sources in what ``tokenizer`` was trained on.

    Args:
        tokenizer: its tokenizer.json, or a folder that holds one.
        corpus: documents of each kind that it may have been trained on, by name. Only these share it out among them.
        merges: how many of its merges are looked at, the first ones.
        sample: bytes of each source in which pairs are counted: whole documents drawn at random, always the same.
        say: told what is being done, a line at a time.

    Raises:
        UserError: for a tokenizer that is missing or no BPE, a source that cannot be read, and fewer than two of them.
    """
    from windtunnel.kits.text.tokenizer_mixture import merges_of

    if len(corpus) < 2:
        raise UserError("--corpus: give two sources or more, between which there are shares to tell, for example --corpus code=~/src")
    backend = _opened(tokenizer)
    try:
        learnt = merges_of(backend)
    except UserError as error:
        raise UserError(f"{tokenizer}: {error}") from error
    texts = {}
    for name, source in corpus.items():
        say(f"reading {name}")
        texts[name] = _sampled(source, sample, name)
    say(f"making {min(merges, len(learnt)):,} merges")
    whole, made = _told(backend, learnt, list(texts.values()), merges)
    parts = _quarters(backend, learnt, list(texts.values()), merges)
    rows = []
    for place, (name, documents) in enumerate(texts.items()):
        told = [shares[place] for shares in parts]
        rows.append(
            {
                "source": name,
                "share": float(whole.shares[place]),
                "least": max(0.0, float(min(told))) if told else None,
                "most": float(max(told)) if told else None,
                "documents": len(documents),
                "bytes": sum(len(text.encode()) for text in documents),
            }
        )
    about = {"tokenizer": tokenizer, "merges": len(made.steps), "skipped": made.skipped, "learnt": len(learnt), "quarters": len(parts)}
    return TokenizerShares({**about, "unexplained": whole.unexplained, "broken": whole.broken, "shares": rows})


def _opened(tokenizer: str) -> Tokenizer:
    from tokenizers import Tokenizer

    path = Path(tokenizer).expanduser()
    path = path / "tokenizer.json" if path.is_dir() else path
    if not path.is_file():
        raise UserError(f"{path}: no such file; name a tokenizer.json, or the folder that holds one")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more particular
        raise UserError(f"{path}: is no tokenizer.json: {error}") from error


def _sampled(source: Source, most: int, name: str) -> list[str]:
    """Documents of ``source`` of ``most`` bytes together, in an order that their text decides."""
    from windtunnel.data.corpus.frame import texts_of
    from windtunnel.data.corpus.tally import Tally

    held: list[tuple[int, str, int]] = []  # the last one to be chosen first
    size = 0
    for text in texts_of(source, Tally(name)):
        text = text[: max(1, most // LONGEST)]
        data = text.encode()
        if not data or (size >= most and -xxhash.xxh64_intdigest(data) < held[0][0]):
            continue
        heapq.heappush(held, (-xxhash.xxh64_intdigest(data), text, len(data)))
        size += len(data)
        while size - held[0][2] >= most:
            size -= heapq.heappop(held)[2]
    if not held:
        raise UserError(f"--corpus {name}: holds no text")
    return [text for _, text, _ in sorted(held, reverse=True)]


def _quarters(backend: Tokenizer, learnt: Sequence[tuple[str, str]], texts: Sequence[Sequence[str]], merges: int) -> list[Any]:
    """The shares that each quarter of the documents tells. A quarter in which no merge occurs is left out; none where documents are few."""
    if any(len(documents) < QUARTERS for documents in texts):
        return []
    found = []
    for quarter in range(QUARTERS):
        try:
            found.append(_told(backend, learnt, [documents[quarter::QUARTERS] for documents in texts], merges)[0].shares)
        except UserError:  # the answer from all documents stands without it
            continue
    return found


def _told(backend: Tokenizer, learnt: Sequence[tuple[str, str]], texts: Sequence[Sequence[str]], merges: int) -> tuple[Found, Replay]:
    """What the merges say of the sources of which these are documents, and what was made."""
    from windtunnel.kits.text.extend import words
    from windtunnel.kits.text.tokenizer_mixture import inferred, replay

    sizes = [sum(len(text.encode()) for text in documents) for documents in texts]
    made = replay(learnt, [words(backend, documents) for documents in texts], sizes, merges)
    return inferred(made), made
