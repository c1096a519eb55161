"""Learning the representations of another model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from windtunnel.core.errors import PartError
from windtunnel.core.part import Trained
from windtunnel.core.trial import Trial
from windtunnel.parts.objective.masked_token import MaskedToken
from windtunnel.slots import BatchContext, Loss, LossTerm

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class HiddenDistillation(LossTerm, name="hidden-distillation"):
    """Keep the last hidden states close to a teacher's on whole text: weight times their squared distance, added to the loss.

    Lee et al. 2022, arXiv:2210.02871 (self-distillation for further pre-training): the teacher is the plainly further pre-trained
    model, the student begins again where the teacher began. Theirs is the distance of one vector for each input, the first position
    after the last norm, on the input without masks, summed over its 768 dimensions, averaged over inputs, of weight 1: ``pool:
    first``, ``weight: 1``, ``as_width: 768``. The default pools the mean of the positions instead, as nothing here trains the first
    position to stand for its document; ``pool: positions`` takes every position by itself.

    An input is a document's piece of a sequence, as attention ends with it. It weighs by its targets, which are about equally dense
    everywhere, so that the average does not depend on how a batch is cut. With masked-token the student reads the text a second time,
    without masks; all other objectives hide nothing that could be put back, and the same pass serves. Of an encoder-decoder it is the
    encoder's states that are compared.

    ``layers: all`` compares the states after every block instead, position by position: the sum over blocks of the mean squared
    distance, each over the teacher's mean square in the batch at hand. That is SquareHead (Kurtic et al. 2023, arXiv:2310.06927), whose
    teacher is the dense model and whose student is a pruned one; its weight is 1. The last states are those after the last norm.
    """

    trial = Trial({"teacher": {"folder": "@model"}})
    identity = {"weight": 0.0}

    needs: ClassVar[frozenset[str]] = frozenset({"hidden_states"})

    teacher: Trained = Field(description="the model whose states are learned; it must be as wide as the student")
    weight: float = Field(1.0, ge=0, description="what the squared distance is multiplied with (0: plain training)")
    pool: Literal["mean", "positions", "first"] = Field(
        "mean", description="what is compared: mean state of a document, state of every position, or state of its first position"
    )
    layers: Literal["last", "all"] = Field("last", description="states after the last block, or after every block, each at its own scale")
    as_width: int | None = Field(
        None, ge=1, description="scale the sum over dimensions as if there were this many (768: weights as in the paper; null: as it is)"
    )

    @model_validator(mode="after")
    def _of_layers(self) -> HiddenDistillation:
        if self.layers == "all" and (self.pool != "mean" or self.as_width is not None):
            raise ValueError("layers: all compares every position at the teacher's scale; leave out pool and as_width")
        return self

    def term(
        self, model: PreTrainedModel, batch: dict[str, torch.Tensor], loss: Loss, state: dict[str, Any], context: BatchContext
    ) -> torch.Tensor:
        """The weighted squared distance, averaged over inputs, each weighing by its counted targets.

        Raises:
            PartError: for a teacher of another width, kind or, with ``layers: all``, depth, and for ``pool: first`` where the first
                position sees only itself.
        """
        import torch

        teacher, masked = context.models["teacher"], isinstance(context.objective, MaskedToken)
        known, own = teacher.config.hidden_size, model.config.hidden_size
        if known != own:
            raise PartError(
                f"hidden-distillation: the teacher's states are {known} wide and the student's {own}; they must be equally wide"
            )
        if teacher.config.is_encoder_decoder != model.config.is_encoder_decoder:
            raise PartError("hidden-distillation: of teacher and student one is an encoder-decoder and the other is not")
        reads_both_ways = masked or model.config.is_encoder_decoder
        if self.pool == "first" and not reads_both_ways:
            raise PartError(
                f"hidden-distillation: with {context.objective.name} the first position of a document sees nothing but itself; "
                "use pool: mean or pool: positions"
            )
        whole = batch | {"tokens": torch.where(batch["labels"] != -100, batch["labels"], batch["tokens"])} if masked else batch
        with torch.no_grad():
            taught = context.objective.loss(teacher, whole, self.needs)
        read = context.objective.loss(model, whole, self.needs) if masked else loss
        if self.layers == "all":
            return self.weight * _of_all_layers(_every(read), _every(taught), _present(model, batch))
        states, goal = _last(read), _last(taught)
        apart = (states - goal) if states.dtype == torch.float64 else (states.float() - goal.float())
        weight = self.weight * (1.0 if self.as_width is None else self.as_width / own)

        targets = _sums(loss.counts.to(apart.dtype), batch.get("documents", torch.zeros_like(batch["tokens"])))
        documents = _present(model, batch)
        return weight * (_distances(apart, documents, targets.shape[1], self.pool) * targets).sum() / loss.counts.sum().clamp(min=1)


def _last(loss: Loss) -> torch.Tensor:
    """The last hidden states [B, T, width], after the last norm; of an encoder-decoder those of its encoder."""
    encoded = getattr(loss.outputs, "encoder_last_hidden_state", None)
    return loss.outputs.hidden_states[-1] if encoded is None else encoded


def _every(loss: Loss) -> tuple[torch.Tensor, ...]:
    """The states [B, T, width] after each block, those of the last after the last norm; of an encoder-decoder those of its encoder."""
    encoded = getattr(loss.outputs, "encoder_hidden_states", None)
    return tuple((loss.outputs.hidden_states if encoded is None else encoded)[1:])


def _present(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The document of each position [B, T] of the states, -1 for padding."""
    import torch

    documents = batch.get("documents", torch.zeros_like(batch["tokens"]))
    if not model.config.is_encoder_decoder:
        return documents
    columns = batch["encoder_columns"]
    return torch.where(columns >= 0, documents.gather(1, columns.clamp(min=0)), -1)


