"""The command ``windtunnel watch``: a page on this machine that shows what flies."""

from __future__ import annotations

import functools
import http.server
import json
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer

from windtunnel.commands.console import console, print_json
from windtunnel.commands.options import OUT, JsonOption
from windtunnel.core.errors import UserError

HERE = ("localhost", "127.0.0.1")
EVERY = 5.0  # seconds until a browser loads the page again


class Page(http.server.BaseHTTPRequestHandler):
    """Answers GET alone, from files below one folder, to browsers on this machine."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder = folder
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """The page, its numbers, or the report of a study that has one."""
        from windtunnel.report import live
        from windtunnel.study.flying import state

        if urlsplit(f"//{self.headers.get('Host', '')}").hostname not in HERE:  # a page elsewhere that had its name point here
            return self.answer(403, "text/plain", "this page is for this machine alone")
        path = unquote(urlsplit(self.path).path)
        try:
            found = state(self.folder)
        except (UserError, OSError) as error:
            return self.answer(500, "text/plain", str(error))
        if path == "/":
            return self.answer(200, "text/html", live.document(found, EVERY), refresh=True)
        if path == "/runs":
            return self.answer(200, "text/html", live.others(found))
        if path == "/state.json":
            return self.answer(200, "application/json", json.dumps(found.plain()))
        report = found.reports.get(path.removeprefix("/report/"))
        if report is not None:
            try:
                return self.answer(200, "text/html", live.report_of(report))
            except (UserError, OSError) as error:
                return self.answer(500, "text/plain", str(error))
        return self.answer(404, "text/plain", "no such page; / shows what flies")

    def answer(self, code: int, kind: str, text: str, *, refresh: bool = False) -> None:
        """Send ``text``."""
        body = text.encode("utf-8", "replace")
        self.send_response(code)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        if refresh:
            self.send_header("Refresh", f"{EVERY:g}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing of each request."""


def serve(folder: Path, port: int) -> http.server.ThreadingHTTPServer:
    """A server on this machine alone, not yet running. Raises UserError where the port is taken."""
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), functools.partial(Page, folder))  # type: ignore[arg-type]
    except OSError as error:
        raise UserError(f"--port {port}: {error.strerror}; choose another, or 0 for one that is free") from error


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="the --out of studies, or the folder of a run", show_default=True)] = OUT,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="of the page; 0 takes one that is free")] = 8642,
    as_json: JsonOption = False,
) -> None:
    """Show what flies in a folder on a live page for this machine's browser: runs, losses, speed, time left. It changes nothing.

    Example: windtunnel watch windtunnel-out
    """
    from windtunnel.study.flying import state

    found = state(folder)
    if as_json:
        print_json(found.plain())
        return
    with serve(folder, port) as server:
        console().print(f"http://127.0.0.1:{server.server_port}/ shows what flies in {folder}; Ctrl-C ends it", soft_wrap=True)
        server.serve_forever()
