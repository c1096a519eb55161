"""The text of mails, and of web pages that browsers save as mails (MHTML)."""

from __future__ import annotations

import email.policy
import re
from email.errors import MessageError
from email.message import EmailMessage

from windtunnel.data.corpus.opened import Unreadable
from windtunnel.data.extract.html import html_text

_NAME = rb"[!-9;-~]+[ \t]*:"
_HEADERS = re.compile(rb"(?:" + _NAME + rb"[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)+(?=\r?\n)")
_NAMES = re.compile(rb"^(" + _NAME + rb")", re.MULTILINE)
_OF_MAIL = {b"mime-version", b"message-id", b"received", b"return-path"}  # which nobody writes by hand at the beginning of a text


def is_mail(data: bytes, suffix: str) -> bool:
    """Whether a document, of which ``data`` may be the beginning only, is a mail: it begins with its headers.

    Several in one file (mbox) are none. A sender alone is enough where ``suffix`` says that it is a mail.
    """
    head = _HEADERS.match(data)
    if head is None:
        return False
    names = {name.rstrip(b": \t").lower() for name in _NAMES.findall(head[0])}
    return b"from" in names and (suffix in (".eml", ".mht", ".mhtml") or bool(names & _OF_MAIL))


def mail_text(data: bytes) -> str:
    """The subject, a blank line, and what the mail says: its plain text, else the text of its HTML. No other headers, no attachments.

    Raises:
        Unreadable: where it is damaged.
    """
    try:
        message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
        body = message.get_body(("plain", "html"))
        said = "" if body is None else _content(body)
        if body is not None and body.get_content_subtype() == "html":
            said = html_text(said)
        subject = " ".join(str(message["subject"] or "").split())
    except (MessageError, ValueError, LookupError, AttributeError, TypeError) as error:  # its parsers raise these of damaged headers
        raise Unreadable("damaged mail", f"is a damaged mail: {error}") from error
    said = said.replace("\r\n", "\n").strip()
    return f"{subject}\n\n{said}" if subject and said else said


def _content(body: EmailMessage) -> str:
    """The text of one part. An encoding that is not known is taken for cp1252, which has all letters of Latin-1."""
    try:
        return str(body.get_content())
    except LookupError:
        return bytes(body.get_payload(decode=True) or b"").decode("cp1252", "replace")
