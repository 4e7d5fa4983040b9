"""Live sources: SRT, and the live protocols FFmpeg opens by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error

from mcai_worker_sdk.errors import MediaError, MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger
from mcai_worker_sdk.media.addresses import is_srt_url, shown_url
from mcai_worker_sdk.media.model.format_context import FormatContext
from mcai_worker_sdk.media.pyav import open_input
from mcai_worker_sdk.media.sources.documents.container import DocumentContainer
from mcai_worker_sdk.media.sources.documents.received import document_context, received_documents
from mcai_worker_sdk.media.sources.hwaccel import usable_hwaccel
from mcai_worker_sdk.media.sources.probe import probe
from mcai_worker_sdk.media.sources.source import MediaSource
from mcai_worker_sdk.media.sources.transport_stream import recognise
from mcai_worker_sdk.media.srt import SrtConnection, SrtReader, connect
from mcai_worker_sdk.media.waiting import Stoppable

__all__ = ["LiveSource", "open_live_source"]

_logger = get_logger(__name__)

#: How long a live URL that FFmpeg opens may take to open, and then to deliver the next bytes, in seconds.
LIVE_TIMEOUT_SECONDS = 10.0

#: How long the bytes that tell a transport stream are waited for, in milliseconds. Its sender does not pause.
_HEAD_TIMEOUT_MS = 1000
#: Longest look at a stream that declares tracks it does not send, in microseconds. Others are known sooner.
_ANALYZE_DURATION = "3000000"


class LiveSource(MediaSource):
    """
    A source without a known end.

    Args:
        container: PyAV's container, or what is read the same way.
        context: What ``init_process`` is told.
        connection: The SRT connection it reads from, ``None`` when FFmpeg connected by itself.
    """

    def __init__(self, container: Any, context: FormatContext, connection: SrtConnection | None = None) -> None:
        super().__init__(container, context, is_live=True)
        self._connection = connection

    def interrupt(self) -> None:
        """End a read that waits; it finds the end. Without SRT the read ends at its time-out."""
        if self._connection is not None:
            self._connection.close()

    def close(self) -> None:
        """Free the source; may be called again."""
        super().close()
        self.interrupt()


class _PeerContainer:
    """A container FFmpeg reads from a peer: a connection that breaks is its end, and is logged."""

    def __init__(self, container: Any, url: str) -> None:
        self._container = container
        self._url = url
        self.streams = container.streams
        self.format = container.format
        self.start_time = container.start_time

    def demux(self, *streams: Any) -> Iterator[Any]:
        """PyAV's packets."""
        try:
            yield from self._container.demux(*streams)
        except av.error.FFmpegError as error:
            # Only some protocols have a word for the end; with the others the peer is just gone.
            if not isinstance(error, OSError) or isinstance(error, TimeoutError):
                raise
            _logger.warning("The connection of %s broke (%s); this is taken for its end", self._url, error.strerror)

    def close(self) -> None:
        """Free PyAV's container."""
        self._container.close()


def open_live_source(url: str, *, channel: Stoppable, hwaccel: str | None = None) -> LiveSource | None:
    """
    Open a live URL as soon as its streams are known.

    Blocks while waiting for the peer. With SRT a stop ends that within 0.2 s; with FFmpeg's own protocols it ends at
    :data:`LIVE_TIMEOUT_SECONDS`: call it in a thread that can be left behind.

    Args:
        url: ``srt://`` (MPEG-TS, or XML or JSON documents) or one of FFmpeg's live protocols.
        channel: Tells whether to give up; the job's channel, or the opening that asks it.
        hwaccel: Device type that shall decode (``cuda``); without such a device the CPU decodes, with a warning.

    Returns:
        The source, or ``None`` when the job was asked to stop first.

    Raises:
        MediaSourceError: The URL, the peer or what it sends is not usable.
        MediaTimeoutError: Nobody is there, or the peer is silent.
    """
    if is_srt_url(url):
        return _open_srt(url, channel, hwaccel)
    try:
        container = _open_av(url, hwaccel, timeout=LIVE_TIMEOUT_SECONDS, options={})
    except av.error.ExitError as error:
        raise MediaTimeoutError(
            f"Source {shown_url(url)!r} sent nothing for {LIVE_TIMEOUT_SECONDS:.0f} s; expected data. Check the sender."
        ) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _source_error(url, error) from error
    return LiveSource(_PeerContainer(container, shown_url(url)), _described(container))


def _open_srt(url: str, channel: Stoppable, hwaccel: str | None) -> LiveSource | None:
    connection: SrtConnection | None = None
    source: LiveSource | None = None
    try:
        connection = connect(url, channel)
        if connection is not None:
            source = _read_srt_head(url, connection, channel, hwaccel)
    except MediaTimeoutError:
        raise
    except MediaError as error:
        raise error if isinstance(error, MediaSourceError) else MediaSourceError(str(error)) from error
    finally:
        if source is None and connection is not None:
            connection.close()
    return source


def _read_srt_head(url: str, connection: SrtConnection, channel: Stoppable, hwaccel: str | None) -> LiveSource | None:
    reader = SrtReader(connection)
    head, is_transport_stream = _receive_head(reader)
    if channel.is_stopped():
        return None
    if not head:
        raise MediaSourceError(
            f"The SRT peer of {connection.url.address} closed before it sent anything; expected MPEG-TS, XML or JSON. "
            "Check the sender."
        )
    if not is_transport_stream:
        documents = DocumentContainer("data", received_documents(connection, head))
        return LiveSource(documents, document_context(), connection)
    try:
        container = _open_av(reader, hwaccel, format="mpegts", options={"analyzeduration": _ANALYZE_DURATION})
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if channel.is_stopped():
            return None
        raise reader.failure or _source_error(url, error) from error
    if channel.is_stopped() or reader.failure is not None:
        container.close()
        if reader.failure is not None:
            raise reader.failure
        return None
    return LiveSource(container, _described(container), connection)


def _described(container: Any) -> FormatContext:
    try:
        return probe(container)
    except BaseException:
        container.close()
        raise


def _receive_head(reader: SrtReader) -> tuple[list[bytes], bool]:
    """The first messages, and whether they are those of a transport stream; no message at the end."""
    messages = reader.peek()
    while messages:
        kind = recognise(b"".join(messages))
        if kind != "unclear":
            return messages, kind == "transport stream"
        further = reader.peek_further(_HEAD_TIMEOUT_MS)
        if len(further) == len(messages):
            break
        messages = further
    return messages, False


def _open_av(file: str | SrtReader, hwaccel: str | None, **options: Any) -> Any:
    return open_input(file, hwaccel=usable_hwaccel(hwaccel), **options)


def _source_error(url: str, error: Exception) -> MediaSourceError:
    reason = getattr(error, "strerror", None) or type(error).__name__
    return MediaSourceError(
        f"Source {shown_url(url)!r} cannot be opened: {reason}; expected a live stream that FFmpeg can read. "
        "Check the parameter 'source_path'."
    )
