"""Frozen weight matrices with something small that trains beside each: what low-rank and spectral adapters share.

An adapted module stands where a weight matrix stood, under the same name, and holds its very parameters, frozen. Matrices are [out, in]
here, also where the family (gpt2) stores [in, out].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from windtunnel.core.errors import PartError
from windtunnel.kits.weights.factors import Factors
from windtunnel.kits.weights.quantised import Rounded
from windtunnel.kits.weights.targets import Targets
from windtunnel.models.anatomy import anatomy, linear, linears, transposed

ROUNDING = 1e-4  # singular values of a change below this share of the largest are what merging has rounded


class Adapter(nn.Module):
    """A frozen weight matrix and what is added to it; a subclass says what that is."""

    weight: nn.Parameter
    bias: nn.Parameter | None
    transposed: bool

    def change(self) -> Tensor:
        """What is added to the matrix, [out, in]."""
        raise NotImplementedError

    def bias_change(self) -> Tensor | None:
        """What is added to the bias [out]; None: nothing."""
        return None

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """What is added to the output ``plain`` [..., out] of the frozen matrix and its bias for ``x`` [..., in]: [..., out]."""
        raise NotImplementedError

    @property
    def matrix(self) -> Tensor:
        """The matrix [out, in], however it is stored."""
        return self.weight.T if self.transposed else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to [..., out]."""
        plain = functional.linear(x, self.matrix, self.bias)
        return plain + self.added(x, plain)


class LowRankAdapter(Adapter):
    """Adds ``alpha / rank * left @ right``; of a nested one the first ``active`` of its ranks alone, multiplied by alpha / active."""

    def __init__(self, left: Tensor, right: Tensor, alpha: float) -> None:
        """``left`` [out, rank], ``right`` [rank, in]."""
        super().__init__()
        self.left, self.right, self.alpha, self.active = nn.Parameter(left), nn.Parameter(right), alpha, len(right)

    def change(self) -> Tensor:
        """As for every adapter."""
        return self.alpha / self.active * (self.left[:, : self.active] @ self.right[: self.active])

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        inner = functional.linear(x, self.right[: self.active])
        return functional.linear(inner, self.left[:, : self.active]) * (self.alpha / self.active)


class OutputAdapter(LowRankAdapter):
    """Adds ``alpha / rank * left @ right`` times the output, bias and all; with ``of_input`` that low-rank change of the matrix too."""

    input_left: nn.Parameter | None
    input_right: nn.Parameter | None

    def __init__(self, left: Tensor, right: Tensor, alpha: float, of_input: tuple[Tensor, Tensor] | None) -> None:
        """``left`` [out, rank], ``right`` [rank, out]; ``of_input`` [out, rank] and [rank, in]."""
        super().__init__(left, right, alpha)
        pair = (None, None) if of_input is None else tuple(nn.Parameter(factor) for factor in of_input)
        self.register_parameter("input_left", pair[0])
        self.register_parameter("input_right", pair[1])

    def change(self) -> Tensor:
        """As for every adapter."""
        change = super().change() @ self.matrix
        if self.input_left is None or self.input_right is None:
            return change
        return change + self.alpha / self.active * (self.input_left @ self.input_right)

    def bias_change(self) -> Tensor | None:
        """As for every adapter."""
        return None if self.bias is None else super().change() @ self.bias

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        added = super().added(plain, plain)
        if self.input_left is None or self.input_right is None:
            return added
        return added + functional.linear(functional.linear(x, self.input_right), self.input_left) * (self.alpha / self.active)


class Triplets(Adapter):
    """Adds ``scale * left @ diag(values) @ right``; remembers how important each entry has been, and which triplets are kept."""

    kept: Tensor

    def __init__(self, left: Tensor, right: Tensor, scale: float) -> None:
        """``left`` [out, rank], ``right`` [rank, in]; values begin at zero."""
        super().__init__()
        self.left, self.right, self.scale = nn.Parameter(left), nn.Parameter(right), scale
        self.values = nn.Parameter(torch.zeros(len(right), dtype=right.dtype))
        for key in ("left", "values", "right"):
            for kind in ("importance", "uncertainty"):
                self.register_buffer(f"{key}_{kind}", torch.zeros_like(getattr(self, key).data))
        self.register_buffer("kept", torch.ones(len(right), dtype=torch.bool))

    def change(self) -> Tensor:
        """As for every adapter."""
        return self.scale * (self.left @ (self.values[:, None] * self.right))

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        return functional.linear(functional.linear(x, self.right * self.values[:, None]), self.left) * self.scale

    @torch.no_grad()
    def learn(self, slow: float, slower: float) -> None:
        """Take the gradients that are there into the moving averages of importance, |weight x gradient|, and of its uncertainty."""
        for key in ("left", "values", "right"):
            weight = getattr(self, key)
            if weight.grad is None:
                continue
            importance, uncertainty = getattr(self, f"{key}_importance"), getattr(self, f"{key}_uncertainty")
            now = (weight * weight.grad).abs()
            importance.mul_(slow).add_(now, alpha=1 - slow)
            uncertainty.mul_(slower).add_((now - importance).abs(), alpha=1 - slower)

    def scores(self) -> Tensor:
        """The importance of each triplet [rank]: of its value, and the means over the entries of both its vectors."""
        kinds = ("importance", "uncertainty")
        left, values, right = (math.prod(getattr(self, f"{key}_{kind}") for kind in kinds) for key in ("left", "values", "right"))
        return values + left.mean(dim=0) + right.mean(dim=1)


