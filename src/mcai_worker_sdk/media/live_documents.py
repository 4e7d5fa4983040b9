"""
Whole documents (XML, JSON) that arrive as messages: put together, and passed on as the packets of one data stream.

A sender of libsrt's live mode cannot send more than 1456 bytes at once, and EBU-TT documents are often larger: pieces
of one document are joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from time import monotonic

from mcai_worker_sdk.media.documents import TIME_BASE, DocumentPacket
from mcai_worker_sdk.media.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.srt import SrtConnection

__all__ = ["MAX_DOCUMENT_BYTES", "DocumentAssembler", "document_context", "received_documents"]

#: What does not end within this many bytes is passed on as it is.
MAX_DOCUMENT_BYTES = 1024 * 1024

_BLANK = b" \t\r\n\xef\xbb\xbf"
# Atomic and possessive: what the peer sends must not make the search try every way to split a row of comments.
_XML_PROLOG = re.compile(rb"(?>\s+|<\?.*?\?>|<!--.*?-->|<!(?!--)[^>]*>)*+<([^\s/>!?]+)", re.DOTALL)


class DocumentAssembler:
    """Join messages to documents; one message that is a whole document stays one."""

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, message: bytes) -> list[bytes]:
        """The documents this message completes; one that never ends is returned when the next one begins."""
        documents = []
        if self._pending and _begins_document(message):
            documents.append(self._pending)
            self._pending = b""
        self._pending += message
        if _is_complete(self._pending) or len(self._pending) > MAX_DOCUMENT_BYTES:
            documents.append(self._pending)
            self._pending = b""
        return documents

    def flush(self) -> list[bytes]:
        """What is left when the peer has closed."""
        rest, self._pending = self._pending, b""
        return [rest] if rest else []


def _begins_document(message: bytes) -> bool:
    return message.lstrip(_BLANK).startswith(b"<?xml")


def _is_complete(data: bytes) -> bool:
    start = data.lstrip(_BLANK)
    end = data.rstrip(_BLANK)
    if start.startswith(b"<"):
        root = _XML_PROLOG.match(start)
        if root is None:
            return False
        return _closes(start, end, root)
    if start[:1] in (b"{", b"["):
        return end[-1:] in (b"}", b"]") and _is_json(data)
    return True


def _closes(start: bytes, end: bytes, root: re.Match[bytes]) -> bool:
    """True when the document ends with the end tag of its root, or its root is empty."""
    last_tag = end[max(0, end.rfind(b"</")) :]
    if last_tag.startswith(b"</" + root.group(1)):
        return last_tag[2 + len(root.group(1)) :].strip() == b">"
    return end.endswith(b"/>") and start.find(b">", root.end()) == len(start.rstrip(_BLANK)) - 1


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def received_documents(connection: SrtConnection, first: bytes) -> Iterator[DocumentPacket]:
    """
    Each document as soon as it is complete, until the peer closes or the job is stopped.

    Time stamps count from the first document. Subtitles may pause for long: only a ``timeout`` given in the URL limits
    the silence between two documents.

    Args:
        connection: Connected; closed by whoever made it.
        first: What was received before it was known what the peer sends.

    Raises:
        MediaTimeoutError: No message came within the URL's own ``timeout``.
    """
    started_at: float | None = None
    for document in _documents(connection, first):
        now = monotonic()
        started_at = now if started_at is None else started_at
        yield DocumentPacket(document, round((now - started_at) * 1000))


def _documents(connection: SrtConnection, first: bytes) -> Iterator[bytes]:
    assembler = DocumentAssembler()
    timeout_ms = connection.url.timeout_ms if connection.url.has_own_timeout else None
    message: bytes | None = first
    while message:
        yield from assembler.feed(message)
        message = connection.receive(timeout_ms)
    yield from assembler.flush()


def document_context() -> FormatContext:
    """What ``init_process`` is told of a source of documents: one data stream."""
    stream = StreamDescriptor(index=0, kind="AVMEDIA_TYPE_DATA", time_base=TIME_BASE)
    return FormatContext(format_name="data", format_long_name="raw data", streams=(stream,))
