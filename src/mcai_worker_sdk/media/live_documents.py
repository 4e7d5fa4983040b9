"""
Whole documents (XML, JSON) that arrive as messages: put together, and passed on as the packets of one data stream.

A sender of libsrt's live mode cannot send more than 1456 bytes at once, and EBU-TT documents are often larger: pieces
of one document are joined. Others send a row of bytes, cut wherever a message is full: documents are cut apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.document_ends import BLANK, DocumentScanner, begins_document, is_filling, scanner_for
from mcai_worker_sdk.media.documents import TIME_BASE, DocumentPacket
from mcai_worker_sdk.media.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.srt import SrtConnection

__all__ = ["MAX_DOCUMENT_BYTES", "DocumentAssembler", "document_context", "received_documents"]

_LOGGER = get_logger(__name__)

#: What does not end within this many bytes is passed on as it is.
MAX_DOCUMENT_BYTES = 1024 * 1024


class DocumentAssembler:
    """Cut messages into documents: one may come in several messages, several in one, begin and end anywhere."""

    def __init__(self) -> None:
        self._pending = b""
        self._scanner: DocumentScanner | None = None

    def feed(self, message: bytes) -> list[bytes]:
        """The documents this message completes; one that never ends is returned when the next one begins."""
        documents = self.flush() if begins_document(message, self._pending) else []
        data = self._pending + message
        start = 0
        while start < len(data):
            if self._scanner is None:
                self._scanner, start = scanner_for(data, start)
            end = None if self._scanner is None else self._scanner.find_end(data, start)
            if end is None:
                break
            documents += _without_filling(data[start:end])
            start, self._scanner = end, None
        self._pending = data[start:]
        if len(self._pending) > MAX_DOCUMENT_BYTES:
            _LOGGER.warning("A document does not end within %d bytes; it is passed on as it is", MAX_DOCUMENT_BYTES)
            documents += self.flush()
        return documents

    def flush(self) -> list[bytes]:
        """What is left when the peer has closed."""
        rest, self._pending, self._scanner = self._pending, b"", None
        return _without_filling(rest)


def _without_filling(data: bytes) -> list[bytes]:
    if not is_filling(data):
        return [data]
    if data.strip(BLANK):
        _LOGGER.info("Dropped %d bytes of comments that belong to no document", len(data))
    return []


def received_documents(connection: SrtConnection, head: Sequence[bytes]) -> Iterator[DocumentPacket]:
    """
    Each document as soon as it is complete, until the peer closes or the job is stopped.

    Time stamps count from the first document. Subtitles may pause for long: only a ``timeout`` given in the URL limits
    the silence between two documents.

    Args:
        connection: Connected; closed by whoever made it.
        head: The messages that came before it was known what the peer sends; at least one.

    Raises:
        MediaTimeoutError: No message came within the URL's own ``timeout``.
    """
    started_at: float | None = None
    for document in _documents(connection, head):
        now = monotonic()
        started_at = now if started_at is None else started_at
        yield DocumentPacket(document, round((now - started_at) * 1000))


def _documents(connection: SrtConnection, head: Sequence[bytes]) -> Iterator[bytes]:
    assembler = DocumentAssembler()
    timeout_ms = connection.url.timeout_ms if connection.url.has_own_timeout else None
    for received in head:
        yield from assembler.feed(received)
    while message := connection.receive(timeout_ms):
        yield from assembler.feed(message)
    yield from assembler.flush()


def document_context() -> FormatContext:
    """What ``init_process`` is told of a source of documents: one data stream."""
    stream = StreamDescriptor(index=0, kind="AVMEDIA_TYPE_DATA", time_base=TIME_BASE)
    return FormatContext(format_name="data", format_long_name="raw data", streams=(stream,))