class Core(Adapter):
    """Adds ``up @ core @ down`` with frozen ``down``; ``core`` [rank] is a diagonal, [rank, rank] a matrix; ``up`` trains or is frozen."""

    up: Any
    down: Tensor

    def __init__(self, up: Tensor, down: Tensor, core: Tensor, up_trains: bool) -> None:
        """``up`` [out, rank], ``down`` [rank, in]."""
        super().__init__()
        self.register_buffer("down", down)
        if up_trains:
            self.up = nn.Parameter(up)
            self.register_buffer("up_before", up.clone())
        else:
            self.register_buffer("up", up)
        self.core = nn.Parameter(core)

    def change(self) -> Tensor:
        """As for every adapter."""
        return self.up @ (self.core[:, None] * self.down if self.core.ndim == 1 else self.core @ self.down)

    def added(self, x: Tensor, plain: Tensor) -> Tensor:
        """As for every adapter."""
        inner = functional.linear(x, self.down)
        return functional.linear(inner * self.core if self.core.ndim == 1 else functional.linear(inner, self.core), self.up)

    @torch.no_grad()
    def freeze(self, columns: int) -> None:
        """Put the first ``columns`` of ``up`` back to what they were when they froze: moments and decay would go on moving them."""
        before: Any = self.up_before
        self.up[:, :columns] = before[:, :columns]
        before[:, columns:] = self.up[:, columns:]


# In a model -------------------------------------------------------------------------------------------------------------------


def chosen(model: Any, targets: Targets, head: bool, part: str) -> dict[str, nn.Module]:
    """The weight matrices that ``targets`` names, by the names of their modules; with ``head`` also that of the logits.

    Raises:
        PartError: for the part ``part``, where there is none, where a structure is in place already, and where queries and values are
            parts of a fused matrix.
    """
    if any(isinstance(module, (Adapter, Factors, Rounded)) for module in model.modules()):
        raise PartError(f"{part}: a structure is in place on the matrices of this model; remove that structure before applying another")
    view = anatomy(model)
    attentions = [attention for block in view.blocks for attention in (block.attention, block.cross) if attention is not None]
    kinds = {
        "all": set(linears(model)),
        "attention": {matrix.name for one in attentions for matrix in (one.q, one.k, one.v, one.o)},
        "mlp": {matrix.name for block in view.blocks for matrix in (block.mlp.up, block.mlp.down, block.mlp.gate) if matrix is not None},
        "queries-values": {matrix.name for one in attentions for matrix in (one.q, one.v)},
    }
    if targets == "queries-values" and any(one.q.name == one.k.name for one in attentions):
        raise PartError(f"{part}: {view.family} holds queries, keys and values in one matrix; use targets: attention")
    found = {name: module for name, module in linears(model).items() if name in kinds[targets]}
    if head:
        if view.head is None:
            raise PartError(f"{part}: {view.family} has no matrix for a head; set head: false")
        found[view.head.name] = view.head.module
    if not found:
        raise PartError(f"{part}: the blocks of this model hold no weight matrix")
    return found


@torch.no_grad()
def adapt(
    model: nn.Module, part: str, found: dict[str, nn.Module], rank: int, make: Callable[[str, Tensor], Adapter], knob: str = "rank"
) -> None:
    """Freeze ``model`` and put ``make(name, weight [out, in])`` in place of every module of ``found``. What ``make`` adds trains.

    Raises:
        PartError: for the part ``part``, where ``rank``, which is its ``knob``, exceeds a side of a matrix.
    """
    matrices: dict[str, Any] = found
    narrow = min(matrices, key=lambda name: min(matrices[name].weight.shape))
    shape = tuple(matrices[narrow].weight.shape)
    if rank > min(shape):
        raise PartError(f"{part}: {knob} {rank} is larger than a side of {narrow} {shape}; at most {min(shape)} fits")
    model.requires_grad_(False)
    for name, module in matrices.items():
        stored_transposed = transposed(module)
        adapter = make(name, module.weight.T if stored_transposed else module.weight).to(module.weight.device)
        adapter.weight, adapter.transposed = module.weight, stored_transposed
        adapter.register_parameter("bias", module.bias)
        model.set_submodule(name, adapter.train(module.training))


