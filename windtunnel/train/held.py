"""The memory of tensors, counted while they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the most that ever were; several views of one memory count once.

    With ``arguments``, tensors that were there before count from the first operation that reads them on. Weights in shards are put
    together in a memory that stays and whose size goes to 0 in between.
    """

    def __init__(self, *, arguments: bool = False) -> None:
        super().__init__()
        self.arguments = arguments
        self.now = self.peak = 0
        self.known = weakref.WeakKeyDictionary[Any, list[int]]()

    def __enter__(self) -> Self:
        self.resize = torch.UntypedStorage.resize_

        def resized(memory: torch.UntypedStorage, size: int) -> Any:
            found = self.resize(memory, size)
            self.count(memory)
            return found

        torch.UntypedStorage.resize_ = resized  # type: ignore[method-assign, assignment]
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch.UntypedStorage.resize_ = self.resize  # type: ignore[method-assign]

    def hold(self, tensor: torch.Tensor) -> torch.Tensor:
        """Count ``tensor`` for as long as it lives."""
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        self.count(local.untyped_storage())
        return tensor

    def count(self, memory: torch.UntypedStorage) -> None:
        """Count ``memory`` as large as it is now."""
        if memory not in self.known:
            self.known[memory] = [0]
            weakref.finalize(memory, self.release, self.known[memory])
        (before,) = self.known[memory]
        self.known[memory][0] = memory.nbytes()
        self.now += memory.nbytes() - before
        self.peak = max(self.peak, self.now)

    def beside(self, tensors: Iterable[torch.Tensor]) -> int:
        """The bytes of those ``tensors`` that were not counted here."""
        others = Held()
        for tensor in tensors:
            local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            if local.untyped_storage() not in self.known:
                others.hold(tensor)
        return others.now

    def release(self, size: list[int]) -> None:
        """A memory of ``size`` bytes is gone."""
        self.now -= size[0]

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Any = None) -> Any:
        if self.arguments:
            tree_map_only(torch.Tensor, self.hold, (arguments, keywords))
        return tree_map_only(torch.Tensor, self.hold, function(*arguments, **(keywords or {})))
