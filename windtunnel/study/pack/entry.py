"""Fly a pack without installing anything: python fly.py --minutes 30. This file lies in every pack, beside the package itself.

It needs Python 3.11 or newer, torch, transformers and pydantic. It uses no network.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

NEEDED = ("torch", "transformers", "pydantic", "numpy", "tokenizers", "safetensors", "yaml")


def main() -> int:
    """Parse, check what is installed, fly."""
    here = Path(__file__).resolve().parent
    words = argparse.ArgumentParser(description="Fly the studies of this pack, as many runs as end in time. Given again, it goes on.")
    words.add_argument("--minutes", type=float, required=True, help="how long it may take, all in all")
    words.add_argument("--out", type=Path, default=Path("pack-out"), help="where runs and results go (default: pack-out)")
    words.add_argument("--workers", type=int, help="most runs side by side (default: as many as make it faster)")
    words.add_argument("--threads", type=int, help="threads of one run")
    given = words.parse_args()
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing or sys.version_info < (3, 11):
        print(
            f"fly.py needs Python 3.11, torch, transformers and pydantic; missing: {', '.join(missing) or 'Python 3.11'}", file=sys.stderr
        )
        return 2
    sys.path.insert(0, str(here / "code"))
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from windtunnel.core.errors import UserError
        from windtunnel.study.launch.local import Interrupted
        from windtunnel.study.pack.flight import fly_pack
    except (ImportError, SyntaxError) as error:  # its files are checked by this very code
        print(f"fly.py: the code in {here / 'code'} is not whole: {error}; copy the pack again", file=sys.stderr)
        return 2

    try:
        fly_pack(here, given.out, minutes=given.minutes, workers=given.workers, threads=given.threads)
    except UserError as error:
        print(f"fly.py: {error}", file=sys.stderr)
        return 2
    except Interrupted as error:
        print(f"fly.py: {error}", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
