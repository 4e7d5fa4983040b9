"""What an SRT peer sends, as a file that can only be read forward."""

from __future__ import annotations

from mcai_worker_sdk.errors import MediaError
from mcai_worker_sdk.media.srt.connection import SrtConnection

__all__ = ["SrtReader"]


class SrtReader:
    """
    Messages of a connection, joined to a stream of bytes; what PyAV's custom I/O reads MPEG-TS from.

    One thread reads. libsrt's own threads receive meanwhile into its buffer, which is the bounded queue: when it is
    full, the sender has to wait. Nothing is dropped.

    Args:
        connection: Connected. Closed by whoever made it.
    """

    def __init__(self, connection: SrtConnection) -> None:
        self._connection = connection
        self._pending = b""
        self._has_ended = False
        #: Why reading failed. FFmpeg may take a failed read for the end of its input: look here after opening.
        self.failure: MediaError | None = None

    def peek(self) -> bytes:
        """
        The bytes the next ``read`` begins with; empty at the end.

        Raises:
            MediaTimeoutError: The peer is silent for longer than the URL's ``timeout``.
        """
        if not self._pending and not self._has_ended:
            self._pending = self._receive()
        return self._pending

    def read(self, size: int) -> bytes:
        """
        At least one byte as soon as there is one, at most ``size``.

        Returns:
            The bytes; empty once the peer has closed, the job was stopped or the connection was closed here.

        Raises:
            MediaTimeoutError: The peer is silent for longer than the URL's ``timeout``.
        """
        data = self.peek()
        self._pending = data[size:]
        return data[:size]

    def _receive(self) -> bytes:
        try:
            message = self._connection.receive(self._connection.url.timeout_ms)
        except MediaError as error:
            self.failure = error
            self._has_ended = True
            raise
        if not message:
            self._has_ended = True
            return b""
        return message
