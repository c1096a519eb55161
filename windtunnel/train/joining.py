"""How a process comes to a Ray cluster."""

from __future__ import annotations

import os
from typing import Any

from windtunnel.core.errors import UserError


def start(ray: Any, address: str | None) -> None:
    """Join the cluster at ``address``, or start one here for the time being, without logs in the terminal and without a dashboard."""
    quiet: dict[str, Any] = {"logging_level": "error", "log_to_driver": False, "configure_logging": True}
    try:
        if address:
            ray.init(address=address, **quiet)
        else:
            # A cluster that serves this process alone and only on this machine needs no token; without this Ray makes one and warns.
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            ray.init(address="local", include_dashboard=False, **quiet)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        where = f"the Ray cluster at {address}" if address else "Ray on this machine"
        raise UserError(f"cannot reach {where}: {' '.join(str(error).split())[:300]}") from error
