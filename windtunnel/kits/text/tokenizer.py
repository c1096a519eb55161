"""Tokenizers: train a byte-level BPE, or load any tokenizer folder, and say what each token is.

A tokenizer here always has a document separator, padding, a mask, the three mode tokens of UL2 and sentinels for span corruption,
so that every objective works with every stream. Text that merely looks like one of them stays text: see :func:`encoder`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from windtunnel.core.errors import UserError
from windtunnel.kits.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

DOCUMENT, PAD, MASK = "<|document|>", "<|pad|>", "<|mask|>"
MODES = {"R": "[R]", "S": "[S]", "X": "[X]"}  # regular, sequential and extreme denoising: Tay et al. 2022, arXiv:2205.05131
BYTES = 256  # a byte-level vocabulary holds each of them


def span(number: int) -> str:
    """The text of sentinel ``number`` (from 0)."""
    return f"<|span_{number}|>"


def specials(sentinels: int) -> list[str]:
    """The special tokens of a trained tokenizer, in the order of their ids from 0."""
    return [DOCUMENT, PAD, MASK, *MODES.values(), *(span(number) for number in range(sentinels))]


def train(texts: Iterable[str], *, vocabulary: int, sentinels: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of at most ``vocabulary`` tokens, special tokens included (fewer where the text offers no more merges).

    Byte-level BPE: Sennrich et al. 2016, arXiv:1508.07909, over bytes as in Radford et al. 2019 (GPT-2). Any text round-trips. All
    special tokens mix letters with punctuation, which the pre-tokenizer always parts, so no merge can ever spell one.

    Raises:
        UserError: if ``vocabulary`` cannot hold the special tokens and the 256 bytes.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    names = specials(sentinels)
    if vocabulary < BYTES + len(names):
        raise UserError(
            f"tokenizer.vocabulary: {vocabulary} is too small: {BYTES} bytes, {len(names) - sentinels} special tokens and {sentinels} "
            f"sentinels need {BYTES + len(names)}; raise vocabulary or lower sentinels"
        )
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, show_progress=False, special_tokens=names, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    backend.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=DOCUMENT,
        eos_token=DOCUMENT,
        pad_token=PAD,
        mask_token=MASK,
        extra_special_tokens=[*MODES.values(), *(span(number) for number in range(sentinels))],
        clean_up_tokenization_spaces=False,
    )


def load(folder: Path | str, *, sentinels: int) -> PreTrainedTokenizerFast:
    """The tokenizer in ``folder``, with whatever objectives of this package need and it lacks added at the end of its vocabulary.

    Its end-of-text token (else its beginning-of-text token) separates documents. One without padding gets none: places that are padded
    are told by their document number, so that any token may stand there, and a model that lacks one must not need a further row for it.

    Raises:
        UserError: if the folder holds no tokenizer, or one that the tokenizers library cannot run.
    """
    tokenizer = stored(folder)
    names = _Names(tokenizer, sentinels)
    if tokenizer.eos_token is None:
        tokenizer.add_special_tokens({"eos_token": tokenizer.bos_token or names.free(DOCUMENT)})
    if tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": names.free(MASK)})
    missing = [name for name in (*names.modes.values(), *names.spans) if name not in names.added]
    if missing:
        from tokenizers import AddedToken

        tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in missing], special_tokens=True)
    return tokenizer


def stored(folder: Path | str) -> Any:
    """The tokenizer in ``folder`` with nothing added, its begin and end of text those that config.json names where nothing else does.

    Raises:
        UserError: if the folder holds no tokenizer, or one that the tokenizers library cannot run.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"tokenizer.folder: {folder} is not a folder")
    try:
        tokenizer = _as_its_file_says(folder)
    except Exception as error:  # transformers raises nearly anything for a folder it cannot read
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"tokenizer.folder: {folder} holds no tokenizer that transformers can load: {reason}") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise UserError(f"tokenizer.folder: {folder}: {type(tokenizer).__name__} is not a fast tokenizer (no tokenizer.json)")
    _name_ends(tokenizer, folder / "config.json")
    _spell_added(tokenizer.backend_tokenizer)
    return tokenizer


# The last words are what normalizers change: a ligature, a wide letter, an accent that stands apart.
_PROBE = "A first line, then\n\n  2 more: l'été, 12345 naïve _tokens_\tand {braces}. The oﬃce, Ａ, e\u0301"


