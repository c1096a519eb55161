"""Rows of embeddings for other tokens: which tokens two tokenizers share, and rows for those that they do not.

Plain functions. A row for a new token is written as a combination of old rows wherever that is what it is (:class:`Mix`), so the same one
serves the input embedding, an untied head and the head's bias.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from windtunnel.core.errors import PartError
from windtunnel.kits.text import tokenizer as tokenizers
from windtunnel.models.anatomy import anatomy

# What stands for a special token of a role, best first: families end a text with one of them and begin it with another.
ROLES = {
    "eos": ("eos", "sep", "bos"),
    "bos": ("bos", "cls", "eos"),
    "sep": ("sep", "eos"),
    "cls": ("cls", "bos"),
    "pad": ("pad",),
    "mask": ("mask",),
    "unk": ("unk",),
}
TOKENS_AT_ONCE = 512  # new tokens whose combinations are sought at once: their products with all atoms have to fit into memory
WINDOWS_AT_ONCE = 16


class Mix(NamedTuple):
    """Combinations of old rows: new row ``i`` is the sum over ``j`` of ``share[i, j]`` times old row ``rows[i, j]``."""

    rows: Tensor
    share: Tensor

    def of(self, table: Tensor) -> Tensor:
        """The new rows where ``table`` holds the old ones: [new, ...]."""
        found = torch.zeros(len(self.rows), *table.shape[1:], dtype=torch.float64)
        for column in range(self.rows.shape[1]):  # one after the other: all at once would take as many times the memory
            share = self.share[:, column].double().view(-1, *[1] * (table.dim() - 1))
            found += share * table[self.rows[:, column]].double()
        return found.to(table.dtype)

    @classmethod
    def mean(cls, pieces: Sequence[Sequence[int]]) -> Mix:
        """The plain means of the old rows ``pieces[i]``; a row without pieces is zero."""
        longest = max((len(numbers) for numbers in pieces), default=0)
        rows, share = torch.zeros(len(pieces), longest, dtype=torch.int64), torch.zeros(len(pieces), longest, dtype=torch.float64)
        for place, numbers in enumerate(pieces):
            rows[place, : len(numbers)] = torch.tensor(list(numbers), dtype=torch.int64)
            share[place, : len(numbers)] = 1 / max(1, len(numbers))
        return cls(rows, share)


def tables_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """What has a row for each token: ``embedding``, ``head`` where it is another matrix, and its ``bias`` where it has one."""
    view = anatomy(model)
    if view.head is None or not view.embeddings:
        raise PartError(f"a model of the family {view.family} has no table of tokens")
    module: Any = view.head.module
    found: dict[str, Any] = {"embedding": next(iter(view.embeddings.values())).weight}
    if not view.tied:
        found["head"] = module.weight
    if getattr(module, "bias", None) is not None:
        found["bias"] = module.bias
    return found


# Which tokens are the same ------------------------------------------------------------------------------------------------------


def spellings(tokenizer: Any) -> dict[int, bytes | None]:
    """The text of each token as bytes, however its tokenizer writes it (a space as Ġ, as U+2581, by beginning a word); None: special."""
    backend = tokenizer.backend_tokenizer
    definition = json.loads(backend.to_str())
    if definition["model"].get("type") != "WordPiece":
        return tokenizers.spellings(tokenizer)
    prefix = definition["model"].get("continuing_subword_prefix") or "##"
    found: dict[int, bytes | None] = {}
    for token, number in backend.get_vocab(with_added_tokens=False).items():
        found[number] = token.removeprefix(prefix).encode() if token.startswith(prefix) else f" {token}".encode()
    return found | {
        number: None if token.special else token.content.encode() for number, token in backend.get_added_tokens_decoder().items()
    }


def shared(new: Any, old: Any, rows: int, size: int) -> Tensor:
    """For each number below ``size`` the number that tokenizer ``old`` gives the token that ``new`` gives it, -1 where it has none.

    Ordinary tokens are matched by the text they stand for, special ones by their role (ends a text, pads, masks), else by name.
    Numbers from ``rows`` on, for which the old model has no row, count as none.
    """
    theirs, ours = ({number: text for number, text in spellings(one).items()} for one in (old, new))
    by_text: dict[bytes, int] = {}
    for number in sorted(theirs, reverse=True):  # a byte that a tokenizer holds twice is the ordinary token, which has been trained
        text = theirs[number]
        if text and number < rows and not (text in by_text and old.convert_ids_to_tokens(number).startswith("<0x")):
            by_text[text] = number
    roles = {role: getattr(old, f"{role}_token_id") for role in ROLES}
    names = {token: number for token, number in old.get_vocab().items() if theirs.get(number, b"") is None}
    by_role: dict[int, int] = {}
    for role in reversed(ROLES):
        number = getattr(new, f"{role}_token_id")
        known = [roles[other] for other in ROLES[role] if roles[other] is not None and roles[other] < rows]
        if number is not None and known:
            by_role[number] = known[0]
    found = torch.full((size,), -1, dtype=torch.int64)
    for number, text in ours.items():
        if number >= size:
            continue
        if text is None:
            name = names.get(new.convert_ids_to_tokens(number), -1)
            found[number] = by_role.get(number, name if name < rows else -1)
        elif text:
            found[number] = by_text.get(text, -1)
    return found


def pieces(new: Any, numbers: Sequence[int], old: Any, rows: int) -> list[list[int]]:
    """What each of the new tokens ``numbers`` is in the old tokenizer: the tokens its text is read as.

    Half a character is spelled byte by byte; special tokens have no pieces.
    """
    texts = spellings(new)
    single = {text: number for number, text in spellings(old).items() if text is not None and len(text) == 1 and number < rows}
    backend = tokenizers.encoder(old)
    # Sentencepiece puts a space before a text by itself, so one that the token has must not be there twice.
    spaced = "".join(backend.encode("a", add_special_tokens=False).tokens).startswith("▁")
    found: list[list[int]] = []
    for number in numbers:
        text = texts.get(number)
        try:
            word = (text or b"").decode()
            read = backend.encode(word[1:] if spaced and word.startswith(" ") else word, add_special_tokens=False).ids
        except UnicodeDecodeError:
            read = [single[bytes([byte])] for byte in text or b"" if bytes([byte]) in single]
        found.append([piece for piece in read if piece < rows])
    return found


# Rows for new tokens ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def pursuit(targets: Tensor, atoms: Tensor, count: int, numbers: Tensor | None = None) -> Mix:
    """Each of ``targets`` [n, width] as a combination of at most ``count`` of ``atoms`` [s, width], by orthogonal matching pursuit.

    Pati et al. 1993: take the atom with the largest inner product with what is left, then leave of the target what is orthogonal to all
    atoms taken. Inner products are raw, so long atoms are favoured, as in Goddard & Fernandes Neto 2025. A target is finished before
    ``count`` atoms where nothing of it is left or the next atom lies, to numerical precision, in the span of those taken: from there on
    rounding noise would be divided by itself. ``numbers`` (default: their places) says which rows the atoms are in the result.
    """
    atoms, targets = atoms.double(), targets.double()
    count = min(count, len(atoms), atoms.shape[1])
    chosen, shares = [], []
    for batch in targets.split(TOKENS_AT_ONCE):
        taken, share = _pursuit(batch, atoms, count)
        chosen.append(taken)
        shares.append(share)
    rows = torch.cat(chosen) if chosen else torch.zeros(0, count, dtype=torch.int64)
    return Mix(rows if numbers is None else numbers[rows], torch.cat(shares) if shares else torch.zeros(0, count, dtype=torch.float64))


def _pursuit(targets: Tensor, atoms: Tensor, count: int) -> tuple[Tensor, Tensor]:
    size, width = targets.shape
    precision = width**0.5 * torch.finfo(torch.float32).eps  # of the weights, which were trained in float32 or less
    basis = torch.zeros(size, count, width, dtype=torch.float64)
    triangle = torch.eye(count, dtype=torch.float64).repeat(size, 1, 1)
    onto = torch.zeros(size, count, dtype=torch.float64)
    taken = torch.zeros(size, count, dtype=torch.int64)
    used = torch.zeros(size, len(atoms), dtype=torch.bool)
    left = targets.clone()
    going = targets.norm(dim=1) > 0
    for step in range(count):
        fits = (left @ atoms.T).abs().masked_fill(used, -1.0)
        best = fits.argmax(dim=1)
        atom = atoms[best]
        across = torch.zeros(size, count, dtype=torch.float64)
        rest = atom
        for _ in range(2):  # once leaves what rounding makes of it; twice is enough (Kahan, by Parlett 1980)
            part = torch.einsum("nkd,nd->nk", basis, rest)
            across += part
            rest = rest - torch.einsum("nkd,nk->nd", basis, part)
        length = rest.norm(dim=1)
        going &= (length > precision * atom.norm(dim=1)) & (left.norm(dim=1) > precision * targets.norm(dim=1))
        if not going.any():
            break
        direction = torch.where(going[:, None], rest / length.clamp(min=1e-300)[:, None], 0.0)
        basis[:, step] = direction
        triangle[going, :, step] = across[going]
        triangle[going, step, step] = length[going]
        onto[:, step] = (direction * left).sum(dim=1)
        left = left - onto[:, step, None] * direction
        taken[going, step] = best[going]
        used[torch.arange(size)[going], best[going]] = True
    share = torch.linalg.solve_triangular(triangle, onto[:, :, None], upper=True)[:, :, 0]
    return taken, share


@torch.no_grad()
def contextual(
    model: PreTrainedModel,
    old: Any,
    new: Any,
    numbers: Sequence[int],
    texts: Iterable[str],
    *,
    layer: int,
    occurrences: int,
    tokens: int,
    window: int,
    counted: Callable[[int], AbstractContextManager[Any]],
) -> tuple[Tensor, Tensor]:
    """The mean state after ``layer`` of ``model`` over the pieces of each new token and over its first ``occurrences`` in ``texts``.

    Pavlova & Makhlouf 2023, arXiv:2308.08625. Texts are read with the old tokenizer in windows of ``window`` tokens, at most ``tokens`` in
    all; windows in which no token is still wanted are not run through the model. Where the old pieces do not begin and end with the new
    token, the occurrence does not count.

    Returns:
        The means [len(numbers), width], and how many occurrences each is of.
    """
    place = {number: index for index, number in enumerate(numbers)}
    sums, seen = torch.zeros(len(numbers), model.config.hidden_size), torch.zeros(len(numbers), dtype=torch.int64)
    asked = [0] * len(numbers)
    encoders = tokenizers.encoder(new), tokenizers.encoder(old)
    inner = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    waiting: list[tuple[list[int], list[tuple[int, int, int]]]] = []
    training = model.training
    model.eval()

    def run() -> None:
        longest = max(len(ids) for ids, _ in waiting)
        batch = torch.full((len(waiting), longest), old.pad_token_id or 0)
        batch = torch.where(batch < model.config.vocab_size, batch, 0)
        mask = torch.zeros_like(batch)
        for row, (ids, _) in enumerate(waiting):
            batch[row, : len(ids)] = torch.tensor(ids)
            mask[row, : len(ids)] = 1
        with counted(int(mask.sum())):
            states = inner(input_ids=batch, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
        for row, (_, found) in enumerate(waiting):
            for index, first, last in found:
                sums[index] += states[row, first:last].mean(dim=0)
                seen[index] += 1
        waiting.clear()

    spent = 0
    for text in texts:
        if spent >= tokens or min(asked, default=occurrences) >= occurrences:
            break
        ours, theirs = (encoder.encode(text, add_special_tokens=False) for encoder in encoders)
        spots = _spots(text, ours, theirs, place)
        for begin in range(0, len(theirs.ids), window - 1):
            inside = []
            for index, first, last in spots:
                if begin <= first and last <= begin + window - 1 and asked[index] < occurrences:
                    asked[index] += 1
                    inside.append((index, first - begin + 1, last - begin + 1))
            if inside and spent < tokens:
                ids = [old.eos_token_id, *theirs.ids[begin : begin + window - 1]]
                waiting.append((ids, inside))
                spent += len(ids)
            if len(waiting) == WINDOWS_AT_ONCE:
                run()
    if waiting:
        run()
    model.train(training)
    return sums / seen.clamp(min=1)[:, None], seen


def _spots(text: str, ours: Any, theirs: Any, place: Mapping[int, int]) -> list[tuple[int, int, int]]:
    """Where wanted tokens of ``ours`` are in ``theirs``: (index of the token, first piece, behind the last piece)."""
    from bisect import bisect_left, bisect_right

    begins, ends = [begin for begin, _ in theirs.offsets], [end for _, end in theirs.offsets]
    found = []
    for number, (begin, end) in zip(ours.ids, ours.offsets, strict=True):
        if number not in place or begin == end:
            continue
        first, last = bisect_right(ends, begin), bisect_left(begins, end)
        # Tokenizers differ in whether the space before a word counts as part of its place in the text.
        if first < last and ends[last - 1] == end and not text[min(begin, begins[first]) : max(begin, begins[first])].strip():
            found.append((place[number], first, last))
    return found


__all__ = ["Mix", "contextual", "pieces", "pursuit", "shared", "spellings", "tables_of"]
