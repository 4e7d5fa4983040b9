"""
Whole documents (XML, JSON) that arrive as messages: put together, and read as one data stream.

A sender of libsrt's live mode cannot send more than 1456 bytes at once, and EBU-TT documents are often larger: pieces
of one document are joined.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from time import monotonic
from typing import Any

from mcai_worker_sdk.media.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.srt import SrtConnection

__all__ = ["MAX_DOCUMENT_BYTES", "DocumentAssembler", "DocumentContainer", "DocumentPacket", "document_context"]

#: What does not end within this many bytes is passed on as it is.
MAX_DOCUMENT_BYTES = 1024 * 1024

#: Unit of the documents' time stamps: milliseconds since the first one.
TIME_BASE = Fraction(1, 1000)

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


@dataclass(frozen=True, slots=True)
class DocumentPacket:
    """One document, with what the pipeline asks of a packet."""

    data: bytes
    """The document."""
    pts: int
    """When it was complete, in milliseconds since the first one."""
    stream_index: int = 0
    """The only stream."""
    is_corrupt: bool = False
    """SRT delivers a message whole or not at all."""

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class _DocumentStream:
    index: int = 0
    type: str = "data"
    time_base: Fraction = TIME_BASE
    codec_context: None = None


class DocumentContainer:
    """
    Documents of a connection, read the way a PyAV container is read.

    Args:
        connection: Connected; closed by whoever made it.
        first: What was received before it was known what the peer sends.
    """

    def __init__(self, connection: SrtConnection, first: bytes) -> None:
        self._connection = connection
        self._first = first
        self.streams = (_DocumentStream(),)

    def documents(self) -> Iterator[bytes]:
        """
        Each document as soon as it is complete, until the peer closes or the job is stopped.

        Subtitles may pause for long: only a ``timeout`` given in the URL limits the silence between two documents.

        Raises:
            MediaTimeoutError: No message came within the URL's own ``timeout``.
        """
        assembler = DocumentAssembler()
        timeout_ms = self._connection.url.timeout_ms if self._connection.url.has_own_timeout else None
        message: bytes | None = self._first
        while message:
            yield from assembler.feed(message)
            message = self._connection.receive(timeout_ms)
        yield from assembler.flush()

    def demux(self, streams: Sequence[Any] | None = None) -> Iterator[DocumentPacket]:  # noqa: ARG002 - there is one
        """The documents as packets, with the time they arrived."""
        started_at: float | None = None
        for document in self.documents():
            now = monotonic()
            started_at = now if started_at is None else started_at
            yield DocumentPacket(document, round((now - started_at) * 1000))

    def close(self) -> None:
        """Nothing: the connection is closed by whoever made it."""


def document_context() -> FormatContext:
    """What ``init_process`` is told of a source of documents: one data stream."""
    stream = StreamDescriptor(index=0, kind="AVMEDIA_TYPE_DATA", time_base=TIME_BASE)
    return FormatContext(format_name="data", format_long_name="raw data", streams=(stream,))
