"""Results in, a page and tables out."""

from windtunnel.report.document import page
from windtunnel.report.tables import markdown, terminal

__all__ = ["markdown", "page", "terminal"]
