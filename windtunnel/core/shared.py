"""What a team shares: an object store, or a folder, with prepared streams and records of finished runs under the names that they have here.

Nothing in it is ever changed. A folder is put under a name of its own upload first, and last the list of its files; so nobody meets half
of it, and two hosts that bring the same folder at once do no harm: what is called the same is the same.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from windtunnel.core.errors import UserError
from windtunnel.core.files import sync, write_text

WHOLE = "whole.json"  # the list of the files of a folder, written when all of them are there


class Share:
    """The store at ``address``, as fsspec has it: ``s3://bucket/team``, ``gs://...``, or a folder that is mounted here.

    Whether it can be reached is asked once, when it is opened. What fails later is told to ``tell`` and counts as not there: a study goes
    on without the store.
    """

    def __init__(self, address: str, tell: Callable[[str], None] = print) -> None:
        """Open it. Raises UserError where it cannot be reached, or where the library for such addresses is missing."""
        import fsspec

        if not address.strip():
            raise UserError("--share: is empty; name a folder or a store, such as s3://bucket/name")
        self.address, self.tell = address, tell
        try:
            self.system, self.root = fsspec.core.url_to_fs(str(Path(address).expanduser()) if "://" not in address else address)
            bucket = self.root.partition("/")[0]
            if bucket and not self.system.exists(bucket):  # which making folders in it would make, also where it is misspelt
                raise FileNotFoundError(f"there is no {bucket!r}, or it is not open to you")
            self.system.makedirs(self.root, exist_ok=True)
        except ImportError as error:
            raise UserError(f"--share {address}: {_said(error)} (pip install it beside windtunnel)") from error
        except Exception as error:  # every store has errors of its own
            raise UserError(f"--share {address}: cannot be reached: {_said(error)}") from error

    def text(self, name: str) -> str | None:
        """What stands under ``name``, or None."""
        with self._told(f"{name} was not read"):
            try:
                return bytes(self.system.cat_file(self._path(name))).decode()
            except FileNotFoundError:
                pass
        return None

    def put_text(self, name: str, text: str) -> None:
        """Put ``text`` under ``name``, whole or not at all."""
        with self._told(f"{name} was not written"):
            if self._is_folder:
                write_text(Path(self._path(name)), text)
            else:
                self.system.pipe_file(self._path(name), text.encode())

    def fetch(self, name: str, folder: Path) -> bool:
        """Put what was brought under ``name`` into ``folder``, synced; False, and nothing of it there, where it is missing or not whole."""
        listed = self._listed(name)
        if listed is None:
            return False
        with self._told(f"{name} was not fetched"):
            for file, size in listed["files"].items():
                here = folder / file
                here.parent.mkdir(parents=True, exist_ok=True)
                self.system.get_file(self._path(f"{name}/{listed['upload']}/{file}"), str(here))
                if here.stat().st_size != size:
                    raise ValueError(f"{file} has {here.stat().st_size} bytes instead of {size}")
                sync(here)
            return True
        for begun in {folder / Path(file).parts[0] for file in listed["files"]}:
            shutil.rmtree(begun, ignore_errors=True)
            begun.unlink(missing_ok=True)
        return False

    def bring(self, name: str, folder: Path) -> None:
        """Put the files of ``folder`` under ``name``, unless somebody has."""
        if self._listed(name) is not None:
            return
        upload = uuid.uuid4().hex[:12]
        with self._told(f"{name} was not brought"):
            files = {}
            for path in sorted(path for path in folder.rglob("*") if path.is_file()):
                file = path.relative_to(folder).as_posix()
                there = self._path(f"{name}/{upload}/{file}")
                self.system.makedirs(there.rpartition("/")[0], exist_ok=True)
                self.system.put_file(str(path), there)
                files[file] = path.stat().st_size
            self.put_text(f"{name}/{WHOLE}", json.dumps({"upload": upload, "files": files}))

    @property
    def _is_folder(self) -> bool:
        return "file" in (self.system.protocol if isinstance(self.system.protocol, (tuple, list)) else (self.system.protocol,))

    def _listed(self, name: str) -> dict[str, Any] | None:
        found = self.text(f"{name}/{WHOLE}")
        try:
            listed: dict[str, Any] = json.loads(found or "null")
            files = listed["files"].keys() if listed["upload"] else ()
        except (ValueError, TypeError, KeyError, AttributeError):  # none there, or no such list: it is brought again
            return None
        for file in files:
            if Path(file).is_absolute() or not {"", ".", ".."}.isdisjoint(file.split("/")):
                self.tell(f"--share {self.address}: {name} was not fetched: {file!r} lies outside of it")
                return None
        return listed

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Tell what fails inside, and go on behind it."""
        try:
            yield
        except Exception as error:  # every store has errors of its own
            self.tell(f"--share {self.address}: {what}: {_said(error)}")


def _said(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
