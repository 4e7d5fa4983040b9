"""The job process's end of the link: blocking, for any thread, and for copies of the process that user code forks."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator

from mcai_worker_sdk.errors import HostError
from mcai_worker_sdk.host.link import frames, messages
from mcai_worker_sdk.job.copies import call_in_copies
from mcai_worker_sdk.lifecycle import events as ev

__all__ = ["JobLink"]


class JobLink:
    """
    The job process's end: usable from any thread, and from a copy of the process that user code forked.

    A progression never waits, neither for a supervisor that is slow nor for a thread that waits for one: the newest
    one of a job replaces those that could not be sent, and the last one is sent before anything else that follows.
    """

    def __init__(self, sock: socket.socket) -> None:
        # The worker's script may have set a time-out for all new sockets: the next command may take days to come.
        sock.settimeout(None)
        self._socket = sock
        self._identity = _identity(sock)
        self._writer = frames.FrameWriter()
        # Reentrant: a signal handler of user code may log, or report, while this thread holds it.
        self._lock = threading.RLock()
        # Any thread sets the newest, only a holder of the lock the sent: so none is lost, and none needs to wait.
        self._newest_progression = self._sent_progression = b""
        call_in_copies(self._begin_as_copy)

    def _begin_as_copy(self) -> None:
        """In a process that user code forked: the threads that may have been in the middle of a frame are not here."""
        self._lock = threading.RLock()
        self._writer = frames.FrameWriter()
        self._sent_progression = self._newest_progression

    def send(self, report: messages.Report) -> bool:
        """
        Send a report, waiting for the supervisor if need be; False once the supervisor or the link is gone.

        Raises:
            HostError: It is longer than a report may be.
        """
        frame = messages.encode(report)
        with self._lock:
            newest = self._newest_progression
            waiting = () if newest is self._sent_progression else (newest,)
            self._sent_progression = newest
            try:
                for one in (*waiting, frame):
                    for packet in self._writer.packets(one):
                        self._check_socket()
                        self._socket.sendall(packet)
            except OSError:
                return False
        self._send_waiting()
        return True

    def send_progression(self, job_id: int, progression: int) -> None:
        """Send a progression without waiting."""
        self._newest_progression = messages.encode(ev.ProgressionReported(job_id, progression))
        self._send_waiting()

    def _send_waiting(self) -> None:
        """Send the newest progression unless that means waiting. Who holds the lock comes here after giving it back."""
        while self._newest_progression is not self._sent_progression and self._lock.acquire(blocking=False):
            before, self._sent_progression = self._sent_progression, self._newest_progression
            try:
                (packet,) = self._writer.packets(self._sent_progression)
                self._check_socket()
                sent = self._socket.send(packet, socket.MSG_DONTWAIT)
                if sent < len(packet):  # Never where the system keeps packets whole.
                    self._socket.sendall(packet[sent:])
            except BlockingIOError:
                # The next report, or the next progression, takes it along.
                self._sent_progression = before
                return
            except OSError:
                return
            finally:
                self._lock.release()

    def commands(self) -> Iterator[messages.ToJobProcess]:
        """Yield commands until the supervisor closes the link or dies, or something comes that is none of its."""
        reader = frames.FrameReader()
        while True:
            try:
                self._check_socket()
                data = self._socket.recv(frames.PACKET_BYTES)
                if not data:
                    return
                # Without a name for each: an order may hold megabytes, and this waits for the next one.
                yield from map(messages.decode_command, reader.feed(data))
            except (OSError, HostError):
                return

    def close(self) -> None:
        """Close the link; the supervisor sees its end."""
        self._socket.close()

    def _check_socket(self) -> None:
        """
        Make sure that the descriptor is still the link.

        Raises:
            OSError: User code closed it (``os.closerange``); whatever it opened since may have the number now.
        """
        if _identity(self._socket) != self._identity:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))


def _identity(sock: socket.socket) -> tuple[int, int]:
    facts = os.fstat(sock.fileno())
    return facts.st_dev, facts.st_ino
