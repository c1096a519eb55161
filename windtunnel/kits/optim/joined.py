"""Several optimizers as one."""

from __future__ import annotations

from typing import Any

import torch


class Joined(torch.optim.Optimizer):
    """Several optimizers over different parameters as one: its groups and its state are theirs, the very same objects.

    ``state_dict`` and ``load_state_dict`` are those of any optimizer; a loaded one continues bitwise.
    """

    def __init__(self, *members: torch.optim.Optimizer) -> None:
        self.members: tuple[torch.optim.Optimizer, ...] = ()
        super().__init__([group for member in members for group in member.param_groups], {})
        self.members = members
        for member in members:
            self.state.update(member.state)
        self._share()

    def _share(self) -> None:
        """Give every member its own groups of the union, and the one state."""
        start = 0
        for member in self.members:
            stop = start + len(member.param_groups)
            member.param_groups = self.param_groups[start:stop]
            member.state = self.state
            start = stop

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Refused once built: nobody could say which member the group belongs to."""
        if self.members:
            raise RuntimeError("a joined optimizer takes no further parameter group")
        super().add_param_group(param_group)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "members": self.members}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()  # loading has replaced groups and state

    def step(self, closure: Any = None) -> Any:
        """One step of every member; ``closure``, if given, is evaluated once, before them."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for member in self.members:
            member.step()
        return loss
