"""How a process comes to a Ray cluster."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from typing import Any

from windtunnel.core.errors import UserError

PATIENCE = 5.0  # seconds for a cluster to take a connection; Ray 2.60 tries for minutes and says so only in its own log


def start(ray: Any, address: str | None) -> None:
    """Join the cluster at ``address``, or start one here for the time being, without logs in the terminal and without a dashboard."""
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False, "configure_logging": True}
    try:
        if address:
            if place := re.fullmatch(r"\[?([^\[\]/]+)\]?:(\d+)", address):
                with contextlib.closing(socket.create_connection((place[1], int(place[2])), PATIENCE)):
                    pass
            ray.init(address=address, **quiet)
        else:
            # A cluster that serves this process alone and only on this machine needs no token; without this Ray makes one and warns.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address="local", include_dashboard=False, **quiet)
    except (OSError, OverflowError, RuntimeError, ValueError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise UserError(f"cannot reach {where}: {' '.join(str(error).split())[:300]}") from error
