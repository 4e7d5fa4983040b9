"""The supervisor's end of the link, on the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from mcai_worker_sdk.host import link

__all__ = ["SupervisedLink"]

_READ_BYTES = 1 << 18


class SupervisedLink:
    """
    Sends commands without waiting and hands reports over as they come.

    Args:
        sock: The supervisor's end of the socket pair.
        on_report: Called for every report, in order.
    """

    def __init__(self, sock: socket.socket, on_report: Callable[[link.Report], None]) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_report = on_report
        self._buffer = link.FrameBuffer()
        self._unsent = bytearray()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self.drain)
        self._closed = False

    def send(self, command: link.Command) -> None:
        """Send a command; what the socket does not take at once follows by itself."""
        if self._closed:
            return
        frame = link.encode(command)
        if self._unsent:
            self._unsent += frame
            return
        sent = self._send_some(frame)
        if sent < len(frame):
            self._unsent += frame[sent:]
            self._loop.add_writer(self._socket, self._flush)

    def drain(self) -> None:
        """Read what has arrived. Called by the loop, and once more when the job process died."""
        while not self._closed:
            try:
                data = self._socket.recv(_READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                # The end of the process, which the host watches, says what it means.
                self._loop.remove_reader(self._socket)
                return
            for body in self._buffer.feed(data):
                self._on_report(link.decode_report(body))
            if len(data) < _READ_BYTES:
                return

    def close(self) -> None:
        """Close the link. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._socket.close()

    def _send_some(self, data: bytes | bytearray) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            # The process died: its end is reported by the host, and nobody reads this any more.
            return len(data)

    def _flush(self) -> None:
        del self._unsent[: self._send_some(self._unsent)]
        if not self._unsent:
            self._loop.remove_writer(self._socket)
