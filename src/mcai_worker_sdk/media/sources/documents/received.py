"""Documents that arrive as messages over SRT, passed on as the packets of one data stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import monotonic

from mcai_worker_sdk.media.model.format_context import FormatContext, StreamDescriptor
from mcai_worker_sdk.media.sources.documents.assembler import DocumentAssembler
from mcai_worker_sdk.media.sources.documents.container import TIME_BASE, DocumentPacket
from mcai_worker_sdk.media.srt import SrtConnection

__all__ = ["document_context", "received_documents"]


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
