"""The packing of related documents: each once, the likest side by side, and windows that are read across."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from pydantic import ValidationError

from windtunnel.core.errors import PartError
from windtunnel.parts.packing.related import Related
from windtunnel.slots import Documents


def documents(texts: list[np.ndarray]) -> Documents:
    return Documents(np.array([len(text) for text in texts], np.int64), lambda _, number: texts[number])


def test_documents_of_a_subject_stand_side_by_side():
    random = np.random.default_rng(200)
    subjects = np.repeat(np.arange(4), 6)
    texts = [random.integers(50 * subject, 50 * subject + 12, 20) for subject in subjects]
    layout = Related(near=3).pack(documents(texts), 41, random)
    pairs = [(one, two) for one, two in itertools.pairwise(layout.document) if one != two]
    windows = [layout.document[start:stop] for start, stop in itertools.pairwise(layout.first)]
    together = [subjects[one] == subjects[two] for window in windows for one, two in itertools.pairwise(window)]
    assert np.mean(together) > 0.8 and len(pairs) > 10


def test_every_token_comes_once_but_those_that_windows_share():
    random = np.random.default_rng(201)
    texts = [random.integers(0, 30, size) for size in (7, 12, 0, 9, 15, 3)]
    layout = Related(near=2).pack(documents(texts), 6, random)
    seen = [
        (document, place)
        for document, start, stop in zip(layout.document, layout.start, layout.stop, strict=True)
        for place in range(start, stop)
    ]
    total = sum(map(len, texts))
    windows = (total - 1) // 5
    assert len(layout.first) == windows + 1 and len(set(seen)) == windows * 5 + 1 and len(seen) == windows * 6


def test_what_it_cannot_act_on_is_refused():
    with pytest.raises(PartError, match="one document has no neighbours"):
        Related().pack(documents([np.arange(9)]), 4, np.random.default_rng(0))
    with pytest.raises(ValidationError, match="read together"):
        Related(separate=True)
