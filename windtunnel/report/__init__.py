"""Results in, a page and tables out."""

from windtunnel.report.document import page, write_report
from windtunnel.report.markup import markdown
from windtunnel.report.screen import terminal

__all__ = ["markdown", "page", "terminal", "write_report"]
