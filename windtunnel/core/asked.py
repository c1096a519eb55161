"""Being asked to stop, by Ctrl-C or by a signal of whoever runs this process."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

# Seconds in which signals are one wish: `timeout` sends two; SLURM signals torchrun, which hands the signal on, and its ranks.
TOGETHER = 2.0


@dataclass
class StopAsked:
    """How many times this process was asked to stop, and when first, by the monotonic clock."""

    count: int = 0
    first: float = 0.0

    def hear(self, *_: Any) -> bool:
        """Count a signal, unless it belongs to the first wish; whether it was counted."""
        now = time.monotonic()
        if self.count and now - self.first < TOGETHER:
            return False
        self.first = self.first if self.count else now
        self.count += 1
        return True
