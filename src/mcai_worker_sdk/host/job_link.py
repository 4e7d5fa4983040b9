"""The job process's end of the link: blocking, for any thread, and for copies of the process that user code forks."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import threading
import weakref
from collections.abc import Iterator

from mcai_worker_sdk.host import link

__all__ = ["JobLink"]


class _Turn:
    """
    Whose turn it is to write, once user code forked the job process: the process's, or a copy's (a pool, a loader).

    All have the same socket, which keeps only small frames whole. A record lock belongs to a process, not to the file
    that a copy inherits, and ends with the process.
    """

    def __init__(self) -> None:
        self._file: int | None = None

    def share(self) -> None:
        """From now on there may be copies. Idempotent."""
        if self._file is None:
            self._file = _nameless_file()
            weakref.finalize(self, os.close, self._file)

    def take(self, *, wait: bool) -> None:
        """
        Take the turn; :meth:`give` must follow.

        Raises:
            BlockingIOError: It is another process's, and this one does not wait.
            OSError: User code closed the file.
        """
        if self._file is None:
            return
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except PermissionError as error:  # What some systems say instead.
            raise BlockingIOError(*error.args) from error

    def give(self) -> None:
        """Let the next one write."""
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)


def _nameless_file() -> int:
    """A descriptor to lock by; of memory where the system has that, since a container may have no place to write."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("mcai-link")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


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
        # Reentrant: a signal handler of user code may log, or report, while this thread holds it.
        self._lock = threading.RLock()
        self._turn = _Turn()
        # Any thread sets the newest, only a holder of the lock the sent: so none is lost, and none needs to wait.
        self._newest_progression = self._sent_progression = b""
        self._begun = b""
        """What is left of a progression that the socket took in part: it goes before anything else."""

    def send(self, report: link.Report) -> bool:
        """Send a report, waiting for the supervisor if need be; False once the supervisor or the link is gone."""
        frame = link.encode(report)
        with self._lock:
            waiting = self._take_waiting()
            try:
                self._turn.take(wait=True)
                try:
                    self._socket.sendall(waiting + frame)
                finally:
                    self._turn.give()
            except OSError:
                return False
        self._send_waiting()
        return True

    def send_progression(self, job_id: int, progression: int) -> None:
        """Send a progression without waiting."""
        self._newest_progression = link.encode(link.Progressed(job_id, progression))
        self._send_waiting()

    def share_with_forks(self) -> None:
        """Stay usable in copies of the process that user code forks from now on."""
        os.register_at_fork(
            before=self._before_fork, after_in_parent=self._after_fork, after_in_child=self._begin_as_copy
        )

    def _before_fork(self) -> None:
        # Nobody else is in the middle of a frame then.
        self._lock.acquire()
        self._turn.share()

    def _after_fork(self) -> None:
        self._lock.release()

    def _begin_as_copy(self) -> None:
        self._lock = threading.RLock()
        self._sent_progression, self._begun = self._newest_progression, b""

    def _send_waiting(self) -> None:
        """Send the newest progression unless that means waiting. Who holds the lock comes here after giving it back."""
        while self._newest_progression is not self._sent_progression and self._lock.acquire(blocking=False):
            before = self._sent_progression, self._begun
            try:
                waiting = self._take_waiting()
                self._turn.take(wait=False)
                try:
                    self._begun = waiting[self._socket.send(waiting, socket.MSG_DONTWAIT) :]
                finally:
                    self._turn.give()
            except BlockingIOError:
                # The next report, or the next progression, takes it along.
                self._sent_progression, self._begun = before
                return
            except OSError:
                return
            finally:
                self._lock.release()

    def _take_waiting(self) -> bytes:
        """What has to be sent before anything else. Called with the lock held."""
        newest = self._newest_progression
        waiting = self._begun if newest is self._sent_progression else self._begun + newest
        self._sent_progression, self._begun = newest, b""
        return waiting

    def commands(self) -> Iterator[link.Command]:
        """Yield commands until the supervisor closes the link or dies."""
        buffer = link.FrameBuffer()
        while True:
            try:
                data = self._socket.recv(1 << 16)
            except OSError:
                return
            if not data:
                return
            # Without a name for each: an order may hold megabytes, and this waits for the next one.
            yield from map(link.decode_command, buffer.feed(data))

    def close(self) -> None:
        """Close the link; the supervisor sees its end."""
        self._socket.close()