def _as_its_file_says(folder: Path) -> Any:
    """The tokenizer of a folder as its tokenizer.json has it.

    Beside a config.json of gpt2, qwen2, qwen3 or gpt_neox, AutoTokenizer (transformers 5.23) makes another class, which puts a token of its
    own behind the model's last row, and for qwen2 splits otherwise. So it does where tokenizer_config.json names such a class: that has a
    normalizer of its own, or none. What tokenizer.json says is what the model was trained with.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    if (folder / "tokenizer.json").is_file() and getattr(tokenizer, "backend_tokenizer", None) is not None:
        stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
        made = tokenizer.backend_tokenizer
        same = stored.get_vocab() == made.get_vocab() and _ids(stored) == _ids(made)
        if not same:
            tokenizer = PreTrainedTokenizerFast.from_pretrained(str(folder), local_files_only=True)
            if _ids(tokenizer.backend_tokenizer) != _ids(stored):
                raise ValueError("transformers reads its tokenizer.json as another tokenizer, which gives other tokens")
    return tokenizer


def _name_ends(tokenizer: Any, settings: Path) -> None:
    """Give a tokenizer that knows no begin or end of text the ones that a model's ``settings`` name by number."""
    named = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    for role in ("bos", "eos"):
        number = named.get(f"{role}_token_id")
        number = number[0] if isinstance(number, list) and number else number
        token = tokenizer.backend_tokenizer.id_to_token(number) if isinstance(number, int) else None
        if token is not None and getattr(tokenizer, f"{role}_token") is None:
            tokenizer.add_special_tokens({f"{role}_token": token})


def _spell_added(backend: Tokenizer) -> None:
    """Let added tokens be written as they are spelled.

    The decoder of a byte-level tokenizer takes the letter ö for the byte that it stands for in the model's tokens, and in added ones too:
    "schön", read as one token, is written with no letter where ö was (tokenizers 0.23; huggingface/tokenizers 1392, 1915, 1996).
    """
    from tokenizers import Regex, decoders

    if "ByteLevel" not in _kinds(json.loads(backend.to_str()).get("decoder")):
        return
    own, letter = backend.get_vocab(with_added_tokens=False), {byte: character for character, byte in _byte_of().items()}
    added = [token.content for token in backend.get_added_tokens_decoder().values()]
    spelled = [
        decoders.Replace(Regex(rf"\A{re.escape(content)}\z"), "".join(letter[byte] for byte in content.encode()))
        for content in added
        if content not in own and backend.decoder.decode([content]) != content
    ]
    if spelled:
        backend.decoder = decoders.Sequence([*spelled, backend.decoder])


def _ids(backend: Tokenizer) -> list[int]:
    ids: list[int] = backend.encode(_PROBE, add_special_tokens=False).ids
    return ids


def describe(tokenizer: PreTrainedTokenizerFast, *, sentinels: int) -> Vocabulary:
    """What an objective may know of ``tokenizer``, which :func:`train` or :func:`load` made with the same ``sentinels``.

    ``token_bytes`` is exact for byte-level tokenizers. For sentencepiece-like ones (U+2581 stands for a space, ``<0xAB>`` for a byte)
    the space that some of them put before a document counts although the text does not have it: one byte a document.

    ``word_starts`` is what a token can say on its own: a whole word is a token that begins one and all that follow it up to the next
    that does. A token begins a word if it is special, or if its first character is a space of any kind, punctuation or a symbol, or
    belongs to a script written without spaces (Chinese, Japanese: each character then is a word, as in BERT's basic tokenizer). A
    token that begins with a letter, a digit or in the middle of a character continues the word before it; so the first word after
    a line break or a bracket belongs to that break or bracket.

    Raises:
        UserError: if the bytes of a token cannot be told, as with WordPiece, which loses spaces and case.
    """
    backend = tokenizer.backend_tokenizer
    pieces = _pieces(backend)
    size = max(backend.get_vocab(with_added_tokens=True).values()) + 1
    token_bytes = np.zeros(size, dtype=np.int32)
    word_starts = np.zeros(size, dtype=np.bool_)
    for number, piece in pieces.items():
        token_bytes[number] = len(piece or b"")
        word_starts[number] = piece is None or _begins_word(piece)
    names, begin = _Names(tokenizer, sentinels), beginning(tokenizer)
    return Vocabulary(
        size=size,
        document=tokenizer.eos_token_id if begin is None else begin,
        end=None if begin is None else tokenizer.eos_token_id,
        pad=tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id,
        mask=tokenizer.mask_token_id,
        spans=tuple(names.vocabulary[name] for name in names.spans),
        modes={mode: names.vocabulary[name] for mode, name in names.modes.items()},
        token_bytes=token_bytes,
        word_starts=word_starts,
    )