def _of_all_layers(states: tuple[torch.Tensor, ...], goals: tuple[torch.Tensor, ...], documents: torch.Tensor) -> torch.Tensor:
    """The sum over layers of the mean squared distance over the mean square of ``goals``, over positions that are no padding.

    Raises:
        PartError: where there are not as many layers on both sides.
    """
    import torch

    if len(states) != len(goals):
        raise PartError(f"hidden-distillation: the teacher has {len(goals)} layers, the student {len(states)}; layers: all needs as many")
    there = (documents >= 0)[..., None]
    parts = []
    for state, goal in zip(states, goals, strict=True):
        state, goal = (state, goal) if state.dtype == torch.float64 else (state.float(), goal.float())
        apart, size = ((state - goal).square() * there).sum(), (goal.square() * there).sum()
        parts.append(apart / size.clamp(min=torch.finfo(size.dtype).tiny))
    return torch.stack(parts).sum()


def _distances(apart: torch.Tensor, documents: torch.Tensor, most: int, pool: str) -> torch.Tensor:
    """The squared distance of every document [B, most], of states that are ``apart`` [B, T, width] at positions of ``documents`` [B, T]."""
    import torch

    if pool == "first":
        first = torch.ones_like(documents, dtype=torch.bool)
        first[:, 1:] = documents[:, 1:] != documents[:, :-1]
        documents = torch.where(first, documents, -1)
    sizes = _sums(torch.ones_like(documents, dtype=apart.dtype), documents, most).clamp(min=1)
    if pool == "positions":
        return _sums(apart.square().sum(dim=-1), documents, most) / sizes
    return (_sums(apart, documents, most) / sizes[..., None]).square().sum(dim=-1)


def _sums(values: torch.Tensor, documents: torch.Tensor, most: int | None = None) -> torch.Tensor:
    """``values`` [B, T, ...] summed over the positions of each document, [B, most, ...]; those of padding (-1) are left out.

    A document's number within its sequence is below the sequence's length, which is what ``most`` is if not given.
    """
    import torch

    most = most or documents.shape[1]
    # Padding goes to one place more, which is cut off. The size is fixed so that nothing waits for the device.
    sums = values.new_zeros(len(values), most + 1, *values.shape[2:])
    places = torch.where(documents >= 0, documents, most)
    return sums.scatter_add(1, places.view(*places.shape, *[1] * (values.dim() - 2)).expand_as(values), values)[:, :most]
