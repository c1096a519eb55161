"""The memory of tensors, counted while they come and go."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any, Self

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode


class Held(TorchDispatchMode):
    """Counts the bytes of the tensors that are alive, and the most that ever were; several views of one memory count once.

    With ``arguments``, tensors that were there before count from the first operation that reads them on. Weights in shards are put
    together in a memory that stays and whose size goes to 0 in between.
    """

    def __init__(self, *, arguments: bool = False) -> None:
        super().__init__()
        self.arguments = arguments
        self.now = self.peak = 0
        self.known: dict[int, tuple[Any, int]] = {}  # by the address of a memory: what tells of its end, and its bytes

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

    def hold(self, tensor: torch.Tensor) -> None:
        """Count ``tensor`` for as long as it lives."""
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        self.count(local.untyped_storage())

    def count(self, memory: torch.UntypedStorage) -> None:
        """Count ``memory`` as large as it is now."""
        place, size = memory._cdata, memory.nbytes()
        end, before = self.known.get(place, (None, 0))
        if end is None or size != before:
            self.known[place] = (end or weakref.ref(memory, lambda _: self.release(place)), size)
            self.now += size - before
            self.peak = max(self.peak, self.now)

    def beside(self, tensors: Iterable[torch.Tensor]) -> int:
        """The bytes of those ``tensors`` that were not counted here."""
        others = Held()
        for tensor in tensors:
            local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
            if local.untyped_storage()._cdata not in self.known:
                others.hold(tensor)
        return others.now

    def release(self, place: int) -> None:
        """The memory at ``place`` is gone."""
        self.now -= self.known.pop(place)[1]

    def __torch_dispatch__(self, function: Any, types: Any, arguments: tuple[Any, ...] = (), keywords: Any = None) -> Any:
        keywords = keywords or {}
        if self.arguments:
            self.look(arguments)
            self.look(keywords.values())
        found = function(*arguments, **keywords)
        self.look((found,))
        return found

    def look(self, values: Iterable[Any]) -> None:
        """Count the tensors in ``values`` and in the lists there; a step has thousands, so nothing is built on the way."""
        for value in values:
            if isinstance(value, torch.Tensor):
                self.hold(value)
            elif isinstance(value, (list, tuple)):
                self.look(value)