def beginning(tokenizer: Any) -> int | None:
    """The one token that ``tokenizer`` puts before a text, as those of Llama models do; None where it puts none, or its end-of-text token.

    A model that has never seen a text without it must not be shown one.
    """
    whole, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    before: list[int] = next((whole[:place] for place in range(len(whole)) if whole[place : place + len(plain)] == plain), [])
    return before[0] if len(before) == 1 and before[0] != tokenizer.eos_token_id else None


def spellings(tokenizer: PreTrainedTokenizerFast) -> dict[int, bytes | None]:
    """The bytes that each token stands for, None for special tokens. Raises UserError where they cannot be told."""
    return _pieces(tokenizer.backend_tokenizer)


def encoder(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """A copy of the tokenizer that reads special tokens in a text as the characters they are, and neither pads nor cuts.

    A web page about language models may well contain ``<|document|>``; it must not end the document there.
    """
    from tokenizers import Tokenizer

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    return backend


class _Names:
    """How a tokenizer spells the special tokens of this package: T5's sentinels where it has them, else ours."""

    def __init__(self, tokenizer: Any, sentinels: int) -> None:
        self.vocabulary: dict[str, int] = tokenizer.get_vocab()
        self.added = {str(token.content) for token in tokenizer.added_tokens_decoder.values()}
        theirs = [f"<extra_id_{number}>" for number in range(sentinels)]
        self.modes = {mode: self.free(name) for mode, name in MODES.items()}
        self.spans = [their if their in self.added else self.free(span(number)) for number, their in enumerate(theirs)]

    def free(self, name: str) -> str:
        """``name``, or a longer form of it where the vocabulary has an ordinary token of that spelling, which text could produce."""
        while name in self.vocabulary and name not in self.added:
            name = f"<|{name}|>"
        return name


def _pieces(backend: Tokenizer) -> dict[int, bytes | None]:
    """The bytes each token stands for, None for special tokens."""
    definition = json.loads(backend.to_str())
    kinds = set(_kinds(definition.get("pre_tokenizer"))) | set(_kinds(definition.get("decoder")))
    model = definition["model"]
    byte_fallback = bool(model.get("byte_fallback")) or "ByteFallback" in kinds
    if "ByteLevel" in kinds:
        table = _byte_of()

        def piece_of(token: str) -> bytes:
            return bytes(table[character] for character in token) if all(c in table for c in token) else token.encode()

    elif byte_fallback or "Metaspace" in kinds or "▁" in _patterns(definition.get("decoder")):

        def piece_of(token: str) -> bytes:
            byte = re.fullmatch(r"<0x([0-9A-Fa-f]{2})>", token) if byte_fallback else None
            return bytes([int(byte[1], 16)]) if byte else token.replace("▁", " ").encode()

    else:
        raise UserError(
            f"tokenizer.folder: the bytes that its tokens stand for cannot be told (model {model.get('type')}, decoder "
            f"{', '.join(sorted(kinds)) or 'none'}), so bits per byte cannot be measured; use a byte-level or sentencepiece tokenizer"
        )
    pieces: dict[int, bytes | None] = {number: piece_of(token) for token, number in backend.get_vocab(with_added_tokens=False).items()}
    for number, token in backend.get_added_tokens_decoder().items():
        pieces[number] = None if token.special else token.content.encode()
    return pieces


def _kinds(part: Any) -> Iterable[str]:
    """The type of a tokenizer component and of all it is made of."""
    if isinstance(part, dict):
        yield str(part.get("type"))
        for inner in (*part.get("pretokenizers", ()), *part.get("decoders", ())):
            yield from _kinds(inner)


def _patterns(part: Any) -> str:
    """What the Replace steps of a decoder look for."""
    if not isinstance(part, dict):
        return ""
    own = str(part.get("pattern", "")) if part.get("type") == "Replace" else ""
    return own + "".join(_patterns(inner) for inner in part.get("decoders", ()))


def _byte_of() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte: itself where it prints, else the next free character from U+0100 on."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(BYTES) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(BYTES + place): byte for place, byte in enumerate(hidden)}


# Scripts written without spaces between words: kana, Han ideographs with their extensions and compatibility forms.
_UNSPACED = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


def _begins_word(piece: bytes) -> bool:
    if not piece:
        return False
    width = 1 if piece[0] < 0x80 else 2 if piece[0] < 0xE0 else 3 if piece[0] < 0xF0 else 4
    try:
        first = piece[:width].decode()
    except UnicodeDecodeError:  # part of a character: its first byte still tells kana and the common ideographs from the rest
        return 0xE3 <= piece[0] <= 0xE9
    if any(low <= ord(first) <= high for low, high in _UNSPACED):
        return True
    return not (first.isalnum() or first == "_" or re.match(r"\w", first))
