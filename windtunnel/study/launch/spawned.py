"""Worker processes that know nothing of the script that called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import spawn
from typing import Any


@contextmanager
def without_script() -> Iterator[None]:
    """Processes that are spawned inside do not run the calling script again.

    Python's spawn does so, for objects of the script that a process may be sent. Workers are sent text: of recipes, and of the parts that
    stand in the script. Run again, a script without ``if __name__ == "__main__":`` would fly its study once more in every worker.
    """
    before = spawn.get_preparation_data

    def prepared(name: str) -> dict[str, Any]:
        return {key: value for key, value in before(name).items() if not key.startswith("init_main_")}

    spawn.get_preparation_data = prepared
    try:
        yield
    finally:
        spawn.get_preparation_data = before
