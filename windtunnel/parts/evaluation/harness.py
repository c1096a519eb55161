"""Tasks of lm-evaluation-harness, on the model in memory."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field

from windtunnel.core.errors import PartError, UserError
from windtunnel.core.trial import Trial
from windtunnel.slots import ByDocument, Evaluation, HeldOut, Numbers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from windtunnel.kits.text.harness import TaskScore


class Harness(Evaluation, name="harness"):
    """What lm-evaluation-harness says of the model: tasks by name, or by a task file of your own, offline.

    Tasks, prompts, metrics and standard errors are those of lm_eval (``pip install 'windtunnel[harness]'``), and the numbers those of its
    own ``hf`` model to rounding. Likelihoods are made here: contexts of like length together, and what choices or prompts have in common
    once. Text is cut into tokens as there, so a begin-of-text token is there only where the tokenizer puts one; `multiple-choice` can put
    one there as training did. Requests that are longer than the context lose their beginning, with a warning.

    A file of data that a task names is looked for beside the task file first. A multiple-choice document without a right choice is
    refused; lm_eval counts it as wrong.

    ``harness/TASK/METRIC`` is the number, ``.../standard_error`` what lm_eval says of it. The first metric of the first task is the one
    that decides where this evaluation does. No FLOPs of evaluations are counted in a budget.
    """

    trial = Trial(untried="it needs lm_eval, which few installations have; its own test asks a model what lm_eval asks it")

    unit: ClassVar[str] = "score"
    better: ClassVar[str] = "higher"

    tasks: tuple[str, ...] = Field(min_length=1, description="names of tasks of lm_eval, or paths of task files (.yaml)")
    digest: str | None = Field(None, description="what task files, all that they are made of and the version of lm_eval must be; filled in")
    examples: int | None = Field(None, ge=0, description="solved examples before each question (default: as the task says)")
    chat: bool = Field(False, description="whether questions are asked through the tokenizer's chat template")
    tracked: int = Field(64, ge=1, description="most questions of a task that are asked on validation during training, evenly spaced")

    def pinned(self) -> Self:
        """The same evaluation, knowing the content of its files."""
        return self if self.digest is not None else self.model_copy(update={"digest": self._content()})

    def _content(self) -> str:
        import importlib.metadata

        from windtunnel.kits.text import harness as kit
        from windtunnel.models.content import digest_of

        refuse_without_lm_eval()
        with kit.offline():
            files = kit.files_of(self.tasks)
        return ", ".join([*([digest_of(files)] if files else []), f"lm_eval {importlib.metadata.version('lm_eval')}"])

    def evaluate(self, model: PreTrainedModel, held_out: HeldOut) -> Numbers:
        """Every metric of every task, and its standard error where lm_eval has one.

        Raises:
            UserError: where lm_eval is not installed.
            PartError: as for :meth:`scores`, and for a first metric that is better lower.
        """
        import numpy as np

        found, cut = self.scores(model, held_out)
        if cut:
            warnings.warn(f"harness: {cut} requests are longer than the context of {held_out.context}; they were cut", stacklevel=2)
        if not found[0].higher:
            raise PartError(f"harness: {found[0].metric} of {found[0].task} is better lower; put one first that is better higher")
        numbers = {}
        for one in found:
            numbers[f"harness/{one.task}/{one.metric}"] = one.value
            if one.error is not None:
                numbers[f"harness/{one.task}/{one.metric}/standard_error"] = one.error
        each = sorted(found[0].each.items())
        units, above = np.array([number for number, _ in each], np.int64), np.array([value for _, value in each], np.float64)
        return Numbers(numbers, ByDocument(units, above, np.ones(len(units))) if each else None)

    def scores(self, model: PreTrainedModel, held_out: HeldOut) -> tuple[list[TaskScore], int]:
        """The same with the value of each question; and how many requests were longer than the context and have lost their beginning.

        Raises:
            PartError: for a task that is not known, has no data on this machine or no answers, files that have changed, and a model that
                does not write text.
        """
        from windtunnel.kits.text import harness as kit
        from windtunnel.kits.text.encoded import text_of, vocabulary_of
        from windtunnel.models.init import family_of

        refuse_without_lm_eval()
        vocabulary_of(held_out, self.name)
        if family_of(model.config).kind != "decoder":
            raise PartError(f"harness: needs a decoder; {family_of(model.config).name} is none")
        with kit.offline():
            if self not in held_out.made:
                if self.digest is not None and self._content() != self.digest:
                    raise PartError(f"harness: {', '.join(self.tasks)}: changed since the recipe was made with {self.digest}")
                held_out.made[self] = self.loaded()
            tokenizer = text_of(held_out.stream, self.name).tokenizer
            place: dict[str, Any] = {"context": held_out.context, "device": held_out.device, "precision": held_out.precision}
            asked = kit.InMemory(model, tokenizer, **place)
            most = self.tracked if held_out.split == "validation" else None
            found = kit.scores(asked, held_out.made[self], most=most, chat=self.chat)
        return found, asked.cut

    def loaded(self) -> dict[str, Any]:
        """The tasks, with as many examples as are asked for; inside ``offline``."""
        from windtunnel.kits.text.harness import load_tasks

        found = load_tasks(self.tasks)
        for task in found["tasks"].values() if self.examples is not None else ():
            task.set_config(key="num_fewshot", value=self.examples)
        return found


def refuse_without_lm_eval() -> None:
    """Raise UserError where lm_eval is not installed."""
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise UserError(f"the evaluation harness needs lm_eval ({error.name} is missing): pip install 'windtunnel[harness]'") from error
