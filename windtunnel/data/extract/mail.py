"""The text of mails, and of web pages that browsers save as mails (MHTML)."""

from __future__ import annotations

import email.policy
import re
from email.errors import MessageError
from email.message import EmailMessage, MIMEPart

from windtunnel.data.corpus.opened import Unreadable, declared_encoding, encoding_of
from windtunnel.data.extract.html import html_text

_NAME = rb"[!-9;-~]+[ \t]*:"
_HEADERS = re.compile(rb"(?:" + _NAME + rb"[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*)+(?=\r?\n)")
_NAMES = re.compile(rb"^(" + _NAME + rb")", re.MULTILINE)
_LONGEST = 1 << 18  # bytes of headers: a long file of other lines with colons is not searched to its end
_OF_MAIL = {b"mime-version", b"message-id", b"received", b"return-path"}  # which nobody writes by hand at the beginning of a text


def is_mail(data: bytes, suffix: str) -> bool:
    """Whether a document, of which ``data`` may be the beginning only, is a mail: it begins with its headers.

    Several in one file (mbox) are none. A sender alone is enough where ``suffix`` says that it is a mail.
    """
    head = _HEADERS.match(data, 0, _LONGEST)
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


def _content(body: MIMEPart) -> str:
    """The text of one part, in the encoding that it names; where it names none, an unknown one or wrongly ASCII, as of a plain file."""
    data = bytes(body.get_payload(decode=True) or b"")
    named = body.get_content_charset("ascii")
    try:
        return data.decode(named, "strict" if named in ("ascii", "us-ascii") else "replace")
    except (LookupError, UnicodeDecodeError):
        return data.decode(encoding_of(data, declared_encoding(data)), "replace")