def adapters(model: nn.Module, part: str) -> dict[str, Any]:
    """Every adapter by its name. Raises PartError, for the part ``part``, where there is none."""
    found: dict[str, Any] = {name: module for name, module in model.named_modules() if isinstance(module, Adapter)}
    if not found:
        raise PartError(f"{part}: no adapter is in place; apply it first")
    return found


@torch.no_grad()
def merge(model: Any, part: str) -> None:
    """Add what adapters hold to their matrices and train everything again; the function stays, up to rounding.

    A head that is the embedding gets a matrix of its own then: what was added to the logits was not added to the inputs, and would be.
    """
    view = anatomy(model)
    for name, adapter in adapters(model, part).items():
        change = adapter.change().to(adapter.weight.dtype)
        out, inside = change.shape
        weight = nn.Parameter(adapter.weight + (change.T if adapter.transposed else change))
        shift = adapter.bias_change()
        with torch.device("meta"):  # no weights are drawn that would be thrown away
            module: Any = linear(out, inside, adapter.transposed)
        module.weight, module.bias = weight, adapter.bias if shift is None else nn.Parameter(adapter.bias + shift)
        model.set_submodule(name, module.train(adapter.training))
        if view.tied and view.head is not None and name == view.head.name:
            model.config.tie_word_embeddings = False
            model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=False)
    model.requires_grad_(True)


# As peft stores them -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def low_rank_changes(base: Any, tuned: Any, rank: int | None) -> dict[str, tuple[Tensor, Tensor]]:
    """``left`` [out, rank] and ``right`` [rank, in] by the name of each module whose matrix differs in ``tuned`` from ``base``.

    ``rank``: that of all changes; None finds the least that holds them up to rounding.

    Raises:
        PartError: naming a weight that differs and is no matrix of the blocks or the head, or whose change is of a higher rank.
    """
    from windtunnel.kits.weights.deltas import refuse_other_weights

    first, other = base.state_dict(), tuned.state_dict()
    refuse_other_weights(first, other, "the tuned model")
    modules, view = linears(base), anatomy(base)
    if view.head is not None:
        modules[view.head.name] = view.head.module
    tied = set(view.embeddings) if view.tied and not tuned.config.tie_word_embeddings else set()
    names = [name for name, weight in first.items() if not torch.equal(weight, other[name])]
    odd = [name for name in names if name.removesuffix(".weight") not in modules or name in tied]
    if odd:
        raise PartError(f"{odd[0]} differs from the base ({len(odd)} in all), and an adapter changes matrices of blocks and head alone")
    if not names:
        raise PartError("no weight differs from the base, so there is no adapter")
    factors = {}
    for name in (name.removesuffix(".weight") for name in names):
        change = (other[f"{name}.weight"].double() - first[f"{name}.weight"].double()).float()
        u, s, v = torch.linalg.svd(change.T if transposed(modules[name]) else change, full_matrices=False)
        factors[name] = (u, s, v, float((s > ROUNDING * s[0]).sum()))
    kept = rank or int(max(entry[3] for entry in factors.values()))
    found = {}
    for name, (u, s, v, _) in factors.items():
        if float(s[kept:].norm()) > ROUNDING * len(s) ** 0.5 * float(s.norm()):
            raise PartError(f"{name}: its change is not of rank {kept}; give a higher rank, or export the merged model")
        root = s[:kept].sqrt()
        found[name] = (u[:, :kept] * root, root[:, None] * v[:kept])
    return found


def write_peft(folder: Path, base: str, changes: dict[str, tuple[Tensor, Tensor]], stored_transposed: bool, task: str) -> None:
    """Write ``changes`` as an adapter that peft loads onto the model ``base``; ``task`` is what peft calls the kind of model."""
    import json

    from safetensors.torch import save_file

    rank = len(next(iter(changes.values()))[1])
    config = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": stored_transposed,
        "target_modules": sorted(changes),
        "inference_mode": True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    tensors = {}
    for name, (left, right) in changes.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = right.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = left.contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
