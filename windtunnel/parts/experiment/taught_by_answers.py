"""A retriever that is taught by sentences out of their document, by pairs, or by whether what it finds holds the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from windtunnel.core.trial import Trial
from windtunnel.kits.optim.descent import take_steps
from windtunnel.slots import Experiment

if TYPE_CHECKING:
    from typing import Self

    import numpy as np
    import torch

MEANINGS, FACETS, SENTENCES = 400, 3, 3  # what words mean, how many meanings a document is about, and its sentences
SELDOM = 0.1  # how often a side uses the word of the other
ANSWERS = 200
BATCH, WIDTH = 64, 32
RATE, SCALE = 0.02, 10.0  # of AdamW, and of the scores
RIGHT = 0.9  # how likely a reader gives an answer that a document holds


class TaughtByAnswers(Experiment, name="taught-by-answers"):
    """How often the document of a question is found, by an encoder taught without questions, by pairs, and by answers alone.

    Sachan et al. 2021, arXiv:2101.00408 (End-to-End Training of Neural Retrievers): first a sentence has to find the document it was taken
    out of among those of the batch (inverse cloze; the sentence stays in it with chance 0.1); then questions their documents; then the
    retriever is trained by how likely a reader gives the answer, -log(sum over documents k that were found of p(k | question) p(answer |
    k)), whose gradient reaches the found documents alone. Salient spans and the joint way to read are not here, and the reader is not
    trained: it gives an answer that stands in the document with probability 0.9, any other with what is left.

    A document is about three of 400 meanings and holds an answer; each meaning has two words, one that documents use nine times of ten and
    one that questions do. A sentence names the three meanings in either word. The encoder is the mean of word vectors. ``stages`` says what
    it learned: nothing, ``sentences``, ``pairs`` of a question and its document, or ``answers`` to further questions, in this order.
    Questions that
    are judged are about one half of the documents, those of training about the other. `tf-idf` is told beside.
    """

    trial = Trial({"stages": ("sentences", "pairs", "answers"), "steps": 2, "documents": 80, "asked": 40, "pairs": 16, "unpaired": 64})

    unit: ClassVar[str] = "share found"
    better: ClassVar[str] = "higher"

    stages: tuple[Literal["sentences", "pairs", "answers"], ...] = Field((), description="what the encoder learned, in order")
    shuffled: bool = Field(False, description="whether the answers that teach are those of other questions, a control")
    documents: int = Field(2000, ge=20, description="that are searched")
    pairs: int = Field(100, ge=2, description="questions of training whose document is known")
    unpaired: int = Field(1000, ge=BATCH, description="questions of training of which the answer alone is known")
    found: int = Field(20, ge=2, description="documents that a reader is given")
    steps: int = Field(200, ge=1, description="of every stage, 64 questions or sentences each")
    asked: int = Field(1000, ge=10, description="questions that are judged")

    @model_validator(mode="after")
    def _finds_no_more_than_there_are(self) -> Self:
        if self.found > self.documents:
            raise ValueError(f"found: a reader cannot be given {self.found} of {self.documents} documents; lower it")
        return self

    def measure(self, seed: int) -> dict[str, float]:
        """``among_twenty``, ``first``, and ``tf_idf``, which is among twenty by words that agree."""
        import numpy as np
        import torch

        from windtunnel.kits.vectors import unit

        random = np.random.default_rng(seed)
        library = AnswerDocuments.drawn(self.documents, random)
        order = random.permutation(self.documents)
        own = random.choice(order[: self.documents // 2], self.asked)
        questions = library.said(own, random, asked=True)
        vectors = torch.nn.Parameter(torch.from_numpy(random.standard_normal((2 * MEANINGS, WIDTH)).astype(np.float32)))
        for stage in self.stages:
            self._taught(vectors, stage, library, order[self.documents // 2 :], random)
        with torch.no_grad():
            scores = (encoded(vectors, questions) @ encoded(vectors, library.words).T).numpy()
        rarity = np.log(len(library.words) / (1 + (library.words > 0).sum(axis=0)))
        words = unit(questions * rarity) @ unit(library.words * rarity).T
        places, plain = ((~(each < each[np.arange(len(own)), own][:, None])).sum(axis=1) - 1 for each in (scores, words))
        return {
            "among_twenty": float((places < 20).mean()),
            "first": float((places < 1).mean()),
            "tf_idf": float((plain < 20).mean()),
        }

    def _taught(
        self, vectors: torch.nn.Parameter, stage: str, library: AnswerDocuments, about: np.ndarray, random: np.random.Generator
    ) -> None:
        """Train ``vectors`` in place; questions are of the documents ``about``."""
        import torch
        from torch.nn.functional import cross_entropy

        known = random.choice(about, self.pairs if stage == "pairs" else self.unpaired)
        questions = library.said(known, random, asked=True)
        answer = library.answer[random.permutation(known) if self.shuffled else known]
        own = torch.arange(BATCH)

        def loss(step: int) -> torch.Tensor:
            if stage == "sentences":
                chosen = random.integers(0, len(library.words), BATCH)
                sentence, rest = library.taken(chosen, random)
                return cross_entropy(encoded(vectors, sentence) @ encoded(vectors, rest).T * SCALE, own)
            batch = random.integers(0, len(known), BATCH)
            asked = encoded(vectors, questions[batch])
            if stage != "pairs":
                return self._of_answers(vectors, asked, library, answer[batch])
            right = torch.from_numpy(known[batch][:, None] == known[batch])
            scores = asked @ encoded(vectors, library.words[known[batch]]).T * SCALE
            return cross_entropy(scores.masked_fill(right & ~torch.eye(BATCH, dtype=torch.bool), -1e9), own)

        take_steps(torch.optim.AdamW([vectors], RATE, weight_decay=0.0), loss, self.steps)

    def _of_answers(self, vectors: torch.nn.Parameter, asked: torch.Tensor, library: AnswerDocuments, answer: np.ndarray) -> torch.Tensor:
        """-log p(answer | question), over the documents that are found."""
        import torch

        with torch.no_grad():
            places = (asked @ encoded(vectors, library.words).T).topk(self.found).indices
        near = encoded(vectors, library.words[places.numpy().ravel()]).view(*places.shape, -1)
        likely = marginal(
            torch.einsum("qw,qkw->qk", asked, near) * SCALE, torch.from_numpy(library.answer[places.numpy()] == answer[:, None])
        )
        return -likely.mean()


def marginal(scores: torch.Tensor, holds: torch.Tensor) -> torch.Tensor:
    """log of the sum over documents k of p(k) p(answer | k): of ``scores`` [questions, documents] and whether each ``holds`` the answer."""
    import torch

    likely = torch.where(holds, RIGHT, (1 - RIGHT) / (ANSWERS - 1)).log()
    return (scores.log_softmax(dim=1) + likely).logsumexp(dim=1)


def encoded(vectors: torch.Tensor, words: np.ndarray) -> torch.Tensor:
    """Of texts, as counts of ``words`` [texts, words], the sum of word vectors with length 1."""
    import torch

    return torch.nn.functional.normalize(torch.from_numpy(words) @ vectors, dim=1)


class AnswerDocuments(NamedTuple):
    """``sentences`` float32 [documents, SENTENCES, words], their sum ``words``, and of each the ``meanings`` and the ``answer``."""

    sentences: np.ndarray
    words: np.ndarray
    meanings: np.ndarray
    answer: np.ndarray

    @classmethod
    def drawn(cls, count: int, random: np.random.Generator) -> AnswerDocuments:
        """So many; what they are about may be the same."""
        import numpy as np

        meanings = random.random((count, MEANINGS)).argpartition(FACETS, axis=1)[:, :FACETS]
        none = np.zeros((count, 0), np.float32)
        library = cls(none, none, meanings, random.integers(0, ANSWERS, count))
        sentences = np.stack([library.said(np.arange(count), random, asked=False) for _ in range(SENTENCES)], axis=1)
        return library._replace(sentences=sentences, words=sentences.sum(axis=1))

    def said(self, own: np.ndarray, random: np.random.Generator, asked: bool) -> np.ndarray:
        """A sentence about each of the documents ``own``, or a question, as counts of words [texts, words]."""
        import numpy as np

        other = random.random((len(own), FACETS)) < SELDOM  # the word that the other side rather uses
        words = self.meanings[own] + MEANINGS * (other != asked)
        found = np.zeros((len(own), 2 * MEANINGS), np.float32)
        np.put_along_axis(found, words, 1.0, axis=1)
        return found

    def taken(self, own: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A sentence out of each of the documents ``own``, and the rest of it, of which the sentence is a part one time in ten."""
        import numpy as np

        sentence = self.sentences[own, random.integers(0, SENTENCES, len(own))]
        return sentence, np.where((random.random(len(own)) < 0.1)[:, None], self.words[own], self.words[own] - sentence)
