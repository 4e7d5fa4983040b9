"""
Messages put together to whole documents (XML, JSON).

A sender of libsrt's live mode cannot send more than 1456 bytes at once, and EBU-TT documents are often larger: pieces
of one document are joined. Others send a row of bytes, cut wherever a message is full: documents are cut apart.
"""

from __future__ import annotations

from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.sources.documents.ends import (
    BLANK,
    DocumentScanner,
    begins_document,
    is_filling,
    scanner_for,
)

__all__ = ["MAX_DOCUMENT_BYTES", "DocumentAssembler"]

_logger = get_logger(__name__)

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
            _logger.warning("A document does not end within %d bytes; it is passed on as it is", MAX_DOCUMENT_BYTES)
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
        _logger.info("Dropped %d bytes of comments that belong to no document", len(data))
    return []
