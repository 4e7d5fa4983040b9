"""The supervisor's end of the link, on the event loop."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import frames, messages

__all__ = ["SupervisedLink"]

#: How many packets are read before the event loop has its turn again.
_PACKETS_A_TURN = 64


class SupervisedLink:
    """
    Sends commands without waiting and hands reports over as they come.

    Args:
        sock: The supervisor's end of the socket pair.
        on_report: Called for every report, in order.
        on_unreadable: Called once, with the reason, when something came that is no report; nothing is read after it.
    """

    def __init__(
        self,
        sock: socket.socket,
        on_report: Callable[[messages.Report], None],
        on_unreadable: Callable[[HostError], None],
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._on_report = on_report
        self._on_unreadable = on_unreadable
        self._reader = frames.FrameReader()
        self._writer = frames.FrameWriter()
        self._unsent: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._read_some)
        self._is_read = True
        self._closed = False

    def send(self, command: messages.ToJobProcess) -> None:
        """Send a command; what the socket does not take at once follows by itself."""
        if self._closed:
            return
        is_waiting = bool(self._unsent)
        self._unsent.extend(self._writer.packets(messages.encode(command)))
        if not is_waiting:
            self._flush()
            if self._unsent:
                self._loop.add_writer(self._socket, self._flush)

    def drain(self) -> None:
        """Read all that has arrived: when the job process died."""
        while self._read_one():
            pass

    def _read_some(self) -> None:
        """Called by the loop, which must have its turn however fast a job logs."""
        for _ in range(_PACKETS_A_TURN):
            if not self._read_one():
                return

    def _read_one(self) -> bool:
        """Read a packet and hand over what ends with it; False when there is none."""
        if not self._is_read:
            return False
        try:
            data = self._socket.recv(frames.PACKET_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            # The end of the process, which the host watches, says what it means.
            self._stop_reading()
            return False
        for report in self._reports(data):
            self._on_report(report)
        return True

    def _reports(self, data: bytes) -> Iterator[messages.Report]:
        try:
            for frame in self._reader.feed(data):
                yield messages.decode_report(frame)
        except HostError as error:
            self._stop_reading()
            self._on_unreadable(error)

    def close(self) -> None:
        """Close the link. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._stop_reading()
        self._loop.remove_writer(self._socket)
        self._socket.close()

    def _stop_reading(self) -> None:
        self._is_read = False
        self._loop.remove_reader(self._socket)

    def _flush(self) -> None:
        while self._unsent:
            packet = self._unsent.popleft()
            try:
                sent = self._socket.send(packet)
            except BlockingIOError:
                sent = 0
            except OSError:
                # The process died: its end is reported by the host, and nobody reads this any more.
                self._unsent.clear()
                break
            if sent < len(packet):
                self._unsent.appendleft(packet[sent:])
                return
        self._loop.remove_writer(self._socket)
