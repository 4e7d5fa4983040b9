"""What an SRT peer sends, as a file that can only be read forward."""

from __future__ import annotations

from collections import deque
from contextlib import suppress

from mcai_worker_sdk.errors import MediaError, MediaTimeoutError
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
        # Received and not read yet; none is empty.
        self._messages: deque[bytes] = deque()
        self._has_ended = False
        #: Why reading failed. FFmpeg may take a failed read for the end of its input: look here after opening.
        self.failure: MediaError | None = None

    def peek(self) -> list[bytes]:
        """
        The messages the next ``read`` begins with: at least one, none at the end.

        Raises:
            MediaTimeoutError: The peer is silent for longer than the URL's ``timeout``.
        """
        if not self._messages:
            self._receive()
        return list(self._messages)

    def peek_further(self, timeout_ms: int) -> list[bytes]:
        """The messages of :meth:`peek` and the one behind them, when that comes within ``timeout_ms``."""
        if not self._has_ended:
            # The peer may be silent for longer than this look ahead.
            with suppress(MediaTimeoutError):
                self._keep(self._connection.receive(timeout_ms))
        return list(self._messages)

    def read(self, size: int) -> bytes:
        """
        At least one byte as soon as there is one, at most ``size``.

        Returns:
            The bytes; empty once the peer has closed, the job was stopped or the connection was closed here.

        Raises:
            MediaTimeoutError: The peer is silent for longer than the URL's ``timeout``.
        """
        if not self._messages:
            self._receive()
        if not self._messages:
            return b""
        message = self._messages.popleft()
        if len(message) > size:
            self._messages.appendleft(message[size:])
        return message[:size]

    def _receive(self) -> None:
        if self._has_ended:
            return
        try:
            self._keep(self._connection.receive(self._connection.url.timeout_ms))
        except MediaError as error:
            self.failure = error
            self._has_ended = True
            raise

    def _keep(self, message: bytes | None) -> None:
        if message:
            self._messages.append(message)
        else:
            self._has_ended = True
