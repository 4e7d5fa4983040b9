"""Live sources and destinations: SRT both ways, and the live protocols FFmpeg opens by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av.error

from mcai_worker_sdk.errors import MediaDestinationError, MediaError, MediaSourceError, MediaTimeoutError
from mcai_worker_sdk.logs import get_logger, mask_secret
from mcai_worker_sdk.media.documents import DocumentContainer
from mcai_worker_sdk.media.format_context import FormatContext
from mcai_worker_sdk.media.hwaccel import usable_hwaccel
from mcai_worker_sdk.media.live_documents import document_context, received_documents
from mcai_worker_sdk.media.probe import probe
from mcai_worker_sdk.media.pyav import open_input
from mcai_worker_sdk.media.results import encode_result
from mcai_worker_sdk.media.source import MediaSource
from mcai_worker_sdk.media.srt import SrtConnection, SrtReader, open_connection, parse_srt_url
from mcai_worker_sdk.media.stops import Stoppable
from mcai_worker_sdk.media.transport_stream import recognise
from mcai_worker_sdk.media.urls import is_srt_url, shown_url

__all__ = ["LiveResultWriter", "LiveSource", "open_live_destination", "open_live_source"]

_LOGGER = get_logger("mcai_worker_sdk.media")

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
            _LOGGER.warning("The connection of %s broke (%s); this is taken for its end", self._url, error.strerror)

    def close(self) -> None:
        """Free PyAV's container."""
        self._container.close()


class LiveResultWriter:
    """
    Send each result as one SRT message: an XML document as it is, anything else as JSON.

    Args:
        connection: Connected to who takes the results.
    """

    def __init__(self, connection: SrtConnection) -> None:
        self._connection = connection

    def write(self, result: object) -> None:
        """
        Send one result.

        Raises:
            ResultError: The result is nothing JSON can express.
            MediaDestinationError: It is too large for one message, or the peer is gone.
            MediaTimeoutError: The peer takes nothing any more.
        """
        message = encode_result(result)
        try:
            self._connection.send(message)
        except MediaTimeoutError:
            raise
        except MediaError as error:
            raise MediaDestinationError(str(error)) from error

    def finish(self) -> None:
        """Wait until the peer has the last results (at most 5 s, 1 s after a stop); then close."""
        if not self._connection.drain():
            _LOGGER.warning(
                "The SRT peer of %s closed before it confirmed the last results", self._connection.url.address
            )
        self._connection.close()

    def discard(self) -> None:
        """Close without waiting; may be called again and after :meth:`finish`, when it does nothing."""
        self._connection.close()


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


def open_live_destination(url: str, *, channel: Stoppable) -> LiveResultWriter | None:
    """
    Wait for, or call, who takes the results at an ``srt://`` URL.

    Returns:
        The writer, or ``None`` when the job was asked to stop first.

    Raises:
        MediaDestinationError: The URL is not usable or the peer refused.
        MediaTimeoutError: Nobody is there within ``connect_timeout``.
    """
    try:
        connection = _connect(url, channel)
    except MediaTimeoutError:
        raise
    except MediaError as error:
        raise MediaDestinationError(str(error)) from error
    return None if connection is None else LiveResultWriter(connection)


def _connect(url: str, channel: Stoppable) -> SrtConnection | None:
    srt_url = parse_srt_url(url)
    if srt_url.passphrase is not None:
        mask_secret(srt_url.passphrase)
    return open_connection(srt_url, channel)


def _open_srt(url: str, channel: Stoppable, hwaccel: str | None) -> LiveSource | None:
    connection: SrtConnection | None = None
    source: LiveSource | None = None
    try:
        connection = _connect(url, channel)
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
